#include "transport/weight_group.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"

enum {
    PIECE_STEP = 1 << 20,
    LAST_PIECE = 8 << 20,
    POST_NS = 300000 /* spent in one call to post pieces */
};

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

    uint8_t *memory; /* BUSY: of this many bytes, */
    size_t bytes, posted,
        followed; /* so many were given to NCCL, and so many of them are on the stream */
    bool digesting;
    uint64_t digest;
    int64_t came_ns, digest_ns; /* the last byte is there; the digest took so long from then on */
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

/* Pieces get smaller towards the end, because the digest of the last one is what nothing hides. All ranks cut alike. */
static size_t next_piece(const struct weight_group *group)
{
    size_t left = group->bytes - group->posted, half = left / 2 / PIECE_STEP * PIECE_STEP;
    size_t most = group->config.piece_bytes;
    size_t piece = half < LAST_PIECE ? LAST_PIECE : half;
    piece = piece < most ? piece : most;
    return piece < left ? piece : left;
}

/* One call a group: NCCL starts it from a thread of its own when the ranks are connected. */
static enum status post_piece(struct weight_group *group)
{
    void *stream = group->config.device->side_stream(group->config.device->context);
    size_t piece = next_piece(group);
    enum status status = nccl_group_begin(group->nccl);
    if (status != STATUS_OK)
        return status;
    status = nccl_broadcast(group->comm, group->memory + group->posted, piece, 0, stream);
    enum status ended = nccl_group_end(group->nccl);
    group->posted += piece;
    return status != STATUS_OK ? status : ended;
}

/* Pieces that NCCL has put on the stream; their digest follows them there. */
static enum status follow_posted(struct weight_group *group)
{
    const struct weight_device *device = group->config.device;
    size_t size = group->posted - group->followed, at = group->followed;
    group->followed = group->posted;
    if (!group->digesting || size == 0)
        return STATUS_OK;
    return device->side_digest_add(device->context, group->memory + at, size, at / 8);
}

/* Posts piece after piece. A moment is waited for NCCL's thread, which needs some 50 us for each; AGAIN: the rest at
 * the next turn. */
static enum status post_pieces(struct weight_group *group)
{
    int64_t until_ns = clock_now_ns() + POST_NS;
    for (;;) {
        enum status status = nccl_comm_ready(group->comm);
        if (status == STATUS_AGAIN && clock_now_ns() < until_ns)
            continue;
        TRY(status);
        TRY(follow_posted(group));
        if (group->posted == group->bytes)
            return STATUS_OK;
        TRY(post_piece(group));
    }
}

enum status weight_group_begin(struct weight_group *group, void *memory, size_t bytes)
{
    const struct weight_device *device = group->config.device;
    TRY(device->finish(device->context));
    pthread_mutex_lock(&group->lock);
    CHECK(group->state == WEIGHT_GROUP_READY);
    group->state = WEIGHT_GROUP_BUSY;
    group->memory = memory;
    group->bytes = bytes;
    group->posted = group->followed = 0;
    group->came_ns = 0;
    group->digesting = group->config.digest && device->side_digest_begin != NULL;
    set_deadline(group, group->config.send_limit_ms);
    enum status status = group->digesting ? device->side_digest_begin(device->context) : STATUS_OK;
    if (status == STATUS_OK)
        status = post_pieces(group);
    pthread_mutex_unlock(&group->lock);
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

static enum status look_at_transfer(struct weight_group *group)
{
    const struct weight_device *device = group->config.device;
    TRY(post_pieces(group));
    if (group->came_ns == 0) {
        TRY(device->side_wait(device->context, 0));
        group->came_ns = clock_now_ns();
    }
    if (group->digesting)
        TRY(device->side_digest_end(device->context, &group->digest));
    group->digest_ns = clock_now_ns() - group->came_ns;
    return STATUS_OK;
}

bool weight_group_digest(struct weight_group *group, uint64_t *digest, double *exposed_ms)
{
    pthread_mutex_lock(&group->lock);
    bool known = group->digesting;
    *digest = group->digest;
    *exposed_ms = (double)group->digest_ns / CLOCK_NS_PER_MS;
    pthread_mutex_unlock(&group->lock);
    return known;
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
        return look_at_transfer(group);
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
