#include "actor/actor_state.h"

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "model/plan.h"

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

/* ---- create ---- */

/* The cache holds `slots` sequences of this length at the same time; a longer one takes the room of several.
 * The store never leases more tokens than fit. */
static int32_t positions_max(const struct settings *settings)
{
    return (int32_t)(settings->data.prompt_tokens_max + settings->sampling.response_tokens_max);
}

/* Pages of all sequences together, enough for one of the longest. */
static int64_t cache_pages(const struct settings *settings, int64_t tile)
{
    int64_t each = (positions_max(settings) + tile - 1) / tile, slots = settings->actor.slots;
    if (settings->actor.cache_tokens == 0)
        return each * slots;
    int64_t wanted = (settings->actor.cache_tokens + tile - 1) / tile + slots;
    return wanted < each + slots ? each + slots : wanted;
}

static enum status create_step(struct decode_step *step, int32_t rows_max, uint32_t slots)
{
    step->ids = memory_array((size_t)rows_max, sizeof *step->ids);
    step->segments = memory_array((size_t)slots, sizeof *step->segments);
    step->row_index = memory_array(slots, sizeof *step->row_index);
    step->slot_index = memory_array(slots, sizeof *step->slot_index);
    step->row = memory_array(slots, sizeof *step->row);
    step->token = memory_array(slots, sizeof *step->token);
    step->logprob = memory_array(slots, sizeof *step->logprob);
    step->logprob_truncated = memory_array(slots, sizeof *step->logprob_truncated);
    step->confident = memory_array(slots, sizeof *step->confident);
    bool whole = step->ids && step->segments && step->row_index && step->slot_index && step->row &&
                 step->token && step->logprob && step->logprob_truncated && step->confident;
    return whole ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "scratch of %d rows", rows_max);
}

static void destroy_step(struct decode_step *step)
{
    memory_free(step->ids);
    memory_free(step->segments);
    memory_free(step->row_index);
    memory_free(step->slot_index);
    memory_free(step->row);
    memory_free(step->token);
    memory_free(step->logprob);
    memory_free(step->logprob_truncated);
    memory_free(step->confident);
}

/* Ids that end a text: the tokenizer's and the model folder's. */
static void collect_eos(struct actor *actor)
{
    int64_t eos = tokenizer_eos(actor->tokenizer);
    if (eos >= 0)
        actor->eos[actor->eos_count++] = (uint32_t)eos;
    for (int32_t i = 0; i < actor->shape.eos_count; i++)
        actor->eos[actor->eos_count++] = (uint32_t)actor->shape.eos_ids[i];
}

/* Rows of a step: prefill, and one of each slot. */
static struct model_options options_of(const struct settings *settings)
{
    return (struct model_options){
        .rows_max = (int32_t)(settings->actor.prefill_tokens + settings->actor.slots),
        .lightning_chunk = (int32_t)settings->model.lightning_chunk,
        .lm_head = (enum model_head_precision)settings->model.lm_head};
}

static enum status make_plan(const struct settings *settings, const struct model_shape *shape,
                             const struct op_table *ops, struct memory_plan *plan)
{
    int32_t slots = (int32_t)settings->actor.slots;
    struct model_options options = options_of(settings);
    int64_t flat = 0, packed = 0, workspace = 0, chunk = options.lightning_chunk;
    int64_t pages = cache_pages(settings, ops->kv_tile);
    if (pages > INT32_MAX)
        return FAIL(STATUS_LIMIT, "%d sequences of %d tokens: lower actor.slots or the lengths",
                    slots, positions_max(settings));
    TRY(plan_weights_bytes(shape, ops, options.lm_head, &flat, &packed));
    TRY(model_workspace_bytes(shape, ops, &options, &workspace));
    int64_t states = model_cache_bytes(shape, ops, (int32_t)chunk, slots, 0);
    int64_t cache = model_cache_bytes(shape, ops, (int32_t)chunk, slots, (int32_t)pages);
    plan->process = "actor";
    plan_add(plan, "weights, two sets", 2 * (flat + packed), NULL);
    plan_add(plan, "pages of keys and values", cache - states, "actor.cache_tokens");
    plan_add(plan, "lightning states", states, "actor.slots");
    plan_add(plan, "activations", workspace, "actor.prefill_tokens");
    plan_add(plan, "tables", plan_tables_bytes(shape, positions_max(settings)), NULL);
    plan_add(plan, "logits and kernels' own",
             plan_scratch_bytes(shape, ops, options.rows_max, false), NULL);
    return STATUS_OK;
}

