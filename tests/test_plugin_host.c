/* links: reward proto text transport sandbox core */
/* label: unit */
/* timeout: 30 */
/* The host of reward plugins against tests/plugins/: what it refuses, and what becomes of every kind of
 * answer, none included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/file.h"
#include "tests/plugin_case.h"

/* ---- what is refused ---- */

static void check_refused(const char *plugin, const char *config, const char *const *wanted)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(plugin, config);
    assert_int_not_equal(plugin_host_open(&host, &settings), STATUS_OK);
    assert_null(host);
    for (; *wanted != NULL; wanted++)
        if (strstr(status_last_error(), *wanted) == NULL)
            fail_msg("no \"%s\" in: %s", *wanted, status_last_error());
}

#define CHECK_REFUSED(plugin, config, ...) \
    check_refused(plugin, config, (const char *const[]){__VA_ARGS__, NULL})

static void test_plugin_host_unfit_file_is_refused_with_a_sentence(void **state)
{
    (void)state;
    CHECK_REFUSED(FIXTURE("other_major"), "{}", "other_major.so", "ABI 7.3", "1.1", "build it");
    CHECK_REFUSED(FIXTURE("no_symbol"), "{}", "no_symbol.so", "weir_reward_query");
    CHECK_REFUSED(FIXTURE("small_table"), "{}", "small_table.so", "72 bytes", "80 wanted");
    CHECK_REFUSED(FIXTURE("wants_more"), "{}", "wants_more.so", "caps 0x80", "newer weir");
    CHECK_REFUSED(FIXTURE("no_such_file"), "{}", "no_such_file.so", "No such file");
    CHECK_REFUSED("no_such_built_in", "{}", "plugins/no_such_built_in.so", "No such file");
    CHECK_REFUSED(SOURCE_DIR "/tests/plugins/behaves.c", "{}", "behaves.c");
}

static void test_plugin_host_refused_config_shows_the_plugins_text(void **state)
{
    (void)state;
    CHECK_REFUSED(FIXTURE("behaves"), "{\"refuse\":1}", "behaves.so", "{\"refuse\":1}",
                  "no, because the test says refuse");
}

static void test_plugin_host_open_without_memory_fails_cleanly(void **state)
{
    (void)state;
    struct reward_settings settings = case_settings(FIXTURE("behaves"), "{}");
    int64_t blocks = memory_blocks_live();
    enum status status = STATUS_NO_MEMORY;
    for (int64_t n = 1; status != STATUS_OK; n++) {
        struct plugin_host *host = NULL;
        assert_true(n < 100);
        memory_fail_after(n);
        status = plugin_host_open(&host, &settings);
        memory_fail_after(-1);
        assert_true((status == STATUS_OK) == (host != NULL));
        plugin_host_close(&host, NULL);
        assert_int_equal(memory_blocks_live(), blocks);
    }
}

/* ---- answers ---- */

static struct plugin_host *open_host(uint32_t timeout_ms)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(FIXTURE("behaves"), "{}");
    settings.timeout_ms = timeout_ms;
    enum status status = plugin_host_open(&host, &settings);
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
    return host;
}

static void submit(struct plugin_host *host, const char *response)
{
    struct plugin_job *job = case_job(response, "");
    assert_non_null(job);
    assert_int_equal(plugin_host_submit(host, job), STATUS_OK);
}

/* Submits one item, takes it, frees it; its score. */
static struct score score_of(struct plugin_host *host, const char *response)
{
    submit(host, response);
    struct plugin_job *job = case_take(host, 5000);
    if (job == NULL)
        fail_msg("\"%s\" did not come back", response);
    struct score score = job->score;
    assert_false(job->held);
    case_drop(job);
    assert_null(case_take(host, 0));
    return score;
}

static void check_score(struct plugin_host *host, const char *response, enum score_status status,
                        double value)
{
    struct score score = score_of(host, response);
    if (score.status != status || score.value < value || score.value > value)
        fail_msg("\"%s\": status %d value %g, wanted %d %g", response, (int)score.status,
                 score.value, (int)status, value);
}

