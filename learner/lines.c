#include "learner/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

enum { LINE_HEAD = 40, LINE_BLOCK = 4096 };

/* Offset after the last newline before `end`, 0 without one; -1: read failed. */
static off_t line_start(int fd, off_t end)
{
    char block[LINE_BLOCK];
    while (end > 0) {
        size_t size = end < LINE_BLOCK ? (size_t)end : LINE_BLOCK;
        if (pread(fd, block, size, end - (off_t)size) != (ssize_t)size)
            return -1;
        const char *newline = memrchr(block, '\n', size);
        if (newline != NULL)
            return end - (off_t)size + (newline - block) + 1;
        end -= (off_t)size;
    }
    return 0;
}

/* Does the line begin with the key and a number up to `upto`? */
static bool stays(const char *head, const char *key, uint64_t upto)
{
    char begin[LINE_HEAD];
    int size = snprintf(begin, sizeof begin, "{\"%s\":", key), used = 0;
    uint64_t number;
    if (strncmp(head, begin, (size_t)size) != 0)
        return false;
    return sscanf(head + size, "%" SCNu64 ",%n", &number, &used) == 1 && used > 0 && number <= upto;
}

/* Offset where the lines that stay end. Looked for from the end, because a long run has many lines and few of them go.
 * -1: read failed. */
static off_t lines_until(int fd, off_t size, const char *key, uint64_t upto)
{
    off_t end = line_start(fd, size);
    while (end > 0) {
        char head[LINE_HEAD + 1];
        off_t start = line_start(fd, end - 1);
        ssize_t got = start >= 0 ? pread(fd, head, LINE_HEAD, start) : -1;
        if (got < 0)
            return -1;
        head[got] = '\0';
        if (stays(head, key, upto))
            return end;
        end = start;
    }
    return end;
}

enum status lines_open(FILE **out, const char *path, const char *key, uint64_t upto)
{
    struct stat about;
    FILE *file = fopen(path, "a+");
    if (file == NULL)
        return FAIL(STATUS_IO, "%s cannot be opened for writing: %s", path, strerror(errno));
    int fd = fileno(file);
    off_t end = fstat(fd, &about) == 0 ? lines_until(fd, about.st_size, key, upto) : -1;
    enum status status = STATUS_OK;
    if (end < 0)
        status = FAIL(STATUS_IO, "%s cannot be read: %s", path, strerror(errno));
    else if (ftruncate(fd, end) != 0)
        status = FAIL(STATUS_IO, "%s: ftruncate: %s", path, strerror(errno));
    else if (fseek(file, 0, SEEK_END) != 0)
        status = FAIL(STATUS_IO, "%s: seek: %s", path, strerror(errno));
    if (status != STATUS_OK)
        fclose(file);
    else
        *out = file;
    return status;
}

/* The end of an open file, from `from` on, takes its place. */
static enum status replace_by_end(int fd, const char *path, off_t from, off_t size)
{
    struct buffer end;
    buffer_init(&end, 0);
    enum status status = buffer_reserve(&end, (size_t)(size - from));
    while (status == STATUS_OK && from < size) {
        ssize_t got = pread(fd, end.bytes + end.size, (size_t)(size - from), from);
        if (got <= 0)
            status = FAIL(STATUS_IO, "%s: read: %s", path, strerror(errno));
        else
            end.size += (size_t)got, from += got;
    }
    if (status == STATUS_OK)
        status = file_replace(path, end.bytes, end.size);
    buffer_free(&end);
    return status;
}

enum status lines_keep_last(const char *path, uint64_t count)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? STATUS_OK
                               : FAIL(STATUS_IO, "%s cannot be read: %s", path, strerror(errno));
    off_t size = fstat(fd, &about) == 0 ? about.st_size : -1, from = size;
    for (uint64_t line = 0; line < count && from > 0; line++)
        from = line_start(fd, from - 1);
    enum status status = STATUS_OK;
    if (from < 0)
        status = FAIL(STATUS_IO, "%s cannot be read: %s", path, strerror(errno));
    else if (from > 0)
        status = replace_by_end(fd, path, from, size);
    close(fd);
    return status;
}

enum status lines_append(FILE *file, const char *name, const struct buffer *line, bool *full)
{
    int fd = fileno(file);
    struct stat about;
    bool no_room = false;
    errno = 0;
    enum status status = fstat(fd, &about) != 0
                             ? FAIL(STATUS_IO, "%s: fstat: %s", name, strerror(errno))
                             : file_write_all(fd, line->bytes, line->size, name);
    if (status != STATUS_OK) {
        no_room = errno == ENOSPC || errno == EDQUOT;
        if (no_room && ftruncate(fd, about.st_size) != 0)
            no_room = false;
    }
    if (full != NULL)
        *full = no_room;
    return status;
}
