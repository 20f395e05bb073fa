/* bench/paper/figure2_runs.c - the runs of figure 2 in small, one JSON line each. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/paper/figure2.h"
#include "bench/paper/lab.h"
#include "core/clock.h"

enum { TUNE_SEED = 1001, FINAL_SEED = 1, KEY_MAX = 128 };

// clang-format off
const struct figure2_regime figure2_regimes[FIGURE2_REGIMES] = {
    {"fork16", "rare word at 1 %, 16 updates a batch", "fork", 1200, 0.01, 32, 16, {3e-5, 1e-4, 3e-4, 1e-3}, true},
    {"big16", "rare word at 1 %, 16 updates, batches four times as large", "fork", 1200, 0.01, 128, 16, {3e-5, 1e-4, 3e-4, 1e-3}, false},
    {"fork4", "the same, 4 updates a batch", "fork", 1200, 0.01, 32, 4, {1e-4, 3e-4, 1e-3, 3e-3}, false},
    {"fork1", "the same, 1 update a batch: on-policy", "fork", 1200, 0.01, 32, 1, {3e-4, 1e-3, 3e-3, 1e-2}, false},
    {"rarer16", "rare word at 0.2 %, 16 updates", "fork", 1200, 0.002, 32, 16, {3e-5, 1e-4, 3e-4, 1e-3}, false},
    {"common16", "the word at 20 %, 16 updates", "fork", 1200, 0.2, 32, 16, {3e-5, 1e-4, 3e-4, 1e-3}, false},
    {"weak16", "rare word at 1 %, half of the warm start", "fork", 600, 0.01, 32, 16, {3e-5, 1e-4, 3e-4, 1e-3}, false},
    {"chain16", "nothing rare to find: written sums", "chain", 150, 0.01, 32, 16, {3e-5, 1e-4, 3e-4, 1e-3}, false},
    {"add16", "nothing rare to find: addition", "add", 600, 0.01, 32, 16, {3e-5, 1e-4, 3e-4, 1e-3}, false},
};
// clang-format on
const struct figure2_kind figure2_kinds[FIGURE2_KINDS] = {
    {"cispo", LOSS_CISPO, 0, 0, NORMALISER_PROMPT, true},
    {"dapo", LOSS_DAPO, 0.2, 0.28, NORMALISER_BATCH, true},
    {"grpo", LOSS_GRPO, 0.2, 0.2, NORMALISER_SAMPLE, true},
    {"reinforce", LOSS_REINFORCE, 0, 0, NORMALISER_PROMPT, false},
    {"gspo", LOSS_GSPO, 3e-4, 4e-4, NORMALISER_SAMPLE, false},
};

bool figure2_wanted(const struct figure2 *figure, const struct figure2_regime *regime,
                    const struct figure2_kind *kind)
{
    return run_listed(figure->options.only, regime->name) &&
           (figure->options.kinds[0] != '\0' ? run_listed(figure->options.kinds, kind->name)
                                             : kind->basic || regime->all_kinds);
}

static void run_key(char key[KEY_MAX], const struct figure2_regime *regime,
                    const struct figure2_kind *kind, double lr, uint64_t seed, uint32_t batches)
{
    snprintf(key, KEY_MAX, "%s/%s/lr=%g/seed=%" PRIu64 "/batches=%u", regime->name, kind->name, lr,
             seed, batches);
}

static double mean_score(const json_t *line)
{
    const json_t *scores = json_object_get(line, "score");
    double sum = 0;
    for (size_t i = 0; i < json_array_size(scores); i++)
        sum += json_real_value(json_array_get(scores, i));
    return sum / (double)json_array_size(scores);
}

double figure2_rate(const struct figure2 *figure, const struct figure2_regime *regime,
                    const struct figure2_kind *kind)
{
    double best = 0, best_score = -1;
    for (int r = 0; r < FIGURE2_RATES; r++) {
        double sum = 0, count = 0;
        char key[KEY_MAX];
        for (uint32_t s = 0; s < figure->options.tune_seeds; s++) {
            run_key(key, regime, kind, regime->rates[r], TUNE_SEED + s, figure->options.batches);
            const json_t *line = runs_find(figure->lines, key);
            sum += line != NULL ? mean_score(line) : 0;
            count += line != NULL ? 1 : 0;
        }
        if (count > 0 && sum / count > best_score) {
            best = regime->rates[r];
            best_score = sum / count;
        }
    }
    return best;
}

/* ---- runs ---- */

static struct lab_run run_of(const struct lab *lab, const struct figure2_regime *regime,
                             const struct figure2_kind *kind, double lr)
{
    struct lab_run run = lab_run_defaults(&lab->settings);
    run.loss.kind = kind->loss;
    run.loss.normaliser = kind->normaliser;
    if (kind->clip_high > 0) {
        run.loss.clip_low = kind->clip_low;
        run.loss.clip_high = kind->clip_high;
    }
    run.lr = lr;
    run.minibatches = regime->minibatches;
    run.observe = true;
    return run;
}

