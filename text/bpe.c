/* text/bpe.c - hash tables with open addressing for tokens and merges; a heap of candidate joins. */
#include "text/bpe.h"

#include <inttypes.h>
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"

struct bpe_merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank, merged;
    bool used;
};
struct bpe_symbol { /* linked list over the piece; dead once joined to its left neighbour */
    uint32_t id;
    int32_t previous, next;
    bool dead;
};
struct bpe_join { /* symbol at `place` and the one after it */
    uint32_t rank, place, merged;
};

/* ---- id list ---- */

enum status id_list_push(struct id_list *list, uint32_t id)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        uint32_t *ids =
            memory_grow(list->ids, list->capacity * sizeof *ids, capacity * sizeof *ids);
        if (ids == NULL)
            return FAIL(STATUS_NO_MEMORY, "list of %zu token ids", capacity);
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return STATUS_OK;
}

void id_list_free(struct id_list *list)
{
    memory_free(list->ids);
    memset(list, 0, sizeof *list);
}

/* ---- tables ---- */

static size_t power_above(size_t count)
{
    size_t size = 16;
    while (size < 2 * count)
        size *= 2;
    return size;
}

enum status bpe_create(struct bpe *bpe, uint32_t vocabulary, size_t merges)
{
    memset(bpe, 0, sizeof *bpe);
    buffer_init(&bpe->bytes, UINT32_MAX);
    bpe->unknown = -1;
    bpe->vocabulary = vocabulary;
    bpe->table_size = power_above(vocabulary);
    bpe->merges_size = power_above(merges);
    bpe->tokens = memory_array((size_t)vocabulary + 1, sizeof *bpe->tokens);
    bpe->by_text = memory_array(bpe->table_size, sizeof *bpe->by_text);
    bpe->merges = memory_array(bpe->merges_size, sizeof *bpe->merges);
    if (bpe->tokens == NULL || bpe->by_text == NULL || bpe->merges == NULL) {
        bpe_destroy(bpe);
        return FAIL(STATUS_NO_MEMORY, "vocabulary of %u tokens, %zu merges", vocabulary, merges);
    }
    return STATUS_OK;
}

void bpe_destroy(struct bpe *bpe)
{
    memory_free(bpe->tokens);
    memory_free(bpe->by_text);
    memory_free(bpe->merges);
    memory_free(bpe->symbols);
    memory_free(bpe->heap);
    buffer_free(&bpe->bytes);
    memset(bpe, 0, sizeof *bpe);
}

/* Slot of the text: that of its token, or the empty one where it would go. */
static size_t find_slot(const struct bpe *bpe, const void *bytes, size_t size)
{
    size_t slot = (size_t)hash64(bytes, size, 0) & (bpe->table_size - 1);
    while (bpe->by_text[slot] != 0) {
        const struct bpe_token *token = &bpe->tokens[bpe->by_text[slot] - 1];
        if (token->size == size && memcmp(bpe->bytes.bytes + token->offset, bytes, size) == 0)
            break;
        slot = (slot + 1) & (bpe->table_size - 1);
    }
    return slot;
}

enum status bpe_add(struct bpe *bpe, uint32_t id, const void *bytes, size_t size, bool findable)
{
    if (id >= bpe->vocabulary || size == 0 || size > UINT16_MAX)
        return FAIL(STATUS_INVALID, "token %u of %zu bytes in a vocabulary of %u", id, size,
                    bpe->vocabulary);
    if (bpe->tokens[id].size != 0)
        return FAIL(STATUS_INVALID, "two tokens have id %u", id);
    size_t offset = bpe->bytes.size;
    TRY(buffer_append(&bpe->bytes, bytes, size));
    bpe->tokens[id].offset = (uint32_t)offset;
    bpe->tokens[id].size = (uint32_t)size;
    if (findable)
        bpe_make_findable(bpe, id);
    return STATUS_OK;
}

void bpe_make_findable(struct bpe *bpe, uint32_t id)
{
    const struct bpe_token *token = &bpe->tokens[id];
    size_t slot = find_slot(bpe, bpe->bytes.bytes + token->offset, token->size);
    if (bpe->by_text[slot] == 0)
        bpe->by_text[slot] = id + 1;
}

int64_t bpe_find(const struct bpe *bpe, const void *bytes, size_t size)
{
    return (int64_t)bpe->by_text[find_slot(bpe, bytes, size)] - 1;
}

