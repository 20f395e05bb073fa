#include "learner/learner.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "learner/advantage.h"
#include "learner/learner_state.h"

#include <inttypes.h>
#include <string.h>

/* ---- create ---- */

static int64_t longest_sequence(const struct settings *settings)
{
    return (int64_t)settings->data.prompt_tokens_max + settings->sampling.response_tokens_max;
}

/* From the newest checkpoint of the run folder, else from the model the run starts with. */
static enum status load(struct learner *learner)
{
    char path[FILE_PATH_MAX], model[FILE_PATH_MAX];
    enum status status = checkpoint_newest(learner->checkpoints, path, sizeof path);
    if (status == STATUS_NOT_FOUND)
        return trainer_create(&learner->trainer, learner->settings, learner->start_folder,
                              longest_sequence(learner->settings));
    if (status != STATUS_OK)
        return status;
    struct checkpoint_state state = {0};
    TRY(file_path(model, "%s/hf", path));
    TRY(trainer_create(&learner->trainer, learner->settings, model,
                       longest_sequence(learner->settings)));
    TRY(checkpoint_load(path, &learner->trainer, &state));
    learner->version = learner->checkpoint_version = state.version;
    learner->checkpoint_digest = state.digest;
    learner->branch = state.branch;
    LOG_INFO("learner", "resumed", "checkpoint=%s version=%" PRIu64 " digest=%016" PRIx64, path,
             state.version, state.digest);
    return STATUS_OK;
}

static enum status open_outputs(struct learner *learner)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/metrics.jsonl", learner->folder));
    learner->metrics_file = fopen(path, "a");
    if (learner->metrics_file == NULL)
        return FAIL(STATUS_IO, "%s cannot be opened for writing", path);
    size_t bytes = (size_t)(model_parameters(learner->trainer.model)->elements *
                            learner->trainer.ops->weight_bytes);
    TRY(weight_sender_open(&learner->sender, learner->weights_path,
                           model_parameters(learner->trainer.model)->layout_hash, bytes));
    if (learner->settings->redis.mode != REDIS_OFF)
        TRY(redis_view_open(&learner->redis, learner->run, learner->settings->redis.address,
                            learner->settings->redis.password));
    return STATUS_OK;
}

enum status learner_create(struct learner **out, const struct learner_options *options)
{
    *out = NULL;
    struct learner *learner = memory_alloc(sizeof *learner);
    if (learner == NULL)
        return FAIL(STATUS_NO_MEMORY, "learner");
    learner->settings = options->settings;
    snprintf(learner->run, sizeof learner->run, "%s", options->run);
    snprintf(learner->folder, sizeof learner->folder, "%s", options->folder);
    snprintf(learner->checkpoints, sizeof learner->checkpoints, "%s/checkpoints", options->folder);
    snprintf(learner->weights_path, sizeof learner->weights_path, "/dev/shm/weir.%s.weights",
             options->run);
    snprintf(learner->start_folder, sizeof learner->start_folder, "%s",
             options->settings->model.path);
    enum status status;
    TRY_GOTO(fail, file_make_dirs(learner->checkpoints));
    /* limit: one plan with its groups; memory is taken as needed */
    TRY_GOTO(fail, arena_create(&learner->arena, (size_t)64 << 30));
    TRY_GOTO(fail, load(learner));
    TRY_GOTO(fail, open_outputs(learner));
    TRY_GOTO(fail, learner_connect(learner, options->endpoint));
    *out = learner;
    return STATUS_OK;
fail:
    learner_destroy(&learner);
    return status;
}

void learner_destroy(struct learner **pointer)
{
    struct learner *learner = *pointer;
    if (learner == NULL)
        return;
    link_close(&learner->link, "leaving");
    weight_sender_close(&learner->sender);
    redis_view_close(&learner->redis);
    if (learner->metrics_file != NULL)
        fclose(learner->metrics_file);
    trainer_destroy(&learner->trainer);
    arena_destroy(&learner->arena);
    memory_free(learner);
    *pointer = NULL;
}

/* ---- one plan ---- */

