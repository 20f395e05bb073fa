/* links: ops reward */
/* label: integration */
/* timeout: 180 */
/* Whole runs whose weights go by TCP alone: they train what runs by shared memory train, bit for bit, also when the
 * learner is killed and its successor serves at another port. */
#include "tests/story.h"

enum { STEPS = 6, LIMIT_MS = 60000, SOON_MS = 30000 };

#define SETTINGS "run.steps=6 store.max_staleness=0 learner.checkpoint_every=1 "

static json_t *by_shm;

static void run_to_end(struct story_run *run)
{
    assert_int_equal(story_wait(run, LIMIT_MS), 0);
    json_t *lines = story_metrics(run);
    story_assert_steps(lines, STEPS);
    story_assert_same_digests(by_shm, lines);
    json_decref(lines);
}

static void test_story_weights_tcp_shm_is_the_measure(void **state)
{
    (void)state;
    struct story_run run;
    story_run_whole(&run, "shm", SETTINGS "weights.channel=shm", LIMIT_MS);
    by_shm = story_metrics(&run);
    story_assert_steps(by_shm, STEPS);
}

static void test_story_weights_tcp_trains_the_same(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "tcp", SETTINGS "weights.channel=tcp");
    story_await_steps(&run, 1, SOON_MS);
    assert_int_equal(story_shared_memory(&run), 0);
    run_to_end(&run);
}

static void test_story_weights_tcp_follows_a_learner_that_was_killed(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "killed", SETTINGS "weights.channel=tcp");
    story_await_steps(&run, 2, SOON_MS);
    pid_t learner = story_process(&run, "weir-learner", 0);
    assert_true(learner > 0);
    assert_int_equal(kill(learner, SIGKILL), 0);
    run_to_end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_weights_tcp_shm_is_the_measure),
        STORY_TEST(test_story_weights_tcp_trains_the_same),
        STORY_TEST(test_story_weights_tcp_follows_a_learner_that_was_killed),
    };
    story_begin("weights_tcp");
    story_make_model(&(struct story_model){14, false});
    int failures = story_end(cmocka_run_group_tests(tests, NULL, NULL));
    json_decref(by_shm);
    return failures;
}
