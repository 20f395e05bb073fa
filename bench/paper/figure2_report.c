/* bench/paper/figure2_report.c - figure2.txt and a picture for each regime, from figure2.jsonl alone. */
#include <math.h>
#include <string.h>

#include "bench/paper/figure2.h"
#include "bench/paper/plot.h"
#include "core/memory.h"

enum { PANELS = 4 };
static const char *const panel_columns[PANELS] = {"score", "rare", "zeroed", "entropy"};

/* The final runs of one loss in one regime. */
struct arm {
    const struct figure2_kind *kind;
    double lr;
    bool edge; /* the rate is the grid's first or last */
    uint32_t seeds, points;
    double *column[PANELS][RUN_SEEDS_MAX]; /* [points] each */
    double *mean[PANELS], *low[PANELS], *high[PANELS];
    double own_clip; /* share of tokens that the loss's own bound acted on, over all */
    double rare_zeroed;
};

struct report {
    struct figure2 *figure;
    const struct figure2_regime *regime;
    struct arm arms[FIGURE2_KINDS];
    uint32_t count;
    double *batches; /* [points] 1, 2, ... */
    FILE *table;
};

/* ---- reading ---- */

static double *numbers(const json_t *line, const char *name, uint32_t points)
{
    const json_t *list = json_object_get(line, name);
    double *out = memory_array(points, sizeof *out);
    for (uint32_t i = 0; out != NULL && i < points; i++)
        out[i] = json_number_value(json_array_get(list, i));
    return out;
}

static double mean_of(const json_t *list)
{
    double sum = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        sum += json_number_value(json_array_get(list, i));
    return json_array_size(list) > 0 ? sum / (double)json_array_size(list) : 0;
}

static bool belongs(const json_t *line, const struct report *report, const struct arm *arm)
{
    const char *regime = json_string_value(json_object_get(line, "regime"));
    const char *kind = json_string_value(json_object_get(line, "kind"));
    return regime != NULL && kind != NULL && strcmp(regime, report->regime->name) == 0 &&
           strcmp(kind, arm->kind->name) == 0 &&
           !json_boolean_value(json_object_get(line, "tuning")) &&
           json_real_value(json_object_get(line, "lr")) == arm->lr &&
           json_integer_value(json_object_get(line, "batches")) ==
               (json_int_t)report->figure->options.batches;
}

/* Seeds in ascending order, whatever the order of the lines: arms are compared seed by seed. */
static enum status read_arm(struct report *report, struct arm *arm)
{
    const struct figure2 *figure = report->figure;
    arm->points = figure->options.batches;
    for (uint32_t seed = 1; seed <= figure->options.seeds; seed++)
        for (size_t i = 0; i < json_array_size(figure->lines); i++) {
            const json_t *line = json_array_get(figure->lines, i);
            if (!belongs(line, report, arm) ||
                json_integer_value(json_object_get(line, "seed")) != (json_int_t)seed)
                continue;
            for (int c = 0; c < PANELS; c++) {
                arm->column[c][arm->seeds] = numbers(line, panel_columns[c], arm->points);
                if (arm->column[c][arm->seeds] == NULL)
                    return FAIL(STATUS_NO_MEMORY, "a curve of %u points", arm->points);
            }
            arm->own_clip += mean_of(json_object_get(line, "clipped"));
            arm->rare_zeroed += mean_of(json_object_get(line, "rare_zeroed"));
            arm->seeds++;
            break;
        }
    if (arm->seeds > 0) {
        arm->own_clip /= arm->seeds;
        arm->rare_zeroed /= arm->seeds;
    }
    return STATUS_OK;
}

static enum status summarise(struct arm *arm)
{
    for (int c = 0; c < PANELS; c++) {
        arm->mean[c] = memory_array(arm->points, sizeof(double));
        arm->low[c] = memory_array(arm->points, sizeof(double));
        arm->high[c] = memory_array(arm->points, sizeof(double));
        if (!arm->mean[c] || !arm->low[c] || !arm->high[c])
            return FAIL(STATUS_NO_MEMORY, "a curve of %u points", arm->points);
        for (uint32_t i = 0; i < arm->points; i++) {
            double values[RUN_SEEDS_MAX];
            for (uint32_t s = 0; s < arm->seeds; s++)
                values[s] = arm->column[c][s][i];
            struct interval interval = interval_of_mean(values, arm->seeds);
            arm->mean[c][i] = interval.mean;
            arm->low[c][i] = interval.low;
            arm->high[c][i] = interval.high;
        }
    }
    return STATUS_OK;
}

