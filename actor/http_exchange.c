/* actor/http_exchange.c - one request from its first header to its answer. */
#include <stdlib.h>
#include <string.h>

#include "actor/http_state.h"
#include "core/clock.h"
#include "core/memory.h"

/* ---- answers ---- */

enum MHD_Result http_respond(struct exchange *exchange, int status, const char *type,
                             const void *bytes, size_t size)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    exchange->answered = true;
    MHD_add_response_header(response, "Content-Type", type);
    if (status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 405)
        MHD_add_response_header(response, "Allow",
                                exchange->route != NULL && exchange->route->post ? "POST"
                                                                                 : "GET, HEAD");
    if (status == 429 || status == 503)
        MHD_add_response_header(response, "Retry-After", "1");
    enum MHD_Result result =
        MHD_queue_response(exchange->connection, (unsigned int)status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result http_respond_json(struct exchange *exchange, int status, json_t *json)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum MHD_Result result = MHD_NO;
    if (openai_write_json(json, &text) == STATUS_OK)
        result = http_respond(exchange, status, "application/json", text.bytes, text.size);
    buffer_free(&text);
    json_decref(json);
    return result;
}

enum MHD_Result http_refuse(struct exchange *exchange, const struct openai_error *error)
{
    metric_add(&exchange->server->config.engine->metrics.serve_refused, 1);
    return http_respond_json(exchange, error->status, openai_error_json(error));
}

/* ---- the request ---- */

/* In a time that does not depend on where they differ. */
static bool same_secret(const char *a, const char *b)
{
    size_t size = strlen(a), other = strlen(b);
    unsigned differ = size != other;
    for (size_t i = 0; i < size; i++)
        differ |= (unsigned)(a[i] ^ (i < other ? b[i] : 0));
    return differ == 0;
}

static bool may_ask(const struct exchange *exchange)
{
    const char *token = exchange->server->token;
    if (token == NULL || (exchange->route != NULL && exchange->route->open))
        return true;
    const char *said =
        MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Authorization");
    return said != NULL && strncasecmp(said, "Bearer ", 7) == 0 && same_secret(said + 7, token);
}

static void check_method(struct exchange *exchange, const char *url, const char *method)
{
    const struct http_route *route = exchange->route;
    bool get = strcmp(method, "GET") == 0, post = strcmp(method, "POST") == 0;
    exchange->head = strcmp(method, "HEAD") == 0;
    if (!may_ask(exchange))
        openai_refuse_as(&exchange->error, 401, "authentication_error", "invalid_api_key",
                         "the request has no bearer token, or a wrong one");
    else if (route == NULL)
        openai_refuse_as(&exchange->error, 404, "invalid_request_error", "not_found",
                         "there is nothing at %.200s", url);
    else if (route->post ? !post : !get && !exchange->head)
        openai_refuse_as(&exchange->error, 405, "invalid_request_error", "method_not_allowed",
                         "%.32s is not possible at %.200s; %s is", method, url,
                         route->post ? "POST" : "GET");
}

static void refuse_size(struct exchange *exchange)
{
    if (exchange->error.status == 0)
        openai_refuse_as(&exchange->error, 413, "invalid_request_error", "request_too_large",
                         "the body has more than %u bytes (actor.http_body_max)",
                         exchange->server->config.settings->actor.http_body_max);
}

