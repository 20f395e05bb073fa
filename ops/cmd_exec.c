/* Commands that another program of ours does: `weir` holds no model, no simulator, no rewards and no sandbox. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"

enum { EXEC_ARGUMENTS_MAX = 4096 };

int command_become(const char *name, const char *program, const char *word, int argc, char **argv)
{
    char path[FILE_PATH_MAX];
    static const char *arguments[EXEC_ARGUMENTS_MAX];
    if (argc + 3 > EXEC_ARGUMENTS_MAX)
        return command_usage(name, "more than %d arguments", EXEC_ARGUMENTS_MAX - 3);
    if (program_path(program, path) != STATUS_OK) {
        command_failed(name, STATUS_NOT_FOUND);
        return EXIT_CODE_DEPENDENCY;
    }
    int count = 0;
    arguments[count++] = path;
    if (word != NULL)
        arguments[count++] = word;
    for (int i = 0; i < argc; i++)
        arguments[count++] = argv[i];
    arguments[count] = NULL;
    /* execv's array of non-const pointers is history; it changes nothing. */
    execv(path, (char *const *)(uintptr_t)arguments);
    fprintf(stderr, "weir %s: cannot start %s: %s\n", name, path, strerror(errno));
    return EXIT_CODE_FAILED;
}

int cmd_simulate(int argc, char **argv)
{
    return command_become("simulate", "weir-simulate", NULL, argc, argv);
}

int cmd_reward(int argc, char **argv)
{
    return command_become("reward", "weir-reward", "rows", argc, argv);
}

int cmd_eval(int argc, char **argv)
{
    return command_become("eval", "weir-eval", NULL, argc, argv);
}

int cmd_score(int argc, char **argv)
{
    return command_become("score", "weir-score", NULL, argc, argv);
}

int cmd_serve(int argc, char **argv)
{
    return command_become("serve", "weir-serve", NULL, argc, argv);
}

int cmd_filter(int argc, char **argv)
{
    return command_become("filter", "weir-data", "filter", argc, argv);
}

int cmd_dedup(int argc, char **argv)
{
    return command_become("dedup", "weir-data", "dedup", argc, argv);
}

int cmd_logic(int argc, char **argv)
{
    return command_become("logic", "weir-reward", "logic", argc, argv);
}

int cmd_judge(int argc, char **argv)
{
    return command_become("judge", "weir-reward", "judge", argc, argv);
}

int cmd_plugin(int argc, char **argv)
{
    return command_become("plugin", "weir-reward", "plugin", argc, argv);
}

int cmd_sandbox(int argc, char **argv)
{
    return command_become("sandbox", "weir-sandbox", NULL, argc, argv);
}
