/* ops/screen.h - what `weir run` shows: one line per training step, what it waits for, the summary.
 *
 * Steps come from metrics.jsonl, which the learner appends to: one JSON object a line. A line
 * without its newline is not read yet; a line that does not parse is counted and skipped.
 * Output goes to stdout; on a terminal the waiting line is rewritten in place. One thread. */
#ifndef OPS_SCREEN_H
#define OPS_SCREEN_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/file.h"
#include "ops/curve.h"

/* ---- metrics.jsonl ---- */

struct metrics_tail {
    char path[FILE_PATH_MAX];
    ino_t inode;        /* of the file that was read last; 0: none yet */
    int64_t offset;     /* of the first byte not taken */
    struct buffer part; /* bytes of an unfinished line */
    uint64_t bad_lines;
    const atomic_bool *stop; /* true: a poll ends between two pieces; NULL: nobody stops it */
};
typedef void (*metrics_line_fn)(void *self, const json_t *object);

MUST_CHECK enum status metrics_tail_open(struct metrics_tail *tail, const char *path);
void metrics_tail_close(struct metrics_tail *tail);
/* Calls `take` for each whole line since the last call. A file that is absent is no error, nor is one that became
 * shorter or was replaced: then reading starts over, and `take` hears of old lines again. */
MUST_CHECK enum status metrics_tail_poll(struct metrics_tail *tail, metrics_line_fn take,
                                         void *self);

/* "step 12/100  reward 0.713  len 12.1 p99 24 ..." of what the object has; steps 0: unknown. */
MUST_CHECK enum status step_line(const json_t *object, uint64_t steps, struct buffer *text);
/* What the run waits for, from the store's status; says so when there is none (json NULL). */
MUST_CHECK enum status waiting_line(const char *status_json, struct buffer *text);

/* ---- the screen ---- */

struct screen {
    bool terminal, unicode, quiet;
    size_t columns;
    uint64_t steps_wanted; /* run.steps */
    struct metrics_tail tail;
    struct curve curve;
    uint64_t steps_seen;   /* steps of this attempt */
    uint64_t lines_seen;   /* with those of steps that were made again */
    uint64_t steps_before; /* lines of earlier attempts */
    uint64_t last_step;
    int64_t begin_ns, last_step_ns, last_wait_ns;
    bool waiting_shown; /* a rewritable line is on the terminal */
    bool counting;      /* past the lines of earlier attempts */
};

/* Before the processes start: takes the steps of earlier attempts. The run goes on from `checkpoint` (a step;
 * 0: from the beginning). */
MUST_CHECK enum status screen_open(struct screen *screen, const char *metrics_path,
                                   uint64_t steps_wanted, uint64_t checkpoint, bool quiet);
/* From here on it prints: looks what stdout is. */
void screen_begin(struct screen *screen);
void screen_close(struct screen *screen);
void screen_say(struct screen *screen, const char *line); /* above the waiting line */
/* Prints new steps; after 5 s without one, what `waiting` (may be NULL) returns. */
void screen_tick(struct screen *screen, int64_t now_ns, const char *(*waiting)(void *self),
                 void *self);
void screen_summary(struct screen *screen, const char *name, const char *folder);

#endif
