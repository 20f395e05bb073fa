/* kernels/cuda/lightning_walk.cu - the walk of lightning.cuh over whole segments, bf16 storage: training, prefill
 * and, with other operands, the gradients.
 *
 * A block of `walk_rows` walks one piece (some chunks of one segment) of one head. Warp w owns the 16 values
 * 16 w .. of S, transposed, in registers for the whole piece: the accumulator of S^T is at once the b operand of
 * q S, so the state never passes through shared memory. Per chunk, two barriers:
 *   p = decayed, masked q k^T     tiles of 16 x 16 dealt to the warps, to shared memory as bf16
 *   o = w^{i+1} q S + p v         each warp its 16 values
 *   S = w^C S + k^T v~
 * The next chunk's q, k, v arrive meanwhile (cp.async, two stages).
 *
 * A long segment is cut into pieces so that the machine is full: `walk_state` goes before, along the whole
 * segment with S alone (k and v read once more, no q, no output), and leaves S in f32 at the start of each
 * piece. It computes S by the same products, so pieces do not show in the bits. Segments are device data: the
 * grid has room for the worst case and blocks without a piece leave. */
#include "kernels/cuda/lightning_piece.cuh"

template <int P>
static __device__ float *checkpoint_of(const struct lightning_walk &walk, int role, int piece,
                                       int head)
{
    return walk.checkpoint +
           (((int64_t)role * walk.pieces_max + piece) * walk.heads + head) * P * P;
}

/* One chunk added to a warp's S^T: 16 values from tile column `value`, 16 PAIRS keys from tile column `key`. */
template <int CP, int KEYS, int VALUES, int PAIRS>
static __device__ __forceinline__ void advance(float s[2 * PAIRS][4], const bf16 *k, int key,
                                               const bf16 *v_tile, int value,
                                               const struct decay_table<CP> &table, float whole)
{
    uint32_t v[CP / 16][4];
#pragma unroll
    for (int step = 0; step < CP / 16; step++) {
        load_values<VALUES>(v[step], v_tile, step * 16, value);
        decay_values(v[step], table.weight, step * 16);
    }
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        float product[2][4] = {};
#pragma unroll
        for (int step = 0; step < CP / 16; step++) {
            uint32_t b[4];
            load_keys<KEYS>(b, k, step * 16, key + pair * 16);
            mma_16816(product[0], v[step], b);
            mma_16816(product[1], v[step], b + 2);
        }
#pragma unroll
        for (int e = 0; e < 4; e++) {
            s[2 * pair][e] = __fmaf_rn(whole, s[2 * pair][e], product[0][e]);
            s[2 * pair + 1][e] = __fmaf_rn(whole, s[2 * pair + 1][e], product[1][e]);
        }
    }
}

/* ---- S at the start of each piece ---- */

/* Block: KEYS x VALUES of one head of one segment; warp: 32 keys x 16 values. Narrow blocks where there are few. */
template <int P, int CP, int VALUES> struct state_shape {
    static constexpr int KEYS = P < 64 ? P : 64;
    static constexpr int KEY_SLICES = P / KEYS, SLICES = KEY_SLICES * (P / VALUES);
    static constexpr int KEY_WARPS = KEYS / 32;
    static constexpr int THREADS = VALUES / 16 * KEY_WARPS * 32;
    static constexpr int STAGES = CP == 128 ? 3 : 4;
    static constexpr int STAGE = CP * (KEYS + VALUES);
    static constexpr size_t BYTES = (size_t)STAGES * STAGE * sizeof(bf16);
};

