#include "core/arena.h"

#include <stdint.h>
#include <string.h>

#include "core/memory.h"

enum {
    ARENA_ALIGN = 16,
    ARENA_BLOCK_MIN = 4096,
    ARENA_BLOCK_MAX = 1 << 22, /* larger ones only for a single larger request */
};

/* A block is one heap allocation: this header, padded to a multiple of ARENA_ALIGN, then bytes. */
struct arena_block {
    struct arena_block *next;
    size_t size; /* bytes after the header */
    size_t used;
    size_t padding;
};

struct arena {
    size_t limit;
    size_t used;                 /* sum of rounded requests */
    size_t block_bytes;          /* size of the next block, doubles */
    struct arena_block *first;   /* all blocks in the order they are filled */
    struct arena_block *current; /* requests are served from here on */
};

_Static_assert(sizeof(struct arena_block) % ARENA_ALIGN == 0, "blocks hand out aligned memory");

enum status arena_create(struct arena **arena, size_t limit_bytes)
{
    struct arena *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "arena of at most %zu bytes", limit_bytes);
    made->limit = limit_bytes;
    made->block_bytes = ARENA_BLOCK_MIN;
    *arena = made;
    return STATUS_OK;
}

void arena_destroy(struct arena **arena)
{
    if (*arena == NULL)
        return;
    struct arena_block *block = (*arena)->first;
    while (block != NULL) {
        struct arena_block *next = block->next;
        memory_free(block);
        block = next;
    }
    memory_free(*arena);
    *arena = NULL;
}

void arena_reset(struct arena *arena)
{
    for (struct arena_block *block = arena->first; block != NULL; block = block->next)
        block->used = 0;
    arena->current = arena->first;
    arena->used = 0;
}

/* The first block from `current` on with room for `bytes`, or a new one; NULL out of memory. */
static struct arena_block *block_with_room(struct arena *arena, size_t bytes)
{
    struct arena_block *block = arena->current;
    for (; block != NULL; block = block->next)
        if (block->size - block->used >= bytes)
            return block;
    size_t size = bytes > arena->block_bytes ? bytes : arena->block_bytes;
    if (size > SIZE_MAX - sizeof *block)
        return NULL;
    block = memory_alloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->size = size;
    if (arena->current == NULL) {
        arena->first = block;
    } else {
        block->next = arena->current->next;
        arena->current->next = block;
    }
    if (arena->block_bytes < ARENA_BLOCK_MAX)
        arena->block_bytes *= 2;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    size_t room = arena->limit - arena->used;
    if (bytes > room)
        return NULL;
    size_t rounded = (bytes == 0 ? 1 : bytes);
    rounded = (rounded + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (rounded < bytes || rounded > room)
        return NULL;
    struct arena_block *block = block_with_room(arena, rounded);
    if (block == NULL)
        return NULL;
    unsigned char *start = (unsigned char *)(block + 1) + block->used;
    block->used += rounded;
    arena->current = block;
    arena->used += rounded;
    memset(start, 0, rounded);
    return start;
}

void *arena_array(struct arena *arena, size_t count, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

void *arena_copy(struct arena *arena, const void *bytes, size_t size)
{
    void *copy = arena_alloc(arena, size);
    if (copy != NULL && size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *arena_text(struct arena *arena, const char *text)
{
    return arena_copy(arena, text, strlen(text) + 1);
}

size_t arena_used_bytes(const struct arena *arena)
{
    return arena->used;
}
