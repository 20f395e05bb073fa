#include "ops/dash/rollout_list.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

enum status rollout_list_open(struct rollout_list *list)
{
    *list = (struct rollout_list){.rows = memory_array(ROLLOUT_LIST_MAX, sizeof *list->rows)};
    return list->rows != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "a list of rollouts");
}

static const struct rollout_row *row_at(const struct rollout_list *list, size_t i)
{
    return &list->rows[(list->first + i) % ROLLOUT_LIST_MAX];
}

static void free_row(struct rollout_row *row)
{
    memory_free(row->summary);
    memory_free(row->whole);
    *row = (struct rollout_row){0};
}

static void drop_oldest(struct rollout_list *list)
{
    list->bytes -= list->rows[list->first].bytes;
    free_row(&list->rows[list->first]);
    list->first = (list->first + 1) % ROLLOUT_LIST_MAX;
    list->count--;
}

void rollout_list_close(struct rollout_list *list)
{
    while (list->count > 0)
        drop_oldest(list);
    memory_free(list->rows);
    *list = (struct rollout_list){0};
}

const struct rollout_row *rollout_list_find(const struct rollout_list *list, const char *id)
{
    for (size_t i = list->count; i-- > 0;)
        if (strcmp(row_at(list, i)->id, id) == 0)
            return row_at(list, i);
    return NULL;
}

/* ---- one rollout ---- */

/* The beginning of a text in one line, cut between characters. */
static void write_excerpt(const char *text, char out[ROLLOUT_EXCERPT + 1])
{
    size_t size = 0;
    bool blank = true;
    for (; *text != 0 && size < ROLLOUT_EXCERPT; text++) {
        bool space = (unsigned char)*text <= ' ' || *text == 0x7f;
        if (!space || !blank)
            out[size++] = space ? ' ' : *text;
        blank = space;
    }
    size_t last = size; /* the first byte of the last character */
    while (last > 0 && ((unsigned char)out[last - 1] & 0xc0) == 0x80)
        last--;
    if (last > 0 && *text != 0 && (unsigned char)out[last - 1] >= 0xc0)
        size = last - 1;
    out[size] = 0;
}

static const char *text_of(const json_t *rollout, const char *key)
{
    const char *text = json_string_value(json_object_get(rollout, key));
    return text != NULL ? text : "";
}

static bool fill_row(struct rollout_row *row, const json_t *rollout)
{
    const json_t *group = json_object_get(rollout, "group");
    const json_t *reward = json_object_get(rollout, "reward");
    if (!json_is_integer(group) || !json_is_integer(json_object_get(rollout, "sample")))
        return false;
    row->group = (uint64_t)json_integer_value(group);
    row->reward = json_is_number(reward) ? json_number_value(reward) : (double)NAN;
    snprintf(row->id, sizeof row->id, "%" PRIu64 ".%lld.%lld", row->group,
             (long long)json_integer_value(json_object_get(rollout, "sample")),
             (long long)json_integer_value(json_object_get(rollout, "attempt")));
    snprintf(row->source, sizeof row->source, "%s", text_of(rollout, "source"));
    snprintf(row->finish, sizeof row->finish, "%s", text_of(rollout, "finish"));
    const json_t *prompt = json_object_get(rollout, "prompt_id");
    row->prompt = json_is_integer(prompt) ? (uint64_t)json_integer_value(prompt) : UINT64_MAX;
    write_excerpt(text_of(rollout, "text"), row->excerpt);
    return true;
}

/* jansson's text as a block of ours. */
static char *dump(const json_t *value, size_t *size)
{
    size_t wanted = json_dumpb(value, NULL, 0, BOARD_JSON);
    char *made = wanted > 0 ? memory_alloc(wanted + 1) : NULL;
    if (made != NULL)
        (void)json_dumpb(value, made, wanted, BOARD_JSON);
    *size += made != NULL ? wanted : 0;
    return made;
}

static json_t *make_summary(const struct rollout_row *row, const json_t *rollout)
{
    static const char *const long_keys[] = {"prompt", "text", "detail"};
    json_t *summary = json_copy((json_t *)(uintptr_t)rollout);
    for (size_t i = 0; i < sizeof long_keys / sizeof long_keys[0]; i++)
        json_object_del(summary, long_keys[i]);
    json_object_set_new(summary, "id", json_string(row->id));
    json_object_set_new(summary, "excerpt", json_string(row->excerpt));
    if (json_object_get(summary, "source") == NULL)
        json_object_set_new(summary, "source", json_string(""));
    return summary;
}

