/* What a run starts with: its stdin, the pipes of its output, folders of the host as detached mounts. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/launcher/supervise.h"

int stdin_of(const struct run_items *items)
{
    if (items->input_size == 0)
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    int fd = memfd_create("stdin", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    for (uint64_t done = 0; fd >= 0 && done < items->input_size;) {
        ssize_t written = write(fd, items->input + done, items->input_size - done);
        if (written <= 0) {
            descriptor_close(&fd);
            break;
        }
        done += (uint64_t)written;
    }
    if (fd >= 0 &&
        (lseek(fd, 0, SEEK_SET) != 0 ||
         fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0))
        descriptor_close(&fd);
    return fd;
}

/* The program may open /dev/stdout anew, so the pipe must not be ours alone. */
int output_pipe(int *ours, int *theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    *ours = ends[0];
    *theirs = ends[1];
    if (launcher.root && fchmod(*theirs, 0622) != 0)
        return -1;
    return fcntl(*ours, F_SETFL, O_NONBLOCK);
}

/* A user namespace whose map turns `owner` of the disk into the sandbox's user. */
static int owner_namespace(uid_t owner, gid_t group)
{
    char path[64], text[64];
    int fd = -1, pid = clone_process(CLONE_NEWUSER, NULL, -1);
    if (pid == 0)
        for (;;)
            pause();
    if (pid < 0)
        return -1;
    const struct {
        const char *name;
        uint32_t from, to;
    } maps[] = {{"uid_map", owner, launcher.outside}, {"gid_map", group, launcher.outside_group}};
    bool fine = true;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, maps[i].name);
        int size = snprintf(text, sizeof text, "%u %u 1\n", maps[i].from, maps[i].to);
        int map = open(path, O_WRONLY | O_CLOEXEC);
        fine = fine && map >= 0 && write(map, text, (size_t)size) == size;
        descriptor_close(&map);
    }
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    if (fine)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return fd;
}

/* A folder of the host as a detached mount in which the sandbox's user owns what its owner owns, so that it may be written (a copy of
 * it, above). Only root can; -1: init opens the path itself. */
int folder_open(const char *path)
{
    struct stat info;
    if (!launcher.root || stat(path, &info) != 0)
        return -1;
    int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int owner = fd < 0 ? -1 : owner_namespace(info.st_uid, info.st_gid);
    if (owner >= 0) {
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)owner};
        syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
        close(owner);
    }
    return fd;
}
