/* transport/socket.h - what link and hub share on top of libzmq. Private to transport/. */
#ifndef TRANSPORT_SOCKET_H
#define TRANSPORT_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#include "core/buffer.h"
#include "proto/messages.h"
#include "transport/endpoint.h"
#include "transport/keys.h"

enum {
    SOCKET_ENDPOINT_MAX = ENDPOINT_MAX,
    SOCKET_IDENTITY_MAX = 64,
    SOCKET_HWM = 1000,      /* messages; libzmq counts per peer */
    SOCKET_LINGER_MS = 200, /* close waits at most this long for what is queued */
    /* libzmq's own ping finds a stopped or cut-off peer in at most their sum; its I/O thread answers, so a process
     * that computes is alive. A frame must pass within the second: long messages travel in pieces. */
    SOCKET_HEARTBEAT_MS = 100,
    SOCKET_HEARTBEAT_DEAD_MS = 300,
    SOCKET_PIECE_BYTES = 256 << 10,
    SOCKET_HANDSHAKE_MS = 5000, /* a peer that takes longer is cut off */
};

/* One context and one socket of `type` (ZMQ_DEALER, ZMQ_ROUTER) with limits, HWM, linger, heartbeats. */
MUST_CHECK enum status socket_open(int type, const struct endpoint *endpoint, void **context,
                                   void **socket);
/* CURVE: the store's end, and everybody else's. Before bind or connect. */
MUST_CHECK enum status socket_secure_server(void *socket, const struct key_pair *pair);
MUST_CHECK enum status socket_secure_client(void *socket, const struct key_pair *pair,
                                            const char *store_public);
void socket_close(void **context,
                  void **socket); /* waits at most SOCKET_LINGER_MS for queued messages */

/* Text identity "actor.3.0123456789abcdef" of a peer. */
void socket_identity(enum role role, uint32_t index, uint64_t incarnation,
                     char out[SOCKET_IDENTITY_MAX]);

/* Never blocks. identity_size 0: no identity frame (DEALER). AGAIN full, NETWORK peer gone. */
MUST_CHECK enum status socket_send(void *socket, const void *identity, size_t identity_size,
                                   const void *bytes, size_t size);

/* One message as it came, its pieces put together. */
struct socket_inbox {
    zmq_msg_t identity, body;
    struct buffer whole; /* of a message in pieces */
    const void *bytes;   /* [size] valid until the next take */
    size_t size;         /* 0 also for one above WIRE_MESSAGE_MAX */
    int fd;              /* of the connection it came by, -1 when libzmq does not say */
    const char *user;    /* User-Id of the sender, "role:name"; "" without keys; valid like bytes */
    const char *key;     /* its public key, likewise */
};
void socket_inbox_init(struct socket_inbox *inbox);
void socket_inbox_free(struct socket_inbox *inbox);
/* False: nothing is there. routed: the first frame is the sender's identity (ROUTER). */
bool socket_take(void *socket, bool routed, struct socket_inbox *inbox);

/* Waits until one of the two sockets or `extra_fd` (-1: none) may have something, or a signal came (*woken, also for
 * extra_fd). Only after both gave EAGAIN and nothing was sent since: libzmq's descriptors tell changes, not states. It
 * takes a fifth of zmq_poll's system calls. */
MUST_CHECK enum status socket_wait(void *socket, void *monitor, int extra_fd, int timeout_ms,
                                   bool *woken);

/* A PAIR that gets libzmq's events (ZMQ_EVENT_...) of `socket`. Its queue has no limit: libzmq would block. */
MUST_CHECK enum status socket_monitor(void *context, void *socket, int events, void **monitor);
/* Before `socket` itself is closed, or libzmq leaks what it made for the events. */
void socket_monitor_close(void *socket, void **monitor);
/* False: no event is there. value: the descriptor, or an error. */
bool socket_monitor_read(void *monitor, int *event, int *value);

/* Why a handshake failed, of the three ZMQ_EVENT_HANDSHAKE_FAILED_... events, as a sentence. */
const char *socket_handshake_text(int event, int value);

#endif
