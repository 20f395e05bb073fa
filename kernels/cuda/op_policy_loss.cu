/* kernels/cuda/op_policy_loss.cu - the token losses of kernels/ops.h and their gradients.
 *
 * Terms in f32, operation by operation as in kernels/cpu/op_policy_loss.c (MiniMax-M1, arXiv:2506.13585, eq. 3-7;
 * GSPO arXiv:2507.18071 eq. 7-10), their sum in f64 by one block in an order that the number of rows decides. A masked
 * row is written as zeros and never read. The loss goes to host memory, so the op waits for it. */
#include "kernels/cuda/device.cuh"

enum { THREADS = 256, SUM_THREADS = 1024 };
static const float LOG_RATIO_LIMIT = 20.0f;

struct token_term {
    double loss;
    float dlogprob;
    bool clipped;
};

/* Comparisons, not fminf: a NaN of a trained token must reach the loss. */
static __device__ float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static __device__ struct token_term weighted(float weight, float advantage, float scale,
                                             float logprob)
{
    float dlogprob = -__fmul_rn(__fmul_rn(scale, weight), advantage);
    return (struct token_term){(double)dlogprob * (double)logprob, dlogprob, false};
}

static __device__ struct token_term cispo(const struct op_policy_loss *args, int64_t t, float ratio)
{
    float weight = clamp(ratio, args->weight_min, args->weight_max);
    struct token_term term = weighted(weight, args->advantage[t], args->scale[t], args->logprob[t]);
    term.clipped = ratio < args->weight_min || ratio > args->weight_max;
    return term;
}

static __device__ struct token_term cispo_mask(const struct op_policy_loss *args, int64_t t,
                                               float ratio)
{
    float advantage = args->advantage[t];
    if ((advantage > 0 && ratio > __fadd_rn(1, args->clip_high)) ||
        (advantage < 0 && ratio < __fadd_rn(1, -args->clip_low)))
        return (struct token_term){0, 0, true};
    return cispo(args, t, ratio);
}

/* Clipped surrogate; ratio is the token's (ppo_clip) or the sequence's (gspo). */
static __device__ struct token_term surrogate(const struct op_policy_loss *args, int64_t t,
                                              float ratio, float dual_clip)
{
    float advantage = args->advantage[t], scale = args->scale[t];
    float bounded = clamp(ratio, __fadd_rn(1, -args->clip_low), __fadd_rn(1, args->clip_high));
    float objective = __fmul_rn(ratio, advantage), limited = __fmul_rn(bounded, advantage);
    bool clipped = limited < objective;
    if (clipped)
        objective = limited;
    if (dual_clip > 1 && advantage < 0 && objective < __fmul_rn(dual_clip, advantage)) {
        objective = __fmul_rn(dual_clip, advantage);
        clipped = true;
    }
    float dlogprob = clipped ? 0.0f : -__fmul_rn(__fmul_rn(scale, ratio), advantage);
    return (struct token_term){-(double)scale * (double)objective, dlogprob, clipped};
}

static __device__ struct token_term token(const struct op_policy_loss *args, int64_t t, float ratio,
                                          float ratio_sequence)
{
    switch (args->kind) {
    case POLICY_LOSS_CISPO:
        return cispo(args, t, ratio);
    case POLICY_LOSS_CISPO_MASK:
        return cispo_mask(args, t, ratio);
    case POLICY_LOSS_REINFORCE:
        return weighted(ratio, args->advantage[t], args->scale[t], args->logprob[t]);
    case POLICY_LOSS_PPO_CLIP:
        return surrogate(args, t, ratio, args->dual_clip);
    case POLICY_LOSS_GSPO:
        return surrogate(args, t, ratio_sequence, 0);
    case POLICY_LOSS_SFT:
        break;
    }
    return weighted(1, 1, args->scale[t], args->logprob[t]);
}

