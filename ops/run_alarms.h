/* ops/run_alarms.h - the alarms of core/alert_rules.h that no step shows, because there is none: the supervisor's.
 *
 *     no_step    no step for alerts.no_step_s, while the supervisor itself ran
 *     disk       less than alerts.disk_free of the run folder's disk is free
 *     errored    more than alerts.errored of RUN_ALARM_SCORES answers of reward workers had to be asked for again
 *     heartbeat  a process is stopped, cut off or silent (ops/watch.h)
 *
 * Each is said once when it begins and once when it is over: on the screen, as an event of kind alarm in Redis, and as a
 * line of RUN/alarms.jsonl {"time_ms","name","text","over"}, which `weir doctor` reads. A death is noted beside them, as an
 * event of kind death and a line {"time_ms","kind":"death","text"}. One thread; never waits. */
#ifndef OPS_RUN_ALARMS_H
#define OPS_RUN_ALARMS_H

#include <jansson.h>
#include "core/alert_rules.h"
#include "ops/supervisor.h"
#include "transport/redis_view.h"

enum { RUN_ALARM_SCORES = 200, RUN_ALARM_EVERY_MS = 1000, RUN_ALARM_DISK_MS = 10000 };

struct run_alarms {
    const struct settings *settings; /* borrowed */
    const char *folder;              /* borrowed */
    struct redis_view *redis;        /* borrowed; NULL: none */
    void (*say)(void *self, const char *line);
    void *self;
    bool raised[ALERT_COUNT];
    int64_t next_ns, disk_ns;
    uint64_t steps;           /* seen at the last look */
    int64_t step_clock_ns;    /* attention time (ops/watch.h) of the last step; 0: not begun */
    uint64_t scored, retried; /* where the window of scores begins */
    bool write_failed;
};

/* What one look of the supervisor shows; tests make it up. */
struct run_alarm_view {
    const struct watch *watch;
    const struct process *processes;
    size_t count;
    const char *status_json; /* the store's last answer; NULL: none */
    uint64_t steps;          /* of metrics.jsonl so far */
    bool running;            /* the run is not ending */
};

/* A line of alarms.jsonl, or the alarm of a line of metrics.jsonl, as an event {"time_ms","kind","text"}: a new reference.
 * NULL: it is none, or has none. */
json_t *run_alarms_event(const json_t *line);
json_t *run_alarms_of_step(const json_t *line);
void run_alarms_tick(struct run_alarms *alarms, const struct run_alarm_view *view, int64_t now_ns);
/* text: process and cause. */
void run_alarms_death(struct run_alarms *alarms, const char *text);
/* Raises when `crossed` and not raised yet, says that it is over when it was; `text` is the sentence. For tests, too. */
void run_alarms_set(struct run_alarms *alarms, enum alert_id id, bool crossed, const char *text);

#endif
