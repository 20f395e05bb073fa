/* kernels/cuda/op_attention_backward.cu - gradient of causal softmax attention over whole packed sequences.
 *
 * With P = exp(S / sqrt(D) - lse), S = Q K^T, and delta_t = sum_d dy y of a row and head (Dao, FlashAttention-2,
 * arXiv:2307.08691, algorithm 2):
 *   dV = P^T dY;  dS = P * (dY V^T - delta);  dQ = dS K / sqrt(D);  dK = dS^T Q / sqrt(D)
 * Two kernels, both deterministic because nothing is added with atomics: one keeps a tile of keys and values and walks
 * the rows behind it (dK, dV; P and dS transposed, so they go from accumulators to operands without leaving
 * registers), one keeps a tile of rows and walks the keys before it (dQ). Scores are made twice: 7 products instead
 * of 5. P and dS are rounded to bf16 for the second products; sums are f32.
 *
 * A group's query heads are walked by one block in order, or, where that gives too few blocks, by several whose f32
 * sums are then added in order. Blocks take tiles longest first. Where storage is f32, or rows cannot be read 16 bytes
 * at a time, two plain kernels with sums in f64 do the same. */
#include "kernels/cuda/attention_backward.cuh"

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
    static constexpr int BYTES = NUMBERS + STAGES * 2 * STREAM * (int)sizeof(float);
};

/* P from scores x of a tile; on the diagonal 0 where the row is before the key (TURNED: rows of x are keys). lse(i): of
 * x[i]. */
template <bool TURNED, typename LSE>
static __device__ __forceinline__ void probabilities(float x[32], bool diagonal, float exponent,
                                                     LSE lse)
{
#pragma unroll
    for (int i = 0; i < 32; i++)
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(x[i]) : "f"(__fmaf_rn(x[i], exponent, -lse(i))));
    if (!diagonal)
        return;
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x % 128 / 32 * 16 + lane / 4;
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

