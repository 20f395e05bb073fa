/* ops/simulate/learner.c - the learner: the real errands in the order of learner.c, and a trainer that takes time.
 *
 * Register, then publish; a re-made version with another digest waits for the notice of its branch. Its disk is the
 * list of checkpoints in the world. */
#include <inttypes.h>
#include <stdio.h>

#include "core/memory.h"
#include "ops/simulate/sim.h"

static const char *const WEIGHTS_PATH = "simulated";

struct arena *sim_learner_arena(struct proc *proc)
{
    struct learner_state *learner = &proc->learner;
    bool keeps = learner->phase == LEARNER_GROUPS || learner->phase == LEARNER_TRAIN ||
                 (learner->phase == LEARNER_PLAN && learner->errand.done);
    if (keeps)
        return learner->arena;
    arena_reset(learner->arena);
    return learner->arena;
}

/* ---- errands ---- */

static void begin_register(struct learner_state *learner, enum learner_phase phase,
                           uint64_t version, uint64_t parent, uint64_t digest)
{
    struct version_register request = {.request = ++learner->request,
                                       .branch = learner->branch,
                                       .version = version,
                                       .parent = parent,
                                       .digest = digest,
                                       .weights_path = WEIGHTS_PATH};
    errand_register(&learner->errand, &request);
    learner->phase = phase;
}

static void begin_report(struct learner_state *learner, enum learner_phase phase)
{
    snprintf(learner->path, sizeof learner->path, "step_%" PRIu64, learner->checkpoint_version);
    struct checkpoint_report request = {.request = ++learner->request,
                                        .branch = learner->branch,
                                        .version = learner->checkpoint_version,
                                        .digest = learner->checkpoint_digest,
                                        .path = learner->path};
    errand_checkpoint(&learner->errand, &request);
    learner->phase = phase;
}

static void begin_notice(struct learner_state *learner, enum learner_phase phase)
{
    errand_notice(&learner->errand);
    learner->phase = phase;
}

static void begin_plan(struct learner_state *learner)
{
    struct plan_request request = {.version = learner->version,
                                   .branch = learner->branch,
                                   .checkpoint_version = learner->checkpoint_version,
                                   .checkpoint_digest = learner->checkpoint_digest};
    arena_reset(learner->arena);
    errand_plan(&learner->errand, &request, &learner->plan);
    learner->phase = LEARNER_PLAN;
}

static enum status begin_groups(struct learner_state *learner)
{
    learner->groups =
        arena_array(learner->arena, learner->plan.group_count, sizeof *learner->groups);
    if (learner->groups == NULL)
        return FAIL(STATUS_LIMIT, "a plan of %u groups does not fit", learner->plan.group_count);
    errand_groups(&learner->errand, &learner->plan, learner->groups);
    learner->phase = LEARNER_GROUPS;
    return STATUS_OK;
}

/* ---- life ---- */

enum status sim_learner_begin(struct world *world, struct proc *proc)
{
    struct learner_state *learner = &proc->learner;
    *learner = (struct learner_state){.request = proc->incarnation};
    TRY(arena_create(&learner->arena, (size_t)1 << 30));
    learner->digest = truth_start_digest(world->setup);
    learner->node = world->audit != NULL ? audit_start_node(world, learner->digest) : 0;
    if (world->checkpoint_count > 0) {
        const struct checkpoint *newest = &world->checkpoints[world->checkpoint_count - 1];
        learner->resumed = true;
        learner->version = learner->checkpoint_version = newest->version;
        learner->digest = learner->checkpoint_digest = newest->digest;
        learner->branch = newest->branch;
        learner->node = newest->node;
    }
    begin_register(learner, LEARNER_REGISTER_START, learner->version,
                   learner->version > 0 ? learner->version - 1 : 0, learner->digest);
    return STATUS_OK;
}

