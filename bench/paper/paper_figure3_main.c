/* bench/paper/paper_figure3_main.c - figure 3 of MiniMax-M1 (arXiv:2506.13585, section 3.2) in small: what the precision of
 * the LM head does to the agreement of the probabilities of training and inference (0.987 to 0.997 in the paper).
 *
 * A model of the lab scores its own responses twice. The final norm's gains widen the logits as the paper saw in its head.
 * "two engines": the same head on two backends whose sums have another order (cpu and the f64 oracle; on a GPU our
 * products and the library's free choice). "bf16 actor, fp32 learner": one engine, two heads. "ours": one engine and
 * head, the actor in pieces and the learner at once, which must print 1 and 0. Writes figure3.jsonl, .txt, .svg.
 * bench_head_ablation asks the same of a model of half a billion parameters on a GPU. */
#include <math.h>
#include <string.h>

#include "bench/paper/lab.h"
#include "bench/paper/plot.h"
#include "bench/paper/runs.h"
#include "core/memory.h"

enum { GAINS = 5, PAIRS = 4, RESPONSES = 256, ROWS = 4096, ROOM = 64 };
static const double gains[GAINS] = {1, 4, 16, 64, 256};

struct side {
    struct op_table *ops;
    struct model *model;
    struct model_weights weights;
    struct model_cache *cache;
};

/* What is compared: backend, head and pieces of the actor; the learner scores whole sequences. */
struct pair {
    const char *name;
    bool other_engine;
    enum model_head_precision actor, learner;
    int32_t piece;
};
static const struct pair pairs[PAIRS] = {
    {"bf16 head, two engines", true, MODEL_HEAD_BF16, MODEL_HEAD_BF16, ROOM},
    {"bf16 actor, fp32 learner", false, MODEL_HEAD_BF16, MODEL_HEAD_FP32, ROOM},
    {"fp32 head, two engines", true, MODEL_HEAD_FP32, MODEL_HEAD_FP32, ROOM},
    {"fp32 head, ours", false, MODEL_HEAD_FP32, MODEL_HEAD_FP32, 1},
};

struct sample { /* of the lab, kept */
    int32_t ids[ROOM], count, prompt;
};
struct measure {
    double pearson, worst, mean, deviation;
    uint32_t tokens;
};

static void side_close(struct side *side)
{
    model_cache_destroy(&side->cache);
    if (side->model != NULL)
        model_weights_destroy(side->model, &side->weights);
    model_destroy(&side->model);
    op_table_destroy(&side->ops);
}

