/* ops/dash/server_state.h - inside the server: connections, requests, routes. */
#ifndef OPS_DASH_SERVER_STATE_H
#define OPS_DASH_SERVER_STATE_H

#include <microhttpd.h>

#include "core/buffer.h"
#include "ops/dash/asker.h"
#include "ops/dash/dash.h"
#include "ops/dash/server.h"

enum { SERVER_URL_MAX = 400, ERROR_MAX = 400 };

struct peer { /* a connection */
    struct peer *next, *previous;
    int fd;
    bool busy; /* a whole request is being answered */
    int64_t since_ns;
};

struct viewer { /* an open stream */
    struct viewer *next, *previous;
    struct dash *dash;
    struct MHD_Connection *connection;
    uint64_t position;
    bool suspended;
    bool beat;          /* a heartbeat is due */
    struct buffer head; /* what is said first: missed steps, the snapshot */
    size_t head_at;
    size_t held; /* bytes of head that are counted as unread */
};

struct dash_server {
    struct dash *dash;
    struct MHD_Daemon *daemon;
    char url[SERVER_URL_MAX];
    pthread_mutex_t lock; /* guards the two lists, closing, suspended */
    struct peer *peers;
    struct viewer *viewers;
    unsigned peer_count;
    bool closing;
    pthread_t watcher;
    bool watching;
    int stop_fd;
    _Atomic uint64_t requests, refused;
    _Atomic uint64_t unread; /* bytes of answers that clients have not read yet */
    uint64_t unread_max;     /* SERVER_UNREAD_MAX; tests lower it */
};

struct request {
    struct dash *dash;
    struct MHD_Connection *connection;
    struct peer *peer;
    const struct route *route;
    char path[256];  /* of its URL, cut */
    bool head;       /* HEAD: no body comes back */
    bool set_cookie; /* ?token= was right */
    bool suspended;  /* a question is out; guarded by nothing: set before the push */
    unsigned error_status;
    char error[ERROR_MAX];
    struct buffer body;
    size_t discarded;
    struct asker_job job;
};

typedef enum MHD_Result (*route_fn)(struct request *request);
struct route {
    const char *path;
    bool post;
    route_fn answer;
};

/* exchange.c */
enum MHD_Result exchange_handle(void *self, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_size, void **request);
void exchange_completed(void *self, struct MHD_Connection *connection, void **request,
                        enum MHD_RequestTerminationCode how);
enum MHD_Result respond(struct request *request, unsigned status, const char *type,
                        const void *bytes, size_t size, const char *etag);
/* The same without a copy: takes over what the buffer holds, also when it fails. */
enum MHD_Result respond_taken(struct request *request, unsigned status, struct buffer *json);
enum MHD_Result respond_json(struct request *request, unsigned status, const struct buffer *json);
/* Counts bytes that wait for a client; false: too many do, and this is more than SERVER_UNREAD_SMALL. */
MUST_CHECK bool exchange_hold(struct dash_server *server, size_t size);
void exchange_release(struct dash_server *server, size_t size);
/* 503, which says that answers are not read. */
enum MHD_Result refuse_unread(struct request *request);
/* {"error":sentence} */
enum MHD_Result refuse(struct request *request, unsigned status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void add_safe_headers(struct MHD_Response *response);
const char *query_text(const struct request *request, const char *name); /* NULL: absent or "" */
/* false: it is there and is no number; a refusal has been queued into *result. */
bool query_whole(struct request *request, const char *name, uint64_t most, uint64_t *value,
                 enum MHD_Result *result);
bool query_real(struct request *request, const char *name, double *value, enum MHD_Result *result);

/* routes.c */
const struct route *route_find(const char *path);
/* stream.c */
enum MHD_Result answer_stream(struct request *request);
void stream_wake(struct dash *dash);
void stream_beat(struct dash *dash);
void stream_close_all(struct dash *dash);
/* page.c */
enum MHD_Result answer_page(struct request *request);
/* answers of other files */
enum MHD_Result answer_config(struct request *request);
enum MHD_Result answer_logs(struct request *request);
enum MHD_Result answer_rollouts(struct request *request);
enum MHD_Result answer_rollout(struct request *request);
enum MHD_Result answer_fleet_metrics(struct request *request);
enum MHD_Result answer_targets(struct request *request);
/* Suspends the connection until the job of the request is answered. */
enum MHD_Result ask_of(struct asker *asker, struct request *request);
enum MHD_Result answer_why(struct request *request);
enum MHD_Result answer_drain(struct request *request);
enum MHD_Result answer_scale(struct request *request);

#endif
