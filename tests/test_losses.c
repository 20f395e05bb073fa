/* links: learner kernels core PkgConfig::jansson */
/* The table of losses against tests/golden/spec/rl_losses.json: advantages, normalisers, bounds and op
 * together must give the golden loss and gradient of every token, on the CPU backend and on the oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "learner/advantage.h"
#include "learner/explain.h"
#include "learner/losses.h"
#include "learner/normaliser.h"

#define RESPONSES  6
#define TOKENS_MAX 32

struct golden_case {
    const char *name;
    enum setting_loss loss;
    double weight_max, clip_low, clip_high;
    float dual_clip;
    enum setting_normaliser normaliser;
};

// clang-format off
static const struct golden_case cases[] = {
    {"cispo_cap1.28_group_token", LOSS_CISPO, 1.28, 0.2, 0.28, 0, NORMALISER_PROMPT},
    {"cispo_cap2.0_group_token",  LOSS_CISPO, 2.0,  0.2, 0.28, 0, NORMALISER_PROMPT},
    {"cispo_cap5.0_group_token",  LOSS_CISPO, 5.0,  0.2, 0.28, 0, NORMALISER_PROMPT},
    {"cispo_cap1.28_batch_token", LOSS_CISPO, 1.28, 0.2, 0.28, 0, NORMALISER_BATCH},
    {"cispo_cap2.0_batch_token",  LOSS_CISPO, 2.0,  0.2, 0.28, 0, NORMALISER_BATCH},
    {"cispo_cap5.0_batch_token",  LOSS_CISPO, 5.0,  0.2, 0.28, 0, NORMALISER_BATCH},
    {"cispo_cap1.28_sample",      LOSS_CISPO, 1.28, 0.2, 0.28, 0, NORMALISER_SAMPLE},
    {"cispo_cap2.0_sample",       LOSS_CISPO, 2.0,  0.2, 0.28, 0, NORMALISER_SAMPLE},
    {"cispo_cap5.0_sample",       LOSS_CISPO, 5.0,  0.2, 0.28, 0, NORMALISER_SAMPLE},
    {"unified_eq6_7_cap5.0_mask0.2_0.28_batch_token",  LOSS_CISPO_MASK, 5.0, 0.2, 0.28, 0, NORMALISER_BATCH},
    {"unified_eq6_7_nocap_mask0.2_0.28_batch_token",   LOSS_CISPO_MASK, 1e6, 0.2, 0.28, 0, NORMALISER_BATCH},
    {"reinforce_is_nocap_batch_token", LOSS_REINFORCE, 1.0, 0.2, 0.28, 0, NORMALISER_BATCH},
    {"grpo_eps0.2_sample",        LOSS_GRPO, 5.0, 0.2, 0.2,  0, NORMALISER_SAMPLE},
    {"dapo_0.2_0.28_batch_token", LOSS_DAPO, 5.0, 0.2, 0.28, 0, NORMALISER_BATCH},
    {"dapo_0.2_0.28_batch_token_dualclip3", LOSS_DAPO, 5.0, 0.2, 0.28, 3, NORMALISER_BATCH},
    {"gspo_3e-4_4e-4",            LOSS_GSPO, 5.0, 3e-4, 4e-4, 0, NORMALISER_SAMPLE},
};
// clang-format on

static struct {
    int64_t lens[RESPONSES];
    double reward[RESPONSES];
    int32_t rows, start[RESPONSES + 1];
    float logprob[TOKENS_MAX], logprob_old[TOKENS_MAX];
} batch;

static json_t *root;

static int setup(void **state)
{
    (void)state;
    json_error_t error;
    root = json_load_file(SOURCE_DIR "/tests/golden/spec/rl_losses.json", 0, &error);
    if (!root)
        return -1;
    for (size_t i = 0; i < RESPONSES; i++) {
        batch.lens[i] = json_integer_value(json_array_get(json_object_get(root, "lens"), i));
        batch.reward[i] = json_number_value(json_array_get(json_object_get(root, "rewards"), i));
        batch.start[i] = batch.rows;
        for (size_t t = 0; t < (size_t)batch.lens[i]; t++, batch.rows++) {
            const json_t *old = json_array_get(json_object_get(root, "logp_old"), i);
            const json_t *new = json_array_get(json_object_get(root, "logp_new"), i);
            batch.logprob_old[batch.rows] = (float)json_number_value(json_array_get(old, t));
            batch.logprob[batch.rows] = (float)json_number_value(json_array_get(new, t));
        }
    }
    batch.start[RESPONSES] = batch.rows;
    return batch.rows <= TOKENS_MAX ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(root);
    return 0;
}

/* Groups of three, as in the file. */
static void advantages(enum setting_advantage_std convention, double *advantage)
{
    struct advantage_group group;
    for (int g = 0; g < 2; g++)
        assert_int_equal(
            advantage_of_group(batch.reward + 3 * g, 3, convention, advantage + 3 * g, &group),
            STATUS_OK);
}

