/* actor/http_watch.c - which clients have gone, and which are too slow to be waited for.
 *
 * A suspended connection is in no poll set of libmicrohttpd, so nobody would notice that its client left: this thread asks
 * all of them at once, every WATCH_MS. A client that has not sent a whole request three time-outs after it connected, or
 * after its last answer, is cut off, however steadily its bytes drip. */
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actor/http_state.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/wait.h"

enum { WATCH_MS = 50, SLOW_TIMEOUTS = 3 };

void http_connected(void *self, struct MHD_Connection *connection, void **context,
                    enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = self;
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct http_peer *peer = memory_alloc(sizeof *peer);
        *context = peer;
        server->peer_count++;
        if (peer != NULL) {
            *peer = (struct http_peer){.fd = info != NULL ? info->connect_fd : -1,
                                       .since_ns = clock_now_ns(),
                                       .next = server->peers};
            if (server->peers != NULL)
                server->peers->previous = peer;
            server->peers = peer;
        }
    } else {
        struct http_peer *peer = *context;
        server->peer_count--;
        if (peer != NULL) {
            *(peer->previous != NULL ? &peer->previous->next : &server->peers) = peer->next;
            if (peer->next != NULL)
                peer->next->previous = peer->previous;
            memory_free(peer);
        }
        *context = NULL;
    }
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
}

void http_peer_busy(struct http_server *server, struct http_peer *peer, bool busy)
{
    if (peer == NULL)
        return;
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    peer->busy = busy;
    peer->since_ns = clock_now_ns();
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
}

static void cut_off_slow(struct http_server *server)
{
    int64_t limit_ns = (int64_t)server->config.settings->actor.http_timeout_s * CLOCK_NS_PER_S;
    int64_t now_ns = clock_now_ns();
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    for (struct http_peer *peer = server->peers; peer != NULL; peer = peer->next)
        if (!peer->busy && peer->fd >= 0 && now_ns - peer->since_ns > SLOW_TIMEOUTS * limit_ns)
            shutdown(peer->fd, SHUT_RDWR);
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
}

/* While the lock is held none of them is closed: their HTTP thread would have to unlist them first. */
static void find_gone(struct http_server *server)
{
    serve_lock(server->hub);
    for (struct exchange *exchange = server->exchanges; exchange != NULL;
         exchange = exchange->next) {
        struct pollfd asked = {.fd = exchange->peer != NULL ? exchange->peer->fd : -1,
                               .events = POLLRDHUP};
        if (!exchange->suspended || asked.fd < 0 || poll(&asked, 1, 0) <= 0)
            continue;
        exchange->gone = true;
        http_resume(exchange);
    }
    serve_unlock(server->hub);
}

static void *watch(void *self)
{
    struct http_server *server = self;
    struct pollfd stop = {.fd = server->stop_fd, .events = POLLIN};
    while (poll(&stop, 1, WATCH_MS) == 0) {
        find_gone(server);
        cut_off_slow(server);
    }
    return NULL;
}

enum status http_watch_start(struct http_server *server)
{
    server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->stop_fd < 0)
        return FAIL(STATUS_IO, "eventfd: no descriptors are left");
    if (pthread_create(&server->watcher, NULL, watch, server) != 0)
        return FAIL(STATUS_NO_MEMORY, "a thread that watches clients");
    server->watching = true;
    return STATUS_OK;
}

void http_watch_stop(struct http_server *server)
{
    uint64_t one = 1;
    if (server->watching) {
        (void)!write(server->stop_fd, &one, sizeof one);
        CHECK(pthread_join(server->watcher, NULL) == 0);
        server->watching = false;
    }
    if (server->stop_fd >= 0)
        close(server->stop_fd);
    server->stop_fd = -1;
}
