/* model/arch_gemma3.c - Gemma 3 text: norms in front of and behind each branch, norms with 1 + weight, sliding layers with
 * a RoPE base of their own between full ones, GELU, embeddings scaled by sqrt(C), tied head.
 *
 * Files before transformers 5 give the two bases as rope_theta and rope_local_base_freq and the stretch of the full
 * layers as rope_scaling; later ones give rope_parameters, an object for each kind of layer. What transformers' class
 * has by default may be absent. */
#include "model/arch.h"

#include <string.h>

static const char *const keys[] = {"layer_types",
                                   "sliding_window_pattern",
                                   "_sliding_window_pattern",
                                   "rope_local_base_freq",
                                   "hidden_activation",
                                   "query_pre_attn_scalar",
                                   "final_logit_softcapping",
                                   "attn_logit_softcapping",
                                   "use_bidirectional_attention",
                                   "cache_implementation",
                                   NULL};

static const char full_name[] = "full_attention", sliding_name[] = "sliding_attention";

/* ---- layers ---- */

static enum status read_listed(const struct arch_config *config, struct model_shape *shape)
{
    const json_t *list = config_get(config, "layer_types");
    if (!json_is_array(list) || json_array_size(list) != (size_t)shape->layers)
        return config_fail_value(config, "layer_types", "a list of num_hidden_layers names");
    for (int32_t i = 0; i < shape->layers; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        bool sliding = name != NULL && strcmp(name, sliding_name) == 0;
        if (!sliding && (name == NULL || strcmp(name, full_name) != 0))
            return FAIL(STATUS_UNSUPPORTED,
                        "%s: \"layer_types\" entry %d is %s; known are full_attention and "
                        "sliding_attention",
                        config->path, i, name ? name : "no string");
        shape->layer_sliding[i] = sliding;
    }
    return STATUS_OK;
}

/* Without a list every sixth layer is full, or as sliding_window_pattern says. */
static enum status read_layers(const struct arch_config *config, struct model_shape *shape)
{
    int32_t pattern = 6;
    for (int32_t i = 0; i < shape->layers; i++)
        shape->layer_kind[i] = LAYER_SOFTMAX;
    TRY(config_i32(config, "_sliding_window_pattern", OPTIONAL, 1, 1 << 20, &pattern));
    TRY(config_i32(config, "sliding_window_pattern", OPTIONAL, 1, 1 << 20, &pattern));
    if (config_get(config, "layer_types") != NULL)
        TRY(read_listed(config, shape));
    else
        for (int32_t i = 0; i < shape->layers; i++)
            shape->layer_sliding[i] = (i + 1) % pattern != 0;
    bool any = memchr(shape->layer_sliding, 1, (size_t)shape->layers) != NULL;
    shape->window = 0;
    return config_i32(config, "sliding_window", any ? REQUIRED : OPTIONAL, 1, 1 << 30,
                      &shape->window);
}

/* ---- positions ---- */

/* The object of one kind of layer in rope_parameters, read as if it stood alone in a file. */
static enum status read_kind(const struct arch_config *config, const char *kind,
                             struct model_shape *shape)
{
    const json_t *inner = json_object_get(config_get(config, "rope_parameters"), kind);
    if (inner == NULL || json_is_null(inner))
        return STATUS_OK;
    struct arch_config alone = {.path = config->path, .root = json_object()};
    json_t *limit = json_object_get(config->root, "max_position_embeddings");
    enum status status;
    if (alone.root == NULL ||
        json_object_set_new(alone.root, "rope_parameters", json_deep_copy(inner)) != 0 ||
        json_object_set(alone.root, "max_position_embeddings", limit) != 0)
        status = FAIL(STATUS_NO_MEMORY, "%s: rope_parameters", config->path);
    else
        status = arch_read_rope(&alone, shape);
    json_decref(alone.root);
    return status;
}

static enum status read_rope_objects(const struct arch_config *config, struct model_shape *shape)
{
    struct model_shape sliding = *shape;
    sliding.rope_theta = shape->rope_theta_sliding;
    TRY(read_kind(config, full_name, shape));
    TRY(read_kind(config, sliding_name, &sliding));
    if (sliding.rope_scaling.kind != ROPE_DEFAULT)
        return config_fail_feature(config, "rope_parameters",
                                   "sliding layers are not scaled; only full_attention may be");
    shape->rope_theta_sliding = sliding.rope_theta;
    return STATUS_OK;
}

