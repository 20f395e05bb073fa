#include "reward/worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/trace.h"
#include "reward/desk.h"
#include "reward/job.h"
#include "reward/plugin_host.h"
#include "reward/plugin_services.h"
#include "reward/reward_metrics.h"
#include "text/tokenizer.h"
#include "transport/link.h"
#include "transport/monitor.h"
#include "transport/redis_view.h"
#include "transport/span_view.h"

enum { PLUGINS_COUNTED = 8 };

static const struct metric_row reward_metric_rows[] = {
#define ROW(...) METRIC_ROW(struct reward_metrics, __VA_ARGS__)
    REWARD_METRICS(ROW)
#undef ROW
};

const struct metric_row *reward_metrics_table(size_t *count)
{
    *count = sizeof reward_metric_rows / sizeof reward_metric_rows[0];
    return reward_metric_rows;
}

struct plugin_tally {
    char plugin[128];
    uint64_t scores[SCORE_STATUS_COUNT];
};

struct reward_worker {
    const struct settings *settings;
    struct reward_metrics metrics;
    char run[WIRE_NAME_MAX];
    uint32_t index;
    struct plugin_host *host;
    struct tokenizer *tokenizer;
    struct link *link;
    struct arena *arena; /* of the message in hand */
    struct redis_view *redis;
    struct monitor *monitor; /* borrowed */
    struct reward_desk desk;
    int64_t report_ns;
    struct plugin_tally tallies[PLUGINS_COUNTED];
    size_t tally_count;
    bool tallies_changed;
    bool told;       /* as the monitor was told */
    const char *why; /* it is not ready; NULL: it is */
    struct trace_chunk work;
};

/* ---- results: plugin to store ---- */

/* Counts for the plugin of the moment; a reload may bring another one. The last place takes all further ones. */
static void count_for_plugin(struct reward_worker *worker, enum score_status status)
{
    const char *name = plugin_host_name(worker->host);
    size_t at = 0;
    size_t most = sizeof worker->tallies[0].plugin - 1;
    while (at < worker->tally_count && strncmp(worker->tallies[at].plugin, name, most) != 0)
        at++;
    if (at == worker->tally_count && at < PLUGINS_COUNTED)
        snprintf(worker->tallies[worker->tally_count++].plugin, sizeof worker->tallies[0].plugin,
                 "%s", name);
    worker->tallies[at < PLUGINS_COUNTED ? at : PLUGINS_COUNTED - 1].scores[status]++;
    worker->tallies_changed = true;
}

static enum status write_tallies(const struct reward_worker *worker, struct buffer *text)
{
    static const char *const names[SCORE_STATUS_COUNT] = {"ok",    "fail", "timeout",
                                                          "error", "skip", "unscorable"};
    struct buffer more;
    enum status status;
    buffer_init(&more, 0);
    TRY(metrics_family(text, "weir_reward_plugin_items_total", "counter", "",
                       "Items by plugin and by how they ended."));
    for (size_t i = 0; i < worker->tally_count; i++)
        for (int s = 0; s < SCORE_STATUS_COUNT; s++) {
            buffer_clear(&more);
            TRY_GOTO(out, metrics_label(&more, "plugin", worker->tallies[i].plugin));
            TRY_GOTO(out, metrics_label(&more, "status", names[s]));
            TRY_GOTO(out, metrics_sample(text, "weir_reward_plugin_items_total",
                                         monitor_labels(worker->monitor), buffer_string(&more),
                                         (double)worker->tallies[i].scores[s]));
        }
    status = STATUS_OK;
out:
    buffer_free(&more);
    return status;
}

static void show_tallies(struct reward_worker *worker)
{
    struct buffer text;
    if (worker->monitor == NULL || !worker->tallies_changed)
        return;
    worker->tallies_changed = false;
    buffer_init(&text, 0);
    if (write_tallies(worker, &text) == STATUS_OK)
        monitor_put(worker->monitor, 0, buffer_string(&text));
    buffer_free(&text);
}

static void count_result(struct reward_worker *worker, const struct plugin_job *job)
{
    struct reward_metrics *metrics = &worker->metrics;
    enum score_status status = job->score.status;
    metric_add(status == SCORE_OK || status == SCORE_FAIL ? &metrics->scored
               : status == SCORE_TIMEOUT                  ? &metrics->timeouts
               : status == SCORE_ERROR                    ? &metrics->errors
                                                          : &metrics->skipped,
               1);
    int64_t spent_ns = clock_now_ns() - job->submitted_ns;
    metric_set(&metrics->latency_ms, (double)spent_ns / CLOCK_NS_PER_MS);
    metric_observe_ns(&metrics->score_s, spent_ns);
    count_for_plugin(worker, status);
    metric_set(&metrics->late, (double)plugin_host_late(worker->host));
}

