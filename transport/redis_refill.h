/* redis_refill.h - a stream made whole again from the file that has the same lines (metrics.jsonl). Private to
 * transport/. One thread: the view's.
 *
 * A line and an entry are the same step when their members "step" are. At each connection:
 *   the stream has as many entries as the file has lines (or its limit), the last of the same step: nothing to do;
 *   it has the first lines of the file: the missing ones are added behind it;
 *   else, lines are missing in between or it is of another life of the run: it is built anew beside the old one,
 *   KEY.refill, and put in its place when it has all lines. Where nothing was, the newest REFILL_QUICK come first.
 * Work is done in small slices, so that what is pushed meanwhile gets its turn. */
#ifndef TRANSPORT_REDIS_REFILL_H
#define TRANSPORT_REDIS_REFILL_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"
#include "transport/redis_command.h"

enum { REFILL_QUICK = 512, REFILL_SLICE = 64 };

struct redis_refill {
    char *key, *path; /* owned; NULL: nothing to refill */
    uint32_t maxlen;
    enum refill_phase { REFILL_IDLE, REFILL_COUNT, REFILL_QUICKLY, REFILL_ADD, REFILL_BUILD } phase;
    FILE *file;
    char *line; /* of getline */
    size_t line_room;
    int64_t line_step;
    uint64_t lines, at;   /* whole lines in the file; lines read so far */
    uint64_t entries;     /* of the stream when it was counted */
    uint64_t from;        /* first line to be written */
    int64_t entries_step; /* of its last entry; -1: none */
    int64_t match_step;   /* of line number `entries`; -1: it has none */
    int64_t
        last_step; /* written by a refill; what is pushed up to here is there already. -1: none */
    int64_t begin_ns;
};

void redis_refill_free(struct redis_refill *refill);
/* A connection is new: look again. */
void redis_refill_begin(struct redis_refill *refill);
void redis_refill_stop(struct redis_refill *refill); /* until the next connection */
bool redis_refill_busy(const struct redis_refill *refill);
/* Is this command's step in the stream by a refill? */
bool redis_refill_has(const struct redis_refill *refill, const struct redis_command *command);
/* The next slice of work. IO: the connection is gone, LIMIT: Redis is full (begin again with less). */
MUST_CHECK enum status redis_refill_slice(struct redis_refill *refill, redisContext *context,
                                          const char *run);

#endif
