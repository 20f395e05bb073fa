/* learner/sft_state.h - what the files of `weir sft` share; nobody else includes it. */
#ifndef LEARNER_SFT_STATE_H
#define LEARNER_SFT_STATE_H

#include <stdio.h>

#include "core/file.h"
#include "learner/alarms.h"
#include "learner/sft.h"
#include "learner/sft_batch.h"
#include "learner/trainer.h"
#include "transport/redis_view.h"

struct sft {
    const struct settings *settings;
    struct tokenizer *tokenizer;
    struct sft_rows rows, held_out; /* held_out.count 0: no sft.eval_file */
    struct sft_stages stages;
    struct sft_batch batch, eval_batch;
    struct trainer trainer;
    struct alarms alarms;
    uint64_t step;    /* updates done: the cursor; the next one is number `step` from 0 */
    uint64_t begun;   /* step at which this process began */
    uint64_t checked; /* step of the last checkpoint; begun without one */
    int64_t begin_ns;
    uint64_t tokens; /* of this process: rows through the model */
    char work[FILE_PATH_MAX], checkpoints[FILE_PATH_MAX];
    FILE *metrics_file, *gradients_file;
    struct redis_view *redis;
    void (*progress)(const struct sft_progress *progress); /* may be NULL */
};

/* sft_report.c */
/* Opens metrics.jsonl and gradients.jsonl in the work folder, for lines after sft->step. */
MUST_CHECK enum status sft_report_open(struct sft *sft);
void sft_report_close(struct sft *sft);
/* Token mean of the held-out rows' loss, NAN without a file or when it is not due after this update. */
MUST_CHECK enum status sft_evaluate(struct sft *sft, double *loss);
/* After an update: its line, alarms, the progress. */
MUST_CHECK enum status sft_report(struct sft *sft, const struct train_stats *stats, double lr,
                                  double eval_loss);

#endif
