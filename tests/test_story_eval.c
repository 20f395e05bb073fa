/* links: ops */
/* label: integration */
/* timeout: 120 */
/* A run is evaluated while it trains: every due version once, with the figures of `weir eval`, also when the evaluator is
 * killed; the steps go on meanwhile. */
#include "tests/story.h"

#include <math.h>

#include "ops/eval_table.h"

enum { STEPS = 20, EVERY = 5, ROWS = 5, LIMIT_MS = 60000, PROMPTS = 6 };

static char data[FILE_PATH_MAX];

/* A set of its own: the first rows of the task. */
static void write_data(void)
{
    FILE *in = fopen(SOURCE_DIR "/examples/addition/train.jsonl", "r"),
         *out = fopen(story_path(data, "set.jsonl"), "w");
    char line[4096];
    assert_non_null(in);
    assert_non_null(out);
    for (int i = 0; i < PROMPTS && fgets(line, sizeof line, in) != NULL; i++)
        fputs(line, out);
    fclose(in);
    fclose(out);
}

static void settings_of(char settings[2000], const char *more)
{
    snprintf(settings, 2000,
             "run.steps=%d eval.every=%d eval.sets=one=%s eval.samples=4 eval.queue=10 "
             "eval.keep=10 run.actors=1 %s",
             STEPS, EVERY, data, more);
}

static json_t *table_of(const struct story_run *run)
{
    json_t *rows = NULL;
    assert_int_equal(eval_table_read(run->path, &rows), STATUS_OK);
    return rows;
}

/* "done" rows of versions 0, 5, ..., 20, in this order, each with the digest of its step. */
static void assert_table(const struct story_run *run)
{
    json_t *rows = table_of(run), *lines = story_metrics(run);
    story_assert_steps(lines, STEPS);
    assert_int_equal(json_array_size(rows), ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        const json_t *row = json_array_get(rows, i);
        size_t step = i * EVERY;
        assert_int_equal(json_integer_value(json_object_get(row, "step")), step);
        assert_string_equal(json_string_value(json_object_get(row, "status")), "done");
        if (step == 0)
            continue;
        assert_string_equal(json_string_value(json_object_get(row, "digest")),
                            story_digest(lines, step - 1));
        /* the line of a version has its figures */
        assert_int_equal((int64_t)story_number(lines, step - 1, "eval/one/version"), step);
        assert_true(fabs(story_number(lines, step - 1, "eval/one/avg_at_n") -
                         eval_table_figure(row, "avg_at_n")) < 1e-9);
    }
    json_decref(rows);
    json_decref(lines);
}

static json_t *sources_of(const char *folder)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/report.json", folder), STATUS_OK);
    json_t *report = json_load_file(path, 0, NULL);
    assert_non_null(report);
    json_t *sources = json_incref(json_object_get(report, "sources"));
    json_decref(report);
    return sources;
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    char left[FILE_PATH_MAX], right[FILE_PATH_MAX];
    struct buffer one, other;
    buffer_init(&one, 0);
    buffer_init(&other, 0);
    assert_int_equal(file_path(left, "%s/%s", a, name), STATUS_OK);
    assert_int_equal(file_path(right, "%s/%s", b, name), STATUS_OK);
    assert_int_equal(file_read(left, &one), STATUS_OK);
    assert_int_equal(file_read(right, &other), STATUS_OK);
    assert_true(one.size > 0);
    assert_int_equal(one.size, other.size);
    assert_memory_equal(one.bytes, other.bytes, one.size);
    buffer_free(&one);
    buffer_free(&other);
}

/* `weir eval` of the folder that version 10 left. */
static void assert_equals_weir_eval(const struct story_run *run)
{
    char model[FILE_PATH_MAX], config[FILE_PATH_MAX], out[FILE_PATH_MAX], own[FILE_PATH_MAX],
        said[FILE_PATH_MAX], failed[FILE_PATH_MAX];
    assert_int_equal(file_path(model, "%s/eval/step_10/hf", run->path), STATUS_OK);
    assert_int_equal(file_path(own, "%s/eval/step_10/one", run->path), STATUS_OK);
    assert_int_equal(file_path(config, "%s/config.resolved.yaml", run->path), STATUS_OK);
    const char *arguments[] = {
        "eval",      model, data,      "--config", config, "--out", story_path(out, "apart"),
        "--samples", "4",   "--quiet", NULL};
    pid_t pid = story_spawn("weir", arguments, story_path(said, "apart.out"),
                            story_path(failed, "apart.err"));
    assert_int_equal(story_wait_pid(pid, 30000), 0);
    json_t *apart = sources_of(out), *during = sources_of(own);
    assert_true(json_equal(apart, during));
    json_decref(apart);
    json_decref(during);
    assert_same_file(own, out, "responses.jsonl");
    assert_same_file(own, out, "scores.jsonl");
}

