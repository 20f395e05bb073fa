/* transport/hub_core.h - the store's end of all links, without a socket: which identity is which peer.
 *
 * Pure: time, identities and bytes come in, bytes leave through `send`. It judges nobody: a hello makes a peer (an id)
 * and is handed on; the book welcomes, refuses (then hub_core_forget) or leaves it waiting. Several identities may
 * claim one role and index until then. One thread. */
#ifndef TRANSPORT_HUB_CORE_H
#define TRANSPORT_HUB_CORE_H

#include "core/arena.h"
#include "proto/refusal.h"
#include "transport/link.h"

struct hub_core;

/* To the peer of this identity. AGAIN: it takes nothing now; NETWORK: it is gone. */
typedef enum status (*hub_core_send_fn)(void *self, const char *identity, size_t identity_size,
                                        const void *bytes, size_t size);

MUST_CHECK enum status hub_core_create(struct hub_core **core, hub_core_send_fn send, void *self);
void hub_core_destroy(struct hub_core **core);

/* One message of `identity`. role: the only role its key allows, ROLE_NONE when there are no keys. message->type is
 * NONE when it was answered or skipped here: an unknown identity is asked for a hello, broken bytes are counted by
 * kind (proto/refusal.h) and their sender is asked to say hello again (it resends; before that nothing of it is
 * heard), the third broken message in a row
 * refuses it, as does a wire protocol that is not ours. *peer is filled when the type is not NONE. */
MUST_CHECK enum status hub_core_take(struct hub_core *core, int64_t now_ns, const char *identity,
                                     size_t identity_size, enum role role, const void *bytes,
                                     size_t size, struct arena *arena, struct hub_peer *peer,
                                     struct message *message);
MUST_CHECK enum status hub_core_send(struct hub_core *core, uint32_t peer_id,
                                     const struct message *message);
/* Tells an identity, peer or not, that it is refused, and forgets it. It is not told twice. */
void hub_core_refuse(struct hub_core *core, const char *identity, size_t identity_size,
                     enum refusal kind, const char *reason);
void hub_core_forget(struct hub_core *core, uint32_t peer_id);
/* Forgets who said bye; also done by the next hub_core_take. */
void hub_core_settle(struct hub_core *core);
/* The connection of a peer was lost or came back; a message of it also means that it is back. */
void hub_core_connected(struct hub_core *core, uint32_t peer_id, bool connected, int64_t now_ns);
uint32_t hub_core_peer_count(const struct hub_core *core);
const struct hub_peer *hub_core_peer_at(const struct hub_core *core, uint32_t i);
/* NULL: nobody has this id. */
const struct hub_peer *hub_core_peer(const struct hub_core *core, uint32_t peer_id);
/* UINT32_MAX: nobody. */
uint32_t hub_core_find(const struct hub_core *core, const char *identity, size_t identity_size);
uint64_t hub_core_refused(const struct hub_core *core, enum refusal kind); /* messages, by kind */

#endif
