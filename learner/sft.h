/* learner/sft.h - `weir sft`: supervised training and continual pre-training with the learner's own trainer.
 *
 * Settings: sft.*, and optim.* but for the schedule, which is sft's own. The trained model goes to sft.out; beside it
 * sft.out.sft has metrics.jsonl, gradients.jsonl and, while it trains, checkpoints/. docs/sft.md. One thread. */
#ifndef LEARNER_SFT_H
#define LEARNER_SFT_H

#include <stdatomic.h>

#include "core/settings.h"

C_BEGIN

struct sft_progress {
    uint64_t step, steps; /* updates done, of all */
    double loss;          /* token mean of the last update */
    double eval_loss;     /* NAN: not measured after it */
    double tokens_per_s, left_s;
};

/* The objective of these settings: maximum likelihood, the mean over trained tokens of a batch. What loss.* says of a run
 * does not count, but for the router loss. */
struct loss_settings sft_loss(const struct settings *settings);
/* progress: after every 20th update, every evaluation and the last update; may be NULL. With run.resume the newest
 * checkpoint goes on, bit for bit as if it had never stopped. A signal ends it with a checkpoint (CANCELLED). */
MUST_CHECK enum status sft_run(const struct settings *settings, atomic_int *stop_signals,
                               void (*progress)(const struct sft_progress *progress));

C_END
#endif
