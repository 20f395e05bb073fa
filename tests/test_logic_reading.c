/* links: reward_logic reward_answer core */
/* What is read out of responses: literals as Python and JSON write them, the last answer in its wrappers, grids, pairs,
 * numbers; and the values of small formulas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reward/logic/bracket.h"
#include "reward/logic/expression.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

static struct answer_span span(const char *text)
{
    return (struct answer_span){text, strlen(text)};
}

static void expect_json(json_t *value, const char *wanted)
{
    if (wanted == NULL) {
        assert_null(value);
        return;
    }
    assert_non_null(value);
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, wanted);
    free(text);
    json_decref(value);
}

static void test_literal_python_and_json_read_alike(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned flags;
        const char *wanted; /* NULL: refused */
    } cases[] = {
        {"[[1, 2], (3, 4.5)]", 0, "[[1,2],[3,4.5]]"},
        {"{'a': True, \"b\": [None, -7],}", 0, "{\"a\":true,\"b\":[null,-7]}"},
        {"{(1, 2): 'x', 3: 'y'}", 0, "{\"1,2\":\"x\",\"3\":\"y\"}"},
        {"{1, 2}", 0, "[1,2]"},
        {"{}", 0, "{}"},
        {"()", 0, "[]"},
        {"'it\\'s \\u2190 \\x41'", 0, "\"it's \xe2\x86\x90 A\""},
        {"\"\\ud83d\\ude00\"", 0, "\"\xf0\x9f\x98\x80\""},
        {"1e400", 0, NULL},
        {"[1 2]", 0, NULL},
        {"[a]", 0, NULL},
        {"[1, 2", 0, NULL},
        {"[1, 2)", 0, NULL},
        {"{1: 2, 3}", 0, NULL},
        {"'\\ud800'", 0, NULL},
        {"[1] x", 0, NULL},
        {"[[1 2,3 4]]", LITERAL_WORDS, "[[\"1 2\",\"3 4\"]]"},
        {"[[X, 1], [A, b c]]", LITERAL_WORDS, "[[\"X\",1],[\"A\",\"b c\"]]"},
        {"[[1 2]\n [3 4]]", LITERAL_WORDS, "[[\"1 2\"],[\"3 4\"]]"},
        {"\\{(0,1),(2,3)\\}", LITERAL_WORDS, "[[0,1],[2,3]]"},
        {"[don't, stop]", LITERAL_WORDS, "[\"don't\",\"stop\"]"},
        {"[[[[[[[[[[1]]]]]]]]]]", 0, "[[[[[[[[[[1]]]]]]]]]]"},
        {"[[[[[[[[[[[1]]]]]]]]]]]", 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_json(literal_read(span(cases[i].text), cases[i].flags), cases[i].wanted);
}

static void test_literal_last_one_of_a_text_is_found(void **state)
{
    (void)state;
    expect_json(literal_last(span("first [1], then [[2], [3]] (see (4))"), 2, LITERAL_WORDS),
                "[[2],[3]]");
    expect_json(literal_last(span("a [1, 2] b [3"), 1, 0), "[1,2]");
    expect_json(literal_last(span("\\boxed{[[1], [2]]}"), 2, LITERAL_WORDS), "[[[1],[2]]]");
    expect_json(literal_last(span("[ [ [ ("), 1, LITERAL_WORDS), NULL);
    expect_json(literal_last(span("[\"]\", ')'] [x"), 1, 0), "[\"]\",\")\"]");
}

static void test_reading_short_answers_come_out_of_their_wrappers(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"So \\boxed{7}.", "7"},
        {"\\boxed{1}, no: \\boxed{ \\text{A, C} }", "A, C"},
        {"**no, no, yes**", "no, no, yes"},
        {"The answer is **yes, no**.", "yes, no"},
        {"**Final Answer:** 5", "5"},
        {"**Answer**: 5.", "5"},
        {"answer is $42$", "42"},
        {"ok\n```python\n(1 + 2) * 3\n```\n", "(1 + 2) * 3"},
        {"final ```python 1 + 2```", "1 + 2"},
        {"```json\n{\"result\": [{\"answer\": \"8.00\"}]}\n```", "8.00"},
        {"```json\n{\"result\": [{\"answer\": 8.5}]}\n```", "8.5"},
        {"<answer>[3,10]</answer>", "[3,10]"},
        {"long story\n\n266 + 256 = 522", "266 + 256 = 522"},
        {"答案是：3 + 4 = 7。", "3 + 4 = 7"},
        {"\\boxed{5} because the answer is in the set", "5"},
        {"```\nx = 1\n```\nThe answer is 7", "7"},
        {"\"\"", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer_span got = reading_short(span(cases[i][0]));
        char text[128] = "";
        assert_true(got.size < sizeof text);
        if (got.size > 0)
            memcpy(text, got.at, got.size);
        assert_string_equal(text, cases[i][1]);
    }
}

