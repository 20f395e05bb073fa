/* actor/weights.c - new weights between two decode steps (DESIGN.md part 4, Weights). */
#include "actor/actor_state.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"

#include <inttypes.h>
#include <string.h>

enum { RETRY_MS = 1000 };

/* The copy is wrong: it is not looked at again for a while, or every turn would copy all bytes. */
static enum status refuse_copy(struct actor *actor, uint64_t digest)
{
    metric_add(&actor->metrics.digest_refused, 1);
    actor->refused_digest = digest;
    actor->retry_ns = clock_now_ns() + (int64_t)RETRY_MS * CLOCK_NS_PER_MS;
    return STATUS_AGAIN;
}

static int inactive_set(const struct actor *actor)
{
    return actor->active == 0 ? 1 : 0;
}

/* All bytes of the version are in the inactive set: its digest is compared with the one the learner announced, it is
 * packed, and only then does the pointer flip. */
static enum status serve(struct actor *actor, uint64_t version, uint64_t digest)
{
    struct model_weights *next = &actor->weights[inactive_set(actor)];
    next->version = version;
    TRY(model_weights_repack(actor->model, next));
    if (next->digest != digest) {
        LOG_ERROR("weights", "refused a copy: its digest differs",
                  "version=%" PRIu64 " announced=%016" PRIx64 " own=%016" PRIx64, version, digest,
                  next->digest);
        return refuse_copy(actor, digest);
    }
    actor->active = inactive_set(actor);
    return STATUS_OK;
}

static enum status take_version(struct actor *actor, uint64_t version, uint64_t digest)
{
    struct model_weights *next = &actor->weights[inactive_set(actor)];
    enum status status = weight_receiver_copy(actor->receiver, version, digest, next->flat);
    if (status == STATUS_NOT_FOUND)
        return STATUS_AGAIN; /* a restarted learner is just putting its file there */
    if (status == STATUS_CORRUPT) {
        LOG_FAILURE("weights", "refused a copy", status);
        return refuse_copy(actor, digest);
    }
    return status != STATUS_OK ? status : serve(actor, version, digest);
}

static enum status send_control(void *self, const struct weight_control *control)
{
    const struct actor *actor = self;
    struct message message = {.type = MESSAGE_weight_control, .weight_control = *control};
    return link_send(actor->link, &message);
}

static enum status open_member(struct actor *actor)
{
    const struct weights_settings *settings = &actor->settings->weights;
    struct weight_member_config config = {
        .group = {.device = &actor->device,
                  .nccl_library = settings->nccl_library,
                  .piece_bytes = (size_t)settings->piece_mb << 20},
        .join_timeout_ms = settings->join_timeout_ms,
        .timeout_ms = settings->timeout_ms,
        .bytes = actor->weights_bytes,
        .send = send_control,
        .self = actor,
    };
    return weight_member_open(&actor->member, &config);
}

/* What slots had is reported already, so their next segment is of the new version alone. With `recompute`
 * caches are made again from the tokens; always after a change of branch, whose version numbers say
 * nothing about the age of what was computed on the other one. */
static enum status slots_after_swap(struct actor *actor, bool other_branch)
{
    bool recompute = other_branch || actor->settings->actor.kv_on_swap == KV_ON_SWAP_RECOMPUTE;
    for (uint32_t i = 0; i < actor->desk.config.slots; i++) {
        struct slot *slot = &actor->desk.slots[i];
        if (slot->state != SLOT_PREFILL && slot->state != SLOT_DECODE)
            continue;
        if (!recompute && slot->cached > 0)
            continue;
        if (slot->cached > 0) {
            model_cache_close(actor->cache, (int32_t)i);
            TRY(model_cache_open(actor->cache, (int32_t)i, (int32_t)slot->capacity));
            slot->cached = 0;
            slot->rebuilt_at = slot->response;
        }
        slot->kv_version_min = UINT64_MAX;
        slot->state = SLOT_PREFILL;
    }
    return STATUS_OK;
}

/* Tokens of the old weights leave first; when the writer is full the swap waits for an acknowledgement. */
static enum status may_swap(struct actor *actor, bool *may)
{
    return desk_flush(&actor->desk, clock_now_ns(), may);
}

