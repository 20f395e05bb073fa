/* core/metrics.h - numbers a process shows while it runs, declared once.
 *
 * A module lists its metrics in one X-macro: ROW(kind, identifier, "path/name", unit, meaning).
 * From it come the struct of atomics, metrics.jsonl, the Redis hash, the Prometheus text and
 * docs/metrics.md. Writers never lock and never format text.
 *
 *     #define ACTOR_METRICS(ROW) \
 *         ROW(COUNTER, tokens_sampled, "actor/tokens_sampled", "tokens", "Tokens sampled.") \
 *         ROW(HISTOGRAM(METRIC_SECONDS), step_s, "actor/step_seconds", "s", "One decode step.")
 *     struct actor_metrics { ACTOR_METRICS(METRIC_MEMBER) };
 *     static const struct metric_row actor_metric_rows[] = { ... METRIC_ROW(struct actor_metrics, __VA_ARGS__) ... };
 *
 * A histogram's upper bounds stand in its row, ascending, at most METRIC_BUCKETS_MAX of them; metrics_init gives them to
 * the struct. An observation is counted in the first bucket whose bound it does not exceed.
 *
 * Names for Prometheus follow its conventions and pass `promtool check metrics`: "actor/swap_ms" in ms becomes
 * weir_actor_swap_seconds (and its values seconds), a counter ends in _total, bytes and tokens are named. */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum { METRIC_BUCKETS_MAX = 24, METRIC_NAME_BYTES = 160 };

struct metric_row {
    const char *name; /* identifier */
    const char *path; /* "reward/mean" */
    enum metric_kind kind;
    size_t offset;
    const char *unit;
    const char *help;
    const double *bounds; /* of a histogram: ascending, then INFINITY; NULL otherwise */
};

typedef _Atomic double metric;
struct metric_histogram {
    const double
        *_Atomic bounds; /* of the row; NULL before metrics_init: all is in the last bucket */
    _Atomic uint64_t bucket[METRIC_BUCKETS_MAX + 1];
    metric sum;
};

/* Bounds, in the unit of the row: network and decode steps; work of seconds to hours; sizes. */
#define METRIC_SECONDS                                                                           \
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, \
        10, 30, 60, 300
#define METRIC_LONG_SECONDS \
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600, 10800

#define METRIC_TYPE_COUNTER         metric
#define METRIC_TYPE_GAUGE           metric
#define METRIC_TYPE_HISTOGRAM(...)  struct metric_histogram
#define METRIC_KIND_COUNTER         METRIC_COUNTER
#define METRIC_KIND_GAUGE           METRIC_GAUGE
#define METRIC_KIND_HISTOGRAM(...)  METRIC_HISTOGRAM
#define METRIC_BOUND_COUNTER        NULL
#define METRIC_BOUND_GAUGE          NULL
#define METRIC_BOUND_HISTOGRAM(...) ((const double[]){__VA_ARGS__, (double)INFINITY})

#define METRIC_MEMBER(kind, name, path, unit, help) METRIC_TYPE_##kind name;
#define METRIC_ROW(STRUCT, kind, name, path, unit, help) \
    {#name, path, METRIC_KIND_##kind, offsetof(STRUCT, name), unit, help, METRIC_BOUND_##kind},

/* Gives each histogram its bounds. Once, before the first observation; values stay. A row with bounds that do not ascend
 * or are too many is a programmer's error. */
void metrics_init(const struct metric_row *rows, size_t count, void *metrics);

void metric_add(metric *m, double n);
void metric_set(metric *m, double n);
double metric_read(const metric *m);
/* A value that is not a number is not counted. */
void metric_observe(struct metric_histogram *histogram, double value);
/* observe in seconds of a span in nanoseconds */
void metric_observe_ns(struct metric_histogram *histogram, int64_t span_ns);
uint64_t metric_count(const struct metric_histogram *histogram);
/* The value below which a share q (0..1) of the observations lies, linear inside a bucket (as histogram_quantile of
 * PromQL; the last finite bound for what is beyond it). NAN: there are none. */
double metric_quantile(const struct metric_histogram *histogram, double q);

/* The name of a row for Prometheus, and by what its values are multiplied (0.001 for ms). */
double metric_prometheus_name(const struct metric_row *row, char name[METRIC_NAME_BYTES]);
/* labels: `run="a",process="actor.0"` without braces, values escaped (metrics_label); NULL or "": none. */
MUST_CHECK enum status metrics_prometheus(const struct metric_row *rows, size_t count,
                                          const void *metrics, const char *labels,
                                          struct buffer *text); /* weir_reward_mean{labels} ... */
/* One family by hand: its HELP, TYPE and UNIT lines; then its samples. `more`: further labels of this sample, or NULL. */
MUST_CHECK enum status metrics_family(struct buffer *text, const char *name, const char *kind,
                                      const char *unit, const char *help);
MUST_CHECK enum status metrics_sample(struct buffer *text, const char *name, const char *labels,
                                      const char *more, double value);
/* The samples of a histogram: _bucket, _sum, _count; values times `scale`. */
MUST_CHECK enum status metrics_buckets(struct buffer *text, const char *name, const char *labels,
                                       const double *bounds,
                                       const struct metric_histogram *histogram, double scale);
/* Appends name="value" with the escapes of the format (backslash, quote, newline), after a comma when text has labels. */
MUST_CHECK enum status metrics_label(struct buffer *labels, const char *name, const char *value);
/* Appends "path":value pairs, comma separated, no braces; NaN and infinities as null. A histogram gives path/p50, /p90, /p99
 * and /count. */
MUST_CHECK enum status metrics_json(const struct metric_row *rows, size_t count,
                                    const void *metrics, struct buffer *json);
/* The whole object "{...}" in `json`, which is cleared first; "{}" when memory runs out. Valid until json changes. */
const char *metrics_object(const struct metric_row *rows, size_t count, const void *metrics,
                           struct buffer *json);
MUST_CHECK enum status metrics_markdown(const char *title, const struct metric_row *rows,
                                        size_t count, struct buffer *markdown);

#endif
