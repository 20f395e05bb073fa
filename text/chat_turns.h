/* text/chat_turns.h - which part of a rendered conversation the assistant says: for masks of supervised rows.
 *
 * A template with {% generation %} blocks marks it itself. Of any other template turn i is what rendering the messages
 * up to and with i adds to rendering those before it with the opening of the assistant's turn. That needs a template
 * that only ever adds at the end; one that writes earlier turns anew (Qwen3 drops their thinking) is refused with the
 * turn at which it does. */
#ifndef TEXT_CHAT_TURNS_H
#define TEXT_CHAT_TURNS_H

#include "text/chat.h"

/* The assistant's turns among messages [first, count) of a request; add_generation_prompt of it is not looked at. `text`
 * is replaced and ends with the last of them; spans are in order. INVALID: there is no such turn, or the template
 * writes earlier turns anew, or as chat_text. The chat has a template. */
MUST_CHECK enum status chat_turns(const struct chat *chat, const struct chat_request *request,
                                  size_t first, struct buffer *text, struct chat_spans *spans);

#endif
