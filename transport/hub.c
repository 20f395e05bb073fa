/* transport/hub.c - hub_core and hub_watch on a ZeroMQ ROUTER: who said what, and whose connection is dead. */
#include "transport/link.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/hub_core.h"
#include "transport/hub_guard.h"
#include "transport/hub_watch.h"
#include "transport/socket.h"

enum {
    POLL_SLICE_MS = 100,
    PROBE_AFTER_MS =
        20, /* of an event: libzmq has taken the old connection out of its routes by then */
    PROBE_EVERY_MS = 20,
    PROBE_FOR_MS = 500,
    PROBE_LATE_MS =
        500, /* after that, while somebody's connection is unknown: the route may have been an old one */
    HANDSHAKE_FAILED = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
    MONITORED = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                HANDSHAKE_FAILED,
    CUTS_MAX = 64,
    CUT_AFTER_MS = 100, /* so that the answer that says why can leave first */
    CONNECTIONS_MAX =
        HUB_PEERS_MAX + 4096, /* greeted or not; a process needs descriptors for other things too */
};

/* A connection that is to end. */
struct cut {
    int fd;
    uint64_t opening;
    int64_t due_ns;
};

struct hub {
    void *context, *socket;
    void *monitor; /* PAIR with libzmq's events of `socket` */
    char endpoint[SOCKET_ENDPOINT_MAX];
    struct hub_core *core;
    struct hub_watch *watch;
    struct socket_inbox inbox;
    bool *told;  /* [HUB_PEERS_MAX] what the owner knows: the peer is connected */
    bool sent;   /* since the last look for messages */
    bool unseen; /* there are events that no poll ended for yet */
    bool events; /* `told` may differ from what is */
    int64_t probe_ns, probe_until_ns; /* next probe for peers that came back without a word */
    struct hub_guard *guard;          /* NULL: no keys */
    struct cut cuts[CUTS_MAX];        /* first cut_count in use */
    uint32_t cut_count, connections_max;
    uint64_t handshakes_refused;
    struct stat socket_file; /* ipc: the file we made; st_ino 0 otherwise */
};

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

static enum status send_bytes(void *self, const char *identity, size_t identity_size,
                              const void *bytes, size_t size)
{
    struct hub *hub = self;
    hub->sent = true;
    return socket_send(hub->socket, identity, identity_size, bytes, size);
}

/* Descriptors: libzmq needs one for each connection, the process some for itself. */
static uint32_t connection_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return 512;
    rlim_t wanted = (rlim_t)CONNECTIONS_MAX * 2;
    if (files.rlim_cur < wanted) {
        files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_NOFILE, &files) != 0)
            return 512;
    }
    rlim_t most = files.rlim_cur / 4 * 3;
    return most < CONNECTIONS_MAX ? (uint32_t)most : CONNECTIONS_MAX;
}

enum status hub_open(struct hub **hub, const char *endpoint, const char *keys_folder)
{
    bool keyed = keys_folder != NULL && keys_folder[0] != '\0';
    struct endpoint parsed;
    struct hub *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "hub on %s", endpoint);
    socket_inbox_init(&made->inbox);
    enum status status = STATUS_OK;
    made->told = memory_array(HUB_PEERS_MAX, sizeof *made->told);
    if (made->told == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "hub of %d peers", HUB_PEERS_MAX);
        goto out;
    }
    TRY_GOTO(out, hub_core_create(&made->core, send_bytes, made));
    TRY_GOTO(out, hub_watch_create(&made->watch));
    TRY_GOTO(out, endpoint_parse(endpoint, true, keyed, &parsed));
    snprintf(made->endpoint, sizeof made->endpoint, "%s", parsed.text);
    made->connections_max = connection_limit();
    TRY_GOTO(out, socket_open(ZMQ_ROUTER, &parsed, &made->context, &made->socket));
    if (keyed && parsed.tcp)
        TRY_GOTO(out, hub_guard_open(&made->guard, made->context, made->socket, keys_folder));
    TRY_GOTO(out, socket_monitor(made->context, made->socket, MONITORED, &made->monitor));
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
    struct hub *old = *hub;
    if (old == NULL)
        return;
    remove_socket_file(old);
    socket_inbox_free(&old->inbox);
    socket_monitor_close(old->socket, &old->monitor);
    hub_guard_close(&old->guard);
    socket_close(&old->context, &old->socket);
    hub_core_destroy(&old->core);
    hub_watch_destroy(&old->watch);
    memory_free(old->told);
    memory_free(old);
    *hub = NULL;
}