static enum MHD_Result begin(struct http_server *server, struct MHD_Connection *connection,
                             const char *url, const char *method, void **request)
{
    struct exchange *exchange = memory_alloc(sizeof *exchange);
    if (exchange == NULL)
        return MHD_NO;
    *request = exchange;
    exchange->server = server;
    exchange->connection = connection;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    exchange->peer = info != NULL ? info->socket_context : NULL;
    exchange->route = http_find_route(url);
    exchange->begun_ns = clock_now_ns();
    buffer_init(&exchange->body, 0);
    buffer_init(&exchange->out, 0);
    check_method(exchange, url, method);
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    /* Longer than what would be read and forgotten: answered at once, and the connection closes. */
    size_t most = (size_t)server->config.settings->actor.http_body_max + HTTP_DRAINED_MAX;
    if (length != NULL && strtoull(length, NULL, 10) > most) {
        refuse_size(exchange);
        return http_refuse(exchange, &exchange->error);
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct exchange *exchange, const char *bytes, size_t size)
{
    struct http_server *server = exchange->server;
    if (exchange->error.status == 0 &&
        exchange->body.size + size > server->config.settings->actor.http_body_max)
        refuse_size(exchange);
    if (exchange->error.status == 0 && server->body_bytes + size > HTTP_BODIES_MAX)
        openai_refuse_as(&exchange->error, 503, "server_error", NULL,
                         "too many bytes of requests are waiting here");
    if (exchange->error.status == 0 && buffer_append(&exchange->body, bytes, size) != STATUS_OK)
        openai_refuse_as(&exchange->error, 503, "server_error", NULL, "out of memory");
    if (exchange->error.status == 0) {
        server->body_bytes += size;
        return MHD_YES;
    }
    exchange->discarded += size;
    return exchange->discarded > HTTP_DRAINED_MAX ? MHD_NO : MHD_YES;
}

enum MHD_Result http_handle(void *self, struct MHD_Connection *connection, const char *url,
                            const char *method, const char *version, const char *upload,
                            size_t *upload_size, void **request)
{
    struct exchange *exchange = *request;
    (void)version;
    if (exchange == NULL)
        return begin(self, connection, url, method, request);
    if (*upload_size > 0) {
        enum MHD_Result result = take_body(exchange, upload, *upload_size);
        *upload_size = 0;
        return result;
    }
    if (exchange->running)
        return http_go_on(exchange);
    http_peer_busy(exchange->server, exchange->peer, true);
    return exchange->error.status != 0 ? http_refuse(exchange, &exchange->error)
                                       : exchange->route->answer(exchange);
}

/* ---- its end ---- */

static void unlist(struct exchange *exchange)
{
    struct http_server *server = exchange->server;
    serve_lock(server->hub);
    if (exchange->listed) {
        *(exchange->previous != NULL ? &exchange->previous->next : &server->exchanges) =
            exchange->next;
        if (exchange->next != NULL)
            exchange->next->previous = exchange->previous;
        exchange->listed = false;
    }
    serve_unlock(server->hub);
}

static void count_answer(const struct exchange *exchange, bool sent)
{
    struct http_server *server = exchange->server;
    if (exchange->first_ns > 0)
        metric_observe_ns(&server->latencies.first_token, exchange->first_ns - exchange->begun_ns);
    metric_observe_ns(&server->latencies.whole, clock_now_ns() - exchange->begun_ns);
    const struct openai_choice *choice =
        exchange->answer.count > 0 ? exchange->answer.choices : NULL;
    if (!sent || choice == NULL || choice->finish == NULL)
        server->finished_abort++;
    else if (strcmp(choice->finish, "stop") == 0)
        server->finished_stop++;
    else
        server->finished_length++;
}

void http_completed(void *self, struct MHD_Connection *connection, void **request,
                    enum MHD_RequestTerminationCode how)
{
    struct exchange *exchange = *request;
    (void)self;
    (void)connection;
    if (exchange == NULL)
        return;
    struct http_server *server = exchange->server;
    unlist(exchange);
    if (exchange->running)
        count_answer(exchange, how == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    for (uint32_t i = 0; i < exchange->answer.count; i++)
        serve_release(server->hub, &exchange->answer.choices[i].job);
    openai_answer_free(&exchange->answer);
    arena_destroy(&exchange->arena);
    server->body_bytes -= exchange->body.size;
    buffer_free(&exchange->body);
    buffer_free(&exchange->out);
    http_peer_busy(server, exchange->peer, false);
    memory_free(exchange);
    *request = NULL;
}
