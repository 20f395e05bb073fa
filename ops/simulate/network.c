/* ops/simulate/network.c - connections between processes and the store, as libzmq over TCP gives them.
 *
 * A connection keeps its order and loses nothing before it is lost itself; each end learns of that at its own time.
 * A lost message is a lost connection. What is on the way when a partition begins comes after it, when the connection
 * still stands then. A process has one connection at a time and makes another when it sees that the old one is gone. */
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"
#include "ops/simulate/sim.h"
#include "transport/socket.h"

enum { FLYING_MAX = 2000, RETRY_MS = 60, CLOSED_MS = 420, ROUND_MS = 3 };

static enum side other_side(enum side side)
{
    return side == SIDE_CLIENT ? SIDE_SERVER : SIDE_CLIENT;
}

static struct proc *client_of(const struct world *world, uint32_t conn)
{
    return &world->procs[world->conns[conn].proc];
}

/* ---- sending ---- */

static enum status fly(struct world *world, uint32_t index, enum side to, const void *bytes,
                       size_t size)
{
    struct conn *conn = &world->conns[index];
    const struct proc *proc = client_of(world, index);
    int64_t arrival = world->now_ns + sim_spread(&world->rng, world->setup->delay_ns);
    if (proc->partition_ns[to] > world->now_ns && arrival < proc->partition_ns[to])
        arrival = proc->partition_ns[to];
    if (arrival < conn->arrival[to])
        arrival = conn->arrival[to];
    conn->arrival[to] = arrival;
    conn->flying[to]++;
    struct event event = {.at_ns = arrival,
                          .kind = EVENT_DELIVER,
                          .target = index,
                          .value = to,
                          .size = (uint32_t)size};
    event.bytes = memory_alloc(size);
    if (event.bytes == NULL)
        return FAIL(STATUS_NO_MEMORY, "message of %zu bytes", size);
    memcpy(event.bytes, bytes, size);
    if (sim_has(world, SIM_WIRE) && sim_chance(&world->fault_rng, 0.0003)) {
        world->result->faults[SIM_WIRE]++;
        event.bytes[rng_below(&world->fault_rng, (uint32_t)size)] ^=
            (uint8_t)(1u << rng_below(&world->fault_rng, 8));
    }
    world->result->messages++;
    world->result->bytes += size;
    enum status status = event_push(&world->heap, event);
    if (status != STATUS_OK)
        memory_free(event.bytes);
    return status;
}

enum status net_send(struct world *world, uint32_t index, enum side to, const void *bytes,
                     size_t size)
{
    struct conn *conn = &world->conns[index];
    if (!conn->open[other_side(to)])
        return FAIL(STATUS_NETWORK, "no connection");
    if (conn->flying[to] >= FLYING_MAX)
        return FAIL(STATUS_AGAIN, "the connection is full");
    if (conn->lossy[to])
        return STATUS_OK;
    if (sim_has(world, SIM_LOSS) && sim_chance(&world->fault_rng, 0.0008)) {
        world->result->faults[SIM_LOSS]++;
        sim_trace(world, "lost: a message of %s", conn->identity);
        conn->lossy[to] = true;
        return net_break(world, index, CLOSED_MS * SIM_MS, sim_chance(&world->fault_rng, 0.5));
    }
    TRY(fly(world, index, to, bytes, size));
    if (sim_has(world, SIM_DUPLICATE) && sim_chance(&world->fault_rng, 0.004)) {
        world->result->faults[SIM_DUPLICATE]++;
        return fly(world, index, to, bytes, size);
    }
    return STATUS_OK;
}

enum status net_deliver(struct world *world, struct event *event)
{
    struct conn *conn = &world->conns[event->target];
    enum side to = (enum side)event->value;
    struct mail mail = {.bytes = event->bytes, .size = event->size, .conn = event->target};
    if (!conn->open[to]) {
        conn->flying[to]--;
        memory_free(event->bytes);
        return STATUS_OK;
    }
    struct proc *proc = to == SIDE_SERVER ? &world->procs[0] : client_of(world, event->target);
    TRY(inbox_push(&proc->inbox, mail));
    if (to == SIDE_SERVER && world->store.step != STORE_IDLE)
        return STATUS_OK;
    /* forecasts: a round takes what came in a while, as that of a busy store does */
    int64_t pause_ns = to == SIDE_SERVER && !world->setup->check ? ROUND_MS * SIM_MS : 0;
    return proc_wake(world, proc, world->now_ns + pause_ns);
}