static struct story_run calm;

static void test_story_eval_every_due_version_has_its_figures(void **state)
{
    (void)state;
    char settings[2000];
    settings_of(settings, "store.max_staleness=0");
    story_run_whole(&calm, "calm", settings, LIMIT_MS);
    assert_table(&calm);
    assert_equals_weir_eval(&calm);
}

/* Synchronous runs of one seed have the same versions, so they have the same reports. */
static void test_story_eval_killed_evaluator_leaves_the_same_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {"responses.jsonl", "scores.jsonl", "report.json",
                                        "eval.json"};
    struct story_run run;
    char settings[2000], once[FILE_PATH_MAX], own[FILE_PATH_MAX], other[FILE_PATH_MAX], text[20000];
    assert_int_equal(file_make_dirs(story_path(once, "once")), STATUS_OK);
    setenv("WEIR_FAULT", "eval.answered:31=kill,eval.reported:2=kill", 1);
    setenv("WEIR_FAULT_ROLE", "eval.0", 1);
    setenv("WEIR_FAULT_ONCE", once, 1);
    settings_of(settings, "store.max_staleness=0");
    story_run_whole(&run, "killed", settings, LIMIT_MS);
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ROLE");
    unsetenv("WEIR_FAULT_ONCE");
    assert_true(file_exists(story_path(once, "once/eval.answered")));
    assert_true(file_exists(story_path(once, "once/eval.reported")));
    assert_table(&run);
    for (int step = 0; step <= STEPS; step += EVERY)
        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
            assert_int_equal(file_path(own, "%s/eval/step_%d/one", run.path, step), STATUS_OK);
            assert_int_equal(file_path(other, "%s/eval/step_%d/one", calm.path, step), STATUS_OK);
            assert_same_file(own, other, files[i]);
        }
    assert_non_null(strstr(story_log(&run, "eval.0", text, sizeof text), "evaluated"));
}

/* The evaluator sleeps at each answer: the steps do not wait for it, versions are skipped, the last one is evaluated. */
static void test_story_eval_slow_evaluator_stops_no_step(void **state)
{
    (void)state;
    struct story_run run;
    char settings[2000];
    bool behind = false;
    setenv("WEIR_FAULT", "eval.answered:*=sleep.60", 1);
    setenv("WEIR_FAULT_ROLE", "eval.0", 1);
    settings_of(settings, "eval.queue=1");
    story_start(&run, "slow", settings);
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ROLE");
    story_await_steps(&run, STEPS, LIMIT_MS);
    json_t *rows = table_of(&run); /* all steps are trained */
    behind = json_array_size(rows) < ROWS;
    json_decref(rows);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    assert_true(behind);
    rows = table_of(&run);
    size_t done = 0, skipped = 0, i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        const char *how = json_string_value(json_object_get(row, "status"));
        done += strcmp(how, "done") == 0;
        skipped += strcmp(how, "skipped") == 0;
    }
    print_message("%zu evaluated, %zu skipped\n", done, skipped);
    assert_int_equal(done + skipped, ROWS);
    assert_true(skipped > 0);
    row = json_array_get(rows, json_array_size(rows) - 1);
    assert_int_equal(json_integer_value(json_object_get(row, "step")), STEPS);
    assert_string_equal(json_string_value(json_object_get(row, "status")), "done");
    json_decref(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_eval_every_due_version_has_its_figures),
        STORY_TEST(test_story_eval_killed_evaluator_leaves_the_same_bytes),
        STORY_TEST(test_story_eval_slow_evaluator_stops_no_step)};
    story_begin("eval");
    story_make_model(&(struct story_model){14, true});
    write_data();
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
