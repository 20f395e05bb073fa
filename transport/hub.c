#include "transport/link.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/socket.h"

enum {
    BUCKETS = HUB_PEERS_MAX * 2, /* power of two */
    POLL_SLICE_MS = 100,
    NO_PEER = UINT16_MAX,
};

struct slot {
    struct hub_peer peer;
    char identity[SOCKET_IDENTITY_MAX]; /* "" = free */
    uint32_t live_at;                   /* place in hub.live */
};

struct hub {
    void *context, *socket;
    char endpoint[SOCKET_ENDPOINT_MAX];
    struct slot *slots; /* [HUB_PEERS_MAX] */
    uint16_t *live;     /* [live_count] ids of peers, any order */
    uint16_t *buckets;  /* [BUCKETS] identity -> id, linear probing; NO_PEER = free */
    uint32_t live_count;
    uint32_t next_id; /* ids go round, so that an old one does not name someone new at once */
    uint32_t leaving; /* said bye: forgotten at the next poll; NO_PEER none */
    uint64_t corrupt;
    struct buffer bytes;
    struct stat socket_file; /* ipc: the file we made; st_ino 0 otherwise */
};

/* ---- peers ---- */

static uint32_t bucket_of(const char *identity, size_t size)
{
    return (uint32_t)(hash64(identity, size, 0) % BUCKETS);
}

static struct slot *find_identity(struct hub *hub, const char *identity, size_t size)
{
    uint32_t at = bucket_of(identity, size);
    for (; hub->buckets[at] != NO_PEER; at = (at + 1) % BUCKETS) {
        struct slot *slot = &hub->slots[hub->buckets[at]];
        if (strlen(slot->identity) == size && memcmp(slot->identity, identity, size) == 0)
            return slot;
    }
    return NULL;
}

static void index_peer(struct hub *hub, uint32_t id)
{
    const char *identity = hub->slots[id].identity;
    uint32_t at = bucket_of(identity, strlen(identity));
    while (hub->buckets[at] != NO_PEER)
        at = (at + 1) % BUCKETS;
    hub->buckets[at] = (uint16_t)id;
}

static struct slot *add_peer(struct hub *hub, const struct hello *hello, const char *identity)
{
    if (hub->live_count == HUB_PEERS_MAX)
        return NULL;
    while (hub->slots[hub->next_id].identity[0] != '\0')
        hub->next_id = (hub->next_id + 1) % HUB_PEERS_MAX;
    uint32_t id = hub->next_id;
    hub->next_id = (id + 1) % HUB_PEERS_MAX;
    struct slot *slot = &hub->slots[id];
    snprintf(slot->identity, sizeof slot->identity, "%s", identity);
    slot->peer = (struct hub_peer){
        .id = id, .role = hello->role, .index = hello->index, .incarnation = hello->incarnation};
    snprintf(slot->peer.name, sizeof slot->peer.name, "%s.%" PRIu32, role_name(hello->role),
             hello->index);
    slot->live_at = hub->live_count;
    hub->live[hub->live_count++] = (uint16_t)id;
    index_peer(hub, id);
    return slot;
}

/* Rare, so the whole index is made anew instead of mending the probe chains. */
void hub_forget(struct hub *hub, uint32_t peer_id)
{
    if (peer_id >= HUB_PEERS_MAX || hub->slots[peer_id].identity[0] == '\0')
        return;
    struct slot *slot = &hub->slots[peer_id];
    uint16_t last = hub->live[--hub->live_count];
    hub->live[slot->live_at] = last;
    hub->slots[last].live_at = slot->live_at;
    slot->identity[0] = '\0';
    memset(hub->buckets, 0xff, BUCKETS * sizeof *hub->buckets);
    for (uint32_t i = 0; i < hub->live_count; i++)
        index_peer(hub, hub->live[i]);
    if (hub->leaving == peer_id)
        hub->leaving = NO_PEER;
}

uint32_t hub_peer_count(const struct hub *hub)
{
    return hub->live_count;
}

