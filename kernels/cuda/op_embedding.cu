/* kernels/cuda/op_embedding.cu - rows of the embedding table, and their gradient.
 *
 * The gradient adds the rows of one id in the order of the tokens, without atomics: a stable sort brings the rows
 * of each id together, and the threads at the head of each run walk it. */
#include "kernels/cuda/device.cuh"

#include <cub/device/device_radix_sort.cuh>

enum {
    THREADS = 128,
    CHANNELS_OF_THREAD = 2,
    CHANNELS_OF_BLOCK = THREADS * CHANNELS_OF_THREAD,
    BATCH = 16
};

/* ---- forward: one block a row ---- */

/* U: a 16-byte vector, or T where channels or addresses do not allow it. An id outside of the table gives zeros. */
template <typename U>
static __global__ void __launch_bounds__(THREADS)
    embedding_rows(const int32_t *ids, const U *table, U *y, int64_t units, int64_t vocabulary)
{
    const int64_t t = blockIdx.x;
    const int64_t id = ids[t];
    const bool valid = id >= 0 && id < vocabulary;
    for (int64_t u = threadIdx.x; u < units; u += THREADS)
        y[t * units + u] = valid ? table[id * units + u] : U{};
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    embedding_scaled(const int32_t *ids, const T *table, T *y, int64_t channels, int64_t vocabulary,
                     float scale)
{
    const int64_t t = blockIdx.x, id = ids[t];
    const bool valid = id >= 0 && id < vocabulary;
    for (int64_t c = threadIdx.x; c < channels; c += THREADS)
        y[t * channels + c] =
            from_float<T>(valid ? __fmul_rn(scale, to_float(table[id * channels + c])) : 0.0f);
}

template <typename T>
static enum status embedding(struct cuda_context *cuda, const struct op_embedding *args)
{
    const size_t bytes = (size_t)args->channels * sizeof(T);
    const unsigned rows = (unsigned)args->rows;
    if (args->scale != 0.0f)
        embedding_scaled<<<rows, THREADS, 0, cuda->stream>>>(args->ids, (const T *)args->table,
                                                             (T *)args->y, args->channels,
                                                             args->vocabulary, args->scale);
    else if (bytes % 16 == 0 && ((uintptr_t)args->table | (uintptr_t)args->y) % 16 == 0)
        embedding_rows<<<rows, THREADS, 0, cuda->stream>>>(args->ids, (const uint4 *)args->table,
                                                           (uint4 *)args->y, (int64_t)(bytes / 16),
                                                           args->vocabulary);
    else
        embedding_rows<<<rows, THREADS, 0, cuda->stream>>>(
            args->ids, (const T *)args->table, (T *)args->y, args->channels, args->vocabulary);
    return cuda_launched("embedding");
}

extern "C" enum status cuda_embedding(void *context, const struct op_embedding *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    return cuda->f32 ? embedding<float>(cuda, args) : embedding<bf16>(cuda, args);
}

/* ---- backward ---- */

static __global__ void count_rows(int32_t *row, int32_t rows)
{
    const int32_t t = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x);
    if (t < rows)
        row[t] = t;
}

/* Block (i, part): where sorted place i is the first of its id, channels of this part of all rows of the id, added
 * in order; BATCH rows are loaded at a time. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    add_rows(const int32_t *id, const int32_t *row, const T *dy, float *dtable, int32_t rows,
             int64_t channels, int64_t vocabulary, float scale)
{
    const int32_t first = (int32_t)blockIdx.x, own = id[first];
    if ((first > 0 && id[first - 1] == own) || own < 0 || own >= vocabulary)
        return;
    int64_t c[CHANNELS_OF_THREAD];
    float sum[CHANNELS_OF_THREAD];
#pragma unroll
    for (int n = 0; n < CHANNELS_OF_THREAD; n++) {
        c[n] = (int64_t)blockIdx.y * CHANNELS_OF_BLOCK + n * THREADS + threadIdx.x;
        sum[n] = c[n] < channels ? dtable[own * channels + c[n]] : 0.0f;
    }
    bool more = true;
    for (int32_t i = first; more; i += BATCH) {
        float value[BATCH][CHANNELS_OF_THREAD];
        bool valid[BATCH];
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            valid[b] = i + b < rows && id[i + b] == own;
            const T *from = dy + (valid[b] ? row[i + b] : 0) * channels;
#pragma unroll
            for (int n = 0; n < CHANNELS_OF_THREAD; n++)
                value[b][n] = valid[b] && c[n] < channels ? to_float(from[c[n]]) : 0.0f;
        }
#pragma unroll
        for (int b = 0; b < BATCH; b++)
#pragma unroll
            for (int n = 0; n < CHANNELS_OF_THREAD; n++)
                sum[n] = valid[b] ? __fmaf_rn(scale, value[b][n], sum[n]) : sum[n];
        more = valid[BATCH - 1];
    }
#pragma unroll
    for (int n = 0; n < CHANNELS_OF_THREAD; n++)
        if (c[n] < channels)
            dtable[own * channels + c[n]] = sum[n];
}

/* Ids and their rows, sorted by id; equal ids keep the order of their rows (radix sort is stable). */
static enum status sort_rows(struct cuda_context *cuda, const struct op_embedding_backward *args,
                             int32_t **id, int32_t **row)
{
    const int32_t rows = (int32_t)args->rows;
    int32_t *counted = NULL;
    void *work = NULL;
    size_t work_bytes = 0;
    CUDA_TRY(cub::DeviceRadixSort::SortPairs(NULL, work_bytes, args->ids, (int32_t *)NULL,
                                             (const int32_t *)NULL, (int32_t *)NULL, rows, 0, 32,
                                             cuda->stream));
    const size_t bytes = (size_t)rows * sizeof(int32_t);
    TRY(cuda_scratch(cuda, bytes, (void **)id));
    TRY(cuda_scratch(cuda, bytes, (void **)row));
    TRY(cuda_scratch(cuda, bytes, (void **)&counted));
    TRY(cuda_scratch(cuda, work_bytes, &work));
    count_rows<<<cuda_blocks(rows, 256), 256, 0, cuda->stream>>>(counted, rows);
    TRY(cuda_launched("embedding_backward"));
    CUDA_TRY(cub::DeviceRadixSort::SortPairs(work, work_bytes, args->ids, *id,
                                             (const int32_t *)counted, *row, rows, 0, 32,
                                             cuda->stream));
    return STATUS_OK;
}

extern "C" enum status cuda_embedding_backward(void *context,
                                               const struct op_embedding_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    int32_t *id = NULL, *row = NULL;
    if (args->rows == 0)
        return STATUS_OK;
    TRY(sort_rows(cuda, args, &id, &row));
    const dim3 grid((unsigned)args->rows, cuda_blocks(args->channels, CHANNELS_OF_BLOCK));
    const float scale = args->scale != 0.0f ? args->scale : 1.0f; /* 1 x + sum: the bits of a sum */
    if (cuda->f32)
        add_rows<<<grid, THREADS, 0, cuda->stream>>>(id, row, (const float *)args->dy, args->dtable,
                                                     (int32_t)args->rows, args->channels,
                                                     args->vocabulary, scale);
    else
        add_rows<<<grid, THREADS, 0, cuda->stream>>>(id, row, (const bf16 *)args->dy, args->dtable,
                                                     (int32_t)args->rows, args->channels,
                                                     args->vocabulary, scale);
    return cuda_launched("embedding_backward");
}
