/* learner/sft.c - see sft.h. Everything an update needs is a function of its number (learner/sft_batch.h,
 * learner/optim_schedule.h), so a checkpoint of the learner's own format, whose version is the number of updates done,
 * is all that a resume needs. */
#include "learner/sft.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "learner/checkpoint.h"
#include "learner/optim_schedule.h"
#include "learner/sft_state.h"
#include "model/folder.h"

/* ---- start ---- */

static enum status check(struct sft *sft)
{
    const struct sft_settings *settings = &sft->settings->sft;
    if (settings->out == NULL || settings->out[0] == '\0')
        return FAIL(STATUS_INVALID, "sft.out is empty: name the folder that receives the model");
    if (file_exists(settings->out))
        return FAIL(STATUS_INVALID,
                    "sft.out: %s is there already; name another folder or remove it",
                    settings->out);
    if (sft->settings->learner.ranks > 1)
        return FAIL(STATUS_UNSUPPORTED,
                    "learner.ranks is %u: `weir sft` trains in one process; set it to 1",
                    sft->settings->learner.ranks);
    TRY(sft_stages_parse(&sft->stages, settings->context_stages));
    uint64_t staged = sft_stages_updates(&sft->stages);
    if (sft->stages.count > 0 && staged != settings->steps)
        return FAIL(STATUS_INVALID,
                    "the updates of sft.context_stages add up to %" PRIu64
                    ", sft.steps is %u: make them equal",
                    staged, settings->steps);
    size_t length = strlen(settings->out);
    while (length > 1 && settings->out[length - 1] == '/')
        length--;
    TRY(file_path(sft->work, "%.*s.sft", (int)length, settings->out));
    return file_path(sft->checkpoints, "%s/checkpoints", sft->work);
}

static enum status load_data(struct sft *sft)
{
    const struct settings *settings = sft->settings;
    const char *eval = settings->sft.eval_file;
    int64_t limit = settings->sft.mode == SFT_MODE_SFT ? settings->sft.sequence_tokens_max : 0;
    TRY(tokenizer_open(&sft->tokenizer, settings->model.path,
                       (enum setting_tokenizer)settings->model.tokenizer));
    TRY(sft_rows_load(&sft->rows, settings, sft->tokenizer, "sft.train", settings->sft.train,
                      limit));
    if (sft->rows.cut + sft->rows.skipped > 0)
        LOG_WARN("sft", "rows above sft.sequence_tokens_max",
                 "cut=%" PRIu64 " left_out=%" PRIu64 " kept=%u", sft->rows.cut, sft->rows.skipped,
                 sft->rows.count);
    TRY(sft_batch_create(&sft->batch, settings, &sft->rows, &sft->stages, settings->sft.batch));
    if (eval == NULL || eval[0] == '\0')
        return STATUS_OK;
    TRY(sft_rows_load(&sft->held_out, settings, sft->tokenizer, "sft.eval_file", eval, limit));
    return sft_batch_create(&sft->eval_batch, settings, &sft->held_out, &sft->stages,
                            settings->sft.batch);
}

/* What a checkpoint's cursor is a cursor of; another text would make a resumed run another run. */
static enum status check_data(struct sft *sft, bool resumed)
{
    const struct settings *settings = sft->settings;
    char path[FILE_PATH_MAX], text[1024];
    const char *stages = settings->sft.context_stages;
    int size = snprintf(
        text, sizeof text,
        "{\"rows\":%u,\"tokens\":%" PRId64 ",\"digest\":\"%016" PRIx64 "\",\"seed\":%" PRIu64
        ",\"batch\":%u,\"mode\":%u,\"sequence_tokens\":%u,\"stages\":%u,"
        "\"stages_hash\":\"%016" PRIx64 "\"}\n",
        sft->rows.count, sft->rows.tokens, sft->rows.digest, settings->run.seed,
        settings->sft.batch, (unsigned)settings->sft.mode, settings->sft.sequence_tokens,
        sft->stages.count, stages != NULL ? hash64(stages, strlen(stages), 0) : 0);
    TRY(file_path(path, "%s/data.json", sft->work));
    if (!resumed)
        return file_replace(path, text, (size_t)size);
    struct buffer before;
    buffer_init(&before, 1 << 16);
    enum status status = file_read(path, &before);
    if (status == STATUS_OK && strcmp(buffer_string(&before), text) != 0)
        status = FAIL(STATUS_INVALID,
                      "%s says %s, now it is %s: data or settings differ from those the checkpoint "
                      "was made with; put them back, or remove %s to begin anew",
                      path, buffer_string(&before), text, sft->work);
    buffer_free(&before);
    return status;
}

