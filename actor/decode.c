/* actor/decode.c - one step of the continuous batch: prefill pieces and decode rows in one forward pass. */
#include "actor/engine.h"

#include "actor/report.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"

enum { PREFILL_ROWS_FIRST = 128, PREFILL_ROWS_LEAST = 16 };

/* Rows [cached, cached + count) of the slot join the batch; its last row samples when it completes the sequence. */
static void add_rows(struct engine *engine, uint32_t index, uint32_t count)
{
    struct slot *slot = &engine->desk.slots[index];
    struct decode_step *step = &engine->step;
    step->segments[step->segment_count++] = (struct op_segment){.slot = (int32_t)index,
                                                                .position = (int32_t)slot->cached,
                                                                .row = step->rows,
                                                                .count = (int32_t)count};
    for (uint32_t i = 0; i < count; i++)
        step->ids[step->rows++] = (int32_t)slot->ids[slot->cached + i];
    slot->cached += count;
    if (slot->kv_version_min > engine_version(engine))
        slot->kv_version_min = engine_version(engine);
}

static void add_sample(struct engine *engine, uint32_t index, int32_t row)
{
    struct decode_step *step = &engine->step;
    struct slot *slot = &engine->desk.slots[index];
    slot->sampling.position = slot_length(slot);
    step->row_index[step->samples] = row;
    step->slot_index[step->samples] = index;
    step->row[step->samples] = slot->sampling;
    step->samples++;
}

/* Prefill rows of a step take at most a quarter of lease_ms, because heartbeats go out between steps; no
 * result depends on how a prefill is cut. */
static uint32_t prefill_rows(const struct engine *engine)
{
    uint32_t most = engine->settings->actor.prefill_tokens;
    if (engine->prefill_row_ns == 0)
        return most < PREFILL_ROWS_FIRST ? most : PREFILL_ROWS_FIRST;
    int64_t limit_ns = (int64_t)engine->settings->store.lease_ms * CLOCK_NS_PER_MS / 4;
    int64_t rows = limit_ns / engine->prefill_row_ns;
    rows = rows < PREFILL_ROWS_LEAST ? PREFILL_ROWS_LEAST : rows;
    return rows < most ? (uint32_t)rows : most;
}

/* Decode rows first (they always fit: rows_max = prefill_tokens + slots), then prefill by slot order. */
static void assemble(struct engine *engine)
{
    struct decode_step *step = &engine->step;
    step->rows = step->segment_count = step->samples = 0;
    for (uint32_t i = 0; i < engine->desk.config.slots; i++)
        if (engine->desk.slots[i].state == SLOT_DECODE) {
            add_rows(engine, i, 1);
            add_sample(engine, i, step->rows - 1);
        }
    uint32_t left = prefill_rows(engine);
    for (uint32_t i = 0; i < engine->desk.config.slots && left > 0; i++) {
        struct slot *slot = &engine->desk.slots[i];
        if (slot->state != SLOT_PREFILL)
            continue;
        uint32_t missing = slot_length(slot) - slot->cached;
        uint32_t count = missing < left ? missing : left;
        add_rows(engine, i, count);
        left -= count;
        metric_add(&engine->metrics.tokens_prefilled, count);
        if (slot->cached < slot_length(slot))
            continue;
        add_sample(engine, i, step->rows - 1);
    }
}

/* Slots whose leader has just finished the prompt take a copy of its cache and sample from its row. */
static enum status fork_followers(struct engine *engine)
{
    struct decode_step *step = &engine->step;
    int32_t own = step->samples;
    for (int32_t s = 0; s < own; s++) {
        uint32_t leader = step->slot_index[s];
        if (engine->desk.slots[leader].state != SLOT_PREFILL)
            continue;
        for (uint32_t i = 0; i < engine->desk.config.slots; i++) {
            struct slot *slot = &engine->desk.slots[i];
            if (slot->state != SLOT_FOLLOWING || slot->leader != leader)
                continue;
            TRY(model_cache_fork(engine->cache, (int32_t)leader, (int32_t)i,
                                 (int32_t)slot->prompt));
            slot->cached = slot->prompt;
            slot->kv_version_min = engine->desk.slots[leader].kv_version_min;
            slot->state = SLOT_PREFILL;
            add_sample(engine, i, step->row_index[s]);
            metric_add(&engine->metrics.prefills_shared, 1);
        }
    }
    return STATUS_OK;
}

/* Rows that share a temperature go through the head together; nearly always that is one call. */
static enum status sample_all(struct engine *engine, const act *hidden)
{
    struct decode_step *step = &engine->step;
    for (int32_t first = 0, last; first < step->samples; first = last) {
        for (last = first + 1;
             last < step->samples && step->row[last].temperature == step->row[first].temperature;
             last++)
            ;
        struct model_sample sample = {
            .rows = last - first,
            .row_index = step->row_index + first,
            .row = step->row + first,
            .repetition_probability = (float)engine->settings->sampling.repetition_probability,
            .token = step->token + first,
            .logprob = step->logprob + first,
            .logprob_truncated = step->logprob_truncated + first,
            .confident = step->confident + first,
        };
        TRY(model_sample(engine->model, &engine->weights[engine->active], hidden, &sample));
    }
    return STATUS_OK;
}

