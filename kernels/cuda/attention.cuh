/* kernels/cuda/attention.cuh - softmax attention: where keys and values lie, and the arithmetic of one tile, written
 * once because decode, chunked prefill and training must give the same bits.
 *
 * Keys are taken in tiles of 128 positions counted from position 0 of the sequence. For one row, query head and tile:
 *   s_j = q . k_j         one chain over D in steps of 16 (device.cuh)
 *   m_t = max s_j         over the keys the row may see
 *   p_j = 2^(s_j c - m_t c), c = log2(e) / sqrt(D);  masked: exactly 0
 *   l_t = sum p_j         quad lane x of a row owns the columns 8 j + 2 x + {0, 1}; it adds them in order of j within
 *                         each quarter of 32 keys, then (quarter 0 + 1) + (quarter 2 + 3), then lanes x ^ 1, x ^ 2
 *   o_t = P V             P rounded to bf16; one chain over the 128 keys that starts from zero
 * and the running merge, tile after tile: m' = max(m, m_t), a = 2^((m - m') c), b = 2^((m_t - m') c),
 *   o = o a + o_t b (second product fused), l = l a + l_t b;  at the end y = o (1 / l), lse = m / sqrt(D) + ln l.
 * A tile stands alone until its merge, so tiles may be computed anywhere and merged later in order. A row does not
 * merge tiles behind its own position or before its window. Every rounding is written out, nothing is left to the compiler.
 *
 * bf16 pages: per kv head a tile of keys [128][D], after all heads the tiles of values. Where D is a multiple of 64
 * a tile lies as tensor cores want it in shared memory (the 128-byte swizzle): halves [D/64][128][64], the 16-byte
 * piece c of a line in place c ^ (token % 8); then one bulk copy brings a tile. */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/device.cuh"

#ifndef CUDA_HOPPER_CODE
#pragma nv_diag_suppress 177 /* functions that Hopper's kernels alone call */
#endif

/* Largest work of the decode kernel: rows of a segment, and rows times query heads. */
enum { DECODE_ROWS = 4, DECODE_VECTORS = 32, DECODE_HEADS = 16 };
enum { HEAD_MAX = 128, HEAD_WIDE = 256 }; /* sizes up to the first, and the second */
enum { NO_WINDOW = INT32_MAX };

struct attention_call {
    struct op_attention op;
    int32_t group;       /* query heads of a kv head */
    int32_t window;      /* op.window, NO_WINDOW where it is 0 */
    int32_t decode_rows; /* DECODE_ROWS, or 0: the kernels for many rows take all segments */
    float scale;         /* 1 / sqrt(D), or op.scale */
    float exponent;      /* log2(e) scale */
    bool bulk;           /* a tile in a page is a tile in shared memory */
    bool aligned;        /* rows of q, and lines of pages, can be read 16 bytes at a time */
};

/* ---- pages ---- */

/* Place of (token of the page, d) in a tile of keys or values. */
template <typename T>
static __device__ __forceinline__ int64_t kv_place(int64_t size, int64_t token, int64_t d)
{
    if (sizeof(T) == 2 && size % 64 == 0)
        return (d / 64) * (CUDA_KV_TILE * 64) + token * 64 + (((d / 8) % 8) ^ (token % 8)) * 8 +
               d % 8;
    return token * size + d;
}
/* First element of a page's tile: kv head g, keys or values. */
static __device__ __forceinline__ int64_t kv_tile_start(const int32_t *page_table,
                                                        int32_t pages_per_slot, int32_t slot,
                                                        int64_t tile, int64_t kv_heads,
                                                        int64_t size, int64_t g, bool values)
{
    int64_t page = page_table[(int64_t)slot * pages_per_slot + tile];
    return ((page * 2 + (values ? 1 : 0)) * kv_heads + g) * CUDA_KV_TILE * size;
}

/* Index of the segment that has `row`, -1 if none; all threads of the block call it and get it. `found` is shared. */
static __device__ __forceinline__ int segment_of_row(const struct op_segment *segments,
                                                     int32_t count, int64_t row, int *found)
{
    if (threadIdx.x == 0)
        *found = -1;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        if (row >= segments[i].row && row < (int64_t)segments[i].row + segments[i].count)
            *found = i;
    __syncthreads();
    return *found;
}

/* ---- tiles in shared memory: rows of DP = 64 or 128 bf16 in lines of 64, swizzled; LINES rows ---- */

