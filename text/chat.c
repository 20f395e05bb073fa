/* text/chat.c - see chat.h. A format is one row: what opens and closes a turn, and what each role is
 * called; formats differ in nothing else. */
#include "text/chat.h"

#include <string.h>

#include "core/check.h"
#include "text/content.h"

enum chat_role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_COUNT };
static const char *const role_names[ROLE_COUNT] = {"system", "user", "assistant"};

static const struct {
    const char *begin;
    const char *open[ROLE_COUNT];
    const char *close;
} formats[] = {
    [CHAT_NONE] = {"", {"", "", ""}, ""},
    [CHAT_CHATML] = {"",
                     {"<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"},
                     "<|im_end|>\n"},
    [CHAT_MINIMAX] = {"<begin_of_document>",
                      {"<beginning_of_sentence>system ai_setting=assistant\n",
                       "<beginning_of_sentence>user name=user\n",
                       "<beginning_of_sentence>ai name=assistant\n"},
                      "<end_of_sentence>\n"},
};

static enum status find_role(const char *name, size_t index, enum chat_role *role)
{
    for (int i = 0; i < ROLE_COUNT; i++)
        if (strcmp(role_names[i], name) == 0) {
            *role = (enum chat_role)i;
            return STATUS_OK;
        }
    return FAIL(STATUS_INVALID, "message %zu has role \"%.64s\"; known are system, user, assistant",
                index, name);
}

static enum status open_turn(enum setting_chat_format format, size_t index, const char *role_name,
                             struct buffer *text)
{
    enum chat_role role = ROLE_USER;
    TRY(find_role(role_name, index, &role));
    return buffer_text(text, formats[format].open[role]);
}

static enum status open_answer(enum setting_chat_format format, bool wanted, struct buffer *text)
{
    return wanted ? buffer_text(text, formats[format].open[ROLE_ASSISTANT]) : STATUS_OK;
}

enum status chat_render(enum setting_chat_format format, const struct chat_message *messages,
                        size_t count, bool add_generation_prompt, struct buffer *text)
{
    CHECK((size_t)format < sizeof formats / sizeof formats[0]);
    TRY(buffer_text(text, formats[format].begin));
    for (size_t i = 0; i < count; i++) {
        TRY(open_turn(format, i, messages[i].role, text));
        TRY(buffer_text(text, messages[i].content));
        TRY(buffer_text(text, formats[format].close));
    }
    return open_answer(format, add_generation_prompt, text);
}

static enum status add_message(enum setting_chat_format format, size_t index, const json_t *message,
                               struct buffer *text)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content");
    if (role == NULL || !content_is_text(content))
        return FAIL(STATUS_INVALID,
                    "message %zu lacks a text \"role\" or \"content\" (a list of parts is "
                    "text if each part is)",
                    index);
    TRY(open_turn(format, index, role, text));
    TRY(content_append(content, text));
    return buffer_text(text, formats[format].close);
}

static enum status built_in(enum setting_chat_format format, const struct chat_request *request,
                            struct buffer *text)
{
    if (json_array_size(request->tools) > 0)
        return FAIL(STATUS_INVALID,
                    "the chat format has no tools: set model.chat_format to template");
    TRY(buffer_text(text, formats[format].begin));
    for (size_t i = 0; i < json_array_size(request->messages); i++)
        TRY(add_message(format, i, json_array_get(request->messages, i), text));
    return open_answer(format, request->add_generation_prompt, text);
}

enum status chat_text(const struct chat *chat, const struct chat_request *request,
                      struct buffer *text, struct chat_spans *spans)
{
    if (chat->template != NULL)
        return chat_template_render(chat->template, request, text, spans);
    CHECK((size_t)chat->format < sizeof formats / sizeof formats[0]);
    size_t before = text->size;
    enum status status = built_in(chat->format, request, text);
    if (status != STATUS_OK)
        text->size = before;
    return status;
}

enum status chat_user_text(const struct chat *chat, const char *content, bool add_generation_prompt,
                           struct buffer *text)
{
    struct chat_message message = {.role = "user", .content = content};
    if (chat->template == NULL)
        return chat_render(chat->format, &message, 1, add_generation_prompt, text);
    json_t *list = json_pack("[{s:s, s:s}]", "role", "user", "content", content);
    if (list == NULL)
        return FAIL(STATUS_INVALID, "the text is no UTF-8");
    struct chat_request request = {.messages = list,
                                   .add_generation_prompt = add_generation_prompt};
    enum status status = chat_text(chat, &request, text, NULL);
    json_decref(list);
    return status;
}

bool chat_is_none(const struct chat *chat)
{
    return chat->template == NULL && chat->format == CHAT_NONE;
}

enum status chat_open(struct chat *chat, const struct model_settings *model)
{
    enum setting_chat_format format = (enum setting_chat_format)model->chat_format;
    *chat = (struct chat){.format = format};
    if (format != CHAT_TEMPLATE && format != CHAT_AUTO)
        return STATUS_OK;
    enum status status = chat_template_open(
        &chat->template, model->path, model->chat_template != NULL ? model->chat_template : "",
        model->chat_variables);
    chat->format = CHAT_TEMPLATE;
    if (status != STATUS_NOT_FOUND || format != CHAT_AUTO)
        return status;
    chat->format = CHAT_NONE;
    return STATUS_OK;
}

void chat_close(struct chat *chat)
{
    chat_template_close(&chat->template);
    chat->format = CHAT_NONE;
}
