/* text/bpe.c - hash tables with open addressing for tokens and merges; short pieces by a scan over their pairs, long ones
 * by a heap of candidate joins; pieces seen before from a table. */
#include "text/bpe.h"

#include <inttypes.h>
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"

struct bpe_merge {
    uint32_t left, right;
    uint32_t rank; /* + 1; 0: nothing here */
    uint32_t merged;
};
struct bpe_name {
    uint32_t id;  /* + 1; 0: nothing here */
    uint32_t tag; /* of the text's hash */
};
struct bpe_symbol { /* linked list over the piece; dead once joined to its left neighbour */
    uint32_t id;
    int32_t previous, next;
    bool dead;
};
struct bpe_join { /* symbol at `place` and the one after it */
    uint32_t rank, place, merged;
};

/* Pieces of at most KNOWN_BYTES that became at most KNOWN_IDS ids; a newer one takes the place of an older one. The
 * first and last eight bytes and the size tell such pieces apart. */
enum { KNOWN_BYTES = 16, KNOWN_IDS = 3, KNOWN_BITS_MAX = 15, SHORT_SYMBOLS = 48 };
struct bpe_known {
    uint64_t first, last;
    uint8_t size, count;
    uint32_t ids[KNOWN_IDS];
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
    memset(bpe->fallback, 0xff, sizeof bpe->fallback);
    memset(bpe->byte_ids, 0xff, sizeof bpe->byte_ids);
    bpe->vocabulary = vocabulary;
    bpe->table_size = power_above(vocabulary);
    bpe->merges_size = power_above(merges);
    bpe->tokens = memory_array((size_t)vocabulary + 1, sizeof *bpe->tokens);
    bpe->by_text = memory_array(bpe->table_size, sizeof *bpe->by_text);
    bpe->merges = memory_array(bpe->merges_size, sizeof *bpe->merges);
    bpe->known_bits = 4;
    while (bpe->known_bits < KNOWN_BITS_MAX && vocabulary >> bpe->known_bits != 0)
        bpe->known_bits++;
    bpe->known = memory_array((size_t)1 << bpe->known_bits, sizeof *bpe->known);
    if (bpe->tokens == NULL || bpe->by_text == NULL || bpe->merges == NULL || bpe->known == NULL) {
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
    memory_free(bpe->known);
    memory_free(bpe->symbols);
    memory_free(bpe->heap);
    buffer_free(&bpe->bytes);
    memset(bpe, 0, sizeof *bpe);
}

/* Slot of the text: that of its token, or the empty one where it would go. */
static struct bpe_name *find_name(const struct bpe *bpe, const void *bytes, size_t size,
                                  uint32_t *tag)
{
    uint64_t hash = hash64(bytes, size, 0);
    size_t slot = (size_t)hash & (bpe->table_size - 1);
    *tag = (uint32_t)(hash >> 32);
    while (bpe->by_text[slot].id != 0) {
        const struct bpe_name *name = &bpe->by_text[slot];
        const struct bpe_token *token = &bpe->tokens[name->id - 1];
        if (name->tag == *tag && token->size == size &&
            memcmp(bpe->bytes.bytes + token->offset, bytes, size) == 0)
            break;
        slot = (slot + 1) & (bpe->table_size - 1);
    }
    return &bpe->by_text[slot];
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
    const uint8_t *bytes = bpe->bytes.bytes + token->offset;
    uint32_t tag;
    struct bpe_name *name = find_name(bpe, bytes, token->size, &tag);
    if (name->id != 0)
        return;
    *name = (struct bpe_name){id + 1, tag};
    if (token->size == 1)
        bpe->byte_ids[bytes[0]] = id;
}

int64_t bpe_find(const struct bpe *bpe, const void *bytes, size_t size)
{
    uint32_t tag;
    return (int64_t)find_name(bpe, bytes, size, &tag)->id - 1;
}

void bpe_find_fallback(struct bpe *bpe)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t byte = 0; byte < 256; byte++) {
        const char text[] = {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
        bpe->fallback[byte] = bpe_find(bpe, text, sizeof text);
    }
}

