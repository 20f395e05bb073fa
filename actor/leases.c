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

enum status actor_take_grant(struct actor *actor, const struct lease_grant *grant)
{
    for (uint32_t i = 0; i < grant->count; i++) {
        const struct lease *lease = &grant->leases[i];
        struct slot *slot = free_slot(actor);
        if (slot ==
            NULL) /* the store counts our slots; a lease too many expires there and is given to another */
            return FAIL(STATUS_LIMIT, "lease %" PRIu64 ": all %u slots are taken", lease->lease_id,
                        actor->slot_count);
        TRY(slot_fill(slot, lease, actor->run_seed, actor->settings->sampling.repetition_tokens));
        for (uint32_t t = 0; t < slot_length(slot); t++)
            if (slot->ids[t] >= (uint32_t)actor->shape.vocabulary)
                return FAIL(STATUS_INVALID,
                            "lease %" PRIu64
                            ": token %u at %u is outside the vocabulary of %d; the store's "
                            "tokenizer and the actor's model differ",
                            lease->lease_id, slot->ids[t], t, actor->shape.vocabulary);
        if (slot->response > 0)
            metric_add(&actor->metrics.rollouts_continued, 1);
    }
    return STATUS_OK;
}

static void end_slot(struct actor *actor, uint32_t index)
{
    if (actor->slots[index].state == SLOT_PREFILL || actor->slots[index].state == SLOT_DECODE ||
        actor->slots[index].state == SLOT_FOLLOWING)
        model_cache_close(actor->cache, (int32_t)index);
    /* whoever followed this slot prefills alone */
    for (uint32_t i = 0; i < actor->slot_count; i++)
        if (actor->slots[i].state == SLOT_FOLLOWING && actor->slots[i].leader == index)
            actor->slots[i].state = SLOT_PREFILL;
    slot_clear(&actor->slots[index]);
}

void actor_cancel(struct actor *actor, const uint64_t *leases, uint32_t count)
{
    for (uint32_t c = 0; c < count; c++)
        for (uint32_t i = 0; i < actor->slot_count; i++)
            if (actor->slots[i].state != SLOT_FREE && actor->slots[i].lease_id == leases[c])
                end_slot(actor, i);
}

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

void actor_start_waiting(struct actor *actor)
{
    uint32_t waiting = 0, running = 0;
    for (uint32_t i = 0; i < actor->slot_count; i++) {
        struct slot *slot = &actor->slots[i];
        if (slot->state == SLOT_WAITING && actor->active >= 0 &&
            actor_version(actor) >= slot->min_version) {
            enum status status =
                model_cache_open(actor->cache, (int32_t)i, (int32_t)slot->capacity);
            if (status == STATUS_OK)
                slot->state = find_leader(actor, i, &slot->leader) ? SLOT_FOLLOWING : SLOT_PREFILL;
        }
        waiting += slot->state == SLOT_WAITING;
        running += slot->state != SLOT_WAITING && slot->state != SLOT_FREE;
    }
    metric_set(&actor->metrics.sequences_waiting, waiting);
    metric_set(&actor->metrics.sequences_running, running);
    metric_set(&actor->metrics.kv_pages_free, model_cache_pages_free(actor->cache));
}