/* Requests of the endpoint may ask for any temperature; leases share one, so that this finds nothing to move. */
static void sort_by_temperature(struct decode_step *step)
{
    for (int32_t s = 1; s < step->samples; s++) {
        struct op_sample_row row = step->row[s];
        int32_t index = step->row_index[s], at = s;
        uint32_t slot = step->slot_index[s];
        for (; at > 0 && step->row[at - 1].temperature > row.temperature; at--) {
            step->row[at] = step->row[at - 1];
            step->row_index[at] = step->row_index[at - 1];
            step->slot_index[at] = step->slot_index[at - 1];
        }
        step->row[at] = row;
        step->row_index[at] = index;
        step->slot_index[at] = slot;
    }
}

/* Every row samples, at one temperature, and nobody asks for more: the step that a backend may replay as a graph. */
static bool only_decodes(const struct engine *engine)
{
    const struct decode_step *step = &engine->step;
    for (int32_t s = 0; s < step->samples; s++)
        if (step->row[s].temperature != step->row[0].temperature ||
            engine->desk.slots[step->slot_index[s]].report)
            return false;
    return step->samples == step->rows && step->segment_count == step->rows;
}

static enum status decode_all(struct engine *engine, const struct model_batch *batch)
{
    struct decode_step *step = &engine->step;
    struct model_sample sample = {
        .rows = step->samples,
        .row = step->row,
        .repetition_probability = (float)engine->settings->sampling.repetition_probability,
        .token = step->token,
        .logprob = step->logprob,
        .logprob_truncated = step->logprob_truncated,
        .confident = step->confident,
    };
    return model_decode(engine->model, &engine->weights[engine->active], engine->cache, batch,
                        &sample);
}

static enum status forward_and_sample(struct engine *engine, const struct model_batch *batch)
{
    struct decode_step *step = &engine->step;
    act *hidden = NULL;
    TRY(model_forward(engine->model, &engine->weights[engine->active], engine->cache, batch, false,
                      &hidden));
    TRY(fork_followers(engine));
    sort_by_temperature(step);
    TRY(sample_all(engine, hidden));
    return engine_report_step(engine, hidden);
}

/* Before the step's tokens are pushed: of leases whose first own token is among them. */
static void note_first_tokens(struct engine *engine)
{
    int64_t now_ns = clock_now_ns();
    for (int32_t s = 0; s < engine->step.samples; s++) {
        const struct slot *slot = &engine->desk.slots[engine->step.slot_index[s]];
        if (!slot->served && slot->response == slot->inherited)
            metric_observe_ns(&engine->metrics.first_token_s, now_ns - slot->arrived_ns);
    }
}

enum status engine_decode(struct engine *engine, bool *worked)
{
    *worked = false;
    if (!desk_may_decode(&engine->desk))
        return STATUS_OK;
    engine_start_waiting(engine);
    int64_t prefilled = (int64_t)metric_read(&engine->metrics.tokens_prefilled);
    assemble(engine);
    struct decode_step *step = &engine->step;
    if (step->rows == 0)
        return STATUS_OK;
    *worked = true;
    int64_t begin_ns = clock_now_ns();
    struct model_batch batch = {.rows = step->rows,
                                .ids = step->ids,
                                .segments = step->segments,
                                .segment_count = step->segment_count};
    /* A slot that finishes its prompt in a step of one row may have followers: they fork from the row. */
    TRY((int64_t)metric_read(&engine->metrics.tokens_prefilled) > prefilled || !only_decodes(engine)
            ? forward_and_sample(engine, &batch)
            : decode_all(engine, &batch));
    note_first_tokens(engine);
    for (int32_t s = 0; s < step->samples; s++)
        desk_push(&engine->desk, step->slot_index[s], (uint32_t)step->token[s], step->logprob[s],
                  step->logprob_truncated[s], step->confident[s] != 0);
    FAULT("actor.decoded");
    if (engine->first_token_ns == 0 && step->samples > 0) {
        engine->first_token_ns = clock_now_ns();
        LOG_INFO("decode", "first token", "ms_since_start=%.1f",
                 (double)(engine->first_token_ns - engine->start_ns) / CLOCK_NS_PER_MS);
    }
    metric_add(&engine->metrics.tokens_sampled, step->samples);
    metric_add(&engine->metrics.decode_steps, 1);
    int64_t spent_ns = clock_now_ns() - begin_ns;
    engine->busy_ns += spent_ns;
    metric_observe_ns(&engine->metrics.step_s, spent_ns);
    if ((int64_t)metric_read(&engine->metrics.tokens_prefilled) > prefilled)
        engine->prefill_row_ns = spent_ns / step->rows + 1;
    return STATUS_OK;
}