template <int P, int CP, int VALUES>
__global__ void __launch_bounds__(state_shape<P, CP, VALUES>::THREADS)
    walk_state(const __grid_constant__ struct lightning_walk walk)
{
    using shape = state_shape<P, CP, VALUES>;
    constexpr int KEYS = shape::KEYS, PAIRS = 2, THREADS = shape::THREADS;
    extern __shared__ __align__(256) char dynamic[];
    __shared__ struct decay_table<CP> table;
    bf16 *tiles = (bf16 *)dynamic;
    struct piece piece;
    fill_piece(walk, (int)blockIdx.y, &piece);
    if (piece.pieces <= 1)
        return;
    piece.base = find_base(walk, (int)blockIdx.y);
    int head = (int)blockIdx.x / shape::SLICES, slice = (int)blockIdx.x % shape::SLICES;
    int key = slice % shape::KEY_SLICES * KEYS, value = slice / shape::KEY_SLICES * VALUES;
    int warp_value = (int)threadIdx.x / 32 / shape::KEY_WARPS * 16;
    int warp_key = (int)threadIdx.x / 32 % shape::KEY_WARPS * 32;
    int value_tile = (value + warp_value) / 16, key_tile = (key + warp_key) / 8;
    const struct lightning_role<bf16> &role = walk.role[blockIdx.z];
    fill_decay<CP>(&table, walk.slopes[head], walk.chunk);
    int chunks = (piece.pieces - 1) * walk.piece_chunks;
    float s[2 * PAIRS][4] = {};
    if (walk.state != nullptr && piece.first > 0) {
        const float *master = master_of<P>(walk.state, walk.state_bytes, piece.segment.slot, head);
#pragma unroll
        for (int t = 0; t < 2 * PAIRS; t++)
            *(float4 *)s[t] = *(const float4 *)(master + master_at<P>(value_tile, key_tile + t));
    }
    auto load = [&](int w) {
        if (w < chunks) {
            int chunk = role.reverse ? piece.last - w : piece.first + w;
            struct chunk_rows rows = rows_of(walk, piece.segment, role.reverse, chunk);
            bf16 *tile = tiles + w % shape::STAGES * shape::STAGE;
            load_tile<KEYS, CP, THREADS>(walk, rows, tile, role.k + head * role.k_head, role.k_row,
                                         walk.k_buffer, piece.segment.slot, head, key);
            load_tile<VALUES, CP, THREADS>(walk, rows, tile + CP * KEYS,
                                           role.v + head * role.v_head, role.v_row, walk.v_buffer,
                                           piece.segment.slot, head, value);
        }
        copy_async_commit();
    };
    for (int w = 0; w < shape::STAGES - 1; w++)
        load(w);
    float *to = checkpoint_of<P>(walk, (int)blockIdx.z, piece.base, head);
    for (int w = 0, next = 0;; w++) {
        if (w == next) {
#pragma unroll
            for (int t = 0; t < 2 * PAIRS; t++)
                *(float4 *)(to + master_at<P>(value_tile, key_tile + t)) = *(float4 *)s[t];
            to += (int64_t)walk.heads * P * P;
            next += walk.piece_chunks;
        }
        if (w == chunks)
            break;
        copy_async_wait<shape::STAGES - 2>();
        __syncthreads();
        float whole = table.decay[walk.chunk];
        load(w + shape::STAGES - 1);
        const bf16 *tile = tiles + w % shape::STAGES * shape::STAGE;
        advance<CP, KEYS, VALUES, PAIRS>(s, tile, warp_key, tile + CP * KEYS, warp_value, table,
                                         whole);
    }
    copy_async_wait<0>();
}

/* ---- rows ---- */

template <int P, int CP> struct rows_shape {
    static constexpr int WARPS = P / 16;
    static constexpr int THREADS = WARPS * 32;
    static constexpr int TILE = CP * P;
    static constexpr size_t BYTES = (size_t)(2 * 3 * TILE + CP * CP) * sizeof(bf16);
};

/* p [CP, CP] = bf16(w^{i-j} (q_i . k_j)), lower triangle of 16 x 16 tiles of the rows wanted. */
template <int P, int CP>
static __device__ __forceinline__ void scores(bf16 *p, const bf16 *q, const bf16 *k,
                                              const float *decay, int low, int high)
{
    constexpr int TILES = CP / 16;
    int lane = (int)threadIdx.x % 32;
    for (int unit = (int)threadIdx.x / 32; unit < TILES * (TILES + 1) / 2;
         unit += rows_shape<P, CP>::WARPS) {
        int r = 0, g = unit;
        for (; g > r; r++)
            g -= r + 1;
        if (r * 16 + 16 <= low || r * 16 >= high)
            continue;
        float d[2][4] = {};
#pragma unroll
        for (int step = 0; step < P / 16; step++) {
            uint32_t a[4], b[4];
            load_rows<P>(a, q, r * 16, step * 16);
            load_columns<P>(b, k, g * 16, step * 16);
            mma_16816(d[0], a, b);
            mma_16816(d[1], a, b + 2);
        }
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int i = r * 16 + lane / 4 + half * 8, j = g * 16 + n * 8 + lane % 4 * 2;
                *(uint32_t *)(p + tile_at<CP>(i, j)) =
                    pack_bf16(decayed_score(d[n][2 * half], decay, i, j),
                              decayed_score(d[n][2 * half + 1], decay, i, j + 1));
            }
    }
}

