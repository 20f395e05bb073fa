#include "reward/worker.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
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

/* ---- one item: message to plugin ---- */

struct job_storage { /* one allocation a job; the texts follow */
    struct plugin_job job;
    struct buffer texts;
    int32_t *ids;
};

static void job_free(struct plugin_job *job)
{
    struct job_storage *storage = job->storage;
    buffer_free(&storage->texts);
    memory_free(storage->ids);
    memory_free(storage);
}

static void job_drop(struct plugin_job *job)
{
    memory_free(job->detail);
    job_free(job);
}

static enum status append_span(struct buffer *texts, const char *bytes, size_t size, size_t *at,
                               size_t *length)
{
    *at = texts->size;
    TRY(text_append_utf8(texts, bytes, size));
    *length = texts->size - *at;
    return STATUS_OK;
}

static enum status decode_span(struct reward_worker *worker, struct buffer *texts,
                               const uint32_t *ids, size_t count, size_t *at, size_t *length)
{
    struct buffer raw;
    buffer_init(&raw, WIRE_TEXT_MAX);
    enum status status = tokenizer_decode(worker->tokenizer, ids, count, true, &raw);
    if (status == STATUS_OK)
        status = append_span(texts, (const char *)raw.bytes, raw.size, at, length);
    buffer_free(&raw);
    return status;
}

static enum status json_span(struct buffer *texts, const json_t *value, size_t *at, size_t *length)
{
    *at = texts->size;
    char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    enum status status = buffer_text(texts, text != NULL ? text : "");
    free(text); /* lint: allow(free): jansson's buffer */
    *length = texts->size - *at;
    return status;
}

enum {
    TEXT_SOURCE,
    TEXT_PROMPT,
    TEXT_PROMPT_JSON,
    TEXT_RESPONSE,
    TEXT_TRUTH,
    TEXT_EXTRA,
    TEXT_COUNT
};

static uint32_t finish_code(enum segment_status finish)
{
    return finish == SEGMENT_EOS || finish == SEGMENT_STOP ? WEIR_REWARD_FIN_EOS
           : finish == SEGMENT_LENGTH                      ? WEIR_REWARD_FIN_LENGTH
           : finish == SEGMENT_REPETITION                  ? WEIR_REWARD_FIN_REPETITION
                                                           : WEIR_REWARD_FIN_ABORT;
}

static enum status fill_record_texts(struct buffer *texts, const json_t *record,
                                     size_t at[TEXT_COUNT], size_t length[TEXT_COUNT])
{
    const json_t *source = json_object_get(record, "data_source"),
                 *prompt = json_object_get(record, "prompt");
    const char *name = json_is_string(source) ? json_string_value(source) : "";
    TRY(append_span(texts, name, strlen(name), &at[TEXT_SOURCE], &length[TEXT_SOURCE]));
    TRY(json_span(texts, json_is_array(prompt) ? prompt : NULL, &at[TEXT_PROMPT_JSON],
                  &length[TEXT_PROMPT_JSON]));
    TRY(json_span(texts, json_object_get(record, "ground_truth"), &at[TEXT_TRUTH],
                  &length[TEXT_TRUTH]));
    return json_span(texts, json_object_get(record, "extra"), &at[TEXT_EXTRA], &length[TEXT_EXTRA]);
}

/* The record is the store's own JSON; its texts and values become spans of one buffer. */
static enum status fill_texts(struct reward_worker *worker, struct buffer *texts,
                              const struct score_item *item, size_t at[TEXT_COUNT],
                              size_t length[TEXT_COUNT])
{
    json_error_t error;
    json_t *record = json_loads(item->record_json, JSON_REJECT_DUPLICATES, &error);
    if (record == NULL)
        return FAIL(STATUS_INVALID, "record of prompt %" PRIu64 ": column %d: %s", item->prompt_id,
                    error.column, error.text);
    enum status status = fill_record_texts(texts, record, at, length);
    json_decref(record);
    TRY(status);
    TRY(decode_span(worker, texts, item->prompt_ids, item->prompt_count, &at[TEXT_PROMPT],
                    &length[TEXT_PROMPT]));
    return decode_span(worker, texts, item->response_ids, item->response_count, &at[TEXT_RESPONSE],
                       &length[TEXT_RESPONSE]);
}

