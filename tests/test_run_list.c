/* links: ops */
/* Runs as weir ls shows them: states, what is known of old and broken folders; meta.json; removal; near names;
 * checkpoints by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/checkpoints.h"
#include "ops/run_list.h"
#include "ops/run_meta.h"

static char root[64];

static int begin(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/weir-list-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    return file_remove_tree(root) == STATUS_OK ? 0 : -1;
}

static void write_file(const char *run, const char *file, const char *words)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", root, run), STATUS_OK);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
    assert_int_equal(file_path(path, "%s/%s/%s", root, run, file), STATUS_OK);
    assert_int_equal(file_replace(path, words, strlen(words)), STATUS_OK);
}

static void make_dir(const char *name)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", root, name), STATUS_OK);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
}

static const char *path_of(const char *name)
{
    static char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", root, name), STATUS_OK);
    return path;
}

static char *state_of(const char *name)
{
    static char state[32];
    json_t *row = run_list_row(path_of(name), name);
    snprintf(state, sizeof state, "%s", json_string_value(json_object_get(row, "state")));
    json_decref(row);
    return state;
}

/* Starts a run as weir does, without its processes. */
static void start(struct run_folder *folder, const char *name, bool resume)
{
    char words[][40] = {"a.yaml", "redis.password=secret", "run.steps=9"};
    char *arguments[] = {words[0], words[1], words[2]};
    const char *recipes[] = {"a.yaml"};
    struct run_meta_start meta = {.command = resume ? "resume" : "up",
                                  .arguments = arguments,
                                  .argument_count = 3,
                                  .recipes = recipes,
                                  .recipe_count = 1,
                                  .steps = 9};
    assert_int_equal(run_folder_open(folder, root, name, resume), STATUS_OK);
    assert_int_equal(run_meta_begin(folder, &meta), STATUS_OK);
}

static void test_run_list_state_follows_the_run(void **state)
{
    (void)state;
    struct run_folder folder;
    start(&folder, "one", false);
    assert_string_equal(state_of("one"), "running");
    assert_int_equal(run_folder_note(&folder, "draining"), STATUS_OK);
    assert_string_equal(state_of("one"), "draining");
    run_folder_close(&folder); /* as a SIGKILL does */
    assert_string_equal(state_of("one"), "crashed");
    start(&folder, "one", true);
    assert_string_equal(state_of("one"), "running");
    assert_int_equal(run_meta_end(&folder, 1, "no plan in time"), STATUS_OK);
    run_folder_close(&folder);
    assert_string_equal(state_of("one"), "failed");
    start(&folder, "one", true);
    assert_int_equal(run_meta_end(&folder, 0, ""), STATUS_OK);
    run_folder_close(&folder);
    assert_string_equal(state_of("one"), "over");
}

static void test_run_list_meta_hides_passwords_and_keeps_the_origin(void **state)
{
    (void)state;
    struct run_folder folder;
    json_t *meta;
    make_dir("child");
    assert_int_equal(run_meta_fork(path_of("child"), "child", path_of("child"), NULL, "parent",
                                   "/x/parent", 40, 9),
                     STATUS_OK);
    write_file("child", "lock", "0 new\n");
    assert_string_equal(state_of("child"), "new");
    start(&folder, "child", true);
    assert_int_equal(run_meta_read(folder.path, &meta), STATUS_OK);
    char *text = json_dumps(meta, JSON_COMPACT);
    assert_null(strstr(text, "secret"));
    assert_non_null(strstr(text, "redis.password=..."));
    assert_non_null(
        strstr(text, "\"parent\":\"parent\",\"parent_folder\":\"/x/parent\",\"parent_step\":40"));
    assert_non_null(strstr(text, "\"attempt\":1"));
    free(text); /* lint: allow(free): jansson's buffer */
    json_decref(meta);
    run_folder_close(&folder);
}

static void test_run_list_odd_folders_are_rows_or_nothing(void **state)
{
    (void)state;
    json_t *runs;
    struct buffer text;
    write_file("old", "lock", "77 running\n");
    write_file("old", "metrics.jsonl",
               "{\"step\":1,\"reward/mean\":0.1}\n{\"step\":2,\"reward/mean\":0.25}\n{\"step\":3,");
    write_file("broken", "lock", "");
    write_file("broken", "meta.json", "{\"steps\":");
    write_file("broken", "metrics.jsonl", "nothing\n");
    write_file("no-run", "file", "x");
    write_file(".gone.removed", "lock", "");
    assert_int_equal(run_list_read(root, &runs), STATUS_OK);
    assert_int_equal(json_array_size(runs), 2);
    buffer_init(&text, 0);
    assert_int_equal(run_list_text(runs, 0, &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "0.250"));
    assert_string_equal(state_of("old"), "over");
    json_t *row = run_list_row(path_of("old"), "old");
    assert_int_equal((int)json_number_value(json_object_get(row, "step")), 2);
    assert_true(json_integer_value(json_object_get(row, "bytes")) > 0);
    json_decref(row);
    row = run_list_row(path_of("broken"), "broken");
    assert_true(json_is_null(json_object_get(row, "step")));
    json_decref(row);
    buffer_free(&text);
    json_decref(runs);
    assert_int_equal(run_list_read("/no/such/root", &runs), STATUS_OK);
    assert_int_equal(json_array_size(runs), 0);
    json_decref(runs);
}

