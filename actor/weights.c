/* actor/weights.c - new weights between two decode steps (DESIGN.md part 4, Weights). */
#include "actor/actor_state.h"

#include "core/clock.h"
#include "core/log.h"

#include <inttypes.h>

enum { RETRY_MS = 1000 };

/* The copy is wrong: it is not looked at again for a while, or every turn would copy all bytes. */
static enum status refuse_copy(struct actor *actor, uint64_t digest)
{
    metric_add(&actor->metrics.digest_refused, 1);
    actor->refused_digest = digest;
    actor->retry_ns = clock_now_ns() + (int64_t)RETRY_MS * CLOCK_NS_PER_MS;
    return STATUS_AGAIN;
}

/* A version is copied into the inactive set, checked against the digest the learner announced, packed,
 * and only then does the pointer flip. */
static enum status take_version(struct actor *actor, uint64_t version, uint64_t digest)
{
    int next = actor->active == 0 ? 1 : 0;
    enum status status = weight_receiver_copy(actor->receiver, version, digest, actor->staging);
    if (status == STATUS_NOT_FOUND)
        return STATUS_AGAIN; /* a restarted learner is just putting its file there */
    if (status == STATUS_CORRUPT) {
        LOG_FAILURE("weights", "refused a copy", status);
        return refuse_copy(actor, digest);
    }
    if (status != STATUS_OK)
        return status;
    TRY(model_weights_load(actor->model, &actor->weights[next], actor->staging, version));
    if (actor->weights[next].digest != digest) {
        LOG_ERROR("weights", "digest after loading differs",
                  "version=%" PRIu64 " announced=%016" PRIx64 " own=%016" PRIx64, version, digest,
                  actor->weights[next].digest);
        return refuse_copy(actor, digest);
    }
    actor->active = next;
    return STATUS_OK;
}

/* What slots had is reported already, so their next segment is of the new version alone. With `recompute`
 * caches are made again from the tokens; always after a change of branch, whose version numbers say
 * nothing about the age of what was computed on the other one. */
static enum status slots_after_swap(struct actor *actor, bool other_branch)
{
    bool recompute = other_branch || actor->settings->actor.kv_on_swap == KV_ON_SWAP_RECOMPUTE;
    for (uint32_t i = 0; i < actor->slot_count; i++) {
        struct slot *slot = &actor->slots[i];
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

/* The channel offers something that should be served instead of the active weights. */
static bool is_wanted(const struct actor *actor, uint64_t version, uint32_t branch, uint64_t digest)
{
    bool newer = actor->active < 0 || branch > actor->branch ||
                 (branch == actor->branch && version > actor_version(actor));
    bool refused = digest == actor->refused_digest && clock_now_ns() < actor->retry_ns;
    bool other = branch == actor->branch_known && version == actor->version_known &&
                 actor->digest_known != 0 && digest != actor->digest_known;
    return newer && !refused && !other;
}

enum status actor_swap_weights(struct actor *actor)
{
    if (actor->weights_path[0] == '\0')
        return STATUS_OK;
    if (actor->receiver == NULL) {
        enum status status =
            weight_receiver_open(&actor->receiver, actor->weights_path,
                                 model_layout_hash(actor->model), actor->weights_bytes);
        if (status == STATUS_NOT_FOUND)
            return STATUS_OK;
        if (status != STATUS_OK)
            return status;
    }
    uint64_t digest = 0;
    uint32_t branch = 0;
    uint64_t version = weight_receiver_version(actor->receiver, &branch, &digest);
    if (version == UINT64_MAX || !is_wanted(actor, version, branch, digest))
        return STATUS_OK;
    /* Tokens of the old weights leave first; when the writer is full the swap waits for an acknowledgement. */
    TRY(actor_flush_segments(actor, true));
    if (segment_writer_full(&actor->writer))
        return STATUS_OK;
    int64_t begin_ns = clock_now_ns();
    enum status status = take_version(actor, version, digest);
    if (status == STATUS_AGAIN)
        return STATUS_OK;
    if (status != STATUS_OK)
        return status;
    bool other_branch = branch != actor->branch;
    actor->branch = branch;
    TRY(slots_after_swap(actor, other_branch));
    double ms = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    metric_add(&actor->metrics.swaps, 1);
    metric_set(&actor->metrics.swap_ms, ms);
    metric_set(&actor->metrics.policy_version, (double)version);
    log_set_version(version);
    LOG_DEBUG("weights", "swapped", "version=%" PRIu64 " digest=%016" PRIx64 " ms=%.2f", version,
              digest, ms);
    return STATUS_OK;
}