static enum status read_rope_old(const struct arch_config *config, struct model_shape *shape)
{
    TRY(config_real(config, "rope_theta", OPTIONAL, 1, 1e30, &shape->rope_theta));
    TRY(config_real(config, "rope_local_base_freq", OPTIONAL, 1, 1e30, &shape->rope_theta_sliding));
    if (config_get(config, "rope_scaling") == NULL)
        return STATUS_OK;
    struct arch_config alone = {.path = config->path, .root = json_copy(config->root)};
    if (alone.root == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: rope_scaling", config->path);
    json_object_set_new(alone.root, "rope_theta", json_real(shape->rope_theta));
    json_object_del(alone.root, "rope_parameters");
    enum status status = arch_read_rope(&alone, shape);
    json_decref(alone.root);
    return status;
}

/* Files may hold both forms: rope_parameters has the last word, a contradiction is refused. */
static enum status read_positions(const struct arch_config *config, struct model_shape *shape)
{
    shape->rope_theta = 1e6;
    shape->rope_theta_sliding = 1e4;
    TRY(read_rope_old(config, shape));
    const struct model_shape old = *shape;
    if (config_get(config, "rope_parameters") == NULL)
        return STATUS_OK;
    if (!json_is_object(config_get(config, "rope_parameters")))
        return config_fail_value(config, "rope_parameters", "an object");
    memset(&shape->rope_scaling, 0, sizeof shape->rope_scaling);
    TRY(read_rope_objects(config, shape));
    bool scaled = config_get(config, "rope_scaling") != NULL;
    if ((config_get(config, "rope_theta") != NULL && old.rope_theta != shape->rope_theta) ||
        (config_get(config, "rope_local_base_freq") != NULL &&
         old.rope_theta_sliding != shape->rope_theta_sliding) ||
        (scaled && memcmp(&old.rope_scaling, &shape->rope_scaling, sizeof old.rope_scaling) != 0))
        return config_fail_value(
            config, "rope_parameters",
            "the same as in rope_theta, rope_local_base_freq and rope_scaling");
    return STATUS_OK;
}

/* ---- the whole ---- */

static enum status read(const struct arch_config *config, struct model_shape *shape)
{
    arch_set_prenorm(shape);
    shape->qk_norm = shape->norm_one_plus = shape->branch_norm = true;
    shape->gelu = shape->scaled_embedding = true;
    if (config_get(config, "tie_word_embeddings") == NULL)
        shape->tied = true;
    shape->query_scalar = 256;
    TRY(config_real(config, "query_pre_attn_scalar", OPTIONAL, 1e-6, 1e12, &shape->query_scalar));
    TRY(arch_read_attention_bias(config, shape));
    TRY(arch_read_activation(config, "hidden_activation", "gelu_pytorch_tanh"));
    TRY(read_layers(config, shape));
    TRY(read_positions(config, shape));
    TRY(config_refuse_other(config, "final_logit_softcapping", 0.0, "set it to null"));
    TRY(config_refuse_other(config, "attn_logit_softcapping", 0.0, "set it to null"));
    return config_refuse_true(config, "use_bidirectional_attention", "only causal models are");
}

/* Both forms, so that programs before and after transformers 5 read them. */
static void write_rope(const struct model_shape *shape, json_t *root)
{
    json_t *full = json_object();
    struct model_shape sliding = *shape;
    arch_write_rope(shape, full);
    memset(&sliding.rope_scaling, 0, sizeof sliding.rope_scaling);
    sliding.rope_theta = shape->rope_theta_sliding;
    json_t *local = json_object();
    arch_write_rope(&sliding, local);
    json_t *both = json_object();
    json_object_set(both, full_name, json_object_get(full, "rope_parameters"));
    json_object_set(both, sliding_name, json_object_get(local, "rope_parameters"));
    json_object_set_new(root, "rope_parameters", both);
    json_object_set_new(root, "rope_theta", json_real(shape->rope_theta));
    json_object_set_new(root, "rope_local_base_freq", json_real(shape->rope_theta_sliding));
    if (shape->rope_scaling.kind != ROPE_DEFAULT)
        json_object_set(root, "rope_scaling", json_object_get(full, "rope_scaling"));
    json_decref(full);
    json_decref(local);
}

static void write(const struct model_shape *shape, json_t *root)
{
    json_t *types = json_array();
    for (int32_t i = 0; i < shape->layers; i++)
        json_array_append_new(types,
                              json_string(shape->layer_sliding[i] ? sliding_name : full_name));
    json_object_set_new(root, "layer_types", types);
    json_object_set_new(root, "sliding_window",
                        shape->window > 0 ? json_integer(shape->window) : json_null());
    json_object_del(root, "hidden_act"); /* of the others */
    json_object_set_new(root, "hidden_activation", json_string("gelu_pytorch_tanh"));
    json_object_set_new(root, "query_pre_attn_scalar",
                        json_integer((json_int_t)shape->query_scalar));
    json_object_set_new(root, "attention_bias", json_boolean(shape->qkv_bias));
    json_object_set_new(root, "final_logit_softcapping", json_null());
    json_object_set_new(root, "attn_logit_softcapping", json_null());
    write_rope(shape, root);
}

static const struct arch_names names = {
    .embedding = "model.embed_tokens",
    .layers = "model.layers",
    .final_norm = "model.norm",
    .lm_head = "lm_head",
    .input_norm = "input_layernorm",
    .attention_branch_norm = "post_attention_layernorm",
    .post_norm = "pre_feedforward_layernorm",
    .mlp_branch_norm = "post_feedforward_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};

const struct arch arch_gemma3 = {
    .id = ARCH_GEMMA3,
    .model_type = "gemma3_text",
    .architecture = "Gemma3ForCausalLM",
    .names = &names,
    .head_size_needed = true, /* transformers assumes 256 */
    .keys = keys,
    .read = read,
    .write = write,
};
