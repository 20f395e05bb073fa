/* kernels/cuda/head_finish.cuh - what happens to a tile of logits while it is still in registers: the partial sums of
 * the softmax (forward), or dz (backward). Every kernel that makes logits ends here, so the order of each sum is
 * written once and decode, prefill and training agree to the bit.
 *
 * A tile is 64 rows x 128 columns of one warpgroup. A thread holds float z[64]: z[4 j + 2 r + c] is row
 * 16 warp + lane / 4 + 8 r, column 8 j + 2 (lane % 4) + c - what wgmma m64n128 and sixteen mma m16n8 both leave.
 * The partial sums of (row, tile), with a = fl(max z scale), scale = log2(e) / temperature:
 *   s = sum 2^(z scale - a), e = sum 2^(z scale - a) (z scale - a), raw = the same as s at temperature 1.
 * Each product and difference is one fused operation, exact but for its own rounding; two chains (c = 0 and 1) run
 * over j, then their sum, then the quad (lane ^ 1, lane ^ 2). */
#ifndef KERNELS_CUDA_HEAD_FINISH_CUH
#define KERNELS_CUDA_HEAD_FINISH_CUH

#include "kernels/cuda/device.cuh"

enum { HEAD_TILE = 128, HEAD_ROWS = 64, HEAD_VALUES = 64 };
enum head_mode { HEAD_FORWARD, HEAD_GRADIENT, HEAD_GRADIENT_ENTROPY };
static constexpr float HEAD_LOG2E = 1.4426950408889634f, HEAD_LN2 = 0.6931471805599453f;

/* One call of a kernel over `rows` rows; all pointers start at the first of them. */
struct head_call {
    int32_t rows, channels, vocabulary, tiles; /* tiles: of HEAD_TILE columns */
    float scale;                               /* log2(e) / temperature */
    bool bf16_logits, raw;                     /* raw: sums at temperature 1 too */
    const int32_t *target;                     /* [T] or NULL */
    /* forward */
    float4 *partial;     /* out [T, tiles] (max z, s, e, raw) */
    float *target_logit; /* out [T] where target >= 0 */
    float *logits;       /* out [T, V] or NULL */
    /* gradient */
    float inverse_temperature;
    const float *lse, *dlogprob;     /* [T] */
    const float *target_exact;       /* [T] logit of the target from both weight planes, or NULL */
    void *dz;                        /* out [T, dz_stride] */
    int64_t dz_stride;               /* a multiple of 8 */
    const float *dentropy, *entropy; /* [T], HEAD_GRADIENT_ENTROPY only */
};

/* What a thread needs of its two rows; loaded before the product so that it does not wait afterwards. */
struct head_rows {
    int32_t row[2];
    int32_t target[2];                       /* -1: none */
    float lse2[2], coefficient[2], exact[2]; /* gradient: lse log2(e), dlogprob / temperature */
    float slope[2],
        entropy2[2]; /* HEAD_GRADIENT_ENTROPY: dentropy ln 2 / temperature, entropy log2(e) */
};

static __device__ __forceinline__ float head_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

template <int MODE>
static __device__ __forceinline__ void head_load_rows(struct head_rows *rows,
                                                      const struct head_call &call, int32_t first)
{
    for (int r = 0; r < 2; r++) {
        int32_t row = first + (int32_t)(threadIdx.x % 128) / 32 * 16 +
                      (int32_t)(threadIdx.x % 32) / 4 + 8 * r;
        bool inside = row < call.rows;
        rows->row[r] = row;
        rows->target[r] = inside && call.target != NULL ? call.target[row] : -1;
        if (MODE != HEAD_FORWARD) {
            float gradient = rows->target[r] >= 0 ? call.dlogprob[row] : 0;
            rows->coefficient[r] = __fmul_rn(gradient, call.inverse_temperature);
            /* a row without gradient may have any lse: 2^-inf = 0 */
            bool pulls = gradient != 0;
            if (MODE == HEAD_GRADIENT_ENTROPY) {
                float slope = rows->target[r] >= 0 ? call.dentropy[row] : 0;
                rows->slope[r] = __fmul_rn(__fmul_rn(slope, call.inverse_temperature), HEAD_LN2);
                rows->entropy2[r] = slope != 0 ? __fmul_rn(call.entropy[row], HEAD_LOG2E) : 0;
                pulls = pulls || slope != 0;
            }
            rows->lse2[r] = pulls ? __fmul_rn(call.lse[row], HEAD_LOG2E) : INFINITY;
            rows->exact[r] = inside && call.target_exact != NULL ? call.target_exact[row] : 0;
        }
    }
}

