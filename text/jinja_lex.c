/* text/jinja_lex.c - a template's text as tokens. White space around tags goes here: {%- and -%} take all of it,
 * trim_blocks the newline behind a block or comment, lstrip_blocks the blanks before one that begins its line. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/jinja_node.h"

enum { OPEN_MAX = 200, TOKENS_MAX = 4 << 20 };

struct lexer {
    struct jinja_tokens *tokens;
    const char *source;
    size_t size, at;
    size_t counted; /* line is that of this place */
    uint32_t line;
    bool line_starts; /* the last tag took its newline along */
    char open[OPEN_MAX];
    uint32_t open_count;
};

#define LEX_FAIL(lexer, status, format, ...) \
    FAIL(status, "%s:%u: " format, (lexer)->tokens->name, line_of(lexer, (lexer)->at), __VA_ARGS__)

static uint32_t line_of(struct lexer *lexer, size_t at)
{
    for (; lexer->counted < at && lexer->counted < lexer->size; lexer->counted++)
        lexer->line += lexer->source[lexer->counted] == '\n';
    return lexer->line;
}

static enum status add(struct lexer *lexer, const struct jinja_token *token, size_t at)
{
    struct jinja_tokens *tokens = lexer->tokens;
    if (tokens->count == tokens->capacity) {
        size_t wider = tokens->capacity > 0 ? tokens->capacity * 2 : 256;
        struct jinja_token *items =
            wider > TOKENS_MAX ? NULL
                               : memory_grow(tokens->items, tokens->capacity * sizeof *items,
                                             wider * sizeof *items);
        if (items == NULL)
            return LEX_FAIL(lexer, STATUS_LIMIT, "the template has more than %zu tokens",
                            tokens->count);
        tokens->items = items;
        tokens->capacity = wider;
    }
    tokens->items[tokens->count] = *token;
    tokens->items[tokens->count++].line = line_of(lexer, at);
    return STATUS_OK;
}

static enum status add_kind(struct lexer *lexer, enum jinja_token_kind kind)
{
    return add(lexer, &(struct jinja_token){.kind = kind}, lexer->at);
}

static bool starts(const struct lexer *lexer, size_t at, const char *text)
{
    size_t size = strlen(text);
    return at + size <= lexer->size && memcmp(lexer->source + at, text, size) == 0;
}

static size_t skip_space(const struct lexer *lexer, size_t at)
{
    struct jinja_text text = {lexer->source, lexer->size};
    while (at < lexer->size) {
        size_t next = at;
        if (!jinja_is_space(jinja_next_point(text, &next)))
            break;
        at = next;
    }
    return at;
}

/* Text [begin, end) before a tag: what the tag takes of it goes. */
static enum status add_data(struct lexer *lexer, size_t begin, size_t end, char sign, bool variable)
{
    struct jinja_text text = {lexer->source + begin, end - begin};
    if (sign == '-') {
        text = jinja_strip(text, NULL, false, true);
    } else if (sign != '+' && !variable) {
        const char *newline = memrchr(text.bytes, '\n', text.size);
        size_t line = newline != NULL ? (size_t)(newline - text.bytes) + 1 : 0;
        struct jinja_text rest = {text.bytes + line, text.size - line};
        if ((line > 0 || lexer->line_starts) && jinja_strip(rest, NULL, true, false).size == 0)
            text.size = line;
    }
    if (text.size == 0)
        return STATUS_OK;
    struct jinja_token token = {.kind = TOKEN_DATA, .text = text};
    return add(lexer, &token, begin);
}

/* The lexer stands at "-%}", "+%}" or "%}" (close: "%}" or "#}"): behind it, and what it takes. false: it does not. */
static bool end_block(struct lexer *lexer, const char *close)
{
    size_t at = lexer->at;
    char sign = at < lexer->size ? lexer->source[at] : '\0';
    at += sign == '-' || sign == '+';
    if (!starts(lexer, at, close))
        return false;
    at += strlen(close);
    if (sign == '-')
        at = skip_space(lexer, at);
    else if (sign != '+' && at < lexer->size && lexer->source[at] == '\n')
        at++;
    lexer->line_starts = lexer->source[at - 1] == '\n';
    lexer->at = at;
    return true;
}

static bool end_variable(struct lexer *lexer)
{
    size_t at = lexer->at;
    bool sign = at < lexer->size && lexer->source[at] == '-';
    if (!starts(lexer, at + sign, "}}"))
        return false;
    at += sign + 2u;
    lexer->at = sign ? skip_space(lexer, at) : at;
    lexer->line_starts = lexer->source[lexer->at - 1] == '\n';
    return true;
}

/* ---- inside of tags ---- */

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_word(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
           is_digit(byte) || ((unsigned char)byte & 0x80) != 0;
}

