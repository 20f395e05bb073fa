/* ops/simulate/store.c - the store's process: the real book and hub core, in the order of a round of server.c.
 *
 * Messages, tick, append, sync, send. The sync takes virtual time in which messages pile up, and the process may be
 * killed before the append, with the append done and not synced, synced with nothing sent, and half way through
 * sending. */
#include <inttypes.h>
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"
#include "ops/simulate/sim.h"
#include "rollout_store/book_snapshot.h"
#include "rollout_store/server.h"

enum { KEPT_MAX = 4096, IDLE_MS = 20, OVER_MS = 2000, FULL_RETRY_MS = 50, FORGET_MS = 60000 };

/* ---- disk ---- */

enum status disk_crash(struct disk *disk, struct rng *rng, bool damage)
{
    size_t loose = disk->bytes.size - disk->synced;
    if (loose == 0)
        return STATUS_OK;
    size_t kept = rng_below(rng, (uint32_t)loose + 1);
    disk->bytes.size = disk->synced + kept;
    if (damage && kept > 0 && rng_below(rng, 2) == 0)
        disk->bytes.bytes[disk->synced + rng_below(rng, (uint32_t)kept)] ^=
            (uint8_t)(1u << rng_below(rng, 8));
    return STATUS_OK;
}

static enum status restore(struct world *world)
{
    struct store *store = &world->store;
    const struct buffer *snapshot = &store->disk.snapshot;
    for (size_t at = 0, used = 0; at < snapshot->size; at += used) {
        struct record record;
        arena_reset(store->in_arena);
        TRY(record_unpack(&record, store->in_arena, snapshot->bytes + at, snapshot->size - at,
                          &used));
        TRY(book_apply(store->book, &record));
    }
    return STATUS_OK;
}

/* Every whole record, sometimes from a snapshot on; what follows the last one is cut off. */
static enum status replay(struct world *world)
{
    struct store *store = &world->store;
    struct disk *disk = &store->disk;
    size_t at = 0, used = 0;
    if (disk->snapshot.size > 0 && rng_below(&world->rng, 2) == 0) {
        if (restore(world) != STATUS_OK)
            sim_violation(world, "ledger", "a snapshot cannot be read: %s", status_last_error());
        at = disk->snapshot_at;
    }
    for (; at < disk->bytes.size; at += used) {
        struct record record;
        arena_reset(store->in_arena);
        if (record_unpack(&record, store->in_arena, disk->bytes.bytes + at, disk->bytes.size - at,
                          &used) != STATUS_OK)
            break;
        enum status status = book_apply(store->book, &record);
        if (status != STATUS_OK) {
            sim_violation(world, "ledger", "the store cannot start again: record at byte %zu: %s",
                          at, status_last_error());
            return STATUS_OK;
        }
    }
    if (at < disk->synced)
        sim_violation(world, "ledger", "a record at byte %zu was synced and cannot be read", at);
    disk->bytes.size = at;
    size_t from = disk->synced < at ? disk->synced : at;
    disk->synced = at;
    return world->audit != NULL ? audit_durable(world, disk->bytes.bytes + from, at - from)
                                : STATUS_OK;
}

/* ---- life ---- */

static enum status hub_out(void *self, const char *identity, size_t identity_size,
                           const void *bytes, size_t size)
{
    struct world *world = self;
    uint64_t key = hash64(identity, identity_size, 0);
    uintptr_t conn = (uintptr_t)book_map_get(&world->store.conns, key);
    if (conn == 0)
        return STATUS_NETWORK;
    return net_send(world, (uint32_t)(conn - 1), SIDE_CLIENT, bytes, size);
}

static void free_process(struct store *store)
{
    book_destroy(&store->book);
    hub_core_destroy(&store->hub);
    for (size_t i = 0; i < store->kept_capacity; i++)
        buffer_free(&store->kept[i].bytes);
    store->kept_count = 0;
    book_map_free(&store->conns);
    store->conns = (struct book_map){0};
}

void sim_store_free(struct store *store)
{
    free_process(store);
    memory_free(store->kept);
    if (store->out.arena != NULL)
        book_out_free(&store->out);
    arena_destroy(&store->in_arena);
    arena_destroy(&store->out_arena);
    buffer_free(&store->disk.bytes);
    buffer_free(&store->disk.snapshot);
}

