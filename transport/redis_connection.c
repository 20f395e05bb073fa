#include "transport/redis_connection.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/wait.h"
#include "transport/redis_words.h"

enum { PEEK_BYTES = 64 };

/* ---- addresses ---- */

static enum status parse_path(const char *path, struct redis_address *address)
{
    size_t path_max = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    if (strlen(path) > path_max)
        return FAIL(STATUS_INVALID, "Redis socket path \"%s\" has %zu bytes, limit %zu", path,
                    strlen(path), path_max);
    *address = (struct redis_address){.port = 0};
    snprintf(address->host, sizeof address->host, "%s", path);
    return STATUS_OK;
}

enum status redis_address_parse(const char *text, struct redis_address *address)
{
    struct redis_address made = {.port = 0};
    const char *path = strncmp(text, "unix:", 5) == 0 ? text + 5 : text;
    if (path[0] == '/')
        return parse_path(path, address);
    const char *colon = strrchr(text, ':');
    if (colon == NULL && text[0] != '\0')
        return FAIL(STATUS_INVALID,
                    "Redis address \"%s\" is neither /path/of/a.sock nor host:port; 6399 is the "
                    "port weir's documents use, 6379 may be Ray's",
                    text);
    const char *host = text, *port = colon != NULL ? colon + 1 : "";
    size_t host_size = colon != NULL ? (size_t)(colon - text) : 0;
    if (host_size > 2 && host[0] == '[' && host[host_size - 1] == ']') {
        host++;
        host_size -= 2;
    }
    size_t digits = strspn(port, "0123456789");
    long number = digits > 0 && digits <= 5 && port[digits] == '\0' ? strtol(port, NULL, 10) : 0;
    if (host_size == 0 || host_size >= sizeof made.host || number < 1 || number > 65535)
        return FAIL(STATUS_INVALID, "Redis address \"%s\" is neither /path/of/a.sock nor host:port",
                    text);
    snprintf(made.host, sizeof made.host, "%.*s", (int)host_size, host);
    made.port = (int)number;
    *address = made;
    return STATUS_OK;
}

enum status redis_settings_parse(const struct redis_settings *settings)
{
    struct redis_address parsed;
    char one[REDIS_ADDRESS_MAX];
    const char *list = settings->sentinels;
    if (list == NULL || list[0] == '\0')
        return redis_address_parse(settings->address != NULL ? settings->address : "", &parsed);
    enum status status;
    while ((status = redis_sentinel_next(&list, one)) == STATUS_OK)
        TRY(redis_address_parse(one, &parsed));
    if (status != STATUS_NOT_FOUND)
        return status;
    if (settings->master == NULL || settings->master[0] == '\0')
        return FAIL(STATUS_INVALID, "redis.sentinels is set, but redis.master is empty: name the "
                                    "master that they watch");
    return STATUS_OK;
}

/* ---- one exchange ---- */

void redis_connection_close(redisContext **context)
{
    if (*context != NULL)
        redisFree(*context);
    *context = NULL;
}

enum status redis_connect_plain(redisContext **context, const char *text)
{
    struct redis_address address;
    struct timeval limit = {.tv_sec = REDIS_TIMEOUT_MS / 1000,
                            .tv_usec = REDIS_TIMEOUT_MS % 1000 * 1000};
    TRY(redis_address_parse(text, &address));
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to sockets that a dead Redis has closed */
    redisContext *made = address.port == 0
                             ? redisConnectUnixWithTimeout(address.host, limit)
                             : redisConnectWithTimeout(address.host, address.port, limit);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "hiredis context for %s", text);
    enum status status = STATUS_OK;
    if (made->err != 0)
        status = FAIL(STATUS_NOT_FOUND, "no Redis at %s: %s; is redis-server running?", text,
                      made->errstr);
    else if (redisSetTimeout(made, limit) != REDIS_OK)
        status = FAIL(STATUS_IO, "redisSetTimeout for %s: %s", text, made->errstr);
    if (status == STATUS_OK)
        *context = made;
    else
        redis_connection_close(&made);
    return status;
}

