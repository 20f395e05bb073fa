/* links: rollout_store core */
/* timeout: 30 */
/* The ledger on a real file system: replay, torn tails, damage, a full disk, one writer. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "rollout_store/index.h"
#include "rollout_store/ledger.h"

enum { RECORDS = 20 };

struct seen {
    uint64_t count, sum;
    bool refuse;
};

static enum status see(void *self, const struct record *record, uint64_t offset)
{
    struct seen *seen = self;
    (void)offset;
    if (seen->refuse)
        return FAIL(STATUS_INVALID, "refused");
    seen->count++;
    seen->sum += record->closed.group_id;
    return STATUS_OK;
}

struct fixture {
    char folder[64], file[FILE_PATH_MAX];
    struct buffer frames; /* RECORDS of them, equally long */
    size_t each;
};

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    snprintf(f.folder, sizeof f.folder, "/tmp/test_ledger.XXXXXX");
    if (mkdtemp(f.folder) == NULL || file_path(f.file, "%s/ledger.000000", f.folder) != STATUS_OK)
        return -1;
    for (uint64_t i = 0; i < RECORDS; i++) {
        struct record record = {.type = RECORD_CLOSED, .closed = {i}};
        if (record_pack(&record, &f.frames) != STATUS_OK)
            return -1;
    }
    f.each = f.frames.size / RECORDS;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    buffer_free(&f->frames);
    return file_remove_tree(f->folder) == STATUS_OK ? 0 : -1;
}

static enum status reopen(struct fixture *f, uint64_t file_bytes, struct seen *seen, uint64_t *torn)
{
    struct ledger *ledger = NULL;
    uint64_t records = 0;
    *seen = (struct seen){0};
    enum status status = ledger_open(&ledger, f->folder, file_bytes, see, seen, &records, torn);
    if (status == STATUS_OK)
        assert_int_equal(records, seen->count);
    ledger_close(&ledger);
    return status;
}

static void write_file(const struct fixture *f, size_t size)
{
    FILE *file = fopen(f->file, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(f->frames.bytes, 1, size, file), size);
    fclose(file);
}

static void test_ledger_rotates_and_replays_all_in_order(void **state)
{
    struct fixture *f = *state;
    struct ledger *ledger = NULL;
    uint64_t records, torn;
    assert_int_equal(ledger_open(&ledger, f->folder, 3 * f->each, NULL, NULL, &records, &torn),
                     STATUS_OK);
    for (size_t i = 0; i < RECORDS; i++) {
        assert_int_equal(ledger_append(ledger, f->frames.bytes + i * f->each, f->each), STATUS_OK);
        assert_int_equal(ledger_sync(ledger), STATUS_OK);
    }
    assert_int_equal(ledger_offset(ledger), f->frames.size);
    ledger_close(&ledger);
    struct seen seen;
    assert_int_equal(reopen(f, 3 * f->each, &seen, &torn), STATUS_OK);
    assert_int_equal(seen.count, RECORDS);
    assert_int_equal(seen.sum, RECORDS * (RECORDS - 1) / 2);
    seen = (struct seen){0};
    assert_int_equal(ledger_scan(f->folder, 5 * f->each, 9 * f->each, see, &seen), STATUS_OK);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.sum, 5 + 6 + 7 + 8);
}

static void test_ledger_tail_torn_at_any_byte_is_cut(void **state)
{
    struct fixture *f = *state;
    for (size_t cut = 1; cut < f->each; cut++) {
        struct seen seen;
        uint64_t torn;
        write_file(f, f->frames.size - cut);
        assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_OK);
        assert_int_equal(seen.count, RECORDS - 1);
        assert_int_equal(torn, f->each - cut);
        assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_OK);
        assert_int_equal(torn, 0);
        assert_int_equal(seen.count, RECORDS - 1);
    }
}

