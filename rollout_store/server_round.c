/* rollout_store/server_round.c - one round: take what peers said, decide, append and sync once, send. */
#include <inttypes.h>
#include <math.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/trace.h"
#include "rollout_store/server_state.h"

enum { IDLE_POLL_MS = 20, FORGET_MS = 60000, AWAKE_GAP_MS = 1000, LONG_MS = 10 };

/* ---- in ---- */

enum status server_answer_view(struct server *server, uint32_t peer, const struct control *control,
                               bool *answered)
{
    struct buffer json;
    buffer_init(&json, 0);
    enum status status = server_view_control(&server->view, control, &json, answered);
    if (status == STATUS_OK && *answered) {
        struct message reply = {.type = MESSAGE_control_reply,
                                .control_reply = {.request = control->request,
                                                  .ok = true,
                                                  .json = buffer_string(&json)}};
        status = server_send(server, peer,
                             &reply); /* nothing in it depends on what is not on disk yet */
    }
    buffer_free(&json);
    return status;
}

static const char *name_of(const struct server *server, uint32_t id)
{
    for (uint32_t i = 0; i < hub_peer_count(server->hub); i++)
        if (hub_peer_at(server->hub, i)->id == id)
            return hub_peer_at(server->hub, i)->name;
    return "unknown";
}

static void note_connection(struct server *server, uint32_t id, bool connected)
{
    if (book_connection(server->book, clock_now_ns(), id, connected))
        LOG_INFO("store", connected ? "connection is back" : "connection is dead", "peer=%s",
                 name_of(server, id));
    if (!connected)
        server_drop_kept(server, id); /* lost with it; a hello begins anew */
}

/* Connections that died or came back. */
void server_take_events(struct server *server)
{
    uint32_t id = 0;
    bool connected = false;
    while (hub_take_event(server->hub, &id, &connected))
        note_connection(server, id, connected);
}

/* Who calls a source back has looked at its judge: its monitor begins anew. */
static void hear_control(struct server *server, const struct control *control)
{
    const char *command = control->command != NULL ? control->command : "";
    if (strcmp(command, "rescore") != 0 && strcmp(command, "resume") != 0)
        return;
    const char *text = control->arguments_json != NULL ? control->arguments_json : "";
    json_t *arguments = json_loads(text[0] != '\0' ? text : "{}", 0, NULL);
    const char *glob = json_string_value(json_object_get(arguments, "source"));
    server_bias_clear(&server->view.bias, glob != NULL ? glob : "*");
    json_decref(arguments);
}

/* curriculum.on_length_bias=pause: no prompt of a source with an alarm is drawn any more. */
static enum status pause_alarmed(struct server *server)
{
    const char *name;
    while ((name = server_bias_take_alarm(&server->view.bias)) != NULL) {
        uint32_t count = 0;
        if (server->settings->curriculum.on_length_bias != ON_LENGTH_BIAS_PAUSE)
            continue;
        TRY(book_pause(server->book, name, true, &server->out, &count));
        LOG_WARN("store", "a source is paused for length bias", "source=\"%s\"", name);
    }
    return STATUS_OK;
}

static enum status take_message(struct server *server, const struct hub_peer *peer,
                                const struct message *message)
{
    bool answered = false;
    if (message->type == MESSAGE_control)
        TRY(server_answer_view(server, peer->id, &message->control, &answered));
    if (message->type == MESSAGE_step_report)
        TRY(server_view_step(&server->view,
                             strlen(message->step_report.metrics_json) <= SERVER_TEXT_MAX
                                 ? message->step_report.metrics_json
                                 : "{}"));
    if (message->type == MESSAGE_control)
        hear_control(server, &message->control);
    if (message->type == MESSAGE_hello)
        server_drop_kept(server, peer->id); /* it begins anew: what it lacks is said again */
    if (message->type == MESSAGE_hello && peer->role != ROLE_CONTROL)
        LOG_DEBUG("store", "hello", "peer=%s incarnation=%016" PRIx64, peer->name,
                  peer->incarnation);
    if (answered)
        return STATUS_OK;
    TRY(book_handle(server->book, clock_now_ns(), peer->id, message, &server->out));
    if (message->type == MESSAGE_hello && !hub_connected(server->hub, peer->id))
        note_connection(server, peer->id, false); /* it died before we came to its hello */
    return STATUS_OK;
}

