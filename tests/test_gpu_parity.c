/* links: core kernels */
/* label: gpu */
/* timeout: 300 */
/* The judge of the CUDA backend: every op of KERNEL_OPS on "cuda:0/f32" and "cuda:0" against the double-precision
 * oracle (tests/kernel_cases*.h), and what only a GPU must show (tests/kernel_gpu*.h): rows that do not depend on
 * their neighbours, and fused ops equal to their parts.
 *
 * Each check runs in a process of its own, a few at a time: an illegal address spoils the device for the process
 * that caused it, and a kernel that hangs is stopped. Arguments: names of checks to run, all without. TEST_HERE=1
 * runs them one after another in this process, for compute-sanitizer. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/kernel_gpu_graph.h"

enum { TOGETHER = 16, CHECK_SECONDS = 60, SKIPPED = 77, NO_TABLE = 78 };

static const char *const devices[] = {"cuda:0", "cuda:0/f32"};

struct check {
    const char *name, *device;
    int op;    /* of KERNEL_OPS, or */
    int extra; /* of gpu_checks */
    pid_t process;
    FILE *output;
};

/* ---- in the process of a check ---- */

static int check_run(const struct check *check)
{
    struct op_table *table = NULL, *oracle = NULL;
    struct judge judge;
    enum status status = op_table_create(&table, check->device, 1);
    if (status == STATUS_UNSUPPORTED) /* no GPU, or another one: the only reason to skip */
        return NO_TABLE;
    if (status != STATUS_OK) {
        printf("%s: %s\n", check->device, status_last_error());
        return 1;
    }
    CHECK(op_table_create_ref(&oracle) == STATUS_OK);
    if (check->op >= 0)
        judge_run(&judge, check->op, table, oracle, check->device);
    else
        gpu_check_run(&judge, check->extra, table, oracle, check->device);
    double seconds = (double)clock() / (double)CLOCKS_PER_SEC;
    printf("%-24s %-10s failures %d, largest error %.2f of its bound, %.1f s\n", check->name,
           check->device, judge.failures, judge.worst, seconds);
    op_table_destroy(&table);
    op_table_destroy(&oracle);
    return judge.failures > 0;
}

static void check_start(struct check *check)
{
    check->output = tmpfile();
    CHECK(check->output);
    (void)fflush(NULL);
    check->process = fork();
    CHECK(check->process >= 0);
    if (check->process > 0)
        return;
    (void)dup2(fileno(check->output), STDOUT_FILENO);
    (void)dup2(fileno(check->output), STDERR_FILENO);
    (void)alarm(CHECK_SECONDS);
    int code = check_run(check);
    (void)fflush(NULL);
    _exit(code);
}

/* ---- in the first process, which never touches the GPU ---- */

static int check_wait(struct check *check)
{
    char line[512];
    int state = 0;
    CHECK(waitpid(check->process, &state, 0) == check->process);
    rewind(check->output);
    while (fgets(line, sizeof line, check->output))
        (void)fputs(line, stdout);
    (void)fclose(check->output);
    (void)fflush(stdout);
    if (WIFSIGNALED(state))
        printf("%-24s %-10s stopped by signal %d%s\n", check->name, check->device, WTERMSIG(state),
               WTERMSIG(state) == SIGALRM ? ": it hangs" : "");
    return WIFEXITED(state) ? WEXITSTATUS(state) : 1;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc < 2;
}

static int list_checks(struct check *checks, int argc, char **argv)
{
    int count = 0;
    for (int d = 0; d < COUNT(devices); d++) {
        for (int op = 0; op < OP_COUNT; op++)
            if (wanted(op_cases[op].name, argc, argv))
                checks[count++] = (struct check){op_cases[op].name, devices[d], op, -1, 0, NULL};
        for (int n = 0; n < COUNT(gpu_checks); n++)
            if (wanted(gpu_checks[n].name, argc, argv))
                checks[count++] = (struct check){gpu_checks[n].name, devices[d], -1, n, 0, NULL};
    }
    return count;
}

static int run_here(const struct check *checks, int count)
{
    int failed = 0;
    for (int n = 0; n < count; n++)
        failed += check_run(&checks[n]) != 0;
    return failed > 0;
}

int main(int argc, char **argv)
{
    static struct check checks[COUNT(devices) * (OP_COUNT + COUNT(gpu_checks))];
    int count = list_checks(checks, argc, argv), failed = 0;
    if (getenv("TEST_HERE"))
        return run_here(checks, count);
    for (int n = 0; n < count + TOGETHER; n++) {
        if (n >= TOGETHER && n - TOGETHER < count) {
            int code = check_wait(&checks[n - TOGETHER]);
            if (code == NO_TABLE) {
                printf("skipped: no GPU of this build's architecture here\n");
                return SKIPPED;
            }
            failed += code != 0;
        }
        if (n < count)
            check_start(&checks[n]);
    }
    printf("%d of %d checks failed (TEST_SEED=%" PRIu64 ")\n", failed, count, test_seed());
    return failed > 0;
}
