/* ops/fleet_scale.c - workers come and go: scale.json, and how one leaves. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "ops/cmd.h"
#include "ops/fleet.h"

enum { DRAIN_ANSWER_MS = 1000 }; /* the store's answer to a drain; then SIGTERM does it */

bool fleet_scales(const struct process *process, const char *scaled)
{
    const char *name = fleet_scaled_name(process);
    return name != NULL && strcmp(name, scaled) == 0;
}

static bool is_wanted(const struct process *process)
{
    return process->place == PLACE_WANTED || process->again;
}

static void dismiss(struct fleet *fleet, struct process *process, int64_t now_ns)
{
    process->start_at_ns = process->say_out_at_ns = 0;
    if (process->again) {
        process->again = false;
    } else if (process->pid == 0) {
        process->place = PLACE_OUT;
    } else {
        process->place = PLACE_LEAVING;
        process->drain_asked = false;
        process->terminate_at_ns = clock_after_ms(now_ns, DRAIN_ANSWER_MS);
        process->kill_at_ns =
            clock_after_ms(now_ns, FLEET_DRAINED_MS + (int64_t)fleet->settings->run.drain_s * 1000);
    }
}

static void call_in(struct process *process, int64_t now_ns)
{
    process->say_out_at_ns = 0;
    process->fruitless = process->quick = 0;
    if (process->place == PLACE_LEAVING && process->pid > 0) {
        process->again = true;
    } else {
        process->place = PLACE_WANTED;
        process->start_at_ns = now_ns;
    }
}

static struct process *find(struct fleet *fleet, const char *name)
{
    for (size_t i = 0; i < fleet->count; i++)
        if (strcmp(fleet->processes[i].name, name) == 0)
            return &fleet->processes[i];
    return NULL;
}

/* A worker of another machine has the index, as far as the store knows. ours: a process that was here and has left; a
 * status from before that still lists it. */
static bool is_elsewhere(const json_t *status, const char *role, unsigned index, pid_t ours)
{
    size_t at;
    const json_t *peer;
    json_array_foreach(json_object_get(status, "peers"), at, peer)
    {
        const char *is = json_string_value(json_object_get(peer, "role"));
        if (is != NULL && strcmp(is, role) == 0 &&
            json_integer_value(json_object_get(peer, "index")) == (json_int_t)index &&
            (ours == 0 || json_integer_value(json_object_get(peer, "pid")) != (json_int_t)ours))
            return true;
    }
    return false;
}

/* The lowest index that is not at work, here or elsewhere. */
static enum status grow(struct fleet *fleet, const json_t *status, const char *role, int64_t now_ns)
{
    unsigned index = strcmp(role, ROLE_NAME_ACTOR) == 0 ? fleet->first_actor : fleet->first_reward;
    for (;; index++) {
        char name[PROCESS_NAME_MAX];
        snprintf(name, sizeof name, "%s.%u", role, index);
        struct process *process = find(fleet, name);
        if (process != NULL && is_wanted(process))
            continue;
        if ((process == NULL || process->pid == 0) &&
            is_elsewhere(status, role, index, process != NULL ? process->last_pid : 0))
            continue;
        if (process == NULL)
            TRY(fleet_add(fleet, role, index, DUTY_WORKER));
        call_in(find(fleet, name), now_ns);
        return STATUS_OK;
    }
}

static unsigned index_of(const struct process *process)
{
    const char *dot = strrchr(process->name, '.');
    unsigned index = 0;
    for (const char *at = dot != NULL ? dot + 1 : ""; *at >= '0' && *at <= '9'; at++)
        index = index * 10 + (unsigned)(*at - '0');
    return index;
}

static void shrink(struct fleet *fleet, const char *scaled, int64_t now_ns)
{
    struct process *last = NULL;
    for (size_t i = 0; i < fleet->count; i++) {
        struct process *process = &fleet->processes[i];
        if (fleet_scales(process, scaled) && is_wanted(process) &&
            (last == NULL || index_of(process) > index_of(last)))
            last = process;
    }
    if (last != NULL)
        dismiss(fleet, last, now_ns);
}

static enum status scale(struct fleet *fleet, const char *scaled, const char *role, int wanted,
                         int64_t now_ns)
{
    int present = 0;
    for (size_t i = 0; i < fleet->count; i++)
        present += fleet_scales(&fleet->processes[i], scaled) && is_wanted(&fleet->processes[i]);
    json_t *status = present < wanted ? json_loadb((const char *)fleet->status.bytes,
                                                   fleet->status.size, 0, NULL)
                                      : NULL; /* NULL: nobody is known to be elsewhere */
    enum status grown = STATUS_OK;
    for (; wanted != SCALE_AS_IT_IS && present < wanted && grown == STATUS_OK; present++)
        grown = grow(fleet, status, role, now_ns);
    json_decref(status);
    TRY(grown);
    for (; wanted != SCALE_AS_IT_IS && present > wanted; present--)
        shrink(fleet, scaled, now_ns);
    return STATUS_OK;
}

static void apply(struct fleet *fleet, struct supervisor *supervisor, const struct scale_wish *wish,
                  int64_t now_ns)
{
    for (size_t i = 0; i < wish->drain_count; i++) {
        struct process *process = find(fleet, wish->drain[i]);
        if (process != NULL && fleet_scaled_name(process) != NULL && is_wanted(process))
            dismiss(fleet, process, now_ns);
    }
    enum status status = scale(fleet, "actors", ROLE_NAME_ACTOR, wish->actors, now_ns);
    if (status == STATUS_OK)
        status = scale(fleet, "reward_workers", ROLE_NAME_REWARD, wish->reward_workers, now_ns);
    if (status != STATUS_OK)
        supervisor->hooks.say(supervisor->hooks.self, error_sentence());
    fleet->applied = wish->request;
    supervisor->processes = fleet->processes;
    supervisor->count = fleet->count;
    supervisor->changed = true;
}

void fleet_look_at_scale(struct fleet *fleet, struct supervisor *supervisor, int64_t now_ns)
{
    char path[FILE_PATH_MAX];
    struct stat info;
    static struct scale_wish wish;
    if (supervisor->phase != PHASE_RUNNING || fleet->unpublished ||
        file_path(path, "%s/scale.json", fleet->folder->path) != STATUS_OK ||
        stat(path, &info) != 0)
        return;
    int64_t seen[4] = {info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size,
                       (int64_t)info.st_ino};
    if (memcmp(seen, fleet->scale_seen, sizeof seen) == 0)
        return;
    memcpy(fleet->scale_seen, seen, sizeof seen);
    if (scale_file_read(fleet->folder->path, &wish) != STATUS_OK)
        supervisor->hooks.say(supervisor->hooks.self, error_sentence());
    else if (wish.request > fleet->applied)
        apply(fleet, supervisor, &wish, now_ns);
}

void fleet_enforce_leaving(struct fleet *fleet, int64_t now_ns)
{
    for (size_t i = 0; i < fleet->count; i++) {
        struct process *process = &fleet->processes[i];
        if (process->place != PLACE_LEAVING || process->pid == 0)
            continue;
        if (process->terminate_at_ns != 0 && now_ns >= process->terminate_at_ns) {
            process->terminate_at_ns = 0;
            process_signal(process, SIGTERM);
        }
        if (process->kill_at_ns != 0 && now_ns >= process->kill_at_ns) {
            process->kill_at_ns = 0;
            process_signal(process, SIGKILL);
        }
    }
}
