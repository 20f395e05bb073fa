/* bench/random_model.h - models of real shapes with random weights, for tests and benchmarks that need no checkpoint.
 *
 * Weights are one pattern of small numbers again and again, in the storage type of the table; gains are 1, second
 * planes 2^-9 of that. */
#ifndef BENCH_RANDOM_MODEL_H
#define BENCH_RANDOM_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "model/model.h"

// clang-format off
#define SHAPE_HYBRID \
    "{\"architectures\": [\"MiniMaxM1ForCausalLM\"], \"model_type\": \"minimax_m1\", " \
    "\"attn_type_list\": [0, 0, 0, 0, 0, 0, 0, 1], \"hidden_size\": 512, \"head_dim\": 64, " \
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 2, \"intermediate_size\": 768, " \
    "\"num_hidden_layers\": 8, \"num_local_experts\": 8, \"num_experts_per_tok\": 2, " \
    "\"rotary_dim\": 32, \"rope_theta\": 10000000, \"rms_norm_eps\": 1e-5, \"vocab_size\": 4096, " \
    "\"postnorm\": true, \"layernorm_full_attention_alpha\": 3.5565588200778455, " \
    "\"layernorm_full_attention_beta\": 1.0, \"layernorm_linear_attention_alpha\": " \
    "3.5565588200778455, \"layernorm_linear_attention_beta\": 1.0, \"layernorm_mlp_alpha\": " \
    "3.5565588200778455, \"layernorm_mlp_beta\": 1.0, \"tie_word_embeddings\": false, " \
    "\"max_position_embeddings\": 8192, \"initializer_range\": 0.02, \"hidden_act\": \"silu\"}"
#define SHAPE_QWEN3_HALF \
    "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", \"hidden_size\": 1024, " \
    "\"head_dim\": 128, \"num_attention_heads\": 16, \"num_key_value_heads\": 8, " \
    "\"intermediate_size\": 3072, \"num_hidden_layers\": 28, \"rope_theta\": 1000000.0, " \
    "\"rms_norm_eps\": 1e-6, \"vocab_size\": 151936, \"tie_word_embeddings\": true, " \
    "\"max_position_embeddings\": 32768, \"initializer_range\": 0.02, \"hidden_act\": \"silu\"}"
#define SHAPE_QWEN2_HALF \
    "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", \"hidden_size\": 896, " \
    "\"num_attention_heads\": 14, \"num_key_value_heads\": 2, \"intermediate_size\": 4864, " \
    "\"num_hidden_layers\": 24, \"rope_theta\": 1000000.0, \"rms_norm_eps\": 1e-6, " \
    "\"vocab_size\": 151936, \"tie_word_embeddings\": true, \"max_position_embeddings\": 131072, " \
    "\"initializer_range\": 0.02, \"hidden_act\": \"silu\"}"
#define SHAPE_QWEN2_ONE \
    "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", \"hidden_size\": 1536, " \
    "\"num_attention_heads\": 12, \"num_key_value_heads\": 2, \"intermediate_size\": 8960, " \
    "\"num_hidden_layers\": 28, \"rope_theta\": 1000000.0, \"rms_norm_eps\": 1e-6, " \
    "\"vocab_size\": 151936, \"tie_word_embeddings\": true, \"max_position_embeddings\": 131072, " \
    "\"initializer_range\": 0.02, \"hidden_act\": \"silu\"}"
#define SHAPE_QWEN2_SEVEN \
    "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", \"hidden_size\": 3584, " \
    "\"num_attention_heads\": 28, \"num_key_value_heads\": 4, \"intermediate_size\": 18944, " \
    "\"num_hidden_layers\": 28, \"rope_theta\": 1000000.0, \"rms_norm_eps\": 1e-6, " \
    "\"vocab_size\": 152064, \"tie_word_embeddings\": false, \"max_position_embeddings\": 131072, " \
    "\"initializer_range\": 0.02, \"hidden_act\": \"silu\"}"
#define SHAPE_GEMMA3_ONE \
    "{\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\", \"hidden_size\": 1152, " \
    "\"head_dim\": 256, \"num_attention_heads\": 4, \"num_key_value_heads\": 1, \"intermediate_size\": 6912, " \
    "\"num_hidden_layers\": 26, \"query_pre_attn_scalar\": 256, \"sliding_window\": 512, " \
    "\"sliding_window_pattern\": 6, \"rope_theta\": 1000000.0, \"rope_local_base_freq\": 10000.0, " \
    "\"rms_norm_eps\": 1e-6, \"vocab_size\": 262144, \"max_position_embeddings\": 32768, " \
    "\"initializer_range\": 0.02, \"hidden_activation\": \"gelu_pytorch_tanh\"}"
