#include "core/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"

enum { BUFFER_CAPACITY_MIN = 64 };

void buffer_init(struct buffer *buffer, size_t limit)
{
    *buffer = (struct buffer){.limit = limit};
}

void buffer_free(struct buffer *buffer)
{
    memory_free(buffer->bytes);
    *buffer = (struct buffer){.limit = buffer->limit};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
}

/* Keeps one byte beyond the contents, so that buffer_string never has to allocate. */
enum status buffer_reserve(struct buffer *buffer, size_t more)
{
    size_t wanted;
    if (__builtin_add_overflow(buffer->size, more, &wanted) || wanted > SIZE_MAX / 4)
        return FAIL(STATUS_LIMIT, "buffer of %zu bytes cannot grow by %zu", buffer->size, more);
    if (buffer->limit != 0 && wanted > buffer->limit)
        return FAIL(STATUS_LIMIT, "buffer of %zu bytes cannot take %zu more, its limit is %zu",
                    buffer->size, more, buffer->limit);
    if (wanted < buffer->capacity)
        return STATUS_OK;
    size_t capacity = buffer->capacity * 2;
    if (capacity < BUFFER_CAPACITY_MIN)
        capacity = BUFFER_CAPACITY_MIN;
    if (capacity < wanted + 1)
        capacity = wanted + 1;
    uint8_t *bytes = memory_grow(buffer->bytes, buffer->size, capacity);
    if (bytes == NULL)
        return FAIL(STATUS_NO_MEMORY, "buffer of %zu bytes", capacity);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return STATUS_OK;
}

enum status buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    TRY(buffer_reserve(buffer, size));
    if (size > 0)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
    return STATUS_OK;
}

enum status buffer_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, text, strlen(text));
}

enum status buffer_printf(struct buffer *buffer, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int size = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (size < 0)
        return FAIL(STATUS_INVALID, "format \"%s\" cannot be printed", fmt);
    TRY(buffer_reserve(buffer, (size_t)size));
    va_start(args, fmt);
    int printed =
        vsnprintf((char *)buffer->bytes + buffer->size, buffer->capacity - buffer->size, fmt, args);
    va_end(args);
    CHECK(printed == size);
    buffer->size += (size_t)size;
    return STATUS_OK;
}

enum status buffer_json_text(struct buffer *buffer, const char *text)
{
    size_t size_before = buffer->size;
    enum status status = buffer_append(buffer, "\"", 1);
    for (; *text != 0 && status == STATUS_OK; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            status = buffer_printf(buffer, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            status = buffer_printf(buffer, "\\u%04x", byte);
        else
            status = buffer_append(buffer, text, 1);
    }
    if (status == STATUS_OK)
        status = buffer_append(buffer, "\"", 1);
    if (status != STATUS_OK)
        buffer->size = size_before;
    return status;
}

const char *buffer_string(struct buffer *buffer)
{
    if (buffer->bytes == NULL)
        return "";
    buffer->bytes[buffer->size] = 0;
    return (const char *)buffer->bytes;
}
