/* weir init, sft, verify, explain, export: done by the learner's program, which has the model. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"

enum { FORWARD_ARGUMENTS_MAX = 1024 };

/* `recipes`: an argument that is neither option nor section.name=value is a recipe. */
static int forward(const char *subcommand, int argc, char **argv, int least, bool recipes)
{
    char program[FILE_PATH_MAX];
    const char *arguments[FORWARD_ARGUMENTS_MAX];
    if (argc < least)
        return command_usage(subcommand, "%d argument%s wanted, %d given", least,
                             least == 1 ? "" : "s", argc);
    if (2 * argc + 3 > FORWARD_ARGUMENTS_MAX)
        return command_usage(subcommand, "more than %d arguments", FORWARD_ARGUMENTS_MAX / 2 - 2);
    if (program_path("weir-learner", program) != STATUS_OK) {
        command_failed(subcommand, STATUS_NOT_FOUND);
        return EXIT_CODE_DEPENDENCY;
    }
    int count = 0;
    arguments[count++] = program;
    arguments[count++] = subcommand;
    for (int i = 0; i < argc; i++) {
        if (recipes && argv[i][0] != '-' && strchr(argv[i], '=') == NULL)
            arguments[count++] = "--config";
        arguments[count++] = argv[i];
    }
    arguments[count] = NULL;
    /* execv's array of non-const pointers is history; it changes nothing. */
    execv(program, (char *const *)(uintptr_t)arguments);
    fprintf(stderr, "weir %s: cannot start %s: %s\n", subcommand, program, strerror(errno));
    return EXIT_CODE_FAILED;
}

int cmd_init(int argc, char **argv)
{
    return forward("init", argc, argv, 2, false);
}

/* A run may be given by its name. */
int cmd_export(int argc, char **argv)
{
    static char folder[FILE_PATH_MAX];
    char name[RUN_NAME_MAX];
    for (int i = 0; i < argc; i++) {
        if (argv[i][0] == '-') {
            i++;
            continue;
        }
        if (!file_exists(argv[i]) &&
            run_folder_find(runs_root(), argv[i], folder, name) == STATUS_OK)
            argv[i] = folder;
        break;
    }
    return forward("export", argc, argv, 2, false);
}

int cmd_sft(int argc, char **argv)
{
    return forward("sft", argc, argv, 1, true);
}

int cmd_verify(int argc, char **argv)
{
    return forward("verify", argc, argv, 1, false);
}

int cmd_explain(int argc, char **argv)
{
    return forward("explain", argc, argv, 1, true);
}
