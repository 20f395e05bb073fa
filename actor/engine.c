#include "actor/engine.h"

#include "actor/report.h"

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"
#include "model/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The cache holds `slots` sequences of this length at the same time; a longer one takes the room of several.
 * The store never leases more tokens than fit. */
static int32_t positions_max(const struct settings *settings)
{
    return (int32_t)(settings->data.prompt_tokens_max + settings->sampling.response_tokens_max);
}

/* Sequences of requests: on top of those of leases. */
static uint32_t served_slots(const struct settings *settings)
{
    return settings->actor.http[0] != '\0' ? settings->actor.http_slots : 0;
}

static uint32_t all_slots(const struct settings *settings)
{
    return settings->actor.slots + served_slots(settings);
}

/* Pages of all sequences together, enough for one of the longest. Those that are served have theirs for themselves. */
static int64_t cache_pages(const struct settings *settings, int64_t tile)
{
    int64_t each = (positions_max(settings) + tile - 1) / tile, slots = settings->actor.slots;
    int64_t served = each * served_slots(settings);
    if (settings->actor.cache_tokens == 0)
        return each * slots + served;
    int64_t wanted = (settings->actor.cache_tokens + tile - 1) / tile + slots;
    return served + (wanted < each + slots ? each + slots : wanted);
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
static void collect_eos(struct engine *engine)
{
    int64_t eos = tokenizer_eos(engine->tokenizer);
    if (eos >= 0)
        engine->eos[engine->eos_count++] = (uint32_t)eos;
    for (int32_t i = 0; i < engine->shape.eos_count; i++)
        engine->eos[engine->eos_count++] = (uint32_t)engine->shape.eos_ids[i];
}

/* Rows of a step: prefill, and one of each slot. */
static struct model_options options_of(const struct settings *settings)
{
    return (struct model_options){
        .rows_max = (int32_t)(settings->actor.prefill_tokens + all_slots(settings)),
        .lightning_chunk = (int32_t)settings->model.lightning_chunk,
        .lm_head = (enum model_head_precision)settings->model.lm_head};
}

enum status engine_plan(const struct settings *settings, const struct model_shape *shape,
                        const struct op_table *ops, int sets, struct memory_plan *plan)
{
    int32_t slots = (int32_t)all_slots(settings);
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
    plan_add(plan, sets == 1 ? "weights" : "weights, two sets", sets * (flat + packed), NULL);
    plan_add(plan, "pages of keys and values", cache - states, "actor.cache_tokens");
    plan_add(plan, "lightning states", states, "actor.slots");
    plan_add(plan, "activations", workspace, "actor.prefill_tokens");
    plan_add(plan, "tables", plan_tables_bytes(shape, positions_max(settings)), NULL);
    plan_add(plan, "logits and kernels' own",
             plan_scratch_bytes(shape, ops, options.rows_max, false), NULL);
    return STATUS_OK;
}

static enum status create_model(struct engine *engine, uint32_t index)
{
    const struct settings *settings = engine->settings;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.json", settings->model.path));
    TRY(model_shape_load(&engine->shape, path));
    TRY(tokenizer_open(&engine->tokenizer, settings->model.path, settings->model.tokenizer));
    collect_eos(engine);
    char device[SETTINGS_DEVICE_MAX];
    settings_device(settings, settings->actor.device, index, device);
    TRY(op_table_create(&engine->ops, device, (int32_t)settings->run.threads));
    struct memory_plan plan = {0};
    TRY(engine_plan(settings, &engine->shape, engine->ops, engine->sets, &plan));
    TRY(plan_check(&plan, engine->ops));
    int32_t slots = (int32_t)all_slots(settings);
    struct model_options options = options_of(settings);
    TRY(model_create(&engine->model, &engine->shape, engine->ops, &options));
    char numerics[256];
    model_numerics(engine->model, numerics, sizeof numerics);
    engine->numerics_id = hash64(numerics, strlen(numerics), 0);
    engine->weights_bytes = (size_t)model_weights_bytes(engine->model);
    for (int i = 0; i < engine->sets; i++)
        TRY(model_weights_create(engine->model, &engine->weights[i]));

    int32_t length = positions_max(settings);
    int64_t pages = cache_pages(settings, engine->ops->kv_tile);
    engine->positions_max = (uint32_t)length;
    TRY(model_cache_create(engine->model, slots, (int32_t)pages, length, &engine->cache));
    /* What may be leased: a sequence leaves part of its last page unused. */
    int64_t served =
        (length + engine->ops->kv_tile - 1) / engine->ops->kv_tile * served_slots(settings);
    engine->served = served_slots(settings);
    engine->cache_pages = pages;
    engine->cache_tokens = (uint64_t)((pages - served) * engine->ops->kv_tile);
    if (settings->actor.cache_tokens > 0)
        engine->cache_tokens -=
            (uint64_t)settings->actor.slots * (uint64_t)(engine->ops->kv_tile - 1);
    return create_step(&engine->step, options.rows_max, (uint32_t)slots);
}

/* ---- desk ---- */

static enum status send_message(void *self, const struct message *message)
{
    const struct engine *engine = self;
    return engine->send(engine->send_self, message);
}

static void slot_ended(void *self, uint32_t index)
{
    engine_slot_ended(self, index);
}

enum status engine_open_desk(struct engine *engine, uint64_t incarnation, segment_send_fn send,
                             void *self)
{
    const struct settings *settings = engine->settings;
    struct desk_config config = {
        .incarnation = incarnation,
        .numerics_id = engine->numerics_id,
        .slots = all_slots(settings),
        .served = engine->served,
        .cache_tokens = engine->cache_tokens,
        .positions_max = engine->positions_max,
        .vocabulary = (uint32_t)engine->shape.vocabulary,
        .eos = engine->eos,
        .eos_count = engine->eos_count,
        .repetition_tokens = settings->sampling.repetition_tokens,
        .segment_tokens = settings->actor.segment_tokens,
        .segment_ns = (int64_t)settings->actor.segment_ms * CLOCK_NS_PER_MS,
        .unacked_frames_max = settings->actor.unacked_frames_max,
        .metrics = &engine->metrics,
        .send = send_message,
        .slot_ended = slot_ended,
        .self = engine,
    };
    engine->send = send;
    engine->send_self = self;
    return desk_create(&engine->desk, &config);
}

/* ---- life ---- */

enum status engine_create(struct engine *engine, const struct settings *settings, uint32_t index,
                          int sets)
{
    *engine = (struct engine){
        .settings = settings, .sets = sets, .active = -1, .start_ns = clock_now_ns()};
    size_t count = 0;
    const struct metric_row *rows = actor_metrics_table(&count);
    metrics_init(rows, count, &engine->metrics);
    return create_model(engine, index);
}

enum status engine_load_folder(struct engine *engine, const char *folder)
{
    TRY(model_weights_load_folder(engine->model, &engine->weights[0], folder));
    engine->active = 0;
    return STATUS_OK;
}

void engine_destroy(struct engine *engine)
{
    desk_destroy(&engine->desk);
    reporter_destroy(&engine->reporter);
    destroy_step(&engine->step);
    model_cache_destroy(&engine->cache);
    for (int i = 0; engine->model != NULL && i < engine->sets; i++)
        model_weights_destroy(engine->model, &engine->weights[i]);
    model_destroy(&engine->model);
    op_table_destroy(&engine->ops);
    tokenizer_close(&engine->tokenizer);
}

enum status engine_budget_text(const struct settings *settings, struct buffer *text)
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
    enum status status = engine_plan(settings, &shape, ops, ENGINE_SETS_LIVE, &plan);
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
