/* Attacks on what the machine has: processes, memory, disk, output, time; and on the verdict. Those that are stopped by
 * a limit never return; the others return whether they got more than their share. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/attacks/attack.h"

/* As test_sandbox_attacks.c sets them. */
enum { PROCESSES = 32, FILES = 64, INODES = 2048, SIGNALS = 256 };
static const size_t MIB = 1 << 20;

__attribute__((noreturn)) static void wait_for_ever(void)
{
    for (;;)
        pause();
}

/* ---- processes ---- */

static bool fork_bomb(void)
{
    while (fork() >= -1)
        ;
    return true;
}
static bool session_bomb(void)
{
    while (fork() >= -1)
        setsid();
    return true;
}
static bool vfork_hang(void)
{
    if (vfork() == 0)
        wait_for_ever();
    return true;
}
static bool fork_count(void)
{
    int made = 0;
    for (pid_t pid; made < 4 * PROCESSES && (pid = fork()) >= 0; made++)
        if (pid == 0)
            wait_for_ever();
    return made >= PROCESSES;
}
static void *idle(void *nothing)
{
    (void)nothing;
    wait_for_ever();
}
static bool thread_bomb(void)
{
    int made = 0;
    pthread_t thread;
    while (made < 4 * PROCESSES && pthread_create(&thread, NULL, idle, NULL) == 0)
        made++;
    return made >= PROCESSES;
}
static bool fork_chain(void) /* every parent leaves at once; the first one is the program */
{
    for (int i = 0; i < 8; i++)
        if (fork() != 0)
            _exit(i == 0 ? 0 : 1);
    wait_for_ever();
}
static bool exec_loop(void)
{
    char *const arguments[] = {"sh",      "-c", "exec \"$0\" \"$@\"; :",
                               "/bin/sh", "-c", "exec sh -c 'while :; do sh -c :; done'",
                               NULL};
    execv("/bin/sh", arguments);
    return true;
}
static bool daemon_left(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            for (int i = 0; i < 3; i++)
                close(i);
            wait_for_ever();
        }
        _exit(0);
    }
    return false;
}
static bool daemon_with_stdout(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            wait_for_ever();
        _exit(0);
    }
    return false;
}
static bool write_after_end(void) /* "late" must not be in the output */
{
    if (fork() == 0) {
        sleep(1);
        if (write(1, "LEAK late\n", 10) < 0)
            _exit(1);
        _exit(0);
    }
    return false;
}
static bool kill_all(void)
{
    signal(SIGTERM, SIG_IGN);
    kill(-1, SIGKILL);
    return false;
}
static bool kill_init(void)
{
    static const int signals[] = {SIGKILL, SIGSTOP, SIGTERM, SIGSEGV, SIGCHLD};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        kill(1, signals[i]);
    return getppid() > 1;
}
static bool kill_parent(void)
{
    if (getppid() > 1)
        return true;
    kill(getppid(), SIGKILL);
    return false;
}

/* ---- memory ---- */

