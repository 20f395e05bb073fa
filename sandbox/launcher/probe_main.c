/* weir-sandbox-probe: hostile on purpose. The self-test runs it inside a sandbox before anything else may.
 *
 *     weir-sandbox-probe escape PORT ABSTRACT CANARY HOST_PID    prints the name of each attack that worked
 *     weir-sandbox-probe spin|grow|forks|flood|sleep             to run into one limit
 *
 * Exit code 0 of "escape": all contained; 1: the output says which was not. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "sandbox/protocol.h"

static const char *abstract_name, *canary;
static int port;
static pid_t host_pid;

static bool opens(const char *path, int flags)
{
    int fd = open(path, flags | O_NONBLOCK);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool connects(int family, const void *address, socklen_t size)
{
    int fd = socket(family, SOCK_STREAM, 0);
    bool done = fd >= 0 && connect(fd, address, size) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

static bool tcp_loopback(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connects(AF_INET, &to, sizeof to);
}

static bool unix_abstract(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "%s", abstract_name);
    return connects(
        AF_UNIX, &to,
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract_name)));
}

static bool other_sockets(void)
{
    static const int families[] = {AF_UNIX, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK, AF_BLUETOOTH};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (socket(families[i], SOCK_DGRAM, 0) >= 0)
            return true;
    return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0;
}

static bool host_files(void)
{
    return opens("/etc/shadow", O_RDONLY) || opens(canary, O_RDONLY) || opens("/root", O_RDONLY) ||
           opens("/home", O_RDONLY) || opens("/../../etc/shadow", O_RDONLY);
}

static bool host_writes(void)
{
    return opens("/usr/bin/true", O_WRONLY) || open("/usr/x", O_WRONLY | O_CREAT, 0644) >= 0 ||
           open("/x", O_WRONLY | O_CREAT, 0644) >= 0 || opens("/etc/passwd", O_WRONLY) ||
           mkdir("/usr/y", 0755) == 0 || rename("/etc/passwd", "/etc/z") == 0;
}

static bool mounts(void)
{
    return mount("none", "/tmp", "tmpfs", 0, NULL) == 0 || umount2("/usr", MNT_DETACH) == 0 ||
           mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) == 0 ||
           syscall(SYS_fsopen, "tmpfs", 0) >= 0 || syscall(SYS_open_tree, AT_FDCWD, "/", 1) >= 0;
}

static bool user_namespace(void)
{
    return unshare(CLONE_NEWUSER) == 0 || unshare(CLONE_NEWNS) == 0;
}

static bool clone_namespace(void)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid > 0;
}

static bool clone3_known(void)
{
    char args[88] = {0};
    return syscall(SYS_clone3, args, sizeof args) >= 0 || errno != ENOSYS;
}

static bool joins(void)
{
    int fd = open("/proc/1/ns/mnt", O_RDONLY);
    return fd >= 0 || syscall(SYS_setns, 0, 0) == 0 || chroot("/tmp") == 0;
}

static bool traces(void)
{
    return ptrace(PTRACE_ATTACH, 1, NULL, NULL) == 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}

static bool reads_init(void)
{
    static const char *const names[] = {"/proc/1/mem",      "/proc/1/environ", "/proc/1/fd/0",
                                        "/proc/1/root/etc", "/proc/1/maps",    "/proc/1/exe"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (opens(names[i], O_RDONLY))
            return true;
    return false;
}

static bool proc_leftovers(void)
{
    static const char *const names[] = {"/proc/kallsyms",      "/proc/config.gz",
                                        "/proc/keys",          "/proc/kcore",
                                        "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern",
                                        "/sys/kernel",         "/sys/fs/cgroup"};
    char byte;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int fd = open(names[i], O_RDONLY | O_NONBLOCK);
        if (fd >= 0 && read(fd, &byte, 1) != 0)
            return true;
    }
    return false;
}

static bool sees_host(void)
{
    DIR *folder = opendir("/proc");
    long most = 0;
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        long pid = strtol(entry->d_name, NULL, 10);
        most = pid > most ? pid : most;
    }
    return most > 20 || (host_pid > 20 && kill(host_pid, 0) == 0);
}

static bool kernel_calls(void)
{
    static const long calls[] = {SYS_io_uring_setup,   SYS_bpf,
                                 SYS_perf_event_open,  SYS_userfaultfd,
                                 SYS_add_key,          SYS_keyctl,
                                 SYS_process_vm_readv, SYS_init_module,
                                 SYS_kexec_load,       SYS_open_by_handle_at,
                                 SYS_shmget,           SYS_pidfd_open,
                                 SYS_reboot,           SYS_syslog};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (syscall(calls[i], 1, 0, 0, 0, 0, 0) >= 0 || errno != ENOSYS)
            return true;
    return false;
}

static bool becomes_root(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    syscall(SYS_capget, &head, data);
    return setuid(0) == 0 || setgid(0) == 0 || data[0].effective != 0 || data[1].effective != 0 ||
           data[0].permitted != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

static bool leaked_descriptors(void)
{
    for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return true;
    return false;
}

static bool locks(void)
{
    struct flock lock = {.l_type = F_RDLCK};
    int fd = open("/usr/bin/true", O_RDONLY);
    return fcntl(fd, F_SETLK, &lock) == 0 || fcntl(fd, F_GETLK, &lock) == 0 ||
           syscall(SYS_flock, fd, 1) == 0;
}

static bool devices(void)
{
    static const char *const names[] = {"/dev/kvm",  "/dev/mem",     "/dev/vda",
                                        "/dev/sda",  "/dev/fuse",    "/dev/tty",
                                        "/dev/ptmx", "/dev/net/tun", "/dev/kmsg"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (opens(names[i], O_RDONLY))
            return true;
    return mknod("device", S_IFBLK | 0600, makedev(8, 0)) == 0 ||
           mknod("mem", S_IFCHR | 0600, makedev(1, 1)) == 0;
}

static bool terminal(void)
{
    return ioctl(0, TIOCSTI, "x") == 0 || ioctl(2, TIOCSTI, "x") == 0 ||
           ioctl(0, TIOCSCTTY, 1) == 0;
}

static bool raises_limits(void)
{
    struct rlimit more = {4096, 4096};
    return setrlimit(RLIMIT_NOFILE, &more) == 0 ||
           syscall(SYS_prlimit64, 1, RLIMIT_CPU, &more, NULL) == 0 ||
           setpriority(PRIO_PROCESS, 0, -10) == 0;
}

static bool environment(void)
{
    int count = 0;
    while (environ[count] != NULL)
        count++;
    return count > 4;
}

static bool kills_init(void)
{
    kill(1, SIGKILL);
    kill(1, SIGSTOP);
    return getppid() != 1;
}

static const struct {
    const char *name;
    bool (*works)(void);
} attacks[] = {
    {"descriptors left open", leaked_descriptors}, /* first: the others open some */
    {"TCP to the host's loopback", tcp_loopback},
    {"abstract unix socket of the host", unix_abstract},
    {"sockets of other families", other_sockets},
    {"files of the host", host_files},
    {"writing to the read-only tree", host_writes},
    {"mounting", mounts},
    {"a new user namespace", user_namespace},
    {"a new user namespace by clone", clone_namespace},
    {"clone3", clone3_known},
    {"setns or chroot", joins},
    {"ptrace", traces},
    {"reading init", reads_init},
    {"what /proc and /sys tell about the host", proc_leftovers},
    {"processes of the host", sees_host},
    {"system calls off the list", kernel_calls},
    {"root or capabilities", becomes_root},
    {"file locks", locks},
    {"devices", devices},
    {"the terminal", terminal},
    {"raising limits", raises_limits},
    {"the environment", environment},
    {"killing init", kills_init},
};

