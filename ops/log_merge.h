/* ops/log_merge.h - the logs of a run's processes as one, in the order of time.
 *
 * A line's time is what it begins with: 2026-01-02T03:04:05.678Z; that of redis-server is understood, too. A line without
 * one (a stack trace, what a library prints) has the time of the line before it in its file and stays behind it.
 * Files are followed over restarts (the supervisor renames a long NAME.log to NAME.log.old at the next start) and
 * attempts (logs/latest). One thread. */
#ifndef OPS_LOG_MERGE_H
#define OPS_LOG_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/file.h"

enum { LOG_PROCESS_MAX = 112, LOG_TIME_SIZE = 25, LOG_SOURCES_MAX = 4400 };

struct log_line {
    char time[LOG_TIME_SIZE]; /* "2026-01-02T03:04:05.678Z"; "" before the first of a file */
    bool dated;               /* the text begins with it */
    const char *process;
    const char *text; /* whole line without its end; bytes of the log as they are */
    uint64_t order;   /* of reading */
};

/* Time of a line, or false. */
bool log_line_time(const char *text, char time[LOG_TIME_SIZE]);

struct log_merge;
/* The newest attempt of a run folder. wanted: names of processes or roles ("actor.1", "actor"), which stand for
 * those of nodes, too (NODE-actor.1.log); none: all. */
MUST_CHECK enum status log_merge_open(struct log_merge **merge, const char *run_folder,
                                      const char *const *wanted, size_t wanted_count);
void log_merge_close(struct log_merge **merge);
/* Lines that came since the last call, in order, at the first call at most the last `most` (0: all). They live until
 * the next call. `ended`: also a last line without its end. */
MUST_CHECK enum status log_merge_poll(struct log_merge *merge, size_t most, bool ended,
                                      const struct log_line **lines, size_t *count);
/* Names of the processes that have a log, " a b c"; for a sentence. */
void log_merge_names(const struct log_merge *merge, char *out, size_t size);
size_t log_merge_sources(const struct log_merge *merge); /* files that are wanted */

#endif
