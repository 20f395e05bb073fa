/* reward/swe/suite.h - runs the tests of a repository in the sandbox, and reads what each did. Any thread. */
#ifndef REWARD_SWE_SUITE_H
#define REWARD_SWE_SUITE_H

#include "reward/swe/tree.h"
#include "sandbox/sandbox.h"

struct suite_options {
    struct sandbox *sandbox;
    const char
        *command; /* as in the instance: "python3 -m unittest -v x_test", or any shell command */
    struct sandbox_limits limits;
    /* Unit tests run once more, with assertions that always raise: a test that passes there and has assertions was not run,
     * unless it does the same in this tree, which holds nothing of the model. NULL: no control. */
    const struct tree *pristine;
};

struct suite_report {
    json_t *
        outcomes; /* owned: test id -> "PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "TAMPERED" */
    json_t *asserting; /* owned: of them, those with an assertion in them, as a set */
    bool ended;        /* the runner said its last word; of shell commands: it exited */
    bool
        forged; /* the control, or the guard of the runner, found that results are made up; why says how */
    enum sandbox_limit limit; /* that ended it */
    char why[256];
};

/* IO: the sandbox failed (nothing is known about the tests); LIMIT, NO_MEMORY. */
MUST_CHECK enum status suite_run(const struct tree *tree, const struct suite_options *options,
                                 struct suite_report *report);
void suite_report_free(struct suite_report *report);
/* How the test named in an instance ended: its full id, its last part, or "name (module.Class)". NULL: it did not run.
 * Several tests of that name: the worst of them. */
const char *suite_outcome(const struct suite_report *report, const char *test);

#endif
