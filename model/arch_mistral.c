/* model/arch_mistral.c - Mistral: Llama's layers, with attention through a window where sliding_window is a number. */
#include "model/arch.h"

static const char *const keys[] = {"layer_types", NULL};

static enum status read(const struct arch_config *config, struct model_shape *shape)
{
    if (json_object_get(config->root, "sliding_window") == NULL) /* absent means 4096 to some */
        return config_fail_value(config, "sliding_window", "keys that a token sees, or null");
    arch_set_prenorm(shape);
    TRY(arch_read_activation(config, "hidden_act", "silu"));
    TRY(arch_read_rope(config, shape));
    TRY(config_refuse_true(config, "attention_bias", "Mistral has no biases"));
    return arch_read_one_window(config, shape);
}

static void write(const struct model_shape *shape, json_t *root)
{
    arch_write_rope(shape, root);
    arch_write_one_window(shape, root);
}

const struct arch arch_mistral = {
    .id = ARCH_MISTRAL,
    .model_type = "mistral",
    .architecture = "MistralForCausalLM",
    .names = &arch_names_llama,
    .keys = keys,
    .read = read,
    .write = write,
};
