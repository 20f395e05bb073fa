/* tests/stages_world.h - made-up runs for the length stages: numbers of plans drawn from known truths. Included by
 * test_stages.c and bench_stages.c. */
#ifndef TESTS_STAGES_WORLD_H
#define TESTS_STAGES_WORLD_H

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "rollout_store/stages.h"

struct truth {
    uint32_t groups, size; /* of a plan */
    double near; /* share of lengths near the cap; the 99th percentile is there from 0.01 on */
    double
        clumped; /* 0: rollouts are independent; else the share of prompts that have all the long ones */
    double level, drift; /* -logprob: of the first plan, and its change in each plan */
    double noise,
        memory; /* of its mean over a plan: standard deviation; lag-1 autocorrelation, 1: a random walk */
    double tail_drift;  /* of late positions against early ones, in each plan */
    double tail_noise;  /* like noise, of late ones alone; its memory is the same */
    uint32_t tail_from; /* plan at which tail_drift begins */
};

struct made_up {
    struct truth truth;
    struct rng rng;
    double noise, tail_noise, tail; /* now */
    uint32_t plan;
};

static inline double next_noise(struct made_up *world, double before, double deviation)
{
    double memory = world->truth.memory;
    double fresh = memory >= 1 ? 1 : sqrt(1 - memory * memory);
    return memory * before + fresh * deviation * rng_normal(&world->rng);
}

static inline struct made_up made_up(struct truth truth, uint64_t seed)
{
    struct made_up world = {.truth = truth};
    rng_init(&world.rng, seed, 11, RNG_TEST);
    return world;
}

/* How many of a group are near the cap. */
static inline uint32_t draw_near(struct made_up *world)
{
    const struct truth *truth = &world->truth;
    double share = truth->near;
    uint32_t near = 0;
    if (truth->clumped > 0) {
        bool hard = rng_uniform(&world->rng) < truth->clumped;
        share = hard ? fmin(1, truth->near / truth->clumped) : 0;
    }
    for (uint32_t i = 0; share > 0 && i < truth->size; i++)
        near += rng_uniform(&world->rng) < share;
    return near;
}

/* The numbers of the next plan. */
static inline void draw_plan(struct made_up *world, struct stage_numbers *numbers)
{
    const struct truth *truth = &world->truth;
    *numbers =
        (struct stage_numbers){.groups = truth->groups, .rollouts = truth->groups * truth->size};
    for (uint32_t g = 0; g < truth->groups; g++) {
        uint32_t near = draw_near(world);
        numbers->near += near;
        numbers->near_squares += (uint64_t)near * near;
    }
    numbers->lengths[STAGE_BINS - 1] = numbers->near;
    numbers->lengths[STAGE_BINS / 2] = numbers->rollouts - numbers->near;
    world->noise = next_noise(world, world->noise, truth->noise);
    world->tail_noise = next_noise(world, world->tail_noise, truth->tail_noise);
    world->tail += world->plan >= truth->tail_from ? truth->tail_drift : 0;
    double level = truth->level + truth->drift * world->plan + world->noise;
    for (int d = 0; d < STAGE_DECILES; d++) {
        double late = d >= 7 ? world->tail + world->tail_noise : 0;
        numbers->tokens[d] = 1000 - 90 * (uint64_t)d;
        numbers->logprob[d] = -(double)numbers->tokens[d] * fmax(0.001, level + late);
    }
    world->plan++;
}

/* Draws, judges and applies the next plan; false: the fold refused it. */
static inline bool next_plan(struct made_up *world, struct stages *stages)
{
    struct stage_facts facts;
    draw_plan(world, &facts.numbers);
    stages_judge(stages, world->plan, &facts.numbers, &facts.verdict);
    return stages_apply(stages, world->plan, stages_now(stages), stages_cap(stages), &facts) ==
           STATUS_OK;
}

#endif
