/* weir - the command of operators: starts runs, looks at them, ends them. Subcommands: ops/cmd.c. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "ops/cmd.h"

int main(int argc, char **argv)
{
    log_init("weir", 0, LOG_LEVEL_WARN);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        int code = cmd_help(0, NULL);
        return argc < 2 ? EXIT_CODE_USAGE : code;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("weir " WEIR_VERSION);
        return EXIT_CODE_OK;
    }
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &commands[i];
        if (strcmp(command->name, argv[1]) == 0) {
            bool help = argc > 2 && strcmp(argv[2], "--help") == 0;
            return help ? cmd_help(1, argv + 1) : command->run(argc - 2, argv + 2);
        }
        if (count < sizeof names / sizeof names[0])
            names[count++] = command->name;
    }
    const char *near = config_nearest(argv[1], names, count);
    fprintf(stderr, "weir: unknown command \"%s\"%s%s%s; see `weir help`\n", argv[1],
            near != NULL ? ", did you mean " : "", near != NULL ? near : "",
            near != NULL ? "?" : "");
    return EXIT_CODE_USAGE;
}
