/* links: rollout_store core PkgConfig::sqlite3 */
/* label: unit */
/* timeout: 120 */
/* run.db in every state that a crash, a disk or a person can leave it in: what is there afterwards is what a fresh
 * one made from the ledger has, and whoever reads meanwhile sees a whole one. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/file.h"
#include "core/rng.h"
#include "rollout_store/index.h"
#include "rollout_store/ledger.h"

enum { GROUPS = 60, SAMPLES = 4 };

struct fixture {
    char folder[FILE_PATH_MAX], db[FILE_PATH_MAX];
    uint64_t end, half; /* of the ledger; half: after half of the groups */
    uint64_t expected;  /* hash of the rows at end */
};

static void add(struct buffer *frames, const struct record *record)
{
    assert_int_equal(record_pack(record, frames), STATUS_OK);
}

static void add_group(struct buffer *frames, uint64_t group, int64_t base_ns)
{
    static const uint32_t ids[3] = {1, 2, 3};
    static const float logprobs[3] = {-1, -2, -3};
    struct record born = {.type = RECORD_BORN,
                          .wall_ns = base_ns + (int64_t)group,
                          .born = {.group_id = group, .prompt_id = group * 3}};
    add(frames, &born);
    for (uint32_t i = 0; i < SAMPLES; i++) {
        struct record segment = {.type = RECORD_SEGMENT,
                                 .wall_ns = base_ns + (int64_t)group,
                                 .segment = {{.group_id = group,
                                              .sample = i,
                                              .attempt = 1,
                                              .count = 3,
                                              .ids = ids,
                                              .logprobs = logprobs,
                                              .version = 2,
                                              .status = SEGMENT_EOS}}};
        struct record scored = {
            .type = RECORD_SCORED,
            .wall_ns = base_ns + (int64_t)group,
            .scored = {{group, i, 1, SCORE_OK, (double)i / 8, "{\"k\":1}", 0}, 1}};
        add(frames, &segment);
        add(frames, &scored);
    }
    struct record closed = {.type = RECORD_CLOSED, .wall_ns = base_ns + 7, .closed = {group}};
    add(frames, &closed);
}

static void make_ledger(struct fixture *f, const char *folder, int64_t base_ns)
{
    struct buffer frames;
    struct ledger *ledger = NULL;
    uint64_t records, torn;
    buffer_init(&frames, 0);
    struct record run = {.type = RECORD_RUN, .wall_ns = base_ns, .run = {"run", 1, 2, 3, "{}"}};
    add(&frames, &run);
    for (uint64_t group = 0; group < GROUPS; group++) {
        add_group(&frames, group, base_ns);
        if (group + 1 == GROUPS / 2)
            f->half = frames.size;
    }
    f->end = frames.size;
    assert_int_equal(ledger_open(&ledger, folder, 1 << 20, NULL, NULL, &records, &torn), STATUS_OK);
    assert_int_equal(ledger_append(ledger, frames.bytes, frames.size), STATUS_OK);
    assert_int_equal(ledger_sync(ledger), STATUS_OK);
    ledger_close(&ledger);
    buffer_free(&frames);
}

