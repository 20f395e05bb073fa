/* actor/openai_fields.c - JSON members with the types that a request needs, and errors that name them. */
#include "actor/openai.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set_message(struct openai_error *error, const char *fmt, va_list args)
{
    char text[sizeof error->message];
    struct buffer clean;
    vsnprintf(text, sizeof text, fmt, args);
    /* A cut may fall into a character, and JSON carries whole ones only: here and, once more, below. */
    buffer_init(&clean, sizeof error->message - 1);
    for (size_t size = strlen(text); size > 0; size -= size > 3 ? 3 : size) {
        buffer_clear(&clean);
        if (text_append_utf8(&clean, text, size) == STATUS_OK)
            break;
    }
    snprintf(error->message, sizeof error->message, "%s", buffer_string(&clean));
    buffer_free(&clean);
}

bool openai_refuse(struct openai_error *error, const char *param, const char *fmt, ...)
{
    va_list args;
    *error = (struct openai_error){.status = 400, .type = "invalid_request_error"};
    snprintf(error->param, sizeof error->param, "%s", param != NULL ? param : "");
    va_start(args, fmt);
    set_message(error, fmt, args);
    va_end(args);
    return false;
}

bool openai_refuse_as(struct openai_error *error, int status, const char *type, const char *code,
                      const char *fmt, ...)
{
    va_list args;
    *error = (struct openai_error){.status = status, .type = type, .code = code};
    va_start(args, fmt);
    set_message(error, fmt, args);
    va_end(args);
    return false;
}

json_t *openai_error_json(const struct openai_error *error)
{
    return json_pack("{s:{s:s,s:s,s:s?,s:s?}}", "error", "message", error->message, "type",
                     error->type, "param", error->param[0] != '\0' ? error->param : NULL, "code",
                     error->code);
}

json_t *openai_parse(const char *body, size_t size, struct openai_error *error)
{
    json_error_t where = {0};
    json_t *json = json_loadb(body, size, JSON_ALLOW_NUL, &where);
    if (json == NULL) {
        openai_refuse(error, NULL, "the body is not JSON: line %d, column %d: %s",
                      where.line < 0 ? 1 : where.line, where.column < 0 ? 0 : where.column,
                      where.text);
        error->code = "invalid_json";
        return NULL;
    }
    if (!json_is_object(json)) {
        json_decref(json);
        openai_refuse(error, NULL, "the body must be a JSON object");
        return NULL;
    }
    return json;
}

static const char *type_name(const json_t *json)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"};
    return names[json_typeof(json)];
}

static const json_t *member(const json_t *json, const char *name)
{
    const json_t *found = json_object_get(json, name);
    return found == NULL || json_is_null(found) ? NULL : found;
}

bool openai_flag(const json_t *json, const char *name, bool otherwise, bool *value,
                 struct openai_error *error)
{
    const json_t *found = member(json, name);
    if (found != NULL && !json_is_boolean(found))
        return openai_refuse(error, name, "%s must be true or false, and is %s", name,
                             type_name(found));
    *value = found != NULL ? json_is_true(found) : otherwise;
    return true;
}

bool openai_integer(const json_t *json, const char *name, int64_t least, int64_t most,
                    int64_t otherwise, int64_t *value, struct openai_error *error)
{
    const json_t *found = member(json, name);
    *value = otherwise;
    if (found == NULL)
        return true;
    if (!json_is_integer(found))
        return openai_refuse(error, name, "%s must be a whole number, and is %s", name,
                             json_is_real(found) ? "a fraction" : type_name(found));
    *value = json_integer_value(found);
    if (*value < least || *value > most)
        return openai_refuse(error, name,
                             "%s is %" PRId64 "; it must be from %" PRId64 " to %" PRId64, name,
                             *value, least, most);
    return true;
}

bool openai_number(const json_t *json, const char *name, double least, double most,
                   double otherwise, double *value, struct openai_error *error)
{
    const json_t *found = member(json, name);
    *value = otherwise;
    if (found == NULL)
        return true;
    if (!json_is_number(found))
        return openai_refuse(error, name, "%s must be a number, and is %s", name, type_name(found));
    *value = json_number_value(found);
    if (!(*value >= least && *value <= most))
        return openai_refuse(error, name, "%s is %g; it must be from %g to %g", name, *value, least,
                             most);
    return true;
}

