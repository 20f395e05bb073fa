#include "reward/plugin_host.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/queue.h"
#include "core/wait.h"
#include "reward/plugin_file.h"
#include "reward/plugin_result.h"

enum { CLOSE_MS_MAX = 5000, RETRY_MS_MAX = 50 };

enum slot_state {
    SLOT_FREE,
    SLOT_QUEUED,
    SLOT_SUBMITTING, /* the plugin's thread is inside submit with it */
    SLOT_RETRYING,   /* between two submits, after EAGAIN */
    SLOT_WAITING,    /* submit returned 0, the answer is to come */
    SLOT_DONE,       /* in the queue of results */
    SLOT_HELD        /* handed out as expired, but submit has not returned */
};

/* A job inside the host. Plugins know it by its id only: id % slot_count is its index, and an id is never
 * used again, so an answer that comes too late or twice meets nobody. */
struct slot {
    enum slot_state state;
    bool answered;
    uint64_t id;
    struct plugin_job *job;
    int64_t deadline_ns;
};

struct plugin_host {
    struct plugin_file file;
    void *instance;
    char name[2 * WIRE_NAME_MAX];
    double clip_low, clip_high;
    int64_t timeout_ns;
    struct queue *jobs, *results;
    pthread_t thread;
    bool created, started, stuck; /* of the caller's thread */

    /* Guards everything below, and the score and detail of jobs inside; only LOCK_WAIT is taken in it. */
    pthread_mutex_t mutex;
    pthread_cond_t ended_condition;
    bool closing, ended;
    struct slot *slots; /* [slot_count] */
    uint32_t slot_count;
    uint32_t *free_slots; /* [free_count] a stack of indices */
    uint32_t free_count;
    uint64_t serial;
    uint64_t late;
    /* The search for expired slots: none expires before earliest_ns. scan_next_ns is what earliest_ns will
     * be when the pass that stands at scan_at is through. */
    int64_t earliest_ns, scan_next_ns;
    uint32_t scan_at;
};

__attribute__((format(printf, 2, 3))) static void plugin_log(int level, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    LOG_AT(level <= 0   ? LOG_LEVEL_DEBUG
           : level == 1 ? LOG_LEVEL_INFO
           : level == 2 ? LOG_LEVEL_WARN
                        : LOG_LEVEL_ERROR,
           "plugin", text, "%s", "");
}

/* ---- slots; mutex held ---- */

static struct slot *slot_of(struct plugin_host *host, uint64_t id)
{
    struct slot *slot = &host->slots[id % host->slot_count];
    return slot->state != SLOT_FREE && slot->id == id ? slot : NULL;
}

static void slot_free(struct plugin_host *host, struct slot *slot)
{
    *slot = (struct slot){.state = SLOT_FREE};
    host->free_slots[host->free_count++] = (uint32_t)(slot - host->slots);
}

static void watch(struct plugin_host *host, int64_t deadline_ns)
{
    if (deadline_ns < host->earliest_ns)
        host->earliest_ns = deadline_ns;
    if (deadline_ns < host->scan_next_ns)
        host->scan_next_ns = deadline_ns;
}

/* ---- the plugin's side: any thread ---- */

/* The queue of results holds as many as there are slots. */
static void push_result(struct plugin_host *host, struct plugin_job *job)
{
    if (queue_push(host->results, job) != STATUS_OK)
        LOG_ERROR("plugin", "lost a result", "why=\"%s\"", status_last_error());
}

static void take_result(struct plugin_host *host, const weir_reward_result *result)
{
    struct score said = {0};
    plugin_result_score(result, host->clip_low, host->clip_high, &said);
    char *detail = plugin_result_detail(result);
    struct plugin_job *finished = NULL;
    pthread_mutex_lock(&host->mutex);
    struct slot *slot = slot_of(host, result->item_id);
    bool wanted = slot != NULL && !slot->answered &&
                  (slot->state == SLOT_SUBMITTING || slot->state == SLOT_RETRYING ||
                   slot->state == SLOT_WAITING);
    if (wanted) {
        slot->answered = true;
        slot->job->score.status = said.status;
        slot->job->score.value = said.value;
        slot->job->detail = detail;
        if (slot->state == SLOT_WAITING) { /* else submit still reads the item: its thread pushes */
            slot->state = SLOT_DONE;
            finished = slot->job;
        }
    } else {
        host->late++;
    }
    pthread_mutex_unlock(&host->mutex);
    if (!wanted)
        memory_free(detail);
    if (finished != NULL)
        push_result(host, finished);
}

/* weir_reward_done_fn. A newer plugin's results may be longer: they are as far apart as the first says. */
static void take_results(void *user, const weir_reward_result *results, uint32_t n)
{
    const char *at = (const char *)results;
    for (uint32_t i = 0; i < n; i++) {
        if (results->struct_size < sizeof *results) {
            LOG_ERROR("plugin", "results ignored", "struct_size=%u wanted=%zu",
                      results->struct_size, sizeof *results);
            return;
        }
        take_result(user, (const weir_reward_result *)(const void *)at);
        at += results->struct_size;
    }
}

