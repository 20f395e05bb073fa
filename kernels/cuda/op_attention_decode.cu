/* kernels/cuda/op_attention_decode.cu - attention for segments of few rows: bound by reading keys and values, so each
 * tile is read once for all query heads of its kv head, and long contexts are spread over the machine.
 *
 * Work is cut into items (segment, kv head, run of tiles); the length of a run follows from the positions, which every
 * block adds up for itself, so a graph can be replayed with other positions. The first run of a sequence is merged
 * where it is computed; later runs leave each tile's (m_t, l_t, o_t) in scratch, and fold_kernel merges them in
 * order: the bits are those of one pass (attention.cuh). Four warps share a tile: each takes 32 keys of the scores,
 * then a quarter of the value dims. */
#include "kernels/cuda/attention.cuh"

enum {
    THREADS = 128,
    SLOTS = 3,           /* tiles in flight: K V K, then V K V, ... */
    SEGMENTS_MAX = 1024, /* of one launch: their item counts are kept in shared memory */
    TILE_LINES = CUDA_KV_TILE
};
static const size_t PARTIAL_MAX = (size_t)256 << 20;

struct decode_call {
    struct attention_call call;
    int32_t first, count; /* segments of this launch */
    int32_t
        parts; /* blocks of at most DECODE_HEADS query heads that a kv head's group is cut into */
    int32_t heads;    /* query heads of a part, the last may have fewer */
    int32_t rows_max; /* rows of a segment that can come here */
    float *
        partial; /* [count, rows_max, H, pages_per_slot, DP] o_t, or NULL: runs are whole sequences */
    float2 *partial_ml; /* [count, rows_max, H, pages_per_slot] m_t, l_t */
    int32_t *run;       /* [1] tiles in a run, for fold_kernel */
};

/* One item, the same in all threads. */
struct item {
    struct op_segment segment;
    int32_t index;       /* of the segment in this launch */
    int32_t tiles;       /* of the whole sequence */
    int32_t g, head;     /* kv head, first query head */
    int32_t heads;       /* query heads here */
    int32_t from, until; /* tiles */
};

static __device__ __forceinline__ int segment_tiles(const struct op_segment *segment, int32_t group)
{
    if (segment->slot < 0 || !decodes(segment, group))
        return 0;
    return (segment->position + segment->count - 1) / CUDA_KV_TILE + 1;
}

/* Tiles in a run: enough items for two rounds over the grid; prefix[i]: items before segment i, prefix[count] all. */
static __device__ int plan_items(const struct decode_call *call, int32_t *prefix, int32_t *partial)
{
    const struct op_attention *op = &call->call.op;
    int32_t pairs = (int32_t)op->kv_heads * call->parts, tid = threadIdx.x;
    int32_t each = (call->count + THREADS - 1) / THREADS;
    int32_t from = min(tid * each, call->count), until = min(from + each, call->count);
    int32_t tiles = 0;
    for (int i = from; i < until; i++) {
        prefix[i] = segment_tiles(&op->segments[call->first + i], call->call.group);
        tiles += prefix[i];
    }
    partial[tid] = tiles;
    __syncthreads();
    int64_t total = 0;
    for (int i = 0; i < THREADS; i++)
        total += partial[i];
    total *= pairs;
    __syncthreads();
    int32_t run = op->pages_per_slot;
    if (call->partial != NULL)
        run = (int32_t)max((int64_t)1, (total + 2 * gridDim.x - 1) / (2 * gridDim.x));
    int32_t items = 0;
    for (int i = from; i < until; i++) {
        int32_t mine = (prefix[i] + run - 1) / run * pairs;
        prefix[i] = items;
        items += mine;
    }
    partial[tid] = items;
    __syncthreads();
    int32_t before = 0;
    for (int i = 0; i < tid; i++)
        before += partial[i];
    for (int i = from; i < until; i++)
        prefix[i] += before;
    if (tid == THREADS - 1)
        prefix[call->count] = before + items;
    __syncthreads();
    return run;
}

