/* links: core kernels PkgConfig::jansson */
/* Policy losses: float64 goldens of every kind and normaliser, finite differences with the importance
 * weights held, and the properties the losses are named for. */
#include "tests/kernel_case.h"

enum { SEQUENCES = 6, TOKENS = 14 };

static struct op_policy_loss make_call(enum policy_loss kind, int64_t rows)
{
    return (struct op_policy_loss){.kind = kind,
                                   .rows = rows,
                                   .logprob = random_floats(rows),
                                   .logprob_old = random_floats(rows),
                                   .advantage = random_floats(rows),
                                   .mask = floats(rows),
                                   .scale = floats(rows),
                                   .weight_min = 0,
                                   .weight_max = INFINITY,
                                   .clip_low = 0.2F,
                                   .clip_high = 0.28F,
                                   .ratio = floats(rows),
                                   .dlogprob = floats(rows),
                                   .clipped = (uint8_t *)(void *)floats(rows),
                                   .loss = doubles(1)};
}

static float *writable(const float *values)
{
    return (float *)(uintptr_t)values;
}

static void fill(const float *values, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++)
        writable(values)[i] = value;
}

static void run(const struct op_table *ops, const struct op_policy_loss *call)
{
    assert_int_equal(ops->policy_loss(ops->context, call), STATUS_OK);
    remember(call->ratio, call->rows);
    remember(call->dlogprob, call->rows);
}

/* ---- goldens: 2 groups of 3 sequences ------------------------------------------------------------------------ */
enum normaliser { PROMPT, BATCH, SAMPLE };

struct golden_case {
    const char *name;
    enum policy_loss kind;
    enum normaliser normaliser;
    float weight_max, clip_low, clip_high, dual_clip;
};

static const struct golden_case golden_cases[] = {
    {"cispo_cap1.28_group_token", POLICY_LOSS_CISPO, PROMPT, 1.28F, 0, 0, 0},
    {"cispo_cap2.0_group_token", POLICY_LOSS_CISPO, PROMPT, 2, 0, 0, 0},
    {"cispo_cap5.0_group_token", POLICY_LOSS_CISPO, PROMPT, 5, 0, 0, 0},
    {"cispo_cap1.28_batch_token", POLICY_LOSS_CISPO, BATCH, 1.28F, 0, 0, 0},
    {"cispo_cap2.0_batch_token", POLICY_LOSS_CISPO, BATCH, 2, 0, 0, 0},
    {"cispo_cap5.0_batch_token", POLICY_LOSS_CISPO, BATCH, 5, 0, 0, 0},
    {"cispo_cap1.28_sample", POLICY_LOSS_CISPO, SAMPLE, 1.28F, 0, 0, 0},
    {"cispo_cap2.0_sample", POLICY_LOSS_CISPO, SAMPLE, 2, 0, 0, 0},
    {"cispo_cap5.0_sample", POLICY_LOSS_CISPO, SAMPLE, 5, 0, 0, 0},
    {"unified_eq6_7_cap5.0_mask0.2_0.28_batch_token", POLICY_LOSS_CISPO_MASK, BATCH, 5, 0.2F, 0.28F,
     0},
    {"unified_eq6_7_nocap_mask0.2_0.28_batch_token", POLICY_LOSS_CISPO_MASK, BATCH, INFINITY, 0.2F,
     0.28F, 0},
    {"reinforce_is_nocap_batch_token", POLICY_LOSS_REINFORCE, BATCH, INFINITY, 0, 0, 0},
    {"grpo_eps0.2_sample", POLICY_LOSS_PPO_CLIP, SAMPLE, 0, 0.2F, 0.2F, 0},
    {"dapo_0.2_0.28_batch_token", POLICY_LOSS_PPO_CLIP, BATCH, 0, 0.2F, 0.28F, 0},
    {"dapo_0.2_0.28_batch_token_dualclip3", POLICY_LOSS_PPO_CLIP, BATCH, 0, 0.2F, 0.28F, 3},
    {"gspo_3e-4_4e-4", POLICY_LOSS_GSPO, SAMPLE, 0, 3e-4F, 4e-4F, 0},
};

