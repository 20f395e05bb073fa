/* model/safetensors.c - 8 bytes header size, JSON header, data.
 *
 * The header is believed only after its tensors, sorted by offset, tile the data exactly. Layout as in the
 * README of the safetensors project. */
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/file.h"
#include "core/memory.h"

enum { DIMS_MAX = 8 };
static const uint64_t header_bytes_max = 100u << 20;
static const int64_t elements_max = INT64_MAX / 8;

static const struct {
    const char *name;
    size_t bytes;
} dtypes[ST_DTYPE_COUNT] = {
    [ST_F64] = {"F64", 8},   [ST_F32] = {"F32", 4},         [ST_BF16] = {"BF16", 2},
    [ST_F16] = {"F16", 2},   [ST_I64] = {"I64", 8},         [ST_I32] = {"I32", 4},
    [ST_U8] = {"U8", 1},     [ST_U64] = {"U64", 8},         [ST_U32] = {"U32", 4},
    [ST_I16] = {"I16", 2},   [ST_U16] = {"U16", 2},         [ST_I8] = {"I8", 1},
    [ST_BOOL] = {"BOOL", 1}, [ST_F8_E4M3] = {"F8_E4M3", 1}, [ST_F8_E5M2] = {"F8_E5M2", 1}};

struct safetensors {
    char *path;
    const uint8_t *bytes;
    size_t size;
    int fd;                     /* of a mapped file; -1: bytes are the caller's */
    json_t *header;             /* owns the names */
    struct safetensor *tensors; /* [count] in file order */
    const struct safetensor **by_name;
    int64_t count;
    const uint8_t *data;
    size_t data_size;
};

size_t safetensors_dtype_bytes(enum safetensors_dtype dtype)
{
    return dtype < ST_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

const char *safetensors_path(const struct safetensors *file)
{
    return file->path;
}

const char *safetensors_dtype_name(enum safetensors_dtype dtype)
{
    return dtype < ST_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

/* ---- reading ---- */

static enum status read_dtype(const struct safetensors *file, struct safetensor *tensor,
                              const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    for (int i = 0; name != NULL && i < ST_DTYPE_COUNT; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            tensor->dtype = (enum safetensors_dtype)i;
            return STATUS_OK;
        }
    return FAIL(
        STATUS_UNSUPPORTED,
        "%s: tensor %s has dtype %s; known are F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 "
        "U64 U32 U16 U8 BOOL",
        file->path, tensor->name, name ? name : "(none)");
}

static enum status read_shape(const struct safetensors *file, struct safetensor *tensor,
                              const json_t *entry)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > DIMS_MAX)
        return FAIL(STATUS_CORRUPT, "%s: tensor %s: shape must be a list of at most %d sizes",
                    file->path, tensor->name, DIMS_MAX);
    tensor->dims = (int32_t)json_array_size(shape);
    tensor->count = 1;
    for (int32_t d = 0; d < tensor->dims; d++) {
        const json_t *item = json_array_get(shape, (size_t)d);
        int64_t size = json_is_integer(item) ? json_integer_value(item) : -1;
        if (size < 0 || (size > 0 && tensor->count > elements_max / size))
            return FAIL(STATUS_CORRUPT, "%s: tensor %s: size %" PRId64 " of dimension %d",
                        file->path, tensor->name, size, d);
        tensor->shape[d] = size;
        tensor->count *= size;
    }
    return STATUS_OK;
}

static enum status read_offsets(const struct safetensors *file, struct safetensor *tensor,
                                const json_t *entry)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return FAIL(STATUS_CORRUPT, "%s: tensor %s: data_offsets must be [begin, end]", file->path,
                    tensor->name);
    int64_t begin = json_integer_value(from), end = json_integer_value(to);
    if (begin < 0 || end < begin || (uint64_t)end > file->data_size)
        return FAIL(STATUS_CORRUPT,
                    "%s: tensor %s: data_offsets [%" PRId64 ", %" PRId64
                    "] in %zu bytes of data; the file is truncated or damaged, copy it again",
                    file->path, tensor->name, begin, end, file->data_size);
    tensor->size = (size_t)(end - begin);
    tensor->bytes = file->data + begin;
    size_t wanted = (size_t)tensor->count * dtypes[tensor->dtype].bytes;
    if (tensor->size != wanted)
        return FAIL(STATUS_CORRUPT,
                    "%s: tensor %s: %zu bytes between its offsets, but its shape in %s needs %zu",
                    file->path, tensor->name, tensor->size, dtypes[tensor->dtype].name, wanted);
    return STATUS_OK;
}

