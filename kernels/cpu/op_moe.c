/* kernels/cpu/op_moe.c - routing to experts, and moving rows to and from them (M1-SPEC 1.6).
 *
 * Every sum has the order of the slots of its own row, so a row does not know which other rows share
 * its experts. The sort by expert is a counting sort: rows keep their order inside an expert. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "kernels/cpu/fused.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/spans.h"
#include "kernels/cpu/vector.h"

/* ---- routing ------------------------------------------------------------------------------------ */
static void softmax_row(const float *logits, float *probability, int64_t experts)
{
    float largest = logits[0];
    for (int64_t e = 1; e < experts; e++)
        largest = logits[e] > largest ? logits[e] : largest;
    float sum = 0;
    for (int64_t e = 0; e < experts; e++) {
        probability[e] = expf(logits[e] - largest);
        sum += probability[e];
    }
    for (int64_t e = 0; e < experts; e++)
        probability[e] /= sum;
}

/* A logit that is not larger than any other (a NaN) is taken last, so the indices are always valid. */
static void choose_row(const float *probability, int64_t experts, int64_t top, int32_t *expert)
{
    for (int64_t j = 0; j < top; j++) {
        int32_t best = -1;
        for (int32_t e = 0; e < experts; e++) {
            bool taken = false;
            for (int64_t i = 0; i < j; i++)
                taken = taken || expert[i] == e;
            if (!taken && (best < 0 || probability[e] > probability[best]))
                best = e;
        }
        expert[j] = best;
    }
}

static void weigh_row(const float *probability, const int32_t *expert, int64_t top, bool raw,
                      float *weight)
{
    float sum = 0;
    for (int64_t j = 0; j < top; j++)
        sum += probability[expert[j]];
    sum = raw ? 1.0F : sum;
    for (int64_t j = 0; j < top; j++)
        weight[j] = probability[expert[j]] / sum;
}

static void sort_by_expert(const struct op_moe_route *args)
{
    int64_t entries = args->rows * args->top;
    int32_t *offset = args->expert_offset;
    memset(offset, 0, (size_t)(args->experts + 1) * sizeof *offset);
    for (int64_t i = 0; i < entries; i++)
        offset[args->expert[i] + 1]++;
    for (int64_t e = 0; e < args->experts; e++)
        offset[e + 1] += offset[e];
    for (int64_t i = 0; i < entries; i++) /* offset[e] is moved on to the next free sorted row */
        args->sorted[i] = offset[args->expert[i]]++;
    for (int64_t e = args->experts; e > 0; e--)
        offset[e] = offset[e - 1];
    offset[0] = 0;
    for (int64_t i = 0; i < entries; i++)
        args->entry[args->sorted[i]] = (int32_t)i;
}

enum { EXPERTS_MAX = 1024 };

enum status CPU_NAME(moe_route)(void *context, const struct op_moe_route *args)
{
    (void)context;
    CHECK(args->experts > 0 && args->experts <= EXPERTS_MAX);
    CHECK(args->top > 0 && args->top <= args->experts);
    float scratch[EXPERTS_MAX];
    for (int64_t t = 0; t < args->rows; t++) {
        float *probability =
            args->probability != NULL ? args->probability + t * args->experts : scratch;
        softmax_row(args->logits + t * args->experts, probability, args->experts);
        choose_row(probability, args->experts, args->top, args->expert + t * args->top);
        weigh_row(probability, args->expert + t * args->top, args->top, args->raw,
                  args->weight + t * args->top);
    }
    sort_by_expert(args);
    return STATUS_OK;
}

