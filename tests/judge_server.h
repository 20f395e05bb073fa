/* tests/judge_server.h - a judge for tests: an HTTP server on loopback with every bad habit of real ones. One thread for
 * each connection, keep-alive, blocking; stop() ends them all. */
#ifndef TESTS_JUDGE_SERVER_H
#define TESTS_JUDGE_SERVER_H

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum judge_habit {
    JUDGE_CORRECT,
    JUDGE_SLOW,   /* answers after slow_ms */
    JUDGE_HANGS,  /* takes the request and says nothing */
    JUDGE_CLOSES, /* takes the request and closes */
    JUDGE_429,    /* with Retry-After: 1 */
    JUDGE_500,
    JUDGE_401, /* repeats the key in its error */
    JUDGE_REDIRECT,
    JUDGE_MALFORMED, /* half of a JSON object, whole by its length */
    JUDGE_TRUNCATED, /* closes in the middle of the promised length */
    JUDGE_ENDLESS,   /* a body without end */
    JUDGE_HTML,      /* a page, 200 */
    JUDGE_NO_CHOICES,
    JUDGE_NULL_CONTENT,
    JUDGE_LYING, /* repeats what it was asked to judge */
    JUDGE_NO_VERDICT,
    JUDGE_FIRST_PLACE /* [[A]] whatever stands there */
};

enum { JUDGE_CONNECTIONS_MAX = 512 };

struct judge_server {
    int listener;
    uint16_t port;
    pthread_t thread, connection[JUDGE_CONNECTIONS_MAX];
    atomic_int fd[JUDGE_CONNECTIONS_MAX]; /* -1 once closed */
    atomic_uint connections;
    atomic_bool stopping;
    atomic_int habit, slow_ms;
    atomic_uint
        bad; /* so many requests are answered by habit, the rest correctly; UINT32_MAX: all */
    atomic_uint requests, answered;
    atomic_bool key_seen;
    char verdict[64]; /* of a correct answer; set before start */
    /* Content of a correct answer when set: of the body, to be freed. Any connection's thread. */
    char *(*decide)(const json_t *body);
};

struct judge_connection {
    struct judge_server *server;
    unsigned index;
};

static inline void judge_server_send(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        size -= (size_t)sent;
    }
}

static inline void judge_server_answer(int fd, int code, const char *extra, const char *type,
                                       const char *body)
{
    char head[512];
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n", code,
                        type, strlen(body), extra);
    judge_server_send(fd, head, (size_t)size);
    judge_server_send(fd, body, strlen(body));
}

static inline void judge_server_completion(int fd, const char *content)
{
    json_t *body = json_pack("{s:[{s:i,s:{s:s,s:s?},s:s}],s:{s:i,s:i}}", "choices", "index", 0,
                             "message", "role", "assistant", "content", content, "finish_reason",
                             "stop", "usage", "prompt_tokens", 100, "completion_tokens", 20);
    char *text = json_dumps(body, 0);
    judge_server_answer(fd, 200, "", "application/json", text);
    free(text);
    json_decref(body);
}

