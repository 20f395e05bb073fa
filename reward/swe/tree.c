#include "reward/swe/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"

void tree_init(struct tree *tree)
{
    *tree = (struct tree){0};
}

static void free_file(struct tree_file *file)
{
    memory_free(file->path);
    memory_free(file->bytes);
}

void tree_free(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++)
        free_file(&tree->files[i]);
    memory_free(tree->files);
    tree_init(tree);
}

bool tree_path_ok(const char *path)
{
    size_t length = strlen(path);
    if (length == 0 || length >= TREE_PATH_MAX)
        return false;
    for (const char *part = path;; part++) {
        size_t n = strcspn(part, "/");
        if (n == 0 || n > 255 || (n == 1 && part[0] == '.') ||
            (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)part[i] < ' ')
                return false;
        part += n;
        if (*part == '\0')
            return true;
    }
}

/* Where `path` is, or belongs. */
static size_t place(const struct tree *tree, const char *path)
{
    size_t low = 0, high = tree->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(tree->files[middle].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct tree_file *tree_find(const struct tree *tree, const char *path)
{
    size_t at = place(tree, path);
    return at < tree->count && strcmp(tree->files[at].path, path) == 0 ? &tree->files[at] : NULL;
}

/* A file may not stand where another has a folder. */
static bool collides(const struct tree *tree, const char *path)
{
    char folder[TREE_PATH_MAX + 2]; /* a slash and the NUL */
    size_t length = strlen(path);
    for (size_t i = 1; i < length; i++) {
        if (path[i] != '/')
            continue;
        memcpy(folder, path, i);
        folder[i] = '\0';
        if (tree_find(tree, folder) != NULL)
            return true;
    }
    memcpy(folder, path, length);
    folder[length] = '/';
    folder[length + 1] = '\0';
    size_t at = place(tree, folder);
    return at < tree->count && strncmp(tree->files[at].path, folder, length + 1) == 0;
}

static enum status make_room(struct tree *tree, size_t bytes)
{
    if (tree->count >= TREE_FILES_MAX || bytes > TREE_BYTES_MAX ||
        tree->bytes > TREE_BYTES_MAX - bytes)
        return FAIL(STATUS_LIMIT, "a repository of more than %d files or %d MiB", TREE_FILES_MAX,
                    TREE_BYTES_MAX >> 20);
    if (tree->count < tree->capacity)
        return STATUS_OK;
    size_t capacity = tree->capacity > 0 ? 2 * tree->capacity : 16;
    void *files =
        memory_grow(tree->files, tree->count * sizeof *tree->files, capacity * sizeof *tree->files);
    if (files == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu files", capacity);
    tree->files = files;
    tree->capacity = capacity;
    return STATUS_OK;
}

enum status tree_put(struct tree *tree, const char *path, const void *bytes, size_t size)
{
    if (!tree_path_ok(path))
        return FAIL(STATUS_INVALID, "\"%.100s\" is no path inside a repository", path);
    struct tree_file *old = tree_find(tree, path);
    if (old == NULL && collides(tree, path))
        return FAIL(STATUS_INVALID, "\"%.100s\" is a file and a folder", path);
    TRY(make_room(tree, size));
    char *copy = memory_alloc(size + 1), *name = old == NULL ? memory_text(path) : NULL;
    if (copy == NULL || (old == NULL && name == NULL)) {
        memory_free(copy);
        memory_free(name);
        return FAIL(STATUS_NO_MEMORY, "a file of %zu bytes", size);
    }
    if (size > 0)
        memcpy(copy, bytes, size);
    if (old != NULL) {
        tree->bytes -= old->size;
        memory_free(old->bytes);
        old->bytes = copy;
        old->size = size;
    } else {
        size_t at = place(tree, path);
        memmove(&tree->files[at + 1], &tree->files[at], (tree->count - at) * sizeof *tree->files);
        tree->files[at] = (struct tree_file){.path = name, .bytes = copy, .size = size};
        tree->count++;
    }
    tree->bytes += size;
    return STATUS_OK;
}

void tree_remove(struct tree *tree, const char *path)
{
    struct tree_file *file = tree_find(tree, path);
    if (file == NULL)
        return;
    tree->bytes -= file->size;
    free_file(file);
    size_t at = (size_t)(file - tree->files);
    memmove(file, file + 1, (tree->count - at - 1) * sizeof *tree->files);
    tree->count--;
}

enum status tree_from_json(struct tree *tree, const json_t *files)
{
    if (!json_is_object(files))
        return FAIL(STATUS_INVALID, "\"files\" is not an object of path and text");
    for (void *at = json_object_iter((json_t *)(uintptr_t)files); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)files, at)) {
        const json_t *text = json_object_iter_value(at);
        const char *path = json_object_iter_key(at);
        if (!json_is_string(text))
            return FAIL(STATUS_INVALID, "files[\"%.100s\"] is not a text", path);
        TRY(tree_put(tree, path, json_string_value(text), json_string_length(text)));
    }
    return STATUS_OK;
}

/* ---- a folder ---- */

static bool is_left_out(const char *name)
{
    static const char *const names[] = {".",    "..",  ".git",        ".hg",
                                        ".svn", ".jj", "__pycache__", ".pytest_cache"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static enum status read_entry(struct tree *tree, int folder, const char *name, const char *path)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return FAIL(STATUS_IO, "%s cannot be read: %s", path, strerror(errno));
    struct stat about;
    struct buffer bytes;
    buffer_init(&bytes, TREE_BYTES_MAX);
    enum status status = STATUS_OK;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        char linked[64];
        snprintf(linked, sizeof linked, "/proc/self/fd/%d", fd);
        status = file_read(linked, &bytes);
        if (status == STATUS_OK)
            status = tree_put(tree, path, bytes.bytes, bytes.size);
        if (status == STATUS_OK)
            tree_find(tree, path)->executable = (about.st_mode & S_IXUSR) != 0;
    }
    close(fd);
    buffer_free(&bytes);
    return status;
}

static enum status read_folder(struct tree *tree, int fd, const char *prefix, int depth)
{
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        close(fd);
        return FAIL(STATUS_IO, "%s cannot be read: %s", prefix, strerror(errno));
    }
    enum status status = STATUS_OK;
    char path[FILE_PATH_MAX];
    struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(folder)) != NULL) {
        struct stat about;
        if (is_left_out(entry->d_name) ||
            fstatat(dirfd(folder), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        status = file_path(path, "%s%s%s", prefix, prefix[0] != '\0' ? "/" : "", entry->d_name);
        if (status != STATUS_OK)
            break;
        if (S_ISREG(about.st_mode)) {
            status = read_entry(tree, dirfd(folder), entry->d_name, path);
        } else if (S_ISDIR(about.st_mode)) {
            int inner = depth < 64 ? openat(dirfd(folder), entry->d_name,
                                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                                   : -1;
            status = inner >= 0
                         ? read_folder(tree, inner, path, depth + 1)
                         : FAIL(STATUS_IO, "%s cannot be opened, or is 64 folders deep", path);
        }
    }
    closedir(folder);
    return status;
}

enum status tree_from_folder(struct tree *tree, const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(STATUS_NOT_FOUND, "snapshot %s: %s", folder, strerror(errno));
    return read_folder(tree, fd, "", 0);
}

enum status tree_copy(struct tree *tree, const struct tree *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct tree_file *file = &from->files[i];
        TRY(tree_put(tree, file->path, file->bytes, file->size));
        tree_find(tree, file->path)->executable = file->executable;
    }
    return STATUS_OK;
}
