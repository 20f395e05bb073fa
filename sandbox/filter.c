#include "sandbox/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/filter_program.h"

/* Names that an architecture does not have are left out there. */
static const char *const allowed[] = {
    /* files */
    "access",
    "chdir",
    "chmod",
    "chown",
    "close",
    "close_range",
    "copy_file_range",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fdatasync",
    "fgetxattr",
    "flistxattr",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futimesat",
    "getcwd",
    "getdents",
    "getdents64",
    "getxattr",
    "lchown",
    "lgetxattr",
    "link",
    "linkat",
    "listxattr",
    "llistxattr",
    "lseek",
    "lstat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "splice",
    "stat",
    "statfs",
    "statx",
    "symlink",
    "symlinkat",
    "sync_file_range",
    "tee",
    "truncate",
    "umask",
    "unlink",
    "unlinkat",
    "utime",
    "utimensat",
    "utimes",
    "vmsplice",
    "write",
    "writev",
    /* waiting */
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd",
    "eventfd2",
    "inotify_add_watch",
    "inotify_init",
    "inotify_init1",
    "inotify_rm_watch",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pselect6",
    "select",
    "signalfd",
    "signalfd4",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_settime",
    /* memory */
    "brk",
    "madvise",
    "membarrier",
    "memfd_create",
    "mincore",
    "mlock",
    "mlock2",
    "mlockall",
    "mmap",
    "mprotect",
    "mremap",
    "msync",
    "munlock",
    "munlockall",
    "munmap",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    /* processes, threads, signals */
    "alarm",
    "arch_prctl",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "fork",
    "futex",
    "futex_waitv",
    "futex_wait",
    "futex_wake",
    "futex_requeue",
    "get_robust_list",
    "get_thread_area",
    "getcpu",
    "getitimer",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getrusage",
    "getsid",
    "gettid",
    "kill",
    "pause",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigqueueinfo",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_tgsigqueueinfo",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_yield",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "setitimer",
    "setpgid",
    "setsid",
    "sigaltstack",
    "tgkill",
    "tkill",
    "vfork",
    "wait4",
    "waitid",
    /* who it is; without capabilities and with one mapped user these change nothing */
    "capget",
    "capset",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getuid",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setrlimit",
    "setuid",
    "sysinfo",
    "uname",
    /* time */
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "gettimeofday",
    "nanosleep",
    "time",
    "timer_create",
    "timer_delete",
    "timer_getoverrun",
    "timer_gettime",
    "timer_settime",
    "times",
    /* sockets; which families: below. The network namespace has no device that is up */
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "getrandom",
};

/* What people and tests expect to be told as a matter of permission. */
static const char *const refused[] = {
    "setpriority",    "sched_setscheduler",
    "sched_setparam", "sched_setattr",
    "ioprio_set",     "clock_settime",
    "settimeofday",   "adjtimex",
    "clock_adjtime",  "flock",
    "unshare",        "setns",
    "sethostname",    "setdomainname",
    "mount",          "umount2",
    "pivot_root",     "chroot",
};

/* Reach the disks of the host through read-only files; the program is told that they worked. */
static const char *const ignored[] = {"sync", "syncfs"};

static const uint32_t ioctls[] = {
    TCGETS,   TCSETS,  TCSETSW,  TCSETSF, TIOCGWINSZ, TIOCGPGRP,
    FIONREAD, FIONBIO, FIOASYNC, FIOCLEX, FIONCLEX,
};

/* No locks: on files that many runs can read they would be a channel between runs. */
#define FCNTLS                                                                                \
    F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETPIPE_SZ, F_SETPIPE_SZ, \
        F_ADD_SEALS, F_GET_SEALS, F_GETOWN, F_GETSIG
static const uint32_t fcntls[] = {FCNTLS};

/* For runs that ask: a database on disk wants them. Only a writer's lock can be felt by others, and no file that several
 * runs see can be opened for writing; who asks (F_GETLK) would see readers, so nobody may. */
static const uint32_t lock_fcntls[] = {FCNTLS, F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW};

