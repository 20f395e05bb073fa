/* kernels/ref/op_rope.c - rotary position embedding, rotate-half (RoFormer, arXiv:2104.09864 eq. 34). */
#include "kernels/ref/ref.h"

enum status ref_rope(void *context, const struct op_rope *args)
{
    (void)context;
    int64_t half = args->rotary / 2;
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t h = 0; h < args->heads; h++) {
            float *x = (float *)args->x + t * args->row_stride + h * args->head_size;
            for (int64_t j = 0; j < half; j++) {
                double cosine = (double)args->cosine[args->positions[t] * half + j];
                double sine = (double)args->sine[args->positions[t] * half + j];
                double first = (double)x[j], second = (double)x[j + half];
                if (args->inverse)
                    sine = -sine;
                x[j] = (float)(first * cosine - second * sine);
                x[j + half] = (float)(second * cosine + first * sine);
            }
        }
    return STATUS_OK;
}
