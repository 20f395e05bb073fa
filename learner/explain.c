/* learner/explain.c - `weir explain`: the objective of a run with its numbers, and the same in other systems.
 *
 * Names and meanings of their settings are those of verl (main_ppo configuration), slime (arguments.py), SkyRL
 * (trainer.algorithm), NeMo-RL (grpo and loss_fn), TRL (GRPOConfig) and ROLL as published in mid-2026. */
#include "learner/explain.h"

#include <inttypes.h>
#include <string.h>

#include "core/check.h"
#include "core/schedule.h"
#include "learner/losses.h"
#include "learner/sft.h"

static const char *const normaliser_names[] = {"prompt", "batch", "sample", "constant", "combined"};
static const char *const normaliser_formulas[] = {
    "1 / (prompts * trained tokens of the group)",
    "1 / trained tokens of the minibatch",
    "1 / (responses * trained tokens of the response)",
    "1 / (responses * normaliser_tokens)",
    "lambda / (responses * trained tokens of the response) + (1 - lambda) / the minibatch's",
};
static const char *const std_names[] = {"population", "sample", "none", "batch"};
static const char *const std_formulas[] = {
    "std of the group, squares divided by G",
    "std of the group, squares divided by G - 1",
    "",
    "std of all advantages of the minibatch, squares divided by their number",
};

/* ---- the objective ---- */

static enum status explain_advantage(const struct loss_settings *loss, struct buffer *buffer)
{
    bool divides = loss->advantage_std != ADVANTAGE_STD_NONE;
    TRY(buffer_printf(buffer, "  A         %sR - mean of the %s%s%s", divides ? "(" : "",
                      loss->advantage_mean == ADVANTAGE_MEAN_GROUP ? "group"
                                                                   : "others of the group",
                      divides ? ") / " : "", divides && loss->advantage_epsilon > 0 ? "(" : ""));
    TRY(buffer_text(buffer, std_formulas[loss->advantage_std]));
    if (divides && loss->advantage_epsilon > 0)
        TRY(buffer_printf(buffer, " + %g)", loss->advantage_epsilon));
    return buffer_text(buffer, "; 0 when all rewards are equal\n");
}

static enum status explain_ratio(const struct loss_settings *loss, struct buffer *buffer)
{
    TRY(buffer_text(buffer,
                    "  ratio     exp(clamp(logprob - logprob_old, -20, 20)); logprob_old: "));
    if (loss->anchor == ANCHOR_STREAMED)
        return buffer_text(buffer, "logprobs streamed by the actor (behaviour policy)\n");
    TRY(buffer_text(buffer, "recomputed with the weights the plan starts with; the actor's serve "
                            "metrics"));
    if (loss->rollout_weight_max > 0)
        TRY(buffer_printf(buffer, " and a factor min(p_old / p_streamed, %g) on w",
                          loss->rollout_weight_max));
    return buffer_text(buffer, "\n");
}

static enum status explain_bounds(const struct loss_settings *loss, unsigned reads,
                                  struct buffer *buffer)
{
    if (reads & LOSS_READS_WEIGHT_MAX) {
        double low = reads & LOSS_READS_WEIGHT_MIN ? loss->weight_min : 0;
        TRY(buffer_printf(buffer, "  weight    %g <= sg(ratio) <= %g%s, no gradient through it\n",
                          low, loss->weight_max, low > 0.0 ? "" : " (no lower bound)"));
    }
    if (reads & LOSS_READS_CLIP)
        TRY(buffer_printf(buffer, "  clip      %g .. %g of %s\n", 1.0 - loss->clip_low,
                          1.0 + loss->clip_high, loss->kind == LOSS_GSPO ? "s" : "the ratio"));
    if (loss->dual_clip > 0)
        TRY(buffer_printf(buffer, "  dual clip where A < 0 the ratio counts at most %g times\n",
                          loss->dual_clip));
    return STATUS_OK;
}

