#include "text/added_tokens.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/checksum.h"
#include "core/memory.h"
#include "text/pattern_unicode.h"
#include "text/utf8.h"

enum status added_tokens_push(struct added_tokens *added, const struct added_token *token)
{
    if (added->count == added->capacity) {
        size_t capacity = added->capacity ? 2 * added->capacity : 64;
        void *tokens =
            memory_grow(added->tokens, added->capacity * sizeof *token, capacity * sizeof *token);
        if (tokens == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu added tokens", capacity);
        added->tokens = tokens;
        added->capacity = capacity;
    }
    added->tokens[added->count++] = *token;
    return STATUS_OK;
}

void added_tokens_free(struct added_tokens *added)
{
    for (size_t i = 0; i < added->count; i++) {
        memory_free(added->tokens[i].content);
        memory_free(added->tokens[i].match);
    }
    memory_free(added->tokens);
    for (int set = 0; set < 2; set++) {
        memory_free(added->sets[set].lengths);
        memory_free(added->sets[set].slots);
    }
    memset(added, 0, sizeof *added);
}

/* ---- freeze ---- */

static uint32_t *find_slot(const struct added_tokens *added, const struct added_set *set,
                           const void *text, size_t size)
{
    size_t slot = (size_t)hash64(text, size, 0) & (set->slots_size - 1);
    while (set->slots[slot] != 0) {
        const struct added_token *token = &added->tokens[set->slots[slot] - 1];
        if (token->match_size == size && memcmp(token->match, text, size) == 0)
            break;
        slot = (slot + 1) & (set->slots_size - 1);
    }
    return &set->slots[slot];
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The distinct lengths of each first byte, longest first. */
static enum status find_lengths(const struct added_tokens *added, bool normalized,
                                struct added_set *set)
{
    uint64_t *keys = memory_array(set->count, sizeof *keys); /* first byte, then length downwards */
    set->lengths = memory_array(set->count, sizeof *set->lengths);
    if (keys == NULL || set->lengths == NULL) {
        memory_free(keys);
        return FAIL(STATUS_NO_MEMORY, "%zu added tokens", set->count);
    }
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < added->count; i++) {
        const struct added_token *token = &added->tokens[i];
        if (token->normalized == normalized && token->match_size > 0)
            keys[count++] = (uint64_t)(uint8_t)token->match[0] << 32 |
                            (UINT32_MAX - (uint32_t)token->match_size);
    }
    qsort(keys, count, sizeof *keys, compare);
    for (size_t byte = 0, i = 0; byte < 256; byte++) {
        set->lengths_at[byte] = (uint32_t)kept;
        for (; i < count && keys[i] >> 32 == byte; i++)
            if (i == 0 || keys[i] != keys[i - 1])
                set->lengths[kept++] = UINT32_MAX - (uint32_t)keys[i];
    }
    set->lengths_at[256] = (uint32_t)kept;
    memory_free(keys);
    return STATUS_OK;
}

static enum status freeze_set(struct added_tokens *added, bool normalized)
{
    struct added_set *set = &added->sets[normalized];
    for (size_t i = 0; i < added->count; i++)
        set->count += added->tokens[i].normalized == normalized && added->tokens[i].match_size > 0;
    if (set->count == 0)
        return STATUS_OK;
    set->slots_size = 16;
    while (set->slots_size < 2 * set->count)
        set->slots_size *= 2;
    set->slots = memory_array(set->slots_size, sizeof *set->slots);
    if (set->slots == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu added tokens", set->count);
    for (size_t i = 0; i < added->count; i++) {
        const struct added_token *token = &added->tokens[i];
        if (token->normalized != normalized || token->match_size == 0)
            continue;
        uint32_t *slot = find_slot(added, set, token->match, token->match_size);
        if (*slot == 0)
            *slot = (uint32_t)i + 1;
        uint8_t first = (uint8_t)token->match[0];
        set->firsts[first] = true;
        if (token->match_size == 1)
            memset(set->pairs + 32u * first, 0xff, 32);
        else
            set->pairs[32u * first + (uint8_t)token->match[1] / 8] |=
                (uint8_t)(1u << ((uint8_t)token->match[1] % 8));
    }
    return find_lengths(added, normalized, set);
}

enum status added_tokens_freeze(struct added_tokens *added)
{
    TRY(freeze_set(added, false));
    return freeze_set(added, true);
}

/* ---- find ---- */

static const struct added_token *token_at(const struct added_tokens *added,
                                          const struct added_set *set, const uint8_t *at,
                                          size_t size)
{
    for (uint32_t i = set->lengths_at[at[0]]; i < set->lengths_at[at[0] + 1]; i++) {
        if (set->lengths[i] > size)
            continue;
        uint32_t index = *find_slot(added, set, at, set->lengths[i]);
        if (index != 0)
            return &added->tokens[index - 1];
    }
    return NULL;
}

static int32_t point_before(const uint8_t *text, size_t at, size_t *begin)
{
    size_t ignored;
    *begin = at;
    while (*begin > 0 && (text[--*begin] & 0xc0) == 0x80)
        ;
    return utf8_point(text + *begin, &ignored);
}

/* \w of Rust's regex: Alphabetic, marks, decimal digits, connectors, joiners. */
static bool is_word(int32_t point)
{
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_CN: /* or younger than utf8proc's tables */
        return pattern_newer_has("L", point) || pattern_newer_has("M", point) ||
               pattern_newer_has("Nd", point);
    default: /* joiners, and the circled letters, which are Alphabetic */
        return point == 0x200c || point == 0x200d || (point >= 0x24b6 && point <= 0x24e9) ||
               (point >= 0x1f130 && point <= 0x1f149) || (point >= 0x1f150 && point <= 0x1f169) ||
               (point >= 0x1f170 && point <= 0x1f189);
    }
}

static bool stands_alone(const uint8_t *text, size_t size, size_t begin, size_t end)
{
    size_t ignored;
    return (begin == 0 || !is_word(point_before(text, begin, &ignored))) &&
           (end == size || !is_word(utf8_point(text + end, &ignored)));
}

static void take_spaces(const uint8_t *text, size_t size, struct added_match *match)
{
    size_t place = 0;
    while (match->token->left && match->begin > 0 &&
           utf8_is_space(point_before(text, match->begin, &place)))
        match->begin = place;
    while (match->token->right && match->end < size &&
           utf8_is_space(utf8_point(text + match->end, &place)))
        match->end += place;
}

void added_tokens_find(const struct added_tokens *added, bool normalized, const uint8_t *text,
                       size_t size, size_t from, struct added_match *match)
{
    const struct added_set *set = &added->sets[normalized];
    match->token = NULL;
    for (size_t at = from; at < size && set->count > 0; at++) {
        uint8_t first = text[at];
        if (!set->firsts[first] ||
            (at + 1 < size &&
             (set->pairs[32u * first + text[at + 1] / 8] >> text[at + 1] % 8 & 1) == 0))
            continue;
        const struct added_token *token = token_at(added, set, text + at, size - at);
        if (token == NULL)
            continue;
        *match = (struct added_match){token, at, at + token->match_size, at + token->match_size};
        if (token->single_word && !stands_alone(text, size, match->begin, match->end)) {
            at = match->next - 1;
            match->token = NULL;
            continue;
        }
        take_spaces(text, size, match);
        return;
    }
}