static void test_losses_golden_rewards_give_golden_advantages(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        enum setting_advantage_std convention;
        double eps; /* others divide by std + eps */
    } lists[] = {{"adv_population_std", ADVANTAGE_STD_POPULATION, 0},
                 {"adv_sample_std_verl_eps1e-6", ADVANTAGE_STD_SAMPLE, 1e-6},
                 {"adv_sample_std_trl_eps1e-4", ADVANTAGE_STD_SAMPLE, 1e-4},
                 {"adv_mean_only_drgrpo", ADVANTAGE_STD_NONE, 0}};
    for (size_t n = 0; n < sizeof lists / sizeof lists[0]; n++)
        for (size_t g = 0; g < 2; g++) {
            double advantage[3];
            struct advantage_group group;
            const struct advantage_rule rule = {.std = lists[n].convention,
                                                .epsilon = lists[n].eps};
            assert_int_equal(advantage_by_rule(batch.reward + 3 * g, 3, &rule, advantage, &group),
                             STATUS_OK);
            for (size_t i = 0; i < 3; i++) {
                double wanted = json_number_value(
                    json_array_get(json_object_get(root, lists[n].key), 3 * g + i));
                if (!(fabs(advantage[i] - wanted) <= 1e-13))
                    fail_msg("%s[%zu] %.17g, wanted %.17g", lists[n].key, 3 * g + i, advantage[i],
                             wanted);
            }
        }
}

static void per_token(enum setting_normaliser kind, float *advantage, float *scale, float *mask)
{
    struct normaliser minibatch = {.kind = kind};
    int64_t group_tokens[2];
    double of_response[RESPONSES];
    advantages(ADVANTAGE_STD_POPULATION, of_response);
    for (int g = 0; g < 2; g++)
        group_tokens[g] = normaliser_add_group(&minibatch, batch.lens + 3 * g, 3);
    for (int i = 0; i < RESPONSES; i++)
        for (int32_t t = batch.start[i]; t < batch.start[i + 1]; t++) {
            advantage[t] = (float)of_response[i];
            scale[t] = (float)normaliser_scale(&minibatch, group_tokens[i / 3], batch.lens[i]);
            mask[t] = 1.0f;
        }
}

