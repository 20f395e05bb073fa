#include "transport/weight_group.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"

struct weight_group {
    struct weight_group_config config;
    pthread_t watchdog;
    pthread_cond_t changed; /* wakes the watchdog: deadline_ns or closing */
    pthread_mutex_t lock;   /* guards everything below; only LOCK_WAIT is taken inside it */
    struct nccl *nccl;
    struct nccl_comm *comm;
    enum weight_group_state state;
    int64_t deadline_ns; /* INT64_MAX: none */
    bool closing;
};

/* ---- the thread that aborts when the owner cannot ---- */

/* limit_ms 0: none. */
static void set_deadline(struct weight_group *group, int64_t limit_ms)
{
    group->deadline_ns = limit_ms > 0 ? clock_now_ns() + limit_ms * CLOCK_NS_PER_MS : INT64_MAX;
    pthread_cond_signal(&group->changed);
}

static void abort_locked(struct weight_group *group)
{
    nccl_comm_abort(&group->comm);
    group->state = WEIGHT_GROUP_CLOSING;
    set_deadline(group, 0);
}

static void *watch(void *argument)
{
    struct weight_group *group = argument;
    pthread_mutex_lock(&group->lock);
    while (!group->closing) {
        if (clock_now_ns() >= group->deadline_ns) {
            LOG_ERROR("weights", "communicator aborted: nobody looked after it in time", "state=%s",
                      group->state == WEIGHT_GROUP_FORMING ? "forming" : "sending");
            abort_locked(group);
        }
        enum status status = wait_condition("weights watchdog", "", group->deadline_ns,
                                            &group->changed, &group->lock);
        if (status != STATUS_OK && status != STATUS_TIMEOUT)
            break;
    }
    pthread_mutex_unlock(&group->lock);
    return NULL;
}

static enum status start_watchdog(struct weight_group *group)
{
    TRY(wait_condition_init(&group->changed));
    pthread_mutex_init(&group->lock, NULL);
    int error = pthread_create(&group->watchdog, NULL, watch, group);
    if (error == 0)
        return STATUS_OK;
    pthread_mutex_destroy(&group->lock);
    pthread_cond_destroy(&group->changed);
    return FAIL(STATUS_NO_MEMORY, "a thread for the weight group: %s", strerror(error));
}

/* ---- open and close ---- */

enum status weight_group_open(struct weight_group **out, const struct weight_group_config *config)
{
    CHECK(config->piece_bytes > 0);
    struct weight_group *group = memory_alloc(sizeof *group);
    if (group == NULL)
        return FAIL(STATUS_NO_MEMORY, "weight group");
    group->config = *config;
    group->deadline_ns = INT64_MAX;
    enum status status = nccl_open(&group->nccl, config->nccl_library);
    if (status == STATUS_OK)
        status = start_watchdog(group);
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        nccl_close(&group->nccl);
        memory_free(group);
        status_restore(kept);
        return status;
    }
    *out = group;
    return STATUS_OK;
}

void weight_group_close(struct weight_group **pointer)
{
    struct weight_group *group = *pointer;
    if (group == NULL)
        return;
    pthread_mutex_lock(&group->lock);
    group->closing = true;
    pthread_cond_signal(&group->changed);
    pthread_mutex_unlock(&group->lock);
    pthread_join(group->watchdog, NULL);
    nccl_comm_abort(&group->comm);
    nccl_close(&group->nccl);
    pthread_mutex_destroy(&group->lock);
    pthread_cond_destroy(&group->changed);
    memory_free(group);
    *pointer = NULL;
}

enum weight_group_state weight_group_look(struct weight_group *group)
{
    pthread_mutex_lock(&group->lock);
    enum weight_group_state state = group->state;
    pthread_mutex_unlock(&group->lock);
    return state;
}

/* ---- work ---- */

enum status weight_group_make_id(struct weight_group *group, struct nccl_id *id)
{
    pthread_mutex_lock(&group->lock);
    enum status status = nccl_make_id(group->nccl, id);
    pthread_mutex_unlock(&group->lock);
    return status;
}

enum status weight_group_form(struct weight_group *group, const struct nccl_id *id, int ranks,
                              int rank)
{
    pthread_mutex_lock(&group->lock);
    CHECK(group->state == WEIGHT_GROUP_NONE);
    enum status status = nccl_comm_join(group->nccl, id, ranks, rank, &group->comm);
    if (status == STATUS_OK) {
        group->state = WEIGHT_GROUP_FORMING;
        set_deadline(group, group->config.form_limit_ms);
    }
    pthread_mutex_unlock(&group->lock);
    return status;
}

/* One group of calls: NCCL starts all of them from a thread of its own when the ranks are connected. */
static enum status post_pieces(struct weight_group *group, uint8_t *memory, size_t bytes)
{
    void *stream = group->config.device->side_stream(group->config.device->context);
    enum status status = nccl_group_begin(group->nccl);
    if (status != STATUS_OK)
        return status;
    for (size_t at = 0; status == STATUS_OK && at < bytes;) {
        size_t piece =
            bytes - at < group->config.piece_bytes ? bytes - at : group->config.piece_bytes;
        status = nccl_broadcast(group->comm, memory + at, piece, 0, stream);
        at += piece;
    }
    enum status ended = nccl_group_end(group->nccl);
    return status != STATUS_OK ? status : ended;
}

enum status weight_group_begin(struct weight_group *group, void *memory, size_t bytes)
{
    TRY(group->config.device->finish(group->config.device->context));
    pthread_mutex_lock(&group->lock);
    CHECK(group->state == WEIGHT_GROUP_READY);
    group->state = WEIGHT_GROUP_BUSY;
    set_deadline(group, group->config.send_limit_ms);
    enum status status = post_pieces(group, memory, bytes);
    pthread_mutex_unlock(&group->lock);
    return status;
}

/* What the state waits for: OK, AGAIN, or a failure. */
static enum status look_at_state(struct weight_group *group)
{
    const struct weight_device *device = group->config.device;
    switch (group->state) {
    case WEIGHT_GROUP_NONE:
        return STATUS_AGAIN;
    case WEIGHT_GROUP_FORMING:
    case WEIGHT_GROUP_READY: /* a peer that died may show here */
        return nccl_comm_ready(group->comm);
    case WEIGHT_GROUP_BUSY:
        TRY(nccl_comm_ready(group->comm));
        return device->side_wait(device->context, 0);
    case WEIGHT_GROUP_CLOSING:
        TRY(nccl_abort_done(group->nccl));
        return device->side_wait(device->context, 0);
    }
    CHECK_NEVER("state of a weight group");
}

enum status weight_group_turn(struct weight_group *group)
{
    pthread_mutex_lock(&group->lock);
    enum status status = look_at_state(group);
    if (status == STATUS_OK) {
        bool closed = group->state == WEIGHT_GROUP_CLOSING;
        group->state = closed ? WEIGHT_GROUP_NONE : WEIGHT_GROUP_READY;
        if (group->deadline_ns != INT64_MAX)
            set_deadline(group, 0);
    }
    pthread_mutex_unlock(&group->lock);
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

void weight_group_abort(struct weight_group *group)
{
    pthread_mutex_lock(&group->lock);
    if (group->state != WEIGHT_GROUP_NONE && group->state != WEIGHT_GROUP_CLOSING)
        abort_locked(group);
    pthread_mutex_unlock(&group->lock);
}
