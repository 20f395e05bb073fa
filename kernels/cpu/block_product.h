/* kernels/cpu/block_product.h - small products of blocks that sit in a worker's cache, for backward
 * passes of attention.
 *
 * C [m, n] = A B (+ C when accumulate), sums over k in order, one chain per element. A has free strides,
 * so it may be read transposed; rows of B and C are padded to whole vectors: n is a multiple of 16. */
#ifndef KERNELS_CPU_BLOCK_PRODUCT_H
#define KERNELS_CPU_BLOCK_PRODUCT_H

#include <stdbool.h>

#include "kernels/cpu/vector.h"

enum { BLOCK_ROWS = 4 };

struct block_product {
    int64_t m, n, k;
    const float *a; /* element (i, p) at i * a_row + p * a_column */
    int64_t a_row, a_column;
    const float *b; /* [k, n] */
    int64_t b_row;
    float *c; /* [m, n] */
    int64_t c_row;
    bool accumulate;
};

static inline int64_t padded(int64_t count)
{
    return (count + V16 - 1) / V16 * V16;
}

/* Rows [i, i + rows) and columns [j, j + 16); inlined with a constant `rows`. */
static inline __attribute__((always_inline)) void block_product_tile(const struct block_product *p,
                                                                     int64_t i, int64_t j, int rows)
{
    v16 sum[BLOCK_ROWS];
    for (int r = 0; r < rows; r++)
        sum[r] = p->accumulate ? v16_load(p->c + (i + r) * p->c_row + j) : v16_set(0);
    for (int64_t l = 0; l < p->k; l++) {
        v16 b = v16_load(p->b + l * p->b_row + j);
        const float *a = p->a + i * p->a_row + l * p->a_column;
        for (int r = 0; r < rows; r++)
            sum[r] += v16_set(a[r * p->a_row]) * b;
    }
    for (int r = 0; r < rows; r++)
        v16_store(p->c + (i + r) * p->c_row + j, sum[r]);
}

static void block_product(const struct block_product *p)
{
    int64_t i = 0;
    for (; i + BLOCK_ROWS <= p->m; i += BLOCK_ROWS)
        for (int64_t j = 0; j < p->n; j += V16)
            block_product_tile(p, i, j, BLOCK_ROWS);
    for (; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j += V16)
            block_product_tile(p, i, j, 1);
}

/* target [columns, rows] = source [rows, columns] transposed */
static void block_transpose(const float *source, int64_t source_row, int64_t rows, int64_t columns,
                            float *target, int64_t target_row)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            target[j * target_row + i] = source[i * source_row + j];
}

#endif
