/* reward/plugin_host.h - loads a reward plugin and calls it on a thread of its own.
 *
 * The shared object is copied to memory before it is opened, so a rebuild does not change running code.
 * Refused with a sentence: no such file, no weir_reward_query, another major version (both printed), structs
 * that are too small. The host enforces deadlines itself: a plugin that does not answer costs its item a
 * TIMEOUT, and the worker, which cannot kill a thread, reports and exits to be started anew. */
#ifndef REWARD_PLUGIN_HOST_H
#define REWARD_PLUGIN_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"
#include "proto/messages.h"
#include "reward/weir_reward.h"

struct plugin_host;

/* What the caller hands in and gets back: one item with everything it points to. */
struct plugin_job {
    weir_reward_item item;
    struct score score; /* out */
    char *detail;       /* out, owned: memory_free */
    void *storage;      /* owned by the caller: what item points to */
    int64_t submitted_ns;
    bool answered, late;
};

MUST_CHECK enum status plugin_host_open(struct plugin_host **host,
                                        const struct reward_settings *settings);
/* Must not be called while plugin_host_stuck(): the thread would never join. */
void plugin_host_close(struct plugin_host **host);
uint64_t plugin_host_caps(const struct plugin_host *host);
uint64_t plugin_host_file_hash(const struct plugin_host *host);
const char *plugin_host_name(const struct plugin_host *host); /* "addition 1.0" */
MUST_CHECK enum status plugin_host_submit(struct plugin_host *host,
                                          struct plugin_job *job); /* LIMIT: the queue is full */
/* Next finished job, NULL when none. Jobs whose deadline passed come back with TIMEOUT. */
struct plugin_job *plugin_host_take(struct plugin_host *host, int64_t now_ns);
int plugin_host_fd(
    const struct plugin_host *host); /* readable when plugin_host_take has something */
bool plugin_host_stuck(const struct plugin_host *host); /* a submit call has passed its deadline */
uint64_t plugin_host_late(const struct plugin_host *host);

#endif
