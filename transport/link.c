#include "transport/link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/socket.h"

enum {
    HELLO_EVERY_MS = 500,
    HEARTBEAT_DEFAULT_MS = 1000,
    POLL_SLICE_MS = 100,
};

struct link {
    void *context, *socket;
    void *monitor; /* PAIR with libzmq's events of `socket` */
    char endpoint[SOCKET_ENDPOINT_MAX];
    struct hello hello;  /* texts owned */
    char *texts[3];      /* run, host, numerics of hello */
    struct buffer bytes; /* of the message being sent */
    struct buffer waits;
    link_heartbeat_fn fill;
    void *fill_self;
    bool welcomed;
    bool ever_welcomed;
    uint32_t reconnects;
    int64_t heartbeat_ms;
    int64_t silent_limit_ms;
    int64_t next_hello_ns;
    int64_t next_heartbeat_ns;
    int64_t last_heard_ns;
    int64_t asked_ns; /* of the first question since the store was heard; 0: none is open */
};

/* ---- open and close ---- */

/* Disconnects must be seen: libzmq reconnects silently and what was on the way is lost, so the link
 * says hello again and the owner resends. */
static enum status open_monitor(struct link *link)
{
    static _Atomic uint32_t number;
    char name[64];
    snprintf(name, sizeof name, "inproc://link-monitor-%" PRIu32, atomic_fetch_add(&number, 1));
    if (zmq_socket_monitor(link->socket, name, ZMQ_EVENT_DISCONNECTED) != 0)
        return FAIL(STATUS_IO, "zmq_socket_monitor: %s", zmq_strerror(errno));
    link->monitor = zmq_socket(link->context, ZMQ_PAIR);
    int none = 0;
    if (link->monitor == NULL ||
        zmq_setsockopt(link->monitor, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_connect(link->monitor, name) != 0)
        return FAIL(STATUS_IO, "socket monitor: %s", zmq_strerror(errno));
    return STATUS_OK;
}

static enum status copy_hello(struct link *link, const struct hello *hello)
{
    const char *texts[3] = {hello->run, hello->host, hello->numerics};
    for (int i = 0; i < 3; i++) {
        link->texts[i] = memory_text(texts[i] != NULL ? texts[i] : "");
        if (link->texts[i] == NULL)
            return FAIL(STATUS_NO_MEMORY, "link to %s", link->endpoint);
    }
    link->hello = *hello;
    link->hello.run = link->texts[0];
    link->hello.host = link->texts[1];
    link->hello.numerics = link->texts[2];
    if (link->hello.incarnation == 0)
        link->hello.incarnation = (uint64_t)clock_wall_ns();
    if (link->hello.pid == 0)
        link->hello.pid = (uint32_t)getpid();
    struct message message = {.type = MESSAGE_hello, .hello = link->hello};
    return message_pack(&message, &link->bytes); /* a bad hello is seen here, not at the store */
}

static void link_free(struct link **link)
{
    struct link *old = *link;
    if (old->monitor != NULL)
        zmq_close(old->monitor);
    socket_close(&old->context, &old->socket);
    for (int i = 0; i < 3; i++)
        memory_free(old->texts[i]);
    buffer_free(&old->bytes);
    buffer_free(&old->waits);
    memory_free(old);
    *link = NULL;
}

enum status link_open(struct link **link, const char *endpoint, const struct hello *hello)
{
    struct link *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "link to %s", endpoint);
    buffer_init(&made->bytes, 0);
    buffer_init(&made->waits, 0);
    made->heartbeat_ms = HEARTBEAT_DEFAULT_MS;
    made->last_heard_ns = clock_now_ns();
    enum status status;
    char identity[SOCKET_IDENTITY_MAX];
    TRY_GOTO(out, socket_endpoint(endpoint, made->endpoint));
    TRY_GOTO(out, copy_hello(made, hello));
    TRY_GOTO(out, socket_open(ZMQ_DEALER, &made->context, &made->socket));
    TRY_GOTO(out, open_monitor(made));
    socket_identity(made->hello.role, made->hello.index, made->hello.incarnation, identity);
    if (zmq_setsockopt(made->socket, ZMQ_ROUTING_ID, identity, strlen(identity)) != 0 ||
        zmq_connect(made->socket, made->endpoint) != 0) {
        status =
            FAIL(STATUS_INVALID, "cannot connect to \"%s\": %s", endpoint, zmq_strerror(errno));
        goto out;
    }
out:
    if (status != STATUS_OK)
        link_free(&made);
    else
        *link = made;
    return status;
}

