#include "transport/monitor.h"

#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/nvml.h"
#include "transport/listen.h"
#include "transport/monitor_self.h"

enum {
    PORTS_TRIED = 63,
    CONNECTIONS_MAX = 512,
    CONNECTION_BYTES = 16 << 10,
    IDLE_S = 10,
    TEXT_MAX = 1 << 20, /* of monitor_put */
    SENTENCE_MAX = 512,
    GPU_EVERY_MS = 1000,
    GPU_STOP_MS = 2000 /* a driver that hangs is not waited for longer */
};
#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct table {
    const struct metric_row *rows;
    size_t count;
    void *metrics;
};

struct monitor {
    char process[64], role[32], host[64], address[MONITOR_ADDRESS_MAX], published[FILE_PATH_MAX];
    char device[64];
    const char *nvml_library;
    int64_t silent_ns;
    _Atomic int64_t beat_ns; /* 0: not yet */
    struct buffer labels;
    struct MHD_Daemon *daemon;

    pthread_mutex_t lock; /* guards what follows; held for copies only */
    struct table tables[MONITOR_TABLES_MAX];
    size_t table_count;
    struct buffer texts[MONITOR_TEXTS_MAX];
    bool ready;
    char why[SENTENCE_MAX];

    struct nvml *nvml;

    struct gpu_metrics gpu;
    pthread_t sampler;
    int stop_fd; /* ends it; -1: none */
    bool sampling;
};

static void lock(struct monitor *monitor)
{
    CHECK(pthread_mutex_lock(&monitor->lock) == 0);
}

static void unlock(struct monitor *monitor)
{
    CHECK(pthread_mutex_unlock(&monitor->lock) == 0);
}

/* ---- what a process says ---- */

void monitor_add(struct monitor *monitor, const struct metric_row *rows, size_t count,
                 void *metrics)
{
    metrics_init(rows, count, metrics);
    if (monitor == NULL)
        return;
    lock(monitor);
    CHECK(monitor->table_count < MONITOR_TABLES_MAX);
    monitor->tables[monitor->table_count++] = (struct table){rows, count, metrics};
    unlock(monitor);
}

void monitor_forget(struct monitor *monitor)
{
    if (monitor == NULL)
        return;
    lock(monitor);
    monitor->table_count = 0;
    unlock(monitor);
}

void monitor_put(struct monitor *monitor, size_t at, const char *text)
{
    if (monitor == NULL)
        return;
    CHECK(at < MONITOR_TEXTS_MAX);
    lock(monitor);
    buffer_clear(&monitor->texts[at]);
    /* Half a family would be no Prometheus text: all of it, or nothing. */
    if (buffer_text(&monitor->texts[at], text) != STATUS_OK)
        buffer_clear(&monitor->texts[at]);
    unlock(monitor);
}

const char *monitor_labels(const struct monitor *monitor)
{
    return monitor != NULL && monitor->labels.size > 0
               ? (const char *)monitor->labels.bytes /* ended by buffer_string at its making */
               : "";
}

void monitor_beat(struct monitor *monitor)
{
    if (monitor != NULL)
        atomic_store_explicit(&monitor->beat_ns, clock_now_ns(), memory_order_relaxed);
}

void monitor_set_ready(struct monitor *monitor, bool ready, const char *why)
{
    if (monitor == NULL)
        return;
    lock(monitor);
    monitor->ready = ready;
    if (!ready)
        snprintf(monitor->why, sizeof monitor->why, "%s", why);
    unlock(monitor);
}

const char *monitor_address(const struct monitor *monitor)
{
    return monitor != NULL ? monitor->address : "";
}

static enum status write_tables(struct monitor *monitor, struct buffer *text)
{
    const char *labels = monitor_labels(monitor);
    for (size_t i = 0; i < monitor->table_count; i++) {
        const struct table *table = &monitor->tables[i];
        TRY(metrics_prometheus(table->rows, table->count, table->metrics, labels, text));
    }
    for (size_t i = 0; i < MONITOR_TEXTS_MAX; i++)
        TRY(buffer_text(text, buffer_string(&monitor->texts[i])));
    return STATUS_OK;
}

/* An own heartbeat's age, so that an alert needs no probe. */
static enum status write_pulse(struct monitor *monitor, struct buffer *text)
{
    const char *labels = monitor_labels(monitor);
    int64_t beat_ns = atomic_load_explicit(&monitor->beat_ns, memory_order_relaxed);
    double age_s = beat_ns == 0 ? 0 : (double)(clock_now_ns() - beat_ns) / CLOCK_NS_PER_S;
    TRY(metrics_family(text, "weir_process_ready", "gauge", "",
                       "1: the process can do its work, as /ready says."));
    TRY(metrics_sample(text, "weir_process_ready", labels, NULL, monitor->ready));
    TRY(metrics_family(text, "weir_process_silent_seconds", "gauge", "seconds",
                       "Since the main loop turned last; 0 while the process starts."));
    return metrics_sample(text, "weir_process_silent_seconds", labels, NULL, age_s > 0 ? age_s : 0);
}

