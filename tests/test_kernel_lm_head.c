/* links: core kernels PkgConfig::jansson */
/* timeout: 60 */
/* LM head: naive f64 softmax, decode against training, rows alone and in a batch, gradients, bf16. */
#include "tests/kernel_case.h"

#include <stdbool.h>

#include "core/rng.h"

struct head {
    int64_t rows, channels, vocabulary;
    float temperature;
    bool bf16;
    float *x, *weight, *packed;
    int32_t *target;
    float *logits, *lse, *lse_raw, *logprob, *entropy;
};

static struct head head_make(const struct op_table *ops, int64_t rows, int64_t channels,
                             int64_t vocabulary, float temperature)
{
    struct head h = {.rows = rows, .channels = channels, .vocabulary = vocabulary};
    h.temperature = temperature;
    h.x = random_floats(rows * channels);
    h.weight = random_floats(vocabulary * channels);
    h.packed = floats((int64_t)(ops->packed_bytes(ops->context, 1, vocabulary, channels) / 4));
    h.target = integers(rows);
    for (int64_t t = 0; t < rows; t++)
        h.target[t] = (int32_t)(t * 7919 % vocabulary);
    h.logits = floats(rows * vocabulary);
    h.lse = floats(rows);
    h.lse_raw = floats(rows);
    h.logprob = floats(rows);
    h.entropy = floats(rows);
    struct op_linear_pack pack = {1, vocabulary, channels, h.weight, h.packed};
    assert_int_equal(ops->linear_pack(ops->context, &pack), STATUS_OK);
    return h;
}

static struct op_lm_head head_args(const struct head *h)
{
    return (struct op_lm_head){h->rows, h->channels, h->vocabulary, h->temperature, h->bf16,
                               h->x,    h->packed,   NULL,          h->target,      h->logits,
                               h->lse,  h->lse_raw,  h->logprob,    h->entropy};
}

static struct op_lm_head_backward backward_of(const struct head *h, const float *dlogprob,
                                              float *dx, float *dweight)
{
    return (struct op_lm_head_backward){.rows = h->rows,
                                        .channels = h->channels,
                                        .vocabulary = h->vocabulary,
                                        .temperature = h->temperature,
                                        .x = h->x,
                                        .packed = h->packed,
                                        .weight = h->weight,
                                        .target = h->target,
                                        .lse = h->lse,
                                        .dlogprob = dlogprob,
                                        .dx = dx,
                                        .dweight = dweight};
}

static double *naive_logits(const struct head *h, int64_t row)
{
    static double z[4096];
    assert_true(h->vocabulary <= 4096);
    for (int64_t v = 0; v < h->vocabulary; v++) {
        z[v] = 0;
        for (int64_t c = 0; c < h->channels; c++)
            z[v] += (double)h->x[row * h->channels + c] * (double)h->weight[v * h->channels + c];
    }
    return z;
}

static double naive_lse(const double *z, int64_t vocabulary, double temperature)
{
    double top = -INFINITY;
    double sum = 0;
    for (int64_t v = 0; v < vocabulary; v++)
        top = fmax(top, z[v] / temperature);
    for (int64_t v = 0; v < vocabulary; v++)
        sum += exp(z[v] / temperature - top);
    return top + log(sum);
}

/* Logits: sums of C products of size <= 1, C 2^-24 C at worst and about sqrt(C) in practice; exp and
 * the sums over V add a few ulp. 1e-5 of the size covers C = 300 with room for temperature 0.5. */
static void check_row(const struct head *h, int64_t t)
{
    const double tolerance = 1e-5;
    double *z = naive_logits(h, t);
    const double temperature = (double)h->temperature;
    const double lse = naive_lse(z, h->vocabulary, temperature);
    const double raw = naive_lse(z, h->vocabulary, 1);
    double entropy = 0;
    for (int64_t v = 0; v < h->vocabulary; v++)
        entropy -= exp(z[v] / temperature - lse) * (z[v] / temperature - lse);
    const double logprob = h->target[t] < 0 ? 0 : z[h->target[t]] / temperature - lse;
    assert_close(h->logits + t * h->vocabulary, z, h->vocabulary, tolerance);
    assert_close(h->lse + t, &lse, 1, tolerance);
    assert_close(h->lse_raw + t, &raw, 1, tolerance);
    assert_close(h->logprob + t, &logprob, 1, tolerance);
    assert_close(h->entropy + t, &entropy, 1, tolerance);
    assert_true(h->logprob[t] <= 0.0f);
}

