/* model/flops.h - arithmetic and memory traffic of a model, from its shape alone.
 *
 * A multiply and the add behind it are 2 FLOP. Counted are products: linear layers, attention scores and their sums,
 * lightning states, the LM head. Not counted: norms, activations, softmax and other work that grows with C or D alone
 * (below 1 % of the products of any model of 100 million parameters), and the embedding, which is a copy.
 *
 * For one token at position t (counted from 1: it sees t tokens, its own included), chunk c of lightning attention:
 *
 *   linear, softmax layer      2 C (H + 2 G) D + 2 H D C                 shapes: M1-SPEC 1.2, 2.1
 *   linear, lightning layer    2 C 3 H D + 2 C H D (output gate) + 2 H D C    M1-SPEC 1.3
 *   MLP                        6 C F dense; 2 C E + J 6 C F with experts      M1-SPEC 1.6
 *   softmax attention          4 H D t: q k and p v, 2 D each a head and key (Vaswani et al. 2017 eq. 1), causal; min(t, window)
 *                              keys in a sliding layer
 *   lightning attention        4 H D^2 + 2 H D (c + 1): q S and the state's k^T v are 2 D^2 each a head; inside a
 *                              chunk q k and p v with (c + 1) / 2 keys on average (arXiv:2405.17381 eq. 8 to 10)
 *   head                       2 C V
 *
 * The backward pass has two products for each one of forward: the gradient of either operand (dX = dY W and dW =
 * dY^T X; dP, dV, dQ, dK; for lightning M1-SPEC 1.8, 4 and 4 for 2 and 2). So it is twice forward, and training three
 * times (the 6 N of Kaplan et al., arXiv:2001.08361, section 2.1, plus attention). What a kernel computes a second time
 * (softmax scores, lightning states, learner.recompute) is not in it; flops_hardware says it.
 *
 * Pure functions; figures are f64 because a step of a large model is beyond 2^63. */
#ifndef MODEL_FLOPS_H
#define MODEL_FLOPS_H

#include "model/model.h"

/* FLOP of one token, by part. */
struct flops {
    double linear;    /* attention's projections, MLP or the experts that work, router */
    double attention; /* softmax layers: grows with the position */
    double lightning; /* lightning layers: does not */
    double head;
};
double flops_sum(const struct flops *flops);
/* Of a token that sees `context` tokens, itself included: decode of one token. head false: prefill. */
struct flops flops_token(const struct model_shape *shape, double context, int32_t chunk, bool head);
/* Sum over the tokens of a sequence of `length` from position 0: forward of prefill or training. */
struct flops flops_sequence(const struct model_shape *shape, double length, int32_t chunk,
                            bool head);
/* Mean over the tokens of a sequence of `length`, forward and backward: what MFU counts. */
double flops_train_token(const struct model_shape *shape, double length, int32_t chunk);
/* The same with what is computed twice: softmax scores and lightning states in backward (one of 2 forward
 * products), and with `recompute` one more forward pass of the layers. */
double flops_train_token_hardware(const struct model_shape *shape, double length, int32_t chunk,
                                  bool recompute);

/* Weights that a token multiplies: all, of which experts; and of one token's choice. Without embedding. */
struct flops_weights {
    double body;        /* of all layers without experts: attention, router, norms, dense MLP */
    double expert;      /* one expert of one layer */
    double expert_rows; /* layers x experts */
    double head;        /* V C */
    double embedding;   /* V C, read one row a token */
    double active;      /* body + layers x J experts */
    double total;       /* of the flat layout without padding */
};
struct flops_weights flops_weights(const struct model_shape *shape);

/* How a backend stores what decode reads. */
struct flops_storage {
    double weight_bytes; /* 2 bf16, 4 f32 */
    double head_bytes;   /* a weight of the head: 4 with a second bf16 plane, or f32 */
    double cache_bytes;  /* an element of keys and values */
    /* Of lightning states. Written each token (0): read and write f32, 8 D^2 bytes a head. Advanced at chunk
     * boundaries (> 0, this many tokens): a shadow of cache_bytes an element is read each token, the f32 state is
     * read and written and its shadow written once a chunk, and the chunk's buffered k and v are read. */
    int32_t chunk;
};
/* Bytes that one decode step of `batch` sequences reads and writes, each with `context` tokens before it. */
struct traffic {
    double weights; /* experts: those that at least one of batch x J independent choices hits */
    double head;
    double cache;  /* keys and values, grows with batch and context */
    double states; /* lightning, grows with batch */
};
double traffic_sum(const struct traffic *traffic);
struct traffic traffic_decode(const struct model_shape *shape, const struct flops_storage *storage,
                              double batch, double context);
/* Bytes of keys and values of one token in all layers, and of one sequence's lightning states (f32). */
double traffic_token_bytes(const struct model_shape *shape, double cache_bytes);
double traffic_state_bytes(const struct model_shape *shape);

#endif
