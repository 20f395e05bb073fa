/* links: rollout_store core */
/* timeout: 120 */
/* Every cut and every flipped bit of a 64 KiB log tail: each is found, or leaves a clean prefix of what was written;
 * never a record that differs. The same for a file that begins with a snapshot. Built with sanitizers a sample of
 * one in 61 is taken. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/rng.h"
#include "rollout_store/ledger.h"
#include "tests/slow.h"

/* Every cut and every bit; with a sanitizer or under valgrind each 61st, a prime, so that all bits of bytes are met. */
static size_t stride(void)
{
    return (size_t)test_times(1, 61);
}

enum { TAIL = 65536, BOUNDARIES_MAX = 4096, SNAPSHOT_BYTES = 20000, PART_BYTES = 9000 };

struct log {
    struct buffer bytes;
    size_t boundary[BOUNDARIES_MAX]; /* ends of records, the first 0 */
    size_t count;
    size_t snapshot; /* bytes of the snapshot at its head */
    struct arena *arena;
    struct rng rng;
};

static uint64_t seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 20260401;
}

/* ---- a log of all types ---- */

static void add(struct log *log, const struct record *record)
{
    assert_int_equal(record_pack(record, &log->bytes), STATUS_OK);
    assert_true(log->count < BOUNDARIES_MAX);
    log->boundary[log->count++] = log->bytes.size;
}

static void add_segment(struct log *log, int64_t wall_ns)
{
    static uint32_t ids[96];
    static float logprobs[96];
    uint32_t count = rng_below(&log->rng, 96);
    for (uint32_t t = 0; t < count; t++) {
        ids[t] = rng_below(&log->rng, 150000);
        logprobs[t] = -(float)rng_uniform(&log->rng) * 9;
    }
    struct record record = {
        .type = RECORD_SEGMENT,
        .wall_ns = wall_ns,
        .segment = {{.lease_id = rng_below(&log->rng, 1000),
                     .group_id = rng_below(&log->rng, 100),
                     .sample = 3,
                     .attempt = 1,
                     .first_position = 64,
                     .count = count,
                     .ids = ids,
                     .logprobs = logprobs,
                     .logprobs_truncated = rng_below(&log->rng, 4) == 0 ? logprobs : NULL,
                     .version = 6,
                     .digest = 7,
                     .kv_version_min = 5,
                     .rebuilt_at = UINT32_MAX,
                     .numerics_id = 9,
                     .proof = PROOF_OWN,
                     .status = SEGMENT_MORE}}};
    add(log, &record);
}

static void add_one(struct log *log, enum record_type type, int64_t wall_ns)
{
    static const uint64_t groups[] = {4, 5, 6};
    static const uint32_t cuts[] = {0, 2};
    uint64_t a = rng_below(&log->rng, 1000), b = rng_below(&log->rng, 1000);
    struct record record = {.type = type, .wall_ns = wall_ns};
    switch (type) {
    case RECORD_SEGMENT:
        add_segment(log, wall_ns);
        return;
    case RECORD_BORN:
        record.born.group_id = a;
        record.born.prompt_id = b;
        break;
    case RECORD_LEASED:
        record.leased.lease_id = a;
        record.leased.holder_incarnation = b << 32;
        break;
    case RECORD_EXPIRED:
        record.expired.lease_id = a;
        record.expired.counts_failure = b % 2;
        break;
    case RECORD_SCORED:
        record.scored.score = (struct score){a, 3, 1, SCORE_OK, 0.5, "{\"why\":\"WRLD\"}", 99};
        record.scored.scoring_attempt = 1;
        break;
    case RECORD_CLOSED:
    case RECORD_REOPENED:
        record.closed.group_id = a;
        break;
    case RECORD_DROPPED:
        record.dropped.group_id = a;
        record.dropped.reason = DROP_STALE;
        break;
    case RECORD_VERSION:
        record.version.version = a;
        record.version.weights_path = "/dev/shm/weights";
        break;
    case RECORD_BRANCH:
        record.branch.branch = 2;
        record.branch.after_version = a;
        break;
    case RECORD_PLAN:
        record.plan.plan = (struct plan){.version = a,
                                         .group_count = 3,
                                         .group_ids = groups,
                                         .cut_count = 2,
                                         .cuts = cuts,
                                         .settings_json = "{}"};
        break;
    case RECORD_CHECKPOINT:
        record.checkpoint.version = a;
        record.checkpoint.path = "checkpoints/step_4";
        break;
    case RECORD_STOP:
        record.stop.reason = "because";
        break;
    default:
        return;
    }
    add(log, &record);
}

static void add_snapshot(struct log *log, uint64_t offset)
{
    static uint8_t bytes[SNAPSHOT_BYTES];
    for (size_t i = 0; i < SNAPSHOT_BYTES; i++)
        bytes[i] = (uint8_t)rng_below(&log->rng, 256);
    uint64_t hash = hash64(bytes, sizeof bytes, 0);
    for (uint32_t at = 0; at < SNAPSHOT_BYTES; at += PART_BYTES) {
        uint32_t size = SNAPSHOT_BYTES - at < PART_BYTES ? SNAPSHOT_BYTES - at : PART_BYTES;
        struct record record = {.type = RECORD_SNAPSHOT,
                                .wall_ns = 1,
                                .snapshot = {offset, SNAPSHOT_BYTES, hash, at, size, bytes + at}};
        add(log, &record);
    }
    log->snapshot = log->bytes.size;
}

