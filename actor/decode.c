/* actor/decode.c - one step of the continuous batch: prefill pieces and decode rows in one forward pass. */
#include "actor/actor_state.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"

enum { PREFILL_ROWS_FIRST = 128, PREFILL_ROWS_LEAST = 16 };

/* Rows [cached, cached + count) of the slot join the batch; its last row samples when it completes the sequence. */
static void add_rows(struct actor *actor, uint32_t index, uint32_t count)
{
    struct slot *slot = &actor->desk.slots[index];
    struct decode_step *step = &actor->step;
    step->segments[step->segment_count++] = (struct op_segment){.slot = (int32_t)index,
                                                                .position = (int32_t)slot->cached,
                                                                .row = step->rows,
                                                                .count = (int32_t)count};
    for (uint32_t i = 0; i < count; i++)
        step->ids[step->rows++] = (int32_t)slot->ids[slot->cached + i];
    slot->cached += count;
    if (slot->kv_version_min > actor_version(actor))
        slot->kv_version_min = actor_version(actor);
}

static void add_sample(struct actor *actor, uint32_t index, int32_t row)
{
    struct decode_step *step = &actor->step;
    struct slot *slot = &actor->desk.slots[index];
    slot->sampling.position = slot_length(slot);
    step->row_index[step->samples] = row;
    step->slot_index[step->samples] = index;
    step->row[step->samples] = slot->sampling;
    step->samples++;
}

/* Prefill rows of a step take at most a quarter of lease_ms, because heartbeats go out between steps; no
 * result depends on how a prefill is cut. */
static uint32_t prefill_rows(const struct actor *actor)
{
    uint32_t most = actor->settings->actor.prefill_tokens;
    if (actor->prefill_row_ns == 0)
        return most < PREFILL_ROWS_FIRST ? most : PREFILL_ROWS_FIRST;
    int64_t limit_ns = (int64_t)actor->settings->store.lease_ms * CLOCK_NS_PER_MS / 4;
    int64_t rows = limit_ns / actor->prefill_row_ns;
    rows = rows < PREFILL_ROWS_LEAST ? PREFILL_ROWS_LEAST : rows;
    return rows < most ? (uint32_t)rows : most;
}

/* Decode rows first (they always fit: rows_max = prefill_tokens + slots), then prefill by slot order. */
static void assemble(struct actor *actor)
{
    struct decode_step *step = &actor->step;
    step->rows = step->segment_count = step->samples = 0;
    for (uint32_t i = 0; i < actor->desk.config.slots; i++)
        if (actor->desk.slots[i].state == SLOT_DECODE) {
            add_rows(actor, i, 1);
            add_sample(actor, i, step->rows - 1);
        }
    uint32_t left = prefill_rows(actor);
    for (uint32_t i = 0; i < actor->desk.config.slots && left > 0; i++) {
        struct slot *slot = &actor->desk.slots[i];
        if (slot->state != SLOT_PREFILL)
            continue;
        uint32_t missing = slot_length(slot) - slot->cached;
        uint32_t count = missing < left ? missing : left;
        add_rows(actor, i, count);
        left -= count;
        metric_add(&actor->metrics.tokens_prefilled, count);
        if (slot->cached < slot_length(slot))
            continue;
        add_sample(actor, i, step->rows - 1);
    }
}

/* Slots whose leader has just finished the prompt take a copy of its cache and sample from its row. */
static enum status fork_followers(struct actor *actor)
{
    struct decode_step *step = &actor->step;
    int32_t own = step->samples;
    for (int32_t s = 0; s < own; s++) {
        uint32_t leader = step->slot_index[s];
        if (actor->desk.slots[leader].state != SLOT_PREFILL)
            continue;
        for (uint32_t i = 0; i < actor->desk.config.slots; i++) {
            struct slot *slot = &actor->desk.slots[i];
            if (slot->state != SLOT_FOLLOWING || slot->leader != leader)
                continue;
            TRY(model_cache_fork(actor->cache, (int32_t)leader, (int32_t)i, (int32_t)slot->prompt));
            slot->cached = slot->prompt;
            slot->kv_version_min = actor->desk.slots[leader].kv_version_min;
            slot->state = SLOT_PREFILL;
            add_sample(actor, i, step->row_index[s]);
            metric_add(&actor->metrics.prefills_shared, 1);
        }
    }
    return STATUS_OK;
}