/* All rows of all tables, in order; 0 when anything is wrong. */
static uint64_t hash_rows(const char *path)
{
    static const char *const queries[] = {
        "SELECT * FROM groups ORDER BY id", "SELECT * FROM rollouts ORDER BY group_id,sample",
        "SELECT * FROM plans ORDER BY version", "SELECT * FROM versions ORDER BY version",
        "SELECT value FROM meta WHERE key='offset'"};
    sqlite3 *db = NULL;
    uint64_t hash = 1;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        hash = 0;
    if (db != NULL)
        sqlite3_busy_timeout(db, 5000);
    for (size_t q = 0; hash != 0 && q < sizeof queries / sizeof queries[0]; q++) {
        sqlite3_stmt *statement = NULL;
        int code = sqlite3_prepare_v2(db, queries[q], -1, &statement, NULL);
        while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
            for (int c = 0; c < sqlite3_column_count(statement); c++) {
                const char *text = (const char *)sqlite3_column_text(statement, c);
                hash = hash64(text != NULL ? text : "", text != NULL ? strlen(text) : 0, hash);
            }
        hash = code == SQLITE_OK && sqlite3_errcode(db) == SQLITE_DONE ? hash : 0;
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    return hash;
}

static void absorb(const struct fixture *f, uint64_t offset)
{
    struct index *index = NULL;
    assert_int_equal(index_open(&index, f->db, f->folder), STATUS_OK);
    index_advance(index, offset);
    index_close(&index);
}

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    snprintf(f.folder, sizeof f.folder, "/tmp/test_index.XXXXXX");
    if (mkdtemp(f.folder) == NULL || file_path(f.db, "%s/run.db", f.folder) != STATUS_OK)
        return -1;
    make_ledger(&f, f.folder, 1000);
    absorb(&f, f.end);
    f.expected = hash_rows(f.db);
    *state = &f;
    return f.expected != 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    return file_remove_tree(f->folder) == STATUS_OK ? 0 : -1;
}

static void remove_beside(const struct fixture *f, const char *suffix)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s%s", f->db, suffix), STATUS_OK);
    unlink(path);
}

/* Opened again, the rows are the expected ones. */
static void expect_mended(const struct fixture *f, const char *what)
{
    absorb(f, f->end);
    if (hash_rows(f->db) != f->expected)
        fail_msg("after %s the rows are not those of the ledger", what);
}

static void test_index_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    struct stat before, after;
    remove_beside(f, "");
    absorb(f, f->half);
    assert_true(hash_rows(f->db) != f->expected && hash_rows(f->db) != 0);
    assert_int_equal(stat(f->db, &before), 0);
    expect_mended(f, "half");
    assert_int_equal(stat(f->db, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* not made anew */
}

static void test_index_deleted_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    remove_beside(f, "");
    expect_mended(f, "deletion");
}

static void test_index_truncated_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    static const off_t sizes[] = {0, 1, 99, 100, 4095, 4096, 8192, 12288, 20000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int sealed = 0; sealed < 2; sealed++) {
            assert_int_equal(truncate(f->db, sizes[i]), 0);
            if (!sealed)
                remove_beside(f, ".seal");
            expect_mended(f, "truncation");
        }
}

static void test_index_of_garbage_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    struct rng rng;
    static uint8_t garbage[50000];
    rng_init(&rng, 3, 0, RNG_TEST);
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (uint8_t)rng_below(&rng, 256);
    assert_int_equal(file_replace(f->db, garbage, sizeof garbage), STATUS_OK);
    expect_mended(f, "garbage");
    remove_beside(f, ".seal");
    memcpy(garbage, "SQLite format 3", 16);
    assert_int_equal(file_replace(f->db, garbage, sizeof garbage), STATUS_OK);
    expect_mended(f, "garbage with a good head");
}

static void test_index_with_flipped_bits_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    struct buffer bytes;
    struct rng rng;
    rng_init(&rng, 4, 0, RNG_TEST);
    for (int i = 0; i < 150; i++) {
        buffer_init(&bytes, 0);
        assert_int_equal(file_read(f->db, &bytes), STATUS_OK);
        size_t at = rng_below(&rng, (uint32_t)bytes.size);
        bytes.bytes[at] ^= (uint8_t)(1U << rng_below(&rng, 8));
        int fd = open(f->db, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, &bytes.bytes[at], 1, (off_t)at), 1);
        close(fd);
        buffer_free(&bytes);
        expect_mended(f, "a flipped bit");
    }
}

static void test_index_of_another_run_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    struct fixture other = {.end = 0};
    assert_int_equal(file_path(other.folder, "%s/other", f->folder), STATUS_OK);
    assert_int_equal(file_path(other.db, "%s", f->db), STATUS_OK);
    make_ledger(&other, other.folder, 5000000);
    remove_beside(f, "");
    absorb(&other, other.half);
    assert_int_equal(other.half, f->half); /* only what the records say differs */
    expect_mended(f, "another run");
}

