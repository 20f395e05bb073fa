/* rollout_store/ledger_judge.h - what the bytes of one ledger file are worth; pure.
 *
 * A record is whole when its frame is there, its CRC is right and its body decodes. Behind the last whole record
 * stands nothing (whole), the rest of a write that a crash cut off (torn: only the newest file may have it, and no
 * whole record follows), or something else (damaged). A snapshot stands at the head of a file and counts only
 * entire: when its last part is not there, the file is torn from byte 0, since a snapshot is synced before
 * anything else is written behind it. */
#ifndef ROLLOUT_STORE_LEDGER_JUDGE_H
#define ROLLOUT_STORE_LEDGER_JUDGE_H

#include "rollout_store/record.h"

typedef enum status (*ledger_replay_fn)(void *self, const struct record *record, uint64_t offset);

enum ledger_verdict { LEDGER_WHOLE, LEDGER_TORN, LEDGER_DAMAGED };

struct ledger_judgement {
    enum ledger_verdict verdict;
    size_t good;      /* bytes of whole records from the start of the file */
    size_t snapshot;  /* bytes of the snapshot at its head, 0 without one */
    uint64_t records; /* whole ones */
    char why[256];    /* what stands at `good`, unless whole */
};

/* newest: a torn tail is possible. Replays each whole record (replay may be NULL) with its offset in the file plus
 * `before`; nothing of an incomplete snapshot. arena: reset for each record. What replay returns instead of OK is
 * returned, *out then tells how far it came; LIMIT when the arena is too small; otherwise OK. */
MUST_CHECK enum status ledger_judge(const void *bytes, size_t size, bool newest, uint64_t before,
                                    ledger_replay_fn replay, void *self, struct arena *arena,
                                    struct ledger_judgement *out);
/* Only the head: whole with snapshot > 0 when a complete snapshot begins the file, whole with 0 when it begins with
 * something else. */
MUST_CHECK enum status ledger_judge_head(const void *bytes, size_t size, bool newest,
                                         struct arena *arena, struct ledger_judgement *out);

#endif
