/* ops/process_table.h - processes.json of a run as the commands see it, with what /proc says right now.
 *
 * Each row of "processes" gets its present state: one that the supervisor had running may be stopped or gone since.
 * "sick" is an array of those that are not well: {"name","pid","state","since_ms","what"} in the order store,
 * learner, others. One thread. */
#ifndef OPS_PROCESS_TABLE_H
#define OPS_PROCESS_TABLE_H

#include <jansson.h>

#include "core/file.h"

/* A new reference. NOT_FOUND: the supervisor has not written it yet. */
MUST_CHECK enum status process_table_read(const char *run_folder, json_t **table);
/* The row of a process; NULL: there is none. Borrowed. */
json_t *process_table_find(const json_t *table, const char *name);
/* Why the store cannot answer, as a sentence; NULL: it may. Valid as long as the table. */
const char *process_table_store_trouble(const json_t *table);
uint64_t process_table_applied(const json_t *table);

#endif
