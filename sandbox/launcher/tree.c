/* The file tree a program sees.
 *
 *     /            tmpfs, read-only: the folders below and a made /etc
 *     /usr ...     the host's, read-only
 *     /dev         null zero full random urandom and names of /proc/self/fd
 *     /proc        of the run's own pid namespace, processes only where the kernel can
 *     /box /tmp /dev/shm   three folders of one tmpfs with the run's limits; /box over `base` when there is one
 *
 * Host folders are taken as detached copies of their mounts (open_tree) before anything is covered, so it does not
 * matter where they lie. */
#include "sandbox/launcher/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SOURCES_MAX = 32 };

struct source {
    const char *path; /* absolute */
    int mount;        /* detached; -1: a link */
    bool file, device;
};

static const struct {
    const char *path;
    bool needed, device;
} usual[] = {
    {"/usr", true, false},
    {"/bin", true, false},
    {"/sbin", false, false},
    {"/lib", true, false},
    {"/lib32", false, false},
    {"/lib64", false, false},
    {"/libx32", false, false},
    {"/etc/ld.so.cache", false, false},
    {"/etc/alternatives", false, false},
    {"/dev/null", true, true},
    {"/dev/zero", true, true},
    {"/dev/full", true, true},
    {"/dev/random", true, true},
    {"/dev/urandom", true, true},
};

