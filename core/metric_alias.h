/* core/metric_alias.h - what other trainers call our metrics: one table, for people whose eyes and dashboards know those
 * names.
 *
 * metrics.jsonl, Redis and Prometheus always have weir's names; metrics.alias chooses for TensorBoard files and
 * `weir forward`. `weir docs metrics` prints the table. A name stands here when both count the same thing; sources: verl
 * metric_utils.py and rollout_corr, TRL grpo_trainer.py. Pure. */
#ifndef CORE_METRIC_ALIAS_H
#define CORE_METRIC_ALIAS_H

#include <stddef.h>

#include "core/buffer.h"
#include "core/settings.h"
#include "core/status.h"

C_BEGIN

struct metric_alias {
    const char *weir;       /* path of the metric */
    const char *verl, *trl; /* NULL: it has none */
};

extern const struct metric_alias metric_aliases[];
extern const size_t metric_alias_count;

/* The name of metric `path` under `alias`; `path` itself when that knows none. */
const char *metric_alias_of(enum setting_alias alias, const char *path);
/* Markdown table. */
MUST_CHECK enum status metric_alias_markdown(struct buffer *markdown);
/* {"reward/mean":"critic/score/mean",...} */
MUST_CHECK enum status metric_alias_json(enum setting_alias alias, struct buffer *json);

C_END
#endif
