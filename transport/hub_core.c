#include "transport/hub_core.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/log.h"
#include "core/memory.h"
#include "transport/envelope.h"
#include "transport/socket.h"

enum {
    BUCKETS = HUB_PEERS_MAX * 2, /* power of two */
    NO_PEER = UINT16_MAX,
    STRIKES = 1024,  /* senders of broken messages that are remembered */
    STRIKES_MAX = 3, /* in a row: refused */
};

struct slot {
    struct hub_peer peer;
    char identity[SOCKET_IDENTITY_MAX]; /* "" = free */
    uint32_t live_at;                   /* place in hub_core.live */
    /* A message of it was lost: what follows is not heard before its hello, or it would be acknowledged with the lost
     * one. */
    bool deaf;
};

struct strike {
    uint64_t hash; /* of the identity */
    uint32_t count;
};

struct hub_core {
    hub_core_send_fn send;
    void *send_self;
    struct slot *slots;     /* [HUB_PEERS_MAX] */
    uint16_t *live;         /* [live_count] ids of peers, any order */
    uint16_t *buckets;      /* [BUCKETS] identity -> id, linear probing; NO_PEER = free */
    struct strike *strikes; /* [STRIKES] by hash; a newer sender takes the place of an older */
    uint32_t live_count;
    uint32_t next_id; /* ids go round, so that an old one does not name someone new at once */
    uint32_t leaving; /* said bye: forgotten at the next message; NO_PEER none */
    uint64_t refused[REFUSAL_COUNT];
    struct buffer bytes;
};

/* ---- create and destroy ---- */

enum status hub_core_create(struct hub_core **core, hub_core_send_fn send, void *self)
{
    struct hub_core *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "hub");
    buffer_init(&made->bytes, 0);
    made->send = send;
    made->send_self = self;
    made->leaving = NO_PEER;
    made->slots = memory_array(HUB_PEERS_MAX, sizeof *made->slots);
    made->live = memory_array(HUB_PEERS_MAX, sizeof *made->live);
    made->buckets = memory_array(BUCKETS, sizeof *made->buckets);
    made->strikes = memory_array(STRIKES, sizeof *made->strikes);
    if (made->slots == NULL || made->live == NULL || made->buckets == NULL ||
        made->strikes == NULL) {
        hub_core_destroy(&made);
        return FAIL(STATUS_NO_MEMORY, "hub of %d peers", HUB_PEERS_MAX);
    }
    memset(made->buckets, 0xff, BUCKETS * sizeof *made->buckets);
    *core = made;
    return STATUS_OK;
}

void hub_core_destroy(struct hub_core **core)
{
    struct hub_core *old = *core;
    if (old == NULL)
        return;
    buffer_free(&old->bytes);
    memory_free(old->slots);
    memory_free(old->live);
    memory_free(old->buckets);
    memory_free(old->strikes);
    memory_free(old);
    *core = NULL;
}

/* ---- peers ---- */

static struct slot *slot_of(const struct hub_core *core, uint32_t id)
{
    if (id >= HUB_PEERS_MAX || core->slots[id].identity[0] == '\0')
        return NULL;
    return &core->slots[id];
}

static uint32_t bucket_of(const char *identity, size_t size)
{
    return (uint32_t)(hash64(identity, size, 0) % BUCKETS);
}

uint32_t hub_core_find(const struct hub_core *core, const char *identity, size_t identity_size)
{
    uint32_t at = bucket_of(identity, identity_size);
    for (; core->buckets[at] != NO_PEER; at = (at + 1) % BUCKETS) {
        const char *known = core->slots[core->buckets[at]].identity;
        if (strlen(known) == identity_size && memcmp(known, identity, identity_size) == 0)
            return core->buckets[at];
    }
    return UINT32_MAX;
}

static void index_peer(struct hub_core *core, uint32_t id)
{
    const char *identity = core->slots[id].identity;
    uint32_t at = bucket_of(identity, strlen(identity));
    while (core->buckets[at] != NO_PEER)
        at = (at + 1) % BUCKETS;
    core->buckets[at] = (uint16_t)id;
}

/* Rare, so the whole index is made anew instead of mending the probe chains. */
void hub_core_forget(struct hub_core *core, uint32_t peer_id)
{
    struct slot *slot = slot_of(core, peer_id);
    if (slot == NULL)
        return;
    uint16_t last = core->live[--core->live_count];
    core->live[slot->live_at] = last;
    core->slots[last].live_at = slot->live_at;
    slot->identity[0] = '\0';
    memset(core->buckets, 0xff, BUCKETS * sizeof *core->buckets);
    for (uint32_t i = 0; i < core->live_count; i++)
        index_peer(core, core->live[i]);
    if (core->leaving == peer_id)
        core->leaving = NO_PEER;
}

void hub_core_settle(struct hub_core *core)
{
    hub_core_forget(core, core->leaving);
}

