/* ops/dash/access.h - who may ask what: checks on the texts of a request. Pure, any thread.
 *
 * Host must name this server (a page of another site that points its own name at us is refused), Origin, where there is
 * one, must be the page's own, and the token is compared in a time that does not depend on where it differs. */
#ifndef OPS_DASH_ACCESS_H
#define OPS_DASH_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/file.h"

enum { ACCESS_NAME_MAX = 256, ACCESS_TOKEN_MAX = 512, ACCESS_TOKEN_LEAST = 16 };

struct access_rules {
    char host[ACCESS_NAME_MAX]; /* as bound: "127.0.0.1", "::1", "0.0.0.0" */
    char name[ACCESS_NAME_MAX]; /* of this machine; "" unknown */
    uint32_t port;
    bool loopback;                /* bound to this machine alone: reading needs no token */
    char token[ACCESS_TOKEN_MAX]; /* "": none, and then nothing that needs it is possible */
};

/* Host header, NULL when absent. Loopback names and numbers, the bound host; bound elsewhere also the name of this
 * machine and any address in numbers. The port is free: tunnels change it. */
bool access_host(const struct access_rules *rules, const char *host);
/* Origin header (NULL: absent, fine) against the Host header. */
bool access_origin(const char *origin, const char *host);
/* "Bearer TOKEN", any case of the word. */
bool access_bearer(const struct access_rules *rules, const char *authorization);
bool access_token(const struct access_rules *rules, const char *token); /* NULL: false */
/* The cookie of this server among those of a Cookie header. */
bool access_cookie(const struct access_rules *rules, const char *cookies);

/* "actor.3", "redis": a name that may become part of a path. */
bool access_process(const char *name);
/* "app.js", "charts/line.js": segments of letters, digits, '.', '_', '-', none of them hidden. */
bool access_file(const char *name);

/* Whole numbers and reals of a query, nothing behind them. */
bool access_u64(const char *text, uint64_t *value);
bool access_real(const char *text, double *value); /* finite */
/* host:port of dash.address, "[::1]:8420"; INVALID with a sentence. */
MUST_CHECK enum status access_split(const char *address, char host[ACCESS_NAME_MAX],
                                    uint32_t *port);
bool access_is_loopback(const char *host);

#endif
