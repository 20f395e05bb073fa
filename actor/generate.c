#include "actor/generate.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"

enum {
    FLIGHT_BITS = 16
}; /* a lease id is (ordinal + 1) << FLIGHT_BITS | flight; actor.slots is 65536 at most */

/* A sample in the works. */
struct flight {
    bool busy;
    uint64_t row;
    uint32_t sample, count;
    uint32_t *ids;   /* [response_tokens_max] owned */
    float *logprobs; /* likewise */
};

struct generator {
    struct engine *engine;
    const struct generate_order *order;
    struct flight *flights; /* [slots] */
    struct lease *leases;   /* [slots] scratch of a grant */
    struct span *spans;     /* [slots] */
    uint32_t slots, busy, budget;
    uint64_t next_row, leased; /* leased: so far */
    uint32_t next_sample;
    uint64_t frame_last; /* to acknowledge; 0: none */
    uint64_t tokens;
};

uint32_t generate_share(uint32_t left, uint32_t slots)
{
    uint32_t half = slots > 1 ? slots / 2 : 1;
    return left < half ? left : half;
}

/* ---- tokens in ---- */

static enum status end_flight(struct generator *generator, struct flight *flight,
                              enum segment_status finish)
{
    const struct generate_order *order = generator->order;
    if (finish == SEGMENT_ABORT || finish == SEGMENT_MORE)
        return FAIL(STATUS_INVALID,
                    "row %" PRIu64 " cannot run here: its prompt of %u tokens does not fit, or has "
                    "ids outside the model's vocabulary",
                    flight->row, order->prompts[flight->row].count);
    struct generated generated = {.row = flight->row,
                                  .sample = flight->sample,
                                  .ids = flight->ids,
                                  .logprobs = flight->logprobs,
                                  .count = flight->count,
                                  .finish = finish};
    flight->busy = false;
    generator->busy--;
    return order->done(order->self, &generated);
}

static enum status take_segment(struct generator *generator, const struct segment *segment)
{
    struct flight *flight = &generator->flights[segment->lease_id & ((1U << FLIGHT_BITS) - 1)];
    if (segment->first_position != flight->count ||
        segment->count > generator->budget - flight->count)
        return FAIL(STATUS_CORRUPT, "a segment of %u tokens at %u; %u are there", segment->count,
                    segment->first_position, flight->count);
    if (segment->count > 0) {
        memcpy(flight->ids + flight->count, segment->ids, segment->count * sizeof *flight->ids);
        memcpy(flight->logprobs + flight->count, segment->logprobs,
               segment->count * sizeof *flight->logprobs);
    }
    flight->count += segment->count;
    generator->tokens += segment->count;
    return segment->status == SEGMENT_MORE ? STATUS_OK
                                           : end_flight(generator, flight, segment->status);
}

/* The desk's messages: frames are taken at once; its request for leases says nothing new. */
static enum status take_message(void *self, const struct message *message)
{
    struct generator *generator = self;
    if (message->type != MESSAGE_segment_frame)
        return STATUS_OK;
    const struct segment_frame *frame = &message->segment_frame;
    for (uint32_t i = 0; i < frame->count; i++)
        TRY(take_segment(generator, &frame->segments[i]));
    generator->frame_last = frame->frame_id;
    return STATUS_OK;
}

/* ---- leases out ---- */

/* Moves to the next sample that is wanted; false: there is none. */
static bool find_next(struct generator *generator)
{
    const struct generate_order *order = generator->order;
    for (; generator->next_row < order->prompt_count;
         generator->next_row++, generator->next_sample = 0)
        for (; generator->next_sample < order->samples; generator->next_sample++)
            if (order->wanted == NULL ||
                order->wanted(order->self, generator->next_row, generator->next_sample))
                return true;
    return false;
}

static void make_lease(struct generator *generator, uint32_t index)
{
    const struct sampling_settings *sampling = &generator->engine->settings->sampling;
    const struct generate_prompt *prompt = &generator->order->prompts[generator->next_row];
    uint32_t at = 0;
    while (generator->flights[at].busy)
        at++;
    struct flight *flight = &generator->flights[at];
    flight->busy = true;
    flight->row = generator->next_row;
    flight->sample = generator->next_sample;
    flight->count = 0;
    generator->busy++;
    generator->spans[index] =
        (struct span){.source = SPAN_PROMPT, .count = prompt->count, .ids = prompt->ids};
    generator->leases[index] = (struct lease){.lease_id = ++generator->leased << FLIGHT_BITS | at,
                                              .group_id = flight->row,
                                              .sample = flight->sample,
                                              .purpose = PURPOSE_EVAL,
                                              .prompt_id = flight->row,
                                              .budget = generator->budget,
                                              .temperature = (float)sampling->temperature,
                                              .top_p = (float)sampling->top_p,
                                              .top_k = sampling->top_k,
                                              .kv_version_min = UINT64_MAX,
                                              .span_count = 1,
                                              .spans = &generator->spans[index]};
    generator->next_sample++;
}

