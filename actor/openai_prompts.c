/* actor/openai_prompts.c - what the model is to go on with: texts, ids or messages, as ids. */
#include "actor/openai.h"

#include <inttypes.h>
#include <string.h>

static bool refuse_memory(struct openai_error *error)
{
    return openai_refuse_as(error, 503, "server_error", NULL, "out of memory for this request");
}

static bool encode(const struct openai_source *source, const char *name, const char *text,
                   size_t size, bool specials, struct arena *arena, struct openai_prompt *prompt,
                   struct openai_error *error)
{
    uint32_t *ids = NULL;
    size_t count = 0;
    enum status status =
        specials ? tokenizer_encode_prompt(source->tokenizer, text, size, arena, &ids, &count)
                 : tokenizer_encode(source->tokenizer, text, size, arena, &ids, &count);
    if (status == STATUS_LIMIT)
        return openai_refuse(error, name, "%s is too long a text", name);
    if (status != STATUS_OK)
        return openai_refuse(error, name, "%s: %s", name, status_sentence(status_last_error()));
    if (count > UINT32_MAX / 2)
        return openai_refuse(error, name, "%s is too long a text", name);
    char *copy = arena_alloc(arena, size + 1);
    if (copy == NULL)
        return refuse_memory(error);
    memcpy(copy, text, size);
    size_t added = 0;
    if (specials)
        (void)tokenizer_before(source->tokenizer, &added);
    *prompt = (struct openai_prompt){.ids = ids,
                                     .count = (uint32_t)count,
                                     .added = (uint32_t)added,
                                     .text = copy,
                                     .text_size = size};
    return true;
}

bool openai_read_text(const struct openai_source *source, const char *text, size_t size,
                      bool specials, struct arena *arena, struct openai_prompt *prompt,
                      struct openai_error *error)
{
    return encode(source, "prompt", text, size, specials, arena, prompt, error);
}

bool openai_read_ids(const struct openai_source *source, const char *name, const json_t *list,
                     struct arena *arena, struct openai_prompt *prompt, struct openai_error *error)
{
    size_t count = json_array_size(list), i;
    uint32_t *ids = arena_array(arena, count, sizeof *ids);
    const json_t *one;
    if (ids == NULL)
        return refuse_memory(error);
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        if (!json_is_integer(one))
            return openai_refuse(error, name, "%s: item %zu of a list of ids is no whole number",
                                 name, i);
        json_int_t id = json_integer_value(one);
        if (id < 0 || id >= (json_int_t)source->vocabulary)
            return openai_refuse(error, name,
                                 "%s: id %" JSON_INTEGER_FORMAT
                                 " at place %zu is outside the vocabulary of %u",
                                 name, id, i, source->vocabulary);
        ids[i] = (uint32_t)id;
    }
    *prompt = (struct openai_prompt){.ids = ids, .count = (uint32_t)count};
    return true;
}

static bool read_one(const struct openai_source *source, const json_t *json, bool specials,
                     struct arena *arena, struct openai_prompt *prompt, struct openai_error *error)
{
    if (json_is_string(json)) {
        if (!encode(source, "prompt", json_string_value(json), json_string_length(json), specials,
                    arena, prompt, error))
            return false;
    } else if (json_is_array(json)) {
        if (!openai_read_ids(source, "prompt", json, arena, prompt, error))
            return false;
    } else {
        return openai_refuse(error, "prompt",
                             "prompt must be a text, a list of texts, a list of ids, or a list of "
                             "lists of ids");
    }
    return prompt->count > 0 ||
           openai_refuse(error, "prompt", "a prompt is empty: there must be a token to go on from");
}

bool openai_read_prompts(const struct openai_source *source, const json_t *json,
                         struct arena *arena, struct openai_request *request,
                         struct openai_error *error)
{
    const json_t *prompt = json_object_get(json, "prompt");
    if (prompt == NULL || json_is_null(prompt))
        return openai_refuse(error, "prompt", "prompt is missing");
    size_t count = 1;
    bool specials = true;
    if (!openai_flag(json, "add_special_tokens", true, &specials, error))
        return false;
    bool many = json_is_array(prompt) && (json_is_string(json_array_get(prompt, 0)) ||
                                          json_is_array(json_array_get(prompt, 0)));
    if (many)
        count = json_array_size(prompt);
    if (count * request->n > OPENAI_CHOICES_MAX)
        return openai_refuse(error, "prompt",
                             "%zu prompts with n = %u are %zu answers; %d are the most of a "
                             "request",
                             count, request->n, count * request->n, OPENAI_CHOICES_MAX);
    request->prompts = arena_array(arena, count, sizeof *request->prompts);
    request->prompt_count = (uint32_t)count;
    if (request->prompts == NULL)
        return refuse_memory(error);
    for (size_t i = 0; i < count; i++)
        if (!read_one(source, many ? json_array_get(prompt, i) : prompt, specials, arena,
                      &request->prompts[i], error))
            return false;
    return true;
}

