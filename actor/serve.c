#include "actor/serve.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory.h"

/* Groups of served sequences must not be those of leases: siblings of a group share a prefill. */
#define SERVED_GROUPS (UINT64_C(1) << 63)

struct serve_hub {
    struct serve_config config;
    pthread_mutex_t lock;            /* guards everything below, and the jobs */
    struct serve_job *first, **last; /* waiting, oldest first */
    struct serve_job **running;      /* [slots of the desk], NULL where none; made by attach */
    uint32_t slots, waiting, running_count;
    uint64_t groups; /* given out */
    double cache_used;
    bool closed;
    char why[256];
    int fd;
};

enum status serve_create(struct serve_hub **out, const struct serve_config *config)
{
    struct serve_hub *hub = memory_alloc(sizeof *hub);
    if (hub == NULL)
        return FAIL(STATUS_NO_MEMORY, "a hub of requests");
    hub->config = *config;
    hub->last = &hub->first;
    hub->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hub->fd < 0) {
        memory_free(hub);
        return FAIL(STATUS_IO, "eventfd: no descriptors are left");
    }
    CHECK(pthread_mutex_init(&hub->lock, NULL) == 0);
    *out = hub;
    return STATUS_OK;
}

void serve_destroy(struct serve_hub **pointer)
{
    struct serve_hub *hub = *pointer;
    if (hub == NULL)
        return;
    CHECK(hub->first == NULL && hub->running_count == 0);
    close(hub->fd);
    pthread_mutex_destroy(&hub->lock);
    memory_free(hub->running);
    memory_free(hub);
    *pointer = NULL;
}

void serve_lock(struct serve_hub *hub)
{
    CHECK(pthread_mutex_lock(&hub->lock) == 0);
}

void serve_unlock(struct serve_hub *hub)
{
    CHECK(pthread_mutex_unlock(&hub->lock) == 0);
}

int serve_fd(const struct serve_hub *hub)
{
    return hub->fd;
}

/* ---- jobs ---- */

static void free_job(struct serve_job *job)
{
    memory_free((void *)(uintptr_t)job->order.ids);
    buffer_free(&job->ids);
    buffer_free(&job->logprobs);
    buffer_free(&job->best);
    buffer_free(&job->prompt_logprobs);
    buffer_free(&job->prompt_best);
    memory_free(job);
}

static struct serve_job *make_job(const struct slot_order *order, void *owner)
{
    struct serve_job *job = memory_alloc(sizeof *job);
    uint32_t *ids = memory_array(order->count, sizeof *ids);
    if (job == NULL || ids == NULL) {
        memory_free(job);
        memory_free(ids);
        return NULL;
    }
    memcpy(ids, order->ids, order->count * sizeof *ids);
    job->order = *order;
    job->order.ids = ids;
    job->order.group_id |= SERVED_GROUPS;
    job->version_first = job->version_last = UINT64_MAX;
    job->owner = owner;
    job->holders = 2;
    job->submitted_ns = clock_now_ns();
    buffer_init(&job->ids, 0);
    buffer_init(&job->logprobs, 0);
    buffer_init(&job->best, 0);
    buffer_init(&job->prompt_logprobs, 0);
    buffer_init(&job->prompt_best, 0);
    return job;
}

static void drop_holder(struct serve_job *job)
{
    if (--job->holders == 0)
        free_job(job);
}

/* Locked. */
static enum status queue_jobs(struct serve_hub *hub, struct serve_job **jobs, uint32_t count)
{
    if (hub->closed)
        return FAIL(STATUS_CANCELLED, "%s", hub->why);
    if (hub->waiting >= hub->config.waiting_max)
        return FAIL(STATUS_LIMIT, "%u sequences wait already", hub->waiting);
    for (uint32_t i = 0; i < count; i++) {
        jobs[i]->order.group_id += hub->groups;
        *hub->last = jobs[i];
        hub->last = &jobs[i]->next;
    }
    hub->groups += count;
    hub->waiting += count;
    return STATUS_OK;
}

enum status serve_submit(struct serve_hub *hub, const struct slot_order *orders, uint32_t count,
                         void *owner, struct serve_job **jobs)
{
    enum status status = STATUS_OK;
    uint32_t made = 0;
    for (; made < count; made++)
        if ((jobs[made] = make_job(&orders[made], owner)) == NULL) {
            status = FAIL(STATUS_NO_MEMORY, "%u sequences", count);
            break;
        }
    if (status == STATUS_OK) {
        serve_lock(hub);
        status = queue_jobs(hub, jobs, count);
        serve_unlock(hub);
    }
    for (uint32_t i = 0; i < made && status != STATUS_OK; i++) {
        free_job(jobs[i]);
        jobs[i] = NULL;
    }
    TRY(status);
    uint64_t one = 1;
    (void)!write(hub->fd, &one, sizeof one); /* full: it is readable already */
    return STATUS_OK;
}