static void check_values(const struct op_table *ops)
{
    static const int64_t shapes[][3] = {{1, 1, 1},     {3, 17, 5},     {65, 64, 255}, {64, 64, 256},
                                        {2, 300, 257}, {130, 33, 513}, {5, 96, 4001}};
    static const float temperatures[] = {1.0f, 0.5f, 1.7f};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t i = 0; i < 3; i++) {
            struct head h =
                head_make(ops, shapes[s][0], shapes[s][1], shapes[s][2], temperatures[i]);
            h.target[h.rows / 2] = -1;
            struct op_lm_head args = head_args(&h);
            assert_int_equal(ops->lm_head(ops->context, &args), STATUS_OK);
            for (int64_t t = 0; t < h.rows; t++)
                check_row(&h, t);
            assert_true(h.logprob[h.rows / 2] == 0.0f);
            if (temperatures[i] == 1.0f)
                assert_bits(h.lse, h.lse_raw, h.rows);
            remember(h.lse, h.rows);
            remember(h.entropy, h.rows);
            remember(h.logprob, h.rows);
            check_guards_and_free();
        }
}

static void test_kernel_lm_head_values_match_naive_softmax(void **state)
{
    (void)state;
    run_everywhere(check_values);
}

/* Decode: few rows with logits. Training: all rows without. */
static void check_paths(const struct op_table *ops)
{
    static const int64_t sizes[] = {1, 2, 5, 12, 13, 31, 64, 257};
    enum { ROWS = 257 };
    const struct head h = head_make(ops, ROWS, 64, 700, 0.9f);
    struct op_lm_head all = head_args(&h);
    all.logits = NULL;
    assert_int_equal(ops->lm_head(ops->context, &all), STATUS_OK);
    remember(h.logprob, ROWS);
    float *out[4] = {floats(ROWS), floats(ROWS), floats(ROWS), floats(ROWS)};
    for (size_t m = 0; m < sizeof sizes / sizeof sizes[0]; m++)
        for (int64_t row = 0; row + sizes[m] <= ROWS; row += sizes[m]) {
            struct op_lm_head some = head_args(&h);
            some.rows = sizes[m];
            some.x = h.x + row * h.channels;
            some.target = h.target + row;
            some.lse = out[0];
            some.lse_raw = out[1];
            some.logprob = out[2];
            some.entropy = out[3];
            assert_int_equal(ops->lm_head(ops->context, &some), STATUS_OK);
            assert_bits(out[0], h.lse + row, sizes[m]);
            assert_bits(out[1], h.lse_raw + row, sizes[m]);
            assert_bits(out[2], h.logprob + row, sizes[m]);
            assert_bits(out[3], h.entropy + row, sizes[m]);
        }
}

static void test_kernel_lm_head_decode_has_the_bits_of_training(void **state)
{
    (void)state;
    run_everywhere(check_paths);
}

