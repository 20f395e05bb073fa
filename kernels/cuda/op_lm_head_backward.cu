/* kernels/cuda/op_lm_head_backward.cu - gradient of the LM head: dz = (dlogprob (onehot(target) - p) - dentropy p
 * (log p + entropy)) / temperature,
 * dx = dz W, dW += dz^T x.
 *
 * Rows go through in chunks of bounded workspace: head_gemm.cuh makes the logits again and leaves dz [rows, V] in
 * the storage type, then two products read it. With mid the logits are made again from W alone: bf16 weights put an
 * error of about 2e-3 on z, so as much relative to p, which is what rounding dz to bf16 costs anyway. For the target
 * it would be an absolute error in 1 - p, and of that a confident token's gradient is made: the target's own logit
 * is taken from both planes.
 * The chunks depend on the shape alone and each product has a fixed order: the gradient is deterministic. */
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/head_gemm.cuh"

enum { CHUNK_BYTES = 640 << 20, CHUNK_ROWS_MAX = 8192, TARGET_WARPS = 8, PLAIN_THREADS = 256 };

/* Logits of the targets, x (W + mid)^T, one warp a row. */
static __global__ void __launch_bounds__(TARGET_WARPS * 32)
    target_logits(const bf16 *x, const bf16 *w, const bf16 *mid, const int32_t *target,
                  int64_t rows, int64_t channels, float *logit)
{
    int64_t row = (int64_t)blockIdx.x * TARGET_WARPS + threadIdx.x / 32;
    if (row >= rows || target[row] < 0)
        return;
    const bf16 *of_x = x + row * channels;
    const bf16 *high = w + (int64_t)target[row] * channels;
    const bf16 *low = mid + (int64_t)target[row] * channels;
    float sum = 0, small = 0;
    for (int64_t c = threadIdx.x % 32; c < channels; c += 32) {
        sum = __fmaf_rn(to_float(of_x[c]), to_float(high[c]), sum);
        small = __fmaf_rn(to_float(of_x[c]), to_float(low[c]), small);
    }
    sum = warp_sum(sum + small);
    if (threadIdx.x % 32 == 0)
        logit[row] = sum;
}

/* ---- f32 storage: sums in f64, one thread an element ---- */

static __device__ float plain_value(float x, bool rounded)
{
    return rounded ? __bfloat162float(__float2bfloat16_rn(x)) : x;
}

static __global__ void plain_dx(const float *dz, int64_t dz_stride, const float *w, int64_t rows,
                                int64_t channels, int64_t vocabulary, bool rounded, float *dx)
{
    int64_t at = (int64_t)blockIdx.x * PLAIN_THREADS + threadIdx.x;
    if (at >= rows * channels)
        return;
    int64_t row = at / channels, c = at % channels;
    double sum = 0;
    for (int64_t v = 0; v < vocabulary; v++)
        sum += (double)dz[row * dz_stride + v] * (double)plain_value(w[v * channels + c], rounded);
    dx[at] = (float)sum;
}

static __global__ void plain_dweight(const float *dz, int64_t dz_stride, const float *x,
                                     int64_t rows, int64_t channels, int64_t vocabulary,
                                     bool rounded, float *dweight)
{
    int64_t at = (int64_t)blockIdx.x * PLAIN_THREADS + threadIdx.x;
    if (at >= vocabulary * channels)
        return;
    int64_t v = at / channels, c = at % channels;
    double sum = 0;
    for (int64_t row = 0; row < rows; row++)
        sum +=
            (double)dz[row * dz_stride + v] * (double)plain_value(x[row * channels + c], rounded);
    dweight[at] = (float)((double)dweight[at] + sum);
}

/* ---- the two products of a chunk ---- */

struct chunk {
    int64_t row, rows, dz_stride;
    void *dz;
};

static enum status product(struct cuda_context *cuda, const struct gemm_call *call)
{
    enum status status = gemm_library(cuda, call);
    return status == STATUS_UNSUPPORTED ? gemm_tile(cuda, call, 1, NULL, NULL) : status;
}

static enum status chunk_products(struct cuda_context *cuda, const struct op_lm_head_backward *args,
                                  const struct chunk *chunk, const bf16 *)
{
    const bf16 *x = (const bf16 *)args->x + chunk->row * args->channels;
    struct gemm_call dx = {};
    dx.m = chunk->rows;
    dx.n = args->channels;
    dx.k = args->vocabulary;
    dx.b_transposed = true;
    dx.a = (const bf16 *)chunk->dz;
    dx.a_stride = chunk->dz_stride;
    dx.b = (const bf16 *)args->weight;
    dx.b_stride = dx.d_stride = args->channels;
    dx.d = (bf16 *)args->dx + chunk->row * args->channels;
    TRY(product(cuda, &dx));
    struct gemm_call dweight = {};
    dweight.m = args->vocabulary;
    dweight.n = args->channels;
    dweight.k = chunk->rows;
    dweight.a_transposed = dweight.b_transposed = dweight.accumulate = dweight.d_float = true;
    dweight.a = (const bf16 *)chunk->dz;
    dweight.a_stride = chunk->dz_stride;
    dweight.b = x;
    dweight.b_stride = dweight.d_stride = args->channels;
    dweight.d = args->dweight;
    return product(cuda, &dweight);
}