static void touch(size_t bytes)
{
    for (size_t done = 0; done < bytes; done += MIB) {
        uint8_t *block =
            mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) {
            printf("contained\n");
            fflush(stdout);
            _exit(0);
        }
        for (size_t i = 0; i < MIB; i += 4096)
            block[i] = 1;
    }
}
static bool memory_touch(void)
{
    touch(2048 * MIB);
    return true;
}
static bool memory_children(void)
{
    for (int i = 0; i < 20; i++)
        if (fork() == 0) {
            touch(100 * MIB);
            wait_for_ever();
        }
    wait_for_ever();
}
static bool memory_mapped_twice(void) /* shared memory counts too */
{
    for (int i = 0; i < 600; i++) {
        uint8_t *block = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED)
            return false;
        memset(block, 1, MIB);
    }
    return true;
}
static bool memory_reserved(void) /* not a fault by itself */
{
    mmap(NULL, (size_t)1 << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return false;
}
static bool memory_many_ranges(void)
{
    for (int i = 0; i < 200000; i++)
        if (mmap(NULL, 4096, i % 2 == 0 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0) == MAP_FAILED)
            return false;
    return true;
}
static bool recurse_deep(int depth)
{
    volatile char block[4096];
    block[0] = (char)depth;
    return recurse_deep(depth + 1) && block[0] != 0;
}
static bool deep_recursion(void)
{
    return recurse_deep(0);
}
static bool memory_file(void)
{
    char block[4096] = {1};
    int fd = (int)syscall(SYS_memfd_create, "m", 0);
    for (size_t i = 0; i < 4096 * MIB / sizeof block; i++)
        if (write(fd, block, sizeof block) != sizeof block)
            return false;
    return true;
}
static bool pipe_buffers(void)
{
    size_t total = 0;
    for (int i = 0; i < 4 * FILES; i++) {
        int ends[2];
        if (pipe(ends) != 0)
            break;
        total += (size_t)1;
        fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        static char block[1 << 20];
        if (write(ends[1], block, sizeof block) < 0)
            break;
    }
    return total > FILES;
}
static bool socket_buffers(void)
{
    int total = 0, pair[2];
    static char block[1 << 20];
    while (total < 4 * FILES && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        while (write(pair[0], block, sizeof block) > 0)
            ;
        total++;
    }
    return total > FILES;
}

/* ---- disk ---- */

static bool fill(const char *path)
{
    static char block[1 << 20];
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    size_t total = 0;
    for (ssize_t put; total < 4096 * MIB && (put = write(fd, block, sizeof block)) > 0;)
        total += (size_t)put;
    return total > 40 * MIB;
}
static bool big_file(void)
{
    return fill("big");
} /* SIGXFSZ */
static bool big_tmp_file(void)
{
    return fill("/tmp/big");
}
static bool big_shm_file(void)
{
    return fill("/dev/shm/big");
}
static bool fill_disk(void)
{
    char name[16];
    bool worked = false;
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 16 && !worked; i++) {
        snprintf(name, sizeof name, "f%d", i);
        fill(name);
        worked = i >= 8 && access(name, F_OK) == 0 && truncate(name, 0) == 0 && fill(name);
    }
    return worked;
}
static bool many_files(void)
{
    char name[16];
    int made = 0;
    for (int fd; made < 8 * INODES; made++) {
        snprintf(name, sizeof name, "n%d", made);
        if ((fd = open(name, O_CREAT | O_WRONLY, 0644)) < 0)
            break;
        close(fd);
    }
    return made > INODES;
}
static bool many_folders(void)
{
    int depth = 0;
    while (depth < 8 * INODES && mkdir("d", 0755) == 0 && chdir("d") == 0)
        depth++;
    return depth > INODES;
}
static bool sparse_file(void)
{
    int fd = open("sparse", O_CREAT | O_WRONLY, 0644);
    return ftruncate(fd, INT64_C(32) << 40) == 0;
}
static bool allocated_file(void)
{
    int fd = open("allocated", O_CREAT | O_WRONLY, 0644);
    return fallocate(fd, 0, 0, INT64_C(4) << 30) == 0;
}
static bool core_file(void)
{
    struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &more);
    abort();
}

/* ---- output ---- */

static bool flood(int fd)
{
    char block[4096];
    memset(block, 'x', sizeof block);
    for (;;)
        if (write(fd, block, sizeof block) < 0)
            return true;
}
static bool stdout_flood(void)
{
    return flood(1);
}
static bool stderr_flood(void)
{
    return flood(2);
}
static bool children_flood(void)
{
    for (int i = 0; i < 4; i++)
        if (fork() == 0)
            flood(1);
    wait_for_ever();
}
static bool slow_drip(void)
{
    for (;;) {
        if (write(1, ".", 1) != 1)
            return true;
        poll(NULL, 0, 20);
    }
}
static bool reopened_stdout(void)
{
    int fd = open("/dev/stdout", O_WRONLY);
    return flood(fd < 0 ? 1 : fd);
}

/* ---- time ---- */

static bool spin(void)
{
    volatile unsigned i = 1;
    while (i != 0)
        i = i | 1;
    return true;
}
static bool ignore_cpu_signal(void)
{
    signal(SIGXCPU, SIG_IGN);
    return spin();
}
static bool spin_children(void)
{
    for (int i = 0; i < 8; i++)
        if (fork() == 0)
            spin();
    wait_for_ever();
}
static bool
spin_short_children(void) /* each alone uses little; their parent does not wait for them */
{
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        pid_t pid = fork();
        if (pid == 0) {
            for (volatile unsigned i = 0; i < 20000000; i++)
                ;
            _exit(0);
        }
        if (pid < 0)
            poll(NULL, 0, 1);
    }
}
static bool sleep_long(void)
{
    sleep(3600);
    return true;
}
static bool ignore_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    wait_for_ever();
}
static bool stop_itself(void)
{
    raise(SIGSTOP);
    wait_for_ever();
}
static bool stopped_children(void)
{
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            raise(SIGSTOP);
            wait_for_ever();
        }
    wait_for_ever();
}
static bool read_for_ever(void) /* stdin has an end */
{
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    return false;
}

/* ---- tables of the kernel ---- */