static void test_ledger_bit_flip_in_the_middle_is_corrupt(void **state)
{
    struct fixture *f = *state;
    size_t from = 7 * f->each;
    for (size_t bit = from * 8; bit < (from + f->each) * 8; bit++) {
        struct seen seen;
        uint64_t torn;
        f->frames.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        write_file(f, f->frames.size);
        f->frames.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_CORRUPT);
        assert_non_null(strstr(status_last_error(), f->file));
        assert_int_equal(seen.count, 7);
    }
}

static void test_ledger_torn_older_file_is_corrupt(void **state)
{
    struct fixture *f = *state;
    char second[FILE_PATH_MAX];
    struct seen seen;
    uint64_t torn;
    write_file(f, f->frames.size - 3);
    assert_int_equal(file_path(second, "%s/ledger.000001", f->folder), STATUS_OK);
    assert_int_equal(file_replace(second, f->frames.bytes, f->each), STATUS_OK);
    assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_CORRUPT);
}

static void test_ledger_full_disk_kills_it_with_a_sentence(void **state)
{
    struct fixture *f = *state;
    struct ledger *ledger = NULL;
    uint64_t records, torn;
    struct rlimit old, small = {.rlim_cur = f->each * 3 + 5};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(ledger_open(&ledger, f->folder, 1 << 20, NULL, NULL, &records, &torn),
                     STATUS_OK);
    assert_int_equal(ledger_append(ledger, f->frames.bytes, f->each * 3), STATUS_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum status status = ledger_append(ledger, f->frames.bytes, f->each);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, STATUS_IO);
    assert_non_null(strstr(status_last_error(), f->file));
    assert_int_equal(ledger_append(ledger, f->frames.bytes, f->each),
                     STATUS_IO); /* dead, though there is room again */
    assert_int_equal(ledger_sync(ledger), STATUS_IO);
    ledger_close(&ledger);
    struct seen seen;
    assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_OK);
    assert_int_equal(seen.count, 3);
    assert_int_equal(torn, 5);
}

static void test_ledger_second_writer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct ledger *ledger = NULL;
    struct seen seen;
    uint64_t records, torn;
    assert_int_equal(ledger_open(&ledger, f->folder, 1 << 20, NULL, NULL, &records, &torn),
                     STATUS_OK);
    assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_LIMIT);
    assert_non_null(strstr(status_last_error(), "another store"));
    ledger_close(&ledger);
    assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_OK);
}

static void test_ledger_replay_refusal_keeps_the_file(void **state)
{
    struct fixture *f = *state;
    struct ledger *ledger = NULL;
    struct seen refusing = {.refuse = true}, seen;
    uint64_t records, torn;
    write_file(f, f->frames.size);
    assert_int_equal(ledger_open(&ledger, f->folder, 1 << 20, see, &refusing, &records, &torn),
                     STATUS_INVALID);
    assert_int_equal(reopen(f, 1 << 20, &seen, &torn), STATUS_OK);
    assert_int_equal(seen.count, RECORDS);
}

static void test_ledger_index_absorbs_and_goes_on(void **state)
{
    struct fixture *f = *state;
    char path[FILE_PATH_MAX];
    struct index *index = NULL;
    assert_int_equal(file_path(path, "%s/run.db", f->folder), STATUS_OK);
    write_file(f, f->frames.size);
    for (int round = 1; round <= 2; round++) {
        assert_int_equal(index_open(&index, path, f->folder), STATUS_OK);
        index_advance(index, (uint64_t)round * f->frames.size / 2);
        index_close(&index);
        assert_null(index);
    }
    assert_true(file_exists(path));
    assert_int_not_equal(index_open(&index, f->folder, f->folder),
                         STATUS_OK); /* a folder is no database */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ledger_rotates_and_replays_all_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ledger_tail_torn_at_any_byte_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_bit_flip_in_the_middle_is_corrupt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ledger_torn_older_file_is_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_full_disk_kills_it_with_a_sentence, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ledger_second_writer_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_replay_refusal_keeps_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_index_absorbs_and_goes_on, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
