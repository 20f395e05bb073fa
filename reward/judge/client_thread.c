#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/log.h"
#include "core/memory.h"
#include "reward/judge/client_internal.h"

enum { PAUSE_MAX_MS = 30000, POLL_MAX_MS = 1000 };

/* ---- lists ---- */

void request_list_init(struct list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

void request_list_add(struct list *list, struct request *request)
{
    request->next = NULL;
    *list->end = request;
    list->end = &request->next;
}

static void list_remove(struct list *list, struct request **at)
{
    struct request *request = *at;
    *at = request->next;
    if (list->end == &request->next)
        list->end = at;
}

static void list_move(struct list *to, struct list *from)
{
    if (from->first == NULL)
        return;
    *to->end = from->first;
    to->end = from->end;
    request_list_init(from);
}

/* ---- results: with the mutex held ---- */

void judge_request_free(struct request *request)
{
    memory_free(request->body);
    memory_free(request);
}

static void count_latency(struct judge *judge, int64_t ns)
{
    double ms = (double)ns / 1e6;
    int bucket = (int)floor(LATENCY_PER_OCTAVE * (log2(fmax(ms, 0.125)) + 3));
    judge->latency[bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1]++;
}

static void give(struct judge *judge, struct request *request, enum status status, const char *why,
                 const struct reply *reply)
{
    struct batch *batch = request->batch;
    judge->queued--;
    judge->counts.failures += status != STATUS_OK;
    if (batch == NULL)
        return;
    struct judge_question *question = &batch->questions[request->index];
    question->status = status;
    if (status == STATUS_OK) {
        question->answer.text = reply->text;
        memcpy(question->answer.finish, reply->finish, sizeof question->answer.finish);
        question->answer.prompt_tokens = reply->prompt_tokens;
        question->answer.completion_tokens = reply->completion_tokens;
        question->answer.latency_ms = (double)(clock_now_ns() - request->asked_ns) / 1e6;
        question->answer.cost =
            ((double)reply->prompt_tokens * judge->settings.price_prompt +
             (double)reply->completion_tokens * judge->settings.price_completion) /
            1e6;
    } else {
        snprintf(question->why, sizeof question->why, "%s", why);
    }
    batch->requests[request->index] = NULL;
    if (--batch->left == 0)
        pthread_cond_signal(&batch->answered);
}

/* ---- the judge's thread ---- */

/* The end of a request; reply moves to the question, or is freed. */
static void complete(struct judge *judge, struct request *request, enum status status,
                     const char *why, struct reply *reply)
{
    if (request->probe)
        judge->probing = false;
    pthread_mutex_lock(&judge->mutex);
    bool taken = request->batch != NULL && status == STATUS_OK;
    if (status == STATUS_OK) { /* paid for, whoever reads it */
        judge->counts.prompt_tokens += reply->prompt_tokens;
        judge->counts.completion_tokens += reply->completion_tokens;
        judge->counts.cost +=
            ((double)reply->prompt_tokens * judge->settings.price_prompt +
             (double)reply->completion_tokens * judge->settings.price_completion) /
            1e6;
    }
    give(judge, request, status, why, reply);
    pthread_mutex_unlock(&judge->mutex);
    if (status == STATUS_OK && !taken)
        memory_free(reply->text);
    judge_request_free(request);
}

static bool abandoned(struct judge *judge, const struct request *request)
{
    pthread_mutex_lock(&judge->mutex);
    bool nobody = request->batch == NULL;
    pthread_mutex_unlock(&judge->mutex);
    return nobody;
}

static void mark_down(struct judge *judge, int64_t now_ns, const char *why)
{
    bool was = judge->down_until_ns != 0;
    judge->down_until_ns = now_ns + (int64_t)judge->settings.down_ms * CLOCK_NS_PER_MS;
    snprintf(judge->down_why, sizeof judge->down_why, "%s", why);
    pthread_mutex_lock(&judge->mutex);
    judge->counts.down = true;
    judge->counts.downs += was ? 0 : 1;
    pthread_mutex_unlock(&judge->mutex);
    if (!was)
        LOG_WARN("judge", "down", "failures=%" PRIu32 " pause_ms=%.0f why=\"%s\"", judge->sick,
                 judge->settings.down_ms, why);
}

static void mark_up(struct judge *judge)
{
    judge->sick = 0;
    if (judge->down_until_ns == 0)
        return;
    judge->down_until_ns = 0;
    pthread_mutex_lock(&judge->mutex);
    judge->counts.down = false;
    pthread_mutex_unlock(&judge->mutex);
    LOG_INFO("judge", "up again", "version=%s", judge->version);
}

/* When the next attempt may start: exponential, with a jitter of half, or when the server says. */
static int64_t next_attempt_ns(struct judge *judge, const struct request *request, int64_t now_ns,
                               int64_t retry_after_ms)
{
    const struct judge_settings *settings = &judge->settings;
    double pause = settings->backoff_ms * exp2(fmin(30, request->attempts - 1.0));
    pause = fmin(pause, settings->backoff_max_ms) * (0.5 + 0.5 * rng_uniform(&judge->rng));
    int64_t wait_ms = (int64_t)fmax(pause, (double)retry_after_ms);
    if (retry_after_ms > 0) {
        int64_t all_ms = retry_after_ms < PAUSE_MAX_MS ? retry_after_ms : PAUSE_MAX_MS;
        int64_t until_ns = now_ns + all_ms * CLOCK_NS_PER_MS;
        judge->pause_until_ns = until_ns > judge->pause_until_ns ? until_ns : judge->pause_until_ns;
    }
    return now_ns + wait_ms * CLOCK_NS_PER_MS;
}

static void release(struct judge *judge, struct request *request)
{
    curl_multi_remove_handle(judge->multi, request->transfer->easy);
    request->transfer->request = NULL;
    request->transfer = NULL;
    judge->busy--;
}

/* A deadline that was nearly over when the attempt began says nothing about the judge. */
static bool had_its_time(const struct judge *judge, const struct request *request, int64_t now_ns)
{
    return (double)(now_ns - request->attempt_ns) >=
           judge->settings.timeout_ms * 0.5 * CLOCK_NS_PER_MS;
}

static void note_attempt(struct judge *judge, const struct request *request,
                         const struct attempt_end *end, int64_t now_ns)
{
    if (end->status == STATUS_OK) {
        mark_up(judge);
        pthread_mutex_lock(&judge->mutex);
        count_latency(judge, now_ns - request->attempt_ns);
        pthread_mutex_unlock(&judge->mutex);
    } else if (end->sick &&
               (now_ns < request->deadline_ns || had_its_time(judge, request, now_ns))) {
        judge->sick++;
        if (request->probe || judge->sick >= (uint32_t)judge->settings.down_after)
            mark_down(judge, now_ns, end->why);
    } else if (request->probe && !end->sick) { /* it answers, whatever it says */
        mark_up(judge);
    }
}

/* The attempt of a request that is in no list any more has ended. */
static void attempt_over(struct judge *judge, struct request *request, struct attempt_end *end)
{
    int64_t now_ns = clock_now_ns();
    note_attempt(judge, request, end, now_ns);
    if (request->probe) {
        judge->probing = false;
        request->probe = false;
    }
    if (end->status == STATUS_OK || !end->retry ||
        request->attempts > (uint32_t)judge->settings.retries) {
        complete(judge, request, end->status, end->why, &end->reply);
        return;
    }
    request->not_before_ns = next_attempt_ns(judge, request, now_ns, end->retry_after_ms);
    if (request->not_before_ns >= request->deadline_ns) {
        char why[512];
        snprintf(why, sizeof why, "no time is left for another attempt: %s", end->why);
        complete(judge, request, STATUS_TIMEOUT, why, NULL);
        return;
    }
    pthread_mutex_lock(&judge->mutex);
    judge->counts.retries++;
    pthread_mutex_unlock(&judge->mutex);
    request_list_add(&judge->waiting, request);
}

static void read_ends(struct judge *judge)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(judge->multi, &left)) != NULL;) {
        struct transfer *transfer = NULL;
        struct attempt_end end;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        struct request *request = transfer->request;
        transfer_end(transfer, &judge->settings, message->data.result, &end);
        for (struct request **at = &judge->active.first; *at != NULL; at = &(*at)->next)
            if (*at == request) {
                list_remove(&judge->active, at);
                break;
            }
        release(judge, request);
        attempt_over(judge, request, &end);
    }
}

