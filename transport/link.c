/* transport/link.c - link_core on a ZeroMQ DEALER. */
#include "transport/link.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <zmq.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/link_core.h"
#include "transport/socket.h"

enum {
    POLL_SLICE_MS = 100,
    HANDSHAKE_FAILED = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
    MONITORED = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                HANDSHAKE_FAILED,
    QUICK_MS = 1000,  /* a handshake that fails sooner was ended by the other side */
    DROPPED_MAX = 10, /* in a row: it is the keys */
    FULL_MS = 15000,  /* a store drops who comes while it is full, of idle ones for at most 5 s */
    MISMATCH_MAX = 3, /* in a row: nobody there speaks our protocol */
};

struct link {
    void *context, *socket;
    void *monitor; /* PAIR with libzmq's events of `socket` */
    char endpoint[SOCKET_ENDPOINT_MAX];
    struct link_core *core;
    struct socket_inbox inbox;
    struct buffer waits;
    link_heartbeat_fn fill; /* of the owner */
    void *fill_self;
    char *keys_folder; /* NULL: the link uses no keys */
    int64_t connected_ns;
    bool sent;                    /* since the last look for messages */
    uint32_t dropped, mismatched; /* handshakes in a row that failed so */
    int64_t dropped_ns;           /* the first of them */
};

/* ---- open and close ---- */

static enum status send_bytes(void *self, const void *bytes, size_t size)
{
    struct link *link = self;
    link->sent = true;
    return socket_send(link->socket, NULL, 0, bytes, size);
}

/* The table of waits is the process's, so it is read here and not in the core. */
static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    struct link *link = self;
    buffer_clear(&link->waits);
    if (wait_table_json(&link->waits) == STATUS_OK)
        heartbeat->waits_json = buffer_string(&link->waits);
    if (link->fill != NULL)
        link->fill(link->fill_self, heartbeat);
}

static enum status complete_hello(struct hello *hello)
{
    while (hello->incarnation == 0)
        if (getrandom(&hello->incarnation, sizeof hello->incarnation, 0) !=
            (ssize_t)sizeof hello->incarnation)
            return FAIL(STATUS_IO, "getrandom: %s", strerror(errno));
    if (hello->pid == 0)
        hello->pid = (uint32_t)getpid();
    return STATUS_OK;
}

static void link_free(struct link **link)
{
    struct link *old = *link;
    socket_inbox_free(&old->inbox);
    socket_monitor_close(old->socket, &old->monitor);
    socket_close(&old->context, &old->socket);
    link_core_destroy(&old->core);
    buffer_free(&old->waits);
    memory_free(old->keys_folder);
    memory_free(old);
    *link = NULL;
}

static enum status use_keys(struct link *link, enum role role, const char *folder)
{
    struct key_pair pair = {0};
    char store_public[KEY_TEXT_MAX];
    link->keys_folder = memory_text(folder);
    if (link->keys_folder == NULL)
        return FAIL(STATUS_NO_MEMORY, "link to %s", link->endpoint);
    TRY(key_store_public(folder, store_public));
    enum status status = key_pair_read(folder, role_name(role), &pair);
    if (status == STATUS_OK)
        status = socket_secure_client(link->socket, &pair, store_public);
    key_pair_wipe(&pair);
    return status;
}

/* Messages queue only for a connection that stands (ZMQ_IMMEDIATE): after a new one the first is a hello. */
static enum status connect_to(struct link *link, const struct hello *hello)
{
    char identity[SOCKET_IDENTITY_MAX];
    int on = 1;
    socket_identity(hello->role, hello->index, hello->incarnation, identity);
    if (zmq_setsockopt(link->socket, ZMQ_ROUTING_ID, identity, strlen(identity)) != 0 ||
        zmq_setsockopt(link->socket, ZMQ_IMMEDIATE, &on, sizeof on) != 0 ||
        zmq_connect(link->socket, link->endpoint) != 0)
        return FAIL(STATUS_INVALID, "cannot connect to \"%s\": %s", link->endpoint,
                    zmq_strerror(errno));
    return STATUS_OK;
}

