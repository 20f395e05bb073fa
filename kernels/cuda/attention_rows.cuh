/* kernels/cuda/attention_rows.cuh - what the kernels for many rows share: which tile of rows a block has, the softmax of a
 * tile of scores in accumulators, the merge and the results, and the products by mma.sync (op_attention.cu, any head size to
 * 128, and op_attention_wide.cu, 256). op_attention_wgmma.cu makes its own by wgmma (head sizes 64 and 128). */
#ifndef KERNELS_CUDA_ATTENTION_ROWS_CUH
#define KERNELS_CUDA_ATTENTION_ROWS_CUH

#include "kernels/cuda/attention.cuh"

/* What block x does: the x-th tile of rows from the end; false: there are fewer. All threads. */
struct row_tile {
    struct op_segment segment;
    int32_t from; /* first row of the tile in the segment */
};
template <int ROWS, int THREADS>
static __device__ bool find_tile(const struct attention_call *call, int32_t x, int32_t *partial,
                                 struct row_tile *out)
{
    const struct op_attention *op = &call->op;
    int32_t count = op->segment_count, each = (count + THREADS - 1) / THREADS;
    int32_t first = threadIdx.x * each, tiles = 0;
    for (int i = first; i < min(first + each, count); i++) {
        struct op_segment segment = op->segments[i];
        if (segment.slot >= 0 && !decodes(&segment, call))
            tiles += (segment.count + ROWS - 1) / ROWS;
    }
    partial[threadIdx.x] = tiles;
    __syncthreads();
    int32_t used = (count + each - 1) / each, total = 0;
    for (int i = 0; i < used; i++)
        total += partial[i];
    int32_t want = total - 1 - x, part = 0;
    if (want < 0)
        return false;
    for (; want >= partial[part]; part++)
        want -= partial[part];
    for (int i = part * each;; i++) {
        out->segment = op->segments[i];
        if (out->segment.slot < 0 || decodes(&out->segment, call))
            continue;
        int32_t mine = (out->segment.count + ROWS - 1) / ROWS;
        if (want < mine)
            break;
        want -= mine;
    }
    out->from = want * ROWS;
    return true;
}

/* LINES queries of `head` from row `from` of the segment on, by THREADS threads of which this is `thread`. */
template <int DP, int LINES, int THREADS>
static __device__ __forceinline__ void load_queries(bf16 *to, const struct attention_call *call,
                                                    const struct op_segment *segment, int32_t from,
                                                    int64_t head, int thread)
{
    const struct op_attention *op = &call->op;
#pragma unroll 8
    for (int i = thread; i < LINES * (DP / 8); i += THREADS) {
        int r = i / (DP / 8), piece = i % (DP / 8);
        uint4 got = make_uint4(0, 0, 0, 0);
        if (from + r < segment->count) {
            int64_t row = segment->row + from + r;
            got = piece_of_row((const bf16 *)op->q + row * op->q_stride + head * op->head_size,
                               piece, op->head_size, call->aligned);
        }
        *(uint4 *)(to + tile_place<LINES>(r, piece)) = got;
    }
}

/* s becomes P as A operands; maxima and sums of the two rows. */
static __device__ __forceinline__ void tile_softmax(float s[64], const int last[2], int32_t window,
                                                    float exponent, float m[2], float l[2],
                                                    uint32_t p[8][4])
{
    if (min(last[0], last[1]) < CUDA_KV_TILE - 1)
        tile_mask<16>(s, 0, last);
    if (max(last[0], last[1]) >= window)
        tile_mask_before<16>(s, 0, last, window);
    tile_max<16>(s, m);
    float offset[2] = {tile_offset(m[0], exponent), tile_offset(m[1], exponent)}, sum[4][2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        quarter_exp(s + 16 * i, offset, exponent, sum[i]);
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                p[2 * i + j][k] =
                    pack_bf16(s[16 * i + 8 * j + 2 * k], s[16 * i + 8 * j + 2 * k + 1]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        l[r] = quad_sum(quarters_sum(sum[0][r], sum[1][r], sum[2][r], sum[3][r]));
}

/* The running merge of a thread's two rows with a tile; rows that see nothing of it stay as they are. */
template <int DP>
static __device__ __forceinline__ void
tile_merge(float m[2], float l[2], float o[DP / 2], const float m_tile[2], const float l_tile[2],
           const float o_tile[DP / 2], const int last[2], int32_t window, float exponent)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (tile_unseen(last[r], window))
            continue;
        float a, b;
        merge_factors(&m[r], m_tile[r], exponent, &a, &b);
        l[r] = merge(l[r], l_tile[r], a, b);
#pragma unroll
        for (int i = 0; i < DP / 2; i++)
            if (i / 2 % 2 == r)
                o[i] = merge(o[i], o_tile[i], a, b);
    }
}

