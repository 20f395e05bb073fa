/* learner/advantage.h - rewards of one group become advantages.
 *
 * A[i] = (R[i] - mean(R)) / std(R) over the G rollouts of one prompt (MiniMax-M1 eq. 2, GRPO). No epsilon
 * in the denominator: a group whose rewards are all equal has nothing to teach, gets zeros and a flag, and
 * dynamic sampling drops it. Pure, any thread; sums in f64.
 *
 *     struct advantage_group group;
 *     TRY(advantage_of_group(reward, 16, ADVANTAGE_STD_POPULATION, advantage, &group));  */
#ifndef LEARNER_ADVANTAGE_H
#define LEARNER_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"

C_BEGIN

struct advantage_group {
    double mean; /* of the rewards */
    double std;  /* by the convention asked for; 1 for ADVANTAGE_STD_NONE; 0 when zero_variance */
    bool zero_variance; /* all rewards equal: every advantage is 0 */
};

/* population: divides the squares by G; sample: by G - 1 (torch.std); none: only subtracts the mean
 * (Dr. GRPO, arXiv:2503.20783). reward and advantage [count] may be the same array. INVALID: a reward that
 * is not finite, named by its index, or an empty group; nothing is written then. */
MUST_CHECK enum status advantage_of_group(const double *reward, int32_t count,
                                          enum setting_advantage_std convention, double *advantage,
                                          struct advantage_group *group);

C_END
#endif
