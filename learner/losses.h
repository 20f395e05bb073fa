/* learner/losses.h - the one table of policy losses: what each setting loss.kind means.
 *
 * A row maps a setting to an op of kernels/ops.h, with its formula and source; what it reads, may have and what its
 * paper uses stands beside it in core/loss_rules.h, so that every program can refuse a contradiction. Weight bounds
 * are absolute numbers. The anchor is the logprobs streamed by the actor (the behaviour policy: the ratio then holds
 * staleness and the gap between training and generation at once), or recomputed ones. docs/losses.md has the formulas
 * at length. Pure, any thread. */
#ifndef LEARNER_LOSSES_H
#define LEARNER_LOSSES_H

#include <stddef.h>

#include "core/buffer.h"
#include "core/loss_rules.h"
#include "core/settings.h"
#include "core/status.h"
#include "kernels/ops.h"

C_BEGIN

struct losses_row {
    const char *name; /* as in the settings */
    enum policy_loss kind;
    const char *formula; /* loss of one token */
    const char *source;
};

const struct losses_row *losses_row(enum setting_loss loss); /* never NULL */

/* Sets kind, weight_min, weight_max, clip_low, clip_high and dual_clip of args; bounds that the loss does not read
 * become open (weight 0 to infinity, clip 1 and infinity, dual clip off). Leaves the rest alone. */
void losses_fill(const struct loss_settings *settings, struct op_policy_loss *args);

/* The terms beside the op's, of one trained token, added to its loss and slopes:
 *   KL       w kl_coefficient (e^d - 1 - d), d = clamp(logprob_ref - logprob, -20, 20): k3, GRPO (arXiv:2402.03300)
 *            eq. 4; its slope to logprob is w kl_coefficient (1 - e^d), 0 where d is clamped
 *   entropy  -w entropy_coefficient H, H the entropy of the token's distribution in nats
 * Returns what the loss gains; *dlogprob gains the first slope, *dentropy is set to the second. */
double losses_terms(const struct loss_settings *settings, double scale, double logprob,
                    double logprob_ref, double entropy, double *dlogprob, double *dentropy);
/* min(exp(logprob_old - logprob_rollout), rollout_weight_max): what a token's scale is multiplied by (truncated
 * importance sampling, Yao et al. 2025); 1 when rollout_weight_max is 0. A constant: no gradient goes through it. */
double losses_rollout_weight(const struct loss_settings *settings, double logprob_old,
                             double logprob_rollout);

/* Appends the effective objective with the run's numbers, settings that are set but not read, and what to
 * set in verl, slime, SkyRL, NeMo-RL, TRL and ROLL for the same objective. LIMIT or NO_MEMORY: the buffer's. */
MUST_CHECK enum status losses_explain(const struct loss_settings *settings, struct buffer *buffer);

C_END
#endif
