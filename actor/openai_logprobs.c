/* actor/openai_logprobs.c - log-probabilities in the two shapes of the protocol.
 *
 * /v1/completions: four lists, {tokens, token_logprobs, top_logprobs, text_offset}; the first token of an echoed prompt has
 * null. /v1/chat/completions: one list of {token, logprob, bytes, top_logprobs}. The token itself is always among the top
 * ones. A token whose bytes are no UTF-8 is written "bytes:\xe4\xbd", one without
 * text, or beyond the tokenizer's vocabulary, "token_id:7". */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "actor/openai_answer.h"

struct shown {
    uint32_t id;
    float logprob;                 /* NAN: there is none */
    const struct serve_best *best; /* [top] */
};

/* Its bytes in `raw`, what stands for them in `name`. */
static enum status name_token(const struct openai_answer *answer, uint32_t id, struct buffer *raw,
                              struct buffer *name)
{
    buffer_clear(raw);
    buffer_clear(name);
    TRY(tokenizer_decode(answer->source->tokenizer, &id, 1, false, raw));
    if (raw->size == 0 || id >= tokenizer_vocabulary(answer->source->tokenizer))
        return buffer_printf(name, "token_id:%u", id);
    TRY(text_append_utf8(name, raw->bytes, raw->size));
    if (name->size == raw->size && memcmp(name->bytes, raw->bytes, raw->size) == 0)
        return STATUS_OK;
    buffer_clear(name);
    TRY(buffer_text(name, "bytes:"));
    for (size_t i = 0; i < raw->size; i++)
        TRY(buffer_printf(name, "\\x%02x", raw->bytes[i]));
    return STATUS_OK;
}

struct names {
    const struct openai_answer *answer;
    struct buffer raw, name;
    bool failed;
};

static const char *name_of(struct names *names, uint32_t id)
{
    names->failed |= name_token(names->answer, id, &names->raw, &names->name) != STATUS_OK;
    return buffer_string(&names->name);
}

static json_t *number(float logprob)
{
    /* No likelihood at all would be no JSON. */
    return isnan(logprob) ? json_null() : json_real(logprob < -9999.0F ? -9999.0 : (double)logprob);
}

static bool is_best(const struct shown *shown, uint32_t top)
{
    for (uint32_t k = 0; k < top; k++)
        if (shown->best[k].id == shown->id)
            return true;
    return false;
}

/* ---- completions ---- */

static json_t *top_object(struct names *names, const struct shown *shown, uint32_t top)
{
    if (isnan(shown->logprob))
        return json_null();
    json_t *object = json_object();
    for (uint32_t k = 0; k < top; k++) {
        const char *name =
            shown->best[k].id != UINT32_MAX ? name_of(names, shown->best[k].id) : NULL;
        if (name != NULL && json_object_getn(object, name, names->name.size) == NULL)
            names->failed |= json_object_setn_new(object, name, names->name.size,
                                                  number(shown->best[k].logprob)) != 0;
    }
    if (!is_best(shown, top)) {
        const char *name = name_of(names, shown->id);
        if (json_object_getn(object, name, names->name.size) == NULL)
            names->failed |=
                json_object_setn_new(object, name, names->name.size, number(shown->logprob)) != 0;
    }
    return object;
}

struct lists {
    json_t *tokens, *logprobs, *top, *offsets;
};

static void add_to_lists(struct names *names, struct lists *lists, const struct shown *shown,
                         uint32_t top, uint32_t offset)
{
    const char *name = name_of(names, shown->id);
    names->failed |=
        json_array_append_new(lists->tokens, json_stringn(name, names->name.size)) != 0;
    names->failed |= json_array_append_new(lists->logprobs, number(shown->logprob)) != 0;
    names->failed |= json_array_append_new(lists->top, top_object(names, shown, top)) != 0;
    names->failed |= json_array_append_new(lists->offsets, json_integer(offset)) != 0;
}