static void release(struct report *report)
{
    for (uint32_t a = 0; a < report->count; a++)
        for (int c = 0; c < PANELS; c++) {
            struct arm *arm = &report->arms[a];
            for (uint32_t s = 0; s < arm->seeds; s++)
                memory_free(arm->column[c][s]);
            memory_free(arm->mean[c]);
            memory_free(arm->low[c]);
            memory_free(arm->high[c]);
        }
    memory_free(report->batches);
    report->count = 0;
    report->batches = NULL;
}

/* ---- table ---- */

static struct interval final_score(const struct arm *arm)
{
    double values[RUN_SEEDS_MAX];
    uint32_t last = arm->points / 5 > 0 ? arm->points / 5 : 1;
    for (uint32_t s = 0; s < arm->seeds; s++) {
        values[s] = 0;
        for (uint32_t i = arm->points - last; i < arm->points; i++)
            values[s] += arm->column[0][s][i] / last;
    }
    return interval_of_mean(values, arm->seeds);
}

static const struct arm *arm_named(const struct report *report, const char *name)
{
    for (uint32_t a = 0; a < report->count; a++)
        if (strcmp(report->arms[a].kind->name, name) == 0)
            return &report->arms[a];
    return NULL;
}

/* Mean over all batches: of the arm (base NULL), or its lead over another, seed by seed. */
static struct interval mean_score(const struct arm *arm, const struct arm *base)
{
    double values[RUN_SEEDS_MAX];
    for (uint32_t s = 0; s < arm->seeds; s++) {
        values[s] = 0;
        for (uint32_t i = 0; i < arm->points; i++)
            values[s] += (arm->column[0][s][i] - (base ? base->column[0][s][i] : 0)) / arm->points;
    }
    return interval_of_mean(values, arm->seeds);
}

static void lead(const struct report *report, const struct arm *arm)
{
    const struct arm *dapo = arm_named(report, "dapo");
    char words[64] = "-";
    if (dapo != NULL && dapo != arm && dapo->seeds == arm->seeds) {
        struct interval lead = mean_score(arm, dapo);
        snprintf(words, sizeof words, "%+.3f [%+.3f, %+.3f]", lead.mean, lead.low, lead.high);
    }
    fprintf(report->table, "  %-23s", words);
}

static void steps(const struct report *report, const struct arm *arm, double part)
{
    const struct arm *dapo = arm_named(report, "dapo");
    if (dapo == NULL || dapo->seeds != arm->seeds || arm == dapo) {
        fprintf(report->table, " %-23s", arm == dapo ? "1" : "-");
        return;
    }
    const double *fast[RUN_SEEDS_MAX], *slow[RUN_SEEDS_MAX];
    for (uint32_t s = 0; s < arm->seeds; s++) {
        fast[s] = arm->column[0][s];
        slow[s] = dapo->column[0][s];
    }
    uint32_t reached = 0;
    struct interval ratio = interval_of_steps(fast, slow, arm->seeds, arm->points, part, &reached);
    char words[64];
    snprintf(words, sizeof words, "%.2f [%.2f, %.2f] %u/%u", ratio.mean, ratio.low, ratio.high,
             reached, arm->seeds);
    fprintf(report->table, " %-23s", words);
}

