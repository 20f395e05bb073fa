/* The last steps before hostile code: everything here is one way. */
#include "sandbox/launcher/launcher.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sock_fprog launcher_filters[2];

enum { CAPABILITIES = 64, QUEUED_SIGNALS = 256 };

int bounding_drop(void)
{
    for (int i = 0; i < CAPABILITIES; i++)
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0) {
            if (errno != EINVAL || i <= CAP_SYS_ADMIN)
                return -1;
            break; /* the kernel knows no more of them */
        }
    return 0;
}

static int capabilities_none(void)
{
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    return (int)syscall(SYS_capset, &head, none);
}

int capabilities_drop(bool bounding)
{
    return (!bounding || bounding_drop() == 0) ? capabilities_none() : -1;
}

static int limit_set(__rlimit_resource_t which, uint64_t value)
{
    struct rlimit now, wanted = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit(which, &wanted) == 0)
        return 0;
    if (errno != EPERM || getrlimit(which, &now) != 0 || now.rlim_max >= value)
        return -1;
    wanted.rlim_cur = wanted.rlim_max = now.rlim_max; /* never above what the host gave us */
    return setrlimit(which, &wanted);
}

static int limits_set(const struct init_job *job)
{
    const struct sandbox_limits *limits = &job->head.limits;
    uint64_t cpu_s = (uint64_t)(limits->cpu_ms + 999) / 1000 + 1;
    struct rlimit cpu = {.rlim_cur = cpu_s, .rlim_max = cpu_s + 1};
    /* processes of ours with the same user: init; a keeper; a zygote */
    uint64_t ours = 1 + (uint64_t)(job->head.mode != SANDBOX_STRICT) +
                    (uint64_t)(job->head.mode == SANDBOX_ZYGOTE);
    const struct {
        __rlimit_resource_t which;
        uint64_t value;
    } rows[] = {
        {RLIMIT_FSIZE, (uint64_t)limits->file_bytes},
        {RLIMIT_NOFILE, limits->open_files},
        {RLIMIT_STACK, (uint64_t)limits->stack_bytes},
        {RLIMIT_NPROC, (uint64_t)limits->processes + ours},
        {RLIMIT_SIGPENDING, QUEUED_SIGNALS},
        {RLIMIT_CORE, 0},
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_NICE, 0},
        {RLIMIT_RTPRIO, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (limit_set(rows[i].which, rows[i].value) != 0)
            return -1;
    if (job->sampled && limit_set(RLIMIT_AS, (uint64_t)limits->memory_bytes) != 0)
        return -1;
    return setrlimit(RLIMIT_CPU, &cpu);
}

static int descriptors_set(const struct init_job *job)
{
    unsigned first = 3;
    if (dup2(job->fd_stdin, 0) < 0 || dup2(job->fd_stdout, 1) < 0 || dup2(job->fd_stderr, 2) < 0)
        return -1;
    if (job->fd_channel >= 0) {
        if (dup2(job->fd_channel, 3) < 0)
            return -1;
        first = 4;
    }
    return close_range(first, ~0U, 0);
}

static void signals_reset(void)
{
    sigset_t none;
    signal(SIGPIPE, SIG_DFL); /* the launcher starts with all of them so, and changes these */
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int program_prepare(const struct init_job *job, bool zygote, const char **step)
{
#define STEP(name, call) \
    do {                 \
        *step = (name);  \
        if ((call) < 0)  \
            return -1;   \
    } while (0)
    STEP("setsid", setsid());
    if (!zygote) /* a Python keeps those that it set when it started */
        signals_reset();
    umask(022);
    STEP("chdir to the work folder", chdir(WORK_FOLDER));
    STEP("descriptors", descriptors_set(job));
    STEP("rlimits", limits_set(job));
    /* a keeper's user namespace has lost the bounding set before, and so has a spare */
    STEP("dropping capabilities", capabilities_drop(!job->prepared));
    STEP("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    STEP("the seccomp filter",
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &launcher_filters[job->head.file_locks], 0, 0));
#undef STEP
    return 0;
}

int join_groups(const struct init_job *job)
{
    for (int i = 0; i < job->group_count; i++)
        if (write(job->fd_tasks[i], "0", 1) != 1)
            return -1;
    return 0;
}

struct start *start_map(void)
{
    struct start *start =
        mmap(NULL, sizeof *start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

void say_failed(int fd_status, const char *step, int error)
{
    struct init_message message = {.word = INIT_FAILED};
    snprintf(message.text, sizeof message.text, "%s: %s", step, strerror(error));
    send_message(fd_status, &message, sizeof message, NULL, 0);
}

void say_ended(int fd_status, int status, int exec_error)
{
    struct init_message message = {.word = INIT_ENDED, .status = status, .exec_error = exec_error};
    struct rusage usage;
    if (getrusage(RUSAGE_CHILDREN, &usage) == 0)
        message.cpu_ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000000) +
                         (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * INT64_C(1000);
    send_message(fd_status, &message, sizeof message, NULL, 0);
}
