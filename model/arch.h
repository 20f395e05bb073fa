/* model/arch.h - what one architecture is: a row of names and options over the shared forward pass.
 *
 * Each model/arch_<name>.c holds one `struct arch`: how its config.json is read into a model_shape and written back, and
 * what its tensors are called. The list of all is in arch.c. docs/new-architecture.md walks through adding one.
 *
 * The forward pass knows no architecture: it asks the shape for what it does (qk_norm, postnorm, experts, ...). What an
 * architecture has and the forward pass does not is refused by `read`, by key, so nobody learns it from wrong logprobs. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include "model/arch_config.h"
#include "model/shape.h"

/* Tensors without their ".weight" or ".bias"; those of a layer follow "<layers>.<index>.". NULL: it has none. Rows are
 * put in canonical order by parameters.c, which asks the shape which of them there are. */
struct arch_names {
    const char *embedding, *layers, *final_norm, *lm_head;
    const char *input_norm, *post_norm;                  /* in front of attention and of the MLP */
    const char *attention_branch_norm, *mlp_branch_norm; /* behind them (branch_norm) */
    const char *q, *k, *v, *o, *q_norm, *k_norm;         /* softmax attention */
    const char *lightning_qkv, *lightning_gate, *lightning_norm, *lightning_out;
    const char *gate, *up, *down;                      /* dense MLP */
    const char *router, *experts;                      /* experts: "<experts>.<index>." */
    const char *expert_gate, *expert_up, *expert_down; /* of one expert */
};

struct arch {
    enum model_arch id;
    const char *model_type;   /* config.json "model_type" */
    const char *architecture; /* and its "architectures"[0] */
    const struct arch_names *names;
    bool head_size_needed; /* head_dim has no sound default */
    double rope_theta;     /* of files without one; 0: they must have it */
    /* Config keys that only this architecture reads or may ignore, NULL at the end; the common ones are in shape.c. A
     * key on neither list is logged: it may ask for something that is not done. */
    const char *const *keys;
    /* Ends of tensor names that other programs save although they follow from config.json; NULL at the end, or NULL. */
    const char *const *buffers;
    /* After the sizes that all share were read: the rest of the shape, and refusals. */
    enum status (*read)(const struct arch_config *config, struct model_shape *shape);
    /* After what all share was written: the rest of config.json. */
    void (*write)(const struct model_shape *shape, json_t *root);
};

const struct arch *arch_of(enum model_arch id);
/* NULL: not known. Some have an older name besides their own. */
const struct arch *arch_find(const char *model_type);
/* "minimax_m1, minimax, ...": for a sentence. */
const char *arch_list(void);

/* One for each file. */
extern const struct arch arch_minimax_m1, arch_minimax_text_01, arch_minimax_native;
extern const struct arch arch_qwen2, arch_qwen3, arch_llama, arch_gemma3;
extern const struct arch arch_qwen3_moe, arch_mixtral, arch_mistral;
/* The names that Llama began and most kept; those with experts add theirs. */
#define ARCH_NAMES_LLAMA                                                                       \
    .embedding = "model.embed_tokens", .layers = "model.layers", .final_norm = "model.norm",   \
    .lm_head = "lm_head", .input_norm = "input_layernorm",                                     \
    .post_norm = "post_attention_layernorm", .q = "self_attn.q_proj", .k = "self_attn.k_proj", \
    .v = "self_attn.v_proj", .o = "self_attn.o_proj", .q_norm = "self_attn.q_norm",            \
    .k_norm = "self_attn.k_norm", .gate = "mlp.gate_proj", .up = "mlp.up_proj",                \
    .down = "mlp.down_proj"
extern const struct arch_names arch_names_llama;

/* ---- arch_common.c: pieces that several read and write the same way ---- */
/* Only `name` is taken under `key`; absent means it. */
MUST_CHECK enum status arch_read_activation(const struct arch_config *config, const char *key,
                                            const char *name);
/* layer_types: full_attention, linear_attention when hybrid, sliding_attention when the shape has a window; a hybrid
 * must have the list, others keep what layer_sliding says without one. */
MUST_CHECK enum status arch_read_layer_types(const struct arch_config *config, bool hybrid,
                                             struct model_shape *shape);
/* sliding_window for all layers, null or absent for none (Mistral). */
MUST_CHECK enum status arch_read_one_window(const struct arch_config *config,
                                            struct model_shape *shape);
/* use_sliding_window and sliding_window, for layers from max_window_layers on or as layer_types says (Qwen). */
MUST_CHECK enum status arch_read_upper_window(const struct arch_config *config,
                                              struct model_shape *shape);
/* num_experts_per_tok of `count_key` experts, router_aux_loss_coef; jitter is refused. */
MUST_CHECK enum status arch_read_experts(const struct arch_config *config, const char *count_key,
                                         struct model_shape *shape);
/* attention_bias: of q, k, v and o. */
MUST_CHECK enum status arch_read_attention_bias(const struct arch_config *config,
                                                struct model_shape *shape);
/* A prenorm transformer whose softmax layers rotate the whole head. */
void arch_set_prenorm(struct model_shape *shape);
void arch_write_one_window(const struct model_shape *shape, json_t *root);
void arch_write_upper_window(const struct model_shape *shape, json_t *root);
void arch_write_layer_types(const struct model_shape *shape, json_t *root);
void arch_write_experts(const struct model_shape *shape, const char *count_key, json_t *root);

/* ---- arch_rope.c: the base and its scaling ---- */
MUST_CHECK enum status arch_read_rope(const struct arch_config *config, struct model_shape *shape);
void arch_write_rope(const struct model_shape *shape, json_t *root);

#endif
