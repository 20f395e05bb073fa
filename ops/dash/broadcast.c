#include "ops/dash/broadcast.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

enum { HEAD_MAX = 160 };

enum status broadcast_open(struct broadcast *broadcast, size_t bytes, uint64_t epoch)
{
    *broadcast = (struct broadcast){.size = bytes, .epoch = epoch};
    broadcast->bytes = memory_alloc(bytes);
    return broadcast->bytes != NULL ? STATUS_OK
                                    : FAIL(STATUS_NO_MEMORY, "%zu bytes of messages", bytes);
}

void broadcast_close(struct broadcast *broadcast)
{
    memory_free(broadcast->bytes);
    *broadcast = (struct broadcast){0};
}

static void put(struct broadcast *broadcast, const char *bytes, size_t size)
{
    size_t at = (size_t)(broadcast->head % broadcast->size), first = broadcast->size - at;
    if (first > size)
        first = size;
    memcpy(broadcast->bytes + at, bytes, first);
    memcpy(broadcast->bytes, bytes + first, size - first);
    broadcast->head += size;
}

/* The oldest message still whole, once `more` bytes are written. */
static void give_way(struct broadcast *broadcast, size_t more)
{
    uint64_t limit = broadcast->head + more;
    uint64_t oldest =
        broadcast->ends_count > BROADCAST_ENDS ? broadcast->ends_count - BROADCAST_ENDS : 0;
    if (limit <= broadcast->size)
        return;
    limit -= broadcast->size; /* bytes before it are overwritten */
    for (uint64_t i = oldest; i < broadcast->ends_count && broadcast->tail < limit; i++)
        if (broadcast->ends[i % BROADCAST_ENDS] > broadcast->tail)
            broadcast->tail = broadcast->ends[i % BROADCAST_ENDS];
    if (broadcast->tail < limit)
        broadcast->tail = broadcast->head;
}

/* An empty ring that a message of `size` bytes fits into eight times. */
static enum status grow(struct broadcast *broadcast, size_t size)
{
    size_t wanted = 8 * size < BROADCAST_BYTES_MAX ? 8 * size : BROADCAST_BYTES_MAX;
    if (size > BROADCAST_BYTES_MAX / 4)
        return FAIL(STATUS_LIMIT, "a message of %zu bytes for viewers, limit %d", size,
                    BROADCAST_BYTES_MAX / 4);
    char *bytes = memory_alloc(wanted);
    if (bytes == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes of messages", wanted);
    memory_free(broadcast->bytes);
    broadcast->bytes = bytes;
    broadcast->size = wanted;
    broadcast->tail = broadcast->head;
    return STATUS_OK;
}

enum status broadcast_add(struct broadcast *broadcast, const char *event, const char *data,
                          size_t size)
{
    char head[HEAD_MAX];
    if (size + HEAD_MAX > broadcast->size / 4)
        TRY(grow(broadcast, size + HEAD_MAX));
    /* The id names its own message's end, so its own digits count: they are padded to a fixed width. */
    int wrote = snprintf(head, sizeof head,
                         "id: %016" PRIx64 "-%016" PRIx64 "-%016" PRIx64 "\nevent: %.40s\ndata: ",
                         broadcast->epoch, (uint64_t)0, broadcast->step, event);
    uint64_t end = broadcast->head + (uint64_t)wrote + size + 2;
    snprintf(head, sizeof head,
             "id: %016" PRIx64 "-%016" PRIx64 "-%016" PRIx64 "\nevent: %.40s\ndata: ",
             broadcast->epoch, end, broadcast->step, event);
    give_way(broadcast, (size_t)wrote + size + 2);
    put(broadcast, head, (size_t)wrote);
    put(broadcast, data, size);
    put(broadcast, "\n\n", 2);
    broadcast->ends[broadcast->ends_count++ % BROADCAST_ENDS] = broadcast->head;
    return STATUS_OK;
}

size_t broadcast_read(const struct broadcast *broadcast, uint64_t *position, char *out, size_t room,
                      bool *lost)
{
    *lost = *position < broadcast->tail || *position > broadcast->head;
    if (*lost) {
        *position = broadcast->head;
        return 0;
    }
    uint64_t there = broadcast->head - *position;
    size_t size = there < room ? (size_t)there : room;
    size_t at = (size_t)(*position % broadcast->size), first = broadcast->size - at;
    if (first > size)
        first = size;
    memcpy(out, broadcast->bytes + at, first);
    memcpy(out + first, broadcast->bytes, size - first);
    *position += size;
    return size;
}

static bool is_end(const struct broadcast *broadcast, uint64_t position)
{
    uint64_t oldest =
        broadcast->ends_count > BROADCAST_ENDS ? broadcast->ends_count - BROADCAST_ENDS : 0;
    if (position < broadcast->tail || position > broadcast->head)
        return false;
    for (uint64_t low = oldest, high = broadcast->ends_count; low < high;) {
        uint64_t middle = low + (high - low) / 2, end = broadcast->ends[middle % BROADCAST_ENDS];
        if (end == position)
            return true;
        if (end < position)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* 16 hexadecimal digits and what follows them. */
static bool take_hex(const char **text, char after, uint64_t *value)
{
    uint64_t made = 0;
    for (int i = 0; i < 16; i++) {
        char c = (*text)[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 16;
        if (digit == 16)
            return false;
        made = made << 4 | digit;
    }
    if ((*text)[16] != after)
        return false;
    *value = made;
    *text += 17;
    return true;
}

struct broadcast_resume broadcast_resume(const struct broadcast *broadcast, const char *id)
{
    struct broadcast_resume said = {.position = broadcast->head};
    uint64_t epoch, position, step;
    if (id == NULL || !take_hex(&id, '-', &epoch) || !take_hex(&id, '-', &position) ||
        !take_hex(&id, 0, &step))
        return said;
    said.known = epoch == broadcast->epoch && is_end(broadcast, position);
    if (said.known)
        said.position = position;
    said.has_step = true;
    said.step = step;
    return said;
}
