/* links: core kernels PkgConfig::jansson */
/* timeout: 60 */
/* Sampling: chi-square against the softmax, exact top-k and top-p sets, the f64 Gumbel argmax with
 * core/rng.h, greedy, and the logprob that the learner recomputes. Draws have fixed seeds. */
#include "tests/kernel_case.h"

#include "core/rng.h"

struct draw {
    int64_t rows, vocabulary;
    float *logits, *lse, *lse_raw, *logprob, *truncated;
    int32_t *token;
    uint8_t *confident;
    struct op_sample_row *row;
};

static float lse_of(const float *logits, int64_t vocabulary, double temperature)
{
    double top = -INFINITY;
    double sum = 0;
    for (int64_t v = 0; v < vocabulary; v++)
        top = fmax(top, (double)logits[v] / temperature);
    for (int64_t v = 0; v < vocabulary; v++)
        sum += exp((double)logits[v] / temperature - top);
    return (float)(top + log(sum));
}

/* `logits` [vocabulary] for every row, or NULL for random ones of size 6. */
static struct draw draw_make(int64_t rows, int64_t vocabulary, const float *logits,
                             struct op_sample_row row)
{
    struct draw d = {.rows = rows, .vocabulary = vocabulary};
    d.logits = random_floats(rows * vocabulary);
    d.lse = floats(rows);
    d.lse_raw = floats(rows);
    d.logprob = floats(rows);
    d.truncated = floats(rows);
    d.token = integers(rows);
    d.confident = (uint8_t *)floats(rows);
    d.row = (struct op_sample_row *)(void *)doubles(rows * 8);
    const double temperature = row.temperature > 0 ? (double)row.temperature : 1.0;
    for (int64_t t = 0; t < rows; t++) {
        float *z = d.logits + t * vocabulary;
        for (int64_t v = 0; v < vocabulary; v++)
            z[v] = logits ? logits[v] : 6 * z[v];
        d.lse[t] = lse_of(z, vocabulary, temperature);
        d.lse_raw[t] = lse_of(z, vocabulary, 1.0);
        d.row[t] = row;
        d.row[t].position = row.position + (uint32_t)t;
    }
    return d;
}

static void draw_run(const struct op_table *ops, const struct draw *d, float probability)
{
    struct op_sample args = {d->rows,    d->vocabulary, d->logits,   d->lse,
                             d->lse_raw, d->row,        probability, d->token,
                             d->logprob, d->truncated,  d->confident};
    assert_int_equal(ops->sample(ops->context, &args), STATUS_OK);
    remember(d->token, d->rows);
    remember(d->logprob, d->rows);
}

/* 100,000 draws of 37 ids: chi-square with 36 degrees of freedom stays below 36 + 5 sqrt(72). */
static void check_distribution(const struct op_table *ops)
{
    enum { IDS = 37, ROWS = 1000, CALLS = 100 };
    float logits[IDS];
    int64_t seen[IDS] = {0};
    for (int v = 0; v < IDS; v++)
        logits[v] = 2 * random_unit();
    const double temperature = 0.8;
    for (uint32_t call = 0; call < CALLS; call++) {
        struct draw d = draw_make(
            ROWS, IDS, logits,
            (struct op_sample_row){
                .seed = 20250616, .group = 3, .sample = call, .temperature = 0.8f, .top_p = 1.0f});
        draw_run(ops, &d, 0.99f);
        for (int t = 0; t < ROWS; t++)
            seen[d.token[t]]++;
        check_guards_and_free();
    }
    const double lse = (double)lse_of(logits, IDS, temperature);
    double chi = 0;
    for (int v = 0; v < IDS; v++) {
        const double expected = ROWS * CALLS * exp((double)logits[v] / temperature - lse);
        chi += ((double)seen[v] - expected) * ((double)seen[v] - expected) / expected;
    }
    assert_true(chi < 36 + 5 * sqrt(72));
    assert_true(chi > 36 - 5 * sqrt(72)); /* 37 ids cannot fit that well by chance */
}

static void test_kernel_sample_draws_follow_the_softmax(void **state)
{
    (void)state;
    run_everywhere(check_distribution);
}

