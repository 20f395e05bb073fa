/* learner/lines.h - files of JSON lines that a run appends to (metrics.jsonl, gradients.jsonl) and goes on with after
 * a kill: lines that will be made again, and one cut off by the kill, are taken away first. One thread. */
#ifndef LEARNER_LINES_H
#define LEARNER_LINES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/buffer.h"

C_BEGIN

/* Opens `path` for appending. Each line begins {"key":n, and those with n > upto, and a cut-off one, are removed. */
MUST_CHECK enum status lines_open(FILE **file, const char *path, const char *key, uint64_t upto);
/* Leaves the last `count` lines of a file, which is replaced whole; one that is not there is fine. Before lines_open. */
MUST_CHECK enum status lines_keep_last(const char *path, uint64_t count);
/* One attempt to append `line`, newline included; what a full disk left of it is taken back. *full (may be NULL): there
 * was no room. name: for the sentence. */
MUST_CHECK enum status lines_append(FILE *file, const char *name, const struct buffer *line,
                                    bool *full);

C_END
#endif
