/* reward/python_host.c - see the header. */
#include "reward/python_host.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "reward/python_items.h"
#include "reward/python_process.h"

enum {
    HELLO_MS = 60000, /* imports may be slow */
    REQUESTS_MAX = 5000,
    MARGIN_MS = 100, /* a submit comes back so much before its deadline, or a tenth of the time */
    GRACE_MS = 2000, /* what a coroutine is cancelled before the process is killed, or a fifth */
    TRIES = 2
};
static const uint64_t MEMORY_MAX = 1ULL << 30;

/* A place for a process; taken by one submit call at a time. */
struct seat {
    struct python_process process;
    bool taken;
    uint32_t requests;    /* since it started */
    int64_t hello_due_ns; /* it was started and has not said hello; 0: it has */
};

struct python_host {
    struct python_keeper *keeper;
    char *hello; /* JSON, sent to each process */
    char name[WIRE_NAME_MAX], version[64];
    pthread_mutex_t mutex; /* guards taken and serial; only LOCK_WAIT is taken in it */
    pthread_cond_t freed;
    struct seat *seats; /* [seat_count] */
    uint32_t seat_count;
    uint64_t serial;
};

/* ---- files ---- */

/* Beside the program or in the build's python/. */
static enum status find_script(char path[FILE_PATH_MAX])
{
    static const char *const places[] = {"/../python", "", "/../share/weir"};
    char self[FILE_PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size < 0)
        return FAIL(STATUS_IO, "/proc/self/exe: %s", strerror(errno));
    self[size] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        TRY(file_path(path, "%s%s/weir_reward_worker.py", self, places[i]));
        if (file_exists(path))
            return STATUS_OK;
    }
    return FAIL(STATUS_NOT_FOUND,
                "weir_reward_worker.py is neither beside the program nor in %s/../python; "
                "build or install weir completely",
                self);
}

/* "dir/file.py:function" to its parts; function "" when there is none. */
static enum status split_name(const char *plugin, char file[FILE_PATH_MAX], const char **function)
{
    const char *end = strstr(plugin, ".py:");
    *function = end != NULL ? end + 4 : "";
    return file_path(file, "%.*s", end != NULL ? (int)(end + 3 - plugin) : (int)strlen(plugin),
                     plugin);
}

/* ---- hello ---- */

static enum status check_config(const char *plugin, const char *text, json_t **config)
{
    json_error_t error;
    *config = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    const char *key;
    json_t *value;
    if (!json_is_object(*config))
        return FAIL(STATUS_INVALID, "%s: reward.config: %s", plugin,
                    *config == NULL ? error.text : "not an object");
    json_object_foreach(*config, key, value)
    {
        if (strcmp(key, "kwargs") != 0 && strcmp(key, "factory") != 0)
            return FAIL(STATUS_INVALID,
                        "%s: reward.config has \"%s\"; a Python reward takes \"kwargs\" (given to "
                        "each call) and \"factory\" (the name is called with it once, and what it "
                        "returns is the function)",
                        plugin, key);
        if (!json_is_object(value))
            return FAIL(STATUS_INVALID, "%s: reward.config.%s is not an object", plugin, key);
    }
    return STATUS_OK;
}

static const char *style_name(uint32_t style)
{
    static const char *const names[] = {"auto",      "verl",     "verl_batch", "trl",
                                        "verifiers", "openrlhf", "areal",      "slime"};
    return style < sizeof names / sizeof names[0] ? names[style] : "auto";
}

static enum status write_hello(struct python_host *host, const struct reward_settings *settings,
                               const char *file, const char *function, struct buffer *source)
{
    json_t *config = NULL;
    enum status status = check_config(settings->plugin, settings->config, &config);
    char absolute[FILE_PATH_MAX];
    char *real = status == STATUS_OK ? realpath(file, NULL) : NULL;
    snprintf(absolute, sizeof absolute, "%s", real != NULL ? real : file);
    free(real); /* lint: allow(free): realpath's buffer */
    if (status == STATUS_OK) {
        json_t *hello =
            json_pack("{s:s, s:i, s:s, s:s#, s:s, s:s, s:O}", "type", "hello", "proto", 1, "file",
                      absolute, "source", buffer_string(source), (int)source->size, "function",
                      function, "style", style_name(settings->style), "config", config);
        char *text = hello != NULL ? json_dumps(hello, JSON_COMPACT) : NULL;
        host->hello = text != NULL ? memory_text(text) : NULL;
        free(text); /* lint: allow(free): jansson's buffer */
        json_decref(hello);
        if (host->hello == NULL)
            status = FAIL(STATUS_INVALID, "%s is not UTF-8 text", file);
    }
    json_decref(config);
    return status;
}

