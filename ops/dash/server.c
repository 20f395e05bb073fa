#include "ops/dash/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "ops/dash/server_state.h"

enum { LISTEN_BACKLOG = 256, CONNECTION_BYTES = 32 << 10, WATCH_MS = 1000 };

const char *server_url(const struct dash *dash)
{
    return dash->server->url;
}

void dash_wake(struct dash *dash)
{
    stream_wake(dash);
}

/* ---- where it listens ---- */

/* LIMIT: the port is taken. */
static enum status bind_there(const struct addrinfo *there, const char *host, uint32_t port,
                              int *out)
{
    int one = 1;
    int fd = socket(there->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return FAIL(STATUS_IO, "socket: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, there->ai_addr, there->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int error = errno;
        close(fd);
        return FAIL(error == EADDRINUSE ? STATUS_LIMIT : STATUS_IO,
                    "dash.address: %s:%u cannot be listened at: %s", host, port, strerror(error));
    }
    *out = fd;
    return STATUS_OK;
}

static enum status bind_one(const char *host, uint32_t port, int *out)
{
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    snprintf(service, sizeof service, "%u", port);
    int failed = getaddrinfo(host, service, &hints, &found);
    if (failed != 0)
        return FAIL(STATUS_INVALID, "dash.address: %s: %s", host, gai_strerror(failed));
    enum status status = bind_there(found, host, port, out);
    for (const struct addrinfo *at = found->ai_next; status == STATUS_IO && at != NULL;
         at = at->ai_next) /* a name may be ::1 first on a machine without IPv6 */
        status = bind_there(at, host, port, out);
    freeaddrinfo(found);
    return status;
}

/* The port that was asked for, the next ones, then any. */
static enum status open_socket(struct dash *dash, int *fd)
{
    struct access_rules *access = &dash->access;
    uint32_t port = access->port;
    enum status status = bind_one(access->host, port, fd);
    for (uint32_t next = 1;
         status == STATUS_LIMIT && port != 0 && next <= SERVER_NEXT_PORTS && port + next <= 65535;
         next++)
        status = bind_one(access->host, port + next, fd);
    return status == STATUS_LIMIT ? bind_one(access->host, 0, fd) : status;
}

static enum status note_address(struct dash *dash, int fd)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    char port[16];
    struct access_rules *access = &dash->access;
    uint64_t number = 0;
    if (getsockname(fd, (struct sockaddr *)(void *)&bound, &size) != 0 ||
        getnameinfo((struct sockaddr *)(void *)&bound, size, NULL, 0, port, sizeof port,
                    NI_NUMERICSERV) != 0 ||
        !access_u64(port, &number))
        return FAIL(STATUS_IO, "%s: the bound port cannot be read", access->host);
    access->port = (uint32_t)number;
    bool all = strcmp(access->host, "0.0.0.0") == 0 || strcmp(access->host, "::") == 0;
    const char *shown = all && access->name[0] != 0 ? access->name : access->host;
    bool six = strchr(shown, ':') != NULL;
    snprintf(dash->server->url, SERVER_URL_MAX, "http://%s%s%s:%u/", six ? "[" : "", shown,
             six ? "]" : "", access->port);
    return STATUS_OK;
}

/* ---- connections ---- */

static void connected(void *self, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode code)
{
    struct dash_server *server = self;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct peer *peer = memory_alloc(sizeof *peer);
        if (peer == NULL)
            return;
        peer->fd = info != NULL ? info->connect_fd : -1;
        peer->since_ns = clock_now_ns();
        CHECK(pthread_mutex_lock(&server->lock) == 0);
        peer->next = server->peers;
        if (peer->next != NULL)
            peer->next->previous = peer;
        server->peers = peer;
        server->peer_count++;
        CHECK(pthread_mutex_unlock(&server->lock) == 0);
        *context = peer;
    } else if (*context != NULL) {
        struct peer *peer = *context;
        CHECK(pthread_mutex_lock(&server->lock) == 0);
        *(peer->previous != NULL ? &peer->previous->next : &server->peers) = peer->next;
        if (peer->next != NULL)
            peer->next->previous = peer->previous;
        server->peer_count--;
        CHECK(pthread_mutex_unlock(&server->lock) == 0);
        memory_free(peer);
        *context = NULL;
    }
}

