/* rollout_store/index_rows.c - ledger records to rows, in one transaction for each catch-up. */
#include "rollout_store/index_rows.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "core/fault.h"
#include "core/log.h"
#include "rollout_store/ledger.h"

enum { ROWS_BUSY_MS = 2000, GIVE_UP_BYTES = 1 << 16 };

enum statement {
    INSERT_GROUP,
    SET_STATE,
    INSERT_ROLLOUT,
    SET_SCORE,
    INSERT_PLAN,
    SET_PLANNED,
    SET_CONSUMED,
    INSERT_VERSION,
    SET_OFFSET,
    STATEMENT_COUNT
};

static const char *const statement_text[STATEMENT_COUNT] = {
    [INSERT_GROUP] = "INSERT OR REPLACE INTO groups(id,prompt,min_version,retry,state,born_ns) "
                     "VALUES(?1,?2,?3,?4,'open',?5)",
    [SET_STATE] = "UPDATE groups SET state=?2,reason=?3 WHERE id=?1",
    [INSERT_ROLLOUT] =
        "INSERT OR REPLACE INTO rollouts(group_id,sample,attempt,tokens,version,finish) "
        "VALUES(?1,?2,?3,?4,?5,?6)",
    [SET_SCORE] =
        "UPDATE rollouts SET score_status=?3,reward=?4,detail=?5 WHERE group_id=?1 AND sample=?2",
    [INSERT_PLAN] = "INSERT OR REPLACE INTO plans(version,branch,groups,groups_dropped,wall_ns) "
                    "VALUES(?1,?2,?3,?4,?5)",
    [SET_PLANNED] = "UPDATE groups SET state='planned',planned_version=?2 WHERE id=?1",
    [SET_CONSUMED] =
        "UPDATE groups SET state='consumed' WHERE state='planned' AND planned_version<=?1",
    [INSERT_VERSION] =
        "INSERT OR REPLACE INTO versions(branch,version,digest,wall_ns) VALUES(?1,?2,?3,?4)",
    [SET_OFFSET] = "INSERT OR REPLACE INTO meta(key,value) VALUES('offset',?1),('tail',?2),"
                   "('tail_wall_ns',?3),('tail_type',?4)",
};

_Static_assert((int)STATEMENT_COUNT == (int)ROWS_STATEMENTS, "the header says how many");

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER);"
    "CREATE TABLE IF NOT EXISTS groups(id INTEGER PRIMARY KEY, prompt INTEGER, min_version "
    "INTEGER, retry INTEGER, state TEXT,"
    " reason INTEGER, planned_version INTEGER, born_ns INTEGER);"
    "CREATE TABLE IF NOT EXISTS rollouts(group_id INTEGER, sample INTEGER, attempt INTEGER, tokens "
    "INTEGER, version INTEGER,"
    " finish INTEGER, score_status INTEGER, reward REAL, detail TEXT, PRIMARY KEY(group_id, "
    "sample)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS plans(version INTEGER, branch INTEGER, groups INTEGER, "
    "groups_dropped INTEGER, wall_ns INTEGER,"
    " PRIMARY KEY(branch, version)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS versions(branch INTEGER, version INTEGER, digest TEXT, wall_ns "
    "INTEGER,"
    " PRIMARY KEY(branch, version)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS groups_planned ON groups(planned_version) WHERE state='planned';";

/* ---- rows ---- */

static enum status failed(struct rows *rows, const char *what)
{
    return FAIL(STATUS_IO, "run.db: %s: %s", what, sqlite3_errmsg(rows->db));
}

static enum status execute(struct rows *rows, const char *sql)
{
    return sqlite3_exec(rows->db, sql, NULL, NULL, NULL) == SQLITE_OK ? STATUS_OK
                                                                      : failed(rows, "SQL");
}

static enum status run_statement(struct rows *rows, enum statement which, const int64_t *numbers,
                                 int count)
{
    sqlite3_stmt *statement = rows->statements[which];
    for (int i = 0; i < count; i++)
        sqlite3_bind_int64(statement, i + 1, numbers[i]);
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? STATUS_OK : failed(rows, statement_text[which]);
}