const struct hub_peer *hub_peer_at(const struct hub *hub, uint32_t i)
{
    CHECK(i < hub->live_count);
    return &hub->slots[hub->live[i]].peer;
}

uint64_t hub_corrupt_count(const struct hub *hub)
{
    return hub->corrupt;
}

const char *hub_endpoint(const struct hub *hub)
{
    return hub->endpoint;
}

/* ---- open and close ---- */

/* libzmq removes a socket file before it binds, also one that somebody listens on: ask first. */
static enum status socket_file_free(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return FAIL(STATUS_IO, "socket: %s", strerror(errno));
    bool taken = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ||
                 errno == EAGAIN || errno == EINPROGRESS;
    close(fd);
    if (taken)
        return FAIL(STATUS_NETWORK,
                    "somebody listens on ipc://%s already, probably a weir-store of this run: "
                    "`weir status` shows it, `fuser %s` names the process",
                    path, path);
    return STATUS_OK;
}

static enum status bind_endpoint(struct hub *hub)
{
    if (strncmp(hub->endpoint, "ipc://", 6) == 0)
        TRY(socket_file_free(hub->endpoint + 6));
    if (zmq_bind(hub->socket, hub->endpoint) != 0) {
        const char *port = strrchr(hub->endpoint, ':') + 1;
        if (errno == EADDRINUSE)
            return FAIL(STATUS_NETWORK,
                        "%s is in use, perhaps by the weir-store of another run: `ss -ltnp 'sport "
                        "= :%s'` names the process; choose another port, or 0 for a free one",
                        hub->endpoint, port);
        return FAIL(STATUS_NETWORK, "cannot listen on %s: %s", hub->endpoint, zmq_strerror(errno));
    }
    size_t size = sizeof hub->endpoint;
    if (zmq_getsockopt(hub->socket, ZMQ_LAST_ENDPOINT, hub->endpoint, &size) != 0)
        return FAIL(STATUS_IO, "ZMQ_LAST_ENDPOINT: %s", zmq_strerror(errno));
    if (strncmp(hub->endpoint, "ipc://", 6) == 0 && stat(hub->endpoint + 6, &hub->socket_file) != 0)
        return FAIL(STATUS_IO, "stat %s: %s", hub->endpoint + 6, strerror(errno));
    return STATUS_OK;
}

enum status hub_open(struct hub **hub, const char *endpoint)
{
    struct hub *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "hub on %s", endpoint);
    buffer_init(&made->bytes, 0);
    made->leaving = NO_PEER;
    made->slots = memory_array(HUB_PEERS_MAX, sizeof *made->slots);
    made->live = memory_array(HUB_PEERS_MAX, sizeof *made->live);
    made->buckets = memory_array(BUCKETS, sizeof *made->buckets);
    enum status status = STATUS_OK;
    if (made->slots == NULL || made->live == NULL || made->buckets == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "hub of %d peers", HUB_PEERS_MAX);
        goto out;
    }
    memset(made->buckets, 0xff, BUCKETS * sizeof *made->buckets);
    TRY_GOTO(out, socket_endpoint(endpoint, made->endpoint));
    TRY_GOTO(out, socket_open(ZMQ_ROUTER, &made->context, &made->socket));
    TRY_GOTO(out, bind_endpoint(made));
out:
    if (status != STATUS_OK)
        hub_close(&made);
    else
        *hub = made;
    return status;
}

/* libzmq leaves the socket file behind. A newer store may have put its own there: that one stays. */
static void remove_socket_file(const struct hub *hub)
{
    struct stat now;
    const struct stat *ours = &hub->socket_file;
    if (ours->st_ino == 0 || stat(hub->endpoint + 6, &now) != 0)
        return;
    if (now.st_ino == ours->st_ino && now.st_dev == ours->st_dev && unlink(hub->endpoint + 6) != 0)
        LOG_WARN("hub", "socket file not removed", "path=%s why=\"%s\"", hub->endpoint + 6,
                 strerror(errno));
}