/* ---- processes ---- */

static enum status check_hello(const struct python_host *host, json_t *answer, json_t **out)
{
    const char *type = json_string_value(json_object_get(answer, "type"));
    if (type != NULL && strcmp(type, "hello") == 0) {
        *out = answer;
        return STATUS_OK;
    }
    const char *why = json_string_value(json_object_get(answer, "why"));
    enum status status = FAIL(STATUS_INVALID, "reward plugin %s: %s", host->name,
                              why != NULL ? why : "the Python worker did not say hello");
    json_decref(answer);
    return status;
}

/* Starts a process and lets it load the file, without waiting for it. */
static enum status begin_start(struct python_host *host, struct seat *seat)
{
    TRY(python_process_start(host->keeper, &seat->process));
    seat->requests = 0;
    seat->hello_due_ns = clock_now_ns() + (int64_t)HELLO_MS * CLOCK_NS_PER_MS;
    enum status status =
        python_process_send(&seat->process, host->hello, strlen(host->hello), seat->hello_due_ns);
    if (status != STATUS_OK) {
        python_process_kill(host->keeper, &seat->process);
        seat->hello_due_ns = 0;
    }
    return status;
}

/* *answer: what the process said about the function, owned by the caller. TIMEOUT: it still loads, and is left to it,
 * unless its own time is over. */
static enum status end_start(struct python_host *host, struct seat *seat, int64_t deadline_ns,
                             json_t **answer)
{
    json_t *said = NULL;
    enum status status = python_process_wait(
        &seat->process, deadline_ns < seat->hello_due_ns ? deadline_ns : seat->hello_due_ns);
    if (status == STATUS_TIMEOUT && clock_now_ns() < seat->hello_due_ns)
        return status;
    if (status == STATUS_OK)
        status = python_process_receive(&seat->process, seat->hello_due_ns, &said);
    if (status == STATUS_OK)
        status = check_hello(host, said, answer);
    seat->hello_due_ns = 0;
    if (status != STATUS_OK)
        python_process_kill(host->keeper, &seat->process);
    return status;
}

static enum status ensure_running(struct python_host *host, struct seat *seat, int64_t deadline_ns)
{
    json_t *answer = NULL;
    if (seat->process.pid <= 0)
        TRY(begin_start(host, seat));
    if (seat->hello_due_ns == 0)
        return STATUS_OK;
    TRY(end_start(host, seat, deadline_ns, &answer));
    json_decref(answer);
    return STATUS_OK;
}

static bool is_ready(const struct seat *seat)
{
    return seat->process.pid > 0 && seat->hello_due_ns == 0;
}

static enum status take_seat(struct python_host *host, int64_t deadline_ns, struct seat **out)
{
    enum status status = STATUS_OK;
    struct seat *seat = NULL;
    pthread_mutex_lock(&host->mutex);
    while (seat == NULL && status == STATUS_OK) {
        for (uint32_t i = 0; i < host->seat_count; i++) /* ready ones first */
            if (!host->seats[i].taken &&
                (seat == NULL || (!is_ready(seat) && is_ready(&host->seats[i]))))
                seat = &host->seats[i];
        if (seat == NULL)
            status =
                wait_condition("python_seat", host->name, deadline_ns, &host->freed, &host->mutex);
    }
    if (seat != NULL)
        seat->taken = true;
    pthread_mutex_unlock(&host->mutex);
    *out = seat;
    return seat != NULL ? STATUS_OK : status;
}

