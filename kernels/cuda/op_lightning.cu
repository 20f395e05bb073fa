/* kernels/cuda/op_lightning.cu - lightning attention forward: which kernel takes which segment, the decode kernel,
 * and the plain f32 kernel. What the bits are, and the layout of the state: lightning.cuh.
 *
 * Decode (segments of one row): one block a head and segment. It reads the bf16 shadow of the state, half the
 * bytes of the master, straight into fragments, and the chunk's keys and values so far; only the last row of a
 * chunk touches the master. The row is column 0 of the b operand; the other 7 columns are zero. */
#include "kernels/cuda/lightning.cuh"

extern "C" size_t cuda_lightning_state_bytes(void *context, int64_t heads, int64_t head_size)
{
    const struct cuda_context *cuda = (const struct cuda_context *)context;
    return op_cuda_state_bytes(cuda->f32, heads, head_size);
}

/* ---- decode ---- */

struct decode_call {
    int heads, head_size, chunk;
    int64_t row_stride, head_stride;
    const float *slopes;
    const struct op_segment *segments;
    const bf16 *q, *k, *v;
    char *state;
    size_t state_bytes;
    bf16 *k_buffer, *v_buffer, *y;
    bool aligned, state_aligned;
};

template <int P, int CP> struct decode_shape {
    static constexpr int WARPS = P / 32; /* a warp: 32 values */
    static constexpr int THREADS = WARPS * 32;
    static constexpr size_t BYTES = (size_t)2 * CP * P * sizeof(bf16);
};

/* Rows 0 .. i of the chunk, then zeros as far as products read: earlier rows from the buffer, row i from the call,
 * which goes to the buffer too. */
template <int P, int CP, int THREADS>
static __device__ __forceinline__ void decode_tile(const struct decode_call &call, int i,
                                                   bf16 *tile, bf16 *buffer, const bf16 *row)
{
    int size = call.head_size, rows = i == call.chunk - 1 ? CP : i / 16 * 16 + 16;
    for (int index = (int)threadIdx.x; index < rows * (P / 8); index += THREADS) {
        int r = index / (P / 8), column = index % (P / 8) * 8;
        int left = r <= i ? size - column : 0;
        bf16 *to = tile + tile_at<P>(r, column);
        if (r == i)
            load_vector(to, left > 0 ? row + column : row, left, call.aligned);
        else
            load_vector(to, left > 0 ? buffer + r * size + column : buffer, left,
                        call.state_aligned);
    }
    for (int d = (int)threadIdx.x; d < size; d += THREADS)
        buffer[i * size + d] = row[d];
}

/* b of mma_16816 with x [16] (shared) as column 0. */
static __device__ __forceinline__ void load_column(uint32_t b[2], const bf16 *x)
{
    int lane = (int)threadIdx.x % 32;
    b[0] = lane < 4 ? *(const uint32_t *)(x + lane * 2) : 0;
    b[1] = lane < 4 ? *(const uint32_t *)(x + lane * 2 + 8) : 0;
}

/* p[j] = bf16(w^{i-j} (q . k_j)) for the tiles of 16 keys up to the one of row i. */
template <int P, int WARPS>
static __device__ __forceinline__ void decode_scores(bf16 *p, const bf16 *k, const bf16 *q,
                                                     const float *decay, int i)
{
    int lane = (int)threadIdx.x % 32;
    for (int tile = (int)threadIdx.x / 32; tile <= i / 16; tile += WARPS) {
        float d[4] = {};
#pragma unroll
        for (int step = 0; step < P / 16; step++) {
            uint32_t a[4], b[2];
            load_rows<P>(a, k, tile * 16, step * 16);
            load_column(b, q + step * 16);
            mma_16816(d, a, b);
        }
        int j = tile * 16 + lane / 4;
        if (lane % 4 == 0) {
            p[j] = __float2bfloat16_rn(decayed_score(d[0], decay, i, j));
            p[j + 8] = __float2bfloat16_rn(decayed_score(d[2], decay, i, j + 8));
        }
    }
}