/* What the golden says about token i of sequence s: a weight was cut or masked, or clipped is 1. */
static bool golden_clipped(const json_t *info, size_t s, size_t i)
{
    const json_t *entry = json_array_get(info, s);
    const json_t *clipped = json_object_get(entry, "clipped");
    if (json_is_array(clipped))
        return json_number_value(json_array_get(clipped, i)) != 0;
    if (clipped != NULL)
        return json_number_value(clipped) != 0;
    double r = json_number_value(json_array_get(json_object_get(entry, "r"), i));
    double weight = json_number_value(json_array_get(json_object_get(entry, "rhat"), i));
    double m = json_number_value(json_array_get(json_object_get(entry, "M"), i));
    return r != weight || m == 0;
}

static void check_golden_case(const struct op_table *ops, const json_t *root,
                              const struct golden_case *row)
{
    static const int32_t start[SEQUENCES + 1] = {0, 3, 5, 8, 9, 12, 14};
    const json_t *entry = json_object_get(json_object_get(root, "cases"), row->name);
    const json_t *info = json_object_get(entry, "info");
    const double *advantage = golden(root, "adv_population_std", SEQUENCES);
    struct op_policy_loss call = make_call(row->kind, TOKENS);
    assert_non_null(entry);
    call.sequences = SEQUENCES;
    call.sequence_start = start;
    call.logprob = golden_floats(root, "logp_new", TOKENS);
    call.logprob_old = golden_floats(root, "logp_old", TOKENS);
    call.weight_max = row->weight_max;
    call.clip_low = row->clip_low;
    call.clip_high = row->clip_high;
    call.dual_clip = row->dual_clip;
    fill(call.mask, TOKENS, 1);
    for (int32_t s = 0; s < SEQUENCES; s++) {
        double group = s < 3 ? 8 : 6; /* tokens of the group */
        double scale = row->normaliser == PROMPT  ? 1 / (2 * group)
                       : row->normaliser == BATCH ? 1.0 / TOKENS
                                                  : 1.0 / (6 * (start[s + 1] - start[s]));
        fill(call.advantage + start[s], start[s + 1] - start[s], (float)advantage[s]);
        fill(call.scale + start[s], start[s + 1] - start[s], (float)scale);
    }
    run(ops, &call);
    assert_near(*call.loss, json_number_value(json_object_get(entry, "loss")), 1e-6);
    assert_close(call.dlogprob, golden(entry, "dlogp", TOKENS), TOKENS, 3e-7);
    assert_close(call.ratio, golden(root, "ratio", TOKENS), TOKENS, 1e-6);
    for (int32_t s = 0; s < SEQUENCES; s++)
        for (int32_t t = start[s]; t < start[s + 1]; t++)
            assert_int_equal(call.clipped[t],
                             golden_clipped(info, (size_t)s, (size_t)(t - start[s])));
}

static void check_golden(const struct op_table *ops)
{
    json_t *root = golden_open("rl_losses.json");
    for (size_t i = 0; i < sizeof golden_cases / sizeof *golden_cases; i++) {
        check_golden_case(ops, root, &golden_cases[i]);
        check_guards_and_free();
    }
    assert_int_equal(json_object_size(json_object_get(root, "cases")),
                     sizeof golden_cases / sizeof *golden_cases);
    json_decref(root);
}

/* ---- finite differences ------------------------------------------------------------------------------------------- */
struct loss_problem {
    const struct op_policy_loss *call;
    double *logprob;
    double *held; /* importance weights at the starting point */
};

