/* rollout_store/index.c - ledger records to rows, in one transaction for each catch-up. */
#include "rollout_store/index.h"

#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "rollout_store/ledger.h"

enum { INDEX_IDLE_MS = 1000, INDEX_BUSY_MS = 2000 };

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
    [SET_OFFSET] = "INSERT OR REPLACE INTO meta(key,value) VALUES('offset',?1)",
};

static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
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

struct index {
    char folder[FILE_PATH_MAX]; /* of the ledger */
    sqlite3 *db;                /* the thread's */
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint64_t absorbed; /* the thread's */
    pthread_t thread;
    pthread_mutex_t lock; /* LOCK_INDEX guards target and closing */
    pthread_cond_t changed;
    uint64_t target;
    bool closing;
};

/* ---- rows ---- */

static enum status failed(struct index *index, const char *what)
{
    return FAIL(STATUS_IO, "run.db: %s: %s", what, sqlite3_errmsg(index->db));
}

static enum status execute(struct index *index, const char *sql)
{
    return sqlite3_exec(index->db, sql, NULL, NULL, NULL) == SQLITE_OK ? STATUS_OK
                                                                       : failed(index, "SQL");
}

static enum status run_statement(struct index *index, enum statement which, const int64_t *numbers,
                                 int count)
{
    sqlite3_stmt *statement = index->statements[which];
    for (int i = 0; i < count; i++)
        sqlite3_bind_int64(statement, i + 1, numbers[i]);
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? STATUS_OK : failed(index, statement_text[which]);
}

