/* ops/plan/rates.c - how fast: a decode step by its bytes and products, an update by its products, both with what
 * sharded layouts send; then the fleet simulator plays the rates for staleness and the time of a step. docs/plan.md has
 * every formula. */
#include "ops/plan/plan.h"

#include <math.h>
#include <stdio.h>

#include "ops/simulate/batch.h"

#define GEMM_SHARE 0.8 /* of the peak, products of decode steps with many sequences */
#define LINK_SHARE \
    0.8 /* of a link that collectives reach: 356 of 450 GB/s measured between two H200 */
#define EXCHANGE_S 10e-6 /* start of one exchange between GPUs */
enum { FORECAST_STEPS = 16, MINUTES_MAX = 40000, SAMPLES_MAX = 512 };

struct rates {
    double mean, context;              /* tokens: of a response; attended by a token, on average */
    double batch;                      /* sequences that an actor decodes together */
    double step_s;                     /* of one decode step */
    double actor_per_s, learner_per_s; /* tokens/s of one actor; of the whole learner */
    double update_s, version_tokens;   /* trained of one version */
    double train_flop, decode_flop;    /* a token */
};

/* Lengths are exponential with this mean, cut at the longest (docs/simulate.md): a token sees half of E[L^2] / E[L]. */
static void lengths(const struct fleet_plan *plan, struct rates *rates)
{
    const struct settings *settings = &plan->settings;
    double most = settings->sampling.response_tokens_max;
    double asked = settings->cluster.response_tokens_mean;
    rates->mean = asked > 0 ? fmin(asked, most) : fmax(most / 4, 1);
    double cut = exp(-most / rates->mean);
    double first = rates->mean * (1 - cut);
    double second = 2 * rates->mean * rates->mean * (1 - cut * (1 + most / rates->mean));
    double prompt = settings->data.prompt_tokens_max / 2.0;
    rates->context = prompt + second / (2 * first);
}

static double open_samples(const struct settings *settings)
{
    return ((double)settings->store.max_staleness + 1) * settings->store.groups_per_publish *
           settings->store.group_size;
}

/* Bytes that a GPU sends for an all-reduce of `bytes` over n; ring. */
static double all_reduce(double bytes, double n)
{
    return n > 1 ? 2 * bytes * (n - 1) / n : 0;
}

static double rate_of(const struct plan_hardware *hardware, bool inside_host)
{
    double rate = inside_host ? hardware->link : hardware->network;
    return rate > 0 ? rate * LINK_SHARE : INFINITY;
}

/* Two all-reduces a layer over the tensor group, and tokens to their experts and back. */
static double exchange_s(const struct fleet_plan *plan, const struct plan_role *role, double tokens,
                         double reduces, double moves)
{
    const struct model_shape *shape = &plan->shape;
    const struct plan_degrees *degrees = &role->degrees;
    double row = 2.0 * shape->hidden, seconds = 0;
    if (degrees->tensor > 1)
        seconds += reduces * (all_reduce(tokens * row, degrees->tensor) /
                                  rate_of(&role->hardware, degrees->tensor <= plan->node_gpus) +
                              EXCHANGE_S);
    if (degrees->expert > 1) {
        double away = tokens * row * shape->experts_per_token * (degrees->expert - 1.0) /
                      degrees->expert / degrees->tensor;
        bool inside = degrees->tensor * degrees->expert <= plan->node_gpus;
        seconds += moves * (away / rate_of(&role->hardware, inside) + EXCHANGE_S);
    }
    return seconds * shape->layers;
}

/* ---- actors ---- */

static double decode_bytes(const struct fleet_plan *plan, double batch, double context)
{
    const struct plan_degrees *degrees = &plan->actor.degrees;
    bool cpu = plan->actor.hardware.cpu;
    struct model_shape part =
        plan_part(&plan->shape, &(struct plan_degrees){degrees->tensor, 1, 1});
    uint32_t head = plan->settings.model.lm_head;
    struct flops_storage storage = {.weight_bytes = cpu ? 4 : 2,
                                    .head_bytes = cpu || head == LM_HEAD_FP32 ? 4 : 2,
                                    .cache_bytes = cpu ? 4 : 2,
                                    .chunk = (int32_t)plan->settings.model.lightning_chunk};
    struct flops_weights weights = flops_weights(&part);
    struct traffic all = traffic_decode(&part, &storage, batch, context);
    struct traffic own = traffic_decode(&part, &storage, batch / degrees->expert, context);
    double body = weights.body * storage.weight_bytes;
    return body + (all.weights - body) / degrees->expert + own.head + own.cache + own.states;
}

