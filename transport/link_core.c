#include "transport/link_core.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "transport/envelope.h"
#include "transport/socket.h"

enum {
    HELLO_EVERY_MS = 100,
    HELLO_FULL_MS = 10, /* after a hello that was not taken: no connection yet */
    HEARTBEAT_DEFAULT_MS = 1000,
    TEXTS = 3,
};

struct link_core {
    link_core_send_fn send;
    void *send_self;
    char *where;
    struct hello hello;  /* texts owned */
    char *texts[TEXTS];  /* run, host, numerics of hello */
    struct buffer bytes; /* of the message being sent */
    link_heartbeat_fn fill;
    void *fill_self;
    bool welcomed, ever_welcomed;
    uint32_t reconnects;
    uint64_t broken; /* messages that could not be read */
    int64_t heartbeat_ms;
    int64_t silent_limit_ms;
    int64_t next_hello_ns;
    int64_t next_heartbeat_ns;
    int64_t last_heard_ns; /* INT64_MIN: no turn yet */
    int64_t asked_ns; /* of the first question since the store was heard; INT64_MIN: none is open */
};

/* ---- create and destroy ---- */

static enum status copy_hello(struct link_core *core, const struct hello *hello)
{
    const char *texts[TEXTS] = {hello->run, hello->host, hello->numerics};
    for (int i = 0; i < TEXTS; i++) {
        core->texts[i] = memory_text(texts[i] != NULL ? texts[i] : "");
        if (core->texts[i] == NULL)
            return FAIL(STATUS_NO_MEMORY, "link to %s", core->where);
    }
    core->hello = *hello;
    core->hello.run = core->texts[0];
    core->hello.host = core->texts[1];
    core->hello.numerics = core->texts[2];
    if (hello->incarnation == 0)
        return FAIL(STATUS_INVALID, "hello of %s.%" PRIu32 " to %s has no incarnation",
                    role_name(hello->role), hello->index, core->where);
    struct message message = {.type = MESSAGE_hello, .hello = core->hello};
    return message_pack(&message, &core->bytes); /* a bad hello is seen here, not at the store */
}

enum status link_core_create(struct link_core **core, const struct hello *hello, const char *where,
                             link_core_send_fn send, void *self)
{
    struct link_core *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "link to %s", where);
    buffer_init(&made->bytes, 0);
    made->send = send;
    made->send_self = self;
    made->heartbeat_ms = HEARTBEAT_DEFAULT_MS;
    made->next_hello_ns = made->last_heard_ns = made->asked_ns = INT64_MIN;
    enum status status = STATUS_OK;
    made->where = memory_text(where);
    if (made->where == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "link to %s", where);
        goto fail;
    }
    TRY_GOTO(fail, copy_hello(made, hello));
    *core = made;
    return STATUS_OK;
fail:
    link_core_destroy(&made);
    return status;
}

void link_core_destroy(struct link_core **core)
{
    struct link_core *old = *core;
    if (old == NULL)
        return;
    for (int i = 0; i < TEXTS; i++)
        memory_free(old->texts[i]);
    memory_free(old->where);
    buffer_free(&old->bytes);
    memory_free(old);
    *core = NULL;
}

void link_core_set_heartbeat(struct link_core *core, link_heartbeat_fn fill, void *self)
{
    core->fill = fill;
    core->fill_self = self;
}

void link_core_set_silence(struct link_core *core, int64_t silent_limit_ms)
{
    core->silent_limit_ms = silent_limit_ms;
}

/* ---- sending ---- */

static enum status send_now(struct link_core *core, const struct message *message)
{
    buffer_clear(&core->bytes);
    TRY(message_pack(message, &core->bytes));
    return core->send(core->send_self, core->bytes.bytes, core->bytes.size);
}

enum status link_core_send(struct link_core *core, const struct message *message)
{
    if (!core->welcomed)
        return FAIL(STATUS_AGAIN, "the store at %s has not welcomed us yet", core->where);
    return send_now(core, message);
}

static int64_t heartbeat_every_ms(const struct link_core *core)
{
    int64_t half = core->silent_limit_ms / 2;
    bool shorter = half > 0 && half < core->heartbeat_ms;
    return shorter ? half : core->heartbeat_ms;
}

static enum status send_hello(struct link_core *core, int64_t now_ns)
{
    struct message message = {.type = MESSAGE_hello, .hello = core->hello};
    enum status status = send_now(core, &message);
    core->next_hello_ns =
        clock_after_ms(now_ns, status == STATUS_AGAIN ? HELLO_FULL_MS : HELLO_EVERY_MS);
    return status;
}

static enum status send_heartbeat(struct link_core *core, int64_t now_ns)
{
    struct message message = {.type = MESSAGE_heartbeat,
                              .heartbeat = {.incarnation = core->hello.incarnation,
                                            .stats_json = "{}",
                                            .waits_json = "[]"}};
    if (core->fill != NULL)
        core->fill(core->fill_self, &message.heartbeat);
    core->next_heartbeat_ns = clock_after_ms(now_ns, heartbeat_every_ms(core));
    return send_now(core, &message);
}

