/* links: ops */
/* label: unit */
/* why: the cause first, from the store's graph, the table of processes, or both; scale.json beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/process_table.h"
#include "ops/scale_file.h"
#include "ops/why.h"

static char folder[FILE_PATH_MAX];

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/weir-why-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return file_remove_tree(folder) != STATUS_OK;
}

static void write_file(const char *name, const char *text)
{
    char path[FILE_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
}

static const char *const answer_text =
    "{\"because\":\"the run waits for actor.1 because actor.1 (pid 77 on host h) is stopped or cut "
    "off since 420 ms\",\"extra\":3,\"waits\":["
    "{\"who\":\"run\",\"for\":\"learner.0\",\"since_ms\":3200,\"what\":\"it waits for plan 4\"},"
    "{\"who\":\"learner.0\",\"for\":\"plan 4\",\"since_ms\":3200,\"what\":\"3 samples\"},"
    "{\"who\":\"plan 4\",\"for\":\"actor.1\",\"since_ms\":3200,\"what\":\"generating\","
    "\"deadline_ms\":580},"
    "{\"who\":\"actor.1\",\"for\":\"learner.0\",\"since_ms\":1,\"what\":\"a cycle\"},"
    "{\"who\":\"reward.0\",\"for\":\"store\",\"since_ms\":5,\"what\":\"message\",\"left_ms\":9},"
    "{\"who\":\"store\",\"for\":\"actors\",\"since_ms\":5,\"what\":\"queued\"}]}";

/* What why says; the caller frees. */
static char *say(const struct why_case *why)
{
    static char out[8192];
    struct buffer text;
    json_t *merged = why_merge(why);
    buffer_init(&text, 0);
    assert_int_equal(why_text(merged, &text), STATUS_OK);
    snprintf(out, sizeof out, "%s", buffer_string(&text));
    buffer_free(&text);
    json_decref(merged);
    return out;
}

static void test_why_names_from_elsewhere_do_not_steer_the_terminal(void **state)
{
    (void)state;
    json_t *answer = json_loads("{\"because\":\"a\\u001b[2Jb\",\"waits\":[{\"who\":\"run\",\"for\":"
                                "\"pl\\fan\",\"since_ms\":5,\"what\":\"c\\rd\"}]}",
                                0, NULL);
    assert_non_null(answer);
    struct why_case why = {.run = "a", .answer = answer};
    const char *text = say(&why);
    assert_non_null(strstr(text, "a?[2Jb"));
    assert_non_null(strstr(text, "pl?an"));
    assert_non_null(strstr(text, "c?d"));
    json_decref(answer);
}

static void test_why_cause_comes_first_and_the_graph_is_a_tree(void **state)
{
    (void)state;
    json_t *answer = json_loads(answer_text, 0, NULL);
    struct why_case why = {.run = "a", .answer = answer, .stopped_ms = 10000};
    const char *text = say(&why);
    assert_int_equal(strncmp(text, "the run waits for actor.1 because", 33), 0);
    const char *learner = strstr(text, "\n  learner.0 "), *plan = strstr(text, "\n    plan 4 "),
               *actor = strstr(text, "\n      actor.1 "), *besides = strstr(text, "besides\n"),
               *idle = strstr(text, "idle, waiting for work\n");
    assert_true(learner != NULL && plan > learner && actor > plan && besides > actor &&
                idle > besides);
    assert_non_null(strstr(actor, "until in 0.6 s"));
    assert_non_null(strstr(idle, "reward.0 for store"));
    json_t *merged = why_merge(&why);
    assert_int_equal(json_integer_value(json_object_get(merged, "extra")), 3);
    assert_string_equal(json_string_value(json_object_get(merged, "store")), "answers");
    json_decref(merged);
    json_decref(answer);
}

static json_t *read_table(const char *rows)
{
    char text[2000];
    json_t *table = NULL;
    snprintf(text, sizeof text,
             "{\"run\":\"a\",\"applied\":5,\"clock_ms\":%lld,\"processes\":[%s]}",
             (long long)(clock_now_ns() / CLOCK_NS_PER_MS - 400), rows);
    write_file("processes.json", text);
    assert_int_equal(process_table_read(folder, &table), STATUS_OK);
    return table;
}

static void test_why_dead_store_is_named_without_it(void **state)
{
    (void)state;
    json_t *table =
        read_table("{\"name\":\"store.0\",\"pid\":0,\"state\":\"waiting\",\"end\":\"exit 9\"}");
    const char *trouble = process_table_store_trouble(table);
    assert_non_null(trouble);
    const char *text =
        say(&(struct why_case){.run = "a", .trouble = trouble, .table = table, .stopped_ms = 9});
    assert_non_null(strstr(text, "the run waits for store.0 because store.0 waits for its next "
                                 "start; it ended by: exit 9"));
    assert_int_equal(process_table_applied(table), 5);
    json_decref(table);
}

