/* reward/rules/rules.h - rewards by rule: instruction following, format, length shaping, repetition, and the scoring
 * functions of other trainers with identical values. docs/rules.md says what each reads and returns. */
#ifndef REWARD_RULES_RULES_H
#define REWARD_RULES_RULES_H

#include "reward/area.h"

extern const struct reward_area ifeval_area;   /* row kind ifeval */
extern const struct reward_area format_area;   /* row kind format */
extern const struct reward_area overlong_area; /* row kinds overlong_dapo, overlong_verl_manager */
extern const struct reward_area repetition_area; /* row kind repetition_truncation */
extern const struct reward_area parity_area;     /* row kind plugin_parity */

#endif
