/* links: ops */
/* weir logs: lines of several processes in the order of time, lines without a time behind the one they belong to, the last
 * N, and following over a rotation, a new process and a new attempt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/log_merge.h"

static char folder[64];

static void add(const char *file, const char *words)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/logs/%s", folder, file), STATUS_OK);
    FILE *out = fopen(path, "a");
    assert_non_null(out);
    assert_true(fputs(words, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void attempt(const char *name)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/logs/%s", folder, name), STATUS_OK);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
    assert_int_equal(file_path(path, "%s/logs/latest", folder), STATUS_OK);
    unlink(path);
    assert_int_equal(symlink(name, path), 0);
}

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-logs-XXXXXX");
    assert_non_null(mkdtemp(folder));
    attempt("attempt_1");
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

#define T(second) "2026-01-02T03:04:" second ".000Z INFO "

/* The lines of the next poll without their times, "a;b;". */
static const char *poll(struct log_merge *merge, size_t most, bool ended)
{
    static char out[2000];
    const struct log_line *lines;
    size_t count, used = 0;
    out[0] = 0;
    assert_int_equal(log_merge_poll(merge, most, ended, &lines, &count), STATUS_OK);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(out + used, sizeof out - used, "%s:%s;", lines[i].process,
                                 lines[i].dated && strlen(lines[i].text) > 30 ? lines[i].text + 30
                                                                              : lines[i].text);
    return out;
}

/* Files are looked for every few polls. */
static const char *poll_until(struct log_merge *merge)
{
    for (int i = 0; i < 10; i++) {
        const char *out = poll(merge, 0, false);
        if (out[0] != 0)
            return out;
    }
    return "";
}

static void test_log_merge_orders_by_time_and_keeps_what_belongs_together(void **state)
{
    (void)state;
    struct log_merge *merge;
    add("attempt_1/actor.0.log", T("01") "one\n" T("04") "four\n  at frame 1\n  at frame 2\n");
    add("attempt_1/learner.0.log", "early\n" T("02") "two\n" T("03") "three\n" T("05") "half");
    assert_int_equal(log_merge_open(&merge, folder, NULL, 0), STATUS_OK);
    assert_int_equal(log_merge_sources(merge), 2);
    assert_string_equal(poll(merge, 0, true),
                        "learner.0:early;actor.0:one;learner.0:two;learner.0:three;actor.0:four;"
                        "actor.0:  at frame 1;actor.0:  at frame 2;learner.0:half;");
    log_merge_close(&merge);
}

static void test_log_merge_most_is_the_last_of_all(void **state)
{
    (void)state;
    struct log_merge *merge;
    const char *wanted[] = {"actor"};
    for (int i = 0; i < 3; i++) {
        char words[200];
        snprintf(words, sizeof words, T("0%d") "a%d\n", 2 * i, i);
        add("attempt_1/actor.0.log", words);
        snprintf(words, sizeof words, T("0%d") "b%d\n", 2 * i + 1, i);
        add("attempt_1/actor.1.log", words);
        add("attempt_1/store.0.log", words);
    }
    assert_int_equal(log_merge_open(&merge, folder, wanted, 1), STATUS_OK);
    assert_string_equal(poll(merge, 3, true), "actor.1:b1;actor.0:a2;actor.1:b2;");
    log_merge_close(&merge);
    wanted[0] = "actor.1";
    assert_int_equal(log_merge_open(&merge, folder, wanted, 1), STATUS_OK);
    assert_string_equal(poll(merge, 1, true), "actor.1:b2;");
    log_merge_close(&merge);
    wanted[0] = "learner";
    assert_int_equal(log_merge_open(&merge, folder, wanted, 1), STATUS_OK);
    assert_int_equal(log_merge_sources(merge), 0);
    log_merge_close(&merge);
}

