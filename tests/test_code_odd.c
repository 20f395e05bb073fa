/* links: reward_code sandbox core */
/* label: integration */
/* timeout: 300 */
/* Correct programs that do unusual things are not punished: tests/odd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/code_case.h"
#include "tests/slow.h"

static void run(void **state, const char *path, size_t least)
{
    const struct code_bed *bed = *state;
    size_t count, step = test_is_slow() ? 7 : 1;
    if (bed->sandbox == NULL)
        skip();
    size_t wrong = code_cases_run(bed, path, 1, step, &count);
    printf("%s: %zu programs, %zu wrong\n", path, count, wrong);
    assert_int_equal(wrong, 0);
    assert_true(getenv("CODE_CASE") != NULL || count * step >= least);
}

static void test_code_odd_functions_score_one(void **state)
{
    run(state, SOURCE_DIR "/tests/odd/functions.txt", 85);
}

static void test_code_odd_programs_score_one(void **state)
{
    run(state, SOURCE_DIR "/tests/odd/programs.txt", 45);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_odd_functions_score_one),
        cmocka_unit_test(test_code_odd_programs_score_one),
    };
    return cmocka_run_group_tests(tests, code_bed_open, code_bed_close);
}
