/* kernels/cuda/op_attention_decode.cu - attention for segments of few rows: bound by reading keys and values, so each
 * tile is read once for all query heads of its kv head, and all tiles of a call are spread evenly over the machine.
 *
 * The tiles of all (segment, kv head) lie in one line; block b takes the b-th part of it, whatever the positions are, so
 * a graph can be replayed with other positions. A block's part falls into pieces of sequences. A piece that starts a
 * sequence is merged where it is computed; other pieces leave each tile's (m_t, l_t, o_t) in scratch, and
 * op_attention_fold.cu merges them in order: the bits are those of one pass (attention.cuh). One warp brings tiles,
 * piece after piece without a pause; four warps share a tile: each takes 32 keys of the scores, then a quarter of the
 * value dims. */
#include "kernels/cuda/early.cuh"
#include "kernels/cuda/attention_decode.cuh"

enum {
    WORKERS = 128,
    THREADS = WORKERS + 32,
    SEGMENTS_MAX = 1024, /* of one launch: their tile counts are kept in shared memory */
};
static const size_t PARTIAL_MAX = (size_t)256 << 20;

/* A piece of one sequence and kv head, the same in all threads. */
struct piece {
    struct op_segment segment;
    int32_t index;       /* of the segment in this launch */
    int32_t tiles;       /* of the whole sequence */
    int32_t pair;        /* g * parts + part */
    int32_t from, until; /* tiles, counted from `skip` */
    int32_t skip;        /* tiles in front of those that the sequence sees */
};

/* prefix[i]: place in the line of the first tile of segment i, prefix[count] all. All threads. */
static __device__ void plan_tiles(const struct decode_call *call, int32_t *prefix, int32_t *partial)
{
    const struct op_attention *op = &call->call.op;
    int32_t pairs = (int32_t)op->kv_heads * call->parts, tid = threadIdx.x;
    int32_t each = (call->count + THREADS - 1) / THREADS;
    int32_t from = min(tid * each, call->count), until = min(from + each, call->count), sum = 0;
    for (int i = from; i < until; i++) {
        prefix[i] = sum;
        sum += segment_tiles(&op->segments[call->first + i], &call->call) * pairs;
    }
    int32_t scan = sum; /* of this thread and those before it in the warp */
    for (int offset = 1; offset < 32; offset *= 2) {
        int32_t before = __shfl_up_sync(0xffffffffu, scan, offset);
        scan += tid % 32 >= offset ? before : 0;
    }
    if (tid % 32 == 31)
        partial[tid / 32] = scan;
    __syncthreads();
    int32_t before = scan - sum;
    for (int i = 0; i < tid / 32; i++)
        before += partial[i];
    for (int i = from; i < until; i++)
        prefix[i] += before;
    if (tid == THREADS - 1)
        prefix[call->count] = before + sum;
    __syncthreads();
}