/* What the store believes is what its ledger says: a book made from it is the same. */
enum status sim_store_check(struct world *world)
{
    struct store *store = &world->store;
    struct buffer live, again;
    struct book *book = NULL;
    buffer_init(&live, 0);
    buffer_init(&again, 0);
    enum status status;
    TRY_GOTO(out, book_create(&book, &store->book_config));
    for (size_t at = 0, used = 0; at < store->disk.synced; at += used) {
        struct record record;
        arena_reset(store->in_arena);
        TRY_GOTO(out, record_unpack(&record, store->in_arena, store->disk.bytes.bytes + at,
                                    store->disk.synced - at, &used));
        TRY_GOTO(out, book_apply(book, &record));
    }
    TRY_GOTO(out, book_snapshot(store->book, &live));
    TRY_GOTO(out, book_snapshot(book, &again));
    size_t core = book_snapshot_core(&live);
    if (core != book_snapshot_core(&again) || memcmp(live.bytes, again.bytes, core) != 0)
        sim_violation(world, "replay", "the book differs from what its ledger makes");
out:
    if (status != STATUS_OK)
        sim_violation(world, "replay", "the ledger cannot be replayed: %s", status_last_error());
    book_destroy(&book);
    buffer_free(&live);
    buffer_free(&again);
    return STATUS_OK;
}

enum status sim_store_boot(struct world *world)
{
    struct store *store = &world->store;
    struct proc *proc = &world->procs[0];
    if (store->in_arena == NULL) {
        TRY(arena_create(&store->in_arena, (size_t)1 << 30));
        TRY(arena_create(&store->out_arena, (size_t)4 << 30));
        book_out_init(&store->out, store->out_arena);
    }
    sim_trace(world, "store: starts with %zu bytes of ledger", store->disk.bytes.size);
    book_out_clear(&store->out);
    store->step = STORE_IDLE;
    store->crash = CRASH_NONE;
    store->busy = true;
    TRY(book_create(&store->book, &store->book_config));
    TRY(hub_core_create(&store->hub, hub_out, world));
    TRY(replay(world));
    proc->up = true;
    proc->boot++;
    book_restarted(store->book, proc_clock(world, proc));
    return proc_wake(world, proc, world->now_ns);
}

void sim_store_crash(struct world *world)
{
    struct store *store = &world->store;
    free_process(store);
    inbox_clear(&world->procs[0].inbox);
    world->procs[0].up = false;
}

/* ---- sending ---- */

static void drop_kept(struct store *store, uint32_t peer)
{
    size_t left = 0;
    for (size_t i = 0; i < store->kept_count; i++) {
        if (store->kept[i].peer == peer)
            continue;
        struct kept_send moved = store->kept[left]; /* keeps both buffers */
        store->kept[left] = store->kept[i];
        if (left++ != i)
            store->kept[i] = moved;
    }
    store->kept_count = left;
}

static void forget(struct store *store, uint32_t peer)
{
    drop_kept(store, peer);
    hub_core_forget(store->hub, peer);
}

static enum status keep(struct world *world, uint32_t peer, const struct message *message)
{
    struct store *store = &world->store;
    if (store->kept_count == KEPT_MAX) {
        forget(store, peer);
        book_connection(store->book, proc_clock(world, &world->procs[0]), peer, false);
        return STATUS_OK;
    }
    void *kept = store->kept;
    TRY(sim_reserve(&kept, &store->kept_capacity, store->kept_count + 1, sizeof *store->kept));
    store->kept = kept;
    struct kept_send *mine = &store->kept[store->kept_count];
    mine->peer = peer;
    buffer_clear(&mine->bytes);
    TRY(message_pack(message, &mine->bytes));
    store->kept_count++;
    return STATUS_OK;
}

static bool has_kept(const struct store *store, uint32_t peer)
{
    for (size_t i = 0; i < store->kept_count; i++)
        if (store->kept[i].peer == peer)
            return true;
    return false;
}

static enum status send_one(struct world *world, uint32_t id, const struct message *message)
{
    struct store *store = &world->store;
    const struct hub_peer *peer = hub_core_peer(store->hub, id);
    if (peer != NULL && world->audit != NULL)
        audit_sent(world, peer, message);
    if (peer != NULL)
        sim_trace(world, "store -> %s: %s", peer->name, message_name(message->type));
    enum status status =
        has_kept(store, id) ? STATUS_AGAIN : hub_core_send(store->hub, id, message);
    if (message->type == MESSAGE_refused) {
        forget(store, id);
        return STATUS_OK;
    }
    if (status == STATUS_AGAIN)
        return keep(world, id, message);
    return status == STATUS_NETWORK ? STATUS_OK : status;
}