/* Inputs are f32: logprobs up to 5 are rounded by 2.4e-7, ratios up to 9 carry it. */
static void check_case(struct op_table *table, const struct golden_case *one)
{
    float advantage[TOKENS_MAX], scale[TOKENS_MAX], mask[TOKENS_MAX];
    float ratio[TOKENS_MAX], dlogprob[TOKENS_MAX];
    uint8_t clipped[TOKENS_MAX];
    double loss = NAN;
    const struct loss_settings settings = {.kind = (config_choice)one->loss,
                                           .weight_max = one->weight_max,
                                           .clip_low = one->clip_low,
                                           .clip_high = one->clip_high,
                                           .dual_clip = (double)one->dual_clip};
    per_token(one->normaliser, advantage, scale, mask);
    struct op_policy_loss args = {.rows = batch.rows,
                                  .sequences = RESPONSES,
                                  .sequence_start = batch.start,
                                  .logprob = batch.logprob,
                                  .logprob_old = batch.logprob_old,
                                  .advantage = advantage,
                                  .mask = mask,
                                  .scale = scale,
                                  .ratio = ratio,
                                  .dlogprob = dlogprob,
                                  .clipped = clipped,
                                  .loss = &loss};
    losses_fill(&settings, &args);
    assert_int_equal(table->policy_loss(table->context, &args), STATUS_OK);
    const json_t *golden = json_object_get(json_object_get(root, "cases"), one->name);
    double wanted = json_number_value(json_object_get(golden, "loss"));
    if (!golden || !(fabs(loss - wanted) <= 2e-6))
        fail_msg("%s on %s: loss %.9g, wanted %.9g", one->name, table->name, loss, wanted);
    for (int i = 0; i < RESPONSES; i++)
        for (int32_t t = batch.start[i]; t < batch.start[i + 1]; t++) {
            const json_t *row = json_array_get(json_object_get(golden, "dlogp"), (size_t)i);
            wanted = json_number_value(json_array_get(row, (size_t)(t - batch.start[i])));
            if (!(fabs((double)dlogprob[t] - wanted) <= 2e-6))
                fail_msg("%s on %s: dlogprob[%d] %.9g, wanted %.9g", one->name, table->name, t,
                         (double)dlogprob[t], wanted);
        }
}

static void test_losses_golden_cases_give_loss_and_gradient(void **state)
{
    (void)state;
    struct op_table *tables[2];
    assert_int_equal(op_table_create_cpu(&tables[0], 1), STATUS_OK);
    assert_int_equal(op_table_create_ref(&tables[1]), STATUS_OK);
    assert_int_equal(sizeof cases / sizeof cases[0],
                     json_object_size(json_object_get(root, "cases")));
    for (int n = 0; n < 2; n++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            check_case(tables[n], &cases[i]);
        op_table_destroy(&tables[n]);
    }
}

/* The names of the rows are the choices of loss.kind, in order. */
static void test_losses_every_setting_has_its_row(void **state)
{
    (void)state;
    static const char choices[] = "cispo|cispo_mask|reinforce|grpo|dapo|dr_grpo|gspo|scalerl|sft";
    char joined[128] = "";
    size_t used = 0;
    for (int loss = LOSS_CISPO; loss <= LOSS_SFT; loss++) {
        used += (size_t)snprintf(joined + used, sizeof joined - used, "%s%s", used ? "|" : "",
                                 losses_row((enum setting_loss)loss)->name);
        assert_string_equal(losses_row((enum setting_loss)loss)->name,
                            loss_rule((enum setting_loss)loss)->name);
    }
    assert_string_equal(joined, choices);
}

/* grpo must not be bounded by CISPO's weight, nor cispo by PPO's clip. */
static void test_losses_unread_bounds_are_open(void **state)
{
    (void)state;
    struct op_policy_loss args = {0};
    struct loss_settings settings = {
        .kind = LOSS_GRPO, .weight_min = 0.5, .weight_max = 1.5, .clip_low = 0.1, .clip_high = 0.3};
    losses_fill(&settings, &args);
    assert_true(args.weight_min == 0.0f && isinf(args.weight_max));
    assert_true(args.clip_low == 0.1f && args.clip_high == 0.3f && args.dual_clip == 0.0f);
    settings.kind = LOSS_CISPO;
    losses_fill(&settings, &args);
    assert_true(args.weight_min == 0.5f && args.weight_max == 1.5f);
    assert_true(args.clip_low == 1.0f && isinf(args.clip_high));
}

static void check_explains(const struct loss_settings *settings, const char *const *wanted)
{
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_int_equal(losses_explain(settings, &buffer), STATUS_OK);
    for (; *wanted; wanted++)
        if (!strstr(buffer_string(&buffer), *wanted))
            fail_msg("no \"%s\" in:\n%s", *wanted, buffer_string(&buffer));
    buffer_free(&buffer);
}

