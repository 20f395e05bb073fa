/* model/arch_qwen3_moe.c - Qwen3 with experts: attention of Qwen3; the router's softmax is over all experts, and
 * norm_topk_prob says whether the chosen weights are divided by their sum. */
#include "model/arch.h"

static const char *const keys[] = {"layer_types",           "use_sliding_window",
                                   "max_window_layers",     "num_experts",
                                   "num_local_experts",     "num_experts_per_tok",
                                   "moe_intermediate_size", "norm_topk_prob",
                                   "decoder_sparse_step",   "mlp_only_layers",
                                   "router_aux_loss_coef",  "router_jitter_noise",
                                   "output_router_logits",  NULL};

static const struct arch_names names = {
    ARCH_NAMES_LLAMA,           .router = "mlp.gate",   .experts = "mlp.experts",
    .expert_gate = "gate_proj", .expert_up = "up_proj", .expert_down = "down_proj",
};

/* Dense are the layers of mlp_only_layers, and all but every decoder_sparse_step-th. */
static enum status read_dense_layers(const struct arch_config *config, struct model_shape *shape)
{
    const json_t *list = config_get(config, "mlp_only_layers");
    int32_t step = 1, dense = 0;
    TRY(config_i32(config, "decoder_sparse_step", OPTIONAL, 1, MODEL_LAYERS_MAX, &step));
    for (int32_t l = 0; l < shape->layers; l++)
        shape->layer_dense[l] = (l + 1) % step != 0;
    if (list != NULL && !json_is_array(list))
        return config_fail_value(config, "mlp_only_layers", "a list of layers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        int64_t layer = json_is_integer(item) ? json_integer_value(item) : -1;
        if (layer < 0 || layer >= shape->layers)
            return config_fail_value(config, "mlp_only_layers", "layers below num_hidden_layers");
        shape->layer_dense[layer] = 1;
    }
    for (int32_t l = 0; l < shape->layers; l++)
        dense += shape->layer_dense[l];
    return dense < shape->layers
               ? STATUS_OK
               : config_fail_feature(config, "mlp_only_layers",
                                     "no layer has experts; model_type qwen3 is that model");
}

/* All layers or none. */
static enum status read_window(const struct arch_config *config, struct model_shape *shape)
{
    bool used = false;
    TRY(config_bool(config, "use_sliding_window", &used));
    if (!used)
        return arch_read_layer_types(config, false, shape);
    if (config_get(config, "sliding_window") == NULL)
        return config_fail_value(config, "sliding_window", "keys that a token sees");
    return arch_read_one_window(config, shape);
}

static enum status read(const struct arch_config *config, struct model_shape *shape)
{
    bool normalised = false; /* transformers' default; files say it */
    arch_set_prenorm(shape);
    shape->qk_norm = true;
    shape->dense_intermediate = shape->intermediate;
    TRY(config_i32(config, "moe_intermediate_size", REQUIRED, 1, 1 << 20, &shape->intermediate));
    TRY(arch_read_experts(
        config, config_get(config, "num_experts") ? "num_experts" : "num_local_experts", shape));
    TRY(config_bool(config, "norm_topk_prob", &normalised));
    shape->router_raw = !normalised;
    TRY(read_dense_layers(config, shape));
    TRY(arch_read_attention_bias(config, shape));
    TRY(arch_read_activation(config, "hidden_act", "silu"));
    TRY(arch_read_rope(config, shape));
    return read_window(config, shape);
}

static void write(const struct model_shape *shape, json_t *root)
{
    arch_write_rope(shape, root);
    json_object_set_new(root, "intermediate_size", json_integer(shape->dense_intermediate));
    json_object_set_new(root, "moe_intermediate_size", json_integer(shape->intermediate));
    arch_write_experts(shape, "num_experts", root);
    json_object_set_new(root, "norm_topk_prob", json_boolean(!shape->router_raw));
    json_object_set_new(root, "decoder_sparse_step", json_integer(1));
    json_t *dense = json_array();
    for (int32_t l = 0; l < shape->layers; l++)
        if (shape->layer_dense[l])
            json_array_append_new(dense, json_integer(l));
    json_object_set_new(root, "mlp_only_layers", dense);
    json_object_set_new(root, "attention_bias", json_boolean(shape->qkv_bias));
    json_object_set_new(root, "use_sliding_window", json_boolean(shape->window > 0));
    arch_write_one_window(shape, root);
}

const struct arch arch_qwen3_moe = {
    .id = ARCH_QWEN3_MOE,
    .model_type = "qwen3_moe",
    .architecture = "Qwen3MoeForCausalLM",
    .names = &names,
    .keys = keys,
    .read = read,
    .write = write,
};
