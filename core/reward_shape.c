#include "core/reward_shape.h"

#include <math.h>

struct reward_shape_config reward_shape_defaults(void)
{
    return (struct reward_shape_config){
        .clip = 1, .normalise = false, .memory = 1000, .least_std = 0.05};
}

static double clipped(double value, double clip)
{
    return clip > 0 ? fmax(-clip, fmin(clip, value)) : value;
}

double reward_shape_push(struct reward_shape *shape, const struct reward_shape_config *config,
                         double reward)
{
    if (!isfinite(reward))
        return reward;
    reward = clipped(reward, config->clip);
    shape->count = fmin(shape->count + 1, fmax(2, config->memory));
    double weight = 1 / shape->count, distance = reward - shape->mean;
    shape->mean += weight * distance; /* Welford (1962) while the weight falls, an EMA after */
    shape->variance += weight * (distance * (reward - shape->mean) - shape->variance);
    if (!config->normalise)
        return reward;
    double std = fmax(config->least_std, sqrt(fmax(0, shape->variance)));
    return clipped((reward - shape->mean) / std, config->clip);
}

uint64_t reward_shape_cap(uint64_t wanted, uint64_t others, double share)
{
    if (!(share < 1))
        return wanted;
    if (!(share > 0))
        return 0;
    double most = floor((double)others * share / (1 - share) + 1e-9);
    return most < (double)wanted ? (uint64_t)most : wanted;
}
