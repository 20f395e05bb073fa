/* model/folder_open.c - opens a model folder: which file has which row of the parameter table, and everything
 * that does not fit. Only headers are read.
 *
 * Tensors that transformers 5 keeps fused in memory (experts of a layer in one tensor, [E, 2F, C] and [E, C, F])
 * lie exactly as a block of our layout does, so each row of the block becomes a part of the tensor. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "model/arch.h"
#include "model/folder_internal.h"

struct opening {
    struct model_folder *folder;
    const struct parameter **by_name; /* [table->count] */
    json_t *index;                    /* weight_map; NULL: one file */
    json_t *seen;                     /* shards that were opened */
    struct folder_findings findings;
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

static const struct parameter *find_row(const struct opening *opening, const char *name)
{
    const struct parameter *const *found =
        bsearch(name, opening->by_name, (size_t)opening->folder->table->count,
                sizeof *opening->by_name, compare_key);
    return found != NULL ? *found : NULL;
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), tail = strlen(end);
    return size >= tail && strcmp(name + size - tail, end) == 0;
}

/* Tensors that other programs save although they follow from config.json (or from another tensor). */
static bool is_buffer(const struct model_shape *shape, const char *name)
{
    const char *const *ends = arch_of(shape->arch)->buffers;
    for (; ends != NULL && *ends != NULL; ends++)
        if (ends_with(name, *ends))
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

static const char *base_name(const struct safetensors *file)
{
    const char *path = safetensors_path(file), *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Shape and dtype; what is off becomes a finding. The name of the file is its whole path: findings also stand alone. */
static bool fits(struct opening *opening, const struct safetensors *file,
                 const struct safetensor *tensor, int32_t dims, const int64_t *shape)
{
    if (tensor->dtype != ST_F32 && tensor->dtype != ST_BF16 && tensor->dtype != ST_F16 &&
        tensor->dtype != ST_F64) {
        folder_finding(&opening->findings, STATUS_INVALID,
                       "%s: tensor %s is %s; weights must be floating point: F32, BF16, F16 or F64",
                       safetensors_path(file), tensor->name, safetensors_dtype_name(tensor->dtype));
        return false;
    }
    if (tensor->dims == dims && memcmp(tensor->shape, shape, (size_t)dims * sizeof *shape) == 0)
        return true;
    char found[160], wanted[160];
    shape_text(found, sizeof found, tensor->dims, tensor->shape);
    shape_text(wanted, sizeof wanted, dims, shape);
    folder_finding(&opening->findings, STATUS_INVALID,
                   "%s: tensor %s is %s, config.json asks for %s", safetensors_path(file),
                   tensor->name, found, wanted);
    return false;
}

static void fill(struct opening *opening, const struct parameter *row,
                 const struct safetensors *file, const struct safetensor *tensor, int64_t first)
{
    struct folder_source *source = &opening->folder->sources[row - opening->folder->table->rows];
    if (source->file != NULL) {
        folder_finding(&opening->findings, STATUS_INVALID, "%s: tensor %s is in %s too",
                       safetensors_path(file), row->name,
                       source->file == file ? "a fused tensor of this file"
                                            : base_name(source->file));
        return;
    }
    *source = (struct folder_source){file, tensor, first};
}

/* All rows of the table that lie in [start, start + count) of the flat layout. */
static void fill_block(struct opening *opening, const struct safetensors *file,
                       const struct safetensor *tensor, int64_t start)
{
    const struct parameter_table *table = opening->folder->table;
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        if (row->offset >= start && row->offset < start + tensor->count)
            fill(opening, row, file, tensor, row->offset - start);
    }
}

/* true: it was a fused tensor, whether it fits or not. */
static bool take_fused(struct opening *opening, const struct safetensors *file,
                       const struct safetensor *tensor)
{
    static const char *const prefix = "model.layers.";
    const struct model_shape *shape = opening->folder->shape;
    if (shape->experts == 0 || strncmp(tensor->name, prefix, strlen(prefix)) != 0)
        return false;
    char *end = NULL;
    long layer = strtol(tensor->name + strlen(prefix), &end, 10);
    if (layer < 0 || layer >= shape->layers || end == tensor->name + strlen(prefix))
        return false;
    const struct layer_offsets *offsets = &opening->folder->table->layers[layer];
    bool up = strcmp(end, ".mlp.experts.gate_up_proj") == 0;
    if (!up && strcmp(end, ".mlp.experts.down_proj") != 0)
        return false;
    const int64_t wanted[3] = {shape->experts, up ? 2 * shape->intermediate : shape->hidden,
                               up ? shape->hidden : shape->intermediate};
    if (fits(opening, file, tensor, 3, wanted))
        fill_block(opening, file, tensor, up ? offsets->gate_up : offsets->down);
    return true;
}

/* The router under the name that transformers 5 has in memory. */
static const struct parameter *find_router(const struct opening *opening, const char *name)
{
    static const char *const tail = ".mlp.gate.weight";
    if (opening->folder->shape->experts == 0 || !ends_with(name, tail))
        return NULL;
    char other[PARAMETER_NAME_MAX];
    int size = snprintf(other, sizeof other, "%.*s.%s.weight", (int)(strlen(name) - strlen(tail)),
                        name, arch_of(opening->folder->shape->arch)->names->router);
    return size > 0 && (size_t)size < sizeof other ? find_row(opening, other) : NULL;
}

static void check_index(struct opening *opening, const struct safetensors *file,
                        const struct safetensor *tensor)
{
    if (opening->index == NULL)
        return;
    const char *said = json_string_value(json_object_get(opening->index, tensor->name));
    if (said == NULL)
        folder_finding(&opening->findings, STATUS_INVALID,
                       "%s: tensor %s is not in model.safetensors.index.json",
                       safetensors_path(file), tensor->name);
    else if (strcmp(said, base_name(file)) != 0)
        folder_finding(&opening->findings, STATUS_INVALID,
                       "%s: tensor %s is here, model.safetensors.index.json says %s",
                       safetensors_path(file), tensor->name, said);
}

static void take_tensor(struct opening *opening, const struct safetensors *file,
                        const struct safetensor *tensor)
{
    check_index(opening, file, tensor);
    const struct parameter *row = find_row(opening, tensor->name);
    if (row == NULL)
        row = find_router(opening, tensor->name);
    if (row != NULL) {
        if (fits(opening, file, tensor, row->dims, row->shape))
            fill(opening, row, file, tensor, 0);
        else /* said once is enough */
            opening->folder->sources[row - opening->folder->table->rows].file = file;
        return;
    }
    if (take_fused(opening, file, tensor) || is_buffer(opening->folder->shape, tensor->name))
        return;
    folder_finding(&opening->findings, STATUS_INVALID,
                   "%s: tensor %s is no part of %s with this config.json; the folder mixes models "
                   "or the config lacks a feature",
                   safetensors_path(file), tensor->name,
                   model_arch_name(opening->folder->shape->arch));
}

/* A file that is missing or damaged is one finding; the others are looked at all the same. */
static enum status take_file(struct opening *opening, const char *path)
{
    struct model_folder *folder = opening->folder;
    struct safetensors *file = NULL;
    enum status status = safetensors_open(&file, path);
    if (status == STATUS_NO_MEMORY)
        return status;
    if (status != STATUS_OK) {
        folder_finding(&opening->findings, status, "%s", status_sentence(status_last_error()));
        return STATUS_OK;
    }
    size_t item = sizeof(struct safetensors *), count = (size_t)folder->file_count;
    struct safetensors **grown =
        memory_grow((void *)folder->files, count * item, (count + 1) * item);
    if (grown == NULL) {
        safetensors_close(&file);
        return FAIL(STATUS_NO_MEMORY, "%s: list of %zu files", path, count + 1);
    }
    folder->files = grown;
    folder->files[folder->file_count++] = file;
    for (int64_t i = 0; i < safetensors_count(file); i++)
        take_tensor(opening, file, safetensors_at(file, i));
    return STATUS_OK;
}

/* Each shard once, in the order in which the index names them. */
static enum status take_shards(struct opening *opening, const char *index_path)
{
    const char *name;
    json_t *value;
    json_object_foreach(opening->index, name, value)
    {
        const char *shard = json_string_value(value);
        if (shard == NULL || shard[0] == '\0' || strchr(shard, '/') != NULL) {
            folder_finding(&opening->findings, STATUS_CORRUPT,
                           "%s: tensor %s: wanted the name of a file in this folder", index_path,
                           name);
            continue;
        }
        if (json_object_get(opening->seen, shard) != NULL)
            continue;
        if (json_object_set_new(opening->seen, shard, json_true()) != 0)
            return FAIL(STATUS_NO_MEMORY, "%s", index_path);
        char path[FILE_PATH_MAX];
        TRY(file_path(path, "%s/%s", opening->folder->path, shard));
        TRY(take_file(opening, path));
    }
    return STATUS_OK;
}

static enum status take_index(struct opening *opening, const char *index_path)
{
    struct buffer text;
    buffer_init(&text, 256u << 20);
    json_t *root = NULL;
    enum status status = file_read(index_path, &text);
    if (status == STATUS_OK) {
        json_error_t error;
        root = json_loadb((const char *)text.bytes, text.size, JSON_REJECT_DUPLICATES, &error);
        opening->index = json_object_get(root, "weight_map");
        if (root == NULL)
            status = FAIL(STATUS_CORRUPT, "%s:%d: %s", index_path, error.line, error.text);
        else if (!json_is_object(opening->index))
            status = FAIL(STATUS_CORRUPT, "%s: no object \"weight_map\"", index_path);
        else
            status = take_shards(opening, index_path);
    }
    opening->index = NULL;
    json_decref(root);
    buffer_free(&text);
    return status;
}

static void find_missing(struct opening *opening)
{
    const struct model_folder *folder = opening->folder;
    int64_t missing = 0;
    for (int64_t i = 0; i < folder->table->count; i++)
        missing += folder->sources[i].file == NULL;
    for (int64_t i = 0; i < folder->table->count; i++) {
        if (folder->sources[i].file != NULL)
            continue;
        char wanted[160];
        const struct parameter *row = &folder->table->rows[i];
        shape_text(wanted, sizeof wanted, row->dims, row->shape);
        folder_finding(&opening->findings, STATUS_INVALID,
                       "%s: tensor %s is missing (%" PRId64 " of %" PRId64
                       " are), config.json asks for %s",
                       folder->path, row->name, missing, folder->table->count, wanted);
    }
}

static enum status take_all(struct opening *opening)
{
    const char *folder = opening->folder->path;
    char path[FILE_PATH_MAX], index_path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/model.safetensors", folder));
    TRY(file_path(index_path, "%s/model.safetensors.index.json", folder));
    if (file_exists(path))
        TRY(take_file(opening, path));
    else if (file_exists(index_path))
        TRY(take_index(opening, index_path));
    else
        return FAIL(STATUS_NOT_FOUND,
                    "%s: neither model.safetensors nor model.safetensors.index.json is there",
                    folder);
    find_missing(opening);
    return STATUS_OK;
}

static enum status check_folder(struct opening *opening)
{
    const struct parameter_table *table = opening->folder->table;
    size_t count = (size_t)table->count;
    opening->by_name = memory_array(count, sizeof *opening->by_name);
    opening->seen = json_object();
    opening->folder->sources = memory_array(count, sizeof *opening->folder->sources);
    if (opening->by_name == NULL || opening->seen == NULL || opening->folder->sources == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: table of %zu tensors", opening->folder->path, count);
    for (size_t i = 0; i < count; i++)
        opening->by_name[i] = &table->rows[i];
    qsort(opening->by_name, count, sizeof *opening->by_name, compare_name);
    return take_all(opening);
}

enum status model_folder_open(struct model_folder **folder, const char *path,
                              const struct model_shape *shape, const struct parameter_table *table)
{
    struct model_folder *result = memory_alloc(sizeof *result);
    if (result == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s", path);
    result->shape = shape;
    result->table = table;
    struct opening opening = {.folder = result};
    enum status status = file_path(result->path, "%s", path);
    if (status == STATUS_OK)
        status = check_folder(&opening);
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    enum status found = folder_findings_end(&opening.findings, path, model_arch_name(shape->arch));
    if (status != STATUS_OK)
        status_restore(kept);
    else
        status = found;
    memory_free((void *)opening.by_name);
    json_decref(opening.seen);
    if (status != STATUS_OK) {
        model_folder_close(&result);
        return status;
    }
    *folder = result;
    return STATUS_OK;
}

void model_folder_close(struct model_folder **folder)
{
    struct model_folder *old = *folder;
    if (old == NULL)
        return;
    *folder = NULL;
    for (int64_t i = 0; i < old->file_count; i++)
        safetensors_close(&old->files[i]);
    pool_destroy(&old->pool);
    memory_free((void *)old->files);
    memory_free(old->sources);
    memory_free(old);
}
