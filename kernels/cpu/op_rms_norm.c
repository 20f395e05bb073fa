/* kernels/cpu/op_rms_norm.c - RMSNorm (Zhang and Sennrich 2019) and its gradient.
 *
 * Statistics of a vector are summed in f64 in a fixed shape: sixteen lanes over the channels, then a
 * tree. The square of an f32 is exact in f64, so r carries one rounding. The gain's gradient adds rows
 * in order; threads share its channels. */
#include <math.h>

#include "kernels/cpu/fused.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/spans.h"
#include "kernels/cpu/vector.h"

static double tree(double lanes[V16])
{
    for (int width = V16 / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

static double dot(const float *a, const float *b, int64_t channels)
{
    double lanes[V16] = {0};
    for (int64_t c = 0; c + V16 <= channels; c += V16)
        for (int i = 0; i < V16; i++)
            lanes[i] += (double)a[c + i] * (double)b[c + i];
    for (int64_t c = channels - channels % V16; c < channels; c++)
        lanes[c % V16] += (double)a[c] * (double)b[c];
    return tree(lanes);
}

/* What the normed value is multiplied by: chosen, not added, so that a plain gain keeps its bits. */
static inline float factor(float gain, bool one_plus)
{
    return one_plus ? 1 + gain : gain;
}

static void rms_norm_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_rms_norm *args = argument;
    const float *gain = args->gain;
    const bool one_plus = args->one_plus;
    for (int64_t t = begin; t < end; t++) {
        for (int64_t g = 0; g < args->groups; g++) {
            const float *x = (const float *)args->x + t * args->x_stride + g * args->channels;
            float *y = (float *)args->y + t * args->y_stride + g * args->channels;
            double mean = dot(x, x, args->channels) / (double)args->channels;
            float r = (float)(1 / sqrt(mean + (double)args->eps));
            for (int64_t c = 0; c < args->channels; c++)
                y[c] = factor(gain[c], one_plus) * (x[c] * r);
            if (args->r != NULL)
                args->r[t * args->groups + g] = r;
        }
    }
}

enum status CPU_NAME(rms_norm)(void *context, const struct op_rms_norm *args)
{
    spans_run(context, rms_norm_rows, args, args->rows, 2 * args->groups * args->channels);
    return STATUS_OK;
}

/* dgain of blocks of 16 channels */
static void gain_channels(const void *argument, int64_t begin, int64_t end)
{
    const struct op_rms_norm_backward *args = argument;
    for (int64_t block = begin; block < end; block++) {
        int64_t c = block * V16;
        int64_t n = args->channels - c < V16 ? args->channels - c : V16;
        double sum[V16] = {0};
        for (int64_t t = 0; t < args->rows; t++) {
            for (int64_t g = 0; g < args->groups; g++) {
                int64_t at = g * args->channels + c;
                const float *x = (const float *)args->x + t * args->x_stride + at;
                const float *dy = (const float *)args->dy + t * args->dy_stride + at;
                float r = args->r[t * args->groups + g];
                for (int64_t i = 0; i < n; i++)
                    sum[i] += (double)dy[i] * (double)(x[i] * r);
            }
        }
        for (int64_t i = 0; i < n; i++)
            args->dgain[c + i] = (float)((double)args->dgain[c + i] + sum[i]);
    }
}

/* dx of one vector; dx may be dy, so each channel is read before it is written. */
static void backward_vector(const float *x, const float *gain, bool one_plus, const float *dy,
                            float r, float *dx, int64_t channels)
{
    double lanes[V16] = {0};
    for (int64_t c = 0; c + V16 <= channels; c += V16)
        for (int i = 0; i < V16; i++)
            lanes[i] += (double)(dy[c + i] * factor(gain[c + i], one_plus)) * (double)x[c + i];
    for (int64_t c = channels - channels % V16; c < channels; c++)
        lanes[c % V16] += (double)(dy[c] * factor(gain[c], one_plus)) * (double)x[c];
    float mean = (float)(tree(lanes) * (double)r / (double)channels); /* of dxh * xh */
    for (int64_t c = 0; c < channels; c++) {
        float xh = x[c] * r;
        dx[c] = r * fused(dy[c], factor(gain[c], one_plus), -(xh * mean));
    }
}

static void backward_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_rms_norm_backward *args = argument;
    for (int64_t t = begin; t < end; t++) {
        for (int64_t g = 0; g < args->groups; g++) {
            int64_t at = g * args->channels;
            const float *x = (const float *)args->x + t * args->x_stride + at;
            const float *dy = (const float *)args->dy + t * args->dy_stride + at;
            float *dx = (float *)args->dx + t * args->dx_stride + at;
            backward_vector(x, args->gain, args->one_plus, dy, args->r[t * args->groups + g], dx,
                            args->channels);
        }
    }
}

enum status CPU_NAME(rms_norm_backward)(void *context, const struct op_rms_norm_backward *args)
{
    int64_t vectors = args->rows * args->groups;
    /* before dx, which may overwrite dy */
    spans_run(context, gain_channels, args, (args->channels + V16 - 1) / V16, 2 * V16 * vectors);
    spans_run(context, backward_rows, args, args->rows, 2 * args->groups * args->channels);
    return STATUS_OK;
}
