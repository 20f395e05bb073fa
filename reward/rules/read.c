#include "reward/rules/read.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void read_fail(struct read_note *note, const char *fmt, ...)
{
    if (note->failed)
        return;
    note->failed = true;
    va_list args;
    va_start(args, fmt);
    vsnprintf(note->why, sizeof note->why, fmt, args);
    va_end(args);
}

/* NULL when absent or null. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

double read_number(const json_t *object, const char *key, double otherwise, struct read_note *note)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_number(value) || !isfinite(json_number_value(value))) {
        read_fail(note, "%s has to be a number", key);
        return otherwise;
    }
    return json_number_value(value);
}

double read_needed_number(const json_t *object, const char *key, struct read_note *note)
{
    if (member(object, key) == NULL)
        read_fail(note, "%s is missing: a number is needed", key);
    return read_number(object, key, 0.0, note);
}

json_int_t read_integer(const json_t *object, const char *key, json_int_t otherwise, json_int_t low,
                        json_int_t high, struct read_note *note)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return otherwise;
    json_int_t number = json_integer_value(value);
    if (json_is_real(value)) { /* 64.0 is what some writers make of 64 */
        double real = json_real_value(value);
        bool whole = real == floor(real) && fabs(real) < 9e15;
        if (!whole)
            read_fail(note, "%s has to be a whole number, not %g", key, real);
        number = whole ? (json_int_t)real : otherwise;
    } else if (!json_is_integer(value)) {
        read_fail(note, "%s has to be a whole number", key);
        return otherwise;
    }
    if (number < low || number > high) {
        read_fail(note,
                  "%s is %" JSON_INTEGER_FORMAT ", outside %" JSON_INTEGER_FORMAT
                  " to %" JSON_INTEGER_FORMAT,
                  key, number, low, high);
        return otherwise;
    }
    return number;
}

json_int_t read_needed_integer(const json_t *object, const char *key, json_int_t low,
                               json_int_t high, struct read_note *note)
{
    if (member(object, key) == NULL)
        read_fail(note, "%s is missing: a whole number is needed", key);
    return read_integer(object, key, low, low, high, note);
}

bool read_boolean(const json_t *object, const char *key, bool otherwise, struct read_note *note)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_boolean(value))
        read_fail(note, "%s has to be true or false", key);
    return json_is_true(value);
}

const char *read_text(const json_t *object, const char *key, const char *otherwise,
                      struct read_note *note)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_string(value)) {
        read_fail(note, "%s has to be a text", key);
        return otherwise;
    }
    return json_string_value(value);
}

/* The place of `word` among the words, or their number. */
static unsigned place_of(const char *word, const char *words)
{
    unsigned place = 0;
    size_t length = strlen(word);
    for (const char *at = words;; at += strcspn(at, "|") + 1) {
        size_t here = strcspn(at, "|");
        if (here == length && memcmp(at, word, length) == 0)
            return place;
        place++;
        if (at[here] == '\0')
            return place;
    }
}

static unsigned word_count(const char *words)
{
    unsigned count = 1;
    for (const char *at = words; *at != '\0'; at++)
        count += *at == '|';
    return count;
}

unsigned read_choice(const json_t *object, const char *key, const char *words, unsigned otherwise,
                     struct read_note *note)
{
    const char *word = read_text(object, key, NULL, note);
    if (word == NULL)
        return otherwise;
    unsigned place = place_of(word, words);
    if (place < word_count(words))
        return place;
    read_fail(note, "%s is \"%.40s\", it may be: %s", key, word, words);
    return otherwise;
}

bool read_only(const json_t *object, const char *words, struct read_note *note)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (place_of(key, words) == word_count(words)) {
            read_fail(note, "%.60s is no setting; known are: %s", key, words);
            return false;
        }
    }
    return true;
}