static void log_create(struct log *log, bool snapshot)
{
    memset(log, 0, sizeof *log);
    rng_init(&log->rng, seed(), snapshot, RNG_TEST);
    assert_int_equal(arena_create(&log->arena, 8 << 20), STATUS_OK);
    log->boundary[log->count++] = 0;
    if (snapshot) {
        add_snapshot(log, 0);
    } else {
        struct record run = {.type = RECORD_RUN, .run = {"run", 1, 2, 3, "{}"}};
        add(log, &run);
    }
    for (uint32_t i = 0; log->bytes.size < TAIL; i++) {
        uint32_t type = RECORD_BORN + i % (RECORD_SNAPSHOT - RECORD_BORN);
        type = i % 17 == 0 ? (uint32_t)RECORD_REOPENED : type;
        add_one(log, (enum record_type)type, 1000 + i);
        if (i % 2 == 0)
            add_segment(log, 1000 + i);
    }
}

static void log_free(struct log *log)
{
    buffer_free(&log->bytes);
    arena_destroy(&log->arena);
}

/* ---- what every damage must lead to ---- */

struct seen {
    const struct log *log;
    size_t records;
};

/* Records arrive in order, each at its place. */
static enum status see(void *self, const struct record *record, uint64_t offset)
{
    struct seen *seen = self;
    (void)record;
    if (seen->records + 1 >= seen->log->count || offset != seen->log->boundary[seen->records])
        fail_msg("record %zu at byte %zu", seen->records, (size_t)offset);
    seen->records++;
    return STATUS_OK;
}