enum status link_open(struct link **link, const char *endpoint, const char *keys_folder,
                      const struct hello *hello)
{
    bool keyed = keys_folder != NULL && keys_folder[0] != '\0';
    struct endpoint parsed;
    struct link *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "link to %s", endpoint);
    buffer_init(&made->waits, 0);
    socket_inbox_init(&made->inbox);
    struct hello said = *hello;
    enum status status;
    TRY_GOTO(out, complete_hello(&said));
    TRY_GOTO(out, endpoint_parse(endpoint, false, keyed, &parsed));
    memcpy(made->endpoint, parsed.text, sizeof made->endpoint);
    TRY_GOTO(out, link_core_create(&made->core, &said, made->endpoint, send_bytes, made));
    link_core_set_heartbeat(made->core, fill_heartbeat, made);
    TRY_GOTO(out, socket_open(ZMQ_DEALER, &parsed, &made->context, &made->socket));
    if (keyed && parsed.tcp)
        TRY_GOTO(out, use_keys(made, said.role, keys_folder));
    TRY_GOTO(out, socket_monitor(made->context, made->socket, MONITORED, &made->monitor));
    TRY_GOTO(out, connect_to(made, &said));
out:
    if (status != STATUS_OK)
        link_free(&made);
    else
        *link = made;
    return status;
}

void link_close(struct link **link, const char *bye_reason)
{
    if (*link == NULL)
        return;
    struct message bye = {.type = MESSAGE_bye, .bye = {bye_reason != NULL ? bye_reason : ""}};
    if (link_core_welcomed((*link)->core) && link_core_send((*link)->core, &bye) != STATUS_OK)
        LOG_WARN("link", "bye not sent", "store=%s why=\"%s\"", (*link)->endpoint,
                 status_last_error());
    link_free(link);
}

/* ---- waiting ---- */

/* libzmq gives a connection up after such an error, and is made to try again: a port may have been somebody else's for a
 * moment, even our own (TCP connects to itself when nobody listens there). */
static enum status take_mismatch(struct link *link, const char *why)
{
    if (++link->mismatched >= MISMATCH_MAX)
        return FAIL(STATUS_CANCELLED,
                    "who listens at %s is no store of this run (%s; this process uses %s keys): "
                    "compare store.endpoint and run.keys on both sides",
                    link->endpoint, why, link->keys_folder != NULL ? link->keys_folder : "no");
    zmq_disconnect(link->socket, link->endpoint);
    if (zmq_connect(link->socket, link->endpoint) != 0)
        return FAIL(STATUS_IO, "cannot connect to %s: %s", link->endpoint, zmq_strerror(errno));
    return STATUS_OK;
}

/* A store that cannot read our handshake drops the connection without a word, and so may one whose words are lost: it
 * closes while bytes of ours are unread, and the reset that follows overtakes its greeting. A store that is stopped or
 * restarted may do so too, but not so often or so quickly. */
static enum status take_drop(struct link *link)
{
    bool quick = clock_now_ns() - link->connected_ns < QUICK_MS * (int64_t)CLOCK_NS_PER_MS;
    link->dropped = quick ? link->dropped + 1 : 0;
    if (link->dropped <= 1)
        link->dropped_ns = clock_now_ns();
    if (link->dropped < DROPPED_MAX)
        return STATUS_OK;
    if (link->keys_folder == NULL) {
        if (clock_now_ns() - link->dropped_ns < FULL_MS * (int64_t)CLOCK_NS_PER_MS)
            return STATUS_OK;
        return FAIL(STATUS_CANCELLED,
                    "who listens at %s is no store of this run, or one that is full for long (it "
                    "dropped %u handshakes in a row; this process uses no keys): compare "
                    "store.endpoint and run.keys on both sides",
                    link->endpoint, link->dropped);
    }
    return FAIL(STATUS_CANCELLED,
                "the store at %s dropped %u handshakes in a row: %s/store.pub is probably the key "
                "of another store, or that store uses no keys",
                link->endpoint, link->dropped, link->keys_folder);
}

