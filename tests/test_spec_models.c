/* links: model */
/* timeout: 30 */
/* Whole tiny models against an independent float64 reference (tests/golden/spec/tiny_*.json): logits,
 * loss with and without the router's auxiliary term, every gradient. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

/* The weights have four decimals, so rounding them to f32 moves a logit of tiny_minimax_m1 by 2.6e-5 already
 * (the double-precision oracle shows the same); the smallest mistake known, a lightning norm epsilon of
 * 1e-5, moves it by 1.7e-3. */
#define LOGIT_BOUND    6e-5
#define GRADIENT_BOUND 5e-5 /* of the tensor's norm */

enum { SEQUENCES_MAX = 2, ROWS_MAX = 32 };

struct spec {
    json_t *root, *config;
    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights;
    struct op_segment segments[SEQUENCES_MAX];
    int32_t sequences, rows;
    int32_t ids[ROWS_MAX], target[ROWS_MAX];
    float dlogprob[ROWS_MAX], logprob[ROWS_MAX];
};

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("no number %s", key);
    return json_number_value(value);
}

static int32_t integer(const json_t *object, const char *key)
{
    return (int32_t)number(object, key);
}

/* Copies nested arrays of numbers in order; returns how many. */
static int64_t flatten(const json_t *array, double *out)
{
    if (json_is_number(array)) {
        *out = json_number_value(array);
        return 1;
    }
    int64_t count = 0;
    for (size_t i = 0; i < json_array_size(array); i++)
        count += flatten(json_array_get(array, i), out + count);
    return count;
}

static void read_shape(struct spec *spec)
{
    const json_t *config = spec->config;
    bool minimax = json_object_get(config, "attn_type_list") != NULL;
    const char *type = json_string_value(json_object_get(config, "model_type"));
    struct model_shape *shape = &spec->shape;
    *shape = (struct model_shape){
        .arch = minimax                      ? ARCH_MINIMAX_M1
                : strcmp(type, "qwen2") == 0 ? ARCH_QWEN2
                                             : ARCH_QWEN3,
        .vocabulary = integer(config, "vocab_size"),
        .hidden = integer(config, "hidden_size"),
        .intermediate = integer(config, "intermediate_size"),
        .layers = integer(config, "num_hidden_layers"),
        .heads = integer(config, "num_attention_heads"),
        .kv_heads = integer(config, "num_key_value_heads"),
        .head_size = integer(config, "head_dim"),
        .rotary = integer(config, minimax ? "rotary_dim" : "head_dim"),
        .rope_theta = number(config, "rope_theta"),
        .rms_norm_eps = number(config, "rms_norm_eps"),
        .positions_max = ROWS_MAX,
        .alpha_lightning = 1.0,
        .beta_lightning = 1.0,
        .alpha_softmax = 1.0,
        .beta_softmax = 1.0,
        .alpha_mlp = 1.0,
        .beta_mlp = 1.0,
        .tied = json_is_true(json_object_get(config, "tie_word_embeddings")),
    };
    shape->qkv_bias = shape->arch == ARCH_QWEN2;
    shape->qk_norm = shape->arch == ARCH_QWEN3;
    memset(shape->layer_kind, LAYER_SOFTMAX, sizeof(shape->layer_kind));
    if (!minimax)
        return;
    const char *factor = json_string_value(json_object_get(config, "layer_factor"));
    shape->postnorm = true;
    shape->experts = integer(config, "num_local_experts");
    shape->experts_per_token = integer(config, "num_experts_per_tok");
    shape->lightning_norm_eps = number(config, "la_norm_eps");
    shape->lightning_layer_epsilon = strcmp(factor, "native") == 0 ? 1e-5 : 0.0;
    shape->alpha_lightning = number(config, "layernorm_linear_attention_alpha");
    shape->alpha_softmax = number(config, "layernorm_full_attention_alpha");
    shape->alpha_mlp = number(config, "layernorm_mlp_alpha");
    const json_t *kinds = json_object_get(config, "attn_type_list");
    for (int32_t l = 0; l < shape->layers; l++)
        shape->layer_kind[l] = json_integer_value(json_array_get(kinds, (size_t)l)) == 1
                                   ? LAYER_SOFTMAX
                                   : LAYER_LIGHTNING;
}

/* Values of a row of our table in "weights" or "grads": experts are stacked as w1, w2, w3 [E, ...]. */
static void read_row(const struct spec *spec, const char *key, const struct parameter *row,
                     double *out)
{
    const json_t *tensors = json_object_get(spec->root, key);
    const json_t *tensor = json_object_get(tensors, row->name);
    int layer = 0, expert = 0, part = 0;
    if (!tensor && sscanf(row->name, "model.layers.%d.block_sparse_moe.experts.%d.w%d", &layer,
                          &expert, &part) == 3) {
        char name[64];
        (void)snprintf(name, sizeof(name), "model.layers.%d.w%d", layer, part);
        tensor = json_array_get(json_object_get(tensors, name), (size_t)expert);
    }
    if (!tensor)
        fail_msg("%s: no %s", key, row->name);
    assert_int_equal(flatten(tensor, out), row->count);
}