static enum status explain_besides(const struct loss_settings *loss, unsigned reads,
                                   struct buffer *buffer)
{
    if (loss->kl_coefficient > 0)
        TRY(buffer_printf(buffer,
                          "  KL        + w %g (e^d - 1 - d), d = logprob_ref - logprob (k3); "
                          "reference: the start model\n",
                          loss->kl_coefficient));
    if (loss->entropy_coefficient > 0)
        TRY(buffer_printf(buffer, "  entropy   - w %g entropy of the token's distribution\n",
                          loss->entropy_coefficient));
    TRY(buffer_printf(buffer, "  besides   router loss by loss.aux_coefficient = %g (MoE models);",
                      loss->aux_coefficient));
    TRY(buffer_text(buffer, loss->kl_coefficient > 0 ? "" : " no KL term,"));
    TRY(buffer_text(buffer, loss->rollout_weight_max > 0 ? "" : " no second importance weight,"));
    TRY(buffer_text(buffer, loss->entropy_coefficient > 0 ? "" : " no entropy bonus,"));
    return buffer_text(buffer, (reads & LOSS_READS_DUAL_CLIP) && loss->dual_clip > 0
                                   ? " nothing else\n"
                                   : " no dual clip\n");
}

static enum status explain_normaliser(const struct loss_settings *loss, double tokens,
                                      struct buffer *buffer)
{
    TRY(buffer_printf(buffer, "  w         %s (loss.normaliser = %s",
                      normaliser_formulas[loss->normaliser], normaliser_names[loss->normaliser]));
    if (loss->normaliser == NORMALISER_CONSTANT)
        TRY(buffer_printf(buffer, ", normaliser_tokens = %g", tokens));
    if (loss->normaliser == NORMALISER_COMBINED)
        TRY(buffer_printf(buffer, ", lambda = %g; M1 gives no formula, this one is ours",
                          loss->normaliser_lambda));
    return buffer_text(buffer, ")\n");
}

static enum status explain_objective(const struct loss_settings *loss, double tokens,
                                     struct buffer *buffer)
{
    const struct losses_row *row = losses_row((enum setting_loss)loss->kind);
    unsigned reads = loss_reads(loss);
    TRY(buffer_printf(buffer, "loss.kind = %s: %s\n", row->name, row->source));
    TRY(buffer_printf(buffer, "  loss      sum over trained tokens of %s\n", row->formula));
    if (reads & LOSS_READS_ANCHOR)
        TRY(explain_ratio(loss, buffer));
    if (reads & LOSS_READS_REWARD)
        TRY(explain_advantage(loss, buffer));
    TRY(explain_bounds(loss, reads, buffer));
    TRY(explain_normaliser(loss, tokens, buffer));
    return explain_besides(loss, reads, buffer);
}

/* ---- what differs from the paper of this loss, and what is set in vain ---- */

struct unread {
    struct buffer *buffer;
    enum status status;
};

static void say_unread(void *self, const char *name)
{
    struct unread *unread = self;
    if (unread->status == STATUS_OK)
        unread->status = buffer_printf(unread->buffer, " loss.%s", name);
}

static enum status explain_unread(unsigned reads, struct buffer *buffer)
{
    TRY(buffer_text(buffer, "  unread   "));
    struct unread unread = {.buffer = buffer};
    loss_each_unread(reads, say_unread, &unread);
    TRY(unread.status);
    return buffer_text(buffer, "\n");
}

