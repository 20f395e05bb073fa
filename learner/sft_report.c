/* learner/sft_report.c - what `weir sft` says while it trains: lines, held-out loss, alarms, progress. */
#include <inttypes.h>
#include <math.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "learner/lines.h"
#include "learner/sft_state.h"

enum { PROGRESS_EVERY = 20 };

enum status sft_report_open(struct sft *sft)
{
    char path[FILE_PATH_MAX];
    TRY(file_make_dirs(sft->work));
    TRY(file_path(path, "%s/metrics.jsonl", sft->work));
    TRY(lines_open(&sft->metrics_file, path, "step", sft->step));
    if (sft->trainer.statistics == NULL)
        return STATUS_OK;
    TRY(file_path(path, "%s/gradients.jsonl", sft->work));
    return lines_open(&sft->gradients_file, path, "update", sft->trainer.updates);
}

void sft_report_close(struct sft *sft)
{
    if (sft->metrics_file != NULL)
        fclose(sft->metrics_file);
    if (sft->gradients_file != NULL)
        fclose(sft->gradients_file);
    sft->metrics_file = sft->gradients_file = NULL;
}

/* ---- held-out loss ---- */

static enum status score(struct sft *sft, uint32_t count, float *logprob, float **each, double *sum,
                         uint64_t *tokens)
{
    const struct train_sequence *sequences = sft->eval_batch.sequences;
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        each[i] = logprob + at;
        at += sequences[i].response_count;
    }
    TRY(trainer_score(&sft->trainer, sequences, count, each));
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t t = 0; t < sequences[i].response_count; t++)
            if (sequences[i].mask[t] != 0) {
                *sum -= (double)each[i][t];
                ++*tokens;
            }
    return STATUS_OK;
}

enum status sft_evaluate(struct sft *sft, double *loss)
{
    const struct sft_settings *settings = &sft->settings->sft;
    *loss = (double)NAN;
    if (sft->held_out.count == 0 ||
        (sft->step % settings->eval_every != 0 && sft->step != settings->steps))
        return STATUS_OK;
    struct sft_batch *batch = &sft->eval_batch;
    int64_t longest =
        batch->longest > sft->held_out.longest ? batch->longest : sft->held_out.longest;
    float *logprob = memory_array((size_t)batch->count * (size_t)longest, sizeof *logprob);
    float **each = memory_array(batch->count, sizeof *each);
    enum status status = logprob != NULL && each != NULL
                             ? STATUS_OK
                             : FAIL(STATUS_NO_MEMORY, "logprobs of %u held-out rows", batch->count);
    double sum = 0;
    uint64_t tokens = 0, draw = 0;
    for (uint32_t count;
         status == STATUS_OK && (count = sft_batch_next(batch, sft->step - 1, &draw)) > 0;)
        status = score(sft, count, logprob, each, &sum, &tokens);
    memory_free(logprob);
    memory_free(each);
    if (tokens > 0)
        *loss = sum / (double)tokens;
    return status;
}

/* ---- lines ---- */

static enum status number(struct buffer *line, const char *key, double value)
{
    return isfinite(value) ? buffer_printf(line, ",\"%s\":%.9g", key, value)
                           : buffer_printf(line, ",\"%s\":null", key);
}

static enum status write_metrics(struct sft *sft, const struct train_stats *stats, double lr,
                                 const struct sft_progress *progress, struct buffer *line)
{
    const struct trainer *trainer = &sft->trainer;
    TRY(buffer_printf(line, "{\"step\":%" PRIu64 ",\"wall\":%.3f,\"digest\":\"%016" PRIx64 "\"",
                      sft->step, (double)clock_wall_ns() / 1e9, trainer->weights.digest));
    TRY(number(line, "loss", stats->loss));
    TRY(number(line, "aux_loss", stats->aux_loss));
    TRY(number(line, "entropy",
               stats->tokens > 0 ? stats->entropy_sum / (double)stats->tokens : (double)NAN));
    TRY(number(line, "grad_norm", stats->grad_norm));
    TRY(number(line, "lr", lr));
    TRY(number(line, "epoch", sft->batch.epoch));
    TRY(buffer_printf(line, ",\"trained_tokens\":%" PRIu64 ",\"skipped\":%" PRIu64, stats->tokens,
                      trainer->skipped));
    TRY(number(line, "rope_theta", trainer->shape.rope_theta));
    if (sft->stages.count > 0)
        TRY(number(line, "sequence_tokens",
                   (double)sft_stages_at(&sft->stages, sft->step - 1)->tokens));
    TRY(number(line, "tok_s", progress->tokens_per_s));
    TRY(number(line, "eta_s", progress->left_s));
    if (isfinite(progress->eval_loss))
        TRY(number(line, "eval_loss", progress->eval_loss));
    if (trainer->statistics != NULL && stats->updated &&
        gradient_stats_of(trainer->statistics, trainer->updates)) {
        struct gradient_summary summary = gradient_stats_summary(trainer->statistics);
        TRY(number(line, "grad/p50_log10", summary.p50_log10));
        TRY(number(line, "grad/below_1e-14", summary.below_tiny));
        TRY(number(line, "grad/correlation", summary.correlation));
    }
    if (alarms_text(&sft->alarms) != NULL) {
        TRY(buffer_text(line, ",\"alarm\":"));
        TRY(buffer_json_text(line, alarms_text(&sft->alarms)));
        alarms_clear(&sft->alarms);
    }
    return buffer_text(line, "}");
}