/* Samples of the next prompt, as many as start together, when there is room for them. */
static enum status grant(struct generator *generator)
{
    while (find_next(generator)) {
        uint32_t left = generator->order->samples - generator->next_sample;
        uint32_t share = generate_share(left, generator->slots);
        if (generator->slots - generator->busy < share)
            return STATUS_OK;
        uint32_t count = 0;
        for (uint64_t row = generator->next_row;
             count < share && find_next(generator) && generator->next_row == row;)
            make_lease(generator, count++);
        struct message message = {.type = MESSAGE_lease_grant,
                                  .lease_grant = {.count = count, .leases = generator->leases}};
        TRY(desk_take(&generator->engine->desk, clock_now_ns(), &message));
    }
    return STATUS_OK;
}

static enum status turn(struct generator *generator)
{
    bool worked = false;
    TRY(grant(generator));
    TRY(engine_decode(generator->engine, &worked));
    TRY(desk_turn(&generator->engine->desk, clock_now_ns()));
    if (generator->frame_last == 0)
        return STATUS_OK;
    struct message ack = {.type = MESSAGE_frame_ack,
                          .frame_ack = {.frame_id = generator->frame_last}};
    generator->frame_last = 0;
    return desk_take(&generator->engine->desk, clock_now_ns(), &ack);
}

/* ---- life ---- */

static enum status generator_create(struct generator *generator)
{
    const struct settings *settings = generator->engine->settings;
    uint32_t slots = settings->actor.slots;
    generator->slots = slots;
    generator->budget = settings->sampling.response_tokens_max;
    generator->flights = memory_array(slots, sizeof *generator->flights);
    generator->leases = memory_array(slots, sizeof *generator->leases);
    generator->spans = memory_array(slots, sizeof *generator->spans);
    bool whole = generator->flights && generator->leases && generator->spans;
    for (uint32_t i = 0; i < slots && whole; i++) {
        struct flight *flight = &generator->flights[i];
        flight->ids = memory_array(generator->budget, sizeof *flight->ids);
        flight->logprobs = memory_array(generator->budget, sizeof *flight->logprobs);
        whole = flight->ids != NULL && flight->logprobs != NULL;
    }
    return whole ? STATUS_OK
                 : FAIL(STATUS_NO_MEMORY, "%u answers of %u tokens", slots, generator->budget);
}

static void generator_destroy(struct generator *generator)
{
    for (uint32_t i = 0; generator->flights != NULL && i < generator->slots; i++) {
        memory_free(generator->flights[i].ids);
        memory_free(generator->flights[i].logprobs);
    }
    memory_free(generator->flights);
    memory_free(generator->leases);
    memory_free(generator->spans);
    desk_destroy(&generator->engine->desk);
}

static enum status run(struct generator *generator)
{
    struct engine *engine = generator->engine;
    const struct generate_order *order = generator->order;
    const struct model_weights *weights = &engine->weights[engine->active];
    struct message welcome = {.type = MESSAGE_welcome,
                              .welcome = {.run_seed = engine->settings->run.seed}};
    TRY(desk_take(&engine->desk, clock_now_ns(), &welcome));
    desk_weights(&engine->desk, weights->version, 0, weights->digest);
    while (generator->busy > 0 || find_next(generator)) {
        if (order->stop != NULL && atomic_load(order->stop) > 0)
            return FAIL(STATUS_CANCELLED, "stopped by a signal");
        TRY(turn(generator));
        if (order->progress != NULL)
            order->progress(order->self, generator->tokens);
    }
    return STATUS_OK;
}

enum status generate(struct engine *engine, const struct generate_order *order)
{
    enum { INCARNATION = 1 };
    struct generator generator = {.engine = engine, .order = order};
    enum status status = generator_create(&generator);
    if (status == STATUS_OK)
        status = engine_open_desk(engine, INCARNATION, take_message, &generator);
    if (status == STATUS_OK)
        status = run(&generator);
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    generator_destroy(&generator);
    status_restore(kept);
    return status;
}
