/* links: reward_code reward_answer sandbox core */
/* label: unit */
/* Which outputs count as the expected one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "reward/code/compare.h"

static const struct code_compare tokens = {.tolerance = -1},
                                 exact = {.exact = true, .tolerance = -1},
                                 floats = {.tolerance = 1e-6},
                                 anycase = {.ignore_case = true, .tolerance = -1};

static bool same(const struct code_compare *compare, const char *got, const char *wanted)
{
    return code_compare_outputs(compare, (struct code_text){got, strlen(got)},
                                (struct code_text){wanted, strlen(wanted)});
}

static void test_code_compare_tokens_ignore_white_space_only(void **state)
{
    (void)state;
    assert_true(same(&tokens, "1 2\r\n3", " 1\t2 3\n\n"));
    assert_true(same(&tokens, "", "\n"));
    assert_false(same(&tokens, "1 2", "12"));
    assert_false(same(&tokens, "1 2 3", "1 2"));
    assert_false(same(&tokens, "1 2", "1 2 3"));
    assert_false(same(&tokens, "Yes", "YES"));
    assert_false(same(&tokens, "6.0", "6"));
    assert_true(same(&anycase, "yEs", "YeS"));
    assert_false(same(&anycase, "yes", "yet"));
}

static void test_code_compare_bytes_are_not_decoded(void **state)
{
    (void)state;
    const struct code_text nul = {"4\0002", 3}, plain = {"42", 2}, odd = {"\xff\xfe", 2};
    assert_false(code_compare_outputs(&tokens, nul, plain));
    assert_true(code_compare_outputs(&tokens, nul, nul));
    assert_true(code_compare_outputs(&tokens, odd, odd));
    assert_false(code_compare_outputs(&floats, nul, plain));
}

static void test_code_compare_exact_forgives_one_last_newline(void **state)
{
    (void)state;
    assert_true(same(&exact, "1 2\n3", "1 2\n3\n"));
    assert_true(same(&exact, "1 2\n3\n", "1 2\n3"));
    assert_false(same(&exact, "1 2\n3\n\n", "1 2\n3"));
    assert_false(same(&exact, "1  2\n3", "1 2\n3"));
    assert_false(same(&exact, "1 2 \n3", "1 2\n3"));
}

static void test_code_compare_numbers_within_the_tolerance(void **state)
{
    (void)state;
    assert_true(same(&floats, "0.3333333", "0.33333333"));
    assert_true(same(&floats, "1e9", "1000000000"));
    assert_true(same(&floats, "1000000001", "1000000000.0"));
    assert_true(same(&floats, "-0.0", "0"));
    assert_true(same(&floats, "inf", "Infinity"));
    assert_true(same(&floats, "nan", "nan"));
    assert_false(same(&floats, "nan", "1"));
    assert_false(same(&floats, "1", "nan"));
    assert_false(same(&floats, "inf", "-inf"));
    assert_false(same(&floats, "inf", "1e300"));
    assert_false(same(&floats, "0x10", "16"));
    assert_false(same(&floats, "2.50001", "2.5"));
    assert_false(same(&floats, "yes", "yas"));
    assert_false(same(&floats, "1e400", "1e300"));
    assert_false(same(&floats, "", "0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_compare_tokens_ignore_white_space_only),
        cmocka_unit_test(test_code_compare_bytes_are_not_decoded),
        cmocka_unit_test(test_code_compare_exact_forgives_one_last_newline),
        cmocka_unit_test(test_code_compare_numbers_within_the_tolerance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
