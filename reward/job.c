#include "reward/job.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"

struct job_storage { /* one allocation a job; the texts follow */
    struct plugin_job job;
    struct buffer texts;
    int32_t *ids;
    float *logprobs;
};

void reward_job_drop(struct plugin_job *job)
{
    memory_free(job->detail);
    struct job_storage *storage = job->storage;
    buffer_free(&storage->texts);
    memory_free(storage->ids);
    memory_free(storage->logprobs);
    memory_free(storage);
}

static enum status append_span(struct buffer *texts, const char *bytes, size_t size, size_t *at,
                               size_t *length)
{
    *at = texts->size;
    TRY(text_append_utf8(texts, bytes, size));
    *length = texts->size - *at;
    return STATUS_OK;
}

static enum status decode_span(const struct tokenizer *tokenizer, struct buffer *texts,
                               const uint32_t *ids, size_t count, size_t *at, size_t *length)
{
    struct buffer raw;
    buffer_init(&raw, WIRE_TEXT_MAX);
    enum status status = tokenizer_decode(tokenizer, ids, count, true, &raw);
    if (status == STATUS_OK)
        status = append_span(texts, (const char *)raw.bytes, raw.size, at, length);
    buffer_free(&raw);
    return status;
}

static enum status json_span(struct buffer *texts, const json_t *value, size_t *at, size_t *length)
{
    *at = texts->size;
    char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    enum status status = buffer_text(texts, text != NULL ? text : "");
    free(text); /* lint: allow(free): jansson's buffer */
    *length = texts->size - *at;
    return status;
}

enum {
    TEXT_SOURCE,
    TEXT_PROMPT,
    TEXT_PROMPT_JSON,
    TEXT_RESPONSE,
    TEXT_TRUTH,
    TEXT_EXTRA,
    TEXT_COUNT
};

static uint32_t finish_code(enum segment_status finish)
{
    return finish == SEGMENT_EOS || finish == SEGMENT_STOP ? WEIR_REWARD_FIN_EOS
           : finish == SEGMENT_LENGTH                      ? WEIR_REWARD_FIN_LENGTH
           : finish == SEGMENT_REPETITION                  ? WEIR_REWARD_FIN_REPETITION
                                                           : WEIR_REWARD_FIN_ABORT;
}

static enum status fill_record_texts(struct buffer *texts, const json_t *record,
                                     size_t at[TEXT_COUNT], size_t length[TEXT_COUNT])
{
    const json_t *source = json_object_get(record, "data_source"),
                 *prompt = json_object_get(record, "prompt");
    const char *name = json_is_string(source) ? json_string_value(source) : "";
    TRY(append_span(texts, name, strlen(name), &at[TEXT_SOURCE], &length[TEXT_SOURCE]));
    TRY(json_span(texts, json_is_array(prompt) ? prompt : NULL, &at[TEXT_PROMPT_JSON],
                  &length[TEXT_PROMPT_JSON]));
    TRY(json_span(texts, json_object_get(record, "ground_truth"), &at[TEXT_TRUTH],
                  &length[TEXT_TRUTH]));
    return json_span(texts, json_object_get(record, "extra"), &at[TEXT_EXTRA], &length[TEXT_EXTRA]);
}

/* The record is the store's own JSON; its texts and values become spans of one buffer. */
static enum status fill_texts(const struct tokenizer *tokenizer, struct buffer *texts,
                              const struct score_item *item, size_t at[TEXT_COUNT],
                              size_t length[TEXT_COUNT])
{
    json_error_t error;
    json_t *record = json_loads(item->record_json, JSON_REJECT_DUPLICATES, &error);
    if (record == NULL)
        return FAIL(STATUS_INVALID, "record of prompt %" PRIu64 ": column %d: %s", item->prompt_id,
                    error.column, error.text);
    enum status status = fill_record_texts(texts, record, at, length);
    json_decref(record);
    TRY(status);
    TRY(decode_span(tokenizer, texts, item->prompt_ids, item->prompt_count, &at[TEXT_PROMPT],
                    &length[TEXT_PROMPT]));
    return decode_span(tokenizer, texts, item->response_ids, item->response_count,
                       &at[TEXT_RESPONSE], &length[TEXT_RESPONSE]);
}

