/* kernels/cuda/op_rms_norm.cu - RMSNorm, the residual sum in front of it, and the gradient.
 *
 * Bound by memory: a vector is read once, stays in registers between its two passes (up to 8 elements a thread; what
 * is longer is read again, from the cache), and is written once. Whether a warp or a block has the vector, and how big
 * the block is, depends on `channels` alone (norm.cuh). */
#include "kernels/cuda/early.cuh"
#include "kernels/cuda/norm.cuh"

enum { WARPS = 4 }; /* vectors of a block where each warp has one */

/* x is a plain input, or (b != NULL) alpha a + beta b with a = x, which is stored as h and read back rounded. */
template <typename T> struct norm_job {
    int64_t vectors, groups, channels, x_stride, y_stride;
    float eps, alpha, beta;
    bool one_plus;
    bool whole; /* all chunks full and aligned */
    const T *x, *b, *gain;
    T *h, *y;
    float *r;
};

/* Elements [c, c + N) of a vector as the norm reads them. `x`, `b`, `h`: its first element. */
template <typename T, int N, bool SUM, bool WHOLE>
static __device__ __forceinline__ void norm_input(const norm_job<T> &job, float *v, const T *x,
                                                  const T *b, T *h, int64_t c)
{
    int64_t left = job.channels - c;
    load_some<T, N>(v, x + c, left, WHOLE);
    if constexpr (SUM) {
        float other[N] = {};
        if (job.beta != 0.0f)
            load_some<T, N>(other, b + c, left, WHOLE);
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = rounded<T>(axpby_value(job.alpha, v[i], job.beta, other[i]));
        store_some<T, N>(h + c, v, left, WHOLE);
    }
}

template <typename T, int N, bool WHOLE>
static __device__ __forceinline__ void norm_output(const norm_job<T> &job, const float *v, float r,
                                                   const float *gain, T *y, int64_t c)
{
    float out[N];
#pragma unroll
    for (int i = 0; i < N; i++)
        out[i] = norm_value(v[i], r, gain[i]);
    store_some<T, N>(y + c, out, job.channels - c, WHOLE);
}

/* Row of a vector and where in the row it starts; most calls have one vector a row. */
static __device__ __forceinline__ unsigned norm_place(unsigned vector, int64_t groups,
                                                      int64_t channels, int64_t *at)
{
    unsigned row = groups == 1 ? vector : vector / (unsigned)groups;
    *at = (vector - row * (unsigned)groups) * channels;
    return row;
}

template <typename T, bool SUM, bool WHOLE>
static __device__ __forceinline__ void norm_by_warp(const norm_job<T> &job)
{
    unsigned vector = blockIdx.x * WARPS + threadIdx.x / 32;
    if (vector >= job.vectors)
        return; /* the other warps of the block wait for the kernel before */
    int64_t at, row = norm_place(vector, job.groups, job.channels, &at);
    int64_t x_at = row * job.x_stride + at, y_at = row * job.y_stride + at;
    int64_t c = threadIdx.x % 32 * NORM_LANE;
    float v[NORM_LANE] = {}, gain[NORM_LANE] = {};
    if (c < job.channels)
        load_gain<T, NORM_LANE>(gain, job.gain + c, job.channels - c, WHOLE, job.one_plus);
    early_wait();
    early_release();
    if (c < job.channels)
        norm_input<T, NORM_LANE, SUM, WHOLE>(job, v, job.x + x_at, job.b + x_at, job.h + y_at, c);
    float r = norm_warp_scale(v, job.channels, job.eps);
    if (c < job.channels)
        norm_output<T, NORM_LANE, WHOLE>(job, v, r, gain, job.y + y_at, c);
    if (c == 0 && job.r != NULL)
        job.r[vector] = r;
}
template <typename T, bool SUM>
static __global__ void __launch_bounds__(32 * WARPS) norm_warp(const norm_job<T> job)
{
    if (job.whole)
        norm_by_warp<T, SUM, true>(job);
    else
        norm_by_warp<T, SUM, false>(job);
}