/* The chunk is complete: S' for 16 values, master and shadow. */
template <int P, int CP>
static __device__ __forceinline__ void
decode_advance(const struct decode_call &call, int slot, int head, int value_tile, bool fresh,
               const bf16 *k, const bf16 *v_tile, const struct decay_table<CP> &table)
{
    float *master = master_of<P>(call.state, call.state_bytes, slot, head);
    bf16 *shadow = shadow_of<P>(call.state, call.state_bytes, slot, call.heads, head);
    float whole = table.decay[call.chunk];
    uint32_t v[CP / 16][4];
#pragma unroll
    for (int step = 0; step < CP / 16; step++) {
        load_values<P>(v[step], v_tile, step * 16, value_tile * 16);
        decay_values(v[step], table.weight, step * 16);
    }
#pragma unroll 2
    for (int pair = 0; pair < P / 16; pair++) {
        float *near = master + master_at<P>(value_tile, 2 * pair);
        float *far = master + master_at<P>(value_tile, 2 * pair + 1);
        float s[2][4] = {}, product[2][4] = {};
        if (!fresh) {
            *(float4 *)s[0] = *(const float4 *)near;
            *(float4 *)s[1] = *(const float4 *)far;
        }
#pragma unroll
        for (int step = 0; step < CP / 16; step++) {
            uint32_t b[4];
            load_keys<P>(b, k, step * 16, pair * 16);
            mma_16816(product[0], v[step], b);
            mma_16816(product[1], v[step], b + 2);
        }
#pragma unroll
        for (int e = 0; e < 8; e++)
            s[e / 4][e % 4] = __fmaf_rn(whole, s[e / 4][e % 4], product[e / 4][e % 4]);
        *(float4 *)near = *(const float4 *)s[0];
        *(float4 *)far = *(const float4 *)s[1];
        *(uint4 *)(shadow + shadow_at<P>(value_tile, pair)) =
            make_uint4(pack_bf16(s[0][0], s[0][1]), pack_bf16(s[0][2], s[0][3]),
                       pack_bf16(s[1][0], s[1][1]), pack_bf16(s[1][2], s[1][3]));
    }
}

/* Column 0 of the products is the row: lanes 0, 4, 8, ... hold it. */
static __device__ __forceinline__ void decode_store(const struct decode_call &call,
                                                    const struct op_segment &segment, int head,
                                                    const float inter[2][4],
                                                    const float intra[2][4], float decay)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (lane % 4 != 0)
        return;
    bf16 *y = call.y + ((int64_t)segment.row * call.heads + head) * call.head_size;
    for (int t = 0; t < 2; t++)
        for (int half = 0; half < 2; half++) {
            int value = warp * 32 + t * 16 + half * 8 + lane / 4;
            if (value < call.head_size)
                y[value] =
                    __float2bfloat16_rn(__fmaf_rn(decay, inter[t][2 * half], intra[t][2 * half]));
        }
}

/* S^T fragments of this warp's 32 values from the shadow; zero in the first chunk. */
template <int P>
static __device__ __forceinline__ void decode_state(const struct decode_call &call, int slot,
                                                    int head, bool fresh, uint4 state[2][P / 16])
{
    int warp = (int)threadIdx.x / 32;
    const bf16 *shadow = shadow_of<P>(call.state, call.state_bytes, slot, call.heads, head);
#pragma unroll
    for (int t = 0; t < 2; t++)
#pragma unroll
        for (int step = 0; step < P / 16; step++)
            state[t][step] = fresh ? make_uint4(0, 0, 0, 0)
                                   : *(const uint4 *)(shadow + shadow_at<P>(warp * 2 + t, step));
}

