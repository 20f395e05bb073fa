#include "reward/rules/runes.h"

#include <string.h>
#include <utf8proc.h>

enum { REPLACEMENT = 0xFFFD, CAPITAL_I_DOT = 0x130, COMBINING_DOT = 0x307 };

bool runes_decode(struct arena *arena, const char *text, size_t size, struct runes *runes)
{
    uint32_t *out = arena_array(arena, size + 1, sizeof *out);
    if (out == NULL)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < size;) {
        utf8proc_int32_t rune = 0;
        utf8proc_ssize_t left = (utf8proc_ssize_t)(size - i);
        utf8proc_ssize_t used =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, left > 4 ? 4 : left, &rune);
        if (used <= 0) {
            rune = REPLACEMENT;
            used = 1;
        }
        out[count++] = (uint32_t)rune;
        i += (size_t)used;
    }
    *runes = (struct runes){out, count};
    return true;
}

char *runes_encode(struct arena *arena, struct runes runes, size_t *size)
{
    char *text = arena_array(arena, runes.size + 1, 4);
    if (text == NULL)
        return NULL;
    size_t used = 0;
    for (size_t i = 0; i < runes.size; i++)
        used += (size_t)utf8proc_encode_char((utf8proc_int32_t)runes.at[i],
                                             (utf8proc_uint8_t *)text + used);
    text[used] = '\0';
    *size = used;
    return text;
}

static utf8proc_category_t category(uint32_t rune)
{
    return utf8proc_category((utf8proc_int32_t)rune);
}

bool rune_is_space(uint32_t rune)
{
    if (rune < 0x80)
        return rune == ' ' || (rune >= 9 && rune <= 13) || (rune >= 0x1C && rune <= 0x1F);
    return rune == 0x85 || rune == 0xA0 || rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200A) ||
           rune == 0x2028 || rune == 0x2029 || rune == 0x202F || rune == 0x205F || rune == 0x3000;
}

bool rune_is_letter(uint32_t rune)
{
    if (rune < 0x80)
        return (rune >= 'a' && rune <= 'z') || (rune >= 'A' && rune <= 'Z');
    utf8proc_category_t kind = category(rune);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool rune_is_digit(uint32_t rune)
{
    if (rune < 0x80)
        return rune >= '0' && rune <= '9';
    return category(rune) == UTF8PROC_CATEGORY_ND;
}

bool rune_is_word(uint32_t rune)
{
    if (rune_is_letter(rune) || rune == '_')
        return true;
    if (rune < 0x80)
        return rune >= '0' && rune <= '9';
    utf8proc_category_t kind = category(rune);
    return kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
}

/* Unicode's Other_Uppercase: circled and roman capitals. */
static bool is_other_upper(uint32_t rune)
{
    return (rune >= 0x2160 && rune <= 0x216F) || (rune >= 0x24B6 && rune <= 0x24CF) ||
           (rune >= 0x1F130 && rune <= 0x1F149) || (rune >= 0x1F150 && rune <= 0x1F169) ||
           (rune >= 0x1F170 && rune <= 0x1F189);
}

/* Unicode's Other_Lowercase: ordinals, modifier letters, circled and roman small letters. */
static bool is_other_lower(uint32_t rune)
{
    static const uint32_t ranges[][2] = {
        {0xAA, 0xAA},     {0xBA, 0xBA},     {0x2B0, 0x2B8},   {0x2C0, 0x2C1},   {0x2E0, 0x2E4},
        {0x345, 0x345},   {0x37A, 0x37A},   {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78}, {0x1D9B, 0x1DBF},
        {0x2071, 0x2071}, {0x207F, 0x207F}, {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9},
        {0x2C7C, 0x2C7D}, {0xA69C, 0xA69D}, {0xA770, 0xA770}, {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (rune >= ranges[i][0] && rune <= ranges[i][1])
            return true;
    }
    return false;
}

bool rune_is_upper(uint32_t rune)
{
    if (rune < 0x80)
        return rune >= 'A' && rune <= 'Z';
    return category(rune) == UTF8PROC_CATEGORY_LU || is_other_upper(rune);
}

bool rune_is_lower(uint32_t rune)
{
    if (rune < 0x80)
        return rune >= 'a' && rune <= 'z';
    return category(rune) == UTF8PROC_CATEGORY_LL || is_other_lower(rune);
}

uint32_t rune_lower(uint32_t rune)
{
    if (rune < 0x80)
        return rune >= 'A' && rune <= 'Z' ? rune + 32 : rune;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)rune);
}