/* RIVALS' conversions: absolute 5 is 4 over one everywhere but in TRL. */
static void test_losses_explain_converts_the_bounds(void **state)
{
    (void)state;
    static const char *const cispo[] = {"loss.kind = cispo",
                                        "0 <= sg(ratio) <= 5",
                                        "clip_ratio_low=1 clip_ratio_high=4",
                                        "--eps-clip 1 --eps-clip-high 4",
                                        "cispo_eps_clip_low=1 cispo_eps_clip_high=4",
                                        "ratio_clip_min: 1 ratio_clip_max: 4",
                                        "epsilon_high=5",
                                        "cispo_epsilon_high: 4",
                                        "SkyRL prompt_mean",
                                        "unread    loss.clip_low",
                                        NULL};
    static const char *const floor[] = {"TRL       nothing equal", "clip_ratio_low=0.2",
                                        "loss.weight_min=0", NULL};
    static const char *const gspo[] = {"3e-4", "sequence_level_importance_ratios: true",
                                       "loss_mode=gspo", "unread    loss.weight_min", NULL};
    static const char *const dr_grpo[] = {"loss_type=\"dr_grpo\" epsilon=0.2",
                                          "normaliser_tokens = 700",
                                          "scale_rewards=\"none\"",
                                          "norm_adv_by_std_in_grpo=False",
                                          "clip_ratio_c=3",
                                          "at most 3 times",
                                          "R - mean of the others of the group",
                                          NULL};
    static const char *const options[] = {"beta=0.04",
                                          "kl_loss_coef=0.04",
                                          "--tis-clip 2",
                                          "entropy_coeff=0.01",
                                          "recomputed with the weights the plan starts with",
                                          NULL};
    static const char *const dapo[] = {"loss_type=\"dapo\" epsilon=0.2 epsilon_high=0.28",
                                       "0.8 .. 1.28 of the ratio", "clip_ratio_c", NULL};
    struct loss_settings settings = {
        .kind = LOSS_CISPO, .weight_min = 0, .weight_max = 5, .clip_low = 0.2, .clip_high = 0.28};
    check_explains(&settings, cispo);
    settings.weight_min = 0.8;
    check_explains(&settings, floor);
    settings.kind = LOSS_GSPO;
    check_explains(&settings, gspo);
    settings.kind = LOSS_DAPO;
    check_explains(&settings, dapo);
    settings.kind = LOSS_GRPO;
    settings.kl_coefficient = 0.04;
    settings.entropy_coefficient = 0.01;
    settings.anchor = ANCHOR_RECOMPUTED;
    settings.rollout_weight_max = 2;
    check_explains(&settings, options);
    settings = (struct loss_settings){.kind = LOSS_DR_GRPO,
                                      .clip_low = 0.2,
                                      .clip_high = 0.2,
                                      .dual_clip = 3,
                                      .normaliser = NORMALISER_CONSTANT,
                                      .normaliser_tokens = 700,
                                      .advantage_std = ADVANTAGE_STD_NONE,
                                      .advantage_mean = ADVANTAGE_MEAN_LEAVE_ONE_OUT};
    check_explains(&settings, dr_grpo);
}

static void test_losses_explain_of_every_kind_says_its_formula(void **state)
{
    (void)state;
    for (int loss = LOSS_CISPO; loss <= LOSS_SFT; loss++)
        for (int normaliser = NORMALISER_PROMPT; normaliser <= NORMALISER_COMBINED; normaliser++) {
            const struct loss_settings settings = {.kind = (config_choice)loss,
                                                   .weight_max = 5,
                                                   .normaliser = (config_choice)normaliser};
            const char *const wanted[] = {losses_row((enum setting_loss)loss)->formula,
                                          losses_row((enum setting_loss)loss)->source,
                                          "loss.normaliser", NULL};
            check_explains(&settings, wanted);
        }
}

/* ---- the same in double precision, written out from the papers ---- */

struct term {
    double loss, slope;
};

