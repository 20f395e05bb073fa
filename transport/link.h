/* transport/link.h - how a process talks to the store: one ZeroMQ socket with names, credits and deadlines.
 *
 * Client side (`link`): a DEALER owned by one thread. Hello, reconnect and heartbeats are inside:
 * after link_open every (re)connection says hello first; a refusal ends the process with its reason.
 * Server side (`hub`): the store's ROUTER. Peers are identified by role, index and incarnation.
 * Blocking happens in link_poll / hub_poll only, through core/wait.h.
 * Limits: ZMQ_MAXMSGSIZE = WIRE_MESSAGE_MAX, HWM set, LINGER bounded, heartbeats on, MANDATORY routing.
 * The virtual seam for a simulator is `struct message` in and out: state machines never see sockets. */
#ifndef TRANSPORT_LINK_H
#define TRANSPORT_LINK_H

#include "core/arena.h"
#include "proto/codec.h"

/* ---- client ---- */
struct link;
MUST_CHECK enum status link_open(struct link **link, const char *endpoint, const struct hello *hello);
void link_close(struct link **link, const char *bye_reason); /* sends bye, waits at most 200 ms for it to leave */
/* Queues one message. AGAIN when the peer takes nothing (caller keeps it and tries after link_poll). */
MUST_CHECK enum status link_send(struct link *link, const struct message *message);
/* Waits up to timeout_ms for a message or for `extra_fd` (-1 none) to become readable; handles heartbeats:
 * calls link's heartbeat filler when one is due. *message->type is MESSAGE_NONE when nothing came.
 * The message lives in `arena` (reset by the caller). NETWORK with a sentence when the store was silent for
 * silent_limit_ms (see link_set_silence). */
MUST_CHECK enum status link_poll(struct link *link, int64_t timeout_ms, int extra_fd, struct arena *arena,
                                 struct message *message);
typedef void (*link_heartbeat_fn)(void *self, struct heartbeat *heartbeat); /* fills version, stats_json */
void link_set_heartbeat(struct link *link, link_heartbeat_fn fill, void *self);
void link_set_silence(struct link *link, int64_t silent_limit_ms); /* 0 = endure for ever (store restart); default 0 */
bool link_welcomed(const struct link *link);
uint64_t link_incarnation(const struct link *link);
int64_t link_silent_ms(const struct link *link); /* since the store was last heard */
uint32_t link_reconnects(const struct link *link); /* welcomes beyond the first: resend what is unacknowledged */

/* ---- server ---- */
enum { HUB_PEERS_MAX = 4096 };
struct hub;
struct hub_peer { /* valid until the next hub call */
    uint32_t    id; /* small index, stable while the peer lives */
    enum role   role;
    uint32_t    index;
    uint64_t    incarnation;
    char        name[WIRE_NAME_MAX]; /* "actor.3" */
    int64_t     last_heard_ns;
};
MUST_CHECK enum status hub_open(struct hub **hub, const char *endpoint); /* a taken port names who may hold it */
void hub_close(struct hub **hub);
const char *hub_endpoint(const struct hub *hub); /* with the real port when bound to :0 */
/* One message from any peer. A first message that is not a hello gives a peer with role ROLE_NONE. Broken
 * bytes are counted, logged with the peer's name and skipped. */
MUST_CHECK enum status hub_poll(struct hub *hub, int64_t timeout_ms, int extra_fd, struct arena *arena,
                                struct hub_peer *peer, struct message *message);
MUST_CHECK enum status hub_send(struct hub *hub, uint32_t peer_id, const struct message *message); /* NETWORK when gone, AGAIN when full */
uint32_t hub_peer_count(const struct hub *hub);
const struct hub_peer *hub_peer_at(const struct hub *hub, uint32_t i);
void hub_forget(struct hub *hub, uint32_t peer_id);
uint64_t hub_corrupt_count(const struct hub *hub);

#endif
