/* links: reward proto text transport sandbox core PkgConfig::jansson */
/* label: unit */
/* timeout: 60 */
/* The plugins that come with weir, through the host that calls them. With WEIR_TEST_DATA=FOLDER every row of
 * FOLDER/data/gsm8k/train.jsonl is scored with its own answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/plugin_case.h"

static struct plugin_host *open_host(const char *plugin, const char *config)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(plugin, config);
    enum status status = plugin_host_open(&host, &settings);
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
    return host;
}

static struct plugin_job *scored(struct plugin_host *host, const char *response, const char *truth,
                                 uint32_t finish_reason)
{
    struct plugin_job *job = case_job(response, truth);
    assert_non_null(job);
    job->item.finish_reason = finish_reason;
    assert_int_equal(plugin_host_submit(host, job), STATUS_OK);
    assert_ptr_equal(case_take(host, 5000), job);
    return job;
}

struct plugin_case {
    const char *response, *truth;
    enum score_status status;
    double value;
    const char *detail; /* NULL: not looked at */
    uint32_t finish_reason;
};

static void check_cases(struct plugin_host *host, const struct plugin_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct plugin_case *one = &cases[i];
        struct plugin_job *job = scored(host, one->response, one->truth, one->finish_reason);
        bool same = job->score.status == one->status && job->score.value >= one->value &&
                    job->score.value <= one->value;
        if (!same)
            fail_msg("\"%s\" for %s: status %d value %g, wanted %d %g", one->response, one->truth,
                     (int)job->score.status, job->score.value, (int)one->status, one->value);
        if (one->detail != NULL)
            assert_string_equal(job->detail, one->detail);
        case_drop(job);
    }
}

#define CHECK_CASES(host, cases) check_cases(host, cases, sizeof(cases) / sizeof(cases)[0])

// clang-format off
static const struct plugin_case addition_cases[] = {
    {"7+6+0=13;2+5+1=08;8+9+0=17;4+1+1=06;06783", "\"06783\"", SCORE_OK, 1, "{\"steps_right\":1,\"answered\":1}", 0},
    {"7+6+0=14;2+5+1=08;8+9+0=17;4+1+1=06;06784", "\"06783\"", SCORE_OK, 0, "{\"steps_right\":0.75,\"answered\":1}", 0},
    {"7+6+0=14;2+5+1=09;06783", "\"06783\"", SCORE_OK, 1, "{\"steps_right\":0,\"answered\":1}", 0}, /* the answer counts */
    {"06783", "\"06783\"", SCORE_OK, 1, "{\"steps_right\":0,\"answered\":1}", 0},
    {"6783", "\"06783\"", SCORE_OK, 0, "{\"steps_right\":0,\"answered\":0}", 0},
    {"06783 ", "\"06783\"", SCORE_OK, 0, NULL, 0},
    {"067834", "\"06783\"", SCORE_OK, 0, NULL, 0},
    {"7+6+0=13;", "\"06783\"", SCORE_OK, 0, "{\"steps_right\":1,\"answered\":0}", 0},
    {"7+6+0=13;2+5+1=0", "\"06783\"", SCORE_OK, 0, "{\"steps_right\":1,\"answered\":0}", 0},
    {"7+6+0=13;06783", "\"06783\"", SCORE_OK, 0, NULL, WEIR_REWARD_FIN_LENGTH},
    {"7+6+0=13;06783", "\"06783\"", SCORE_OK, 0, NULL, WEIR_REWARD_FIN_REPETITION},
    {";;;;;;", "\"06783\"", SCORE_OK, 0, "{\"steps_right\":0,\"answered\":0}", 0},
    {"a+b+c=de;7-6+0=13;7+6+0=013;hello", "\"06783\"", SCORE_OK, 0, "{\"steps_right\":0,\"answered\":0}", 0},
    {"\xef\xbf\xbd\x01\x7f", "\"06783\"", SCORE_OK, 0, NULL, 0},
    {"", "\"06783\"", SCORE_OK, 0, "{\"steps_right\":0,\"answered\":0}", 0},
    {"06783", "06783", SCORE_OK, 1, NULL, 0},
    {"", "\"\"", SCORE_UNSCORABLE, 0, NULL, 0},
    {"06783", "", SCORE_UNSCORABLE, 0, NULL, 0},
};

