/* tests/redis_world.h - real redis-servers and Sentinels on loopback, each with a folder of its own, all killed at the end.
 *
 *     struct redis_world world;
 *     redis_world_open(&world, "/tmp/x");               the folder is made, and removed by redis_world_close
 *     struct redis_node *redis = redis_world_start(&world, (const char *[]){"--requirepass", "secret", NULL});
 *     redis_world_ask(redis, "secret", answer, sizeof answer, "XLEN %s", key);
 *
 * Servers listen on a unix socket (FOLDER/n.sock) and a free port of 127.0.0.1. */
#ifndef TESTS_REDIS_WORLD_H
#define TESTS_REDIS_WORLD_H

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/settings.h"
#include "tests/local_port.h"
#include "transport/redis_view.h"

enum { REDIS_NODES = 8, REDIS_ARGUMENTS = 32, REDIS_PATIENCE_MS = 10000 };

struct redis_node {
    pid_t pid; /* 0: does not run */
    int port;
    bool sentinel;
    char socket[120], address[32], config[120],
        folder[80];                     /* nothing of a dump in our own folder is read */
    const char *extra[REDIS_ARGUMENTS]; /* borrowed */
};

struct redis_world {
    char folder[80];
    struct redis_node nodes[REDIS_NODES];
    int count;
};

static inline void redis_world_open(struct redis_world *world, const char *folder)
{
    *world = (struct redis_world){.count = 0};
    snprintf(world->folder, sizeof world->folder, "%s", folder);
    assert_int_equal(file_make_dirs(folder), STATUS_OK);
}

