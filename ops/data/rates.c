#include "ops/data/rates.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"
#include "ops/jsonl.h"

struct entry {
    char *id; /* owned; NULL: free */
    struct rate rate;
    double *tokens; /* [capacity] owned */
    uint32_t capacity;
    bool sorted;
};

struct rates {
    double success;
    struct entry *entries; /* [limit] open addressing; limit is a power of two */
    uint64_t count, limit;
};

enum status rates_create(struct rates **out, double success)
{
    enum { FIRST = 1024 };
    struct rates *rates = memory_alloc(sizeof *rates);
    *out = NULL;
    if (rates == NULL)
        return FAIL(STATUS_NO_MEMORY, "rates");
    rates->success = success;
    rates->limit = FIRST;
    rates->entries = memory_array(rates->limit, sizeof *rates->entries);
    if (rates->entries == NULL) {
        memory_free(rates);
        return FAIL(STATUS_NO_MEMORY, "rates");
    }
    *out = rates;
    return STATUS_OK;
}

void rates_destroy(struct rates **pointer)
{
    struct rates *rates = *pointer;
    if (rates == NULL)
        return;
    for (uint64_t i = 0; i < rates->limit; i++) {
        memory_free(rates->entries[i].id);
        memory_free(rates->entries[i].tokens);
    }
    memory_free(rates->entries);
    memory_free(rates);
    *pointer = NULL;
}

static struct entry *place_of(struct entry *entries, uint64_t limit, const char *id)
{
    uint64_t at = hash64(id, strlen(id), 0) & (limit - 1);
    while (entries[at].id != NULL && strcmp(entries[at].id, id) != 0)
        at = (at + 1) & (limit - 1);
    return &entries[at];
}

static enum status widen(struct rates *rates)
{
    uint64_t wider = rates->limit * 2;
    struct entry *entries = memory_array(wider, sizeof *entries);
    if (entries == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " rates", wider);
    for (uint64_t i = 0; i < rates->limit; i++)
        if (rates->entries[i].id != NULL)
            *place_of(entries, wider, rates->entries[i].id) = rates->entries[i];
    memory_free(rates->entries);
    rates->entries = entries;
    rates->limit = wider;
    return STATUS_OK;
}

static enum status entry_of(struct rates *rates, const char *id, struct entry **out)
{
    if (rates->count * 2 >= rates->limit)
        TRY(widen(rates));
    struct entry *entry = place_of(rates->entries, rates->limit, id);
    if (entry->id == NULL) {
        entry->id = memory_text(id);
        if (entry->id == NULL)
            return FAIL(STATUS_NO_MEMORY, "an id");
        rates->count++;
    }
    *out = entry;
    return STATUS_OK;
}

static enum status add_tokens(struct entry *entry, double tokens)
{
    struct rate *rate = &entry->rate;
    if (rate->samples == entry->capacity) {
        uint32_t wider = entry->capacity > 0 ? entry->capacity * 2 : 16;
        double *grown =
            memory_grow(entry->tokens, entry->capacity * sizeof *grown, wider * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "%u samples", wider);
        entry->tokens = grown;
        entry->capacity = wider;
    }
    entry->tokens[rate->samples++] = tokens;
    entry->sorted = false;
    return STATUS_OK;
}

static enum status add_row(struct rates *rates, const struct jsonl *file, const json_t *row)
{
    const json_t *value = json_object_get(row, "value"), *name = json_object_get(row, "id");
    const char *finish = json_string_value(json_object_get(row, "finish"));
    char id[JSONL_ID_MAX];
    struct entry *entry = NULL;
    bool named = json_is_integer(name) || json_string_length(name) > 0;
    if (!named || value == NULL || !(json_is_number(value) || json_is_null(value)))
        return FAIL(STATUS_INVALID,
                    "%s:%" PRIu64 ": a score has \"id\" and \"value\" (a number or null)",
                    file->path, file->number);
    TRY(jsonl_id(row, "id", id));
    TRY(entry_of(rates, id, &entry));
    if (json_is_number(value)) {
        entry->rate.n++;
        entry->rate.c += json_number_value(value) >= rates->success;
        entry->rate.sum += json_number_value(value);
    } else {
        entry->rate.not_scored++;
    }
    entry->rate.cut += finish != NULL && strcmp(finish, "length") == 0;
    return add_tokens(entry, json_number_value(json_object_get(row, "tokens")));
}

enum status rates_add(struct rates *rates, const char *path)
{
    struct jsonl file;
    json_t *row = NULL;
    TRY(jsonl_open(&file, path));
    enum status status;
    while ((status = jsonl_next(&file, &row)) == STATUS_OK && row != NULL) {
        status = add_row(rates, &file, row);
        json_decref(row);
        if (status != STATUS_OK)
            break;
    }
    jsonl_close(&file);
    return status;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

const struct rate *rates_find(struct rates *rates, const char *id)
{
    struct entry *entry = place_of(rates->entries, rates->limit, id);
    if (entry->id == NULL)
        return NULL;
    if (!entry->sorted)
        qsort(entry->tokens, entry->rate.samples, sizeof *entry->tokens, compare);
    entry->sorted = true;
    entry->rate.tokens = entry->tokens;
    entry->rate.used++;
    return &entry->rate;
}

uint64_t rates_count(const struct rates *rates)
{
    return rates->count;
}

uint64_t rates_unused(const struct rates *rates)
{
    uint64_t unused = 0;
    for (uint64_t i = 0; i < rates->limit; i++)
        unused += rates->entries[i].id != NULL && rates->entries[i].rate.used == 0;
    return unused;
}