template <int P, int CP>
__global__ void __launch_bounds__(decode_shape<P, CP>::THREADS)
    lightning_decode(const __grid_constant__ struct decode_call call)
{
    constexpr int THREADS = decode_shape<P, CP>::THREADS, WARPS = decode_shape<P, CP>::WARPS;
    extern __shared__ __align__(256) char dynamic[];
    __shared__ __align__(16) bf16 q[P], p[CP];
    __shared__ struct decay_table<CP> table;
    struct op_segment segment = call.segments[blockIdx.y];
    if (segment.slot < 0 || segment.count != 1)
        return;
    int head = (int)blockIdx.x, warp = (int)threadIdx.x / 32;
    int i = segment.position % call.chunk;
    bool fresh = segment.position < call.chunk;
    bf16 *k = (bf16 *)dynamic, *v = k + CP * P;
    int64_t cell = ((int64_t)segment.slot * call.heads + head) * call.chunk * call.head_size;
    int64_t row = segment.row * call.row_stride + head * call.head_stride;
    uint4 state[2][P / 16];
    decode_state<P>(call, segment.slot, head, fresh, state);
    decode_tile<P, CP, THREADS>(call, i, k, call.k_buffer + cell, call.k + row);
    copy_async_commit();
    decode_tile<P, CP, THREADS>(call, i, v, call.v_buffer + cell, call.v + row);
    copy_async_commit();
    for (int d = (int)threadIdx.x; d < P; d += THREADS)
        q[d] = d < call.head_size ? call.q[row + d] : __float2bfloat16_rn(0.0f);
    fill_decay<CP>(&table, call.slopes[head], call.chunk);
    copy_async_wait<1>();
    __syncthreads();
    decode_scores<P, WARPS>(p, k, q, table.decay, i);
    float inter[2][4] = {}, intra[2][4] = {};
#pragma unroll
    for (int step = 0; step < P / 16; step++) {
        uint32_t b[2];
        load_column(b, q + step * 16);
        mma_16816(inter[0], (const uint32_t *)&state[0][step], b);
        mma_16816(inter[1], (const uint32_t *)&state[1][step], b);
    }
    copy_async_wait<0>();
    __syncthreads();
    for (int step = 0; step <= i / 16; step++) {
        uint32_t b[2];
        load_column(b, p + step * 16);
#pragma unroll
        for (int t = 0; t < 2; t++) {
            uint32_t a[4];
            load_values<P>(a, v, step * 16, warp * 32 + t * 16);
            mma_16816(intra[t], a, b);
        }
    }
    decode_store(call, segment, head, inter, intra, table.decay[i + 1]);
    if (i == call.chunk - 1)
        for (int t = 0; t < 2; t++)
            decode_advance<P, CP>(call, segment.slot, head, warp * 2 + t, fresh, k, v, table);
}

template <int P, int CP>
static enum status run_decode(struct cuda_context *cuda, const struct decode_call *call,
                              int segments)
{
    using shape = decode_shape<P, CP>;
    CUDA_TRY(cudaFuncSetAttribute(lightning_decode<P, CP>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shape::BYTES));
    dim3 grid((unsigned)call->heads, (unsigned)segments);
    lightning_decode<P, CP><<<grid, shape::THREADS, shape::BYTES, cuda->stream>>>(*call);
    return cuda_launched("lightning decode");
}

template <int P>
static enum status decode_head(struct cuda_context *cuda, const struct decode_call *call,
                               int segments)
{
    switch (lightning_padded(call->chunk)) {
    case 32:
        return run_decode<P, 32>(cuda, call, segments);
    case 64:
        return run_decode<P, 64>(cuda, call, segments);
    default:
        return run_decode<P, 128>(cuda, call, segments);
    }
}

static enum status decode(struct cuda_context *cuda, const struct op_lightning *args, bool aligned,
                          bool state_aligned)
{
    struct decode_call call = {
        .heads = (int)args->heads,
        .head_size = (int)args->head_size,
        .chunk = (int)args->chunk,
        .row_stride = args->row_stride,
        .head_stride = args->head_stride,
        .slopes = args->slopes,
        .segments = args->segments,
        .q = (const bf16 *)args->q,
        .k = (const bf16 *)args->k,
        .v = (const bf16 *)args->v,
        .state = (char *)args->state,
        .state_bytes = cuda_lightning_state_bytes(cuda, args->heads, args->head_size),
        .k_buffer = (bf16 *)args->k_buffer,
        .v_buffer = (bf16 *)args->v_buffer,
        .y = (bf16 *)args->y,
        .aligned = aligned,
        .state_aligned = state_aligned,
    };
    switch (lightning_padded(args->head_size)) {
    case 32:
        return decode_head<32>(cuda, &call, args->segment_count);
    case 64:
        return decode_head<64>(cuda, &call, args->segment_count);
    default:
        return decode_head<128>(cuda, &call, args->segment_count);
    }
}

/* ---- f32: one block a head and segment, rows in order, thread = value channel; for `weir verify` ---- */

