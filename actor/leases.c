/* actor/leases.c - room for slots: waiting ones get cache, ended ones give it back. */
#include "actor/engine.h"

#include "core/clock.h"

#include <string.h>

void engine_slot_ended(struct engine *engine, uint32_t index)
{
    model_cache_close(engine->cache, (int32_t)index);
    /* Whoever followed it starts over: the first of them leads the others. */
    for (uint32_t i = 0; i < engine->desk.config.slots; i++) {
        struct slot *slot = &engine->desk.slots[i];
        if (slot->state == SLOT_FOLLOWING && slot->leader == index) {
            model_cache_close(engine->cache, (int32_t)i);
            slot->state = SLOT_WAITING;
        }
    }
}

/* A sibling with the same prompt that has not finished its prefill yet: its cache will be forked. */
static bool find_leader(const struct engine *engine, uint32_t index, uint32_t *leader)
{
    const struct slot *slot = &engine->desk.slots[index];
    if (slot->response > 0 || slot->report_prompt)
        return false;
    for (uint32_t i = 0; i < engine->desk.config.slots; i++) {
        const struct slot *other = &engine->desk.slots[i];
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
static void start_slot(struct engine *engine, uint32_t index)
{
    struct slot *slot = &engine->desk.slots[index];
    if (model_cache_open(engine->cache, (int32_t)index, (int32_t)slot->capacity) != STATUS_OK)
        return;
    slot->cached = 0;
    slot->kv_version_min = UINT64_MAX;
    slot->state = find_leader(engine, index, &slot->leader) ? SLOT_FOLLOWING : SLOT_PREFILL;
}

void engine_start_waiting(struct engine *engine)
{
    uint32_t waiting = 0, running = 0;
    int64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < engine->desk.config.slots; i++) {
        struct slot *slot = &engine->desk.slots[i];
        if (desk_may_run(&engine->desk, i))
            start_slot(engine, i);
        if (slot->state != SLOT_FREE && slot->arrived_ns == 0)
            slot->arrived_ns = now_ns;
        waiting += slot->state == SLOT_WAITING;
        running += slot->state != SLOT_WAITING && slot->state != SLOT_FREE;
    }
    metric_set(&engine->metrics.sequences_waiting, waiting);
    metric_set(&engine->metrics.sequences_running, running);
    int32_t free_pages = model_cache_pages_free(engine->cache);
    metric_set(&engine->metrics.kv_pages_free, free_pages);
    if (engine->cache_pages > 0)
        metric_set(&engine->metrics.kv_used_frac,
                   1.0 - (double)free_pages / (double)engine->cache_pages);
}
