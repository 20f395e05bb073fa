/* kernels/cuda/op_attention.cu - causal softmax attention over pages, the entry and the kernel for many rows; what is
 * computed, and why every path gives the same bits, is in attention.cuh.
 *
 * Segments are data of the GPU: the host only knows how many there are. Segments of few rows belong to
 * op_attention_decode.cu, the others are cut into tiles of 128 rows here, and both kernels look through all segments.
 * A block takes one (tile of rows, query head): eight warps of 16 rows walk the key tiles, which bulk copies bring two
 * tiles ahead. The longest rows start first. */
#include "kernels/cuda/attention_rows.cuh"

#include <math.h>

enum {
    ROWS = 128, /* of a block */
    THREADS = 256,
    PLAIN_WARPS = 8,
    FEW_ROWS = 256 /* of a segment, in the mean: some may decode */
};

/* ---- f32: one warp for each row and head, for `weir verify` ---- */

/* Scores of the tile's 128 keys, four for each lane, scaled by log2(e) / sqrt(D); keys seen .. last. */
static __device__ void plain_scores(const float *keys, const float *q, int64_t size, int seen,
                                    int last, float exponent, float s[4])
{
    int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) {
        int key = lane + 32 * i;
        float sum = 0.0f;
        for (int64_t d = 0; key >= seen && key <= last && d < size; d++)
            sum = __fmaf_rn(q[d], keys[key * size + d], sum);
        s[i] = key >= seen && key <= last ? __fmul_rn(sum, exponent) : -INFINITY;
    }
}

template <int LANES> /* elements of a head that a lane has */
static __global__ void plain_kernel(const __grid_constant__ struct attention_call call)
{
    __shared__ float p[PLAIN_WARPS][CUDA_KV_TILE];
    __shared__ int found;
    const struct op_attention *op = &call.op;
    int64_t row = blockIdx.x, size = op->head_size;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int index = segment_of_row(op->segments, op->segment_count, row, &found);
    if (index < 0 || op->segments[index].slot < 0)
        return;
    struct op_segment segment = op->segments[index];
    int64_t position = segment.position + row - segment.row;
    for (int64_t head = warp; head < op->heads; head += PLAIN_WARPS) {
        const float *q = (const float *)op->q + row * op->q_stride + head * size;
        float m = -INFINITY, l = 0.0f, o[LANES] = {};
        int32_t first = first_seen((int32_t)position, call.window);
        for (int64_t tile = first / CUDA_KV_TILE; tile <= position / CUDA_KV_TILE; tile++) {
            const float *keys = (const float *)op->pages;
            const float *values = keys;
            keys += kv_tile_start(op->page_table, op->pages_per_slot, segment.slot, tile,
                                  op->kv_heads, size, head / call.group, false);
            values += kv_tile_start(op->page_table, op->pages_per_slot, segment.slot, tile,
                                    op->kv_heads, size, head / call.group, true);
            int last = (int)min(position - tile * CUDA_KV_TILE, (int64_t)CUDA_KV_TILE - 1);
            int seen = max((int)(first - tile * CUDA_KV_TILE), 0);
            float s[4], sum = 0.0f, o_tile[LANES] = {};
            plain_scores(keys, q, size, seen, last, call.exponent, s);
            float m_tile = warp_max(fmaxf(fmaxf(s[0], s[1]), fmaxf(s[2], s[3])));
            __syncwarp();
            for (int i = 0; i < 4; i++) {
                float x = exp2f(s[i] - m_tile);
                p[warp][lane + 32 * i] = x;
                sum += x;
            }
            float l_tile = warp_sum(sum);
            __syncwarp();
            for (int key = seen; key <= last; key++)
                for (int i = 0; i < LANES; i++)
                    if (lane + 32 * i < size)
                        o_tile[i] =
                            __fmaf_rn(p[warp][key], values[key * size + lane + 32 * i], o_tile[i]);
            float most = fmaxf(m, m_tile), a = exp2f(m - most), b = exp2f(m_tile - most);
            m = most;
            l = merge(l, l_tile, a, b);
            for (int i = 0; i < LANES; i++)
                o[i] = merge(o[i], o_tile[i], a, b);
        }
        float *y = (float *)op->y + row * op->y_stride + head * size;
        for (int i = 0; i < LANES; i++)
            if (lane + 32 * i < size)
                y[lane + 32 * i] = __fdiv_rn(o[i], l);
        if (lane == 0 && op->lse != NULL)
            op->lse[row * op->heads + head] =
                (float)((double)m * 0.69314718055994530942 + log((double)l));
    }
}

/* ---- bf16: tiles of 128 rows ---- */

