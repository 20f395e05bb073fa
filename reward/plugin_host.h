/* reward/plugin_host.h - loads a reward plugin and calls it on threads of its own.
 *
 * Every item that goes in comes out of plugin_host_take once: answered, or with SCORE_TIMEOUT when
 * reward.timeout_ms has passed since the plugin was first given it. A submit that says EAGAIN is called
 * again until then. A submit call that does not return in time makes the host `stuck`: a thread cannot be
 * killed, so the worker reports and exits to be started anew. Answers that nobody waits for any more (too
 * late, given twice, unknown) are counted and dropped. The caller's functions belong to one thread.
 *
 * reward.threads submit calls run at a time when the plugin says THREADSAFE, else one. With BATCH up to reward.batch
 * items go into one call; with GROUP an item waits, at most reward.timeout_ms, until all samples of its group are here.
 * With reward.reload a plugin whose file changes is opened anew beside the old one: new items go to the new instance,
 * the old one finishes what it has. */
#ifndef REWARD_PLUGIN_HOST_H
#define REWARD_PLUGIN_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"
#include "proto/messages.h"
#include "reward/weir_reward.h"

enum { PLUGIN_EVENT_MAX = 1024 };

struct plugin_host;
struct generation;

/* What the caller hands in and gets back: one item with everything it points to. */
struct plugin_job {
    weir_reward_item item; /* item_id and deadline_ns are the host's */
    struct score score;    /* out: status, value and scorer; the rest stays */
    char *detail;          /* out, owned: memory_free */
    void *storage;         /* owned by the caller: what item points to */
    int64_t submitted_ns;
    bool unwanted;           /* the caller's: it is here for the other samples of its group only */
    bool held;               /* out: the stuck plugin still reads it; plugin_host_close drops it */
    struct plugin_job *next; /* the host's: of its group */
    struct generation *generation; /* the host's */
};

/* What is left at the end: jobs that were not taken, and held ones. */
typedef void (*plugin_drop_fn)(struct plugin_job *job);

/* Errors of plugin_instance_open. */
MUST_CHECK enum status plugin_host_open(struct plugin_host **host,
                                        const struct reward_settings *settings);
/* Waits for a running submit at most timeout_ms or 5 s. When it does not return, host and jobs are left
 * where they are (the process is about to exit) and drop is not called. drop NULL: nothing was submitted. */
void plugin_host_close(struct plugin_host **host, plugin_drop_fn drop);
/* LIMIT: twice reward.queue jobs are inside (room for a store that was restarted and asks again). */
MUST_CHECK enum status plugin_host_submit(struct plugin_host *host, struct plugin_job *job);
/* Next finished or expired job, NULL when none. Call it several times a second: it also drives hot reload. */
struct plugin_job *plugin_host_take(struct plugin_host *host, int64_t now_ns);

/* Of the instance that takes new jobs. It changes in plugin_host_take only. */
uint64_t plugin_host_caps(const struct plugin_host *host);
uint64_t plugin_host_file_hash(const struct plugin_host *host);
const char *plugin_host_name(const struct plugin_host *host); /* "addition 1.0" */
/* Readable when an answered job waits; expired ones show in plugin_host_take only. */
int plugin_host_fd(const struct plugin_host *host);
bool plugin_host_stuck(const struct plugin_host *host); /* a submit call has passed its deadline */
uint64_t plugin_host_late(struct plugin_host *host);    /* answers dropped */
/* A JSON object about the last reload, once; false: nothing new. */
bool plugin_host_event(struct plugin_host *host, char json[PLUGIN_EVENT_MAX]);

#endif
