/* kernels/ref/op_embedding.c - table look-up and its scatter. */
#include "kernels/ref/ref.h"

#include "core/check.h"

static double scale_of(float scale)
{
    return scale != 0.0f ? (double)scale : 1.0;
}

enum status ref_embedding(void *context, const struct op_embedding *args)
{
    (void)context;
    const float *table = args->table;
    float *y = args->y;
    for (int64_t t = 0; t < args->rows; t++) {
        CHECK(args->ids[t] >= 0 && args->ids[t] < args->vocabulary);
        for (int64_t c = 0; c < args->channels; c++)
            y[t * args->channels + c] =
                (float)(scale_of(args->scale) * (double)table[args->ids[t] * args->channels + c]);
    }
    return STATUS_OK;
}

enum status ref_embedding_backward(void *context, const struct op_embedding_backward *args)
{
    (void)context;
    const float *dy = args->dy;
    for (int64_t v = 0; v < args->vocabulary; v++)
        for (int64_t c = 0; c < args->channels; c++) {
            double sum = (double)args->dtable[v * args->channels + c];
            for (int64_t t = 0; t < args->rows; t++)
                if (args->ids[t] == v)
                    sum += scale_of(args->scale) * (double)dy[t * args->channels + c];
            args->dtable[v * args->channels + c] = (float)sum;
        }
    return STATUS_OK;
}