#define RUN(index, which, ...)                                      \
    run_statement((index), (which), (const int64_t[]){__VA_ARGS__}, \
                  (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

/* A rollout is one row from its first segment on; its tokens are counted by its last position. */
static enum status absorb_segment(struct index *index, const struct segment *segment)
{
    if (segment->status == SEGMENT_MORE || segment->status == SEGMENT_ABORT)
        return STATUS_OK;
    return RUN(index, INSERT_ROLLOUT, (int64_t)segment->group_id, segment->sample, segment->attempt,
               (int64_t)segment->first_position + segment->count, (int64_t)segment->version,
               (int64_t)segment->status);
}

static enum status absorb_score(struct index *index, const struct score *score)
{
    sqlite3_stmt *statement = index->statements[SET_SCORE];
    sqlite3_bind_double(statement, 4, score->value);
    sqlite3_bind_text(statement, 5, score->detail_json, -1, SQLITE_TRANSIENT);
    return RUN(index, SET_SCORE, (int64_t)score->group_id, score->sample, (int64_t)score->status);
}

static enum status set_state(struct index *index, uint64_t group, const char *state, int64_t reason)
{
    sqlite3_stmt *statement = index->statements[SET_STATE];
    sqlite3_bind_text(statement, 2, state, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, reason);
    return RUN(index, SET_STATE, (int64_t)group);
}

static enum status absorb_plan(struct index *index, const struct plan *plan, int64_t wall_ns)
{
    for (uint32_t i = 0; i < plan->group_count; i++)
        TRY(RUN(index, SET_PLANNED, (int64_t)plan->group_ids[i], (int64_t)plan->version));
    return RUN(index, INSERT_PLAN, (int64_t)plan->version, plan->branch, plan->group_count,
               plan->groups_dropped, wall_ns);
}

static enum status absorb_version(struct index *index, const struct record *record)
{
    char digest[32];
    snprintf(digest, sizeof digest, "%016" PRIx64, record->version.digest);
    sqlite3_bind_text(index->statements[INSERT_VERSION], 3, digest, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(index->statements[INSERT_VERSION], 4, record->wall_ns);
    return RUN(index, INSERT_VERSION, record->version.branch, (int64_t)record->version.version);
}

static enum status absorb(void *self, const struct record *record, uint64_t offset)
{
    struct index *index = self;
    (void)offset;
    switch (record->type) {
    case RECORD_BORN:
        return RUN(index, INSERT_GROUP, (int64_t)record->born.group_id,
                   (int64_t)record->born.prompt_id, (int64_t)record->born.min_version,
                   record->born.retry, record->wall_ns);
    case RECORD_SEGMENT:
        return absorb_segment(index, &record->segment.segment);
    case RECORD_SCORED:
        return absorb_score(index, &record->scored.score);
    case RECORD_CLOSED:
        return set_state(index, record->closed.group_id, "eligible", 0);
    case RECORD_DROPPED:
        return set_state(index, record->dropped.group_id, "dropped",
                         (int64_t)record->dropped.reason);
    case RECORD_PLAN:
        return absorb_plan(index, &record->plan.plan, record->wall_ns);
    case RECORD_CHECKPOINT:
        return RUN(index, SET_CONSUMED, (int64_t)record->checkpoint.version);
    case RECORD_VERSION:
        return absorb_version(index, record);
    default:
        return STATUS_OK;
    }
}

/* ---- catching up ---- */

static enum status catch_up(struct index *index, uint64_t target)
{
    TRY(execute(index, "BEGIN"));
    enum status status = ledger_scan(index->folder, index->absorbed, target, absorb, index);
    if (status == STATUS_OK)
        status = RUN(index, SET_OFFSET, (int64_t)target);
    if (status != STATUS_OK) {
        if (sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
            LOG_DEBUG("index", "rollback", "why=\"%s\"", sqlite3_errmsg(index->db));
        return status;
    }
    TRY(execute(index, "COMMIT"));
    index->absorbed = target;
    return STATUS_OK;
}

static void *index_thread(void *self)
{
    struct index *index = self;
    bool closing = false;
    while (!closing) {
        pthread_mutex_lock(&index->lock);
        if (!index->closing && index->target <= index->absorbed) {
            enum status waited =
                wait_condition("records to index", "ledger",
                               clock_now_ns() + INDEX_IDLE_MS * (int64_t)CLOCK_NS_PER_MS,
                               &index->changed, &index->lock);
            (void)waited; /* looked at again either way */
        }
        closing = index->closing;
        uint64_t target = index->target;
        pthread_mutex_unlock(&index->lock);
        if (target <= index->absorbed)
            continue;
        enum status status = catch_up(index, target);
        if (status != STATUS_OK) {
            LOG_WARN("index", "switched off; the run goes on", "why=\"%s\"", status_last_error());
            return NULL;
        }
    }
    return NULL;
}

static enum status read_offset(struct index *index)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(index->db, "SELECT value FROM meta WHERE key='offset'", -1, &statement,
                           NULL) != SQLITE_OK)
        return failed(index, "meta");
    if (sqlite3_step(statement) == SQLITE_ROW)
        index->absorbed = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return STATUS_OK;
}

static enum status open_database(struct index *index, const char *path)
{
    if (sqlite3_open(path, &index->db) != SQLITE_OK)
        return failed(index, path);
    sqlite3_busy_timeout(index->db, INDEX_BUSY_MS);
    TRY(execute(index, schema));
    for (int i = 0; i < STATEMENT_COUNT; i++)
        if (sqlite3_prepare_v2(index->db, statement_text[i], -1, &index->statements[i], NULL) !=
            SQLITE_OK)
            return failed(index, statement_text[i]);
    return read_offset(index);
}

static void close_database(struct index *index)
{
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(index->statements[i]);
    sqlite3_close(index->db);
}

enum status index_open(struct index **out, const char *path, const char *ledger_folder)
{
    *out = NULL;
    struct index *index = memory_alloc(sizeof *index);
    if (index == NULL)
        return FAIL(STATUS_NO_MEMORY, "index");
    enum status status;
    TRY_GOTO(fail, file_path(index->folder, "%s", ledger_folder));
    TRY_GOTO(fail, open_database(index, path));
    TRY_GOTO(fail, wait_condition_init(&index->changed));
    pthread_mutex_init(&index->lock, NULL);
    if (pthread_create(&index->thread, NULL, index_thread, index) == 0) {
        *out = index;
        return STATUS_OK;
    }
    status = FAIL(STATUS_NO_MEMORY, "index thread");
    pthread_cond_destroy(&index->changed);
    pthread_mutex_destroy(&index->lock);
fail:
    close_database(index);
    memory_free(index);
    return status;
}

void index_advance(struct index *index, uint64_t offset)
{
    if (index == NULL)
        return;
    pthread_mutex_lock(&index->lock);
    index->target = offset;
    pthread_cond_signal(&index->changed);
    pthread_mutex_unlock(&index->lock);
}

void index_close(struct index **index_pointer)
{
    struct index *index = *index_pointer;
    if (index == NULL)
        return;
    pthread_mutex_lock(&index->lock);
    index->closing = true;
    pthread_cond_signal(&index->changed);
    pthread_mutex_unlock(&index->lock);
    pthread_join(index->thread, NULL);
    pthread_cond_destroy(&index->changed);
    pthread_mutex_destroy(&index->lock);
    close_database(index);
    memory_free(index);
    *index_pointer = NULL;
}
