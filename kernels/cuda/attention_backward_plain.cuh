/* kernels/cuda/attention_backward_plain.cuh - the gradient of softmax attention by two plain kernels with sums in f64:
 * for f32 storage, and for rows that cannot be read 16 bytes at a time. */
#ifndef KERNELS_CUDA_ATTENTION_BACKWARD_PLAIN_CUH
#define KERNELS_CUDA_ATTENTION_BACKWARD_PLAIN_CUH

#include "kernels/cuda/device.cuh"

#include <math.h>

/* LANES: elements of a head a lane has, 4 for D <= 128, 8 for D <= 256. */

static __device__ __forceinline__ double sum_of_warp(double x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}
template <typename T, int LANES>
static __device__ __forceinline__ void load_head(float (&to)[LANES], const T *from, int size)
{
    for (int i = 0; i < LANES; i++) {
        int d = (int)threadIdx.x + 32 * i;
        to[i] = d < size ? to_float(from[d]) : 0.0f;
    }
}
template <int LANES>
static __device__ __forceinline__ double dot(const float (&a)[LANES], const float (&b)[LANES])
{
    double sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += (double)a[i] * (double)b[i];
    return sum_of_warp(sum);
}
template <typename T, int LANES>
static __device__ __forceinline__ void store_head(T *to, const double (&from)[LANES], double factor,
                                                  int size)
{
    for (int i = 0; i < LANES; i++) {
        int d = (int)threadIdx.x + 32 * i;
        if (d < size)
            to[d] = from_float<T>((float)(from[i] * factor));
    }
}
/* P and dS of one score. */
template <int LANES>
static __device__ __forceinline__ double2 weights_of(const float (&q)[LANES],
                                                     const float (&k)[LANES],
                                                     const float (&dy)[LANES],
                                                     const float (&v)[LANES], double scale,
                                                     double lse, double delta)
{
    double p = exp(dot(q, k) * scale - lse);
    return make_double2(p, p * (dot(dy, v) - delta));
}

/* A warp a row and head, or a key and kv head; blockIdx.y is the segment, blocks walk its rows. */
template <typename T, int LANES>
static __global__ void rows_plain(struct op_attention_backward op, double scale)
{
    const struct op_segment segment = op.segments[blockIdx.y];
    int size = (int)op.head_size;
    int64_t h = blockIdx.z, g = h / (op.heads / op.kv_heads);
    for (int64_t t = blockIdx.x; segment.slot >= 0 && t < segment.count; t += gridDim.x) {
        int64_t row = segment.row + t;
        float q[LANES], k[LANES], v[LANES], y[LANES], dy[LANES];
        double dq[LANES] = {};
        int64_t seen = op.window > 0 ? max(t - op.window + 1, (int64_t)0) : 0;
        load_head(q, (const T *)op.q + row * op.row_stride + h * size, size);
        load_head(y, (const T *)op.y + row * op.y_stride + h * size, size);
        load_head(dy, (const T *)op.dy + row * op.y_stride + h * size, size);
        double delta = dot(y, dy), lse = (double)op.lse[row * op.heads + h];
        for (int64_t j = segment.row + seen; j <= row; j++) {
            load_head(k, (const T *)op.k + j * op.row_stride + g * size, size);
            load_head(v, (const T *)op.v + j * op.row_stride + g * size, size);
            double ds = weights_of(q, k, dy, v, scale, lse, delta).y;
            for (int i = 0; i < LANES; i++)
                dq[i] += ds * (double)k[i];
        }
        store_head((T *)op.dq + row * op.row_stride + h * size, dq, scale, size);
    }
}
template <typename T, int LANES>
static __global__ void keys_plain(struct op_attention_backward op, double scale)
{
    const struct op_segment segment = op.segments[blockIdx.y];
    int size = (int)op.head_size;
    int64_t g = blockIdx.z, group = op.heads / op.kv_heads;
    for (int64_t j = blockIdx.x; segment.slot >= 0 && j < segment.count; j += gridDim.x) {
        int64_t at = (segment.row + j) * op.row_stride + g * size;
        float q[LANES], k[LANES], v[LANES], y[LANES], dy[LANES];
        double dk[LANES] = {}, dv[LANES] = {};
        int64_t end = op.window > 0 ? min(j + op.window, (int64_t)segment.count) : segment.count;
        load_head(k, (const T *)op.k + at, size);
        load_head(v, (const T *)op.v + at, size);
        for (int64_t h = g * group; h < (g + 1) * group; h++)
            for (int64_t row = segment.row + j; row < segment.row + end; row++) {
                load_head(q, (const T *)op.q + row * op.row_stride + h * size, size);
                load_head(y, (const T *)op.y + row * op.y_stride + h * size, size);
                load_head(dy, (const T *)op.dy + row * op.y_stride + h * size, size);
                double lse = (double)op.lse[row * op.heads + h];
                double2 w = weights_of(q, k, dy, v, scale, lse, dot(y, dy));
                for (int i = 0; i < LANES; i++) {
                    dv[i] += w.x * (double)dy[i];
                    dk[i] += w.y * (double)q[i];
                }
            }
        store_head((T *)op.dk + at, dk, scale, size);
        store_head((T *)op.dv + at, dv, 1.0, size);
    }
}

template <typename T, int LANES>
static enum status run_plain_of(struct cuda_context *cuda, const struct op_attention_backward *args)
{
    unsigned blocks = (unsigned)(args->rows < 4096 ? args->rows : 4096);
    dim3 rows(blocks, (unsigned)args->segment_count, (unsigned)args->heads);
    dim3 keys(blocks, (unsigned)args->segment_count, (unsigned)args->kv_heads);
    double scale = args->scale != 0.0f ? (double)args->scale : 1.0 / sqrt((double)args->head_size);
    rows_plain<T, LANES><<<rows, 32, 0, cuda->stream>>>(*args, scale);
    TRY(cuda_launched("attention_backward: rows"));
    keys_plain<T, LANES><<<keys, 32, 0, cuda->stream>>>(*args, scale);
    return cuda_launched("attention_backward: keys");
}

template <typename T>
static enum status run_plain(struct cuda_context *cuda, const struct op_attention_backward *args)
{
    return args->head_size <= 128 ? run_plain_of<T, 4>(cuda, args) : run_plain_of<T, 8>(cuda, args);
}

#endif
