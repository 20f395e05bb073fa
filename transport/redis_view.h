/* transport/redis_view.h - what dashboards see. Written, never read back; losing it changes nothing.
 *
 * One helper thread owns the hiredis connection; callers push commands into a bounded queue and never
 * block: a full queue or a dead Redis only counts `dropped`. Reconnects with back-off (0.5 s .. 10 s).
 * Keys: weir:runs (the view adds the run at each connect), weir:{run}:meta, :state,
 * :proc:<role>:<index> (EXPIRE 15), :metrics (stream), :events, :rollouts (stream), each trimmed.
 *     redis_view_hash(view, "proc:actor:3", "{\"tokens\":12}", 15);   writes weir:{run}:proc:actor:3
 * A JSON member becomes one field: text and numbers as they are, true and false as 1 and 0, anything
 * else as compact JSON. Any thread may push; open and close are for one. Opening ignores SIGPIPE. */
#ifndef TRANSPORT_REDIS_VIEW_H
#define TRANSPORT_REDIS_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"

struct redis_view;
/* address: unix socket path or host:port. Does not wait for Redis, which may come later.
 * NULL view everywhere below is fine (mode off). */
MUST_CHECK enum status redis_view_open(struct redis_view **view, const char *run,
                                       const char *address, const char *password);
/* The view that settings ask for: none, and OK, with mode off or without an address. */
MUST_CHECK enum status redis_view_open_set(struct redis_view **view, const char *run,
                                           const struct redis_settings *settings);
void redis_view_close(
    struct redis_view **view); /* flushes for at most 500 ms (1.5 s: Redis hangs) */
/* HSET each member of {"a":1,...}; key is the part after "weir:{run}:"; expire_s 0: never. */
void redis_view_hash(struct redis_view *view, const char *key, const char *json_object,
                     int expire_s);
/* XADD ... MAXLEN ~ maxlen; maxlen 0: not trimmed. */
void redis_view_stream(struct redis_view *view, const char *key, const char *json_object,
                       uint32_t maxlen);
/* Commands that did not reach Redis: queue full, Redis gone, bad JSON, refused by Redis (its maxmemory). */
uint64_t redis_view_dropped(const struct redis_view *view);
/* NOT_FOUND nothing listens, INVALID something answers but is not Redis, or refuses the password (text
 * says what), TIMEOUT something accepts and stays silent, OK a Redis. At most 1.5 s. */
MUST_CHECK enum status redis_probe(const char *address, const char *password);

#endif
