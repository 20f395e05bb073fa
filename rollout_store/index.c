/* rollout_store/index.c - the thread that keeps run.db and makes it anew when it is not what it should be.
 *
 * A new database is built beside (run.db.building) and renamed, so a reader sees the old or the new one whole. When
 * the index closes in order it leaves a seal (run.db.seal: size and hash of the file), which finds any flipped bit
 * at the next start; without a seal, after a kill, sqlite's own quick_check has to do. */
#include "rollout_store/index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "rollout_store/index_rows.h"

enum { INDEX_IDLE_MS = 1000, INDEX_CLOSE_MS = 3000, INDEX_CHECK_BYTES = 64 << 20 };

struct index {
    char folder[FILE_PATH_MAX]; /* of the ledger */
    char path[FILE_PATH_MAX];   /* of run.db */
    struct rows rows;           /* the thread's */
    bool open;                  /* the thread's: rows is ready */
    bool rebuilt;               /* the thread's: no catch-up ended well since */
    pthread_t thread;
    pthread_mutex_t lock; /* LOCK_INDEX guards target, told and closing */
    pthread_cond_t changed;
    uint64_t target;
    bool told; /* target is known */
    bool closing;
    _Atomic int64_t give_up_ns; /* a catch-up that still runs then is abandoned; 0: never */
};

/* ---- files ---- */

static enum status beside(const struct index *index, const char *suffix, char path[FILE_PATH_MAX])
{
    return file_path(path, "%s%s", index->path, suffix);
}

static enum status remove_file(const struct index *index, const char *suffix)
{
    char path[FILE_PATH_MAX];
    TRY(beside(index, suffix, path));
    if (unlink(path) != 0 && errno != ENOENT)
        return FAIL(STATUS_IO, "remove %s: %s", path, strerror(errno));
    return STATUS_OK;
}

static enum status hash_file(const char *path, uint64_t *size, uint64_t *hash)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum status status = STATUS_OK;
    *size = *hash = 0;
    if (fd < 0 || fstat(fd, &info) != 0)
        status = FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    else if (info.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            status = FAIL(STATUS_IO, "mmap %s: %s", path, strerror(errno));
        } else {
            *size = (uint64_t)info.st_size;
            *hash = hash64(bytes, (size_t)info.st_size, 0);
            munmap(bytes, (size_t)info.st_size);
        }
    }
    if (fd >= 0)
        close(fd);
    return status;
}

static enum status seal_text(const struct index *index, char text[96])
{
    uint64_t size, hash;
    TRY(hash_file(index->path, &size, &hash));
    snprintf(text, 96, "weir index seal 1 %" PRIu64 " %016" PRIx64 "\n", size, hash);
    return STATUS_OK;
}

/* After everything is in the one file. Without it the next start only checks less. */
static void write_seal(struct index *index)
{
    char path[FILE_PATH_MAX], text[96];
    enum status status = beside(index, ".seal", path);
    if (status == STATUS_OK)
        status = seal_text(index, text);
    if (status == STATUS_OK)
        status = file_replace(path, text, strlen(text));
    if (status != STATUS_OK)
        LOG_FAILURE("index", "no seal", status);
}

/* The seal is used up: what is written from now on is not covered by it. */
static enum status break_seal(struct index *index, bool *sealed)
{
    char path[FILE_PATH_MAX], text[96];
    struct buffer said;
    *sealed = false;
    TRY(beside(index, ".seal", path));
    if (!file_exists(path))
        return STATUS_OK;
    buffer_init(&said, sizeof text);
    enum status status = file_read(path, &said);
    if (status == STATUS_OK)
        status = seal_text(index, text);
    if (status == STATUS_OK && strcmp(buffer_string(&said), text) != 0)
        status = FAIL(STATUS_CORRUPT, "run.db is not as it was left");
    buffer_free(&said);
    TRY(remove_file(index, ".seal"));
    *sealed = status == STATUS_OK;
    return status;
}

/* ---- building ---- */

static bool must_give_up(void *self)
{
    struct index *index = self;
    int64_t until_ns = atomic_load(&index->give_up_ns);
    return until_ns != 0 && clock_now_ns() >= until_ns;
}

static enum status open_rows(struct index *index)
{
    index->rows = (struct rows){.give_up = must_give_up, .self = index};
    enum status status = rows_open(&index->rows, index->path, false);
    index->open = status == STATUS_OK;
    if (!index->open)
        rows_close(&index->rows);
    return status;
}

static void close_rows(struct index *index)
{
    if (index->open)
        rows_close(&index->rows);
    index->open = false;
}

static enum status build(struct index *index, uint64_t target)
{
    static const char *const leftovers[] = {".building", ".building-journal", ".building-wal",
                                            ".building-shm"};
    struct rows fresh = {.give_up = must_give_up, .self = index};
    char path[FILE_PATH_MAX];
    for (size_t i = 0; i < sizeof leftovers / sizeof leftovers[0]; i++)
        TRY(remove_file(index, leftovers[i]));
    TRY(beside(index, ".building", path));
    enum status status = rows_open(&fresh, path, true);
    if (status == STATUS_OK && target > 0)
        status = rows_catch_up(&fresh, index->folder, target);
    rows_close(&fresh);
    if (status != STATUS_OK)
        return status;
    /* The log of the old file must not be taken for one of the new. */
    TRY(remove_file(index, "-wal"));
    TRY(remove_file(index, "-shm"));
    TRY(remove_file(index, ".seal"));
    if (rename(path, index->path) != 0)
        return FAIL(STATUS_IO, "rename %s: %s", path, strerror(errno));
    return STATUS_OK;
}