/* 16 values of 16 rows as bf16: x[n][half] are two values at column n * 8 + lane % 4 * 2 of row lane / 4 + half * 8.
 * Neighbouring lanes trade halves, so that four lanes write 32 bytes of a row. whole: all rows and columns exist and
 * are aligned. */
static __device__ __forceinline__ void store_rows(bf16 *y, int64_t stride, int left,
                                                  const uint32_t x[2][2], int low, int high,
                                                  bool aligned, bool whole)
{
    int lane = (int)threadIdx.x % 32, odd = lane % 2, column = odd * 8 + lane % 4 / 2 * 4;
    bf16 *to = y + lane / 4 * stride + column;
#pragma unroll
    for (int half = 0; half < 2; half++, to += 8 * stride) {
        uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? x[0][half] : x[1][half], 1);
        uint32_t own = odd ? x[1][half] : x[0][half];
        uint2 pair = odd ? make_uint2(other, own) : make_uint2(own, other);
        int row = lane / 4 + half * 8;
        if (whole || (aligned && row >= low && row < high && column < left)) {
            *(uint2 *)to = pair;
        } else if (!aligned && row >= low && row < high) {
            const bf16 *from = (const bf16 *)&pair;
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (column + e < left)
                    to[e] = from[e];
        }
    }
}

/* inter = q . bf16(S) of GROUP tiles of 16 rows from tile `first` on, this warp's 16 values. */
template <int P, int GROUP>
static __device__ __forceinline__ void state_part(const float s[P / 8][4], const bf16 *q, int first,
                                                  float inter[GROUP][2][4])
{
#pragma unroll
    for (int e = 0; e < GROUP * 8; e++)
        inter[e / 8][e / 4 % 2][e % 4] = 0;
#pragma unroll
    for (int step = 0; step < P / 16; step++) {
        const float *near = s[2 * step], *far = s[2 * step + 1];
        uint32_t b[2][2] = {{pack_bf16(near[0], near[1]), pack_bf16(far[0], far[1])},
                            {pack_bf16(near[2], near[3]), pack_bf16(far[2], far[3])}};
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
            uint32_t a[4];
            load_rows<P>(a, q, (first + t) * 16, step * 16);
            mma_16816(inter[t][0], a, b[0]);
            mma_16816(inter[t][1], a, b[1]);
        }
    }
}

/* o of the same tiles; y: row 0 of the chunk's tile. */
template <int P, int CP, int GROUP>
static __device__ __forceinline__ void
outputs(const float inter[GROUP][2][4], const bf16 *p, const bf16 *v, const float *decay, int first,
        const struct chunk_rows &rows, bf16 *y, int64_t stride, int left, bool aligned)
{
    bool whole = aligned && rows.low == 0 && rows.high == CP && left >= 16;
#pragma unroll
    for (int t = 0; t < GROUP; t++) {
        float intra[2][4] = {};
#pragma unroll
        for (int step = 0; step < CP / 16; step++) {
            if (step > first + t)
                break;
            uint32_t a[4], x[4];
            load_keys<P>(x, v, step * 16, (int)threadIdx.x / 32 * 16);
            load_rows<CP>(a, p, (first + t) * 16, step * 16);
            mma_16816(intra[0], a, x);
            mma_16816(intra[1], a, x + 2);
        }
        int row = (first + t) * 16, i = row + (int)threadIdx.x % 32 / 4;
        float near = decay[i + 1], far = decay[i + 9];
        uint32_t o[2][2];
#pragma unroll
        for (int n = 0; n < 2; n++) {
            o[n][0] = pack_bf16(__fmaf_rn(near, inter[t][n][0], intra[n][0]),
                                __fmaf_rn(near, inter[t][n][1], intra[n][1]));
            o[n][1] = pack_bf16(__fmaf_rn(far, inter[t][n][2], intra[n][2]),
                                __fmaf_rn(far, inter[t][n][3], intra[n][3]));
        }
        store_rows(y + row * stride, stride, left, o, rows.low - row, rows.high - row, aligned,
                   whole);
    }
}

