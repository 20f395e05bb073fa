/* model/shape.c - config.json to struct model_shape and back.
 *
 * What all architectures share; the rest is in their own files (arch.h). Every key is read through one reader
 * (arch_config.h) that names file, key and value when something is off. A key that is neither read nor on a list of
 * ignored keys is logged: it may ask for something we do not do. */
#include "model/shape.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "model/arch.h"

/* Keys of all architectures: read somewhere, or without meaning for this trainer (storage type and class book-keeping,
 * cache and output switches, padding, parameters of features that are switched off). */
static const char *const keys_common[] = {
    "architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act",
    "rms_norm_eps", "rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor",
    "tie_word_embeddings", "initializer_range", "max_position_embeddings", "bos_token_id",
    "eos_token_id", "sliding_window", "attention_bias", "attention_dropout", "quantization_config",
    /* ignored */
    "torch_dtype", "dtype", "transformers_version", "use_cache", "auto_map", "pad_token_id",
    "pretraining_tp", "_name_or_path", "layer_norm_eps", NULL};

static enum status fail_unknown(const struct arch_config *config)
{
    char advice[512];
    (void)snprintf(advice, sizeof advice, "known are %s", arch_list());
    return config_fail_feature(config, "model_type", advice);
}

static enum status read_arch(const struct arch_config *config, const struct arch **arch)

{
    const char *type = NULL;
    TRY(config_text(config, "model_type", &type));
    const struct arch *found = arch_find(type);
    if (found == NULL)
        return fail_unknown(config);
    const json_t *list = config_get(config, "architectures");
    *arch = found;
    if (list == NULL)
        return STATUS_OK;
    const char *name = json_string_value(json_array_get(list, 0));
    if (name == NULL)
        return config_fail_value(config, "architectures", "a list with the name of the class");
    if (strcmp(name, found->architecture) != 0)
        return config_fail_feature(config, "architectures", "it does not go with model_type");
    return STATUS_OK;
}

static enum status read_sizes(const struct arch_config *config, bool head_size_needed,
                              struct model_shape *shape)
{
    TRY(config_i32(config, "vocab_size", REQUIRED, 2, 1 << 24, &shape->vocabulary));
    TRY(config_i32(config, "hidden_size", REQUIRED, 1, 1 << 20, &shape->hidden));
    TRY(config_i32(config, "intermediate_size", REQUIRED, 1, 1 << 20, &shape->intermediate));
    TRY(config_i32(config, "num_hidden_layers", REQUIRED, 1, MODEL_LAYERS_MAX, &shape->layers));
    TRY(config_i32(config, "num_attention_heads", REQUIRED, 1, 1 << 12, &shape->heads));
    shape->kv_heads = shape->heads;
    TRY(config_i32(config, "num_key_value_heads", OPTIONAL, 1, 1 << 12, &shape->kv_heads));
    if (shape->heads % shape->kv_heads != 0)
        return config_fail_value(config, "num_key_value_heads", "a divisor of num_attention_heads");
    TRY(config_i32(config, "head_dim", OPTIONAL, 1, 1 << 12, &shape->head_size));
    if (shape->head_size == 0) {
        if (head_size_needed || shape->hidden % shape->heads != 0)
            return config_fail_value(config, "head_dim", "the size of one head");
        shape->head_size = shape->hidden / shape->heads;
    }
    TRY(config_int(config, "max_position_embeddings", REQUIRED, 1, INT64_C(1) << 40,
                   &shape->positions_max));
    TRY(config_real(config, "rms_norm_eps", REQUIRED, 1e-30, 1.0, &shape->rms_norm_eps));
    shape->initializer_range = 0.02;
    TRY(config_real(config, "initializer_range", OPTIONAL, 0.0, 100.0, &shape->initializer_range));
    return config_bool(config, "tie_word_embeddings", &shape->tied);
}

static enum status read_eos(const struct arch_config *config, struct model_shape *shape)
{
    const json_t *value = config_get(config, "eos_token_id");
    if (value == NULL)
        return STATUS_OK;
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count == 0 || count > MODEL_EOS_MAX)
        return config_fail_value(config, "eos_token_id", "a token id or a list of up to 16");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        int64_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id >= shape->vocabulary)
            return config_fail_value(config, "eos_token_id", "token ids below vocab_size");
        shape->eos_ids[i] = (int32_t)id;
    }
    shape->eos_count = (int32_t)count;
    return STATUS_OK;
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
    struct arch_config config;
    TRY(config_open(&config, path));
    enum status status = read_eos(&config, shape);
    config_close(&config);
    return status;
}

static bool is_listed(const char *const *keys, const char *key)
{
    for (; *keys != NULL; keys++)
        if (strcmp(*keys, key) == 0)
            return true;
    return false;
}

static void log_unknown_keys(const struct arch_config *config, const struct arch *arch)
{
    const char *key;
    json_t *value;
    json_object_foreach(config->root, key, value)
    {
        if (!is_listed(keys_common, key) && !is_listed(arch->keys, key))
            LOG_WARN("shape", "config key is not known and has no effect", "file=%s key=%s",
                     config->path, key);
    }
}

static enum status read_shape(const struct arch_config *config, struct model_shape *shape)
{
    const struct arch *arch = NULL;
    TRY(read_arch(config, &arch));
    shape->arch = arch->id;
    if (config_get(config, "quantization_config") != NULL)
        return config_fail_feature(config, "quantization_config",
                                   "convert the weights to bf16 first");
    TRY(read_sizes(config, arch->head_size_needed, shape));
    TRY(arch->read(config, shape));
    if (shape->rotary % 2 != 0)
        return FAIL(STATUS_INVALID, "%s: rotary size %d is odd, heads rotate pairs", config->path,
                    shape->rotary);
    TRY(config_refuse_other(config, "attention_dropout", 0.0, "set it to 0"));
    shape->bos_id = -1;
    if (!json_is_array(config_get(config, "bos_token_id")))
        TRY(config_i32(config, "bos_token_id", OPTIONAL, -1, INT32_MAX, &shape->bos_id));
    TRY(read_eos(config, shape));
    TRY(read_generation(config->path, shape));
    log_unknown_keys(config, arch);
    return STATUS_OK;
}

enum status model_shape_load(struct model_shape *shape, const char *config_path)
{
    struct arch_config config;
    TRY(config_open(&config, config_path));
    struct model_shape result;
    memset(&result, 0, sizeof result);
    enum status status = read_shape(&config, &result);
    config_close(&config);
    if (status == STATUS_OK)
        *shape = result;
    return status;
}

/* ---- writing ---- */

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
    const struct arch *arch = arch_of(shape->arch);
    json_t *names = json_array();
    json_array_append_new(names, json_string(arch->architecture));
    json_object_set_new(root, "architectures", names);
    json_object_set_new(root, "model_type", json_string(arch->model_type));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        json_object_set_new(root, sizes[i].key, json_integer(sizes[i].value));
    json_object_set_new(root, "hidden_act", json_string("silu"));
    json_object_set_new(root, "rms_norm_eps", json_real(shape->rms_norm_eps));
    json_object_set_new(root, "initializer_range", json_real(shape->initializer_range));
    json_object_set_new(root, "tie_word_embeddings", json_boolean(shape->tied));
}

enum status model_shape_json(const struct model_shape *shape, struct buffer *json)
{
    json_t *root = json_object();
    if (root == NULL)
        return FAIL(STATUS_NO_MEMORY, "config.json of %s", model_arch_name(shape->arch));
    write_sizes(shape, root);
    arch_of(shape->arch)->write(shape, root);
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
