#include "kernels/ref/ref.h"

enum status ref_lm_head(void *context, const struct op_lm_head *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "lm_head");
}

enum status ref_lm_head_backward(void *context, const struct op_lm_head_backward *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "lm_head_backward");
}