static struct bpe_merge *merge_slot(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t slot = (size_t)((pair * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (bpe->merges_size - 1);
    while (bpe->merges[slot].rank != 0 &&
           (bpe->merges[slot].left != left || bpe->merges[slot].right != right))
        slot = (slot + 1) & (bpe->merges_size - 1);
    return &bpe->merges[slot];
}

void bpe_add_merge(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t merged)
{
    *merge_slot(bpe, left, right) = (struct bpe_merge){left, right, rank + 1, merged};
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
    if (merge->rank != 0)
        heap_push(bpe->heap, joins, (struct bpe_join){merge->rank, (uint32_t)place, merge->merged});
}

/* ---- the symbols of a piece ---- */

static size_t symbol_size(const struct bpe *bpe, uint8_t first)
{
    if (bpe->byte_level || first < 0xc0)
        return 1;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static bool falls_back(const struct bpe *bpe, const uint8_t *symbol, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bpe->fallback[symbol[i]] < 0)
            return false;
    return bpe->byte_fallback;
}

struct symbols {
    uint32_t *ids;
    size_t stride; /* bytes from one id to the next */
    size_t count;
    bool unknown; /* one waits to be written: the next symbol may fuse with it */
};

static void put_symbol(struct symbols *symbols, int64_t id)
{
    *(uint32_t *)(void *)((uint8_t *)symbols->ids + symbols->stride * symbols->count++) =
        (uint32_t)id;
}

/* A symbol outside the vocabulary. */
static enum status put_strange(const struct bpe *bpe, struct symbols *symbols, const uint8_t *at,
                               size_t size)
{
    if (falls_back(bpe, at, size)) {
        for (size_t i = 0; i < size; i++)
            put_symbol(symbols, bpe->fallback[at[i]]);
        return STATUS_OK;
    }
    if (bpe->unknown < 0)
        return FAIL(STATUS_INVALID,
                    "\"%.*s\" (first byte 0x%02x) is not in the vocabulary and tokenizer.json "
                    "has no unk_token",
                    (int)size, (const char *)at, at[0]);
    if (symbols->unknown && !bpe->fuse_unknown)
        put_symbol(symbols, bpe->unknown);
    symbols->unknown = true;
    return STATUS_OK;
}

/* At most `size` symbols: each has at least a byte. */
static enum status split_symbols(const struct bpe *bpe, const uint8_t *piece, size_t size,
                                 struct symbols *symbols)
{
    for (size_t at = 0; at < size;) {
        size_t bytes = symbol_size(bpe, piece[at]);
        bytes = bytes < size - at ? bytes : size - at;
        int64_t id = bytes == 1 ? bpe->byte_ids[piece[at]] : bpe_find(bpe, piece + at, bytes);
        if (id < 0) {
            TRY(put_strange(bpe, symbols, piece + at, bytes));
        } else {
            if (symbols->unknown)
                put_symbol(symbols, bpe->unknown);
            symbols->unknown = false;
            put_symbol(symbols, id);
        }
        at += bytes;
    }
    if (symbols->unknown)
        put_symbol(symbols, bpe->unknown);
    return STATUS_OK;
}

/* ---- long pieces ---- */

static void join(struct bpe *bpe, size_t *joins, struct bpe_join best)
{
    struct bpe_symbol *left = &bpe->symbols[best.place];
    if (left->dead || left->next < 0)
        return;
    struct bpe_symbol *right = &bpe->symbols[left->next];
    const struct bpe_merge *merge = merge_slot(bpe, left->id, right->id);
    if (merge->rank != best.rank)
        return; /* a neighbour has changed since this was offered */
    left->id = best.merged;
    left->next = right->next;
    right->dead = true;
    if (left->next >= 0)
        bpe->symbols[left->next].previous = (int32_t)best.place;
    offer(bpe, joins, left->previous);
    offer(bpe, joins, (int32_t)best.place);
}

static enum status encode_long(struct bpe *bpe, const uint8_t *piece, size_t size,
                               struct id_list *ids)
{
    TRY(reserve(bpe, size));
    struct symbols symbols = {.ids = &bpe->symbols[0].id, .stride = sizeof *bpe->symbols};
    TRY(split_symbols(bpe, piece, size, &symbols));
    for (size_t i = 0; i < symbols.count; i++) {
        struct bpe_symbol *symbol = &bpe->symbols[i];
        symbol->previous = (int32_t)i - 1;
        symbol->next = i + 1 < symbols.count ? (int32_t)i + 1 : -1;
        symbol->dead = false;
    }
    size_t joins = 0;
    for (size_t i = 0; i < symbols.count; i++)
        offer(bpe, &joins, (int32_t)i);
    while (joins > 0)
        join(bpe, &joins, heap_pop(bpe->heap, &joins));
    for (int32_t i = 0; i >= 0; i = bpe->symbols[i].next)
        TRY(id_list_push(ids, bpe->symbols[i].id));
    return STATUS_OK;
}

/* ---- short pieces ---- */

struct pair { /* a symbol and the rank of its join with the next one */
    uint32_t id, rank, merged;
};

static void rate(const struct bpe *bpe, struct pair *pairs, size_t count, size_t place)
{
    if (place + 1 >= count) {
        pairs[place].rank = UINT32_MAX;
        return;
    }
    const struct bpe_merge *merge = merge_slot(bpe, pairs[place].id, pairs[place + 1].id);
    pairs[place].rank = merge->rank != 0 ? merge->rank : UINT32_MAX;
    pairs[place].merged = merge->merged;
}

static enum status encode_short(const struct bpe *bpe, const uint8_t *piece, size_t size,
                                struct id_list *ids)
{
    struct pair pairs[SHORT_SYMBOLS];
    struct symbols symbols = {.ids = &pairs[0].id, .stride = sizeof *pairs};
    TRY(split_symbols(bpe, piece, size, &symbols));
    size_t count = symbols.count;
    for (size_t i = 0; i < count; i++)
        rate(bpe, pairs, count, i);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i < count; i++)
            if (pairs[i].rank < pairs[best].rank)
                best = i;
        if (pairs[best].rank == UINT32_MAX)
            break;
        pairs[best].id = pairs[best].merged;
        count--;
        if (best + 1 < count)
            memmove(&pairs[best + 1], &pairs[best + 2], (count - best - 1) * sizeof *pairs);
        rate(bpe, pairs, count, best);
        if (best > 0)
            rate(bpe, pairs, count, best - 1);
    }
    for (size_t i = 0; i < count; i++)
        TRY(id_list_push(ids, pairs[i].id));
    return STATUS_OK;
}

