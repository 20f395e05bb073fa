/* kernels/ref/op_fused.c - ops that are one launch on a GPU: here their parts one after another. */
#include <string.h>

#include "core/check.h"
#include "kernels/ref/ref.h"

enum status ref_residual_norm(void *context, const struct op_residual_norm *args)
{
    const struct op_axpby sum = {.count = args->rows * args->channels,
                                 .alpha = args->alpha,
                                 .beta = args->beta,
                                 .a = args->a,
                                 .b = args->b,
                                 .y = args->h};
    TRY(ref_axpby(context, &sum));
    const struct op_rms_norm norm = {.rows = args->rows,
                                     .groups = 1,
                                     .channels = args->channels,
                                     .x_stride = args->channels,
                                     .y_stride = args->channels,
                                     .eps = args->eps,
                                     .x = args->h,
                                     .gain = args->gain,
                                     .y = args->y,
                                     .r = args->r,
                                     .one_plus = args->one_plus};
    return ref_rms_norm(context, &norm);
}

static enum status norm_heads(void *context, const struct op_attention_prepare *args, int64_t first,
                              int64_t heads, const weight_t *gain, float *r)
{
    float *x = (float *)args->y + first * args->head_size;
    const struct op_rms_norm norm = {.rows = args->rows,
                                     .groups = heads,
                                     .channels = args->head_size,
                                     .x_stride = args->row_stride,
                                     .y_stride = args->row_stride,
                                     .eps = args->eps,
                                     .x = x,
                                     .gain = gain,
                                     .y = x,
                                     .r = r,
                                     .one_plus = args->one_plus};
    return ref_rms_norm(context, &norm);
}

enum status ref_attention_prepare(void *context, const struct op_attention_prepare *args)
{
    if (args->y != args->x && args->rows > 0)
        memcpy(args->y, args->x, (size_t)(args->rows * args->row_stride) * sizeof(float));
    if (args->q_gain != NULL) {
        TRY(norm_heads(context, args, 0, args->heads, args->q_gain, args->r_q));
        TRY(norm_heads(context, args, args->heads, args->kv_heads, args->k_gain, args->r_k));
    }
    const struct op_rope rope = {.rows = args->rows,
                                 .heads = args->heads + args->kv_heads,
                                 .head_size = args->head_size,
                                 .rotary = args->rotary,
                                 .row_stride = args->row_stride,
                                 .positions = args->positions,
                                 .cosine = args->cosine,
                                 .sine = args->sine,
                                 .x = args->y};
    if (args->rotary > 0)
        TRY(ref_rope(context, &rope));
    if (args->pages == NULL)
        return STATUS_OK;
    float *k = (float *)args->y + args->heads * args->head_size;
    const struct op_kv_write write = {.rows = args->rows,
                                      .kv_heads = args->kv_heads,
                                      .head_size = args->head_size,
                                      .row_stride = args->row_stride,
                                      .segments = args->segments,
                                      .segment_count = args->segment_count,
                                      .k = k,
                                      .v = k + args->kv_heads * args->head_size,
                                      .pages = args->pages,
                                      .page_table = args->page_table,
                                      .pages_per_slot = args->pages_per_slot};
    return ref_kv_write(context, &write);
}

enum status ref_split(void *context, const struct op_split *args)
{
    (void)context;
    CHECK(args->mid == NULL);
    if (args->hi != NULL && args->count > 0)
        memcpy(args->hi, args->x, (size_t)args->count * sizeof(float));
    return STATUS_OK;
}

enum status ref_add_float(void *context, const struct op_add_float *args)
{
    (void)context;
    for (int64_t i = 0; i < args->count; i++)
        args->y[i] += args->x[i];
    return STATUS_OK;
}
