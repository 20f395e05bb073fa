/* bench/paper/paper_optimizer_main.c - the optimizer ablation of MiniMax-M1 (arXiv:2506.13585, section 3.2) in small.
 *
 * The paper found gradients from 1e-18 to 1e-5, most below 1e-14, and set AdamW's eps to 1e-15 and beta2 to 0.95. How
 * large gradients are is a matter of the normaliser (a loss divided by the tokens of a large batch), so the lab's loss is
 * multiplied by `scale`. Part one: the first step of a real update, |dp| / lr by size of the gradient, against
 * |g| / (|g| + eps) (the numbers of golden/spec/adamw.json). Part two: reward curves. Writes optimizer.jsonl, .txt, .svg. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/paper/lab.h"
#include "bench/paper/plot.h"
#include "bench/paper/runs.h"
#include "core/memory.h"

enum { ARMS = 4, SCALES = 3, DECADES = 24, DECADE_LEAST = -26, KEY_MAX = 160 };
static const struct {
    const char *name;
    double eps, beta2;
} arms[ARMS] = {{"eps 1e-15, beta2 0.95 (M1)", 1e-15, 0.95},
                {"eps 1e-15, beta2 0.999", 1e-15, 0.999},
                {"eps 1e-8, beta2 0.95", 1e-8, 0.95},
                {"eps 1e-8, beta2 0.999 (default)", 1e-8, 0.999}};
static const double scales[SCALES] = {1, 1e-6, 1e-12};
static const double rate = 1e-4;

struct experiment {
    struct run_options options;
    json_t *lines;
    FILE *table;
};

static struct lab_run arm_run(const struct lab *lab, int arm, double scale)
{
    struct lab_run run = lab_run_defaults(&lab->settings);
    run.lr = rate;
    run.eps = arms[arm].eps;
    run.beta2 = arms[arm].beta2;
    run.scale = scale;
    run.grad_clip = 0; /* it would act on one scale only */
    return run;
}

/* ---- the first step ---- */

struct decade {
    uint64_t count;
    double step, formula; /* sums of |dp| / lr, and of |g| / (|g| + eps) */
};

/* Learning rate 1 for this one step: at 1e-4 the sizes would drown in the rounding of f32 weights. */
static enum status first_step(struct lab *lab, int arm, double scale, float *gradient,
                              struct decade decades[DECADES], double *median)
{
    struct lab_run run = arm_run(lab, arm, scale);
    struct lab_point point;
    const float *after = NULL;
    int64_t count = 0;
    run.lr = 1;
    run.minibatches = 1;
    TRY(lab_reset(lab));
    TRY(lab_batch(lab, &run, &point));
    TRY(lab_parameters(lab, &after, &count));
    TRY(lab->trainer.ops->memory_read(lab->trainer.ops->context, lab->trainer.grads, gradient,
                                      (size_t)count * sizeof *gradient));
    uint64_t below[DECADES] = {0}, all = 0;
    for (int64_t i = 0; i < count; i++) {
        double g = fabs((double)gradient[i]);
        if (g == 0)
            continue;
        int d = (int)floor(log10(g)) - DECADE_LEAST;
        d = d < 0 ? 0 : d >= DECADES ? DECADES - 1 : d;
        decades[d].count++;
        decades[d].step += fabs((double)after[i] - (double)lab->warm[i]);
        decades[d].formula += g / (g + arms[arm].eps);
        below[d]++;
        all++;
    }
    uint64_t seen = 0;
    for (int d = 0; d < DECADES && 2 * seen < all; d++) {
        seen += below[d];
        *median = pow(10, d + DECADE_LEAST + 0.5);
    }
    return STATUS_OK;
}

static enum status first_steps(struct experiment *experiment, struct lab *lab)
{
    int64_t elements = model_parameters(lab->trainer.model)->elements;
    float *gradient = memory_array((size_t)elements, sizeof *gradient);
    enum status status = gradient ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "a gradient");
    fprintf(experiment->table,
            "First step of a real update: mean |dp| / lr of the parameters whose gradient has that "
            "size\n  %-8s %-9s %-8s %-10s %-12s %-12s\n",
            "scale", "eps", "|g|", "parameters", "measured", "|g|/(|g|+eps)");
    for (int s = 0; s < SCALES && status == STATUS_OK; s++)
        for (int a = 0; a < ARMS && status == STATUS_OK; a += 2) {
            struct decade decades[DECADES] = {{0}};
            double median = 0;
            status = first_step(lab, a, scales[s], gradient, decades, &median);
            for (int d = 0; d < DECADES; d++)
                if (decades[d].count >= 100)
                    fprintf(experiment->table,
                            "  %-8g %-9g 1e%-6d %-10" PRIu64 " %-12.4g %-12.4g\n", scales[s],
                            arms[a].eps, d + DECADE_LEAST, decades[d].count,
                            decades[d].step / (double)decades[d].count,
                            decades[d].formula / (double)decades[d].count);
            fprintf(experiment->table, "  %-8g %-9g median |g| about %.0e\n", scales[s],
                    arms[a].eps, median);
        }
    memory_free(gradient);
    return status;
}

/* ---- curves ---- */

static double moved(struct lab *lab, const float *after, int64_t count)
{
    double step = 0, weight = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)after[i] - (double)lab->warm[i];
        step += d * d;
        weight += (double)lab->warm[i] * (double)lab->warm[i];
    }
    return sqrt(step / weight);
}

static void arm_key(char key[KEY_MAX], int arm, int scale, uint64_t seed, uint32_t batches)
{
    snprintf(key, KEY_MAX, "lr=%g/scale=%g/eps=%g/beta2=%g/seed=%" PRIu64 "/batches=%u", rate,
             scales[scale], arms[arm].eps, arms[arm].beta2, seed, batches);
}

