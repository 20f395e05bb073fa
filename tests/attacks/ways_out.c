/* Ways out of the sandbox: each returns whether it found one. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <grp.h>

#include "tests/attacks/attack.h"

/* ---- the network ---- */

static bool connects_inet(const char *address, int port, int kind)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, kind, 0);
    inet_pton(AF_INET, address, &to.sin_addr);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && write(fd, "x", 1) == 1;
}
static bool tcp_loopback(void)
{
    return connects_inet("127.0.0.1", bait.port, SOCK_STREAM);
}
static bool tcp_outside(void)
{
    return connects_inet("192.0.2.1", 80, SOCK_STREAM);
}
static bool udp_loopback(void)
{
    return connects_inet("127.0.0.1", bait.port, SOCK_DGRAM);
}
static bool udp_dns(void)
{
    return connects_inet("192.0.2.53", 53, SOCK_DGRAM);
}
static bool tcp6_loopback(void)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)bait.port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}
static bool connects_unix(const char *name, bool abstract)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t size = strlen(name);
    memcpy(to.sun_path + abstract, name, size);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd >= 0 &&
           connect(fd, (struct sockaddr *)&to,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + size)) == 0;
}
static bool unix_abstract(void)
{
    return connects_unix(bait.abstract, true);
}
static bool unix_path(void)
{
    return connects_unix(bait.socket, false);
}
/* A socketpair is allowed: is one of its ends able to reach a name? */
static bool unix_pair_sendto(void)
{
    int pair[2];
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, bait.socket, strlen(bait.socket));
    return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0 &&
           (connect(pair[0], (struct sockaddr *)&to, sizeof to) == 0 ||
            sendto(pair[1], "x", 1, 0, (struct sockaddr *)&to, sizeof to) == 1);
}
static bool family(int which)
{
    return socket(which, SOCK_DGRAM, 0) >= 0 || socket(which, SOCK_RAW, 0) >= 0 ||
           socket(which, SOCK_SEQPACKET, 0) >= 0;
}
static bool vsock(void)
{
    return family(AF_VSOCK);
}
static bool alg(void)
{
    return family(AF_ALG);
}
static bool netlink(void)
{
    return family(AF_NETLINK);
}
static bool packet(void)
{
    return family(AF_PACKET);
}
static bool raw_socket(void)
{
    return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0;
}
static bool high_bits_family(void)
{
    return syscall(SYS_socket, INT64_C(0x100000001), SOCK_STREAM, 0) >= 0;
}

/* ---- namespaces and mounts ---- */

static bool unshare_user(void)
{
    return unshare(CLONE_NEWUSER) == 0;
}
static bool unshare_net(void)
{
    return unshare(CLONE_NEWNET) == 0;
}
static bool unshare_mount(void)
{
    return unshare(CLONE_NEWNS) == 0;
}
static bool cloned(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid > 0;
}
static bool clone_user(void)
{
    return cloned(CLONE_NEWUSER);
}
static bool clone_pid(void)
{
    return cloned(CLONE_NEWPID);
}
static bool clone3_user(void)
{
    struct {
        uint64_t flags, rest[10];
    } args = {.flags = CLONE_NEWUSER};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        _exit(0);
    return pid > 0 || errno != ENOSYS;
}
static bool setns_init(void)
{
    static const char *const names[] = {"user", "mnt", "pid", "net"};
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/1/ns/%s", names[i]);
        int fd = open(path, O_RDONLY);
        if (fd >= 0 || setns(fd, 0) == 0)
            return true;
    }
    int self = open("/proc/self/ns/user", O_RDONLY);
    return self >= 0 && setns(self, 0) == 0;
}
static bool mount_tmpfs(void)
{
    return mount("none", "/tmp", "tmpfs", 0, NULL) == 0;
}
static bool mount_proc(void)
{
    return mount("proc", "/proc", "proc", 0, NULL) == 0;
}
static bool mount_cgroup(void)
{
    return mount("none", "/tmp", "cgroup2", 0, NULL) == 0;
}
static bool bind_root(void)
{
    return mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL) == 0;
}
static bool remount_usr(void)
{
    return mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) == 0;
}
static bool umount_usr(void)
{
    return umount2("/usr", MNT_DETACH) == 0;
}
static bool umount_proc(void)
{
    return umount2("/proc", MNT_DETACH) == 0;
}
static bool new_mount_calls(void)
{
    return syscall(SYS_fsopen, "tmpfs", 0) >= 0 || syscall(SYS_open_tree, AT_FDCWD, "/", 1) >= 0 ||
           syscall(SYS_fspick, AT_FDCWD, "/", 0) >= 0 ||
           syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/usr", 0) == 0 ||
           syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0) == 0;
}
static bool pivot(void)
{
    return syscall(SYS_pivot_root, ".", ".") == 0;
}
static bool change_root(void)
{
    return chroot("/tmp") == 0;
}

