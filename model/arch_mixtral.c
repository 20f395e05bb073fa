/* model/arch_mixtral.c - Mixtral: Llama's attention, experts in every layer, weights that are the softmax over the chosen
 * logits (the same numbers as normalising the chosen probabilities). */
#include "model/arch.h"

static const char *const keys[] = {"num_local_experts",
                                   "num_experts_per_tok",
                                   "router_aux_loss_coef",
                                   "router_jitter_noise",
                                   "output_router_logits",
                                   "layer_types",
                                   NULL};

static const struct arch_names names = {
    ARCH_NAMES_LLAMA,
    .router = "block_sparse_moe.gate",
    .experts = "block_sparse_moe.experts",
    .expert_gate = "w1",
    .expert_up = "w3",
    .expert_down = "w2",
};

static enum status read(const struct arch_config *config, struct model_shape *shape)
{
    arch_set_prenorm(shape);
    TRY(arch_read_experts(config, "num_local_experts", shape));
    TRY(arch_read_activation(config, "hidden_act", "silu"));
    TRY(arch_read_rope(config, shape));
    TRY(config_refuse_true(config, "attention_bias", "Mixtral has no biases"));
    return arch_read_one_window(config, shape);
}

static void write(const struct model_shape *shape, json_t *root)
{
    arch_write_rope(shape, root);
    arch_write_experts(shape, "num_local_experts", root);
    json_object_set_new(root, "router_jitter_noise", json_real(0.0));
    arch_write_one_window(shape, root);
}

const struct arch arch_mixtral = {
    .id = ARCH_MIXTRAL,
    .model_type = "mixtral",
    .architecture = "MixtralForCausalLM",
    .names = &names,
    .keys = keys,
    .read = read,
    .write = write,
};
