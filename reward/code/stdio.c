/* reward/code/stdio.c - a program that reads stdin and prints: one run a test, compared here, where no program can reach. */
#include <stdio.h>
#include <string.h>

#include "reward/code/compare.h"
#include "reward/code/work.h"

enum { FIRST = 10, SHOWN = 60 };

/* The first token or line that differs is not told: a response may be shown to the policy. What it printed is. */
static void tell_wrong(struct code_work *work, size_t index, const struct sandbox_result *result)
{
    char shown[SHOWN + 1];
    size_t n = 0;
    for (; n < SHOWN && n < result->output_size; n++)
        shown[n] =
            (char)(result->output[n] >= ' ' && result->output[n] < 127 ? result->output[n] : ' ');
    shown[n] = '\0';
    code_fail(work, index, CODE_WA, "printed \"%s\"%s", shown,
              result->output_size > SHOWN ? "..." : "");
}

/* False: no verdict for the whole response. */
static bool judge_output(struct code_work *work, struct code_validating *validating, size_t index,
                         const struct sandbox_result *result, bool *passed)
{
    const struct code_problem *problem = work->problem;
    const struct code_test *test = &problem->tests[index];
    struct code_text output = {(const char *)result->output, result->output_size};
    char why[200] = "";
    if (validating == NULL)
        *passed = code_compare_outputs(&problem->compare, output, test->output);
    else if (!code_validate(work, validating, test, output, passed, why, sizeof why))
        return false;
    if (!*passed && why[0] != '\0')
        code_fail(work, index, CODE_WA, "the validator: %s", why);
    else if (!*passed)
        tell_wrong(work, index, result);
    return true;
}

static bool run_test(struct code_work *work, const struct code_program *program,
                     struct code_validating *validating, size_t index, bool *passed)
{
    const struct code_test *test = &work->problem->tests[index];
    struct sandbox_file file;
    struct sandbox_run run = {SANDBOX_RUN, .input = test->input.at, .input_size = test->input.size};
    code_program_run(work, program, &run, &file);
    run.limits = code_limits(work, 1);
    run.limits.output_bytes += (int64_t)test->output.size * 4;
    if (program->language != CODE_PYTHON)
        run.limits.disk_bytes += (int64_t)file.size;
    if ((int64_t)file.size > run.limits.file_bytes)
        run.limits.file_bytes = (int64_t)file.size;
    struct sandbox_result result;
    if (!code_execute(work, &run, &result))
        return false;
    enum code_verdict verdict;
    char why[300];
    bool good = true;
    *passed = code_ended_well(work, &result, &verdict, why, sizeof why);
    if (*passed)
        good = judge_output(work, validating, index, &result, passed);
    else
        code_fail(work, index, verdict, "%s", why);
    sandbox_result_free(&result);
    return good;
}

static void run_tests(struct code_work *work, const struct code_program *program,
                      struct code_validating *validating)
{
    const struct code_problem *problem = work->problem;
    for (size_t i = 0; i < problem->test_count; i++) {
        bool passed = false;
        bool good = validating != NULL && problem->validator.interactive
                        ? code_interact(work, validating, program, i, &passed)
                        : run_test(work, program, validating, i, &passed);
        if (!good)
            return;
        work->passed += passed;
        work->passed_first += passed && i < FIRST;
        if (work->first >= 0 &&
            (work->settings->fraction == CODE_FRACTION_NONE ||
             (work->settings->fraction == CODE_FRACTION_FIRST10 && i + 1 >= FIRST)))
            return;
    }
}

void code_stdio(struct code_work *work)
{
    struct code_program program = {0};
    struct code_validating *validating = NULL;
    work->total = work->problem->test_count;
    if (code_program_make(work, &program) &&
        (work->problem->checker != CODE_VALIDATOR || code_validating_make(work, &validating)))
        run_tests(work, &program, validating);
    code_validating_free(&validating);
    code_program_free(&program);
}
