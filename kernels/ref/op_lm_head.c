/* kernels/ref/op_lm_head.c - LM head, log-softmax and entropy (M1-SPEC 1.7), whole logit rows. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/memory.h"

/* Nearest bf16, ties to even, as a double. Finite values only. */
static double round_bf16(double value)
{
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* The untempered logits of one row. */
static void logits_of(const float *x, const float *weight, int64_t vocabulary, int64_t channels,
                      bool bf16, double *logit)
{
    for (int64_t v = 0; v < vocabulary; v++) {
        const float *w = weight + v * channels;
        double sum = 0.0;
        for (int64_t c = 0; c < channels; c++)
            sum += bf16 ? round_bf16((double)x[c]) * round_bf16((double)w[c])
                        : (double)x[c] * (double)w[c];
        logit[v] = bf16 ? round_bf16(sum) : sum;
    }
}

static double log_sum_exp(const double *logit, int64_t vocabulary, double temperature)
{
    double maximum = -INFINITY, sum = 0.0;
    for (int64_t v = 0; v < vocabulary; v++)
        maximum = fmax(maximum, logit[v] / temperature);
    for (int64_t v = 0; v < vocabulary; v++)
        sum += exp(logit[v] / temperature - maximum);
    return maximum + log(sum);
}

static void row_outputs(const struct op_lm_head *args, int64_t t, const double *logit)
{
    double temperature = (double)args->temperature;
    double lse = log_sum_exp(logit, args->vocabulary, temperature), mean = 0.0;
    for (int64_t v = 0; v < args->vocabulary; v++) {
        double z = logit[v] / temperature;
        mean += exp(z - lse) * z;
        if (args->logits)
            args->logits[t * args->vocabulary + v] = (float)logit[v];
    }
    args->lse[t] = (float)lse;
    if (args->lse_raw)
        args->lse_raw[t] = (float)log_sum_exp(logit, args->vocabulary, 1.0);
    if (args->entropy)
        args->entropy[t] = (float)(lse - mean);
    if (args->logprob)
        args->logprob[t] = args->target && args->target[t] >= 0
                               ? (float)(logit[args->target[t]] / temperature - lse)
                               : 0.0f;
}

enum status ref_lm_head(void *context, const struct op_lm_head *args)
{
    (void)context;
    double *logit = memory_array((size_t)args->vocabulary, sizeof *logit);
    if (!logit)
        return FAIL(STATUS_NO_MEMORY, "one row of logits");
    for (int64_t t = 0; t < args->rows; t++) {
        logits_of((const float *)args->x + t * args->channels, args->packed, args->vocabulary,
                  args->channels, args->bf16, logit);
        row_outputs(args, t, logit);
    }
    memory_free(logit);
    return STATUS_OK;
}

/* dx and the row's share of dW. H = lse - sum p z has the gradient dH/dz_v = -p_v (log p_v + H). With bf16 the gradient passes the rounding of x, W and z straight
 * through: dx = dz W and dW = dz^T x with the values that the forward product read. */
static void row_backward(const struct op_lm_head_backward *args, int64_t t, double *logit,
                         double *dweight, double *dx)
{
    const float *x = (const float *)args->x + t * args->channels, *weight = args->weight;
    double temperature = (double)args->temperature;
    logits_of(x, weight, args->vocabulary, args->channels, args->bf16, logit);
    double lse = log_sum_exp(logit, args->vocabulary, temperature), entropy = lse;
    double dentropy = args->dentropy ? (double)args->dentropy[t] : 0.0;
    for (int64_t v = 0; v < args->vocabulary; v++)
        entropy -= exp(logit[v] / temperature - lse) * (logit[v] / temperature);
    for (int64_t v = 0; v < args->vocabulary; v++) {
        double onehot = v == args->target[t] ? 1.0 : 0.0;
        double log_p = logit[v] / temperature - lse, p = exp(log_p);
        double dz = ((double)args->dlogprob[t] * (onehot - p) - dentropy * p * (log_p + entropy)) /
                    temperature;
        for (int64_t c = 0; c < args->channels; c++) {
            double w_c = (double)weight[v * args->channels + c], x_c = (double)x[c];
            dx[c] += dz * (args->bf16 ? round_bf16(w_c) : w_c);
            dweight[v * args->channels + c] += dz * (args->bf16 ? round_bf16(x_c) : x_c);
        }
    }
}

enum status ref_lm_head_backward(void *context, const struct op_lm_head_backward *args)
{
    (void)context;
    int64_t channels = args->channels, weights = args->vocabulary * channels;
    double *scratch =
        memory_array((size_t)(args->vocabulary + weights + channels), sizeof *scratch);
    if (!scratch)
        return FAIL(STATUS_NO_MEMORY, "gradient of the LM head");
    double *dweight = scratch + args->vocabulary, *dx = dweight + weights;
    for (int64_t t = 0; t < args->rows; t++) {
        memset(dx, 0, (size_t)channels * sizeof *dx);
        bool pulls = args->dlogprob[t] != 0.0f || (args->dentropy && args->dentropy[t] != 0.0f);
        if (args->target[t] >= 0 && pulls)
            row_backward(args, t, scratch, dweight, dx);
        for (int64_t c = 0; c < channels; c++)
            ((float *)args->dx)[t * channels + c] = (float)dx[c];
    }
    for (int64_t i = 0; i < weights; i++)
        args->dweight[i] = (float)((double)args->dweight[i] + dweight[i]);
    memory_free(scratch);
    return STATUS_OK;
}
