#include "kernels/ref/ref.h"

enum status ref_policy_loss(void *context, const struct op_policy_loss *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "policy_loss");
}