static enum status explain_notes(const struct loss_settings *loss, struct buffer *buffer)
{
    const struct loss_rule *rule = loss_rule((enum setting_loss)loss->kind);
    if (loss->normaliser != (config_choice)rule->normaliser)
        TRY(buffer_printf(buffer, "  note      its paper normalises by %s: loss.normaliser=%s\n",
                          normaliser_names[rule->normaliser], normaliser_names[rule->normaliser]));
    if ((rule->reads & LOSS_READS_REWARD) &&
        (rule->advantage_std >= ADVANTAGE_STD_NONE) != (loss->advantage_std >= ADVANTAGE_STD_NONE))
        TRY(buffer_printf(buffer, "  note      its paper has loss.advantage_std=%s\n",
                          std_names[rule->advantage_std]));
    if (rule->clip_low >= 0 &&
        (loss->clip_low != rule->clip_low || loss->clip_high != rule->clip_high))
        TRY(buffer_printf(buffer,
                          "  note      its paper clips at %g and %g: loss.clip_low=%g "
                          "loss.clip_high=%g\n",
                          rule->clip_low, rule->clip_high, rule->clip_low, rule->clip_high));
    if (loss->kind == LOSS_GSPO && loss->clip_high > 0.01)
        TRY(buffer_text(buffer,
                        "  note      GSPO's paper clips at 3e-4 and 4e-4: s is a mean, it moves "
                        "far less than a token's ratio\n"));
    if (loss->kind == LOSS_GRPO && loss->clip_low != loss->clip_high)
        TRY(buffer_text(buffer,
                        "  note      GRPO's paper clips at one epsilon on both sides; unequal ones "
                        "are DAPO's\n"));
    if ((rule->reads & LOSS_READS_WEIGHT_MIN) && loss->weight_min > 0.0)
        TRY(buffer_text(buffer,
                        "  note      a lower bound keeps weight on tokens the policy has left; "
                        "M1 has none: loss.weight_min=0\n"));
    return explain_unread(loss_reads(loss), buffer);
}

/* ---- the same elsewhere ---- */

/* CISPO: bounds are 1 - low and 1 + high everywhere but in TRL, whose one bound is absolute. */
static enum status elsewhere_cispo(double weight_min, double weight_max, struct buffer *buffer)
{
    double low = 1.0 - weight_min, high = weight_max - 1.0;
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
    if (weight_min > 0.0)
        TRY(buffer_text(buffer, "  TRL       nothing equal: it has no lower bound\n"));
    else
        TRY(buffer_printf(buffer, "  TRL       loss_type=\"cispo\" epsilon_high=%g (absolute)\n",
                          weight_max));
    return buffer_printf(
        buffer, "  ROLL      pg_variant: cispo cispo_epsilon_low: %g cispo_epsilon_high: %g\n", low,
        high);
}

static enum status elsewhere_clip(const struct loss_settings *loss, struct buffer *buffer)
{
    double low = loss->clip_low, high = loss->clip_high;
    bool sequence = loss->kind == LOSS_GSPO;
    TRY(buffer_printf(buffer,
                      "  verl      policy_loss.loss_mode=%s clip_ratio_low=%g clip_ratio_high=%g",
                      sequence ? "gspo" : "vanilla", low, high));
    if (loss->dual_clip > 0)
        TRY(buffer_printf(buffer, " clip_ratio_c=%g", loss->dual_clip));
    else if (!sequence)
        TRY(buffer_text(buffer,
                        "; its dual clip (clip_ratio_c=3) is on by default, here it is off"));
    TRY(buffer_printf(buffer,
                      "\n  slime     --advantage-estimator %s --eps-clip %g --eps-clip-high %g",
                      sequence ? "gspo" : "grpo", low, high));
    if (loss->dual_clip > 0)
        TRY(buffer_printf(buffer, " --eps-clip-c %g", loss->dual_clip));
    TRY(buffer_printf(buffer, "\n  SkyRL     policy_loss_type=%s eps_clip_low=%g eps_clip_high=%g",
                      sequence              ? "gspo"
                      : loss->dual_clip > 0 ? "dual_clip"
                                            : "regular",
                      low, high));
    if (loss->dual_clip > 0)
        TRY(buffer_printf(buffer, " clip_ratio_c=%g", loss->dual_clip));
    TRY(buffer_printf(buffer, "\n  NeMo-RL   ratio_clip_min: %g ratio_clip_max: %g%s", low, high,
                      sequence ? " sequence_level_importance_ratios: true" : ""));
    if (loss->dual_clip > 0)
        TRY(buffer_printf(buffer, " ratio_clip_c: %g", loss->dual_clip));
    TRY(buffer_printf(buffer, "\n  TRL       %s epsilon=%g epsilon_high=%g%s\n",
                      sequence                     ? "importance_sampling_level=\"sequence\""
                      : loss->kind == LOSS_DAPO    ? "loss_type=\"dapo\""
                      : loss->kind == LOSS_DR_GRPO ? "loss_type=\"dr_grpo\""
                                                   : "loss_type=\"grpo\"",
                      low, high,
                      loss->dual_clip > 0 ? "; its delta bounds the ratio for every sign of A: "
                                            "nothing equal to the dual clip"
                                          : ""));
    if (sequence)
        return STATUS_OK;
    TRY(buffer_printf(buffer,
                      "  ROLL      use_pg_clip_range: true pg_clip_low: %g pg_clip_high: %g ", low,
                      high));
    return buffer_printf(buffer, "dual_clip_loss: %s\n",
                         loss->dual_clip > 0 ? "true (its constant is 3)" : "false");
}

