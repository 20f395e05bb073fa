/* kernels/cuda/op_optimizer.cu - AdamW, the gradient's norm, and the split of a weight in two planes.
 *
 * AdamW reads and writes each of its arrays once: 28 bytes an element and 2 for the broadcast copy. Its scalars are
 * made in f64 on the host and rounded once, its arithmetic is that of kernels/cpu/op_optimizer.c. */
#include "kernels/cuda/device.cuh"

#include <math.h>

enum { THREADS = 256, NORM_BLOCK = 1 << 15 };

/* ---- AdamW ---- */

struct adamw_scalars {
    float grad_scale, one_minus_beta1, one_minus_beta2;
    float decay; /* lr wd */
    float step;  /* lr / (1 - beta1^n) */
    float root;  /* 1 / sqrt(1 - beta2^n): sqrt(v / (1 - beta2^n)) = sqrt(v) root, and v / (1 - ..)
                        of a denormal v would lose bits */
    float eps;
};

static __device__ __forceinline__ void adamw_element(const struct adamw_scalars &s, float &p,
                                                     float &m, float &v, float grad)
{
    const float g = __fmul_rn(grad, s.grad_scale);
    m = __fmaf_rn(s.one_minus_beta1, __fsub_rn(g, m), m);
    v = __fmaf_rn(s.one_minus_beta2, __fmaf_rn(g, g, -v), v);
    const float below = __fmaf_rn(__fsqrt_rn(v), s.root, s.eps);
    const float update = __fdiv_rn(__fmul_rn(m, s.step), below);
    p = __fsub_rn(p, __fmaf_rn(p, s.decay, update));
}

static __device__ __forceinline__ void store_4(float *to, float4 x)
{
    *(float4 *)to = x;
}
static __device__ __forceinline__ void store_4(bf16 *to, float4 x)
{
    *(uint2 *)to = make_uint2(pack_bf16(x.x, x.y), pack_bf16(x.z, x.w));
}

/* VECTOR elements a thread: 4 where all addresses are aligned, and 1. */
template <typename T, int VECTOR>
static __global__ void __launch_bounds__(THREADS)
    adamw_elements(struct adamw_scalars s, int64_t begin, int64_t end, float *parameter, float *m,
                   float *v, const float *grad, T *copy)
{
    const int64_t i = begin + ((int64_t)blockIdx.x * THREADS + threadIdx.x) * VECTOR;
    if (i + VECTOR > end)
        return;
    if (VECTOR == 1) {
        adamw_element(s, parameter[i], m[i], v[i], grad[i]);
        if (copy != NULL)
            copy[i] = from_float<T>(parameter[i]);
        return;
    }
    float4 p4 = *(const float4 *)(parameter + i), m4 = *(const float4 *)(m + i);
    float4 v4 = *(const float4 *)(v + i), g4 = __ldcs((const float4 *)(grad + i));
    adamw_element(s, p4.x, m4.x, v4.x, g4.x);
    adamw_element(s, p4.y, m4.y, v4.y, g4.y);
    adamw_element(s, p4.z, m4.z, v4.z, g4.z);
    adamw_element(s, p4.w, m4.w, v4.w, g4.w);
    *(float4 *)(parameter + i) = p4;
    *(float4 *)(m + i) = m4;
    *(float4 *)(v + i) = v4;
    if (copy != NULL)
        store_4(copy + i, p4);
}

template <typename T>
static enum status adamw(struct cuda_context *cuda, const struct op_adamw *args,
                         const struct adamw_scalars &s)
{
    T *copy = (T *)args->copy;
    const uintptr_t addresses = (uintptr_t)args->parameter | (uintptr_t)args->m |
                                (uintptr_t)args->v | (uintptr_t)args->grad;
    const bool aligned = addresses % 16 == 0 && (uintptr_t)copy % (4 * sizeof(T)) == 0;
    const int64_t whole = aligned ? args->count / 4 * 4 : 0;
    if (whole > 0)
        adamw_elements<T, 4><<<cuda_blocks(whole / 4, THREADS), THREADS, 0, cuda->stream>>>(
            s, 0, whole, args->parameter, args->m, args->v, args->grad, copy);
    TRY(cuda_launched("adamw"));
    if (whole < args->count)
        adamw_elements<T, 1>
            <<<cuda_blocks(args->count - whole, THREADS), THREADS, 0, cuda->stream>>>(
                s, whole, args->count, args->parameter, args->m, args->v, args->grad, copy);
    return cuda_launched("adamw");
}

extern "C" enum status cuda_adamw(void *context, const struct op_adamw *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    const double n = (double)args->update;
    const struct adamw_scalars scalars = {
        .grad_scale = (float)args->grad_scale,
        .one_minus_beta1 = (float)(1.0 - args->beta1),
        .one_minus_beta2 = (float)(1.0 - args->beta2),
        .decay = (float)(args->lr * args->weight_decay),
        .step = (float)(args->lr / (1.0 - pow(args->beta1, n))),
        .root = (float)(1.0 / sqrt(1.0 - pow(args->beta2, n))),
        .eps = (float)args->eps,
    };
    if (args->count == 0)
        return STATUS_OK;
    return cuda->f32 ? adamw<float>(cuda, args, scalars) : adamw<bf16>(cuda, args, scalars);
}

