#include "core/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Large blocks come from the kernel, which gives zeroed pages when they are touched first: a learner that makes
 * room for its longest sequence starts at once. Address and thread sanitizers see every block only through malloc. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WATCHED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(WATCHED)
enum { MAPS_LARGE_BLOCKS = 0 };
#else
enum { MAPS_LARGE_BLOCKS = 1 };
#endif
enum { MEMORY_ALIGN = 64, MAPPED_MAX = 1024, MAPPED_BYTES_MIN = 1 << 20, PAGE_BYTES = 4096 };

/* The mapped blocks, in no order; more than MAPPED_MAX are made by malloc. */
static pthread_mutex_t mapped_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    void *block;
    size_t bytes;
} mapped[MAPPED_MAX];
static size_t mapped_count;

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

/* NULL: make it by malloc. */
static void *map_block(size_t bytes)
{
    if (!MAPS_LARGE_BLOCKS || bytes < MAPPED_BYTES_MIN)
        return NULL;
    pthread_mutex_lock(&mapped_lock);
    void *block = MAP_FAILED;
    if (mapped_count < MAPPED_MAX)
        block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block != MAP_FAILED) {
        mapped[mapped_count].block = block;
        mapped[mapped_count++].bytes = bytes;
    }
    pthread_mutex_unlock(&mapped_lock);
    return block != MAP_FAILED ? block : NULL;
}

/* false: it was not mapped. */
static int unmap_block(void *block)
{
    if ((uintptr_t)block % PAGE_BYTES != 0)
        return 0;
    size_t bytes = 0;
    pthread_mutex_lock(&mapped_lock);
    for (size_t i = 0; i < mapped_count && bytes == 0; i++)
        if (mapped[i].block == block) {
            bytes = mapped[i].bytes;
            mapped[i] = mapped[--mapped_count];
        }
    pthread_mutex_unlock(&mapped_lock);
    return bytes != 0 && munmap(block, bytes) == 0;
}

void *memory_alloc(size_t bytes)
{
    if (must_fail_now() || bytes > SIZE_MAX / 2)
        return NULL;
    size_t rounded = (bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    if (rounded == 0)
        rounded = MEMORY_ALIGN;
    void *block = map_block(rounded);
    if (block == NULL && (block = aligned_alloc(MEMORY_ALIGN, rounded)) != NULL)
        memset(block, 0, rounded);
    if (block == NULL)
        return NULL;
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
    if (!unmap_block(block))
        free(block);
}
