/* ops/eval/responses.h - responses.jsonl of an evaluation: one row a sample, written as samples end.
 *
 * While it grows, rows stand in the order in which they ended; responses_finish puts them into the order of (row, sample),
 * so the finished file has the same bytes however often the work was cut off. A last line that is not whole (the machine
 * died) is cut away when the file is opened again. One thread. */
#ifndef OPS_EVAL_RESPONSES_H
#define OPS_EVAL_RESPONSES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/file.h"

struct responses {
    char path[FILE_PATH_MAX];
    FILE *file;
    uint64_t rows;
    uint32_t samples;
    int64_t *offset; /* [rows * samples] of its line; -1: not there yet */
    uint64_t have;
    int64_t end; /* bytes so far */
};

/* resume: rows that are there stay. INVALID: one of them is not of this evaluation (row or sample out of range). */
MUST_CHECK enum status responses_open(struct responses *responses, const char *path, uint64_t rows,
                                      uint32_t samples, bool resume);
void responses_close(struct responses *responses); /* a zeroed one is fine */
static inline bool responses_has(const struct responses *responses, uint64_t row, uint32_t sample)
{
    return responses->offset[row * responses->samples + sample] >= 0;
}
/* `json` has "index" (of the row) and "sample". It is with the system when this returns. */
MUST_CHECK enum status responses_add(struct responses *responses, const json_t *json);
/* All are there: the file gets its order. */
MUST_CHECK enum status responses_finish(struct responses *responses);

#endif
