#include "ops/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/eval_schedule.h"
#include "core/memory.h"
#include "core/wait.h"
#include "ops/checkpoints.h"
#include "ops/cmd.h"
#include "ops/endpoint_file.h"
#include "ops/eval_table.h"
#include "ops/output.h"
#include "ops/redis_server.h"
#include "ops/run_dash.h"
#include "ops/run_meta.h"
#include "ops/run_place.h"
#include "ops/signals.h"

enum { ARGUMENT_BYTES_MAX = 64 << 20, DRAIN_ASK_MS = 1000, PLAN_MS = 60000, LAST_WORDS_MS = 1000 };

/* ---- arguments ---- */

bool run_is_dry(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--dry-run") == 0)
            return true;
    return false;
}

int run_request_set(struct run_request *request, const char *setting)
{
    if (request->override_count == PROGRAM_OVERRIDES_MAX)
        return command_usage(request->command, "more than %d settings", PROGRAM_OVERRIDES_MAX);
    request->overrides[request->override_count++] = setting;
    return EXIT_CODE_OK;
}

bool run_drained_code(const char *text, int *code)
{
    char *end;
    long number = strtol(text, &end, 10);
    *code = (int)number;
    return end != text && *end == 0 && number > EXIT_CODE_STOPPED && number < 126;
}

/* An option with one; exit code. */
static int take_option(struct run_request *request, const char *word, const char *value)
{
    bool name = strcmp(word, "--name") == 0;
    if (!name && strcmp(word, "--drained-code") != 0)
        return command_usage(request->command, "unknown option %s", word);
    if (name && value == NULL)
        return command_usage(request->command, "--name wants a name");
    if (!name && (value == NULL || !run_drained_code(value, &request->drained_code)))
        return command_usage(request->command, "--drained-code wants a number from %d to 125",
                             EXIT_CODE_STOPPED + 1);
    if (name)
        request->name = value;
    return EXIT_CODE_OK;
}

/* An option without an argument; false: it is none. */
static bool take_flag(struct run_request *request, const char *argument, bool *resume)
{
    bool quiet = strcmp(argument, "--quiet") == 0, check = strcmp(argument, "--check") == 0;
    bool clean = strcmp(argument, "--clean") == 0, again = strcmp(argument, "--resume") == 0;
    request->quiet |= quiet;
    request->check |= check;
    request->clean |= clean;
    *resume |= again;
    return quiet || check || clean || again;
}

int run_parse(struct run_request *request, int argc, char **argv)
{
    bool resume = false;
    request->arguments = argv;
    request->argument_count = argc;
    for (int i = 0; i < argc; i++) {
        const char *argument = argv[i];
        if (take_flag(request, argument, &resume)) {
            continue;
        } else if (argument[0] == '-') {
            int code = take_option(request, argument, i + 1 < argc ? argv[i + 1] : NULL);
            if (code != EXIT_CODE_OK)
                return code;
            i++;
        } else if (strchr(argument, '=') != NULL) {
            int code = run_request_set(request, argument);
            if (code != EXIT_CODE_OK)
                return code;
        } else {
            if (request->file_count == PROGRAM_FILES_MAX)
                return command_usage(request->command, "more than %d recipes", PROGRAM_FILES_MAX);
            request->files[request->file_count++] = argument;
        }
    }
    if (request->file_count == 0)
        return command_usage(request->command,
                             "name a recipe, as examples/recipes/quickstart.yaml");
    if (resume && request->clean)
        return command_usage(request->command, "--resume goes on with a run and --clean removes "
                                               "it: take one of them");
    return resume ? run_request_set(request, "run.resume=true") : EXIT_CODE_OK;
}

/* ---- prepare ---- */

static enum status load(struct run *run, const struct run_request *request)
{
    struct config_input input = {.files = request->files,
                                 .file_count = request->file_count,
                                 .overrides = request->overrides,
                                 .override_count = request->override_count,
                                 .environment = true};
    config_destroy(&run->config);
    TRY(settings_load(&run->settings, &run->config, &input));
    return settings_check_run(&run->settings);
}

/* Programs of a run. */
static const char *const program_names[] = {"weir-store", "weir-learner", "weir-actor",
                                            "weir-reward"};

static enum status check_programs(const struct run *run)
{
    char path[FILE_PATH_MAX];
    for (size_t i = 0; i < sizeof program_names / sizeof program_names[0]; i++)
        TRY(program_path(program_names[i], path));
    if (eval_is_on(&run->settings))
        TRY(program_path("weir-eval", path));
    return run->settings.redis.mode == REDIS_START ? redis_server_find(path) : STATUS_OK;
}

