/* weir ls and rm: all runs under the root, and the end of their folders. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/cmd.h"
#include "ops/run_list.h"
#include "transport/redis_view.h"

int cmd_ls(int argc, char **argv)
{
    json_t *runs = NULL;
    struct buffer text;
    bool json = argc == 1 && strcmp(argv[0], "--json") == 0;
    if (argc > (json ? 1 : 0))
        return command_usage("ls", "unexpected argument %s", argv[0]);
    enum status status = run_list_read(runs_root(), &runs);
    if (status != STATUS_OK)
        return command_failed("ls", status);
    buffer_init(&text, 0);
    if (json) {
        json_dumpf(runs, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (json_array_size(runs) == 0) {
        printf("no runs under %s; start one with `weir run RECIPE`, or say where they are with "
               "WEIR_RUN_ROOT\n",
               runs_root());
    } else {
        status = run_list_text(runs, clock_wall_ns() / CLOCK_NS_PER_MS, &text);
        if (status == STATUS_OK)
            fputs(buffer_string(&text), stdout);
    }
    buffer_free(&text);
    json_decref(runs);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("ls", status);
}

/* ---- rm ---- */

/* Only what lies directly under the root: a slip of the keyboard removes no other folder. */
static enum status find_removable(const char *run, char path[FILE_PATH_MAX],
                                  char name[RUN_NAME_MAX])
{
    char root[PATH_MAX], whole[PATH_MAX];
    TRY(run_folder_find(runs_root(), run, path, name));
    char *slash = realpath(path, whole) != NULL ? strrchr(whole, '/') : NULL;
    if (slash == NULL || realpath(runs_root(), root) == NULL)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    *slash = 0;
    if (strcmp(whole, root) != 0)
        return FAIL(STATUS_INVALID,
                    "%s is not directly under %s, where runs live: nothing is removed; say "
                    "WEIR_RUN_ROOT=%s if you mean it",
                    path, root, whole);
    pid_t pid = run_folder_holder(path, NULL);
    if (pid != 0)
        return FAIL(STATUS_INVALID,
                    "run %s goes on (process %ld): end it first with `weir stop %s`", name,
                    (long)pid, name);
    return STATUS_OK;
}

/* Nobody is asked where nobody can answer: then --yes is needed. */
static bool agreed(int count, char **runs)
{
    char answer[16] = "";
    printf("remove");
    for (int i = 0; i < count; i++)
        printf(" %s", runs[i]);
    printf(" with checkpoints, ledger and logs? [y/N] ");
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

/* A Redis of others keeps what the run published; one that is gone is no reason to keep the run. */
static void forget_in_redis(const char *folder, const char *name)
{
    char path[FILE_PATH_MAX];
    struct settings settings;
    struct config *config;
    if (file_path(path, "%s/config.resolved.yaml", folder) != STATUS_OK || !file_exists(path))
        return;
    const char *files[] = {path};
    struct config_input input = {.files = files, .file_count = 1, .environment = true};
    enum status status = settings_load(&settings, &config, &input);
    if (status != STATUS_OK)
        return; /* of another version of weir */
    if (settings.redis.mode == REDIS_CONNECT)
        status = redis_forget_run(name, &settings.redis);
    config_destroy(&config);
    if (status != STATUS_OK)
        fprintf(stderr, "weir rm: %s stays in Redis: %s\n", name, error_sentence());
}

static int remove_runs(int count, char **runs)
{
    for (int i = 0; i < count; i++) {
        char path[FILE_PATH_MAX], name[RUN_NAME_MAX];
        enum status status = find_removable(runs[i], path, name);
        if (status == STATUS_OK) {
            forget_in_redis(path, name);
            status = run_folder_remove(path);
        }
        if (status != STATUS_OK)
            return command_refused("rm", status);
        printf("removed %s\n", path);
    }
    return EXIT_CODE_OK;
}

int cmd_rm(int argc, char **argv)
{
    bool yes = false;
    int count = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--yes") == 0)
            yes = true;
        else if (argv[i][0] == '-')
            return command_usage("rm", "unknown option %s", argv[i]);
        else
            argv[count++] = argv[i];
    }
    if (count == 0)
        return command_usage("rm", "name the runs");
    for (int i = 0; i < count; i++) { /* all are looked at before the first is removed */
        char path[FILE_PATH_MAX], name[RUN_NAME_MAX];
        enum status status = find_removable(argv[i], path, name);
        if (status != STATUS_OK)
            return command_refused("rm", status);
    }
    if (!yes && isatty(STDIN_FILENO) != 1)
        return command_usage("rm", "add --yes: there is no terminal to ask on");
    if (!yes && !agreed(count, argv)) {
        printf("nothing is removed\n");
        return EXIT_CODE_FAILED;
    }
    return remove_runs(count, argv);
}
