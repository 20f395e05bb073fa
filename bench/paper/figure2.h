/* bench/paper/figure2.h - regimes, losses and runs of figure 2 in small; see paper_figure2_main.c. */
#ifndef BENCH_PAPER_FIGURE2_H
#define BENCH_PAPER_FIGURE2_H

#include "bench/paper/runs.h"
#include "core/settings.h"

enum { FIGURE2_RATES = 4, FIGURE2_REGIMES = 9, FIGURE2_KINDS = 5 };

struct figure2_regime {
    const char *name, *about, *task;
    uint32_t warm_updates;
    double rare;
    uint32_t prompts, minibatches; /* of a generation batch */
    double rates[FIGURE2_RATES];   /* the grid of every loss */
    bool all_kinds;
};
/* Bounds and normalisers of the papers; everything else is the default of the settings. */
struct figure2_kind {
    const char *name;
    enum setting_loss loss;
    double clip_low, clip_high; /* 0: the defaults */
    enum setting_normaliser normaliser;
    bool basic; /* in every regime */
};
extern const struct figure2_regime figure2_regimes[FIGURE2_REGIMES];
extern const struct figure2_kind figure2_kinds[FIGURE2_KINDS];

struct figure2 {
    struct run_options options;
    json_t *lines; /* of the file */
    bool tuning;
    uint32_t work_count;
    struct {
        const struct figure2_regime *regime;
        uint64_t seed;
    } work[FIGURE2_REGIMES * RUN_SEEDS_MAX];
};

bool figure2_wanted(const struct figure2 *figure, const struct figure2_regime *regime,
                    const struct figure2_kind *kind);
/* Tuning runs, or the final ones with the rates that tuning chose; those in the file are not done again. */
MUST_CHECK enum status figure2_run(struct figure2 *figure, bool tuning);
/* The rate of the best mean score over all batches and tuning seeds; 0 when nothing was tuned. */
double figure2_rate(const struct figure2 *figure, const struct figure2_regime *regime,
                    const struct figure2_kind *kind);
/* Writes figure2.txt and figure2-<regime>.svg from the file. */
MUST_CHECK enum status figure2_report(struct figure2 *figure);

#endif
