/* A pushdown automaton: the stack holds what is open, and `want` what may come next. */
#include "reward/rules/json_text.h"

#include <string.h>

enum { INTEGER_DIGITS_MAX = 4300 };

struct scan {
    struct runes text;
    size_t at;
};

static uint32_t peek(const struct scan *scan)
{
    return scan->at < scan->text.size ? scan->text.at[scan->at] : 0;
}

static void skip_space(struct scan *scan)
{
    while (peek(scan) == ' ' || peek(scan) == '\t' || peek(scan) == '\n' || peek(scan) == '\r')
        scan->at++;
}

static bool is_hex(uint32_t rune)
{
    return (rune >= '0' && rune <= '9') || (rune >= 'a' && rune <= 'f') ||
           (rune >= 'A' && rune <= 'F');
}

static bool take_escape(struct scan *scan)
{
    uint32_t rune = peek(scan);
    if (rune == 0 || rune >= 0x80 || strchr("\"\\/bfnrtu", (int)rune) == NULL)
        return false;
    scan->at++;
    for (int i = 0; i < 4 && rune == 'u'; i++, scan->at++) {
        if (!is_hex(peek(scan)))
            return false;
    }
    return true;
}

static bool take_string(struct scan *scan)
{
    if (peek(scan) != '"')
        return false;
    scan->at++;
    while (scan->at < scan->text.size) {
        uint32_t rune = scan->text.at[scan->at++];
        if (rune == '"')
            return true;
        if (rune < 0x20 || (rune == '\\' && !take_escape(scan)))
            return false;
    }
    return false;
}

static size_t take_digits(struct scan *scan)
{
    size_t from = scan->at;
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return scan->at - from;
}

static bool take_number(struct scan *scan)
{
    if (peek(scan) == '-')
        scan->at++;
    bool zero = peek(scan) == '0';
    size_t digits = zero ? 1 : take_digits(scan);
    if (digits == 0)
        return false;
    if (zero)
        scan->at++;
    bool real = false;
    size_t back = scan->at;
    if (peek(scan) == '.') {
        scan->at++;
        if (take_digits(scan) == 0) {
            scan->at = back; /* what follows is then wrong */
            return digits <= INTEGER_DIGITS_MAX;
        }
        real = true;
    }
    back = scan->at;
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        if (take_digits(scan) > 0)
            real = true;
        else
            scan->at = back;
    }
    return real || digits <= INTEGER_DIGITS_MAX;
}

static bool take_plain(struct scan *scan)
{
    static const char *const words[] = {"true", "false", "null", "NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (runes_have(scan->text, scan->at, words[i])) {
            scan->at += strlen(words[i]);
            return true;
        }
    }
    return peek(scan) == '"' ? take_string(scan) : take_number(scan);
}

/* "name": with white space around. */
static bool take_name(struct scan *scan)
{
    skip_space(scan);
    if (!take_string(scan))
        return false;
    skip_space(scan);
    if (peek(scan) != ':')
        return false;
    scan->at++;
    return true;
}

/* A value, or the opening of one: *opened says so. */
static bool take_value(struct scan *scan, char *stack, size_t *depth, bool *opened)
{
    skip_space(scan);
    uint32_t rune = peek(scan);
    *opened = false;
    if (rune != '{' && rune != '[')
        return take_plain(scan);
    if (*depth == JSON_TEXT_DEPTH_MAX)
        return false;
    scan->at++;
    skip_space(scan);
    if (peek(scan) == (rune == '{' ? '}' : ']')) {
        scan->at++;
        return true;
    }
    stack[(*depth)++] = (char)rune;
    *opened = true;
    return rune == '[' || take_name(scan);
}

bool json_text_is_valid(struct runes text)
{
    struct scan scan = {text, 0};
    char stack[JSON_TEXT_DEPTH_MAX];
    size_t depth = 0;
    bool opened = false;
    do {
        if (!take_value(&scan, stack, &depth, &opened))
            return false;
        while (!opened &&
               depth > 0) { /* after a value: more of the same, or the end of what is open */
            skip_space(&scan);
            uint32_t rune = peek(&scan);
            scan.at++;
            if (rune == ',') {
                if (stack[depth - 1] == '{' && !take_name(&scan))
                    return false;
                break;
            }
            if (rune != (stack[depth - 1] == '{' ? '}' : ']'))
                return false;
            depth--;
        }
    } while (depth > 0);
    skip_space(&scan);
    return scan.at == text.size;
}