/* ---- the kernel's other doors ---- */

static bool ptrace_init(void)
{
    return ptrace(PTRACE_ATTACH, 1, NULL, NULL) == 0 || ptrace(PTRACE_SEIZE, 1, NULL, NULL) == 0;
}
static bool ptrace_child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    return ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0;
}
static bool read_process(void)
{
    char byte;
    struct iovec local = {&byte, 1}, remote = {(void *)(uintptr_t)0x400000, 1};
    return process_vm_readv(1, &local, 1, &remote, 1, 0) > 0 ||
           process_vm_writev(1, &local, 1, &remote, 1, 0) > 0 ||
           process_vm_readv(getpid(), &local, 1, &local, 1, 0) > 0;
}
static bool known(long number)
{
    return syscall(number, 1, 0, 0, 0, 0, 0) >= 0 || errno != ENOSYS;
}
static bool io_uring(void)
{
    return known(SYS_io_uring_setup) || known(SYS_io_uring_enter) || known(SYS_io_uring_register);
}
static bool bpf(void)
{
    return known(SYS_bpf);
}
static bool perf(void)
{
    return known(SYS_perf_event_open);
}
static bool userfaultfd(void)
{
    return known(SYS_userfaultfd);
}
static bool keyrings(void)
{
    return known(SYS_add_key) || known(SYS_keyctl) || known(SYS_request_key);
}
static bool secret_memory(void)
{
    return known(447 /* memfd_secret */);
}
static bool pidfds(void)
{
    return known(SYS_pidfd_open) || known(SYS_pidfd_getfd) || known(SYS_pidfd_send_signal);
}
static bool modules(void)
{
    return known(SYS_init_module) || known(SYS_finit_module) || known(SYS_delete_module);
}
static bool kexec(void)
{
    return known(SYS_kexec_load) || known(SYS_reboot);
}
static bool kernel_log(void)
{
    return klogctl(3, NULL, 0) >= 0 || known(SYS_syslog);
}
static bool handles(void)
{
    return known(SYS_open_by_handle_at) || known(SYS_name_to_handle_at);
}
static bool x86_oddities(void)
{
    return known(SYS_modify_ldt) || known(SYS_iopl) || known(SYS_ioperm);
}
static bool quotas(void)
{
    return known(SYS_quotactl) || known(SYS_swapon) || known(SYS_acct);
}
static bool fanotify(void)
{
    return known(SYS_fanotify_init);
}
static bool landlock(void)
{
    return known(SYS_landlock_create_ruleset);
}
static bool odd_personality(void)
{
    return syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */) >= 0;
}
static bool compare_processes(void)
{
    return known(SYS_kcmp) || known(SYS_process_madvise) || known(SYS_migrate_pages);
}
static bool sysv_objects(void)
{
    return shmget(IPC_PRIVATE, UINT64_C(1) << 32, IPC_CREAT | 0600) >= 0 || known(SYS_semget) ||
           known(SYS_msgget) || known(SYS_mq_open);
}
static bool loosen_filter(void)
{
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
    syscall(SYS_seccomp, 1, 0, &program);
    return mount("none", "/tmp", "tmpfs", 0, NULL) == 0;
}
static bool become_dumpable(void)
{
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return open("/proc/1/mem", O_RDONLY) >= 0;
}
static bool become_subreaper(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
}
static bool speculation(void)
{
    return prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_ENABLE, 0, 0) == 0;
}
static bool call_32_bit(void) /* dies of SIGSYS */
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    return result > 0;
}
static bool call_x32(void)
{
    return syscall(0x40000000 | SYS_getpid) > 0;
}

/* ---- /proc and /sys ---- */

