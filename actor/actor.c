#include "actor/actor_state.h"

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "model/plan.h"
#include "transport/span_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct metric_row actor_metric_rows[] = {
#define ROW(...) METRIC_ROW(struct actor_metrics, __VA_ARGS__)
    ACTOR_METRICS(ROW)
#undef ROW
};

const struct metric_row *actor_metrics_table(size_t *count)
{
    *count = sizeof actor_metric_rows / sizeof actor_metric_rows[0];
    return actor_metric_rows;
}

static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    struct actor *actor = self;
    heartbeat->version = actor->engine.desk.serving ? actor->engine.desk.version : 0;
    heartbeat->stats_json = monitor_stats(actor->monitor, actor_metric_rows,
                                          sizeof actor_metric_rows / sizeof actor_metric_rows[0],
                                          &actor->engine.metrics, &actor->heartbeat_json);
}

static enum status connect_store(struct actor *actor, const struct actor_options *options)
{
    char numerics[256], host[WIRE_NAME_MAX] = "localhost";
    model_numerics(actor->engine.model, numerics, sizeof numerics);
    struct hello hello = {
        .run = actor->run,
        .role = ROLE_ACTOR,
        .index = options->index,
        .host = host,
        .layout_hash = model_layout_hash(actor->engine.model),
        .numerics_id = actor->engine.numerics_id,
        .numerics = numerics,
        .vocabulary = (uint32_t)model_get_shape(actor->engine.model)->vocabulary,
    };
    TRY(link_open(&actor->link, options->endpoint, options->settings->run.keys, &hello));
    link_set_heartbeat(actor->link, fill_heartbeat, actor);
    return arena_create(&actor->arena, (size_t)WIRE_MESSAGE_MAX * 2);
}

static enum status send_message(void *self, const struct message *message)
{
    const struct actor *actor = self;
    return link_send(actor->link, message);
}

static enum status open_endpoint(struct actor *actor, const struct actor_options *options)
{
    struct http_config config = {.settings = options->settings,
                                 .engine = &actor->engine,
                                 .address = options->settings->actor.http,
                                 .index = options->index,
                                 .model = actor->run};
    return config.address[0] == '\0' ? STATUS_OK : http_open(&actor->http, &config);
}

static void show(struct actor *actor, const struct actor_options *options)
{
    char device[SETTINGS_DEVICE_MAX];
    settings_device(options->settings, options->settings->actor.device, options->index, device);
    monitor_set_device(actor->monitor, device);
    monitor_add(actor->monitor, actor_metric_rows,
                sizeof actor_metric_rows / sizeof actor_metric_rows[0], &actor->engine.metrics);
    monitor_set_ready(actor->monitor, false, "the store has not welcomed it yet");
}

/* Ready: joined, and sampling with weights. */
static void beat(struct actor *actor)
{
    bool joined = link_welcomed(actor->link), serving = actor->engine.desk.serving;
    monitor_beat(actor->monitor);
    const char *why = !joined    ? "the store has not welcomed it"
                      : !serving ? "it has no weights yet"
                                 : NULL;
    if (actor->told && actor->why == why)
        return;
    actor->told = true;
    actor->why = why;
    monitor_set_ready(actor->monitor, why == NULL, why != NULL ? why : "");
}

enum status actor_create(struct actor **out, const struct actor_options *options)
{
    *out = NULL;
    struct actor *actor = memory_alloc(sizeof *actor);
    if (actor == NULL)
        return FAIL(STATUS_NO_MEMORY, "actor");
    actor->index = options->index;
    actor->monitor = options->monitor;
    buffer_init(&actor->heartbeat_json, 0);
    actor->report_ns = clock_now_ns();
    snprintf(actor->run, sizeof actor->run, "%s", options->run);
    enum status status;
    TRY_GOTO(fail,
             engine_create(&actor->engine, options->settings, options->index, ENGINE_SETS_LIVE));
    actor->device = (struct weight_device)WEIGHT_DEVICE(actor->engine.ops);
    TRY_GOTO(fail, connect_store(actor, options));
    TRY_GOTO(fail,
             engine_open_desk(&actor->engine, link_incarnation(actor->link), send_message, actor));
    TRY_GOTO(fail, open_endpoint(actor, options));
    TRY_GOTO(fail, redis_view_open_set(&actor->redis, actor->run, &options->settings->redis));
    span_view_begin(actor->redis);
    show(actor, options);
    *out = actor;
    return STATUS_OK;
fail:
    actor_destroy(&actor);
    return status;
}

void actor_destroy(struct actor **actor_pointer)
{
    struct actor *actor = *actor_pointer;
    if (actor == NULL)
        return;
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    monitor_forget(actor->monitor);
    http_close(&actor->http, &actor->engine, "the actor is leaving");
    actor_close_weights(actor);
    link_close(&actor->link, actor->engine.desk.stopping ? "the run is over" : "leaving");
    redis_view_close(&actor->redis);
    engine_destroy(&actor->engine);
    buffer_free(&actor->heartbeat_json);
    arena_destroy(&actor->arena);
    memory_free(actor);
    *actor_pointer = NULL;
    status_restore(kept);
}

/* ---- run ---- */

static enum status take_message(struct actor *actor, const struct message *message)
{
    if (message->type == MESSAGE_weight_control) {
        actor_take_control(actor, &message->weight_control);
        return STATUS_OK;
    }
    return desk_take(&actor->engine.desk, clock_now_ns(), message);
}