static enum status elsewhere_normaliser(const struct loss_settings *loss, double tokens,
                                        struct buffer *buffer)
{
    switch ((enum setting_normaliser)loss->normaliser) {
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
                    "SkyRL sequence_mean, NeMo-RL token_level_loss: false, TRL grpo, ROLL "
                    "seq-mean-token-mean\n");
    case NORMALISER_CONSTANT:
        return buffer_printf(
            buffer,
            "  normaliser constant: TRL dr_grpo (its max_completion_length is the constant, here "
            "%g), verl loss_agg_mode=seq-mean-token-sum-norm with loss_scale_factor=%g, SkyRL "
            "seq_mean_token_sum_norm (its max_seq_len is the constant)\n",
            tokens, tokens);
    case NORMALISER_COMBINED:
        return buffer_text(buffer, "  normaliser combined: nobody else has it\n");
    }
    CHECK_NEVER("a normaliser of core/settings.h");
}

static enum status elsewhere_advantage(const struct loss_settings *loss, struct buffer *buffer)
{
    switch ((enum setting_advantage_std)loss->advantage_std) {
    case ADVANTAGE_STD_NONE:
        TRY(buffer_text(buffer, "  advantage: verl algorithm.norm_adv_by_std_in_grpo=False, slime "
                                "--disable-grpo-std-normalization, SkyRL grpo_norm_by_std=false, "
                                "NeMo-RL normalize_rewards: false, TRL scale_rewards=\"none\"\n"));
        break;
    case ADVANTAGE_STD_BATCH:
        TRY(buffer_text(buffer,
                        "  advantage: nearest are TRL scale_rewards=\"batch\" (std of the rewards, "
                        "not of R - mean) and SkyRL grpo_norm_by_std=false with "
                        "advantage_batch_normalize=true (weighted by tokens)\n"));
        break;
    case ADVANTAGE_STD_POPULATION:
    case ADVANTAGE_STD_SAMPLE:
        TRY(buffer_text(buffer, "  advantage: theirs divide by G - 1 (sample) and add 1e-6 (verl, "
                                "slime, SkyRL, ROLL; NeMo-RL about as much) or 1e-4 (TRL)\n"));
    }
    if (loss->advantage_mean == ADVANTAGE_MEAN_LEAVE_ONE_OUT)
        TRY(buffer_text(buffer, "  leave one out: verl and SkyRL advantage_estimator rloo, NeMo-RL "
                                "use_leave_one_out_baseline: true, TRL RLOOTrainer\n"));
    return STATUS_OK;
}

static enum status elsewhere_options(const struct loss_settings *loss, struct buffer *buffer)
{
    if (loss->anchor == ANCHOR_RECOMPUTED && loss->rollout_weight_max > 0)
        TRY(buffer_printf(
            buffer,
            "  rollout weight: verl algorithm.rollout_correction.rollout_is=token "
            "rollout_is_threshold=%g, slime --use-tis --tis-clip %g, TRL "
            "vllm_importance_sampling_correction=True with token truncation at %g, NeMo-RL "
            "use_importance_sampling_correction: true truncated_importance_sampling_ratio: %g\n",
            loss->rollout_weight_max, loss->rollout_weight_max, loss->rollout_weight_max,
            loss->rollout_weight_max));
    if (loss->kl_coefficient > 0)
        TRY(buffer_printf(buffer,
                          "  KL: verl use_kl_loss=True kl_loss_coef=%g kl_loss_type=low_var_kl, "
                          "slime --use-kl-loss --kl-loss-coef %g --kl-loss-type low_var_kl, SkyRL "
                          "use_kl_loss=true kl_loss_coef=%g kl_estimator_type=k3, NeMo-RL "
                          "reference_policy_kl_penalty: %g, TRL beta=%g\n",
                          loss->kl_coefficient, loss->kl_coefficient, loss->kl_coefficient,
                          loss->kl_coefficient, loss->kl_coefficient));
    if (loss->entropy_coefficient > 0)
        TRY(buffer_printf(
            buffer,
            "  entropy: verl entropy_coeff=%g, slime --entropy-coef %g, SkyRL "
            "use_entropy_loss=true entropy_loss_coef=%g, ROLL entropy_loss_coef: %g\n",
            loss->entropy_coefficient, loss->entropy_coefficient, loss->entropy_coefficient,
            loss->entropy_coefficient));
    return STATUS_OK;
}