void serve_release(struct serve_hub *hub, struct serve_job **pointer)
{
    struct serve_job *job = *pointer;
    *pointer = NULL;
    if (job == NULL)
        return;
    serve_lock(hub);
    bool live = job->state != SERVE_ENDED;
    job->cancelled = true;
    job->owner = NULL;
    drop_holder(job);
    serve_unlock(hub);
    uint64_t one = 1;
    if (live)
        (void)!write(hub->fd, &one, sizeof one);
}

void serve_get_load(struct serve_hub *hub, struct serve_load *load)
{
    serve_lock(hub);
    *load = (struct serve_load){.waiting = hub->waiting,
                                .running = hub->running_count,
                                .slots = hub->slots,
                                .cache_used = hub->cache_used};
    serve_unlock(hub);
}

bool serve_is_busy(struct serve_hub *hub)
{
    serve_lock(hub);
    bool busy = hub->waiting > 0 || hub->running_count > 0;
    serve_unlock(hub);
    return busy;
}

/* ---- the engine's thread ---- */

static struct serve_job *job_of(const struct serve_hub *hub, uint32_t slot)
{
    return hub->running != NULL ? hub->running[slot] : NULL;
}

/* Locked. The hub's hold of the job ends, too. */
static void end_job(struct serve_hub *hub, struct serve_job *job, enum serve_finish finish,
                    const char *why)
{
    job->state = SERVE_ENDED;
    job->finish = finish;
    job->ended_ns = clock_now_ns();
    snprintf(job->why, sizeof job->why, "%s", why);
    if (job->owner != NULL)
        hub->config.wake(job->owner, job);
    if (job->cancelled)
        metric_add(&hub->config.metrics->serve_cancelled, 1);
    drop_holder(job);
}

static bool keep(struct buffer *buffer, const void *bytes, size_t size)
{
    return buffer_append(buffer, bytes, size) == STATUS_OK;
}

/* A job whose memory ran out is ended by serve_publish. */
static void take_report(void *self, const struct engine_report *report)
{
    struct serve_hub *hub = self;
    serve_lock(hub);
    struct serve_job *job = job_of(hub, report->slot);
    bool prompt = job != NULL && report->position < job->order.count;
    struct buffer *logprobs = prompt ? &job->prompt_logprobs : job != NULL ? &job->logprobs : NULL;
    struct buffer *best = prompt ? &job->prompt_best : job != NULL ? &job->best : NULL;
    uint32_t first = job == NULL ? 0 : prompt ? 1 : job->order.count;
    /* A cache that is made again after new weights reports again what is known. */
    if (job != NULL && report->position - first == logprobs->size / sizeof(float)) {
        bool whole = keep(logprobs, &report->logprob, sizeof report->logprob);
        for (uint32_t k = 0; k < job->order.report_top && whole; k++) {
            struct serve_best one = {.id = UINT32_MAX};
            if (k < report->top)
                one = (struct serve_best){report->top_ids[k], report->top_logprobs[k]};
            whole = keep(best, &one, sizeof one);
        }
        if (!whole)
            job->finish = SERVE_FINISH_FAILED;
    }
    serve_unlock(hub);
}

void serve_attach(struct serve_hub *hub, struct engine *engine)
{
    serve_lock(hub);
    hub->slots = engine->desk.config.served;
    memory_free(hub->running);
    hub->running = memory_array(engine->desk.config.slots, sizeof(struct serve_job *));
    if (hub->running == NULL) {
        hub->closed = true;
        snprintf(hub->why, sizeof hub->why, "out of memory");
    }
    engine->report = take_report;
    engine->report_self = hub;
    serve_unlock(hub);
}

/* Locked. */
static void leave_slot(struct serve_hub *hub, struct engine *engine, uint32_t slot)
{
    hub->running[slot] = NULL;
    hub->running_count--;
    desk_end_served(&engine->desk, slot);
}

static void drop_cancelled(struct serve_hub *hub, struct engine *engine)
{
    for (uint32_t i = desk_leased(&engine->desk); i < engine->desk.config.slots; i++) {
        struct serve_job *job = job_of(hub, i);
        if (job != NULL && job->cancelled) {
            leave_slot(hub, engine, i);
            end_job(hub, job, SERVE_FINISH_FAILED, "cancelled");
        }
    }
    struct serve_job **at = &hub->first;
    while (*at != NULL) {
        struct serve_job *job = *at;
        if (!job->cancelled) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        hub->waiting--;
        end_job(hub, job, SERVE_FINISH_FAILED, "cancelled");
    }
    hub->last = at;
}

