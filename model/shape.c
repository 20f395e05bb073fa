/* model/shape.c - config.json to struct model_shape and back.
 *
 * Every key is read through one reader that names file, key and value when something is off. What the
 * forward pass does not do is refused here, once, so nobody finds out from wrong logprobs. A key that is
 * neither read nor on the list of ignored keys is logged: it may ask for something we do not do. */
#include "model/shape.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/file.h"
#include "core/log.h"

static const struct {
    enum model_arch arch;
    const char *model_type;
    const char *architecture;
} archs[] = {
    {ARCH_MINIMAX_M1, "minimax_m1", "MiniMaxM1ForCausalLM"},
    {ARCH_MINIMAX_NATIVE, "minimax", "MiniMaxForCausalLM"},
    {ARCH_QWEN2, "qwen2", "Qwen2ForCausalLM"},
    {ARCH_QWEN3, "qwen3", "Qwen3ForCausalLM"},
    {ARCH_LLAMA, "llama", "LlamaForCausalLM"},
    /* Text-01 is the same network under an older name; it is written back as M1. */
    {ARCH_MINIMAX_M1, "minimax_text_01", "MiniMaxText01ForCausalLM"},
};
enum { ARCH_ROWS = sizeof archs / sizeof archs[0] };

/* Read somewhere below, or without meaning for this trainer: storage type and class book-keeping, cache
 * and output switches, the auxiliary loss switch (a setting of the learner), padding, block_size (our own
 * chunk setting; the result does not depend on it), and parameters of features that are switched off. */
static const char *const keys_known[] = {
    "architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "rotary_dim",
    "attn_type_list", "layer_types", "num_local_experts", "num_experts_per_tok",
    "shared_intermediate_size", "hidden_act", "rms_norm_eps", "rope_theta", "rope_parameters",
    "rope_scaling", "partial_rotary_factor", "layernorm_linear_attention_alpha",
    "layernorm_linear_attention_beta", "layernorm_full_attention_alpha",
    "layernorm_full_attention_beta", "layernorm_mlp_alpha", "layernorm_mlp_beta",
    "linear_attn_alpha_factor", "linear_attn_beta_factor", "full_attn_alpha_factor",
    "full_attn_beta_factor", "mlp_alpha_factor", "mlp_beta_factor", "postnorm",
    "tie_word_embeddings", "router_aux_loss_coef", "router_jitter_noise", "initializer_range",
    "max_position_embeddings", "bos_token_id", "eos_token_id", "sliding_window",
    "use_sliding_window", "attention_bias", "mlp_bias", "attention_dropout", "quantization_config",
    /* ignored */
    "torch_dtype", "dtype", "transformers_version", "use_cache", "auto_map", "block_size",
    "output_router_logits", "pad_token_id", "max_window_layers", "pretraining_tp",
    "shared_moe_mode", "_name_or_path", "use_mrope", "layer_norm_eps"};

struct config {
    const char *path;
    json_t *root;
};

enum need { OPTIONAL, REQUIRED };

static const json_t *lookup(const struct config *config, const char *key)
{
    const json_t *value = json_object_get(config->root, key);
    return json_is_null(value) ? NULL : value;
}

static enum status fail_value(const struct config *config, const char *key, const char *wanted)
{
    char text[128] = "(absent)";
    const json_t *value = json_object_get(config->root, key);
    if (value != NULL) {
        size_t size = json_dumpb(value, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_COMPACT);
        if (size > sizeof text - 1)
            (void)snprintf(text, sizeof text, "(%zu bytes of JSON)", size);
        else
            text[size] = '\0';
    }
    return FAIL(STATUS_INVALID, "%s: \"%s\" is %s, wanted %s", config->path, key, text, wanted);
}

static enum status fail_feature(const struct config *config, const char *key, const char *advice)
{
    char text[128];
    size_t size = json_dumpb(json_object_get(config->root, key), text, sizeof text - 1,
                             JSON_ENCODE_ANY | JSON_COMPACT);
    text[size < sizeof text ? size : 0] = '\0';
    return FAIL(STATUS_UNSUPPORTED, "%s: \"%s\" = %s is not supported; %s", config->path, key, text,
                advice);
}

