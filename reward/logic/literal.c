#include "reward/logic/literal.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"

enum { DEPTH_MAX = 10, WORD_MAX = 512 };

struct reader {
    const char *at, *end;
    unsigned flags;
    int depth;
};

static json_t *read_value(struct reader *reader, const char *stops);

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* With LITERAL_WORDS the backslash of \{ and \} counts as space. */
static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end) {
        bool escape = reader->flags != 0 && *reader->at == '\\' && reader->end - reader->at > 1 &&
                      strchr("{}[]()", reader->at[1]) != NULL;
        if (!is_space(*reader->at) && !escape)
            return;
        reader->at++;
    }
}

static bool peek(struct reader *reader, char c)
{
    return reader->at < reader->end && *reader->at == c;
}

static enum status append_utf8(struct buffer *text, uint32_t code)
{
    char bytes[4];
    size_t size = 1;
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return STATUS_INVALID; /* no text of ours holds it */
    if (code < 0x80) {
        bytes[0] = (char)code;
    } else if (code < 0x800) {
        bytes[0] = (char)(0xc0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 63));
        size = 2;
    } else if (code < 0x10000) {
        bytes[0] = (char)(0xe0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 63));
        bytes[2] = (char)(0x80 | (code & 63));
        size = 3;
    } else {
        bytes[0] = (char)(0xf0 | code >> 18);
        bytes[1] = (char)(0x80 | (code >> 12 & 63));
        bytes[2] = (char)(0x80 | (code >> 6 & 63));
        bytes[3] = (char)(0x80 | (code & 63));
        size = 4;
    }
    return buffer_append(text, bytes, size);
}

/* `digits` hexadecimal digits. */
static bool read_hex(struct reader *reader, int digits, uint32_t *code)
{
    *code = 0;
    for (; digits > 0; digits--) {
        if (reader->at >= reader->end)
            return false;
        char c = *reader->at++;
        uint32_t value = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (value == 16)
            return false;
        *code = *code * 16 + value;
    }
    return true;
}

