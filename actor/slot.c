#include "actor/slot.h"

#include "core/memory.h"

#include <inttypes.h>
#include <string.h>

/* Spans in order: everything that is not of the model belongs to the prompt; a model span after an
 * environment span would need interleaved masks (multi-turn), which the store does not lease yet. */
static enum status measure_spans(const struct lease *lease, uint64_t *prompt, uint64_t *response)
{
    *prompt = *response = 0;
    for (uint32_t i = 0; i < lease->span_count; i++) {
        const struct span *span = &lease->spans[i];
        if (span->source == SPAN_MODEL) {
            *response += span->count;
        } else {
            if (*response > 0)
                return FAIL(STATUS_UNSUPPORTED,
                            "lease %" PRIu64 ": a prompt span after a model span", lease->lease_id);
            *prompt += span->count;
        }
    }
    if (*prompt == 0 || *prompt + *response + lease->budget > WIRE_TOKENS_MAX)
        return FAIL(STATUS_INVALID,
                    "lease %" PRIu64 ": prompt %" PRIu64 " + response %" PRIu64
                    " + budget %u tokens",
                    lease->lease_id, *prompt, *response, lease->budget);
    return STATUS_OK;
}

static enum status make_arrays(struct slot *slot)
{
    slot->ids = memory_array((size_t)slot->prompt + slot->budget, sizeof *slot->ids);
    slot->logprobs = memory_array(slot->budget + 1, sizeof *slot->logprobs);
    slot->logprobs_truncated = memory_array(slot->budget + 1, sizeof *slot->logprobs_truncated);
    if (slot->ids != NULL && slot->logprobs != NULL && slot->logprobs_truncated != NULL)
        return STATUS_OK;
    uint32_t capacity = slot->capacity;
    slot_clear(slot);
    return FAIL(STATUS_NO_MEMORY, "sequence of %u tokens", capacity);
}

enum status slot_fill(struct slot *slot, const struct lease *lease, uint64_t seed,
                      uint32_t repetition_tokens)
{
    uint64_t prompt = 0, response = 0;
    TRY(measure_spans(lease, &prompt, &response));
    uint32_t budget = (uint32_t)response + lease->budget;
    struct slot fresh = {
        .state = SLOT_WAITING,
        .lease_id = lease->lease_id,
        .group_id = lease->group_id,
        .prompt_id = lease->prompt_id,
        .min_version = lease->min_version,
        .sample = lease->sample,
        .attempt = lease->attempt,
        .budget = budget,
        .sampling = {.seed = seed,
                     .group = lease->group_id,
                     .sample = lease->sample,
                     .temperature = lease->temperature,
                     .top_p = lease->top_p,
                     .top_k = (int32_t)lease->top_k},
        .guard = {.tokens = repetition_tokens, .run = lease->repetition_run},
        .capacity = (uint32_t)prompt + budget,
        .prompt = (uint32_t)prompt,
        .response = (uint32_t)response,
        .inherited = (uint32_t)response,
        .reported = (uint32_t)response,
        .kv_version_min = UINT64_MAX,
        .rebuilt_at = response > 0 ? (uint32_t)response : UINT32_MAX,
        .finished = SEGMENT_MORE,
    };
    TRY(make_arrays(&fresh));
    uint32_t at = 0;
    for (uint32_t i = 0; i < lease->span_count; i++) {
        memcpy(fresh.ids + at, lease->spans[i].ids, lease->spans[i].count * sizeof *fresh.ids);
        at += lease->spans[i].count;
    }
    slot_clear(slot);
    *slot = fresh;
    return STATUS_OK;
}

enum status slot_fill_order(struct slot *slot, const struct slot_order *order)
{
    if (order->count == 0 || order->budget == 0 ||
        (uint64_t)order->count + order->budget > WIRE_TOKENS_MAX)
        return FAIL(STATUS_INVALID, "prompt of %u tokens, budget of %u", order->count,
                    order->budget);
    struct slot fresh = {
        .state = SLOT_WAITING,
        .group_id = order->group_id,
        .sample = order->sampling.sample,
        .budget = order->budget,
        .sampling = order->sampling,
        .capacity = order->count + order->budget - 1, /* the last token is sampled and never fed */
        .prompt = order->count,
        .kv_version_min = UINT64_MAX,
        .rebuilt_at = UINT32_MAX,
        .finished = SEGMENT_MORE,
        .served = true,
        .ignore_eos = order->ignore_eos,
        .report = order->report,
        .report_prompt = order->report_prompt,
        .report_top = order->report_top,
    };
    TRY(make_arrays(&fresh));
    memcpy(fresh.ids, order->ids, order->count * sizeof *fresh.ids);
    slot_clear(slot);
    *slot = fresh;
    return STATUS_OK;
}

void slot_clear(struct slot *slot)
{
    memory_free(slot->ids);
    memory_free(slot->logprobs);
    memory_free(slot->logprobs_truncated);
    *slot = (struct slot){.state = SLOT_FREE};
}
