/* rollout_store/book_stage.c - the numbers of a plan's rollouts for the length stages, and what people see of them. */
#include <inttypes.h>

#include "rollout_store/book_state.h"

enum status book_stage_facts(const struct book *book, struct book_out *out,
                             const uint64_t *group_ids, uint32_t group_count,
                             struct stage_facts **facts)
{
    struct stage_facts *made = arena_alloc(out->arena, sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_LIMIT, "no room for the stage of a plan");
    *made = (struct stage_facts){0};
    struct stage_counting counting = stages_counting(&book->stages, &made->numbers);
    for (uint32_t i = 0; i < group_count; i++) {
        const struct group *group = book_map_get(&book->groups, group_ids[i]);
        CHECK(group != NULL);
        for (uint32_t s = 0; s < group->size; s++)
            stages_count_rollout(&counting, group->samples[s].logprobs, group->samples[s].count);
        stages_count_group(&counting);
    }
    stages_judge(&book->stages, book_version(book) + 1, &made->numbers, &made->verdict);
    *facts = made;
    return STATUS_OK;
}

void book_read_stage(const struct book *book, struct book_stage *stage)
{
    const struct stage_entry *last = stages_last(&book->stages);
    *stage = (struct book_stage){.stage = stages_now(&book->stages),
                                 .count = book->stages.lengths.count,
                                 .cap = stages_cap(&book->stages)};
    if (last == NULL)
        return;
    stage->version = last->version;
    stage->verdict = last->facts.verdict;
}

enum status book_stage_json(const struct book *book, struct buffer *json)
{
    struct book_stage stage;
    book_read_stage(book, &stage);
    const struct stage_verdict *verdict = &stage.verdict;
    return buffer_printf(
        json,
        "{\"index\":%" PRIu32 ",\"count\":%" PRIu32 ",\"cap\":%" PRIu32 ",\"version\":%" PRIu64
        ",\"plans\":%" PRIu32 ",\"held\":%" PRIu32
        ",\"perplexity\":%.9g,\"change\":%.6g,\"change_error\":%.6g,\"p99\":%.9g"
        ",\"near_share\":%.6g,\"near_sure\":%.6g,\"tail_change\":%.6g,\"tail_z\":%.6g"
        ",\"tail_alarm\":%s}",
        stage.stage, stage.count, stage.cap, stage.version, verdict->plans, verdict->held,
        verdict->perplexity, verdict->change, verdict->change_error, verdict->p99,
        verdict->near_share, verdict->near_sure, verdict->tail_change, verdict->tail_z,
        verdict->tail_alarm ? "true" : "false");
}
