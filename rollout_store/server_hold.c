/* rollout_store/server_hold.c - a full disk is back-pressure: the round waits, nothing is told, nothing is lost.
 *
 * While the ledger has no room the store keeps the round's records and sends, tries again, raises an alarm, and answers
 * what operators ask. What others say is put into a bounded inbox (heartbeats are not: they are said again); when that
 * is full, the socket is not read any more, and its peers feel the back-pressure. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "rollout_store/server_state.h"

/* ---- inbox ---- */

enum status inbox_create(struct inbox *inbox)
{
    inbox->kept = memory_array(INBOX_MAX, sizeof *inbox->kept);
    inbox->peers = memory_array(INBOX_MAX, sizeof *inbox->peers);
    return inbox->kept != NULL && inbox->peers != NULL ? STATUS_OK
                                                       : FAIL(STATUS_NO_MEMORY, "inbox");
}

void inbox_destroy(struct inbox *inbox)
{
    for (size_t i = 0; inbox->kept != NULL && i < INBOX_MAX; i++)
        buffer_free(&inbox->kept[i].bytes);
    memory_free(inbox->kept);
    memory_free(inbox->peers);
    *inbox = (struct inbox){0};
}

static bool inbox_full(const struct inbox *inbox)
{
    return inbox->count == INBOX_MAX || inbox->bytes >= INBOX_BYTES;
}

static enum status inbox_put(struct inbox *inbox, const struct hub_peer *peer,
                             const struct message *message)
{
    size_t at = (inbox->first + inbox->count) % INBOX_MAX;
    struct buffer *bytes = &inbox->kept[at].bytes;
    buffer_clear(bytes);
    TRY(message_pack(message, bytes));
    inbox->peers[at] = *peer;
    inbox->count++;
    inbox->bytes += bytes->size;
    return STATUS_OK;
}

enum status inbox_take(struct inbox *inbox, struct arena *arena, struct hub_peer *peer,
                       struct message *message, bool *taken)
{
    *taken = inbox->count > 0;
    if (!*taken)
        return STATUS_OK;
    struct buffer *bytes = &inbox->kept[inbox->first].bytes;
    TRY(message_unpack(message, arena, bytes->bytes, bytes->size));
    *peer = inbox->peers[inbox->first];
    inbox->bytes -= bytes->size;
    buffer_free(bytes);
    inbox->first = (inbox->first + 1) % INBOX_MAX;
    inbox->count--;
    return STATUS_OK;
}

/* ---- what is answered while the disk is full ---- */

static enum status send_control_hello(struct server *server, const struct hub_peer *peer,
                                      const struct message *message)
{
    struct arena *arena = NULL;
    TRY(arena_create(&arena, (size_t)1 << 20));
    struct book_out out;
    book_out_init(&out, arena);
    enum status status = book_handle(server->book, clock_now_ns(), peer->id, message, &out);
    if (status == STATUS_OK && out.records.size > 0)
        status = FAIL(STATUS_LIMIT, "the hello of an operator changed the ledger");
    for (size_t i = 0; i < out.send_count && status == STATUS_OK; i++)
        status = server_send(server, out.sends[i].peer, &out.sends[i].message);
    book_out_free(&out);
    arena_destroy(&arena);
    return status;
}

/* status, why and counters change nothing; what they tell is for people. */
static enum status answer_control(struct server *server, uint32_t peer,
                                  const struct control *control, bool *answered)
{
    TRY(server_answer_view(server, peer, control, answered));
    if (*answered)
        return STATUS_OK;
    struct buffer json;
    buffer_init(&json, 0);
    enum status status = STATUS_OK;
    int64_t now_ns = clock_now_ns();
    *answered = true;
    if (strcmp(control->command, "status") == 0)
        status = book_status_json(server->book, now_ns, &json);
    else if (strcmp(control->command, "counters") == 0)
        status = book_counters_json(server->book, &json);
    else if (strcmp(control->command, "why") == 0)
        status = book_why_json(server->book, now_ns, &json);
    else
        *answered = false;
    if (status == STATUS_OK && *answered) {
        struct message reply = {.type = MESSAGE_control_reply,
                                .control_reply = {control->request, true, buffer_string(&json)}};
        status = server_send(server, peer, &reply);
    }
    buffer_free(&json);
    return status;
}