static size_t skip_digits(const struct lexer *lexer, size_t at)
{
    while (at < lexer->size &&
           (is_digit(lexer->source[at]) ||
            (lexer->source[at] == '_' && at + 1 < lexer->size && is_digit(lexer->source[at + 1]))))
        at++;
    return at;
}

/* Digits without their underscores, for strtod and strtoll. */
static enum status plain_digits(struct lexer *lexer, size_t begin, size_t end, char digits[80])
{
    size_t count = 0;
    for (size_t i = begin; i < end; i++)
        if (lexer->source[i] != '_') {
            if (count == 79)
                return LEX_FAIL(lexer, STATUS_LIMIT, "a number of more than %d digits", 79);
            digits[count++] = lexer->source[i];
        }
    digits[count] = '\0';
    return STATUS_OK;
}

static enum status lex_based(struct lexer *lexer, int base)
{
    size_t end = lexer->at + 2;
    while (end < lexer->size && is_word(lexer->source[end]))
        end++;
    char digits[80], *stop;
    TRY(plain_digits(lexer, lexer->at + 2, end, digits));
    int64_t value = strtoll(digits, &stop, base);
    if (digits[0] == '\0' || *stop != '\0' || value == INT64_MAX)
        return LEX_FAIL(lexer, STATUS_INVALID, "0%c%s is no number", lexer->source[lexer->at + 1],
                        digits);
    struct jinja_token token = {.kind = TOKEN_NUMBER, .value = jinja_int(value)};
    TRY(add(lexer, &token, lexer->at));
    lexer->at = end;
    return STATUS_OK;
}

static enum status lex_number(struct lexer *lexer)
{
    static const char letters[] = "bBoOxX";
    static const int bases[] = {2, 2, 8, 8, 16, 16};
    size_t begin = lexer->at, end = skip_digits(lexer, begin), fraction = end;
    char second = begin + 1 < lexer->size ? lexer->source[begin + 1] : '\0';
    const char *letter = second != '\0' ? strchr(letters, second) : NULL;
    if (lexer->source[begin] == '0' && letter != NULL)
        return lex_based(lexer, bases[letter - letters]);
    bool real = false, after_dot = begin > 0 && lexer->source[begin - 1] == '.';
    if (!after_dot && end + 1 < lexer->size && lexer->source[end] == '.' &&
        is_digit(lexer->source[end + 1])) {
        fraction = skip_digits(lexer, end + 1);
        real = true;
    }
    if (!after_dot && fraction < lexer->size && (lexer->source[fraction] | 32) == 'e') {
        size_t power = fraction + 1;
        power += power < lexer->size && strchr("+-", lexer->source[power]) != NULL &&
                 lexer->source[power] != '\0';
        if (power < lexer->size && is_digit(lexer->source[power])) {
            fraction = skip_digits(lexer, power);
            real = true;
        }
    }
    char digits[80];
    TRY(plain_digits(lexer, begin, real ? fraction : end, digits));
    if (!real && strlen(digits) > 18)
        return LEX_FAIL(lexer, STATUS_LIMIT, "the number %s is too large", digits);
    struct jinja_token token = {.kind = TOKEN_NUMBER,
                                .value = real ? jinja_float(strtod(digits, NULL))
                                              : jinja_int(strtoll(digits, NULL, 10))};
    TRY(add(lexer, &token, begin));
    lexer->at = real ? fraction : end;
    return STATUS_OK;
}

/* \xhh, \uhhhh, \Uhhhhhhhh and octal digits; *at is behind the letter. */
static enum status numeric_escape(struct lexer *lexer, char letter, size_t end, size_t *at,
                                  struct buffer *out)
{
    size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 3;
    int base = strchr("xuU", letter) != NULL ? 16 : 8;
    char text[9] = {0}, *stop;
    size_t count = 0;
    if (base == 8)
        (*at)--;
    for (; count < digits && *at + count < end; count++) {
        char byte = lexer->source[*at + count];
        if (base == 8 && (byte < '0' || byte > '7'))
            break;
        text[count] = byte;
    }
    uint32_t point = (uint32_t)strtoul(text, &stop, base);
    if (*stop != '\0' || (base == 16 && count < digits) || point > 0x10FFFF ||
        (point >= 0xD800 && point < 0xE000))
        return LEX_FAIL(lexer, STATUS_INVALID, "\\%c%s in a text is no character", letter, text);
    *at += count;
    return jinja_append_point(out, point);
}

