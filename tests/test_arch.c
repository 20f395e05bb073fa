/* links: model */
/* label: unit */
/* timeout: 60 */
/* Architectures: the reference cases of each through `weir verify`, what their configs may look like in transformers 4
 * and 5, and what is refused by name. The cases are made by tests/tools/make_model_case.py. */
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

#include "core/file.h"
#include "model/arch.h"
#include "model/verify.h"

#define GOLDEN SOURCE_DIR "/tests/golden/model/"

static const char *const cases[] = {"llama3",    "llama-bias",    "qwen2.5", "qwen3",
                                    "qwen3-moe", "qwen3-moe-raw", "mixtral", "qwen3-moe-dense",
                                    "mistral",   "qwen2-window"};
enum { CASES = sizeof cases / sizeof cases[0] };

static char folder[] = "/tmp/weir-arch-XXXXXX";

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static struct model_shape shape_of(const char *name)
{
    struct model_shape shape;
    char path[FILE_PATH_MAX];
    must(file_path(path, GOLDEN "%s/config.json", name));
    must(model_shape_load(&shape, path));
    return shape;
}

/* The case's config.json with `changes` (an object: null removes) as a shape. */
static enum status load_changed(const char *name, const char *changes, struct model_shape *shape)
{
    char path[FILE_PATH_MAX], out[FILE_PATH_MAX];
    must(file_path(path, GOLDEN "%s/config.json", name));
    must(file_path(out, "%s/config.json", folder));
    json_t *root = json_load_file(path, 0, NULL), *change = json_loads(changes, 0, NULL), *value;
    const char *key;
    assert_non_null(root);
    assert_non_null(change);
    json_object_foreach(change, key, value)
    {
        if (json_is_null(value))
            json_object_del(root, key);
        else
            json_object_set(root, key, value);
    }
    assert_int_equal(json_dump_file(root, out, 0), 0);
    json_decref(root);
    json_decref(change);
    memset(shape, 0x5a, sizeof *shape);
    return model_shape_load(shape, out);
}

static void refuse(const char *name, const char *changes, enum status status, const char *word)
{
    struct model_shape shape;
    assert_int_equal(load_changed(name, changes, &shape), status);
    if (strstr(status_last_error(), word) == NULL)
        fail_msg("no \"%s\" in: %s", word, status_last_error());
}

/* ---- reference cases ---- */

static void run_case(const char *name, const struct model_shape *shape,
                     struct verify_report *report)
{
    struct op_table *ops = NULL;
    char path[FILE_PATH_MAX];
    must(file_path(path, GOLDEN "%s", name));
    must(op_table_create_cpu(&ops, 1));
    must(verify_shape(path, shape, ops, report));
    op_table_destroy(&ops);
}

static void test_arch_reference_cases_pass(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct verify_report report;
        struct model_shape shape = shape_of(cases[i]);
        run_case(cases[i], &shape, &report);
        for (int k = 0; k < VERIFY_COUNT; k++)
            if (!(report.result[k].error <= report.result[k].bound))
                fail_msg("%s: %s is %g, bound %g (%s)", cases[i],
                         verify_check_name((enum verify_check)k), report.result[k].error,
                         report.result[k].bound, report.result[k].where);
        assert_true(report.passed);
        assert_true(report.greedy_checked > 10);
    }
}

static void expect_caught(const char *name, const struct model_shape *shape)
{
    struct verify_report report;
    run_case(name, shape, &report);
    assert_false(report.passed);
    assert_true(report.result[VERIFY_LOGITS].error > report.result[VERIFY_LOGITS].bound);
}

static void test_arch_wrong_options_are_caught(void **state)
{
    (void)state;
    struct model_shape shape = shape_of("qwen3-moe");
    shape.router_raw = true;
    expect_caught("qwen3-moe", &shape);
    shape = shape_of("qwen3-moe-raw");
    shape.router_raw = false;
    expect_caught("qwen3-moe-raw", &shape);
    shape = shape_of("llama3");
    shape.rope_scaling.kind = ROPE_DEFAULT;
    expect_caught("llama3", &shape);
    shape = shape_of("qwen2.5");
    shape.rope_scaling.attention_factor = 1.0;
    expect_caught("qwen2.5", &shape);
    shape = shape_of("qwen2.5");
    shape.rope_scaling.whole_bounds = false;
    expect_caught("qwen2.5", &shape);
}

