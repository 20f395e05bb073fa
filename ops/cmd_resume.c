/* weir resume and fork: a run that is over goes on; a new one begins where another one was.
 *
 * Going on keeps the ledger: the learner comes back at its newest checkpoint and makes again what came after it, from
 * the plans that the store still has. Groups of plans up to that checkpoint have left the store (rollout_store/book.h),
 * so an older checkpoint cannot go on with this ledger; a fork begins a ledger of its own. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/wait.h"
#include "ops/checkpoints.h"
#include "ops/cmd.h"
#include "ops/processes.h"
#include "ops/run.h"
#include "ops/run_list.h"
#include "ops/run_meta.h"

enum { EXPORT_MS = 24 * 3600 * 1000, KEPT_MAX = 8 };

struct wish {
    const char *name;     /* of the command */
    const char *words[2]; /* RUN, NEW */
    int word_count;
    const char *settings[PROGRAM_OVERRIDES_MAX];
    size_t setting_count;
    uint64_t step; /* 0: the newest */
    bool foreground, quiet, no_start;
};

/* Settings that we add ourselves; they live as long as the process. */
static char kept[KEPT_MAX][FILE_PATH_MAX + 64];

static int take_option(struct wish *wish, int argc, char **argv, int *i)
{
    bool fork = strcmp(wish->name, "fork") == 0;
    if (strcmp(argv[*i], "--step") == 0) {
        char *end = NULL;
        const char *number = *i + 1 < argc ? argv[++*i] : "";
        wish->step = strtoull(number, &end, 10);
        return number[0] >= '0' && number[0] <= '9' && *end == 0 && wish->step > 0
                   ? EXIT_CODE_OK
                   : command_usage(wish->name, "--step wants a whole number from 1");
    }
    if (!fork && strcmp(argv[*i], "--foreground") == 0)
        wish->foreground = true;
    else if (!fork && strcmp(argv[*i], "--quiet") == 0)
        wish->quiet = true;
    else if (fork && strcmp(argv[*i], "--no-start") == 0)
        wish->no_start = true;
    else
        return command_usage(wish->name, "unknown option %s", argv[*i]);
    return EXIT_CODE_OK;
}

static int parse(struct wish *wish, int wanted, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        int code = EXIT_CODE_OK;
        if (argv[i][0] == '-')
            code = take_option(wish, argc, argv, &i);
        else if (strchr(argv[i], '=') != NULL && wish->setting_count < PROGRAM_OVERRIDES_MAX)
            wish->settings[wish->setting_count++] = argv[i];
        else if (wish->word_count == wanted || strchr(argv[i], '=') != NULL)
            code = command_usage(wish->name, "unexpected argument %s", argv[i]);
        else
            wish->words[wish->word_count++] = argv[i];
        if (code != EXIT_CODE_OK)
            return code;
    }
    if (wish->word_count < wanted)
        return command_usage(wish->name,
                             wanted == 1 ? "name the run" : "name the run and the new one");
    return EXIT_CODE_OK;
}