static enum status check_silence(const struct link_core *core, int64_t now_ns)
{
    if (core->silent_limit_ms <= 0 || core->asked_ns == INT64_MIN)
        return STATUS_OK;
    int64_t silent_ms = (now_ns - core->asked_ns) / CLOCK_NS_PER_MS;
    if (silent_ms < core->silent_limit_ms)
        return STATUS_OK;
    return FAIL(STATUS_NETWORK,
                "the store at %s has not answered for %" PRId64 " ms (limit %" PRId64
                " ms, %s): is weir-store running and on this endpoint?",
                core->where, silent_ms, core->silent_limit_ms,
                core->ever_welcomed ? "it was there before" : "never heard of it");
}

/* Hello while unknown, heartbeat when due. AGAIN (nothing is taken) is no error: the next turn asks again. */
enum status link_core_turn(struct link_core *core, int64_t now_ns)
{
    if (core->last_heard_ns == INT64_MIN)
        core->last_heard_ns = now_ns;
    TRY(check_silence(core, now_ns));
    enum status status;
    if (!core->welcomed && now_ns >= core->next_hello_ns)
        status = send_hello(core, now_ns);
    else if (core->welcomed && now_ns >= core->next_heartbeat_ns)
        status = send_heartbeat(core, now_ns);
    else
        return STATUS_OK;
    if (core->asked_ns == INT64_MIN)
        core->asked_ns = now_ns;
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

int64_t link_core_due_ns(const struct link_core *core)
{
    int64_t due_ns = core->welcomed ? core->next_heartbeat_ns : core->next_hello_ns;
    if (core->silent_limit_ms > 0 && core->asked_ns != INT64_MIN) {
        int64_t silent_ns = clock_after_ms(core->asked_ns, core->silent_limit_ms);
        due_ns = silent_ns < due_ns ? silent_ns : due_ns;
    }
    return due_ns;
}

/* ---- receiving ---- */

void link_core_disconnected(struct link_core *core)
{
    core->welcomed = false;
    core->next_hello_ns = INT64_MIN;
}

/* While unwelcomed a hello is on its way already: one more for each answer would never end. */
static void say_hello_again(struct link_core *core)
{
    if (core->welcomed)
        core->next_hello_ns = INT64_MIN;
    core->welcomed = false;
}

/* What was in it is unknown, so the store is asked for everything again. */
static enum status take_broken(struct link_core *core, const void *bytes, size_t size)
{
    uint16_t protocol;
    if (envelope_foreign(bytes, size, &protocol))
        return FAIL(STATUS_CANCELLED,
                    "the store at %s speaks wire protocol %u, this %s.%" PRIu32
                    " speaks %d: run the same version of weir everywhere",
                    core->where, protocol, role_name(core->hello.role), core->hello.index,
                    WIRE_PROTOCOL);
    core->broken++;
    LOG_ERROR("link", "broken message, asking again", "store=%s count=%" PRIu64 " why=\"%s\"",
              core->where, core->broken, status_last_error());
    say_hello_again(core);
    return STATUS_OK;
}

/* What the link itself does with a message; *mine: the owner does not see it. */
static enum status absorb(struct link_core *core, int64_t now_ns, const struct message *message,
                          bool *mine)
{
    if (message->type == MESSAGE_refused)
        return FAIL(STATUS_CANCELLED, "the store at %s refused %s.%" PRIu32 ": %s", core->where,
                    role_name(core->hello.role), core->hello.index, message->refused.reason);
    if (message->type == MESSAGE_bye && strcmp(message->bye.reason, WIRE_WANTS_HELLO) == 0) {
        *mine = true;
        say_hello_again(core);
    }
    if (message->type == MESSAGE_welcome) { /* a hello that was repeated is answered twice */
        core->reconnects += core->ever_welcomed && !core->welcomed ? 1 : 0;
        core->welcomed = core->ever_welcomed = true;
        core->heartbeat_ms = message->welcome.heartbeat_ms;
        core->next_heartbeat_ns = clock_after_ms(now_ns, heartbeat_every_ms(core));
    }
    return STATUS_OK;
}

enum status link_core_take(struct link_core *core, int64_t now_ns, const void *bytes, size_t size,
                           struct arena *arena, struct message *message)
{
    struct message got;
    bool mine = false;
    message->type = MESSAGE_NONE;
    core->last_heard_ns = now_ns;
    core->asked_ns = INT64_MIN;
    /* A relabelled `refused` of a store of another protocol arrives as one of ours. */
    if (message_unpack(&got, arena, bytes, size) != STATUS_OK)
        return take_broken(core, bytes, size);
    TRY(absorb(core, now_ns, &got, &mine));
    if (!mine)
        *message = got;
    return STATUS_OK;
}

/* ---- getters ---- */

bool link_core_welcomed(const struct link_core *core)
{
    return core->welcomed;
}

enum role link_core_role(const struct link_core *core)
{
    return core->hello.role;
}

uint64_t link_core_incarnation(const struct link_core *core)
{
    return core->hello.incarnation;
}

uint32_t link_core_reconnects(const struct link_core *core)
{
    return core->reconnects;
}

uint64_t link_core_broken(const struct link_core *core)
{
    return core->broken;
}

int64_t link_core_silent_ms(const struct link_core *core, int64_t now_ns)
{
    return core->last_heard_ns == INT64_MIN ? 0 : (now_ns - core->last_heard_ns) / CLOCK_NS_PER_MS;
}