bool runes_are_upper(struct runes runes)
{
    bool cased = false;
    for (size_t i = 0; i < runes.size; i++) {
        uint32_t rune = runes.at[i];
        if (rune_is_lower(rune) || (rune >= 0x80 && category(rune) == UTF8PROC_CATEGORY_LT))
            return false;
        cased = cased || rune_is_upper(rune);
    }
    return cased;
}

bool runes_are_lower(struct runes runes)
{
    bool cased = false;
    for (size_t i = 0; i < runes.size; i++) {
        uint32_t rune = runes.at[i];
        if (rune_is_upper(rune) || (rune >= 0x80 && category(rune) == UTF8PROC_CATEGORY_LT))
            return false;
        cased = cased || rune_is_lower(rune);
    }
    return cased;
}

/* A capital sigma at the end of a word is written differently. */
static bool is_final_sigma(struct runes runes, size_t at)
{
    return at > 0 && rune_is_letter(runes.at[at - 1]) &&
           (at + 1 == runes.size || !rune_is_letter(runes.at[at + 1]));
}

bool runes_lowered(struct arena *arena, struct runes runes, struct runes *lowered)
{
    uint32_t *out = arena_array(arena, runes.size + 1, 2 * sizeof *out);
    if (out == NULL)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < runes.size; i++) {
        uint32_t rune = runes.at[i];
        if (rune == CAPITAL_I_DOT) {
            out[count++] = 'i';
            out[count++] = COMBINING_DOT;
        } else if (rune == 0x3A3 && is_final_sigma(runes, i)) {
            out[count++] = 0x3C2;
        } else {
            out[count++] = rune_lower(rune);
        }
    }
    *lowered = (struct runes){out, count};
    return true;
}

struct runes runes_trimmed(struct runes runes)
{
    while (runes.size > 0 && rune_is_space(runes.at[0])) {
        runes.at++;
        runes.size--;
    }
    while (runes.size > 0 && rune_is_space(runes.at[runes.size - 1]))
        runes.size--;
    return runes;
}

struct runes runes_part(struct runes runes, size_t from, size_t to)
{
    size_t end = to < runes.size ? to : runes.size;
    size_t begin = from < end ? from : end;
    return (struct runes){runes.at + begin, end - begin};
}

bool runes_equal(struct runes a, struct runes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size * sizeof a.at[0]) == 0);
}

bool runes_start_with(struct runes runes, struct runes head)
{
    return head.size <= runes.size && runes_equal(runes_part(runes, 0, head.size), head);
}

bool runes_end_with(struct runes runes, struct runes tail)
{
    return tail.size <= runes.size &&
           runes_equal(runes_part(runes, runes.size - tail.size, runes.size), tail);
}

bool runes_have(struct runes runes, size_t from, const char *what)
{
    for (size_t i = 0; what[i] != '\0'; i++) {
        if (from + i >= runes.size || runes.at[from + i] != (unsigned char)what[i])
            return false;
    }
    return true;
}

size_t runes_find(struct runes runes, const char *what, size_t from)
{
    for (size_t i = from; i < runes.size; i++) {
        if (runes.at[i] == (unsigned char)what[0] && runes_have(runes, i, what))
            return i;
    }
    return runes.size;
}

bool runes_without(struct arena *arena, struct runes runes, uint32_t what, struct runes *rest)
{
    uint32_t *out = arena_array(arena, runes.size + 1, sizeof *out);
    if (out == NULL)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < runes.size; i++) {
        if (runes.at[i] != what)
            out[count++] = runes.at[i];
    }
    *rest = (struct runes){out, count};
    return true;
}
