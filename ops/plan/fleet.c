/* ops/plan/fleet.c - who runs where, and which sizes and degrees cannot go together. */
#include "core/eval_schedule.h"
#include "ops/gpu_info.h"
#include "ops/plan/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool divides(uint32_t part, uint32_t whole)
{
    return part > 0 && whole % part == 0;
}

/* Heads, MLP and experts must be cut without rest. */
static void check_degrees(struct fleet_plan *plan, const char *tensor_key, const char *expert_key,
                          const struct plan_degrees *degrees)
{
    const struct model_shape *shape = &plan->shape;
    if (shape->layers == 0) /* no model to ask */
        return;
    if (!divides(degrees->tensor, (uint32_t)shape->heads) ||
        !divides(degrees->tensor, (uint32_t)shape->intermediate))
        plan_find(plan, FINDING_SETTING,
                  "%s is %u, but the model has %d heads and an MLP of %d: take a divisor of both",
                  tensor_key, degrees->tensor, shape->heads, shape->intermediate);
    if (degrees->expert > 1 && !divides(degrees->expert, (uint32_t)shape->experts))
        plan_find(plan, FINDING_SETTING, "%s is %u, but the model has %d experts: take %s",
                  expert_key, degrees->expert, shape->experts,
                  shape->experts > 0 ? "a divisor" : "1, it is dense");
}

static void check_counts(struct fleet_plan *plan)
{
    struct plan_role *actor = &plan->actor, *learner = &plan->learner;
    uint32_t cut = learner->degrees.tensor * learner->degrees.sequence;
    if (!divides(plan->nodes, plan->gpus))
        plan_find(plan, FINDING_SETTING,
                  "cluster.gpus %u is no multiple of cluster.nodes %u: make hosts of one kind",
                  plan->gpus, plan->nodes);
    if ((uint64_t)actor->gpus + learner->gpus > plan->gpus)
        plan_find(
            plan, FINDING_SETTING,
            "cluster.actor_gpus %u and cluster.learner_gpus %u are more than cluster.gpus %u: "
            "lower one of the first two",
            actor->gpus, learner->gpus, plan->gpus);
    if (actor->gpus == 0 || !divides(actor->unit_gpus, actor->gpus))
        plan_find(plan, FINDING_SETTING,
                  "cluster.actor_gpus %u is no multiple of cluster.actor_tensor_parallel %u x "
                  "cluster.actor_expert_parallel %u: no whole number of actors fits on them",
                  actor->gpus, actor->degrees.tensor, actor->degrees.expert);
    if (learner->gpus == 0 || !divides(cut, learner->gpus))
        plan_find(plan, FINDING_SETTING,
                  "cluster.learner_gpus %u is no multiple of cluster.tensor_parallel %u x "
                  "cluster.sequence_parallel %u: the data-parallel rest would be no whole number",
                  learner->gpus, learner->degrees.tensor, learner->degrees.sequence);
    else if (!divides(learner->degrees.expert, learner->gpus / learner->degrees.tensor))
        plan_find(plan, FINDING_SETTING,
                  "cluster.expert_parallel %u does not divide cluster.learner_gpus %u / "
                  "cluster.tensor_parallel %u: experts are spread over sequence and data parallel "
                  "ranks",
                  learner->degrees.expert, learner->gpus, learner->degrees.tensor);
}

/* ---- a described cluster ---- */

