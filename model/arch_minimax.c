/* model/arch_minimax.c - MiniMax-M1 and Text-01 under MiniMaxAI's names, and native `minimax` of transformers.
 *
 * The same network three times: hybrid of lightning and softmax attention, postnorm with scaled residuals, experts in
 * every layer (M1-SPEC part 1). Native code rotates whole heads, has a last layer of its decay ladder that is 1e-5
 * further away, and saves its decay tables. */
#include "model/arch.h"

#include <math.h>
#include <stddef.h>

#include "core/check.h"

struct scale_key {
    const char *m1, *native;
    size_t offset;
};

static const struct scale_key scale_keys[] = {
#define SCALE(m1, native, field)                        \
    {                                                   \
        m1, native, offsetof(struct model_shape, field) \
    }
    SCALE("layernorm_linear_attention_alpha", "linear_attn_alpha_factor", alpha_lightning),
    SCALE("layernorm_linear_attention_beta", "linear_attn_beta_factor", beta_lightning),
    SCALE("layernorm_full_attention_alpha", "full_attn_alpha_factor", alpha_softmax),
    SCALE("layernorm_full_attention_beta", "full_attn_beta_factor", beta_softmax),
    SCALE("layernorm_mlp_alpha", "mlp_alpha_factor", alpha_mlp),
    SCALE("layernorm_mlp_beta", "mlp_beta_factor", beta_mlp),
#undef SCALE
};
enum { SCALE_KEYS = sizeof scale_keys / sizeof scale_keys[0] };

/* block_size is a chunk of lightning attention; ours is a setting, and the result does not depend on it. */
static const char *const keys_m1[] = {"rotary_dim",
                                      "attn_type_list",
                                      "num_local_experts",
                                      "num_experts_per_tok",
                                      "shared_intermediate_size",
                                      "shared_moe_mode",
                                      "layernorm_linear_attention_alpha",
                                      "layernorm_linear_attention_beta",
                                      "layernorm_full_attention_alpha",
                                      "layernorm_full_attention_beta",
                                      "layernorm_mlp_alpha",
                                      "layernorm_mlp_beta",
                                      "postnorm",
                                      "router_aux_loss_coef",
                                      "router_jitter_noise",
                                      "output_router_logits",
                                      "block_size",
                                      NULL};
static const char *const keys_native[] = {"rotary_dim",
                                          "layer_types",
                                          "num_local_experts",
                                          "num_experts_per_tok",
                                          "shared_intermediate_size",
                                          "linear_attn_alpha_factor",
                                          "linear_attn_beta_factor",
                                          "full_attn_alpha_factor",
                                          "full_attn_beta_factor",
                                          "mlp_alpha_factor",
                                          "mlp_beta_factor",
                                          "router_aux_loss_coef",
                                          "router_jitter_noise",
                                          "output_router_logits",
                                          "block_size",
                                          NULL};
static const char *const buffers_native[] = {".self_attn.slope_rate", ".self_attn.query_decay",
                                             ".self_attn.key_decay", ".self_attn.diagonal_decay",
                                             NULL};

static const struct arch_names names = {
    .embedding = "model.embed_tokens",
    .layers = "model.layers",
    .final_norm = "model.norm",
    .lm_head = "lm_head",
    .input_norm = "input_layernorm",
    .post_norm = "post_attention_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .lightning_qkv = "self_attn.qkv_proj",
    .lightning_gate = "self_attn.output_gate",
    .lightning_norm = "self_attn.norm",
    .lightning_out = "self_attn.out_proj",
    .router = "block_sparse_moe.gate",
    .experts = "block_sparse_moe.experts",
    .expert_gate = "w1",
    .expert_up = "w3",
    .expert_down = "w2",
};

static enum status read_attn_type_list(const struct arch_config *config, struct model_shape *shape)
{
    const json_t *list = config_get(config, "attn_type_list");
    if (!json_is_array(list) || json_array_size(list) != (size_t)shape->layers)
        return config_fail_value(config, "attn_type_list",
                                 "a list of num_hidden_layers numbers, 0 lightning, 1 softmax");
    for (int32_t i = 0; i < shape->layers; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) > 1)
            return config_fail_value(config, "attn_type_list",
                                     "only 0 (lightning) and 1 (softmax)");
        shape->layer_kind[i] = json_integer_value(item) ? LAYER_SOFTMAX : LAYER_LIGHTNING;
    }
    return STATUS_OK;
}

