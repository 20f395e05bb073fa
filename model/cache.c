/* model/cache.c - what a model remembers of its sequences: pages of keys and values for the softmax
 * layers, states and the current chunk's keys and values for the lightning layers.
 *
 * A page is op_table.kv_tile tokens of one sequence in all softmax layers: one index, one place in the
 * memory of each layer. Full pages may belong to several slots (fork); a page that is shared is never
 * written again, which cache_begin makes sure of. Lightning states have one place for each slot. */
#include "model/model.h"

#include <string.h>

#include "core/memory.h"
#include "model/internal.h"

enum { CLOSED = -1 };

static bool has_kind(const struct model_shape *shape, enum layer_kind kind)
{
    for (int32_t l = 0; l < shape->layers; l++)
        if (shape->layer_kind[l] == kind)
            return true;
    return false;
}

static int32_t pages_for(const struct model *model, int64_t positions)
{
    if (!has_kind(&model->shape, LAYER_SOFTMAX))
        return 0;
    int64_t tile = model->ops->kv_tile;
    return (int32_t)((positions + tile - 1) / tile);
}

static size_t page_bytes(const struct model *model)
{
    return model->ops->kv_page_bytes(model->ops->context, model->shape.kv_heads,
                                     model->shape.head_size);
}

static size_t state_bytes(const struct model_shape *shape, const struct op_table *ops)
{
    return ops->lightning_state_bytes(ops->context, shape->heads, shape->head_size);
}

static size_t buffer_bytes(const struct model_shape *shape, const struct op_table *ops,
                           int32_t chunk)
{
    return (size_t)shape->heads * (size_t)shape->head_size * (size_t)chunk * (size_t)ops->act_bytes;
}

static size_t chunk_bytes(const struct model *model)
{
    return buffer_bytes(&model->shape, model->ops, model->options.lightning_chunk);
}

int64_t model_cache_bytes(const struct model_shape *shape, const struct op_table *ops,
                          int32_t chunk, int32_t slots, int32_t pages)
{
    size_t page = ops->kv_page_bytes(ops->context, shape->kv_heads, shape->head_size);
    size_t slot = state_bytes(shape, ops) + 2 * buffer_bytes(shape, ops, chunk), bytes = 0;
    for (int32_t l = 0; l < shape->layers; l++)
        bytes += is_lightning(shape, l) ? (size_t)slots * slot : (size_t)pages * page;
    return (int64_t)bytes;
}

/* ---- create and destroy ---- */

static enum status create_device(struct model_cache *cache)
{
    const struct model *model = cache->model;
    const struct op_table *ops = model->ops;
    size_t slots = (size_t)cache->slots;
    for (int32_t l = 0; l < model->shape.layers; l++) {
        if (!is_lightning(&model->shape, l)) {
            TRY(ops->memory_create(
                ops->context, (size_t)(cache->pages > 0 ? cache->pages : 1) * page_bytes(model),
                &cache->layer_pages[l]));
            continue;
        }
        TRY(ops->memory_create(ops->context, slots * state_bytes(&model->shape, ops),
                               &cache->layer_state[l]));
        TRY(ops->memory_create(ops->context, slots * chunk_bytes(model), &cache->layer_keys[l]));
        TRY(ops->memory_create(ops->context, slots * chunk_bytes(model), &cache->layer_values[l]));
    }
    void *table = NULL;
    size_t entries = slots * (size_t)cache->pages_per_slot;
    TRY(ops->memory_create(ops->context, entries * sizeof(int32_t), &table));
    cache->table_device = table;
    return STATUS_OK;
}

