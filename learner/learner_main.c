/* learner/learner_main.c - weir-learner: trains. `weir` starts it for runs, and for the commands that need a
 * model: sft, verify, init, explain, export. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/program.h"
#include "learner/learner_metrics.h"
#include "learner/learner.h"
#include "learner/explain.h"
#include "learner/export.h"
#include "learner/replay.h"
#include "learner/sft.h"
#include "model/folder.h"
#include "model/verify.h"
#include "transport/monitor.h"
#include "transport/span_view.h"

static int train(int argc, char **argv)
{
    struct program program;
    program_set_metrics(learner_metrics_table);
    int code = program_start(&program, argc, argv, ROLE_NAME_LEARNER,
                             "Trains the policy from the plans of the store.");
    if (code >= 0)
        return code;
    enum status status = settings_check_run(&program.settings);
    if (status == STATUS_OK && program.check) {
        struct buffer text;
        buffer_init(&text, 0);
        status = learner_budget_text(&program.settings, &text);
        if (status == STATUS_OK)
            fputs(buffer_string(&text), stdout);
        buffer_free(&text);
        return program_end(&program, status);
    }
    struct learner_options options = {.settings = &program.settings,
                                      .endpoint = program.endpoint,
                                      .run = program.run,
                                      .folder = program.run_folder};
    struct learner *learner = NULL;
    if (status == STATUS_OK)
        status = monitor_open_program(&options.monitor, &program);
    if (status == STATUS_OK && program.index > 0) {
        status = learner_follow(&options, (int)program.index, program_stop_signals());
        monitor_close(&options.monitor);
        return program_end(&program, status);
    }
    if (status == STATUS_OK)
        span_view_open(&program);
    if (status == STATUS_OK)
        status = learner_create(&learner, &options);
    if (status == STATUS_OK)
        status = learner_run(learner, program_stop_signals());
    bool must_stop = learner != NULL && learner_must_stop(learner);
    span_view_end(); /* its view is the learner's */
    learner_destroy(&learner);
    monitor_close(&options.monitor);
    int ended = program_end(&program, status);
    return must_stop ? EXIT_CODE_STOPPED : ended;
}

static void show_progress(const struct sft_progress *progress)
{
    unsigned long long left = (unsigned long long)(progress->left_s + 0.5);
    printf("sft %llu/%llu  loss %.4f  %.0f tokens/s  %llu:%02llu:%02llu left",
           (unsigned long long)progress->step, (unsigned long long)progress->steps, progress->loss,
           progress->tokens_per_s, left / 3600, left / 60 % 60, left % 60);
    if (isfinite(progress->eval_loss))
        printf("  held-out loss %.4f", progress->eval_loss);
    printf("\n");
    fflush(stdout);
}

static int sft(int argc, char **argv)
{
    struct program program;
    int code =
        program_start(&program, argc, argv, "sft",
                      "Supervised warm start and continual pre-training: rows of {\"prompt\", "
                      "\"completion\"}, {\"messages\"} or {\"text\"}.");
    if (code >= 0)
        return code;
    return program_end(&program, sft_run(&program.settings, program_stop_signals(), show_progress));
}

static int explain(int argc, char **argv)
{
    struct program program;
    int code = program_start(&program, argc, argv, "explain",
                             "Prints the objective with this run's numbers.");
    if (code >= 0)
        return code;
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = explain_recipe(&program.settings, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return program_end(&program, status);
}

static int init(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fputs("usage: weir init CONFIG_JSON OUT_FOLDER [SEED]\n"
              "Makes a model folder with random weights (f32); tokenizer files beside CONFIG_JSON "
              "are copied.\n",
              stderr);
        return EXIT_CODE_USAGE;
    }
    unsigned long long seed = 1;
    char rest;
    if (argc == 4 && sscanf(argv[3], "%llu%c", &seed, &rest) != 1) {
        fprintf(stderr, "weir init: seed \"%s\" is not a whole number\n", argv[3]);
        return EXIT_CODE_USAGE;
    }
    char like[FILENAME_MAX];
    snprintf(like, sizeof like, "%s", argv[1]);
    char *slash = strrchr(like, '/');
    snprintf(slash != NULL ? slash : like, 2, "%s", slash != NULL ? "" : ".");
    enum status status = model_folder_init(argv[1], argv[2], seed, ST_F32, like);
    if (status != STATUS_OK)
        fprintf(stderr, "weir init: %s\n", status_last_error());
    return program_exit_code(status);
}

static int verify(int argc, char **argv)
{
    return verify_main(argc, argv, stdout);
}

static int export_model(int argc, char **argv)
{
    return export_main(argc, argv, stdout);
}

static int replay(int argc, char **argv)
{
    return learner_replay_main(argc, argv, stdout);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"sft", sft},       {"explain", explain}, {"init", init},
                    {"verify", verify}, {"replay", replay},   {"export", export_model}};
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return train(argc, argv);
}