/* 300 rows: two blocks of gradient rows. Every third row is masked and holds NaN. */
static void check_gradient(const struct op_table *ops)
{
    const struct head h = head_make(ops, 400, 40, 1100, 0.8f);
    const int64_t weights = h.vocabulary * h.channels;
    struct op_lm_head args = head_args(&h);
    args.logits = NULL;
    assert_int_equal(ops->lm_head(ops->context, &args), STATUS_OK);
    float *dlogprob = random_floats(h.rows);
    float *dx = random_floats(h.rows * h.channels);
    float *dweight = random_floats(weights);
    double *expected = widen(dweight, weights);
    double *dx_expected = doubles(h.rows * h.channels);
    for (int64_t t = 0; t < h.rows; t++) {
        if (t % 3 == 0)
            dlogprob[t] = 0;
        if (t % 4 == 1)
            h.target[t] = -1;
        if (t % 3 == 0 || t % 4 == 1) {
            h.x[t * h.channels] = NAN;
            continue;
        }
        double *z = naive_logits(&h, t);
        const double temperature = (double)h.temperature;
        const double lse = naive_lse(z, h.vocabulary, temperature);
        for (int64_t v = 0; v < h.vocabulary; v++) {
            const double p = exp(z[v] / temperature - lse);
            const double dz = (double)dlogprob[t] * ((v == h.target[t]) - p) / temperature;
            for (int64_t c = 0; c < h.channels; c++) {
                dx_expected[t * h.channels + c] += dz * (double)h.weight[v * h.channels + c];
                expected[v * h.channels + c] += dz * (double)h.x[t * h.channels + c];
            }
        }
    }
    const struct op_lm_head_backward back = backward_of(&h, dlogprob, dx, dweight);
    assert_int_equal(ops->lm_head_backward(ops->context, &back), STATUS_OK);
    /* p is off by the error of z, 1e-6; sums of 1100 or 300 terms of which most are 1e-3. */
    assert_close(dx, dx_expected, h.rows * h.channels, 5e-6);
    assert_close(dweight, expected, weights, 5e-6);
    remember(dx, h.rows * h.channels);
    remember(dweight, weights);
}

static void test_kernel_lm_head_gradient_matches_naive_and_skips_masked_rows(void **state)
{
    (void)state;
    run_everywhere(check_gradient);
}

/* H of one row at x, in doubles. */
static double naive_entropy(const struct head *h, const double *x)
{
    double z[64], lse = 0, entropy = 0;
    for (int64_t v = 0; v < h->vocabulary; v++) {
        z[v] = 0;
        for (int64_t c = 0; c < h->channels; c++)
            z[v] += x[c] * (double)h->weight[v * h->channels + c] / (double)h->temperature;
        lse += exp(z[v]);
    }
    lse = log(lse);
    for (int64_t v = 0; v < h->vocabulary; v++)
        entropy -= exp(z[v] - lse) * (z[v] - lse);
    return entropy;
}

/* Finite differences of the entropy alone: dlogprob is 0, so only dentropy pulls. */
static void check_entropy_gradient(const struct op_table *ops)
{
    const struct head h = head_make(ops, 9, 12, 50, 0.8f);
    struct op_lm_head args = head_args(&h);
    args.logits = NULL;
    assert_int_equal(ops->lm_head(ops->context, &args), STATUS_OK);
    float *dlogprob = random_floats(h.rows), *dentropy = random_floats(h.rows);
    float *dx = random_floats(h.rows * h.channels);
    float *dweight = random_floats(h.vocabulary * h.channels);
    double *expected = doubles(h.rows * h.channels);
    for (int64_t t = 0; t < h.rows; t++) {
        dlogprob[t] = 0;
        dentropy[t] = t == 4 ? 0 : dentropy[t];
        double x[64];
        for (int64_t c = 0; c < h.channels; c++)
            x[c] = (double)h.x[t * h.channels + c];
        for (int64_t c = 0; c < h.channels; c++) {
            const double step = 1e-6, at = x[c];
            x[c] = at + step;
            const double above = naive_entropy(&h, x);
            x[c] = at - step;
            expected[t * h.channels + c] =
                (double)dentropy[t] * (above - naive_entropy(&h, x)) / (2 * step);
            x[c] = at;
        }
    }
    struct op_lm_head_backward back = backward_of(&h, dlogprob, dx, dweight);
    back.dentropy = dentropy;
    back.entropy = h.entropy;
    for (int64_t t = 0; t < h.rows; t++)
        h.target[t] = 3;
    assert_int_equal(ops->lm_head_backward(ops->context, &back), STATUS_OK);
    assert_close(dx, expected, h.rows * h.channels, 5e-6);
}

static void test_kernel_lm_head_entropy_gradient_matches_finite_differences(void **state)
{
    (void)state;
    run_everywhere(check_entropy_gradient);
}