/* First what came while the disk was full, then what is at the socket. */
static enum status take_messages(struct server *server, int64_t timeout_ms)
{
    for (int i = 0; i < SERVER_ROUND_MESSAGES; i++) {
        struct hub_peer peer = {0};
        struct message message = {0};
        bool taken = false;
        arena_reset(server->in_arena);
        TRY(inbox_take(&server->inbox, server->in_arena, &peer, &message, &taken));
        if (!taken) {
            TRY(hub_poll(server->hub, i == 0 ? timeout_ms : 0, -1, server->in_arena, &peer,
                         &message));
            server_take_events(server);
        }
        if (message.type == MESSAGE_NONE)
            return STATUS_OK;
        TRY(take_message(server, &peer, &message));
    }
    return STATUS_OK;
}

/* ---- to disk, and out ---- */

/* A span of what took so long that somebody may have waited for it. */
static void note_long(const char *name, int64_t begin_ns, int64_t end_ns)
{
    if (end_ns - begin_ns >= LONG_MS * (int64_t)CLOCK_NS_PER_MS)
        trace_span(name, begin_ns, end_ns, 0);
}

static enum status commit(struct server *server)
{
    if (server->out.records.size == 0)
        return STATUS_OK;
    TRY(server_append(server));
    int64_t begin_ns = clock_now_ns();
    TRY(ledger_sync(server->ledger));
    int64_t synced_ns = clock_now_ns();
    metric_observe_ns(&server->metrics.sync_s, synced_ns - begin_ns);
    note_long("ledger sync", begin_ns, synced_ns);
    TRY(snapshots_round(&server->snapshots, server->book, server->ledger));
    note_long("snapshot", synced_ns, clock_now_ns());
    index_advance(server->index, ledger_offset(server->ledger));
    return STATUS_OK;
}

static enum status send_round(struct server *server)
{
    TRY(server_send_kept(server));
    for (size_t i = 0; i < server->out.send_count; i++) {
        if (i == server->out.send_count / 2)
            FAULT("store.sent");
        TRY(server_send(server, server->out.sends[i].peer, &server->out.sends[i].message));
    }
    return STATUS_OK;
}

/* Another stage, and an episode of tail collapse when it begins: a line of the log and an event, with their numbers. */
static enum status note_stage(struct server *server)
{
    struct book_stage now, before = server->seen_stage;
    book_read_stage(server->book, &now);
    if (now.version == before.version && now.stage == before.stage)
        return STATUS_OK;
    server->seen_stage = now;
    const struct stage_verdict *verdict = &now.verdict;
    char text[512];
    if (now.stage != before.stage) {
        snprintf(text, sizeof text,
                 "length stage %" PRIu32 " of %" PRIu32 ": %" PRIu32 " tokens, before %" PRIu32
                 "; after the plan of version %" PRIu64 ": %" PRIu32
                 " plans in the stage, perplexity %.6g changed by %.3g +- %.2g, p99 of "
                 "lengths %.0f, share near the cap %.3g, held for %" PRIu32 " plans",
                 now.stage, now.count, now.cap, before.cap, now.version, verdict->plans,
                 verdict->perplexity, verdict->change, verdict->change_error, verdict->p99,
                 verdict->near_share, verdict->held);
        LOG_INFO("store", "length stage", "stage=%" PRIu32 " cap=%" PRIu32 " why=\"%s\"", now.stage,
                 now.cap, text);
        TRY(server_view_event(&server->view, "stage", text));
    }
    if (!verdict->tail_alarm || before.verdict.tail_alarm)
        return STATUS_OK;
    snprintf(text, sizeof text,
             "tail collapse: after the plan of version %" PRIu64
             " the perplexity of late positions has risen by %.3g (z %.3g) against that of early "
             "ones over a window (stages.tail_rise); lower optim.grad_clip and loss.weight_max, "
             "look at `weir tail`, docs/stages.md",
             now.version, expm1(verdict->tail_change), verdict->tail_z);
    LOG_ERROR("store", "alarm", "why=\"%s\"", text);
    return server_view_event(&server->view, "alarm", text);
}

