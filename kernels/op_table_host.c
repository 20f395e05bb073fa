#include "kernels/op_table_host.h"

#include <string.h>

#include "core/memory.h"

static enum status host_create(void *context, size_t bytes, void **memory)
{
    (void)context;
    void *made = memory_alloc(bytes);
    if (!made)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes of host memory for tensors", bytes);
    *memory = made;
    return STATUS_OK;
}

static void host_destroy(void *context, void **memory)
{
    (void)context;
    memory_free(*memory);
    *memory = NULL;
}

static enum status host_write(void *context, void *memory, const void *host, size_t bytes)
{
    (void)context;
    if (bytes > 0)
        memcpy(memory, host, bytes);
    return STATUS_OK;
}

static enum status host_read(void *context, const void *memory, void *host, size_t bytes)
{
    (void)context;
    if (bytes > 0)
        memcpy(host, memory, bytes);
    return STATUS_OK;
}

static enum status host_zero(void *context, void *memory, size_t bytes)
{
    (void)context;
    memset(memory, 0, bytes);
    return STATUS_OK;
}

/* Keys [G][D][tile] (transposed: scores run over tokens in lanes), then values [G][tile][D]. */
static size_t host_kv_page_bytes(void *context, int64_t kv_heads, int64_t head_size)
{
    (void)context;
    return 2 * HOST_KV_TILE * sizeof(float) * (size_t)kv_heads * (size_t)head_size;
}

void op_table_host_fill(struct op_table *table)
{
    table->act_bytes = (int64_t)sizeof(float);
    table->weight_bytes = (int64_t)sizeof(float);
    table->kv_tile = HOST_KV_TILE;
    table->memory_create = host_create;
    table->memory_destroy = host_destroy;
    table->memory_write = host_write;
    table->memory_read = host_read;
    table->memory_zero = host_zero;
    table->kv_page_bytes = host_kv_page_bytes;
}

void op_table_destroy(struct op_table **table)
{
    if (!*table)
        return;
    (*table)->destroy(*table);
    *table = NULL;
}