/* Results of one row of a thread, dims first_d .. first_d + DP - 1 of its head. */
template <int DP>
static __device__ __forceinline__ void store_row(const struct attention_call *call, int64_t row,
                                                 int64_t head, int r, float m, float l,
                                                 const float o[DP / 2], int first_d = 0)
{
    const struct op_attention *op = &call->op;
    int lane = threadIdx.x % 32;
    bf16 *y = (bf16 *)op->y + row * op->y_stride + head * op->head_size + first_d;
    int64_t size = op->head_size - first_d;
    float inverse = __frcp_rn(l);
    bool pairs = (op->head_size | op->y_stride) % 2 == 0 && (uintptr_t)op->y % 4 == 0;
#pragma unroll
    for (int j = 0; j < DP / 8; j++) {
        int d = 8 * j + 2 * (lane % 4);
        float a = __fmul_rn(o[4 * j + 2 * r], inverse),
              b = __fmul_rn(o[4 * j + 2 * r + 1], inverse);
        if (pairs && d < size)
            *(uint32_t *)(y + d) = pack_bf16(a, b);
        if (!pairs && d < size)
            y[d] = __float2bfloat16_rn(a);
        if (!pairs && d + 1 < size)
            y[d + 1] = __float2bfloat16_rn(b);
    }
    if (lane % 4 == 0 && op->lse != NULL && first_d == 0)
        op->lse[row * op->heads + head] = attention_lse(m, l, call->scale);
}

/* op_attention_wgmma.cu: head sizes 64 and 128, tiles: most tiles of rows there can be. */
enum status attention_wgmma(struct cuda_context *cuda, const struct attention_call *call,
                            int64_t tiles);

/* s [16 rows, 128 keys] of one warp, out of a tile of ROWS queries of DP dims. UNROLL of the loop over dims: registers. */
template <int ROWS, int DP, int UNROLL>
static __device__ __forceinline__ void tile_scores(const bf16 *q, const bf16 *keys, int row,
                                                   float s[64])
{
#pragma unroll
    for (int i = 0; i < 64; i++)
        s[i] = 0.0f;
#pragma unroll UNROLL
    for (int k = 0; k < DP / 16; k++) {
        uint32_t a[4];
        load_rows<ROWS>(a, q, row, k);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            uint32_t b[4];
            load_keys(b, keys, 16 * j, k);
            mma_16816(s + 8 * j, a, b);
            mma_16816(s + 8 * j + 4, a, b + 2);
        }
    }
}

/* o [16 rows, DP dims] of one warp: p V over the keys of a tile. */
template <int DP>
static __device__ __forceinline__ void tile_values(const bf16 *values, const uint32_t p[8][4],
                                                   float o[DP / 2])
{
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        o[i] = 0.0f;
#pragma unroll
    for (int k = 0; k < CUDA_KV_TILE / 16; k++)
#pragma unroll
        for (int j = 0; j < DP / 16; j++) {
            uint32_t b[4];
            load_values(b, values, 2 * j, k);
            mma_16816(o + 8 * j, p[k], b);
            mma_16816(o + 8 * j + 4, p[k], b + 2);
        }
}

#endif
