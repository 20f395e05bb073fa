/* ops/dash/server.h - the dashboard over HTTP/1.1: page, API, streams (docs/dashboard.md has the table).
 *
 * One thread of libmicrohttpd answers; a second one looks once a second for connections that take too long, and sends the
 * heartbeats of streams. A stream that waits is suspended and costs nothing. Limits stand below; whoever goes over one gets a
 * status and a sentence. */
#ifndef OPS_DASH_SERVER_H
#define OPS_DASH_SERVER_H

#include "ops/dash/dash.h"

enum {
    SERVER_CONNECTIONS_MAX = 512,
    SERVER_VIEWERS_MAX = 256, /* open streams */
    SERVER_BODY_MAX = 4096,   /* bytes of a POST */
    SERVER_IDLE_S = 20,       /* nothing comes or goes on a connection */
    SERVER_REQUEST_MS =
        20000, /* from its first byte, or from the last answer, to the whole request */
    SERVER_HEARTBEAT_MS = 10000,
    SERVER_NEXT_PORTS = 20,
    /* Bytes of answers on their way to clients, together: 20 of the largest ones. 512 connections that read nothing would hold
     * gigabytes for SERVER_IDLE_S, again and again, beside a learner that needs the memory. */
    SERVER_UNREAD_MAX = 256 << 20,
    SERVER_UNREAD_SMALL =
        64
        << 10 /* an answer of so many bytes is always given: all connections have 32 MB of them */
};

/* Binds dash.address (a taken port: the next of SERVER_NEXT_PORTS, then any) and starts. */
MUST_CHECK enum status server_start(struct dash *dash);
void server_stop(struct dash *dash);
/* "http://127.0.0.1:8420/" */
const char *server_url(const struct dash *dash);

#endif
