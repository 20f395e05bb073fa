/* kernels/cuda/op_moe.cu - routing to experts, and moving rows to and from them (M1-SPEC 1.6).
 *
 * Every sum has the order of the slots (or of the experts) of its own row. The sort by expert is a counting sort of
 * chunks: one warp walks a chunk for each expert, so entries keep their order and no atomic decides a place. */
#include "kernels/cuda/device.cuh"

enum {
    THREADS = 128,
    EXPERTS_MAX = 256,
    LANE_EXPERTS = EXPERTS_MAX / 32,
    SORT_THREADS = 512,
    SORT_CHUNK = 4096, /* entries of one block */
    ROUTE_ROWS = 64    /* up to here routing and sorting are one launch */
};

/* ---- routing: one warp a row, expert e in lane e % 32 ---- */

/* The largest p with its expert, ties to the smaller one, over the warp. */
static __device__ void warp_best(float &p, int32_t &expert)
{
    for (int offset = 16; offset > 0; offset /= 2) {
        const float other_p = __shfl_xor_sync(0xffffffffu, p, offset);
        const int32_t other = __shfl_xor_sync(0xffffffffu, expert, offset);
        if (other_p > p || (other_p == p && other < expert)) {
            p = other_p;
            expert = other;
        }
    }
}

static __device__ void softmax_row(const float *logits, int32_t experts, float p[LANE_EXPERTS])
{
    const int32_t lane = threadIdx.x % 32;
    float largest = -INFINITY, sum = 0;
#pragma unroll
    for (int i = 0; i < LANE_EXPERTS; i++) {
        p[i] = lane + 32 * i < experts ? logits[lane + 32 * i] : -INFINITY;
        largest = fmaxf(largest, p[i]);
    }
    largest = warp_max(largest);
#pragma unroll
    for (int i = 0; i < LANE_EXPERTS; i++) {
        p[i] = lane + 32 * i < experts ? expf(p[i] - largest) : 0.0f;
        sum += p[i];
    }
    sum = warp_sum(sum);
#pragma unroll
    for (int i = 0; i < LANE_EXPERTS; i++)
        p[i] = __fdiv_rn(p[i], sum);
}

/* A probability that is not a number counts as -1: it is taken last, and all indices are valid. */
static __device__ void route_row(const struct op_moe_route &args, int64_t t)
{
    const int32_t lane = threadIdx.x % 32, experts = (int32_t)args.experts;
    float p[LANE_EXPERTS], sum = 0;
    softmax_row(args.logits + t * experts, experts, p);
    uint32_t taken = 0;
#pragma unroll
    for (int i = 0; i < LANE_EXPERTS; i++)
        if (args.probability != NULL && lane + 32 * i < experts)
            args.probability[t * experts + lane + 32 * i] = p[i];
    for (int64_t j = 0; j < args.top; j++) {
        float best = -2;
        int32_t expert = EXPERTS_MAX;
#pragma unroll
        for (int i = 0; i < LANE_EXPERTS; i++) {
            const float value = p[i] >= 0 ? p[i] : -1.0f;
            if (lane + 32 * i < experts && !(taken >> i & 1) && value > best) {
                best = value;
                expert = lane + 32 * i;
            }
        }
        warp_best(best, expert);
        if (expert % 32 == lane)
            taken |= 1u << (expert / 32);
        best = best >= 0 ? best : NAN; /* what is not a number stays so */
        sum = __fadd_rn(sum, best);
        if (lane == 0) {
            args.expert[t * args.top + j] = expert;
            args.weight[t * args.top + j] = best;
        }
    }
    __syncwarp();
    for (int64_t j = lane; !args.raw && j < args.top; j += 32)
        args.weight[t * args.top + j] = __fdiv_rn(args.weight[t * args.top + j], sum);
}

static __global__ void __launch_bounds__(THREADS) route_rows(struct op_moe_route args)
{
    const int64_t t = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (t < args.rows)
        route_row(args, t);
}

/* ---- sort by expert ---- */

static __global__ void __launch_bounds__(SORT_THREADS)
    count_chunks(const int32_t *expert, int64_t entries, int32_t experts, int32_t *count)
{
    __shared__ int32_t own[EXPERTS_MAX];
    const int64_t begin = (int64_t)blockIdx.x * SORT_CHUNK;
    for (int32_t e = threadIdx.x; e < experts; e += SORT_THREADS)
        own[e] = 0;
    __syncthreads();
    for (int64_t i = begin + threadIdx.x; i < begin + SORT_CHUNK && i < entries; i += SORT_THREADS)
        atomicAdd(&own[expert[i]], 1);
    __syncthreads();
    for (int32_t e = threadIdx.x; e < experts; e += SORT_THREADS)
        count[(int64_t)blockIdx.x * experts + e] = own[e];
}

