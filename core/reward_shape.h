/* core/reward_shape.h - what every learned reward passes before it is trained on: clipping, normalisation by source, and a
 * cap on the share of a batch. Always on for sources that a judge scores, alarm or not. One thread. */
#ifndef CORE_REWARD_SHAPE_H
#define CORE_REWARD_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

struct reward_shape_config {
    double clip;    /* 1: to [-clip, clip], before and after normalisation; 0: off */
    bool normalise; /* (r - mean) / std of the source, running */
    double memory;  /* 1000: rewards after which an old one weighs 1/e; at least 2 */
    double
        least_std; /* 0.05: no smaller std divides, so a constant judge is not blown up to noise */
};
struct reward_shape_config reward_shape_defaults(void); /* clip 1, no normalisation */

/* Of one source. Zeroed: nothing seen. Exact mean and variance until `memory` rewards, exponentially weighted after. */
struct reward_shape {
    double count, mean, variance;
};
/* A raw reward becomes the shaped one; not finite: returned as it is and not counted. */
double reward_shape_push(struct reward_shape *shape, const struct reward_shape_config *config,
                         double reward);

/* How many of `wanted` rollouts of capped sources may join `others` so that they are at most `share` of all. */
uint64_t reward_shape_cap(uint64_t wanted, uint64_t others, double share);

C_END
#endif
