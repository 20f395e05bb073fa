/* rollout_store/book_map.c - see the header. */
#include "rollout_store/book_map.h"

#include "core/memory.h"

enum { BOOK_MAP_LEAST = 64 };

/* The finaliser of MurmurHash3: ids count up, cells must not. */
static size_t home(const struct book_map *map, uint64_t id)
{
    id ^= id >> 33;
    id *= UINT64_C(0xff51afd7ed558ccd);
    id ^= id >> 33;
    return (size_t)id & (map->capacity - 1);
}

static struct book_map_cell *find(const struct book_map *map, uint64_t id)
{
    size_t at = home(map, id);
    while (map->cells[at].value != NULL && map->cells[at].id != id)
        at = (at + 1) & (map->capacity - 1);
    return &map->cells[at];
}

static enum status grow(struct book_map *map)
{
    struct book_map wider = {.capacity = map->capacity ? map->capacity * 2 : BOOK_MAP_LEAST,
                             .count = map->count};
    wider.cells = memory_array(wider.capacity, sizeof *wider.cells);
    if (wider.cells == NULL)
        return FAIL(STATUS_NO_MEMORY, "map of %zu cells", wider.capacity);
    for (size_t i = 0; i < map->capacity; i++)
        if (map->cells[i].value != NULL)
            *find(&wider, map->cells[i].id) = map->cells[i];
    memory_free(map->cells);
    *map = wider;
    return STATUS_OK;
}

enum status book_map_put(struct book_map *map, uint64_t id, void *value)
{
    if (map->count * 10 >= map->capacity * 7)
        TRY(grow(map));
    struct book_map_cell *cell = find(map, id);
    map->count += cell->value == NULL;
    *cell = (struct book_map_cell){id, value};
    return STATUS_OK;
}

void *book_map_get(const struct book_map *map, uint64_t id)
{
    return map->capacity == 0 ? NULL : find(map, id)->value;
}

/* Later cells of the probe chain move up, so no tombstones are needed (Knuth 6.4, algorithm R). */
void book_map_remove(struct book_map *map, uint64_t id)
{
    if (map->capacity == 0 || find(map, id)->value == NULL)
        return;
    size_t mask = map->capacity - 1, hole = (size_t)(find(map, id) - map->cells);
    map->count--;
    for (size_t at = (hole + 1) & mask; map->cells[at].value != NULL; at = (at + 1) & mask) {
        if (((at - home(map, map->cells[at].id)) & mask) < ((at - hole) & mask))
            continue; /* its home lies between the hole and itself */
        map->cells[hole] = map->cells[at];
        hole = at;
    }
    map->cells[hole].value = NULL;
}

void book_map_free(struct book_map *map)
{
    memory_free(map->cells);
    *map = (struct book_map){0};
}
