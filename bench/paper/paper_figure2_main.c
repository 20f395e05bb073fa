/* bench/paper/paper_figure2_main.c - figure 2 of MiniMax-M1 (arXiv:2506.13585) in small: CISPO against GRPO and DAPO at
 * equal data, in regimes in which clipping matters and in regimes in which it does not.
 *
 * For each regime and loss the learning rate is chosen from the same grid, by the mean score over all batches, on seeds
 * of their own; the curves are of other seeds. Steps are generation batches; prompts and random numbers are the same for
 * all losses of a seed. Writes figure2.jsonl (every run), figure2.txt and an SVG for each regime. */
#include <stdio.h>

#include "bench/paper/figure2.h"

static enum status run(struct figure2 *figure)
{
    if (!figure->options.plot) {
        TRY(figure2_run(figure, true));
        TRY(figure2_run(figure, false));
    }
    return figure2_report(figure);
}

int main(int argc, char **argv)
{
    static struct figure2 figure;
    figure.options = run_options_defaults();
    figure.options.seeds = 5;
    figure.options.tune_seeds = 2;
    figure.options.batches = 30;
    enum status status = run_options_read(&figure.options, "figure2", argc, argv);
    if (status == STATUS_OK)
        status = run(&figure);
    json_decref(figure.lines);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    return status == STATUS_OK ? 0 : 1;
}
