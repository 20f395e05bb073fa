#include "reward/judge/client.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "core/memory.h"
#include "reward/judge/client_internal.h"

enum { WAIT_MAX_S = 86400 };

/* ---- create and destroy ---- */

static void global_init(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static enum status add_header(struct judge *judge, const char *text)
{
    struct curl_slist *more = curl_slist_append(judge->headers, text);
    if (more == NULL)
        return FAIL(STATUS_NO_MEMORY, "a header");
    judge->headers = more;
    return STATUS_OK;
}

static enum status open_connections(struct judge *judge)
{
    char authorization[JUDGE_KEY_MAX + 32];
    uint32_t count = (uint32_t)judge->settings.concurrency;
    TRY(add_header(judge, "Content-Type: application/json"));
    TRY(add_header(judge, "Accept: application/json"));
    TRY(add_header(judge, "Expect:"));
    if (judge->settings.key[0] != '\0') {
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %s",
                 judge->settings.key);
        enum status status = add_header(judge, authorization);
        explicit_bzero(authorization, sizeof authorization);
        TRY(status);
    }
    judge->multi = curl_multi_init();
    judge->transfers = memory_array(count, sizeof *judge->transfers);
    if (judge->multi == NULL || judge->transfers == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu32 " connections", count);
    curl_multi_setopt(judge->multi, CURLMOPT_MAXCONNECTS, (long)count);
    while (judge->transfer_count < count)
        TRY(transfer_create(&judge->transfers[judge->transfer_count++], &judge->settings));
    return STATUS_OK;
}

/* Signals belong to the process's other threads; SIGPIPE of a connection to nobody. */
static enum status start_thread(struct judge *judge)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&judge->thread, NULL, judge_drive, judge);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        return FAIL(STATUS_NO_MEMORY, "the judge's thread: %s", strerror(code));
    judge->started = true;
    return STATUS_OK;
}

static enum status open_judge(struct judge *judge, const json_t *config)
{
    const json_t *member = json_object_get(config, "judge");
    config = member != NULL ? member : config;
    TRY(judge_settings_read(&judge->settings, config));
    judge_settings_version(&judge->settings, judge->version);
    rng_init(&judge->rng, (uint64_t)clock_now_ns(), (uint64_t)getpid(), RNG_TASK);
    if (judge->settings.cache[0] != '\0')
        TRY(cache_open(&judge->cache, judge->settings.cache,
                       (uint64_t)judge->settings.cache_bytes_max));
    TRY(open_connections(judge));
    return start_thread(judge);
}

int judge_create(const json_t *config, struct judge **judge, char *why, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    struct judge *made = memory_alloc(sizeof *made);
    if (made == NULL) {
        snprintf(why, size, "no memory for a judge");
        return ENOMEM;
    }
    pthread_mutex_init(&made->mutex, NULL);
    request_list_init(&made->incoming);
    request_list_init(&made->waiting);
    request_list_init(&made->active);
    enum status status = open_judge(made, config);
    if (status == STATUS_OK) {
        *judge = made;
        return 0;
    }
    snprintf(why, size, "%s", status_sentence(status_last_error()));
    judge_destroy(&made);
    return status == STATUS_NO_MEMORY ? ENOMEM : status == STATUS_IO ? EIO : EINVAL;
}

void judge_stop(struct judge *judge)
{
    if (!judge->started)
        return;
    pthread_mutex_lock(&judge->mutex);
    judge->stopping = true;
    pthread_mutex_unlock(&judge->mutex);
    curl_multi_wakeup(judge->multi);
    pthread_join(judge->thread, NULL);
    judge->started = false;
}

void judge_destroy(struct judge **judge)
{
    struct judge *gone = *judge;
    *judge = NULL;
    if (gone == NULL)
        return;
    judge_stop(gone);
    for (uint32_t i = 0; i < gone->transfer_count; i++)
        transfer_destroy(&gone->transfers[i]);
    memory_free(gone->transfers);
    if (gone->multi != NULL)
        curl_multi_cleanup(gone->multi);
    for (struct curl_slist *at = gone->headers; at != NULL; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(gone->headers);
    cache_close(&gone->cache);
    judge_settings_clear(&gone->settings);
    pthread_mutex_destroy(&gone->mutex);
    memory_free(gone);
}

const char *judge_version(const struct judge *judge)
{
    return judge->version;
}

static double quantile(const uint64_t latency[LATENCY_BUCKETS], double share)
{
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < LATENCY_BUCKETS; i++)
        all += latency[i];
    if (all == 0)
        return 0;
    int i = 0;
    while (i < LATENCY_BUCKETS - 1 && (double)(seen += latency[i]) < share * (double)all)
        i++;
    return exp2((i + 0.5) / LATENCY_PER_OCTAVE - 3); /* the middle of the bucket */
}

