/* ops/eval_table.h - RUN/eval/table.jsonl: the figures of every evaluated version of a run, one line a version and set.
 *
 *     {"step":20,"set":"aime","status":"done","branch":0,"digest":"...","wall":...,"prompts":30,"samples":16,
 *      "eval/aime/avg_at_n":0.31,"eval/aime/avg_at_n_low":0.22,...}
 *     {"step":30,"status":"skipped","digest":"...","why":"..."}     as with "failed"
 *
 * `weir eval --table RUN`, `weir status` and the end of `weir run` show it. Written by ops/eval/follow.c. One thread. */
#ifndef OPS_EVAL_TABLE_H
#define OPS_EVAL_TABLE_H

#include <jansson.h>

#include "core/buffer.h"
#include "core/status.h"

/* Its rows as a new array, empty when there is no file; a last line that is not whole is left out. */
MUST_CHECK enum status eval_table_read(const char *run_folder, json_t **rows);
/* For people: one line a row, at most the last `most` (0: all) of them. "" without rows. */
MUST_CHECK enum status eval_table_text(const json_t *rows, size_t most, struct buffer *text);
/* The member "eval/SET/NAME" of a row as a number, NAN without it. */
double eval_table_figure(const json_t *row, const char *name);

#endif
