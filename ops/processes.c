#include "ops/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

enum { LOG_TAIL_BYTES = 16384, SWEEP_ROUNDS = 200, SWEEP_PAUSE_MS = 10 };

/* Runs in the child between fork and exec: async-signal-safe calls only, because the parent may
 * have threads (libzmq). Reports errno of the failed exec through `report`. */
static void become(const struct process *process, pid_t parent, int log_fd, int report)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before prctl */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    if (log_fd >= 0) {
        dup2(log_fd, STDOUT_FILENO);
        dup2(log_fd, STDERR_FILENO);
    }
    /* execv's array of non-const pointers is history; it changes nothing. */
    execv(process->arguments[0], (char *const *)(uintptr_t)process->arguments);
    int error = errno;
    ssize_t told = write(report, &error, sizeof error);
    (void)told;
    _exit(127);
}

static enum status open_log(struct process *process, int *fd)
{
    *fd = -1;
    if (process->log[0] == 0)
        return STATUS_OK;
    int opened = open(process->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (opened < 0)
        return FAIL(STATUS_IO, "%s: open for appending: %s", process->log, strerror(errno));
    struct stat info;
    process->log_start = fstat(opened, &info) == 0 ? info.st_size : 0;
    *fd = opened;
    return STATUS_OK;
}

/* So that a process that is started a thousand times does not fill the disk. */
static void bound_log(const struct process *process)
{
    struct stat info;
    char old[FILE_PATH_MAX];
    if (process->log[0] == 0 || stat(process->log, &info) != 0 ||
        info.st_size <= PROCESS_LOG_BYTES_MAX ||
        file_path(old, "%s.old", process->log) != STATUS_OK)
        return;
    if (rename(process->log, old) != 0) /* then it grows: a long log is no reason to stop */
        fprintf(stderr, "weir: %s: rename: %s\n", process->log, strerror(errno));
}

enum status process_start(struct process *process, int64_t now_ns)
{
    int log_fd, report[2];
    bound_log(process);
    TRY(open_log(process, &log_fd));
    if (pipe2(report, O_CLOEXEC) != 0) {
        if (log_fd >= 0)
            close(log_fd);
        return FAIL(STATUS_IO, "%s: pipe: %s", process->name, strerror(errno));
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(process, parent, log_fd, report[1]);
    int error = pid < 0 ? errno : 0;
    close(report[1]);
    if (log_fd >= 0)
        close(log_fd);
    if (pid > 0) {
        setpgid(pid, pid); /* whoever comes first, child or parent */
        /* Ends at exec (close-on-exec) or with the errno of a failed one: bounded by the exec. */
        if (read(report[0], &error, sizeof error) == (ssize_t)sizeof error)
            waitpid(pid, NULL, 0);
    }
    close(report[0]);
    if (error != 0)
        return FAIL(STATUS_IO, "%s: cannot start %s: %s", process->name, process->arguments[0],
                    strerror(error));
    process->pid = process->last_pid = pid;
    process->started_ns = now_ns;
    process->started_wall_ns = clock_wall_ns();
    process->start_at_ns = 0;
    process->starts++;
    process->isolated = false;
    process->health = (struct process_health){0};
    return STATUS_OK;
}

char process_state(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    const char *name_end = strrchr(text, ')'); /* the name may hold anything */
    return name_end != NULL && name_end[1] == ' ' ? name_end[2] : 0;
}

void process_signal(const struct process *process, int number)
{
    if (process->pid > 0 && kill(-process->pid, number) != 0)
        kill(process->pid, number);
}

bool process_reap(struct process *process, int *wait_status)
{
    if (process->pid <= 0)
        return false;
    siginfo_t info = {0};
    bool known = waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    if (!known && errno == ECHILD) { /* somebody else took it: its number may be another's now */
        *wait_status = PROCESS_END_UNKNOWN;
        process->pid = 0;
        return true;
    }
    if (!known || info.si_pid == 0)
        return false;
    kill(-process->pid, SIGKILL); /* while the zombie still holds the group's number */
    waitpid(process->pid, wait_status, 0);
    process->pid = 0;
    return true;
}

unsigned process_kill_all(void)
{
    char path[64], list[4096];
    unsigned killed = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (int round = 0; round < SWEEP_ROUNDS; round++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd >= 0 ? read(fd, list, sizeof list - 1) : -1;
        if (fd >= 0)
            close(fd);
        list[got > 0 ? got : 0] = 0;
        for (char *at = list, *end; *at != 0; at = end) {
            long pid = strtol(at, &end, 10);
            if (end == at)
                break;
            if (pid > 1)
                kill((pid_t)pid, SIGKILL);
        }
        pid_t reaped;
        while ((reaped = waitpid(-1, NULL, WNOHANG)) > 0)
            killed++;
        if (reaped < 0)
            break; /* ECHILD: none left */
        clock_sleep_ms(SWEEP_PAUSE_MS);
    }
    return killed;
}

void process_describe_end(int wait_status, char *out, size_t size)
{
    if (wait_status == PROCESS_END_UNKNOWN)
        snprintf(out, size, "gone, nobody knows how");
    else if (WIFSIGNALED(wait_status))
        snprintf(out, size, "killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(out, size, "exit %d", WEXITSTATUS(wait_status));
}

/* The end of the log, at most LOG_TAIL_BYTES and nothing from before this start; NUL-terminated. */
static size_t read_log_end(const struct process *process, char out[LOG_TAIL_BYTES + 1])
{
    out[0] = 0;
    int fd = process->log[0] != 0 ? open(process->log, O_RDONLY | O_CLOEXEC) : -1;
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    int64_t from = info.st_size > LOG_TAIL_BYTES ? info.st_size - LOG_TAIL_BYTES : 0;
    if (from < process->log_start)
        from = process->log_start;
    ssize_t got = pread(fd, out, LOG_TAIL_BYTES, from);
    close(fd);
    size_t size = got > 0 ? (size_t)got : 0;
    while (size > 0 && out[size - 1] == '\n')
        size--;
    out[size] = 0;
    return size;
}

/* "2026-01-02T03:04:05.678Z ERROR store.0 v3 store ended status=LIMIT why="..."" -> the why, else
 * what follows the level. */
static void shorten(const char *line, char *out, size_t size)
{
    const char *level = strstr(line, " ERROR ");
    const char *why = level != NULL ? strstr(level, " why=\"") : NULL;
    const char *text = why != NULL ? why + 6 : level != NULL ? level + 7 : line;
    snprintf(out, size, "%s",
             status_sentence(status_sentence(text))); /* of a call and its caller */
    size_t length = strlen(out);
    if (why != NULL && length > 0 && out[length - 1] == '"')
        out[length - 1] = 0;
}

void process_last_words(const struct process *process, char *out, size_t size)
{
    char text[LOG_TAIL_BYTES + 1];
    out[0] = 0;
    if (read_log_end(process, text) == 0)
        return;
    char *found = NULL;
    for (char *line = text, *end; line != NULL; line = end) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end++ = 0;
        if (line[0] != 0 &&
            (found == NULL || strstr(line, " ERROR ") != NULL || strstr(found, " ERROR ") == NULL))
            found = line;
    }
    if (found != NULL)
        shorten(found, out, size);
}

enum status process_log_tail(const struct process *process, unsigned lines, struct buffer *out)
{
    char text[LOG_TAIL_BYTES + 1];
    size_t at = read_log_end(process, text);
    unsigned seen = at > 0 ? 1 : 0;
    for (; at > 0; at--)
        if (text[at - 1] == '\n' && ++seen > lines)
            break;
    for (char *line = text + at; *line != 0;) {
        size_t length = strcspn(line, "\n");
        TRY(buffer_printf(out, "  %.*s\n", (int)length, line));
        line += length + (line[length] == '\n');
    }
    return STATUS_OK;
}