static int32_t naive_token(const struct draw *d, int64_t t)
{
    double best = -INFINITY;
    int32_t token = 0;
    for (int32_t v = 0; v < d->vocabulary; v++) {
        const struct op_sample_row *row = &d->row[t];
        uint32_t counter[4];
        uint32_t words[4];
        const uint32_t key[2] = {(uint32_t)row->seed, (uint32_t)(row->seed >> 32)};
        rng_counter(counter, row->group, row->sample, row->position, (uint32_t)v / 4, RNG_SAMPLING);
        philox4x32(counter, key, words);
        const double z = (double)d->logits[t * d->vocabulary + v] / (double)row->temperature -
                         log(-log(((double)words[v % 4] + 0.5) / 4294967296.0));
        if (z > best) {
            best = z;
            token = v;
        }
    }
    return token;
}

static void check_argmax(const struct op_table *ops)
{
    static const int64_t sizes[] = {1, 3, 5, 16, 63, 64, 65, 1000, 5003};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct draw d = draw_make(65, sizes[s], NULL,
                                  (struct op_sample_row){.seed = 0x123456789abcdefU,
                                                         .group = 1ULL << 40,
                                                         .sample = 65535,
                                                         .position = (1U << 24) - 65,
                                                         .temperature = s % 2 ? 1.0f : 1.3f,
                                                         .top_p = 1.0f});
        draw_run(ops, &d, 0.5f);
        for (int64_t t = 0; t < d.rows; t++) {
            assert_int_equal(d.token[t], naive_token(&d, t));
            const double z = (double)d.logits[t * d.vocabulary + d.token[t]];
            const double logprob = z / (double)d.row[t].temperature - (double)d.lse[t];
            assert_close(&d.logprob[t], &logprob, 1, 1e-6);
            assert_true(d.logprob[t] <= 0.0f);
            assert_bits(&d.logprob[t], &d.truncated[t], 1);
            assert_int_equal(d.confident[t], exp(z - (double)d.lse_raw[t]) > 0.5);
        }
        check_guards_and_free();
    }
}

static void test_kernel_sample_token_is_the_gumbel_argmax_of_the_shared_numbers(void **state)
{
    (void)state;
    run_everywhere(check_argmax);
}

/* Probabilities 0.4 (id 2), 0.2 (ids 0 and 4), 0.1 (ids 1 and 3). `kept`: bits of the ids. */
static void check_set(const struct op_table *ops, int32_t top_k, float top_p, unsigned kept,
                      double mass)
{
    const float logits[5] = {logf(0.2f), logf(0.1f), logf(0.4f), logf(0.1f), logf(0.2f)};
    struct draw d = draw_make(
        600, 5, logits,
        (struct op_sample_row){.seed = 11, .temperature = 1.0f, .top_k = top_k, .top_p = top_p});
    draw_run(ops, &d, 0.99f);
    unsigned seen = 0;
    for (int64_t t = 0; t < d.rows; t++) {
        seen |= 1U << d.token[t];
        const double full = (double)logits[d.token[t]];
        const double truncated = full - log(mass);
        assert_close(&d.logprob[t], &full, 1, 1e-6);
        assert_close(&d.truncated[t], &truncated, 1, 1e-6);
    }
    assert_int_equal(seen, kept);
    check_guards_and_free();
}

static void check_sets(const struct op_table *ops)
{
    check_set(ops, 1, 1.0f, 0x04, 0.4);
    check_set(ops, 2, 1.0f, 0x05, 0.6); /* the tie goes to id 0 */
    check_set(ops, 4, 1.0f, 0x17, 0.9);
    check_set(ops, 5, 1.0f, 0x1f, 1.0);
    check_set(ops, 0, 0.39f, 0x04, 0.4);
    check_set(ops, 0, 0.59f, 0x05, 0.6);
    check_set(ops, 0, 0.61f, 0x15, 0.8);
    check_set(ops, 0, 0.95f, 0x1f, 1.0);
    check_set(ops, 2, 0.95f, 0x05, 0.6);
    check_set(ops, 4, 0.3f, 0x04, 0.4);
}

static void test_kernel_sample_top_k_and_top_p_keep_exact_sets(void **state)
{
    (void)state;
    run_everywhere(check_sets);
}

static void check_greedy(const struct op_table *ops)
{
    const float logits[6] = {1, 5, 2, 5, -INFINITY, 0};
    struct draw d = draw_make(
        4, 6, logits, (struct op_sample_row){.temperature = 0.0f, .top_k = 3, .top_p = 0.5f});
    draw_run(ops, &d, 0.4f);
    for (int64_t t = 0; t < d.rows; t++) {
        assert_int_equal(d.token[t], 1); /* ties to the smaller id */
        assert_bits(&d.logprob[t], &d.truncated[t], 1);
        assert_int_equal(d.confident[t], 1);
    }
}