static enum status fill_ids(struct job_storage *storage, const struct score_item *item)
{
    size_t prompt = item->prompt_count, response = item->response_count;
    storage->ids = memory_array(prompt + response + 1, sizeof *storage->ids);
    if (storage->ids == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu ids", prompt + response);
    for (size_t i = 0; i < prompt; i++)
        storage->ids[i] = (int32_t)item->prompt_ids[i];
    for (size_t i = 0; i < response; i++)
        storage->ids[prompt + i] = (int32_t)item->response_ids[i];
    weir_reward_item *out = &storage->job.item;
    out->prompt_ids = storage->ids;
    out->response_ids = storage->ids + prompt;
    out->n_prompt_ids = item->prompt_count;
    out->n_response_ids = item->response_count;
    return STATUS_OK;
}

static enum status fill_job(struct reward_worker *worker, struct job_storage *storage,
                            const struct score_item *item)
{
    size_t at[TEXT_COUNT] = {0}, length[TEXT_COUNT] = {0};
    buffer_init(&storage->texts, 0);
    storage->job.storage = storage;
    storage->job.score = (struct score){.group_id = item->group_id,
                                        .sample = item->sample,
                                        .attempt = item->attempt,
                                        .status = SCORE_ERROR};
    TRY(fill_texts(worker, &storage->texts, item, at, length));
    const char *texts = buffer_string(&storage->texts);
    weir_reward_str spans[TEXT_COUNT];
    for (int i = 0; i < TEXT_COUNT; i++)
        spans[i] = (weir_reward_str){.ptr = texts + at[i], .len = length[i]};
    storage->job.item = (weir_reward_item){
        .struct_size = sizeof storage->job.item,
        .finish_reason = finish_code(item->finish),
        .group_id = item->group_id,
        .group_index = item->sample,
        .group_size = item->group_size,
        .data_source = spans[TEXT_SOURCE],
        .prompt_text = spans[TEXT_PROMPT],
        .prompt_json = spans[TEXT_PROMPT_JSON],
        .response = spans[TEXT_RESPONSE],
        .ground_truth_json = spans[TEXT_TRUTH],
        .extra_json = spans[TEXT_EXTRA],
        .policy_version = item->version,
        .is_eval = item->purpose == PURPOSE_EVAL,
    };
    return plugin_host_caps(worker->host) & WEIR_REWARD_CAP_NEEDS_IDS ? fill_ids(storage, item)
                                                                      : STATUS_OK;
}

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
            job_drop(job);
        TRY(status);
    }
    metric_set(&worker->metrics.waiting, worker->waiting);
    return STATUS_OK;
}

/* ---- messages ---- */

static enum status take_work(struct reward_worker *worker, const struct score_work *work)
{
    for (uint32_t i = 0; i < work->count && !worker->leaving; i++) {
        struct job_storage *storage = memory_alloc(sizeof *storage);
        if (storage == NULL)
            return FAIL(STATUS_NO_MEMORY, "reward item");
        enum status status = fill_job(worker, storage, &work->items[i]);
        if (status == STATUS_OK)
            status = plugin_host_submit(worker->host, &storage->job);
        if (status == STATUS_OK) {
            worker->waiting++;
            continue;
        }
        LOG_FAILURE("worker", "item failed before the plugin", status);
        status = add_result(worker, &storage->job.score, NULL);
        job_free(&storage->job);
        TRY(status);
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
    buffer_clear(&json);
    enum status status = buffer_text(&json, "{");
    if (status == STATUS_OK)
        status = metrics_json(reward_metric_rows,
                              sizeof reward_metric_rows / sizeof reward_metric_rows[0],
                              &worker->metrics, &json);
    if (status == STATUS_OK)
        status = buffer_text(&json, "}");
    return status == STATUS_OK ? buffer_string(&json) : "{}";
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
    if (settings->redis.mode != REDIS_OFF)
        TRY_GOTO(fail, redis_view_open(&worker->redis, worker->run, settings->redis.address,
                                       settings->redis.password));
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
    plugin_host_close(&worker->host, job_drop);
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
enum status reward_worker_run(struct reward_worker *worker, volatile sig_atomic_t *stop_signals)
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
