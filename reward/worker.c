#include "reward/worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "reward/job.h"
#include "reward/plugin_host.h"
#include "reward/reward_metrics.h"
#include "text/tokenizer.h"
#include "transport/link.h"
#include "transport/redis_view.h"

/* Results are collected while fewer than FRAMES_WAITING_MAX frames wait for their acknowledgement; the rest
 * of FRAMES_MAX is for items that fail before the plugin. */
enum { RESULTS_PER_FRAME = 256, FRAMES_MAX = 1024, FRAMES_WAITING_MAX = 512 };

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

/* Results on their way to the store's disk. */
struct result_frame {
    uint64_t frame_id;
    uint32_t count;
    bool sent;   /* on this connection */
    bool closed; /* was sent once: an acknowledgement of it must cover all of it */
    struct score scores[RESULTS_PER_FRAME];
    char *details[RESULTS_PER_FRAME]; /* owned */
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
    struct result_frame **frames; /* [FRAMES_MAX] oldest first */
    uint32_t frame_count;
    uint64_t next_frame_id;
    uint32_t waiting; /* jobs inside the plugin host */
    uint32_t welcomes;
    uint32_t capacity; /* last said to the store */
    int64_t report_ns;
    bool requested, draining, stopping;
    bool leaving; /* takes no new work; the store gives it to others when we say bye */
};

/* ---- results: plugin to store ---- */

static enum status add_result(struct reward_worker *worker, const struct score *score, char *detail)
{
    struct result_frame *frame =
        worker->frame_count > 0 ? worker->frames[worker->frame_count - 1] : NULL;
    if (frame == NULL || frame->closed || frame->count == RESULTS_PER_FRAME) {
        if (worker->frame_count == FRAMES_MAX)
            return FAIL(STATUS_LIMIT, "%d result frames wait for the store", FRAMES_MAX);
        frame = memory_alloc(sizeof *frame);
        if (frame == NULL)
            return FAIL(STATUS_NO_MEMORY, "result frame");
        frame->frame_id = ++worker->next_frame_id;
        worker->frames[worker->frame_count++] = frame;
    }
    frame->scores[frame->count] = *score;
    frame->scores[frame->count].detail_json = detail != NULL ? detail : "{}";
    frame->details[frame->count++] = detail;
    return STATUS_OK;
}

static enum status send_frames(struct reward_worker *worker)
{
    for (uint32_t i = 0; i < worker->frame_count; i++) {
        struct result_frame *frame = worker->frames[i];
        if (frame->sent)
            continue;
        struct message message = {.type = MESSAGE_score_result,
                                  .score_result = {.frame_id = frame->frame_id,
                                                   .incarnation = link_incarnation(worker->link),
                                                   .count = frame->count,
                                                   .scores = frame->scores}};
        enum status status = link_send(worker->link, &message);
        if (status == STATUS_AGAIN)
            return STATUS_OK;
        if (status != STATUS_OK)
            return status;
        frame->sent = frame->closed = true;
    }
    return STATUS_OK;
}

static void frame_free(struct result_frame *frame)
{
    for (uint32_t i = 0; i < frame->count; i++)
        memory_free(frame->details[i]);
    memory_free(frame);
}

static void acknowledge(struct reward_worker *worker, uint64_t frame_id)
{
    uint32_t gone = 0;
    while (gone < worker->frame_count && worker->frames[gone]->frame_id <= frame_id)
        frame_free(worker->frames[gone++]);
    worker->frame_count -= gone;
    memmove(worker->frames, worker->frames + gone, worker->frame_count * sizeof *worker->frames);
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
    metric_set(&metrics->latency_ms,
               (double)(clock_now_ns() - job->submitted_ns) / CLOCK_NS_PER_MS);
    metric_set(&metrics->late, (double)plugin_host_late(worker->host));
}

static enum status collect_results(struct reward_worker *worker)
{
    struct plugin_job *job;
    while (worker->frame_count < FRAMES_WAITING_MAX &&
           (job = plugin_host_take(worker->host, clock_now_ns())) != NULL) {
        count_result(worker, job);
        worker->waiting--;
        enum status status = add_result(worker, &job->score, job->detail);
        if (status == STATUS_OK)
            job->detail = NULL; /* the frame's now */
        if (!job->held)
            reward_job_drop(job);
        TRY(status);
    }
    metric_set(&worker->metrics.waiting, worker->waiting);
    return STATUS_OK;
}

/* ---- messages ---- */

static enum status take_work(struct reward_worker *worker, const struct score_work *work)
{
    for (uint32_t i = 0; i < work->count && !worker->leaving; i++) {
        const struct score_item *item = &work->items[i];
        struct plugin_job *job = NULL;
        enum status status =
            reward_job_create(&job, worker->tokenizer, plugin_host_caps(worker->host), item);
        if (status == STATUS_OK)
            status = plugin_host_submit(worker->host, job);
        if (status == STATUS_OK) {
            worker->waiting++;
            continue;
        }
        LOG_FAILURE("worker", "item failed before the plugin", status);
        if (job != NULL)
            reward_job_drop(job);
        struct score score = {.group_id = item->group_id,
                              .sample = item->sample,
                              .attempt = item->attempt,
                              .status = SCORE_ERROR};
        TRY(add_result(worker, &score, NULL));
    }
    return STATUS_OK;
}

