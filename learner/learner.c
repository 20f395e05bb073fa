#include "learner/learner.h"

#include "core/clock.h"
#include "core/eval_schedule.h"
#include "core/fault.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/trace.h"
#include "learner/advantage.h"
#include "learner/follower.h"
#include "learner/learner_state.h"
#include "learner/optim_schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- create ---- */

static int64_t longest_sequence(const struct settings *settings)
{
    return (int64_t)settings->data.prompt_tokens_max + settings->sampling.response_tokens_max;
}

/* Ours, and how it went for the other ranks. */
static enum status all_started(struct learner *learner, enum status status)
{
    int32_t own = (int32_t)status, all[RANKS_MAX];
    if (learner->ranks == NULL)
        return status;
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    TRY(rank_wire_gather(&learner->ranks->wire, &own, sizeof own, all));
    status_restore(kept);
    for (int r = 1; r < learner->ranks->wire.count && status == STATUS_OK; r++)
        if (all[r] != STATUS_OK)
            return FAIL((enum status)all[r],
                        "learner rank %d could not start (%s): its own log says why", r,
                        status_name((enum status)all[r]));
    return status;
}

static enum status tell_start(struct learner *learner, char kind, const char *path)
{
    char text[FILE_PATH_MAX + 1];
    if (learner->ranks == NULL)
        return STATUS_OK;
    int size = snprintf(text, sizeof text, "%c%s", kind, path);
    return rank_wire_tell(&learner->ranks->wire, COMMAND_START, text, (size_t)size);
}

static enum status create_and_load(struct learner *learner, const char *path,
                                   struct checkpoint_state *state)
{
    char model[FILE_PATH_MAX];
    TRY(file_path(model, "%s/hf", path));
    TRY(trainer_create_rank(&learner->trainer, learner->settings, model,
                            longest_sequence(learner->settings), learner->ranks));
    return checkpoint_load(path, &learner->trainer, state);
}

enum status learner_load_checkpoint(struct learner *learner, const char *path,
                                    struct checkpoint_state *state)
{
    TRY(tell_start(learner, 'C', path));
    return all_started(learner, create_and_load(learner, path, state));
}

enum status learner_load_start(struct learner *learner)
{
    TRY(tell_start(learner, 'M', learner->start_folder));
    return all_started(
        learner, trainer_create_rank(&learner->trainer, learner->settings, learner->start_folder,
                                     longest_sequence(learner->settings), learner->ranks));
}

static enum status open_ranks(struct learner *learner)
{
    if (learner->settings->learner.ranks <= 1)
        return STATUS_OK;
    learner->ranks = memory_alloc(sizeof *learner->ranks);
    if (learner->ranks == NULL)
        return FAIL(STATUS_NO_MEMORY, "ranks");
    return ranks_open(learner->ranks, learner->settings, 0, learner->folder);
}

enum status learner_join_ranks(struct learner *learner)
{
    if (learner->ranks == NULL)
        return STATUS_OK;
    TRY(rank_wire_tell(&learner->ranks->wire, COMMAND_JOIN, NULL, 0));
    return trainer_join_ranks(&learner->trainer);
}

/* A run that ended well says so; otherwise the followers see the socket close. */
static void close_ranks(struct learner *learner)
{
    if (learner->ranks == NULL)
        return;
    if (learner->finished &&
        rank_wire_tell(&learner->ranks->wire, COMMAND_STOP, NULL, 0) != STATUS_OK)
        LOG_WARN("learner", "a rank did not hear that the run is over", "ranks=%d",
                 learner->ranks->wire.count);
    ranks_close(learner->ranks);
    memory_free(learner->ranks);
    learner->ranks = NULL;
}