/* Whether this thread has the column of row r's target, and its value there. */
static __device__ __forceinline__ bool head_owns(const struct head_rows &rows, int r,
                                                 int32_t column)
{
    int32_t at = rows.target[r] - column;
    return rows.target[r] >= 0 && at >= 0 && at < HEAD_TILE &&
           at % 8 / 2 == (int32_t)(threadIdx.x % 4);
}
static __device__ __forceinline__ float head_target(const float *z, const struct head_rows &rows,
                                                    int r, int32_t column)
{
    int32_t at = rows.target[r] - column, group = at / 8;
    float value = 0;
#pragma unroll
    for (int j = 0; j < 16; j++)
        if (j == group)
            value = at % 2 != 0 ? z[4 * j + 2 * r + 1] : z[4 * j + 2 * r];
    return value;
}

static __device__ __forceinline__ void head_store_logits(const float *z,
                                                         const struct head_call &call,
                                                         const struct head_rows &rows,
                                                         int32_t column)
{
    int32_t first = column + 2 * (int32_t)(threadIdx.x % 4);
    bool pairs = call.vocabulary % 2 == 0;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (rows.row[r] >= call.rows)
            continue;
        float *to = call.logits + (int64_t)rows.row[r] * call.vocabulary;
#pragma unroll
        for (int j = 0; j < 16; j++) {
            int32_t at = first + 8 * j;
            if (pairs && at < call.vocabulary)
                *(float2 *)(to + at) = make_float2(z[4 * j + 2 * r], z[4 * j + 2 * r + 1]);
            else if (!pairs) {
                if (at < call.vocabulary)
                    to[at] = z[4 * j + 2 * r];
                if (at + 1 < call.vocabulary)
                    to[at + 1] = z[4 * j + 2 * r + 1];
            }
        }
    }
}

/* Sum over the quad that shares a row; every lane gets the same bits. */
static __device__ __forceinline__ float head_quad_sum(float x)
{
    x = __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* s (and e where `e` is not NULL) of one row of the tile against the reference a = fl(top scale). */
template <bool CUT>
static __device__ __forceinline__ float head_sums(const float *z, float top, float scale,
                                                  int32_t columns, float *e)
{
    float reference = -__fmul_rn(top, scale), s[2] = {0, 0}, m[2] = {0, 0};
#pragma unroll
    for (int j = 0; j < 16; j++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            float d = __fmaf_rn(z[4 * j + c], scale, reference), p = head_exp2(d);
            if (CUT && 8 * j + c >= columns)
                p = d = 0;
            s[c] = __fadd_rn(s[c], p);
            m[c] = __fmaf_rn(p, d, m[c]);
        }
    if (e != NULL)
        *e = head_quad_sum(__fadd_rn(m[0], m[1]));
    return head_quad_sum(__fadd_rn(s[0], s[1]));
}

/* CUT: the last tile of a vocabulary that is no multiple of 128. */
template <bool CUT>
static __device__ __forceinline__ void head_partial(const float *z, const struct head_call &call,
                                                    const struct head_rows &rows, int32_t column)
{
    int32_t columns = call.vocabulary - column - 2 * (int32_t)(threadIdx.x % 4);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float *own = z + 2 * r;
        float4 partial;
        float top = -INFINITY;
#pragma unroll
        for (int j = 0; j < 16; j++)
#pragma unroll
            for (int c = 0; c < 2; c++)
                if (!CUT || 8 * j + c < columns)
                    top = fmaxf(top, own[4 * j + c]);
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        partial.x = top;
        partial.y = head_sums<CUT>(own, top, call.scale, columns, &partial.z);
        partial.w = partial.y;
        if (call.raw)
            partial.w = head_sums<CUT>(own, top, HEAD_LOG2E, columns, NULL);
        if (rows.row[r] >= call.rows)
            continue;
        if (threadIdx.x % 4 == 0)
            call.partial[(int64_t)rows.row[r] * call.tiles + column / HEAD_TILE] = partial;
        if (head_owns(rows, r, column))
            call.target_logit[rows.row[r]] = head_target(z, rows, r, column);
    }
}

