/* actor/generate.h - answers to a list of prompts, without a store: what `weir eval` runs.
 *
 * The live actor's engine and desk, with leases made here instead of by a store: the same continuous batch, prefill,
 * forks, sampler, repetition guard and ends of text. A token depends on (seed, row, sample, position), the weights and
 * the tokens before it, never on what else is in the batch: actor.slots changes no bit, and work may be cut anywhere.
 *
 *     TRY(engine_create(&engine, settings, 0, 1));
 *     TRY(engine_load_folder(&engine, settings->model.path));
 *     TRY(generate(&engine, &order));
 *
 * One thread. */
#ifndef ACTOR_GENERATE_H
#define ACTOR_GENERATE_H

#include <stdatomic.h>

#include "actor/engine.h"

struct generate_prompt {
    const uint32_t *ids; /* [count] borrowed */
    uint32_t count;
};

/* One answer; everything is borrowed for the call. */
struct generated {
    uint64_t row; /* index of the prompt */
    uint32_t sample;
    const uint32_t *ids;   /* [count] with the token that ended it */
    const float *logprobs; /* [count] nats, full softmax at the sampling temperature */
    uint32_t count;
    enum segment_status finish; /* EOS, LENGTH or REPETITION */
};

struct generate_order {
    const struct generate_prompt *prompts; /* [prompt_count] */
    uint64_t prompt_count;
    uint32_t samples; /* of each */
    /* False: not this one (it is there already). NULL: all. */
    bool (*wanted)(void *self, uint64_t row, uint32_t sample);
    /* In the order in which they end. */
    enum status (*done)(void *self, const struct generated *generated);
    /* After each step, tokens sampled so far in this call. NULL: nobody looks. */
    void (*progress)(void *self, uint64_t tokens);
    void *self;
    atomic_int *stop; /* not 0: CANCELLED; what was handed to `done` stays */
};

/* Seed, temperature, nucleus, budget and repetition guard are settings of the engine. INVALID: a prompt that cannot
 * run here (longer than the cache, ids outside the vocabulary), with its row; errors of `done` and of the device. */
MUST_CHECK enum status generate(struct engine *engine, const struct generate_order *order);

/* Samples that are leased at once: those of one prompt that start together share its prefill, so a prompt waits until so
 * many slots are free. All of them up to half the slots. */
uint32_t generate_share(uint32_t left, uint32_t slots);

#endif
