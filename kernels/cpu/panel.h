/* kernels/cpu/panel.h - packed weights and the product that the linear op and the LM head share.
 *
 * A weight [N, K] is packed into ceil(N / PANEL) panels [K, PANEL], the last one padded with zeros:
 * the PANEL outputs of one k stand side by side, in vector lanes.
 *
 * Order of sums: y[n] = sum over blocks of PANEL_BLOCK values of k, blocks in ascending order, each
 * block one chain of fused multiply-adds over ascending k from 0. It depends on K only, so a row has
 * the same bits for every number of rows, tile and thread. */
#ifndef KERNELS_CPU_PANEL_H
#define KERNELS_CPU_PANEL_H

#include "kernels/cpu/isa.h"

enum { PANEL = 32, PANEL_BLOCK = 256 };

static inline int64_t panel_count(int64_t n)
{
    return (n + PANEL - 1) / PANEL;
}

/* Floats of one packed weight. */
static inline int64_t panel_floats(int64_t n, int64_t k)
{
    return panel_count(n) * PANEL * k;
}

/* One block of a product: z[r, j] (+)= sum over i < chain of a[r * a_row + i * a_step] b[i * PANEL + j],
 * for r < rows and j < columns, then + bias[j]. One of a_row and a_step is 1. */
struct panel_block {
    int64_t rows, chain,
        columns; /* columns: those stored, any number of whole panels or less than one */
    int64_t a_row, a_step;
    int64_t panel_stride; /* floats between panels of b */
    const float *a;
    const float *b;
    const float *bias; /* [columns] or NULL */
    float *z;
    int64_t z_row;
    bool add;      /* add to z instead of writing it */
    bool a_packed; /* a was made by panel_pack; a_row and a_step are not read */
};

void CPU_NAME(panel_multiply)(const struct panel_block *block);

/* y[r, 0 .. n) = x[r] W^T + bias for a packed W of n outputs. */
void CPU_NAME(panel_rows)(int64_t rows, int64_t n, int64_t k, const float *x, int64_t x_stride,
                          const float *panels, const float *bias, float *y, int64_t y_stride);

/* Copies a [chain, rows], element (i, r) at source[i * stride + r], into rows * chain floats in the
 * order in which panel_multiply reads them: tile after tile. A column of a matrix whose rows are a
 * power of two apart falls on one cache set otherwise. */
void CPU_NAME(panel_pack)(int64_t rows, int64_t chain, const float *source, int64_t stride,
                          float *packed);

/* Copies m rows of source[.., 0 .. columns) (columns <= PANEL) into b[m, PANEL], zeros behind. */
void CPU_NAME(panel_copy)(int64_t m, int64_t columns, const float *source, int64_t stride,
                          float *b);

#endif
