/* actor/http_complete.c - /v1/completions and /v1/chat/completions: jobs out, tokens in, an answer or a stream.
 *
 * The connection sleeps while its jobs have nothing new. Whoever has news (the engine's thread with tokens, the watcher
 * with a client that has gone) wakes it under the hub's lock, and it falls asleep under the same lock: no wake-up is lost. */
#include <string.h>

#include "actor/http_state.h"
#include "core/clock.h"
#include "core/memory.h"

enum { EVENT_BLOCK = 16384, ARENA_SPARE = 64 << 20, ARENA_PER_BYTE = 64 };

/* ---- sleeping and waking ---- */

void http_resume(struct exchange *exchange)
{
    exchange->news = true;
    if (!exchange->suspended)
        return;
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
}

void http_wake(void *owner, struct serve_job *job)
{
    struct exchange *exchange = owner;
    if (job->state == SERVE_ENDED)
        exchange->live--;
    /* A whole answer is made when everything is there; only a stop string can end it earlier. */
    if (exchange->request.stream || exchange->request.stop_count > 0 || exchange->live == 0 ||
        job->finish == SERVE_FINISH_FAILED)
        http_resume(exchange);
}

/* False: there are news. */
static bool sleep_unless_news(struct exchange *exchange)
{
    serve_lock(exchange->server->hub);
    bool sleeps = !exchange->news;
    if (sleeps) {
        exchange->suspended = true;
        MHD_suspend_connection(exchange->connection);
    }
    serve_unlock(exchange->server->hub);
    return sleeps;
}

/* What the jobs have, as text. *all: every choice has ended. False: the client has gone. */
static bool take_news(struct exchange *exchange, bool *all)
{
    struct serve_hub *hub = exchange->server->hub;
    struct openai_answer *answer = &exchange->answer;
    serve_lock(hub);
    bool gone = exchange->gone;
    exchange->news = false;
    for (uint32_t i = 0; i < answer->count; i++)
        openai_choice_take(&answer->choices[i]);
    serve_unlock(hub);
    *all = true;
    for (uint32_t i = 0; i < answer->count; i++) {
        struct openai_choice *choice = &answer->choices[i];
        openai_choice_advance(answer, choice);
        if (choice->ended)
            serve_release(hub, &choice->job);
        *all = *all && choice->ended;
    }
    if (exchange->first_ns == 0 && openai_answer_tokens(answer) > 0)
        exchange->first_ns = clock_now_ns();
    return !gone;
}

/* ---- the whole answer ---- */

static enum MHD_Result answer_whole(struct exchange *exchange)
{
    const struct openai_choice *failed = openai_answer_failed(&exchange->answer);
    if (failed != NULL) {
        openai_refuse_as(&exchange->error, 503, "server_error", NULL, "%s", failed->why);
        return http_refuse(exchange, &exchange->error);
    }
    json_t *json = openai_answer_json(&exchange->answer);
    if (json != NULL)
        return http_respond_json(exchange, 200, json);
    openai_refuse_as(&exchange->error, 503, "server_error", NULL, "out of memory for the answer");
    return http_refuse(exchange, &exchange->error);
}

enum MHD_Result http_go_on(struct exchange *exchange)
{
    for (;;) {
        bool all = false;
        if (!take_news(exchange, &all))
            return MHD_NO;
        if (all || openai_answer_failed(&exchange->answer) != NULL)
            return answer_whole(exchange);
        if (sleep_unless_news(exchange))
            return MHD_YES;
    }
}

/* ---- a stream ---- */

static ssize_t read_events(void *self, uint64_t position, char *bytes, size_t most)
{
    struct exchange *exchange = self;
    (void)position;
    for (;;) {
        if (exchange->sent < exchange->out.size) {
            size_t left = exchange->out.size - exchange->sent;
            size_t size = left < most ? left : most;
            memcpy(bytes, exchange->out.bytes + exchange->sent, size);
            exchange->sent += size;
            return (ssize_t)size;
        }
        buffer_clear(&exchange->out);
        exchange->sent = 0;
        if (exchange->answer.finished)
            return MHD_CONTENT_READER_END_OF_STREAM;
        bool all = false;
        if (!take_news(exchange, &all) ||
            openai_answer_events(&exchange->answer, &exchange->out) != STATUS_OK)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (exchange->out.size == 0 && !exchange->answer.finished && sleep_unless_news(exchange))
            return 0;
    }
}

static enum MHD_Result answer_stream(struct exchange *exchange)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENT_BLOCK,
                                                                      read_events, exchange, NULL);
    if (response == NULL)
        return MHD_NO;
    exchange->answered = true;
    MHD_add_response_header(response, "Content-Type", "text/event-stream; charset=utf-8");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    enum MHD_Result result = MHD_queue_response(exchange->connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- the start ---- */

static bool submit(struct exchange *exchange, struct serve_job **jobs, struct slot_order *orders)
{
    struct http_server *server = exchange->server;
    struct openai_answer *answer = &exchange->answer;
    openai_fill_orders(&exchange->request, orders);
    exchange->live = answer->count; /* before the first of them may end */
    enum status status = serve_submit(server->hub, orders, answer->count, exchange, jobs);
    if (status == STATUS_LIMIT)
        return openai_refuse_as(&exchange->error, 429, "rate_limit_error", "too_many_waiting",
                                "%s (actor.http_waiting is %u): try again later",
                                status_sentence(status_last_error()),
                                server->config.settings->actor.http_waiting);
    if (status != STATUS_OK)
        return openai_refuse_as(&exchange->error, 503, "server_error", NULL, "%s",
                                status_sentence(status_last_error()));
    serve_lock(server->hub);
    for (uint32_t i = 0; i < answer->count; i++)
        answer->choices[i].job = jobs[i];
    exchange->running = exchange->listed = true;
    exchange->next = server->exchanges;
    if (server->exchanges != NULL)
        server->exchanges->previous = exchange;
    server->exchanges = exchange;
    serve_unlock(server->hub);
    metric_add(&server->config.engine->metrics.serve_requests, 1);
    return true;
}

static bool start(struct exchange *exchange)
{
    struct http_server *server = exchange->server;
    bool chat = strcmp(exchange->route->path, "/v1/chat/completions") == 0;
    size_t limit = ARENA_SPARE + exchange->body.size * ARENA_PER_BYTE;
    if (arena_create(&exchange->arena, limit) != STATUS_OK)
        return openai_refuse_as(&exchange->error, 503, "server_error", NULL, "out of memory");
    if (!openai_read_request(&server->source, chat, buffer_string(&exchange->body),
                             exchange->body.size, exchange->arena, &exchange->request,
                             &exchange->error))
        return false;
    if (openai_answer_create(&exchange->answer, &server->source, &exchange->request,
                             ++server->requests) != STATUS_OK)
        return openai_refuse_as(&exchange->error, 503, "server_error", NULL, "out of memory");
    uint32_t count = exchange->answer.count;
    struct serve_job **jobs = memory_array(count, sizeof(struct serve_job *));
    struct slot_order *orders = memory_array(count, sizeof *orders);
    bool fine =
        jobs != NULL && orders != NULL
            ? submit(exchange, jobs, orders)
            : openai_refuse_as(&exchange->error, 503, "server_error", NULL, "out of memory");
    memory_free(jobs);
    memory_free(orders);
    return fine;
}

enum MHD_Result http_complete(struct exchange *exchange)
{
    if (!start(exchange))
        return http_refuse(exchange, &exchange->error);
    return exchange->request.stream ? answer_stream(exchange) : http_go_on(exchange);
}
