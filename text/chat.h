/* text/chat.h - a message list becomes the text of a prompt.
 *
 * Built-in formats instead of Jinja templates: chat.format names one, so what was sampled from is what
 * the recipe says. `none` joins the contents as they are; `chatml` is that of Qwen; `minimax` that of
 * MiniMax-M1 (its tokenizer_config.json). Pure, any thread. */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"
#include "core/settings.h"
#include "core/status.h"

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
