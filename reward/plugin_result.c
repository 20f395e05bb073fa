#include "reward/plugin_result.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "core/buffer.h"
#include "core/log.h"
#include "core/memory.h"
#include "text/tokenizer.h"

enum { METRIC_NAME_MAX = 63 };

static enum score_status status_of(int32_t status)
{
    switch (status) {
    case WEIR_REWARD_OK:
        return SCORE_OK;
    case WEIR_REWARD_SKIP:
        return SCORE_SKIP;
    case WEIR_REWARD_TIMEOUT:
        return SCORE_TIMEOUT;
    case WEIR_REWARD_UNSCORABLE:
        return SCORE_UNSCORABLE;
    default:
        return SCORE_ERROR;
    }
}

void plugin_result_score(const weir_reward_result *result, double clip_low, double clip_high,
                         struct score *score)
{
    score->status = status_of(result->status);
    score->value = 0;
    if (score->status != SCORE_OK)
        return;
    if (isfinite(result->score) && result->score >= clip_low && result->score <= clip_high) {
        score->value = result->score;
        return;
    }
    LOG_WARN("plugin", "score out of range", "score=%g low=%g high=%g", result->score, clip_low,
             clip_high);
    score->status = SCORE_ERROR;
}

/* Plugin bytes without a NUL; what is longer than METRIC_NAME_MAX is cut. */
static enum status append_name(struct buffer *json, weir_reward_str name)
{
    struct buffer text;
    buffer_init(&text, 0);
    size_t size = name.ptr == NULL             ? 0
                  : name.len > METRIC_NAME_MAX ? METRIC_NAME_MAX
                                               : (size_t)name.len;
    enum status status = text_append_utf8(&text, size > 0 ? name.ptr : "", size);
    if (status == STATUS_OK)
        status = buffer_json_text(json, buffer_string(&text));
    buffer_free(&text);
    return status;
}

static enum status append_metric(struct buffer *json, const weir_reward_metric *metric)
{
    TRY(buffer_text(json, json->size > 1 ? "," : ""));
    TRY(append_name(json, metric->name));
    return isfinite(metric->value) ? buffer_printf(json, ":%.9g", metric->value)
                                   : buffer_text(json, ":null");
}

static enum status append_detail(struct buffer *json, weir_reward_str detail)
{
    json_error_t error = {.text = "not an object"};
    json_t *object = json_loadb(detail.ptr, (size_t)detail.len, 0, &error);
    char *text = json_is_object(object) ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    enum status status = STATUS_OK;
    if (text == NULL)
        status = FAIL(STATUS_INVALID, "detail_json: %s", error.text);
    else
        status = buffer_printf(json, "%s\"detail\":%s", json->size > 1 ? "," : "", text);
    free(text); /* lint: allow(free): jansson's buffer */
    return status;
}

char *plugin_result_detail(const weir_reward_result *result)
{
    uint32_t metrics = result->metrics != NULL ? result->n_metrics : 0;
    bool detailed = result->detail_json.ptr != NULL && result->detail_json.len > 0;
    bool costs = isfinite(result->cost) && result->cost > 0;
    if (metrics == 0 && !detailed && !costs)
        return NULL;
    struct buffer json;
    buffer_init(&json, PLUGIN_DETAIL_MAX);
    enum status status = buffer_text(&json, "{");
    for (uint32_t i = 0; status == STATUS_OK && i < metrics; i++)
        status = append_metric(&json, &result->metrics[i]);
    if (status == STATUS_OK && costs)
        status = buffer_printf(&json, "%s\"cost\":%.9g", json.size > 1 ? "," : "", result->cost);
    if (status == STATUS_OK && detailed && append_detail(&json, result->detail_json) != STATUS_OK)
        LOG_WARN("plugin", "detail dropped", "why=\"%s\"", status_last_error());
    if (status == STATUS_OK)
        status = buffer_text(&json, "}");
    char *text = status == STATUS_OK ? memory_text(buffer_string(&json)) : NULL;
    if (text == NULL)
        LOG_WARN("plugin", "detail dropped", "why=\"%s\"", status_last_error());
    buffer_free(&json);
    return text;
}
