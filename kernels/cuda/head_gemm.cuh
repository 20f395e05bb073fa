/* kernels/cuda/head_gemm.cuh - logits of the LM head, tile by tile: z = x W^T (continued with x mid^T), each tile
 * handed to head_finish.cuh while it is in registers. Used by op_lm_head.cu and op_lm_head_backward.cu.
 *
 * Ring kernel (Hopper): a producer thread copies pieces of x [ROWS, 64] and W [COLUMNS, 64] with the bulk tensor copy
 * engine into a ring of stages in shared memory (128-byte swizzle); each of the ROWS / 64 consumer warpgroups
 * multiplies 64 rows with all COLUMNS through wgmma. Blocks are persistent, so the ring fills up with the next
 * tile during head_finish. With CLUSTER = 2 two blocks with neighbouring rows share W: each fetches half of a piece
 * for both. Work goes rows first: a piece of W is read from memory once per call and then from L2.
 *   64 x 128       decode: W streams at the speed of memory (the tensor cores would do 4 times that)
 *   128 x 128      up to 128 rows
 *   128 x 256 x 2  many rows
 * Plain kernel: any C and alignment, and f32 storage; slow.
 * All of them compute the chain of device.cuh: k = 0, 16, ... over C, then again over C with mid. What is past C is
 * zeros, which leave an accumulator as it is. f32 storage: sums in f64, rounded once. */
#ifndef KERNELS_CUDA_HEAD_GEMM_CUH
#define KERNELS_CUDA_HEAD_GEMM_CUH

#include <cuda.h>

#include "kernels/cuda/head_finish.cuh"
#include "kernels/cuda/wgmma.cuh"

enum { HEAD_STEP = 64, HEAD_ROW_BYTES = 128, HEAD_RING_BYTES = 216 * 1024, HEAD_STAGES_MAX = 9 };

/* ---- barriers in shared memory, copies, warpgroup products ---- */

static __device__ __forceinline__ uint32_t head_shared(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}
static __device__ __forceinline__ void head_barrier_init(uint64_t *barrier, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(head_shared(barrier)), "r"(count)
                 : "memory");
}
static __device__ __forceinline__ void head_barrier_expect(uint64_t *barrier, uint32_t bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(head_shared(barrier)),
        "r"(bytes)
        : "memory");
}
/* Arrives at the same barrier of block `rank` of the cluster. What is handed over are reads that the tensor cores have
 * finished, so the barrier need not order ordinary memory between blocks: with .release.cluster here, or
 * .acquire.cluster below, each step would pay for a fence. */
static __device__ __forceinline__ void head_barrier_arrive(uint64_t *barrier, uint32_t rank)
{
    asm volatile("{ .reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [remote]; }" ::"r"(head_shared(barrier)),
                 "r"(rank)
                 : "memory");
}
static __device__ __forceinline__ void head_barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(head_shared(barrier)) : "memory");
}
static __device__ __forceinline__ void head_barrier_wait(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{ .reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra over;\n"
                 "bra again;\n"
                 "over: }" ::"r"(head_shared(barrier)),
                 "r"(parity)
                 : "memory");
}
static __device__ __forceinline__ void head_cluster_barrier(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}
/* Box at element `k` of row `row` to shared memory; beyond the tensor zeros. */
static __device__ __forceinline__ void head_copy(const CUtensorMap *map, uint32_t to,
                                                 uint64_t *barrier, int32_t k, int32_t row)
{
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
        "[%1, {%3, %4}], [%2];" ::"r"(to),
        "l"(map), "r"(head_shared(barrier)), "r"(k), "r"(row)
        : "memory");
}
/* The same into both blocks of a cluster of two, at the same place, with the barrier of each. */
static __device__ __forceinline__ void head_copy_both(const CUtensorMap *map, uint32_t to,
                                                      uint64_t *barrier, int32_t k, int32_t row)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(to),
                 "l"(map), "r"(head_shared(barrier)), "r"(k), "r"(row), "h"((uint16_t)3)
                 : "memory");
}
/* Rows of 128 bytes, swizzled; groups of 8 rows are 1024 bytes apart. */
static __device__ __forceinline__ uint64_t head_describe(uint32_t address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)64 << 32 |
           (uint64_t)1 << 62;
}
/* ---- ring kernel ---- */

