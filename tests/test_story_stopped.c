/* links: ops reward */
/* label: integration */
/* timeout: 300 */
/* SIGSTOP of each process of a run in turn, of all but one, and of all for less than the deadline. A stopped process
 * is named within half a second, killed at run.stopped_s and started again; the run ends with every step once and the
 * digests of the run that nobody touched. */
#include "tests/story_digests.h"

#include "ops/process_table.h"

enum {
    STEPS = 400,
    STOPPED_S = 2,
    SEEN_MS = 500,
    SLACK_MS = 8000, /* the machine is busy with other stories */
    LIMIT_MS = 120000,
    SOON_MS = 30000,
    ANSWER_MS = 2500,
};

static struct story_measure measure = {
    .settings =
        "run.steps=400 run.seed=11 run.stopped_s=2 store.lease_ms=1000 store.max_staleness=0 "
        "store.dynamic_sampling=false learner.checkpoint_every=50",
    .steps = STEPS,
    .limit_ms = LIMIT_MS};

static const char *const names[] = {"store.0", "learner.0", "actor.0", "actor.1", "reward.0"};
enum { NAMES = sizeof names / sizeof names[0] };

static json_t *table_of(const struct story_run *run)
{
    json_t *table = NULL;
    assert_int_equal(process_table_read(run->path, &table), STATUS_OK);
    return table;
}

static pid_t pid_of(const struct story_run *run, const char *name, json_int_t *restarts)
{
    json_t *table = table_of(run);
    const json_t *row = process_table_find(table, name);
    assert_non_null(row);
    pid_t pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
    if (restarts != NULL)
        *restarts = json_integer_value(json_object_get(row, "restarts"));
    json_decref(table);
    return pid;
}

/* The answer of `weir why RUN --json`; it must come in time and with exit code 0. */
static json_t *ask_why(const struct story_run *run)
{
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    static char text[1 << 20];
    const char *arguments[] = {"why", run->path, "--json", NULL};
    pid_t pid =
        story_spawn("weir", arguments, story_path(out, "why.out"), story_path(err, "why.err"));
    assert_int_equal(story_wait_pid(pid, ANSWER_MS), 0);
    json_t *why = json_loads(story_read(out, text, sizeof text), 0, NULL);
    assert_non_null(why);
    return why;
}

static bool is_named(const struct story_run *run, const char *name)
{
    json_t *why = ask_why(run);
    const char *because = json_string_value(json_object_get(why, "because"));
    assert_non_null(because);
    bool named = strstr(because, name) != NULL && strstr(because, "stopped") != NULL;
    if (named)
        print_message("  why: %s\n", because);
    json_decref(why);
    return named;
}

static void stop_and_see(const struct story_run *run, const char *name, pid_t pid)
{
    int64_t stopped_ns = clock_now_ns(), seen_ms = -1;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    while (seen_ms < 0 && clock_now_ns() - stopped_ns < (int64_t)STOPPED_S * CLOCK_NS_PER_S)
        if (is_named(run, name))
            seen_ms = (clock_now_ns() - stopped_ns) / CLOCK_NS_PER_MS;
    print_message("%s stopped: named after %lld ms\n", name, (long long)seen_ms);
    assert_in_range(seen_ms, 0, SEEN_MS);
}

/* Another pid stands there: how long after stopped_ns. */
static int64_t await_replaced(const struct story_run *run, const char *name, pid_t old,
                              int64_t stopped_ns)
{
    int64_t end_ns = stopped_ns + (STOPPED_S * 1000 + SLACK_MS) * (int64_t)CLOCK_NS_PER_MS;
    for (pid_t pid = old; clock_now_ns() < end_ns; clock_sleep_ms(STORY_PAUSE_MS)) {
        pid = pid_of(run, name, NULL);
        if (pid != old && pid > 0)
            return (clock_now_ns() - stopped_ns) / CLOCK_NS_PER_MS;
    }
    fail_msg("%s (pid %ld) was not replaced", name, (long)old);
    return -1;
}

static void test_story_stopped_process_is_named_replaced_and_nothing_changes(void **state)
{
    (void)state;
    struct story_run run;
    story_uninterrupted(&measure);
    story_start(&run, "each", measure.settings);
    for (size_t i = 0; i < NAMES; i++) {
        char sentence[200];
        story_await_steps(&run, story_steps(&run) + 5, SOON_MS);
        pid_t pid = pid_of(&run, names[i], NULL);
        int64_t stopped_ns = clock_now_ns();
        stop_and_see(&run, names[i], pid);
        int64_t replaced_ms = await_replaced(&run, names[i], pid, stopped_ns);
        print_message("%s replaced after %lld ms\n", names[i], (long long)replaced_ms);
        assert_true(replaced_ms >= STOPPED_S * 1000); /* not a moment too early */
        snprintf(sentence, sizeof sentence, "%s (pid %ld) is stopped or cut off for %d s", names[i],
                 (long)pid, STOPPED_S);
        assert_true(story_said(run.out, sentence));
    }
    story_check_end(&run, &measure);
}

static void test_story_stopped_all_but_one_are_replaced(void **state)
{
    (void)state;
    struct story_run run;
    pid_t pids[NAMES];
    story_uninterrupted(&measure);
    story_start(&run, "but-one", measure.settings);
    story_await_steps(&run, 10, SOON_MS);
    int64_t stopped_ns = clock_now_ns();
    for (size_t i = 0; i < NAMES; i++) {
        pids[i] = pid_of(&run, names[i], NULL);
        if (strcmp(names[i], "actor.1") != 0)
            assert_int_equal(kill(pids[i], SIGSTOP), 0);
    }
    assert_true(is_named(&run, "store.0"));
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(names[i], "actor.1") != 0)
            await_replaced(&run, names[i], pids[i], stopped_ns);
    story_check_end(&run, &measure);
}

static void test_story_stopped_for_less_than_the_deadline_changes_nothing(void **state)
{
    (void)state;
    struct story_run run;
    pid_t pids[NAMES];
    json_int_t restarts;
    story_uninterrupted(&measure);
    story_start(&run, "brief", measure.settings);
    for (int round = 0; round < 3; round++) {
        story_await_steps(&run, story_steps(&run) + 10, SOON_MS);
        for (size_t i = 0; i < NAMES; i++) {
            pids[i] = pid_of(&run, names[i], NULL);
            assert_int_equal(kill(pids[i], SIGSTOP), 0);
        }
        clock_sleep_ms(STOPPED_S * 1000 / 2);
        for (size_t i = 0; i < NAMES; i++)
            kill(pids[i], SIGCONT);
    }
    story_await_steps(&run, story_steps(&run) + 5, SOON_MS);
    for (size_t i = 0; i < NAMES; i++) {
        assert_int_equal(pid_of(&run, names[i], &restarts), pids[i]);
        assert_int_equal(restarts, 0);
    }
    story_check_end(&run, &measure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_stopped_process_is_named_replaced_and_nothing_changes),
        STORY_TEST(test_story_stopped_all_but_one_are_replaced),
        STORY_TEST(test_story_stopped_for_less_than_the_deadline_changes_nothing)};
    story_begin("stopped");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
