/* ops/simulate/actor.c - an actor: the real desk, and an engine whose tokens are a pure function.
 *
 * A turn is a decode step: every running slot gets tokens. With a rate, its slots share it, in coarse steps. New
 * weights are seen some time after they were published; a damaged copy is refused and tried again after a second. */
#include <inttypes.h>
#include <math.h>

#include "ops/simulate/sim.h"

enum { PROMPT_MAX = 16, SEE_MS = 30, RETRY_MS = 1000, IDLE_MS = 20 };
static const uint32_t END_OF_TEXT[] = {0};

/* ---- poison ---- */

static void spoil(struct world *world, struct segment *segment, struct arena *arena)
{
    world->result->faults[SIM_POISON]++;
    switch (rng_below(&world->fault_rng, 6)) {
    case 0:
        segment->digest ^= 4;
        return;
    case 1:
        segment->version += 3;
        return;
    case 2:
        segment->first_position += 1;
        return;
    case 3:
        segment->sample += 1000;
        return;
    case 4:
        segment->group_id += 100000;
        return;
    default: {
        uint32_t *ids = arena_copy(arena, segment->ids, segment->count * sizeof *ids);
        if (ids != NULL && segment->count > 0)
            ids[0] = world->setup->vocabulary + 3;
        segment->ids = ids != NULL ? ids : segment->ids;
    }
    }
}

/* What a broken actor would say: one segment of a frame is wrong, and its bytes are sound. */
static enum status send(void *self, const struct message *message)
{
    struct proc *proc = self;
    struct world *world = proc->world;
    struct message copy = *message;
    bool spoils = message->type == MESSAGE_segment_frame && sim_has(world, SIM_POISON) &&
                  !sim_quiet(world) && sim_chance(&world->fault_rng, 0.02);
    if (!spoils)
        return proc_send(self, message);
    const struct segment_frame *frame = &message->segment_frame;
    struct arena *arena = world->audit != NULL ? world->arena : NULL;
    struct segment *segments =
        arena != NULL ? arena_copy(arena, frame->segments, frame->count * sizeof *segments) : NULL;
    if (segments == NULL)
        return proc_send(self, message);
    spoil(world, &segments[rng_below(&world->fault_rng, frame->count)], arena);
    copy.segment_frame.segments = segments;
    sim_trace(world, "actor.%u poisons frame %" PRIu64, proc->index, frame->frame_id);
    return proc_send(self, &copy);
}

enum status sim_actor_begin(struct world *world, struct proc *proc)
{
    const struct settings *settings = &world->setup->settings;
    struct actor_state *actor = &proc->actor;
    *actor = (struct actor_state){.turned_ns = world->now_ns};
    uint32_t longest = settings->sampling.response_tokens_max + PROMPT_MAX;
    struct desk_config config = {.incarnation = proc->incarnation,
                                 .numerics_id = 8,
                                 .slots = settings->actor.slots,
                                 .cache_tokens = (uint64_t)settings->actor.slots * longest,
                                 .positions_max = longest,
                                 .vocabulary = world->setup->vocabulary,
                                 .eos = END_OF_TEXT,
                                 .eos_count = 1,
                                 .segment_tokens = settings->actor.segment_tokens,
                                 .segment_ns = settings->actor.segment_ms * SIM_MS,
                                 .unacked_frames_max = settings->actor.unacked_frames_max,
                                 .metrics = &actor->metrics,
                                 .send = send,
                                 .self = proc};
    if (settings->actor.cache_tokens > 0)
        config.cache_tokens = settings->actor.cache_tokens;
    return desk_create(&actor->desk, &config);
}

/* What a lease brings must be what was made before. */
static void check_grant(struct world *world, const struct lease_grant *grant)
{
    for (uint32_t i = 0; i < grant->count; i++) {
        const struct lease *lease = &grant->leases[i];
        uint32_t most = audit_lease_cap(world, lease->lease_id);
        uint32_t so_far = lease->span_count > 1 ? lease->spans[1].count : 0;
        if (most != 0 && lease->budget + so_far != most)
            sim_violation(world, "budget",
                          "lease %" PRIu64 " has %u tokens and a budget of %u, %u in all",
                          lease->lease_id, so_far, lease->budget, most);
    }
}

enum status sim_actor_take(struct world *world, struct proc *proc, const struct message *message)
{
    if (message->type == MESSAGE_lease_grant && world->audit != NULL)
        check_grant(world, &message->lease_grant);
    return desk_take(&proc->actor.desk, proc_clock(world, proc), message);
}

/* ---- weights ---- */

