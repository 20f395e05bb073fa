#include "ops/rollout_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "ops/json_text.h"
#include "text/detokenizer.h"

/* ---- text that a terminal may see ---- */

/* Control characters become '?', but newline and tab: a rollout is hostile text. */
static enum status put_safe(struct buffer *text, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bool c1 = bytes[i] == 0xc2 && i + 1 < size && bytes[i + 1] >= 0x80 && bytes[i + 1] < 0xa0;
        bool c0 = (bytes[i] < 0x20 && bytes[i] != '\n' && bytes[i] != '\t') || bytes[i] == 0x7f;
        TRY(c0 || c1 ? buffer_text(text, "?") : buffer_append(text, &bytes[i], 1));
        i += c1;
    }
    return STATUS_OK;
}

static enum status put_ids(struct buffer *text, const uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        TRY(buffer_printf(text, "%s%u", i > 0 ? " " : "", ids[i]));
    return STATUS_OK;
}

static enum status decode(const struct tokenizer *tokenizer, const uint32_t *ids, uint32_t count,
                          struct buffer *out)
{
    struct buffer raw;
    if (tokenizer == NULL)
        return put_ids(out, ids, count);
    buffer_init(&raw, 0);
    enum status status = tokenizer_decode(tokenizer, ids, count, false, &raw);
    if (status == STATUS_OK)
        status = text_append_utf8(out, raw.bytes, raw.size);
    buffer_free(&raw);
    return status;
}

/* ---- colours ---- */

#define COLOUR_END       "\033[0m"
#define COLOUR_UNTRAINED "\033[90m"

/* By the probability with which the actor sampled it: the less likely, the louder. */
static const char *colour_of(const struct rollout_tokens *rollout, uint32_t i)
{
    double p = exp((double)rollout->streamed[i]);
    if (rollout->mask != NULL && rollout->mask[i] == 0)
        return COLOUR_UNTRAINED;
    return p < 0.05 ? "\033[1;31m" : p < 0.2 ? "\033[31m" : p < 0.5 ? "\033[33m" : "";
}

static enum status put_coloured(const struct rollout_tokens *rollout, uint32_t i,
                                const struct buffer *piece, struct buffer *text)
{
    const char *colour = colour_of(rollout, i);
    bool clipped = rollout->clipped != NULL && rollout->clipped[i] != 0;
    if (piece->size == 0)
        return STATUS_OK;
    TRY(buffer_text(text, colour));
    TRY(buffer_text(text, clipped ? "\033[4m" : ""));
    TRY(put_safe(text, piece->bytes, piece->size));
    return buffer_text(text, colour[0] != 0 || clipped ? COLOUR_END : "");
}

static enum status put_response(const struct rollout_tokens *rollout,
                                const struct tokenizer *tokenizer, struct buffer *text)
{
    struct detokenizer *detokenizer = NULL;
    struct buffer piece;
    TRY(detokenizer_create(&detokenizer, tokenizer, false));
    buffer_init(&piece, 0);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < rollout->count && status == STATUS_OK; i++) {
        buffer_clear(&piece);
        status = detokenizer_push(detokenizer, rollout->ids[i], &piece);
        if (status == STATUS_OK && i + 1 == rollout->count)
            status = detokenizer_flush(detokenizer, &piece);
        if (status == STATUS_OK)
            status = put_coloured(rollout, i, &piece, text);
    }
    buffer_free(&piece);
    detokenizer_destroy(&detokenizer);
    return status;
}

/* ---- as text ---- */

static uint64_t version_at(const struct rollout_tokens *rollout, uint32_t i)
{
    uint32_t p = rollout->piece_count;
    while (p > 0 && rollout->pieces[p - 1].from > i)
        p--;
    return p > 0 ? rollout->pieces[p - 1].version : 0;
}

static enum status put_head(const struct rollout_tokens *rollout, struct buffer *text)
{
    TRY(buffer_printf(text,
                      "--- step %" PRIu64 " group %" PRIu64 " sample %u prompt %" PRIu64
                      " source %s finish %s tokens %u reward %g",
                      rollout->step, rollout->group, rollout->sample, rollout->prompt_id,
                      rollout->source[0] != 0 ? rollout->source : "-", rollout->finish,
                      rollout->count, rollout->reward));
    if (rollout->shaped != rollout->reward)
        TRY(buffer_printf(text, " shaped %g", rollout->shaped));
    if (isfinite(rollout->advantage))
        TRY(buffer_printf(text, " advantage %g", rollout->advantage));
    TRY(buffer_printf(text, " versions %" PRIu64 "-%" PRIu64, version_at(rollout, 0),
                      version_at(rollout, rollout->count)));
    return buffer_text(text, rollout->masked ? " not trained\n" : "\n");
}

static enum status put_cell(struct buffer *text, const float *values, uint32_t i)
{
    if (values == NULL || !isfinite(values[i]))
        return buffer_printf(text, " %9s", "-");
    return buffer_printf(text, " %9.4f", (double)values[i]);
}

static enum status put_token(const struct rollout_tokens *rollout,
                             const struct tokenizer *tokenizer, uint32_t i, struct buffer *text)
{
    struct buffer piece;
    buffer_init(&piece, 0);
    bool clipped = rollout->clipped != NULL && rollout->clipped[i] != 0;
    enum status status;
    TRY_GOTO(out, buffer_printf(text, "  %6u %8u %7.4f", i, rollout->ids[i],
                                exp((double)rollout->streamed[i])));
    TRY_GOTO(out, put_cell(text, rollout->streamed, i));
    TRY_GOTO(out, put_cell(text, rollout->trained, i));
    TRY_GOTO(out, put_cell(text, rollout->weight, i));
    TRY_GOTO(out, buffer_text(text, clipped ? " clip" : "     "));
    TRY_GOTO(out, put_cell(text, rollout->entropy, i));
    TRY_GOTO(out, buffer_printf(text, " %7" PRIu64 "  ", version_at(rollout, i)));
    if (tokenizer != NULL)
        TRY_GOTO(out, decode(tokenizer, &rollout->ids[i], 1, &piece));
    TRY_GOTO(out, buffer_json_text(text, buffer_string(&piece)));
    TRY_GOTO(out, buffer_text(text, "\n"));
out:
    buffer_free(&piece);
    return status;
}

