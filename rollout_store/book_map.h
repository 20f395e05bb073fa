/* rollout_store/book_map.h - 64-bit id -> pointer: open addressing, linear probing, at most 70 % full.
 *
 *     TRY(book_map_put(&map, group->group_id, group));      the id must not be there yet
 *
 * Owned by one thread. Values are borrowed. */
#ifndef ROLLOUT_STORE_BOOK_MAP_H
#define ROLLOUT_STORE_BOOK_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct book_map {
    struct book_map_cell {
        uint64_t id;
        void *value; /* NULL: free */
    } * cells;       /* [capacity], a power of two or 0 */
    size_t capacity, count;
};

MUST_CHECK enum status book_map_put(struct book_map *map, uint64_t id, void *value);
void *book_map_get(const struct book_map *map, uint64_t id); /* NULL: none */
void book_map_remove(struct book_map *map, uint64_t id);     /* no such id is fine */
void book_map_free(struct book_map *map);

#endif
