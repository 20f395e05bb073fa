#include "ops/watch.h"

#include <stdio.h>
#include <string.h>

#include "core/clock.h"

static int64_t ms_since(const struct watch *watch, int64_t then_ns)
{
    return (watch->clock_ns - then_ns) / CLOCK_NS_PER_MS;
}

void watch_attend(struct watch *watch, int64_t now_ns)
{
    int64_t gap_ns = now_ns - watch->seen_ns;
    int64_t most_ns = (int64_t)WATCH_GAP_MS * CLOCK_NS_PER_MS;
    if (watch->clock_ns == 0)
        watch->clock_ns = 1;
    else if (gap_ns > 0)
        watch->clock_ns += gap_ns < most_ns ? gap_ns : most_ns;
    watch->seen_ns = now_ns;
}

bool watch_states(struct watch *watch, int64_t now_ns, struct process *processes, size_t count)
{
    if (now_ns - watch->states_ns < (int64_t)WATCH_EVERY_MS * CLOCK_NS_PER_MS)
        return false;
    watch->states_ns = now_ns;
    bool changed = false;
    for (size_t i = 0; i < count; i++) {
        struct process_health *health = &processes[i].health;
        if (processes[i].pid <= 0)
            continue;
        health->state = process_state(processes[i].pid);
        bool stopped = health->state == 'T', before = health->stopped_since_ns != 0;
        if (stopped != before)
            health->stopped_since_ns = stopped ? watch->clock_ns : 0;
        if (stopped != before && processes[i].duty == DUTY_STORE && watch->asked_ns != 0)
            watch->asked_ns = watch->clock_ns; /* while it was stopped it could not answer */
        changed |= stopped != before;
    }
    return changed;
}

void watch_asked(struct watch *watch)
{
    watch->fresh = false;
    if (watch->asked_ns == 0)
        watch->asked_ns = watch->clock_ns;
}

void watch_store_started(struct watch *watch)
{
    watch->answered = watch->fresh = false;
    watch->asked_ns = 0;
}

/* The process of ours that this peer is; NULL: none. */
static struct process *find_process(const json_t *peer, struct process *processes, size_t count)
{
    json_int_t pid = json_integer_value(json_object_get(peer, "pid"));
    for (size_t i = 0; i < count; i++) {
        char name[PROCESS_NAME_MAX];
        if (processes[i].pid <= 0 || processes[i].pid != pid)
            continue;
        const char *role = json_string_value(json_object_get(peer, "role"));
        snprintf(name, sizeof name, "%s.%lld", role != NULL ? role : "",
                 (long long)json_integer_value(json_object_get(peer, "index")));
        if (strcmp(name, processes[i].name) == 0)
            return &processes[i];
    }
    return NULL;
}

static bool take_peer(const struct watch *watch, struct process *process, const json_t *peer)
{
    struct process_health *health = &process->health;
    const json_t *connected = json_object_get(peer, "connected");
    bool away = json_is_false(connected), changed = !health->met || away != health->away;
    health->met = health->listed = true;
    health->silent_ms = json_integer_value(json_object_get(peer, "silent_ms"));
    if (away && !health->away)
        health->away_since_ns = watch->clock_ns;
    if (!away)
        health->away_since_ns = 0;
    health->away = away;
    return changed;
}

bool watch_answered(struct watch *watch, const json_t *status, struct process *processes,
                    size_t count)
{
    bool changed = false;
    watch->asked_ns = 0;
    watch->answered = watch->fresh = true;
    for (size_t i = 0; i < count; i++)
        processes[i].health.listed = false;
    size_t at;
    const json_t *peer;
    json_array_foreach(json_object_get(status, "peers"), at, peer)
    {
        struct process *process = find_process(peer, processes, count);
        if (process != NULL)
            changed |= take_peer(watch, process, peer);
    }
    for (size_t i = 0; i < count; i++) {
        struct process_health *health = &processes[i].health;
        if (health->listed)
            continue;
        changed |= health->away; /* not there yet, or a store that was started again forgot it */
        health->away = false;
        health->away_since_ns = health->silent_ms = 0;
    }
    return changed;
}

const char *watch_wrong(const struct watch *watch, const struct process *process, int64_t *since_ms)
{
    const struct process_health *health = &process->health;
    bool store = process->duty == DUTY_STORE;
    *since_ms = 0;
    if (process->pid <= 0 || health->state == 't')
        return NULL;
    if (health->stopped_since_ns != 0) {
        *since_ms = ms_since(watch, health->stopped_since_ns);
        return "stopped";
    }
    if (health->away_since_ns != 0) {
        *since_ms = ms_since(watch, health->away_since_ns);
        return "cut off";
    }
    if (store && watch->asked_ns != 0)
        *since_ms = ms_since(watch, watch->asked_ns);
    else if (!store)
        *since_ms = health->silent_ms;
    return *since_ms >= WATCH_SAY_MS ? "silent" : NULL;
}

static int64_t limit_ms(const struct watch *watch, const struct process *process, const char *wrong)
{
    bool patient = !watch->answered || process->health.state == 'D';
    if (strcmp(wrong, "silent") != 0)
        return watch->stopped_ms;
    return process->duty == DUTY_STORE && !patient ? watch->stopped_ms : watch->silent_ms;
}

/* A status that is older than the last question says nothing about now. */
static bool is_stale(const struct watch *watch, const struct process *process)
{
    return process->duty != DUTY_STORE && process->health.stopped_since_ns == 0 && !watch->fresh;
}

static void say_verdict(const struct process *process, const char *wrong, int64_t since_ms,
                        char *sentence, size_t size)
{
    const char *what = strcmp(wrong, "silent") != 0  ? "is stopped or cut off"
                       : process->duty == DUTY_STORE ? "is stopped or hangs, it answered nothing"
                                                     : "says nothing";
    snprintf(sentence, size, "%s (pid %ld) %s for %lld s%s: killed and started again",
             process->name, (long)process->pid, what, (long long)(since_ms / 1000),
             process->health.state == 'T' ? " (state T)" : "");
}

bool watch_judge(const struct watch *watch, struct process *process, char *sentence, size_t size)
{
    int64_t since_ms;
    sentence[0] = 0;
    const char *wrong = watch_wrong(watch, process, &since_ms);
    if (wrong == NULL) {
        if (process->health.said && process->pid > 0)
            snprintf(sentence, size, "%s (pid %ld) goes on", process->name, (long)process->pid);
        process->health.said = false;
        return false;
    }
    int64_t most_ms = limit_ms(watch, process, wrong);
    if (since_ms >= most_ms && !is_stale(watch, process)) {
        say_verdict(process, wrong, since_ms, sentence, size);
        return true;
    }
    bool brief = most_ms == watch->stopped_ms; /* minutes of computing are no news */
    if (brief && since_ms >= WATCH_SAY_MS && !process->health.said) {
        process->health.said = true;
        snprintf(sentence, size, "%s (pid %ld) is %s since %.1f s; it is killed in %.1f s",
                 process->name, (long)process->pid, wrong, (double)since_ms / 1e3,
                 (double)(most_ms - since_ms) / 1e3);
    }
    return false;
}
