/* The launcher's side of its keepers: two that take turns for pooled runs, two for strict ones, one with Python for zygote
 * runs; started at need. */
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
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/launcher/group.h"
#include "sandbox/launcher/supervise.h"

enum { READY_WAIT_MS = 60000, IMPORTS_MAX = 256, FD_FILTER = 5, NO_SPARES = -1 };
#define PYTHON "/usr/bin/python3"

/* zygote.py, as C text of the build. */
extern const char zygote_driver[];

struct keeper {
    pid_t pid;           /* 0: not started */
    int control, zygote; /* sockets; zygote -1: it has none */
    int64_t shared_bytes;
};
static struct keeper zygote_keeper;

/* Strict and pooled mode: two keepers that take turns, so that while an init of one runs the next init is made by the
 * other. */
static struct turns {
    struct keeper keepers[2];
    struct keeper *next; /* which has been asked for a spare; NULL: none was */
    int spare;           /* its pidfd; -1: it has not said yet that it stands */
} turns[] = {[SANDBOX_STRICT] = {.spare = -1}, [SANDBOX_POOLED] = {.spare = -1}};
enum { TURNS = sizeof turns / sizeof turns[0] };

uint8_t *launcher_exchange;

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
    static const int kept[] = {CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SETPCAP};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) != 0)
            return -1;
    return 0;
}

static int filter_file(void)
{
    size_t bytes = launcher_filters[0].len * sizeof(struct sock_filter);
    int fd = memfd_create("filter", MFD_CLOEXEC);
    return fd >= 0 && write(fd, launcher_filters[0].filter, bytes) == (ssize_t)bytes ? fd : -1;
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
    if (keep_capabilities() != 0 || bounding_drop() != 0)
        return -1;
    snprintf(bytes, sizeof bytes, "%zu", launcher_filters[0].len * sizeof(struct sock_filter));
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

/* In strict mode the keeper is root outside, and what it makes belongs to the users of the runs. */
static int become_owner(enum sandbox_mode mode)
{
    if (mode != SANDBOX_STRICT)
        return become_inside();
    setfsgid(launcher.outside_group);
    setfsuid(launcher.outside);
    return 0;
}

static int keeper_prepare(enum sandbox_mode mode, int go, const char **step)
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
    STEP("the cgroups of the inits", groups_join_ours());
    STEP("becoming the sandbox's user", become_owner(mode));
    STEP("parent death signal", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    STEP("not dumpable", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    if (mode != SANDBOX_STRICT) {
        STEP("host name", sethostname(HOST_NAME, sizeof HOST_NAME - 1));
        STEP("domain name", setdomainname("", 0));
    }
    STEP("cgroup namespace", unshare(CLONE_NEWCGROUP));
    if (tree_build(NULL, step) != 0 || tree_proc(step) != 0 || tree_enter(step) != 0)
        return -1;
#undef STEP
    return 0;
}

__attribute__((noreturn)) static void say_and_exit(int control, const char *step)
{
    struct init_message message = {.word = INIT_FAILED};
    snprintf(message.text, sizeof message.text, "%s: %s", step, strerror(errno));
    send_message(control, &message, sizeof message, NULL, 0);
    _exit(1);
}

/* zygote: its end of the socket, or -1. */
__attribute__((noreturn)) static void keeper_main(enum sandbox_mode mode, int control, int go,
                                                  int zygote)
{
    const char *step = "";
    int64_t nothing = 0;
    if (keeper_prepare(mode, go, &step) != 0 || tree_seal(&step) != 0)
        say_and_exit(control, step);
    setfsuid(geteuid());
    setfsgid(getegid());
    if (zygote >= 0) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            if (dup2(zygote, LAUNCHER_FD_CONTROL) < 0) /* where its failures go */
                _exit(126);
            zygote_exec(zygote, &step);
            say_and_exit(LAUNCHER_FD_CONTROL, step);
        }
        if (pid < 0)
            say_and_exit(control, "fork of the zygote");
    }
    if (mode != SANDBOX_STRICT && bounding_drop() != 0)
        say_and_exit(control, "the bounding set of a keeper");
    int mine = fcntl(control, F_DUPFD_CLOEXEC, 64);
    if (dup2(mine, LAUNCHER_FD_CONTROL) < 0) /* the caller's socket must end with the launcher */
        _exit(1);
    close_range(LAUNCHER_FD_CONTROL + 1, ~0U, 0);
    if (mode == SANDBOX_STRICT && faccessat(AT_FDCWD, "/proc/self/uid_map", F_OK, 0) != 0)
        nothing = NO_SPARES;
    send_message(LAUNCHER_FD_CONTROL, &nothing, sizeof nothing, NULL, 0);
    if (mode != SANDBOX_ZYGOTE)
        keeper_serve_spares(LAUNCHER_FD_CONTROL, mode);
    keeper_serve(LAUNCHER_FD_CONTROL);
}

