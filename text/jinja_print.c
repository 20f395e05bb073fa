/* text/jinja_print.c - values as text: str() and repr() of Python, json.dumps, and code points of texts. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja_run.h"

/* ---- code points ---- */

uint32_t jinja_next_point(struct jinja_text text, size_t *at)
{
    uint8_t first = (uint8_t)text.bytes[*at];
    utf8proc_int32_t point = first;
    utf8proc_ssize_t size = 1;
    if (first >= 0x80)
        size = utf8proc_iterate((const utf8proc_uint8_t *)text.bytes + *at,
                                (utf8proc_ssize_t)(text.size - *at), &point);
    *at += size > 0 ? (size_t)size : 1;
    return size > 0 ? (uint32_t)point : first;
}

size_t jinja_count_points(struct jinja_text text)
{
    size_t count = 0;
    for (size_t at = 0; at < text.size; at++)
        count += ((uint8_t)text.bytes[at] & 0xC0) != 0x80;
    return count;
}

size_t jinja_point_offset(struct jinja_text text, size_t index)
{
    size_t at = 0;
    while (at < text.size && index > 0) {
        at++;
        while (at < text.size && ((uint8_t)text.bytes[at] & 0xC0) == 0x80)
            at++;
        index--;
    }
    return at;
}

bool jinja_is_space(uint32_t point)
{
    return (point >= 9 && point <= 13) || (point >= 0x1C && point <= 0x20) || point == 0x85 ||
           point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
           point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F ||
           point == 0x3000;
}

enum status jinja_append_point(struct buffer *out, uint32_t point)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t size = utf8proc_encode_char((utf8proc_int32_t)point, bytes);
    return buffer_append(out, bytes, size > 0 ? (size_t)size : 0);
}

static bool in_set(uint32_t point, const struct jinja_text *set)
{
    if (set == NULL)
        return jinja_is_space(point);
    for (size_t at = 0; at < set->size;)
        if (jinja_next_point(*set, &at) == point)
            return true;
    return false;
}

struct jinja_text jinja_strip(struct jinja_text text, const struct jinja_text *set, bool left,
                              bool right)
{
    size_t begin = 0, end = text.size;
    while (left && begin < end) {
        size_t next = begin;
        if (!in_set(jinja_next_point(text, &next), set))
            break;
        begin = next;
    }
    while (right && end > begin) {
        size_t last = end - 1, next;
        while (last > begin && ((uint8_t)text.bytes[last] & 0xC0) == 0x80)
            last--;
        next = last;
        if (!in_set(jinja_next_point(text, &next), set))
            break;
        end = last;
    }
    return (struct jinja_text){text.bytes + begin, end - begin};
}

/* ---- numbers ---- */

/* The shortest digits that read back as the same number, written as Python's repr does. */
enum status jinja_print_float(double real, struct buffer *out)
{
    char text[40];
    if (isnan(real) || isinf(real))
        return buffer_text(out, isnan(real) ? "nan" : real > 0 ? "inf" : "-inf");
    int digits = 1;
    do {
        snprintf(text, sizeof text, "%.*e", digits - 1, real);
    } while (digits++ < 17 && strtod(text, NULL) != real);
    char *mark = strchr(text, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10);
    int significant = digits - 1;
    if (exponent >= -4 && exponent < 16) {
        int decimals = significant - 1 - exponent;
        return buffer_printf(out, "%.*f", decimals > 1 ? decimals : 1, real);
    }
    *mark = '\0';
    return buffer_printf(out, "%se%c%02d", text, exponent < 0 ? '-' : '+', abs(exponent));
}

static enum status print_number(const struct jinja_value *value, struct buffer *out)
{
    if (value->kind == JINJA_FLOAT)
        return jinja_print_float(value->real, out);
    return buffer_printf(out, "%" PRId64, jinja_integer(value));
}

/* ---- repr ---- */

static bool is_printable(uint32_t point)
{
    if (point < 0x7F)
        return point >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)point)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static enum status repr_text(struct jinja_text text, struct buffer *out)
{
    char quote =
        memchr(text.bytes, '\'', text.size) != NULL && memchr(text.bytes, '"', text.size) == NULL
            ? '"'
            : '\'';
    TRY(buffer_append(out, &quote, 1));
    for (size_t at = 0; at < text.size;) {
        size_t begin = at;
        uint32_t point = jinja_next_point(text, &at);
        if (point == (uint32_t)quote || point == '\\')
            TRY(buffer_printf(out, "\\%c", (int)point));
        else if (point == '\n' || point == '\r' || point == '\t')
            TRY(buffer_text(out, point == '\n' ? "\\n" : point == '\r' ? "\\r" : "\\t"));
        else if (is_printable(point))
            TRY(buffer_append(out, text.bytes + begin, at - begin));
        else
            TRY(buffer_printf(out,
                              point < 0x100     ? "\\x%02x"
                              : point < 0x10000 ? "\\u%04x"
                                                : "\\U%08x",
                              point));
    }
    return buffer_append(out, &quote, 1);
}