static void test_plugin_host_answers_come_back_once(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(2000);
    assert_string_equal(plugin_host_name(host), "behaves 0.1");
    assert_true(plugin_host_file_hash(host) != 0);
    check_score(host, "ok", SCORE_OK, 1);
    check_score(host, "later", SCORE_OK, 0.5);
    check_score(host, "again", SCORE_OK, 1);
    check_score(host, "read after", SCORE_OK, 1);
    check_score(host, "nan", SCORE_ERROR, 0);
    check_score(host, "high", SCORE_ERROR, 0);
    check_score(host, "fail", SCORE_ERROR, 0);
    assert_int_equal(plugin_host_late(host), 0);
    assert_false(plugin_host_stuck(host));
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_second_and_unknown_answers_are_counted_late(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(2000);
    check_score(host, "twice", SCORE_OK, 1);
    assert_int_equal(plugin_host_late(host), 1);
    check_score(host, "unknown item", SCORE_OK, 1);
    assert_int_equal(plugin_host_late(host), 2);
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_metrics_and_detail_are_json(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(2000);
    submit(host, "detail");
    submit(host, "bad detail");
    struct plugin_job *good = case_take(host, 5000), *bad = case_take(host, 5000);
    assert_non_null(good);
    assert_non_null(bad);
    assert_string_equal(good->detail, "{\"length\xef\xbf\xbd\":12,\"share\":null,"
                                      "\"detail\":{\"why\":\"because\"}}");
    assert_string_equal(bad->detail, "{\"length\xef\xbf\xbd\":12,\"share\":null}");
    case_drop(good);
    case_drop(bad);
    plugin_host_close(&host, case_drop);
}

/* ---- deadlines ---- */

static void test_plugin_host_missing_answer_times_out(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(100);
    const char *const silent[] = {"never", "short result", "always again"};
    for (size_t i = 0; i < 3; i++) {
        int64_t start_ns = clock_now_ns();
        check_score(host, silent[i], SCORE_TIMEOUT, 0);
        int64_t ms = (clock_now_ns() - start_ns) / CLOCK_NS_PER_MS;
        if (ms < 40 || ms > 1500) /* "always again" ends up to a pause before its deadline */
            fail_msg("\"%s\" came back after %d ms", silent[i], (int)ms);
    }
    assert_false(plugin_host_stuck(host));
    check_score(host, "ok", SCORE_OK, 1);
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_plugin_hears_that_nobody_waits(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(100);
    check_score(host, "how many were cancelled", SCORE_OK, 0);
    check_score(host, "never", SCORE_TIMEOUT, 0);
    check_score(host, "how many were cancelled", SCORE_OK, 1);
    check_score(host, "always again", SCORE_TIMEOUT, 0); /* it never took this one */
    check_score(host, "how many were cancelled", SCORE_OK, 1);
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_plugin_that_is_not_well_is_replaced(void **state)
{
    (void)state;
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(FIXTURE("behaves"), "{}");
    settings.timeout_ms = 2000;
    settings.reload = true;
    assert_int_equal(plugin_host_open(&host, &settings), STATUS_OK);
    char event[PLUGIN_EVENT_MAX] = "";
    check_score(host, "be sick", SCORE_OK, 1);
    for (int i = 0; i < 1000 && !plugin_host_event(host, event); i++) {
        assert_null(case_take(host, 0));
        clock_sleep_ms(10);
    }
    if (strstr(event, "plugin_replaced") == NULL)
        fail_msg("event \"%s\"", event);
    check_score(host, "ok", SCORE_OK, 1);
    for (int i = 0; i < 150; i++) { /* the new one is well */
        assert_null(case_take(host, 0));
        assert_false(plugin_host_event(host, event));
        clock_sleep_ms(10);
    }
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_answer_after_the_deadline_is_counted_late(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(100);
    check_score(host, "too late", SCORE_TIMEOUT, 0);
    assert_int_equal(plugin_host_late(host), 0);
    check_score(host, "ok", SCORE_OK, 1); /* another job may have the slot by then */
    for (int i = 0; i < 200 && plugin_host_late(host) == 0; i++)
        clock_sleep_ms(10);
    assert_int_equal(plugin_host_late(host), 1);
    assert_null(case_take(host, 0));
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_many_silent_items_all_time_out(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(300);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 128; i++)
            submit(host, i % 4 == 0 ? "ok" : "never");
        struct plugin_job *more = case_job("ok", "");
        assert_int_equal(plugin_host_submit(host, more), STATUS_LIMIT);
        case_drop(more);
        int answered = 0;
        for (int i = 0; i < 128; i++) {
            struct plugin_job *job = case_take(host, 5000);
            assert_non_null(job);
            answered += job->score.status == SCORE_OK;
            case_drop(job);
        }
        assert_int_equal(answered, 32);
        assert_null(case_take(host, 0));
    }
    plugin_host_close(&host, case_drop);
}

static void check_hang(const char *response, enum score_status status, double value)
{
    struct plugin_host *host = open_host(100);
    int64_t blocks = memory_blocks_live();
    submit(host, response);
    submit(host, "ok"); /* waits behind it */
    struct plugin_job *job = case_take(host, 900);
    assert_non_null(job);
    assert_int_equal(job->score.status, status);
    assert_true(job->score.value >= value && job->score.value <= value);
    assert_true(job->held);
    assert_true(plugin_host_stuck(host));
    struct plugin_job *behind = case_take(host, 5000); /* this one does return at last */
    assert_non_null(behind);
    assert_int_equal(behind->score.status, SCORE_OK);
    case_drop(behind);
    assert_true(plugin_host_stuck(host));
    plugin_host_close(&host, case_drop); /* drops the held one */
    assert_true(memory_blocks_live() < blocks);
}

static void test_plugin_host_hanging_submit_is_reported_at_the_deadline(void **state)
{
    (void)state;
    check_hang("hang", SCORE_TIMEOUT, 0);
    check_hang("answer and hang", SCORE_OK, 0.25);
}

static void test_plugin_host_close_drops_what_is_left(void **state)
{
    (void)state;
    int64_t blocks = memory_blocks_live();
    struct plugin_host *host = open_host(2000);
    submit(host, "ok");
    submit(host, "detail");
    submit(host, "never");
    submit(host, "always again");
    submit(host, "ok");
    clock_sleep_ms(50);
    plugin_host_close(&host, case_drop);
    assert_null(host);
    assert_int_equal(memory_blocks_live(), blocks);
}

/* The last test: its thread never ends. */
static void test_plugin_host_close_does_not_wait_for_a_hanging_plugin(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(200);
    submit(host, "hang for ever");
    clock_sleep_ms(20);
    int64_t start_ns = clock_now_ns();
    plugin_host_close(&host, case_drop);
    assert_null(host);
    assert_true(clock_now_ns() - start_ns < 3 * CLOCK_NS_PER_S);
}

/* ---- groups, batches, threads, an older ABI ---- */

static struct plugin_host *open_with(const struct reward_settings *settings)
{
    struct plugin_host *host = NULL;
    if (plugin_host_open(&host, settings) != STATUS_OK)
        fail_msg("%s", status_last_error());
    return host;
}

static void submit_sample(struct plugin_host *host, uint64_t group, uint32_t index, uint32_t size,
                          const char *response)
{
    struct plugin_job *job = case_job(response, "");
    assert_non_null(job);
    job->item.group_id = job->score.group_id = group;
    job->item.group_index = job->score.sample = index;
    job->item.group_size = size;
    assert_int_equal(plugin_host_submit(host, job), STATUS_OK);
}

static void test_plugin_host_group_is_submitted_when_it_is_whole(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "aaa", "aa"};
    struct reward_settings settings = case_settings(FIXTURE("groups"), "{}");
    struct plugin_host *host = open_with(&settings);
    submit_sample(host, 7, 2, 3, texts[2]); /* out of order, between samples of another group */
    submit_sample(host, 8, 1, 2, "x");
    submit_sample(host, 7, 0, 3, texts[0]);
    assert_null(case_take(host, 50));
    submit_sample(host, 7, 1, 3, texts[1]);
    double wanted[] = {0, 1, 0.5};
    for (int i = 0; i < 3; i++) {
        struct plugin_job *job = case_take(host, 5000);
        assert_non_null(job);
        assert_true(job->score.group_id == 7 && job->score.sample < 3);
        assert_int_equal(job->score.status, SCORE_OK);
        assert_true(job->score.value >= wanted[job->score.sample] &&
                    job->score.value <= wanted[job->score.sample]);
        assert_true(job->score.scorer == plugin_host_file_hash(host));
        assert_string_equal(job->detail, "{\"n\":3,\"cost\":2}");
        case_drop(job);
    }
    assert_null(case_take(host, 20));
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_group_that_stays_incomplete_times_out(void **state)
{
    (void)state;
    struct reward_settings settings = case_settings(FIXTURE("groups"), "{}");
    settings.timeout_ms = 100;
    struct plugin_host *host = open_with(&settings);
    submit_sample(host, 1, 0, 3, "a");
    submit_sample(host, 1, 1, 3, "b");
    for (int i = 0; i < 2; i++) {
        struct plugin_job *job = case_take(host, 3000);
        assert_non_null(job);
        assert_int_equal(job->score.status, SCORE_TIMEOUT);
        assert_false(job->held);
        case_drop(job);
    }
    for (uint32_t i = 0; i < 3; i++) /* a fresh one is not disturbed by what was left of it */
        submit_sample(host, 1, i, 3, "c");
    for (int i = 0; i < 3; i++) {
        struct plugin_job *job = case_take(host, 3000);
        assert_non_null(job);
        assert_int_equal(job->score.status, SCORE_OK);
        case_drop(job);
    }
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_same_sample_twice_waits_for_two_groups(void **state)
{
    (void)state;
    struct reward_settings settings = case_settings(FIXTURE("groups"), "{}");
    struct plugin_host *host = open_with(&settings);
    submit_sample(host, 1, 0, 2, "a");
    submit_sample(host, 1, 0, 2, "a");
    submit_sample(host, 1, 1, 2, "b");
    submit_sample(host, 1, 1, 2, "b");
    for (int i = 0; i < 4; i++) {
        struct plugin_job *job = case_take(host, 3000);
        assert_non_null(job);
        assert_true(job->score.status == SCORE_OK && job->score.value >= 0);
        case_drop(job);
    }
    submit_sample(host, 2, 0, 2, "left behind");
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_plugin_of_abi_1_0_runs_unchanged(void **state)
{
    (void)state;
    struct reward_settings settings = case_settings(FIXTURE("abi_1_0"), "{}");
    settings.batch = 16;
    settings.threads = 3;
    struct plugin_host *host = open_with(&settings);
    char text[65] = "";
    for (int i = 0; i < 64; i++) {
        submit(host, text);
        text[i] = 'x';
    }
    double sum = 0;
    for (int i = 0; i < 64; i++) {
        struct plugin_job *job = case_take(host, 5000);
        assert_non_null(job);
        assert_int_equal(job->score.status, SCORE_OK);
        sum += job->score.value;
        case_drop(job);
    }
    assert_true(sum > 20.159 && sum < 20.161);
    assert_int_equal(plugin_host_late(host), 0);
    plugin_host_close(&host, case_drop);
}

static void test_plugin_host_failing_selftest_is_refused(void **state)
{
    (void)state;
    CHECK_REFUSED(FIXTURE("groups"), "{\"selftest\":0}", "groups", "self-test",
                  "two and two is five");
}

/* ---- the binary layout of ABI 1 ---- */

#define AT(type, field, offset) assert_int_equal(offsetof(type, field), offset)

static void test_plugin_host_abi_layout_is_that_of_version_1(void **state)
{
    (void)state;
    assert_int_equal(WEIR_REWARD_ABI_MAJOR, 1);
    assert_int_equal(sizeof(weir_reward_str), 16);
    AT(weir_reward_str, len, 8);
    assert_int_equal(sizeof(weir_reward_metric), 24);
    AT(weir_reward_metric, value, 16);
    assert_int_equal(sizeof(weir_reward_host), 80);
    AT(weir_reward_host, log, 8);
    AT(weir_reward_host, now_ns, 16);
    AT(weir_reward_host, run_sandboxed, 24);
    AT(weir_reward_host, run_release, 32);
    AT(weir_reward_host, judge, 40);
    AT(weir_reward_host, judge_release, 48);
    AT(weir_reward_host, reserved, 56);
    assert_int_equal(sizeof(weir_reward_result), 64);
    assert_int_equal(WEIR_REWARD_RESULT_SIZE_1_0, 56);
    AT(weir_reward_result, cost, 56);
    AT(weir_reward_result, status, 4);
    AT(weir_reward_result, item_id, 8);
    AT(weir_reward_result, score, 16);
    AT(weir_reward_result, n_metrics, 24);
    AT(weir_reward_result, metrics, 32);
    AT(weir_reward_result, detail_json, 40);
    assert_int_equal(sizeof(weir_reward_plugin), 128);
    assert_int_equal(WEIR_REWARD_PLUGIN_SIZE_1_0, 80);
    AT(weir_reward_plugin, selftest, 80);
    AT(weir_reward_plugin, submit_group, 88);
    AT(weir_reward_plugin, reserved, 96);
    AT(weir_reward_plugin, struct_size, 0);
    AT(weir_reward_plugin, abi_major, 4);
    AT(weir_reward_plugin, abi_minor, 8);
    AT(weir_reward_plugin, name, 16);
    AT(weir_reward_plugin, version, 24);
    AT(weir_reward_plugin, caps, 32);
    AT(weir_reward_plugin, create, 40);
    AT(weir_reward_plugin, submit, 48);
    AT(weir_reward_plugin, cancel, 56);
    AT(weir_reward_plugin, health, 64);
    AT(weir_reward_plugin, destroy, 72);
}

static void test_plugin_host_abi_item_is_that_of_version_1(void **state)
{
    (void)state;
    assert_int_equal(sizeof(weir_reward_item), 192);
    AT(weir_reward_item, struct_size, 0);
    AT(weir_reward_item, finish_reason, 4);
    AT(weir_reward_item, item_id, 8);
    AT(weir_reward_item, group_id, 16);
    AT(weir_reward_item, group_index, 24);
    AT(weir_reward_item, group_size, 28);
    AT(weir_reward_item, data_source, 32);
    AT(weir_reward_item, prompt_text, 48);
    AT(weir_reward_item, prompt_json, 64);
    AT(weir_reward_item, response, 80);
    AT(weir_reward_item, ground_truth_json, 96);
    AT(weir_reward_item, extra_json, 112);
    AT(weir_reward_item, prompt_ids, 128);
    AT(weir_reward_item, response_ids, 136);
    AT(weir_reward_item, n_prompt_ids, 144);
    AT(weir_reward_item, n_response_ids, 148);
    AT(weir_reward_item, response_logprobs, 152);
    AT(weir_reward_item, policy_version, 160);
    AT(weir_reward_item, train_step, 168);
    AT(weir_reward_item, deadline_ns, 176);
    AT(weir_reward_item, is_eval, 184);
    const int statuses[] = {WEIR_REWARD_OK,      WEIR_REWARD_SKIP,       WEIR_REWARD_ERROR,
                            WEIR_REWARD_TIMEOUT, WEIR_REWARD_UNSCORABLE, WEIR_REWARD_CANCELLED};
    for (int i = 0; i < 6; i++)
        assert_int_equal(statuses[i], i);
    assert_int_equal(WEIR_REWARD_FIN_ABORT, 3);
    assert_int_equal(WEIR_REWARD_CAP_THREADSAFE, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plugin_host_unfit_file_is_refused_with_a_sentence),
        cmocka_unit_test(test_plugin_host_refused_config_shows_the_plugins_text),
        cmocka_unit_test(test_plugin_host_open_without_memory_fails_cleanly),
        cmocka_unit_test(test_plugin_host_answers_come_back_once),
        cmocka_unit_test(test_plugin_host_second_and_unknown_answers_are_counted_late),
        cmocka_unit_test(test_plugin_host_metrics_and_detail_are_json),
        cmocka_unit_test(test_plugin_host_missing_answer_times_out),
        cmocka_unit_test(test_plugin_host_answer_after_the_deadline_is_counted_late),
        cmocka_unit_test(test_plugin_host_plugin_hears_that_nobody_waits),
        cmocka_unit_test(test_plugin_host_plugin_that_is_not_well_is_replaced),
        cmocka_unit_test(test_plugin_host_many_silent_items_all_time_out),
        cmocka_unit_test(test_plugin_host_hanging_submit_is_reported_at_the_deadline),
        cmocka_unit_test(test_plugin_host_close_drops_what_is_left),
        cmocka_unit_test(test_plugin_host_group_is_submitted_when_it_is_whole),
        cmocka_unit_test(test_plugin_host_group_that_stays_incomplete_times_out),
        cmocka_unit_test(test_plugin_host_same_sample_twice_waits_for_two_groups),
        cmocka_unit_test(test_plugin_host_plugin_of_abi_1_0_runs_unchanged),
        cmocka_unit_test(test_plugin_host_failing_selftest_is_refused),
        cmocka_unit_test(test_plugin_host_abi_layout_is_that_of_version_1),
        cmocka_unit_test(test_plugin_host_abi_item_is_that_of_version_1),
        cmocka_unit_test(test_plugin_host_close_does_not_wait_for_a_hanging_plugin),
    };
    return cmocka_run_group_tests_name("plugin_host", tests, NULL, NULL);
}
