/* links: model */
/* config.json of every architecture to numbers and back, refusals, and the decay slopes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "model/shape.h"

#define GOLDEN SOURCE_DIR "/tests/golden/"

static char folder[] = "/tmp/weir-shape-XXXXXX";

static const char *const qwen3 =
    "{\"model_type\":\"qwen3\",\"architectures\":[\"Qwen3ForCausalLM\"],\"vocab_size\":331,"
    "\"hidden_size\":64,\"intermediate_size\":176,\"num_hidden_layers\":3,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,"
    "\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-06,\"attention_bias\":false,"
    "\"rope_parameters\":{\"rope_theta\":1000000.0,\"rope_type\":\"default\"},"
    "\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\"],"
    "\"bos_token_id\":7,\"eos_token_id\":[3,4],\"use_sliding_window\":false}";

static const char *const native =
    "{\"model_type\":\"minimax\",\"vocab_size\":331,\"hidden_size\":64,\"intermediate_size\":96,"
    "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"head_dim\":null,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-05,"
    "\"rope_parameters\":{\"rope_theta\":1e7},\"num_local_experts\":4,"
    "\"num_experts_per_tok\":2,\"linear_attn_alpha_factor\":2.5,\"linear_attn_beta_factor\":1,"
    "\"full_attn_alpha_factor\":3.5,\"full_attn_beta_factor\":1,\"mlp_alpha_factor\":4.5,"
    "\"mlp_beta_factor\":1,\"layer_types\":[\"linear_attention\",\"full_attention\","
    "\"linear_attention\"]}";

static char *path_of(const char *name)
{
    static char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    return path;
}

static void put(const char *name, const char *text)
{
    assert_int_equal(file_replace(path_of(name), text, strlen(text)), STATUS_OK);
}

static enum status load_text(const char *text, struct model_shape *shape)
{
    put("config.json", text);
    return model_shape_load(shape, path_of("config.json"));
}

/* `text` with its first `from` replaced by `to` must be refused with `status` and a sentence with `word`. */
static void refuse(const char *text, const char *from, const char *to, enum status status,
                   const char *word)
{
    char changed[4096];
    const char *at = strstr(text, from);
    assert_non_null(at);
    (void)snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to,
                   at + strlen(from));
    struct model_shape shape;
    memset(&shape, 0x5a, sizeof shape);
    assert_int_equal(load_text(changed, &shape), status);
    if (strstr(status_last_error(), word) == NULL)
        fail_msg("no \"%s\" in: %s", word, status_last_error());
    assert_int_equal(shape.layers, 0x5a5a5a5a); /* untouched */
}

static void test_shape_minimax_m1_config_gives_its_numbers(void **state)
{
    (void)state;
    struct model_shape s;
    assert_int_equal(model_shape_load(&s, GOLDEN "model/minimax-m1-format/config.json"), STATUS_OK);
    assert_int_equal(s.arch, ARCH_MINIMAX_M1);
    assert_int_equal(s.vocabulary, 331);
    assert_int_equal(s.hidden, 64);
    assert_int_equal(s.intermediate, 96);
    assert_int_equal(s.layers, 8);
    assert_int_equal(s.heads, 4);
    assert_int_equal(s.kv_heads, 2);
    assert_int_equal(s.head_size, 16);
    assert_int_equal(s.rotary, 8);
    assert_int_equal(s.experts, 4);
    assert_int_equal(s.experts_per_token, 2);
    assert_true(s.postnorm);
    assert_false(s.tied || s.qkv_bias || s.qk_norm);
    for (int l = 0; l < 8; l++)
        assert_int_equal(s.layer_kind[l], l == 7 ? LAYER_SOFTMAX : LAYER_LIGHTNING);
    assert_true(s.alpha_lightning == 3.5565588200778455 && s.alpha_mlp == s.alpha_softmax);
    assert_true(s.beta_lightning == 1.0 && s.rope_theta == 1e7 && s.rms_norm_eps == 1e-5);
    assert_true(s.lightning_norm_eps == 1e-6 && s.lightning_layer_epsilon == 0.0);
    assert_int_equal(s.positions_max, 10240000);
    assert_int_equal(s.bos_id, -1);
    assert_int_equal(s.eos_count, 0);
}

