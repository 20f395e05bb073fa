#include "transport/socket.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "transport/link.h"
#include "transport/zap.h"

static _Atomic int64_t sends_until_failure = -1;

void transport_fail_after(int64_t n)
{
    atomic_store(&sends_until_failure, n == 0 ? 1 : n);
}

/* True for the one send that is to fail. */
static bool planned_failure(void)
{
    if (atomic_load_explicit(&sends_until_failure, memory_order_relaxed) < 0)
        return false;
    if (atomic_fetch_sub(&sends_until_failure, 1) != 1)
        return false;
    atomic_store(&sends_until_failure, -1);
    return true;
}

void socket_identity(enum role role, uint32_t index, uint64_t incarnation,
                     char out[SOCKET_IDENTITY_MAX])
{
    snprintf(out, SOCKET_IDENTITY_MAX, "%s.%" PRIu32 ".%016" PRIx64, role_name(role), index,
             incarnation);
}

enum status socket_open(int type, const struct endpoint *endpoint, void **context, void **socket)
{
    *context = zmq_ctx_new();
    if (*context == NULL)
        return FAIL(STATUS_NO_MEMORY, "zmq_ctx_new: %s", zmq_strerror(errno));
    *socket = zmq_socket(*context, type);
    if (*socket == NULL) {
        enum status status = FAIL(STATUS_IO, "zmq_socket: %s", zmq_strerror(errno));
        socket_close(context, socket);
        return status;
    }
    const struct {
        int name, value;
    } options[] = {
        {ZMQ_SNDHWM, SOCKET_HWM},
        {ZMQ_RCVHWM, SOCKET_HWM},
        {ZMQ_LINGER, SOCKET_LINGER_MS},
        {ZMQ_HEARTBEAT_IVL, SOCKET_HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, SOCKET_HEARTBEAT_DEAD_MS},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, 10},
        {ZMQ_TCP_KEEPALIVE_INTVL, 5},
        {ZMQ_TCP_KEEPALIVE_CNT, 3},
        {ZMQ_BACKLOG, 4096}, /* a whole fleet comes back at once after a restart */
        {ZMQ_RECONNECT_IVL, 50},
        {ZMQ_RECONNECT_IVL_MAX, 200}, /* one host: a store that is back should be found at once */
        {ZMQ_HANDSHAKE_IVL, SOCKET_HANDSHAKE_MS},
        {ZMQ_IPV6, endpoint->ipv6},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        failed |= zmq_setsockopt(*socket, options[i].name, &options[i].value, sizeof(int));
    int64_t bytes_max = SOCKET_PIECE_BYTES; /* of one frame */
    failed |= zmq_setsockopt(*socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
    int on = 1;
    if (type == ZMQ_ROUTER) {
        failed |= zmq_setsockopt(*socket, ZMQ_ROUTER_MANDATORY, &on, sizeof on);
        failed |= zmq_setsockopt(*socket, ZMQ_ROUTER_HANDOVER, &on, sizeof on);
    }
    if (failed == 0)
        return STATUS_OK;
    enum status status = FAIL(STATUS_IO, "zmq_setsockopt: %s", zmq_strerror(errno));
    socket_close(context, socket);
    return status;
}

enum status socket_secure_server(void *socket, const struct key_pair *pair)
{
    enum { ENFORCE_DOMAIN = 93 }; /* ZMQ_ZAP_ENFORCE_DOMAIN, which zmq.h shows to drafts only */
    int on = 1;
    if (zmq_setsockopt(socket, ENFORCE_DOMAIN, &on, sizeof on) != 0 && errno != EINVAL)
        return FAIL(STATUS_UNSUPPORTED, "ZMQ_ZAP_ENFORCE_DOMAIN: %s", zmq_strerror(errno));
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, pair->secret_text, KEY_TEXT_MAX) != 0 ||
        zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN)) != 0)
        return FAIL(STATUS_UNSUPPORTED, "CURVE keys cannot be used: %s", zmq_strerror(errno));
    return STATUS_OK;
}

