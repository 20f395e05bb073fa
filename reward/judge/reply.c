#include "reward/judge/reply.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"

static enum status append_part(struct buffer *text, const json_t *part)
{
    const json_t *type = json_object_get(part, "type"), *words = json_object_get(part, "text");
    if (!json_is_object(part) || !json_is_string(type))
        return FAIL(STATUS_CORRUPT, "a part of the judge's content is no object with a type");
    if (strcmp(json_string_value(type), "text") != 0 &&
        strcmp(json_string_value(type), "output_text") != 0)
        return STATUS_OK; /* reasoning, images: nothing to read a verdict from */
    if (!json_is_string(words))
        return FAIL(STATUS_CORRUPT, "a text part of the judge's content has no text");
    return buffer_append(text, json_string_value(words), json_string_length(words));
}

static enum status content_text(const json_t *content, struct buffer *text)
{
    size_t i;
    const json_t *part;
    if (json_is_string(content))
        return buffer_append(text, json_string_value(content), json_string_length(content));
    if (json_is_null(content))
        return STATUS_OK;
    if (!json_is_array(content))
        return FAIL(STATUS_CORRUPT, "choices[0].message.content is no text");
    json_array_foreach((json_t *)(uintptr_t)content, i, part) TRY(append_part(text, part));
    return STATUS_OK;
}

static uint64_t tokens_of(const json_t *usage, const char *key)
{
    json_int_t tokens = json_integer_value(json_object_get(usage, key)); /* 0 for any other type */
    return tokens > 0 ? (uint64_t)tokens : 0;
}

static enum status read_root(struct reply *reply, const json_t *root)
{
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    const json_t *usage = json_object_get(root, "usage"),
                 *finish = json_object_get(choice, "finish_reason");
    if (!json_is_object(message))
        return FAIL(STATUS_CORRUPT, "the judge's answer has no choices[0].message");
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = content_text(json_object_get(message, "content"), &text);
    char *copy = status == STATUS_OK ? memory_text(buffer_string(&text)) : NULL;
    buffer_free(&text);
    TRY(status);
    if (copy == NULL)
        return FAIL(STATUS_NO_MEMORY, "the judge's answer");
    *reply = (struct reply){.text = copy,
                            .prompt_tokens = tokens_of(usage, "prompt_tokens"),
                            .completion_tokens = tokens_of(usage, "completion_tokens")};
    if (json_is_string(finish))
        snprintf(reply->finish, sizeof reply->finish, "%s", json_string_value(finish));
    return STATUS_OK;
}

enum status reply_read(struct reply *reply, const char *body, size_t size)
{
    json_error_t error;
    json_t *root = json_loadb(body, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return FAIL(STATUS_CORRUPT, "the judge's answer of %zu bytes is no JSON object: %s", size,
                    error.text);
    enum status status = json_is_object(root)
                             ? read_root(reply, root)
                             : FAIL(STATUS_CORRUPT, "the judge's answer is no JSON object");
    json_decref(root);
    return status;
}

void reply_error(const char *body, size_t body_size, char *text, size_t size)
{
    json_t *root = json_loadb(body, body_size, 0, NULL);
    const json_t *error = json_object_get(root, "error"), *message = NULL;
    if (json_is_string(error))
        message = error;
    else
        message = json_object_get(error != NULL ? error : root, "message");
    text[0] = '\0';
    if (json_is_string(message))
        snprintf(text, size, "%s", json_string_value(message));
    for (char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f || *at == '"')
            *at = '?';
    json_decref(root);
}
