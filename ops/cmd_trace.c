/* weir trace: what each process of a run did when, as a file for chrome://tracing and Perfetto. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cmd.h"
#include "ops/trace_merge.h"

static bool parse_step(const char *text, uint64_t *step)
{
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    *step = strtoull(text, &end, 10);
    return *end == 0;
}

static enum status write_trace(const char *folder, const struct trace_range *range,
                               const char *path, struct trace_totals *totals)
{
    FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    if (out == NULL)
        return FAIL(STATUS_IO, "%s cannot be written: %s", path, strerror(errno));
    enum status status = trace_merge(folder, range, out, totals);
    bool closed = out == stdout ? fflush(out) == 0 : fclose(out) == 0;
    if (status == STATUS_OK && !closed)
        status = FAIL(STATUS_IO, "%s cannot be written: %s", path, strerror(errno));
    if (status != STATUS_OK && out != stdout)
        remove(path);
    return status;
}

int cmd_trace(int argc, char **argv)
{
    struct trace_range range = {.to = UINT64_MAX};
    struct known_run known;
    struct trace_totals totals;
    const char *run = NULL, *path = NULL;
    char made[FILE_PATH_MAX];
    for (int i = 0; i < argc; i++) {
        bool from = strcmp(argv[i], "--from") == 0, to = strcmp(argv[i], "--to") == 0;
        if ((from || to) && !parse_step(argv[i + 1], from ? &range.from : &range.to))
            return command_usage("trace", "%s wants a step", argv[i]);
        if (from || to)
            i++;
        else if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
            path = argv[++i];
        else if (argv[i][0] == '-' || run != NULL)
            return command_usage("trace", "unexpected argument %s", argv[i]);
        else
            run = argv[i];
    }
    enum status status = known_run_find(&known, run);
    if (status == STATUS_OK && path == NULL)
        status = file_path(made, "%s/trace.json", known.folder);
    path = path != NULL ? path : made;
    if (status == STATUS_OK)
        status = write_trace(known.folder, &range, path, &totals);
    if (status != STATUS_OK)
        return command_failed("trace", status);
    if (strcmp(path, "-") != 0)
        printf("%s: %" PRIu64 " spans of %" PRIu64 " processes; open it in https://ui.perfetto.dev "
               "or chrome://tracing\n",
               path, totals.spans, totals.processes);
    return EXIT_CODE_OK;
}
