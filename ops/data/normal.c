#include "ops/data/normal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/checksum.h"
#include "core/memory.h"

void normal_init(struct normal *normal)
{
    *normal = (struct normal){0};
    buffer_init(&normal->text, 0);
}

void normal_free(struct normal *normal)
{
    buffer_free(&normal->text);
    memory_free(normal->tokens);
    *normal = (struct normal){0};
}

/* ---- characters ---- */

struct reader {
    struct normal *normal;
    const uint8_t *at, *end;
    utf8proc_int32_t last; /* the character before; 0 at the start */
    bool opens;            /* a sentence begins */
    bool figure;           /* inside [asy] */
};

/* The next character and its bytes; bad bytes are a blank. */
static utf8proc_ssize_t peek(const uint8_t *at, const uint8_t *end, utf8proc_int32_t *point)
{
    if (at >= end) {
        *point = 0;
        return 0;
    }
    utf8proc_ssize_t size = utf8proc_iterate(at, end - at, point);
    if (size <= 0 || *point < 0) {
        *point = ' ';
        return 1;
    }
    return size;
}

static bool is_letter(utf8proc_int32_t point)
{
    if (point < 128)
        return (point >= 'a' && point <= 'z') || (point >= 'A' && point <= 'Z');
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
        return true;
    default:
        return false;
    }
}

/* Scripts without blanks between words: each character is a word. */
static bool is_lone(utf8proc_int32_t point)
{
    return (point >= 0x2e80 && point <= 0x9fff) || (point >= 0xf900 && point <= 0xfaff) ||
           (point >= 0x20000 && point <= 0x3ffff);
}

static bool is_digit(utf8proc_int32_t point)
{
    return point >= '0' && point <= '9';
}

static bool is_sign(utf8proc_int32_t point)
{
    if (point < 128)
        return point != 0 && strchr("+-*/^=<>!%|&#()[]_", (int)point) != NULL;
    utf8proc_category_t category = utf8proc_category(point);
    return category == UTF8PROC_CATEGORY_SM || category == UTF8PROC_CATEGORY_SO;
}

/* ---- tokens ---- */

static enum status add(struct reader *reader, const void *text, size_t size, enum normal_kind kind,
                       bool capital)
{
    struct normal *normal = reader->normal;
    if (normal->count == normal->capacity) {
        uint32_t wider = normal->capacity > 0 ? normal->capacity * 2 : 256;
        struct normal_token *tokens =
            memory_grow(normal->tokens, normal->capacity * sizeof *tokens, wider * sizeof *tokens);
        if (tokens == NULL)
            return FAIL(STATUS_NO_MEMORY, "%u tokens", wider);
        normal->tokens = tokens;
        normal->capacity = wider;
    }
    if (normal->count > 0)
        TRY(buffer_append(&normal->text, " ", 1));
    normal->tokens[normal->count++] =
        (struct normal_token){.hash = hash64(text, size, 0),
                              .at = (uint32_t)normal->text.size,
                              .size = (uint32_t)size,
                              .kind = (uint8_t)kind,
                              .capital = capital,
                              .figure = reader->figure,
                              .opens = kind == NORMAL_WORD && reader->opens};
    reader->opens = false;
    return buffer_append(&normal->text, text, size);
}

/* Digits with thousands separators and one decimal point; leading zeros, and zeros that end a fraction, are gone. */
static enum status add_number(struct reader *reader)
{
    char text[256];
    size_t size = 0, point = 0;
    const uint8_t *at = reader->at;
    bool fraction = false;
    for (; at < reader->end && size < sizeof text - 1; at++) {
        bool digit_after = at + 1 < reader->end && is_digit(at[1]);
        if (is_digit(*at)) {
            text[size++] = (char)*at;
        } else if (*at == '.' && !fraction && digit_after) {
            fraction = true;
            point = size;
            text[size++] = '.';
        } else if (*at == ',' && !fraction && reader->end - at > 3 && is_digit(at[1]) &&
                   is_digit(at[2]) && is_digit(at[3]) &&
                   !(reader->end - at > 4 && is_digit(at[4]))) {
            continue;
        } else {
            break;
        }
    }
    reader->at = at;
    reader->last = '0';
    while (fraction && size > point && text[size - 1] == '0')
        size--;
    if (fraction && size == point + 1)
        size = point;
    size_t first = 0;
    while (first + 1 < size && text[first] == '0' && is_digit(text[first + 1]))
        first++;
    return add(reader, text + first, size - first, NORMAL_NUMBER, false);
}