static void keeper_stop(struct keeper *keeper)
{
    if (keeper->pid <= 0)
        return;
    descriptor_close(&keeper->control);
    descriptor_close(&keeper->zygote);
    kill(keeper->pid, SIGKILL);
    waitpid(keeper->pid, NULL, 0);
    keeper->pid = 0;
}

static void turns_stop(struct turns *mode)
{
    int error = errno;
    for (size_t i = 0; i < 2; i++)
        keeper_stop(&mode->keepers[i]);
    mode->next = NULL;
    descriptor_close(&mode->spare);
    errno = error;
}

void keepers_stop(void)
{
    keeper_stop(&zygote_keeper);
    for (size_t i = 0; i < TURNS; i++)
        turns_stop(&turns[i]);
}

/* An answer on `socket` within its time: how many bytes, and a descriptor. */
static ssize_t hear(int socket, void *bytes, size_t size, int *fd)
{
    struct pollfd polls = {.fd = socket, .events = POLLIN};
    int fds[MESSAGE_FDS_MAX], count = 0;
    errno = ETIMEDOUT;
    if (poll(&polls, 1, READY_WAIT_MS) <= 0)
        return -1;
    ssize_t got = receive_message(socket, bytes, size, fds, &count);
    if (got == 0)
        errno = EPIPE;
    *fd = count > 0 ? fds[0] : -1;
    return got;
}

/* The first word: how many bytes each of its children shares, or why there is none. */
static int hear_ready(int socket, int64_t *shared_bytes, const char **step)
{
    static struct init_message message;
    int none;
    ssize_t got = hear(socket, &message, sizeof message, &none);
    if (got == sizeof *shared_bytes) {
        memcpy(shared_bytes, &message, sizeof *shared_bytes);
        return 0;
    }
    if (got == sizeof message) {
        *step = message.text;
        errno = 0;
    }
    return -1;
}

static int keeper_clone_itself(struct keeper *keeper, enum sandbox_mode mode, const char **step)
{
    bool zygote = mode == SANDBOX_ZYGOTE;
    int control[2], python[2] = {-1, -1}, go[2], error = 0;
    *step = "a keeper's sockets";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0 ||
        pipe2(go, O_CLOEXEC) != 0 ||
        (zygote && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, python) != 0))
        return -1;
    *step = "clone3 with new user, mount, pid, net, ipc and uts namespaces";
    keeper->pid = clone_process(
        mode == SANDBOX_STRICT ? CLONE_NEWPID | CLONE_NEWNS : RUN_NAMESPACES, NULL, -1);
    if (keeper->pid == 0) {
        close(go[1]);
        close(control[0]);
        descriptor_close(&python[0]);
        keeper_main(mode, control[1], go[0], python[1]);
    }
    keeper->control = control[0];
    keeper->zygote = python[0];
    close(control[1]);
    descriptor_close(&python[1]);
    close(go[0]);
    if (keeper->pid < 0) {
        error = errno;
        keeper->pid = 0;
        descriptor_close(&keeper->control);
        descriptor_close(&keeper->zygote);
    } else {
        *step = "the map of its users";
        if ((mode != SANDBOX_STRICT &&
             map_user(keeper->pid, launcher.outside, launcher.outside_group) != 0) ||
            write(go[1], "g", 1) != 1)
            error = errno;
    }
    close(go[1]);
    errno = error;
    return error == 0 ? 0 : -1;
}

