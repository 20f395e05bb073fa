#include "ops/run_folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/config.h"
#include "transport/weight_channel.h"

enum { ATTEMPTS_MAX = 100000, LISTED_MAX = 8, LOCK_TRIES = 20, LOCK_PAUSE_MS = 10 };

enum status run_name_check(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= RUN_NAME_MAX)
        return FAIL(STATUS_INVALID, "run name \"%.60s\" has %zu bytes: take 1 to %d", name, length,
                    RUN_NAME_MAX - 1);
    for (size_t i = 0; i < length; i++)
        if (!(isalnum((unsigned char)name[i]) || strchr("-_.", name[i]) != NULL) ||
            (i == 0 && (name[i] == '.' || name[i] == '-'))) /* hidden; an option of commands */
            return FAIL(STATUS_INVALID,
                        "run name \"%s\": byte %zu is not allowed there; take letters, digits, "
                        "_, and - and . (not first)",
                        name, i + 1);
    return STATUS_OK;
}

void run_name_stem(const char *recipe, size_t size, char out[])
{
    const char *slash = strrchr(recipe, '/'), *stem = slash != NULL ? slash + 1 : recipe,
               *dot = strrchr(stem, '.');
    int length = dot != NULL && dot != stem ? (int)(dot - stem) : (int)strlen(stem);
    snprintf(out, size, "%.*s", length, stem);
}

enum status run_name_make(const char *recipe, int64_t wall_ns, char name[RUN_NAME_MAX])
{
    enum { STEM_MAX = RUN_NAME_MAX - 1 - 16 };
    char stem[STEM_MAX + 1];
    run_name_stem(recipe, sizeof stem, stem);
    time_t seconds = (time_t)(wall_ns / CLOCK_NS_PER_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char when[20];
    strftime(when, sizeof when, "%Y%m%d-%H%M%S", &utc);
    char made[RUN_NAME_MAX];
    snprintf(made, sizeof made, "%s-%.15s", stem, when);
    for (char *at = made; *at != 0; at++)
        if (!isalnum((unsigned char)*at) && strchr("-_.", *at) == NULL)
            *at = '_';
    if (made[0] == '.' || made[0] == '-')
        made[0] = '_';
    memcpy(name, made, sizeof made);
    return run_name_check(name);
}

static enum status read_lock(const char *path, long *pid, char state[16])
{
    char lock[FILE_PATH_MAX], text[64];
    TRY(file_path(lock, "%s/lock", path));
    int fd = open(lock, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(STATUS_NOT_FOUND, "%s: %s", lock, strerror(errno));
    ssize_t got = read(fd, text, sizeof text - 1);
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    text[got > 0 ? got : 0] = 0;
    char *end;
    *pid = strtol(text, &end, 10);
    snprintf(state, 16, "%.*s", (int)strcspn(end + (*end == ' '), "\n"), end + (*end == ' '));
    if (!held)
        *pid = 0;
    return STATUS_OK;
}

pid_t run_folder_holder(const char *path, char state[16])
{
    long pid = 0;
    char text[16] = "";
    if (read_lock(path, &pid, text) != STATUS_OK)
        return 0;
    if (state != NULL)
        memcpy(state, text, sizeof text);
    return (pid_t)pid;
}

bool run_folder_take_lock(int fd)
{
    struct stat info;
    int tries = 0;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || ++tries == LOCK_TRIES)
            return false;
        clock_sleep_ms(LOCK_PAUSE_MS);
    }
    return fstat(fd, &info) == 0 && info.st_nlink > 0;
}

static enum status take_lock(struct run_folder *folder)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/lock", folder->path));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    if (!run_folder_take_lock(fd)) {
        close(fd);
        folder->fresh = false; /* whoever was quicker has it now */
        return FAIL(STATUS_LIMIT,
                    "run \"%s\" is already running, process %ld holds %s: stop it first with "
                    "`weir stop %s`",
                    folder->name, (long)run_folder_holder(folder->path, NULL), path, folder->name);
    }
    folder->lock_fd = fd;
    return run_folder_note(folder, "running");
}

enum status run_folder_note(const struct run_folder *folder, const char *state)
{
    char text[64];
    int size = snprintf(text, sizeof text, "%ld %s\n", (long)getpid(), state);
    if (pwrite(folder->lock_fd, text, (size_t)size, 0) != size ||
        ftruncate(folder->lock_fd, size) != 0)
        return FAIL(STATUS_IO, "%s/lock: write: %s", folder->path, strerror(errno));
    return STATUS_OK;
}

