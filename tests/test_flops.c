/* links: model */
/* timeout: 20 */
/* FLOP of a model from its shape against the products that its forward and backward passes really ask for (a table of
 * ops that counts what it is given), and against published sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "model/flops.h"
#include "tests/model_shapes.h"

enum { CHUNK = 8, LENGTH = 37, ROWS = 64 };

/* ---- a table of ops that counts ---- */

static struct counts {
    double linear, attention, lightning, head, backward;
} counts;
static struct op_table real;

static enum status count_linear(void *context, const struct op_linear *args)
{
    counts.linear += 2.0 * (double)(args->rows * args->n * args->k);
    return real.linear(context, args);
}

/* Query t of a segment at position p sees p + t + 1 keys. */
static enum status count_attention(void *context, const struct op_attention *args)
{
    for (int32_t s = 0; s < args->segment_count; s++)
        for (int32_t t = 0; t < args->segments[s].count; t++)
            counts.attention += 4.0 * (double)(args->heads * args->head_size) *
                                (args->segments[s].position + t + 1);
    return real.attention(context, args);
}

/* The formula of the op: keys of the own chunk one by one, q S for what is before it, one k^T v. */
static enum status count_lightning(void *context, const struct op_lightning *args)
{
    double d = (double)args->head_size;
    for (int32_t s = 0; s < args->segment_count; s++)
        for (int32_t t = 0; t < args->segments[s].count; t++) {
            double keys = (double)((args->segments[s].position + t) % args->chunk) + 1;
            counts.lightning += (double)args->heads * (4 * d * d + 4 * d * keys);
        }
    return real.lightning(context, args);
}

static enum status count_head(void *context, const struct op_lm_head *args)
{
    counts.head += 2.0 * (double)(args->rows * args->channels * args->vocabulary);
    return real.lm_head(context, args);
}

static enum status count_input(void *context, const struct op_linear_backward_input *args)
{
    counts.backward += 2.0 * (double)(args->rows * args->n * args->k);
    return real.linear_backward_input(context, args);
}

static enum status count_weight(void *context, const struct op_linear_backward_weight *args)
{
    counts.backward += 2.0 * (double)(args->rows * args->n * args->k);
    return real.linear_backward_weight(context, args);
}

static struct model_shape dense_shape(enum model_arch arch)
{
    struct model_shape shape = {.arch = arch,
                                .vocabulary = 131,
                                .hidden = 32,
                                .intermediate = 80,
                                .layers = 2,
                                .heads = 6,
                                .kv_heads = 2,
                                .head_size = 12,
                                .rotary = 12,
                                .qk_norm = arch == ARCH_QWEN3,
                                .qkv_bias = arch == ARCH_QWEN2,
                                .tied = arch == ARCH_QWEN3,
                                .rope_theta = 1e6,
                                .rms_norm_eps = 1e-6,
                                .alpha_softmax = 1.0,
                                .beta_softmax = 1.0,
                                .alpha_mlp = 1.0,
                                .beta_mlp = 1.0,
                                .initializer_range = 0.2,
                                .positions_max = 4096};
    memset(shape.layer_kind, LAYER_SOFTMAX, sizeof shape.layer_kind);
    return shape;
}

/* ---- runs ---- */

struct bench {
    struct op_table *ops;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights;
};