static enum status look_for_weights(struct world *world, struct proc *proc)
{
    struct actor_state *actor = &proc->actor;
    int64_t now_ns = proc_clock(world, proc);
    uint64_t newest = world->publication_count;
    if (actor->seen == newest || now_ns < actor->retry_ns)
        return STATUS_OK;
    const struct publication *found = &world->publications[newest - 1];
    int64_t late_ns = SEE_MS * SIM_MS * (1 + (int64_t)((newest * 7 + proc->id * 13) % 5)) / 3;
    if (sim_has(world, SIM_WEIGHTS))
        late_ns *= 1 + (int64_t)((newest + proc->id) % 4) * 6;
    if (world->now_ns < found->at_ns + late_ns)
        return STATUS_OK;
    const struct weights *weights = &found->weights;
    if (!desk_is_newer(&actor->desk, weights->version, weights->branch, weights->digest)) {
        if (actor->desk.version_known != UINT64_MAX)
            actor->seen = newest;
        return STATUS_OK;
    }
    if (sim_has(world, SIM_WEIGHTS) && sim_chance(&world->fault_rng, 0.1)) {
        world->result->faults[SIM_WEIGHTS]++; /* its digest differs: never served */
        actor->retry_ns = now_ns + RETRY_MS * SIM_MS;
        return STATUS_OK;
    }
    bool all = false;
    TRY(desk_flush(&actor->desk, now_ns, &all));
    if (!all)
        return STATUS_OK;
    bool other_branch = actor->desk.serving && weights->branch != actor->desk.branch;
    desk_weights(&actor->desk, weights->version, weights->branch, weights->digest);
    actor->seen = newest;
    bool rebuild = other_branch || world->setup->settings.actor.kv_on_swap == KV_ON_SWAP_RECOMPUTE;
    for (uint32_t i = 0; rebuild && i < actor->desk.config.slots; i++) {
        struct slot *slot = &actor->desk.slots[i];
        if (slot->state != SLOT_DECODE)
            continue;
        slot->rebuilt_at = slot->response;
        slot->kv_version_min = UINT64_MAX;
    }
    sim_trace(world, "actor.%u serves version %" PRIu64 " of branch %u", proc->index,
              weights->version, weights->branch);
    return STATUS_OK;
}

/* ---- tokens ---- */

static void push(struct world *world, struct proc *proc, uint32_t index)
{
    struct desk *desk = &proc->actor.desk;
    const struct slot *slot = &desk->slots[index];
    uint64_t group = slot->group_id;
    uint32_t position = slot->response;
    uint32_t token = truth_token(world, group, slot->sample, position, desk->version, desk->digest);
    float logprob = truth_logprob(group, slot->sample, position, desk->digest);
    desk_push(desk, index, token, logprob, logprob, false);
}

static uint32_t running(struct desk *desk)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < desk->config.slots; i++) {
        if (desk->slots[i].state == SLOT_WAITING && desk_may_run(desk, i))
            desk->slots[i].state = SLOT_DECODE;
        count += desk->slots[i].state == SLOT_DECODE;
    }
    return count;
}

/* Tokens of each slot in this turn: fixed, or what the rate gives for the time since the last one. */
static uint32_t tokens_now(struct world *world, struct proc *proc, uint32_t slots)
{
    struct actor_state *actor = &proc->actor;
    double rate = world->setup->slot_tokens_per_s;
    int64_t since_ns = world->now_ns - actor->turned_ns;
    actor->turned_ns = world->now_ns;
    if (slots == 0) {
        actor->work_ns = 0;
        return 0;
    }
    if (rate <= 0)
        return world->setup->turn_tokens;
    proc->busy_ns += since_ns;
    actor->work_ns += since_ns;
    double each_ns = (double)SIM_S * slots / rate;
    double tokens = floor((double)actor->work_ns / each_ns);
    actor->work_ns -= (int64_t)(tokens * each_ns);
    return (uint32_t)tokens;
}

static bool decode(struct world *world, struct proc *proc)
{
    struct desk *desk = &proc->actor.desk;
    bool may = desk_may_decode(desk);
    uint32_t slots = may ? running(desk) : 0, each = tokens_now(world, proc, slots);
    for (uint32_t i = 0; slots > 0 && i < desk->config.slots; i++)
        for (uint32_t t = 0; t < each && desk->slots[i].state == SLOT_DECODE; t++)
            push(world, proc, i);
    return slots > 0;
}

/* When faults are over somebody must be left to do the work. */
static enum status leave_for_a_while(struct world *world, struct proc *proc)
{
    TRY(proc_leave(world, proc, "leaving"));
    if (!sim_quiet(world))
        return STATUS_OK;
    proc->gone = false;
    return event_push(&world->heap, (struct event){.at_ns = world->now_ns + IDLE_MS * SIM_MS,
                                                   .kind = EVENT_ACTION,
                                                   .target = proc->id,
                                                   .value = ACTION_BOOT});
}

enum status sim_actor_turn(struct world *world, struct proc *proc, int64_t *next_ns)
{
    struct actor_state *actor = &proc->actor;
    int64_t now_ns = proc_clock(world, proc);
    if (actor->desk.stopping)
        return proc_leave(world, proc, "the run is over");
    if (actor->desk.draining && !actor->leaving) {
        actor->leaving = true;
        actor->leave_ns = now_ns + world->setup->settings.run.drain_s * SIM_S;
    }
    if (actor->leaving) {
        desk_hand_back(&actor->desk);
        if (desk_is_empty(&actor->desk) || now_ns > actor->leave_ns)
            return leave_for_a_while(world, proc);
    } else {
        TRY(look_for_weights(world, proc));
    }
    bool worked = decode(world, proc);
    TRY(desk_turn(&actor->desk, now_ns));
    if (actor->desk.writer.count > actor->desk.writer.limit)
        sim_violation(world, "memory", "actor.%u keeps %u frames, its limit is %u", proc->index,
                      actor->desk.writer.count, actor->desk.writer.limit);
    bool waits = !worked && !desk_holds_slots(&actor->desk);
    int64_t turn_ns = world->setup->turn_ns;
    *next_ns = world->now_ns + (waits && turn_ns < IDLE_MS * SIM_MS ? IDLE_MS * SIM_MS : turn_ns);
    return STATUS_OK;
}