static int open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void test_log_merge_follows_rotation_new_processes_and_attempts(void **state)
{
    (void)state;
    struct log_merge *merge;
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    add("attempt_1/actor.0.log", T("01") "one\n" T("02") "ha");
    assert_int_equal(log_merge_open(&merge, folder, NULL, 0), STATUS_OK);
    assert_string_equal(poll(merge, 10, false), "actor.0:one;");
    assert_string_equal(poll(merge, 0, false), "");
    add("attempt_1/actor.0.log", "lf\n");
    assert_string_equal(poll(merge, 0, false), "actor.0:half;");
    add("attempt_1/actor.0.log", T("03") "last of the old\n");
    snprintf(from, sizeof from, "%s/logs/attempt_1/actor.0.log", folder);
    snprintf(to, sizeof to, "%s/logs/attempt_1/actor.0.log.old", folder);
    assert_int_equal(rename(from, to), 0);
    add("attempt_1/actor.0.log", T("04") "first of the new\n");
    assert_string_equal(poll(merge, 0, false), "actor.0:last of the old;actor.0:first of the new;");
    add("attempt_1/actor.1.log", T("05") "scaled\n");
    assert_string_equal(poll_until(merge), "actor.1:scaled;");
    int files = open_files();
    add("attempt_1/actor.1.log", T("05") "cut off");
    attempt("attempt_2");
    add("attempt_2/actor.0.log", T("06") "resumed\n");
    assert_string_equal(poll_until(merge), "actor.1:cut off;actor.0:resumed;");
    assert_string_equal(poll(merge, 0, true), "");
    assert_int_equal(open_files(),
                     files - 1); /* one of the old attempt's two is left, as the new one's */
    assert_int_equal(log_merge_sources(merge), 1);
    log_merge_close(&merge);
}

static void test_log_merge_processes_of_nodes_are_wanted_by_their_own_names(void **state)
{
    (void)state;
    struct log_merge *merge;
    const char *wanted[] = {"actor"};
    add("attempt_1/rack-1.a-long-name-of-a-host-actor.3.log", T("01") "three\n");
    add("attempt_1/rack-1.a-long-name-of-a-host-reward.3.log", T("02") "scored\n");
    for (int i = 0; i < 3; i++) {
        wanted[0] = i == 0 ? "actor" : i == 1 ? "actor.3" : "rack-1.a-long-name-of-a-host-actor.3";
        assert_int_equal(log_merge_open(&merge, folder, wanted, 1), STATUS_OK);
        assert_string_equal(poll(merge, 0, true), "rack-1.a-long-name-of-a-host-actor.3:three;");
        log_merge_close(&merge);
    }
}

static void test_log_merge_begins_with_what_was_rotated(void **state)
{
    (void)state;
    struct log_merge *merge;
    add("attempt_1/actor.0.log.old", T("01") "old\n" T("03") "same second\n");
    add("attempt_1/actor.0.log", T("03") "new\n");
    assert_int_equal(log_merge_open(&merge, folder, NULL, 0), STATUS_OK);
    assert_string_equal(poll(merge, 0, true), "actor.0:old;actor.0:same second;actor.0:new;");
    log_merge_close(&merge);
}

static void test_log_merge_times_of_ours_and_of_redis(void **state)
{
    (void)state;
    char time[LOG_TIME_SIZE];
    setenv("TZ", "UTC", 1);
    assert_true(log_line_time("2026-01-02T03:04:05.678Z INFO x", time));
    assert_string_equal(time, "2026-01-02T03:04:05.678Z");
    assert_true(log_line_time("20569:C 22 Nov 2026 22:27:37.135 # words", time));
    assert_string_equal(time, "2026-11-22T22:27:37.135Z");
    static const char *const none[] = {"",
                                       "2026",
                                       "2026-01-02 03:04:05",
                                       "1:C 99 Foo 2026 1:2:3.4",
                                       "1:C 1 Jan 2147483647 1:2:3.4",
                                       "7 rollouts",
                                       "2026-01-02T03:04:05.67Z"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_false(log_line_time(none[i], time));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_log_merge_orders_by_time_and_keeps_what_belongs_together),
        CASE(test_log_merge_most_is_the_last_of_all),
        CASE(test_log_merge_follows_rotation_new_processes_and_attempts),
        CASE(test_log_merge_processes_of_nodes_are_wanted_by_their_own_names),
        CASE(test_log_merge_begins_with_what_was_rotated),
        CASE(test_log_merge_times_of_ours_and_of_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