static __device__ __forceinline__ struct item
item_at(const struct decode_call *call, const int32_t *prefix, int32_t run, int32_t at)
{
    int32_t low = 0, high = call->count; /* prefix[low] <= at < prefix[high] */
    while (high - low > 1) {
        int32_t middle = (low + high) / 2;
        if (prefix[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    struct item item;
    item.index = low;
    item.segment = call->call.op.segments[call->first + low];
    item.tiles = segment_tiles(&item.segment, call->call.group);
    int32_t runs = (item.tiles + run - 1) / run, rest = at - prefix[low];
    int32_t pair = rest / runs, part = pair % call->parts;
    item.g = pair / call->parts;
    item.head = item.g * call->call.group + part * call->heads;
    item.heads = min(call->heads, call->call.group - part * call->heads);
    item.from = rest % runs * run;
    item.until = min(item.from + run, item.tiles);
    return item;
}

/* Vector m of an item (row m / heads of the segment, query head m % heads): where its partials and results lie. */
struct vector_place {
    int64_t row, head, partial;
    bool used;
};
static __device__ __forceinline__ struct vector_place vector_at(const struct decode_call *call,
                                                                const struct item *item, int m)
{
    const struct op_attention *op = &call->call.op;
    int r = m / item->heads;
    struct vector_place place;
    place.used = r < item->segment.count;
    place.row = item->segment.row + r;
    place.head = item->head + m % item->heads;
    place.partial =
        (((int64_t)item->index * call->rows_max + r) * op->heads + place.head) * op->pages_per_slot;
    return place;
}

template <int DP, int MT> struct decode_shared {
    alignas(1024) bf16 slot[SLOTS][TILE_LINES * DP];
    alignas(
        1024) bf16 p[16 * MT * TILE_LINES]; /* probabilities; the queries before the first tile */
    float max[16 * MT][4];
    float sum[16 * MT][4][4]; /* [row][quarter][quad lane] */
    uint64_t full[SLOTS];
    int32_t prefix[SEGMENTS_MAX + 1];
    int32_t partial[THREADS];
};

/* What a thread carries through an item: two rows (l/4 and l/4 + 8) of each 16-row piece. */
template <int DP, int MT> struct decode_state {
    uint32_t q[MT][DP / 16][4];
    float m[MT][2], l[MT][2], o[MT][DP / 8]; /* o: DP / 32 blocks of 4 */
    int32_t last[MT][2];                     /* position of the row */
};

/* Asks for load n of the item (K of its first tile, V, K of the next, ...), the sequence number of slots is n + base. */
template <int DP, int MT>
static __device__ __forceinline__ void ask(decode_shared<DP, MT> &shared,
                                           const struct decode_call *call, const struct item *item,
                                           int32_t n, uint32_t base)
{
    if (n >= 2 * (item->until - item->from))
        return;
    const struct op_attention *op = &call->call.op;
    uint32_t slot = (base + n) % SLOTS;
    const bf16 *from =
        (const bf16 *)op->pages + kv_tile_start(op->page_table, op->pages_per_slot,
                                                item->segment.slot, item->from + n / 2,
                                                op->kv_heads, op->head_size, item->g, n % 2 != 0);
    if (!call->call.bulk)
        tile_copy<DP>(shared.slot[slot], from, op->head_size, call->call.aligned);
    else if (threadIdx.x == 0)
        copy_bulk(shared.slot[slot], from, CUDA_KV_TILE * DP * sizeof(bf16), &shared.full[slot]);
}
/* Waits for load n. */
template <int DP, int MT>
static __device__ __forceinline__ const bf16 *
await(decode_shared<DP, MT> &shared, const struct decode_call *call, int32_t n, uint32_t base)
{
    uint32_t at = base + n;
    if (call->call.bulk)
        barrier_wait(&shared.full[at % SLOTS], at / SLOTS % 2);
    else
        __syncthreads();
    return shared.slot[at % SLOTS];
}

/* Queries to shared memory and from there to registers; rows that are none are zeros and see everything. */
template <int DP, int MT>
static __device__ __forceinline__ void
load_queries(decode_shared<DP, MT> &shared, decode_state<DP, MT> &state,
             const struct decode_call *call, const struct item *item)
{
    const struct op_attention *op = &call->call.op;
    for (int i = threadIdx.x; i < 16 * MT * (DP / 8); i += THREADS) {
        int m = i / (DP / 8), piece = i % (DP / 8);
        struct vector_place place = vector_at(call, item, m);
        uint4 got = make_uint4(0, 0, 0, 0);
        if (place.used)
            got = piece_of_row((const bf16 *)op->q + place.row * op->q_stride +
                                   place.head * op->head_size,
                               piece, op->head_size, call->call.aligned);
        *(uint4 *)(shared.p + tile_place<16 * MT>(m, piece)) = got;
    }
    __syncthreads();
#pragma unroll
    for (int t = 0; t < MT; t++) {
#pragma unroll
        for (int k = 0; k < DP / 16; k++)
            load_rows<16 * MT>(state.q[t][k], shared.p, 16 * t, k);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int m = 16 * t + threadIdx.x % 32 / 4 + 8 * r;
            int row = m / item->heads;
            state.last[t][r] = row < item->segment.count ? item->segment.position + row : INT32_MAX;
            state.m[t][r] = -INFINITY;
            state.l[t][r] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < DP / 8; i++)
            state.o[t][i] = 0.0f;
    }
    __syncthreads(); /* p may be written */
}

/* Scores of this warp's 32 keys, their maximum to shared memory. */
template <int DP, int MT>
static __device__ __forceinline__ void
decode_scores(decode_shared<DP, MT> &shared, const decode_state<DP, MT> &state, const bf16 *keys,
              int32_t tile, float s[MT][16])
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int i = 0; i < 16; i++)
            s[t][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < DP / 16; k++)
#pragma unroll
        for (int pair = 0; pair < 2; pair++) {
            uint32_t b[4];
            load_keys(b, keys, 32 * warp + 16 * pair, k);
#pragma unroll
            for (int t = 0; t < MT; t++) {
                mma_16816(s[t] + 8 * pair, state.q[t][k], b);
                mma_16816(s[t] + 8 * pair + 4, state.q[t][k], b + 2);
            }
        }
#pragma unroll
    for (int t = 0; t < MT; t++) {
        int last[2] = {state.last[t][0] - tile * CUDA_KV_TILE,
                       state.last[t][1] - tile * CUDA_KV_TILE};
        if (min(last[0], last[1]) < 32 * warp + 31)
            tile_mask<4>(s[t], 32 * warp, last);
        float max[2];
        tile_max<4>(s[t], max);
        if (lane % 4 == 0) {
            shared.max[16 * t + lane / 4][warp] = max[0];
            shared.max[16 * t + lane / 4 + 8][warp] = max[1];
        }
    }
}

