/* learner/report.c - one line of metrics.jsonl a step, the same to Redis and to the store. */
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/trace.h"
#include "core/wait.h"
#include "learner/learner_state.h"
#include "learner/lines.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_RETRY_MS = 100, LINE_SAY_EVERY = 100 };

static const struct metric_row learner_metric_rows[] = {
#define ROW(...) METRIC_ROW(struct learner_metrics, __VA_ARGS__)
    LEARNER_METRICS(ROW)
#undef ROW
};

const struct metric_row *learner_metrics_table(size_t *count)
{
    *count = sizeof learner_metric_rows / sizeof learner_metric_rows[0];
    return learner_metric_rows;
}

void learner_show(struct learner *learner)
{
    char device[SETTINGS_DEVICE_MAX];
    size_t count = 0;
    const struct metric_row *rows = learner_metrics_table(&count);
    settings_device(learner->settings, learner->settings->learner.device, 0, device);
    monitor_set_device(learner->monitor, device);
    monitor_add(learner->monitor, rows, count, &learner->metrics);
    learner_watch_begin(learner);
    monitor_set_ready(learner->monitor, false, "the store has not welcomed it");
}

static int by_length(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Nearest-rank percentile of sorted values. */
static double percentile(const uint32_t *sorted, uint64_t count, double share)
{
    uint64_t rank = (uint64_t)ceil(share * (double)count);
    return sorted[rank > 0 ? rank - 1 : 0];
}

static void set_lengths(struct learner_metrics *metrics, uint32_t *lengths, uint64_t count)
{
    qsort(lengths, count, sizeof *lengths, by_length);
    metric_set(&metrics->len_p50, percentile(lengths, count, 0.5));
    metric_set(&metrics->len_p90, percentile(lengths, count, 0.9));
    metric_set(&metrics->len_p99, percentile(lengths, count, 0.99));
    metric_set(&metrics->len_max, lengths[count - 1]);
}

static uint64_t oldest_version(const struct group_sample *sample)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t p = 0; p < sample->piece_count; p++)
        oldest = sample->pieces[p].version < oldest ? sample->pieces[p].version : oldest;
    return oldest;
}

static enum status measure_rollouts(struct learner *learner, const struct plan *plan,
                                    const struct group_data *groups)
{
    struct learner_metrics *metrics = &learner->metrics;
    uint64_t count = 0, tokens = 0, truncated = 0, repeated = 0;
    double sum = 0, squares = 0, least = INFINITY, most = -INFINITY, stale_sum = 0, stale_max = 0;
    for (uint32_t g = 0; g < plan->group_count; g++)
        count += groups[g].sample_count;
    uint32_t *lengths = memory_array(count + 1, sizeof *lengths);
    if (lengths == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " lengths", count);
    uint64_t at = 0;
    for (uint32_t g = 0; g < plan->group_count; g++)
        for (uint32_t s = 0; s < groups[g].sample_count; s++) {
            const struct group_sample *sample = &groups[g].samples[s];
            lengths[at++] = sample->count;
            tokens += sample->count;
            truncated += sample->finish == SEGMENT_LENGTH;
            repeated += sample->finish == SEGMENT_REPETITION;
            sum += sample->reward;
            squares += sample->reward * sample->reward;
            least = fmin(least, sample->reward);
            most = fmax(most, sample->reward);
            double stale = sample->piece_count > 0
                               ? (double)(plan->version - 1) - (double)oldest_version(sample)
                               : 0;
            stale_sum += stale;
            stale_max = fmax(stale_max, stale);
        }
    double n = (double)count, mean = sum / n;
    /* the policy's mean counts the groups that dynamic sampling left out of the plan */
    double left_out = (double)plan->groups_dropped * learner->settings->store.group_size;
    metric_set(&metrics->reward_mean, (sum + plan->dropped_reward) / (n + left_out));
    metric_set(&metrics->reward_trained, mean);
    const struct learner_shaped *shaped = &learner->shaped;
    double shaped_n = shaped->count > 0 ? (double)shaped->count : 1;
    metric_set(&metrics->reward_shaped, shaped->sum / shaped_n);
    metric_set(&metrics->masked, (double)shaped->masked / shaped_n);
    metric_set(&metrics->reward_min, least);
    metric_set(&metrics->reward_max, most);
    metric_set(&metrics->reward_std, sqrt(fmax(0, squares / n - mean * mean)));
    metric_set(&metrics->len_mean, (double)tokens / n);
    metric_set(&metrics->len_truncated, (double)truncated / n);
    metric_set(&metrics->rep_cut, (double)repeated / n);
    metric_set(&metrics->stale_mean, stale_sum / n);
    metric_set(&metrics->stale_max, stale_max);
    metric_set(&metrics->rollouts, n);
    metric_set(&metrics->tokens, (double)tokens);
    metric_set(&metrics->zero_std,
               (double)plan->groups_dropped / ((double)plan->groups_dropped + plan->group_count));
    if (count > 0)
        set_lengths(metrics, lengths, count);
    memory_free(lengths);
    return STATUS_OK;
}

