/* text/jinja_format.c - "%s" % value and "{}".format(value), without the widths and types that templates do not use. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_case.h"

/* ---- % ---- */

struct percent {
    struct jinja_run *run;
    const struct jinja_value *with;
    size_t taken;
    struct buffer *out;
};

static enum status next_value(struct percent *percent, const struct jinja_value **value)
{
    const struct jinja_value *with = percent->with;
    size_t count = with->kind == JINJA_TUPLE ? with->list->count : 1;
    if (percent->taken >= count)
        return JINJA_FAIL(percent->run, STATUS_INVALID, "%s", "too few values for a % format");
    *value = with->kind == JINJA_TUPLE ? &with->list->items[percent->taken] : with;
    percent->taken++;
    return STATUS_OK;
}

/* "%-08.3" of a directive, and its letter. */
static enum status put_directive(struct percent *percent, int width, int precision, bool left,
                                 bool zero, char letter)
{
    const struct jinja_value *value = NULL;
    struct jinja_run *run = percent->run;
    struct buffer *out = percent->out;
    TRY(next_value(percent, &value));
    if (letter == 's' || letter == 'r') {
        struct buffer text;
        buffer_init(&text, 0);
        enum status status =
            letter == 's' ? jinja_print(run, value, &text) : jinja_repr(run, value, &text);
        if (status == STATUS_OK)
            status = buffer_printf(out, left ? "%-*s" : "%*s", width, buffer_string(&text));
        buffer_free(&text);
        return status;
    }
    if (!jinja_is_number(value))
        return JINJA_FAIL(run, STATUS_INVALID, "%%%c needs a number, not a %s", letter,
                          jinja_kind_name(value));
    double real = jinja_real(value);
    int digits = precision < 0 ? 6 : precision;
    if (strchr("eEfFgG", letter) != NULL) {
        const char *format = letter == 'f' || letter == 'F'   ? (zero ? "%0*.*f" : "%*.*f")
                             : letter == 'e' || letter == 'E' ? (zero ? "%0*.*e" : "%*.*e")
                                                              : (zero ? "%0*.*g" : "%*.*g");
        return buffer_printf(out, format, left ? -width : width, digits, real);
    }
    if (!(real > -9.2e18 && real < 9.2e18))
        return JINJA_FAIL(run, STATUS_LIMIT, "%%%c: the number is too large", letter);
    int64_t integer = value->kind == JINJA_FLOAT ? (int64_t)real : jinja_integer(value);
    if (letter == 'x')
        return buffer_printf(out, zero ? "%0*" PRIx64 : "%*" PRIx64, left ? -width : width,
                             (uint64_t)integer);
    return buffer_printf(out, zero ? "%0*" PRId64 : "%*" PRId64, left ? -width : width, integer);
}

static enum status put_percent(struct percent *percent, struct jinja_text format)
{
    for (size_t at = 0; at < format.size;) {
        const char *mark = memchr(format.bytes + at, '%', format.size - at);
        size_t stop = mark != NULL ? (size_t)(mark - format.bytes) : format.size;
        TRY(buffer_append(percent->out, format.bytes + at, stop - at));
        at = stop + 1;
        if (mark == NULL)
            break;
        bool left = false, zero = false;
        int numbers[2] = {0, -1};
        for (; at < format.size && strchr("-0", format.bytes[at]) != NULL && format.bytes[at]; at++)
            *(format.bytes[at] == '-' ? &left : &zero) = true;
        for (int i = 0; i < 2; i++) {
            numbers[i] = i == 1 && at < format.size && format.bytes[at] == '.' ? 0 : numbers[i];
            at += i == 1 && numbers[1] == 0;
            for (; at < format.size && format.bytes[at] >= '0' && format.bytes[at] <= '9'; at++)
                if (numbers[i] >= 0 && numbers[i] < 1000)
                    numbers[i] = numbers[i] * 10 + (format.bytes[at] - '0');
        }
        char letter = at < format.size ? format.bytes[at++] : '\0';
        if (letter == '%')
            TRY(buffer_text(percent->out, "%"));
        else if (letter != '\0' && strchr("srdifFeEgGx", letter) != NULL && numbers[0] < 1000 &&
                 numbers[1] < 100)
            TRY(put_directive(percent, numbers[0], numbers[1], left, zero && !left, letter));
        else
            return JINJA_FAIL(percent->run, STATUS_UNSUPPORTED,
                              "a %% format has %%s, %%r, %%d, %%f, %%e, %%g and %%x, not %%%c",
                              letter >= 32 && letter < 127 ? letter : '?');
    }
    return STATUS_OK;
}

