/* links: core */
/* wait: deadlines with names, the table `weir why` prints; log: one line, one write, a rate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/wait.h"

static struct buffer table;

static const char *table_now(void)
{
    buffer_clear(&table);
    assert_int_equal(wait_table_json(&table), STATUS_OK);
    return buffer_string(&table);
}

static void test_wait_expired_names_operation_and_peer(void **state)
{
    (void)state;
    struct wait wait = wait_begin("plan", "store", 300);
    assert_in_range(wait_left_ms(&wait), 1, 300);
    assert_int_equal(wait_slice_ms(&wait, 2), 2);
    while (wait_left_ms(&wait) > 0)
        clock_sleep_ms(wait_slice_ms(&wait, 5));
    assert_int_equal(wait_slice_ms(&wait, 5), 0);
    assert_int_equal(wait_end(&wait, false), STATUS_TIMEOUT);
    assert_non_null(strstr(status_last_error(), "ms for \"plan\" from \"store\""));
    wait = wait_begin("plan", "store", 0);
    assert_int_equal(wait_end(&wait, true), STATUS_OK);
    wait = wait_begin("idle", "", WAIT_FOREVER);
    assert_int_equal(wait_slice_ms(&wait, INT64_MAX), INT_MAX);
    assert_int_equal(wait_end(&wait, true), STATUS_OK);
}

static void test_wait_table_lists_waits_while_they_last(void **state)
{
    (void)state;
    assert_string_equal(table_now(), "[]");
    struct wait plan = wait_begin("plan", "actor \"7\"\n", 60000);
    struct wait idle = wait_begin("idle", "", WAIT_FOREVER);
    const char *json = table_now();
    assert_non_null(strstr(json, "[{\"name\":\"plan\",\"peer\":\"actor \\\"7\\\"\\u000a\","));
    assert_non_null(strstr(json, ",{\"name\":\"idle\",\"peer\":\"\",\"since_ms\":"));
    assert_non_null(strstr(json, "\"left_ms\":-1}]"));
    assert_int_equal(wait_end(&plan, true), STATUS_OK);
    assert_null(strstr(table_now(), "plan"));
    assert_int_equal(wait_end(&idle, true), STATUS_OK);
    assert_string_equal(table_now(), "[]");
}

static void test_wait_full_table_still_waits(void **state)
{
    (void)state;
    struct wait waits[WAIT_TABLE_MAX + 2];
    for (int i = 0; i < WAIT_TABLE_MAX + 2; i++)
        waits[i] = wait_begin("many", "peer", 1000);
    assert_int_equal(waits[WAIT_TABLE_MAX].slot, -1);
    assert_true(wait_left_ms(&waits[WAIT_TABLE_MAX]) > 0);
    for (int i = 0; i < WAIT_TABLE_MAX + 2; i++)
        assert_int_equal(wait_end(&waits[i], true), STATUS_OK);
    assert_string_equal(table_now(), "[]");
}

static void test_wait_poll_ready_and_expired(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct pollfd in = {.fd = fds[0], .events = POLLIN};
    int64_t before = clock_now_ns();
    assert_int_equal(wait_poll("byte", "pipe", 20, &in, 1), STATUS_TIMEOUT);
    assert_true(clock_now_ns() - before >= 20 * CLOCK_NS_PER_MS);
    assert_non_null(strstr(status_last_error(), "\"byte\" from \"pipe\""));
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(wait_poll("byte", "pipe", 5000, &in, 1), STATUS_OK);
    assert_true(in.revents & POLLIN);
    close(fds[0]);
    close(fds[1]);
}

static void test_wait_condition_past_deadline_times_out(void **state)
{
    (void)state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition;
    assert_int_equal(wait_condition_init(&condition), STATUS_OK);
    pthread_mutex_lock(&mutex);
    int64_t deadline = clock_now_ns() + 20 * CLOCK_NS_PER_MS;
    enum status status = STATUS_OK;
    while (status == STATUS_OK) /* wake-ups without cause are allowed */
        status = wait_condition("signal", "nobody", deadline, &condition, &mutex);
    assert_int_equal(status, STATUS_TIMEOUT);
    assert_true(clock_now_ns() >= deadline);
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&condition);
}

