/* actor/leases.c - work in: leases become slots, waiting slots get room, cancelled ones end. */
#include "actor/actor_state.h"

#include "core/log.h"

#include <inttypes.h>
#include <string.h>

static struct slot *free_slot(struct actor *actor)
{
    for (uint32_t i = 0; i < actor->slot_count; i++)
        if (actor->slots[i].state == SLOT_FREE)
            return &actor->slots[i];
    return NULL;
}

static bool is_held(const struct actor *actor, uint64_t lease_id)
{
    for (uint32_t i = 0; i < actor->slot_count; i++)
        if (actor->slots[i].state != SLOT_FREE && actor->slots[i].lease_id == lease_id)
            return true;
    return false;
}

/* ---- leases that do not run here ---- */

static uint32_t tokens_so_far(const struct lease *lease)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < lease->span_count; i++)
        if (lease->spans[i].source == SPAN_MODEL)
            count += lease->spans[i].count;
    return count;
}

/* The answer is a segment without tokens. A lease that no actor of this kind can run (`never`) names no
 * weights, which the store counts as a failed attempt: a group of such leases is dropped and not leased
 * for ever. */
static void give_back(struct actor *actor, const struct lease *lease, enum segment_status status,
                      bool never)
{
    if (actor->refused_count == actor->refused_limit || actor->active < 0) {
        LOG_ERROR("leases", "a lease is left to expire", "lease=%" PRIu64 " refused=%u",
                  lease->lease_id, actor->refused_count);
        return;
    }
    const struct model_weights *weights = &actor->weights[actor->active];
    actor->refused[actor->refused_count++] =
        (struct segment){.lease_id = lease->lease_id,
                         .group_id = lease->group_id,
                         .sample = lease->sample,
                         .attempt = lease->attempt,
                         .first_position = tokens_so_far(lease),
                         .version = never ? UINT64_MAX : weights->version,
                         .digest = never ? 0 : weights->digest,
                         .kv_version_min = never ? UINT64_MAX : weights->version,
                         .rebuilt_at = UINT32_MAX,
                         .repetition_run = lease->repetition_run,
                         .numerics_id = actor->numerics_id,
                         .proof = never ? PROOF_NONE : PROOF_OWN,
                         .status = status};
}

static enum status check_ids(const struct actor *actor, const struct slot *slot)
{
    for (uint32_t t = 0; t < slot_length(slot); t++)
        if (slot->ids[t] >= (uint32_t)actor->shape.vocabulary)
            return FAIL(STATUS_INVALID,
                        "lease %" PRIu64 ": token %u at %u is outside the vocabulary of %d; the "
                        "store's tokenizer and the actor's model differ",
                        slot->lease_id, slot->ids[t], t, actor->shape.vocabulary);
    return STATUS_OK;
}

/* Fills a free slot. INVALID, UNSUPPORTED and LIMIT: this lease cannot run, the slot stays free. */
static enum status fill_slot(struct actor *actor, struct slot *slot, const struct lease *lease)
{
    TRY(slot_fill(slot, lease, actor->run_seed, actor->settings->sampling.repetition_tokens));
    enum status status = check_ids(actor, slot);
    if (status == STATUS_OK && slot->capacity > actor->positions_max)
        status = FAIL(STATUS_LIMIT,
                      "lease %" PRIu64 ": %u tokens, the cache holds sequences of %u "
                      "(data.prompt_tokens_max + sampling.response_tokens_max)",
                      lease->lease_id, slot->capacity, actor->positions_max);
    if (status != STATUS_OK)
        slot_clear(slot);
    return status;
}

