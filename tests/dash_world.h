/* tests/dash_world.h - a dashboard in this process over a run folder made for the test, and a client of raw sockets. */
#ifndef TESTS_DASH_WORLD_H
#define TESTS_DASH_WORLD_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "ops/dash/asker.h"
#include "ops/dash/feed.h"
#include "ops/dash/server.h"
#include "ops/dash/token.h"
#include "tests/local_port.h"

struct dash_world {
    char folder[64];
    struct program program;
    struct dash dash;
    struct feed *feed;
    char *answer; /* of the last request: head and body */
    size_t size;
};

#define WORLD_CHECK(call)                                                            \
    do {                                                                             \
        if ((call) != STATUS_OK) {                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, status_last_error()); \
            abort();                                                                 \
        }                                                                            \
    } while (0)

static inline void world_write(const struct dash_world *world, const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    WORLD_CHECK(file_path(path, "%s/%s", world->folder, name));
    WORLD_CHECK(file_replace(path, text, strlen(text)));
}

static inline void world_folder(struct dash_world *world)
{
    char path[FILE_PATH_MAX];
    *world = (struct dash_world){.folder = "/tmp/weir-dash-XXXXXX"};
    if (mkdtemp(world->folder) == NULL)
        abort();
    WORLD_CHECK(file_path(path, "%s/logs/latest", world->folder));
    WORLD_CHECK(file_make_dirs(path));
}

/* Serves at `address`; redis: its address or NULL. Waits until the folder has been read. */
static inline void world_open(struct dash_world *world, const char *address, const char *redis)
{
    char own[FILE_PATH_MAX], there[FILE_PATH_MAX];
    struct buffer yaml;
    WORLD_CHECK(file_path(own, "dash.address=%s", address));
    WORLD_CHECK(file_path(there, "redis.address=%s", redis != NULL ? redis : ""));
    const char *overrides[] = {own, there, redis != NULL ? "redis.mode=connect" : "redis.mode=off",
                               "run.name=tried"};
    struct config_input input = {.overrides = overrides, .override_count = 4};
    WORLD_CHECK(settings_load(&world->program.settings, &world->program.config, &input));
    buffer_init(&yaml, 0);
    WORLD_CHECK(config_dump(world->program.config, &yaml));
    world_write(world, "config.resolved.yaml", buffer_string(&yaml));
    buffer_free(&yaml);
    struct dash *dash = &world->dash;
    dash->program = &world->program;
    dash->run = "tried";
    dash->folder = world->folder;
    dash->started_ns = clock_now_ns();
    WORLD_CHECK(file_path(dash->endpoint, "ipc://%s/store.sock", world->folder));
    WORLD_CHECK(access_split(address, dash->access.host, &dash->access.port));
    dash->access.loopback = access_is_loopback(dash->access.host);
    WORLD_CHECK(token_read("", world->folder, dash->access.token));
    WORLD_CHECK(board_open(&dash->board));
    WORLD_CHECK(asker_start(&dash->asker, dash));
    WORLD_CHECK(asker_start(&dash->files, dash));
    WORLD_CHECK(server_start(dash));
    WORLD_CHECK(feed_start(&world->feed, dash));
    for (int i = 0; i < 1000; i++) {
        board_lock(&dash->board);
        bool ready = dash->board.snapshots > 0;
        board_unlock(&dash->board);
        if (ready)
            break;
        clock_sleep_ms(10);
    }
}

static inline void world_close(struct dash_world *world)
{
    atomic_store(&world->dash.closing, true);
    feed_stop(&world->feed);
    asker_close(world->dash.asker);
    asker_close(world->dash.files);
    server_stop(&world->dash);
    asker_free(&world->dash.asker);
    asker_free(&world->dash.files);
    board_close(&world->dash.board);
    config_destroy(&world->program.config);
    WORLD_CHECK(file_remove_tree(world->folder));
    free(world->answer);
}

static inline int world_connect(const struct dash_world *world)
{
    int fd = local_connect((unsigned)world->dash.access.port, 0);
    if (fd < 0)
        abort();
    return fd;
}

/* Sends the text as it is and reads until the server closes; the status, 0: it answered nothing. */
static inline int world_raw(struct dash_world *world, const char *text, size_t size)
{
    int fd = world_connect(world);
    size_t room = 1 << 16;
    for (size_t at = 0; at < size;) {
        ssize_t sent = send(fd, text + at, size - at, MSG_NOSIGNAL);
        if (sent <= 0)
            break;
        at += (size_t)sent;
    }
    world->size = 0;
    world->answer = realloc(world->answer, room);
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, 20000) <= 0)
            break;
        if (room - world->size < 65536)
            world->answer = realloc(world->answer, room *= 2);
        ssize_t got = recv(fd, world->answer + world->size, room - world->size - 1, 0);
        if (got <= 0)
            break;
        world->size += (size_t)got;
    }
    close(fd);
    world->answer[world->size] = 0;
    return strncmp(world->answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(world->answer + 9, NULL, 10)
                                                       : 0;
}

/* One request with more headers ("" or lines that end in \r\n). */
static inline int world_ask(struct dash_world *world, const char *method, const char *path,
                            const char *headers, const char *body)
{
    size_t room = strlen(path) + strlen(headers) + strlen(body) + 400;
    char *text = malloc(room);
    int size = snprintf(text, room, "%s %s HTTP/1.1\r\n%sConnection: close\r\n%s", method, path,
                        strstr(headers, "Host:") != NULL ? "" : "Host: localhost\r\n", headers);
    if (body[0] != 0)
        size += snprintf(text + size, room - (size_t)size, "Content-Length: %zu\r\n", strlen(body));
    size += snprintf(text + size, room - (size_t)size, "\r\n%s", body);
    int status = world_raw(world, text, (size_t)size);
    free(text);
    return status;
}

static inline const char *world_body(const struct dash_world *world)
{
    const char *end = strstr(world->answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

#endif
