#include "sandbox/launcher/group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "sandbox/launcher/launcher.h"

enum { MOUNTINFO_MAX = 1 << 18, EMPTY_WAIT_MS = 2000, PARENT_TRIES = 3, LEFT_BYTES_MOST = 4 << 20 };

static struct {
    char own[64];                /* "weir.<pid>.<start>" */
    int parent[HIERARCHY_COUNT]; /* of ours; -1: no such hierarchy */
    int ours[HIERARCHY_COUNT];
    char made[HIERARCHY_COUNT][PATH_TEXT_MAX]; /* "<mount>/weir": goes when it is empty */
    int inits[HIERARCHY_COUNT];                /* tasks of "ours" */
    bool unified_memory, unified_pids;
    uint64_t next;
    struct group kept; /* of the last run; a folder or tasks >= 0: made */
    bool has_kept;
} groups;

/* ---- small files ---- */

static ssize_t read_at(int folder, const char *name, char *text, size_t size)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    descriptor_close(&fd);
    text[got > 0 ? got : 0] = 0;
    return got;
}

static int write_at(int folder, const char *name, const char *text)
{
    int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
    ssize_t size = (ssize_t)strlen(text), done = fd < 0 ? -1 : write(fd, text, (size_t)size);
    int error = errno;
    descriptor_close(&fd);
    errno = error;
    return done == size ? 0 : -1;
}

static int write_number(int folder, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return write_at(folder, name, text);
}

/* The number after `key` and a space; key "" reads the first number. -1: not there. */
static int64_t number_in(const char *text, const char *key)
{
    const char *at = text;
    size_t size = strlen(key);
    while (size > 0 && at != NULL && (strncmp(at, key, size) != 0 || at[size] != ' ')) {
        at = strchr(at, '\n');
        at = at == NULL ? NULL : at + 1;
    }
    return at == NULL ? -1 : strtoll(at + size, NULL, 10);
}