/* One warp: offset[e] = sum of total[0 .. e), for e up to `experts`. */
static __device__ void warp_offsets(const int32_t *total, int32_t experts, int32_t *offset)
{
    const int32_t lane = threadIdx.x % 32;
    int32_t before = 0;
    for (int32_t first = 0; first < experts; first += 32) {
        const int32_t own = first + lane < experts ? total[first + lane] : 0;
        int32_t sum = own;
        for (int32_t step = 1; step < 32; step *= 2) {
            const int32_t other = __shfl_up_sync(0xffffffffu, sum, step);
            sum += lane >= step ? other : 0;
        }
        if (first + lane < experts)
            offset[first + lane] = before + sum - own;
        before += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (lane == 0)
        offset[experts] = before;
}

/* Sums of a chunk's experts before this chunk, and of all; count [chunks, experts]. */
static __device__ void add_counts(const int32_t *count, int32_t experts, int32_t *before,
                                  int32_t *total)
{
    for (int32_t e = threadIdx.x; e < experts; e += SORT_THREADS) {
        int32_t sum = 0;
        for (unsigned b = 0; b < gridDim.x; b++) {
            if (b == blockIdx.x)
                before[e] = sum;
            sum += count[(int64_t)b * experts + e];
        }
        total[e] = sum;
    }
}

/* Each warp walks the chunk for its experts: entries of an expert keep their order. */
static __device__ void place_entries(const struct op_moe_route &args, const int32_t *expert,
                                     int64_t begin, int32_t entries, const int32_t *next)
{
    const int32_t lane = threadIdx.x % 32;
    for (int32_t e = threadIdx.x / 32; e < args.experts; e += SORT_THREADS / 32) {
        int32_t place = next[e];
        for (int32_t i = lane; i - lane < entries; i += 32) {
            const bool mine = i < entries && expert[i] == e;
            const uint32_t all = __ballot_sync(0xffffffffu, mine);
            if (mine) {
                const int32_t at = place + __popc(all & ((1u << lane) - 1));
                args.sorted[begin + i] = at;
                args.entry[at] = (int32_t)(begin + i);
            }
            place += __popc(all);
        }
    }
}

/* A block a chunk. count NULL: there is one chunk, counted here; `route`: and routed here. */
static __global__ void __launch_bounds__(SORT_THREADS)
    place_chunks(struct op_moe_route args, const int32_t *count, bool route)
{
    __shared__ int32_t expert[SORT_CHUNK], before[EXPERTS_MAX], total[EXPERTS_MAX];
    __shared__ int32_t offset[EXPERTS_MAX + 1];
    const int64_t begin = (int64_t)blockIdx.x * SORT_CHUNK;
    const int64_t left = args.rows * args.top - begin;
    const int32_t entries = left < SORT_CHUNK ? (int32_t)left : (int32_t)SORT_CHUNK;
    const int32_t experts = (int32_t)args.experts;
    for (int64_t t = threadIdx.x / 32; route && t < args.rows; t += SORT_THREADS / 32)
        route_row(args, t);
    for (int32_t e = threadIdx.x; e < experts; e += SORT_THREADS)
        before[e] = total[e] = 0;
    __syncthreads();
    for (int32_t i = threadIdx.x; i < entries; i += SORT_THREADS) {
        expert[i] = args.expert[begin + i];
        if (count == NULL)
            atomicAdd(&total[expert[i]], 1);
    }
    if (count != NULL)
        add_counts(count, experts, before, total);
    __syncthreads();
    if (threadIdx.x < 32)
        warp_offsets(total, experts, offset);
    __syncthreads();
    for (int32_t e = threadIdx.x; blockIdx.x == 0 && e <= experts; e += SORT_THREADS)
        args.expert_offset[e] = offset[e];
    for (int32_t e = threadIdx.x; e < experts; e += SORT_THREADS)
        before[e] += offset[e];
    __syncthreads();
    place_entries(args, expert, begin, entries, before);
}

extern "C" enum status cuda_moe_route(void *context, const struct op_moe_route *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    const int32_t experts = (int32_t)args->experts;
    CHECK(args->experts > 0 && args->top > 0 && args->top <= args->experts);
    if (args->experts > EXPERTS_MAX)
        return FAIL(STATUS_UNSUPPORTED, "%d experts: the CUDA backend routes among %d at most",
                    experts, EXPERTS_MAX);
    if (args->rows == 0) {
        CUDA_TRY(cudaMemsetAsync(args->expert_offset, 0, (size_t)(experts + 1) * sizeof(int32_t),
                                 cuda->stream));
        return STATUS_OK;
    }
    const int64_t entries = args->rows * args->top;
    const unsigned chunks = cuda_blocks(entries, SORT_CHUNK);
    const bool one_launch = args->rows <= ROUTE_ROWS && chunks == 1;
    int32_t *count = NULL;
    if (!one_launch)
        route_rows<<<cuda_blocks(args->rows, THREADS / 32), THREADS, 0, cuda->stream>>>(*args);
    TRY(cuda_launched("moe_route"));
    if (chunks > 1) {
        TRY(cuda_scratch(cuda, chunks * (size_t)experts * sizeof *count, (void **)&count));
        count_chunks<<<chunks, SORT_THREADS, 0, cuda->stream>>>(args->expert, entries, experts,
                                                                count);
        TRY(cuda_launched("moe_route"));
    }
    place_chunks<<<chunks, SORT_THREADS, 0, cuda->stream>>>(*args, count, one_launch);
    return cuda_launched("moe_route");
}

/* ---- gradient of the routing: one warp a row ---- */

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    route_backward_rows(struct op_moe_route_backward args)
{
    const int64_t t = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const int32_t lane = threadIdx.x % 32;
    if (t >= args.rows)
        return;
    const float *p = args.probability + t * args.experts, *g = args.aux_gradient;
    const float *w = args.weight + t * args.top, *dw = args.dweight + t * args.top;
    const int32_t *expert = args.expert + t * args.top;
    float mean = 0, aux = 0; /* sum w dw; p . g */
    for (int64_t j = 0; j < args.top; j++)
        mean = __fmaf_rn(w[j], dw[j], mean);
    for (int64_t e = lane; g != NULL && e < args.experts; e += 32)
        aux = __fmaf_rn(p[e], g[e], aux);
    aux = warp_sum(aux);
    for (int64_t e = lane; e < args.experts; e += 32) {
        float d = g != NULL ? p[e] * (g[e] - aux) : 0.0f;
        if (args.raw)
            d = __fmaf_rn(-p[e], mean, d);
        for (int64_t j = 0; j < args.top; j++)
            if (expert[j] == e)
                d = __fmaf_rn(w[j], dw[j] - (args.raw ? 0.0f : mean), d);
        ((T *)args.dlogits)[t * args.experts + e] = from_float<T>(d);
    }
}

extern "C" enum status cuda_moe_route_backward(void *context,
                                               const struct op_moe_route_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    const unsigned blocks = cuda_blocks(args->rows, THREADS / 32);
    if (args->rows == 0)
        return STATUS_OK;
    if (cuda->f32)
        route_backward_rows<float><<<blocks, THREADS, 0, cuda->stream>>>(*args);
    else
        route_backward_rows<bf16><<<blocks, THREADS, 0, cuda->stream>>>(*args);
    return cuda_launched("moe_route_backward");
}

/* ---- rows to and from experts: one block a row; N elements a thread, 16 bytes or one ---- */

template <typename T, int N> struct alignas(N * sizeof(T)) pack {
    T x[N];
};

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) gather_rows(struct op_moe_gather args)
{
    typedef struct pack<T, N> unit;
    const int64_t i = blockIdx.x, units = args.channels / N;
    const unit *x = (const unit *)args.x + args.entry[i] / args.top * units;
    unit *y = (unit *)args.y + i * units;
    for (int64_t u = threadIdx.x; u < units; u += THREADS)
        y[u] = x[u];
}

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS)
    gather_backward_rows(struct op_moe_gather_backward args)
{
    typedef struct pack<T, N> unit;
    const int64_t t = blockIdx.x, units = args.channels / N;
    const int32_t *sorted = args.sorted + t * args.top;
    unit *dx = (unit *)args.dx + t * units;
    for (int64_t u = threadIdx.x; u < units; u += THREADS) {
        float sum[N] = {};
        if (args.accumulate) {
            const unit old = dx[u];
            for (int n = 0; n < N; n++)
                sum[n] = to_float(old.x[n]);
        }
        for (int64_t j = 0; j < args.top; j++) {
            const unit dy = ((const unit *)args.dy)[sorted[j] * units + u];
            for (int n = 0; n < N; n++)
                sum[n] = __fadd_rn(sum[n], to_float(dy.x[n]));
        }
        unit result;
        for (int n = 0; n < N; n++)
            result.x[n] = from_float<T>(sum[n]);
        dx[u] = result;
    }
}

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) combine_rows(struct op_moe_combine args)
{
    typedef struct pack<T, N> unit;
    const int64_t t = blockIdx.x, units = args.channels / N;
    const int32_t *sorted = args.sorted + t * args.top;
    const float *weight = args.weight + t * args.top;
    for (int64_t u = threadIdx.x; u < units; u += THREADS) {
        float sum[N] = {};
        for (int64_t j = 0; j < args.top; j++) {
            const unit x = ((const unit *)args.x)[sorted[j] * units + u];
            for (int n = 0; n < N; n++)
                sum[n] = __fmaf_rn(weight[j], to_float(x.x[n]), sum[n]);
        }
        unit result;
        for (int n = 0; n < N; n++)
            result.x[n] = from_float<T>(sum[n]);
        ((unit *)args.y)[t * units + u] = result;
    }
}

