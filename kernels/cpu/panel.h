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

/* z[r, 0 .. PANEL) = x[r] . panel for `rows` rows, without bias. */
void CPU_NAME(panel_product)(int64_t rows, int64_t k, const float *x, int64_t x_stride,
                             const float *panel, float *z, int64_t z_stride);

/* As above for `rows` rows and any `n` outputs of the panels: y[r, 0 .. n). */
void CPU_NAME(panel_rows)(int64_t rows, int64_t n, int64_t k, const float *x, int64_t x_stride,
                          const float *panels, const float *bias, float *y, int64_t y_stride);

#endif
