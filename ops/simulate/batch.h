/* ops/simulate/batch.h - what `weir simulate` does: many seeds, or one planned fleet. */
#ifndef OPS_SIMULATE_BATCH_H
#define OPS_SIMULATE_BATCH_H

#include "ops/simulate/sim.h"

struct simulate_options {
    bool help, json, trace, quiet;
    bool seeds_given, forecast;
    uint64_t from, count;
    uint32_t jobs, faults;
    bool faults_given;
    enum sim_plant plant;
    uint32_t actors, workers;
    uint64_t seed;
    double tokens_per_s, learner_tokens_per_s, score_ms, minutes, mtbf_s, restart_s, step_ms,
        checkpoint_s;
    uint32_t score_lanes, response_mean, response_max;
    const char *files[16];
    size_t file_count;
    const char *overrides[256];
    size_t override_count;
};

/* INVALID with a sentence. */
MUST_CHECK enum status simulate_parse(struct simulate_options *options, int argc, char **argv);
extern const char simulate_help[];

struct batch_sum {
    uint64_t seeds, failed, events, messages, bytes, kills, store_kills, cuts, versions, groups,
        tokens, branches, dropped;
    uint64_t faults[SIM_FAULT_COUNT];
    double virtual_s, wall_s;
    uint64_t first_failed;
    char first_invariant[48];
};
/* Runs seeds [from, from + count) on `jobs` processes. lines: one JSON line a seed on stdout; of failures also the
 * last events. */
MUST_CHECK enum status batch_run(const struct simulate_options *options, bool lines,
                                 struct batch_sum *sum);
/* What a planned fleet will do, of the measured time. */
struct forecast {
    double trained_per_s, made_per_s; /* tokens */
    double again_share;               /* of the tokens made */
    double versions_per_hour, wall_s;
    struct sim_figures figures;
};
/* Plays it; *setup is filled on the way (large: not for the stack). */
MUST_CHECK enum status forecast_play(const struct simulate_options *options,
                                     const struct settings *settings, struct sim_setup *setup,
                                     struct forecast *is);
const char *forecast_advice(const struct forecast *is); /* what limits it */
MUST_CHECK enum status forecast_run(const struct simulate_options *options);
/* Exit code of the program. */
int simulate_main(int argc, char **argv);

#endif
