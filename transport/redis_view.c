#include "transport/redis_view.h"

#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/queue.h"
#include "core/wait.h"
#include "transport/redis_connection.h"

enum {
    QUEUE_DEPTH = 4096,
    PIPELINE = 64,    /* commands sent before replies are read */
    FIELDS_MAX = 256, /* members of one object */
    ARGUMENTS_MAX = 8 + 2 * FIELDS_MAX,
    KEY_MAX = 256,
    JSON_MAX = 1 << 20,
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 10000,
    FLUSH_MS = 500,
    IDLE_SLICE_MS = 200,
};

struct command {
    bool stream;
    int expire_s;
    uint32_t maxlen;
    char *key, *json; /* in the same block */
};

struct redis_view {
    char *run, *address, *password; /* owned */
    struct queue *queue;            /* of struct command, owned by whoever popped it */
    pthread_t thread;
    _Atomic uint64_t dropped;
    _Atomic bool closing;
    _Atomic int64_t flush_until_ns;
    /* of the thread */
    redisContext *context; /* NULL: not connected */
    int64_t next_try_ns;
    int64_t backoff_ms;
};

static void drop(struct redis_view *view, struct command *command)
{
    atomic_fetch_add(&view->dropped, 1);
    memory_free(command);
}

/* ---- the thread: connection ---- */

static void disconnect(struct redis_view *view, const char *why)
{
    LOG_WARN("redis", "view disconnected", "address=%s why=\"%s\"", view->address, why);
    redis_connection_close(&view->context);
    view->backoff_ms = BACKOFF_MIN_MS;
    view->next_try_ns = clock_now_ns() + BACKOFF_MIN_MS * CLOCK_NS_PER_MS;
}

static void announce_run(struct redis_view *view)
{
    redisReply *reply = redisCommand(view->context, "ZADD weir:runs %lld %s",
                                     (long long)(clock_wall_ns() / CLOCK_NS_PER_S), view->run);
    if (reply == NULL)
        disconnect(view, view->context->errstr);
    else
        freeReplyObject(reply);
}

static void try_connect(struct redis_view *view)
{
    int64_t now_ns = clock_now_ns();
    if (view->context != NULL || now_ns < view->next_try_ns)
        return;
    if (redis_connection_open(&view->context, view->address, view->password) == STATUS_OK) {
        LOG_INFO("redis", "view connected", "address=%s", view->address);
        view->backoff_ms = BACKOFF_MIN_MS;
        announce_run(view);
        return;
    }
    LOG_WARN("redis", "no view", "address=%s next_try_ms=%" PRId64 " why=\"%s\"", view->address,
             view->backoff_ms, status_last_error());
    view->next_try_ns = clock_now_ns() + view->backoff_ms * CLOCK_NS_PER_MS;
    view->backoff_ms *= 2;
    if (view->backoff_ms > BACKOFF_MAX_MS)
        view->backoff_ms = BACKOFF_MAX_MS;
}

/* ---- the thread: commands ---- */

struct arguments {
    int count;
    const char *text[ARGUMENTS_MAX];
    size_t size[ARGUMENTS_MAX];
    char *made[FIELDS_MAX]; /* texts of jansson's allocator */
    int made_count;
    char numbers[FIELDS_MAX][32];
    int number_count;
};

static void add(struct arguments *arguments, const char *text, size_t size)
{
    arguments->text[arguments->count] = text;
    arguments->size[arguments->count++] = size;
}