/* OPTIONAL leaves *out as it is when the key is absent or null. */
static enum status read_int(const struct config *config, const char *key, enum need need,
                            int64_t low, int64_t high, int64_t *out)
{
    const json_t *value = lookup(config, key);
    if (value == NULL && need == OPTIONAL)
        return STATUS_OK;
    char wanted[80];
    (void)snprintf(wanted, sizeof wanted, "an integer in [%" PRId64 ", %" PRId64 "]", low, high);
    if (!json_is_integer(value))
        return fail_value(config, key, wanted);
    int64_t number = json_integer_value(value);
    if (number < low || number > high)
        return fail_value(config, key, wanted);
    *out = number;
    return STATUS_OK;
}

static enum status read_i32(const struct config *config, const char *key, enum need need,
                            int32_t low, int32_t high, int32_t *out)
{
    int64_t number = *out;
    TRY(read_int(config, key, need, low, high, &number));
    *out = (int32_t)number;
    return STATUS_OK;
}

static enum status read_real(const struct config *config, const char *key, enum need need,
                             double low, double high, double *out)
{
    const json_t *value = lookup(config, key);
    if (value == NULL && need == OPTIONAL)
        return STATUS_OK;
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(number >= low && number <= high)) {
        char wanted[80];
        (void)snprintf(wanted, sizeof wanted, "a number in [%g, %g]", low, high);
        return fail_value(config, key, wanted);
    }
    *out = number;
    return STATUS_OK;
}

static enum status read_bool(const struct config *config, const char *key, bool *out)
{
    const json_t *value = lookup(config, key);
    if (value == NULL)
        return STATUS_OK;
    if (!json_is_boolean(value))
        return fail_value(config, key, "true or false");
    *out = json_is_true(value);
    return STATUS_OK;
}

static enum status read_text(const struct config *config, const char *key, const char **out)
{
    const json_t *value = lookup(config, key);
    if (!json_is_string(value))
        return fail_value(config, key, "a string");
    *out = json_string_value(value);
    return STATUS_OK;
}

/* A switch that must be absent, null or false. */
static enum status refuse_true(const struct config *config, const char *key, const char *advice)
{
    bool on = false;
    TRY(read_bool(config, key, &on));
    return on ? fail_feature(config, key, advice) : STATUS_OK;
}

/* A number that must be absent, null or `neutral`. */
static enum status refuse_other(const struct config *config, const char *key, double neutral,
                                const char *advice)
{
    double number = neutral;
    TRY(read_real(config, key, OPTIONAL, -1e300, 1e300, &number));
    return number < neutral || number > neutral ? fail_feature(config, key, advice) : STATUS_OK;
}

static enum status read_arch(const struct config *config, struct model_shape *shape)
{
    const char *type = NULL;
    TRY(read_text(config, "model_type", &type));
    int32_t row = 0;
    while (row < ARCH_ROWS && strcmp(archs[row].model_type, type) != 0)
        row++;
    if (row == ARCH_ROWS)
        return fail_feature(config, "model_type",
                            "known are minimax_m1, minimax_text_01, minimax, qwen2, qwen3, llama");
    shape->arch = archs[row].arch;
    const json_t *list = lookup(config, "architectures");
    if (list == NULL)
        return STATUS_OK;
    const char *name = json_string_value(json_array_get(list, 0));
    if (name == NULL)
        return fail_value(config, "architectures", "a list with the name of the class");
    if (strcmp(name, archs[row].architecture) != 0)
        return fail_feature(config, "architectures", "it does not go with model_type");
    return STATUS_OK;
}

#define ROPE_THETA_MAX 1e30

/* Old files: rope_theta and rope_scaling; transformers 5: rope_parameters. Both may be there, and a
 * conversion is known to drop one (M1-SPEC trap T2), so a difference is refused. */