/* x and W on a grid of 1/8, so f32 sums are exact and bf16 rounding has one answer: z of size 2..8
 * moves to multiples of 1/64 .. 1/32. One x = 1 + 2^-9 must round to 1. */
static void check_bf16(const struct op_table *ops)
{
    struct head h = head_make(ops, 70, 60, 300, 1.0f);
    for (int64_t i = 0; i < h.rows * h.channels; i++)
        h.x[i] = roundf(h.x[i] * 8) / 8;
    for (int64_t i = 0; i < h.vocabulary * h.channels; i++)
        h.weight[i] = roundf(h.weight[i] * 8) / 8;
    struct op_linear_pack pack = {1, h.vocabulary, h.channels, h.weight, h.packed};
    assert_int_equal(ops->linear_pack(ops->context, &pack), STATUS_OK);
    h.bf16 = true;
    h.x[0] = 1 + 0x1p-9f;
    struct op_lm_head args = head_args(&h);
    assert_int_equal(ops->lm_head(ops->context, &args), STATUS_OK);
    h.x[0] = 1;
    int64_t moved = 0;
    for (int64_t t = 0; t < h.rows; t++) {
        const double *z = naive_logits(&h, t);
        for (int64_t v = 0; v < h.vocabulary; v++) {
            /* Nearest with 8 bits, ties to even: nearbyint at the scale of the number. */
            int exponent = 0;
            (void)frexp(z[v], &exponent);
            const double unit = ldexp(1.0, exponent - 8);
            const double rounded = nearbyint(z[v] / unit) * unit;
            assert_true((double)h.logits[t * h.vocabulary + v] == rounded);
            moved += rounded != z[v];
        }
    }
    assert_true(moved > 1000);
}

static void test_kernel_lm_head_bf16_rounds_inputs_weights_and_logits(void **state)
{
    (void)state;
    run_everywhere(check_bf16);
}

/* The nearest float with bf16's 8 bits of mantissa. */
static float to_bf16(double value)
{
    int exponent;
    (void)frexp(value, &exponent);
    const double unit = ldexp(1.0, exponent - 8);
    return (float)(nearbyint(value / unit) * unit);
}

/* A sampled target (Gumbel-max over exact logits); *logprob: its exact log probability. */
static int32_t sample_target(struct rng *rng, const struct head *h, int64_t row, double *logprob)
{
    double sum = 0, best = -INFINITY, chosen = 0;
    int32_t target = 0;
    for (int64_t v = 0; v < h->vocabulary; v++) {
        double z = 0;
        for (int64_t c = 0; c < h->channels; c++)
            z += (double)h->x[row * h->channels + c] * (double)h->weight[v * h->channels + c];
        sum += exp(z);
        const double noisy = z - log(-log(rng_uniform(rng)));
        if (noisy > best) {
            best = noisy;
            chosen = z;
            target = (int32_t)v;
        }
    }
    *logprob = chosen - log(sum);
    return target;
}

/* Mean |logprob - exact| of sampled tokens, logits of the given spread, by an FP32 head and by a bf16 one. */
static void head_errors(const struct op_table *ops, double spread, double *fp32, double *bf16)
{
    enum { ROWS = 48, CHANNELS = 64, VOCABULARY = 2048 };
    struct head h = head_make(ops, ROWS, CHANNELS, VOCABULARY, 1);
    struct rng rng;
    rng_init(&rng, 7, 1, RNG_TEST);
    double exact[ROWS];
    for (int64_t i = 0; i < ROWS * CHANNELS; i++)
        h.x[i] = to_bf16(rng_normal(&rng));
    for (int64_t i = 0; i < VOCABULARY * CHANNELS; i++)
        h.weight[i] = to_bf16(rng_normal(&rng) * spread / sqrt(CHANNELS));
    for (int64_t t = 0; t < ROWS; t++)
        h.target[t] = sample_target(&rng, &h, t, &exact[t]);
    struct op_linear_pack pack = {1, VOCABULARY, CHANNELS, h.weight, h.packed};
    assert_int_equal(ops->linear_pack(ops->context, &pack), STATUS_OK);
    for (int pass = 0; pass < 2; pass++) {
        h.bf16 = pass == 1;
        const struct op_lm_head args = head_args(&h);
        assert_int_equal(ops->lm_head(ops->context, &args), STATUS_OK);
        double sum = 0;
        for (int64_t t = 0; t < ROWS; t++)
            sum += fabs((double)h.logprob[t] - exact[t]);
        *(pass == 0 ? fp32 : bf16) = sum / ROWS;
    }
}

