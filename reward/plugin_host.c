#include "reward/plugin_host.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/queue.h"
#include "core/wait.h"

struct plugin_host {
    const weir_reward_plugin *plugin;
    void *handle;
    void *instance;
    char name[2 * WIRE_NAME_MAX];
    uint64_t file_hash;
    double clip_low, clip_high;
    int64_t timeout_ns;
    struct queue *jobs, *results;
    pthread_t thread;
    bool started;

    /* Guards `running`, `answered`, `late` of jobs between plugin threads and the worker (LOCK_PLUGIN_HOST). */
    pthread_mutex_t mutex;
    struct plugin_job *running; /* in submit now */
    int64_t running_since_ns;
    bool stuck;
    uint64_t late;
};

/* ---- load ---- */

static enum status plugin_path(const char *name, char path[FILE_PATH_MAX])
{
    size_t length = strlen(name);
    if (strchr(name, '/') != NULL || (length > 3 && strcmp(name + length - 3, ".so") == 0))
        return file_path(path, "%s", name);
    char self[FILE_PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size < 0)
        return FAIL(STATUS_IO, "/proc/self/exe: %s", strerror(errno));
    self[size] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    return file_path(path, "%s/plugins/%s.so", self, name);
}

/* A private copy: dlopen of the memory file. */
static enum status open_copy(struct plugin_host *host, const char *path)
{
    struct buffer bytes;
    buffer_init(&bytes, (size_t)1 << 30);
    enum status status = file_read(path, &bytes);
    int fd = status == STATUS_OK ? memfd_create("weir-plugin", MFD_CLOEXEC) : -1;
    if (status == STATUS_OK && fd < 0)
        status = FAIL(STATUS_IO, "memfd_create: %s", strerror(errno));
    if (status == STATUS_OK)
        status = file_write_all(fd, bytes.bytes, bytes.size, path);
    if (status == STATUS_OK) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        host->file_hash = hash64(bytes.bytes, bytes.size, 0);
        host->handle = dlopen(link, RTLD_NOW | RTLD_LOCAL);
        if (host->handle == NULL)
            status = FAIL(STATUS_INVALID, "reward plugin %s: %s", path, dlerror());
    }
    if (fd >= 0)
        close(fd);
    buffer_free(&bytes);
    return status;
}

static enum status check_abi(struct plugin_host *host, const char *path)
{
    const weir_reward_plugin *(*query)(uint32_t, uint32_t) = NULL;
    void *symbol = dlsym(host->handle, "weir_reward_query");
    memcpy(&query, &symbol, sizeof query);
    if (query == NULL)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s has no symbol weir_reward_query; see reward/weir_reward.h",
                    path);
    const weir_reward_plugin *plugin = query(WEIR_REWARD_ABI_MAJOR, WEIR_REWARD_ABI_MINOR);
    if (plugin == NULL)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s does not serve ABI %d.%d of this weir; build it against this "
                    "reward/weir_reward.h",
                    path, WEIR_REWARD_ABI_MAJOR, WEIR_REWARD_ABI_MINOR);
    if (plugin->abi_major != WEIR_REWARD_ABI_MAJOR)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s has ABI %u.%u, this weir has %d.%d; build it against this "
                    "reward/weir_reward.h",
                    path, plugin->abi_major, plugin->abi_minor, WEIR_REWARD_ABI_MAJOR,
                    WEIR_REWARD_ABI_MINOR);
    if (plugin->struct_size < sizeof *plugin || plugin->create == NULL || plugin->submit == NULL ||
        plugin->destroy == NULL || plugin->name == NULL || plugin->version == NULL)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s: struct of %u bytes (%zu wanted), or create, submit, "
                    "destroy, name or version missing",
                    path, plugin->struct_size, sizeof *plugin);
    host->plugin = plugin;
    snprintf(host->name, sizeof host->name, "%s %s", plugin->name, plugin->version);
    return STATUS_OK;
}

__attribute__((format(printf, 2, 3))) static void plugin_log(int level, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    LOG_AT(level <= 0   ? LOG_LEVEL_DEBUG
           : level == 1 ? LOG_LEVEL_INFO
           : level == 2 ? LOG_LEVEL_WARN
                        : LOG_LEVEL_ERROR,
           "plugin", text, "%s", "");
}

