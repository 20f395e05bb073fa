/* links: rollout_store */
/* bench/bench_stages.c - how often a length stage ends early, how soon it ends, and what the tail alarm misses.
 *
 *     bench_stages [runs] [seed]    JSON lines: share of runs in which the stage ended (or the alarm came) within
 *                                   `plans`, mean plan of it, the limit; nanoseconds to judge and keep a plan. The settings are the defaults. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "tests/stages_world.h"

static const struct stages_settings usual = {.lengths = "40960, 81920",
                                             .window = 50,
                                             .settled = 0.01,
                                             .near_cap = 0.95,
                                             .doubt = 1e-6,
                                             .confirm = 3,
                                             .least = 50,
                                             .tail_rise = 0.1};

struct row {
    const char *name;
    bool tail;          /* of the alarm, not of the stage */
    double least, most; /* limits of the share */
    struct truth truth;
};

static const struct row rows[] = {
    {"p99 just below (0.95% near the cap), 256 rollouts a plan",
     false,
     0,
     0,
     {.groups = 32, .size = 8, .near = 0.0095, .level = 0.7, .noise = 0.003}},
    {"the same, all from one prompt in fifty",
     false,
     0,
     0,
     {.groups = 32, .size = 8, .near = 0.0095, .clumped = 0.02, .level = 0.7, .noise = 0.003}},
    {"the same, 16 rollouts a plan",
     false,
     0,
     0,
     {.groups = 2, .size = 8, .near = 0.0095, .level = 0.7, .noise = 0.003}},
    {"near the cap, perplexity falls by 2% a window",
     false,
     0,
     0,
     {.groups = 32, .size = 8, .near = 0.04, .level = 0.7, .noise = 0.003, .drift = -0.0004}},
    {"the same, noise 2%",
     false,
     0,
     0,
     {.groups = 32, .size = 8, .near = 0.04, .level = 0.7, .noise = 0.02, .drift = -0.0004}},
    {"both hold, 4% near the cap, noise 0.3%",
     false,
     1,
     1,
     {.groups = 32, .size = 8, .near = 0.04, .level = 0.7, .noise = 0.003}},
    {"both hold, noise 1%",
     false,
     0.99,
     1,
     {.groups = 32, .size = 8, .near = 0.04, .level = 0.7, .noise = 0.01}},
    {"both hold, noise 1% that remembers (0.9)",
     false,
     0,
     1,
     {.groups = 32, .size = 8, .near = 0.04, .level = 0.7, .noise = 0.01, .memory = 0.9}},
    {"both hold, 1.5% near the cap",
     false,
     0.9,
     1,
     {.groups = 32, .size = 8, .near = 0.015, .level = 0.7, .noise = 0.003}},
    {"tail: sound, noise 3%",
     true,
     0,
     0,
     {.groups = 2, .size = 8, .level = 0.7, .noise = 0.003, .tail_noise = 0.03}},
    {"tail: sound, noise 3% that remembers (0.9)",
     true,
     0,
     0.03,
     {.groups = 2, .size = 8, .level = 0.7, .noise = 0.003, .tail_noise = 0.03, .memory = 0.9}},
    {"tail: sound, random walk of 0.5% a plan",
     true,
     0,
     0.02,
     {.groups = 2, .size = 8, .level = 0.7, .noise = 0, .tail_noise = 0.005, .memory = 1}},
    {"tail: the whole text gets worse",
     true,
     0,
     0,
     {.groups = 2, .size = 8, .level = 0.7, .noise = 0.003, .tail_noise = 0.03, .drift = 0.005}},
    {"tail: collapse from plan 100 on, 0.4% a plan",
     true,
     1,
     1,
     {.groups = 2,
      .size = 8,
      .level = 0.7,
      .noise = 0.003,
      .tail_noise = 0.02,
      .tail_drift = 0.004,
      .tail_from = 100}},
    {"tail: the same, 1% a plan",
     true,
     1,
     1,
     {.groups = 2,
      .size = 8,
      .level = 0.7,
      .noise = 0.003,
      .tail_noise = 0.02,
      .tail_drift = 0.01,
      .tail_from = 100}},
};

/* The plan at which it happened; 0: it did not. */
static uint32_t one_run(const struct row *row, uint64_t seed, uint32_t plans)
{
    struct stages stages;
    struct made_up world = made_up(row->truth, seed);
    uint32_t met = 0;
    if (stages_open(&stages, &usual, 81920) != STATUS_OK)
        exit(1);
    for (uint32_t plan = 1; plan <= plans && met == 0; plan++) {
        if (!next_plan(&world, &stages))
            exit(1);
        bool now =
            row->tail ? stages_last(&stages)->facts.verdict.tail_alarm : stages_now(&stages) > 0;
        met = now ? plan : 0;
    }
    stages_close(&stages);
    return met;
}

int main(int argc, char **argv)
{
    uint32_t runs = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000, plans = 200;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    bool kept = true;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        uint32_t met = 0, last = 0;
        uint64_t sum = 0, judged = 0;
        int64_t start = clock_now_ns();
        for (uint32_t run = 0; run < runs; run++) {
            uint32_t plan = one_run(&rows[r], seed + run, plans);
            met += plan > 0;
            sum += plan;
            last = plan > last ? plan : last;
            judged += plan > 0 ? plan : plans;
        }
        double share = (double)met / runs;
        kept = kept && share >= rows[r].least && share <= rows[r].most;
        printf("{\"bench\":\"stages\",\"world\":\"%s\",\"runs\":%" PRIu32 ",\"plans\":%" PRIu32
               ",\"share\":%.4f,\"limit\":[%g,%g],\"mean_plan\":%.1f,\"last_plan\":%" PRIu32
               ",\"ns_per_plan\":%.0f}\n",
               rows[r].name, runs, plans, share, rows[r].least, rows[r].most,
               met > 0 ? (double)sum / met : 0, last,
               (double)(clock_now_ns() - start) / (double)judged);
        fflush(stdout);
    }
    return kept ? 0 : 1;
}
