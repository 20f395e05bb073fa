/* kernels/cuda/gemm_tile.cu - the product for every shape: any stride and alignment, operands stored either way,
 * rows grouped by expert, a second weight plane.
 *
 * A block keeps a tile of results in registers and walks k in steps of 64 through a ring of stages in shared memory,
 * filled by asynchronous copies. Each result is the chain of device.cuh: one f32 accumulator, k = 0, 16, 32, ..., no
 * split; what lies beyond k is zeros, which leave an accumulator as it is. So the bits depend on the row and the
 * column alone, not on tiles, groups or the number of rows. Two kernels: `wide` (wgmma, 128 x 256 or 128 x 128) for
 * aligned operands, `narrow` (mma.sync) for the others and, 32 rows high, for small groups.
 *
 * Blocks are persistent: block b does work items b, b + blocks, ... The number of row tiles of each expert is
 * counted on the device, so the host never waits for the routing. */
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/wgmma.cuh"

/* ---- shared to registers ---- */

/* Operand A of m16n8k16: 16 rows from `row`, k = 16 kk ... */
template <bool TRANSPOSED>
static __device__ __forceinline__ void read_left(uint32_t out[4], const char *stage, int row,
                                                 int kk)
{
    int lane = (int)threadIdx.x % 32;
    if (TRANSPOSED) {
        int k = kk * 16 + lane % 8 + lane / 16 * 8, chunk = row / 8 + lane / 8 % 2;
        load_matrix_x4_transposed(out, stage + (chunk / 8) * STEP_K * ROW_BYTES + k * ROW_BYTES +
                                           ((chunk % 8) ^ (k % 8)) * 16);
    } else {
        int r = row + lane % 16, chunk = kk * 2 + lane / 16;
        load_matrix_x4(out, stage + r * ROW_BYTES + (chunk ^ (r % 8)) * 16);
    }
}

/* Operand B of two m16n8k16: 16 columns from `column`; out[0..1] the first eight, out[2..3] the others. */
template <bool TRANSPOSED>
static __device__ __forceinline__ void read_right(uint32_t out[4], const char *stage, int column,
                                                  int kk)
{
    int lane = (int)threadIdx.x % 32;
    if (TRANSPOSED) {
        int k = kk * 16 + lane % 16, chunk = column / 8 + lane / 16;
        load_matrix_x4_transposed(out, stage + (chunk / 8) * STEP_K * ROW_BYTES + k * ROW_BYTES +
                                           ((chunk % 8) ^ (k % 8)) * 16);
    } else {
        int r = column + lane % 8 + lane / 16 * 8, chunk = kk * 2 + lane / 8 % 2;
        load_matrix_x4(out, stage + r * ROW_BYTES + (chunk ^ (r % 8)) * 16);
    }
}

/* ---- any alignment, or few rows: four warps with mma.sync ---- */

template <int BLOCK_M> struct narrow {
    static constexpr int THREADS = 128, BLOCK_N = 128;
    static constexpr int WARP_M = BLOCK_M == 128 ? 64 : 32, WARP_N = BLOCK_M == 128 ? 64 : 32;
    static constexpr int WARPS_N = BLOCK_N / WARP_N;
    static constexpr int LEFTS = WARP_M / 16, RIGHTS = WARP_N / 16;
    static constexpr int STAGES = BLOCK_M == 128 ? 3 : 4;
    static constexpr int LEFT_BYTES = BLOCK_M * ROW_BYTES;
    static constexpr int STAGE_BYTES = LEFT_BYTES + BLOCK_N * ROW_BYTES;
    static_assert(BLOCK_M / WARP_M * WARPS_N * 32 == THREADS, "four warps");
};

template <int BLOCK_M, bool A_TRANSPOSED, bool B_TRANSPOSED>
static __device__ __forceinline__ void
multiply_stage(const char *stage, int row, int column,
               float sum[narrow<BLOCK_M>::LEFTS][narrow<BLOCK_M>::RIGHTS * 2][4])
{
    using shape = narrow<BLOCK_M>;
    uint32_t left[2][shape::LEFTS][4], right[2][shape::RIGHTS][4];
    auto read = [&](int kk) {
#pragma unroll
        for (int i = 0; i < shape::LEFTS; i++)
            read_left<A_TRANSPOSED>(left[kk % 2][i], stage, row + i * 16, kk);
#pragma unroll
        for (int j = 0; j < shape::RIGHTS; j++)
            read_right<B_TRANSPOSED>(right[kk % 2][j], stage + shape::LEFT_BYTES, column + j * 16,
                                     kk);
    };
    read(0);
#pragma unroll
    for (int kk = 0; kk < STEP_K / 16; kk++) {
        if (kk + 1 < STEP_K / 16)
            read(kk + 1);
#pragma unroll
        for (int i = 0; i < shape::LEFTS; i++)
#pragma unroll
            for (int j = 0; j < shape::RIGHTS * 2; j++)
                mma_16816(sum[i][j], left[kk % 2][i], &right[kk % 2][j / 2][j % 2 * 2]);
    }
}

