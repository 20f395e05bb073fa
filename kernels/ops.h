/* kernels/ops.h - the list of operations, and what each one means.
 *
 * An operation is described here once. kernels/ref holds the oracle (double precision inside, no
 * cleverness, tests only), kernels/cpu the fast CPU backend, kernels/cuda the GPU one. Each fills a
 * `struct op_table`; actor and learner run the same model/ code on it, so there is one forward pass.
 *
 * Shapes (docs/shapes.md): T rows (tokens of all sequences, packed, no padding), C channels, K in,
 * N out, H query heads, G key/value heads, D head size, E experts, J experts of a token, V vocabulary.
 * Tensors are dense, row-major, in memory of the table's own device (op_table.memory_create), and
 * 64-byte aligned unless a row_stride says otherwise. Strides and offsets count elements.
 * `act` and `weight_t` are the backend's storage types (f32 on cpu and "cuda f32", bf16 on cuda). Results are
 * rounded to the storage type once, at the end of an op; everything inside is f32 or better.
 *
 * The rule of DESIGN.md part 5: one output row depends on its own inputs only - never on how many
 * other rows are in the call, where it stands among them, how a prompt was cut into pieces, or the
 * number of threads. Every forward op keeps it bit for bit; backward ops are deterministic.
 * Formulas: M1-SPEC numbers mean MiniMax-M1 (arXiv:2506.13585) and its public model code.
 *
 * Errors: arguments that break a promise are programmer errors (CHECK). STATUS_NO_MEMORY for
 * scratch, STATUS_UNSUPPORTED where a backend lacks a choice. A table is used by one thread. */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

typedef void act;      /* activations */
typedef void weight_t; /* weights as read by forward and backward */

/* Rows [row, row + count) of a call are tokens [position, position + count) of the sequence in
 * cache slot `slot`. Segments of one call never share a slot. */
struct op_segment {
    int32_t slot;
    int32_t position;
    int32_t row;
    int32_t count; /* > 0 */
};

/* ---- embedding: y[t] = scale table[ids[t]]; backward scatters in row order (deterministic) ------- */
struct op_embedding {
    int64_t rows, channels, vocabulary;
    const int32_t *ids;    /* [T] 0 <= id < vocabulary */
    const weight_t *table; /* [V, C] */
    act *y;                /* out [T, C] */
    float scale;           /* 0: none, the same as 1 */
};
struct op_embedding_backward {
    int64_t rows, channels, vocabulary;
    const int32_t *ids; /* [T] */
    const act *dy;      /* [T, C] */
    float *dtable;      /* [V, C] += scale dy */
    float scale;        /* 0: none */
};

/* ---- RMSNorm (Zhang and Sennrich 2019): r = (mean x^2 + eps)^-1/2, y = g * (x * r) --------------
 * g = gain, or 1 + gain where `one_plus` (Gemma; the sum in f32, not rounded to storage).
 * Each row holds `groups` vectors of `channels` (1, or the heads of a q/k norm); statistics in f32 or
 * better with a fixed tree per vector. Backward: dxh = dy * g; dx = r (dxh - xh mean(dxh * xh));
 * dgain = sum over rows and groups of dy * xh, rows in order. */
struct op_rms_norm {
    int64_t rows, groups, channels;
    int64_t x_stride, y_stride; /* between rows */
    float eps;
    const act *x;
    const weight_t *gain; /* [channels], shared by the groups */
    act *y;               /* out; may be x */
    float *r;             /* out [T, groups] for backward, may be NULL */
    bool one_plus;
};
struct op_rms_norm_backward {
    int64_t rows, groups, channels;
    int64_t x_stride, dy_stride, dx_stride;
    const act *x; /* input of the forward call */
    const weight_t *gain;
    const float *r; /* [T, groups] of the forward call */
    const act *dy;
    act *dx;      /* out (not added); may be dy */
    float *dgain; /* [channels] += */
    bool one_plus;
};

/* residual and norm in one pass, bit-equal to axpby followed by rms_norm (which reads the rounded h):
 *   h = alpha a + beta b;  y = g * (h * r(h)). */
struct op_residual_norm {
    int64_t rows, channels;
    float alpha, beta, eps;
    const act *a, *b;     /* [T, C] */
    const weight_t *gain; /* [C] */
    act *h;               /* out [T, C]; may be a or b */
    act *y;               /* out [T, C]; not h, may be a or b */
    float *r;             /* out [T], may be NULL */
    bool one_plus;
};

