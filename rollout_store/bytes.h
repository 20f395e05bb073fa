/* rollout_store/bytes.h - one walk over a struct for both directions, so that writing and reading cannot differ.
 *
 * Shared by record.c and book_snapshot.c. A walk function names each member once; whether the member is written or
 * read is up to the walk. Reading trusts nothing: CORRUPT says what is wrong and where. Numbers are little-endian. */
#ifndef ROLLOUT_STORE_BYTES_H
#define ROLLOUT_STORE_BYTES_H

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "core/arena.h"
#include "core/buffer.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

/* Writing appends to `out`; reading (out is NULL) takes bytes[at..size). */
struct walk {
    const char *of; /* what is walked, for errors: "record" */
    struct buffer *out;
    const uint8_t *bytes;
    size_t at, size;
    struct arena *arena; /* for what reading copies, where the caller does not own it */
    uint32_t format;     /* of a snapshot, for members that younger formats have only */
};

static inline enum status walk_damaged(const struct walk *walk, const char *what)
{
    return FAIL(STATUS_CORRUPT, "%s: %s at its byte %zu", walk->of, what, walk->at);
}

static inline enum status walk_bytes(struct walk *walk, void *value, size_t size)
{
    if (walk->out != NULL)
        return buffer_append(walk->out, value, size);
    if (walk->size - walk->at < size)
        return FAIL(STATUS_CORRUPT, "%s: it ends at byte %zu, %zu more wanted", walk->of,
                    walk->size, size);
    if (size > 0)
        memcpy(value, walk->bytes + walk->at, size);
    walk->at += size;
    return STATUS_OK;
}

static inline enum status walk_u64(struct walk *walk, uint64_t *value)
{
    return walk_bytes(walk, value, sizeof *value);
}

static inline enum status walk_u32(struct walk *walk, uint32_t *value)
{
    return walk_bytes(walk, value, sizeof *value);
}

static inline enum status walk_flag(struct walk *walk, bool *value)
{
    uint32_t word = *value;
    TRY(walk_u32(walk, &word));
    *value = word == 1;
    return word <= 1 ? STATUS_OK : walk_damaged(walk, "a flag that is neither 0 nor 1");
}

static inline enum status walk_choice(struct walk *walk, uint32_t *value, uint32_t count,
                                      const char *what)
{
    TRY(walk_u32(walk, value));
    if (*value >= count)
        return FAIL(STATUS_CORRUPT, "%s: %s is %" PRIu32 ", known are 0..%" PRIu32, walk->of, what,
                    *value, count - 1);
    return STATUS_OK;
}

/* An enum member of `count` values. */
#define WALK_CHOICE(walk, member, count)                                \
    do {                                                                \
        uint32_t choice_ = (uint32_t)(member);                          \
        TRY(walk_choice((walk), &choice_, (uint32_t)(count), #member)); \
        (member) = choice_;                                             \
    } while (0)

#endif
