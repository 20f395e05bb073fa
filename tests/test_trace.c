/* links: core PkgConfig::jansson Threads::Threads */
/* Spans: what a file holds, how large it gets, what a sink hears, and what a span costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/trace.h"

static char folder[64];

static int folder_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-trace-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int folder_remove(void **state)
{
    (void)state;
    trace_close();
    trace_limit(0);
    return file_remove_tree(folder) != STATUS_OK;
}

/* Lines of FOLDER/trace/NAME as a JSON array. */
static json_t *lines_of(const char *name)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    json_t *list = json_array();
    buffer_init(&text, 0);
    assert_int_equal(file_path(path, "%s/trace/%s", folder, name), STATUS_OK);
    assert_int_equal(file_read(path, &text), STATUS_OK);
    char *rest = NULL, *copy = strdup(buffer_string(&text));
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        json_array_append_new(list, row);
    }
    free(copy);
    buffer_free(&text);
    return list;
}

static void test_trace_span_stands_in_the_file_with_wall_times(void **state)
{
    (void)state;
    int64_t begin_ns = clock_now_ns(), wall_us = clock_wall_ns() / 1000;
    trace_span("before", begin_ns, begin_ns, 1); /* nothing is open */
    assert_int_equal(trace_open(folder, "learner.0"), STATUS_OK);
    trace_span("update", begin_ns, begin_ns + 2500000, 7);
    trace_span_tokens("decode", begin_ns, begin_ns + 1000000, 0, 42);
    trace_close();
    trace_span("after", begin_ns, begin_ns, 1);
    json_t *lines = lines_of("learner.0.jsonl");
    assert_int_equal(json_array_size(lines), 2);
    const json_t *one = json_array_get(lines, 0), *two = json_array_get(lines, 1);
    assert_string_equal(json_string_value(json_object_get(one, "name")), "update");
    assert_int_equal(json_integer_value(json_object_get(one, "step")), 7);
    assert_int_equal(json_integer_value(json_object_get(one, "duration_us")), 2500);
    long long off = (long long)json_integer_value(json_object_get(one, "begin_us")) - wall_us;
    assert_true(llabs(off) < 1000000);
    assert_null(json_object_get(one, "tokens"));
    assert_null(json_object_get(two, "step"));
    assert_int_equal(json_integer_value(json_object_get(two, "tokens")), 42);
    json_decref(lines);
}

static void test_trace_file_at_its_limit_gives_way_to_the_next(void **state)
{
    (void)state;
    struct stat now, old;
    char path[FILE_PATH_MAX];
    trace_limit(4096);
    for (int round = 0; round < 5;
         round++) { /* a process that starts again goes on with its file */
        assert_int_equal(trace_open(folder, "actor.1"), STATUS_OK);
        for (int i = 0; i < 25; i++)
            trace_span("decode", i, i + 1, (uint64_t)round + 1);
        trace_close();
    }
    assert_int_equal(file_path(path, "%s/trace/actor.1.jsonl", folder), STATUS_OK);
    assert_int_equal(stat(path, &now), 0);
    assert_int_equal(file_path(path, "%s/trace/actor.1.jsonl.1", folder), STATUS_OK);
    assert_int_equal(stat(path, &old), 0);
    assert_true(now.st_size <= 4096 && old.st_size <= 4096);
    json_t *lines = lines_of("actor.1.jsonl");
    const json_t *last = json_array_get(lines, json_array_size(lines) - 1);
    assert_int_equal(json_integer_value(json_object_get(last, "step")), 5);
    json_decref(lines);
}

static void hear(void *self, const char *line)
{
    json_t *list = self, *row = json_loads(line, 0, NULL);
    assert_non_null(row);
    json_array_append_new(list, row);
}

static void test_trace_sink_hears_every_span_with_its_process(void **state)
{
    (void)state;
    json_t *heard = json_array();
    assert_int_equal(trace_open(folder, "store"), STATUS_OK);
    trace_set_sink(hear, heard);
    for (int i = 0; i < 1000; i++)
        trace_span("plan", i, i + 1, 3);
    trace_close();
    assert_int_equal(json_array_size(heard), 1000);
    const json_t *one = json_array_get(heard, 999);
    assert_string_equal(json_string_value(json_object_get(one, "process")), "store");
    assert_string_equal(json_string_value(json_object_get(one, "name")), "plan");
    json_decref(heard);
}

/* More than the queue takes between two writes is dropped and counted, and what is not dropped is whole. */
static void test_trace_flood_is_counted(void **state)
{
    (void)state;
    enum { FLOOD = 10 * TRACE_QUEUE_MAX };
    assert_int_equal(trace_open(folder, "flood"), STATUS_OK);
    int64_t begin_ns = clock_now_ns();
    for (int i = 0; i < FLOOD; i++)
        trace_span("decode", i, i + 1, 1);
    double each_ns = (double)(clock_now_ns() - begin_ns) / FLOOD;
    trace_close();
    json_t *lines = lines_of("flood.jsonl");
    assert_int_equal(json_array_size(lines) + trace_dropped(), FLOOD);
    print_message("%.0f ns a span\n", each_ns);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_trace_span_stands_in_the_file_with_wall_times,
                                        folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(test_trace_file_at_its_limit_gives_way_to_the_next,
                                        folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(test_trace_sink_hears_every_span_with_its_process,
                                        folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(test_trace_flood_is_counted, folder_make, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
