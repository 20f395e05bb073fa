/* rollout_store/canonical.c - one pass over a JSON text that checks it and copies it into its one form; jansson does the
 * texts that this pass does not know, and finds the words for mistakes. */
#include "rollout_store/canonical.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

/* INTEGER_DIGITS: every such integer is within 64 bits. */
enum { DEPTH_MAX = 32, KEYS_MAX = 128, INTEGER_DIGITS = 18, QUOTE_GROWTH = 6 };

struct pass {
    const unsigned char *at, *end;
    unsigned char *out;                  /* never longer than what was read */
    const unsigned char *keys[KEYS_MAX]; /* of all objects that are open, as they were written */
    size_t key_sizes[KEYS_MAX];
    unsigned key_count, depth;
};

/* ---- strings ---- */

/* Bytes of the UTF-8 character at `at`; 0: it is none. */
static size_t character_size(const unsigned char *at, const unsigned char *end)
{
    unsigned char first = at[0];
    size_t size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (size == 1)
        return 1;
    if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < size)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (first == 0xe0 && at[1] < 0xa0) || (first == 0xf0 && at[1] < 0x90);
    bool none = (first == 0xed && at[1] >= 0xa0) || (first == 0xf4 && at[1] >= 0x90);
    return overlong || none ? 0 : size;
}

/* An ASCII character within a string; at most QUOTE_GROWTH bytes. */
static unsigned char *put_ascii(unsigned char *out, unsigned char byte)
{
    static const char digits[] = "0123456789ABCDEF", plain[] = "\"\\\b\f\n\r\t",
                      names[] = "\"\\bfnrt";
    if (byte >= 0x20 && byte != '"' && byte != '\\') {
        *out++ = byte;
        return out;
    }
    const char *found = byte != 0 ? strchr(plain, byte) : NULL;
    if (found != NULL) {
        *out++ = '\\';
        *out++ = (unsigned char)names[found - plain];
    } else {
        memcpy(out, "\\u00", 4);
        out[4] = (unsigned char)digits[byte >> 4];
        out[5] = (unsigned char)digits[byte & 15];
        out += 6;
    }
    return out;
}

static unsigned char *put_character(unsigned char *out, uint32_t code)
{
    if (code < 0x80)
        return put_ascii(out, (unsigned char)code);
    if (code >= 0x10000) {
        *out++ = (unsigned char)(0xf0 | code >> 18);
        *out++ = (unsigned char)(0x80 | (code >> 12 & 0x3f));
    } else if (code >= 0x800) {
        *out++ = (unsigned char)(0xe0 | code >> 12);
    } else {
        *out++ = (unsigned char)(0xc0 | code >> 6);
        *out++ = (unsigned char)(0x80 | (code & 0x3f));
        return out;
    }
    *out++ = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    *out++ = (unsigned char)(0x80 | (code & 0x3f));
    return out;
}

/* The four digits after \u. */
static bool take_unit(struct pass *pass, uint32_t *unit)
{
    if (pass->end - pass->at < 4)
        return false;
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char digit = *pass->at++;
        uint32_t value = digit >= '0' && digit <= '9'   ? digit - (uint32_t)'0'
                         : digit >= 'a' && digit <= 'f' ? digit - (uint32_t)'a' + 10
                         : digit >= 'A' && digit <= 'F' ? digit - (uint32_t)'A' + 10
                                                        : 16;
        if (value == 16)
            return false;
        *unit = *unit << 4 | value;
    }
    return true;
}

