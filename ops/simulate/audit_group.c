/* ops/simulate/audit_group.c - the checker: groups, plans, versions and branches in the durable ledger. */
#include "ops/simulate/audit.h"

#include <inttypes.h>
#include <string.h>

#include "core/memory.h"

static uint32_t group_size(const struct world *world)
{
    return world->setup->settings.store.group_size;
}

/* ---- alive ---- */

static uint64_t count_alive(const struct world *world)
{
    const struct audit *audit = world->audit;
    uint64_t alive = 0;
    for (size_t g = 0; g < audit->group_count; g++) {
        const struct audit_group *group = &audit->groups[g];
        alive += group->state == AUDIT_OPEN || group->state == AUDIT_ELIGIBLE ||
                 (group->state == AUDIT_PLANNED && group->planned_version > audit_newest(audit));
    }
    return alive;
}

void audit_born(struct world *world, const struct record *record)
{
    struct audit *audit = world->audit;
    const struct store_settings *store = &world->setup->settings.store;
    uint64_t most = (store->max_staleness + UINT64_C(1)) * store->groups_per_publish;
    void *groups = audit->groups;
    if (record->born.group_id != audit->group_count)
        sim_violation(world, "ledger", "group %" PRIu64 " is born, %zu was due",
                      record->born.group_id, audit->group_count);
    if (sim_reserve(&groups, &audit->group_capacity, audit->group_count + 1,
                    sizeof *audit->groups) != STATUS_OK)
        return;
    audit->groups = groups;
    struct audit_group *group = &audit->groups[audit->group_count++];
    *group = (struct audit_group){.prompt = record->born.prompt_id};
    audit_drawn(world, record);
    group->samples = arena_array(audit->arena, group_size(world), sizeof *group->samples);
    for (uint32_t s = 0; s < group_size(world); s++)
        group->samples[s].ids =
            arena_array(audit->arena, world->setup->settings.sampling.response_tokens_max,
                        sizeof *group->samples[s].ids);
    uint64_t alive = count_alive(world);
    if (alive > most && world->setup->plant != PLANT_STALENESS)
        sim_violation(world, "memory", "%" PRIu64 " groups are alive, %" PRIu64 " are allowed",
                      alive, most);
    world->result->groups++;
}

/* ---- ends of groups ---- */

static void end_leases(struct world *world, struct audit_group *group)
{
    for (uint32_t s = 0; s < group_size(world); s++) {
        struct audit_sample *sample = &group->samples[s];
        if (sample->lease != 0)
            world->audit->leases[sample->lease].live = false;
        sample->lease = 0;
    }
}

static bool all_scored(const struct world *world, const struct audit_group *group)
{
    for (uint32_t s = 0; s < group_size(world); s++)
        if (group->samples[s].state != AUDIT_SCORED)
            return false;
    return true;
}

/* Before shaping: what the truth says is accurate, not what the store made of the details. */
static bool filter_equal(const struct world *world, const struct audit_group *group)
{
    uint64_t id = (uint64_t)(group - world->audit->groups);
    for (uint32_t s = 1; s < group_size(world); s++)
        if (audit_filter(world, id, s) != audit_filter(world, id, 0))
            return false;
    return true;
}

static uint64_t oldest_token(const struct world *world, const struct audit_group *group)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t s = 0; s < group_size(world); s++)
        for (size_t p = 0; p < group->samples[s].piece_count; p++)
            if (group->samples[s].pieces[p].version < oldest)
                oldest = group->samples[s].pieces[p].version;
    return oldest;
}

static uint64_t newest_token(const struct world *world, const struct audit_group *group)
{
    uint64_t newest = 0;
    for (uint32_t s = 0; s < group_size(world); s++)
        for (size_t p = 0; p < group->samples[s].piece_count; p++)
            if (group->samples[s].pieces[p].version > newest)
                newest = group->samples[s].pieces[p].version;
    return newest;
}

/* Tokens of older weights are over age in a plan made at version w. */
static uint64_t age_limit(const struct world *world)
{
    uint64_t w = audit_newest(world->audit), s = world->setup->settings.store.max_staleness;
    return w > s ? w - s : 0;
}

static bool may_be_stale(const struct world *world, const struct audit_group *group)
{
    bool branched = world->audit->branch > 0;
    bool drops = world->setup->settings.store.over_age != OVER_AGE_HOLD || branched;
    return drops && oldest_token(world, group) < age_limit(world);
}

