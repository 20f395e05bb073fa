#include "kernels/ref/ref.h"

enum status ref_moe_route(void *context, const struct op_moe_route *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "moe_route");
}

enum status ref_moe_route_backward(void *context, const struct op_moe_route_backward *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "moe_route_backward");
}

enum status ref_moe_gather(void *context, const struct op_moe_gather *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "moe_gather");
}

enum status ref_moe_gather_backward(void *context, const struct op_moe_gather_backward *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "moe_gather_backward");
}

enum status ref_moe_combine(void *context, const struct op_moe_combine *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "moe_combine");
}

enum status ref_moe_combine_backward(void *context, const struct op_moe_combine_backward *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "moe_combine_backward");
}

