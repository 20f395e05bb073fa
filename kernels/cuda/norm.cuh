/* kernels/cuda/norm.cuh - the arithmetic of norms, residual sums and rotations, written once, because several kernels
 * must agree on its bits: residual_norm with axpby and rms_norm, attention_prepare with rms_norm and rope.
 *
 * Who adds what depends on `channels` alone. Up to NORM_WARP_CHANNELS one warp has the vector, lane l the elements
 * 4 l .. 4 l + 3; above that one block of norm_threads(channels), thread i the elements 8 i .. 8 i + 7, then those
 * 8 threads further on, and so on. A thread adds its squares in order, lanes and warps follow the trees of
 * device.cuh. Sums, products and the root are rounded one by one as written: nothing is left to the compiler. */
#ifndef KERNELS_CUDA_NORM_CUH
#define KERNELS_CUDA_NORM_CUH

#include "kernels/cuda/device.cuh"

enum { NORM_WARP_CHANNELS = 128, NORM_LANE = 4, NORM_CHUNK = 8 };

/* N elements (4 or 8) that lie together in 8 or 16 bytes of bf16, in 16 or 32 of f32, aligned to them or to 16. */
template <int N> struct alignas(N * 2) bf16_pack {
    uint32_t word[N / 2];
};
template <int N> static __device__ __forceinline__ void load_whole(float *to, const bf16 *from)
{
    bf16_pack<N> got = *(const bf16_pack<N> *)from;
#pragma unroll
    for (int i = 0; i < N / 2; i++) { /* bf16 is the upper half of an f32 */
        to[2 * i] = __uint_as_float(got.word[i] << 16);
        to[2 * i + 1] = __uint_as_float(got.word[i] & 0xffff0000u);
    }
}
template <int N> static __device__ __forceinline__ void load_whole(float *to, const float *from)
{
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        float4 got = *(const float4 *)(from + i);
        to[i] = got.x;
        to[i + 1] = got.y;
        to[i + 2] = got.z;
        to[i + 3] = got.w;
    }
}
template <int N> static __device__ __forceinline__ void store_whole(bf16 *to, const float *from)
{
    bf16_pack<N> put;
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        put.word[i] = pack_bf16(from[2 * i], from[2 * i + 1]);
    *(bf16_pack<N> *)to = put;
}
template <int N> static __device__ __forceinline__ void store_whole(float *to, const float *from)
{
#pragma unroll
    for (int i = 0; i < N; i += 4)
        *(float4 *)(to + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
}
/* The same, or where `whole` is false one by one, zeros past `count`. Kernels branch on `whole` once, outside, so that
 * it is a constant here and loads of one thread are not kept apart by branches. */
template <typename T, int N>
static __device__ __forceinline__ void load_some(float *to, const T *from, int64_t count,
                                                 bool whole)
{
    if (whole) {
        load_whole<N>(to, from);
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        to[i] = i < count ? to_float(from[i]) : 0.0f;
}
template <typename T, int N>
static __device__ __forceinline__ void store_some(T *to, const float *from, int64_t count,
                                                  bool whole)
{
    if (whole) {
        store_whole<N>(to, from);
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i < count)
            to[i] = from_float<T>(from[i]);
}

/* What a normed value is multiplied by: gain, or 1 + gain. Chosen, not added, so that a plain gain keeps its bits. */
static __device__ __forceinline__ float gain_factor(float gain, bool one_plus)
{
    return one_plus ? __fadd_rn(1.0f, gain) : gain;
}
template <typename T, int N>
static __device__ __forceinline__ void load_gain(float *to, const T *from, int64_t count,
                                                 bool whole, bool one_plus)
{
    load_some<T, N>(to, from, count, whole);
#pragma unroll
    for (int i = 0; i < N; i++)
        to[i] = gain_factor(to[i], one_plus);
}

/* The f32 that is left of x after it was stored as T. */
template <typename T> static __device__ __forceinline__ float rounded(float x)
{
    return to_float(from_float<T>(x));
}

/* alpha a + beta b; beta = 0 ignores b. */
static __device__ __forceinline__ float axpby_value(float alpha, float a, float beta, float b)
{
    return beta == 0.0f ? __fmul_rn(alpha, a) : __fmaf_rn(alpha, a, __fmul_rn(beta, b));
}

/* sum + x[0]^2 + x[1]^2 + ... in order */
template <int N> static __device__ __forceinline__ float norm_squares(float sum, const float *x)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        sum = __fmaf_rn(x[i], x[i], sum);
    return sum;
}
/* r of a vector whose squares sum to `squares` */
static __device__ __forceinline__ float norm_scale(float squares, int64_t channels, float eps)
{
    return __frsqrt_rn(__fadd_rn(__fdiv_rn(squares, (float)channels), eps));
}
/* r of a vector of channels <= NORM_WARP_CHANNELS held by a warp as above, zeros past its end; every lane gets it. */
static __device__ __forceinline__ float norm_warp_scale(const float x[NORM_LANE], int64_t channels,
                                                        float eps)
{
    return norm_scale(warp_sum(norm_squares<NORM_LANE>(0.0f, x)), channels, eps);
}
/* block_sum with one barrier: `shared` must not be written again before the next barrier but one. */
template <int WARPS> static __device__ __forceinline__ float norm_block_sum(float x, float *shared)
{
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < WARPS; i++)
        sum = __fadd_rn(sum, shared[i]);
    return sum;
}
/* y before it is rounded to storage */
static __device__ __forceinline__ float norm_value(float x, float r, float gain)
{
    return __fmul_rn(gain, __fmul_rn(x, r));
}

/* Rotates the pair (x_j, x_{j + R/2}) by the angle with these cosine and sine (negate sine for the inverse). Both are
 * values as stored: a norm before it rounds first (rounded<T>). The results are not yet rounded to storage. */
static __device__ __forceinline__ void rope_pair(float *first, float *second, float cosine,
                                                 float sine)
{
    float a = *first, b = *second;
    *first = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
    *second = __fmaf_rn(b, cosine, __fmul_rn(a, sine));
}

/* Threads of the block that has one vector of more than NORM_WARP_CHANNELS. */
static inline int norm_threads(int64_t channels)
{
    return channels <= 1024 ? 128 : channels <= 2048 ? 256 : 512;
}

#endif
