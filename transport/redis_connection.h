/* redis_connection.h - one blocking hiredis context that always has a deadline. Private to transport/ and to programs
 * that read the view (ops/dash).
 *
 * hiredis 0.14 does not re-apply a command timeout on redisReconnect and keeps a context broken after an
 * error, so a connection is never repaired: it is closed and made anew, time-outs, AUTH and search for the
 * master included. SIGPIPE is ignored from the first connection on. */
#ifndef TRANSPORT_REDIS_CONNECTION_H
#define TRANSPORT_REDIS_CONNECTION_H

#include <hiredis/hiredis.h>
#include <stdatomic.h>

#include "core/settings.h"
#include "core/status.h"

enum { REDIS_ADDRESS_MAX = 256, REDIS_TIMEOUT_MS = 500, REDIS_SENTINELS_MAX = 16 };

struct redis_address {
    char host[REDIS_ADDRESS_MAX]; /* socket path when port is 0 */
    int port;
};

/* "/path", "unix:/path", "host:port" or "[v6]:port"; INVALID with a sentence. A port is never guessed. */
MUST_CHECK enum status redis_address_parse(const char *text, struct redis_address *address);
/* All that settings name: address or Sentinels. INVALID with a sentence; nothing is connected. */
MUST_CHECK enum status redis_settings_parse(const struct redis_settings *settings);

/* Connects to settings->address, or to the master that settings->sentinels name; PING, AUTH when there is a user or a
 * password (which something that is no Redis never sees), ROLE: it must be a master. `where` gets the address, with
 * REDIS_ADDRESS_MAX bytes; NULL: not wanted. Each exchange has REDIS_TIMEOUT_MS.
 * NOT_FOUND: nothing listens; TIMEOUT: it accepts and says nothing; AGAIN: it starts, or a failover is under way;
 * INVALID: something answers that is not Redis, or it refuses. */
MUST_CHECK enum status redis_connection_open(redisContext **context,
                                             const struct redis_settings *settings, char *where);
/* The same; *stop, when it becomes true, keeps it from asking a further Sentinel. */
MUST_CHECK enum status redis_connection_open_until(redisContext **context,
                                                   const struct redis_settings *settings,
                                                   const atomic_bool *stop, char *where);
/* Sets *context to NULL. */
void redis_connection_close(redisContext **context);
/* One command and its reply, which the caller frees; where the sentence is about `where`. An error reply is the
 * status of redis_error_status with its words and what to do; no reply: IO or TIMEOUT, and the context is broken. */
MUST_CHECK enum status redis_connection_ask(redisContext *context, const char *where, int argc,
                                            const char *const *argv, redisReply **reply);

/* ---- redis_sentinel.c ---- */

/* Connection to one address without any word said; used by both files. */
MUST_CHECK enum status redis_connect_plain(redisContext **context, const char *text);
/* PING and AUTH; `who` is the user, which may be "". */
MUST_CHECK enum status redis_greet(redisContext *context, const char *text, const char *who,
                                   const char *password);
/* Asks one Sentinel after the other until one knows the master; "host:port" into where[REDIS_ADDRESS_MAX]. CANCELLED:
 * *stop (may be NULL) became true. */
MUST_CHECK enum status redis_sentinel_master(const struct redis_settings *settings,
                                             const atomic_bool *stop, char *where);
/* The next entry of "a, b,c" into out, *list behind it; NOT_FOUND at the end, INVALID for one that is no address. */
MUST_CHECK enum status redis_sentinel_next(const char **list, char *out);

#endif
