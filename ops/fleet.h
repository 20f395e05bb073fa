/* ops/fleet.h - the processes of a run of this machine: which there are, which there should be.
 *
 * Lives beside the supervisor, which starts and ends them; fleet_tick is called by its tick:
 *   asks the store for its status every FLEET_ASK_MS and hands the answer to ops/watch.h,
 *   reads scale.json (ops/scale_file.h) when it changed: missing workers are started at the lowest free
 *   index, too many leave from the highest one,
 *   makes a leaving worker leave: the store drains it, then SIGTERM, then, after run.drain_s, SIGKILL,
 *   writes processes.json whole whenever anything changed, for `weir why`, `status`, `scale`:
 *
 *     {"run":"a","supervisor":12,"attempt":1,"applied":0,"wanted":{"actors":2,"reward_workers":1},
 *      "processes":[{"name":"actor.0","pid":77,"state":"running","joined":true,"restarts":0,
 *                    "started":"...","end":""}]}
 *
 *   state: running, joining (not known to the store yet), stopped, "cut off", silent, waiting (for its
 *   next start), leaving, out, ended. With stopped, cut off and silent comes since_ms, and in "clock_ms"
 *   the monotonic time of writing. The learner and the store are never scaled.
 *
 * One thread. */
#ifndef OPS_FLEET_H
#define OPS_FLEET_H

#include "core/arena.h"
#include "core/settings.h"
#include "ops/run_folder.h"
#include "ops/scale_file.h"
#include "ops/store_query.h"
#include "ops/supervisor.h"

enum {
    FLEET_ASK_MS = 250,
    FLEET_DRAINED_MS = 3000 /* to hand back and say bye after the store's notice, before SIGTERM */
};

struct fleet {
    const struct settings *settings;    /* borrowed */
    const struct run_folder *folder;    /* borrowed */
    const char *config_path, *endpoint; /* borrowed */
    struct arena *arena;                /* borrowed; arguments of the processes */
    struct process *processes;
    size_t count, room;
    const char *run_path;   /* borrowed; of the run when `folder` is a node's; NULL: folder->path */
    const char *log_prefix; /* borrowed; of the workers' logs: "gen1-"; NULL: none */
    unsigned first_actor, first_reward; /* their lowest indices here */
    int64_t ask_ms;                     /* between two questions for the status */
    bool
        unpublished; /* the endpoint has an open port: all but store and Redis wait for FOLDER/endpoint */

    struct store_query *query;
    struct buffer status; /* the store's last answer; empty: none */
    struct buffer answer;
    enum fleet_question { ASKED_NOTHING, ASKED_STATUS, ASKED_DRAIN } asked;
    size_t asked_about;        /* the process of ASKED_DRAIN */
    uint32_t asked_reconnects; /* of the connection, when it was asked */
    int64_t asked_at_ns, next_ask_ns;
    uint64_t progress, last_sum; /* of the store's counters */
    uint32_t store_starts;       /* lives of the store when it was last asked */
    uint64_t answers;            /* of the store, so far */

    uint64_t applied;      /* the last request of scale.json that was done */
    int64_t scale_seen[4]; /* of scale.json when it was read: mtime s and ns, size, inode */
    bool write_failed;
};

/* Texts are borrowed for the run. fleet_close is fine after a failure. */
MUST_CHECK enum status fleet_open(struct fleet *fleet, const struct settings *settings,
                                  const struct run_folder *folder, const char *config_path,
                                  const char *endpoint, struct arena *arena);
void fleet_close(struct fleet *fleet);
/* A place that the caller fills (redis-server); the pointer is valid until the next call. */
MUST_CHECK enum status fleet_place(struct fleet *fleet, struct process **process);
/* Store, learner and workers as the settings say; nothing is started. With an open port all but the store and what
 * runs already (Redis) are held back until the store has published it. */
MUST_CHECK enum status fleet_add_all(struct fleet *fleet);
/* Does nothing while the endpoint is not published: fleet_tick does it then. */
MUST_CHECK enum status fleet_connect(struct fleet *fleet);
void fleet_tick(struct fleet *fleet, struct supervisor *supervisor, int64_t now_ns);
/* Sum of what the run got done, never smaller than before. */
uint64_t fleet_progress(const struct fleet *fleet);
/* Every process of ours that talks to the store has come to it. */
bool fleet_has_joined(const struct fleet *fleet);
const char *fleet_run_path(const struct fleet *fleet); /* the folder of the run */
/* A place for one more process, which is not started. */
MUST_CHECK enum status fleet_add(struct fleet *fleet, const char *role, unsigned index,
                                 enum process_duty duty);
/* ops/fleet_scale.c: does what scale.json asks when it changed; SIGTERM and SIGKILL for who leaves too slowly. */
void fleet_look_at_scale(struct fleet *fleet, struct supervisor *supervisor, int64_t now_ns);
void fleet_enforce_leaving(struct fleet *fleet, int64_t now_ns);
bool fleet_scales(const struct process *process, const char *scaled); /* "actors" */
/* ops/fleet_table.c: processes.json as text. */
MUST_CHECK enum status fleet_table_json(const struct fleet *fleet, const struct watch *watch,
                                        struct buffer *json);
/* "actors" or "reward_workers"; NULL for what is not scaled. */
const char *fleet_scaled_name(const struct process *process);

#endif
