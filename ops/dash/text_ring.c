#include "ops/dash/text_ring.h"

#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"

enum status text_ring_open(struct text_ring *ring, size_t room, size_t bytes_max)
{
    *ring = (struct text_ring){.room = room, .bytes_max = bytes_max};
    ring->rows = memory_array(room, sizeof *ring->rows);
    return ring->rows != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%zu rows", room);
}

const struct text_row *text_ring_at(const struct text_ring *ring, size_t i)
{
    return &ring->rows[(ring->first + i) % ring->room];
}

static void drop_oldest(struct text_ring *ring)
{
    struct text_row *row = &ring->rows[ring->first];
    ring->bytes -= row->size;
    memory_free(row->text);
    *row = (struct text_row){0};
    ring->first = (ring->first + 1) % ring->room;
    ring->count--;
}

void text_ring_clear(struct text_ring *ring)
{
    while (ring->count > 0)
        drop_oldest(ring);
}

void text_ring_close(struct text_ring *ring)
{
    text_ring_clear(ring);
    memory_free(ring->rows);
    *ring = (struct text_ring){0};
}

enum status text_ring_add(struct text_ring *ring, double key, const char *text, size_t size)
{
    if (size > ring->bytes_max)
        return FAIL(STATUS_LIMIT, "a text of %zu bytes, limit %zu", size, ring->bytes_max);
    char *copy = memory_alloc(size + 1);
    if (copy == NULL)
        return FAIL(STATUS_NO_MEMORY, "a text of %zu bytes", size);
    memcpy(copy, text, size);
    while (ring->count == ring->room || (ring->count > 0 && ring->bytes + size > ring->bytes_max))
        drop_oldest(ring);
    ring->rows[(ring->first + ring->count++) % ring->room] =
        (struct text_row){key, hash64(text, size, 0), size, copy};
    ring->bytes += size;
    return STATUS_OK;
}

enum status text_ring_insert(struct text_ring *ring, double key, const char *text, size_t size)
{
    if (ring->count == ring->room && key < text_ring_at(ring, 0)->key)
        return STATUS_OK;
    TRY(text_ring_add(ring, key, text, size));
    for (size_t i = ring->count - 1; i > 0 && text_ring_at(ring, i - 1)->key > key; i--) {
        struct text_row *later = &ring->rows[(ring->first + i - 1) % ring->room],
                        *place = &ring->rows[(ring->first + i) % ring->room], moved = *later;
        *later = *place;
        *place = moved;
    }
    return STATUS_OK;
}

bool text_ring_has(const struct text_ring *ring, const char *text, size_t size)
{
    uint64_t hash = hash64(text, size, 0);
    for (size_t i = ring->count; i-- > 0;) {
        const struct text_row *row = text_ring_at(ring, i);
        if (row->hash == hash && row->size == size && memcmp(row->text, text, size) == 0)
            return true;
    }
    return false;
}

enum status text_ring_json(const struct text_ring *ring, double from, double to, size_t most,
                           struct buffer *json)
{
    size_t matching = 0, seen = 0;
    for (size_t i = 0; i < ring->count; i++) {
        const struct text_row *row = text_ring_at(ring, i);
        matching += row->key >= from && row->key <= to;
    }
    const char *between = "";
    for (size_t i = 0; i < ring->count; i++) {
        const struct text_row *row = text_ring_at(ring, i);
        if (!(row->key >= from && row->key <= to) || matching - seen++ > most)
            continue;
        TRY(buffer_text(json, between));
        TRY(buffer_append(json, row->text, row->size));
        between = ",";
    }
    return STATUS_OK;
}
