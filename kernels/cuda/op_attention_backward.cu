/* kernels/cuda/op_attention_backward.cu - gradient of causal softmax attention over whole packed sequences.
 *
 * With P = exp(S / sqrt(D) - lse), S = Q K^T, and delta_t = sum_d dy y of a row and head (Dao, FlashAttention-2,
 * arXiv:2307.08691, algorithm 2):
 *   dV = P^T dY;  dS = P * (dY V^T - delta);  dQ = dS K / sqrt(D);  dK = dS^T Q / sqrt(D)
 * Two kinds of blocks, both deterministic because nothing is added with atomics: one keeps a tile of keys and values
 * and walks the rows behind it (dK, dV; P and dS transposed, so they go from accumulators to operands without leaving
 * registers), one keeps a tile of rows and walks the keys before it (dQ). Scores are made twice: 7 products instead
 * of 5. P and dS are rounded to bf16 for the second products; sums are f32.
 *
 * Blocks take tiles longest first. A group's query heads are walked by one block in order, or, where that gives too
 * few blocks, by several whose f32 sums are then added in order. A team is the 128 threads of a 64-row product: two a
 * block for D > 64; for D <= 64 one, and two blocks on a multiprocessor (20 % faster there than two teams that wait for
 * each other). Where storage is f32, the GPU is not Hopper, heads have more than 128 elements, or rows cannot be read 16
 * bytes at a time, plain kernels do the same. */
#include "kernels/cuda/attention_backward.cuh"
#include "kernels/cuda/attention_backward_plain.cuh"

#include <math.h>

static constexpr float LOG2E = 1.4426950408889634f;

/* Rows [first, first + count) of a sequence in tiles; this is the work of tile `length` from the end (keys) or from
 * the start (rows): `length` tiles of the other side. count 0: no work. */
struct piece {
    int32_t first, count, length, tiles;
};
struct backward_call {
    struct op_attention_backward op;
    int32_t group;              /* query heads of a kv head */
    int32_t parts;              /* blocks that share a group's heads */
    int32_t places;             /* of pieces */
    float scale, exponent;      /* 1 / sqrt(D), log2(e) / sqrt(D) */
    const float *lse, *delta;   /* [H, T]; lse times log2(e) */
    const struct piece *pieces; /* of this kernel's tile size, longest first */
    float *dk_part, *dv_part;   /* [parts, T, G, D] or NULL */
};

/* ---- before: delta, lse, and the list of tiles ---- */

