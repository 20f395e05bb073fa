#include "ops/log_merge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"

enum { CHUNK = 1 << 16, PART_MAX = 1 << 20, TEXT_MAX = 1 << 30, LOOK_EVERY = 5, ATTEMPT_SIZE = 64 };

struct source {
    char process[LOG_PROCESS_MAX];
    char path[FILE_PATH_MAX];
    int fd;
    ino_t inode;
    off_t offset;
    bool wanted, retired;     /* retired: of an earlier attempt, read to its end */
    char time[LOG_TIME_SIZE]; /* of its last line */
    struct buffer part;       /* a line without its end */
};

struct log_merge {
    char logs[FILE_PATH_MAX];   /* <run>/logs */
    char attempt[ATTEMPT_SIZE]; /* what latest points to; "" none yet */
    const char *const *wanted;
    size_t wanted_count;
    struct source *sources; /* [LOG_SOURCES_MAX] */
    size_t count;
    uint64_t order;
    bool begun; /* the first poll is over */
    unsigned polls;
    bool refused;        /* by the limit of open files; said once */
    struct buffer text;  /* of the lines in hand */
    struct buffer lines; /* struct log_line [] ; offsets into text until they are sorted */
};

/* ---- times ---- */

static bool is_form(const char *text, const char *form)
{
    for (; *form != 0; form++, text++)
        if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
            return false;
    return true;
}

/* "20569:C 22 Nov 2026 22:27:37.135 # ...": redis-server writes local time. */
static bool redis_time(const char *text, char time[LOG_TIME_SIZE])
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int day, year, hour, minute, second, ms;
    char month[4], kind;
    long pid;
    if (sscanf(text, "%ld:%c %d %3s %d %d:%d:%d.%d", &pid, &kind, &day, month, &year, &hour,
               &minute, &second, &ms) != 9)
        return false;
    const char *at = strstr(months, month);
    if (at == NULL || ms < 0 || ms > 999 || year < 1970 || year > 9999)
        return false;
    struct tm local = {.tm_mday = day,
                       .tm_mon = (int)(at - months) / 3,
                       .tm_year = year - 1900,
                       .tm_hour = hour,
                       .tm_min = minute,
                       .tm_sec = second,
                       .tm_isdst = -1};
    time_t seconds = mktime(&local);
    struct tm utc;
    char whole[64];
    if (gmtime_r(&seconds, &utc) == NULL)
        return false;
    strftime(whole, sizeof whole, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(time, LOG_TIME_SIZE, "%.19s.%03dZ", whole, ms);
    return true;
}

bool log_line_time(const char *text, char time[LOG_TIME_SIZE])
{
    if (is_form(text, "0000-00-00T00:00:00.000Z")) {
        snprintf(time, LOG_TIME_SIZE, "%.24s", text);
        return true;
    }
    return text[0] >= '0' && text[0] <= '9' && redis_time(text, time);
}

/* ---- files ---- */

static bool is_process(const char *wanted, const char *process)
{
    size_t role = strcspn(process, ".");
    return strcmp(wanted, process) == 0 ||
           (strlen(wanted) == role && strncmp(wanted, process, role) == 0);
}

static bool is_wanted(const struct log_merge *merge, const char *process)
{
    const char *node_end = strrchr(process, '-');
    for (size_t i = 0; i < merge->wanted_count; i++)
        if (is_process(merge->wanted[i], process) ||
            (node_end != NULL && is_process(merge->wanted[i], node_end + 1)))
            return true;
    return merge->wanted_count == 0;
}

static struct source *find_source(struct log_merge *merge, const char *path)
{
    for (size_t i = 0; i < merge->count; i++)
        if (strcmp(merge->sources[i].path, path) == 0)
            return &merge->sources[i];
    return NULL;
}

/* "actor.1.log" and, at the beginning only, "actor.1.log.old". */
static enum status add_source(struct log_merge *merge, const char *file)
{
    char path[FILE_PATH_MAX];
    size_t size = strlen(file), end = 0;
    if (size > 4 && strcmp(file + size - 4, ".log") == 0)
        end = size - 4;
    else if (!merge->begun && size > 8 && strcmp(file + size - 8, ".log.old") == 0)
        end = size - 8;
    if (end == 0 || end >= LOG_PROCESS_MAX)
        return STATUS_OK;
    TRY(file_path(path, "%s/%s/%s", merge->logs, merge->attempt, file));
    if (find_source(merge, path) != NULL || merge->count == LOG_SOURCES_MAX)
        return STATUS_OK;
    struct source *source = &merge->sources[merge->count];
    *source = (struct source){.fd = -1};
    snprintf(source->process, sizeof source->process, "%.*s", (int)end, file);
    memcpy(source->path, path, sizeof path);
    source->wanted = is_wanted(merge, source->process);
    buffer_init(&source->part, 0);
    merge->count++;
    return STATUS_OK;
}