static enum status send_kept(struct world *world)
{
    struct store *store = &world->store;
    size_t left = 0, count = store->kept_count;
    for (size_t i = 0; i < count; i++) {
        struct kept_send *kept = &store->kept[i];
        struct message message;
        bool blocked = false;
        for (size_t k = 0; k < left && !blocked; k++)
            blocked = store->kept[k].peer == kept->peer;
        arena_reset(store->in_arena);
        if (!blocked) {
            TRY(message_unpack(&message, store->in_arena, kept->bytes.bytes, kept->bytes.size));
            blocked = hub_core_send(store->hub, kept->peer, &message) == STATUS_AGAIN;
        }
        if (!blocked)
            continue;
        struct kept_send moved = store->kept[left];
        store->kept[left++] = *kept;
        if (left - 1 != i)
            *kept = moved;
    }
    store->kept_count = left;
    return STATUS_OK;
}

/* The planted mistake: the same leases to a second actor. */
static enum status grant_twice(struct world *world, const struct book_send *send)
{
    struct store *store = &world->store;
    for (uint32_t i = 0; i < hub_core_peer_count(store->hub); i++) {
        const struct hub_peer *peer = hub_core_peer_at(store->hub, i);
        if (peer->role == ROLE_ACTOR && peer->id != send->peer)
            return send_one(world, peer->id, &send->message);
    }
    return STATUS_OK;
}

static enum status send_all(struct world *world, bool *crashed)
{
    struct store *store = &world->store;
    size_t crash_at = SIZE_MAX;
    if (store->crash == CRASH_SENDING && store->out.send_count > 0)
        crash_at = rng_below(&world->fault_rng, (uint32_t)store->out.send_count);
    TRY(send_kept(world));
    for (size_t i = 0; i < store->out.send_count; i++) {
        const struct book_send *send = &store->out.sends[i];
        if (i == crash_at) {
            *crashed = true;
            return faults_kill_store(world, "while sending");
        }
        TRY(send_one(world, send->peer, &send->message));
        if (world->setup->plant == PLANT_LEASE_TWICE && send->message.type == MESSAGE_lease_grant)
            TRY(grant_twice(world, send));
    }
    store->busy = store->out.send_count > 0;
    return STATUS_OK;
}

/* ---- rounds ---- */

/* What hub and book know of an identity's connection; as in transport/hub.c, also after a message that comes late. */
static void tell_connected(struct world *world, const struct conn *conn)
{
    struct store *store = &world->store;
    int64_t now_ns = proc_clock(world, &world->procs[0]);
    uint64_t key = hash64(conn->identity, strlen(conn->identity), 0);
    uintptr_t current = (uintptr_t)book_map_get(&store->conns, key);
    bool connected = current != 0 && !world->conns[current - 1].closed_seen;
    uint32_t peer = hub_core_find(store->hub, conn->identity, strlen(conn->identity));
    if (peer == UINT32_MAX)
        return;
    hub_core_connected(store->hub, peer, connected, now_ns);
    book_connection(store->book, now_ns, peer, connected);
    if (!connected)
        drop_kept(store, peer);
}

static void take_closed(struct world *world, uint32_t index)
{
    struct store *store = &world->store;
    struct conn *conn = &world->conns[index];
    uint64_t key = hash64(conn->identity, strlen(conn->identity), 0);
    conn->closed_seen = true;
    if ((uintptr_t)book_map_get(&store->conns, key) == (uintptr_t)index + 1)
        book_map_remove(&store->conns, key);
    tell_connected(world, conn);
}

static enum status take_mail(struct world *world, const struct mail *mail)
{
    struct store *store = &world->store;
    struct conn *conn = &world->conns[mail->conn];
    if (mail->closed) {
        take_closed(world, mail->conn);
        return STATUS_OK;
    }
    int64_t now_ns = proc_clock(world, &world->procs[0]);
    struct hub_peer peer = {0};
    struct message message = {0};
    arena_reset(store->in_arena);
    TRY(hub_core_take(store->hub, now_ns, conn->identity, strlen(conn->identity), ROLE_NONE,
                      mail->bytes, mail->size, store->in_arena, &peer, &message));
    tell_connected(world, conn);
    if (message.type == MESSAGE_NONE)
        return STATUS_OK;
    if (message.type == MESSAGE_hello)
        drop_kept(store, peer.id);
    TRY(book_handle(store->book, now_ns, peer.id, &message, &store->out));
    if (message.type == MESSAGE_hello)
        tell_connected(world, conn); /* it may have gone again */
    return STATUS_OK;
}

