#include "core/loss_rules.h"

#include <string.h>

#include "core/check.h"
#include "core/config_internal.h"

enum {
    COMMON = LOSS_READS_REWARD | LOSS_READS_ANCHOR | LOSS_READS_ENTROPY,
    PPO = COMMON | LOSS_READS_CLIP | LOSS_READS_ROLLOUT,
};

// clang-format off
static const struct loss_rule rules[] = {
    [LOSS_CISPO] = {"cispo", COMMON | LOSS_READS_WEIGHT_MIN | LOSS_READS_WEIGHT_MAX,
        NORMALISER_PROMPT, ADVANTAGE_STD_POPULATION, -1, -1, false},
    [LOSS_CISPO_MASK] = {"cispo_mask", COMMON | LOSS_READS_WEIGHT_MIN | LOSS_READS_WEIGHT_MAX | LOSS_READS_CLIP,
        NORMALISER_PROMPT, ADVANTAGE_STD_POPULATION, -1, -1, false},
    [LOSS_REINFORCE] = {"reinforce", COMMON,
        NORMALISER_SAMPLE, ADVANTAGE_STD_POPULATION, -1, -1, false},
    [LOSS_GRPO] = {"grpo", PPO | LOSS_READS_DUAL_CLIP | LOSS_READS_KL,
        NORMALISER_SAMPLE, ADVANTAGE_STD_POPULATION, 0.2, 0.2, false},
    [LOSS_DAPO] = {"dapo", PPO | LOSS_READS_DUAL_CLIP,
        NORMALISER_BATCH, ADVANTAGE_STD_POPULATION, 0.2, 0.28, false},
    [LOSS_DR_GRPO] = {"dr_grpo", PPO | LOSS_READS_DUAL_CLIP,
        NORMALISER_CONSTANT, ADVANTAGE_STD_NONE, 0.2, 0.2, true},
    [LOSS_GSPO] = {"gspo", PPO,
        NORMALISER_SAMPLE, ADVANTAGE_STD_POPULATION, 3e-4, 4e-4, false},
    [LOSS_SCALERL] = {"scalerl", COMMON | LOSS_READS_WEIGHT_MAX,
        NORMALISER_PROMPT, ADVANTAGE_STD_BATCH, -1, -1, true},
    [LOSS_SFT] = {"sft", 0,
        NORMALISER_BATCH, ADVANTAGE_STD_POPULATION, -1, -1, false},
};

/* Settings that somebody may set in vain. */
static const struct {
    const char *name;
    unsigned bit;
} readers[] = {
    {"weight_min", LOSS_READS_WEIGHT_MIN},
    {"weight_max", LOSS_READS_WEIGHT_MAX},
    {"clip_low", LOSS_READS_CLIP},
    {"clip_high", LOSS_READS_CLIP},
    {"dual_clip", LOSS_READS_DUAL_CLIP},
    {"normaliser_tokens", LOSS_READS_TOKENS},
    {"normaliser_lambda", LOSS_READS_LAMBDA},
    {"advantage_std", LOSS_READS_REWARD},
    {"advantage_mean", LOSS_READS_REWARD},
    {"advantage_epsilon", LOSS_READS_EPSILON},
    {"anchor", LOSS_READS_ANCHOR},
    {"rollout_weight_max", LOSS_READS_ROLLOUT},
    {"kl_coefficient", LOSS_READS_KL},
    {"entropy_coefficient", LOSS_READS_ENTROPY},
    {"overlong_buffer", LOSS_READS_REWARD},
    {"overlong_factor", LOSS_READS_FACTOR},
    {"overlong", LOSS_READS_REWARD},
    {"repetition", LOSS_READS_REWARD},
    {"repetition_penalty", LOSS_READS_PENALTY},
};
// clang-format on
enum { READERS = sizeof readers / sizeof readers[0] };

const struct loss_rule *loss_rule(enum setting_loss loss)
{
    CHECK((size_t)loss < sizeof rules / sizeof rules[0]);
    return &rules[loss];
}

unsigned loss_reads(const struct loss_settings *loss)
{
    unsigned reads = loss_rule((enum setting_loss)loss->kind)->reads;
    if (loss->anchor != ANCHOR_RECOMPUTED)
        reads &= ~(unsigned)LOSS_READS_ROLLOUT;
    if (loss->normaliser == NORMALISER_CONSTANT)
        reads |= LOSS_READS_TOKENS;
    if (loss->normaliser == NORMALISER_COMBINED)
        reads |= LOSS_READS_LAMBDA;
    if (!(reads & LOSS_READS_REWARD))
        return reads;
    if (loss->advantage_std != ADVANTAGE_STD_NONE)
        reads |= LOSS_READS_EPSILON;
    if (loss->overlong_buffer > 0)
        reads |= LOSS_READS_FACTOR;
    if (loss->repetition == REPETITION_PENALISE)
        reads |= LOSS_READS_PENALTY;
    return reads;
}