enum { PAIRS = 2 }; /* keys and values of this many tiles are in flight */

template <int DP> struct prefill_shared {
    alignas(1024) bf16 keys[PAIRS][CUDA_KV_TILE * DP];
    alignas(1024) bf16 values[PAIRS][CUDA_KV_TILE * DP];
    alignas(1024) bf16 q[ROWS * DP];
    uint64_t keys_full[PAIRS], values_full[PAIRS];
    int32_t partial[THREADS];
};

/* Asks for keys and values of `tile`, to place `at`. */
template <int DP>
static __device__ __forceinline__ void prefill_ask(prefill_shared<DP> &shared,
                                                   const struct attention_call *call, int32_t slot,
                                                   int64_t g, int32_t tile, int at)
{
    const struct op_attention *op = &call->op;
    const bf16 *keys =
        (const bf16 *)op->pages + kv_tile_start(op->page_table, op->pages_per_slot, slot, tile,
                                                op->kv_heads, op->head_size, g, false);
    const bf16 *values = keys + op->kv_heads * CUDA_KV_TILE * op->head_size;
    if (!call->bulk) {
        tile_copy<DP>(shared.keys[at], keys, op->head_size, call->aligned, THREADS);
        tile_copy<DP>(shared.values[at], values, op->head_size, call->aligned, THREADS);
    } else if (threadIdx.x == 0) {
        copy_bulk(shared.keys[at], keys, CUDA_KV_TILE * DP * sizeof(bf16), &shared.keys_full[at]);
        copy_bulk(shared.values[at], values, CUDA_KV_TILE * DP * sizeof(bf16),
                  &shared.values_full[at]);
    }
}

template <int DP>
static __global__ void __launch_bounds__(THREADS, 1)
    prefill_kernel(const __grid_constant__ struct attention_call call)
{
    extern __shared__ __align__(1024) char memory[];
    prefill_shared<DP> &shared = *(prefill_shared<DP> *)memory;
    struct row_tile tile;
    int64_t head = blockIdx.y, g = head / call.group;
    if (!find_tile<ROWS, THREADS>(&call, (int32_t)blockIdx.x, shared.partial, &tile))
        return;
    if (threadIdx.x == 0) {
        for (int i = 0; i < PAIRS; i++) {
            barrier_init(&shared.keys_full[i], 1);
            barrier_init(&shared.values_full[i], 1);
        }
        barrier_init_done();
    }
    __syncthreads();
    int32_t rows = min(ROWS, tile.segment.count - tile.from);
    int32_t tiles = (tile.segment.position + tile.from + rows - 1) / CUDA_KV_TILE + 1;
    int32_t skip = first_seen(tile.segment.position + tile.from, call.window) / CUDA_KV_TILE;
    for (int i = 0; i < PAIRS && skip + i < tiles; i++)
        prefill_ask<DP>(shared, &call, tile.segment.slot, g, skip + i, i);
    load_queries<DP, ROWS, THREADS>(shared.q, &call, &tile.segment, tile.from, head,
                                    (int)threadIdx.x);
    __syncthreads();
    int warp_row = threadIdx.x / 32 * 16, lane = threadIdx.x % 32;
    int32_t position = tile.segment.position + tile.from + warp_row + lane / 4;
    float m[2] = {-INFINITY, -INFINITY}, l[2] = {0.0f, 0.0f}, o[DP / 2];
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        o[i] = 0.0f;
    for (int32_t t = skip; t < tiles; t++) {
        int at = (t - skip) % PAIRS,
            last[2] = {position - t * CUDA_KV_TILE, position + 8 - t * CUDA_KV_TILE};
        uint32_t parity = (t - skip) / PAIRS % 2;
        if (call.bulk)
            barrier_wait(&shared.keys_full[at], parity);
        float s[64], m_tile[2], l_tile[2], o_tile[DP / 2];
        uint32_t p[8][4];
        tile_scores<ROWS, DP, DP / 16>(shared.q, shared.keys[at], warp_row, s);
        tile_softmax(s, last, call.window, call.exponent, m_tile, l_tile, p);
        if (call.bulk)
            barrier_wait(&shared.values_full[at], parity);
        tile_values<DP>(shared.values[at], p, o_tile);
        tile_merge<DP>(m, l, o, m_tile, l_tile, o_tile, last, call.window, call.exponent);
        __syncthreads();
        if (t + PAIRS < tiles)
            prefill_ask<DP>(shared, &call, tile.segment.slot, g, t + PAIRS, at);
        if (!call.bulk)
            __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int in_tile = warp_row + lane / 4 + 8 * r;
        if (in_tile < rows)
            store_row<DP>(&call, tile.segment.row + tile.from + in_tile, head, r, m[r], l[r], o);
    }
}

