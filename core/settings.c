#include "core/settings.h"

#include <inttypes.h>
#include <string.h>

#include "core/eval_schedule.h"
#include "core/memory.h"
#include "core/mix.h"
#include "core/schedule.h"
#include "core/stage_lengths.h"

/* The preprocessor cannot hand a struct's name through PREFIX##_SETTINGS(ROW), so each table says
 * its own; a section that is missing here does not compile in settings_sections below. */
// clang-format off
#define ROW(...) CONFIG_FIELD(struct run_settings, __VA_ARGS__)
static const struct config_field run_fields[] = {RUN_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct model_settings, __VA_ARGS__)
static const struct config_field model_fields[] = {MODEL_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct data_settings, __VA_ARGS__)
static const struct config_field data_fields[] = {DATA_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct curriculum_settings, __VA_ARGS__)
static const struct config_field curriculum_fields[] = {CURRICULUM_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct sampling_settings, __VA_ARGS__)
static const struct config_field sampling_fields[] = {SAMPLING_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct store_settings, __VA_ARGS__)
static const struct config_field store_fields[] = {STORE_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct actor_settings, __VA_ARGS__)
static const struct config_field actor_fields[] = {ACTOR_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct learner_settings, __VA_ARGS__)
static const struct config_field learner_fields[] = {LEARNER_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct loss_settings, __VA_ARGS__)
static const struct config_field loss_fields[] = {LOSS_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct schedule_settings, __VA_ARGS__)
static const struct config_field schedule_fields[] = {SCHEDULE_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct optim_settings, __VA_ARGS__)
static const struct config_field optim_fields[] = {OPTIM_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct weights_settings, __VA_ARGS__)
static const struct config_field weights_fields[] = {WEIGHTS_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct reward_settings, __VA_ARGS__)
static const struct config_field reward_fields[] = {REWARD_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct redis_settings, __VA_ARGS__)
static const struct config_field redis_fields[] = {REDIS_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct metrics_settings, __VA_ARGS__)
static const struct config_field metrics_fields[] = {METRICS_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct dash_settings, __VA_ARGS__)
static const struct config_field dash_fields[] = {DASH_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct alerts_settings, __VA_ARGS__)
static const struct config_field alerts_fields[] = {ALERTS_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct stages_settings, __VA_ARGS__)
static const struct config_field stages_fields[] = {STAGES_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct sft_settings, __VA_ARGS__)
static const struct config_field sft_fields[] = {SFT_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct eval_settings, __VA_ARGS__)
static const struct config_field eval_fields[] = {EVAL_SETTINGS(ROW)};
#undef ROW
#define ROW(...) CONFIG_FIELD(struct cluster_settings, __VA_ARGS__)
static const struct config_field cluster_fields[] = {CLUSTER_SETTINGS(ROW)};
#undef ROW
// clang-format on

const struct config_section settings_sections[] = {
#define SECTION(section, PREFIX)                                    \
    {.name = #section,                                              \
     .fields = section##_fields,                                    \
     .count = sizeof section##_fields / sizeof section##_fields[0], \
     .offset = offsetof(struct settings, section)},
    SETTINGS_SECTIONS(SECTION)
#undef SECTION
};

const size_t settings_section_count = sizeof settings_sections / sizeof settings_sections[0];

enum status settings_load(struct settings *settings, struct config **config,
                          const struct config_input *input)
{
    struct settings loaded;
    struct config *made = NULL;
    TRY(config_load(&made, settings_sections, settings_section_count, input, &loaded));
    enum status status = settings_check(&loaded);
    if (status != STATUS_OK) {
        config_destroy(&made);
        return status;
    }
    *settings = loaded;
    *config = made;
    return STATUS_OK;
}

