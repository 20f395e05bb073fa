/* ops/data/hash_map.h - 64-bit hashes to 32-bit numbers, growing; no removal. One thread. */
#ifndef OPS_DATA_HASH_MAP_H
#define OPS_DATA_HASH_MAP_H

#include <stdint.h>

#include "core/status.h"

struct hash_map {
    uint64_t *keys;   /* [limit] owned */
    uint32_t *values; /* [limit] owned; 0: free */
    uint64_t count, limit;
};

void hash_map_free(struct hash_map *map); /* a zeroed one is fine */
/* *value: where the number of the key is, 0 for a new key (the caller writes another one at once). Valid until the next
 * call. */
MUST_CHECK enum status hash_map_put(struct hash_map *map, uint64_t key, uint32_t **value);
uint32_t hash_map_get(const struct hash_map *map, uint64_t key); /* 0: none */
static inline uint64_t hash_map_bytes(const struct hash_map *map)
{
    return map->limit * (sizeof *map->keys + sizeof *map->values);
}

#endif
