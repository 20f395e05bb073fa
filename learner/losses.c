#include "learner/losses.h"

#include <math.h>
#include <string.h>

#include "core/check.h"

static const char behaviour[] = "logprobs streamed by the actor (behaviour policy)";

// clang-format off
static const struct losses_row rows[] = {
    [LOSS_CISPO] = {"cispo", POLICY_LOSS_CISPO,
        "-w sg(clip(ratio, weight_min, weight_max)) A logprob",
        "MiniMax-M1 (arXiv:2506.13585) eq. 4 and 5", behaviour,
        LOSSES_READS_WEIGHT | LOSSES_READS_ADVANTAGE, NORMALISER_PROMPT},
    [LOSS_CISPO_MASK] = {"cispo_mask", POLICY_LOSS_CISPO_MASK,
        "-w M sg(clip(ratio, weight_min, weight_max)) A logprob; M = 0 where A > 0 and ratio > 1 + clip_high, "
        "or A < 0 and ratio < 1 - clip_low",
        "MiniMax-M1 (arXiv:2506.13585) eq. 6 and 7", behaviour,
        LOSSES_READS_WEIGHT | LOSSES_READS_CLIP | LOSSES_READS_ADVANTAGE, NORMALISER_PROMPT},
    [LOSS_REINFORCE] = {"reinforce", POLICY_LOSS_REINFORCE,
        "-w sg(ratio) A logprob",
        "MiniMax-M1 (arXiv:2506.13585) eq. 3", behaviour,
        LOSSES_READS_ADVANTAGE, NORMALISER_SAMPLE},
    [LOSS_GRPO] = {"grpo", POLICY_LOSS_PPO_CLIP,
        "-w min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)",
        "GRPO (arXiv:2402.03300) eq. 3 without its KL term", behaviour,
        LOSSES_READS_CLIP | LOSSES_READS_ADVANTAGE, NORMALISER_SAMPLE},
    [LOSS_DAPO] = {"dapo", POLICY_LOSS_PPO_CLIP,
        "-w min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)",
        "DAPO (arXiv:2503.14476) eq. 8", behaviour,
        LOSSES_READS_CLIP | LOSSES_READS_ADVANTAGE, NORMALISER_BATCH},
    [LOSS_GSPO] = {"gspo", POLICY_LOSS_GSPO,
        "-w min(s A, clip(s, 1 - clip_low, 1 + clip_high) A), s = exp(mean over the response of logprob - logprob_old)",
        "GSPO (arXiv:2507.18071) eq. 5 to 10", behaviour,
        LOSSES_READS_CLIP | LOSSES_READS_ADVANTAGE, NORMALISER_SAMPLE},
    [LOSS_SFT] = {"sft", POLICY_LOSS_SFT,
        "-w logprob",
        "maximum likelihood", "none",
        0, NORMALISER_BATCH},
};
// clang-format on

static const char *const normaliser_names[] = {"prompt", "batch", "sample"};
static const char *const normaliser_formulas[] = {
    "1 / (prompts * trained tokens of the group)",
    "1 / trained tokens of the minibatch",
    "1 / (responses * trained tokens of the response)",
};
static const char *const advantage_formulas[] = {
    "(R - mean) / std of the group, squares divided by G",
    "(R - mean) / std of the group, squares divided by G - 1",
    "R - mean of the group",
};

const struct losses_row *losses_row(enum setting_loss loss)
{
    CHECK((size_t)loss < sizeof rows / sizeof rows[0]);
    return &rows[loss];
}

void losses_fill(const struct loss_settings *settings, struct op_policy_loss *args)
{
    const struct losses_row *row = losses_row((enum setting_loss)settings->kind);
    bool weight = row->reads & LOSSES_READS_WEIGHT, clip = row->reads & LOSSES_READS_CLIP;
    args->kind = row->kind;
    args->weight_min = weight ? (float)settings->weight_min : 0.0f;
    args->weight_max = weight ? (float)settings->weight_max : INFINITY;
    args->clip_low = clip ? (float)settings->clip_low : 1.0f;
    args->clip_high = clip ? (float)settings->clip_high : INFINITY;
    args->dual_clip = 0.0f;
}

