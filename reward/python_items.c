/* reward/python_items.c - see the header. */
#include "reward/python_items.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- to Python ---- */

static enum status add_text(struct buffer *json, const char *name, weir_reward_str text)
{
    json_t *value = json_stringn(text.ptr != NULL ? text.ptr : "", (size_t)text.len);
    char *quoted = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    enum status status = quoted == NULL
                             ? FAIL(STATUS_INVALID, "%s of an item is no UTF-8 text", name)
                             : buffer_printf(json, ",\"%s\":", name);
    if (status == STATUS_OK)
        status = buffer_text(json, quoted);
    free(quoted); /* lint: allow(free): jansson's buffer */
    return status;
}

/* A JSON value as the store wrote it, so that numbers stay as they are. */
static enum status add_value(struct buffer *json, const char *name, weir_reward_str value)
{
    TRY(buffer_printf(json, ",\"%s\":", name));
    return value.ptr != NULL && value.len > 0 ? buffer_append(json, value.ptr, (size_t)value.len)
                                              : buffer_text(json, "null");
}

static enum status add_ids(struct buffer *json, const char *name, const int32_t *ids,
                           uint32_t count)
{
    if (ids == NULL)
        return STATUS_OK;
    TRY(buffer_printf(json, ",\"%s\":[", name));
    for (uint32_t i = 0; i < count; i++)
        TRY(buffer_printf(json, i > 0 ? ",%" PRId32 : "%" PRId32, ids[i]));
    return buffer_text(json, "]");
}

static enum status add_item(struct buffer *json, const weir_reward_item *item, uint32_t number)
{
    TRY(buffer_printf(json,
                      "%s{\"id\":%" PRIu32 ",\"group_id\":%" PRIu64 ",\"index\":%" PRIu32
                      ",\"group_size\":%" PRIu32 ",\"finish\":%" PRIu32 ",\"version\":%" PRIu64
                      ",\"step\":%" PRIu64 ",\"eval\":%s",
                      number > 0 ? "," : "", number, item->group_id, item->group_index,
                      item->group_size, item->finish_reason, item->policy_version, item->train_step,
                      item->is_eval ? "true" : "false"));
    TRY(add_text(json, "data_source", item->data_source));
    TRY(add_text(json, "prompt_text", item->prompt_text));
    TRY(add_text(json, "response", item->response));
    TRY(add_value(json, "prompt", item->prompt_json));
    TRY(add_value(json, "ground_truth", item->ground_truth_json));
    TRY(add_value(json, "row", item->extra_json));
    TRY(add_ids(json, "prompt_ids", item->prompt_ids, item->n_prompt_ids));
    TRY(add_ids(json, "response_ids", item->response_ids, item->n_response_ids));
    return buffer_text(json, "}");
}

enum status python_items_write(struct buffer *json, const weir_reward_item *items, uint32_t count,
                               uint64_t request, int64_t deadline_ms)
{
    TRY(buffer_printf(
        json, "{\"type\":\"score\",\"req\":%" PRIu64 ",\"deadline_ms\":%" PRId64 ",\"items\":[",
        request, deadline_ms));
    for (uint32_t i = 0; i < count; i++)
        TRY(add_item(json, &items[i], i));
    return buffer_text(json, "]}");
}

/* ---- from Python ---- */

static int32_t status_of(const json_t *result)
{
    static const struct {
        const char *name;
        int32_t status;
    } names[] = {{"ok", WEIR_REWARD_OK},
                 {"skip", WEIR_REWARD_SKIP},
                 {"timeout", WEIR_REWARD_TIMEOUT},
                 {"unscorable", WEIR_REWARD_UNSCORABLE}};
    const char *said = json_string_value(json_object_get(result, "status"));
    for (size_t i = 0; said != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(said, names[i].name) == 0)
            return names[i].status;
    return WEIR_REWARD_ERROR;
}

static uint32_t read_metrics(const json_t *result, weir_reward_metric metrics[PYTHON_METRICS_MAX])
{
    uint32_t count = 0;
    json_t *object = json_object_get(result, "metrics");
    for (void *at = json_object_iter(object); at != NULL && count < PYTHON_METRICS_MAX;
         at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        metrics[count++] = (weir_reward_metric){{name, strlen(name)},
                                                json_number_value(json_object_iter_value(at))};
    }
    return count;
}

static void give(const json_t *said, const weir_reward_item *item, weir_reward_done_fn done,
                 void *user)
{
    weir_reward_metric metrics[PYTHON_METRICS_MAX];
    weir_reward_result result = {.struct_size = sizeof result,
                                 .status = status_of(said),
                                 .item_id = item->item_id,
                                 .score = NAN};
    const json_t *score = json_object_get(said, "score"), *detail = json_object_get(said, "detail");
    if (result.status == WEIR_REWARD_OK && json_is_number(score))
        result.score = json_number_value(score);
    else if (result.status == WEIR_REWARD_OK)
        result.status = WEIR_REWARD_ERROR;
    result.cost = json_number_value(json_object_get(said, "cost"));
    result.n_metrics = read_metrics(said, metrics);
    result.metrics = metrics;
    char *text = json_object_size(detail) > 0 ? json_dumps(detail, JSON_COMPACT) : NULL;
    if (text != NULL)
        result.detail_json = (weir_reward_str){text, strlen(text)};
    done(user, &result, 1);
    free(text); /* lint: allow(free): jansson's buffer */
}

static const json_t *find(const json_t *results, uint32_t id)
{
    size_t index;
    const json_t *result;
    json_array_foreach(results, index, result)
    {
        const json_t *said = json_object_get(result, "id");
        if (json_is_integer(said) && json_integer_value(said) == (json_int_t)id)
            return result;
    }
    return NULL;
}

void python_items_answer(const json_t *answer, const weir_reward_item *items, uint32_t count,
                         int32_t status, const char *why, weir_reward_done_fn done, void *user)
{
    const json_t *results = answer != NULL ? json_object_get(answer, "results") : NULL;
    json_t *failure =
        json_pack("{s:s, s:{s:s}}", "status", status == WEIR_REWARD_TIMEOUT ? "timeout" : "error",
                  "detail", "error", why != NULL ? why : "the Python worker left it out");
    for (uint32_t i = 0; i < count; i++) {
        const json_t *said = results != NULL ? find(results, i) : NULL;
        give(said != NULL ? said : failure, &items[i], done, user);
    }
    json_decref(failure);
}
