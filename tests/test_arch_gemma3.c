/* links: model */
/* timeout: 30 */
/* config.json of Gemma 3 text: the form before transformers 5, the form since, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "model/shape.h"

#define SIZES                                                                                     \
    "{\"architectures\":[\"Gemma3ForCausalLM\"],\"model_type\":\"gemma3_text\","                  \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":8,\"head_dim\":32,"        \
    "\"num_attention_heads\":4,\"num_key_value_heads\":1,\"vocab_size\":331,\"rms_norm_eps\":1e-" \
    "6,"                                                                                          \
    "\"max_position_embeddings\":4096,\"query_pre_attn_scalar\":168,\"sliding_window\":512,"      \
    "\"hidden_activation\":\"gelu_pytorch_tanh\",\"eos_token_id\":[1,106],"

/* As the files of the first releases have it. */
static const char old_form[] = SIZES
    "\"attn_logit_softcapping\":null,\"final_logit_softcapping\":null,\"sliding_window_pattern\":6,"
    "\"rope_theta\":1000000,\"rope_local_base_freq\":10000,\"cache_implementation\":\"hybrid\","
    "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"}}";
/* As transformers 5 writes it. */
static const char new_form[] =
    SIZES "\"layer_types\":[\"sliding_attention\",\"sliding_attention\",\"sliding_attention\","
          "\"sliding_attention\",\"sliding_attention\",\"full_attention\",\"sliding_attention\","
          "\"sliding_attention\"],\"tie_word_embeddings\":true,"
          "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8.0,"
          "\"rope_theta\":1000000.0},\"sliding_attention\":{\"rope_type\":\"default\","
          "\"rope_theta\":10000.0}}}";

static char folder[] = "/tmp/test_arch_gemma3_XXXXXX";

static enum status load_text(const char *text, struct model_shape *shape)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/config.json", folder), STATUS_OK);
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
    return model_shape_load(shape, path);
}

/* `form` with its first `from` made `to` must fail with a sentence that has `word`. */
static void refuse(const char *form, const char *from, const char *to, enum status status,
                   const char *word)
{
    char text[4096];
    struct model_shape shape;
    const char *place = strstr(form, from);
    assert_non_null(place);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(place - form), form, to, place + strlen(from));
    assert_int_equal(load_text(text, &shape), status);
    if (strstr(status_last_error(), word) == NULL)
        fail_msg("no '%s' in: %s", word, status_last_error());
}

static void test_arch_gemma3_both_forms_give_the_same_shape(void **state)
{
    (void)state;
    struct model_shape old, new;
    assert_int_equal(load_text(old_form, &old), STATUS_OK);
    assert_int_equal(load_text(new_form, &new), STATUS_OK);
    assert_memory_equal(&old, &new, sizeof old);
    assert_int_equal(old.arch, ARCH_GEMMA3);
    assert_true(old.tied && old.qk_norm && old.norm_one_plus && old.branch_norm && old.gelu);
    assert_true(old.scaled_embedding && !old.postnorm && !old.qkv_bias);
    assert_true(old.rope_theta == 1e6 && old.rope_theta_sliding == 1e4);
    assert_true(old.rope_scaling.kind == ROPE_LINEAR && old.rope_scaling.factor == 8);
    assert_true(old.query_scalar == 168);
    assert_int_equal(old.window, 512);
    for (int32_t l = 0; l < old.layers; l++)
        assert_int_equal(old.layer_sliding[l], l != 5);
    assert_int_equal(old.eos_ids[1], 106);
}

static void test_arch_gemma3_what_the_class_has_by_default_may_be_absent(void **state)
{
    (void)state;
    struct model_shape plain, named;
    assert_int_equal(load_text(SIZES "\"rope_theta\":1e6}", &named), STATUS_OK);
    assert_int_equal(load_text(SIZES "\"bos_token_id\":null}", &plain), STATUS_OK);
    assert_memory_equal(&plain, &named, sizeof plain);
    assert_true(plain.tied && plain.rope_theta == 1e6 && plain.rope_theta_sliding == 1e4);
    assert_int_equal(plain.rope_scaling.kind, ROPE_DEFAULT);
    assert_int_equal(plain.layer_sliding[5], 0);
}

static void test_arch_gemma3_written_json_loads_to_the_same_shape(void **state)
{
    (void)state;
    struct model_shape first, second;
    struct buffer json;
    buffer_init(&json, 0);
    assert_int_equal(load_text(old_form, &first), STATUS_OK);
    assert_int_equal(model_shape_json(&first, &json), STATUS_OK);
    assert_null(strstr(buffer_string(&json), "silu"));
    assert_int_equal(load_text(buffer_string(&json), &second), STATUS_OK);
    assert_memory_equal(&first, &second, sizeof first);
    buffer_free(&json);
}

static void test_arch_gemma3_what_is_not_done_is_refused_by_key(void **state)
{
    (void)state;
    refuse(old_form, "final_logit_softcapping\":null", "final_logit_softcapping\":30.0",
           STATUS_UNSUPPORTED, "final_logit_softcapping");
    refuse(old_form, "attn_logit_softcapping\":null", "attn_logit_softcapping\":50.0",
           STATUS_UNSUPPORTED, "attn_logit_softcapping");
    refuse(old_form, "gelu_pytorch_tanh", "silu", STATUS_UNSUPPORTED, "hidden_activation");
    refuse(old_form, "\"sliding_window\":512", "\"sliding_window\":null", STATUS_INVALID,
           "sliding_window");
    refuse(old_form, "\"rope_theta\"", "\"use_bidirectional_attention\":true,\"rope_theta\"",
           STATUS_UNSUPPORTED, "use_bidirectional_attention");
    refuse(new_form, "full_attention", "chunked_attention", STATUS_UNSUPPORTED,
           "chunked_attention");
    refuse(new_form, "\"rope_type\":\"default\"", "\"rope_type\":\"linear\",\"factor\":2",
           STATUS_UNSUPPORTED, "sliding layers");
    refuse(new_form, "\"layer_types\"", "\"rope_local_base_freq\":5000,\"layer_types\"",
           STATUS_INVALID, "rope_local_base_freq");
    refuse(new_form, "\"head_dim\":32,", "", STATUS_INVALID, "head_dim");
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
        cmocka_unit_test(test_arch_gemma3_both_forms_give_the_same_shape),
        cmocka_unit_test(test_arch_gemma3_what_the_class_has_by_default_may_be_absent),
        cmocka_unit_test(test_arch_gemma3_written_json_loads_to_the_same_shape),
        cmocka_unit_test(test_arch_gemma3_what_is_not_done_is_refused_by_key),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
