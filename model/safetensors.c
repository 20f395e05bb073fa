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

enum { DIMS_MAX = 8, CHUNK_ELEMENTS = 1 << 16 };
static const uint64_t header_bytes_max = 100u << 20;
static const int64_t elements_max = INT64_MAX / 8;

static const struct {
    const char *name;
    size_t bytes;
} dtypes[ST_DTYPE_COUNT] = {
    [ST_F64] = {"F64", 8}, [ST_F32] = {"F32", 4}, [ST_BF16] = {"BF16", 2}, [ST_F16] = {"F16", 2},
    [ST_I64] = {"I64", 8}, [ST_I32] = {"I32", 4}, [ST_U8] = {"U8", 1}};

struct safetensors {
    char *path;
    const uint8_t *bytes;
    size_t size;
    bool mapped;
    json_t *header;             /* owns the names */
    struct safetensor *tensors; /* [count] in file order */
    const struct safetensor **by_name;
    int64_t count;
    const uint8_t *data;
    size_t data_size;
};

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
    return FAIL(STATUS_UNSUPPORTED,
                "%s: tensor %s has dtype %s; known are F64 F32 BF16 F16 I64 I32 U8", file->path,
                tensor->name, name ? name : "(none)");
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

static enum status open_view(struct safetensors **file, const void *bytes, size_t size,
                             const char *path, bool mapped)
{
    struct safetensors *result = memory_alloc(sizeof *result);
    if (result == NULL) {
        if (mapped && size > 0)
            (void)munmap((void *)(uintptr_t)bytes, size);
        return FAIL(STATUS_NO_MEMORY, "%s", path);
    }
    result->bytes = bytes;
    result->size = size;
    result->mapped = mapped;
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
    return open_view(file, bytes, size, name, false);
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
    int map_errno = errno;
    (void)close(fd);
    if (bytes == MAP_FAILED)
        return FAIL(STATUS_IO, "%s: mmap of %zu bytes: %s", path, size, strerror(map_errno));
    return open_view(file, bytes, size, path, true);
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
    if (old->mapped && old->size > 0)
        (void)munmap((void *)(uintptr_t)old->bytes, old->size);
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

/* ---- conversion ---- */

static float bits_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, fraction = half & 0x3ffu;
    uint32_t exponent = (half >> 10) & 0x1fu;
    if (exponent == 0) /* zero or subnormal: fraction * 2^-24 */
        return bits_f32(sign) + (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    if (exponent == 31)
        return bits_f32(sign | 0x7f800000u | fraction << 13);
    return bits_f32(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Element i; the data need not be aligned in the file. */
static double element(const struct safetensor *tensor, int64_t i)
{
    const uint8_t *at = (const uint8_t *)tensor->bytes + (size_t)i * dtypes[tensor->dtype].bytes;
    union {
        double f64;
        float f32;
        uint16_t u16;
        int64_t i64;
        int32_t i32;
        uint8_t u8;
    } value;
    memcpy(&value, at, dtypes[tensor->dtype].bytes);
    switch (tensor->dtype) {
    case ST_F64:
        return value.f64;
    case ST_F32:
        return value.f32;
    case ST_BF16:
        return bits_f32((uint32_t)value.u16 << 16);
    case ST_F16:
        return f16_to_f32(value.u16);
    case ST_I64:
        return (double)value.i64;
    case ST_I32:
        return value.i32;
    default:
        return value.u8;
    }
}

enum status safetensor_to_f32(const struct safetensor *tensor, float *out)
{
    const uint8_t *bytes = tensor->bytes;
    if (tensor->dtype == ST_F32 && tensor->count > 0) {
        memcpy(out, bytes, tensor->size);
    } else if (tensor->dtype == ST_BF16) {
        for (int64_t i = 0; i < tensor->count; i++)
            out[i] = bits_f32((uint32_t)(bytes[2 * i] | bytes[2 * i + 1] << 8) << 16);
    } else {
        for (int64_t i = 0; i < tensor->count; i++)
            out[i] = (float)element(tensor, i);
    }
    return STATUS_OK;
}

enum status safetensor_to_f64(const struct safetensor *tensor, double *out)
{
    for (int64_t i = 0; i < tensor->count; i++)
        out[i] = element(tensor, i);
    return STATUS_OK;
}

enum status safetensor_to_i32(const struct safetensor *tensor, int32_t *out)
{
    for (int64_t i = 0; i < tensor->count; i++) {
        double value = nearbyint(element(tensor, i));
        if (!(value >= INT32_MIN && value <= INT32_MAX))
            return FAIL(STATUS_INVALID, "tensor %s: element %" PRId64 " is %g, no 32-bit integer",
                        tensor->name, i, value);
        out[i] = (int32_t)value;
    }
    return STATUS_OK;
}

/* ---- writing ---- */

static uint16_t f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u); /* a quiet NaN stays one */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static int64_t row_elements(const struct safetensors_row *row)
{
    int64_t count = 1;
    for (int32_t d = 0; d < row->dims; d++)
        count *= row->shape[d];
    return count;
}

static enum status add_entry(json_t *root, const struct safetensors_row *row, int64_t *offset)
{
    if (json_object_get(root, row->name) != NULL)
        return FAIL(STATUS_INVALID, "two rows are called %s", row->name);
    json_t *shape = json_array();
    for (int32_t d = 0; d < row->dims; d++)
        json_array_append_new(shape, json_integer(row->shape[d]));
    int64_t end = *offset + row_elements(row) * (int64_t)dtypes[row->dtype].bytes;
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[row->dtype].name, "shape",
                              shape, "data_offsets", (json_int_t)*offset, (json_int_t)end);
    if (json_object_set_new(root, row->name, entry) != 0)
        return FAIL(STATUS_INVALID, "tensor name %s is no UTF-8", row->name);
    *offset = end;
    return STATUS_OK;
}

static enum status build_header(json_t *root, const struct safetensors_row *rows, int64_t count,
                                const char *const *keys, const char *const *values, int64_t pairs)
{
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    int bad = json_object_set_new(root, "__metadata__", metadata);
    for (int64_t i = 0; i < pairs; i++)
        bad |= json_object_set_new(metadata, keys[i], json_string(values[i]));
    if (bad)
        return FAIL(STATUS_INVALID, "safetensors metadata: out of memory or no UTF-8");
    int64_t offset = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < count; i++) {
            CHECK(rows[i].dtype == ST_F32 || rows[i].dtype == ST_BF16);
            if ((rows[i].dtype == ST_BF16) == (pass == 1))
                TRY(add_entry(root, &rows[i], &offset));
        }
    return STATUS_OK;
}

