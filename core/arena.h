/* core/arena.h - memory that is freed all at once.
 *
 * One arena per message, group or step: everything decoded for it dies together.
 * An arena has a hard limit on the bytes handed out (each rounded up to 16); running
 * into it is STATUS_LIMIT for one group, never an abort. Memory is taken from the heap in blocks as it is needed, and kept on
 * reset. Not thread safe: one thread owns an arena at a time.
 */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include <stddef.h>

#include "core/status.h"

C_BEGIN

struct arena;

MUST_CHECK enum status arena_create(struct arena **arena, size_t limit_bytes);
void arena_destroy(struct arena **arena); /* NULL is fine; sets *arena to NULL */
void arena_reset(struct arena *arena);    /* keeps the memory, forgets what is in it */

/* Zeroed, 16-byte aligned, valid until reset or destroy. NULL at the limit. */
void *arena_alloc(struct arena *arena, size_t bytes);
void *arena_array(struct arena *arena, size_t count, size_t item_bytes); /* overflow-checked */
void *arena_copy(struct arena *arena, const void *bytes, size_t size);
char *arena_text(struct arena *arena, const char *text); /* copy with its NUL */
size_t arena_used_bytes(const struct arena *arena);

C_END
#endif
