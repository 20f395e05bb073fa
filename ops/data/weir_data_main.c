/* weir-data - `weir filter` and `weir dedup`: a program of its own, because it holds the checker of mathematical answers. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/program.h"
#include "ops/data/data.h"

int main(int argc, char **argv)
{
    log_init("data", 0, LOG_LEVEL_WARN);
    if (argc > 1 && strcmp(argv[1], "filter") == 0)
        return filter_command(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "dedup") == 0)
        return dedup_command(argc - 1, argv + 1);
    fputs("usage: weir-data filter|dedup ...; see `weir help filter`, `weir help dedup`\n", stderr);
    return EXIT_CODE_USAGE;
}
