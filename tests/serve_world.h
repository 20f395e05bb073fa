/* tests/serve_world.h - a small model behind the endpoint, in this process, and a client of plain sockets. */
#ifndef TESTS_SERVE_WORLD_H
#define TESTS_SERVE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actor/http.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"
#include "tests/local_port.h"

static const char serve_config_json[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":32,"
    "\"initializer_range\":0.6,\"intermediate_size\":64,\"max_position_embeddings\":512,"
    "\"model_type\":\"qwen2\",\"num_attention_heads\":2,\"num_hidden_layers\":2,"
    "\"num_key_value_heads\":1,\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0,"
    "\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\",\"vocab_size\":260,"
    "\"eos_token_id\":256}";

static char serve_base[FILE_PATH_MAX], serve_model[FILE_PATH_MAX];

static inline void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static inline int serve_setup(void **state)
{
    (void)state;
    char config[FILE_PATH_MAX];
    must(file_path(serve_base, "%s/tests/serve-%d", BUILD_DIR, (int)getpid()));
    must(file_path(serve_model, "%s/model", serve_base));
    must(file_path(config, "%s/config.json", serve_base));
    must(file_make_dirs(serve_base));
    must(file_replace(config, serve_config_json, sizeof serve_config_json - 1));
    must(model_folder_init(config, serve_model, 11, ST_F32, NULL));
    return 0;
}

static inline int serve_teardown(void **state)
{
    (void)state;
    must(file_remove_tree(serve_base));
    return 0;
}

struct serve_world {
    struct config *config;
    struct settings settings;
    struct engine engine;
    struct http_server *server;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool held; /* the engine takes no step */
    int port;
    int32_t pages;
};

static inline enum status serve_forget(void *self, const struct message *message)
{
    (void)self;
    (void)message;
    return STATUS_OK;
}

static inline void *serve_loop(void *self)
{
    struct serve_world *world = self;
    struct serve_hub *hub = http_hub(world->server);
    while (!atomic_load(&world->stop)) {
        bool worked = false;
        if (!atomic_load(&world->held)) {
            serve_turn(hub, &world->engine);
            if (engine_decode(&world->engine, &worked) != STATUS_OK)
                abort();
            serve_publish(hub, &world->engine);
        }
        if (!worked)
            clock_sleep_ms(1);
    }
    return NULL;
}

/* Up to 8 settings more. */
static inline void serve_open(struct serve_world *world, const char *const *more, size_t count)
{
    char path[FILE_PATH_MAX + 32];
    const char *overrides[16] = {path,
                                 "redis.mode=off",
                                 "run.log_level=warn",
                                 "model.chat_format=chatml",
                                 "data.prompt_tokens_max=128",
                                 "sampling.response_tokens_max=128",
                                 "actor.prefill_tokens=48",
                                 "actor.slots=8"};
    *world = (struct serve_world){0};
    snprintf(path, sizeof path, "model.path=%s", serve_model);
    for (size_t i = 0; i < count; i++)
        overrides[8 + i] = more[i];
    struct config_input input = {.overrides = overrides, .override_count = 8 + count};
    must(settings_load(&world->settings, &world->config, &input));
    must(engine_create(&world->engine, &world->settings, 0, 1));
    must(engine_load_folder(&world->engine, serve_model));
    world->engine.served = world->settings.actor.slots;
    must(engine_open_desk(&world->engine, 1, serve_forget, world));
    desk_weights(&world->engine.desk, 7, 0, world->engine.weights[0].digest);
    world->pages = model_cache_pages_free(world->engine.cache);
    struct http_config config = {.settings = &world->settings,
                                 .engine = &world->engine,
                                 .address = "127.0.0.1:0",
                                 .model = "tiny"};
    must(http_open(&world->server, &config));
    world->port = (int)strtol(strrchr(http_address(world->server), ':') + 1, NULL, 10);
    assert_int_equal(pthread_create(&world->thread, NULL, serve_loop, world), 0);
}

static inline void serve_shut(struct serve_world *world)
{
    atomic_store(&world->stop, true);
    assert_int_equal(pthread_join(world->thread, NULL), 0);
    http_close(&world->server, &world->engine, "the server is leaving");
    engine_destroy(&world->engine);
    config_destroy(&world->config);
}

static inline int serve_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* ---- a client ---- */

static inline int client_connect(const struct serve_world *world)
{
    int fd = local_connect((unsigned)world->port, 60);
    assert_true(fd >= 0);
    return fd;
}

static inline void client_send(int fd, const void *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t sent = send(fd, (const char *)bytes + at, size - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* it hung up: its answer says why */
        at += (size_t)sent;
    }
}

static inline void client_post(int fd, const char *path, const char *body)
{
    char head[512];
    int size = snprintf(head, sizeof head,
                        "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: "
                        "application/json\r\nContent-Length: %zu\r\n\r\n",
                        path, strlen(body));
    client_send(fd, head, (size_t)size);
    client_send(fd, body, strlen(body));
}

struct reply {
    int status;
    struct buffer raw;  /* as it came */
    struct buffer body; /* without chunks */
};

static inline void reply_free(struct reply *reply)
{
    buffer_free(&reply->raw);
    buffer_free(&reply->body);
}

static inline void reply_parse(struct reply *reply)
{
    const char *raw = buffer_string(&reply->raw), *end = strstr(raw, "\r\n\r\n");
    buffer_clear(&reply->body);
    reply->status = strncmp(raw, "HTTP/1.1 ", 9) == 0 ? (int)strtol(raw + 9, NULL, 10) : 0;
    if (end == NULL)
        return;
    const char *at = end + 4;
    bool chunked = memmem(raw, (size_t)(end - raw), "Transfer-Encoding: chunked", 26) != NULL;
    size_t left = reply->raw.size - (size_t)(at - raw);
    if (!chunked) {
        must(buffer_append(&reply->body, at, left));
        return;
    }
    for (;;) {
        char *line = NULL;
        size_t size = strtoul(at, &line, 16);
        if (size == 0 || line == at)
            return;
        at = line + 2;
        must(buffer_append(&reply->body, at, size));
        at += size + 2;
    }
}

/* Everything until the server hangs up. */
static inline void client_read(int fd, struct reply *reply)
{
    char block[4096];
    buffer_init(&reply->raw, 0);
    buffer_init(&reply->body, 0);
    for (ssize_t got; (got = recv(fd, block, sizeof block, 0)) > 0;)
        must(buffer_append(&reply->raw, block, (size_t)got));
    reply_parse(reply);
    close(fd);
}

static inline struct reply client_ask(const struct serve_world *world, const char *path,
                                      const char *body)
{
    struct reply reply = {0};
    int fd = client_connect(world);
    client_post(fd, path, body);
    client_read(fd, &reply);
    return reply;
}

static inline struct reply client_raw(const struct serve_world *world, const char *text)
{
    struct reply reply = {0};
    int fd = client_connect(world);
    client_send(fd, text, strlen(text));
    client_read(fd, &reply);
    return reply;
}

#endif
