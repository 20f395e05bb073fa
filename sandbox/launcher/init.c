/* pid 1 of a run. It outlives the program by one message; when it ends, the kernel kills everything in its pid
 * namespace before anybody sees it dead. The program cannot signal it (no handlers), trace it or read it (not
 * dumpable, and the filter), and never holds the socket over which it reports. */
#include "sandbox/launcher/group.h"
#include "sandbox/launcher/launcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_MS = 10, STAT_CPU = 14, STAT_THREADS = 20, STAT_PAGES = 24 };

__attribute__((noreturn)) static void fail(const struct init_job *job, const char *step, int error)
{
    say_failed(job->fd_status, step, error);
    _exit(1);
}

/* In new user and uts namespaces. */
static int become_strict(const char **step)
{
#define STEP(name, call) \
    do {                 \
        *step = (name);  \
        if ((call) < 0)  \
            return -1;   \
    } while (0)
    STEP("becoming the sandbox's user", become_inside());
    STEP("host name", sethostname(HOST_NAME, sizeof HOST_NAME - 1));
    STEP("domain name", setdomainname("", 0));
    return 0;
}

static int strict_begin(const struct init_job *job, const char **step)
{
    char go;
    errno = ECANCELED;
    STEP("waiting for the user map", read(job->fd_go, &go, 1) == 1 ? 0 : -1);
    return become_strict(step);
}

struct spare_tree spare_tree;