static enum status repr_list(struct jinja_run *run, const struct jinja_value *value,
                             struct buffer *out)
{
    const struct jinja_list *list = value->list;
    bool tuple = value->kind == JINJA_TUPLE;
    TRY(buffer_text(out, tuple ? "(" : "["));
    for (size_t i = 0; i < list->count; i++) {
        TRY(buffer_text(out, i > 0 ? ", " : ""));
        TRY(jinja_repr(run, &list->items[i], out));
    }
    return buffer_text(out, !tuple ? "]" : list->count == 1 ? ",)" : ")");
}

static enum status repr_dict(struct jinja_run *run, const struct jinja_dict *dict,
                             struct buffer *out)
{
    TRY(buffer_text(out, "{"));
    for (size_t i = 0; i < dict->count; i++) {
        TRY(buffer_text(out, i > 0 ? ", " : ""));
        TRY(jinja_repr(run, &dict->pairs[i].key, out));
        TRY(buffer_text(out, ": "));
        TRY(jinja_repr(run, &dict->pairs[i].value, out));
    }
    return buffer_text(out, "}");
}

static enum status grown(struct jinja_run *run, const struct buffer *out)
{
    return out->size <= run->output_max
               ? STATUS_OK
               : JINJA_FAIL(run, STATUS_LIMIT, "a text grows beyond %zu bytes", run->output_max);
}

enum status jinja_repr(struct jinja_run *run, const struct jinja_value *value, struct buffer *out)
{
    TRY(jinja_enter(run));
    TRY(grown(run, out));
    switch (value->kind) {
    case JINJA_UNDEFINED:
        TRY(buffer_text(out, "Undefined"));
        break;
    case JINJA_TEXT:
        TRY(jinja_charge(run, value->text.size / 16));
        TRY(repr_text(value->text, out));
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
        TRY(repr_list(run, value, out));
        break;
    case JINJA_DICT:
        TRY(repr_dict(run, value->dict, out));
        break;
    default:
        TRY(jinja_print(run, value, out));
    }
    jinja_leave(run);
    return STATUS_OK;
}

enum status jinja_print(struct jinja_run *run, const struct jinja_value *value, struct buffer *out)
{
    TRY(grown(run, out));
    switch (value->kind) {
    case JINJA_UNDEFINED:
        return STATUS_OK;
    case JINJA_NONE:
        return buffer_text(out, "None");
    case JINJA_BOOL:
        return buffer_text(out, value->truth ? "True" : "False");
    case JINJA_INT:
    case JINJA_FLOAT:
        return print_number(value, out);
    case JINJA_TEXT:
        TRY(jinja_charge(run, value->text.size / 64));
        return buffer_append(out, value->text.bytes, value->text.size);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        return jinja_repr(run, value, out);
    default:
        return JINJA_FAIL(run, STATUS_INVALID,
                          "a %s cannot be written as text: call it, or name "
                          "one of its values",
                          jinja_kind_name(value));
    }
}

enum status jinja_print_text(struct jinja_run *run, const struct jinja_value *value,
                             struct jinja_value *text)
{
    if (value->kind == JINJA_TEXT) {
        *text = *value;
        return STATUS_OK;
    }
    struct buffer out;
    buffer_init(&out, 0);
    return jinja_text_take(run, jinja_print(run, value, &out), &out, text);
}

/* ---- JSON ---- */

static enum status json_point(uint32_t point, struct buffer *out)
{
    if (point < 0x10000)
        return buffer_printf(out, "\\u%04x", point);
    return buffer_printf(out, "\\u%04x\\u%04x", 0xD800 + ((point - 0x10000) >> 10),
                         0xDC00 + ((point - 0x10000) & 0x3FF));
}

