/* links: ops reward */
/* label: integration */
/* timeout: 240 */
/* weir scale and weir drain on a whole run: workers come and go, the learner's process stays, and the run ends with
 * every step once and the digests of the run that nobody touched. A run that goes on begins with run.actors again. */
#include "tests/story.h"

#include "ops/process_table.h"

enum { STEPS = 400, LIMIT_MS = 120000, SOON_MS = 30000, DONE_MS = 60000 };

static const char *const settings = "run.steps=400 run.seed=11 store.max_staleness=0 "
                                    "store.dynamic_sampling=false learner.checkpoint_every=50";

static json_t *table_of(const struct story_run *run)
{
    json_t *table = NULL;
    assert_int_equal(process_table_read(run->path, &table), STATUS_OK);
    return table;
}

/* "actor.0 actor.2": the workers of a role that run. */
static const char *running(const struct story_run *run, const char *role)
{
    static char list[512];
    json_t *table = table_of(run);
    size_t i;
    const json_t *row;
    list[0] = 0;
    json_array_foreach(json_object_get(table, "processes"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *state = json_string_value(json_object_get(row, "state"));
        size_t used = strlen(list);
        if (strncmp(name, role, strlen(role)) == 0 && strcmp(state, "running") == 0)
            snprintf(list + used, sizeof list - used, "%s%s", used > 0 ? " " : "", name);
    }
    json_decref(table);
    return list;
}

static void await_running(const struct story_run *run, const char *role, const char *expected)
{
    int64_t end_ns = story_deadline_ns(SOON_MS);
    while (strcmp(running(run, role), expected) != 0 && clock_now_ns() < end_ns)
        clock_sleep_ms(STORY_PAUSE_MS);
    assert_string_equal(running(run, role), expected);
}

static pid_t pid_of(const struct story_run *run, const char *name)
{
    json_t *table = table_of(run);
    pid_t pid = (pid_t)json_integer_value(json_object_get(process_table_find(table, name), "pid"));
    json_decref(table);
    return pid;
}

/* Exit code of `weir COMMAND RUN [a] [b]`; its words are in `out`. */
static int weir(const struct story_run *run, const char *command, const char *a, const char *b,
                char out[4096])
{
    char out_path[FILE_PATH_MAX], err_path[FILE_PATH_MAX];
    const char *arguments[] = {command, run->path, a, b, NULL};
    pid_t pid = story_spawn("weir", arguments, story_path(out_path, "command.out"),
                            story_path(err_path, "command.err"));
    int code = story_wait_pid(pid, DONE_MS);
    story_read(code == 0 ? out_path : err_path, out, 4096);
    print_message("  weir %s %s %s: exit %d: %s", command, a, b != NULL ? b : "", code, out);
    return code;
}

static void come_and_go(struct story_run *run, char out[4096])
{
    await_running(run, "actor", "actor.0 actor.1");
    assert_int_equal(weir(run, "scale", "actors=4", "reward_workers=2", out), 0);
    assert_string_equal(running(run, "actor"), "actor.0 actor.1 actor.2 actor.3");
    assert_string_equal(running(run, "reward"), "reward.0 reward.1");
    story_await_steps(run, story_steps(run) + 5, SOON_MS);

    assert_int_equal(weir(run, "drain", "actor.1", NULL, out), 0);
    assert_string_equal(running(run, "actor"), "actor.0 actor.2 actor.3");
    story_await_steps(run, story_steps(run) + 5, SOON_MS);
    assert_string_equal(running(run, "actor"), "actor.0 actor.2 actor.3"); /* it stays out */

    assert_int_equal(weir(run, "scale", "actors=4", NULL, out), 0); /* the lowest free index */
    assert_string_equal(running(run, "actor"), "actor.0 actor.1 actor.2 actor.3");
    assert_int_equal(weir(run, "scale", "actors=1", "reward_workers=1", out),
                     0); /* the highest leave */
    assert_string_equal(running(run, "actor"), "actor.0");
    assert_string_equal(running(run, "reward"), "reward.0");
    story_await_steps(run, story_steps(run) + 5, SOON_MS);
}

static void test_story_scale_workers_come_and_go_and_nothing_else_changes(void **state)
{
    (void)state;
    struct story_run calm, run;
    char out[4096];
    story_run_whole(&calm, "calm", settings, LIMIT_MS);
    story_start(&run, "scaled", settings);
    story_await_steps(&run, 5, SOON_MS);
    pid_t learner = pid_of(&run, "learner.0"), store = pid_of(&run, "store.0");
    come_and_go(&run, out);
    assert_int_equal(weir(&run, "scale", "actors=2", NULL, out), 0);
    assert_int_equal(pid_of(&run, "learner.0"), learner);
    assert_int_equal(pid_of(&run, "store.0"), store);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *expected = story_metrics(&calm), *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    story_assert_same_digests(expected, lines);
    json_decref(expected);
    json_decref(lines);
}

static void test_story_scale_bad_wishes_are_sentences(void **state)
{
    (void)state;
    struct story_run run;
    char out[4096];
    story_start(&run, "bad", settings);
    story_await_steps(&run, 2, SOON_MS);
    static const struct {
        const char *command, *argument, *says;
    } rows[] = {
        {"scale", "actors=x", "actors takes a whole number from 0 to 4096"},
        {"scale", "actors=-1", "actors takes a whole number from 0 to 4096"},
        {"scale", "actors=5000", "actors takes a whole number from 0 to 4096"},
        {"scale", "reward_workers=", "reward_workers takes a whole number"},
        {"scale", "workers=1", "workers=1 cannot be scaled"},
        {"drain", "learner.0", "learner.0 cannot leave alone"},
        {"drain", "store.0", "store.0 cannot leave alone"},
        {"drain", "actor.9", "there is no actor.9 here; there are"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_not_equal(weir(&run, rows[i].command, rows[i].argument, NULL, out), 0);
        assert_non_null(strstr(out, rows[i].says));
    }
    await_running(&run, "actor", "actor.0 actor.1");
    kill(run.pid, SIGINT);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
}

static void test_story_scale_resumed_run_begins_with_its_settings(void **state)
{
    (void)state;
    struct story_run run;
    char out[4096];
    story_start(&run, "resumed", settings);
    story_await_steps(&run, 2, SOON_MS);
    assert_int_equal(weir(&run, "scale", "actors=3", NULL, out), 0);
    kill(run.pid, SIGINT);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    size_t steps = story_steps(&run);
    char resumed[300];
    snprintf(resumed, sizeof resumed, "%s run.resume=true", settings);
    story_start(&run, "resumed", resumed);
    story_await_steps(&run, steps + 2, SOON_MS);
    await_running(&run, "actor", "actor.0 actor.1");
    kill(run.pid, SIGINT);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
}

static void test_story_scale_worker_told_to_go_stays_out(void **state)
{
    (void)state;
    struct story_run run;
    char out[4096];
    story_start(&run, "told", settings);
    story_await_steps(&run, 1, SOON_MS);
    await_running(&run, "actor", "actor.0 actor.1");
    assert_int_equal(kill(pid_of(&run, "actor.1"), SIGTERM), 0);
    await_running(&run, "actor", "actor.0");
    story_await_steps(&run, story_steps(&run) + 5, SOON_MS);
    assert_string_equal(running(&run, "actor"), "actor.0");
    assert_int_equal(weir(&run, "scale", "actors=2", NULL, out), 0);
    await_running(&run, "actor", "actor.0 actor.1");
    kill(run.pid, SIGINT);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_scale_workers_come_and_go_and_nothing_else_changes),
        STORY_TEST(test_story_scale_bad_wishes_are_sentences),
        STORY_TEST(test_story_scale_resumed_run_begins_with_its_settings),
        STORY_TEST(test_story_scale_worker_told_to_go_stays_out)};
    story_begin("scale");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
