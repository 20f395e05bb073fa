/* reward/logic/latin.h - squares with each number 1..side once in every row and column, under further rules: random
 * ones, and a search that counts solutions. Pure, any thread. */
#ifndef REWARD_LOGIC_LATIN_H
#define REWARD_LOGIC_LATIN_H

#include <stdbool.h>

#include "core/rng.h"
#include "reward/logic/board.h"

enum { LATIN_SIDE_MAX = 9 };

/* Whether the number just put at (row, column) may stand there, as far as the filled cells tell; 0 is empty. */
typedef bool (*latin_rule)(const void *rules, const struct board *board, int row, int column);

/* What a search found. */
struct latin_search {
    int solutions;          /* up to the wanted number */
    int nodes;              /* numbers tried */
    bool complete;          /* false: ran into node_limit */
    struct board found[2];  /* the first two */
    int wanted, node_limit; /* set by latin_solve */
    latin_rule rule;
    const void *rules;
};

void latin_random(struct rng *rng, int side, struct board *board);
/* Counts the ways to fill the zeros of `start`, at most `wanted` (1 or 2) of them. */
void latin_solve(const struct board *start, latin_rule rule, const void *rules, int wanted,
                 int node_limit, struct latin_search *search);
/* Every row and column holds 1..side. */
bool latin_is_square(const struct board *board);
/* A cell in which the two found solutions differ. */
void latin_difference(const struct latin_search *search, struct rng *rng, int *row, int *column);

#endif
