/* links: reward proto text transport sandbox core */
/* label: unit */
/* timeout: 120 */
/* Recipes: what is refused and where, which parts count, and what becomes of their values and failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>

#include <cmocka.h>

#include "core/file.h"
#include "reward/compose.h"
#include "tests/plugin_case.h"
#include "tests/python_case.h"

static struct compose *read_recipe(const char *text)
{
    struct compose *recipe = NULL;
    if (compose_read(&recipe, "r.yaml", text, strlen(text)) != STATUS_OK)
        fail_msg("%s", status_last_error());
    return recipe;
}

/* ---- refusals ---- */

static void refuse(const char *text, const char *where, const char *why)
{
    struct compose *recipe = NULL;
    int64_t blocks = memory_blocks_live();
    enum status status = compose_read(&recipe, "r.yaml", text, strlen(text));
    if (status != STATUS_INVALID)
        fail_msg("accepted: %s", text);
    assert_null(recipe);
    if (strstr(status_last_error(), where) == NULL || strstr(status_last_error(), why) == NULL)
        fail_msg("no \"%s\" and \"%s\" in: %s", where, why, status_last_error());
    assert_int_equal(memory_blocks_live(), blocks);
}

#define A "parts:\n  - {name: a, plugin: x}\n"

static void test_compose_wrong_recipe_is_refused_with_line_and_key(void **state)
{
    (void)state;
    refuse("", "r.yaml:1", "");
    refuse("- 1\n", "r.yaml:1", "mapping");
    refuse("parts: [\n", "r.yaml:", "");
    refuse("parts: []\n", "parts", "one part");
    refuse("name: x\n", "parts", "one part");
    refuse(A "weights: 3\n", "r.yaml:3", "weights");
    refuse("parts:\n  - {name: a}\n", "r.yaml:2", "without plugin");
    refuse("parts:\n  - {plugin: x}\n", "r.yaml:2", "without name");
    refuse("parts:\n  - {name: a b, plugin: x}\n", "r.yaml:2", "letters");
    refuse(A "  - {name: a, plugin: x}\n", "r.yaml:3", "two parts");
    refuse(A "  - {name: b, plugin: x, weight: heavy}\n", "r.yaml:3: weight", "number");
    refuse(A "  - {name: b, plugin: x, weight: .nan}\n", "r.yaml:3: weight", "number");
    refuse(A "  - {name: b, plugin: x, clip: [1, 0]}\n", "r.yaml:3: clip", "below");
    refuse(A "  - {name: b, plugin: x, clip: 1}\n", "r.yaml:3: clip", "[low, high]");
    refuse(A "  - {name: b, plugin: x, gate: c}\n", "r.yaml:3: gate", "\"c\"");
    refuse(A "  - {name: b, plugin: x, gate: b}\n", "r.yaml:3: gate", "earlier");
    refuse(A "  - {name: b, plugin: x, gate: {at_least: 1}}\n", "r.yaml:3: gate", "no part");
    refuse(A "  - {name: b, plugin: x, style: ver}\n", "r.yaml:3: style", "verl_batch");
    refuse(A "  - {name: b, plugin: x, on: all}\n", "r.yaml:3: on", "list");
    refuse(A "status: {timeout: zero}\n", "r.yaml:3: timeout", "retry, skip or {value");
    refuse(A "status: {skip: retry}\n", "r.yaml:3: skip", "drop, skip or {value");
    refuse(A "status: {late: retry}\n", "r.yaml:3: status", "timeout, error");
    refuse(A "sources: {g: [b]}\n", "r.yaml:3: g", "\"b\"");
    refuse(A "default: [b]\n", "r.yaml:3: default", "\"b\"");
    refuse(A "scale: 10\n", "r.yaml:3: scale", "01, pm1");
    refuse(A "combine: most\n", "r.yaml:3: combine", "product");
    refuse(A "verified: b\n", "r.yaml:3: verified", "\"b\"");
    refuse(A "  - {name: verified, plugin: x}\nverified: a\n", "r.yaml:4: verified", "too");
}

