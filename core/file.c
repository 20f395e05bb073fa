#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { FILE_READ_CHUNK = 1 << 16, FILE_REMOVE_FDS = 16 };

static enum status failed(const char *path, const char *call)
{
    int error = errno;
    return FAIL(error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s: %s",
                path, call, strerror(error));
}

enum status file_path(char out[FILE_PATH_MAX], const char *fmt, ...)
{
    char text[FILE_PATH_MAX];
    va_list args;
    va_start(args, fmt);
    int size = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (size < 0 || size >= FILE_PATH_MAX)
        return FAIL(STATUS_LIMIT, "path of %d bytes, at most %d are supported: %.80s...", size,
                    FILE_PATH_MAX - 1, text);
    memcpy(out, text, (size_t)size + 1);
    return STATUS_OK;
}

enum status file_list_next(const char **list, char path[FILE_PATH_MAX])
{
    static const char blanks[] = " \t\r\n";
    const char *at = *list + strspn(*list, blanks);
    size_t length = strcspn(at, ",");
    bool more = at[length] == ',';
    *list = at + length + more;
    while (length > 0 && strchr(blanks, at[length - 1]) != NULL)
        length--;
    path[0] = '\0';
    if (length == 0)
        return more ? FAIL(STATUS_INVALID, "a comma without a path before it")
                    : FAIL(STATUS_NOT_FOUND, "the list ends");
    return file_path(path, "%.*s", (int)length, at);
}

static int is_jsonl(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return (length > 6 && strcmp(entry->d_name + length - 6, ".jsonl") == 0) ||
           (length > 10 && strcmp(entry->d_name + length - 10, ".jsonl.zst") == 0);
}

enum status file_each_jsonl(const char *setting, const char *folder,
                            enum status (*each)(void *self, const char *path), void *self)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_jsonl, alphasort);
    if (count < 0)
        return FAIL(STATUS_IO, "%s: %s: %s", setting, folder, strerror(errno));
    enum status status = count > 0 ? STATUS_OK
                                   : FAIL(STATUS_NOT_FOUND, "%s: the folder %s has no *.jsonl file",
                                          setting, folder);
    for (int i = 0; i < count; i++) {
        char path[FILE_PATH_MAX];
        if (status == STATUS_OK)
            status = file_path(path, "%s/%s", folder, entries[i]->d_name);
        if (status == STATUS_OK)
            status = each(self, path);
        free(entries[i]); /* lint: allow(free): scandir hands over memory of its own */
    }
    free(entries); /* lint: allow(free): likewise */
    return status;
}

static enum status read_whole(int fd, const char *path, struct buffer *contents)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return failed(path, "fstat");
    if (S_ISDIR(info.st_mode))
        return FAIL(STATUS_IO, "%s: is a folder, a file is wanted", path);
    size_t chunk = info.st_size > 0 ? (size_t)info.st_size + 1 : FILE_READ_CHUNK;
    if (contents->limit != 0 && S_ISREG(info.st_mode) &&
        (contents->size > contents->limit ||
         (size_t)info.st_size > contents->limit - contents->size))
        return FAIL(STATUS_LIMIT, "%s: %lld bytes, at most %zu are read", path,
                    (long long)info.st_size, contents->limit - contents->size);
    for (;;) {
        /* At the limit there is no room for the byte that would show the end: ask for one aside. */
        uint8_t probe;
        size_t room = contents->limit != 0 && contents->limit - contents->size < chunk
                          ? contents->limit - contents->size
                          : chunk;
        if (room > 0)
            TRY(buffer_reserve(contents, room));
        uint8_t *to = room > 0 ? contents->bytes + contents->size : &probe;
        ssize_t got = read(fd, to, room > 0 ? room : 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failed(path, "read");
        if (got == 0)
            return STATUS_OK;
        if (room == 0)
            return FAIL(STATUS_LIMIT, "%s: more than %zu bytes", path, contents->limit);
        contents->size += (size_t)got;
        chunk = FILE_READ_CHUNK;
    }
}

