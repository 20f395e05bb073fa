#include "core/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_ALIGN = 64 };

static _Atomic int64_t fail_countdown = -1; /* > 0: allocations until the one that fails */
static _Atomic int64_t blocks_live = 0;

static int must_fail_now(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0)
        return 0;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

void memory_fail_after(int64_t n)
{
    atomic_store(&fail_countdown, n == 0 ? 1 : n);
}

int64_t memory_blocks_live(void)
{
    return atomic_load(&blocks_live);
}

void *memory_alloc(size_t bytes)
{
    if (must_fail_now() || bytes > SIZE_MAX / 2)
        return NULL;
    size_t rounded = (bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    if (rounded == 0)
        rounded = MEMORY_ALIGN;
    void *block = aligned_alloc(MEMORY_ALIGN, rounded);
    if (block == NULL)
        return NULL;
    memset(block, 0, rounded);
    atomic_fetch_add_explicit(&blocks_live, 1, memory_order_relaxed);
    return block;
}

void *memory_array(size_t count, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes))
        return NULL;
    return memory_alloc(bytes);
}

void *memory_grow(void *block, size_t old_bytes, size_t new_bytes)
{
    void *grown = memory_alloc(new_bytes);
    if (grown == NULL)
        return NULL;
    if (block != NULL) {
        size_t kept = old_bytes < new_bytes ? old_bytes : new_bytes;
        if (kept > 0)
            memcpy(grown, block, kept);
        memory_free(block);
    }
    return grown;
}

char *memory_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_alloc(bytes);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

void memory_free(void *block)
{
    if (block == NULL)
        return;
    atomic_fetch_sub_explicit(&blocks_live, 1, memory_order_relaxed);
    free(block);
}