void hub_close(struct hub **hub)
{
    if (*hub == NULL)
        return;
    remove_socket_file(*hub);
    socket_close(&(*hub)->context, &(*hub)->socket);
    buffer_free(&(*hub)->bytes);
    memory_free((*hub)->slots);
    memory_free((*hub)->live);
    memory_free((*hub)->buckets);
    memory_free(*hub);
    *hub = NULL;
}

/* ---- sending ---- */

static enum status send_to(struct hub *hub, const char *identity, size_t size,
                           const struct message *message)
{
    buffer_clear(&hub->bytes);
    TRY(message_pack(message, &hub->bytes));
    return socket_send(hub->socket, identity, size, &hub->bytes);
}

enum status hub_send(struct hub *hub, uint32_t peer_id, const struct message *message)
{
    if (peer_id >= HUB_PEERS_MAX || hub->slots[peer_id].identity[0] == '\0')
        return FAIL(STATUS_NETWORK, "no peer has id %" PRIu32 " any more", peer_id);
    const char *identity = hub->slots[peer_id].identity;
    return send_to(hub, identity, strlen(identity), message);
}

/* To somebody who is no peer: if it does not arrive, they ask again. */
static void tell(struct hub *hub, const char *identity, size_t size, const struct message *message)
{
    if (send_to(hub, identity, size, message) != STATUS_OK)
        LOG_DEBUG("hub", "not told", "peer=%.*s what=%s why=\"%s\"", (int)size, identity,
                  message_name(message->type), status_last_error());
}

static void refuse(struct hub *hub, const char *identity, const char *reason)
{
    struct message message = {.type = MESSAGE_refused, .refused = {reason}};
    tell(hub, identity, strlen(identity), &message);
}

/* ---- receiving ---- */

struct envelope {
    zmq_msg_t identity, body;
};

/* False: nothing there. Anything but identity and one body is counted and *ok is false. */
static bool take_frames(struct hub *hub, struct envelope *envelope, bool *ok)
{
    if (zmq_msg_recv(&envelope->identity, hub->socket, ZMQ_DONTWAIT) < 0)
        return false;
    *ok = zmq_msg_more(&envelope->identity) &&
          zmq_msg_recv(&envelope->body, hub->socket, ZMQ_DONTWAIT) >= 0 &&
          !zmq_msg_more(&envelope->body);
    zmq_msg_t *last = zmq_msg_more(&envelope->identity) ? &envelope->body : &envelope->identity;
    while (zmq_msg_more(last) && zmq_msg_recv(&envelope->body, hub->socket, ZMQ_DONTWAIT) >= 0)
        last = &envelope->body;
    return true;
}

static void count_corrupt(struct hub *hub, const char *identity, size_t size, const char *why)
{
    hub->corrupt++;
    bool text = size > 0 && size < SOCKET_IDENTITY_MAX;
    for (size_t i = 0; text && i < size; i++)
        text = identity[i] > ' ' && identity[i] <= '~' && identity[i] != '"';
    LOG_WARN("hub", "message skipped", "peer=%.*s why=\"%s\"", text ? (int)size : 7,
             text ? identity : "unnamed", why);
}

/* Makes the sender of a hello a peer. NULL: it was answered or skipped here. */
static struct slot *greet(struct hub *hub, const char *identity, size_t size,
                          const struct hello *hello)
{
    char expected[SOCKET_IDENTITY_MAX];
    socket_identity(hello->role, hello->index, hello->incarnation, expected);
    if (strlen(expected) != size || memcmp(expected, identity, size) != 0) {
        count_corrupt(hub, identity, size, "its hello names somebody else");
        return NULL;
    }
    struct slot *known = find_identity(hub, identity, size);
    if (known != NULL)
        return known; /* said hello again after a reconnect */
    for (uint32_t i = 0; i < hub->live_count && hello->role != ROLE_CONTROL; i++) {
        struct slot *other = &hub->slots[hub->live[i]];
        if (other->peer.role != hello->role || other->peer.index != hello->index)
            continue;
        if (other->peer.incarnation > hello->incarnation) {
            refuse(hub, expected, "a newer process of the same role and index took your place");
            return NULL;
        }
        LOG_INFO("hub", "peer replaced", "peer=%s", other->peer.name);
        refuse(hub, other->identity, "a newer process of the same role and index took your place");
        hub_forget(hub, other->peer.id);
        break;
    }
    struct slot *made = add_peer(hub, hello, expected);
    if (made == NULL)
        refuse(hub, expected, "the store has as many peers as it can hold (4096)");
    return made;
}

