/* ops/estimate.h - what can be said about a model from k scored answers to each prompt.
 *
 * avg@k   the mean over prompts of the share (or mean reward) of its answers.
 * pass@k  the chance that at least one of k answers is right; unbiased from n answers of which c are right:
 *         1 - C(n-c, k) / C(n, k) (Chen et al. 2021, Codex, eq. 1), a product so that nothing overflows.
 * maj@k   whether the most frequent extracted answer of k is right; ties go to the one that came first (Wang et al. 2022,
 *         "Self-consistency"). From n > k answers: the mean over ESTIMATE_SUBSETS random choices of k.
 *
 * Intervals: percentile bootstrap over prompts (Efron 1979), because answers to one prompt are not independent. Seeded,
 * so the same data gives the same interval. Pure; any thread. */
#ifndef OPS_ESTIMATE_H
#define OPS_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"
#include "core/status.h"

enum { ESTIMATE_RESAMPLES = 1000, ESTIMATE_SUBSETS = 256 };

/* NAN when n < k: it cannot be known from so few. */
double estimate_pass(uint32_t n, uint32_t c, uint32_t k);

struct estimate {
    double value, low, high; /* 95 %; NAN without prompts */
    uint32_t prompts;        /* that have a value */
};

/* Mean of values[count] and its interval; NAN values are left out. */
MUST_CHECK enum status estimate_mean(const double *values, uint32_t count, uint64_t seed,
                                     struct estimate *estimate);

/* Index of the first answer that belongs to the most frequent text (NULL: no answer, does not vote); -1: none votes. */
int64_t estimate_majority(const char *const *answers, uint32_t count);

/* maj@k from n answers. kind[n]: equal for equal answers, below n; -1: no answer, does not vote; passed[n]. room[3 n] is
 * scratch. Choices in which nobody votes are wrong. NAN: n < k, or none of the n votes. Draws only when 1 < k < n. */
double estimate_majority_at(const int32_t *kind, const bool *passed, uint32_t n, uint32_t k,
                            struct rng *rng, uint32_t *room);

/* Nearest-rank quantile (the smallest value that q of all are not above) of values[count], which is sorted here. */
double estimate_quantile(double *values, uint32_t count, double q);

#endif
