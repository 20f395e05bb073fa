/* links: core */
/* label: unit */
/* Fault points: what is armed acts at its pass and nowhere else; what cannot be armed is refused. Every case is a
 * process of its own, because a fault may end it and arming is for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/file.h"

enum { PASSES = 10, REFUSED = 99, KILLED = 100, STOPPED = 101 };

struct setup {
    const char *fault, *role, *once;
};

static void set(const char *name, const char *value)
{
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* store.0 in a child passes "ledger.write" ten times: at which pass (1..) it first failed, 0 never; REFUSED, KILLED
 * or STOPPED. *ms: how long the passes took. */
static int pass(const struct setup *setup, int64_t *ms)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        set("WEIR_FAULT", setup->fault);
        set("WEIR_FAULT_ROLE", setup->role);
        set("WEIR_FAULT_ONCE", setup->once);
        if (fault_init("store", 0) != STATUS_OK)
            _exit(REFUSED);
        int first = 0;
        for (int i = 1; i <= PASSES; i++) {
            FAULT("ledger.appended");
            if (fault_fails("ledger.write") && first == 0)
                first = i;
        }
        _exit(first);
    }
    int64_t begin_ns = clock_now_ns();
    int ended;
    assert_int_equal(waitpid(pid, &ended, WUNTRACED), pid);
    *ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    if (WIFSTOPPED(ended)) {
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        return STOPPED;
    }
    if (WIFSIGNALED(ended))
        return WTERMSIG(ended) == SIGKILL ? KILLED : 128 + WTERMSIG(ended);
    return WEXITSTATUS(ended);
}

static int outcome(const char *fault)
{
    int64_t ms;
    return pass(&(struct setup){.fault = fault}, &ms);
}

static void test_fault_unarmed_does_nothing(void **state)
{
    (void)state;
    assert_int_equal(outcome(NULL), 0);
    assert_int_equal(outcome(""), 0);
}

static void test_fault_armed_acts_at_its_pass(void **state)
{
    (void)state;
    assert_int_equal(outcome("ledger.write:1=fail"), 1);
    assert_int_equal(outcome("ledger.write:7=fail"), 7);
    assert_int_equal(outcome("ledger.write:11=fail"), 0);
    assert_int_equal(outcome("ledger.write:*=fail"), 1);
    assert_int_equal(outcome("ledger.write:~1=fail"), 1);
    assert_int_equal(outcome("ledger.appended:10=kill"), KILLED);
    assert_int_equal(outcome("ledger.appended:11=kill"), 0);
    assert_int_equal(outcome("ledger.appended:2=stop"), STOPPED);
    assert_int_equal(outcome("ledger.synced:1=kill,ledger.write:3=fail"), 3);
}

static void test_fault_sleep_takes_its_time(void **state)
{
    (void)state;
    int64_t ms;
    assert_int_equal(pass(&(struct setup){.fault = "ledger.appended:*=sleep.20"}, &ms), 0);
    assert_true(ms >= PASSES * 20);
    assert_int_equal(pass(&(struct setup){.fault = "ledger.appended:*=sleep.10-30"}, &ms), 0);
    assert_true(ms >= PASSES * 10);
}

static void test_fault_of_another_process_does_nothing(void **state)
{
    (void)state;
    int64_t ms;
    struct setup setup = {.fault = "ledger.write:2=fail", .role = "store.0"};
    assert_int_equal(pass(&setup, &ms), 2);
    setup.role = "store.1";
    assert_int_equal(pass(&setup, &ms), 0);
    setup.role = "actor.0";
    assert_int_equal(pass(&setup, &ms), 0);
}

static void test_fault_once_acts_in_one_process_only(void **state)
{
    (void)state;
    int64_t ms;
    char folder[] = "/tmp/weir_fault_XXXXXX", mark[FILE_PATH_MAX], text[64] = "";
    assert_non_null(mkdtemp(folder));
    struct setup setup = {.fault = "ledger.appended:3=kill,ledger.write:*=fail", .once = folder};
    assert_int_equal(pass(&setup, &ms), KILLED);
    assert_int_equal(pass(&setup, &ms), 0); /* each point acted at the first start */
    assert_int_equal(file_path(mark, "%s/ledger.appended", folder), STATUS_OK);
    FILE *file = fopen(mark, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_int_equal(strncmp(text, "store.0 ", 8), 0);
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
}

static void test_fault_nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"ledger.wrote:1=kill",
                                        "ledger.write",
                                        "ledger.write:1",
                                        "ledger.write=kill",
                                        "ledger.write:0=kill",
                                        "ledger.write:-1=kill",
                                        "ledger.write:1x=kill",
                                        "ledger.write:~0=kill",
                                        "ledger.write:~=kill",
                                        "ledger.write:**=kill",
                                        "ledger.write:1=",
                                        "ledger.write:1=explode",
                                        "ledger.write:1=sleep",
                                        "ledger.write:1=sleep.",
                                        "ledger.write:1=sleep.9-3",
                                        "ledger.write:1=sleep.1-",
                                        "ledger.write:99999999999=kill"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (outcome(wrong[i]) != REFUSED)
            fail_msg("\"%s\" was not refused", wrong[i]);
}

static void test_fault_points_are_all_in_the_manual(void **state)
{
    (void)state;
    static const char *const points[] = {
#define POINT(name, what) "| `" name "` | " what " |",
        FAULT_POINTS(POINT)
#undef POINT
    };
    static char text[1 << 16];
    FILE *file = fopen(SOURCE_DIR "/docs/faults.md", "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        if (strstr(text, points[i]) == NULL)
            fail_msg("docs/faults.md lacks the row %s", points[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fault_unarmed_does_nothing),
                                       cmocka_unit_test(test_fault_armed_acts_at_its_pass),
                                       cmocka_unit_test(test_fault_sleep_takes_its_time),
                                       cmocka_unit_test(test_fault_of_another_process_does_nothing),
                                       cmocka_unit_test(test_fault_once_acts_in_one_process_only),
                                       cmocka_unit_test(test_fault_nonsense_is_refused),
                                       cmocka_unit_test(test_fault_points_are_all_in_the_manual)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