/* dk and dv of a tile of keys; `column` is the kv head and part. */
template <int DP, int GROUPS>
static __device__ __forceinline__ void keys_tile(const struct backward_call &call, int column,
                                                 const struct piece piece, char *shared)
{
    typedef layout<DP, GROUPS> L;
    const struct op_attention_backward &op = call.op;
    int size = (int)op.head_size, team = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0);
    int g = column / call.parts, part = column % call.parts;
    int heads_each = (call.group + call.parts - 1) / call.parts, from_head = part * heads_each;
    int heads = min(heads_each, call.group - from_head);
    int begin = (piece.tiles - piece.length) * L::ROWS, left = piece.count - begin;
    int walk = (left + STREAM - 1) / STREAM, steps = heads > 0 ? heads * walk : 0;
    char *k_tile = shared, *v_tile = shared + L::STAY, *ring = shared + L::RING;
    float *numbers = (float *)(shared + L::NUMBERS);

    int64_t key = (piece.first + begin) * op.row_stride + g * size;
    tile_load<DP, L::ROWS, L::THREADS>(k_tile, (const bf16 *)op.k + key, op.row_stride, left, size);
    tile_load<DP, L::ROWS, L::THREADS>(v_tile, (const bf16 *)op.v + key, op.row_stride, left, size);
    int load_head = g * call.group + from_head, load_ahead = 0, load_turn = 0;
    auto load = [&]() { /* the next step's tiles */
                        int64_t row = piece.first + begin + load_ahead;
                        char *stage = ring + load_turn * (2 * L::PASS);
                        tile_load<DP, STREAM, L::THREADS>(
                            stage, (const bf16 *)op.q + row * op.row_stride + load_head * size,
                            op.row_stride, left - load_ahead, size);
                        tile_load<DP, STREAM, L::THREADS>(stage + L::PASS,
                                                          (const bf16 *)op.dy + row * op.y_stride +
                                                              load_head * size,
                                                          op.y_stride, left - load_ahead, size);
                        int i = (int)threadIdx.x % STREAM;
                        if (threadIdx.x < 2 * STREAM)
                            copy_async_4(numbers + load_turn * (2 * STREAM) + threadIdx.x,
                                         (threadIdx.x < STREAM ? call.lse : call.delta) +
                                             load_head * op.rows + row + i,
                                         i < left - load_ahead);
                        load_turn = load_turn + 1 < STAGES ? load_turn + 1 : 0;
                        load_ahead += STREAM;
                        if (load_ahead >= left) {
                            load_ahead = 0;
                            load_head++;
                        }
    };

    float dk[DP / 2], dv[DP / 2], x[32], y[32];
    uint32_t p[16], ds[16];
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        dk[i] = dv[i] = 0;
    pin(dk);
    pin(dv);
    product_fence();
    copy_async_commit();
    if (steps > 0)
        load();
    copy_async_commit();
    uint32_t k_mine = tile_address(k_tile) + team * (64 * LINE_BYTES / 16);
    uint32_t v_mine = k_mine + L::STAY / 16, ring_start = tile_address(ring);
    int tile = -team, turn = 0; /* row tiles since this team's diagonal; place in the ring */
    for (int step = 0; step < steps; step++) {
        copy_async_wait<0>();
        copies_visible();
        __syncthreads();
        if (step + 1 < steps)
            load();
        copy_async_commit();
        uint32_t stage = ring_start + turn * (2 * L::PASS / 16);
        const float *lse = numbers + turn * (2 * STREAM) + 2 * (threadIdx.x % 4);
        const float *delta = lse + STREAM;
        int now = tile;
        tile = tile + 1 < walk - team ? tile + 1 : -team;
        turn = turn + 1 < STAGES ? turn + 1 : 0;
        if (now < 0) { /* all rows are before this team's keys */
            product_wait<0>();
            continue;
        }
        product_fence();
        scores<DP, L::ROWS * LINE_BYTES>(x, k_mine, stage);
        product_commit();
        scores<DP, L::ROWS * LINE_BYTES>(y, v_mine, stage + L::PASS / 16);
        product_commit();
        product_wait<1>();
        pin(x);
        probabilities<true>(x, now == 0, call.exponent,
                            [&](int i) { return lse[i / 4 * 8 + i % 2]; });
        pack_weights(p, x);
        product_fence();
        accumulate<DP>(dv, p, stage + L::PASS / 16);
        product_commit();
        product_wait<1>();
        pin(y);
#pragma unroll
        for (int i = 0; i < 32; i++)
            y[i] = x[i] * (y[i] - delta[i / 4 * 8 + i % 2]);
        pack_weights(ds, y);
        product_fence();
        accumulate<DP>(dk, ds, stage);
        product_commit();
    }
    product_wait<0>();
    pin(dk);
    pin(dv);
    left -= team * 64;
    int64_t row = piece.first + begin + team * 64;
    if (call.dk_part == NULL) {
        int64_t at = row * op.row_stride + g * size;
        store_sum<DP>((bf16 *)op.dk + at, op.row_stride, dk, call.scale, left, size);
        store_sum<DP>((bf16 *)op.dv + at, op.row_stride, dv, 1.0f, left, size);
    } else {
        int64_t width = op.kv_heads * size, at = (part * op.rows + row) * width + g * size;
        store_sum<DP>(call.dk_part + at, width, dk, call.scale, left, size);
        store_sum<DP>(call.dv_part + at, width, dv, 1.0f, left, size);
    }
}

