/* kernels/cuda/sample.cuh - what a sampling pass asks about one id: its Gumbel key (fast and exact), its place in the
 * order of logits, its probability. The formulas are kernels/ops.h's, the random words core/rng.h's. */
#ifndef KERNELS_CUDA_SAMPLE_CUH
#define KERNELS_CUDA_SAMPLE_CUH

#include "kernels/cuda/device.cuh"

enum {
    BINS = 1024,  /* of lse - z, for top-k and top-p */
    ID_BITS = 18, /* of the vocabulary: core/rng.h has 16 bits for v / 4 */
    MASS_BITS = 48
};
static const float BINS_PER_NAT = 64.0f;

struct choice {
    double score;
    int32_t id;
};
/* A row's numbers, the same in every thread. */
struct draw {
    const float *logits;
    int32_t vocabulary;
    uint32_t key[2], counter[4];
    double temperature;
    float inverse, inverse_low, lse; /* 1 / temperature as a sum of two f32 */
    bool greedy, cut;
    unsigned long long mass_limit; /* top_p in units of 2^-48; all ones: no limit */
    unsigned int count_limit;      /* top_k; all ones: no limit */
    float
        floor; /* the largest key is above this, but for one draw in 5e8; minus infinity: not known */
};

/* ---- keys ---- */

static __device__ __forceinline__ uint4 philox(const struct draw *draw, uint32_t block)
{
    uint32_t c0 = draw->counter[0], c1 = draw->counter[1], c2 = draw->counter[2];
    uint32_t c3 = draw->counter[3] | block;
    uint32_t k0 = draw->key[0], k1 = draw->key[1];
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return make_uint4(c0, c1, c2, c3);
}

static __device__ __forceinline__ uint32_t word_of(uint4 words, int j)
{
    return j == 0 ? words.x : j == 1 ? words.y : j == 2 ? words.z : words.w;
}

static __device__ __forceinline__ float log2_fast(float x)
{
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* g to about 1e-5. f is the distance of u from 0 or from 1, whichever is nearer, so that neither end loses digits:
 * -log u = -log f near 0; f + f^2/2 + f^3/3 + ... near 1. */
static __device__ __forceinline__ float gumbel_fast(uint32_t word)
{
    uint32_t other = ~word;
    bool upper = other < word;
    float f = __fmaf_rn((float)(upper ? other : word), 0x1p-32f, 0x1p-33f);
    float far = -0.6931471806f * log2_fast(upper ? 1.0f - f : f);
    float near = __fmaf_rn(f, 0.2f, 0.25f);
    near = __fmaf_rn(f, near, 0.333333333f);
    near = __fmaf_rn(f, near, 0.5f);
    near = f * __fmaf_rn(f, near, 1.0f);
    return -0.6931471806f * log2_fast(upper && f < 0.125f ? near : far);
}

/* Twice the error of an f32 key: 1e-5 of g, a few ulp of z, with room. */
static __device__ __forceinline__ float key_margin(float key)
{
    return 2e-4f + 4e-6f * fabsf(key);
}

static __device__ __noinline__ double key_exact(double logit, double temperature, uint32_t word)
{
    double u = ((double)word + 0.5) / 4294967296.0;
    return logit / temperature - log(-log(u));
}

static __device__ __forceinline__ void choose(struct choice *best, double score, int32_t id)
{
    if (score > best->score || (score == best->score && id < best->id)) {
        best->score = score;
        best->id = id;
    }
}

/* ---- order and probability of ids ---- */

/* Unsigned integers in the order of the floats; -0 and 0 are one. */
static __device__ __forceinline__ uint32_t ordered(float x)
{
    uint32_t bits = __float_as_uint(x + 0.0f);
    return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

/* Larger is taken earlier: by logit, then the smaller id. */
static __device__ __forceinline__ uint64_t rank_of(float logit, int32_t id)
{
    return (uint64_t)ordered(logit) << ID_BITS | (uint32_t)((1 << ID_BITS) - 1 - id);
}

/* Never decreases when the logit falls. */
static __device__ __forceinline__ int bin_of(const struct draw *draw, float logit)
{
    float below = -BINS_PER_NAT * __fmaf_rn(logit, draw->inverse, -draw->lse);
    return below >= (float)(BINS - 1) ? BINS - 1 : below > 0.0f ? (int)below : 0;
}

/* exp(z - lse) in units of 2^-48; z and the difference are sums of two f32, so the error is that of expf. */
static __device__ __forceinline__ unsigned long long mass_of(const struct draw *draw, float logit)
{
    float z = __fmul_rn(logit, draw->inverse);
    float z_low = __fmaf_rn(logit, draw->inverse, -z);
    z_low = __fmaf_rn(logit, draw->inverse_low, z_low);
    float x = __fadd_rn(z, -draw->lse);
    if (!(x > -80.0f))
        return 0;
    float back = __fadd_rn(x, -z);
    float x_low = __fadd_rn(__fadd_rn(z, -__fadd_rn(x, -back)), -__fadd_rn(draw->lse, back));
    float p = expf(x);
    p = fminf(__fmaf_rn(p, __fadd_rn(x_low, z_low), p), 2.0f);
    return __float2ull_rn(p * (float)(1ull << MASS_BITS));
}

#endif