#define SHAPE_GEMMA3_SMALL \
    "{\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\", \"hidden_size\": 96, " \
    "\"head_dim\": 256, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": 192, " \
    "\"num_hidden_layers\": 3, \"query_pre_attn_scalar\": 168, \"sliding_window\": 41, " \
    "\"sliding_window_pattern\": 3, \"rope_theta\": 1000000.0, \"rope_local_base_freq\": 10000.0, " \
    "\"rms_norm_eps\": 1e-6, \"vocab_size\": 512, \"max_position_embeddings\": 8192, " \
    "\"initializer_range\": 0.02, \"hidden_activation\": \"gelu_pytorch_tanh\"}"
#define SHAPE_HYBRID_BIG \
    "{\"architectures\": [\"MiniMaxM1ForCausalLM\"], \"model_type\": \"minimax_m1\", " \
    "\"attn_type_list\": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], \"hidden_size\": 1536, \"head_dim\": 128, " \
    "\"num_attention_heads\": 12, \"num_key_value_heads\": 4, \"intermediate_size\": 1536, " \
    "\"num_hidden_layers\": 16, \"num_local_experts\": 8, \"num_experts_per_tok\": 2, " \
    "\"rotary_dim\": 64, \"rope_theta\": 10000000, \"rms_norm_eps\": 1e-5, \"vocab_size\": 151936, " \
    "\"postnorm\": true, \"layernorm_full_attention_alpha\": 3.5565588200778455, " \
    "\"layernorm_full_attention_beta\": 1.0, \"layernorm_linear_attention_alpha\": 3.5565588200778455, " \
    "\"layernorm_linear_attention_beta\": 1.0, \"layernorm_mlp_alpha\": 3.5565588200778455, " \
    "\"layernorm_mlp_beta\": 1.0, \"tie_word_embeddings\": false, \"max_position_embeddings\": 131072, " \
    "\"initializer_range\": 0.02, \"hidden_act\": \"silu\"}"
// clang-format on

static inline void random_model_must(enum status status)
{
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "%s\n", status_last_error());
    exit(1);
}

static inline uint32_t random_bits(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15u;
    return (uint32_t)((x ^ (x >> 29)) >> 24);
}

/* The text of a config.json becomes a shape. */
static inline void random_model_shape(struct model_shape *shape, const char *config)
{
    char path[] = "/tmp/weir-shape-XXXXXX";
    int fd = mkstemp(path);
    ssize_t written = write(fd, config, strlen(config));
    close(fd);
    enum status status = written == (ssize_t)strlen(config)
                             ? model_shape_load(shape, path)
                             : FAIL(STATUS_IO, "%s: could not be written", path);
    remove(path);
    random_model_must(status);
}

enum { RANDOM_PATTERN = 4000037 };

/* Numbers up to `size`; 0: ones. The high bytes of an f32 are its bf16, rounded towards zero. */
static inline void random_model_pattern(const struct op_table *ops, char *pattern, float size)
{
    size_t item = (size_t)ops->weight_bytes;
    for (int64_t i = 0; i < RANDOM_PATTERN; i++) {
        uint32_t bits = random_bits((uint64_t)i + 1) & 0xffff;
        float value = size == 0.0F ? 1.0F : ((float)bits - 32767.5F) / 32768.0F * size;
        memcpy(pattern + (size_t)i * item, (char *)&value + sizeof value - item, item);
    }
}

/* `count` weights from element `offset`, in pieces of the pattern. */
static inline void random_model_write(struct model_weights *weights, const struct op_table *ops,
                                      const char *pattern, int64_t offset, int64_t count)
{
    int64_t item = ops->weight_bytes;
    for (int64_t at = 0; at < count; at += RANDOM_PATTERN) {
        int64_t part = count - at < RANDOM_PATTERN ? count - at : RANDOM_PATTERN;
        random_model_must(ops->memory_write(ops->context,
                                            (char *)weights->flat + (offset + at) * item, pattern,
                                            (size_t)(part * item)));
    }
}

static inline void random_model_fill(struct model *model, struct model_weights *weights,
                                     const struct op_table *ops)
{
    const struct parameter_table *table = model_parameters(model);
    int64_t item = ops->weight_bytes, count = model_weights_bytes(model) / item;
    char *pattern = memory_array(RANDOM_PATTERN, (size_t)item);
    if (!pattern)
        random_model_must(FAIL(STATUS_NO_MEMORY, "a pattern of weights"));
    random_model_pattern(ops, pattern, 0.05F);
    random_model_write(weights, ops, pattern, 0, count);
    random_model_pattern(ops, pattern, 0.05F / 512.0F);
    struct model_plane planes[MODEL_PLANES_MAX];
    for (int p = model_planes(model, planes) - 1; p >= 0; p--)
        random_model_write(weights, ops, pattern, planes[p].mid, planes[p].count);
    random_model_pattern(ops, pattern, 0.0F);
    for (int64_t r = 0; r < table->count; r++)
        if (table->rows[r].init == INIT_ONE)
            random_model_write(weights, ops, pattern, table->rows[r].offset, table->rows[r].count);
    memory_free(pattern);
    random_model_must(model_weights_repack(model, weights));
}

#endif