static double share(const uint64_t *part, const uint64_t *whole, uint32_t count)
{
    uint64_t a = 0, b = 0;
    for (uint32_t i = 0; i < count; i++) {
        a += part[i];
        b += whole[i];
    }
    return b > 0 ? (double)a / (double)b : 0;
}

static void add_batch(json_t *line, const struct lab_point *point, double score)
{
    const struct {
        const char *name;
        double value;
    } columns[] = {{"score", score},
                   {"reward", point->reward},
                   {"rare", point->rare},
                   {"entropy", point->entropy},
                   {"clipped", point->clipped},
                   {"zeroed", share(point->zeroed, point->seen, LAB_BINS)},
                   {"rare_zeroed",
                    share(&point->token_up_zeroed[TOKEN_WAIT], &point->token_up[TOKEN_WAIT], 1)},
                   {"ratio_max", point->ratio_max},
                   {"grad_norm", point->grad_norm}};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        json_t *list = json_object_get(line, columns[i].name);
        if (list == NULL) {
            list = json_array();
            json_object_set_new(line, columns[i].name, list);
        }
        json_array_append_new(list, json_real(isfinite(columns[i].value) ? columns[i].value : -1));
    }
}

static enum status run_one(struct figure2 *figure, struct lab *lab,
                           const struct figure2_regime *regime, const struct figure2_kind *kind,
                           double lr, double warm)
{
    char key[KEY_MAX];
    run_key(key, regime, kind, lr, lab->config.seed, figure->options.batches);
    if (runs_find(figure->lines, key) != NULL)
        return STATUS_OK;
    struct lab_run run = run_of(lab, regime, kind, lr);
    int64_t begin_ns = clock_now_ns();
    TRY(lab_reset(lab));
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:f, s:I, s:b, s:f, s:i, s:i}", "key", key, "regime",
                  regime->name, "kind", kind->name, "lr", lr, "seed", (json_int_t)lab->config.seed,
                  "tuning", figure->tuning, "warm", warm, "minibatches", (int)regime->minibatches,
                  "batches", (int)figure->options.batches);
    for (uint32_t b = 0; b < figure->options.batches; b++) {
        struct lab_point point;
        double score = 0;
        TRY(lab_batch(lab, &run, &point));
        TRY(lab_score(lab, 1, &score));
        add_batch(line, &point, score);
    }
    json_object_set_new(line, "seconds", json_real((double)(clock_now_ns() - begin_ns) / 1e9));
    return runs_append(figure->options.jsonl, line);
}

/* All losses of one regime and seed share a warm start: the work of one process. */
static enum status work(void *self, uint32_t i)
{
    struct figure2 *figure = self;
    const struct figure2_regime *regime = figure->work[i].regime;
    char folder[LAB_FOLDER_MAX];
    struct lab_config config = lab_config_of(&figure->options, regime->task, folder);
    config.seed = figure->work[i].seed;
    config.warm_updates = regime->warm_updates;
    config.rare = regime->rare;
    config.prompts = regime->prompts;
    struct lab lab;
    TRY(lab_create(&lab, &config));
    double warm = 0;
    enum status status = lab_score(&lab, 1, &warm);
    for (int k = 0; k < FIGURE2_KINDS && status == STATUS_OK; k++)
        for (int r = 0; r < FIGURE2_RATES && status == STATUS_OK; r++) {
            const struct figure2_kind *kind = &figure2_kinds[k];
            double lr = regime->rates[r];
            if (figure2_wanted(figure, regime, kind) &&
                (figure->tuning || lr == figure2_rate(figure, regime, kind)))
                status = run_one(figure, &lab, regime, kind, lr, warm);
        }
    lab_destroy(&lab);
    return status;
}

enum status figure2_run(struct figure2 *figure, bool tuning)
{
    json_decref(figure->lines);
    TRY(runs_load(figure->options.jsonl, &figure->lines));
    figure->tuning = tuning;
    figure->work_count = 0;
    uint32_t seeds = tuning ? figure->options.tune_seeds : figure->options.seeds;
    for (int r = 0; r < FIGURE2_REGIMES; r++)
        for (uint32_t s = 0; s < seeds; s++) {
            if (!run_listed(figure->options.only, figure2_regimes[r].name))
                continue;
            figure->work[figure->work_count].regime = &figure2_regimes[r];
            figure->work[figure->work_count++].seed = (tuning ? TUNE_SEED : FINAL_SEED) + s;
        }
    return runs_jobs(figure->work_count, figure->options.jobs, work, figure);
}