/* Element where the 16-byte piece `piece` (d / 8) of a row starts. */
template <int LINES> static __device__ __forceinline__ int tile_place(int row, int piece)
{
    return (piece / 8) * (LINES * 64) + row * 64 + ((piece % 8) ^ (row % 8)) * 8;
}

/* One piece of eight elements d = 8 piece .. of a row whose element d is at from + place(d); past `size` zeros. */
static __device__ __forceinline__ uint4 piece_of_row(const bf16 *from, int piece, int64_t size,
                                                     bool aligned)
{
    if (aligned)
        return 8 * piece < size ? *(const uint4 *)(from + 8 * piece) : make_uint4(0, 0, 0, 0);
    alignas(16) bf16 got[8];
    for (int i = 0; i < 8; i++)
        got[i] = 8 * piece + i < size ? from[8 * piece + i] : __float2bfloat16_rn(0.0f);
    return *(uint4 *)got;
}
/* A tile of keys or values by ordinary loads, by `threads` threads; no barrier inside. Where the head size is DP the page
 * has it as shared memory does (kv_place). */
template <int DP>
static __device__ __forceinline__ void tile_copy(bf16 *to, const bf16 *from, int64_t size,
                                                 bool aligned, int threads)
{
    for (int i = threadIdx.x % threads; i < CUDA_KV_TILE * (DP / 8); i += threads) {
        int token = i / (DP / 8), piece = i % (DP / 8);
        if (size == DP) {
            *(uint4 *)(to + 8 * i) = *(const uint4 *)(from + 8 * i);
            continue;
        }
        uint4 got = piece_of_row(from + token * size, piece, size, aligned);
        *(uint4 *)(to + tile_place<CUDA_KV_TILE>(token, piece)) = got;
    }
}

/* ---- bulk copies: one thread asks for a tile, everybody waits on a barrier in shared memory;
 * Hopper only ---- */

static __device__ __forceinline__ uint32_t shared_address(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}
static __device__ __forceinline__ void barrier_init(uint64_t *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals)
                 : "memory");
}
static __device__ __forceinline__ void barrier_init_done(void)
{
#ifdef CUDA_HOPPER_CODE
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
#ifdef CUDA_HOPPER_CODE
    asm volatile("{\n"
                 ".reg .pred ready;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 ready, [%0], %1;\n"
                 "@ready bra done;\n"
                 "bra again;\n"
                 "done:\n"
                 "}\n" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
#endif
}
/* One thread: `bytes` (a multiple of 16) to shared memory, completing on `barrier` (made for one arrival). */
static __device__ __forceinline__ void copy_bulk(void *shared, const void *global, uint32_t bytes,
                                                 uint64_t *barrier)
{
#ifdef CUDA_HOPPER_CODE
    uint32_t at = shared_address(barrier);
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes)
                 : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
                 "%2, [%3];" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(at)
                 : "memory");
#endif
}

/* ---- arithmetic of a tile ---- */