static enum status write_gradients(struct sft *sft, double lr)
{
    const struct trainer *trainer = &sft->trainer;
    if (sft->gradients_file == NULL || !gradient_stats_of(trainer->statistics, trainer->updates))
        return STATUS_OK;
    struct buffer line;
    buffer_init(&line, 0);
    enum status status = gradient_stats_json(trainer->statistics, lr, &line);
    if (status == STATUS_OK)
        status = buffer_text(&line, "\n");
    if (status == STATUS_OK)
        status = lines_append(sft->gradients_file, "gradients.jsonl", &line, NULL);
    buffer_free(&line);
    return status;
}

static void watch(struct sft *sft, const struct train_stats *stats)
{
    const struct learner_settings *settings = &sft->settings->learner;
    if (stats->non_finite) {
        sft->alarms.non_finite_row++;
        alarms_raise(&sft->alarms, "update %" PRIu64 " is skipped: %s", sft->step,
                     train_skip_text(stats->skip));
        return;
    }
    sft->alarms.non_finite_row = 0;
    if (stats->updates == 0)
        return;
    alarms_grad_norm(&sft->alarms, stats->grad_norm, settings->grad_norm_alarm);
    alarms_spike(&sft->alarms, ALARM_LOSS, stats->loss, settings->loss_spike_alarm);
}

enum status sft_report(struct sft *sft, const struct train_stats *stats, double lr,
                       double eval_loss)
{
    uint64_t steps = sft->settings->sft.steps, done = sft->step - sft->begun;
    double seconds = fmax((double)(clock_now_ns() - sft->begin_ns) / 1e9, 1e-9);
    struct sft_progress progress = {.step = sft->step,
                                    .steps = steps,
                                    .loss = stats->loss,
                                    .eval_loss = eval_loss,
                                    .tokens_per_s = (double)sft->tokens / seconds,
                                    .left_s = seconds / (double)done * (double)(steps - sft->step)};
    watch(sft, stats);
    struct buffer line;
    buffer_init(&line, 1 << 20);
    enum status status = write_metrics(sft, stats, lr, &progress, &line);
    if (status == STATUS_OK)
        status = buffer_text(&line, "\n");
    if (status == STATUS_OK)
        status = lines_append(sft->metrics_file, "metrics.jsonl", &line, NULL);
    if (status == STATUS_OK) /* the file has it first: redis_view_refill */
        redis_view_stream(sft->redis, "metrics", buffer_string(&line), REDIS_METRICS_KEPT);
    buffer_free(&line);
    if (status == STATUS_OK && stats->updated)
        status = write_gradients(sft, lr);
    bool due = sft->step % PROGRESS_EVERY == 0 || sft->step == steps || isfinite(eval_loss);
    if (status == STATUS_OK && due && sft->progress != NULL)
        sft->progress(&progress);
    uint32_t most = sft->settings->learner.non_finite_max;
    if (status == STATUS_OK && most > 0 && sft->alarms.non_finite_row >= most)
        return FAIL(STATUS_LIMIT,
                    "%u updates in a row were skipped (learner.non_finite_max), the last, number "
                    "%" PRIu64 ", because %s",
                    sft->alarms.non_finite_row, sft->step, train_skip_text(stats->skip));
    return status;
}
