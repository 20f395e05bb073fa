#include "transport/weight_tcp_server.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/endpoint.h"
#include "transport/keys.h"
#include "transport/zap.h"

enum {
    SERVER_QUEUE = 64, /* messages to one client */
    LOOKERS_MAX = 4096,
    IDENTITY_MAX = 32,
    WANTED_MS = 60000,
    WORK_MESSAGES = 64 /* answered before offers are looked at again */
};

struct offer {
    const void *memory; /* NULL: nothing */
    uint64_t version, digest, order;
    uint32_t branch;
};

/* Somebody who wants to know of a version other than the one it knows. */
struct looker {
    uint8_t identity[IDENTITY_MAX];
    size_t size;
};

struct weight_server {
    struct weight_server_config config;
    char endpoint[ENDPOINT_MAX + KEY_TEXT_MAX + 1];
    void *context, *socket; /* of the thread, once it runs */
    struct zap *zap;        /* NULL: no keys, or no list */
    char public_text[KEY_TEXT_MAX];
    int wake; /* eventfd: an offer, or closing */
    pthread_t thread;
    struct looker *lookers; /* [LOOKERS_MAX] of the thread */
    uint32_t looker_count;
    void *staged[2]; /* of the learner's thread, owned; NULL: never asked for */

    pthread_mutex_t lock; /* guards everything below */
    struct offer offers[2];
    uint64_t order;
    int64_t wanted_ns; /* 0: never */
    struct weight_server_stats stats;
    bool closing, changed;
};

/* ---- answers (the thread) ---- */

static struct offer newest_locked(const struct weight_server *server)
{
    struct offer newest = {0};
    for (int i = 0; i < 2; i++)
        if (server->offers[i].memory != NULL && server->offers[i].order > newest.order)
            newest = server->offers[i];
    return newest;
}

static struct weight_tcp_head head_of(const struct weight_server *server, enum weight_tcp_kind kind,
                                      const struct offer *offer)
{
    return (struct weight_tcp_head){.kind = kind,
                                    .layout_hash = server->config.layout_hash,
                                    .bytes = server->config.bytes,
                                    .version = offer->version,
                                    .digest = offer->digest,
                                    .branch = offer->branch};
}

static void count(struct weight_server *server, uint64_t *counter)
{
    pthread_mutex_lock(&server->lock);
    (*counter)++;
    pthread_mutex_unlock(&server->lock);
}