enum status monitor_text(struct monitor *monitor, struct buffer *text)
{
    size_t count;
    lock(monitor);
    enum status status = write_tables(monitor, text);
    if (status == STATUS_OK)
        status = write_pulse(monitor, text);
    const struct nvml *nvml = monitor->nvml;
    unlock(monitor);
    TRY(status);
    const struct metric_row *rows = gpu_metrics_table(&count);
    if (nvml != NULL)
        TRY(metrics_prometheus(rows, count, &monitor->gpu, monitor_labels(monitor), text));
    return monitor_self_text(monitor_labels(monitor), text);
}

/* {"pid":1,"host":"a","http":"..","device":".." */
static enum status write_stats(struct monitor *monitor, const struct metric_row *rows, size_t count,
                               const void *metrics, struct buffer *json)
{
    size_t gpu_count;
    const struct metric_row *gpu_rows = gpu_metrics_table(&gpu_count);
    TRY(buffer_printf(json, "{\"pid\":%ld,\"host\":", (long)getpid()));
    TRY(buffer_json_text(json, monitor->host));
    TRY(buffer_text(json, ",\"http\":"));
    TRY(buffer_json_text(json, monitor->address));
    TRY(buffer_text(json, ",\"device\":"));
    TRY(buffer_json_text(json, monitor->device));
    if (count > 0) {
        TRY(buffer_text(json, ","));
        TRY(metrics_json(rows, count, metrics, json));
    }
    if (monitor->nvml != NULL) {
        TRY(buffer_text(json, ",\"gpu_name\":"));
        TRY(buffer_json_text(json, nvml_name(monitor->nvml)));
        TRY(buffer_text(json, ","));
        TRY(metrics_json(gpu_rows, gpu_count, &monitor->gpu, json));
    }
    return buffer_text(json, "}");
}

const char *monitor_stats(struct monitor *monitor, const struct metric_row *rows, size_t count,
                          const void *metrics, struct buffer *json)
{
    if (monitor == NULL)
        return metrics_object(rows, count, metrics, json);
    buffer_clear(json);
    return write_stats(monitor, rows, count, metrics, json) == STATUS_OK ? buffer_string(json)
                                                                         : "{}";
}

/* ---- HTTP ---- */

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned code, const char *type,
                               const void *bytes, size_t size)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        size, (void *)(uintptr_t)bytes, MHD_RESPMEM_MUST_COPY); /* copied: not written to */
    if (response == NULL)
        return MHD_NO;
    enum MHD_Result result = MHD_add_response_header(response, "Content-Type", type);
    if (result == MHD_YES)
        result = MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (result == MHD_YES && code == MHD_HTTP_METHOD_NOT_ALLOWED)
        result = MHD_add_response_header(response, "Allow", "GET, HEAD");
    if (result == MHD_YES)
        result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result respond_text(struct MHD_Connection *connection, unsigned code,
                                    const char *text)
{
    return respond(connection, code, "text/plain; charset=utf-8", text, strlen(text));
}

static enum MHD_Result answer_metrics(struct monitor *monitor, struct MHD_Connection *connection)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum MHD_Result result =
        monitor_text(monitor, &text) == STATUS_OK
            ? respond(connection, MHD_HTTP_OK, TEXT_TYPE, text.bytes, text.size)
            : respond_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    buffer_free(&text);
    return result;
}

