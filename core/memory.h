/* core/memory.h - the only door to the heap.
 *
 * malloc and free are banned outside core/ (lint.bans): what a process owns is
 * allocated here once, at start, or lives in an arena. Every block is zeroed and
 * 64-byte aligned (one cache line, one AVX-512 register). Any thread.
 *
 * Fault injection: memory_fail_after(n) makes the n-th next allocation fail once,
 * so tests can walk every failure path (0 is the same as 1, n < 0 switches it off).
 */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

void *memory_alloc(size_t bytes);                    /* NULL when out of memory */
void *memory_array(size_t count, size_t item_bytes); /* overflow-checked; NULL likewise */
void *memory_grow(void *block, size_t old_bytes,
                  size_t new_bytes); /* keeps contents, zeroes the rest; NULL leaves block */
char *memory_text(const char *text); /* copy of a NUL-terminated string */
void memory_free(void *block);       /* NULL is fine */
void memory_fail_after(int64_t n);
int64_t memory_blocks_live(void); /* leak checks in tests */

C_END
#endif
