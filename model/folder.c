/* model/folder.c - see folder.h. Loading marks every row of the table that it fills, so a folder is
 * complete or the first missing tensor is named; saving builds NAME.tmp and renames it when whole. */
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

/* ---- loading ---- */

struct load {
    const struct model_shape *shape;
    const struct parameter_table *table;
    const struct parameter **by_name; /* [table->count] */
    bool *filled;                     /* [table->count] */
    float *flat;
};

static int compare_name(const void *left, const void *right)
{
    const struct parameter *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static int compare_key(const void *key, const void *item)
{
    const struct parameter *const *row = item;
    return strcmp(key, (*row)->name);
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), tail = strlen(end);
    return size >= tail && strcmp(name + size - tail, end) == 0;
}

/* Tensors that other programs save although they follow from config.json (or from another tensor). */
static bool is_buffer(const struct model_shape *shape, const char *name)
{
    static const char *const native[] = {".self_attn.slope_rate", ".self_attn.query_decay",
                                         ".self_attn.key_decay", ".self_attn.diagonal_decay"};
    for (int i = 0; i < 4 && shape->arch == ARCH_MINIMAX_NATIVE; i++)
        if (ends_with(name, native[i]))
            return true;
    return ends_with(name, "rotary_emb.inv_freq") ||
           (shape->tied && strcmp(name, "lm_head.weight") == 0);
}

static void shape_text(char *text, size_t size, int32_t dims, const int64_t *shape)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int32_t d = 0; d < dims && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, d ? ", " : "", shape[d]);
    if (used < size)
        (void)snprintf(text + used, size - used, "]");
}

static enum status check_tensor(const char *path, const struct safetensor *tensor,
                                const struct parameter *row)
{
    if (tensor->dtype != ST_F32 && tensor->dtype != ST_BF16 && tensor->dtype != ST_F16 &&
        tensor->dtype != ST_F64)
        return FAIL(STATUS_INVALID, "%s: tensor %s is %s; weights must be floating point", path,
                    tensor->name, safetensors_dtype_name(tensor->dtype));
    if (tensor->dims == row->dims &&
        memcmp(tensor->shape, row->shape, (size_t)row->dims * sizeof *row->shape) == 0)
        return STATUS_OK;
    char found[160], wanted[160];
    shape_text(found, sizeof found, tensor->dims, tensor->shape);
    shape_text(wanted, sizeof wanted, row->dims, row->shape);
    return FAIL(STATUS_INVALID, "%s: tensor %s is %s, config.json asks for %s", path, tensor->name,
                found, wanted);
}

static enum status load_tensor(struct load *load, const char *path, const struct safetensor *tensor)
{
    const struct parameter *const *found =
        bsearch(tensor->name, load->by_name, (size_t)load->table->count, sizeof *load->by_name,
                compare_key);
    if (found == NULL) {
        if (is_buffer(load->shape, tensor->name))
            return STATUS_OK;
        return FAIL(STATUS_INVALID,
                    "%s: tensor %s is no part of %s with this config.json; the folder mixes models "
                    "or the config lacks a feature",
                    path, tensor->name, model_arch_name(load->shape->arch));
    }
    const struct parameter *row = *found;
    TRY(check_tensor(path, tensor, row));
    bool *filled = &load->filled[row - load->table->rows];
    if (*filled)
        return FAIL(STATUS_INVALID, "%s: tensor %s is in another shard too", path, tensor->name);
    *filled = true;
    return safetensor_to_f32(tensor, load->flat + row->offset);
}

static enum status load_file(struct load *load, const char *path)
{
    struct safetensors *file = NULL;
    TRY(safetensors_open(&file, path));
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < safetensors_count(file) && status == STATUS_OK; i++)
        status = load_tensor(load, path, safetensors_at(file, i));
    safetensors_close(&file);
    return status;
}

/* Each shard once, in the order in which the index names them. */
static enum status load_shards(struct load *load, const char *folder, const char *index_path,
                               json_t *index, json_t *seen)
{
    const char *name;
    json_t *value, *map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        return FAIL(STATUS_CORRUPT, "%s: no object \"weight_map\"", index_path);
    json_object_foreach(map, name, value)
    {
        const char *shard = json_string_value(value);
        if (shard == NULL || strchr(shard, '/') != NULL)
            return FAIL(STATUS_CORRUPT, "%s: tensor %s: wanted the name of a file in this folder",
                        index_path, name);
        if (json_object_get(seen, shard) != NULL)
            continue;
        if (json_object_set_new(seen, shard, json_true()) != 0)
            return FAIL(STATUS_NO_MEMORY, "%s", index_path);
        char path[FILE_PATH_MAX];
        TRY(file_path(path, "%s/%s", folder, shard));
        TRY(load_file(load, path));
    }
    return STATUS_OK;
}

static enum status load_index(struct load *load, const char *folder, const char *index_path)
{
    struct buffer text;
    buffer_init(&text, 256u << 20);
    json_t *index = NULL, *seen = json_object();
    enum status status = file_read(index_path, &text);
    if (status == STATUS_OK) {
        json_error_t error;
        index = json_loadb((const char *)text.bytes, text.size, JSON_REJECT_DUPLICATES, &error);
        status = index ? load_shards(load, folder, index_path, index, seen)
                       : FAIL(STATUS_CORRUPT, "%s:%d: %s", index_path, error.line, error.text);
    }
    json_decref(seen);
    json_decref(index);
    buffer_free(&text);
    return status;
}

static enum status check_filled(const struct load *load, const char *folder)
{
    const struct parameter *first = NULL;
    int64_t missing = 0;
    for (int64_t i = 0; i < load->table->count; i++)
        if (!load->filled[i]) {
            first = first ? first : &load->table->rows[i];
            missing++;
        }
    if (first == NULL)
        return STATUS_OK;
    return FAIL(STATUS_INVALID,
                "%s: tensor %s is missing (%" PRId64 " of %" PRId64
                " are); copy the folder again or correct config.json",
                folder, first->name, missing, load->table->count);
}

static enum status load_all(struct load *load, const char *folder)
{
    char path[FILE_PATH_MAX], index_path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/model.safetensors", folder));
    TRY(file_path(index_path, "%s/model.safetensors.index.json", folder));
    if (file_exists(path))
        TRY(load_file(load, path));
    else if (file_exists(index_path))
        TRY(load_index(load, folder, index_path));
    else
        return FAIL(STATUS_NOT_FOUND,
                    "%s: neither model.safetensors nor model.safetensors.index.json is there",
                    folder);
    return check_filled(load, folder);
}

enum status model_folder_load(const char *folder, const struct model_shape *shape,
                              const struct parameter_table *table, float *flat)
{
    struct load load = {.shape = shape, .table = table, .flat = flat};
    size_t count = (size_t)table->count;
    load.by_name = memory_array(count, sizeof *load.by_name);
    load.filled = memory_array(count, sizeof *load.filled);
    enum status status = STATUS_OK;
    if (load.by_name == NULL || load.filled == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "%s: table of %zu tensors", folder, count);
    } else {
        for (size_t i = 0; i < count; i++)
            load.by_name[i] = &table->rows[i];
        qsort(load.by_name, count, sizeof *load.by_name, compare_name);
        memset(flat, 0, (size_t)table->elements * sizeof *flat);
        status = load_all(&load, folder);
    }
    memory_free((void *)load.by_name);
    memory_free(load.filled);
    return status;
}

/* ---- saving ---- */

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