static enum status take_messages(struct world *world, uint32_t *count)
{
    struct mail mail;
    for (*count = 0; *count < SERVER_ROUND_MESSAGES && inbox_pop(&world->procs[0].inbox, &mail);
         ++*count) {
        if (!mail.closed)
            world->conns[mail.conn].flying[SIDE_SERVER]--;
        enum status status = take_mail(world, &mail);
        memory_free(mail.bytes);
        TRY(status);
    }
    return STATUS_OK;
}

static void forget_silent(struct world *world)
{
    struct store *store = &world->store;
    int64_t now_ns = proc_clock(world, &world->procs[0]);
    for (uint32_t i = hub_core_peer_count(store->hub); i-- > 0;) {
        const struct hub_peer *peer = hub_core_peer_at(store->hub, i);
        if (now_ns - peer->last_heard_ns > FORGET_MS * SIM_MS)
            hub_core_forget(store->hub, peer->id);
    }
}

/* As the ledger begins a file with one now and then. */
static enum status take_snapshot(struct world *world)
{
    struct store *store = &world->store;
    struct disk *disk = &store->disk;
    if (world->audit == NULL || disk->synced == 0 || rng_below(&world->rng, 64) > 0)
        return STATUS_OK;
    buffer_clear(&disk->snapshot);
    disk->snapshot_at = disk->synced;
    return book_snapshot_pack(store->book, disk->synced, &disk->snapshot);
}

static enum status finish_round(struct world *world)
{
    struct store *store = &world->store;
    struct proc *proc = &world->procs[0];
    const char *reason = "";
    bool crashed = false, failed = false;
    store->step = STORE_IDLE;
    TRY(send_all(world, &crashed));
    if (crashed)
        return STATUS_OK;
    if (world->audit != NULL)
        audit_bounds(world);
    forget_silent(world);
    TRY(take_snapshot(world));
    if (!store->over && book_stopping(store->book, &reason, &failed)) {
        sim_trace(world, "store: stopping: %s", reason);
        if (failed)
            sim_violation(world, "stopped", "the store stopped the run: %s", reason);
        store->over = true;
        store->over_ns = world->now_ns + OVER_MS * SIM_MS;
    }
    int64_t pause_ns = proc->inbox.count > 0 || store->busy ? SIM_MS / 20 : IDLE_MS * SIM_MS;
    return proc_wake(world, proc, world->now_ns + pause_ns);
}

static enum status synced(struct world *world)
{
    struct store *store = &world->store;
    struct disk *disk = &store->disk;
    size_t from = disk->synced;
    disk->synced = disk->bytes.size;
    if (world->audit != NULL)
        TRY(audit_durable(world, disk->bytes.bytes + from, disk->synced - from));
    if (store->crash == CRASH_SYNCED)
        return faults_kill_store(world, "synced, nothing sent");
    return finish_round(world);
}

static enum status append(struct world *world)
{
    struct store *store = &world->store;
    struct proc *proc = &world->procs[0];
    if (store->full_until_ns > world->now_ns) { /* the round is held, nothing leaves */
        store->step = STORE_FULL;
        return proc_wake(world, proc, world->now_ns + FULL_RETRY_MS * SIM_MS);
    }
    if (store->crash == CRASH_BEFORE_APPEND)
        return faults_kill_store(world, "before the append");
    TRY(buffer_append(&store->disk.bytes, store->out.records.bytes, store->out.records.size));
    if (store->crash == CRASH_APPENDED)
        return faults_kill_store(world, "appended, not synced");
    if (world->setup->plant == PLANT_ACK_BEFORE_COMMIT) { /* the planted mistake */
        bool crashed = false;
        TRY(send_all(world, &crashed));
        store->out.send_count = 0;
        if (crashed)
            return STATUS_OK;
    }
    store->step = STORE_SYNCING;
    return proc_wake(world, proc, world->now_ns + sim_spread(&world->rng, world->setup->sync_ns));
}

enum status sim_store_turn(struct world *world)
{
    struct store *store = &world->store;
    struct proc *proc = &world->procs[0];
    uint32_t count = 0;
    if (store->step == STORE_SYNCING)
        return synced(world);
    if (store->step == STORE_FULL)
        return append(world);
    book_out_clear(&store->out);
    TRY(take_messages(world, &count));
    struct book_voided voided;
    if (store->rescore)
        TRY(book_rescore(store->book, "*", &store->out, &voided));
    store->rescore = false;
    TRY(book_tick(store->book, proc_clock(world, proc), &store->out));
    return store->out.records.size > 0 ? append(world) : finish_round(world);
}