static enum status read_rope(const struct config *config, struct model_shape *shape)
{
    double theta = 0;
    TRY(read_real(config, "rope_theta", OPTIONAL, 1.0, ROPE_THETA_MAX, &theta));
    const char *const places[] = {"rope_parameters", "rope_scaling"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = lookup(config, places[i]);
        if (value == NULL)
            continue;
        if (!json_is_object(value))
            return fail_value(config, places[i], "an object");
        const json_t *type = json_object_get(value, "rope_type");
        if (type == NULL)
            type = json_object_get(value, "type");
        if (type != NULL && (!json_is_string(type) || strcmp(json_string_value(type), "default")))
            return fail_feature(config, places[i],
                                "only rope_type default is; set it to null and "
                                "keep positions within the unscaled length");
        const json_t *part = json_object_get(value, "partial_rotary_factor");
        if (json_is_number(part) && !(json_number_value(part) >= 1.0))
            return fail_feature(config, places[i], "rotary must cover the head");
        const json_t *inner = json_object_get(value, "rope_theta");
        if (inner == NULL)
            continue;
        double number = json_number_value(inner);
        if (!(number >= 1.0 && number <= ROPE_THETA_MAX))
            return fail_value(config, places[i], "rope_theta from 1 to 1e30 inside");
        if (theta > 0 && (theta < number || theta > number))
            return FAIL(STATUS_INVALID,
                        "%s: \"rope_theta\" is %g but \"%s\" says %g; keep the one the model was "
                        "trained with",
                        config->path, theta, places[i], number);
        theta = number;
    }
    if (!(theta > 0))
        return fail_value(config, "rope_theta", "a number >= 1, here or in rope_parameters");
    shape->rope_theta = theta;
    return refuse_other(config, "partial_rotary_factor", 1.0, "rotary must cover the head");
}

static enum status read_sizes(const struct config *config, struct model_shape *shape)
{
    TRY(read_i32(config, "vocab_size", REQUIRED, 2, 1 << 24, &shape->vocabulary));
    TRY(read_i32(config, "hidden_size", REQUIRED, 1, 1 << 20, &shape->hidden));
    TRY(read_i32(config, "intermediate_size", REQUIRED, 1, 1 << 20, &shape->intermediate));
    TRY(read_i32(config, "num_hidden_layers", REQUIRED, 1, MODEL_LAYERS_MAX, &shape->layers));
    TRY(read_i32(config, "num_attention_heads", REQUIRED, 1, 1 << 12, &shape->heads));
    shape->kv_heads = shape->heads;
    TRY(read_i32(config, "num_key_value_heads", OPTIONAL, 1, 1 << 12, &shape->kv_heads));
    if (shape->heads % shape->kv_heads != 0)
        return fail_value(config, "num_key_value_heads", "a divisor of num_attention_heads");
    TRY(read_i32(config, "head_dim", OPTIONAL, 1, 1 << 12, &shape->head_size));
    if (shape->head_size == 0) {
        if (shape->arch == ARCH_QWEN3 || shape->hidden % shape->heads != 0)
            return fail_value(config, "head_dim", "the size of one head");
        shape->head_size = shape->hidden / shape->heads;
    }
    TRY(read_int(config, "max_position_embeddings", REQUIRED, 1, INT64_C(1) << 40,
                 &shape->positions_max));
    TRY(read_real(config, "rms_norm_eps", REQUIRED, 1e-30, 1.0, &shape->rms_norm_eps));
    shape->initializer_range = 0.02;
    TRY(read_real(config, "initializer_range", OPTIONAL, 0.0, 100.0, &shape->initializer_range));
    TRY(read_bool(config, "tie_word_embeddings", &shape->tied));
    const char *activation = "silu";
    if (lookup(config, "hidden_act") != NULL)
        TRY(read_text(config, "hidden_act", &activation));
    return strcmp(activation, "silu") ? fail_feature(config, "hidden_act", "only silu is")
                                      : STATUS_OK;
}