static void place_cluster(struct fleet_plan *plan)
{
    const struct cluster_settings *cluster = &plan->settings.cluster;
    struct plan_role *actor = &plan->actor, *learner = &plan->learner;
    actor->degrees =
        (struct plan_degrees){cluster->actor_tensor_parallel, cluster->actor_expert_parallel, 1};
    learner->degrees = (struct plan_degrees){cluster->tensor_parallel, cluster->expert_parallel,
                                             cluster->sequence_parallel};
    actor->unit_gpus = actor->degrees.tensor * actor->degrees.expert;
    learner->unit_gpus = learner->degrees.tensor * learner->degrees.sequence;
    learner->gpus = cluster->learner_gpus > 0 ? cluster->learner_gpus
                                              : plan->settings.learner.ranks * learner->unit_gpus;
    uint32_t all = cluster->gpus > 0 ? cluster->gpus
                   : cluster->actor_gpus > 0
                       ? cluster->actor_gpus + learner->gpus
                       : plan->settings.run.actors * actor->unit_gpus + learner->gpus;
    actor->gpus = cluster->actor_gpus > 0 ? cluster->actor_gpus
                  : all > learner->gpus   ? all - learner->gpus
                                          : 0;
    plan->nodes = cluster->nodes;
    plan->gpus = all;
    plan->node_gpus = all / cluster->nodes > 0 ? all / cluster->nodes : 1;
    actor->units = actor->gpus / actor->unit_gpus;
    learner->units = learner->gpus / learner->unit_gpus;
    actor->hardware = learner->hardware = *plan_gpu((enum setting_gpu)cluster->gpu);
    if (!settings_on_cuda(&plan->settings))
        plan_add_note(plan,
                      "run.device is \"%.60s\": the plan is for %s GPUs (cluster.gpu), a run would "
                      "take the first; set it to cuda:0,cuda:1,...",
                      plan->settings.run.device, actor->hardware.name);
    check_degrees(plan, "cluster.actor_tensor_parallel", "cluster.actor_expert_parallel",
                  &actor->degrees);
    check_degrees(plan, "cluster.tensor_parallel", "cluster.expert_parallel", &learner->degrees);
    check_counts(plan);
}

/* ---- this machine ---- */

static struct plan_hardware hardware_of(struct fleet_plan *plan, const char *device)
{
    static struct gpu_info info; /* large */
    if (strncmp(device, "cuda", 4) != 0)
        return plan_cpu(plan->settings.run.threads);
    gpu_info_read(&info);
    int index = 0;
    (void)sscanf(device, "cuda:%d", &index);
    const struct plan_hardware *row =
        info.count > index ? plan_gpu_named(info.gpus[index].name) : NULL;
    struct plan_hardware gpu = row != NULL ? *row : *plan_gpu(GPU_H100);
    if (info.count <= index)
        plan_add_note(plan,
                      "this machine has no GPU %d (%.120s): an H100 is assumed; cluster.gpu "
                      "names another",
                      index, info.problem[0] != '\0' ? info.problem : "the driver lists fewer");
    else
        gpu.memory_bytes = (double)info.gpus[index].total_mb * 1024 * 1024;
    return gpu;
}

static void place_here(struct fleet_plan *plan)
{
    const struct settings *settings = &plan->settings;
    struct plan_role *actor = &plan->actor, *learner = &plan->learner;
    char device[SETTINGS_DEVICE_MAX];
    actor->degrees = learner->degrees = (struct plan_degrees){1, 1, 1};
    actor->unit_gpus = learner->unit_gpus = 1;
    actor->units = actor->gpus = settings->run.actors > 0 ? settings->run.actors : 1;
    if (settings->run.actors == 0)
        plan_add_note(plan, "run.actors is 0, all run elsewhere: the plan is for one here");
    learner->units = learner->gpus = settings->learner.ranks;
    plan->nodes = 1;
    plan->gpus = plan->node_gpus = actor->gpus + learner->gpus;
    settings_device(settings, settings->learner.device, 0, device);
    learner->hardware = hardware_of(plan, device);
    settings_device(settings, settings->actor.device, 0, device);
    actor->hardware = hardware_of(plan, device);
}

/* ---- processes ---- */

static void add_process(struct fleet_plan *plan, const char *name, uint32_t count,
                        const char *where)
{
    if (count == 0 || plan->process_count == PLAN_PROCESSES_MAX)
        return;
    struct plan_process *process = &plan->processes[plan->process_count++];
    process->count = count;
    snprintf(process->name, sizeof process->name, "%s", name);
    snprintf(process->where, sizeof process->where, "%s", where);
}

