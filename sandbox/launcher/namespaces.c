#include "sandbox/launcher/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int clone_process(uint64_t flags, int *pidfd, int cgroup)
{
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    if (pidfd != NULL) {
        args.flags |= CLONE_PIDFD;
        args.pidfd = (uint64_t)(uintptr_t)pidfd;
    }
    if (cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned)cgroup;
    }
    return (int)syscall(SYS_clone3, &args, sizeof args);
}

pid_t pid_of(int pidfd)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    descriptor_close(&fd);
    text[got > 0 ? got : 0] = 0;
    const char *at = strstr(text, "\nPid:");
    return at == NULL ? -1 : (pid_t)strtol(at + 5, NULL, 10);
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t size = (ssize_t)strlen(text);
    ssize_t written = write(fd, text, (size_t)size);
    int error = errno;
    close(fd);
    errno = error;
    return written == size ? 0 : -1;
}

int map_user(pid_t pid, uid_t outside, gid_t outside_group)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/setgroups", pid);
    if (geteuid() != 0 && write_file(path, "deny") != 0)
        return -1;
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    snprintf(text, sizeof text, "%d %u 1\n", INSIDE_ID, outside_group);
    if (write_file(path, text) != 0)
        return -1;
    snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    snprintf(text, sizeof text, "%d %u 1\n", INSIDE_ID, outside);
    return write_file(path, text);
}

int become_inside(void)
{
    if (setgroups(0, NULL) != 0 && errno != EPERM)
        return -1;
    if (setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID) != 0)
        return -1;
    return setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID);
}
