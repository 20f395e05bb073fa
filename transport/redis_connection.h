/* redis_connection.h - one blocking hiredis context that always has a deadline. Private to transport/.
 *
 * hiredis 0.14 does not re-apply a command timeout on redisReconnect and keeps a context broken after an
 * error, so a connection is never repaired: it is closed and made anew, timeouts included. */
#ifndef TRANSPORT_REDIS_CONNECTION_H
#define TRANSPORT_REDIS_CONNECTION_H

#include <hiredis/hiredis.h>

#include "core/status.h"

enum { REDIS_ADDRESS_MAX = 256, REDIS_TIMEOUT_MS = 500 };

struct redis_address {
    char host[REDIS_ADDRESS_MAX]; /* socket path when port is 0 */
    int port;
};

/* "/path", "unix:/path", "host:port" or "host" (port 6379); INVALID with a sentence. */
MUST_CHECK enum status redis_address_parse(const char *text, struct redis_address *address);

/* Connects, AUTH when password is not empty, PING. NOT_FOUND: nothing listens; INVALID: something answers
 * that is not Redis, or it refuses the password; TIMEOUT: it accepts and says nothing. */
MUST_CHECK enum status redis_connection_open(redisContext **context, const char *text,
                                             const char *password);
/* Sets *context to NULL. */
void redis_connection_close(redisContext **context);

#endif
