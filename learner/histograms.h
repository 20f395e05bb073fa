/* learner/histograms.h - distributions of one step, for people: one line of histograms.jsonl and one entry of the Redis
 * stream of that name (docs/rollout-files.md has the members). Pure; one thread. */
#ifndef LEARNER_HISTOGRAMS_H
#define LEARNER_HISTOGRAMS_H

#include "core/buffer.h"
#include "core/settings.h"
#include "learner/sequence.h"
#include "learner/token_counts.h"
#include "proto/messages.h"

C_BEGIN

struct step_distributions { /* borrowed */
    uint64_t step;
    const struct plan *plan;
    const struct group_data *groups; /* [plan->group_count] */
    const struct train_sequence *sequences;
    uint32_t sequence_count;
    const struct token_counts *counts;
    const struct loss_settings *loss;
    uint32_t response_cap;
    double pearson;
};

struct advantage_figures {
    double mean, std, min, max; /* over the sequences; 0 without any */
};
struct advantage_figures histograms_advantages(const struct train_sequence *sequences,
                                               uint32_t count);
/* Versions between a sample's oldest token and the weights that trained it. 0 without pieces. */
uint64_t histograms_lag(const struct plan *plan, const struct group_sample *sample);
/* Nearest-rank percentile of the lags of all samples. */
double histograms_lag_percentile(const struct plan *plan, const struct group_data *groups,
                                 double share);
/* {"step":N,...} without a newline. */
MUST_CHECK enum status histograms_json(const struct step_distributions *step, struct buffer *json);

C_END
#endif