template <int ROWS, int COLUMNS, int CLUSTER> struct head_ring_shape {
    static constexpr int x_bytes = ROWS * HEAD_ROW_BYTES, w_bytes = COLUMNS * HEAD_ROW_BYTES;
    static constexpr int stage_bytes = x_bytes + w_bytes;
    static constexpr int stages = HEAD_RING_BYTES / stage_bytes;
    static constexpr int consumers = ROWS / HEAD_ROWS; /* warpgroups */
    static constexpr int threads = 128 * (consumers + 1);
    static constexpr int shared_bytes = stages * stage_bytes + 1024; /* 1024: alignment */
    static constexpr bool many_registers = COLUMNS == 256;
    static_assert(stages <= HEAD_STAGES_MAX && COLUMNS / CLUSTER == HEAD_TILE, "ring");
};

/* Place in the ring and how often it went around. */
struct head_place {
    uint32_t stage, parity;
};
template <int STAGES> static __device__ __forceinline__ void head_next(struct head_place *place)
{
    if (++place->stage == STAGES) {
        place->stage = 0;
        place->parity ^= 1;
    }
}

/* Tile `work` of a cluster: rows first. */
template <int ROWS, int COLUMNS, int CLUSTER>
static __device__ __forceinline__ void head_work(const struct head_call &call, uint32_t work,
                                                 uint32_t rank, int32_t *row, int32_t *column)
{
    uint32_t groups = ((uint32_t)call.rows + ROWS * CLUSTER - 1) / (ROWS * CLUSTER);
    *row = (int32_t)((work % groups * CLUSTER + rank) * ROWS);
    *column = (int32_t)(work / groups * COLUMNS);
}

struct head_maps {
    CUtensorMap x, w, mid;
};

template <int ROWS, int COLUMNS, int CLUSTER>
static __device__ __forceinline__ void
head_produce(const struct head_maps &maps, const struct head_call &call, uint32_t ring,
             uint64_t *full, uint64_t *empty, uint32_t works, uint32_t planes, uint32_t rank)
{
    using shape = head_ring_shape<ROWS, COLUMNS, CLUSTER>;
    uint32_t pieces = ((uint32_t)call.channels + HEAD_STEP - 1) / HEAD_STEP;
    struct head_place place = {0, 1}; /* an empty ring: the first round does not wait */
    for (uint32_t work = blockIdx.x / CLUSTER; work < works; work += gridDim.x / CLUSTER) {
        int32_t row, column;
        head_work<ROWS, COLUMNS, CLUSTER>(call, work, rank, &row, &column);
        for (uint32_t step = 0; step < pieces * planes; step++) {
            const CUtensorMap *map = step < pieces ? &maps.w : &maps.mid;
            int32_t k = (int32_t)(step < pieces ? step : step - pieces) * HEAD_STEP;
            uint32_t x = ring + place.stage * shape::stage_bytes, w = x + shape::x_bytes;
            uint64_t *ready = full + place.stage;
            head_barrier_wait(empty + place.stage, place.parity);
            head_barrier_expect(ready, shape::stage_bytes);
            head_copy(&maps.x, x, ready, k, row);
            if (CLUSTER == 2)
                head_copy_both(map, w + rank * (uint32_t)(shape::w_bytes / 2), ready, k,
                               column + (int32_t)rank * HEAD_TILE);
            else
                head_copy(map, w, ready, k, column);
            head_next<shape::stages>(&place);
        }
    }
}

/* A warp is done with a stage: all blocks that fill it are told. */
template <int CLUSTER> static __device__ __forceinline__ void head_release(uint64_t *barrier)
{
    uint32_t lane = threadIdx.x % 32;
    if (CLUSTER > 1 && lane < CLUSTER)
        head_barrier_arrive(barrier, lane);
    if (CLUSTER == 1 && lane == 0)
        head_barrier_arrive(barrier);
}