static double clip(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static struct term surrogate(double w, double ratio, double a, const struct golden_case *one,
                             double dual)
{
    double bounded = clip(ratio, 1 - one->clip_low, 1 + one->clip_high);
    struct term term = {-w * ratio * a, -w * ratio * a};
    if (bounded * a < ratio * a)
        term = (struct term){-w * bounded * a, 0};
    if (dual > 1 && a < 0 && -term.loss < w * dual * a)
        term = (struct term){-w * dual * a, 0};
    return term;
}

static struct term oracle_term(const struct golden_case *one, double w, double logprob, double old,
                               double a, double mean)
{
    double ratio = exp(logprob - old), weight = fmin(ratio, one->weight_max);
    bool masked = (a > 0 && ratio > 1 + one->clip_high) || (a < 0 && ratio < 1 - one->clip_low);
    double slope;
    switch (one->loss) {
    case LOSS_CISPO:
    case LOSS_CISPO_MASK:
        slope = one->loss == LOSS_CISPO_MASK && masked ? 0 : -w * weight * a;
        return (struct term){slope * logprob, slope};
    case LOSS_REINFORCE:
        return (struct term){-w * ratio * a * logprob, -w * ratio * a};
    case LOSS_GSPO:
        return surrogate(w, exp(mean), a, one, 0);
    default:
        return surrogate(w, ratio, a, one, (double)one->dual_clip);
    }
}

static double golden_at(const char *key, size_t i, size_t t)
{
    return json_number_value(json_array_get(json_array_get(json_object_get(root, key), i), t));
}

static void near(double got, double wanted, const char *name)
{
    if (!(fabs(got - wanted) <= 1e-12 * (1e-3 + fabs(wanted)))) /* f64 to f64 */
        fail_msg("%s: %.17g, wanted %.17g", name, got, wanted);
}

/* Every loss, gradient, advantage and normaliser in f64, from the file's own numbers. */
static void test_losses_double_precision_gives_the_golden_numbers(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const struct golden_case *one = &cases[n];
        const json_t *golden = json_object_get(json_object_get(root, "cases"), one->name);
        struct normaliser minibatch = {.kind = one->normaliser};
        int64_t group_tokens[2];
        double advantage[RESPONSES], loss = 0;
        advantages(ADVANTAGE_STD_POPULATION, advantage);
        for (int g = 0; g < 2; g++)
            group_tokens[g] = normaliser_add_group(&minibatch, batch.lens + 3 * g, 3);
        for (size_t i = 0; i < RESPONSES; i++) {
            double w = normaliser_scale(&minibatch, group_tokens[i / 3], batch.lens[i]), mean = 0;
            for (size_t t = 0; t < (size_t)batch.lens[i]; t++)
                mean += (golden_at("logp_new", i, t) - golden_at("logp_old", i, t)) /
                        (double)batch.lens[i];
            for (size_t t = 0; t < (size_t)batch.lens[i]; t++) {
                struct term term = oracle_term(one, w, golden_at("logp_new", i, t),
                                               golden_at("logp_old", i, t), advantage[i], mean);
                const json_t *row = json_array_get(json_object_get(golden, "dlogp"), i);
                near(term.slope, json_number_value(json_array_get(row, t)), one->name);
                loss += term.loss;
            }
        }
        near(loss, json_number_value(json_object_get(golden, "loss")), one->name);
    }
}

/* MiniMax-M1 eq. 6 and 7: without a cap and with DAPO's bounds the masked form has DAPO's gradient, token by token. */
static void test_losses_masked_cispo_without_a_cap_is_dapo(void **state)
{
    (void)state;
    struct op_table *table;
    assert_int_equal(op_table_create_cpu(&table, 1), STATUS_OK);
    float advantage[TOKENS_MAX], scale[TOKENS_MAX], mask[TOKENS_MAX], ratio[TOKENS_MAX];
    float slope[2][TOKENS_MAX];
    uint8_t clipped[TOKENS_MAX];
    per_token(NORMALISER_BATCH, advantage, scale, mask);
    for (int i = 0; i < 2; i++) {
        double loss;
        const struct loss_settings settings = {.kind = i == 0 ? LOSS_CISPO_MASK : LOSS_DAPO,
                                               .weight_max = 1e6,
                                               .clip_low = 0.2,
                                               .clip_high = 0.28};
        struct op_policy_loss args = {.rows = batch.rows,
                                      .sequences = RESPONSES,
                                      .sequence_start = batch.start,
                                      .logprob = batch.logprob,
                                      .logprob_old = batch.logprob_old,
                                      .advantage = advantage,
                                      .mask = mask,
                                      .scale = scale,
                                      .ratio = ratio,
                                      .dlogprob = slope[i],
                                      .clipped = clipped,
                                      .loss = &loss};
        losses_fill(&settings, &args);
        assert_int_equal(table->policy_loss(table->context, &args), STATUS_OK);
    }
    int zeros = 0;
    for (int32_t t = 0; t < batch.rows; t++) {
        assert_true(slope[0][t] == slope[1][t]);
        zeros += slope[1][t] == 0;
    }
    assert_true(zeros > 0 && zeros < batch.rows);
    op_table_destroy(&table);
}

