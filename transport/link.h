/* transport/link.h - how a process talks to the store: one ZeroMQ socket with names, credits and deadlines.
 *
 * Client side (`link`): a DEALER owned by one thread. Hello, reconnect and heartbeats are inside:
 * after link_open every (re)connection says hello first, every 100 ms until the store answers; a
 * refusal ends the process with its reason.
 * Server side (`hub`): the store's ROUTER, owned by one thread. Peers are identified by role, index and
 * incarnation. Who the hub does not know (it was restarted) is asked for a hello, which makes the link
 * say it again; the peer's owner sees link_reconnects grow and sends again what is not acknowledged.
 * Blocking happens in link_poll / hub_poll only, through core/wait.h; a signal ends both early with
 * MESSAGE_NONE.
 * Limits: ZMQ_MAXMSGSIZE = WIRE_MESSAGE_MAX, HWM set, LINGER bounded, MANDATORY routing. libzmq's own heartbeats find
 * a stopped or cut-off peer; messages of type heartbeat tell what a process does (link_core.h).
 * Endpoints: ipc://PATH (107 bytes) and tcp://127.0.0.1:PORT; with a folder of keys (run.keys, transport/keys.h) any
 * other tcp address, and then every tcp link uses CURVE and only allowed keys connect (docs/security.md).
 * Both ends are state machines without sockets and clocks, which a simulator drives: link_core.h, hub_core.h. */
#ifndef TRANSPORT_LINK_H
#define TRANSPORT_LINK_H

#include "core/arena.h"
#include "proto/codec.h"

/* ---- client ---- */
struct link;
/* Returns at once, connected or not. hello is copied; incarnation 0 is replaced by a random one: any other
 * incarnation is another process, and none is newer. keys_folder: run.keys, NULL or "" for none. */
MUST_CHECK enum status link_open(struct link **link, const char *endpoint, const char *keys_folder,
                                 const struct hello *hello);
void link_close(struct link **link,
                const char *bye_reason); /* sends bye, waits at most 200 ms for it to leave */
/* Queues one message. AGAIN when the peer takes nothing or has not welcomed us yet (caller keeps it and
 * tries after link_poll). */
MUST_CHECK enum status link_send(struct link *link, const struct message *message);
/* Waits up to timeout_ms (negative: for ever) for a message or for `extra_fd` (-1 none) to become
 * readable; handles heartbeats: calls link's heartbeat filler when one is due. message->type is
 * MESSAGE_NONE when nothing came, or only what the link keeps to itself. The message lives in `arena` (reset by the caller). Welcomes and
 * notices are handed on too. NETWORK with a sentence when the store was silent for silent_limit_ms (see
 * link_set_silence), CANCELLED with the reason when the store refused us or our key: print it and exit. */
MUST_CHECK enum status link_poll(struct link *link, int64_t timeout_ms, int extra_fd,
                                 struct arena *arena, struct message *message);
/* Fills version, stats_json; the texts must live until the next call. incarnation and waits_json are
 * filled already. */
typedef void (*link_heartbeat_fn)(void *self, struct heartbeat *heartbeat);
void link_set_heartbeat(struct link *link, link_heartbeat_fn fill, void *self);
/* Counted from the first hello or heartbeat that got no answer, so a process that computes for long
 * between polls does not blame the store. 0 = endure for ever (store restart); default 0. */
void link_set_silence(struct link *link, int64_t silent_limit_ms);
bool link_welcomed(const struct link *link);
uint64_t link_incarnation(const struct link *link);
int64_t link_silent_ms(const struct link *link); /* since the store was last heard */
/* Welcomes beyond the first: resend what is unacknowledged. */
uint32_t link_reconnects(const struct link *link);

/* ---- server ---- */
enum { HUB_PEERS_MAX = 4096 };
struct hub;
struct hub_peer { /* valid until the next hub call */
    uint32_t id;  /* small index, stable while the peer lives */
    enum role role;
    uint32_t index;
    uint64_t incarnation;
    char name[WIRE_NAME_MAX]; /* "actor.3" */
    int64_t last_heard_ns;
    bool connected; /* false: its connection is dead: killed, stopped or cut off */
    int64_t disconnected_ns;
};
/* A taken port or socket file names who may hold it. */
MUST_CHECK enum status hub_open(struct hub **hub, const char *endpoint, const char *keys_folder);
void hub_close(struct hub **hub);
const char *hub_endpoint(const struct hub *hub); /* with the real port when bound to :0 */
/* What processes of other machines connect to: with this host's name where the store listens on all addresses. */
void hub_public_endpoint(const struct hub *hub, char *out, size_t size);
/* One message from any peer; MESSAGE_NONE on timeout, after one that was skipped, and when hub_take_event has
 * something. A peer exists from its hello on (handed on: answer with welcome, with refused and hub_forget, or not yet);
 * before it, an identity is only asked for one. Several peers may claim one role and index: the owner judges. A peer
 * that said bye is forgotten at the next hub_poll. Broken bytes are counted, logged with the peer's name and skipped;
 * their sender is asked to begin again, the third in a row refuses it. */
MUST_CHECK enum status hub_poll(struct hub *hub, int64_t timeout_ms, int extra_fd,
                                struct arena *arena, struct hub_peer *peer,
                                struct message *message);
/* NETWORK when gone, AGAIN when full. */
MUST_CHECK enum status hub_send(struct hub *hub, uint32_t peer_id, const struct message *message);
uint32_t hub_peer_count(const struct hub *hub);
const struct hub_peer *hub_peer_at(const struct hub *hub, uint32_t i); /* i < hub_peer_count */
void hub_forget(struct hub *hub, uint32_t peer_id);
/* Connections found dead (killed: at once; stopped or cut off: within 0.45 s) and back again: each change of
 * hub_peer.connected once, false when there is none. A peer that the hub itself refused is reported as dead too. Ask
 * after every hub_poll, before its message is handled. */
bool hub_take_event(struct hub *hub, uint32_t *peer_id, bool *connected);
/* Of now. A hello may be read after the end of its connection: that event comes before the owner knows the peer, so it
 * asks here when it has taken a hello. False for nobody. */
bool hub_connected(const struct hub *hub, uint32_t peer_id);
/* Messages refused before anybody saw them, by kind; all of them. */
uint64_t hub_refused(const struct hub *hub, enum refusal kind);
uint64_t hub_corrupt_count(const struct hub *hub);
uint32_t hub_connection_count(const struct hub *hub);   /* open now, greeted or not */
uint64_t hub_handshakes_refused(const struct hub *hub); /* connections; the log says why */

/* Tests: the n-th next send of this process fails once with AGAIN; n < 0 switches it off. */
void transport_fail_after(int64_t n);

#endif
