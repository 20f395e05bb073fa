/* reward/plugin_rows.c - see the header. */
#include "reward/plugin_rows.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"

/* ---- reading ---- */

struct place { /* of a string in a row's texts */
    size_t at, size;
};

static enum status put_text(struct buffer *texts, const json_t *value, struct place *place)
{
    place->at = texts->size;
    place->size = json_string_length(value);
    return place->size > 0 ? buffer_append(texts, json_string_value(value), place->size)
                           : STATUS_OK;
}

static enum status put_json(struct buffer *texts, const json_t *value, struct place *place)
{
    place->at = texts->size;
    char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    enum status status = text != NULL ? buffer_text(texts, text) : STATUS_OK;
    free(text); /* lint: allow(free): jansson's buffer */
    place->size = texts->size - place->at;
    return status;
}

static uint32_t finish_of(const json_t *json)
{
    const char *word = json_string_value(json_object_get(json, "finish"));
    return word != NULL && strcmp(word, "length") == 0       ? WEIR_REWARD_FIN_LENGTH
           : word != NULL && strcmp(word, "repetition") == 0 ? WEIR_REWARD_FIN_REPETITION
                                                             : WEIR_REWARD_FIN_EOS;
}

static enum status read_ids(struct plugin_row *row)
{
    const json_t *ids = json_object_get(row->json, "response_ids");
    size_t count = json_array_size(ids);
    row->ids = memory_array(count + 1, sizeof *row->ids);
    if (row->ids == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu ids", count);
    for (size_t i = 0; i < count; i++)
        row->ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    row->item.prompt_ids = row->item.response_ids = row->ids;
    row->item.n_response_ids = (uint32_t)count;
    return STATUS_OK;
}

static enum status fill_texts(struct plugin_row *row, struct buffer *texts, struct place places[6])
{
    const json_t *json = row->json, *prompt = json_object_get(json, "prompt"),
                 *data = json_object_get(json, "row");
    TRY(put_text(texts, json_object_get(json, "data_source"), &places[0]));
    TRY(put_text(texts, json_is_string(prompt) ? prompt : NULL, &places[1]));
    const json_t *messages = json_is_array(prompt) ? prompt : json_object_get(json, "messages");
    TRY(put_json(texts, json_is_array(messages) ? messages : NULL, &places[2]));
    TRY(put_text(texts, json_object_get(json, "response"), &places[3]));
    TRY(put_json(texts, json_object_get(json, "ground_truth"), &places[4]));
    return put_json(texts, json_is_object(data) ? data : json, &places[5]);
}

static enum status fill_row(struct plugin_row *row)
{
    struct buffer texts;
    struct place places[6] = {{0, 0}};
    buffer_init(&texts, 0);
    enum status status = fill_texts(row, &texts, places);
    row->texts = status == STATUS_OK ? memory_alloc(texts.size + 1) : NULL;
    if (status == STATUS_OK && row->texts == NULL)
        status = FAIL(STATUS_NO_MEMORY, "a row");
    if (status == STATUS_OK && texts.size > 0)
        memcpy(row->texts, texts.bytes, texts.size);
    buffer_free(&texts);
    TRY(status);
    weir_reward_str spans[6];
    for (int i = 0; i < 6; i++)
        spans[i] = (weir_reward_str){row->texts + places[i].at, places[i].size};
    row->item = (weir_reward_item){.struct_size = sizeof row->item,
                                   .finish_reason = finish_of(row->json),
                                   .data_source = spans[0],
                                   .prompt_text = spans[1],
                                   .prompt_json = spans[2],
                                   .response = spans[3],
                                   .ground_truth_json = spans[4],
                                   .extra_json = spans[5]};
    return read_ids(row);
}

static enum status read_line(struct plugin_rows *rows, const char *path, const char *line,
                             size_t size, uint32_t number)
{
    json_error_t error = {0};
    if (strspn(line, " \t\r") >= size)
        return STATUS_OK;
    if (rows->count == PLUGIN_ROWS_MAX)
        return FAIL(STATUS_LIMIT, "%s: more than %d rows", path, PLUGIN_ROWS_MAX);
    struct plugin_row *grown =
        memory_grow(rows->rows, rows->count * sizeof *grown, (rows->count + 1) * sizeof *grown);
    if (grown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u rows", rows->count + 1);
    rows->rows = grown;
    struct plugin_row *row = &rows->rows[rows->count++];
    row->json = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json_is_object(row->json))
        return FAIL(STATUS_INVALID, "%s:%u: %s", path, number,
                    row->json == NULL ? error.text : "not an object");
    if (!json_is_string(json_object_get(row->json, "response")))
        return FAIL(STATUS_INVALID, "%s:%u: has no text \"response\"", path, number);
    return fill_row(row);
}

/* Group ids and places by the member "group"; a row without one is a group of its own. */
static void number_groups(struct plugin_rows *rows)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        weir_reward_item *item = &rows->rows[i].item;
        const json_t *group = json_object_get(rows->rows[i].json, "group");
        item->group_id = i;
        item->group_size = 1;
        if (group == NULL)
            continue;
        for (uint32_t other = 0; other < i; other++)
            if (json_equal(json_object_get(rows->rows[other].json, "group"), group)) {
                item->group_id = rows->rows[other].item.group_id;
                break;
            }
        uint32_t size = 0;
        for (uint32_t other = 0; other <= i; other++)
            size += rows->rows[other].item.group_id == item->group_id;
        item->group_index = size - 1;
        for (uint32_t other = 0; other <= i; other++)
            if (rows->rows[other].item.group_id == item->group_id)
                rows->rows[other].item.group_size = size;
    }
}

