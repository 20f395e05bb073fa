/* rollout_store/ledger.c - numbered append-only files; see the header for what damage means. */
#include "rollout_store/ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"

enum { LEDGER_ARENA_BYTES = 2 * WIRE_MESSAGE_MAX };

struct ledger {
    char folder[FILE_PATH_MAX];
    char path[FILE_PATH_MAX]; /* of the newest file */
    int fd;                   /* of the newest file */
    int lock_fd;
    uint32_t number; /* of the newest file; they count from 0 without gaps */
    uint64_t file_bytes, size /* of the newest file */, before /* bytes of the older files */;
    uint64_t snapshot_begin, snapshot_end; /* offsets of the newest snapshot; 0, 0 without one */
    bool dead;
};

static enum status file_name(char out[FILE_PATH_MAX], const char *folder, uint32_t number)
{
    return file_path(out, "%s/ledger.%06" PRIu32, folder, number);
}

static enum status take_lock(struct ledger *ledger)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/lock", ledger->folder));
    ledger->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (ledger->lock_fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", path, strerror(errno));
    if (flock(ledger->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return FAIL(STATUS_LIMIT,
                    "%s is locked: another store writes this ledger; stop it first "
                    "(weir down), or choose another run name",
                    path);
    return STATUS_OK;
}

/* ---- reading ---- */

struct mapping {
    const uint8_t *bytes;
    size_t size;
};

static enum status map_file(struct mapping *mapping, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "open %s: %s", path,
                    strerror(errno));
    struct stat stat;
    enum status status = STATUS_OK;
    *mapping = (struct mapping){0};
    if (fstat(fd, &stat) != 0) {
        status = FAIL(STATUS_IO, "fstat %s: %s", path, strerror(errno));
    } else if (stat.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED)
            status = FAIL(STATUS_IO, "mmap %s: %s", path, strerror(errno));
        else
            *mapping = (struct mapping){bytes, (size_t)stat.st_size};
    }
    close(fd);
    return status;
}

static void unmap_file(struct mapping *mapping)
{
    if (mapping->bytes != NULL)
        munmap((void *)(uintptr_t)mapping->bytes, mapping->size);
    *mapping = (struct mapping){0};
}

static enum status cut_tail(const char *path, size_t size)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    if (ftruncate(fd, (off_t)size) != 0 || fdatasync(fd) != 0)
        status = FAIL(STATUS_IO, "cut %s to %zu bytes: %s", path, size, strerror(errno));
    close(fd);
    return status;
}

/* How many files there are; CORRUPT when one between them is missing. */
static enum status count_files(const char *folder, uint32_t *count)
{
    DIR *directory = opendir(folder);
    if (directory == NULL)
        return FAIL(STATUS_IO, "open folder %s: %s", folder, strerror(errno));
    uint32_t found = 0;
    *count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        uint32_t number;
        char name[32];
        if (sscanf(entry->d_name, "ledger.%" SCNu32, &number) != 1 || number == UINT32_MAX)
            continue;
        snprintf(name, sizeof name, "ledger.%06" PRIu32, number);
        if (strcmp(name, entry->d_name) != 0)
            continue;
        found++;
        *count = number + 1 > *count ? number + 1 : *count;
    }
    closedir(directory);
    if (found == *count)
        return STATUS_OK;
    for (uint32_t number = 0; number < *count; number++) {
        char path[FILE_PATH_MAX];
        TRY(file_name(path, folder, number));
        if (!file_exists(path))
            return FAIL(STATUS_CORRUPT, "%s is missing and later files are there: restore it",
                        path);
    }
    return STATUS_OK;
}

struct opening {
    struct ledger *ledger;
    ledger_replay_fn replay;
    void *self;
    struct arena *arena;
    uint64_t records, torn_bytes;
};

static enum status damage(const char *path, const struct ledger_judgement *judgement)
{
    return FAIL(STATUS_CORRUPT, "%s is damaged at byte %zu (%s): restore it from a copy", path,
                judgement->good, judgement->why);
}

/* The newest file that begins with an entire snapshot, or file 0. An unfinished snapshot of the newest file is cut
 * off, since the files before it hold everything. */
static enum status find_start(struct opening *opening, uint32_t count, uint32_t *first)
{
    for (*first = count; *first > 0;) {
        (*first)--;
        bool newest = *first + 1 == count;
        char path[FILE_PATH_MAX];
        struct mapping mapping;
        struct ledger_judgement judgement;
        TRY(file_name(path, opening->ledger->folder, *first));
        TRY(map_file(&mapping, path));
        enum status status =
            ledger_judge_head(mapping.bytes, mapping.size, newest, opening->arena, &judgement);
        if (status == STATUS_OK && judgement.verdict == LEDGER_DAMAGED)
            status = damage(path, &judgement);
        if (status == STATUS_OK && judgement.verdict == LEDGER_TORN) {
            opening->torn_bytes += mapping.size;
            status = cut_tail(path, 0);
        }
        unmap_file(&mapping);
        if (status != STATUS_OK || judgement.snapshot > 0)
            return status;
    }
    return STATUS_OK;
}