static enum status take_message(struct reward_worker *worker, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_refused:
        return FAIL(STATUS_INVALID, "the store refused this reward worker: %s",
                    message->refused.reason);
    case MESSAGE_notice:
        worker->stopping = worker->stopping || message->notice.stopping;
        worker->draining = message->notice.draining;
        return STATUS_OK;
    case MESSAGE_score_work:
        return take_work(worker, &message->score_work);
    case MESSAGE_score_ack:
        acknowledge(worker, message->score_ack.frame_id);
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

/* What the store may send: the queue without what is still here. */
static uint32_t free_capacity(const struct reward_worker *worker)
{
    uint64_t here = worker->waiting;
    for (uint32_t i = 0; i < worker->frame_count; i++)
        here += worker->frames[i]->count;
    uint32_t queue = worker->settings->reward.queue;
    return worker->leaving || here >= queue ? 0 : queue - (uint32_t)here;
}

/* Capacity is said once a connection: the store subtracts what it sends and adds what it gets. A restarted
 * store does not know what we had before, so we say less, and all of it again once nothing is left. */
static enum status request_work(struct reward_worker *worker)
{
    if (!link_welcomed(worker->link))
        return STATUS_OK;
    if (worker->welcomes != link_reconnects(worker->link)) {
        worker->welcomes = link_reconnects(worker->link);
        worker->requested = false;
        for (uint32_t i = 0; i < worker->frame_count; i++)
            worker->frames[i]->sent = false;
    }
    uint32_t capacity = free_capacity(worker);
    bool whole_again = capacity == worker->settings->reward.queue && worker->capacity < capacity;
    bool none_any_more = worker->leaving && worker->capacity > 0;
    if (worker->requested && !whole_again && !none_any_more)
        return STATUS_OK;
    struct message message = {
        .type = MESSAGE_score_request,
        .score_request = {.incarnation = link_incarnation(worker->link), .free = capacity}};
    enum status status = link_send(worker->link, &message);
    worker->requested = status == STATUS_OK;
    if (status == STATUS_OK)
        worker->capacity = capacity;
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

static const char *stats_json(struct reward_worker *worker)
{
    static struct buffer json; /* one worker a process; valid until the next call */
    return metrics_object(reward_metric_rows,
                          sizeof reward_metric_rows / sizeof reward_metric_rows[0],
                          &worker->metrics, &json);
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
    redis_view_hash(worker->redis, key, stats_json(worker), 15);
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
    snprintf(worker->run, sizeof worker->run, "%s", options->run);
    enum status status;
    TRY_GOTO(fail, plugin_host_open(&worker->host, &settings->reward));
    TRY_GOTO(fail, tokenizer_open(&worker->tokenizer, settings->model.path,
                                  (enum setting_tokenizer)settings->model.tokenizer));
    worker->frames = memory_array(FRAMES_MAX, sizeof *worker->frames);
    if (worker->frames == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "result frames");
        goto fail;
    }
    TRY_GOTO(fail, arena_create(&worker->arena, (size_t)WIRE_MESSAGE_MAX * 4));
    struct hello hello = {.run = worker->run,
                          .role = ROLE_REWARD,
                          .index = options->index,
                          .host = "localhost",
                          .numerics = ""};
    TRY_GOTO(fail, link_open(&worker->link, options->endpoint, &hello));
    link_set_heartbeat(worker->link, fill_heartbeat, worker);
    TRY_GOTO(fail, redis_view_open_set(&worker->redis, worker->run, &settings->redis));
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
    link_close(&worker->link, "leaving");
    plugin_host_close(&worker->host, reward_job_drop);
    for (uint32_t i = 0; i < worker->frame_count; i++)
        frame_free(worker->frames[i]);
    memory_free(worker->frames);
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
    arena_reset(worker->arena);
    bool collects = worker->frame_count < FRAMES_WAITING_MAX;
    TRY(link_poll(worker->link, 50, collects ? plugin_host_fd(worker->host) : -1, worker->arena,
                  &message));
    if (message.type != MESSAGE_NONE)
        TRY(take_message(worker, &message));
    TRY(collect_results(worker));
    TRY(request_work(worker));
    TRY(send_frames(worker));
    report(worker);
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
    while (!worker->stopping) {
        TRY(work_once(worker));
        bool stuck = plugin_host_stuck(worker->host), told = *stop_signals == 1;
        worker->leaving = stuck || told;
        if (stuck && worker->frame_count == 0)
            return stuck_failure(worker);
        if (*stop_signals > 1)
            return FAIL(STATUS_CANCELLED, "stopped by a second signal");
        if (told && worker->waiting == 0 && worker->frame_count == 0)
            break;
        int64_t now_ns = clock_now_ns();
        if (!told && !worker->draining && !stuck)
            drain_until_ns = 0;
        else if (drain_until_ns == 0)
            drain_until_ns = now_ns + (int64_t)worker->settings->run.drain_s * CLOCK_NS_PER_S;
        else if (now_ns > drain_until_ns)
            break;
    }
    return plugin_host_stuck(worker->host) ? stuck_failure(worker) : STATUS_OK;
}
