#include "transport/redis_connection.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "core/wait.h"

enum status redis_address_parse(const char *text, struct redis_address *address)
{
    struct redis_address made = {.port = 0};
    const char *path = strncmp(text, "unix:", 5) == 0 ? text + 5 : text;
    size_t path_max = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    if (path[0] == '/') {
        if (strlen(path) > path_max)
            return FAIL(STATUS_INVALID, "Redis socket path \"%s\" has %zu bytes, limit %zu", path,
                        strlen(path), path_max);
        snprintf(made.host, sizeof made.host, "%s", path);
        *address = made;
        return STATUS_OK;
    }
    const char *colon = strrchr(text, ':');
    size_t host_size = colon != NULL ? (size_t)(colon - text) : strlen(text);
    const char *port = colon != NULL ? colon + 1 : "6379";
    size_t digits = strspn(port, "0123456789");
    long number = digits > 0 && digits <= 5 && port[digits] == '\0' ? strtol(port, NULL, 10) : 0;
    if (host_size == 0 || host_size >= sizeof made.host || number < 1 || number > 65535)
        return FAIL(STATUS_INVALID, "Redis address \"%s\" is neither /path/of/a.sock nor host:port",
                    text);
    snprintf(made.host, sizeof made.host, "%.*s", (int)host_size, text);
    made.port = (int)number;
    *address = made;
    return STATUS_OK;
}

void redis_connection_close(redisContext **context)
{
    if (*context != NULL)
        redisFree(*context);
    *context = NULL;
}

static enum status connect_to(redisContext **context, const struct redis_address *address,
                              const char *text)
{
    struct timeval limit = {.tv_sec = REDIS_TIMEOUT_MS / 1000,
                            .tv_usec = REDIS_TIMEOUT_MS % 1000 * 1000};
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to sockets that a dead Redis has closed */
    *context = address->port == 0 ? redisConnectUnixWithTimeout(address->host, limit)
                                  : redisConnectWithTimeout(address->host, address->port, limit);
    if (*context == NULL)
        return FAIL(STATUS_NO_MEMORY, "hiredis context for %s", text);
    if ((*context)->err != 0)
        return FAIL(STATUS_NOT_FOUND, "no Redis at %s: %s; is redis-server running?", text,
                    (*context)->errstr);
    if (redisSetTimeout(*context, limit) != REDIS_OK)
        return FAIL(STATUS_IO, "redisSetTimeout for %s: %s", text, (*context)->errstr);
    return STATUS_OK;
}

/* Why the first command got no reply. */
static enum status no_reply(const redisContext *context, const char *text)
{
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

static enum status say(redisContext *context, const char *text, int argc, const char **argv)
{
    errno = 0;
    redisReply *reply = redisCommandArgv(context, argc, argv, NULL);
    if (reply == NULL)
        return no_reply(context, text);
    enum status status = STATUS_OK;
    if (reply->type == REDIS_REPLY_ERROR)
        status = FAIL(STATUS_INVALID, "Redis at %s refuses %s: %s", text, argv[0], reply->str);
    freeReplyObject(reply);
    return status;
}

enum status redis_connection_open(redisContext **context, const char *text, const char *password)
{
    struct redis_address address;
    TRY(redis_address_parse(text, &address));
    struct wait wait = wait_begin("connection", "redis", 3 * REDIS_TIMEOUT_MS);
    redisContext *made = NULL;
    enum status status = connect_to(&made, &address, text);
    if (status == STATUS_OK && password != NULL && password[0] != '\0')
        status = say(made, text, 2, (const char *[]){"AUTH", password});
    if (status == STATUS_OK)
        status = say(made, text, 1, (const char *[]){"PING"});
    enum status ended = wait_end(&wait, true);
    if (status == STATUS_OK)
        status = ended;
    if (status == STATUS_OK)
        *context = made;
    else
        redis_connection_close(&made);
    return status;
}
