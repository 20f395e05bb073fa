/* kernels/cpu/op_rope.c - rotary positions (M1-SPEC 1.5), in place.
 *
 * Each pair is rotated by the angle of its row's position, with one fixed order of the two products. */
#include "kernels/cpu/fused.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/spans.h"
#include "kernels/cpu/vector.h"

/* (a, b) -> (a cos - b sin, b cos + a sin) over `half` pairs */
static void rotate(float *a, float *b, const float *cosine, const float *sine, float sign,
                   int64_t half)
{
    for (int64_t j = 0; j < half; j += V16) {
        int64_t n = half - j;
        v16 a_j = v16_load_tail(a + j, n, 0);
        v16 b_j = v16_load_tail(b + j, n, 0);
        v16 cos_j = v16_load_tail(cosine + j, n, 0);
        v16 sin_j = v16_set(sign) * v16_load_tail(sine + j, n, 0);
        v16_store_tail(a + j, v16_fused(a_j, cos_j, -(b_j * sin_j)), n);
        v16_store_tail(b + j, v16_fused(b_j, cos_j, a_j * sin_j), n);
    }
}

static void rope_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_rope *args = argument;
    int64_t half = args->rotary / 2;
    float sign = args->inverse ? -1.0F : 1.0F;
    for (int64_t t = begin; t < end; t++) {
        const float *cosine = args->cosine + args->positions[t] * half;
        const float *sine = args->sine + args->positions[t] * half;
        for (int64_t h = 0; h < args->heads; h++) {
            float *x = (float *)args->x + t * args->row_stride + h * args->head_size;
            rotate(x, x + half, cosine, sine, sign, half);
        }
    }
}

enum status CPU_NAME(rope)(void *context, const struct op_rope *args)
{
    spans_run(context, rope_rows, args, args->rows, args->heads * args->rotary);
    return STATUS_OK;
}
