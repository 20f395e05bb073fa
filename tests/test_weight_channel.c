/* links: transport core */
/* label: unit */
/* timeout: 30 */
/* Weights through shared memory: whole versions or none, whatever the writer does meanwhile. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "transport/weight_channel.h"

enum { BYTES = 100003, LAYOUT = 77, READERS = 2, VERSIONS = 3000 };

static char path[64];

static int setup(void **state)
{
    (void)state;
    static int number;
    snprintf(path, sizeof path, "/dev/shm/weir-test-%d-%d", (int)getpid(), number++);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

/* Version v: every word differs from that of any other version. */
static void paint(void *out, uint64_t version)
{
    uint8_t *bytes = out;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(version * 31 + (version >> 8) + i);
}

static uint64_t publish(struct weight_sender *sender, uint64_t version, uint32_t branch)
{
    void *out = weight_sender_begin(sender, version);
    paint(out, version);
    uint64_t digest = weight_digest(out, BYTES, 0);
    weight_sender_commit(sender, version, branch, digest);
    return digest;
}

static void test_weight_channel_absent_file_is_not_found(void **state)
{
    (void)state;
    struct weight_receiver *receiver = NULL;
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_NOT_FOUND);
    assert_null(receiver);
}

static void test_weight_channel_version_is_copied_and_older_one_stays(void **state)
{
    (void)state;
    struct weight_sender *sender = NULL;
    struct weight_receiver *receiver = NULL;
    assert_int_equal(weight_sender_open(&sender, path, LAYOUT, BYTES), STATUS_OK);
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_OK);
    uint32_t branch = 9;
    uint64_t digest = 9;
    assert_true(weight_receiver_version(receiver, &branch, &digest) == UINT64_MAX);
    uint8_t *got = memory_alloc(BYTES), *wanted = memory_alloc(BYTES);
    assert_int_equal(weight_receiver_copy(receiver, 0, 0, got), STATUS_AGAIN);
    uint64_t first = publish(sender, 4, 1), second = publish(sender, 5, 1);
    assert_int_equal(weight_receiver_version(receiver, &branch, &digest), 5);
    assert_int_equal(branch, 1);
    assert_true(digest == second);
    assert_int_equal(weight_receiver_copy(receiver, 5, second, got), STATUS_OK);
    paint(wanted, 5);
    assert_memory_equal(got, wanted, BYTES);
    weight_sender_begin(sender, 7); /* overwrites 5, leaves 4 */
    assert_int_equal(weight_receiver_copy(receiver, 5, second, got), STATUS_AGAIN);
    assert_int_equal(weight_receiver_copy(receiver, 4, first, got), STATUS_OK);
    assert_int_equal(weight_receiver_version(receiver, NULL, NULL), 4);
    weight_sender_commit(sender, 7, 1, 0);
    publish(sender, 6, 2); /* a new branch may go back in number: newest is the last commit */
    assert_int_equal(weight_receiver_version(receiver, &branch, NULL), 6);
    assert_int_equal(branch, 2);
    memory_free(got);
    memory_free(wanted);
    weight_receiver_close(&receiver);
    weight_sender_close(&sender);
    assert_false(file_exists(path));
}

static void test_weight_channel_one_wrong_byte_is_corrupt(void **state)
{
    (void)state;
    struct weight_sender *sender = NULL;
    struct weight_receiver *receiver = NULL;
    assert_int_equal(weight_sender_open(&sender, path, LAYOUT, BYTES), STATUS_OK);
    uint64_t digest = publish(sender, 1, 0);
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_OK);
    uint8_t *got = memory_alloc(BYTES);
    assert_int_equal(weight_receiver_copy(receiver, 1, digest, got), STATUS_OK);
    assert_int_equal(weight_receiver_copy(receiver, 1, digest + 1, got), STATUS_AGAIN);
    static const size_t places[] = {0, 5000, BYTES - 1};
    for (size_t i = 0; i < 3; i++) {
        uint8_t *out = weight_sender_begin(sender, 1);
        paint(out, 1);
        out[places[i]] ^= 1;
        weight_sender_commit(sender, 1, 0, digest);
        assert_int_equal(weight_receiver_copy(receiver, 1, digest, got), STATUS_CORRUPT);
        assert_non_null(strstr(status_last_error(), "announced is"));
    }
    memory_free(got);
    weight_receiver_close(&receiver);
    weight_sender_close(&sender);
}