static enum status create_host(struct model_cache *cache)
{
    const struct model *model = cache->model;
    size_t slots = (size_t)cache->slots, pages = (size_t)cache->pages;
    size_t layers = (size_t)model->shape.layers;
    cache->table = memory_array(slots * (size_t)cache->pages_per_slot, sizeof(int32_t));
    cache->references = memory_array(pages + 1, sizeof(int32_t));
    cache->free_pages = memory_array(pages + 1, sizeof(int32_t));
    cache->length = memory_array(slots, sizeof(int32_t));
    cache->capacity = memory_array(slots, sizeof(int32_t));
    cache->layer_pages = memory_array(layers, sizeof(*cache->layer_pages));
    cache->layer_state = memory_array(layers, sizeof(*cache->layer_state));
    cache->layer_keys = memory_array(layers, sizeof(*cache->layer_keys));
    cache->layer_values = memory_array(layers, sizeof(*cache->layer_values));
    cache->named = memory_alloc(slots);
    if (!cache->table || !cache->references || !cache->free_pages || !cache->length ||
        !cache->capacity || !cache->layer_pages || !cache->layer_state || !cache->layer_keys ||
        !cache->layer_values || !cache->named)
        return FAIL(STATUS_NO_MEMORY, "a cache of %d slots and %d pages", cache->slots,
                    cache->pages);
    for (int32_t p = cache->pages - 1; p >= 0; p--)
        cache->free_pages[cache->free_count++] = p;
    for (int32_t s = 0; s < cache->slots; s++)
        cache->length[s] = CLOSED;
    return STATUS_OK;
}

enum status model_cache_create(struct model *model, int32_t slots, int32_t pages,
                               int32_t positions_max, struct model_cache **cache)
{
    if (slots < 1 || pages < 0 || positions_max < 1)
        return FAIL(STATUS_INVALID, "a cache of %d slots, %d pages, %d positions", slots, pages,
                    positions_max);
    struct model_cache *made = memory_alloc(sizeof(*made));
    if (!made)
        return FAIL(STATUS_NO_MEMORY, "a cache");
    *made = (struct model_cache){
        .model = model, .slots = slots, .pages = pages, .positions_max = positions_max};
    made->pages_per_slot = pages_for(model, positions_max);
    if (made->pages_per_slot == 0)
        made->pages_per_slot = 1;
    made->table_changed = true;
    enum status status = create_host(made);
    if (status == STATUS_OK)
        status = create_device(made);
    if (status != STATUS_OK) {
        model_cache_destroy(&made);
        return status;
    }
    *cache = made;
    return STATUS_OK;
}

static void destroy_each(const struct model *model, void **memories)
{
    for (int32_t l = 0; memories && l < model->shape.layers; l++)
        if (memories[l])
            model->ops->memory_destroy(model->ops->context, &memories[l]);
}

void model_cache_destroy(struct model_cache **cache)
{
    struct model_cache *gone = *cache;
    if (!gone)
        return;
    struct model *model = gone->model;
    decode_graphs_destroy(model);
    destroy_each(model, gone->layer_pages);
    destroy_each(model, gone->layer_state);
    destroy_each(model, gone->layer_keys);
    destroy_each(model, gone->layer_values);
    void *table = gone->table_device;
    if (table)
        model->ops->memory_destroy(model->ops->context, &table);
    memory_free(gone->table);
    memory_free(gone->references);
    memory_free(gone->free_pages);
    memory_free(gone->length);
    memory_free(gone->capacity);
    memory_free(gone->layer_pages);
    memory_free(gone->layer_state);
    memory_free(gone->layer_keys);
    memory_free(gone->layer_values);
    memory_free(gone->named);
    memory_free(gone);
    *cache = NULL;
}

/* ---- pages ---- */

int32_t model_cache_pages_free(const struct model_cache *cache)
{
    return cache->free_count;
}

int32_t model_cache_pages_needed(const struct model_cache *cache, int32_t positions)
{
    return pages_for(cache->model, positions);
}

static int32_t *pages_of(const struct model_cache *cache, int32_t slot)
{
    return cache->table + (int64_t)slot * cache->pages_per_slot;
}

static enum status check_slot(const struct model_cache *cache, int32_t slot)
{
    if (slot < 0 || slot >= cache->slots)
        return FAIL(STATUS_INVALID, "cache slot %d: there are %d", slot, cache->slots);
    return STATUS_OK;
}