static enum status json_text(struct jinja_text text, bool ascii, struct buffer *out)
{
    static const char plain[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
    TRY(buffer_text(out, "\""));
    for (size_t at = 0; at < text.size;) {
        size_t begin = at;
        uint32_t point = jinja_next_point(text, &at);
        const char *place = point != 0 && point < 128 ? strchr(plain, (int)point) : NULL;
        if (place != NULL)
            TRY(buffer_append(out, (char[2]){'\\', letters[place - plain]}, 2));
        else if (point < 0x20 || (ascii && point > 0x7E))
            TRY(json_point(point, out));
        else
            TRY(buffer_append(out, text.bytes + begin, at - begin));
    }
    return buffer_text(out, "\"");
}

static enum status json_line(const struct jinja_json *how, uint32_t level, struct buffer *out)
{
    if (!how->indented)
        return STATUS_OK;
    TRY(buffer_text(out, "\n"));
    for (uint32_t i = 0; i < level; i++)
        TRY(buffer_append(out, how->indent.bytes, how->indent.size));
    return STATUS_OK;
}

static enum status json_value(struct jinja_run *run, const struct jinja_value *value,
                              const struct jinja_json *how, uint32_t level, struct buffer *out);

static enum status json_list(struct jinja_run *run, const struct jinja_list *list,
                             const struct jinja_json *how, uint32_t level, struct buffer *out)
{
    if (list->count == 0)
        return buffer_text(out, "[]");
    TRY(buffer_text(out, "["));
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            TRY(buffer_append(out, how->item_separator.bytes, how->item_separator.size));
        TRY(json_line(how, level + 1, out));
        TRY(json_value(run, &list->items[i], how, level + 1, out));
    }
    TRY(json_line(how, level, out));
    return buffer_text(out, "]");
}

static enum status json_key(struct jinja_run *run, const struct jinja_value *key,
                            const struct jinja_json *how, struct buffer *out)
{
    if (key->kind == JINJA_TEXT)
        return json_text(key->text, how->ascii, out);
    if (key->kind != JINJA_NONE && !jinja_is_number(key))
        return JINJA_FAIL(run, STATUS_INVALID, "tojson: a %s is no key of an object",
                          jinja_kind_name(key));
    TRY(buffer_text(out, "\""));
    TRY(json_value(run, key, how, 0, out));
    return buffer_text(out, "\"");
}

/* Places of the pairs in the order in which they are written. */
static enum status pair_order(struct jinja_run *run, const struct jinja_dict *dict, bool sorted,
                              const struct jinja_pair ***order)
{
    const struct jinja_pair **made;
    TRY(jinja_room(run, dict->count, sizeof *made, &made));
    for (size_t i = 0; i < dict->count; i++) {
        size_t at = i;
        for (; sorted && at > 0; at--) {
            int compared;
            TRY(jinja_order(run, &made[at - 1]->key, &dict->pairs[i].key, &compared));
            if (compared <= 0)
                break;
            made[at] = made[at - 1];
        }
        made[at] = &dict->pairs[i];
    }
    *order = made;
    return STATUS_OK;
}

static enum status json_dict(struct jinja_run *run, const struct jinja_dict *dict,
                             const struct jinja_json *how, uint32_t level, struct buffer *out)
{
    const struct jinja_pair **order;
    if (dict->count == 0)
        return buffer_text(out, "{}");
    TRY(pair_order(run, dict, how->sorted, &order));
    TRY(buffer_text(out, "{"));
    for (size_t i = 0; i < dict->count; i++) {
        if (i > 0)
            TRY(buffer_append(out, how->item_separator.bytes, how->item_separator.size));
        TRY(json_line(how, level + 1, out));
        TRY(json_key(run, &order[i]->key, how, out));
        TRY(buffer_append(out, how->key_separator.bytes, how->key_separator.size));
        TRY(json_value(run, &order[i]->value, how, level + 1, out));
    }
    TRY(json_line(how, level, out));
    return buffer_text(out, "}");
}

static enum status json_value(struct jinja_run *run, const struct jinja_value *value,
                              const struct jinja_json *how, uint32_t level, struct buffer *out)
{
    TRY(jinja_enter(run));
    TRY(grown(run, out));
    switch (value->kind) {
    case JINJA_NONE:
        TRY(buffer_text(out, "null"));
        break;
    case JINJA_BOOL:
        TRY(buffer_text(out, value->truth ? "true" : "false"));
        break;
    case JINJA_INT:
        TRY(print_number(value, out));
        break;
    case JINJA_FLOAT:
        if (isfinite(value->real))
            TRY(jinja_print_float(value->real, out));
        else
            TRY(buffer_text(out, isnan(value->real) ? "NaN"
                                 : value->real > 0  ? "Infinity"
                                                    : "-Infinity"));
        break;
    case JINJA_TEXT:
        TRY(jinja_charge(run, value->text.size / 16));
        TRY(json_text(value->text, how->ascii, out));
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
        TRY(json_list(run, value->list, how, level, out));
        break;
    case JINJA_DICT:
        TRY(json_dict(run, value->dict, how, level, out));
        break;
    case JINJA_UNDEFINED:
        return JINJA_FAIL(run, STATUS_INVALID, "tojson: %.*s", (int)value->text.size,
                          value->text.bytes);
    default:
        return JINJA_FAIL(run, STATUS_INVALID, "tojson: a %s is no JSON", jinja_kind_name(value));
    }
    jinja_leave(run);
    return STATUS_OK;
}

enum status jinja_dump_json(struct jinja_run *run, const struct jinja_value *value,
                            const struct jinja_json *how, struct buffer *out)
{
    return json_value(run, value, how, 0, out);
}