static void report(struct actor *actor)
{
    beat(actor);
    int64_t now_ns = clock_now_ns(), span_ns = now_ns - actor->report_ns;
    if (span_ns < (int64_t)actor->engine.settings->redis.publish_ms * CLOCK_NS_PER_MS)
        return;
    double tokens = metric_read(&actor->engine.metrics.tokens_sampled);
    metric_set(&actor->engine.metrics.tokens_per_s,
               (tokens - actor->tokens_reported) * 1e9 / (double)span_ns);
    metric_set(&actor->engine.metrics.idle_frac,
               1.0 - (double)actor->engine.busy_ns / (double)span_ns);
    metric_set(&actor->engine.metrics.redis_dropped, (double)redis_view_dropped(actor->redis));
    actor->tokens_reported = tokens;
    actor->engine.busy_ns = 0;
    actor->report_ns = now_ns;
    if (actor->redis == NULL)
        return;
    struct heartbeat heartbeat = {0};
    fill_heartbeat(actor, &heartbeat);
    char key[64];
    snprintf(key, sizeof key, "proc:actor:%u", actor->index);
    redis_view_hash(actor->redis, key, heartbeat.stats_json,
                    redis_process_expire_s(&actor->engine.settings->redis));
}

/* Waits for one message, MESSAGE_NONE when none came. A refusal by the store is for good: INVALID, because
 * CANCELLED means that somebody asked this process to stop. */
static enum status poll_store(struct actor *actor, int64_t wait_ms, struct message *message)
{
    *message = (struct message){0};
    arena_reset(actor->arena);
    enum status status =
        link_poll(actor->link, wait_ms, actor_weights_fd(actor), actor->arena, message);
    if (status != STATUS_CANCELLED)
        return status;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", status_last_error());
    return FAIL(STATUS_INVALID, "%s", sentence);
}

/* One step, with the requests of the endpoint in it. */
static enum status decode(struct actor *actor, bool *worked)
{
    if (actor->http == NULL)
        return engine_decode(&actor->engine, worked);
    serve_turn(http_hub(actor->http), &actor->engine);
    TRY(engine_decode(&actor->engine, worked));
    serve_publish(http_hub(actor->http), &actor->engine);
    return STATUS_OK;
}

/* Messages, weights, one decode step, segments. Waits in link_poll only when there is nothing to compute. */
static enum status turn(struct actor *actor, bool *worked)
{
    int64_t wait_ms = *worked ? 0 : 2;
    if (!*worked && !desk_holds_slots(&actor->engine.desk) && actor->member == NULL)
        wait_ms = actor->http != NULL ? 5 : 20;
    for (;;) {
        struct message message;
        TRY(poll_store(actor, wait_ms, &message));
        if (message.type == MESSAGE_NONE)
            break;
        TRY(take_message(actor, &message));
        wait_ms = 0;
    }
    TRY(actor_swap_weights(actor));
    int64_t begin_ns = clock_now_ns();
    double prefilled = metric_read(&actor->engine.metrics.tokens_prefilled);
    TRY(decode(actor, worked));
    bool prefills = metric_read(&actor->engine.metrics.tokens_prefilled) > prefilled;
    trace_chunk_turn(&actor->work,
                     !*worked   ? NULL
                     : prefills ? "prefill"
                                : "decode",
                     begin_ns, (uint64_t)metric_read(&actor->engine.metrics.tokens_sampled),
                     actor->engine.desk.version);
    TRY(desk_turn(&actor->engine.desk, clock_now_ns()));
    report(actor);
    return STATUS_OK;
}

/* Leases go back with their tokens; the frames that carry them must be acknowledged, within drain_s. */
static enum status drain(struct actor *actor, atomic_int *stop_signals)
{
    struct desk *desk = &actor->engine.desk;
    int64_t until_ns =
        clock_now_ns() + (int64_t)actor->engine.settings->run.drain_s * CLOCK_NS_PER_S;
    http_close(&actor->http, &actor->engine, "the actor is leaving");
    monitor_set_ready(actor->monitor, false, "it is leaving");
    desk_hand_back(desk);
    TRY(desk_turn(desk, clock_now_ns()));
    actor_close_weights(actor); /* nobody shall wait for us */
    while (!desk_is_empty(desk) && clock_now_ns() < until_ns && !desk->stopping) {
        if (*stop_signals > 1)
            return FAIL(STATUS_CANCELLED, "stopped by a second signal");
        struct message message;
        TRY(poll_store(actor, 10, &message));
        if (message.type != MESSAGE_NONE)
            TRY(take_message(actor, &message));
        TRY(desk_turn(desk, clock_now_ns()));
    }
    if (desk->writer.count > 0 && !desk->stopping)
        LOG_WARN("actor", "left with frames the store has not acknowledged", "frames=%u",
                 desk->writer.count);
    return STATUS_OK;
}

enum status actor_run(struct actor *actor, atomic_int *stop_signals)
{
    bool worked = false;
    while (!actor->engine.desk.stopping) {
        if (*stop_signals > 1)
            return FAIL(STATUS_CANCELLED, "stopped by a second signal");
        if (*stop_signals == 1 || actor->engine.desk.draining)
            return drain(actor, stop_signals);
        TRY(turn(actor, &worked));
    }
    return STATUS_OK;
}
