/* bench/paper/paper_forks_main.c - which tokens PPO's clip takes out of training (MiniMax-M1, arXiv:2506.13585, section
 * 3.1: "However, Recheck, Wait, Aha").
 *
 * The lab trains on the task `fork` and measures every token just before its update: its probability under the policy that
 * sampled it, and whether PPO with DAPO's bounds would have set its gradient to zero. Once while CISPO trains (what
 * would have been lost) and once while DAPO does (what was lost). Sums of the first batches, in which the rare word is
 * still rare. Writes forks.jsonl, forks.txt, forks.svg. */
#include <inttypes.h>

#include "bench/paper/lab.h"
#include "bench/paper/plot.h"
#include "bench/paper/runs.h"

enum { ARMS = 2, LISTED = 100 /* times a token must have been seen */ };
static const char *const arm_names[ARMS] = {"while CISPO trains", "while DAPO trains"};
static const char *const bin_names[LAB_BINS] = {"<.001", "<.01", "<.1", "<.5", "<.9", "<1"};

struct sums {
    uint64_t seen[LAB_BINS], zeroed[LAB_BINS];
    uint64_t token_seen[TASK_TOKENS], token_zeroed[TASK_TOKENS], token_up[TASK_TOKENS],
        token_up_zeroed[TASK_TOKENS];
    double token_old[TASK_TOKENS];
};

static void add(struct sums *sums, const struct lab_point *point)
{
    for (int b = 0; b < LAB_BINS; b++) {
        sums->seen[b] += point->seen[b];
        sums->zeroed[b] += point->zeroed[b];
    }
    for (int t = 0; t < TASK_TOKENS; t++) {
        sums->token_seen[t] += point->token_seen[t];
        sums->token_zeroed[t] += point->token_zeroed[t];
        sums->token_up[t] += point->token_up[t];
        sums->token_up_zeroed[t] += point->token_up_zeroed[t];
        sums->token_old[t] += point->token_old[t];
    }
}

static enum status run_seed(const struct run_options *options, uint32_t seed, struct sums *sums)
{
    char folder[LAB_FOLDER_MAX];
    struct lab_config config = lab_config_of(options, "fork", folder);
    config.seed = seed;
    struct lab lab;
    TRY(lab_create(&lab, &config));
    enum status status = STATUS_OK;
    for (int a = 0; a < ARMS && status == STATUS_OK; a++) {
        struct lab_run run = lab_run_defaults(&lab.settings);
        run.lr = 3e-4;
        run.observe = true;
        run.loss.kind = a == 0 ? LOSS_CISPO : LOSS_DAPO;
        run.loss.normaliser = a == 0 ? NORMALISER_PROMPT : NORMALISER_BATCH;
        status = lab_reset(&lab);
        for (uint32_t b = 0; b < options->batches && status == STATUS_OK; b++) {
            struct lab_point point;
            status = lab_batch(&lab, &run, &point);
            add(&sums[a], &point);
        }
    }
    lab_destroy(&lab);
    return status;
}

static double part(uint64_t a, uint64_t b)
{
    return b > 0 ? (double)a / (double)b : 0;
}

static void print(FILE *table, const struct sums *sums, const char *name)
{
    uint64_t all = 0, lost = 0;
    for (int b = 0; b < LAB_BINS; b++) {
        all += sums->seen[b];
        lost += sums->zeroed[b];
    }
    fprintf(table, "%s: of %" PRIu64 " tokens the clip zeroes %.2f %%\n  %-12s %-10s %s\n", name,
            all, 100 * part(lost, all), "old p", "tokens", "zeroed %");
    for (int b = 0; b < LAB_BINS; b++)
        fprintf(table, "  %-12s %-10" PRIu64 " %.2f\n", bin_names[b], sums->seen[b],
                100 * part(sums->zeroed[b], sums->seen[b]));
    fprintf(table, "  %-12s %-10s %-12s %-12s %-18s %s\n", "token", "times", "mean old p",
            "zeroed %", "with advantage > 0", "of those zeroed %");
    bool printed[TASK_TOKENS] = {false};
    for (int rank = 0; rank < TASK_TOKENS; rank++) {
        int top = -1;
        for (int t = 0; t < TASK_TOKENS; t++)
            if (!printed[t] && sums->token_seen[t] >= LISTED &&
                (top < 0 || part(sums->token_up_zeroed[t], sums->token_up[t]) >
                                part(sums->token_up_zeroed[top], sums->token_up[top])))
                top = t;
        if (top < 0)
            break;
        printed[top] = true;
        fprintf(table, "  %-12s %-10" PRIu64 " %-12.4f %-12.2f %-18" PRIu64 " %.2f\n",
                task_text((uint32_t)top), sums->token_seen[top],
                sums->token_old[top] / (double)sums->token_seen[top],
                100 * part(sums->token_zeroed[top], sums->token_seen[top]), sums->token_up[top],
                100 * part(sums->token_up_zeroed[top], sums->token_up[top]));
    }
}