static enum status read_attn_type_list(const struct config *config, struct model_shape *shape)
{
    const json_t *list = lookup(config, "attn_type_list");
    if (!json_is_array(list) || json_array_size(list) != (size_t)shape->layers)
        return fail_value(config, "attn_type_list",
                          "a list of num_hidden_layers numbers, 0 lightning, 1 softmax");
    for (int32_t i = 0; i < shape->layers; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) > 1)
            return fail_value(config, "attn_type_list", "only 0 (lightning) and 1 (softmax)");
        shape->layer_kind[i] = json_integer_value(item) ? LAYER_SOFTMAX : LAYER_LIGHTNING;
    }
    return STATUS_OK;
}

/* The class default of native minimax alternates kinds (M1-SPEC trap T20), so there the list must be
 * written out; dense models may leave it away. */
static enum status read_layer_types(const struct config *config, struct model_shape *shape)
{
    bool hybrid = shape->arch == ARCH_MINIMAX_NATIVE;
    for (int32_t i = 0; i < shape->layers; i++)
        shape->layer_kind[i] = LAYER_SOFTMAX;
    const json_t *list = lookup(config, "layer_types");
    if (list == NULL && !hybrid)
        return STATUS_OK;
    if (!json_is_array(list) || json_array_size(list) != (size_t)shape->layers)
        return fail_value(config, "layer_types", "a list of num_hidden_layers names");
    for (int32_t i = 0; i < shape->layers; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        if (name != NULL && hybrid && strcmp(name, "linear_attention") == 0)
            shape->layer_kind[i] = LAYER_LIGHTNING;
        else if (name == NULL || strcmp(name, "full_attention") != 0)
            return FAIL(STATUS_UNSUPPORTED,
                        "%s: \"layer_types\" entry %d is %s; known are full_attention%s",
                        config->path, i, name ? name : "no string",
                        hybrid ? " and linear_attention" : "");
    }
    return STATUS_OK;
}

struct scale_key {
    const char *m1, *native;
    size_t offset;
};

static const struct scale_key scale_keys[] = {
#define SCALE(m1, native, field)                        \
    {                                                   \
        m1, native, offsetof(struct model_shape, field) \
    }
    SCALE("layernorm_linear_attention_alpha", "linear_attn_alpha_factor", alpha_lightning),
    SCALE("layernorm_linear_attention_beta", "linear_attn_beta_factor", beta_lightning),
    SCALE("layernorm_full_attention_alpha", "full_attn_alpha_factor", alpha_softmax),
    SCALE("layernorm_full_attention_beta", "full_attn_beta_factor", beta_softmax),
    SCALE("layernorm_mlp_alpha", "mlp_alpha_factor", alpha_mlp),
    SCALE("layernorm_mlp_beta", "mlp_beta_factor", beta_mlp),
#undef SCALE
};
enum { SCALE_KEYS = sizeof scale_keys / sizeof scale_keys[0] };

static enum status read_minimax(const struct config *config, struct model_shape *shape)
{
    bool m1 = shape->arch == ARCH_MINIMAX_M1;
    shape->postnorm = true;
    if (m1) {
        TRY(read_bool(config, "postnorm", &shape->postnorm));
        if (!shape->postnorm)
            return fail_feature(config, "postnorm", "MiniMax layers need it to be true");
        TRY(read_attn_type_list(config, shape));
        shape->rotary = shape->head_size;
        TRY(read_i32(config, "rotary_dim", OPTIONAL, 2, shape->head_size, &shape->rotary));
    } else {
        /* Native code rotates the whole head (M1-SPEC trap T1). */
        TRY(read_layer_types(config, shape));
        TRY(refuse_other(config, "rotary_dim", shape->head_size,
                         "native minimax rotates the whole head; use model_type minimax_m1"));
        shape->rotary = shape->head_size;
    }
    for (int i = 0; i < SCALE_KEYS; i++)
        TRY(read_real(config, m1 ? scale_keys[i].m1 : scale_keys[i].native, REQUIRED, -1e6, 1e6,
                      (double *)((char *)shape + scale_keys[i].offset)));
    TRY(read_i32(config, "num_local_experts", REQUIRED, 1, 1 << 12, &shape->experts));
    TRY(read_i32(config, "num_experts_per_tok", REQUIRED, 1, shape->experts,
                 &shape->experts_per_token));
    shape->aux_coefficient = 0.001;
    TRY(read_real(config, "router_aux_loss_coef", OPTIONAL, 0.0, 1e3, &shape->aux_coefficient));
    TRY(refuse_other(config, "router_jitter_noise", 0.0, "set it to 0"));
    TRY(refuse_other(config, "shared_intermediate_size", 0.0, "there are no shared experts"));
    TRY(refuse_other(config, "sliding_window", 0.0, "set it to null"));
    shape->lightning_norm_eps = 1e-6;
    shape->lightning_layer_epsilon = m1 ? 0.0 : 1e-5;
    return STATUS_OK;
}

