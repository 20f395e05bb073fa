/* rollout_store/ledger.h - the append-only log on disk: truth. docs/ledger.md tells the whole story.
 *
 * Files <folder>/ledger.NNNNNN of about file_bytes each, counted from 0 without gaps. ledger_append writes,
 * ledger_sync is one fdatasync. A full disk (ENOSPC, EDQUOT) is LIMIT with path, bytes wanted and bytes free; the
 * file is as it was before, and the same call may be made again. After any other failed write and any failed sync
 * the ledger is dead and the store stops (a sync must not be tried again).
 *
 * ledger_begin starts a new file with a snapshot of the book, which is on disk when it returns. Opening replays from
 * the newest file that begins with an entire snapshot, else from file 0; an unfinished snapshot at the head of the
 * newest file is cut to nothing, and a torn tail of the newest file is cut (bytes reported). Anything else that is
 * not a record is CORRUPT with file and byte. Files before the start are not read; index, replay and audits do.
 * One writer: flock. */
#ifndef ROLLOUT_STORE_LEDGER_H
#define ROLLOUT_STORE_LEDGER_H

#include "rollout_store/ledger_judge.h"

/* A snapshot is due when this many bytes follow the last one, and this many times what it would take: so restart
 * reads at most (LEDGER_SNAPSHOT_TIMES + 1) snapshots or about 64 MiB, and snapshots cost at most a quarter more
 * writing. */
enum { LEDGER_SNAPSHOT_BYTES = 64 << 20, LEDGER_SNAPSHOT_TIMES = 4 };

struct ledger;
MUST_CHECK enum status ledger_open(struct ledger **ledger, const char *folder, uint64_t file_bytes,
                                   ledger_replay_fn replay, void *self, uint64_t *records,
                                   uint64_t *torn_bytes);
void ledger_close(struct ledger **ledger);
MUST_CHECK enum status ledger_append(struct ledger *ledger, const void *frames, size_t size);
MUST_CHECK enum status ledger_sync(struct ledger *ledger);
/* What was appended before must be synced. snapshot: RECORD_SNAPSHOT frames made for ledger_offset. */
MUST_CHECK enum status ledger_begin(struct ledger *ledger, const void *snapshot, size_t size);
uint64_t ledger_offset(const struct ledger *ledger);         /* bytes over all files */
uint64_t ledger_since_snapshot(const struct ledger *ledger); /* bytes behind the newest snapshot */
uint64_t ledger_start(const struct ledger *ledger); /* offset of the newest snapshot; 0 without */
bool ledger_wants_snapshot(const struct ledger *ledger, uint64_t snapshot_bytes);
/* Reads the records in [from, to) of a ledger that another thread may be writing (offsets are frame boundaries that
 * ledger_offset gave after a sync). Takes no lock. */
MUST_CHECK enum status ledger_scan(const char *folder, uint64_t from, uint64_t to,
                                   ledger_replay_fn replay, void *self);
/* Every record from file 0 on, of a ledger that nobody writes; what a crash cut off at the end is left out. Takes no lock and
 * changes nothing. NOT_FOUND: no file; CORRUPT names file and byte. */
MUST_CHECK enum status ledger_read(const char *folder, ledger_replay_fn replay, void *self);

#endif
