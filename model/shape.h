/* model/shape.h - what a config.json says, in our terms.
 *
 * One struct for all architectures; each is a file model/arch_<name>.c (arch.h). Unknown model_type, missing or
 * contradictory keys and unsupported features (sliding window in use, dynamic rope scaling, shared experts, other
 * activations) are STATUS_INVALID or STATUS_UNSUPPORTED with file, key and value. Keys we ignore on purpose are listed
 * in shape.c and in the file of the architecture. */
#ifndef MODEL_SHAPE_H
#define MODEL_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum model_arch {
    ARCH_MINIMAX_M1,
    ARCH_MINIMAX_NATIVE,
    ARCH_QWEN2,
    ARCH_QWEN3,
    ARCH_LLAMA,
    ARCH_GEMMA3,
    ARCH_QWEN3_MOE,
    ARCH_MIXTRAL,
    ARCH_MISTRAL,
    ARCH_COUNT
};
/* How RoPE is stretched beyond the length of pre-training: frequencies, in arch_rope.c. */
enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN };
struct rope_scaling { /* all zero: none */
    enum rope_kind kind;
    bool whole_bounds;                    /* yarn: bounds of the ramp are rounded to whole pairs */
    double factor;                        /* >= 1 */
    double original_positions;            /* llama3, yarn: length of pre-training */
    double low_frequency, high_frequency; /* llama3 */
    double beta_fast, beta_slow;          /* yarn */
    double attention_factor, mscale, mscale_all; /* yarn; 0: absent */
};
enum layer_kind { LAYER_LIGHTNING, LAYER_SOFTMAX };
enum { MODEL_LAYERS_MAX = 256, MODEL_EOS_MAX = 16 };

struct model_shape {
    enum model_arch arch;
    int32_t vocabulary;         /* V */
    int32_t hidden;             /* C */
    int32_t intermediate;       /* F, of the MLP or of one expert */
    int32_t layers;             /* L */
    int32_t heads;              /* H, both layer kinds */
    int32_t kv_heads;           /* G, softmax layers */
    int32_t head_size;          /* D; H D need not be C */
    int32_t rotary;             /* R <= D, first dims of each head (softmax layers only) */
    int32_t dense_intermediate; /* F of the layers without experts, in a model with them */
    int32_t experts;            /* E, 0 = dense MLP */
    int32_t experts_per_token;  /* J */
    bool postnorm;              /* residual from the normalised input (M1-SPEC 1.3) */
    bool qkv_bias;              /* Qwen2; Llama-likes with attention_bias */
    bool output_bias;           /* of o_proj: attention_bias */
    bool mlp_bias;              /* of a dense MLP */
    bool qk_norm;               /* Qwen3 */
    bool router_raw;            /* weights of chosen experts are not divided by their sum */
    bool tied;                  /* lm_head is the embedding */
    bool norm_one_plus;         /* norms multiply by 1 + weight (Gemma) */
    bool branch_norm;           /* a norm on what a branch gives to the residual, too (Gemma) */
    bool gelu;                  /* the gate of the MLP is GELU (tanh form), not SiLU */
    bool scaled_embedding;      /* by sqrt(C), rounded to storage (Gemma) */
    double query_scalar;        /* scores are divided by its root; 0: D */
    int32_t window; /* keys that a sliding layer sees, its own included; 0: no such layers */
    double rope_theta_sliding; /* of sliding layers, never scaled; 0: as the others */
    double rope_theta;
    struct rope_scaling rope_scaling;
    double rms_norm_eps;
    double lightning_norm_eps; /* 1e-6: M1-SPEC trap T4; not read from config.json */
    double
        lightning_layer_epsilon; /* 0: f_l = 1 - l/(L-1) + 1e-5 (M1); 1e-5: native's L-1+1e-5 (M1-SPEC 1.4) */
    double alpha_lightning, beta_lightning, alpha_softmax, beta_softmax, alpha_mlp,
        beta_mlp; /* 1 without postnorm */
    double aux_coefficient;
    double initializer_range;
    int64_t positions_max;
    int32_t bos_id;                 /* -1 none */
    int32_t eos_ids[MODEL_EOS_MAX]; /* from generation_config.json when there, else config.json */
    int32_t eos_count;
    uint8_t layer_kind[MODEL_LAYERS_MAX];    /* enum layer_kind */
    uint8_t layer_sliding[MODEL_LAYERS_MAX]; /* 1: attention through the window */
    uint8_t layer_dense[MODEL_LAYERS_MAX];   /* 1: a dense MLP in a model with experts */
};

static inline bool shape_has_experts(const struct model_shape *shape, int32_t layer)
{
    return shape->experts > 0 && !shape->layer_dense[layer];
}

/* F of the layer's MLP, or of one of its experts. */
static inline int32_t shape_mlp_width(const struct model_shape *shape, int32_t layer)
{
    return shape->experts > 0 && shape->layer_dense[layer] ? shape->dense_intermediate
                                                           : shape->intermediate;
}

MUST_CHECK enum status model_shape_load(struct model_shape *shape, const char *config_path);
/* The config.json that goes into a written folder: the keys of the architecture it came from. */
MUST_CHECK enum status model_shape_json(const struct model_shape *shape, struct buffer *json);
const char *model_arch_name(enum model_arch arch); /* "MiniMaxM1ForCausalLM" */
/* Decay slopes of layer `layer` (global index), M1-SPEC 1.4, f64 rounded once to f32. slopes [H]. */
void model_lightning_slopes(const struct model_shape *shape, int32_t layer, float *slopes);
/* Radians per position of pair `pair` of rotary / 2, and the factor on rotated vectors (their cosines and sines). */
double model_rope_frequency(const struct rope_scaling *scaling, double theta, int32_t rotary,
                            int32_t pair);
double model_rope_length(const struct rope_scaling *scaling);
/* Positions that the model is good for: those of config.json, or what yarn stretches the original ones to. */
int64_t model_positions(const struct model_shape *shape);

#endif