static double clamp(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

static double naive_weight(const struct op_policy_loss *c, int64_t t)
{
    double ratio = exp((double)c->logprob[t] - (double)c->logprob_old[t]);
    double advantage = (double)c->advantage[t];
    if (c->kind == POLICY_LOSS_SFT)
        return 1;
    if (c->kind == POLICY_LOSS_REINFORCE)
        return ratio;
    if (c->kind == POLICY_LOSS_CISPO_MASK && ((advantage > 0 && ratio > 1 + (double)c->clip_high) ||
                                              (advantage < 0 && ratio < 1 - (double)c->clip_low)))
        return 0;
    return clamp(ratio, (double)c->weight_min, (double)c->weight_max);
}

static double naive_ratio(const struct loss_problem *p, int64_t t)
{
    const struct op_policy_loss *c = p->call;
    if (c->kind == POLICY_LOSS_PPO_CLIP)
        return exp(p->logprob[t] - (double)c->logprob_old[t]);
    double sum = 0;
    int count = 0;
    int s = 0;
    while (c->sequence_start[s + 1] <= t)
        s++;
    for (int64_t i = c->sequence_start[s]; i < c->sequence_start[s + 1]; i++) {
        if (c->mask[i] != 0) {
            sum += p->logprob[i] - (double)c->logprob_old[i];
            count++;
        }
    }
    return exp(sum / count);
}

static double naive_loss(const void *argument)
{
    const struct loss_problem *p = argument;
    const struct op_policy_loss *c = p->call;
    double loss = 0;
    for (int64_t t = 0; t < c->rows; t++) {
        double advantage = c->kind == POLICY_LOSS_SFT ? 1 : (double)c->advantage[t];
        if (c->mask[t] == 0)
            continue;
        if (c->kind != POLICY_LOSS_PPO_CLIP && c->kind != POLICY_LOSS_GSPO) {
            loss -= (double)c->scale[t] * p->held[t] * advantage * p->logprob[t];
            continue;
        }
        double r = naive_ratio(p, t);
        double bounded = clamp(r, 1 - (double)c->clip_low, 1 + (double)c->clip_high);
        double objective = fmin(r * advantage, bounded * advantage);
        if (c->dual_clip > 1 && advantage < 0)
            objective = fmax(objective, (double)c->dual_clip * advantage);
        loss -= (double)c->scale[t] * objective;
    }
    return loss;
}

static void check_gradient(const struct op_table *ops)
{
    enum { ROWS = 60 };
    static const int32_t start[] = {0, 10, 10, 25, 60};
    for (int kind = POLICY_LOSS_CISPO; kind <= POLICY_LOSS_SFT; kind++) {
        struct op_policy_loss call = make_call((enum policy_loss)kind, ROWS);
        call.sequences = 4;
        call.sequence_start = start;
        call.weight_min = 0.5F;
        call.weight_max = 1.7F;
        call.dual_clip = kind == POLICY_LOSS_PPO_CLIP ? 2.0F : 0.0F;
        fill(call.scale, ROWS, 0.125F);
        for (int64_t t = 0; t < ROWS; t++)
            writable(call.mask)[t] = t % 5 != 3;
        for (int s = 0; s < 4; s++) /* an advantage belongs to a sequence */
            fill(call.advantage + start[s], start[s + 1] - start[s], s % 2 == 0 ? 0.75F : -1.25F);
        run(ops, &call);
        struct loss_problem p = {&call, widen(call.logprob, ROWS), doubles(ROWS)};
        for (int64_t t = 0; t < ROWS; t++)
            p.held[t] = naive_weight(&call, t);
        assert_near(*call.loss, naive_loss(&p), 1e-6);
        assert_close(call.dlogprob, numeric_gradient(naive_loss, &p, p.logprob, ROWS), ROWS, 1e-6);
    }
}

/* ---- properties ------------------------------------------------------------------------------------------------------ */
static void check_masked_nan(const struct op_table *ops)
{
    enum { ROWS = 9 };
    static const int32_t start[] = {0, 4, ROWS};
    for (int kind = POLICY_LOSS_CISPO; kind <= POLICY_LOSS_SFT; kind++) {
        struct op_policy_loss call = make_call((enum policy_loss)kind, ROWS);
        call.sequences = 2;
        call.sequence_start = start;
        fill(call.mask, ROWS, 1);
        fill(call.scale, ROWS, 1);
        for (int t = 0; t < ROWS; t += 2) {
            writable(call.mask)[t] = 0;
            writable(call.logprob)[t] = writable(call.logprob_old)[t] = NAN;
            writable(call.advantage)[t] = writable(call.scale)[t] = NAN;
        }
        run(ops, &call);
        assert_true(isfinite(*call.loss));
        for (int t = 0; t < ROWS; t++) {
            assert_true(isfinite(call.ratio[t]) && isfinite(call.dlogprob[t]));
            assert_true(t % 2 == 1 || (call.ratio[t] == 0 && call.dlogprob[t] == 0));
            assert_true(t % 2 == 1 || call.clipped[t] == 0);
        }
        writable(call.logprob)[1] = NAN; /* a trained token's NaN must be seen */
        run(ops, &call);
        assert_true(isnan(*call.loss));
    }
}

static void check_clipped_gradient(const struct op_table *ops)
{
    struct op_policy_loss call = make_call(POLICY_LOSS_CISPO, 1);
    fill(call.mask, 1, 1);
    fill(call.scale, 1, 0.5F);
    fill(call.advantage, 1, 2);
    fill(call.logprob, 1, -1);
    fill(call.logprob_old, 1, -4); /* ratio exp(3) */
    call.weight_max = 5;
    run(ops, &call);
    assert_true(call.clipped[0] == 1 && call.dlogprob[0] == -5.0F);
    assert_near((double)call.ratio[0], exp(3.0), 1e-5);
    call.kind = POLICY_LOSS_PPO_CLIP; /* here the same token is silent */
    run(ops, &call);
    assert_true(call.clipped[0] == 1 && call.dlogprob[0] == 0);
    fill(call.logprob_old, 1, -400); /* the exponent is bounded, the ratio finite */
    call.kind = POLICY_LOSS_REINFORCE;
    run(ops, &call);
    assert_near((double)call.ratio[0] / exp(20.0), 1, 1e-6);
}

/* On-policy, every ratio is 1: all policy losses have the gradient -w A of REINFORCE, bit for bit. */
static void check_on_policy(const struct op_table *ops)
{
    enum { ROWS = 33 };
    static const int32_t start[] = {0, ROWS};
    struct op_policy_loss call = make_call(POLICY_LOSS_REINFORCE, ROWS);
    call.sequences = 1;
    call.sequence_start = start;
    call.logprob_old = call.logprob;
    call.weight_max = 5;
    fill(call.mask, ROWS, 1);
    fill(call.scale, ROWS, 0.03F);
    run(ops, &call);
    float *expected = copy_floats(call.dlogprob, ROWS);
    for (int t = 0; t < ROWS; t++)
        assert_true(expected[t] == -(0.03F * call.advantage[t]));
    for (int kind = POLICY_LOSS_CISPO; kind <= POLICY_LOSS_GSPO; kind++) {
        call.kind = (enum policy_loss)kind;
        run(ops, &call);
        assert_bits(call.dlogprob, expected, ROWS);
    }
}

static void test_kernel_policy_loss_goldens_match(void **state)
{
    (void)state;
    run_everywhere(check_golden);
}

static void test_kernel_policy_loss_gradient_matches_finite_differences_weights_held(void **state)
{
    (void)state;
    run_everywhere(check_gradient);
}

static void test_kernel_policy_loss_masked_nan_is_silent_and_trained_nan_is_not(void **state)
{
    (void)state;
    run_everywhere(check_masked_nan);
}

static void test_kernel_policy_loss_clipped_cispo_token_keeps_its_gradient(void **state)
{
    (void)state;
    run_everywhere(check_clipped_gradient);
}

static void test_kernel_policy_loss_on_policy_is_reinforce(void **state)
{
    (void)state;
    run_everywhere(check_on_policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_policy_loss_goldens_match),
        cmocka_unit_test(test_kernel_policy_loss_gradient_matches_finite_differences_weights_held),
        cmocka_unit_test(test_kernel_policy_loss_masked_nan_is_silent_and_trained_nan_is_not),
        cmocka_unit_test(test_kernel_policy_loss_clipped_cispo_token_keeps_its_gradient),
        cmocka_unit_test(test_kernel_policy_loss_on_policy_is_reinforce),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