/* z [64, COLUMNS] of one warpgroup over all `steps` pieces. */
template <int ROWS, int COLUMNS, int CLUSTER>
static __device__ __forceinline__ void
head_product(float (&z)[COLUMNS / 2], uint32_t x_ring, uint32_t w_ring, uint64_t *full,
             uint64_t *empty, uint32_t steps, struct head_place *place)
{
    using shape = head_ring_shape<ROWS, COLUMNS, CLUSTER>;
    uint32_t before = 0;
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++)
        z[i] = 0;
    for (uint32_t step = 0; step < steps; step++) {
        uint64_t a = head_describe(x_ring + place->stage * shape::stage_bytes);
        uint64_t b = head_describe(w_ring + place->stage * shape::stage_bytes);
        head_barrier_wait(full + place->stage, place->parity);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < HEAD_STEP / 16; k++) /* 32 bytes further on, in units of 16 */
            if constexpr (COLUMNS == 128)
                wgmma_128<0, 0>(z, a + 2 * (uint64_t)k, b + 2 * (uint64_t)k);
            else
                wgmma_256<0, 0>(z, a + 2 * (uint64_t)k, b + 2 * (uint64_t)k);
        wgmma_commit();
        wgmma_wait<1>(); /* the piece before this one is done with */
        if (step > 0)
            head_release<CLUSTER>(empty + before);
        before = place->stage;
        head_next<shape::stages>(place);
    }
    wgmma_wait<0>();
    head_release<CLUSTER>(empty + before);
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++) /* no use of z moves above the wait */
        asm volatile("" : "+f"(z[i])::"memory");
}