template <int BLOCK_M, bool A_TRANSPOSED, bool B_TRANSPOSED, bool FAST>
__global__ void __launch_bounds__(narrow<BLOCK_M>::THREADS, 2)
    narrow_kernel(const __grid_constant__ struct tile_call call)
{
    using shape = narrow<BLOCK_M>;
    constexpr int BLOCK_N = shape::BLOCK_N, AHEAD = shape::STAGES - 1;
    extern __shared__ __align__(128) char stages[];
    __shared__ int first[EXPERTS_MAX + 1];
    prepare(call, BLOCK_M, first);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int warp_row = warp / shape::WARPS_N * shape::WARP_M;
    int warp_column = warp % shape::WARPS_N * shape::WARP_N;
    struct tile_work work = {};
    auto load = [&](int step) {
        if (step < work.steps)
            load_step<BLOCK_M, BLOCK_N, shape::THREADS, A_TRANSPOSED, B_TRANSPOSED, FAST>(
                call, work, step, stages + step % shape::STAGES * shape::STAGE_BYTES);
        copy_async_commit();
    };
    for (int item = (int)blockIdx.x; find_work<BLOCK_M, BLOCK_N>(call, first, item, &work);
         item += (int)gridDim.x) {
        float sum[shape::LEFTS][shape::RIGHTS * 2][4] = {};
        for (int step = 0; step < AHEAD; step++)
            load(step);
        for (int step = 0; step < work.steps; step++) {
            copy_async_wait<AHEAD - 1>();
            __syncthreads(); /* this stage is here, and all warps have left the one before it */
            load(step + AHEAD);
            multiply_stage<BLOCK_M, A_TRANSPOSED, B_TRANSPOSED>(
                stages + step % shape::STAGES * shape::STAGE_BYTES, warp_row, warp_column, sum);
        }
        copy_async_wait<0>();
        __syncthreads(); /* the next item fills the first stages again */
#pragma unroll
        for (int i = 0; i < shape::LEFTS; i++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                store_pairs<shape::RIGHTS * 2>(
                    call, work, work.row + warp_row + i * 16 + half * 8 + lane / 4,
                    work.column + warp_column + lane % 4 * 2, &sum[i][0][half * 2]);
    }
}

/* ---- 16-byte aligned operands: two warpgroups with wgmma, each 64 rows and all columns of the tile ---- */

template <int BLOCK_N> struct wide {
    static constexpr int THREADS = 256, BLOCK_M = 128, STAGES = 4, AHEAD = 2;
    static constexpr int LEFT_BYTES = BLOCK_M * ROW_BYTES;
    static constexpr int STAGE_BYTES = LEFT_BYTES + BLOCK_N * ROW_BYTES;
    static constexpr int SHARED_BYTES =
        STAGES * STAGE_BYTES + 1024; /* the swizzle wants 1024-byte rows of 8 */
};

template <int BLOCK_N, bool A_TRANSPOSED, bool B_TRANSPOSED>
static __device__ __forceinline__ void issue_stage(const char *stage, int warpgroup,
                                                   float sum[BLOCK_N / 2])
{
    constexpr int PANEL = STEP_K * ROW_BYTES;
    const char *left = stage + warpgroup * PANEL, *right = stage + wide<BLOCK_N>::LEFT_BYTES;
    wgmma_fence();
#pragma unroll
    for (int kk = 0; kk < STEP_K / 16; kk++) {
        uint64_t a = wgmma_operand(left + kk * (A_TRANSPOSED ? 16 * ROW_BYTES : 32), PANEL);
        uint64_t b = wgmma_operand(right + kk * (B_TRANSPOSED ? 16 * ROW_BYTES : 32), PANEL);
        if constexpr (BLOCK_N == 256)
            wgmma_256<A_TRANSPOSED, B_TRANSPOSED>(sum, a, b);
        else
            wgmma_128<A_TRANSPOSED, B_TRANSPOSED>(sum, a, b);
    }
    wgmma_commit();
}

template <int BLOCK_N, bool A_TRANSPOSED, bool B_TRANSPOSED>
__global__ void __launch_bounds__(wide<BLOCK_N>::THREADS, 1)
    wide_kernel(const __grid_constant__ struct tile_call call)
{
#ifdef CUDA_HOPPER_CODE
    using shape = wide<BLOCK_N>;
    constexpr int BLOCK_M = shape::BLOCK_M;
    extern __shared__ char shared[];
    __shared__ int first[EXPERTS_MAX + 1];
    char *stages = shared + (1024 - (uint32_t)__cvta_generic_to_shared(shared) % 1024) % 1024;
    prepare(call, BLOCK_M, first);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    struct tile_work work = {};
    auto load = [&](int step) {
        if (step < work.steps)
            load_step<BLOCK_M, BLOCK_N, shape::THREADS, A_TRANSPOSED, B_TRANSPOSED, true>(
                call, work, step, stages + step % shape::STAGES * shape::STAGE_BYTES);
        copy_async_commit();
    };
    int item = (int)blockIdx.x;
    bool more = find_work<BLOCK_M, BLOCK_N>(call, first, item, &work);
    for (int step = 0; more && step < shape::AHEAD; step++)
        load(step);
    while (more) {
        float sum[BLOCK_N / 2] = {};
        for (int step = 0; step < work.steps; step++) {
            copy_async_wait<shape::AHEAD - 1>();
            wgmma_publish();
            /* This stage is here; and everybody has waited for the product of two steps ago, whose stage is the
             * one that is filled next. */
            __syncthreads();
            issue_stage<BLOCK_N, A_TRANSPOSED, B_TRANSPOSED>(
                stages + step % shape::STAGES * shape::STAGE_BYTES, warp / 4, sum);
            load(step + shape::AHEAD);
            wgmma_wait<1>();
        }
        wgmma_wait<0>();
        __syncthreads();
        struct tile_work done = work;
        item += (int)gridDim.x;
        more = find_work<BLOCK_M, BLOCK_N>(call, first, item, &work);
        for (int step = 0; more && step < shape::AHEAD; step++)
            load(step); /* while the results are stored */
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int64_t row = done.row + warp * 16 + half * 8 + lane / 4;
            int64_t column = done.column + lane % 4 * 2;
            if (call.chunks) {
#pragma unroll
                for (int j = 0; j < BLOCK_N / 8; j += 4) {
                    uint32_t pair[4];
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        pair[i] =
                            finish_pair(call, column + (j + i) * 8, sum[(j + i) * 4 + half * 2],
                                        sum[(j + i) * 4 + half * 2 + 1]);
                    store_32(call, done, row, done.column + j * 8, pair);
                }
            } else {
#pragma unroll
                for (int j = 0; j < BLOCK_N / 8; j += 16)
                    store_pairs<16>(call, done, row, column + j * 8, &sum[j * 4 + half * 2]);
            }
        }
    }
#endif
}