static enum status explain_objective(const struct loss_settings *settings,
                                     const struct losses_row *row, struct buffer *buffer)
{
    TRY(buffer_printf(buffer, "loss.kind = %s: %s\n", row->name, row->source));
    TRY(buffer_printf(buffer, "  loss      sum over trained tokens of %s\n", row->formula));
    if (row->kind != POLICY_LOSS_SFT)
        TRY(buffer_printf(
            buffer,
            "  ratio     exp(clamp(logprob - logprob_old, -20, 20)); logprob_old: %s\n"
            "  A         %s; 0 when all rewards are equal\n",
            row->anchor, advantage_formulas[settings->advantage_std]));
    if (row->reads & LOSSES_READS_WEIGHT)
        TRY(buffer_printf(buffer, "  weight    %g <= sg(ratio) <= %g%s, no gradient through it\n",
                          settings->weight_min, settings->weight_max,
                          settings->weight_min > 0.0 ? "" : " (no lower bound)"));
    if (row->reads & LOSSES_READS_CLIP)
        TRY(buffer_printf(buffer, "  clip      %g .. %g of %s\n", 1.0 - settings->clip_low,
                          1.0 + settings->clip_high,
                          row->kind == POLICY_LOSS_GSPO ? "s" : "the ratio"));
    TRY(buffer_printf(buffer, "  w         %s (loss.normaliser = %s)\n",
                      normaliser_formulas[settings->normaliser],
                      normaliser_names[settings->normaliser]));
    return buffer_printf(buffer,
                         "  besides   %s no KL term, no second importance weight, no "
                         "entropy bonus, no dual clip\n",
                         "router loss by loss.aux_coefficient (MoE models);");
}

/* What differs from the paper of this loss, and what is set in vain. */
static enum status explain_notes(const struct loss_settings *settings, const struct losses_row *row,
                                 struct buffer *buffer)
{
    if (settings->normaliser != row->normaliser)
        TRY(buffer_printf(buffer, "  note      its paper normalises by %s: loss.normaliser=%s\n",
                          normaliser_names[row->normaliser], normaliser_names[row->normaliser]));
    if (row->kind == POLICY_LOSS_GSPO && settings->clip_high > 0.01)
        TRY(buffer_text(buffer,
                        "  note      GSPO's paper clips at 3e-4 and 4e-4: s is a mean, it moves "
                        "far less than a token's ratio\n"));
    if (settings->kind == LOSS_GRPO && settings->clip_low != settings->clip_high)
        TRY(buffer_text(buffer,
                        "  note      GRPO's paper clips at one epsilon on both sides; unequal ones "
                        "are DAPO's\n"));
    if ((row->reads & LOSSES_READS_WEIGHT) && settings->weight_min > 0.0)
        TRY(buffer_text(buffer,
                        "  note      a lower bound keeps weight on tokens the policy has left; "
                        "M1 has none: loss.weight_min=0\n"));
    if (!(row->reads & LOSSES_READS_WEIGHT))
        TRY(buffer_text(buffer, "  unread    loss.weight_min loss.weight_max\n"));
    if (!(row->reads & LOSSES_READS_CLIP))
        TRY(buffer_text(buffer, "  unread    loss.clip_low loss.clip_high\n"));
    return STATUS_OK;
}

/* CISPO elsewhere: bounds are 1 - low and 1 + high everywhere but in TRL, whose one bound is absolute. */
static enum status explain_cispo(const struct loss_settings *settings, struct buffer *buffer)
{
    double low = 1.0 - settings->weight_min, high = settings->weight_max - 1.0;
    TRY(buffer_printf(
        buffer,
        "  verl      policy_loss.loss_mode=cispo clip_ratio_low=%g clip_ratio_high=%g "
        "use_kl_loss=False; keep bypass_mode off, it replaces the loss\n",
        low, high));
    TRY(buffer_printf(buffer,
                      "  slime     --advantage-estimator cispo --eps-clip %g --eps-clip-high %g "
                      "--use-rollout-logprobs, without --use-tis\n",
                      low, high));
    TRY(buffer_printf(
        buffer,
        "  SkyRL     policy_loss_type=cispo cispo_eps_clip_low=%g cispo_eps_clip_high=%g "
        "cispo_anchor=rollout\n",
        low, high));
    TRY(buffer_printf(
        buffer, "  NeMo-RL   use_cispo: true ratio_clip_min: %g ratio_clip_max: %g, KL penalty 0\n",
        low, high));
    if (settings->weight_min > 0.0)
        TRY(buffer_text(buffer, "  TRL       nothing equal: it has no lower bound\n"));
    else
        TRY(buffer_printf(buffer, "  TRL       loss_type=\"cispo\" epsilon_high=%g (absolute)\n",
                          settings->weight_max));
    return buffer_printf(
        buffer, "  ROLL      pg_variant: cispo cispo_epsilon_low: %g cispo_epsilon_high: %g\n", low,
        high);
}