static void measure_training(struct learner *learner, const struct train_stats *stats)
{
    struct learner_metrics *metrics = &learner->metrics;
    double n = stats->tokens > 0 ? (double)stats->tokens : 1,
           updates = stats->updates > 0 ? (double)stats->updates : 1;
    metric_set(&metrics->entropy, stats->entropy_sum / n);
    metric_set(&metrics->loss, stats->loss / updates);
    metric_set(&metrics->aux_loss, stats->aux_loss / updates);
    metric_set(&metrics->is_mean, stats->ratio_sum / n);
    metric_set(&metrics->is_min, stats->ratio_min);
    metric_set(&metrics->is_max, stats->ratio_max);
    metric_set(&metrics->is_ess, stats->ratio_sq_sum > 0 ? stats->ratio_sum * stats->ratio_sum /
                                                               (stats->ratio_sq_sum * n)
                                                         : 0);
    metric_set(&metrics->clip_frac, (double)stats->clipped / n);
    metric_set(&metrics->mismatch, stats->mismatch_max);
    metric_set(&metrics->mismatch_tokens, (double)stats->current_tokens);
    metric_set(&metrics->mismatch_share, (double)stats->current_tokens / n);
    double covariance = stats->pab / n - stats->pa / n * stats->pb / n;
    double spread = (stats->paa / n - stats->pa / n * stats->pa / n) *
                    (stats->pbb / n - stats->pb / n * stats->pb / n);
    metric_set(&metrics->pearson, spread > 0 ? covariance / sqrt(spread) : 1);
    metric_set(&metrics->abs_mean, stats->abs_diff_sum / n);
    metric_set(&metrics->k3_kl, stats->k3_sum / n);
    metric_set(&metrics->kl, stats->kl_sum / n);
    metric_set(&metrics->rollout_weight,
               learner->now.loss.rollout_weight_max > 0 ? stats->rollout_weight_sum / n : 1);
    metric_set(&metrics->grad_norm, stats->grad_norm / updates);
    metric_set(&metrics->updates, (double)learner->trainer.updates);
    metric_set(&metrics->skipped, (double)learner->trainer.skipped);
    metric_set(&metrics->alarms, (double)learner->alarms.count);
}

enum status learner_metrics_open(struct learner *learner)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/metrics.jsonl", learner->folder));
    TRY(lines_open(&learner->metrics_file, path, "step", learner->version));
    if (learner->trainer.statistics == NULL)
        return STATUS_OK;
    TRY(file_path(path, "%s/gradients.jsonl", learner->folder));
    return lines_open(&learner->gradients_file, path, "update", learner->trainer.updates);
}

/* A full disk is waited for, like the store waits with its ledger: the step is registered, only its line is missing. */
static enum status write_line(struct learner *learner, struct buffer *line)
{
    int64_t limit_ms = (int64_t)learner->settings->learner.plan_timeout_s * 1000;
    bool full = false;
    TRY(buffer_text(line, "\n"));
    struct wait wait = wait_begin("room for metrics.jsonl", "disk", limit_ms);
    enum status status = lines_append(learner->metrics_file, "metrics.jsonl", line, &full);
    for (uint32_t tries = 0; full && wait_left_ms(&wait) > 0; tries++) {
        if (tries % LINE_SAY_EVERY == 0)
            LOG_FAILURE("learner", "waits for room on the disk", status);
        clock_sleep_ms(LINE_RETRY_MS);
        enum status heard = learner->link != NULL ? learner_idle(learner) : STATUS_OK;
        status = heard == STATUS_OK
                     ? lines_append(learner->metrics_file, "metrics.jsonl", line, &full)
                     : heard;
        full = full && heard == STATUS_OK;
    }
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    enum status ended = wait_end(&wait, true); /* what the last attempt said is the reason */
    status_restore(kept);
    line->size--; /* the newline is the file's */
    return status != STATUS_OK ? status : ended;
}