/* Room for a new peer in a full table: the one that is dead for longest goes. */
static void forget_deadest(struct hub_core *core)
{
    const struct hub_peer *deadest = NULL;
    for (uint32_t i = 0; i < core->live_count; i++) {
        const struct hub_peer *peer = &core->slots[core->live[i]].peer;
        if (!peer->connected &&
            (deadest == NULL || peer->disconnected_ns < deadest->disconnected_ns))
            deadest = peer;
    }
    if (deadest != NULL)
        hub_core_forget(core, deadest->id);
}

static struct slot *add_peer(struct hub_core *core, const struct hello *hello, const char *identity)
{
    if (core->live_count == HUB_PEERS_MAX)
        forget_deadest(core);
    if (core->live_count == HUB_PEERS_MAX)
        return NULL;
    while (core->slots[core->next_id].identity[0] != '\0')
        core->next_id = (core->next_id + 1) % HUB_PEERS_MAX;
    uint32_t id = core->next_id;
    core->next_id = (id + 1) % HUB_PEERS_MAX;
    struct slot *slot = &core->slots[id];
    snprintf(slot->identity, sizeof slot->identity, "%s", identity);
    slot->deaf = false;
    slot->peer = (struct hub_peer){.id = id,
                                   .role = hello->role,
                                   .index = hello->index,
                                   .incarnation = hello->incarnation,
                                   .connected = true};
    snprintf(slot->peer.name, sizeof slot->peer.name, "%s.%" PRIu32, role_name(hello->role),
             hello->index);
    slot->live_at = core->live_count;
    core->live[core->live_count++] = (uint16_t)id;
    index_peer(core, id);
    return slot;
}

void hub_core_connected(struct hub_core *core, uint32_t peer_id, bool connected, int64_t now_ns)
{
    struct slot *slot = slot_of(core, peer_id);
    if (slot == NULL || slot->peer.connected == connected)
        return;
    slot->peer.connected = connected;
    slot->peer.disconnected_ns = connected ? 0 : now_ns;
}

uint32_t hub_core_peer_count(const struct hub_core *core)
{
    return core->live_count;
}

const struct hub_peer *hub_core_peer_at(const struct hub_core *core, uint32_t i)
{
    CHECK(i < core->live_count);
    return &core->slots[core->live[i]].peer;
}

const struct hub_peer *hub_core_peer(const struct hub_core *core, uint32_t peer_id)
{
    const struct slot *slot = slot_of(core, peer_id);
    return slot != NULL ? &slot->peer : NULL;
}

uint64_t hub_core_refused(const struct hub_core *core, enum refusal kind)
{
    return (unsigned)kind < REFUSAL_COUNT ? core->refused[kind] : 0;
}

/* ---- sending ---- */

enum status hub_core_send(struct hub_core *core, uint32_t peer_id, const struct message *message)
{
    const struct slot *slot = slot_of(core, peer_id);
    if (slot == NULL)
        return FAIL(STATUS_NETWORK, "no peer has id %" PRIu32 " any more", peer_id);
    buffer_clear(&core->bytes);
    TRY(message_pack(message, &core->bytes));
    return core->send(core->send_self, slot->identity, strlen(slot->identity), core->bytes.bytes,
                      core->bytes.size);
}

/* What people read of an identity, which may be any bytes. */
static const char *shown(const char *identity, size_t size, char out[SOCKET_IDENTITY_MAX])
{
    bool text = size > 0 && size < SOCKET_IDENTITY_MAX;
    for (size_t i = 0; text && i < size; i++)
        text = identity[i] > ' ' && identity[i] <= '~' && identity[i] != '"';
    snprintf(out, SOCKET_IDENTITY_MAX, "%.*s", text ? (int)size : 7, text ? identity : "unnamed");
    return out;
}

/* To somebody who may be no peer: if it does not arrive, they ask again. */
static void tell(struct hub_core *core, const char *identity, size_t size,
                 const struct message *message, uint16_t protocol)
{
    char name[SOCKET_IDENTITY_MAX];
    buffer_clear(&core->bytes);
    enum status status = message_pack(message, &core->bytes);
    if (status == STATUS_OK && protocol != WIRE_PROTOCOL)
        envelope_relabel(core->bytes.bytes, core->bytes.size, protocol);
    if (status == STATUS_OK)
        status = core->send(core->send_self, identity, size, core->bytes.bytes, core->bytes.size);
    if (status != STATUS_OK)
        LOG_DEBUG("hub", "not told", "peer=%s what=%s why=\"%s\"", shown(identity, size, name),
                  message_name(message->type), status_last_error());
}

static void ask_for_hello(struct hub_core *core, const char *identity, size_t size)
{
    struct message wanted = {.type = MESSAGE_bye, .bye = {WIRE_WANTS_HELLO}};
    tell(core, identity, size, &wanted, WIRE_PROTOCOL);
}

static void refuse(struct hub_core *core, const char *identity, size_t size, const char *reason,
                   uint16_t protocol)
{
    char name[SOCKET_IDENTITY_MAX];
    struct message message = {.type = MESSAGE_refused, .refused = {reason}};
    LOG_WARN("hub", "peer refused", "peer=%s why=\"%s\"", shown(identity, size, name), reason);
    tell(core, identity, size, &message, protocol);
    hub_core_forget(core, hub_core_find(core, identity, size));
}

