/* kernels/ref/op_moe.c - routing, sorting by expert, and the weighted sum back (M1-SPEC 1.6). */
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdbool.h>

/* Softmax of one row of logits, one expert. Rounded to f32: ties are ties of the f32 values. */
static float probability_of(const float *logits, int64_t experts, int64_t e)
{
    double maximum = -INFINITY, sum = 0.0;
    for (int64_t i = 0; i < experts; i++)
        maximum = fmax(maximum, (double)logits[i]);
    for (int64_t i = 0; i < experts; i++)
        sum += exp((double)logits[i] - maximum);
    return (float)(exp((double)logits[e] - maximum) / sum);
}

static bool taken(const int32_t *expert, int64_t count, int64_t e)
{
    for (int64_t j = 0; j < count; j++)
        if (expert[j] == e)
            return true;
    return false;
}

static void route_row(const struct op_moe_route *args, int64_t t)
{
    const float *logits = args->logits + t * args->experts;
    int32_t *expert = args->expert + t * args->top;
    double sum = 0.0;
    for (int64_t j = 0; j < args->top; j++) {
        int32_t best = -1;
        for (int32_t e = 0; e < args->experts; e++)
            if (!taken(expert, j, e) &&
                (best < 0 || probability_of(logits, args->experts, e) >
                                 probability_of(logits, args->experts, best)))
                best = e;
        expert[j] = best;
        sum += (double)probability_of(logits, args->experts, best);
    }
    sum = args->raw ? 1.0 : sum;
    for (int64_t j = 0; j < args->top; j++)
        args->weight[t * args->top + j] =
            (float)((double)probability_of(logits, args->experts, expert[j]) / sum);
    for (int64_t e = 0; args->probability && e < args->experts; e++)
        args->probability[t * args->experts + e] = probability_of(logits, args->experts, e);
}

enum status ref_moe_route(void *context, const struct op_moe_route *args)
{
    (void)context;
    for (int64_t t = 0; t < args->rows; t++)
        route_row(args, t);
    int32_t next = 0, entries = (int32_t)(args->rows * args->top);
    for (int64_t e = 0; e < args->experts; e++) {
        args->expert_offset[e] = next;
        for (int32_t entry = 0; entry < entries; entry++)
            if (args->expert[entry] == e) {
                args->entry[next] = entry;
                args->sorted[entry] = next++;
            }
    }
    args->expert_offset[args->experts] = next;
    return STATUS_OK;
}

enum status ref_moe_route_backward(void *context, const struct op_moe_route_backward *args)
{
    (void)context;
    int64_t experts = args->experts, top = args->top;
    for (int64_t t = 0; t < args->rows; t++) {
        const float *p = args->probability + t * experts, *g = args->aux_gradient;
        const float *w = args->weight + t * top, *dw = args->dweight + t * top;
        double mean = 0.0, aux_mean = 0.0;
        for (int64_t j = 0; j < top; j++)
            mean += (double)w[j] * (double)dw[j];
        for (int64_t e = 0; g && e < experts; e++)
            aux_mean += (double)p[e] * (double)g[e];
        for (int64_t e = 0; e < experts; e++) {
            double d = g ? (double)p[e] * ((double)g[e] - aux_mean) : 0.0;
            d -= args->raw ? (double)p[e] * mean : 0.0;
            for (int64_t j = 0; j < top; j++)
                if (args->expert[t * top + j] == e)
                    d += (double)w[j] * ((double)dw[j] - (args->raw ? 0.0 : mean));
            ((float *)args->dlogits)[t * experts + e] = (float)d;
        }
    }
    return STATUS_OK;
}

enum status ref_moe_gather(void *context, const struct op_moe_gather *args)
{
    (void)context;
    const float *x = args->x;
    float *y = args->y;
    for (int64_t i = 0; i < args->rows * args->top; i++)
        for (int64_t c = 0; c < args->channels; c++)
            y[i * args->channels + c] = x[args->entry[i] / args->top * args->channels + c];
    return STATUS_OK;
}

enum status ref_moe_gather_backward(void *context, const struct op_moe_gather_backward *args)
{
    (void)context;
    const float *dy = args->dy;
    float *dx = args->dx;
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t c = 0; c < args->channels; c++) {
            double sum = args->accumulate ? (double)dx[t * args->channels + c] : 0.0;
            for (int64_t j = 0; j < args->top; j++)
                sum += (double)dy[args->sorted[t * args->top + j] * args->channels + c];
            dx[t * args->channels + c] = (float)sum;
        }
    return STATUS_OK;
}

enum status ref_moe_combine(void *context, const struct op_moe_combine *args)
{
    (void)context;
    const float *x = args->x;
    float *y = args->y;
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t c = 0; c < args->channels; c++) {
            double sum = 0.0;
            for (int64_t j = 0; j < args->top; j++)
                sum += (double)args->weight[t * args->top + j] *
                       (double)x[args->sorted[t * args->top + j] * args->channels + c];
            y[t * args->channels + c] = (float)sum;
        }
    return STATUS_OK;
}

enum status ref_moe_combine_backward(void *context, const struct op_moe_combine_backward *args)
{
    (void)context;
    const float *x = args->x, *dy = args->dy;
    float *dx = args->dx;
    for (int64_t i = 0; i < args->rows * args->top; i++) {
        int64_t from = args->sorted[i] * args->channels, to = i / args->top * args->channels;
        double sum = 0.0;
        for (int64_t c = 0; c < args->channels; c++) {
            sum += (double)dy[to + c] * (double)x[from + c];
            dx[from + c] = (float)((double)args->weight[i] * (double)dy[to + c]);
        }
        args->dweight[i] = (float)sum;
    }
    return STATUS_OK;
}