/* Size, JSON, spaces up to a multiple of 8. */
static enum status write_header(int fd, const char *path, const json_t *root)
{
    size_t size = json_dumpb(root, NULL, 0, JSON_COMPACT);
    size_t padded = (size + 7) / 8 * 8;
    uint8_t *bytes = memory_alloc(8 + padded);
    if (size == 0 || bytes == NULL) {
        memory_free(bytes);
        return FAIL(STATUS_NO_MEMORY, "%s: header of %zu bytes", path, size);
    }
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    memset(bytes + 8, ' ', padded);
    (void)json_dumpb(root, (char *)bytes + 8, size, JSON_COMPACT);
    enum status status = file_write_all(fd, bytes, 8 + padded, path);
    memory_free(bytes);
    return status;
}

static enum status write_row(int fd, const char *path, const struct safetensors_row *row,
                             uint16_t *chunk)
{
    int64_t count = row_elements(row);
    if (row->dtype == ST_F32)
        return file_write_all(fd, row->values, (size_t)count * sizeof(float), path);
    for (int64_t done = 0; done < count;) {
        int64_t now = count - done < CHUNK_ELEMENTS ? count - done : CHUNK_ELEMENTS;
        for (int64_t i = 0; i < now; i++)
            chunk[i] = f32_to_bf16(row->values[done + i]);
        TRY(file_write_all(fd, chunk, (size_t)now * sizeof *chunk, path));
        done += now;
    }
    return STATUS_OK;
}

static enum status write_file(int fd, const char *path, const json_t *root,
                              const struct safetensors_row *rows, int64_t count)
{
    TRY(write_header(fd, path, root));
    uint16_t *chunk = memory_array(CHUNK_ELEMENTS, sizeof *chunk);
    if (chunk == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: write buffer", path);
    enum status status = STATUS_OK;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < count && status == STATUS_OK; i++)
            if ((rows[i].dtype == ST_BF16) == (pass == 1))
                status = write_row(fd, path, &rows[i], chunk);
    memory_free(chunk);
    if (status == STATUS_OK && fsync(fd) != 0)
        status = FAIL(STATUS_IO, "%s: fsync: %s", path, strerror(errno));
    return status;
}

static enum status sync_parent(const char *path)
{
    char parent[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) : 1;
    TRY(file_path(parent, "%.*s", length > 0 ? length : 1, slash ? path : "."));
    return file_sync_dir(parent);
}

static enum status replace(const char *path, const json_t *root, const struct safetensors_row *rows,
                           int64_t count)
{
    char temporary[FILE_PATH_MAX];
    TRY(file_path(temporary, "%s.tmp", path));
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return FAIL(STATUS_IO, "%s: open: %s", temporary, strerror(errno));
    enum status status = write_file(fd, temporary, root, rows, count);
    if (close(fd) != 0 && status == STATUS_OK)
        status = FAIL(STATUS_IO, "%s: close: %s", temporary, strerror(errno));
    if (status == STATUS_OK && rename(temporary, path) != 0)
        status = FAIL(STATUS_IO, "%s: rename: %s", path, strerror(errno));
    if (status != STATUS_OK)
        (void)unlink(temporary);
    return status == STATUS_OK ? sync_parent(path) : status;
}

enum status safetensors_write(const char *path, const struct safetensors_row *rows, int64_t count,
                              const char *const *metadata_keys, const char *const *metadata_values,
                              int64_t metadata_count)
{
    json_t *root = json_object();
    if (root == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: header", path);
    enum status status =
        build_header(root, rows, count, metadata_keys, metadata_values, metadata_count);
    if (status == STATUS_OK)
        status = replace(path, root, rows, count);
    json_decref(root);
    return status;
}
