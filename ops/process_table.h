/* ops/process_table.h - processes.json of a run as the commands see it, with what /proc says right now.
 *
 * It is written by the supervisor of the run, and for its own workers by that of each node (ops/node.h) in RUN/nodes/NAME.
 * Each row of "processes" gets its present state: one that the supervisor had running may be stopped or gone since.
 * "sick" is an array of those that are not well: {"name","pid","state","since_ms","what"} in the order store,
 * learner, others; then those of nodes. One thread. */
#ifndef OPS_PROCESS_TABLE_H
#define OPS_PROCESS_TABLE_H

#include <jansson.h>
#include <stdbool.h>

#include "core/file.h"

/* A new reference. NOT_FOUND: the supervisor has not written it yet. */
MUST_CHECK enum status process_table_read(const char *run_folder, json_t **table);
/* And behind them the rows of nodes whose supervisors hold their locks; such a row says "node":"NAME". What else is in the
 * table ("wanted", "applied") is that of the run's own supervisor, which scales and drains its own processes only. */
MUST_CHECK enum status process_table_read_all(const char *run_folder, json_t **table);
/* The supervisor of this folder, of a run or a node, holds its lock on this machine: locks of a shared folder may be seen
 * on all machines. */
bool process_table_is_held_here(const char *folder);
/* The row of a process; NULL: there is none. Borrowed. */
json_t *process_table_find(const json_t *table, const char *name);
/* Why the store cannot answer, as a sentence; NULL: it may. Valid as long as the table. */
const char *process_table_store_trouble(const json_t *table);
uint64_t process_table_applied(const json_t *table);

#endif