static struct bpe_merge *merge_slot(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t slot = (size_t)((pair * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (bpe->merges_size - 1);
    while (bpe->merges[slot].used && bpe->merges[slot].pair != pair)
        slot = (slot + 1) & (bpe->merges_size - 1);
    return &bpe->merges[slot];
}

void bpe_add_merge(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t merged)
{
    struct bpe_merge *merge = merge_slot(bpe, left, right);
    *merge = (struct bpe_merge){(uint64_t)left << 32 | right, rank, merged, true};
}

/* ---- encode ---- */

static enum status reserve(struct bpe *bpe, size_t symbols)
{
    if (symbols <= bpe->symbols_capacity)
        return STATUS_OK;
    size_t capacity = power_above(symbols);
    void *block = memory_grow(bpe->symbols, bpe->symbols_capacity * sizeof *bpe->symbols,
                              capacity * sizeof *bpe->symbols);
    if (block == NULL)
        return FAIL(STATUS_NO_MEMORY, "piece of %zu symbols", symbols);
    bpe->symbols = block;
    bpe->symbols_capacity = capacity;
    /* every join removes a symbol and offers at most two new ones: 3n candidates in all */
    block = memory_grow(bpe->heap, bpe->heap_capacity * sizeof *bpe->heap,
                        3 * capacity * sizeof *bpe->heap);
    if (block == NULL) {
        bpe->symbols_capacity = 0; /* both are tried again */
        memory_free(bpe->symbols);
        bpe->symbols = NULL;
        return FAIL(STATUS_NO_MEMORY, "piece of %zu symbols", symbols);
    }
    bpe->heap = block;
    bpe->heap_capacity = 3 * capacity;
    return STATUS_OK;
}

static bool before(const struct bpe_join *a, const struct bpe_join *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void heap_push(struct bpe_join *heap, size_t *count, struct bpe_join join)
{
    size_t i = (*count)++;
    while (i > 0 && before(&join, &heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = join;
}

static struct bpe_join heap_pop(struct bpe_join *heap, size_t *count)
{
    struct bpe_join top = heap[0], last = heap[--*count];
    size_t i = 0;
    for (size_t child = 1; child < *count; child = 2 * i + 1) {
        if (child + 1 < *count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

static void offer(struct bpe *bpe, size_t *joins, int32_t place)
{
    if (place < 0 || bpe->symbols[place].next < 0)
        return;
    uint32_t right = bpe->symbols[bpe->symbols[place].next].id;
    const struct bpe_merge *merge = merge_slot(bpe, bpe->symbols[place].id, right);
    if (merge->used)
        heap_push(bpe->heap, joins, (struct bpe_join){merge->rank, (uint32_t)place, merge->merged});
}

static size_t symbol_size(const struct bpe *bpe, uint8_t first)
{
    if (bpe->byte_level || first < 0xc0)
        return 1;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static enum status split_symbols(struct bpe *bpe, const uint8_t *piece, size_t size, size_t *count)
{
    TRY(reserve(bpe, size));
    size_t symbols = 0;
    for (size_t at = 0; at < size; symbols++) {
        size_t bytes = symbol_size(bpe, piece[at]);
        bytes = bytes < size - at ? bytes : size - at;
        int64_t id = bpe_find(bpe, piece + at, bytes);
        if (id < 0)
            id = bpe->unknown;
        if (id < 0)
            return FAIL(STATUS_INVALID,
                        "\"%.*s\" (first byte 0x%02x) is not in the vocabulary and tokenizer.json "
                        "has no unk_token",
                        (int)bytes, (const char *)piece + at, piece[at]);
        bpe->symbols[symbols] =
            (struct bpe_symbol){(uint32_t)id, (int32_t)symbols - 1, (int32_t)symbols + 1, false};
        at += bytes;
    }
    bpe->symbols[symbols - 1].next = -1;
    *count = symbols;
    return STATUS_OK;
}

static void join(struct bpe *bpe, size_t *joins, struct bpe_join best)
{
    struct bpe_symbol *left = &bpe->symbols[best.place];
    if (left->dead || left->next < 0)
        return;
    struct bpe_symbol *right = &bpe->symbols[left->next];
    const struct bpe_merge *merge = merge_slot(bpe, left->id, right->id);
    if (!merge->used || merge->rank != best.rank)
        return; /* a neighbour has changed since this was offered */
    left->id = best.merged;
    left->next = right->next;
    right->dead = true;
    if (left->next >= 0)
        bpe->symbols[left->next].previous = (int32_t)best.place;
    offer(bpe, joins, left->previous);
    offer(bpe, joins, (int32_t)best.place);
}

enum status bpe_encode(struct bpe *bpe, const uint8_t *piece, size_t size, struct id_list *ids)
{
    if (size == 0)
        return STATUS_OK;
    if (bpe->ignore_merges) {
        int64_t id = bpe_find(bpe, piece, size);
        if (id >= 0)
            return id_list_push(ids, (uint32_t)id);
    }
    size_t count = 0, joins = 0;
    TRY(split_symbols(bpe, piece, size, &count));
    for (size_t i = 0; i < count; i++)
        offer(bpe, &joins, (int32_t)i);
    while (joins > 0)
        join(bpe, &joins, heap_pop(bpe->heap, &joins));
    for (int32_t i = 0; i >= 0; i = bpe->symbols[i].next)
        TRY(id_list_push(ids, bpe->symbols[i].id));
    return STATUS_OK;
}
