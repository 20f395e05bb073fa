/* learner/advantage.h - rewards of one group become advantages.
 *
 * A[i] = (R[i] - baseline[i]) / (std + epsilon) over the G rollouts of one prompt (MiniMax-M1 eq. 2, GRPO). The
 * baseline is the group's mean, or the mean of the G - 1 others (RLOO, arXiv:2402.14740 eq. 9), which is G / (G - 1)
 * times the same difference. epsilon is 0 unless a recipe says otherwise: a group whose rewards are all equal has
 * nothing to teach, gets zeros and a flag, and dynamic sampling drops it. Pure, any thread; sums in f64.
 *
 *     struct advantage_rule rule = {.std = ADVANTAGE_STD_POPULATION};
 *     struct advantage_group group;
 *     TRY(advantage_by_rule(reward, 16, &rule, advantage, &group));  */
#ifndef LEARNER_ADVANTAGE_H
#define LEARNER_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"

C_BEGIN

/* std: population divides the squares by G; sample by G - 1 (torch.std); none and batch: nothing divides here
 * (Dr. GRPO, arXiv:2503.20783; for batch, ScaleRL, the caller divides by advantage_batch_std + epsilon). */
struct advantage_rule {
    enum setting_advantage_std std;
    enum setting_advantage_mean mean;
    double epsilon; /* added to the std that divides */
};
struct advantage_rule advantage_rule_of(const struct loss_settings *loss);

struct advantage_group {
    double mean; /* of the rewards */
    double std;  /* by the convention asked for; 1 for none and batch; 0 when zero_variance */
    bool zero_variance; /* all rewards equal: every advantage is 0 */
};

/* reward and advantage [count] may be the same array. INVALID: a reward that is not finite, named by its index, or an
 * empty group; nothing is written then. */
MUST_CHECK enum status advantage_by_rule(const double *reward, int32_t count,
                                         const struct advantage_rule *rule, double *advantage,
                                         struct advantage_group *group);
/* The same with the group's mean and no epsilon. */
MUST_CHECK enum status advantage_of_group(const double *reward, int32_t count,
                                          enum setting_advantage_std convention, double *advantage,
                                          struct advantage_group *group);

/* ADVANTAGE_STD_BATCH: the std over `count` advantages of a minibatch that subtract a mean only, squares divided by
 * count (ScaleRL, arXiv:2510.13786: "the standard deviation of all advantages in a batch"). 0: all are equal. */
double advantage_batch_std(const double *advantage, int64_t count);

C_END
#endif