int init_spare(enum sandbox_mode mode, const char **step)
{
    struct init_job likely = {.head.limits.disk_bytes = spare_tree.disk_bytes,
                              .head.limits.inodes = spare_tree.inodes,
                              .head.execute_work = spare_tree.execute_work,
                              .prepared = true};
    spare_tree.stands = false;
    umask(022);
    signal(SIGCHLD, SIG_DFL);
    if (mode == SANDBOX_STRICT && become_strict(step) != 0)
        return -1;
    STEP("parent death signal", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    STEP("not dumpable", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    if (mode == SANDBOX_STRICT) /* a keeper's user namespace has lost it before */
        STEP("dropping capabilities", bounding_drop());
    STEP("the root", chdir("/"));
    if (spare_tree.inodes == 0) /* the first one */
        return 0;
    if (tree_private(&likely, step) != 0)
        return -1;
    spare_tree.stands = true;
    return 0;
}

/* The tree of a spare for the run that came. */
static int spare_take(const struct init_job *job, const char **step)
{
    struct spare_tree wanted = {.disk_bytes = job->head.limits.disk_bytes,
                                .inodes = job->head.limits.inodes,
                                .execute_work = job->head.execute_work,
                                .stands = true};
    bool fits = spare_tree.stands && spare_tree.disk_bytes == wanted.disk_bytes &&
                spare_tree.inodes == wanted.inodes &&
                spare_tree.execute_work == wanted.execute_work;
    if (!fits && spare_tree.stands && tree_private_undo(step) != 0)
        return -1;
    if (!fits && tree_private(job, step) != 0)
        return -1;
    spare_tree = wanted;
    return tree_files(job, step);
}

static int prepare(struct init_job *job, const char **step)
{
    if (job->spare)
        return spare_take(job, step);
    umask(022);
    signal(SIGCHLD, SIG_DFL);
    if (job->head.mode == SANDBOX_STRICT && strict_begin(job, step) != 0)
        return -1;
    STEP("parent death signal", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    STEP("not dumpable", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    if (!job->prepared)
        STEP("the cgroups of the inits", groups_join_ours());
    if (job->prepared)
        STEP("the root", chdir("/"));
    else if (tree_build(job, step) != 0)
        return -1;
    if (tree_private(job, step) != 0 || tree_files(job, step) != 0)
        return -1;
    if (!job->prepared && (tree_enter(step) != 0 || tree_seal(step) != 0))
        return -1;
    return 0;
#undef STEP
}

static int send_work(const struct init_job *job)
{
    struct init_message message = {.word = INIT_WORK};
    int work = open(WORK_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (work < 0 || send_message(job->fd_status, &message, sizeof message, &work, 1) < 0)
        return -1;
    return close(work);
}

/* In the program's process. */
__attribute__((noreturn)) static void program_begin(const struct init_job *job, struct start *start)
{
    const char *step = "joining its cgroups";
    if (join_groups(job) != 0 || unshare(CLONE_NEWCGROUP) != 0 ||
        program_prepare(job, false, &step) != 0) {
        start->step = step;
        start->error = errno;
        _exit(126);
    }
    static const char *const usual[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" WORK_FOLDER,
                                        "LANG=C.UTF-8", "TMPDIR=/tmp", NULL};
    const char *const *env = job->head.has_env ? job->items.env : usual;
    /* execve's arrays of non-const pointers are history; it changes nothing. */
    execve(job->items.argv[0], (char *const *)(uintptr_t)job->items.argv,
           (char *const *)(uintptr_t)env);
    start->exec_error = errno;
    _exit(127);
}

__attribute__((noinline)) static pid_t spawn(const struct init_job *job, struct start *start)
{
    pid_t pid = vfork(); /* shares our memory until execve: nothing to copy */
    if (pid == 0)
        program_begin(job, start);
    return pid;
}

/* CPU time, resident bytes and threads of one process out of /proc/PID/stat. */
static void sample_one(const char *pid, int64_t shared_bytes, struct init_message *sum)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    text[size > 0 ? size : 0] = 0;
    char *field = strrchr(text, ')'); /* field 2 ends here */
    long long ticks = 0;
    for (int i = 2; field != NULL && i < STAT_PAGES; i++) {
        field = strchr(field + 1, ' ');
        long long value = field == NULL ? 0 : strtoll(field, NULL, 10);
        if (i + 1 >= STAT_CPU && i + 1 < STAT_CPU + 4)
            ticks += value;
        if (i + 1 == STAT_THREADS)
            sum->threads += value;
        if (i + 1 == STAT_PAGES)
            sum->bytes += value * sysconf(_SC_PAGESIZE) > shared_bytes
                              ? value * sysconf(_SC_PAGESIZE) - shared_bytes
                              : 0;
    }
    sum->cpu_ns += ticks * (1000000000 / sysconf(_SC_CLK_TCK));
}

static void sample(const struct init_job *job)
{
    struct init_message sum = {.word = INIT_SAMPLE};
    DIR *folder = opendir("/proc");
    if (folder == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            sample_one(entry->d_name, job->shared_bytes, &sum);
    closedir(folder);
    send(job->fd_status, &sum, sizeof sum, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The program's status; reaps what else comes. program -1: for ever. */
static int wait_program(const struct init_job *job, pid_t program)
{
    sigset_t child;
    struct timespec pause = {.tv_nsec = SAMPLE_MS * 1000000L};
    bool blocks = !job->sampled && program >= 0;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (!blocks)
        sigprocmask(SIG_BLOCK, &child, NULL);
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, blocks ? 0 : WNOHANG);
        if (pid > 0 && pid == program)
            return status;
        if (pid == 0 || (pid < 0 && errno == ECHILD && program < 0)) {
            if (job->sampled)
                sample(job);
            sigtimedwait(&child, NULL, job->sampled ? &pause : NULL);
        } else if (pid < 0 && errno != EINTR) {
            fail(job, "waiting for the program", errno);
        }
    }
}

__attribute__((noreturn)) static void watch(struct init_job *job, pid_t program,
                                            struct start *start)
{
    /* Only the socket stays open, so that whoever reads the program's output sees its end; and what is the keeper's. */
    if (!job->prepared && dup2(job->fd_status, 0) < 0)
        fail(job, "init's own descriptors", errno);
    if (!job->prepared)
        job->fd_status = 0;
    if (close_range((unsigned)job->fd_status + 1, ~0U, 0) != 0 || capabilities_drop(false) != 0)
        fail(job, "init's own descriptors and capabilities", errno);
    int status = wait_program(job, program);
    if (start->error != 0)
        fail(job, start->step, start->error);
    if (job->sampled)
        sample(job);
    say_ended(job->fd_status, status, start->exec_error);
    _exit(0);
}

/* The namespaces that the zygote's child is to enter; init itself may open them, nobody else may. */
static int send_ready(const struct init_job *job)
{
    struct init_message message = {.word = INIT_READY};
    int spaces[] = {open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC),
                    open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)};
    return spaces[0] < 0 || spaces[1] < 0 ||
                   send_message(job->fd_status, &message, sizeof message, spaces, 2) < 0
               ? -1
               : 0;
}

void init_main(struct init_job *job)
{
    const char *step = "";
    if (prepare(job, &step) != 0)
        fail(job, step, errno);
    if (job->head.result_count > 0 && send_work(job) != 0)
        fail(job, "the work folder's descriptor", errno);
    static struct start start;
    start = (struct start){0};
    if (!job->waits) {
        pid_t program = spawn(job, &start);
        if (program < 0) /* no processes left on the machine: not the program's fault */
            fail(job, "vfork of the program", errno);
        watch(job, program, &start);
    }
    if (send_ready(job) != 0)
        fail(job, "init's own namespaces in /proc", errno);
    watch(job, -1, &start);
}