/* NFKC and case folding of one word. */
static enum status add_folded(struct reader *reader, const uint8_t *at, size_t size)
{
    utf8proc_uint8_t *folded = NULL;
    utf8proc_int32_t first = 0;
    bool ascii = true;
    char plain[64];
    peek(at, at + size, &first);
    bool capital = utf8proc_category(first) == UTF8PROC_CATEGORY_LU;
    for (size_t i = 0; i < size && ascii; i++)
        ascii = at[i] < 128 && size < sizeof plain;
    if (ascii) {
        for (size_t i = 0; i < size; i++)
            plain[i] = (char)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] + 32 : at[i]);
        return add(reader, plain, size, NORMAL_WORD, capital);
    }
    utf8proc_ssize_t length =
        utf8proc_map(at, (utf8proc_ssize_t)size, &folded,
                     (utf8proc_option_t)(UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD |
                                         UTF8PROC_IGNORE));
    enum status status = STATUS_OK;
    if (length > 0)
        status = add(reader, folded, (size_t)length, NORMAL_WORD, capital);
    free(folded); /* lint: allow(free): utf8proc's buffer */
    return status;
}

static enum status add_word(struct reader *reader)
{
    const uint8_t *from = reader->at;
    utf8proc_int32_t point = 0;
    utf8proc_ssize_t size = peek(reader->at, reader->end, &point);
    bool lone = is_lone(point);
    do {
        reader->at += size;
        reader->last = point;
        size = peek(reader->at, reader->end, &point);
    } while (!lone && is_letter(point) && !is_lone(point));
    return add_folded(reader, from, (size_t)(reader->at - from));
}

static bool is_one_of(const char *const *words, size_t count, const char *text, size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(words[i]) == size && memcmp(words[i], text, size) == 0)
            return true;
    return false;
}

/* A command of LaTeX: those of looks are gone, others are words. */
static enum status add_command(struct reader *reader)
{
    static const char *const looks[] = {
        "left",   "right",    "big",       "Big",     "bigg",         "Bigg",         "bigl",
        "bigr",   "Bigl",     "Bigr",      "biggl",   "biggr",        "mathrm",       "mathbf",
        "text",   "textbf",   "textit",    "mbox",    "operatorname", "displaystyle", "textstyle",
        "limits", "quad",     "qquad",     "mathit",  "rm",           "bf",           "it",
        "item",   "nolimits", "hspace",    "vspace",  "boldsymbol",   "mathsf",       "hbox",
        "tt",     "textrm",   "smallskip", "medskip", "bigskip",      "newline"};
    const uint8_t *from = ++reader->at;
    reader->last = '\\';
    while (reader->at < reader->end && is_letter(*reader->at) && *reader->at < 128)
        reader->at++;
    size_t size = (size_t)(reader->at - from);
    if (size == 0) { /* \, \! \\ \{ \( and the like; \% and \$ as the sign alone */
        if (reader->at < reader->end && *reader->at != '%' && *reader->at != '#' &&
            *reader->at != '&')
            reader->at++;
        return STATUS_OK;
    }
    const char *name = (const char *)from;
    if (is_one_of(looks, sizeof looks / sizeof looks[0], name, size))
        return STATUS_OK;
    if (size == 5 && (memcmp(name, "dfrac", 5) == 0 || memcmp(name, "tfrac", 5) == 0 ||
                      memcmp(name, "cfrac", 5) == 0))
        return add(reader, "frac", 4, NORMAL_WORD, false);
    if ((size == 3 && memcmp(name, "leq", 3) == 0) || (size == 3 && memcmp(name, "geq", 3) == 0))
        size = 2;
    if ((size == 5 && memcmp(name, "times", 5) == 0) || (size == 4 && memcmp(name, "cdot", 4) == 0))
        return add(reader, "*", 1, NORMAL_SIGN, false);
    bool opens = reader->opens; /* a command opens no sentence */
    reader->opens = false;
    enum status status = add(reader, name, size, NORMAL_WORD, false);
    reader->opens = opens && reader->normal->count == 0;
    return status;
}

/* Hyphens and slashes between letters join words; they say nothing. */
static enum status add_sign(struct reader *reader, utf8proc_int32_t point, size_t size)
{
    utf8proc_int32_t after = 0;
    const uint8_t *at = reader->at;
    peek(at + size, reader->end, &after);
    bool joins = (point == '-' || point == '/') && is_letter(reader->last) && is_letter(after);
    reader->at += size;
    reader->last = point;
    if (joins || point == '_')
        return STATUS_OK;
    if (point == '!') /* as likely the end of a sentence as a factorial */
        reader->opens = true;
    if (point == 0x2212 || point == 0xd7 || point == 0xb7 || point == 0xf7) {
        const char *plain = point == 0x2212 ? "-" : point == 0xf7 ? "/" : "*";
        return add(reader, plain, 1, NORMAL_SIGN, false);
    }
    return add(reader, at, size, NORMAL_SIGN, false);
}