/* LANES threads, each with eight elements, a row and head; a block takes 256 / LANES rows. */
template <int LANES>
static __global__ void __launch_bounds__(256)
    delta_kernel(struct op_attention_backward op, float *lse, float *delta)
{
    int64_t t = (int64_t)blockIdx.x * (256 / LANES) + threadIdx.x / LANES, h = blockIdx.y;
    int64_t d = threadIdx.x % LANES * 8, at = t * op.y_stride + h * op.head_size + d;
    float sum = 0;
    if (t < op.rows && d < op.head_size) {
        uint4 y = *(const uint4 *)((const bf16 *)op.y + at);
        uint4 dy = *(const uint4 *)((const bf16 *)op.dy + at);
        const bf16 *a = (const bf16 *)&y, *b = (const bf16 *)&dy;
        for (int i = 0; i < 8; i++)
            sum = __fmaf_rn(to_float(a[i]), to_float(b[i]), sum);
    }
    for (int offset = LANES / 2; offset > 0; offset /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (t < op.rows && threadIdx.x % LANES == 0) {
        delta[h * op.rows + t] = sum;
        lse[h * op.rows + t] = op.lse[t * op.heads + h] * LOG2E;
    }
}

static __device__ __forceinline__ int32_t tiles_of(const struct op_segment *segment, int32_t tile)
{
    return segment->slot < 0 ? 0 : (segment->count + tile - 1) / tile;
}

/* One block a list: a warp a segment. Place of (segment s, length w): all longer ones of any segment, then those of
 * the same length in earlier segments. */
static __global__ void __launch_bounds__(1024)
    pieces_kernel(const struct op_segment *segments, int32_t segment_count, int32_t places,
                  int32_t tile, struct piece *pieces)
{
    int32_t total = 0;
    for (int32_t i = 0; i < segment_count; i++)
        total += tiles_of(&segments[i], tile);
    for (int32_t i = total + (int32_t)threadIdx.x; i < places; i += 1024)
        pieces[i] = (struct piece){0, 0, 0, 0};
    for (int32_t s = (int32_t)threadIdx.x / 32; s < segment_count; s += 32) {
        int32_t tiles = tiles_of(&segments[s], tile);
        for (int32_t w = 1 + (int32_t)threadIdx.x % 32; w <= tiles; w += 32) {
            int32_t place = 0;
            for (int32_t i = 0; i < segment_count; i++) {
                int32_t have = tiles_of(&segments[i], tile);
                place += have > w ? have - w : 0;
                place += i < s && have >= w;
            }
            pieces[place] = (struct piece){segments[s].row, segments[s].count, w, tiles};
        }
    }
}

/* ---- tensor cores ---- */

/* What the threads of a block share: the tile that stays, and a ring of tiles that pass by. */
template <int DP, int GROUPS> struct layout {
    static constexpr int ROWS = 64 * GROUPS, THREADS = 128 * GROUPS;
    static constexpr int STAY = ROWS * DP * 2, PASS = STREAM * DP * 2;
    static constexpr int RING = 2 * STAY, NUMBERS = RING + STAGES * 2 * PASS;
    static constexpr int BARRIERS = NUMBERS + STAGES * 2 * STREAM * (int)sizeof(float);
    static constexpr int BYTES = BARRIERS + (int)sizeof(struct ring_barriers);
};

/* P from scores x of a tile; on the diagonal 0 where the row is before the key (TURNED: rows of x are keys). With a window
 * 0 where the row's place in the tile minus the key's is above `reach`. lse(i): of x[i]. */
template <bool TURNED, bool WINDOW, typename LSE>
static __device__ __forceinline__ void probabilities(float x[32], bool diagonal, int reach,
                                                     float exponent, LSE lse)
{
#pragma unroll
    for (int i = 0; i < 32; i++)
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(x[i]) : "f"(__fmaf_rn(x[i], exponent, -lse(i))));
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x % 128 / 32 * 16 + lane / 4;
    if (WINDOW && reach < STREAM - 1) {
#pragma unroll
        for (int i = 0; i < 32; i++) {
            int r = row + 8 * (i / 2 % 2), column = i / 4 * 8 + 2 * (lane % 4) + i % 2;
            if ((TURNED ? column - r : r - column) > reach)
                x[i] = 0.0f;
        }
    }
    if (!diagonal)
        return;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        int r = row + 8 * (i / 2 % 2), column = i / 4 * 8 + 2 * (lane % 4) + i % 2;
        if (TURNED ? column < r : column > r)
            x[i] = 0.0f;
    }
}

/* Rows of a 64 x DP accumulator to global memory, times `factor`. */
template <int DP, typename OUT>
static __device__ __forceinline__ void store_sum(OUT *to, int64_t stride, const float *sum,
                                                 float factor, int rows_left, int size)
{
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x % 128 / 32 * 16 + lane / 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (row + 8 * r >= rows_left)
            continue;
        OUT *line = to + (row + 8 * r) * stride + 2 * (lane % 4);
#pragma unroll
        for (int j = 0; j < DP / 8; j++) {
            float low = sum[4 * j + 2 * r] * factor, high = sum[4 * j + 2 * r + 1] * factor;
            if (8 * j >= size)
                continue;
            if constexpr (sizeof(OUT) == 2)
                *(uint32_t *)(line + 8 * j) = pack_bf16(low, high);
            else
                *(float2 *)(line + 8 * j) = make_float2(low, high);
        }
    }
}