template <typename T, bool SUM, int THREADS, bool WHOLE>
static __device__ __forceinline__ void norm_by_block(const norm_job<T> &job, float *shared)
{
    int64_t at, row = norm_place(blockIdx.x, job.groups, job.channels, &at);
    const T *x = job.x + row * job.x_stride + at, *b = job.b + row * job.x_stride + at;
    T *h = job.h + row * job.y_stride + at, *y = job.y + row * job.y_stride + at;
    int64_t first = (int64_t)threadIdx.x * NORM_CHUNK, step = (int64_t)THREADS * NORM_CHUNK;
    float kept[NORM_CHUNK] = {}, gain[NORM_CHUNK] = {}, squares = 0.0f;
    if (first < job.channels)
        load_gain<T, NORM_CHUNK>(gain, job.gain + first, job.channels - first, WHOLE, job.one_plus);
    early_wait();
    early_release();
    if (first < job.channels) {
        norm_input<T, NORM_CHUNK, SUM, WHOLE>(job, kept, x, b, h, first);
        squares = norm_squares<NORM_CHUNK>(0.0f, kept);
    }
    for (int64_t c = first + step; c < job.channels; c += step) {
        float v[NORM_CHUNK];
        norm_input<T, NORM_CHUNK, SUM, WHOLE>(job, v, x, b, h, c);
        squares = norm_squares<NORM_CHUNK>(squares, v);
    }
    float r = norm_scale(norm_block_sum<THREADS / 32>(squares, shared), job.channels, job.eps);
    if (first < job.channels)
        norm_output<T, NORM_CHUNK, WHOLE>(job, kept, r, gain, y, first);
    for (int64_t c = first + step; c < job.channels; c += step) {
        /* its own elements: what this thread wrote above, or x, not yet overwritten */
        load_some<T, NORM_CHUNK>(kept, (SUM ? h : x) + c, job.channels - c, WHOLE);
        load_gain<T, NORM_CHUNK>(gain, job.gain + c, job.channels - c, WHOLE, job.one_plus);
        norm_output<T, NORM_CHUNK, WHOLE>(job, kept, r, gain, y, c);
    }
    if (threadIdx.x == 0 && job.r != NULL)
        job.r[blockIdx.x] = r;
}
template <typename T, bool SUM, int THREADS>
static __global__ void __launch_bounds__(THREADS) norm_block(const norm_job<T> job)
{
    __shared__ float shared[THREADS / 32];
    if (job.whole)
        norm_by_block<T, SUM, THREADS, true>(job, shared);
    else
        norm_by_block<T, SUM, THREADS, false>(job, shared);
}

static bool aligned_16(const void *at)
{
    return (uintptr_t)at % 16 == 0;
}

template <typename T, bool SUM>
static enum status norm_run(struct cuda_context *cuda, norm_job<T> job)
{
    job.whole = job.channels % NORM_CHUNK == 0 && job.x_stride % NORM_CHUNK == 0 &&
                job.y_stride % NORM_CHUNK == 0 && aligned_16(job.x) && aligned_16(job.gain) &&
                aligned_16(job.y) && (!SUM || (aligned_16(job.b) && aligned_16(job.h)));
    if (job.channels <= NORM_WARP_CHANNELS) {
        launch_early(norm_warp<T, SUM>, cuda_blocks(job.vectors, WARPS), 32 * WARPS, 0, cuda, job);
        return cuda_launched("norm_warp");
    }
    switch (norm_threads(job.channels)) {
    case 128:
        launch_early(norm_block<T, SUM, 128>, (unsigned)job.vectors, 128, 0, cuda, job);
        break;
    case 256:
        launch_early(norm_block<T, SUM, 256>, (unsigned)job.vectors, 256, 0, cuda, job);
        break;
    default:
        launch_early(norm_block<T, SUM, 512>, (unsigned)job.vectors, 512, 0, cuda, job);
    }
    return cuda_launched("norm_block");
}