static void close_source(struct source *source)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
    source->offset = 0;
    buffer_free(&source->part);
}

static enum status find_attempt(const struct log_merge *merge, char attempt[ATTEMPT_SIZE])
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/latest", merge->logs));
    ssize_t size = readlink(path, attempt, ATTEMPT_SIZE - 1);
    attempt[size > 0 ? size : 0] = 0;
    return STATUS_OK;
}

static enum status look_for_files(struct log_merge *merge)
{
    char path[FILE_PATH_MAX], attempt[ATTEMPT_SIZE];
    TRY(find_attempt(merge, attempt));
    if (attempt[0] == 0)
        return STATUS_OK; /* a fork that has not started */
    memcpy(merge->attempt, attempt, sizeof attempt);
    TRY(file_path(path, "%s/%s", merge->logs, merge->attempt));
    DIR *dir = opendir(path);
    if (dir == NULL)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(dir)) != NULL;)
        status = add_source(merge, entry->d_name);
    closedir(dir);
    return status;
}

/* Thousands of workers have as many logs: as many files as this user may have. */
static void allow_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

enum status log_merge_open(struct log_merge **merge, const char *run_folder,
                           const char *const *wanted, size_t wanted_count)
{
    struct log_merge *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "logs");
    made->sources = memory_alloc(LOG_SOURCES_MAX * sizeof *made->sources);
    allow_files();
    made->wanted = wanted;
    made->wanted_count = wanted_count;
    buffer_init(&made->text, TEXT_MAX);
    buffer_init(&made->lines, 0);
    enum status status = made->sources != NULL ? file_path(made->logs, "%s/logs", run_folder)
                                               : FAIL(STATUS_NO_MEMORY, "logs");
    if (status == STATUS_OK)
        status = look_for_files(made);
    if (status == STATUS_OK)
        *merge = made;
    else
        log_merge_close(&made);
    return status;
}

void log_merge_close(struct log_merge **merge)
{
    struct log_merge *made = *merge;
    if (made == NULL)
        return;
    for (size_t i = 0; i < made->count; i++)
        close_source(&made->sources[i]);
    buffer_free(&made->text);
    buffer_free(&made->lines);
    memory_free(made->sources);
    memory_free(made);
    *merge = NULL;
}

size_t log_merge_sources(const struct log_merge *merge)
{
    size_t count = 0;
    for (size_t i = 0; i < merge->count; i++)
        count += merge->sources[i].wanted;
    return count;
}

void log_merge_names(const struct log_merge *merge, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < merge->count && used + strlen(merge->sources[i].process) + 2 < size; i++)
        if (strstr(merge->sources[i].path, ".old") == NULL)
            used += (size_t)snprintf(out + used, size - used, " %s", merge->sources[i].process);
}

/* ---- lines ---- */

static enum status take_line(struct log_merge *merge, struct source *source, const char *text,
                             size_t size)
{
    struct log_line line = {.process = source->process, .order = merge->order++};
    size_t at = merge->text.size;
    TRY(buffer_append(&merge->text, text, size));
    TRY(buffer_append(&merge->text, "", 1));
    line.dated = log_line_time((const char *)merge->text.bytes + at, source->time);
    memcpy(line.time, source->time, sizeof line.time);
    line.text = (const char *)(uintptr_t)at; /* the buffer may move until all are read */
    return buffer_append(&merge->lines, &line, sizeof line);
}

static enum status take_lines(struct log_merge *merge, struct source *source, bool ended)
{
    size_t from = 0;
    struct buffer *part = &source->part;
    while (from < part->size) {
        const uint8_t *end = memchr(part->bytes + from, '\n', part->size - from);
        if (end == NULL && !ended && part->size - from < PART_MAX)
            break;
        size_t size = end != NULL ? (size_t)(end - part->bytes) - from : part->size - from;
        TRY(take_line(merge, source, (const char *)part->bytes + from, size));
        from += size + (end != NULL);
    }
    if (from > 0) {
        memmove(part->bytes, part->bytes + from, part->size - from);
        part->size -= from;
    }
    return STATUS_OK;
}

/* Where the last `most` lines begin. */
static off_t find_tail(int fd, size_t most)
{
    char chunk[4096];
    off_t at = lseek(fd, 0, SEEK_END);
    size_t ends = 0;
    while (at > 0) {
        size_t size = at < (off_t)sizeof chunk ? (size_t)at : sizeof chunk;
        if (pread(fd, chunk, size, at - (off_t)size) != (ssize_t)size)
            return 0;
        for (size_t i = size; i-- > 0;)
            if (chunk[i] == '\n' && ++ends > most)
                return at - (off_t)(size - i) + 1;
        at -= (off_t)size;
    }
    return 0;
}