/* From the newest checkpoint of the run folder that is whole, else from the model the run starts with. */
static enum status load(struct learner *learner)
{
    char path[FILE_PATH_MAX], damage[1024] = "";
    struct checkpoint_state state = {0};
    uint64_t version = UINT64_MAX;
    enum status status, damaged = STATUS_OK;
    for (;;) {
        status = checkpoint_newest(learner->checkpoints, version, path, sizeof path, &version);
        if (status == STATUS_OK)
            status = learner_load_checkpoint(learner, path, &state);
        else
            break;
        if (status != STATUS_CORRUPT && status != STATUS_INVALID && status != STATUS_NOT_FOUND)
            break;
        LOG_FAILURE("learner", "CHECKPOINT DAMAGED, the one before it is tried", status);
        if (damaged == STATUS_OK)
            snprintf(damage, sizeof damage, "%s", status_last_error());
        damaged = damaged == STATUS_OK ? status : damaged;
        trainer_destroy(&learner->trainer);
    }
    if (status == STATUS_NOT_FOUND && damaged != STATUS_OK)
        return FAIL(damaged, "no checkpoint can be loaded: %s", damage);
    /* To begin anew would be a silent loss of all steps. */
    if (status == STATUS_NOT_FOUND && checkpoint_stands(learner->checkpoints, path, sizeof path))
        return FAIL(STATUS_CORRUPT,
                    "no checkpoint can be loaded: %s and all before it are damaged, the log says "
                    "how: put one back, or move them away to begin with the start model",
                    path);
    if (status == STATUS_NOT_FOUND)
        return learner_load_start(learner);
    if (status != STATUS_OK)
        return status;
    learner->resumed = true;
    learner->version = learner->checkpoint_version = state.version;
    learner->checkpoint_digest = state.digest;
    learner->branch = state.branch;
    LOG_INFO("learner", "resumed", "checkpoint=%s version=%" PRIu64 " digest=%016" PRIx64, path,
             state.version, state.digest);
    return STATUS_OK;
}

static enum status between_micro_batches(void *self)
{
    return learner_idle(self);
}

static enum status open_outputs(struct learner *learner)
{
    TRY(learner_metrics_open(learner));
    if (eval_is_on(learner->settings)) {
        TRY(eval_writer_open(&learner->eval, learner->folder, learner->start_folder,
                             &learner->alarms));
        TRY(eval_rows_open(&learner->eval_rows, learner->folder));
    }
    TRY(publisher_open(learner));
    char metrics[FILE_PATH_MAX];
    TRY(file_path(metrics, "%s/metrics.jsonl", learner->folder));
    TRY(redis_view_open_set(&learner->redis, learner->run, &learner->settings->redis));
    redis_view_refill(learner->redis, "metrics", metrics, REDIS_METRICS_KEPT);
    views_open(learner);
    return STATUS_OK;
}

enum status learner_make(struct learner **out, const struct learner_options *options)
{
    *out = NULL;
    struct learner *learner = memory_alloc(sizeof *learner);
    if (learner == NULL)
        return FAIL(STATUS_NO_MEMORY, "learner");
    learner->settings = options->settings;
    learner->monitor = options->monitor;
    learner->now = schedule_begin(learner->settings);
    alarms_init(&learner->alarms);
    alert_watch_init(&learner->alerts, learner->settings);
    snprintf(learner->run, sizeof learner->run, "%s", options->run);
    snprintf(learner->folder, sizeof learner->folder, "%s", options->folder);
    snprintf(learner->checkpoints, sizeof learner->checkpoints, "%s/checkpoints", options->folder);
    snprintf(learner->start_folder, sizeof learner->start_folder, "%s",
             options->settings->model.path);
    enum status status;
    TRY_GOTO(fail, schedule_parse(&learner->schedule, learner->settings->schedule.changes));
    TRY_GOTO(fail, file_make_dirs(learner->checkpoints));
    /* limit: one plan with its groups; memory is taken as needed */
    TRY_GOTO(fail, arena_create(&learner->arena, (size_t)64 << 30));
    TRY_GOTO(fail, arena_create(&learner->mail, (size_t)1 << 30));
    TRY_GOTO(fail, open_ranks(learner));
    *out = learner;
    return STATUS_OK;
fail:
    learner_destroy(&learner);
    return status;
}