static void load_weights(struct spec *spec)
{
    const struct parameter_table *table = model_parameters(spec->model);
    float *flat = calloc((size_t)table->elements, sizeof(float));
    double *values = calloc((size_t)table->elements, sizeof(double));
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        read_row(spec, "weights", row, values);
        for (int64_t j = 0; j < row->count; j++)
            flat[row->offset + j] = (float)values[j];
    }
    assert_int_equal(model_weights_create(spec->model, &spec->weights), STATUS_OK);
    assert_int_equal(model_weights_load(spec->model, &spec->weights, flat, 1), STATUS_OK);
    free(flat);
    free(values);
}

static void add_sequence(struct spec *spec, const json_t *ids)
{
    int32_t count = (int32_t)json_array_size(ids), row = spec->rows;
    spec->segments[spec->sequences] =
        (struct op_segment){.slot = spec->sequences, .row = row, .count = count};
    for (int32_t t = 0; t < count; t++)
        spec->ids[row + t] = (int32_t)json_integer_value(json_array_get(ids, (size_t)t));
    for (int32_t t = 0; t < count; t++)
        spec->target[row + t] = t + 1 < count ? spec->ids[row + t + 1] : -1;
    spec->rows += count;
    spec->sequences++;
}

static void open_spec(struct spec *spec, const char *name, const char *backend, int32_t chunk)
{
    char path[512];
    json_error_t error;
    *spec = (struct spec){0};
    (void)snprintf(path, sizeof(path), "%s/tests/golden/spec/%s.json", SOURCE_DIR, name);
    spec->root = json_load_file(path, 0, &error);
    if (!spec->root)
        fail_msg("%s: %s", path, error.text);
    spec->config = json_object_get(spec->root, "config");
    read_shape(spec);
    assert_int_equal(strcmp(backend, "ref") == 0 ? op_table_create_ref(&spec->ops)
                                                 : op_table_create_cpu(&spec->ops, 2),
                     STATUS_OK);
    struct model_options options = {.rows_max = ROWS_MAX, .lightning_chunk = chunk, .train = true};
    assert_int_equal(model_create(&spec->model, &spec->shape, spec->ops, &options), STATUS_OK);
    assert_int_equal(model_cache_create(spec->model, SEQUENCES_MAX, 4, ROWS_MAX, &spec->cache),
                     STATUS_OK);
    load_weights(spec);
    const json_t *sequences = json_object_get(spec->root, "seqs");
    if (!sequences)
        add_sequence(spec, json_object_get(spec->root, "ids"));
    for (size_t s = 0; s < json_array_size(sequences); s++)
        add_sequence(spec, json_array_get(sequences, s));
}

static void close_spec(struct spec *spec)
{
    model_cache_destroy(&spec->cache);
    model_weights_destroy(spec->model, &spec->weights);
    model_destroy(&spec->model);
    op_table_destroy(&spec->ops);
    json_decref(spec->root);
}

/* dlogprob = - coef, from the file or 1 / tokens for the mean negative log likelihood. */
static void fill_dlogprob(struct spec *spec)
{
    const json_t *coef = json_object_get(spec->root, "coef");
    for (int32_t s = 0; s < spec->sequences; s++) {
        const struct op_segment *segment = &spec->segments[s];
        double values[ROWS_MAX];
        if (coef)
            assert_int_equal(flatten(json_array_get(coef, (size_t)s), values), segment->count - 1);
        for (int32_t t = 0; t + 1 < segment->count; t++)
            spec->dlogprob[segment->row + t] =
                coef ? (float)-values[t] : -1.0F / (float)(segment->count - 1);
    }
}

static void compare_logits(const struct spec *spec, const float *logits)
{
    const json_t *expected = json_object_get(spec->root, "logits");
    double values[ROWS_MAX * 16];
    int64_t count = flatten(expected, values);
    assert_int_equal(count, spec->rows * spec->shape.vocabulary);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)logits[i] - values[i]) <= LOGIT_BOUND))
            fail_msg("logit %d: %.9g, expected %.9g", (int)i, (double)logits[i], values[i]);
}

