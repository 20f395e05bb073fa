#include "ops/node.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/endpoint_file.h"
#include "ops/fleet_monitor.h"
#include "ops/output.h"
#include "ops/run.h"
#include "ops/run_meta.h"
#include "ops/signals.h"

enum {
    ALONE_MS = 30000, /* a life that counts as joined where the store is not asked */
    ARENA_BYTES_MAX = 64 << 20,
    ASK_MS = 1000,        /* many nodes ask one store */
    LEAVE_MS = 5000,      /* beyond run.drain_s, which the workers themselves take */
    LAST_WORDS_MS = 1000, /* for whoever reads slowly */
    LOOK_MS = 1000,       /* at FOLDER/endpoint and meta.json */
    LOST_MS = 3000,       /* the store's silence that is said, and that follows the end of a run */
    PAUSE_MS = 100,       /* while waiting for the run */
    SAY_MS = 10000,       /* "still waiting" */
};

struct node {
    const struct node_request *request;
    struct settings settings;
    struct config *config;
    struct run_folder folder; /* FOLDER/nodes/NAME; its logs are the run's */
    char run_path[FILE_PATH_MAX], config_path[FILE_PATH_MAX], endpoint[FILE_PATH_MAX];
    char published[FILE_PATH_MAX]; /* FOLDER/endpoint as it was read; "": --endpoint was given */
    char log_prefix[NODE_NAME_MAX + 1];
    struct arena *arena;
    struct fleet fleet;
    struct supervisor supervisor;
    struct notify notify;
    struct fleet_monitor monitor;
    json_int_t attempt; /* of meta.json; 0: unknown */
    uint64_t answers;   /* of the store, seen so far */
    uint64_t progress;  /* for ops/deaths.h */
    int64_t heard_ns, look_at_ns, say_at_ns;
    int64_t over_ns;           /* the run is over since then, says meta.json; 0: it is not */
    bool begin_again, evicted; /* evicted: by SIGTERM while it waited for the run */
    char **environment;        /* as it was given, to begin again with */
};

static PRINTF_LIKE(1, 2) void print_line(const char *fmt, ...)
{
    char time_text[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    va_list args;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(time_text, sizeof time_text, "%H:%M:%SZ", &utc);
    printf("%s ", time_text);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* ---- waiting for the run ---- */

/* What is still missing, NULL: nothing. Reads the endpoint. */
static const char *missing(struct node *node)
{
    char path[FILE_PATH_MAX];
    if (file_path(path, "%s/config.resolved.yaml", node->run_path) != STATUS_OK ||
        !file_exists(path))
        return "config.resolved.yaml";
    if (node->request->endpoint != NULL)
        return NULL;
    return endpoint_file_read(node->run_path, node->published) == STATUS_OK ? NULL : "endpoint";
}

/* CANCELLED: told to leave. */
static enum status await_run(struct node *node)
{
    const char *what;
    struct wait wait =
        wait_begin("run to join", node->run_path, (int64_t)node->request->wait_s * 1000);
    int64_t say_at_ns = clock_after_ms(clock_now_ns(), LOOK_MS);
    bool told = false;
    while ((what = missing(node)) != NULL && wait_left_ms(&wait) > 0 && !told) {
        told = signals_take(wait_slice_ms(&wait, PAUSE_MS), &node->evicted) != 0;
        if (clock_now_ns() < say_at_ns)
            continue;
        print_line("waiting for %s/%s, which `weir run` writes; %lld s more", node->run_path, what,
                   (long long)(wait_left_ms(&wait) / 1000));
        say_at_ns = clock_after_ms(clock_now_ns(), SAY_MS);
    }
    enum status ended = wait_end(&wait, what == NULL || told);
    if (told)
        return FAIL(STATUS_CANCELLED, "told to leave");
    if (ended != STATUS_OK)
        return FAIL(STATUS_TIMEOUT,
                    "%s/%s did not come in %ld s: is `weir run` of this folder going on, and is "
                    "the folder the same here?",
                    node->run_path, what, node->request->wait_s);
    return STATUS_OK;
}

/* ---- the node's own folder ---- */

static enum status take_lock(struct node *node)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/lock", node->folder.path));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    if (!run_folder_take_lock(fd)) {
        close(fd);
        return FAIL(STATUS_LIMIT,
                    "process %ld is node %s of this run already: give this one another --name",
                    (long)run_folder_holder(node->folder.path, NULL), node->request->name);
    }
    node->folder.lock_fd = fd;
    return run_folder_note(&node->folder, "running");
}