/* dq of a tile of rows of query head h. */
template <int DP, int GROUPS>
static __device__ __forceinline__ void rows_tile(const struct backward_call &call, int h,
                                                 const struct piece piece, char *shared)
{
    typedef layout<DP, GROUPS> L;
    const struct op_attention_backward &op = call.op;
    int size = (int)op.head_size, team = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0);
    int g = h / call.group;
    int begin = (piece.length - 1) * L::ROWS, left = piece.count - begin;
    int steps = (min(piece.count, begin + L::ROWS) + STREAM - 1) / STREAM;
    char *q_tile = shared, *dy_tile = shared + L::STAY, *ring = shared + L::RING;

    int64_t row = piece.first + begin;
    tile_load<DP, L::ROWS, L::THREADS>(q_tile, (const bf16 *)op.q + row * op.row_stride + h * size,
                                       op.row_stride, left, size);
    tile_load<DP, L::ROWS, L::THREADS>(dy_tile, (const bf16 *)op.dy + row * op.y_stride + h * size,
                                       op.y_stride, left, size);
    auto load = [&](int step) {
        int64_t key = (piece.first + step * STREAM) * op.row_stride + g * size;
        char *stage = ring + step % STAGES * (2 * L::PASS);
        int keys_left = piece.count - step * STREAM;
        tile_load<DP, STREAM, L::THREADS>(stage, (const bf16 *)op.k + key, op.row_stride, keys_left,
                                          size);
        tile_load<DP, STREAM, L::THREADS>(stage + L::PASS, (const bf16 *)op.v + key, op.row_stride,
                                          keys_left, size);
    };
    row += team * 64;
    left -= team * 64;
    float lse[2], delta[2];
    for (int r = 0; r < 2; r++) {
        int mine = (int)threadIdx.x % 128 / 32 * 16 + (int)threadIdx.x % 32 / 4 + 8 * r;
        lse[r] = mine < left ? call.lse[h * op.rows + row + mine] : 0.0f;
        delta[r] = mine < left ? call.delta[h * op.rows + row + mine] : 0.0f;
    }

    float dq[DP / 2], x[32], y[32];
    uint32_t ds[16];
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        dq[i] = 0;
    pin(dq);
    product_fence();
    copy_async_commit();
    load(0);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    constexpr bool KEEP = DP == 128; /* Q and dY in registers */
    uint32_t q_mine = tile_address(q_tile) + team * (64 * LINE_BYTES / 16);
    uint32_t dy_mine = q_mine + L::STAY / 16, ring_start = tile_address(ring);
    uint32_t q_kept[DP / 4], dy_kept[DP / 4];
    if constexpr (KEEP) {
        keep_rows<DP>(q_kept, q_tile + team * (64 * LINE_BYTES), L::ROWS * LINE_BYTES);
        keep_rows<DP>(dy_kept, dy_tile + team * (64 * LINE_BYTES), L::ROWS * LINE_BYTES);
    }
    int diagonal = begin / STREAM + team;
    for (int step = 0; step < steps; step++) {
        copy_async_wait<0>();
        copies_visible();
        __syncthreads();
        if (step + 1 < steps)
            load(step + 1);
        copy_async_commit();
        if (step > diagonal) { /* all keys are behind this team's rows */
            product_wait<0>();
            continue;
        }
        uint32_t stage = ring_start + step % STAGES * (2 * L::PASS / 16);
        product_fence();
        if constexpr (KEEP)
            scores_kept<DP>(x, q_kept, stage);
        else
            scores<DP, L::ROWS * LINE_BYTES>(x, q_mine, stage);
        product_commit();
        if constexpr (KEEP)
            scores_kept<DP>(y, dy_kept, stage + L::PASS / 16);
        else
            scores<DP, L::ROWS * LINE_BYTES>(y, dy_mine, stage + L::PASS / 16);
        product_commit();
        product_wait<1>();
        pin(x);
        probabilities<false>(x, step == diagonal, call.exponent,
                             [&](int i) { return lse[i / 2 % 2]; });
        product_wait<0>();
        pin(y);
#pragma unroll
        for (int i = 0; i < 32; i++)
            y[i] = x[i] * (y[i] - delta[i / 2 % 2]);
        pack_weights(ds, y);
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
template <int DP, int GROUPS>
static __global__ void __launch_bounds__(layout<DP, GROUPS>::THREADS, 1)
    tiles_kernel(const struct backward_call call)
{
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
        keys_tile<DP, GROUPS>(call, block % width, piece, shared);
    else
        rows_tile<DP, GROUPS>(call, block % width, piece, shared);
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

/* ---- plain kernels ---- */

enum { PLAIN_LANES = 4 }; /* elements of a head a lane has: D <= 128 */

static __device__ __forceinline__ double sum_of_warp(double x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}
template <typename T>
static __device__ __forceinline__ void load_head(float to[PLAIN_LANES], const T *from, int size)
{
    for (int i = 0; i < PLAIN_LANES; i++) {
        int d = (int)threadIdx.x + 32 * i;
        to[i] = d < size ? to_float(from[d]) : 0.0f;
    }
}
static __device__ __forceinline__ double dot(const float a[PLAIN_LANES], const float b[PLAIN_LANES])
{
    double sum = 0;
    for (int i = 0; i < PLAIN_LANES; i++)
        sum += (double)a[i] * (double)b[i];
    return sum_of_warp(sum);
}
template <typename T>
static __device__ __forceinline__ void store_head(T *to, const double from[PLAIN_LANES],
                                                  double factor, int size)
{
    for (int i = 0; i < PLAIN_LANES; i++) {
        int d = (int)threadIdx.x + 32 * i;
        if (d < size)
            to[d] = from_float<T>((float)(from[i] * factor));
    }
}
/* P and dS of one score. */
static __device__ __forceinline__ double2 weights_of(const float q[4], const float k[4],
                                                     const float dy[4], const float v[4],
                                                     double scale, double lse, double delta)
{
    double p = exp(dot(q, k) * scale - lse);
    return make_double2(p, p * (dot(dy, v) - delta));
}

/* A warp a row and head, or a key and kv head; blockIdx.y is the segment, blocks walk its rows. */
template <typename T> static __global__ void rows_plain(struct op_attention_backward op)
{
    const struct op_segment segment = op.segments[blockIdx.y];
    int size = (int)op.head_size;
    int64_t h = blockIdx.z, g = h / (op.heads / op.kv_heads);
    double scale = 1.0 / sqrt((double)size);
    for (int64_t t = blockIdx.x; segment.slot >= 0 && t < segment.count; t += gridDim.x) {
        int64_t row = segment.row + t;
        float q[4], k[4], v[4], y[4], dy[4];
        double dq[4] = {0, 0, 0, 0};
        load_head(q, (const T *)op.q + row * op.row_stride + h * size, size);
        load_head(y, (const T *)op.y + row * op.y_stride + h * size, size);
        load_head(dy, (const T *)op.dy + row * op.y_stride + h * size, size);
        double delta = dot(y, dy), lse = (double)op.lse[row * op.heads + h];
        for (int64_t j = segment.row; j <= row; j++) {
            load_head(k, (const T *)op.k + j * op.row_stride + g * size, size);
            load_head(v, (const T *)op.v + j * op.row_stride + g * size, size);
            double ds = weights_of(q, k, dy, v, scale, lse, delta).y;
            for (int i = 0; i < 4; i++)
                dq[i] += ds * (double)k[i];
        }
        store_head((T *)op.dq + row * op.row_stride + h * size, dq, scale, size);
    }
}
template <typename T> static __global__ void keys_plain(struct op_attention_backward op)
{
    const struct op_segment segment = op.segments[blockIdx.y];
    int size = (int)op.head_size;
    int64_t g = blockIdx.z, group = op.heads / op.kv_heads;
    double scale = 1.0 / sqrt((double)size);
    for (int64_t j = blockIdx.x; segment.slot >= 0 && j < segment.count; j += gridDim.x) {
        int64_t at = (segment.row + j) * op.row_stride + g * size;
        float q[4], k[4], v[4], y[4], dy[4];
        double dk[4] = {0, 0, 0, 0}, dv[4] = {0, 0, 0, 0};
        load_head(k, (const T *)op.k + at, size);
        load_head(v, (const T *)op.v + at, size);
        for (int64_t h = g * group; h < (g + 1) * group; h++)
            for (int64_t row = segment.row + j; row < segment.row + segment.count; row++) {
                load_head(q, (const T *)op.q + row * op.row_stride + h * size, size);
                load_head(y, (const T *)op.y + row * op.y_stride + h * size, size);
                load_head(dy, (const T *)op.dy + row * op.y_stride + h * size, size);
                double lse = (double)op.lse[row * op.heads + h];
                double2 w = weights_of(q, k, dy, v, scale, lse, dot(y, dy));
                for (int i = 0; i < 4; i++) {
                    dv[i] += w.x * (double)dy[i];
                    dk[i] += w.y * (double)q[i];
                }
            }
        store_head((T *)op.dk + at, dk, scale, size);
        store_head((T *)op.dv + at, dv, 1.0, size);
    }
}

template <typename T>
static enum status run_plain(struct cuda_context *cuda, const struct op_attention_backward *args)
{
    unsigned blocks = (unsigned)(args->rows < 4096 ? args->rows : 4096);
    dim3 rows(blocks, (unsigned)args->segment_count, (unsigned)args->heads);
    dim3 keys(blocks, (unsigned)args->segment_count, (unsigned)args->kv_heads);
    rows_plain<T><<<rows, 32, 0, cuda->stream>>>(*args);
    TRY(cuda_launched("attention_backward: rows"));
    keys_plain<T><<<keys, 32, 0, cuda->stream>>>(*args);
    return cuda_launched("attention_backward: keys");
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

template <int DP, int GROUPS>
static enum status run_tiles(struct cuda_context *cuda, struct backward_call *call)
{
    typedef layout<DP, GROUPS> L;
    const struct op_attention_backward *args = &call->op;
    void *part = NULL;
    CUDA_TRY(cudaFuncSetAttribute(tiles_kernel<DP, GROUPS>,
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
    tiles_kernel<DP, GROUPS><<<(unsigned)blocks, L::THREADS, L::BYTES, cuda->stream>>>(*call);
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
    call.scale = (float)(1.0 / sqrt((double)args->head_size));
    call.exponent = (float)(1.4426950408889634 / sqrt((double)args->head_size));
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
    return small ? run_tiles<64, 2>(cuda, &call) : run_tiles<128, 2>(cuda, &call);
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
    CHECK(args->head_size <= 128 && args->heads % args->kv_heads == 0);
    if (args->rows == 0 || args->segment_count == 0)
        return STATUS_OK;
    if (cuda->f32)
        return run_plain<float>(cuda, args);
    return aligned(args) ? run_bf16(cuda, args) : run_plain<bf16>(cuda, args);
}
