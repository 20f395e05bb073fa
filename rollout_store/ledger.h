/* rollout_store/ledger.h - the append-only log on disk: truth.
 *
 * Files <folder>/ledger.NNNNNN of at most file_bytes each. ledger_append writes, ledger_sync is one
 * fdatasync; after a failed write or sync the ledger is dead and the store stops (a sync must not be tried
 * again). A full disk says so with bytes and path. Opening replays every record; a torn tail of the newest
 * file is cut (bytes reported), damage anywhere else is CORRUPT with file and offset. One writer: flock. */
#ifndef ROLLOUT_STORE_LEDGER_H
#define ROLLOUT_STORE_LEDGER_H

#include "rollout_store/record.h"

struct ledger;
typedef enum status (*ledger_replay_fn)(void *self, const struct record *record, uint64_t offset);
MUST_CHECK enum status ledger_open(struct ledger **ledger, const char *folder, uint64_t file_bytes,
                                   ledger_replay_fn replay, void *self, uint64_t *records,
                                   uint64_t *torn_bytes);
void ledger_close(struct ledger **ledger);
MUST_CHECK enum status ledger_append(struct ledger *ledger, const void *frames, size_t size);
MUST_CHECK enum status ledger_sync(struct ledger *ledger);
uint64_t ledger_offset(const struct ledger *ledger); /* bytes over all files */
/* Reads the records in [from, to) of a ledger that another thread may be writing (offsets are frame boundaries that
 * ledger_offset gave after a sync). Takes no lock. */
MUST_CHECK enum status ledger_scan(const char *folder, uint64_t from, uint64_t to,
                                   ledger_replay_fn replay, void *self);

#endif