/* ---- host ---- */

/* Work items in tiles of block_m x block_n, at most. */
static int64_t count_items(const struct tile_call *call, int64_t block_m, int64_t block_n)
{
    int64_t rows = (call->m + block_m - 1) / block_m, columns = (call->n + block_n - 1) / block_n;
    if (call->grouping == GROUPED_ROWS) /* at most one tile of each expert is not full */
        rows += call->experts < call->m ? call->experts : call->m;
    return rows * columns * (call->grouping == GROUPED_DEPTH ? call->experts : 1);
}

template <int BLOCK_M, bool A_TRANSPOSED, bool B_TRANSPOSED, bool FAST>
static enum status launch_narrow(struct cuda_context *cuda, const struct tile_call *call)
{
    using shape = narrow<BLOCK_M>;
    auto kernel = narrow_kernel<BLOCK_M, A_TRANSPOSED, B_TRANSPOSED, FAST>;
    int bytes = shape::STAGES * shape::STAGE_BYTES;
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    int64_t items = count_items(call, BLOCK_M, shape::BLOCK_N), blocks = 2 * cuda->multiprocessors;
    kernel<<<(unsigned)(items < blocks ? items : blocks), shape::THREADS, (size_t)bytes,
             cuda->stream>>>(*call);
    return cuda_launched("gemm_tile");
}