static bool spent(const struct world *world, const struct audit_group *group, bool scoring)
{
    const struct store_settings *store = &world->setup->settings.store;
    for (uint32_t s = 0; s < group_size(world); s++) {
        const struct audit_sample *sample = &group->samples[s];
        if (scoring && sample->scorings >= store->max_attempts)
            return true;
        if (!scoring &&
            (sample->failures >= store->max_attempts || sample->deaths >= store->max_deaths))
            return true;
    }
    return false;
}

static bool may_drop(const struct world *world, const struct audit_group *group,
                     enum drop_reason reason)
{
    switch (reason) {
    case DROP_ZERO_VARIANCE:
        return all_scored(world, group) && filter_equal(world, group) &&
               world->setup->settings.store.dynamic_sampling;
    case DROP_STALE:
        return may_be_stale(world, group);
    case DROP_GENERATION_FAILED:
        return spent(world, group, false);
    case DROP_SCORING_FAILED:
        return spent(world, group, true);
    case DROP_INVALID:
        return group->skipped;
    case DROP_DEAD_BRANCH:
        return world->audit->branch > 0;
    default:
        return false;
    }
}

void audit_dropped(struct world *world, const struct record *record)
{
    struct audit_group *group = audit_group(world, record->dropped.group_id);
    if (group == NULL || (group->state != AUDIT_OPEN && group->state != AUDIT_ELIGIBLE)) {
        sim_violation(world, "ledger", "group %" PRIu64 " is dropped and is not alive",
                      record->dropped.group_id);
        return;
    }
    if (!may_drop(world, group, record->dropped.reason))
        sim_violation(world, "lost", "group %" PRIu64 " is dropped for reason %d without a cause",
                      record->dropped.group_id, (int)record->dropped.reason);
    if (record->dropped.reason == DROP_ZERO_VARIANCE)
        audit_learned(world, record->dropped.group_id);
    end_leases(world, group);
    group->state = AUDIT_DROPPED;
    world->result->dropped++;
}

void audit_closed(struct world *world, const struct record *record)
{
    struct audit_group *group = audit_group(world, record->closed.group_id);
    if (group == NULL || group->state != AUDIT_OPEN || !all_scored(world, group) ||
        (world->setup->settings.store.dynamic_sampling && filter_equal(world, group))) {
        sim_violation(world, "ledger", "group %" PRIu64 " closes too early or without variance",
                      record->closed.group_id);
        return;
    }
    group->state = AUDIT_ELIGIBLE;
    audit_learned(world, record->closed.group_id);
}

void audit_reopened(struct world *world, const struct record *record)
{
    struct audit_group *group = audit_group(world, record->reopened.group_id);
    if (group == NULL || (group->state != AUDIT_OPEN && group->state != AUDIT_ELIGIBLE)) {
        sim_violation(world, "ledger", "group %" PRIu64 " is scored again but was planned",
                      record->reopened.group_id);
        return;
    }
    group->state = AUDIT_OPEN;
    for (uint32_t i = 0; i < world->setup->settings.store.group_size; i++)
        if (group->samples[i].state == AUDIT_SCORED) {
            group->samples[i].state = AUDIT_FINISHED;
            group->samples[i].voided = true;
        }
}

/* ---- plans ---- */

static void check_planned(struct world *world, const struct plan *plan, uint64_t id)
{
    struct audit_group *group = audit_group(world, id);
    if (group == NULL || group->state != AUDIT_ELIGIBLE) {
        sim_violation(world, "planned_twice",
                      "plan %" PRIu64 " takes group %" PRIu64 ", which is not eligible",
                      plan->version, id);
        return;
    }
    bool masks = world->setup->settings.store.over_age == OVER_AGE_MASK;
    uint64_t age = masks ? newest_token(world, group) : oldest_token(world, group);
    if (age < age_limit(world))
        sim_violation(world, "staleness",
                      "plan %" PRIu64 " takes group %" PRIu64 " with tokens of version %" PRIu64
                      ", the oldest allowed is %" PRIu64,
                      plan->version, id, age, age_limit(world));
    group->state = AUDIT_PLANNED;
    group->planned_version = plan->version;
}

