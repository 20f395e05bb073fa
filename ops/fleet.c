#include "ops/fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/eval_schedule.h"
#include "core/memory.h"
#include "ops/cmd.h"
#include "ops/run_dash.h"
#include "ops/endpoint_file.h"

enum { ROOM_FIRST = 16 };

/* ---- places ---- */

enum status fleet_open(struct fleet *fleet, const struct settings *settings,
                       const struct run_folder *folder, const char *config_path,
                       const char *endpoint, struct arena *arena)
{
    *fleet = (struct fleet){.settings = settings,
                            .folder = folder,
                            .config_path = config_path,
                            .endpoint = endpoint,
                            .arena = arena,
                            .ask_ms = FLEET_ASK_MS,
                            .unpublished = endpoint_is_open(endpoint)};
    buffer_init(&fleet->status, 0);
    buffer_init(&fleet->answer, 0);
    scale_file_remove(folder->path); /* a run that goes on begins with its settings again */
    return STATUS_OK;
}

void fleet_close(struct fleet *fleet)
{
    store_query_close(&fleet->query);
    buffer_free(&fleet->status);
    buffer_free(&fleet->answer);
    memory_free(fleet->processes);
    fleet->processes = NULL;
    fleet->count = fleet->room = 0;
}

enum status fleet_place(struct fleet *fleet, struct process **process)
{
    if (fleet->count == fleet->room) {
        size_t room = fleet->room > 0 ? 2 * fleet->room : ROOM_FIRST;
        struct process *grown =
            memory_grow(fleet->processes, fleet->room * sizeof *grown, room * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "table of %zu processes", room);
        fleet->processes = grown;
        fleet->room = room;
    }
    *process = &fleet->processes[fleet->count++];
    return STATUS_OK;
}

const char *fleet_run_path(const struct fleet *fleet)
{
    return fleet->run_path != NULL ? fleet->run_path : fleet->folder->path;
}

enum status fleet_add(struct fleet *fleet, const char *role, unsigned index, enum process_duty duty)
{
    struct process made = {.duty = duty}, *place;
    char program[FILE_PATH_MAX], name[32], number[16], parent[16];
    snprintf(made.name, sizeof made.name, "%s.%u", role, index);
    snprintf(name, sizeof name, "weir-%s", role);
    snprintf(number, sizeof number, "%u", index);
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    TRY(program_path(name, program));
    TRY(file_path(made.log, "%s/%s%s.log", fleet->folder->logs,
                  fleet->log_prefix != NULL ? fleet->log_prefix : "", made.name));
    const char *const texts[] = {"--config",   fleet->config_path,
                                 "--run",      fleet->folder->name,
                                 "--folder",   fleet_run_path(fleet),
                                 "--endpoint", fleet->endpoint,
                                 "--index",    number,
                                 "--parent",   parent};
    size_t count = 0, texts_count = sizeof texts / sizeof texts[0];
    _Static_assert(sizeof texts / sizeof texts[0] + 2 < PROCESS_ARGUMENTS_MAX, "and the NULL");
    made.arguments[count++] = arena_text(fleet->arena, program);
    if (duty == DUTY_EVAL) /* weir-eval is a command, too */
        made.arguments[count++] = "--follow";
    for (size_t i = 0; i < texts_count; i++)
        made.arguments[count++] = arena_text(fleet->arena, texts[i]);
    for (size_t i = 0; i < count; i++)
        if (made.arguments[i] == NULL)
            return FAIL(STATUS_NO_MEMORY, "arguments of %s", made.name);
    TRY(fleet_place(fleet, &place));
    *place = made;
    return STATUS_OK;
}

enum status fleet_add_all(struct fleet *fleet)
{
    const struct settings *settings = fleet->settings;
    TRY(fleet_add(fleet, ROLE_NAME_STORE, 0, DUTY_STORE));
    TRY(fleet_add(fleet, ROLE_NAME_LEARNER, 0, DUTY_LEARNER));
    for (unsigned i = 1; i < settings->learner.ranks; i++)
        TRY(fleet_add(fleet, ROLE_NAME_LEARNER, i, DUTY_WORKER));
    for (unsigned i = 0; i < settings->run.actors; i++)
        TRY(fleet_add(fleet, ROLE_NAME_ACTOR, i, DUTY_WORKER));
    for (unsigned i = 0; i < settings->run.reward_workers; i++)
        TRY(fleet_add(fleet, ROLE_NAME_REWARD, i, DUTY_WORKER));
    if (eval_is_on(settings))
        TRY(fleet_add(fleet, ROLE_NAME_EVAL, 0, DUTY_EVAL));
    TRY(run_dash_add(fleet));
    for (size_t i = 0; i < fleet->count && fleet->unpublished; i++)
        if (fleet->processes[i].duty != DUTY_STORE && fleet->processes[i].pid == 0)
            fleet->processes[i].start_at_ns = PROCESS_HELD;
    return STATUS_OK;
}

