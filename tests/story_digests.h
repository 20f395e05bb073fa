/* tests/story_digests.h - stories that must end with the digests of the run that nobody touched. */
#ifndef TESTS_STORY_DIGESTS_H
#define TESTS_STORY_DIGESTS_H

#include "core/rng.h"
#include "tests/story.h"

/* ---- chance, from TEST_SEED or the clock ---- */

static uint64_t story_seed;
static uint32_t story_draws;

static inline void story_take_seed(void)
{
    const char *given = getenv("TEST_SEED");
    story_seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)clock_wall_ns() % 100000;
}

static inline uint32_t story_draw(uint32_t below)
{
    uint32_t out[4];
    const uint32_t counter[4] = {story_draws++};
    const uint32_t key[2] = {(uint32_t)story_seed, (uint32_t)(story_seed >> 32)};
    philox4x32(counter, key, out);
    return out[0] % below;
}

/* ---- the measure ---- */

struct story_measure {
    const char *settings;
    size_t steps;
    int64_t limit_ms;
    json_t *lines; /* metrics of the run that nobody touched, once it was asked for */
};

static inline json_t *story_uninterrupted(struct story_measure *measure)
{
    if (measure->lines == NULL) {
        struct story_run run;
        story_run_whole(&run, "whole", measure->settings, measure->limit_ms);
        measure->lines = story_metrics(&run);
        story_assert_steps(measure->lines, measure->steps);
    }
    return measure->lines;
}

/* The run ends well, with every step once and the digests of the measure. */
static inline void story_check_end(struct story_run *run, struct story_measure *measure)
{
    assert_int_equal(story_wait(run, measure->limit_ms), 0);
    json_t *lines = story_metrics(run);
    story_assert_steps(lines, measure->steps);
    story_assert_same_digests(story_uninterrupted(measure), lines);
    json_decref(lines);
}

#endif