/* True: the connection stays open. */
static inline bool judge_server_misbehave(struct judge_server *server, int habit, int fd,
                                          const json_t *body, const char *head)
{
    static const char half[] = "{\"choices\":[{\"message\":{\"content\":\"[[5]]\"";
    char text[1024];
    switch (habit) {
    case JUDGE_SLOW:
        for (int i = 0; i < server->slow_ms && !server->stopping; i += 5)
            usleep(5000);
        judge_server_completion(fd, server->verdict);
        return true;
    case JUDGE_HANGS:
        while (!server->stopping && recv(fd, text, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
            usleep(2000);
        return false;
    case JUDGE_CLOSES:
        return false;
    case JUDGE_429:
        judge_server_answer(fd, 429, "Retry-After: 1\r\n", "application/json",
                            "{\"error\":{\"message\":\"slow down\"}}");
        return true;
    case JUDGE_500:
        judge_server_answer(fd, 500, "", "text/plain", "oops [[5]]");
        return true;
    case JUDGE_401: {
        const char *key = strcasestr(head, "authorization: bearer ");
        snprintf(text, sizeof text, "{\"error\":{\"message\":\"wrong key %.*s\"}}",
                 key != NULL ? (int)strcspn(key + 22, "\r") : 0, key != NULL ? key + 22 : "");
        judge_server_answer(fd, 401, "", "application/json", text);
        return true;
    }
    case JUDGE_REDIRECT:
        snprintf(text, sizeof text, "Location: http://127.0.0.1:%d/v1/chat/completions\r\n",
                 server->port);
        judge_server_answer(fd, 302, text, "text/plain", "");
        return true;
    case JUDGE_MALFORMED:
        judge_server_answer(fd, 200, "", "application/json", half);
        return true;
    case JUDGE_TRUNCATED:
        judge_server_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", 40);
        judge_server_send(fd, half, sizeof half - 1);
        return false;
    case JUDGE_ENDLESS:
        judge_server_send(fd, "HTTP/1.1 200 OK\r\n\r\n", 19);
        memset(text, ' ', sizeof text);
        while (!server->stopping && send(fd, text, sizeof text, MSG_NOSIGNAL) > 0)
            ;
        return false;
    case JUDGE_HTML:
        judge_server_answer(fd, 200, "", "text/html", "<html>[[5]] please log in</html>");
        return true;
    case JUDGE_NO_CHOICES:
        judge_server_answer(fd, 200, "", "application/json", "{\"choices\":[]}");
        return true;
    case JUDGE_NULL_CONTENT:
        judge_server_completion(fd, NULL);
        return true;
    case JUDGE_LYING:
        judge_server_completion(
            fd, json_string_value(json_object_get(
                    json_array_get(json_object_get(body, "messages"), 1), "content")));
        return true;
    case JUDGE_NO_VERDICT:
        judge_server_completion(fd, "I would rather not say. 5/5, [5], Grade: 5");
        return true;
    default:
        judge_server_completion(fd, "[[A]]");
        return true;
    }
}

static inline bool judge_server_serve(struct judge_server *server, int fd, const char *head,
                                      const char *text, size_t size)
{
    json_t *body = json_loadb(text, size, 0, NULL);
    int habit = server->habit;
    unsigned bad = server->bad;
    bool stays = true;
    server->requests++;
    if (strcasestr(head, "authorization: bearer ") != NULL)
        server->key_seen = true;
    if (habit != JUDGE_CORRECT && bad > 0) {
        server->bad = bad == UINT32_MAX ? bad : bad - 1;
        stays = judge_server_misbehave(server, habit, fd, body, head);
    } else {
        char *content = server->decide != NULL ? server->decide(body) : strdup(server->verdict);
        judge_server_completion(fd, content);
        free(content);
        server->answered++;
    }
    json_decref(body);
    return stays;
}

static inline void *judge_server_connection(void *argument)
{
    struct judge_connection connection = *(struct judge_connection *)argument;
    int fd = connection.server->fd[connection.index];
    size_t capacity = 1 << 20, size = 0;
    char *bytes = malloc(capacity);
    free(argument);
    for (bool stays = true; stays;) {
        char *end = NULL;
        size_t wanted = SIZE_MAX;
        while (size < wanted) {
            ssize_t got = recv(fd, bytes + size, capacity - 1 - size, 0);
            if (got <= 0)
                goto out;
            size += (size_t)got;
            bytes[size] = '\0';
            if (wanted == SIZE_MAX && (end = strstr(bytes, "\r\n\r\n")) != NULL) {
                const char *length = strcasestr(bytes, "content-length:");
                wanted = (size_t)(end + 4 - bytes) +
                         (length != NULL ? strtoul(length + 15, NULL, 10) : 0);
            }
        }
        *end = '\0';
        stays = judge_server_serve(connection.server, fd, bytes, end + 4,
                                   wanted - (size_t)(end + 4 - bytes));
        memmove(bytes, bytes + wanted, size - wanted);
        size -= wanted;
    }
out:
    free(bytes);
    connection.server->fd[connection.index] = -1;
    close(fd);
    return NULL;
}

static inline void *judge_server_accept(void *argument)
{
    struct judge_server *server = argument;
    while (!server->stopping) {
        int fd = accept(server->listener, NULL, NULL);
        unsigned index = server->connections;
        if (fd < 0 || index == JUDGE_CONNECTIONS_MAX || server->stopping) {
            if (fd >= 0)
                close(fd);
            if (server->stopping)
                break;
            continue;
        }
        struct judge_connection *connection = malloc(sizeof *connection);
        *connection = (struct judge_connection){server, index};
        int one = 1; /* head and body are sent apart */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        server->fd[index] = fd;
        if (pthread_create(&server->connection[index], NULL, judge_server_connection, connection) ==
            0)
            server->connections++;
    }
    return NULL;
}

/* port 0: any. False when there is none. */
static inline bool judge_server_start(struct judge_server *server, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    server->bad = UINT32_MAX;
    setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server->listener, 128) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &length) != 0)
        return false;
    server->port = ntohs(address.sin_port);
    if (server->verdict[0] == '\0')
        snprintf(server->verdict, sizeof server->verdict, "Grade: [[4]]");
    return pthread_create(&server->thread, NULL, judge_server_accept, server) == 0;
}

static inline void judge_server_stop(struct judge_server *server)
{
    server->stopping = true;
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    for (unsigned i = 0; i < server->connections; i++) {
        int fd = server->fd[i];
        if (fd >= 0)
            shutdown(fd, SHUT_RDWR);
        pthread_join(server->connection[i], NULL);
    }
}

#endif
