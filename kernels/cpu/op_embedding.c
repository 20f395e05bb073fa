/* kernels/cpu/op_embedding.c - rows of the embedding table, and their gradient.
 *
 * The gradient is added row by row in the order of the tokens; threads share the channels, never the
 * rows, so the number of threads does not change a bit. */
#include <string.h>

#include "core/check.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/spans.h"
#include "kernels/cpu/vector.h"

static void embedding_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_embedding *args = argument;
    size_t bytes = (size_t)args->channels * sizeof(float);
    for (int64_t t = begin; t < end; t++) {
        int64_t id = args->ids[t];
        CHECK(id >= 0 && id < args->vocabulary);
        float *y = (float *)args->y + t * args->channels;
        const float *from = (const float *)args->table + id * args->channels;
        if (args->scale == 0)
            memcpy(y, from, bytes);
        else
            for (int64_t c = 0; c < args->channels; c++)
                y[c] = args->scale * from[c];
    }
}

enum status CPU_NAME(embedding)(void *context, const struct op_embedding *args)
{
    spans_run(context, embedding_rows, args, args->rows, args->channels);
    return STATUS_OK;
}

/* begin and end count blocks of 16 channels. */
static void embedding_backward_channels(const void *argument, int64_t begin, int64_t end)
{
    const struct op_embedding_backward *args = argument;
    const v16 scale = v16_set(args->scale);
    for (int64_t t = 0; t < args->rows; t++) {
        int64_t id = args->ids[t];
        CHECK(id >= 0 && id < args->vocabulary);
        const float *dy = (const float *)args->dy + t * args->channels;
        float *dtable = args->dtable + id * args->channels;
        for (int64_t c = begin * V16; c < end * V16; c += V16) {
            int64_t n = args->channels - c;
            v16 old = v16_load_tail(dtable + c, n, 0), more = v16_load_tail(dy + c, n, 0);
            v16_store_tail(dtable + c, args->scale == 0 ? old + more : old + scale * more, n);
        }
    }
}

enum status CPU_NAME(embedding_backward)(void *context, const struct op_embedding_backward *args)
{
    int64_t blocks = (args->channels + V16 - 1) / V16;
    spans_run(context, embedding_backward_channels, args, blocks, args->rows * V16);
    return STATUS_OK;
}
