/* kernels/cpu/vector.h - sixteen float lanes in plain C (GCC vector extensions): one zmm register
 * with AVX-512, two ymm with AVX2, four xmm otherwise.
 *
 * Elementwise ops send every element through these functions, tails included (v16_load_tail), so an
 * element's bits never depend on its lane or on the length of the array. Horizontal sums and maxima
 * use one fixed tree. exp and log are accurate to about 2 ulp and are the same on every processor
 * that fuses multiply and add; the plain build rounds differently and says so in its numerics. */
#ifndef KERNELS_CPU_VECTOR_H
#define KERNELS_CPU_VECTOR_H

#include <stdint.h>
#include <string.h>

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef float v16_memory __attribute__((vector_size(64), aligned(4), may_alias));

enum { V16 = 16 };

static inline v16 v16_set(float value)
{
    return (v16){value, value, value, value, value, value, value, value,
                 value, value, value, value, value, value, value, value};
}

static inline v16 v16_load(const float *source)
{
    return *(const v16_memory *)source;
}

static inline void v16_store(float *target, v16 value)
{
    *(v16_memory *)target = value;
}

/* The first `count` (0..16) lanes from memory, the others `rest`. */
static inline v16 v16_load_tail(const float *source, int64_t count, float rest)
{
    if (count >= V16)
        return v16_load(source);
    float lanes[V16];
    for (int i = 0; i < V16; i++)
        lanes[i] = rest;
    for (int64_t i = 0; i < count; i++)
        lanes[i] = source[i];
    return v16_load(lanes);
}

static inline void v16_store_tail(float *target, v16 value, int64_t count)
{
    if (count >= V16) {
        v16_store(target, value);
        return;
    }
    float lanes[V16];
    v16_store(lanes, value);
    for (int64_t i = 0; i < count; i++)
        target[i] = lanes[i];
}

/* mask lanes are 0 or -1, as comparisons give them. */
static inline v16 v16_select(v16i mask, v16 yes, v16 no)
{
    return (v16)((mask & (v16i)yes) | (~mask & (v16i)no));
}

static inline v16 v16_max(v16 a, v16 b)
{
    return v16_select(a > b, a, b);
}

static inline v16 v16_min(v16 a, v16 b)
{
    return v16_select(a < b, a, b);
}

/* Tree of both: lanes i and i + 8, then i + 4, i + 2, i + 1. */
static inline float v16_sum(v16 value)
{
    float a[V16];
    v16_store(a, value);
    for (int width = V16 / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            a[i] += a[i + width];
    return a[0];
}

static inline float v16_max_lane(v16 value)
{
    float a[V16];
    v16_store(a, value);
    for (int width = V16 / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            a[i] = a[i] > a[i + width] ? a[i] : a[i + width];
    return a[0];
}

/* exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, exp(r) by its Taylor series to r^7
 * (remainder 0.3466^8 / 8! = 5e-9, a tenth of an ulp). 0 below -87.33654 (the least normal result,
 * -inf included); above 88 the result of 88; NaN stays NaN. */
static inline v16 v16_exp(v16 x)
{
    const v16 limited = v16_select(x > v16_set(88.0f), v16_set(88.0f), x);
    /* 1.5 * 2^23: adding it leaves the integer in the low mantissa bits. */
    const v16 magic = v16_set(12582912.0f);
    const v16 shifted = limited * v16_set(1.44269504f) + magic;
    const v16 n = shifted - magic;
    /* ln 2 in two parts; n times the first (15 bits) is exact. */
    v16 r = limited - n * v16_set(0.693145751953125f);
    r = r - n * v16_set(1.42860677e-6f);
    v16 p = v16_set(1.0f / 5040.0f);
    p = p * r + v16_set(1.0f / 720.0f);
    p = p * r + v16_set(1.0f / 120.0f);
    p = p * r + v16_set(1.0f / 24.0f);
    p = p * r + v16_set(1.0f / 6.0f);
    p = p * r + v16_set(0.5f);
    p = p * r + v16_set(1.0f);
    p = p * r + v16_set(1.0f);
    const v16i power = ((v16i)shifted - (v16i)magic + 127) << 23;
    return v16_select(x < v16_set(-87.33654f), v16_set(0.0f), p * (v16)power);
}

/* log(x), x positive, normal and finite: x = m 2^e with m in [sqrt(1/2), sqrt(2)), f = m - 1,
 * s = f / (2 + f), log m = 2 atanh(s) = 2 s + 2 s^3 / 3 + ... to s^11 (|s| <= 0.1716). */
static inline v16 v16_log(v16 x)
{
    const v16i bits = (v16i)x;
    const v16i e = (bits - 0x3f3504f3) >> 23; /* bits of sqrt(1/2) */
    const v16 m = (v16)(bits - (e << 23));
    const v16 f = m - v16_set(1.0f);
    const v16 s = f / (f + v16_set(2.0f));
    const v16 s2 = s * s;
    v16 p = v16_set(2.0f / 11.0f);
    p = p * s2 + v16_set(2.0f / 9.0f);
    p = p * s2 + v16_set(2.0f / 7.0f);
    p = p * s2 + v16_set(2.0f / 5.0f);
    p = p * s2 + v16_set(2.0f / 3.0f);
    /* 2 s = f - f s, so only the small part carries the error of the division. */
    const v16 tail = s * (s2 * p - f);
    const v16 n = __builtin_convertvector(e, v16);
    const v16 low = n * v16_set(1.42860677e-6f) + tail;
    return n * v16_set(0.693145751953125f) + (f + low);
}

/* 1 / (1 + exp(-x)), 0 for x < -88 rather than denormal. */
static inline v16 v16_sigmoid(v16 x)
{
    return v16_set(1.0f) / (v16_set(1.0f) + v16_exp(-x));
}

#endif