static const struct plugin_case gsm8k_cases[] = {
    {"It is #### 72", "\"72\"", SCORE_OK, 1, "{\"formatted\":1}", 0},
    {"#### 72.0", "\"72\"", SCORE_OK, 1, NULL, 0},
    {"#### 72.5", "\"72\"", SCORE_OK, 0, "{\"formatted\":1}", 0},
    {"#### 1,234", "\"1234\"", SCORE_OK, 1, NULL, 0},
    {"#### 1234", "\"1,234\"", SCORE_OK, 1, NULL, 0},
    {"#### $18", "\"18\"", SCORE_OK, 1, NULL, 0},
    {"#### 18 dollars", "\"18\"", SCORE_OK, 1, NULL, 0},
    {"####18", "\"18\"", SCORE_OK, 1, NULL, 0},
    {"the answer is 18", "\"18\"", SCORE_OK, 0, "{\"formatted\":0}", 0},
    {"### 18", "\"18\"", SCORE_OK, 0, "{\"formatted\":0}", 0},
    {"####", "\"18\"", SCORE_OK, 0, "{\"formatted\":0}", 0},
    {"#### eighteen", "\"18\"", SCORE_OK, 0, "{\"formatted\":0}", 0},
    {"#### -", "\"18\"", SCORE_OK, 0, "{\"formatted\":0}", 0},
    {"#### 1.8.0", "\"18\"", SCORE_OK, 0, "{\"formatted\":0}", 0},
    {"", "\"18\"", SCORE_OK, 0, "{\"formatted\":0}", 0},
    {"#### 17 no, wait #### 18", "\"18\"", SCORE_OK, 1, NULL, 0}, /* the last one counts */
    {"#### 18 no, wait #### 17", "\"18\"", SCORE_OK, 0, NULL, 0},
    {"#### -5", "\"-5\"", SCORE_OK, 1, NULL, 0},
    {"#### 5", "\"-5\"", SCORE_OK, 0, NULL, 0},
    {"So #### 18.", "\"18\"", SCORE_OK, 1, NULL, 0},
    {"#### 18", "18", SCORE_OK, 1, NULL, 0},
    {"#### 0.5", "0.5", SCORE_OK, 1, NULL, 0},
    {"#### 18", "\"She has 9*2 = <<9*2=18>>18 ducks\\n#### 18\"", SCORE_OK, 1, NULL, 0},
    {"#### 9", "\"She has 9*2 = <<9*2=18>>18 ducks\\n#### 18\"", SCORE_OK, 0, NULL, 0},
    {"#### 18", "\"no number\"", SCORE_UNSCORABLE, 0, NULL, 0},
    {"#### 18", "", SCORE_UNSCORABLE, 0, NULL, 0},
    {"#### 18", "null", SCORE_UNSCORABLE, 0, NULL, 0},
    {"#### 18", "{broken", SCORE_UNSCORABLE, 0, NULL, 0},
    {"#### 00000000000000000000000000000000000000000000000000000000000000000018", "0", SCORE_OK, 0, "{\"formatted\":0}", 0},
};
// clang-format on

static void test_plugins_addition_scores_the_answer_and_the_steps(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(BUILT_IN("addition"), "{}");
    assert_string_equal(plugin_host_name(host), "addition 1.0");
    CHECK_CASES(host, addition_cases);
    plugin_host_close(&host, case_drop);
}

static void test_plugins_built_in_is_found_by_its_name(void **state)
{
    (void)state;
    struct plugin_host *host = open_host("gsm8k", "{}");
    assert_string_equal(plugin_host_name(host), "gsm8k 1.0");
    plugin_host_close(&host, case_drop);
}

static void test_plugins_gsm8k_compares_numbers_after_the_last_mark(void **state)
{
    (void)state;
    struct plugin_host *host = open_host(BUILT_IN("gsm8k"), "{}");
    CHECK_CASES(host, gsm8k_cases);
    plugin_host_close(&host, case_drop);
}

