/* ops/simulate/audit_stage.c - the checker: which length stage is in force, what a lease may have, what a plan says.
 *
 * It counts lengths itself, from the durable tokens. That a stage ends only when it may is checked for the lengths and
 * for stages.least; the perplexity of made-up tokens means nothing here. */
#include <inttypes.h>

#include "core/stage_lengths.h"
#include "ops/simulate/audit.h"

struct staged { /* a plan of the branch */
    uint64_t version;
    uint32_t stage, next, near, rollouts;
};

struct audit_stages {
    struct stage_lengths lengths;
    struct staged *plans; /* [capacity] ascending */
    size_t count, capacity;
};

enum status audit_stages_create(struct world *world)
{
    const struct settings *settings = &world->setup->settings;
    struct audit *audit = world->audit;
    struct audit_stages *stages = arena_alloc(audit->arena, sizeof *stages);
    size_t capacity = (size_t)settings->run.steps + 2;
    if (stages == NULL)
        return FAIL(STATUS_NO_MEMORY, "the checker of length stages");
    *stages = (struct audit_stages){.capacity = capacity};
    TRY(stage_lengths_parse(settings->stages.lengths, settings->sampling.response_tokens_max,
                            &stages->lengths));
    stages->plans = arena_array(audit->arena, capacity, sizeof *stages->plans);
    audit->stages = stages;
    return stages->plans != NULL ? STATUS_OK
                                 : FAIL(STATUS_NO_MEMORY, "the checker of length stages");
}

static uint32_t stage_now(const struct world *world)
{
    const struct audit_stages *stages = world->audit->stages;
    uint32_t start = world->setup->settings.stages.start;
    uint32_t next = stages->count > 0 ? stages->plans[stages->count - 1].next : 0;
    return next > start ? next : start;
}

uint32_t audit_cap(const struct world *world)
{
    return world->audit->stages->lengths.tokens[stage_now(world)];
}

/* Its groups' lengths, by the durable tokens. */
static void count_plan(struct world *world, const struct plan *plan, uint32_t cap,
                       struct staged *staged, uint64_t *tokens)
{
    double from = world->setup->settings.stages.near_cap * cap;
    for (uint32_t g = 0; g < plan->group_count; g++)
        for (uint32_t s = 0; s < world->setup->settings.store.group_size; s++) {
            const struct audit_sample *sample =
                audit_sample(world, plan->group_ids[g], s, "a plan");
            if (sample == NULL)
                continue;
            staged->rollouts++;
            staged->near += (double)sample->count >= from;
            *tokens += sample->count;
        }
}

/* May the stage end with the newest plan? */
static bool may_end(const struct world *world)
{
    const struct audit_stages *stages = world->audit->stages;
    const struct stages_settings *settings = &world->setup->settings.stages;
    uint32_t stage = stages->plans[stages->count - 1].stage, plans = 0;
    uint64_t near = 0, rollouts = 0;
    for (size_t i = stages->count; i-- > 0 && stages->plans[i].stage == stage; plans++) {
        near += plans < settings->window ? stages->plans[i].near : 0;
        rollouts += plans < settings->window ? stages->plans[i].rollouts : 0;
    }
    return !settings->hold && plans >= settings->least && plans >= settings->window &&
           near * 100 > rollouts && stage + 1 < stages->lengths.count;
}

void audit_staged(struct world *world, const struct record *record)
{
    struct audit_stages *stages = world->audit->stages;
    const struct plan *plan = &record->plan.plan;
    const struct stage_facts *facts = record->plan.stage;
    uint32_t stage = stage_now(world), cap = audit_cap(world);
    if (plan->stage != stage || plan->response_tokens_max != cap || facts == NULL) {
        sim_violation(world, "stage",
                      "plan %" PRIu64 " is of stage %u with %u tokens, in force is %u with %u",
                      plan->version, plan->stage, plan->response_tokens_max, stage, cap);
        return;
    }
    struct staged staged = {plan->version, stage, facts->verdict.next_stage, 0, 0};
    uint64_t tokens = 0, said = 0;
    count_plan(world, plan, cap, &staged, &tokens);
    for (int d = 0; d < STAGE_DECILES; d++)
        said += facts->numbers.tokens[d];
    if (said != tokens || facts->numbers.near != staged.near ||
        facts->numbers.rollouts != staged.rollouts)
        sim_violation(world, "stage",
                      "plan %" PRIu64 " says %" PRIu64 " tokens, %u of %u rollouts near the cap; "
                      "they are %" PRIu64 ", %u of %u",
                      plan->version, said, facts->numbers.near, facts->numbers.rollouts, tokens,
                      staged.near, staged.rollouts);
    if (stages->count == stages->capacity) {
        sim_violation(world, "stage", "more plans than steps");
        return;
    }
    stages->plans[stages->count++] = staged;
    if (staged.next != stage && (staged.next != stage + 1 || !may_end(world)))
        sim_violation(world, "stage", "stage %u ends with plan %" PRIu64 " for stage %u, too early",
                      stage, plan->version, staged.next);
}

void audit_stage_branched(struct world *world, const struct record *record)
{
    struct audit_stages *stages = world->audit->stages;
    while (stages->count > 0 &&
           stages->plans[stages->count - 1].version > record->branch.after_version + 1)
        stages->count--;
}

uint32_t audit_lease_cap(const struct world *world, uint64_t lease)
{
    return lease < world->audit->lease_count ? world->audit->leases[lease].cap : 0;
}