/* Block of entry i, which owns its sorted row: dx may overwrite x where a thread has read it. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS)
    combine_backward_rows(struct op_moe_combine_backward args)
{
    typedef struct pack<T, N> unit;
    __shared__ float shared[THREADS / 32];
    const int64_t i = blockIdx.x, units = args.channels / N, from = args.sorted[i] * units;
    const unit *dy = (const unit *)args.dy + i / args.top * units;
    const float weight = args.weight[i];
    float dot = 0;
    for (int64_t u = threadIdx.x; u < units; u += THREADS) {
        const unit d = dy[u], x = ((const unit *)args.x)[from + u];
        unit result;
        for (int n = 0; n < N; n++) {
            dot = __fmaf_rn(to_float(d.x[n]), to_float(x.x[n]), dot);
            result.x[n] = from_float<T>(__fmul_rn(weight, to_float(d.x[n])));
        }
        ((unit *)args.dx)[from + u] = result;
    }
    dot = block_sum<THREADS / 32>(dot, shared);
    if (threadIdx.x == 0)
        args.dweight[i] = dot;
}

/* Whole 16-byte vectors: rows and addresses are multiples of them. */
static bool in_vectors(struct cuda_context *cuda, int64_t channels, const void *a, const void *b,
                       const void *c)
{
    return channels % (cuda->f32 ? 4 : 8) == 0 &&
           ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
}

