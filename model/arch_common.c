/* model/arch_common.c - pieces of config.json that several architectures read and write the same way. */
#include "model/arch.h"

#include <string.h>

enum status arch_read_activation(const struct arch_config *config, const char *key,
                                 const char *name)
{
    const char *activation = name;
    if (config_get(config, key) != NULL)
        TRY(config_text(config, key, &activation));
    if (strcmp(activation, name) == 0)
        return STATUS_OK;
    char advice[64] = "only ";
    strncat(advice, name, 40);
    strncat(advice, " is", 4);
    return config_fail_feature(config, key, advice);
}

/* The class default of native minimax alternates kinds (M1-SPEC trap T20), so there the list must be
 * written out; dense models may leave it away. */
enum status arch_read_layer_types(const struct arch_config *config, bool hybrid,
                                  struct model_shape *shape)
{
    bool window = shape->window > 0;
    for (int32_t i = 0; i < shape->layers; i++)
        shape->layer_kind[i] = LAYER_SOFTMAX;
    const json_t *list = config_get(config, "layer_types");
    if (list == NULL && !hybrid)
        return STATUS_OK;
    if (!json_is_array(list) || json_array_size(list) != (size_t)shape->layers)
        return config_fail_value(config, "layer_types", "a list of num_hidden_layers names");
    for (int32_t i = 0; i < shape->layers; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        bool sliding = name != NULL && window && strcmp(name, "sliding_attention") == 0;
        if (name != NULL && hybrid && strcmp(name, "linear_attention") == 0)
            shape->layer_kind[i] = LAYER_LIGHTNING;
        else if (name == NULL || (!sliding && strcmp(name, "full_attention") != 0))
            return FAIL(STATUS_UNSUPPORTED,
                        "%s: \"layer_types\" entry %d is %s; known are full_attention%s%s",
                        config->path, i, name ? name : "no string",
                        hybrid ? " and linear_attention" : "",
                        window ? " and sliding_attention" : "");
        shape->layer_sliding[i] = sliding;
    }
    return STATUS_OK;
}

enum status arch_read_experts(const struct arch_config *config, const char *count_key,
                              struct model_shape *shape)
{
    TRY(config_i32(config, count_key, REQUIRED, 1, 1 << 12, &shape->experts));
    TRY(config_i32(config, "num_experts_per_tok", REQUIRED, 1, shape->experts,
                   &shape->experts_per_token));
    shape->aux_coefficient = 0.001;
    TRY(config_real(config, "router_aux_loss_coef", OPTIONAL, 0.0, 1e3, &shape->aux_coefficient));
    return config_refuse_other(config, "router_jitter_noise", 0.0, "set it to 0");
}

enum status arch_read_attention_bias(const struct arch_config *config, struct model_shape *shape)
{
    TRY(config_bool(config, "attention_bias", &shape->qkv_bias));
    shape->output_bias = shape->qkv_bias;
    return STATUS_OK;
}

static void slide_from(struct model_shape *shape, int32_t first)
{
    for (int32_t i = 0; i < shape->layers; i++)
        shape->layer_sliding[i] = shape->window > 0 && i >= first;
}

enum status arch_read_one_window(const struct arch_config *config, struct model_shape *shape)
{
    TRY(config_i32(config, "sliding_window", OPTIONAL, 1, 1 << 30, &shape->window));
    TRY(arch_read_layer_types(config, false, shape));
    slide_from(shape, 0);
    return STATUS_OK;
}

enum status arch_read_upper_window(const struct arch_config *config, struct model_shape *shape)
{
    bool used = false;
    int32_t first = 28; /* transformers' default */
    TRY(config_bool(config, "use_sliding_window", &used));
    if (used) {
        TRY(config_i32(config, "sliding_window", REQUIRED, 1, 1 << 30, &shape->window));
        TRY(config_i32(config, "max_window_layers", OPTIONAL, 0, 1 << 20, &first));
    }
    slide_from(shape, first);
    return arch_read_layer_types(config, false, shape);
}

void arch_set_prenorm(struct model_shape *shape)
{
    shape->rotary = shape->head_size;
    shape->postnorm = false;
    shape->alpha_lightning = shape->beta_lightning = 1.0;
    shape->alpha_softmax = shape->beta_softmax = 1.0;
    shape->alpha_mlp = shape->beta_mlp = 1.0;
}

void arch_write_layer_types(const struct model_shape *shape, json_t *root)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < shape->layers; i++)
        json_array_append_new(list,
                              json_string(shape->layer_kind[i] != LAYER_SOFTMAX ? "linear_attention"
                                          : shape->layer_sliding[i] ? "sliding_attention"
                                                                    : "full_attention"));
    json_object_set_new(root, "layer_types", list);
}

static json_t *json_window(const struct model_shape *shape)
{
    return shape->window > 0 ? json_integer(shape->window) : json_null();
}

void arch_write_one_window(const struct model_shape *shape, json_t *root)
{
    json_object_set_new(root, "sliding_window", json_window(shape));
}

void arch_write_upper_window(const struct model_shape *shape, json_t *root)
{
    int32_t first = 0;
    while (first < shape->layers && !shape->layer_sliding[first])
        first++;
    arch_write_layer_types(shape, root);
    json_object_set_new(root, "use_sliding_window", json_boolean(shape->window > 0));
    json_object_set_new(root, "sliding_window", json_window(shape));
    json_object_set_new(root, "max_window_layers", json_integer(first));
}

void arch_write_experts(const struct model_shape *shape, const char *count_key, json_t *root)
{
    json_object_set_new(root, count_key, json_integer(shape->experts));
    json_object_set_new(root, "num_experts_per_tok", json_integer(shape->experts_per_token));
    json_object_set_new(root, "router_aux_loss_coef", json_real(shape->aux_coefficient));
}