template <int BLOCK_N, bool A_TRANSPOSED, bool B_TRANSPOSED>
static enum status launch_wide(struct cuda_context *cuda, const struct tile_call *call)
{
    using shape = wide<BLOCK_N>;
    auto kernel = wide_kernel<BLOCK_N, A_TRANSPOSED, B_TRANSPOSED>;
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  shape::SHARED_BYTES));
    int64_t items = count_items(call, shape::BLOCK_M, BLOCK_N), blocks = cuda->multiprocessors;
    kernel<<<(unsigned)(items < blocks ? items : blocks), shape::THREADS, shape::SHARED_BYTES,
             cuda->stream>>>(*call);
    return cuda_launched("gemm_tile");
}

/* Narrower tiles where the wider ones would leave more of the last round of blocks idle. */
static bool prefers_128(const struct cuda_context *cuda, const struct tile_call *call)
{
    int64_t blocks = cuda->multiprocessors;
    int64_t rounds_128 = (count_items(call, 128, 128) + blocks - 1) / blocks;
    int64_t rounds_256 = (count_items(call, 128, 256) + blocks - 1) / blocks;
    return rounds_128 * 12 < rounds_256 * 20; /* a narrow tile costs about 0.6 of a wide one */
}

template <bool A_TRANSPOSED, bool B_TRANSPOSED>
static enum status launch_stored(struct cuda_context *cuda, const struct tile_call *call, bool fast,
                                 bool few)
{
    if (!fast)
        return launch_narrow<128, A_TRANSPOSED, B_TRANSPOSED, false>(cuda, call);
    if constexpr (!A_TRANSPOSED) {
        if (few)
            return launch_narrow<32, false, B_TRANSPOSED, true>(cuda, call);
    }
    if (!cuda->hopper)
        return launch_narrow<128, A_TRANSPOSED, B_TRANSPOSED, true>(cuda, call);
    if (prefers_128(cuda, call))
        return launch_wide<128, A_TRANSPOSED, B_TRANSPOSED>(cuda, call);
    return launch_wide<256, A_TRANSPOSED, B_TRANSPOSED>(cuda, call);
}

static bool aligned(const void *memory, size_t bytes)
{
    return (uintptr_t)memory % bytes == 0;
}

enum status gemm_tile(struct cuda_context *cuda, const struct gemm_call *given, int64_t experts,
                      const int32_t *offset, const bf16 *mid)
{
    CHECK(offset == NULL || given->bias == NULL);
    CHECK(offset == NULL || !given->a_transposed || given->b_transposed);
    if (given->m == 0 || given->n == 0)
        return STATUS_OK;
    if (offset != NULL && experts > EXPERTS_MAX)
        return FAIL(STATUS_UNSUPPORTED, "%lld experts: grouped products take at most %d",
                    (long long)experts, EXPERTS_MAX);
    struct tile_call call = {};
    call.m = given->m, call.n = given->n, call.k = given->k;
    call.a = given->a, call.b = given->b, call.mid = mid, call.bias = given->bias,
    call.d = given->d;
    call.a_stride = given->a_stride, call.b_stride = given->b_stride,
    call.d_stride = given->d_stride;
    call.offset = offset, call.experts = (int32_t)experts;
    call.grouping = offset == NULL ? PLAIN : given->a_transposed ? GROUPED_DEPTH : GROUPED_ROWS;
    call.accumulate = given->accumulate, call.d_float = given->d_float;
    bool even =
        call.d_stride % 2 == 0 && (call.grouping != GROUPED_DEPTH || call.m * call.n % 2 == 0);
    call.pairs = even && aligned(call.d, call.d_float ? sizeof(float2) : sizeof(__nv_bfloat162));
    call.chunks = !call.d_float && !call.accumulate && aligned(call.d, 16) &&
                  call.d_stride % 8 == 0 && call.n % 8 == 0;
    bool fast = aligned(call.a, 16) && aligned(call.b, 16) && aligned(mid, 16) &&
                call.a_stride % 8 == 0 && call.b_stride % 8 == 0 &&
                (call.grouping != GROUPED_ROWS || call.n * call.k % 8 == 0);
    bool few = call.grouping == GROUPED_ROWS ? call.m <= 24 * experts : call.m <= 32;
    if (given->a_transposed)
        return given->b_transposed ? launch_stored<true, true>(cuda, &call, fast, few)
                                   : launch_stored<true, false>(cuda, &call, fast, few);
    return given->b_transposed ? launch_stored<false, true>(cuda, &call, fast, few)
                               : launch_stored<false, false>(cuda, &call, fast, few);
}