double loss_normaliser_tokens(const struct settings *settings, const struct loss_settings *loss)
{
    return loss->normaliser_tokens > 0 ? loss->normaliser_tokens
                                       : settings->sampling.response_tokens_max;
}

/* ---- the table of settings: names and defaults ---- */

static const struct config_section *loss_section(void)
{
    for (size_t i = 0; i < settings_section_count; i++)
        if (strcmp(settings_sections[i].name, "loss") == 0)
            return &settings_sections[i];
    CHECK_NEVER("core/settings.h has a section loss");
}

static const struct config_field *field_of(const char *name)
{
    const struct config_field *field = config_field_find(loss_section(), name);
    CHECK(field != NULL);
    return field;
}

static bool at_default(const struct loss_settings *loss, const struct config_field *field)
{
    struct config_value value = {0};
    char why[CONFIG_WHY_BYTES];
    const char *at = (const char *)loss + field->offset;
    CHECK(config_parse(field, field->fallback, &value, why));
    switch (field->type) {
    case CONFIG_F64:
        return memcmp(at, &value.f64, sizeof value.f64) == 0;
    case CONFIG_U32:
    case CONFIG_CHOICE:
        return memcmp(at, &value.u32, sizeof value.u32) == 0;
    default:
        return true;
    }
}

static const char *choice_text(const char *name, uint32_t index, char text[CONFIG_NAME_MAX])
{
    return config_choice_name(field_of(name), index, text, CONFIG_NAME_MAX);
}

void loss_each_unread(unsigned reads, void (*say)(void *self, const char *name), void *self)
{
    for (size_t i = 0; i < READERS; i++)
        if (!(reads & readers[i].bit))
            say(self, readers[i].name);
}

/* What would make somebody read it. */
static const char *reader_of(unsigned bit)
{
    switch (bit) {
    case LOSS_READS_TOKENS:
        return "only loss.normaliser constant does";
    case LOSS_READS_LAMBDA:
        return "only loss.normaliser combined does";
    case LOSS_READS_EPSILON:
        return "loss.advantage_std none divides by nothing";
    case LOSS_READS_FACTOR:
        return "it needs loss.overlong_buffer above 0";
    case LOSS_READS_PENALTY:
        return "it needs loss.repetition penalise";
    case LOSS_READS_CLIP:
        return "grpo, dapo, dr_grpo, gspo and cispo_mask do; CISPO's bounds are loss.weight_min "
               "and loss.weight_max";
    case LOSS_READS_WEIGHT_MAX:
        return "cispo, cispo_mask and scalerl do; PPO's bounds are loss.clip_low and "
               "loss.clip_high";
    case LOSS_READS_WEIGHT_MIN:
        return "cispo and cispo_mask do";
    default:
        return "it has no such term";
    }
}

enum status loss_check_unread(const struct loss_settings *loss, unsigned reads)
{
    for (size_t i = 0; i < READERS; i++) {
        const struct config_field *field = field_of(readers[i].name);
        if ((reads & readers[i].bit) || at_default(loss, field))
            continue;
        return FAIL(
            STATUS_INVALID,
            "loss.%s is set, but loss.kind %s never reads it (%s): take it out (its default "
            "is %s) or choose another loss.kind",
            field->name, loss_rule((enum setting_loss)loss->kind)->name, reader_of(readers[i].bit),
            field->fallback);
    }
    return STATUS_OK;
}

/* ---- one objective ---- */

static enum status check_bounds(const struct loss_settings *loss, const struct loss_rule *rule)
{
    if (loss->weight_min > loss->weight_max)
        return FAIL(STATUS_INVALID,
                    "loss.weight_min %g is above loss.weight_max %g: lower the "
                    "first or raise the second",
                    loss->weight_min, loss->weight_max);
    if (loss->dual_clip > 0 && !(rule->reads & LOSS_READS_DUAL_CLIP))
        return FAIL(STATUS_INVALID,
                    "loss.dual_clip %g with loss.kind %s: dual clipping bounds PPO's ratio of a "
                    "token where A < 0, this loss has none: set loss.dual_clip to 0, or loss.kind "
                    "to grpo, dapo or dr_grpo",
                    loss->dual_clip, rule->name);
    if (loss->dual_clip > 0 && loss->dual_clip <= 1)
        return FAIL(STATUS_INVALID,
                    "loss.dual_clip is %g: it bounds a ratio from above and must be above 1 (verl "
                    "has 3), or 0 for none",
                    loss->dual_clip);
    return STATUS_OK;
}

