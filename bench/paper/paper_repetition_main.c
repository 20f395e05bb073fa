/* bench/paper/paper_repetition_main.c - the repetition guard of MiniMax-M1 (arXiv:2506.13585, section 3.2) on a model that
 * loops and on models that do not.
 *
 * The paper halts a response after 3,000 tokens in a row with probability above 0.99, with caps of 40,000 to 80,000. Here
 * the cap is 384. One model is taught to repeat a digit without end on a fifth of its prompts; one writes short sums, one
 * copies forty digits, which is long and certain but no loop. Counted for several thresholds: tokens saved, loops cut,
 * honest responses cut. Writes repetition.jsonl, .txt, .svg. */
#include <math.h>

#include "bench/paper/lab.h"
#include "bench/paper/plot.h"
#include "bench/paper/runs.h"

enum { MODELS = 3, GUARDS = 6, RESPONSE_MAX = 384, RESPONSES = 256 };
static const struct {
    const char *name, *task;
    double loop_share;
} models[MODELS] = {{"loops on 1 prompt in 5", "chain", 1},
                    {"short sums", "chain", 0},
                    {"copies 40 digits", "copy", 0}};
static const uint32_t guards[GUARDS] = {0, 14, 32, 64, 128, 256};

struct counts {
    double tokens, loops, cut_loops, cut_honest, reward, longest;
};

/* A response is a loop when it was cut or capped while its last half is one token. */
static bool is_loop(const struct lab_response *response)
{
    uint32_t last = response->tokens[response->count - 1];
    for (uint32_t t = response->count / 2; t < response->count; t++)
        if (response->tokens[t] != last)
            return false;
    return response->count > 8;
}

static uint32_t longest_run(const struct lab_response *response)
{
    uint32_t run = 0, longest = 0;
    for (uint32_t t = 0; t < response->count; t++) {
        run = response->logprob[t] > logf(0.99F) ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static enum status count(struct lab *lab, uint32_t guard, struct counts *counts)
{
    *counts = (struct counts){0};
    TRY(lab_sample(lab, RESPONSES, guard, 0.99F));
    for (uint32_t i = 0; i < RESPONSES; i++) {
        struct lab_response response = lab_response(lab, i);
        bool loop = is_loop(&response);
        counts->tokens += response.count;
        counts->loops += loop;
        counts->cut_loops += loop && response.cut;
        counts->cut_honest += !loop && response.cut;
        counts->longest = loop ? counts->longest : fmax(counts->longest, longest_run(&response));
        counts->reward +=
            task_reward(lab->task, response.problem, response.tokens, response.count) / RESPONSES;
    }
    return STATUS_OK;
}

static enum status run_model(const struct run_options *options, int m, FILE *table,
                             double saved[GUARDS], double honest[GUARDS])
{
    char folder[LAB_FOLDER_MAX];
    struct lab_config config = lab_config_of(options, models[m].task, folder);
    config.response_max = RESPONSE_MAX;
    config.loop_share = models[m].loop_share;
    struct lab lab;
    struct counts counts;
    double all = 0;
    TRY(lab_create(&lab, &config));
    enum status status = STATUS_OK;
    for (int g = 0; g < GUARDS && status == STATUS_OK; g++) {
        status = count(&lab, guards[g], &counts);
        all = g == 0 ? counts.tokens : all;
        saved[g] = 1 - counts.tokens / all;
        honest[g] = counts.cut_honest / RESPONSES;
        fprintf(table, "  %-24s %-6u %-8.0f %-8.1f %-6.0f %-10.0f %-12.0f %-12.0f %.3f\n",
                models[m].name, guards[g], counts.tokens, 100 * saved[g], counts.loops,
                counts.cut_loops, counts.cut_honest, counts.longest, counts.reward);
        if (status == STATUS_OK)
            status = runs_append(options->jsonl,
                                 json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f}", "model",
                                           models[m].name, "guard", (int)guards[g], "tokens",
                                           counts.tokens, "saved", saved[g], "loops", counts.loops,
                                           "cut_loops", counts.cut_loops, "cut_honest",
                                           counts.cut_honest));
    }
    lab_destroy(&lab);
    return status;
}

static enum status draw(const struct run_options *options, double saved[MODELS][GUARDS],
                        double honest[MODELS][GUARDS])
{
    static const char *const names[GUARDS] = {"off", "14", "32", "64", "128", "256"};
    double x[GUARDS];
    struct plot panels[2] = {{.title = "tokens saved by the guard", .y_label = "share"},
                             {.title = "honest responses cut", .y_label = "share"}};
    for (int g = 0; g < GUARDS; g++)
        x[g] = g;
    for (int p = 0; p < 2; p++) {
        panels[p].x_label = "certain tokens in a row that end a response";
        panels[p].x_names = names;
        panels[p].x_name_count = GUARDS;
        panels[p].y_max = 1;
        panels[p].series_count = MODELS;
        for (int m = 0; m < MODELS; m++)
            panels[p].series[m] = (struct plot_series){.name = models[m].name,
                                                       .kind = PLOT_BARS,
                                                       .count = GUARDS,
                                                       .x = x,
                                                       .y = p == 0 ? saved[m] : honest[m]};
    }
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/repetition.svg", options->out));
    return plot_write(panels, 2, 2, path);
}

static enum status run(const struct run_options *options)
{
    double saved[MODELS][GUARDS] = {{0}}, honest[MODELS][GUARDS] = {{0}};
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/repetition.txt", options->out));
    FILE *table = fopen(path, "we");
    if (table == NULL)
        return FAIL(STATUS_IO, "%s cannot be written", path);
    fprintf(table,
            "%d responses of at most %d tokens; a guard of N tokens with p > 0.99\n  %-24s %-6s "
            "%-8s %-8s %-6s %-10s %-12s %-12s %s\n",
            RESPONSES, RESPONSE_MAX, "model", "guard", "tokens", "saved %", "loops", "loops cut",
            "honest cut", "longest run", "reward");
    enum status status = STATUS_OK;
    for (int m = 0; m < MODELS && status == STATUS_OK; m++)
        status = run_model(options, m, table, saved[m], honest[m]);
    fclose(table);
    return status == STATUS_OK ? draw(options, saved, honest) : status;
}

int main(int argc, char **argv)
{
    struct run_options options = run_options_defaults();
    enum status status = run_options_read(&options, "repetition", argc, argv);
    if (status == STATUS_OK)
        status = run(&options);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    return status == STATUS_OK ? 0 : 1;
}
