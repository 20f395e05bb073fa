/* transport/redis_view.h - what dashboards see. Written, never read back to decide anything; losing it changes nothing.
 *
 * One helper thread owns the hiredis connection; callers push commands into a bounded queue and never block: a full
 * queue or a dead Redis only counts `dropped`. The connection is made anew with back-off (0.5 s, then 1 s), to the address
 * or to the master that the Sentinels name, which is looked up again after each lost connection, on READONLY and every
 * 2 s. Waits of this thread are nobody's and stand in no wait table.
 * Keys (docs/redis.md): weir:runs (the view adds the run), weir:{run}:views (and itself), :meta, :state, :fleet, :proc:<role>:<index>
 * (EXPIRE redis_process_expire_s; gone when its view is closed), :metrics, :events, :rollouts, ... (streams, trimmed). Every key is
 * forgotten REDIS_KEEP_S after it was last written.
 * A Redis that lost its streams (killed, emptied, failed over to a replica that lagged) gets them again: what this
 * process put last into each (REDIS_RING_ENTRIES, transport/redis_ring.h), and with redis_view_refill all of a file.
 * Hashes are not remembered: they are published again and again.
 *     redis_view_hash(view, "proc:actor:3", "{\"tokens\":12}", 15);   writes weir:{run}:proc:actor:3
 * A JSON member becomes one field: text and numbers as they are, true and false as 1 and 0, anything
 * else as compact JSON; proc:* hashes get view_dropped besides. Any thread may push; open, refill and close are for
 * one. Opening ignores SIGPIPE. */
#ifndef TRANSPORT_REDIS_VIEW_H
#define TRANSPORT_REDIS_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"

enum {
    REDIS_KEEP_S = 7 * 86400,
    REDIS_METRICS_KEPT = 200000, /* entries of the stream metrics */
    REDIS_EVENTS_KEPT = 10000    /* of the stream events, whoever writes it */
};

/* EXPIRE of a hash proc:*, which is written every redis.publish_ms: two of them and 15 s, s. */
static inline int redis_process_expire_s(const struct redis_settings *settings)
{
    return 15 + 2 * (int)settings->publish_ms / 1000;
}

struct redis_view;
/* Settings are copied. Does not wait for Redis, which may come later. NULL view everywhere below is fine (mode off).
 * INVALID: settings->address or ->sentinels name nothing that can be connected to. */
MUST_CHECK enum status redis_view_open(struct redis_view **view, const char *run,
                                       const struct redis_settings *settings);
/* The view that settings ask for: none, and OK, with mode off or without address and Sentinels. */
MUST_CHECK enum status redis_view_open_set(struct redis_view **view, const char *run,
                                           const struct redis_settings *settings);
void redis_view_close(
    struct redis_view **view); /* flushes for at most 500 ms (1.5 s: Redis hangs) */
/* HSET each member of {"a":1,...}; key is the part after "weir:{run}:"; expire_s 0: REDIS_KEEP_S. */
void redis_view_hash(struct redis_view *view, const char *key, const char *json_object,
                     int expire_s);
/* XADD ... MAXLEN ~ maxlen; maxlen 0: not trimmed. */
void redis_view_stream(struct redis_view *view, const char *key, const char *json_object,
                       uint32_t maxlen);
/* The stream `key` has the lines of this file, JSON objects with a member "step", which only grows while the view is
 * open and gets each line before the view gets it: whenever the stream has fewer, it is filled from the file. One file a
 * view; to be said before the first push of this stream. */
void redis_view_refill(struct redis_view *view, const char *key, const char *path, uint32_t maxlen);
/* When Redis is full, this view halves the streams that many processes write (events, spans), too: for one process of a
 * run, its store. */
void redis_view_trims_shared(struct redis_view *view);
/* Commands that did not reach Redis when they were pushed: queue full, Redis gone, bad JSON, refused by Redis (its
 * maxmemory). What a ring or a file has of them is written later. */
uint64_t redis_view_dropped(const struct redis_view *view);
/* NOT_FOUND nothing listens, INVALID something answers but is not Redis, or refuses the password (text
 * says what), TIMEOUT something accepts and stays silent, AGAIN it starts or fails over, OK a Redis. At most 2 s, or 1.5 s
 * a Sentinel. */
MUST_CHECK enum status redis_probe(const struct redis_settings *settings);
/* Removes every key of a run and its name from weir:runs: for a run that begins anew under a used name, or is removed.
 * OK with mode off. At most 10 s. */
MUST_CHECK enum status redis_forget_run(const char *run, const struct redis_settings *settings);

#endif
