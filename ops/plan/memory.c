/* ops/plan/memory.c - memory of one GPU of each role, by the functions that actor and learner size themselves with,
 * and the smallest fleet on which a role would fit. */
#include "ops/plan/plan.h"

#include <stdio.h>
#include <string.h>

#include "actor/engine.h"
#include "core/eval_schedule.h"
#include "kernels/ops.h"
#include "learner/trainer.h"

enum { TENSOR_MAX = 8, SEARCH_GPUS_MAX = 4096 };

struct model_shape plan_part(const struct model_shape *shape, const struct plan_degrees *degrees)
{
    struct model_shape part = *shape;
    int32_t tensor = (int32_t)degrees->tensor, expert = (int32_t)degrees->expert;
    part.heads = shape->heads / tensor > 0 ? shape->heads / tensor : 1;
    part.kv_heads = shape->kv_heads / tensor > 0 ? shape->kv_heads / tensor : 1;
    part.intermediate = shape->intermediate / tensor > 0 ? shape->intermediate / tensor : 1;
    part.vocabulary = (shape->vocabulary + tensor - 1) / tensor;
    if (shape->experts > 0) {
        part.experts = shape->experts / expert > 0 ? shape->experts / expert : 1;
        if (part.experts_per_token > part.experts)
            part.experts_per_token = part.experts;
    }
    return part;
}

static struct settings cut_settings(const struct settings *settings,
                                    const struct plan_degrees *degrees)
{
    struct settings cut = *settings;
    uint32_t sequence = degrees->sequence;
    cut.learner.microbatch_tokens = (settings->learner.microbatch_tokens + sequence - 1) / sequence;
    cut.actor.slots = (settings->actor.slots + degrees->expert - 1) / degrees->expert;
    cut.actor.cache_tokens = (settings->actor.cache_tokens + degrees->expert - 1) / degrees->expert;
    return cut;
}

static struct plan_row *row_named(struct memory_plan *memory, const char *start)
{
    for (int i = 0; i < memory->count; i++)
        if (strncmp(memory->rows[i].name, start, strlen(start)) == 0)
            return &memory->rows[i];
    return NULL;
}

/* Experts have their own number of copies, so their optimizer shards are cut another number of times: 12 bytes of f32
 * an element, over all GPUs that hold it. */
static void fix_optimizer(const struct model_shape *part, const struct plan_degrees *degrees,
                          uint32_t gpus, struct memory_plan *memory)
{
    struct plan_row *row = row_named(memory, "master weights");
    struct flops_weights weights = flops_weights(part);
    if (row == NULL || degrees->expert == 1)
        return;
    double copies = (double)gpus / degrees->tensor;
    double experts = weights.expert_rows * weights.expert;
    row->bytes =
        (int64_t)(12 * ((weights.total - experts) / copies + experts / (copies / degrees->expert)));
}

static enum status learner_memory(const struct fleet_plan *plan, const struct op_table *ops,
                                  const struct plan_degrees *degrees, uint32_t gpus,
                                  struct memory_plan *memory)
{
    struct settings cut = cut_settings(&plan->settings, degrees);
    struct model_shape part = plan_part(&plan->shape, degrees);
    int64_t longest = (int64_t)plan->settings.data.prompt_tokens_max +
                      plan->settings.sampling.response_tokens_max;
    longest = (longest + degrees->sequence - 1) / degrees->sequence;
    uint32_t copies = gpus / degrees->tensor;
    *memory = (struct memory_plan){.process = "learner"};
    TRY(trainer_plan(&cut, &part, ops, longest, copies > 0 ? copies : 1, memory));
    fix_optimizer(&part, degrees, gpus, memory);
    return STATUS_OK;
}

static enum status actor_memory(const struct fleet_plan *plan, const struct op_table *ops,
                                const struct plan_degrees *degrees, struct memory_plan *memory)
{
    struct settings cut = cut_settings(&plan->settings, degrees);
    struct model_shape part = plan_part(&plan->shape, degrees);
    *memory = (struct memory_plan){.process = "actor"};
    return engine_plan(&cut, &part, ops, ENGINE_SETS_LIVE, memory);
}

