/* reward/plugin_host.c - the caller's side of the host: jobs in, jobs out, life. */
#include "reward/plugin_host.h"

#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "reward/plugin_host_state.h"

enum { CLOSE_MS_MAX = 5000, NUDGE_MS = 500 };

/* ---- slots; mutex held ---- */

struct slot *plugin_slot(struct plugin_host *host, uint64_t id)
{
    struct slot *slot = &host->slots[id % host->slot_count];
    return slot->state != SLOT_FREE && slot->id == id ? slot : NULL;
}

static void slot_free(struct plugin_host *host, struct slot *slot)
{
    slot->generation->jobs--;
    *slot = (struct slot){.state = SLOT_FREE};
    host->free_slots[host->free_count++] = (uint32_t)(slot - host->slots);
}

void plugin_slot_watch(struct plugin_host *host, int64_t deadline_ns)
{
    if (deadline_ns < host->earliest_ns)
        host->earliest_ns = deadline_ns;
    if (deadline_ns < host->scan_next_ns)
        host->scan_next_ns = deadline_ns;
}

/* ---- generations ---- */

enum status plugin_generation_open(struct generation **out, const struct reward_settings *settings)
{
    *out = NULL;
    struct generation *generation = memory_alloc(sizeof *generation);
    if (generation == NULL)
        return FAIL(STATUS_NO_MEMORY, "plugin");
    pthread_mutex_init(&generation->turn, NULL);
    enum status status = plugin_instance_open(&generation->plugin, settings);
    if (status != STATUS_OK)
        plugin_generation_close(&generation);
    *out = generation;
    return status;
}

void plugin_generation_close(struct generation **pointer)
{
    struct generation *generation = *pointer;
    *pointer = NULL;
    if (generation == NULL)
        return;
    plugin_instance_close(&generation->plugin);
    pthread_mutex_destroy(&generation->turn);
    memory_free(generation);
}

/* What the watchman loaded takes the new jobs from here on. */
static void adopt(struct plugin_host *host)
{
    pthread_mutex_lock(&host->mutex);
    if (host->loaded != NULL) {
        host->current->next = host->old;
        host->old = host->current;
        host->current = host->loaded;
        host->loaded = NULL;
    }
    pthread_mutex_unlock(&host->mutex);
}

static void nudge(struct plugin_host *host, int64_t now_ns)
{
    if (!host->watched || now_ns - host->nudged_ns < (int64_t)NUDGE_MS * CLOCK_NS_PER_MS)
        return;
    host->nudged_ns = now_ns;
    pthread_mutex_lock(&host->mutex);
    host->nudged = true;
    pthread_cond_signal(&host->nudge);
    pthread_mutex_unlock(&host->mutex);
}

void plugin_thread_ended(struct plugin_host *host)
{
    pthread_mutex_lock(&host->mutex);
    host->running--;
    pthread_cond_broadcast(&host->ended_condition);
    pthread_mutex_unlock(&host->mutex);
}

/* ---- life ---- */

static enum status copy_settings(struct plugin_host *host, const struct reward_settings *settings)
{
    host->settings = *settings;
    host->settings.plugin = memory_text(settings->plugin);
    host->settings.config = memory_text(settings->config);
    host->settings.python = memory_text(settings->python != NULL ? settings->python : "");
    host->timeout_ns = (int64_t)settings->timeout_ms * CLOCK_NS_PER_MS;
    return host->settings.plugin != NULL && host->settings.config != NULL &&
                   host->settings.python != NULL
               ? STATUS_OK
               : FAIL(STATUS_NO_MEMORY, "settings of a plugin");
}