/* Lane q of a quad has word q of blocks 0..3; afterwards words 0..3 of block q. */
static __device__ __forceinline__ void head_quad_transpose(uint32_t w[4])
{
    uint32_t lane = threadIdx.x;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t got = __shfl_xor_sync(0xffffffffu, (lane & 1) != 0 ? w[i] : w[i + 1], 1);
        w[i] = (lane & 1) != 0 ? got : w[i];
        w[i + 1] = (lane & 1) != 0 ? w[i + 1] : got;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t got = __shfl_xor_sync(0xffffffffu, (lane & 2) != 0 ? w[i] : w[i + 2], 2);
        w[i] = (lane & 2) != 0 ? got : w[i];
        w[i + 2] = (lane & 2) != 0 ? w[i + 2] : got;
    }
}

/* What p is multiplied by for dz of a column that is not the target: -dlogprob / temperature, and with entropy
 * -dentropy (log p + entropy) / temperature besides; log2p = log2(p). p = 0 has p log p = 0. */
template <int MODE>
static __device__ __forceinline__ float head_factor(const struct head_rows &rows, int r, float p,
                                                    float log2p)
{
    float factor = -rows.coefficient[r];
    if (MODE == HEAD_GRADIENT_ENTROPY && p > 0)
        factor = __fmaf_rn(-rows.slope[r], __fadd_rn(log2p, rows.entropy2[r]), factor);
    return factor;
}

/* dz = (dlogprob (onehot - p) - dentropy p (log p + entropy)) / temperature, p = 2^(z scale - lse log2(e)). */
template <int MODE, typename T>
static __device__ __forceinline__ void head_gradient(const float *z, const struct head_call &call,
                                                     const struct head_rows &rows, int32_t column)
{
    int32_t quad = (int32_t)(threadIdx.x % 4);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        T *to = (T *)call.dz + (int64_t)rows.row[r] * call.dz_stride;
        bool inside = rows.row[r] < call.rows;
#pragma unroll
        for (int g = 0; g < 4; g++) {
            uint32_t word[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int j = 4 * g + i;
                float log_low = __fmaf_rn(z[4 * j + 2 * r], call.scale, -rows.lse2[r]);
                float log_high = __fmaf_rn(z[4 * j + 2 * r + 1], call.scale, -rows.lse2[r]);
                float low = head_exp2(log_low), high = head_exp2(log_high);
                low = __fmul_rn(low, head_factor<MODE>(rows, r, low, log_low));
                high = __fmul_rn(high, head_factor<MODE>(rows, r, high, log_high));
                if (sizeof(T) == 2)
                    word[i] = pack_bf16(low, high);
                else if (inside && column + 8 * j < call.dz_stride)
                    *(float2 *)(to + column + 8 * j + 2 * quad) = make_float2(low, high);
            }
            if (sizeof(T) == 2) {
                head_quad_transpose(word);
                int32_t at = column + 8 * (4 * g + quad);
                if (inside && at < call.dz_stride)
                    *(uint4 *)(to + at) = make_uint4(word[0], word[1], word[2], word[3]);
            }
        }
        __syncwarp(); /* the target's element is written a second time, after the store above */
        if (inside && head_owns(rows, r, column)) {
            float own = call.target_exact != NULL ? rows.exact[r] : head_target(z, rows, r, column);
            float log2p = __fmaf_rn(own, call.scale, -rows.lse2[r]), p = head_exp2(log2p);
            float gradient = __fmul_rn(rows.coefficient[r], __fsub_rn(1, p));
            if (MODE == HEAD_GRADIENT_ENTROPY && p > 0)
                gradient = __fmaf_rn(__fmul_rn(-rows.slope[r], p),
                                     __fadd_rn(log2p, rows.entropy2[r]), gradient);
            to[rows.target[r]] = from_float<T>(gradient);
        }
    }
}

template <int MODE, typename T>
static __device__ __forceinline__ void head_finish(float *z, const struct head_call &call,
                                                   const struct head_rows &rows, int32_t column)
{
    if (column >= call.vocabulary)
        return;
    if (call.bf16_logits)
#pragma unroll
        for (int i = 0; i < HEAD_VALUES; i++)
            z[i] = __bfloat162float(__float2bfloat16_rn(z[i]));
    if constexpr (MODE != HEAD_FORWARD) {
        head_gradient<MODE, T>(z, call, rows, column);
        return;
    }
    if (call.logits != NULL)
        head_store_logits(z, call, rows, column);
    if (column + HEAD_TILE <= call.vocabulary)
        head_partial<false>(z, call, rows, column);
    else
        head_partial<true>(z, call, rows, column);
}

#endif
