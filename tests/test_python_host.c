/* links: reward proto text transport sandbox core */
/* label: unit */
/* timeout: 120 */
/* valgrind: no */
/* Python reward functions in the styles of the libraries they were written for: called unchanged, their values and
 * failures as they are, and a function that hangs, dies or prints costs nobody but itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/plugin_case.h"
#include "tests/python_case.h"
#include "tests/slow.h"

#define PYTHON(file) SOURCE_DIR "/tests/python_rewards/" file

static const char *const message_prompt = "[{\"role\":\"user\",\"content\":\"How many?\"}]";

static struct reward_settings settings_of(const char *plugin)
{
    struct reward_settings settings = case_settings(plugin, "{}");
    settings.timeout_ms = 20000;
    settings.threads = 2;
    settings.batch = 8;
    settings.python = "python3";
    return settings;
}

static struct plugin_host *open_with(const struct reward_settings *settings)
{
    struct plugin_host *host = NULL;
    if (plugin_host_open(&host, settings) != STATUS_OK)
        fail_msg("%s", status_last_error());
    return host;
}

static struct plugin_host *open_plain(const char *plugin)
{
    struct reward_settings settings = settings_of(plugin);
    return open_with(&settings);
}

static void submit(struct plugin_host *host, const char *response, const char *truth,
                   const char *prompt, const char *row)
{
    static const int32_t ids[] = {1, 2, 3, 4, 5};
    struct plugin_job *job = case_job(response, truth);
    assert_non_null(job);
    job->item.prompt_json = case_text(prompt);
    job->item.prompt_text = case_text("Q: ");
    job->item.extra_json = case_text(row);
    job->item.prompt_ids = job->item.response_ids = ids;
    job->item.n_prompt_ids = 2;
    job->item.n_response_ids = (uint32_t)strlen(response) < 5 ? (uint32_t)strlen(response) : 5;
    assert_int_equal(plugin_host_submit(host, job), STATUS_OK);
}

static struct plugin_job *take(struct plugin_host *host)
{
    struct plugin_job *job = case_take(host, 30000);
    assert_non_null(job);
    assert_false(job->held);
    assert_false(plugin_host_stuck(host));
    return job;
}

/* detail NULL: not looked at. */
static void check(struct plugin_host *host, const char *response, const char *truth,
                  const char *prompt, const char *row, enum score_status status, double value,
                  const char *detail)
{
    submit(host, response, truth, prompt, row);
    struct plugin_job *job = take(host);
    if (job->score.status != status || job->score.value < value - 1e-12 ||
        job->score.value > value + 1e-12)
        fail_msg("\"%s\": status %d value %.17g, wanted %d %.17g: %s", response,
                 (int)job->score.status, job->score.value, (int)status, value,
                 job->detail != NULL ? job->detail : "");
    if (detail != NULL && (job->detail == NULL || strcmp(job->detail, detail) != 0))
        fail_msg("\"%s\": detail %s, wanted %s", response, job->detail, detail);
    case_drop(job);
}

/* ---- styles ---- */

static void test_python_host_verl_function_is_called_as_verl_does(void **state)
{
    (void)state;
    struct plugin_host *host = open_plain(PYTHON("verl_style.py:compute_score"));
    assert_string_equal(strstr(plugin_host_name(host), "compute_score verl (Python 3.") != NULL
                            ? "named"
                            : plugin_host_name(host),
                        "named");
    check(host, "so it is 72", "\"72\"", "", "{}", SCORE_OK, 1,
          "{\"length\":11,\"acc\":1,\"detail\":{\"source\":\"test\"}}");
    check(host, "so it is 71", "72", "", "{}", SCORE_OK, 0,
          "{\"length\":11,\"acc\":0,\"detail\":{\"source\":\"test\"}}");
    check(host, "72", "\"0\"", "",
          "{\"reward_model\":{\"style\":\"rule\",\"ground_truth\":\"72\"}}", SCORE_OK, 1,
          NULL); /* verl's own row */
    plugin_host_close(&host, case_drop);
}