/* The piece that starts at `at` and does not reach beyond `end`, both places in the line. */
static __device__ __forceinline__ struct piece
piece_at(const struct decode_call *call, const int32_t *prefix, int32_t at, int32_t end)
{
    int32_t low = 0, high = call->count; /* prefix[low] <= at < prefix[high] */
    while (high - low > 1) {
        int32_t middle = (low + high) / 2;
        if (prefix[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    struct piece piece;
    piece.index = low;
    piece.segment = call->call.op.segments[call->first + low];
    piece.tiles = segment_tiles(&piece.segment, &call->call);
    piece.skip = segment_first(&piece.segment, &call->call);
    piece.pair = (at - prefix[low]) / piece.tiles;
    piece.from = (at - prefix[low]) % piece.tiles;
    piece.until = min(piece.tiles, piece.from + end - at);
    return piece;
}
/* The end of block b's part of the line; where sequences are not cut, the end of the sequence there. */
static __device__ __forceinline__ int32_t part_end(const struct decode_call *call,
                                                   const int32_t *prefix, int64_t b)
{
    int32_t all = prefix[call->count], end = (int32_t)(all * b / gridDim.x);
    if (call->partial != NULL || end == 0 || end == all)
        return end;
    struct piece last = piece_at(call, prefix, end - 1, end);
    return end + last.tiles - last.until;
}

/* Query heads of a piece: first, and how many. */
static __device__ __forceinline__ int32_t first_head(const struct decode_call *call, int32_t pair)
{
    return pair / call->parts * call->call.group + pair % call->parts * call->heads;
}
static __device__ __forceinline__ int32_t heads_of(const struct decode_call *call, int32_t pair)
{
    return min(call->heads, call->call.group - pair % call->parts * call->heads);
}

/* Vector m of a piece (row m / heads of the segment, query head m % heads): where its partials and results lie. */
struct vector_place {
    int64_t row, head, partial;
    bool used;
};
static __device__ __forceinline__ struct vector_place vector_at(const struct decode_call *call,
                                                                const struct piece *piece, int m)
{
    const struct op_attention *op = &call->call.op;
    int heads = heads_of(call, piece->pair), r = m / heads;
    struct vector_place place;
    place.used = r < piece->segment.count;
    place.row = piece->segment.row + r;
    place.head = first_head(call, piece->pair) + m % heads;
    place.partial = (((int64_t)piece->index * call->rows_max + r) * op->heads + place.head) *
                    op->pages_per_slot;
    return place;
}

template <int DP, int MT> struct decode_shared {
    static constexpr int SLOTS = DP > 128 ? 3 : 3 * 128 / DP; /* keys, values, keys, ... */
    static constexpr int QUERIES = DP > CUDA_KV_TILE ? DP : CUDA_KV_TILE;
    alignas(1024) bf16 slot[SLOTS][CUDA_KV_TILE * DP];
    alignas(1024) bf16 p[16 * MT * QUERIES]; /* probabilities; the queries before the first tile */
    float max[16 * MT][4];
    float sum[16 * MT][4][4]; /* [row][quarter][quad lane] */
    uint64_t full[SLOTS], empty[SLOTS];
    int32_t prefix[SEGMENTS_MAX + 1];
    int32_t partial[THREADS / 32];
};

/* What a thread carries through an item: two rows (l/4 and l/4 + 8) of each 16-row piece. */
template <int DP, int MT> struct decode_state {
    uint32_t q[MT][DP / 16][4];
    float m[MT][2], l[MT][2], o[MT][DP / 8]; /* o: DP / 32 blocks of 4 */
    int32_t last[MT][2];                     /* position of the row */
    int64_t partial[MT][2];                  /* where the vector's partials start; -1: none */
};

/* Barrier of the four warps that compute. */
static __device__ __forceinline__ void workers_wait(void)
{
    asm volatile("bar.sync 1, %0;" ::"n"((int)WORKERS) : "memory");
}

/* The warp that brings tiles: keys and values of the line's tiles [at, end). */
template <int DP, int MT>
static __device__ void bring_tiles(decode_shared<DP, MT> &shared, const struct decode_call *call,
                                   int32_t at, int32_t end)
{
    const struct op_attention *op = &call->call.op;
    const int SLOTS = decode_shared<DP, MT>::SLOTS;
    uint32_t n = 0;
    while (at < end) {
        struct piece piece = piece_at(call, shared.prefix, at, end);
        at += piece.until - piece.from;
        for (int32_t i = 2 * piece.from; i < 2 * piece.until; i++, n++) {
            const bf16 *from = (const bf16 *)op->pages +
                               kv_tile_start(op->page_table, op->pages_per_slot, piece.segment.slot,
                                             piece.skip + i / 2, op->kv_heads, op->head_size,
                                             piece.pair / call->parts, i % 2 != 0);
            uint32_t slot = n % SLOTS;
            if (n >= SLOTS)
                barrier_wait(&shared.empty[slot], (n / SLOTS - 1) % 2);
            if (!call->call.bulk) { /* each lane says that its own writes are there */
                tile_copy<DP>(shared.slot[slot], from, op->head_size, call->call.aligned, 32);
                barrier_arrive(&shared.full[slot]);
            } else if (threadIdx.x % 32 == 0)
                copy_bulk(shared.slot[slot], from, CUDA_KV_TILE * DP * sizeof(bf16),
                          &shared.full[slot]);
        }
    }
}
/* Waits for tile n of this block's. */
template <int DP, int MT>
static __device__ __forceinline__ const bf16 *await(decode_shared<DP, MT> &shared, uint32_t n)
{
    const int SLOTS = decode_shared<DP, MT>::SLOTS;
    barrier_wait(&shared.full[n % SLOTS], n / SLOTS % 2);
    return shared.slot[n % SLOTS];
}
/* This thread has read tile n; all workers say so. */
template <int DP, int MT>
static __device__ __forceinline__ void give_back(decode_shared<DP, MT> &shared, uint32_t n)
{
    barrier_arrive(&shared.empty[n % decode_shared<DP, MT>::SLOTS]);
}

/* Queries to shared memory and from there to registers; rows that are none are zeros and see everything. */
template <int DP, int MT>
static __device__ __forceinline__ void
load_queries(decode_shared<DP, MT> &shared, decode_state<DP, MT> &state,
             const struct decode_call *call, const struct piece *piece)
{
    const struct op_attention *op = &call->call.op;
    int heads = heads_of(call, piece->pair);
    for (int i = threadIdx.x; i < 16 * MT * (DP / 8); i += WORKERS) {
        int m = i / (DP / 8), eight = i % (DP / 8);
        struct vector_place place = vector_at(call, piece, m);
        uint4 got = make_uint4(0, 0, 0, 0);
        if (place.used)
            got = piece_of_row((const bf16 *)op->q + place.row * op->q_stride +
                                   place.head * op->head_size,
                               eight, op->head_size, call->call.aligned);
        *(uint4 *)(shared.p + tile_place<16 * MT>(m, eight)) = got;
    }
    workers_wait();
#pragma unroll
    for (int t = 0; t < MT; t++) {
#pragma unroll
        for (int k = 0; k < DP / 16; k++)
            load_rows<16 * MT>(state.q[t][k], shared.p, 16 * t, k);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int m = 16 * t + threadIdx.x % 32 / 4 + 8 * r;
            int row = m / heads;
            state.last[t][r] =
                row < piece->segment.count ? piece->segment.position + row : INT32_MAX;
            struct vector_place place = vector_at(call, piece, m);
            state.partial[t][r] = place.used ? place.partial : -1;
            state.m[t][r] = -INFINITY;
            state.l[t][r] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < DP / 8; i++)
            state.o[t][i] = 0.0f;
    }
    workers_wait(); /* p may be written */
}

/* Scores of this warp's 32 keys, their maximum to shared memory. */
template <int DP, int MT>
static __device__ __forceinline__ void
decode_scores(decode_shared<DP, MT> &shared, const decode_state<DP, MT> &state,
              const struct attention_call *call, const bf16 *keys, int32_t tile, float s[MT][16])
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
        if (call->op.window > 0 && max(last[0], last[1]) - 32 * warp >= call->window)
            tile_mask_before<4>(s[t], 32 * warp, last, call->window);
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

/* (m, l, o) of a thread's rows to place `tile` of their partials. */
template <int DP, int MT>
static __device__ __forceinline__ void
store_partial(const struct decode_call *call, const decode_state<DP, MT> &state, int32_t tile,
              const float m[MT][2], const float l[MT][2], const float o[MT][DP / 8])
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int64_t at = state.partial[t][r] + tile;
            if (state.partial[t][r] < 0)
                continue;
            if (warp == 0 && lane % 4 == 0)
                call->partial_ml[at] = make_float2(m[t][r], l[t][r]);
            float *to = call->partial + at * DP + warp * (DP / 4) + 2 * (lane % 4);
#pragma unroll
            for (int j = 0; j < DP / 32; j++)
                *(float2 *)(to + 8 * j) = make_float2(o[t][4 * j + 2 * r], o[t][4 * j + 2 * r + 1]);
        }
}

