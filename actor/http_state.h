/* actor/http_state.h - what the files of the HTTP server share; nobody outside includes it. */
#ifndef ACTOR_HTTP_STATE_H
#define ACTOR_HTTP_STATE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "actor/http.h"
#include "actor/openai_answer.h"

enum {
    HTTP_NAME_MAX = 256,
    HTTP_BODIES_MAX = 256 << 20, /* bytes of all bodies that are held at a time */
    HTTP_DRAINED_MAX = 16 << 20, /* bytes of a refused body that are read and forgotten */
};

/* Of requests. */
struct http_latencies {
    struct metric_histogram first_token, whole;
};

/* A connection. */
struct http_peer {
    int fd;
    int64_t since_ns; /* it has had no whole request since */
    bool busy;        /* a request is whole and not answered */
    struct http_peer *next, *previous;
};

struct exchange;

struct http_server {
    struct http_config config;
    struct MHD_Daemon *daemon;
    struct serve_hub *hub;
    struct tokenizer *tokenizer; /* the HTTP thread's own */
    struct chat chat;
    struct openai_source source;
    char address[HTTP_NAME_MAX];
    char *token;          /* NULL: none is wanted */
    char *tokenizer_info; /* JSON text */
    int64_t started_s;

    /* Of the HTTP thread: */
    size_t body_bytes;
    uint64_t requests;
    struct http_latencies latencies;
    uint64_t finished_stop, finished_length, finished_abort;

    pthread_mutex_t lock; /* guards peers; may be taken under the hub's, not the other way */
    struct http_peer *peers;
    uint32_t peer_count;
    struct exchange *exchanges; /* those with jobs; guarded by the hub's lock */
    pthread_t watcher;
    bool watching;
    int stop_fd; /* ends the watcher */
};

/* A request and its answer. */
struct exchange {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_peer *peer; /* borrowed */
    const struct http_route *route;
    struct openai_error error; /* status 0: none so far */
    bool head;
    struct buffer body;
    size_t discarded;

    struct arena *arena;
    struct openai_request request;
    struct openai_answer answer;
    int64_t begun_ns, first_ns;
    bool running, answered;
    struct buffer out; /* of a stream: events */
    size_t sent;       /* of it */

    /* Guarded by the hub's lock: */
    bool suspended, news, gone, listed;
    uint32_t live; /* jobs that run */
    struct exchange *next, *previous;
};

struct http_route {
    const char *path;
    bool post;
    bool open; /* without a token */
    enum MHD_Result (*answer)(struct exchange *exchange);
};

/* http_exchange.c */
enum MHD_Result http_handle(void *self, struct MHD_Connection *connection, const char *url,
                            const char *method, const char *version, const char *upload,
                            size_t *upload_size, void **request);
void http_completed(void *self, struct MHD_Connection *connection, void **request,
                    enum MHD_RequestTerminationCode how);
void http_wake(void *owner, struct serve_job *job);
/* Under the hub's lock. */
void http_resume(struct exchange *exchange);
enum MHD_Result http_respond(struct exchange *exchange, int status, const char *type,
                             const void *bytes, size_t size);
enum MHD_Result http_respond_json(struct exchange *exchange, int status,
                                  json_t *json); /* takes it */
enum MHD_Result http_refuse(struct exchange *exchange, const struct openai_error *error);
/* http_complete.c */
enum MHD_Result http_complete(struct exchange *exchange);
/* After the jobs have news. */
enum MHD_Result http_go_on(struct exchange *exchange);
/* http_routes.c */
const struct http_route *http_find_route(const char *path);
char *http_read_tokenizer_info(const struct http_server *server);
/* http_metrics.c */
void http_metrics_init(struct http_server *server);
enum MHD_Result http_metrics(struct exchange *exchange);
/* http_watch.c */
MUST_CHECK enum status http_watch_start(struct http_server *server);
void http_watch_stop(struct http_server *server);
void http_connected(void *self, struct MHD_Connection *connection, void **context,
                    enum MHD_ConnectionNotificationCode code);
void http_peer_busy(struct http_server *server, struct http_peer *peer, bool busy);

#endif
