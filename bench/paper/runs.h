/* bench/paper/runs.h - what the experiments share: options, results as JSON lines, several processes, intervals.
 *
 * A result is one line in <out>/<name>.jsonl with its key first; a run whose key is there is not done again, so an experiment
 * that was stopped goes on, and a larger grid keeps what it has. Tables and pictures are made from the file alone. */
#ifndef BENCH_PAPER_RUNS_H
#define BENCH_PAPER_RUNS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/file.h"
#include "core/status.h"

struct run_options {
    const char *out;           /* folder of results */
    const char *device;        /* "cpu", "cuda:0" */
    uint32_t jobs;             /* processes at a time */
    uint32_t seeds;            /* of the final curves */
    uint32_t tune_seeds;       /* others, that choose the learning rate */
    uint32_t batches;          /* generation batches of a run */
    uint32_t hidden, layers;   /* of the model; 0: the size of the lab */
    const char *only;          /* comma-separated names of regimes; "" = all */
    const char *kinds;         /* losses; "" = those of the experiment */
    bool plot;                 /* only tables and pictures of what is there */
    char jsonl[FILE_PATH_MAX]; /* <out>/<name>.jsonl */
};

/* What every program starts from: runs/paper, cpu, one process, one seed. */
struct run_options run_options_defaults(void);
/* Reads `--name value` pairs over the values that are set; INVALID names what it does not know. Makes the folder. */
MUST_CHECK enum status run_options_read(struct run_options *options, const char *name, int argc,
                                        char **argv);
/* Is `name` one of the comma-separated `list`? An empty list has every name. */
bool run_listed(const char *list, const char *name);

/* One line, written at once. Steals `line`. */
MUST_CHECK enum status runs_append(const char *path, json_t *line);
/* An array of all lines; empty when there is no file. The caller drops it. */
MUST_CHECK enum status runs_load(const char *path, json_t **lines);
/* The line whose "key" this is, borrowed; NULL: none. */
const json_t *runs_find(const json_t *lines, const char *key);

/* work(self, i) for i in [0, count) in child processes, `jobs` at a time (1: in this one). The first failure is returned
 * after all have ended. */
MUST_CHECK enum status runs_jobs(uint32_t count, uint32_t jobs,
                                 enum status (*work)(void *self, uint32_t i), void *self);

/* ---- intervals: percentiles of resampled seeds (Efron 1979), 95 %, the same draws every time ---- */
enum { RESAMPLES = 2000, RUN_SEEDS_MAX = 64, RUN_POINTS_MAX = 1024 };
struct interval {
    double mean, low, high;
};
/* values [count] of independent seeds. */
struct interval interval_of_mean(const double *values, uint32_t count);
/* Curves [seeds][points]: for each seed the steps that fast needs to reach `share` of the mean of slow's last fifth, over
 * those that slow itself needs; the geometric mean over seeds. reached: seeds in which fast got there; the others count as one
 * step more than there are, which is too few. */
struct interval interval_of_steps(const double *const *fast, const double *const *slow,
                                  uint32_t seeds, uint32_t points, double share, uint32_t *reached);
/* First position (from 1, interpolated) at which the curve is at least `level`; points + 1 when never. */
double first_reach(const double *curve, uint32_t points, double level);

#endif
