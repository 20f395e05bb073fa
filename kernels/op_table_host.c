#include "kernels/op_table_host.h"

#include <string.h>
#include <unistd.h>

#include "core/checksum.h"
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

static enum status host_copy(void *context, void *to, const void *from, size_t bytes)
{
    (void)context;
    if (bytes > 0)
        memcpy(to, from, bytes);
    return STATUS_OK;
}

static enum status host_left(void *context, int64_t *left, int64_t *total)
{
    (void)context;
    int64_t page = sysconf(_SC_PAGESIZE);
    *left = page * sysconf(_SC_AVPHYS_PAGES);
    *total = page * sysconf(_SC_PHYS_PAGES);
    return STATUS_OK;
}

static enum status host_digest(void *context, const void *memory, size_t bytes, uint64_t first_word,
                               uint64_t *digest)
{
    (void)context;
    *digest = weight_digest(memory, bytes, first_word);
    return STATUS_OK;
}

/* Everything on the host is done when a call returns. */
static void *host_side_stream(void *context)
{
    (void)context;
    return NULL;
}

static enum status host_side_wait(void *context, int64_t timeout_ms)
{
    (void)context, (void)timeout_ms;
    return STATUS_OK;
}

static enum status host_finish(void *context)
{
    (void)context;
    return STATUS_OK;
}

static size_t host_lightning_state_bytes(void *context, int64_t heads, int64_t head_size)
{
    (void)context;
    return sizeof(float) * (size_t)(heads * head_size * head_size);
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
    table->memory_copy = host_copy;
    table->memory_zero = host_zero;
    table->memory_left = host_left;
    table->memory_digest = host_digest;
    table->side_stream = host_side_stream;
    table->side_wait = host_side_wait;
    table->finish = host_finish;
    table->lightning_state_bytes = host_lightning_state_bytes;
    table->kv_page_bytes = host_kv_page_bytes;
}

void op_table_destroy(struct op_table **table)
{
    if (!*table)
        return;
    (*table)->destroy(*table);
    *table = NULL;
}