static void leave_seat(struct python_host *host, struct seat *seat)
{
    bool old = seat->process.pid > 0 && (++seat->requests >= REQUESTS_MAX ||
                                         python_process_memory(&seat->process) > MEMORY_MAX);
    if (old)
        python_process_kill(host->keeper, &seat->process);
    if (seat->process.pid <= 0 && begin_start(host, seat) != STATUS_OK) /* for the next request */
        LOG_WARN("python", "cannot be started anew", "plugin=\"%s\" why=\"%s\"", host->name,
                 status_sentence(status_last_error()));
    pthread_mutex_lock(&host->mutex);
    seat->taken = false;
    pthread_cond_signal(&host->freed);
    pthread_mutex_unlock(&host->mutex);
}

/* ---- a request ---- */

static bool is_answer(const json_t *message, uint64_t request)
{
    const char *type = json_string_value(json_object_get(message, "type"));
    return type != NULL && strcmp(type, "result") == 0 &&
           (uint64_t)json_integer_value(json_object_get(message, "req")) == request;
}

static enum status exchange(struct seat *seat, struct buffer *json, uint64_t request,
                            int64_t deadline_ns, json_t **answer)
{
    TRY(python_process_send(&seat->process, json->bytes, json->size, deadline_ns));
    for (;;) {
        json_t *message = NULL;
        TRY(python_process_receive(&seat->process, deadline_ns, &message));
        if (is_answer(message, request)) {
            *answer = message;
            return STATUS_OK;
        }
        json_decref(message);
    }
}

static enum status ask_once(struct python_host *host, struct seat *seat,
                            const weir_reward_item *items, uint32_t count, int64_t deadline_ns,
                            json_t **answer)
{
    TRY(ensure_running(host, seat, deadline_ns));
    pthread_mutex_lock(&host->mutex);
    uint64_t request = ++host->serial;
    pthread_mutex_unlock(&host->mutex);
    int64_t left_ms = (deadline_ns - clock_now_ns()) / CLOCK_NS_PER_MS;
    int64_t grace_ms = left_ms / 5 < GRACE_MS ? left_ms / 5 : GRACE_MS;
    struct buffer json;
    buffer_init(&json, PYTHON_FRAME_MAX);
    enum status status =
        python_items_write(&json, items, count, request, left_ms > 1 ? left_ms - grace_ms : 1);
    if (status == STATUS_OK)
        status = exchange(seat, &json, request, deadline_ns, answer);
    buffer_free(&json);
    return status;
}

/* A process that dies may have been killed by somebody else: its request gets one new process. */
static enum status ask(struct python_host *host, const weir_reward_item *items, uint32_t count,
                       int64_t deadline_ns, json_t **answer)
{
    struct seat *seat = NULL;
    TRY(take_seat(host, deadline_ns, &seat));
    enum status status = STATUS_NETWORK;
    for (int try = 0; try < TRIES && status == STATUS_NETWORK; try++) {
        status = ask_once(host, seat, items, count, deadline_ns, answer);
        if (status == STATUS_OK)
            break;
        if (seat->hello_due_ns > 0)
            break; /* it still loads */
        LOG_WARN("python", status == STATUS_TIMEOUT ? "killed at the deadline" : "request failed",
                 "plugin=\"%s\" pid=%d why=\"%s\"", host->name, (int)seat->process.pid,
                 status_sentence(status_last_error()));
        python_process_kill(host->keeper, &seat->process);
    }
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    leave_seat(host, seat);
    status_restore(kept);
    return status;
}

static int submit(void *self, const weir_reward_item *items, uint32_t n, weir_reward_done_fn done,
                  void *user)
{
    struct python_host *host = self;
    json_t *answer = NULL;
    if (n == 0)
        return 0;
    int64_t left_ns = items[0].deadline_ns - clock_now_ns();
    int64_t margin_ns = left_ns / 10 < (int64_t)MARGIN_MS * CLOCK_NS_PER_MS
                            ? left_ns / 10
                            : (int64_t)MARGIN_MS * CLOCK_NS_PER_MS;
    enum status status = ask(host, items, n, items[0].deadline_ns - margin_ns, &answer);
    const char *why = status == STATUS_OK        ? NULL
                      : status == STATUS_TIMEOUT ? "the function did not return in time"
                      : status == STATUS_NETWORK ? "the Python process died twice"
                                                 : status_sentence(status_last_error());
    python_items_answer(answer, items, n,
                        status == STATUS_TIMEOUT ? WEIR_REWARD_TIMEOUT : WEIR_REWARD_ERROR, why,
                        done, user);
    json_decref(answer);
    return 0;
}