/* Items between commas: cpu, cuda or cuda:N. All of one kind. */
static enum status check_device(const char *name, const char *list)
{
    for (const char *at = list; *at != '\0';) {
        size_t length = strcspn(at, ",");
        bool cpu = length == 3 && strncmp(at, "cpu", 3) == 0;
        bool cuda = length >= 4 && strncmp(at, "cuda", 4) == 0;
        if (cuda && length > 4)
            cuda = at[4] == ':' && length > 5 && length <= 8 &&
                   strspn(at + 5, "0123456789") >= length - 5;
        if ((!cpu && !cuda) || (at[length] == ',' && at[length + 1] == '\0'))
            return FAIL(STATUS_INVALID, "%s is \"%s\": write cpu, cuda:N, or cuda:0,cuda:1,...",
                        name, list);
        if (strncmp(at, list, 3) != 0)
            return FAIL(STATUS_INVALID, "%s is \"%s\": cpu and cuda do not mix", name, list);
        at += length + (at[length] == ',');
    }
    return STATUS_OK;
}

static enum status check_stages(const struct settings *settings)
{
    struct stage_lengths lengths;
    TRY(stage_lengths_parse(settings->stages.lengths, settings->sampling.response_tokens_max,
                            &lengths));
    if (settings->stages.start >= lengths.count)
        return FAIL(STATUS_INVALID,
                    "stages.start is %u and stages.lengths has %u stages, 0 to %u: lower the first",
                    settings->stages.start, lengths.count, lengths.count - 1);
    return STATUS_OK;
}

/* What this build lacks; a plan for another machine does not ask. */
static enum status check_build(const struct settings *settings)
{
#ifndef WITH_CUDA
    const char *const names[] = {"run.device", "actor.device", "learner.device", "eval.device"};
    const char *const lists[] = {settings->run.device, settings->actor.device,
                                 settings->learner.device, settings->eval.device};
    for (int i = 0; i < 4; i++)
        if (lists[i] != NULL && strncmp(lists[i], "cuda", 4) == 0)
            return FAIL(STATUS_INVALID,
                        "%s is \"%s\", but this program was built without CUDA: "
                        "build with -DWITH_CUDA=ON or set it to cpu",
                        names[i], lists[i]);
#else
    (void)settings;
#endif
    return STATUS_OK;
}

void settings_device(const struct settings *settings, const char *own, uint32_t index,
                     char device[SETTINGS_DEVICE_MAX])
{
    const char *list = own != NULL && own[0] != '\0' ? own : settings->run.device;
    list = list != NULL ? list : "cpu"; /* settings made by hand */
    const char *at = list;
    uint32_t count = 1;
    for (const char *c = list; *c != '\0'; c++)
        count += *c == ',';
    for (uint32_t skip = index % count; skip > 0; skip--)
        at = strchr(at, ',') + 1;
    size_t length = strcspn(at, ",");
    length = length < SETTINGS_DEVICE_MAX ? length : SETTINGS_DEVICE_MAX - 1;
    memcpy(device, at, length);
    device[length] = '\0';
    if (device[0] == '\0')
        strncpy(device, "cpu", SETTINGS_DEVICE_MAX);
}

bool settings_on_cuda(const struct settings *settings)
{
    char device[SETTINGS_DEVICE_MAX];
    settings_device(settings, settings->learner.device, 0, device);
    return strncmp(device, "cuda", 4) == 0;
}

static enum status check_model(const struct settings *settings)
{
    if (settings->model.lightning_chunk % 8 != 0)
        return FAIL(STATUS_INVALID, "model.lightning_chunk is %u: make it a multiple of 8",
                    settings->model.lightning_chunk);
    if (!settings_on_cuda(settings) && settings->model.lm_head == LM_HEAD_FP32_OUT)
        return FAIL(STATUS_INVALID, "model.lm_head fp32_out needs run.device cuda, it is cpu: set "
                                    "model.lm_head to fp32 (or bf16), or run.device to cuda:0");
    TRY(check_device("run.device", settings->run.device));
    TRY(check_device("actor.device", settings->actor.device));
    TRY(check_device("learner.device", settings->learner.device));
    char actor[SETTINGS_DEVICE_MAX], learner[SETTINGS_DEVICE_MAX];
    settings_device(settings, settings->actor.device, 0, actor);
    settings_device(settings, settings->learner.device, 0, learner);
    if (strncmp(actor, learner, 3) != 0)
        return FAIL(STATUS_INVALID,
                    "actors on %s and the learner on %s: they must be of one kind, or their "
                    "probabilities differ; set run.device alone",
                    actor, learner);
    return STATUS_OK;
}