static void test_wait_child_reaps_or_times_out(void **state)
{
    (void)state;
    int fds[2], code = 0;
    char byte;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) { /* ends when the parent closes its end */
        close(fds[1]);
        _exit(read(fds[0], &byte, 1) == 0 ? 42 : 1);
    }
    close(fds[0]);
    assert_int_equal(wait_child("exit", "child", 20, child, &code), STATUS_TIMEOUT);
    close(fds[1]);
    assert_int_equal(wait_child("exit", "child", 5000, child, &code), STATUS_OK);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 42);
    assert_int_equal(wait_child("exit", "child", 5000, child, &code), STATUS_IO);
}

/* Runs `write_lines` with stderr in a pipe and gives back what it wrote. */
static void capture(void (*write_lines)(void), char *out, size_t size)
{
    int fds[2];
    int saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    write_lines();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    size_t used = 0;
    for (ssize_t got; used + 1 < size && (got = read(fds[0], out + used, size - 1 - used)) > 0;)
        used += (size_t)got;
    out[used] = 0;
    close(fds[0]);
}

static void write_two_lines(void)
{
    log_init("learner", 3, LOG_LEVEL_INFO);
    log_set_version(12);
    LOG_DEBUG("wait", "hidden", "n=%d", 1);
    LOG_INFO("wait", "opened", "path=%s records=%d", "a\nb", 7);
    LOG_FAILURE("wait", "failed", FAIL(STATUS_STALE, "too old"));
}

static void test_log_line_has_its_parts_on_one_line(void **state)
{
    (void)state;
    char text[4096];
    int year, month, day, hour, minute, second, ms, end = 0;
    capture(write_two_lines, text, sizeof text);
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour,
                            &minute, &second, &ms, &end),
                     7);
    assert_int_equal(end, 24);
    const char *rest = text + end;
    const char *wanted = " INFO learner.3 v12 wait opened path=a b records=7\n";
    assert_memory_equal(rest, wanted, strlen(wanted));
    assert_non_null(strstr(rest, "Z ERROR learner.3 v12 wait failed status=STALE why=\""));
    assert_null(strstr(text, "hidden"));
    assert_string_equal(text + strlen(text) - 9, "too old\"\n");
}

static void write_many_lines(void)
{
    static struct log_site site;
    for (int i = 0; i < 100; i++)
        log_line(&site, LOG_LEVEL_INFO, "wait", "burst", "i=%d", i);
    site.window_ns -= 2 * CLOCK_NS_PER_S; /* as if two seconds went by */
    log_line(&site, LOG_LEVEL_INFO, "wait", "after", "i=%d", 100);
}

static void test_log_site_is_limited_and_says_what_it_held(void **state)
{
    (void)state;
    char text[16384];
    int lines = 0;
    capture(write_many_lines, text, sizeof text);
    for (const char *c = text; *c != 0; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 21);
    assert_non_null(strstr(text, "after i=100 held=80\n"));
}

static void write_long_line(void)
{
    char value[5000];
    memset(value, 'y', sizeof value - 1);
    value[sizeof value - 1] = 0;
    LOG_INFO("wait", "long", "value=%s", value);
}

static void test_log_long_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    char text[8192];
    capture(write_long_line, text, sizeof text);
    assert_in_range(strlen(text), 2000, 2048);
    assert_string_equal(text + strlen(text) - 5, "y...\n");
}

static int free_table(void **state)
{
    (void)state;
    buffer_free(&table);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait_expired_names_operation_and_peer),
        cmocka_unit_test(test_wait_table_lists_waits_while_they_last),
        cmocka_unit_test(test_wait_full_table_still_waits),
        cmocka_unit_test(test_wait_poll_ready_and_expired),
        cmocka_unit_test(test_wait_condition_past_deadline_times_out),
        cmocka_unit_test(test_wait_child_reaps_or_times_out),
        cmocka_unit_test(test_log_line_has_its_parts_on_one_line),
        cmocka_unit_test(test_log_site_is_limited_and_says_what_it_held),
        cmocka_unit_test(test_log_long_line_is_cut_and_still_ends),
    };
    return cmocka_run_group_tests(tests, NULL, free_table);
}