/* S at the start of the piece: zero, the slot's, or the checkpoint's. */
template <int P>
static __device__ __forceinline__ void start_state(const struct lightning_walk &walk,
                                                   const struct piece &piece, int head,
                                                   float s[P / 8][4])
{
    const float *from = nullptr;
    if (piece.pieces > 1)
        from = checkpoint_of<P>(walk, (int)blockIdx.z, piece.base + piece.of_them, head);
    else if (walk.state != nullptr && piece.first > 0)
        from = master_of<P>(walk.state, walk.state_bytes, piece.segment.slot, head);
#pragma unroll
    for (int t = 0; t < P / 8; t++)
        *(float4 *)s[t] = from == nullptr
                              ? make_float4(0, 0, 0, 0)
                              : *(const float4 *)(from + master_at<P>((int)threadIdx.x / 32, t));
}

template <int P>
static __device__ __forceinline__ void keep_state(const struct lightning_walk &walk, int slot,
                                                  int head, const float s[P / 8][4])
{
    int warp = (int)threadIdx.x / 32;
    float *master = master_of<P>(walk.state, walk.state_bytes, slot, head);
    bf16 *shadow = shadow_of<P>(walk.state, walk.state_bytes, slot, walk.heads, head);
#pragma unroll
    for (int t = 0; t < P / 8; t++)
        *(float4 *)(master + master_at<P>(warp, t)) = *(const float4 *)s[t];
#pragma unroll
    for (int t = 0; t < P / 16; t++) {
        const float *near = s[2 * t], *far = s[2 * t + 1];
        *(uint4 *)(shadow + shadow_at<P>(warp, t)) =
            make_uint4(pack_bf16(near[0], near[1]), pack_bf16(near[2], near[3]),
                       pack_bf16(far[0], far[1]), pack_bf16(far[2], far[3]));
    }
}

template <int P, int CP>
__global__ void __launch_bounds__(rows_shape<P, CP>::THREADS, CP == 128 ? 1 : 2)
    walk_rows(const __grid_constant__ struct lightning_walk walk)
{
    using shape = rows_shape<P, CP>;
    constexpr int TILE = shape::TILE, THREADS = shape::THREADS, GROUP = 2;
    extern __shared__ __align__(256) char dynamic[];
    __shared__ struct decay_table<CP> table;
    bf16 *tiles = (bf16 *)dynamic, *p = tiles + 2 * 3 * TILE;
    __shared__ struct piece piece; /* kept here, not in registers */
    __shared__ bool found;
    if (threadIdx.x < 32) {
        struct piece own;
        bool own_found = find_piece(walk, (int)blockIdx.y, &own);
        if (threadIdx.x == 0) {
            piece = own;
            found = own_found;
        }
    }
    __syncthreads();
    if (!found)
        return;
    int head = (int)blockIdx.x, warp = (int)threadIdx.x / 32;
    const struct lightning_role<bf16> &role = walk.role[blockIdx.z];
    const struct op_segment &segment = piece.segment;
    int begin = piece.of_them * walk.piece_chunks, all = piece.last - piece.first + 1;
    int end = min(begin + walk.piece_chunks, all);
    auto rows_at = [&](int w) {
        return rows_of(walk, segment, role.reverse,
                       role.reverse ? piece.last - w : piece.first + w);
    };
    auto load = [&](int w) {
        struct chunk_rows rows = rows_at(w);
        bf16 *tile = tiles + (w - begin) % 2 * 3 * TILE;
        load_tile<P, CP, THREADS>(walk, rows, tile, role.q + head * role.q_head, role.q_row,
                                  nullptr, 0, head, 0);
        load_tile<P, CP, THREADS>(walk, rows, tile + TILE, role.k + head * role.k_head, role.k_row,
                                  walk.k_buffer, segment.slot, head, 0);
        load_tile<P, CP, THREADS>(walk, rows, tile + 2 * TILE, role.v + head * role.v_head,
                                  role.v_row, walk.v_buffer, segment.slot, head, 0);
        copy_async_commit();
    };
    load(begin);
    fill_decay<CP>(&table, walk.slopes[head], walk.chunk);
    float s[P / 8][4];
    start_state<P>(walk, piece, head, s);
    for (int w = begin; w < end; w++) {
        copy_async_wait<0>();
        __syncthreads();
        if (w + 1 < end)
            load(w + 1);
        struct chunk_rows rows = rows_at(w);
        const bf16 *q = tiles + (w - begin) % 2 * 3 * TILE, *k = q + TILE, *v = k + TILE;
        scores<P, CP>(p, q, k, table.decay, rows.low, rows.high);
        __syncthreads();
        bf16 *y = role.y + head * role.y_head + rows.start * role.y_row + warp * 16;
#pragma unroll
        for (int first = 0; first < CP / 16; first += GROUP) {
            bool wanted = first * 16 < rows.high && (first + GROUP) * 16 > rows.low;
            float inter[GROUP][2][4];
            if (wanted)
                state_part<P, GROUP>(s, q, first, inter);
            if (wanted)
                outputs<P, CP, GROUP>(inter, p, v, table.decay, first, rows, y,
                                      rows.step * role.y_row, walk.head_size - warp * 16,
                                      walk.aligned);
        }
        if (rows.high == walk.chunk)
            advance<CP, P, P, P / 16>(s, k, 0, v, warp * 16, table, table.decay[walk.chunk]);
    }
    if (walk.state != nullptr && end == all &&
        (segment.position + segment.count) / walk.chunk > piece.first)
        keep_state<P>(walk, segment.slot, head, s);
}