static void test_weight_channel_other_layout_is_refused_with_both(void **state)
{
    (void)state;
    struct weight_sender *sender = NULL;
    struct weight_receiver *receiver = NULL;
    assert_int_equal(weight_sender_open(&sender, path, LAYOUT, BYTES), STATUS_OK);
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT + 1, BYTES), STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "000000000000004d"));
    assert_non_null(strstr(status_last_error(), "000000000000004e"));
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES + 1), STATUS_CORRUPT);
    weight_sender_close(&sender);
    assert_int_equal(file_replace(path, "junk", 4), STATUS_OK);
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "is no weight channel"));
    assert_int_equal(file_replace(path, "", 0), STATUS_OK);
    assert_int_not_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_OK);
    assert_null(receiver);
    assert_int_equal(weight_sender_open(&sender, path, LAYOUT, 0), STATUS_INVALID);
    assert_int_equal(weight_sender_open(&sender, "/none/such/folder", LAYOUT, BYTES), STATUS_IO);
}

static void test_weight_channel_restarted_writer_is_followed(void **state)
{
    (void)state;
    struct weight_sender *old = NULL, *fresh = NULL;
    struct weight_receiver *receiver = NULL;
    uint8_t *got = memory_alloc(BYTES);
    assert_int_equal(weight_sender_open(&old, path, LAYOUT, BYTES), STATUS_OK);
    publish(old, 8, 0);
    weight_sender_begin(old, 9); /* and dies in the middle */
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_OK);
    assert_int_equal(weight_sender_open(&fresh, path, LAYOUT, BYTES), STATUS_OK);
    assert_true(weight_receiver_version(receiver, NULL, NULL) == UINT64_MAX);
    uint64_t digest = publish(fresh, 3, 0);
    assert_int_equal(weight_receiver_copy(receiver, 3, digest, got), STATUS_OK);
    assert_int_equal(weight_receiver_version(receiver, NULL, NULL), 3);
    weight_sender_close(&old); /* does not remove the other's file */
    assert_true(file_exists(path));
    weight_sender_close(&fresh);
    assert_false(file_exists(path));
    assert_int_equal(weight_receiver_copy(receiver, 3, digest, got), STATUS_OK); /* still mapped */
    memory_free(got);
    weight_receiver_close(&receiver);
}

static void test_weight_channel_restart_with_other_layout_is_refused(void **state)
{
    (void)state;
    struct weight_sender *old = NULL, *fresh = NULL;
    struct weight_receiver *receiver = NULL;
    uint8_t *got = memory_alloc(BYTES);
    assert_int_equal(weight_sender_open(&old, path, LAYOUT, BYTES), STATUS_OK);
    uint64_t digest = publish(old, 1, 0);
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_OK);
    assert_int_equal(weight_sender_open(&fresh, path, LAYOUT + 1, BYTES), STATUS_OK);
    assert_int_equal(weight_receiver_copy(receiver, 1, digest, got), STATUS_CORRUPT);
    weight_receiver_close(&receiver);
    weight_sender_close(&old);
    weight_sender_close(&fresh);
    memory_free(got);
}

/* ---- a writer that never waits, readers that never see a mix ---- */

struct race {
    _Atomic bool done;
    _Atomic uint32_t copies, again, wrong;
};