/* Calls submit until it takes the job or the deadline is near; the code of the last call. */
static int submit_job(struct plugin_host *host, struct plugin_job *job, uint64_t id)
{
    int64_t pause_ms = 1;
    for (;;) {
        int code = host->file.plugin->submit(host->instance, &job->item, 1, take_results, host);
        pthread_mutex_lock(&host->mutex);
        struct slot *slot = slot_of(host, id);
        bool again = code == EAGAIN && slot->state == SLOT_SUBMITTING && !slot->answered &&
                     !host->closing &&
                     clock_now_ns() + pause_ms * CLOCK_NS_PER_MS < slot->deadline_ns;
        if (again)
            slot->state = SLOT_RETRYING;
        pthread_mutex_unlock(&host->mutex);
        if (!again)
            return code;
        clock_sleep_ms(pause_ms);
        pause_ms = pause_ms * 2 < RETRY_MS_MAX ? pause_ms * 2 : RETRY_MS_MAX;
        pthread_mutex_lock(&host->mutex);
        slot->state = SLOT_SUBMITTING;
        bool answered = slot->answered;
        pthread_mutex_unlock(&host->mutex);
        if (answered)
            return 0;
    }
}

static void run_job(struct plugin_host *host, struct plugin_job *job)
{
    uint64_t id = job->item.item_id;
    pthread_mutex_lock(&host->mutex);
    struct slot *slot = slot_of(host, id);
    bool closing = host->closing;
    if (!closing) {
        slot->state = SLOT_SUBMITTING;
        slot->deadline_ns = job->item.deadline_ns = clock_now_ns() + host->timeout_ns;
        watch(host, slot->deadline_ns);
    }
    pthread_mutex_unlock(&host->mutex);
    if (closing)
        return;
    int code = submit_job(host, job, id);
    bool finished = false;
    pthread_mutex_lock(&host->mutex);
    if (slot->state == SLOT_SUBMITTING) { /* else it expired: HELD until close */
        finished = slot->answered || code != 0;
        if (!slot->answered && code != 0)
            job->score.status = code == EAGAIN ? SCORE_TIMEOUT : SCORE_ERROR;
        slot->state = finished ? SLOT_DONE : SLOT_WAITING;
    }
    pthread_mutex_unlock(&host->mutex);
    if (code != 0)
        LOG_WARN("plugin", "submit failed", "code=%d", code);
    if (finished)
        push_result(host, job);
}

static void *plugin_thread(void *self)
{
    struct plugin_host *host = self;
    void *job = NULL;
    while (queue_pop(host->jobs, WAIT_FOREVER, &job) == STATUS_OK)
        run_job(host, job);
    pthread_mutex_lock(&host->mutex);
    host->ended = true;
    pthread_cond_broadcast(&host->ended_condition);
    pthread_mutex_unlock(&host->mutex);
    return NULL;
}

/* ---- the caller's side ---- */

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

static enum status create_instance(struct plugin_host *host, const char *config)
{
    static const weir_reward_host services = {.struct_size = sizeof services, .log = plugin_log};
    const weir_reward_plugin *plugin = host->file.plugin;
    char error[512] = "";
    int code = plugin->create(config, &services, &host->instance, error, sizeof error);
    error[sizeof error - 1] = '\0';
    if (code != 0)
        return FAIL(STATUS_INVALID, "reward plugin %s refused reward.config %s: %s",
                    host->file.path, config, error[0] != '\0' ? error : "it gave no reason");
    host->created = true;
    snprintf(host->name, sizeof host->name, "%s %s", plugin->name, plugin->version);
    return STATUS_OK;
}

static void host_free(struct plugin_host *host, plugin_drop_fn drop)
{
    if (host->created)
        host->file.plugin->destroy(host->instance);
    for (uint32_t i = 0; drop != NULL && i < host->slot_count; i++)
        if (host->slots[i].state != SLOT_FREE)
            drop(host->slots[i].job);
    queue_destroy(&host->jobs);
    queue_destroy(&host->results);
    memory_free(host->slots);
    memory_free(host->free_slots);
    plugin_file_close(&host->file);
    pthread_cond_destroy(&host->ended_condition);
    pthread_mutex_destroy(&host->mutex);
    memory_free(host);
}