/* The prompt's tokens. Those that the tokenizer put before the text are no characters of it. */
static void add_prompt(struct names *names, struct lists *lists, const struct openai_choice *choice,
                       uint32_t top)
{
    const float *logprobs = (const float *)(const void *)choice->prompt_logprobs.bytes;
    const struct serve_best *best =
        (const struct serve_best *)(const void *)choice->prompt_best.bytes;
    uint32_t have = (uint32_t)(choice->prompt_logprobs.size / sizeof *logprobs);
    struct openai_text text;
    if (openai_text_create(&text, names->answer->source->tokenizer, true, NULL, 0) != STATUS_OK) {
        names->failed = true;
        openai_text_free(&text);
        return;
    }
    for (uint32_t t = 0; t < choice->prompt->count && t <= have; t++) {
        bool stopped = false;
        struct shown shown = {.id = choice->prompt->ids[t],
                              .logprob = t > 0 ? logprobs[t - 1] : NAN,
                              .best = t > 0 && top > 0 ? best + (size_t)(t - 1) * top : NULL};
        /* A tokenizer that changes texts can make more characters of one than it has. */
        uint32_t most = choice->prompt_characters;
        add_to_lists(names, lists, &shown, top, text.characters < most ? text.characters : most);
        if (t >= choice->prompt->added)
            names->failed |= openai_text_push(&text, shown.id, &stopped) != STATUS_OK;
    }
    openai_text_free(&text);
}

static struct shown shown_at(const struct openai_choice *choice, uint32_t at, uint32_t top)
{
    const struct serve_best *best = (const struct serve_best *)(const void *)choice->best.bytes;
    return (struct shown){.id = ((const uint32_t *)(const void *)choice->ids.bytes)[at],
                          .logprob = ((const float *)(const void *)choice->logprobs.bytes)[at],
                          .best = top > 0 ? best + (size_t)at * top : NULL};
}

static json_t *completion_lists(struct names *names, const struct openai_choice *choice,
                                bool with_prompt, uint32_t from, uint32_t to)
{
    uint32_t top = names->answer->request->top, characters = choice->prompt_characters;
    struct lists lists = {json_array(), json_array(), json_array(), json_array()};
    if (with_prompt)
        add_prompt(names, &lists, choice, top);
    for (uint32_t t = from; t < to; t++) {
        struct shown shown = shown_at(choice, t, top);
        uint32_t start = ((const uint32_t *)(const void *)choice->starts.bytes)[t];
        add_to_lists(names, &lists, &shown, top, characters + start);
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "tokens", lists.tokens, "token_logprobs", lists.logprobs,
                     "top_logprobs", lists.top, "text_offset", lists.offsets);
}

/* ---- chat ---- */

static json_t *entry(struct names *names, uint32_t id, float logprob)
{
    const char *name = name_of(names, id);
    json_t *bytes = json_array();
    for (size_t i = 0; i < names->raw.size; i++)
        names->failed |= json_array_append_new(bytes, json_integer(names->raw.bytes[i])) != 0;
    json_t *token = json_stringn(name, names->name.size);
    return json_pack("{s:o,s:o,s:o}", "token", token, "logprob", number(logprob), "bytes", bytes);
}

/* The best ones, and the token itself where it is none of them. */
static json_t *chat_top(struct names *names, const struct shown *shown, uint32_t top)
{
    json_t *list = json_array();
    for (uint32_t k = 0; k < top; k++)
        if (shown->best[k].id != UINT32_MAX)
            names->failed |= json_array_append_new(list, entry(names, shown->best[k].id,
                                                               shown->best[k].logprob)) != 0;
    if (top > 0 && !is_best(shown, top))
        names->failed |= json_array_append_new(list, entry(names, shown->id, shown->logprob)) != 0;
    return list;
}

static json_t *chat_list(struct names *names, const struct openai_choice *choice, uint32_t from,
                         uint32_t to)
{
    uint32_t top = names->answer->request->top;
    json_t *content = json_array();
    for (uint32_t t = from; t < to; t++) {
        struct shown shown = shown_at(choice, t, top);
        json_t *one = entry(names, shown.id, shown.logprob);
        names->failed |=
            json_object_set_new(one, "top_logprobs", chat_top(names, &shown, top)) != 0;
        names->failed |= json_array_append_new(content, one) != 0;
    }
    return json_pack("{s:o}", "content", content);
}

json_t *openai_logprobs_json(const struct openai_answer *answer, const struct openai_choice *choice,
                             bool with_prompt, uint32_t from, uint32_t to)
{
    struct names names = {.answer = answer};
    buffer_init(&names.raw, 0);
    buffer_init(&names.name, 0);
    json_t *json = answer->request->chat ? chat_list(&names, choice, from, to)
                                         : completion_lists(&names, choice, with_prompt, from, to);
    buffer_free(&names.raw);
    buffer_free(&names.name);
    if (!names.failed)
        return json;
    json_decref(json);
    return NULL;
}