enum status jinja_percent_format(struct jinja_run *run, const struct jinja_value *format,
                                 const struct jinja_value *with, struct jinja_value *value)
{
    struct buffer out;
    struct percent percent = {run, with, 0, &out};
    buffer_init(&out, run->output_max);
    enum status status = jinja_charge(run, format->text.size / 8);
    if (status == STATUS_OK)
        status = put_percent(&percent, format->text);
    if (status == STATUS_OK && with->kind == JINJA_TUPLE && percent.taken < with->list->count)
        status = JINJA_FAIL(run, STATUS_INVALID, "%zu values for a %% format that takes %zu",
                            with->list->count, percent.taken);
    return jinja_text_take(run, status, &out, value);
}

/* ---- format ---- */

static enum status field_value(struct jinja_run *run, const struct jinja_arguments *args,
                               struct jinja_text field, size_t *automatic,
                               const struct jinja_value **value)
{
    size_t place = field.size > 0 ? 0 : (*automatic)++;
    bool number = field.size < 6;
    for (size_t i = 0; i < field.size && number; i++) {
        number = field.bytes[i] >= '0' && field.bytes[i] <= '9';
        place = place * 10 + (size_t)(field.bytes[i] - '0');
    }
    *value = NULL;
    if (number && place < args->count)
        *value = &args->items[place];
    for (size_t i = 0; !number && i < args->named; i++)
        if (strlen(args->names[i]) == field.size &&
            memcmp(args->names[i], field.bytes, field.size) == 0)
            *value = &args->values[i];
    if (*value == NULL)
        return JINJA_FAIL(run, STATUS_INVALID,
                          "format: there is no argument {%.*s} (widths and parts of arguments are "
                          "not supported)",
                          field.size < 60 ? (int)field.size : 60, field.bytes);
    return STATUS_OK;
}

static enum status put_fields(struct jinja_run *run, struct jinja_text format,
                              const struct jinja_arguments *args, struct buffer *out)
{
    size_t automatic = 0;
    for (size_t at = 0; at < format.size;) {
        char byte = format.bytes[at++];
        if (byte != '{' && byte != '}') {
            TRY(buffer_append(out, &byte, 1));
            continue;
        }
        if (at < format.size && format.bytes[at] == byte) {
            TRY(buffer_append(out, &byte, 1));
            at++;
            continue;
        }
        const char *end = memchr(format.bytes + at, '}', format.size - at);
        if (byte == '}' || end == NULL)
            return JINJA_FAIL(run, STATUS_INVALID, "format: a single %c", byte);
        struct jinja_text field = {format.bytes + at, (size_t)(end - format.bytes) - at};
        const struct jinja_value *value;
        TRY(field_value(run, args, field, &automatic, &value));
        TRY(jinja_print(run, value, out));
        at += field.size + 1;
    }
    return STATUS_OK;
}

enum status jinja_text_format(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    struct buffer out;
    buffer_init(&out, run->output_max);
    enum status status = jinja_charge(run, self->text.size / 8);
    if (status == STATUS_OK)
        status = put_fields(run, self->text, args->all, &out);
    return jinja_text_take(run, status, &out, result);
}