/* ---- answers ---- */

static struct score failure(const struct plugin_job *job, enum score_status status)
{
    struct score score = job->score;
    score.status = status;
    score.value = 0;
    return score;
}

static enum score_status status_of(int32_t status)
{
    switch (status) {
    case WEIR_REWARD_OK:
        return SCORE_OK;
    case WEIR_REWARD_SKIP:
        return SCORE_SKIP;
    case WEIR_REWARD_TIMEOUT:
        return SCORE_TIMEOUT;
    case WEIR_REWARD_UNSCORABLE:
        return SCORE_UNSCORABLE;
    default:
        return SCORE_ERROR;
    }
}

/* Names are plugin bytes without a NUL; a longer one than 63 bytes is cut. */
static enum status metric_name(struct buffer *json, weir_reward_str name)
{
    char text[64];
    size_t size = name.len < sizeof text - 1 ? name.len : sizeof text - 1;
    memcpy(text, name.ptr, size);
    text[size] = '\0';
    return buffer_json_text(json, text);
}

/* {"name":value,...,"detail":{...}}; NULL when there is nothing to tell or no memory for it. */
static char *detail_of(const weir_reward_result *result)
{
    struct buffer json;
    buffer_init(&json, 1 << 20);
    enum status status = buffer_text(&json, "{");
    for (uint32_t i = 0; status == STATUS_OK && i < result->n_metrics; i++) {
        const weir_reward_metric *metric = &result->metrics[i];
        status = buffer_text(&json, i > 0 ? "," : "");
        if (status == STATUS_OK)
            status = metric_name(&json, metric->name);
        if (status == STATUS_OK)
            status = isfinite(metric->value) ? buffer_printf(&json, ":%.9g", metric->value)
                                             : buffer_text(&json, ":null");
    }
    if (status == STATUS_OK)
        status = buffer_text(&json, "}");
    char *text =
        status == STATUS_OK && result->n_metrics > 0 ? memory_text(buffer_string(&json)) : NULL;
    buffer_free(&json);
    return text;
}

/* Called by the plugin, on any thread. Late answers (the worker gave up) are counted and dropped. */
static void take_results(void *user, const weir_reward_result *results, uint32_t n)
{
    struct plugin_host *host = user;
    for (uint32_t i = 0; i < n; i++) {
        const weir_reward_result *result = &results[i];
        struct plugin_job *job = (struct plugin_job *)(uintptr_t)result->item_id;
        pthread_mutex_lock(&host->mutex);
        bool wanted = job != NULL && !job->answered && !job->late;
        if (wanted)
            job->answered = true;
        else
            host->late++;
        pthread_mutex_unlock(&host->mutex);
        if (!wanted)
            continue;
        job->score.status = status_of(result->status);
        job->score.value = result->status == WEIR_REWARD_OK ? result->score : 0;
        job->detail = detail_of(result);
        bool in_range = isfinite(result->score) && result->score >= host->clip_low &&
                        result->score <= host->clip_high;
        if (result->status == WEIR_REWARD_OK && !in_range) {
            LOG_WARN("plugin", "score out of range", "score=%g low=%g high=%g", result->score,
                     host->clip_low, host->clip_high);
            job->score = failure(job, SCORE_ERROR);
        }
        if (queue_push(host->results, job) != STATUS_OK)
            LOG_ERROR("plugin", "lost a result", "why=\"%s\"", status_last_error());
    }
}

static void *plugin_thread(void *self)
{
    struct plugin_host *host = self;
    void *item = NULL;
    while (queue_pop(host->jobs, WAIT_FOREVER, &item) == STATUS_OK) {
        struct plugin_job *job = item;
        pthread_mutex_lock(&host->mutex);
        host->running = job;
        host->running_since_ns = clock_now_ns();
        pthread_mutex_unlock(&host->mutex);
        job->item.item_id = (uint64_t)(uintptr_t)job;
        job->item.deadline_ns = clock_now_ns() + host->timeout_ns;
        int code = host->plugin->submit(host->instance, &job->item, 1, take_results, host);
        pthread_mutex_lock(&host->mutex);
        host->running = NULL;
        bool unanswered = code != 0 && !job->answered && !job->late;
        if (unanswered)
            job->answered = true;
        pthread_mutex_unlock(&host->mutex);
        if (unanswered) {
            job->score = failure(job, SCORE_ERROR);
            if (queue_push(host->results, job) != STATUS_OK)
                LOG_ERROR("plugin", "lost a result", "why=\"%s\"", status_last_error());
        }
    }
    return NULL;
}

