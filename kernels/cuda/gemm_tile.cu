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

enum {
    STEP_K = 64,
    ROW_BYTES = 128,
    THREADS = 128,
    BLOCK_N = 128,
    EXPERTS_MAX = 1024,
    SUPER_ROWS = 16
};

enum grouping { PLAIN, GROUPED_ROWS, GROUPED_DEPTH };

struct tile_call {
    int64_t m, n, k, a_stride, b_stride, d_stride;
    const bf16 *a, *b, *mid, *bias;
    const int32_t *offset; /* [experts + 1] or NULL */
    void *d;
    int32_t experts;
    enum grouping grouping;
    bool accumulate, d_float;
    bool pairs; /* two neighbours of a row of d may be stored at once */
};

/* What one block computes: rows [row, row_end) and columns from `column` of d, over k in [k, k_end). */
struct tile_work {
    int64_t row, row_end, column, k, k_end;
    int64_t plane; /* elements to add to b and mid */
    int64_t d_at;  /* elements to add to d */
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
template <int EXTENT, bool TRANSPOSED, bool FAST>
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
template <int BLOCK_M>
static __device__ bool find_work(const struct tile_call &call, const int *first, int64_t item,
                                 struct tile_work *work)
{
    int64_t columns = (call.n + BLOCK_N - 1) / BLOCK_N;
    int64_t rows =
        call.grouping == GROUPED_ROWS ? first[call.experts] : (call.m + BLOCK_M - 1) / BLOCK_M;
    int64_t expert = 0;
    if (call.grouping == GROUPED_DEPTH) {
        expert = item / (rows * columns);
        item -= expert * rows * columns;
        if (expert >= call.experts)
            return false;
    } else if (item >= rows * columns)
        return false;
    int64_t above = item / (SUPER_ROWS * columns) * SUPER_ROWS;
    int64_t height = rows - above < SUPER_ROWS ? rows - above : SUPER_ROWS;
    int64_t inside = item - above * columns;
    int64_t tile = above + inside % height;
    work->column = inside / height * BLOCK_N;
    work->row = tile * BLOCK_M;
    work->row_end = call.m;
    work->k = 0;
    work->k_end = call.k;
    work->plane = work->d_at = 0;
    if (call.grouping == GROUPED_ROWS) {
        int e = expert_of_tile(first, call.experts, (int)tile);
        work->row = call.offset[e] + (tile - first[e]) * BLOCK_M;
        work->row_end = call.offset[e + 1];
        work->plane = e * call.n * call.k;
    } else if (call.grouping == GROUPED_DEPTH) {
        work->k = call.offset[expert];
        work->k_end = call.offset[expert + 1];
        work->d_at = expert * call.m * call.n;
    }
    return true;
}

/* ---- results ---- */

static __device__ __forceinline__ void store_one(const struct tile_call &call, int64_t at,
                                                 float value)
{
    if (call.d_float) {
        float *to = (float *)call.d + at;
        *to = call.accumulate ? __fadd_rn(*to, value) : value;
    } else {
        bf16 *to = (bf16 *)call.d + at;
        *to =
            __float2bfloat16_rn(call.accumulate ? __fadd_rn(__bfloat162float(*to), value) : value);
    }
}

/* Columns c and c + 1 of one row; c is even. */
static __device__ __forceinline__ void store_two(const struct tile_call &call, int64_t at,
                                                 int64_t column, float low, float high)
{
    if (column >= call.n)
        return;
    bool both = column + 1 < call.n;
    if (call.bias != NULL) {
        low = __fadd_rn(low, __bfloat162float(call.bias[column]));
        if (both)
            high = __fadd_rn(high, __bfloat162float(call.bias[column + 1]));
    }
    if (!both || !call.pairs) {
        store_one(call, at, low);
        if (both)
            store_one(call, at + 1, high);
    } else if (call.d_float) {
        float2 *to = (float2 *)((float *)call.d + at);
        float2 old = call.accumulate ? *to : make_float2(0, 0);
        *to = call.accumulate ? make_float2(__fadd_rn(old.x, low), __fadd_rn(old.y, high))
                              : make_float2(low, high);
    } else {
        __nv_bfloat162 *to = (__nv_bfloat162 *)((bf16 *)call.d + at);
        if (call.accumulate) {
            low = __fadd_rn(__low2float(*to), low);
            high = __fadd_rn(__high2float(*to), high);
        }
        *to = __floats2bfloat162_rn(low, high);
    }
}

/* ---- the kernel ---- */

template <int BLOCK_M> struct tile_shape {
    static constexpr int WARP_M = BLOCK_M == 128 ? 64 : 32, WARP_N = BLOCK_M == 128 ? 64 : 32;
    static constexpr int WARPS_N = BLOCK_N / WARP_N;
    static constexpr int LEFTS = WARP_M / 16, RIGHTS = WARP_N / 16;
    static constexpr int STAGES = BLOCK_M == 128 ? 3 : 4;
    static constexpr int LEFT_BYTES = BLOCK_M * ROW_BYTES,
                         STAGE_BYTES = LEFT_BYTES + BLOCK_N * ROW_BYTES;
    static_assert(BLOCK_M / WARP_M * WARPS_N * 32 == THREADS, "four warps");
};

template <int BLOCK_M, bool A_TRANSPOSED, bool B_TRANSPOSED>
static __device__ __forceinline__ void
multiply_stage(const char *stage, int row, int column,
               float sum[tile_shape<BLOCK_M>::LEFTS][tile_shape<BLOCK_M>::RIGHTS * 2][4])
{
    using shape = tile_shape<BLOCK_M>;
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
__global__ void __launch_bounds__(THREADS, 2)
    tile_kernel(const __grid_constant__ struct tile_call call)
{
    using shape = tile_shape<BLOCK_M>;
    extern __shared__ __align__(1024) char stages[];
    __shared__ int first[EXPERTS_MAX + 1];
    if (call.grouping == GROUPED_ROWS) {
        if (threadIdx.x < 32)
            count_tiles(call, BLOCK_M, first);
        __syncthreads();
    }
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int warp_row = warp / shape::WARPS_N * shape::WARP_M,
        warp_column = warp % shape::WARPS_N * shape::WARP_N;
    struct tile_work work;
    for (int64_t item = blockIdx.x; find_work<BLOCK_M>(call, first, item, &work);
         item += gridDim.x) {
        int steps_of_plane = (int)((work.k_end - work.k + STEP_K - 1) / STEP_K);
        int steps = call.mid != NULL ? 2 * steps_of_plane : steps_of_plane;
        if (steps == 0 && call.accumulate && call.bias == NULL)
            continue;
        auto load = [&](int step) {
            char *stage = stages + step % shape::STAGES * shape::STAGE_BYTES;
            bool second = step >= steps_of_plane;
            int64_t k = work.k + (int64_t)(second ? step - steps_of_plane : step) * STEP_K;
            const bf16 *right = (second ? call.mid : call.b) + work.plane;
            load_operand<BLOCK_M, A_TRANSPOSED, FAST>(
                stage,
                call.a +
                    (A_TRANSPOSED ? k * call.a_stride + work.row : work.row * call.a_stride + k),
                call.a_stride, work.row_end - work.row, work.k_end - k);
            load_operand<BLOCK_N, B_TRANSPOSED, FAST>(
                stage + shape::LEFT_BYTES,
                right + (B_TRANSPOSED ? k * call.b_stride + work.column
                                      : work.column * call.b_stride + k),
                call.b_stride, call.n - work.column, work.k_end - k);
        };
        float sum[shape::LEFTS][shape::RIGHTS * 2][4] = {};
        for (int step = 0; step < shape::STAGES - 1; step++) {
            if (step < steps)
                load(step);
            copy_async_commit();
        }
        for (int step = 0; step < steps; step++) {
            copy_async_wait<shape::STAGES - 2>();
            __syncthreads(); /* this stage is here, and all warps have left the one before it */
            if (step + shape::STAGES - 1 < steps)
                load(step + shape::STAGES - 1);
            copy_async_commit();
            multiply_stage<BLOCK_M, A_TRANSPOSED, B_TRANSPOSED>(
                stages + step % shape::STAGES * shape::STAGE_BYTES, warp_row, warp_column, sum);
        }
        copy_async_wait<0>();
        __syncthreads(); /* the next item fills the first stages again */
#pragma unroll
        for (int i = 0; i < shape::LEFTS; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int64_t row = work.row + warp_row + i * 16 + half * 8 + lane / 4;
                if (row >= work.row_end)
                    continue;
#pragma unroll
                for (int j = 0; j < shape::RIGHTS * 2; j++) {
                    int64_t column = work.column + warp_column + j * 8 + lane % 4 * 2;
                    store_two(call, work.d_at + row * call.d_stride + column, column,
                              sum[i][j][half * 2], sum[i][j][half * 2 + 1]);
                }
            }
    }
}

/* ---- host ---- */

template <int BLOCK_M, bool A_TRANSPOSED, bool B_TRANSPOSED, bool FAST>
static enum status launch(struct cuda_context *cuda, const struct tile_call *call)
{
    using shape = tile_shape<BLOCK_M>;
    auto kernel = tile_kernel<BLOCK_M, A_TRANSPOSED, B_TRANSPOSED, FAST>;
    int bytes = shape::STAGES * shape::STAGE_BYTES;
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    int64_t rows = (call->m + BLOCK_M - 1) / BLOCK_M, columns = (call->n + BLOCK_N - 1) / BLOCK_N;
    int64_t items = rows * columns;
    if (call->grouping == GROUPED_ROWS) /* at most one tile of each expert is not full */
        items = (rows + (call->experts < call->m ? call->experts : call->m)) * columns;
    else if (call->grouping == GROUPED_DEPTH)
        items = rows * columns * call->experts;
    int64_t blocks = 2 * (int64_t)cuda->multiprocessors;
    kernel<<<(unsigned)(items < blocks ? items : blocks), THREADS, (size_t)bytes, cuda->stream>>>(
        *call);
    return cuda_launched("gemm_tile");
}

template <bool A_TRANSPOSED, bool B_TRANSPOSED>
static enum status launch_stored(struct cuda_context *cuda, const struct tile_call *call, bool fast,
                                 bool few)
{
    if (!fast)
        return launch<128, A_TRANSPOSED, B_TRANSPOSED, false>(cuda, call);
    if constexpr (!A_TRANSPOSED) {
        if (few)
            return launch<32, false, B_TRANSPOSED, true>(cuda, call);
    }
    return launch<128, A_TRANSPOSED, B_TRANSPOSED, true>(cuda, call);
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