/* ---- a port that the store chose ---- */

static enum status set_endpoint(struct fleet *fleet, struct process *process, const char *endpoint)
{
    for (size_t i = 0; i + 1 < PROCESS_ARGUMENTS_MAX && process->arguments[i] != NULL; i++) {
        if (strcmp(process->arguments[i], "--endpoint") != 0)
            continue;
        process->arguments[i + 1] = arena_text(fleet->arena, endpoint);
        return process->arguments[i + 1] != NULL
                   ? STATUS_OK
                   : FAIL(STATUS_NO_MEMORY, "endpoint of %s", process->name);
    }
    return STATUS_OK;
}

/* The store keeps its port from now on: links of other machines find it again after it was started again. */
static enum status take_published(struct fleet *fleet, const char *published, int64_t now_ns)
{
    char here[FILE_PATH_MAX], bound[FILE_PATH_MAX];
    TRY(endpoint_for_here(fleet->endpoint, published, here));
    TRY(endpoint_with_port(fleet->endpoint, published, bound));
    for (size_t i = 0; i < fleet->count; i++) {
        struct process *process = &fleet->processes[i];
        TRY(set_endpoint(fleet, process, process->duty == DUTY_STORE ? bound : here));
        if (process->start_at_ns == PROCESS_HELD)
            process->start_at_ns = now_ns;
    }
    fleet->endpoint = arena_text(fleet->arena, here);
    if (fleet->endpoint == NULL)
        return FAIL(STATUS_NO_MEMORY, "endpoint of the store");
    fleet->unpublished = false;
    return fleet_connect(fleet);
}

static void look_for_endpoint(struct fleet *fleet, struct supervisor *supervisor, int64_t now_ns)
{
    char published[FILE_PATH_MAX];
    enum status status = endpoint_file_read(fleet->folder->path, published);
    if (status == STATUS_OK && take_published(fleet, published, now_ns) != STATUS_OK)
        supervisor_end(supervisor, now_ns, EXIT_CODE_FAILED, error_sentence());
    else if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        supervisor->hooks.say(supervisor->hooks.self, error_sentence());
    supervisor->changed |= !fleet->unpublished;
}

/* ---- questions ---- */

enum status fleet_connect(struct fleet *fleet)
{
    if (fleet->unpublished)
        return STATUS_OK;
    return store_query_open(&fleet->query, fleet->endpoint, fleet->folder->name,
                            fleet->settings->run.keys);
}

/* A store that was started again may have lost a counter's last part: only what grows counts. */
static void take_progress(struct fleet *fleet, const json_t *status)
{
    static const char *const keys[] = {"tokens", "rollouts_scored", "version"};
    const json_t *counters = json_object_get(status, "counters");
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        sum += (uint64_t)json_integer_value(json_object_get(counters, keys[i]));
    if (sum > fleet->last_sum)
        fleet->progress += sum - fleet->last_sum;
    fleet->last_sum = sum;
}

uint64_t fleet_progress(const struct fleet *fleet)
{
    return fleet->progress;
}

static void take_status(struct fleet *fleet, struct supervisor *supervisor)
{
    json_t *status = json_loadb((const char *)fleet->answer.bytes, fleet->answer.size, 0, NULL);
    if (status == NULL)
        return;
    fleet->answers++;
    take_progress(fleet, status);
    supervisor->changed |=
        watch_answered(&supervisor->watch, status, fleet->processes, fleet->count);
    json_decref(status);
    struct buffer last = fleet->status;
    fleet->status = fleet->answer;
    fleet->answer = last;
}

/* A store that refuses (it does not know the process) leaves it to SIGTERM. A reward worker takes the store's notice
 * for the end of the run, in which it has to wait for what actors still finish: SIGTERM says that it is meant alone. */
static void take_drained(struct fleet *fleet, bool ok, int64_t now_ns)
{
    struct process *process = &fleet->processes[fleet->asked_about];
    if (process->place == PLACE_LEAVING && process->terminate_at_ns != 0)
        process->terminate_at_ns = ok && fleet_scales(process, "actors")
                                       ? clock_after_ms(now_ns, FLEET_DRAINED_MS)
                                       : now_ns;
}

/* With its connection, or in a way that we do not know of; a busy store is not asked twice for that. */
static bool is_lost(const struct fleet *fleet, int64_t now_ns)
{
    int64_t patience_ns = (int64_t)fleet->settings->run.stopped_s * CLOCK_NS_PER_S / 2;
    return store_query_reconnects(fleet->query) != fleet->asked_reconnects ||
           now_ns - fleet->asked_at_ns > patience_ns;
}