/* tests/golden/spec/precision.json: what a bf16 head costs at three spreads of the logits (M1 section 3.2). Other draws
 * than those of the file, so means agree within their noise: 48 sampled tokens whose errors scatter by about their size
 * make 15 %, and the head of the distribution moves with the vocabulary: a factor of 2. The FP32 head has no lower
 * bound; above it is allowed 4 times the file's, which rounds once where a chain of 64 products rounds at each. */
static void check_precision(const struct op_table *ops)
{
    static const struct {
        const char *name;
        double spread;
    } cases[] = {{"logit_std_1.60", 1.6}, {"logit_std_6.40", 6.4}, {"logit_std_15.99", 15.99}};
    json_error_t error;
    json_t *root = json_load_file(SOURCE_DIR "/tests/golden/spec/precision.json", 0, &error);
    assert_non_null(root);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const json_t *wanted = json_object_get(root, cases[i].name);
        const double wanted_bf16 = json_real_value(json_object_get(wanted, "mean_abs_dlogp_bf16"));
        const double wanted_fp32 = json_real_value(json_object_get(wanted, "mean_abs_dlogp_fp32"));
        double fp32, bf16;
        head_errors(ops, cases[i].spread, &fp32, &bf16);
        print_message("%s: mean |dlogprob| fp32 %.2e (%.2e), bf16 %.4f (%.4f)\n", cases[i].name,
                      fp32, wanted_fp32, bf16, wanted_bf16);
        assert_true(bf16 > wanted_bf16 / 2 && bf16 < wanted_bf16 * 2);
        assert_true(fp32 < 4 * wanted_fp32);
    }
    json_decref(root);
}
static void test_kernel_lm_head_in_bf16_errs_as_measured_and_in_fp32_does_not(void **state)
{
    (void)state;
    run_everywhere(check_precision);
}

/* One logit far above the others: probability 1, entropy 0, no NaN; -inf rows of W do not happen, but
 * logits of -1e4 underflow to 0. */
static void check_extremes(const struct op_table *ops)
{
    struct head h = head_make(ops, 1, 1, 600, 1.0f);
    for (int64_t v = 0; v < h.vocabulary; v++)
        h.weight[v] = -1e4f;
    h.weight[599] = 1e4f;
    h.x[0] = 1;
    h.target[0] = 599;
    struct op_linear_pack pack = {1, h.vocabulary, 1, h.weight, h.packed};
    assert_int_equal(ops->linear_pack(ops->context, &pack), STATUS_OK);
    struct op_lm_head args = head_args(&h);
    assert_int_equal(ops->lm_head(ops->context, &args), STATUS_OK);
    assert_true(h.lse[0] == 1e4f);
    assert_true(h.logprob[0] == 0.0f);
    assert_true(h.entropy[0] == 0.0f);
}

static void test_kernel_lm_head_certain_token_has_logprob_zero(void **state)
{
    (void)state;
    run_everywhere(check_extremes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_lm_head_values_match_naive_softmax),
        cmocka_unit_test(test_kernel_lm_head_decode_has_the_bits_of_training),
        cmocka_unit_test(test_kernel_lm_head_gradient_matches_naive_and_skips_masked_rows),
        cmocka_unit_test(test_kernel_lm_head_entropy_gradient_matches_finite_differences),
        cmocka_unit_test(test_kernel_lm_head_bf16_rounds_inputs_weights_and_logits),
        cmocka_unit_test(test_kernel_lm_head_in_bf16_errs_as_measured_and_in_fp32_does_not),
        cmocka_unit_test(test_kernel_lm_head_certain_token_has_logprob_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