static bool reads(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    return fd >= 0 && read(fd, &byte, 1) > 0;
}
static bool init_memory(void)
{
    return open("/proc/1/mem", O_RDWR) >= 0 || reads("/proc/1/mem") || reads("/proc/1/maps");
}
static bool init_environment(void)
{
    return reads("/proc/1/environ");
}
static bool init_descriptors(void)
{
    for (int i = 0; i < 64; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/1/fd/%d", i);
        int fd = open(path, O_WRONLY | O_NONBLOCK);
        if (fd >= 0)
            return true;
    }
    return false;
}
static bool init_root(void)
{
    return open("/proc/1/root/etc", O_RDONLY) >= 0 || open("/proc/1/cwd", O_RDONLY) >= 0;
}
static bool init_program(void)
{
    return open("/proc/1/exe", O_RDONLY) >= 0;
}
static bool kernel_symbols(void)
{
    return reads("/proc/kallsyms") || reads("/proc/modules");
}
static bool kernel_config(void)
{
    return reads("/proc/config.gz") || reads("/proc/cmdline") || reads("/proc/version_signature");
}
static bool kernel_keys(void)
{
    return reads("/proc/keys") || reads("/proc/key-users");
}
static bool kernel_core(void)
{
    return reads("/proc/kcore") || reads("/proc/kmsg") || reads("/dev/kmsg");
}
static bool sysrq(void)
{
    return open("/proc/sysrq-trigger", O_WRONLY) >= 0;
}
static bool core_pattern(void)
{
    return open("/proc/sys/kernel/core_pattern", O_WRONLY) >= 0 ||
           reads("/proc/sys/kernel/core_pattern");
}
static bool sysfs(void)
{
    return open("/sys/kernel", O_RDONLY) >= 0 || open("/sys/fs/cgroup", O_RDONLY) >= 0;
}
static bool oom_score(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    int init = open("/proc/1/oom_score_adj", O_WRONLY);
    return (fd >= 0 && write(fd, "-1000", 5) == 5) || init >= 0;
}
static bool host_processes(void)
{
    int seen = 0;
    for (pid_t pid = 30; pid < 32768; pid++)
        seen += kill(pid, 0) == 0;
    return seen > 0 || (bait.host_pid > 30 && kill(bait.host_pid, SIGKILL) == 0);
}
static bool cgroup_escape(void)
{
    return mkdir("/sys/fs/cgroup/x", 0755) == 0 || open("/proc/self/../1/cgroup", O_WRONLY) >= 0;
}

/* ---- privileges ---- */

static bool set_root(void)
{
    return setuid(0) == 0 || setgid(0) == 0 || setresuid(0, 0, 0) == 0 || setreuid(0, 0) == 0;
}
static bool set_other(void)
{
    return setuid(1001) == 0 || setuid(65534) == 0;
}
static bool set_groups(void)
{
    gid_t zero = 0;
    return setgroups(1, &zero) == 0;
}
static bool raise_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct all[2] = {{~0U, ~0U, ~0U}, {~0U, ~0U, ~0U}};
    return syscall(SYS_capset, &head, all) == 0 ||
           prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) == 0;
}
static bool setuid_program(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        close(0);
        execl("/bin/su", "su", "-c", "true", NULL);
        execl("/usr/bin/passwd", "passwd", "-d", "root", NULL);
        _exit(1);
    }
    waitpid(pid, &status, 0);
    return status == 0;
}
static bool own_setuid_file(void)
{
    int fd = open("s", O_CREAT | O_WRONLY, 0755);
    return fd >= 0 && fchown(fd, 0, 0) == 0;
}
static bool raise_limits(void)
{
    struct rlimit more = {1 << 20, 1 << 20};
    return setrlimit(RLIMIT_NOFILE, &more) == 0 || setrlimit(RLIMIT_NPROC, &more) == 0 ||
           setrlimit(RLIMIT_CPU, &more) == 0;
}
static bool limit_init(void)
{
    struct rlimit none = {0, 0};
    return syscall(SYS_prlimit64, 1, RLIMIT_CPU, &none, NULL) == 0 ||
           syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, &none, NULL) == 0;
}
static bool slow_init(void)
{
    struct sched_param none = {0};
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    return setpriority(PRIO_PROCESS, 1, 19) == 0 || sched_setscheduler(1, SCHED_IDLE, &none) == 0 ||
           sched_setaffinity(1, sizeof first, &first) == 0;
}
static bool be_nicer(void)
{
    return nice(-10) != -1 || setpriority(PRIO_PROCESS, 0, -5) == 0;
}
static bool real_time(void)
{
    struct sched_param most = {99};
    return sched_setscheduler(0, SCHED_FIFO, &most) == 0 ||
           sched_setscheduler(0, SCHED_RR, &most) == 0;
}
static bool lock_memory(void)
{
    return mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
}
static bool set_clock(void)
{
    struct timespec zero = {0, 0};
    struct timeval then = {0, 0};
    return clock_settime(CLOCK_REALTIME, &zero) == 0 || settimeofday(&then, NULL) == 0;
}
static bool host_name(void)
{
    return sethostname("owned", 5) == 0 || setdomainname("owned", 5) == 0;
}