static bool many_watches(void)
{
    int made = 0;
    while (made < 4 * FILES && inotify_init1(0) >= 0)
        made++;
    return made > FILES;
}
static bool many_timers(void)
{
    int made = 0;
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    while (made < 100000 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        made++;
    return made > SIGNALS;
}
static bool many_signals(void)
{
    int queued = 0;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    while (queued < 100000 && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 1}) == 0)
        queued++;
    return queued > SIGNALS;
}
static bool nested_epoll(void)
{
    int made = 0, last = epoll_create1(0);
    for (int next; made < 4 * FILES && (next = epoll_create1(0)) >= 0; made++, last = next) {
        struct epoll_event event = {.events = EPOLLIN};
        epoll_ctl(next, EPOLL_CTL_ADD, last, &event);
    }
    return made > FILES;
}
static bool
send_descriptors(void) /* sockets inside sockets: in flight, and not in the table of open files */
{
    int sent = 0, carrier[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, carrier) != 0)
        return false;
    fcntl(carrier[0], F_SETFL, O_NONBLOCK);
    for (; sent < 100000; sent++) {
        union {
            struct cmsghdr head;
            char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec part = {"x", 1};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof control};
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), carrier, sizeof(int));
        if (sendmsg(carrier[0], &message, 0) < 0)
            break;
    }
    return sent > 1000;
}

/* ---- the verdict ---- */

static bool exit_256(void)
{
    _exit(256);
} /* 0, as the kernel tells: never the reason to pass */
static bool exit_7(void)
{
    _exit(7);
}
static bool forge_status(void) /* the true status is 7 */
{
    static char record[512];
    memset(record, 0, sizeof record);
    record[0] = 2;
    for (int fd = 0; fd < 1024; fd++)
        if (fd != 1 && fd != 2 && write(fd, record, sizeof record) < 0)
            continue;
    for (int i = 0; i < 64; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/1/fd/%d", i);
        int fd = open(path, O_WRONLY | O_NONBLOCK);
        if (fd >= 0 && write(fd, record, sizeof record) > 0)
            return true;
    }
    _exit(7);
}
static bool kill_itself(void)
{
    raise(SIGKILL);
    return true;
}
static bool odd_bytes(void)
{
    static const char bytes[] = "a\0b\033[2J\xff\xfe\xed\xa0\x80\xf4\x90\x80\x80\n";
    return write(1, bytes, sizeof bytes - 1) != (ssize_t)sizeof bytes - 1;
}
/* What the caller asks for as its result "out" is something else each time. */
static bool result_link(void)
{
    return symlink(bait.canary, "out") != 0;
}
static bool result_proc_link(void)
{
    return symlink("/proc/self/root/etc/passwd", "out") != 0;
}
static bool result_fifo(void)
{
    return mkfifo("out", 0644) != 0;
}
static bool result_folder(void)
{
    return mkdir("out", 0755) != 0;
}
static bool result_huge(void)
{
    signal(SIGXFSZ, SIG_IGN);
    int fd = open("out", O_CREAT | O_WRONLY, 0644);
    return ftruncate(fd, INT64_C(1) << 40) == 0;
}
static bool result_behind_link(void)
{
    return symlink("/etc", "folder") != 0;
} /* asked for: folder/passwd */
static bool result_unreadable(void)
{
    int fd = open("out", O_CREAT | O_WRONLY, 0);
    return fd < 0 || write(fd, "x", 1) != 1 || chmod(".", 0) != 0;
}

#define ROW(name)   \
    {               \
#name, name \
    }
static const struct attack attacks[] = {
    ROW(fork_bomb),
    ROW(session_bomb),
    ROW(vfork_hang),
    ROW(fork_count),
    ROW(thread_bomb),
    ROW(fork_chain),
    ROW(exec_loop),
    ROW(daemon_left),
    ROW(daemon_with_stdout),
    ROW(write_after_end),
    ROW(kill_all),
    ROW(kill_init),
    ROW(kill_parent),
    ROW(memory_touch),
    ROW(memory_children),
    ROW(memory_mapped_twice),
    ROW(memory_reserved),
    ROW(memory_many_ranges),
    ROW(deep_recursion),
    ROW(memory_file),
    ROW(pipe_buffers),
    ROW(socket_buffers),
    ROW(big_file),
    ROW(big_tmp_file),
    ROW(big_shm_file),
    ROW(fill_disk),
    ROW(many_files),
    ROW(many_folders),
    ROW(sparse_file),
    ROW(allocated_file),
    ROW(core_file),
    ROW(stdout_flood),
    ROW(stderr_flood),
    ROW(children_flood),
    ROW(slow_drip),
    ROW(reopened_stdout),
    ROW(spin),
    ROW(ignore_cpu_signal),
    ROW(spin_children),
    ROW(spin_short_children),
    ROW(sleep_long),
    ROW(ignore_signals),
    ROW(stop_itself),
    ROW(stopped_children),
    ROW(read_for_ever),
    ROW(many_watches),
    ROW(many_timers),
    ROW(many_signals),
    ROW(nested_epoll),
    ROW(send_descriptors),
    ROW(exit_256),
    ROW(exit_7),
    ROW(forge_status),
    ROW(kill_itself),
    ROW(odd_bytes),
    ROW(result_link),
    ROW(result_proc_link),
    ROW(result_fifo),
    ROW(result_folder),
    ROW(result_huge),
    ROW(result_behind_link),
    ROW(result_unreadable),
};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, sizeof attacks / sizeof attacks[0]);
}