template <int MODE, int ROWS, int COLUMNS, int CLUSTER>
static __global__ void __launch_bounds__(128 * (ROWS / HEAD_ROWS + 1), 1)
    head_ring(const __grid_constant__ struct head_maps maps,
              const __grid_constant__ struct head_call call, uint32_t works, uint32_t planes)
{
#ifdef CUDA_HOPPER_CODE
    using shape = head_ring_shape<ROWS, COLUMNS, CLUSTER>;
    extern __shared__ char memory[];
    __shared__ uint64_t full[HEAD_STAGES_MAX], empty[HEAD_STAGES_MAX];
    uint32_t ring = (head_shared(memory) + 1023) / 1024 * 1024;
    uint32_t group = threadIdx.x / 128, rank = CLUSTER > 1 ? blockIdx.x % CLUSTER : 0;
    if (threadIdx.x == 0) {
        for (int i = 0; i < shape::stages; i++) {
            head_barrier_init(full + i, 1);
            head_barrier_init(empty + i, CLUSTER * shape::consumers * 4);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (CLUSTER > 1)
        head_cluster_barrier();
    if (group == 0) {
        if (shape::many_registers)
            asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (threadIdx.x == 0)
            head_produce<ROWS, COLUMNS, CLUSTER>(maps, call, ring, full, empty, works, planes,
                                                 rank);
    } else {
        if (shape::many_registers)
            asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
        uint32_t steps = ((uint32_t)call.channels + HEAD_STEP - 1) / HEAD_STEP * planes;
        uint32_t x_ring = ring + (group - 1) * HEAD_ROWS * HEAD_ROW_BYTES;
        struct head_place place = {0, 0};
        float z[COLUMNS / 2];
        for (uint32_t work = blockIdx.x / CLUSTER; work < works; work += gridDim.x / CLUSTER) {
            int32_t row, column;
            struct head_rows rows;
            head_work<ROWS, COLUMNS, CLUSTER>(call, work, rank, &row, &column);
            head_load_rows<MODE>(&rows, call, row + (int32_t)(group - 1) * HEAD_ROWS);
            head_product<ROWS, COLUMNS, CLUSTER>(z, x_ring, ring + shape::x_bytes, full, empty,
                                                 steps, &place);
#pragma unroll
            for (int half = 0; half < COLUMNS / HEAD_TILE; half++)
                head_finish<MODE, bf16>(z + half * HEAD_VALUES, call, rows,
                                        column + half * HEAD_TILE);
        }
    }
    if (CLUSTER > 1) { /* nobody leaves while the other block may still reach its barriers */
        __syncwarp();
        head_cluster_barrier();
    }
#endif
}

/* ---- plain kernel: a block of 4 warps makes one tile ---- */

/* Elements [k, k + 1] of a row, as a fragment register of mma_16816. */
static __device__ __forceinline__ uint32_t head_pair(const bf16 *row, int32_t k, int32_t channels,
                                                     bool inside)
{
    bf16 zero = __float2bfloat16_rn(0.0f);
    __nv_bfloat162 pair = {inside && k < channels ? row[k] : zero,
                           inside && k + 1 < channels ? row[k + 1] : zero};
    return *(uint32_t *)&pair;
}

static __device__ void head_plain_product(float *z, const bf16 *x, const bf16 *w,
                                          const struct head_call &call,
                                          const struct head_rows &rows, int32_t column)
{
    int32_t quad = (int32_t)(threadIdx.x % 4), eighth = (int32_t)(threadIdx.x % 32) / 4;
    for (int32_t k = 2 * quad; k < call.channels + 2 * quad; k += 16) {
        uint32_t a[4];
        for (int i = 0; i < 4; i++)
            a[i] = head_pair(x + (int64_t)rows.row[i % 2] * call.channels, k + i / 2 * 8,
                             call.channels, rows.row[i % 2] < call.rows);
#pragma unroll
        for (int j = 0; j < 16; j++) {
            int32_t v = column + 8 * j + eighth;
            const bf16 *row = w + (int64_t)v * call.channels;
            uint32_t b[2] = {head_pair(row, k, call.channels, v < call.vocabulary),
                             head_pair(row, k + 8, call.channels, v < call.vocabulary)};
            mma_16816(z + 4 * j, a, b);
        }
    }
}

/* What lies outside is computed from the last row and the last column instead, and not used. */
static __device__ void head_plain_product(float *z, const float *x, const float *w,
                                          const struct head_call &call,
                                          const struct head_rows &rows, int32_t column)
{
    const float *of_x[2];
    const float *of_w = w;
    int32_t first = column + 2 * (int32_t)(threadIdx.x % 4), last = call.vocabulary - 1;
    double sum[HEAD_VALUES] = {};
    for (int r = 0; r < 2; r++)
        of_x[r] = x + (int64_t)min(rows.row[r], call.rows - 1) * call.channels;
    for (int32_t k = 0; k < call.channels; k++, of_w++) {
        float a[2] = {of_x[0][k], of_x[1][k]};
        for (int r = 0; r < 2 && call.bf16_logits; r++)
            a[r] = __bfloat162float(__float2bfloat16_rn(a[r]));
#pragma unroll
        for (int i = 0; i < 32; i++) {
            int32_t v = min(first + 8 * (i / 2) + i % 2, last);
            float b = of_w[(int64_t)v * call.channels];
            if (call.bf16_logits)
                b = __bfloat162float(__float2bfloat16_rn(b));
            sum[i / 2 * 4 + i % 2] += (double)a[0] * (double)b;
            sum[i / 2 * 4 + i % 2 + 2] += (double)a[1] * (double)b;
        }
    }
#pragma unroll
    for (int i = 0; i < HEAD_VALUES; i++)
        z[i] = (float)sum[i];
}

template <int MODE, typename T>
static __global__ void __launch_bounds__(128)
    head_plain(const T *x, const T *w, const T *mid, const __grid_constant__ struct head_call call)
{
    struct head_rows rows;
    int32_t column = (int32_t)blockIdx.x * HEAD_TILE;
    float z[HEAD_VALUES];
    head_load_rows<MODE>(&rows, call, (int32_t)blockIdx.y * HEAD_ROWS);
#pragma unroll
    for (int i = 0; i < HEAD_VALUES; i++)
        z[i] = 0;
    head_plain_product(z, x, w, call, rows, column);
    if (mid != NULL)
        head_plain_product(z, x, mid, call, rows, column);
    head_finish<MODE, T>(z, call, rows, column);
}

/* ---- launches ---- */

typedef CUresult (*head_encode)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The driver's function, found at run time so that a program starts on machines without a driver. */
static enum status head_find_encode(head_encode *encode)
{
    static head_encode found;
    if (found == NULL) {
        void *entry = NULL;
        cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
        CUDA_TRY(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                  cudaEnableDefault, &result));
        if (entry == NULL || result != cudaDriverEntryPointSuccess)
            return FAIL(STATUS_UNSUPPORTED,
                        "the driver has no cuTensorMapEncodeTiled: driver 525 or later is needed");
        found = (head_encode)entry;
    }
    *encode = found;
    return STATUS_OK;
}

/* A matrix [rows, channels] of bf16, read in boxes of [box_rows, 64]. */
static enum status head_map(CUtensorMap *map, const bf16 *matrix, int64_t rows, int64_t channels,
                            uint32_t box_rows)
{
    head_encode encode = NULL;
    TRY(head_find_encode(&encode));
    cuuint64_t size[2] = {(cuuint64_t)channels, (cuuint64_t)rows};
    cuuint64_t stride[1] = {(cuuint64_t)channels * sizeof(bf16)};
    cuuint32_t box[2] = {HEAD_STEP, box_rows}, step[2] = {1, 1};
    CUresult result = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)matrix, size, stride,
                             box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS)
        return FAIL(STATUS_CUDA, "tensor map of [%lld, %lld]: driver error %d", (long long)rows,
                    (long long)channels, (int)result);
    return STATUS_OK;
}