/* dr_grpo is grpo's token, scalerl is cispo's without a lower bound. */
static void test_losses_rows_that_share_an_op_fill_it_alike(void **state)
{
    (void)state;
    struct loss_settings settings = {.kind = LOSS_GRPO,
                                     .weight_min = 0.5,
                                     .weight_max = 3,
                                     .clip_low = 0.1,
                                     .clip_high = 0.3,
                                     .dual_clip = 3};
    struct op_policy_loss grpo = {0}, dr_grpo = {0}, scalerl = {0}, gspo = {0};
    losses_fill(&settings, &grpo);
    settings.kind = LOSS_DR_GRPO;
    losses_fill(&settings, &dr_grpo);
    assert_memory_equal(&grpo, &dr_grpo, sizeof grpo);
    assert_true(grpo.dual_clip == 3.0f);
    settings.kind = LOSS_GSPO;
    losses_fill(&settings, &gspo);
    assert_true(gspo.dual_clip == 0.0f && gspo.clip_high == 0.3f);
    settings.kind = LOSS_SCALERL;
    losses_fill(&settings, &scalerl);
    assert_int_equal(scalerl.kind, POLICY_LOSS_CISPO);
    assert_true(scalerl.weight_min == 0.0f && scalerl.weight_max == 3.0f);
}

/* ---- KL, entropy, rollout weight ---- */

static void test_losses_kl_and_entropy_have_their_formula_and_slope(void **state)
{
    (void)state;
    const struct loss_settings kl = {.kl_coefficient = 0.04},
                               both = {.kl_coefficient = 0.04, .entropy_coefficient = 0.2};
    static const double references[] = {-1.0, -1.5, -3.0, -0.01, -1.0 - 1e-9};
    for (size_t i = 0; i < sizeof references / sizeof references[0]; i++) {
        double slope = 7, dentropy = 1, unused = 0, d = references[i] + 1.0;
        double loss = losses_terms(&kl, 0.25, -1.0, references[i], 3.0, &slope, &dentropy);
        near(loss, 0.25 * 0.04 * (expm1(d) - d), "k3");
        assert_true(loss >= 0 && dentropy == 0);
        double h = 1e-5,
               above = losses_terms(&kl, 0.25, -1.0 + h, references[i], 3, &unused, &dentropy);
        double numeric =
            (above - losses_terms(&kl, 0.25, -1.0 - h, references[i], 3, &unused, &dentropy)) /
            (2 * h);
        assert_true(fabs(slope - 7 - numeric) < 1e-10);
    }
    double slope = 0, dentropy = 0;
    double loss = losses_terms(&both, 0.5, -1, -1, 2.0, &slope, &dentropy);
    near(loss, -0.5 * 0.2 * 2.0, "entropy");
    near(dentropy, -0.5 * 0.2, "entropy's slope");
    assert_true(slope == 0);
    /* far apart: finite, and no slope where it is clamped; what is no number stays none */
    assert_true(isfinite(losses_terms(&kl, 1, -100, -1, 1, &slope, &dentropy)) && slope == 0);
    assert_true(isnan(losses_terms(&kl, 1, -1, NAN, 1, &slope, &dentropy)));
}

