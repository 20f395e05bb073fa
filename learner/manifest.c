#include "learner/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/log.h"

enum {
    MANIFEST_FILES_MAX = 4096,
    MANIFEST_DEPTH_MAX = 4,
    MANIFEST_BYTES_MAX = 16 << 20,
    MANIFEST_CHUNK = 1 << 20, /* hashed twice while it is in the cache */
    MANIFEST_END_BYTES = 39
};
static const char head[] = "weir checkpoint manifest 1\n";

struct file_list {
    char (*paths)[256]; /* [MANIFEST_FILES_MAX] relative, sorted */
    size_t count;
};

/* ---- hashing ---- */

void manifest_add(struct manifest_sums *sums, const void *from, size_t size)
{
    const uint8_t *bytes = from;
    for (size_t at = 0; at < size; at += MANIFEST_CHUNK) {
        size_t chunk = size - at < MANIFEST_CHUNK ? size - at : MANIFEST_CHUNK;
        sums->hash = hash64(bytes + at, chunk, sums->hash);
        sums->crc = crc32c(sums->crc, bytes + at, chunk);
    }
    sums->size += size;
}

static enum status hash_file(const char *path, struct manifest_sums *sums)
{
    struct stat info;
    *sums = (struct manifest_sums){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s", path,
                    strerror(errno));
    enum status status = STATUS_OK;
    if (fstat(fd, &info) != 0) {
        status = FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    } else if (info.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            status = FAIL(STATUS_IO, "%s: mmap: %s", path, strerror(errno));
        } else {
            (void)madvise(bytes, (size_t)info.st_size, MADV_SEQUENTIAL);
            manifest_add(sums, bytes, (size_t)info.st_size);
            munmap(bytes, (size_t)info.st_size);
        }
    }
    close(fd);
    return status;
}

/* ---- the files of a folder ---- */