static bool has_setting(const struct wish *wish, const char *prefix)
{
    for (size_t i = 0; i < wish->setting_count; i++)
        if (strncmp(wish->settings[i], prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

/* ---- what the run was started with ---- */

struct origin {
    char name[RUN_NAME_MAX], folder[FILE_PATH_MAX], root[FILE_PATH_MAX]; /* absolute */
    char config[FILE_PATH_MAX];
    json_t *meta; /* NULL: an older run */
    pid_t holder;
};

static enum status find_origin(struct origin *origin, const char *run)
{
    char found[FILE_PATH_MAX], whole[PATH_MAX];
    TRY(run_folder_find(runs_root(), run, found, origin->name));
    if (realpath(found, whole) == NULL)
        return FAIL(STATUS_IO, "%s: %s", found, strerror(errno));
    TRY(file_path(origin->folder, "%s", whole));
    TRY(file_path(origin->root, "%.*s", (int)(strrchr(whole, '/') - whole), whole));
    if (origin->root[0] == 0)
        TRY(file_path(origin->root, "/"));
    TRY(file_path(origin->config, "%s/config.resolved.yaml", origin->folder));
    if (!file_exists(origin->config))
        return FAIL(STATUS_NOT_FOUND, "%s is missing: this run cannot be started from its folder",
                    origin->config);
    origin->holder = run_folder_holder(origin->folder, NULL);
    if (run_meta_read(origin->folder, &origin->meta) != STATUS_OK)
        origin->meta = NULL;
    return STATUS_OK;
}

/* Relative paths of the settings are relative to the folder in which the run was started. */
static enum status go_where_it_was(const struct origin *origin)
{
    char here[PATH_MAX];
    const char *cwd = json_string_value(json_object_get(origin->meta, "cwd"));
    if (cwd == NULL || (getcwd(here, sizeof here) != NULL && strcmp(here, cwd) == 0))
        return STATUS_OK;
    if (chdir(cwd) != 0)
        return FAIL(STATUS_NOT_FOUND,
                    "the run was started in %s, to which its paths are relative: %s", cwd,
                    strerror(errno));
    printf("in         %s (paths of the settings are relative to it)\n", cwd);
    return STATUS_OK;
}

/* The socket of its own redis-server stood in the run's folder; it is found anew. "": nothing to set. */
static enum status redis_setting(const struct origin *origin, char setting[FILE_PATH_MAX + 64])
{
    char path[FILE_PATH_MAX];
    const char *files[] = {origin->config};
    struct config_input input = {.files = files, .file_count = 1};
    struct settings settings;
    struct config *config;
    setting[0] = 0;
    TRY(settings_load(&settings, &config, &input));
    const char *folder = json_string_value(json_object_get(origin->meta, "folder"));
    enum status status = file_path(path, "%s/redis.sock", folder != NULL ? folder : origin->folder);
    if (status == STATUS_OK && strcmp(settings.redis.address, path) == 0)
        snprintf(setting, FILE_PATH_MAX + 64, "redis.address=");
    config_destroy(&config);
    return status;
}

/* ---- resume ---- */

static int check_step(const struct wish *wish, const struct origin *origin)
{
    char path[FILE_PATH_MAX];
    uint64_t found = 0, newest = checkpoints_newest(origin->folder);
    if (wish->step == 0)
        return EXIT_CODE_OK;
    enum status status = checkpoints_find(origin->folder, wish->step, path, &found);
    if (status != STATUS_OK)
        return command_refused("resume", status);
    if (found == newest)
        return EXIT_CODE_OK;
    fprintf(stderr,
            "weir resume: the ledger of run %s goes on from step %" PRIu64
            ": rollouts of the steps up to it are trained and gone, so it cannot go back to step "
            "%" PRIu64 "; begin a new run there with `weir fork %s NEW --step %" PRIu64 "`\n",
            origin->name, newest, found, origin->name, found);
    return EXIT_CODE_USAGE;
}

/* All steps are made, and no more were asked for. */
static bool is_done(const struct wish *wish, const struct origin *origin)
{
    json_int_t wanted = json_integer_value(json_object_get(origin->meta, "steps"));
    if (has_setting(wish, "run.steps=") || checkpoints_newest(origin->folder) < (uint64_t)wanted)
        return false; /* run_list_row measures the whole folder */
    json_t *row = run_list_row(origin->folder, origin->name);
    json_int_t steps = json_integer_value(json_object_get(row, "steps"));
    bool over = strcmp(json_string_value(json_object_get(row, "state")), "over") == 0;
    bool done = over && steps > 0 &&
                json_number_value(json_object_get(row, "step")) >= (double)steps &&
                checkpoints_newest(origin->folder) >= (uint64_t)steps;
    if (done)
        printf("run %s has made all its %" JSON_INTEGER_FORMAT
               " steps; go on with `weir resume %s run.steps=M`\n",
               origin->name, steps, origin->name);
    json_decref(row);
    return done;
}

static int fill_request(const struct wish *wish, const struct origin *origin,
                        struct run_request *request)
{
    enum status status = redis_setting(origin, kept[0]);
    if (status != STATUS_OK)
        return command_refused("resume", status);
    snprintf(kept[1], sizeof kept[1], "run.root=%s", origin->root);
    request->files[request->file_count++] = origin->config;
    request->name = origin->name;
    request->quiet = wish->quiet;
    int code = kept[0][0] != 0 ? run_request_set(request, kept[0]) : EXIT_CODE_OK;
    for (size_t i = 0; i < wish->setting_count && code == EXIT_CODE_OK; i++)
        code = run_request_set(request, wish->settings[i]);
    if (code == EXIT_CODE_OK)
        code = run_request_set(request, kept[1]);
    return code == EXIT_CODE_OK ? run_request_set(request, "run.resume=true") : code;
}

int cmd_resume(int argc, char **argv)
{
    static struct run run;
    static struct run_request request = {.command = "resume"};
    static struct origin origin;
    static struct wish wish = {.name = "resume"};
    int code = parse(&wish, 1, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = find_origin(&origin, wish.words[0]);
    if (status == STATUS_OK && origin.holder != 0)
        status = FAIL(STATUS_INVALID, "run %s goes on already (process %ld): see `weir top %s`",
                      origin.name, (long)origin.holder, origin.name);
    if (status == STATUS_OK)
        status = go_where_it_was(&origin);
    code = status == STATUS_OK ? check_step(&wish, &origin) : command_refused("resume", status);
    if (code == EXIT_CODE_OK && is_done(&wish, &origin)) {
        json_decref(origin.meta);
        return EXIT_CODE_OK;
    }
    request.arguments = argv;
    request.argument_count = argc;
    if (code == EXIT_CODE_OK)
        code = fill_request(&wish, &origin, &request);
    if (code == EXIT_CODE_OK)
        code =
            wish.foreground ? run_in_foreground(&run, &request) : run_in_background(&run, &request);
    json_decref(origin.meta);
    return code;
}

/* ---- fork ---- */

struct forked {
    char name[RUN_NAME_MAX];
    char final[FILE_PATH_MAX],
        partial[FILE_PATH_MAX]; /* made under the second name, then renamed */
    char lock[FILE_PATH_MAX];
    uint64_t step;
};

/* The weights with all their bits and the tokenizer, checked against the checkpoint's manifest, as a folder of its own:
 * the parent may be removed. */
static enum status export_weights(const char *checkpoint, const char *out)
{
    static char program[FILE_PATH_MAX];
    struct process process = {
        .name = "weir-learner",
        .arguments = {program, "export", checkpoint, out, "--dtype", "f32", NULL}};
    int ended = 0;
    TRY(program_path("weir-learner", program));
    fflush(NULL);
    TRY(process_start(&process, 0));
    TRY(wait_child("export of the weights", "weir-learner", EXPORT_MS, process.pid, &ended));
    if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0)
        return FAIL(STATUS_CORRUPT, "%s could not be exported, see above", checkpoint);
    return STATUS_OK;
}

static enum status write_settings(const struct wish *wish, const struct origin *origin,
                                  const struct forked *forked, uint64_t *steps)
{
    const char *overrides[PROGRAM_OVERRIDES_MAX + KEPT_MAX], *files[] = {origin->config};
    char path[FILE_PATH_MAX];
    size_t count = 0;
    TRY(redis_setting(origin, kept[0]));
    snprintf(kept[1], sizeof kept[1], "run.name=%s", forked->name);
    snprintf(kept[2], sizeof kept[2], "run.root=%s", origin->root);
    snprintf(kept[3], sizeof kept[3], "model.path=%s/start", forked->final);
    snprintf(kept[4], sizeof kept[4], "run.resume=false");
    if (kept[0][0] != 0)
        overrides[count++] = kept[0];
    for (size_t i = 0; i < wish->setting_count; i++)
        overrides[count++] = wish->settings[i];
    for (size_t i = 1; i < 5; i++)
        overrides[count++] = kept[i];
    struct config_input input = {
        .files = files, .file_count = 1, .overrides = overrides, .override_count = count};
    struct settings settings;
    struct config *config = NULL;
    struct buffer yaml;
    buffer_init(&yaml, 0);
    enum status status;
    TRY_GOTO(out, settings_load(&settings, &config, &input));
    TRY_GOTO(out, settings_check_run(&settings));
    TRY_GOTO(out, config_dump(config, &yaml));
    TRY_GOTO(out, file_path(path, "%s/config.resolved.yaml", forked->partial));
    TRY_GOTO(out, file_replace(path, yaml.bytes, yaml.size));
    *steps = settings.run.steps;
out:
    config_destroy(&config);
    buffer_free(&yaml);
    return status;
}

static enum status fill_fork(const struct wish *wish, const struct origin *origin,
                             struct forked *forked)
{
    char checkpoint[FILE_PATH_MAX], path[FILE_PATH_MAX];
    uint64_t steps = 0;
    static const char *const parts[] = {"checkpoints", "ledger", "logs"};
    TRY(checkpoints_find(origin->folder, wish->step, checkpoint, &forked->step));
    TRY(file_remove_tree(forked->partial)); /* of a fork that was cut off */
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        TRY(file_path(path, "%s/%s", forked->partial, parts[i]));
        TRY(file_make_dirs(path));
    }
    TRY(write_settings(wish, origin, forked, &steps));
    TRY(file_path(path, "%s/start", forked->partial));
    TRY(export_weights(checkpoint, path));
    TRY(run_meta_fork(forked->partial, forked->name, forked->final, origin->meta, origin->name,
                      origin->folder, forked->step, steps));
    TRY(file_path(path, "%s/lock", forked->partial));
    return file_replace(path, "0 new\n", 6);
}

/* One fork of a name at a time: they would remove each other's half. LIMIT: another has it. */
static enum status lock_name(const struct origin *origin, struct forked *forked, int *fd)
{
    TRY(file_path(forked->lock, "%s/.%s.fork.lock", origin->root, forked->name));
    *fd = open(forked->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return FAIL(STATUS_IO, "%s: %s", forked->lock, strerror(errno));
    if (run_folder_take_lock(*fd))
        return STATUS_OK;
    close(*fd);
    return FAIL(STATUS_LIMIT,
                "the name %s is used: another `weir fork` makes that run just now; take another "
                "name",
                forked->name);
}

static enum status fork_locked(const struct wish *wish, const struct origin *origin,
                               struct forked *forked)
{
    if (file_exists(forked->final))
        return FAIL(STATUS_INVALID,
                    "%s exists already: take another name, or remove it first with "
                    "`weir rm %s`",
                    forked->final, forked->name);
    enum status status = fill_fork(wish, origin, forked);
    if (status == STATUS_OK && rename(forked->partial, forked->final) != 0)
        status = FAIL(STATUS_IO, "%s: rename: %s", forked->final, strerror(errno));
    if (status != STATUS_OK) {
        char why[1024];
        snprintf(why, sizeof why, "%s", error_sentence());
        if (file_remove_tree(forked->partial) != STATUS_OK)
            fprintf(stderr, "weir fork: %s\n", error_sentence());
        return FAIL(status, "%s", why);
    }
    return STATUS_OK;
}

static enum status make_fork(const struct wish *wish, const struct origin *origin,
                             struct forked *forked)
{
    TRY(run_name_check(wish->words[1]));
    snprintf(forked->name, sizeof forked->name, "%s", wish->words[1]);
    TRY(file_path(forked->final, "%s/%s", origin->root, forked->name));
    TRY(file_path(forked->partial, "%s/.%s.partial", origin->root, forked->name));
    int fd;
    TRY(lock_name(origin, forked, &fd));
    enum status status = fork_locked(wish, origin, forked);
    unlink(forked->lock); /* while it is held: whoever opened it sees that it is gone */
    close(fd);
    return status;
}

int cmd_fork(int argc, char **argv)
{
    static struct origin origin;
    static struct forked forked;
    static struct wish wish = {.name = "fork"};
    int code = parse(&wish, 2, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = find_origin(&origin, wish.words[0]);
    if (status == STATUS_OK)
        status = make_fork(&wish, &origin, &forked);
    json_decref(origin.meta);
    if (status != STATUS_OK)
        return command_refused("fork", status);
    printf("forked     %s from step %" PRIu64 " of %s\n", forked.final, forked.step, origin.name);
    if (wish.no_start) {
        printf("start      weir resume %s\n", forked.name);
        return EXIT_CODE_OK;
    }
    fflush(stdout);
    char *arguments[] = {forked.final, NULL};
    return command_become("fork", "weir", "resume", 1, arguments);
}
