/* weir sandbox: done by weir-sandbox, which holds the sandbox; ops does not. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"

enum { SANDBOX_ARGUMENTS_MAX = 4096 };

int cmd_sandbox(int argc, char **argv)
{
    char program[FILE_PATH_MAX];
    static const char *arguments[SANDBOX_ARGUMENTS_MAX];
    if (argc + 2 > SANDBOX_ARGUMENTS_MAX)
        return command_usage("sandbox", "more than %d arguments", SANDBOX_ARGUMENTS_MAX - 2);
    if (program_path("weir-sandbox", program) != STATUS_OK) {
        command_failed("sandbox", STATUS_NOT_FOUND);
        return EXIT_CODE_DEPENDENCY;
    }
    int count = 0;
    arguments[count++] = program;
    for (int i = 0; i < argc; i++)
        arguments[count++] = argv[i];
    arguments[count] = NULL;
    /* execv's array of non-const pointers is history; it changes nothing. */
    execv(program, (char *const *)(uintptr_t)arguments);
    fprintf(stderr, "weir sandbox: cannot start %s: %s\n", program, strerror(errno));
    return EXIT_CODE_FAILED;
}
