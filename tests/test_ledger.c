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

#include "core/checksum.h"
#include "core/fault.h"
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

static void test_ledger_failed_write_kills_it_with_a_sentence(void **state)
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

/* Each armed pass happens once. */
static void arm(const char *faults)
{
    assert_int_equal(setenv("WEIR_FAULT", faults, 1), 0);
    assert_int_equal(fault_init("store", 0), STATUS_OK);
}

static void test_ledger_full_disk_is_put_off_and_tried_again(void **state)
{
    struct fixture *f = *state;
    struct ledger *ledger = NULL;
    struct buffer contents;
    uint64_t records, torn;
    assert_int_equal(ledger_open(&ledger, f->folder, 4 * f->each, NULL, NULL, &records, &torn),
                     STATUS_OK);
    assert_int_equal(ledger_append(ledger, f->frames.bytes, f->each * 3), STATUS_OK);
    arm("ledger.write:1=fail,ledger.write:2=fail");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ledger_append(ledger, f->frames.bytes + 3 * f->each, f->each),
                         STATUS_LIMIT);
        assert_non_null(strstr(status_last_error(), "disk full"));
        assert_non_null(strstr(status_last_error(), f->file));
        assert_non_null(strstr(status_last_error(), " free;"));
        buffer_init(&contents, 0);
        assert_int_equal(file_read(f->file, &contents), STATUS_OK);
        assert_int_equal(contents.size, f->each * 3); /* half a record was there for a moment */
        buffer_free(&contents);
        assert_int_equal(ledger_offset(ledger), f->each * 3);
        assert_int_equal(ledger_sync(ledger), STATUS_OK);
    }
    assert_int_equal(ledger_append(ledger, f->frames.bytes + 3 * f->each, f->each), STATUS_OK);
    arm("ledger.write:1=fail"); /* the next one begins a file */
    assert_int_equal(ledger_append(ledger, f->frames.bytes + 4 * f->each, f->each), STATUS_LIMIT);
    assert_int_equal(ledger_append(ledger, f->frames.bytes + 4 * f->each, f->each), STATUS_OK);
    assert_int_equal(ledger_sync(ledger), STATUS_OK);
    ledger_close(&ledger);
    struct seen seen;
    assert_int_equal(reopen(f, 4 * f->each, &seen, &torn), STATUS_OK);
    assert_int_equal(seen.count, 5);
    assert_int_equal(torn, 0);
}

static void test_ledger_other_errors_end_it(void **state)
{
    struct fixture *f = *state;
    static const char *const faults[] = {"ledger.write_error:1=fail", "ledger.sync:1=fail"};
    for (int i = 0; i < 2; i++) {
        struct ledger *ledger = NULL;
        uint64_t records, torn;
        assert_int_equal(ledger_open(&ledger, f->folder, 1 << 20, NULL, NULL, &records, &torn),
                         STATUS_OK);
        arm(faults[i]);
        enum status status = ledger_append(ledger, f->frames.bytes, f->each);
        if (status == STATUS_OK)
            status = ledger_sync(ledger);
        assert_int_equal(status, STATUS_IO);
        assert_non_null(strstr(status_last_error(), "the store stops"));
        assert_int_equal(ledger_append(ledger, f->frames.bytes, f->each), STATUS_IO);
        assert_int_equal(ledger_begin(ledger, f->frames.bytes, f->each), STATUS_IO);
        assert_int_equal(ledger_sync(ledger), STATUS_IO);
        ledger_close(&ledger);
    }
}

/* ---- snapshots ---- */

/* As book_snapshot_pack makes them, of `size` bytes in parts of 100. */
static void pack_snapshot(struct buffer *frames, uint64_t offset, uint32_t size)
{
    static uint8_t bytes[1000];
    memset(bytes, 0x5a, sizeof bytes);
    uint64_t hash = hash64(bytes, size, 0);
    buffer_init(frames, 0);
    for (uint32_t at = 0; at < size; at += 100) {
        uint32_t part = size - at < 100 ? size - at : 100;
        struct record record = {.type = RECORD_SNAPSHOT,
                                .snapshot = {offset, size, hash, at, part, bytes + at}};
        assert_int_equal(record_pack(&record, frames), STATUS_OK);
    }
}

struct tally {
    uint64_t snapshots, others, first;
};

static enum status count_kinds(void *self, const struct record *record, uint64_t offset)
{
    struct tally *tally = self;
    if (tally->snapshots + tally->others == 0)
        tally->first = offset;
    if (record->type == RECORD_SNAPSHOT)
        tally->snapshots++;
    else
        tally->others++;
    return STATUS_OK;
}

static enum status tally_folder(struct fixture *f, struct tally *tally, uint64_t *torn)
{
    struct ledger *ledger = NULL;
    uint64_t records;
    *tally = (struct tally){0};
    enum status status =
        ledger_open(&ledger, f->folder, 1 << 20, count_kinds, tally, &records, torn);
    ledger_close(&ledger);
    return status;
}