template <typename T>
static enum status rms_norm(struct cuda_context *cuda, const struct op_rms_norm *args)
{
    norm_job<T> job = {};
    job.vectors = args->rows * args->groups;
    job.groups = args->groups;
    job.channels = args->channels;
    job.x_stride = args->x_stride;
    job.y_stride = args->y_stride;
    job.eps = args->eps;
    job.x = (const T *)args->x;
    job.gain = (const T *)args->gain;
    job.y = (T *)args->y;
    job.r = args->r;
    job.one_plus = args->one_plus;
    return norm_run<T, false>(cuda, job);
}

template <typename T>
static enum status residual_norm(struct cuda_context *cuda, const struct op_residual_norm *args)
{
    norm_job<T> job = {};
    job.vectors = args->rows;
    job.groups = 1;
    job.channels = job.x_stride = job.y_stride = args->channels;
    job.alpha = args->alpha;
    job.beta = args->beta;
    job.eps = args->eps;
    job.x = (const T *)args->a;
    job.b = (const T *)args->b;
    job.gain = (const T *)args->gain;
    job.h = (T *)args->h;
    job.y = (T *)args->y;
    job.r = args->r;
    job.one_plus = args->one_plus;
    return norm_run<T, true>(cuda, job);
}

extern "C" enum status cuda_rms_norm(void *context, const struct op_rms_norm *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0 || args->groups == 0)
        return STATUS_OK;
    return cuda->f32 ? rms_norm<float>(cuda, args) : rms_norm<bf16>(cuda, args);
}

extern "C" enum status cuda_residual_norm(void *context, const struct op_residual_norm *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    return cuda->f32 ? residual_norm<float>(cuda, args) : residual_norm<bf16>(cuda, args);
}

/* ---- gradient ----
 * xh = x r, dxh = dy gain, dx = r (dxh - xh mean(dxh xh)), dgain = sum dy xh. The vectors are cut into `parts` runs of
 * equal length; a block goes through its run in order and leaves one row of partial dgain, which a second kernel adds
 * in order of the runs. */
template <typename T> struct norm_back_job {
    int64_t vectors, groups, channels, x_stride, dy_stride, dx_stride;
    int64_t run; /* vectors of a block */
    bool one_plus;
    bool whole;
    const T *x, *gain, *dy;
    T *dx;
    const float *r;
    float *partial; /* [parts, channels] */
};
enum { BACK_WARPS = 8, BACK_LONG = 512 };

/* A thread's part of one vector as it lies in memory, read ahead. */
template <typename T, int N> struct norm_back_pieces {
    struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) pack {
        T at[N];
    };
    pack x, dy;
    float r;
};
template <typename T, int N, bool WHOLE>
static __device__ __forceinline__ void
norm_back_read(const norm_back_job<T> &job, norm_back_pieces<T, N> *to, unsigned vector, int64_t c)
{
    int64_t at, row = norm_place(vector, job.groups, job.channels, &at);
    const T *x = job.x + row * job.x_stride + at + c, *dy = job.dy + row * job.dy_stride + at + c;
    using pack = typename norm_back_pieces<T, N>::pack;
    if (WHOLE) {
        to->x = *(const pack *)x;
        to->dy = *(const pack *)dy;
    } else
#pragma unroll
        for (int i = 0; i < N; i++) {
            to->x.at[i] = c + i < job.channels ? x[i] : from_float<T>(0.0f);
            to->dy.at[i] = c + i < job.channels ? dy[i] : from_float<T>(0.0f);
        }
    to->r = job.r[vector];
}
/* xh, dxh and this thread's part of the dot product; adds to the thread's dgain. */
template <typename T, int N>
static __device__ __forceinline__ float norm_back_dot(const norm_back_pieces<T, N> &from, float *xh,
                                                      float *dxh, const float *gain, float *sum)
{
    float dot = 0.0f;
#pragma unroll
    for (int i = 0; i < N; i++) {
        float dy = to_float(from.dy.at[i]);
        xh[i] = to_float(from.x.at[i]) * from.r;
        sum[i] += dy * xh[i];
        dxh[i] = dy * gain[i];
        dot += dxh[i] * xh[i];
    }
    return dot;
}
template <typename T, int N, bool WHOLE>
static __device__ __forceinline__ void norm_back_write(const norm_back_job<T> &job, unsigned vector,
                                                       int64_t c, const float *xh, const float *dxh,
                                                       float r, float mean)
{
    int64_t at, row = norm_place(vector, job.groups, job.channels, &at);
    float dx[N];
#pragma unroll
    for (int i = 0; i < N; i++)
        dx[i] = r * (dxh[i] - xh[i] * mean);
    store_some<T, N>(job.dx + row * job.dx_stride + at + c, dx, job.channels - c, WHOLE);
}