enum status socket_secure_client(void *socket, const struct key_pair *pair,
                                 const char *store_public)
{
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, store_public, KEY_TEXT_MAX) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, pair->public_text, KEY_TEXT_MAX) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, pair->secret_text, KEY_TEXT_MAX) != 0)
        return FAIL(STATUS_UNSUPPORTED, "CURVE keys cannot be used: %s", zmq_strerror(errno));
    return STATUS_OK;
}

void socket_close(void **context, void **socket)
{
    if (*socket != NULL)
        zmq_close(*socket);
    *socket = NULL;
    if (*context != NULL)
        while (zmq_ctx_term(*context) != 0 && zmq_errno() == EINTR) {
        }
    *context = NULL;
}

/* zmq_send that a test can make fail; retries a signal. */
static int send_frame(void *socket, const void *bytes, size_t size, int flags)
{
    if (planned_failure()) {
        errno = EAGAIN;
        return -1;
    }
    int rc;
    do
        rc = zmq_send(socket, bytes, size, flags | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc;
}

/* The pipe was checked with the first frame: the rest belongs to it and is taken whole. */
static int send_rest(void *socket, const uint8_t *bytes, size_t size)
{
    int rc;
    do {
        size_t piece = size < SOCKET_PIECE_BYTES ? size : SOCKET_PIECE_BYTES;
        int more = size > piece ? ZMQ_SNDMORE : 0;
        do
            rc = zmq_send(socket, bytes, piece, more | ZMQ_DONTWAIT);
        while (rc < 0 && errno == EINTR);
        bytes += piece;
        size -= piece;
    } while (rc >= 0 && size > 0);
    return rc;
}

enum status socket_send(void *socket, const void *identity, size_t identity_size, const void *bytes,
                        size_t size)
{
    int rc;
    if (identity_size > 0) {
        rc = send_frame(socket, identity, identity_size, ZMQ_SNDMORE);
        if (rc >= 0)
            rc = send_rest(socket, bytes, size);
    } else {
        size_t first = size < SOCKET_PIECE_BYTES ? size : SOCKET_PIECE_BYTES;
        rc = send_frame(socket, bytes, first, size > first ? ZMQ_SNDMORE : 0);
        if (rc >= 0 && size > first)
            rc = send_rest(socket, (const uint8_t *)bytes + first, size - first);
    }
    if (rc >= 0)
        return STATUS_OK;
    if (errno == EAGAIN)
        return FAIL(STATUS_AGAIN, "the peer takes nothing now (%d messages queued)", SOCKET_HWM);
    if (errno == EHOSTUNREACH)
        return FAIL(STATUS_NETWORK, "the peer is gone");
    return FAIL(STATUS_NETWORK, "zmq_send: %s", zmq_strerror(errno));
}

void socket_inbox_init(struct socket_inbox *inbox)
{
    *inbox = (struct socket_inbox){.fd = -1, .user = "", .key = ""};
    zmq_msg_init(&inbox->identity);
    zmq_msg_init(&inbox->body);
    buffer_init(&inbox->whole, WIRE_MESSAGE_MAX);
}

void socket_inbox_free(struct socket_inbox *inbox)
{
    zmq_msg_close(&inbox->identity);
    zmq_msg_close(&inbox->body);
    buffer_free(&inbox->whole);
}

static bool next_frame(zmq_msg_t *frame, void *socket)
{
    int rc;
    do
        rc = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

/* Frames after the first of the body; libzmq hands a message out when all of it is there. */
static void take_pieces(void *socket, struct socket_inbox *inbox)
{
    enum { KEEP_BYTES = 16 << 20 };
    if (inbox->whole.capacity > KEEP_BYTES)
        buffer_free(&inbox->whole);
    buffer_clear(&inbox->whole);
    bool fits = true, more = true;
    while (more) {
        fits = fits && buffer_append(&inbox->whole, zmq_msg_data(&inbox->body),
                                     zmq_msg_size(&inbox->body)) == STATUS_OK;
        more = zmq_msg_more(&inbox->body) && next_frame(&inbox->body, socket);
    }
    inbox->bytes = inbox->whole.bytes;
    inbox->size = fits ? inbox->whole.size : 0;
}

bool socket_take(void *socket, bool routed, struct socket_inbox *inbox)
{
    inbox->bytes = NULL;
    inbox->size = 0;
    inbox->fd = -1;
    inbox->user = inbox->key = "";
    zmq_msg_t *first = routed ? &inbox->identity : &inbox->body;
    if (!next_frame(first, socket))
        return false;
    if (routed && (!zmq_msg_more(&inbox->identity) || !next_frame(&inbox->body, socket)))
        return true; /* nothing follows the identity: an empty message */
    inbox->fd = zmq_msg_get(&inbox->body, ZMQ_SRCFD);
    const char *user = zmq_msg_gets(&inbox->body, "User-Id");
    const char *key = zmq_msg_gets(&inbox->body, ZAP_KEY_NAME);
    inbox->user = user != NULL ? user : "";
    inbox->key = key != NULL ? key : "";
    if (zmq_msg_more(&inbox->body)) {
        take_pieces(socket, inbox);
        return true;
    }
    inbox->bytes = zmq_msg_data(&inbox->body);
    inbox->size = zmq_msg_size(&inbox->body);
    return true;
}

static int descriptor_of(void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0 ? fd : -1;
}

enum status socket_wait(void *socket, void *monitor, int extra_fd, int timeout_ms, bool *woken)
{
    struct pollfd items[] = {{descriptor_of(socket), POLLIN, 0},
                             {descriptor_of(monitor), POLLIN, 0},
                             {extra_fd, POLLIN | POLLERR, 0}};
    int ready = poll(items, extra_fd >= 0 ? 3 : 2, timeout_ms);
    *woken = (ready < 0 && errno == EINTR) || (ready > 0 && items[2].revents != 0);
    if (ready < 0 && errno != EINTR)
        return FAIL(STATUS_IO, "poll: %s", strerror(errno));
    return STATUS_OK;
}

enum status socket_monitor(void *context, void *socket, int events, void **monitor)
{
    static _Atomic uint32_t number;
    char name[64];
    int none = 0;
    snprintf(name, sizeof name, "inproc://monitor-%" PRIu32, atomic_fetch_add(&number, 1));
    if (zmq_socket_monitor(socket, name, events) != 0)
        return FAIL(STATUS_IO, "zmq_socket_monitor: %s", zmq_strerror(errno));
    *monitor = zmq_socket(context, ZMQ_PAIR);
    if (*monitor == NULL || zmq_setsockopt(*monitor, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(*monitor, ZMQ_RCVHWM, &none, sizeof none) != 0 ||
        zmq_connect(*monitor, name) != 0)
        return FAIL(STATUS_IO, "socket monitor: %s", zmq_strerror(errno));
    return STATUS_OK;
}

void socket_monitor_close(void *socket, void **monitor)
{
    if (*monitor == NULL)
        return;
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(*monitor);
    *monitor = NULL;
}

/* Two frames: event (u16) and value (u32), then the endpoint. */
bool socket_monitor_read(void *monitor, int *event, int *value)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    bool got = next_frame(&frame, monitor);
    if (got && zmq_msg_size(&frame) >= 6) {
        const uint8_t *bytes = zmq_msg_data(&frame);
        uint16_t number;
        int32_t number_value;
        memcpy(&number, bytes, sizeof number);
        memcpy(&number_value, bytes + sizeof number, sizeof number_value);
        *event = number;
        *value = number_value;
    }
    while (got && zmq_msg_more(&frame) && next_frame(&frame, monitor)) {
    }
    zmq_msg_close(&frame);
    return got;
}

const char *socket_handshake_text(int event, int value)
{
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        return value == 300 ? "the allow list could not be read" : "its key is not allowed";
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        return "it ended or said nothing during the handshake (perhaps it uses other keys, or "
               "none)";
    switch (value) {
    case ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "one side uses keys and the other does not";
    case ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
        return "the keys do not fit: the peer has another public key of the store";
    default:
        return "what it says is not the protocol";
    }
}
