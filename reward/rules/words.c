/* Only cuts between two letters change how many tokens are in capitals, so the rules about lone marks, brackets at the
 * end and the sentence's last period are left out; those below are in the order of the convention. */
#include "reward/rules/words.h"

#include <string.h>

size_t words_count(struct runes text)
{
    size_t count = 0;
    bool inside = false;
    for (size_t i = 0; i < text.size; i++) {
        bool word = rune_is_word(text.at[i]);
        count += word && !inside;
        inside = word;
    }
    return count;
}

struct padded {
    uint32_t *at;
    size_t size;
};

static void put(struct padded *out, uint32_t rune)
{
    out->at[out->size++] = rune;
}

static void put_gap(struct padded *out)
{
    if (out->size == 0 || out->at[out->size - 1] != ' ')
        put(out, ' ');
}

/* Marks that stand alone wherever they are. */
static bool stands_alone(struct runes text, size_t at)
{
    uint32_t rune = text.at[at];
    uint32_t next = at + 1 < text.size ? text.at[at + 1] : 0;
    uint32_t last = at > 0 ? text.at[at - 1] : 0;
    if (rune >= 0x80)
        return rune == 0xAB || rune == 0xBB || rune == 0x2018 || rune == 0x2019 || rune == 0x201C ||
               rune == 0x201D || rune == 0x201E || (rune >= 0x2012 && rune <= 0x2015);
    if (rune == ',' || rune == ':')
        return !rune_is_digit(next);
    if (rune == '.' || rune == '-' || rune == '\'') /* two or more of them */
        return next == rune || last == rune;
    return rune != 0 && strchr("`\";@#$%&?!*[](){}<>", (int)rune) != NULL;
}

static bool letters_are(struct runes text, size_t at, const char *lower)
{
    for (size_t i = 0; lower[i] != '\0'; i++) {
        if (at + i >= text.size || rune_lower(text.at[at + i]) != (unsigned char)lower[i])
            return false;
    }
    return true;
}

static bool ends_word(struct runes text, size_t at)
{
    return at >= text.size || !rune_is_word(text.at[at]);
}

/* An apostrophe that opens a quotation: before a word, after none, and not of a clitic. */
static bool opens_quotation(struct runes text, size_t at)
{
    static const char *const clitics[] = {"re", "ve", "ll", "m", "t", "s", "d", "n"};
    if (text.at[at] != '\'' || ends_word(text, at + 1) || (at > 0 && rune_is_word(text.at[at - 1])))
        return false;
    for (size_t i = 0; i < sizeof clitics / sizeof clitics[0]; i++) {
        if (letters_are(text, at + 1, clitics[i]) && ends_word(text, at + 1 + strlen(clitics[i])))
            return false;
    }
    return true;
}

/* Single spaces around what stands alone, one at both ends. */
static void pad(struct runes text, struct padded *out)
{
    put(out, ' ');
    for (size_t i = 0; i < text.size; i++) {
        if (rune_is_space(text.at[i])) {
            put_gap(out);
        } else if (stands_alone(text, i)) {
            put_gap(out);
            put(out, text.at[i]);
            put(out, ' ');
        } else {
            put(out, text.at[i]);
            if (opens_quotation(text, i))
                put(out, ' ');
        }
    }
    put_gap(out);
}

/* 's, 'm, 'd, and 'll, 're, 've, n't in one case, before a space: cut off. Their sizes, 0 for none. */
static size_t clitic_size(struct runes text, size_t at)
{
    static const char *const one[] = {"'s ", "'S ", "'m ", "'M ", "'d ", "'D "};
    static const char *const more[] = {"'ll ", "'LL ", "'re ", "'RE ",
                                       "'ve ", "'VE ", "n't ", "N'T "};
    uint32_t before = at > 0 ? text.at[at - 1] : ' ';
    if (before == ' ' || before == '\'')
        return 0;
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++) {
        if (runes_have(text, at, one[i]))
            return 2;
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        if (runes_have(text, at, more[i]))
            return 3;
    }
    return 0;
}

/* A contraction at the beginning of a word: the sizes of its first half and of all of it. */
static bool is_contraction(struct runes text, size_t at, size_t *first, size_t *all)
{
    static const struct {
        const char *whole;
        size_t first;
    } pairs[] = {{"cannot", 3}, {"d'ye", 1},   {"gimme", 3}, {"gonna", 3}, {"gotta", 3},
                 {"lemme", 3},  {"more'n", 4}, {"wanna", 3}, {"'tis", 2},  {"'twas", 2}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *whole = pairs[i].whole;
        size_t end = at + strlen(whole);
        if (!letters_are(text, at, whole) || !ends_word(text, end))
            continue;
        bool begins = whole[0] == '\'' ? at > 0 && text.at[at - 1] == ' '
                                       : at == 0 || !rune_is_word(text.at[at - 1]);
        /* "wanna" only before white space or the last period */
        if (!begins ||
            (whole[0] == 'w' && !runes_have(text, end, " ") && !runes_have(text, end, ".")))
            continue;
        *first = pairs[i].first;
        *all = end - at;
        return true;
    }
    return false;
}

static void cut(struct runes text, struct padded *out)
{
    size_t half = text.size, end = text.size, first, all;
    for (size_t i = 0; i < text.size; i++) {
        bool begins = is_contraction(text, i, &first, &all);
        if (begins) {
            half = i + first;
            end = i + all;
        }
        if (begins || i == half || i == end || clitic_size(text, i) > 0)
            put_gap(out);
        put(out, text.at[i]);
    }
}

bool words_count_capital(struct arena *arena, struct runes text, size_t *count)
{
    *count = 0;
    struct padded wide = {arena_array(arena, 3 * text.size + 2, sizeof(uint32_t)), 0};
    if (wide.at == NULL)
        return false;
    pad(text, &wide);
    struct padded tokens = {arena_array(arena, 2 * wide.size, sizeof(uint32_t)), 0};
    if (tokens.at == NULL)
        return false;
    cut((struct runes){wide.at, wide.size}, &tokens);
    for (size_t i = 0; i < tokens.size;) {
        size_t end = i;
        while (end < tokens.size && tokens.at[end] != ' ')
            end++;
        *count += runes_are_upper((struct runes){tokens.at + i, end - i});
        i = end + 1;
    }
    return true;
}
