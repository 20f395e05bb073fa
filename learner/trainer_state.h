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
    float *reference, *dentropy,
        *weighted; /* host [rows_max]: logprobs of the start model; scale of the op */
    uint8_t *clipped;
    float
        *device_floats; /* [7 * rows_max]: logprob, old, advantage, mask, scale, ratio, dlogprob */
    void *device_clipped, *device_starts;
};

/* ---- trainer_pass.c ---- */
/* Sequences [*first, *last) are this rank's share. Returns the rows of all sequences. */
int64_t trainer_share(const struct trainer *trainer, const struct train_sequence *sequences,
                      uint32_t count, uint32_t *first, uint32_t *last);
/* The share of another rank. */
void trainer_share_of(const struct train_sequence *sequences, uint32_t count, int rank, int ranks,
                      uint32_t *first, uint32_t *last);
/* Packs sequences from *i on, as many as fit below `last`. scale NULL: nothing is trained. */
MUST_CHECK enum status trainer_pack(struct trainer *trainer, const struct train_sequence *sequences,
                                    const double *scale, uint32_t last, uint32_t *i);
/* Logprobs (and entropies unless NULL) [heads] of what is in the packing, by `weights`. save: for a backward pass to
 * come; the sequences stay open in the cache then. */
MUST_CHECK enum status trainer_forward(struct trainer *trainer, const struct model_weights *weights,
                                       bool save, float *logprob, float *entropy, act **hidden);

/* What follows the backward passes: gradients and stats summed over ranks, judged, AdamW. stats: in of this rank, out of
 * all. */
MUST_CHECK enum status trainer_apply(struct trainer *trainer, const struct trainer_loss *objective,
                                     struct train_stats *stats);

#endif