static int keeper_start(struct keeper *keeper, enum sandbox_mode mode, const char **step)
{
    bool fine = keeper_clone_itself(keeper, mode, step) == 0;
    if (fine) {
        *step = "the keeper does not start";
        fine = hear_ready(keeper->control, &keeper->shared_bytes, step) == 0;
    }
    if (fine && mode == SANDBOX_ZYGOTE) {
        *step = "the zygote's Python does not start";
        fine = hear_ready(keeper->zygote, &keeper->shared_bytes, step) == 0;
    }
    if (fine)
        return 0;
    int error = errno;
    keeper_stop(keeper);
    errno = error;
    return -1;
}

/* The descriptors of a request; how many. fd_body -1: it lies in launcher_exchange. */
static int collect(const struct init_job *job, int fd_body, int *fds)
{
    int count = 0;
    const int first[] = {job->fd_status, job->fd_stdin, job->fd_stdout, job->fd_stderr};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        fds[count++] = first[i];
    for (int i = 0; i < job->group_count; i++)
        fds[count++] = job->fd_tasks[i];
    if (job->fd_channel >= 0)
        fds[count++] = job->fd_channel;
    if (fd_body >= 0)
        fds[count++] = fd_body;
    return count;
}

static struct keeper_request request_of(const struct init_job *job, int fd_body)
{
    return (struct keeper_request){.head = job->head,
                                   .group_count = job->group_count,
                                   .shared_bytes = job->shared_bytes,
                                   .has_channel = job->fd_channel >= 0,
                                   .has_body = fd_body >= 0,
                                   .sampled = job->sampled,
                                   .waits = job->waits};
}

/* The first word of an init, on `status`: its pidfd, or why there is none. -1: the keeper is gone. */
static int hear_born(int control, int status, int *pidfd, const char **step)
{
    static struct init_message message;
    struct pollfd polls[] = {{.fd = status, .events = POLLIN}, {.fd = control}};
    int fds[MESSAGE_FDS_MAX], count = 0;
    errno = ETIMEDOUT;
    if (poll(polls, 2, READY_WAIT_MS) <= 0 || (polls[0].revents & POLLIN) == 0)
        return -1;
    if (receive_message(status, &message, sizeof message, fds, &count) != sizeof message)
        return -1;
    *pidfd = count > 0 ? fds[0] : -1;
    if (message.word == INIT_BORN && count == 1)
        return 0;
    *step = message.text;
    return 0;
}

static int ask(const struct keeper *keeper, const struct init_job *job, int fd_body, int status,
               int *pidfd, const char **step)
{
    struct keeper_request request = request_of(job, fd_body);
    int fds[MESSAGE_FDS_MAX], count = collect(job, fd_body, fds);
    if (send_message(keeper->control, &request, sizeof request, fds, count) < 0)
        return -1;
    return hear_born(keeper->control, status, pidfd, step);
}

/* ---- strict and pooled runs ---- */

static int spare_ask(struct turns *mode, struct keeper *keeper, const char **step)
{
    *step = "the keeper does not answer";
    if (send(keeper->control, "s", 1, MSG_NOSIGNAL) != 1)
        return -1;
    mode->next = keeper;
    return 0;
}

/* Until it stands. */
static int spare_hear(struct turns *mode, const char **step)
{
    *step = "the keeper does not answer";
    if (mode->spare >= 0)
        return 0;
    int control = mode->next->control;
    if (hear_born(control, control, &mode->spare, step) == 0 && mode->spare < 0)
        errno = 0; /* it said why */
    return mode->spare >= 0 ? 0 : -1;
}

