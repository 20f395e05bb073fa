/* weir-sandbox-launcher: makes sandboxes for one caller, which speaks through descriptor 3 (sandbox/protocol.h).
 * It runs from memory: the library carries it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/launcher/group.h"
#include "sandbox/launcher/supervise.h"

struct launcher launcher = {.control = LAUNCHER_FD_CONTROL};

/* Outside users that belong to nobody; a container may know the small ones only. */
enum { OUTSIDE_HIGH = 2000000000, OUTSIDE_LOW = 60000, NOBODY = 65534 };

static bool read_all(void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = recv(launcher.control, (uint8_t *)bytes + done, size - done, MSG_WAITALL);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static bool write_all(const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t sent =
            send(launcher.control, (const uint8_t *)bytes + done, size - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        done += sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

/* Whether a user namespace can be made and mapped so. */
static bool user_works(uid_t uid, gid_t gid)
{
    int pid = clone_process(CLONE_NEWUSER, NULL, -1);
    if (pid == 0)
        for (;;)
            pause();
    if (pid < 0)
        return false;
    bool fine = map_user(pid, uid, gid) == 0;
    int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    errno = error;
    return fine;
}

/* No user namespace may be made in a chroot, whose root is not the root of its mount namespace. As root: a mount namespace
 * of our own, with the chroot's tree on top of everything. */
static int leave_chroot(void)
{
    enum { DEPTH = 64 };
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        if (errno != EINVAL) /* "/" is no mount point: the usual chroot */
            return -1;
    int here = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/",
                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (here < 0 || tree < 0 || chroot("/usr") != 0 || fchdir(here) != 0)
        return -1;
    for (int i = 0; i < DEPTH; i++)
        if (chdir("..") != 0)
            return -1;
    if (chroot(".") != 0)
        return -1;
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return -1;
    close(tree);
    close(here);
    return chdir("/..") == 0 && chroot(".") == 0 && chdir("/") == 0
               ? 0
               : -1; /* ".." crosses into the mount on top */
}

static bool choose_user(struct launcher_hello *hello)
{
    if (geteuid() != 0) {
        launcher.outside = geteuid();
        launcher.outside_group = getegid();
        if (user_works(launcher.outside, launcher.outside_group))
            return true;
        snprintf(
            hello->text, sizeof hello->text,
            "no user namespace for this user (%s): allow them (sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
            strerror(errno));
        return false;
    }
    if (!user_works(NOBODY, NOBODY) && errno == EPERM)
        leave_chroot();
    const uid_t tries[] = {OUTSIDE_HIGH + launcher.slot, OUTSIDE_LOW + launcher.slot, NOBODY};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        if (user_works(tries[i], tries[i])) {
            launcher.root = true;
            launcher.outside = tries[i];
            launcher.outside_group = tries[i];
            hello->features |= FEATURE_ROOT;
            return true;
        }
    snprintf(hello->text, sizeof hello->text,
             "no user namespace (%s): a container must allow clone3 and mount (--privileged, or "
             "seccomp and apparmor unconfined with CAP_SYS_ADMIN)",
             strerror(errno));
    return false;
}

static bool begin(void)
{
    struct launcher_setup setup;
    static struct launcher_hello hello;
    if (!read_all(&setup, sizeof setup))
        return false;
    for (int i = 0; i < 2; i++) {
        size_t bytes = setup.filter_counts[i] * sizeof(struct sock_filter);
        launcher_filters[i].filter = block_map(bytes);
        launcher_filters[i].len = (unsigned short)setup.filter_counts[i];
        if (launcher_filters[i].filter == NULL || !read_all(launcher_filters[i].filter, bytes))
            return false;
    }
    launcher.slot = setup.slot;
    memcpy(launcher.imports, setup.imports, sizeof launcher.imports);
    hello.fine = choose_user(&hello);
    if (hello.fine)
        groups_open(setup.cgroup, &hello.features);
    launcher.features = hello.features;
    return write_all(&hello, sizeof hello) && hello.fine;
}

static void answer_send(struct answer *answer)
{
    struct run_tail *tail = &answer->tail;
    tail->output_size = answer->output.size;
    tail->error_size = answer->error.size;
    tail->body_size = tail->output_size + tail->error_size;
    for (uint64_t i = 0; i < tail->result_count; i++)
        tail->body_size += 2 * sizeof(uint64_t) + answer->files[i].block.size;
    bool fine = write_all(tail, sizeof *tail) &&
                write_all(answer->output.bytes, tail->output_size) &&
                write_all(answer->error.bytes, tail->error_size);
    for (uint64_t i = 0; fine && i < tail->result_count; i++) {
        uint64_t head[2] = {answer->files[i].found, answer->files[i].block.size};
        fine = write_all(head, sizeof head) && write_all(answer->files[i].block.bytes, head[1]);
    }
    launcher.control_gone |= !fine;
}

/* A small body lies in the block that we share with the keepers; a large one, or one that a zygote reads too, in a
 * memory file. */
static uint8_t *body_read(const struct run_head *head, int *fd)
{
    uint64_t size = head->body_size;
    if (head->mode != SANDBOX_ZYGOTE && size <= EXCHANGE_BYTES) {
        launcher.control_gone = !read_all(launcher_exchange, size);
        return launcher.control_gone ? NULL : launcher_exchange;
    }
    *fd = memfd_create("run", MFD_CLOEXEC);
    if (*fd < 0 || ftruncate(*fd, (off_t)size) != 0)
        return NULL;
    void *body = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (body == MAP_FAILED)
        return NULL;
    if (!read_all(body, size)) {
        munmap(body, size);
        launcher.control_gone = true;
        return NULL;
    }
    return body;
}

static void body_forget(uint8_t *body, uint64_t size)
{
    if (body == launcher_exchange)
        memset(body, 0, size);
    else
        munmap(body, size);
}

static void serve_run(const struct run_head *head, const int *fds, int fd_count)
{
    struct run_descriptors given = {-1, -1, -1, -1};
    struct answer answer = {0};
    int next = 0;
    given.channel = head->has_channel && next < fd_count ? fds[next++] : -1;
    given.input = head->has_input_fd && next < fd_count ? fds[next++] : -1;
    given.output = head->has_output_fd && next < fd_count ? fds[next++] : -1;
    uint8_t *body = body_read(head, &given.body);
    if (body == NULL && !launcher.control_gone)
        launcher.control_gone =
            true; /* no memory: the stream is out of step; a new launcher is started */
    if (body != NULL) {
        supervise(head, body, &given, &answer);
        body_forget(body, head->body_size);
    }
    descriptor_close(&given.body);
    descriptor_close(&given.channel);
    descriptor_close(&given.input);
    descriptor_close(&given.output);
    if (!launcher.control_gone)
        answer_send(&answer);
    answer_free(&answer);
}

/* The head comes with the descriptors. false: the end. */
static bool next_run(void)
{
    struct run_head head;
    int fds[MESSAGE_FDS_MAX], count = 0;
    char byte;
    ssize_t got;
    do /* a cancel that came too late is one byte; a head starts with its own mark */
        got = recv(launcher.control, &byte, 1, MSG_PEEK);
    while ((got == 1 && byte == RUN_CANCEL && recv(launcher.control, &byte, 1, 0) == 1) ||
           (got < 0 && errno == EINTR));
    if (got <= 0)
        return false;
    got = receive_message(launcher.control, &head, sizeof head, fds, &count);
    if (got <= 0 || (got < (ssize_t)sizeof head &&
                     !read_all((uint8_t *)&head + got, sizeof head - (size_t)got)))
        return false;
    if (head.mark != RUN_MARK || head.body_size > RUN_BODY_MAX)
        return false;
    serve_run(&head, fds, count);
    return !launcher.control_gone;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    if (geteuid() == 0) /* the maps of a child that is not dumpable belong to root */
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_NAME, "weir-sandbox", 0, 0, 0);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || chdir("/") != 0)
        return 1;
    fcntl(LAUNCHER_FD_CONTROL, F_SETFD, FD_CLOEXEC);
    fcntl(LAUNCHER_FD_LIBRARY, F_SETFD, FD_CLOEXEC);
    close_range(LAUNCHER_FD_LIBRARY + 1, ~0U, 0);
    umask(022);
    launcher_exchange =
        mmap(NULL, EXCHANGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (launcher_exchange == MAP_FAILED || !begin())
        return 1;
    while (next_run())
        ;
    keepers_stop();
    groups_close();
    return 0;
}