static enum status escapes(struct lexer *lexer, size_t begin, size_t end, struct buffer *out)
{
    static const char letters[] = "ntr'\"\\abfv", bytes[] = "\n\t\r'\"\\\a\b\f\v";
    for (size_t at = begin; at < end;) {
        char byte = lexer->source[at++];
        if (byte != '\\') {
            TRY(buffer_append(out, &byte, 1));
            continue;
        }
        char letter = lexer->source[at++];
        const char *place = letter != '\0' ? strchr(letters, letter) : NULL;
        if (place != NULL)
            TRY(buffer_append(out, &bytes[place - letters], 1));
        else if (letter != '\0' && strchr("xuU01234567", letter) != NULL)
            TRY(numeric_escape(lexer, letter, end, &at, out));
        else if (letter == 'N')
            return LEX_FAIL(lexer, STATUS_UNSUPPORTED, "the escape \\%c{...} is not supported",
                            letter);
        else if (letter != '\n')
            TRY(buffer_append(out, (char[2]){'\\', letter}, 2));
    }
    return STATUS_OK;
}

static enum status lex_text(struct lexer *lexer)
{
    size_t begin = lexer->at + 1, end = begin;
    char quote = lexer->source[lexer->at];
    bool escaped = false;
    for (; end < lexer->size && lexer->source[end] != quote; end++)
        if (lexer->source[end] == '\\') {
            escaped = true;
            end++;
        }
    if (end >= lexer->size)
        return LEX_FAIL(lexer, STATUS_INVALID, "the text that begins with %c has no end", quote);
    struct jinja_token token = {.kind = TOKEN_TEXT, .text = {lexer->source + begin, end - begin}};
    if (escaped) {
        struct buffer plain;
        buffer_init(&plain, 0);
        enum status status = escapes(lexer, begin, end, &plain);
        char *copy =
            status == STATUS_OK ? arena_copy(lexer->tokens->arena, plain.bytes, plain.size) : NULL;
        token.text = (struct jinja_text){copy, plain.size};
        buffer_free(&plain);
        if (status == STATUS_OK && copy == NULL)
            status = LEX_FAIL(lexer, STATUS_LIMIT, "a text of %zu bytes is too long", end - begin);
        TRY(status);
    }
    TRY(add(lexer, &token, lexer->at));
    lexer->at = end + 1;
    return STATUS_OK;
}

static enum status lex_operator(struct lexer *lexer)
{
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    char byte = lexer->source[lexer->at];
    struct jinja_token token = {.kind = TOKEN_OPERATOR, .op = (unsigned char)byte};
    size_t size = 1;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (starts(lexer, lexer->at, pairs[i])) {
            token.op = JINJA_OPERATOR2(pairs[i][0], pairs[i][1]);
            size = 2;
        }
    if (size == 1 && (byte == '\0' || strchr("+-*/%~[](){}<>=.:|,;", byte) == NULL))
        return LEX_FAIL(lexer, STATUS_INVALID, "the character %c cannot stand in a tag",
                        byte >= 32 && byte < 127 ? byte : '?');
    if (size == 1 && strchr("([{", byte) != NULL) {
        if (lexer->open_count == OPEN_MAX)
            return LEX_FAIL(lexer, STATUS_LIMIT, "more than %d brackets are open", OPEN_MAX);
        lexer->open[lexer->open_count++] = byte == '(' ? ')' : byte == '[' ? ']' : '}';
    } else if (size == 1 && strchr(")]}", byte) != NULL) {
        if (lexer->open_count == 0 || lexer->open[lexer->open_count - 1] != byte)
            return LEX_FAIL(lexer, STATUS_INVALID, "%c closes nothing that is open", byte);
        lexer->open_count--;
    }
    TRY(add(lexer, &token, lexer->at));
    lexer->at += size;
    return STATUS_OK;
}

static enum status lex_word(struct lexer *lexer)
{
    size_t begin = lexer->at;
    while (lexer->at < lexer->size && is_word(lexer->source[lexer->at]))
        lexer->at++;
    struct jinja_token token = {.kind = TOKEN_NAME,
                                .text = {lexer->source + begin, lexer->at - begin}};
    return add(lexer, &token, begin);
}

static enum status lex_tag(struct lexer *lexer, bool variable)
{
    uint32_t began = line_of(lexer, lexer->at);
    TRY(add_kind(lexer, variable ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN));
    lexer->open_count = 0;
    for (;;) {
        size_t here = lexer->at;
        if (lexer->open_count == 0 && (variable ? end_variable(lexer) : end_block(lexer, "%}"))) {
            struct jinja_token end = {.kind = variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END};
            return add(lexer, &end, here);
        }
        lexer->at = skip_space(lexer, lexer->at);
        if (lexer->at > here)
            continue;
        if (lexer->at >= lexer->size)
            return FAIL(STATUS_INVALID, "%s:%u: the tag %s has no end", lexer->tokens->name, began,
                        variable ? "{{" : "{%");
        char byte = lexer->source[lexer->at];
        TRY(is_digit(byte)                ? lex_number(lexer)
            : is_word(byte)               ? lex_word(lexer)
            : byte == '"' || byte == '\'' ? lex_text(lexer)
                                          : lex_operator(lexer));
    }
}