void judge_counters(struct judge *judge, struct judge_counters *counters)
{
    pthread_mutex_lock(&judge->mutex);
    *counters = judge->counts;
    counters->p50_ms = quantile(judge->latency, 0.5);
    counters->p95_ms = quantile(judge->latency, 0.95);
    counters->waiting = judge->queued;
    pthread_mutex_unlock(&judge->mutex);
}

/* ---- asking ---- */

void judge_answer_free(struct judge_answer *answer)
{
    memory_free(answer->text);
    *answer = (struct judge_answer){0};
}

static json_t *body_of(const struct judge *judge, const struct judge_question *question)
{
    const struct judge_settings *settings = &judge->settings;
    double temperature = question->temperature < 0 ? settings->temperature : question->temperature;
    json_t *body = json_pack("{s:s,s:O,s:f,s:I,s:b}", "model", settings->model, "messages",
                             (json_t *)(uintptr_t)question->messages, "temperature", temperature,
                             "max_tokens", (json_int_t)settings->max_tokens, "stream", 0);
    if (body != NULL && settings->has_seed)
        json_object_set_new(body, "seed", json_integer(settings->seed + question->sample));
    const char *key;
    json_t *value;
    json_object_foreach(settings->extra, key, value)
    {
        if (json_is_null(value)) /* a server that does not know a member */
            json_object_del(body, key);
        else
            json_object_set(body, key, value);
    }
    return body;
}

/* The request's text, and its key in the cache. */
static char *body_text(const struct judge *judge, const struct judge_question *question,
                       struct cache_key *key)
{
    struct buffer whole;
    json_t *body = body_of(judge, question);
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL, *copy = NULL;
    json_decref(body);
    buffer_init(&whole, 0);
    if (text != NULL &&
        buffer_printf(&whole, "%s %" PRIu32 "\n", judge->version, question->sample) == STATUS_OK &&
        buffer_text(&whole, text) == STATUS_OK) {
        *key = cache_key_of(whole.bytes, whole.size);
        copy = memory_text(text);
    }
    buffer_free(&whole);
    free(text); /* lint: allow(free): jansson's buffer */
    return copy;
}

static bool read_cached(const struct judge *judge, struct judge_question *question,
                        struct cache_key key)
{
    struct buffer value;
    question->answer = (struct judge_answer){0};
    if (judge->cache == NULL)
        return false;
    buffer_init(&value, 0);
    json_t *kept = cache_find(judge->cache, key, &value) == STATUS_OK
                       ? json_loadb(buffer_string(&value), value.size, 0, NULL)
                       : NULL;
    const char *text = json_string_value(json_object_get(kept, "text"));
    const char *finish = json_string_value(json_object_get(kept, "finish"));
    question->answer = (struct judge_answer){.cached = true};
    if (text != NULL)
        question->answer.text = memory_text(text);
    if (finish != NULL)
        snprintf(question->answer.finish, sizeof question->answer.finish, "%s", finish);
    json_decref(kept);
    buffer_free(&value);
    if (question->answer.text == NULL)
        question->answer = (struct judge_answer){0};
    question->status = question->answer.text != NULL ? STATUS_OK : STATUS_NOT_FOUND;
    return question->status == STATUS_OK;
}

static void write_cached(const struct judge *judge, const struct judge_question *question,
                         struct cache_key key)
{
    if (judge->cache == NULL || question->status != STATUS_OK || question->answer.cached)
        return;
    json_t *kept =
        json_pack("{s:s,s:s}", "text", question->answer.text, "finish", question->answer.finish);
    char *text = kept != NULL ? json_dumps(kept, JSON_COMPACT) : NULL;
    if (text != NULL && cache_put(judge->cache, key, text, strlen(text)) != STATUS_OK)
        LOG_FAILURE("judge", "an answer is not kept", STATUS_IO);
    free(text); /* lint: allow(free): jansson's buffer */
    json_decref(kept);
}

static struct request *make_request(struct judge *judge, struct batch *batch, size_t index,
                                    char *body, int64_t deadline_ns)
{
    struct request *request = memory_alloc(sizeof *request);
    if (request == NULL) {
        memory_free(body);
        return NULL;
    }
    *request = (struct request){.batch = batch,
                                .index = index,
                                .body = body,
                                .body_size = strlen(body),
                                .asked_ns = clock_now_ns(),
                                .deadline_ns = deadline_ns};
    (void)judge;
    return request;
}