static __device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
static __device__ __forceinline__ float quad_sum(float x)
{
    x = __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* The first position that a row at `position` sees. */
static __device__ __forceinline__ int32_t first_seen(int32_t position, int32_t window)
{
    return position >= window ? position - window + 1 : 0;
}
/* Whether a row sees nothing of a tile; last: its position, counted from the tile's first key. */
static __device__ __forceinline__ bool tile_unseen(int32_t last, int32_t window)
{
    return last < 0 || last - window >= CUDA_KV_TILE - 1;
}
/* As tile_mask below: columns before the rows' windows become -infinity. */
template <int BLOCKS>
static __device__ __forceinline__ void tile_mask_before(float *s, int first, const int last[2],
                                                        int32_t window)
{
    int column = first + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int j = 0; j < BLOCKS; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (column + 8 * j + i % 2 <= last[i / 2] - window)
                s[4 * j + i] = -INFINITY;
}

/* Accumulators of BLOCKS 8-column blocks of a 16-row piece, as mma leaves them: s[4 j + 0, 1] row l/4, s[4 j + 2, 3]
 * row l/4 + 8, columns `first` + 8 j + 2 (l%4) + {0, 1}. Columns behind last[row] become -infinity. */
template <int BLOCKS>
static __device__ __forceinline__ void tile_mask(float *s, int first, const int last[2])
{
    int column = first + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int j = 0; j < BLOCKS; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (column + 8 * j + i % 2 > last[i / 2])
                s[4 * j + i] = -INFINITY;
}
template <int BLOCKS> static __device__ __forceinline__ void tile_max(const float *s, float max[2])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float m = fmaxf(s[2 * r], s[2 * r + 1]);
#pragma unroll
        for (int j = 1; j < BLOCKS; j++)
            m = fmaxf(m, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
        max[r] = quad_max(m);
    }
}
/* The value that s c is compared with; 0 for a row that sees nothing of the tile. */
static __device__ __forceinline__ float tile_offset(float max, float exponent)
{
    return max == -INFINITY ? 0.0f : __fmul_rn(max, exponent);
}
/* s becomes p; sum[row] of one quarter of the tile (four 8-column blocks). */
static __device__ __forceinline__ void quarter_exp(float *s, const float offset[2], float exponent,
                                                   float sum[2])
{
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float p = exp2_fast(__fmaf_rn(s[4 * j + i], exponent, -offset[i / 2]));
            s[4 * j + i] = p;
            sum[i / 2] = j == 0 && i % 2 == 0 ? p : __fadd_rn(sum[i / 2], p);
        }
}
/* This lane's part of a row's l_t from its four quarters; quad_sum of it is l_t. */
static __device__ __forceinline__ float quarters_sum(float a, float b, float c, float d)
{
    return __fadd_rn(__fadd_rn(a, b), __fadd_rn(c, d));
}
/* Factors of the merge; m becomes the new maximum. */
static __device__ __forceinline__ void merge_factors(float *m, float m_tile, float exponent,
                                                     float *a, float *b)
{
    float old = *m;
    *m = fmaxf(old, m_tile);
    *a = exp2_fast(__fmul_rn(__fsub_rn(old, *m), exponent));
    *b = exp2_fast(__fmul_rn(__fsub_rn(m_tile, *m), exponent));
}
static __device__ __forceinline__ float merge(float old, float tile, float a, float b)
{
    return __fmaf_rn(tile, b, __fmul_rn(old, a));
}
static __device__ __forceinline__ float attention_lse(float m, float l, float scale)
{
    return __fmaf_rn(m, scale, logf(l));
}

/* ---- products of one warp with mma.sync ---- */

/* A operand: 16 rows from `row` on, k = 16 step .. of a tile with LINES rows. */
template <int LINES>
static __device__ __forceinline__ void load_rows(uint32_t a[4], const bf16 *tile, int row, int step)
{
    int lane = threadIdx.x % 32;
    load_matrix_x4(a, tile + tile_place<LINES>(row + lane % 16, 2 * step + lane / 16));
}
/* B operands of keys key .. key + 15 (two 8-column blocks) for q . k, k = 16 step .. */
static __device__ __forceinline__ void load_keys(uint32_t b[4], const bf16 *tile, int key, int step)
{
    int lane = threadIdx.x % 32;
    int row = key + lane / 16 * 8 + lane % 8, piece = 2 * step + lane / 8 % 2;
    load_matrix_x4(b, tile + tile_place<CUDA_KV_TILE>(row, piece));
}
/* B operands of dims 8 piece .. + 15 (two 8-column blocks) for P V, keys 16 step .. */
static __device__ __forceinline__ void load_values(uint32_t b[4], const bf16 *tile, int piece,
                                                   int step)
{
    int lane = threadIdx.x % 32;
    load_matrix_x4_transposed(
        b, tile + tile_place<CUDA_KV_TILE>(16 * step + lane % 16, piece + lane / 16));
}

/* One 16-row piece of wide heads: their queries fill the registers. */
static __host__ __device__ __forceinline__ int decode_vectors(int64_t size)
{
    return size <= HEAD_MAX ? DECODE_VECTORS : DECODE_VECTORS / 2;
}

/* Whether the decode kernel takes this segment; the prefill kernel takes the others. */
static __device__ __forceinline__ bool decodes(const struct op_segment *segment,
                                               const struct attention_call *call)
{
    int heads = call->group < DECODE_HEADS ? call->group : DECODE_HEADS;
    return segment->count <= call->decode_rows &&
           segment->count * heads <= decode_vectors(call->op.head_size);
}

/* op_attention_wide.cu: head size 256, the segments that do not decode; tiles of 128 rows: most there can be. */
enum status attention_wide(struct cuda_context *cuda, const struct attention_call *call,
                           int64_t tiles);
/* op_attention_decode.cu: the segments that `decodes` names. */
enum status attention_decode(struct cuda_context *cuda, const struct attention_call *call);

#endif