static enum status check_weights(const struct settings *settings)
{
    const struct weights_settings *weights = &settings->weights;
    if (settings_on_cuda(settings) || weights->channel == CHANNEL_AUTO ||
        weights->channel == CHANNEL_SHM || weights->channel == CHANNEL_TCP)
        return STATUS_OK;
    if (weights->channel == CHANNEL_IPC)
        return FAIL(STATUS_INVALID, "weights.channel is ipc, which hands on GPU memory, but "
                                    "run.device is cpu: set the first to auto");
    if (weights->nccl_library[0] == '\0')
        return FAIL(STATUS_INVALID, "weights.channel is nccl, which needs GPUs, but run.device is "
                                    "cpu: set the first to auto (tests name a library of their "
                                    "own in weights.nccl_library)");
    return STATUS_OK;
}

static enum status check_loss(const struct settings *settings)
{
    TRY(schedule_check(settings));
    if (settings->reward.clip_low >= settings->reward.clip_high)
        return FAIL(STATUS_INVALID,
                    "reward.clip_low %g is not below reward.clip_high %g: lower "
                    "the first or raise the second",
                    settings->reward.clip_low, settings->reward.clip_high);
    if (settings->store.groups_per_publish < settings->learner.updates_per_publish)
        return FAIL(STATUS_INVALID,
                    "store.groups_per_publish %u is below "
                    "learner.updates_per_publish %u, some updates would have no "
                    "group: raise the first or lower the second",
                    settings->store.groups_per_publish, settings->learner.updates_per_publish);
    return STATUS_OK;
}

/* total: updates until the end of the schedule; total_name: what says so. */
static enum status check_wsd(const char *section, uint32_t warmup, uint32_t decay, uint64_t total,
                             const char *total_name)
{
    if (decay == 0)
        return FAIL(STATUS_INVALID,
                    "%s.schedule is wsd and %s.decay_updates is 0, it would never decay: set the "
                    "second, or the first to constant",
                    section, section);
    if ((uint64_t)warmup + decay > total)
        return FAIL(STATUS_INVALID,
                    "%s.warmup_updates %u and %s.decay_updates %u are more than the %" PRIu64
                    " updates of %s: lower one of them",
                    section, warmup, section, decay, total, total_name);
    return STATUS_OK;
}

static enum status check_schedules(const struct settings *settings)
{
    const struct optim_settings *optim = &settings->optim;
    const struct sft_settings *sft = &settings->sft;
    bool own = optim->total_updates > 0;
    uint64_t total = own ? optim->total_updates
                         : (uint64_t)settings->run.steps * settings->learner.updates_per_publish;
    if (optim->schedule == LR_WSD)
        TRY(check_wsd("optim", optim->warmup_updates, optim->decay_updates, total,
                      own ? "optim.total_updates" : "run.steps * learner.updates_per_publish"));
    if (sft->schedule == LR_WSD)
        TRY(check_wsd("sft", sft->warmup_updates, sft->decay_updates, sft->steps, "sft.steps"));
    return STATUS_OK;
}

static enum status check_redis(const struct redis_settings *redis)
{
    bool sentinels = redis->sentinels[0] != 0, address = redis->address[0] != 0;
    if (sentinels && redis->mode == REDIS_START)
        return FAIL(STATUS_INVALID, "redis.sentinels is set, but redis.mode is start, which needs "
                                    "none: set redis.mode=connect, or leave redis.sentinels empty");
    if (sentinels && address && redis->mode == REDIS_CONNECT)
        return FAIL(STATUS_INVALID,
                    "redis.sentinels and redis.address are both set: the Sentinels say where Redis "
                    "is, leave redis.address empty");
    if (sentinels && redis->master[0] == 0)
        return FAIL(STATUS_INVALID, "redis.sentinels is set, but redis.master is empty: name the "
                                    "master that they watch");
    if (redis->mode == REDIS_CONNECT && !address && !sentinels)
        return FAIL(STATUS_INVALID,
                    "redis.mode is connect, but redis.address and redis.sentinels are empty: set "
                    "one, or redis.mode to start or off");
    return STATUS_OK;
}

