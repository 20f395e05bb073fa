/* links: reward_rules */
/* Scoring functions of verl and TRL: the values that those gave for recorded calls (tests/golden/reward/parity.jsonl). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "tests/rules_case.h"

static void check_row(void *instance, const json_t *row)
{
    struct rules_result result = rules_score_row(&parity_area, instance, row);
    const json_t *acc = json_object_get(row, "expected_acc");
    bool same = result.status == WEIR_REWARD_OK &&
                result.value == json_number_value(json_object_get(row, "expected"));
    if (acc != NULL)
        same = same && json_equal(json_object_get(result.fields, "acc"), acc) &&
               json_equal(json_object_get(result.fields, "pred"),
                          json_object_get(row, "expected_pred"));
    if (!same)
        fail_msg("%s: status %d, value %.17g: %s", json_string_value(json_object_get(row, "id")),
                 result.status, result.value, json_dumps(result.fields, 0));
    rules_free(&result);
}

static void test_rules_parity_recorded_values_are_identical(void **state)
{
    (void)state;
    void *instance = rules_open(&parity_area, "{}");
    assert_true(rules_each_row("parity.jsonl", check_row, instance) >= 150);
    parity_area.destroy(instance);
}

static void test_rules_parity_names_may_be_paths(void **state)
{
    (void)state;
    static const char *const names[] = {"gsm8k.compute_score",
                                        "verl.utils.reward_score.gsm8k.compute_score",
                                        "verl/utils/reward_score/gsm8k.py:compute_score"};
    for (size_t i = 0; i < 3; i++) {
        json_t *row = rules_json("{\"call\": {\"solution_str\": \"#### 7\", \"ground_truth\": "
                                 "\"7\"}}");
        json_object_set_new(row, "fn", json_string(names[i]));
        void *instance = rules_open(&parity_area, "{}");
        struct rules_result result = rules_score_row(&parity_area, instance, row);
        assert_true(result.status == WEIR_REWARD_OK && result.value == 1.0);
        rules_free(&result);
        parity_area.destroy(instance);
        json_decref(row);
    }
}

static void test_rules_parity_unknown_functions_are_unscorable_with_a_list(void **state)
{
    (void)state;
    struct rules_result result =
        rules_score(&parity_area, "{\"fn\": \"my.compute_score\", \"call\": {}}");
    assert_int_equal(result.status, WEIR_REWARD_UNSCORABLE);
    assert_non_null(strstr(json_string_value(json_object_get(result.fields, "why")),
                           "get_soft_overlong_punishment"));
    rules_free(&result);
    rules_refused(&parity_area, "{\"fn\": \"xgsm8k.compute_score\"}", "known are");
}

static void test_rules_parity_bad_calls_are_unscorable(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"fn\": \"gsm8k.compute_score\"}",
        "{\"fn\": \"gsm8k.compute_score\", \"call\": {}}",
        "{\"fn\": \"gsm8k.compute_score\", \"call\": {\"solution_str\": \"x\", \"method\": 1}}",
        "{\"fn\": \"math_dapo.compute_score\", \"call\": {\"solution_str\": \"x\"}}",
        "{\"fn\": \"get_soft_overlong_punishment\", \"call\": {\"max_completion_len\": 5}}",
        "{\"fn\": \"get_repetition_penalty_reward\", \"call\": {\"completion_ids\": [1, \"a\"]}}",
        "{\"fn\": \"get_repetition_penalty_reward\", \"call\": {\"completion_ids\": [1], "
        "\"max_penalty\": 1}}",
        "{\"fn\": \"default_compute_score\", \"call\": {\"solution_str\": \"x\", "
        "\"data_source\": \"|\"}}"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rules_result result = rules_score(&parity_area, rows[i]);
        assert_int_equal(result.status, WEIR_REWARD_UNSCORABLE);
        assert_non_null(json_object_get(result.fields, "why"));
        rules_free(&result);
    }
}

static void test_rules_parity_a_batch_lists_its_values(void **state)
{
    (void)state;
    struct rules_result result = rules_score(
        &parity_area, "{\"fn\": \"think_format_reward\", \"call\": {\"completions\": [[{\"content\""
                      ": \"<think>a</think>b\"}], [{\"content\": \"b\"}]]}}");
    assert_true(result.value == 1.0);
    rules_assert_json(json_object_get(result.fields, "list"), "[1.0, 0.0]");
    rules_free(&result);
}

static void test_rules_parity_a_rollout_is_a_call_of_the_configured_function(void **state)
{
    (void)state;
    json_t *row = json_object(), *truth = json_string("7");
    static const int32_t ids[] = {5, 5, 5, 5, 5};
    struct reward_case one = {.row = row,
                              .truth = truth,
                              .response = "so \\boxed{7}",
                              .response_size = 12,
                              .prompt = "",
                              .data_source = "HuggingFaceH4/MATH-500",
                              .response_ids = ids,
                              .response_tokens = 5};
    void *instance = rules_open(&parity_area, "{\"fn\": \"default_compute_score\"}");
    struct rules_result result = rules_score_case(&parity_area, instance, &one);
    assert_true(result.status == WEIR_REWARD_OK && result.value == 1.0);
    rules_free(&result);
    parity_area.destroy(instance);
    instance = rules_open(&parity_area, "{\"fn\": \"get_repetition_penalty_reward\","
                                        "\"kwargs\": {\"ngram_size\": 2}}");
    result = rules_score_case(&parity_area, instance, &one);
    assert_true(result.status == WEIR_REWARD_OK && result.value == -0.75);
    rules_free(&result);
    parity_area.destroy(instance);
    json_decref(row);
    json_decref(truth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_parity_recorded_values_are_identical),
        cmocka_unit_test(test_rules_parity_names_may_be_paths),
        cmocka_unit_test(test_rules_parity_unknown_functions_are_unscorable_with_a_list),
        cmocka_unit_test(test_rules_parity_bad_calls_are_unscorable),
        cmocka_unit_test(test_rules_parity_a_batch_lists_its_values),
        cmocka_unit_test(test_rules_parity_a_rollout_is_a_call_of_the_configured_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
