/* kernels/ref/op_linear.c - y = x W^T + b, plain or grouped by expert, and its gradients. */
#include "kernels/ref/ref.h"

#include <string.h>

/* The expert of a row: the e with offset[e] <= row < offset[e + 1], or 0 in a plain call. */
static int64_t expert_of(const int32_t *offset, int64_t experts, int64_t row)
{
    for (int64_t e = 0; offset && e < experts; e++)
        if (row < offset[e + 1])
            return e;
    return 0;
}

enum status ref_linear_pack(void *context, const struct op_linear_pack *args)
{
    (void)context;
    memcpy(args->packed, args->weight, (size_t)(args->experts * args->n * args->k) * sizeof(float));
    return STATUS_OK;
}

enum status ref_linear(void *context, const struct op_linear *args)
{
    (void)context;
    const float *bias = args->bias;
    for (int64_t t = 0; t < args->rows; t++) {
        int64_t e = expert_of(args->expert_offset, args->experts, t);
        const float *x = (const float *)args->x + t * args->x_stride;
        const float *weight = (const float *)args->packed + e * args->n * args->k;
        float *y = (args->y ? (float *)args->y : args->y_float) + t * args->y_stride;
        for (int64_t n = 0; n < args->n; n++) {
            double sum = bias ? (double)bias[n] : 0.0;
            for (int64_t k = 0; k < args->k; k++)
                sum += (double)x[k] * (double)weight[n * args->k + k];
            y[n] = (float)sum;
        }
    }
    return STATUS_OK;
}

enum status ref_linear_backward_input(void *context, const struct op_linear_backward_input *args)
{
    (void)context;
    for (int64_t t = 0; t < args->rows; t++) {
        int64_t e = expert_of(args->expert_offset, args->experts, t);
        const float *dy = (const float *)args->dy + t * args->dy_stride;
        const float *weight = (const float *)args->weight + e * args->n * args->k;
        float *dx = (float *)args->dx + t * args->dx_stride;
        for (int64_t k = 0; k < args->k; k++) {
            double sum = args->accumulate ? (double)dx[k] : 0.0;
            for (int64_t n = 0; n < args->n; n++)
                sum += (double)dy[n] * (double)weight[n * args->k + k];
            dx[k] = (float)sum;
        }
    }
    return STATUS_OK;
}

enum status ref_linear_backward_weight(void *context, const struct op_linear_backward_weight *args)
{
    (void)context;
    const float *x = args->x, *dy = args->dy;
    for (int64_t e = 0; e < args->experts; e++) {
        int64_t first = args->expert_offset ? args->expert_offset[e] : 0;
        int64_t end = args->expert_offset ? args->expert_offset[e + 1] : args->rows;
        for (int64_t n = 0; n < args->n; n++)
            for (int64_t k = 0; k < args->k; k++) {
                float *dweight = &args->dweight[(e * args->n + n) * args->k + k];
                double sum = (double)*dweight;
                for (int64_t t = first; t < end; t++)
                    sum += (double)dy[t * args->dy_stride + n] * (double)x[t * args->x_stride + k];
                *dweight = (float)sum;
            }
    }
    for (int64_t n = 0; args->dbias && n < args->n; n++) {
        double sum = (double)args->dbias[n];
        for (int64_t t = 0; t < args->rows; t++)
            sum += (double)dy[t * args->dy_stride + n];
        args->dbias[n] = (float)sum;
    }
    return STATUS_OK;
}