/* ---- entry ---- */

/* Tiles of rows there can be, whatever the segments are: a segment that comes here has at least `least` rows. */
static int64_t tiles_most(const struct attention_call *call)
{
    const struct op_attention *op = &call->op;
    int64_t heads = call->group < DECODE_HEADS ? call->group : DECODE_HEADS, least = 1;
    if (call->decode_rows == 0)
        return op->rows / ROWS + op->segment_count;
    while (least <= DECODE_ROWS && least * heads <= decode_vectors(op->head_size))
        least++;
    int64_t segments = (op->rows - op->segment_count) / (least - 1);
    if (segments > op->segment_count)
        segments = op->segment_count;
    return segments == 0 ? 0 : op->rows / ROWS + segments;
}

template <int DP>
static enum status launch_prefill(struct cuda_context *cuda, const struct attention_call *call,
                                  int64_t tiles)
{
    size_t bytes = sizeof(prefill_shared<DP>);
    if (bytes > cuda->shared_max)
        return FAIL(STATUS_UNSUPPORTED,
                    "attention: %zu bytes of shared memory for a block, %s has %zu", bytes,
                    cuda->gpu_name, cuda->shared_max);
    CUDA_TRY(cudaFuncSetAttribute(prefill_kernel<DP>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)bytes));
    dim3 grid((unsigned)tiles, (unsigned)call->op.heads);
    prefill_kernel<DP><<<grid, THREADS, bytes, cuda->stream>>>(*call);
    return cuda_launched("attention, prefill");
}

static enum status check_head(const struct cuda_context *cuda, int64_t size)
{
    if (size <= HEAD_MAX || size == HEAD_WIDE || (cuda->f32 && size <= HEAD_WIDE))
        return STATUS_OK;
    return FAIL(STATUS_UNSUPPORTED, "attention: heads of %lld elements; on a GPU up to %d, or %d",
                (long long)size, HEAD_MAX, HEAD_WIDE);
}

static struct attention_call make_call(const struct cuda_context *cuda,
                                       const struct op_attention *args)
{
    double size = (double)args->head_size;
    double scale = args->scale != 0.0f ? (double)args->scale : 1.0 / sqrt(size);
    struct attention_call call = {};
    call.op = *args;
    call.group = (int32_t)(args->heads / args->kv_heads);
    call.window = args->window > 0 ? args->window : NO_WINDOW;
    call.scale = (float)scale;
    call.exponent = args->scale != 0.0f ? (float)(1.44269504088896340736 * scale)
                                        : (float)(1.44269504088896340736 / sqrt(size));
    call.bulk = cuda->hopper && args->head_size % 64 == 0;
    call.aligned = (args->head_size | args->q_stride) % 8 == 0 && (uintptr_t)args->q % 16 == 0;
    return call;
}

static enum status run_f32(const struct cuda_context *cuda, const struct attention_call *call)
{
    unsigned rows = (unsigned)call->op.rows;
    if (call->op.head_size <= HEAD_MAX)
        plain_kernel<HEAD_MAX / 32><<<rows, 32 * PLAIN_WARPS, 0, cuda->stream>>>(*call);
    else
        plain_kernel<HEAD_WIDE / 32><<<rows, 32 * PLAIN_WARPS, 0, cuda->stream>>>(*call);
    return cuda_launched("attention, f32");
}

extern "C" enum status cuda_attention(void *context, const struct op_attention *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0 || args->segment_count == 0)
        return STATUS_OK;
    int64_t size = args->head_size;
    CHECK(args->heads % args->kv_heads == 0);
    TRY(check_head(cuda, size));
    struct attention_call call = make_call(cuda, args);
    if (cuda->f32)
        return run_f32(cuda, &call);
    if (cuda->hopper && args->rows < FEW_ROWS * (int64_t)args->segment_count) {
        call.decode_rows = DECODE_ROWS;
        TRY(attention_decode(cuda, &call));
    }
    int64_t tiles = tiles_most(&call);
    if (tiles == 0)
        return STATUS_OK;
    if (size == HEAD_WIDE)
        return attention_wide(cuda, &call, tiles);
    if (cuda->hopper && size % 64 == 0 && call.aligned && args->y_stride % 8 == 0 &&
        (uintptr_t)args->y % 16 == 0)
        return attention_wgmma(cuda, &call, tiles);
    return size <= 64 ? launch_prefill<64>(cuda, &call, tiles)
                      : launch_prefill<128>(cuda, &call, tiles);
}