static enum status read_dense(const struct config *config, struct model_shape *shape)
{
    shape->qkv_bias = shape->arch == ARCH_QWEN2;
    shape->qk_norm = shape->arch == ARCH_QWEN3;
    shape->rotary = shape->head_size;
    double *scale[] = {&shape->alpha_lightning, &shape->beta_lightning, &shape->alpha_softmax,
                       &shape->beta_softmax,    &shape->alpha_mlp,      &shape->beta_mlp};
    for (int i = 0; i < SCALE_KEYS; i++)
        *scale[i] = 1.0;
    TRY(read_layer_types(config, shape));
    if (shape->arch != ARCH_QWEN2)
        TRY(refuse_true(config, "attention_bias", "only Qwen2 models have q, k, v biases"));
    TRY(refuse_true(config, "mlp_bias", "set it to false"));
    TRY(refuse_true(config, "use_sliding_window", "set it to false"));
    if (shape->arch == ARCH_LLAMA)
        TRY(refuse_other(config, "sliding_window", 0.0, "set it to null"));
    return STATUS_OK;
}

static enum status read_eos(const struct config *config, struct model_shape *shape)
{
    const json_t *value = lookup(config, "eos_token_id");
    if (value == NULL)
        return STATUS_OK;
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count == 0 || count > MODEL_EOS_MAX)
        return fail_value(config, "eos_token_id", "a token id or a list of up to 16");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        int64_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id >= shape->vocabulary)
            return fail_value(config, "eos_token_id", "token ids below vocab_size");
        shape->eos_ids[i] = (int32_t)id;
    }
    shape->eos_count = (int32_t)count;
    return STATUS_OK;
}

static enum status parse(const char *path, const struct buffer *text, json_t **root)
{
    json_error_t error;
    json_t *value =
        json_loadb((const char *)text->bytes, text->size, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL)
        return FAIL(STATUS_INVALID, "%s:%d: %s", path, error.line, error.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return FAIL(STATUS_INVALID, "%s: no JSON object", path);
    }
    *root = value;
    return STATUS_OK;
}

static enum status config_open(struct config *config, const char *path)
{
    struct buffer text;
    buffer_init(&text, 16u << 20);
    config->path = path;
    config->root = NULL;
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = parse(path, &text, &config->root);
    buffer_free(&text);
    return status;
}

/* generation_config.json beside config.json has the ids that generation really stops at. */
static enum status read_generation(const char *config_path, struct model_shape *shape)
{
    const char *slash = strrchr(config_path, '/');
    int folder = slash ? (int)(slash - config_path) + 1 : 0;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%.*sgeneration_config.json", folder, config_path));
    if (!file_exists(path))
        return STATUS_OK;
    struct config config;
    TRY(config_open(&config, path));
    enum status status = read_eos(&config, shape);
    json_decref(config.root);
    return status;
}

