/* ops/json_text.h - JSON as people read it: names and values in columns, a list of objects as a table.
 * Control characters of strings become '?' (a rollout may hold escape sequences). */
#ifndef OPS_JSON_TEXT_H
#define OPS_JSON_TEXT_H

#include <jansson.h>

#include "core/buffer.h"

MUST_CHECK enum status json_text(const json_t *value, struct buffer *text);
/* `raw` with control characters other than newline and tab replaced, each line after `indent`. */
MUST_CHECK enum status json_text_block(const char *raw, const char *indent, struct buffer *text);
/* A scalar in one line; compound values as compact JSON. */
MUST_CHECK enum status json_text_scalar(const json_t *value, struct buffer *text);

#endif
