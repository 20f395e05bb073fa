#include "ops/fleet_monitor.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "transport/listen.h"

enum {
    EVERY_MS = 1000,
    LISTENING_MS = 20,
    LOOK_MS = 10000,
    TARGETS_MAX = 4096,
    NAME_MAX_BYTES = 64
};

static const struct metric_row supervisor_rows[] = {
#define ROW(...) METRIC_ROW(struct supervisor_metrics, __VA_ARGS__)
    SUPERVISOR_METRICS(ROW)
#undef ROW
};

const struct metric_row *supervisor_metrics_table(size_t *count)
{
    *count = sizeof supervisor_rows / sizeof supervisor_rows[0];
    return supervisor_rows;
}

/* ---- targets.json ---- */

struct target {
    char process[NAME_MAX_BYTES];
};

static int by_process(const void *a, const void *b)
{
    return strcmp(((const struct target *)a)->process, ((const struct target *)b)->process);
}

static const struct process *find_process(const struct fleet *fleet, const char *name)
{
    for (size_t i = 0; i < fleet->count; i++)
        if (strcmp(fleet->processes[i].name, name) == 0)
            return &fleet->processes[i];
    return NULL;
}

/* Published, and not by one of ours that is gone. */
static size_t list_targets(const struct fleet_monitor *view, struct target targets[TARGETS_MAX])
{
    char path[FILE_PATH_MAX];
    size_t count = 0;
    DIR *dir = file_path(path, "%s/http", view->folder) == STATUS_OK ? opendir(path) : NULL;
    if (dir == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && count < TARGETS_MAX;) {
        const struct process *process = find_process(view->fleet, entry->d_name);
        bool plain = entry->d_name[0] != '.' && strlen(entry->d_name) < NAME_MAX_BYTES &&
                     strstr(entry->d_name, ".tmp") == NULL;
        if (!plain || (process != NULL && process->pid == 0))
            continue;
        snprintf(targets[count++].process, NAME_MAX_BYTES, "%.*s", NAME_MAX_BYTES - 1,
                 entry->d_name);
    }
    closedir(dir);
    qsort(targets, count, sizeof *targets, by_process);
    return count;
}

static bool is_loopback(const struct buffer *address)
{
    const char *text = (const char *)address->bytes;
    return (address->size > 4 && strncmp(text, "127.", 4) == 0) ||
           (address->size > 5 && strncmp(text, "[::1]", 5) == 0) ||
           (address->size > 10 && strncmp(text, "localhost:", 10) == 0);
}

/* Somebody listens at this port of 127.0.0.1, or does not say that nobody does. */
static bool is_listening(uint32_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    socklen_t size = sizeof error;
    if (fd < 0)
        return true;
    if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address) != 0)
        error = errno;
    struct pollfd answer = {.fd = fd, .events = POLLOUT};
    if (error == EINPROGRESS && poll(&answer, 1, LISTENING_MS) > 0)
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    close(fd);
    return error != ECONNREFUSED;
}

/* A worker of another machine that shares the folder (weir node) and is reachable there alone: here it would look dead.
 * One of `weir up` on this machine listens here. */
static bool is_out_of_reach(const struct fleet_monitor *view, const char *process,
                            struct buffer *address)
{
    char host[LISTEN_NAME_MAX];
    uint32_t port = 0;
    return find_process(view->fleet, process) == NULL && strcmp(process, "supervisor.0") != 0 &&
           is_loopback(address) && listen_split(buffer_string(address), host, &port) == STATUS_OK &&
           !is_listening(port);
}

static enum status write_target(const struct fleet_monitor *view, const char *process,
                                struct buffer *json)
{
    char path[FILE_PATH_MAX], role[NAME_MAX_BYTES];
    struct buffer address;
    buffer_init(&address, MONITOR_ADDRESS_MAX);
    enum status status = file_path(path, "%s/http/%s", view->folder, process);
    if (status == STATUS_OK)
        status = file_read(path, &address);
    while (address.size > 0 && address.bytes[address.size - 1] == '\n')
        address.size--;
    if (status != STATUS_OK || address.size == 0 || is_out_of_reach(view, process, &address))
        goto out; /* it left just now, or is another machine's */
    snprintf(role, sizeof role, "%.*s", (int)strcspn(process, "."), process);
    TRY_GOTO(out, buffer_text(json, json->size > 1 ? ",\n {\"targets\":[" : "\n {\"targets\":["));
    TRY_GOTO(out, buffer_json_text(json, buffer_string(&address)));
    TRY_GOTO(out, buffer_text(json, "],\"labels\":{\"run\":"));
    TRY_GOTO(out, buffer_json_text(json, view->fleet->folder->name));
    TRY_GOTO(out, buffer_text(json, ",\"process\":"));
    TRY_GOTO(out, buffer_json_text(json, process));
    TRY_GOTO(out, buffer_text(json, ",\"role\":"));
    TRY_GOTO(out, buffer_json_text(json, role));
    TRY_GOTO(out, buffer_text(json, "}}"));
out:
    buffer_free(&address);
    return status == STATUS_NOT_FOUND || status == STATUS_LIMIT ? STATUS_OK : status;
}

