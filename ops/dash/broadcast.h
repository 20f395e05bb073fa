/* ops/dash/broadcast.h - messages for all viewers, each encoded once.
 *
 * A ring of bytes in the format of server-sent events; a position is the count of all bytes ever written. Viewers keep their
 * position and copy from there, so a message costs its encoding once and a copy a viewer. Whoever falls behind by more than
 * the ring is told so (`lost`) and goes on at the newest end.
 *
 *     id: EPOCH-POSITION-STEP      of each message: its end, and the newest step then
 *
 * A client that comes back says the last id it saw: within the ring it goes on there; with another epoch (the server was
 * started again) or too late it gets the steps after STEP from the table instead. One thread at a time. */
#ifndef OPS_DASH_BROADCAST_H
#define OPS_DASH_BROADCAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { BROADCAST_ENDS = 4096, BROADCAST_BYTES_MAX = 64 << 20 };

struct broadcast {
    char *bytes; /* [size], owned */
    size_t size;
    uint64_t epoch;
    uint64_t head, tail; /* positions: behind the newest byte; of the oldest that is kept */
    uint64_t ends[BROADCAST_ENDS]; /* of the messages, a ring */
    uint64_t ends_count;           /* ever */
    uint64_t step;                 /* newest */
};

MUST_CHECK enum status broadcast_open(struct broadcast *broadcast, size_t bytes, uint64_t epoch);
void broadcast_close(struct broadcast *broadcast);
/* data: one line of JSON. One of more than a quarter of the ring makes the ring larger: what it held is gone then, and viewers
 * are told. LIMIT: more than a quarter of BROADCAST_BYTES_MAX. */
MUST_CHECK enum status broadcast_add(struct broadcast *broadcast, const char *event,
                                     const char *data, size_t size);
/* Copies from *position at most `room` bytes and moves it on. 0: nothing new. *lost: the position is gone; it has been set to
 * the newest end. */
size_t broadcast_read(const struct broadcast *broadcast, uint64_t *position, char *out, size_t room,
                      bool *lost);

struct broadcast_resume {
    bool known; /* the position below is a message's end in the ring */
    uint64_t position;
    bool has_step;
    uint64_t step;
};
/* What a Last-Event-ID (hostile; NULL: none) says. */
struct broadcast_resume broadcast_resume(const struct broadcast *broadcast, const char *id);

#endif