/* One that waits for pages goes first: nobody overtakes it for ever. */
static bool somebody_waits(const struct engine *engine)
{
    for (uint32_t i = desk_leased(&engine->desk); i < engine->desk.config.slots; i++)
        if (engine->desk.slots[i].state == SLOT_WAITING)
            return true;
    return false;
}

static void admit(struct serve_hub *hub, struct engine *engine)
{
    bool may = engine->desk.serving && hub->running != NULL && !somebody_waits(engine);
    while (may && hub->first != NULL) {
        uint32_t slot = desk_free_served(&engine->desk);
        if (slot == UINT32_MAX)
            return;
        struct serve_job *job = hub->first;
        hub->first = job->next;
        if (hub->first == NULL)
            hub->last = &hub->first;
        job->next = NULL;
        hub->waiting--;
        if (desk_serve(&engine->desk, slot, &job->order) != STATUS_OK) {
            end_job(hub, job, SERVE_FINISH_FAILED, status_sentence(status_last_error()));
            continue;
        }
        job->state = SERVE_RUNNING;
        job->slot = slot;
        job->started_ns = clock_now_ns();
        hub->running[slot] = job;
        hub->running_count++;
        metric_add(&hub->config.metrics->serve_prompt_tokens, job->order.count);
    }
}

void serve_turn(struct serve_hub *hub, struct engine *engine)
{
    uint64_t count;
    (void)!read(hub->fd, &count, sizeof count);
    serve_lock(hub);
    drop_cancelled(hub, engine);
    admit(hub, engine);
    metric_set(&hub->config.metrics->serve_waiting, hub->waiting);
    metric_set(&hub->config.metrics->serve_running, hub->running_count);
    serve_unlock(hub);
}

/* Locked. What the slot has and the job has not. */
static void publish_slot(struct serve_hub *hub, struct engine *engine, struct serve_job *job)
{
    const struct slot *slot = &engine->desk.slots[job->slot];
    uint32_t have = serve_count(job);
    if (slot->kv_version_min != UINT64_MAX) {
        uint64_t version = engine_version(engine);
        if (slot->kv_version_min < job->version_first)
            job->version_first = slot->kv_version_min;
        job->version_last = version;
    }
    if (slot->response == have && slot->finished == SEGMENT_MORE)
        return;
    bool whole =
        job->finish != SERVE_FINISH_FAILED && keep(&job->ids, slot->ids + slot->prompt + have,
                                                   (slot->response - have) * sizeof *slot->ids);
    if (have == 0)
        job->first_ns = clock_now_ns();
    metric_add(&hub->config.metrics->serve_tokens, slot->response - have);
    enum segment_status finished = slot->finished;
    if (whole && finished == SEGMENT_MORE) {
        if (job->owner != NULL)
            hub->config.wake(job->owner, job);
        return;
    }
    leave_slot(hub, engine, job->slot);
    if (whole)
        end_job(hub, job, finished == SEGMENT_EOS ? SERVE_FINISH_EOS : SERVE_FINISH_LENGTH, "");
    else
        end_job(hub, job, SERVE_FINISH_FAILED, "out of memory");
}

void serve_publish(struct serve_hub *hub, struct engine *engine)
{
    int32_t pages = model_cache_pages_free(engine->cache);
    serve_lock(hub);
    for (uint32_t i = desk_leased(&engine->desk); i < engine->desk.config.slots; i++)
        if (job_of(hub, i) != NULL)
            publish_slot(hub, engine, hub->running[i]);
    hub->cache_used =
        engine->cache_pages > 0 ? 1.0 - (double)pages / (double)engine->cache_pages : 0.0;
    serve_unlock(hub);
}

void serve_close(struct serve_hub *hub, struct engine *engine, const char *why)
{
    serve_lock(hub);
    hub->closed = true;
    snprintf(hub->why, sizeof hub->why, "%s", why);
    for (uint32_t i = 0; engine != NULL && hub->running != NULL && i < engine->desk.config.slots;
         i++)
        if (hub->running[i] != NULL) {
            struct serve_job *job = hub->running[i];
            leave_slot(hub, engine, i);
            end_job(hub, job, SERVE_FINISH_FAILED, why);
        }
    while (hub->first != NULL) {
        struct serve_job *job = hub->first;
        hub->first = job->next;
        hub->waiting--;
        end_job(hub, job, SERVE_FINISH_FAILED, why);
    }
    hub->last = &hub->first;
    serve_unlock(hub);
}
