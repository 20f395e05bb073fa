/* learner/explain.h - `weir explain`: what a recipe trains, in formulas with its numbers. Pure, any thread. */
#ifndef LEARNER_EXPLAIN_H
#define LEARNER_EXPLAIN_H

#include "core/buffer.h"
#include "core/settings.h"

C_BEGIN

/* Appends the objective, how rewards are shaped and become advantages, what is set and not read, the timeline of
 * schedule.changes with each new objective, and equal settings of other systems. Settings have passed settings_check.
 * LIMIT or NO_MEMORY: the buffer's. */
MUST_CHECK enum status explain_run(const struct settings *settings, struct buffer *buffer);

/* The same of what the recipe is for: of `weir sft` where sft.train or sft.out is set, else of a run, which it then must
 * be fit for. INVALID: it is not. */
MUST_CHECK enum status explain_recipe(const struct settings *settings, struct buffer *buffer);

C_END
#endif