static void bench_open(struct bench *bench, const struct model_shape *shape)
{
    struct model_options options = {.rows_max = ROWS, .lightning_chunk = CHUNK, .train = true};
    assert_int_equal(op_table_create_cpu(&bench->ops, 1), STATUS_OK);
    real = *bench->ops;
    bench->ops->linear = count_linear;
    bench->ops->attention = count_attention;
    bench->ops->lightning = count_lightning;
    bench->ops->lm_head = count_head;
    bench->ops->linear_backward_input = count_input;
    bench->ops->linear_backward_weight = count_weight;
    assert_int_equal(model_create(&bench->model, shape, bench->ops, &options), STATUS_OK);
    const struct parameter_table *table = model_parameters(bench->model);
    float *flat = memory_array((size_t)table->elements, sizeof *flat);
    assert_non_null(flat);
    parameter_table_init(table, shape, 7, flat);
    assert_int_equal(model_weights_create(bench->model, &bench->weights), STATUS_OK);
    assert_int_equal(model_weights_load(bench->model, &bench->weights, flat, 1), STATUS_OK);
    assert_int_equal(model_cache_create(bench->model, 1, 8, ROWS, &bench->cache), STATUS_OK);
    memory_free(flat);
}

static void bench_close(struct bench *bench)
{
    model_cache_destroy(&bench->cache);
    model_weights_destroy(bench->model, &bench->weights);
    model_destroy(&bench->model);
    op_table_destroy(&bench->ops);
}

/* Tokens [position, position + count) of the one sequence, and the head on each. */
static void bench_rows(struct bench *bench, int32_t position, int32_t count, bool train)
{
    int32_t ids[ROWS] = {0}, target[ROWS] = {0};
    float logprob[ROWS], pull[ROWS];
    act *hidden = NULL;
    struct op_segment segment = {0, position, 0, count};
    struct model_batch batch = {count, ids, &segment, 1};
    for (int32_t i = 0; i < count; i++)
        pull[i] = 1;
    assert_int_equal(
        model_forward(bench->model, &bench->weights, bench->cache, &batch, train, &hidden),
        STATUS_OK);
    struct model_head head = {
        .rows = count, .temperature = 1, .target = target, .logprob = logprob};
    assert_int_equal(model_head(bench->model, &bench->weights, hidden, &head), STATUS_OK);
    if (!train)
        return;
    float *grads = NULL;
    size_t bytes = (size_t)model_parameters(bench->model)->elements * sizeof(float);
    assert_int_equal(bench->ops->memory_create(bench->ops->context, bytes, (void **)&grads),
                     STATUS_OK);
    struct model_backward backward = {
        .rows = count, .temperature = 1, .target = target, .dlogprob = pull};
    assert_int_equal(model_backward(bench->model, &bench->weights, hidden, &backward, grads),
                     STATUS_OK);
    bench->ops->memory_destroy(bench->ops->context, (void **)&grads);
}

static void expect(const char *what, double counted, double formula)
{
    if (!(fabs(counted - formula) <= 1e-12 * fabs(counted)))
        fail_msg("%s: counted %.17g, formula %.17g", what, counted, formula);
}

static void expect_flops(const struct flops *formula)
{
    expect("linear", counts.linear, formula->linear);
    expect("attention", counts.attention, formula->attention);
    expect("lightning", counts.lightning, formula->lightning);
    expect("head", counts.head, formula->head);
}

static void check_shape(const struct model_shape *shape)
{
    struct bench bench;
    bench_open(&bench, shape);
    counts = (struct counts){0};
    assert_int_equal(model_cache_open(bench.cache, 0, LENGTH), STATUS_OK);
    bench_rows(&bench, 0, LENGTH, true);
    struct flops whole = flops_sequence(shape, LENGTH, CHUNK, true);
    expect_flops(&whole);
    expect("backward of linear layers", counts.backward, 2 * whole.linear);
    model_cache_close(bench.cache, 0);
    /* a prefill, then tokens one at a time: a whole chunk of them has the mean that flops_token says */
    assert_int_equal(model_cache_open(bench.cache, 0, LENGTH), STATUS_OK);
    bench_rows(&bench, 0, 2 * CHUNK, false);
    counts = (struct counts){0};
    struct flops sum = {0};
    for (int32_t t = 2 * CHUNK; t < 3 * CHUNK; t++) {
        struct flops one = flops_token(shape, t + 1, CHUNK, true);
        bench_rows(&bench, t, 1, false);
        sum.linear += one.linear;
        sum.attention += one.attention;
        sum.lightning += one.lightning;
        sum.head += one.head;
    }
    expect_flops(&sum);
    bench_close(&bench);
}