static enum status create_model(struct actor *actor)
{
    const struct settings *settings = actor->settings;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.json", settings->model.path));
    TRY(model_shape_load(&actor->shape, path));
    TRY(tokenizer_open(&actor->tokenizer, settings->model.path, settings->model.tokenizer));
    collect_eos(actor);
    char device[SETTINGS_DEVICE_MAX];
    settings_device(settings, settings->actor.device, actor->index, device);
    TRY(op_table_create(&actor->ops, device, (int32_t)settings->run.threads));
    struct memory_plan plan = {0};
    TRY(make_plan(settings, &actor->shape, actor->ops, &plan));
    TRY(plan_check(&plan, actor->ops));
    int32_t slots = (int32_t)settings->actor.slots;
    struct model_options options = options_of(settings);
    TRY(model_create(&actor->model, &actor->shape, actor->ops, &options));
    char numerics[256];
    model_numerics(actor->model, numerics, sizeof numerics);
    actor->numerics_id = hash64(numerics, strlen(numerics), 0);
    actor->weights_bytes = (size_t)model_weights_bytes(actor->model);
    actor->device = (struct weight_device)WEIGHT_DEVICE(actor->ops);
    for (int i = 0; i < 2; i++)
        TRY(model_weights_create(actor->model, &actor->weights[i]));

    int32_t length = positions_max(settings);
    int64_t pages = cache_pages(settings, actor->ops->kv_tile);
    actor->positions_max = (uint32_t)length;
    TRY(model_cache_create(actor->model, slots, (int32_t)pages, length, &actor->cache));
    /* What may be leased: a sequence leaves part of its last page unused. */
    actor->cache_tokens = (uint64_t)(pages * actor->ops->kv_tile);
    if (settings->actor.cache_tokens > 0)
        actor->cache_tokens -= (uint64_t)slots * (uint64_t)(actor->ops->kv_tile - 1);
    return create_step(&actor->step, options.rows_max, (uint32_t)slots);
}

static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    struct actor *actor = self;
    heartbeat->version = actor->desk.serving ? actor->desk.version : 0;
    heartbeat->stats_json =
        metrics_object(actor_metric_rows, sizeof actor_metric_rows / sizeof actor_metric_rows[0],
                       &actor->metrics, &actor->heartbeat_json);
}

