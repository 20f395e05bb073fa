/* reward/rules/repetition.h - how much a sequence of tokens repeats itself. Pure, any thread, linear. */
#ifndef REWARD_RULES_REPETITION_H
#define REWARD_RULES_REPETITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"

enum { REPETITION_NGRAM_MAX = 64 };

/* Distinct n-grams among the count - n + 1 there are; 0 when count < n. False when the arena is full. */
bool repetition_distinct(struct arena *arena, const int32_t *ids, size_t count, size_t n,
                         size_t *distinct);
/* TRL get_repetition_penalty_reward: (1 - distinct / all n-grams) * max_penalty, 0 when count < n. */
bool repetition_penalty(struct arena *arena, const int32_t *ids, size_t count, size_t n,
                        double max_penalty, double *penalty);

/* The longest end of the sequence that is a run of one period, seen at least twice. */
struct repetition_suffix {
    size_t period; /* tokens; 0: no such end */
    size_t tokens; /* of the whole run */
};
bool repetition_suffix(struct arena *arena, const int32_t *ids, size_t count,
                       struct repetition_suffix *suffix);

/* The online rule: generation stops after `window` sampled tokens in a row have a probability above `threshold` (strictly).
 * Feed runs of equal probability. */
struct repetition_watch {
    int64_t window;
    double threshold;
    int64_t tokens, streak; /* seen so far; of them above the threshold, up to now */
    int64_t halt;           /* tokens after which generation stops; 0: not yet */
};
void repetition_watch_add(struct repetition_watch *watch, int64_t count, double probability);

#endif