enum status file_read(const char *path, struct buffer *contents)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return failed(path, "open");
    size_t size_before = contents->size;
    enum status status = read_whole(fd, path, contents);
    if (status != STATUS_OK)
        contents->size = size_before;
    close(fd);
    return status;
}

enum status file_write_all(int fd, const void *bytes, size_t size, const char *path)
{
    const uint8_t *from = bytes;
    size_t left = size;
    while (left > 0) {
        ssize_t wrote = write(fd, from, left);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && (errno == ENOSPC || errno == EDQUOT))
            return FAIL(STATUS_IO,
                        "%s: write: disk full (%s), %zu of %zu bytes are missing; free "
                        "space and try again",
                        path, strerror(errno), left, size);
        if (wrote < 0)
            return failed(path, "write");
        from += wrote;
        left -= (size_t)wrote;
    }
    return STATUS_OK;
}

enum status file_append_all(int fd, const void *bytes, size_t size, const char *path)
{
    struct stat before;
    if (fstat(fd, &before) != 0)
        return failed(path, "fstat");
    enum status status = file_write_all(fd, bytes, size, path);
    int error = errno;
    if (status != STATUS_OK && ftruncate(fd, before.st_size) != 0)
        return FAIL(STATUS_IO, "%s: half of a record stays at its end: %s", path, strerror(errno));
    errno = error;
    return status;
}

bool file_has_room(const char *path)
{
    enum { LEAST_MIB = 64, SHARE_MIB = 1024 };
    struct statvfs disk;
    if (statvfs(path, &disk) != 0 || disk.f_blocks == 0)
        return true;
    double left_mib = (double)disk.f_bavail * (double)disk.f_frsize / (1 << 20);
    double share = (double)disk.f_bavail / (double)disk.f_blocks;
    return left_mib >= LEAST_MIB && (left_mib >= SHARE_MIB || share >= 0.01);
}

enum status file_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(path, "open folder");
    enum status status = fsync(fd) == 0 ? STATUS_OK : failed(path, "fsync folder");
    close(fd);
    return status;
}

static enum status sync_parent(const char *path)
{
    char parent[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return file_sync_dir(".");
    TRY(file_path(parent, "%.*s", slash == path ? 1 : (int)(slash - path), path));
    return file_sync_dir(parent);
}

enum status file_replace(const char *path, const void *bytes, size_t size)
{
    char temporary[FILE_PATH_MAX];
    TRY(file_path(temporary, "%s.tmp", path));
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return failed(temporary, "open for writing");
    enum status status = file_write_all(fd, bytes, size, temporary);
    if (status == STATUS_OK && fsync(fd) != 0)
        status = failed(temporary, "fsync");
    if (close(fd) != 0 && status == STATUS_OK)
        status = failed(temporary, "close");
    if (status == STATUS_OK && rename(temporary, path) != 0)
        status = failed(path, "rename");
    if (status != STATUS_OK) {
        unlink(temporary);
        return status;
    }
    return sync_parent(path);
}

static enum status make_dir(const char *path)
{
    struct stat info;
    if (mkdir(path, 0755) == 0)
        return STATUS_OK;
    if (errno != EEXIST)
        return failed(path, "mkdir");
    if (stat(path, &info) != 0)
        return failed(path, "stat");
    if (!S_ISDIR(info.st_mode))
        return FAIL(STATUS_IO, "%s: is in the way of a folder of that name", path);
    return STATUS_OK;
}

enum status file_make_dirs(const char *path)
{
    char part[FILE_PATH_MAX];
    TRY(file_path(part, "%s", path));
    if (part[0] == 0)
        return FAIL(STATUS_INVALID, "empty path of a folder");
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        TRY(make_dir(part));
        *slash = '/';
    }
    return make_dir(part);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

enum status file_remove_tree(const char *path)
{
    if (nftw(path, remove_one, FILE_REMOVE_FDS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return STATUS_OK;
    return failed(path, "remove");
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}