static const uint32_t prctls[] = {
    PR_SET_NAME,         PR_GET_NAME,
    PR_GET_DUMPABLE,     PR_SET_DUMPABLE,
    PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS,
    PR_GET_PDEATHSIG,    PR_SET_PDEATHSIG,
    PR_CAPBSET_READ,     PR_GET_SECCOMP,
    PR_GET_TIMERSLACK,   PR_SET_TIMERSLACK,
    PR_GET_KEEPCAPS,     PR_GET_THP_DISABLE,
    PR_SET_THP_DISABLE,  0x53564d41 /* PR_SET_VMA: names of memory ranges */,
};

/* Clone without new namespaces; clone3 hides its flags in memory, so libraries are sent back to clone. */
static const uint32_t spaces[] = {CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                                  CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PTRACE};
static const uint32_t personalities[] = {PER_LINUX, 0xffffffff, ADDR_NO_RANDOMIZE};
static const uint32_t families[] = {AF_INET, AF_INET6}; /* streams, datagrams; others are unknown */
static const uint32_t pairs[] = {AF_UNIX};              /* which have no name */
static const uint32_t self[] = {0}; /* processors and limits of the caller: init has its user */

#define SAY(error) (SECCOMP_RET_ERRNO | (error))

static const struct {
    const char *name;
    struct filter_choice choice; /* its number comes later */
} chosen[] = {
#define ROW(name, argument, look, values, otherwise)                                 \
    {                                                                                \
        name,                                                                        \
        {                                                                            \
            0, argument, look, values, sizeof(values) / sizeof(values)[0], otherwise \
        }                                                                            \
    }
    ROW("ioctl", 1, LOOK_LOW, ioctls, SAY(ENOSYS)),
    ROW("fcntl", 1, LOOK_LOW, fcntls, SAY(ENOSYS)),
    ROW("prctl", 0, LOOK_LOW, prctls, SAY(ENOSYS)),
    ROW("personality", 0, LOOK_LOW, personalities, SAY(ENOSYS)),
    ROW("socket", 0, LOOK_WHOLE, families, SAY(EAFNOSUPPORT)),
    ROW("socketpair", 0, LOOK_WHOLE, pairs, SAY(ENOSYS)),
    ROW("clone", 0, LOOK_CLEAR, spaces, SAY(EPERM)),
    ROW("prlimit64", 0, LOOK_WHOLE, self, SAY(EPERM)),
    ROW("sched_setaffinity", 0, LOOK_WHOLE, self, SAY(EPERM)),
#undef ROW
};
enum { CHOSEN = sizeof chosen / sizeof chosen[0] };

static int number_of(const char *name)
{
    int number = seccomp_syscall_resolve_name(name);
    return number >= 0 && number < FILTER_CALLS_MAX ? number : -1;
}

static void set_all(struct filter_table *table, uint32_t action, const char *const *names,
                    size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int number = number_of(names[i]);
        if (number >= 0)
            table->actions[number] = action;
    }
}

enum status filter_make(struct buffer *instructions, bool locks)
{
    struct filter_table table = {.usual = SAY(ENOSYS)};
    struct filter_choice choices[CHOSEN];
    for (int i = 0; i < FILTER_CALLS_MAX; i++)
        table.actions[i] = table.usual;
#define LIST(list) list, sizeof list / sizeof list[0]
    set_all(&table, SECCOMP_RET_ALLOW, LIST(allowed));
    set_all(&table, SAY(EPERM), LIST(refused));
    set_all(&table, SAY(0), LIST(ignored));
#undef LIST
    for (size_t i = 0; i < CHOSEN; i++) {
        choices[i] = chosen[i].choice;
        choices[i].number = number_of(chosen[i].name);
        if (locks && choices[i].values == fcntls) {
            choices[i].values = lock_fcntls;
            choices[i].count = sizeof lock_fcntls / sizeof lock_fcntls[0];
        }
    }
    table.choices = choices;
    table.choice_count = CHOSEN;
    return filter_program(&table, seccomp_arch_native(), instructions);
}
