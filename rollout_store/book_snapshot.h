/* rollout_store/book_snapshot.h - the whole durable state of the book as bytes, and back.
 *
 * A snapshot holds everything that book_apply changes and nothing else: a book restored from one and a book that
 * replayed the ledger from its first record behave alike, and their snapshots are equal byte for byte. What dies
 * with the process (peers, credits, who scores what, counters of refused messages) is not in it.
 *
 * Bytes: {u32 format, u32 0, u64 core bytes} core holders; the core is a function of the records alone, while an
 * idle holder may have been forgotten by a running store that a replay still knows. One thread. */
#ifndef ROLLOUT_STORE_BOOK_SNAPSHOT_H
#define ROLLOUT_STORE_BOOK_SNAPSHOT_H

#include "core/buffer.h"
#include "rollout_store/record.h"

struct book;

/* Appends the state. INVALID before the run record. */
MUST_CHECK enum status book_snapshot(const struct book *book, struct buffer *bytes);
/* Appends it as framed records, for ledger_begin; offset: ledger_offset now. */
MUST_CHECK enum status book_snapshot_pack(const struct book *book, uint64_t offset,
                                          struct buffer *records);
/* About how many bytes that is; walks the groups, copies nothing. */
uint64_t book_snapshot_estimate(const struct book *book);
/* One RECORD_SNAPSHOT. An empty book is filled when the last part came; a book with a state is compared with the
 * core, and CORRUPT says that they differ. INVALID: another run, seed or data. */
MUST_CHECK enum status book_restore(struct book *book, const struct record *record);
/* Of a snapshot's bytes: where the holders begin. 0: no snapshot. */
size_t book_snapshot_core(const struct buffer *bytes);

#endif