/* ---- buffers: rows of the last partial chunk, after all blocks have read the old ones ---- */
static __global__ void walk_buffers(const __grid_constant__ struct lightning_walk walk)
{
    struct op_segment segment = walk.segments[blockIdx.y];
    int head = (int)blockIdx.x, size = walk.head_size;
    int end = (segment.position + segment.count) % walk.chunk;
    if (segment_pieces(walk, segment) == 0 || end == 0)
        return;
    int begin = max(end - segment.count, 0);
    const struct lightning_role<bf16> &role = walk.role[0];
    int64_t from = (int64_t)segment.row + segment.count - end;
    int64_t to = ((int64_t)segment.slot * walk.heads + head) * walk.chunk * size;
    for (int at = begin * size + (int)threadIdx.x; at < end * size; at += (int)blockDim.x) {
        int64_t row = from + at / size;
        walk.k_buffer[to + at] = role.k[row * role.k_row + head * role.k_head + at % size];
        walk.v_buffer[to + at] = role.v[row * role.v_row + head * role.v_head + at % size];
    }
}

/* ---- launches ---- */

template <int P, int CP, int VALUES>
static enum status run_state(struct cuda_context *cuda, const struct lightning_walk *walk)
{
    using shape = state_shape<P, CP, VALUES>;
    CUDA_TRY(cudaFuncSetAttribute(walk_state<P, CP, VALUES>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shape::BYTES));
    dim3 grid((unsigned)(walk->heads * shape::SLICES), (unsigned)walk->segment_count,
              (unsigned)walk->roles);
    walk_state<P, CP, VALUES><<<grid, shape::THREADS, shape::BYTES, cuda->stream>>>(*walk);
    return cuda_launched("lightning states");
}

template <int P, int CP>
static enum status run_padded(struct cuda_context *cuda, struct lightning_walk *walk)
{
    using shape = rows_shape<P, CP>;
    constexpr int WIDE = P < 64 ? P : 64;
    if (walk->cut) {
        void *scratch = NULL;
        TRY(cuda_scratch(cuda,
                         (size_t)walk->roles * (size_t)walk->pieces_max * (size_t)walk->heads * P *
                             P * sizeof(float),
                         &scratch));
        walk->checkpoint = (float *)scratch;
        int64_t blocks = (int64_t)walk->heads * walk->segment_count * walk->roles * P / WIDE;
        TRY(blocks * P / WIDE < cuda->multiprocessors ? (run_state<P, CP, 32>(cuda, walk))
                                                      : (run_state<P, CP, WIDE>(cuda, walk)));
    }
    CUDA_TRY(cudaFuncSetAttribute(walk_rows<P, CP>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)shape::BYTES));
    dim3 grid((unsigned)walk->heads, (unsigned)walk->pieces_max, (unsigned)walk->roles);
    walk_rows<P, CP><<<grid, shape::THREADS, shape::BYTES, cuda->stream>>>(*walk);
    TRY(cuda_launched("lightning rows"));
    if (walk->state != NULL) {
        dim3 ends((unsigned)walk->heads, (unsigned)walk->segment_count);
        walk_buffers<<<ends, 256, 0, cuda->stream>>>(*walk);
        TRY(cuda_launched("lightning buffers"));
    }
    return STATUS_OK;
}