/* ---- what is not supported ---- */

enum neutral_kind { EMPTY, ZERO, ONE, NO, YES };

/* A member that may only say what happens anyway. */
struct neutral {
    const char *name;
    enum neutral_kind is;
};

static bool says_nothing(const json_t *value, enum neutral_kind neutral)
{
    switch (neutral) {
    case EMPTY:
        return (json_is_object(value) && json_object_size(value) == 0) ||
               (json_is_array(value) && json_array_size(value) == 0) ||
               (json_is_string(value) && json_string_length(value) == 0);
    case ZERO:
        return json_is_number(value) && json_number_value(value) == 0.0;
    case ONE:
        return json_is_number(value) && json_number_value(value) == 1.0;
    case YES:
        return json_is_true(value);
    default:
        return json_is_false(value);
    }
}

static bool refuse_strings(const json_t *json, struct openai_error *error)
{
    const json_t *format = member(json, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (format != NULL && (type == NULL || strcmp(type, "text") != 0))
        return openai_refuse(error, "response_format",
                             "response_format is not supported, but for {\"type\": \"text\"}");
    const json_t *choice = member(json, "tool_choice");
    const char *word = json_string_value(choice);
    if (choice != NULL &&
        (word == NULL || (strcmp(word, "none") != 0 && strcmp(word, "auto") != 0)))
        return openai_refuse(error, "tool_choice", "tool_choice is not supported");
    const json_t *kinds = member(json, "modalities"), *kind;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)kinds, i, kind)
    {
        if (!json_is_string(kind) || strcmp(json_string_value(kind), "text") != 0)
            return openai_refuse(error, "modalities", "modalities: there is text only");
    }
    return true;
}

bool openai_refuse_unsupported(const json_t *json, bool chat, struct openai_error *error)
{
    static const struct neutral neutrals[] = {{"suffix", EMPTY},
                                              {"logit_bias", EMPTY},
                                              {"tools", EMPTY},
                                              {"functions", EMPTY},
                                              {"audio", EMPTY},
                                              {"guided_json", EMPTY},
                                              {"guided_regex", EMPTY},
                                              {"guided_choice", EMPTY},
                                              {"guided_grammar", EMPTY},
                                              {"structured_outputs", EMPTY},
                                              {"bad_words", EMPTY},
                                              {"allowed_token_ids", EMPTY},
                                              {"stop_token_ids", EMPTY},
                                              {"logits_processors", EMPTY},
                                              {"presence_penalty", ZERO},
                                              {"frequency_penalty", ZERO},
                                              {"min_p", ZERO},
                                              {"min_tokens", ZERO},
                                              {"repetition_penalty", ONE},
                                              {"length_penalty", ONE},
                                              {"use_beam_search", NO},
                                              {"include_stop_str_in_output", NO},
                                              {"continue_final_message", NO},
                                              {"function_call", EMPTY},
                                              {"reasoning_effort", EMPTY},
                                              {"truncate_prompt_tokens", EMPTY},
                                              {"prompt_logprobs", EMPTY},
                                              {"skip_special_tokens", YES},
                                              {"typical_p", ONE}};
    for (size_t i = 0; i < sizeof neutrals / sizeof neutrals[0]; i++) {
        const json_t *value = member(json, neutrals[i].name);
        if (value != NULL && !says_nothing(value, neutrals[i].is))
            return openai_refuse(error, neutrals[i].name,
                                 "%s is not supported, and would change the answer",
                                 neutrals[i].name);
    }
    bool specials = false;
    if (chat && !openai_flag(json, "add_special_tokens", false, &specials, error))
        return false;
    if (specials) /* /v1/completions reads it */
        return openai_refuse(error, "add_special_tokens",
                             "add_special_tokens: the chat template writes all of the prompt");
    int64_t n = 1, best = 0;
    if (!chat && (!openai_integer(json, "n", 1, OPENAI_CHOICES_MAX, 1, &n, error) ||
                  !openai_integer(json, "best_of", 1, OPENAI_CHOICES_MAX, n, &best, error)))
        return false;
    if (!chat && best != n)
        return openai_refuse(error, "best_of",
                             "best_of is not supported: ask for n answers and choose");
    return refuse_strings(json, error);
}