static enum status make_attempt(struct run_folder *folder)
{
    char path[FILE_PATH_MAX], target[64];
    TRY(file_path(path, "%s/logs", folder->path));
    TRY(file_make_dirs(path));
    for (folder->attempt = 1;; folder->attempt++) {
        if (folder->attempt > ATTEMPTS_MAX)
            return FAIL(STATUS_LIMIT, "%s has more than %d attempts", path, ATTEMPTS_MAX);
        TRY(file_path(folder->logs, "%s/attempt_%u", path, folder->attempt));
        if (mkdir(folder->logs, 0755) == 0)
            break;
        if (errno != EEXIST)
            return FAIL(STATUS_IO, "%s: mkdir: %s", folder->logs, strerror(errno));
    }
    char made[FILE_PATH_MAX], latest[FILE_PATH_MAX];
    snprintf(target, sizeof target, "attempt_%u", folder->attempt);
    TRY(file_path(made, "%s/latest.tmp", path));
    TRY(file_path(latest, "%s/latest", path));
    unlink(made);
    if (symlink(target, made) != 0 || rename(made, latest) != 0)
        return FAIL(STATUS_IO, "%s: link: %s", latest, strerror(errno));
    return STATUS_OK;
}

static enum status make_folder(struct run_folder *folder, const char *root, bool resume)
{
    TRY(file_make_dirs(root));
    TRY(file_path(folder->path, "%s/%s", root, folder->name));
    if (mkdir(folder->path, 0755) == 0)
        folder->fresh = true;
    else if (errno != EEXIST)
        return FAIL(STATUS_IO, "%s: mkdir: %s", folder->path, strerror(errno));
    else if (!resume)
        return FAIL(STATUS_INVALID,
                    "run \"%s\" exists already (%s): take another --name, go on with it by adding "
                    "--name %s --resume (or by `weir resume %s`, with the settings it had), or "
                    "remove it and begin anew with --clean",
                    folder->name, folder->path, folder->name, folder->name);
    return STATUS_OK;
}

enum status run_folder_open(struct run_folder *folder, const char *root, const char *name,
                            bool resume)
{
    struct run_folder made = {.lock_fd = -1};
    enum status status = STATUS_OK;
    TRY(run_name_check(name));
    memcpy(made.name, name, strlen(name) + 1);
    TRY_GOTO(out, make_folder(&made, root, resume));
    TRY_GOTO(out, take_lock(&made));
    TRY_GOTO(out, make_attempt(&made));
    static const char *const parts[] = {"checkpoints", "ledger"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char path[FILE_PATH_MAX];
        TRY_GOTO(out, file_path(path, "%s/%s", made.path, parts[i]));
        TRY_GOTO(out, file_make_dirs(path));
    }
    *folder = made;
out:
    if (status != STATUS_OK)
        run_folder_discard(&made);
    return status;
}

void run_folder_close(struct run_folder *folder)
{
    if (folder->lock_fd >= 0)
        close(folder->lock_fd);
    folder->lock_fd = -1;
}

void run_folder_discard(struct run_folder *folder)
{
    if (folder->fresh && file_remove_tree(folder->path) != STATUS_OK)
        fprintf(stderr, "weir: %s\n", status_last_error());
    folder->fresh = false;
    run_folder_close(folder);
}

/* ---- runs of others ---- */

static bool is_run(const char *path)
{
    char lock[FILE_PATH_MAX];
    return file_path(lock, "%s/lock", path) == STATUS_OK && file_exists(lock);
}

static void take_name(const char *path, char name[RUN_NAME_MAX])
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && path[from - 1] != '/')
        from--;
    snprintf(name, RUN_NAME_MAX, "%.*s", (int)(end - from), path + from);
}

enum { NEAR_NAMES = 256 };

/* The run whose name is nearest to `run`; "" when none is near. */
static void nearest_run(const char *root, const char *run, char near[RUN_NAME_MAX])
{
    static char names[NEAR_NAMES][RUN_NAME_MAX];
    const char *known[NEAR_NAMES];
    size_t count = 0;
    DIR *dir = opendir(root);
    near[0] = 0;
    for (struct dirent *entry;
         dir != NULL && count < NEAR_NAMES && (entry = readdir(dir)) != NULL;) {
        char candidate[FILE_PATH_MAX];
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= RUN_NAME_MAX ||
            file_path(candidate, "%s/%s", root, entry->d_name) != STATUS_OK || !is_run(candidate))
            continue;
        snprintf(names[count], RUN_NAME_MAX, "%.*s", RUN_NAME_MAX - 1, entry->d_name);
        known[count] = names[count];
        count++;
    }
    if (dir != NULL)
        closedir(dir);
    const char *found = config_nearest(run, known, count);
    for (size_t i = 0; i < count && found == NULL && strlen(run) >= 3; i++)
        if (strncmp(known[i], run, strlen(run)) == 0)
            found = known[i];
    if (found != NULL)
        snprintf(near, RUN_NAME_MAX, "%s", found);
}