/* Vectors of up to NORM_WARP_CHANNELS: warp w of a block has vectors w, w + 8, ... of the block's run. The next
 * vector is read before the sum of this one is known. */
template <typename T, bool WHOLE>
static __device__ __forceinline__ void norm_back_by_warp(const norm_back_job<T> &job,
                                                         float (*shared)[NORM_WARP_CHANNELS])
{
    unsigned warp = threadIdx.x / 32;
    int64_t c = threadIdx.x % 32 * NORM_LANE;
    bool mine = c < job.channels;
    int64_t start = blockIdx.x * job.run, end = min(start + job.run, job.vectors);
    float gain[NORM_LANE] = {}, sum[NORM_LANE] = {};
    float xh[NORM_LANE], dxh[NORM_LANE];
    norm_back_pieces<T, NORM_LANE> now = {}, next = {};
    if (mine)
        load_gain<T, NORM_LANE>(gain, job.gain + c, job.channels - c, WHOLE, job.one_plus);
    if (mine && start + warp < end)
        norm_back_read<T, NORM_LANE, WHOLE>(job, &next, (unsigned)(start + warp), c);
    for (int64_t vector = start + warp; vector < end; vector += BACK_WARPS) {
        now = next;
        if (mine && vector + BACK_WARPS < end)
            norm_back_read<T, NORM_LANE, WHOLE>(job, &next, (unsigned)(vector + BACK_WARPS), c);
        float dot = warp_sum(norm_back_dot(now, xh, dxh, gain, sum));
        if (mine)
            norm_back_write<T, NORM_LANE, WHOLE>(job, (unsigned)vector, c, xh, dxh, now.r,
                                                 dot / (float)job.channels);
    }
    for (int i = 0; i < NORM_LANE; i++)
        shared[warp][c + i] = sum[i];
    __syncthreads();
    if (threadIdx.x >= job.channels)
        return;
    float all = 0.0f;
    for (int w = 0; w < BACK_WARPS; w++)
        all += shared[w][threadIdx.x];
    job.partial[blockIdx.x * job.channels + threadIdx.x] = all;
}
template <typename T>
static __global__ void __launch_bounds__(32 * BACK_WARPS) norm_back_warp(const norm_back_job<T> job)
{
    __shared__ float shared[BACK_WARPS][NORM_WARP_CHANNELS];
    if (job.whole)
        norm_back_by_warp<T, true>(job, shared);
    else
        norm_back_by_warp<T, false>(job, shared);
}

/* Longer vectors where one chunk a thread is enough: the block has one vector at a time and reads the next one before
 * the sum of this one is known. */
