/* bench/paper/paper_flops_main.c - figure 1 (right) of MiniMax-M1 (arXiv:2506.13585): what a generated token costs as the
 * response grows, in a hybrid of 7 lightning layers to 1 softmax layer and in the same shape with softmax layers alone.
 *
 * Modelled (model/flops.h): FLOP to generate a response of 4K to 1M tokens with the shape of M1, and the time of a token
 * of one of 16 sequences by the bytes that eight H200 read. Measured: time of a decoded token of a small model on this CPU at
 * positions up to 32K. Writes figure1_right.jsonl, .csv, .svg; each line says which it is. Two minutes of one core. */
#include <stdio.h>
#include <string.h>

#include "bench/paper/plot.h"
#include "bench/paper/runs.h"
#include "bench/random_model.h"
#include "core/clock.h"
#include "core/memory.h"
#include "model/flops.h"

enum { CHUNK = 64, PIECE = 512, STEPS = 24, POSITIONS = 6, LENGTHS = 9, BATCH = 16 };
enum { FIRST_POSITION = 1024, FIRST_LENGTH = 4096 };
#define GPUS_BANDWIDTH \
    (8 * 4.8e12 * 0.9) /* eight H200, as a copy reaches it: ops/plan/hardware.c */

static const char *const kinds[2] = {"hybrid 7:1", "softmax"};

struct curves {
    double length[LENGTHS], flop[2][LENGTHS], token_ms[2][LENGTHS];
    double position[POSITIONS], measured_us[2][POSITIONS];
};

static struct model_shape m1_shape(void)
{
    struct model_shape shape;
    random_model_must(model_shape_load(&shape, "examples/shapes/minimax-m1/config.json"));
    return shape;
}

static struct model_shape small_shape(void)
{
    struct model_shape shape = m1_shape();
    shape.vocabulary = 256;
    shape.hidden = 128;
    shape.intermediate = 128;
    shape.layers = 8;
    shape.heads = 4;
    shape.kv_heads = 2;
    shape.head_size = 32;
    shape.rotary = 16;
    shape.experts = 4;
    return shape;
}

static struct model_shape twin_of(struct model_shape shape)
{
    memset(shape.layer_kind, LAYER_SOFTMAX, sizeof shape.layer_kind);
    return shape;
}

/* ---- modelled ---- */

static void model_curves(struct curves *curves)
{
    struct model_shape shapes[2] = {m1_shape(), twin_of(m1_shape())};
    const struct flops_storage storage = {
        .weight_bytes = 2, .head_bytes = 4, .cache_bytes = 2, .chunk = CHUNK};
    for (int i = 0; i < LENGTHS; i++) {
        curves->length[i] = (double)((int64_t)FIRST_LENGTH << i);
        for (int k = 0; k < 2; k++) {
            struct flops flops = flops_sequence(&shapes[k], curves->length[i], CHUNK, true);
            struct traffic traffic = traffic_decode(&shapes[k], &storage, BATCH, curves->length[i]);
            curves->flop[k][i] = flops_sum(&flops);
            curves->token_ms[k][i] = traffic_sum(&traffic) / GPUS_BANDWIDTH * 1e3;
        }
    }
}

/* ---- measured ---- */

struct runner {
    struct op_table *ops;
    struct model *model;
    struct model_weights weights;
    struct model_cache *cache;
};

static void runner_open(struct runner *runner, const struct model_shape *shape)
{
    int32_t positions = (FIRST_POSITION << (POSITIONS - 1)) + STEPS + 1;
    struct model_options options = {.rows_max = PIECE, .lightning_chunk = CHUNK};
    random_model_must(op_table_create(&runner->ops, "cpu", 1));
    random_model_must(model_create(&runner->model, shape, runner->ops, &options));
    random_model_must(model_weights_create(runner->model, &runner->weights));
    random_model_fill(runner->model, &runner->weights, runner->ops);
    int32_t pages = positions / (int32_t)runner->ops->kv_tile + 2;
    random_model_must(model_cache_create(runner->model, 1, pages, positions, &runner->cache));
    random_model_must(model_cache_open(runner->cache, 0, positions));
}

static void runner_close(struct runner *runner)
{
    model_cache_destroy(&runner->cache);
    model_weights_destroy(runner->model, &runner->weights);
    model_destroy(&runner->model);
    op_table_destroy(&runner->ops);
}

static void runner_rows(struct runner *runner, int32_t position, int32_t count)
{
    static const int32_t ids[PIECE];
    act *hidden = NULL;
    struct op_segment segment = {0, position, 0, count};
    struct model_batch batch = {count, ids, &segment, 1};
    random_model_must(
        model_forward(runner->model, &runner->weights, runner->cache, &batch, false, &hidden));
    if (count > 1)
        return;
    float logprob;
    int32_t row = 0, target = 1;
    struct model_head head = {
        .rows = 1, .row_index = &row, .temperature = 1, .target = &target, .logprob = &logprob};
    random_model_must(model_head(runner->model, &runner->weights, hidden, &head));
}

/* The fastest of STEPS decoded tokens at each position. A decode step leaves its token in the cache, so the next prefill
 * goes on behind it. */
