/* text/scanner.c - one walk for the family of patterns that GPT-2 began, with their differences as constants:
 *
 *   contractions | ?letters | digits | ?others tail | spaces that end in a line break | spaces but the last | spaces
 */
#include "text/scanner.h"

#include <stdbool.h>
#include <string.h>

enum kind { OTHER, LETTER, DIGIT, SPACE, BREAK, BEYOND }; /* BREAK: \r \n; BEYOND: not ASCII */

#define O          OTHER
#define L          LETTER
#define D          DIGIT
#define S          SPACE
#define B          BREAK
#define TEN(k)     k, k, k, k, k, k, k, k, k, k
#define SIXTEEN(k) k, k, k, k, k, k, k, k, k, k, k, k, k, k, k, k
static const uint8_t kinds[256] = {O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   S,
                                   B,
                                   S,
                                   S,
                                   B,
                                   O,
                                   O,
                                   SIXTEEN(O), /* 0x00 */
                                   S,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O, /* 0x20 */
                                   TEN(D),
                                   O,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O, /* 0x30 */
                                   O,
                                   TEN(L),
                                   TEN(L),
                                   L,
                                   L,
                                   L,
                                   L,
                                   L,
                                   L,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O, /* 0x40 */
                                   O,
                                   TEN(L),
                                   TEN(L),
                                   L,
                                   L,
                                   L,
                                   L,
                                   L,
                                   L,
                                   O,
                                   O,
                                   O,
                                   O,
                                   O, /* 0x60 */
                                   SIXTEEN(BEYOND),
                                   SIXTEEN(BEYOND),
                                   SIXTEEN(BEYOND),
                                   SIXTEEN(BEYOND),
                                   SIXTEEN(BEYOND),
                                   SIXTEEN(BEYOND),
                                   SIXTEEN(BEYOND),
                                   SIXTEEN(BEYOND)};
#undef O
#undef L
#undef D
#undef S
#undef B
#undef TEN
#undef SIXTEEN

struct family {
    bool any_case; /* of contractions */
    bool lead_any; /* letters may follow any one character but \r \n letters digits; else a space */
    bool digits_space; /* digits may follow a space */
    bool breaks; /* others take \r \n behind them; spaces up to their last line break are a piece */
    size_t digits; /* at most so many in a piece */
};

static size_t end_of(const uint8_t *text, size_t size, size_t at, enum kind kind)
{
    while (at < size && kinds[text[at]] == kind)
        at++;
    return at;
}

static bool beyond(const uint8_t *text, size_t size, size_t at)
{
    return at < size && kinds[text[at]] == BEYOND;
}

/* 's 't 'm 'd 're 've 'll at an apostrophe: bytes, 0 = none */
static inline size_t contraction(const uint8_t *text, size_t size, bool any_case)
{
    uint8_t fold = any_case ? 0x20 : 0;
    uint8_t first = size > 1 ? text[1] | fold : 0, second = size > 2 ? text[2] | fold : 0;
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 2;
    return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l') ? 3
                                                                                                : 0;
}

static inline size_t scan_spaces(const uint8_t *text, size_t size, struct family family)
{
    size_t end = 0, behind_break = 0;
    for (; end < size && (kinds[text[end]] == SPACE || kinds[text[end]] == BREAK); end++)
        if (kinds[text[end]] == BREAK)
            behind_break = end + 1;
    if (beyond(text, size, end))
        return 0; /* it may be a space, too */
    if (family.breaks && behind_break > 0)
        return behind_break;
    return end == size || end == 1 ? end : end - 1;
}

static inline size_t scan(const uint8_t *text, size_t size, struct family family)
{
    enum kind kind = kinds[text[0]], next = size > 1 ? kinds[text[1]] : OTHER;
    if (kind == BEYOND)
        return 0;
    if (text[0] == '\'') {
        size_t found = next == BEYOND ? 0 : contraction(text, size, family.any_case);
        if (found > 0)
            return found;
    }
    bool space = text[0] == ' ';
    bool leads = family.lead_any ? kind == OTHER || kind == SPACE : space;
    if ((leads || space) && next == BEYOND)
        return 0;
    if (kind == LETTER || (leads && next == LETTER && size > 1)) {
        size_t end = end_of(text, size, 1, LETTER);
        return beyond(text, size, end) ? 0 : end;
    }
    if (kind == DIGIT || (family.digits_space && space && next == DIGIT)) {
        size_t from = kind == DIGIT ? 0 : 1, end = from;
        while (end < size && end - from < family.digits && kinds[text[end]] == DIGIT)
            end++;
        return end - from < family.digits && beyond(text, size, end) ? 0 : end;
    }
    if (kind == OTHER || (space && next == OTHER && size > 1)) {
        size_t end = end_of(text, size, 1, OTHER);
        if (beyond(text, size, end))
            return 0;
        return family.breaks ? end_of(text, size, end, BREAK) : end;
    }
    return scan_spaces(text, size, family);
}

static size_t scan_gpt2(const uint8_t *text, size_t size)
{
    return scan(text, size, (struct family){false, false, true, false, SIZE_MAX});
}

static size_t scan_gpt4(const uint8_t *text, size_t size)
{
    return scan(text, size, (struct family){true, true, false, true, 3});
}

static size_t scan_qwen(const uint8_t *text, size_t size)
{
    return scan(text, size, (struct family){true, true, false, true, 1});
}

static const struct {
    const char *pattern;
    scanner scan;
} rows[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     scan_gpt2},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", scan_gpt2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     scan_gpt4},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     scan_gpt4},
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     scan_gpt4},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     scan_qwen},
    {"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
     "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     scan_qwen},
};

scanner scanner_of(const char *pattern)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].pattern, pattern) == 0)
            return rows[i].scan;
    return NULL;
}

const char *scanner_pattern(size_t index)
{
    return index < sizeof rows / sizeof rows[0] ? rows[index].pattern : NULL;
}
