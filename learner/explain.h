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

C_END
#endif