/* Turns frames into (peer, message); NULL when they were answered or skipped here. */
static struct slot *accept_frames(struct hub *hub, struct envelope *envelope, struct arena *arena,
                                  struct message *message)
{
    const char *identity = zmq_msg_data(&envelope->identity);
    size_t size = zmq_msg_size(&envelope->identity);
    struct message got;
    if (message_unpack(&got, arena, zmq_msg_data(&envelope->body), zmq_msg_size(&envelope->body)) !=
        STATUS_OK) {
        count_corrupt(hub, identity, size, status_last_error());
        return NULL;
    }
    struct slot *slot = got.type == MESSAGE_hello ? greet(hub, identity, size, &got.hello)
                                                  : find_identity(hub, identity, size);
    if (slot == NULL && got.type != MESSAGE_hello && got.type != MESSAGE_bye) {
        struct message wanted = {.type = MESSAGE_bye, .bye = {HUB_WANTS_HELLO}};
        tell(hub, identity, size, &wanted);
    }
    if (slot == NULL)
        return NULL;
    slot->peer.last_heard_ns = clock_now_ns();
    if (got.type == MESSAGE_bye)
        hub->leaving = slot->peer.id;
    *message = got;
    return slot;
}

/* Takes one message that is there already. False: none. One that is skipped leaves type NONE: the poll
 * ends, so that the caller can reset the arena which it used. */
static bool receive(struct hub *hub, struct arena *arena, struct hub_peer *peer,
                    struct message *message)
{
    struct envelope envelope;
    zmq_msg_init(&envelope.identity);
    zmq_msg_init(&envelope.body);
    bool ok = false;
    bool taken = take_frames(hub, &envelope, &ok);
    if (taken && ok) {
        struct slot *slot = accept_frames(hub, &envelope, arena, message);
        if (slot != NULL)
            *peer = slot->peer;
    } else if (taken) {
        count_corrupt(hub, zmq_msg_data(&envelope.identity), zmq_msg_size(&envelope.identity),
                      "not one frame per message");
    }
    zmq_msg_close(&envelope.identity);
    zmq_msg_close(&envelope.body);
    return taken;
}

enum status hub_poll(struct hub *hub, int64_t timeout_ms, int extra_fd, struct arena *arena,
                     struct hub_peer *peer, struct message *message)
{
    message->type = MESSAGE_NONE;
    hub_forget(hub, hub->leaving);
    struct wait wait = wait_begin("message", "any peer", timeout_ms);
    enum status status = STATUS_OK;
    bool woken = false; /* by extra_fd or a signal */
    for (;;) {
        if (receive(hub, arena, peer, message) || woken || wait_left_ms(&wait) == 0)
            break;
        zmq_pollitem_t items[] = {{hub->socket, 0, ZMQ_POLLIN, 0},
                                  {NULL, extra_fd, ZMQ_POLLIN | ZMQ_POLLERR, 0}};
        int ready = zmq_poll(items, extra_fd >= 0 ? 2 : 1, wait_slice_ms(&wait, POLL_SLICE_MS));
        woken = (ready < 0 && errno == EINTR) || (extra_fd >= 0 && items[1].revents != 0);
        if (ready < 0 && errno != EINTR) {
            status = FAIL(STATUS_IO, "zmq_poll: %s", zmq_strerror(errno));
            break;
        }
    }
    enum status ended = wait_end(&wait, true); /* nothing in time is no error here */
    return status != STATUS_OK ? status : ended;
}