static enum status take_lease(struct actor *actor, const struct lease *lease)
{
    if (is_held(actor, lease->lease_id))
        return STATUS_OK; /* said twice */
    struct slot *slot = free_slot(actor);
    if (slot == NULL) { /* the store counts our slots; if it is wrong somebody else may have room */
        LOG_WARN("leases", "a lease too many", "lease=%" PRIu64 " slots=%u", lease->lease_id,
                 actor->slot_count);
        give_back(actor, lease, SEGMENT_ABORT, false);
        return STATUS_OK;
    }
    if (lease->budget == 0) {
        give_back(actor, lease, SEGMENT_LENGTH, false);
        return STATUS_OK;
    }
    enum status status = fill_slot(actor, slot, lease);
    if (status == STATUS_INVALID || status == STATUS_UNSUPPORTED || status == STATUS_LIMIT) {
        LOG_FAILURE("leases", "refused a lease", status);
        give_back(actor, lease, SEGMENT_ABORT, true);
        return STATUS_OK;
    }
    if (status == STATUS_OK && slot->response > 0)
        metric_add(&actor->metrics.rollouts_continued, 1);
    return status;
}

enum status actor_take_grant(struct actor *actor, const struct lease_grant *grant)
{
    for (uint32_t i = 0; i < grant->count; i++)
        TRY(take_lease(actor, &grant->leases[i]));
    return STATUS_OK;
}

/* ---- ends ---- */

void actor_end_slot(struct actor *actor, uint32_t index)
{
    model_cache_close(actor->cache, (int32_t)index);
    slot_clear(&actor->slots[index]);
    /* Whoever followed it starts over: the first of them leads the others. */
    for (uint32_t i = 0; i < actor->slot_count; i++)
        if (actor->slots[i].state == SLOT_FOLLOWING && actor->slots[i].leader == index) {
            model_cache_close(actor->cache, (int32_t)i);
            actor->slots[i].state = SLOT_WAITING;
        }
}

void actor_cancel(struct actor *actor, const uint64_t *leases, uint32_t count)
{
    for (uint32_t c = 0; c < count; c++)
        for (uint32_t i = 0; i < actor->slot_count; i++)
            if (actor->slots[i].state != SLOT_FREE && actor->slots[i].lease_id == leases[c])
                actor_end_slot(actor, i);
}

/* ---- starts ---- */

/* A sibling with the same prompt that has not finished its prefill yet: its cache will be forked. */
static bool find_leader(const struct actor *actor, uint32_t index, uint32_t *leader)
{
    const struct slot *slot = &actor->slots[index];
    if (slot->response > 0)
        return false;
    for (uint32_t i = 0; i < actor->slot_count; i++) {
        const struct slot *other = &actor->slots[i];
        if (i != index && other->state == SLOT_PREFILL && other->group_id == slot->group_id &&
            other->response == 0 && other->prompt == slot->prompt &&
            memcmp(other->ids, slot->ids, slot->prompt * sizeof *slot->ids) == 0) {
            *leader = i;
            return true;
        }
    }
    return false;
}

/* LIMIT is the only failure of model_cache_open that can happen here; the slot waits for pages. */
static void start_slot(struct actor *actor, uint32_t index)
{
    struct slot *slot = &actor->slots[index];
    if (model_cache_open(actor->cache, (int32_t)index, (int32_t)slot->capacity) != STATUS_OK)
        return;
    slot->cached = 0;
    slot->kv_version_min = UINT64_MAX;
    slot->state = find_leader(actor, index, &slot->leader) ? SLOT_FOLLOWING : SLOT_PREFILL;
}

void actor_start_waiting(struct actor *actor)
{
    uint32_t waiting = 0, running = 0;
    for (uint32_t i = 0; i < actor->slot_count; i++) {
        struct slot *slot = &actor->slots[i];
        if (slot->state == SLOT_WAITING && actor->active >= 0 &&
            actor_version(actor) >= slot->min_version)
            start_slot(actor, i);
        waiting += slot->state == SLOT_WAITING;
        running += slot->state != SLOT_WAITING && slot->state != SLOT_FREE;
    }
    metric_set(&actor->metrics.sequences_waiting, waiting);
    metric_set(&actor->metrics.sequences_running, running);
    metric_set(&actor->metrics.kv_pages_free, model_cache_pages_free(actor->cache));
}
