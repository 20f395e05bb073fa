/* The launcher's side of its keepers: one for pooled runs, one with Python for zygote runs, started at need. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/launcher/supervise.h"

enum { READY_WAIT_MS = 60000, IMPORTS_MAX = 256, FD_FILTER = 5 };
#define PYTHON "/usr/bin/python3"

/* zygote.py, as C text of the build. */
extern const char zygote_driver[];

static struct keeper {
    pid_t pid; /* 0: not started */
    int control;
} keepers[2];

/* All capabilities of the user namespace, kept over execve although the user is not 0. */
static int keep_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) != 0)
        return -1;
    for (int i = 0; i < 2; i++)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &head, data) != 0)
        return -1;
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) == 0 &&
                   prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETPCAP, 0, 0) == 0
               ? 0
               : -1;
}

static int filter_file(void)
{
    size_t bytes = launcher_filter.len * sizeof(struct sock_filter);
    int fd = memfd_create("filter", MFD_CLOEXEC);
    return fd >= 0 && write(fd, launcher_filter.filter, bytes) == (ssize_t)bytes ? fd : -1;
}

/* Descriptors of the Python: 3 the socket, 4 the library, 5 the filter. Returns on failure only. */
static int zygote_exec(int control, const char **step)
{
    static char bytes[16];
    static const char *arguments[IMPORTS_MAX + 8];
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" WORK_FOLDER,
                                      "LANG=C.UTF-8", "TMPDIR=/tmp", NULL};
    int filter = filter_file(), count = 0;
    *step = "descriptors of the zygote";
    int library = fcntl(LAUNCHER_FD_LIBRARY, F_DUPFD, 64), high = fcntl(control, F_DUPFD, 64);
    filter = fcntl(filter, F_DUPFD, 64);
    if (filter < 0 || library < 0 || high < 0 || dup2(high, LAUNCHER_FD_CONTROL) < 0 ||
        dup2(library, LAUNCHER_FD_LIBRARY) < 0 || dup2(filter, FD_FILTER) < 0 ||
        close_range(FD_FILTER + 1, ~0U, 0) != 0)
        return -1;
    *step = "capabilities of the zygote";
    if (keep_capabilities() != 0)
        return -1;
    snprintf(bytes, sizeof bytes, "%zu", launcher_filter.len * sizeof(struct sock_filter));
    const char *const head[] = {PYTHON, "-s", "-E", "-B", "-c", zygote_driver, bytes};
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        arguments[count++] = head[i];
    for (char *at = launcher.imports; *at != 0 && count < IMPORTS_MAX + 7;) {
        at += strspn(at, " ");
        if (*at == 0)
            break;
        arguments[count++] = at;
        at += strcspn(at, " ");
        if (*at != 0)
            *at++ = 0;
    }
    *step = PYTHON;
    execve(PYTHON, (char *const *)(uintptr_t)arguments, (char *const *)(uintptr_t)env);
    return -1;
}