static void test_flops_of_a_hybrid_are_the_products_it_computes(void **state)
{
    (void)state;
    struct model_shape shape = hybrid_shape();
    check_shape(&shape);
}

static void test_flops_of_dense_models_are_the_products_they_compute(void **state)
{
    (void)state;
    const enum model_arch archs[] = {ARCH_QWEN2, ARCH_QWEN3, ARCH_LLAMA};
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        struct model_shape shape = dense_shape(archs[i]);
        check_shape(&shape);
    }
}

/* Gemma 3 with the numbers of its smallest size, 1B. */
static struct model_shape gemma_shape(void)
{
    struct model_shape shape = {.arch = ARCH_GEMMA3,
                                .vocabulary = 262144,
                                .hidden = 1152,
                                .intermediate = 6912,
                                .layers = 26,
                                .heads = 4,
                                .kv_heads = 1,
                                .head_size = 256,
                                .rotary = 256,
                                .tied = true,
                                .qk_norm = true,
                                .branch_norm = true,
                                .window = 512};
    for (int32_t l = 0; l < shape.layers; l++) {
        shape.layer_kind[l] = LAYER_SOFTMAX;
        shape.layer_sliding[l] = (l + 1) % 6 != 0;
    }
    return shape;
}

static void test_flops_weights_are_those_of_the_parameter_table(void **state)
{
    (void)state;
    struct model_shape shapes[] = {hybrid_shape(), dense_shape(ARCH_QWEN2), dense_shape(ARCH_QWEN3),
                                   dense_shape(ARCH_LLAMA), gemma_shape()};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct parameter_table table;
        assert_int_equal(parameter_table_create(&table, &shapes[i]), STATUS_OK);
        int64_t count = 0;
        for (int64_t r = 0; r < table.count; r++)
            count += table.rows[r].count;
        expect("weights", (double)count, flops_weights(&shapes[i]).total);
        parameter_table_destroy(&table);
    }
}

static void test_flops_of_sliding_layers_stop_growing_at_the_window(void **state)
{
    (void)state;
    struct model_shape shape = gemma_shape();
    struct flops near = flops_token(&shape, 512, 1, false),
                 far = flops_token(&shape, 5000, 1, false);
    expect("keys at the window", 4.0 * 4 * 256 * 26 * 512, near.attention);
    expect("keys behind it", 4.0 * 4 * 256 * (22 * 512 + 4 * 5000), far.attention);
    double sum = 0;
    for (int t = 1; t <= 1000; t++)
        sum += flops_token(&shape, t, 1, false).attention;
    expect("a sequence is its tokens", sum, flops_sequence(&shape, 1000, 1, false).attention);
    expect("cache read", 2.0 * 256 * 2 * (22 * 512 + 4 * 1000),
           traffic_decode(&shape, &(struct flops_storage){2, 2, 2, 0}, 1, 999).cache);
    expect("parameters of Gemma 3 1B", 999885952, flops_weights(&shape).total); /* its checkpoint */
}

/* ---- published sizes ---- */

static struct model_shape m1_shape(void)
{
    struct model_shape shape = hybrid_shape();
    shape.vocabulary = 200064;
    shape.hidden = 6144;
    shape.intermediate = 9216;
    shape.layers = 80;
    shape.heads = 64;
    shape.kv_heads = 8;
    shape.head_size = 128;
    shape.rotary = 64;
    shape.experts = 32;
    for (int32_t l = 0; l < shape.layers; l++)
        shape.layer_kind[l] = l % 8 == 7 ? LAYER_SOFTMAX : LAYER_LIGHTNING;
    return shape;
}