/* p to shared memory as bf16, sums of this warp's quarter; m_tile[t][row]. */
template <int DP, int MT>
static __device__ __forceinline__ void decode_exp(decode_shared<DP, MT> &shared, float exponent,
                                                  float s[MT][16], float m_tile[MT][2])
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < MT; t++) {
        float sum[2], offset[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float4 max = *(const float4 *)shared.max[16 * t + lane / 4 + 8 * r];
            m_tile[t][r] = fmaxf(fmaxf(max.x, max.y), fmaxf(max.z, max.w));
            offset[r] = tile_offset(m_tile[t][r], exponent);
        }
        quarter_exp(s[t], offset, exponent, sum);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int row = 16 * t + lane / 4 + 8 * r;
            shared.sum[row][warp][lane % 4] = sum[r];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int place = tile_place<16 * MT>(row, 4 * warp + j) + 2 * (lane % 4);
                *(uint32_t *)(shared.p + place) =
                    pack_bf16(s[t][4 * j + 2 * r], s[t][4 * j + 2 * r + 1]);
            }
        }
    }
}

/* o_t of this warp's quarter of the dims. */
template <int DP, int MT>
static __device__ __forceinline__ void decode_values(const decode_shared<DP, MT> &shared,
                                                     const bf16 *values, float o[MT][DP / 8])
{
    int warp = threadIdx.x / 32;
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int i = 0; i < DP / 8; i++)
            o[t][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < CUDA_KV_TILE / 16; k++) {
        uint32_t a[MT][4];
#pragma unroll
        for (int t = 0; t < MT; t++)
            load_rows<16 * MT>(a[t], shared.p, 16 * t, k);
#pragma unroll
        for (int pair = 0; pair < DP / 64; pair++) {
            uint32_t b[4];
            load_values(b, values, warp * (DP / 32) + 2 * pair, k);
#pragma unroll
            for (int t = 0; t < MT; t++) {
                mma_16816(o[t] + 8 * pair, a[t], b);
                mma_16816(o[t] + 8 * pair + 4, a[t], b + 2);
            }
        }
    }
}

