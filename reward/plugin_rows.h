/* reward/plugin_rows.h - sample rows for `weir plugin check|bench`, as jobs of a plugin host.
 *
 * One JSON object a line: {"response": "...", "ground_truth": any, "prompt": text or messages, "data_source": "...",
 * "row": {...}, "group": any, "finish": "eos|length|repetition", "response_ids": [...], "expected": number or status}.
 * Only response is needed. Without "row" the line itself is the data row. Rows with the same "group" are one group.
 * "messages" beside a text "prompt" are what the text was rendered from. */
#ifndef REWARD_PLUGIN_ROWS_H
#define REWARD_PLUGIN_ROWS_H

#include <jansson.h>

#include "reward/plugin_host.h"

enum { PLUGIN_ROWS_MAX = 100000 };

struct plugin_row {
    json_t *json; /* owned */
    char *texts;  /* owned: what the item's strings point to */
    int32_t *ids; /* owned, or NULL */
    weir_reward_item item;
};

struct plugin_rows {
    struct plugin_row *rows; /* [count] */
    uint32_t count;
};

/* text: the file's, `path` is for errors. INVALID: line and reason. */
MUST_CHECK enum status plugin_rows_read(struct plugin_rows *rows, const char *path,
                                        const char *text);
void plugin_rows_free(struct plugin_rows *rows);

/* A job of row `index`; storage is the index, as a pointer. plugin_rows_drop frees it. */
struct plugin_job *plugin_rows_job(const struct plugin_rows *rows, uint32_t index);
void plugin_rows_drop(struct plugin_job *job);

/* The row wants "expected" and got something else: why, in text. */
bool plugin_rows_differs(const struct plugin_row *row, const struct score *score, char text[128]);
const char *plugin_rows_status(enum score_status status);

#endif