static enum status chunk_products(struct cuda_context *cuda, const struct op_lm_head_backward *args,
                                  const struct chunk *chunk, const float *)
{
    const float *x = (const float *)args->x + chunk->row * args->channels;
    plain_dx<<<cuda_blocks(chunk->rows * args->channels, PLAIN_THREADS), PLAIN_THREADS, 0,
               cuda->stream>>>((const float *)chunk->dz, chunk->dz_stride,
                               (const float *)args->weight, chunk->rows, args->channels,
                               args->vocabulary, args->bf16,
                               (float *)args->dx + chunk->row * args->channels);
    TRY(cuda_launched("lm_head_backward dx"));
    plain_dweight<<<cuda_blocks(args->vocabulary * args->channels, PLAIN_THREADS), PLAIN_THREADS, 0,
                    cuda->stream>>>((const float *)chunk->dz, chunk->dz_stride, x, chunk->rows,
                                    args->channels, args->vocabulary, args->bf16, args->dweight);
    return cuda_launched("lm_head_backward dweight");
}

template <typename T>
static enum status backward_rows(struct cuda_context *cuda, const struct op_lm_head_backward *args,
                                 const struct chunk *chunk, float *target_exact)
{
    const T *x = (const T *)args->x + chunk->row * args->channels;
    struct head_call call = {};
    call.rows = (int32_t)chunk->rows;
    call.channels = (int32_t)args->channels;
    call.vocabulary = (int32_t)args->vocabulary;
    call.tiles = (int32_t)cuda_blocks(args->vocabulary, HEAD_TILE);
    call.scale = (float)(1.4426950408889634 / (double)args->temperature);
    call.bf16_logits = args->bf16;
    call.target = args->target + chunk->row;
    call.inverse_temperature = (float)(1.0 / (double)args->temperature);
    call.lse = args->lse + chunk->row;
    call.dlogprob = args->dlogprob + chunk->row;
    call.dentropy = args->dentropy != NULL ? args->dentropy + chunk->row : NULL;
    call.entropy = args->dentropy != NULL ? args->entropy + chunk->row : NULL;
    call.dz = chunk->dz;
    call.dz_stride = chunk->dz_stride;
    if (args->mid != NULL && !args->bf16) {
        target_logits<<<cuda_blocks(chunk->rows, TARGET_WARPS), TARGET_WARPS * 32, 0,
                        cuda->stream>>>((const bf16 *)x, (const bf16 *)args->weight,
                                        (const bf16 *)args->mid, call.target, chunk->rows,
                                        args->channels, target_exact);
        TRY(cuda_launched("lm_head_backward target"));
        call.target_exact = target_exact;
    }
    const T *weight = (const T *)args->weight;
    TRY(args->dentropy != NULL
            ? head_logits<HEAD_GRADIENT_ENTROPY>(cuda, &call, x, weight, (const T *)NULL)
            : head_logits<HEAD_GRADIENT>(cuda, &call, x, weight, (const T *)NULL));
    return chunk_products(cuda, args, chunk, (const T *)NULL);
}

extern "C" enum status cuda_lm_head_backward(void *context, const struct op_lm_head_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    CHECK(args->temperature > 0 && args->vocabulary > 0 && args->vocabulary < INT32_MAX - 512);
    CHECK(!cuda->f32 || args->mid == NULL);
    CHECK(args->dentropy == NULL || args->entropy != NULL);
    struct chunk chunk = {};
    chunk.dz_stride = (args->vocabulary + 7) / 8 * 8;
    int64_t row_bytes = chunk.dz_stride * (int64_t)(cuda->f32 ? sizeof(float) : sizeof(bf16));
    int64_t most = CHUNK_BYTES / row_bytes / 256 * 256; /* whole tiles of rows */
    most = most < 256 ? 256 : most > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX : most;
    /* as few chunks as that allows, of one size, so that the last is not a small one */
    int64_t chunks = (args->rows + most - 1) / most;
    most = ((args->rows + chunks - 1) / chunks + 255) / 256 * 256;
    most = args->rows < most ? args->rows : most;
    void *target_exact = NULL;
    TRY(cuda_scratch(cuda, (size_t)(most * row_bytes), &chunk.dz));
    TRY(cuda_scratch(cuda, (size_t)most * sizeof(float), &target_exact));
    for (chunk.row = 0; chunk.row < args->rows; chunk.row += most) {
        chunk.rows = args->rows - chunk.row < most ? args->rows - chunk.row : most;
        TRY((cuda->f32 ? backward_rows<float> : backward_rows<bf16>)(cuda, args, &chunk,
                                                                     (float *)target_exact));
    }
    return STATUS_OK;
}