/* `piece` may be NULL; it is closed here. Who takes nothing asks again. */
static void answer(struct weight_server *server, const struct looker *to,
                   struct weight_tcp_head *head, zmq_msg_t *piece)
{
    weight_tcp_seal(head, piece != NULL ? zmq_msg_data(piece) : NULL,
                    piece != NULL ? zmq_msg_size(piece) : 0);
    int more = piece != NULL ? ZMQ_SNDMORE : 0;
    bool sent = zmq_send(server->socket, to->identity, to->size, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
                zmq_send(server->socket, head, sizeof *head, more | ZMQ_DONTWAIT) >= 0 &&
                (piece == NULL || zmq_msg_send(piece, server->socket, ZMQ_DONTWAIT) >= 0);
    if (piece != NULL)
        zmq_msg_close(piece);
    if (!sent)
        count(server, &server->stats.dropped);
}

static void answer_look(struct weight_server *server, const struct looker *from,
                        const struct weight_tcp_head *question)
{
    pthread_mutex_lock(&server->lock);
    server->wanted_ns = clock_now_ns();
    server->stats.looks++;
    struct offer newest = newest_locked(server);
    pthread_mutex_unlock(&server->lock);
    if (newest.memory != NULL && newest.digest != question->digest) {
        struct weight_tcp_head head = head_of(server, WEIGHT_TCP_NEWEST, &newest);
        answer(server, from, &head, NULL);
        return;
    }
    for (uint32_t i = 0; i < server->looker_count; i++)
        if (server->lookers[i].size == from->size &&
            memcmp(server->lookers[i].identity, from->identity, from->size) == 0)
            return;
    if (server->looker_count < LOOKERS_MAX) /* others ask again within a second */
        server->lookers[server->looker_count++] = *from;
}

static void answer_lookers(struct weight_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct offer newest = newest_locked(server);
    pthread_mutex_unlock(&server->lock);
    if (newest.memory == NULL)
        return;
    struct weight_tcp_head head = head_of(server, WEIGHT_TCP_NEWEST, &newest);
    for (uint32_t i = 0; i < server->looker_count; i++)
        answer(server, &server->lookers[i], &head, NULL);
    server->looker_count = 0;
}

static bool range_is_sound(const struct weight_server *server, const struct weight_tcp_head *ask)
{
    return ask->length > 0 && ask->length <= WEIGHT_TCP_PIECE_MAX &&
           ask->offset < server->config.bytes && ask->length <= server->config.bytes - ask->offset;
}

/* Copies the piece while nobody can write the memory. False: its version is gone. */
static bool copy_piece(struct weight_server *server, const struct weight_tcp_head *ask,
                       zmq_msg_t *piece, struct offer *offer)
{
    bool found = false;
    pthread_mutex_lock(&server->lock);
    server->wanted_ns = clock_now_ns();
    for (int i = 0; i < 2 && !found; i++) {
        *offer = server->offers[i];
        found =
            offer->memory != NULL && offer->version == ask->version && offer->digest == ask->digest;
    }
    if (found) {
        memcpy(zmq_msg_data(piece), (const uint8_t *)offer->memory + ask->offset, ask->length);
        server->stats.pieces++;
    } else {
        *offer = newest_locked(server);
        server->stats.gone++;
    }
    pthread_mutex_unlock(&server->lock);
    return found;
}

static void answer_ask(struct weight_server *server, const struct looker *from,
                       const struct weight_tcp_head *ask)
{
    zmq_msg_t piece;
    if (!range_is_sound(server, ask) || zmq_msg_init_size(&piece, ask->length) != 0) {
        count(server, &server->stats.refused);
        return;
    }
    struct offer offer;
    bool found = copy_piece(server, ask, &piece, &offer);
    if (!found &&
        offer.memory == NULL) { /* nothing is offered yet: the client asks again and goes on */
        zmq_msg_close(&piece);
        return;
    }
    struct weight_tcp_head head =
        head_of(server, found ? WEIGHT_TCP_PIECE : WEIGHT_TCP_GONE, &offer);
    if (found) {
        head.offset = ask->offset;
        head.length = ask->length;
    } else {
        zmq_msg_close(&piece);
    }
    answer(server, from, &head, found ? &piece : NULL);
}

static void take_question(struct weight_server *server, const struct looker *from,
                          const void *bytes, size_t size)
{
    struct weight_tcp_head ask;
    if (size != sizeof ask || (memcpy(&ask, bytes, sizeof ask), ask.magic != WEIGHT_TCP_MAGIC) ||
        !weight_tcp_check(&ask, NULL, 0)) {
        count(server, &server->stats.refused);
        return;
    }
    if (ask.layout_hash != server->config.layout_hash || ask.bytes != server->config.bytes) {
        count(server, &server->stats.refused);
        struct weight_tcp_head head = head_of(server, WEIGHT_TCP_REFUSED, &(struct offer){0});
        answer(server, from, &head, NULL);
        return;
    }
    if (ask.kind == WEIGHT_TCP_LOOK)
        answer_look(server, from, &ask);
    else if (ask.kind == WEIGHT_TCP_ASK)
        answer_ask(server, from, &ask);
}

/* ---- the thread ---- */

/* One message of whatever frames it has; false: none. */
static bool receive(struct weight_server *server)
{
    struct looker from = {0};
    uint8_t bytes[sizeof(struct weight_tcp_head) + 1];
    int size = -1, frames = 0, more = 1;
    for (; more != 0; frames++) {
        size_t option = sizeof more;
        int got = frames == 0
                      ? zmq_recv(server->socket, from.identity, sizeof from.identity, ZMQ_DONTWAIT)
                      : zmq_recv(server->socket, bytes, sizeof bytes, ZMQ_DONTWAIT);
        if (got < 0)
            return false;
        if (frames == 0)
            from.size = (size_t)got;
        size = got;
        if (zmq_getsockopt(server->socket, ZMQ_RCVMORE, &more, &option) != 0)
            return false;
    }
    if (frames == 2 && from.size <= IDENTITY_MAX)
        take_question(server, &from, bytes, (size_t)size);
    return true;
}

static bool has_more(const struct weight_server *server)
{
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(server->socket, ZMQ_EVENTS, &events, &size) == 0 &&
           (events & ZMQ_POLLIN) != 0;
}

/* Offers made meanwhile; false: closing. */
static bool look_around(struct weight_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool closing = server->closing, changed = server->changed;
    server->changed = false;
    pthread_mutex_unlock(&server->lock);
    if (changed && !closing)
        answer_lookers(server);
    return !closing;
}

static void *serve(void *argument)
{
    struct weight_server *server = argument;
    int fd = -1;
    size_t size = sizeof fd;
    if (zmq_getsockopt(server->socket, ZMQ_FD, &fd, &size) != 0)
        return NULL;
    while (look_around(server)) {
        for (int i = 0; i < WORK_MESSAGES && receive(server); i++)
            ;
        if (has_more(server))
            continue;
        struct pollfd fds[2] = {{.fd = fd, .events = POLLIN},
                                {.fd = server->wake, .events = POLLIN}};
        enum status status = wait_poll("weights questions", "actors", WAIT_FOREVER, fds, 2);
        uint64_t times = 0;
        if (fds[1].revents != 0 && read(server->wake, &times, sizeof times) < 0)
            times = 0;
        if (status != STATUS_OK && status != STATUS_TIMEOUT) {
            LOG_FAILURE("weights", "weights are served by TCP no more", status);
            break;
        }
    }
    return NULL;
}

/* ---- open and close ---- */

/* What clients are told: the bound address, with the host's name for "all addresses". */
static enum status say_endpoint(struct weight_server *server)
{
    char bound[ENDPOINT_MAX], told[ENDPOINT_MAX];
    size_t size = sizeof bound;
    if (zmq_getsockopt(server->socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        return FAIL(STATUS_IO, "weights endpoint %s: %s", server->config.endpoint,
                    zmq_strerror(errno));
    char key[KEY_TEXT_MAX + 1] = "";
    if (server->public_text[0] != '\0')
        snprintf(key, sizeof key, "|%s", server->public_text);
    endpoint_public(bound, told);
    snprintf(server->endpoint, sizeof server->endpoint, "%s%s", told, key);
    return STATUS_OK;
}

/* A pair of this process alone, and the list of who may connect where there is one. */
static enum status use_keys(struct weight_server *server)
{
    char path[FILE_PATH_MAX], secret[KEY_TEXT_MAX];
    int on = 1;
    TRY(file_path(path, "%s/allow", server->config.keys));
    if (access(path, F_OK) == 0)
        TRY(zap_open(&server->zap, server->context, server->config.keys));
    if (zmq_curve_keypair(server->public_text, secret) != 0)
        return FAIL(STATUS_UNSUPPORTED, "keys for weights: %s", zmq_strerror(errno));
    int failed = zmq_setsockopt(server->socket, ZMQ_CURVE_SERVER, &on, sizeof on) |
                 zmq_setsockopt(server->socket, ZMQ_CURVE_SECRETKEY, secret, KEY_TEXT_MAX) |
                 zmq_setsockopt(server->socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN));
    explicit_bzero(secret, sizeof secret);
    return failed == 0 ? STATUS_OK : FAIL(STATUS_IO, "keys for weights: %s", zmq_strerror(errno));
}

static enum status open_socket(struct weight_server *server)
{
    server->context = zmq_ctx_new();
    server->socket = server->context != NULL ? zmq_socket(server->context, ZMQ_ROUTER) : NULL;
    if (server->socket == NULL)
        return FAIL(STATUS_NO_MEMORY, "a socket for weights: %s", zmq_strerror(errno));
    const struct {
        int name, value;
    } options[] = {
        {ZMQ_SNDHWM, SERVER_QUEUE}, {ZMQ_RCVHWM, 4 * SERVER_QUEUE}, {ZMQ_LINGER, 0},
        {ZMQ_ROUTER_MANDATORY, 1},  {ZMQ_HEARTBEAT_IVL, 1000},      {ZMQ_HEARTBEAT_TIMEOUT, 5000},
        {ZMQ_HANDSHAKE_IVL, 5000}};
    int failed = 0;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        failed |= zmq_setsockopt(server->socket, options[i].name, &options[i].value, sizeof(int));
    int64_t most = 4096; /* questions are small */
    failed |= zmq_setsockopt(server->socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    if (failed != 0)
        return FAIL(STATUS_IO, "a socket for weights: %s", zmq_strerror(errno));
    bool keyed = server->config.keys[0] != '\0';
    struct endpoint endpoint;
    TRY(endpoint_parse(server->config.endpoint, true, keyed, &endpoint));
    int ipv6 = endpoint.ipv6;
    if (zmq_setsockopt(server->socket, ZMQ_IPV6, &ipv6, sizeof ipv6) != 0)
        return FAIL(STATUS_IO, "a socket for weights: %s", zmq_strerror(errno));
    if (keyed)
        TRY(use_keys(server));
    if (zmq_bind(server->socket, endpoint.text) != 0)
        return FAIL(STATUS_NETWORK,
                    "weights cannot be served at %s: %s; weights.endpoint names an address of this "
                    "host",
                    server->config.endpoint, zmq_strerror(errno));
    return say_endpoint(server);
}

static void free_server(struct weight_server *server)
{
    if (server->socket != NULL)
        zmq_close(server->socket);
    zap_close(&server->zap);
    if (server->context != NULL)
        while (zmq_ctx_term(server->context) != 0 && zmq_errno() == EINTR) {
        }
    if (server->wake >= 0)
        close(server->wake);
    for (int i = 0; i < 2; i++)
        memory_free(server->staged[i]);
    memory_free(server->lookers);
    memory_free(server);
}

enum status weight_server_open(struct weight_server **out,
                               const struct weight_server_config *config)
{
    struct weight_server *server = memory_alloc(sizeof *server);
    if (server == NULL)
        return FAIL(STATUS_NO_MEMORY, "weight server");
    server->config = *config;
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->lookers = memory_array(LOOKERS_MAX, sizeof *server->lookers);
    enum status status = STATUS_OK;
    if (server->wake < 0 || server->lookers == NULL)
        status = FAIL(STATUS_NO_MEMORY, "weight server");
    if (status == STATUS_OK)
        status = open_socket(server);
    if (status == STATUS_OK) {
        pthread_mutex_init(&server->lock, NULL);
        int error = pthread_create(&server->thread, NULL, serve, server);
        if (error != 0) {
            pthread_mutex_destroy(&server->lock);
            status = FAIL(STATUS_NO_MEMORY, "a thread for weights: %s", strerror(error));
        }
    }
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        free_server(server);
        status_restore(kept);
        return status;
    }
    server->config.endpoint = server->endpoint;
    *out = server;
    return STATUS_OK;
}

static void wake(struct weight_server *server)
{
    uint64_t one = 1;
    if (write(server->wake, &one, sizeof one) < 0)
        LOG_WARN("weights", "not woken", "why=\"%s\"", strerror(errno));
}

void weight_server_close(struct weight_server **pointer)
{
    struct weight_server *server = *pointer;
    if (server == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    server->closing = true;
    pthread_mutex_unlock(&server->lock);
    wake(server);
    pthread_join(server->thread, NULL);
    pthread_mutex_destroy(&server->lock);
    free_server(server);
    *pointer = NULL;
}

const char *weight_server_endpoint(const struct weight_server *server)
{
    return server->endpoint;
}

/* ---- offers (the learner's thread) ---- */

void weight_server_offer(struct weight_server *server, uint64_t version, uint32_t branch,
                         uint64_t digest, const void *memory)
{
    pthread_mutex_lock(&server->lock);
    struct offer *place = &server->offers[0];
    for (int i = 0; i < 2; i++) /* the same memory, or an empty place, or the older one */
        if (server->offers[i].memory == memory)
            place = &server->offers[i];
    if (place->memory != memory)
        place =
            server->offers[0].memory == NULL || (server->offers[1].memory != NULL &&
                                                 server->offers[0].order < server->offers[1].order)
                ? &server->offers[0]
                : &server->offers[1];
    *place = (struct offer){.memory = memory,
                            .version = version,
                            .digest = digest,
                            .branch = branch,
                            .order = ++server->order};
    server->changed = true;
    pthread_mutex_unlock(&server->lock);
    wake(server);
}

void weight_server_withdraw(struct weight_server *server, const void *memory)
{
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < 2; i++)
        if (server->offers[i].memory == memory)
            server->offers[i] = (struct offer){0};
    pthread_mutex_unlock(&server->lock);
}

enum status weight_server_stage(struct weight_server *server, uint64_t version, void **memory)
{
    void **staged = &server->staged[version % 2];
    if (*staged != NULL)
        weight_server_withdraw(server, *staged);
    else
        *staged = memory_alloc(server->config.bytes);
    if (*staged == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes of weights to be served by TCP",
                    server->config.bytes);
    *memory = *staged;
    return STATUS_OK;
}

bool weight_server_wanted(struct weight_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool wanted = server->wanted_ns != 0 &&
                  clock_now_ns() - server->wanted_ns < WANTED_MS * (int64_t)CLOCK_NS_PER_MS;
    pthread_mutex_unlock(&server->lock);
    return wanted;
}

void weight_server_read(struct weight_server *server, struct weight_server_stats *stats)
{
    pthread_mutex_lock(&server->lock);
    *stats = server->stats;
    pthread_mutex_unlock(&server->lock);
}