static struct transfer *idle_transfer(struct judge *judge)
{
    for (uint32_t i = 0; i < judge->transfer_count; i++)
        if (judge->transfers[i].request == NULL)
            return &judge->transfers[i];
    CHECK_NEVER("a transfer is idle while fewer are busy than there are");
}

static void start(struct judge *judge, struct request *request, int64_t now_ns)
{
    struct transfer *transfer = idle_transfer(judge);
    int64_t left_ms = (request->deadline_ns - now_ns) / CLOCK_NS_PER_MS,
            most = (int64_t)judge->settings.timeout_ms;
    request->attempts++;
    request->attempt_ns = now_ns;
    enum status status = transfer_prepare(transfer, &judge->settings, judge->headers, request->body,
                                          request->body_size, left_ms < most ? left_ms : most);
    if (status == STATUS_OK && curl_multi_add_handle(judge->multi, transfer->easy) != CURLM_OK)
        status = FAIL(STATUS_NO_MEMORY, "libcurl takes no further transfer");
    if (status != STATUS_OK) {
        complete(judge, request, status, status_sentence(status_last_error()), NULL);
        return;
    }
    transfer->request = request;
    request->transfer = transfer;
    judge->busy++;
    request_list_add(&judge->active, request);
    pthread_mutex_lock(&judge->mutex);
    judge->counts.attempts++;
    pthread_mutex_unlock(&judge->mutex);
}

enum verdict_now { START, HOLD, REFUSE };

