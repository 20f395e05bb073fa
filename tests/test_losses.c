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
            assert_int_equal(
                advantage_of_group(batch.reward + 3 * g, 3, lists[n].convention, advantage, &group),
                STATUS_OK);
            for (size_t i = 0; i < 3; i++) {
                double wanted = json_number_value(
                    json_array_get(json_object_get(root, lists[n].key), 3 * g + i));
                double got = advantage[i] * group.std / (group.std + lists[n].eps);
                if (!(fabs(got - wanted) <= 1e-13))
                    fail_msg("%s[%zu] %.17g, wanted %.17g", lists[n].key, 3 * g + i, got, wanted);
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
                                           .clip_high = one->clip_high};
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
    args.dual_clip = one->dual_clip;
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
    static const char choices[] = "cispo|cispo_mask|reinforce|grpo|dapo|gspo|sft";
    char joined[128] = "";
    size_t used = 0;
    for (int loss = LOSS_CISPO; loss <= LOSS_SFT; loss++)
        used += (size_t)snprintf(joined + used, sizeof joined - used, "%s%s", used ? "|" : "",
                                 losses_row((enum setting_loss)loss)->name);
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
}

static void test_losses_explain_of_every_kind_says_its_formula(void **state)
{
    (void)state;
    for (int loss = LOSS_CISPO; loss <= LOSS_SFT; loss++)
        for (int normaliser = NORMALISER_PROMPT; normaliser <= NORMALISER_SAMPLE; normaliser++) {
            const struct loss_settings settings = {.kind = (config_choice)loss,
                                                   .weight_max = 5,
                                                   .normaliser = (config_choice)normaliser};
            const char *const wanted[] = {losses_row((enum setting_loss)loss)->formula,
                                          losses_row((enum setting_loss)loss)->source,
                                          "loss.normaliser", NULL};
            check_explains(&settings, wanted);
        }
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
        cmocka_unit_test(test_losses_explain_into_a_full_buffer_fails),
    };
    return cmocka_run_group_tests_name("losses", tests, setup, teardown);
}
