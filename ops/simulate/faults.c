/* ops/simulate/faults.c - what goes wrong, when, and how it is put right again. */
#include <stdio.h>
#include <string.h>

#include "ops/simulate/sim.h"

enum { RESTART_MS = 300, DEAD_MIN_MS = 300, DEAD_MAX_MS = 450 };

/* ---- names ---- */

static const char *const names[SIM_FAULT_COUNT] = {
#define ROW(upper, lower, text) #lower,
    SIM_FAULT_ROWS(ROW)
#undef ROW
};

const char *sim_fault_name(enum sim_fault fault)
{
    return names[fault];
}

static enum status parse_one(const char *text, size_t size, uint32_t *faults)
{
    if (size == 3 && strncmp(text, "all", size) == 0) {
        *faults |= SIM_ALL_FAULTS;
        return STATUS_OK;
    }
    if (size == 4 && strncmp(text, "none", size) == 0)
        return STATUS_OK;
    for (int i = 0; i < SIM_FAULT_COUNT; i++)
        if (strlen(names[i]) == size && strncmp(names[i], text, size) == 0) {
            *faults |= UINT32_C(1) << i;
            return STATUS_OK;
        }
    char list[256] = "";
    for (int i = 0, used = 0; i < SIM_FAULT_COUNT; i++)
        used += snprintf(list + used, sizeof list - (size_t)used, " %s", names[i]);
    return FAIL(STATUS_INVALID, "\"%.*s\" is no fault; there are all, none, and%s", (int)size, text,
                list);
}

enum status sim_faults_parse(const char *text, uint32_t *faults)
{
    *faults = 0;
    for (const char *at = text;;) {
        size_t size = strcspn(at, ",");
        TRY(parse_one(at, size, faults));
        at += size;
        if (*at == '\0')
            return STATUS_OK;
        at++;
    }
}

/* ---- deaths ---- */

static int64_t between(struct rng *rng, int64_t least_ns, int64_t most_ns)
{
    return least_ns + (int64_t)(rng_uniform(rng) * (double)(most_ns - least_ns));
}

/* How long a supervisor takes; sometimes the machine itself has to come back. */
static int64_t restart_ns(struct world *world)
{
    bool slow = rng_below(&world->fault_rng, 10) == 0;
    if (world->setup->mtbf_ns > 0)
        return sim_spread(&world->fault_rng, world->setup->start_ns);
    return between(&world->fault_rng, 20 * SIM_MS, (slow ? 10 : 1) * RESTART_MS * SIM_MS);
}

enum status faults_kill(struct world *world, struct proc *proc)
{
    if (!proc->up)
        return STATUS_OK;
    world->result->kills++;
    return proc_kill(world, proc, restart_ns(world));
}

enum status faults_kill_store(struct world *world, const char *where)
{
    struct proc *proc = &world->procs[0];
    if (!proc->up)
        return STATUS_OK;
    sim_trace(world, "store: killed %s, %zu of %zu bytes synced", where, world->store.disk.synced,
              world->store.disk.bytes.size);
    world->result->store_kills++;
    sim_store_crash(world);
    proc->stopped = false;
    proc->wake_ns = INT64_MAX;
    proc->wake_serial++;
    TRY(disk_crash(&world->store.disk, &world->fault_rng, sim_has(world, SIM_DISK)));
    for (uint32_t i = 0; i < world->conn_count; i++) {
        struct conn *conn = &world->conns[i];
        conn->open[SIDE_SERVER] = false;
        if (conn->open[SIDE_CLIENT])
            TRY(net_close_later(world, i, SIDE_CLIENT, sim_spread(&world->fault_rng, SIM_MS)));
    }
    return event_push(&world->heap, (struct event){.at_ns = world->now_ns + restart_ns(world),
                                                   .kind = EVENT_ACTION,
                                                   .value = ACTION_BOOT});
}

static enum status strike_store(struct world *world)
{
    uint32_t where = rng_below(&world->fault_rng, 5);
    if (!world->procs[0].up || world->procs[0].stopped)
        return STATUS_OK;
    if (where == CRASH_NONE)
        return faults_kill_store(world, "at once");
    world->store.crash = (enum store_crash)where;
    return STATUS_OK;
}

/* ---- which process ---- */

static struct proc *any_client(struct world *world, bool learner_too)
{
    for (int tries = 0; tries < 8; tries++) {
        struct proc *proc = &world->procs[1 + rng_below(&world->fault_rng, world->proc_count - 1)];
        bool rare = proc->role == ROLE_LEARNER && rng_below(&world->fault_rng, 2) > 0;
        if (proc->up && (learner_too || proc->role != ROLE_LEARNER) && !rare)
            return proc;
    }
    return NULL;
}

/* ---- stops, cuts, partitions ---- */

