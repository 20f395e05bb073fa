/* kernels/cuda/gemm_tile.cuh - what both kernels of gemm_tile.cu share: which tile a block computes, how operands come
 * to shared memory, how results leave.
 *
 * Shared memory: rows of 64 elements (128 bytes, 8 chunks of 16); chunk c of row r lies at c ^ (r % 8), so eight
 * rows of one chunk touch all banks. An operand stored [mn, k] gives rows of k; one stored [k, mn] gives rows of mn,
 * in panels of 64 mn, and is turned on the way to the tensor cores. */
#ifndef KERNELS_CUDA_GEMM_TILE_CUH
#define KERNELS_CUDA_GEMM_TILE_CUH

#include "kernels/cuda/device.cuh"

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

#endif
