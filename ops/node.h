/* ops/node.h - the supervisor of one more machine of a run: actors and reward workers only, their store is elsewhere.
 *
 *     weir node runs/a --actors 4
 *
 * It shares the run folder with `weir run`, or has a copy of config.resolved.yaml and gets --endpoint. From the folder it
 * takes the settings and FOLDER/endpoint (ops/endpoint_file.h); it waits for both. Its workers are started, watched and
 * started again by the same rules as those of `weir run` (ops/supervisor.h). What is its own lies in FOLDER/nodes/NAME:
 * lock, processes.json, scale.json and config.resolved.yaml with its overrides; logs are logs/latest/NAME-actor.3.log.
 *
 * Indices, which nobody else of the run may use: actors begin at --first-index, else at run.actors + P x actors, where P
 * is SLURM_PROCID or 0; reward workers likewise. The store refuses a second process of one index, which ends the node with
 * 4: another index must be chosen.
 *
 * Its end: 0 when all its workers have left (the run ended, they were drained, SIGTERM), or when meta.json says that the
 * run is over. 5 when the store was silent for run.silent_s. When FOLDER/endpoint names another address or meta.json
 * another attempt, because the run was started again, the node begins again with its settings. One thread. */
#ifndef OPS_NODE_H
#define OPS_NODE_H

#include "ops/fleet.h"
#include "ops/notify.h"

enum { NODE_NAME_MAX = 64, NODE_WAIT_S = 600 };

struct node_request {
    const char *run_folder;
    const char *endpoint;                   /* NULL: FOLDER/endpoint */
    char name[NODE_NAME_MAX];               /* "": SLURMD_NODENAME, else the host's */
    long actors, reward_workers;            /* -1: 1 actor, no reward worker */
    long first_index, first_reward, wait_s; /* -1: by the rules above; NODE_WAIT_S */
    int drained_code;                       /* exit code in place of 0 when SIGTERM ended it */
    const char *overrides[PROGRAM_OVERRIDES_MAX];
    size_t override_count;
    char **arguments; /* borrowed: argv of the process, to begin again with */
};

/* The whole life of a node. Exit code; it has printed why. */
int node_run(const struct node_request *request);

#endif
