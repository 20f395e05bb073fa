/* ops/eval/eval_metrics.h - what the evaluator of a run tells Prometheus, and the names of its figures in metrics.jsonl. */
#ifndef OPS_EVAL_EVAL_METRICS_H
#define OPS_EVAL_EVAL_METRICS_H

#include <jansson.h>
#include <stdbool.h>

#include "core/metrics.h"

// clang-format off
/*      kind     name       path                   unit         meaning */
#define EVAL_METRICS(ROW)                                                                                          \
    ROW(GAUGE,   version,   "eval/version",        "versions",  "Newest version whose evaluation was begun.")      \
    ROW(GAUGE,   waiting,   "eval/waiting",        "",          "Versions with weights and without figures.")      \
    ROW(COUNTER, done,      "eval/sets_done",      "",          "Evaluations of a set since the process began.")   \
    ROW(COUNTER, failed,    "eval/failed",         "",          "Versions that could not be evaluated.")           \
    ROW(COUNTER, skipped,   "eval/skipped",        "",          "Versions passed over, for eval.queue.")           \
    ROW(HISTOGRAM(METRIC_LONG_SECONDS), seconds, "eval/set_seconds", "s", "Answers and scores of one set by one version.")

/* One for each set in place of SET, in metrics.jsonl (the line of the version), Redis and RUN/eval/table.jsonl; Prometheus
 * has them with the label set. With _low and _high behind them: the ends of the 95 % interval. */
#define EVAL_FIGURES(ROW)                                                                                          \
    ROW(GAUGE,   reward,    "eval/SET/reward",     "",          "Mean reward.")                                    \
    ROW(GAUGE,   avg,       "eval/SET/avg_at_n",   "",          "Mean share of the samples of a prompt that pass.") \
    ROW(GAUGE,   pass,      "eval/SET/pass_at_n",  "",          "Share of prompts of which at least one sample passes (pass_at_K for K = 1, 2, 4 ... below n).") \
    ROW(GAUGE,   majority,  "eval/SET/maj_at_n",   "",          "Share of prompts whose most frequent answer is right (maj_at_K likewise).") \
    ROW(GAUGE,   len_mean,  "eval/SET/len_mean",   "tokens",    "Mean response length.")                           \
    ROW(GAUGE,   len_p99,   "eval/SET/len_p99",    "tokens",    "99th percentile.")                                \
    ROW(GAUGE,   truncated, "eval/SET/truncated_frac", "",      "Share that hit the token budget.")                \
    ROW(GAUGE,   repeated,  "eval/SET/repetition_frac", "",     "Share cut by the repetition rule.")               \
    ROW(GAUGE,   unscored,  "eval/SET/not_scored", "rollouts",  "Answers without a score.")                        \
    ROW(GAUGE,   of,        "eval/SET/version",    "versions",  "The version that the figures are of.")
// clang-format on

struct eval_metrics {
    EVAL_METRICS(METRIC_MEMBER)
};
struct eval_figures {
    EVAL_FIGURES(METRIC_MEMBER)
};

/* Of the process; and, for docs, the figures behind it. */
const struct metric_row *eval_metrics_table(size_t *count);
const struct metric_row *eval_docs_table(size_t *count);

/* Newest figures of each set of a table's rows as Prometheus text: weir_eval_set_avg_at_n{..., set="math500"}. */
MUST_CHECK enum status eval_figures_text(const json_t *rows, const char *labels,
                                         struct buffer *text);

#endif
