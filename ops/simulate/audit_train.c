/* ops/simulate/audit_train.c - the checker: each group is trained once in the history of any weights that exist. */
#include "ops/simulate/audit.h"

#include <inttypes.h>
#include <string.h>

static enum status add_node(struct audit *audit, struct audit_node node, uint32_t *index)
{
    void *nodes = audit->nodes;
    TRY(sim_reserve(&nodes, &audit->node_capacity, audit->node_count + 1, sizeof *audit->nodes));
    audit->nodes = nodes;
    *index = (uint32_t)audit->node_count;
    if (node.version == 0)
        node.parent = *index;
    audit->nodes[audit->node_count++] = node;
    return STATUS_OK;
}

uint32_t audit_start_node(struct world *world, uint64_t digest)
{
    uint32_t index = 0;
    if (world->audit->node_count > 0)
        return 0; /* the start is the first */
    if (add_node(world->audit, (struct audit_node){.digest = digest}, &index) != STATUS_OK)
        sim_violation(world, "simulator", "out of memory");
    return index;
}

static bool is_ancestor(const struct audit *audit, uint32_t node, uint32_t of)
{
    while (audit->nodes[of].version > audit->nodes[node].version)
        of = audit->nodes[of].parent;
    return of == node;
}

static void check_once(struct world *world, uint32_t parent, const struct plan *plan, uint64_t id)
{
    const struct audit *audit = world->audit;
    struct audit_group *group = audit_group(world, id);
    if (group == NULL) {
        sim_violation(world, "unknown", "group %" PRIu64 " is trained and not in the ledger", id);
        return;
    }
    for (size_t i = 0; i < group->trained_count; i++)
        if (is_ancestor(audit, group->trained[i], parent))
            sim_violation(world, "trained_twice",
                          "group %" PRIu64 " is trained for version %" PRIu64
                          " and is in version %" PRIu64 " already",
                          id, plan->version, audit->nodes[group->trained[i]].version);
}

static enum status note_group(struct world *world, uint64_t id, uint32_t node)
{
    struct audit_group *group = audit_group(world, id);
    if (group == NULL)
        return STATUS_OK;
    void *trained = group->trained;
    TRY(sim_reserve(&trained, &group->trained_capacity, group->trained_count + 1,
                    sizeof *group->trained));
    group->trained = trained;
    group->trained[group->trained_count++] = node;
    return STATUS_OK;
}

/* Each token that is trained is the one its version makes. */
static void check_tokens(struct world *world, const struct group_data *group)
{
    for (uint32_t s = 0; s < group->sample_count; s++) {
        const struct group_sample *sample = &group->samples[s];
        uint32_t at = 0;
        for (uint32_t p = 0; p < sample->piece_count; p++)
            at += sample->pieces[p].count;
        if (at != sample->count)
            sim_violation(world, "tokens", "group %" PRIu64 " sample %u: pieces of %u of %u tokens",
                          group->group_id, sample->sample, at, sample->count);
    }
}

enum status audit_trained(struct world *world, uint32_t parent, const struct plan *plan,
                          const struct group_data *groups, uint64_t digest, uint32_t *node)
{
    struct audit *audit = world->audit;
    uint64_t version = audit->nodes[parent].version + 1;
    if (plan->version != version)
        sim_violation(world, "lineage",
                      "weights of version %" PRIu64 " train the plan of version %" PRIu64,
                      version - 1, plan->version);
    for (uint32_t g = 0; g < plan->group_count; g++) {
        if (groups[g].group_id != plan->group_ids[g])
            sim_violation(world, "lineage", "group %" PRIu64 " came for group %" PRIu64,
                          groups[g].group_id, plan->group_ids[g]);
        for (uint32_t k = 0; k < g; k++)
            if (plan->group_ids[k] == plan->group_ids[g])
                sim_violation(world, "trained_twice", "group %" PRIu64 " is twice in a plan",
                              plan->group_ids[g]);
        check_once(world, parent, plan, plan->group_ids[g]);
        check_tokens(world, &groups[g]);
    }
    for (uint32_t i = 0; i < audit->node_count; i++)
        if (audit->nodes[i].parent == parent && audit->nodes[i].digest == digest &&
            audit->nodes[i].version == version) {
            *node = i; /* made again, and equal */
            return STATUS_OK;
        }
    struct audit_node made = {.version = version,
                              .digest = digest,
                              .parent = parent,
                              .group_count = plan->group_count,
                              .groups = arena_copy(audit->arena, plan->group_ids,
                                                   plan->group_count * sizeof *plan->group_ids)};
    TRY(add_node(audit, made, node));
    for (uint32_t g = 0; g < plan->group_count; g++)
        TRY(note_group(world, plan->group_ids[g], *node));
    return STATUS_OK;
}

/* ---- at the end of a run ---- */

static void check_left(struct world *world)
{
    const struct audit *audit = world->audit;
    for (size_t g = 0; g < audit->group_count; g++) {
        const struct audit_group *group = &audit->groups[g];
        bool scored = false;
        for (uint32_t s = 0; s < world->setup->settings.store.group_size; s++)
            scored = scored || group->samples[s].state == AUDIT_SCORED;
        if (scored && (group->state == AUDIT_OPEN || group->state == AUDIT_ELIGIBLE) &&
            audit->branch == 0)
            sim_violation(world, "lost",
                          "group %zu has scored rollouts and ended neither planned nor dropped", g);
    }
}

void audit_end(struct world *world)
{
    const struct audit *audit = world->audit;
    uint64_t steps = world->setup->settings.run.steps;
    if (audit_newest(audit) != steps || audit->checkpoint_version != steps)
        sim_violation(world, "lost",
                      "the run ended at version %" PRIu64 " with checkpoint %" PRIu64 ", %" PRIu64
                      " were asked for",
                      audit_newest(audit), audit->checkpoint_version, steps);
    uint32_t node = UINT32_MAX;
    const struct audit_version *last = audit_version(audit, steps);
    for (uint32_t i = 0; last != NULL && i < audit->node_count; i++)
        if (audit->nodes[i].version == steps && audit->nodes[i].digest == last->digest)
            node = i;
    if (node == UINT32_MAX) {
        sim_violation(world, "lineage", "the last version was made by nobody");
        return;
    }
    for (; audit->nodes[node].version > 0; node = audit->nodes[node].parent)
        for (uint32_t g = 0; g < audit->nodes[node].group_count; g++) {
            const struct audit_group *group = audit_group(world, audit->nodes[node].groups[g]);
            if (group == NULL || group->state != AUDIT_PLANNED ||
                group->planned_version != audit->nodes[node].version)
                sim_violation(world, "lineage",
                              "version %" PRIu64 " has group %" PRIu64
                              ", which the ledger plans elsewhere",
                              audit->nodes[node].version, audit->nodes[node].groups[g]);
        }
    check_left(world);
}