static act *run_forward(struct spec *spec)
{
    float logits[ROWS_MAX * 16];
    act *hidden = NULL;
    for (int32_t s = 0; s < spec->sequences; s++)
        assert_int_equal(model_cache_open(spec->cache, s, spec->segments[s].count), STATUS_OK);
    struct model_batch batch = {spec->rows, spec->ids, spec->segments, spec->sequences};
    if (model_forward(spec->model, &spec->weights, spec->cache, &batch, true, &hidden) != STATUS_OK)
        fail_msg("%s", status_last_error());
    struct model_head head = {.rows = spec->rows,
                              .temperature = 1.0F,
                              .target = spec->target,
                              .logprob = spec->logprob,
                              .logits = logits};
    assert_int_equal(model_head(spec->model, &spec->weights, hidden, &head), STATUS_OK);
    compare_logits(spec, logits);
    return hidden;
}

static void compare_gradients(const struct spec *spec, const float *grads)
{
    const struct parameter_table *table = model_parameters(spec->model);
    double *values = calloc((size_t)table->elements, sizeof(double));
    double total = 0.0;
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        read_row(spec, "grads", row, values);
        double error = 0.0, norm = 0.0;
        for (int64_t j = 0; j < row->count; j++) {
            double difference = (double)grads[row->offset + j] - values[j];
            error += difference * difference;
            norm += values[j] * values[j];
        }
        total += norm;
        /* 1e-6: f32 roundings of sums of order 1 where a gradient nearly vanishes. */
        if (!(sqrt(error) <= GRADIENT_BOUND * sqrt(norm) + 1e-6))
            fail_msg("%s: error %g of norm %g", row->name, sqrt(error), sqrt(norm));
    }
    if (json_object_get(spec->root, "grad_norm"))
        assert_true(fabs(sqrt(total) / number(spec->root, "grad_norm") - 1.0) < 1e-9);
    free(values);
}

static void run_case(const char *name, const char *backend, int32_t chunk)
{
    struct spec spec;
    open_spec(&spec, name, backend, chunk);
    act *hidden = run_forward(&spec);
    fill_dlogprob(&spec);
    bool moe = spec.shape.experts > 0;
    double aux = 0.0, loss = 0.0;
    void *grads = NULL;
    const struct op_table *ops = spec.ops;
    size_t bytes = (size_t)model_parameters(spec.model)->elements * sizeof(float);
    assert_int_equal(ops->memory_create(ops->context, bytes, &grads), STATUS_OK);
    struct model_backward backward = {.rows = spec.rows,
                                      .temperature = 1.0F,
                                      .target = spec.target,
                                      .dlogprob = spec.dlogprob,
                                      .aux_coefficient = moe ? 0.001 : 0.0,
                                      .aux_loss = &aux};
    if (model_backward(spec.model, &spec.weights, hidden, &backward, grads) != STATUS_OK)
        fail_msg("%s", status_last_error());
    for (int32_t t = 0; t < spec.rows; t++)
        loss += (double)spec.dlogprob[t] * (double)spec.logprob[t];
    loss += 0.001 * aux;
    double expected = number(spec.root, moe ? "loss" : "nll");
    if (!(fabs(loss - expected) <= 2e-5 * (1.0 + fabs(expected))))
        fail_msg("loss %.9g, expected %.9g", loss, expected);
    if (moe)
        assert_true(fabs(aux - number(spec.root, "aux_loss")) <= 1e-5);
    else
        assert_true(aux == 0.0);
    compare_gradients(&spec, grads); /* cpu and ref memory is host memory */
    ops->memory_destroy(ops->context, &grads);
    close_spec(&spec);
}

static void run_both(const char *name, int32_t chunk)
{
    run_case(name, "ref", chunk);
    run_case(name, "cpu", chunk);
}

static void test_spec_models_minimax_m1_equals_reference(void **state)
{
    (void)state;
    run_both("tiny_minimax_m1", 4);
}

static void test_spec_models_lightning_chunk_does_not_matter(void **state)
{
    (void)state;
    run_both("tiny_minimax_m1", 32);
    run_case("tiny_minimax_m1", "ref", 1);
}

static void test_spec_models_native_minimax_equals_reference(void **state)
{
    (void)state;
    run_both("tiny_minimax_hfnative", 8);
}

static void test_spec_models_qwen2_equals_reference(void **state)
{
    (void)state;
    run_both("tiny_qwen2", 32);
}

static void test_spec_models_qwen3_tied_equals_reference(void **state)
{
    (void)state;
    run_both("tiny_qwen3", 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec_models_minimax_m1_equals_reference),
        cmocka_unit_test(test_spec_models_lightning_chunk_does_not_matter),
        cmocka_unit_test(test_spec_models_native_minimax_equals_reference),
        cmocka_unit_test(test_spec_models_qwen2_equals_reference),
        cmocka_unit_test(test_spec_models_qwen3_tied_equals_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