/* ---- linear: y = x W^T + b, W [N, K] as in a Hugging Face checkpoint ------------------------------
 * Forward reads a packed copy made by linear_pack (once per weight version), or the weight itself where
 * op_table.packed_bytes says 0. Sums over K run in one fixed order that depends on (N, K) only.
 * virtual_tp: number of partial sums over K that are added in a fixed tree (DESIGN.md part 5 rule 7); all
 * backends take 1 only so far.
 * mid: second plane of a weight kept as hi + mid (op split): y = x hi^T, continued with x mid^T in the same
 * accumulator. Backends whose weights are f32 have no such plane. Backward ignores mid.
 * With expert_offset != NULL the call is grouped: rows [offset[e], offset[e+1]) use W[e] (no bias). */
struct op_linear_pack {
    int64_t experts, n, k;  /* experts = 1 for a plain weight */
    const weight_t *weight; /* [experts, N, K] */
    void *packed;           /* out, op_table.packed_bytes(context, experts, n, k) bytes */
};
struct op_linear {
    int64_t rows, experts, n, k;
    int64_t x_stride, y_stride;
    int32_t virtual_tp;
    const act *x;
    const void *packed;
    const weight_t *bias;         /* [N] or NULL */
    const int32_t *expert_offset; /* [E + 1] or NULL */
    const weight_t *mid;          /* [N, K] or NULL */
    act *y;                       /* out; or, exactly one of the two, */
    float *y_float;               /* out without the rounding to act (router logits) */
};
struct op_linear_backward_input { /* dx = dy W (+ dx when accumulate) */
    int64_t rows, experts, n, k;
    int64_t dy_stride, dx_stride;
    bool accumulate;
    const act *dy;
    const weight_t *weight; /* [experts, N, K], not packed */
    const int32_t *expert_offset;
    act *dx;
};
struct op_linear_backward_weight { /* dW += dy^T x, db += sum of dy; rows in order */
    int64_t rows, experts, n, k;
    int64_t dy_stride, x_stride;
    const act *dy;
    const act *x;
    const int32_t *expert_offset;
    float *dweight; /* [experts, N, K] += */
    float *dbias;   /* [N] += or NULL */
};

/* ---- elementwise -------------------------------------------------------------------------------- */
struct op_silu { /* y = x * sigmoid(x); SiLU'(x) = s (1 + x (1 - s)) */
    int64_t count;
    const act *x;
    act *y; /* may be x */
};
struct op_silu_backward {
    int64_t count;
    const act *x; /* input of the forward call */
    const act *dy;
    act *dx; /* may be dy */
};
/* Of the gate. GELU by its tanh form (Hendrycks and Gimpel, arXiv:1606.08415): x / 2 (1 + tanh u) = x sigmoid(2 u),
 * u = sqrt(2 / pi) (x + 0.044715 x^3); with s = sigmoid(2 u) its slope is s + 2 x s (1 - s) u'. */
enum glu_gate { GLU_SILU, GLU_GELU_TANH };
struct op_swiglu {          /* gate_up [T, 2F] = [gate | up]; y [T, F] = f(gate) * up */
    int64_t rows, channels; /* F */
    const act *gate_up;
    act *y;
    enum glu_gate gate; /* f */
};
struct op_swiglu_backward {
    int64_t rows, channels;
    const act *gate_up;
    const act *dy; /* [T, F] */
    act *dgate_up; /* out [T, 2F]; may be gate_up */
    enum glu_gate gate;
};
struct op_gate { /* y = sigmoid(z) * x (M1-SPEC 1.3, output gate of lightning attention) */
    int64_t count;
    const act *z;
    const act *x;
    act *y;
};
struct op_gate_backward { /* dx = dy * s, dz = dy * x * s * (1 - s) */
    int64_t count;
    const act *z;
    const act *x;
    const act *dy;
    act *dz; /* may be z */
    act *dx; /* may be x or dy */
};
struct op_axpby { /* y = alpha * a + beta * b: residuals (M1-SPEC 1.3), beta = 0 ignores b */
    int64_t count;
    float alpha, beta;
    const act *a;
    const act *b;
    act *y; /* may be a or b */
};

/* ---- RoPE (M1-SPEC 1.5): rotate-half on the first `rotary` dims of each head, the rest passes -----
 * y_j = x_j cos - x_{j+R/2} sin, y_{j+R/2} = x_{j+R/2} cos + x_j sin; inverse = true rotates by -angle
 * (backward). In place. Angles from f32 tables made once by the model (position * theta^(-2j/R)). */