/* The tile of keys a block has, and the rows it asks for next. */
struct keys_work {
    int64_t first; /* row of the first key */
    int g, part, heads,
        left;              /* query heads to walk; keys from `first` to the end of the sequence */
    int rows;              /* from `first` that see a key of the tile */
    int head, ahead, turn; /* next: query head, row after `first`, place in the ring */
};
template <int ROWS>
static __device__ __forceinline__ struct keys_work keys_begin(const struct backward_call &call,
                                                              int column, const struct piece piece)
{
    struct keys_work work = {};
    work.g = column / call.parts;
    work.part = column % call.parts;
    int each = (call.group + call.parts - 1) / call.parts, from = work.part * each;
    int begin = (piece.tiles - piece.length) * ROWS;
    work.heads = min(each, call.group - from);
    work.head = work.g * call.group + from;
    work.first = piece.first + begin;
    work.left = piece.count - begin;
    work.rows = work.left;
    if (call.op.window > 0)
        work.rows = min(work.left, ROWS - 1 + call.op.window);
    return work;
}
/* Asks for q, dy, lse and delta of the next step. */
template <int DP, int GROUPS>
static __device__ __forceinline__ void keys_load(const struct backward_call &call,
                                                 struct keys_work *work, char *shared)
{
    typedef layout<DP, GROUPS> L;
    const struct op_attention_backward &op = call.op;
    int size = (int)op.head_size, left = work->rows - work->ahead;
    int64_t row = work->first + work->ahead;
    char *stage = shared + L::RING + work->turn * (2 * L::PASS);
    tile_load<DP, STREAM, L::THREADS>(stage,
                                      (const bf16 *)op.q + row * op.row_stride + work->head * size,
                                      op.row_stride, left, size);
    tile_load<DP, STREAM, L::THREADS>(stage + L::PASS,
                                      (const bf16 *)op.dy + row * op.y_stride + work->head * size,
                                      op.y_stride, left, size);
    int i = (int)threadIdx.x % STREAM;
    const float *from = threadIdx.x < STREAM ? call.lse : call.delta;
    float *numbers = (float *)(shared + L::NUMBERS) + work->turn * (2 * STREAM);
    if (threadIdx.x < 2 * STREAM)
        copy_async_4(numbers + threadIdx.x, from + work->head * op.rows + row + i, i < left);
    work->turn = work->turn + 1 < STAGES ? work->turn + 1 : 0;
    work->ahead += STREAM;
    if (work->ahead >= work->rows) {
        work->ahead = 0;
        work->head++;
    }
}
/* A team's 64 keys. */
template <int DP>
static __device__ __forceinline__ void keys_store(const struct backward_call &call,
                                                  const struct keys_work &work, int team,
                                                  const float *dk, const float *dv)
{
    const struct op_attention_backward &op = call.op;
    int size = (int)op.head_size, left = work.left - team * 64;
    int64_t row = work.first + team * 64;
    if (call.dk_part == NULL) {
        int64_t at = row * op.row_stride + work.g * size;
        store_sum<DP>((bf16 *)op.dk + at, op.row_stride, dk, call.scale, left, size);
        store_sum<DP>((bf16 *)op.dv + at, op.row_stride, dv, 1.0f, left, size);
    } else {
        int64_t width = op.kv_heads * size;
        int64_t at = (work.part * op.rows + row) * width + work.g * size;
        store_sum<DP>(call.dk_part + at, width, dk, call.scale, left, size);
        store_sum<DP>(call.dv_part + at, width, dv, 1.0f, left, size);
    }
}

/* dS = P (dP - delta) of a tile, as operands. delta(i): of y[i]. */
template <typename DELTA>
static __device__ __forceinline__ void score_gradients(uint32_t ds[16], const float x[32],
                                                       float y[32], DELTA delta)
{
#pragma unroll
    for (int i = 0; i < 32; i++)
        y[i] = x[i] * (y[i] - delta(i));
    pack_weights(ds, y);
}