/* After a backslash. */
static bool take_escape(struct pass *pass)
{
    static const char names[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
    if (pass->at == pass->end || *pass->at == '\0')
        return false;
    unsigned char name = *pass->at++;
    const char *found = strchr(names, name);
    if (found != NULL) {
        pass->out = put_ascii(pass->out, (unsigned char)plain[found - names]);
        return true;
    }
    uint32_t code, low;
    if (name != 'u' || !take_unit(pass, &code) || code == 0)
        return false;
    if (code >= 0xdc00 && code <= 0xdfff)
        return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (pass->end - pass->at < 2 || pass->at[0] != '\\' || pass->at[1] != 'u')
            return false;
        pass->at += 2;
        if (!take_unit(pass, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    pass->out = put_character(pass->out, code);
    return true;
}

static bool take_string(struct pass *pass)
{
    if (pass->at == pass->end || *pass->at != '"')
        return false;
    *pass->out++ = *pass->at++;
    while (pass->at < pass->end) {
        unsigned char byte = *pass->at;
        if (byte == '"') {
            *pass->out++ = *pass->at++;
            return true;
        }
        if (byte < 0x20)
            return false;
        if (byte == '\\') {
            pass->at++;
            if (!take_escape(pass))
                return false;
            continue;
        }
        size_t size = byte < 0x80 ? 1 : character_size(pass->at, pass->end);
        if (size == 0)
            return false;
        while (size-- > 0)
            *pass->out++ = *pass->at++;
    }
    return false;
}

/* ---- values ---- */

static bool take_value(struct pass *pass);

static void skip_blanks(struct pass *pass)
{
    while (pass->at < pass->end &&
           (*pass->at == ' ' || *pass->at == '\t' || *pass->at == '\n' || *pass->at == '\r'))
        pass->at++;
}

/* `mark`, with blanks around it in the text. */
static bool take_mark(struct pass *pass, unsigned char mark)
{
    skip_blanks(pass);
    if (pass->at == pass->end || *pass->at != mark)
        return false;
    *pass->out++ = *pass->at++;
    skip_blanks(pass);
    return true;
}

/* A key that this object, whose first key is number `first`, does not have yet. */
static bool take_key(struct pass *pass, unsigned first)
{
    const unsigned char *key = pass->out;
    if (pass->key_count == KEYS_MAX || !take_string(pass))
        return false;
    size_t size = (size_t)(pass->out - key);
    for (unsigned i = first; i < pass->key_count; i++)
        if (pass->key_sizes[i] == size && memcmp(pass->keys[i], key, size) == 0)
            return false;
    pass->keys[pass->key_count] = key;
    pass->key_sizes[pass->key_count++] = size;
    return take_mark(pass, ':');
}

static bool take_members(struct pass *pass, bool object)
{
    unsigned char close = object ? '}' : ']';
    unsigned first = pass->key_count;
    if (!take_mark(pass, object ? '{' : '[') || pass->depth == DEPTH_MAX)
        return false;
    pass->depth++;
    bool done = take_mark(pass, close);
    while (!done) {
        if ((object && !take_key(pass, first)) || !take_value(pass))
            return false;
        done = take_mark(pass, close);
        if (!done && !take_mark(pass, ','))
            return false;
    }
    pass->depth--;
    pass->key_count = first;
    return true;
}

/* Of few digits, without fraction and exponent, and not -0. */
static bool take_integer(struct pass *pass)
{
    const unsigned char *begin = pass->at;
    bool negative = *pass->at == '-';
    pass->at += negative;
    const unsigned char *first = pass->at;
    while (pass->at < pass->end && *pass->at >= '0' && *pass->at <= '9')
        pass->at++;
    size_t digits = (size_t)(pass->at - first);
    if (digits == 0 || digits > INTEGER_DIGITS || (*first == '0' && (digits > 1 || negative)))
        return false;
    memcpy(pass->out, begin, (size_t)(pass->at - begin));
    pass->out += pass->at - begin;
    return true;
}

static bool take_word(struct pass *pass)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t size = strlen(words[i]);
        if ((size_t)(pass->end - pass->at) < size || memcmp(pass->at, words[i], size) != 0)
            continue;
        memcpy(pass->out, words[i], size);
        pass->at += size;
        pass->out += size;
        return true;
    }
    return false;
}

/* false: not a value, or one that this pass does not know. What must follow a value is looked at by its caller. */
static bool take_value(struct pass *pass)
{
    if (pass->at == pass->end)
        return false;
    switch (*pass->at) {
    case '{':
        return take_members(pass, true);
    case '[':
        return take_members(pass, false);
    case '"':
        return take_string(pass);
    case 't':
    case 'f':
    case 'n':
        return take_word(pass);
    default:
        return take_integer(pass);
    }
}

static enum status by_tree(const char *text, size_t size, struct buffer *out)
{
    json_error_t error;
    json_t *tree = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (tree == NULL)
        return FAIL(STATUS_INVALID, "column %d: %s", error.column, error.text);
    char *dump = json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    if (dump == NULL)
        return FAIL(STATUS_NO_MEMORY, "JSON text of %zu bytes", size);
    enum status status = buffer_text(out, dump);
    /* lint: allow(free): jansson hands over memory of its own allocator */
    free(dump);
    return status;
}

enum status canonical_json(const char *text, size_t size, struct buffer *out)
{
    buffer_clear(out);
    TRY(buffer_reserve(out, size));
    struct pass pass = {.at = (const unsigned char *)text,
                        .end = (const unsigned char *)text + size,
                        .out = out->bytes};
    skip_blanks(&pass);
    if (pass.at == pass.end || (*pass.at != '{' && *pass.at != '[') || !take_value(&pass) ||
        pass.at != pass.end)
        return by_tree(text, size, out);
    out->size = (size_t)(pass.out - out->bytes);
    CHECK(out->size <= size);
    return STATUS_OK;
}

/* ---- reading ---- */

struct canonical canonical_of(const struct buffer *text)
{
    return (struct canonical){(const char *)text->bytes, text->size};
}

/* The quote that ends the string which begins at `at` is after an even number of backslashes. */
static const char *after_string(const char *at)
{
    size_t escapes;
    do {
        at = rawmemchr(at + 1, '"');
        escapes = 0;
        while (at[-1 - (ptrdiff_t)escapes] == '\\')
            escapes++;
    } while (escapes % 2 != 0);
    return at + 1;
}

static const char *after_value(const char *at)
{
    unsigned depth = 0;
    do {
        if (*at == '"') {
            at = after_string(at);
            continue;
        }
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at++;
    } while (depth > 0);
    while (*at != ',' && *at != '}' && *at != ']') /* of a number or word */
        at++;
    return at;
}

/* `key` is the string from `at` to `end`. */
static bool is_key(const char *at, const char *end, const char *key)
{
    unsigned char quoted[QUOTE_GROWTH];
    for (at++; *key != '\0'; key++) {
        size_t size = (size_t)(put_ascii(quoted, (unsigned char)*key) - quoted);
        if ((size_t)(end - at) <= size || memcmp(at, quoted, size) != 0)
            return false;
        at += size;
    }
    return at + 1 == end;
}

struct canonical canonical_member(struct canonical object, const char *key)
{
    if (!canonical_is_object(object))
        return (struct canonical){0};
    const char *at = object.text + 1, *last = object.text + object.size - 1;
    while (at < last) {
        const char *end = after_string(at), *value = end + 1, *next = after_value(value);
        if (is_key(at, end, key))
            return (struct canonical){value, (size_t)(next - value)};
        at = next + 1;
    }
    return (struct canonical){0};
}

enum status canonical_text(struct canonical string, struct buffer *out)
{
    CHECK(canonical_is_text(string));
    TRY(buffer_reserve(out, string.size));
    unsigned char *to = out->bytes + out->size;
    const char *end = string.text + string.size - 1;
    for (const char *at = string.text + 1; at < end; at++) {
        if (*at != '\\') {
            *to++ = (unsigned char)*at;
            continue;
        }
        static const char names[] = "bfnrt", plain[] = "\b\f\n\r\t";
        const char *found = strchr(names, *++at);
        if (*at == 'u') { /* \u00XX of a control character */
            *to++ = (unsigned char)((at[3] - '0') << 4 |
                                    (at[4] <= '9' ? at[4] - '0' : at[4] - 'A' + 10));
            at += 4;
        } else {
            *to++ = (unsigned char)(found != NULL ? plain[found - names] : *at);
        }
    }
    out->size = (size_t)(to - out->bytes);
    return STATUS_OK;
}

enum status canonical_quote(const char *text, struct buffer *out)
{
    size_t size = strlen(text);
    TRY(buffer_reserve(out, size * QUOTE_GROWTH + 2));
    const unsigned char *at = (const unsigned char *)text, *end = at + size;
    unsigned char *to = out->bytes + out->size;
    *to++ = '"';
    while (at < end) {
        size_t bytes = character_size(at, end);
        if (bytes == 0)
            return FAIL(STATUS_INVALID, "byte %zu of the text is no UTF-8",
                        (size_t)(at - (const unsigned char *)text));
        if (bytes == 1)
            to = put_ascii(to, *at++);
        else
            while (bytes-- > 0)
                *to++ = *at++;
    }
    *to++ = '"';
    out->size = (size_t)(to - out->bytes);
    return STATUS_OK;
}
