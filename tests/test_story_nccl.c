/* links: ops reward */
/* label: integration */
/* timeout: 300 */
/* Runs whose weights go by NCCL, here tests/fake_nccl, which can be told what shall fail: the results are those of the
 * other channel, and an actor that is killed, hangs, is slow or gets wrong bytes costs the run a moment. */
#include "tests/story.h"

enum { STEPS = 8, LIMIT_MS = 60000, RISE_STEPS = 25, RISE_MS = 280000, WINDOW = 5 };

static const char *const broadcast =
    "weights.channel=nccl weights.timeout_ms=600 weights.nccl_library=" BUILD_DIR
    "/tests/fake_nccl.so";
static char log_text[1 << 20];

static void start(struct story_run *run, const char *name, const char *settings, const char *script)
{
    char all[2000];
    snprintf(all, sizeof all, "%s run.steps=%d %s", broadcast, STEPS, settings);
    setenv("FAKE_NCCL_SCRIPT", script, 1);
    story_start(run, name, all);
    unsetenv("FAKE_NCCL_SCRIPT");
}

/* Lines of one process's log with this text. */
static unsigned count_said(const struct story_run *run, const char *process, const char *part)
{
    unsigned count = 0;
    const char *at = story_log(run, process, log_text, sizeof log_text);
    while ((at = strstr(at, part)) != NULL) {
        count++;
        at += strlen(part);
    }
    return count;
}

/* Ended well: every step once, and what was sampled is what was trained. */
static json_t *finish(struct story_run *run)
{
    assert_int_equal(story_wait(run, LIMIT_MS), 0);
    json_t *lines = story_metrics(run);
    story_assert_steps(lines, STEPS);
    for (size_t i = 0; i < STEPS; i++)
        assert_true(story_number(lines, i, "mismatch/max_abs_dlogprob") == 0);
    return lines;
}

static void test_story_nccl_gives_the_versions_of_shared_memory(void **state)
{
    (void)state;
    struct story_run file, nccl;
    story_start(&file, "file", "run.steps=8 store.max_staleness=0");
    json_t *of_file = finish(&file);
    start(&nccl, "nccl", "store.max_staleness=0", "");
    json_t *of_nccl = finish(&nccl);
    story_assert_same_digests(of_file, of_nccl);
    assert_int_equal(count_said(&nccl, "learner.0", "left out of the broadcast"), 0);
    assert_true(story_number(of_nccl, STEPS - 1, "weights/members") == 2);
    assert_true(story_number(of_nccl, STEPS - 1, "weights/send_ms") > 0);
    json_decref(of_file);
    json_decref(of_nccl);
}

static void test_story_nccl_killed_actor_comes_back(void **state)
{
    (void)state;
    struct story_run run;
    start(&run, "killed", "sampling.response_tokens_max=800 store.max_staleness=0", "");
    story_await_steps(&run, 2, LIMIT_MS);
    pid_t victim = story_process(&run, "weir-actor", 0);
    assert_true(victim > 0);
    assert_int_equal(kill(victim, SIGKILL), 0);
    json_t *lines = finish(&run);
    unsigned epochs = count_said(&run, "learner.0", "weights communicator ");
    print_message("communicators: %u\n", epochs);
    assert_true(epochs >= 2);
    assert_true(story_number(lines, STEPS - 1, "weights/epochs") == epochs);
    json_decref(lines);
}

static void test_story_nccl_hanging_actor_is_named_and_left_out(void **state)
{
    (void)state;
    struct story_run run;
    char script[FILE_PATH_MAX + 100], once[FILE_PATH_MAX];
    snprintf(script, sizeof script, "rank=1 hang after=2 once=%s", story_path(once, "hung"));
    start(&run, "hangs", "sampling.response_tokens_max=100", script);
    json_t *lines = finish(&run);
    assert_true(file_exists(once));
    assert_int_equal(count_said(&run, "learner.0", "left out of the broadcast actor=0"), 1);
    assert_true(story_number(lines, STEPS - 1, "weights/excluded") == 1);
    json_decref(lines);
}

static void test_story_nccl_slow_actor_is_endured(void **state)
{
    (void)state;
    struct story_run run;
    start(&run, "slow", "", "rank=2 slow ms=100");
    json_t *lines = finish(&run);
    assert_true(story_number(lines, STEPS - 1, "weights/excluded") == 0);
    json_decref(lines);
}

static void test_story_nccl_wrong_bytes_are_refused(void **state)
{
    (void)state;
    struct story_run run;
    char script[FILE_PATH_MAX + 100], once[FILE_PATH_MAX];
    snprintf(script, sizeof script, "rank=1 corrupt after=2 once=%s", story_path(once, "flipped"));
    start(&run, "corrupt", "", script);
    json_decref(finish(&run));
    assert_int_equal(count_said(&run, "actor.0", "refused a copy"), 1);
}

static void test_story_nccl_killed_learner_gets_its_actors_back(void **state)
{
    (void)state;
    struct story_run run;
    start(&run, "learner", "sampling.response_tokens_max=100 learner.checkpoint_every=1", "");
    story_await_steps(&run, 3, LIMIT_MS);
    pid_t victim = story_process(&run, "weir-learner", 0);
    assert_true(victim > 0);
    assert_int_equal(kill(victim, SIGKILL), 0);
    json_decref(finish(&run));
}

static void test_story_nccl_reward_rises(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* minutes; test_story_reward_rises.c runs this recipe, and the cases above the channel */
#endif
    struct story_run run;
    char all[2000];
    snprintf(all, sizeof all, "%s run.steps=%d", broadcast, RISE_STEPS);
    story_start_recipe(&run, SOURCE_DIR "/examples/recipes/quickstart.yaml", "rises", all);
    assert_int_equal(story_wait(&run, RISE_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, RISE_STEPS);
    double before = 0, after = 0;
    for (size_t i = 0; i < WINDOW; i++) {
        before += story_number(lines, i, "reward/mean") / WINDOW;
        after += story_number(lines, RISE_STEPS - WINDOW + i, "reward/mean") / WINDOW;
    }
    print_message("mean reward %.3f -> %.3f\n", before, after);
    assert_true(after > before + 0.15); /* as in test_story_reward_rises.c */
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_nccl_gives_the_versions_of_shared_memory),
        STORY_TEST(test_story_nccl_killed_actor_comes_back),
        STORY_TEST(test_story_nccl_hanging_actor_is_named_and_left_out),
        STORY_TEST(test_story_nccl_slow_actor_is_endured),
        STORY_TEST(test_story_nccl_wrong_bytes_are_refused),
        STORY_TEST(test_story_nccl_killed_learner_gets_its_actors_back),
        STORY_TEST(test_story_nccl_reward_rises)};
    story_begin("nccl");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