/* ---- connections ---- */

/* What the watch says of a peer becomes what the core says of it. */
static void sync_peer(struct hub *hub, uint32_t id)
{
    const struct hub_peer *peer = hub_core_peer(hub->core, id);
    int64_t since_ns;
    if (peer == NULL)
        return;
    bool connected = hub_watch_connected(hub->watch, id, &since_ns);
    if (peer->connected != connected)
        hub->unseen = true;
    hub_core_connected(hub->core, id, connected, since_ns);
    hub->events = hub->events || hub->told[id] != connected;
}

static void sync_peers(struct hub *hub)
{
    for (uint32_t i = 0; i < hub_core_peer_count(hub->core); i++)
        sync_peer(hub, hub_core_peer_at(hub->core, i)->id);
}

static void plan_probe(struct hub *hub, int64_t now_ns)
{
    int64_t soon_ns = now_ns + PROBE_AFTER_MS * CLOCK_NS_PER_MS;
    if (hub->probe_until_ns == 0 || hub->probe_ns > soon_ns)
        hub->probe_ns = soon_ns;
    hub->probe_until_ns = now_ns + PROBE_FOR_MS * CLOCK_NS_PER_MS;
}

/* Ends the connection that is open as fd now, when `due_ns` has come. libzmq closes it when it reads its end. */
static void plan_cut(struct hub *hub, int fd, int64_t due_ns)
{
    uint64_t opening = hub_watch_opening(hub->watch, fd);
    if (opening == 0)
        return;
    if (hub->cut_count == CUTS_MAX)
        shutdown(fd, SHUT_RDWR);
    else
        hub->cuts[hub->cut_count++] = (struct cut){fd, opening, due_ns};
}

static void make_cuts(struct hub *hub, int64_t now_ns)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < hub->cut_count; i++) {
        struct cut cut = hub->cuts[i];
        if (now_ns < cut.due_ns)
            hub->cuts[left++] = cut;
        else if (hub_watch_opening(hub->watch, cut.fd) == cut.opening)
            shutdown(cut.fd, SHUT_RDWR);
    }
    hub->cut_count = left;
}

static enum status take_opening(struct hub *hub, int fd, int64_t now_ns)
{
    TRY(hub_watch_opened(hub->watch, fd, now_ns));
    if (hub_watch_open_count(hub->watch) <= hub->connections_max)
        return STATUS_OK;
    LOG_WARN("hub", "connection refused", "why=\"%u are open, as many as this process can hold\"",
             hub->connections_max);
    hub->handshakes_refused++;
    shutdown(fd, SHUT_RDWR);
    return STATUS_OK;
}

