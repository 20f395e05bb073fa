/* kernels/cuda/gemm_tile.cu - the product for every shape: any stride and alignment, operands stored either way,
 * rows grouped by expert, a second weight plane.
 *
 * A block keeps 128 x 128 results (32 x 128 where groups are small) in registers and walks k in steps of 64 through
 * a ring of stages in shared memory, filled by asynchronous copies. Each result is the chain of device.cuh: one f32
 * accumulator, k = 0, 16, 32, ..., no split; what lies beyond k is zeros, which leave an accumulator as it is. So
 * the bits depend on the row and the column alone, not on tiles, groups or the number of rows.
 *
 * Shared memory: rows of 64 elements (128 bytes, 8 chunks of 16); chunk c of row r lies at c ^ (r % 8), so eight
 * rows of one chunk touch all banks. An operand stored [mn, k] gives rows of k; one stored [k, mn] gives rows of mn,
 * in panels of 64 mn, and is turned by ldmatrix on the way to the registers.
 *
 * Blocks are persistent: block b does work items b, b + blocks, ... The number of row tiles of each expert is
 * counted on the device, so the host never waits for the routing. */
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/wgmma.cuh"

enum { STEP_K = 64, ROW_BYTES = 128, EXPERTS_MAX = 1024, SUPER_ROWS = 16 };

enum grouping { PLAIN, GROUPED_ROWS, GROUPED_DEPTH };

struct tile_call {
    int64_t m, n, k, a_stride, b_stride, d_stride;
    const bf16 *a, *b, *mid, *bias;
    const int32_t *offset; /* [experts + 1] or NULL */
    void *d;
    int32_t experts;
    enum grouping grouping;
    bool accumulate, d_float;
    bool pairs;  /* two neighbours of a row of d may be stored at once */
    bool chunks; /* d is bf16, not added to, and eight neighbours may be stored at once */
};

/* What one block computes: rows [row, row_end) and columns from `column` of d, over k in [k, k_end). */
struct tile_work {
    int64_t row, row_end, column, k, k_end;
    int64_t plane; /* elements to add to b and mid */
    int64_t d_at;  /* elements to add to d */
    int steps_of_plane, steps;
};

/* ---- global to shared ---- */

static __device__ __forceinline__ void copy_async_bytes(char *shared, const bf16 *global, int bytes)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
}

/* Eight elements of which the first `count` exist (<= 0: none), from any address. */
static __device__ __forceinline__ void copy_elements(char *shared, const bf16 *global, int count)
{
    uint32_t word[4] = {0, 0, 0, 0};
    for (int i = 0; i < 8; i++)
        if (i < count)
            word[i / 2] |= (uint32_t)__bfloat16_as_ushort(global[i]) << (16 * (i % 2));
    *(uint4 *)shared = make_uint4(word[0], word[1], word[2], word[3]);
}

template <bool FAST>
static __device__ __forceinline__ void copy_chunk(char *shared, const bf16 *global, int64_t count)
{
    int left = count < 0 ? 0 : count > 8 ? 8 : (int)count;
    if (FAST)
        copy_async_bytes(shared, global, 2 * left);
    else
        copy_elements(shared, global, left);
}

/* One stage of one operand: EXTENT of its m or n by STEP_K. `from` is its first element; mn_left and k_left say how
 * much of it exists. */
template <int EXTENT, int THREADS, bool TRANSPOSED, bool FAST>
static __device__ __forceinline__ void load_operand(char *stage, const bf16 *from, int64_t stride,
                                                    int64_t mn_left, int64_t k_left)
{
    constexpr int CHUNKS = TRANSPOSED ? EXTENT / 8 : STEP_K / 8; /* of a stored row */
    constexpr int ROWS = TRANSPOSED ? STEP_K : EXTENT;
    constexpr int ROWS_AT_ONCE = THREADS / CHUNKS;
    static_assert(ROWS_AT_ONCE % 8 == 0 && ROWS % ROWS_AT_ONCE == 0,
                  "the swizzle repeats after 8 rows");
    int row = (int)threadIdx.x / CHUNKS, chunk = (int)threadIdx.x % CHUNKS;
    const bf16 *source = from + row * stride + chunk * 8;
    int64_t along = (TRANSPOSED ? mn_left : k_left) - chunk * 8;
    int64_t across = (TRANSPOSED ? k_left : mn_left) - row;
    char *to =
        stage + (chunk / 8) * STEP_K * ROW_BYTES + row * ROW_BYTES + ((chunk % 8) ^ (row % 8)) * 16;
#pragma unroll
    for (int i = 0; i < ROWS / ROWS_AT_ONCE; i++) {
        copy_chunk<FAST>(to + i * ROWS_AT_ONCE * ROW_BYTES, source,
                         i * ROWS_AT_ONCE < across ? along : 0);
        source += ROWS_AT_ONCE * stride;
    }
}

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