static enum status elsewhere(const struct loss_settings *loss, double tokens, struct buffer *buffer)
{
    if (loss->kind == LOSS_SFT)
        return STATUS_OK;
    TRY(buffer_text(buffer, loss->anchor == ANCHOR_RECOMPUTED
                                ? "the same elsewhere (slime without --use-rollout-logprobs, SkyRL "
                                  "with cispo_anchor=old):\n"
                                : "the same elsewhere (most anchor at logprobs the trainer "
                                  "recomputes, which leaves generation's own error out of the "
                                  "ratio):\n"));
    switch ((enum setting_loss)loss->kind) {
    case LOSS_CISPO:
        TRY(elsewhere_cispo(loss->weight_min, loss->weight_max, buffer));
        break;
    case LOSS_SCALERL:
        TRY(elsewhere_cispo(0, loss->weight_max, buffer));
        break;
    case LOSS_CISPO_MASK:
        TRY(buffer_printf(buffer,
                          "  ROLL      pg_variant: cispo cispo_use_unified_mask: true "
                          "cispo_epsilon_low: %g cispo_epsilon_high: %g\n"
                          "  the others have no masked CISPO\n",
                          1.0 - loss->weight_min, loss->weight_max - 1.0));
        break;
    case LOSS_REINFORCE:
        TRY(buffer_text(buffer, "  their CISPO with an upper bound that no ratio reaches\n"));
        break;
    default:
        TRY(elsewhere_clip(loss, buffer));
    }
    TRY(elsewhere_normaliser(loss, tokens, buffer));
    TRY(elsewhere_advantage(loss, buffer));
    return elsewhere_options(loss, buffer);
}

enum status losses_explain(const struct loss_settings *loss, struct buffer *buffer)
{
    double tokens = loss->normaliser_tokens;
    TRY(explain_objective(loss, tokens, buffer));
    TRY(explain_notes(loss, buffer));
    return elsewhere(loss, tokens, buffer);
}

/* ---- a run ---- */

static enum status explain_shaping(const struct settings *settings,
                                   const struct loss_settings *loss, struct buffer *buffer)
{
    uint32_t cap = settings->sampling.response_tokens_max, cache = loss->overlong_buffer;
    TRY(buffer_text(buffer, "rewards, after the store's filter and before the advantages:\n"));
    if (cache > 0)
        TRY(buffer_printf(
            buffer,
            "  overlong  R - %g x: x = 0 up to %u tokens, then 1 / %u a token, 1 at the "
            "cap of %u (DAPO eq. 13; the cap is the plan's, in a length stage lower); "
            "verl and NeMo-RL overlong_buffer, TRL get_soft_overlong_punishment\n",
            loss->overlong_factor, cap - cache, cache, cap));
    TRY(buffer_printf(buffer, "  cut at the cap         %s (loss.overlong)%s\n",
                      loss->overlong == OVERLONG_MASK
                          ? "not trained, the reward counts in the group's mean"
                          : "trained",
                      loss->overlong == OVERLONG_MASK
                          ? "; TRL mask_truncated_completions, SkyRL apply_overlong_filtering, "
                            "NeMo-RL overlong_filtering, ROLL max_len_mask"
                          : ""));
    TRY(buffer_text(buffer, "  cut by the repetition  "));
    if (loss->repetition == REPETITION_PENALISE)
        return buffer_printf(buffer, "trained with R - %g (loss.repetition)\n",
                             loss->repetition_penalty);
    return buffer_text(buffer, loss->repetition == REPETITION_MASK
                                   ? "not trained, the reward counts in the group's mean "
                                     "(loss.repetition)\n"
                                   : "trained (loss.repetition)\n");
}