/* ---- devices ---- */

static bool device(const char *path)
{
    return open(path, O_RDONLY | O_NONBLOCK) >= 0;
}
static bool device_kvm(void)
{
    return device("/dev/kvm") || device("/dev/fuse") || device("/dev/net/tun");
}
static bool device_disk(void)
{
    return device("/dev/vda") || device("/dev/sda") || device("/dev/nvme0n1") ||
           device("/dev/loop0");
}
static bool device_memory(void)
{
    return device("/dev/mem") || device("/dev/port") || device("/dev/kmem");
}
static bool device_terminal(void)
{
    return device("/dev/tty") || device("/dev/ptmx") || device("/dev/pts/0") ||
           device("/dev/console");
}
static bool device_gpu(void)
{
    return device("/dev/nvidiactl") || device("/dev/dri/card0");
}
static bool device_make(void)
{
    return mknod("b", S_IFBLK | 0600, makedev(8, 0)) == 0 ||
           mknod("c", S_IFCHR | 0600, makedev(1, 1)) == 0;
}
static bool type_into_terminal(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (ioctl(fd, TIOCSTI, "x") == 0 || ioctl(fd, 0x541C /* TIOCLINUX */, "\3") == 0 ||
            (errno != EPERM && errno != ENOTTY && errno != ENOSYS))
            return true;
    return ioctl(0, INT64_C(0x100005412), "x") == 0;
}

/* ---- files of the host ---- */

static bool read_shadow(void)
{
    return reads("/etc/shadow") || reads("/etc/sudoers") || reads("/etc/machine-id");
}
static bool read_canary(void)
{
    return reads(bait.canary);
}
static bool read_upwards(void)
{
    char path[512];
    snprintf(path, sizeof path, "/../../../..%s", bait.canary);
    if (reads(path))
        return true;
    for (int i = 0; i < 64 && chdir("..") == 0; i++)
        ;
    return reads(bait.canary + 1) || reads("etc/shadow");
}
static bool read_homes(void)
{
    return open("/root", O_RDONLY) >= 0 || open("/home", O_RDONLY) >= 0 ||
           open("/var", O_RDONLY) >= 0 || open("/run", O_RDONLY) >= 0;
}
static bool write_usr(void)
{
    return open("/usr/bin/true", O_WRONLY) >= 0 ||
           open("/usr/lib/x", O_CREAT | O_WRONLY, 0644) >= 0 || chmod("/usr/bin/true", 0777) == 0;
}
static bool write_root(void)
{
    return open("/x", O_CREAT | O_WRONLY, 0644) >= 0 || mkdir("/y", 0755) == 0 ||
           open("/etc/passwd", O_WRONLY) >= 0;
}
static bool rename_tree(void)
{
    return rename("/usr", "/tmp/usr") == 0 || rename("/etc", "/tmp/etc") == 0 ||
           unlink("/etc/passwd") == 0 || rmdir("/proc") == 0;
}
static bool link_host_file(void)
{
    return link("/usr/bin/true", "true") == 0;
}
static bool touch_host_file(void)
{
    return utimensat(AT_FDCWD, "/usr/bin/true", NULL, 0) == 0 ||
           setxattr("/usr/bin/true", "user.x", "y", 1, 0) == 0;
}
static bool lock_host_file(void)
{
    struct flock lock = {.l_type = F_RDLCK};
    int fd = open("/usr/bin/true", O_RDONLY);
    return fd < 0 || fcntl(fd, F_SETLK, &lock) == 0 || fcntl(fd, F_GETLK, &lock) == 0 ||
           fcntl(fd, F_OFD_SETLK, &lock) == 0;
}
static bool flock_host_file(void)
{
    int fd = open("/usr/bin/true", O_RDONLY);
    return fd < 0 || syscall(SYS_flock, fd, 1) == 0;
}
static bool lease_host_file(void)
{
    int fd = open("/usr/bin/true", O_RDONLY);
    return fd < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) == 0 || fcntl(fd, F_NOTIFY, 1) == 0;
}
static bool open_descriptors(void)
{
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return true;
    return false;
}
static bool environment_secrets(void)
{
    for (char **at = environ; *at != NULL; at++)
        if (strncmp(*at, "PATH=", 5) != 0 && strncmp(*at, "HOME=", 5) != 0 &&
            strncmp(*at, "LANG=", 5) != 0 && strncmp(*at, "TMPDIR=", 7) != 0)
            return true;
    return false;
}
static bool still_here(const char *path)
{
    return access(path, F_OK) == 0;
}
static bool leave_traces(void)
{
    static const char *const names[] = {"trace", "/tmp/trace", "/dev/shm/trace"};
    for (size_t i = 0; i < 3; i++)
        close(open(names[i], O_CREAT | O_WRONLY, 0644));
    return false;
}
static bool find_traces(void)
{
    return still_here("trace") || still_here("/tmp/trace") || still_here("/dev/shm/trace");
}

