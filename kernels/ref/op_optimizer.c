/* kernels/ref/op_optimizer.c - AdamW (arXiv:1711.05101 algorithm 2) and the gradient's norm. */
#include "kernels/ref/ref.h"

#include <math.h>

enum status ref_adamw(void *context, const struct op_adamw *args)
{
    (void)context;
    double correct_m = 1.0 - pow(args->beta1, (double)args->update);
    double correct_v = 1.0 - pow(args->beta2, (double)args->update);
    for (int64_t i = 0; i < args->count; i++) {
        double g = (double)args->grad[i] * args->grad_scale, p = (double)args->parameter[i];
        double m = args->beta1 * (double)args->m[i] + (1.0 - args->beta1) * g;
        double v = args->beta2 * (double)args->v[i] + (1.0 - args->beta2) * g * g;
        p = p - args->lr * args->weight_decay * p -
            args->lr * (m / correct_m) / (sqrt(v / correct_v) + args->eps);
        args->m[i] = (float)m;
        args->v[i] = (float)v;
        args->parameter[i] = (float)p;
        if (args->copy)
            ((float *)args->copy)[i] = (float)p;
    }
    return STATUS_OK;
}

enum status ref_grad_norm(void *context, const struct op_grad_norm *args)
{
    (void)context;
    *args->sum_squares = 0.0;
    *args->non_finite = 0;
    for (int64_t i = 0; i < args->count; i++) {
        *args->sum_squares += (double)args->grad[i] * (double)args->grad[i];
        *args->non_finite += !isfinite(args->grad[i]);
    }
    return STATUS_OK;
}
