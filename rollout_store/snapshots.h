/* rollout_store/snapshots.h - when the store writes a snapshot of the book at the head of a new ledger file. */
#ifndef ROLLOUT_STORE_SNAPSHOTS_H
#define ROLLOUT_STORE_SNAPSHOTS_H

#include <stdint.h>

#include "core/status.h"

struct book;
struct ledger;

struct snapshots {
    uint64_t look_at; /* ledger_since_snapshot at which it is looked at again */
    uint64_t count;   /* written by this process */
    uint64_t bytes;   /* of the newest */
    int64_t took_ns;  /* to make, write and sync it */
};

/* Call when everything the book decided is appended and synced. Writes a snapshot when ledger_wants_snapshot says so;
 * a full disk only puts it off, with a warning. Other errors are those of ledger_begin. */
MUST_CHECK enum status snapshots_round(struct snapshots *snapshots, const struct book *book,
                                       struct ledger *ledger);

#endif
