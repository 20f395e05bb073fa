/* ops/why.h - the answer to "why does it not go on", from the store's wait graph and the table of processes.
 *
 * why_merge puts them together; it works with either missing:
 *     {"run":"a","because":"the run waits for actor.1 ...","store":"answers",
 *      "waits":[{"who","for","since_ms","deadline_ms","what"}],"sick":[...],"fleet":[...]}
 * "store" is "answers" or the sentence that says why it does not. Everything else of the store's answer stays.
 * why_text is that for people: the cause, the graph as a tree from "run", other waits, who is idle, sick processes.
 * Pure. */
#ifndef OPS_WHY_H
#define OPS_WHY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"

struct why_case {
    const char *run;
    const json_t *answer; /* of the store to `why`; NULL: none */
    const char *trouble;  /* why there is none; NULL with an answer */
    const json_t *table;  /* of ops/process_table.h; NULL: none */
    int64_t stopped_ms;   /* run.stopped_s: when a stopped process is started again */
    bool supervisor_stopped;
    long supervisor;
};

/* A new reference; NULL when out of memory. */
json_t *why_merge(const struct why_case *why);
MUST_CHECK enum status why_text(const json_t *merged, struct buffer *text);

#endif
