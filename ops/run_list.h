/* ops/run_list.h - the runs under a folder, as `weir ls` shows them: one JSON object each.
 *
 *     {"name","folder","state","pid","step","steps","reward","attempt","started_ms","age_s","bytes","parent",
 *      "parent_step","exit_code","end"}
 *
 *   state: running, draining; over (it ended well, or nobody knows how), failed (exit_code), crashed (its supervisor
 *   is gone without having said so), new (a fork that has not started).
 * What is not known is null. Nothing here fails because of one odd folder. One thread. */
#ifndef OPS_RUN_LIST_H
#define OPS_RUN_LIST_H

#include <jansson.h>

#include "ops/run_folder.h"

/* A new reference, in the order of starting, newest last. A root that does not exist has no runs. */
MUST_CHECK enum status run_list_read(const char *root, json_t **runs);
/* One of them; a new reference. */
json_t *run_list_row(const char *folder, const char *name);
MUST_CHECK enum status run_list_text(const json_t *runs, int64_t now_ms, struct buffer *text);
/* The last whole line of metrics.jsonl; NULL: there is none. A new reference. */
json_t *run_list_last_step(const char *folder);
/* "4 s", "12 min", "3 h 20 min", "5 d 2 h"; "12.3 MB". */
void run_list_age(int64_t seconds, char *out, size_t size);
void run_list_bytes(uint64_t bytes, char *out, size_t size);

#endif
