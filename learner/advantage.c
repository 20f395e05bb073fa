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
    if (convention == ADVANTAGE_STD_NONE || convention == ADVANTAGE_STD_BATCH)
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

struct advantage_rule advantage_rule_of(const struct loss_settings *loss)
{
    return (struct advantage_rule){.std = (enum setting_advantage_std)loss->advantage_std,
                                   .mean = (enum setting_advantage_mean)loss->advantage_mean,
                                   .epsilon = loss->advantage_epsilon};
}

static enum status check_rewards(const double *reward, int32_t count)
{
    if (count < 1)
        return FAIL(STATUS_INVALID, "advantages of a group of %d rollouts; it needs one at least",
                    count);
    for (int32_t i = 0; i < count; i++)
        if (!isfinite(reward[i]))
            return FAIL(STATUS_INVALID,
                        "reward of sample %d is %g; a plugin must give finite scores", i,
                        reward[i]);
    return STATUS_OK;
}

enum status advantage_by_rule(const double *reward, int32_t count,
                              const struct advantage_rule *rule, double *advantage,
                              struct advantage_group *group)
{
    TRY(check_rewards(reward, count));
    double mean = mean_of(reward, count), divisor = 1.0, factor = 1.0;
    *group = (struct advantage_group){.mean = mean, .zero_variance = all_equal(reward, count)};
    if (!group->zero_variance)
        group->std = std_of(reward, count, mean, rule->std);
    /* std underflows to 0 when rewards differ by less than 1e-154: as good as equal. */
    if (group->std == 0.0)
        group->zero_variance = true;
    if (rule->std == ADVANTAGE_STD_POPULATION || rule->std == ADVANTAGE_STD_SAMPLE)
        divisor = group->std + rule->epsilon;
    /* R - (sum - R) / (G - 1) = (R - mean) G / (G - 1); G = 1 has no variance */
    if (rule->mean == ADVANTAGE_MEAN_LEAVE_ONE_OUT && count > 1)
        factor = (double)count / (count - 1);
    for (int32_t i = 0; i < count; i++)
        advantage[i] = group->zero_variance ? 0.0 : factor * (reward[i] - mean) / divisor;
    return STATUS_OK;
}

enum status advantage_of_group(const double *reward, int32_t count,
                               enum setting_advantage_std convention, double *advantage,
                               struct advantage_group *group)
{
    const struct advantage_rule rule = {.std = convention};
    return advantage_by_rule(reward, count, &rule, advantage, group);
}

double advantage_batch_std(const double *advantage, int64_t count)
{
    double sum = 0.0, squares = 0.0;
    bool equal = true;
    for (int64_t i = 0; i < count; i++) {
        sum += advantage[i];
        equal = equal && advantage[i] == advantage[0];
    }
    if (count == 0 || equal)
        return 0.0;
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (advantage[i] - mean) * (advantage[i] - mean);
    return sqrt(squares / (double)count);
}
