/* weir forward: the metrics of a run to another tool; ops/tools/weir_forward.py, which this binary carries, does it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/metric_alias.h"
#include "ops/cmd.h"

enum { ARGUMENTS_MAX = 64 };

extern const char weir_forward_py[];
extern const unsigned long weir_forward_py_size;

/* The names of other trainers that the run's metrics.alias asks for, or `wanted`, as JSON. */
static enum status alias_json(const char *folder, const char *wanted, struct buffer *json)
{
    char path[FILE_PATH_MAX], override[64];
    struct settings settings;
    struct config *config;
    TRY(file_path(path, "%s/config.resolved.yaml", folder));
    snprintf(override, sizeof override, "metrics.alias=%.32s", wanted != NULL ? wanted : "");
    const char *files[] = {path}, *overrides[] = {override};
    struct config_input input = {.files = files,
                                 .file_count = 1,
                                 .overrides = overrides,
                                 .override_count = wanted != NULL ? 1 : 0};
    TRY(settings_load(&settings, &config, &input));
    enum status status = metric_alias_json((enum setting_alias)settings.metrics.alias, json);
    config_destroy(&config);
    return status;
}

/* The script as a file of this process without a name; -1: errno. */
static int script_fd(void)
{
    int fd = memfd_create("weir_forward.py", 0);
    size_t done = 0;
    while (fd >= 0 && done < weir_forward_py_size) {
        ssize_t got = write(fd, weir_forward_py + done, weir_forward_py_size - done);
        if (got < 0 && errno != EINTR)
            return -1;
        done += got > 0 ? (size_t)got : 0;
    }
    return fd;
}

/* Becomes Python; returns only when it cannot. */
static int become(const char *folder, const char *names, char **rest, int count)
{
    const char *python = getenv("WEIR_PYTHON");
    const char *arguments[ARGUMENTS_MAX + 8];
    char script[32];
    int fd = script_fd(), at = 0;
    if (fd < 0) {
        fprintf(stderr, "weir forward: no room for the script: %s\n", strerror(errno));
        return EXIT_CODE_FAILED;
    }
    python = python != NULL && python[0] != 0 ? python : "python3";
    snprintf(script, sizeof script, "/proc/self/fd/%d", fd);
    arguments[at++] = python;
    arguments[at++] = script;
    arguments[at++] = folder;
    arguments[at++] = names;
    for (int i = 0; i < count; i++)
        arguments[at++] = rest[i];
    arguments[at] = NULL;
    execvp(python, (char *const *)(uintptr_t)arguments);
    fprintf(stderr,
            "weir forward: %s cannot be started (%s): install python3, or name one in "
            "WEIR_PYTHON\n",
            python, strerror(errno));
    return EXIT_CODE_DEPENDENCY;
}

int cmd_forward(int argc, char **argv)
{
    static const char *const with_value[] = {"--to", "--project", "--name", "--out"};
    char *rest[ARGUMENTS_MAX];
    const char *run = NULL, *alias = NULL;
    int count = 0;
    for (int i = 0; i < argc && count + 2 < ARGUMENTS_MAX; i++) {
        bool value = false;
        for (size_t k = 0; k < sizeof with_value / sizeof with_value[0]; k++)
            value = value || strcmp(argv[i], with_value[k]) == 0;
        if ((value || strcmp(argv[i], "--alias") == 0) && i + 1 == argc)
            return command_usage("forward", "%s wants a value", argv[i]);
        if (value) {
            rest[count++] = argv[i];
            rest[count++] = argv[++i];
        } else if (strcmp(argv[i], "--alias") == 0) {
            alias = argv[++i];
        } else if (strcmp(argv[i], "--once") == 0 || strcmp(argv[i], "--again") == 0) {
            rest[count++] = argv[i];
        } else if (argv[i][0] == '-' || run != NULL) {
            return command_usage("forward", "unexpected argument %s", argv[i]);
        } else {
            run = argv[i];
        }
    }
    struct known_run known;
    struct buffer names;
    buffer_init(&names, 0);
    enum status status = known_run_find(&known, run);
    if (status == STATUS_OK)
        status = alias_json(known.folder, alias, &names);
    int code = status == STATUS_OK ? become(known.folder, buffer_string(&names), rest, count)
                                   : command_failed("forward", status);
    buffer_free(&names);
    return code;
}