/* One set of weights, and sequences of its own; on the actors' device unless eval.device says another. */
static enum status plan_evaluator(struct fleet_plan *plan)
{
    struct plan_role *role = &plan->evaluator;
    struct settings own = eval_settings_of(&plan->settings);
    struct op_table *ops = NULL;
    bool cpu = own.eval.device[0] != '\0' ? strncmp(own.eval.device, "cpu", 3) == 0
                                          : plan->actor.hardware.cpu;
    if (role->units == 0 || plan->sft)
        return STATUS_OK;
    role->gpus = role->unit_gpus = 1;
    role->degrees = role->smallest = (struct plan_degrees){1, 1, 1};
    role->hardware =
        cpu && !plan->actor.hardware.cpu ? plan_cpu(own.run.threads) : plan->actor.hardware;
    role->device_bytes = role->hardware.memory_bytes * plan->settings.cluster.memory_share;
    TRY(op_table_create_plan(&ops, cpu ? "cpu" : "cuda"));
    enum status status = engine_plan(&own, &plan->shape, ops, 1, &role->memory);
    op_table_destroy(&ops);
    return status;
}

/* ---- the smallest fleet ---- */

static bool fits(const struct plan_role *role, const struct memory_plan *memory)
{
    return (double)plan_total(memory) <= role->device_bytes;
}

static bool cuts(const struct model_shape *shape, const struct plan_degrees *degrees)
{
    return shape->heads % (int32_t)degrees->tensor == 0 &&
           shape->intermediate % (int32_t)degrees->tensor == 0 &&
           (degrees->expert == 1 ||
            (shape->experts > 0 && shape->experts % (int32_t)degrees->expert == 0));
}

/* Less than what the part takes, without asking for its parameter table: two sets of weights; or f32 state and
 * gradients, weights and two send buffers. */
static double least_bytes(const struct fleet_plan *plan, const struct plan_degrees *degrees,
                          uint32_t gpus, bool actor, bool cpu)
{
    struct model_shape part = plan_part(&plan->shape, degrees);
    double own = flops_weights(&part).total * 0.99, item = cpu ? 4 : 2;
    if (actor)
        return 2 * item * own;
    return (4 + 3 * item) * own + 12 * 0.99 * flops_weights(&plan->shape).total / gpus;
}

static bool try_degrees(const struct fleet_plan *plan, const struct plan_role *role,
                        const struct op_table *ops, const struct plan_degrees *degrees,
                        uint32_t gpus)
{
    struct memory_plan memory;
    bool actor = role == &plan->actor;
    if (!cuts(&plan->shape, degrees) ||
        least_bytes(plan, degrees, gpus, actor, role->hardware.cpu) > role->device_bytes)
        return false;
    enum status status = actor ? actor_memory(plan, ops, degrees, &memory)
                               : learner_memory(plan, ops, degrees, gpus, &memory);
    return status == STATUS_OK && fits(role, &memory);
}

/* Fleets of 1, 2, 4, ... GPUs; of one size plain data parallelism first, then the least tensor cut, then the least cut
 * sequences, then the least spread experts. */
static void find_smallest(const struct fleet_plan *plan, struct plan_role *role,
                          const struct op_table *ops)
{
    bool actor = role == &plan->actor;
    for (uint32_t gpus = 1; gpus <= SEARCH_GPUS_MAX; gpus *= 2)
        for (uint32_t tensor = 1; tensor <= TENSOR_MAX && tensor <= gpus; tensor *= 2)
            for (uint32_t sequence = 1; sequence <= (actor ? 1 : gpus / tensor); sequence *= 2)
                for (uint32_t expert = 1; expert <= gpus / tensor; expert *= 2) {
                    struct plan_degrees degrees = {tensor, expert, sequence};
                    if (actor && tensor * expert != gpus)
                        continue;
                    if (!try_degrees(plan, role, ops, &degrees, gpus))
                        continue;
                    role->smallest_gpus = gpus;
                    role->smallest = degrees;
                    return;
                }
}

