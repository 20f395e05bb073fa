/* What the Python of a zygote loads: waits for runs, and forks their programs. The init of a run stands already, with its
 * tree, in its own pid and mount namespace; the zygote points its next child at that pid namespace, and the child
 * enters the mount namespace, joins the cgroups, gives up everything, and goes back into Python. So the interpreter is
 * copied once for each run and its memory is never the memory of an init. */
#include "sandbox/launcher/launcher.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default"), used))

typedef void hook(void);

EXPORT int zygote_serve(int control, int filter, size_t filter_bytes, hook *before, hook *parent,
                        hook *after);
EXPORT const char *zygote_source(void);
EXPORT size_t zygote_source_size(void);
EXPORT const char *zygote_variable(uint32_t index);
EXPORT int zygote_has_variables(void);
EXPORT void zygote_release(void);

static struct init_job program; /* of the run that this process became */

/* In the child, to the point where hostile code may run; 0, or -1 with the step. */
static int become_program(const struct keeper_request *request, const int *fds, const char **step)
{
    int tasks = KEEPER_TASKS, channel = tasks + request->group_count;
    int body_at = channel + request->has_channel; /* then its namespaces */
    program = (struct init_job){.head = request->head,
                                .fd_stdin = fds[KEEPER_STDIN],
                                .fd_stdout = fds[KEEPER_STDOUT],
                                .fd_stderr = fds[KEEPER_STDERR],
                                .fd_status = fds[KEEPER_STATUS],
                                .fd_channel = request->has_channel ? fds[channel] : -1,
                                .group_count = request->group_count,
                                .sampled = request->sampled,
                                .prepared = true};
    memcpy(program.fd_tasks, fds + tasks, (size_t)request->group_count * sizeof(int));
    *step = "parent death signal";
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return -1;
    *step = "joining its cgroups";
    if (join_groups(&program) != 0 || unshare(CLONE_NEWCGROUP) != 0)
        return -1;
    *step = "entering the run's mount namespace";
    if (setns(fds[body_at + 2], CLONE_NEWNS) != 0)
        return -1;
    *step = "the request";
    void *body = mmap(NULL, request->head.body_size, PROT_READ, MAP_PRIVATE, fds[body_at], 0);
    if (body == MAP_FAILED || !run_items_parse(&program.items, &request->head, body))
        return -1;
    program.body = body;
    return program_prepare(&program, true, step);
}

static bool complete(const struct keeper_request *request, ssize_t got, int fd_count)
{
    return got == sizeof *request && request->group_count >= 0 &&
           request->group_count <= GROUPS_MAX && request->has_body &&
           fd_count == KEEPER_TASKS + request->group_count + request->has_channel + 3;
}

/* Closes what a run had but for its status socket. */
static void close_others(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        if (i != KEEPER_STATUS)
            close(fds[i]);
}

/* One run; 0 in its program. */
static pid_t serve_one(const struct keeper_request *request, const int *fds, int count,
                       struct start *start)
{
    const char *step = "the request";
    start->error = 0;
    if (setns(fds[count - 2], CLONE_NEWPID) != 0) {
        int error = errno;
        close_others(fds, count);
        say_failed(fds[KEEPER_STATUS], "entering the run's pid namespace", error);
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (become_program(request, fds, &step) == 0) {
            munmap(start, sizeof *start);
            return 0;
        }
        start->step = step;
        start->error = errno;
        _exit(126);
    }
    int status = 0, error = errno;
    close_others(fds, count);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || start->error != 0)
        say_failed(fds[KEEPER_STATUS], pid < 0 ? "fork of the zygote" : start->step,
                   pid < 0 ? error : start->error);
    else
        say_ended(fds[KEEPER_STATUS], status, 0);
    return pid;
}

/* Returns 0 in the process of a program. */
int zygote_serve(int control, int filter, size_t filter_bytes, hook *before, hook *parent,
                 hook *after)
{
    struct rusage usage;
    struct start *start = start_map();
    launcher_filters[0].filter = block_map(filter_bytes);
    launcher_filters[0].len = (unsigned short)(filter_bytes / sizeof(struct sock_filter));
    if (start == NULL || launcher_filters[0].filter == NULL ||
        pread(filter, launcher_filters[0].filter, filter_bytes, 0) != (ssize_t)filter_bytes ||
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        getrusage(RUSAGE_SELF, &usage) != 0)
        return -1;
    close(filter);
    int64_t shared_bytes = (int64_t)usage.ru_maxrss * 1024;
    send_message(control, &shared_bytes, sizeof shared_bytes, NULL, 0); /* ready */
    for (;;) {
        struct keeper_request request;
        int fds[MESSAGE_FDS_MAX], count = 0;
        ssize_t got = receive_message(control, &request, sizeof request, fds, &count);
        if (got <= 0 || !complete(&request, got, count))
            _exit(0);
        before();
        if (serve_one(&request, fds, count, start) == 0) {
            after();
            return 0;
        }
        parent();
        close(fds[KEEPER_STATUS]);
    }
}

const char *zygote_source(void)
{
    return program.items.python;
}

size_t zygote_source_size(void)
{
    return program.items.python == NULL ? 0 : program.items.python_size;
}

int zygote_has_variables(void)
{
    return program.head.has_env;
}

const char *zygote_variable(uint32_t index)
{
    return index < program.head.env_count ? program.items.env[index] : NULL;
}

/* Before hostile code: nothing of the request stays. */
void zygote_release(void)
{
    munmap((void *)(uintptr_t)program.body, program.head.body_size);
    run_items_free(&program.items);
    memset(&program, 0, sizeof program);
}
