#include "ops/dash/rollout_tokens.h"

#include <inttypes.h>
#include <math.h>

#include "core/log.h"
#include "ops/dash/number.h"
#include "ops/rollout_file.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

enum { STEPS_MOST = 4096 };

void rollout_reader_close(struct rollout_reader *reader)
{
    tokenizer_close(&reader->tokenizer);
}

static void open_tokenizer(struct rollout_reader *reader)
{
    const struct settings *settings = reader->settings;
    if (reader->tokenizer != NULL || reader->refused)
        return;
    enum status status = tokenizer_open(&reader->tokenizer, settings->model.path,
                                        (enum setting_tokenizer)settings->model.tokenizer);
    reader->refused = status != STATUS_OK;
    if (status != STATUS_OK)
        LOG_FAILURE("dash", "tokens have no text", status);
}

/* ---- one rollout, token by token ---- */

static enum status add_number(struct buffer *json, const char *key, const float *values, uint32_t i)
{
    char number[NUMBER_TEXT_MAX];
    size_t size = number_text(values != NULL ? (double)values[i] : (double)NAN, number);
    return buffer_printf(json, ",\"%s\":%.*s", key, (int)size, number);
}

static uint64_t version_at(const struct rollout_tokens *rollout, uint32_t i)
{
    uint64_t version = 0;
    for (uint32_t k = 0; k < rollout->piece_count && rollout->pieces[k].from <= i; k++)
        version = rollout->pieces[k].version;
    return version;
}

static enum status add_token(const struct rollout_tokens *rollout, uint32_t i, const char *text,
                             struct buffer *json)
{
    TRY(buffer_text(json, i > 0 ? ",{\"t\":" : "{\"t\":"));
    TRY(buffer_json_text(json, text));
    TRY(buffer_printf(json, ",\"id\":%" PRIu32, rollout->ids[i]));
    TRY(add_number(json, "logprob", rollout->streamed, i));
    TRY(add_number(json, "trained", rollout->trained, i));
    TRY(add_number(json, "weight", rollout->weight, i));
    TRY(add_number(json, "entropy", rollout->entropy, i));
    bool clipped = rollout->clipped != NULL && rollout->clipped[i] != 0;
    bool masked = rollout->masked || (rollout->mask != NULL && rollout->mask[i] == 0);
    return buffer_printf(json, ",\"clipped\":%s,\"masked\":%s,\"version\":%" PRIu64 "}",
                         clipped ? "true" : "false", masked ? "true" : "false",
                         version_at(rollout, i));
}

/* Text of a token as it comes: a character that takes several tokens stands with its last one. */
static enum status add_tokens(struct rollout_reader *reader, const struct rollout_tokens *rollout,
                              struct buffer *json)
{
    struct detokenizer *detokenizer = NULL;
    struct buffer text;
    enum status status = STATUS_OK;
    buffer_init(&text, 0);
    open_tokenizer(reader);
    if (reader->tokenizer != NULL)
        TRY_GOTO(out, detokenizer_create(&detokenizer, reader->tokenizer, false));
    for (uint32_t i = 0; i < rollout->count && status == STATUS_OK; i++) {
        buffer_clear(&text);
        if (detokenizer != NULL &&
            (detokenizer_push(detokenizer, rollout->ids[i], &text) != STATUS_OK ||
             (i + 1 == rollout->count && detokenizer_flush(detokenizer, &text) != STATUS_OK)))
            detokenizer_destroy(&detokenizer);
        for (size_t k = 0; k < text.size; k++)
            text.bytes[k] = text.bytes[k] != 0 ? text.bytes[k] : ' ';
        status = add_token(rollout, i, buffer_string(&text), json);
    }
out:
    detokenizer_destroy(&detokenizer);
    buffer_free(&text);
    return status;
}

static enum status add_rollout(struct rollout_reader *reader, const struct rollout_tokens *rollout,
                               struct buffer *json)
{
    char advantage[NUMBER_TEXT_MAX], shaped[NUMBER_TEXT_MAX];
    size_t advantage_size = number_text(rollout->advantage, advantage);
    size_t shaped_size = number_text(rollout->shaped, shaped);
    TRY(buffer_printf(json, ",\"step\":%" PRIu64 ",\"advantage\":%.*s,\"shaped\":%.*s,\"tokens\":[",
                      rollout->step, (int)advantage_size, advantage, (int)shaped_size, shaped));
    /* "tokens" of the store's line is their number: it is renamed there */
    TRY(add_tokens(reader, rollout, json));
    return buffer_text(json, "]");
}