static int64_t longest_of(const struct sft *sft)
{
    int64_t longest = sft_batch_longest(sft->settings, &sft->rows, &sft->stages);
    if (sft->settings->sft.mode == SFT_MODE_SFT && sft->held_out.longest > longest)
        longest = sft->held_out.longest;
    return longest;
}

static enum status load_checkpoint(struct sft *sft, const char *path)
{
    char model[FILE_PATH_MAX];
    struct checkpoint_state state = {0};
    TRY(file_path(model, "%s/hf", path));
    TRY(trainer_create(&sft->trainer, sft->settings, model, longest_of(sft)));
    TRY(checkpoint_load(path, &sft->trainer, &state));
    sft->step = state.version;
    LOG_INFO("sft", "resumed", "checkpoint=%s updates=%" PRIu64 " digest=%016" PRIx64, path,
             sft->step, state.digest);
    return STATUS_OK;
}

/* From the newest whole checkpoint of the work folder, or from the start model. */
static enum status load_model(struct sft *sft)
{
    const struct settings *settings = sft->settings;
    char path[FILE_PATH_MAX];
    uint64_t version = 0;
    bool stands = checkpoint_stands(sft->checkpoints, path, sizeof path);
    if (stands && !settings->run.resume)
        return FAIL(STATUS_INVALID,
                    "%s is a checkpoint of an earlier start: set run.resume=true to go on, or "
                    "remove %s to begin anew",
                    path, sft->work);
    if (!stands)
        return trainer_create(&sft->trainer, settings, settings->model.path, longest_of(sft));
    enum status status =
        checkpoint_newest(sft->checkpoints, UINT64_MAX, path, sizeof path, &version);
    if (status == STATUS_NOT_FOUND) /* to begin anew would be a silent loss of all updates */
        return FAIL(STATUS_CORRUPT,
                    "no checkpoint in %s is whole, the log says how: remove %s to begin anew",
                    sft->checkpoints, sft->work);
    TRY(status);
    TRY(check_data(sft, true));
    return load_checkpoint(sft, path);
}

static enum status start(struct sft *sft)
{
    TRY(load_data(sft));
    TRY(load_model(sft));
    for (uint32_t i = 0; i < sft->stages.count; i++)
        if (sft->stages.rows[i].rope_theta > 0 && sft->trainer.shape.rotary == 0)
            return FAIL(STATUS_INVALID,
                        "sft.context_stages changes the RoPE base, but %s rotates "
                        "nothing: leave @rope= out",
                        sft->settings->model.path);
    sft->begun = sft->checked = sft->step;
    TRY(sft_report_open(sft));
    if (sft->step == 0)
        TRY(check_data(sft, false));
    LOG_INFO("sft", "started", "rows=%u tokens=%" PRId64 " longest=%" PRId64 " parameters=%" PRId64,
             sft->rows.count, sft->rows.tokens, sft->rows.longest,
             model_parameters(sft->trainer.model)->elements);
    const char *slash = strrchr(sft->work, '/');
    char metrics[FILE_PATH_MAX];
    TRY(file_path(metrics, "%s/metrics.jsonl", sft->work));
    TRY(redis_view_open_set(&sft->redis, slash != NULL ? slash + 1 : sft->work,
                            &sft->settings->redis));
    redis_view_refill(sft->redis, "metrics", metrics, REDIS_METRICS_KEPT);
    return STATUS_OK;
}

/* ---- training ---- */

/* RoPE base and longest position of the update's stage, in the model and in the config.json to come. The last base
 * that a stage so far has named: a function of the update. */
static enum status enter_stage(struct sft *sft)
{
    struct model_shape *shape = &sft->trainer.shape;
    double theta = shape->rope_theta;
    for (uint32_t i = 0; i < sft->stages.count; i++) {
        const struct sft_stage *stage = &sft->stages.rows[i];
        if (stage->first > sft->step)
            break;
        theta = stage->rope_theta > 0 ? stage->rope_theta : theta;
        shape->positions_max =
            stage->tokens > shape->positions_max ? stage->tokens : shape->positions_max;
    }
    if (theta == shape->rope_theta)
        return STATUS_OK;
    LOG_INFO("sft", "RoPE base", "update=%" PRIu64 " before=%g now=%g", sft->step,
             shape->rope_theta, theta);
    shape->rope_theta = theta;
    return model_set_rope_theta(sft->trainer.model, theta);
}

static enum status save_checkpoint(struct sft *sft)
{
    const struct settings *settings = sft->settings;
    struct checkpoint_state state = {.version = sft->step,
                                     .digest = sft->trainer.weights.digest,
                                     .updates = sft->trainer.updates,
                                     .skipped = sft->trainer.skipped};
    char path[FILE_PATH_MAX];
    TRY(file_make_dirs(sft->checkpoints));
    TRY(checkpoint_save(sft->checkpoints, &sft->trainer, &state, settings->model.path,
                        settings->learner.checkpoint_keep, path, sizeof path));
    sft->checked = sft->step;
    LOG_INFO("sft", "checkpoint", "path=%s digest=%016" PRIx64, path, state.digest);
    return STATUS_OK;
}