/* ---- this machine: processes may share a device ---- */

struct placed {
    const struct plan_role *role;
    const char *list; /* its devices */
};

/* Of the processes on the device of the first one of `role`, without it. */
static double others_on_device(const struct fleet_plan *plan, const struct plan_role *role)
{
    const struct settings *settings = &plan->settings;
    struct settings evaluating = eval_settings_of(settings);
    const struct placed placed[] = {{&plan->actor, settings->actor.device},
                                    {&plan->learner, settings->learner.device},
                                    {&plan->evaluator, evaluating.actor.device}};
    enum { ROLES = sizeof placed / sizeof placed[0] };
    char mine[SETTINGS_DEVICE_MAX] = "", device[SETTINGS_DEVICE_MAX];
    double bytes = 0;
    for (int r = 0; r < ROLES; r++)
        if (placed[r].role == role)
            settings_device(settings, placed[r].list, 0, mine);
    for (int r = 0; r < ROLES; r++)
        for (uint32_t i = placed[r].role == role; i < placed[r].role->units; i++) {
            settings_device(settings, placed[r].list, i, device);
            if (strcmp(mine, device) == 0)
                bytes += (double)plan_total(&placed[r].role->memory);
        }
    return bytes;
}

static void judge(struct fleet_plan *plan, struct plan_role *role, const struct op_table *ops)
{
    bool actor = role == &plan->actor, evaluator = role == &plan->evaluator;
    double taken = plan->cluster || plan->sft ? 0 : others_on_device(plan, role);
    role->fits = (double)plan_total(&role->memory) + taken <= role->device_bytes;
    if (!evaluator)
        find_smallest(plan, role, ops);
    if (role->fits)
        return;
    char there[PLAN_TEXT_BYTES] = "";
    if (role->smallest_gpus > 0)
        snprintf(there, sizeof there,
                 "; %u GPUs of this kind would hold %s (tensor %u, experts %u, sequence %u)",
                 role->smallest_gpus, actor ? "an actor" : "the learner", role->smallest.tensor,
                 role->smallest.expert, role->smallest.sequence);
    struct plan_row *large = NULL;
    for (int i = 0; i < role->memory.count; i++)
        if (large == NULL || role->memory.rows[i].bytes > large->bytes)
            large = &role->memory.rows[i];
    plan_find(plan, FINDING_MACHINE,
              "%s %s takes %.1f GB%s of the %.1f GB that cluster.memory_share %g leaves of a %s: "
              "\"%s\" is the largest part with %.1f GB%s%s%s",
              actor ? "an" : "the", role->name, (double)plan_total(&role->memory) / 1e9,
              taken > 0 ? " beside the other processes" : "", role->device_bytes / 1e9,
              plan->settings.cluster.memory_share, role->hardware.name,
              large != NULL ? large->name : "", large != NULL ? (double)large->bytes / 1e9 : 0.0,
              large != NULL && large->setting != NULL ? ", change " : "",
              large != NULL && large->setting != NULL ? large->setting : "", there);
}

enum status plan_memory(struct fleet_plan *plan)
{
    struct op_table *ops = NULL;
    struct plan_role *actor = &plan->actor, *learner = &plan->learner;
    TRY(op_table_create_plan(&ops, actor->hardware.cpu ? "cpu" : "cuda"));
    enum status status = actor_memory(plan, ops, &actor->degrees, &actor->memory);
    if (status == STATUS_OK)
        status = learner_memory(plan, ops, &learner->degrees, learner->gpus, &learner->memory);
    double share = plan->settings.cluster.memory_share;
    actor->device_bytes = actor->hardware.memory_bytes * share;
    learner->device_bytes = learner->hardware.memory_bytes * share;
    if (status == STATUS_OK)
        status = plan_evaluator(plan);
    if (status == STATUS_OK) {
        judge(plan, learner, ops);
        if (!plan->sft)
            judge(plan, actor, ops);
        if (plan->evaluator.units > 0)
            judge(plan, &plan->evaluator, ops);
    }
    op_table_destroy(&ops);
    return status;
}