/* Gives entries [first, last) of the slot's page table a page of its own. */
static enum status take_pages(struct model_cache *cache, int32_t slot, int32_t first, int32_t last)
{
    if (last - first > cache->free_count)
        return FAIL(STATUS_LIMIT, "cache slot %d: %d pages wanted, %d free", slot, last - first,
                    cache->free_count);
    for (int32_t i = first; i < last; i++) {
        int32_t page = cache->free_pages[--cache->free_count];
        cache->references[page] = 1;
        pages_of(cache, slot)[i] = page;
    }
    cache->table_changed = true;
    return STATUS_OK;
}

static void release_pages(struct model_cache *cache, int32_t slot, int32_t first, int32_t last)
{
    for (int32_t i = first; i < last; i++) {
        int32_t page = pages_of(cache, slot)[i];
        if (--cache->references[page] == 0)
            cache->free_pages[cache->free_count++] = page;
    }
}

enum status model_cache_open(struct model_cache *cache, int32_t slot, int32_t positions)
{
    TRY(check_slot(cache, slot));
    if (positions < 1 || positions > cache->positions_max)
        return FAIL(STATUS_INVALID, "cache slot %d: room for %d positions, 1 to %d possible", slot,
                    positions, cache->positions_max);
    model_cache_close(cache, slot);
    TRY(take_pages(cache, slot, 0, pages_for(cache->model, positions)));
    cache->length[slot] = 0;
    cache->capacity[slot] = positions;
    return STATUS_OK;
}

void model_cache_close(struct model_cache *cache, int32_t slot)
{
    if (slot < 0 || slot >= cache->slots || cache->length[slot] == CLOSED)
        return;
    release_pages(cache, slot, 0, pages_for(cache->model, cache->capacity[slot]));
    cache->length[slot] = CLOSED;
    cache->capacity[slot] = 0;
}

/* ---- fork ---- */

static enum status copy_piece(struct model_cache *cache, void *memory, size_t bytes, int64_t source,
                              int64_t target)
{
    char *base = memory;
    const struct op_table *ops = cache->model->ops;
    return ops->memory_copy(ops->context, base + (size_t)target * bytes,
                            base + (size_t)source * bytes, bytes);
}

static enum status copy_states(struct model_cache *cache, int32_t source, int32_t target)
{
    const struct model *model = cache->model;
    for (int32_t l = 0; l < model->shape.layers; l++) {
        if (!is_lightning(&model->shape, l))
            continue;
        size_t chunk = chunk_bytes(model);
        TRY(copy_piece(cache, cache->layer_state[l], state_bytes(&model->shape, model->ops), source,
                       target));
        TRY(copy_piece(cache, cache->layer_keys[l], chunk, source, target));
        TRY(copy_piece(cache, cache->layer_values[l], chunk, source, target));
    }
    return STATUS_OK;
}

static enum status copy_page(struct model_cache *cache, int32_t source, int32_t target)
{
    const struct model *model = cache->model;
    for (int32_t l = 0; l < model->shape.layers; l++)
        if (!is_lightning(&model->shape, l))
            TRY(copy_piece(cache, cache->layer_pages[l], page_bytes(model), source, target));
    return STATUS_OK;
}

static enum status check_fork(const struct model_cache *cache, int32_t source, int32_t target,
                              int32_t positions)
{
    TRY(check_slot(cache, source));
    TRY(check_slot(cache, target));
    if (source == target)
        return FAIL(STATUS_INVALID, "cache slot %d forked to itself", source);
    if (positions < 1 || positions != cache->length[source])
        return FAIL(STATUS_INVALID, "fork of cache slot %d at %d tokens: it holds %d", source,
                    positions, cache->length[source]);
    if (cache->length[target] != CLOSED && cache->capacity[target] < positions)
        return FAIL(STATUS_INVALID, "fork to cache slot %d: it has room for %d of %d tokens",
                    target, cache->capacity[target], positions);
    return STATUS_OK;
}

