/* learner/eval_rows.h - figures of evaluated versions, as members of the next line of metrics.jsonl.
 *
 * Another process appends them to RUN/eval/table.jsonl. A line of metrics.jsonl gets those that arrived since the line
 * before it: "eval/SET/avg_at_n": ..., and "eval/SET/version", the version they are of, which is earlier than the line's.
 * What arrives after the last line is appended by that other process. One thread. */
#ifndef LEARNER_EVAL_ROWS_H
#define LEARNER_EVAL_ROWS_H

#include <stdint.h>

#include "core/buffer.h"
#include "core/file.h"

struct eval_rows {
    char path[FILE_PATH_MAX]; /* "": nothing is evaluated */
    int64_t offset;           /* bytes taken */
};

/* Rows that are there already have been in a line, or get one at the end. */
MUST_CHECK enum status eval_rows_open(struct eval_rows *rows, const char *run_folder);
/* Appends ,"eval/...":... for each new figure; of two rows of one set the newer. A zeroed one has none. A table that
 * cannot be read is logged: no figure is worth a step. */
MUST_CHECK enum status eval_rows_take(struct eval_rows *rows, struct buffer *line);

#endif
