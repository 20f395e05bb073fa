/* ops/simulate/proc.c - processes: their clocks, when they wake, how they start, die and leave. */
#include <string.h>

#include "core/memory.h"
#include "ops/simulate/sim.h"

enum { IDLE_MS = 50 };

/* ---- clocks ---- */

int64_t proc_clock(const struct world *world, const struct proc *proc)
{
    return proc->clock_offset_ns + (int64_t)((double)world->now_ns * proc->clock_rate);
}

int64_t proc_when(const struct world *world, const struct proc *proc, int64_t clock_ns)
{
    int64_t clock_now_ns = proc_clock(world, proc);
    if (clock_ns <= clock_now_ns)
        return world->now_ns;
    if (clock_ns - clock_now_ns > 1000 * SIM_S)
        return world->now_ns + 1000 * SIM_S;
    return world->now_ns + 1 + (int64_t)((double)(clock_ns - clock_now_ns) / proc->clock_rate);
}

/* A process has one wake to come, the earliest that was asked for. */
enum status proc_wake(struct world *world, struct proc *proc, int64_t at_ns)
{
    if (proc->wake_ns <= at_ns)
        return STATUS_OK;
    proc->wake_ns = at_ns;
    return event_push(&world->heap, (struct event){.at_ns = at_ns,
                                                   .kind = EVENT_WAKE,
                                                   .target = proc->id,
                                                   .value = ++proc->wake_serial});
}

/* ---- life ---- */

static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    const struct proc *proc = self;
    if (proc->role == ROLE_ACTOR)
        heartbeat->version = proc->actor.desk.serving ? proc->actor.desk.version : 0;
    if (proc->role == ROLE_LEARNER)
        heartbeat->version = proc->learner.version;
}

static enum status link_out(void *self, const void *bytes, size_t size)
{
    struct proc *proc = self;
    if (proc->conn == UINT32_MAX)
        return STATUS_AGAIN;
    enum status status = net_send(proc->world, proc->conn, SIDE_SERVER, bytes, size);
    return status == STATUS_NETWORK ? STATUS_AGAIN : status;
}

enum status proc_send(void *self, const struct message *message)
{
    struct proc *proc = self;
    if (!link_core_welcomed(proc->link))
        return STATUS_AGAIN;
    if (proc->world->audit != NULL)
        TRY(audit_said(proc->world, proc, message));
    sim_trace(proc->world, "%s.%u -> store: %s",
              proc->role == ROLE_ACTOR    ? "actor"
              : proc->role == ROLE_REWARD ? "reward"
                                          : "learner",
              proc->index, message_name(message->type));
    return link_core_send(proc->link, message);
}

static enum status role_begin(struct world *world, struct proc *proc)
{
    return proc->role == ROLE_ACTOR    ? sim_actor_begin(world, proc)
           : proc->role == ROLE_REWARD ? sim_worker_begin(world, proc)
                                       : sim_learner_begin(world, proc);
}

enum status proc_boot(struct world *world, struct proc *proc)
{
    if (proc->up || proc->gone || world->over)
        return STATUS_OK;
    if (proc->id == 0)
        return sim_store_boot(world);
    bool model = proc->role != ROLE_REWARD;
    proc->up = true;
    proc->stopped = false;
    proc->boot++;
    proc->incarnation = rng_u64(&world->rng) | 1;
    proc->conn = UINT32_MAX;
    struct hello hello = {.run = "simulated",
                          .role = proc->role,
                          .index = proc->index,
                          .incarnation = proc->incarnation,
                          .pid = (uint32_t)(1000 + proc->id * 100 + proc->boot),
                          .host = "simulated",
                          .layout_hash = model ? 9 : 0,
                          .numerics_id = model ? 8 : 0,
                          .numerics = model ? "simulated" : "",
                          .vocabulary = model ? world->setup->vocabulary : 0};
    TRY(link_core_create(&proc->link, &hello, "simulated", link_out, proc));
    link_core_set_heartbeat(proc->link, fill_heartbeat, proc);
    TRY(role_begin(world, proc));
    sim_trace(world, "process %u (%d.%u) starts, incarnation %llx", proc->id, (int)proc->role,
              proc->index, (unsigned long long)proc->incarnation);
    TRY(net_connect_later(world, proc, sim_spread(&world->rng, 5 * SIM_MS)));
    return proc_wake(world, proc, world->now_ns);
}

void proc_free(struct proc *proc)
{
    if (!proc->up || proc->id == 0)
        return;
    proc->up = false;
    link_core_destroy(&proc->link);
    inbox_clear(&proc->inbox);
    if (proc->role == ROLE_ACTOR) {
        desk_destroy(&proc->actor.desk);
        proc->actor = (struct actor_state){0};
    } else if (proc->role == ROLE_REWARD) {
        reward_desk_close(&proc->worker.desk);
        memory_free(proc->worker.jobs);
        memory_free(proc->worker.lanes);
        proc->worker = (struct worker_state){0};
    } else {
        arena_destroy(&proc->learner.arena);
        proc->learner = (struct learner_state){0};
    }
}

