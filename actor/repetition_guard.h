/* actor/repetition_guard.h - when to halt a rollout that repeats itself (MiniMax-M1 section 3.2):
 * `tokens` consecutive tokens, each with untempered probability strictly above the bound. The bound is
 * tested by the sampler (op_sample.confident); the run is carried across segments, leases and actors. */
#ifndef ACTOR_REPETITION_GUARD_H
#define ACTOR_REPETITION_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct repetition_guard {
    uint32_t tokens; /* 0 = off */
    uint32_t run;    /* consecutive confident tokens so far */
};

/* Counts one token; true: cut the rollout now, this token included. */
static inline bool repetition_guard_push(struct repetition_guard *guard, bool confident)
{
    guard->run = confident ? guard->run + 1 : 0;
    return guard->tokens > 0 && guard->run >= guard->tokens;
}

#endif
