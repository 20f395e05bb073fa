/* kernels/cuda/lightning.cuh - what the files of lightning attention share (M1-SPEC 1.4; arXiv:2405.17381).
 *
 * Everything is one walk: y_i = sum_{j<=i} w^{i-j} (q_i . k_j) v_j, w = exp(-slope), over the rows of a sequence
 * in either direction of time. Forward is (q, k, v -> y). The gradients are the same walk with other operands:
 *   dq = walk(dy, v, k)    dv = walk backwards(k, q, dy)    dk = walk backwards(v, dy, q)
 *
 * Bits (bf16 storage), for training, prefill in any pieces and decode: chunks of C tokens counted from token 0;
 * S [D key, D value] f32 at chunk ends only. Row at offset i of its chunk:
 *   p_j   = bf16(w^{i-j} (q . k_j)) for j <= i, else 0              the product a chain over D
 *   intra = sum_j p_j v_j     a chain over keys in steps of 16, up to the step that holds i
 *   inter = q . bf16(S)       a chain over key channels
 *   o     = bf16(fma(w^{i+1}, inter, intra))
 * and at the end of a chunk, with a product that is a chain over the chunk's tokens from zero,
 *   S'    = fma(w^C, S, sum_j k_j^T bf16(w^{C-1-j} v_j)).
 * A chain is that of mma_16816 (device.cuh). Nothing else decides the bits: S is exact f32 wherever a walk is
 * cut, so time may be cut anywhere (lightning_walk.cu).
 *
 * State of a slot: master [H] f32, then shadow [H] bf16 (rounded master; decode reads this alone), each head
 * padded to P = 32, 64 or 128 channels and kept as transposed accumulator fragments: tile (value v / 16, key
 * k / 8) of 32 lanes x 4, which is S^T [16, 8] in the order of d of mma_16816; the shadow puts two key tiles
 * side by side, the order of its a. State of chunk 0 is never read: it is zero. f32 storage: plain [H, D, D]. */
#ifndef KERNELS_CUDA_LIGHTNING_CUH
#define KERNELS_CUDA_LIGHTNING_CUH

#include "kernels/cuda/device.cuh"

enum { LIGHTNING_CHUNK_MAX = 128, LIGHTNING_HEAD_MAX = 128, LIGHTNING_ROLES = 3 };

/* One walk's operands; strides in elements between rows and between heads. */
template <typename T> struct lightning_role {
    const T *q, *k, *v;
    T *y;
    int64_t q_row, q_head, k_row, k_head, v_row, v_head, y_row, y_head;
    int32_t reverse; /* 1: from the last row to the first */
};

struct lightning_walk {
    struct lightning_role<bf16> role[LIGHTNING_ROLES];
    int roles, heads, head_size, chunk;
    int64_t rows;
    const float *slopes; /* [H] */
    const struct op_segment *segments;
    int segment_count;
    bool skip_single;   /* segments of one row belong to the decode kernel */
    bool aligned;       /* rows of all roles can be read and written 16 bytes at a time */
    bool state_aligned; /* so can the buffers */
    char *state;        /* slots of `state_bytes`, or NULL: start from zero, keep nothing */
    size_t state_bytes;
    bf16 *k_buffer, *v_buffer; /* [slots, H, C, D] */
    /* Set by the launcher: */
    bool cut; /* there may be segments of several pieces */
    int piece_chunks, pieces_max;
    float *checkpoint; /* [roles, pieces_max, H, P, P] S at the first chunk of each piece */
};

/* UNSUPPORTED for shapes that no kernel takes. */
MUST_CHECK enum status lightning_supported(const struct cuda_context *cuda, int64_t head_size,
                                           int64_t chunk, int32_t segment_count);
/* lightning_walk.cu: all rows of all segments; then, with a state, the rows of the last partial chunk go to the
 * buffers. */
MUST_CHECK enum status lightning_walk_run(struct cuda_context *cuda, struct lightning_walk *walk);

/* Channels and tokens are padded with zeros to the next size that has a kernel. */
static inline int lightning_padded(int64_t size)
{
    return op_cuda_padded_head(size);
}
static inline bool lightning_aligned(const void *pointer, int64_t row, int64_t head)
{
    return (uintptr_t)pointer % 16 == 0 && row % 8 == 0 && head % 8 == 0;
}

/* w^n = exp(-slope n), the one place that says so: f64, rounded once. */
static __device__ __forceinline__ float lightning_decay(float slope, int n)
{
    return (float)exp(-(double)slope * (double)n);
}

/* Element offset of (row, column) in a shared tile of COLUMNS bf16: 16-byte vectors are permuted inside a row, so
 * that the 8 rows of an ldmatrix meet 8 different bank groups. */
template <int COLUMNS> static __device__ __forceinline__ int tile_at(int row, int column)
{
    constexpr int VECTORS = COLUMNS / 8;
    int key = VECTORS >= 8 ? row % 8 : (row / (8 / VECTORS)) % VECTORS;
    return row * COLUMNS + ((column / 8) ^ key) * 8 + column % 8;
}

/* 8 elements to shared memory, of which `left` exist (none when <= 0); the rest is zero. */
static __device__ __forceinline__ void load_vector(bf16 *shared, const bf16 *global, int left,
                                                   bool aligned)
{
    if (aligned) {
        copy_async_16(shared, global, left > 0);
        return;
    }
    for (int e = 0; e < 8; e++)
        shared[e] = e < left ? global[e] : __float2bfloat16_rn(0.0f);
}

