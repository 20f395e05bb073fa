#ifndef REWARD_REWARD_METRICS_H
#define REWARD_REWARD_METRICS_H

#include "core/metrics.h"

// clang-format off
/*      kind     name        path                       unit     meaning */
#define REWARD_METRICS(ROW)                                                                             \
    ROW(COUNTER, scored,     "reward/scored",           "items", "Items with a score.")                 \
    ROW(COUNTER, timeouts,   "reward/timeouts",         "items", "Items that passed their deadline.")   \
    ROW(COUNTER, errors,     "reward/errors",           "items", "Items the plugin failed on.")         \
    ROW(COUNTER, skipped,    "reward/skipped",          "items", "Items skipped or unscorable.")        \
    ROW(COUNTER, redis_dropped, "reward/redis_dropped", "commands", "Commands of the view that did not reach Redis.") \
    ROW(COUNTER, late,       "reward/late",             "items", "Answers after the deadline, ignored.") \
    ROW(GAUGE,   waiting,    "reward/waiting",          "items", "Items in this worker now.")           \
    ROW(GAUGE,   latency_ms, "reward/latency_ms",       "ms",    "Of the last item, queue included.") \
    ROW(HISTOGRAM(METRIC_LONG_SECONDS), score_s, "reward/score_seconds", "s", "From an item's arrival to its score, queue included.")
// clang-format on

struct reward_metrics {
    REWARD_METRICS(METRIC_MEMBER)
};

const struct metric_row *reward_metrics_table(size_t *count);

#endif
