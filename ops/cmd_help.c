/* weir help and docs: everything printed here comes from the tables of commands and settings. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/processes.h"

enum { DOCS_PROGRAM_MS = 5000 };

static int print_settings(void)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = config_help(settings_sections, settings_section_count, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("help", status);
}

int cmd_help(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "config") == 0)
        return print_settings();
    for (size_t i = 0; argc > 0 && i < command_count; i++)
        if (strcmp(argv[0], commands[i].name) == 0) {
            printf("usage: weir %s %s\n  %s\n", commands[i].name, commands[i].usage,
                   commands[i].what);
            return EXIT_CODE_OK;
        }
    if (argc > 0)
        return command_usage("help", "no command \"%s\"", argv[0]);
    printf("weir " WEIR_VERSION ": trains reasoning language models by reinforcement learning\n"
           "An actor is the process that generates; the learner holds the policy being trained.\n\n"
           "usage: weir COMMAND ...\n\n");
    for (size_t i = 0; i < command_count; i++)
        printf("  %-9s%s\n", commands[i].name, commands[i].what);
    printf("\nRUN is a run's name or folder; without it, the only one that is going on. Runs live "
           "in ./runs\n(run.root; the commands that look at runs read WEIR_RUN_ROOT). Exit codes: "
           "docs/exit-codes.md.\n");
    return EXIT_CODE_OK;
}

/* ---- docs ---- */

static int print_config(void)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = config_markdown(settings_sections, settings_section_count, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("docs", status);
}

/* Each program knows its own metrics and prints them with --docs-metrics. */
static int print_metrics(void)
{
    static const char *const programs[] = {"weir-learner", "weir-actor", "weir-store",
                                           "weir-reward"};
    printf("# Metrics\n\nMade by `weir docs metrics` from the tables in the sources.\n");
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        char path[FILE_PATH_MAX];
        struct process process = {.arguments = {path, "--docs-metrics"}};
        int ended = 0;
        fflush(stdout);
        snprintf(process.name, sizeof process.name, "%s", programs[i]);
        enum status status = program_path(programs[i], path);
        if (status == STATUS_OK)
            status = process_start(&process, 0);
        if (status == STATUS_OK)
            status =
                wait_child("table of metrics", programs[i], DOCS_PROGRAM_MS, process.pid, &ended);
        if (status != STATUS_OK)
            return command_failed("docs", status);
        if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0) {
            fprintf(stderr, "weir docs: %s --docs-metrics failed\n", programs[i]);
            return EXIT_CODE_FAILED;
        }
    }
    return EXIT_CODE_OK;
}

int cmd_docs(int argc, char **argv)
{
    if (argc == 1 && strcmp(argv[0], "config") == 0)
        return print_config();
    if (argc == 1 && strcmp(argv[0], "metrics") == 0)
        return print_metrics();
    return command_usage("docs", "name one of config, metrics");
}
