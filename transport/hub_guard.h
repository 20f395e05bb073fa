/* transport/hub_guard.h - what keys allow: whose messages a hub takes, judged message by message.
 *
 * The handshake lets in only keys of the allow list (transport/zap.h); afterwards a key can be revoked, and a process
 * can speak in the name of another. One thread, the hub's. Private to transport/. */
#ifndef TRANSPORT_HUB_GUARD_H
#define TRANSPORT_HUB_GUARD_H

#include "transport/socket.h"

struct hub_guard;

enum hub_guard_verdict {
    HUB_GUARD_PASS,
    HUB_GUARD_REFUSE, /* say so, and cut the connection */
    HUB_GUARD_CUT /* cut the connection: the name belongs to somebody else, who would get the answer */
};

/* Makes `socket` (not bound yet) a CURVE server with the keys of `folder`. */
MUST_CHECK enum status hub_guard_open(struct hub_guard **guard, void *context, void *socket,
                                      const char *folder);
void hub_guard_close(struct hub_guard **guard); /* before the context ends */
/* A message that says it is from `peer` (UINT32_MAX: from nobody known). *role: what its key is for. */
enum hub_guard_verdict hub_guard_judge(struct hub_guard *guard, int64_t now_ns, uint32_t peer,
                                       const struct socket_inbox *inbox, enum role *role,
                                       const char **reason);
/* The peer is whoever sent this message, from now on. */
void hub_guard_bind(struct hub_guard *guard, uint32_t peer, const struct socket_inbox *inbox);

#endif
