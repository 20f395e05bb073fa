/* redis_ring.h - what this process last put into streams, so that a Redis that lost it can have it again.
 * Private to transport/. One thread: the view's.
 *
 * One ring a stream, at most REDIS_RING_ENTRIES and REDIS_RING_BYTES each, oldest out first. An entry keeps the id that
 * Redis gave it; one that never reached Redis has none. */
#ifndef TRANSPORT_REDIS_RING_H
#define TRANSPORT_REDIS_RING_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "transport/redis_command.h"

enum { REDIS_RINGS_MAX = 8, REDIS_RING_ENTRIES = 1024, REDIS_RING_BYTES = 2 << 20 };

struct redis_ring {
    char key[REDIS_KEY_MAX]; /* without "weir:{run}:"; "": free */
    struct redis_command *entries[REDIS_RING_ENTRIES];
    size_t first, count, bytes;
};

struct redis_rings {
    struct redis_ring *rings[REDIS_RINGS_MAX]; /* made as streams appear */
};

void redis_rings_free(struct redis_rings *rings);
/* Takes the command over; false: there is no place, it is still the caller's. */
bool redis_rings_keep(struct redis_rings *rings, struct redis_command *command);
/* Writes what the stream has not: all behind the newest entry that it still has (`lost`: the server may have lost any),
 * or behind the newest that was acknowledged. *again counts the entries. Status of a reply: IO when the connection is
 * gone. */
MUST_CHECK enum status redis_rings_restore(struct redis_rings *rings, redisContext *context,
                                           const char *run, bool lost, uint64_t *again);

#endif
