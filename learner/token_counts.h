/* learner/token_counts.h - how the trained tokens of an update are spread: importance weights, probabilities, positions.
 *
 * Counts only, so that ranks and updates add up, and a plan that is trained again gives the same. Plain; one thread. */
#ifndef LEARNER_TOKEN_COUNTS_H
#define LEARNER_TOKEN_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

enum {
    COUNTS_WEIGHT_OCTAVES =
        10,                  /* weights from 2^-10 to 2^10; the outer bins take what lies beyond */
    COUNTS_WEIGHT_PARTS = 8, /* bins an octave: each is 9 % wide */
    COUNTS_WEIGHT_BINS = 2 * COUNTS_WEIGHT_OCTAVES * COUNTS_WEIGHT_PARTS,
    COUNTS_DENSITY = 40, /* bins of probability from 0 to 1, each way */
    COUNTS_POSITIONS = 32,
    COUNTS_FORKS = 3
};

/* Tokens that were less probable than this are where a chain of thought turns (forks). */
extern const double counts_fork_below[COUNTS_FORKS];

struct token_counts {
    uint64_t weight[COUNTS_WEIGHT_BINS];              /* importance weight before the clip */
    uint64_t density[COUNTS_DENSITY][COUNTS_DENSITY]; /* [streamed][trained] probability */
    uint64_t positive, negative;                      /* tokens by the sign of their advantage */
    uint64_t positive_clipped, negative_clipped;
    uint64_t fork[COUNTS_FORKS]; /* streamed probability below counts_fork_below[i] */
    uint64_t position_tokens[COUNTS_POSITIONS]; /* by index in the response */
    double position_logprob[COUNTS_POSITIONS];  /* sums of trained logprobs, likewise */
    double difference_sq_sum, difference_max;   /* of |p - streamed p| */
};

/* One trained token; probabilities in [0, 1], logprob of the trained one. `index` of `span` positions at most. Numbers
 * that are not finite are passed over. */
struct counted_token {
    double probability, streamed, logprob, ratio, advantage;
    bool clipped;
    uint32_t index, span;
};
void token_counts_add(struct token_counts *counts, const struct counted_token *token);
void token_counts_merge(struct token_counts *sum, const struct token_counts *part);

/* Importance weight at the lower edge of bin i; i = COUNTS_WEIGHT_BINS: the end of the last. */
double token_counts_edge(int i);
/* Weight below which `share` of the tokens lie, to the width of a bin; 0 without tokens. */
double token_counts_weight_quantile(const struct token_counts *counts, double share);

C_END
#endif
