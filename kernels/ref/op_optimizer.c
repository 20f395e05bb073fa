#include "kernels/ref/ref.h"

enum status ref_adamw(void *context, const struct op_adamw *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "adamw");
}

enum status ref_grad_norm(void *context, const struct op_grad_norm *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "grad_norm");
}

