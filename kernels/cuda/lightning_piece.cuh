/* kernels/cuda/lightning_piece.cuh - which rows a block of lightning_walk.cu works on: pieces of segments, found from
 * device data, and the rows of a chunk, which come from the call, from the slot's buffers, or are zero. */
#ifndef KERNELS_CUDA_LIGHTNING_PIECE_CUH
#define KERNELS_CUDA_LIGHTNING_PIECE_CUH

#include "kernels/cuda/lightning.cuh"

/* ---- pieces ---- */

struct piece {
    struct op_segment segment;
    int first, last;     /* chunks of the segment, first .. last */
    int pieces, of_them; /* this is piece of_them of pieces; in order of the walk */
    int base;            /* index of the segment's piece 0 among all */
};

static __device__ int segment_pieces(const struct lightning_walk &walk,
                                     const struct op_segment &segment)
{
    if ((walk.state != nullptr && segment.slot < 0) || (walk.skip_single && segment.count == 1))
        return 0;
    int first = segment.position / walk.chunk;
    int last = (segment.position + segment.count - 1) / walk.chunk;
    return (last - first) / walk.piece_chunks + 1;
}

static __device__ void fill_piece(const struct lightning_walk &walk, int index, struct piece *piece)
{
    piece->segment = walk.segments[index];
    piece->first = piece->segment.position / walk.chunk;
    piece->last = (piece->segment.position + piece->segment.count - 1) / walk.chunk;
    piece->pieces = segment_pieces(walk, piece->segment);
}

/* Pieces of the segments before this lane's one, of 32 segments from `start` on; *total of all 32. */
static __device__ int pieces_before(const struct lightning_walk &walk, int start, int *own,
                                    int *total)
{
    int lane = (int)threadIdx.x % 32, index = start + lane;
    *own = index < walk.segment_count ? segment_pieces(walk, walk.segments[index]) : 0;
    int sum = *own;
    for (int offset = 1; offset < 32; offset *= 2) {
        int other = __shfl_up_sync(0xffffffffu, sum, offset);
        sum += lane >= offset ? other : 0;
    }
    *total = __shfl_sync(0xffffffffu, sum, 31);
    return sum - *own;
}

/* The `wanted`-th piece of all; every warp finds it for itself. */
static __device__ bool find_piece(const struct lightning_walk &walk, int wanted,
                                  struct piece *piece)
{
    int before = 0;
    for (int start = 0; start < walk.segment_count; start += 32) {
        int own, total, at = before + pieces_before(walk, start, &own, &total);
        unsigned here = __ballot_sync(0xffffffffu, at <= wanted && wanted < at + own);
        if (here != 0) {
            int lane = __ffs((int)here) - 1;
            fill_piece(walk, start + lane, piece);
            piece->base = __shfl_sync(0xffffffffu, at, lane);
            piece->of_them = wanted - piece->base;
            return true;
        }
        before += total;
    }
    return false;
}

/* Index of the first piece of segment `wanted`. */
static __device__ int find_base(const struct lightning_walk &walk, int wanted)
{
    int before = 0;
    for (int start = 0;; start += 32) {
        int own, total, at = before + pieces_before(walk, start, &own, &total);
        if (wanted < start + 32)
            return __shfl_sync(0xffffffffu, at, wanted - start);
        before += total;
    }
}

/* ---- a chunk's rows ---- */

/* Row r of a chunk's tile is row start + r * step of the call for low <= r < high; rows below `low` are in the
 * buffers (forward in time, with a state), the rest is zero. */
struct chunk_rows {
    int64_t start;
    int step, low, high;
};

static __device__ struct chunk_rows rows_of(const struct lightning_walk &walk,
                                            const struct op_segment &segment, bool reverse,
                                            int chunk)
{
    int from = chunk * walk.chunk - segment.position; /* token 0 of the chunk, in the segment */
    struct chunk_rows rows;
    if (reverse) {
        rows.start = (int64_t)segment.row + from + walk.chunk - 1;
        rows.step = -1;
        rows.low = max(from + walk.chunk - segment.count, 0);
        rows.high = walk.chunk;
    } else {
        rows.start = (int64_t)segment.row + from;
        rows.step = 1;
        rows.low = max(-from, 0);
        rows.high = min(segment.count - from, walk.chunk);
    }
    return rows;
}

static __device__ const bf16 *buffer_of(const struct lightning_walk &walk, const bf16 *buffer,
                                        int slot, int head)
{
    return buffer + ((int64_t)slot * walk.heads + head) * walk.chunk * walk.head_size;
}

/* Columns [column, column + COLUMNS) of CP rows to a shared tile. `base` is the head in row 0 of the call,
 * `buffers` where rows of the slot that came with earlier calls are, or NULL. */
template <int COLUMNS, int CP, int THREADS>
static __device__ __forceinline__ void
load_tile(const struct lightning_walk &walk, const struct chunk_rows &rows, bf16 *tile,
          const bf16 *base, int64_t stride, const bf16 *buffers, int slot, int head, int column)
{
    constexpr int VECTORS = COLUMNS / 8;
    constexpr int ROUND = THREADS / VECTORS; /* rows at a time */
    static_assert(ROUND % 16 == 0 && CP % ROUND == 0, "the same vector of a row in each round");
    int first = (int)threadIdx.x / VECTORS, inside = (int)threadIdx.x % VECTORS * 8;
    int left = walk.head_size - column - inside;
    bf16 *to = tile + tile_at<COLUMNS>(first, inside);
    const bf16 *from = base + (rows.start + first * rows.step) * stride + column + inside;
    if (rows.low == 0 && rows.high == CP && walk.aligned && walk.head_size - column >= COLUMNS) {
        int64_t round = ROUND * rows.step * stride;
#pragma unroll
        for (int r = 0; r < CP; r += ROUND, from += round)
            copy_async_16(to + r * COLUMNS, from, true);
        return;
    }
    const bf16 *buffer = buffers == nullptr ? nullptr : buffer_of(walk, buffers, slot, head);
#pragma unroll
    for (int r = 0; r < CP; r += ROUND) {
        bool there = first + r >= rows.low && first + r < rows.high && left > 0;
        if (first + r < rows.low && buffer != nullptr)
            load_vector(to + r * COLUMNS,
                        left > 0 ? buffer + (first + r) * walk.head_size + column + inside : buffer,
                        left, walk.state_aligned);
        else
            load_vector(to + r * COLUMNS, there ? from + r * rows.step * stride : base,
                        there ? left : 0, walk.aligned);
    }
}

#endif