static enum status list_folder(struct file_list *list, const char *folder, const char *inside,
                               int depth)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/%s", folder, inside));
    DIR *directory = opendir(path);
    if (directory == NULL || depth > MANIFEST_DEPTH_MAX) {
        if (directory != NULL)
            closedir(directory);
        return FAIL(STATUS_IO, "%s: cannot be read, or is nested too deep", path);
    }
    enum status status = STATUS_OK;
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(directory)) != NULL;) {
        char name[FILE_PATH_MAX], full[FILE_PATH_MAX];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        TRY_GOTO(out,
                 file_path(name, "%s%s%s", inside, inside[0] != '\0' ? "/" : "", entry->d_name));
        TRY_GOTO(out, file_path(full, "%s/%s", folder, name));
        if (strcmp(name, "manifest") == 0 || stat(full, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            status = list_folder(list, folder, name, depth + 1);
        else if (list->count == MANIFEST_FILES_MAX || strlen(name) >= sizeof list->paths[0] ||
                 strchr(name, '\n') != NULL)
            status = FAIL(STATUS_LIMIT, "%s: more than %d files, or a name that does not fit", full,
                          MANIFEST_FILES_MAX);
        else
            memcpy(list->paths[list->count++], name, strlen(name) + 1);
    }
out:
    closedir(directory);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static enum status list_files(struct file_list *list, const char *folder)
{
    static char paths[MANIFEST_FILES_MAX][256]; /* one thread */
    *list = (struct file_list){.paths = paths};
    TRY(list_folder(list, folder, "", 0));
    qsort(list->paths, list->count, sizeof list->paths[0], by_name);
    return STATUS_OK;
}

/* ---- writing ---- */

static void end_line(char line[MANIFEST_END_BYTES + 1], const void *bytes, size_t size,
                     size_t count)
{
    struct manifest_sums sums = {0};
    manifest_add(&sums, bytes, size);
    snprintf(line, MANIFEST_END_BYTES + 1, "end %08zx %016" PRIx64 " %08" PRIx32 "\n", count,
             sums.hash, sums.crc);
}

static enum status write_lines(const char *folder, const struct file_list *list,
                               struct buffer *text)
{
    TRY(buffer_text(text, head));
    for (size_t i = 0; i < list->count; i++) {
        char path[FILE_PATH_MAX];
        struct manifest_sums sums;
        TRY(file_path(path, "%s/%s", folder, list->paths[i]));
        TRY(hash_file(path, &sums));
        TRY(buffer_printf(text, "%" PRIu64 " %016" PRIx64 " %08" PRIx32 " %s\n", sums.size,
                          sums.hash, sums.crc, list->paths[i]));
    }
    char line[MANIFEST_END_BYTES + 1];
    end_line(line, text->bytes, text->size, list->count);
    return buffer_text(text, line);
}

enum status manifest_write(const char *folder)
{
    struct file_list list;
    struct buffer text;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/manifest", folder));
    TRY(list_files(&list, folder));
    buffer_init(&text, MANIFEST_BYTES_MAX);
    enum status status = write_lines(folder, &list, &text);
    if (status == STATUS_OK)
        status = file_replace(path, text.bytes, text.size);
    buffer_free(&text);
    return status;
}

/* ---- verifying ---- */

/* One line "bytes hash crc path", without its newline. */
static enum status verify_line(const char *folder, const char *line, char name[256])
{
    struct manifest_sums said, found;
    int at = 0;
    char path[FILE_PATH_MAX];
    if (sscanf(line, "%" SCNu64 " %" SCNx64 " %" SCNx32 " %n", &said.size, &said.hash, &said.crc,
               &at) != 3 ||
        at == 0 || line[at] == '\0' || strlen(line + at) >= 256)
        return FAIL(STATUS_CORRUPT, "%s/manifest: no file in \"%.80s\"", folder, line);
    snprintf(name, 256, "%s", line + at);
    TRY(file_path(path, "%s/%s", folder, name));
    enum status status = hash_file(path, &found);
    if (status == STATUS_NOT_FOUND)
        return FAIL(STATUS_CORRUPT, "%s is missing", path);
    if (status != STATUS_OK)
        return status;
    if (found.size != said.size)
        return FAIL(STATUS_CORRUPT, "%s has %" PRIu64 " bytes, its manifest says %" PRIu64, path,
                    found.size, said.size);
    if (found.hash != said.hash || found.crc != said.crc)
        return FAIL(STATUS_CORRUPT,
                    "%s is damaged: hash %016" PRIx64 " %08" PRIx32
                    ", its manifest says %016" PRIx64 " %08" PRIx32,
                    path, found.hash, found.crc, said.hash, said.crc);
    return STATUS_OK;
}

static bool would_be_loaded(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && (strcmp(dot, ".json") == 0 || strcmp(dot, ".safetensors") == 0);
}

/* Both sorted: every file that is there is in the manifest, or is nothing that a loader would read. */
static enum status verify_list(const char *folder, const struct file_list *said)
{
    static char kept[MANIFEST_FILES_MAX][256];
    struct file_list found;
    memcpy(kept, said->paths, said->count * sizeof kept[0]);
    TRY(list_files(&found, folder));
    for (size_t i = 0; i < found.count; i++) {
        if (bsearch(found.paths[i], kept, said->count, sizeof kept[0], by_name) != NULL)
            continue;
        if (would_be_loaded(found.paths[i]))
            return FAIL(STATUS_CORRUPT, "%s/%s is not in the manifest: move it away", folder,
                        found.paths[i]);
        LOG_WARN("checkpoint", "a file that the manifest does not name", "path=%s/%s", folder,
                 found.paths[i]);
    }
    return STATUS_OK;
}

static enum status verify_text(const char *folder, struct buffer *text)
{
    static char paths[MANIFEST_FILES_MAX][256];
    struct file_list said = {.paths = paths};
    char *at = (char *)text->bytes, *end = at + text->size - MANIFEST_END_BYTES;
    if (text->size < sizeof head - 1 + MANIFEST_END_BYTES || memcmp(at, head, sizeof head - 1) != 0)
        return FAIL(STATUS_CORRUPT, "%s/manifest is cut off or no manifest", folder);
    size_t lines = 0;
    for (const char *c = at; c < end; c++)
        lines += *c == '\n';
    char line[MANIFEST_END_BYTES + 1];
    end_line(line, at, (size_t)(end - at), lines - 1);
    if (memcmp(line, end, MANIFEST_END_BYTES) != 0)
        return FAIL(STATUS_CORRUPT, "%s/manifest is damaged: its last line does not fit it",
                    folder);
    for (at += sizeof head - 1; at < end;) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        if (newline == NULL || said.count == MANIFEST_FILES_MAX)
            return FAIL(STATUS_CORRUPT, "%s/manifest: no end of a line", folder);
        *newline = '\0';
        TRY(verify_line(folder, at, said.paths[said.count++]));
        at = newline + 1;
    }
    return verify_list(folder, &said);
}

enum status manifest_verify(const char *folder)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    TRY(file_path(path, "%s/manifest", folder));
    buffer_init(&text, MANIFEST_BYTES_MAX);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = verify_text(folder, &text);
    buffer_free(&text);
    return status;
}
