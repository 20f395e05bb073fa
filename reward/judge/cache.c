#include "reward/judge/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checksum.h"
#include "core/file.h"
#include "core/memory.h"

enum { MAGIC = 0x31434a57, BYTES_LEAST = 64 << 10, VALUE_MAX = 16 << 20 }; /* "WJC1" */

struct record {
    uint32_t magic, check; /* check: CRC32C of what follows it and of the value */
    struct cache_key key;
    uint32_t size, reserved;
};

struct log {
    int fd;           /* -1: none */
    uint64_t indexed; /* bytes that are in the index */
    ino_t inode;
};

struct entry {
    struct cache_key key;
    uint64_t at; /* of the record in its log */
    uint32_t size;
    uint8_t log;  /* index into logs */
    uint8_t used; /* 0 free, 1 used, 2 damaged: as if it were not there */
};

struct cache {
    char now_path[FILE_PATH_MAX], old_path[FILE_PATH_MAX];
    uint64_t bytes_max;
    int lock_fd;
    pthread_mutex_t mutex; /* guards what follows; held during file work, which is short */
    struct log logs[2];    /* 0: answers.log, 1: answers.old */
    struct entry *table;   /* [capacity], open addressing, a power of two; owned */
    uint64_t capacity, count;
};

struct cache_key cache_key_of(const void *bytes, size_t size)
{
    return (struct cache_key){{hash64(bytes, size, 0), hash64(bytes, size, 0x77656972)}};
}

/* ---- index ---- */

static struct entry *slot(struct entry *table, uint64_t capacity, struct cache_key key)
{
    uint64_t i = key.word[0] & (capacity - 1);
    while (table[i].used && memcmp(&table[i].key, &key, sizeof key) != 0)
        i = (i + 1) & (capacity - 1);
    return &table[i];
}

static enum status grow(struct cache *cache)
{
    uint64_t capacity = cache->capacity == 0 ? 1024 : cache->capacity * 2;
    struct entry *table = memory_array(capacity, sizeof *table);
    if (table == NULL)
        return FAIL(STATUS_NO_MEMORY, "an index of %" PRIu64 " answers", capacity);
    for (uint64_t i = 0; i < cache->capacity; i++)
        if (cache->table[i].used)
            *slot(table, capacity, cache->table[i].key) = cache->table[i];
    memory_free(cache->table);
    cache->table = table;
    cache->capacity = capacity;
    return STATUS_OK;
}

static enum status add(struct cache *cache, struct entry entry)
{
    if (2 * (cache->count + 1) > cache->capacity)
        TRY(grow(cache));
    struct entry *at = slot(cache->table, cache->capacity, entry.key);
    cache->count += at->used ? 0 : 1;
    entry.used = 1;
    *at = entry;
    return STATUS_OK;
}

/* ---- logs ---- */

static bool read_at(int fd, void *bytes, size_t size, uint64_t at)
{
    return pread(fd, bytes, size, (off_t)at) == (ssize_t)size;
}

static uint64_t size_of(int fd)
{
    struct stat stat;
    return fd >= 0 && fstat(fd, &stat) == 0 ? (uint64_t)stat.st_size : 0;
}

/* Indexes what was appended since; stops at the first record that is not whole. */
static enum status catch_up(struct cache *cache, uint8_t which)
{
    struct log *log = &cache->logs[which];
    uint64_t end = size_of(log->fd);
    struct record record;
    while (log->indexed + sizeof record <= end &&
           read_at(log->fd, &record, sizeof record, log->indexed) && record.magic == MAGIC &&
           record.size <= VALUE_MAX && log->indexed + sizeof record + record.size <= end) {
        TRY(add(cache, (struct entry){record.key, log->indexed, record.size, which, 1}));
        log->indexed += sizeof record + record.size;
    }
    return STATUS_OK;
}

static void open_log(struct log *log, const char *path, int flags)
{
    struct stat stat;
    *log = (struct log){.fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (log->fd >= 0 && fstat(log->fd, &stat) == 0)
        log->inode = stat.st_ino;
}

static void close_logs(struct cache *cache)
{
    for (int i = 0; i < 2; i++) {
        if (cache->logs[i].fd >= 0)
            close(cache->logs[i].fd);
        cache->logs[i].fd = -1;
    }
}

static enum status open_logs(struct cache *cache)
{
    close_logs(cache);
    if (cache->table != NULL)
        memset(cache->table, 0, cache->capacity * sizeof *cache->table);
    cache->count = 0;
    open_log(&cache->logs[1], cache->old_path, O_RDONLY);
    open_log(&cache->logs[0], cache->now_path, O_RDWR | O_APPEND | O_CREAT);
    if (cache->logs[0].fd < 0)
        return FAIL(STATUS_IO, "%s: open: %s", cache->now_path, strerror(errno));
    TRY(catch_up(cache, 1));
    return catch_up(cache, 0);
}

/* What other processes did since: appended, or began a new log. */
static enum status refresh(struct cache *cache)
{
    struct stat named;
    if (cache->logs[0].fd < 0 || stat(cache->now_path, &named) != 0 ||
        named.st_ino != cache->logs[0].inode)
        return open_logs(cache);
    return catch_up(cache, 0);
}

enum status cache_open(struct cache **cache, const char *folder, uint64_t bytes_max)
{
    char lock_path[FILE_PATH_MAX];
    if (bytes_max < BYTES_LEAST)
        return FAIL(STATUS_INVALID, "a cache of %" PRIu64 " bytes; at least %d", bytes_max,
                    BYTES_LEAST);
    struct cache *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "a cache");
    made->bytes_max = bytes_max;
    made->lock_fd = made->logs[0].fd = made->logs[1].fd = -1;
    pthread_mutex_init(&made->mutex, NULL);
    enum status status;
    TRY_GOTO(out, file_make_dirs(folder));
    TRY_GOTO(out, file_path(made->now_path, "%s/answers.log", folder));
    TRY_GOTO(out, file_path(made->old_path, "%s/answers.old", folder));
    TRY_GOTO(out, file_path(lock_path, "%s/lock", folder));
    made->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (made->lock_fd < 0)
        TRY_GOTO(out, FAIL(STATUS_IO, "%s: open: %s", lock_path, strerror(errno)));
    TRY_GOTO(out, open_logs(made));
    *cache = made;
    return STATUS_OK;
out:
    cache_close(&made);
    return status;
}

