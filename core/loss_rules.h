/* core/loss_rules.h - which loss reads which settings of the section `loss`, what each one's paper uses, and which
 * combinations contradict themselves.
 *
 * It stands in core because every program refuses a contradictory recipe, also those that link no learner; the losses
 * themselves are rows of learner/losses.c. Pure, any thread. */
#ifndef CORE_LOSS_RULES_H
#define CORE_LOSS_RULES_H

#include "core/settings.h"
#include "core/stage_lengths.h"

C_BEGIN

/* What a loss reads besides kind, normaliser and aux_coefficient. */
enum loss_reads {
    LOSS_READS_WEIGHT_MIN = 1 << 0,
    LOSS_READS_WEIGHT_MAX = 1 << 1,
    LOSS_READS_CLIP = 1 << 2, /* clip_low, clip_high */
    LOSS_READS_DUAL_CLIP = 1 << 3,
    LOSS_READS_REWARD = 1 << 4, /* advantages and the shaping of rewards */
    LOSS_READS_ANCHOR = 1 << 5,
    LOSS_READS_ROLLOUT = 1 << 6, /* rollout_weight_max, with anchor recomputed */
    LOSS_READS_KL = 1 << 7,
    LOSS_READS_ENTROPY = 1 << 8,
    /* read because of another setting */
    LOSS_READS_TOKENS = 1 << 9,   /* normaliser_tokens: normaliser constant */
    LOSS_READS_LAMBDA = 1 << 10,  /* normaliser_lambda: normaliser combined */
    LOSS_READS_EPSILON = 1 << 11, /* advantage_epsilon: a standard deviation that divides */
    LOSS_READS_FACTOR = 1 << 12,  /* overlong_factor: overlong_buffer */
    LOSS_READS_PENALTY = 1 << 13, /* repetition_penalty: repetition penalise */
};

struct loss_rule {
    const char *name;
    unsigned reads; /* LOSS_READS_WEIGHT_MIN to LOSS_READS_ENTROPY */
    /* of its paper; the settings decide */
    enum setting_normaliser normaliser;
    enum setting_advantage_std advantage_std;
    double clip_low, clip_high; /* < 0: it has none, or its paper gives none */
    bool fixed; /* normaliser and advantage_std are the loss: other ones are refused */
};
const struct loss_rule *loss_rule(enum setting_loss loss); /* never NULL */

/* Everything that `loss` reads, of enum loss_reads. */
unsigned loss_reads(const struct loss_settings *loss);

/* One objective on its own: INVALID says which settings contradict each other, why, and what to change. */
MUST_CHECK enum status loss_check(const struct settings *settings,
                                  const struct loss_settings *loss);
/* The same in length stage `stage` of `lengths`, whose cap may be lower than the last one: INVALID names stage and cap. */
MUST_CHECK enum status loss_check_stage(const struct loss_settings *loss,
                                        const struct stage_lengths *lengths, uint32_t stage);
/* A number that is not at its default and that nothing in `reads` reads: INVALID names it. */
MUST_CHECK enum status loss_check_unread(const struct loss_settings *loss, unsigned reads);
/* Calls `say` with the name ("clip_high") of every setting that nothing in `reads` reads. */
void loss_each_unread(unsigned reads, void (*say)(void *self, const char *name), void *self);

/* The divisor of normaliser constant. */
double loss_normaliser_tokens(const struct settings *settings, const struct loss_settings *loss);

C_END
#endif
