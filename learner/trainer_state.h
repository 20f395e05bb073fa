/* learner/trainer_state.h - what the files of the trainer share; nobody else includes it. */
#ifndef LEARNER_TRAINER_STATE_H
#define LEARNER_TRAINER_STATE_H

#include <stdint.h>

#include "learner/packing.h"
#include "learner/trainer.h"

/* Device and host arrays of one micro-batch, sized once. */
struct trainer_scratch {
    struct packing packing;
    float *logprob, *entropy, *dlogprob, *ratio; /* host [rows_max] */
    uint8_t *clipped;
    float
        *device_floats; /* [7 * rows_max]: logprob, old, advantage, mask, scale, ratio, dlogprob */
    void *device_clipped, *device_starts;
};

/* What follows the backward passes: gradients and stats summed over ranks, judged, AdamW. stats: in of this rank, out of
 * all. */
MUST_CHECK enum status trainer_apply(struct trainer *trainer, const struct trainer_loss *objective,
                                     struct train_stats *stats);

#endif