/* logs/attempt_N of the run that goes on; of a copied folder one is made. */
static enum status find_logs(struct node *node)
{
    char latest[FILE_PATH_MAX], target[64];
    TRY(file_path(latest, "%s/logs/latest", node->run_path));
    ssize_t size = readlink(latest, target, sizeof target - 1);
    target[size > 0 ? size : 0] = 0;
    node->folder.attempt = 1;
    if (sscanf(target, "attempt_%u", &node->folder.attempt) != 1)
        node->folder.attempt = 1;
    TRY(file_path(node->folder.logs, "%s/logs/attempt_%u", node->run_path, node->folder.attempt));
    return file_make_dirs(node->folder.logs);
}

static enum status load(struct node *node)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.resolved.yaml", node->run_path));
    const char *files[] = {path};
    struct config_input input = {.files = files,
                                 .file_count = 1,
                                 .overrides = node->request->overrides,
                                 .override_count = node->request->override_count,
                                 .environment = true};
    return settings_load(&node->settings, &node->config, &input);
}

static enum status write_config(struct node *node)
{
    struct buffer yaml;
    buffer_init(&yaml, 0);
    enum status status;
    TRY_GOTO(out, config_dump(node->config, &yaml));
    TRY_GOTO(out, file_path(node->config_path, "%s/config.resolved.yaml", node->folder.path));
    TRY_GOTO(out, file_replace(node->config_path, yaml.bytes, yaml.size));
out:
    buffer_free(&yaml);
    return status;
}

/* Clearing moves the pointers of environ; the texts stay. */
static enum status keep_environment(struct node *node)
{
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    node->environment = arena_alloc(node->arena, (count + 1) * sizeof *node->environment);
    if (node->environment == NULL)
        return FAIL(STATUS_NO_MEMORY, "environment of %zu texts", count);
    memcpy(node->environment, environ, (count + 1) * sizeof *node->environment);
    return STATUS_OK;
}

/* The attempt of the run and, in `over`, whether it has ended. 0: no meta.json tells. */
static json_int_t read_attempt(const struct node *node, bool *over)
{
    json_t *meta = NULL;
    *over = false;
    if (run_meta_read(node->run_path, &meta) != STATUS_OK)
        return 0;
    json_int_t attempt = json_integer_value(json_object_get(meta, "attempt"));
    *over = json_object_get(meta, "ended_ms") != NULL;
    json_decref(meta);
    return attempt;
}

static enum status open_folder(struct node *node)
{
    bool over;
    node->attempt = read_attempt(node, &over); /* before the settings, which it may change */
    TRY(load(node));
    TRY(keep_environment(node));
    run_clear_environment(&node->settings);
    snprintf(node->folder.name, sizeof node->folder.name, "%s", node->settings.run.name);
    TRY(file_path(node->folder.path, "%s/nodes/%s", node->run_path, node->request->name));
    TRY(file_make_dirs(node->folder.path));
    TRY(take_lock(node));
    TRY(find_logs(node));
    TRY(write_config(node));
    if (node->request->endpoint != NULL)
        return file_path(node->endpoint, "%s", node->request->endpoint);
    return endpoint_for_here(node->settings.store.endpoint, node->published, node->endpoint);
}

/* ---- workers ---- */

static unsigned first_of(long given, unsigned of_run, long count)
{
    const char *process = getenv("SLURM_PROCID");
    long place = process != NULL ? strtol(process, NULL, 10) : 0;
    if (given >= 0)
        return (unsigned)given;
    return of_run + (unsigned)(place > 0 ? place : 0) * (unsigned)count;
}

static enum status add_workers(struct node *node)
{
    const struct node_request *request = node->request;
    struct fleet *fleet = &node->fleet;
    TRY(fleet_open(fleet, &node->settings, &node->folder, node->config_path, node->endpoint,
                   node->arena));
    snprintf(node->log_prefix, sizeof node->log_prefix, "%s-", request->name);
    fleet->run_path = node->run_path;
    fleet->log_prefix = node->log_prefix;
    fleet->ask_ms = ASK_MS;
    fleet->first_actor = first_of(request->first_index, node->settings.run.actors, request->actors);
    fleet->first_reward =
        first_of(request->first_reward, node->settings.run.reward_workers, request->reward_workers);
    for (long i = 0; i < request->actors; i++)
        TRY(fleet_add(fleet, ROLE_NAME_ACTOR, fleet->first_actor + (unsigned)i, DUTY_WORKER));
    for (long i = 0; i < request->reward_workers; i++)
        TRY(fleet_add(fleet, ROLE_NAME_REWARD, fleet->first_reward + (unsigned)i, DUTY_WORKER));
    return STATUS_OK;
}

/* A machine of actors may have actor.key and store.pub only: then nobody here may ask the store, and a worker that
 * hangs is noticed by the store alone. */
static enum status connect_store(struct node *node)
{
    char key[FILE_PATH_MAX];
    const char *keys = node->settings.run.keys;
    TRY(file_path(key, "%s/control.key", keys));
    if (keys[0] == 0 || strncmp(node->endpoint, "tcp://", 6) != 0 || file_exists(key))
        return fleet_connect(&node->fleet);
    print_line("there is no %s: the store is not asked about the workers of this node", key);
    return STATUS_OK;
}