static enum status note_changes(struct server *server)
{
    struct book_counters counters;
    char text[128];
    book_read_counters(server->book, &counters);
    if (counters.version == server->seen_version && counters.branch == server->seen_branch)
        return STATUS_OK;
    snprintf(text, sizeof text, "version %" PRIu64 " of branch %" PRIu32, counters.version,
             counters.branch);
    if (counters.branch != server->seen_branch)
        LOG_WARN("store", "new branch: a re-made version had another digest",
                 "branch=%" PRIu32 " version=%" PRIu64, counters.branch, counters.version);
    log_set_version(counters.version);
    enum status status = server_view_event(
        &server->view, counters.branch != server->seen_branch ? "branch" : "version", text);
    server->seen_version = counters.version;
    server->seen_branch = counters.branch;
    return status;
}

/* A store that did not run for a while (stopped, slow disk) has not read what they said meanwhile. */
static void forget_silent(struct server *server, int64_t now_ns)
{
    if (now_ns - server->turned_ns > (int64_t)AWAKE_GAP_MS * CLOCK_NS_PER_MS)
        server->awake_ns = now_ns;
    server->turned_ns = now_ns;
    int64_t limit_ns = FORGET_MS * (int64_t)CLOCK_NS_PER_MS;
    for (uint32_t i = hub_peer_count(server->hub); i-- > 0;) {
        const struct hub_peer *peer = hub_peer_at(server->hub, i);
        int64_t since_ns =
            peer->last_heard_ns > server->awake_ns ? peer->last_heard_ns : server->awake_ns;
        if (now_ns - since_ns <= limit_ns)
            continue;
        LOG_WARN("store", "peer forgotten after silence", "peer=%s silent_s=%d", peer->name,
                 FORGET_MS / 1000);
        server_forget(server, peer->id);
    }
}

/* A span of the round that made a plan. */
static void note_plan(struct server *server, int64_t begin_ns)
{
    struct book_counters counters;
    book_read_counters(server->book, &counters);
    if (counters.planned_version > server->traced_plan)
        trace_span("plan", begin_ns, clock_now_ns(), counters.planned_version);
    server->traced_plan = counters.planned_version;
}

enum status server_turn(struct server *server, bool *busy)
{
    int64_t heartbeat_ms = server->settings->store.heartbeat_ms;
    book_out_clear(&server->out);
    TRY(take_messages(server, *busy                         ? 0
                              : heartbeat_ms < IDLE_POLL_MS ? heartbeat_ms
                                                            : IDLE_POLL_MS));
    int64_t begin_ns = clock_now_ns();
    TRY(pause_alarmed(server));
    TRY(book_tick(server->book, clock_now_ns(), &server->out));
    TRY(commit(server));
    TRY(send_round(server));
    note_plan(server, begin_ns);
    *busy = server->out.send_count > 0 || server->inbox.count > 0;
    TRY(server_view_round(&server->view, server->book, clock_now_ns()));
    quarantine_round(&server->quarantine, server->book, server->hub);
    server_metrics_round(server, clock_now_ns());
    TRY(note_changes(server));
    TRY(note_stage(server));
    forget_silent(server, clock_now_ns());
    return STATUS_OK;
}