/* A snapshot says how many bytes stand before it: older files of another size are not the ones it was made from. */
static enum status replay_one(void *self, const struct record *record, uint64_t offset)
{
    struct opening *opening = self;
    struct ledger *ledger = opening->ledger;
    if (record->type == RECORD_SNAPSHOT && record->snapshot.offset != ledger->before)
        return FAIL(STATUS_CORRUPT,
                    "the snapshot of file %" PRIu32 " was made behind %" PRIu64
                    " bytes, the files before it have %" PRIu64 ": restore them from a copy",
                    ledger->number, record->snapshot.offset, ledger->before);
    return opening->replay != NULL ? opening->replay(opening->self, record, offset) : STATUS_OK;
}

static enum status replay_file(struct opening *opening, const char *path, bool newest)
{
    struct ledger *ledger = opening->ledger;
    struct mapping mapping;
    struct ledger_judgement judgement;
    TRY(map_file(&mapping, path));
    if (mapping.size > 0)
        (void)madvise((void *)(uintptr_t)mapping.bytes, mapping.size, MADV_SEQUENTIAL);
    enum status status = ledger_judge(mapping.bytes, mapping.size, newest, ledger->before,
                                      replay_one, opening, opening->arena, &judgement);
    if (status == STATUS_OK && judgement.verdict == LEDGER_DAMAGED)
        status = damage(path, &judgement);
    if (status == STATUS_OK && judgement.verdict == LEDGER_TORN) {
        opening->torn_bytes += mapping.size - judgement.good;
        status = cut_tail(path, judgement.good);
    }
    unmap_file(&mapping);
    ledger->size = judgement.good;
    opening->records += judgement.records;
    if (judgement.snapshot > 0) {
        ledger->snapshot_begin = ledger->before;
        ledger->snapshot_end = ledger->before + judgement.snapshot;
    }
    return status;
}

static enum status replay_all(struct opening *opening)
{
    struct ledger *ledger = opening->ledger;
    uint32_t count = 0, first = 0;
    TRY(count_files(ledger->folder, &count));
    TRY(find_start(opening, count, &first));
    for (uint32_t number = 0; number < count; number++) {
        char path[FILE_PATH_MAX];
        struct stat stat_;
        TRY(file_name(path, ledger->folder, number));
        ledger->before += ledger->size;
        ledger->size = 0;
        ledger->number = number;
        if (number >= first)
            TRY(replay_file(opening, path, number + 1 == count));
        else if (stat(path, &stat_) != 0)
            return FAIL(STATUS_IO, "stat %s: %s", path, strerror(errno));
        else
            ledger->size = (uint64_t)stat_.st_size;
    }
    return STATUS_OK;
}

/* ---- writing ---- */

static bool is_full(int error)
{
    return error == ENOSPC || error == EDQUOT;
}

static enum status say_full(const struct ledger *ledger, const char *path, size_t size, int error)
{
    struct statvfs room = {0};
    if (statvfs(ledger->folder, &room) != 0)
        room = (struct statvfs){0};
    return FAIL(STATUS_LIMIT,
                "%s: disk full (%s): %zu bytes wanted, %" PRIu64
                " free; nothing was written, free space and it goes on",
                path, strerror(error), size, (uint64_t)room.f_bavail * room.f_frsize);
}

static enum status die(struct ledger *ledger, const char *path, const char *call, int error)
{
    ledger->dead = true;
    return FAIL(STATUS_IO, "%s: %s: %s; the store stops, since what is on disk is not known", path,
                call, strerror(error));
}