static enum status end(struct world *world, struct proc *proc, int64_t seen_ns)
{
    uint32_t conn = proc->conn;
    proc_free(proc);
    proc->conn = UINT32_MAX;
    proc->wake_ns = INT64_MAX;
    proc->wake_serial++;
    if (conn == UINT32_MAX)
        return STATUS_OK;
    world->conns[conn].open[SIDE_CLIENT] = false;
    return net_close_later(world, conn, SIDE_SERVER, seen_ns);
}

enum status proc_kill(struct world *world, struct proc *proc, int64_t back_ns)
{
    sim_trace(world, "process %u (%d.%u) dies", proc->id, (int)proc->role, proc->index);
    bool cut = proc->partition_ns[SIDE_SERVER] > world->now_ns;
    TRY(end(world, proc, cut ? 400 * SIM_MS : sim_spread(&world->rng, SIM_MS / 2)));
    proc->gone = proc->gone || proc->twin;
    if (proc->gone)
        return STATUS_OK;
    return event_push(&world->heap, (struct event){.at_ns = world->now_ns + back_ns,
                                                   .kind = EVENT_ACTION,
                                                   .target = proc->id,
                                                   .value = ACTION_BOOT});
}

enum status proc_leave(struct world *world, struct proc *proc, const char *reason)
{
    struct message bye = {.type = MESSAGE_bye, .bye = {reason}};
    enum status status = proc_send(proc, &bye);
    if (status != STATUS_OK && status != STATUS_AGAIN)
        return status;
    sim_trace(world, "process %u (%d.%u) leaves: %s", proc->id, (int)proc->role, proc->index,
              reason);
    proc->gone = true;
    return end(world, proc, sim_spread(&world->rng, SIM_MS));
}

/* ---- turns ---- */

static enum status role_take(struct world *world, struct proc *proc, const struct message *message)
{
    return proc->role == ROLE_ACTOR    ? sim_actor_take(world, proc, message)
           : proc->role == ROLE_REWARD ? sim_worker_take(world, proc, message)
                                       : sim_learner_take(world, proc, message);
}

static enum status role_turn(struct world *world, struct proc *proc, int64_t *next_ns)
{
    return proc->role == ROLE_ACTOR    ? sim_actor_turn(world, proc, next_ns)
           : proc->role == ROLE_REWARD ? sim_worker_turn(world, proc, next_ns)
                                       : sim_learner_turn(world, proc, next_ns);
}

static enum status read_one(struct world *world, struct proc *proc, const struct mail *mail)
{
    struct arena *arena = world->arena;
    struct message message = {0};
    if (proc->role == ROLE_LEARNER)
        arena = sim_learner_arena(proc);
    else
        arena_reset(arena);
    TRY(link_core_take(proc->link, proc_clock(world, proc), mail->bytes, mail->size, arena,
                       &message));
    return message.type == MESSAGE_NONE ? STATUS_OK : role_take(world, proc, &message);
}

static enum status read_mail(struct world *world, struct proc *proc)
{
    struct mail mail;
    while (proc->up && inbox_pop(&proc->inbox, &mail)) {
        world->conns[mail.conn].flying[SIDE_CLIENT]--;
        enum status status = mail.conn == proc->conn ? read_one(world, proc, &mail) : STATUS_OK;
        memory_free(mail.bytes);
        TRY(status);
    }
    return STATUS_OK;
}

/* A process that is refused, or cannot go on, ends with a sentence; the supervisor starts it again. */
static enum status give_up(struct world *world, struct proc *proc)
{
    sim_trace(world, "process %u (%d.%u) ends: %s", proc->id, (int)proc->role, proc->index,
              status_last_error());
    return proc_kill(world, proc, 200 * SIM_MS + sim_spread(&world->rng, world->setup->start_ns));
}

enum status proc_turn(struct world *world, struct proc *proc)
{
    if (proc->id == 0)
        return sim_store_turn(world);
    int64_t next_ns = INT64_MAX;
    enum status status = read_mail(world, proc);
    if (status == STATUS_OK && proc->up)
        status = link_core_turn(proc->link, proc_clock(world, proc));
    if (status == STATUS_OK && proc->up)
        status = role_turn(world, proc, &next_ns);
    if (status == STATUS_CANCELLED || status == STATUS_INVALID)
        return give_up(world, proc);
    if (status != STATUS_OK || !proc->up)
        return status;
    int64_t idle_ns = world->now_ns + (world->setup->check ? IDLE_MS * SIM_MS : SIM_S);
    int64_t due_ns = proc_when(world, proc, link_core_due_ns(proc->link));
    if (!link_core_welcomed(proc->link) && proc->conn == UINT32_MAX)
        due_ns = INT64_MAX; /* it is woken when it is connected */
    next_ns = next_ns < due_ns ? next_ns : due_ns;
    next_ns = next_ns < idle_ns ? next_ns : idle_ns;
    if (next_ns < world->now_ns + SIM_MS / 10)
        next_ns = world->now_ns + SIM_MS / 10;
    return proc_wake(world, proc, next_ns);
}