static enum MHD_Result answer_live(struct monitor *monitor, struct MHD_Connection *connection)
{
    char text[SENTENCE_MAX];
    int64_t beat_ns = atomic_load_explicit(&monitor->beat_ns, memory_order_relaxed);
    int64_t silent_ns = beat_ns == 0 ? 0 : clock_now_ns() - beat_ns;
    bool live = monitor->silent_ns == 0 || silent_ns <= monitor->silent_ns;
    if (beat_ns == 0)
        snprintf(text, sizeof text, "%s starts\n", monitor->process);
    else
        snprintf(text, sizeof text, "%s: the main loop turned %.1f s ago%s\n", monitor->process,
                 (double)silent_ns / CLOCK_NS_PER_S,
                 live ? "" : ", longer than run.silent_s: it hangs, or computes without end");
    return respond_text(connection, live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result answer_ready(struct monitor *monitor, struct MHD_Connection *connection)
{
    char text[SENTENCE_MAX + 80];
    lock(monitor);
    bool ready = monitor->ready;
    snprintf(text, sizeof text, "%s%s%s\n", monitor->process,
             ready ? " is ready" : " is not ready: ", ready ? "" : monitor->why);
    unlock(monitor);
    return respond_text(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

/* A body, if any, is not read: the answer comes with the headers and the connection ends. */
static enum MHD_Result handle(void *self, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request)
{
    struct monitor *monitor = self;
    (void)version, (void)upload, (void)upload_size, (void)request;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return respond_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD\n");
    if (strcmp(url, "/metrics") == 0)
        return answer_metrics(monitor, connection);
    if (strcmp(url, "/live") == 0)
        return answer_live(monitor, connection);
    if (strcmp(url, "/ready") == 0)
        return answer_ready(monitor, connection);
    return respond_text(connection, strcmp(url, "/") == 0 ? MHD_HTTP_OK : MHD_HTTP_NOT_FOUND,
                        "a process of weir: /metrics, /live, /ready\n");
}

static void take_complaint(void *self, const char *fmt, va_list args)
{
    char text[256];
    (void)self;
    vsnprintf(text, sizeof text, fmt, args);
    LOG_DEBUG("monitor", "libmicrohttpd", "says=\"%s\"", text);
}

/* Signals are for the main thread. */
static void block_signals(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

static enum status start_http(struct monitor *monitor, const char *http)
{
    struct listener listener;
    sigset_t before;
    TRY(listen_open(&listener, strcmp(http, "auto") == 0 ? "127.0.0.1:0" : http, PORTS_TRIED));
    block_signals(&before);
    monitor->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, monitor,
        MHD_OPTION_EXTERNAL_LOGGER, take_complaint, NULL, MHD_OPTION_LISTEN_SOCKET, listener.fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (monitor->daemon == NULL) {
        close(listener.fd);
        return FAIL(STATUS_IO, "libmicrohttpd cannot start at %s", listener.address);
    }
    snprintf(monitor->address, sizeof monitor->address, "%s", listener.address);
    return STATUS_OK;
}

/* ---- GPU ---- */

static void *sample_gpu(void *self)
{
    struct monitor *monitor = self;
    struct pollfd stop = {.fd = monitor->stop_fd, .events = POLLIN};
    while (poll(&stop, 1, GPU_EVERY_MS) == 0)
        nvml_read(monitor->nvml, &monitor->gpu);
    return NULL;
}

void monitor_set_device(struct monitor *monitor, const char *device)
{
    if (monitor == NULL || monitor->sampling)
        return;
    snprintf(monitor->device, sizeof monitor->device, "%s", device);
    if (strncmp(device, "cuda", 4) != 0)
        return;
    const char *number = strchr(device, ':');
    int index = number != NULL ? (int)strtol(number + 1, NULL, 10) : 0;
    struct nvml *nvml = NULL;
    if (nvml_open(&nvml, monitor->nvml_library != NULL ? monitor->nvml_library : "", index) !=
        STATUS_OK) {
        LOG_INFO("monitor", "no figures of the GPU", "why=\"%s\"", status_last_error());
        return;
    }
    nvml_read(nvml, &monitor->gpu);
    lock(monitor);
    monitor->nvml = nvml;
    unlock(monitor);
    sigset_t before;
    block_signals(&before);
    monitor->stop_fd = eventfd(0, EFD_CLOEXEC);
    monitor->sampling =
        monitor->stop_fd >= 0 && pthread_create(&monitor->sampler, NULL, sample_gpu, monitor) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* False: the driver does not answer, and what the thread uses must stay. */
static bool stop_sampler(struct monitor *monitor)
{
    uint64_t one = 1;
    int64_t until_ns = clock_wall_ns() + GPU_STOP_MS * (int64_t)CLOCK_NS_PER_MS;
    struct timespec until = {.tv_sec = until_ns / (int64_t)CLOCK_NS_PER_S,
                             .tv_nsec = until_ns % (int64_t)CLOCK_NS_PER_S};
    if (monitor->sampling && write(monitor->stop_fd, &one, sizeof one) != (ssize_t)sizeof one)
        CHECK_NEVER("an eventfd takes one number");
    if (monitor->sampling && pthread_timedjoin_np(monitor->sampler, NULL, &until) != 0) {
        LOG_WARN("monitor", "the GPU's driver does not answer, its thread is left behind",
                 "waited_ms=%d", GPU_STOP_MS);
        pthread_detach(monitor->sampler);
        return false;
    }
    monitor->sampling = false;
    if (monitor->stop_fd >= 0)
        close(monitor->stop_fd);
    return true;
}

/* ---- life ---- */

static enum status make_labels(struct monitor *monitor, const char *run)
{
    TRY(metrics_label(&monitor->labels, "run", run));
    TRY(metrics_label(&monitor->labels, "process", monitor->process));
    TRY(metrics_label(&monitor->labels, "role", monitor->role));
    (void)buffer_string(&monitor->labels);
    return STATUS_OK;
}

/* Where the run folder says this process is. */
static void publish(struct monitor *monitor, const char *run_folder)
{
    char folder[FILE_PATH_MAX], line[MONITOR_ADDRESS_MAX + 2];
    if (run_folder == NULL || run_folder[0] == 0 || monitor->address[0] == 0)
        return;
    snprintf(line, sizeof line, "%s\n", monitor->address);
    enum status status = file_path(folder, "%s/http", run_folder);
    if (status == STATUS_OK)
        status = file_make_dirs(folder);
    if (status == STATUS_OK)
        status = file_path(monitor->published, "%s/%s", folder, monitor->process);
    if (status == STATUS_OK)
        status = file_replace(monitor->published, line, strlen(line));
    if (status != STATUS_OK) {
        LOG_WARN("monitor", "its address is not published", "why=\"%s\"", status_last_error());
        monitor->published[0] = 0;
    }
}

static enum status open_all(struct monitor *monitor, const struct monitor_options *options)
{
    char host[LISTEN_NAME_MAX];
    uint32_t port;
    TRY(make_labels(monitor, options->run != NULL ? options->run : ""));
    if (options->http[0] == 0)
        return STATUS_OK;
    if (strcmp(options->http, "auto") != 0)
        TRY(listen_split(options->http, host, &port));
    if (start_http(monitor, options->http) != STATUS_OK) {
        LOG_WARN("monitor", "no /metrics, /live and /ready", "why=\"%s\"", status_last_error());
        return STATUS_OK;
    }
    publish(monitor, options->run_folder);
    LOG_INFO("monitor", "listening", "address=%s", monitor->address);
    return STATUS_OK;
}

enum status monitor_open(struct monitor **out, const struct monitor_options *options)
{
    *out = NULL;
    struct monitor *monitor = memory_alloc(sizeof *monitor);
    if (monitor == NULL)
        return FAIL(STATUS_NO_MEMORY, "monitor");
    monitor->silent_ns = options->silent_ms * CLOCK_NS_PER_MS;
    monitor->nvml_library = options->nvml;
    snprintf(monitor->role, sizeof monitor->role, "%s", options->role);
    if (options->name != NULL)
        snprintf(monitor->process, sizeof monitor->process, "%s.%s", options->role, options->name);
    else
        snprintf(monitor->process, sizeof monitor->process, "%s.%u", options->role, options->index);
    snprintf(monitor->why, sizeof monitor->why, "it starts");
    snprintf(monitor->device, sizeof monitor->device, "cpu");
    if (gethostname(monitor->host, sizeof monitor->host - 1) != 0)
        snprintf(monitor->host, sizeof monitor->host, "localhost");
    buffer_init(&monitor->labels, 0);
    for (size_t i = 0; i < MONITOR_TEXTS_MAX; i++)
        buffer_init(&monitor->texts[i], TEXT_MAX);
    CHECK(pthread_mutex_init(&monitor->lock, NULL) == 0);
    monitor->stop_fd = -1;
    enum status status = open_all(monitor, options);
    if (status != STATUS_OK)
        monitor_close(&monitor);
    *out = monitor;
    return status;
}

enum status monitor_open_program(struct monitor **monitor, const struct program *program)
{
    struct monitor_options options = {.http = program->settings.metrics.http,
                                      .run = program->run,
                                      .role = program->role,
                                      .index = program->index,
                                      .run_folder = program->run_folder,
                                      .silent_ms = (int64_t)program->settings.run.silent_s * 1000};
    return monitor_open(monitor, &options);
}

void monitor_close(struct monitor **pointer)
{
    struct monitor *monitor = *pointer;
    if (monitor == NULL)
        return;
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    if (monitor->daemon != NULL)
        MHD_stop_daemon(monitor->daemon);
    if (monitor->published[0] != 0)
        unlink(monitor->published);
    *pointer = NULL;
    if (!stop_sampler(monitor)) {
        status_restore(kept);
        return;
    }
    nvml_close(&monitor->nvml);
    for (size_t i = 0; i < MONITOR_TEXTS_MAX; i++)
        buffer_free(&monitor->texts[i]);
    buffer_free(&monitor->labels);
    pthread_mutex_destroy(&monitor->lock);
    memory_free(monitor);
    status_restore(kept);
}