static void add_value(struct arguments *arguments, const json_t *value)
{
    if (json_is_string(value)) {
        add(arguments, json_string_value(value), json_string_length(value));
        return;
    }
    if (json_is_object(value) || json_is_array(value)) {
        char *text = json_dumps(value, JSON_COMPACT);
        if (text != NULL)
            arguments->made[arguments->made_count++] = text;
        add(arguments, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
        return;
    }
    char *out = arguments->numbers[arguments->number_count++];
    size_t room = sizeof arguments->numbers[0];
    int size = 0;
    if (json_is_integer(value))
        size = snprintf(out, room, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        size = snprintf(out, room, "%.9g", json_real_value(value));
    else if (!json_is_null(value))
        size = snprintf(out, room, "%d", json_is_true(value) ? 1 : 0);
    add(arguments, out, (size_t)size);
}

/* HSET key f v ... or XADD key MAXLEN ~ n * f v ... False: not an object, empty or too many members. */
static bool append_command(struct redis_view *view, const struct command *command, int *replies)
{
    struct arguments arguments = {.count = 0};
    json_t *object = json_loads(command->json, JSON_REJECT_DUPLICATES, NULL);
    size_t members = json_object_size(object);
    char key[KEY_MAX], maxlen[16], expire[16];
    int key_size = snprintf(key, sizeof key, "weir:{%s}:%s", view->run, command->key);
    bool ok = members > 0 && members <= FIELDS_MAX && key_size < KEY_MAX;
    if (ok) {
        add(&arguments, command->stream ? "XADD" : "HSET", 4);
        add(&arguments, key, (size_t)key_size);
        if (command->stream && command->maxlen > 0) {
            add(&arguments, "MAXLEN", 6);
            add(&arguments, "~", 1);
            add(&arguments, maxlen,
                (size_t)snprintf(maxlen, sizeof maxlen, "%" PRIu32, command->maxlen));
        }
        if (command->stream)
            add(&arguments, "*", 1);
        const char *name;
        json_t *value;
        json_object_foreach(object, name, value)
        {
            add(&arguments, name, strlen(name));
            add_value(&arguments, value);
        }
        ok = redisAppendCommandArgv(view->context, arguments.count, arguments.text,
                                    arguments.size) == REDIS_OK;
        *replies = ok ? 1 : 0;
    }
    if (ok && !command->stream && command->expire_s > 0) {
        snprintf(expire, sizeof expire, "%d", command->expire_s);
        const char *argv[] = {"EXPIRE", key, expire};
        *replies += redisAppendCommandArgv(view->context, 3, argv, NULL) == REDIS_OK ? 1 : 0;
    }
    for (int i = 0; i < arguments.made_count; i++)
        free(arguments.made[i]); /* lint: allow(free): jansson hands over its own allocation */
    json_decref(object);
    return ok;
}

/* Sends up to PIPELINE commands, then reads all replies. */
static void write_batch(struct redis_view *view, struct command **batch, int count)
{
    struct wait wait = wait_begin("replies", "redis", REDIS_TIMEOUT_MS);
    int replies = 0;
    for (int i = 0; i < count; i++) {
        int expected = 0;
        if (append_command(view, batch[i], &expected))
            replies += expected;
        else
            atomic_fetch_add(&view->dropped, 1);
        memory_free(batch[i]);
    }
    for (; replies > 0; replies--) {
        redisReply *reply = NULL;
        if (redisGetReply(view->context, (void **)&reply) != REDIS_OK) {
            atomic_fetch_add(&view->dropped, (uint64_t)replies);
            disconnect(view, view->context->errstr);
            break;
        }
        if (reply->type == REDIS_REPLY_ERROR) {
            atomic_fetch_add(&view->dropped, 1);
            LOG_WARN("redis", "refused", "why=\"%s\"", reply->str);
        }
        freeReplyObject(reply);
    }
    if (wait_end(&wait, true) != STATUS_OK)
        LOG_FAILURE("redis", "wait", STATUS_TIMEOUT);
}

/* Pops what is there, at most PIPELINE. False: the queue is closed and empty. */
static bool pop_batch(struct redis_view *view, struct command **batch, int *count)
{
    enum status status = STATUS_OK;
    for (*count = 0; *count < PIPELINE; (*count)++) {
        void *item = NULL;
        status = queue_pop(view->queue, *count == 0 ? IDLE_SLICE_MS : 0, &item);
        if (status != STATUS_OK)
            break;
        batch[*count] = item;
    }
    return *count > 0 || status != STATUS_CANCELLED;
}

static bool out_of_time(struct redis_view *view)
{
    return atomic_load(&view->closing) && clock_now_ns() > atomic_load(&view->flush_until_ns);
}

static void *view_thread(void *self)
{
    struct redis_view *view = self;
    struct command *batch[PIPELINE];
    int count = 0;
    while (!out_of_time(view)) {
        if (!atomic_load(&view->closing))
            try_connect(view);
        if (!pop_batch(view, batch, &count))
            break;
        if (view->context != NULL) {
            if (count > 0)
                write_batch(view, batch, count);
            continue;
        }
        for (int i = 0; i < count; i++)
            drop(view, batch[i]);
    }
    redis_connection_close(&view->context);
    return NULL;
}

/* ---- callers ---- */

static void view_free(struct redis_view *view)
{
    void *item = NULL;
    while (view->queue != NULL && queue_pop(view->queue, 0, &item) == STATUS_OK)
        memory_free(item);
    queue_destroy(&view->queue);
    memory_free(view->run);
    memory_free(view->address);
    memory_free(view->password);
    memory_free(view);
}

enum status redis_view_open(struct redis_view **view, const char *run, const char *address,
                            const char *password)
{
    struct redis_address parsed;
    TRY(redis_address_parse(address, &parsed));
    struct redis_view *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "view of %s", address);
    made->backoff_ms = BACKOFF_MIN_MS;
    made->run = memory_text(run);
    made->address = memory_text(address);
    made->password = memory_text(password != NULL ? password : "");
    enum status status = STATUS_OK;
    if (made->run == NULL || made->address == NULL || made->password == NULL)
        status = FAIL(STATUS_NO_MEMORY, "view of %s", address);
    if (status == STATUS_OK)
        status = queue_create(&made->queue, "redis view", QUEUE_DEPTH);
    if (status == STATUS_OK && pthread_create(&made->thread, NULL, view_thread, made) != 0)
        status = FAIL(STATUS_NO_MEMORY, "thread of the view of %s", address);
    if (status != STATUS_OK) {
        view_free(made);
        return status;
    }
    *view = made;
    return STATUS_OK;
}

enum status redis_view_open_set(struct redis_view **view, const char *run,
                                const struct redis_settings *settings)
{
    *view = NULL;
    if (settings->mode == REDIS_OFF || settings->address[0] == '\0')
        return STATUS_OK;
    return redis_view_open(view, run, settings->address, settings->password);
}

void redis_view_close(struct redis_view **view)
{
    if (*view == NULL)
        return;
    char kept[STATUS_TEXT_MAX]; /* emptying the queue ends in CANCELLED, which is no news */
    status_keep(kept);
    atomic_store(&(*view)->flush_until_ns, clock_now_ns() + FLUSH_MS * CLOCK_NS_PER_MS);
    atomic_store(&(*view)->closing, true);
    queue_close((*view)->queue);
    pthread_join((*view)->thread, NULL);
    view_free(*view);
    *view = NULL;
    status_restore(kept);
}

static void push(struct redis_view *view, const char *key, const char *json, struct command head)
{
    size_t key_size = strlen(key) + 1, json_size = strlen(json) + 1;
    struct command *command = NULL;
    if (json_size <= JSON_MAX && key_size <= KEY_MAX)
        command = memory_alloc(sizeof *command + key_size + json_size);
    if (command == NULL) {
        atomic_fetch_add(&view->dropped, 1);
        return;
    }
    *command = head;
    command->key = (char *)(command + 1);
    command->json = command->key + key_size;
    memcpy(command->key, key, key_size);
    memcpy(command->json, json, json_size);
    if (queue_push(view->queue, command) != STATUS_OK)
        drop(view, command);
}

void redis_view_hash(struct redis_view *view, const char *key, const char *json_object,
                     int expire_s)
{
    if (view != NULL)
        push(view, key, json_object, (struct command){.expire_s = expire_s});
}

void redis_view_stream(struct redis_view *view, const char *key, const char *json_object,
                       uint32_t maxlen)
{
    if (view != NULL)
        push(view, key, json_object, (struct command){.stream = true, .maxlen = maxlen});
}

uint64_t redis_view_dropped(const struct redis_view *view)
{
    return view == NULL ? 0 : atomic_load(&view->dropped);
}

enum status redis_probe(const char *address, const char *password)
{
    redisContext *context = NULL;
    TRY(redis_connection_open(&context, address, password));
    redis_connection_close(&context);
    return STATUS_OK;
}