enum status learner_create(struct learner **out, const struct learner_options *options)
{
    *out = NULL;
    struct learner *learner = NULL;
    enum status status;
    TRY(learner_make(&learner, options));
    TRY_GOTO(fail, load(learner));
    TRY_GOTO(fail, learner_join_ranks(learner));
    learner->trainer.between = between_micro_batches;
    learner->trainer.between_self = learner;
    TRY_GOTO(fail, open_outputs(learner));
    learner_show(learner);
    TRY_GOTO(fail, learner_connect(learner, options->endpoint));
    TRY_GOTO(fail, publisher_join(learner));
    if (learner->ranks != NULL) {
        learner->ranks->wire.between = between_micro_batches;
        learner->ranks->wire.between_self = learner;
    }
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
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    monitor_forget(learner->monitor);
    eval_writer_close(&learner->eval);
    publisher_close(learner);
    link_close(&learner->link, "leaving");
    views_close(learner);
    redis_view_close(&learner->redis);
    if (learner->metrics_file != NULL)
        fclose(learner->metrics_file);
    if (learner->gradients_file != NULL)
        fclose(learner->gradients_file);
    close_ranks(learner);
    trainer_destroy(&learner->trainer);
    alarms_free(&learner->alarms);
    arena_destroy(&learner->arena);
    arena_destroy(&learner->mail);
    memory_free(learner);
    *pointer = NULL;
    status_restore(kept);
}

/* ---- one plan ---- */

/* A skipped update costs a minibatch; learner.non_finite_max of them in a row are no accident. */
static enum status judge_update(struct learner *learner, const struct plan *plan, uint32_t cut,
                                const struct train_stats *stats)
{
    struct alarms *alarms = &learner->alarms;
    uint32_t most = learner->settings->learner.non_finite_max;
    if (!stats->non_finite) {
        alarms->non_finite_row = 0;
        if (stats->mismatch_max != 0)
            alarms_raise(alarms,
                         "version %" PRIu64 ", minibatch %u: the learner's logprob of a token made "
                         "by exactly its weights differs by %g from the actor's",
                         plan->version, cut, stats->mismatch_max);
        return STATUS_OK;
    }
    alarms->non_finite_row++;
    metric_add(&learner->metrics.non_finite, 1);
    alarms_raise(alarms, "version %" PRIu64 ", minibatch %u is skipped: %s", plan->version, cut,
                 train_skip_text(stats->skip));
    if (alarms->non_finite_row < most)
        return STATUS_OK;
    learner_last_alarms(learner);
    learner->must_stop = true;
    return FAIL(
        STATUS_LIMIT,
        "%u updates in a row were skipped (learner.non_finite_max), the last one, minibatch "
        "%u of version %" PRIu64 ", because %s: the run stops; the last checkpoint is of "
        "version %" PRIu64,
        alarms->non_finite_row, cut, plan->version, train_skip_text(stats->skip),
        learner->checkpoint_version);
}

/* current: the weights in the trainer are still those that the plan starts with. */
static enum status train_minibatch(struct learner *learner, const struct plan *plan, uint32_t cut,
                                   const struct learner_minibatch *minibatch, bool current,
                                   struct train_stats *sum)
{
    const struct optim_settings *optim = &learner->now.optim;
    struct settings scheduled = *learner->settings;
    scheduled.optim = *optim;
    int64_t begin_ns = clock_now_ns();
    struct optim_schedule rate = optim_schedule_of_run(&scheduled);
    struct trainer_loss objective = {.loss = learner->now.loss,
                                     .lr = optim_schedule_lr(&rate, learner->trainer.updates),
                                     .weight_decay = optim->weight_decay,
                                     .grad_clip = optim->grad_clip,
                                     .beta1 = optim->beta1,
                                     .beta2 = optim->beta2,
                                     .eps = optim->eps,
                                     .span = learner->response_cap};
    for (uint32_t i = 0; !current && i < minibatch->count; i++)
        minibatch->sequences[i].current = NULL;
    metric_set(&learner->metrics.lr, objective.lr);
    struct train_stats stats;
    TRY(trainer_update(&learner->trainer, minibatch->sequences, minibatch->count, &objective,
                       &stats));
    trace_span_tokens("update", begin_ns, clock_now_ns(), plan->version, stats.tokens);
    FAULT("learner.updated");
    TRY(judge_update(learner, plan, cut, &stats));
    learner_watch(learner, &stats, objective.lr);
    if (!stats.non_finite) { /* its sums are no numbers */
        train_stats_add(sum, &stats);
        views_add_update(learner);
    }
    return learner_idle(learner);
}