static void test_kernel_sample_temperature_zero_takes_the_first_maximum(void **state)
{
    (void)state;
    run_everywhere(check_greedy);
}

/* A row alone has the token and logprob it had among 64; half of them with top_p. */
static void check_alone(const struct op_table *ops)
{
    struct draw d = draw_make(
        64, 777, NULL, (struct op_sample_row){.seed = 5, .temperature = 0.7f, .top_p = 1.0f});
    for (int64_t t = 0; t < d.rows; t += 2)
        d.row[t].top_p = 0.8f;
    draw_run(ops, &d, 0.9f);
    for (int64_t t = 0; t < d.rows; t++) {
        int32_t token = -1;
        float values[2] = {1, 1};
        uint8_t confident = 9;
        struct op_sample args = {
            1,    777,    d.logits + t * 777, &d.lse[t],  &d.lse_raw[t], &d.row[t],
            0.9f, &token, &values[0],         &values[1], &confident};
        assert_int_equal(ops->sample(ops->context, &args), STATUS_OK);
        assert_int_equal(token, d.token[t]);
        assert_bits(&values[0], &d.logprob[t], 1);
        assert_bits(&values[1], &d.truncated[t], 1);
        assert_int_equal(confident, d.confident[t]);
    }
}

static void test_kernel_sample_row_alone_equals_row_in_batch(void **state)
{
    (void)state;
    run_everywhere(check_alone);
}

/* What the actor streams is what the learner recomputes: lm_head with logits, sample, then lm_head on
 * the sampled tokens without logits, all rows at once. */
static void check_learner(const struct op_table *ops)
{
    enum { ROWS = 70, CHANNELS = 64, IDS = 257 };
    struct draw d = draw_make(
        ROWS, IDS, NULL, (struct op_sample_row){.seed = 8, .temperature = 0.9f, .top_p = 0.9f});
    float *x = random_floats(ROWS * CHANNELS);
    float *weight = random_floats(IDS * CHANNELS);
    float *packed = floats((int64_t)(ops->packed_bytes(ops->context, 1, IDS, CHANNELS) / 4));
    struct op_linear_pack pack = {1, IDS, CHANNELS, weight, packed};
    assert_int_equal(ops->linear_pack(ops->context, &pack), STATUS_OK);
    for (int64_t t = 0; t < ROWS; t++) {
        struct op_lm_head decode = {.rows = 1,
                                    .channels = CHANNELS,
                                    .vocabulary = IDS,
                                    .temperature = 0.9f,
                                    .x = x + t * CHANNELS,
                                    .packed = packed,
                                    .logits = d.logits + t * IDS,
                                    .lse = &d.lse[t],
                                    .lse_raw = &d.lse_raw[t]};
        assert_int_equal(ops->lm_head(ops->context, &decode), STATUS_OK);
    }
    draw_run(ops, &d, 0.99f);
    float *lse = floats(ROWS);
    float *logprob = floats(ROWS);
    struct op_lm_head train = {.rows = ROWS,
                               .channels = CHANNELS,
                               .vocabulary = IDS,
                               .temperature = 0.9f,
                               .x = x,
                               .packed = packed,
                               .target = d.token,
                               .lse = lse,
                               .logprob = logprob};
    assert_int_equal(ops->lm_head(ops->context, &train), STATUS_OK);
    assert_bits(logprob, d.logprob, ROWS);
}

static void test_kernel_sample_logprob_has_the_bits_of_the_learner(void **state)
{
    (void)state;
    run_everywhere(check_learner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_sample_draws_follow_the_softmax),
        cmocka_unit_test(test_kernel_sample_token_is_the_gumbel_argmax_of_the_shared_numbers),
        cmocka_unit_test(test_kernel_sample_top_k_and_top_p_keep_exact_sets),
        cmocka_unit_test(test_kernel_sample_temperature_zero_takes_the_first_maximum),
        cmocka_unit_test(test_kernel_sample_row_alone_equals_row_in_batch),
        cmocka_unit_test(test_kernel_sample_logprob_has_the_bits_of_the_learner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