static void test_run_list_ages_and_sizes_are_short(void **state)
{
    (void)state;
    char out[40];
    static const struct {
        int64_t seconds;
        const char *text;
    } ages[] = {{-5, "0 s"},      {59, "59 s"},          {60, "1 min"},
                {3599, "59 min"}, {12000, "3 h 20 min"}, {439200, "5 d 2 h"}};
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        {0, "0 B"}, {999, "999 B"}, {1000, "1.0 kB"}, {12345678, "12.3 MB"}, {999600000, "1.0 GB"}};
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        run_list_age(ages[i].seconds, out, sizeof out);
        assert_string_equal(out, ages[i].text);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        run_list_bytes(sizes[i].bytes, out, sizeof out);
        assert_string_equal(out, sizes[i].text);
    }
}

static void test_run_list_removal_refuses_what_it_must_not_touch(void **state)
{
    (void)state;
    struct run_folder folder;
    start(&folder, "one", false);
    assert_int_equal(run_folder_remove(path_of("one")), STATUS_LIMIT);
    assert_non_null(strstr(status_last_error(), "already running"));
    run_folder_close(&folder);
    write_file("plain", "file", "x");
    assert_int_equal(run_folder_remove(path_of("plain")), STATUS_INVALID);
    char target[FILE_PATH_MAX];
    snprintf(target, sizeof target, "%s", path_of("one"));
    assert_int_equal(symlink(target, path_of("link")), 0);
    assert_int_equal(run_folder_remove(path_of("link")), STATUS_INVALID);
    assert_true(file_exists(path_of("one/lock")));
    assert_int_equal(run_folder_remove(path_of("none")), STATUS_NOT_FOUND);
    write_file(".", "one.targets.json", "[]"); /* ops/fleet_monitor.h */
    assert_int_equal(run_folder_remove(path_of("one")), STATUS_OK);
    assert_false(file_exists(path_of("one.targets.json")));
    assert_false(file_exists(path_of("one")));
    assert_false(file_exists(path_of(".one.removed")));
}

static void test_run_list_a_wrong_name_is_told_the_near_one(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], name[RUN_NAME_MAX];
    write_file("countdown-20260102", "lock", "");
    assert_int_equal(run_folder_find(root, "countdwn-20260102", path, name), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "did you mean countdown-20260102?"));
    assert_int_equal(run_folder_find(root, "countdown", path, name), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "did you mean countdown-20260102?"));
    assert_int_equal(run_folder_find(root, "x", path, name), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "weir ls"));
}

static void test_run_list_checkpoints_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {"step_40", "step_100",    "step_9", "step_x",
                                        "partial", "step_40.old", "step_"};
    char path[FILE_PATH_MAX], list[64];
    uint64_t found = 0;
    struct checkpoints all;
    make_dir("one");
    assert_int_equal(checkpoints_find(path_of("one"), 0, path, &found), STATUS_NOT_FOUND);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "one/checkpoints/%s", names[i]);
        make_dir(path);
    }
    checkpoints_read(path_of("one"), &all);
    checkpoints_text(&all, list, sizeof list);
    assert_string_equal(list, "9, 40, 100");
    assert_int_equal(checkpoints_newest(path_of("one")), 100);
    assert_int_equal(checkpoints_find(path_of("one"), 0, path, &found), STATUS_OK);
    assert_int_equal(found, 100);
    assert_int_equal(checkpoints_find(path_of("one"), 40, path, &found), STATUS_OK);
    assert_non_null(strstr(path, "/one/checkpoints/step_40"));
    assert_int_equal(checkpoints_find(path_of("one"), 41, path, &found), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "9, 40, 100"));
    for (unsigned i = 0; i < CHECKPOINTS_SHOWN_MAX; i++) {
        snprintf(path, sizeof path, "one/checkpoints/step_%u", 1000 + i);
        make_dir(path);
    }
    assert_int_equal(checkpoints_find(path_of("one"), 40, path, &found), STATUS_OK); /* not shown */
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_run_list_state_follows_the_run),
        CASE(test_run_list_meta_hides_passwords_and_keeps_the_origin),
        CASE(test_run_list_odd_folders_are_rows_or_nothing),
        CASE(test_run_list_ages_and_sizes_are_short),
        CASE(test_run_list_removal_refuses_what_it_must_not_touch),
        CASE(test_run_list_a_wrong_name_is_told_the_near_one),
        CASE(test_run_list_checkpoints_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