/* What a down judge means for a request that could start. */
static enum verdict_now admit(struct judge *judge, struct request *request, int64_t now_ns)
{
    bool down = judge->down_until_ns != 0;
    if (down && (now_ns < judge->down_until_ns || judge->probing))
        return judge->settings.wait_when_down ? HOLD : REFUSE;
    if (now_ns < request->not_before_ns || now_ns < judge->pause_until_ns ||
        judge->busy == judge->transfer_count)
        return HOLD;
    if (down)
        request->probe = judge->probing = true;
    return START;
}

static void refuse(struct judge *judge, struct request *request, int64_t now_ns)
{
    char why[512];
    int64_t left_ms = (judge->down_until_ns - now_ns) / CLOCK_NS_PER_MS;
    snprintf(why, sizeof why, "the judge is down and is asked again in %" PRId64 " ms: %s",
             left_ms > 0 ? left_ms : 0, judge->down_why);
    pthread_mutex_lock(&judge->mutex);
    judge->counts.refused_fast++;
    pthread_mutex_unlock(&judge->mutex);
    complete(judge, request, STATUS_TIMEOUT, why, NULL);
}

static void look_at_waiting(struct judge *judge, int64_t now_ns)
{
    struct list all = judge->waiting;
    if (all.first == NULL)
        return;
    request_list_init(&judge->waiting);
    for (struct request *request = all.first, *next; request != NULL; request = next) {
        next = request->next;
        if (abandoned(judge, request) || now_ns >= request->deadline_ns) {
            complete(judge, request, STATUS_TIMEOUT,
                     "the deadline passed before the judge was asked", NULL);
            continue;
        }
        switch (admit(judge, request, now_ns)) {
        case START:
            start(judge, request, now_ns);
            break;
        case HOLD:
            request_list_add(&judge->waiting, request);
            break;
        case REFUSE:
            refuse(judge, request, now_ns);
            break;
        }
    }
}

/* Stops attempts that nobody waits for or whose time is over. */
static void look_at_active(struct judge *judge, int64_t now_ns)
{
    for (struct request **at = &judge->active.first; *at != NULL;) {
        struct request *request = *at;
        if (!abandoned(judge, request) && now_ns < request->deadline_ns) {
            at = &request->next;
            continue;
        }
        list_remove(&judge->active, at);
        release(judge, request);
        if (had_its_time(judge, request, now_ns) &&
            ++judge->sick >= (uint32_t)judge->settings.down_after)
            mark_down(judge, now_ns, "it does not answer before the deadline");
        complete(judge, request, STATUS_TIMEOUT, "the deadline passed before the judge answered",
                 NULL);
    }
}

static int pause_ms(const struct judge *judge, int64_t now_ns)
{
    int64_t next_ns = now_ns + POLL_MAX_MS * CLOCK_NS_PER_MS;
    for (const struct request *at = judge->waiting.first; at != NULL; at = at->next) {
        int64_t ready_ns =
            at->not_before_ns > judge->pause_until_ns ? at->not_before_ns : judge->pause_until_ns;
        ready_ns = ready_ns > judge->down_until_ns ? ready_ns : judge->down_until_ns;
        if (judge->busy == judge->transfer_count || judge->probing)
            ready_ns = INT64_MAX; /* the end of a transfer wakes us */
        next_ns = ready_ns < next_ns ? ready_ns : next_ns;
        next_ns = at->deadline_ns < next_ns ? at->deadline_ns : next_ns;
    }
    for (const struct request *at = judge->active.first; at != NULL; at = at->next)
        next_ns = at->deadline_ns < next_ns ? at->deadline_ns : next_ns;
    return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / CLOCK_NS_PER_MS + 1);
}

static bool take_incoming(struct judge *judge)
{
    pthread_mutex_lock(&judge->mutex);
    list_move(&judge->waiting, &judge->incoming);
    bool stopping = judge->stopping;
    pthread_mutex_unlock(&judge->mutex);
    return !stopping;
}

static void cancel_all(struct judge *judge)
{
    while (judge->active.first != NULL) {
        struct request *request = judge->active.first;
        list_remove(&judge->active, &judge->active.first);
        release(judge, request);
        complete(judge, request, STATUS_CANCELLED, "the judge is closed", NULL);
    }
    while (judge->waiting.first != NULL) {
        struct request *request = judge->waiting.first;
        list_remove(&judge->waiting, &judge->waiting.first);
        complete(judge, request, STATUS_CANCELLED, "the judge is closed", NULL);
    }
}

void *judge_drive(void *self)
{
    struct judge *judge = self;
    int running;
    while (take_incoming(judge)) {
        int64_t now_ns = clock_now_ns();
        look_at_waiting(judge, now_ns);
        look_at_active(judge, now_ns);
        curl_multi_perform(judge->multi, &running);
        read_ends(judge);
        look_at_waiting(judge, clock_now_ns()); /* what a free place or a retry may do now */
        curl_multi_poll(judge->multi, NULL, 0, pause_ms(judge, clock_now_ns()), NULL);
    }
    cancel_all(judge);
    return NULL;
}