/* ---- norm of the gradient: blocks of NORM_BLOCK elements, a fixed tree in each and over them ---- */

struct norm_sum {
    double squares;
    long long non_finite;
};

static __device__ struct norm_sum block_norm(struct norm_sum x)
{
    __shared__ struct norm_sum shared[THREADS / 32];
    for (int offset = 16; offset > 0; offset /= 2) {
        x.squares += __shfl_xor_sync(0xffffffffu, x.squares, offset);
        x.non_finite += __shfl_xor_sync(0xffffffffu, x.non_finite, offset);
    }
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    struct norm_sum sum = {0, 0};
    for (int i = 0; i < THREADS / 32; i++) {
        sum.squares += shared[i].squares;
        sum.non_finite += shared[i].non_finite;
    }
    return sum;
}

/* The sum keeps its order whether loads are of four or of one: element i belongs to thread i / 4 % THREADS. */
static __global__ void __launch_bounds__(THREADS)
    norm_blocks(const float *grad, int64_t count, bool aligned, struct norm_sum *partial)
{
    const int64_t begin = (int64_t)blockIdx.x * NORM_BLOCK;
    struct norm_sum sum = {0, 0};
    for (int64_t i = begin + threadIdx.x * 4; i < begin + NORM_BLOCK && i < count;
         i += THREADS * 4) {
        float g[4] = {0, 0, 0, 0};
        if (aligned && i + 4 <= count)
            *(float4 *)g = *(const float4 *)(grad + i);
        else
            for (int n = 0; n < 4 && i + n < count; n++)
                g[n] = grad[i + n];
#pragma unroll
        for (int n = 0; n < 4; n++) {
            sum.squares = __fma_rn((double)g[n], (double)g[n], sum.squares);
            sum.non_finite += !isfinite(g[n]);
        }
    }
    sum = block_norm(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(THREADS)
    norm_total(const struct norm_sum *partial, int64_t blocks, struct norm_sum *total)
{
    struct norm_sum sum = {0, 0};
    for (int64_t b = threadIdx.x; b < blocks; b += THREADS) {
        sum.squares += partial[b].squares;
        sum.non_finite += partial[b].non_finite;
    }
    sum = block_norm(sum);
    if (threadIdx.x == 0)
        *total = sum;
}

extern "C" enum status cuda_grad_norm(void *context, const struct op_grad_norm *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    const unsigned blocks = cuda_blocks(args->count, NORM_BLOCK);
    struct norm_sum *partial = NULL, total = {0, 0};
    if (args->count > 0) {
        TRY(cuda_scratch(cuda, (blocks + 1) * sizeof *partial, (void **)&partial));
        norm_blocks<<<blocks, THREADS, 0, cuda->stream>>>(args->grad, args->count,
                                                          (uintptr_t)args->grad % 16 == 0, partial);
        norm_total<<<1, THREADS, 0, cuda->stream>>>(partial, blocks, partial + blocks);
        TRY(cuda_launched("grad_norm"));
        CUDA_TRY(cudaMemcpyAsync(&total, partial + blocks, sizeof total, cudaMemcpyDeviceToHost,
                                 cuda->stream));
        CUDA_TRY(cudaStreamSynchronize(cuda->stream));
    }
    *args->sum_squares = total.squares;
    *args->non_finite = total.non_finite;
    return STATUS_OK;
}

/* ---- split: x = hi + mid, each a bf16 ---- */

static __global__ void __launch_bounds__(THREADS)
    split_elements(const float *x, bf16 *hi, bf16 *mid, int64_t count)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count)
        return;
    const bf16 high = from_float<bf16>(x[i]);
    if (hi != NULL)
        hi[i] = high;
    if (mid != NULL)
        mid[i] = from_float<bf16>(__fsub_rn(x[i], to_float(high)));
}

extern "C" enum status cuda_split(void *context, const struct op_split *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    CHECK(args->mid == NULL || !cuda->f32);
    if (args->count == 0 || (args->hi == NULL && args->mid == NULL))
        return STATUS_OK;
    if (cuda->f32) {
        CUDA_TRY(cudaMemcpyAsync(args->hi, args->x, (size_t)args->count * sizeof(float),
                                 cudaMemcpyDeviceToDevice, cuda->stream));
        return STATUS_OK;
    }
    split_elements<<<cuda_blocks(args->count, THREADS), THREADS, 0, cuda->stream>>>(
        args->x, (bf16 *)args->hi, (bf16 *)args->mid, args->count);
    return cuda_launched("split");
}

/* ---- add_float: one rounding an element, so any grid gives the same bits ---- */

static __global__ void __launch_bounds__(THREADS)
    add_elements(const float *x, float *y, int64_t count)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        y[i] = __fadd_rn(y[i], x[i]);
}

extern "C" enum status cuda_add_float(void *context, const struct op_add_float *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->count == 0)
        return STATUS_OK;
    add_elements<<<cuda_blocks(args->count, THREADS), THREADS, 0, cuda->stream>>>(args->x, args->y,
                                                                                  args->count);
    return cuda_launched("add_float");
}