/* The number in a file that stays open for the life of the group. */
static int64_t number_kept(int *fd, int folder, const char *name, const char *key)
{
    if (*fd < 0)
        *fd = openat(folder, name, O_RDWR | O_CLOEXEC);
    if (*fd < 0)
        *fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    char text[1024];
    ssize_t got = *fd < 0 ? -1 : pread(*fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = 0;
    return got > 0 ? number_in(text, key) : -1;
}

static bool word_in(const char *words, const char *word, const char *separators)
{
    size_t size = strlen(word);
    for (const char *at = words; (at = strstr(at, word)) != NULL; at += size)
        if ((at == words || strchr(separators, at[-1]) != NULL) &&
            (at[size] == 0 || strchr(separators, at[size]) != NULL))
            return true;
    return false;
}

/* ---- where they are ---- */

static const char *const controller[] = {"memory", "pids", "cpuacct", ""};

/* Our own cgroup in that hierarchy, as /proc/self/cgroup says. */
static void own_path(enum hierarchy which, char *out, size_t size)
{
    static char text[16384];
    snprintf(out, size, "/");
    if (read_at(AT_FDCWD, "/proc/self/cgroup", text, sizeof text) <= 0)
        return;
    for (char *line = text, *next; line != NULL && *line != 0; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = 0;
        char *names = strchr(line, ':'), *path = names == NULL ? NULL : strchr(names + 1, ':');
        if (path == NULL)
            continue;
        *path++ = 0;
        bool ours =
            which == GROUP_UNIFIED ? names[1] == 0 : word_in(names + 1, controller[which], ",");
        if (ours)
            snprintf(out, size, "%s", path);
    }
}

static int try_parent(enum hierarchy which, const char *path)
{
    int parent = -1;
    for (int i = 0; parent < 0 && i < PARENT_TRIES;
         i++) { /* another launcher may just have removed it */
        mkdir(path, 0755);
        parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (parent < 0)
        return -1;
    if (which == GROUP_UNIFIED) { /* refused where they are absent */
        write_at(parent, "cgroup.subtree_control", "+memory");
        write_at(parent, "cgroup.subtree_control", "+pids");
    }
    static const char *const must[] = {"memory.limit_in_bytes", "pids.max", "cpuacct.usage",
                                       "cgroup.procs"};
    int ours = -1; /* until it is locked another launcher may remove it as a dead one's */
    for (int i = 0; ours < 0 && i < PARENT_TRIES; i++) {
        if (mkdirat(parent, groups.own, 0755) != 0 && errno != EEXIST)
            break;
        ours = openat(parent, groups.own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (ours >= 0 && (flock(ours, LOCK_EX) != 0 || faccessat(ours, must[which], W_OK, 0) != 0))
            descriptor_close(&ours);
    }
    if (ours < 0) {
        unlinkat(parent, groups.own, AT_REMOVEDIR);
        close(parent);
        return -1;
    }
    groups.parent[which] = parent;
    groups.ours[which] = ours;
    return 0;
}

static void leave(enum hierarchy which)
{
    if (groups.ours[which] >= 0) {
        descriptor_close(&groups.ours[which]);
        unlinkat(groups.parent[which], groups.own, AT_REMOVEDIR);
        descriptor_close(&groups.parent[which]);
    }
    if (groups.made[which][0] != 0)
        rmdir(groups.made[which]);
}

static bool unified_has(const char *name)
{
    char text[256];
    return read_at(groups.ours[GROUP_UNIFIED], "cgroup.controllers", text, sizeof text) > 0 &&
           word_in(text, name, " \n");
}

static void find_parent(enum hierarchy which, const char *mounted, const char *wanted)
{
    char own[512], path[3][PATH_TEXT_MAX];
    int count = 0;
    if (wanted[0] != 0) {
        snprintf(path[0], PATH_TEXT_MAX, "%s/%s", mounted, wanted);
        count = 1;
    } else {
        own_path(which, own, sizeof own);
        snprintf(path[0], PATH_TEXT_MAX, "%s%s", mounted, own);
        snprintf(path[1], PATH_TEXT_MAX, "%s/weir", mounted);
        count = 2;
    }
    int fallback = -1;
    for (int i = 0; i < count; i++) {
        if (i == 1)
            memcpy(groups.made[which], path[i], sizeof groups.made[which]);
        if (try_parent(which, path[i]) != 0)
            continue;
        if (which != GROUP_UNIFIED || unified_has("memory"))
            return;
        if (fallback < 0)
            fallback = i;
        leave(which); /* perhaps the next has the controllers */
    }
    if (fallback != 1)
        leave(which); /* the second one, if it was made */
    if (fallback >= 0 && try_parent(which, path[fallback]) != 0)
        leave(which);
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - cgroup cgroup rw,memory": the mount point, and what is there. */
static void mount_line(char *line, const char *wanted)
{
    char *rest = strstr(line, " - "), *at = line;
    if (rest == NULL)
        return;
    *rest = 0;
    for (int i = 0; i < 4 && at != NULL; i++) {
        at = strchr(at, ' ');
        at = at == NULL ? NULL : at + 1;
    }
    if (at == NULL)
        return;
    at[strcspn(at, " ")] = 0;
    rest += 3;
    if (strncmp(rest, "cgroup2 ", 8) == 0 && groups.ours[GROUP_UNIFIED] < 0)
        find_parent(GROUP_UNIFIED, at, wanted);
    if (strncmp(rest, "cgroup ", 7) != 0)
        return;
    for (int which = GROUP_MEMORY; which <= GROUP_CPUACCT; which++)
        if (groups.ours[which] < 0 && word_in(rest, controller[which], " ,"))
            find_parent((enum hierarchy)which, at, wanted);
}

/* ---- remains of launchers that were killed ---- */

static void remove_children(int folder)
{
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            unlinkat(folder, entry->d_name, AT_REMOVEDIR);
    if (list != NULL)
        closedir(list);
}

static void remove_stale(int parent)
{
    int copy = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        if (strncmp(entry->d_name, "weir.", 5) != 0 || strcmp(entry->d_name, groups.own) == 0)
            continue;
        int stale = openat(parent, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (stale >= 0 && flock(stale, LOCK_EX | LOCK_NB) == 0) {
            remove_children(stale);
            unlinkat(parent, entry->d_name, AT_REMOVEDIR);
        }
        descriptor_close(&stale);
    }
    if (list != NULL)
        closedir(list);
}

/* A group below ours: its tasks, to be written; its folder too when that is asked for. -1. */
static int make_one(enum hierarchy which, const char *name, int *folder)
{
    static const char *const tasks[] = {"tasks", "tasks", "tasks", "cgroup.procs"};
    if (mkdirat(groups.ours[which], name, 0755) != 0 && errno != EEXIST)
        return -1;
    int own = openat(groups.ours[which], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(own, tasks[which], O_WRONLY | O_CLOEXEC);
    if (folder != NULL)
        *folder = own;
    else
        descriptor_close(&own);
    return fd;
}

int groups_join_ours(void)
{
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        if (groups.inits[i] >= 0 && write(groups.inits[i], "0", 1) != 1)
            return -1;
    return 0;
}

void groups_open(const char *parent, uint32_t *features)
{
    memset(&groups, 0, sizeof groups);
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        groups.parent[i] = groups.ours[i] = groups.inits[i] = -1;
    group_none(&groups.kept);
    snprintf(groups.own, sizeof groups.own, "weir.%d.%" PRIx64, getpid(), (uint64_t)clock_now_ns());
    char *text = block_map(MOUNTINFO_MAX);
    int fd = text == NULL ? -1 : open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    for (ssize_t got; fd >= 0 && size < MOUNTINFO_MAX - 1 &&
                      (got = read(fd, text + size, MOUNTINFO_MAX - 1 - size)) > 0;)
        size += (size_t)got;
    descriptor_close(&fd);
    for (char *line = text, *next; line != NULL && *line != 0; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = 0;
        mount_line(line, parent);
    }
    block_unmap(text, MOUNTINFO_MAX);
    if (groups.ours[GROUP_MEMORY] >= 0 && groups.ours[GROUP_CPUACCT] >= 0)
        leave(
            GROUP_UNIFIED); /* joining it takes a lock of the whole machine, joining those does not */
    if (groups.ours[GROUP_UNIFIED] >= 0) {
        groups.unified_memory = groups.ours[GROUP_MEMORY] < 0 && unified_has("memory");
        groups.unified_pids = groups.ours[GROUP_PIDS] < 0 && unified_has("pids");
        if (groups.unified_memory || groups.unified_pids)
            write_at(groups.ours[GROUP_UNIFIED], "cgroup.subtree_control",
                     groups.unified_memory && groups.unified_pids ? "+memory +pids"
                     : groups.unified_memory                      ? "+memory"
                                                                  : "+pids");
    }
    if (groups.ours[GROUP_UNIFIED] >= 0)
        leave(GROUP_CPUACCT); /* cpu.stat is enough */
    static const uint32_t bit[] = {FEATURE_MEMORY_V1, FEATURE_PIDS_V1, FEATURE_CPU_V1,
                                   FEATURE_UNIFIED};
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        if (groups.ours[i] >= 0) {
            *features |= bit[i];
            remove_stale(groups.parent[i]);
            groups.inits[i] = make_one((enum hierarchy)i, "ours", NULL);
        }
    *features |= groups.unified_memory ? FEATURE_MEMORY_V2 : 0;
    *features |= groups.unified_pids ? FEATURE_PIDS_V2 : 0;
    bool memory = (*features & (FEATURE_MEMORY_V1 | FEATURE_MEMORY_V2)) != 0;
    bool cpu = (*features & (FEATURE_CPU_V1 | FEATURE_UNIFIED)) != 0;
    *features |= memory && cpu ? 0 : FEATURE_SAMPLED;
}

/* ---- one run ---- */

void group_none(struct group *group)
{
    memset(group, 0, sizeof *group);
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        group->folder[i] = group->tasks[i] = -1;
    for (int i = 0; i < GROUP_FILES; i++)
        group->file[i] = -1;
}

static int make(struct group *group)
{
    group_none(group);
    snprintf(group->name, sizeof group->name, "%" PRIu64, groups.next++);
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        if (groups.ours[i] >= 0) {
            group->tasks[i] = make_one((enum hierarchy)i, group->name, &group->folder[i]);
            if (group->tasks[i] < 0)
                return -1;
        }
    return 0;
}

static int limit_memory(const struct group *group, int64_t bytes)
{
    int v1 = group->folder[GROUP_MEMORY], v2 = group->folder[GROUP_UNIFIED];
    if (v1 >= 0) {
        if (write_number(v1, "memory.limit_in_bytes", bytes) == 0)
            return faccessat(v1, "memory.memsw.limit_in_bytes", F_OK, 0) != 0
                       ? 0
                       : write_number(v1, "memory.memsw.limit_in_bytes", bytes);
        if (write_number(v1, "memory.memsw.limit_in_bytes", bytes) != 0) /* it was lower */
            return -1;
        return write_number(v1, "memory.limit_in_bytes", bytes);
    }
    if (!groups.unified_memory)
        return 0;
    if (faccessat(v2, "memory.swap.max", F_OK, 0) == 0 && write_at(v2, "memory.swap.max", "0") != 0)
        return -1;
    write_at(v2, "memory.oom.group", "1");
    return write_number(v2, "memory.max", bytes);
}

static int limit_processes(const struct group *group, uint32_t count)
{
    if (group->folder[GROUP_PIDS] >= 0)
        return write_number(group->folder[GROUP_PIDS], "pids.max", (int64_t)count);
    return groups.unified_pids
               ? write_number(group->folder[GROUP_UNIFIED], "pids.max", (int64_t)count)
               : 0;
}

static int64_t cpu_now(struct group *group)
{
    int *fd = &group->file[FILE_CPU];
    if (group->folder[GROUP_UNIFIED] >= 0) {
        int64_t us = number_kept(fd, group->folder[GROUP_UNIFIED], "cpu.stat", "usage_usec");
        return us < 0 ? -1 : us * 1000;
    }
    return group->folder[GROUP_CPUACCT] < 0
               ? -1
               : number_kept(fd, group->folder[GROUP_CPUACCT], "cpuacct.usage", "");
}

static int64_t oom_now(struct group *group)
{
    int *fd = &group->file[FILE_OOM];
    if (group->folder[GROUP_MEMORY] >= 0)
        return number_kept(fd, group->folder[GROUP_MEMORY], "memory.oom_control", "oom_kill");
    return groups.unified_memory
               ? number_kept(fd, group->folder[GROUP_UNIFIED], "memory.events", "oom_kill")
               : -1;
}

static void remove_group(const struct group *group)
{
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        if (group->folder[i] >= 0)
            unlinkat(groups.ours[i], group->name, AT_REMOVEDIR);
}

static void close_group(struct group *group)
{
    for (int i = 0; i < HIERARCHY_COUNT; i++) {
        descriptor_close(&group->tasks[i]);
        descriptor_close(&group->folder[i]);
    }
    for (int i = 0; i < GROUP_FILES; i++)
        descriptor_close(&group->file[i]);
}

/* Memory that the last run left in the groups for a moment (its tmpfs goes with its mount namespace, which the kernel may
 * put off) or for long (what it was the first to read from the disk) would count against the next one: then it gets new
 * groups. */
static bool holds_memory(struct group *group)
{
    int64_t bytes = 0;
    int *fd = &group->file[FILE_BYTES];
    if (group->folder[GROUP_MEMORY] >= 0)
        bytes = number_kept(fd, group->folder[GROUP_MEMORY], "memory.usage_in_bytes", "");
    else if (groups.unified_memory)
        bytes = number_kept(fd, group->folder[GROUP_UNIFIED], "memory.current", "");
    return bytes > LEFT_BYTES_MOST;
}

static void forget_kept(void)
{
    int error = errno;
    if (groups.has_kept) {
        remove_group(&groups.kept);
        close_group(&groups.kept);
    }
    groups.has_kept = false;
    errno = error;
}

/* false: this kernel cannot (a v2 one before 6.12), so the peak would be that of all runs before. */
static bool peak_reset(struct group *group)
{
    if (group->file[FILE_PEAK] < 0)
        group_memory_peak(group); /* opens it */
    return group->file[FILE_PEAK] < 0 || pwrite(group->file[FILE_PEAK], "0", 1, 0) == 1;
}

static int limits_set(struct group *group, const struct sandbox_limits *limits, const char **step)
{
    *step = "the memory limit of its cgroup";
    if (group->memory_bytes != limits->memory_bytes &&
        limit_memory(group, limits->memory_bytes) != 0)
        return -1;
    *step = "the process limit of its cgroup";
    if (group->processes != limits->processes && limit_processes(group, limits->processes) != 0)
        return -1;
    group->memory_bytes = limits->memory_bytes;
    group->processes = limits->processes;
    return 0;
}

int group_begin(struct group *group, const struct sandbox_limits *limits, const char **step)
{
    *step = "making the run's cgroups";
    if (groups.has_kept && (holds_memory(&groups.kept) || !peak_reset(&groups.kept)))
        forget_kept();
    bool fine = true;
    if (!groups.has_kept) {
        fine = make(&groups.kept) == 0;
        groups.has_kept = true;
        holds_memory(&groups.kept); /* opens it, so that a launcher always holds the same files */
    }
    if (!fine || limits_set(&groups.kept, limits, step) != 0) {
        forget_kept();
        return -1;
    }
    groups.kept.cpu_before_ns = cpu_now(&groups.kept);
    groups.kept.oom_before = oom_now(&groups.kept);
    *group = groups.kept;
    return 0;
}

int64_t group_cpu_ns(struct group *group)
{
    int64_t now = cpu_now(group);
    return now < 0 ? -1 : now - group->cpu_before_ns;
}

bool group_out_of_memory(struct group *group)
{
    return oom_now(group) > group->oom_before && group->oom_before >= 0;
}

int64_t group_memory_peak(struct group *group)
{
    int *fd = &group->file[FILE_PEAK];
    if (group->folder[GROUP_MEMORY] >= 0)
        return number_kept(fd, group->folder[GROUP_MEMORY], "memory.max_usage_in_bytes", "");
    return groups.unified_memory ? number_kept(fd, group->folder[GROUP_UNIFIED], "memory.peak", "")
                                 : -1;
}

void group_kill(const struct group *group)
{
    if (group->folder[GROUP_UNIFIED] >= 0)
        write_at(group->folder[GROUP_UNIFIED], "cgroup.kill", "1");
}

/* Its processes are in all of its groups, and cannot leave one: the pids controller counts them all. */
static bool is_empty(struct group *group)
{
    char text[64];
    if (group->folder[GROUP_PIDS] >= 0)
        return number_kept(&group->file[FILE_COUNT], group->folder[GROUP_PIDS], "pids.current",
                           "") == 0;
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        if (group->folder[i] >= 0 &&
            read_at(group->folder[i], "cgroup.procs", text, sizeof text) > 0)
            return false;
    return true;
}

int group_end(struct group *group)
{
    int64_t until = clock_now_ns() + EMPTY_WAIT_MS * INT64_C(1000000);
    bool left = true;
    while ((left = !is_empty(group)) && clock_now_ns() < until) {
        group_kill(group);
        clock_sleep_ms(1);
    }
    if (group->name[0] != 0)
        groups.kept = *group; /* with what was opened meanwhile */
    if (left)                 /* it stays where it is, until the launcher ends */
        forget_kept();
    return left ? -1 : 0;
}

void groups_close(void)
{
    forget_kept();
    for (int i = 0; i < HIERARCHY_COUNT; i++) {
        if (groups.ours[i] >= 0)
            remove_children(groups.ours[i]);
        leave((enum hierarchy)i);
    }
}
