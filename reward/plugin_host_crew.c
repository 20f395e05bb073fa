/* reward/plugin_host_crew.c - the plugin's side of the host: submit calls and what comes back from them. */
#include <errno.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "reward/plugin_host_state.h"
#include "reward/plugin_result.h"

enum { RETRY_MS_MAX = 50 };

/* Jobs of one submit call. */
struct call {
    struct plugin_host *host;
    struct generation *generation;
    struct plugin_job **jobs; /* [count] */
    weir_reward_item *items;  /* [count] what the plugin reads: one array */
    uint32_t count, capacity;
};

/* ---- results: any thread ---- */

/* The queue of results holds as many as there are slots. */
static void push_result(struct plugin_host *host, struct plugin_job *job)
{
    if (queue_push(host->results, job) != STATUS_OK)
        LOG_ERROR("plugin", "lost a result", "why=\"%s\"", status_last_error());
}

static void take_result(struct plugin_host *host, const weir_reward_result *result)
{
    struct score said = {0};
    plugin_result_score(result, host->settings.clip_low, host->settings.clip_high, &said);
    char *detail = plugin_result_detail(result);
    struct plugin_job *finished = NULL;
    pthread_mutex_lock(&host->mutex);
    struct slot *slot = plugin_slot(host, result->item_id);
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

/* weir_reward_done_fn. Results of an older or newer plugin are shorter or longer: they are as far apart as the first
 * says. */
static void take_results(void *user, const weir_reward_result *results, uint32_t n)
{
    const char *at = (const char *)results;
    uint32_t size = n > 0 ? results->struct_size : 0;
    if (n > 0 && size < WEIR_REWARD_RESULT_SIZE_1_0) {
        LOG_ERROR("plugin", "results ignored", "struct_size=%u wanted=%u", size,
                  WEIR_REWARD_RESULT_SIZE_1_0);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        weir_reward_result result = {0};
        memcpy(&result, at, size < sizeof result ? size : sizeof result);
        take_result(user, &result);
        at += size;
    }
}

/* ---- submit calls ---- */

static bool has_cap(const struct generation *generation, uint64_t cap)
{
    return (generation->plugin->table.caps & cap) != 0;
}

/* False: the host closes, and what is left stays where it is. */
static bool begin(struct call *call)
{
    struct plugin_host *host = call->host;
    pthread_mutex_lock(&host->mutex);
    bool closing = host->closing;
    int64_t deadline_ns = clock_now_ns() + host->timeout_ns;
    for (uint32_t i = 0; i < call->count && !closing; i++) {
        struct plugin_job *job = call->jobs[i];
        struct slot *slot = plugin_slot(host, job->item.item_id);
        slot->state = SLOT_SUBMITTING;
        slot->deadline_ns = job->item.deadline_ns = deadline_ns;
        call->items[i] = job->item;
    }
    if (!closing)
        plugin_slot_watch(host, deadline_ns);
    pthread_mutex_unlock(&host->mutex);
    return !closing;
}

static int submit_once(const struct call *call)
{
    const struct plugin_instance *plugin = call->generation->plugin;
    const weir_reward_plugin *table = &plugin->table;
    bool whole = has_cap(call->generation, WEIR_REWARD_CAP_GROUP) && table->submit_group != NULL;
    return (whole ? table->submit_group : table->submit)(plugin->instance, call->items, call->count,
                                                         take_results, call->host);
}

/* After EAGAIN: every job of the call goes from one state to the other. False: there is no use in trying again. */
static bool turn(struct call *call, enum slot_state from, enum slot_state to, int64_t pause_ms)
{
    struct plugin_host *host = call->host;
    bool again = true;
    pthread_mutex_lock(&host->mutex);
    for (uint32_t i = 0; i < call->count; i++) {
        const struct slot *slot = plugin_slot(host, call->jobs[i]->item.item_id);
        again = again && slot->state == from && !slot->answered && !host->closing &&
                clock_now_ns() + pause_ms * CLOCK_NS_PER_MS < slot->deadline_ns;
    }
    for (uint32_t i = 0; i < call->count; i++) {
        struct slot *slot = plugin_slot(host, call->jobs[i]->item.item_id);
        if (slot->state == from && (again || to == SLOT_SUBMITTING))
            slot->state = to;
    }
    pthread_mutex_unlock(&host->mutex);
    return again;
}

static bool any_answered(struct call *call)
{
    bool answered = false;
    pthread_mutex_lock(&call->host->mutex);
    for (uint32_t i = 0; i < call->count; i++)
        answered = answered || plugin_slot(call->host, call->jobs[i]->item.item_id)->answered;
    pthread_mutex_unlock(&call->host->mutex);
    return answered;
}

/* Calls submit until it takes the jobs or the deadline is near; the code of the last call. */
static int submit(struct call *call)
{
    int64_t pause_ms = 1;
    for (;;) {
        int code = submit_once(call);
        if (code != EAGAIN || !turn(call, SLOT_SUBMITTING, SLOT_RETRYING, pause_ms))
            return code;
        clock_sleep_ms(pause_ms);
        pause_ms = pause_ms * 2 < RETRY_MS_MAX ? pause_ms * 2 : RETRY_MS_MAX;
        turn(call, SLOT_RETRYING, SLOT_SUBMITTING, 0);
        if (any_answered(call))
            return 0;
    }
}

static void finish(struct call *call, int code)
{
    struct plugin_host *host = call->host;
    for (uint32_t i = 0; i < call->count; i++) {
        struct plugin_job *job = call->jobs[i];
        bool finished = false;
        pthread_mutex_lock(&host->mutex);
        struct slot *slot = plugin_slot(host, job->item.item_id);
        if (slot != NULL && slot->job == job &&
            slot->state == SLOT_SUBMITTING) { /* else it expired: HELD until close */
            finished = slot->answered || code != 0;
            if (!slot->answered && code != 0)
                job->score.status = code == EAGAIN ? SCORE_TIMEOUT : SCORE_ERROR;
            slot->state = finished ? SLOT_DONE : SLOT_WAITING;
        }
        pthread_mutex_unlock(&host->mutex);
        if (finished)
            push_result(host, job);
    }
    if (code != 0)
        LOG_WARN("plugin", "submit failed", "code=%d", code);
}

/* The generation is not closed while a thread is in its submit: that counts as a job of it. */
static void hold(struct call *call, bool held)
{
    pthread_mutex_lock(&call->host->mutex);
    if (held)
        call->generation->jobs++;
    else
        call->generation->jobs--;
    pthread_mutex_unlock(&call->host->mutex);
}

static void run_call(struct call *call)
{
    bool alone = !has_cap(call->generation, WEIR_REWARD_CAP_THREADSAFE);
    hold(call, true);
    if (alone)
        pthread_mutex_lock(&call->generation->turn);
    if (begin(call))
        finish(call, submit(call));
    if (alone)
        pthread_mutex_unlock(&call->generation->turn);
    hold(call, false);
}

/* ---- the threads ---- */

static void add(struct call *call, struct plugin_job *job)
{
    if (call->count == call->capacity) {
        uint32_t more = call->capacity < 16 ? 16 : call->capacity * 2;
        size_t old = call->capacity;
        void *jobs = memory_grow(call->jobs, old * sizeof *call->jobs, more * sizeof *call->jobs);
        call->jobs = jobs != NULL ? jobs : call->jobs;
        void *items =
            memory_grow(call->items, old * sizeof *call->items, more * sizeof *call->items);
        call->items = items != NULL ? items : call->items;
        if (jobs == NULL || items == NULL)
            return; /* the job stays queued: it is dropped when the host closes */
        call->capacity = more;
    }
    call->jobs[call->count++] = job;
}

/* The head of a chain, and what may go along. *carried: popped, but of the next call. */
static void fill_call(struct call *call, struct plugin_job *head, struct plugin_job **carried)
{
    struct plugin_host *host = call->host;
    call->count = 0;
    call->generation = head->generation;
    bool group = has_cap(call->generation, WEIR_REWARD_CAP_GROUP);
    uint32_t most = has_cap(call->generation, WEIR_REWARD_CAP_BATCH) ? host->settings.batch : 1;
    for (struct plugin_job *job = head; job != NULL; job = job->next)
        add(call, job);
    void *item = NULL;
    while (!group && call->count < most && *carried == NULL && queue_depth(host->jobs) > 0 &&
           queue_pop(host->jobs, 0, &item) == STATUS_OK) {
        struct plugin_job *job = item;
        if (job->generation == call->generation)
            add(call, job);
        else
            *carried = job;
    }
}

void *plugin_crew_thread(void *self)
{
    struct plugin_host *host = self;
    struct call call = {.host = host};
    struct plugin_job *carried = NULL;
    void *item = NULL;
    while (carried != NULL || queue_pop(host->jobs, WAIT_FOREVER, &item) == STATUS_OK) {
        struct plugin_job *head = carried != NULL ? carried : item;
        carried = NULL;
        fill_call(&call, head, &carried);
        if (call.count > 0)
            run_call(&call);
    }
    memory_free(call.jobs);
    memory_free(call.items);
    plugin_thread_ended(host);
    return NULL;
}