static enum status no_run(const char *root, const char *run)
{
    char near[RUN_NAME_MAX];
    nearest_run(root, run, near);
    if (near[0] != 0)
        return FAIL(STATUS_NOT_FOUND, "no run \"%s\" under %s, did you mean %s?", run, root, near);
    return FAIL(STATUS_NOT_FOUND,
                "no run \"%s\": neither %s nor %s/%s holds one; `weir ls` shows those there are "
                "(WEIR_RUN_ROOT says where)",
                run, run, root, run);
}

static enum status find_running(const char *root, char path[FILE_PATH_MAX])
{
    DIR *dir = opendir(root);
    if (dir == NULL)
        return FAIL(STATUS_NOT_FOUND, "no run here: %s: %s; start one with `weir run RECIPE`", root,
                    strerror(errno));
    char names[512] = "", found[FILE_PATH_MAX] = "";
    unsigned running = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char candidate[FILE_PATH_MAX];
        if (entry->d_name[0] == '.' ||
            file_path(candidate, "%s/%s", root, entry->d_name) != STATUS_OK ||
            run_folder_holder(candidate, NULL) == 0)
            continue;
        memcpy(found, candidate, sizeof found);
        size_t used = strlen(names);
        if (++running <= LISTED_MAX)
            snprintf(names + used, sizeof names - used, " %s", entry->d_name);
    }
    closedir(dir);
    if (running == 0)
        return FAIL(STATUS_NOT_FOUND,
                    "no run is going on under %s; name one that ended, or start "
                    "one with `weir run RECIPE`",
                    root);
    if (running > 1)
        return FAIL(STATUS_INVALID, "%u runs are going on under %s, name one of them:%s", running,
                    root, names);
    memcpy(path, found, sizeof found);
    return STATUS_OK;
}

enum status run_folder_find(const char *root, const char *run, char path[FILE_PATH_MAX],
                            char name[RUN_NAME_MAX])
{
    char found[FILE_PATH_MAX];
    if (run == NULL) {
        TRY(find_running(root, found));
    } else {
        TRY(file_path(found, "%s", run));
        if (!is_run(found))
            TRY(file_path(found, "%s/%s", root, run));
        if (!is_run(found))
            return no_run(root, run);
    }
    for (size_t end = strlen(found); end > 1 && found[end - 1] == '/'; end--)
        found[end - 1] = 0;
    memcpy(path, found, sizeof found);
    take_name(found, name);
    return STATUS_OK;
}

enum status run_folder_json(const char *path, const char *file, size_t bytes_max, json_t **value)
{
    char whole[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, bytes_max);
    enum status status;
    TRY_GOTO(out, file_path(whole, "%s/%s", path, file));
    TRY_GOTO(out, file_read(whole, &text));
    *value = json_loadb((const char *)text.bytes, text.size, 0, NULL);
out:
    buffer_free(&text);
    return status;
}

enum status run_folder_remove(const char *path)
{
    struct run_folder folder = {.lock_fd = -1};
    struct stat info;
    char whole[PATH_MAX], away[FILE_PATH_MAX];
    if (lstat(path, &info) != 0)
        return FAIL(STATUS_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(info.st_mode) || !is_run(path))
        return FAIL(STATUS_INVALID, "%s is no run folder: nothing is removed", path);
    if (realpath(path, whole) == NULL)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    TRY(file_path(folder.path, "%s", whole));
    take_name(whole, folder.name);
    TRY(take_lock(&folder));
    run_folder_sweep_shared_memory(&folder);
    enum status status;
    TRY_GOTO(out, file_path(away, "%.*s.%s.removed", (int)(strrchr(whole, '/') + 1 - whole), whole,
                            folder.name));
    TRY_GOTO(out, file_remove_tree(away)); /* of a removal that was cut off */
    if (rename(whole, away) != 0)
        TRY_GOTO(out, FAIL(STATUS_IO, "%s: rename: %s", whole, strerror(errno)));
    TRY_GOTO(out, file_remove_tree(away));
    TRY_GOTO(out, file_path(away, "%s.targets.json",
                            whole)); /* ops/fleet_monitor.h; of a run that was killed */
    TRY_GOTO(out, file_remove_tree(away));
out:
    run_folder_close(&folder);
    return status;
}

void run_folder_sweep_shared_memory(const struct run_folder *folder)
{
    char path[FILE_PATH_MAX];
    if (weight_channel_path(path, folder->name, folder->path) != STATUS_OK)
        return;
    char *prefix = strrchr(path, '/') + 1;
    *(strrchr(prefix, '.') + 1) = '\0'; /* weir.NAME.FOLDER. */
    DIR *dir = opendir("/dev/shm");
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
}