static enum status refused(const char *where, const char *command, const char *error)
{
    const char *advice = redis_error_advice(error);
    return FAIL(redis_error_status(error), "Redis at %s refuses %s: %.300s%s%s", where, command,
                error, advice[0] != '\0' ? "; " : "", advice);
}

static enum status broken(const redisContext *context, const char *where, const char *command)
{
    bool late = context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == ETIMEDOUT);
    if (late)
        return FAIL(STATUS_TIMEOUT, "Redis at %s does not answer %s within %d ms", where, command,
                    REDIS_TIMEOUT_MS);
    return FAIL(STATUS_IO, "Redis at %s is gone in the middle of %s: %s", where, command,
                context->errstr);
}

enum status redis_connection_ask(redisContext *context, const char *where, int argc,
                                 const char *const *argv, redisReply **reply)
{
    errno = 0;
    redisReply *got = redisCommandArgv(context, argc, (const char **)(uintptr_t)argv, NULL);
    if (got == NULL)
        return broken(context, where, argv[0]);
    if (got->type == REDIS_REPLY_ERROR) {
        enum status status = refused(where, argv[0], got->str);
        freeReplyObject(got);
        return status;
    }
    *reply = got;
    return STATUS_OK;
}

/* Asks, and wants no more than that there was no error. */
static enum status say(redisContext *context, const char *where, int argc, const char *const *argv)
{
    redisReply *reply = NULL;
    enum status status = redis_connection_ask(context, where, argc, argv, &reply);
    if (status == STATUS_OK)
        freeReplyObject(reply);
    return status;
}

/* ---- is it Redis at all? ---- */

/* Why the first command got no reply; `first` are the bytes that came, if any. */
static enum status stranger(const redisContext *context, const char *text, const char *first,
                            ssize_t size)
{
    const char *who = size > 0 ? redis_stranger(first, (size_t)size) : NULL;
    if (who != NULL)
        return FAIL(STATUS_INVALID,
                    "something listens at %s, but it is not Redis: it is %s; check the address",
                    text, who);
    if (context->err == REDIS_ERR_PROTOCOL)
        return FAIL(STATUS_INVALID,
                    "something listens at %s, but it is not Redis (%s): check the address", text,
                    context->errstr);
    if (context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == ETIMEDOUT))
        return FAIL(STATUS_TIMEOUT,
                    "something listens at %s, but it does not answer PING within %d ms", text,
                    REDIS_TIMEOUT_MS);
    return FAIL(STATUS_INVALID,
                "something listens at %s, but it closes the connection on PING (%s): not Redis?",
                text, context->errstr);
}

/* hiredis throws away what it does not understand, so the first bytes are looked at before it reads them. */
static enum status ping(redisContext *context, const char *text, bool *locked)
{
    char first[PEEK_BYTES];
    int done = 0;
    redisReply *reply = NULL;
    errno = 0;
    if (redisAppendCommand(context, "PING") != REDIS_OK)
        return FAIL(STATUS_NO_MEMORY, "PING for %s", text);
    while (done == 0)
        if (redisBufferWrite(context, &done) != REDIS_OK)
            return stranger(context, text, NULL, 0);
    ssize_t size = recv(context->fd, first, sizeof first, MSG_PEEK);
    if (redisGetReply(context, (void **)&reply) != REDIS_OK || reply == NULL)
        return stranger(context, text, first, size);
    enum status status = STATUS_OK;
    const char *error = reply->type == REDIS_REPLY_ERROR ? reply->str : "";
    *locked = redis_error_is(error, "NOAUTH");
    if (error[0] == '\0' && (reply->str == NULL || strcmp(reply->str, "PONG") != 0))
        status = FAIL(STATUS_INVALID,
                      "something listens at %s, but it is not Redis: it does not say PONG; check "
                      "the address",
                      text);
    else if (error[0] != '\0' && !*locked && !redis_error_is(error, "NOPERM"))
        status = size > 0 && redis_stranger(first, (size_t)size) != NULL
                     ? stranger(context, text, first, size)
                     : refused(text, "PING", error);
    freeReplyObject(reply);
    return status;
}

