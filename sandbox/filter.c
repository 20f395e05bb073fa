#include "sandbox/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

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

static const uint64_t ioctls[] = {
    TCGETS,   TCSETS,  TCSETSW,  TCSETSF, TIOCGWINSZ, TIOCGPGRP,
    FIONREAD, FIONBIO, FIOASYNC, FIOCLEX, FIONCLEX,
};

/* No locks: on files that many runs can read they would be a channel between runs. */
static const uint64_t fcntls[] = {
    F_DUPFD,      F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,     F_GETFL,  F_SETFL,
    F_GETPIPE_SZ, F_SETPIPE_SZ,    F_ADD_SEALS, F_GET_SEALS, F_GETOWN, F_GETSIG,
};

/* For runs that ask: a database on disk wants them. Only a writer's lock can be felt by others, and no file that several
 * runs see can be opened for writing; who asks (F_GETLK) would see readers, so nobody may. */
static const uint64_t lock_fcntls[] = {F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW};

static const uint64_t prctls[] = {
    PR_SET_NAME,         PR_GET_NAME,
    PR_GET_DUMPABLE,     PR_SET_DUMPABLE,
    PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS,
    PR_GET_PDEATHSIG,    PR_SET_PDEATHSIG,
    PR_CAPBSET_READ,     PR_GET_SECCOMP,
    PR_GET_TIMERSLACK,   PR_SET_TIMERSLACK,
    PR_GET_KEEPCAPS,     PR_GET_THP_DISABLE,
    PR_SET_THP_DISABLE,  0x53564d41 /* PR_SET_VMA: names of memory ranges */,
};

static int add(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned count,
               const struct scmp_arg_cmp *terms)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR || number < 0)
        return 0;
    return seccomp_rule_add_array(filter, action, number, count, terms);
}

static int add_all(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count && error == 0; i++)
        error = add(filter, action, names[i], 0, NULL);
    return error;
}

/* The call when argument `which`, 32 bits of it, is one of `values`. */
static int add_values(scmp_filter_ctx filter, const char *name, unsigned which,
                      const uint64_t *values, size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count && error == 0; i++) {
        struct scmp_arg_cmp term =
            SCMP_CMP(which, SCMP_CMP_MASKED_EQ, UINT64_C(0xffffffff), values[i]);
        error = add(filter, SCMP_ACT_ALLOW, name, 1, &term);
    }
    return error;
}

/* socket: inet and inet6 streams and datagrams; any other family is unknown here. socketpair: unix, which has no name. */
static int add_sockets(scmp_filter_ctx filter)
{
    int error = 0;
    for (uint64_t family = AF_INET; family <= AF_INET6 && error == 0; family++) {
        bool fine = family == AF_INET || family == AF_INET6;
        struct scmp_arg_cmp term = SCMP_A0_64(SCMP_CMP_EQ, family, 0);
        error =
            add(filter, fine ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EAFNOSUPPORT), "socket", 1, &term);
    }
    struct scmp_arg_cmp less = SCMP_A0_64(SCMP_CMP_LT, AF_INET, 0);
    struct scmp_arg_cmp more = SCMP_A0_64(SCMP_CMP_GT, AF_INET6, 0);
    struct scmp_arg_cmp unix_pair = SCMP_A0_64(SCMP_CMP_EQ, AF_UNIX, 0);
    if (error == 0)
        error = add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), "socket", 1, &less);
    if (error == 0)
        error = add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), "socket", 1, &more);
    return error != 0 ? error : add(filter, SCMP_ACT_ALLOW, "socketpair", 1, &unix_pair);
}

/* clone without new namespaces; clone3 hides its flags in memory, so libraries are sent back to clone. Limits and
 * processors of the caller itself only: init has the same user. */
static int add_processes(scmp_filter_ctx filter)
{
    const uint64_t spaces = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                            CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PTRACE;
    static const char *const own[] = {"prlimit64", "sched_setaffinity"};
    static const uint64_t personalities[] = {PER_LINUX, 0xffffffff, ADDR_NO_RANDOMIZE};
    struct scmp_arg_cmp plain = SCMP_A0_64(SCMP_CMP_MASKED_EQ, spaces, 0);
    int error = add(filter, SCMP_ACT_ALLOW, "clone", 1, &plain);
    for (int bit = 0; bit < 64 && error == 0; bit++) {
        struct scmp_arg_cmp one =
            SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT64_C(1) << bit, UINT64_C(1) << bit);
        if ((spaces >> bit & 1) != 0)
            error = add(filter, SCMP_ACT_ERRNO(EPERM), "clone", 1, &one);
    }
    for (size_t i = 0; i < 2 && error == 0; i++) {
        struct scmp_arg_cmp self = SCMP_A0_64(SCMP_CMP_EQ, 0, 0);
        struct scmp_arg_cmp other = SCMP_A0_64(SCMP_CMP_NE, 0, 0);
        error = add(filter, SCMP_ACT_ALLOW, own[i], 1, &self);
        if (error == 0)
            error = add(filter, SCMP_ACT_ERRNO(EPERM), own[i], 1, &other);
    }
    return error != 0 ? error : add_values(filter, "personality", 0, personalities, 3);
}

static int add_rules(scmp_filter_ctx filter, bool locks)
{
#define LIST(list) list, sizeof list / sizeof list[0]
    int error = add_all(filter, SCMP_ACT_ALLOW, LIST(allowed));
    error = error != 0 ? error : add_all(filter, SCMP_ACT_ERRNO(EPERM), LIST(refused));
    error = error != 0 ? error : add_all(filter, SCMP_ACT_ERRNO(0), LIST(ignored));
    error = error != 0 ? error : add_values(filter, "ioctl", 1, LIST(ioctls));
    error = error != 0 ? error : add_values(filter, "fcntl", 1, LIST(fcntls));
    if (locks)
        error = error != 0 ? error : add_values(filter, "fcntl", 1, LIST(lock_fcntls));
    error = error != 0 ? error : add_values(filter, "prctl", 0, LIST(prctls));
    error = error != 0 ? error : add_sockets(filter);
    return error != 0 ? error : add_processes(filter);
#undef LIST
}

static enum status export(scmp_filter_ctx filter, struct buffer *instructions) {
    int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0) return FAIL(STATUS_IO, "memfd_create: %s", strerror(errno));
    enum status status = STATUS_OK; int error = seccomp_export_bpf(filter, fd);
    off_t size = lseek(fd, 0, SEEK_END);
    if (error != 0 || size <= 0)
        status = FAIL(STATUS_UNSUPPORTED, "libseccomp cannot write the filter: %s",
                      strerror(-error));
    if (status == STATUS_OK) status = buffer_reserve(instructions, (size_t)size);
    if (status == STATUS_OK){
        if (pread(fd, instructions->bytes + instructions->size, (size_t)size, 0) != size)
            status = FAIL(STATUS_IO, "the filter cannot be read back: %s", strerror(errno));
        else instructions->size += (size_t)size;}
close(fd);
return status;
}

enum status filter_make(struct buffer *instructions, bool locks)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (filter == NULL)
        return FAIL(STATUS_UNSUPPORTED, "libseccomp has no filter for this machine");
    seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
    int error = add_rules(filter, locks);
    enum status status = STATUS_OK;
    if (error != 0)
        status = FAIL(STATUS_UNSUPPORTED, "libseccomp refuses the filter: %s", strerror(-error));
    else
        status = export(filter, instructions);
    seccomp_release(filter);
    return status;
}
