/* reward/rules/pieces.h - the string operations that the scoring functions of other trainers are written with: replace,
 * split, slices from the end, all in code points where those count them. Results live in the arena of the call; a full
 * arena is remembered and makes every later result empty. One thread. */
#ifndef REWARD_RULES_PIECES_H
#define REWARD_RULES_PIECES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/arena.h"

struct piece {
    const char *at; /* UTF-8 */
    size_t size;    /* bytes */
};

struct pieces {
    struct arena *arena;
    bool full;   /* out of memory: the results are worthless */
    bool raised; /* what is re-implemented would have raised an exception here */
};

struct piece piece_of(const char *text); /* of a text that ends with a NUL */
bool piece_equal(struct piece a, struct piece b);
bool piece_is(struct piece piece, const char *text);
bool piece_starts(struct piece piece, const char *head);
/* The first or the last place of `what`; piece.size when there is none. */
size_t piece_find(struct piece piece, const char *what, size_t from);
size_t piece_find_last(struct piece piece, const char *what);
size_t piece_count(struct piece piece, const char *what); /* that do not overlap */
struct piece piece_from(struct piece piece, size_t from);
struct piece piece_to(struct piece piece, size_t to);
/* The last `count` code points; all when there are fewer. */
struct piece piece_last(struct piece piece, size_t count);
size_t piece_runes(struct piece piece);                   /* code points */
size_t piece_rune_size(struct piece piece, size_t place); /* bytes of the code point there */
struct piece piece_trimmed(struct piece piece);           /* of Unicode white space */

struct piece pieces_replace(struct pieces *pieces, struct piece piece, const char *before,
                            const char *after);
/* Joins up to four; the rest are {NULL, 0}. */
struct piece pieces_join(struct pieces *pieces, struct piece a, struct piece b, struct piece c,
                         struct piece d);

/* A text that grows to a known most. */
struct piece_build {
    char *text;
    size_t size, limit;
};
bool piece_build_start(struct pieces *pieces, struct piece_build *build, size_t limit);
void piece_build_add(struct piece_build *build, const char *text, size_t size);
void piece_build_text(struct piece_build *build, const char *text);
struct piece piece_built(const struct piece_build *build);

#endif
