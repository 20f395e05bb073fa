/* model/safetensors_write.c - one .safetensors file from values in memory, whole or not there at all. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/file.h"
#include "core/memory.h"
#include "model/safetensors.h"

enum { CHUNK_ELEMENTS = 1 << 16 };

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
    int64_t end = *offset + row_elements(row) * (int64_t)safetensors_dtype_bytes(row->dtype);
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", safetensors_dtype_name(row->dtype),
                              "shape", shape, "data_offsets", (json_int_t)*offset, (json_int_t)end);
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

/* What a file is written from, and room for a piece of it. */
struct writing {
    const struct safetensors_row *rows;
    int64_t count;
    safetensors_fill_fn fill; /* NULL: every row has values */
    void *self;
    struct {
        float values[CHUNK_ELEMENTS];
        uint16_t halves[CHUNK_ELEMENTS];
    } * chunk;
};

static enum status write_row(int fd, const char *path, struct writing *writing, int64_t index)
{
    const struct safetensors_row *row = &writing->rows[index];
    int64_t count = row_elements(row);
    if (row->dtype == ST_F32 && row->values != NULL)
        return file_write_all(fd, row->values, (size_t)count * sizeof(float), path);
    for (int64_t done = 0, now; done < count; done += now) {
        now = count - done < CHUNK_ELEMENTS ? count - done : CHUNK_ELEMENTS;
        const float *values = row->values != NULL ? row->values + done : writing->chunk->values;
        if (row->values == NULL)
            TRY(writing->fill(writing->self, index, done, now, writing->chunk->values));
        if (row->dtype == ST_F32) {
            TRY(file_write_all(fd, values, (size_t)now * sizeof *values, path));
            continue;
        }
        for (int64_t i = 0; i < now; i++)
            writing->chunk->halves[i] = f32_to_bf16(values[i]);
        TRY(file_write_all(fd, writing->chunk->halves, (size_t)now * sizeof(uint16_t), path));
    }
    return STATUS_OK;
}

static enum status write_file(int fd, const char *path, const json_t *root, struct writing *writing)
{
    TRY(write_header(fd, path, root));
    writing->chunk = memory_alloc(sizeof *writing->chunk);
    if (writing->chunk == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: write buffer", path);
    enum status status = STATUS_OK;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < writing->count && status == STATUS_OK; i++)
            if ((writing->rows[i].dtype == ST_BF16) == (pass == 1))
                status = write_row(fd, path, writing, i);
    memory_free(writing->chunk);
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

static enum status replace(const char *path, const json_t *root, struct writing *writing)
{
    char temporary[FILE_PATH_MAX];
    TRY(file_path(temporary, "%s.tmp", path));
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return FAIL(STATUS_IO, "%s: open: %s", temporary, strerror(errno));
    enum status status = write_file(fd, temporary, root, writing);
    if (close(fd) != 0 && status == STATUS_OK)
        status = FAIL(STATUS_IO, "%s: close: %s", temporary, strerror(errno));
    if (status == STATUS_OK && rename(temporary, path) != 0)
        status = FAIL(STATUS_IO, "%s: rename: %s", path, strerror(errno));
    if (status != STATUS_OK)
        (void)unlink(temporary);
    return status == STATUS_OK ? sync_parent(path) : status;
}

static enum status write_rows(const char *path, struct writing *writing,
                              const char *const *metadata_keys, const char *const *metadata_values,
                              int64_t metadata_count)
{
    json_t *root = json_object();
    if (root == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: header", path);
    enum status status = build_header(root, writing->rows, writing->count, metadata_keys,
                                      metadata_values, metadata_count);
    if (status == STATUS_OK)
        status = replace(path, root, writing);
    json_decref(root);
    return status;
}

enum status safetensors_write(const char *path, const struct safetensors_row *rows, int64_t count,
                              const char *const *metadata_keys, const char *const *metadata_values,
                              int64_t metadata_count)
{
    struct writing writing = {.rows = rows, .count = count};
    return write_rows(path, &writing, metadata_keys, metadata_values, metadata_count);
}

enum status safetensors_write_filled(const char *path, const struct safetensors_row *rows,
                                     int64_t count, safetensors_fill_fn fill, void *self)
{
    struct writing writing = {.rows = rows, .count = count, .fill = fill, .self = self};
    return write_rows(path, &writing, NULL, NULL, 0);
}
