/* tests/length_bias_world.h - made-up training curves for the length-bias monitor: what must stay quiet and what must be
 * found. bench/bench_length_bias.c counts over the same worlds, so docs/length-bias.md and the tests speak of one thing. */
#ifndef TESTS_LENGTH_BIAS_WORLD_H
#define TESTS_LENGTH_BIAS_WORLD_H

#include <math.h>

#include "core/length_bias.h"
#include "core/memory.h"
#include "core/rng.h"

enum world {
    /* quiet */
    WORLD_CONSTANT,        /* nothing moves, not even noise */
    WORLD_NOISE,           /* independent noise around constants */
    WORLD_REVERTING,       /* autocorrelated 0.9 around constants */
    WORLD_WALK,            /* length and reward are random walks */
    WORLD_REASONING,       /* length, reward and success grow together */
    WORLD_NOISY_REASONING, /* the same, success measured on a probe of 64 items */
    WORLD_LENGTH_ONLY,     /* the judge does not care */
    WORLD_REWARD_ONLY,     /* the judge is pleased for another reason */
    WORLD_JUMP,            /* other data from one step on: both jump once */
    /* found */
    WORLD_PLANTED, /* length and reward climb, success flat */
    WORLD_FALLING, /* success falls as well */
    WORLD_NOISY,   /* three times the noise, success on a probe of 64 items */
    WORLD_CURVED,  /* slow start, then exponential */
    WORLD_LATE,    /* reasoning first, exploitation in the second half */
    WORLD_COUNT
};

static const char *const world_names[WORLD_COUNT] = {
    "constant",    "noise", "reverting", "walk",    "reasoning", "noisy_reasoning", "length_only",
    "reward_only", "jump",  "planted",   "falling", "noisy",     "curved",          "late"};

static inline bool world_is_clean(enum world world)
{
    return world < WORLD_PLANTED;
}

struct world_state {
    struct rng rng;
    double walk_length, walk_reward, walk_success, rate;
};

struct world_step {
    double length, reward, success;
};

/* A probe of `items` independent items. */
static inline double world_probe(struct rng *rng, double success, uint32_t items)
{
    uint32_t right = 0;
    for (uint32_t i = 0; i < items; i++)
        right += rng_uniform(rng) < success ? 1 : 0;
    return (double)right / items;
}

static inline struct world_step world_growing(enum world world, double x, struct world_state *state)
{
    struct rng *rng = &state->rng;
    double noise = world == WORLD_NOISY ? 3 : 1, shape = x;
    if (world == WORLD_CURVED)
        shape = expm1(3 * x) / expm1(3.0);
    struct world_step step = {1000 * (1 + state->rate * shape) + noise * 15 * rng_normal(rng),
                              0.2 + 0.4 * state->rate * shape + noise * 0.01 * rng_normal(rng),
                              0.5};
    if (world == WORLD_REASONING || world == WORLD_NOISY_REASONING)
        step.success = 0.3 + 0.6 * shape;
    if (world == WORLD_FALLING)
        step.success -= 0.2 * shape;
    if (world == WORLD_LATE)
        step.success = 0.3 + 1.2 * fmin(shape, 0.5);
    if (world == WORLD_LENGTH_ONLY)
        step.reward = 0.2 + 0.01 * rng_normal(rng);
    if (world == WORLD_REWARD_ONLY)
        step.length = 1000 + 15 * rng_normal(rng);
    step.success = fmin(0.98, fmax(0.02, step.success));
    step.success = world == WORLD_NOISY || world == WORLD_NOISY_REASONING
                       ? world_probe(rng, step.success, 64)
                       : step.success + 0.01 * rng_normal(rng);
    return step;
}

/* Step t of `steps`; begin with a zeroed state whose rng is set: rate is drawn at t = 0. */
static inline struct world_step world_next(enum world world, uint32_t t, uint32_t steps,
                                           struct world_state *state)
{
    struct rng *rng = &state->rng;
    if (t == 0) /* length grows by half to twice within 40 steps */
        state->rate = (0.5 + 1.5 * rng_uniform(rng)) * steps / 40.0;
    double keep = world == WORLD_WALK ? 1 : 0.9;
    state->walk_length = keep * state->walk_length + 0.01 * rng_normal(rng);
    state->walk_reward = keep * state->walk_reward + 0.01 * rng_normal(rng);
    state->walk_success = keep * state->walk_success + 0.003 * rng_normal(rng);
    double jump = t > steps / 2 ? 1 : 0;
    switch (world) {
    case WORLD_CONSTANT:
        return (struct world_step){1000, 0.3, 0.5};
    case WORLD_NOISE:
        return (struct world_step){1000 + 50 * rng_normal(rng), 0.3 + 0.05 * rng_normal(rng),
                                   0.5 + 0.02 * rng_normal(rng)};
    case WORLD_WALK:
    case WORLD_REVERTING:
        return (struct world_step){1000 * exp(state->walk_length), 0.3 + state->walk_reward,
                                   0.5 + state->walk_success};
    case WORLD_JUMP:
        return (struct world_step){1000 + 400 * jump + 15 * rng_normal(rng),
                                   0.3 + 0.2 * jump + 0.01 * rng_normal(rng),
                                   0.5 + 0.01 * rng_normal(rng)};
    default:
        return world_growing(world, (double)t / steps, state);
    }
}

/* Runs one world; 0 when it stayed quiet, else the step (from 1) of the alarm. A suspicion at the last step counts. */
static inline uint32_t world_run(enum world world, uint32_t steps, uint64_t seed)
{
    struct length_bias_config config = length_bias_defaults();
    struct length_bias *monitor = NULL;
    struct world_state state = {0};
    struct length_bias_report report = {0};
    if (length_bias_create(&monitor, &config) != STATUS_OK)
        return UINT32_MAX;
    rng_init(&state.rng, seed, (uint64_t)world, RNG_TEST);
    for (uint32_t t = 0; t < steps && report.state != LENGTH_BIAS_ALARM; t++) {
        struct world_step step = world_next(world, t, steps, &state);
        if (length_bias_push(monitor, t + 1, step.length, step.reward, step.success, &report) !=
            STATUS_OK)
            break;
    }
    length_bias_destroy(&monitor);
    return report.state == LENGTH_BIAS_QUIET ? 0 : (uint32_t)report.step;
}

#endif