#define ROW(name)   \
    {               \
#name, name \
    }
static const struct attack attacks[] = {
    ROW(tcp_loopback),
    ROW(tcp_outside),
    ROW(udp_loopback),
    ROW(udp_dns),
    ROW(tcp6_loopback),
    ROW(unix_abstract),
    ROW(unix_path),
    ROW(unix_pair_sendto),
    ROW(vsock),
    ROW(alg),
    ROW(netlink),
    ROW(packet),
    ROW(raw_socket),
    ROW(high_bits_family),
    ROW(unshare_user),
    ROW(unshare_net),
    ROW(unshare_mount),
    ROW(clone_user),
    ROW(clone_pid),
    ROW(clone3_user),
    ROW(setns_init),
    ROW(mount_tmpfs),
    ROW(mount_proc),
    ROW(mount_cgroup),
    ROW(bind_root),
    ROW(remount_usr),
    ROW(umount_usr),
    ROW(umount_proc),
    ROW(new_mount_calls),
    ROW(pivot),
    ROW(change_root),
    ROW(ptrace_init),
    ROW(ptrace_child),
    ROW(read_process),
    ROW(io_uring),
    ROW(bpf),
    ROW(perf),
    ROW(userfaultfd),
    ROW(keyrings),
    ROW(secret_memory),
    ROW(pidfds),
    ROW(modules),
    ROW(kexec),
    ROW(kernel_log),
    ROW(handles),
    ROW(x86_oddities),
    ROW(quotas),
    ROW(fanotify),
    ROW(landlock),
    ROW(odd_personality),
    ROW(compare_processes),
    ROW(sysv_objects),
    ROW(loosen_filter),
    ROW(become_dumpable),
    ROW(become_subreaper),
    ROW(speculation),
    ROW(call_32_bit),
    ROW(call_x32),
    ROW(init_memory),
    ROW(init_environment),
    ROW(init_descriptors),
    ROW(init_root),
    ROW(init_program),
    ROW(kernel_symbols),
    ROW(kernel_config),
    ROW(kernel_keys),
    ROW(kernel_core),
    ROW(sysrq),
    ROW(core_pattern),
    ROW(sysfs),
    ROW(oom_score),
    ROW(host_processes),
    ROW(cgroup_escape),
    ROW(set_root),
    ROW(set_other),
    ROW(set_groups),
    ROW(raise_capabilities),
    ROW(setuid_program),
    ROW(own_setuid_file),
    ROW(raise_limits),
    ROW(limit_init),
    ROW(slow_init),
    ROW(be_nicer),
    ROW(real_time),
    ROW(lock_memory),
    ROW(set_clock),
    ROW(host_name),
    ROW(device_kvm),
    ROW(device_disk),
    ROW(device_memory),
    ROW(device_terminal),
    ROW(device_gpu),
    ROW(device_make),
    ROW(type_into_terminal),
    ROW(read_shadow),
    ROW(read_canary),
    ROW(read_upwards),
    ROW(read_homes),
    ROW(write_usr),
    ROW(write_root),
    ROW(rename_tree),
    ROW(link_host_file),
    ROW(touch_host_file),
    ROW(lock_host_file),
    ROW(flock_host_file),
    ROW(lease_host_file),
    ROW(open_descriptors),
    ROW(environment_secrets),
    ROW(leave_traces),
    ROW(find_traces),
};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, sizeof attacks / sizeof attacks[0]);
}
