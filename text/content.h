/* text/content.h - what a message says.
 *
 * "content" is a text, or a list of parts; parts that are all texts ({"type": "text", "text": ...}) say them with newlines
 * between. The one rule of everything here that needs a message's text: built-in chat formats, templates that read texts,
 * rows of weir sft, and the tools for data. Pure, any thread. */
#ifndef TEXT_CONTENT_H
#define TEXT_CONTENT_H

#include <jansson.h>
#include <stdbool.h>

#include "core/buffer.h"
#include "core/status.h"

/* A text, or a list of nothing but texts. NULL is none. */
bool content_is_text(const json_t *content);
/* Appends it, with the NUL characters it may have; nothing when it is none. */
MUST_CHECK enum status content_append(const json_t *content, struct buffer *text);

#endif