static size_t boundary_at_or_before(const struct log *log, size_t at)
{
    size_t low = 0, high = log->count - 1;
    while (low < high) {
        size_t middle = (low + high + 1) / 2;
        if (log->boundary[middle] <= at)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* `damaged_at`: the first byte that is not as it was written (or not there). Only bytes before it may be believed,
 * and they are the original ones, so every record that was delivered is. */
static void judge(struct log *log, size_t size, size_t damaged_at, bool newest, uint64_t counts[3])
{
    struct ledger_judgement judgement;
    struct seen seen = {.log = log};
    enum status status =
        ledger_judge(log->bytes.bytes, size, newest, 0, see, &seen, log->arena, &judgement);
    if (status != STATUS_OK)
        fail_msg("byte %zu of %zu: %s", damaged_at, size, status_last_error());
    size_t before = boundary_at_or_before(log, damaged_at);
    bool in_snapshot = log->snapshot > 0 && log->boundary[before] < log->snapshot;
    bool clean_cut = size == damaged_at && log->boundary[before] == size && !in_snapshot;
    size_t expected = log->boundary[before];
    if (in_snapshot)
        expected = judgement.good == 0 ? 0 : expected; /* of a broken snapshot nothing is taken */
    if (judgement.good != expected || (in_snapshot && seen.records > before) ||
        (!in_snapshot && seen.records != before) || judgement.records != seen.records)
        fail_msg("byte %zu of %zu: %zu good, %zu expected, %zu records", damaged_at, size,
                 judgement.good, expected, seen.records);
    if (clean_cut != (judgement.verdict == LEDGER_WHOLE) && !(in_snapshot && size == 0))
        fail_msg("byte %zu of %zu: verdict %d", damaged_at, size, (int)judgement.verdict);
    if (judgement.verdict != LEDGER_WHOLE && judgement.why[0] == '\0')
        fail_msg("byte %zu of %zu: no reason", damaged_at, size);
    if (!newest && judgement.verdict == LEDGER_TORN)
        fail_msg("byte %zu of %zu: an older file cannot be torn", damaged_at, size);
    counts[judgement.verdict]++;
}

static void try_all(struct log *log, bool newest, const char *name)
{
    uint64_t cuts[3] = {0}, flips[3] = {0};
    int64_t begin_ns = clock_now_ns();
    size_t size = log->bytes.size, first = size - TAIL;
    for (size_t at = first; at < size; at += stride())
        judge(log, at, at, newest, cuts);
    for (size_t bit = first * 8; bit < size * 8; bit += stride()) {
        log->bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        judge(log, size, bit / 8, newest, flips);
        log->bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    print_message("%s: %llu cuts (%llu at a record, %llu torn, %llu damaged), %llu flips (%llu "
                  "torn, %llu damaged), %.1f s\n",
                  name, (unsigned long long)(cuts[0] + cuts[1] + cuts[2]),
                  (unsigned long long)cuts[0], (unsigned long long)cuts[1],
                  (unsigned long long)cuts[2], (unsigned long long)(flips[0] + flips[1] + flips[2]),
                  (unsigned long long)flips[1], (unsigned long long)flips[2],
                  (double)(clock_now_ns() - begin_ns) * 1e-9);
    assert_int_equal(flips[LEDGER_WHOLE], 0);
}

static void test_ledger_damage_every_cut_and_flip_of_the_newest_file_is_found(void **state)
{
    (void)state;
    static struct log log;
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed());
    log_create(&log, false);
    try_all(&log, true, "newest file");
    log_free(&log);
}

static void test_ledger_damage_every_cut_and_flip_behind_a_snapshot_is_found(void **state)
{
    (void)state;
    static struct log log;
    log_create(&log, true);
    log.bytes.size = log.boundary[--log.count - 1]; /* so that all of the snapshot is in the tail */
    while (log.bytes.size > TAIL)
        log.bytes.size = log.boundary[--log.count - 1];
    size_t missing = TAIL - log.bytes.size;
    assert_true(missing < 1000);
    uint64_t cuts[3] = {0}, flips[3] = {0};
    for (size_t at = 0; at < log.bytes.size; at += stride())
        judge(&log, at, at, true, cuts);
    /* All of the snapshot; the records behind it had their turn above. */
    for (size_t bit = 0; bit < log.bytes.size * 8;
         bit += bit < log.snapshot * 8 ? stride() : 7 * stride()) {
        log.bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        judge(&log, log.bytes.size, bit / 8, true, flips);
        log.bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(flips[LEDGER_WHOLE], 0);
    assert_true(flips[LEDGER_DAMAGED] > 0 && cuts[LEDGER_TORN] > 0);
    log_free(&log);
}

static void test_ledger_damage_in_an_older_file_is_never_a_torn_tail(void **state)
{
    (void)state;
    static struct log log;
    uint64_t counts[3] = {0};
    log_create(&log, false);
    size_t size = log.bytes.size;
    for (size_t at = 1; at < size; at += 7 * stride())
        judge(&log, at, at, false, counts);
    for (size_t bit = 0; bit < size * 8; bit += 53 * stride()) {
        log.bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        judge(&log, size, bit / 8, false, counts);
        log.bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(counts[LEDGER_TORN], 0);
    log_free(&log);
}

/* ---- on disk ---- */

static void write_file(const char *folder, uint32_t number, const void *bytes, size_t size)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/ledger.%06u", folder, number), STATUS_OK);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

static enum status open_folder(const char *folder, struct seen *seen, uint64_t *torn)
{
    struct ledger *ledger = NULL;
    uint64_t records;
    seen->records = 0;
    enum status status = ledger_open(&ledger, folder, 1 << 20, see, seen, &records, torn);
    ledger_close(&ledger);
    return status;
}

/* What ledger_open makes of a damaged file: CORRUPT names file and byte, or the tail is cut and stays cut. */
static void test_ledger_damage_on_disk_is_named_or_cut_for_good(void **state)
{
    (void)state;
    static struct log log;
    char folder[64] = "/tmp/test_ledger_damage.XXXXXX", file[96], place[160];
    uint64_t corrupt = 0, cut = 0;
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/ledger.000000", folder);
    log_create(&log, false);
    struct seen seen = {.log = &log};
    for (int i = 0; i < 600; i++) {
        size_t size = log.bytes.size, at = size - 1 - rng_below(&log.rng, TAIL);
        bool flip = i % 3 != 0;
        uint64_t torn = 0;
        uint8_t bit = (uint8_t)(1U << rng_below(&log.rng, 8));
        if (i % 10 == 1)
            at = size - 1 - rng_below(&log.rng, 40); /* in the last record */
        if (flip)
            log.bytes.bytes[at] ^= bit;
        write_file(folder, 0, log.bytes.bytes, flip ? size : at);
        if (flip)
            log.bytes.bytes[at] ^= bit;
        size_t good = log.boundary[boundary_at_or_before(&log, at)];
        enum status status = open_folder(folder, &seen, &torn);
        if (status == STATUS_CORRUPT) {
            snprintf(place, sizeof place, "%s is damaged at byte %zu ", file, good);
            if (strstr(status_last_error(), place) == NULL || !flip)
                fail_msg("byte %zu: %s", at, status_last_error());
            corrupt++;
            continue;
        }
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(torn, (flip ? size : at) - good);
        assert_int_equal(open_folder(folder, &seen, &torn), STATUS_OK);
        assert_int_equal(torn, 0);
        assert_int_equal(seen.records, boundary_at_or_before(&log, good));
        cut++;
    }
    print_message("%llu named, %llu cut\n", (unsigned long long)corrupt, (unsigned long long)cut);
    assert_true(corrupt > 100 && cut > 100);
    log_free(&log);
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger_damage_every_cut_and_flip_of_the_newest_file_is_found),
        cmocka_unit_test(test_ledger_damage_every_cut_and_flip_behind_a_snapshot_is_found),
        cmocka_unit_test(test_ledger_damage_in_an_older_file_is_never_a_torn_tail),
        cmocka_unit_test(test_ledger_damage_on_disk_is_named_or_cut_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
