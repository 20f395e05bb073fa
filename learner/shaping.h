/* learner/shaping.h - rewards before they become advantages: what a rollout's length and its end do to them.
 *
 * The store has filtered groups by then, on the value as it was scored: a length penalty would give every group a
 * spread. Everything is a function of the settings in force, the plan's cap of responses and the rollout, so a plan
 * that is trained again is shaped the same. Pure, any thread.
 *
 * A masked rollout (loss.overlong mask, loss.repetition mask) is not trained, and its reward, shaped like any other,
 * counts in its group's mean and standard deviation. DAPO (arXiv:2503.14476 section 3.4) says only that the loss of
 * truncated samples is masked; TRL's mask_truncated_completions and verl's masks keep their rewards in the group too,
 * and without them the mean of a hard prompt would be that of its finished answers alone. */
#ifndef LEARNER_SHAPING_H
#define LEARNER_SHAPING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"
#include "proto/messages.h"

C_BEGIN

/* Soft overlong punishment, DAPO eq. 13: 0 while length <= cap - buffer, then down to -1 at the cap, -1 above it.
 * tokens; buffer > 0. In [-1, 0]. */
double shaping_overlong(uint32_t length, uint32_t cap, uint32_t buffer);

struct shaped_reward {
    double reward;
    bool trained; /* false: masked, see above */
};
/* cap: of responses when the plan was made. reward: as scored. */
struct shaped_reward shaping_of(const struct loss_settings *loss, uint32_t cap,
                                enum segment_status finish, uint32_t length, double reward);

C_END
#endif