struct op_rope {
    int64_t rows, heads, head_size, rotary, row_stride;
    bool inverse;
    const int32_t *positions; /* [T] < table rows */
    const float *cosine;      /* [positions_max, R/2] */
    const float *sine;
    act *x; /* head h of row t at t * row_stride + h * head_size */
};

/* ---- before softmax attention: norm of each q and k head where there are gains, RoPE, keys and values
 * into pages: bit-equal to rms_norm (groups = heads), rope and kv_write one after another, and to a copy
 * first when y is not x. */
struct op_attention_prepare {
    int64_t rows, heads, kv_heads, head_size, rotary;
    int64_t row_stride; /* (H + 2 G) D: heads of q, then k, then v */
    float eps;
    const weight_t *q_gain, *k_gain; /* [D] each, or both NULL */
    float *r_q, *r_k;                /* out [T, H], [T, G] of the norms, or NULL */
    const int32_t *positions;        /* [T] < table rows */
    const float *cosine, *sine;      /* [positions_max, R/2]; unused when rotary is 0 */
    const struct op_segment *segments;
    int32_t segment_count;
    const act *x; /* [T, row_stride] raw q, k, v */
    act *y;       /* out, the same shape; may be x */
    void *pages;  /* this layer's; NULL: nothing is written to pages */
    const int32_t *page_table;
    int32_t pages_per_slot;
    bool one_plus; /* of both norms */
};

/* ---- softmax attention, causal, grouped queries ---------------------------------------------------
 * Keys and values of a layer live in pages of op_table.kv_tile tokens; page_table[slot * pages_per_slot
 * + position / kv_tile] is the page. The layout inside a page is the backend's own
 * (op_table.kv_page_bytes per layer, keys and values together). Training writes pages too, so prefill,
 * decode and training read keys the same way: tile by tile from position 0, one fixed merge formula
 * (running maximum m, sum s, output o; a tile with maximum m' scales the old ones by exp(m - m')),
 * P = softmax(scale q k^T), query head h reads key head h / (H / G).
 * A row at position t attends to positions max(0, t - window + 1) .. t; window 0: to all up to t. Tiles that no row of
 * a call sees are not read; a row merges the tiles that it sees and no others, so its bits do not depend on the call. */
struct op_kv_write {
    int64_t rows, kv_heads, head_size, row_stride;
    const struct op_segment *segments;
    int32_t segment_count;
    const act *k; /* head g of row t at t * row_stride + g * head_size */
    const act *v;
    void *pages; /* this layer's pages */
    const int32_t *page_table;
    int32_t pages_per_slot;
};
struct op_attention {
    int64_t rows, heads, kv_heads, head_size;
    int64_t q_stride, y_stride; /* between rows */
    const struct op_segment *segments;
    int32_t segment_count;
    const act *q;
    const void *pages;
    const int32_t *page_table;
    int32_t pages_per_slot;
    act *y;     /* out, head h of row t at t * y_stride + h * D */
    float *lse; /* out [T, H] log-sum-exp of the scaled scores, may be NULL */
    int32_t window;
    float scale; /* 0: 1 / sqrt(D) */
};
struct op_attention_backward { /* whole sequences: every segment starts at position 0 */
    int64_t rows, heads, kv_heads, head_size;
    int64_t row_stride; /* of q, k, v, dq, dk, dv (slices of one fused buffer) */
    int64_t y_stride;   /* of y and dy */
    const struct op_segment *segments;
    int32_t segment_count;
    const act *q, *k, *v, *y, *dy;
    const float *lse;  /* [T, H] */
    act *dq, *dk, *dv; /* out */
    int32_t window;    /* as in the forward call, and so is scale */
    float scale;
};

/* ---- lightning attention (M1-SPEC 1.4) --------------------------------------------------------------
 * o_t = sum_{j<=t} exp(-s (t - j)) (q_t . k_j) v_j per head with slope s. State S [D(key), D(value)] f32,
 * advanced at multiples of `chunk` tokens only, counted from token 0 of the sequence; the k and v of the
 * current chunk are kept in a buffer. Row at offset i of its chunk:
 *   o = exp(-s (i+1)) q S + sum_{j<=i} exp(-s (i-j)) (q . k_j) v_j
 * and at the end of the chunk S' = exp(-s chunk) S + sum_j exp(-s (chunk-1-j)) k_j^T v_j.
 * One formula for training, prefill in pieces of any length, and decode. Position 0 starts from S = 0. */