template <typename T, int THREADS, bool WHOLE>
static __device__ __forceinline__ void norm_back_by_block(const norm_back_job<T> &job,
                                                          float (*shared)[THREADS / 32])
{
    int64_t c = (int64_t)threadIdx.x * NORM_CHUNK;
    bool mine = c < job.channels;
    int64_t start = blockIdx.x * job.run, end = min(start + job.run, job.vectors);
    float gain[NORM_CHUNK] = {}, sum[NORM_CHUNK] = {};
    float xh[NORM_CHUNK], dxh[NORM_CHUNK];
    norm_back_pieces<T, NORM_CHUNK> now = {}, next = {};
    if (mine) {
        load_gain<T, NORM_CHUNK>(gain, job.gain + c, job.channels - c, WHOLE, job.one_plus);
        norm_back_read<T, NORM_CHUNK, WHOLE>(job, &next, (unsigned)start, c);
    }
    for (int64_t vector = start; vector < end; vector++) {
        now = next;
        if (mine && vector + 1 < end)
            norm_back_read<T, NORM_CHUNK, WHOLE>(job, &next, (unsigned)vector + 1, c);
        float dot = norm_block_sum<THREADS / 32>(norm_back_dot(now, xh, dxh, gain, sum),
                                                 shared[vector % 2]);
        if (mine)
            norm_back_write<T, NORM_CHUNK, WHOLE>(job, (unsigned)vector, c, xh, dxh, now.r,
                                                  dot / (float)job.channels);
    }
    if (mine)
        store_some<float, NORM_CHUNK>(job.partial + blockIdx.x * job.channels + c, sum,
                                      job.channels - c, false);
}
template <typename T, int THREADS>
static __global__ void __launch_bounds__(THREADS, 1024 / THREADS)
    norm_back_block(const norm_back_job<T> job)
{
    __shared__ float shared[2][THREADS / 32];
    if (job.whole)
        norm_back_by_block<T, THREADS, true>(job, shared);
    else
        norm_back_by_block<T, THREADS, false>(job, shared);
}

/* Any number of channels: partial dgain in shared memory, both passes read. */
template <typename T>
static __global__ void __launch_bounds__(BACK_LONG) norm_back_long(const norm_back_job<T> job)
{
    extern __shared__ float gathered[]; /* [channels] */
    __shared__ float shared[BACK_LONG / 32];
    int64_t start = blockIdx.x * job.run, end = min(start + job.run, job.vectors);
    for (int64_t c = threadIdx.x; c < job.channels; c += BACK_LONG)
        gathered[c] = 0.0f;
    for (int64_t vector = start; vector < end; vector++) {
        float dot = 0.0f, xh, dxh;
        norm_back_pieces<T, 1> now;
        for (int64_t c = threadIdx.x; c < job.channels; c += BACK_LONG) {
            float gain = gain_factor(to_float(job.gain[c]), job.one_plus);
            norm_back_read<T, 1, true>(job, &now, (unsigned)vector, c);
            dot += norm_back_dot(now, &xh, &dxh, &gain, &gathered[c]);
        }
        float mean = block_sum<BACK_LONG / 32>(dot, shared) / (float)job.channels;
        for (int64_t c = threadIdx.x; c < job.channels; c += BACK_LONG) {
            norm_back_read<T, 1, true>(job, &now, (unsigned)vector, c);
            xh = to_float(now.x.at[0]) * now.r;
            dxh = to_float(now.dy.at[0]) * gain_factor(to_float(job.gain[c]), job.one_plus);
            int64_t at, row = norm_place((unsigned)vector, job.groups, job.channels, &at);
            job.dx[row * job.dx_stride + at + c] = from_float<T>(now.r * (dxh - xh * mean));
        }
    }
    for (int64_t c = threadIdx.x; c < job.channels; c += BACK_LONG)
        job.partial[blockIdx.x * job.channels + c] = gathered[c];
}

