/* proto/tape.h - messages one after another in a file, {u32 bytes}{message}: what a replay of the store hands to learner
 * and actor. One thread. */
#ifndef PROTO_TAPE_H
#define PROTO_TAPE_H

#include "core/arena.h"
#include "core/buffer.h"
#include "proto/messages.h"

struct tape {
    const char *path; /* for sentences; borrowed */
    struct buffer bytes;
    size_t at;
};

/* The whole file. Errors of file_read. */
MUST_CHECK enum status tape_open(struct tape *tape, const char *path);
void tape_close(struct tape *tape);
/* Type NONE at the end. What the message points to lives in `arena`. CORRUPT names file and byte. */
MUST_CHECK enum status tape_next(struct tape *tape, struct arena *arena, struct message *message);
/* The next one, which must be of that type. */
MUST_CHECK enum status tape_expect(struct tape *tape, struct arena *arena, enum message_type type,
                                   struct message *message);
/* Appends a message to the bytes of a tape. */
MUST_CHECK enum status tape_put(struct buffer *bytes, const struct message *message);

#endif