struct op_lightning {
    int64_t rows, heads, head_size;
    int64_t row_stride;  /* of q, k, v */
    int64_t head_stride; /* between heads of q, k, v: 3 D in M1's fused, head-major qkv */
    int64_t chunk;
    const float *slopes; /* [H] s of this layer */
    const struct op_segment *segments;
    int32_t segment_count;
    const act *q, *k, *v;
    void *state;   /* [slots] of lightning_state_bytes each, of this layer; all zero = S 0 */
    act *k_buffer; /* [slots, H, chunk, D] */
    act *v_buffer; /* [slots, H, chunk, D] */
    act *y;        /* out [T, H, D] */
};
struct op_lightning_backward { /* whole sequences from position 0; states are recomputed inside */
    int64_t rows, heads, head_size, row_stride, head_stride, chunk;
    const float *slopes;
    const struct op_segment *segments;
    int32_t segment_count;
    const act *q, *k, *v;
    const act *dy;     /* [T, H, D] */
    act *dq, *dk, *dv; /* out, strides as q, k, v */
};

/* ---- mixture of experts (M1-SPEC 1.6) -----------------------------------------------------------
 * p = softmax(logits) in f32; top J by p, ties to the smaller expert index; weight = p_sel / sum p_sel, which is the
 * softmax over the chosen logits (Mixtral's words for it); with raw weight = p_sel (Qwen3-MoE without norm_topk_prob).
 * Slot j of row t is entry t * J + j. Sorted rows: entries ordered by expert, then by entry. */
struct op_moe_route {
    int64_t rows, experts, top;
    const float *logits;    /* [T, E] */
    float *probability;     /* out [T, E] softmax, for backward; may be NULL */
    int32_t *expert;        /* out [T, J] */
    float *weight;          /* out [T, J] */
    int32_t *entry;         /* out [T J] entry of each sorted row */
    int32_t *sorted;        /* out [T J] sorted row of each entry */
    int32_t *expert_offset; /* out [E + 1] first sorted row of each expert */
    bool raw;
};
/* dlogits: through the selected weights dz_sel = w (dw - sum w dw), elsewhere zero, or -p sum w dw when raw; plus the auxiliary
 * loss L = coef * E * sum_e f_e P_e over all layers and tokens together (f_e = fraction of rows choosing
 * e summed over slots, held constant; P_e = mean probability): dz += p (g - p . g), g_e = coef E f_e / N. */
struct op_moe_route_backward {
    int64_t rows, experts, top;
    const float *probability;  /* [T, E] */
    const int32_t *expert;     /* [T, J] */
    const float *weight;       /* [T, J] */
    const float *dweight;      /* [T, J] */
    const float *aux_gradient; /* [E] g_e above, or NULL */
    act *dlogits;              /* out [T, E] */
    bool raw;
};
struct op_moe_gather { /* y[i] = x[entry[i] / J] */
    int64_t rows, channels, top;
    const act *x;         /* [T, C] */
    const int32_t *entry; /* [T J] */
    act *y;               /* out [T J, C] */
};
struct
    op_moe_gather_backward { /* dx[t] = sum over slots j in order of dy[sorted[t J + j]] (+ dx when accumulate) */
    int64_t rows, channels, top;
    bool accumulate;
    const act *dy;         /* [T J, C] */
    const int32_t *sorted; /* [T J] */
    act *dx;               /* [T, C] */
};
struct op_moe_combine { /* y[t] = sum over slots j in order of weight[t,j] x[sorted[t J + j]] */
    int64_t rows, channels, top;
    const act *x; /* [T J, C] */
    const int32_t *sorted;
    const float *weight; /* [T, J] */
    act *y;              /* out [T, C] */
};
struct op_moe_combine_backward { /* dx[sorted] = weight * dy, dweight[t,j] = dy[t] . x[sorted] */
    int64_t rows, channels, top;
    const act *x, *dy;
    const int32_t *sorted;
    const float *weight;
    act *dx;        /* out [T J, C]; may be x */
    float *dweight; /* out [T, J] */
};