static enum status read_both(const struct arch_config *config, bool m1, struct model_shape *shape)
{
    for (int i = 0; i < SCALE_KEYS; i++)
        TRY(config_real(config, m1 ? scale_keys[i].m1 : scale_keys[i].native, REQUIRED, -1e6, 1e6,
                        (double *)((char *)shape + scale_keys[i].offset)));
    shape->postnorm = true;
    TRY(arch_read_activation(config, "hidden_act", "silu"));
    TRY(arch_read_experts(config, "num_local_experts", shape));
    TRY(arch_read_rope(config, shape));
    if (shape->rope_scaling.kind != ROPE_DEFAULT)
        return config_fail_feature(
            config, config_get(config, "rope_parameters") ? "rope_parameters" : "rope_scaling",
            "MiniMax models are not scaled; raise rope_theta");
    TRY(config_refuse_other(config, "shared_intermediate_size", 0.0,
                            "there are no shared experts"));
    TRY(config_refuse_other(config, "sliding_window", 0.0, "set it to null"));
    shape->lightning_norm_eps = 1e-6; /* M1-SPEC trap T4 */
    shape->lightning_layer_epsilon = m1 ? 0.0 : 1e-5;
    return STATUS_OK;
}

static enum status read_m1(const struct arch_config *config, struct model_shape *shape)
{
    bool postnorm = true;
    TRY(config_bool(config, "postnorm", &postnorm));
    if (!postnorm)
        return config_fail_feature(config, "postnorm", "MiniMax layers need it to be true");
    TRY(read_attn_type_list(config, shape));
    shape->rotary = shape->head_size;
    TRY(config_i32(config, "rotary_dim", OPTIONAL, 2, shape->head_size, &shape->rotary));
    return read_both(config, true, shape);
}

/* Native code rotates the whole head (M1-SPEC trap T1). */
static enum status read_native(const struct arch_config *config, struct model_shape *shape)
{
    TRY(arch_read_layer_types(config, true, shape));
    TRY(config_refuse_other(config, "rotary_dim", shape->head_size,
                            "native minimax rotates the whole head; use model_type minimax_m1"));
    shape->rotary = shape->head_size;
    return read_both(config, false, shape);
}

static void write_both(const struct model_shape *shape, bool m1, json_t *root)
{
    for (int i = 0; i < SCALE_KEYS; i++)
        json_object_set_new(
            root, m1 ? scale_keys[i].m1 : scale_keys[i].native,
            json_real(*(const double *)((const char *)shape + scale_keys[i].offset)));
    arch_write_experts(shape, "num_local_experts", root);
    json_object_set_new(root, "router_jitter_noise", json_real(0.0));
}

static void write_m1(const struct model_shape *shape, json_t *root)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < shape->layers; i++)
        json_array_append_new(list, json_integer(shape->layer_kind[i] == LAYER_SOFTMAX));
    json_object_set_new(root, "attn_type_list", list);
    json_object_set_new(root, "rope_theta", json_real(shape->rope_theta));
    json_object_set_new(root, "rotary_dim", json_integer(shape->rotary));
    json_object_set_new(root, "postnorm", json_true());
    json_object_set_new(root, "shared_intermediate_size", json_integer(0));
    write_both(shape, true, root);
}

static void write_native(const struct model_shape *shape, json_t *root)
{
    arch_write_layer_types(shape, root);
    arch_write_rope(shape, root);
    write_both(shape, false, root);
}

const struct arch arch_minimax_m1 = {
    .id = ARCH_MINIMAX_M1,
    .model_type = "minimax_m1",
    .architecture = "MiniMaxM1ForCausalLM",
    .names = &names,
    .keys = keys_m1,
    .read = read_m1,
    .write = write_m1,
};

/* The same network under an older name; it is written back as M1. */
const struct arch arch_minimax_text_01 = {
    .id = ARCH_MINIMAX_M1,
    .model_type = "minimax_text_01",
    .architecture = "MiniMaxText01ForCausalLM",
    .names = &names,
    .keys = keys_m1,
    .read = read_m1,
    .write = write_m1,
};

const struct arch arch_minimax_native = {
    .id = ARCH_MINIMAX_NATIVE,
    .model_type = "minimax",
    .architecture = "MiniMaxForCausalLM",
    .names = &names,
    .keys = keys_native,
    .buffers = buffers_native,
    .read = read_native,
    .write = write_native,
};

/* ---- lightning decay (M1-SPEC 1.4) ---- */

/* Head h of the ladder 2^(-8 (h + 1) / count). */
static double ladder(int32_t count, int32_t h)
{
    return exp2(-8.0 * (h + 1) / count);
}

/* A head count that is no power of two takes the ladder of the next lower power p, then every other
 * slope of the ladder of 2p. Native minimax code has the plain ladder for every count. */
static double slope(const struct model_shape *shape, int32_t h)
{
    if (shape->arch == ARCH_MINIMAX_NATIVE)
        return ladder(shape->heads, h);
    int32_t power = 1;
    while (power * 2 <= shape->heads)
        power *= 2;
    return h < power ? ladder(power, h) : ladder(2 * power, 2 * (h - power));
}

void model_lightning_slopes(const struct model_shape *shape, int32_t layer, float *slopes)
{
    CHECK(layer >= 0 && layer < shape->layers);
    double last = shape->layers - 1 + shape->lightning_layer_epsilon;
    double factor = (layer == 0 ? 1.0 : 1.0 - layer / last) + 1e-5;
    for (int32_t h = 0; h < shape->heads; h++)
        slopes[h] = (float)(slope(shape, h) * factor);
}