static enum status create_slots(struct plugin_host *host, uint32_t count)
{
    host->slots = memory_array(count, sizeof *host->slots);
    host->free_slots = memory_array(count, sizeof *host->free_slots);
    if (host->slots == NULL || host->free_slots == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u plugin jobs", count);
    host->slot_count = count;
    for (uint32_t i = 0; i < count; i++)
        host->free_slots[host->free_count++] = count - 1 - i;
    host->earliest_ns = host->scan_next_ns = INT64_MAX;
    TRY(queue_create(&host->jobs, "plugin jobs", count));
    return queue_create(&host->results, "plugin results", count);
}

static enum status start_thread(struct plugin_host *host, pthread_t *thread, void *(*body)(void *))
{
    pthread_mutex_lock(&host->mutex);
    host->running++;
    pthread_mutex_unlock(&host->mutex);
    if (pthread_create(thread, NULL, body, host) == 0)
        return STATUS_OK;
    plugin_thread_ended(host);
    return FAIL(STATUS_NO_MEMORY, "plugin thread");
}

/* Threads are as many as the settings say, also when this plugin uses one: its successor may use all. */
static enum status start_threads(struct plugin_host *host)
{
    uint32_t count = host->settings.threads > 0 ? host->settings.threads : 1;
    host->crew = memory_array(count, sizeof *host->crew);
    if (host->crew == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u plugin threads", count);
    for (; host->crew_count < count; host->crew_count++)
        TRY(start_thread(host, &host->crew[host->crew_count], plugin_crew_thread));
    if (!host->settings.reload)
        return STATUS_OK;
    TRY(start_thread(host, &host->watchman, plugin_watch_thread));
    host->watched = true;
    return STATUS_OK;
}

/* True when all threads have ended in time. */
static bool stop_threads(struct plugin_host *host)
{
    int64_t patience_ns = (int64_t)CLOSE_MS_MAX * CLOCK_NS_PER_MS;
    if (host->timeout_ns < patience_ns)
        patience_ns = host->timeout_ns;
    int64_t deadline_ns = clock_now_ns() + patience_ns;
    enum status status = STATUS_OK;
    pthread_mutex_lock(&host->mutex);
    host->closing = true;
    pthread_cond_signal(&host->nudge);
    pthread_mutex_unlock(&host->mutex);
    if (host->jobs != NULL)
        queue_close(host->jobs);
    pthread_mutex_lock(&host->mutex);
    while (host->running > 0 && status == STATUS_OK)
        status = wait_condition("plugin_close", "plugin", deadline_ns, &host->ended_condition,
                                &host->mutex);
    bool ended = host->running == 0;
    pthread_mutex_unlock(&host->mutex);
    for (uint32_t i = 0; i < host->crew_count; i++)
        ended ? pthread_join(host->crew[i], NULL) : pthread_detach(host->crew[i]);
    if (host->watched)
        ended ? pthread_join(host->watchman, NULL) : pthread_detach(host->watchman);
    return ended;
}

static void host_free(struct plugin_host *host, plugin_drop_fn drop)
{
    plugin_generation_close(&host->current);
    plugin_generation_close(&host->loaded);
    while (host->old != NULL) {
        struct generation *old = host->old;
        host->old = old->next;
        plugin_generation_close(&old);
    }
    for (uint32_t i = 0; drop != NULL && i < host->slot_count; i++)
        if (host->slots[i].state != SLOT_FREE)
            drop(host->slots[i].job);
    while (host->gatherings != NULL) {
        struct gathering *gathering = host->gatherings;
        host->gatherings = gathering->next;
        memory_free(gathering);
    }
    queue_destroy(&host->jobs);
    queue_destroy(&host->results);
    memory_free(host->slots);
    memory_free(host->free_slots);
    memory_free(host->crew);
    memory_free((void *)(uintptr_t)host->settings.plugin);
    memory_free((void *)(uintptr_t)host->settings.config);
    memory_free((void *)(uintptr_t)host->settings.python);
    pthread_cond_destroy(&host->ended_condition);
    pthread_cond_destroy(&host->nudge);
    pthread_mutex_destroy(&host->mutex);
    memory_free(host);
}

enum status plugin_host_open(struct plugin_host **out, const struct reward_settings *settings)
{
    *out = NULL;
    struct plugin_host *host = memory_alloc(sizeof *host);
    if (host == NULL)
        return FAIL(STATUS_NO_MEMORY, "plugin host");
    enum status status = wait_condition_init(&host->ended_condition);
    if (status == STATUS_OK && (status = wait_condition_init(&host->nudge)) != STATUS_OK)
        pthread_cond_destroy(&host->ended_condition);
    if (status != STATUS_OK) {
        memory_free(host);
        return status;
    }
    pthread_mutex_init(&host->mutex, NULL);
    TRY_GOTO(fail, copy_settings(host, settings));
    TRY_GOTO(fail, plugin_generation_open(&host->current, &host->settings));
    TRY_GOTO(fail, create_slots(host, settings->queue * 2));
    TRY_GOTO(fail, start_threads(host));
    *out = host;
    return STATUS_OK;
fail:
    if (stop_threads(host))
        host_free(host, NULL);
    return status;
}

void plugin_host_close(struct plugin_host **pointer, plugin_drop_fn drop)
{
    struct plugin_host *host = *pointer;
    *pointer = NULL;
    if (host == NULL)
        return;
    if (stop_threads(host))
        host_free(host, drop);
    else
        LOG_ERROR("plugin", "left running: submit does not return", "plugin=\"%s\"",
                  plugin_host_name(host));
}

/* ---- jobs in ---- */

static bool waits_here(const struct gathering *gathering, const struct plugin_job *job)
{
    const struct plugin_job *first = gathering->first;
    if (first->item.group_id != job->item.group_id || first->generation != job->generation ||
        first->item.group_size != job->item.group_size)
        return false;
    for (const struct plugin_job *other = first; other != NULL; other = other->next)
        if (other->item.group_index == job->item.group_index)
            return false; /* a store that was restarted asks again: that is another gathering */
    return true;
}

static void insert(struct gathering *gathering, struct plugin_job *job)
{
    struct plugin_job **at = &gathering->first;
    while (*at != NULL && (*at)->item.group_index < job->item.group_index)
        at = &(*at)->next;
    job->next = *at;
    *at = job;
    gathering->count++;
}

static struct gathering **find_gathering(struct plugin_host *host, const struct plugin_job *job)
{
    struct gathering **at = &host->gatherings;
    while (*at != NULL && !waits_here(*at, job))
        at = &(*at)->next;
    return at;
}

/* Keeps a sample until its group is complete, which *whole then is the chain of. Mutex held. */
static enum status gather(struct plugin_host *host, struct plugin_job *job, struct slot *slot,
                          struct plugin_job **whole)
{
    struct gathering **at = find_gathering(host, job);
    if (*at == NULL) {
        *at = memory_alloc(sizeof **at);
        if (*at == NULL)
            return FAIL(STATUS_NO_MEMORY, "a group of %u", job->item.group_size);
        (*at)->deadline_ns = clock_now_ns() + host->timeout_ns;
        plugin_slot_watch(host, (*at)->deadline_ns);
    }
    struct gathering *gathering = *at;
    insert(gathering, job);
    slot->state = SLOT_GATHERED;
    slot->deadline_ns = gathering->deadline_ns;
    if (gathering->count < job->item.group_size)
        return STATUS_OK;
    *whole = gathering->first;
    *at = gathering->next;
    memory_free(gathering);
    for (struct plugin_job *sample = *whole; sample != NULL; sample = sample->next)
        plugin_slot(host, sample->item.item_id)->state = SLOT_QUEUED;
    return STATUS_OK;
}

/* Takes one whose group did not become complete out of its gathering. Mutex held. */
static void forget(struct plugin_host *host, const struct plugin_job *job)
{
    for (struct gathering **at = &host->gatherings; *at != NULL; at = &(*at)->next)
        for (struct plugin_job **sample = &(*at)->first; *sample != NULL; sample = &(*sample)->next)
            if (*sample == job) {
                struct gathering *gathering = *at;
                *sample = job->next;
                if (--gathering->count == 0) {
                    *at = gathering->next;
                    memory_free(gathering);
                }
                return;
            }
}

/* Gives the job a slot. *ready: the chain for the crew; NULL: it waits for the rest of its group. Mutex held. */
static enum status enter(struct plugin_host *host, struct plugin_job *job,
                         struct plugin_job **ready)
{
    if (host->free_count == 0)
        return FAIL(STATUS_LIMIT, "reward plugin \"%s\" has %u items already",
                    host->current->plugin->name, host->slot_count);
    uint32_t index = host->free_slots[--host->free_count];
    uint64_t id = ++host->serial * host->slot_count + index;
    struct slot *slot = &host->slots[index];
    *slot = (struct slot){.state = SLOT_QUEUED, .id = id, .job = job, .generation = host->current};
    host->current->jobs++;
    job->item.item_id = id;
    job->generation = host->current;
    job->next = NULL;
    job->score.scorer = host->current->plugin->hash;
    *ready = job;
    if ((host->current->plugin->table.caps & WEIR_REWARD_CAP_GROUP) == 0)
        return STATUS_OK;
    *ready = NULL;
    enum status status = gather(host, job, slot, ready);
    if (status != STATUS_OK)
        slot_free(host, slot);
    return status;
}

enum status plugin_host_submit(struct plugin_host *host, struct plugin_job *job)
{
    struct plugin_job *ready = NULL;
    job->submitted_ns = clock_now_ns();
    job->held = false;
    pthread_mutex_lock(&host->mutex);
    enum status status = enter(host, job, &ready);
    pthread_mutex_unlock(&host->mutex);
    TRY(status);
    /* cannot be full: it holds as many as there are slots */
    return ready != NULL ? queue_push(host->jobs, ready) : STATUS_OK;
}

/* ---- jobs out ---- */

static bool may_expire(enum slot_state state)
{
    return state == SLOT_SUBMITTING || state == SLOT_RETRYING || state == SLOT_WAITING ||
           state == SLOT_GATHERED;
}

/* An item whose plugin is told that nobody waits for it any more; the generation is kept for that long. */
struct cancelled {
    struct generation *generation; /* NULL: nobody is told */
    uint64_t id;
};

/* Its deadline has passed. */
static struct plugin_job *expire(struct plugin_host *host, struct slot *slot,
                                 struct cancelled *cancelled)
{
    struct plugin_job *job = slot->job;
    if (slot->state == SLOT_WAITING && !slot->answered &&
        slot->generation->plugin->table.cancel != NULL) {
        *cancelled = (struct cancelled){slot->generation, slot->id};
        slot->generation->jobs++;
    }
    if (!slot->answered)
        job->score.status = SCORE_TIMEOUT;
    if (slot->state == SLOT_SUBMITTING) {
        slot->state = SLOT_HELD;
        job->held = host->stuck = true;
        return job;
    }
    if (slot->state == SLOT_GATHERED)
        forget(host, job);
    slot_free(host, slot);
    return job;
}

/* The next slot whose deadline has passed. Mutex held. */
static struct plugin_job *take_expired(struct plugin_host *host, int64_t now_ns,
                                       struct cancelled *cancelled)
{
    if (now_ns <= host->earliest_ns)
        return NULL;
    if (host->scan_at == 0)
        host->scan_next_ns = INT64_MAX;
    while (host->scan_at < host->slot_count) {
        struct slot *slot = &host->slots[host->scan_at++];
        if (!may_expire(slot->state))
            continue;
        if (now_ns > slot->deadline_ns && slot->state != SLOT_RETRYING)
            return expire(host, slot, cancelled);
        plugin_slot_watch(host, slot->deadline_ns);
    }
    host->scan_at = 0;
    host->earliest_ns = host->scan_next_ns;
    return NULL;
}

/* Without the mutex: the plugin may answer from in there. */
static void tell_cancelled(struct plugin_host *host, const struct cancelled *cancelled)
{
    if (cancelled->generation == NULL)
        return;
    const struct plugin_instance *plugin = cancelled->generation->plugin;
    plugin->table.cancel(plugin->instance, cancelled->id);
    pthread_mutex_lock(&host->mutex);
    cancelled->generation->jobs--;
    pthread_mutex_unlock(&host->mutex);
}

struct plugin_job *plugin_host_take(struct plugin_host *host, int64_t now_ns)
{
    void *item = NULL;
    struct plugin_job *job = NULL;
    struct cancelled cancelled = {0};
    adopt(host);
    nudge(host, now_ns);
    bool ready = queue_depth(host->results) > 0 && queue_pop(host->results, 0, &item) == STATUS_OK;
    pthread_mutex_lock(&host->mutex);
    if (ready) {
        job = item;
        slot_free(host, plugin_slot(host, job->item.item_id));
    } else {
        job = take_expired(host, now_ns, &cancelled);
    }
    pthread_mutex_unlock(&host->mutex);
    tell_cancelled(host, &cancelled);
    return job;
}

/* ---- getters: `current` changes in adopt only, which is the caller's ---- */

uint64_t plugin_host_caps(const struct plugin_host *host)
{
    return host->current->plugin->table.caps;
}

uint64_t plugin_host_file_hash(const struct plugin_host *host)
{
    return host->current->plugin->hash;
}

const char *plugin_host_name(const struct plugin_host *host)
{
    return host->current->plugin->name;
}

int plugin_host_fd(const struct plugin_host *host)
{
    return queue_fd(host->results);
}

bool plugin_host_stuck(const struct plugin_host *host)
{
    return host->stuck;
}

uint64_t plugin_host_late(struct plugin_host *host)
{
    pthread_mutex_lock(&host->mutex);
    uint64_t late = host->late;
    pthread_mutex_unlock(&host->mutex);
    return late;
}

bool plugin_host_event(struct plugin_host *host, char json[PLUGIN_EVENT_MAX])
{
    pthread_mutex_lock(&host->mutex);
    bool news = host->event[0] != '\0';
    if (news)
        memcpy(json, host->event, sizeof host->event);
    host->event[0] = '\0';
    pthread_mutex_unlock(&host->mutex);
    return news;
}