#define LAUNCH_MOVE(kernel, blocks, vectors)                             \
    do {                                                                 \
        const unsigned grid = (unsigned)(blocks);                        \
        if (cuda->f32 && (vectors))                                      \
            kernel<float, 4><<<grid, THREADS, 0, cuda->stream>>>(*args); \
        else if (cuda->f32)                                              \
            kernel<float, 1><<<grid, THREADS, 0, cuda->stream>>>(*args); \
        else if (vectors)                                                \
            kernel<bf16, 8><<<grid, THREADS, 0, cuda->stream>>>(*args);  \
        else                                                             \
            kernel<bf16, 1><<<grid, THREADS, 0, cuda->stream>>>(*args);  \
    } while (0)

extern "C" enum status cuda_moe_gather(void *context, const struct op_moe_gather *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    LAUNCH_MOVE(gather_rows, args->rows * args->top,
                in_vectors(cuda, args->channels, args->x, args->y, NULL));
    return cuda_launched("moe_gather");
}

extern "C" enum status cuda_moe_gather_backward(void *context,
                                                const struct op_moe_gather_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    LAUNCH_MOVE(gather_backward_rows, args->rows,
                in_vectors(cuda, args->channels, args->dy, args->dx, NULL));
    return cuda_launched("moe_gather_backward");
}

extern "C" enum status cuda_moe_combine(void *context, const struct op_moe_combine *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    LAUNCH_MOVE(combine_rows, args->rows, in_vectors(cuda, args->channels, args->x, args->y, NULL));
    return cuda_launched("moe_combine");
}

extern "C" enum status cuda_moe_combine_backward(void *context,
                                                 const struct op_moe_combine_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    LAUNCH_MOVE(combine_backward_rows, args->rows * args->top,
                in_vectors(cuda, args->channels, args->x, args->dy, args->dx));
    return cuda_launched("moe_combine_backward");
}