/* One path, or several between commas. */
static enum status check_data(const char *list)
{
    char path[FILE_PATH_MAX] = "";
    if (list[0] != 0 && file_exists(list))
        return STATUS_OK;
    enum status status = list[0] != 0 ? STATUS_OK : STATUS_INVALID;
    while (status == STATUS_OK && (status = file_list_next(&list, path)) == STATUS_OK)
        status = file_exists(path) ? STATUS_OK : STATUS_INVALID;
    return status == STATUS_NOT_FOUND
               ? STATUS_OK
               : FAIL(STATUS_NOT_FOUND,
                      "data.train: \"%s\" does not exist; name JSONL files or folders of them, "
                      "between commas",
                      path);
}

static enum status check_eval_sets(const struct settings *settings)
{
    struct eval_sets *sets = memory_alloc(sizeof *sets);
    if (sets == NULL)
        return FAIL(STATUS_NO_MEMORY, "eval.sets");
    enum status status = eval_sets_parse(sets, "eval.sets", settings->eval.sets);
    for (uint32_t i = 0; i < sets->count && status == STATUS_OK; i++)
        if (!file_exists(sets->rows[i].path))
            status = FAIL(STATUS_NOT_FOUND, "eval.sets: \"%s\" (%s) does not exist",
                          sets->rows[i].path, sets->rows[i].name);
    memory_free(sets);
    return status;
}

/* Read properly by learner and store later; here only so that a typo costs no run folder. */
static enum status check_inputs(const struct run *run)
{
    char path[FILE_PATH_MAX];
    if (run->settings.model.path[0] == 0)
        return FAIL(STATUS_NOT_FOUND, "model.path is empty: name the model folder to start from");
    TRY(file_path(path, "%s/config.json", run->settings.model.path));
    if (!file_exists(path))
        return FAIL(STATUS_NOT_FOUND,
                    "model.path: %s does not exist; make a model folder with `weir init` or "
                    "`weir sft`, or name another",
                    path);
    if (eval_is_on(&run->settings))
        TRY(check_eval_sets(&run->settings));
    return check_data(run->settings.data.train);
}

static enum status add_override(struct run *run, struct run_request *request, const char *key,
                                const char *value)
{
    char text[FILE_PATH_MAX + 64];
    snprintf(text, sizeof text, "%s=%s", key, value);
    const char *kept = arena_text(run->arena, text);
    if (kept == NULL)
        return FAIL(STATUS_NO_MEMORY, "settings of the run");
    request->overrides[request->override_count++] = kept;
    return STATUS_OK;
}

static enum status write_config(struct run *run)
{
    struct buffer yaml;
    char copy[FILE_PATH_MAX];
    buffer_init(&yaml, 0);
    enum status status;
    TRY_GOTO(out, config_dump(run->config, &yaml));
    TRY_GOTO(out, file_path(run->config_path, "%s/config.resolved.yaml", run->folder.path));
    TRY_GOTO(out, file_replace(run->config_path, yaml.bytes, yaml.size));
    TRY_GOTO(out, file_path(copy, "%s/config.resolved.yaml", run->folder.logs));
    TRY_GOTO(out, file_replace(copy, yaml.bytes, yaml.size));
out:
    buffer_free(&yaml);
    return status;
}

void run_clear_environment(const struct settings *settings)
{
    for (size_t i = 0; i < settings_section_count; i++)
        for (size_t k = 0; k < settings_sections[i].count; k++) {
            char name[128];
            int size = snprintf(name, sizeof name, "WEIR_%s_%s", settings_sections[i].name,
                                settings_sections[i].fields[k].name);
            for (int c = 0; c < size && c < (int)sizeof name - 1; c++)
                if (name[c] >= 'a' && name[c] <= 'z')
                    name[c] = (char)(name[c] - 'a' + 'A');
            unsetenv(name);
        }
    if (settings->redis.password[0] != 0) /* never in a file */
        setenv("WEIR_REDIS_PASSWORD", settings->redis.password, 1);
}

static enum status clean_folder(const struct run *run, const struct run_request *request,
                                const char *name)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/%s", run->settings.run.root, name));
    TRY(run_place_check_clean(run->config, request->files, request->file_count, path));
    return file_exists(path) ? run_folder_remove(path) : STATUS_OK;
}