template <int P> static enum status run_head(struct cuda_context *cuda, struct lightning_walk *walk)
{
    switch (lightning_padded(walk->chunk)) {
    case 32:
        return run_padded<P, 32>(cuda, walk);
    case 64:
        return run_padded<P, 64>(cuda, walk);
    default:
        return run_padded<P, 128>(cuda, walk);
    }
}

/* Chunks of a piece: the fewest rounds of blocks, each as long as its piece and its start (about the time of
 * START_TOKENS tokens), with checkpoints no closer than PIECE_TOKENS_LEAST. */
static int64_t piece_chunks(const struct cuda_context *cuda, const struct lightning_walk *walk)
{
    enum { PIECE_TOKENS_LEAST = 512, START_TOKENS = 192, BLOCKS_EACH = 2, TRIES = 64 };
    int64_t all = (walk->rows + walk->chunk - 1) / walk->chunk;
    int64_t slots = (int64_t)cuda->multiprocessors * BLOCKS_EACH;
    int64_t lanes = (int64_t)walk->heads * walk->roles;
    int64_t least = (PIECE_TOKENS_LEAST + walk->chunk - 1) / walk->chunk, best = 0, best_cost = 0;
    if (least < all / 16384) /* a grid's y ends at 65535 */
        least = all / 16384;
    int64_t most = all * lanes / slots + 1;
    int64_t step = most > least + TRIES ? (most - least) / TRIES : 1;
    for (int64_t chunks = least; chunks <= most || best == 0; chunks += step) {
        int64_t blocks = lanes * ((all + chunks - 1) / chunks);
        int64_t cost = (blocks + slots - 1) / slots * (chunks * walk->chunk + START_TOKENS);
        if (best == 0 || cost < best_cost) {
            best = chunks;
            best_cost = cost;
        }
    }
    return best;
}

static void plan_pieces(const struct cuda_context *cuda, struct lightning_walk *walk)
{
    int64_t longest = walk->rows / walk->chunk + 2; /* chunks a segment may touch */
    int64_t chunks = piece_chunks(cuda, walk);
    walk->cut = chunks < longest;
    walk->piece_chunks = (int)(walk->cut ? chunks : longest);
    walk->pieces_max = walk->segment_count;
    if (walk->cut) /* a segment of n rows touches at most n / chunk + 2 chunks, and chunks > 1 */
        walk->pieces_max += (int)(walk->rows / (chunks * walk->chunk)) + walk->segment_count;
}

enum status lightning_supported(const struct cuda_context *cuda, int64_t head_size, int64_t chunk,
                                int32_t segment_count)
{
    int64_t chunk_max = cuda->f32 ? 1024 : LIGHTNING_CHUNK_MAX;
    if (head_size > LIGHTNING_HEAD_MAX)
        return FAIL(STATUS_UNSUPPORTED,
                    "lightning attention with heads of %lld channels: at most %d",
                    (long long)head_size, LIGHTNING_HEAD_MAX);
    if (chunk > chunk_max)
        return FAIL(STATUS_UNSUPPORTED,
                    "model.lightning_chunk = %lld: the CUDA backend takes at most %lld",
                    (long long)chunk, (long long)chunk_max);
    if (segment_count > 65535 / 4)
        return FAIL(STATUS_LIMIT, "lightning attention of %d segments in one call: at most %d",
                    segment_count, 65535 / 4);
    return STATUS_OK;
}

enum status lightning_walk_run(struct cuda_context *cuda, struct lightning_walk *walk)
{
    plan_pieces(cuda, walk);
    switch (lightning_padded(walk->head_size)) {
    case 32:
        return run_head<32>(cuda, walk);
    case 64:
        return run_head<64>(cuda, walk);
    default:
        return run_head<128>(cuda, walk);
    }
}