static enum status send_now(struct link *link, const struct message *message)
{
    buffer_clear(&link->bytes);
    TRY(message_pack(message, &link->bytes));
    return socket_send(link->socket, NULL, 0, &link->bytes);
}

void link_close(struct link **link, const char *bye_reason)
{
    if (*link == NULL)
        return;
    struct message bye = {.type = MESSAGE_bye, .bye = {bye_reason != NULL ? bye_reason : ""}};
    if ((*link)->welcomed && send_now(*link, &bye) != STATUS_OK)
        LOG_WARN("link", "bye not sent", "store=%s why=\"%s\"", (*link)->endpoint,
                 status_last_error());
    link_free(link);
}

/* ---- keeping the connection ---- */

static int64_t after_ms(int64_t now_ns, int64_t ms)
{
    return now_ns + ms * CLOCK_NS_PER_MS;
}

static int64_t heartbeat_every_ms(const struct link *link)
{
    int64_t half = link->silent_limit_ms / 2;
    bool shorter = half > 0 && half < link->heartbeat_ms;
    return shorter ? half : link->heartbeat_ms;
}

static enum status send_heartbeat(struct link *link)
{
    buffer_clear(&link->waits);
    TRY(wait_table_json(&link->waits));
    struct message message = {.type = MESSAGE_heartbeat};
    struct heartbeat *heartbeat = &message.heartbeat;
    heartbeat->incarnation = link->hello.incarnation;
    heartbeat->stats_json = "{}";
    heartbeat->waits_json = buffer_string(&link->waits);
    if (link->fill != NULL)
        link->fill(link->fill_self, heartbeat);
    return send_now(link, &message);
}

