#include "transport/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, PORT_MAX = 65535 };

enum status listen_split(const char *address, char host[LISTEN_NAME_MAX], uint32_t *port)
{
    const char *colon = strrchr(address, ':');
    uint32_t value = 0;
    if (colon == NULL || colon == address || colon - address >= LISTEN_NAME_MAX || colon[1] == 0)
        return FAIL(STATUS_INVALID, "\"%s\" is no address: write host:port, as 127.0.0.1:8000",
                    address);
    for (const char *at = colon + 1; *at != 0; at++) {
        value = *at >= '0' && *at <= '9' ? value * 10 + (uint32_t)(*at - '0') : PORT_MAX + 1;
        if (value > PORT_MAX)
            return FAIL(STATUS_INVALID, "\"%s\": the port must be a number from 0 to %d", address,
                        PORT_MAX);
    }
    size_t size = (size_t)(colon - address);
    bool brackets = address[0] == '[' && colon[-1] == ']';
    memcpy(host, address + brackets, size - 2 * brackets);
    host[size - 2 * brackets] = 0;
    *port = value;
    return STATUS_OK;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
               127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static bool is_wildcard(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr == INADDR_ANY;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(
               &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static enum status note_address(struct listener *listener, const char *host)
{
    struct sockaddr_storage bound = {0};
    const struct sockaddr *address = (const struct sockaddr *)(const void *)&bound;
    socklen_t size = sizeof bound;
    char port[16], name[LISTEN_NAME_MAX];
    if (getsockname(listener->fd, (struct sockaddr *)(void *)&bound, &size) != 0 ||
        getnameinfo(address, size, NULL, 0, port, sizeof port, NI_NUMERICSERV) != 0)
        return FAIL(STATUS_IO, "%s: the bound port cannot be read", host);
    snprintf(name, sizeof name, "%s", host);
    if (is_wildcard(address) && gethostname(name, sizeof name - 1) != 0)
        snprintf(name, sizeof name, "%s", host);
    name[sizeof name - 1] = 0;
    bool six = strchr(name, ':') != NULL;
    listener->loopback = is_loopback(address);
    snprintf(listener->address, sizeof listener->address, "%s%s%s:%s", six ? "[" : "", name,
             six ? "]" : "", port);
    return STATUS_OK;
}

/* *taken: another socket has the port. */
static enum status open_at(struct listener *listener, const struct addrinfo *found,
                           const char *address, const char *host, bool *taken)
{
    int one = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return FAIL(STATUS_IO, "socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        *taken = error == EADDRINUSE;
        close(fd);
        return FAIL(STATUS_IO, "%s cannot be listened at: %s", address, strerror(error));
    }
    listener->fd = fd;
    enum status status = note_address(listener, host);
    if (status != STATUS_OK) {
        close(fd);
        listener->fd = -1;
    }
    return status;
}

enum status listen_open(struct listener *listener, const char *address, uint32_t more)
{
    char host[LISTEN_NAME_MAX], service[16];
    uint32_t port = 0;
    enum status status;
    *listener = (struct listener){.fd = -1};
    TRY(listen_split(address, host, &port));
    if (port == 0)
        more = 0;
    for (uint32_t at = port;; at++) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
        bool taken = false;
        snprintf(service, sizeof service, "%u", at);
        int failed = getaddrinfo(host, service, &hints, &found);
        if (failed != 0)
            return FAIL(STATUS_INVALID, "%s: %s", address, gai_strerror(failed));
        status = open_at(listener, found, address, host, &taken);
        freeaddrinfo(found);
        if (status == STATUS_OK || !taken || at - port >= more || at >= PORT_MAX)
            return status;
    }
}
