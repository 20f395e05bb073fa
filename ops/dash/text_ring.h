/* ops/dash/text_ring.h - the newest texts of one kind, each with a number to find it by. One thread at a time. */
#ifndef OPS_DASH_TEXT_RING_H
#define OPS_DASH_TEXT_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

struct text_ring {
    struct text_row {
        double key;
        uint64_t hash; /* of the text */
        size_t size;
        char *text; /* owned, with a NUL */
    } * rows;
    size_t room, first, count;
    size_t bytes, bytes_max; /* of the texts: the oldest go first */
};

MUST_CHECK enum status text_ring_open(struct text_ring *ring, size_t room, size_t bytes_max);
void text_ring_close(struct text_ring *ring);
void text_ring_clear(struct text_ring *ring);
/* LIMIT: larger than the whole ring. */
MUST_CHECK enum status text_ring_add(struct text_ring *ring, double key, const char *text,
                                     size_t size);
/* The same for a ring that is in order of its keys, and stays so. A text that is older than all of a full ring is left out. */
MUST_CHECK enum status text_ring_insert(struct text_ring *ring, double key, const char *text,
                                        size_t size);
/* i from 0 (oldest) to count - 1. */
const struct text_row *text_ring_at(const struct text_ring *ring, size_t i);
bool text_ring_has(const struct text_ring *ring, const char *text, size_t size);
/* Appends the newest `most` whose key is in [from, to], oldest first, with commas between. */
MUST_CHECK enum status text_ring_json(const struct text_ring *ring, double from, double to,
                                      size_t most, struct buffer *json);

#endif