static __global__ void lightning_plain(const struct op_lightning args)
{
    extern __shared__ float shared[]; /* q [D], decayed scores [C] */
    struct op_segment segment = args.segments[blockIdx.y];
    if (segment.slot < 0)
        return;
    int size = (int)args.head_size, chunk = (int)args.chunk, head = (int)blockIdx.x;
    int b = (int)threadIdx.x;
    float slope = args.slopes[head], *q = shared, *p = shared + size;
    int64_t cell = (int64_t)segment.slot * args.heads + head;
    float *state = (float *)args.state + cell * size * size;
    float *k_buffer = (float *)args.k_buffer + cell * chunk * size;
    float *v_buffer = (float *)args.v_buffer + cell * chunk * size;
    for (int a = 0; segment.position == 0 && a < size; a++)
        state[a * size + b] = 0.0f;
    for (int t = 0; t < segment.count; t++) {
        int64_t row = segment.row + t, at = row * args.row_stride + head * args.head_stride + b;
        int i = (segment.position + t) % chunk;
        q[b] = ((const float *)args.q)[at];
        k_buffer[i * size + b] = ((const float *)args.k)[at];
        v_buffer[i * size + b] = ((const float *)args.v)[at];
        __syncthreads();
        for (int j = b; j <= i; j += size) {
            double sum = 0;
            for (int d = 0; d < size; d++)
                sum += (double)q[d] * (double)k_buffer[j * size + d];
            p[j] = (float)(exp(-(double)slope * (double)(i - j)) * sum);
        }
        __syncthreads();
        double inter = 0, intra = 0;
        for (int a = 0; a < size; a++)
            inter += (double)q[a] * (double)state[a * size + b];
        for (int j = 0; j <= i; j++)
            intra += (double)p[j] * (double)v_buffer[j * size + b];
        ((float *)args.y)[(row * args.heads + head) * size + b] =
            (float)(exp(-(double)slope * (double)(i + 1)) * inter + intra);
        for (int a = 0; i == chunk - 1 && a < size; a++) {
            double sum = exp(-(double)slope * (double)chunk) * (double)state[a * size + b];
            for (int j = 0; j < chunk; j++)
                sum += exp(-(double)slope * (double)(chunk - 1 - j)) *
                       (double)k_buffer[j * size + a] * (double)v_buffer[j * size + b];
            state[a * size + b] = (float)sum;
        }
        __syncthreads();
    }
}

static enum status plain(struct cuda_context *cuda, const struct op_lightning *args)
{
    dim3 grid((unsigned)args->heads, (unsigned)args->segment_count);
    size_t bytes = (size_t)(args->head_size + args->chunk) * sizeof(float);
    lightning_plain<<<grid, (unsigned)args->head_size, bytes, cuda->stream>>>(*args);
    return cuda_launched("lightning f32");
}

/* ---- the op ---- */

static struct lightning_walk walk_of(const struct op_lightning *args, size_t state_bytes)
{
    struct lightning_walk walk = {};
    walk.role[0] = {(const bf16 *)args->q,
                    (const bf16 *)args->k,
                    (const bf16 *)args->v,
                    (bf16 *)args->y,
                    args->row_stride,
                    args->head_stride,
                    args->row_stride,
                    args->head_stride,
                    args->row_stride,
                    args->head_stride,
                    args->heads * args->head_size,
                    args->head_size,
                    0};
    walk.roles = 1;
    walk.heads = (int)args->heads;
    walk.head_size = (int)args->head_size;
    walk.chunk = (int)args->chunk;
    walk.rows = args->rows;
    walk.slopes = args->slopes;
    walk.segments = args->segments;
    walk.segment_count = args->segment_count;
    walk.skip_single = true;
    walk.state = (char *)args->state;
    walk.state_bytes = state_bytes;
    walk.k_buffer = (bf16 *)args->k_buffer;
    walk.v_buffer = (bf16 *)args->v_buffer;
    return walk;
}

extern "C" enum status cuda_lightning(void *context, const struct op_lightning *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0 || args->segment_count == 0)
        return STATUS_OK;
    TRY(lightning_supported(cuda, args->head_size, args->chunk, args->segment_count));
    if (cuda->f32)
        return plain(cuda, args);
    int64_t row = args->row_stride, head = args->head_stride, size = args->head_size;
    bool aligned = lightning_aligned(args->q, row, head) && lightning_aligned(args->k, row, head) &&
                   lightning_aligned(args->v, row, head) && lightning_aligned(args->y, size, size);
    bool state_aligned =
        lightning_aligned(args->k_buffer, size, 0) && lightning_aligned(args->v_buffer, size, 0);
    TRY(decode(cuda, args, aligned, state_aligned));
    if (args->rows == args->segment_count)
        return STATUS_OK; /* all segments are single rows */
    struct lightning_walk walk =
        walk_of(args, cuda_lightning_state_bytes(context, args->heads, size));
    walk.aligned = aligned;
    walk.state_aligned = state_aligned;
    return lightning_walk_run(cuda, &walk);
}