/* ---- LM head with log-softmax (M1-SPEC 1.7; M1 section 3.2: f32) ------------------------------------
 * z = x W^T / temperature over the whole vocabulary, in fixed vocabulary chunks, online log-sum-exp.
 * logprob = z[target] - lse, entropy = lse - sum p z. Logits are never kept for all rows unless asked
 * for (decode). Rows with target < 0 get logprob 0. W packed by linear_pack as [1, V, C].
 * Three precisions (M1 section 3.2): bf16 = true rounds x, W and z to bf16 first, the paper's "before" head, for
 * the ablation; else z is f32, and with mid the weight is hi + mid (lm_head = fp32 where weights are bf16:
 * x hi^T + x mid^T, relative weight error 2^-17), without it W alone (fp32_out; fp32 where weights are f32). */
struct op_lm_head {
    int64_t rows, channels, vocabulary;
    float temperature; /* > 0 */
    bool bf16;
    const act *x;
    const void *packed;
    const weight_t *mid;   /* [V, C] or NULL */
    const int32_t *target; /* [T], may be NULL */
    float *logits;         /* out [T, V], z times temperature (untempered), may be NULL */
    float *lse;            /* out [T] of z */
    float *lse_raw;        /* out [T] log-sum-exp of the untempered logits, may be NULL */
    float *logprob;        /* out [T], may be NULL */
    float *entropy;        /* out [T] nats, may be NULL */
};
struct
    op_lm_head_backward { /* dz = (dlogprob (onehot(target) - p) - dentropy p (log p + entropy)) / temperature,
                            p = softmax(z); recomputes z */
    int64_t rows, channels, vocabulary;
    float temperature;
    bool bf16;
    const act *x;
    const void *packed;
    const weight_t *weight; /* [V, C] */
    const weight_t *mid;    /* [V, C] or NULL, as in the forward call */
    const int32_t *target;
    const float *lse;      /* [T] of the forward call */
    const float *dlogprob; /* [T]; rows with 0, and 0 in dentropy, are skipped */
    act *dx;               /* out [T, C] */
    float *dweight;        /* [V, C] += */
    const float *dentropy; /* [T] gradient of the row's entropy, or NULL: none */
    const float *entropy;  /* [T] of the forward call; with dentropy */
};

/* ---- sampling ---------------------------------------------------------------------------------------
 * Gumbel-max: token = argmax over kept ids of z[v] + g[v], g = -log(-log u), u = (w + 0.5) / 2^32, w = word
 * v % 4 of Philox(key = seed, counter = (group, sample, position, v / 4, domain sampling)): core/rng.h.
 * Ties go to the smaller id. Kept ids: the top_k largest z (0 = all, ties to the smaller id), then the
 * smallest set of largest z whose probability reaches top_p. temperature 0: argmax. */
struct op_sample_row {
    uint64_t seed, group;
    uint32_t sample, position;
    float temperature, top_p;
    int32_t top_k;
};
struct op_sample {
    int64_t rows, vocabulary;
    const float *logits; /* [T, V] untempered */
    const float *lse; /* [T] at the row's temperature (of the untempered ones for temperature 0) */
    const float *lse_raw;            /* [T] */
    const struct op_sample_row *row; /* [T] */
    float repetition_probability;
    int32_t *token;           /* out [T] */
    float *logprob;           /* out [T] full softmax at the row's temperature */
    float *logprob_truncated; /* out [T] over the kept ids; = logprob when nothing is cut */
    uint8_t *confident;       /* out [T] 1 when the untempered p(token) > repetition_probability */
};

/* ---- policy loss ------------------------------------------------------------------------------------
 * ratio[t] = exp(clamp(logprob[t] - logprob_old[t], -20, 20)); A = advantage, w = scale (the normaliser).
 * loss = sum of the terms below over tokens with mask 1; dlogprob[t] = d loss / d logprob[t]. Masked tokens
 * may hold anything, NaN included.
 *   cispo       -w clamp(ratio, weight_min, weight_max) A logprob, weight without gradient (M1 eq. 4-5)
 *   cispo_mask  the same times M, M = 0 if (A > 0 and ratio > 1 + clip_high) or (A < 0 and ratio < 1 - clip_low) (M1 eq. 6-7)
 *   reinforce   -w ratio A logprob, ratio without gradient (M1 eq. 3)
 *   ppo_clip    -w min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A); for A < 0 at least dual_clip A when dual_clip > 1
 *   gspo        s = exp(mean of log ratio over the sequence's masked-in tokens); -w min(s A, clip(s) A) per token,
 *               gradient through s spread over the sequence as GSPO (arXiv:2507.18071) eq. 10: w s A per token when unclipped
 *   sft         -w logprob */