static void test_compose_json_is_a_recipe_too(void **state)
{
    (void)state;
    struct compose *recipe =
        read_recipe("{\"parts\": [{\"name\": \"a\", \"plugin\": \"x\", \"config\": {\"s\": \"1\", "
                    "\"n\": 2, \"f\": 0.5, "
                    "\"b\": true, \"z\": null, \"l\": [1, \"two\"]}}], \"scale\": \"pm1\"}");
    assert_string_equal(recipe->parts[0].config,
                        "{\"s\":\"1\",\"n\":2,\"f\":0.5,\"b\":true,\"z\":null,"
                        "\"l\":[1,\"two\"]}");
    assert_true(recipe->plus_minus);
    compose_free(&recipe);
}

/* ---- the rule ---- */

#define OK(value)                     \
    {                                 \
        true, WEIR_REWARD_OK, (value) \
    }
#define NOT(status)                     \
    {                                   \
        true, WEIR_REWARD_##status, NAN \
    }
#define LEFT_OUT    \
    {               \
        false, 0, 0 \
    }

static void combine(const char *text, const struct compose_answer answers[3], int32_t status,
                    double value)
{
    struct compose *recipe = read_recipe(text);
    struct compose_result result = compose_combine(recipe, answers);
    bool same = status != WEIR_REWARD_OK || fabs(result.value - value) < 1e-12;
    if (result.status != status || !same)
        fail_msg("status %d value %g, wanted %d %g: %s", result.status, result.value, status, value,
                 text);
    compose_free(&recipe);
}

#define COMBINE(text, status, value, ...) \
    combine(text, (const struct compose_answer[3]){__VA_ARGS__}, WEIR_REWARD_##status, value)

#define TWO "parts:\n - {name: a, plugin: x, weight: 2}\n - {name: b, plugin: x, weight: 0.5}\n"

static void test_compose_values_are_combined_as_the_recipe_says(void **state)
{
    (void)state;
    COMBINE(TWO, OK, 2.25, OK(1), OK(0.5));
    COMBINE(TWO "combine: product\n", OK, 0.5, OK(1), OK(0.5));
    COMBINE(TWO "combine: min\n", OK, 0.25, OK(1), OK(0.5));
    COMBINE(TWO "combine: min\n", OK, -2, OK(-1), OK(0.5));
    COMBINE(TWO "combine: first\n", OK, 2, OK(1), OK(0.5));
    COMBINE(TWO "combine: first\n", OK, 0.25, NOT(SKIP), OK(0.5));
    COMBINE(TWO "scale: pm1\n", OK, 3.5, OK(1), OK(0.5));
    COMBINE(TWO "scale: pm1\nclip: [-1, 1]\n", OK, 1, OK(1), OK(0.5));
    COMBINE(TWO, OK, 0.25, LEFT_OUT, OK(0.5));
    COMBINE(TWO, SKIP, 0, LEFT_OUT, LEFT_OUT);
    COMBINE(TWO, SKIP, 0, NOT(SKIP), NOT(SKIP));
    COMBINE("parts: [{name: a, plugin: x, normalise: [1, 5], clip: [0, 0.9]}]", OK, 0.5, OK(3));
    COMBINE("parts: [{name: a, plugin: x, normalise: [1, 5], clip: [0, 0.9]}]", OK, 0.9, OK(5));
    COMBINE("parts: [{name: a, plugin: x, weight: -1}]", OK, -3, OK(3));
    COMBINE("parts: [{name: a, plugin: x}]", ERROR, 0, OK(NAN));
}

static void test_compose_failures_become_numbers_only_when_told(void **state)
{
    (void)state;
    COMBINE(TWO, TIMEOUT, 0, OK(1), NOT(TIMEOUT));
    COMBINE(TWO, ERROR, 0, NOT(ERROR), NOT(TIMEOUT));
    COMBINE(TWO, UNSCORABLE, 0, NOT(ERROR), NOT(UNSCORABLE));
    COMBINE(TWO, ERROR, 0, OK(1), NOT(CANCELLED));
    COMBINE(TWO, OK, 2, OK(1), NOT(SKIP));
    COMBINE(TWO "status: {timeout: skip}\n", OK, 2, OK(1), NOT(TIMEOUT));
    COMBINE(TWO "status: {timeout: {value: -1}}\n", OK, 1.5, OK(1), NOT(TIMEOUT));
    COMBINE(TWO "status: {error: {value: 0}}\n", TIMEOUT, 0, NOT(ERROR), NOT(TIMEOUT));
    COMBINE(TWO "status: {skip: drop}\n", SKIP, 0, OK(1), NOT(SKIP));
    COMBINE(TWO "status: {unscorable: skip}\n", OK, 2, OK(1), NOT(UNSCORABLE));
    /* a metric changes nothing, one that a gate stands on does */
#define METRIC "parts:\n - {name: a, plugin: x}\n - {name: m, plugin: x, weight: 0}\n"
    COMBINE(METRIC, OK, 1, OK(1), NOT(ERROR));
    COMBINE(METRIC, SKIP, 0, NOT(SKIP), OK(1));
    COMBINE(METRIC " - {name: g, plugin: x, gate: m}\n", ERROR, 0, OK(1), NOT(ERROR), LEFT_OUT);
    /* a part's own rule wins */
    COMBINE("status: {error: skip}\nparts:\n - {name: a, plugin: x}\n - {name: b, plugin: x, "
            "status: {error: retry}}\n",
            ERROR, 0, OK(1), NOT(ERROR));
}

static void test_compose_gate_opens_within_its_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *gate;
        double value;
        bool open;
    } cases[] = {{"a", 1, true},
                 {"a", 0.5, true},
                 {"a", 0.49, false},
                 {"{part: a, at_least: 0.9}", 0.8, false},
                 {"{part: a, at_most: 0}", 0, true},
                 {"{part: a, at_most: 0}", 0.1, false},
                 {"{part: a, at_most: 0}", -5, true},
                 {"{part: a, at_most: 2, at_least: 1}", 0.5, false},
                 {"{part: a, at_least: 1, at_most: 2}", 1.5, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "parts: [{name: a, plugin: x}, {name: b, plugin: x, gate: %s}]",
                 cases[i].gate);
        struct compose *recipe = read_recipe(text);
        struct compose_answer answers[2] = {OK(cases[i].value)};
        if (compose_calls(recipe, 3, 1, answers) != cases[i].open)
            fail_msg("%s with %g", text, cases[i].value);
        assert_false(compose_calls(recipe, 1, 1, answers));
        answers[0] = (struct compose_answer)NOT(ERROR);
        assert_false(compose_calls(recipe, 3, 1, answers));
        answers[0] = (struct compose_answer)LEFT_OUT;
        assert_false(compose_calls(recipe, 3, 1, answers));
        compose_free(&recipe);
    }
}