static void actor_rates(struct fleet_plan *plan, struct rates *rates)
{
    const struct settings *settings = &plan->settings;
    const struct plan_role *actor = &plan->actor;
    const struct plan_hardware *hardware = &actor->hardware;
    struct flops_weights weights = flops_weights(&plan->shape);
    rates->batch = fmin(settings->actor.slots, fmax(open_samples(settings) / actor->units, 1));
    const struct plan_share *near =
        plan_decode_share(hardware->cpu, weights.active / actor->unit_gpus, rates->batch);
    double asked = settings->cluster.decode_share, share = asked > 0 ? asked : near->share;
    double bytes = decode_bytes(plan, rates->batch, rates->context);
    struct flops token =
        flops_token(&plan->shape, rates->context, (int32_t)settings->model.lightning_chunk, true);
    rates->decode_flop = flops_sum(&token);
    double bytes_s = bytes / (hardware->bandwidth * hardware->copy_share * share);
    double flop_s = rates->batch * rates->decode_flop / actor->unit_gpus /
                    (hardware->flops * (hardware->cpu ? share : GEMM_SHARE));
    double send_s = exchange_s(plan, actor, rates->batch / actor->degrees.expert, 2, 2);
    rates->step_s = fmax(bytes_s, flop_s) + send_s;
    rates->actor_per_s = rates->batch / rates->step_s;
    plan_add_figure(plan, "actors", "share of the memory limit", share, "",
                    asked > 0 ? PLAN_ASKED : PLAN_MEASURED, "%s",
                    asked > 0 ? "cluster.decode_share" : near->source);
    plan_add_figure(plan, "actors", "sequences together", rates->batch, "", PLAN_MODELLED,
                    "least of actor.slots and (store.max_staleness + 1) x groups x "
                    "store.group_size / actors");
    plan_add_figure(plan, "actors", "decode step", rates->step_s * 1e3, "ms", PLAN_MODELLED,
                    "%.3g GB read by each of %u (%.3g ms), products %.3g ms, exchange %.3g ms",
                    bytes / 1e9, actor->unit_gpus, bytes_s * 1e3, flop_s * 1e3, send_s * 1e3);
}

/* ---- learner ---- */

static double recompute_passes(const struct settings *settings)
{
    return settings->learner.recompute == RECOMPUTE_LAYER ? 3 : 2;
}

/* Gradients to their owners in f32 and new weights back in bf16, once an update, over all copies. */
static double update_exchange_s(const struct fleet_plan *plan)
{
    const struct plan_role *learner = &plan->learner;
    struct flops_weights weights = flops_weights(&plan->shape);
    double copies = (double)learner->gpus / learner->degrees.tensor;
    if (copies <= 1)
        return 0;
    double experts = weights.expert_rows * weights.expert;
    double own =
        (weights.total - experts + experts / learner->degrees.expert) / learner->degrees.tensor;
    return own * (4 + 2) * (copies - 1) / copies /
           rate_of(&learner->hardware, learner->gpus <= plan->node_gpus);
}

static void learner_rates(struct fleet_plan *plan, struct rates *rates)
{
    const struct settings *settings = &plan->settings;
    const struct plan_role *learner = &plan->learner;
    const struct plan_hardware *hardware = &learner->hardware;
    struct flops_weights weights = flops_weights(&plan->shape);
    bool hybrid = plan->shape.experts > 0;
    double length = 2 * rates->context;
    const struct plan_share *near =
        plan_train_share(hardware->cpu, hybrid, weights.active / learner->unit_gpus, length);
    double asked = settings->cluster.train_share, share = asked > 0 ? asked : near->share;
    rates->train_flop =
        flops_train_token(&plan->shape, length, (int32_t)settings->model.lightning_chunk);
    rates->version_tokens =
        (double)settings->store.groups_per_publish * settings->store.group_size * rates->mean;
    double products =
        rates->version_tokens * rates->train_flop / learner->gpus / (hardware->flops * share);
    double tokens = rates->version_tokens / learner->units / learner->degrees.sequence;
    double passes = recompute_passes(settings);
    double inside = exchange_s(plan, learner, tokens, 2 * passes, 2 * passes);
    double between = update_exchange_s(plan) * settings->learner.updates_per_publish;
    rates->update_s = products + inside + between;
    rates->learner_per_s = rates->version_tokens / rates->update_s;
    plan_add_figure(plan, "learner", "share of the peak (MFU)", share, "",
                    asked > 0 ? PLAN_ASKED : PLAN_MEASURED, "%s",
                    asked > 0 ? "cluster.train_share" : near->source);
    plan_add_figure(plan, "learner", "tokens/s, all of it", rates->learner_per_s, "tokens/s",
                    PLAN_MODELLED,
                    "a version: products %.3g s, exchange inside a copy %.3g s, "
                    "gradients and weights between copies %.3g s, nothing overlapped",
                    products, inside, between);
}

