/* model/arch_qwen2.c - Qwen2 and Qwen2.5: prenorm, biases on q, k and v. */
#include "model/arch.h"

static const char *const keys[] = {"layer_types", "use_sliding_window", "max_window_layers",
                                   "use_mrope", NULL};

static enum status read(const struct arch_config *config, struct model_shape *shape)
{
    arch_set_prenorm(shape);
    shape->qkv_bias = true;
    TRY(arch_read_activation(config, "hidden_act", "silu"));
    TRY(arch_read_rope(config, shape));
    return arch_read_upper_window(config, shape);
}

static void write(const struct model_shape *shape, json_t *root)
{
    arch_write_rope(shape, root);
    arch_write_upper_window(shape, root);
}

const struct arch arch_qwen2 = {
    .id = ARCH_QWEN2,
    .model_type = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    .names = &arch_names_llama,
    .keys = keys,
    .read = read,
    .write = write,
};
