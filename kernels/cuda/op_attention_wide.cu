/* kernels/cuda/op_attention_wide.cu - attention for many rows, head size 256 (Gemma 3).
 *
 * A block takes (tile of 128 rows, query head, half of the value dims): accumulators of all 256 dims would not fit the
 * registers, so both halves make the same scores. Otherwise as prefill_kernel of op_attention.cu, with the arithmetic of
 * attention.cuh: a column of P V does not depend on its neighbours, so the bits are those of the decode kernel. Shared
 * memory holds one tile of keys and one of values; the next keys come during the softmax, the next values during the
 * scores. */
#include "kernels/cuda/attention_rows.cuh"

enum { ROWS = 128, THREADS = 256, HALF = HEAD_WIDE / 2 };

struct wide_shared {
    alignas(1024) bf16 keys[CUDA_KV_TILE * HEAD_WIDE];
    alignas(1024) bf16 values[CUDA_KV_TILE * HALF];
    alignas(1024) bf16 q[ROWS * HEAD_WIDE];
    uint64_t keys_full, values_full;
    int32_t partial[THREADS];
};

/* A tile of a page lies as it does in shared memory. All threads; without bulk copies a barrier must follow. */
static __device__ __forceinline__ void wide_ask(bf16 *to, const bf16 *from, int elements, bool bulk,
                                                uint64_t *barrier)
{
    if (bulk && threadIdx.x == 0)
        copy_bulk(to, from, (uint32_t)elements * (uint32_t)sizeof(bf16), barrier);
    for (int i = (int)threadIdx.x; !bulk && i < elements / 8; i += THREADS)
        ((uint4 *)to)[i] = ((const uint4 *)from)[i];
}
static __device__ __forceinline__ const bf16 *
wide_tile(const struct attention_call *call, int32_t slot, int64_t g, int32_t tile, bool values)
{
    const struct op_attention *op = &call->op;
    return (const bf16 *)op->pages + kv_tile_start(op->page_table, op->pages_per_slot, slot, tile,
                                                   op->kv_heads, HEAD_WIDE, g, values);
}

static __global__ void __launch_bounds__(THREADS, 1)
    wide_kernel(const __grid_constant__ struct attention_call call)
{
    extern __shared__ __align__(1024) char memory[];
    wide_shared &shared = *(wide_shared *)memory;
    struct row_tile tile;
    int64_t head = blockIdx.y, g = head / call.group;
    int part =
        (int)blockIdx.z * CUDA_KV_TILE * HALF; /* where this half starts in a tile of values */
    if (!find_tile<ROWS, THREADS>(&call, (int32_t)blockIdx.x, shared.partial, &tile))
        return;
    if (threadIdx.x == 0) {
        barrier_init(&shared.keys_full, 1);
        barrier_init(&shared.values_full, 1);
        barrier_init_done();
    }
    __syncthreads();
    int32_t rows = min(ROWS, tile.segment.count - tile.from), slot = tile.segment.slot;
    int32_t start = tile.segment.position + tile.from;
    int32_t skip = first_seen(start, call.window) / CUDA_KV_TILE;
    int32_t tiles = (start + rows - 1) / CUDA_KV_TILE + 1;
    wide_ask(shared.keys, wide_tile(&call, slot, g, skip, false), CUDA_KV_TILE * HEAD_WIDE,
             call.bulk, &shared.keys_full);
    wide_ask(shared.values, wide_tile(&call, slot, g, skip, true) + part, CUDA_KV_TILE * HALF,
             call.bulk, &shared.values_full);
    load_queries<HEAD_WIDE, ROWS, THREADS>(shared.q, &call, &tile.segment, tile.from, head,
                                           (int)threadIdx.x);
    __syncthreads();
    int warp_row = threadIdx.x / 32 * 16, lane = threadIdx.x % 32;
    int32_t position = start + warp_row + lane / 4;
    float m[2] = {-INFINITY, -INFINITY}, l[2] = {0.0f, 0.0f}, o[HALF / 2];
#pragma unroll
    for (int i = 0; i < HALF / 2; i++)
        o[i] = 0.0f;
#pragma unroll 1
    for (int32_t t = skip; t < tiles; t++) {
        int last[2] = {position - t * CUDA_KV_TILE, position + 8 - t * CUDA_KV_TILE};
        uint32_t parity = (uint32_t)(t - skip) % 2;
        float s[64], m_tile[2], l_tile[2], o_tile[HALF / 2];
        uint32_t p[8][4];
        if (call.bulk)
            barrier_wait(&shared.keys_full, parity);
        tile_scores<ROWS, HEAD_WIDE, 4>(shared.q, shared.keys, warp_row, s);
        __syncthreads(); /* keys have been read */
        if (t + 1 < tiles)
            wide_ask(shared.keys, wide_tile(&call, slot, g, t + 1, false), CUDA_KV_TILE * HEAD_WIDE,
                     call.bulk, &shared.keys_full);
        tile_softmax(s, last, call.window, call.exponent, m_tile, l_tile, p);
        if (call.bulk)
            barrier_wait(&shared.values_full, parity);
        tile_values<HALF>(shared.values, p, o_tile);
        __syncthreads(); /* values have been read; without bulk copies: the next keys are there */
        if (t + 1 < tiles)
            wide_ask(shared.values, wide_tile(&call, slot, g, t + 1, true) + part,
                     CUDA_KV_TILE * HALF, call.bulk, &shared.values_full);
        tile_merge<HALF>(m, l, o, m_tile, l_tile, o_tile, last, call.window, call.exponent);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int in_tile = warp_row + lane / 4 + 8 * r;
        if (in_tile < rows)
            store_row<HALF>(&call, tile.segment.row + tile.from + in_tile, head, r, m[r], l[r], o,
                            (int)blockIdx.z * HALF);
    }
}

enum status attention_wide(struct cuda_context *cuda, const struct attention_call *call,
                           int64_t tiles)
{
    size_t bytes = sizeof(wide_shared);
    if (bytes > cuda->shared_max)
        return FAIL(STATUS_UNSUPPORTED,
                    "attention with heads of 256: %zu bytes of shared memory for a block, %s has "
                    "%zu",
                    bytes, cuda->gpu_name, cuda->shared_max);
    CUDA_TRY(
        cudaFuncSetAttribute(wide_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    dim3 grid((unsigned)tiles, (unsigned)call->op.heads, 2);
    wide_kernel<<<grid, THREADS, bytes, cuda->stream>>>(*call);
    return cuda_launched("attention, wide");
}
