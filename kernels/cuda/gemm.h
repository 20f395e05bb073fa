/* kernels/cuda/gemm.h - the products behind op_linear and the LM head, and which kernel computes them.
 *
 * All of them give the bits of the chain (device.cuh: mma_16816 over k = 0, 16, 32, ... into one f32
 * accumulator, no split), so the choice between them is a matter of speed alone:
 *   gemm_library   cublasLt, plain shapes; algorithms are checked against the chain when a shape is first seen, the
 *                  fastest that passes (gemm_small among them) is kept, and cached on disk
 *   gemm_small     few rows: weights stream through the tensor cores once
 *   gemm_tile      any shape, grouped by expert, second weight plane */
#ifndef KERNELS_CUDA_GEMM_H
#define KERNELS_CUDA_GEMM_H

#include "kernels/cuda/cuda_context.h"

/* d [m, n] = (accumulate ? d : 0) + a b^T-like product, all row-major bf16, d bf16 or f32:
 *   a is [m, k] (a_transposed: stored [k, m]), b is [n, k] (b_transposed: stored [k, n]).
 * bias: [n] bf16 added before the rounding, or NULL. exact_rows: only algorithms with the chain's bits, of them the
 * fastest measured (d is written by the measurement); else the library's first deterministic proposal, split-K
 * allowed. Strides in elements between stored rows.
 * UNSUPPORTED when cublasLt cannot (alignment): call gemm_tile then. */
struct gemm_call {
    int64_t m, n, k;
    bool a_transposed, b_transposed, accumulate, d_float, exact_rows;
    const bf16 *a, *b;
    int64_t a_stride, b_stride, d_stride;
    const bf16 *bias;
    void *d;
};
MUST_CHECK enum status gemm_library(struct cuda_context *cuda, const struct gemm_call *call);
/* The same for any shape, stride and alignment; slower. Also grouped: with offset [experts + 1] (device),
 *   a not transposed: rows [offset[e], offset[e + 1]) of a and d use b + e n k (m: all rows together);
 *   a transposed (weight gradient): d + e m n += sum over those stored rows of a and b (k: all rows together).
 * mid: second plane of b; the chain goes on with a mid^T in the same accumulator. */
MUST_CHECK enum status gemm_tile(struct cuda_context *cuda, const struct gemm_call *call,
                                 int64_t experts, const int32_t *offset, const bf16 *mid);
/* rows <= GEMM_SMALL_ROWS, k and x_stride multiples of 8, 16-byte aligned: y [rows, n] = x [rows, k] w^T (+ x mid^T) + bias.
 * Exactly one of y, y_float. */
enum { GEMM_SMALL_ROWS = 64 };
struct gemm_small_call {
    int64_t rows, n, k, x_stride, y_stride;
    const bf16 *x, *w, *mid, *bias; /* mid, bias: NULL */
    bf16 *y;
    float *y_float;
};
MUST_CHECK enum status gemm_small(struct cuda_context *cuda, const struct gemm_small_call *call);

#endif
