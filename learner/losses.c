#include "learner/losses.h"

#include <math.h>

#include "core/check.h"

#define PPO_FORMULA                                                                        \
    "-w min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A); where A < 0 at most -w " \
    "dual_clip A, when dual_clip > 1"
#define CISPO_FORMULA "-w sg(clip(ratio, weight_min, weight_max)) A logprob"

// clang-format off
static const struct losses_row rows[] = {
    [LOSS_CISPO] = {"cispo", POLICY_LOSS_CISPO, CISPO_FORMULA,
        "MiniMax-M1 (arXiv:2506.13585) eq. 4 and 5"},
    [LOSS_CISPO_MASK] = {"cispo_mask", POLICY_LOSS_CISPO_MASK,
        "-w M sg(clip(ratio, weight_min, weight_max)) A logprob; M = 0 where A > 0 and ratio > 1 + clip_high, "
        "or A < 0 and ratio < 1 - clip_low",
        "MiniMax-M1 (arXiv:2506.13585) eq. 6 and 7"},
    [LOSS_REINFORCE] = {"reinforce", POLICY_LOSS_REINFORCE, "-w sg(ratio) A logprob",
        "MiniMax-M1 (arXiv:2506.13585) eq. 3"},
    [LOSS_GRPO] = {"grpo", POLICY_LOSS_PPO_CLIP, PPO_FORMULA,
        "GRPO (arXiv:2402.03300) eq. 3; its KL term by loss.kl_coefficient"},
    [LOSS_DAPO] = {"dapo", POLICY_LOSS_PPO_CLIP, PPO_FORMULA,
        "DAPO (arXiv:2503.14476) eq. 8"},
    [LOSS_DR_GRPO] = {"dr_grpo", POLICY_LOSS_PPO_CLIP, PPO_FORMULA,
        "Dr. GRPO (arXiv:2503.20783) section 3.2: no std, no length in the normaliser"},
    [LOSS_GSPO] = {"gspo", POLICY_LOSS_GSPO,
        "-w min(s A, clip(s, 1 - clip_low, 1 + clip_high) A), s = exp(mean over the response of logprob - logprob_old)",
        "GSPO (arXiv:2507.18071) eq. 5 to 10"},
    [LOSS_SCALERL] = {"scalerl", POLICY_LOSS_CISPO, "-w sg(min(ratio, weight_max)) A logprob",
        "ScaleRL (arXiv:2510.13786): CISPO, std of the batch, mean over prompts"},
    [LOSS_SFT] = {"sft", POLICY_LOSS_SFT, "-w logprob", "maximum likelihood"},
};
// clang-format on

const struct losses_row *losses_row(enum setting_loss loss)
{
    CHECK((size_t)loss < sizeof rows / sizeof rows[0]);
    return &rows[loss];
}

void losses_fill(const struct loss_settings *settings, struct op_policy_loss *args)
{
    unsigned reads = loss_rule((enum setting_loss)settings->kind)->reads;
    bool clip = reads & LOSS_READS_CLIP;
    args->kind = losses_row((enum setting_loss)settings->kind)->kind;
    args->weight_min = reads & LOSS_READS_WEIGHT_MIN ? (float)settings->weight_min : 0.0f;
    args->weight_max = reads & LOSS_READS_WEIGHT_MAX ? (float)settings->weight_max : INFINITY;
    args->clip_low = clip ? (float)settings->clip_low : 1.0f;
    args->clip_high = clip ? (float)settings->clip_high : INFINITY;
    args->dual_clip = reads & LOSS_READS_DUAL_CLIP ? (float)settings->dual_clip : 0.0f;
}

static const double log_ratio_max = 20; /* exp(20) = 4.9e8, as in op_policy_loss */

double losses_terms(const struct loss_settings *settings, double scale, double logprob,
                    double logprob_ref, double entropy, double *dlogprob, double *dentropy)
{
    double loss = 0;
    *dentropy = 0;
    if (settings->kl_coefficient > 0) {
        double wide = logprob_ref - logprob,
               d = fmax(-log_ratio_max, fmin(log_ratio_max, wide)); /* fmax drops a NaN: */
        double weight = scale * settings->kl_coefficient, kl = expm1(d) - d;
        loss += isnan(wide) ? NAN : weight * kl;
        if (fabs(wide) < log_ratio_max)
            *dlogprob -= weight * expm1(d);
    }
    if (settings->entropy_coefficient > 0) {
        *dentropy = -scale * settings->entropy_coefficient;
        loss += *dentropy * entropy;
    }
    return loss;
}

double losses_rollout_weight(const struct loss_settings *settings, double logprob_old,
                             double logprob_rollout)
{
    if (!(settings->rollout_weight_max > 0))
        return 1;
    double d = logprob_old - logprob_rollout;
    double weight = exp(d > log_ratio_max    ? log_ratio_max
                        : d < -log_ratio_max ? -log_ratio_max
                                             : d);
    return weight > settings->rollout_weight_max ? settings->rollout_weight_max : weight;
}