/* Two neighbouring results of one row and dim. */
static __device__ __forceinline__ void store_pair(const struct attention_call *call, int64_t row,
                                                  int64_t head, int d, float a, float b, float l)
{
    const struct op_attention *op = &call->op;
    bf16 *y = (bf16 *)op->y + row * op->y_stride + head * op->head_size;
    float inverse = __frcp_rn(l);
    if (d < op->head_size)
        y[d] = __float2bfloat16_rn(__fmul_rn(a, inverse));
    if (d + 1 < op->head_size)
        y[d + 1] = __float2bfloat16_rn(__fmul_rn(b, inverse));
}

/* A thread's rows: to partial tile `tile` of scratch, or, tile < 0, the results. */
template <int DP, int MT>
static __device__ __forceinline__ void
decode_store(const struct decode_call *call, const struct item *item, int32_t tile,
             const float m[MT][2], const float l[MT][2], const float o[MT][DP / 8])
{
    const struct op_attention *op = &call->call.op;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            struct vector_place place = vector_at(call, item, 16 * t + lane / 4 + 8 * r);
            if (!place.used)
                continue;
            bool first = warp == 0 && lane % 4 == 0;
            if (tile < 0 && first && op->lse != NULL)
                op->lse[place.row * op->heads + place.head] =
                    attention_lse(m[t][r], l[t][r], call->call.scale);
            if (tile >= 0 && first)
                call->partial_ml[place.partial + tile] = make_float2(m[t][r], l[t][r]);
#pragma unroll
            for (int j = 0; j < DP / 32; j++) {
                int d = warp * (DP / 4) + 8 * j + 2 * (lane % 4);
                float a = o[t][4 * j + 2 * r], b = o[t][4 * j + 2 * r + 1];
                if (tile < 0)
                    store_pair(&call->call, place.row, place.head, d, a, b, l[t][r]);
                else
                    *(float2 *)(call->partial + (place.partial + tile) * DP + d) =
                        make_float2(a, b);
            }
        }
}

/* l_t, and the merge (or, in a later run, the partial). */
template <int DP, int MT>
static __device__ __forceinline__ void
decode_merge(const decode_shared<DP, MT> &shared, decode_state<DP, MT> &state,
             const struct decode_call *call, const struct item *item, int32_t tile,
             const float m_tile[MT][2], const float o_tile[MT][DP / 8])
{
    int lane = threadIdx.x % 32;
    float l_tile[MT][2];
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float(*sum)[4] = shared.sum[16 * t + lane / 4 + 8 * r];
            int x = lane % 4;
            l_tile[t][r] = quad_sum(quarters_sum(sum[0][x], sum[1][x], sum[2][x], sum[3][x]));
        }
    if (item->from > 0) {
        decode_store<DP, MT>(call, item, tile, m_tile, l_tile, o_tile);
        return;
    }
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (state.last[t][r] < tile * CUDA_KV_TILE)
                continue;
            float a, b;
            merge_factors(&state.m[t][r], m_tile[t][r], call->call.exponent, &a, &b);
            state.l[t][r] = merge(state.l[t][r], l_tile[t][r], a, b);