/* The results of a whole sequence. */
template <int DP, int MT>
static __device__ __forceinline__ void store_results(const struct decode_call *call,
                                                     const struct piece *piece,
                                                     const decode_state<DP, MT> &state)
{
    const struct op_attention *op = &call->call.op;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            struct vector_place place = vector_at(call, piece, 16 * t + lane / 4 + 8 * r);
            if (!place.used)
                continue;
            if (warp == 0 && lane % 4 == 0 && op->lse != NULL)
                op->lse[place.row * op->heads + place.head] =
                    attention_lse(state.m[t][r], state.l[t][r], call->call.scale);
#pragma unroll
            for (int j = 0; j < DP / 32; j++)
                store_pair(&call->call, place.row, place.head,
                           warp * (DP / 4) + 8 * j + 2 * (lane % 4), state.o[t][4 * j + 2 * r],
                           state.o[t][4 * j + 2 * r + 1], state.l[t][r]);
        }
}

/* l_t, and the merge (or, in a later run, the partial). */
template <int DP, int MT>
static __device__ __forceinline__ void
decode_merge(const decode_shared<DP, MT> &shared, decode_state<DP, MT> &state,
             const struct decode_call *call, const struct piece *piece, int32_t tile,
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
    if (piece->from > 0) {
        store_partial<DP, MT>(call, state, tile, m_tile, l_tile, o_tile);
        return;
    }
#pragma unroll
    for (int t = 0; t < MT; t++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (tile_unseen(state.last[t][r] - (piece->skip + tile) * CUDA_KV_TILE,
                            call->call.window))
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

/* The four warps that compute: one piece, whose first tile is the block's n-th (keys and values counted). */
template <int DP, int MT>
static __device__ __forceinline__ void decode_piece(decode_shared<DP, MT> &shared,
                                                    const struct decode_call *call,
                                                    const struct piece *piece, uint32_t n)
{
    decode_state<DP, MT> state;
    load_queries(shared, state, call, piece);
    for (int32_t tile = piece->from; tile < piece->until; tile++, n += 2) {
        float s[MT][16], m_tile[MT][2], o_tile[MT][DP / 8];
        const bf16 *keys = await(shared, n);
        decode_scores<DP, MT>(shared, state, &call->call, keys, piece->skip + tile, s);
        give_back(shared, n);
        workers_wait(); /* maxima are there; p of the tile before has been read */
        decode_exp<DP, MT>(shared, call->call.exponent, s, m_tile);
        workers_wait(); /* p and sums are there */
        const bf16 *values = await(shared, n + 1);
        decode_values<DP, MT>(shared, values, o_tile);
        give_back(shared, n + 1);
        decode_merge<DP, MT>(shared, state, call, piece, tile, m_tile, o_tile);
    }
    if (piece->from == 0 && piece->until == piece->tiles)
        store_results<DP, MT>(call, piece, state);
    else if (piece->from == 0)
        store_partial<DP, MT>(call, state, 0, state.m, state.l, state.o);
    if (piece->from == 0 && threadIdx.x == 0 && call->merged != NULL)
        call->merged[piece->index * call->call.op.kv_heads * call->parts + piece->pair] =
            piece->until;
    workers_wait(); /* p has been read */
}

template <int DP, int MT>
static __global__ void __launch_bounds__(THREADS, DP > 128 ? 1 : 2)
    decode_kernel(const __grid_constant__ struct decode_call call)
{
    extern __shared__ __align__(1024) char memory[];
    early_release(); /* fold_kernel may come and wait */
    early_wait();
    decode_shared<DP, MT> &shared = *(decode_shared<DP, MT> *)memory;
    if (threadIdx.x == 0) {
        for (int i = 0; i < decode_shared<DP, MT>::SLOTS; i++) {
            barrier_init(&shared.full[i], call.call.bulk ? 1 : 32);
            barrier_init(&shared.empty[i], WORKERS);
        }
        barrier_init_done();
    }
    plan_tiles(&call, shared.prefix, shared.partial);
    int32_t at = part_end(&call, shared.prefix, blockIdx.x);
    int32_t end = part_end(&call, shared.prefix, (int64_t)blockIdx.x + 1);
    if (threadIdx.x >= WORKERS) {
        bring_tiles<DP, MT>(shared, &call, at, end);
        return;
    }
    uint32_t n = 0;
    while (at < end) {
        struct piece piece = piece_at(&call, shared.prefix, at, end);
        decode_piece<DP, MT>(shared, &call, &piece, n);
        at += piece.until - piece.from;
        n += 2 * (uint32_t)(piece.until - piece.from);
    }
}

template <int DP, int MT>
static enum status launch_decode(struct cuda_context *cuda, const struct decode_call *call)
{
    size_t bytes = sizeof(decode_shared<DP, MT>);
    CUDA_TRY(cudaFuncSetAttribute(decode_kernel<DP, MT>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    launch_early(decode_kernel<DP, MT>, (unsigned)(2 * cuda->multiprocessors), THREADS, bytes, cuda,
                 *call);
    TRY(cuda_launched("attention, decode"));
    if (call->partial == NULL)
        return STATUS_OK;
    return attention_fold(cuda, call);
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
    TRY(cuda_scratch(cuda, count * each + (size_t)pairs * sizeof(int32_t), (void **)&memory));
    call->partial = (float *)memory;
    call->partial_ml = (float2 *)(memory + count * (size_t)padded * sizeof(float));
    call->merged = (int32_t *)(call->partial_ml + count);
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
    int64_t padded = op->head_size <= 64 ? 64 : op->head_size <= HEAD_MAX ? 128 : HEAD_WIDE;
    for (int32_t first = 0; first < op->segment_count; first += SEGMENTS_MAX) {
        decode.first = first;
        decode.count =
            op->segment_count - first < SEGMENTS_MAX ? op->segment_count - first : SEGMENTS_MAX;
        if (first == 0)
            TRY(make_partials(cuda, &decode, padded));
        if (padded == HEAD_WIDE)
            TRY((launch_decode<HEAD_WIDE, 1>(cuda, &decode)));
        else if (padded == 64 && one_piece)
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