static void take_answer(struct fleet *fleet, struct supervisor *supervisor, int64_t now_ns)
{
    enum status status = store_query_take(fleet->query, 0, &fleet->answer);
    if (fleet->asked == ASKED_NOTHING)
        return; /* it only kept the connection */
    if (status == STATUS_AGAIN) {
        if (is_lost(fleet, now_ns)) {
            fleet->asked = ASKED_NOTHING; /* ask again */
            fleet->next_ask_ns = 0;
            buffer_clear(&fleet->status); /* what it said is no longer so */
        }
        return;
    }
    if (fleet->asked == ASKED_STATUS && status == STATUS_OK)
        take_status(fleet, supervisor);
    else if (fleet->asked == ASKED_DRAIN)
        take_drained(fleet, status == STATUS_OK, now_ns);
    else
        buffer_clear(&fleet->status);
    fleet->asked = ASKED_NOTHING;
}

static void ask_drain(struct fleet *fleet, size_t index, int64_t now_ns)
{
    char arguments[128];
    snprintf(arguments, sizeof arguments, "{\"process\":\"%s\"}", fleet->processes[index].name);
    if (store_query_start(fleet->query, "drain", arguments) != STATUS_OK)
        return; /* SIGTERM comes without it */
    fleet->processes[index].drain_asked = true;
    fleet->asked = ASKED_DRAIN;
    fleet->asked_about = index;
    fleet->asked_at_ns = now_ns;
    fleet->asked_reconnects = store_query_reconnects(fleet->query);
}

static void ask(struct fleet *fleet, struct supervisor *supervisor, int64_t now_ns)
{
    for (size_t i = 0; i < fleet->count && fleet->asked == ASKED_NOTHING; i++) {
        const struct process *process = &fleet->processes[i];
        if (process->place == PLACE_LEAVING && process->pid > 0 && !process->drain_asked &&
            process->health.met)
            ask_drain(fleet, i, now_ns);
    }
    if (fleet->asked != ASKED_NOTHING || now_ns < fleet->next_ask_ns)
        return;
    watch_asked(&supervisor->watch); /* not even reached counts as not answered */
    if (store_query_start(fleet->query, "status", "{}") != STATUS_OK)
        return; /* no connection yet */
    fleet->next_ask_ns = clock_after_ms(now_ns, fleet->ask_ms);
    fleet->asked = ASKED_STATUS;
    fleet->asked_at_ns = now_ns;
    fleet->asked_reconnects = store_query_reconnects(fleet->query);
}

/* What was asked of a store that died is asked again at once. */
static void follow_store(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++) {
        if (fleet->processes[i].duty != DUTY_STORE ||
            fleet->processes[i].starts == fleet->store_starts)
            continue;
        fleet->store_starts = fleet->processes[i].starts;
        fleet->asked = ASKED_NOTHING;
        fleet->next_ask_ns = 0;
    }
}

/* ---- the table ---- */

/* Whole or absent, and not synced: it is worth nothing after the supervisor, and must not wait for a slow disk. */
static enum status write_table(const struct fleet *fleet, const struct watch *watch)
{
    char path[FILE_PATH_MAX], made[FILE_PATH_MAX];
    struct buffer json;
    int fd = -1;
    buffer_init(&json, 0);
    enum status status;
    TRY_GOTO(out, fleet_table_json(fleet, watch, &json));
    TRY_GOTO(out, file_path(path, "%s/processes.json", fleet->folder->path));
    TRY_GOTO(out, file_path(made, "%s.new", path));
    fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        status = FAIL(STATUS_IO, "%s: %s", made, strerror(errno));
    else
        status = file_write_all(fd, json.bytes, json.size, made);
    if (status == STATUS_OK && rename(made, path) != 0)
        status = FAIL(STATUS_IO, "%s: rename: %s", path, strerror(errno));
out:
    if (fd >= 0)
        close(fd);
    buffer_free(&json);
    return status;
}

void fleet_tick(struct fleet *fleet, struct supervisor *supervisor, int64_t now_ns)
{
    if (fleet->unpublished && supervisor->phase == PHASE_RUNNING)
        look_for_endpoint(fleet, supervisor, now_ns);
    if (fleet->query != NULL)
        take_answer(fleet, supervisor, now_ns);
    follow_store(fleet);
    fleet_look_at_scale(fleet, supervisor, now_ns);
    fleet_enforce_leaving(fleet, now_ns);
    if (fleet->query != NULL)
        ask(fleet, supervisor, now_ns);
    if (!supervisor->changed)
        return;
    supervisor->changed = false;
    bool failed = write_table(fleet, &supervisor->watch) != STATUS_OK;
    if (failed && !fleet->write_failed)
        supervisor->hooks.say(supervisor->hooks.self, error_sentence());
    fleet->write_failed = failed;
}