/* All bytes, or errno's value and *written of them. */
static int write_some(int fd, const uint8_t *bytes, size_t size)
{
    int planted = fault_fails("ledger.write")         ? ENOSPC
                  : fault_fails("ledger.write_error") ? EIO
                                                      : 0;
    size_t end = planted != 0 ? size / 2 : size; /* as disks do: a part of it is there */
    for (size_t at = 0; at < end;) {
        ssize_t wrote = write(fd, bytes + at, end - at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? errno : ENOSPC;
        at += (size_t)wrote;
    }
    return planted;
}

static int sync_file(int fd)
{
    return fault_fails("ledger.sync") ? EIO : fdatasync(fd) == 0 ? 0 : errno;
}

/* Appends at `start` of fd; a full disk leaves the file as it was. */
static enum status write_frames(struct ledger *ledger, int fd, const char *path, uint64_t start,
                                const void *frames, size_t size)
{
    int error = write_some(fd, frames, size);
    if (error == 0)
        return STATUS_OK;
    if (is_full(error) && ftruncate(fd, (off_t)start) == 0)
        return say_full(ledger, path, size, error);
    return die(ledger, path, "write", error);
}

static enum status open_newest(struct ledger *ledger)
{
    TRY(file_name(ledger->path, ledger->folder, ledger->number));
    ledger->fd = open(ledger->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (ledger->fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", ledger->path, strerror(errno));
    return file_sync_dir(ledger->folder);
}

/* The next file, with `head` in it and synced. Until the end the old one stays the newest; a full disk leaves
 * everything as it was. */
static enum status rotate(struct ledger *ledger, const void *head, size_t size)
{
    char path[FILE_PATH_MAX];
    int error = sync_file(ledger->fd);
    if (error != 0)
        return die(ledger, ledger->path, "fdatasync", error);
    TRY(file_name(path, ledger->folder, ledger->number + 1));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return is_full(errno) ? say_full(ledger, path, size, errno)
                              : die(ledger, path, "create", errno);
    enum status status = STATUS_OK;
    if (size > 0) {
        status = write_frames(ledger, fd, path, 0, head, size);
        FAULT("ledger.snapshot");
        if (status == STATUS_OK && (error = sync_file(fd)) != 0)
            status = die(ledger, path, "fdatasync", error);
    }
    if (status == STATUS_OK && file_sync_dir(ledger->folder) != STATUS_OK)
        status = die(ledger, ledger->folder, "fsync", EIO);
    if (status != STATUS_OK) {
        close(fd);
        if (unlink(path) != 0 && !ledger->dead)
            status = die(ledger, path, "unlink", errno);
        return status;
    }
    close(ledger->fd);
    ledger->fd = fd;
    ledger->before += ledger->size;
    ledger->size = size;
    ledger->number++;
    snprintf(ledger->path, sizeof ledger->path, "%s", path);
    FAULT("ledger.rotated");
    return STATUS_OK;
}

static enum status say_dead(const struct ledger *ledger)
{
    return FAIL(STATUS_IO, "%s: an earlier write or sync failed", ledger->path);
}

enum status ledger_append(struct ledger *ledger, const void *frames, size_t size)
{
    if (ledger->dead)
        return say_dead(ledger);
    if (size == 0)
        return STATUS_OK;
    if (ledger->size > 0 && ledger->size + size > ledger->file_bytes)
        TRY(rotate(ledger, NULL, 0));
    TRY(write_frames(ledger, ledger->fd, ledger->path, ledger->size, frames, size));
    ledger->size += size;
    FAULT("ledger.appended");
    return STATUS_OK;
}

enum status ledger_begin(struct ledger *ledger, const void *snapshot, size_t size)
{
    if (ledger->dead)
        return say_dead(ledger);
    uint64_t begin = ledger_offset(ledger);
    TRY(rotate(ledger, snapshot, size));
    ledger->snapshot_begin = begin;
    ledger->snapshot_end = begin + size;
    return STATUS_OK;
}

enum status ledger_sync(struct ledger *ledger)
{
    if (ledger->dead)
        return say_dead(ledger);
    int error = sync_file(ledger->fd);
    if (error != 0)
        return die(ledger, ledger->path, "fdatasync", error);
    FAULT("ledger.synced");
    return STATUS_OK;
}

uint64_t ledger_offset(const struct ledger *ledger)
{
    return ledger->before + ledger->size;
}

uint64_t ledger_since_snapshot(const struct ledger *ledger)
{
    return ledger_offset(ledger) - ledger->snapshot_end;
}

uint64_t ledger_start(const struct ledger *ledger)
{
    return ledger->snapshot_begin;
}

bool ledger_wants_snapshot(const struct ledger *ledger, uint64_t snapshot_bytes)
{
    uint64_t since = ledger_since_snapshot(ledger);
    return since >= LEDGER_SNAPSHOT_BYTES && since / LEDGER_SNAPSHOT_TIMES >= snapshot_bytes;
}

/* The names of the folder and of the run's folder around it, which may be new. */
static enum status sync_above(const char *folder)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s", folder));
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return file_sync_dir(".");
        if (slash == path)
            return file_sync_dir("/");
        *slash = '\0';
        TRY(file_sync_dir(path));
    }
    return STATUS_OK;
}

enum status ledger_open(struct ledger **out, const char *folder, uint64_t file_bytes,
                        ledger_replay_fn replay, void *self, uint64_t *records,
                        uint64_t *torn_bytes)
{
    *out = NULL;
    *records = *torn_bytes = 0;
    struct ledger *ledger = memory_alloc(sizeof *ledger);
    if (ledger == NULL)
        return FAIL(STATUS_NO_MEMORY, "ledger");
    ledger->fd = ledger->lock_fd = -1;
    ledger->file_bytes = file_bytes;
    struct opening opening = {.ledger = ledger, .replay = replay, .self = self};
    enum status status;
    TRY_GOTO(fail, arena_create(&opening.arena, LEDGER_ARENA_BYTES));
    TRY_GOTO(fail, file_path(ledger->folder, "%s", folder));
    TRY_GOTO(fail, file_make_dirs(folder));
    TRY_GOTO(fail, sync_above(folder));
    TRY_GOTO(fail, take_lock(ledger));
    TRY_GOTO(fail, replay_all(&opening));
    TRY_GOTO(fail, open_newest(ledger));
    arena_destroy(&opening.arena);
    *records = opening.records;
    *torn_bytes = opening.torn_bytes;
    *out = ledger;
    return STATUS_OK;
fail:
    arena_destroy(&opening.arena);
    ledger_close(&ledger);
    return status;
}

void ledger_close(struct ledger **ledger_pointer)
{
    struct ledger *ledger = *ledger_pointer;
    if (ledger == NULL)
        return;
    if (ledger->fd >= 0)
        close(ledger->fd);
    if (ledger->lock_fd >= 0)
        close(ledger->lock_fd);
    memory_free(ledger);
    *ledger_pointer = NULL;
}

/* Records of [at, end) of one file; they end exactly there. */
static enum status scan_range(const struct mapping *mapping, size_t at, size_t end, uint64_t before,
                              ledger_replay_fn replay, void *self, struct arena *arena)
{
    while (at < end) {
        struct record record;
        size_t used = 0;
        arena_reset(arena);
        TRY(record_unpack(&record, arena, mapping->bytes + at, end - at, &used));
        TRY(replay(self, &record, before + at));
        at += used;
    }
    return STATUS_OK;
}

enum status ledger_scan(const char *folder, uint64_t from, uint64_t to, ledger_replay_fn replay,
                        void *self)
{
    struct arena *arena = NULL;
    TRY(arena_create(&arena, LEDGER_ARENA_BYTES));
    enum status status = STATUS_OK;
    uint64_t before = 0;
    for (uint32_t number = 0; status == STATUS_OK && before < to; number++) {
        char path[FILE_PATH_MAX];
        struct mapping mapping = {0};
        struct stat info;
        TRY_GOTO(out, file_name(path, folder, number));
        if (stat(path, &info) == 0 && before + (uint64_t)info.st_size <= from) {
            before += (uint64_t)info.st_size; /* wholly before: not opened */
            continue;
        }
        TRY_GOTO(out, map_file(&mapping, path));
        size_t at = from > before ? (size_t)(from - before) : 0;
        size_t end = to - before < mapping.size ? (size_t)(to - before) : mapping.size;
        if (at < end)
            status = scan_range(&mapping, at, end, before, replay, self, arena);
        before += mapping.size;
        unmap_file(&mapping);
    }
out:
    arena_destroy(&arena);
    return status;
}

static enum status read_whole(const char *path, bool newest, uint64_t *before,
                              ledger_replay_fn replay, void *self, struct arena *arena)
{
    struct mapping mapping;
    struct ledger_judgement judgement;
    TRY(map_file(&mapping, path));
    enum status status =
        ledger_judge(mapping.bytes, mapping.size, newest, *before, replay, self, arena, &judgement);
    if (status == STATUS_OK && judgement.verdict == LEDGER_DAMAGED)
        status = damage(path, &judgement);
    *before += mapping.size;
    unmap_file(&mapping);
    return status;
}

enum status ledger_read(const char *folder, ledger_replay_fn replay, void *self)
{
    struct arena *arena = NULL;
    uint32_t count = 0;
    uint64_t before = 0;
    TRY(count_files(folder, &count));
    if (count == 0)
        return FAIL(STATUS_NOT_FOUND, "%s holds no ledger", folder);
    TRY(arena_create(&arena, LEDGER_ARENA_BYTES));
    enum status status = STATUS_OK;
    for (uint32_t number = 0; status == STATUS_OK && number < count; number++) {
        char path[FILE_PATH_MAX];
        status = file_name(path, folder, number);
        if (status == STATUS_OK)
            status = read_whole(path, number + 1 == count, &before, replay, self, arena);
    }
    arena_destroy(&arena);
    return status;
}