/* ---- between tags ---- */

static enum status lex_comment(struct lexer *lexer)
{
    const char *rest = lexer->source + lexer->at;
    const char *end = memmem(rest, lexer->size - lexer->at, "#}", 2);
    if (end == NULL)
        return LEX_FAIL(lexer, STATUS_INVALID, "the comment %s has no end", "{#");
    size_t at = (size_t)(end - lexer->source);
    if (at > lexer->at && (end[-1] == '-' || end[-1] == '+'))
        at--;
    lexer->at = at;
    (void)end_block(lexer, "#}");
    return STATUS_OK;
}

/* Is there a block of one word (raw, endraw) at `at`? Behind it, or 0. */
static size_t at_word_block(const struct lexer *lexer, size_t at, const char *word)
{
    if (!starts(lexer, at, "{%"))
        return 0;
    at += 2;
    at += at < lexer->size && (lexer->source[at] == '-' || lexer->source[at] == '+');
    at = skip_space(lexer, at);
    if (!starts(lexer, at, word))
        return 0;
    at = skip_space(lexer, at + strlen(word));
    return starts(lexer, at, "%}") || starts(lexer, at, "-%}") || starts(lexer, at, "+%}") ? at : 0;
}

/* The lexer stands behind the word of {% raw %}. */
static enum status lex_raw(struct lexer *lexer)
{
    lexer->at += lexer->source[lexer->at] == '-' ? 3 : 2;
    if (lexer->source[lexer->at - 3] == '-')
        lexer->at = skip_space(lexer, lexer->at);
    lexer->line_starts = lexer->source[lexer->at - 1] == '\n';
    for (size_t at = lexer->at; at < lexer->size; at++) {
        size_t end = lexer->source[at] == '{' ? at_word_block(lexer, at, "endraw") : 0;
        if (end == 0)
            continue;
        TRY(add_data(lexer, lexer->at, at, lexer->source[at + 2], false));
        lexer->at = end;
        (void)end_block(lexer, "%}");
        return STATUS_OK;
    }
    return LEX_FAIL(lexer, STATUS_INVALID, "the block %s has no end", "raw");
}

/* The next "{{", "{%" or "{#"; size: none. */
static size_t find_tag(const struct lexer *lexer)
{
    for (size_t at = lexer->at; at + 1 < lexer->size; at++) {
        const char *brace = memchr(lexer->source + at, '{', lexer->size - at - 1);
        if (brace == NULL)
            break;
        at = (size_t)(brace - lexer->source);
        if (brace[1] == '{' || brace[1] == '%' || brace[1] == '#')
            return at;
    }
    return lexer->size;
}

/* Newlines in one form; one at the very end goes (keep_trailing_newline is off). */
static enum status one_newline(struct lexer *lexer, const char *source, size_t size)
{
    char *copy = arena_alloc(lexer->tokens->arena, size + 1);
    if (copy == NULL)
        return FAIL(STATUS_LIMIT, "%s: a template of %zu bytes is too long", lexer->tokens->name,
                    size);
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        if (source[i] == '\r' && i + 1 < size && source[i + 1] == '\n')
            continue;
        copy[count++] = source[i] == '\r' ? '\n' : source[i];
    }
    lexer->size = count - (count > 0 && copy[count - 1] == '\n');
    lexer->source = copy;
    return STATUS_OK;
}

enum status jinja_lex(struct jinja_tokens *tokens, const char *source, size_t size)
{
    struct lexer lexer = {.tokens = tokens, .line = 1, .line_starts = true};
    TRY(one_newline(&lexer, source, size));
    while (lexer.at < lexer.size) {
        size_t tag = find_tag(&lexer);
        char kind = tag < lexer.size ? lexer.source[tag + 1] : '\0';
        char sign = tag + 2 < lexer.size ? lexer.source[tag + 2] : '\0';
        size_t raw = kind == '%' ? at_word_block(&lexer, tag, "raw") : 0;
        TRY(add_data(&lexer, lexer.at, tag, kind != '\0' ? sign : '+', kind == '{'));
        lexer.at = tag;
        if (kind == '\0')
            break;
        lexer.at = raw != 0 ? raw : tag + 2 + (sign == '-' || sign == '+');
        TRY(raw != 0      ? lex_raw(&lexer)
            : kind == '#' ? lex_comment(&lexer)
                          : lex_tag(&lexer, kind == '{'));
    }
    return add_kind(&lexer, TOKEN_END);
}
