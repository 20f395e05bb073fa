/* model/folder_read.c - weights of an open folder into the flat layout, several pieces at a time.
 *
 * A piece is a span of the flat layout, whichever rows it covers; every piece is read by one thread straight into
 * its place. Devices get their weights through one staging buffer, so the host never holds a copy of all. */
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/folder_internal.h"
#include "model/internal.h"

enum {
    PIECE_ELEMENTS = 1 << 20, /* 4 MB of f32 */
    STAGING_ELEMENTS = 8 << 20,
    THREADS_MAX = 8, /* reads of the page cache are bound by memory, which few cores fill */
    HUGE_PAGE = 2 << 20
};

struct read_job {
    const struct model_folder *folder;
    int64_t first, count;
    char *out;
    size_t each;        /* 4: f32; 2: the bits of rows that are bf16 in their files */
    _Atomic int failed; /* enum status of the first failure */
    char error[STATUS_TEXT_MAX];
};

/* Last row that begins at or before `element`; 0 when there is none. */
static int64_t row_at(const struct parameter_table *table, int64_t element)
{
    int64_t low = 0, high = table->count;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (table->rows[middle].offset <= element)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Elements [first, end) of the flat layout; what belongs to no row is 0. */
static enum status read_span(const struct model_folder *folder, int64_t first, int64_t end,
                             char *out, size_t each)
{
    const struct parameter_table *table = folder->table;
    int64_t at = first;
    for (int64_t i = row_at(table, first); i < table->count && at < end; i++) {
        const struct parameter *row = &table->rows[i];
        const struct folder_source *source = &folder->sources[i];
        int64_t from = row->offset > at ? row->offset : at;
        int64_t to = row->offset + row->count < end ? row->offset + row->count : end;
        if (from >= to)
            continue;
        memset(out + (size_t)(at - first) * each, 0, (size_t)(from - at) * each);
        char *to_place = out + (size_t)(from - first) * each;
        int64_t begin = source->first + (from - row->offset);
        if (each == sizeof(float))
            TRY(safetensors_read_f32(source->file, source->tensor, begin, to - from,
                                     (float *)(void *)to_place));
        else
            TRY(safetensors_read_bytes(source->file, source->tensor, (size_t)begin * each,
                                       (size_t)(to - from) * each, to_place));
        at = to;
    }
    memset(out + (size_t)(at - first) * each, 0, (size_t)(end - at) * each);
    return STATUS_OK;
}

static void read_piece(void *argument, int64_t task, int32_t worker)
{
    struct read_job *job = argument;
    (void)worker;
    if (atomic_load(&job->failed) != STATUS_OK)
        return;
    int64_t at = task * PIECE_ELEMENTS, left = job->count - at;
    int64_t now = left < PIECE_ELEMENTS ? left : PIECE_ELEMENTS, first = job->first + at;
    enum status status =
        read_span(job->folder, first, first + now, job->out + (size_t)at * job->each, job->each);
    int none = STATUS_OK;
    if (status != STATUS_OK && atomic_compare_exchange_strong(&job->failed, &none, (int)status))
        (void)snprintf(job->error, sizeof job->error, "%s", status_last_error());
}

static int32_t threads_of_process(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : (int32_t)count;
}

/* Fresh memory is filled with an eighth of the work when it comes in large pages; elsewhere this changes nothing. */
static void want_huge_pages(const void *out, size_t bytes)
{
    uintptr_t begin = ((uintptr_t)out + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uintptr_t end = ((uintptr_t)out + bytes) / HUGE_PAGE * HUGE_PAGE;
    if (end > begin)
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

static enum status read_pieces(struct model_folder *folder, int64_t first, int64_t count, void *out,
                               size_t each)
{
    CHECK(first >= 0 && count >= 0 && count <= folder->table->elements - first);
    if (count <= PIECE_ELEMENTS)
        return read_span(folder, first, first + count, out, each);
    if (folder->pool == NULL)
        TRY(pool_create(&folder->pool, threads_of_process()));
    struct read_job *job = memory_alloc(sizeof *job);
    if (job == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s", folder->path);
    *job = (struct read_job){
        .folder = folder, .first = first, .count = count, .out = out, .each = each};
    want_huge_pages(out, (size_t)count * each);
    pool_run(folder->pool, read_piece, job, (count + PIECE_ELEMENTS - 1) / PIECE_ELEMENTS);
    enum status status = (enum status)atomic_load(&job->failed);
    if (status != STATUS_OK)
        status = FAIL(status, "%s", status_sentence(job->error));
    memory_free(job);
    return status;
}

enum status model_folder_read(struct model_folder *folder, int64_t first, int64_t count, float *out)
{
    return read_pieces(folder, first, count, out, sizeof *out);
}

enum status model_folder_load(const char *folder, const struct model_shape *shape,
                              const struct parameter_table *table, float *flat)
{
    struct model_folder *opened = NULL;
    TRY(model_folder_open(&opened, folder, shape, table));
    enum status status = model_folder_read(opened, 0, table->elements, flat);
    model_folder_close(&opened);
    return status;
}

/* ---- devices ---- */

static bool is_host(const struct op_table *ops)
{
    return ops->side_digest_begin == NULL;
}

struct staging {
    const struct op_table *ops;
    float *host;  /* [STAGING_ELEMENTS] */
    void *device; /* likewise; NULL: not wanted */
};

static enum status staging_create(struct staging *staging, const struct op_table *ops, bool device)
{
    size_t bytes = (size_t)STAGING_ELEMENTS * sizeof(float);
    *staging = (struct staging){.ops = ops, .host = memory_alloc(bytes)};
    if (staging->host == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes to read weights through", bytes);
    return device ? ops->memory_create(ops->context, bytes, &staging->device) : STATUS_OK;
}

static void staging_destroy(struct staging *staging)
{
    if (staging->device != NULL)
        staging->ops->memory_destroy(staging->ops->context, &staging->device);
    memory_free(staging->host);
}

static int64_t staged(int64_t left)
{
    return left < STAGING_ELEMENTS ? left : STAGING_ELEMENTS;
}

static enum status read_to_device(struct model_folder *folder, const struct op_table *ops,
                                  float *device)
{
    struct staging staging;
    int64_t elements = folder->table->elements;
    enum status status = staging_create(&staging, ops, false);
    for (int64_t at = 0; at < elements && status == STATUS_OK; at += STAGING_ELEMENTS) {
        int64_t now = staged(elements - at);
        status = model_folder_read(folder, at, now, staging.host);
        if (status == STATUS_OK)
            status = ops->memory_write(ops->context, device + at, staging.host,
                                       (size_t)now * sizeof *device);
    }
    staging_destroy(&staging);
    return status;
}

enum status model_folder_load_device(const char *folder, const struct model_shape *shape,
                                     const struct parameter_table *table,
                                     const struct op_table *ops, float *device)
{
    struct model_folder *opened = NULL;
    TRY(model_folder_open(&opened, folder, shape, table));
    enum status status = is_host(ops) ? model_folder_read(opened, 0, table->elements, device)
                                      : read_to_device(opened, ops, device);
    model_folder_close(&opened);
    return status;
}

/* Rounds elements [at, at + count), which are in `from` on the device, to where they belong. */
static enum status round_span(struct model *model, struct model_weights *weights, const float *from,
                              int64_t at, int64_t count)
{
    struct model_plane planes[MODEL_PLANES_MAX];
    int plane_count = model_planes(model, planes);
    char *flat = (char *)weights->flat;
    int64_t each = model->ops->weight_bytes;
    RUN(model, split, .count = count, .x = from, .hi = flat + at * each);
    for (int i = 0; i < plane_count; i++) {
        int64_t begin = planes[i].offset > at ? planes[i].offset : at;
        int64_t end = planes[i].offset + planes[i].count;
        end = end < at + count ? end : at + count;
        if (begin < end)
            RUN(model, split, .count = end - begin, .x = from + (begin - at),
                .mid = flat + (planes[i].mid + (begin - planes[i].offset)) * each);
    }
    return STATUS_OK;
}

/* End of the run of rows from `at` on that are all bf16 in their files, or all not; at most STAGING_ELEMENTS long. */
static int64_t run_end(const struct model_folder *folder, int64_t at, bool *bits)
{
    const struct parameter_table *table = folder->table;
    int64_t i = row_at(table, at), most = at + staged(table->elements - at);
    *bits = folder->sources[i].tensor->dtype == ST_BF16;
    for (i++; i < table->count && table->rows[i].offset < most; i++)
        if ((folder->sources[i].tensor->dtype == ST_BF16) != *bits)
            return table->rows[i].offset;
    return most;
}

/* What is bf16 in the file is rounded already: its second plane is 0. */
static enum status read_bits(struct model_folder *folder, struct model *model,
                             struct model_weights *weights, struct staging *staging, int64_t at,
                             int64_t count)
{
    const struct op_table *ops = model->ops;
    struct model_plane planes[MODEL_PLANES_MAX];
    int plane_count = model_planes(model, planes);
    char *flat = (char *)weights->flat;
    const int64_t each = sizeof(uint16_t);
    TRY(read_pieces(folder, at, count, staging->host, (size_t)each));
    TRY(ops->memory_write(ops->context, flat + at * each, staging->host, (size_t)(count * each)));
    for (int i = 0; i < plane_count; i++) {
        int64_t begin = planes[i].offset > at ? planes[i].offset : at;
        int64_t end = planes[i].offset + planes[i].count;
        end = end < at + count ? end : at + count;
        if (begin < end)
            TRY(ops->memory_zero(ops->context,
                                 flat + (planes[i].mid + (begin - planes[i].offset)) * each,
                                 (size_t)((end - begin) * each)));
    }
    return STATUS_OK;
}

static enum status read_floats(struct model_folder *folder, struct model *model,
                               struct model_weights *weights, struct staging *staging, int64_t at,
                               int64_t count)
{
    const struct op_table *ops = model->ops;
    TRY(model_folder_read(folder, at, count, staging->host));
    TRY(ops->memory_write(ops->context, staging->device, staging->host,
                          (size_t)count * sizeof(float)));
    return round_span(model, weights, staging->device, at, count);
}

static enum status read_rounded(struct model_folder *folder, struct model *model,
                                struct model_weights *weights)
{
    struct staging staging;
    bool halves = model->ops->weight_bytes == (int64_t)sizeof(uint16_t);
    enum status status = staging_create(&staging, model->ops, true);
    for (int64_t at = 0, end; at < folder->table->elements && status == STATUS_OK; at = end) {
        bool bits;
        end = run_end(folder, at, &bits);
        status = bits && halves ? read_bits(folder, model, weights, &staging, at, end - at)
                                : read_floats(folder, model, weights, &staging, at, end - at);
    }
    if (status == STATUS_OK)
        status = model->ops->finish(model->ops->context);
    staging_destroy(&staging);
    return status;
}

enum status model_weights_load_folder(struct model *model, struct model_weights *weights,
                                      const char *folder)
{
    struct model_folder *opened = NULL;
    TRY(model_folder_open(&opened, folder, &model->shape, &model->parameters));
    bool direct = is_host(model->ops) && model->ops->weight_bytes == (int64_t)sizeof(float);
    enum status status =
        direct ? model_folder_read(opened, 0, model->parameters.elements, (float *)weights->flat)
               : read_rounded(opened, model, weights);
    model_folder_close(&opened);
    return status == STATUS_OK ? model_weights_repack(model, weights) : status;
}