enum status plugin_rows_read(struct plugin_rows *rows, const char *path, const char *text)
{
    *rows = (struct plugin_rows){0};
    uint32_t number = 1;
    enum status status = STATUS_OK;
    for (const char *line = text; *line != '\0' && status == STATUS_OK; number++) {
        const char *end = strchr(line, '\n');
        size_t size = end != NULL ? (size_t)(end - line) : strlen(line);
        status = read_line(rows, path, line, size, number);
        line += size + (end != NULL);
    }
    if (status == STATUS_OK && rows->count == 0)
        status = FAIL(STATUS_INVALID, "%s: has no rows", path);
    if (status != STATUS_OK)
        plugin_rows_free(rows);
    else
        number_groups(rows);
    return status;
}

void plugin_rows_free(struct plugin_rows *rows)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        json_decref(rows->rows[i].json);
        memory_free(rows->rows[i].texts);
        memory_free(rows->rows[i].ids);
    }
    memory_free(rows->rows);
    *rows = (struct plugin_rows){0};
}

/* ---- jobs ---- */

struct plugin_job *plugin_rows_job(const struct plugin_rows *rows, uint32_t index)
{
    struct plugin_job *job = memory_alloc(sizeof *job);
    if (job == NULL)
        return NULL;
    job->item = rows->rows[index].item;
    job->score.status = SCORE_ERROR;
    job->score.sample = index;
    return job;
}

void plugin_rows_drop(struct plugin_job *job)
{
    memory_free(job->detail);
    memory_free(job);
}

const char *plugin_rows_status(enum score_status status)
{
    static const char *const names[SCORE_STATUS_COUNT] = {"ok",    "fail", "timeout",
                                                          "error", "skip", "unscorable"};
    return (unsigned)status < SCORE_STATUS_COUNT ? names[status] : "?";
}

bool plugin_rows_differs(const struct plugin_row *row, const struct score *score, char text[128])
{
    const json_t *wanted = json_object_get(row->json, "expected");
    bool scored = score->status == SCORE_OK || score->status == SCORE_FAIL;
    if (wanted == NULL)
        return false;
    if (json_is_string(wanted)) {
        snprintf(text, 128, "wanted %s", json_string_value(wanted));
        return strcmp(json_string_value(wanted), plugin_rows_status(score->status)) != 0;
    }
    double value = json_is_boolean(wanted) ? json_is_true(wanted) : json_number_value(wanted);
    snprintf(text, 128, "wanted %.17g", value);
    return !scored || fabs(score->value - value) > 1e-9 * fmax(1, fabs(value));
}
