/* ops/eval/row.h - a report as one line of figures: the line of RUN/eval/table.jsonl, and the metrics "eval/SET/NAME".
 *
 *     avg_at_n, reward, pass_at_1 ... pass_at_K, pass_at_n, maj_at_k, maj_at_n, len_mean, len_p99, truncated_frac,
 *     repetition_frac, not_scored; with NAME_low and NAME_high, the 95 % interval, where it has one
 *
 * Of all sources together ("all" of the report). Pure. */
#ifndef OPS_EVAL_ROW_H
#define OPS_EVAL_ROW_H

#include <jansson.h>

#include "core/status.h"

/* Adds "set", "status", "prompts", "samples" (of each prompt) and the figures to `row`. */
MUST_CHECK enum status eval_row_fill(json_t *row, const char *set, const json_t *report,
                                     unsigned samples);

#endif