void cache_close(struct cache **cache)
{
    if (*cache != NULL) {
        close_logs(*cache);
        if ((*cache)->lock_fd >= 0)
            close((*cache)->lock_fd);
        pthread_mutex_destroy(&(*cache)->mutex);
        memory_free((*cache)->table);
        memory_free(*cache);
    }
    *cache = NULL;
}

static uint32_t check_of(const struct record *record, const void *value)
{
    uint32_t crc = crc32c(0, &record->key, sizeof *record - offsetof(struct record, key));
    return crc32c(crc, value, record->size);
}

static enum status read_entry(const struct cache *cache, const struct entry *entry,
                              struct buffer *value)
{
    const struct log *log = &cache->logs[entry->log];
    struct record record;
    TRY(buffer_reserve(value, entry->size));
    uint8_t *to = value->bytes + value->size;
    if (!read_at(log->fd, &record, sizeof record, entry->at) || record.size != entry->size ||
        !read_at(log->fd, to, entry->size, entry->at + sizeof record) ||
        record.check != check_of(&record, to))
        return FAIL(STATUS_CORRUPT, "%s: the record at %" PRIu64 " is damaged", cache->now_path,
                    entry->at);
    value->size += entry->size;
    return STATUS_OK;
}

static struct entry *lookup(const struct cache *cache, struct cache_key key)
{
    struct entry *entry = cache->capacity > 0 ? slot(cache->table, cache->capacity, key) : NULL;
    return entry != NULL && entry->used == 1 ? entry : NULL;
}

enum status cache_find(struct cache *cache, struct cache_key key, struct buffer *value)
{
    enum status status = STATUS_OK;
    pthread_mutex_lock(&cache->mutex);
    struct entry *entry = lookup(cache, key);
    if (entry == NULL) {
        status = refresh(cache);
        entry = status == STATUS_OK ? lookup(cache, key) : NULL;
    }
    if (status == STATUS_OK)
        status = entry != NULL ? read_entry(cache, entry, value)
                               : FAIL(STATUS_NOT_FOUND, "not in the cache");
    if (status == STATUS_CORRUPT)
        entry->used = 2;
    pthread_mutex_unlock(&cache->mutex);
    return status;
}

/* With the file lock held and the index up to date. */
static enum status append(struct cache *cache, const struct record *record, const void *value)
{
    struct log *log = &cache->logs[0];
    struct buffer bytes;
    if (log->indexed + sizeof *record + record->size > cache->bytes_max / 2) {
        if (rename(cache->now_path, cache->old_path) != 0)
            return FAIL(STATUS_IO, "%s: rename: %s", cache->now_path, strerror(errno));
        TRY(open_logs(cache));
    }
    if (size_of(log->fd) > log->indexed && ftruncate(log->fd, (off_t)log->indexed) != 0)
        return FAIL(STATUS_IO, "%s: ftruncate: %s", cache->now_path, strerror(errno));
    buffer_init(&bytes, 0);
    enum status status;
    TRY_GOTO(out, buffer_append(&bytes, record, sizeof *record));
    TRY_GOTO(out, buffer_append(&bytes, value, record->size));
    TRY_GOTO(out, file_write_all(log->fd, bytes.bytes, bytes.size, cache->now_path));
    status = catch_up(cache, 0);
out:
    buffer_free(&bytes);
    return status;
}

enum status cache_put(struct cache *cache, struct cache_key key, const void *value, size_t size)
{
    if (size > cache->bytes_max / 4 || size > VALUE_MAX)
        return FAIL(STATUS_LIMIT, "an answer of %zu bytes in a cache of %" PRIu64, size,
                    cache->bytes_max);
    struct record record = {.magic = MAGIC, .key = key, .size = (uint32_t)size};
    record.check = check_of(&record, value);
    pthread_mutex_lock(&cache->mutex);
    int locked;
    while ((locked = flock(cache->lock_fd, LOCK_EX)) != 0 && errno == EINTR)
        ;
    enum status status = locked == 0
                             ? refresh(cache)
                             : FAIL(STATUS_IO, "%s: flock: %s", cache->now_path, strerror(errno));
    if (status == STATUS_OK && lookup(cache, key) == NULL)
        status = append(cache, &record, value);
    if (locked == 0)
        flock(cache->lock_fd, LOCK_UN);
    pthread_mutex_unlock(&cache->mutex);
    return status;
}

uint64_t cache_entries(struct cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    uint64_t count = cache->count;
    pthread_mutex_unlock(&cache->mutex);
    return count;
}