static void describe_devices(const struct fleet_plan *plan, const char *own, uint32_t count,
                             char where[PLAN_TEXT_BYTES])
{
    size_t used = 0;
    where[0] = '\0';
    for (uint32_t i = 0; i < count && i < 8 && used < PLAN_TEXT_BYTES - 48; i++) {
        char device[SETTINGS_DEVICE_MAX];
        settings_device(&plan->settings, own, i, device);
        used += (size_t)snprintf(where + used, PLAN_TEXT_BYTES - used, "%s%s", i > 0 ? ", " : "",
                                 device);
    }
    if (count > 8)
        snprintf(where + used, PLAN_TEXT_BYTES - used, ", ...");
}

static void list_processes(struct fleet_plan *plan)
{
    if (plan->sft) {
        add_process(plan, "weir sft", 1, "the learner's device");
        return;
    }
    char where[PLAN_TEXT_BYTES];
    const struct plan_role *actor = &plan->actor, *learner = &plan->learner;
    add_process(plan, "store", 1, plan->cluster ? "host 0, CPU and a disk" : "CPU");
    if (plan->cluster)
        snprintf(where, sizeof where,
                 "GPUs 0 to %u; %u GPUs hold one copy (tensor %u, sequence %u, "
                 "experts over %u), %u copies share the minibatch",
                 learner->gpus - 1, learner->unit_gpus, learner->degrees.tensor,
                 learner->degrees.sequence, learner->degrees.expert, learner->units);
    else
        describe_devices(plan, plan->settings.learner.device, learner->units, where);
    add_process(plan, "learner", plan->cluster ? learner->gpus : learner->units, where);
    if (plan->cluster)
        snprintf(where, sizeof where, "GPUs %u to %u; an actor on %u (tensor %u, experts over %u)",
                 learner->gpus, learner->gpus + actor->gpus - 1, actor->unit_gpus,
                 actor->degrees.tensor, actor->degrees.expert);
    else
        describe_devices(plan, plan->settings.actor.device, actor->units, where);
    add_process(plan, "actor", actor->units, where);
    add_process(plan, "reward", plan->settings.run.reward_workers, "CPU");
    if (plan->evaluator.units > 0) {
        struct settings own = eval_settings_of(&plan->settings);
        describe_devices(plan, own.actor.device, 1, where);
        add_process(plan, "eval", 1, where);
    }
    if (plan->settings.redis.mode == REDIS_START)
        add_process(plan, "redis-server", 1, "CPU; a view only");
}

/* ---- what weir cannot run ---- */

static void list_lacks(struct fleet_plan *plan)
{
    const struct plan_role *actor = &plan->actor, *learner = &plan->learner;
    if (actor->degrees.tensor > 1 || learner->degrees.tensor > 1)
        plan_add_lack(plan,
                      "tensor parallelism (cluster.actor_tensor_parallel %u, "
                      "cluster.tensor_parallel %u)",
                      actor->degrees.tensor, learner->degrees.tensor);
    if (actor->degrees.expert > 1 || learner->degrees.expert > 1)
        plan_add_lack(plan,
                      "expert parallelism (cluster.actor_expert_parallel %u, "
                      "cluster.expert_parallel %u)",
                      actor->degrees.expert, learner->degrees.expert);
    if (learner->degrees.sequence > 1)
        plan_add_lack(plan, "sequence parallelism (cluster.sequence_parallel %u)",
                      learner->degrees.sequence);
    if (plan->cluster && learner->gpus > plan->node_gpus)
        plan_add_lack(plan, "a learner on several hosts (%u GPUs, %u a host; docs/ranks.md)",
                      learner->gpus, plan->node_gpus);
}

void plan_place(struct fleet_plan *plan)
{
    plan->actor.name = "actor";
    plan->learner.name = "learner";
    plan->evaluator.name = "evaluator";
    plan->evaluator.units = eval_is_on(&plan->settings) && !plan->sft;
    plan->cluster = plan->settings.cluster.gpu != GPU_NONE;
    if (plan->cluster)
        place_cluster(plan);
    else
        place_here(plan);
    if (plan->actor.units > 0 && plan->learner.units > 0)
        list_processes(plan);
    list_lacks(plan);
}
