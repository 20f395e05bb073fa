/* links: reward_code sandbox core */
/* label: integration */
/* timeout: 300 */
/* Programs that try to be scored without solving the task get nothing: tests/forgeries. */
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
    size_t wrong = code_cases_run(bed, path, 0, step, &count);
    printf("%s: %zu programs, %zu wrong\n", path, count, wrong);
    assert_int_equal(wrong, 0);
    assert_true(getenv("CODE_CASE") != NULL || count * step >= least);
}

static void test_code_forgery_functions_score_zero(void **state)
{
    run(state, SOURCE_DIR "/tests/forgeries/functions.txt", 70);
}

static void test_code_forgery_programs_score_zero(void **state)
{
    run(state, SOURCE_DIR "/tests/forgeries/programs.txt", 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_forgery_functions_score_zero),
        cmocka_unit_test(test_code_forgery_programs_score_zero),
    };
    return cmocka_run_group_tests(tests, code_bed_open, code_bed_close);
}
