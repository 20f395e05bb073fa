/* kernels/ref/op_lightning.c - lightning attention (M1-SPEC 1.4; arXiv:2405.17381 eq. 3).
 *
 * A segment that starts at position 0 takes the plain decayed sum over all earlier tokens, so the
 * chunk formula of the other backends is judged by something else than itself. A segment that
 * continues has only the state and the buffers, and must use the chunk formula. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

#include "core/check.h"

static double dot(const float *a, const float *b, int64_t size)
{
    double sum = 0.0;
    for (int64_t d = 0; d < size; d++)
        sum += (double)a[d] * (double)b[d];
    return sum;
}

/* S' = exp(-s chunk) S + sum_j exp(-s (chunk - 1 - j)) k_j^T v_j */
static void state_advance(float *state, const float *k, const float *v, double slope, int64_t chunk,
                          int64_t size)
{
    for (int64_t a = 0; a < size; a++)
        for (int64_t b = 0; b < size; b++) {
            double sum = exp(-slope * (double)chunk) * (double)state[a * size + b];
            for (int64_t j = 0; j < chunk; j++)
                sum += exp(-slope * (double)(chunk - 1 - j)) * (double)k[j * size + a] *
                       (double)v[j * size + b];
            state[a * size + b] = (float)sum;
        }
}

/* Row at offset i of its chunk: o = exp(-s (i+1)) q S + sum_{j<=i} exp(-s (i-j)) (q . k_j) v_j. */
static void row_from_state(const float *q, const float *state, const float *k, const float *v,
                           double slope, int64_t i, int64_t size, float *y)
{
    for (int64_t b = 0; b < size; b++) {
        double past = 0.0, sum = 0.0;
        for (int64_t a = 0; a < size; a++)
            past += (double)q[a] * (double)state[a * size + b];
        for (int64_t j = 0; j <= i; j++)
            sum += exp(-slope * (double)(i - j)) * dot(q, k + j * size, size) *
                   (double)v[j * size + b];
        y[b] = (float)(exp(-slope * (double)(i + 1)) * past + sum);
    }
}

/* o_t = sum_{j<=t} exp(-s (t - j)) (q_t . k_j) v_j; q, k, v point at the head in the first row. */
static void row_direct(const float *q, const float *k, const float *v, int64_t stride, double slope,
                       int64_t t, int64_t size, float *y)
{
    for (int64_t b = 0; b < size; b++) {
        double sum = 0.0;
        for (int64_t j = 0; j <= t; j++)
            sum += exp(-slope * (double)(t - j)) * dot(q + t * stride, k + j * stride, size) *
                   (double)v[j * stride + b];
        y[b] = (float)sum;
    }
}

static void segment_forward(const struct op_lightning *args, const struct op_segment *segment,
                            int64_t head)
{
    int64_t size = args->head_size, chunk = args->chunk, stride = args->row_stride;
    int64_t base = segment->row * stride + head * args->head_stride;
    const float *q = (const float *)args->q + base;
    const float *k = (const float *)args->k + base;
    const float *v = (const float *)args->v + base;
    int64_t cell = segment->slot * args->heads + head;
    float *state = (float *)args->state + cell * size * size;
    float *k_buffer = (float *)args->k_buffer + cell * chunk * size;
    float *v_buffer = (float *)args->v_buffer + cell * chunk * size;
    double slope = (double)args->slopes[head];
    if (segment->position == 0)
        memset(state, 0, (size_t)(size * size) * sizeof *state);
    for (int64_t t = 0; t < segment->count; t++) {
        int64_t i = (segment->position + t) % chunk;
        float *y = (float *)args->y + ((segment->row + t) * args->heads + head) * size;
        memcpy(k_buffer + i * size, k + t * stride, (size_t)size * sizeof *k);
        memcpy(v_buffer + i * size, v + t * stride, (size_t)size * sizeof *v);
        if (segment->position == 0)
            row_direct(q, k, v, stride, slope, t, size, y);
        else
            row_from_state(q + t * stride, state, k_buffer, v_buffer, slope, i, size, y);
        if (i == chunk - 1)
            state_advance(state, k_buffer, v_buffer, slope, chunk, size);
    }
}

enum status ref_lightning(void *context, const struct op_lightning *args)
{
    (void)context;
    for (int32_t i = 0; i < args->segment_count; i++)
        for (int64_t head = 0; head < args->heads; head++)
            segment_forward(args, &args->segments[i], head);
    return STATUS_OK;
}

/* dq_t = sum_{j<=t} w (dy_t . v_j) k_j, dk_j = sum_{t>=j} w (dy_t . v_j) q_t,
 * dv_j = sum_{t>=j} w (q_t . k_j) dy_t with w = exp(-s (t - j)). */
static void segment_backward(const struct op_lightning_backward *args,
                             const struct op_segment *segment, int64_t head)
{
    int64_t size = args->head_size, stride = args->row_stride, count = segment->count;
    int64_t base = segment->row * stride + head * args->head_stride;
    int64_t dy_stride = args->heads * size;
    const float *q = (const float *)args->q + base;
    const float *k = (const float *)args->k + base;
    const float *v = (const float *)args->v + base;
    const float *dy = (const float *)args->dy + segment->row * dy_stride + head * size;
    double slope = (double)args->slopes[head];
    for (int64_t t = 0; t < count; t++)
        for (int64_t d = 0; d < size; d++) {
            double dq = 0.0, dk = 0.0, dv = 0.0;
            for (int64_t j = 0; j <= t; j++)
                dq += exp(-slope * (double)(t - j)) *
                      dot(dy + t * dy_stride, v + j * stride, size) * (double)k[j * stride + d];
            for (int64_t l = t; l < count; l++) {
                double w = exp(-slope * (double)(l - t));
                dk += w * dot(dy + l * dy_stride, v + t * stride, size) * (double)q[l * stride + d];
                dv += w * dot(q + l * stride, k + t * stride, size) * (double)dy[l * dy_stride + d];
            }
            ((float *)args->dq)[base + t * stride + d] = (float)dq;
            ((float *)args->dk)[base + t * stride + d] = (float)dk;
            ((float *)args->dv)[base + t * stride + d] = (float)dv;
        }
}

enum status ref_lightning_backward(void *context, const struct op_lightning_backward *args)
{
    (void)context;
    for (int32_t i = 0; i < args->segment_count; i++) {
        CHECK(args->segments[i].position == 0);
        for (int64_t head = 0; head < args->heads; head++)
            segment_backward(args, &args->segments[i], head);
    }
    return STATUS_OK;
}