static enum status read_metadata(const struct safetensors *file, json_t *entry)
{
    const char *key;
    json_t *value;
    if (!json_is_object(entry))
        return FAIL(STATUS_CORRUPT, "%s: __metadata__ is no object", file->path);
    json_object_foreach(entry, key, value)
    {
        if (!json_is_string(value))
            return FAIL(STATUS_CORRUPT, "%s: __metadata__ %s is no string", file->path, key);
    }
    return STATUS_OK;
}

static int compare_place(const void *left, const void *right)
{
    const struct safetensor *a = left, *b = right;
    if (a->bytes != b->bytes)
        return (const uint8_t *)a->bytes < (const uint8_t *)b->bytes ? -1 : 1;
    return (a->size > b->size) - (a->size < b->size);
}

static int compare_name(const void *left, const void *right)
{
    const struct safetensor *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

/* Tensors in file order must follow each other from the first to the last byte of the data. */
static enum status check_tiling(const struct safetensors *file)
{
    const char *before = "the header";
    size_t end = 0;
    for (int64_t i = 0; i < file->count; i++) {
        const struct safetensor *tensor = &file->tensors[i];
        size_t begin = (size_t)((const uint8_t *)tensor->bytes - file->data);
        if (begin != end)
            return FAIL(STATUS_CORRUPT,
                        "%s: tensor %s begins at byte %zu of the data, but %s ends at %zu: %s",
                        file->path, tensor->name, begin, before, end,
                        begin < end ? "they overlap" : "there is a hole");
        before = tensor->name;
        end = begin + tensor->size;
    }
    if (end != file->data_size)
        return FAIL(STATUS_CORRUPT,
                    "%s: %zu bytes of data, but the last tensor (%s) ends at byte %zu", file->path,
                    file->data_size, before, end);
    return STATUS_OK;
}

static enum status read_tensors(struct safetensors *file)
{
    const char *name;
    json_t *entry;
    size_t capacity = json_object_size(file->header) + 1;
    file->tensors = memory_array(capacity, sizeof *file->tensors);
    file->by_name = memory_array(capacity, sizeof *file->by_name);
    if (file->tensors == NULL || file->by_name == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: table of %zu tensors", file->path, capacity);
    json_object_foreach(file->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) {
            TRY(read_metadata(file, entry));
            continue;
        }
        struct safetensor *tensor = &file->tensors[file->count];
        tensor->name = name;
        TRY(read_dtype(file, tensor, entry));
        TRY(read_shape(file, tensor, entry));
        TRY(read_offsets(file, tensor, entry));
        file->count++;
    }
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, compare_place);
    for (int64_t i = 0; i < file->count; i++)
        file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, (size_t)file->count, sizeof *file->by_name, compare_name);
    return check_tiling(file);
}

static enum status read_header(struct safetensors *file)
{
    if (file->size < 8)
        return FAIL(STATUS_CORRUPT, "%s: %zu bytes, too short for a safetensors file", file->path,
                    file->size);
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--)
        size = size << 8 | file->bytes[i];
    if (size > header_bytes_max || size > file->size - 8)
        return FAIL(STATUS_CORRUPT,
                    "%s: header of %" PRIu64 " bytes in a file of %zu (largest %" PRIu64
                    "); the file is truncated or no safetensors file",
                    file->path, size, file->size, header_bytes_max);
    json_error_t error;
    file->header =
        json_loadb((const char *)file->bytes + 8, (size_t)size, JSON_REJECT_DUPLICATES, &error);
    if (file->header == NULL)
        return FAIL(STATUS_CORRUPT, "%s: header, byte %d: %s", file->path, error.position,
                    error.text);
    if (!json_is_object(file->header))
        return FAIL(STATUS_CORRUPT, "%s: the header is no JSON object", file->path);
    file->data = file->bytes + 8 + size;
    file->data_size = file->size - 8 - (size_t)size;
    return read_tensors(file);
}