static enum status explain_clip(const struct loss_settings *settings, bool sequence,
                                struct buffer *buffer)
{
    double low = settings->clip_low, high = settings->clip_high;
    TRY(buffer_printf(
        buffer, "  verl      policy_loss.loss_mode=%s clip_ratio_low=%g clip_ratio_high=%g%s\n",
        sequence ? "gspo" : "vanilla", low, high,
        sequence ? "" : "; its dual clip (clip_ratio_c=3) is on by default, here it is off"));
    TRY(buffer_printf(buffer,
                      "  slime     --advantage-estimator %s --eps-clip %g --eps-clip-high %g\n",
                      sequence ? "gspo" : "grpo", low, high));
    TRY(buffer_printf(buffer, "  SkyRL     policy_loss_type=%s eps_clip_low=%g eps_clip_high=%g\n",
                      sequence ? "gspo" : "regular", low, high));
    TRY(buffer_printf(buffer, "  NeMo-RL   ratio_clip_min: %g ratio_clip_max: %g%s\n", low, high,
                      sequence ? " sequence_level_importance_ratios: true" : ""));
    TRY(buffer_printf(buffer, "  TRL       %s epsilon=%g epsilon_high=%g\n",
                      sequence                      ? "importance_sampling_level=\"sequence\""
                      : settings->kind == LOSS_DAPO ? "loss_type=\"dapo\""
                                                    : "loss_type=\"grpo\"",
                      low, high));
    if (sequence)
        return STATUS_OK;
    return buffer_printf(buffer,
                         "  ROLL      use_pg_clip_range: true pg_clip_low: %g pg_clip_high: %g "
                         "dual_clip_loss: false\n",
                         low, high);
}

static enum status explain_normaliser(enum setting_normaliser normaliser, struct buffer *buffer)
{
    switch (normaliser) {
    case NORMALISER_PROMPT:
        return buffer_text(buffer,
                           "  normaliser prompt: SkyRL prompt_mean; the others have no mean over "
                           "prompts (nearest: their token mean)\n");
    case NORMALISER_BATCH:
        return buffer_text(
            buffer,
            "  normaliser batch: verl loss_agg_mode=token-mean, slime "
            "--calculate-per-token-loss, SkyRL token_mean, NeMo-RL token_level_loss: true, TRL "
            "cispo and dapo, ROLL token-mean\n");
    case NORMALISER_SAMPLE:
        return buffer_text(
            buffer, "  normaliser sample: verl loss_agg_mode=seq-mean-token-mean, slime's default, "
                    "SkyRL sequence_mean, NeMo-RL token_level_loss: false, TRL grpo\n");
    }
    CHECK_NEVER("a normaliser of core/settings.h");
}

static enum status explain_elsewhere(const struct loss_settings *settings, struct buffer *buffer)
{
    if (settings->kind == LOSS_SFT)
        return STATUS_OK;
    TRY(buffer_text(buffer,
                    "the same elsewhere (most anchor at logprobs the trainer recomputes, which "
                    "leaves generation's own error out of the ratio):\n"));
    switch ((enum setting_loss)settings->kind) {
    case LOSS_CISPO:
        TRY(explain_cispo(settings, buffer));
        break;
    case LOSS_CISPO_MASK:
        TRY(buffer_printf(buffer,
                          "  ROLL      pg_variant: cispo cispo_use_unified_mask: true "
                          "cispo_epsilon_low: %g cispo_epsilon_high: %g\n"
                          "  the others have no masked CISPO\n",
                          1.0 - settings->weight_min, settings->weight_max - 1.0));
        break;
    case LOSS_REINFORCE:
        TRY(buffer_text(buffer, "  their CISPO with an upper bound that no ratio reaches\n"));
        break;
    default:
        TRY(explain_clip(settings, settings->kind == LOSS_GSPO, buffer));
    }
    return explain_normaliser((enum setting_normaliser)settings->normaliser, buffer);
}

enum status losses_explain(const struct loss_settings *settings, struct buffer *buffer)
{
    const struct losses_row *row = losses_row((enum setting_loss)settings->kind);
    TRY(explain_objective(settings, row, buffer));
    TRY(explain_notes(settings, row, buffer));
    return explain_elsewhere(settings, buffer);
}