static enum status put_table(const struct rollout_tokens *rollout,
                             const struct tokenizer *tokenizer, struct buffer *text)
{
    TRY(buffer_text(text, "       #       id       p  streamed   trained    weight       entropy "
                          "version  text\n"));
    for (uint32_t i = 0; i < rollout->count; i++)
        TRY(put_token(rollout, tokenizer, i, text));
    return STATUS_OK;
}

static enum status put_block(const char *title, const struct rollout_tokens *rollout,
                             const struct tokenizer *tokenizer, bool prompt, struct buffer *text)
{
    struct buffer words;
    buffer_init(&words, 0);
    enum status status = decode(tokenizer, prompt ? rollout->prompt_ids : rollout->ids,
                                prompt ? rollout->prompt_count : rollout->count, &words);
    if (status == STATUS_OK)
        status = buffer_printf(text, "%s:\n", title);
    if (status == STATUS_OK)
        status = json_text_block(buffer_string(&words), "  ", text);
    buffer_free(&words);
    return status;
}

/* ---- as JSON ---- */

static json_t *number_or_null(const float *values, uint32_t i)
{
    return values != NULL && isfinite(values[i]) ? json_real((double)values[i]) : json_null();
}

static enum status add_text(json_t *row, const char *member, const struct tokenizer *tokenizer,
                            const uint32_t *ids, uint32_t count)
{
    struct buffer words;
    buffer_init(&words, 0);
    enum status status = decode(tokenizer, ids, count, &words);
    if (status == STATUS_OK)
        json_object_set_new(row, member, json_stringn((const char *)words.bytes, words.size));
    buffer_free(&words);
    return status;
}

static enum status add_tokens(json_t *row, const struct rollout_tokens *rollout,
                              const struct tokenizer *tokenizer)
{
    json_t *list = json_array();
    json_object_set_new(row, "token", list);
    for (uint32_t i = 0; i < rollout->count; i++) {
        json_t *token = json_object();
        json_array_append_new(list, token);
        TRY(add_text(token, "t", tokenizer, &rollout->ids[i], 1));
        json_object_set_new(token, "id", json_integer(rollout->ids[i]));
        json_object_set_new(token, "logprob", number_or_null(rollout->streamed, i));
        json_object_set_new(token, "trained", number_or_null(rollout->trained, i));
        json_object_set_new(token, "weight", number_or_null(rollout->weight, i));
        json_object_set_new(token, "entropy", number_or_null(rollout->entropy, i));
        json_object_set_new(token, "clipped",
                            json_boolean(rollout->clipped != NULL && rollout->clipped[i] != 0));
        json_object_set_new(token, "version", json_integer((json_int_t)version_at(rollout, i)));
    }
    return STATUS_OK;
}

static enum status put_json(const struct rollout_tokens *rollout, const struct tokenizer *tokenizer,
                            bool tokens, struct buffer *text)
{
    json_t *row =
        json_pack("{sI sI sI sI sI ss ss sI sf sf sb}", "step", (json_int_t)rollout->step, "group",
                  (json_int_t)rollout->group, "sample", (json_int_t)rollout->sample, "prompt_id",
                  (json_int_t)rollout->prompt_id, "attempt", (json_int_t)rollout->attempt, "source",
                  rollout->source, "finish", rollout->finish, "tokens", (json_int_t)rollout->count,
                  "reward", rollout->reward, "shaped", rollout->shaped, "masked", rollout->masked);
    if (row == NULL)
        return FAIL(STATUS_INVALID, "group %" PRIu64 " sample %u does not go into JSON",
                    rollout->group, rollout->sample);
    if (isfinite(rollout->advantage))
        json_object_set_new(row, "advantage", json_real(rollout->advantage));
    enum status status =
        add_text(row, "prompt", tokenizer, rollout->prompt_ids, rollout->prompt_count);
    if (status == STATUS_OK)
        status = add_text(row, "text", tokenizer, rollout->ids, rollout->count);
    if (status == STATUS_OK && tokens)
        status = add_tokens(row, rollout, tokenizer);
    char *line = status == STATUS_OK ? json_dumps(row, JSON_COMPACT) : NULL;
    if (line != NULL)
        status = buffer_printf(text, "%s\n", line);
    /* lint: allow(free): jansson hands over memory of its own */
    free(line);
    json_decref(row);
    return status;
}

enum status rollout_text(const struct rollout_tokens *rollout, const struct tokenizer *tokenizer,
                         const struct rollout_text_options *options, struct buffer *text)
{
    if (options->json)
        return put_json(rollout, tokenizer, options->tokens, text);
    TRY(put_head(rollout, text));
    TRY(put_block("prompt", rollout, tokenizer, true, text));
    if (options->tokens)
        return put_table(rollout, tokenizer, text);
    if (!options->colours || tokenizer == NULL)
        return put_block("response", rollout, tokenizer, false, text);
    TRY(buffer_text(text, "response:\n"));
    TRY(put_response(rollout, tokenizer, text));
    return buffer_text(text, "\n");
}
