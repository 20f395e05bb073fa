/* ops/fleet_monitor.h - what a supervisor (of `weir run` or of a node) tells Prometheus: which processes of the run are up, how often they were
 * started again, how many workers are wanted; and RUN/targets.json, by which Prometheus finds them all (file_sd).
 *
 * A process publishes its address in RUN/http/NAME (transport/monitor.h). targets.json has those of our processes that
 * live, those of other machines that share the folder, and our own; it is written whole, and only when it changed:
 *
 *     [{"targets":["127.0.0.1:41234"],"labels":{"run":"a","process":"actor.0","role":"actor"}}, ...]
 *
 * At the end of the run it is the empty list. The same stands beside the folder, RUN.targets.json, while the run goes on:
 * Prometheus allows a wildcard in a file's name (in runs/, everything that ends in .targets.json), in a folder's it does not.
 * The supervisor of a node, process "node.NAME", only publishes itself: the list is the run's. One thread. */
#ifndef OPS_FLEET_MONITOR_H
#define OPS_FLEET_MONITOR_H

#include "ops/fleet.h"
#include "transport/monitor.h"

// clang-format off
/*      kind     name            path                            unit         meaning */
#define SUPERVISOR_METRICS(ROW)                                                                                        \
    ROW(GAUGE,   processes,      "supervisor/processes",         "",          "Processes of ours that run.")           \
    ROW(COUNTER, restarts,       "supervisor/restarts",          "",          "Processes started again.")              \
    ROW(GAUGE,   actors_wanted,  "supervisor/actors_wanted",     "",          "Actors that shall run here.")           \
    ROW(GAUGE,   rewards_wanted, "supervisor/rewards_wanted",    "",          "Reward workers that shall run here.")   \
    ROW(GAUGE,   disk_free,      "supervisor/disk_free_bytes",   "bytes",     "Free on the disk of the run folder.")   \
    ROW(GAUGE,   disk_size,      "supervisor/disk_size_bytes",   "bytes",     "Size of that disk.")                    \
    ROW(GAUGE,   ending,         "supervisor/ending",            "",          "1: the run is being ended.")
// clang-format on

struct supervisor_metrics {
    SUPERVISOR_METRICS(METRIC_MEMBER)
};
const struct metric_row *supervisor_metrics_table(size_t *count);

struct fleet_monitor {
    struct monitor *monitor;
    struct supervisor_metrics metrics;
    const struct fleet *fleet;  /* borrowed */
    char folder[FILE_PATH_MAX]; /* of the run */
    bool lists;                 /* writes targets.json */
    struct buffer targets;      /* as last written */
    int64_t next_ns, look_ns;
    struct timespec looked; /* time of RUN/http when it was read last, and how many of ours ran */
    size_t looked_running;
    bool failed; /* said once */
};

/* node: its name, NULL for the run's own supervisor, which removes what an attempt before left in RUN/http, but
 * addresses of other machines. What cannot be had is logged: the run goes on without. */
void fleet_monitor_open(struct fleet_monitor *view, const struct fleet *fleet, const char *node);
void fleet_monitor_tick(struct fleet_monitor *view, const struct supervisor *supervisor,
                        int64_t now_ns);
/* How many workers take part, of fleet->count: /ready of a node. */
void fleet_monitor_joined(struct fleet_monitor *view, unsigned joined);
void fleet_monitor_close(struct fleet_monitor *view); /* a zeroed one is fine */

#endif
