#include "kernels/ref/ref.h"

enum status ref_sample(void *context, const struct op_sample *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "sample");
}