/* dk and dv of a tile of keys; `column` is the kv head and part. */
template <int DP, int GROUPS, bool WINDOW>
static __device__ __forceinline__ void keys_tile(const struct backward_call &call, int column,
                                                 const struct piece piece, char *shared)
{
    typedef layout<DP, GROUPS> L;
    const struct op_attention_backward &op = call.op;
    int size = (int)op.head_size, team = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0);
    struct keys_work work = keys_begin<L::ROWS>(call, column, piece);
    int walk = (work.rows + STREAM - 1) / STREAM, steps = work.heads > 0 ? work.heads * walk : 0;
    char *k_tile = shared, *v_tile = shared + L::STAY, *ring = shared + L::RING;
    float *numbers = (float *)(shared + L::NUMBERS);
    struct ring_barriers *barriers = (struct ring_barriers *)(shared + L::BARRIERS);
    ring_init<L::THREADS>(barriers);
    __syncthreads();

    int64_t key = work.first * op.row_stride + work.g * size;
    tile_load<DP, L::ROWS, L::THREADS>(k_tile, (const bf16 *)op.k + key, op.row_stride, work.left,
                                       size);
    tile_load<DP, L::ROWS, L::THREADS>(v_tile, (const bf16 *)op.v + key, op.row_stride, work.left,
                                       size);
    float dk[DP / 2], dv[DP / 2], x[32], y[32];
    uint32_t p[16], ds[16];
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        dk[i] = dv[i] = 0;
    pin(dk);
    pin(dv);
    product_fence();
    if (steps > 0)
        keys_load<DP, GROUPS>(call, &work, shared);
    ring_begin<GROUPS>(barriers);
    uint32_t k_mine = tile_address(k_tile) + team * (64 * LINE_BYTES / 16);
    uint32_t v_mine = k_mine + L::STAY / 16, ring_start = tile_address(ring);
    int tile = -team; /* row tiles since this team's diagonal */
    struct ring_place place = {0, 0};
    for (int step = 0; step < steps; step++, place = ring_next(place)) {
        ring_enter<GROUPS>(barriers, place, step, steps,
                           [&] { keys_load<DP, GROUPS>(call, &work, shared); });
        uint32_t stage = ring_start + place.turn * (2 * L::PASS / 16);
        const float *lse = numbers + place.turn * (2 * STREAM) + 2 * (threadIdx.x % 4);
        const float *delta = lse + STREAM;
        int now = tile;
        tile = tile + 1 < walk - team ? tile + 1 : -team;
        if (now < 0) { /* all rows are before this team's keys */
            product_wait<0>();
            ring_leave<GROUPS>(barriers, place, step);
            continue;
        }
        product_fence();
        scores<DP, L::ROWS * LINE_BYTES>(x, k_mine, stage);
        product_commit();
        scores<DP, L::ROWS * LINE_BYTES>(y, v_mine, stage + L::PASS / 16);
        product_commit();
        product_wait<1>();
        pin(x);
        ring_leave<GROUPS>(barriers, place, step);
        probabilities<true, WINDOW>(x, now == 0, call.op.window - 1 - now * STREAM, call.exponent,
                                    [&](int i) { return lse[i / 4 * 8 + i % 2]; });
        pack_weights(p, x);
        product_fence();
        accumulate<DP>(dv, p, stage + L::PASS / 16);
        product_commit();
        product_wait<1>();
        pin(y);
        score_gradients(ds, x, y, [&](int i) { return delta[i / 4 * 8 + i % 2]; });
        product_fence();
        accumulate<DP>(dk, ds, stage);
        product_commit();
    }
    product_wait<0>();
    pin(dk);
    pin(dv);
    keys_store<DP>(call, work, team, dk, dv);
}

/* Asks for the keys and values of a step; `skip` tiles in front of them are seen by no row of the block. */
template <int DP, int GROUPS>
static __device__ __forceinline__ void rows_load(const struct op_attention_backward &op,
                                                 const struct piece piece, int g, int skip,
                                                 int step, char *shared)
{
    typedef layout<DP, GROUPS> L;
    int size = (int)op.head_size, from = (skip + step) * STREAM, left = piece.count - from;
    int64_t key = (piece.first + from) * op.row_stride + g * size;
    char *stage = shared + L::RING + step % STAGES * (2 * L::PASS);
    tile_load<DP, STREAM, L::THREADS>(stage, (const bf16 *)op.k + key, op.row_stride, left, size);
    tile_load<DP, STREAM, L::THREADS>(stage + L::PASS, (const bf16 *)op.v + key, op.row_stride,
                                      left, size);
}
/* x = scores of a team's 64 rows with a tile: from registers where there is room, else from shared memory. */
template <int DP, int PANEL>
static __device__ __forceinline__ void rows_scores(float x[32], const uint32_t *kept, uint32_t mine,
                                                   uint32_t passing)
{
    if constexpr (DP == 128)
        scores_kept<DP>(x, kept, passing);
    else
        scores<DP, PANEL>(x, mine, passing);
    product_commit();
}