/* ,"alarm":"..." with the sentences of this step. */
static enum status write_alarms(struct learner *learner, struct buffer *line)
{
    const char *text = alarms_text(&learner->alarms);
    if (text == NULL)
        return STATUS_OK;
    enum status status = buffer_text(line, ",\"alarm\":");
    if (status == STATUS_OK)
        status = buffer_json_text(line, text);
    alarms_clear(&learner->alarms);
    return status;
}

void learner_last_alarms(struct learner *learner)
{
    struct buffer line;
    if (learner->link == NULL)
        return;
    buffer_init(&line, 1 << 20);
    enum status status = buffer_printf(&line, "{\"version\":%" PRIu64, learner->version);
    if (status == STATUS_OK)
        status = write_alarms(learner, &line);
    if (status == STATUS_OK)
        status = buffer_text(&line, "}");
    struct message report = {
        .type = MESSAGE_step_report,
        .step_report = {.version = learner->version, .metrics_json = buffer_string(&line)}};
    if (status == STATUS_OK)
        status = link_send(learner->link, &report);
    if (status != STATUS_OK)
        LOG_FAILURE("alarm", "did not reach the store", status);
    buffer_free(&line);
}

enum status learner_report(struct learner *learner, const struct plan *plan,
                           const struct group_data *groups, const struct train_stats *stats,
                           double wait_s, double train_s, double sync_s)
{
    struct learner_metrics *metrics = &learner->metrics;
    int64_t now_ns = clock_now_ns();
    double step_s = (double)(now_ns - learner->step_begin_ns) / 1e9;
    trace_span_tokens("step", learner->step_begin_ns, now_ns, plan->version, stats->tokens);
    learner->step_begin_ns = now_ns;
    TRY(measure_rollouts(learner, plan, groups));
    measure_training(learner, stats);
    metric_set(&metrics->step_s, step_s);
    metric_set(&metrics->wait_s, wait_s);
    metric_set(&metrics->train_s, train_s);
    metric_set(&metrics->sync_s, sync_s);
    metric_set(&metrics->redis_dropped, (double)redis_view_dropped(learner->redis));
    metric_observe(&metrics->steps_s, step_s);
    metric_observe(&metrics->waits_s, wait_s);
    metric_observe(&metrics->updates_s, train_s);
    metric_set(&metrics->tok_s, metric_read(&metrics->tokens) / fmax(step_s, 1e-9));
    views_measure(learner, plan, groups, stats);
    learner_watch_step(learner);

    struct buffer line;
    buffer_init(&line, 1 << 20);
    size_t count = 0;
    const struct metric_row *rows = learner_metrics_table(&count);
    enum status status =
        buffer_printf(&line,
                      "{\"step\":%" PRIu64 ",\"version\":%" PRIu64
                      ",\"branch\":%u,\"wall\":%.3f,\"digest\":\"%016" PRIx64 "\",",
                      plan->version, plan->version, learner->branch, (double)clock_wall_ns() / 1e9,
                      learner->trainer.weights.digest);
    if (status == STATUS_OK)
        status = metrics_json(rows, count, metrics, &line);
    if (status == STATUS_OK)
        status = eval_rows_take(&learner->eval_rows, &line);
    if (status == STATUS_OK)
        status = write_alarms(learner, &line);
    if (status == STATUS_OK)
        status = buffer_text(&line, "}");
    if (status == STATUS_OK)
        status = write_line(learner, &line);
    if (status == STATUS_OK) {
        const char *json = buffer_string(&line);
        redis_view_stream(learner->redis, "metrics", json, REDIS_METRICS_KEPT);
        struct message report = {.type = MESSAGE_step_report,
                                 .step_report = {.version = plan->version, .metrics_json = json}};
        enum status sent = link_send(learner->link, &report);
        status = sent == STATUS_AGAIN ? STATUS_OK : sent;
    }
    if (status == STATUS_OK)
        views_step(learner, plan, groups, buffer_string(&line));
    buffer_free(&line);
    trace_span("report", now_ns, clock_now_ns(), plan->version);
    return status;
}