static void print_table(const struct report *report)
{
    const struct figure2_regime *regime = report->regime;
    fprintf(report->table, "\n%s: %s (task %s, %u seeds, %u batches)\n", regime->name,
            regime->about, regime->task, report->arms[0].seeds, report->arms[0].points);
    fprintf(report->table, "  %-10s %-7s %-21s %-6s %-23s %-23s %-23s %-9s %-9s %s\n", "loss", "lr",
            "final score", "mean", "lead over DAPO", "steps to DAPO's final", "to 0.9 of it",
            "own clip", "zeroed", "rare word zeroed");
    for (uint32_t a = 0; a < report->count; a++) {
        const struct arm *arm = &report->arms[a];
        if (arm->seeds == 0)
            continue;
        struct interval end = final_score(arm), all = mean_score(arm, NULL);
        double zeroed = 0;
        for (uint32_t i = 0; i < arm->points; i++)
            zeroed += arm->mean[2][i] / arm->points;
        fprintf(report->table, "  %-10s %-7g %.3f [%.3f, %.3f]  %.3f", arm->kind->name, arm->lr,
                end.mean, end.low, end.high, all.mean);
        lead(report, arm);
        steps(report, arm, 1);
        steps(report, arm, 0.9);
        fprintf(report->table, " %-9.4f %-9.4f %.4f%s\n", arm->own_clip, zeroed, arm->rare_zeroed,
                arm->edge ? "  (lr at the grid's edge)" : "");
    }
}

/* ---- picture ---- */

static enum status draw(const struct report *report)
{
    static const char *const titles[PANELS] = {"held-out score", "responses with the rare word",
                                               "tokens that DAPO's clip would zero",
                                               "entropy, nats a token"};
    static char names[FIGURE2_KINDS][48];
    struct plot panels[PANELS] = {{0}};
    for (int c = 0; c < PANELS; c++) {
        panels[c].title = titles[c];
        panels[c].x_label = "generation batches";
        panels[c].y_label = c == 3 ? "nats" : "share";
        for (uint32_t a = 0; a < report->count; a++) {
            const struct arm *arm = &report->arms[a];
            if (arm->seeds == 0)
                continue;
            snprintf(names[a], sizeof names[a], "%s", arm->kind->name);
            panels[c].series[panels[c].series_count++] = (struct plot_series){
                .name = names[a],
                .count = arm->points,
                .x = report->batches,
                .y = arm->mean[c],
                .low = arm->low[c],
                .high = arm->high[c],
            };
        }
    }
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/figure2-%s.svg", report->figure->options.out, report->regime->name));
    return plot_write(panels, PANELS, 2, path);
}

/* ---- all ---- */

static enum status fill(struct report *report)
{
    uint32_t points = report->figure->options.batches;
    report->batches = memory_array(points, sizeof(double));
    if (report->batches == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u points", points);
    for (uint32_t i = 0; i < points; i++)
        report->batches[i] = i + 1;
    for (int k = 0; k < FIGURE2_KINDS; k++) {
        if (!figure2_wanted(report->figure, report->regime, &figure2_kinds[k]))
            continue;
        struct arm *arm = &report->arms[report->count++];
        *arm = (struct arm){.kind = &figure2_kinds[k]};
        arm->lr = figure2_rate(report->figure, report->regime, arm->kind);
        arm->edge = arm->lr == report->regime->rates[0] ||
                    arm->lr == report->regime->rates[FIGURE2_RATES - 1];
        TRY(read_arm(report, arm));
        if (arm->seeds > 0)
            TRY(summarise(arm));
    }
    return STATUS_OK;
}

static enum status report_regime(struct report *report)
{
    enum status status = fill(report);
    bool any = false;
    for (uint32_t a = 0; a < report->count; a++)
        any = any || report->arms[a].seeds > 0;
    if (status == STATUS_OK && any) {
        print_table(report);
        status = draw(report);
    }
    release(report);
    return status;
}

enum status figure2_report(struct figure2 *figure)
{
    char path[FILE_PATH_MAX];
    json_decref(figure->lines);
    TRY(runs_load(figure->options.jsonl, &figure->lines));
    TRY(file_path(path, "%s/figure2.txt", figure->options.out));
    struct report report = {.figure = figure, .table = fopen(path, "we")};
    if (report.table == NULL)
        return FAIL(STATUS_IO, "%s cannot be written", path);
    enum status status = STATUS_OK;
    for (int r = 0; r < FIGURE2_REGIMES && status == STATUS_OK; r++) {
        report.regime = &figure2_regimes[r];
        status = report_regime(&report);
    }
    fclose(report.table);
    return status;
}
