#include "text/content.h"

static const json_t *part_text(const json_t *parts, size_t i)
{
    return json_object_get(json_array_get(parts, i), "text");
}

bool content_is_text(const json_t *content)
{
    if (json_is_string(content))
        return true;
    bool whole = json_is_array(content);
    for (size_t i = 0; i < json_array_size(content) && whole; i++)
        whole = json_is_string(part_text(content, i));
    return whole;
}

static enum status append_string(const json_t *string, struct buffer *text)
{
    return buffer_append(text, json_string_value(string), json_string_length(string));
}

enum status content_append(const json_t *content, struct buffer *text)
{
    if (!content_is_text(content))
        return STATUS_OK;
    if (json_is_string(content))
        return append_string(content, text);
    for (size_t i = 0; i < json_array_size(content); i++) {
        TRY(buffer_text(text, i > 0 ? "\n" : ""));
        TRY(append_string(part_text(content, i), text));
    }
    return STATUS_OK;
}