static int escape(void)
{
    int worked = 0;
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++)
        if (attacks[i].works()) {
            printf("%s%s", worked == 0 ? "" : ", ", attacks[i].name);
            worked++;
        }
    fflush(stdout);
    return worked != 0;
}

static void grow(void)
{
    enum { STEP = 1 << 20 };
    for (;;) {
        uint8_t *block =
            mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED)
            _exit(ENOMEM);
        for (size_t i = 0; i < STEP; i += 4096)
            block[i] = 1;
    }
}

static int forks(void)
{
    int count = 0;
    for (;; count++) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        if (pid < 0)
            break;
        if (count > 1000)
            return 1;
    }
    printf("%d", count);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "escape") == 0 && argc == 6) {
        port = (int)strtol(argv[2], NULL, 10);
        abstract_name = argv[3];
        canary = argv[4];
        host_pid = (pid_t)strtol(argv[5], NULL, 10);
        bool proc = access("/proc/self/ns", F_OK) == 0; /* before the attacks */
        int out = escape();
        return out != 0 || proc ? out : PROBE_WITHOUT_PROC;
    }
    if (strcmp(what, "spin") == 0)
        for (volatile unsigned i = 0;; i++)
            ;
    if (strcmp(what, "grow") == 0)
        grow();
    if (strcmp(what, "forks") == 0)
        return forks();
    while (strcmp(what, "flood") == 0)
        if (write(1, argv, 64) < 0)
            return 1;
    while (strcmp(what, "sleep") == 0)
        pause();
    return 2;
}