static enum status write_meta(const struct run *run, const struct run_request *request)
{
    struct run_meta_start start = {.command = request->command,
                                   .arguments = request->arguments,
                                   .argument_count = request->argument_count,
                                   .recipes = request->files,
                                   .recipe_count = request->file_count,
                                   .steps = run->settings.run.steps};
    return run_meta_begin(&run->folder, &start);
}

static enum status prepare_folder(struct run *run, struct run_request *request, const char *name)
{
    TRY(run_place_check(&run->settings, name));
    if (request->clean)
        TRY(clean_folder(run, request, name));
    TRY(run_folder_open(&run->folder, run->settings.run.root, name, run->settings.run.resume));
    run->opened = true;
    endpoint_file_remove(run->folder.path); /* of the attempt before */
    TRY(store_endpoint(&run->settings, run->folder.path, run->endpoint));
    TRY(add_override(run, request, "run.name", name));
    if (run->settings.redis.mode != REDIS_OFF && run->settings.redis.sentinels[0] != 0) {
        snprintf(run->redis_address, sizeof run->redis_address, "%s of the Sentinels %s",
                 run->settings.redis.master, run->settings.redis.sentinels);
    } else if (run->settings.redis.mode != REDIS_OFF) {
        TRY(redis_server_address(&run->settings, &run->folder, run->redis_address));
        TRY(add_override(run, request, "redis.address", run->redis_address));
    }
    TRY(load(run, request));
    TRY(write_config(run));
    TRY(write_meta(run, request));
    run_clear_environment(&run->settings);
    return STATUS_OK;
}

static int prepare_failed(const struct run_request *request, int exit_code)
{
    fprintf(stderr, "weir %s: %s\n", request->command, error_sentence());
    return exit_code;
}

/* Asked before the settings are checked: a build without CUDA would say only that of a recipe for 512 GPUs. */
static bool plans_cluster(const struct run_request *request)
{
    struct settings settings = {0};
    struct config *config = NULL;
    struct config_input input = {.files = request->files,
                                 .file_count = request->file_count,
                                 .overrides = request->overrides,
                                 .override_count = request->override_count,
                                 .environment = true};
    if (config_load(&config, settings_sections, settings_section_count, &input, &settings) !=
        STATUS_OK)
        return false; /* load says it */
    config_destroy(&config);
    return settings.cluster.gpu != GPU_NONE;
}

/* A recipe that describes a cluster is asked for parallelism that a run has not (docs/plan.md). Exit code, 0: none. */
static int check_cluster(const struct run_request *request)
{
    int ended = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(command_become(request->command, "weir-plan", "--refuse", request->argument_count,
                             request->arguments));
    enum status status = pid > 0
                             ? wait_child("plan of the cluster", "weir-plan", PLAN_MS, pid, &ended)
                             : FAIL(STATUS_IO, "weir-plan cannot be started");
    if (status != STATUS_OK)
        return prepare_failed(request, EXIT_CODE_DEPENDENCY);
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : EXIT_CODE_FAILED;
}

int run_prepare(struct run *run, struct run_request *request)
{
    *run = (struct run){.quiet = request->quiet,
                        .drained_code = request->drained_code,
                        .notify = {.fd = -1},
                        .folder = {.lock_fd = -1}};
    buffer_init(&run->waiting, 0);
    if (arena_create(&run->arena, ARGUMENT_BYTES_MAX) != STATUS_OK)
        return prepare_failed(request, EXIT_CODE_FAILED);
    int refused = plans_cluster(request) ? check_cluster(request) : EXIT_CODE_OK;
    if (refused != EXIT_CODE_OK)
        return refused;
    if (load(run, request) != STATUS_OK)
        return prepare_failed(request, EXIT_CODE_USAGE);
    char name[RUN_NAME_MAX];
    const char *given = request->name != NULL ? request->name : run->settings.run.name;
    if (given[0] == 0 && request->name == NULL) {
        if (run_name_make(request->files[0], clock_wall_ns(), name) != STATUS_OK)
            return prepare_failed(request, EXIT_CODE_USAGE);
    } else {
        if (run_name_check(given) != STATUS_OK)
            return prepare_failed(request, EXIT_CODE_USAGE);
        snprintf(name, sizeof name, "%s", given);
    }
    if (check_programs(run) != STATUS_OK)
        return prepare_failed(request, EXIT_CODE_DEPENDENCY);
    if (check_inputs(run) != STATUS_OK)
        return prepare_failed(request, EXIT_CODE_INPUT);
    if (request->check)
        return EXIT_CODE_OK;
    signals_block(); /* from here on there is something to clean up: run_told_to_end */
    enum status status = prepare_folder(run, request, name);
    if (status == STATUS_OK)
        return EXIT_CODE_OK;
    int code = prepare_failed(request, status == STATUS_INVALID ? EXIT_CODE_USAGE
                                       : status == STATUS_LIMIT ? EXIT_CODE_DEPENDENCY
                                                                : EXIT_CODE_FAILED);
    if (run->opened)
        run_folder_discard(&run->folder);
    return code;
}