/* Parameters f32 on the host, the final gains times `gain`. */
static enum status side_fill(struct side *side, const float *parameters, double gain)
{
    const struct parameter_table *table = model_parameters(side->model);
    size_t bytes = (size_t)table->elements * sizeof(float);
    const struct op_table *ops = side->ops;
    float *host = memory_alloc(bytes);
    void *device = NULL;
    if (host == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes of parameters", bytes);
    memcpy(host, parameters, bytes);
    for (int32_t c = 0; c < model_get_shape(side->model)->hidden; c++)
        host[table->final_norm + c] *= (float)gain;
    enum status status = ops->memory_create(ops->context, bytes, &device);
    if (status == STATUS_OK)
        status = ops->memory_write(ops->context, device, host, bytes);
    if (status == STATUS_OK)
        status = model_weights_round(side->model, &side->weights, device, false);
    if (device != NULL)
        ops->memory_destroy(ops->context, &device);
    memory_free(host);
    return status;
}

static enum status side_open(struct side *side, const char *device, const struct model_shape *shape,
                             enum model_head_precision head, const float *parameters, double gain)
{
    *side = (struct side){0};
    TRY(strcmp(device, "ref") == 0 ? op_table_create_ref(&side->ops)
                                   : op_table_create(&side->ops, device, 1));
    struct model_options options = {.rows_max = ROOM, .lightning_chunk = 16, .lm_head = head};
    TRY(model_create(&side->model, shape, side->ops, &options));
    TRY(model_weights_create(side->model, &side->weights));
    TRY(side_fill(side, parameters, gain));
    return model_cache_create(side->model, 1, ROOM, ROOM, &side->cache);
}

/* probability [count - prompt] of the response's tokens. */
static enum status side_score(struct side *side, const struct sample *sample, int32_t piece,
                              float *logprob)
{
    float all[ROOM];
    int32_t target[ROOM], rows = sample->count - 1;
    TRY(model_cache_open(side->cache, 0, sample->count));
    for (int32_t t = 0; t < rows; t += piece) {
        int32_t n = rows - t < piece ? rows - t : piece;
        struct op_segment segment = {0, t, 0, n};
        struct model_batch batch = {n, sample->ids + t, &segment, 1};
        act *hidden = NULL;
        TRY(model_forward(side->model, &side->weights, side->cache, &batch, false, &hidden));
        for (int32_t i = 0; i < n; i++)
            target[i] = sample->ids[t + i + 1];
        struct model_head head = {
            .rows = n, .temperature = 1, .target = target, .logprob = all + t};
        TRY(model_head(side->model, &side->weights, hidden, &head));
    }
    model_cache_close(side->cache, 0);
    memcpy(logprob, all + sample->prompt - 1,
           (size_t)(sample->count - sample->prompt) * sizeof *all);
    return STATUS_OK;
}

struct pool { /* probabilities of one pair and gain */
    double actor[ROWS], learner[ROWS];
    uint32_t count;
};

static struct measure measure_of(const struct pool *pool)
{
    struct measure measure = {.tokens = pool->count};
    double pa = 0, pb = 0, paa = 0, pbb = 0, pab = 0, n = pool->count;
    for (uint32_t i = 0; i < pool->count; i++) {
        double p = pool->actor[i], q = pool->learner[i], d = fabs(p - q);
        pa += p, pb += q, paa += p * p, pbb += q * q, pab += p * q;
        measure.worst = fmax(measure.worst, d);
        measure.mean += d / n;
    }
    measure.pearson = (n * pab - pa * pb) / sqrt((n * paa - pa * pa) * (n * pbb - pb * pb));
    return measure;
}

static enum status compare(const struct run_options *options, const struct lab *lab,
                           const struct sample *samples, const struct pair *pair, double gain,
                           struct pool *pool)
{
    const struct model_shape *shape = &lab->trainer.shape;
    bool gpu = strncmp(options->device, "cuda", 4) == 0;
    const char *other = !pair->other_engine ? options->device : gpu ? "cuda:0/free" : "ref";
    struct side actor = {0}, learner = {0};
    enum status status;
    pool->count = 0;
    TRY_GOTO(out, side_open(&actor, other, shape, pair->actor, lab->work, gain));
    TRY_GOTO(out, side_open(&learner, options->device, shape, pair->learner, lab->work, gain));
    for (uint32_t s = 0; s < RESPONSES; s++) {
        float a[ROOM], b[ROOM];
        int32_t n = samples[s].count - samples[s].prompt;
        TRY_GOTO(out, side_score(&actor, &samples[s], pair->piece, a));
        TRY_GOTO(out, side_score(&learner, &samples[s], ROOM, b));
        for (int32_t i = 0; i < n && pool->count < ROWS; i++, pool->count++) {
            pool->actor[pool->count] = exp((double)a[i]);
            pool->learner[pool->count] = exp((double)b[i]);
        }
    }
    status = STATUS_OK;
out:
    side_close(&actor);
    side_close(&learner);
    return status;
}

static enum status take_samples(struct lab *lab, struct sample *samples)
{
    const float *parameters = NULL;
    int64_t count = 0;
    TRY(lab_sample(lab, RESPONSES, 0, 0.99F));
    for (uint32_t s = 0; s < RESPONSES; s++) {
        struct lab_response response = lab_response(lab, s);
        struct sample *sample = &samples[s];
        sample->prompt = (int32_t)response.problem->count;
        sample->count = sample->prompt + (int32_t)response.count;
        for (int32_t i = 0; i < sample->count; i++)
            sample->ids[i] = (int32_t)(i < sample->prompt ? response.problem->prompt[i]
                                                          : response.tokens[i - sample->prompt]);
    }
    return lab_parameters(lab, &parameters, &count);
}

static enum status draw(const struct run_options *options, struct measure measures[PAIRS][GAINS],
                        const struct pool *scatter)
{
    static double lost[PAIRS][GAINS], worst[PAIRS][GAINS];
    struct plot panels[3] = {
        {.title = "1 - correlation (0: below the axis)", .y_label = "1 - Pearson", .y_log = true},
        {.title = "largest difference of probabilities", .y_label = "max |dp|", .y_log = true},
        {.title = "bf16 actor, fp32 learner, gain 16",
         .x_label = "probability, learner",
         .y_label = "probability, actor",
         .y_max = 1.02}};
    for (int p = 0; p < 2; p++) {
        panels[p].x_label = "gain of the logits";
        panels[p].x_log = true;
        panels[p].series_count = PAIRS;
    }
    for (int k = 0; k < PAIRS; k++) {
        for (int g = 0; g < GAINS; g++) {
            lost[k][g] = 1 - measures[k][g].pearson;
            worst[k][g] = measures[k][g].worst;
        }
        panels[0].series[k] =
            (struct plot_series){.name = pairs[k].name, .count = GAINS, .x = gains, .y = lost[k]};
        panels[1].series[k] =
            (struct plot_series){.name = pairs[k].name, .count = GAINS, .x = gains, .y = worst[k]};
    }
    panels[2].series_count = 1;
    panels[2].series[0] = (struct plot_series){
        .kind = PLOT_POINTS, .count = scatter->count, .x = scatter->learner, .y = scatter->actor};
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/figure3.svg", options->out));
    return plot_write(panels, 3, 3, path);
}

static enum status measure_all(const struct run_options *options, struct lab *lab, FILE *table)
{
    static struct sample samples[RESPONSES];
    static struct pool pool, scatter;
    struct measure measures[PAIRS][GAINS];
    TRY(take_samples(lab, samples));
    for (int k = 0; k < PAIRS; k++)
        for (int g = 0; g < GAINS; g++) {
            TRY(compare(options, lab, samples, &pairs[k], gains[g], &pool));
            struct measure *measure = &measures[k][g];
            *measure = measure_of(&pool);
            if (k == 1 && gains[g] == 16)
                scatter = pool;
            fprintf(table, "  %-26s %-6g %-8u %-14.9f %-12.3g %.3g\n", pairs[k].name, gains[g],
                    measure->tokens, measure->pearson, measure->worst, measure->mean);
            TRY(runs_append(options->jsonl,
                            json_pack("{s:s, s:s, s:f, s:f, s:f, s:f}", "pair", pairs[k].name,
                                      "device", options->device, "gain", gains[g], "pearson",
                                      measure->pearson, "max_dp", measure->worst, "mean_dp",
                                      measure->mean)));
        }
    return draw(options, measures, &scatter);
}

static enum status run(const struct run_options *options)
{
    char folder[LAB_FOLDER_MAX], path[FILE_PATH_MAX];
    struct lab_config config = lab_config_of(options, "fork", folder);
    config.warm_updates = 300;
    config.rare = 0.3;
    TRY(file_path(path, "%s/figure3.txt", options->out));
    FILE *table = fopen(path, "we");
    if (table == NULL)
        return FAIL(STATUS_IO, "%s cannot be written", path);
    fprintf(table,
            "Probabilities of sampled tokens, training against inference\n  %-26s %-6s %-8s "
            "%-14s %-12s %s\n",
            "pair", "gain", "tokens", "Pearson", "max |dp|", "mean |dp|");
    struct lab lab;
    enum status status = lab_create(&lab, &config);
    if (status == STATUS_OK) {
        status = measure_all(options, &lab, table);
        lab_destroy(&lab);
    }
    fclose(table);
    return status;
}

int main(int argc, char **argv)
{
    struct run_options options = run_options_defaults();
    enum status status = run_options_read(&options, "figure3", argc, argv);
    if (status == STATUS_OK)
        status = run(&options);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    return status == STATUS_OK ? 0 : 1;
}