enum status CPU_NAME(moe_route_backward)(void *context, const struct op_moe_route_backward *args)
{
    (void)context;
    for (int64_t t = 0; t < args->rows; t++) {
        const float *p = args->probability + t * args->experts;
        const float *w = args->weight + t * args->top;
        const float *dw = args->dweight + t * args->top;
        const int32_t *expert = args->expert + t * args->top;
        const float *g = args->aux_gradient;
        float *dz = (float *)args->dlogits + t * args->experts;
        float mean = 0; /* sum w dw */
        float aux = 0;  /* p . g */
        for (int64_t j = 0; j < args->top; j++)
            mean = fused(w[j], dw[j], mean);
        for (int64_t e = 0; g != NULL && e < args->experts; e++)
            aux = fused(p[e], g[e], aux);
        for (int64_t e = 0; e < args->experts; e++)
            dz[e] = g != NULL ? p[e] * (g[e] - aux) : 0.0F;
        for (int64_t e = 0; args->raw && e < args->experts; e++)
            dz[e] = fused(-p[e], mean, dz[e]);
        mean = args->raw ? 0.0F : mean;
        for (int64_t j = 0; j < args->top; j++)
            dz[expert[j]] = fused(w[j], dw[j] - mean, dz[expert[j]]);
    }
    return STATUS_OK;
}

/* ---- rows to experts ---------------------------------------------------------------------------- */
static void gather_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_moe_gather *args = argument;
    size_t bytes = (size_t)args->channels * sizeof(float);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)args->x + args->entry[i] / args->top * args->channels;
        memcpy((float *)args->y + i * args->channels, x, bytes);
    }
}

enum status CPU_NAME(moe_gather)(void *context, const struct op_moe_gather *args)
{
    spans_run(context, gather_rows, args, args->rows * args->top, args->channels);
    return STATUS_OK;
}

static void gather_backward_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_moe_gather_backward *args = argument;
    for (int64_t t = begin; t < end; t++) {
        const int32_t *sorted = args->sorted + t * args->top;
        float *dx = (float *)args->dx + t * args->channels;
        for (int64_t c = 0; c < args->channels; c += V16) {
            int64_t n = args->channels - c;
            v16 sum = args->accumulate ? v16_load_tail(dx + c, n, 0) : v16_set(0);
            for (int64_t j = 0; j < args->top; j++)
                sum +=
                    v16_load_tail((const float *)args->dy + sorted[j] * args->channels + c, n, 0);
            v16_store_tail(dx + c, sum, n);
        }
    }
}

enum status CPU_NAME(moe_gather_backward)(void *context, const struct op_moe_gather_backward *args)
{
    spans_run(context, gather_backward_rows, args, args->rows, args->channels);
    return STATUS_OK;
}

/* ---- rows from experts -------------------------------------------------------------------------- */
static void combine_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_moe_combine *args = argument;
    for (int64_t t = begin; t < end; t++) {
        const int32_t *sorted = args->sorted + t * args->top;
        const float *weight = args->weight + t * args->top;
        float *y = (float *)args->y + t * args->channels;
        for (int64_t c = 0; c < args->channels; c += V16) {
            int64_t n = args->channels - c;
            v16 sum = v16_set(0);
            for (int64_t j = 0; j < args->top; j++) {
                const float *x = (const float *)args->x + sorted[j] * args->channels + c;
                sum += v16_set(weight[j]) * v16_load_tail(x, n, 0);
            }
            v16_store_tail(y + c, sum, n);
        }
    }
}

enum status CPU_NAME(moe_combine)(void *context, const struct op_moe_combine *args)
{
    spans_run(context, combine_rows, args, args->rows, args->channels);
    return STATUS_OK;
}

/* An entry owns its sorted row, so dx may overwrite x once the dot product is taken. */
static void combine_backward_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_moe_combine_backward *args = argument;
    for (int64_t i = begin; i < end; i++) {
        const float *dy = (const float *)args->dy + i / args->top * args->channels;
        const float *x = (const float *)args->x + args->sorted[i] * args->channels;
        float *dx = (float *)args->dx + args->sorted[i] * args->channels;
        float weight = args->weight[i];
        v16 dot = v16_set(0);
        for (int64_t c = 0; c < args->channels; c += V16) {
            int64_t n = args->channels - c;
            v16 dy_c = v16_load_tail(dy + c, n, 0);
            dot += dy_c * v16_load_tail(x + c, n, 0);
            v16_store_tail(dx + c, v16_set(weight) * dy_c, n);
        }
        args->dweight[i] = v16_sum(dot);
    }
}

enum status CPU_NAME(moe_combine_backward)(void *context,
                                           const struct op_moe_combine_backward *args)
{
    spans_run(context, combine_backward_rows, args, args->rows * args->top, args->channels);
    return STATUS_OK;
}
