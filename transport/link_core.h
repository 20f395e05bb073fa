/* transport/link_core.h - one end of a link to the store, without a socket: hello, welcome, heartbeats, silence.
 *
 * Pure: time and bytes come in as arguments, bytes leave through `send`. link.c puts it on a ZeroMQ DEALER, the fleet
 * simulator on a virtual network. One thread. */
#ifndef TRANSPORT_LINK_CORE_H
#define TRANSPORT_LINK_CORE_H

#include "core/arena.h"
#include "core/buffer.h"
#include "transport/link.h"

struct link_core;

/* One message on its way to the store. AGAIN: nothing is taken now; other failures end the link. */
typedef enum status (*link_core_send_fn)(void *self, const void *bytes, size_t size);

/* hello: texts are copied; incarnation 0 is INVALID here (link.c draws it). where: for sentences, "tcp://...". */
MUST_CHECK enum status link_core_create(struct link_core **core, const struct hello *hello,
                                        const char *where, link_core_send_fn send, void *self);
void link_core_destroy(struct link_core **core);
void link_core_set_heartbeat(struct link_core *core, link_heartbeat_fn fill, void *self);
void link_core_set_silence(struct link_core *core, int64_t silent_limit_ms);

/* The connection was lost: what was on the way is lost too, so hello is said again, and the owner resends. */
void link_core_disconnected(struct link_core *core);
/* Says hello or a heartbeat when one is due; NETWORK with a sentence when the store was silent for too long. */
MUST_CHECK enum status link_core_turn(struct link_core *core, int64_t now_ns);
/* When link_core_turn has something to do next. */
int64_t link_core_due_ns(const struct link_core *core);
/* Bytes from the store. message->type NONE: kept here, or broken: logged, counted, and hello is said again, so that
 * the store says again what was in it. CANCELLED: refused, or a store of another wire protocol. Take what is there
 * before link_core_turn: an answer that waits unread is no silence. */
MUST_CHECK enum status link_core_take(struct link_core *core, int64_t now_ns, const void *bytes,
                                      size_t size, struct arena *arena, struct message *message);
/* AGAIN while not welcomed, or when `send` takes nothing. */
MUST_CHECK enum status link_core_send(struct link_core *core, const struct message *message);

bool link_core_welcomed(const struct link_core *core);
enum role link_core_role(const struct link_core *core);
uint64_t link_core_incarnation(const struct link_core *core);
uint32_t link_core_reconnects(const struct link_core *core);
uint64_t link_core_broken(const struct link_core *core); /* messages that could not be read */
int64_t link_core_silent_ms(const struct link_core *core, int64_t now_ns);

#endif