/* Fragments by ldmatrix from row, column on (multiples of 16) of a tile that starts at a multiple of 256 bytes: the
 * lane's part of the address is one for all of them, the column is one xor, the row a constant added. */
template <int COLUMNS>
static __device__ __forceinline__ uint32_t lane_address(const bf16 *tile, int row, int column,
                                                        int lane_row, int lane_column)
{
    uint32_t lane = (uint32_t)__cvta_generic_to_shared(tile) +
                    2 * (uint32_t)tile_at<COLUMNS>(lane_row, lane_column);
    return (lane ^ (uint32_t)(2 * column)) + (uint32_t)(2 * row * COLUMNS);
}
static __device__ __forceinline__ void load_matrices(uint32_t out[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}
static __device__ __forceinline__ void load_matrices_transposed(uint32_t out[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}
/* 16 rows x 16 columns as a of mma_16816. */
template <int COLUMNS>
static __device__ __forceinline__ void load_rows(uint32_t out[4], const bf16 *tile, int row,
                                                 int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices(out, lane_address<COLUMNS>(tile, row, column, lane % 16, lane / 16 * 8));
}
/* 16 rows that are n, 16 columns that are k: out[0..1] is b of n 0..7, out[2..3] of n 8..15. */
template <int COLUMNS>
static __device__ __forceinline__ void load_columns(uint32_t out[4], const bf16 *tile, int row,
                                                    int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices(
        out, lane_address<COLUMNS>(tile, row, column, lane % 8 + lane / 16 * 8, lane / 8 % 2 * 8));
}
/* 16 rows that are k (tokens), 16 columns that are m: a of the transposed tile. */
template <int COLUMNS>
static __device__ __forceinline__ void load_values(uint32_t out[4], const bf16 *tile, int row,
                                                   int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices_transposed(
        out, lane_address<COLUMNS>(tile, row, column, lane % 8 + lane / 16 * 8, lane / 8 % 2 * 8));
}
/* 16 rows that are k (tokens), 16 columns that are n: out[0..1] is b of n 0..7, out[2..3] of n 8..15. */
template <int COLUMNS>
static __device__ __forceinline__ void load_keys(uint32_t out[4], const bf16 *tile, int row,
                                                 int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices_transposed(out,
                             lane_address<COLUMNS>(tile, row, column, lane % 16, lane / 16 * 8));
}

static __device__ __forceinline__ uint32_t scale_pair(uint32_t pair, float low, float high)
{
    float2 x = __bfloat1622float2(*(__nv_bfloat162 *)&pair);
    return pack_bf16(__fmul_rn(x.x, low), __fmul_rn(x.y, high));
}
/* decay[n] = w^n for n <= C; weight[token] = w^{C-1-token}, zero from C on. */
template <int CP> struct decay_table {
    float decay[CP + 1];
    __align__(8) float weight[CP];
};
template <int CP>
static __device__ void fill_decay(struct decay_table<CP> *table, float slope, int chunk)
{
    for (int n = (int)threadIdx.x; n <= CP; n += (int)blockDim.x) {
        float decay = lightning_decay(slope, n);
        table->decay[n] = decay;
        if (n < chunk)
            table->weight[chunk - 1 - n] = decay;
        else if (n < CP)
            table->weight[n] = 0.0f;
    }
}
/* Fragments of load_values for tokens `row` .. `row` + 15, each times its weight. */
static __device__ __forceinline__ void decay_values(uint32_t v[4], const float *weight, int row)
{
    const float *own = weight + row + (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float2 w = *(const float2 *)(own + half * 8);
        v[2 * half] = scale_pair(v[2 * half], w.x, w.y);
        v[2 * half + 1] = scale_pair(v[2 * half + 1], w.x, w.y);
    }
}

/* Decayed p of one element of q k^T. */
static __device__ __forceinline__ float decayed_score(float score, const float *decay, int i, int j)
{
    return j <= i ? __fmul_rn(score, decay[i - j]) : 0.0f;
}

/* Offset of a lane's 4 f32 of tile (value, key) in a head's master or checkpoint. */
template <int P> static __device__ __forceinline__ int master_at(int value_tile, int key_tile)
{
    return ((value_tile * (P / 8) + key_tile) * 32 + (int)threadIdx.x % 32) * 4;
}
/* Offset of a lane's 8 bf16 of tile (value, key / 16) in a head's shadow. */
template <int P> static __device__ __forceinline__ int shadow_at(int value_tile, int key_pair)
{
    return ((value_tile * (P / 16) + key_pair) * 32 + (int)threadIdx.x % 32) * 8;
}
template <int P>
static __device__ __forceinline__ float *master_of(char *state, size_t state_bytes, int slot,
                                                   int head)
{
    return (float *)(state + (size_t)slot * state_bytes) + (size_t)head * P * P;
}
template <int P>
static __device__ __forceinline__ bf16 *shadow_of(char *state, size_t state_bytes, int slot,
                                                  int heads, int head)
{
    return (bf16 *)(state + (size_t)slot * state_bytes + (size_t)heads * P * P * sizeof(float)) +
           (size_t)head * P * P;
}

#endif
