/* ops/dash/feed.h - the thread that fills the board.
 *
 * From Redis as it comes (XREAD): metrics, events, rollouts, histograms, spans. Hashes (state, processes, sources, meta) and
 * the run folder's processes.json every FEED_WATCHED_MS while somebody watches, every FEED_IDLE_MS else. metrics.jsonl is read
 * from its beginning at the start and once a second later, so that a step is there with or without Redis. While Redis does not
 * answer the rest comes from the store (status, tail, events, while it lives), histograms.jsonl, trace/ and rollouts/. */
#ifndef OPS_DASH_FEED_H
#define OPS_DASH_FEED_H

#include "ops/dash/dash.h"

enum {
    FEED_WATCHED_MS = 500,
    FEED_IDLE_MS = 5000,
    FEED_WATCHED_FOR_MS = 15000, /* after the last request */
    FEED_FILE_MS = 1000,
    FEED_BLOCK_MS = 100
};

struct feed;
MUST_CHECK enum status feed_start(struct feed **feed, struct dash *dash);
void feed_stop(struct feed **feed);

#endif