/* why: the sentence of what is wrong with the old one. */
static enum status rebuild(struct index *index, uint64_t target, const char *why)
{
    LOG_WARN("index", "run.db is made anew from the ledger", "bytes=%" PRIu64 " why=\"%s\"", target,
             why);
    close_rows(index);
    index->rebuilt = true;
    TRY(build(index, target));
    return open_rows(index);
}

/* CORRUPT and others: it has to be made anew. */
static enum status open_checked(struct index *index, uint64_t target)
{
    struct stat info;
    bool sealed;
    TRY(break_seal(index, &sealed));
    if (stat(index->path, &info) != 0)
        return FAIL(STATUS_NOT_FOUND, "there is none");
    TRY(open_rows(index));
    if (!sealed && info.st_size < INDEX_CHECK_BYTES)
        TRY(rows_quick_check(&index->rows));
    return rows_fit(&index->rows, index->folder, target);
}

static enum status open_first(struct index *index, uint64_t target)
{
    enum status status = open_checked(index, target);
    char why[256];
    if (status == STATUS_OK)
        return STATUS_OK;
    snprintf(why, sizeof why, "%s", status_last_error());
    if (status != STATUS_NOT_FOUND || target > 0)
        return rebuild(index, target, why);
    TRY(build(index, 0)); /* a new run */
    return open_rows(index);
}

/* ---- the thread ---- */

static enum status advance(struct index *index, uint64_t target)
{
    if (!index->open)
        TRY(open_first(index, target));
    if (target <= index->rows.absorbed)
        return STATUS_OK;
    enum status status = rows_catch_up(&index->rows, index->folder, target);
    if (status == STATUS_OK)
        index->rebuilt = false;
    if (status == STATUS_OK || status == STATUS_CANCELLED || index->rebuilt)
        return status;
    char why[256];
    snprintf(why, sizeof why, "%s", status_last_error());
    return rebuild(index, target, why);
}

static bool wants_nothing(const struct index *index)
{
    return !index->told || (index->open && index->target <= index->rows.absorbed);
}

static void *index_thread(void *self)
{
    struct index *index = self;
    bool closing = false;
    while (!closing) {
        pthread_mutex_lock(&index->lock);
        if (!index->closing && wants_nothing(index)) {
            enum status waited =
                wait_condition("records to index", "ledger",
                               clock_now_ns() + INDEX_IDLE_MS * (int64_t)CLOCK_NS_PER_MS,
                               &index->changed, &index->lock);
            (void)waited; /* looked at again either way */
        }
        closing = index->closing;
        uint64_t target = index->target;
        bool nothing = wants_nothing(index);
        pthread_mutex_unlock(&index->lock);
        if (nothing)
            continue;
        enum status status = advance(index, target);
        if (status == STATUS_OK)
            continue;
        if (status != STATUS_CANCELLED)
            LOG_WARN("index", "switched off; the run goes on", "why=\"%s\"", status_last_error());
        close_rows(index);
        return NULL;
    }
    bool whole = index->open && rows_fold(&index->rows);
    close_rows(index);
    if (whole)
        write_seal(index);
    return NULL;
}

enum status index_open(struct index **out, const char *path, const char *ledger_folder)
{
    *out = NULL;
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return FAIL(STATUS_INVALID, "%s is no file", path);
    struct index *index = memory_alloc(sizeof *index);
    if (index == NULL)
        return FAIL(STATUS_NO_MEMORY, "index");
    enum status status;
    TRY_GOTO(fail, file_path(index->folder, "%s", ledger_folder));
    TRY_GOTO(fail, file_path(index->path, "%s", path));
    TRY_GOTO(fail, wait_condition_init(&index->changed));
    pthread_mutex_init(&index->lock, NULL);
    if (pthread_create(&index->thread, NULL, index_thread, index) == 0) {
        *out = index;
        return STATUS_OK;
    }
    status = FAIL(STATUS_NO_MEMORY, "index thread");
    pthread_cond_destroy(&index->changed);
    pthread_mutex_destroy(&index->lock);
fail:
    memory_free(index);
    return status;
}

void index_advance(struct index *index, uint64_t offset)
{
    if (index == NULL)
        return;
    pthread_mutex_lock(&index->lock);
    index->target = offset;
    index->told = true;
    pthread_cond_signal(&index->changed);
    pthread_mutex_unlock(&index->lock);
}

void index_close(struct index **index_pointer)
{
    struct index *index = *index_pointer;
    if (index == NULL)
        return;
    atomic_store(&index->give_up_ns, clock_now_ns() + INDEX_CLOSE_MS * (int64_t)CLOCK_NS_PER_MS);
    pthread_mutex_lock(&index->lock);
    index->closing = true;
    pthread_cond_signal(&index->changed);
    pthread_mutex_unlock(&index->lock);
    pthread_join(index->thread, NULL);
    pthread_cond_destroy(&index->changed);
    pthread_mutex_destroy(&index->lock);
    memory_free(index);
    *index_pointer = NULL;
}