static enum status replace_targets(struct fleet_monitor *view, struct buffer *json)
{
    char path[FILE_PATH_MAX];
    if (json->size == view->targets.size &&
        memcmp(json->bytes, view->targets.bytes, json->size) == 0)
        return STATUS_OK;
    TRY(file_path(path, "%s/targets.json", view->folder));
    TRY(file_replace(path, json->bytes, json->size));
    TRY(file_path(path, "%s.targets.json", view->folder));
    TRY(file_replace(path, json->bytes, json->size));
    struct buffer last = view->targets;
    view->targets = *json;
    *json = last;
    return STATUS_OK;
}

/* nobody: the run is over. */
static enum status write_targets(struct fleet_monitor *view, bool nobody)
{
    static struct target targets[TARGETS_MAX]; /* one thread */
    struct buffer json;
    buffer_init(&json, 0);
    size_t count = nobody ? 0 : list_targets(view, targets);
    enum status status = buffer_text(&json, "[");
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = write_target(view, targets[i].process, &json);
    if (status == STATUS_OK)
        status = buffer_text(&json, "]\n");
    if (status == STATUS_OK)
        status = replace_targets(view, &json);
    buffer_free(&json);
    return status;
}

/* ---- figures ---- */

static enum status write_processes(const struct fleet_monitor *view, struct buffer *text)
{
    const struct fleet *fleet = view->fleet;
    struct buffer more;
    enum status status = STATUS_OK;
    buffer_init(&more, 0);
    for (int up = 1; up >= 0; up--) {
        const char *name = up ? "weir_supervisor_child_up" : "weir_supervisor_child_restarts_total";
        TRY_GOTO(out,
                 metrics_family(text, name, up ? "gauge" : "counter", "",
                                up ? "1: this process of the run runs; 0: it shall and does not."
                                   : "How often this process was started again."));
        for (size_t i = 0; i < fleet->count; i++) {
            const struct process *process = &fleet->processes[i];
            if (up && process->pid == 0 && process->place != PLACE_WANTED)
                continue; /* it left, as it was asked to */
            buffer_clear(&more);
            TRY_GOTO(out, metrics_label(&more, "child", process->name));
            double value = up ? process->pid > 0 : process->starts > 0 ? process->starts - 1.0 : 0;
            TRY_GOTO(out, metrics_sample(text, name, monitor_labels(view->monitor),
                                         buffer_string(&more), value));
        }
    }
out:
    buffer_free(&more);
    return status;
}

static void measure(struct fleet_monitor *view, const struct supervisor *supervisor)
{
    struct supervisor_metrics *metrics = &view->metrics;
    double running = 0, actors = 0, rewards = 0;
    struct statvfs disk;
    for (size_t i = 0; i < view->fleet->count; i++) {
        const struct process *process = &view->fleet->processes[i];
        bool wanted = process->place == PLACE_WANTED || process->again;
        const char *scaled = fleet_scaled_name(process);
        running += process->pid > 0;
        if (wanted && scaled != NULL)
            *(strcmp(scaled, "actors") == 0 ? &actors : &rewards) += 1;
    }
    metric_set(&metrics->processes, running);
    metric_set(&metrics->restarts, supervisor->restarts);
    metric_set(&metrics->actors_wanted, actors);
    metric_set(&metrics->rewards_wanted, rewards);
    metric_set(&metrics->ending, supervisor->phase != PHASE_RUNNING);
    if (statvfs(view->folder, &disk) == 0) {
        metric_set(&metrics->disk_free, (double)disk.f_bavail * (double)disk.f_frsize);
        metric_set(&metrics->disk_size, (double)disk.f_blocks * (double)disk.f_frsize);
    }
}