void run_print_plan(const struct run *run)
{
    printf("settings are sound; weir run would start store.0, learner.0, %u actors, %u reward "
           "workers%s%s for %u steps\n",
           run->settings.run.actors, run->settings.run.reward_workers,
           eval_is_on(&run->settings) ? ", an evaluator" : "",
           run->settings.redis.mode == REDIS_START ? " and a redis-server" : "",
           run->settings.run.steps);
}

/* ---- start ---- */

static enum status add_processes(struct run *run)
{
    struct process *redis;
    TRY(fleet_open(&run->fleet, &run->settings, &run->folder, run->config_path, run->endpoint,
                   run->arena));
    if (run->settings.redis.mode == REDIS_START) {
        TRY(fleet_place(&run->fleet, &redis));
        run->fleet.count--; /* there when it has started */
        TRY(redis_server_start(&run->settings, &run->folder, run->redis_address, run->arena,
                               redis));
        run->fleet.count++;
    } else if (run->settings.redis.mode == REDIS_CONNECT) {
        TRY(redis_server_probe(&run->settings, run->redis_address));
    }
    run_view_open(&run->view, &run->settings, &run->folder);
    char last[FILE_PATH_MAX]; /* of the run before: it is not this one's end */
    TRY(file_path(last, "%s/eval/last.json", run->folder.path));
    TRY(file_remove_tree(last));
    return fleet_add_all(&run->fleet);
}

/* ---- hooks of the supervisor ---- */

static const char *leaving_text(struct run *run)
{
    enum status status = buffer_text(&run->waiting, "ending; still there:");
    for (size_t i = 0; i < run->fleet.count && status == STATUS_OK; i++)
        if (run->fleet.processes[i].pid > 0)
            status = buffer_printf(&run->waiting, " %s", run->fleet.processes[i].name);
    return status == STATUS_OK ? buffer_string(&run->waiting) : "ending";
}

static const char *waiting_text(void *self)
{
    struct run *run = self;
    buffer_clear(&run->waiting);
    if (run->supervisor.phase != PHASE_RUNNING)
        return leaving_text(run);
    const char *json = run->fleet.status.size > 0 ? buffer_string(&run->fleet.status) : NULL;
    if (waiting_line(json, &run->waiting) != STATUS_OK)
        return "waiting";
    return buffer_string(&run->waiting);
}

static void look_for_alarms(struct run *run, int64_t now_ns)
{
    const struct run_alarm_view view = {
        .watch = &run->supervisor.watch,
        .processes = run->fleet.processes,
        .count = run->fleet.count,
        .status_json = run->fleet.status.size > 0 ? buffer_string(&run->fleet.status) : NULL,
        .steps = run->screen.lines_seen,
        .running = run->supervisor.phase == PHASE_RUNNING};
    run->alarms.redis = run->view.redis;
    run_alarms_tick(&run->alarms, &view, now_ns);
}

/* Ready: learner and workers have come to the store, and there are tokens where actors of this machine make them. Stopping
 * starts the manager's clock of a stop, which the last evaluation of a run that ended by itself must not race. */
static void notify_manager(struct run *run, int64_t now_ns)
{
    char status[256];
    const struct fleet *fleet = &run->fleet;
    bool joined =
        fleet_has_joined(fleet) && (run->settings.run.actors == 0 || fleet_progress(fleet) > 0);
    const struct supervisor *supervisor = &run->supervisor;
    bool stops = supervisor->phase != PHASE_RUNNING &&
                 (supervisor->drained || supervisor->exit_code != EXIT_CODE_OK);
    enum notify_phase phase = stops ? NOTIFY_STOPPING : joined ? NOTIFY_READY : NOTIFY_STARTING;
    if (notify_wants_status(&run->notify, now_ns))
        snprintf(status, sizeof status, "%" PRIu64 " steps of %u; %.200s", run->screen.steps_seen,
                 run->settings.run.steps, waiting_text(run));
    else
        status[0] = 0;
    notify_tick(&run->notify, now_ns, phase, status[0] != 0 ? status : NULL);
}

