/* A process that lives inside a prepared sandbox (its own user, mount, pid, net, ipc and uts namespaces, the tree
 * built and read-only) and clones the init of each run into a new pid and mount namespace. It holds the capabilities
 * of its user namespace, nothing of the host, and nothing of any run: the request is mapped by the run's own init. */
#include "sandbox/launcher/launcher.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* In pid 1 of the run. */
__attribute__((noreturn)) static void child(const struct keeper_request *request, const int *fds,
                                            int control)
{
    static struct init_job job;
    close(control);
    job = (struct init_job){
        .head = request->head,
        .fd_stdin = fds[KEEPER_STDIN],
        .fd_stdout = fds[KEEPER_STDOUT],
        .fd_stderr = fds[KEEPER_STDERR],
        .fd_status = fds[KEEPER_STATUS],
        .fd_channel = request->has_channel ? fds[KEEPER_TASKS + request->group_count] : -1,
        .fd_go = -1,
        .fd_base = -1,
        .group_count = request->group_count,
        .shared_bytes = request->shared_bytes,
        .sampled = request->sampled,
        .waits = request->waits,
        .prepared = true};
    memcpy(job.fd_tasks, fds + KEEPER_TASKS, (size_t)request->group_count * sizeof(int));
    void *body = mmap(NULL, request->head.body_size, PROT_READ, MAP_PRIVATE, fds[KEEPER_BODY], 0);
    if (body == MAP_FAILED || !run_items_parse(&job.items, &request->head, body)) {
        say_failed(job.fd_status, "the request", errno);
        _exit(1);
    }
    job.body = body;
    init_main(&job);
}

static bool complete(const struct keeper_request *request, ssize_t got, int fd_count)
{
    return got == sizeof *request && request->group_count >= 0 &&
           request->group_count <= GROUPS_MAX &&
           fd_count == KEEPER_TASKS + request->group_count + request->has_channel;
}

void keeper_serve(int control)
{
    signal(SIGCHLD, SIG_IGN); /* the inits are watched by the launcher, over their pidfds */
    for (;;) {
        struct keeper_request request;
        int fds[MESSAGE_FDS_MAX], count = 0, pidfd = -1;
        ssize_t got = receive_message(control, &request, sizeof request, fds, &count);
        if (got <= 0 || !complete(&request, got, count))
            _exit(0);
        int pid = clone_process(CLONE_NEWPID | CLONE_NEWNS, &pidfd, -1);
        if (pid == 0)
            child(&request, fds, control);
        int error = pid < 0 ? errno : 0;
        send_message(control, &error, sizeof error, &pidfd, pid < 0 ? 0 : 1);
        descriptor_close(&pidfd);
        for (int i = 0; i < count; i++)
            close(fds[i]);
    }
}
