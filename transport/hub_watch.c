#include "transport/hub_watch.h"

#include "core/memory.h"
#include "transport/link.h"

enum {
    NO_PEER = UINT32_MAX,
    FDS_MAX = 1 << 24,
    DOUBTS = 3, /* probes that find whoever displaced somebody before it is believed */
};

struct connection {
    uint64_t opening; /* 0: never opened */
    bool open;
    uint32_t peer; /* NO_PEER: nobody sits on it */
};

struct seat { /* of a peer */
    uint64_t opening;
    int fd; /* -1: unknown */
    bool connected;
    uint8_t doubts;   /* probes to go: it displaced somebody */
    int64_t since_ns; /* of the disconnect */
};

struct hub_watch {
    struct connection *connections; /* [fd_count] by descriptor */
    size_t fd_count;
    struct seat *seats; /* [HUB_PEERS_MAX] by peer */
    uint64_t openings;
    uint32_t open_count;
};

enum status hub_watch_create(struct hub_watch **watch)
{
    struct hub_watch *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "hub");
    made->seats = memory_array(HUB_PEERS_MAX, sizeof *made->seats);
    if (made->seats == NULL) {
        hub_watch_destroy(&made);
        return FAIL(STATUS_NO_MEMORY, "connections of %d peers", HUB_PEERS_MAX);
    }
    for (uint32_t i = 0; i < HUB_PEERS_MAX; i++)
        made->seats[i].fd = -1;
    *watch = made;
    return STATUS_OK;
}

void hub_watch_destroy(struct hub_watch **watch)
{
    if (*watch == NULL)
        return;
    memory_free((*watch)->connections);
    memory_free((*watch)->seats);
    memory_free(*watch);
    *watch = NULL;
}

static struct connection *connection_of(const struct hub_watch *watch, int fd)
{
    return fd >= 0 && (size_t)fd < watch->fd_count ? &watch->connections[fd] : NULL;
}

/* Who sits on it; a peer that was forgotten since does not. */
static uint32_t sitter(const struct hub_watch *watch, const struct connection *connection)
{
    uint32_t peer = connection->peer;
    return peer != NO_PEER && watch->seats[peer].fd >= 0 &&
                   watch->seats[peer].opening == connection->opening
               ? peer
               : NO_PEER;
}

/* The connection that a peer sits on is over for it. */
static void stand_up(struct hub_watch *watch, uint32_t peer, int64_t now_ns)
{
    struct seat *seat = &watch->seats[peer];
    if (seat->connected)
        seat->since_ns = now_ns;
    seat->connected = false;
    seat->doubts = 0;
    seat->fd = -1;
}

enum status hub_watch_opened(struct hub_watch *watch, int fd, int64_t now_ns)
{
    if (fd < 0 || fd >= FDS_MAX)
        return FAIL(STATUS_INVALID, "descriptor %d of a connection", fd);
    if ((size_t)fd >= watch->fd_count) {
        size_t count = ((size_t)fd + 256) & ~(size_t)255;
        void *grown = memory_grow(watch->connections, watch->fd_count * sizeof(struct connection),
                                  count * sizeof(struct connection));
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "connection %d", fd);
        watch->connections = grown;
        watch->fd_count = count;
    }
    bool orphan;
    hub_watch_closed(watch, fd, now_ns, &orphan); /* its end was not told */
    watch->connections[fd] = (struct connection){++watch->openings, true, NO_PEER};
    watch->open_count++;
    return STATUS_OK;
}

void hub_watch_closed(struct hub_watch *watch, int fd, int64_t now_ns, bool *orphan)
{
    struct connection *connection = connection_of(watch, fd);
    *orphan = false;
    if (connection == NULL || !connection->open)
        return;
    connection->open = false;
    watch->open_count--;
    uint32_t peer = sitter(watch, connection);
    *orphan = peer == NO_PEER;
    if (peer != NO_PEER)
        stand_up(watch, peer, now_ns);
    connection->peer = NO_PEER;
}

bool hub_watch_heard(struct hub_watch *watch, uint32_t peer, int fd, bool hello, int64_t now_ns)
{
    struct seat *seat = &watch->seats[peer];
    struct connection *connection = connection_of(watch, fd);
    if (connection ==
        NULL) { /* a transport without descriptors: a hello is all there is to go by */
        if (hello)
            hub_watch_found(watch, peer, true, now_ns);
        return false;
    }
    bool moves = hello || (seat->connected && seat->fd < 0);
    if (!moves || !connection->open || connection->opening <= seat->opening) {
        if (seat->opening == 0 && !connection->open)
            seat->since_ns = now_ns; /* its first message is its last */
        return false;
    }
    uint32_t displaced = sitter(watch, connection);
    if (displaced != NO_PEER) {
        watch->seats[displaced].fd = -1;
        watch->seats[displaced].doubts = 0;
        watch->seats[displaced].opening--; /* its next message may take this very opening back */
    }
    connection->peer = peer;
    *seat = (struct seat){.opening = connection->opening,
                          .fd = fd,
                          .connected = true,
                          .doubts = displaced != NO_PEER ? DOUBTS : 0};
    return displaced != NO_PEER;
}

void hub_watch_found(struct hub_watch *watch, uint32_t peer, bool connected, int64_t now_ns)
{
    struct seat *seat = &watch->seats[peer];
    if (connected && seat->doubts > 0)
        seat->doubts--;
    if (seat->connected == connected)
        return;
    if (!connected)
        stand_up(watch, peer, now_ns);
    seat->connected = connected;
}

void hub_watch_forget(struct hub_watch *watch, uint32_t peer)
{
    watch->seats[peer] = (struct seat){.fd = -1};
}

bool hub_watch_connected(const struct hub_watch *watch, uint32_t peer, int64_t *since_ns)
{
    *since_ns = watch->seats[peer].since_ns;
    return watch->seats[peer].connected;
}

bool hub_watch_unknown(const struct hub_watch *watch, uint32_t peer)
{
    const struct seat *seat = &watch->seats[peer];
    return seat->connected && (seat->fd < 0 || seat->doubts > 0);
}

uint32_t hub_watch_open_count(const struct hub_watch *watch)
{
    return watch->open_count;
}

uint64_t hub_watch_opening(const struct hub_watch *watch, int fd)
{
    const struct connection *connection = connection_of(watch, fd);
    return connection != NULL && connection->open ? connection->opening : 0;
}