enum status learner_train(struct learner *learner, const struct plan *plan,
                          const struct group_data *groups, struct train_stats *stats)
{
    train_stats_init(stats);
    uint64_t updates = learner->trainer.updates;
    struct learner_minibatch *minibatches;
    learner->mid_plan = true;
    int64_t begin_ns = clock_now_ns();
    TRY(learner_prepare(learner, plan, groups, &minibatches));
    TRY(views_prepare(learner, plan, groups, minibatches));
    trace_span("prepare", begin_ns, clock_now_ns(), plan->version);
    for (uint32_t cut = 0; cut < plan->cut_count; cut++)
        TRY(train_minibatch(learner, plan, cut, &minibatches[cut],
                            learner->trainer.updates == updates, stats));
    return STATUS_OK;
}

/* Register first, then the first byte of the weights: no actor can serve what the store does not know.
 * may_branch: the store may answer a digest it did not expect with a new branch. Actors at later versions of
 * the dead one only take weights that say the new branch, and a notice tells us its number. */
static enum status publish(struct learner *learner, uint64_t version, uint64_t parent,
                           bool may_branch)
{
    struct trainer *trainer = &learner->trainer;
    trainer->weights.version = version;
    TRY(learner_register(learner, version, parent, trainer->weights.digest));
    FAULT("learner.registered");
    if (may_branch)
        TRY(learner_await_notice(learner));
    TRY(publisher_put(learner, version));
    FAULT("learner.published");
    learner->version = version;
    learner->mid_plan = false;
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
    views_flush(learner);
    TRY(checkpoint_save(learner->checkpoints, &learner->trainer, &state, learner->start_folder,
                        learner->settings->learner.checkpoint_keep, path, sizeof path));
    learner->checkpoint_version = state.version;
    learner->checkpoint_digest = state.digest;
    metric_set(&learner->metrics.checkpoint_s, (double)(clock_now_ns() - begin_ns) / 1e9);
    LOG_INFO("learner", "checkpoint", "path=%s digest=%016" PRIx64, path, state.digest);
    enum status status = learner_report_checkpoint(learner, state.version, state.digest, path);
    trace_span("checkpoint", begin_ns, clock_now_ns(), state.version);
    return status;
}

/* Weights for the evaluation of this version, if it is due. last: no version comes after it. */
static enum status put_for_evaluation(struct learner *learner, bool last)
{
    char path[FILE_PATH_MAX] = "";
    struct weights_version version = {.version = learner->version,
                                      .branch = learner->branch,
                                      .digest = learner->trainer.weights.digest};
    if (!eval_is_on(learner->settings))
        return STATUS_OK;
    eval_writer_turn(&learner->eval);
    if (!last && !eval_is_due(learner->settings, learner->version))
        return STATUS_OK;
    if (learner->version > 0 && learner->checkpoint_version == learner->version)
        TRY(file_path(path, "%s/step_%" PRIu64, learner->checkpoints, learner->version));
    return eval_writer_put(&learner->eval, &learner->trainer, &version, path, last);
}

/* Ends a part of the step: its seconds; the next one begins. */
static double end_part(const char *name, uint64_t step, int64_t *begin_ns)
{
    int64_t now_ns = clock_now_ns();
    trace_span(name, *begin_ns, now_ns, step);
    double seconds = (double)(now_ns - *begin_ns) / 1e9;
    *begin_ns = now_ns;
    return seconds;
}

static enum status train_plan(struct learner *learner, bool *last)
{
    int64_t mark_ns = clock_now_ns();
    struct plan plan;
    TRY(learner_fetch_plan(learner, &plan));
    trace_span("plan", mark_ns, clock_now_ns(), plan.version);
    FAULT("learner.planned");
    struct group_data *groups = arena_array(learner->arena, plan.group_count, sizeof *groups);
    if (groups == NULL)
        return FAIL(STATUS_LIMIT, "a plan of %u groups does not fit", plan.group_count);
    int64_t fetch_ns = clock_now_ns();
    TRY(learner_fetch_groups(learner, &plan, groups));
    trace_span("fetch", fetch_ns, clock_now_ns(), plan.version);
    FAULT("learner.fetched");
    double wait_s = end_part("wait", plan.version, &mark_ns);
    struct train_stats stats;
    TRY(learner_train(learner, &plan, groups, &stats));
    double train_s = end_part("train", plan.version, &mark_ns);
    bool differs = plan.digest != 0 && plan.digest != learner->trainer.weights.digest;
    if (differs)
        alarms_raise(&learner->alarms,
                     "version %" PRIu64 " was made again and has digest %016" PRIx64
                     " where %016" PRIx64 " is recorded: a new branch starts",
                     plan.version, learner->trainer.weights.digest, plan.digest);
    uint64_t parent = learner->version;
    TRY(publish(learner, plan.version, parent, differs));
    double sync_s = end_part("sync", plan.version, &mark_ns);
    *last = plan.last;
    TRY(learner_report(learner, &plan, groups, &stats, wait_s, train_s, sync_s));
    if (plan.last || plan.version % learner->settings->learner.checkpoint_every == 0)
        TRY(save_checkpoint(learner));
    return put_for_evaluation(learner, plan.last);
}

