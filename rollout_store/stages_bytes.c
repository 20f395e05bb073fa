/* rollout_store/stages_bytes.c - facts and state of length stages as bytes, the same walk in both directions. */
#include <math.h>

#include "core/memory.h"
#include "rollout_store/bytes.h"
#include "rollout_store/stages.h"

static enum status walk_f64(struct walk *walk, double *value)
{
    TRY(walk_bytes(walk, value, sizeof *value));
    return isfinite(*value) ? STATUS_OK : walk_damaged(walk, "a number that is not finite");
}

static enum status walk_numbers(struct walk *walk, struct stage_numbers *numbers)
{
    TRY(walk_u32(walk, &numbers->groups));
    TRY(walk_u32(walk, &numbers->rollouts));
    TRY(walk_u32(walk, &numbers->near));
    TRY(walk_u64(walk, &numbers->near_squares));
    for (int decile = 0; decile < STAGE_DECILES; decile++) {
        TRY(walk_u64(walk, &numbers->tokens[decile]));
        TRY(walk_f64(walk, &numbers->logprob[decile]));
        if (numbers->logprob[decile] > 0)
            return walk_damaged(walk, "a sum of logprobs above 0");
    }
    for (int bin = 0; bin < STAGE_BINS; bin++)
        TRY(walk_u32(walk, &numbers->lengths[bin]));
    return numbers->near <= numbers->rollouts
               ? STATUS_OK
               : walk_damaged(walk, "more rollouts near the cap than there are");
}

static enum status walk_verdict(struct walk *walk, struct stage_verdict *verdict)
{
    double *const values[] = {&verdict->perplexity,  &verdict->change,     &verdict->change_error,
                              &verdict->p99,         &verdict->near_share, &verdict->near_sure,
                              &verdict->tail_change, &verdict->tail_z};
    TRY(walk_u32(walk, &verdict->next_stage));
    TRY(walk_u32(walk, &verdict->plans));
    TRY(walk_u32(walk, &verdict->held));
    TRY(walk_u32(walk, &verdict->tail_held));
    TRY(walk_flag(walk, &verdict->tail_alarm));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        TRY(walk_f64(walk, values[i]));
    return STATUS_OK;
}

enum status stage_facts_walk(struct walk *walk, struct stage_facts *facts)
{
    TRY(walk_numbers(walk, &facts->numbers));
    return walk_verdict(walk, &facts->verdict);
}

static enum status walk_entry(struct walk *walk, struct stage_entry *entry)
{
    TRY(walk_u64(walk, &entry->version));
    TRY(walk_u32(walk, &entry->stage));
    TRY(walk_u32(walk, &entry->cap));
    return stage_facts_walk(walk, &entry->facts);
}

enum status stages_walk(struct walk *walk, struct stages *stages)
{
    uint64_t count = stages->count;
    TRY(walk_choice(walk, &stages->stage, STAGE_LENGTHS_MAX, "length stage"));
    for (uint32_t stage = 1; stage <= stages->stage; stage++)
        TRY(walk_u64(walk, &stages->decided[stage]));
    TRY(walk_u64(walk, &count));
    if (walk->out == NULL) {
        if (count > (walk->size - walk->at) / sizeof(struct stage_numbers))
            return walk_damaged(walk, "a count that goes past the end");
        if (count > 0) {
            stages->entries = memory_array((size_t)count, sizeof *stages->entries);
            if (stages->entries == NULL)
                return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " entries of length stages", count);
        }
        stages->count = stages->capacity = (size_t)count;
    }
    for (size_t i = 0; i < stages->count; i++) {
        TRY(walk_entry(walk, &stages->entries[i]));
        if (i > 0 && stages->entries[i].version <= stages->entries[i - 1].version)
            return walk_damaged(walk, "stages of plans out of order");
    }
    return STATUS_OK;
}