/* ---- which part of the work ---- */

/* Row tiles of each expert, summed: first[e] is expert e's first tile. One warp. */
static __device__ void count_tiles(const struct tile_call &call, int block_m, int *first)
{
    int lane = (int)threadIdx.x, before = 0;
    for (int base = 0; base < call.experts; base += 32) {
        int e = base + lane, tiles = 0;
        if (e < call.experts)
            tiles = (call.offset[e + 1] - call.offset[e] + block_m - 1) / block_m;
        int sum = tiles;
        for (int step = 1; step < 32; step *= 2) {
            int left = __shfl_up_sync(0xffffffffu, sum, step);
            sum += lane >= step ? left : 0;
        }
        if (e < call.experts)
            first[e + 1] = before + sum;
        before += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (lane == 0)
        first[0] = 0;
}

static __device__ __forceinline__ void prepare(const struct tile_call &call, int block_m,
                                               int *first)
{
    if (call.grouping != GROUPED_ROWS)
        return;
    if (threadIdx.x < 32)
        count_tiles(call, block_m, first);
    __syncthreads();
}

/* The expert e with first[e] <= tile < first[e + 1]. */
static __device__ __forceinline__ int expert_of_tile(const int *first, int experts, int tile)
{
    int low = 0, high = experts - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (tile < first[middle + 1])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Work item -> tile. Items go down SUPER_ROWS row tiles before they move to the next columns, so that blocks
 * running together share both operands in L2. False: no such item. */
template <int BLOCK_M, int BLOCK_N>
static __device__ bool find_work(const struct tile_call &call, const int *first, int item,
                                 struct tile_work *work)
{
    int columns = (int)((call.n + BLOCK_N - 1) / BLOCK_N), expert = 0;
    int rows = call.grouping == GROUPED_ROWS ? first[call.experts]
                                             : (int)((call.m + BLOCK_M - 1) / BLOCK_M);
    if (call.grouping == GROUPED_DEPTH) {
        expert = item / (rows * columns);
        item -= expert * rows * columns;
        if (expert >= call.experts)
            return false;
    } else if (item >= rows * columns)
        return false;
    int above = item / (SUPER_ROWS * columns) * SUPER_ROWS;
    int height = rows - above < SUPER_ROWS ? rows - above : SUPER_ROWS;
    int inside = item - above * columns;
    int tile = above + inside % height;
    work->column = (int64_t)(inside / height) * BLOCK_N;
    work->row = (int64_t)tile * BLOCK_M;
    work->row_end = call.m;
    work->k = 0;
    work->k_end = call.k;
    work->plane = work->d_at = 0;
    if (call.grouping == GROUPED_ROWS) {
        int e = expert_of_tile(first, call.experts, tile);
        work->row = call.offset[e] + (int64_t)(tile - first[e]) * BLOCK_M;
        work->row_end = call.offset[e + 1];
        work->plane = e * call.n * call.k;
    } else if (call.grouping == GROUPED_DEPTH) {
        work->k = call.offset[expert];
        work->k_end = call.offset[expert + 1];
        work->d_at = expert * call.m * call.n;
    }
    work->steps_of_plane = (int)((work->k_end - work->k + STEP_K - 1) / STEP_K);
    work->steps = call.mid != NULL ? 2 * work->steps_of_plane : work->steps_of_plane;
    return true;
}

/* One step of a tile: the piece of a, then that of b (or mid), to a stage. */
template <int BLOCK_M, int BLOCK_N, int THREADS, bool A_TRANSPOSED, bool B_TRANSPOSED, bool FAST>
static __device__ __forceinline__ void
load_step(const struct tile_call &call, const struct tile_work &work, int step, char *stage)
{
    bool second = step >= work.steps_of_plane;
    int64_t k = work.k + (int64_t)(second ? step - work.steps_of_plane : step) * STEP_K;
    const bf16 *left = call.a, *right = (second ? call.mid : call.b) + work.plane;
    left += A_TRANSPOSED ? k * call.a_stride + work.row : work.row * call.a_stride + k;
    right += B_TRANSPOSED ? k * call.b_stride + work.column : work.column * call.b_stride + k;
    load_operand<BLOCK_M, THREADS, A_TRANSPOSED, FAST>(stage, left, call.a_stride,
                                                       work.row_end - work.row, work.k_end - k);
    load_operand<BLOCK_N, THREADS, B_TRANSPOSED, FAST>(
        stage + BLOCK_M * ROW_BYTES, right, call.b_stride, call.n - work.column, work.k_end - k);
}

/* ---- results ---- */

/* Columns `column` (even) and the next of one row of d as they are: zeros where nothing is to be added. */
static __device__ __forceinline__ float2 read_two(const struct tile_call &call, int64_t at,
                                                  bool both)
{
    if (call.d_float) {
        const float *from = (const float *)call.d + at;
        return call.pairs && both ? *(const float2 *)from
                                  : make_float2(from[0], both ? from[1] : 0);
    }
    const bf16 *from = (const bf16 *)call.d + at;
    return make_float2(__bfloat162float(from[0]), both ? __bfloat162float(from[1]) : 0);
}

static __device__ __forceinline__ void write_two(const struct tile_call &call, int64_t at,
                                                 bool both, float low, float high)
{
    if (call.d_float) {
        float *to = (float *)call.d + at;
        if (call.pairs && both)
            *(float2 *)to = make_float2(low, high);
        else {
            to[0] = low;
            if (both)
                to[1] = high;
        }
        return;
    }
    bf16 *to = (bf16 *)call.d + at;
    if (call.pairs && both)
        *(uint32_t *)to = pack_bf16(low, high);
    else {
        to[0] = __float2bfloat16_rn(low);
        if (both)
            to[1] = __float2bfloat16_rn(high);
    }
}

/* COUNT pairs of one row, 8 columns apart from `column` (even) on: pair j is sum[4 j], sum[4 j + 1]. What is added to
 * is read first, all of it, so that the reads do not wait for each other. */
template <int COUNT>
static __device__ __forceinline__ void store_pairs(const struct tile_call &call,
                                                   const struct tile_work &work, int64_t row,
                                                   int64_t column, const float *sum)
{
    float2 old[COUNT];
    if (row >= work.row_end)
        return;
    int64_t at = work.d_at + row * call.d_stride + column, left = call.n - column;
    if (call.accumulate)
#pragma unroll
        for (int j = 0; j < COUNT; j++)
            old[j] =
                j * 8 < left ? read_two(call, at + j * 8, j * 8 + 1 < left) : make_float2(0, 0);
#pragma unroll
    for (int j = 0; j < COUNT; j++)
        if (j * 8 < left) {
            float low = sum[4 * j], high = sum[4 * j + 1];
            bool both = j * 8 + 1 < left;
            if (call.bias != NULL) {
                low = __fadd_rn(low, __bfloat162float(call.bias[column + j * 8]));
                high = both ? __fadd_rn(high, __bfloat162float(call.bias[column + j * 8 + 1])) : 0;
            }
            if (call.accumulate) {
                low = __fadd_rn(old[j].x, low);
                high = __fadd_rn(old[j].y, high);
            }
            write_two(call, at + j * 8, both, low, high);
        }
}

/* 32 columns of one row of bf16, from `column`, held by four neighbouring lanes as pairs: pair[i] of lane q are columns
 * 8 i + 2 q and the next. The lanes exchange, so that each stores the 8 columns from 8 q. */
static __device__ __forceinline__ void store_32(const struct tile_call &call,
                                                const struct tile_work &work, int64_t row,
                                                int64_t column, uint32_t pair[4])
{
    int lane = (int)threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t got = __shfl_xor_sync(0xffffffffu, lane % 2 ? pair[i] : pair[i + 1], 1);
        pair[i] = lane % 2 ? got : pair[i];
        pair[i + 1] = lane % 2 ? pair[i + 1] : got;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t got = __shfl_xor_sync(0xffffffffu, lane / 2 ? pair[i] : pair[i + 2], 2);
        pair[i] = lane / 2 ? got : pair[i];
        pair[i + 2] = lane / 2 ? pair[i + 2] : got;
    }
    column += lane * 8;
    if (row < work.row_end && column < call.n)
        *(uint4 *)((bf16 *)call.d + work.d_at + row * call.d_stride + column) =
            make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

/* A pair of columns as bf16, bias added. */
static __device__ __forceinline__ uint32_t finish_pair(const struct tile_call &call, int64_t column,
                                                       float low, float high)
{
    if (call.bias != NULL && column < call.n) {
        low = __fadd_rn(low, __bfloat162float(call.bias[column]));
        high = __fadd_rn(high, __bfloat162float(call.bias[column + 1]));
    }
    return pack_bf16(low, high);
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
