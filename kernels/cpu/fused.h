/* kernels/cpu/fused.h - a * b + c where c is a product as well.
 *
 * In x * y + z * w the compiler may fuse either product, and does not choose alike for AVX-512 and
 * AVX2; this names the one. On processors without a fused operation it is two roundings. */
#ifndef KERNELS_CPU_FUSED_H
#define KERNELS_CPU_FUSED_H

#include "kernels/cpu/vector.h"

static inline float fused(float a, float b, float c)
{
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

static inline v16 v16_fused(v16 a, v16 b, v16 c)
{
    float x[V16], y[V16], z[V16];
    v16_store(x, a);
    v16_store(y, b);
    v16_store(z, c);
    for (int i = 0; i < V16; i++)
        z[i] = fused(x[i], y[i], z[i]);
    return v16_load(z);
}

#endif
