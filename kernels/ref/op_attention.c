/* kernels/ref/op_attention.c - causal softmax attention with grouped queries over pages of keys and
 * values; the gradient recomputes the softmax from q and k and uses neither y nor lse. */
#include "kernels/ref/ref.h"

#include <math.h>

#include "core/check.h"
#include "core/memory.h"

#define TILE REF_KV_TILE

/* The page that holds `position` of `slot`. */
static const float *page_of(const void *pages, const int32_t *page_table, int32_t pages_per_slot,
                            int64_t page_floats, int32_t slot, int64_t position)
{
    int64_t page = page_table[(int64_t)slot * pages_per_slot + position / TILE];
    return (const float *)pages + page * page_floats;
}

enum status ref_kv_write(void *context, const struct op_kv_write *args)
{
    (void)context;
    int64_t size = args->head_size, heads = args->kv_heads, page_floats = 2 * heads * size * TILE;
    for (int32_t i = 0; i < args->segment_count; i++) {
        const struct op_segment *segment = &args->segments[i];
        for (int64_t r = 0; r < segment->count; r++) {
            int64_t position = segment->position + r, token = position % TILE;
            float *page = (float *)page_of(args->pages, args->page_table, args->pages_per_slot,
                                           page_floats, segment->slot, position);
            for (int64_t g = 0; g < heads; g++)
                for (int64_t d = 0; d < size; d++) {
                    int64_t from = (segment->row + r) * args->row_stride + g * size + d;
                    page[(g * size + d) * TILE + token] = ((const float *)args->k)[from];
                    page[heads * size * TILE + (g * TILE + token) * size + d] =
                        ((const float *)args->v)[from];
                }
        }
    }
    return STATUS_OK;
}

static double scale_of(float scale, int64_t size)
{
    return scale != 0.0f ? (double)scale : 1.0 / sqrt((double)size);
}

/* The first position that a row at `position` attends to. */
static int64_t first_seen(int64_t position, int32_t window)
{
    return window > 0 && position >= window ? position - window + 1 : 0;
}

/* One query row and head: weights over the positions first .. last, then the mean of the values. */
static void attend(const struct op_attention *args, const struct op_segment *segment, int64_t row,
                   int64_t head, double *score)
{
    int64_t size = args->head_size, g = head / (args->heads / args->kv_heads);
    int64_t page_floats = 2 * args->kv_heads * size * TILE;
    int64_t last = segment->position + row - segment->row, first = first_seen(last, args->window);
    const float *q = (const float *)args->q + row * args->q_stride + head * size;
    float *y = (float *)args->y + row * args->y_stride + head * size;
    double maximum = -INFINITY, sum = 0.0;
    for (int64_t p = first; p <= last; p++) {
        const float *page = page_of(args->pages, args->page_table, args->pages_per_slot,
                                    page_floats, segment->slot, p);
        score[p] = 0.0;
        for (int64_t d = 0; d < size; d++)
            score[p] += (double)q[d] * (double)page[(g * size + d) * TILE + p % TILE];
        score[p] *= scale_of(args->scale, size);
        maximum = fmax(maximum, score[p]);
    }
    for (int64_t p = first; p <= last; p++)
        sum += exp(score[p] - maximum);
    for (int64_t d = 0; d < size; d++) {
        double mean = 0.0;
        for (int64_t p = first; p <= last; p++) {
            const float *page = page_of(args->pages, args->page_table, args->pages_per_slot,
                                        page_floats, segment->slot, p);
            const float *v = page + (args->kv_heads * size + g * size) * TILE + (p % TILE) * size;
            mean += exp(score[p] - maximum) / sum * (double)v[d];
        }
        y[d] = (float)mean;
    }
    if (args->lse)
        args->lse[row * args->heads + head] = (float)(maximum + log(sum));
}