static const struct {
    const char *path, *text;
} made[] = {
    {"etc/passwd", "root:x:0:0:root:/:/bin/false\nuser:x:1000:1000:user:" WORK_FOLDER ":/bin/sh\n"},
    {"etc/group", "root:x:0:\nuser:x:1000:\n"},
    {"etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
    {"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"},
};

static const struct {
    const char *target, *name;
} links[] = {
    {"/proc/self/fd", "dev/fd"},
    {"/proc/self/fd/0", "dev/stdin"},
    {"/proc/self/fd/1", "dev/stdout"},
    {"/proc/self/fd/2", "dev/stderr"},
    {"/usr/share/zoneinfo/UTC", "etc/localtime"},
};

#define STEP(name, call) \
    do {                 \
        *step = (name);  \
        if ((call) < 0)  \
            return -1;   \
    } while (0)

/* open_tree, unless `mount` is one already, and the flags of the copy: read-only, and "nodev" unless a device. */
static int source_open(struct source *source, int mount)
{
    struct stat info;
    if (mount >= 0 ? fstat(mount, &info) != 0 : lstat(source->path, &info) != 0)
        return -1;
    source->mount = mount;
    if (S_ISLNK(info.st_mode))
        return 0;
    source->file = !S_ISDIR(info.st_mode);
    if (mount < 0)
        source->mount = (int)syscall(SYS_open_tree, AT_FDCWD, source->path,
                                     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (source->mount < 0)
        return -1;
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
    attributes.attr_set |= source->device ? MOUNT_ATTR_NOEXEC : MOUNT_ATTR_NODEV;
    return (int)syscall(SYS_mount_setattr, source->mount, "", AT_EMPTY_PATH | AT_RECURSIVE,
                        &attributes, sizeof attributes);
}

/* mkdir -p of the folder that holds `path`, below the working folder. */
static int make_parents(const char *path)
{
    char part[PATH_TEXT_MAX];
    size_t size = strlen(path);
    if (size >= sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t i = 1; i < size; i++)
        if (path[i] == '/') {
            memcpy(part, path, i);
            part[i] = 0;
            if (mkdir(part, 0755) != 0 && errno != EEXIST)
                return -1;
        }
    return 0;
}

static int source_link(const struct source *source)
{
    char target[PATH_TEXT_MAX];
    ssize_t size = readlink(source->path, target, sizeof target - 1);
    if (size < 0)
        return -1;
    target[size] = 0;
    return symlink(target, source->path + 1);
}

static int source_place(struct source *source)
{
    const char *name = source->path + 1;
    if (make_parents(name) != 0)
        return -1;
    if (source->mount < 0)
        return source_link(source);
    if (source->file) {
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return -1;
        close(fd);
    } else if (mkdir(name, 0755) != 0 && errno != EEXIST) {
        return -1;
    }
    int moved =
        (int)syscall(SYS_move_mount, source->mount, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH);
    descriptor_close(&source->mount);
    return moved;
}

static bool already_shown(const char *path)
{
    return strncmp(path, "/usr/", 5) == 0 || strcmp(path, "/usr") == 0;
}

static int sources_open(struct source *sources, size_t *count, const char **step)
{
    *count = 0;
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        struct source source = {.path = usual[i].path, .device = usual[i].device};
        *step = source.path;
        if (source_open(&source, -1) == 0)
            sources[(*count)++] = source;
        else if (usual[i].needed || errno != ENOENT)
            return -1;
    }
    return 0;
}

/* Folders of one run: detached before anything is covered, those that the launcher did not open itself. */
static int folders_open(struct init_job *job, const char **step)
{
    if (job->items.base != NULL && job->fd_base < 0)
        STEP("base", job->fd_base = (int)syscall(SYS_open_tree, AT_FDCWD, job->items.base,
                                                 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    const uint8_t *at = job->items.shown;
    for (uint32_t i = 0; i < job->head.shown_count; i++) {
        uint64_t size;
        struct source source = {.path = run_item_next(&at, &size)};
        *step = source.path;
        errno = i < SHOWN_MAX ? EINVAL : E2BIG;
        if (i >= SHOWN_MAX || source.path[0] != '/')
            return -1;
        if (already_shown(source.path))
            continue;
        if (job->fd_shown[i] < 0)
            job->fd_shown[i] = (int)syscall(SYS_open_tree, AT_FDCWD, source.path,
                                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (job->fd_shown[i] < 0 || source_open(&source, job->fd_shown[i]) != 0)
            return -1;
    }
    return 0;
}

/* Last, so that one below /tmp is not covered. */
static int folders_place(const struct init_job *job, const char **step)
{
    struct stat info;
    const uint8_t *at = job->items.shown;
    for (uint32_t i = 0; i < job->head.shown_count; i++) {
        uint64_t size;
        struct source source = {.path = run_item_next(&at, &size), .mount = job->fd_shown[i]};
        if (already_shown(source.path))
            continue;
        STEP(source.path, fstat(source.mount, &info));
        source.file = !S_ISDIR(info.st_mode);
        STEP(source.path, source_place(&source));
    }
    return 0;
}

static int make_texts(const char **step)
{
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        *step = made[i].path;
        int fd = open(made[i].path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        ssize_t size = (ssize_t)strlen(made[i].text);
        if (fd < 0 || write(fd, made[i].text, (size_t)size) != size)
            return -1;
        close(fd);
    }
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        STEP(links[i].name, symlink(links[i].target, links[i].name));
    return 0;
}

/* A folder of the host that our new root may cover; nobody else sees it. */
static int cover_some_folder(void)
{
    static const char *const places[] = {"/tmp", "/mnt", "/run", "/var", "/usr"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (mount("sandbox", places[i], "tmpfs", MS_NOSUID | MS_NODEV,
                  "size=1m,nr_inodes=512,mode=755") == 0)
            return chdir(places[i]);
        else if (errno != ENOENT)
            return -1;
    return -1;
}

int tree_build(struct init_job *job, const char **step)
{
    struct source sources[SOURCES_MAX];
    size_t count;
    STEP("private mounts", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    if (sources_open(sources, &count, step) != 0 || (job != NULL && folders_open(job, step) != 0))
        return -1;
    STEP("a tmpfs for the root", cover_some_folder());
    static const char *const folders[] = {"etc", "dev", "dev/shm", "proc", "tmp", "box"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        STEP(folders[i], mkdir(folders[i], 0755));
    for (size_t i = 0; i < count; i++)
        STEP(sources[i].path, source_place(&sources[i]));
    return make_texts(step);
}

/* Where the kernel's /proc cannot be cut down to processes: what tells about the host is covered. */
static int proc_cover(const char **step)
{
    static const char *const covered[] = {
        "proc/kallsyms",    "proc/config.gz",  "proc/keys",          "proc/key-users",
        "proc/kcore",       "proc/kmsg",       "proc/sysrq-trigger", "proc/timer_list",
        "proc/sched_debug", "proc/kpagecount", "proc/kpageflags",    "proc/kpagecgroup",
        "proc/modules",     "proc/slabinfo",   "proc/vmallocinfo",   "proc/iomem",
        "proc/ioports",     "proc/interrupts", "proc/locks",         "proc/diskstats",
        "proc/partitions",  "proc/swaps",      "proc/cmdline",       "proc/mtrr",
    };
    static const char *const folders[] = {"proc/sys",     "proc/irq",          "proc/bus",
                                          "proc/fs",      "proc/acpi",         "proc/scsi",
                                          "proc/tty",     "proc/driver",       "proc/pressure",
                                          "proc/sysvipc", "proc/dynamic_debug"};
    for (size_t i = 0; i < sizeof covered / sizeof covered[0]; i++)
        if (mount("dev/null", covered[i], NULL, MS_BIND, NULL) != 0 && errno != ENOENT) {
            *step = covered[i];
            return -1;
        }
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (mount("none", folders[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "size=0,nr_inodes=1,mode=555") != 0 &&
            errno != ENOENT) {
            *step = folders[i];
            return -1;
        }
    return 0;
}

int tree_proc(const char **step)
{
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    *step = "/proc";
    if (mount("proc", "proc", "proc", flags, "subset=pid") == 0)
        return 0;
    if (errno == EINVAL && mount("proc", "proc", "proc", flags, NULL) == 0)
        return proc_cover(step);
    return errno == EPERM ? 0 : -1; /* the host's own /proc is masked: the sandbox has none */
}

/* /box as a copy-on-write view of base: the upper layer lies in the run's tmpfs, which is at "tmp" now. */
static int base_mount(const struct init_job *job, unsigned long flags, const char **step)
{
    char options[128];
    STEP("base", mkdir("tmp/low", 0755));
    STEP("base", mkdir("tmp/aside", 0755));
    STEP("base", (int)syscall(SYS_move_mount, job->fd_base, "", AT_FDCWD, "tmp/low",
                              MOVE_MOUNT_F_EMPTY_PATH));
    snprintf(options, sizeof options,
             "lowerdir=tmp/low,upperdir=tmp/box,workdir=tmp/aside,userxattr");
    STEP("an overlay over base", mount("box", "box", "overlay", flags, options));
    return 0;
}

int tree_private(const struct init_job *job, const char **step)
{
    char options[128];
    const struct sandbox_limits *limits = &job->head.limits;
    unsigned long flags = MS_NOSUID | MS_NODEV | (job->head.execute_work ? 0 : MS_NOEXEC);
    snprintf(options, sizeof options, "size=%lld,nr_inodes=%u,mode=755",
             (long long)limits->disk_bytes, limits->inodes + 4); /* four folders are ours */
    STEP("the tmpfs of the work folder", mount("box", "tmp", "tmpfs", flags, options));
    STEP("box", mkdir("tmp/box", 0755));
    STEP("shm", mkdir("tmp/shm", 0755));
    STEP("tmp", mkdir("tmp/tmp", 0755));
    if (job->items.base == NULL)
        STEP("box", mount("tmp/box", "box", NULL, MS_BIND, NULL));
    else if (base_mount(job, flags, step) != 0)
        return -1;
    STEP("shm", mount("tmp/shm", "dev/shm", NULL, MS_BIND, NULL));
    STEP("tmp", mount("tmp/tmp", "tmp", NULL, MS_BIND, NULL));
    if (!job->prepared && folders_place(job, step) != 0)
        return -1;
    return tree_proc(step);
}

int tree_private_undo(const char **step)
{
    static const char *const mounts[] = {"proc", "tmp", "dev/shm", "box", "tmp"};
    for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++)
        if (umount2(mounts[i], MNT_DETACH) != 0 && i > 0) { /* a masked /proc was never there */
            *step = mounts[i];
            return -1;
        }
    return 0;
}

/* The folder of `path` below `at`, made where missing; *name is the last part. -1: a part is "", ".", "..", or a link. */
static int folder_below(int at, const char *path, const char **name)
{
    char part[256];
    int here = openat(at, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (;;) {
        size_t size = strcspn(path, "/");
        bool dots =
            (size == 1 && path[0] == '.') || (size == 2 && path[0] == '.' && path[1] == '.');
        if (here < 0 || size == 0 || size >= sizeof part || dots) {
            errno = here < 0 ? errno : EINVAL;
            descriptor_close(&here);
            return -1;
        }
        *name = path;
        if (path[size] == 0)
            return here;
        memcpy(part, path, size);
        part[size] = 0;
        mkdirat(here, part, 0755);
        int below = openat(here, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(here);
        here = below;
        path += size + 1;
    }
}

static int file_put(int work, const char *path, const char *bytes, uint64_t size, mode_t mode)
{
    const char *name;
    int folder = folder_below(work, path, &name);
    if (folder < 0)
        return -1;
    unlinkat(folder, name, 0);
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    close(folder);
    if (fd < 0)
        return -1;
    for (uint64_t done = 0; done < size;) {
        ssize_t written = write(fd, bytes + done, size - done);
        if (written <= 0) {
            int error = errno;
            close(fd);
            errno = error;
            return -1;
        }
        done += (uint64_t)written;
    }
    fchmod(fd, mode);
    close(fd);
    return 0;
}

int tree_files(const struct init_job *job, const char **step)
{
    const uint8_t *at = job->items.files;
    int work = open("box", O_PATH | O_DIRECTORY | O_CLOEXEC);
    STEP("box", work);
    for (uint32_t i = 0; i < job->head.file_count; i++) {
        uint64_t size, path_size;
        const char *path = run_item_next(&at, &path_size);
        const char *bytes = run_item_next(&at, &size);
        /* the first byte says whether it may be executed */
        STEP(path, file_put(work, path, bytes + 1, size - 1, bytes[0] == 1 ? 0755 : 0644));
    }
    if (job->waits &&
        job->items.python != NULL) /* for programs that read themselves; a file of the run wins */
        if (faccessat(work, "main.py", F_OK, AT_SYMLINK_NOFOLLOW) != 0)
            file_put(work, "main.py", job->items.python, job->items.python_size, 0644);
    close(work);
    return 0;
}

int tree_enter(const char **step)
{
    STEP("pivot_root", (int)syscall(SYS_pivot_root, ".", "."));
    STEP("leaving the host's tree", umount2(".", MNT_DETACH));
    STEP("the new root", chdir("/"));
    return 0;
}

int tree_seal(const char **step)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    STEP("a read-only root",
         (int)syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attributes, sizeof attributes));
    return 0;
}
