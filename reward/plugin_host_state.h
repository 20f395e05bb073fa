/* reward/plugin_host_state.h - what the host remembers; private to plugin_host*.c.
 *
 * Three kinds of threads. The caller's hands jobs in and takes them out. The crew (reward.threads) is inside the
 * plugin's submit. The watchman opens changed files beside the running instance. The mutex guards everything below it
 * and the score and detail of jobs inside; only LOCK_WAIT is taken in it. */
#ifndef REWARD_PLUGIN_HOST_STATE_H
#define REWARD_PLUGIN_HOST_STATE_H

#include <pthread.h>

#include "core/queue.h"
#include "reward/plugin_host.h"
#include "reward/plugin_instance.h"

enum slot_state {
    SLOT_FREE,
    SLOT_GATHERED, /* waits for the other samples of its group */
    SLOT_QUEUED,
    SLOT_SUBMITTING, /* a thread of the crew is inside submit with it */
    SLOT_RETRYING,   /* between two submits, after EAGAIN */
    SLOT_WAITING,    /* submit returned 0, the answer is to come */
    SLOT_DONE,       /* in the queue of results */
    SLOT_HELD        /* handed out as expired, but submit has not returned */
};

/* An instance and the jobs that were given to it: a newer one takes new jobs while this one finishes its own. */
struct generation {
    struct plugin_instance *plugin;
    struct generation *next; /* older ones that still have jobs */
    pthread_mutex_t turn;    /* one submit at a time unless the plugin is THREADSAFE */
    uint32_t jobs;
};

/* A job inside the host. Plugins know it by its id only: id % slot_count is its index, and an id is never
 * used again, so an answer that comes too late or twice meets nobody. */
struct slot {
    enum slot_state state;
    bool answered;
    uint64_t id;
    struct plugin_job *job;
    struct generation *generation;
    int64_t deadline_ns;
};

/* Samples of one group that wait for the rest. */
struct gathering {
    struct gathering *next;
    struct plugin_job *first; /* chained by plugin_job.next, in order of their samples */
    uint32_t count;
    int64_t deadline_ns;
};

struct plugin_host {
    struct reward_settings settings; /* texts owned */
    int64_t timeout_ns;
    struct queue *jobs, *results;
    pthread_t *crew; /* [crew_count] */
    uint32_t crew_count;
    pthread_t watchman;
    bool watched;
    bool stuck;        /* of the caller's thread */
    int64_t nudged_ns; /* likewise */

    pthread_mutex_t mutex;
    pthread_cond_t ended_condition, nudge;
    bool closing, nudged;
    uint32_t running; /* threads that have not ended */
    struct generation *current, *old;
    struct generation *loaded; /* takes over at the caller's next call */
    char event[PLUGIN_EVENT_MAX];
    struct slot *slots; /* [slot_count] */
    uint32_t slot_count;
    uint32_t *free_slots; /* [free_count] a stack of indices */
    uint32_t free_count;
    uint64_t serial;
    uint64_t late;
    struct gathering *gatherings;
    /* The search for expired slots: none expires before earliest_ns. scan_next_ns is what earliest_ns will
     * be when the pass that stands at scan_at is through. */
    int64_t earliest_ns, scan_next_ns;
    uint32_t scan_at;
};

/* ---- plugin_host.c; mutex held ---- */
struct slot *plugin_slot(struct plugin_host *host, uint64_t id);
void plugin_slot_watch(struct plugin_host *host, int64_t deadline_ns);
MUST_CHECK enum status plugin_generation_open(struct generation **generation,
                                              const struct reward_settings *settings);
void plugin_generation_close(struct generation **generation);

/* ---- plugin_host_crew.c, plugin_host_watch.c: bodies of threads ---- */
void *plugin_crew_thread(void *host);
void *plugin_watch_thread(void *host);
void plugin_thread_ended(struct plugin_host *host);

#endif
