/* rollout_store/index.h - run.db: the ledger as SQLite tables, for people and tools. A view: it is caught up from the
 * ledger offset it has absorbed and may be deleted at any time. When it is missing, damaged, of another ledger or ahead
 * of this one, it is made anew beside and renamed, in the background and with one log line; when that fails too, it is
 * switched off with a warning and the run goes on.
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
/* Absorbs what was said, then stops the thread; what takes longer than 3 s is left to the next start. */
void index_close(struct index **index);

#endif
