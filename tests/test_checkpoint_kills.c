/* links: learner */
/* label: integration */
/* timeout: 300 */
/* A learner that saves checkpoints one after another is killed 1,000 times at random moments and 20 times at each
 * checkpoint.* fault point. After every kill: what it was told is saved is there, whole, loads with the digest it
 * had, and no newer one than it made is there. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/wait.h"
#include "tests/tiny_case.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { KILLS = 100, POINT_KILLS = 3 };
#else
enum { KILLS = 1000, POINT_KILLS = 20 };
#endif

enum { VERSIONS_MAX = 65536 };

/* What the child did, seen by the parent after its death. */
struct shared {
    _Atomic uint64_t begun; /* version that is being saved */
    _Atomic uint64_t saved; /* version whose checkpoint_save came back */
    uint64_t digest[VERSIONS_MAX];
};

static struct tiny tiny;
static struct shared *shared;
static uint64_t unreadable, backwards, between;

static int setup(void **state)
{
    (void)state;
    tiny_create(&tiny, "test_checkpoint_kills");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared != MAP_FAILED ? 0 : -1;
}

static void save_for_ever(struct trainer *trainer, uint64_t version, const char *point)
{
    struct case_batch batch;
    struct train_stats stats;
    if (point != NULL &&
        (setenv("WEIR_FAULT", point, 1) != 0 || fault_init("learner", 0) != STATUS_OK))
        _exit(3);
    for (;;) {
        case_fill(&batch, ++version);
        for (uint32_t s = 0; s < CASE_SEQUENCES; s++) /* the tiny model's vocabulary */
            for (uint32_t t = 0; t < CASE_TOKENS; t++) {
                batch.prompt[s][t] %= 96;
                batch.response[s][t] %= 96;
            }
        case_update(trainer, &batch, &stats);
        shared->digest[version % VERSIONS_MAX] = trainer->weights.digest;
        atomic_store(&shared->begun, version);
        if (tiny_save(&tiny, trainer, version, 2) != STATUS_OK) {
            fprintf(stderr, "%s\n", status_last_error());
            _exit(2);
        }
        atomic_store(&shared->saved, version);
    }
}

static void wait_until(int64_t until_ns)
{
    int64_t left_ms = (until_ns - clock_now_ns()) / (int64_t)CLOCK_NS_PER_MS;
    if (left_ms > 1)
        clock_sleep_ms(left_ms - 1);
    while (clock_now_ns() < until_ns)
        ;
}

/* One life; point NULL: killed after `after_ns`. */
static void one_kill(struct trainer *trainer, uint64_t version, const char *point, int64_t after_ns)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        save_for_ever(trainer, version, point);
    if (point == NULL) {
        wait_until(clock_now_ns() + after_ns);
        kill(child, SIGKILL);
    }
    int exit_status = 0;
    assert_int_equal(wait_child("kill", "saver", 60000, child, &exit_status), STATUS_OK);
    if (!WIFSIGNALED(exit_status) || WTERMSIG(exit_status) != SIGKILL)
        fail_msg("%s: no save may fail on what the one before left, exit status %d",
                 point != NULL ? point : "random", exit_status);
}

/* The state of the folder after a death; the version to go on from. */
static uint64_t look(uint64_t before)
{
    uint64_t saved = atomic_load(&shared->saved), begun = atomic_load(&shared->begun);
    struct trainer trainer;
    struct checkpoint_state loaded = {0};
    if (tiny_load(&tiny, &trainer, &loaded) != STATUS_OK) {
        fprintf(stderr, "unreadable: %s\n", status_last_error());
        unreadable++;
        return before;
    }
    if (loaded.version < saved || loaded.version < before || loaded.version > begun) {
        fprintf(stderr, "version %" PRIu64 ", saved %" PRIu64 ", before %" PRIu64 "\n",
                loaded.version, saved, before);
        backwards++;
    }
    between += loaded.version != saved;
    assert_true(loaded.digest == shared->digest[loaded.version % VERSIONS_MAX]);
    assert_true(trainer.weights.digest == loaded.digest);
    trainer_destroy(&trainer);
    return loaded.version;
}

static int64_t time_save(struct trainer *trainer)
{
    int64_t begin_ns = clock_now_ns();
    for (int i = 0; i < 5; i++)
        assert_int_equal(tiny_save(&tiny, trainer, 1, 2), STATUS_OK);
    shared->digest[1] = trainer->weights.digest;
    atomic_store(&shared->begun, 1);
    atomic_store(&shared->saved, 1);
    return (clock_now_ns() - begin_ns) / 5;
}

static void test_checkpoint_kills_leave_the_newest_one_whole(void **state)
{
    (void)state;
    static const char *const points[] = {"begun",   "model",   "optimizer",
                                         "written", "renamed", "saved"};
    struct trainer trainer;
    struct rng rng;
    const char *text = getenv("TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 7, version = 1, at_points = 0;
    rng_init(&rng, seed, 0, RNG_TEST);
    tiny_open(&tiny, &trainer);
    int64_t save_ns = time_save(&trainer), begin_ns = clock_now_ns();
    for (int i = 0; i < KILLS; i++) {
        one_kill(&trainer, version, NULL,
                 (int64_t)(rng_uniform(&rng) * 3.0 * (double)save_ns) + 100000);
        version = look(version);
    }
    double seconds = (double)(clock_now_ns() - begin_ns) * 1e-9;
    for (size_t p = 0; p < sizeof points / sizeof points[0]; p++)
        for (int i = 0; i < POINT_KILLS; i++, at_points++) {
            char point[64];
            snprintf(point, sizeof point, "checkpoint.%s:%d=kill", points[p], 1 + i % 3);
            one_kill(&trainer, version, point, 0);
            version = look(version);
        }
    trainer_destroy(&trainer);
    print_message("TEST_SEED=%" PRIu64 ": %d kills at random moments, %.1f kills/s, %" PRIu64
                  " at points; newest version %" PRIu64 ", %" PRIu64
                  " times newer than what was told, a save takes %.1f ms: %" PRIu64
                  " unreadable, %" PRIu64 " backwards\n",
                  seed, KILLS, KILLS / seconds, at_points, version, between, (double)save_ns * 1e-6,
                  unreadable, backwards);
    assert_int_equal(unreadable, 0);
    assert_int_equal(backwards, 0);
    assert_true(version > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_kills_leave_the_newest_one_whole),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