static bool is_prime_mark(utf8proc_int32_t point)
{
    return point == '\'' || point == 0x2019 || point == 0x2032;
}

/* Marks that are signs only where they stand: the prime of f'(1), which no letter follows ("Tom's"), and the colon of
 * 2:3. NULL: no sign. */
static const char *sign_by_place(const struct reader *reader, utf8proc_int32_t point, size_t size)
{
    utf8proc_int32_t after = 0, last = reader->last;
    peek(reader->at + size, reader->end, &after);
    if (point == ':')
        return is_digit(last) && is_digit(after) ? ":" : NULL;
    bool bears = is_letter(last) || is_prime_mark(last) ||
                 (last != 0 && last < 128 && strchr(")]}\\", (int)last) != NULL);
    return is_prime_mark(point) && bears && !is_letter(after) ? "'" : NULL;
}

static enum status add_next(struct reader *reader)
{
    utf8proc_int32_t point = 0;
    utf8proc_ssize_t size = peek(reader->at, reader->end, &point);
    if (is_digit(point))
        return add_number(reader);
    if (is_letter(point))
        return add_word(reader);
    if (point == '\\')
        return add_command(reader);
    if (is_sign(point))
        return add_sign(reader, point, (size_t)size);
    const char *sign = sign_by_place(reader, point, (size_t)size);
    if (sign == NULL && (point == '.' || point == '?' || point == ':' || point == '\n'))
        reader->opens = true;
    reader->last = point;
    reader->at += size;
    return sign != NULL ? add(reader, sign, 1, NORMAL_SIGN, false) : STATUS_OK;
}

enum status normal_read(struct normal *normal, const char *text, size_t size)
{
    struct reader reader = {.normal = normal,
                            .at = (const uint8_t *)text,
                            .end = (const uint8_t *)text + size,
                            .opens = true};
    buffer_clear(&normal->text);
    normal->count = 0;
    while (reader.at < reader.end) {
        size_t left = (size_t)(reader.end - reader.at);
        reader.figure |= left >= 5 && memcmp(reader.at, "[asy]", 5) == 0;
        if (left >= 6 && memcmp(reader.at, "[/asy]", 6) == 0) {
            reader.figure = false;
            reader.at += 6;
            continue;
        }
        TRY(add_next(&reader));
    }
    return STATUS_OK;
}

uint64_t normal_hash(const struct normal *normal)
{
    uint64_t hash = normal->count;
    for (uint32_t i = 0; i < normal->count; i++)
        hash = hash64(&normal->tokens[i].hash, sizeof normal->tokens[i].hash, hash);
    return hash;
}

bool normal_is_common(const char *word, size_t size)
{
    static const char *const common[] = {
        "a",         "about",    "after",     "all",       "also",    "an",        "and",
        "another",   "are",      "as",        "assume",    "at",      "because",   "before",
        "both",      "but",      "by",        "calculate", "can",     "compute",   "consider",
        "define",    "denote",   "determine", "did",       "do",      "does",      "during",
        "each",      "evaluate", "every",     "exactly",   "express", "factor",    "find",
        "first",     "for",      "from",      "given",     "had",     "has",       "have",
        "he",        "her",      "here",      "his",       "how",     "however",   "if",
        "in",        "into",     "is",        "it",        "its",     "let",       "many",
        "more",      "most",     "much",      "my",        "no",      "not",       "note",
        "now",       "of",       "on",        "one",       "only",    "or",        "other",
        "our",       "out",      "over",      "prove",     "recall",  "second",    "she",
        "show",      "simplify", "since",     "so",        "solve",   "some",      "state",
        "suppose",   "such",     "that",      "the",       "their",   "them",      "then",
        "there",     "these",    "they",      "this",      "those",   "three",     "thus",
        "to",        "today",    "together",  "tomorrow",  "two",     "under",     "until",
        "upon",      "use",      "using",     "was",       "we",      "were",      "what",
        "when",      "where",    "whether",   "which",     "while",   "who",       "whose",
        "why",       "will",     "with",      "within",    "without", "would",     "write",
        "yesterday", "you",      "your",      "i",         "him",     "initially", "finally",
        "later",     "next",     "last"};
    return is_one_of(common, sizeof common / sizeof common[0], word, size);
}