static enum status take_event(struct link *link, int event, int value)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        link->connected_ns = clock_now_ns();
        return STATUS_OK;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        link->dropped = link->mismatched = 0;
        link_core_disconnected(link->core); /* hello is due at once */
        return STATUS_OK;
    case ZMQ_EVENT_DISCONNECTED:
        link_core_disconnected(link->core);
        return STATUS_OK;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return FAIL(STATUS_CANCELLED,
                    "the store at %s does not let the key of %s/%s.key in: its `allow` file lacks "
                    "the public key, or it was revoked",
                    link->endpoint, link->keys_folder != NULL ? link->keys_folder : "no folder",
                    role_name(link_core_role(link->core)));
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return take_mismatch(link, socket_handshake_text(event, value));
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return take_drop(link);
    default:
        return STATUS_OK;
    }
}

/* Disconnects must be seen: libzmq reconnects silently and what was on the way is lost, so the link says hello again
 * and the owner resends. */
static enum status read_monitor(struct link *link)
{
    int event = 0, value = 0;
    while (socket_monitor_read(link->monitor, &event, &value))
        TRY(take_event(link, event, value));
    return STATUS_OK;
}

/* Takes one message that is there already; *taken is false when there is none. One that is skipped or only concerns
 * the link leaves type NONE: the poll ends, so that the caller can reset the arena. */
static enum status receive(struct link *link, struct arena *arena, struct message *message,
                           bool *taken)
{
    *taken = socket_take(link->socket, false, &link->inbox);
    if (!*taken)
        return STATUS_OK;
    return link_core_take(link->core, clock_now_ns(), link->inbox.bytes, link->inbox.size, arena,
                          message);
}

/* Until the core has something to do, at most POLL_SLICE_MS. */
static int64_t slice_ms(const struct link *link)
{
    int64_t due_ns = link_core_due_ns(link->core), now_ns = clock_now_ns();
    if (due_ns <= now_ns)
        return 0;
    int64_t ms = (due_ns - now_ns) / CLOCK_NS_PER_MS + 1;
    return ms < POLL_SLICE_MS ? ms : POLL_SLICE_MS;
}

enum status link_poll(struct link *link, int64_t timeout_ms, int extra_fd, struct arena *arena,
                      struct message *message)
{
    struct wait wait = wait_begin("message", "store", timeout_ms);
    enum status status;
    bool taken = false, woken = false; /* woken: by extra_fd or a signal */
    message->type = MESSAGE_NONE;
    for (;;) {
        link->sent = false;
        TRY_GOTO(out, read_monitor(link));
        TRY_GOTO(out, receive(link, arena, message, &taken));
        TRY_GOTO(out, link_core_turn(link->core, clock_now_ns()));
        if (taken || woken || wait_left_ms(&wait) == 0)
            break;
        if (!link->sent) /* libzmq may have taken what came while it sent: look again before waiting */
            TRY_GOTO(out, socket_wait(link->socket, link->monitor, extra_fd,
                                      wait_slice_ms(&wait, slice_ms(link)), &woken));
    }
out:;
    enum status ended = wait_end(&wait, true); /* nothing in time is no error here */
    return status != STATUS_OK ? status : ended;
}

enum status link_send(struct link *link, const struct message *message)
{
    TRY(read_monitor(link));
    return link_core_send(link->core, message);
}

/* ---- settings and getters ---- */

void link_set_heartbeat(struct link *link, link_heartbeat_fn fill, void *self)
{
    link->fill = fill;
    link->fill_self = self;
}

void link_set_silence(struct link *link, int64_t silent_limit_ms)
{
    link_core_set_silence(link->core, silent_limit_ms);
}

bool link_welcomed(const struct link *link)
{
    return link_core_welcomed(link->core);
}

uint64_t link_incarnation(const struct link *link)
{
    return link_core_incarnation(link->core);
}

int64_t link_silent_ms(const struct link *link)
{
    return link_core_silent_ms(link->core, clock_now_ns());
}

uint32_t link_reconnects(const struct link *link)
{
    return link_core_reconnects(link->core);
}
