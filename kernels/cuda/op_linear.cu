/* kernels/cuda/op_linear.cu - y = x W^T + b, plain or grouped by expert, and its gradients.
 *
 * bf16: which of the kernels of gemm.h does a product is a matter of speed only; forward they all give the bits of
 * one chain over k. f32 (`weir verify`): one plain kernel, sums in f64. */
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/device.cuh"

/* ---- f32: one thread for each result, any storage order ---- */

struct plain_call {
    int64_t m, n, k;         /* d [m, n] = (accumulate ? d : 0) + sum over k of a b, + bias */
    int64_t a_row, a_depth;  /* a (i, t) at i a_row + t a_depth */
    int64_t b_row, b_depth;  /* b (j, t) at j b_row + t b_depth */
    int64_t d_stride, plane; /* plane: elements between experts of b (of d: depth_grouped) */
    const float *a, *b, *bias;
    float *d;
    const int32_t *offset; /* NULL or [experts + 1] */
    int32_t experts;
    bool accumulate;
    bool depth_grouped; /* offset cuts k instead of m; blockIdx.z is the expert */
};

static __global__ void plain_kernel(const struct plain_call call)
{
    int64_t j = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t i = (int64_t)blockIdx.y * blockDim.y + threadIdx.y;
    if (j >= call.n)
        return;
    for (; i < call.m; i += (int64_t)gridDim.y * blockDim.y) {
        const float *b = call.b;
        float *d = call.d;
        int64_t first = 0, end = call.k;
        if (call.depth_grouped && call.offset != NULL) {
            first = call.offset[blockIdx.z], end = call.offset[blockIdx.z + 1];
            d += blockIdx.z * call.plane;
        } else if (call.offset != NULL) {
            int e = 0;
            while (e + 1 < call.experts && i >= call.offset[e + 1])
                e++;
            b += e * call.plane;
        }
        double sum = 0;
        for (int64_t t = first; t < end; t++)
            sum = fma((double)call.a[i * call.a_row + t * call.a_depth],
                      (double)b[j * call.b_row + t * call.b_depth], sum);
        float *to = &d[i * call.d_stride + j];
        if (call.bias != NULL)
            sum += (double)call.bias[j];
        *to = (float)(call.accumulate ? (double)*to + sum : sum);
    }
}

static enum status plain(struct cuda_context *cuda, const struct plain_call *call, unsigned planes)
{
    unsigned rows = cuda_blocks(call->m, 8);
    dim3 grid(cuda_blocks(call->n, 32), rows < 65535 ? rows : 65535, planes);
    plain_kernel<<<grid, dim3(32, 8), 0, cuda->stream>>>(*call);
    return cuda_launched("linear in f32");
}

/* ---- db += column sums of dy: rows in runs of RUN_ROWS, runs added in order, both in f64 ---- */

enum { RUN_ROWS = 128 };

template <typename T>
static __global__ void column_runs(const T *dy, int64_t stride, int64_t rows, int64_t n,
                                   double *partial)
{
    int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, run = blockIdx.y;
    if (column >= n)
        return;
    int64_t end = (run + 1) * RUN_ROWS < rows ? (run + 1) * RUN_ROWS : rows;
    double sum = 0;
#pragma unroll 16
    for (int64_t t = run * RUN_ROWS; t < end; t++)
        sum += (double)to_float(dy[t * stride + column]);
    partial[run * n + column] = sum;
}

static __global__ void column_sums(const double *partial, int64_t runs, int64_t n, float *sums)
{
    int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= n)
        return;
    double sum = (double)sums[column];
#pragma unroll 16
    for (int64_t run = 0; run < runs; run++)
        sum += partial[run * n + column];
    sums[column] = (float)sum;
}

template <typename T>
static enum status add_column_sums(struct cuda_context *cuda,
                                   const struct op_linear_backward_weight *args)
{
    int64_t runs = (args->rows + RUN_ROWS - 1) / RUN_ROWS;
    void *partial = NULL;
    CHECK(runs < 65536);
    TRY(cuda_scratch(cuda, (size_t)(runs * args->n) * sizeof(double), &partial));
    column_runs<T><<<dim3(cuda_blocks(args->n, 128), (unsigned)runs), 128, 0, cuda->stream>>>(
        (const T *)args->dy, args->dy_stride, args->rows, args->n, (double *)partial);
    column_sums<<<cuda_blocks(args->n, 128), 128, 0, cuda->stream>>>((const double *)partial, runs,
                                                                     args->n, args->dbias);
    return cuda_launched("linear_backward_weight, bias");
}

/* ---- choice of a kernel ---- */

/* The library (or what is faster) where it can, else the kernel that always can. */
static enum status gemm_any(struct cuda_context *cuda, const struct gemm_call *call)
{
    enum status status = gemm_library(cuda, call);
    return status == STATUS_UNSUPPORTED ? gemm_tile(cuda, call, 1, NULL, NULL) : status;
}

/* Few rows with a second plane: weights stream once. */
static bool is_small(const struct op_linear *args)
{
    auto aligned = [](const void *memory) { return (uintptr_t)memory % 16 == 0; };
    return args->expert_offset == NULL && args->rows <= GEMM_SMALL_ROWS && args->k % 8 == 0 &&
           args->x_stride % 8 == 0 && aligned(args->x) && aligned(args->packed) &&
           aligned(args->mid);
}

static enum status linear_small(struct cuda_context *cuda, const struct op_linear *args)
{
    struct gemm_small_call few = {};
    few.rows = args->rows, few.n = args->n, few.k = args->k;
    few.x_stride = args->x_stride, few.y_stride = args->y_stride;
    few.x = (const bf16 *)args->x, few.w = (const bf16 *)args->packed;
    few.mid = (const bf16 *)args->mid, few.bias = (const bf16 *)args->bias;
    few.y = (bf16 *)args->y, few.y_float = args->y_float;
    return gemm_small(cuda, &few);
}

