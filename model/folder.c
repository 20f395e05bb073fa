/* model/folder.c - writes model folders: NAME.tmp is filled and renamed when it is whole. */
#include "model/folder.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"

static const int64_t shard_bytes_default = INT64_C(5) << 30;

static int64_t row_bytes(const struct safetensors_row *row, int64_t count)
{
    return count * (row->dtype == ST_F32 ? 4 : 2);
}

static void fill_rows(struct safetensors_row *rows, const struct parameter_table *table,
                      const float *flat, enum safetensors_dtype dtype)
{
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        rows[i] = (struct safetensors_row){
            .name = row->name,
            .dtype = row->storage == STORAGE_F32 ? ST_F32 : dtype,
            .dims = row->dims,
            .values = flat + row->offset,
        };
        memcpy(rows[i].shape, row->shape, sizeof row->shape);
    }
}

/* First row behind the shard that starts at `first`. */
static int64_t shard_end(const struct safetensors_row *rows, const struct parameter_table *table,
                         int64_t first, int64_t limit)
{
    int64_t bytes = 0, i = first;
    for (; i < table->count; i++) {
        int64_t more = row_bytes(&rows[i], table->rows[i].count);
        if (i > first && bytes + more > limit)
            break;
        bytes += more;
    }
    return i;
}

static enum status write_json(const char *path, const json_t *root)
{
    size_t size = json_dumpb(root, NULL, 0, JSON_INDENT(2));
    char *text = size ? memory_alloc(size + 1) : NULL;
    if (text == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: %zu bytes", path, size);
    (void)json_dumpb(root, text, size, JSON_INDENT(2));
    text[size] = '\n';
    enum status status = file_replace(path, text, size + 1);
    memory_free(text);
    return status;
}

static enum status save_shards(const char *folder, const struct safetensors_row *rows,
                               const struct parameter_table *table, int64_t limit, int64_t shards,
                               json_t *map)
{
    int64_t first = 0, total = 0;
    for (int64_t k = 1; k <= shards; k++) {
        char name[64], path[FILE_PATH_MAX];
        (void)snprintf(name, sizeof name, "model-%05" PRId64 "-of-%05" PRId64 ".safetensors", k,
                       shards);
        TRY(file_path(path, "%s/%s", folder, name));
        int64_t end = shard_end(rows, table, first, limit);
        TRY(safetensors_write(path, rows + first, end - first, NULL, NULL, 0));
        for (; first < end; first++) {
            total += row_bytes(&rows[first], table->rows[first].count);
            if (json_object_set_new(map, rows[first].name, json_string(name)) != 0)
                return FAIL(STATUS_NO_MEMORY, "%s: index", folder);
        }
    }
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/model.safetensors.index.json", folder));
    json_t *index =
        json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    enum status status = write_json(path, index);
    json_decref(index);
    return status;
}

static enum status save_weights(const char *folder, const struct parameter_table *table,
                                const float *flat, enum safetensors_dtype dtype, int64_t limit)
{
    struct safetensors_row *rows = memory_array((size_t)table->count, sizeof *rows);
    if (rows == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: table of %" PRId64 " tensors", folder, table->count);
    fill_rows(rows, table, flat, dtype);
    int64_t shards = 0;
    for (int64_t i = 0; i < table->count; shards++)
        i = shard_end(rows, table, i, limit);
    enum status status;
    if (shards == 1) {
        char path[FILE_PATH_MAX];
        status = file_path(path, "%s/model.safetensors", folder);
        if (status == STATUS_OK)
            status = safetensors_write(path, rows, table->count, NULL, NULL, 0);
    } else {
        json_t *map = json_object();
        status = save_shards(folder, rows, table, limit, shards, map);
        json_decref(map);
    }
    memory_free(rows);
    return status;
}

static enum status save_config(const char *folder, const struct model_shape *shape,
                               enum safetensors_dtype dtype)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.json", folder));
    struct buffer text;
    buffer_init(&text, 0);
    json_t *root = NULL;
    enum status status = model_shape_json(shape, &text);
    if (status == STATUS_OK) {
        root = json_loadb((const char *)text.bytes, text.size, 0, NULL);
        const char *name = dtype == ST_F32 ? "float32" : "bfloat16";
        status = json_object_set_new(root, "torch_dtype", json_string(name)) == 0
                     ? write_json(path, root)
                     : FAIL(STATUS_NO_MEMORY, "%s", path);
    }
    json_decref(root);
    buffer_free(&text);
    return status;
}

static enum status copy_file(const char *source, const char *target, const char *name)
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    TRY(file_path(from, "%s/%s", source, name));
    TRY(file_path(to, "%s/%s", target, name));
    if (!file_exists(from))
        return STATUS_OK;
    struct buffer contents;
    buffer_init(&contents, 0);
    enum status status = file_read(from, &contents);
    if (status == STATUS_OK)
        status = file_replace(to, contents.bytes, contents.size);
    buffer_free(&contents);
    return status;
}

static enum status fill_folder(const char *folder, const struct model_shape *shape,
                               const struct parameter_table *table, const float *flat,
                               enum safetensors_dtype dtype, const char *like, int64_t shard_bytes)
{
    static const char *const files[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "generation_config.json"};
    TRY(file_make_dirs(folder));
    TRY(save_config(folder, shape, dtype));
    for (size_t i = 0; like != NULL && i < sizeof files / sizeof files[0]; i++)
        TRY(copy_file(like, folder, files[i]));
    TRY(save_weights(folder, table, flat, dtype, shard_bytes));
    return file_sync_dir(folder);
}

enum status model_folder_save(const char *folder, const struct model_shape *shape,
                              const struct parameter_table *table, const float *flat,
                              enum safetensors_dtype dtype, const char *like, int64_t shard_bytes)
{
    char name[FILE_PATH_MAX], temporary[FILE_PATH_MAX];
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    TRY(file_path(name, "%.*s", (int)length, folder));
    TRY(file_path(temporary, "%s.tmp", name));
    if (dtype != ST_F32 && dtype != ST_BF16)
        return FAIL(STATUS_INVALID, "%s: weights are saved as F32 or BF16, not %s", name,
                    safetensors_dtype_name(dtype));
    if (file_exists(name))
        return FAIL(STATUS_INVALID, "%s: exists already; remove it or choose another name", name);
    TRY(file_remove_tree(temporary));
    TRY(fill_folder(temporary, shape, table, flat, dtype, like,
                    shard_bytes > 0 ? shard_bytes : shard_bytes_default));
    if (rename(temporary, name) != 0)
        return FAIL(STATUS_IO, "%s: rename: %s", name, strerror(errno));
    const char *slash = strrchr(name, '/');
    char parent[FILE_PATH_MAX];
    TRY(file_path(parent, "%.*s", slash && slash > name ? (int)(slash - name) : 1,
                  slash ? name : "."));
    return file_sync_dir(parent);
}

enum status model_folder_init(const char *config_path, const char *out, uint64_t seed,
                              enum safetensors_dtype dtype, const char *like)
{
    struct model_shape shape;
    struct parameter_table table;
    TRY(model_shape_load(&shape, config_path));
    TRY(parameter_table_create(&table, &shape));
    float *flat = memory_array((size_t)table.elements, sizeof *flat);
    enum status status = STATUS_OK;
    if (flat == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "%s: %" PRId64 " parameters", out, table.elements);
    } else {
        parameter_table_init(&table, &shape, seed, flat);
        status = model_folder_save(out, &shape, &table, flat, dtype, like, 0);
    }
    memory_free(flat);
    parameter_table_destroy(&table);
    return status;
}