/* ---- hooks of the supervisor ---- */

/* Where nobody may ask the store, who lives for long has come to it. */
static unsigned count_joined(const struct node *node, int64_t now_ns)
{
    unsigned joined = 0;
    for (size_t i = 0; i < node->fleet.count; i++) {
        const struct process *process = &node->fleet.processes[i];
        bool old = now_ns - process->started_ns > (int64_t)ALONE_MS * CLOCK_NS_PER_MS;
        joined += process->pid > 0 && (node->fleet.query != NULL ? process->health.met : old);
    }
    return joined;
}

static bool all_have_left(const struct node *node)
{
    for (size_t i = 0; i < node->fleet.count; i++)
        if (node->fleet.processes[i].pid > 0 || node->fleet.processes[i].start_at_ns != 0)
            return false;
    return true;
}

/* The run was started again, elsewhere or with other settings, or is over. A missing endpoint alone says nothing: the
 * next `weir run` removes it and may take long to come to its store. */
static void look_at_run(struct node *node, int64_t now_ns)
{
    char published[FILE_PATH_MAX];
    int64_t lost_ns = (int64_t)LOST_MS * CLOCK_NS_PER_MS;
    bool over;
    if (node->published[0] == 0 || now_ns < node->look_at_ns)
        return;
    node->look_at_ns = clock_after_ms(now_ns, LOOK_MS);
    json_int_t attempt = read_attempt(node, &over);
    enum status status = endpoint_file_read(node->run_path, published);
    bool moved = status == STATUS_OK && strcmp(published, node->published) != 0;
    bool other = status == STATUS_OK && attempt != 0 && attempt != node->attempt;
    if (moved || other) {
        print_line("the store of %s is at %s now%s: beginning again", node->folder.name, published,
                   other ? ", of another attempt" : "");
        node->begin_again = true;
        node->supervisor.phase = PHASE_KILLED;
        return;
    }
    if (!over || status != STATUS_NOT_FOUND)
        node->over_ns = 0;
    else if (node->over_ns == 0)
        node->over_ns = now_ns;
    bool silent = node->fleet.query == NULL || now_ns - node->heard_ns > lost_ns;
    if (node->over_ns != 0 && now_ns - node->over_ns > lost_ns && silent)
        supervisor_end(&node->supervisor, now_ns, EXIT_CODE_OK, "");
}

static void listen_to_store(struct node *node, int64_t now_ns)
{
    int64_t silent_ms = (now_ns - node->heard_ns) / CLOCK_NS_PER_MS;
    if (node->fleet.query == NULL || node->answers != node->fleet.answers) {
        node->answers = node->fleet.answers;
        node->heard_ns = now_ns;
        node->say_at_ns = clock_after_ms(now_ns, LOST_MS);
        return;
    }
    if (now_ns >= node->say_at_ns) {
        print_line("the store at %s does not answer, for %lld s", node->endpoint,
                   (long long)(silent_ms / 1000));
        node->say_at_ns = clock_after_ms(now_ns, SAY_MS);
    }
    if (silent_ms > (int64_t)node->settings.run.silent_s * 1000) {
        char why[FILE_PATH_MAX + 200];
        snprintf(why, sizeof why,
                 "the store at %s was silent for %lld s (run.silent_s): is `weir run` of %s still "
                 "going on, and can this machine reach it?",
                 node->endpoint, (long long)(silent_ms / 1000), node->folder.name);
        supervisor_end(&node->supervisor, now_ns, EXIT_CODE_PEER, why);
    }
}

/* Of the run, while workers of ours take part in it: one that is always refused gets nowhere. */
static void take_progress(struct node *node, unsigned joined)
{
    if (joined > 0 && node->fleet.query != NULL)
        node->progress = fleet_progress(&node->fleet);
    else if (joined > 0)
        node->progress++;
}

static void on_tick(void *self, int64_t now_ns)
{
    struct node *node = self;
    fleet_tick(&node->fleet, &node->supervisor, now_ns);
    if (node->supervisor.phase == PHASE_RUNNING) {
        listen_to_store(node, now_ns);
        look_at_run(node, now_ns);
    }
    if (node->supervisor.phase == PHASE_RUNNING && all_have_left(node))
        supervisor_end(&node->supervisor, now_ns, EXIT_CODE_OK, "");
    char status[128];
    unsigned joined = count_joined(node, now_ns);
    take_progress(node, joined);
    fleet_monitor_tick(&node->monitor, &node->supervisor, now_ns);
    fleet_monitor_joined(&node->monitor, joined);
    bool ends = node->supervisor.phase != PHASE_RUNNING;
    snprintf(status, sizeof status, "%s: %u of %zu workers joined", ends ? "ending" : "running",
             joined, node->fleet.count);
    notify_tick(&node->notify, now_ns,
                ends                          ? NOTIFY_STOPPING
                : joined == node->fleet.count ? NOTIFY_READY
                                              : NOTIFY_STARTING,
                status);
}