static enum status read_source(struct log_merge *merge, struct source *source, size_t most,
                               bool ended)
{
    if (source->fd < 0) {
        struct stat info;
        source->fd = open(source->path, O_RDONLY | O_CLOEXEC);
        if (source->fd < 0 && (errno == EMFILE || errno == ENFILE) && !merge->refused) {
            fprintf(stderr, "weir logs: %s: %s: logs are missing here (ulimit -n)\n", source->path,
                    strerror(errno));
            merge->refused = true;
        }
        if (source->fd < 0)
            return STATUS_OK; /* between the renaming and the next start */
        source->inode = fstat(source->fd, &info) == 0 ? info.st_ino : 0;
        source->offset = merge->begun || most == 0 ? 0 : find_tail(source->fd, most);
    }
    for (;;) {
        TRY(buffer_reserve(&source->part, CHUNK));
        ssize_t got =
            pread(source->fd, source->part.bytes + source->part.size, CHUNK, source->offset);
        if (got <= 0)
            break;
        source->part.size += (size_t)got;
        source->offset += got;
        TRY(take_lines(merge, source, false));
    }
    return ended ? take_lines(merge, source, true) : STATUS_OK;
}

/* A file of the same name with another inode: the old one is read to its end, then this one from its beginning. */
static enum status read_renewed(struct log_merge *merge, struct source *source, size_t most,
                                bool ended)
{
    struct stat info;
    TRY(read_source(merge, source, most, ended));
    bool moved = source->fd >= 0 && stat(source->path, &info) == 0 && info.st_ino != source->inode;
    if (!moved)
        return STATUS_OK;
    TRY(read_source(merge, source, most, true));
    close_source(source);
    return read_source(merge, source, most, ended);
}

/* logs/latest points to a new attempt: nobody writes to the files of the one before any more. */
static enum status retire_sources(struct log_merge *merge)
{
    for (size_t i = 0; i < merge->count; i++) {
        struct source *source = &merge->sources[i];
        if (source->wanted && source->fd >= 0)
            TRY(read_source(merge, source, 0, true));
        close_source(source);
        source->wanted = false;
        source->retired = true;
    }
    return STATUS_OK;
}

/* Lines of the poll before named them until now. */
static void drop_retired(struct log_merge *merge)
{
    size_t kept = 0;
    for (size_t i = 0; i < merge->count; i++)
        if (!merge->sources[i].retired)
            merge->sources[kept++] = merge->sources[i];
    merge->count = kept;
}

static int compare(const void *a, const void *b)
{
    const struct log_line *left = a, *right = b;
    int order = strcmp(left->time, right->time);
    return order != 0 ? order : left->order < right->order ? -1 : left->order > right->order;
}

/* Old files are read before new ones of the same process, so that the order of reading is that of writing. */
static enum status read_all(struct log_merge *merge, size_t most, bool ended)
{
    for (int old = 1; old >= 0; old--)
        for (size_t i = 0; i < merge->count; i++) {
            struct source *source = &merge->sources[i];
            bool is_old = strcmp(source->path + strlen(source->path) - 4, ".old") == 0;
            if (source->wanted && is_old == (old == 1) && (!is_old || !merge->begun))
                TRY(read_renewed(merge, source, most, ended));
        }
    return STATUS_OK;
}

enum status log_merge_poll(struct log_merge *merge, size_t most, bool ended,
                           const struct log_line **lines, size_t *count)
{
    char attempt[ATTEMPT_SIZE];
    buffer_clear(&merge->text);
    buffer_clear(&merge->lines);
    drop_retired(merge);
    if (merge->begun && (ended || ++merge->polls % LOOK_EVERY == 0)) {
        TRY(find_attempt(merge, attempt));
        if (merge->attempt[0] != 0 && strcmp(attempt, merge->attempt) != 0)
            TRY(retire_sources(merge));
        TRY(look_for_files(merge));
    }
    TRY(read_all(merge, most, ended));
    struct log_line *all = (struct log_line *)(void *)merge->lines.bytes;
    size_t have = merge->lines.size / sizeof *all;
    for (size_t i = 0; i < have; i++)
        all[i].text = (const char *)merge->text.bytes + (uintptr_t)all[i].text;
    if (have > 1)
        qsort(all, have, sizeof *all, compare);
    bool cut = !merge->begun && most != 0 && have > most;
    *lines = cut ? all + (have - most) : all;
    *count = cut ? most : have;
    merge->begun = true;
    return STATUS_OK;
}