#pragma unroll
            for (int j = 0; j < DP / 32; j++)
#pragma unroll
                for (int i = 4 * j + 2 * r; i < 4 * j + 2 * r + 2; i++)
                    state.o[t][i] = merge(state.o[t][i], o_tile[t][i], a, b);
        }
}

template <int DP, int MT>
static __device__ __forceinline__ uint32_t decode_item(decode_shared<DP, MT> &shared,
                                                       const struct decode_call *call,
                                                       const struct item *item, uint32_t base)
{
    decode_state<DP, MT> state;
    for (int n = 0; n < SLOTS; n++)
        ask(shared, call, item, n, base);
    load_queries(shared, state, call, item);
    for (int32_t tile = item->from; tile < item->until; tile++) {
        int32_t n = 2 * (tile - item->from);
        float s[MT][16], m_tile[MT][2], o_tile[MT][DP / 8];
        const bf16 *keys = await(shared, call, n, base);
        decode_scores<DP, MT>(shared, state, keys, tile, s);
        __syncthreads(); /* maxima are there; the values of the tile before have been read */
        if (n > 0)
            ask(shared, call, item, n + 2, base);
        decode_exp<DP, MT>(shared, call->call.exponent, s, m_tile);
        __syncthreads(); /* p and sums are there; the keys have been read */
        ask(shared, call, item, n + 3, base);
        const bf16 *values = await(shared, call, n + 1, base);
        decode_values<DP, MT>(shared, values, o_tile);
        decode_merge<DP, MT>(shared, state, call, item, tile, m_tile, o_tile);
    }
    if (item->from == 0)
        decode_store<DP, MT>(call, item, item->until < item->tiles ? 0 : -1, state.m, state.l,
                             state.o);
    __syncthreads(); /* all slots are free */
    return base + 2 * (uint32_t)(item->until - item->from);
}

template <int DP, int MT>
static __global__ void __launch_bounds__(THREADS)
    decode_kernel(const __grid_constant__ struct decode_call call)
{
    extern __shared__ __align__(1024) char memory[];
    decode_shared<DP, MT> &shared = *(decode_shared<DP, MT> *)memory;
    if (threadIdx.x == 0) {
        for (int i = 0; i < SLOTS; i++)
            barrier_init(&shared.full[i], 1);
        barrier_init_done();
    }
    int32_t run = plan_items(&call, shared.prefix, shared.partial);
    if (blockIdx.x == 0 && threadIdx.x == 0 && call.run != NULL)
        *call.run = run;
    uint32_t base = 0;
    int32_t items = shared.prefix[call.count];
    for (int32_t at = (int32_t)blockIdx.x; at < items; at += (int32_t)gridDim.x) {
        struct item item = item_at(&call, shared.prefix, run, at);
        base = decode_item<DP, MT>(shared, &call, &item, base);
    }
}

/* Merges the partials of one row and query head in order: block (segment and row, head), thread = dim. */
template <int DP>
static __global__ void __launch_bounds__(DP)
    fold_kernel(const __grid_constant__ struct decode_call call)
{
    const struct op_attention *op = &call.call.op;
    int32_t index = blockIdx.x / call.rows_max, r = blockIdx.x % call.rows_max, run = *call.run;
    struct op_segment segment = op->segments[call.first + index];
    int32_t tiles = segment_tiles(&segment, call.call.group);
    if (tiles <= run || r >= segment.count)
        return;
    int64_t head = blockIdx.y;
    int64_t at = (((int64_t)index * call.rows_max + r) * op->heads + head) * op->pages_per_slot;
    const float *partial = call.partial + at * DP + threadIdx.x;
    const float2 *ml = call.partial_ml + at;
    int32_t until = (segment.position + r) / CUDA_KV_TILE + 1;
    float m = ml[0].x, l = ml[0].y, o = partial[0];
#pragma unroll 8
    for (int32_t tile = run; tile < until; tile++) {
        float2 got = ml[tile];
        float value = partial[(int64_t)tile * DP], a, b;
        merge_factors(&m, got.x, call.call.exponent, &a, &b);
        l = merge(l, got.y, a, b);
        o = merge(o, value, a, b);
    }
    int64_t row = segment.row + r;
    bf16 *y = (bf16 *)op->y + row * op->y_stride + head * op->head_size;
    if ((int64_t)threadIdx.x < op->head_size)
        y[threadIdx.x] = __float2bfloat16_rn(__fmul_rn(o, __frcp_rn(l)));
    if (threadIdx.x == 0 && op->lse != NULL)
        op->lse[row * op->heads + head] = attention_lse(m, l, call.call.scale);
}