/* What follows a backslash. */
static bool read_escape(struct reader *reader, struct buffer *text)
{
    if (reader->at >= reader->end)
        return false;
    char c = *reader->at++;
    uint32_t code = (unsigned char)c;
    if (c == 'n')
        code = '\n';
    else if (c == 't')
        code = '\t';
    else if (c == 'r')
        code = '\r';
    else if (c == 'x' || c == 'u' || c == 'U') {
        if (!read_hex(reader, c == 'x' ? 2 : c == 'u' ? 4 : 8, &code))
            return false;
        uint32_t low;
        if (code >= 0xd800 && code < 0xdc00 && reader->end - reader->at >= 6 &&
            reader->at[0] == '\\' && reader->at[1] == 'u') {
            reader->at += 2;
            if (!read_hex(reader, 4, &low) || low < 0xdc00 || low > 0xdfff)
                return false;
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    } else if (strchr("\\'\"/", c) == NULL) {
        return buffer_append(text, "\\", 1) == STATUS_OK && buffer_append(text, &c, 1) == STATUS_OK;
    }
    return append_utf8(text, code) == STATUS_OK;
}

static json_t *read_quoted(struct reader *reader)
{
    char quote = *reader->at++;
    struct buffer text;
    json_t *value = NULL;
    buffer_init(&text, 0);
    while (reader->at < reader->end && *reader->at != quote) {
        char c = *reader->at++;
        if (c == '\\' ? !read_escape(reader, &text) : buffer_append(&text, &c, 1) != STATUS_OK)
            goto out;
    }
    if (reader->at < reader->end) {
        reader->at++;
        value = json_stringn(text.size == 0 ? "" : (const char *)text.bytes, text.size);
    }
out:
    buffer_free(&text);
    return value;
}

/* A number, or NULL. */
static json_t *number_of(const char *word, size_t size)
{
    char text[64], *end;
    if (size == 0 || size >= sizeof text || memchr(word, '\0', size) != NULL ||
        (strchr("+-.", word[0]) == NULL && (word[0] < '0' || word[0] > '9')))
        return NULL;
    memcpy(text, word, size);
    text[size] = '\0';
    if (strspn(text, "0123456789+-.eE") != size)
        return NULL;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (*end == '\0' && errno == 0)
        return json_integer(whole);
    double real = strtod(text, &end);
    return *end == '\0' && isfinite(real) ? json_real(real) : NULL;
}

/* A number, a constant or (with LITERAL_WORDS) a bare word. It ends before a bracket or one of `stops`. */
static json_t *read_word(struct reader *reader, const char *stops)
{
    const char *from = reader->at;
    bool words = (reader->flags & LITERAL_WORDS) != 0;
    while (reader->at < reader->end && *reader->at != '\0' &&
           strchr("[](){}", *reader->at) == NULL && strchr(stops, *reader->at) == NULL &&
           (words || !is_space(*reader->at)) && reader->at - from < WORD_MAX)
        reader->at++;
    size_t size = (size_t)(reader->at - from);
    while (size > 0 && (is_space(from[size - 1]) || (words && from[size - 1] == '\\')))
        size--;
    static const struct {
        const char *word;
        int kind;
    } constants[] = {{"True", 1},  {"true", 1}, {"False", 2},
                     {"false", 2}, {"None", 3}, {"null", 3}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (strlen(constants[i].word) == size && memcmp(from, constants[i].word, size) == 0)
            return constants[i].kind == 1   ? json_true()
                   : constants[i].kind == 2 ? json_false()
                                            : json_null();
    json_t *number = number_of(from, size);
    return number != NULL || !words || size == 0 ? number : json_stringn(from, size);
}

/* The text of a dictionary's key. */
static bool key_text(const json_t *key, struct buffer *text)
{
    char scratch[24];
    if (json_is_string(key) || json_is_integer(key))
        return buffer_text(text, literal_text(key, scratch)) == STATUS_OK;
    if (!json_is_array(key) || json_array_size(key) == 0)
        return false;
    for (size_t i = 0; i < json_array_size(key); i++) {
        const json_t *part = json_array_get(key, i);
        if ((!json_is_string(part) && !json_is_integer(part)) ||
            (i > 0 && buffer_text(text, ",") != STATUS_OK) ||
            buffer_text(text, literal_text(part, scratch)) != STATUS_OK)
            return false;
    }
    return true;
}

/* After "key" and a colon: the value, into *whole (made an object by the first). */
static bool read_pair(struct reader *reader, json_t *key, json_t **whole)
{
    struct buffer text;
    buffer_init(&text, 0);
    bool fine = json_is_object(*whole) || json_array_size(*whole) == 0;
    if (fine && !json_is_object(*whole)) {
        json_decref(*whole);
        *whole = json_object();
    }
    reader->at++;
    skip_space(reader);
    json_t *value = fine && key_text(key, &text) ? read_value(reader, ",") : NULL;
    fine = value != NULL && json_object_set_new(*whole, buffer_string(&text), value) == 0;
    buffer_free(&text);
    return fine;
}

/* One element or pair of a container. */
static bool read_element(struct reader *reader, bool braces, json_t **whole)
{
    json_t *value = read_value(reader, braces ? ",:" : ",");
    if (value == NULL)
        return false;
    skip_space(reader);
    if (braces && peek(reader, ':')) {
        bool fine = read_pair(reader, value, whole);
        json_decref(value);
        return fine;
    }
    return json_is_array(*whole) ? json_array_append_new(*whole, value) == 0
                                 : (json_decref(value), false);
}

/* After the opening bracket. */
static json_t *read_container(struct reader *reader, char close)
{
    json_t *whole = close == '}' ? json_object() : json_array();
    bool first = true, braces = close == '}';
    while (whole != NULL) {
        skip_space(reader);
        if (peek(reader, close)) {
            reader->at++;
            return whole;
        }
        if (first && braces) { /* {1, 2} is a set */
            json_decref(whole);
            whole = json_array();
        }
        first = false;
        bool nested = reader->at < reader->end && strchr("[({", *reader->at) != NULL;
        if (!read_element(reader, braces, &whole))
            break;
        skip_space(reader);
        nested = nested && reader->flags != 0 && (peek(reader, '[') || peek(reader, '('));
        if (peek(reader, ','))
            reader->at++;
        else if (!nested && !peek(reader, close)) /* numpy prints rows without commas */
            break;
    }
    json_decref(whole);
    return NULL;
}

static json_t *read_value(struct reader *reader, const char *stops)
{
    skip_space(reader);
    if (reader->at >= reader->end)
        return NULL;
    char c = *reader->at;
    if (c == '"' || c == '\'')
        return read_quoted(reader);
    if (c != '[' && c != '(' && c != '{')
        return read_word(reader, stops);
    if (reader->depth >= DEPTH_MAX)
        return NULL;
    reader->at++;
    reader->depth++;
    json_t *value = read_container(reader, c == '[' ? ']' : c == '(' ? ')' : '}');
    reader->depth--;
    return value;
}

json_t *literal_read(struct answer_span text, unsigned flags)
{
    struct reader reader = {text.at, text.at + text.size, flags, 0};
    json_t *value = read_value(&reader, ",");
    skip_space(&reader);
    if (value == NULL || reader.at == reader.end)
        return value;
    json_decref(value);
    return NULL;
}

static int levels(json_t *value)
{
    int deepest = 0;
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            int depth = levels(json_array_get(value, i));
            deepest = depth > deepest ? depth : deepest;
        }
        return deepest + 1;
    }
    if (!json_is_object(value))
        return 0;
    const char *key;
    json_t *member;
    json_object_foreach(value, key, member)
    {
        int depth = levels(member);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

/* Whether the brackets of a literal that starts here can close: no deeper than DEPTH_MAX, the right kinds, and before the
 * end. Rules most starts of hostile text out before anything is allocated; never one that read_value would take. */
static bool can_close(const char *at, const char *end)
{
    char close[DEPTH_MAX + 1];
    int depth = 0;
    bool fresh = true; /* an element may begin here: a quote opens a text */
    for (; at < end; at++) {
        char c = *at;
        if (c == '[' || c == '(' || c == '{') {
            if (depth == DEPTH_MAX)
                return false;
            close[depth++] = c == '[' ? ']' : c == '(' ? ')' : '}';
            fresh = true;
        } else if (c == ']' || c == ')' || c == '}') {
            if (c != close[--depth])
                return false;
            if (depth == 0)
                return true;
            fresh = false;
        } else if (fresh && (c == '"' || c == '\'')) {
            for (at++; at < end && *at != c; at++)
                at += *at == '\\';
            fresh = false;
        } else if (!is_space(c)) {
            bool escape = c == '\\' && end - at > 1 && strchr("{}[]()", at[1]) != NULL;
            fresh = c == ',' || c == ':' || (fresh && escape);
        }
    }
    return false;
}

/* A start that fails is tried once; what it went through holds at most DEPTH_MAX - 1 more unclosed starts before it
 * would have failed, so every character is looked at DEPTH_MAX times at most. */
json_t *literal_next(struct answer_span *rest, int depth, unsigned flags)
{
    while (rest->size > 0) {
        const char *end = rest->at + rest->size;
        struct reader reader = {rest->at, end, flags, 0};
        bool starts = *rest->at == '[' || *rest->at == '(' || *rest->at == '{';
        json_t *value = starts && can_close(rest->at, end) ? read_value(&reader, ",") : NULL;
        const char *next = value != NULL ? reader.at : rest->at + 1;
        *rest = (struct answer_span){next, (size_t)(end - next)};
        if (value != NULL && levels(value) >= depth)
            return value;
        json_decref(value);
    }
    return NULL;
}

json_t *literal_last(struct answer_span text, int depth, unsigned flags)
{
    json_t *last = NULL, *next;
    while ((next = literal_next(&text, depth, flags)) != NULL) {
        json_decref(last);
        last = next;
    }
    return last;
}

bool literal_int(const json_t *value, int *number)
{
    json_t *parsed = NULL;
    if (json_is_string(value)) {
        struct answer_span text = answer_trimmed(
            (struct answer_span){json_string_value(value), json_string_length(value)});
        parsed = number_of(text.at, text.size);
        value = parsed;
    }
    double real = json_is_number(value) ? json_number_value(value) : NAN;
    bool whole = real >= INT_MIN && real <= INT_MAX && floor(real) == real;
    if (whole)
        *number = (int)real;
    json_decref(parsed);
    return whole;
}

const char *literal_text(const json_t *value, char scratch[24])
{
    int whole;
    if (json_is_string(value))
        return json_string_value(value);
    scratch[0] = '\0';
    if (json_is_integer(value))
        (void)snprintf(scratch, 24, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value) && literal_int(value, &whole))
        (void)snprintf(scratch, 24, "%d", whole);
    return scratch;
}