static void test_reading_grids_come_as_lists_rows_and_lines(void **state)
{
    (void)state;
    static const char *const same[] = {"[[1, 2], [3, 4]]",
                                       "[[1 2,3 4]]",
                                       "x [['1', '2'], ['3', '4']] y",
                                       "((1,2),(3,4))",
                                       "1 2\n3 4",
                                       "| 1 | 2 |\n|---|---|\n| 3 | 4 |",
                                       "```\n12\n34\n```",
                                       "[\"1 2\", \"3 4\"]",
                                       "[[9, 9], [9, 9]]\nno:\n[[1, 2], [3, 4]]",
                                       "{\"grid\": [[1, 2], [3, 4]]}",
                                       "[[1 2]\n [3 4]]",
                                       "\\boxed{[[1,2],[3,4]]}"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        json_t *grid = reading_grid(span(same[i]), 2, 2);
        if (grid == NULL)
            fail_msg("no grid in %s", same[i]);
        for (size_t k = 0; k < 4; k++) {
            int number = 0;
            assert_true(reading_cell_int(grid, k / 2, k % 2, &number));
            assert_int_equal(number, (int)k + 1);
        }
        json_decref(grid);
    }
    assert_null(reading_grid(span("[[1, 2], [3, 4]]"), 3, 2));
    assert_null(reading_grid(span("[[1, 2], [3]]"), 2, 2));
    assert_null(reading_grid(span("nothing"), 2, 2));
}

static void test_reading_pairs_come_in_every_bracket(void **state)
{
    (void)state;
    expect_json(reading_pairs(span("[(0, 1), (2, 3)]")), "[[0,1],[2,3]]");
    expect_json(reading_pairs(span(
                    "first [(9, 9), (8, 8), (7, 7)], no [(1, 1), (2, 2)], then {(0,1),(2,3)}")),
                "[[0,1],[2,3]]");
    expect_json(reading_pairs(span("they are (0,1), (2,3) and (4,5)")), "[[0,1],[2,3],[4,5]]");
    expect_json(reading_pairs(span("[[(1,2), (1,3)], [(3,1), (4,1)]]")),
                "[[1,2],[1,3],[3,1],[4,1]]");
    expect_json(reading_pairs(span("[(1,2), (1,3)], [(3,1), (4,1)]")), "[[1,2],[1,3],[3,1],[4,1]]");
    expect_json(reading_pairs(span("none: []")), "[]");
    expect_json(reading_pairs(span("no idea")), NULL);
}

