/* model/internal.h - what the files of the forward and backward pass share: struct model, its buffers,
 * and how an op is called. Nothing outside model.c, workspace.c, cache.c, forward.c, head.c and
 * backward.c includes it.
 *
 * All tensors live in memory of the op table's device. A pointer to `act` has no element type, so
 * places inside a tensor are found with act_at and weight_at. */
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include <math.h>
#include <stddef.h>

#include "model/model.h"

/* RUN(model, axpby, .count = n, ...): one op, failures passed up. */
#define RUN(model, op, ...) \
    TRY((model)->ops->op((model)->ops->context, &(struct op_##op){__VA_ARGS__}))

/* The weights that a GEMM reads, each packed once per version. */
enum block_name {
    BLOCK_QKV,
    BLOCK_OUTPUT_GATE,
    BLOCK_ATTENTION_OUT,
    BLOCK_ROUTER,
    BLOCK_GATE_UP,
    BLOCK_DOWN,
    BLOCK_COUNT
};
struct gemm_block {
    int64_t offset; /* of W [experts, N, K] in the flat layout; -1 absent */
    int64_t bias;   /* of b [N]; -1 none */
    int64_t experts, n, k;
    size_t packed; /* bytes from the start of model_weights.packed */
    int64_t mid;   /* of its second plane in the flat layout; -1 none */
};

/* What one layer leaves behind for the backward pass; rows T, entries T J, W = (H + 2G) D or 3 H D.
 * Without the train option all layers share one record. */
struct layer_record {
    act *x;         /* [T, C] input */
    float *r_input; /* [T] of the input norm */
    act *qkv;       /* [T, W] after the GEMM (and bias), before norm, RoPE or SiLU when saving */
    act *attention; /* [T, H D] softmax attention, or lightning before its norm */
    float *lse;     /* [T, H] softmax */
    float *r_attention;    /* [T] lightning */
    act *gate;             /* [T, H D] lightning output gate before the sigmoid */
    act *h;                /* [T, C] after the attention residual */
    float *r_post;         /* [T] */
    act *gate_up;          /* dense [T, 2F], MoE [T J, 2F] in sorted rows */
    act *attention_branch; /* [T, C] what the norms behind attention and MLP read (branch_norm) */
    act *mlp_branch;       /* [T, C] */
    float *r_attention_branch, *r_mlp_branch; /* [T] */
    act *down;                                /* MoE [T J, C] */
    float *probability;                       /* [T, E] */
    int32_t *expert;                          /* [T, J] */
    float *weight;                            /* [T, J] */
    int32_t *entry;                           /* [T J] */
    int32_t *sorted;                          /* [T J] */
    int32_t *expert_offset;                   /* [E + 1] */
};

/* Buffers that live inside one stage of one layer. The four stages lie over each other. */
struct softmax_scratch {
    act *qkv;         /* [T, W] after norm and RoPE, when the raw one is kept */
    act *dqkv;        /* [T, W] */
    act *dattention;  /* [T, H D] */
    float *r_q, *r_k; /* [T, H], [T, G] of the q and k norms */
};
struct lightning_scratch {
    act *qkv;    /* [T, W] after SiLU, when the raw one is kept */
    act *normed; /* [T, H D] */
    act *gated;  /* [T, H D] */
    act *dqkv;   /* [T, W] */
    act *dgated; /* [T, H D] */
    act *dgate;  /* [T, H D] */
};
struct dense_scratch {
    act *product;  /* [T, F] SwiGLU */
    act *dproduct; /* [T, F] */
    act *dgate_up; /* [T, 2F] */
};
struct moe_scratch {
    float *logits;  /* [T, E] */
    act *gathered;  /* [T J, C] */
    act *product;   /* [T J, F] */
    act *dproduct;  /* [T J, F] */
    act *dgate_up;  /* [T J, 2F] */
    act *dgathered; /* [T J, C] */
    act *ddown;     /* [T J, C] */
    float *dweight; /* [T, J] */
    act *dlogits;   /* [T, E] */
};

/* One block of device memory made at create, cut up by workspace_layout. */
struct workspace {
    void *memory;
    size_t bytes;

    /* What a call sends to the device lies together (one write): places by its number of rows. */
    char *inputs;                /* ids, positions, segments */
    int32_t *ids, *positions;    /* [T] */
    struct op_segment *segments; /* [T] */
    act *normed;                 /* [T, C] input of the branch: n or u */
    act *branch;                 /* [T, C] its output: y or m */
    act *last;                   /* [T, C] output of the last layer */
    float *r_final;              /* [T] */
    act *hidden;                 /* [T, C] after the final norm */

    int32_t *row_index;                       /* [T] of the head */
    act *head_x;                              /* [T, C] chosen rows of hidden */
    int32_t *target;                          /* [T] */
    float *lse, *lse_raw, *logprob, *entropy; /* [T] */
    struct op_sample_row *sample_row;         /* [T] */
    struct sampled {                          /* what comes back, one read: places by its rows */
        char *memory;
        int32_t *token;                     /* [T] */
        float *logprob, *logprob_truncated; /* [T] */
        uint8_t *confident;                 /* [T] */
    } sampled;

    float *dlogprob;     /* [T] */
    float *dentropy;     /* [T] */
    int32_t *scatter;    /* [T] chosen row of each row, or the row of zeros */
    act *dhead;          /* [T + 1, C] the last row stays zero */
    act *dx, *dh, *dn;   /* [T, C] */
    act *dbranch;        /* [T, C] */
    float *aux_gradient; /* [E] */

    struct softmax_scratch softmax;
    struct lightning_scratch lightning;
    struct dense_scratch dense;
    struct moe_scratch moe;
};

struct model {
    struct model_shape shape;
    const struct op_table *ops; /* borrowed */
    struct model_options options;
    struct parameter_table parameters;
    struct gemm_block (*blocks)[BLOCK_COUNT]; /* [L], owned */
    struct gemm_block head;
    size_t packed_bytes;
    int64_t
        flat_elements; /* of a weight set: parameters, then second planes; bytes a multiple of 64 */
    struct layer_record *records; /* [L], owned */
    struct workspace work;
    float *slopes; /* device [L, H] */
    struct rope_table {
        float *cosine, *sine; /* device [rope_rows, R/2] */
    } rope[2];                /* of all layers, or of full ones and of sliding ones */
    int64_t rope_rows;
    float embedding_scale; /* 0: none */
    float *logits;         /* device [logits_rows, V], made on first use */
    int32_t logits_rows;
    float *const *trace;    /* borrowed host buffers [L + 2][rows, C], or NULL */
    int32_t *const *forced; /* borrowed host [L][rows, J], or NULL */
    double forced_gap;
    char *staging;                /* host, for what one write sends or one read brings */
    struct decode_graphs *graphs; /* decode.c, made on first use */

    int32_t rows; /* of the last forward call */
    int32_t segment_count;
    bool saved;                      /* its activations are there for model_backward */
    struct model_cache *saved_cache; /* of that call: recompute runs its layers again */
    int32_t head_rows;               /* of the last head call after it; 0 none */
    float head_temperature;
    bool head_gathered; /* head_x holds its rows, else hidden itself */
};

struct model_cache {
    struct model *model; /* borrowed */
    int32_t slots, pages, positions_max, pages_per_slot;
    int32_t *table; /* host [slots, pages_per_slot] */
    int32_t *table_device;
    bool table_changed;
    int32_t *references; /* [pages] slots that hold a page */
    int32_t *free_pages; /* [pages] stack */
    int32_t free_count;
    int32_t *length;    /* [slots] tokens held, -1 closed */
    int32_t *capacity;  /* [slots] tokens there is room for */
    void **layer_pages; /* [L] device, softmax layers */
    void **layer_state; /* [L] device [slots] lightning states */
    act **layer_keys;   /* [L] device [slots, H, chunk, D] */
    act **layer_values; /* [L] */
    uint8_t *named;     /* [slots] seen in the batch being checked */
};

static inline act *act_at(const struct model *model, const act *tensor, int64_t element)
{
    return (char *)tensor + element * model->ops->act_bytes;
}

static inline const weight_t *weight_at(const struct model *model,
                                        const struct model_weights *weights, int64_t element)
{
    return (const char *)weights->flat + element * model->ops->weight_bytes;
}

static inline bool is_lightning(const struct model_shape *shape, int32_t layer)
{
    return shape->layer_kind[layer] == LAYER_LIGHTNING;
}

/* Keys that a row of a layer sees; 0: all. */
static inline int32_t layer_window(const struct model_shape *shape, int32_t layer)
{
    return shape->layer_sliding[layer] ? shape->window : 0;
}

/* Sliding layers have angles of their own where there is a second base. */
static inline const struct rope_table *rope_of(const struct model *model, int32_t layer)
{
    bool second = model->shape.layer_sliding[layer] && model->shape.rope_theta_sliding > 0;
    return &model->rope[second ? 1 : 0];
}

/* What scores are multiplied by; 0: 1 / sqrt(D). */
static inline float attention_scale(const struct model_shape *shape)
{
    return shape->query_scalar > 0 ? (float)(1 / sqrt(shape->query_scalar)) : 0;
}

static inline enum glu_gate mlp_gate(const struct model_shape *shape)
{
    return shape->gelu ? GLU_GELU_TANH : GLU_SILU;
}

/* Width of the fused q, k, v rows of a layer: 3 H D or (H + 2G) D. */
static inline int64_t qkv_width(const struct model_shape *shape, int32_t layer)
{
    int64_t heads = is_lightning(shape, layer) ? 3 * (int64_t)shape->heads
                                               : shape->heads + 2 * (int64_t)shape->kv_heads;
    return heads * shape->head_size;
}

/* ---- workspace.c ---- */
/* Places all buffers of model->work and model->records in `memory` (NULL: only counts) and returns
 * the bytes needed. */
size_t workspace_layout(struct model *model, void *memory);

/* ---- cache.c ---- */
/* Refuses a batch that does not fit the cache; sends a changed page table to the device. */
MUST_CHECK enum status cache_begin(struct model_cache *cache, const struct model_batch *batch);
/* The slots now hold the batch's tokens. */
void cache_end(struct model_cache *cache, const struct model_batch *batch);

/* ---- routing.c ---- */
/* Replaces the routing in the record by the forced one where the experts differ. */
MUST_CHECK enum status force_routing(struct model *model, int32_t layer, int64_t rows);

/* ---- decode.c ---- */
/* Graphs hold addresses: they go when a table they read moves, and with the model. */
void decode_graphs_destroy(struct model *model);

/* ---- head.c ---- */
/* Logits of the sampled rows and their samples: the device part of model_sample. x [rows, C]. */
/* Rows of one call share a temperature. */
MUST_CHECK enum status check_sample(const struct model_sample *sample);
MUST_CHECK enum status head_need_logits(struct model *model);
MUST_CHECK enum status head_sample(struct model *model, const struct model_weights *weights,
                                   const act *x, const struct model_sample *sample, int32_t rows);
MUST_CHECK enum status head_send_rows(struct model *model, const struct model_sample *sample,
                                      int32_t rows);
MUST_CHECK enum status head_read_samples(struct model *model, const struct model_sample *sample,
                                         int32_t rows);

/* ---- rope.c ---- */
/* Makes the RoPE tables cover positions [0, positions). */
MUST_CHECK enum status model_rope_grow(struct model *model, int64_t positions,
                                       int64_t positions_max);
void model_rope_destroy(struct model *model);

/* ---- model.c ---- */
/* Parameters, blocks, and the sizes of a weight set, from shape, ops and lm_head. */
MUST_CHECK enum status model_place_weights(struct model *model);
MUST_CHECK enum status device_write(const struct model *model, void *memory, const void *host,
                                    size_t bytes);
MUST_CHECK enum status device_read(const struct model *model, const void *memory, void *host,
                                   size_t bytes);
/* y = x W^T + b of a block; expert_offset for the grouped ones, else NULL. */
MUST_CHECK enum status gemm_forward(const struct model *model, const struct model_weights *weights,
                                    const struct gemm_block *block, int64_t rows,
                                    const int32_t *expert_offset, const act *x, act *y);
/* The same with f32 results: router logits. */
MUST_CHECK enum status gemm_forward_float(const struct model *model,
                                          const struct model_weights *weights,
                                          const struct gemm_block *block, int64_t rows,
                                          const act *x, float *y);
const void *packed_at(const struct model *model, const struct model_weights *weights,
                      const struct gemm_block *block);
const weight_t *mid_at(const struct model *model, const struct model_weights *weights,
                       const struct gemm_block *block);
struct gemm_gradient {
    int64_t rows;
    const int32_t *expert_offset;
    bool accumulate; /* into dx */
    const act *x, *dy;
    act *dx;
};
/* dx (+)= dy W, dW += dy^T x, db += sum of dy. */
MUST_CHECK enum status gemm_backward(const struct model *model, const struct model_weights *weights,
                                     const struct gemm_block *block,
                                     const struct gemm_gradient *gradient, float *grads);

/* ---- forward.c, also used by the backward pass to compute cheap things again ---- */
MUST_CHECK enum status run_norm(const struct model *model, const struct model_weights *weights,
                                int64_t rows, int64_t channels, double eps, int64_t gain,
                                const act *x, act *y, float *r);
/* Raw q, k, v of [T, W] rows to what attention reads (y may be x): per-head norm where the model has one, RoPE,
 * and with a cache the keys and values go to its pages. */
MUST_CHECK enum status prepare_qkv(const struct model *model, const struct model_weights *weights,
                                   const struct model_cache *cache, int32_t layer, const act *x,
                                   act *y, float *r_q, float *r_k);
MUST_CHECK enum status check_batch(const struct model *model, const struct model_batch *batch);
/* ids, positions and segments of a batch to the device, padded to `rows` with rows of no slot. */
MUST_CHECK enum status send_batch(struct model *model, const struct model_batch *batch,
                                  int32_t rows);
/* All layers on rows that were sent; hidden in work->hidden. */
MUST_CHECK enum status forward_sent(struct model *model, const struct model_weights *weights,
                                    struct model_cache *cache, int32_t rows, int32_t segment_count,
                                    bool save);
/* Layer `layer` of the saved call once more, from its input, into its record. */
MUST_CHECK enum status forward_again(struct model *model, const struct model_weights *weights,
                                     int32_t layer);

#endif
