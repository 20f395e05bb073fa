#include "ops/data/hash_map.h"

#include <inttypes.h>

#include "core/memory.h"

void hash_map_free(struct hash_map *map)
{
    memory_free(map->keys);
    memory_free(map->values);
    *map = (struct hash_map){0};
}

/* Keys are hashes already; one more multiplication spreads those that differ in high bits only. */
static uint64_t place_of(const struct hash_map *map, uint64_t key)
{
    uint64_t at = (key * 0x9E3779B97F4A7C15u >> 20) & (map->limit - 1);
    while (map->values[at] != 0 && map->keys[at] != key)
        at = (at + 1) & (map->limit - 1);
    return at;
}

static enum status widen(struct hash_map *map)
{
    enum { FIRST = 1024 };
    struct hash_map wider = {.limit = map->limit > 0 ? map->limit * 2 : FIRST, .count = map->count};
    wider.keys = memory_array(wider.limit, sizeof *wider.keys);
    wider.values = memory_array(wider.limit, sizeof *wider.values);
    if (wider.keys == NULL || wider.values == NULL) {
        hash_map_free(&wider);
        return FAIL(STATUS_NO_MEMORY, "a table of %" PRIu64 " hashes", map->limit * 2);
    }
    for (uint64_t i = 0; i < map->limit; i++)
        if (map->values[i] != 0) {
            uint64_t at = place_of(&wider, map->keys[i]);
            wider.keys[at] = map->keys[i];
            wider.values[at] = map->values[i];
        }
    hash_map_free(map);
    *map = wider;
    return STATUS_OK;
}

enum status hash_map_put(struct hash_map *map, uint64_t key, uint32_t **value)
{
    if (map->count * 3 >= map->limit * 2)
        TRY(widen(map));
    uint64_t at = place_of(map, key);
    map->count += map->values[at] == 0;
    map->keys[at] = key;
    *value = &map->values[at];
    return STATUS_OK;
}

uint32_t hash_map_get(const struct hash_map *map, uint64_t key)
{
    return map->limit > 0 ? map->values[place_of(map, key)] : 0;
}