static void measure(struct curves *curves, int kind, const struct model_shape *shape)
{
    struct runner runner = {0};
    int32_t at = 0;
    runner_open(&runner, shape);
    for (int i = 0; i < POSITIONS; i++) {
        int32_t goal = FIRST_POSITION << i;
        while (at < goal) {
            int32_t count = goal - at < PIECE ? goal - at : PIECE;
            runner_rows(&runner, at, count);
            at += count;
        }
        double best = 1e9;
        for (int s = 0; s < STEPS; s++, at++) {
            int64_t begin_ns = clock_now_ns();
            runner_rows(&runner, at, 1);
            double us = (double)(clock_now_ns() - begin_ns) / 1e3;
            best = us < best ? us : best;
        }
        curves->position[i] = goal;
        curves->measured_us[kind][i] = best;
    }
    runner_close(&runner);
}

/* ---- results ---- */

static enum status write_lines(const struct curves *curves, const struct run_options *options)
{
    char path[FILE_PATH_MAX];
    struct buffer csv;
    buffer_init(&csv, 0);
    remove(options->jsonl);
    enum status status;
    TRY_GOTO(out, buffer_text(&csv, "label,kind,tokens,flop_response,ms_token\n"));
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < LENGTHS + POSITIONS; i++) {
            bool modelled = i < LENGTHS;
            int at = modelled ? i : i - LENGTHS;
            const char *label = modelled ? "modelled" : "measured";
            double tokens = modelled ? curves->length[at] : curves->position[at];
            double ms = modelled ? curves->token_ms[k][at] : curves->measured_us[k][at] / 1e3;
            double flop = modelled ? curves->flop[k][at] : 0;
            char key[64];
            snprintf(key, sizeof key, "%s/%s/%.0f", label, kinds[k], tokens);
            TRY_GOTO(out, runs_append(options->jsonl,
                                      json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:s}", "key", key,
                                                "label", label, "kind", kinds[k], "tokens", tokens,
                                                "flop_response", flop, "ms_token", ms, "of",
                                                modelled ? "M1 shape, 16 sequences on 8 H200"
                                                         : "8 layers of 128, one CPU thread")));
            TRY_GOTO(out, buffer_printf(&csv, "%s,%s,%.0f,%.6g,%.6g\n", label, kinds[k], tokens,
                                        flop, ms));
        }
    TRY_GOTO(out, file_path(path, "%s/figure1_right.csv", options->out));
    status = file_replace(path, csv.bytes, csv.size);
out:
    buffer_free(&csv);
    return status;
}

static void add_series(struct plot *plot, int kind, uint32_t count, const double *x,
                       const double *y)
{
    plot->series[plot->series_count++] = (struct plot_series){
        .name = kinds[kind], .kind = PLOT_LINE, .count = count, .x = x, .y = y};
}

static enum status draw(const struct curves *curves, const struct run_options *options)
{
    char path[FILE_PATH_MAX];
    struct plot panels[3] = {
        {.title = "FLOP of a response, M1 shape (modelled)",
         .x_label = "tokens generated",
         .y_label = "FLOP"},
        {.title = "time of a token, M1 shape on 8 H200 (modelled)",
         .x_label = "position",
         .y_label = "ms"},
        {.title = "time of a token, small shape, one CPU thread (measured)",
         .x_label = "position",
         .y_label = "us"},
    };
    for (int k = 0; k < 2; k++) {
        add_series(&panels[0], k, LENGTHS, curves->length, curves->flop[k]);
        add_series(&panels[1], k, LENGTHS, curves->length, curves->token_ms[k]);
        add_series(&panels[2], k, POSITIONS, curves->position, curves->measured_us[k]);
    }
    for (int p = 0; p < 3; p++)
        panels[p].x_log = panels[p].y_log = true;
    TRY(file_path(path, "%s/figure1_right.svg", options->out));
    return plot_write(panels, 3, 3, path);
}

static void print_table(const struct curves *curves)
{
    printf("tokens      FLOP of the response (M1 shape)      ms a token, 16 sequences on 8 H200    "
           "modelled\n"
           "            hybrid      softmax     hybrid/soft. hybrid      softmax\n");
    for (int i = 0; i < LENGTHS; i++)
        printf("%-10.0f  %-10.3g  %-10.3g  %8.1f %%   %-10.3g  %-10.3g\n", curves->length[i],
               curves->flop[0][i], curves->flop[1][i],
               100 * curves->flop[0][i] / curves->flop[1][i], curves->token_ms[0][i],
               curves->token_ms[1][i]);
    printf("\nposition    us a token, 8 layers of 128, one CPU thread    measured\n");
    for (int i = 0; i < POSITIONS; i++)
        printf("%-10.0f  hybrid %-8.0f softmax %-8.0f\n", curves->position[i],
               curves->measured_us[0][i], curves->measured_us[1][i]);
}

static enum status run(const struct run_options *options)
{
    static struct curves curves;
    struct model_shape small = small_shape(), twin = twin_of(small);
    model_curves(&curves);
    measure(&curves, 0, &small);
    measure(&curves, 1, &twin);
    print_table(&curves);
    TRY(write_lines(&curves, options));
    return draw(&curves, options);
}

int main(int argc, char **argv)
{
    struct run_options options = run_options_defaults();
    enum status status = run_options_read(&options, "figure1_right", argc, argv);
    if (status == STATUS_OK)
        status = run(&options);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    return status == STATUS_OK ? 0 : 1;
}