static enum status take_held(struct server *server, const struct hub_peer *peer,
                             const struct message *message)
{
    bool control = peer->role == ROLE_CONTROL, answered = false;
    if (message->type == MESSAGE_heartbeat)
        return STATUS_OK;
    if (control && (message->type == MESSAGE_hello || message->type == MESSAGE_bye))
        return send_control_hello(server, peer, message);
    if (control && message->type == MESSAGE_control)
        TRY(answer_control(server, peer->id, &message->control, &answered));
    return answered ? STATUS_OK : inbox_put(&server->inbox, peer, message);
}

static enum status listen_held(struct server *server, int64_t until_ns)
{
    for (int64_t left_ms; (left_ms = (until_ns - clock_now_ns()) / CLOCK_NS_PER_MS) > 0;) {
        if (server->stop_signals != NULL && *server->stop_signals > 0)
            return STATUS_OK;
        if (inbox_full(&server->inbox)) {
            enum status slept = wait_poll("room on the disk", "ledger", left_ms, NULL, 0);
            return slept == STATUS_TIMEOUT ? STATUS_OK : slept;
        }
        struct hub_peer peer = {0};
        struct message message = {0};
        arena_reset(server->in_arena);
        TRY(hub_poll(server->hub, left_ms, -1, server->in_arena, &peer, &message));
        server_take_events(server);
        if (message.type != MESSAGE_NONE)
            TRY(take_held(server, &peer, &message));
        TRY(server_send_kept(server));
    }
    return STATUS_OK;
}

/* ---- the round that waits ---- */

static void raise_alarm(struct server *server, const char *why, int64_t began_ns)
{
    char text[512];
    snprintf(text, sizeof text,
             "the run waits for room on the disk since %" PRId64 " s: %zu bytes wait; %s",
             (clock_now_ns() - began_ns) / CLOCK_NS_PER_S, server->out.records.size, why);
    LOG_ERROR("store", "disk full, nothing is acknowledged", "why=\"%s\"", text);
    book_hold_for(server->book, clock_now_ns(), text);
    if (server_view_event(&server->view, "alarm", text) != STATUS_OK)
        LOG_WARN("store", "alarm not shown", "why=\"%s\"", status_last_error());
}

enum status server_append(struct server *server)
{
    int64_t began_ns = clock_now_ns(), alarm_ns = 0;
    for (bool held = false;; held = true) {
        enum status status =
            ledger_append(server->ledger, server->out.records.bytes, server->out.records.size);
        if (status != STATUS_LIMIT) {
            if (held && status == STATUS_OK) {
                LOG_WARN("store", "the disk has room again", "held_ms=%" PRId64,
                         (clock_now_ns() - began_ns) / CLOCK_NS_PER_MS);
                book_hold_for(server->book, clock_now_ns(), NULL);
                TRY(server_view_event(&server->view, "alarm over", "the disk has room again"));
            }
            return status;
        }
        char why[384];
        snprintf(why, sizeof why, "%s", status_sentence(status_last_error()));
        if (alarm_ns == 0 ||
            clock_now_ns() - alarm_ns >= (int64_t)ALARM_EVERY_MS * CLOCK_NS_PER_MS) {
            alarm_ns = clock_now_ns();
            raise_alarm(server, why, began_ns);
        }
        if (server->stop_signals != NULL && *server->stop_signals > 0)
            return FAIL(STATUS_CANCELLED,
                        "stopped while %zu bytes of decisions waited for room; nobody was told of "
                        "them, so nothing is lost: %s",
                        server->out.records.size, why);
        TRY(listen_held(server, clock_now_ns() + (int64_t)HOLD_RETRY_MS * CLOCK_NS_PER_MS));
    }
}
