/* reward/rules/runes.h - text as code points, with the questions the instruction rules ask of it.
 *
 * A rule counts characters, words and lines of any language, so responses are decoded once and rules work on code points.
 * The classes follow Unicode as Python's str methods do, because the rules' published verdicts were made with those.
 * Views point into memory of an arena (or into a longer view). Pure, any thread, linear. */
#ifndef REWARD_RULES_RUNES_H
#define REWARD_RULES_RUNES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"

struct runes {
    const uint32_t *at;
    size_t size; /* code points */
};

/* Bytes that are no UTF-8 become U+FFFD, one each. False when the arena is full. */
bool runes_decode(struct arena *arena, const char *text, size_t size, struct runes *runes);
/* UTF-8 with a NUL behind it; NULL when the arena is full. */
char *runes_encode(struct arena *arena, struct runes runes, size_t *size);

bool rune_is_space(uint32_t rune);
bool rune_is_word(uint32_t rune); /* letter, number or '_' */
bool rune_is_letter(uint32_t rune);
bool rune_is_digit(uint32_t rune); /* category Nd */
bool rune_is_upper(uint32_t rune);
bool rune_is_lower(uint32_t rune);
uint32_t rune_lower(uint32_t rune);

/* At least one cased letter, and no letter of the other case. */
bool runes_are_upper(struct runes runes);
bool runes_are_lower(struct runes runes);
/* Lower case: as many code points, but for U+0130, which becomes two. False when the arena is full. */
bool runes_lowered(struct arena *arena, struct runes runes, struct runes *lowered);
struct runes runes_trimmed(struct runes runes); /* without white space at both ends */
struct runes runes_part(struct runes runes, size_t from, size_t to);
bool runes_equal(struct runes a, struct runes b);
bool runes_start_with(struct runes runes, struct runes head);
bool runes_end_with(struct runes runes, struct runes tail);
/* The next place of the ASCII text `what` at or after `from`; runes.size when there is none. */
size_t runes_find(struct runes runes, const char *what, size_t from);
/* Whether the ASCII text stands at `from`. */
bool runes_have(struct runes runes, size_t from, const char *what);
/* Without one rune: all of them out. False when the arena is full. */
bool runes_without(struct arena *arena, struct runes runes, uint32_t what, struct runes *rest);

#endif