/* ---- messages ---- */

static bool check_part(const json_t *part, size_t message, struct openai_error *error)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (type == NULL)
        return openai_refuse(error, "messages", "messages[%zu].content: a part without a type",
                             message);
    if (strcmp(type, "text") != 0)
        return openai_refuse(error, "messages",
                             "messages[%zu].content: a part of type \"%.64s\"; there is text only",
                             message, type);
    if (!json_is_string(json_object_get(part, "text")))
        return openai_refuse(error, "messages",
                             "messages[%zu].content: a part of type text without its text",
                             message);
    return true;
}

/* What has called a tool need not have said anything. */
static bool may_be_silent(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role != NULL && strcmp(role, "assistant") == 0 &&
           (json_array_size(json_object_get(message, "tool_calls")) > 0 ||
            json_is_object(json_object_get(message, "function_call")));
}

static bool check_message(const json_t *message, size_t at, struct openai_error *error)
{
    const json_t *content = json_object_get(message, "content"), *part;
    size_t i;
    if (!json_is_object(message))
        return openai_refuse(error, "messages", "messages[%zu] is no object", at);
    if (!json_is_string(json_object_get(message, "role")))
        return openai_refuse(error, "messages", "messages[%zu] has no role", at);
    json_array_foreach((json_t *)(uintptr_t)content, i, part)
    {
        if (!check_part(part, at, error))
            return false;
    }
    bool known = json_is_string(content) || json_is_array(content) ||
                 ((content == NULL || json_is_null(content)) && may_be_silent(message));
    return known || openai_refuse(error, "messages",
                                  "messages[%zu].content must be a text or a list of parts; only "
                                  "an assistant's message with tool_calls may have none",
                                  at);
}

static enum status render(const struct openai_source *source, const json_t *json, bool generation,
                          struct buffer *text)
{
    const json_t *variables = json_object_get(json, "chat_template_kwargs");
    struct chat_request request = {.messages = json_object_get(json, "messages"),
                                   .variables = json_is_object(variables) ? variables : NULL,
                                   .add_generation_prompt = generation};
    return chat_text(source->chat, &request, text, NULL);
}

static bool check_messages(const struct openai_source *source, const json_t *json,
                           struct openai_error *error)
{
    const json_t *messages = json_object_get(json, "messages"), *message;
    const json_t *variables = json_object_get(json, "chat_template_kwargs");
    size_t i;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return openai_refuse(error, "messages", "messages must be a list of at least one message");
    json_array_foreach((json_t *)(uintptr_t)messages, i, message)
    {
        if (!check_message(message, i, error))
            return false;
    }
    if (variables != NULL && !json_is_null(variables) && !json_is_object(variables))
        return openai_refuse(error, "chat_template_kwargs",
                             "chat_template_kwargs must be an object");
    const json_t *other = json_object_get(json, "chat_template");
    if (other != NULL && !json_is_null(other))
        return openai_refuse(error, "chat_template",
                             "chat_template is not taken from requests; the model's own is used");
    if (chat_is_none(source->chat))
        return openai_refuse(error, "messages",
                             "the model's folder has no chat template: use /v1/completions, or "
                             "serve it with model.chat_format=chatml");
    return true;
}

bool openai_read_messages(const struct openai_source *source, const json_t *json,
                          bool generation_default, struct arena *arena,
                          struct openai_prompt *prompt, struct openai_error *error)
{
    bool generation = true;
    if (!check_messages(source, json, error) ||
        !openai_flag(json, "add_generation_prompt", generation_default, &generation, error))
        return false;
    struct buffer text;
    buffer_init(&text, (size_t)64 << 20);
    enum status status = render(source, json, generation, &text);
    bool fine = status == STATUS_OK;
    if (!fine)
        openai_refuse(error, "messages", "the chat %s: %s",
                      source->chat->template != NULL ? "template" : "format",
                      status_sentence(status_last_error()));
    else
        fine = encode(source, "messages", buffer_string(&text), text.size, false, arena, prompt,
                      error);
    buffer_free(&text);
    if (fine && prompt->count == 0)
        return openai_refuse(error, "messages", "the messages make an empty text");
    return fine;
}