void audit_planned(struct world *world, const struct plan *plan)
{
    struct audit *audit = world->audit;
    if (plan->version != audit_newest(audit) + 1 || audit_plan_of(audit, plan->version) != NULL ||
        plan->group_count != world->setup->settings.store.groups_per_publish)
        sim_violation(world, "planned_twice",
                      "a plan of %u groups for version %" PRIu64 " at version %" PRIu64,
                      plan->group_count, plan->version, audit_newest(audit));
    void *plans = audit->plans;
    if (sim_reserve(&plans, &audit->plan_capacity, audit->plan_count + 1, sizeof *audit->plans) !=
        STATUS_OK)
        return;
    audit->plans = plans;
    audit->plans[audit->plan_count++] =
        (struct audit_plan){.version = plan->version,
                            .group_count = plan->group_count,
                            .groups = arena_copy(audit->arena, plan->group_ids,
                                                 plan->group_count * sizeof *plan->group_ids)};
    for (uint32_t g = 0; g < plan->group_count; g++)
        check_planned(world, plan, plan->group_ids[g]);
}

/* ---- versions ---- */

static const struct audit_node *find_node(const struct audit *audit, uint64_t version,
                                          uint64_t digest)
{
    for (size_t i = audit->node_count; i-- > 0;)
        if (audit->nodes[i].version == version && audit->nodes[i].digest == digest)
            return &audit->nodes[i];
    return NULL;
}

void audit_registered(struct world *world, const struct record *record)
{
    struct audit *audit = world->audit;
    struct audit_version version = {record->version.version, record->version.digest};
    const struct audit_node *node = find_node(audit, version.version, version.digest);
    if (node == NULL)
        sim_violation(world, "unknown_version",
                      "version %" PRIu64 " with digest %" PRIx64 " was made by nobody",
                      version.version, version.digest);
    if (audit->version_count > 0 && version.version != audit_newest(audit) + 1)
        sim_violation(world, "ledger", "version %" PRIu64 " follows version %" PRIu64,
                      version.version, audit_newest(audit));
    const struct audit_version *parent =
        version.version > 0 ? audit_version(audit, version.version - 1) : NULL;
    if (node != NULL && parent != NULL && audit->nodes[node->parent].digest != parent->digest)
        sim_violation(world, "lineage",
                      "version %" PRIu64 " was not made from version %" PRIu64 " that exists",
                      version.version, parent->version);
    void *versions = audit->versions, *ever = audit->ever;
    if (sim_reserve(&versions, &audit->version_capacity, audit->version_count + 1,
                    sizeof version) != STATUS_OK ||
        sim_reserve(&ever, &audit->ever_capacity, audit->ever_count + 1, sizeof version) !=
            STATUS_OK)
        return;
    audit->versions = versions;
    audit->ever = ever;
    audit->versions[audit->version_count++] = version;
    audit->ever[audit->ever_count++] = version;
    world->result->versions = version.version;
}

void audit_branched(struct world *world, const struct record *record)
{
    struct audit *audit = world->audit;
    uint64_t first_dead = record->branch.after_version + 1;
    if (record->branch.branch != audit->branch + 1)
        sim_violation(world, "ledger", "branch %u follows branch %u", record->branch.branch,
                      audit->branch);
    audit->branch = record->branch.branch;
    world->result->branches++;
    while (audit->version_count > 0 && audit_newest(audit) >= first_dead)
        audit->version_count--;
    while (audit->plan_count > 0 && audit->plans[audit->plan_count - 1].version > first_dead)
        audit->plan_count--;
    for (size_t g = 0; g < audit->group_count; g++) {
        struct audit_group *group = &audit->groups[g];
        bool void_plan = group->state == AUDIT_PLANNED && group->planned_version > first_dead;
        if (group->state != AUDIT_OPEN && group->state != AUDIT_ELIGIBLE && !void_plan)
            continue;
        bool any = oldest_token(world, group) != UINT64_MAX;
        if (group->state == AUDIT_OPEN || (any && newest_token(world, group) >= first_dead)) {
            end_leases(world, group);
            group->state = AUDIT_DEAD;
        } else {
            group->state = AUDIT_ELIGIBLE;
        }
    }
}

void audit_saved(struct world *world, const struct record *record)
{
    struct audit *audit = world->audit;
    const struct audit_version *known = audit_version(audit, record->checkpoint.version);
    if (known == NULL || known->digest != record->checkpoint.digest)
        sim_violation(world, "unknown_version",
                      "a checkpoint of version %" PRIu64 " with a digest that is not registered",
                      record->checkpoint.version);
    audit->checkpoint_version = record->checkpoint.version;
    audit->checkpoint_digest = record->checkpoint.digest;
}
