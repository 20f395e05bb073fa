/* model/parameters.h - the one table of parameters of a model.
 *
 * Rows are Hugging Face tensors in canonical order. Their place in the flat layout decides everything
 * else: loading, saving, optimizer state, checkpoints, digest, broadcast. Tensors that one GEMM reads
 * together are neighbours without padding (q,k,v; gate,up; the w1,w3 pairs of experts 0..E-1; their
 * w2), each such block starts on a multiple of 16 elements. The tied LM head has no row.
 *
 *   layer block "qkv"     softmax: [q; k; v] rows of [(H + 2G) D, C] (+ bias block); lightning: qkv_proj
 *   layer block "gate_up" dense [2F, C]: gate rows then up rows; MoE [E, 2F, C]
 *   layer block "down"    dense [C, F]; MoE [E, C, F]
 */
#ifndef MODEL_PARAMETERS_H
#define MODEL_PARAMETERS_H

#include <stdint.h>

#include "model/shape.h"

enum parameter_init { INIT_NORMAL, INIT_ONE, INIT_ZERO };
enum parameter_storage {
    STORAGE_MODEL,
    STORAGE_F32
}; /* dtype in a saved bf16 folder: router gates stay F32 */

enum { PARAMETER_NAME_MAX = 96 };

struct parameter {
    char name[PARAMETER_NAME_MAX]; /* Hugging Face tensor name */
    int32_t layer;                 /* -1 outside the layers */
    int32_t dims;
    int64_t shape[3];
    int64_t count;  /* elements */
    int64_t offset; /* first element in the flat layout */
    enum parameter_init init;
    enum parameter_storage storage;
};

/* Offsets of the blocks of a layer in the flat layout; -1 = absent. */
struct layer_offsets {
    int64_t input_norm, qkv, qkv_bias, q_norm, k_norm, output_gate,
        attention_norm /* lightning, 1e-6 */, attention_branch_norm,
        mlp_branch_norm /* with branch_norm */, attention_out, output_bias, post_norm, router,
        gate_up, gate_up_bias, down, down_bias;
};

struct parameter_table {
    struct parameter *rows; /* [count], owned */
    int64_t count;
    int64_t elements; /* of the flat layout, paddings included, multiple of 16 */
    int64_t embedding, final_norm, lm_head; /* lm_head == embedding when tied */
    struct layer_offsets *layers;           /* [L], owned */
    uint64_t layout_hash; /* of names, shapes, offsets: learner and actors must agree */
};

MUST_CHECK enum status parameter_table_create(struct parameter_table *table,
                                              const struct model_shape *shape);
void parameter_table_destroy(struct parameter_table *table);
/* INIT_NORMAL: N(0, initializer_range) from Philox (seed, row index). flat [elements]. */
void parameter_table_init(const struct parameter_table *table, const struct model_shape *shape,
                          uint64_t seed, float *flat);

#endif
