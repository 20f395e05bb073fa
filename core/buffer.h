/* core/buffer.h - a growing run of bytes with a limit: messages, log records, JSON text.
 * Owned by one thread. After a failed append the buffer holds what it held before. */
#ifndef CORE_BUFFER_H
#define CORE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

struct buffer {
    uint8_t *bytes; /* [capacity], owned */
    size_t size;
    size_t capacity;
    size_t limit; /* 0 = none */
};

void buffer_init(struct buffer *buffer, size_t limit);
void buffer_free(struct buffer *buffer); /* back to empty; may be used again */
void buffer_clear(struct buffer *buffer);
MUST_CHECK enum status buffer_reserve(struct buffer *buffer, size_t more);
MUST_CHECK enum status buffer_append(struct buffer *buffer, const void *bytes, size_t size);
MUST_CHECK enum status buffer_text(struct buffer *buffer, const char *text); /* without the NUL */
MUST_CHECK enum status buffer_printf(struct buffer *buffer, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* `text` (UTF-8) as a JSON string with its quotes. */
MUST_CHECK enum status buffer_json_text(struct buffer *buffer, const char *text);
/* Makes sure a NUL follows the contents (not counted in size); "" when empty. */
const char *buffer_string(struct buffer *buffer);

C_END
#endif
