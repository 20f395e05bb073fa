/* links: reward_code reward_answer sandbox core */
/* label: integration */
/* timeout: 300 */
/* The forms of rows, the verdicts and the settings of the code area; what happens when the processes that run programs
 * are killed. Forgeries and odd programs have tests of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "reward/code/compare.h"
#include "tests/code_case.h"
#include "tests/slow.h"

#define ROWS SOURCE_DIR "/tests/golden/reward/code.jsonl"

static json_t *next_row(FILE *file)
{
    return json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
}

static const char *status_word(int32_t status)
{
    static const char *const names[] = {"ok",      "skip",       "error",
                                        "timeout", "unscorable", "cancelled"};
    return names[status];
}

static bool as_expected(const json_t *row, const struct reward_outcome *outcome)
{
    const json_t *fraction = json_object_get(row, "expected_pass_fraction"),
                 *got = json_object_get(outcome->fields, "pass_fraction"),
                 *verdict = json_object_get(row, "expected_verdict");
    const char *status = json_string_value(json_object_get(row, "expected_status"));
    if (strcmp(status_word(outcome->status), status) != 0)
        return false;
    if (outcome->status != WEIR_REWARD_OK)
        return code_field(outcome, "why")[0] != '\0';
    return outcome->value == json_number_value(json_object_get(row, "expected")) &&
           strcmp(code_field(outcome, "verdict"), json_string_value(verdict)) == 0 &&
           (fraction == NULL || fabs(json_number_value(fraction) - json_number_value(got)) < 1e-9);
}

static void test_code_rows_of_every_form_get_their_verdict(void **state)
{
    const struct code_bed *bed = *state;
    if (bed->sandbox == NULL)
        skip();
    FILE *file = fopen(ROWS, "r");
    assert_non_null(file);
    size_t count = 0, wrong = 0;
    for (json_t *row; (row = next_row(file)) != NULL; json_decref(row)) {
        struct reward_outcome outcome;
        const char *name = json_string_value(json_object_get(row, "id")),
                   *only = getenv("CODE_CASE");
        if ((only != NULL && strcmp(only, name) != 0) || (count++ % 4 != 0 && test_is_slow()))
            continue;
        code_bed_score(bed, row, &outcome);
        if (!as_expected(row, &outcome) || only != NULL) {
            char *fields = json_dumps(outcome.fields, 0);
            printf("%s: %s %g %s\n", name, status_word(outcome.status), outcome.value, fields);
            free(fields);
            wrong += !as_expected(row, &outcome);
        }
        json_decref(outcome.fields);
    }
    fclose(file);
    printf("%zu rows\n", count);
    assert_int_equal(wrong, 0);
}

/* ---- settings ---- */

static json_t *counting_row(size_t tests, size_t wrong)
{
    json_t *list = json_array();
    for (size_t i = 0; i < tests; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "stdin", "3", "stdout", i == wrong ? "7" : "6"));
    return json_pack("{s:s, s:s, s:o}", "language", "python", "response",
                     "```python\nprint(2 * int(input()))\n```", "tests", list);
}

static void check_setting(const struct code_bed *bed, const char *config, size_t tests,
                          size_t wrong, double value, double fraction)
{
    struct code_bed other = {.sandbox = bed->sandbox};
    struct reward_tools tools = {.sandbox = bed->sandbox};
    struct reward_outcome outcome;
    char why[256];
    json_t *settings = json_loads(config, 0, NULL), *row = counting_row(tests, wrong);
    assert_int_equal(code_area.create(settings, &tools, &other.instance, why, sizeof why), 0);
    code_bed_score(&other, row, &outcome);
    assert_int_equal(outcome.status, WEIR_REWARD_OK);
    assert_float_equal(outcome.value, value, 1e-9);
    const json_t *got = json_object_get(outcome.fields, "pass_fraction");
    if (fraction < 0)
        assert_null(got);
    else
        assert_float_equal(json_number_value(got), fraction, 1e-9);
    json_decref(outcome.fields);
    json_decref(row);
    json_decref(settings);
    code_area.destroy(other.instance);
}

static void test_code_settings_say_which_tests_count(void **state)
{
    const struct code_bed *bed = *state;
    if (bed->sandbox == NULL)
        skip();
    check_setting(bed, "{\"fraction\": \"none\"}", 3, 1, 0, -1);
    check_setting(bed, "{\"fraction\": \"all\", \"value\": \"fraction\"}", 4, 1, 0.75, 0.75);
    check_setting(bed, "{\"fraction\": \"first10\"}", 12, 1, 0, 0.9);
    check_setting(bed, "{\"fraction\": \"first10\"}", 12, 11, 0, 1);
    check_setting(bed, "{\"mode\": \"strict\"}", 2, 9, 1, 1);
}