static void test_flops_of_m1_agree_with_what_is_published(void **state)
{
    (void)state;
    struct model_shape shape = m1_shape();
    struct flops_weights weights = flops_weights(&shape);
    expect("parameters of M1", 456089655296.0, weights.total); /* index of its checkpoint */
    assert_true(fabs(weights.active / 45.94e9 - 1) < 1e-3);    /* 45.9 B of the paper */
    struct flops token = flops_token(&shape, 1, 1, false);
    double norms = weights.active * 2 - token.linear; /* weights that multiply no matrix */
    assert_true(norms > 0 && norms < 1e-4 * token.linear);
    expect("bytes of a token", 40 * 1024, traffic_token_bytes(&shape, 2));
    expect("bytes of states", 280.0 * 1024 * 1024, traffic_state_bytes(&shape));
    /* Figure 1: only the softmax layers grow with the position, 1 in 8 of them. */
    struct model_shape twin = shape;
    memset(twin.layer_kind, LAYER_SOFTMAX, sizeof twin.layer_kind);
    struct flops hybrid = flops_token(&shape, 1 << 20, 256, true);
    struct flops softmax = flops_token(&twin, 1 << 20, 256, true);
    expect("an eighth of the attention", softmax.attention, 8 * hybrid.attention);
}

static void test_flops_traffic_of_decode_counts_each_part(void **state)
{
    (void)state;
    struct model_shape shape = hybrid_shape();
    struct flops_weights weights = flops_weights(&shape);
    struct flops_storage plain = {2, 4, 2, 0}, chunked = {2, 4, 2, 64};
    struct traffic one = traffic_decode(&shape, &plain, 1, 99);
    expect("one sequence reads the experts it chose", one.weights,
           2 * (weights.body + shape.layers * 2 * weights.expert));
    expect("head", one.head, 4.0 * 67 * 48);
    expect("cache", one.cache, 100 * 2.0 * 2 * 16 * 2);
    expect("states", one.states, 2.0 * 4 * 8 * 16 * 16);
    struct traffic many = traffic_decode(&shape, &plain, 1e6, 99);
    expect("many read all", many.weights,
           2 * (weights.body + weights.expert_rows * weights.expert));
    struct traffic shadow = traffic_decode(&shape, &chunked, 1, 99);
    /* a head of 16: 512 read, 2560 / 64 for the state, 64 half full x 2 x 2 x 16, 64 for its own k and v */
    expect("states at chunk boundaries", shadow.states, 2.0 * 4 * (512 + 40 + 2048 + 64));
    struct model_shape m1 = m1_shape();
    double bytes = traffic_decode(&m1, &(struct flops_storage){2, 2, 2, 32}, 1, 0).states / 70 / 64;
    assert_true(fabs(bytes / 46080 - 1) <
                0.05); /* about 45.5 KB a head: docs/numerics.md's layout */
}

static void test_flops_training_is_three_times_forward(void **state)
{
    (void)state;
    struct model_shape shape = hybrid_shape();
    struct flops forward = flops_sequence(&shape, 100, CHUNK, true);
    double token = flops_sum(&forward) / 100;
    expect("training", flops_train_token(&shape, 100, CHUNK), 3 * token);
    double again = (forward.attention + forward.lightning) / 200;
    expect("hardware", flops_train_token_hardware(&shape, 100, CHUNK, false), 3 * token + again);
    expect("recompute", flops_train_token_hardware(&shape, 100, CHUNK, true),
           4 * token + again - forward.head / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flops_of_a_hybrid_are_the_products_it_computes),
        cmocka_unit_test(test_flops_of_dense_models_are_the_products_they_compute),
        cmocka_unit_test(test_flops_weights_are_those_of_the_parameter_table),
        cmocka_unit_test(test_flops_of_sliding_layers_stop_growing_at_the_window),
        cmocka_unit_test(test_flops_of_m1_agree_with_what_is_published),
        cmocka_unit_test(test_flops_traffic_of_decode_counts_each_part),
        cmocka_unit_test(test_flops_training_is_three_times_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