static enum status linear_bf16(struct cuda_context *cuda, const struct op_linear *args)
{
    struct gemm_call call = {};
    call.m = args->rows, call.n = args->n, call.k = args->k;
    call.a = (const bf16 *)args->x, call.a_stride = args->x_stride;
    call.b = (const bf16 *)args->packed, call.b_stride = args->k;
    call.bias = (const bf16 *)args->bias;
    call.d_float = args->y == NULL, call.d_stride = args->y_stride;
    call.d = args->y != NULL ? args->y : (void *)args->y_float;
    call.exact_rows = !cuda->free_choice;
    if (args->expert_offset == NULL && args->mid == NULL) {
        enum status status = gemm_library(cuda, &call);
        if (status != STATUS_UNSUPPORTED)
            return status;
    }
    if (is_small(args)) {
        enum status status = linear_small(cuda, args);
        if (status != STATUS_UNSUPPORTED)
            return status;
    }
    return gemm_tile(cuda, &call, args->experts, args->expert_offset, (const bf16 *)args->mid);
}

static enum status linear_f32(struct cuda_context *cuda, const struct op_linear *args)
{
    struct plain_call call = {};
    CHECK(args->mid == NULL);
    call.m = args->rows, call.n = args->n, call.k = args->k;
    call.a = (const float *)args->x, call.a_row = args->x_stride, call.a_depth = 1;
    call.b = (const float *)args->packed, call.b_row = args->k, call.b_depth = 1;
    call.bias = (const float *)args->bias;
    call.d = args->y != NULL ? (float *)args->y : args->y_float, call.d_stride = args->y_stride;
    call.offset = args->expert_offset, call.experts = (int32_t)args->experts;
    call.plane = args->n * args->k;
    return plain(cuda, &call, 1);
}

extern "C" enum status cuda_linear(void *context, const struct op_linear *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->virtual_tp > 1)
        return FAIL(STATUS_UNSUPPORTED, "virtual_tp %d: the CUDA backend has 1 only",
                    args->virtual_tp);
    CHECK((args->y == NULL) != (args->y_float == NULL));
    CHECK(args->expert_offset == NULL || args->bias == NULL);
    if (args->rows == 0)
        return STATUS_OK;
    return cuda->f32 ? linear_f32(cuda, args) : linear_bf16(cuda, args);
}

extern "C" enum status cuda_linear_backward_input(void *context,
                                                  const struct op_linear_backward_input *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    if (cuda->f32) {
        struct plain_call call = {};
        call.m = args->rows, call.n = args->k, call.k = args->n;
        call.a = (const float *)args->dy, call.a_row = args->dy_stride, call.a_depth = 1;
        call.b = (const float *)args->weight, call.b_row = 1, call.b_depth = args->k;
        call.d = (float *)args->dx, call.d_stride = args->dx_stride;
        call.offset = args->expert_offset, call.experts = (int32_t)args->experts;
        call.plane = args->n * args->k;
        call.accumulate = args->accumulate;
        return plain(cuda, &call, 1);
    }
    struct gemm_call call = {};
    call.m = args->rows, call.n = args->k, call.k = args->n;
    call.a = (const bf16 *)args->dy, call.a_stride = args->dy_stride;
    call.b = (const bf16 *)args->weight, call.b_stride = args->k, call.b_transposed = true;
    call.d = args->dx, call.d_stride = args->dx_stride;
    call.accumulate = args->accumulate;
    call.exact_rows = true; /* so the fastest algorithm may be taken without a choice of bits */
    if (args->expert_offset != NULL)
        return gemm_tile(cuda, &call, args->experts, args->expert_offset, NULL);
    return gemm_any(cuda, &call);
}

extern "C" enum status cuda_linear_backward_weight(void *context,
                                                   const struct op_linear_backward_weight *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    if (args->dbias != NULL)
        TRY(cuda->f32 ? add_column_sums<float>(cuda, args) : add_column_sums<bf16>(cuda, args));
    if (cuda->f32) {
        struct plain_call call = {};
        call.m = args->n, call.n = args->k, call.k = args->rows;
        call.a = (const float *)args->dy, call.a_row = 1, call.a_depth = args->dy_stride;
        call.b = (const float *)args->x, call.b_row = 1, call.b_depth = args->x_stride;
        call.d = args->dweight, call.d_stride = args->k, call.plane = args->n * args->k;
        call.offset = args->expert_offset, call.experts = (int32_t)args->experts;
        call.accumulate = call.depth_grouped = true;
        return plain(cuda, &call, args->expert_offset != NULL ? (unsigned)args->experts : 1);
    }
    struct gemm_call call = {};
    call.m = args->n, call.n = args->k, call.k = args->rows;
    call.a = (const bf16 *)args->dy, call.a_stride = args->dy_stride, call.a_transposed = true;
    call.b = (const bf16 *)args->x, call.b_stride = args->x_stride, call.b_transposed = true;
    call.d = args->dweight, call.d_stride = args->k, call.d_float = true;
    call.accumulate = true;
    /* Enough tiles for all multiprocessors: no need to split k. */
    call.exact_rows = ((call.m + 127) / 128) * ((call.n + 255) / 256) >= cuda->multiprocessors;
    if (args->expert_offset != NULL)
        return gemm_tile(cuda, &call, args->experts, args->expert_offset, NULL);
    return gemm_any(cuda, &call);
}