/* What a restarted learner loaded is said again: it may have been killed between the rename and the report, and
 * the store ends the run only after the last version's report. */
static enum status start(struct learner *learner)
{
    TRY(publish(learner, learner->version, learner->version > 0 ? learner->version - 1 : 0,
                learner->resumed));
    char path[FILE_PATH_MAX];
    TRY(put_for_evaluation(learner, false));
    if (!learner->resumed)
        return STATUS_OK;
    TRY(file_path(path, "%s/step_%" PRIu64, learner->checkpoints, learner->version));
    return learner_report_checkpoint(learner, learner->checkpoint_version,
                                     learner->checkpoint_digest, path);
}

static enum status run_plans(struct learner *learner, atomic_int *stop_signals)
{
    learner->stop_signals = stop_signals;
    learner->step_begin_ns = clock_now_ns();
    enum status status = start(learner);
    bool last = learner->version >= learner->settings->run.steps;
    while (status == STATUS_OK && !last)
        status = train_plan(learner, &last);
    /* A drain cancels only between plans; there the weights are those of learner->version. */
    if (status == STATUS_CANCELLED && !learner->mid_plan && *stop_signals < 2)
        status = STATUS_OK;
    if (status == STATUS_OK && learner->version != learner->checkpoint_version)
        status = save_checkpoint(learner);
    /* who drains goes on later, and waits for nothing now */
    bool ends = learner->version >= learner->settings->run.steps ||
                (!learner->draining && *stop_signals == 0);
    if (status == STATUS_OK && ends && eval_is_on(learner->settings)) {
        status = put_for_evaluation(learner, true);
        if (status == STATUS_OK)
            eval_writer_end(&learner->eval, learner->version);
    }
    return status;
}

enum status learner_run(struct learner *learner, atomic_int *stop_signals)
{
    enum status status = run_plans(learner, stop_signals);
    learner->finished = status == STATUS_OK;
    return status;
}

bool learner_must_stop(const struct learner *learner)
{
    return learner->must_stop;
}

enum status learner_follow(const struct learner_options *options, int rank,
                           atomic_int *stop_signals)
{
    return follower_run(options->settings, rank, options->folder,
                        longest_sequence(options->settings), options->monitor, stop_signals);
}

enum status learner_budget_text(const struct settings *settings, struct buffer *text)
{
    struct model_shape shape;
    struct memory_plan plan = {0};
    struct op_table *ops = NULL;
    char path[FILE_PATH_MAX], device[SETTINGS_DEVICE_MAX];
    int64_t longest = longest_sequence(settings), elements = 0;
    TRY(file_path(path, "%s/config.json", settings->model.path));
    TRY(model_shape_load(&shape, path));
    TRY(plan_parameters(&shape, &elements));
    settings_device(settings, settings->learner.device, 0, device);
    TRY(op_table_create_plan(&ops, device));
    enum status status =
        trainer_plan(settings, &shape, ops, longest, settings->learner.ranks, &plan);
    if (status == STATUS_OK)
        status = buffer_printf(
            text, "learner: %s on %s, %" PRId64 " parameters, %" PRId64 " rows a micro-batch\n",
            model_arch_name(shape.arch), device, elements, trainer_rows(settings, longest));
    if (status == STATUS_OK)
        status = plan_text(&plan, text);
    op_table_destroy(&ops);
    return status;
}
