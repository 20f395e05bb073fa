/* AdamW and the gradient norm (kernels/ops.h). Elements are independent and go through whole
 * vectors, so a parameter's bits do not depend on its place in the array. */
#include <math.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu_pool.h"

enum { ADAMW_BLOCK = 1 << 15, NORM_BLOCK = 4096, NORM_LANES = 8 };

/* The scalars of one update, made in f64 and rounded once. */
struct adamw_job {
    const struct op_adamw *args;
    float grad_scale, one_minus_beta1, one_minus_beta2;
    float decay; /* lr wd */
    float step;  /* lr / (1 - beta1^n) */
    float root;  /* 1 / sqrt(1 - beta2^n): sqrt(v / (1 - beta2^n)) = sqrt(v) root, and v / (1 - ..)
                        of a denormal v would lose bits */
    float eps;
};

static v16 v16_sqrt(v16 x)
{
    float lanes[V16];
    v16_store(lanes, x);
    for (int i = 0; i < V16; i++)
        lanes[i] = __builtin_sqrtf(lanes[i]);
    return v16_load(lanes);
}

static void adamw_vector(const struct adamw_job *job, int64_t i, int64_t count)
{
    const struct op_adamw *args = job->args;
    const v16 g = v16_load_tail(args->grad + i, count, 0.0f) * v16_set(job->grad_scale);
    /* m + (1 - b1) (g - m) is b1 m + (1 - b1) g; with one product in each sum there is one way to
     * fuse it, so AVX2 and AVX-512 agree. */
    const v16 m_old = v16_load_tail(args->m + i, count, 0.0f);
    const v16 v_old = v16_load_tail(args->v + i, count, 0.0f);
    const v16 m = m_old + v16_set(job->one_minus_beta1) * (g - m_old);
    const v16 v = v_old + v16_set(job->one_minus_beta2) * (g * g - v_old);
    const v16 p = v16_load_tail(args->parameter + i, count, 0.0f);
    const v16 update =
        m * v16_set(job->step) / (v16_sqrt(v) * v16_set(job->root) + v16_set(job->eps));
    const v16 next = p - (p * v16_set(job->decay) + update);
    v16_store_tail(args->m + i, m, count);
    v16_store_tail(args->v + i, v, count);
    v16_store_tail(args->parameter + i, next, count);
    if (args->copy)
        v16_store_tail((float *)args->copy + i, next, count);
}

static void adamw_task(void *argument, int64_t task, int32_t worker)
{
    (void)worker;
    const struct adamw_job *job = argument;
    const int64_t begin = task * ADAMW_BLOCK;
    const int64_t left = job->args->count - begin;
    const int64_t end = begin + (left < ADAMW_BLOCK ? left : ADAMW_BLOCK);
    for (int64_t i = begin; i < end; i += V16)
        adamw_vector(job, i, end - i);
}

enum status CPU_NAME(adamw)(void *context, const struct op_adamw *args)
{
    const double n = (double)args->update;
    struct adamw_job job = {
        .args = args,
        .grad_scale = (float)args->grad_scale,
        .one_minus_beta1 = (float)(1.0 - args->beta1),
        .one_minus_beta2 = (float)(1.0 - args->beta2),
        .decay = (float)(args->lr * args->weight_decay),
        .step = (float)(args->lr / (1.0 - pow(args->beta1, n))),
        .root = (float)(1.0 / sqrt(1.0 - pow(args->beta2, n))),
        .eps = (float)args->eps,
    };
    pool_run(context, adamw_task, &job, (args->count + ADAMW_BLOCK - 1) / ADAMW_BLOCK);
    return STATUS_OK;
}

struct norm_job {
    const struct op_grad_norm *args;
    double *sums;        /* [blocks] */
    int64_t *non_finite; /* [blocks] */
};

/* NORM_LANES partial sums by i % NORM_LANES, then a tree. */
static void norm_task(void *argument, int64_t task, int32_t worker)
{
    (void)worker;
    const struct norm_job *job = argument;
    const int64_t begin = task * NORM_BLOCK;
    const int64_t left = job->args->count - begin;
    const int64_t count = left < NORM_BLOCK ? left : NORM_BLOCK;
    const float *grad = job->args->grad + begin;
    double sums[NORM_LANES] = {0};
    int64_t bad = 0;
    const int64_t whole = count / NORM_LANES * NORM_LANES;
    for (int64_t i = 0; i < whole; i += NORM_LANES)
        for (int j = 0; j < NORM_LANES; j++) {
            const double g = (double)grad[i + j];
            sums[j] += g * g;
        }
    for (int64_t i = whole; i < count; i++)
        sums[i - whole] += (double)grad[i] * (double)grad[i];
    for (int64_t i = 0; i < count; i++)
        bad += !(fabsf(grad[i]) <= 3.402823466e38f);
    for (int width = NORM_LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            sums[j] += sums[j + width];
    job->sums[task] = sums[0];
    job->non_finite[task] = bad;
}

enum status CPU_NAME(grad_norm)(void *context, const struct op_grad_norm *args)
{
    const int64_t blocks = (args->count + NORM_BLOCK - 1) / NORM_BLOCK;
    void *shared = NULL;
    TRY(pool_shared(context, (sizeof(double) + sizeof(int64_t)) * (size_t)(blocks + 1), &shared));
    struct norm_job job = {.args = args, .sums = shared};
    job.non_finite = (int64_t *)(job.sums + blocks);
    pool_run(context, norm_task, &job, blocks);
    double sum = 0;
    int64_t bad = 0;
    for (int64_t b = 0; b < blocks; b++) {
        sum += job.sums[b];
        bad += job.non_finite[b];
    }
    *args->sum_squares = sum;
    *args->non_finite = bad;
    return STATUS_OK;
}