static inline pid_t redis_spawn(const char *const *argv)
{
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR);
    if (getppid() != parent || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
        _exit(126);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static inline redisContext *redis_world_context(const struct redis_node *node)
{
    struct timeval limit = {.tv_sec = 2};
    redisContext *context = redisConnectWithTimeout("127.0.0.1", node->port, limit);
    assert_non_null(context);
    if (context->err == 0)
        redisSetTimeout(context, limit);
    return context;
}

/* What it answers, as text: integers in digits, arrays as the text of their first element, errors as they are; "" when
 * nothing answers. */
static inline const char *redis_world_ask(const struct redis_node *node, const char *password,
                                          char *answer, size_t size, const char *fmt, ...)
{
    va_list arguments;
    redisContext *context = redis_world_context(node);
    redisReply *reply = NULL;
    answer[0] = '\0';
    if (context->err == 0 && password != NULL) {
        reply = redisCommand(context, "AUTH %s", password);
        if (reply != NULL)
            freeReplyObject(reply);
        reply = NULL;
    }
    va_start(arguments, fmt);
    if (context->err == 0)
        reply = redisvCommand(context, fmt, arguments);
    va_end(arguments);
    const redisReply *one = reply;
    while (one != NULL && one->type == REDIS_REPLY_ARRAY)
        one = one->elements > 0 ? one->element[0] : NULL;
    if (one != NULL && one->type == REDIS_REPLY_INTEGER)
        snprintf(answer, size, "%lld", one->integer);
    else if (one != NULL && one->str != NULL)
        snprintf(answer, size, "%s", one->str);
    if (reply != NULL)
        freeReplyObject(reply);
    redisFree(context);
    return answer;
}

static inline long redis_world_number(const struct redis_node *node, const char *command,
                                      const char *key)
{
    char answer[256];
    return strtol(redis_world_ask(node, NULL, answer, sizeof answer, command, key), NULL, 10);
}

/* Starts it, again too, and waits until it listens. */
static inline void redis_world_run(struct redis_node *node)
{
    char port[12];
    const char *argv[REDIS_ARGUMENTS + 16];
    int count = 0;
    snprintf(port, sizeof port, "%d", node->port);
    argv[count++] = node->sentinel ? "redis-sentinel" : "redis-server";
    if (node->sentinel) {
        argv[count++] = node->config;
    } else {
        const char *usual[] = {"--port",
                               port,
                               "--bind",
                               "127.0.0.1",
                               "--unixsocket",
                               node->socket,
                               "--save",
                               "",
                               "--appendonly",
                               "no",
                               "--dir",
                               node->folder,
                               "--repl-diskless-sync-delay",
                               "0"};
        for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
            argv[count++] = usual[i];
        for (int i = 0; node->extra[i] != NULL; i++)
            argv[count++] = node->extra[i];
    }
    argv[count] = NULL;
    unlink(node->socket);
    node->pid = redis_spawn(argv);
    for (int64_t end_ns = clock_now_ns() + (int64_t)REDIS_PATIENCE_MS * CLOCK_NS_PER_MS;
         clock_now_ns() < end_ns; clock_sleep_ms(5)) {
        redisContext *context = redis_world_context(node);
        bool there = context->err == 0;
        redisFree(context);
        if (there)
            return;
    }
    fail_msg("%s on port %d did not start", argv[0], node->port);
}

static inline struct redis_node *redis_world_node(struct redis_world *world)
{
    assert_true(world->count < REDIS_NODES);
    struct redis_node *node = &world->nodes[world->count++];
    char folder[sizeof world->folder];
    memcpy(folder, world->folder, sizeof folder);
    memcpy(node->folder, world->folder, sizeof folder);
    snprintf(node->folder + strlen(folder), sizeof node->folder - strlen(folder), "/%d",
             world->count);
    assert_int_equal(file_make_dirs(node->folder), STATUS_OK);
    node->port = (int)local_free_port();
    assert_int_not_equal(node->port, 0);
    snprintf(node->socket, sizeof node->socket, "%s/%d.sock", folder, world->count);
    snprintf(node->config, sizeof node->config, "%s/%d.conf", folder, world->count);
    snprintf(node->address, sizeof node->address, "127.0.0.1:%d", node->port);
    return node;
}

/* `extra`: further arguments of redis-server, ending in NULL; borrowed. NULL: none. */
static inline struct redis_node *redis_world_start(struct redis_world *world,
                                                   const char *const *extra)
{
    struct redis_node *node = redis_world_node(world);
    for (int i = 0; extra != NULL && extra[i] != NULL && i < REDIS_ARGUMENTS - 1; i++)
        node->extra[i] = extra[i];
    redis_world_run(node);
    return node;
}

/* A Sentinel that watches `master` under the name weir; `quorum` of them must agree that it is down. */
static inline struct redis_node *redis_world_sentinel(struct redis_world *world,
                                                      const struct redis_node *master, int quorum)
{
    struct redis_node *node = redis_world_node(world);
    FILE *file = fopen(node->config, "w");
    assert_non_null(file);
    fprintf(file,
            "port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor weir 127.0.0.1 %d %d\n"
            "sentinel down-after-milliseconds weir 500\nsentinel failover-timeout weir 3000\n",
            node->port, world->folder, master->port, quorum);
    assert_int_equal(fclose(file), 0);
    node->sentinel = true;
    redis_world_run(node);
    return node;
}

static inline void redis_world_kill(struct redis_node *node)
{
    if (node->pid <= 0)
        return;
    kill(node->pid, SIGKILL);
    waitpid(node->pid, NULL, 0);
    node->pid = 0;
}

static inline void redis_world_close(struct redis_world *world)
{
    for (int i = 0; i < world->count; i++)
        redis_world_kill(&world->nodes[i]);
    assert_int_equal(file_remove_tree(world->folder), STATUS_OK);
}

/* Until the number that it answers is at least `least`; milliseconds that it took, -1 after limit_ms. */
static inline int64_t redis_world_await(const struct redis_node *node, long least, int64_t limit_ms,
                                        const char *command, const char *key)
{
    int64_t begin_ns = clock_now_ns();
    for (;;) {
        long number = redis_world_number(node, command, key);
        int64_t ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
        if (number >= least)
            return ms;
        if (ms > limit_ms) {
            print_message("\"%s\" %s: %ld, wanted %ld\n", command, key, number, least);
            return -1;
        }
        clock_sleep_ms(5);
    }
}

static inline struct redis_settings redis_world_settings(const char *address)
{
    return (struct redis_settings){.mode = REDIS_CONNECT,
                                   .address = address,
                                   .user = "",
                                   .password = "",
                                   .sentinels = "",
                                   .master = "weir"};
}

#endif
