/* weir - the command of operators: starts runs, looks at them, ends them. Subcommands: ops/cmd.c. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "ops/cmd.h"

int main(int argc, char **argv)
{
    /* What a parent ignores stays ignored over exec, and then no child could be waited for. */
    signal(SIGCHLD, SIG_DFL);
    log_init("weir", 0, LOG_LEVEL_WARN);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        int code = cmd_help(0, NULL);
        return argc < 2 ? EXIT_CODE_USAGE : code;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("weir " WEIR_VERSION);
        return EXIT_CODE_OK;
    }
    const struct command *command = command_find(argv[1]);
    if (command == NULL)
        return command_unknown(argv[1]);
    bool help = argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0);
    return help ? cmd_help(1, argv + 1) : command->run(argc - 2, argv + 2);
}
