/* weir simulate: done by weir-simulate, which holds the cores of all roles and no model. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"

enum { SIMULATE_ARGUMENTS_MAX = 512 };

int cmd_simulate(int argc, char **argv)
{
    char program[FILE_PATH_MAX];
    const char *arguments[SIMULATE_ARGUMENTS_MAX];
    if (argc + 2 > SIMULATE_ARGUMENTS_MAX)
        return command_usage("simulate", "more than %d arguments", SIMULATE_ARGUMENTS_MAX - 2);
    if (program_path("weir-simulate", program) != STATUS_OK) {
        command_failed("simulate", STATUS_NOT_FOUND);
        return EXIT_CODE_DEPENDENCY;
    }
    int count = 0;
    arguments[count++] = program;
    for (int i = 0; i < argc; i++)
        arguments[count++] = argv[i];
    arguments[count] = NULL;
    /* execv's array of non-const pointers is history; it changes nothing. */
    execv(program, (char *const *)(uintptr_t)arguments);
    fprintf(stderr, "weir simulate: cannot start %s: %s\n", program, strerror(errno));
    return EXIT_CODE_FAILED;
}