enum status ref_attention(void *context, const struct op_attention *args)
{
    (void)context;
    for (int32_t i = 0; i < args->segment_count; i++) {
        const struct op_segment *segment = &args->segments[i];
        double *score = memory_array((size_t)(segment->position + segment->count), sizeof *score);
        if (!score)
            return FAIL(STATUS_NO_MEMORY, "scores of %d positions", segment->count);
        for (int64_t row = segment->row; row < segment->row + segment->count; row++)
            for (int64_t head = 0; head < args->heads; head++)
                attend(args, segment, row, head, score);
        memory_free(score);
    }
    return STATUS_OK;
}

static double dot(const float *a, const float *b, int64_t size)
{
    double sum = 0.0;
    for (int64_t d = 0; d < size; d++)
        sum += (double)a[d] * (double)b[d];
    return sum;
}

/* One query row and head, keys from row `first` on: P = softmax(s), dP_j = dy . v_j, dS = P (dP - sum P dP),
 * dq += scale dS k, dk += scale dS q, dv += P dy. The gradients are double buffers. */
static void attend_backward(const struct op_attention_backward *args, int64_t first, int64_t row,
                            int64_t head, double *gradient[3], double *weight)
{
    int64_t size = args->head_size, stride = args->row_stride;
    int64_t key = head / (args->heads / args->kv_heads) * size, count = row - first + 1;
    const float *q = (const float *)args->q + row * stride + head * size;
    const float *dy = (const float *)args->dy + row * args->y_stride + head * size;
    const float *k = (const float *)args->k + first * stride + key;
    const float *v = (const float *)args->v + first * stride + key;
    double maximum = -INFINITY, sum = 0.0, mean = 0.0, scale = scale_of(args->scale, size);
    for (int64_t j = 0; j < count; j++) {
        weight[j] = dot(q, k + j * stride, size) * scale;
        maximum = fmax(maximum, weight[j]);
    }
    for (int64_t j = 0; j < count; j++)
        sum += weight[j] = exp(weight[j] - maximum);
    for (int64_t j = 0; j < count; j++)
        mean += (weight[j] /= sum) * dot(dy, v + j * stride, size);
    for (int64_t j = 0; j < count; j++) {
        double ds = weight[j] * (dot(dy, v + j * stride, size) - mean) * scale;
        int64_t at_query = (row * args->heads + head) * size;
        int64_t at_key = (first + j) * args->kv_heads * size + key;
        for (int64_t d = 0; d < size; d++) {
            gradient[0][at_query + d] += ds * (double)k[j * stride + d];
            gradient[1][at_key + d] += ds * (double)q[d];
            gradient[2][at_key + d] += weight[j] * (double)dy[d];
        }
    }
}

static void store_rows(float *to, int64_t stride, const double *from, int64_t rows, int64_t width)
{
    for (int64_t t = 0; t < rows; t++)
        for (int64_t c = 0; c < width; c++)
            to[t * stride + c] = (float)from[t * width + c];
}

enum status ref_attention_backward(void *context, const struct op_attention_backward *args)
{
    (void)context;
    int64_t size = args->head_size, rows = args->rows;
    size_t queries = (size_t)(rows * args->heads * size),
           keys = (size_t)(rows * args->kv_heads * size);
    double *scratch = memory_array(queries + 2 * keys + (size_t)rows, sizeof *scratch);
    if (!scratch)
        return FAIL(STATUS_NO_MEMORY, "gradients of %zu queries", queries);
    double *gradient[3] = {scratch, scratch + queries, scratch + queries + keys};
    for (int32_t i = 0; i < args->segment_count; i++) {
        const struct op_segment *segment = &args->segments[i];
        CHECK(segment->position == 0);
        for (int64_t row = segment->row; row < segment->row + segment->count; row++)
            for (int64_t head = 0; head < args->heads; head++)
                attend_backward(args, segment->row + first_seen(row - segment->row, args->window),
                                row, head, gradient, gradient[2] + keys);
    }
    store_rows(args->dq, args->row_stride, gradient[0], rows, args->heads * size);
    store_rows(args->dk, args->row_stride, gradient[1], rows, args->kv_heads * size);
    store_rows(args->dv, args->row_stride, gradient[2], rows, args->kv_heads * size);
    memory_free(scratch);
    return STATUS_OK;
}