static enum status check_services(const struct settings *settings)
{
    const struct store_settings *store = &settings->store;
    if (store->lease_ms < 4 * (uint64_t)store->heartbeat_ms)
        return FAIL(STATUS_INVALID,
                    "store.lease_ms %u is below 4 * store.heartbeat_ms %u, a late "
                    "heartbeat would lose the lease: raise the first to %" PRIu64
                    " or lower the second",
                    store->lease_ms, store->heartbeat_ms, 4 * (uint64_t)store->heartbeat_ms);
    return check_redis(&settings->redis);
}

static enum status check_curriculum(const struct curriculum_settings *curriculum)
{
    struct mix *mix = memory_alloc(sizeof *mix);
    if (mix == NULL)
        return FAIL(STATUS_NO_MEMORY, "curriculum.mix");
    enum status status = mix_parse(mix, "curriculum.mix", curriculum->mix, 1e9, true);
    if (status == STATUS_OK)
        status = mix_parse(mix, "curriculum.quotas", curriculum->quotas, 1, false);
    memory_free(mix);
    TRY(status);
    if (curriculum->pass_low > curriculum->pass_high)
        return FAIL(STATUS_INVALID,
                    "curriculum.pass_low %g is above curriculum.pass_high %g: lower the first or "
                    "raise the second",
                    curriculum->pass_low, curriculum->pass_high);
    if (curriculum->lower_at > 0 && curriculum->lower_at >= curriculum->raise_at)
        return FAIL(STATUS_INVALID,
                    "curriculum.lower_at %g is not below curriculum.raise_at %g: a source would go "
                    "up and down; lower the first or raise the second",
                    curriculum->lower_at, curriculum->raise_at);
    return STATUS_OK;
}

static enum status check_eval(const struct settings *settings)
{
    const struct eval_settings *eval = &settings->eval;
    struct eval_sets *sets = memory_alloc(sizeof *sets);
    if (sets == NULL)
        return FAIL(STATUS_NO_MEMORY, "eval.sets");
    enum status status = eval_sets_parse(sets, "eval.sets", eval->sets != NULL ? eval->sets : "");
    uint32_t count = sets->count;
    memory_free(sets);
    TRY(status);
    if (eval->every > 0 && count == 0)
        return FAIL(STATUS_INVALID,
                    "eval.every is %u, but eval.sets names no prompts: set it, or "
                    "the first to 0",
                    eval->every);
    if (eval->device == NULL || eval->device[0] == '\0')
        return STATUS_OK;
    TRY(check_device("eval.device", eval->device));
    if (strncmp(eval->device, "cpu", 3) == 0 && settings->model.lm_head == LM_HEAD_FP32_OUT)
        return FAIL(STATUS_INVALID,
                    "model.lm_head fp32_out needs a GPU, eval.device is %s: set "
                    "the first to fp32, or the second to cuda:N",
                    eval->device);
    return STATUS_OK;
}

static enum status check_rules(const struct settings *settings)
{
    TRY(check_eval(settings));
    TRY(check_curriculum(&settings->curriculum));
    TRY(check_model(settings));
    TRY(check_stages(settings));
    TRY(check_weights(settings));
    TRY(check_loss(settings));
    TRY(check_schedules(settings));
    return check_services(settings);
}

enum status settings_check(const struct settings *settings)
{
    TRY(check_rules(settings));
    return check_build(settings);
}

enum status settings_check_plan(const struct settings *settings)
{
    TRY(check_rules(settings));
    if (settings->sampling.temperature <= 0)
        return FAIL(STATUS_INVALID, "sampling.temperature is 0 (greedy), which a training run "
                                    "cannot use: every rollout of a group would be the same and "
                                    "its logprobs undefined; set it above 0, 1.0 is usual");
    if (settings->loss.kind == LOSS_SFT)
        return FAIL(STATUS_INVALID, "loss.kind sft is for `weir sft` only: set loss.kind to cispo "
                                    "for a run, or start `weir sft`");
    return STATUS_OK;
}

enum status settings_check_run(const struct settings *settings)
{
    TRY(settings_check_plan(settings));
    return check_build(settings);
}
