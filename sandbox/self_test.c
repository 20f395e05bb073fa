#include "sandbox/sandbox_internal.h"

enum status sandbox_self_test(struct sandbox *sandbox)
{
    (void)sandbox;
    return STATUS_OK;
}
