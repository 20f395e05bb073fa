/* reward/logic/liars.h - people who always tell the truth or always lie, and what they say of each other: makes
 * puzzles with exactly one solution, checks a solution. A world has bit i set when person i is truthful. Pure, any
 * thread. */
#ifndef REWARD_LOGIC_LIARS_H
#define REWARD_LOGIC_LIARS_H

#include <jansson.h>
#include <stdbool.h>

#include "core/rng.h"

enum { LIARS_PEOPLE_MAX = 14, LIARS_CLAIMS_MAX = 96 };

/* a is what the claim says of person a (truthful or not), b likewise. Numbers stand in rows of data: only append. */
enum liars_kind {
    LIARS_IS,     /* a */
    LIARS_BOTH,   /* a and b */
    LIARS_EITHER, /* a or b, or both */
    LIARS_SAME,   /* persons a and b are of the same kind */
    LIARS_DIFFER, /* they are not */
    LIARS_IF,     /* if a then b */
    LIARS_KINDS
};

struct liars_claim {
    int speaker, kind, a, b;
    bool a_truthful, b_truthful;
};

struct liars_puzzle {
    int people, count;
    unsigned world; /* the solution */
    struct liars_claim claim[LIARS_CLAIMS_MAX];
    long nodes; /* of a search that goes person by person */
};

/* Random claims until one world is left; compound: permille of claims that are not LIARS_IS. anchor: person 0 of a
 * random order is told by the narrator (a claim with speaker -1, which is true). False: this draw led nowhere. */
bool liars_make(int people, int compound, bool anchor, struct rng *rng,
                struct liars_puzzle *puzzle);
/* Whether the claim's words are true in that world. */
bool liars_holds(const struct liars_claim *claim, unsigned world);
/* Whether every speaker says what they have to in that world. */
bool liars_world_fits(const struct liars_puzzle *puzzle, unsigned world);

json_t *liars_json(const struct liars_puzzle *puzzle); /* a list of claims */
/* Reads people and claims; false when malformed. */
bool liars_of_json(const json_t *claims, int people, struct liars_puzzle *puzzle);

#endif