/* ---- configs ---- */

static void test_arch_configs_give_their_options(void **state)
{
    (void)state;
    struct model_shape s = shape_of("llama-bias");
    assert_int_equal(s.arch, ARCH_LLAMA);
    assert_true(s.qkv_bias && s.output_bias && s.mlp_bias && s.tied && !s.qk_norm);
    assert_int_equal(s.head_size, 4); /* none in the file: hidden / heads */
    s = shape_of("llama3");
    assert_int_equal(s.head_size, 8);
    assert_int_equal(s.rope_scaling.kind, ROPE_LLAMA3);
    s = shape_of("qwen3-moe-raw");
    assert_int_equal(s.arch, ARCH_QWEN3_MOE);
    assert_true(s.router_raw && s.qk_norm && s.output_bias);
    assert_int_equal(s.experts, 4);
    assert_int_equal(s.experts_per_token, 3);
    assert_int_equal(s.intermediate, 12);
    assert_int_equal(s.dense_intermediate, 32);
    s = shape_of("mistral");
    assert_true(s.window == 8 && s.layer_sliding[0] && s.layer_sliding[1]);
    s = shape_of("qwen2-window");
    assert_true(s.window == 5 && !s.layer_sliding[0] && s.layer_sliding[1]);
    s = shape_of("qwen3-moe-dense");
    assert_true(s.layer_dense[0] && !s.layer_dense[1] && s.layer_dense[2]);
    s = shape_of("mixtral");
    assert_int_equal(s.arch, ARCH_MIXTRAL);
    assert_true(!s.router_raw && !s.qkv_bias && !s.postnorm);
    assert_int_equal(s.intermediate, 12);
}

static void test_arch_keys_of_transformers_4_give_the_same_shape(void **state)
{
    (void)state;
    struct model_shape old, new = shape_of("llama3");
    must(load_changed("llama3",
                      "{\"rope_parameters\":null,\"dtype\":null,\"torch_dtype\":\"bfloat16\","
                      "\"rope_theta\":500.0,\"rope_scaling\":{\"rope_type\":\"llama3\","
                      "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                      "\"original_max_position_embeddings\":32}}",
                      &old));
    assert_memory_equal(&old, &new, sizeof old);
    new = shape_of("qwen2.5");
    must(
        load_changed("qwen2.5",
                     "{\"rope_parameters\":null,\"rope_theta\":100.0,\"rope_scaling\":{\"type\":"
                     "\"yarn\",\"factor\":4.0,\"beta_fast\":8,\"original_max_position_embeddings\":"
                     "64}}",
                     &old));
    assert_memory_equal(&old, &new, sizeof old);
    new = shape_of("qwen3-moe");
    must(load_changed("qwen3-moe", "{\"num_local_experts\":null,\"num_experts\":4}", &old));
    assert_memory_equal(&old, &new, sizeof old);
    must(load_changed("llama-bias", "{\"rope_parameters\":null,\"head_dim\":4}", &old));
    assert_true(old.rope_theta == 10000.0 && old.rope_scaling.kind == ROPE_DEFAULT);
}

static void test_arch_written_config_gives_the_same_shape(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct model_shape first = shape_of(cases[i]), second;
        struct buffer json;
        char path[FILE_PATH_MAX];
        buffer_init(&json, 0);
        must(model_shape_json(&first, &json));
        must(file_path(path, "%s/config.json", folder));
        must(file_replace(path, json.bytes, json.size));
        must(model_shape_load(&second, path));
        assert_memory_equal(&first, &second, sizeof first);
        buffer_free(&json);
    }
}