/* ---- life ---- */

static void destroy(void *self)
{
    struct python_host *host = self;
    for (uint32_t i = 0; i < host->seat_count; i++)
        python_process_kill(host->keeper, &host->seats[i].process);
    python_keeper_close(&host->keeper);
    memory_free(host->hello);
    memory_free(host->seats);
    pthread_cond_destroy(&host->freed);
    pthread_mutex_destroy(&host->mutex);
    memory_free(host);
}

static enum status open_seats(struct python_host *host, const struct reward_settings *settings)
{
    char script[FILE_PATH_MAX];
    uint32_t count = settings->threads > 0 ? settings->threads : 1;
    TRY(find_script(script));
    struct python_command command = {
        .python = settings->python != NULL && *settings->python ? settings->python : "python3",
        .script = script,
        .network = settings->python_network};
    host->seats = memory_array(count, sizeof *host->seats);
    if (host->seats == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u Python processes", count);
    host->seat_count = count;
    return python_keeper_open(&host->keeper, &command);
}

static void fill_table(struct plugin_instance *instance, struct python_host *host,
                       const json_t *said)
{
    const char *style = json_string_value(json_object_get(said, "style")),
               *python = json_string_value(json_object_get(said, "python"));
    snprintf(host->version, sizeof host->version, "%s (Python %s)", style != NULL ? style : "?",
             python != NULL ? python : "?");
    uint64_t caps = WEIR_REWARD_CAP_THREADSAFE;
    caps |= json_is_true(json_object_get(said, "is_batch")) ? WEIR_REWARD_CAP_BATCH : 0;
    caps |= json_is_true(json_object_get(said, "is_group")) ? WEIR_REWARD_CAP_GROUP : 0;
    caps |= json_is_true(json_object_get(said, "wants_ids")) ? WEIR_REWARD_CAP_NEEDS_IDS : 0;
    instance->table = (weir_reward_plugin){.struct_size = sizeof instance->table,
                                           .abi_major = WEIR_REWARD_ABI_MAJOR,
                                           .abi_minor = WEIR_REWARD_ABI_MINOR,
                                           .name = host->name,
                                           .version = host->version,
                                           .caps = caps,
                                           .submit = submit,
                                           .destroy = destroy};
}

static enum status open_host(struct plugin_instance *instance, struct python_host *host,
                             const struct reward_settings *settings)
{
    char file[FILE_PATH_MAX];
    const char *function = "";
    struct buffer source;
    json_t *said = NULL;
    TRY(split_name(settings->plugin, file, &function));
    TRY(plugin_instance_watch(instance, file));
    const char *base = strrchr(settings->plugin, '/');
    snprintf(host->name, sizeof host->name, "%s", base != NULL ? base + 1 : settings->plugin);
    buffer_init(&source, PYTHON_FRAME_MAX / 2);
    enum status status = file_read(file, &source);
    if (status == STATUS_OK)
        status = write_hello(host, settings, file, function, &source);
    if (status == STATUS_OK)
        instance->hash = hash64(source.bytes, source.size, 0);
    buffer_free(&source);
    TRY(status);
    TRY(open_seats(host, settings));
    TRY(begin_start(host, &host->seats[0]));
    TRY(end_start(host, &host->seats[0], INT64_MAX, &said));
    fill_table(instance, host, said);
    json_decref(said);
    for (uint32_t i = 1; i < host->seat_count; i++)
        TRY(begin_start(host, &host->seats[i]));
    return STATUS_OK;
}

enum status python_host_open(struct plugin_instance *instance,
                             const struct reward_settings *settings)
{
    struct python_host *host = memory_alloc(sizeof *host);
    if (host == NULL)
        return FAIL(STATUS_NO_MEMORY, "Python host");
    enum status status = wait_condition_init(&host->freed);
    if (status != STATUS_OK) {
        memory_free(host);
        return status;
    }
    pthread_mutex_init(&host->mutex, NULL);
    status = open_host(instance, host, settings);
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        destroy(host);
        status_restore(kept);
        return status;
    }
    instance->instance = host;
    instance->created = true;
    return STATUS_OK;
}