enum policy_loss {
    POLICY_LOSS_CISPO,
    POLICY_LOSS_CISPO_MASK,
    POLICY_LOSS_REINFORCE,
    POLICY_LOSS_PPO_CLIP,
    POLICY_LOSS_GSPO,
    POLICY_LOSS_SFT
};
struct op_policy_loss {
    enum policy_loss kind;
    int64_t rows;
    int64_t sequences;
    const int32_t
        *sequence_start;  /* [sequences + 1] rows; tokens of one sequence are consecutive (gspo) */
    const float *logprob; /* [T] of the policy being trained */
    const float *logprob_old; /* [T] as streamed by the actor */
    const float *advantage;   /* [T] */
    const float *mask;        /* [T] 1 or 0 */
    const float *scale;       /* [T] w, > 0 */
    float weight_min, weight_max, clip_low, clip_high, dual_clip;
    float *ratio;     /* out [T] unclamped, 0 where masked */
    float *dlogprob;  /* out [T] */
    uint8_t *clipped; /* out [T] 1 where a bound or mask acted */
    double *loss;     /* out [1], host memory, sum in f64, rows in order */
};

/* ---- optimizer ------------------------------------------------------------------------------------
 * AdamW (Loshchilov and Hutter 2019) with bias correction, decoupled decay:
 *   m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p = p - lr wd p - lr (m / (1-b1^n)) / (sqrt(v / (1-b2^n)) + eps)
 * g = grad * grad_scale (clipping). Writes the broadcast copy in the same pass. */
struct op_adamw {
    int64_t count;
    int64_t update; /* n, from 1 */
    double lr, beta1, beta2, eps, weight_decay, grad_scale;
    float *parameter; /* [count] master */
    float *m, *v;
    const float *grad;
    weight_t *copy; /* out [count], may be NULL */
};
/* hi = x rounded to weight_t; mid = x - hi rounded to weight_t (NULL: not wanted). Where weight_t is f32: a copy. */
struct op_split {
    int64_t count;
    const float *x;
    weight_t *hi;  /* out, may be NULL */
    weight_t *mid; /* out, may be NULL; must be NULL where weight_t is f32 */
};
struct op_add_float { /* y += x */
    int64_t count;
    const float *x;
    float *y;
};
/* sum of squares in f64, fixed blocks, blocks in order; non_finite counts NaN and infinities. */
struct op_grad_norm {
    int64_t count;
    const float *grad;
    double *sum_squares; /* out [1], host */
    int64_t *non_finite; /* out [1], host */
};

// clang-format off
#define KERNEL_OPS(OP)                                                                             \
    OP(embedding) OP(embedding_backward) OP(rms_norm) OP(rms_norm_backward)                        \
    OP(residual_norm) OP(attention_prepare) OP(split) OP(add_float)                                              \
    OP(linear_pack) OP(linear) OP(linear_backward_input) OP(linear_backward_weight)                \
    OP(silu) OP(silu_backward) OP(swiglu) OP(swiglu_backward) OP(gate) OP(gate_backward) OP(axpby) \
    OP(rope) OP(kv_write) OP(attention) OP(attention_backward)                                     \
    OP(lightning) OP(lightning_backward)                                                           \
    OP(moe_route) OP(moe_route_backward) OP(moe_gather) OP(moe_gather_backward)                    \
    OP(moe_combine) OP(moe_combine_backward)                                                       \
    OP(lm_head) OP(lm_head_backward) OP(sample) OP(policy_loss) OP(adamw) OP(grad_norm)
// clang-format on

/* What one process hands to another on the same host so that it can open a piece of device memory. */
struct memory_handle {
    uint8_t bytes[64];
};