static enum status break_if_longer(struct world *world, struct proc *proc, int64_t long_ns)
{
    int64_t dead_ns = between(&world->fault_rng, DEAD_MIN_MS * SIM_MS, DEAD_MAX_MS * SIM_MS);
    if (proc->conn == UINT32_MAX || long_ns < dead_ns)
        return STATUS_OK;
    TRY(net_close_later(world, proc->conn, SIDE_CLIENT, dead_ns));
    return net_close_later(world, proc->conn, SIDE_SERVER,
                           between(&world->fault_rng, DEAD_MIN_MS * SIM_MS, DEAD_MAX_MS * SIM_MS));
}

static enum status strike_stop(struct world *world)
{
    struct proc *proc = &world->procs[rng_below(&world->fault_rng, world->proc_count)];
    int64_t long_ns = between(&world->fault_rng, 20 * SIM_MS, 2500 * SIM_MS);
    if (!proc->up || proc->stopped)
        return STATUS_OK;
    sim_trace(world, "process %u stops for %lld ms", proc->id, (long long)(long_ns / SIM_MS));
    proc->stopped = true;
    if (proc->id != 0)
        TRY(break_if_longer(world, proc, long_ns));
    for (uint32_t i = 1; proc->id == 0 && i < world->proc_count; i++)
        if (world->procs[i].up)
            TRY(break_if_longer(world, &world->procs[i], long_ns));
    return event_push(&world->heap, (struct event){.at_ns = world->now_ns + long_ns,
                                                   .kind = EVENT_ACTION,
                                                   .target = proc->id,
                                                   .value = ACTION_CONTINUE,
                                                   .extra = proc->boot});
}

static enum status part(struct world *world, struct proc *proc, int64_t long_ns, uint32_t ways)
{
    for (int side = 0; side < 2; side++)
        if ((ways & (1u << side)) != 0)
            proc->partition_ns[side] = world->now_ns + long_ns;
    sim_trace(world, "process %u is cut off in way %u for %lld ms", proc->id, ways,
              (long long)(long_ns / SIM_MS));
    return break_if_longer(world, proc, long_ns);
}

static enum status strike_partition(struct world *world)
{
    uint32_t ways = 1 + rng_below(&world->fault_rng, 3);
    int64_t long_ns = between(&world->fault_rng, 20 * SIM_MS, 3000 * SIM_MS);
    if (rng_below(&world->fault_rng, 4) > 0) {
        struct proc *proc = any_client(world, true);
        return proc != NULL ? part(world, proc, long_ns, ways) : STATUS_OK;
    }
    for (uint32_t i = 1; i < world->proc_count; i++) /* the switch of a rack */
        if (world->procs[i].up && rng_below(&world->fault_rng, 2) == 0)
            TRY(part(world, &world->procs[i], long_ns, ways));
    return STATUS_OK;
}

static enum status strike_cut(struct world *world)
{
    struct proc *proc = any_client(world, true);
    if (proc == NULL || proc->conn == UINT32_MAX)
        return STATUS_OK;
    return net_break(world, proc->conn, 50 * SIM_MS, rng_below(&world->fault_rng, 2) == 0);
}

/* ---- the rest ---- */

static enum status strike_disk(struct world *world)
{
    if (rng_below(&world->fault_rng, 3) == 0) {
        world->store.full_until_ns =
            world->now_ns + between(&world->fault_rng, 50 * SIM_MS, 1500 * SIM_MS);
        sim_trace(world, "disk full");
        return STATUS_OK;
    }
    if (world->store.step == STORE_SYNCING) /* this sync takes long: its wake comes later */
        return event_push(&world->heap, (struct event){.at_ns = world->now_ns,
                                                       .kind = EVENT_ACTION,
                                                       .value = ACTION_SLOW_SYNC});
    return STATUS_OK;
}

