/* reward/logic/zebra.h - houses in a row whose people differ in everything, and clues about them: makes sets of clues
 * that leave one solution. A thing is one value of one attribute (attribute * ZEBRA_HOUSES_MAX + value). Pure. */
#ifndef REWARD_LOGIC_ZEBRA_H
#define REWARD_LOGIC_ZEBRA_H

#include <stdbool.h>

#include "core/rng.h"

enum {
    ZEBRA_HOUSES_MAX = 6,
    ZEBRA_ATTRIBUTES_MAX = 6,
    ZEBRA_THINGS = ZEBRA_HOUSES_MAX * ZEBRA_ATTRIBUTES_MAX,
    ZEBRA_CLUES_MAX = 80
};

enum zebra_kind {
    ZEBRA_SAME,   /* a and b live in one house */
    ZEBRA_DIFFER, /* they do not */
    ZEBRA_NEXT,   /* in neighbouring houses */
    ZEBRA_LEFT,   /* a directly left of b */
    ZEBRA_BEFORE, /* a somewhere left of b */
    ZEBRA_AT,     /* a in house b (from 0) */
    ZEBRA_NOT_AT,
    ZEBRA_KINDS
};

struct zebra_clue {
    enum zebra_kind kind;
    int a, b;
};

struct zebra {
    int houses, attributes, count;
    struct zebra_clue clue[ZEBRA_CLUES_MAX];
    int house[ZEBRA_THINGS]; /* the solution, by thing */
    long nodes;              /* guesses and checks of the search with all clues */
};

/* easy: permille of clues that name one house or one person's two things; the rest is about neighbours. False: this
 * draw led nowhere. */
bool zebra_make(int houses, int attributes, int easy, struct rng *rng, struct zebra *zebra);
/* Solutions of the clues, counted up to `limit`. */
int zebra_solve(const struct zebra *zebra, int limit, long *nodes);

#endif
