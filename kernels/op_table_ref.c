/* The oracle's table: kernels/ref, one thread, double precision inside. Tests only. */
#include "core/memory.h"
#include "kernels/op_table_host.h"
#include "kernels/ref/ref.h"

/* The oracle reads weights as they are: packing is a copy. */
static size_t ref_packed_bytes(void *context, int64_t experts, int64_t n, int64_t k)
{
    (void)context;
    return sizeof(float) * (size_t)experts * (size_t)n * (size_t)k;
}

static void ref_destroy(struct op_table *table)
{
    memory_free(table);
}

enum status op_table_create_ref(struct op_table **table)
{
    struct op_table *made = memory_alloc(sizeof *made);
    if (!made)
        return FAIL(STATUS_NO_MEMORY, "op table ref");
    made->name = "ref";
    made->numerics = "ref-f64 tile64";
    op_table_host_fill(made);
    made->packed_bytes = ref_packed_bytes;
    made->destroy = ref_destroy;
#define OP(op) made->op = ref_##op;
    KERNEL_OPS(OP)
#undef OP
    *table = made;
    return STATUS_OK;
}
