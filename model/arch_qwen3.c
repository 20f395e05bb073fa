/* model/arch_qwen3.c - Qwen3 dense: prenorm, a norm on each query and key head, no biases by default. */
#include "model/arch.h"

static const char *const keys[] = {"layer_types", "use_sliding_window", "max_window_layers", NULL};

static enum status read(const struct arch_config *config, struct model_shape *shape)
{
    arch_set_prenorm(shape);
    shape->qk_norm = true;
    TRY(arch_read_attention_bias(config, shape));
    TRY(arch_read_activation(config, "hidden_act", "silu"));
    TRY(arch_read_rope(config, shape));
    return arch_read_upper_window(config, shape);
}

static void write(const struct model_shape *shape, json_t *root)
{
    arch_write_rope(shape, root);
    arch_write_upper_window(shape, root);
    json_object_set_new(root, "attention_bias", json_boolean(shape->qkv_bias));
}

const struct arch arch_qwen3 = {
    .id = ARCH_QWEN3,
    .model_type = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    .names = &arch_names_llama,
    .head_size_needed = true, /* transformers assumes 128, not hidden_size / heads */
    .keys = keys,
    .read = read,
    .write = write,
};
