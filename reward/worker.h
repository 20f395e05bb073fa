/* reward/worker.h - a reward worker: finished rollouts in, statuses and values out.
 *
 * It decodes token ids to text (ids are the truth), calls one plugin, and sends results until the store
 * acknowledges them. Nothing it does can hold up the learner: a stuck plugin ends this worker only. */
#ifndef REWARD_WORKER_H
#define REWARD_WORKER_H

#include <stdatomic.h>

#include "core/settings.h"

struct reward_worker;

struct monitor;
struct reward_worker_options {
    const struct settings *settings; /* borrowed */
    const char *endpoint, *run;
    uint32_t index;
    struct monitor *monitor; /* borrowed; NULL: none */
};

MUST_CHECK enum status reward_worker_create(struct reward_worker **worker,
                                            const struct reward_worker_options *options);
void reward_worker_destroy(struct reward_worker **worker);
/* TIMEOUT: the plugin is stuck; its item was reported, the process must exit and be started anew. */
MUST_CHECK enum status reward_worker_run(struct reward_worker *worker, atomic_int *stop_signals);

#endif