static enum status publish(struct world *world, const struct learner_state *learner,
                           uint64_t version, uint64_t digest)
{
    void *publications = world->publications;
    TRY(sim_reserve(&publications, &world->publication_capacity, world->publication_count + 1,
                    sizeof *world->publications));
    world->publications = publications;
    world->publications[world->publication_count++] = (struct publication){
        .weights = {.version = version, .digest = digest, .branch = learner->branch},
        .at_ns = world->now_ns};
    sim_trace(world, "learner: published version %" PRIu64 " of branch %u digest %" PRIx64, version,
              learner->branch, digest);
    return STATUS_OK;
}

static void save(struct world *world, struct learner_state *learner)
{
    enum { KEPT = sizeof world->checkpoints / sizeof world->checkpoints[0] };
    if (world->checkpoint_count == KEPT) {
        for (uint32_t i = 1; i < KEPT; i++)
            world->checkpoints[i - 1] = world->checkpoints[i];
        world->checkpoint_count--;
    }
    world->checkpoints[world->checkpoint_count++] = (struct checkpoint){.version = learner->version,
                                                                        .digest = learner->digest,
                                                                        .branch = learner->branch,
                                                                        .node = learner->node};
    learner->checkpoint_version = learner->version;
    learner->checkpoint_digest = learner->digest;
}

/* ---- training ---- */

static uint64_t plan_tokens(const struct learner_state *learner)
{
    uint64_t tokens = 0;
    for (uint32_t g = 0; g < learner->plan.group_count; g++)
        for (uint32_t s = 0; s < learner->groups[g].sample_count; s++)
            tokens += learner->groups[g].samples[s].count;
    return tokens;
}

static void note_trained(struct world *world, const struct learner_state *learner, uint64_t tokens)
{
    if (learner->plan.version <= world->trained_version)
        return; /* made again */
    world->trained_version = learner->plan.version;
    world->trained += (double)tokens;
    for (uint32_t g = 0; g < learner->plan.group_count; g++) {
        uint64_t oldest = UINT64_MAX;
        for (uint32_t s = 0; s < learner->groups[g].sample_count; s++)
            for (uint32_t p = 0; p < learner->groups[g].samples[s].piece_count; p++)
                if (learner->groups[g].samples[s].pieces[p].version < oldest)
                    oldest = learner->groups[g].samples[s].pieces[p].version;
        double age = oldest < learner->version ? (double)(learner->version - oldest) : 0;
        world->staleness_sum += age;
        world->staleness_count++;
        world->staleness_max = age > world->staleness_max ? age : world->staleness_max;
    }
}

static enum status train(struct world *world, struct proc *proc)
{
    struct learner_state *learner = &proc->learner;
    const struct sim_setup *setup = world->setup;
    uint64_t tokens = plan_tokens(learner);
    int64_t took_ns = setup->train_ns;
    if (setup->train_tokens_per_s > 0)
        took_ns += (int64_t)((double)tokens / setup->train_tokens_per_s * (double)SIM_S);
    uint64_t salt = learner->resumed ? world->salt : 0;
    learner->made_digest =
        truth_digest(learner->digest, learner->plan.version, &learner->plan, learner->groups, salt);
    if (world->audit != NULL)
        TRY(audit_trained(world, learner->node, &learner->plan, learner->groups,
                          learner->made_digest, &learner->made_node));
    note_trained(world, learner, tokens);
    proc->busy_ns += took_ns;
    learner->busy_until_ns = world->now_ns + took_ns;
    learner->phase = LEARNER_TRAIN;
    sim_trace(world, "learner: trains version %" PRIu64, learner->plan.version);
    return STATUS_OK;
}

static enum status trained(struct world *world, struct learner_state *learner)
{
    TRY(publish(world, learner, learner->plan.version, learner->made_digest));
    learner->version = learner->plan.version;
    learner->digest = learner->made_digest;
    learner->node = learner->made_node;
    bool saves = learner->plan.last ||
                 learner->version % world->setup->settings.learner.checkpoint_every == 0;
    if (!saves) {
        begin_plan(learner);
        return STATUS_OK;
    }
    learner->phase = LEARNER_SAVE;
    learner->busy_until_ns = world->now_ns + world->setup->checkpoint_ns;
    return STATUS_OK;
}

