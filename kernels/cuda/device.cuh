/* kernels/cuda/device.cuh - small device functions that every kernel shares: storage types, fixed reductions,
 * tensor-core and copy instructions. */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#include "kernels/cuda/cuda_context.h"

/* ---- storage types: T is float or bf16 ---- */
static __device__ __forceinline__ float to_float(float x)
{
    return x;
}
static __device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}
template <typename T> static __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}
/* Two f32 rounded to bf16, `low` in the low half: the order of mma fragments. */
static __device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&pair;
}

/* ---- fixed trees: the same for every row, whatever else runs ---- */
static __device__ __forceinline__ float warp_sum(float x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}
static __device__ __forceinline__ float warp_max(float x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}
/* Sum over a block of WARPS warps; every thread gets it. `shared` has WARPS floats; two barriers inside. */
template <int WARPS> static __device__ __forceinline__ float block_sum(float x, float *shared)
{
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < WARPS; i++)
        sum += shared[i];
    __syncthreads();
    return sum;
}

/* ---- tensor cores: d += a b, bf16 in, f32 accumulator ----
 * m16n8k16, a row-major 16 x 16, b 16 x 8 stored as its transpose (n rows of k). Lane l holds
 *   a[0..3]: rows l/4, l/4 + 8, l/4, l/4 + 8; k = 2 (l%4) + {0, 1}, the last two + 8
 *   b[0..1]: n = l/4; k = 2 (l%4) + {0, 1}, the second + 8
 *   d[0..3]: rows l/4 (0, 1) and l/4 + 8 (2, 3); n = 2 (l%4) + {0, 1}
 * A chain of these over k = 0, 16, 32, ... gives the bits of wgmma and of every cublasLt algorithm without
 * split-K, whichever side the weights are on (bench/cuda/probe_rows.cu): it is the definition of a product. */
static __device__ __forceinline__ void mma_16816(float d[4], const uint32_t a[4],
                                                 const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Four 8 x 8 matrices from shared memory; lane l gives the address of row l % 8 of matrix l / 8. */
static __device__ __forceinline__ void load_matrix_x4(uint32_t out[4], const void *shared)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}
static __device__ __forceinline__ void load_matrix_x4_transposed(uint32_t out[4],
                                                                 const void *shared)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}

/* ---- asynchronous copies to shared memory, 16 bytes a thread; !valid writes zeros and reads nothing ---- */
static __device__ __forceinline__ void copy_async_16(void *shared, const void *global, bool valid)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
}
static __device__ __forceinline__ void copy_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most PENDING of the latest groups are unfinished. */
template <int PENDING> static __device__ __forceinline__ void copy_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#endif