/* Both keepers stand, and one has a spare. */
static int spare_ready(enum sandbox_mode which, const char **step)
{
    struct turns *mode = &turns[which];
    for (size_t i = 0; i < 2; i++)
        if (mode->keepers[i].pid <= 0 && keeper_start(&mode->keepers[i], which, step) != 0)
            return -1;
    if (mode->next == NULL && spare_ask(mode, &mode->keepers[0], step) != 0)
        return -1;
    if (spare_hear(mode, step) != 0)
        return -1;
    struct pollfd end = {.fd = mode->spare, .events = POLLIN};
    *step = "the init that was made ahead is dead";
    errno = ESRCH;
    return poll(&end, 1, 0) == 0 ? 0 : -1;
}

/* Gives the spare its run, and has the other keeper make the next one meanwhile. */
static int spare_use(struct turns *mode, const struct init_job *job, int fd_body, int *pidfd,
                     const char **step)
{
    struct keeper_request request = request_of(job, fd_body);
    int fds[MESSAGE_FDS_MAX], count = collect(job, fd_body, fds);
    struct keeper *now = mode->next;
    *step = "the init that was made ahead does not listen";
    if (send_message(now->control, &request, sizeof request, fds, count) < 0)
        return -1;
    *pidfd = mode->spare;
    mode->spare = -1;
    mode->next = NULL;
    const char *unheard;
    spare_ask(mode, &mode->keepers[now == &mode->keepers[0]],
              &unheard); /* else the next run does */
    return 0;
}

void keepers_settle(void)
{
    const char *step;
    for (size_t i = 0; i < TURNS; i++)
        if (turns[i].next != NULL && spare_hear(&turns[i], &step) != 0)
            turns_stop(&turns[i]); /* the next run starts anew, and says what is wrong */
}

bool keeper_spares(void)
{
    const char *step;
    struct keeper *first = &turns[SANDBOX_STRICT].keepers[0];
    if (first->pid <= 0 && keeper_start(first, SANDBOX_STRICT, &step) != 0)
        return true; /* the run will say so */
    return first->shared_bytes != NO_SPARES;
}

static int take_spare(struct init_job *job, int fd_body, int *pidfd, const char **step)
{
    struct turns *mode = &turns[job->head.mode];
    job->prepared = true;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (spare_ready(job->head.mode, step) == 0 &&
            spare_use(mode, job, fd_body, pidfd, step) == 0)
            return 0;
        turns_stop(mode); /* somebody killed one: others */
    }
    return -1;
}

int keeper_clone(struct init_job *job, int fd_body, int status, int *pidfd, const char **step)
{
    struct keeper *keeper = &zygote_keeper;
    if (job->head.mode != SANDBOX_ZYGOTE)
        return take_spare(job, fd_body, pidfd, step);
    for (int attempt = 0; attempt < 2; attempt++) {
        if (keeper->pid <= 0 && keeper_start(keeper, SANDBOX_ZYGOTE, step) != 0)
            return -1;
        job->waits = true;
        job->prepared = true;
        job->shared_bytes = keeper->shared_bytes;
        *step = "the keeper does not answer";
        if (ask(keeper, job, fd_body, status, pidfd, step) == 0) {
            if (*pidfd >= 0)
                return 0;
            errno = 0; /* it said why */
            return -1;
        }
        int error = errno;
        keeper_stop(keeper); /* somebody killed it: another one */
        errno = error;
    }
    return -1;
}

int zygote_fork(const struct init_job *job, int fd_body, const int spaces[2])
{
    struct keeper_request request = request_of(job, fd_body);
    int fds[MESSAGE_FDS_MAX], count = collect(job, fd_body, fds);
    fds[count++] = spaces[0];
    fds[count++] = spaces[1];
    return send_message(zygote_keeper.zygote, &request, sizeof request, fds, count) < 0 ? -1 : 0;
}

int zygote_socket(void)
{
    return zygote_keeper.pid > 0 ? zygote_keeper.zygote : -1;
}

void zygote_lost(void)
{
    keeper_stop(&zygote_keeper);
}