enum status plugin_host_open(struct plugin_host **out, const struct reward_settings *settings)
{
    *out = NULL;
    struct plugin_host *host = memory_alloc(sizeof *host);
    if (host == NULL)
        return FAIL(STATUS_NO_MEMORY, "plugin host");
    host->file.fd = -1;
    host->clip_low = settings->clip_low;
    host->clip_high = settings->clip_high;
    host->timeout_ns = (int64_t)settings->timeout_ms * CLOCK_NS_PER_MS;
    enum status status = wait_condition_init(&host->ended_condition);
    if (status != STATUS_OK) {
        memory_free(host);
        return status;
    }
    pthread_mutex_init(&host->mutex, NULL);
    TRY_GOTO(fail, plugin_file_open(&host->file, settings->plugin));
    TRY_GOTO(fail, create_slots(host, settings->queue * 2));
    TRY_GOTO(fail, create_instance(host, settings->config));
    if (pthread_create(&host->thread, NULL, plugin_thread, host) != 0) {
        status = FAIL(STATUS_NO_MEMORY, "plugin thread");
        goto fail;
    }
    host->started = true;
    *out = host;
    return STATUS_OK;
fail:
    host_free(host, NULL);
    return status;
}

/* True when the plugin's thread has ended in time. */
static bool stop_thread(struct plugin_host *host)
{
    int64_t patience_ns = (int64_t)CLOSE_MS_MAX * CLOCK_NS_PER_MS;
    if (host->timeout_ns < patience_ns)
        patience_ns = host->timeout_ns;
    int64_t deadline_ns = clock_now_ns() + patience_ns;
    enum status status = STATUS_OK;
    pthread_mutex_lock(&host->mutex);
    host->closing = true;
    pthread_mutex_unlock(&host->mutex);
    queue_close(host->jobs);
    pthread_mutex_lock(&host->mutex);
    while (!host->ended && status == STATUS_OK)
        status = wait_condition("plugin_close", host->name, deadline_ns, &host->ended_condition,
                                &host->mutex);
    bool ended = host->ended;
    pthread_mutex_unlock(&host->mutex);
    return ended;
}

void plugin_host_close(struct plugin_host **pointer, plugin_drop_fn drop)
{
    struct plugin_host *host = *pointer;
    *pointer = NULL;
    if (host == NULL)
        return;
    if (!stop_thread(host)) {
        LOG_ERROR("plugin", "left running: submit does not return", "plugin=\"%s\"", host->name);
        pthread_detach(host->thread);
        return;
    }
    pthread_join(host->thread, NULL);
    host_free(host, drop);
}

enum status plugin_host_submit(struct plugin_host *host, struct plugin_job *job)
{
    pthread_mutex_lock(&host->mutex);
    bool full = host->free_count == 0;
    if (!full) {
        uint32_t index = host->free_slots[--host->free_count];
        uint64_t id = ++host->serial * host->slot_count + index;
        host->slots[index] = (struct slot){.state = SLOT_QUEUED, .id = id, .job = job};
        job->item.item_id = id;
    }
    pthread_mutex_unlock(&host->mutex);
    if (full)
        return FAIL(STATUS_LIMIT, "reward plugin \"%s\" has %u items already", host->name,
                    host->slot_count);
    job->submitted_ns = clock_now_ns();
    job->held = false;
    return queue_push(host->jobs, job); /* cannot be full: it holds as many as there are slots */
}

/* The next slot whose deadline has passed. Mutex held. */
static struct plugin_job *take_expired(struct plugin_host *host, int64_t now_ns)
{
    if (now_ns <= host->earliest_ns)
        return NULL;
    if (host->scan_at == 0)
        host->scan_next_ns = INT64_MAX;
    while (host->scan_at < host->slot_count) {
        struct slot *slot = &host->slots[host->scan_at++];
        if (slot->state != SLOT_SUBMITTING && slot->state != SLOT_RETRYING &&
            slot->state != SLOT_WAITING)
            continue;
        if (now_ns <= slot->deadline_ns || slot->state == SLOT_RETRYING) {
            watch(host, slot->deadline_ns);
            continue;
        }
        struct plugin_job *job = slot->job;
        if (!slot->answered)
            job->score.status = SCORE_TIMEOUT;
        if (slot->state == SLOT_SUBMITTING) {
            slot->state = SLOT_HELD;
            job->held = host->stuck = true;
        } else {
            slot_free(host, slot);
        }
        return job;
    }
    host->scan_at = 0;
    host->earliest_ns = host->scan_next_ns;
    return NULL;
}

struct plugin_job *plugin_host_take(struct plugin_host *host, int64_t now_ns)
{
    void *item = NULL;
    struct plugin_job *job = NULL;
    bool ready = queue_depth(host->results) > 0 && queue_pop(host->results, 0, &item) == STATUS_OK;
    pthread_mutex_lock(&host->mutex);
    if (ready) {
        job = item;
        slot_free(host, slot_of(host, job->item.item_id));
    } else {
        job = take_expired(host, now_ns);
    }
    pthread_mutex_unlock(&host->mutex);
    return job;
}

/* ---- getters ---- */

uint64_t plugin_host_caps(const struct plugin_host *host)
{
    return host->file.plugin->caps;
}

uint64_t plugin_host_file_hash(const struct plugin_host *host)
{
    return host->file.hash;
}

const char *plugin_host_name(const struct plugin_host *host)
{
    return host->name;
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