static void on_tick(void *self, int64_t now_ns)
{
    struct run *run = self;
    bool changed = run->supervisor.changed;
    fleet_tick(&run->fleet, &run->supervisor, now_ns);
    run_view_tick(&run->view, &run->fleet, &run->supervisor, changed, now_ns);
    fleet_monitor_tick(&run->monitor, &run->supervisor, now_ns);
    look_for_alarms(run, now_ns);
    notify_manager(run, now_ns);
    char line[FILE_PATH_MAX];
    const char *dash = run->quiet ? NULL : run_dash_line(&run->fleet, &run->dash_shown, line);
    if (dash != NULL)
        screen_say(&run->screen, dash);
    screen_tick(&run->screen, now_ns, waiting_text, run);
}

static uint64_t on_progress(void *self)
{
    struct run *run = self;
    return fleet_progress(&run->fleet) + run->screen.steps_seen;
}

static void on_say(void *self, const char *line)
{
    screen_say(&((struct run *)self)->screen, line);
}

static void on_died(void *self, const char *line)
{
    struct run *run = self;
    run->alarms.redis = run->view.redis;
    run_alarms_death(&run->alarms, line);
}

static bool on_drain(void *self, const char *reason)
{
    struct run *run = self;
    struct buffer answer;
    char arguments[128];
    snprintf(arguments, sizeof arguments, "{\"reason\":\"%s\"}", reason);
    buffer_init(&answer, 0);
    enum status status =
        run->fleet.query == NULL
            ? STATUS_AGAIN
            : store_query_ask(run->fleet.query, "drain", arguments, DRAIN_ASK_MS, &answer);
    buffer_free(&answer);
    return status == STATUS_OK;
}

/* The last word to a Redis that is ours: it leaves with the views, and would be missed. */
static void on_views_leave(void *self)
{
    struct run *run = self;
    if (run->settings.redis.mode == REDIS_START)
        run_view_close(&run->view, &run->fleet, &run->supervisor);
}

static void on_draining(void *self)
{
    struct run *run = self;
    if (run_folder_note(&run->folder, "draining") != STATUS_OK)
        screen_say(&run->screen, error_sentence());
}

/* Nothing of it runs; a folder that was there before keeps what was said. */
static void end_start(struct run *run, int code)
{
    char why[1024];
    snprintf(why, sizeof why, "%s", error_sentence());
    fprintf(stderr, "weir: %s\n", why);
    process_kill_all();
    if (!run->folder.fresh && run_meta_end(&run->folder, code, why) != STATUS_OK)
        fprintf(stderr, "weir: %s\n", error_sentence());
    run_folder_discard(&run->folder);
}

bool run_told_to_end(struct run *run, int *code)
{
    bool evicted = false;
    int number = signals_waiting() ? signals_take(0, &evicted) : 0;
    if (number == 0)
        return false;
    enum status status = FAIL(
        STATUS_CANCELLED, "%s before run %s had started: what was started of it is ended%s",
        signals_name(number), run->folder.name, run->folder.fresh ? ", its folder is removed" : "");
    (void)status; /* end_start prints it */
    *code = evicted ? run->drained_code : EXIT_CODE_OK;
    end_start(run, *code);
    run->told_to_end = true;
    return true;
}

int run_start(struct run *run)
{
    char metrics[FILE_PATH_MAX];
    int code;
    notify_open(&run->notify);
    enum status status = file_path(metrics, "%s/metrics.jsonl", run->folder.path);
    if (status == STATUS_OK)
        status = screen_open(&run->screen, metrics, run->settings.run.steps,
                             checkpoints_newest(run->folder.path), run->quiet);
    if (status == STATUS_OK)
        status = add_processes(run);
    if (run_told_to_end(run, &code))
        return code;
    bool view = run->fleet.count == 0; /* Redis failed, nothing of ours was listed yet */
    if (status == STATUS_OK) {
        fleet_monitor_open(&run->monitor, &run->fleet, NULL);
        run->supervisor = (struct supervisor){
            .processes = run->fleet.processes,
            .count = run->fleet.count,
            .drain_ms = (int64_t)run->settings.run.drain_s * 1000,
            .eval_ms = (int64_t)run->settings.eval.final_wait_s * 1000,
            .watch = {.stopped_ms = (int64_t)run->settings.run.stopped_s * 1000,
                      .silent_ms = (int64_t)run->settings.run.silent_s * 1000},
            .hooks = {run, on_tick, on_progress, on_say, on_drain, on_draining, on_views_leave,
                      on_died},
        };
        run->alarms = (struct run_alarms){
            .settings = &run->settings, .folder = run->folder.path, .say = on_say, .self = run};
        status = supervisor_start(&run->supervisor);
    }
    if (status == STATUS_OK)
        return EXIT_CODE_OK;
    code = view ? EXIT_CODE_DEPENDENCY : EXIT_CODE_FAILED;
    end_start(run, code);
    return code;
}