static void test_plugins_gsm8k_format_score_is_for_wrong_numbers(void **state)
{
    (void)state;
    static const struct plugin_case cases[] = {
        {"#### 17", "\"18\"", SCORE_OK, 0.125, NULL, 0},
        {"#### 18", "\"18\"", SCORE_OK, 1, NULL, 0},
        {"18", "\"18\"", SCORE_OK, 0, NULL, 0},
    };
    struct plugin_host *host = open_host(BUILT_IN("gsm8k"), "{\"format_score\": 0.125}");
    CHECK_CASES(host, cases);
    plugin_host_close(&host, case_drop);
}

static void check_config_refused(const char *plugin, const char *config, const char *wanted)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(plugin, config);
    assert_int_equal(plugin_host_open(&host, &settings), STATUS_INVALID);
    assert_null(host);
    if (strstr(status_last_error(), wanted) == NULL)
        fail_msg("no \"%s\" in: %s", wanted, status_last_error());
}

static void test_plugins_wrong_config_is_refused_with_a_reason(void **state)
{
    (void)state;
    check_config_refused(BUILT_IN("gsm8k"), "{\"format_scroe\": 0.1}", "format_score");
    check_config_refused(BUILT_IN("gsm8k"), "{\"format_score\": 0, \"more\": 1}", "only key");
    check_config_refused(BUILT_IN("gsm8k"), "{\"format_score\": \"0.1\"}", "a number");
    check_config_refused(BUILT_IN("gsm8k"), "[]", "not a JSON object");
    check_config_refused(BUILT_IN("gsm8k"), "{", "not a JSON object");
    check_config_refused(BUILT_IN("gsm8k"), "", "not a JSON object");
    check_config_refused(BUILT_IN("addition"), "{\"format_score\": 0}", "no settings");
    check_config_refused(BUILT_IN("addition"), "", "no settings");
    check_config_refused(BUILT_IN("addition"), "{} x", "no settings");
    struct plugin_host *host = open_host(BUILT_IN("addition"), " { } ");
    plugin_host_close(&host, case_drop);
}

static void check_row(struct plugin_host *host, const char *line, int number)
{
    json_error_t error;
    json_t *row = json_loads(line, 0, &error);
    const json_t *answer = json_object_get(row, "answer");
    if (!json_is_string(answer))
        fail_msg("row %d: no answer", number);
    char *truth = json_dumps(answer, JSON_ENCODE_ANY);
    struct plugin_job *job = scored(host, json_string_value(answer), truth, WEIR_REWARD_FIN_EOS);
    if (job->score.status != SCORE_OK || job->score.value < 1)
        fail_msg("row %d: status %d value %g", number, (int)job->score.status, job->score.value);
    case_drop(job);
    free(truth); /* lint: allow(free): jansson's buffer */
    json_decref(row);
}

static void test_plugins_gsm8k_every_training_answer_scores_one(void **state)
{
    (void)state;
    const char *folder = getenv("WEIR_TEST_DATA");
    if (folder == NULL) {
        print_message("skipped: set WEIR_TEST_DATA to a folder that has data/gsm8k/train.jsonl\n");
        skip();
    }
    char path[1024], line[1 << 16];
    snprintf(path, sizeof path, "%s/data/gsm8k/train.jsonl", folder);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s cannot be read", path);
    struct plugin_host *host = open_host(BUILT_IN("gsm8k"), "{}");
    int rows = 0;
    while (fgets(line, sizeof line, file) != NULL)
        check_row(host, line, ++rows);
    fclose(file);
    plugin_host_close(&host, case_drop);
    print_message("%d rows\n", rows);
    assert_int_equal(rows, 7473);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plugins_addition_scores_the_answer_and_the_steps),
        cmocka_unit_test(test_plugins_built_in_is_found_by_its_name),
        cmocka_unit_test(test_plugins_gsm8k_compares_numbers_after_the_last_mark),
        cmocka_unit_test(test_plugins_gsm8k_format_score_is_for_wrong_numbers),
        cmocka_unit_test(test_plugins_wrong_config_is_refused_with_a_reason),
        cmocka_unit_test(test_plugins_gsm8k_every_training_answer_scores_one),
    };
    return cmocka_run_group_tests_name("plugins", tests, NULL, NULL);
}