/* Tokens made by exactly the weights in the trainer, with a cache made by no others. */
static enum status mark_current(struct learner *learner, const struct group_sample *sample,
                                const uint8_t **current)
{
    uint8_t *marks = arena_alloc(learner->arena, sample->count);
    if (marks == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    uint32_t at = 0;
    for (uint32_t p = 0; p < sample->piece_count; p++) {
        bool own = sample->pieces[p].version == learner->version &&
                   sample->pieces[p].kv_version_min == learner->version;
        memset(marks + at, own, sample->pieces[p].count);
        at += sample->pieces[p].count;
    }
    *current = marks;
    return STATUS_OK;
}

/* Adds the sequences of one group; samples without a token have nothing to train. */
static enum status add_group(struct learner *learner, const struct group_data *group,
                             uint32_t index, bool first_update, struct train_sequence *sequences,
                             uint32_t *count)
{
    uint32_t n = group->sample_count;
    double *reward = arena_array(learner->arena, n, sizeof *reward),
           *advantage = arena_array(learner->arena, n, sizeof *advantage);
    if (reward == NULL || advantage == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    for (uint32_t s = 0; s < n; s++)
        reward[s] = group->samples[s].reward;
    struct advantage_group stats;
    TRY(advantage_of_group(reward, (int32_t)n,
                           (enum setting_advantage_std)learner->settings->loss.advantage_std,
                           advantage, &stats));
    for (uint32_t s = 0; s < n; s++) {
        const struct group_sample *sample = &group->samples[s];
        if (sample->count == 0)
            continue;
        const uint8_t *current = NULL;
        if (first_update)
            TRY(mark_current(learner, sample, &current));
        sequences[(*count)++] = (struct train_sequence){
            .prompt_ids = group->prompt_ids,
            .prompt_count = group->prompt_count,
            .response_ids = sample->ids,
            .response_count = sample->count,
            .logprob_old = sample->logprobs,
            .mask = sample->mask,
            .current = current,
            .advantage = advantage[s],
            .group = index,
            .temperature = group->temperature,
        };
    }
    return STATUS_OK;
}

static double learning_rate(const struct optim_settings *optim, uint64_t update)
{
    if (optim->warmup_updates > 0 && update < optim->warmup_updates)
        return optim->lr * (double)(update + 1) / (double)optim->warmup_updates;
    return optim->lr;
}

static enum status train_minibatch(struct learner *learner, const struct plan *plan,
                                   const struct group_data *groups, uint32_t cut,
                                   struct train_stats *sum)
{
    uint32_t first = plan->cuts[cut],
             last = cut + 1 < plan->cut_count ? plan->cuts[cut + 1] : plan->group_count;
    uint64_t samples = 0;
    for (uint32_t g = first; g < last; g++)
        samples += groups[g].sample_count;
    struct train_sequence *sequences = arena_array(learner->arena, samples + 1, sizeof *sequences);
    if (sequences == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    uint32_t count = 0;
    for (uint32_t g = first; g < last; g++)
        TRY(add_group(learner, &groups[g], g, cut == 0, sequences, &count));
    struct trainer_loss objective = {
        .loss = learner->settings->loss,
        .lr = learning_rate(&learner->settings->optim, learner->trainer.updates),
        .weight_decay = learner->settings->optim.weight_decay,
        .grad_clip = learner->settings->optim.grad_clip};
    metric_set(&learner->metrics.lr, objective.lr);
    struct train_stats stats;
    TRY(trainer_update(&learner->trainer, sequences, count, &objective, &stats));
    train_stats_add(sum, &stats);
    return learner_idle(learner);
}

/* Register first, then the first byte of the weights: no actor can serve what the store does not know. */
static enum status publish(struct learner *learner, uint64_t version, uint64_t parent)
{
    struct trainer *trainer = &learner->trainer;
    trainer->weights.version = version;
    TRY(learner_register(learner, version, parent, trainer->weights.digest));
    size_t bytes =
        (size_t)(model_parameters(trainer->model)->elements * trainer->ops->weight_bytes);
    void *place = weight_sender_begin(learner->sender, version);
    TRY(trainer->ops->memory_read(trainer->ops->context, trainer->weights.flat, place, bytes));
    weight_sender_commit(learner->sender, version, learner->branch, trainer->weights.digest);
    learner->version = version;
    log_set_version(version);
    return STATUS_OK;
}

static enum status save_checkpoint(struct learner *learner)
{
    int64_t begin_ns = clock_now_ns();
    struct checkpoint_state state = {.version = learner->version,
                                     .branch = learner->branch,
                                     .digest = learner->trainer.weights.digest,
                                     .updates = learner->trainer.updates,
                                     .skipped = learner->trainer.skipped};
    char path[FILE_PATH_MAX];
    TRY(checkpoint_save(learner->checkpoints, &learner->trainer, &state, learner->start_folder,
                        learner->settings->learner.checkpoint_keep, path, sizeof path));
    learner->checkpoint_version = state.version;
    learner->checkpoint_digest = state.digest;
    metric_set(&learner->metrics.checkpoint_s, (double)(clock_now_ns() - begin_ns) / 1e9);
    LOG_INFO("learner", "checkpoint", "path=%s digest=%016" PRIx64, path, state.digest);
    return learner_report_checkpoint(learner, state.version, state.digest, path);
}

static double seconds_since(int64_t *begin_ns)
{
    int64_t now_ns = clock_now_ns();
    double seconds = (double)(now_ns - *begin_ns) / 1e9;
    *begin_ns = now_ns;
    return seconds;
}

static enum status train_plan(struct learner *learner, bool *last)
{
    int64_t mark_ns = clock_now_ns();
    struct plan plan;
    TRY(learner_fetch_plan(learner, &plan));
    struct group_data *groups = arena_array(learner->arena, plan.group_count, sizeof *groups);
    if (groups == NULL)
        return FAIL(STATUS_LIMIT, "a plan of %u groups does not fit", plan.group_count);
    TRY(learner_fetch_groups(learner, &plan, groups));
    double wait_s = seconds_since(&mark_ns);
    struct train_stats stats;
    train_stats_init(&stats);
    for (uint32_t cut = 0; cut < plan.cut_count; cut++)
        TRY(train_minibatch(learner, &plan, groups, cut, &stats));
    double train_s = seconds_since(&mark_ns);
    if (plan.digest != 0 && plan.digest != learner->trainer.weights.digest)
        LOG_ERROR("learner", "a re-made version differs: a new branch starts",
                  "version=%" PRIu64 " recorded=%016" PRIx64 " made=%016" PRIx64, plan.version,
                  plan.digest, learner->trainer.weights.digest);
    uint64_t parent = learner->version;
    TRY(publish(learner, plan.version, parent));
    double sync_s = seconds_since(&mark_ns);
    *last = plan.last;
    TRY(learner_report(learner, &plan, groups, &stats, wait_s, train_s, sync_s));
    if (plan.last || plan.version % learner->settings->learner.checkpoint_every == 0)
        TRY(save_checkpoint(learner));
    return STATUS_OK;
}

enum status learner_run(struct learner *learner, volatile sig_atomic_t *stop_signals)
{
    learner->stop_signals = stop_signals;
    learner->step_begin_ns = clock_now_ns();
    TRY(publish(learner, learner->version, learner->version));
    bool last = false;
    while (!last) {
        enum status status = train_plan(learner, &last);
        if (status == STATUS_CANCELLED)
            break;
        if (status != STATUS_OK)
            return status;
    }
    if (learner->version != learner->checkpoint_version)
        TRY(save_checkpoint(learner));
    return *stop_signals > 1 ? FAIL(STATUS_CANCELLED, "stopped by a second signal") : STATUS_OK;
}

enum status learner_budget_text(const struct settings *settings, char *text, size_t size)
{
    struct model_shape shape;
    struct parameter_table table;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.json", settings->model.path));
    TRY(model_shape_load(&shape, path));
    TRY(parameter_table_create(&table, &shape));
    int64_t longest = longest_sequence(settings), rows = settings->learner.microbatch_tokens;
    rows = rows > longest ? rows : longest;
    snprintf(text, size,
             "learner: %s, %" PRId64 " parameters, %" PRId64 " rows a micro-batch, about %.1f MB\n",
             model_arch_name(shape.arch), table.elements, rows,
             (double)trainer_bytes(&shape, table.elements, rows) / 1e6);
    parameter_table_destroy(&table);
    return STATUS_OK;
}