/* ---- turns ---- */

enum status sim_learner_take(struct world *world, struct proc *proc, const struct message *message)
{
    (void)world;
    struct learner_state *learner = &proc->learner;
    if (message->type == MESSAGE_welcome)
        learner->branch = message->welcome.branch;
    if (message->type == MESSAGE_notice) {
        learner->branch = message->notice.branch;
        learner->stopping = message->notice.stopping;
        learner->draining = message->notice.draining;
    }
    return errand_hear(&learner->errand, message);
}

static enum status started(struct world *world, struct learner_state *learner)
{
    TRY(publish(world, learner, learner->version, learner->digest));
    if (learner->resumed)
        begin_report(learner, LEARNER_REPORT_START);
    else
        begin_plan(learner);
    return STATUS_OK;
}

static void next_plan(struct world *world, struct learner_state *learner)
{
    if (learner->version >= world->setup->settings.run.steps)
        learner->phase = LEARNER_DONE;
    else
        begin_plan(learner);
}

static enum status registered(struct world *world, struct learner_state *learner)
{
    if (!learner->differs)
        return trained(world, learner);
    begin_notice(learner, LEARNER_NOTICE);
    return STATUS_OK;
}

/* What follows an errand that is done, or time that has passed. */
static enum status next_phase(struct world *world, struct proc *proc)
{
    struct learner_state *learner = &proc->learner;
    switch (learner->phase) {
    case LEARNER_REGISTER_START:
        if (!learner->resumed)
            return started(world, learner);
        begin_notice(learner, LEARNER_NOTICE_START);
        return STATUS_OK;
    case LEARNER_NOTICE_START:
        return started(world, learner);
    case LEARNER_REPORT_START:
    case LEARNER_REPORT:
        next_plan(world, learner);
        return STATUS_OK;
    case LEARNER_PLAN:
        return begin_groups(learner);
    case LEARNER_GROUPS:
        return train(world, proc);
    case LEARNER_TRAIN:
        learner->differs =
            learner->plan.digest != 0 && learner->plan.digest != learner->made_digest;
        begin_register(learner, LEARNER_REGISTER, learner->plan.version, learner->version,
                       learner->made_digest);
        return STATUS_OK;
    case LEARNER_REGISTER:
        return registered(world, learner);
    case LEARNER_NOTICE:
        return trained(world, learner);
    case LEARNER_SAVE:
        save(world, learner);
        begin_report(learner, LEARNER_REPORT);
        return STATUS_OK;
    case LEARNER_DONE:
        break;
    }
    return STATUS_OK;
}

static bool phase_over(const struct world *world, const struct learner_state *learner)
{
    if (learner->phase == LEARNER_TRAIN || learner->phase == LEARNER_SAVE)
        return world->now_ns >= learner->busy_until_ns;
    return learner->phase != LEARNER_DONE && errand_done(&learner->errand);
}

enum status sim_learner_turn(struct world *world, struct proc *proc, int64_t *next_ns)
{
    struct learner_state *learner = &proc->learner;
    if (learner->phase == LEARNER_DONE || (learner->stopping && learner->phase == LEARNER_PLAN))
        return proc_leave(world, proc, "leaving");
    for (;;) {
        bool says = learner->phase != LEARNER_TRAIN && learner->phase != LEARNER_SAVE &&
                    link_core_welcomed(proc->link);
        if (says)
            TRY(errand_say(&learner->errand, proc_clock(world, proc),
                           link_core_reconnects(proc->link) + 1, proc_send, proc));
        if (!phase_over(world, learner))
            break;
        TRY(next_phase(world, proc));
        if (learner->phase == LEARNER_DONE)
            return proc_leave(world, proc, "leaving");
    }
    if (learner->phase == LEARNER_TRAIN || learner->phase == LEARNER_SAVE)
        *next_ns = learner->busy_until_ns;
    else if (link_core_welcomed(proc->link))
        *next_ns = proc_when(world, proc, errand_due_ns(&learner->errand));
    return STATUS_OK;
}