/* Rows that share a temperature go through the head together; nearly always that is one call. */
static enum status sample_all(struct actor *actor, const act *hidden)
{
    struct decode_step *step = &actor->step;
    for (int32_t first = 0, last; first < step->samples; first = last) {
        for (last = first + 1;
             last < step->samples && step->row[last].temperature == step->row[first].temperature;
             last++)
            ;
        struct model_sample sample = {
            .rows = last - first,
            .row_index = step->row_index + first,
            .row = step->row + first,
            .repetition_probability = (float)actor->settings->sampling.repetition_probability,
            .token = step->token + first,
            .logprob = step->logprob + first,
            .logprob_truncated = step->logprob_truncated + first,
            .confident = step->confident + first,
        };
        TRY(model_sample(actor->model, &actor->weights[actor->active], hidden, &sample));
    }
    return STATUS_OK;
}

/* Every row samples, at one temperature: the step that a backend may replay as a graph. */
static bool only_decodes(const struct decode_step *step)
{
    for (int32_t s = 1; s < step->samples; s++)
        if (step->row[s].temperature != step->row[0].temperature)
            return false;
    return step->samples == step->rows && step->segment_count == step->rows;
}

static enum status decode_all(struct actor *actor, const struct model_batch *batch)
{
    struct decode_step *step = &actor->step;
    struct model_sample sample = {
        .rows = step->samples,
        .row = step->row,
        .repetition_probability = (float)actor->settings->sampling.repetition_probability,
        .token = step->token,
        .logprob = step->logprob,
        .logprob_truncated = step->logprob_truncated,
        .confident = step->confident,
    };
    return model_decode(actor->model, &actor->weights[actor->active], actor->cache, batch, &sample);
}

static enum status forward_and_sample(struct actor *actor, const struct model_batch *batch)
{
    act *hidden = NULL;
    TRY(model_forward(actor->model, &actor->weights[actor->active], actor->cache, batch, false,
                      &hidden));
    TRY(fork_followers(actor));
    return sample_all(actor, hidden);
}

enum status actor_decode(struct actor *actor, bool *worked)
{
    *worked = false;
    if (!desk_may_decode(&actor->desk))
        return STATUS_OK;
    actor_start_waiting(actor);
    int64_t prefilled = (int64_t)metric_read(&actor->metrics.tokens_prefilled);
    assemble(actor);
    struct decode_step *step = &actor->step;
    if (step->rows == 0)
        return STATUS_OK;
    *worked = true;
    int64_t begin_ns = clock_now_ns();
    struct model_batch batch = {.rows = step->rows,
                                .ids = step->ids,
                                .segments = step->segments,
                                .segment_count = step->segment_count};
    /* A slot that finishes its prompt in a step of one row may have followers: they fork from the row. */
    TRY((int64_t)metric_read(&actor->metrics.tokens_prefilled) > prefilled || !only_decodes(step)
            ? forward_and_sample(actor, &batch)
            : decode_all(actor, &batch));
    for (int32_t s = 0; s < step->samples; s++)
        desk_push(&actor->desk, step->slot_index[s], (uint32_t)step->token[s], step->logprob[s],
                  step->logprob_truncated[s], step->confident[s] != 0);
    FAULT("actor.decoded");
    if (actor->first_token_ns == 0 && step->samples > 0) {
        actor->first_token_ns = clock_now_ns();
        LOG_INFO("decode", "first token", "ms_since_start=%.1f",
                 (double)(actor->first_token_ns - actor->start_ns) / CLOCK_NS_PER_MS);
    }
    metric_add(&actor->metrics.tokens_sampled, step->samples);
    metric_add(&actor->metrics.decode_steps, 1);
    int64_t spent_ns = clock_now_ns() - begin_ns;
    actor->busy_ns += spent_ns;
    if ((int64_t)metric_read(&actor->metrics.tokens_prefilled) > prefilled)
        actor->prefill_row_ns = spent_ns / step->rows + 1;
    return STATUS_OK;
}