struct op_table {
    const char *name; /* "cpu", "ref", "cuda" */
    const char
        *numerics; /* what decides the bits: instruction set, tile sizes; part of numerics_id */
    void *context;
    int64_t act_bytes, weight_bytes; /* size of one element */
    int64_t kv_tile;                 /* tokens in a page */
    /* Memory of the table's device, zeroed. NO_MEMORY says how much was asked for and how much is left. */
    enum status (*memory_create)(void *context, size_t bytes, void **memory);
    void (*memory_destroy)(void *context, void **memory);
    /* The host side may be used again when write returns; read waits for all work before it. */
    enum status (*memory_write)(void *context, void *memory, const void *host, size_t bytes);
    enum status (*memory_read)(void *context, const void *memory, void *host, size_t bytes);
    enum status (*memory_copy)(void *context, void *to, const void *from, size_t bytes);
    enum status (*memory_zero)(void *context, void *memory, size_t bytes);
    enum status (*memory_left)(void *context, int64_t *left, int64_t *total);
    /* weight_digest (core/checksum.h) of device memory. */
    enum status (*memory_digest)(void *context, const void *memory, size_t bytes,
                                 uint64_t first_word, uint64_t *digest);
    /* Between processes of one host; all three NULL where the backend has no such thing. `share` names memory of
     * memory_create, whole; `open` maps it (any device of the host that reaches it); destroy with memory_unopen. */
    enum status (*memory_share)(void *context, const void *memory, struct memory_handle *handle);
    enum status (*memory_open)(void *context, const struct memory_handle *handle, void **memory);
    void (*memory_unopen)(void *context, void **memory);
    /* A second queue of work for collectives (a cudaStream_t; NULL on the host). side_wait: OK when all work put
     * there is done, AGAIN after timeout_ms, BROKEN when the device failed. finish waits for the main queue. */
    void *(*side_stream)(void *context);
    enum status (*side_wait)(void *context, int64_t timeout_ms);
    /* weight_digest of memory that work on the second queue fills, piece by piece, while the next piece is on its way;
     * all three NULL on the host. begin forgets what was added; add takes a piece once all work put on the second queue
     * before it is done; end: OK with the sum when all that was added is taken, AGAIN before. */
    enum status (*side_digest_begin)(void *context);
    enum status (*side_digest_add)(void *context, const void *memory, size_t bytes,
                                   uint64_t first_word);
    enum status (*side_digest_end)(void *context, uint64_t *digest);
    enum status (*finish)(void *context);
    /* Record the ops called between begin and end as one graph that runs them again with the same arguments; all four
     * NULL where the backend has none. Between begin and end: ops only, each called before outside a graph with
     * the same shapes (scratch memory and algorithm choices exist then). */
    enum status (*graph_begin)(void *context);
    enum status (*graph_end)(void *context, void **graph);
    enum status (*graph_run)(void *context, void *graph);
    void (*graph_destroy)(void *context, void **graph);
    size_t (*packed_bytes)(void *context, int64_t experts, int64_t n,
                           int64_t k); /* 0: no packing */
    size_t (*kv_page_bytes)(void *context, int64_t kv_heads, int64_t head_size);
    size_t (*lightning_state_bytes)(void *context, int64_t heads, int64_t head_size); /* a slot */
    void (*destroy)(struct op_table *table); /* frees context and table */
#define OP(op) enum status (*op)(void *context, const struct op_##op *args);
    KERNEL_OPS(OP)
#undef OP
};

/* device: "cpu", "cuda" (= "cuda:0"), "cuda:N"; "cuda:N/f32" has f32 storage and slow plain kernels, for
 * `weir verify`; "cuda:N/free" lets products use any algorithm (not bit-equal; bench only). threads: of the cpu backend. UNSUPPORTED, with what to do, where this build or machine has no such
 * device. */
MUST_CHECK enum status op_table_create(struct op_table **table, const char *device,
                                       int32_t threads);
/* A table of sizes alone, for plans: no device is opened and no op may be called. Other devices than cuda: as above. */
MUST_CHECK enum status op_table_create_plan(struct op_table **table, const char *device);
enum { OP_CUDA_KV_TILE = 128 };
/* Bytes that the CUDA backend takes: of a page in one layer, and of a slot's lightning state in one layer, whose bf16
 * form is f32 with a bf16 copy beside it, heads padded to 32, 64 or 128. */
size_t op_cuda_page_bytes(bool f32, int64_t kv_heads, int64_t head_size);
size_t op_cuda_state_bytes(bool f32, int64_t heads, int64_t head_size);
int32_t op_cuda_padded_head(int64_t head_size);
/* threads: 1..64 worker threads including the caller. Picks AVX-512, AVX2 or plain code for this
 * processor; AVX-512 and AVX2 give the same bits. */
MUST_CHECK enum status op_table_create_cpu(struct op_table **table, int32_t threads);
MUST_CHECK enum status op_table_create_ref(struct op_table **table);
void op_table_destroy(struct op_table **table);

C_END
#endif