static enum status fill_ids(struct job_storage *storage, const struct score_item *item)
{
    size_t prompt = item->prompt_count, response = item->response_count;
    storage->ids = memory_array(prompt + response + 1, sizeof *storage->ids);
    if (storage->ids == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu ids", prompt + response);
    for (size_t i = 0; i < prompt; i++)
        storage->ids[i] = (int32_t)item->prompt_ids[i];
    for (size_t i = 0; i < response; i++)
        storage->ids[prompt + i] = (int32_t)item->response_ids[i];
    weir_reward_item *out = &storage->job.item;
    out->prompt_ids = storage->ids;
    out->response_ids = storage->ids + prompt;
    out->n_prompt_ids = item->prompt_count;
    out->n_response_ids = item->response_count;
    return STATUS_OK;
}

/* NULL when the store did not send them: it did not hear yet that this plugin reads them. */
static enum status fill_logprobs(struct job_storage *storage, const struct score_item *item)
{
    size_t count = item->response_count;
    if (item->response_logprobs == NULL)
        return STATUS_OK;
    storage->logprobs = memory_array(count + 1, sizeof *storage->logprobs);
    if (storage->logprobs == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu logprobs", count);
    memcpy(storage->logprobs, item->response_logprobs, count * sizeof *storage->logprobs);
    storage->job.item.response_logprobs = storage->logprobs;
    storage->job.item.n_response_ids = item->response_count;
    return STATUS_OK;
}

static enum status fill_job(struct job_storage *storage, const struct tokenizer *tokenizer,
                            uint64_t caps, const struct score_item *item)
{
    size_t at[TEXT_COUNT] = {0}, length[TEXT_COUNT] = {0};
    TRY(fill_texts(tokenizer, &storage->texts, item, at, length));
    const char *texts = buffer_string(&storage->texts);
    weir_reward_str spans[TEXT_COUNT];
    for (int i = 0; i < TEXT_COUNT; i++)
        spans[i] = (weir_reward_str){.ptr = texts + at[i], .len = length[i]};
    storage->job.item = (weir_reward_item){
        .struct_size = sizeof storage->job.item,
        .finish_reason = finish_code(item->finish),
        .group_id = item->group_id,
        .group_index = item->sample,
        .group_size = item->group_size,
        .data_source = spans[TEXT_SOURCE],
        .prompt_text = spans[TEXT_PROMPT],
        .prompt_json = spans[TEXT_PROMPT_JSON],
        .response = spans[TEXT_RESPONSE],
        .ground_truth_json = spans[TEXT_TRUTH],
        .extra_json = spans[TEXT_EXTRA],
        .policy_version = item->version,
        .is_eval = item->purpose == PURPOSE_EVAL,
    };
    if ((caps & WEIR_REWARD_CAP_NEEDS_IDS) != 0)
        TRY(fill_ids(storage, item));
    return (caps & WEIR_REWARD_CAP_NEEDS_LOGPROBS) != 0 ? fill_logprobs(storage, item) : STATUS_OK;
}

enum status reward_job_create(struct plugin_job **job, const struct tokenizer *tokenizer,
                              uint64_t caps, const struct score_item *item)
{
    *job = NULL;
    struct job_storage *storage = memory_alloc(sizeof *storage);
    if (storage == NULL)
        return FAIL(STATUS_NO_MEMORY, "reward item");
    buffer_init(&storage->texts, 0);
    storage->job.storage = storage;
    enum status status = fill_job(storage, tokenizer, caps, item);
    storage->job.score = (struct score){.group_id = item->group_id,
                                        .sample = item->sample,
                                        .attempt = item->attempt,
                                        .status = SCORE_ERROR};
    storage->job.unwanted = item->scored;
    if (status == STATUS_OK)
        *job = &storage->job;
    else
        reward_job_drop(&storage->job);
    return status;
}