static void test_reading_numbers_with_what_stands_around_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double wanted;
    } right[] = {{"7", 7},
                 {"-3.5", -3.5},
                 {"1,234", 1234},
                 {"2/8", 0.25},
                 {"x = 12", 12},
                 {"120 items", 120},
                 {"\\frac{1}{4}", 0.25},
                 {"1.5e3", 1500},
                 {"$-4$", -4},
                 {"−4", -4},
                 {"about 5", 5},
                 {"-35.55555555555556", -35.55555555555556}};
    double number;
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        if (!reading_number(span(right[i].text), &number))
            fail_msg("no number in %s", right[i].text);
        assert_true(number == right[i].wanted);
    }
    static const char *const wrong[] = {"", "none", "3 or 4", "1 and 2/3", "12 12", "-"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(reading_number(span(wrong[i]), &number));
    assert_true(reading_same_words(span(" Red  Book "), "red book"));
    assert_false(reading_same_words(span("redbook"), "red book"));
}

static void test_expression_values_are_exact(void **state)
{
    (void)state;
    const unsigned all = 511;
    static const struct {
        const char *text;
        int64_t numerator, denominator;
    } right[] = {{"8/(3-8/3)", 24, 1},       {"1/3+1/6", 1, 2},   {"-7%3", 2, 1},
                 {"-7//2", -4, 1},           {"2**3**2", 512, 1}, {"-2**2", -4, 1},
                 {"(1+2)×3", 9, 1},          {"6\\div4", 3, 2},   {"\\frac{1}{2}+0.25", 3, 4},
                 {"7%4%5-3-2*(0-6)", 12, 1}, {"1/3*3", 1, 1},     {"2^-1", 1, 2}};
    struct fraction value;
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        if (!expression_value(span(right[i].text), all, &value, NULL))
            fail_msg("no value: %s", right[i].text);
        assert_int_equal(value.numerator, right[i].numerator);
        assert_int_equal(value.denominator, right[i].denominator);
    }
    static const char *const wrong[] = {"",       "1/0",      "5%0", "(1",
                                        "1)",     "1 2",      "a+1", "9999999999999999999",
                                        "99**99", "2**(1/2)", "1++", "9223372036854775807+1",
                                        "()"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(expression_value(span(wrong[i]), all, &value, NULL));
    assert_false(expression_value(span("1-2"), EXPRESSION_ADD, &value, NULL));
    assert_false(expression_value(span("2**2"), EXPRESSION_MULTIPLY, &value, NULL));
    struct expression_leaves leaves;
    assert_true(expression_value(span("(10-4)*3"), all, &value, &leaves));
    assert_int_equal(leaves.count, 3);
    assert_int_equal(leaves.value[0], 10);
}

static void test_bracket_sequences_are_drawn_and_judged(void **state)
{
    (void)state;
    struct rng rng;
    char text[BRACKET_LENGTH_MAX + 1];
    rng_init(&rng, 7, 1, RNG_TEST);
    for (int i = 0; i < 300; i++) {
        int length = 2 * (4 + i % 30), closing = 1 + i % (length / 2);
        bracket_draw(&rng, 1 + i % 4, length, closing, text);
        assert_int_equal(strlen(text), length);
        assert_int_equal(bracket_first_error(text), -1);
        for (int k = 0; k < closing; k++)
            assert_true(bracket_open_of(text[length - 1 - k]) != '\0');
    }
    assert_int_equal(bracket_first_error("([)]"), 3);
    assert_int_equal(bracket_first_error(")"), 1);
    assert_int_equal(bracket_first_error("(("), 3);
    assert_int_equal(bracket_first_error("(a)"), 0);
    assert_true(bracket_clean(span("\" ( [ ] ) \""), text));
    assert_string_equal(text, "([])");
    assert_false(bracket_clean(span("x()"), text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literal_python_and_json_read_alike),
        cmocka_unit_test(test_literal_last_one_of_a_text_is_found),
        cmocka_unit_test(test_reading_short_answers_come_out_of_their_wrappers),
        cmocka_unit_test(test_reading_grids_come_as_lists_rows_and_lines),
        cmocka_unit_test(test_reading_pairs_come_in_every_bracket),
        cmocka_unit_test(test_reading_numbers_with_what_stands_around_them),
        cmocka_unit_test(test_expression_values_are_exact),
        cmocka_unit_test(test_bracket_sequences_are_drawn_and_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
