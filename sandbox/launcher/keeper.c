/* A process that lives inside a prepared tree and clones the init of each run, with the namespaces that are the run's
 * own. In pooled and zygote mode it is inside a whole sandbox (user, net, ipc and uts namespaces too) and holds nothing of
 * the host; in strict mode it has the tree and a pid namespace, and every other namespace is made with each init.
 *
 * In strict and pooled mode an init is made ahead, while that of another keeper runs (they take turns): a spare. It has its
 * namespaces, users and mounts, and waits for a run; it serves one, and is gone.
 *
 * An init is cloned as vfork does: it has the keeper's memory, on a stack of its own, and the keeper stands still until it
 * has ended, so nothing is copied and only one of them runs. The program never has this memory: it starts with execve,
 * or out of the zygote. The table of descriptors is shared too, and the program's is a copy. */
#include "sandbox/launcher/supervise.h"

#include <errno.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_BYTES = 256 << 10 };

static struct init_job job; /* of the run that stands */
static void *mapped;        /* its body, when it came as a file */
static uint8_t stack[STACK_BYTES] __attribute__((aligned(16))); /* of its init */

/* The launcher watches its init over this. */
static int say_born(int fd_status)
{
    struct init_message message = {.word = INIT_BORN};
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (pidfd < 0 || send_message(fd_status, &message, sizeof message, &pidfd, 1) < 0)
        return -1;
    return close(pidfd);
}

/* In pid 1 of the run. */
static int child(void *nothing)
{
    (void)nothing;
    if (say_born(job.fd_status) != 0)
        _exit(1);
    init_main(&job);
}

/* Takes the request's descriptors and body into `job`. */
static int job_take(const struct keeper_request *request, const int *fds)
{
    int next = KEEPER_TASKS + request->group_count;
    job = (struct init_job){.head = request->head,
                            .fd_stdin = fds[KEEPER_STDIN],
                            .fd_stdout = fds[KEEPER_STDOUT],
                            .fd_stderr = fds[KEEPER_STDERR],
                            .fd_status = fds[KEEPER_STATUS],
                            .fd_channel = request->has_channel ? fds[next++] : -1,
                            .fd_go = -1,
                            .fd_base = -1,
                            .group_count = request->group_count,
                            .shared_bytes = request->shared_bytes,
                            .sampled = request->sampled,
                            .waits = request->waits,
                            .prepared = true};
    memcpy(job.fd_tasks, fds + KEEPER_TASKS, (size_t)request->group_count * sizeof(int));
    job.body = launcher_exchange;
    if (request->has_body) {
        mapped = mmap(NULL, request->head.body_size, PROT_READ, MAP_PRIVATE, fds[next], 0);
        if (mapped == MAP_FAILED) {
            mapped = NULL;
            return -1;
        }
        job.body = mapped;
    }
    errno = EPROTO;
    return run_items_parse(&job.items, &request->head, job.body) ? 0 : -1;
}

static void job_forget(void)
{
    run_items_free(&job.items);
    block_unmap(mapped, job.head.body_size);
    mapped = NULL;
    close_range(LAUNCHER_FD_CONTROL + 1, ~0U, 0);
}

static bool complete(const struct keeper_request *request, ssize_t got, int fd_count)
{
    return got == sizeof *request && request->group_count >= 0 &&
           request->group_count <= GROUPS_MAX &&
           fd_count ==
               KEEPER_TASKS + request->group_count + request->has_channel + request->has_body;
}

void keeper_serve(int control)
{
    signal(SIGCHLD, SIG_IGN); /* the inits are watched by the launcher, over their pidfds */
    for (;;) {
        struct keeper_request request;
        int fds[MESSAGE_FDS_MAX], count = 0;
        ssize_t got = receive_message(control, &request, sizeof request, fds, &count);
        if (got <= 0 || !complete(&request, got, count))
            _exit(0);
        if (job_take(&request, fds) != 0)
            say_failed(job.fd_status, "the request", errno);
        else if (clone(child, stack + sizeof stack,
                       CLONE_NEWPID | CLONE_NEWNS | CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD,
                       NULL) < 0)
            say_failed(job.fd_status, "clone of an init with its namespaces", errno);
        job_forget();
    }
}

/* ---- strict and pooled ---- */

static struct {
    int control;
    enum sandbox_mode mode;
    volatile int go; /* a futex: 1 when its users are mapped, -1 when they cannot be */
} spare;

/* In the spare, while its keeper stands still. */
static int spare_child(void *nothing)
{
    struct keeper_request request;
    const char *step = "";
    int fds[MESSAGE_FDS_MAX], count = 0;
    (void)nothing;
    while (spare.go == 0)
        syscall(SYS_futex, &spare.go, FUTEX_WAIT, 0, NULL, NULL, 0);
    if (spare.go < 0)
        _exit(1);
    if (init_spare(spare.mode, &step) != 0) {
        say_failed(spare.control, step, errno);
        _exit(1);
    }
    if (say_born(spare.control) != 0)
        _exit(1);
    ssize_t got = receive_message(spare.control, &request, sizeof request, fds, &count);
    if (got <= 0 || !complete(&request, got, count))
        _exit(1);
    if (job_take(&request, fds) != 0) {
        say_failed(job.fd_status, "the request", errno);
        _exit(1);
    }
    job.spare = true;
    init_main(&job);
}

void keeper_serve_spares(int control, enum sandbox_mode mode)
{
    int spaces = mode == SANDBOX_STRICT ? RUN_NAMESPACES : CLONE_NEWPID | CLONE_NEWNS;
    signal(SIGCHLD, SIG_IGN);
    spare.control = control;
    spare.mode = mode;
    for (;;) {
        char word;
        if (recv(control, &word, 1, 0) != 1)
            _exit(0);
        spare.go = 0;
        /* without CLONE_VFORK: its keeper maps its users. Neither of the two touches memory while the other does. */
        pid_t pid = clone(spare_child, stack + sizeof stack,
                          spaces | CLONE_VM | CLONE_FILES | SIGCHLD, NULL);
        if (pid < 0) {
            say_failed(control, "clone of an init with its namespaces", errno);
            continue;
        }
        bool fine =
            mode != SANDBOX_STRICT || map_user(pid, launcher.outside, launcher.outside_group) == 0;
        if (!fine)
            say_failed(control, "the map of its users", errno);
        spare.go = fine ? 1 : -1;
        syscall(SYS_futex, &spare.go, FUTEX_WAKE, 1, NULL, NULL, 0);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        job_forget();
    }
}
