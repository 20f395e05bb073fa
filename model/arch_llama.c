/* model/arch_llama.c - Llama 2 and 3 and what kept their layout: prenorm, no biases by default, RoPE that may be scaled
 * (Llama 3.1 and later). */
#include "model/arch.h"

static const char *const keys[] = {"mlp_bias", NULL};

static enum status read(const struct arch_config *config, struct model_shape *shape)
{
    arch_set_prenorm(shape);
    TRY(arch_read_attention_bias(config, shape));
    TRY(arch_read_activation(config, "hidden_act", "silu"));
    TRY(arch_read_rope(config, shape));
    TRY(arch_read_layer_types(config, false, shape));
    TRY(config_bool(config, "mlp_bias", &shape->mlp_bias));
    return config_refuse_other(config, "sliding_window", 0.0, "set it to null");
}

static void write(const struct model_shape *shape, json_t *root)
{
    arch_write_rope(shape, root);
    json_object_set_new(root, "attention_bias", json_boolean(shape->qkv_bias));
    json_object_set_new(root, "mlp_bias", json_boolean(shape->mlp_bias));
}

const struct arch arch_llama = {
    .id = ARCH_LLAMA,
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .names = &arch_names_llama,
    .rope_theta = 10000.0, /* Llama 2 files of 2023 have no key for it */
    .keys = keys,
    .read = read,
    .write = write,
};