static void test_why_running_store_has_no_trouble(void **state)
{
    (void)state;
    char row[200];
    snprintf(row, sizeof row, "{\"name\":\"store.0\",\"pid\":%ld,\"state\":\"running\"}",
             (long)getpid());
    json_t *table = read_table(row);
    assert_null(process_table_store_trouble(table));
    assert_int_equal(json_array_size(json_object_get(table, "sick")), 0);
    json_decref(table);
}

static void test_why_process_that_is_gone_is_seen_before_the_table_says_so(void **state)
{
    (void)state;
    json_t *table = read_table("{\"name\":\"store.0\",\"pid\":999999999,\"state\":\"running\"}");
    assert_non_null(strstr(process_table_store_trouble(table), "has just died"));
    json_decref(table);
}

static void test_why_local_sight_beats_an_unknowing_store(void **state)
{
    (void)state;
    json_t *answer = json_loads("{\"because\":\"the run waits for x\",\"waits\":[]}", 0, NULL);
    json_t *table = json_loads("{\"sick\":[{\"name\":\"actor.3\",\"pid\":7,\"state\":\"stopped\","
                               "\"since_ms\":300,\"what\":\"actor.3 (pid 7) is stopped\"}]}",
                               0, NULL);
    const char *text =
        say(&(struct why_case){.run = "a", .answer = answer, .table = table, .stopped_ms = 2000});
    assert_int_equal(
        strncmp(text, "the run waits for actor.3 because actor.3 (pid 7) is stopped", 60), 0);
    assert_non_null(strstr(text, "until in 1.7 s"));
    json_decref(answer);
    json_decref(table);
}

static void test_why_nothing_known_is_said(void **state)
{
    (void)state;
    assert_non_null(strstr(say(&(struct why_case){.run = "a"}), "nothing that is known"));
    assert_non_null(
        strstr(say(&(struct why_case){.run = "a", .supervisor_stopped = true, .supervisor = 12}),
               "weir (pid 12) is stopped"));
}

/* ---- scale.json ---- */

static void test_why_scale_wishes_that_are_open_are_kept(void **state)
{
    (void)state;
    struct scale_wish first = {.actors = 4, .reward_workers = SCALE_AS_IT_IS},
                      second = {.actors = SCALE_AS_IT_IS, .reward_workers = 2}, read;
    snprintf(second.drain[second.drain_count++], PROCESS_NAME_MAX, "actor.3");
    assert_int_equal(scale_file_read(folder, &read), STATUS_NOT_FOUND);
    assert_int_equal(scale_file_add(folder, 0, &first), STATUS_OK);
    assert_int_equal(scale_file_add(folder, 0, &second), STATUS_OK);
    assert_true(second.request > first.request);
    assert_int_equal(scale_file_read(folder, &read), STATUS_OK);
    assert_int_equal(read.actors, 4);
    assert_int_equal(read.reward_workers, 2);
    assert_int_equal(read.drain_count, 1);
    assert_string_equal(read.drain[0], "actor.3");
    struct scale_wish third = {.actors = SCALE_AS_IT_IS, .reward_workers = 1};
    assert_int_equal(scale_file_add(folder, read.request, &third), STATUS_OK); /* done: forgotten */
    assert_int_equal(scale_file_read(folder, &read), STATUS_OK);
    assert_int_equal(read.actors, SCALE_AS_IT_IS);
    assert_int_equal(read.drain_count, 0);
}

static void test_why_scale_file_of_another_hand_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"actors\":3}",
                                      "{\"request\":1,\"actors\":-1}",
                                      "{\"request\":1,\"actors\":5000}",
                                      "{\"request\":1,\"actors\":\"3\"}",
                                      "{\"request\":1,\"drain\":[7]}"};
    struct scale_wish read;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file("scale.json", bad[i]);
        assert_int_equal(scale_file_read(folder, &read), STATUS_CORRUPT);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_why_cause_comes_first_and_the_graph_is_a_tree),
        CASE(test_why_dead_store_is_named_without_it),
        CASE(test_why_running_store_has_no_trouble),
        CASE(test_why_process_that_is_gone_is_seen_before_the_table_says_so),
        CASE(test_why_local_sight_beats_an_unknowing_store),
        CASE(test_why_nothing_known_is_said),
        CASE(test_why_names_from_elsewhere_do_not_steer_the_terminal),
        CASE(test_why_scale_wishes_that_are_open_are_kept),
        CASE(test_why_scale_file_of_another_hand_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
