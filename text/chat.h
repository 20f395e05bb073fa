/* text/chat.h - a message list becomes the text of a prompt.
 *
 * model.chat_format names a built-in format or the template of the model folder (text/chat_template.h). `none` joins
 * the contents as they are; `chatml` is that of Qwen; `minimax` that of MiniMax-M1; `template` is the folder's, `auto`
 * the folder's if it has one, else none. A made chat is constant: any thread may render. */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"
#include "core/settings.h"
#include "core/status.h"
#include "text/chat_template.h"

struct chat {
    enum setting_chat_format format; /* NONE, CHATML, MINIMAX or TEMPLATE */
    struct chat_template *template;  /* owned; NULL: built in */
};

/* The chat of a recipe. NOT_FOUND: `template`, and the folder has none. INVALID names the template's line. */
MUST_CHECK enum status chat_open(struct chat *chat, const struct model_settings *model);
void chat_close(struct chat *chat);
bool chat_is_none(const struct chat *chat); /* texts stay as they are */
/* Appends the text of a request in JSON. Built-in formats take roles and contents (texts, or lists of text parts) and
 * refuse tools. spans: NULL, or the assistant's parts where a template marks them. */
MUST_CHECK enum status chat_text(const struct chat *chat, const struct chat_request *request,
                                 struct buffer *text, struct chat_spans *spans);
/* One user message. */
MUST_CHECK enum status chat_user_text(const struct chat *chat, const char *content,
                                      bool add_generation_prompt, struct buffer *text);

struct chat_message {
    const char *role; /* system, user or assistant */
    const char *content;
};

/* Appends the text to `text`. add_generation_prompt: ends with the opening of the assistant's turn.
 * INVALID: a role the format does not have. */
MUST_CHECK enum status chat_render(enum setting_chat_format format,
                                   const struct chat_message *messages, size_t count,
                                   bool add_generation_prompt, struct buffer *text);

#endif
