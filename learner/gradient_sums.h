/* learner/gradient_sums.h - what is counted of one group of gradients, and what is said of it; pure.
 *
 * Sums and counts only, so those of several ranks add up to what one process would have counted. MiniMax-M1
 * (section 3.2, "Adam optimizer") reports the same three things: the range of |g| (1e-18 to 1e-5), the share below
 * 1e-14, and the correlation of consecutive gradients. Any thread. */
#ifndef LEARNER_GRADIENT_SUMS_H
#define LEARNER_GRADIENT_SUMS_H

#include <stdint.h>

#include "core/buffer.h"

C_BEGIN

enum {
    GRADIENT_BINS_A_DECADE = 10,
    GRADIENT_DECADE_LEAST = -46, /* 1.4e-45 is the least f32 */
    GRADIENT_DECADES = 46 + 39,
    GRADIENT_BINS = GRADIENT_DECADES * GRADIENT_BINS_A_DECADE
};
#define GRADIENT_TINY 1e-14

struct gradient_sums {
    uint64_t sampled;                      /* elements looked at */
    uint64_t zeros;                        /* of them exactly 0 */
    uint64_t tiny;                         /* of them not 0 and |g| < GRADIENT_TINY */
    uint64_t non_finite;                   /* left out of everything below */
    double least, most;                    /* |g| that are not 0; least is INFINITY without one */
    double squares;                        /* sum g^2 */
    uint64_t pairs;                        /* elements with a gradient of the update before */
    double x, y, xx, yy, xy;               /* sums over the pairs; y: the update before */
    double update_squares, weight_squares; /* of the same elements, the weight before the update */
    uint32_t bins[GRADIENT_BINS];          /* |g| that are not 0, by log10 */
};

void gradient_sums_init(struct gradient_sums *sums);
void gradient_sums_gradient(struct gradient_sums *sums, const float *gradient, int64_t count);
void gradient_sums_pairs(struct gradient_sums *sums, const float *gradient, const float *before,
                         int64_t count);
void gradient_sums_update(struct gradient_sums *sums, const float *weight_before,
                          const float *weight_after, int64_t count);
/* part joins sum. */
void gradient_sums_add(struct gradient_sums *sum, const struct gradient_sums *part);

/* log10 of the |g| below which `share` of the elements that are not 0 lie, of `count` groups weighted by elements
 * (elements[i] / sums[i].sampled each); the middle of a bin, 0.05 off at most. NAN without any. */
double gradient_sums_quantile(const struct gradient_sums *sums, const int64_t *elements,
                              uint32_t count, double share);
/* Of the elements that are not 0, the share below GRADIENT_TINY, weighted likewise; NAN without any. */
double gradient_sums_tiny(const struct gradient_sums *sums, const int64_t *elements,
                          uint32_t count);
double gradient_sums_pearson(const struct gradient_sums *sums); /* NAN: no pairs or no spread */
double gradient_sums_cosine(const struct gradient_sums *sums);  /* NAN: no pairs or a zero vector */
/* rms(update) / rms(weight); NAN when the weights are 0. */
double gradient_sums_update_ratio(const struct gradient_sums *sums);
/* Appends "sampled":..,"zeros":.., ... (members without braces); NAN is null. elements: of the group. */
MUST_CHECK enum status gradient_sums_json(const struct gradient_sums *sums, int64_t elements,
                                          struct buffer *text);

C_END
#endif
