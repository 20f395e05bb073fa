/* ops/jsonl.h - rows of JSONL files for the commands that prepare and measure data.
 *
 *     TRY(jsonl_open(&file, path));
 *     while ((status = jsonl_next(&file, &row)) == STATUS_OK && row != NULL) ... json_decref(row);
 *     jsonl_close(&file);
 *
 * One thread. */
#ifndef OPS_JSONL_H
#define OPS_JSONL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/buffer.h"
#include "core/status.h"

enum { JSONL_ID_MAX = 256 };

struct jsonl {
    const char *path; /* borrowed */
    FILE *file;
    char *line; /* of the row in hand, without its end; valid until the next call */
    size_t size, capacity;
    uint64_t number; /* of the line, from 1 */
};

MUST_CHECK enum status jsonl_open(struct jsonl *jsonl, const char *path);
void jsonl_close(struct jsonl *jsonl); /* a zeroed one is fine */
/* The next object, owned by the caller; NULL at the end. Empty lines are passed over. INVALID with file and line: no
 * JSON object, or a key twice. */
MUST_CHECK enum status jsonl_next(struct jsonl *jsonl, json_t **row);
/* One line. */
MUST_CHECK enum status jsonl_write(FILE *out, const json_t *row);

/* The name by which a row is found again: its member `key` (a text or a whole number), else "x" and the XXH3 of the row's
 * compact JSON (without the columns that weir itself adds: pass_rate). INVALID: a longer text. */
MUST_CHECK enum status jsonl_id(const json_t *row, const char *key, char id[JSONL_ID_MAX]);

/* The text of a prompt: a string, or the contents of a list of messages (text/content.h), joined by newlines (role: NULL
 * all, else those of this role). Appends; nothing when there is none. */
MUST_CHECK enum status jsonl_prompt_text(const json_t *prompt, const char *role,
                                         struct buffer *text);
/* The ground truth as a run would find it: reward_model.ground_truth, else answer, solution, label, ground_truth;
 * `key` names another one ("" none). NULL: none. */
const json_t *jsonl_answer(const json_t *row, const char *key);

#endif