static enum status take_monitor_event(struct hub *hub, int event, int fd, int64_t now_ns)
{
    bool orphan = false;
    if (event == ZMQ_EVENT_ACCEPTED)
        return take_opening(hub, fd, now_ns);
    if ((event & HANDSHAKE_FAILED) != 0) { /* its value is an error, not a descriptor */
        LOG_WARN("hub", "connection refused", "why=\"%s\"", socket_handshake_text(event, fd));
        hub->handshakes_refused++;
    }
    if (event == ZMQ_EVENT_DISCONNECTED)
        hub_watch_closed(hub->watch, fd, now_ns, &orphan);
    if (orphan || event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        plan_probe(hub, now_ns);
    return STATUS_OK;
}

/* libzmq queues the events of a connection before its messages: to be read after each message was taken. */
static enum status read_monitor(struct hub *hub)
{
    int event = 0, value = 0;
    bool any = false;
    while (socket_monitor_read(hub->monitor, &event, &value)) {
        TRY(take_monitor_event(hub, event, value, clock_now_ns()));
        any = true;
    }
    if (any)
        sync_peers(hub);
    return STATUS_OK;
}

/* A process that computes says nothing, but its I/O thread may have made a new connection: whether there is a route
 * to its identity tells. What is sent makes it say hello when it comes to it. */
static void probe(struct hub *hub)
{
    int64_t now_ns = clock_now_ns();
    if (hub->probe_until_ns == 0 || now_ns < hub->probe_ns)
        return;
    bool unknown = false;
    struct message wanted = {.type = MESSAGE_bye, .bye = {WIRE_WANTS_HELLO}};
    for (uint32_t i = 0; i < hub_core_peer_count(hub->core); i++) {
        const struct hub_peer *peer = hub_core_peer_at(hub->core, i);
        bool settled = peer->connected
                           ? !hub_watch_unknown(hub->watch, peer->id)
                           : now_ns - peer->disconnected_ns < PROBE_AFTER_MS * CLOCK_NS_PER_MS;
        if (settled)
            continue;
        enum status status = hub_core_send(hub->core, peer->id, &wanted);
        hub_watch_found(hub->watch, peer->id, status != STATUS_NETWORK, now_ns);
        sync_peer(hub, peer->id);
        unknown = unknown || hub_watch_unknown(hub->watch, peer->id);
    }
    bool late = now_ns > hub->probe_until_ns;
    hub->probe_ns = now_ns + (late ? PROBE_LATE_MS : PROBE_EVERY_MS) * CLOCK_NS_PER_MS;
    if (late && !unknown)
        hub->probe_until_ns = 0;
}

bool hub_take_event(struct hub *hub, uint32_t *peer_id, bool *connected)
{
    for (uint32_t id = 0; hub->events && id < HUB_PEERS_MAX; id++) {
        const struct hub_peer *peer = hub_core_peer(hub->core, id);
        bool is = peer != NULL && peer->connected;
        if (hub->told[id] == is)
            continue;
        hub->told[id] = is;
        *peer_id = id;
        *connected = is;
        return true;
    }
    hub->events = false;
    return false;
}

bool hub_connected(const struct hub *hub, uint32_t peer_id)
{
    const struct hub_peer *peer = hub_core_peer(hub->core, peer_id);
    return peer != NULL && peer->connected;
}

/* ---- receiving ---- */

/* False: its key does not allow the message, which was answered or dropped here. */
static bool guarded(struct hub *hub, int64_t now_ns, uint32_t peer, enum role *role)
{
    const struct socket_inbox *inbox = &hub->inbox;
    const char *identity = zmq_msg_data(&hub->inbox.identity), *reason = "";
    size_t identity_size = zmq_msg_size(&hub->inbox.identity);
    if (hub->guard == NULL)
        return true;
    enum hub_guard_verdict verdict =
        hub_guard_judge(hub->guard, now_ns, peer, inbox, role, &reason);
    if (verdict == HUB_GUARD_PASS)
        return true;
    LOG_WARN("hub", "message refused", "key=%s public_key=%s why=\"%s\"", inbox->user, inbox->key,
             reason);
    if (verdict == HUB_GUARD_REFUSE)
        hub_core_refuse(hub->core, identity, identity_size, REFUSAL_WRONG_SENDER, reason);
    if (peer != UINT32_MAX && hub_core_peer(hub->core, peer) == NULL)
        hub->events = hub->unseen = true; /* refused and forgotten */
    plan_cut(hub, inbox->fd,
             verdict == HUB_GUARD_CUT ? now_ns : now_ns + CUT_AFTER_MS * CLOCK_NS_PER_MS);
    make_cuts(hub, now_ns);
    return false;
}

static enum status take_inbox(struct hub *hub, struct arena *arena, struct hub_peer *peer,
                              struct message *message)
{
    enum role role = ROLE_NONE;
    const struct socket_inbox *inbox = &hub->inbox;
    const char *identity = zmq_msg_data(&hub->inbox.identity);
    size_t identity_size = zmq_msg_size(&hub->inbox.identity);
    int64_t now_ns = clock_now_ns();
    uint32_t before = hub_core_find(hub->core, identity, identity_size);
    if (!guarded(hub, now_ns, before, &role))
        return STATUS_OK;
    TRY(hub_core_take(hub->core, now_ns, identity, identity_size, role, inbox->bytes, inbox->size,
                      arena, peer, message));
    uint32_t id = hub_core_find(hub->core, identity, identity_size);
    if (id != before && before != UINT32_MAX)
        hub->events = hub->unseen = true; /* refused and forgotten */
    if (id == UINT32_MAX)
        return STATUS_OK;
    if (id != before) { /* its hello tells the owner that it is connected */
        hub_watch_forget(hub->watch, id);
        hub->told[id] = true;
        if (hub->guard != NULL)
            hub_guard_bind(hub->guard, id, inbox);
    }
    bool hello = message->type == MESSAGE_hello;
    if (hub_watch_heard(hub->watch, id, inbox->fd, hello, now_ns)) {
        plan_probe(hub, now_ns);
        sync_peers(hub);
    }
    sync_peer(hub, id);
    if (message->type != MESSAGE_NONE)
        *peer = *hub_core_peer(hub->core, id);
    return STATUS_OK;
}

/* Takes one message that is there already; *taken is false when there is none. One that is skipped leaves type NONE:
 * the poll ends, so that the caller can reset the arena which it used. */
static enum status receive(struct hub *hub, struct arena *arena, struct hub_peer *peer,
                           struct message *message, bool *taken)
{
    hub->sent = false;
    *taken = socket_take(hub->socket, true, &hub->inbox);
    TRY(read_monitor(hub));
    if (hub->cut_count > 0)
        make_cuts(hub, clock_now_ns());
    if (*taken)
        TRY(take_inbox(hub, arena, peer, message));
    else
        probe(hub);
    return STATUS_OK;
}

/* Waits once. *woken: by extra_fd or a signal. */
static enum status wait_once(struct hub *hub, int timeout_ms, int extra_fd, bool *woken)
{
    if (hub->sent) /* libzmq may have taken what came while it sent: look again before waiting */
        return STATUS_OK;
    if ((hub->probe_until_ns != 0 || hub->cut_count > 0) && timeout_ms > PROBE_EVERY_MS)
        timeout_ms = PROBE_EVERY_MS;
    return socket_wait(hub->socket, hub->monitor, extra_fd, timeout_ms, woken);
}

enum status hub_poll(struct hub *hub, int64_t timeout_ms, int extra_fd, struct arena *arena,
                     struct hub_peer *peer, struct message *message)
{
    message->type = MESSAGE_NONE;
    hub_core_settle(hub->core);
    struct wait wait = wait_begin("message", "any peer", timeout_ms);
    enum status status;
    bool woken = false, taken = false;
    for (;;) {
        TRY_GOTO(out, receive(hub, arena, peer, message, &taken));
        if (taken || woken || (hub->events && hub->unseen) || wait_left_ms(&wait) == 0)
            break;
        TRY_GOTO(out, wait_once(hub, wait_slice_ms(&wait, POLL_SLICE_MS), extra_fd, &woken));
    }
out:
    hub->unseen = false;
    enum status ended = wait_end(&wait, true); /* nothing in time is no error here */
    return status != STATUS_OK ? status : ended;
}

/* ---- peers ---- */

enum status hub_send(struct hub *hub, uint32_t peer_id, const struct message *message)
{
    const struct hub_peer *peer = hub_core_peer(hub->core, peer_id);
    if (message->type == MESSAGE_refused && peer != NULL)
        LOG_WARN("hub", "peer refused", "peer=%s why=\"%s\"", peer->name, message->refused.reason);
    return hub_core_send(hub->core, peer_id, message);
}

void hub_forget(struct hub *hub, uint32_t peer_id)
{
    hub_core_forget(hub->core, peer_id);
    if (peer_id >= HUB_PEERS_MAX)
        return;
    hub_watch_forget(hub->watch, peer_id);
    hub->told[peer_id] = false;
}

uint32_t hub_peer_count(const struct hub *hub)
{
    return hub_core_peer_count(hub->core);
}

const struct hub_peer *hub_peer_at(const struct hub *hub, uint32_t i)
{
    return hub_core_peer_at(hub->core, i);
}

uint64_t hub_refused(const struct hub *hub, enum refusal kind)
{
    return hub_core_refused(hub->core, kind);
}

uint64_t hub_corrupt_count(const struct hub *hub)
{
    uint64_t sum = 0;
    for (int kind = 0; kind < REFUSAL_COUNT; kind++)
        sum += hub_core_refused(hub->core, (enum refusal)kind);
    return sum;
}

uint64_t hub_handshakes_refused(const struct hub *hub)
{
    return hub->handshakes_refused;
}

uint32_t hub_connection_count(const struct hub *hub)
{
    return hub_watch_open_count(hub->watch);
}

const char *hub_endpoint(const struct hub *hub)
{
    return hub->endpoint;
}

void hub_public_endpoint(const struct hub *hub, char *out, size_t size)
{
    char text[ENDPOINT_MAX];
    endpoint_public(hub->endpoint, text);
    snprintf(out, size, "%s", text);
}