/* dgain[c] += sum over parts: 32 channels a block, warp w adds a 32nd of the parts in order, then the warps in order. */
static __global__ void __launch_bounds__(1024)
    gain_sum(const float *partial, int64_t parts, int64_t channels, float *dgain)
{
    __shared__ float shared[32][33];
    int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t each = (parts + 31) / 32, end = min((warp + 1) * each, parts);
    float sum = 0.0f;
    for (int64_t p = warp * each; c < channels && p < end; p++)
        sum += partial[p * channels + c];
    shared[warp][threadIdx.x % 32] = sum;
    __syncthreads();
    if (warp != 0 || c >= channels)
        return;
    float all = 0.0f;
    for (int w = 0; w < 32; w++)
        all += shared[w][threadIdx.x];
    dgain[c] += all;
}

template <typename T>
static enum status back_long(struct cuda_context *cuda, const norm_back_job<T> &job, unsigned parts)
{
    size_t bytes = (size_t)job.channels * sizeof(float);
    if (bytes > cuda->shared_max - 1024)
        return FAIL(STATUS_UNSUPPORTED, "rms_norm_backward of %lld channels: at most %zu",
                    (long long)job.channels, (cuda->shared_max - 1024) / sizeof(float));
    if (bytes > 40000)
        CUDA_TRY(cudaFuncSetAttribute(norm_back_long<T>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    norm_back_long<T><<<parts, BACK_LONG, bytes, cuda->stream>>>(job);
    return cuda_launched("norm_back_long");
}

template <typename T>
static enum status rms_norm_backward(struct cuda_context *cuda,
                                     const struct op_rms_norm_backward *args)
{
    norm_back_job<T> job = {};
    job.vectors = args->rows * args->groups;
    job.groups = args->groups;
    job.channels = args->channels;
    job.x_stride = args->x_stride;
    job.dy_stride = args->dy_stride;
    job.dx_stride = args->dx_stride;
    job.x = (const T *)args->x;
    job.gain = (const T *)args->gain;
    job.dy = (const T *)args->dy;
    job.dx = (T *)args->dx;
    job.r = args->r;
    job.one_plus = args->one_plus;
    job.whole = job.channels % NORM_CHUNK == 0 && job.x_stride % NORM_CHUNK == 0 &&
                job.dy_stride % NORM_CHUNK == 0 && job.dx_stride % NORM_CHUNK == 0 &&
                aligned_16(job.x) && aligned_16(job.gain) && aligned_16(job.dy) &&
                aligned_16(job.dx);
    int threads = norm_threads(job.channels);
    int64_t most =
        job.channels <= NORM_WARP_CHANNELS ? 528 : 135168 / threads; /* 132 x 1024 threads */
    job.run = (job.vectors + most - 1) / most;
    unsigned parts = cuda_blocks(job.vectors, job.run);
    void *partial = NULL;
    TRY(cuda_scratch(cuda, (size_t)parts * (size_t)job.channels * sizeof(float), &partial));
    job.partial = (float *)partial;
    if (job.channels <= NORM_WARP_CHANNELS)
        norm_back_warp<T><<<parts, 32 * BACK_WARPS, 0, cuda->stream>>>(job);
    else if (job.channels > threads * NORM_CHUNK)
        TRY(back_long<T>(cuda, job, parts));
    else if (threads == 128)
        norm_back_block<T, 128><<<parts, 128, 0, cuda->stream>>>(job);
    else if (threads == 256)
        norm_back_block<T, 256><<<parts, 256, 0, cuda->stream>>>(job);
    else
        norm_back_block<T, 512><<<parts, 512, 0, cuda->stream>>>(job);
    TRY(cuda_launched("rms_norm_backward"));
    gain_sum<<<cuda_blocks(job.channels, 32), 1024, 0, cuda->stream>>>(job.partial, parts,
                                                                       job.channels, args->dgain);
    return cuda_launched("gain_sum");
}

extern "C" enum status cuda_rms_norm_backward(void *context,
                                              const struct op_rms_norm_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0 || args->groups == 0)
        return STATUS_OK;
    return cuda->f32 ? rms_norm_backward<float>(cuda, args) : rms_norm_backward<bf16>(cuda, args);
}