enum status model_cache_fork(struct model_cache *cache, int32_t source, int32_t target,
                             int32_t positions)
{
    TRY(check_fork(cache, source, target, positions));
    bool open = cache->length[target] != CLOSED;
    int32_t room = open ? cache->capacity[target] : cache->capacity[source];
    int32_t last = pages_for(cache->model, room);
    int32_t full = positions / (int32_t)cache->model->ops->kv_tile;
    bool partial = last > 0 && positions % cache->model->ops->kv_tile != 0;
    full = last > 0 ? full : 0;
    if (open)
        release_pages(cache, target, 0, full);
    else
        TRY(take_pages(cache, target, full, last));
    for (int32_t i = 0; i < full; i++) {
        int32_t page = pages_of(cache, source)[i];
        cache->references[page]++;
        pages_of(cache, target)[i] = page;
    }
    cache->table_changed = true;
    cache->length[target] = positions;
    cache->capacity[target] = room;
    enum status status = copy_states(cache, source, target);
    if (status == STATUS_OK && partial)
        status = copy_page(cache, pages_of(cache, source)[full], pages_of(cache, target)[full]);
    if (status != STATUS_OK)
        model_cache_close(cache, target);
    return status;
}

/* ---- a forward call ---- */

static enum status check_segment(const struct model_cache *cache, const struct op_segment *segment)
{
    int32_t slot = segment->slot;
    TRY(check_slot(cache, slot));
    if (cache->length[slot] == CLOSED)
        return FAIL(STATUS_INVALID, "cache slot %d is not open", slot);
    if (segment->position != 0 && segment->position != cache->length[slot])
        return FAIL(STATUS_INVALID, "cache slot %d holds %d tokens, the segment starts at %d", slot,
                    cache->length[slot], segment->position);
    if (segment->count > cache->capacity[slot] - segment->position)
        return FAIL(STATUS_LIMIT, "cache slot %d has room for %d tokens, %d + %d wanted", slot,
                    cache->capacity[slot], segment->position, segment->count);
    int32_t first = segment->position / (int32_t)cache->model->ops->kv_tile;
    int32_t last = pages_for(cache->model, (int64_t)segment->position + segment->count);
    for (int32_t i = first; i < last; i++)
        if (cache->references[pages_of(cache, slot)[i]] > 1)
            return FAIL(STATUS_INVALID, "cache slot %d would write into a page of another slot",
                        slot);
    return STATUS_OK;
}

enum status cache_begin(struct model_cache *cache, const struct model_batch *batch)
{
    int32_t row = 0;
    int64_t positions = 0;
    memset(cache->named, 0, (size_t)cache->slots);
    for (int32_t i = 0; i < batch->segment_count; i++) {
        const struct op_segment *segment = &batch->segments[i];
        if (segment->row != row || segment->count < 1 || segment->count > batch->rows - row)
            return FAIL(STATUS_INVALID,
                        "segment %d has rows %d + %d of %d, expected to start at %d", i,
                        segment->row, segment->count, batch->rows, row);
        if (segment->position < 0)
            return FAIL(STATUS_INVALID, "segment %d starts at position %d", i, segment->position);
        TRY(check_segment(cache, segment));
        if (cache->named[segment->slot]++)
            return FAIL(STATUS_INVALID, "two segments of one call use cache slot %d",
                        segment->slot);
        row += segment->count;
        int64_t end = (int64_t)segment->position + segment->count;
        positions = end > positions ? end : positions;
    }
    if (row != batch->rows)
        return FAIL(STATUS_INVALID, "segments cover %d of %d rows", row, batch->rows);
    TRY(model_rope_grow(cache->model, positions, cache->positions_max));
    if (cache->table_changed) {
        size_t entries = (size_t)cache->slots * (size_t)cache->pages_per_slot;
        TRY(device_write(cache->model, cache->table_device, cache->table,
                         entries * sizeof(int32_t)));
        cache->table_changed = false;
    }
    return STATUS_OK;
}

void cache_end(struct model_cache *cache, const struct model_batch *batch)
{
    for (int32_t i = 0; i < batch->segment_count; i++)
        cache->length[batch->segments[i].slot] =
            batch->segments[i].position + batch->segments[i].count;
}
