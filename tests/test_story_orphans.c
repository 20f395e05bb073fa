/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* However a run ends, no process and no shared memory of it is left: kill -9 of the supervisor, one Ctrl-C
 * (drain and checkpoint), two of them, SIGTERM. */
#include "tests/story.h"

enum { LIMIT_MS = 40000, SOON_MS = 20000, PROCESSES = 6 };

static const char *const endless = "run.steps=1000000 redis.mode=start "
                                   "sampling.response_tokens_max=400";

static void start(struct story_run *run, const char *name)
{
    pid_t pids[STORY_PIDS];
    story_start(run, name, endless);
    story_await_steps(run, 2, SOON_MS);
    assert_in_range(story_find("", run->name, pids), PROCESSES, STORY_PIDS);
}

static void assert_nothing_left(struct story_run *run, const char *after)
{
    int64_t gone_ms = story_await_gone(STORY_GONE_MS);
    print_message("%s: last process gone after %lld ms\n", after, (long long)gone_ms);
    if (gone_ms < 0)
        story_print_left();
    assert_true(gone_ms >= 0);
    (void)run;
}

static void assert_checkpoint(const struct story_run *run)
{
    json_t *lines = story_metrics(run);
    size_t steps = json_array_size(lines);
    char path[FILE_PATH_MAX];
    assert_true(steps > 0);
    assert_int_equal(file_path(path, "%s/checkpoints/step_%zu/hf/model.safetensors", run->path,
                               (size_t)story_number(lines, steps - 1, "version")),
                     STATUS_OK);
    print_message("checkpoint of the last step: %s\n", path);
    assert_true(file_exists(path));
    json_decref(lines);
}

static void test_story_orphans_killed_supervisor_leaves_no_process(void **state)
{
    (void)state;
    struct story_run run;
    start(&run, "killed");
    assert_int_equal(kill(run.pid, SIGKILL), 0);
    assert_nothing_left(&run, "kill -9 of weir");
    /* nobody is left to remove the shared memory; the next start of that name does */
    char resumed[300];
    snprintf(resumed, sizeof resumed, "run.resume=true run.steps=%zu", story_steps(&run) + 2);
    story_run_whole(&run, "killed", resumed, LIMIT_MS);
    assert_int_equal(story_shared_memory(&run), 0);
}

static void test_story_orphans_ctrl_c_drains_and_checkpoints(void **state)
{
    (void)state;
    struct story_run run;
    start(&run, "once");
    kill(run.pid, SIGINT);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    assert_nothing_left(&run, "Ctrl-C");
    assert_checkpoint(&run);
    assert_int_equal(story_shared_memory(&run), 0);
}

static void test_story_orphans_second_ctrl_c_stops_at_once(void **state)
{
    (void)state;
    struct story_run run;
    start(&run, "twice");
    kill(run.pid, SIGINT);
    clock_sleep_ms(20); /* two signals at once would be one */
    kill(run.pid, SIGINT);
    int64_t begin_ns = clock_now_ns();
    assert_int_equal(story_wait(&run, 5000), 130);
    print_message("second Ctrl-C: weir left after %lld ms\n",
                  (long long)((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS));
    assert_nothing_left(&run, "second Ctrl-C");
    assert_int_equal(story_shared_memory(&run), 0);
}

static void test_story_orphans_sigterm_drains_and_resumes(void **state)
{
    (void)state;
    struct story_run run;
    char resumed[300];
    start(&run, "term");
    kill(run.pid, SIGTERM);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    assert_nothing_left(&run, "SIGTERM");
    assert_checkpoint(&run);
    size_t steps = story_steps(&run) + 3;
    snprintf(resumed, sizeof resumed, "run.resume=true run.steps=%zu", steps);
    story_run_whole(&run, "term", resumed, LIMIT_MS);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, steps);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_orphans_killed_supervisor_leaves_no_process),
        STORY_TEST(test_story_orphans_ctrl_c_drains_and_checkpoints),
        STORY_TEST(test_story_orphans_second_ctrl_c_stops_at_once),
        STORY_TEST(test_story_orphans_sigterm_drains_and_resumes)};
    story_begin("orphans");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