/* 5 records, a snapshot, 4 records; returns where the snapshot begins. */
static uint64_t write_with_snapshot(struct fixture *f, struct buffer *snapshot)
{
    struct ledger *ledger = NULL;
    uint64_t records, torn;
    assert_int_equal(ledger_open(&ledger, f->folder, 1 << 20, NULL, NULL, &records, &torn),
                     STATUS_OK);
    assert_int_equal(ledger_append(ledger, f->frames.bytes, 5 * f->each), STATUS_OK);
    assert_int_equal(ledger_sync(ledger), STATUS_OK);
    uint64_t begin = ledger_offset(ledger);
    pack_snapshot(snapshot, begin, 350);
    assert_int_equal(ledger_begin(ledger, snapshot->bytes, snapshot->size), STATUS_OK);
    assert_int_equal(ledger_start(ledger), begin);
    assert_int_equal(ledger_since_snapshot(ledger), 0);
    assert_int_equal(ledger_append(ledger, f->frames.bytes + 5 * f->each, 4 * f->each), STATUS_OK);
    assert_int_equal(ledger_sync(ledger), STATUS_OK);
    assert_int_equal(ledger_since_snapshot(ledger), 4 * f->each);
    ledger_close(&ledger);
    return begin;
}

static void test_ledger_opens_from_the_newest_snapshot(void **state)
{
    struct fixture *f = *state;
    struct buffer snapshot;
    struct tally tally;
    uint64_t torn, begin = write_with_snapshot(f, &snapshot);
    assert_int_equal(tally_folder(f, &tally, &torn), STATUS_OK);
    assert_true(tally.snapshots == 4 && tally.others == 4 && tally.first == begin && torn == 0);
    struct tally all = {0}; /* the whole story is still there */
    assert_int_equal(
        ledger_scan(f->folder, 0, begin + snapshot.size + 4 * f->each, count_kinds, &all),
        STATUS_OK);
    assert_true(all.snapshots == 4 && all.others == 9 && all.first == 0);
    buffer_free(&snapshot);
}

static void test_ledger_unfinished_snapshot_falls_back(void **state)
{
    struct fixture *f = *state;
    struct buffer snapshot;
    char second[FILE_PATH_MAX];
    assert_int_equal(file_path(second, "%s/ledger.000001", f->folder), STATUS_OK);
    write_file(f, 5 * f->each);
    pack_snapshot(&snapshot, 5 * f->each, 350);
    for (size_t size = 0; size < snapshot.size; size++) {
        struct tally tally;
        uint64_t torn;
        assert_int_equal(file_replace(second, snapshot.bytes, size), STATUS_OK);
        assert_int_equal(tally_folder(f, &tally, &torn), STATUS_OK);
        assert_true(tally.snapshots == 0 && tally.others == 5 && torn == size);
        assert_int_equal(tally_folder(f, &tally, &torn), STATUS_OK);
        assert_true(tally.others == 5 && torn == 0);
    }
    buffer_free(&snapshot);
}

static void test_ledger_damaged_snapshot_with_records_behind_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct buffer snapshot, contents;
    char second[FILE_PATH_MAX];
    struct tally tally;
    uint64_t torn;
    write_with_snapshot(f, &snapshot);
    assert_int_equal(file_path(second, "%s/ledger.000001", f->folder), STATUS_OK);
    buffer_init(&contents, 0);
    assert_int_equal(file_read(second, &contents), STATUS_OK);
    for (size_t at = 0; at < snapshot.size; at++) {
        contents.bytes[at] ^= 0x20;
        assert_int_equal(file_replace(second, contents.bytes, contents.size), STATUS_OK);
        contents.bytes[at] ^= 0x20;
        assert_int_equal(tally_folder(f, &tally, &torn), STATUS_CORRUPT);
        assert_non_null(strstr(status_last_error(), second));
    }
    assert_int_equal(file_replace(second, contents.bytes, contents.size), STATUS_OK);
    write_file(f, 4 * f->each); /* the file before it lost a record */
    assert_int_equal(tally_folder(f, &tally, &torn), STATUS_CORRUPT);
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(tally_folder(f, &tally, &torn), STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "is missing"));
    buffer_free(&contents);
    buffer_free(&snapshot);
}

static void test_ledger_full_disk_under_a_snapshot_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct ledger *ledger = NULL;
    struct buffer snapshot;
    struct tally tally;
    uint64_t records, torn;
    assert_int_equal(ledger_open(&ledger, f->folder, 1 << 20, NULL, NULL, &records, &torn),
                     STATUS_OK);
    assert_int_equal(ledger_append(ledger, f->frames.bytes, 5 * f->each), STATUS_OK);
    pack_snapshot(&snapshot, 5 * f->each, 350);
    arm("ledger.write:1=fail");
    assert_int_equal(ledger_begin(ledger, snapshot.bytes, snapshot.size), STATUS_LIMIT);
    assert_int_equal(ledger_append(ledger, f->frames.bytes, f->each), STATUS_OK);
    assert_int_equal(ledger_sync(ledger), STATUS_OK);
    ledger_close(&ledger);
    assert_int_equal(tally_folder(f, &tally, &torn), STATUS_OK);
    assert_true(tally.snapshots == 0 && tally.others == 6);
    buffer_free(&snapshot);
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
        cmocka_unit_test_setup_teardown(test_ledger_failed_write_kills_it_with_a_sentence, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ledger_full_disk_is_put_off_and_tried_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ledger_other_errors_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_opens_from_the_newest_snapshot, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ledger_unfinished_snapshot_falls_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ledger_damaged_snapshot_with_records_behind_is_corrupt,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_full_disk_under_a_snapshot_changes_nothing,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_second_writer_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_replay_refusal_keeps_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_index_absorbs_and_goes_on, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