/* As of the last tick: at a death nobody may be joined. */
static uint64_t on_progress(void *self)
{
    return ((const struct node *)self)->progress;
}

static void on_say(void *self, const char *line)
{
    (void)self;
    print_line("%s", line);
}

static bool on_drain(void *self, const char *reason)
{
    (void)self;
    (void)reason;
    return false; /* SIGTERM to the workers: the run goes on without them */
}

static void on_draining(void *self)
{
    struct node *node = self;
    if (run_folder_note(&node->folder, "draining") != STATUS_OK)
        print_line("%s", error_sentence());
}

/* ---- life ---- */

static enum status start(struct node *node)
{
    TRY(add_workers(node));
    notify_open(&node->notify);
    fleet_monitor_open(&node->monitor, &node->fleet, node->request->name);
    node->supervisor = (struct supervisor){
        .processes = node->fleet.processes,
        .count = node->fleet.count,
        .drain_ms = (int64_t)node->settings.run.drain_s * 1000 + LEAVE_MS,
        .watch = {.stopped_ms = (int64_t)node->settings.run.stopped_s * 1000,
                  .silent_ms = (int64_t)node->settings.run.silent_s * 1000},
        .node = true,
        .hooks = {node, on_tick, on_progress, on_say, on_drain, on_draining, NULL, NULL},
    };
    TRY(connect_store(node));
    node->heard_ns = clock_now_ns();
    node->say_at_ns = clock_after_ms(node->heard_ns, LOST_MS);
    TRY(supervisor_start(&node->supervisor));
    print_line("node %s of run %s: store %s, logs %s/%s*.log", node->request->name,
               node->folder.name, node->endpoint, node->folder.logs, node->log_prefix);
    for (size_t i = 0; i < node->fleet.count; i++)
        print_line("started %s, process %ld", node->fleet.processes[i].name,
                   (long)node->fleet.processes[i].pid);
    return STATUS_OK;
}

static void release(struct node *node)
{
    notify_close(&node->notify);
    fleet_monitor_close(&node->monitor);
    run_folder_close(&node->folder);
    fleet_close(&node->fleet);
    arena_destroy(&node->arena);
    config_destroy(&node->config);
}

static enum status prepare(struct node *node)
{
    TRY(file_path(node->run_path, "%s", node->request->run_folder));
    for (size_t end = strlen(node->run_path); end > 1 && node->run_path[end - 1] == '/'; end--)
        node->run_path[end - 1] = 0;
    TRY(arena_create(&node->arena, ARENA_BYTES_MAX));
    signals_block(); /* the supervisor reads them, once there is a run to join */
    TRY(await_run(node));
    return open_folder(node);
}

static int failed(const struct node *node, enum status status)
{
    if (status == STATUS_CANCELLED)
        return node->evicted ? node->request->drained_code : EXIT_CODE_OK;
    fprintf(stderr, "weir node: %s\n", error_sentence());
    return status == STATUS_INVALID ? EXIT_CODE_USAGE
           : status == STATUS_LIMIT ? EXIT_CODE_DEPENDENCY
                                    : program_exit_code(status);
}

static void print_end(const struct node *node)
{
    const char *why = node->supervisor.why;
    bool taken = strstr(why, "another index") != NULL; /* the store's words */
    print_line("node %s has ended%s%s%s", node->request->name, why[0] != 0 ? ": " : "", why,
               taken ? "; --first-index and --first-reward choose others" : "");
}

int node_run(const struct node_request *request)
{
    static struct node node; /* large */
    output_guard();
    node = (struct node){.request = request, .folder = {.lock_fd = -1}, .notify = {.fd = -1}};
    enum status status = prepare(&node);
    if (status == STATUS_OK)
        status = start(&node);
    if (status != STATUS_OK) {
        int code = failed(&node, status);
        release(&node);
        return code;
    }
    int code = supervisor_run(&node.supervisor);
    output_be_patient(LAST_WORDS_MS);
    if (code == EXIT_CODE_OK && node.supervisor.evicted)
        code = request->drained_code;
    bool again = node.begin_again;
    if (!again)
        print_end(&node);
    if (again) { /* lock and sockets close at exec */
        fleet_monitor_close(&node.monitor);
        execve("/proc/self/exe", request->arguments, node.environment);
        fprintf(stderr, "weir node: cannot begin again: %s\n", strerror(errno));
        code = EXIT_CODE_FAILED;
    }
    release(&node);
    return code;
}
