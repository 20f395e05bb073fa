/* ops/fleet_table.c - processes.json: what the supervisor knows of its processes. */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/fleet.h"
#include "ops/run_meta.h"

const char *fleet_scaled_name(const struct process *process)
{
    if (strncmp(process->name, ROLE_NAME_ACTOR ".", sizeof ROLE_NAME_ACTOR) == 0)
        return "actors";
    if (strncmp(process->name, ROLE_NAME_REWARD ".", sizeof ROLE_NAME_REWARD) == 0)
        return "reward_workers";
    return NULL;
}

static const char *state_name(const struct watch *watch, const struct process *process,
                              int64_t *since_ms)
{
    *since_ms = -1;
    if (process->pid == 0) {
        if (process->place != PLACE_WANTED)
            return "out";
        return process->start_at_ns != 0 ? "waiting" : "ended";
    }
    int64_t wrong_ms;
    const char *wrong = watch_wrong(watch, process, &wrong_ms);
    if (wrong != NULL) {
        *since_ms = wrong_ms;
        return wrong;
    }
    if (process->place == PLACE_LEAVING)
        return "leaving";
    /* the other ranks of the learner talk to its first one only */
    bool is_peer = process->duty == DUTY_LEARNER || fleet_scaled_name(process) != NULL;
    return is_peer && !process->health.met ? "joining" : "running";
}

static enum status one_process(const struct watch *watch, const struct process *process,
                               struct buffer *json)
{
    char started[40] = "";
    time_t seconds = (time_t)(process->started_wall_ns / CLOCK_NS_PER_S);
    struct tm utc;
    if (process->starts > 0 && gmtime_r(&seconds, &utc) != NULL)
        strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    int64_t since_ms;
    const char *state = state_name(watch, process, &since_ms);
    TRY(buffer_text(json, "{\"name\":"));
    TRY(buffer_json_text(json, process->name));
    TRY(buffer_printf(json, ",\"pid\":%ld,\"state\":\"%s\"", (long)process->pid, state));
    if (since_ms >= 0)
        TRY(buffer_printf(json, ",\"since_ms\":%" PRId64, since_ms));
    TRY(buffer_printf(json, ",\"joined\":%s,\"restarts\":%" PRIu32 ",\"started\":\"%s\",\"end\":",
                      process->pid > 0 && process->health.met ? "true" : "false",
                      process->starts > 0 ? process->starts - 1 : 0, started));
    TRY(buffer_json_text(json, process->end));
    return buffer_text(json, "}");
}

bool fleet_has_joined(const struct fleet *fleet)
{
    bool all = fleet->count > 0;
    for (size_t i = 0; i < fleet->count; i++) {
        const struct process *process = &fleet->processes[i];
        if (process->place == PLACE_WANTED &&
            (process->duty == DUTY_LEARNER || fleet_scaled_name(process) != NULL))
            all = all && process->pid > 0 && process->health.met;
    }
    return all;
}

static unsigned count_wanted(const struct fleet *fleet, const char *scaled)
{
    unsigned count = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        const struct process *process = &fleet->processes[i];
        const char *name = fleet_scaled_name(process);
        count += name != NULL && strcmp(name, scaled) == 0 &&
                 (process->place == PLACE_WANTED || process->again);
    }
    return count;
}

enum status fleet_table_json(const struct fleet *fleet, const struct watch *watch,
                             struct buffer *json)
{
    char host[RUN_META_HOST_MAX] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = 0;
    TRY(buffer_text(json, "{\"run\":"));
    TRY(buffer_json_text(json, fleet->folder->name));
    TRY(buffer_text(json, ",\"host\":"));
    TRY(buffer_json_text(json, host));
    TRY(buffer_printf(
        json,
        ",\"supervisor\":%ld,\"attempt\":%u,\"clock_ms\":%" PRId64 ",\"applied\":%" PRIu64
        ",\"wanted\":{\"actors\":%u,\"reward_workers\":%u},\"processes\":[",
        (long)getpid(), fleet->folder->attempt, clock_now_ns() / CLOCK_NS_PER_MS, fleet->applied,
        count_wanted(fleet, "actors"), count_wanted(fleet, "reward_workers")));
    for (size_t i = 0; i < fleet->count; i++) {
        TRY(buffer_text(json, i > 0 ? ",\n" : "\n"));
        TRY(one_process(watch, &fleet->processes[i], json));
    }
    return buffer_text(json, "]}\n");
}