static void test_shape_qwen2_config_gives_its_numbers(void **state)
{
    (void)state;
    struct model_shape s;
    assert_int_equal(model_shape_load(&s, GOLDEN "model/qwen2/config.json"), STATUS_OK);
    assert_int_equal(s.arch, ARCH_QWEN2);
    assert_int_equal(s.head_size, 16); /* no head_dim there: hidden / heads */
    assert_int_equal(s.rotary, 16);
    assert_int_equal(s.experts, 0);
    assert_true(s.qkv_bias && s.tied && !s.qk_norm && !s.postnorm);
    assert_true(s.rope_theta == 1e6 && s.rms_norm_eps == 1e-6 && s.alpha_mlp == 1.0);
    assert_int_equal(s.layer_kind[2], LAYER_SOFTMAX);
}

static void test_shape_qwen3_and_native_configs_give_their_numbers(void **state)
{
    (void)state;
    struct model_shape s;
    assert_int_equal(load_text(qwen3, &s), STATUS_OK);
    assert_int_equal(s.head_size, 32);
    assert_true(s.qk_norm && !s.qkv_bias);
    assert_int_equal(s.bos_id, 7);
    assert_int_equal(s.eos_count, 2);
    assert_int_equal(s.eos_ids[1], 4);
    assert_int_equal(load_text(native, &s), STATUS_OK);
    assert_int_equal(s.arch, ARCH_MINIMAX_NATIVE);
    assert_int_equal(s.head_size, 16);
    assert_int_equal(s.rotary, 16);
    assert_int_equal(s.layer_kind[0], LAYER_LIGHTNING);
    assert_int_equal(s.layer_kind[1], LAYER_SOFTMAX);
    assert_true(s.alpha_lightning == 2.5 && s.alpha_softmax == 3.5 && s.alpha_mlp == 4.5);
    assert_true(s.lightning_layer_epsilon == 1e-5 && s.aux_coefficient == 0.001);
}

static void test_shape_generation_config_gives_the_eos_ids(void **state)
{
    (void)state;
    struct model_shape s;
    put("generation_config.json", "{\"eos_token_id\":[9,8,7]}");
    assert_int_equal(load_text(qwen3, &s), STATUS_OK);
    assert_int_equal(s.eos_count, 3);
    assert_int_equal(s.eos_ids[0], 9);
    assert_int_equal(unlink(path_of("generation_config.json")), 0);
}

static void test_shape_bad_configs_are_refused_with_key_and_value(void **state)
{
    (void)state;
    refuse(qwen3, "\"qwen3\"", "\"mamba\"", STATUS_UNSUPPORTED, "mamba");
    refuse(qwen3, "Qwen3For", "Qwen9For", STATUS_UNSUPPORTED, "Qwen9ForCausalLM");
    refuse(qwen3, "\"hidden_size\":64,", "", STATUS_INVALID, "hidden_size");
    refuse(qwen3, "\"hidden_size\":64", "\"hidden_size\":64.5", STATUS_INVALID, "64.5");
    refuse(qwen3, "\"num_hidden_layers\":3", "\"num_hidden_layers\":999", STATUS_INVALID, "999");
    refuse(qwen3, "\"head_dim\":32,", "", STATUS_INVALID, "head_dim");
    refuse(qwen3, "\"head_dim\":32", "\"head_dim\":33", STATUS_INVALID, "33");
    refuse(qwen3, "_heads\":2", "_heads\":3", STATUS_INVALID, "num_key_value_heads");
    refuse(qwen3, "bias\":false", "bias\":3", STATUS_INVALID, "attention_bias");
    refuse(qwen3, "window\":false", "window\":true", STATUS_INVALID, "sliding_window");
    refuse(qwen3, "default", "dynamic", STATUS_UNSUPPORTED, "dynamic");
    refuse(qwen3, "default", "yarn", STATUS_INVALID, "factor");
    refuse(native, "1e7}", "1e7,\"rope_type\":\"linear\",\"factor\":2}", STATUS_UNSUPPORTED,
           "rope_parameters");
    refuse(qwen3, "\"rope_parameters\"", "\"rope_theta\":5.0,\"rope_parameters\"", STATUS_INVALID,
           "rope_theta");
    refuse(qwen3, "full_attention", "sliding_attention", STATUS_UNSUPPORTED, "sliding_attention");
    refuse(qwen3, "\"full_attention\",", "", STATUS_INVALID, "layer_types");
    refuse(qwen3, "[3,4]", "[3,331]", STATUS_INVALID, "eos_token_id");
    refuse(qwen3, "\"bos", "\"hidden_act\":\"gelu\",\"bos", STATUS_UNSUPPORTED, "gelu");
    refuse(qwen3, "\"bos", "\"quantization_config\":{},\"bos", STATUS_UNSUPPORTED, "quantization");
    refuse(qwen3, "\"bos", "\"vocab_size\":3,\"bos", STATUS_INVALID, "duplicate");
    refuse(qwen3, "}", "", STATUS_INVALID, "config.json");
    refuse(native, "_tok\":2", "_tok\":5", STATUS_INVALID, "num_experts_per_tok");
    refuse(native, "\"mlp_alpha_factor\":4.5,", "", STATUS_INVALID, "mlp_alpha_factor");
    refuse(native, "\"num_local", "\"shared_intermediate_size\":8,\"num_local", STATUS_UNSUPPORTED,
           "shared_intermediate_size");
}