static enum status look_into(struct rollout_reader *reader, uint64_t step,
                             const struct rollout_filter *filter, struct buffer *json)
{
    struct rollout_file file = {0};
    struct rollout_tokens rollout;
    enum status status = rollout_file_open(&file, reader->folder, step);
    if (status == STATUS_OK)
        status = rollout_file_next(&file, filter, &rollout);
    if (status == STATUS_OK)
        status = add_rollout(reader, &rollout, json);
    rollout_file_close(&file);
    return status;
}

enum status rollout_tokens_json(struct rollout_reader *reader, uint64_t group, uint32_t sample,
                                const uint64_t *from_step, struct buffer *json)
{
    static _Thread_local uint64_t steps[STEPS_MOST];
    uint32_t count = 0;
    const struct rollout_filter filter = {
        .has_group = true, .has_sample = true, .group = group, .sample = sample};
    TRY(rollout_file_steps(reader->folder, steps, STEPS_MOST, &count));
    uint32_t first = count > ROLLOUT_LOOK_FILES ? count - ROLLOUT_LOOK_FILES : 0;
    if (from_step != NULL)
        for (first = 0; first < count && steps[first] < *from_step;)
            first++;
    for (uint32_t i = first; i < count && i < first + ROLLOUT_LOOK_FILES; i++) {
        enum status status = look_into(reader, steps[i], &filter, json);
        if (status != STATUS_NOT_FOUND)
            return status;
    }
    return FAIL(STATUS_NOT_FOUND, "no step file has sample %" PRIu32 " of group %" PRIu64, sample,
                group);
}

/* ---- a list, when there is no Redis ---- */

static json_t *decode(struct rollout_reader *reader, const uint32_t *ids, uint32_t count)
{
    struct buffer bytes, text;
    json_t *made = NULL;
    buffer_init(&bytes, 0);
    buffer_init(&text, 0);
    if (count > ROLLOUT_SHOWN_BYTES)
        count = ROLLOUT_SHOWN_BYTES;
    if (reader->tokenizer != NULL && ids != NULL &&
        tokenizer_decode(reader->tokenizer, ids, count, true, &bytes) == STATUS_OK &&
        text_append_utf8(&text, bytes.bytes,
                         bytes.size < ROLLOUT_SHOWN_BYTES ? bytes.size : ROLLOUT_SHOWN_BYTES) ==
            STATUS_OK)
        made = json_stringn_nocheck((const char *)text.bytes, text.size);
    buffer_free(&bytes);
    buffer_free(&text);
    return made != NULL ? made : json_string("");
}

static json_t *as_published(struct rollout_reader *reader, const struct rollout_tokens *rollout)
{
    uint64_t last =
        rollout->piece_count > 0 ? rollout->pieces[rollout->piece_count - 1].version : 0;
    json_t *reward = isfinite(rollout->reward) ? json_real(rollout->reward) : json_null();
    /* no "score": step files do not say how the scorer ended */
    return json_pack("{s:I,s:I,s:i,s:i,s:i,s:I,s:I,s:s,s:o,s:s,s:o,s:o}", "group",
                     (json_int_t)rollout->group, "prompt_id", (json_int_t)rollout->prompt_id,
                     "sample", (int)rollout->sample, "attempt", (int)rollout->attempt, "tokens",
                     (int)rollout->count, "version_min", (json_int_t)version_at(rollout, 0),
                     "version_max", (json_int_t)last, "finish", rollout->finish, "reward", reward,
                     "source", rollout->source, "prompt",
                     decode(reader, rollout->prompt_ids, rollout->prompt_count), "text",
                     decode(reader, rollout->ids, rollout->count));
}

void rollout_reader_list(struct rollout_reader *reader,
                         void (*take)(void *self, const json_t *rollout), void *self)
{
    uint64_t steps[ROLLOUT_SHOWN_FILES];
    uint32_t count = 0;
    if (rollout_file_steps(reader->folder, steps, ROLLOUT_SHOWN_FILES, &count) != STATUS_OK)
        return;
    if (count > 0)
        open_tokenizer(reader);
    for (uint32_t i = 0; i < count; i++) {
        struct rollout_file file = {0};
        struct rollout_tokens rollout;
        enum status status = rollout_file_open(&file, reader->folder, steps[i]);
        while (status == STATUS_OK &&
               (status = rollout_file_next(&file, NULL, &rollout)) == STATUS_OK) {
            json_t *made = as_published(reader, &rollout);
            if (made != NULL)
                take(self, made);
            json_decref(made);
        }
        rollout_file_close(&file);
    }
}
