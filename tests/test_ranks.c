/* links: learner */
/* The shares of learner ranks, and what they say to each other on the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "learner/ranks.h"

static void test_ranks_shards_cover_everything_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 63, 64, 65, 1000, 554240, 494032768};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int ranks = 1; ranks <= 9; ranks++) {
            int64_t at = 0;
            for (int r = 0; r < ranks; r++) {
                struct shard shard = ranks_shard(sizes[i], ranks, r);
                assert_true(shard.count >= 0);
                assert_int_equal(shard.first, at);
                assert_true(shard.first % 64 == 0 || shard.count == 0);
                at += shard.count;
            }
            assert_int_equal(at, sizes[i]);
        }
}

static void wire_path(char *path, size_t size)
{
    snprintf(path, size, "/tmp/weir-test-ranks-%d", (int)getpid());
}

/* A follower process: gives rank * 10, expects all; then sends a message back as it came. */
static int follow(const char *path, int rank, int count, uint64_t fingerprint)
{
    struct rank_wire wire;
    struct buffer bytes;
    int32_t mine = rank * 10, all[RANKS_MAX];
    uint32_t kind = 0;
    buffer_init(&bytes, 0);
    bool good = rank_wire_open(&wire, path, rank, count, fingerprint, 5000) == STATUS_OK &&
                rank_wire_gather(&wire, &mine, sizeof mine, all) == STATUS_OK;
    for (int r = 0; good && r < count; r++)
        good = all[r] == r * 10;
    good = good && rank_wire_receive(&wire, 0, -1, &kind, &bytes) == STATUS_OK &&
           rank_wire_send(&wire, 0, kind, bytes.bytes, bytes.size) == STATUS_OK;
    buffer_free(&bytes);
    rank_wire_close(&wire);
    return good ? 0 : 1;
}

static pid_t start_follower(const char *path, int rank, int count, uint64_t fingerprint)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(follow(path, rank, count, fingerprint));
    return pid;
}

static void test_ranks_wire_gathers_and_echoes(void **state)
{
    (void)state;
    enum { COUNT = 3, SIZE = 3000001 };
    char path[RANK_PATH_MAX];
    wire_path(path, sizeof path);
    pid_t pids[COUNT];
    for (int r = 1; r < COUNT; r++)
        pids[r] = start_follower(path, r, COUNT, 7);
    struct rank_wire wire;
    int32_t mine = 0, all[RANKS_MAX];
    assert_int_equal(rank_wire_open(&wire, path, 0, COUNT, 7, 5000), STATUS_OK);
    assert_int_equal(rank_wire_gather(&wire, &mine, sizeof mine, all), STATUS_OK);
    for (int r = 0; r < COUNT; r++)
        assert_int_equal(all[r], r * 10);
    struct buffer bytes, echo;
    uint32_t kind = 0;
    buffer_init(&bytes, 0);
    buffer_init(&echo, 0);
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(buffer_append(&bytes, &i, 1), STATUS_OK);
    assert_int_equal(rank_wire_tell(&wire, 99, bytes.bytes, bytes.size), STATUS_OK);
    for (int r = 1; r < COUNT; r++) {
        assert_int_equal(rank_wire_receive(&wire, r, -1, &kind, &echo), STATUS_OK);
        assert_int_equal(kind, 99);
        assert_int_equal(echo.size, bytes.size);
        assert_memory_equal(echo.bytes, bytes.bytes, bytes.size);
    }
    buffer_free(&bytes);
    buffer_free(&echo);
    rank_wire_close(&wire);
    for (int r = 1; r < COUNT; r++) {
        int ended = 0;
        assert_int_equal(waitpid(pids[r], &ended, 0), pids[r]);
        assert_int_equal(ended, 0);
    }
}

static void test_ranks_wire_names_a_rank_that_is_gone(void **state)
{
    (void)state;
    char path[RANK_PATH_MAX];
    wire_path(path, sizeof path);
    pid_t pid = fork();
    if (pid == 0) {
        struct rank_wire wire;
        _exit(rank_wire_open(&wire, path, 1, 2, 7, 5000) == STATUS_OK ? 0 : 1);
    }
    struct rank_wire wire;
    int32_t mine = 0, all[RANKS_MAX];
    int ended = 0;
    assert_int_equal(rank_wire_open(&wire, path, 0, 2, 7, 5000), STATUS_OK);
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(rank_wire_gather(&wire, &mine, sizeof mine, all), STATUS_IO);
    assert_non_null(strstr(status_last_error(), "learner rank 1 is gone"));
    rank_wire_close(&wire);
}

static void test_ranks_wire_refuses_another_fingerprint(void **state)
{
    (void)state;
    char path[RANK_PATH_MAX];
    wire_path(path, sizeof path);
    pid_t pid = start_follower(path, 1, 2, 8);
    struct rank_wire wire;
    assert_int_equal(rank_wire_open(&wire, path, 0, 2, 7, 5000), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "rank 1"));
    int ended = 0;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_not_equal(ended, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_shards_cover_everything_once),
        cmocka_unit_test(test_ranks_wire_gathers_and_echoes),
        cmocka_unit_test(test_ranks_wire_names_a_rank_that_is_gone),
        cmocka_unit_test(test_ranks_wire_refuses_another_fingerprint)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