static enum status after_swap(struct actor *actor, uint32_t branch, int64_t begin_ns)
{
    const struct model_weights *weights = &actor->weights[actor->active];
    bool other_branch = branch != actor->desk.branch;
    desk_weights(&actor->desk, weights->version, branch, weights->digest);
    TRY(slots_after_swap(actor, other_branch));
    double ms = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    metric_add(&actor->metrics.swaps, 1);
    metric_set(&actor->metrics.swap_ms, ms);
    metric_set(&actor->metrics.policy_version, (double)weights->version);
    log_set_version(weights->version);
    LOG_DEBUG("weights", "swapped", "version=%" PRIu64 " digest=%016" PRIx64 " ms=%.2f",
              weights->version, weights->digest, ms);
    FAULT("actor.swapped");
    return STATUS_OK;
}

/* ---- from the channel's file ---- */

static enum status open_file(struct actor *actor)
{
    enum status status = weight_receiver_open_device(&actor->receiver, actor->weights_path,
                                                     model_layout_hash(actor->model),
                                                     actor->weights_bytes, &actor->device);
    if (status != STATUS_UNSUPPORTED || actor->settings->weights.channel != CHANNEL_AUTO)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    LOG_INFO("weights", "by NCCL", "why=\"%s\"", status_last_error());
    return open_member(actor);
}

static enum status swap_from_file(struct actor *actor)
{
    uint64_t digest = 0;
    uint32_t branch = 0;
    uint64_t version = weight_receiver_version(actor->receiver, &branch, &digest);
    bool refused = digest == actor->refused_digest && clock_now_ns() < actor->retry_ns;
    if (version == UINT64_MAX || refused || !desk_is_newer(&actor->desk, version, branch, digest))
        return STATUS_OK;
    bool may = false;
    TRY(may_swap(actor, &may));
    if (!may)
        return STATUS_OK;
    int64_t begin_ns = clock_now_ns();
    enum status status = take_version(actor, version, digest);
    if (status == STATUS_AGAIN)
        return STATUS_OK;
    return status != STATUS_OK ? status : after_swap(actor, branch, begin_ns);
}

/* ---- by NCCL ---- */

static enum status swap_from_broadcast(struct actor *actor)
{
    bool receiving = false, arrived = false;
    struct weight_arrival arrival;
    TRY(weight_member_turn(actor->member, actor->weights[inactive_set(actor)].flat, &receiving,
                           &arrived, &arrival));
    if (!arrived)
        return STATUS_OK;
    if (!desk_is_newer(&actor->desk, arrival.version, arrival.branch, arrival.digest)) {
        weight_member_answer(actor->member, true); /* sent again for a joiner */
        return STATUS_OK;
    }
    bool may = false;
    TRY(may_swap(actor, &may));
    if (!may)
        return STATUS_OK;
    int64_t begin_ns = clock_now_ns();
    enum status status = serve(actor, arrival.version, arrival.digest);
    weight_member_answer(actor->member, status == STATUS_OK);
    if (status == STATUS_AGAIN)
        return STATUS_OK;
    return status != STATUS_OK ? status : after_swap(actor, arrival.branch, begin_ns);
}

static void follow_path(struct actor *actor)
{
    if (strcmp(actor->weights_path, actor->desk.weights_path) == 0)
        return;
    snprintf(actor->weights_path, sizeof actor->weights_path, "%s", actor->desk.weights_path);
    actor_close_weights(actor);
}

enum status actor_swap_weights(struct actor *actor)
{
    follow_path(actor);
    if (actor->weights_path[0] == '\0')
        return STATUS_OK;
    if (actor->receiver == NULL && actor->member == NULL)
        TRY(strcmp(actor->weights_path, WEIGHT_PATH_NCCL) == 0 ? open_member(actor)
                                                               : open_file(actor));
    if (actor->member != NULL)
        return swap_from_broadcast(actor);
    return actor->receiver != NULL ? swap_from_file(actor) : STATUS_OK;
}

void actor_take_control(struct actor *actor, const struct weight_control *control)
{
    if (actor->member != NULL)
        weight_member_take(actor->member, control);
}

void actor_close_weights(struct actor *actor)
{
    weight_member_close(&actor->member);
    weight_receiver_close(&actor->receiver);
}
