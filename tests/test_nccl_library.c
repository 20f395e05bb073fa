/* links: transport */
/* timeout: 60 */
/* valgrind: no - each test is an exec of /proc/self/exe, which is valgrind itself there */
/* Ranks of one thread over tests/fake_nccl: what arrives, and what happens when a rank hangs, fails or is gone. Each
 * test runs in a process of its own, since the fake reads its script once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/clock.h"
#include "transport/nccl_library.h"

enum { RANKS = 3, BYTES = 300001, WAIT_MS = 5000, SOON_MS = 100 };

static struct nccl *nccl;
static struct nccl_comm *comms[RANKS];
static uint8_t memory[RANKS][RANKS * BYTES];

static void begin(const char *script, int ranks)
{
    struct nccl_id id;
    setenv("FAKE_NCCL_SCRIPT", script, 1);
    assert_int_equal(nccl_open(&nccl, BUILD_DIR "/tests/fake_nccl.so"), STATUS_OK);
    assert_int_equal(nccl_make_id(nccl, &id), STATUS_OK);
    for (int r = 0; r < ranks; r++)
        assert_int_equal(nccl_comm_join(nccl, &id, ranks, r, &comms[r]), STATUS_OK);
    for (int r = 0; r < ranks; r++) {
        assert_int_equal(nccl_comm_await(comms[r], "join", "ranks", WAIT_MS), STATUS_OK);
        memset(memory[r], r + 1, sizeof memory[r]);
    }
}

static void end(void)
{
    for (int r = 0; r < RANKS; r++)
        nccl_comm_abort(&comms[r]);
    nccl_close(&nccl);
    assert_null(nccl);
}

static void await_all(void)
{
    for (int r = 0; r < RANKS; r++)
        assert_int_equal(nccl_comm_await(comms[r], "bytes", "ranks", WAIT_MS), STATUS_OK);
}

static void broadcast_all(void)
{
    for (int r = 0; r < RANKS; r++)
        assert_int_equal(nccl_broadcast(comms[r], memory[r], BYTES, 1, NULL), STATUS_OK);
}

static void broadcast_arrives(void)
{
    begin("", RANKS);
    broadcast_all();
    await_all();
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(memory[r][0], 2);
        assert_int_equal(memory[r][BYTES - 1], 2);
        assert_int_equal(memory[r][BYTES], r + 1); /* not one byte more */
    }
    end();
}

static void all_gather_arrives(void)
{
    begin("rank=2 slow ms=20", RANKS);
    for (int r = 0; r < RANKS; r++)
        assert_int_equal(
            nccl_all_gather(comms[r], memory[r] + (size_t)r * BYTES, memory[r], BYTES, NULL),
            STATUS_OK);
    await_all();
    for (int r = 0; r < RANKS; r++)
        for (size_t from = 0; from < RANKS; from++) {
            assert_int_equal(memory[r][from * BYTES], from + 1);
            assert_int_equal(memory[r][(from + 1) * BYTES - 1], from + 1);
        }
    end();
}

/* Everybody sends to the next and receives from the one before, in one group: no order would do without it. */
static void group_exchanges(void)
{
    begin("", RANKS);
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(nccl_group_begin(nccl), STATUS_OK);
        assert_int_equal(nccl_send(comms[r], memory[r], BYTES, (r + 1) % RANKS, NULL), STATUS_OK);
        assert_int_equal(
            nccl_receive(comms[r], memory[r] + BYTES, BYTES, (r + RANKS - 1) % RANKS, NULL),
            STATUS_OK);
        assert_int_equal(nccl_group_end(nccl), STATUS_OK);
    }
    await_all();
    for (int r = 0; r < RANKS; r++)
        assert_int_equal(memory[r][2 * BYTES - 1], (r + RANKS - 1) % RANKS + 1);
    end();
}

static void hang_is_seen_and_aborted(void)
{
    begin("rank=2 hang after=0", RANKS);
    broadcast_all();
    assert_int_equal(nccl_comm_await(comms[0], "bytes", "ranks", WAIT_MS), STATUS_OK);
    assert_int_equal(nccl_comm_await(comms[2], "bytes", "rank 1", SOON_MS), STATUS_TIMEOUT);
    assert_non_null(strstr(status_last_error(), "rank 1"));
    int64_t begin_ns = clock_now_ns();
    for (int r = 0; r < RANKS; r++)
        nccl_comm_abort(&comms[r]);
    while (nccl_abort_done(nccl) == STATUS_AGAIN)
        clock_sleep_ms(1);
    assert_int_equal(nccl_abort_done(nccl), STATUS_OK);
    assert_in_range(clock_now_ns() - begin_ns, 0, CLOCK_NS_PER_S);
    end();
}

static void error_is_reported(void)
{
    begin("rank=0 error after=0", RANKS);
    broadcast_all();
    assert_int_equal(nccl_comm_await(comms[0], "bytes", "ranks", WAIT_MS), STATUS_CUDA);
    assert_non_null(strstr(status_last_error(), "remote rank"));
    end();
}

static void missing_rank_is_a_timeout(void)
{
    struct nccl_id id;
    begin("", 1); /* one rank alone is ready */
    assert_int_equal(nccl_make_id(nccl, &id), STATUS_OK);
    assert_int_equal(nccl_comm_join(nccl, &id, 2, 0, &comms[1]), STATUS_OK);
    assert_int_equal(nccl_comm_await(comms[1], "join", "rank 1", SOON_MS), STATUS_TIMEOUT);
    end();
}

static void stuck_abort_leaves_the_caller_free(void)
{
    begin("rank=1 stuck after=0", RANKS);
    broadcast_all();
    await_all();
    int64_t begin_ns = clock_now_ns();
    nccl_comm_abort(&comms[1]);
    assert_int_equal(nccl_abort_done(nccl), STATUS_AGAIN);
    assert_in_range(clock_now_ns() - begin_ns, 0, CLOCK_NS_PER_S / 2);
    _exit(0); /* a close would wait for it */
}

static void library_not_there_says_what_to_do(void)
{
    assert_int_equal(nccl_open(&nccl, "/nowhere/libnccl.so"), STATUS_UNSUPPORTED);
    assert_non_null(strstr(status_last_error(), "weights.nccl_library"));
}

/* The same program with the name of a case. */
static void in_own_process(const char *name)
{
    int code = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "case", name, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(code, 0);
}

// clang-format off
#define CASES(CASE) \
    CASE(broadcast_arrives) CASE(all_gather_arrives) CASE(group_exchanges) \
    CASE(hang_is_seen_and_aborted) CASE(error_is_reported) CASE(missing_rank_is_a_timeout) \
    CASE(stuck_abort_leaves_the_caller_free) CASE(library_not_there_says_what_to_do)
// clang-format on

#define CASE(body)                             \
    static void test_nccl_##body(void **state) \
    {                                          \
        (void)state;                           \
        in_own_process(#body);                 \
    }
CASES(CASE)
#undef CASE

int main(int argc, char **argv)
{
#define CASE(body)                                 \
    if (argc > 1 && strcmp(argv[1], #body) == 0) { \
        body();                                    \
        return 0;                                  \
    }
    CASES(CASE)
#undef CASE
    const struct CMUnitTest tests[] = {
#define CASE(body) cmocka_unit_test(test_nccl_##body),
        CASES(CASE)
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