template <int DP, int MT>
static enum status launch_decode(struct cuda_context *cuda, const struct decode_call *call)
{
    size_t bytes = sizeof(decode_shared<DP, MT>);
    CUDA_TRY(cudaFuncSetAttribute(decode_kernel<DP, MT>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    decode_kernel<DP, MT>
        <<<(unsigned)(2 * cuda->multiprocessors), THREADS, bytes, cuda->stream>>>(*call);
    TRY(cuda_launched("attention, decode"));
    if (call->partial == NULL)
        return STATUS_OK;
    dim3 grid((unsigned)(call->count * call->rows_max), (unsigned)call->call.op.heads);
    fold_kernel<DP><<<grid, DP, 0, cuda->stream>>>(*call);
    return cuda_launched("attention, fold");
}

/* Scratch for partials where they fit; a machine full of whole sequences needs none. */
static enum status make_partials(struct cuda_context *cuda, struct decode_call *call,
                                 int64_t padded)
{
    const struct op_attention *op = &call->call.op;
    int64_t pairs = (int64_t)call->count * op->kv_heads * call->parts;
    size_t count = (size_t)call->count * (size_t)call->rows_max * (size_t)op->heads *
                   (size_t)op->pages_per_slot;
    size_t each = (size_t)padded * sizeof(float) + sizeof(float2);
    if (op->pages_per_slot == 1 || pairs >= 16 * (int64_t)cuda->multiprocessors ||
        count > PARTIAL_MAX / each)
        return STATUS_OK;
    char *memory = NULL;
    TRY(cuda_scratch(cuda, count * each + sizeof(float2), (void **)&memory));
    call->partial = (float *)memory;
    call->partial_ml = (float2 *)(memory + count * (size_t)padded * sizeof(float));
    call->run = (int32_t *)(call->partial_ml + count);
    return STATUS_OK;
}

enum status attention_decode(struct cuda_context *cuda, const struct attention_call *call)
{
    const struct op_attention *op = &call->op;
    int64_t more = op->rows - op->segment_count; /* rows beyond one for each segment */
    struct decode_call decode = {};
    decode.call = *call;
    decode.heads = call->group < DECODE_HEADS ? call->group : DECODE_HEADS;
    decode.parts = (call->group + decode.heads - 1) / decode.heads;
    decode.rows_max = (int32_t)(more < DECODE_ROWS - 1 ? more + 1 : DECODE_ROWS);
    bool one_piece = decode.rows_max * decode.heads <= 16;
    int64_t padded = op->head_size <= 64 ? 64 : 128;
    for (int32_t first = 0; first < op->segment_count; first += SEGMENTS_MAX) {
        decode.first = first;
        decode.count =
            op->segment_count - first < SEGMENTS_MAX ? op->segment_count - first : SEGMENTS_MAX;
        if (first == 0)
            TRY(make_partials(cuda, &decode, padded));
        if (padded == 64 && one_piece)
            TRY((launch_decode<64, 1>(cuda, &decode)));
        else if (padded == 64)
            TRY((launch_decode<64, 2>(cuda, &decode)));
        else if (one_piece)
            TRY((launch_decode<128, 1>(cuda, &decode)));
        else
            TRY((launch_decode<128, 2>(cuda, &decode)));
    }
    return STATUS_OK;
}
