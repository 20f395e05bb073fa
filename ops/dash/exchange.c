/* ops/dash/exchange.c - one request from its first header to its answer: who may ask, and how refusals read. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "ops/dash/server_state.h"

enum { DISCARDED_MAX = 64 << 10 };

/* ---- answers ---- */

void add_safe_headers(struct MHD_Response *response)
{
    static const char *const headers[][2] = {
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Content-Security-Policy",
         "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
         "frame-ancestors 'none'; form-action 'none'"},
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        MHD_add_response_header(response, headers[i][0], headers[i][1]);
}

static void add_cookie(const struct request *request, struct MHD_Response *response)
{
    char cookie[ACCESS_TOKEN_MAX + 100];
    snprintf(cookie, sizeof cookie, "weir_dash_%u=%s; Path=/; HttpOnly; SameSite=Strict",
             request->dash->access.port, request->dash->access.token);
    MHD_add_response_header(response, "Set-Cookie", cookie);
}

/* Gives the response away; NULL: out of memory. */
static enum MHD_Result send_response(struct request *request, unsigned status, const char *type,
                                     const char *etag, struct MHD_Response *response)
{
    if (response == NULL)
        return MHD_NO;
    add_safe_headers(response);
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", etag != NULL ? "no-cache" : "no-store");
    if (etag != NULL)
        MHD_add_response_header(response, "ETag", etag);
    if (request->set_cookie)
        add_cookie(request, response);
    if (status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 405)
        MHD_add_response_header(response, "Allow",
                                request->route != NULL && request->route->post ? "POST"
                                                                               : "GET, HEAD");
    if (status == 503)
        MHD_add_response_header(response, "Retry-After", "5");
    if (status == 413)
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(request->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- answers that wait for their readers ---- */

struct answer {
    struct dash_server *server; /* outlives every response */
    void *bytes;                /* owned */
    size_t held;
};

bool exchange_hold(struct dash_server *server, size_t size)
{
    uint64_t all = atomic_fetch_add(&server->unread, size) + size;
    if (all <= server->unread_max || size <= SERVER_UNREAD_SMALL)
        return true;
    exchange_release(server, size);
    return false;
}

void exchange_release(struct dash_server *server, size_t size)
{
    atomic_fetch_sub(&server->unread, size);
}

enum MHD_Result refuse_unread(struct request *request)
{
    return refuse(request, 503,
                  "answers that clients have asked for and do not read fill the memory set aside "
                  "for them: close pages that hang, or ask for less");
}

static void free_answer(void *self)
{
    struct answer *answer = self;
    exchange_release(answer->server, answer->held);
    memory_free(answer->bytes);
    memory_free(answer);
}

/* bytes: taken over. room: what they take of memory. */
static enum MHD_Result respond_owned(struct request *request, unsigned status, const char *type,
                                     const char *etag, void *bytes, size_t size, size_t room)
{
    struct answer *answer = memory_alloc(sizeof *answer);
    bool held = answer != NULL && exchange_hold(request->dash->server, room);
    if (!held) {
        memory_free(bytes);
        memory_free(answer);
        return answer != NULL ? refuse_unread(request) : MHD_NO;
    }
    *answer = (struct answer){request->dash->server, bytes, room};
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback_cls(size, bytes, free_answer, answer);
    if (response == NULL)
        free_answer(answer);
    return send_response(request, status, type, etag, response);
}

enum MHD_Result respond(struct request *request, unsigned status, const char *type,
                        const void *bytes, size_t size, const char *etag)
{
    void *copy = memory_alloc(size + 1);
    if (copy == NULL)
        return MHD_NO;
    if (size > 0)
        memcpy(copy, bytes, size);
    return respond_owned(request, status, type, etag, copy, size, size);
}

enum MHD_Result respond_taken(struct request *request, unsigned status, struct buffer *json)
{
    struct buffer taken = *json;
    *json = (struct buffer){0};
    return respond_owned(request, status, "application/json; charset=utf-8", NULL, taken.bytes,
                         taken.size, taken.capacity);
}

enum MHD_Result respond_json(struct request *request, unsigned status, const struct buffer *json)
{
    return respond(request, status, "application/json; charset=utf-8", json->bytes, json->size,
                   NULL);
}

static enum MHD_Result refuse_with(struct request *request, unsigned status, const char *sentence)
{
    struct buffer json;
    buffer_init(&json, 0);
    atomic_fetch_add(&request->dash->server->refused, 1);
    LOG_INFO("dash", "refused", "status=%u path=%.100s why=\"%.200s\"", status, request->path,
             sentence);
    enum MHD_Result result = MHD_NO;
    if (buffer_text(&json, "{\"error\":") == STATUS_OK &&
        buffer_json_text(&json, sentence) == STATUS_OK && buffer_text(&json, "}") == STATUS_OK)
        result = respond_json(request, status, &json);
    buffer_free(&json);
    return result;
}

enum MHD_Result refuse(struct request *request, unsigned status, const char *fmt, ...)
{
    char sentence[ERROR_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    return refuse_with(request, status, sentence);
}

/* ---- the query ---- */

const char *query_text(const struct request *request, const char *name)
{
    const char *text =
        MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
    return text != NULL && text[0] != 0 ? text : NULL;
}

bool query_whole(struct request *request, const char *name, uint64_t most, uint64_t *value,
                 enum MHD_Result *result)
{
    uint64_t made;
    const char *text = query_text(request, name);
    if (text == NULL)
        return true;
    if (access_u64(text, &made) && made <= most) {
        *value = made;
        return true;
    }
    *result = refuse(request, 400, "%s takes a whole number from 0 to %llu", name,
                     (unsigned long long)most);
    return false;
}

bool query_real(struct request *request, const char *name, double *value, enum MHD_Result *result)
{
    const char *text = query_text(request, name);
    if (text == NULL || access_real(text, value))
        return true;
    *result = refuse(request, 400, "%s takes a number", name);
    return false;
}

/* ---- who may ask ---- */

static void set_error(struct request *request, unsigned status, const char *sentence)
{
    if (request->error_status != 0)
        return;
    request->error_status = status;
    snprintf(request->error, sizeof request->error, "%s", sentence);
}

static const char *header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

static const char *token_argument(const struct request *request)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, "token");
}

/* Open to other machines, it may have names that it does not know (a Service, a proxy): who has the token may use them, and
 * a page of another site has none. */
static bool may_name_it(const struct request *request)
{
    const struct access_rules *access = &request->dash->access;
    return access_host(access, header(request, "Host")) ||
           (!access->loopback && header(request, "Host") != NULL &&
            (access_bearer(access, header(request, "Authorization")) ||
             access_cookie(access, header(request, "Cookie")) ||
             access_token(access, token_argument(request))));
}

/* A proxy may put its own name into Host; no page of another site can set X-Forwarded-Host. */
static bool is_own_origin(const struct request *request)
{
    const char *origin = header(request, "Origin");
    return access_origin(origin, header(request, "Host")) ||
           (!request->dash->access.loopback &&
            access_origin(origin, header(request, "X-Forwarded-Host")));
}

/* An image or a script of another site's page; a link to the page itself is fine. */
static bool is_cross_site(const struct request *request)
{
    const char *site = header(request, "Sec-Fetch-Site"), *mode = header(request, "Sec-Fetch-Mode");
    bool link = mode != NULL && strcmp(mode, "navigate") == 0 && request->route != NULL &&
                request->route->answer == answer_page;
    return site != NULL && strcmp(site, "cross-site") == 0 && !link;
}

static void check_token(struct request *request)
{
    const struct access_rules *access = &request->dash->access;
    bool post = request->route != NULL && request->route->post;
    if (access->loopback && !post)
        return;
    if (access_bearer(access, header(request, "Authorization")))
        return;
    if (post) { /* a cookie is sent by the browser whoever asks it to */
        set_error(request, 401,
                  "this needs the header Authorization: Bearer TOKEN; the token is in dash.token "
                  "of the run's folder");
        return;
    }
    if (access_cookie(access, header(request, "Cookie")))
        return;
    if (access_token(access, token_argument(request))) {
        request->set_cookie = true;
        return;
    }
    set_error(request, 401,
              "this dashboard is open to other machines and wants its token: add ?token=TOKEN once "
              "(dash.token in the run's folder), or send Authorization: Bearer TOKEN");
}

static void check(struct request *request, const char *method)
{
    bool get = strcmp(method, "GET") == 0;
    request->head = strcmp(method, "HEAD") == 0;
    if (!may_name_it(request))
        set_error(request, 403,
                  request->dash->access.loopback
                      ? "the Host header does not name this dashboard: open it by the address it "
                        "prints"
                      : "the Host header does not name this dashboard: open it by the address it "
                        "prints, or by any name with its token (add ?token=TOKEN once)");
    if (!is_own_origin(request))
        set_error(request, 403, "pages of other sites may not ask here (Origin)");
    if (is_cross_site(request))
        set_error(request, 403, "pages of other sites may not ask here (Sec-Fetch-Site)");
    check_token(request);
    if (request->route == NULL)
        set_error(request, 404, "there is nothing at this path; docs/dashboard.md lists what is");
    else if (request->route->post ? strcmp(method, "POST") != 0 : !get && !request->head)
        set_error(request, 405,
                  request->route->post ? "this path takes POST" : "this path takes GET and HEAD");
    if (request->dash->server->peer_count > SERVER_CONNECTIONS_MAX - 8)
        set_error(request, 503, "too many connections are open here, close some pages");
}

/* ---- its life ---- */

static void peer_busy(struct request *request, bool busy)
{
    struct dash_server *server = request->dash->server;
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    if (request->peer != NULL) {
        request->peer->busy = busy;
        request->peer->since_ns = clock_now_ns();
    }
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
}

static enum MHD_Result begin(struct dash *dash, struct MHD_Connection *connection, const char *url,
                             const char *method, void **out)
{
    struct request *request = memory_alloc(sizeof *request);
    if (request == NULL)
        return MHD_NO;
    *out = request;
    while (url[0] == '/' && url[1] == '/') /* the printed address, with a path behind it */
        url++;
    request->dash = dash;
    request->connection = connection;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    request->peer = info != NULL ? info->socket_context : NULL;
    snprintf(request->path, sizeof request->path, "%s", url);
    request->route = strlen(url) < sizeof request->path ? route_find(url) : NULL;
    buffer_init(&request->body, SERVER_BODY_MAX);
    buffer_init(&request->job.answer, 0);
    atomic_store(&dash->board.asked_ns, clock_now_ns());
    atomic_fetch_add(&dash->server->requests, 1);
    check(request, method);
    const char *length = header(request, "Content-Length");
    uint64_t size = 0;
    if (length != NULL && (!access_u64(length, &size) || size > SERVER_BODY_MAX)) {
        set_error(request, 413, "the body is too large: at most 4096 bytes");
        return refuse_with(request, request->error_status, request->error);
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct request *request, const char *bytes, size_t size)
{
    if (request->error_status == 0 && request->body.size + size > SERVER_BODY_MAX)
        set_error(request, 413, "the body is too large: at most 4096 bytes");
    if (request->error_status == 0 && buffer_append(&request->body, bytes, size) == STATUS_OK)
        return MHD_YES;
    request->discarded += size;
    return request->discarded > DISCARDED_MAX ? MHD_NO : MHD_YES;
}

/* The cookie is set, and the secret leaves the address bar and the history. */
static enum MHD_Result drop_token(struct request *request)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    add_safe_headers(response);
    add_cookie(request, response);
    MHD_add_response_header(response, "Location", request->path);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    enum MHD_Result result = MHD_queue_response(request->connection, 303, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result exchange_handle(void *self, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_size, void **pointer)
{
    struct request *request = *pointer;
    (void)version;
    if (request == NULL)
        return begin(self, connection, url, method, pointer);
    if (*upload_size > 0) {
        enum MHD_Result result = take_body(request, upload, *upload_size);
        *upload_size = 0;
        return result;
    }
    if (request->suspended) { /* the store has answered */
        request->suspended = false;
        return respond_taken(request, request->job.http_status, &request->job.answer);
    }
    peer_busy(request, true);
    if (request->error_status == 0 && request->set_cookie && request->route->answer == answer_page)
        return drop_token(request);
    return request->error_status != 0 ? refuse_with(request, request->error_status, request->error)
                                      : request->route->answer(request);
}

void exchange_completed(void *self, struct MHD_Connection *connection, void **pointer,
                        enum MHD_RequestTerminationCode how)
{
    struct request *request = *pointer;
    (void)self;
    (void)connection;
    (void)how;
    if (request == NULL)
        return;
    peer_busy(request, false);
    buffer_free(&request->body);
    buffer_free(&request->job.answer);
    memory_free(request);
    *pointer = NULL;
}