static void release(int fd, const void *bytes, size_t size)
{
    if (fd < 0)
        return;
    if (size > 0)
        (void)munmap((void *)(uintptr_t)bytes, size);
    (void)close(fd);
}

static enum status open_view(struct safetensors **file, const void *bytes, size_t size,
                             const char *path, int fd)
{
    struct safetensors *result = memory_alloc(sizeof *result);
    if (result == NULL) {
        release(fd, bytes, size);
        return FAIL(STATUS_NO_MEMORY, "%s", path);
    }
    result->bytes = bytes;
    result->size = size;
    result->fd = fd;
    result->path = memory_text(path);
    enum status status = result->path ? read_header(result) : FAIL(STATUS_NO_MEMORY, "%s", path);
    if (status != STATUS_OK) {
        safetensors_close(&result);
        return status;
    }
    *file = result;
    return STATUS_OK;
}

enum status safetensors_open_bytes(struct safetensors **file, const void *bytes, size_t size,
                                   const char *name)
{
    return open_view(file, bytes, size, name, -1);
}

enum status safetensors_open(struct safetensors **file, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: open: %s", path,
                    strerror(errno));
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        (void)close(fd);
        return FAIL(STATUS_IO, "%s: no regular file", path);
    }
    size_t size = (size_t)info.st_size;
    void *bytes = NULL;
    if (size > 0)
        bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        enum status status =
            FAIL(STATUS_IO, "%s: mmap of %zu bytes: %s", path, size, strerror(errno));
        (void)close(fd);
        return status;
    }
    return open_view(file, bytes, size, path, fd);
}

void safetensors_close(struct safetensors **file)
{
    struct safetensors *old = *file;
    if (old == NULL)
        return;
    *file = NULL;
    memory_free(old->tensors);
    memory_free((void *)old->by_name);
    json_decref(old->header);
    release(old->fd, old->bytes, old->size);
    memory_free(old->path);
    memory_free(old);
}

int64_t safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct safetensor *safetensors_at(const struct safetensors *file, int64_t index)
{
    CHECK(index >= 0 && index < file->count);
    return &file->tensors[index];
}

const struct safetensor *safetensors_find(const struct safetensors *file, const char *name)
{
    struct safetensor wanted = {.name = name};
    const struct safetensor *key = &wanted;
    const struct safetensor **found =
        bsearch(&key, file->by_name, (size_t)file->count, sizeof *file->by_name, compare_name);
    return found ? *found : NULL;
}

enum status safetensors_read_bytes(const struct safetensors *file, const struct safetensor *tensor,
                                   size_t begin, size_t size, void *out)
{
    CHECK(begin <= tensor->size && size <= tensor->size - begin);
    const uint8_t *from = (const uint8_t *)tensor->bytes + begin;
    if (size == 0)
        return STATUS_OK;
    if (file->fd < 0) {
        memcpy(out, from, size);
        return STATUS_OK;
    }
    for (size_t done = 0; done < size;) {
        ssize_t now = pread(file->fd, (uint8_t *)out + done, size - done,
                            (off_t)((size_t)(from - file->bytes) + done));
        if (now > 0)
            done += (size_t)now;
        else if (now == 0)
            return FAIL(STATUS_CORRUPT, "%s: tensor %s: the file was cut while it was read",
                        file->path, tensor->name);
        else if (errno != EINTR)
            return FAIL(STATUS_IO, "%s: tensor %s: pread: %s", file->path, tensor->name,
                        strerror(errno));
    }
    return STATUS_OK;
}