template <int MODE, int ROWS, int COLUMNS, int CLUSTER>
static enum status head_launch_ring(struct cuda_context *cuda, const struct head_call *call,
                                    const bf16 *x, const bf16 *w, const bf16 *mid)
{
    using shape = head_ring_shape<ROWS, COLUMNS, CLUSTER>;
    auto kernel = head_ring<MODE, ROWS, COLUMNS, CLUSTER>;
    struct head_maps maps = {};
    TRY(head_map(&maps.x, x, call->rows, call->channels, ROWS));
    TRY(head_map(&maps.w, w, call->vocabulary, call->channels, HEAD_TILE));
    TRY(head_map(&maps.mid, mid != NULL ? mid : w, call->vocabulary, call->channels, HEAD_TILE));
    uint32_t works =
        cuda_blocks(call->rows, ROWS * CLUSTER) * cuda_blocks(call->vocabulary, COLUMNS);
    uint32_t clusters = (uint32_t)cuda->multiprocessors / CLUSTER;
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = CLUSTER;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    config.gridDim = dim3((works < clusters ? works : clusters) * CLUSTER);
    config.blockDim = dim3(shape::threads);
    config.dynamicSmemBytes = shape::shared_bytes;
    config.stream = cuda->stream;
    config.attrs = &cluster;
    config.numAttrs = CLUSTER > 1 ? 1 : 0;
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  shape::shared_bytes));
    CUDA_TRY(cudaLaunchKernelEx(&config, kernel, maps, *call, works, mid != NULL ? 2u : 1u));
    return cuda_launched("lm_head");
}

/* All logits of the call's rows. x, w, mid: [T, C], [V, C], [V, C] or NULL. */
template <int MODE, typename T>
static enum status head_logits(struct cuda_context *cuda, const struct head_call *call, const T *x,
                               const T *w, const T *mid)
{
    if constexpr (sizeof(T) == sizeof(bf16)) {
        if (cuda->hopper && call->channels % 8 == 0 &&
            (((uintptr_t)x | (uintptr_t)w | (uintptr_t)mid) & 15) == 0) {
            if (call->rows <= 64)
                return head_launch_ring<MODE, 64, 128, 1>(cuda, call, x, w, mid);
            if (call->rows <= 128)
                return head_launch_ring<MODE, 128, 128, 1>(cuda, call, x, w, mid);
            return head_launch_ring<MODE, 128, 256, 2>(cuda, call, x, w, mid);
        }
    }
    dim3 grid(cuda_blocks(call->vocabulary, HEAD_TILE), cuda_blocks(call->rows, HEAD_ROWS));
    head_plain<MODE, T><<<grid, 128, 0, cuda->stream>>>(x, w, mid, *call);
    return cuda_launched("lm_head");
}

#endif
