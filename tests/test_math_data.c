/* links: reward_math */
/* label: integration */
/* timeout: 120 */
/* Every gold answer of GSM8K, MATH-500 and the DeepMath sample against itself in the forms that responses have, against
 * a wrong one, and the solutions as they were published. WEIR_DATA names the folder with gsm8k/, math500/, deepmath/.
 * More forms: tests/math_variants.py. */
#include "tests/math_case.h"

struct tally {
    size_t right, right_rows, accepted, wrong_rows;
};

static void tell(const char *what, const char *gold, const char *text)
{
    print_message("%s: gold %.80s, response ...%.120s\n", what, gold, text);
}

static void one(void *instance, const char *source, const char *gold, const char *form,
                const char *inside, bool right, struct tally *tally)
{
    char text[2600];
    int size = snprintf(text, sizeof text, form, inside);
    if (size < 0 || (size_t)size >= sizeof text)
        return;
    json_t *row =
        json_pack("{s:s, s:s, s:s}", "gold", gold, "response", text, "data_source", source);
    assert_non_null(row);
    struct math_score score = math_score_row(instance, row);
    json_decref(row);
    *(right ? &tally->right_rows : &tally->wrong_rows) += 1;
    if (right)
        tally->right += score.value == 1 ? 1 : 0;
    else
        tally->accepted += score.value == 0 ? 0 : 1;
    if ((score.value == 1) != right)
        tell(right ? "not accepted" : "not refused", gold, text);
}

static void forms(void *instance, const char *source, const char *gold, struct tally *tally)
{
    static const char *const right[] = {
        "We get $\\boxed{%s}$.",
        "\\[\\boxed{ %s }\\]",
        "<think>\\boxed{-99173}</think> It is $\\boxed{%s}$.",
        "Final Answer: The final answer is $%s$. I hope it is correct.",
        "**Answer:** $%s$",
        "Therefore the answer is $%s$"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        one(instance, source, gold, right[i], gold, true, tally);
    one(instance, source, gold, "\\boxed{%s, 1017}", gold, false, tally);
    one(instance, source, gold, "\\boxed{-99173} %s", "", false, tally);
    if (strspn(gold, "-0123456789") == strlen(gold)) {
        char number[40];
        snprintf(number, sizeof number, "%lld", atoll(gold) + 1);
        one(instance, source, gold, "\\boxed{%s}", number, false, tally);
        one(instance, source, gold, "\\boxed{%s.0}", gold, true, tally);
    }
}

static void data_set(const char *name, const char *source, double at_least)
{
    char path[600], *line = NULL;
    const char *folder = getenv("WEIR_DATA");
    size_t room = 0, rows = 0;
    struct tally tally = {0};
    if (folder == NULL) {
        print_message("WEIR_DATA is not set: %s is not scored\n", name);
        skip();
        return;
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    void *instance = math_instance("{\"time_ms\": 5000}");
    while (getline(&line, &room, file) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        const char *gold = json_string_value(json_object_get(row, "answer"));
        const char *hash = strstr(gold, "#### ");
        if (hash != NULL) {
            one(instance, source, hash + 5, "%s", gold, true, &tally);
            one(instance, source, gold, "\\boxed{%s}", hash + 5, true, &tally);
        }
        forms(instance, source, hash != NULL ? hash + 5 : gold, &tally);
        const char *solution = json_string_value(json_object_get(row, "solution"));
        if (solution != NULL && strlen(solution) < 2500)
            one(instance, source, gold, "%s", solution, true, &tally);
        json_decref(row);
        rows++;
    }
    free(line);
    fclose(file);
    math_area.destroy(instance);
    print_message(
        "%s: %zu golds, %zu of %zu right forms accepted, %zu of %zu wrong ones accepted\n", name,
        rows, tally.right, tally.right_rows, tally.accepted, tally.wrong_rows);
    assert_true(rows > 0);
    assert_true((double)tally.right >= at_least * (double)tally.right_rows);
    assert_int_equal(tally.accepted, 0);
}

static void test_math_data_gsm8k_golds_are_accepted(void **state)
{
    (void)state;
    data_set("gsm8k/test.jsonl", "gsm8k", 0.999);
}

static void test_math_data_gsm8k_training_golds_are_accepted(void **state)
{
    (void)state;
    data_set("gsm8k/train.jsonl", "gsm8k", 0.999);
}

static void test_math_data_math500_golds_are_accepted(void **state)
{
    (void)state;
    data_set("math500/test.jsonl", "math500", 0.995);
}

static void test_math_data_deepmath_golds_are_accepted(void **state)
{
    (void)state;
    data_set("deepmath/train_sample.jsonl", "deepmath", 0.995);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_math_data_gsm8k_golds_are_accepted),
        cmocka_unit_test(test_math_data_gsm8k_training_golds_are_accepted),
        cmocka_unit_test(test_math_data_math500_golds_are_accepted),
        cmocka_unit_test(test_math_data_deepmath_golds_are_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
