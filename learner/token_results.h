/* learner/token_results.h - what an update computed for each token, for those sequences that somebody wants to show.
 *
 * The trainer has these numbers on the host in any case; a sequence with `results` gets a copy. With several ranks each
 * sends those of its share to rank 0. One thread. */
#ifndef LEARNER_TOKEN_RESULTS_H
#define LEARNER_TOKEN_RESULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/status.h"
#include "learner/sequence.h"

C_BEGIN

struct trainer;

struct token_results { /* of one response; arrays [response_count] */
    float *logprob;    /* by the weights that the update found, nats */
    float *entropy;    /* nats */
    float *weight;     /* importance weight before the clip */
    uint8_t *clipped;  /* 1: it hit a bound */
    bool filled;       /* false: not trained yet, or the update had no signal */
};

/* Room for each of `sequences` with `wanted`, in the arena. LIMIT: it is full. */
MUST_CHECK enum status token_results_make(struct arena *arena, struct train_sequence *sequences,
                                          uint32_t count);
/* After a micro-batch: copies of what the scratch of the trainer has of these sequences, in the order of the packing. */
void token_results_take(const struct trainer *trainer, const struct train_sequence *sequences,
                        uint32_t count);
/* After an update with ranks: a follower sends its share to rank 0, which receives all. */
MUST_CHECK enum status token_results_share(const struct trainer *trainer,
                                           const struct train_sequence *sequences, uint32_t count);

C_END
#endif
