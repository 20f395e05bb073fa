#include "learner/advantage.h"

#include <math.h>

/* Mean first, then squares of the differences: no cancellation for rewards far from 0. */
static double mean_of(const double *reward, int32_t count)
{
    double sum = 0.0;
    for (int32_t i = 0; i < count; i++)
        sum += reward[i];
    return sum / count;
}

static double std_of(const double *reward, int32_t count, double mean,
                     enum setting_advantage_std convention)
{
    double squares = 0.0;
    if (convention == ADVANTAGE_STD_NONE)
        return 1.0;
    for (int32_t i = 0; i < count; i++)
        squares += (reward[i] - mean) * (reward[i] - mean);
    return sqrt(squares / (convention == ADVANTAGE_STD_SAMPLE ? count - 1 : count));
}

/* Compared as they are: the mean of equal numbers may be off by a rounding, which a tiny std would blow
 * up to advantages of size 1. */
static bool all_equal(const double *reward, int32_t count)
{
    for (int32_t i = 1; i < count; i++)
        if (reward[i] != reward[0])
            return false;
    return true;
}

enum status advantage_of_group(const double *reward, int32_t count,
                               enum setting_advantage_std convention, double *advantage,
                               struct advantage_group *group)
{
    if (count < 1)
        return FAIL(STATUS_INVALID, "advantages of a group of %d rollouts; it needs one at least",
                    count);
    for (int32_t i = 0; i < count; i++)
        if (!isfinite(reward[i]))
            return FAIL(STATUS_INVALID,
                        "reward of sample %d is %g; a plugin must give finite scores", i,
                        reward[i]);
    double mean = mean_of(reward, count);
    *group = (struct advantage_group){.mean = mean, .zero_variance = all_equal(reward, count)};
    if (!group->zero_variance)
        group->std = std_of(reward, count, mean, convention);
    /* std underflows to 0 when rewards differ by less than 1e-154: as good as equal. */
    if (group->std == 0.0)
        group->zero_variance = true;
    for (int32_t i = 0; i < count; i++)
        advantage[i] = group->zero_variance ? 0.0 : (reward[i] - mean) / group->std;
    return STATUS_OK;
}
