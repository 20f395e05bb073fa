/* links: reward_rules */
/* The format reward: each rule held and broken by itself, and TRL's think_format_reward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "tests/rules_case.h"

static struct rules_result score(const char *config, const char *prompt, const char *response,
                                 uint32_t finish)
{
    json_t *row = json_object();
    struct reward_case one = {.row = row,
                              .response = response,
                              .prompt = prompt,
                              .response_size = strlen(response),
                              .data_source = "",
                              .finish_reason = finish};
    void *instance = rules_open(&format_area, config);
    struct rules_result result = rules_score_case(&format_area, instance, &one);
    assert_int_equal(result.status, WEIR_REWARD_OK);
    format_area.destroy(instance);
    json_decref(row);
    return result;
}

/* The only rule that the response breaks; NULL: none. */
static void breaks(const char *config, const char *prompt, const char *response, uint32_t finish,
                   const char *broken)
{
    static const char *const rules[] = {"think_once", "think_first", "answer", "wrapper_once",
                                        "eos"};
    struct rules_result result = score(config, prompt, response, finish);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const json_t *held = json_object_get(result.fields, rules[i]);
        bool expected = broken == NULL || strcmp(broken, rules[i]) != 0;
        if (held != NULL && json_is_true(held) != expected)
            fail_msg("%s: rule %s is %s", response, rules[i],
                     json_is_true(held) ? "held" : "broken");
        if (held == NULL && !expected)
            fail_msg("%s: no rule %s", response, rules[i]);
    }
    assert_true(result.value == (broken == NULL ? 1.0 : 0.0));
    rules_free(&result);
}

static void test_rules_format_each_rule_can_be_the_only_one_broken(void **state)
{
    (void)state;
    static const char boxed[] = "{\"wrapper\": \"boxed\"}";
    breaks(boxed, "", "<think>a</think> \\boxed{1}", WEIR_REWARD_FIN_EOS, NULL);
    breaks(boxed, "", "<think>a<think>b</think> \\boxed{1}", WEIR_REWARD_FIN_EOS, "think_once");
    breaks(boxed, "", "<think>a</think></think> \\boxed{1}", WEIR_REWARD_FIN_EOS, "think_once");
    breaks(boxed, "", " <think>a</think> \\boxed{1}", WEIR_REWARD_FIN_EOS, "think_first");
    breaks(boxed, "", "</think><think> \\boxed{1}", WEIR_REWARD_FIN_EOS, "think_first");
    breaks("{}", "", "<think>a</think> \n", WEIR_REWARD_FIN_EOS, "answer");
    breaks(boxed, "", "<think>a</think> 1", WEIR_REWARD_FIN_EOS, "wrapper_once");
    breaks(boxed, "", "<think>\\boxed{2}</think> \\boxed{1}", WEIR_REWARD_FIN_EOS, NULL);
    breaks(boxed, "", "<think>a</think> \\boxed{1} \\boxed{1}", WEIR_REWARD_FIN_EOS,
           "wrapper_once");
    breaks(boxed, "", "<think>a</think> \\boxed{1", WEIR_REWARD_FIN_EOS, "wrapper_once");
    breaks(boxed, "", "<think>a</think> \\boxed{1}", WEIR_REWARD_FIN_LENGTH, "eos");
    breaks("{\"eos\": false}", "", "<think>a</think> 1", WEIR_REWARD_FIN_LENGTH, NULL);
}

