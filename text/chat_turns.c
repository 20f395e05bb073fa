/* text/chat_turns.c - see chat_turns.h. */
#include "text/chat_turns.h"

#include <string.h>

#include "core/check.h"
#include "core/memory.h"

struct turns {
    const struct chat *chat;
    const struct chat_request *request;
    struct buffer *text; /* up to the last turn that is done */
    struct buffer before;
    struct chat_spans *spans;
};

static bool is_assistant(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role != NULL && strcmp(role, "assistant") == 0;
}

/* Renders the first `count` messages. */
static enum status render_first(struct turns *turns, size_t count, bool opening,
                                struct buffer *text)
{
    struct chat_request request = *turns->request;
    json_t *list = json_array();
    int failed = list == NULL;
    for (size_t i = 0; i < count; i++)
        failed |= json_array_append(list, json_array_get(turns->request->messages, i));
    request.messages = list;
    request.add_generation_prompt = opening;
    buffer_clear(text);
    enum status status = failed ? FAIL(STATUS_NO_MEMORY, "%zu messages", count)
                                : chat_text(turns->chat, &request, text, NULL);
    json_decref(list);
    return status;
}

static bool begins_with(const struct buffer *whole, const struct buffer *part)
{
    return part->size <= whole->size &&
           (part->size == 0 || memcmp(whole->bytes, part->bytes, part->size) == 0);
}

static enum status add_span(struct chat_spans *spans, size_t begin, size_t end)
{
    if (spans->count == spans->capacity) {
        size_t wider = spans->capacity * 2 + 16;
        struct chat_span *grown =
            memory_grow(spans->spans, spans->capacity * sizeof *grown, wider * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu turns", wider);
        spans->spans = grown;
        spans->capacity = wider;
    }
    spans->spans[spans->count++] = (struct chat_span){begin, end};
    return STATUS_OK;
}

static enum status refuse_turn(const struct turns *turns, size_t index, const char *why)
{
    return FAIL(STATUS_INVALID,
                "%s: %s (message %zu), so what the assistant says cannot be told from the rest: "
                "make rows that end with the one turn to learn, or use a template with "
                "{%% generation %%}",
                chat_template_name(turns->chat->template), why, index);
}

static enum status add_turn(struct turns *turns, size_t index)
{
    if (index > 0)
        TRY(render_first(turns, index, true, &turns->before));
    else
        buffer_clear(&turns->before);
    if (!begins_with(&turns->before, turns->text))
        return refuse_turn(turns, index, "the template writes earlier turns anew");
    TRY(render_first(turns, index + 1, false, turns->text));
    if (!begins_with(turns->text, &turns->before))
        return refuse_turn(turns, index,
                           "the assistant's turn does not begin with what opens an answer");
    return add_span(turns->spans, turns->before.size, turns->text->size);
}

static enum status by_prefixes(struct turns *turns, size_t first)
{
    size_t count = json_array_size(turns->request->messages);
    for (size_t i = first; i < count; i++)
        if (is_assistant(json_array_get(turns->request->messages, i)))
            TRY(add_turn(turns, i));
    return STATUS_OK;
}

/* The template's own marks; those of messages before `first` do not count. */
static enum status by_marks(struct turns *turns, size_t first)
{
    struct chat_request request = *turns->request;
    struct chat_spans *spans = turns->spans;
    size_t kept = 0;
    request.add_generation_prompt = false;
    TRY(chat_text(turns->chat, &request, turns->text, spans));
    if (first > 0)
        TRY(render_first(turns, first, false, &turns->before));
    if (first > 0 && !begins_with(turns->text, &turns->before))
        return refuse_turn(turns, first, "the template writes earlier turns anew");
    for (size_t i = 0; i < spans->count; i++)
        if (spans->spans[i].begin >= turns->before.size)
            spans->spans[kept++] = spans->spans[i];
    spans->count = kept;
    if (kept > 0)
        turns->text->size = spans->spans[kept - 1].end;
    return STATUS_OK;
}

enum status chat_turns(const struct chat *chat, const struct chat_request *request, size_t first,
                       struct buffer *text, struct chat_spans *spans)
{
    struct turns turns = {.chat = chat, .request = request, .text = text, .spans = spans};
    CHECK(chat->template != NULL);
    buffer_clear(text);
    spans->count = 0;
    buffer_init(&turns.before, 0);
    enum status status = chat_template_has_generation(chat->template) ? by_marks(&turns, first)
                                                                      : by_prefixes(&turns, first);
    buffer_free(&turns.before);
    if (status == STATUS_OK && spans->count == 0)
        status = FAIL(STATUS_INVALID, "no message is the assistant's: nothing to learn from");
    return status;
}
