/* reward/logic/draw.h - what generators draw from a stream of random numbers. Pure, any thread. */
#ifndef REWARD_LOGIC_DRAW_H
#define REWARD_LOGIC_DRAW_H

#include <stdbool.h>
#include <stddef.h>

#include "core/rng.h"

/* Uniform in [min, max]; the bounds may come in the wrong order. */
int draw_between(struct rng *rng, int min, int max);
bool draw_permille(struct rng *rng, int permille); /* true in so many of 1000 cases */
void draw_shuffle(struct rng *rng, int *items, int count);
void draw_permutation(struct rng *rng, int *items, int count); /* of 0 .. count - 1 */
/* `count` different numbers of 0 .. of - 1 in random order; of <= 1024. */
void draw_sample(struct rng *rng, int *items, int count, int of);
/* One of a table of texts. */
const char *draw_text(struct rng *rng, const char *const *texts, size_t count);

#endif