/* Processes on one CPU share its cores. */
static double cpu_share(const struct fleet_plan *plan)
{
    if (!plan->learner.hardware.cpu)
        return 1;
    double wanted = (double)plan->settings.run.threads * (plan->actor.units + plan->learner.units);
    double cores = plan_cores();
    return wanted > cores ? cores / wanted : 1;
}

/* ---- the simulator ---- */

/* A fleet with a part of the groups, sequences, workers and rates has the same times and staleness and is played in a
 * part of the time: about SAMPLES_MAX samples a version. Returns the part. */
static double scale_down(const struct settings *settings, uint32_t actors, struct settings *scaled)
{
    *scaled = *settings;
    uint32_t groups = SAMPLES_MAX / settings->store.group_size;
    groups = groups > 4 * actors ? groups : 4 * actors;
    if (groups >= settings->store.groups_per_publish)
        return 1;
    double part = (double)groups / settings->store.groups_per_publish;
    scaled->store.groups_per_publish = groups;
    scaled->learner.updates_per_publish = 1;
    scaled->actor.slots = (uint32_t)fmax(settings->actor.slots * part, 1);
    scaled->run.reward_workers = (uint32_t)fmax(settings->run.reward_workers * part, 1);
    return part;
}

static enum status forecast(struct fleet_plan *plan, const struct rates *rates, double *step_s)
{
    static struct sim_setup setup; /* large */
    static struct settings scaled; /* large */
    const struct settings *settings = &plan->settings;
    struct forecast is;
    double part = scale_down(settings, plan->actor.units, &scaled);
    double kept = settings->cluster.kept_share;
    double make_s = rates->version_tokens / kept / (rates->actor_per_s * plan->actor.units);
    double minutes = FORECAST_STEPS * fmax(make_s, rates->update_s) / 60;
    struct simulate_options options = {
        .forecast = true,
        .quiet = true,
        .actors = plan->actor.units,
        .workers = scaled.run.reward_workers,
        .seed = settings->run.seed,
        .tokens_per_s = rates->actor_per_s * kept * part,
        .learner_tokens_per_s = rates->learner_per_s * part,
        .score_ms = fmax(settings->cluster.score_ms, 0.001),
        .score_lanes = settings->reward.threads,
        .response_mean = (uint32_t)rates->mean,
        .response_max = settings->sampling.response_tokens_max,
        .minutes = fmin(fmax(minutes, 1), MINUTES_MAX),
        .restart_s = 0.5,
        .checkpoint_s = 0.1,
    };
    TRY(forecast_play(&options, &scaled, &setup, &is));
    *step_s = is.versions_per_hour > 0 ? 3600 / is.versions_per_hour : *step_s;
    snprintf(plan->advice, sizeof plan->advice, "%s", forecast_advice(&is));
    const char *how = "fleet simulator (weir simulate) with the rates above";
    plan_add_figure(plan, "run", "staleness, mean", is.figures.staleness_mean, "versions",
                    PLAN_MODELLED, "%s; at most %.0f there, store.max_staleness %u", how,
                    is.figures.staleness_max, settings->store.max_staleness);
    plan_add_figure(plan, "run", "actors idle", is.figures.actor_idle, "share", PLAN_MODELLED, "%s",
                    how);
    plan_add_figure(plan, "run", "learner idle", is.figures.learner_idle, "share", PLAN_MODELLED,
                    "%s", how);
    return STATUS_OK;
}

