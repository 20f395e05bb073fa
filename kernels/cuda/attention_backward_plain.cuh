/* kernels/cuda/attention_backward_plain.cuh - the gradient of softmax attention by two plain kernels with sums in f64:
 * for f32 storage, and for rows that cannot be read 16 bytes at a time. */
#ifndef KERNELS_CUDA_ATTENTION_BACKWARD_PLAIN_CUH
#define KERNELS_CUDA_ATTENTION_BACKWARD_PLAIN_CUH

#include "kernels/cuda/device.cuh"

#include <math.h>

enum { PLAIN_LANES = 4 }; /* elements of a head a lane has: D <= 128 */

static __device__ __forceinline__ double sum_of_warp(double x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}
template <typename T>
static __device__ __forceinline__ void load_head(float to[PLAIN_LANES], const T *from, int size)
{
    for (int i = 0; i < PLAIN_LANES; i++) {
        int d = (int)threadIdx.x + 32 * i;
        to[i] = d < size ? to_float(from[d]) : 0.0f;
    }
}
static __device__ __forceinline__ double dot(const float a[PLAIN_LANES], const float b[PLAIN_LANES])
{
    double sum = 0;
    for (int i = 0; i < PLAIN_LANES; i++)
        sum += (double)a[i] * (double)b[i];
    return sum_of_warp(sum);
}
template <typename T>
static __device__ __forceinline__ void store_head(T *to, const double from[PLAIN_LANES],
                                                  double factor, int size)
{
    for (int i = 0; i < PLAIN_LANES; i++) {
        int d = (int)threadIdx.x + 32 * i;
        if (d < size)
            to[d] = from_float<T>((float)(from[i] * factor));
    }
}
/* P and dS of one score. */
static __device__ __forceinline__ double2 weights_of(const float q[4], const float k[4],
                                                     const float dy[4], const float v[4],
                                                     double scale, double lse, double delta)
{
    double p = exp(dot(q, k) * scale - lse);
    return make_double2(p, p * (dot(dy, v) - delta));
}

/* A warp a row and head, or a key and kv head; blockIdx.y is the segment, blocks walk its rows. */
template <typename T> static __global__ void rows_plain(struct op_attention_backward op)
{
    const struct op_segment segment = op.segments[blockIdx.y];
    int size = (int)op.head_size;
    int64_t h = blockIdx.z, g = h / (op.heads / op.kv_heads);
    double scale = 1.0 / sqrt((double)size);
    for (int64_t t = blockIdx.x; segment.slot >= 0 && t < segment.count; t += gridDim.x) {
        int64_t row = segment.row + t;
        float q[4], k[4], v[4], y[4], dy[4];
        double dq[4] = {0, 0, 0, 0};
        load_head(q, (const T *)op.q + row * op.row_stride + h * size, size);
        load_head(y, (const T *)op.y + row * op.y_stride + h * size, size);
        load_head(dy, (const T *)op.dy + row * op.y_stride + h * size, size);
        double delta = dot(y, dy), lse = (double)op.lse[row * op.heads + h];
        for (int64_t j = segment.row; j <= row; j++) {
            load_head(k, (const T *)op.k + j * op.row_stride + g * size, size);
            load_head(v, (const T *)op.v + j * op.row_stride + g * size, size);
            double ds = weights_of(q, k, dy, v, scale, lse, delta).y;
            for (int i = 0; i < 4; i++)
                dq[i] += ds * (double)k[i];
        }
        store_head((T *)op.dq + row * op.row_stride + h * size, dq, scale, size);
    }
}
template <typename T> static __global__ void keys_plain(struct op_attention_backward op)
{
    const struct op_segment segment = op.segments[blockIdx.y];
    int size = (int)op.head_size;
    int64_t g = blockIdx.z, group = op.heads / op.kv_heads;
    double scale = 1.0 / sqrt((double)size);
    for (int64_t j = blockIdx.x; segment.slot >= 0 && j < segment.count; j += gridDim.x) {
        int64_t at = (segment.row + j) * op.row_stride + g * size;
        float q[4], k[4], v[4], y[4], dy[4];
        double dk[4] = {0, 0, 0, 0}, dv[4] = {0, 0, 0, 0};
        load_head(k, (const T *)op.k + at, size);
        load_head(v, (const T *)op.v + at, size);
        for (int64_t h = g * group; h < (g + 1) * group; h++)
            for (int64_t row = segment.row + j; row < segment.row + segment.count; row++) {
                load_head(q, (const T *)op.q + row * op.row_stride + h * size, size);
                load_head(y, (const T *)op.y + row * op.y_stride + h * size, size);
                load_head(dy, (const T *)op.dy + row * op.y_stride + h * size, size);
                double lse = (double)op.lse[row * op.heads + h];
                double2 w = weights_of(q, k, dy, v, scale, lse, dot(y, dy));
                for (int i = 0; i < 4; i++) {
                    dv[i] += w.x * (double)dy[i];
                    dk[i] += w.y * (double)q[i];
                }
            }
        store_head((T *)op.dk + at, dk, scale, size);
        store_head((T *)op.dv + at, dv, 1.0, size);
    }
}

template <typename T>
static enum status run_plain(struct cuda_context *cuda, const struct op_attention_backward *args)
{
    unsigned blocks = (unsigned)(args->rows < 4096 ? args->rows : 4096);
    dim3 rows(blocks, (unsigned)args->segment_count, (unsigned)args->heads);
    dim3 keys(blocks, (unsigned)args->segment_count, (unsigned)args->kv_heads);
    rows_plain<T><<<rows, 32, 0, cuda->stream>>>(*args);
    TRY(cuda_launched("attention_backward: rows"));
    keys_plain<T><<<keys, 32, 0, cuda->stream>>>(*args);
    return cuda_launched("attention_backward: keys");
}

#endif