static enum status run_arm(struct experiment *experiment, struct lab *lab, int arm, int scale)
{
    char key[KEY_MAX];
    uint32_t batches = experiment->options.batches;
    arm_key(key, arm, scale, lab->config.seed, batches);
    if (runs_find(experiment->lines, key) != NULL)
        return STATUS_OK;
    struct lab_run run = arm_run(lab, arm, scales[scale]);
    json_t *score = json_array();
    double ratio = 0;
    TRY(lab_reset(lab));
    for (uint32_t b = 0; b < batches; b++) {
        struct lab_point point;
        double value = 0;
        TRY(lab_batch(lab, &run, &point));
        TRY(lab_score(lab, 1, &value));
        json_array_append_new(score, json_real(value));
        const float *after = NULL;
        int64_t count = 0;
        if (b == 0) {
            TRY(lab_parameters(lab, &after, &count));
            ratio = moved(lab, after, count) / point.updates;
        }
    }
    return runs_append(experiment->options.jsonl,
                       json_pack("{s:s, s:f, s:o}", "key", key, "moved", ratio, "score", score));
}

static enum status work(void *self, uint32_t i)
{
    struct experiment *experiment = self;
    char folder[LAB_FOLDER_MAX];
    struct lab_config config = lab_config_of(&experiment->options, "fork", folder);
    config.seed = 1 + i;
    struct lab lab;
    TRY(lab_create(&lab, &config));
    enum status status = STATUS_OK;
    for (int s = 0; s < SCALES && status == STATUS_OK; s++)
        for (int a = 0; a < ARMS && status == STATUS_OK; a++)
            status = run_arm(experiment, &lab, a, s);
    if (status == STATUS_OK && experiment->table != NULL && i == 0)
        status = first_steps(experiment, &lab);
    lab_destroy(&lab);
    return status;
}

/* ---- table and picture ---- */

struct curve {
    double y[RUN_POINTS_MAX], low[RUN_POINTS_MAX], high[RUN_POINTS_MAX], moved;
};

static bool read_curve(const struct experiment *experiment, int arm, int scale, struct curve *curve)
{
    uint32_t seeds = experiment->options.seeds, batches = experiment->options.batches;
    curve->moved = 0;
    for (uint32_t b = 0; b < batches; b++) {
        double values[RUN_SEEDS_MAX];
        for (uint32_t s = 0; s < seeds; s++) {
            char key[KEY_MAX];
            arm_key(key, arm, scale, 1 + s, batches);
            const json_t *line = runs_find(experiment->lines, key);
            if (line == NULL)
                return false;
            values[s] = json_real_value(json_array_get(json_object_get(line, "score"), b));
            curve->moved += json_real_value(json_object_get(line, "moved")) / seeds / batches;
        }
        struct interval interval = interval_of_mean(values, seeds);
        curve->y[b] = interval.mean;
        curve->low[b] = interval.low;
        curve->high[b] = interval.high;
    }
    return true;
}

static enum status report(struct experiment *experiment)
{
    static struct curve curves[SCALES][ARMS];
    static double x[RUN_POINTS_MAX];
    static char titles[SCALES][64];
    uint32_t batches = experiment->options.batches;
    struct plot panels[SCALES] = {{0}};
    json_decref(experiment->lines);
    TRY(runs_load(experiment->options.jsonl, &experiment->lines));
    for (uint32_t b = 0; b < batches; b++)
        x[b] = b + 1;
    fprintf(experiment->table, "\nReward curves, %u seeds, %u batches of 16 updates, lr %g\n",
            experiment->options.seeds, batches, rate);
    for (int s = 0; s < SCALES; s++) {
        snprintf(titles[s], sizeof titles[s], "score, loss times %g", scales[s]);
        panels[s] = (struct plot){.title = titles[s],
                                  .x_label = "generation batches",
                                  .y_label = "held-out score",
                                  .y_min = 0,
                                  .y_max = 1.02};
        for (int a = 0; a < ARMS; a++) {
            struct curve *curve = &curves[s][a];
            if (!read_curve(experiment, a, s, curve))
                continue;
            fprintf(experiment->table,
                    "  loss times %-6g %-32s final score %.3f [%.3f, %.3f], update / weight %.2e\n",
                    scales[s], arms[a].name, curve->y[batches - 1], curve->low[batches - 1],
                    curve->high[batches - 1], curve->moved);
            panels[s].series[panels[s].series_count++] = (struct plot_series){.name = arms[a].name,
                                                                              .count = batches,
                                                                              .x = x,
                                                                              .y = curve->y,
                                                                              .low = curve->low,
                                                                              .high = curve->high};
        }
    }
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/optimizer.svg", experiment->options.out));
    return plot_write(panels, SCALES, SCALES, path);
}

int main(int argc, char **argv)
{
    struct experiment experiment = {.options = run_options_defaults()};
    struct run_options *options = &experiment.options;
    char path[FILE_PATH_MAX];
    enum status status;
    options->seeds = 4;
    options->batches = 30;
    TRY_GOTO(out, run_options_read(options, "optimizer", argc, argv));
    TRY_GOTO(out, runs_load(options->jsonl, &experiment.lines));
    TRY_GOTO(out, file_path(path, "%s/optimizer.txt", options->out));
    experiment.table = fopen(path, "we");
    TRY_GOTO(out, experiment.table ? STATUS_OK : FAIL(STATUS_IO, "%s cannot be written", path));
    if (!options->plot)
        TRY_GOTO(out, runs_jobs(options->seeds, options->jobs, work, &experiment));
    status = report(&experiment);
out:
    if (experiment.table != NULL)
        fclose(experiment.table);
    json_decref(experiment.lines);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    return status == STATUS_OK ? 0 : 1;
}