static void test_python_host_function_with_fewer_parameters_gets_those(void **state)
{
    (void)state;
    struct reward_settings settings = settings_of(PYTHON("verl_style.py:without_extra"));
    settings.config = "{\"kwargs\":{\"bonus\":0.5}}";
    struct plugin_host *host = open_with(&settings);
    check(host, "7", "\"7\"", "", "{}", SCORE_OK, 1.5, NULL);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_coroutine_is_awaited(void **state)
{
    (void)state;
    struct plugin_host *host = open_plain(PYTHON("verl_style.py:waits"));
    check(host, "7", "\"7\"", "", "{}", SCORE_OK, 0.25, NULL);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_trl_function_gets_lists_and_columns(void **state)
{
    (void)state;
    const char *row = "{\"question\":\"q\",\"answer\":\"four\"}";
    struct plugin_host *host = open_plain(PYTHON("trl_style.py:conversational"));
    check(host, "four", "\"x\"", message_prompt, row, SCORE_OK, 1, NULL);
    check(host, "five", "\"x\"", message_prompt, row, SCORE_OK, 0, NULL);
    plugin_host_close(&host, case_drop);
    host = open_plain(PYTHON("trl_style.py:plain"));
    check(host, "four", "", "", row, SCORE_OK, 0.4, "{\"seen\":1,\"detail\":{\"shape\":\"long\"}}");
    check(host, "none", "", "", row, SCORE_SKIP, 0, NULL);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_factory_makes_the_function(void **state)
{
    (void)state;
    struct reward_settings settings = settings_of(PYTHON("trl_style.py:penalty"));
    settings.config = "{\"factory\":{\"limit\":3}}";
    settings.style = 3; /* trl */
    struct plugin_host *host = open_with(&settings);
    assert_true((plugin_host_caps(host) & WEIR_REWARD_CAP_NEEDS_IDS) != 0);
    check(host, "abc", "", "", "{}", SCORE_OK, 0, NULL);
    check(host, "abcd", "", "", "{}", SCORE_OK, -1, NULL);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_one_bad_item_leaves_its_batch_alone(void **state)
{
    (void)state;
    struct plugin_host *host = open_plain(PYTHON("trl_style.py:one_bad"));
    for (int i = 0; i < 8; i++)
        submit(host, i == 3 ? "bad" : "good", "", "", "{}");
    int ok = 0, failed = 0;
    for (int i = 0; i < 8; i++) {
        struct plugin_job *job = take(host);
        ok += job->score.status == SCORE_OK && job->score.value > 0.49;
        failed += job->score.status == SCORE_ERROR &&
                  strstr(job->detail, "RuntimeError: cannot read bad") != NULL;
        case_drop(job);
    }
    assert_int_equal(ok, 7);
    assert_int_equal(failed, 1);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_rubric_functions_get_what_they_name(void **state)
{
    (void)state;
    const char *row = "{\"answer\":\"four\",\"info\":{\"k\":1}}";
    struct plugin_host *host = open_plain(PYTHON("verifiers_style.py:exact"));
    check(host, "four", "\"x\"", message_prompt, row, SCORE_OK, 1, NULL);
    plugin_host_close(&host, case_drop);
    host = open_plain(PYTHON("verifiers_style.py:parsed"));
    check(host, "four", "\"x\"", message_prompt, row, SCORE_OK, 1, NULL);
    plugin_host_close(&host, case_drop);
    /* 1.0 * exact + 0.5 * an exception, which is 0.0 there; both are on record */
    host = open_plain(PYTHON("verifiers_style.py:rubric"));
    check(host, "four", "\"x\"", message_prompt, row, SCORE_OK, 1,
          "{\"exact\":1,\"raises\":0,\"exceptions\":1,\"detail\":{\"exception in raises\":"
          "\"IndexError: list index out of range\"}}");
    plugin_host_close(&host, case_drop);
}

static void test_python_host_group_function_gets_its_group(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "abcd", "ab"};
    struct plugin_host *host = open_plain(PYTHON("verifiers_style.py:ranked"));
    assert_true((plugin_host_caps(host) & WEIR_REWARD_CAP_GROUP) != 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct plugin_job *job = case_job(texts[i], "");
        job->item.prompt_json = case_text(message_prompt);
        job->item.group_index = job->score.sample = i;
        job->item.group_size = 3;
        assert_int_equal(plugin_host_submit(host, job), STATUS_OK);
    }
    for (int i = 0; i < 3; i++) {
        struct plugin_job *job = take(host);
        assert_int_equal(job->score.status, SCORE_OK);
        assert_int_equal(job->score.value > 0.5, job->score.sample == 1);
        case_drop(job);
    }
    plugin_host_close(&host, case_drop);
}

static void test_python_host_other_styles_are_told_apart(void **state)
{
    (void)state;
    const char *row = "{\"answer\":\"four\"}";
    struct plugin_host *host = open_plain(PYTHON("other_styles.py:reward_func"));
    check(host, "four", "\"four\"", "", row, SCORE_OK, 1, "{\"n\":7}");
    plugin_host_close(&host, case_drop);
    host = open_plain(PYTHON("other_styles.py:areal_reward"));
    check(host, "four", "\"x\"", "", row, SCORE_OK, 1.04, NULL);
    plugin_host_close(&host, case_drop);
    host = open_plain(PYTHON("other_styles.py:custom_rm"));
    check(host, "four", "\"four\"", "", row, SCORE_OK, 1, "{\"tokens\":4}");
    plugin_host_close(&host, case_drop);
    host = open_plain(PYTHON("verl_style.py:by_source"));
    check(host, "four", "\"four\"", "", row, SCORE_OK, 2, NULL);
    plugin_host_close(&host, case_drop);
}

/* ---- refusals ---- */

static void refuse(const char *plugin, const char *config, const char *wanted)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = settings_of(plugin);
    settings.config = (char *)(uintptr_t)config;
    int64_t blocks = memory_blocks_live();
    assert_int_not_equal(plugin_host_open(&host, &settings), STATUS_OK);
    if (strstr(status_last_error(), wanted) == NULL)
        fail_msg("no \"%s\" in: %s", wanted, status_last_error());
    assert_int_equal(memory_blocks_live(), blocks);
}

static void test_python_host_unfit_function_is_refused_with_a_sentence(void **state)
{
    (void)state;
    refuse(PYTHON("no_such_file.py:f"), "{}", "No such file");
    refuse(PYTHON("verl_style.py:no_such_function"), "{}", "has no no_such_function");
    refuse(PYTHON("other_styles.py:nothing_known"), "{}", "set reward.style");
    refuse(PYTHON("trl_style.py"), "{}", "say which function");
    refuse(PYTHON("verl_style.py:compute_score"), "{\"kwarg\":{}}", "\"kwarg\"");
    refuse(PYTHON("verl_style.py:compute_score"), "[]", "not an object");
}

/* ---- failures ---- */

static struct plugin_host *open_misbehaving(uint32_t timeout_ms)
{
    struct reward_settings settings = settings_of(PYTHON("verl_style.py:misbehaves"));
    settings.timeout_ms = timeout_ms;
    return open_with(&settings);
}

static void test_python_host_exceptions_are_errors_and_never_zero(void **state)
{
    (void)state;
    struct plugin_host *host = open_misbehaving(20000);
    check(host, "raise", "\"\"", "", "{}", SCORE_ERROR, 0,
          "{\"detail\":{\"error\":\"ValueError: no such answer\"}}");
    check(host, "none", "\"\"", "", "{}", SCORE_SKIP, 0, NULL);
    check(host, "nan", "\"\"", "", "{}", SCORE_ERROR, 0, NULL);
    check(host, "text", "\"\"", "", "{}", SCORE_ERROR, 0, NULL);
    check(host, "exit", "\"\"", "", "{}", SCORE_ERROR, 0, NULL);
    check(host, "print", "\"\"", "", "{}", SCORE_OK, 1, NULL);
    check(host, "a \xef\xbf\xbd \xe2\x82\xac text", "\"\"", "", "{}", SCORE_OK, 1, NULL);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_dying_process_is_tried_once_more(void **state)
{
    (void)state;
    struct plugin_host *host = open_misbehaving(20000);
    check(host, "die", "\"\"", "", "{}", SCORE_ERROR, 0,
          "{\"detail\":{\"error\":\"the Python process died twice\"}}");
    check(host, "fine", "\"\"", "", "{}", SCORE_OK, 1, NULL);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_hanging_function_is_killed_at_the_deadline(void **state)
{
    (void)state;
    struct plugin_host *host = open_misbehaving(2000);
    static const char *const hangs[] = {"hang",
                                        "hold the lock"}; /* in Python, and in C code of it */
    for (int i = 0; i < 2; i++) {
        int64_t start_ns = clock_now_ns();
        check(host, hangs[i], "\"\"", "", "{}", SCORE_TIMEOUT, 0,
              "{\"detail\":{\"error\":\"the function did not return in time\"}}");
        int64_t ms = (clock_now_ns() - start_ns) / CLOCK_NS_PER_MS;
        if (ms < 1500 || ms > 10000)
            fail_msg("\"%s\" came back after %d ms", hangs[i], (int)ms);
    }
    plugin_host_close(&host, case_drop);
    host = open_misbehaving(20000);
    check(host, "fine", "\"\"", "", "{}", SCORE_OK, 1, NULL);
    plugin_host_close(&host, case_drop);
}

/* Items that wait for it time out, the process does not. */
static void test_python_host_slow_imports_are_waited_for(void **state)
{
    (void)state;
    struct reward_settings settings = settings_of(PYTHON("slow_start.py:compute_score"));
    settings.timeout_ms = 500;
    settings.threads = 1;
    struct plugin_host *host = open_with(&settings);
    check(host, "fine", "\"\"", "", "{}", SCORE_OK, 0.5, NULL);
    submit(host, "die", "\"\"", "", "{}"); /* no second process is ready in time */
    struct plugin_job *job = take(host);
    assert_true(job->score.status == SCORE_TIMEOUT || job->score.status == SCORE_ERROR);
    case_drop(job);
    enum score_status status = SCORE_TIMEOUT;
    for (int i = 0; i < 40 && status == SCORE_TIMEOUT; i++) {
        submit(host, "fine", "\"\"", "", "{}");
        job = take(host);
        status = job->score.status;
        case_drop(job);
    }
    assert_int_equal(status, SCORE_OK);
    plugin_host_close(&host, case_drop);
}

static void test_python_host_process_is_made_anew_after_5000_requests(void **state)
{
    (void)state;
    if (test_is_slow()) {
        print_message("skipped in slow builds\n");
        skip();
    }
    struct reward_settings settings = settings_of(PYTHON("verl_style.py:counts"));
    settings.threads = 1;
    struct plugin_host *host = open_with(&settings);
    double value = 0, most = 0;
    for (int i = 0; i < 5003; i++) {
        submit(host, "x", "0", "", "{}");
        struct plugin_job *job = take(host);
        assert_int_equal(job->score.status, SCORE_OK);
        value = job->score.value;
        most = value > most ? value : most;
        case_drop(job);
    }
    assert_true(most > 4.9995 && most < 5.0005);
    assert_true(value < 0.0035);
    plugin_host_close(&host, case_drop);
}

/* What a process may do here that makes a network namespace. */
static bool can_leave_network(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 0 : 1);
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static void test_python_host_network_is_there_when_asked_for(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char port[16];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
    for (int network = 1; network >= 0; network--) {
        struct reward_settings settings = settings_of(PYTHON("verl_style.py:connects"));
        settings.python_network = network != 0;
        if (network == 0 && !can_leave_network())
            break;
        struct plugin_host *host = open_with(&settings);
        check(host, "x", port, "", "{}", SCORE_OK, network, NULL);
        plugin_host_close(&host, case_drop);
    }
    close(fd);
}

static void test_python_host_close_leaves_no_process(void **state)
{
    (void)state;
    struct plugin_host *host = open_misbehaving(2000);
    submit(host, "hang", "\"\"", "", "{}");
    clock_sleep_ms(200);
    plugin_host_close(&host, case_drop);
    assert_null(host);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child, not even a dead one */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_python_host_verl_function_is_called_as_verl_does),
        cmocka_unit_test(test_python_host_function_with_fewer_parameters_gets_those),
        cmocka_unit_test(test_python_host_coroutine_is_awaited),
        cmocka_unit_test(test_python_host_trl_function_gets_lists_and_columns),
        cmocka_unit_test(test_python_host_factory_makes_the_function),
        cmocka_unit_test(test_python_host_one_bad_item_leaves_its_batch_alone),
        cmocka_unit_test(test_python_host_rubric_functions_get_what_they_name),
        cmocka_unit_test(test_python_host_group_function_gets_its_group),
        cmocka_unit_test(test_python_host_other_styles_are_told_apart),
        cmocka_unit_test(test_python_host_unfit_function_is_refused_with_a_sentence),
        cmocka_unit_test(test_python_host_exceptions_are_errors_and_never_zero),
        cmocka_unit_test(test_python_host_dying_process_is_tried_once_more),
        cmocka_unit_test(test_python_host_hanging_function_is_killed_at_the_deadline),
        cmocka_unit_test(test_python_host_slow_imports_are_waited_for),
        cmocka_unit_test(test_python_host_process_is_made_anew_after_5000_requests),
        cmocka_unit_test(test_python_host_network_is_there_when_asked_for),
        cmocka_unit_test(test_python_host_close_leaves_no_process),
    };
    if (!python_is_here())
        return 77;
    return cmocka_run_group_tests_name("python_host", tests, NULL, NULL);
}