static void test_losses_rollout_weight_is_truncated(void **state)
{
    (void)state;
    const struct loss_settings off = {0}, two = {.rollout_weight_max = 2};
    assert_true(losses_rollout_weight(&off, -1, -9) == 1);
    near(losses_rollout_weight(&two, -1.0, -1.5), exp(0.5), "below the cap");
    near(losses_rollout_weight(&two, -1.5, -1.0), exp(-0.5), "below 1");
    assert_true(losses_rollout_weight(&two, -1, -9) == 2);
    assert_true(losses_rollout_weight(&two, -1, -1e30) == 2);
    assert_true(isnan(losses_rollout_weight(&two, NAN, -1)));
}

/* What `weir explain` says of these overrides; INVALID with its sentence. */
static enum status explain(const char *const *overrides, size_t count, struct buffer *buffer)
{
    struct config *config = NULL;
    struct settings settings;
    const struct config_input input = {.overrides = overrides, .override_count = count};
    assert_int_equal(settings_load(&settings, &config, &input), STATUS_OK);
    buffer_clear(buffer);
    enum status status = explain_recipe(&settings, buffer);
    config_destroy(&config);
    return status;
}

/* A recipe of `weir sft` trains maximum likelihood, whatever loss.* says. */
static void test_losses_explain_of_a_warm_start_is_what_it_trains(void **state)
{
    (void)state;
    static const char *const plain[] = {"sft.train=rows.jsonl", "loss.normaliser=prompt",
                                        "loss.entropy_coefficient=0.1"};
    static const char *const named[] = {"sft.out=warm", "loss.kind=sft"};
    static const char *const run[] = {"loss.kind=sft"};
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_int_equal(explain(plain, 3, &buffer), STATUS_OK);
    assert_non_null(strstr(buffer_string(&buffer), "for `weir sft`, sft.train is set"));
    assert_non_null(strstr(buffer_string(&buffer), "loss.kind = sft"));
    assert_non_null(strstr(buffer_string(&buffer), "(loss.normaliser = batch)"));
    assert_non_null(strstr(buffer_string(&buffer), "no entropy bonus"));
    assert_null(strstr(buffer_string(&buffer), "cispo"));
    assert_null(strstr(buffer_string(&buffer), "rewards, after"));
    assert_int_equal(explain(named, 2, &buffer), STATUS_OK);
    assert_non_null(strstr(buffer_string(&buffer), "for `weir sft`, sft.out is set"));
    assert_int_equal(explain(run, 1, &buffer), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "for `weir sft` only"));
    buffer_free(&buffer);
}

static void test_losses_explain_into_a_full_buffer_fails(void **state)
{
    (void)state;
    const struct loss_settings settings = {.kind = LOSS_CISPO, .weight_max = 5};
    for (size_t limit = 1; limit < 1200; limit += 100) {
        struct buffer buffer;
        buffer_init(&buffer, limit);
        assert_int_equal(losses_explain(&settings, &buffer), STATUS_LIMIT);
        assert_true(buffer.size <= limit);
        buffer_free(&buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses_golden_rewards_give_golden_advantages),
        cmocka_unit_test(test_losses_golden_cases_give_loss_and_gradient),
        cmocka_unit_test(test_losses_every_setting_has_its_row),
        cmocka_unit_test(test_losses_unread_bounds_are_open),
        cmocka_unit_test(test_losses_explain_converts_the_bounds),
        cmocka_unit_test(test_losses_explain_of_every_kind_says_its_formula),
        cmocka_unit_test(test_losses_double_precision_gives_the_golden_numbers),
        cmocka_unit_test(test_losses_masked_cispo_without_a_cap_is_dapo),
        cmocka_unit_test(test_losses_rows_that_share_an_op_fill_it_alike),
        cmocka_unit_test(test_losses_kl_and_entropy_have_their_formula_and_slope),
        cmocka_unit_test(test_losses_rollout_weight_is_truncated),
        cmocka_unit_test(test_losses_explain_of_a_warm_start_is_what_it_trains),
        cmocka_unit_test(test_losses_explain_into_a_full_buffer_fails),
    };
    return cmocka_run_group_tests_name("losses", tests, setup, teardown);
}