static void refuse_question(struct judge_question *question, enum status status, const char *why)
{
    question->status = status;
    snprintf(question->why, sizeof question->why, "%s", why);
}

/* Takes each question out of the cache or puts it into the queue. */
static void send_questions(struct judge *judge, struct batch *batch, struct cache_key *keys,
                           size_t count, int64_t deadline_ns)
{
    uint64_t queue_max = (uint64_t)judge->settings.queue_max;
    for (size_t i = 0; i < count; i++) {
        struct judge_question *question = &batch->questions[i];
        char *body = body_text(judge, question, &keys[i]);
        question->why[0] = '\0';
        bool cached = body != NULL && read_cached(judge, question, keys[i]);
        if (cached)
            memory_free(body);
        struct request *request =
            body != NULL && !cached ? make_request(judge, batch, i, body, deadline_ns) : NULL;
        pthread_mutex_lock(&judge->mutex);
        judge->counts.questions++;
        judge->counts.cached += cached;
        bool stopping = judge->stopping, full = stopping || judge->queued >= queue_max;
        if (request != NULL && !full) {
            batch->requests[i] = request;
            batch->left++;
            judge->queued++;
            request_list_add(&judge->incoming, request);
        } else if (!cached) {
            judge->counts.failures++;
            refuse_question(question,
                            stopping ? STATUS_CANCELLED
                            : full   ? STATUS_LIMIT
                                     : STATUS_NO_MEMORY,
                            stopping ? "the judge is closed"
                            : full   ? "the judge's queue is full"
                                     : "no memory for a request");
        }
        pthread_mutex_unlock(&judge->mutex);
        if (request != NULL && full)
            judge_request_free(request);
    }
    curl_multi_wakeup(judge->multi);
}

/* Waits for all; what is not answered at the deadline is given up. */
static void wait_for(struct judge *judge, struct batch *batch, size_t count, int64_t deadline_ns)
{
    const struct timespec until = {.tv_sec = deadline_ns / CLOCK_NS_PER_S,
                                   .tv_nsec = deadline_ns % CLOCK_NS_PER_S};
    bool late = false;
    pthread_mutex_lock(&judge->mutex);
    while (batch->left > 0 && !late)
        late = pthread_cond_timedwait(&batch->answered, &judge->mutex, &until) == ETIMEDOUT;
    for (size_t i = 0; i < count && batch->left > 0; i++)
        if (batch->requests[i] != NULL) {
            batch->requests[i]->batch = NULL;
            refuse_question(&batch->questions[i], STATUS_TIMEOUT,
                            "the deadline passed before the judge answered");
        }
    pthread_mutex_unlock(&judge->mutex);
    if (late)
        curl_multi_wakeup(judge->multi);
}

void judge_ask_all(struct judge *judge, struct judge_question *questions, size_t count,
                   int64_t deadline_ns)
{
    pthread_condattr_t monotonic;
    struct batch batch = {.questions = questions};
    struct cache_key *keys = memory_array(count, sizeof *keys);
    int64_t most_ns = clock_now_ns() + WAIT_MAX_S * CLOCK_NS_PER_S;
    deadline_ns = deadline_ns < most_ns ? deadline_ns : most_ns;
    batch.requests = memory_array(count, sizeof(struct request *));
    if (keys == NULL || batch.requests == NULL) {
        for (size_t i = 0; i < count; i++)
            refuse_question(&questions[i], STATUS_NO_MEMORY, "no memory for questions");
    } else {
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&batch.answered, &monotonic);
        pthread_condattr_destroy(&monotonic);
        send_questions(judge, &batch, keys, count, deadline_ns);
        wait_for(judge, &batch, count, deadline_ns);
        pthread_cond_destroy(&batch.answered);
        for (size_t i = 0; i < count; i++)
            write_cached(judge, &questions[i], keys[i]);
    }
    memory_free(batch.requests);
    memory_free(keys);
}

enum status judge_ask(struct judge *judge, const json_t *messages, int64_t deadline_ns,
                      struct judge_answer *answer)
{
    struct judge_question question = {.messages = messages, .temperature = -1};
    judge_ask_all(judge, &question, 1, deadline_ns);
    if (question.status != STATUS_OK)
        return FAIL(question.status, "%s", question.why);
    *answer = question.answer;
    return STATUS_OK;
}