static enum status collect_results(struct reward_worker *worker)
{
    struct plugin_job *job;
    while (reward_desk_collects(&worker->desk) &&
           (job = plugin_host_take(worker->host, clock_now_ns())) != NULL) {
        if (job->unwanted) {
            if (!job->held)
                reward_job_drop(job);
            continue;
        }
        FAULT("reward.scored");
        count_result(worker, job);
        char *detail = job->detail;
        job->detail = NULL; /* the desk's now */
        enum status status = reward_desk_add(&worker->desk, &job->score, detail);
        if (!job->held)
            reward_job_drop(job);
        TRY(status);
    }
    metric_set(&worker->metrics.waiting, worker->desk.working);
    return STATUS_OK;
}

/* ---- messages ---- */

static enum status take_item(void *self, const struct score_item *item)
{
    struct reward_worker *worker = self;
    struct plugin_job *job = NULL;
    enum status status =
        reward_job_create(&job, worker->tokenizer, plugin_host_caps(worker->host), item);
    if (status == STATUS_OK)
        status = plugin_host_submit(worker->host, job);
    if (status != STATUS_OK && job != NULL)
        reward_job_drop(job);
    return status;
}

static enum status take_message(struct reward_worker *worker, const struct message *message)
{
    if (message->type == MESSAGE_score_work)
        FAULT("reward.took");
    return reward_desk_hear(&worker->desk, message, take_item, worker);
}

static enum status send_message(void *self, const struct message *message)
{
    struct reward_worker *worker = self;
    TRY(link_send(worker->link, message));
    if (message->type == MESSAGE_score_result)
        FAULT("reward.sent");
    return STATUS_OK;
}

/* What the plugin of the moment reads. */
static uint32_t wanted_caps(const struct reward_worker *worker)
{
    uint64_t caps = plugin_host_caps(worker->host);
    return ((caps & WEIR_REWARD_CAP_GROUP) != 0 ? SCORE_CAP_GROUP : 0U) |
           ((caps & WEIR_REWARD_CAP_NEEDS_LOGPROBS) != 0 ? SCORE_CAP_LOGPROBS : 0U);
}

static enum status check_queue(const struct reward_worker *worker)
{
    const struct settings *settings = worker->settings;
    bool groups = (wanted_caps(worker) & SCORE_CAP_GROUP) != 0;
    return !groups || settings->reward.queue >= settings->store.group_size
               ? STATUS_OK
               : FAIL(STATUS_INVALID,
                      "reward.queue=%u is below store.group_size=%u, but plugin \"%s\" reads whole "
                      "groups; raise reward.queue",
                      settings->reward.queue, settings->store.group_size,
                      plugin_host_name(worker->host));
}

static enum status say(struct reward_worker *worker)
{
    reward_desk_wants(&worker->desk, wanted_caps(worker));
    return link_welcomed(worker->link)
               ? reward_desk_say(&worker->desk, link_reconnects(worker->link), send_message, worker)
               : STATUS_OK;
}

static const char *stats_json(struct reward_worker *worker)
{
    static struct buffer json; /* one worker a process; valid until the next call */
    metric_set(&worker->metrics.redis_dropped, (double)redis_view_dropped(worker->redis));
    return monitor_stats(worker->monitor, reward_metric_rows,
                         sizeof reward_metric_rows / sizeof reward_metric_rows[0], &worker->metrics,
                         &json);
}

static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    heartbeat->stats_json = stats_json(self);
}

static void report(struct reward_worker *worker)
{
    int64_t now_ns = clock_now_ns();
    if (worker->redis == NULL ||
        now_ns - worker->report_ns < (int64_t)worker->settings->redis.publish_ms * CLOCK_NS_PER_MS)
        return;
    worker->report_ns = now_ns;
    char key[64];
    snprintf(key, sizeof key, "proc:reward:%u", worker->index);
    redis_view_hash(worker->redis, key, stats_json(worker),
                    redis_process_expire_s(&worker->settings->redis));
}

/* Ready: the plugin is loaded (else there is no worker), it is not stuck, and the store knows us. */
static void beat(struct reward_worker *worker)
{
    bool joined = link_welcomed(worker->link), stuck = plugin_host_stuck(worker->host);
    monitor_beat(worker->monitor);
    show_tallies(worker);
    const char *why = stuck                  ? "its plugin does not return"
                      : !joined              ? "the store has not welcomed it"
                      : worker->desk.leaving ? "it is leaving"
                                             : NULL;
    if (worker->told && worker->why == why)
        return;
    worker->told = true;
    worker->why = why;
    monitor_set_ready(worker->monitor, why == NULL, why != NULL ? why : "");
}

static void report_reload(struct reward_worker *worker)
{
    char event[PLUGIN_EVENT_MAX];
    if (plugin_host_event(worker->host, event))
        redis_view_stream(worker->redis, "events", event, REDIS_EVENTS_KEPT);
}

/* ---- life ---- */