/* ---- public ---- */

enum status plugin_host_open(struct plugin_host **out, const struct reward_settings *settings)
{
    *out = NULL;
    struct plugin_host *host = memory_alloc(sizeof *host);
    if (host == NULL)
        return FAIL(STATUS_NO_MEMORY, "plugin host");
    host->clip_low = settings->clip_low;
    host->clip_high = settings->clip_high;
    host->timeout_ns = (int64_t)settings->timeout_ms * CLOCK_NS_PER_MS;
    pthread_mutex_init(&host->mutex, NULL);
    static const weir_reward_host services = {.struct_size = sizeof services, .log = plugin_log};
    char path[FILE_PATH_MAX], error[512] = "";
    enum status status;
    TRY_GOTO(fail, plugin_path(settings->plugin, path));
    TRY_GOTO(fail, open_copy(host, path));
    TRY_GOTO(fail, check_abi(host, path));
    if (host->plugin->create(settings->config, &services, &host->instance, error, sizeof error) !=
        0) {
        host->plugin = NULL;
        status = FAIL(STATUS_INVALID, "reward plugin %s refused reward.config %s: %s", path,
                      settings->config, error);
        goto fail;
    }
    /* results hold every job that can be out at once, so that a push from the plugin never fails */
    TRY_GOTO(fail, queue_create(&host->jobs, "plugin jobs", settings->queue));
    TRY_GOTO(fail, queue_create(&host->results, "plugin results", settings->queue * 2 + 2));
    if (pthread_create(&host->thread, NULL, plugin_thread, host) != 0) {
        status = FAIL(STATUS_NO_MEMORY, "plugin thread");
        goto fail;
    }
    host->started = true;
    *out = host;
    return STATUS_OK;
fail:
    plugin_host_close(&host);
    return status;
}

void plugin_host_close(struct plugin_host **pointer)
{
    struct plugin_host *host = *pointer;
    if (host == NULL)
        return;
    if (host->started) {
        queue_close(host->jobs);
        pthread_join(host->thread, NULL);
    }
    if (host->plugin != NULL)
        host->plugin->destroy(host->instance);
    queue_destroy(&host->jobs);
    queue_destroy(&host->results);
    if (host->handle != NULL)
        dlclose(host->handle);
    pthread_mutex_destroy(&host->mutex);
    memory_free(host);
    *pointer = NULL;
}

enum status plugin_host_submit(struct plugin_host *host, struct plugin_job *job)
{
    job->submitted_ns = clock_now_ns();
    return queue_push(host->jobs, job);
}

struct plugin_job *plugin_host_take(struct plugin_host *host, int64_t now_ns)
{
    void *item = NULL;
    if (queue_pop(host->results, 0, &item) == STATUS_OK)
        return item;
    struct plugin_job *expired = NULL;
    pthread_mutex_lock(&host->mutex);
    struct plugin_job *job = host->running;
    if (job != NULL && !job->answered && !job->late &&
        now_ns - host->running_since_ns > host->timeout_ns) {
        job->late = host->stuck = true;
        expired = job;
    }
    pthread_mutex_unlock(&host->mutex);
    if (expired != NULL)
        expired->score = failure(expired, SCORE_TIMEOUT);
    return expired;
}

uint64_t plugin_host_caps(const struct plugin_host *host)
{
    return host->plugin->caps;
}

uint64_t plugin_host_file_hash(const struct plugin_host *host)
{
    return host->file_hash;
}

const char *plugin_host_name(const struct plugin_host *host)
{
    return host->name;
}

int plugin_host_fd(const struct plugin_host *host)
{
    return queue_fd(host->results);
}

bool plugin_host_stuck(const struct plugin_host *host)
{
    return host->stuck;
}

uint64_t plugin_host_late(const struct plugin_host *host)
{
    return host->late;
}
