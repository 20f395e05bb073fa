/* weir run, up, down: a run in the foreground, in the background, and its end. */
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

enum { UP_START_MS = 20000, DOWN_PAUSE_MS = 100, DOWN_SAY_MS = 5000, DOWN_EXTRA_S = 12 };

int cmd_run(int argc, char **argv)
{
    static struct run run;
    static struct run_request request = {.command = "run"};
    if (run_is_dry(argc, argv))
        return command_become("run", "weir-plan", NULL, argc, argv);
    int code = run_parse(&request, argc, argv);
    if (code == EXIT_CODE_OK)
        code = run_prepare(&run, &request);
    if (code != EXIT_CODE_OK)
        return code;
    if (request.check) {
        run_print_plan(&run);
    } else {
        code = run_start(&run);
        if (code == EXIT_CODE_OK)
            code = run_attend(&run);
    }
    run_release(&run);
    return code;
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
    if (code != EXIT_CODE_OK)
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
               "weir top %s; end it with weir down %s\n",
               run->folder.path, (long)pid, run->folder.logs, run->folder.name, run->folder.name,
               run->folder.name);
        return EXIT_CODE_OK;
    }
    int ended = 0;
    waitpid(pid, &ended, 0); /* its pipe is closed: it is leaving, and has said why */
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : EXIT_CODE_FAILED;
}

int cmd_up(int argc, char **argv)
{
    static struct run run;
    static struct run_request request = {.command = "up"};
    int report[2];
    if (run_is_dry(argc, argv))
        return command_become("up", "weir-plan", NULL, argc, argv);
    int code = run_parse(&request, argc, argv);
    if (code == EXIT_CODE_OK)
        code = run_prepare(&run, &request);
    if (code != EXIT_CODE_OK)
        return code;
    if (request.check) {
        run_print_plan(&run);
        return code;
    }
    fflush(NULL);
    pid_t pid = pipe2(report, O_CLOEXEC) == 0 ? fork() : -1;
    if (pid < 0) {
        fprintf(stderr, "weir up: fork: %s\n", strerror(errno));
        run_folder_discard(&run.folder);
        return EXIT_CODE_FAILED;
    }
    if (pid == 0) {
        close(report[0]);
        code = attend_in_background(&run, report[1]);
        run_release(&run);
        return code;
    }
    close(report[1]);
    return wait_started(&run, pid, report[0]); /* the lock lives on in the child */
}

/* ---- down ---- */

static bool gone(const struct known_run *known)
{
    return run_folder_holder(known->folder, NULL) == 0;
}

int cmd_down(int argc, char **argv)
{
    struct known_run known;
    if (argc > 1 || (argc == 1 && argv[0][0] == '-'))
        return command_usage("down", "at most one run");
    enum status status = known_run_find(&known, argc == 1 ? argv[0] : NULL);
    if (status != STATUS_OK)
        return command_failed("down", status);
    if (known.supervisor == 0) {
        printf("run %s is over already\n", known.name);
        return EXIT_CODE_OK;
    }
    bool again = strcmp(known.state, "draining") == 0;
    if (kill(known.supervisor, again ? SIGINT : SIGTERM) != 0) {
        fprintf(stderr, "weir down: process %ld: %s\n", (long)known.supervisor, strerror(errno));
        return EXIT_CODE_FAILED;
    }
    printf(again ? "run %s was draining; stopping it at once\n"
                 : "run %s drains and checkpoints; weir down again stops it at once\n",
           known.name);
    fflush(stdout);
    struct wait wait =
        wait_begin("end of the run", known.name, (int64_t)(known.drain_s + DOWN_EXTRA_S) * 1000);
    int64_t say_at_ns = clock_now_ns() + (int64_t)DOWN_SAY_MS * CLOCK_NS_PER_MS;
    while (!gone(&known) && wait_left_ms(&wait) > 0) {
        clock_sleep_ms(DOWN_PAUSE_MS);
        if (clock_now_ns() >= say_at_ns) {
            printf("still waiting for process %ld\n", (long)known.supervisor);
            fflush(stdout);
            say_at_ns += (int64_t)DOWN_SAY_MS * CLOCK_NS_PER_MS;
        }
    }
    status = wait_end(&wait, gone(&known));
    if (status != STATUS_OK)
        return command_failed("down", status);
    printf("run %s has ended\n", known.name);
    return EXIT_CODE_OK;
}
