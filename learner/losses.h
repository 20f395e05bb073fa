/* learner/losses.h - the one table of policy losses: what each setting loss.kind means.
 *
 * A row maps a setting to an op of kernels/ops.h and says which other settings it reads, so that a number in
 * a recipe that nothing reads can be named. Weight bounds are absolute numbers. Every loss has one anchor,
 * the logprobs streamed by the actor (the behaviour policy): the ratio then holds staleness and the gap
 * between training and generation at once, so there is no second importance weight, and no KL term.
 * docs/losses.md has the formulas at length. Pure, any thread. */
#ifndef LEARNER_LOSSES_H
#define LEARNER_LOSSES_H

#include <stddef.h>

#include "core/buffer.h"
#include "core/settings.h"
#include "core/status.h"
#include "kernels/ops.h"

C_BEGIN

/* Which settings of the section `loss` a row reads besides kind. */
enum losses_reads {
    LOSSES_READS_WEIGHT = 1,    /* weight_min, weight_max */
    LOSSES_READS_CLIP = 2,      /* clip_low, clip_high */
    LOSSES_READS_ADVANTAGE = 4, /* advantage_std */
};

struct losses_row {
    const char *name; /* as in the settings */
    enum policy_loss kind;
    const char *formula; /* loss of one token */
    const char *source;
    const char *anchor;                 /* what logprob_old is */
    unsigned reads;                     /* of enum losses_reads */
    enum setting_normaliser normaliser; /* of its paper; loss.normaliser decides */
};

const struct losses_row *losses_row(enum setting_loss loss); /* never NULL */

/* Sets kind, weight_min, weight_max, clip_low, clip_high and dual_clip (off) of args; bounds that the loss
 * does not read become open (weight 0 to infinity, clip 1 and infinity). Leaves the rest alone. */
void losses_fill(const struct loss_settings *settings, struct op_policy_loss *args);

/* Appends the effective objective with the run's numbers, settings that are set but not read, and what to
 * set in verl, slime, SkyRL, NeMo-RL, TRL and ROLL for the same objective. LIMIT or NO_MEMORY: the buffer's. */
MUST_CHECK enum status losses_explain(const struct loss_settings *settings, struct buffer *buffer);

C_END
#endif