static void *read_versions(void *self)
{
    struct race *race = self;
    struct weight_receiver *receiver = NULL;
    uint8_t *got = memory_alloc(BYTES), *wanted = memory_alloc(BYTES);
    if (weight_receiver_open(&receiver, path, LAYOUT, BYTES) != STATUS_OK)
        atomic_fetch_add(&race->wrong, 1);
    while (receiver != NULL && !atomic_load(&race->done)) {
        uint64_t digest = 0;
        uint64_t version = weight_receiver_version(receiver, NULL, &digest);
        if (version == UINT64_MAX)
            continue;
        enum status status = weight_receiver_copy(receiver, version, digest, got);
        paint(wanted, version);
        if (status == STATUS_AGAIN)
            atomic_fetch_add(&race->again, 1);
        else if (status != STATUS_OK || memcmp(got, wanted, BYTES) != 0)
            atomic_fetch_add(&race->wrong, 1);
        else
            atomic_fetch_add(&race->copies, 1);
    }
    weight_receiver_close(&receiver);
    memory_free(got);
    memory_free(wanted);
    return NULL;
}

static void test_weight_channel_readers_beside_a_writer_never_take_a_mix(void **state)
{
    (void)state;
    struct race race = {0};
    struct weight_sender *sender = NULL;
    pthread_t readers[READERS];
    assert_int_equal(weight_sender_open(&sender, path, LAYOUT, BYTES), STATUS_OK);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_versions, &race), 0);
    for (uint64_t version = 0; version < VERSIONS; version++)
        publish(sender, version, 0);
    clock_sleep_ms(20); /* the last version stands still: it must get through */
    atomic_store(&race.done, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    weight_sender_close(&sender);
    print_message("copies %u, overwritten meanwhile %u\n", race.copies, race.again);
    assert_int_equal(race.wrong, 0);
    assert_true(race.copies > 0);
}

/* ---- device memory: here memory of this process, whose handle is its address ---- */

static int opened; /* handles open now */
static bool open_fails;

static enum status fake_copy(void *context, void *to, const void *from, size_t bytes)
{
    (void)context;
    memcpy(to, from, bytes);
    return STATUS_OK;
}

static enum status fake_digest(void *context, const void *memory, size_t bytes, uint64_t first_word,
                               uint64_t *digest)
{
    (void)context;
    *digest = weight_digest(memory, bytes, first_word);
    return STATUS_OK;
}

static enum status fake_finish(void *context)
{
    (void)context;
    return STATUS_OK;
}

static enum status fake_share(void *context, const void *memory, struct memory_handle *handle)
{
    (void)context;
    memcpy(handle, &memory, sizeof memory);
    return STATUS_OK;
}

static enum status fake_open(void *context, const struct memory_handle *handle, void **memory)
{
    (void)context;
    if (open_fails)
        return FAIL(STATUS_CUDA, "no peer access");
    memcpy(memory, handle, sizeof *memory);
    opened++;
    return STATUS_OK;
}

static void fake_unopen(void *context, void **memory)
{
    (void)context;
    *memory = NULL;
    opened--;
}

static const struct weight_device fake_device = {.write = fake_copy,
                                                 .copy = fake_copy,
                                                 .digest = fake_digest,
                                                 .finish = fake_finish,
                                                 .share = fake_share,
                                                 .open = fake_open,
                                                 .unopen = fake_unopen};

