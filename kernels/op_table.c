/* kernels/op_table.c - from the name of a device to its op table. */
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"

#ifdef WITH_CUDA
enum status op_table_create_cuda(struct op_table **table, int32_t device, bool f32,
                                 bool free_choice);

/* "cuda", "cuda:N", either with "/f32" or "/free" behind it. */
static enum status create_cuda(struct op_table **table, const char *device)
{
    const char *rest = device + strlen("cuda");
    long number = 0;
    if (*rest == ':') {
        char *end = NULL;
        number = strtol(rest + 1, &end, 10);
        if (end == rest + 1 || number < 0 || number > 1023)
            return FAIL(STATUS_INVALID, "device %s: write cuda:0, cuda:1, ...", device);
        rest = end;
    }
    const bool f32 = strcmp(rest, "/f32") == 0;
    const bool free_choice = strcmp(rest, "/free") == 0;
    if (*rest != '\0' && !f32 && !free_choice)
        return FAIL(STATUS_INVALID, "device %s: write cpu, cuda or cuda:N", device);
    return op_table_create_cuda(table, (int32_t)number, f32, free_choice);
}
#else
static enum status create_cuda(struct op_table **table, const char *device)
{
    (void)table;
    return FAIL(
        STATUS_UNSUPPORTED,
        "device %s: this build has no CUDA; build with `cmake --preset cuda` where nvcc is, or "
        "set run.device=cpu",
        device);
}
#endif

enum status op_table_create(struct op_table **table, const char *device, int32_t threads)
{
    if (strcmp(device, "cpu") == 0)
        return op_table_create_cpu(table, threads);
    if (strncmp(device, "cuda", strlen("cuda")) == 0)
        return create_cuda(table, device);
    return FAIL(STATUS_INVALID, "device %s: write cpu, cuda or cuda:N", device);
}
