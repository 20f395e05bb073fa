/* weir run and up: a run in the foreground and in the background. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/run.h"
#include "ops/signals.h"

enum { UP_START_MS = 20000 };

int run_in_foreground(struct run *run, struct run_request *request)
{
    int code = run_prepare(run, request);
    if (code != EXIT_CODE_OK)
        return code;
    if (request->check) {
        run_print_plan(run);
    } else {
        code = run_start(run);
        if (code == EXIT_CODE_OK && !run->told_to_end)
            code = run_attend(run);
    }
    run_release(run);
    return code;
}

int cmd_run(int argc, char **argv)
{
    static struct run run;
    static struct run_request request = {.command = "run"};
    if (run_is_dry(argc, argv))
        return command_become("run", "weir-plan", NULL, argc, argv);
    int code = run_parse(&request, argc, argv);
    return code == EXIT_CODE_OK ? run_in_foreground(&run, &request) : code;
}

/* ---- up ---- */

static int redirect_output(const struct run *run)
{
    char path[FILE_PATH_MAX];
    int fd = file_path(path, "%s/weir.log", run->folder.logs) == STATUS_OK
                 ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)
                 : -1;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
        dup2(fd, STDERR_FILENO) < 0)
        return -1;
    close(fd);
    close(null);
    return 0;
}

/* The background supervisor. Tells the waiting command through `report` that all is started. */
static int attend_in_background(struct run *run, int report)
{
    setsid();
    if (run_folder_note(&run->folder, "running") != STATUS_OK)
        return command_failed("up", STATUS_IO);
    int code = run_start(run);
    if (code != EXIT_CODE_OK || run->told_to_end)
        return code;
    if (redirect_output(run) != 0)
        fprintf(stderr, "weir up: weir.log: %s\n", strerror(errno));
    ssize_t told = write(report, "1", 1);
    (void)told;
    close(report);
    return run_attend(run);
}

static int wait_started(const struct run *run, pid_t pid, int report)
{
    struct pollfd fd = {.fd = report, .events = POLLIN};
    char byte = 0;
    enum status status = wait_poll("start of the run", run->folder.name, UP_START_MS, &fd, 1);
    if (status != STATUS_OK)
        return command_failed("up", status);
    if (read(report, &byte, 1) == 1) {
        printf("run        %s (process %ld)\noutput     %s/weir.log\nwatch      weir status %s | "
               "weir top %s | weir logs -f %s\nend        weir stop %s\n",
               run->folder.path, (long)pid, run->folder.logs, run->folder.name, run->folder.name,
               run->folder.name, run->folder.name);
        return EXIT_CODE_OK;
    }
    int ended = 0;
    waitpid(pid, &ended, 0); /* its pipe is closed: it is leaving, and has said why */
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : EXIT_CODE_FAILED;
}

int run_in_background(struct run *run, struct run_request *request)
{
    int report[2];
    int code = run_prepare(run, request);
    if (code != EXIT_CODE_OK)
        return code;
    if (request->check) {
        run_print_plan(run);
        return code;
    }
    if (run_told_to_end(run, &code)) {
        run_release(run);
        return code;
    }
    fflush(NULL);
    pid_t pid = pipe2(report, O_CLOEXEC) == 0 ? fork() : -1;
    if (pid < 0) {
        fprintf(stderr, "weir %s: fork: %s\n", request->command, strerror(errno));
        run_folder_discard(&run->folder);
        return EXIT_CODE_FAILED;
    }
    if (pid == 0) {
        close(report[0]);
        code = attend_in_background(run, report[1]);
        run_release(run);
        return code;
    }
    close(report[1]);
    signals_unblock(); /* Ctrl-C ends this waiting; the run goes on in its session */
    return wait_started(run, pid, report[0]); /* the lock lives on in the child */
}

int cmd_up(int argc, char **argv)
{
    static struct run run;
    static struct run_request request = {.command = "up"};
    if (run_is_dry(argc, argv))
        return command_become("up", "weir-plan", NULL, argc, argv);
    int code = run_parse(&request, argc, argv);
    return code == EXIT_CODE_OK ? run_in_background(&run, &request) : code;
}