static void test_index_ahead_of_the_ledger_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    absorb(f, f->end);
    absorb(f, f->half); /* the ledger came back from a copy */
    struct fixture copy = *f;
    assert_int_equal(file_path(copy.db, "%s/fresh.db", f->folder), STATUS_OK);
    absorb(&copy, f->half);
    assert_true(hash_rows(f->db) == hash_rows(copy.db) && hash_rows(copy.db) != 0);
}

static void test_index_failed_commit_is_rebuilt_once(void **state)
{
    struct fixture *f = *state;
    remove_beside(f, "");
    absorb(f, f->half);
    assert_int_equal(setenv("WEIR_FAULT", "index.commit:1=fail", 1), 0);
    assert_int_equal(fault_init("store", 0), STATUS_OK);
    expect_mended(f, "a failed commit");
    assert_int_equal(setenv("WEIR_FAULT", "index.commit:1=fail,index.commit:2=fail", 1), 0);
    assert_int_equal(fault_init("store", 0), STATUS_OK);
    remove_beside(f, "");
    for (int i = 0; i < 2;
         i++) { /* switched off twice: no database is there, nothing else happens */
        absorb(f, f->end);
        assert_false(file_exists(f->db));
    }
    expect_mended(f, "two failed commits");
}

static void test_index_schema_of_an_older_program_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db = NULL;
    remove_beside(f, "");
    remove_beside(f, ".seal");
    assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "CREATE TABLE groups(id INTEGER); CREATE TABLE meta(key TEXT PRIMARY KEY, "
                     "value INTEGER); INSERT INTO meta VALUES('offset', 100)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    expect_mended(f, "an older schema");
}

/* ---- readers ---- */

struct reader {
    const struct fixture *f;
    atomic_bool stop;
    uint64_t looks, wrong;
};

static void *read_on(void *self)
{
    struct reader *reader = self;
    while (!atomic_load(&reader->stop)) {
        sqlite3 *db = NULL;
        sqlite3_stmt *statement = NULL;
        int64_t count = -1;
        if (sqlite3_open_v2(reader->f->db, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
            sqlite3_busy_timeout(db, 5000) == SQLITE_OK &&
            sqlite3_prepare_v2(db, "SELECT COUNT(*) FROM rollouts", -1, &statement, NULL) ==
                SQLITE_OK &&
            sqlite3_step(statement) == SQLITE_ROW)
            count = sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
        sqlite3_close(db);
        reader->looks += count >= 0;
        reader->wrong += count >= 0 && count != GROUPS * SAMPLES && count != GROUPS / 2 * SAMPLES;
    }
    return NULL;
}

static void test_index_readers_never_see_half_of_it(void **state)
{
    struct fixture *f = *state;
    struct reader reader = {.f = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (int i = 0; i < 40; i++)
        absorb(f, i % 2 ? f->end : f->half); /* ahead every other time: made anew */
    atomic_store(&reader.stop, true);
    pthread_join(thread, NULL);
    print_message("%llu looks, %llu wrong\n", (unsigned long long)reader.looks,
                  (unsigned long long)reader.wrong);
    assert_true(reader.looks > 10);
    assert_int_equal(reader.wrong, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_index_goes_on_where_it_was),
        TEST(test_index_deleted_is_rebuilt),
        TEST(test_index_truncated_is_rebuilt),
        TEST(test_index_of_garbage_is_rebuilt),
        TEST(test_index_with_flipped_bits_is_rebuilt),
        TEST(test_index_of_another_run_is_rebuilt),
        TEST(test_index_ahead_of_the_ledger_is_rebuilt),
        TEST(test_index_failed_commit_is_rebuilt_once),
        TEST(test_index_schema_of_an_older_program_is_rebuilt),
        TEST(test_index_readers_never_see_half_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
