/* links: reward proto text transport sandbox core */
/* label: unit */
/* timeout: 60 */
/* valgrind: no */
/* What the host does for plugins: a program in the sandbox, and sentences where there is nothing to give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "reward/plugin_services.h"

static const char *const shout[] = {
    "/usr/bin/python3", "-c",
    "import sys; print(sys.stdin.read().upper(), open('extra.txt').read()); sys.exit(3)", NULL};

static weir_reward_run shout_run(void)
{
    static const weir_reward_run_file file = {.path = "extra.txt", .bytes = {"beside", 6}};
    return (weir_reward_run){.struct_size = sizeof(weir_reward_run),
                             .argv = shout,
                             .input = {"hello", 5},
                             .files = &file,
                             .n_files = 1,
                             .wall_ms = 20000};
}

static void test_plugin_services_without_offer_says_not_available(void **state)
{
    (void)state;
    const weir_reward_host *host = plugin_services();
    weir_reward_run run = shout_run();
    weir_reward_run_result result = {.struct_size = sizeof result};
    weir_reward_str answer = {NULL, 0};
    assert_int_equal(host->struct_size, sizeof *host);
    assert_int_equal(host->run_sandboxed(host, &run, &result), ENOTSUP);
    assert_int_equal(host->judge(host, (weir_reward_str){"{}", 2}, INT64_MAX, &answer), ENOTSUP);
    run.struct_size = 8;
    assert_int_equal(host->run_sandboxed(host, &run, &result), EINVAL);
    assert_int_equal(host->run_sandboxed(host, NULL, &result), EINVAL);
    assert_true(host->now_ns() > 0);
    host->log(0, "%d is a number", 4);
}

static void test_plugin_services_program_runs_in_the_sandbox(void **state)
{
    (void)state;
    const weir_reward_host *host = plugin_services();
    weir_reward_run run = shout_run();
    weir_reward_run_result result = {.struct_size = sizeof result};
    assert_int_equal(plugin_services_open(""), STATUS_OK);
    int code = host->run_sandboxed(host, &run, &result);
    if (code == ENOTSUP) {
        plugin_services_close();
        print_message("this machine has no sandbox\n");
        skip();
    }
    assert_int_equal(code, 0);
    assert_int_equal(result.outcome, WEIR_REWARD_RUN_EXITED);
    assert_int_equal(result.exit_code, 3);
    assert_int_equal(result.output.len, strlen("HELLO beside\n"));
    assert_memory_equal(result.output.ptr, "HELLO beside\n", result.output.len);
    host->run_release(host, &result);
    static const char *const spin[] = {"/usr/bin/python3", "-c", "while True: pass", NULL};
    run.argv = spin;
    run.wall_ms = 300;
    assert_int_equal(host->run_sandboxed(host, &run, &result), 0);
    assert_int_equal(result.outcome, WEIR_REWARD_RUN_LIMIT);
    assert_true(strlen(result.text) > 0);
    host->run_release(host, &result);
    host->run_release(host, &result);
    plugin_services_close();
}

static void test_plugin_services_wrong_judge_is_refused(void **state)
{
    (void)state;
    assert_int_equal(plugin_services_open("{\"no_such_key\": 1}"), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "reward.judge"));
    assert_int_equal(plugin_services_open("[1"), STATUS_INVALID);
    plugin_services_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plugin_services_without_offer_says_not_available),
        cmocka_unit_test(test_plugin_services_program_runs_in_the_sandbox),
        cmocka_unit_test(test_plugin_services_wrong_judge_is_refused),
    };
    return cmocka_run_group_tests_name("plugin_services", tests, NULL, NULL);
}