static enum status connect_store(struct actor *actor, const struct actor_options *options)
{
    char numerics[256], host[WIRE_NAME_MAX] = "localhost";
    model_numerics(actor->model, numerics, sizeof numerics);
    struct hello hello = {
        .run = actor->run,
        .role = ROLE_ACTOR,
        .index = options->index,
        .host = host,
        .layout_hash = model_layout_hash(actor->model),
        .numerics_id = actor->numerics_id,
        .numerics = numerics,
        .vocabulary = (uint32_t)model_get_shape(actor->model)->vocabulary,
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

static enum status create_desk(struct actor *actor)
{
    const struct settings *settings = actor->settings;
    struct desk_config config = {
        .incarnation = link_incarnation(actor->link),
        .numerics_id = actor->numerics_id,
        .slots = settings->actor.slots,
        .cache_tokens = actor->cache_tokens,
        .positions_max = actor->positions_max,
        .vocabulary = (uint32_t)actor->shape.vocabulary,
        .eos = actor->eos,
        .eos_count = actor->eos_count,
        .repetition_tokens = settings->sampling.repetition_tokens,
        .segment_tokens = settings->actor.segment_tokens,
        .segment_ns = (int64_t)settings->actor.segment_ms * CLOCK_NS_PER_MS,
        .unacked_frames_max = settings->actor.unacked_frames_max,
        .metrics = &actor->metrics,
        .send = send_message,
        .slot_ended = actor_slot_ended,
        .self = actor,
    };
    return desk_create(&actor->desk, &config);
}

enum status actor_create(struct actor **out, const struct actor_options *options)
{
    *out = NULL;
    struct actor *actor = memory_alloc(sizeof *actor);
    if (actor == NULL)
        return FAIL(STATUS_NO_MEMORY, "actor");
    actor->settings = options->settings;
    actor->index = options->index;
    actor->active = -1;
    buffer_init(&actor->heartbeat_json, 0);
    actor->start_ns = actor->report_ns = clock_now_ns();
    snprintf(actor->run, sizeof actor->run, "%s", options->run);
    enum status status;
    TRY_GOTO(fail, create_model(actor));
    TRY_GOTO(fail, connect_store(actor, options));
    TRY_GOTO(fail, create_desk(actor));
    TRY_GOTO(fail, redis_view_open_set(&actor->redis, actor->run, &options->settings->redis));
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
    actor_close_weights(actor);
    link_close(&actor->link, actor->desk.stopping ? "the run is over" : "leaving");
    redis_view_close(&actor->redis);
    desk_destroy(&actor->desk);
    buffer_free(&actor->heartbeat_json);
    destroy_step(&actor->step);
    model_cache_destroy(&actor->cache);
    for (int i = 0; actor->model != NULL && i < 2; i++)
        model_weights_destroy(actor->model, &actor->weights[i]);
    model_destroy(&actor->model);
    op_table_destroy(&actor->ops);
    tokenizer_close(&actor->tokenizer);
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
    return desk_take(&actor->desk, clock_now_ns(), message);
}

static void report(struct actor *actor)
{
    int64_t now_ns = clock_now_ns(), span_ns = now_ns - actor->report_ns;
    if (span_ns < (int64_t)actor->settings->redis.publish_ms * CLOCK_NS_PER_MS)
        return;
    double tokens = metric_read(&actor->metrics.tokens_sampled);
    metric_set(&actor->metrics.tokens_per_s,
               (tokens - actor->tokens_reported) * 1e9 / (double)span_ns);
    metric_set(&actor->metrics.idle_frac, 1.0 - (double)actor->busy_ns / (double)span_ns);
    actor->tokens_reported = tokens;
    actor->busy_ns = 0;
    actor->report_ns = now_ns;
    if (actor->redis == NULL)
        return;
    struct heartbeat heartbeat = {0};
    fill_heartbeat(actor, &heartbeat);
    char key[64];
    snprintf(key, sizeof key, "proc:actor:%u", actor->index);
    redis_view_hash(actor->redis, key, heartbeat.stats_json, 15);
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

/* Messages, weights, one decode step, segments. Waits in link_poll only when there is nothing to compute. */
static enum status turn(struct actor *actor, bool *worked)
{
    int64_t wait_ms = *worked ? 0 : 2;
    if (!*worked && !desk_holds_slots(&actor->desk) && actor->member == NULL)
        wait_ms = 20;
    for (;;) {
        struct message message;
        TRY(poll_store(actor, wait_ms, &message));
        if (message.type == MESSAGE_NONE)
            break;
        TRY(take_message(actor, &message));
        wait_ms = 0;
    }
    TRY(actor_swap_weights(actor));
    TRY(actor_decode(actor, worked));
    TRY(desk_turn(&actor->desk, clock_now_ns()));
    report(actor);
    return STATUS_OK;
}

/* Leases go back with their tokens; the frames that carry them must be acknowledged, within drain_s. */
static enum status drain(struct actor *actor, atomic_int *stop_signals)
{
    struct desk *desk = &actor->desk;
    int64_t until_ns = clock_now_ns() + (int64_t)actor->settings->run.drain_s * CLOCK_NS_PER_S;
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
    while (!actor->desk.stopping) {
        if (*stop_signals > 1)
            return FAIL(STATUS_CANCELLED, "stopped by a second signal");
        if (*stop_signals == 1 || actor->desk.draining)
            return drain(actor, stop_signals);
        TRY(turn(actor, &worked));
    }
    return STATUS_OK;
}

enum status actor_budget_text(const struct settings *settings, struct buffer *text)
{
    struct model_shape shape;
    struct memory_plan plan = {0};
    struct op_table *ops = NULL;
    char path[FILE_PATH_MAX], device[SETTINGS_DEVICE_MAX];
    int64_t elements = 0;
    TRY(file_path(path, "%s/config.json", settings->model.path));
    TRY(model_shape_load(&shape, path));
    TRY(plan_parameters(&shape, &elements));
    settings_device(settings, settings->actor.device, 0, device);
    TRY(op_table_create_plan(&ops, device));
    enum status status = make_plan(settings, &shape, ops, &plan);
    if (status == STATUS_OK)
        status = buffer_printf(text,
                               "actor: %s on %s, %" PRId64 " parameters, %u sequences of %d tokens "
                               "at most\n",
                               model_arch_name(shape.arch), device, elements, settings->actor.slots,
                               positions_max(settings));
    if (status == STATUS_OK)
        status = plan_text(&plan, text);
    op_table_destroy(&ops);
    return status;
}
