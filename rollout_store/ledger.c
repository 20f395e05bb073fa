/* rollout_store/ledger.c - numbered append-only files; see the header for what damage means. */
#include "rollout_store/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"

enum { LEDGER_ARENA_BYTES = 2 * WIRE_MESSAGE_MAX };

struct ledger {
    char folder[FILE_PATH_MAX];
    char path[FILE_PATH_MAX]; /* of the newest file */
    int fd;                   /* of the newest file */
    int lock_fd;
    uint32_t number; /* of the newest file; they count from 0 without gaps */
    uint64_t file_bytes, size /* of the newest file */, before /* bytes of the older files */;
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

/* Replays [at, end) of one file. *good is the offset after the last whole record; AGAIN or CORRUPT says what
 * stands there. */
static enum status replay_range(const struct mapping *mapping, size_t at, size_t end,
                                uint64_t before, ledger_replay_fn replay, void *self,
                                struct arena *arena, uint64_t *records, size_t *good)
{
    *good = at;
    while (*good < end) {
        struct record record;
        size_t used = 0;
        arena_reset(arena);
        TRY(record_unpack(&record, arena, mapping->bytes + *good, end - *good, &used));
        if (replay != NULL) {
            enum status status = replay(self, &record, before + *good);
            if (status != STATUS_OK)
                return status == STATUS_AGAIN ? STATUS_INVALID : status;
        }
        *good += used;
        (*records)++;
    }
    return STATUS_OK;
}

/* A whole record anywhere after `from`: then the damage before it is no torn tail. */
static bool whole_record_after(const struct mapping *mapping, size_t from, struct arena *arena)
{
    for (size_t at = from + 1; at < mapping->size; at++) {
        struct record record;
        size_t used = 0;
        if (mapping->bytes[at] != 0x57)
            continue;
        arena_reset(arena);
        if (record_unpack(&record, arena, mapping->bytes + at, mapping->size - at, &used) ==
            STATUS_OK)
            return true;
    }
    return false;
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

struct replaying {
    ledger_replay_fn replay;
    void *self;
    bool refused; /* by replay, not by the bytes */
};

static enum status replay_guard(void *self, const struct record *record, uint64_t offset)
{
    struct replaying *replaying = self;
    enum status status =
        replaying->replay != NULL ? replaying->replay(replaying->self, record, offset) : STATUS_OK;
    replaying->refused = status != STATUS_OK;
    return status;
}

/* One file of ledger_open. The newest may have a torn tail, which is cut. */
static enum status replay_file(struct ledger *ledger, const char *path, bool newest,
                               struct replaying *replaying, struct arena *arena, uint64_t *records,
                               uint64_t *torn_bytes)
{
    struct mapping mapping;
    TRY(map_file(&mapping, path));
    size_t good = 0;
    enum status status = replay_range(&mapping, 0, mapping.size, ledger->before, replay_guard,
                                      replaying, arena, records, &good);
    if (status != STATUS_OK && !replaying->refused) {
        char why[256];
        snprintf(why, sizeof why, "%s", status_last_error());
        if (status != STATUS_AGAIN && status != STATUS_CORRUPT) {
            ; /* a limit: said already */
        } else if (!newest || whole_record_after(&mapping, good, arena)) {
            status = FAIL(STATUS_CORRUPT, "%s is damaged at byte %zu (%s): restore it from a copy",
                          path, good, why);
        } else {
            *torn_bytes = mapping.size - good;
            status = cut_tail(path, good);
        }
    }
    unmap_file(&mapping);
    ledger->size = good;
    return status;
}

/* ---- writing ---- */

static enum status open_newest(struct ledger *ledger)
{
    TRY(file_name(ledger->path, ledger->folder, ledger->number));
    ledger->fd = open(ledger->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (ledger->fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", ledger->path, strerror(errno));
    return file_sync_dir(ledger->folder);
}

static enum status rotate(struct ledger *ledger)
{
    if (fdatasync(ledger->fd) != 0)
        return FAIL(STATUS_IO, "fdatasync %s: %s", ledger->path, strerror(errno));
    close(ledger->fd);
    ledger->fd = -1;
    ledger->before += ledger->size;
    ledger->size = 0;
    ledger->number++;
    return open_newest(ledger);
}

enum status ledger_append(struct ledger *ledger, const void *frames, size_t size)
{
    if (ledger->dead)
        return FAIL(STATUS_IO, "%s: an earlier write or sync failed", ledger->path);
    if (size == 0)
        return STATUS_OK;
    enum status status = STATUS_OK;
    if (ledger->size > 0 && ledger->size + size > ledger->file_bytes)
        status = rotate(ledger);
    if (status == STATUS_OK)
        status = file_write_all(ledger->fd, frames, size, ledger->path);
    if (status != STATUS_OK) {
        ledger->dead = true;
        return status;
    }
    ledger->size += size;
    return STATUS_OK;
}

enum status ledger_sync(struct ledger *ledger)
{
    if (ledger->dead)
        return FAIL(STATUS_IO, "%s: an earlier write or sync failed", ledger->path);
    if (fdatasync(ledger->fd) == 0)
        return STATUS_OK;
    ledger->dead = true;
    return FAIL(STATUS_IO, "fdatasync %s: %s; the store stops, since a second sync may lie",
                ledger->path, strerror(errno));
}

uint64_t ledger_offset(const struct ledger *ledger)
{
    return ledger->before + ledger->size;
}

static enum status replay_all(struct ledger *ledger, ledger_replay_fn replay, void *self,
                              uint64_t *records, uint64_t *torn_bytes)
{
    struct arena *arena = NULL;
    TRY(arena_create(&arena, LEDGER_ARENA_BYTES));
    struct replaying replaying = {.replay = replay, .self = self};
    enum status status = STATUS_OK;
    for (uint32_t number = 0; status == STATUS_OK; number++) {
        char path[FILE_PATH_MAX], next[FILE_PATH_MAX];
        TRY_GOTO(out, file_name(path, ledger->folder, number));
        TRY_GOTO(out, file_name(next, ledger->folder, number + 1));
        if (!file_exists(path))
            break;
        ledger->before += ledger->size;
        ledger->number = number;
        status =
            replay_file(ledger, path, !file_exists(next), &replaying, arena, records, torn_bytes);
    }
out:
    arena_destroy(&arena);
    return status;
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
    enum status status;
    TRY_GOTO(fail, file_path(ledger->folder, "%s", folder));
    TRY_GOTO(fail, file_make_dirs(folder));
    TRY_GOTO(fail, take_lock(ledger));
    TRY_GOTO(fail, replay_all(ledger, replay, self, records, torn_bytes));
    TRY_GOTO(fail, open_newest(ledger));
    *out = ledger;
    return STATUS_OK;
fail:
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

enum status ledger_scan(const char *folder, uint64_t from, uint64_t to, ledger_replay_fn replay,
                        void *self)
{
    struct arena *arena = NULL;
    TRY(arena_create(&arena, LEDGER_ARENA_BYTES));
    enum status status = STATUS_OK;
    uint64_t before = 0, records = 0;
    for (uint32_t number = 0; status == STATUS_OK && before < to; number++) {
        char path[FILE_PATH_MAX];
        struct mapping mapping = {0};
        TRY_GOTO(out, file_name(path, folder, number));
        TRY_GOTO(out, map_file(&mapping, path));
        size_t at = from > before ? (size_t)(from - before) : 0;
        size_t end = to - before < mapping.size ? (size_t)(to - before) : mapping.size, good = 0;
        if (at < end)
            status = replay_range(&mapping, at, end, before, replay, self, arena, &records, &good);
        before += mapping.size;
        unmap_file(&mapping);
    }
out:
    arena_destroy(&arena);
    return status;
}