/* lse and delta of a thread's two rows. */
static __device__ __forceinline__ void rows_numbers(const struct backward_call &call, int h,
                                                    int64_t row, int left, float lse[2],
                                                    float delta[2])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int mine = (int)threadIdx.x % 128 / 32 * 16 + (int)threadIdx.x % 32 / 4 + 8 * r;
        lse[r] = mine < left ? call.lse[h * call.op.rows + row + mine] : 0.0f;
        delta[r] = mine < left ? call.delta[h * call.op.rows + row + mine] : 0.0f;
    }
}

/* dq of a tile of rows of query head h. */
template <int DP, int GROUPS, bool WINDOW>
static __device__ __forceinline__ void rows_tile(const struct backward_call &call, int h,
                                                 const struct piece piece, char *shared)
{
    typedef layout<DP, GROUPS> L;
    const struct op_attention_backward &op = call.op;
    int size = (int)op.head_size, team = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0);
    int g = h / call.group;
    int begin = (piece.length - 1) * L::ROWS, left = piece.count - begin;
    int skip = WINDOW ? max(begin - op.window + 1, 0) / STREAM : 0;
    int steps = (min(piece.count, begin + L::ROWS) + STREAM - 1) / STREAM - skip;
    char *q_tile = shared, *dy_tile = shared + L::STAY;
    struct ring_barriers *barriers = (struct ring_barriers *)(shared + L::BARRIERS);
    ring_init<L::THREADS>(barriers);
    __syncthreads();

    int64_t row = piece.first + begin;
    tile_load<DP, L::ROWS, L::THREADS>(q_tile, (const bf16 *)op.q + row * op.row_stride + h * size,
                                       op.row_stride, left, size);
    tile_load<DP, L::ROWS, L::THREADS>(dy_tile, (const bf16 *)op.dy + row * op.y_stride + h * size,
                                       op.y_stride, left, size);
    row += team * 64;
    left -= team * 64;
    float lse[2], delta[2];
    rows_numbers(call, h, row, left, lse, delta);

    float dq[DP / 2], x[32], y[32];
    uint32_t ds[16];
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        dq[i] = 0;
    pin(dq);
    product_fence();
    rows_load<DP, GROUPS>(op, piece, g, skip, 0, shared);
    ring_begin<GROUPS>(barriers);
    uint32_t q_mine = tile_address(q_tile) + team * (64 * LINE_BYTES / 16);
    uint32_t dy_mine = q_mine + L::STAY / 16, ring_start = tile_address(shared + L::RING);
    uint32_t q_kept[DP / 4], dy_kept[DP / 4];
    if constexpr (DP == 128) {
        keep_rows<DP>(q_kept, q_tile + team * (64 * LINE_BYTES), L::ROWS * LINE_BYTES);
        keep_rows<DP>(dy_kept, dy_tile + team * (64 * LINE_BYTES), L::ROWS * LINE_BYTES);
    }
    int diagonal = begin / STREAM + team - skip;
    struct ring_place place = {0, 0};
    for (int step = 0; step < steps; step++, place = ring_next(place)) {
        ring_enter<GROUPS>(barriers, place, step, steps,
                           [&] { rows_load<DP, GROUPS>(op, piece, g, skip, step + 1, shared); });
        if (step > diagonal) { /* all keys are behind this team's rows */
            product_wait<0>();
            ring_leave<GROUPS>(barriers, place, step);
            continue;
        }
        uint32_t stage = ring_start + place.turn * (2 * L::PASS / 16);
        product_fence();
        rows_scores<DP, L::ROWS * LINE_BYTES>(x, q_kept, q_mine, stage);
        rows_scores<DP, L::ROWS * LINE_BYTES>(y, dy_kept, dy_mine, stage + L::PASS / 16);
        product_wait<1>();
        pin(x);
        ring_leave<GROUPS>(barriers, place, step);
        probabilities<false, WINDOW>(x, step == diagonal,
                                     call.op.window - 1 - (diagonal - step) * STREAM, call.exponent,
                                     [&](int i) { return lse[i / 2 % 2]; });
        product_wait<0>();
        pin(y);
        score_gradients(ds, x, y, [&](int i) { return delta[i / 2 % 2]; });
        product_fence();
        accumulate<DP>(dq, ds, stage);
        product_commit();
    }
    product_wait<0>();
    pin(dq);
    store_sum<DP>((bf16 *)op.dq + row * op.row_stride + h * size, op.row_stride, dq, call.scale,
                  left, size);
}