static void whole_run(struct fleet_plan *plan, const struct rates *rates, double step_s)
{
    const struct settings *settings = &plan->settings;
    double steps = settings->run.steps, trained = steps * rates->version_tokens;
    double made = trained / settings->cluster.kept_share;
    plan_add_figure(plan, "run", "step time", step_s, "s", PLAN_MODELLED,
                    "one version: %u groups of %u, %u updates", settings->store.groups_per_publish,
                    settings->store.group_size, settings->learner.updates_per_publish);
    plan_add_figure(plan, "run", "trained", rates->version_tokens / step_s, "tokens/s",
                    PLAN_MODELLED, "end to end");
    plan_add_figure(plan, "run", "steps", steps, "versions", PLAN_ASKED, "run.steps");
    bool long_run = steps * step_s > 2 * 3600;
    plan_add_figure(plan, "run", "time to run.steps", steps * step_s / (long_run ? 3600 : 1),
                    long_run ? "hours" : "s", PLAN_MODELLED,
                    "steps x step time, without failures, evaluation and checkpoints");
    plan_add_figure(plan, "run", "tokens trained", trained, "tokens", PLAN_MODELLED,
                    "steps x groups x group size x mean response");
    plan_add_figure(plan, "run", "tokens generated", made, "tokens", PLAN_MODELLED,
                    "trained / cluster.kept_share %g", settings->cluster.kept_share);
    plan_add_figure(plan, "run", "arithmetic",
                    trained * rates->train_flop + made * rates->decode_flop, "FLOP", PLAN_MODELLED,
                    "training %.3g, generation %.3g FLOP a token (model/flops.h)",
                    rates->train_flop, rates->decode_flop);
    if (plan->cluster)
        plan_add_figure(plan, "run", "GPU hours", steps * step_s / 3600 * plan->gpus, "hours",
                        PLAN_MODELLED, "time x %u GPUs", plan->gpus);
}

static void publish_time(struct fleet_plan *plan)
{
    const struct plan_hardware *hardware = &plan->actor.hardware;
    if (hardware->cpu)
        return;
    struct flops_weights weights = flops_weights(&plan->shape);
    double head = plan->settings.model.lm_head == LM_HEAD_FP32 ? 2 * weights.head : 0;
    double bytes = (2 * weights.total + head) / plan->actor.unit_gpus;
    bool inside = plan->gpus <= plan->node_gpus;
    plan_add_figure(plan, "learner", "weights to actors", bytes / rate_of(hardware, inside), "s",
                    PLAN_MODELLED, "%.3g GB to each GPU of an actor, %s, while actors decode",
                    bytes / 1e9, inside ? "inside the host" : "between hosts");
}

enum status plan_rates(struct fleet_plan *plan, bool with_forecast)
{
    struct rates rates = {0};
    double asked = plan->settings.cluster.response_tokens_mean;
    lengths(plan, &rates);
    plan_add_figure(plan, "actors", "mean response", rates.mean, "tokens",
                    asked > 0 ? PLAN_ASKED : PLAN_MODELLED, "%s",
                    asked > 0 ? "cluster.response_tokens_mean"
                              : "a quarter of sampling.response_tokens_max; "
                                "cluster.response_tokens_mean says better");
    actor_rates(plan, &rates);
    double cores = cpu_share(plan);
    rates.actor_per_s *= cores;
    plan_add_figure(plan, "actors", "tokens/s of one", rates.actor_per_s, "tokens/s", PLAN_MODELLED,
                    "sequences / step%s", cores < 1 ? ", processes share the cores" : "");
    plan_add_figure(plan, "actors", "tokens/s of all", rates.actor_per_s * plan->actor.units,
                    "tokens/s", PLAN_MODELLED, "x %u actors", plan->actor.units);
    learner_rates(plan, &rates);
    rates.learner_per_s *= cores;
    rates.update_s /= cores;
    publish_time(plan);
    double make_s = rates.version_tokens / plan->settings.cluster.kept_share /
                    (rates.actor_per_s * plan->actor.units);
    double step_s = fmax(make_s, rates.update_s);
    if (with_forecast)
        TRY(forecast(plan, &rates, &step_s));
    whole_run(plan, &rates, step_s);
    return STATUS_OK;
}