static void test_compose_parts_are_chosen_by_data_source(void **state)
{
    (void)state;
    struct compose *recipe =
        read_recipe("parts: [{name: a, plugin: x}, {name: b, plugin: x}, {name: c, plugin: x, on: "
                    "[\"math*\", gsm8k]}]\n"
                    "sources: {\"gsm8k*\": [a, c], \"math/*\": [b, c], \"*x\": []}\n"
                    "default: [a]\n");
    static const struct {
        const char *source;
        uint32_t parts;
    } cases[] = {{"gsm8k", 5},  {"gsm8k_test", 1}, {"math/500", 6}, {"mathx", 0},
                 {"gsm8kx", 1}, {"other", 1},      {"", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(compose_in_effect(recipe, cases[i].source, strlen(cases[i].source)),
                         cases[i].parts);
    compose_free(&recipe);
    recipe = read_recipe(A "sources: {g: [a]}\n"); /* without default: all */
    assert_int_equal(compose_in_effect(recipe, "h", 1), 1);
    compose_free(&recipe);
}

/* ---- as a plugin ---- */

static struct plugin_host *open_recipe(const char *path)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(path, "{}");
    settings.timeout_ms = 20000;
    settings.threads = 2;
    settings.batch = 4;
    settings.python = "python3";
    if (plugin_host_open(&host, &settings) != STATUS_OK)
        fail_msg("%s", status_last_error());
    return host;
}

static void check(struct plugin_host *host, const char *source, const char *response,
                  enum score_status status, double value, const char *detail)
{
    struct plugin_job *job = case_job(response, "\"right\"");
    job->item.data_source = case_text(source);
    assert_int_equal(plugin_host_submit(host, job), STATUS_OK);
    assert_ptr_equal(case_take(host, 30000), job);
    if (job->score.status != status || fabs(job->score.value - value) > 1e-12 ||
        strcmp(job->detail, detail) != 0)
        fail_msg("%s: status %d value %g %s, wanted %d %g %s", response, (int)job->score.status,
                 job->score.value, job->detail, (int)status, value, detail);
    case_drop(job);
}

static void test_compose_recipe_of_python_parts_scores(void **state)
{
    (void)state;
    if (!python_is_here())
        skip();
    struct plugin_host *host = open_recipe(SOURCE_DIR "/tests/recipes/gated.yaml");
    assert_string_equal(plugin_host_name(host), "gated recipe");
    check(host, "any", "right", SCORE_OK, 1.25,
          "{\"correct\":1,\"judge\":0.5,\"judge/seen\":1,\"verified\":1,"
          "\"detail\":{\"judge\":{\"shape\":\"long\"}}}");
    check(host, "any", "wrong", SCORE_OK, 0,
          "{\"correct\":0,\"verified\":0}"); /* the gate is shut */
    check(host, "measured", "raise", SCORE_OK, 0,
          "{\"correct\":0,\"verified\":0,\"detail\":{\"length\":{\"error\":\"ValueError: no such "
          "answer\",\"status\":\"error\"}}}");
    plugin_host_close(&host, case_drop);
}

static void test_compose_unfit_part_is_named_with_file_and_line(void **state)
{
    (void)state;
    struct plugin_host *host = NULL;
    char path[FILE_PATH_MAX];
    static const char text[] = "parts:\n  - {name: a, plugin: addition}\n  - {name: b, plugin: "
                               "no_such_plugin}\n";
    assert_int_equal(file_path(path, BUILD_DIR "/test_compose_unfit.yaml"), STATUS_OK);
    assert_int_equal(file_replace(path, text, sizeof text - 1), STATUS_OK);
    struct reward_settings settings = case_settings(path, "{}");
    int64_t blocks = memory_blocks_live();
    assert_int_not_equal(plugin_host_open(&host, &settings), STATUS_OK);
    assert_non_null(strstr(status_last_error(), "test_compose_unfit.yaml:3: part \"b\""));
    assert_int_equal(memory_blocks_live(), blocks);
    assert_int_equal(remove(path), 0);
}

static void test_compose_part_that_hangs_costs_its_item_only(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], text[1024];
    snprintf(text, sizeof text,
             "parts:\n  - {name: a, plugin: %s}\n  - {name: b, plugin: %s, weight: 0}\n",
             BUILD_DIR "/tests/plugins/behaves.so", BUILD_DIR "/tests/plugins/abi_1_0.so");
    assert_int_equal(file_path(path, BUILD_DIR "/test_compose_hangs.yaml"), STATUS_OK);
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(path, "{}");
    settings.timeout_ms = 300;
    assert_int_equal(plugin_host_open(&host, &settings), STATUS_OK);
    check(host, "x", "later", SCORE_OK, 0.5, "{\"a\":0.5,\"b\":0.05}");
    check(host, "x", "again", SCORE_OK, 1, "{\"a\":1,\"b\":0.05}");
    check(host, "x", "fail", SCORE_ERROR, 0,
          "{\"b\":0.04,\"detail\":{\"a\":{\"status\":\"error\"},\"because\":\"a\"}}");
    check(host, "x", "never", SCORE_TIMEOUT, 0,
          "{\"b\":0.05,\"detail\":{\"a\":{\"status\":\"timeout\"},\"because\":\"a\"}}");
    assert_false(plugin_host_stuck(host));
    plugin_host_close(&host, case_drop);
    assert_int_equal(remove(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compose_wrong_recipe_is_refused_with_line_and_key),
        cmocka_unit_test(test_compose_json_is_a_recipe_too),
        cmocka_unit_test(test_compose_values_are_combined_as_the_recipe_says),
        cmocka_unit_test(test_compose_failures_become_numbers_only_when_told),
        cmocka_unit_test(test_compose_gate_opens_within_its_bounds),
        cmocka_unit_test(test_compose_parts_are_chosen_by_data_source),
        cmocka_unit_test(test_compose_recipe_of_python_parts_scores),
        cmocka_unit_test(test_compose_unfit_part_is_named_with_file_and_line),
        cmocka_unit_test(test_compose_part_that_hangs_costs_its_item_only),
    };
    return cmocka_run_group_tests_name("compose", tests, NULL, NULL);
}