/* First the blocks of keys, then those of rows, both longest first: the rows fill the end of the keys. */
template <int DP, int GROUPS, bool WINDOW>
static __global__ void __launch_bounds__(layout<DP, GROUPS>::THREADS, 1)
    tiles_kernel(const struct backward_call call)
{
#ifdef CUDA_HOPPER_CODE
    extern __shared__ __align__(1024) char shared[];
    int block = (int)blockIdx.x, width = (int)call.op.kv_heads * call.parts;
    bool keys = block < call.places * width;
    if (!keys) {
        block -= call.places * width;
        width = (int)call.op.heads;
    }
    const struct piece piece = call.pieces[block / width];
    if (piece.count == 0)
        return;
    if (keys)
        keys_tile<DP, GROUPS, WINDOW>(call, block % width, piece, shared);
    else
        rows_tile<DP, GROUPS, WINDOW>(call, block % width, piece, shared);
#endif
}

/* dk and dv from the sums of the parts, in order. A thread a pair of elements. */
static __global__ void __launch_bounds__(256) parts_kernel(const struct backward_call call)
{
    int64_t width = call.op.kv_heads * call.op.head_size, plane = call.op.rows * width;
    int64_t i = 2 * ((int64_t)blockIdx.x * 256 + threadIdx.x);
    if (i >= plane)
        return;
    float2 dk = {0, 0}, dv = {0, 0};
    for (int part = 0; part < call.parts; part++) {
        float2 k = *(const float2 *)(call.dk_part + part * plane + i);
        float2 v = *(const float2 *)(call.dv_part + part * plane + i);
        dk = make_float2(dk.x + k.x, dk.y + k.y);
        dv = make_float2(dv.x + v.x, dv.y + v.y);
    }
    int64_t at = i / width * call.op.row_stride + i % width;
    *(uint32_t *)((bf16 *)call.op.dk + at) = pack_bf16(dk.x, dk.y);
    *(uint32_t *)((bf16 *)call.op.dv + at) = pack_bf16(dv.x, dv.y);
}

/* ---- the op ---- */

static enum status make_pieces(struct cuda_context *cuda, int32_t tile, struct backward_call *call)
{
    const struct op_attention_backward *args = &call->op;
    void *made = NULL;
    call->places = (int32_t)(args->rows / tile) + args->segment_count;
    TRY(cuda_scratch(cuda, (size_t)call->places * sizeof(struct piece), &made));
    pieces_kernel<<<1, 1024, 0, cuda->stream>>>(args->segments, args->segment_count, call->places,
                                                tile, (struct piece *)made);
    call->pieces = (const struct piece *)made;
    return cuda_launched("attention_backward: pieces");
}

/* Blocks that share the heads of a group: as few as give three waves of blocks, so that the last ones are short. */
static int32_t choose_parts(const struct cuda_context *cuda, const struct backward_call *call)
{
    int64_t blocks = call->places * call->op.kv_heads, wanted = 3 * (int64_t)cuda->multiprocessors;
    int64_t parts = (wanted + blocks - 1) / blocks;
    return parts < call->group ? (int32_t)parts : call->group;
}

