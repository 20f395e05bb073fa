/* core/metrics.h - numbers a process shows while it runs, declared once.
 *
 * A module lists its metrics in one X-macro: ROW(kind, identifier, "path/name", unit, meaning).
 * From it come the struct of atomics, metrics.jsonl, the Redis hash, the Prometheus text and
 * docs/metrics.md. Writers never lock and never format text.
 *
 *     #define ACTOR_METRICS(ROW) \
 *         ROW(COUNTER, tokens_sampled, "actor/tokens_sampled", "tokens", "Tokens sampled.")
 *     struct actor_metrics { ACTOR_METRICS(METRIC_MEMBER) };
 *     static const struct metric_row actor_metric_rows[] = { ... METRIC_ROW(struct actor_metrics, __VA_ARGS__) ... };
 */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric_row {
    const char *name; /* identifier */
    const char *path; /* "reward/mean" */
    enum metric_kind kind;
    size_t offset;
    const char *unit;
    const char *help;
};

typedef _Atomic double metric;

#define METRIC_MEMBER(kind, name, path, unit, help) metric name;
#define METRIC_ROW(STRUCT, kind, name, path, unit, help) \
    {#name, path, METRIC_##kind, offsetof(STRUCT, name), unit, help},

void metric_add(metric *m, double n);
void metric_set(metric *m, double n);
double metric_read(const metric *m);

MUST_CHECK enum status metrics_prometheus(const struct metric_row *rows, size_t count,
                                          const void *metrics, const char *labels,
                                          struct buffer *text); /* weir_reward_mean{labels} ... */
/* Appends "path":value pairs, comma separated, no braces; NaN and infinities as null. */
MUST_CHECK enum status metrics_json(const struct metric_row *rows, size_t count,
                                    const void *metrics, struct buffer *json);
/* The whole object "{...}" in `json`, which is cleared first; "{}" when memory runs out. Valid until json changes. */
const char *metrics_object(const struct metric_row *rows, size_t count, const void *metrics,
                           struct buffer *json);
MUST_CHECK enum status metrics_markdown(const char *title, const struct metric_row *rows,
                                        size_t count, struct buffer *markdown);

#endif
