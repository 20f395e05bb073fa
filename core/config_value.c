/* core/config_value.c - the text of one row's value into what it means, or why it is refused. */
#include "core/config_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

/* Digits, sign, point and exponent only: no blanks, no hexadecimal, no "inf". */
static bool parse_number(const char *text, double *number)
{
    if (text[0] == 0 || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    char *end;
    errno = 0;
    *number = strtod(text, &end);
    return *end == 0 && isfinite(*number);
}

/* Whole numbers keep all 64 bits when written as digits; "1e6" goes through the double. */
static bool parse_whole(const char *text, double number, uint64_t *whole)
{
    if (text[strspn(text, "0123456789")] == 0) {
        errno = 0;
        *whole = strtoull(text, NULL, 10);
        return errno == 0;
    }
    if (number != floor(number) || number < 0 || number > 0x1p53)
        return false;
    *whole = (uint64_t)number;
    return true;
}

static bool parse_limited(const struct config_field *field, const char *text,
                          struct config_value *value, char why[CONFIG_WHY_BYTES])
{
    bool wants_whole = field->type != CONFIG_F64;
    double number = 0;
    uint64_t whole = 0;
    bool parsed = parse_number(text, &number);
    bool in_range = parsed && number >= field->min && number <= field->max;
    if (parsed && in_range && wants_whole)
        parsed = parse_whole(text, number, &whole);
    if (!parsed || !in_range) {
        snprintf(why, CONFIG_WHY_BYTES, "is \"%.80s\", wanted: a %snumber from %.10g to %.10g%s%s",
                 text, wants_whole ? "whole " : "", field->min, field->max,
                 field->unit[0] != 0 ? " " : "", field->unit);
        return false;
    }
    if (field->type == CONFIG_U32)
        value->u32 = (uint32_t)whole;
    else if (field->type == CONFIG_U64)
        value->u64 = whole;
    else
        value->f64 = number;
    return true;
}

/* The index-th name in "a|b|c" and its length; NULL beyond the last. */
static const char *choice_at(const char *names, uint32_t index, size_t *length)
{
    while (index-- > 0) {
        names = strchr(names, '|');
        if (names == NULL)
            return NULL;
        names++;
    }
    *length = strcspn(names, "|");
    return names;
}

const char *config_choice_name(const struct config_field *field, uint32_t index, char *out,
                               size_t size)
{
    size_t length = 0;
    const char *name = choice_at(field->unit, index, &length);
    snprintf(out, size, "%.*s", name != NULL ? (int)length : 1, name != NULL ? name : "?");
    return out;
}

static bool parse_choice(const struct config_field *field, const char *text,
                         struct config_value *value, char why[CONFIG_WHY_BYTES])
{
    enum { CHOICES_MAX = 16 };
    char names[CHOICES_MAX][CONFIG_NAME_MAX];
    const char *known[CHOICES_MAX];
    size_t length;
    uint32_t count = 0;
    for (; count < CHOICES_MAX && choice_at(field->unit, count, &length) != NULL; count++) {
        known[count] = config_choice_name(field, count, names[count], sizeof names[count]);
        if (strcmp(known[count], text) == 0) {
            value->u32 = count;
            return true;
        }
    }
    const char *nearest = config_nearest(text, known, count);
    snprintf(why, CONFIG_WHY_BYTES, "is \"%.80s\", wanted one of: %s%s%s%s", text, field->unit,
             nearest != NULL ? "; nearest is \"" : "", nearest != NULL ? nearest : "",
             nearest != NULL ? "\"" : "");
    return false;
}

/* A text value is UTF-8, or it could not be written to YAML and JSON and read back. */
bool config_is_utf8(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    while (*c != 0) {
        uint32_t more = *c < 0x80 ? 0 : *c < 0xc2 ? 4 : *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;
        if (more == 4 || *c > 0xf4)
            return false;
        uint32_t point = more == 0 ? *c : *c & (0x3fu >> more);
        for (uint32_t i = 1; i <= more; i++) {
            if ((c[i] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (c[i] & 0x3fu);
        }
        bool overlong = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
        if (overlong || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
        c += more + 1;
    }
    return true;
}

bool config_parse(const struct config_field *field, const char *text, struct config_value *value,
                  char why[CONFIG_WHY_BYTES])
{
    switch (field->type) {
    case CONFIG_U32:
    case CONFIG_U64:
    case CONFIG_F64:
        return parse_limited(field, text, value, why);
    case CONFIG_CHOICE:
        return parse_choice(field, text, value, why);
    case CONFIG_FLAG:
        value->flag = strcmp(text, "true") == 0;
        if (value->flag || strcmp(text, "false") == 0)
            return true;
        snprintf(why, CONFIG_WHY_BYTES, "is \"%.80s\", wanted: true or false", text);
        return false;
    case CONFIG_TEXT:
        if (config_is_utf8(text))
            return true;
        snprintf(why, CONFIG_WHY_BYTES, "is not valid UTF-8");
        return false;
    }
    CHECK(field->type <= CONFIG_CHOICE); /* a row of a type that does not exist */
    return false;
}