static void test_weight_channel_device_memory_is_opened_and_copied(void **state)
{
    (void)state;
    struct weight_sender *sender = NULL, *next = NULL;
    struct weight_receiver *receiver = NULL;
    void *buffers[4];
    uint8_t *got = memory_alloc(BYTES), *wanted = memory_alloc(BYTES);
    for (int i = 0; i < 4; i++)
        buffers[i] = memory_alloc(BYTES);
    assert_int_equal(weight_sender_open_device(&sender, path, LAYOUT, BYTES, &fake_device, buffers),
                     STATUS_OK);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_size, 4096); /* names only */
    assert_int_equal(weight_receiver_open(&receiver, path, LAYOUT, BYTES), STATUS_UNSUPPORTED);
    open_fails = true;
    assert_int_equal(weight_receiver_open_device(&receiver, path, LAYOUT, BYTES, &fake_device),
                     STATUS_UNSUPPORTED);
    assert_non_null(strstr(status_last_error(), "no peer access"));
    open_fails = false;
    assert_int_equal(weight_receiver_open_device(&receiver, path, LAYOUT, BYTES, &fake_device),
                     STATUS_OK);
    assert_int_equal(opened, 2);
    uint64_t first = publish(sender, 4, 1), second = publish(sender, 5, 1);
    paint(wanted, 5);
    assert_memory_equal(buffers[1], wanted, BYTES);
    assert_int_equal(weight_receiver_copy(receiver, 5, second, got), STATUS_OK);
    assert_memory_equal(got, wanted, BYTES);
    weight_sender_begin(sender, 7);
    assert_int_equal(weight_receiver_copy(receiver, 5, second, got), STATUS_AGAIN);
    weight_sender_commit(sender, 7, 1, second); /* what is there is not what is announced */
    ((uint8_t *)buffers[1])[0] ^= 1;
    assert_int_equal(weight_receiver_copy(receiver, 7, second, got), STATUS_CORRUPT);
    assert_int_equal(weight_receiver_copy(receiver, 4, first, got), STATUS_OK);
    /* A restarted learner has other memory. */
    assert_int_equal(
        weight_sender_open_device(&next, path, LAYOUT, BYTES, &fake_device, buffers + 2),
        STATUS_OK);
    first = publish(next, 8, 2);
    open_fails = true;
    assert_int_equal(weight_receiver_copy(receiver, 8, first, got), STATUS_AGAIN);
    open_fails = false;
    assert_int_equal(weight_receiver_version(receiver, NULL, NULL), 8);
    assert_int_equal(weight_receiver_copy(receiver, 8, first, got), STATUS_OK);
    paint(wanted, 8);
    assert_memory_equal(got, wanted, BYTES);
    assert_int_equal(opened, 2);
    weight_sender_close(&sender);
    weight_sender_close(&next);
    assert_int_equal(weight_receiver_copy(receiver, 8, first, got), STATUS_OK);
    weight_receiver_close(&receiver);
    assert_int_equal(opened, 0);
    for (int i = 0; i < 4; i++)
        memory_free(buffers[i]);
    memory_free(got);
    memory_free(wanted);
}

/* Host memory of the channel into memory of a device: the two need not be the same. */
static void test_weight_channel_host_memory_is_written_to_the_device(void **state)
{
    (void)state;
    struct weight_sender *sender = NULL;
    struct weight_receiver *receiver = NULL;
    uint8_t *got = memory_alloc(BYTES), *wanted = memory_alloc(BYTES);
    assert_int_equal(weight_sender_open(&sender, path, LAYOUT, BYTES), STATUS_OK);
    assert_int_equal(weight_receiver_open_device(&receiver, path, LAYOUT, BYTES, &fake_device),
                     STATUS_OK);
    uint64_t digest = publish(sender, 3, 0);
    assert_int_equal(weight_receiver_copy(receiver, 3, digest, got), STATUS_OK);
    paint(wanted, 3);
    assert_memory_equal(got, wanted, BYTES);
    assert_int_equal(opened, 0);
    weight_receiver_close(&receiver);
    weight_sender_close(&sender);
    memory_free(got);
    memory_free(wanted);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_weight_channel_absent_file_is_not_found),
        CASE(test_weight_channel_version_is_copied_and_older_one_stays),
        CASE(test_weight_channel_one_wrong_byte_is_corrupt),
        CASE(test_weight_channel_other_layout_is_refused_with_both),
        CASE(test_weight_channel_restarted_writer_is_followed),
        CASE(test_weight_channel_restart_with_other_layout_is_refused),
        CASE(test_weight_channel_readers_beside_a_writer_never_take_a_mix),
        CASE(test_weight_channel_device_memory_is_opened_and_copied),
        CASE(test_weight_channel_host_memory_is_written_to_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
