/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* An alarm of the learner stands in metrics.jsonl, among the store's events and in `weir status`. The gradient norm's
 * alarm is set so low that every step after the first few raises it; the run goes on. */
#include "tests/story.h"

enum { STEPS = 12, LIMIT_MS = 60000, SOON_MS = 30000 };

/* Alarms of `weir status --json` while the run goes on. */
static size_t status_alarms(const struct story_run *run, char *first, size_t size)
{
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    static char text[1 << 20];
    const char *arguments[] = {"status", run->path, "--json", NULL};
    pid_t pid = story_spawn("weir", arguments, story_path(out, "status.out"),
                            story_path(err, "status.err"));
    assert_int_equal(story_wait_pid(pid, SOON_MS), 0);
    json_t *status = json_loads(story_read(out, text, sizeof text), 0, NULL);
    assert_non_null(status);
    const json_t *alarms = json_object_get(status, "alarms");
    const char *sentence = json_string_value(json_object_get(json_array_get(alarms, 0), "text"));
    snprintf(first, size, "%s", sentence != NULL ? sentence : "");
    size_t count = json_array_size(alarms);
    json_decref(status);
    return count;
}

static void test_story_guards_alarm_reaches_metrics_events_and_status(void **state)
{
    (void)state;
    struct story_run run;
    char first[1000];
    story_start(&run, "alarm",
                "run.steps=12 store.max_staleness=0 learner.grad_norm_alarm=0.001 "
                "learner.updates_per_publish=2");
    story_await_steps(&run, STEPS / 2 + 1, SOON_MS);
    pid_t learner = story_process(&run, "weir-learner", 0);
    kill(learner, SIGSTOP); /* so that the run is still there to be asked */
    size_t count = status_alarms(&run, first, sizeof first);
    kill(learner, SIGCONT);
    assert_true(count > 0);
    assert_non_null(strstr(first, "gradient norm "));
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    /* two updates a step: 8 norms after 4 steps */
    for (size_t i = 0; i < STEPS; i++) {
        const char *alarm = json_string_value(json_object_get(json_array_get(lines, i), "alarm"));
        assert_true((alarm != NULL) == (i >= 4));
        assert_true(alarm == NULL || strstr(alarm, "learner.grad_norm_alarm") != NULL);
        assert_int_equal((int)story_number(lines, i, "optim/non_finite"), 0);
        assert_int_equal((int)story_number(lines, i, "train/refused_groups"), 0);
        assert_int_equal((int)story_number(lines, i, "mismatch/max_abs_dlogprob"), 0);
    }
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_guards_alarm_reaches_metrics_events_and_status)};
    story_begin("guards");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