static void test_code_settings_that_are_wrong_are_named(void **state)
{
    const struct code_bed *bed = *state;
    static const char *const wrong[][2] = {{"{\"fraction\": \"half\"}", "fraction"},
                                           {"{\"value\": 1}", "value"},
                                           {"{\"mode\": \"fast\"}", "mode"},
                                           {"{\"retries\": -1}", "retries"},
                                           {"{\"c\": \"gcc\"}", "\"c\""}};
    if (bed->sandbox == NULL)
        skip();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct reward_tools tools = {.sandbox = bed->sandbox};
        void *instance = NULL;
        char why[256] = "";
        json_t *settings = json_loads(wrong[i][0], 0, NULL);
        assert_int_not_equal(code_area.create(settings, &tools, &instance, why, sizeof why), 0);
        assert_non_null(strstr(why, wrong[i][1]));
        json_decref(settings);
    }
}

static void test_code_deadline_that_has_passed_is_a_timeout(void **state)
{
    const struct code_bed *bed = *state;
    if (bed->sandbox == NULL)
        skip();
    json_t *row = counting_row(2, 9), *response = json_object_get(row, "response");
    struct reward_outcome outcome = {.fields = json_object()};
    struct reward_case input = {.row = row,
                                .response = json_string_value(response),
                                .response_size = json_string_length(response),
                                .prompt = "",
                                .data_source = "",
                                .deadline_ns = 1};
    code_area.score(bed->instance, &input, 1, &outcome);
    assert_int_equal(outcome.status, WEIR_REWARD_TIMEOUT);
    json_decref(outcome.fields);
    json_decref(row);
}

/* ---- killed workers ---- */

/* One kill for every five rows that are done: a tenth of the processes, which are two a row. */
struct kills {
    atomic_bool stop;
    atomic_size_t done;
    size_t killed;
};

/* The sandbox's launchers are our children. */
static void *kill_launchers(void *self)
{
    struct kills *kills = self;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    while (!atomic_load(&kills->stop)) {
        long child = 0, picked = 0;
        usleep(1000);
        if (kills->killed * 5 > atomic_load(&kills->done))
            continue;
        FILE *file = fopen(path, "r");
        for (size_t i = 0; file != NULL && fscanf(file, "%ld", &child) == 1; i++)
            if (picked == 0 || (kills->killed + i) % 3 == 0)
                picked = child;
        if (file != NULL)
            fclose(file);
        if (picked != 0 && kill((pid_t)picked, SIGKILL) == 0)
            kills->killed++;
    }
    return NULL;
}

static void test_code_killed_workers_change_no_reward(void **state)
{
    (void)state;
    struct code_bed *bed;
    struct kills kills = {0};
    pthread_t thread;
    size_t wrong = 0, count = test_times(60, 8);
    assert_int_equal(code_bed_open_with(&bed, "{\"retries\": 10}", 2), 0);
    if (bed->sandbox == NULL)
        skip();
    json_t *rows[] = {counting_row(2, 9), counting_row(2, 1),
                      json_pack("{s:s, s:s}", "test", "assert double(2) == 4", "response",
                                "```python\ndef double(n):\n    return 2 * n\n```"),
                      json_pack("{s:s, s:s}", "test", "assert double(2) == 4", "response",
                                "```python\ndef double(n):\n    return 3 * n\n```")};
    const double wanted[] = {1, 0, 1, 0};
    assert_int_equal(pthread_create(&thread, NULL, kill_launchers, &kills), 0);
    for (size_t i = 0; i < count; i++) {
        struct reward_outcome outcome;
        code_bed_score(bed, rows[i % 4], &outcome);
        if (outcome.status != WEIR_REWARD_OK || outcome.value != wanted[i % 4]) {
            printf("%zu: status %d value %g: %s\n", i, outcome.status, outcome.value,
                   code_field(&outcome, "why"));
            wrong++;
        }
        json_decref(outcome.fields);
        atomic_fetch_add(&kills.done, 1);
    }
    atomic_store(&kills.stop, true);
    pthread_join(thread, NULL);
    printf("%zu rows, %zu workers killed\n", count, kills.killed);
    for (size_t i = 0; i < 4; i++)
        json_decref(rows[i]);
    void *old = bed;
    code_bed_close(&old);
    assert_true(kills.killed > 0);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_rows_of_every_form_get_their_verdict),
        cmocka_unit_test(test_code_settings_say_which_tests_count),
        cmocka_unit_test(test_code_settings_that_are_wrong_are_named),
        cmocka_unit_test(test_code_deadline_that_has_passed_is_a_timeout),
        cmocka_unit_test(test_code_killed_workers_change_no_reward),
    };
    return cmocka_run_group_tests(tests, code_bed_open, code_bed_close);
}
