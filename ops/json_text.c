#include "ops/json_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = 24, COLUMN_WIDTH_MAX = 60, LAST_WIDTH_MAX = 400, INDENT_MAX = 16 };

static enum status one_line(const char *raw, struct buffer *text)
{
    for (; *raw != 0; raw++) {
        char byte = *raw == '\n' || *raw == '\t' ? ' ' : *raw;
        if ((unsigned char)byte < 0x20 || byte == 0x7f)
            byte = '?';
        TRY(buffer_append(text, &byte, 1));
    }
    return STATUS_OK;
}

/* A name of a member, as foreign as its value, filled up to `width` > strlen(key) columns. */
static enum status padded(const char *key, size_t width, struct buffer *text)
{
    TRY(one_line(key, text));
    return buffer_printf(text, "%*s", (int)(width - strlen(key)), "");
}

enum status json_text_block(const char *raw, const char *indent, struct buffer *text)
{
    bool begin = true;
    for (; *raw != 0; raw++) {
        char byte = *raw;
        if (begin)
            TRY(buffer_text(text, indent));
        begin = byte == '\n';
        if (((unsigned char)byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f)
            byte = '?';
        TRY(buffer_append(text, &byte, 1));
    }
    return begin ? STATUS_OK : buffer_text(text, "\n");
}

struct dump {
    struct buffer *text;
    enum status status;
};

static int take_dump(const char *bytes, size_t size, void *self)
{
    struct dump *dump = self;
    dump->status = buffer_append(dump->text, bytes, size);
    return dump->status == STATUS_OK ? 0 : -1;
}

enum status json_text_scalar(const json_t *value, struct buffer *text)
{
    if (json_is_string(value))
        return one_line(json_string_value(value), text);
    if (json_is_integer(value))
        return buffer_printf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    if (json_is_real(value))
        return buffer_printf(text, "%.6g", json_real_value(value));
    if (value == NULL || json_is_null(value))
        return buffer_text(text, "-");
    struct dump dump = {text, STATUS_OK};
    json_dump_callback(value, take_dump, &dump, JSON_COMPACT | JSON_ENCODE_ANY);
    return dump.status;
}

static bool is_table(const json_t *value)
{
    return json_is_array(value) && json_array_size(value) > 0 &&
           json_is_object(json_array_get(value, 0));
}

/* One cell, cut to `limit` bytes; only its width when `text` is NULL. */
static enum status cell(const json_t *row, const char *key, size_t limit, size_t pad,
                        struct buffer *text, size_t *width)
{
    struct buffer one;
    buffer_init(&one, 0);
    enum status status = json_text_scalar(json_object_get(row, key), &one);
    size_t size = one.size < limit ? one.size : limit;
    if (status == STATUS_OK && text != NULL)
        status = buffer_printf(text, "%-*.*s", (int)pad, (int)size, buffer_string(&one));
    *width = size;
    buffer_free(&one);
    return status;
}

struct column {
    const char *key;
    size_t limit, width;
};

static bool has_column(const struct column *columns, size_t count, const char *key)
{
    for (size_t c = 0; c < count; c++)
        if (strcmp(columns[c].key, key) == 0)
            return true;
    return false;
}

/* Columns are the members of all rows; compound ones are for --json only. */
static enum status find_columns(const json_t *rows, struct column *columns, size_t *count)
{
    const char *key;
    json_t *row, *value;
    size_t index, found = 0;
    json_array_foreach(rows, index, row)
        json_object_foreach(row, key, value) if (found < COLUMNS_MAX && !json_is_object(value) &&
                                                 !json_is_array(value) &&
                                                 !has_column(columns, found, key))
            columns[found++] = (struct column){key, COLUMN_WIDTH_MAX, strlen(key)};
    if (found > 0)
        columns[found - 1].limit = LAST_WIDTH_MAX;
    json_array_foreach(rows, index, row) for (size_t c = 0; c < found; c++)
    {
        size_t width;
        TRY(cell(row, columns[c].key, columns[c].limit, 0, NULL, &width));
        columns[c].width = width > columns[c].width ? width : columns[c].width;
    }
    *count = found;
    return STATUS_OK;
}

static enum status table(const json_t *rows, int indent, struct buffer *text)
{
    struct column columns[COLUMNS_MAX];
    size_t count, index, width;
    json_t *row;
    TRY(find_columns(rows, columns, &count));
    TRY(buffer_printf(text, "%*s", indent, ""));
    for (size_t c = 0; c < count; c++)
        TRY(padded(columns[c].key, columns[c].width + 2, text));
    TRY(buffer_text(text, "\n"));
    json_array_foreach(rows, index, row)
    {
        TRY(buffer_printf(text, "%*s", indent, ""));
        for (size_t c = 0; c < count; c++)
            TRY(cell(row, columns[c].key, columns[c].limit, columns[c].width + 2, text, &width));
        TRY(buffer_text(text, "\n"));
    }
    return STATUS_OK;
}

static enum status lines(const json_t *value, int indent, struct buffer *text)
{
    if (is_table(value))
        return table(value, indent, text);
    if (!json_is_object(value) || indent > INDENT_MAX) {
        TRY(buffer_printf(text, "%*s", indent, ""));
        TRY(json_text_scalar(value, text));
        return buffer_text(text, "\n");
    }
    const char *key;
    json_t *member;
    size_t width = 0;
    json_object_foreach((json_t *)(uintptr_t)value, key, member) if (strlen(key) > width) width =
        strlen(key);
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        bool nested = is_table(member) || (json_is_object(member) && json_object_size(member) > 0);
        TRY(buffer_printf(text, "%*s", indent, ""));
        TRY(padded(key, width + 2, text));
        if (!nested)
            TRY(json_text_scalar(member, text));
        TRY(buffer_text(text, "\n"));
        if (nested)
            TRY(lines(member, indent + 2, text));
    }
    return STATUS_OK;
}

enum status json_text(const json_t *value, struct buffer *text)
{
    return lines(value, 0, text);
}