static enum status check_definition(const struct loss_settings *loss, const struct loss_rule *rule)
{
    char normaliser[CONFIG_NAME_MAX], std[CONFIG_NAME_MAX];
    bool as_defined = loss->normaliser == (config_choice)rule->normaliser &&
                      loss->advantage_std == (config_choice)rule->advantage_std;
    if (!rule->fixed || as_defined)
        return STATUS_OK;
    return FAIL(
        STATUS_INVALID,
        "loss.kind %s is %s with loss.normaliser %s and loss.advantage_std %s: set both, or "
        "loss.kind to %s for other ones",
        rule->name, rule->reads & LOSS_READS_CLIP ? "grpo" : "cispo",
        choice_text("normaliser", rule->normaliser, normaliser),
        choice_text("advantage_std", rule->advantage_std, std),
        rule->reads & LOSS_READS_CLIP ? "grpo" : "cispo");
}

static enum status check_anchor(const struct loss_settings *loss, const struct loss_rule *rule)
{
    if (!(loss->rollout_weight_max > 0))
        return STATUS_OK;
    if (!(rule->reads & LOSS_READS_ROLLOUT))
        return FAIL(STATUS_INVALID,
                    "loss.rollout_weight_max %g with loss.kind %s: its ratio is an importance "
                    "weight itself, a second one on top would weigh the same gap twice: set "
                    "loss.rollout_weight_max to 0 (loss.anchor streamed already holds the gap "
                    "between generation and training), or loss.kind to grpo, dapo, dr_grpo or gspo",
                    loss->rollout_weight_max, rule->name);
    if (loss->anchor != ANCHOR_RECOMPUTED)
        return FAIL(STATUS_INVALID,
                    "loss.rollout_weight_max %g with loss.anchor streamed: the ratio is against "
                    "the streamed logprobs already, so the weight would count twice: set "
                    "loss.anchor to recomputed, or loss.rollout_weight_max to 0",
                    loss->rollout_weight_max);
    return STATUS_OK;
}

static enum status check_terms(const struct loss_settings *loss, const struct loss_rule *rule)
{
    if (loss->kl_coefficient > 0 && !(rule->reads & LOSS_READS_KL))
        return FAIL(STATUS_INVALID,
                    "loss.kl_coefficient %g with loss.kind %s: a KL term to the start model is "
                    "part of GRPO alone; %s: set loss.kl_coefficient to 0, or loss.kind to grpo",
                    loss->kl_coefficient, rule->name,
                    rule->reads & LOSS_READS_CLIP ? "DAPO, Dr. GRPO and GSPO train without it"
                    : rule->reads != 0
                        ? "M1 and ScaleRL train without it, it pulls back the rare tokens that "
                          "CISPO keeps"
                        : "there is no policy to hold back");
    if (loss->entropy_coefficient > 0 && !(rule->reads & LOSS_READS_ENTROPY))
        return FAIL(STATUS_INVALID,
                    "loss.entropy_coefficient %g with loss.kind %s: maximum likelihood fits the "
                    "data, a bonus for spread contradicts it: set it to 0",
                    loss->entropy_coefficient, rule->name);
    return STATUS_OK;
}

static enum status check_shaping(const struct settings *settings, const struct loss_settings *loss)
{
    if (loss->repetition != REPETITION_KEEP && settings->sampling.repetition_tokens == 0)
        return FAIL(STATUS_INVALID,
                    "loss.repetition is %s, but sampling.repetition_tokens is 0: no rollout is "
                    "ever cut by the repetition rule; set one of the two",
                    loss->repetition == REPETITION_MASK ? "mask" : "penalise");
    return STATUS_OK;
}

enum status loss_check_stage(const struct loss_settings *loss, const struct stage_lengths *lengths,
                             uint32_t stage)
{
    uint32_t cap = lengths->tokens[stage], buffer = loss->overlong_buffer;
    if (buffer <= cap)
        return STATUS_OK;
    if (stage + 1 == lengths->count)
        return FAIL(STATUS_INVALID,
                    "loss.overlong_buffer %u is above sampling.response_tokens_max %u, every "
                    "rollout would be punished for its length: lower the first (DAPO: a fifth of "
                    "the second)",
                    buffer, cap);
    return FAIL(STATUS_INVALID,
                "loss.overlong_buffer %u is above %u, the cap of length stage %u (stages.lengths), "
                "every rollout of the stage would be punished for its length: lower the first "
                "(DAPO: a fifth of the cap; schedule.changes can raise it in later stages), or "
                "begin with a longer stage",
                buffer, cap, stage);
}

enum status loss_check(const struct settings *settings, const struct loss_settings *loss)
{
    const struct loss_rule *rule = loss_rule((enum setting_loss)loss->kind);
    TRY(check_bounds(loss, rule));
    TRY(check_definition(loss, rule));
    TRY(check_anchor(loss, rule));
    TRY(check_terms(loss, rule));
    return check_shaping(settings, loss);
}