static enum status strike_churn(struct world *world)
{
    uint32_t up = 0;
    for (uint32_t i = 1; i < world->proc_count; i++)
        up += world->procs[i].up && world->procs[i].role == ROLE_ACTOR && !world->procs[i].twin;
    for (uint32_t i = 1; i < world->proc_count; i++) {
        struct proc *proc = &world->procs[i];
        if (proc->role != ROLE_ACTOR || proc->twin || rng_below(&world->fault_rng, 3) > 0)
            continue;
        if (proc->gone && !proc->up) {
            proc->gone = false;
            return proc_boot(world, proc);
        }
        if (proc->up && up > 1 && !proc->actor.leaving) {
            proc->actor.leaving = true;
            proc->actor.leave_ns = proc_clock(world, proc) + 5 * SIM_S;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

static enum status strike_twin(struct world *world)
{
    struct proc *twin = &world->procs[world->proc_count - 1];
    if (!twin->twin || twin->up)
        return STATUS_OK;
    twin->gone = false;
    twin->index = rng_below(&world->fault_rng, world->setup->actors);
    return proc_boot(world, twin);
}

static enum status strike_rescore(struct world *world)
{
    world->store.rescore = true;
    return STATUS_OK;
}

static enum status strike_kill(struct world *world)
{
    struct proc *proc = any_client(world, true);
    return proc != NULL ? faults_kill(world, proc) : STATUS_OK;
}

/* The learner dies, and what its successor makes again differs. */
static enum status strike_branch(struct world *world)
{
    if (world->procs[1].up && rng_below(&world->fault_rng, 3) == 0)
        world->salt++;
    return faults_kill(world, &world->procs[1]);
}

enum status faults_strike(struct world *world)
{
    static enum status (*const strikes[SIM_FAULT_COUNT])(struct world * world) = {
        [SIM_KILL] = strike_kill,     [SIM_STORE] = strike_store,
        [SIM_STOP] = strike_stop,     [SIM_PARTITION] = strike_partition,
        [SIM_CUT] = strike_cut,       [SIM_DISK] = strike_disk,
        [SIM_CHURN] = strike_churn,   [SIM_TWIN] = strike_twin,
        [SIM_BRANCH] = strike_branch, [SIM_RESCORE] = strike_rescore};
    uint32_t kind = rng_below(&world->fault_rng, SIM_FAULT_COUNT);
    if (sim_quiet(world))
        return STATUS_OK;
    if (strikes[kind] != NULL && sim_has(world, (enum sim_fault)kind)) {
        world->result->faults[kind]++;
        sim_trace(world, "fault: %s", names[kind]);
        TRY(strikes[kind](world));
    }
    int64_t pause_ns = sim_spread(&world->fault_rng, world->setup->fault_ns / 2);
    return event_push(&world->heap,
                      (struct event){.at_ns = world->now_ns + pause_ns, .kind = EVENT_FAULT});
}

/* Of a forecast: each process dies once in mtbf_ns on average. */
enum status faults_wear(struct world *world)
{
    struct proc *proc = &world->procs[rng_below(&world->fault_rng, world->proc_count)];
    int64_t pause_ns =
        sim_spread(&world->fault_rng, world->setup->mtbf_ns / (int64_t)world->proc_count);
    TRY(proc->id == 0 ? faults_kill_store(world, "at once") : faults_kill(world, proc));
    return event_push(
        &world->heap,
        (struct event){.at_ns = world->now_ns + pause_ns, .kind = EVENT_FAULT, .value = 1});
}

enum status faults_begin(struct world *world)
{
    const struct sim_setup *setup = world->setup;
    if (setup->mtbf_ns > 0)
        TRY(event_push(&world->heap,
                       (struct event){.at_ns = setup->mtbf_ns / (int64_t)world->proc_count,
                                      .kind = EVENT_FAULT,
                                      .value = 1}));
    if (setup->faults == 0)
        return STATUS_OK;
    TRY(event_push(
        &world->heap,
        (struct event){.at_ns = setup->faults_end_ns, .kind = EVENT_ACTION, .value = ACTION_CALM}));
    return event_push(&world->heap, (struct event){.at_ns = sim_spread(&world->fault_rng, SIM_S),
                                                   .kind = EVENT_FAULT});
}

/* ---- time to put right ---- */

/* Faults are over: actors that were sent away may come back, and nobody claims the place of another. */
static enum status calm(struct world *world)
{
    sim_trace(world, "faults are over");
    for (uint32_t i = 1; i < world->proc_count; i++) {
        struct proc *proc = &world->procs[i];
        if (proc->twin && proc->up)
            TRY(proc_kill(world, proc, 0));
        if (proc->role != ROLE_ACTOR || proc->twin || !proc->gone || world->store.over)
            continue;
        proc->gone = false;
        TRY(proc_boot(world, proc));
    }
    return STATUS_OK;
}

enum status faults_act(struct world *world, const struct event *event)
{
    struct proc *proc = &world->procs[event->target];
    switch ((enum action)event->value) {
    case ACTION_BOOT:
        return proc_boot(world, proc);
    case ACTION_CONTINUE:
        if (!proc->up || !proc->stopped || proc->boot != event->extra)
            return STATUS_OK;
        proc->stopped = false;
        sim_trace(world, "process %u goes on", proc->id);
        return proc_wake(world, proc, world->now_ns);
    case ACTION_CALM:
        return calm(world);
    case ACTION_SLOW_SYNC:
        if (world->store.step != STORE_SYNCING || !proc->up)
            return STATUS_OK;
        proc->wake_ns = INT64_MAX;
        proc->wake_serial++;
        return proc_wake(world, proc,
                         world->now_ns + between(&world->fault_rng, 100 * SIM_MS, 3000 * SIM_MS));
    }
    return STATUS_OK;
}