enum status reward_worker_create(struct reward_worker **out,
                                 const struct reward_worker_options *options)
{
    *out = NULL;
    struct reward_worker *worker = memory_alloc(sizeof *worker);
    if (worker == NULL)
        return FAIL(STATUS_NO_MEMORY, "reward worker");
    const struct settings *settings = options->settings;
    worker->settings = settings;
    worker->index = options->index;
    worker->monitor = options->monitor;
    monitor_add(worker->monitor, reward_metric_rows,
                sizeof reward_metric_rows / sizeof reward_metric_rows[0], &worker->metrics);
    snprintf(worker->run, sizeof worker->run, "%s", options->run);
    enum status status;
    TRY_GOTO(fail, plugin_services_open(settings->reward.judge));
    TRY_GOTO(fail, plugin_host_open(&worker->host, &settings->reward));
    TRY_GOTO(fail, check_queue(worker));
    TRY_GOTO(fail, tokenizer_open(&worker->tokenizer, settings->model.path,
                                  (enum setting_tokenizer)settings->model.tokenizer));
    TRY_GOTO(fail, arena_create(&worker->arena, (size_t)WIRE_MESSAGE_MAX * 4));
    struct hello hello = {.run = worker->run,
                          .role = ROLE_REWARD,
                          .index = options->index,
                          .host = "localhost",
                          .numerics = ""};
    TRY_GOTO(fail, link_open(&worker->link, options->endpoint, settings->run.keys, &hello));
    link_set_heartbeat(worker->link, fill_heartbeat, worker);
    TRY_GOTO(fail, reward_desk_open(&worker->desk, link_incarnation(worker->link),
                                    settings->reward.queue));
    TRY_GOTO(fail, redis_view_open_set(&worker->redis, worker->run, &settings->redis));
    span_view_begin(worker->redis);
    LOG_INFO("worker", "plugin loaded", "name=\"%s\" hash=%016" PRIx64,
             plugin_host_name(worker->host), plugin_host_file_hash(worker->host));
    *out = worker;
    return STATUS_OK;
fail:
    reward_worker_destroy(&worker);
    return status;
}

void reward_worker_destroy(struct reward_worker **pointer)
{
    struct reward_worker *worker = *pointer;
    if (worker == NULL)
        return;
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    monitor_forget(worker->monitor);
    span_view_end(); /* its view is ours */
    link_close(&worker->link, "leaving");
    bool stuck = worker->host != NULL && plugin_host_stuck(worker->host);
    plugin_host_close(&worker->host, reward_job_drop);
    if (!stuck) /* else its thread may still be inside a service */
        plugin_services_close();
    reward_desk_close(&worker->desk);
    tokenizer_close(&worker->tokenizer);
    redis_view_close(&worker->redis);
    arena_destroy(&worker->arena);
    memory_free(worker);
    *pointer = NULL;
    status_restore(kept);
}

/* One round: messages in, plugin, messages out. */
static enum status work_once(struct reward_worker *worker)
{
    struct message message = {0};
    int64_t begin_ns = clock_now_ns();
    arena_reset(worker->arena);
    bool collects = reward_desk_collects(&worker->desk);
    TRY(link_poll(worker->link, 50, collects ? plugin_host_fd(worker->host) : -1, worker->arena,
                  &message));
    if (message.type != MESSAGE_NONE)
        TRY(take_message(worker, &message));
    bool busy = worker->desk.working > 0;
    TRY(collect_results(worker));
    busy = busy || worker->desk.working > 0;
    trace_chunk_turn(&worker->work, busy ? "score" : NULL, begin_ns, 0, 0);
    TRY(say(worker));
    beat(worker);
    report(worker);
    report_reload(worker);
    return STATUS_OK;
}

static enum status stuck_failure(const struct reward_worker *worker)
{
    return FAIL(STATUS_TIMEOUT,
                "reward plugin \"%s\" passed reward.timeout_ms=%u and does not return",
                plugin_host_name(worker->host), worker->settings->reward.timeout_ms);
}

/* The store's draining has an end as well, but what actors still finish must be scored: an idle worker
 * stays for it. On SIGTERM it takes nothing new and leaves when its results are on the store's disk. */
enum status reward_worker_run(struct reward_worker *worker, atomic_int *stop_signals)
{
    int64_t drain_until_ns = 0;
    while (!worker->desk.stopping) {
        TRY(work_once(worker));
        bool stuck = plugin_host_stuck(worker->host), told = *stop_signals == 1;
        worker->desk.leaving = stuck || told;
        if (stuck && worker->desk.frame_count == 0)
            return stuck_failure(worker);
        if (*stop_signals > 1)
            return FAIL(STATUS_CANCELLED, "stopped by a second signal");
        if (told && reward_desk_empty(&worker->desk))
            break;
        int64_t now_ns = clock_now_ns();
        if (!told && !worker->desk.draining && !stuck)
            drain_until_ns = 0;
        else if (drain_until_ns == 0)
            drain_until_ns = now_ns + (int64_t)worker->settings->run.drain_s * CLOCK_NS_PER_S;
        else if (now_ns > drain_until_ns)
            break;
    }
    return plugin_host_stuck(worker->host) ? stuck_failure(worker) : STATUS_OK;
}
