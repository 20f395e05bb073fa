/* transport/redis_view.h - what dashboards see. Written, never read back; losing it changes nothing.
 *
 * One helper thread owns the hiredis connection; callers push commands into a bounded queue and never
 * block: a full queue or a dead Redis only counts `dropped`. Reconnects with back-off (0.5 s .. 10 s).
 * Keys: weir:runs, weir:{run}:meta, :state, :proc:<role>:<index> (EXPIRE 15), :metrics (stream), :events,
 * :rollouts (stream), each trimmed. */
#ifndef TRANSPORT_REDIS_VIEW_H
#define TRANSPORT_REDIS_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct redis_view;
/* address: unix socket path or host:port. NULL view everywhere below is fine (mode off). */
MUST_CHECK enum status redis_view_open(struct redis_view **view, const char *run, const char *address, const char *password);
void redis_view_close(struct redis_view **view); /* flushes for at most 500 ms */
void redis_view_hash(struct redis_view *view, const char *key, const char *json_object, int expire_s); /* HSET each member of {"a":1,...} */
void redis_view_stream(struct redis_view *view, const char *key, const char *json_object, uint32_t maxlen); /* XADD ... MAXLEN ~ */
uint64_t redis_view_dropped(const struct redis_view *view);
/* NOT_FOUND nothing listens, INVALID something answers but is not Redis (text says what), OK a Redis. */
MUST_CHECK enum status redis_probe(const char *address, const char *password);

#endif