static void log_unknown_keys(const struct config *config)
{
    const char *key;
    json_t *value;
    json_object_foreach(config->root, key, value)
    {
        size_t i = 0;
        while (i < sizeof keys_known / sizeof keys_known[0] && strcmp(keys_known[i], key) != 0)
            i++;
        if (i == sizeof keys_known / sizeof keys_known[0])
            LOG_WARN("shape", "config key is not known and has no effect", "file=%s key=%s",
                     config->path, key);
    }
}

static enum status read_shape(const struct config *config, struct model_shape *shape)
{
    TRY(read_arch(config, shape));
    if (lookup(config, "quantization_config") != NULL)
        return fail_feature(config, "quantization_config", "convert the weights to bf16 first");
    TRY(read_sizes(config, shape));
    TRY(read_rope(config, shape));
    if (shape->arch == ARCH_MINIMAX_M1 || shape->arch == ARCH_MINIMAX_NATIVE)
        TRY(read_minimax(config, shape));
    else
        TRY(read_dense(config, shape));
    if (shape->rotary % 2 != 0)
        return FAIL(STATUS_INVALID, "%s: rotary size %d is odd, heads rotate pairs", config->path,
                    shape->rotary);
    TRY(refuse_other(config, "attention_dropout", 0.0, "set it to 0"));
    shape->bos_id = -1;
    if (!json_is_array(lookup(config, "bos_token_id")))
        TRY(read_i32(config, "bos_token_id", OPTIONAL, -1, INT32_MAX, &shape->bos_id));
    TRY(read_eos(config, shape));
    TRY(read_generation(config->path, shape));
    log_unknown_keys(config);
    return STATUS_OK;
}

enum status model_shape_load(struct model_shape *shape, const char *config_path)
{
    struct config config;
    TRY(config_open(&config, config_path));
    struct model_shape result;
    memset(&result, 0, sizeof result);
    enum status status = read_shape(&config, &result);
    json_decref(config.root);
    if (status == STATUS_OK)
        *shape = result;
    return status;
}

const char *model_arch_name(enum model_arch arch)
{
    CHECK(arch < ARCH_COUNT);
    return archs[arch].architecture;
}

/* ---- writing ---- */

static json_t *json_layer_kinds(const struct model_shape *shape)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < shape->layers; i++) {
        bool softmax = shape->layer_kind[i] == LAYER_SOFTMAX;
        json_array_append_new(list,
                              shape->arch == ARCH_MINIMAX_M1
                                  ? json_integer(softmax)
                                  : json_string(softmax ? "full_attention" : "linear_attention"));
    }
    return list;
}

static void write_minimax(const struct model_shape *shape, json_t *root)
{
    bool m1 = shape->arch == ARCH_MINIMAX_M1;
    if (m1) {
        json_object_set_new(root, "rotary_dim", json_integer(shape->rotary));
        json_object_set_new(root, "postnorm", json_true());
        json_object_set_new(root, "shared_intermediate_size", json_integer(0));
    }
    for (int i = 0; i < SCALE_KEYS; i++)
        json_object_set_new(
            root, m1 ? scale_keys[i].m1 : scale_keys[i].native,
            json_real(*(const double *)((const char *)shape + scale_keys[i].offset)));
    json_object_set_new(root, "num_local_experts", json_integer(shape->experts));
    json_object_set_new(root, "num_experts_per_tok", json_integer(shape->experts_per_token));
    json_object_set_new(root, "router_aux_loss_coef", json_real(shape->aux_coefficient));
    json_object_set_new(root, "router_jitter_noise", json_real(0.0));
}

static void write_ids(const struct model_shape *shape, json_t *root)
{
    json_object_set_new(root, "bos_token_id",
                        shape->bos_id >= 0 ? json_integer(shape->bos_id) : json_null());
    json_t *eos = json_null();
    if (shape->eos_count == 1)
        eos = json_integer(shape->eos_ids[0]);
    else if (shape->eos_count > 1) {
        eos = json_array();
        for (int32_t i = 0; i < shape->eos_count; i++)
            json_array_append_new(eos, json_integer(shape->eos_ids[i]));
    }
    json_object_set_new(root, "eos_token_id", eos);
}