/* ---- attend ---- */

/* Workers of other machines need nothing else of the run folder. */
static void print_join(const struct run *run)
{
    if (strncmp(run->endpoint, "tcp://", 6) != 0)
        return;
    printf("join       another machine with this folder joins with: weir node %s --actors N\n"
           "           (docs/operate.md has the way without a shared folder)\n",
           run->folder.path);
}

static void print_header(const struct run *run)
{
    if (run->quiet)
        return;
    printf("run        %s (attempt %u)\nprocesses ", run->folder.path, run->folder.attempt);
    for (size_t i = 0; i < run->fleet.count; i++)
        if (run->fleet.processes[i].pid > 0)
            printf(" %s %ld", run->fleet.processes[i].name, (long)run->fleet.processes[i].pid);
    printf("\nsettings   %s\nlogs       %s/\n", run->config_path, run->folder.logs);
    if (run->settings.redis.mode != REDIS_OFF)
        printf("redis      %s\n", run->redis_address);
    print_join(run);
    printf("watch      weir status %s | weir tail %s --follow | weir top %s\n", run->folder.name,
           run->folder.name, run->folder.name);
    printf("words      an actor generates; the learner trains; Ctrl-C drains and checkpoints\n");
    fflush(stdout);
}

static void print_evaluations(const struct run *run)
{
    enum { SHOWN = 12 };
    struct buffer text;
    json_t *rows = NULL;
    buffer_init(&text, 0);
    if (eval_is_on(&run->settings) && eval_table_read(run->folder.path, &rows) == STATUS_OK &&
        eval_table_text(rows, SHOWN, &text) == STATUS_OK && text.size > 0)
        printf("evaluation %s/eval/table.jsonl\n%s", run->folder.path, buffer_string(&text));
    json_decref(rows);
    buffer_free(&text);
}

static void print_end(struct run *run, int code)
{
    screen_summary(&run->screen, run->folder.name, run->folder.path);
    print_evaluations(run);
    uint64_t checkpoint = checkpoints_newest(run->folder.path);
    if (checkpoint > 0)
        printf("model      %s/checkpoints/step_%" PRIu64 "/hf\n", run->folder.path, checkpoint);
    if (run->supervisor.restarts > 0)
        printf("processes started again: %u\n", run->supervisor.restarts);
    if (run->supervisor.drained || code != EXIT_CODE_OK)
        printf("go on with weir resume %s\n", run->folder.path);
    fflush(stdout);
    if (run->supervisor.why[0] != 0)
        fprintf(stderr, "weir: %s\n", run->supervisor.why);
}

int run_attend(struct run *run)
{
    output_guard(); /* whoever does not read what is printed must not stop the supervisor */
    print_header(run);
    screen_begin(&run->screen);
    if (fleet_connect(&run->fleet) != STATUS_OK) {
        run->folder.fresh = false; /* there are logs */
        end_start(run, EXIT_CODE_FAILED);
        return EXIT_CODE_FAILED;
    }
    int code = supervisor_run(&run->supervisor);
    if (run_meta_end(&run->folder, code, run->supervisor.why) != STATUS_OK)
        fprintf(stderr, "weir: %s\n", error_sentence());
    output_be_patient(LAST_WORDS_MS);
    print_end(run, code);
    bool unfinished = run->supervisor.evicted && run->screen.last_step < run->settings.run.steps;
    return code == EXIT_CODE_OK && unfinished ? run->drained_code : code;
}

void run_release(struct run *run)
{
    fleet_monitor_close(&run->monitor);
    run_view_close(&run->view, &run->fleet, &run->supervisor);
    if (run->opened) {
        endpoint_file_remove(run->folder.path); /* nodes of other machines see that it is over */
        run_folder_sweep_shared_memory(&run->folder);
    }
    run_folder_close(&run->folder);
    notify_close(&run->notify);
    screen_close(&run->screen);
    buffer_free(&run->waiting);
    fleet_close(&run->fleet);
    arena_destroy(&run->arena);
    config_destroy(&run->config);
}