static void test_shape_written_json_loads_to_the_same_shape(void **state)
{
    (void)state;
    const char *const files[] = {GOLDEN "model/minimax-m1-format/config.json",
                                 GOLDEN "model/qwen2/config.json"};
    for (int i = 0; i < 4; i++) {
        struct model_shape first, second;
        if (i < 2)
            assert_int_equal(model_shape_load(&first, files[i]), STATUS_OK);
        else
            assert_int_equal(load_text(i == 2 ? qwen3 : native, &first), STATUS_OK);
        struct buffer json;
        buffer_init(&json, 0);
        assert_int_equal(model_shape_json(&first, &json), STATUS_OK);
        assert_int_equal(load_text(buffer_string(&json), &second), STATUS_OK);
        assert_memory_equal(&first, &second, sizeof first);
        buffer_free(&json);
    }
}

static double golden_number(json_t *root, const char *a, const char *b)
{
    json_t *value = json_object_get(json_object_get(json_object_get(root, "layer_factor"), a), b);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void test_shape_slopes_match_the_reference(void **state)
{
    (void)state;
    json_t *root = json_load_file(GOLDEN "spec/slopes.json", 0, NULL);
    assert_non_null(root);
    struct model_shape s = {.arch = ARCH_MINIMAX_M1, .layers = 80, .heads = 64};
    json_t *base = json_object_get(root, "base_slopes_64");
    const char *layer;
    json_t *factors;
    int checked = 0;
    json_object_foreach(json_object_get(root, "layer_factor"), layer, factors)
    {
        float slopes[64];
        double factor = golden_number(root, layer, "remote(1-l/(L-1)+1e-5)");
        s.arch = ARCH_MINIMAX_M1;
        s.lightning_layer_epsilon = 0.0;
        model_lightning_slopes(&s, (int32_t)strtol(layer, NULL, 10), slopes);
        for (size_t h = 0; h < 64; h++, checked++) {
            float expected = (float)(json_number_value(json_array_get(base, h)) * factor);
            assert_true(fabsf(slopes[h] - expected) <= 6e-8f * expected); /* half an ulp of f32 */
        }
        factor = golden_number(root, layer, "native(1-l/(L-1+1e-5)+1e-5)");
        s.arch = ARCH_MINIMAX_NATIVE;
        s.lightning_layer_epsilon = 1e-5;
        model_lightning_slopes(&s, (int32_t)strtol(layer, NULL, 10), slopes);
        float expected = (float)(json_number_value(json_array_get(base, 0)) * factor);
        assert_true(fabsf(slopes[0] - expected) <= 6e-8f * expected);
    }
    assert_true(checked >= 64 * 3);
    json_decref(root);
}

static void test_shape_slopes_of_six_heads_take_every_other_of_eight(void **state)
{
    (void)state;
    struct model_shape s = {.arch = ARCH_MINIMAX_M1, .layers = 1, .heads = 6};
    float slopes[6];
    model_lightning_slopes(&s, 0, slopes);
    const double expected[6] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
    for (int h = 0; h < 6; h++)
        assert_true(fabs(slopes[h] - expected[h] * 1.00001) < 1e-7);
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
        cmocka_unit_test(test_shape_minimax_m1_config_gives_its_numbers),
        cmocka_unit_test(test_shape_qwen2_config_gives_its_numbers),
        cmocka_unit_test(test_shape_qwen3_and_native_configs_give_their_numbers),
        cmocka_unit_test(test_shape_generation_config_gives_the_eos_ids),
        cmocka_unit_test(test_shape_bad_configs_are_refused_with_key_and_value),
        cmocka_unit_test(test_shape_written_json_loads_to_the_same_shape),
        cmocka_unit_test(test_shape_slopes_match_the_reference),
        cmocka_unit_test(test_shape_slopes_of_six_heads_take_every_other_of_eight),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