/* rows that go through the model: what tokens/s counts */
static uint64_t rows_of(const struct sft_batch *batch)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        rows += batch->sequences[i].prompt_count + (uint64_t)batch->sequences[i].response_count - 1;
    return rows;
}

struct loss_settings sft_loss(const struct settings *settings)
{
    struct loss_settings loss = settings->loss;
    loss.kind = LOSS_SFT;
    loss.normaliser = NORMALISER_BATCH;
    loss.entropy_coefficient = loss.kl_coefficient = 0;
    return loss;
}

static enum status train_one(struct sft *sft, const struct optim_schedule *rate)
{
    struct trainer_loss objective = {.loss = sft_loss(sft->settings),
                                     .lr = optim_schedule_lr(rate, sft->step),
                                     .weight_decay = sft->settings->optim.weight_decay,
                                     .grad_clip = sft->settings->optim.grad_clip};
    struct train_stats stats;
    double eval_loss = (double)NAN;
    TRY(enter_stage(sft));
    sft_batch_fill(&sft->batch, sft->step);
    TRY(trainer_update(&sft->trainer, sft->batch.sequences, sft->batch.count, &objective, &stats));
    sft->step++;
    sft->tokens += rows_of(&sft->batch);
    TRY(sft_evaluate(sft, &eval_loss));
    TRY(sft_report(sft, &stats, objective.lr, eval_loss));
    uint32_t every = sft->settings->sft.checkpoint_every;
    if (every > 0 && sft->step % every == 0 && sft->step < sft->settings->sft.steps)
        TRY(save_checkpoint(sft));
    return STATUS_OK;
}

static enum status train(struct sft *sft, atomic_int *stop_signals)
{
    const struct optim_schedule rate = optim_schedule_of_sft(sft->settings);
    uint64_t steps = sft->settings->sft.steps;
    sft->begin_ns = clock_now_ns();
    while (sft->step < steps && *stop_signals == 0)
        TRY(train_one(sft, &rate));
    if (sft->step >= steps)
        return enter_stage(
            sft); /* resumed after the last update: the base is that of the checkpoint */
    if (sft->settings->sft.checkpoint_every == 0 || sft->step == 0)
        return FAIL(STATUS_CANCELLED, "stopped by a signal; %s is not written",
                    sft->settings->sft.out);
    if (sft->step > sft->checked)
        TRY(save_checkpoint(sft));
    return FAIL(STATUS_CANCELLED,
                "stopped by a signal after %" PRIu64 " updates; %s is not written, "
                "run.resume=true goes on",
                sft->step, sft->settings->sft.out);
}

/* The model under its name in one step; then the checkpoints have done their part. */
static enum status save(struct sft *sft)
{
    const struct parameter_table *table = model_parameters(sft->trainer.model);
    float *flat = memory_array((size_t)table->elements, sizeof *flat);
    if (flat == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRId64 " parameters", table->elements);
    enum status status = trainer_read(&sft->trainer, ARRAY_MASTER, flat);
    if (status == STATUS_OK)
        status = model_folder_save(sft->settings->sft.out, &sft->trainer.shape, table, flat, ST_F32,
                                   sft->settings->model.path, 0);
    memory_free(flat);
    return status == STATUS_OK ? file_remove_tree(sft->checkpoints) : status;
}

enum status sft_run(const struct settings *settings, atomic_int *stop_signals,
                    void (*progress)(const struct sft_progress *progress))
{
    struct sft *sft = memory_alloc(sizeof *sft);
    if (sft == NULL)
        return FAIL(STATUS_NO_MEMORY, "sft");
    *sft = (struct sft){.settings = settings, .progress = progress};
    alarms_init(&sft->alarms);
    enum status status = check(sft);
    if (status == STATUS_OK)
        status = start(sft);
    if (status == STATUS_OK)
        status = train(sft, stop_signals);
    if (status == STATUS_OK)
        status = save(sft);
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    redis_view_close(&sft->redis);
    sft_report_close(sft);
    trainer_destroy(&sft->trainer);
    sft_batch_destroy(&sft->batch);
    sft_batch_destroy(&sft->eval_batch);
    sft_rows_free(&sft->rows);
    sft_rows_free(&sft->held_out);
    tokenizer_close(&sft->tokenizer);
    alarms_free(&sft->alarms);
    memory_free(sft);
    status_restore(kept);
    return status;
}
