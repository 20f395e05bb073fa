/* tests/local_port.h - TCP on the loopback: connections to a port, what GET answers there, a port that nobody has. */
#ifndef TESTS_LOCAL_PORT_H
#define TESTS_LOCAL_PORT_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static inline struct sockaddr_in local_address(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* -1: nobody listens. recv gives up after limit_s seconds. */
static inline int local_connect(unsigned port, int limit_s)
{
    struct sockaddr_in address = local_address(port);
    struct timeval limit = {.tv_sec = limit_s};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
        connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The port of "127.0.0.1:PORT" at the end of an address or endpoint; 0: there is none. */
static inline unsigned local_port_of(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    return colon != NULL ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
}

/* The whole answer, head first; "": nobody answers. HTTP/1.0: nothing is chunked, the end of the connection ends it. */
static inline const char *local_get(unsigned port, const char *path, char *answer, size_t room)
{
    size_t got = 0;
    int fd = local_connect(port, 10);
    bool sent = fd >= 0 && dprintf(fd, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path) > 0;
    for (ssize_t more; sent && (more = recv(fd, answer + got, room - 1 - got, 0)) > 0;)
        got += (size_t)more;
    if (fd >= 0)
        close(fd);
    answer[got] = 0;
    return answer;
}

/* 0: no port can be had. */
static inline unsigned local_free_port(void)
{
    struct sockaddr_in address = local_address(0);
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool had = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
               getsockname(fd, (struct sockaddr *)&address, &size) == 0;
    if (fd >= 0)
        close(fd);
    return had ? ntohs(address.sin_port) : 0;
}

#endif