static enum status keep(const struct run_options *options, const struct sums *sums, int arm)
{
    json_t *bins = json_array();
    for (int b = 0; b < LAB_BINS; b++)
        json_array_append_new(bins, json_pack("{s:s, s:I, s:I}", "old", bin_names[b], "tokens",
                                              (json_int_t)sums->seen[b], "zeroed",
                                              (json_int_t)sums->zeroed[b]));
    return runs_append(options->jsonl, json_pack("{s:s, s:i, s:i, s:o}", "arm", arm_names[arm],
                                                 "seeds", (int)options->seeds, "batches",
                                                 (int)options->batches, "bins", bins));
}

static enum status draw(const struct run_options *options, const struct sums *sums)
{
    static const char *const words[] = {"Wait", "So", "Thus", "digits", "."};
    enum { WORDS = 5 };
    double x[LAB_BINS + WORDS], by_bin[ARMS][LAB_BINS], by_word[ARMS][WORDS];
    struct plot panels[2] = {{.title = "gradients that the clip zeroes",
                              .x_label = "probability when sampled",
                              .x_names = bin_names,
                              .x_name_count = LAB_BINS},
                             {.title = "the same, of tokens with advantage > 0",
                              .x_label = "token",
                              .x_names = words,
                              .x_name_count = WORDS}};
    for (int i = 0; i < LAB_BINS + WORDS; i++)
        x[i] = i;
    for (int a = 0; a < ARMS; a++) {
        static const uint32_t ids[WORDS] = {TOKEN_WAIT, TOKEN_SO, TOKEN_THUS, 0, TOKEN_END};
        for (int b = 0; b < LAB_BINS; b++)
            by_bin[a][b] = part(sums[a].zeroed[b], sums[a].seen[b]);
        for (int w = 0; w < WORDS; w++) {
            uint64_t up = 0, zeroed = 0;
            for (uint32_t t = ids[w]; t <= (ids[w] == 0 ? 9 : ids[w]); t++) {
                up += sums[a].token_up[t];
                zeroed += sums[a].token_up_zeroed[t];
            }
            by_word[a][w] = part(zeroed, up);
        }
        panels[0].series[a] = (struct plot_series){
            .name = arm_names[a], .kind = PLOT_BARS, .count = LAB_BINS, .x = x, .y = by_bin[a]};
        panels[1].series[a] = (struct plot_series){
            .name = arm_names[a], .kind = PLOT_BARS, .count = WORDS, .x = x, .y = by_word[a]};
    }
    for (int p = 0; p < 2; p++) {
        panels[p].y_label = "share";
        panels[p].series_count = ARMS;
    }
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/forks.svg", options->out));
    return plot_write(panels, 2, 2, path);
}

static enum status run(const struct run_options *options)
{
    static struct sums sums[ARMS];
    char path[FILE_PATH_MAX];
    for (uint32_t s = 0; s < options->seeds; s++)
        TRY(run_seed(options, 1 + s, sums));
    TRY(file_path(path, "%s/forks.txt", options->out));
    FILE *table = fopen(path, "we");
    if (table == NULL)
        return FAIL(STATUS_IO, "%s cannot be written", path);
    enum status status = STATUS_OK;
    for (int a = 0; a < ARMS && status == STATUS_OK; a++) {
        print(table, &sums[a], arm_names[a]);
        status = keep(options, &sums[a], a);
    }
    fclose(table);
    return status == STATUS_OK ? draw(options, sums) : status;
}

int main(int argc, char **argv)
{
    struct run_options options = run_options_defaults();
    options.seeds = 3;
    options.batches = 6;
    enum status status = run_options_read(&options, "forks", argc, argv);
    if (status == STATUS_OK)
        status = run(&options);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    return status == STATUS_OK ? 0 : 1;
}