static void test_rules_format_wrappers_are_counted(void **state)
{
    (void)state;
    static const char fence[] = "{\"wrapper\": \"fence\", \"thinking\": \"none\"}";
    breaks(fence, "", "```python\nx\n```", WEIR_REWARD_FIN_EOS, NULL);
    breaks(fence, "", "```python\nx\n", WEIR_REWARD_FIN_EOS, "wrapper_once");
    breaks(fence, "", "```\nx\n```\n~~~\ny\n~~~", WEIR_REWARD_FIN_EOS, "wrapper_once");
    breaks(fence, "", "~~~~\n```\n~~~\n~~~~", WEIR_REWARD_FIN_EOS, NULL);
    breaks(fence, "", "``` inline ```", WEIR_REWARD_FIN_EOS, "wrapper_once");
    static const char tag[] = "{\"wrapper\": \"answer\", \"thinking\": \"none\"}";
    breaks(tag, "", "<answer>x</answer>", WEIR_REWARD_FIN_EOS, NULL);
    breaks(tag, "", "<answer> </answer>", WEIR_REWARD_FIN_EOS, "wrapper_once");
    breaks(tag, "", "</answer>x<answer>", WEIR_REWARD_FIN_EOS, "wrapper_once");
    breaks(tag, "", "<answer>x</answer><answer>y</answer>", WEIR_REWARD_FIN_EOS, "wrapper_once");
}

static void test_rules_format_a_prompt_may_have_opened_the_thinking(void **state)
{
    (void)state;
    breaks("{}", "Question <think>\n", "a</think> 1", WEIR_REWARD_FIN_EOS, NULL);
    breaks("{}", "Question <think>\n", "<think>a</think> 1", WEIR_REWARD_FIN_EOS, "think_once");
    breaks("{}", "Question", "a<think></think> 1", WEIR_REWARD_FIN_EOS, "think_first");
}

static void test_rules_format_a_fraction_counts_the_rules_that_hold(void **state)
{
    (void)state;
    struct rules_result result =
        score("{\"score\": \"fraction\"}", "", "<think>a</think> 1", WEIR_REWARD_FIN_REPETITION);
    assert_true(result.value == 0.75);
    rules_free(&result);
}

static void test_rules_format_trl_is_its_expression(void **state)
{
    (void)state;
    static const struct {
        const char *response;
        double value;
    } rows[] = {
        {"<think>\na\n</think>\nb", 1.0},   {"<think></think>", 1.0},
        {"<think>a</think></think>b", 1.0}, {"<think>a<think>b</think>", 0.0},
        {"<think>a</think>b<think>", 0.0},  {" <think>a</think>", 0.0},
        {"x\n<think>a</think>", 0.0},       {"<think>a", 0.0},
        {"</think><think>", 0.0},           {"", 0.0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rules_result result =
            score("{\"rule\": \"trl_think\"}", "", rows[i].response, WEIR_REWARD_FIN_LENGTH);
        if (result.value != rows[i].value)
            fail_msg("%s gives %g", rows[i].response, result.value);
        rules_free(&result);
    }
}

static void test_rules_format_settings_and_rows_are_checked(void **state)
{
    (void)state;
    rules_refused(&format_area, "{\"wrapper\": \"box\"}", "none|boxed|fence|answer");
    rules_refused(&format_area, "{\"eos\": 1}", "eos");
    rules_refused(&format_area, "{\"wrappers\": \"boxed\"}", "wrappers");
    struct rules_result result =
        rules_score(&format_area, "{\"response\": \"x\", \"wrapper\": \"xml\"}");
    assert_int_equal(result.status, WEIR_REWARD_UNSCORABLE);
    rules_free(&result);
    result = rules_score(&format_area, "{\"response\": \"<think>x</think>y\", \"finish_reason\": "
                                       "\"length\"}");
    assert_true(result.status == WEIR_REWARD_OK && result.value == 0.0);
    rules_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_format_each_rule_can_be_the_only_one_broken),
        cmocka_unit_test(test_rules_format_wrappers_are_counted),
        cmocka_unit_test(test_rules_format_a_prompt_may_have_opened_the_thinking),
        cmocka_unit_test(test_rules_format_a_fraction_counts_the_rules_that_hold),
        cmocka_unit_test(test_rules_format_trl_is_its_expression),
        cmocka_unit_test(test_rules_format_settings_and_rows_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