static enum status explain_schedule(const struct settings *settings, struct buffer *buffer)
{
    struct schedule schedule;
    TRY(schedule_parse(&schedule, settings->schedule.changes));
    if (schedule.change_count == 0)
        return buffer_text(buffer, "schedule: nothing changes during the run\n");
    TRY(buffer_text(buffer, "schedule (where two set the same, the later line counts):\n"));
    for (uint32_t c = 0; c < schedule.change_count; c++) {
        const struct schedule_change *change = &schedule.changes[c];
        TRY(buffer_printf(buffer, "  from %s %" PRIu64 " on",
                          change->unit == SCHEDULE_STEP ? "version" : "length stage",
                          change->from));
        for (uint32_t i = change->first; i < change->last; i++)
            TRY(buffer_printf(buffer, "  %s.%s = %s", schedule.sets[i].optim ? "optim" : "loss",
                              schedule.sets[i].field->name, schedule.sets[i].text));
        TRY(buffer_text(buffer, change->unit == SCHEDULE_STEP && change->from > settings->run.steps
                                    ? "  (after the run's end, run.steps)\n"
                                    : "\n"));
    }
    return STATUS_OK;
}

/* Each change of loss.kind brings another objective. */
static enum status explain_later(const struct settings *settings, struct buffer *buffer)
{
    struct schedule schedule;
    TRY(schedule_parse(&schedule, settings->schedule.changes));
    for (uint32_t c = 0; c < schedule.change_count; c++) {
        const struct schedule_change *change = &schedule.changes[c];
        bool kind = false;
        for (uint32_t i = change->first; i < change->last; i++)
            kind = kind ||
                   (!schedule.sets[i].optim && strcmp(schedule.sets[i].field->name, "kind") == 0);
        if (!kind)
            continue;
        bool step = change->unit == SCHEDULE_STEP;
        struct schedule_settings_now now = schedule_begin(settings);
        schedule_apply(&schedule, step ? change->from : 0, step ? 0 : change->from, &now);
        TRY(buffer_printf(buffer, "from %s %" PRIu64 " on, ", step ? "version" : "length stage",
                          change->from));
        TRY(explain_objective(&now.loss, loss_normaliser_tokens(settings, &now.loss), buffer));
        TRY(explain_notes(&now.loss, buffer));
    }
    return STATUS_OK;
}

enum status explain_run(const struct settings *settings, struct buffer *buffer)
{
    const struct loss_settings *loss = &settings->loss;
    double tokens = loss_normaliser_tokens(settings, loss);
    TRY(explain_objective(loss, tokens, buffer));
    TRY(explain_notes(loss, buffer));
    if (loss_reads(loss) & LOSS_READS_REWARD)
        TRY(explain_shaping(settings, loss, buffer));
    TRY(explain_schedule(settings, buffer));
    TRY(explain_later(settings, buffer));
    return elsewhere(loss, tokens, buffer);
}

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

enum status explain_recipe(const struct settings *settings, struct buffer *buffer)
{
    if (!is_set(settings->sft.train) && !is_set(settings->sft.out)) {
        TRY(settings_check_run(settings));
        return explain_run(settings, buffer);
    }
    const struct loss_settings loss = sft_loss(settings);
    double tokens = loss_normaliser_tokens(settings, &loss);
    TRY(settings_check(settings));
    TRY(buffer_printf(buffer,
                      "for `weir sft`, %s is set (it reads neither loss.kind nor "
                      "schedule.changes)\n",
                      is_set(settings->sft.train) ? "sft.train" : "sft.out"));
    TRY(explain_objective(&loss, tokens, buffer));
    TRY(explain_notes(&loss, buffer));
    return elsewhere(&loss, tokens, buffer);
}