enum status redis_greet(redisContext *context, const char *text, const char *who,
                        const char *password)
{
    bool locked = false;
    TRY(ping(context, text, &locked));
    bool named = who != NULL && who[0] != '\0';
    const char *word = password != NULL ? password : "";
    if (named)
        return say(context, text, 3, (const char *[]){"AUTH", who, word});
    if (word[0] != '\0')
        return say(context, text, 2, (const char *[]){"AUTH", word});
    return locked ? refused(text, "PING", "NOAUTH Authentication required.") : STATUS_OK;
}

/* A replica takes no writes, and a Sentinel keeps nothing. A user that may not ask counts as one at a master:
 * READONLY comes with the first write otherwise. */
static enum status check_role(redisContext *context, const char *where, bool by_sentinel)
{
    redisReply *reply = redisCommand(context, "ROLE");
    if (reply == NULL)
        return broken(context, where, "ROLE");
    const redisReply *first =
        reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 ? reply->element[0] : NULL;
    const char *role = first != NULL && first->str != NULL ? first->str : "master";
    enum status status = STATUS_OK;
    if (strcmp(role, "sentinel") == 0)
        status = FAIL(STATUS_INVALID,
                      "what answers at %s is a Sentinel: name it in redis.sentinels, and leave "
                      "redis.address empty",
                      where);
    else if (strcmp(role, "slave") == 0 && by_sentinel)
        status = FAIL(STATUS_AGAIN,
                      "the Sentinels name %s, but it is still a replica: a failover "
                      "is under way",
                      where);
    else if (strcmp(role, "slave") == 0)
        status = FAIL(STATUS_INVALID,
                      "Redis at %s is a replica of %s:%lld: name that in redis.address, or the "
                      "Sentinels in redis.sentinels",
                      where,
                      reply->elements > 2 && reply->element[1]->str != NULL ? reply->element[1]->str
                                                                            : "?",
                      reply->elements > 2 ? reply->element[2]->integer : 0);
    freeReplyObject(reply);
    return status;
}

static enum status open_at(redisContext **context, const struct redis_settings *settings,
                           const char *where, bool by_sentinel)
{
    redisContext *made = NULL;
    enum status status;
    TRY_GOTO(fail, redis_connect_plain(&made, where));
    TRY_GOTO(fail, redis_greet(made, where, settings->user, settings->password));
    TRY_GOTO(fail, check_role(made, where, by_sentinel));
    *context = made;
    return STATUS_OK;
fail:
    redis_connection_close(&made);
    return status;
}

enum status redis_connection_open(redisContext **context, const struct redis_settings *settings,
                                  char *where)
{
    return redis_connection_open_until(context, settings, NULL, where);
}

enum status redis_connection_open_until(redisContext **context,
                                        const struct redis_settings *settings,
                                        const atomic_bool *stop, char *where)
{
    char at[REDIS_ADDRESS_MAX] = "";
    bool by_sentinel = settings->sentinels != NULL && settings->sentinels[0] != '\0';
    enum status status = STATUS_OK;
    int64_t exchanges = 4 + (by_sentinel ? 3 * REDIS_SENTINELS_MAX : 0);
    struct wait wait = wait_begin("connection", "redis", exchanges * REDIS_TIMEOUT_MS);
    if (by_sentinel)
        status = redis_sentinel_master(settings, stop, at);
    else
        snprintf(at, sizeof at, "%s", settings->address);
    if (status == STATUS_OK)
        status = open_at(context, settings, at, by_sentinel);
    if (status == STATUS_OK && where != NULL)
        memcpy(where, at, sizeof at);
    enum status ended = wait_end(&wait, true);
    return status != STATUS_OK ? status : ended;
}
