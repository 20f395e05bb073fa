/* transport/listen.h - a TCP socket for an HTTP server: "host:port", "[::1]:port", port 0 for any that is free. Any thread. */
#ifndef TRANSPORT_LISTEN_H
#define TRANSPORT_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { LISTEN_NAME_MAX = 256, LISTEN_ADDRESS_MAX = LISTEN_NAME_MAX + 32 };

struct listener {
    int fd; /* non-blocking, close-on-exec, listening */
    bool loopback;
    char address[LISTEN_ADDRESS_MAX]; /* as bound; a wildcard host is this machine's name */
};

/* INVALID with a sentence for anything else. Brackets are taken off. */
MUST_CHECK enum status listen_split(const char *address, char host[LISTEN_NAME_MAX],
                                    uint32_t *port);
/* A port that is taken gives way to the next `more` ones. INVALID: no address; IO: it cannot be listened at. */
MUST_CHECK enum status listen_open(struct listener *listener, const char *address, uint32_t more);

#endif