static int keeper_prepare(int go, const char **step)
{
    char byte;
#define STEP(name, call) \
    do {                 \
        *step = (name);  \
        if ((call) < 0)  \
            return -1;   \
    } while (0)
    errno = ECANCELED;
    STEP("waiting for the user map", read(go, &byte, 1) == 1 ? 0 : -1);
    STEP("becoming the sandbox's user", become_inside());
    STEP("parent death signal", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    STEP("not dumpable", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    STEP("host name", sethostname(HOST_NAME, sizeof HOST_NAME - 1));
    STEP("domain name", setdomainname("", 0));
    STEP("cgroup namespace", unshare(CLONE_NEWCGROUP));
    if (tree_build(NULL, step) != 0 || tree_proc(step) != 0 || tree_enter(step) != 0)
        return -1;
#undef STEP
    return 0;
}

__attribute__((noreturn)) static void keeper_main(int control, int go, bool zygote)
{
    struct init_message message = {.word = INIT_FAILED};
    const char *step = "";
    int error = 0;
    if (keeper_prepare(go, &step) == 0) {
        if (zygote) {
            zygote_exec(control, &step);
        } else if (tree_seal(&step) == 0) {
            int mine = fcntl(control, F_DUPFD_CLOEXEC, 64);
            dup2(mine, LAUNCHER_FD_CONTROL); /* the caller's socket must end with the launcher */
            close_range(LAUNCHER_FD_CONTROL + 1, ~0U, 0);
            send_message(LAUNCHER_FD_CONTROL, &error, sizeof error, NULL, 0);
            keeper_serve(LAUNCHER_FD_CONTROL);
        }
    }
    snprintf(message.text, sizeof message.text, "%s: %s", step, strerror(errno));
    send_message(zygote ? LAUNCHER_FD_CONTROL : control, &message, sizeof message, NULL, 0);
    send_message(control, &message, sizeof message, NULL, 0);
    _exit(1);
}

static void keeper_stop(struct keeper *keeper)
{
    if (keeper->pid <= 0)
        return;
    descriptor_close(&keeper->control);
    kill(keeper->pid, SIGKILL);
    waitpid(keeper->pid, NULL, 0);
    keeper->pid = 0;
}

void keepers_stop(void)
{
    for (size_t i = 0; i < 2; i++)
        keeper_stop(&keepers[i]);
}

/* An answer of the keeper within its time: how many bytes, and a descriptor. */
static ssize_t hear(const struct keeper *keeper, void *bytes, size_t size, int *fd)
{
    struct pollfd polls = {.fd = keeper->control, .events = POLLIN};
    int fds[MESSAGE_FDS_MAX], count = 0;
    errno = ETIMEDOUT;
    if (poll(&polls, 1, READY_WAIT_MS) <= 0)
        return -1;
    ssize_t got = receive_message(keeper->control, bytes, size, fds, &count);
    if (got == 0)
        errno = EPIPE;
    *fd = count > 0 ? fds[0] : -1;
    return got;
}

static int keeper_start(struct keeper *keeper, bool zygote, const char **step)
{
    static struct init_message message;
    int pair[2], go[2], none, error = 0;
    *step = "a keeper's socket";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
        pipe2(go, O_CLOEXEC) != 0)
        return -1;
    *step = "clone3 with new user, mount, pid, net, ipc and uts namespaces";
    keeper->pid = clone_process(RUN_NAMESPACES, NULL, -1);
    if (keeper->pid == 0) {
        close(go[1]);
        close(pair[0]);
        keeper_main(pair[1], go[0], zygote);
    }
    keeper->control = pair[0];
    close(pair[1]);
    close(go[0]);
    *step = "the map of its users";
    if (keeper->pid < 0 || map_user(keeper->pid, launcher.outside, launcher.outside_group) != 0 ||
        write(go[1], "g", 1) != 1)
        error = errno;
    close(go[1]);
    if (error == 0) {
        *step = zygote ? "the zygote's Python does not start" : "the keeper does not start";
        ssize_t got = hear(keeper, &message, sizeof message, &none);
        if (got == sizeof(int))
            return 0;
        error = errno;
        if (got == sizeof message) {
            *step = message.text;
            error = 0;
        }
    }
    keeper_stop(keeper);
    errno = error;
    return -1;
}

static int ask(const struct keeper *keeper, const struct init_job *job, int fd_body, int *pidfd)
{
    struct keeper_request request = {.head = job->head,
                                     .group_count = job->group_count,
                                     .has_channel = job->fd_channel >= 0,
                                     .sampled = job->sampled};
    int fds[MESSAGE_FDS_MAX] = {fd_body, job->fd_stdin, job->fd_stdout, job->fd_stderr,
                                job->fd_status};
    int count = 5, error = 0;
    for (int i = 0; i < job->group_count; i++)
        fds[count++] = job->fd_tasks[i];
    if (job->fd_channel >= 0)
        fds[count++] = job->fd_channel;
    if (send_message(keeper->control, &request, sizeof request, fds, count) < 0)
        return -1;
    if (hear(keeper, &error, sizeof error, pidfd) != sizeof error)
        return -1;
    if (error != 0 || *pidfd < 0) {
        errno = error != 0 ? error : EPROTO;
        return -1;
    }
    return 0;
}

int keeper_clone(const struct init_job *job, int fd_body, bool zygote, int *pidfd,
                 const char **step)
{
    struct keeper *keeper = &keepers[zygote];
    for (int attempt = 0; attempt < 2; attempt++) {
        if (keeper->pid == 0 && keeper_start(keeper, zygote, step) != 0)
            return -1;
        *step = zygote ? "the zygote does not answer" : "the keeper does not answer";
        if (ask(keeper, job, fd_body, pidfd) == 0)
            return 0;
        int error = errno;
        keeper_stop(keeper); /* somebody killed it: another one */
        errno = error;
    }
    return -1;
}
