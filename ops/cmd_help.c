/* weir help, docs, completion and man: everything printed here comes from the tables of commands and settings. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/metric_alias.h"
#include "core/nvml.h"
#include "core/wait.h"
#include "ops/command_text.h"
#include "ops/fleet_monitor.h"
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

/* 0 and what was made, or the exit code of a failure. */
static int print_made(const char *name, enum status status, struct buffer *text)
{
    if (status == STATUS_OK)
        fputs(buffer_string(text), stdout);
    buffer_free(text);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed(name, status);
}

int cmd_help(int argc, char **argv)
{
    struct buffer text;
    buffer_init(&text, 0);
    if (argc == 0)
        return print_made("help", command_text_overview(&text), &text);
    if (strcmp(argv[0], "config") == 0)
        return print_settings();
    const struct command *command = command_find(argv[0]);
    if (command != NULL)
        return print_made("help", command_text_help(command, &text), &text);
    return command_unknown(argv[0]);
}

/* ---- completion and manual pages ---- */

int cmd_completion(int argc, char **argv)
{
    struct buffer text;
    buffer_init(&text, 0);
    if (argc > 1 && strcmp(argv[0], "words") == 0) { /* what the scripts ask */
        char *end;
        unsigned long at = strtoul(argv[1], &end, 10);
        return print_made("completion",
                          completion_words(runs_root(), (const char *const *)(uintptr_t)(argv + 2),
                                           (size_t)(argc - 2), at, &text),
                          &text);
    }
    if (argc != 1)
        return command_usage("completion", "name a shell: bash or zsh");
    return print_made("completion", completion_script(argv[0], &text), &text);
}

static enum status write_page(const char *folder, const struct command *command)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, 0);
    enum status status;
    TRY_GOTO(out, command_text_man(command, &text));
    TRY_GOTO(out, file_path(path, "%s/weir%s%s.1", folder, command != NULL ? "-" : "",
                            command != NULL ? command->name : ""));
    TRY_GOTO(out, file_replace(path, text.bytes, text.size));
out:
    buffer_free(&text);
    return status;
}

int cmd_man(int argc, char **argv)
{
    if (argc != 1 || argv[0][0] == '-')
        return command_usage("man", "name one folder for the pages");
    enum status status = file_make_dirs(argv[0]);
    if (status == STATUS_OK)
        status = write_page(argv[0], NULL);
    for (size_t i = 0; i < command_count && status == STATUS_OK; i++)
        status = write_page(argv[0], &commands[i]);
    if (status != STATUS_OK)
        return command_failed("man", status);
    printf("%zu pages in %s; read one with: man -l %s/weir-run.1\n", command_count + 1, argv[0],
           argv[0]);
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

/* Each program knows its own metrics and prints them with --docs-metrics; word: its first argument, or NULL. */
static int print_metrics_of(const char *program, const char *word)
{
    char path[FILE_PATH_MAX];
    struct process process = {.arguments = {path, word != NULL ? word : "--docs-metrics",
                                            word != NULL ? "--docs-metrics" : NULL}};
    int ended = 0;
    fflush(stdout);
    snprintf(process.name, sizeof process.name, "%s", program);
    enum status status = program_path(program, path);
    if (status == STATUS_OK)
        status = process_start(&process, 0);
    if (status == STATUS_OK)
        status = wait_child("table of metrics", program, DOCS_PROGRAM_MS, process.pid, &ended);
    if (status != STATUS_OK)
        return command_failed("docs", status);
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == 0)
        return EXIT_CODE_OK;
    fprintf(stderr, "weir docs: %s --docs-metrics failed\n", program);
    return EXIT_CODE_FAILED;
}

/* Tables that are no program's own. */
static int print_other_metrics(void)
{
    struct buffer text;
    size_t count;
    buffer_init(&text, 0);
    const struct metric_row *rows = supervisor_metrics_table(&count);
    enum status status = metrics_markdown("weir run, the supervisor", rows, count, &text);
    rows = gpu_metrics_table(&count);
    if (status == STATUS_OK)
        status = metrics_markdown("The GPU of an actor, learner or evaluator", rows, count, &text);
    if (status == STATUS_OK)
        status =
            buffer_text(&text, "## Names of other trainers\n\nWhere both count the same thing; "
                               "`metrics.alias` writes them.\n\n");
    if (status == STATUS_OK)
        status = metric_alias_markdown(&text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("docs", status);
}

static int print_metrics(void)
{
    static const struct {
        const char *program, *word;
    } rows[] = {{"weir-learner", NULL},
                {"weir-actor", NULL},
                {"weir-store", NULL},
                {"weir-reward", NULL},
                {"weir-eval", "--follow"}};
    int code = EXIT_CODE_OK;
    printf("# Metrics\n\nMade by `weir docs metrics` from the tables in the sources. A histogram "
           "has `/p50`, "
           "`/p90`, `/p99` and `/count`\nbehind its name in metrics.jsonl and Redis.\n\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && code == EXIT_CODE_OK; i++)
        code = print_metrics_of(rows[i].program, rows[i].word);
    return code == EXIT_CODE_OK ? print_other_metrics() : code;
}

int cmd_docs(int argc, char **argv)
{
    if (argc == 1 && strcmp(argv[0], "config") == 0)
        return print_config();
    if (argc == 1 && strcmp(argv[0], "metrics") == 0)
        return print_metrics();
    if (argc == 1 && strcmp(argv[0], "commands") == 0) {
        struct buffer text;
        buffer_init(&text, 0);
        return print_made("docs", command_text_markdown(&text), &text);
    }
    if (argc >= 1 && strcmp(argv[0], "alerts") == 0)
        return docs_alerts(argc - 1, argv + 1);
    if (argc >= 1 && strcmp(argv[0], "prometheus-rules") == 0)
        return docs_prometheus_rules(argc - 1, argv + 1);
    return command_usage("docs", "name one of config, metrics, commands, alerts, prometheus-rules");
}