static void write_sizes(const struct model_shape *shape, json_t *root)
{
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {{"vocab_size", shape->vocabulary},
                 {"hidden_size", shape->hidden},
                 {"intermediate_size", shape->intermediate},
                 {"num_hidden_layers", shape->layers},
                 {"num_attention_heads", shape->heads},
                 {"num_key_value_heads", shape->kv_heads},
                 {"head_dim", shape->head_size},
                 {"max_position_embeddings", shape->positions_max}};
    json_t *names = json_array();
    json_array_append_new(names, json_string(archs[shape->arch].architecture));
    json_object_set_new(root, "architectures", names);
    json_object_set_new(root, "model_type", json_string(archs[shape->arch].model_type));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        json_object_set_new(root, sizes[i].key, json_integer(sizes[i].value));
    json_object_set_new(root, "hidden_act", json_string("silu"));
    json_object_set_new(root, "rms_norm_eps", json_real(shape->rms_norm_eps));
    json_object_set_new(root, "initializer_range", json_real(shape->initializer_range));
    json_object_set_new(root, "tie_word_embeddings", json_boolean(shape->tied));
    json_object_set_new(root, "rope_theta", json_real(shape->rope_theta));
    if (shape->arch != ARCH_MINIMAX_M1)
        json_object_set_new(
            root, "rope_parameters",
            json_pack("{s:f, s:s}", "rope_theta", shape->rope_theta, "rope_type", "default"));
    if (shape->arch != ARCH_LLAMA)
        json_object_set_new(root, shape->arch == ARCH_MINIMAX_M1 ? "attn_type_list" : "layer_types",
                            json_layer_kinds(shape));
}

enum status model_shape_json(const struct model_shape *shape, struct buffer *json)
{
    json_t *root = json_object();
    if (root == NULL)
        return FAIL(STATUS_NO_MEMORY, "config.json of %s", model_arch_name(shape->arch));
    write_sizes(shape, root);
    if (shape->experts > 0)
        write_minimax(shape, root);
    if (shape->arch == ARCH_QWEN3 || shape->arch == ARCH_LLAMA)
        json_object_set_new(root, "attention_bias", json_false());
    if (shape->arch == ARCH_QWEN2 || shape->arch == ARCH_QWEN3)
        json_object_set_new(root, "use_sliding_window", json_false());
    write_ids(shape, root);
    size_t size = json_dumpb(root, NULL, 0, JSON_INDENT(2));
    enum status status = size ? buffer_reserve(json, size + 1) : FAIL(STATUS_NO_MEMORY, "JSON");
    if (status == STATUS_OK) {
        json->size += json_dumpb(root, (char *)json->bytes + json->size, size, JSON_INDENT(2));
        status = buffer_text(json, "\n");
    }
    json_decref(root);
    return status;
}

/* ---- lightning decay (M1-SPEC 1.4) ---- */

/* Head h of the ladder 2^(-8 (h + 1) / count). */
static double ladder(int32_t count, int32_t h)
{
    return exp2(-8.0 * (h + 1) / count);
}

/* A head count that is no power of two takes the ladder of the next lower power p, then every other
 * slope of the ladder of 2p. Native minimax code has the plain ladder for every count. */
static double slope(const struct model_shape *shape, int32_t h)
{
    if (shape->arch == ARCH_MINIMAX_NATIVE)
        return ladder(shape->heads, h);
    int32_t power = 1;
    while (power * 2 <= shape->heads)
        power *= 2;
    return h < power ? ladder(power, h) : ladder(2 * power, 2 * (h - power));
}

void model_lightning_slopes(const struct model_shape *shape, int32_t layer, float *slopes)
{
    CHECK(layer >= 0 && layer < shape->layers);
    double last = shape->layers - 1 + shape->lightning_layer_epsilon;
    double factor = (layer == 0 ? 1.0 : 1.0 - layer / last) + 1e-5;
    for (int32_t h = 0; h < shape->heads; h++)
        slopes[h] = (float)(slope(shape, h) * factor);
}
