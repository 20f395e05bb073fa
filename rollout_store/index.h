/* rollout_store/index.h - run.db: the ledger as SQLite tables, for people and tools. A view: it is caught up from the
 * ledger offset it has absorbed, may be deleted at any time, and a failure only switches it off with a warning.
 *
 * A helper thread owns the database; index_advance only says how far the synced ledger reaches. */
#ifndef ROLLOUT_STORE_INDEX_H
#define ROLLOUT_STORE_INDEX_H

#include <stdint.h>

#include "core/status.h"

struct index;
MUST_CHECK enum status index_open(struct index **index, const char *path,
                                  const char *ledger_folder);
void index_advance(struct index *index, uint64_t offset); /* NULL index is fine */
void index_close(struct index **index); /* absorbs what was said, then stops the thread */

#endif
