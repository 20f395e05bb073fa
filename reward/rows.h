/* reward/rows.h - scores rows of a file: `weir reward --in cases.jsonl --out scores.jsonl`. docs/rows.md has each kind.
 *
 * A row is an object with "kind" (or the caller's), an id and what its area reads; its result has id, status, value and
 * the area's fields. Rows are scored by several threads; results come in the order of the rows. */
#ifndef REWARD_ROWS_H
#define REWARD_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

struct rows_options {
    const char *name; /* of the input, for errors */
    const char *kind; /* of rows that name none; NULL: that is an error */
    uint32_t jobs;
    int64_t timeout_ms; /* of one row */
    const json_t
        *config;   /* object: area name -> its configuration, "sandbox", "judge"; may be NULL */
    bool progress; /* on stderr */
};

struct rows_summary {
    uint64_t rows, ok, not_ok; /* not_ok: any other status */
    double sum;                /* of the values */
};

/* INVALID names file and line: not JSON, no kind, an unknown one. Errors of sandbox_open; IO. */
MUST_CHECK enum status rows_score(FILE *in, FILE *out, const struct rows_options *options,
                                  struct rows_summary *summary);
/* The command line; an exit code. */
int rows_command(int argc, char **argv);

#endif