/* Hello while unknown, heartbeat when due. AGAIN (queue full) is not an error: the next round asks again. */
static enum status keep_alive(struct link *link, int64_t now_ns)
{
    enum status status = STATUS_AGAIN;
    if (!link->welcomed && now_ns >= link->next_hello_ns) {
        struct message message = {.type = MESSAGE_hello, .hello = link->hello};
        link->next_hello_ns = after_ms(now_ns, HELLO_EVERY_MS);
        status = send_now(link, &message);
    } else if (link->welcomed && now_ns >= link->next_heartbeat_ns) {
        link->next_heartbeat_ns = after_ms(now_ns, heartbeat_every_ms(link));
        status = send_heartbeat(link);
    } else {
        return STATUS_OK;
    }
    if (link->asked_ns == 0)
        link->asked_ns = now_ns;
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

/* Any event of the monitor is a disconnect. */
static void read_monitor(struct link *link)
{
    bool lost = false;
    zmq_msg_t part;
    zmq_msg_init(&part);
    while (zmq_msg_recv(&part, link->monitor, ZMQ_DONTWAIT) >= 0)
        lost = true;
    zmq_msg_close(&part);
    if (!lost)
        return;
    link->welcomed = false;
    link->next_hello_ns = 0;
}

static enum status silence_check(const struct link *link, int64_t now_ns)
{
    if (link->silent_limit_ms <= 0 || link->asked_ns == 0)
        return STATUS_OK;
    int64_t silent_ms = (now_ns - link->asked_ns) / CLOCK_NS_PER_MS;
    if (silent_ms < link->silent_limit_ms)
        return STATUS_OK;
    return FAIL(STATUS_NETWORK,
                "the store at %s has not answered for %" PRId64 " ms (limit %" PRId64
                " ms, %s): is weir-store running and on this endpoint?",
                link->endpoint, silent_ms, link->silent_limit_ms,
                link->ever_welcomed ? "it was there before" : "never heard of it");
}

/* ---- receiving ---- */

/* What the link itself does with a message; *mine: the owner does not see it. */
static enum status absorb(struct link *link, const struct message *message, bool *mine)
{
    if (message->type == MESSAGE_refused)
        return FAIL(STATUS_CANCELLED, "the store at %s refused %s.%" PRIu32 ": %s", link->endpoint,
                    role_name(link->hello.role), link->hello.index, message->refused.reason);
    if (message->type == MESSAGE_bye && strcmp(message->bye.reason, HUB_WANTS_HELLO) == 0) {
        *mine = true;
        if (link->welcomed)
            link->next_hello_ns = 0;
        link->welcomed = false;
    }
    if (message->type == MESSAGE_welcome) {
        link->reconnects += link->ever_welcomed ? 1 : 0;
        link->welcomed = link->ever_welcomed = true;
        link->heartbeat_ms = message->welcome.heartbeat_ms;
        link->next_heartbeat_ns = after_ms(clock_now_ns(), heartbeat_every_ms(link));
    }
    return STATUS_OK;
}

/* Takes one message that is there already; *taken is false when there is none. One that is skipped or
 * only concerns the link leaves type NONE: the poll ends, so that the caller can reset the arena. */
static enum status receive(struct link *link, struct arena *arena, struct message *message,
                           bool *taken)
{
    enum status status = STATUS_OK;
    zmq_msg_t part;
    zmq_msg_init(&part);
    *taken = zmq_msg_recv(&part, link->socket, ZMQ_DONTWAIT) >= 0;
    if (*taken) {
        struct message got;
        bool mine = false;
        link->last_heard_ns = clock_now_ns();
        link->asked_ns = 0;
        if (message_unpack(&got, arena, zmq_msg_data(&part), zmq_msg_size(&part)) == STATUS_OK) {
            status = absorb(link, &got, &mine);
            if (status == STATUS_OK && !mine)
                *message = got;
        } else {
            LOG_ERROR("link", "message skipped", "store=%s why=\"%s\"", link->endpoint,
                      status_last_error());
        }
    }
    zmq_msg_close(&part);
    return status;
}

/* Waits once. *extra: extra_fd is readable; *interrupted: a signal came. */
static enum status wait_once(struct link *link, int timeout_ms, int extra_fd, bool *extra,
                             bool *interrupted)
{
    zmq_pollitem_t items[] = {{link->socket, 0, ZMQ_POLLIN, 0},
                              {link->monitor, 0, ZMQ_POLLIN, 0},
                              {NULL, extra_fd, ZMQ_POLLIN | ZMQ_POLLERR, 0}};
    int ready = zmq_poll(items, extra_fd >= 0 ? 3 : 2, timeout_ms);
    *interrupted = ready < 0 && errno == EINTR;
    if (ready < 0 && errno != EINTR)
        return FAIL(STATUS_IO, "zmq_poll: %s", zmq_strerror(errno));
    *extra = extra_fd >= 0 && items[2].revents != 0;
    return STATUS_OK;
}

enum status link_poll(struct link *link, int64_t timeout_ms, int extra_fd, struct arena *arena,
                      struct message *message)
{
    struct wait wait = wait_begin("message", "store", timeout_ms);
    enum status status;
    bool taken = false, extra = false, interrupted = false;
    message->type = MESSAGE_NONE;
    for (;;) {
        read_monitor(link);
        TRY_GOTO(out, keep_alive(link, clock_now_ns()));
        TRY_GOTO(out, receive(link, arena, message, &taken));
        if (taken || extra || interrupted)
            break;
        TRY_GOTO(out, silence_check(link, clock_now_ns()));
        if (wait_left_ms(&wait) == 0)
            break;
        TRY_GOTO(out, wait_once(link, wait_slice_ms(&wait, POLL_SLICE_MS), extra_fd, &extra,
                                &interrupted));
    }
out:;
    enum status ended = wait_end(&wait, true); /* nothing in time is no error here */
    return status != STATUS_OK ? status : ended;
}

enum status link_send(struct link *link, const struct message *message)
{
    read_monitor(link);
    if (!link->welcomed)
        return FAIL(STATUS_AGAIN, "the store at %s has not welcomed us yet", link->endpoint);
    return send_now(link, message);
}

/* ---- settings and getters ---- */

void link_set_heartbeat(struct link *link, link_heartbeat_fn fill, void *self)
{
    link->fill = fill;
    link->fill_self = self;
}

void link_set_silence(struct link *link, int64_t silent_limit_ms)
{
    link->silent_limit_ms = silent_limit_ms;
}

bool link_welcomed(const struct link *link)
{
    return link->welcomed;
}

uint64_t link_incarnation(const struct link *link)
{
    return link->hello.incarnation;
}

int64_t link_silent_ms(const struct link *link)
{
    return (clock_now_ns() - link->last_heard_ns) / CLOCK_NS_PER_MS;
}

uint32_t link_reconnects(const struct link *link)
{
    return link->reconnects;
}