template <int DP, int GROUPS, bool WINDOW>
static enum status run_tiles(struct cuda_context *cuda, struct backward_call *call)
{
    typedef layout<DP, GROUPS> L;
    const struct op_attention_backward *args = &call->op;
    void *part = NULL;
    CUDA_TRY(cudaFuncSetAttribute(tiles_kernel<DP, GROUPS, WINDOW>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, L::BYTES));
    TRY(make_pieces(cuda, L::ROWS, call));
    call->parts = choose_parts(cuda, call);
    size_t sum = (size_t)(call->parts * args->rows * args->kv_heads * args->head_size);
    if (call->parts > 1) {
        TRY(cuda_scratch(cuda, 2 * sum * sizeof(float), &part));
        call->dk_part = (float *)part;
        call->dv_part = call->dk_part + sum;
    }
    int64_t blocks = call->places * (args->kv_heads * call->parts + args->heads);
    tiles_kernel<DP, GROUPS, WINDOW>
        <<<(unsigned)blocks, L::THREADS, L::BYTES, cuda->stream>>>(*call);
    TRY(cuda_launched("attention_backward: tiles"));
    if (call->parts == 1)
        return STATUS_OK;
    int64_t pairs = args->rows * args->kv_heads * args->head_size / 2;
    parts_kernel<<<cuda_blocks(pairs, 256), 256, 0, cuda->stream>>>(*call);
    return cuda_launched("attention_backward: parts");
}

static enum status run_bf16(struct cuda_context *cuda, const struct op_attention_backward *args)
{
    struct backward_call call = {};
    call.op = *args;
    call.group = (int32_t)(args->heads / args->kv_heads);
    double root = sqrt((double)args->head_size);
    call.scale = args->scale != 0.0f ? args->scale : (float)(1.0 / root);
    call.exponent = args->scale != 0.0f ? (float)(1.4426950408889634 * (double)args->scale)
                                        : (float)(1.4426950408889634 / root);
    void *numbers = NULL;
    TRY(cuda_scratch(cuda, 2 * (size_t)(args->heads * args->rows) * sizeof(float), &numbers));
    float *lse = (float *)numbers, *delta = lse + args->heads * args->rows;
    bool small = args->head_size <= 64;
    dim3 grid(cuda_blocks(args->rows, small ? 32 : 16), (unsigned)args->heads);
    if (small)
        delta_kernel<8><<<grid, 256, 0, cuda->stream>>>(*args, lse, delta);
    else
        delta_kernel<16><<<grid, 256, 0, cuda->stream>>>(*args, lse, delta);
    TRY(cuda_launched("attention_backward: delta"));
    call.lse = lse;
    call.delta = delta;
    if (args->window > 0)
        return small ? run_tiles<64, 1, true>(cuda, &call) : run_tiles<128, 2, true>(cuda, &call);
    return small ? run_tiles<64, 1, false>(cuda, &call) : run_tiles<128, 2, false>(cuda, &call);
}

static bool aligned(const struct op_attention_backward *args)
{
    uintptr_t all = (uintptr_t)args->q | (uintptr_t)args->k | (uintptr_t)args->v |
                    (uintptr_t)args->y | (uintptr_t)args->dy | (uintptr_t)args->dq |
                    (uintptr_t)args->dk | (uintptr_t)args->dv;
    int64_t strides = args->row_stride | args->y_stride | args->head_size;
    return all % 16 == 0 && strides % 8 == 0;
}

extern "C" enum status cuda_attention_backward(void *context,
                                               const struct op_attention_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    CHECK(args->heads % args->kv_heads == 0);
    if (args->head_size > 256)
        return FAIL(STATUS_UNSUPPORTED, "attention_backward: heads of %lld elements; up to 256",
                    (long long)args->head_size);
    if (args->rows == 0 || args->segment_count == 0)
        return STATUS_OK;
    if (cuda->f32)
        return run_plain<float>(cuda, args);
    bool tiles = cuda->hopper && aligned(args) && args->head_size <= 128;
    return tiles ? run_bf16(cuda, args) : run_plain<bf16>(cuda, args);
}