/* Who sends a request drop by drop is cut off. */
static void cut_slow(struct dash_server *server, int64_t now_ns)
{
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    for (struct peer *peer = server->peers; peer != NULL; peer = peer->next)
        if (!peer->busy && peer->fd >= 0 &&
            now_ns - peer->since_ns > (int64_t)SERVER_REQUEST_MS * CLOCK_NS_PER_MS)
            (void)shutdown(peer->fd, SHUT_RDWR);
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
}

static void *watch_thread(void *self)
{
    struct dash_server *server = self;
    int64_t beat_ns = clock_now_ns();
    struct pollfd stop = {.fd = server->stop_fd, .events = POLLIN};
    while (poll(&stop, 1, WATCH_MS) == 0) {
        int64_t now_ns = clock_now_ns();
        cut_slow(server, now_ns);
        if (now_ns - beat_ns >= (int64_t)SERVER_HEARTBEAT_MS * CLOCK_NS_PER_MS) {
            stream_beat(server->dash);
            beat_ns = now_ns;
        }
    }
    return NULL;
}

/* ---- start and stop ---- */

static void take_complaint(void *self, const char *fmt, va_list args)
{
    char text[256];
    (void)self;
    vsnprintf(text, sizeof text, fmt, args);
    LOG_DEBUG("dash", "libmicrohttpd", "says=\"%s\"", text);
}

static enum status start_daemon(struct dash *dash, int fd)
{
    struct dash_server *server = dash->server;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        exchange_handle, dash, MHD_OPTION_EXTERNAL_LOGGER, take_complaint, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)SERVER_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SERVER_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, dash,
        MHD_OPTION_NOTIFY_CONNECTION, connected, server, MHD_OPTION_END);
    if (server->daemon != NULL)
        return STATUS_OK;
    close(fd);
    return FAIL(STATUS_IO, "libmicrohttpd cannot start at %s", server->url);
}

enum status server_start(struct dash *dash)
{
    int fd = -1;
    struct dash_server *server = memory_alloc(sizeof *server);
    if (server == NULL)
        return FAIL(STATUS_NO_MEMORY, "the dashboard's server");
    CHECK(pthread_mutex_init(&server->lock, NULL) == 0);
    server->dash = dash;
    server->unread_max = SERVER_UNREAD_MAX;
    server->stop_fd = eventfd(0, EFD_CLOEXEC);
    dash->server = server;
    enum status status =
        server->stop_fd >= 0 ? STATUS_OK : FAIL(STATUS_IO, "eventfd: %s", strerror(errno));
    if (status == STATUS_OK)
        status = open_socket(dash, &fd);
    if (status == STATUS_OK)
        status = note_address(dash, fd);
    if (status == STATUS_OK)
        status = start_daemon(dash, fd);
    if (status == STATUS_OK && pthread_create(&server->watcher, NULL, watch_thread, server) != 0)
        status = FAIL(STATUS_NO_MEMORY, "a thread for slow connections");
    server->watching = status == STATUS_OK;
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        server_stop(dash);
        status_restore(kept);
    }
    return status;
}

void server_stop(struct dash *dash)
{
    struct dash_server *server = dash->server;
    if (server == NULL)
        return;
    if (server->watching) {
        uint64_t one = 1;
        CHECK(write(server->stop_fd, &one, sizeof one) == (ssize_t)sizeof one);
        CHECK(pthread_join(server->watcher, NULL) == 0);
    }
    if (server->daemon != NULL) {
        stream_close_all(dash); /* suspended ones would hold the daemon */
        MHD_stop_daemon(server->daemon);
    }
    if (server->stop_fd >= 0)
        close(server->stop_fd);
    pthread_mutex_destroy(&server->lock);
    memory_free(server);
    dash->server = NULL;
}
