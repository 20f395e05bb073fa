/* links: ops reward */
/* label: integration */
/* timeout: 180 */
/* Two learner ranks on the CPU, their communicator scripted (tests/fake_nccl): two runs of one seed end with the same
 * digests, the loss is that of one rank within the bound of reordered sums, a rank killed with -9 or hanging costs a
 * restart and no bit. */
#include <math.h>

#include "tests/story.h"

enum { STEPS = 8, LIMIT_MS = 60000, SOON_MS = 20000 };

#define COMMON                                                                                    \
    "run.steps=8 run.seed=5 store.max_staleness=0 store.group_size=8 store.groups_per_publish=8 " \
    "sampling.response_tokens_max=48 learner.checkpoint_every=2 "
#define RANKS COMMON "learner.ranks=2 weights.nccl_library=" BUILD_DIR "/tests/fake_nccl.so "

static json_t *two_ranks(void)
{
    static json_t *lines;
    if (lines == NULL) {
        struct story_run run;
        story_run_whole(&run, "two", RANKS, LIMIT_MS);
        lines = story_metrics(&run);
        story_assert_steps(lines, STEPS);
    }
    return lines;
}

static void test_story_ranks_two_runs_have_same_digests(void **state)
{
    (void)state;
    struct story_run run;
    story_run_whole(&run, "again", RANKS, LIMIT_MS);
    json_t *lines = story_metrics(&run);
    story_assert_same_digests(two_ranks(), lines);
    json_decref(lines);
}

/* The first update differs by the order of sums alone: some 10^3 tokens in two parts, f32: 1e-6 of the norm. Later ones
 * start from weights that differ in a last bit, which AdamW with eps 1e-15 turns into up to 2 lr where a gradient is
 * near 0; over 16 updates the loss moves by less than 1e-3. */
static void test_story_ranks_loss_is_that_of_one_rank(void **state)
{
    (void)state;
    struct story_run run;
    story_run_whole(&run, "one", COMMON, LIMIT_MS);
    json_t *lines = story_metrics(&run);
    for (size_t i = 0; i < STEPS; i++) {
        double bound = i == 0 ? 1e-5 : 1e-3;
        double one = story_number(lines, i, "optim/grad_norm");
        double two = story_number(two_ranks(), i, "optim/grad_norm");
        print_message("step %zu: gradient norm %.7f with one rank, %.7f with two\n", i + 1, one,
                      two);
        if (i == 0)
            assert_true(fabs(one - two) <= bound * one);
        assert_true(fabs(story_number(lines, i, "loss/policy") -
                         story_number(two_ranks(), i, "loss/policy")) <= bound);
    }
    json_decref(lines);
}

static void kill_rank(const char *name, unsigned rank)
{
    struct story_run run;
    (void)two_ranks();
    story_start(&run, name, RANKS);
    story_await_steps(&run, 3, SOON_MS);
    pid_t pid = story_process(&run, "weir-learner", rank);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    story_assert_same_digests(two_ranks(), lines);
    json_decref(lines);
}

static void test_story_ranks_follower_killed_ends_with_same_digests(void **state)
{
    (void)state;
    kill_rank("follower", 1);
}

static void test_story_ranks_root_killed_ends_with_same_digests(void **state)
{
    (void)state;
    kill_rank("root", 0);
}

/* Rank 1 ends after the first of the two minibatches of step 3: rank 0 has a plan that is half trained. */
static void test_story_ranks_follower_killed_mid_step_ends_with_same_digests(void **state)
{
    (void)state;
    struct story_run run;
    char once[FILE_PATH_MAX];
    (void)two_ranks();
    assert_int_equal(file_make_dirs(story_path(once, "once")), STATUS_OK);
    setenv("WEIR_FAULT", "learner.updated:5=kill", 1);
    setenv("WEIR_FAULT_ROLE", "learner.1", 1);
    setenv("WEIR_FAULT_ONCE", once, 1);
    story_start(&run, "mid-step", RANKS);
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ROLE");
    unsetenv("WEIR_FAULT_ONCE");
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    assert_true(file_exists(story_path(once, "once/learner.updated")));
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    story_assert_same_digests(two_ranks(), lines);
    json_decref(lines);
}

/* The order of sums is that of two ranks, so the replay trains with two. */
static void test_story_ranks_replay_of_a_step_has_its_digest(void **state)
{
    (void)state;
    struct story_run run;
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    (void)two_ranks();
    story_name_run(&run, "two");
    const char *arguments[] = {"replay", run.path, "5", NULL};
    pid_t pid = story_spawn("weir", arguments, story_path(out, "replay.out"),
                            story_path(err, "replay.err"));
    assert_int_equal(story_wait_pid(pid, LIMIT_MS), 0);
    assert_true(story_said(out, "step 5: digest "));
    assert_true(story_said(out, ": equal"));
}

/* Stopped, not dead: its socket stays open, so only the deadline finds it. */
static void test_story_ranks_hanging_follower_is_named(void **state)
{
    (void)state;
    struct story_run run;
    char log[FILE_PATH_MAX];
    (void)two_ranks();
    story_start(&run, "hang", RANKS "learner.rank_timeout_ms=2000");
    story_await_steps(&run, 3, SOON_MS);
    pid_t pid = story_process(&run, "weir-learner", 1);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    clock_sleep_ms(
        4000); /* the deadline passes; rank 0 ends, waits for a new one and is started again */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_same_digests(two_ranks(), lines);
    json_decref(lines);
    snprintf(log, sizeof log, "%s", run.out);
    assert_true(story_said(log, "rank 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_ranks_two_runs_have_same_digests),
        STORY_TEST(test_story_ranks_replay_of_a_step_has_its_digest),
        STORY_TEST(test_story_ranks_loss_is_that_of_one_rank),
        STORY_TEST(test_story_ranks_follower_killed_ends_with_same_digests),
        STORY_TEST(test_story_ranks_follower_killed_mid_step_ends_with_same_digests),
        STORY_TEST(test_story_ranks_root_killed_ends_with_same_digests),
        STORY_TEST(test_story_ranks_hanging_follower_is_named)};
    story_begin("ranks");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
