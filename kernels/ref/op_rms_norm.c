/* kernels/ref/op_rms_norm.c - RMSNorm (Zhang and Sennrich 2019, eq. 4) and its gradient. */
#include "kernels/ref/ref.h"

#include <math.h>

static double factor(const float *gain, int64_t c, bool one_plus)
{
    return one_plus ? 1.0 + (double)gain[c] : (double)gain[c];
}

enum status ref_rms_norm(void *context, const struct op_rms_norm *args)
{
    (void)context;
    const float *gain = args->gain;
    int64_t channels = args->channels;
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t g = 0; g < args->groups; g++) {
            const float *x = (const float *)args->x + t * args->x_stride + g * channels;
            float *y = (float *)args->y + t * args->y_stride + g * channels;
            double squares = 0.0;
            for (int64_t c = 0; c < channels; c++)
                squares += (double)x[c] * (double)x[c];
            double r = 1.0 / sqrt(squares / (double)channels + (double)args->eps);
            for (int64_t c = 0; c < channels; c++)
                y[c] = (float)(factor(gain, c, args->one_plus) * ((double)x[c] * r));
            if (args->r)
                args->r[t * args->groups + g] = (float)r;
        }
    return STATUS_OK;
}

/* dgain of one channel; reads dy before dx may overwrite it. */
static double gain_gradient(const struct op_rms_norm_backward *args, int64_t c)
{
    double sum = (double)args->dgain[c];
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t g = 0; g < args->groups; g++) {
            int64_t at = g * args->channels + c;
            double x = (double)((const float *)args->x)[t * args->x_stride + at];
            double dy = (double)((const float *)args->dy)[t * args->dy_stride + at];
            sum += dy * x * (double)args->r[t * args->groups + g];
        }
    return sum;
}

enum status ref_rms_norm_backward(void *context, const struct op_rms_norm_backward *args)
{
    (void)context;
    const float *gain = args->gain;
    int64_t channels = args->channels;
    for (int64_t c = 0; c < channels; c++)
        args->dgain[c] = (float)gain_gradient(args, c);
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t g = 0; g < args->groups; g++) {
            const float *x = (const float *)args->x + t * args->x_stride + g * channels;
            const float *dy = (const float *)args->dy + t * args->dy_stride + g * channels;
            float *dx = (float *)args->dx + t * args->dx_stride + g * channels;
            double r = (double)args->r[t * args->groups + g], dot = 0.0;
            for (int64_t c = 0; c < channels; c++)
                dot += (double)dy[c] * factor(gain, c, args->one_plus) * (double)x[c] * r;
            for (int64_t c = 0; c < channels; c++) {
                double dxh = (double)dy[c] * factor(gain, c, args->one_plus);
                double xh = (double)x[c] * r;
                dx[c] = (float)(r * (dxh - xh * dot / (double)channels));
            }
        }
    return STATUS_OK;
}