#define RUN(rows, which, ...)                                      \
    run_statement((rows), (which), (const int64_t[]){__VA_ARGS__}, \
                  (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

/* A rollout is one row from its first segment on; its tokens are counted by its last position. */
static enum status absorb_segment(struct rows *rows, const struct segment *segment)
{
    if (segment->status == SEGMENT_MORE || segment->status == SEGMENT_ABORT)
        return STATUS_OK;
    return RUN(rows, INSERT_ROLLOUT, (int64_t)segment->group_id, segment->sample, segment->attempt,
               (int64_t)segment->first_position + segment->count, (int64_t)segment->version,
               (int64_t)segment->status);
}

static enum status absorb_score(struct rows *rows, const struct score *score)
{
    sqlite3_stmt *statement = rows->statements[SET_SCORE];
    sqlite3_bind_double(statement, 4, score->value);
    sqlite3_bind_text(statement, 5, score->detail_json, -1, SQLITE_TRANSIENT);
    return RUN(rows, SET_SCORE, (int64_t)score->group_id, score->sample, (int64_t)score->status);
}

static enum status set_state(struct rows *rows, uint64_t group, const char *state, int64_t reason)
{
    sqlite3_stmt *statement = rows->statements[SET_STATE];
    sqlite3_bind_text(statement, 2, state, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, reason);
    return RUN(rows, SET_STATE, (int64_t)group);
}

static enum status absorb_plan(struct rows *rows, const struct plan *plan, int64_t wall_ns)
{
    for (uint32_t i = 0; i < plan->group_count; i++)
        TRY(RUN(rows, SET_PLANNED, (int64_t)plan->group_ids[i], (int64_t)plan->version));
    return RUN(rows, INSERT_PLAN, (int64_t)plan->version, plan->branch, plan->group_count,
               plan->groups_dropped, wall_ns);
}

static enum status absorb_version(struct rows *rows, const struct record *record)
{
    char digest[32];
    snprintf(digest, sizeof digest, "%016" PRIx64, record->version.digest);
    sqlite3_bind_text(rows->statements[INSERT_VERSION], 3, digest, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(rows->statements[INSERT_VERSION], 4, record->wall_ns);
    return RUN(rows, INSERT_VERSION, record->version.branch, (int64_t)record->version.version);
}

static enum status absorb(void *self, const struct record *record, uint64_t offset)
{
    struct rows *rows = self;
    if (rows->give_up != NULL && offset / GIVE_UP_BYTES != rows->tail / GIVE_UP_BYTES &&
        rows->give_up(rows->self))
        return FAIL(STATUS_CANCELLED, "the index was told to stop");
    rows->tail = offset;
    rows->tail_wall_ns = record->wall_ns;
    rows->tail_type = record->type;
    switch (record->type) {
    case RECORD_BORN:
        return RUN(rows, INSERT_GROUP, (int64_t)record->born.group_id,
                   (int64_t)record->born.prompt_id, (int64_t)record->born.min_version,
                   record->born.retry, record->wall_ns);
    case RECORD_SEGMENT:
        return absorb_segment(rows, &record->segment.segment);
    case RECORD_SCORED:
        return absorb_score(rows, &record->scored.score);
    case RECORD_CLOSED:
        return set_state(rows, record->closed.group_id, "eligible", 0);
    case RECORD_REOPENED:
        return set_state(rows, record->reopened.group_id, "open", 0);
    case RECORD_DROPPED:
        return set_state(rows, record->dropped.group_id, "dropped",
                         (int64_t)record->dropped.reason);
    case RECORD_PLAN:
        return absorb_plan(rows, &record->plan.plan, record->wall_ns);
    case RECORD_CHECKPOINT:
        return RUN(rows, SET_CONSUMED, (int64_t)record->checkpoint.version);
    case RECORD_VERSION:
        return absorb_version(rows, record);
    default:
        return STATUS_OK;
    }
}

/* ---- catching up ---- */

static enum status catch_up(struct rows *rows, const char *ledger_folder, uint64_t target)
{
    TRY(ledger_scan(ledger_folder, rows->absorbed, target, absorb, rows));
    TRY(RUN(rows, SET_OFFSET, (int64_t)target, (int64_t)rows->tail, rows->tail_wall_ns,
            (int64_t)rows->tail_type));
    if (fault_fails("index.commit"))
        return FAIL(STATUS_IO, "run.db: planted failure before a commit");
    return execute(rows, "COMMIT");
}

enum status rows_catch_up(struct rows *rows, const char *ledger_folder, uint64_t target)
{
    struct rows before = *rows;
    TRY(execute(rows, "BEGIN"));
    enum status status = catch_up(rows, ledger_folder, target);
    if (status == STATUS_OK) {
        rows->absorbed = target;
        return STATUS_OK;
    }
    *rows = before;
    if (sqlite3_get_autocommit(rows->db) == 0 &&
        sqlite3_exec(rows->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        LOG_DEBUG("index", "rollback", "why=\"%s\"", sqlite3_errmsg(rows->db));
    return status;
}

/* ---- is it ours, is it whole ---- */

static enum status read_number(struct rows *rows, const char *key, int64_t *value)
{
    sqlite3_stmt *statement = NULL;
    *value = 0;
    if (sqlite3_prepare_v2(rows->db, "SELECT value FROM meta WHERE key=?1", -1, &statement, NULL) !=
        SQLITE_OK)
        return failed(rows, "meta");
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? STATUS_OK : failed(rows, "meta");
}

static enum status read_offset(struct rows *rows)
{
    int64_t absorbed, tail, type;
    TRY(read_number(rows, "offset", &absorbed));
    TRY(read_number(rows, "tail", &tail));
    TRY(read_number(rows, "tail_wall_ns", &rows->tail_wall_ns));
    TRY(read_number(rows, "tail_type", &type));
    rows->absorbed = (uint64_t)absorbed;
    rows->tail = (uint64_t)tail;
    rows->tail_type = (uint32_t)type;
    return STATUS_OK;
}

enum status rows_quick_check(struct rows *rows)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(rows->db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK)
        return failed(rows, "quick_check");
    const char *text = NULL;
    enum status status = STATUS_OK;
    if (sqlite3_step(statement) == SQLITE_ROW)
        text = (const char *)sqlite3_column_text(statement, 0);
    if (text == NULL || strcmp(text, "ok") != 0)
        status = FAIL(STATUS_CORRUPT, "run.db: %.200s", text != NULL ? text : "quick_check failed");
    sqlite3_finalize(statement);
    return status;
}

struct tail {
    const struct rows *rows;
    uint64_t records;
    bool same;
};

static enum status see_tail(void *self, const struct record *record, uint64_t offset)
{
    struct tail *tail = self;
    tail->records++;
    tail->same = offset == tail->rows->tail && record->wall_ns == tail->rows->tail_wall_ns &&
                 (uint32_t)record->type == tail->rows->tail_type;
    return STATUS_OK;
}

enum status rows_fit(const struct rows *rows, const char *ledger_folder, uint64_t end)
{
    if (rows->absorbed > end)
        return FAIL(STATUS_CORRUPT, "run.db has absorbed %" PRIu64 " bytes of a ledger of %" PRIu64,
                    rows->absorbed, end);
    if (rows->absorbed == 0 && end == 0)
        return STATUS_OK;
    struct tail tail = {.rows = rows};
    enum status status = STATUS_OK;
    if (rows->tail < rows->absorbed)
        status = ledger_scan(ledger_folder, rows->tail, rows->absorbed, see_tail, &tail);
    if (status != STATUS_OK || tail.records != 1 || !tail.same)
        return FAIL(STATUS_CORRUPT, "run.db was not made from this ledger");
    return STATUS_OK;
}

bool rows_fold(struct rows *rows)
{
    int in_log = -1, folded = 0;
    return sqlite3_wal_checkpoint_v2(rows->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &in_log,
                                     &folded) == SQLITE_OK;
}

/* ---- life ---- */

enum status rows_open(struct rows *rows, const char *path, bool building)
{
    if (sqlite3_open(path, &rows->db) != SQLITE_OK)
        return failed(rows, path);
    sqlite3_busy_timeout(rows->db, ROWS_BUSY_MS);
    TRY(execute(rows, building ? "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF"
                               : "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF"));
    TRY(execute(rows, schema));
    for (int i = 0; i < STATEMENT_COUNT; i++)
        if (sqlite3_prepare_v2(rows->db, statement_text[i], -1, &rows->statements[i], NULL) !=
            SQLITE_OK)
            return failed(rows, statement_text[i]);
    return read_offset(rows);
}

void rows_close(struct rows *rows)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(rows->statements[i]);
        rows->statements[i] = NULL;
    }
    sqlite3_close(rows->db);
    rows->db = NULL;
}