static __device__ float token_ratio(const struct op_policy_loss *args, int64_t t)
{
    if (args->logprob_old == NULL) /* sft has no behaviour policy */
        return 1;
    float log_ratio = __fadd_rn(args->logprob[t], -args->logprob_old[t]);
    return expf(clamp(log_ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT));
}

static __device__ double warp_sum_double(double x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

/* A warp a sequence: s of GSPO, exp of the mean log ratio over its trained tokens, into each of its rows. */
static __global__ void sequence_kernel(struct op_policy_loss args, float *ratio)
{
    int64_t s = blockIdx.x;
    int64_t begin = args.sequence_start[s], end = args.sequence_start[s + 1];
    double sum = 0, count = 0;
    for (int64_t t = begin + threadIdx.x; t < end; t += 32) {
        if (args.mask[t] == 0)
            continue;
        sum += (double)args.logprob[t] - (double)args.logprob_old[t];
        count += 1;
    }
    sum = warp_sum_double(sum);
    count = warp_sum_double(count);
    float mean = count > 0 ? (float)(sum / count) : 0.0f;
    float shared = expf(clamp(mean, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT));
    for (int64_t t = begin + threadIdx.x; t < end; t += 32)
        ratio[t] = shared;
}

static __global__ void __launch_bounds__(THREADS)
    token_kernel(struct op_policy_loss args, const float *ratio_sequence, double *loss)
{
    int64_t t = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (t >= args.rows)
        return;
    struct token_term term = {0, 0, false};
    float ratio = 0;
    if (args.mask[t] != 0) {
        ratio = token_ratio(&args, t);
        term = token(&args, t, ratio, ratio_sequence != NULL ? ratio_sequence[t] : 1.0f);
    }
    loss[t] = term.loss;
    args.ratio[t] = ratio;
    args.dlogprob[t] = term.dlogprob;
    args.clipped[t] = term.clipped;
}

/* Thread i adds rows i, i + 1024, ... in order; then a fixed tree. */
static __global__ void __launch_bounds__(SUM_THREADS)
    sum_kernel(const double *loss, int64_t rows, double *sum)
{
    __shared__ double of_warp[SUM_THREADS / 32];
    double own = 0;
    for (int64_t t = threadIdx.x; t < rows; t += SUM_THREADS)
        own += loss[t];
    own = warp_sum_double(own);
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x < 32) {
        own = warp_sum_double(of_warp[threadIdx.x]);
        if (threadIdx.x == 0)
            *sum = own;
    }
}

extern "C" enum status cuda_policy_loss(void *context, const struct op_policy_loss *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    bool sft = args->kind == POLICY_LOSS_SFT;
    CHECK(sft || (args->logprob_old != NULL && args->advantage != NULL));
    *args->loss = 0;
    if (args->rows == 0)
        return STATUS_OK;
    void *loss = NULL, *sum = NULL, *ratio = NULL;
    TRY(cuda_scratch(cuda, (size_t)args->rows * sizeof(double), &loss));
    TRY(cuda_scratch(cuda, sizeof(double), &sum));
    if (args->kind == POLICY_LOSS_GSPO && args->sequences > 0) {
        TRY(cuda_scratch(cuda, (size_t)args->rows * sizeof(float), &ratio));
        sequence_kernel<<<(unsigned)args->sequences, 32, 0, cuda->stream>>>(*args, (float *)ratio);
        TRY(cuda_launched("policy_loss: sequences"));
    }
    token_kernel<<<cuda_blocks(args->rows, THREADS), THREADS, 0, cuda->stream>>>(
        *args, (const float *)ratio, (double *)loss);
    TRY(cuda_launched("policy_loss"));
    sum_kernel<<<1, SUM_THREADS, 0, cuda->stream>>>((const double *)loss, args->rows,
                                                    (double *)sum);
    TRY(cuda_launched("policy_loss: sum"));
    CUDA_TRY(
        cudaMemcpyAsync(args->loss, sum, sizeof(double), cudaMemcpyDeviceToHost, cuda->stream));
    CUDA_TRY(cudaStreamSynchronize(cuda->stream));
    return STATUS_OK;
}