/* ---- pieces seen before ---- */

static uint64_t load(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint32_t load_half(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* size in [1, KNOWN_BYTES] */
static struct bpe_known known_key(const uint8_t *piece, size_t size)
{
    struct bpe_known key = {.size = (uint8_t)size};
    if (size >= 8) {
        key.first = load(piece);
        key.last = load(piece + size - 8);
    } else if (size >= 4) {
        key.first = load_half(piece);
        key.last = load_half(piece + size - 4);
    } else {
        key.first = (uint64_t)piece[0] << 16 | (uint64_t)piece[size / 2] << 8 | piece[size - 1];
    }
    return key;
}

static struct bpe_known *known_place(const struct bpe *bpe, const struct bpe_known *key)
{
    uint64_t hash = (key->first ^ (uint64_t)key->size << 56) * UINT64_C(0x9E3779B97F4A7C15);
    hash = (hash ^ (hash >> 32) ^ key->last) * UINT64_C(0xD6E8FEB86659FD93);
    return &bpe->known[hash >> (64 - bpe->known_bits)];
}

static enum status encode_new(struct bpe *bpe, const uint8_t *piece, size_t size,
                              struct id_list *ids)
{
    if (bpe->ignore_merges) {
        int64_t id = bpe_find(bpe, piece, size);
        if (id >= 0)
            return id_list_push(ids, (uint32_t)id);
    }
    return size <= SHORT_SYMBOLS ? encode_short(bpe, piece, size, ids)
                                 : encode_long(bpe, piece, size, ids);
}

enum status bpe_encode(struct bpe *bpe, const uint8_t *piece, size_t size, struct id_list *ids)
{
    if (size == 0)
        return STATUS_OK;
    if (size > KNOWN_BYTES)
        return encode_new(bpe, piece, size, ids);
    struct bpe_known key = known_key(piece, size), *known = known_place(bpe, &key);
    if (known->size == key.size && known->first == key.first && known->last == key.last) {
        for (size_t i = 0; i < known->count; i++)
            TRY(id_list_push(ids, known->ids[i]));
        return STATUS_OK;
    }
    size_t before_count = ids->count;
    TRY(encode_new(bpe, piece, size, ids));
    if (ids->count - before_count <= KNOWN_IDS) {
        key.count = (uint8_t)(ids->count - before_count);
        memcpy(key.ids, ids->ids + before_count, key.count * sizeof *key.ids);
        *known = key;
    }
    return STATUS_OK;
}
