/* A process that lives inside a prepared sandbox (its own user, mount, pid, net, ipc and uts namespaces, the tree
 * built and read-only) and clones the init of each run into a new pid and mount namespace. The same code serves as a
 * fork of the launcher (pooled) and inside a Python that has its modules loaded (zygote, sandbox/launcher/zygote.py).
 * It holds the capabilities of its user namespace, nothing of the host, and nothing of any run: the request is mapped
 * by the run's own init. */
#include "sandbox/launcher/launcher.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* What a Python wants to have called around a fork; NULL in a pooled keeper. */
static void (*before_fork)(void), (*after_fork_parent)(void), (*after_fork_child)(void);

static struct init_job *program_job; /* of the run that this process became */

enum { FD_BODY, FD_STDIN, FD_STDOUT, FD_STDERR, FD_STATUS, FD_TASKS };

/* In pid 1 of the run. */
static struct init_job *child(const struct keeper_request *request, const int *fds, int control)
{
    static struct init_job job;
    close(control);
    int channel = request->has_channel ? fds[FD_TASKS + request->group_count] : -1;
    job = (struct init_job){.head = request->head,
                            .fd_stdin = fds[FD_STDIN],
                            .fd_stdout = fds[FD_STDOUT],
                            .fd_stderr = fds[FD_STDERR],
                            .fd_status = fds[FD_STATUS],
                            .fd_channel = channel,
                            .fd_go = -1,
                            .fd_base = -1,
                            .group_count = request->group_count,
                            .sampled = request->sampled,
                            .prepared = true};
    memcpy(job.fd_tasks, fds + FD_TASKS, (size_t)request->group_count * sizeof(int));
    void *body = mmap(NULL, request->head.body_size, PROT_READ, MAP_PRIVATE, fds[FD_BODY], 0);
    if (body == MAP_FAILED || !run_items_parse(&job.items, &request->head, body))
        _exit(1);
    job.body = body;
    init_main(&job, after_fork_child != NULL);
    return &job;
}

static bool complete(const struct keeper_request *request, ssize_t got, int fd_count)
{
    return got == sizeof *request && request->group_count >= 0 &&
           request->group_count <= GROUPS_MAX &&
           fd_count == FD_TASKS + request->group_count + request->has_channel;
}

struct init_job *keeper_serve(int control)
{
    signal(SIGCHLD, SIG_IGN); /* the inits are watched by the launcher, over their pidfds */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    for (;;) {
        struct keeper_request request;
        int fds[MESSAGE_FDS_MAX], count = 0, pidfd = -1;
        ssize_t got = receive_message(control, &request, sizeof request, fds, &count);
        if (got <= 0 || !complete(&request, got, count))
            _exit(0);
        if (before_fork != NULL)
            before_fork();
        int pid = clone_process(CLONE_NEWPID | CLONE_NEWNS, &pidfd, -1);
        if (pid == 0)
            return child(&request, fds, control);
        int error = pid < 0 ? errno : 0;
        if (after_fork_parent != NULL)
            after_fork_parent();
        send_message(control, &error, sizeof error, &pidfd, pid < 0 ? 0 : 1);
        descriptor_close(&pidfd);
        for (int i = 0; i < count; i++)
            close(fds[i]);
    }
}

/* ---- for Python, through ctypes ---- */

#define EXPORT __attribute__((visibility("default"), used))

EXPORT int zygote_serve(int control, int filter, size_t filter_bytes, void (*before)(void),
                        void (*parent)(void), void (*after)(void));
EXPORT const char *zygote_source(void);
EXPORT size_t zygote_source_size(void);
EXPORT const char *zygote_variable(uint32_t index);
EXPORT int zygote_has_variables(void);
EXPORT void zygote_release(void);

/* Returns 0 in the process of a program. */
int zygote_serve(int control, int filter, size_t filter_bytes, void (*before)(void),
                 void (*parent)(void), void (*after)(void))
{
    launcher_filter.filter = block_map(filter_bytes);
    launcher_filter.len = (unsigned short)(filter_bytes / sizeof(struct sock_filter));
    if (launcher_filter.filter == NULL ||
        pread(filter, launcher_filter.filter, filter_bytes, 0) != (ssize_t)filter_bytes)
        return -1;
    before_fork = before;
    after_fork_parent = parent;
    after_fork_child = after;
    const char *step;
    int error = 0;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || tree_seal(&step) != 0)
        return -1;
    close(filter);
    send_message(control, &error, sizeof error, NULL, 0); /* ready */
    program_job = keeper_serve(control);
    after_fork_child();
    return 0;
}

const char *zygote_source(void)
{
    return program_job->items.python;
}

size_t zygote_source_size(void)
{
    return program_job->items.python == NULL ? 0 : program_job->items.python_size;
}

int zygote_has_variables(void)
{
    return program_job->head.has_env;
}

const char *zygote_variable(uint32_t index)
{
    return index < program_job->head.env_count ? program_job->items.env[index] : NULL;
}

/* Before hostile code: nothing of the request stays. */
void zygote_release(void)
{
    munmap((void *)(uintptr_t)program_job->body, program_job->head.body_size);
    run_items_free(&program_job->items);
    memset(program_job, 0, sizeof *program_job);
}
