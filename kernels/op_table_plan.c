/* kernels/op_table_plan.c - sizes of a backend without its device, so that `--check` on a laptop can plan a run on
 * GPUs. The CUDA backend takes its sizes from here as well. */
#include <string.h>

#include "core/memory.h"
#include "kernels/ops.h"

static size_t no_packing(void *context, int64_t experts, int64_t n, int64_t k)
{
    (void)context, (void)experts, (void)n, (void)k;
    return 0;
}

enum { F32_BYTES = 4, BF16_BYTES = 2 };

int32_t op_cuda_padded_head(int64_t head_size)
{
    return head_size <= 32 ? 32 : head_size <= 64 ? 64 : 128;
}

size_t op_cuda_page_bytes(bool f32, int64_t kv_heads, int64_t head_size)
{
    return 2 * OP_CUDA_KV_TILE * (size_t)(kv_heads * head_size) * (f32 ? F32_BYTES : BF16_BYTES);
}

size_t op_cuda_state_bytes(bool f32, int64_t heads, int64_t head_size)
{
    if (f32)
        return (size_t)(heads * head_size * head_size) * F32_BYTES;
    size_t padded = (size_t)op_cuda_padded_head(head_size);
    return (size_t)heads * padded * padded * (F32_BYTES + BF16_BYTES);
}

static size_t page_f32(void *context, int64_t kv_heads, int64_t head_size)
{
    (void)context;
    return op_cuda_page_bytes(true, kv_heads, head_size);
}

static size_t page_bf16(void *context, int64_t kv_heads, int64_t head_size)
{
    (void)context;
    return op_cuda_page_bytes(false, kv_heads, head_size);
}

static size_t state_f32(void *context, int64_t heads, int64_t head_size)
{
    (void)context;
    return op_cuda_state_bytes(true, heads, head_size);
}

static size_t state_bf16(void *context, int64_t heads, int64_t head_size)
{
    (void)context;
    return op_cuda_state_bytes(false, heads, head_size);
}

static void plan_destroy(struct op_table *table)
{
    memory_free(table);
}

enum status op_table_create_plan(struct op_table **table, const char *device)
{
    if (strncmp(device, "cuda", strlen("cuda")) != 0)
        return op_table_create(table, device, 1);
    const bool f32 = strstr(device, "/f32") != NULL;
    struct op_table *made = memory_alloc(sizeof *made);
    if (!made)
        return FAIL(STATUS_NO_MEMORY, "op table plan");
    made->name = "cuda";
    made->numerics = "plan";
    made->act_bytes = made->weight_bytes = f32 ? F32_BYTES : BF16_BYTES;
    made->kv_tile = OP_CUDA_KV_TILE;
    made->packed_bytes = no_packing;
    made->kv_page_bytes = f32 ? page_f32 : page_bf16;
    made->lightning_state_bytes = f32 ? state_f32 : state_bf16;
    made->destroy = plan_destroy;
    *table = made;
    return STATUS_OK;
}
