/* transport/socket.h - what link and hub share on top of libzmq. Private to transport/. */
#ifndef TRANSPORT_SOCKET_H
#define TRANSPORT_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "proto/messages.h"

/* Reason of the bye with which a hub answers an identity it does not know: say hello again. */
#define HUB_WANTS_HELLO "hello?"

enum {
    SOCKET_ENDPOINT_MAX = 256,
    SOCKET_IDENTITY_MAX = 64,
    SOCKET_HWM = 1000,          /* messages; libzmq counts per peer */
    SOCKET_LINGER_MS = 200,     /* close waits at most this long for what is queued */
    SOCKET_HEARTBEAT_MS = 2000, /* libzmq's own ping; finds a cut connection */
    SOCKET_HEARTBEAT_DEAD_MS = 10000,
};

/* ipc://path or tcp://127.x.x.x:port (localhost becomes 127.0.0.1); anything else is INVALID with a
 * sentence: a connection that leaves the machine would be neither encrypted nor authenticated. */
MUST_CHECK enum status socket_endpoint(const char *endpoint, char out[SOCKET_ENDPOINT_MAX]);

/* One context and one socket of `type` (ZMQ_DEALER, ZMQ_ROUTER) with limits, HWM, linger, heartbeats. */
MUST_CHECK enum status socket_open(int type, void **context, void **socket);
void socket_close(void **context,
                  void **socket); /* waits at most SOCKET_LINGER_MS for queued messages */

/* Text identity "actor.3.0123456789abcdef" of a peer. */
void socket_identity(enum role role, uint32_t index, uint64_t incarnation,
                     char out[SOCKET_IDENTITY_MAX]);
const char *role_name(enum role role); /* "actor" */

/* Never blocks. identity_size 0: no identity frame (DEALER). AGAIN full, NETWORK peer gone. */
MUST_CHECK enum status socket_send(void *socket, const void *identity, size_t identity_size,
                                   const struct buffer *bytes);

#endif
