/* transport/endpoint.h - what an endpoint may be: ipc and loopback tcp always, other tcp only with keys. Private to
 * transport/. */
#ifndef TRANSPORT_ENDPOINT_H
#define TRANSPORT_ENDPOINT_H

#include <stdbool.h>

#include "core/status.h"

enum { ENDPOINT_MAX = 256 };

struct endpoint {
    char text[ENDPOINT_MAX]; /* for libzmq; localhost is 127.0.0.1 */
    bool tcp;
    bool ipv6; /* libzmq must be told */
};

/* INVALID with a sentence. binds: the store's side, which may name an interface, * or port 0; who connects to
 * an address that stands for all of this machine's gets loopback. keyed: run.keys is given:
 * without it nothing may leave the machine, because it would be neither encrypted nor authenticated. */
MUST_CHECK enum status endpoint_parse(const char *text, bool binds, bool keyed,
                                      struct endpoint *endpoint);
/* What others are told to connect to: the bound address (ZMQ_LAST_ENDPOINT), with this host's name for one that stands
 * for all of this machine's. */
void endpoint_public(const char *bound, char out[ENDPOINT_MAX]);

#endif