/* detail is JSON in a text: an object from here on. */
static json_t *make_whole(const struct rollout_row *row, const json_t *rollout)
{
    json_t *whole = json_copy((json_t *)(uintptr_t)rollout);
    const char *detail = json_string_value(json_object_get(rollout, "detail"));
    json_t *parsed = detail != NULL ? json_loads(detail, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_object_set_new(whole, "id", json_string(row->id));
    if (json_object_get(whole, "source") == NULL)
        json_object_set_new(whole, "source", json_string(""));
    if (parsed != NULL)
        json_object_set_new(whole, "detail", parsed);
    return whole;
}

enum status rollout_list_add(struct rollout_list *list, const json_t *rollout,
                             const struct rollout_row **added)
{
    struct rollout_row made = {.group = 0};
    *added = NULL;
    if (!fill_row(&made, rollout) || rollout_list_find(list, made.id) != NULL)
        return STATUS_OK;
    json_t *summary = make_summary(&made, rollout), *whole = make_whole(&made, rollout);
    made.summary = dump(summary, &made.bytes);
    made.whole = dump(whole, &made.bytes);
    json_decref(summary);
    json_decref(whole);
    if (made.summary == NULL || made.whole == NULL) {
        free_row(&made);
        return FAIL(STATUS_NO_MEMORY, "a rollout of %zu bytes", made.bytes);
    }
    while (list->count == ROLLOUT_LIST_MAX ||
           (list->count > 0 && list->bytes + made.bytes > ROLLOUT_LIST_BYTES))
        drop_oldest(list);
    struct rollout_row *place = &list->rows[(list->first + list->count++) % ROLLOUT_LIST_MAX];
    *place = made;
    list->bytes += made.bytes;
    *added = place;
    return STATUS_OK;
}

/* ---- answers ---- */

static bool has_text(const struct rollout_row *row, const char *text)
{
    char prompt[24], group[24];
    snprintf(prompt, sizeof prompt, "%" PRIu64, row->prompt);
    snprintf(group, sizeof group, "%" PRIu64, row->group);
    return strcasestr(row->excerpt, text) != NULL ||
           (row->prompt != UINT64_MAX && strcmp(text, prompt) == 0) || strcmp(text, group) == 0;
}

static bool matches(const struct rollout_query *query, const struct rollout_row *row)
{
    return (query->text == NULL || has_text(row, query->text)) &&
           (query->source == NULL || strcmp(query->source, row->source) == 0) &&
           (query->finish == NULL || strcmp(query->finish, row->finish) == 0) &&
           (!query->has_group || query->group == row->group) &&
           (isnan(query->reward_min) || row->reward >= query->reward_min) &&
           (isnan(query->reward_max) || row->reward <= query->reward_max);
}

static enum status write_sources(const struct rollout_list *list, struct buffer *json)
{
    const char *seen[ROLLOUT_SOURCES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < list->count && count < ROLLOUT_SOURCES_MAX; i++) {
        const char *source = row_at(list, i)->source;
        bool known = source[0] == 0;
        for (size_t k = count; k-- > 0 && !known;)
            known = strcmp(seen[k], source) == 0;
        if (known)
            continue;
        TRY(buffer_text(json, count > 0 ? "," : ""));
        TRY(buffer_json_text(json, source));
        seen[count++] = source;
    }
    return STATUS_OK;
}

enum status rollout_list_json(const struct rollout_list *list, const struct rollout_query *query,
                              struct buffer *json)
{
    size_t given = 0, i = list->count;
    if (query->before != NULL)
        while (i > 0 && strcmp(row_at(list, --i)->id, query->before) != 0)
            continue;
    TRY(buffer_text(json, "{\"rollouts\":["));
    while (i-- > 0 && given < query->most) {
        const struct rollout_row *row = row_at(list, i);
        if (!matches(query, row))
            continue;
        TRY(buffer_text(json, given++ > 0 ? "," : ""));
        TRY(buffer_text(json, row->summary));
    }
    TRY(buffer_text(json, "],\"sources\":["));
    TRY(write_sources(list, json));
    return buffer_text(json, "]}");
}

enum status rollout_list_siblings(const struct rollout_list *list, uint64_t group,
                                  struct buffer *json)
{
    const char *between = "[";
    for (size_t i = 0; i < list->count; i++) {
        if (row_at(list, i)->group != group)
            continue;
        TRY(buffer_text(json, between));
        TRY(buffer_json_text(json, row_at(list, i)->id));
        between = ",";
    }
    return buffer_text(json, between[0] == '[' ? "[]" : "]");
}
