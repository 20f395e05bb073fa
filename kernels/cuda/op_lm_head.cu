/* kernels/cuda/op_lm_head.cu - LM head, log-softmax and entropy without keeping the logits.
 *
 * Pass 1 (head_gemm.cuh) leaves four floats for each row and 128 columns; pass 2, here, merges them: thread i of a
 * row's block takes tiles i, i + 256, ... in order, in f64, then a fixed tree. Both orders depend on V alone.
 * With M = max z and a = fl(M scale), S = sum 2^(z scale - a) and E = sum 2^(z scale - a) (z scale - a):
 *   lse = M / temperature + ln S + ln 2 (a - M scale), entropy = ln S - ln 2 E / S.
 * The last term of lse removes the rounding of a and of scale, so what is left is the error of the f32 sums.
 * logprob is made from the f32 logit and the f32 lse as op sample makes it: both have the same bits.
 * Rows go through in chunks, which bounds the partial sums to 16 bytes for each row of a chunk and tile. */
#include "kernels/cuda/head_gemm.cuh"

enum { CHUNK_ROWS = 4096, MERGE_THREADS = 256, MERGE_WARPS = MERGE_THREADS / 32 };

struct merge_call {
    const float4 *partial;
    const float *target_logit;
    const int32_t *target;
    int32_t tiles;
    float temperature, scale;
    float *lse, *lse_raw, *logprob, *entropy; /* all but lse may be NULL */
};

/* Sum over the block in a fixed tree; thread 0 has it. */
static __device__ double merge_sum(double x, double *shared)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    double sum = 0;
    for (int i = 0; i < MERGE_WARPS; i++)
        sum += shared[i];
    return sum;
}

static __device__ float merge_max(float x, float *shared)
{
    x = warp_max(x);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    for (int i = 0; i < MERGE_WARPS; i++)
        x = fmaxf(x, shared[i]);
    return x;
}

/* ln of sum exp(z / t) from S = sum 2^(z scale - a), a = fl(top scale). */
static __device__ float merge_lse(float top, float scale, double temperature, double sum)
{
    const double ln2 = 0.69314718055994530942;
    double a = (double)__fmul_rn(top, scale), exact = (double)top * (double)scale;
    return (float)((double)top / temperature + log(sum) + ln2 * (a - exact));
}

static __global__ void __launch_bounds__(MERGE_THREADS) merge(const struct merge_call call)
{
    __shared__ float shared_max[MERGE_WARPS];
    __shared__ double shared_sum[MERGE_WARPS];
    int64_t row = blockIdx.x;
    const float4 *partial = call.partial + row * call.tiles;
    float top = -INFINITY;
    for (int32_t i = (int32_t)threadIdx.x; i < call.tiles; i += MERGE_THREADS)
        top = fmaxf(top, partial[i].x);
    top = merge_max(top, shared_max);
    float a = __fmul_rn(top, call.scale), a_raw = __fmul_rn(top, HEAD_LOG2E);
    double sum = 0, moment = 0, raw = 0;
    for (int32_t i = (int32_t)threadIdx.x; i < call.tiles; i += MERGE_THREADS) {
        float4 tile = partial[i];
        float below = __fsub_rn(__fmul_rn(tile.x, call.scale), a);
        float below_raw = __fsub_rn(__fmul_rn(tile.x, HEAD_LOG2E), a_raw);
        double weight = (double)head_exp2(below);
        /* 0 times -inf: a tile so far below adds nothing */
        if (weight > 0)
            moment += weight * ((double)tile.z + (double)below * (double)tile.y);
        sum += weight * (double)tile.y;
        raw += (double)head_exp2(below_raw) * (double)tile.w;
    }
    sum = merge_sum(sum, shared_sum);
    moment = merge_sum(moment, shared_sum);
    raw = merge_sum(raw, shared_sum);
    if (threadIdx.x != 0)
        return;
    float lse = merge_lse(top, call.scale, (double)call.temperature, sum);
    call.lse[row] = lse;
    if (call.lse_raw != NULL)
        call.lse_raw[row] = merge_lse(top, HEAD_LOG2E, 1.0, raw);
    if (call.entropy != NULL)
        call.entropy[row] = fmaxf(0, (float)(log(sum) - 0.69314718055994530942 * moment / sum));
    if (call.logprob != NULL) {
        double logprob = 0;
        if (call.target != NULL && call.target[row] >= 0)
            logprob = (double)call.target_logit[row] / (double)call.temperature - (double)lse;
        call.logprob[row] = logprob > 0 ? 0.0f : (float)logprob;
    }
}

template <typename T>
static enum status forward_rows(struct cuda_context *cuda, const struct op_lm_head *args,
                                int64_t row, int64_t rows, float4 *partial, float *target_logit)
{
    struct head_call call = {};
    call.rows = (int32_t)rows;
    call.channels = (int32_t)args->channels;
    call.vocabulary = (int32_t)args->vocabulary;
    call.tiles = (int32_t)cuda_blocks(args->vocabulary, HEAD_TILE);
    call.scale = (float)(1.4426950408889634 / (double)args->temperature);
    call.bf16_logits = args->bf16;
    call.raw = args->lse_raw != NULL && args->temperature != 1.0f;
    call.target = args->target != NULL ? args->target + row : NULL;
    call.partial = partial;
    call.target_logit = target_logit;
    call.logits = args->logits != NULL ? args->logits + row * args->vocabulary : NULL;
    TRY(head_logits<HEAD_FORWARD>(cuda, &call, (const T *)args->x + row * args->channels,
                                  (const T *)args->packed, (const T *)args->mid));
    struct merge_call end = {};
    end.partial = partial;
    end.target_logit = target_logit;
    end.target = call.target;
    end.tiles = call.tiles;
    end.temperature = args->temperature;
    end.scale = call.scale;
    end.lse = args->lse + row;
    end.lse_raw = args->lse_raw != NULL ? args->lse_raw + row : NULL;
    end.logprob = args->logprob != NULL ? args->logprob + row : NULL;
    end.entropy = args->entropy != NULL ? args->entropy + row : NULL;
    merge<<<(unsigned)rows, MERGE_THREADS, 0, cuda->stream>>>(end);
    return cuda_launched("lm_head merge");
}

extern "C" enum status cuda_lm_head(void *context, const struct op_lm_head *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    CHECK(args->temperature > 0 && args->vocabulary > 0 && args->vocabulary < INT32_MAX - 512);
    CHECK(!cuda->f32 || args->mid == NULL);
    int64_t chunk = args->rows < CHUNK_ROWS ? args->rows : CHUNK_ROWS;
    size_t tiles = cuda_blocks(args->vocabulary, HEAD_TILE);
    void *partial = NULL, *target_logit = NULL;
    TRY(cuda_scratch(cuda, (size_t)chunk * tiles * sizeof(float4), &partial));
    TRY(cuda_scratch(cuda, (size_t)chunk * sizeof(float), &target_logit));
    for (int64_t row = 0; row < args->rows; row += chunk) {
        int64_t rows = args->rows - row < chunk ? args->rows - row : chunk;
        TRY((cuda->f32 ? forward_rows<float> : forward_rows<bf16>)(cuda, args, row, rows,
                                                                   (float4 *)partial,
                                                                   (float *)target_logit));
    }
    return STATUS_OK;
}
