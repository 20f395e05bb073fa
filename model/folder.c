/* model/folder.c - writes model folders: NAME.tmp is filled and renamed when it is whole. */
#include "model/folder.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "model/folder_internal.h"

static const int64_t shard_bytes_default = INT64_C(5) << 30;

static int64_t row_bytes(const struct safetensors_row *row, int64_t count)
{
    return count * (row->dtype == ST_F32 ? 4 : 2);
}

static void fill_rows(struct safetensors_row *rows, const struct model_folder_content *content)
{
    for (int64_t i = 0; i < content->table->count; i++) {
        const struct parameter *row = &content->table->rows[i];
        rows[i] = (struct safetensors_row){
            .name = row->name,
            .dtype = row->storage == STORAGE_F32 ? ST_F32 : content->dtype,
            .dims = row->dims,
            .values = content->flat != NULL ? content->flat + row->offset : NULL,
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

/* Rows from `first` on, read from the folder that is written again. */
struct copy {
    const struct model_folder_content *content;
    int64_t first;
};

static enum status copy_values(void *self, int64_t row, int64_t first, int64_t count, float *out)
{
    const struct copy *copy = self;
    int64_t offset = copy->content->table->rows[copy->first + row].offset;
    return model_folder_read(copy->content->source, offset + first, count, out);
}

static enum status save_shards(const char *folder, const struct model_folder_content *content,
                               const struct safetensors_row *rows, int64_t limit, int64_t shards,
                               json_t *map)
{
    const struct parameter_table *table = content->table;
    int64_t first = 0, total = 0;
    for (int64_t k = 1; k <= shards; k++) {
        char name[64], path[FILE_PATH_MAX];
        (void)snprintf(name, sizeof name, "model-%05" PRId64 "-of-%05" PRId64 ".safetensors", k,
                       shards);
        TRY(file_path(path, "%s/%s", folder, shards > 1 ? name : "model.safetensors"));
        int64_t end = shard_end(rows, table, first, limit);
        struct copy copy = {content, first};
        TRY(safetensors_write_filled(path, rows + first, end - first, copy_values, &copy));
        for (; first < end; first++) {
            total += row_bytes(&rows[first], table->rows[first].count);
            if (json_object_set_new(map, rows[first].name, json_string(name)) != 0)
                return FAIL(STATUS_NO_MEMORY, "%s: index", folder);
        }
    }
    if (shards <= 1)
        return STATUS_OK;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/model.safetensors.index.json", folder));
    json_t *index =
        json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    enum status status = folder_write_json(path, index);
    json_decref(index);
    return status;
}

static enum status save_weights(const char *folder, const struct model_folder_content *content)
{
    int64_t limit = content->shard_bytes > 0 ? content->shard_bytes : shard_bytes_default;
    const struct parameter_table *table = content->table;
    struct safetensors_row *rows = memory_array((size_t)table->count, sizeof *rows);
    if (rows == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: table of %" PRId64 " tensors", folder, table->count);
    fill_rows(rows, content);
    int64_t shards = 0;
    for (int64_t i = 0; i < table->count; shards++)
        i = shard_end(rows, table, i, limit);
    json_t *map = json_object();
    enum status status = save_shards(folder, content, rows, limit, shards, map);
    json_decref(map);
    memory_free(rows);
    return status;
}

static enum status fill_folder(const char *folder, const struct model_folder_content *content)
{
    TRY(file_make_dirs(folder));
    TRY(folder_write_config(folder, content));
    TRY(folder_write_tokenizer(folder, content));
    TRY(folder_write_generation(folder, content));
    TRY(save_weights(folder, content));
    return file_sync_dir(folder);
}

static enum status take_name(const char *temporary, const char *name)
{
    if (rename(temporary, name) != 0)
        return FAIL(STATUS_IO, "%s: rename: %s", name, strerror(errno));
    const char *slash = strrchr(name, '/');
    char parent[FILE_PATH_MAX];
    TRY(file_path(parent, "%.*s", slash && slash > name ? (int)(slash - name) : 1,
                  slash ? name : "."));
    return file_sync_dir(parent);
}

enum status model_folder_write(const char *folder, const struct model_folder_content *content)
{
    char name[FILE_PATH_MAX], temporary[FILE_PATH_MAX], kept[STATUS_TEXT_MAX];
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    TRY(file_path(name, "%.*s", (int)length, folder));
    TRY(file_path(temporary, "%s.tmp", name));
    if (content->dtype != ST_F32 && content->dtype != ST_BF16)
        return FAIL(STATUS_INVALID, "%s: weights are saved as F32 or BF16, not %s", name,
                    safetensors_dtype_name(content->dtype));
    if (file_exists(name))
        return FAIL(STATUS_INVALID, "%s: exists already; remove it or choose another name", name);
    TRY(file_remove_tree(temporary));
    enum status status = fill_folder(temporary, content);
    if (status == STATUS_OK)
        status = take_name(temporary, name);
    if (status == STATUS_OK)
        return STATUS_OK;
    status_keep(kept);
    if (file_remove_tree(temporary) != STATUS_OK)
        LOG_WARN("folder", "an unfinished one stays", "path=%s", temporary);
    status_restore(kept);
    return status;
}

enum status model_folder_save(const char *folder, const struct model_shape *shape,
                              const struct parameter_table *table, const float *flat,
                              enum safetensors_dtype dtype, const char *like, int64_t shard_bytes)
{
    return model_folder_write(folder, &(struct model_folder_content){.shape = shape,
                                                                     .table = table,
                                                                     .flat = flat,
                                                                     .dtype = dtype,
                                                                     .like = like,
                                                                     .shard_bytes = shard_bytes});
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
