/* links: core */
/* status and check: names, the text of the last failure, one text per thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/status.h"

static enum status fail_here(void)
{
    return FAIL(STATUS_STALE, "version %d of %d", 3, 7);
}

static enum status pass_on(void)
{
    TRY(fail_here());
    return STATUS_OK;
}

static void test_status_fail_keeps_place_and_text(void **state)
{
    (void)state;
    errno = ENOENT;
    assert_int_equal(pass_on(), STATUS_STALE);
    assert_int_equal(errno, ENOENT);
    assert_non_null(strstr(status_last_error(), "test_status.c:"));
    assert_non_null(strstr(status_last_error(), "(fail_here): STALE: version 3 of 7"));
    assert_null(strchr(status_last_error(), '/'));
}

static void test_status_fail_quoting_the_last_error_keeps_both(void **state)
{
    (void)state;
    assert_int_equal(FAIL(STATUS_IO, "inner reason"), STATUS_IO);
    assert_int_equal(FAIL(STATUS_INVALID, "outer, because %s", status_last_error()),
                     STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "INVALID: outer, because test_status.c:"));
    assert_non_null(strstr(status_last_error(), "IO: inner reason"));
}

static void test_status_fail_long_text_is_cut_at_4095(void **state)
{
    (void)state;
    char text[9000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(FAIL(STATUS_LIMIT, "%s", text), STATUS_LIMIT);
    assert_int_equal(strlen(status_last_error()), 4095);
}

static void *fail_in_thread(void *argument)
{
    (void)argument;
    assert_string_equal(status_last_error(), "");
    return FAIL(STATUS_IO, "other thread") == STATUS_IO ? (void *)1 : NULL;
}

static void test_status_last_error_belongs_to_the_thread(void **state)
{
    (void)state;
    pthread_t thread;
    void *result = NULL;
    assert_int_equal(FAIL(STATUS_CORRUPT, "this thread"), STATUS_CORRUPT);
    assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result);
    assert_non_null(strstr(status_last_error(), "this thread"));
}

static void test_status_names_cover_all_rows_and_no_more(void **state)
{
    (void)state;
    assert_string_equal(status_name(STATUS_OK), "OK");
    assert_string_equal(status_name(STATUS_UNSUPPORTED), "UNSUPPORTED");
    assert_string_equal(status_name(STATUS_COUNT), "UNKNOWN");
    assert_string_equal(status_name((enum status) - 1), "UNKNOWN");
    for (int i = 0; i < STATUS_COUNT; i++)
        assert_true(strlen(status_text((enum status)i)) > 0);
}

static void test_status_check_that_fails_aborts(void **state)
{
    (void)state;
    CHECK(1 + 1 == 2);
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    int code = 0;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFSIGNALED(code));
    assert_int_equal(WTERMSIG(code), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_fail_keeps_place_and_text),
        cmocka_unit_test(test_status_fail_quoting_the_last_error_keeps_both),
        cmocka_unit_test(test_status_fail_long_text_is_cut_at_4095),
        cmocka_unit_test(test_status_last_error_belongs_to_the_thread),
        cmocka_unit_test(test_status_names_cover_all_rows_and_no_more),
        cmocka_unit_test(test_status_check_that_fails_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
