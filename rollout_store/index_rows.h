/* rollout_store/index_rows.h - the tables of run.db and how ledger records become rows; private to index*.c.
 *
 * Every catch-up is one transaction: records and the offset they reach appear together or not at all. Beside the
 * offset stands what the last absorbed record was, so that a database of another ledger is noticed. One thread. */
#ifndef ROLLOUT_STORE_INDEX_ROWS_H
#define ROLLOUT_STORE_INDEX_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

struct sqlite3;
struct sqlite3_stmt;

enum { ROWS_STATEMENTS = 9 };

struct rows {
    struct sqlite3 *db;
    struct sqlite3_stmt *statements[ROWS_STATEMENTS];
    uint64_t absorbed; /* ledger offset */
    uint64_t tail;     /* offset of the last record before it */
    int64_t tail_wall_ns;
    uint32_t tail_type;          /* enum record_type, 0: none */
    bool (*give_up)(void *self); /* asked now and then during a catch-up; NULL: never */
    void *self;
};

/* building: a file that nobody reads yet, without a journal. IO says what sqlite said; rows_close either way. */
MUST_CHECK enum status rows_open(struct rows *rows, const char *path, bool building);
void rows_close(struct rows *rows);
/* CORRUPT when sqlite's quick_check finds anything. */
MUST_CHECK enum status rows_quick_check(struct rows *rows);
/* CORRUPT: it was not made from this ledger of `end` bytes, or is ahead of it. */
MUST_CHECK enum status rows_fit(const struct rows *rows, const char *ledger_folder, uint64_t end);
/* Absorbs up to `target`. CANCELLED when give_up said so; after a failure nothing of it is there. */
MUST_CHECK enum status rows_catch_up(struct rows *rows, const char *ledger_folder, uint64_t target);
/* Everything into the one file; false: a reader is in the way. */
bool rows_fold(struct rows *rows);

#endif