static void test_arch_what_is_not_done_is_refused_by_name(void **state)
{
    (void)state;
    refuse("qwen3-moe", "{\"mlp_only_layers\":[2]}", STATUS_INVALID, "mlp_only_layers");
    refuse("qwen3-moe", "{\"mlp_only_layers\":[0,1]}", STATUS_UNSUPPORTED, "no layer has experts");
    refuse("qwen3-moe", "{\"moe_intermediate_size\":null}", STATUS_INVALID, "moe_intermediate");
    refuse("qwen3-moe", "{\"num_local_experts\":2,\"num_experts_per_tok\":3}", STATUS_INVALID,
           "num_experts_per_tok");
    refuse("mixtral", "{\"sliding_window\":-1}", STATUS_INVALID, "sliding_window");
    refuse("mistral", "{\"sliding_window\":null}", STATUS_INVALID, "sliding_window");
    refuse("qwen3", "{\"layer_types\":[\"sliding_attention\",\"full_attention\"]}",
           STATUS_UNSUPPORTED, "sliding_attention");
    refuse("mixtral", "{\"router_jitter_noise\":0.1}", STATUS_UNSUPPORTED, "router_jitter_noise");
    refuse("mixtral", "{\"attention_bias\":true}", STATUS_UNSUPPORTED, "attention_bias");
    static const char *const kinds[] = {"dynamic", "longrope", "su"};
    for (int i = 0; i < 3; i++) {
        char changes[160];
        (void)snprintf(changes, sizeof changes,
                       "{\"rope_parameters\":{\"rope_type\":\"%s\",\"rope_theta\":1e4,"
                       "\"factor\":2}}",
                       kinds[i]);
        refuse("llama3", changes, STATUS_UNSUPPORTED, kinds[i]);
    }
    refuse("llama3", "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.0}}", STATUS_INVALID,
           "same scaling");
    refuse("llama3",
           "{\"rope_parameters\":{\"rope_type\":\"llama3\",\"rope_theta\":5e2,\"factor\":8}}",
           STATUS_INVALID, "low_freq_factor");
    refuse("llama3", "{\"rope_parameters\":{\"rope_type\":\"linear\",\"rope_theta\":5e2}}",
           STATUS_INVALID, "factor");
}

/* ---- RoPE ---- */

/* Meta's numbers for Llama 3.1: theta 500000, factor 8, 1 to 4 turns within 8192 positions, heads of 128. */
static void test_arch_llama3_frequencies_follow_the_published_rule(void **state)
{
    (void)state;
    const struct rope_scaling scaling = {.kind = ROPE_LLAMA3,
                                         .factor = 8,
                                         .low_frequency = 1,
                                         .high_frequency = 4,
                                         .original_positions = 8192};
    const double pi = acos(-1.0);
    int between = 0;
    for (int32_t j = 0; j < 64; j++) {
        double plain = pow(500000.0, -j / 64.0), turns = 8192 * plain / (2 * pi);
        double ratio = model_rope_frequency(&scaling, 500000.0, 128, j) / plain;
        if (turns > 4)
            assert_true(ratio == 1.0);
        else if (turns < 1)
            assert_true(fabs(ratio - 0.125) < 1e-15);
        else {
            assert_true(fabs(ratio - (0.125 + 0.875 * (turns - 1) / 3)) < 1e-12);
            between++;
        }
    }
    assert_true(between > 3);
    assert_true(model_rope_length(&scaling) == 1.0);
}

static void test_arch_yarn_lengths_follow_the_paper(void **state)
{
    (void)state;
    struct rope_scaling scaling = {.kind = ROPE_YARN, .factor = 4};
    assert_true(fabs(model_rope_length(&scaling) - (0.1 * log(4.0) + 1)) < 1e-15);
    scaling.mscale = 0.707;
    scaling.mscale_all = 1.0;
    assert_true(fabs(model_rope_length(&scaling) - (0.0707 * log(4.0) + 1) / (0.1 * log(4.0) + 1)) <
                1e-15);
    scaling.attention_factor = 1.25;
    assert_true(model_rope_length(&scaling) == 1.25);
    /* A file of Qwen2.5: 32768 positions, stretched to four times as many. */
    struct model_shape shape = {.positions_max = 32768, .rope_scaling = scaling};
    shape.rope_scaling.original_positions = 32768;
    assert_int_equal(model_positions(&shape), 131072);
    shape.rope_scaling.kind = ROPE_LLAMA3;
    assert_int_equal(model_positions(&shape), 32768);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(folder) != STATUS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arch_reference_cases_pass),
        cmocka_unit_test(test_arch_wrong_options_are_caught),
        cmocka_unit_test(test_arch_configs_give_their_options),
        cmocka_unit_test(test_arch_keys_of_transformers_4_give_the_same_shape),
        cmocka_unit_test(test_arch_written_config_gives_the_same_shape),
        cmocka_unit_test(test_arch_what_is_not_done_is_refused_by_name),
        cmocka_unit_test(test_arch_llama3_frequencies_follow_the_published_rule),
        cmocka_unit_test(test_arch_yarn_lengths_follow_the_paper),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