/* ---- beginning ---- */

enum status net_connect_later(struct world *world, struct proc *proc, int64_t delay_ns)
{
    return event_push(&world->heap, (struct event){.at_ns = world->now_ns + delay_ns,
                                                   .kind = EVENT_CONNECT,
                                                   .target = proc->id,
                                                   .value = proc->boot});
}

/* An identity that comes again takes over: libzmq's ROUTER_HANDOVER. */
static enum status enter(struct world *world, uint32_t index)
{
    struct conn *conn = &world->conns[index];
    uint64_t key = hash64(conn->identity, strlen(conn->identity), 0);
    uintptr_t old = (uintptr_t)book_map_get(&world->store.conns, key);
    if (old != 0) {
        world->conns[old - 1].open[SIDE_SERVER] = false;
        book_map_remove(&world->store.conns, key);
    }
    /* the map holds pointers; an index is enough here and never moves */
    return book_map_put(&world->store.conns, key, (void *)((uintptr_t)index + 1));
}

enum status net_connect(struct world *world, struct proc *proc, uint64_t boot)
{
    const struct proc *store = &world->procs[0];
    if (!proc->up || proc->boot != boot || proc->conn != UINT32_MAX)
        return STATUS_OK;
    if (!store->up || store->stopped || proc->stopped ||
        proc->partition_ns[SIDE_CLIENT] > world->now_ns ||
        proc->partition_ns[SIDE_SERVER] > world->now_ns)
        return net_connect_later(world, proc, RETRY_MS * SIM_MS);
    void *conns = world->conns;
    size_t capacity = world->conn_capacity;
    TRY(sim_reserve(&conns, &capacity, world->conn_count + 1, sizeof *world->conns));
    world->conns = conns;
    world->conn_capacity = (uint32_t)capacity;
    proc->conn = world->conn_count++;
    struct conn *conn = &world->conns[proc->conn];
    *conn = (struct conn){.proc = proc->id, .boot = boot, .open = {true, true}};
    socket_identity(proc->role, proc->index, proc->incarnation, conn->identity);
    TRY(enter(world, proc->conn));
    sim_trace(world, "connected: %s", conn->identity);
    return proc_wake(world, proc, world->now_ns);
}

/* ---- ending ---- */

enum status net_close_later(struct world *world, uint32_t conn, enum side side, int64_t delay_ns)
{
    return event_push(&world->heap, (struct event){.at_ns = world->now_ns + delay_ns,
                                                   .kind = EVENT_CLOSE,
                                                   .target = conn,
                                                   .value = side});
}

enum status net_closed(struct world *world, uint32_t index, enum side side)
{
    struct conn *conn = &world->conns[index];
    struct proc *proc = client_of(world, index);
    if (!conn->open[side])
        return STATUS_OK;
    conn->open[side] = false;
    sim_trace(world, "closed: %s, %s", conn->identity,
              side == SIDE_CLIENT ? "its own end" : "the store's end");
    if (side == SIDE_SERVER) {
        struct mail closed = {.conn = index, .closed = true};
        bool early = rng_below(&world->rng, 3) == 0; /* the end may be seen before the last words */
        TRY(early ? inbox_push_front(&world->procs[0].inbox, closed)
                  : inbox_push(&world->procs[0].inbox, closed));
        return world->store.step == STORE_IDLE ? proc_wake(world, &world->procs[0], world->now_ns)
                                               : STATUS_OK;
    }
    if (proc->conn != index || !proc->up)
        return STATUS_OK;
    proc->conn = UINT32_MAX;
    link_core_disconnected(proc->link);
    TRY(net_connect_later(world, proc, sim_spread(&world->rng, 20 * SIM_MS)));
    return proc_wake(world, proc, world->now_ns);
}

enum status net_break(struct world *world, uint32_t index, int64_t max_ns, bool lossy)
{
    struct conn *conn = &world->conns[index];
    world->result->cuts++;
    for (int side = 0; side < 2; side++) {
        conn->lossy[side] = conn->lossy[side] || lossy;
        int64_t delay_ns = (int64_t)(rng_uniform(&world->fault_rng) * (double)max_ns);
        TRY(net_close_later(world, index, (enum side)side, delay_ns));
    }
    return STATUS_OK;
}