/* The folder's time tells that somebody published or left; a count, that one of ours is gone. */
static bool wants_targets(struct fleet_monitor *view, int64_t now_ns)
{
    char path[FILE_PATH_MAX];
    struct stat info = {0};
    if (file_path(path, "%s/http", view->folder) != STATUS_OK || stat(path, &info) != 0)
        info.st_mtim = (struct timespec){0};
    size_t running = 0;
    for (size_t i = 0; i < view->fleet->count; i++)
        running += view->fleet->processes[i].pid > 0;
    bool same = info.st_mtim.tv_sec == view->looked.tv_sec &&
                info.st_mtim.tv_nsec == view->looked.tv_nsec && running == view->looked_running;
    if (same && !view->failed && now_ns < view->look_ns)
        return false;
    view->looked = info.st_mtim;
    view->looked_running = running;
    view->look_ns = clock_after_ms(now_ns, LOOK_MS);
    return true;
}

void fleet_monitor_tick(struct fleet_monitor *view, const struct supervisor *supervisor,
                        int64_t now_ns)
{
    struct buffer text;
    monitor_beat(view->monitor);
    if (view->fleet == NULL || view->monitor == NULL || now_ns < view->next_ns)
        return;
    view->next_ns = clock_after_ms(now_ns, EVERY_MS);
    measure(view, supervisor);
    buffer_init(&text, 0);
    if (write_processes(view, &text) == STATUS_OK)
        monitor_put(view->monitor, 0, buffer_string(&text));
    buffer_free(&text);
    if (!view->lists || !wants_targets(view, now_ns))
        return;
    enum status status = write_targets(view, false);
    if (status != STATUS_OK && !view->failed)
        LOG_WARN("supervisor", "targets.json is not written", "why=\"%s\"", status_last_error());
    view->failed = status != STATUS_OK;
}

/* ---- life ---- */

/* What earlier attempts here left. Workers of other machines may have outlived them, and publish only once. */
static enum status remove_published(const struct fleet_monitor *view, const char *folder)
{
    char path[FILE_PATH_MAX];
    enum status status = STATUS_OK;
    DIR *dir = opendir(folder);
    for (struct dirent *entry;
         dir != NULL && status == STATUS_OK && (entry = readdir(dir)) != NULL;) {
        struct buffer address;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        buffer_init(&address, MONITOR_ADDRESS_MAX);
        status = file_path(path, "%s/%s", folder, entry->d_name);
        bool others = status == STATUS_OK && find_process(view->fleet, entry->d_name) == NULL &&
                      strcmp(entry->d_name, "supervisor.0") != 0 &&
                      file_read(path, &address) == STATUS_OK && !is_loopback(&address);
        if (status == STATUS_OK && !others)
            status = file_remove_tree(path);
        buffer_free(&address);
    }
    if (dir != NULL)
        closedir(dir);
    return status;
}

static enum status make_room(struct fleet_monitor *view)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(view->folder, "%s", fleet_run_path(view->fleet)));
    TRY(file_path(path, "%s/http", view->folder));
    return view->lists ? remove_published(view, path) : STATUS_OK;
}

void fleet_monitor_open(struct fleet_monitor *view, const struct fleet *fleet, const char *node)
{
    size_t count;
    *view = (struct fleet_monitor){.fleet = fleet, .lists = node == NULL};
    buffer_init(&view->targets, 0);
    const struct metric_row *rows = supervisor_metrics_table(&count);
    struct monitor_options options = {.http = fleet->settings->metrics.http,
                                      .run = fleet->folder->name,
                                      .role = node != NULL ? "node" : "supervisor",
                                      .name = node,
                                      .run_folder = view->folder,
                                      .silent_ms = (int64_t)fleet->settings->run.silent_s * 1000};
    enum status status = make_room(view);
    if (status == STATUS_OK)
        status = monitor_open(&view->monitor, &options);
    if (status != STATUS_OK)
        LOG_WARN("supervisor", "it is not monitored", "why=\"%s\"", status_last_error());
    monitor_add(view->monitor, rows, count, &view->metrics);
    monitor_set_ready(view->monitor, node == NULL, "its workers start");
}

void fleet_monitor_joined(struct fleet_monitor *view, unsigned joined)
{
    char why[80];
    size_t count = view->fleet != NULL ? view->fleet->count : 0;
    snprintf(why, sizeof why, "%u of %zu workers take part", joined, count);
    monitor_set_ready(view->monitor, joined == count, why);
}

void fleet_monitor_close(struct fleet_monitor *view)
{
    bool listed = view->fleet != NULL && view->lists;
    if (listed && view->monitor != NULL && write_targets(view, true) != STATUS_OK)
        LOG_WARN("supervisor", "targets.json is not emptied", "why=\"%s\"", status_last_error());
    char beside[FILE_PATH_MAX];
    if (listed && file_path(beside, "%s.targets.json", view->folder) == STATUS_OK)
        unlink(beside); /* nobody wrote it: fine */
    monitor_close(&view->monitor);
    buffer_free(&view->targets);
    view->fleet = NULL;
}