void hub_core_refuse(struct hub_core *core, const char *identity, size_t identity_size,
                     enum refusal kind, const char *reason)
{
    core->refused[kind]++;
    refuse(core, identity, identity_size, reason, WIRE_PROTOCOL);
}

/* ---- receiving ---- */

static struct strike *strike_of(struct hub_core *core, const char *identity, size_t size)
{
    uint64_t hash = hash64(identity, size, 1);
    struct strike *strike = &core->strikes[hash % STRIKES];
    if (strike->hash != hash)
        *strike = (struct strike){.hash = hash};
    return strike;
}

/* Counts a message that cannot be read, and answers it: what was in it is lost, so its sender has to begin again. */
static void take_broken(struct hub_core *core, const char *identity, size_t identity_size,
                        enum refusal kind, const void *bytes, size_t size)
{
    char name[SOCKET_IDENTITY_MAX], why[STATUS_TEXT_MAX], reason[256];
    uint16_t protocol;
    status_keep(why);
    core->refused[kind]++;
    struct strike *strike = strike_of(core, identity, identity_size);
    strike->count++;
    struct slot *slot = slot_of(core, hub_core_find(core, identity, identity_size));
    if (slot != NULL)
        slot->deaf = true;
    LOG_WARN("hub", "message skipped", "peer=%s kind=%s in_a_row=%" PRIu32 " why=\"%s\"",
             shown(identity, identity_size, name), refusal_name(kind), strike->count, why);
    if (envelope_foreign(bytes, size, &protocol)) {
        snprintf(reason, sizeof reason,
                 "this store speaks wire protocol %d, you speak %u: run the same version of weir "
                 "everywhere",
                 WIRE_PROTOCOL, protocol);
        refuse(core, identity, identity_size, reason, protocol);
    } else if (strike->count >= STRIKES_MAX) {
        snprintf(reason, sizeof reason, "%" PRIu32 " messages in a row could not be read: %s",
                 strike->count, refusal_sentence(kind));
        refuse(core, identity, identity_size, reason, WIRE_PROTOCOL);
    } else {
        ask_for_hello(core, identity, identity_size);
    }
}

/* Makes the sender of a hello a peer. NULL: it was answered here. */
static struct slot *greet(struct hub_core *core, const char *identity, size_t size, enum role role,
                          const struct hello *hello)
{
    char expected[SOCKET_IDENTITY_MAX], reason[128];
    if (role != ROLE_NONE && role != hello->role) {
        snprintf(reason, sizeof reason, "this key is for %s processes, not for %s", role_name(role),
                 role_name(hello->role));
        hub_core_refuse(core, identity, size, REFUSAL_WRONG_SENDER, reason);
        return NULL;
    }
    socket_identity(hello->role, hello->index, hello->incarnation, expected);
    if (strlen(expected) != size || memcmp(expected, identity, size) != 0) {
        hub_core_refuse(core, identity, size, REFUSAL_WRONG_SENDER,
                        "the hello names somebody else than the connection does");
        return NULL;
    }
    uint32_t known = hub_core_find(core, identity, size);
    if (known != UINT32_MAX) { /* said hello again */
        slot_of(core, known)->deaf = false;
        return slot_of(core, known);
    }
    struct slot *made = add_peer(core, hello, expected);
    if (made == NULL)
        hub_core_refuse(core, identity, size, REFUSAL_OTHER,
                        "the store has as many peers as it can hold (4096)");
    return made;
}

enum status hub_core_take(struct hub_core *core, int64_t now_ns, const char *identity,
                          size_t identity_size, enum role role, const void *bytes, size_t size,
                          struct arena *arena, struct hub_peer *peer, struct message *message)
{
    struct message got;
    message->type = MESSAGE_NONE;
    hub_core_settle(core);
    if (message_unpack(&got, arena, bytes, size) != STATUS_OK) {
        enum refusal kind = codec_refusal();
        take_broken(core, identity, identity_size, kind != REFUSAL_NONE ? kind : REFUSAL_OTHER,
                    bytes, size);
        return STATUS_OK;
    }
    strike_of(core, identity, identity_size)->count = 0;
    struct slot *slot = got.type == MESSAGE_hello
                            ? greet(core, identity, identity_size, role, &got.hello)
                            : slot_of(core, hub_core_find(core, identity, identity_size));
    if (slot == NULL) {
        if (got.type != MESSAGE_hello && got.type != MESSAGE_bye)
            ask_for_hello(core, identity, identity_size);
        return STATUS_OK;
    }
    slot->peer.last_heard_ns = now_ns;
    hub_core_connected(core, slot->peer.id, true, now_ns);
    if (slot->deaf && got.type != MESSAGE_bye) { /* asked again: the first question may be lost */
        ask_for_hello(core, identity, identity_size);
        return STATUS_OK;
    }
    if (got.type == MESSAGE_bye)
        core->leaving = slot->peer.id;
    *peer = slot->peer;
    *message = got;
    return STATUS_OK;
}
