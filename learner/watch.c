/* learner/watch.c - after each update of a run: what spikes or collapses, and the statistics of its gradients. */
#include <math.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/clock.h"
#include "core/log.h"
#include "learner/learner_state.h"
#include "learner/lines.h"

/* Values of updates with the plan's own weights say nothing of ratio and KL: they are 1 and 0. */
static void watch_series(struct learner *learner, const struct train_stats *stats)
{
    const struct learner_settings *settings = &learner->settings->learner;
    struct alarms *alarms = &learner->alarms;
    double tokens = stats->tokens > 0 ? (double)stats->tokens : 1,
           entropy = stats->entropy_sum / tokens, k3_kl = stats->k3_sum / tokens;
    alarms_grad_norm(alarms, stats->grad_norm, settings->grad_norm_alarm);
    alarms_spike(alarms, ALARM_GRAD_NORM, stats->grad_norm, settings->loss_spike_alarm);
    alarms_spike(alarms, ALARM_ENTROPY, entropy, settings->loss_spike_alarm);
    alarms_entropy(alarms, entropy, settings->entropy_alarm);
    if (k3_kl <= 0)
        return;
    alarms_spike(alarms, ALARM_RATIO, stats->ratio_sum / tokens, settings->loss_spike_alarm);
    alarms_spike(alarms, ALARM_K3_KL, k3_kl, settings->loss_spike_alarm);
}

/* A view: a line that cannot be written is missing, and the run goes on. */
static void write_gradients(struct learner *learner, double lr)
{
    const struct gradient_stats *statistics = learner->trainer.statistics;
    struct gradient_summary summary = gradient_stats_summary(statistics);
    metric_set(&learner->metrics.grad_p50, summary.p50_log10);
    metric_set(&learner->metrics.grad_tiny, summary.below_tiny);
    metric_set(&learner->metrics.grad_correlation, summary.correlation);
    if (learner->gradients_file == NULL)
        return;
    struct buffer line;
    buffer_init(&line, 0);
    enum status status = gradient_stats_json(statistics, lr, &line);
    if (status == STATUS_OK)
        status = buffer_text(&line, "\n");
    if (status == STATUS_OK)
        status = lines_append(learner->gradients_file, "gradients.jsonl", &line, NULL);
    if (status != STATUS_OK)
        LOG_FAILURE("learner", "a line of gradients.jsonl is missing", status);
    buffer_free(&line);
}

void learner_watch(struct learner *learner, const struct train_stats *stats, double lr)
{
    if (stats->non_finite || stats->updates == 0)
        return;
    watch_series(learner, stats);
    if (learner->trainer.statistics != NULL && stats->updated &&
        gradient_stats_of(learner->trainer.statistics, learner->trainer.updates))
        write_gradients(learner, lr);
}

/* ---- steps ---- */

static bool look_at_metric(void *self, const char *path, double *value)
{
    const struct learner_metrics *metrics = self;
    size_t count = 0;
    const struct metric_row *rows = learner_metrics_table(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].kind != METRIC_HISTOGRAM && strcmp(rows[i].path, path) == 0) {
            const char *at = (const char *)metrics + rows[i].offset;
            *value = metric_read((const metric *)(const void *)at);
            return true;
        }
    return false;
}

static double disk_free(const char *folder)
{
    struct statvfs info;
    if (folder[0] == 0 || statvfs(folder, &info) != 0 || info.f_blocks == 0)
        return NAN;
    return (double)info.f_bavail / (double)info.f_blocks;
}

void learner_watch_begin(struct learner *learner)
{
    struct learner_metrics *metrics = &learner->metrics;
    metric_set(&metrics->len_cap, learner->settings->sampling.response_tokens_max);
    metric_set(&metrics->disk_free, disk_free(learner->folder));
    metric_set(&metrics->last_step, (double)clock_wall_ns() / 1e9);
    metric_set(&metrics->pearson, NAN);
}

void learner_watch_step(struct learner *learner)
{
    struct learner_metrics *metrics = &learner->metrics;
    metric_set(&metrics->len_cap, learner->response_cap);
    metric_set(&metrics->disk_free, disk_free(learner->folder));
    metric_set(&metrics->last_step, (double)clock_wall_ns() / 1e9);
    alert_watch_step(&learner->alerts, look_at_metric, metrics);
    for (int i = 0; i < ALERT_COUNT; i++) {
        const struct alert_state *state = &learner->alerts.states[i];
        char sentence[ALERT_SENTENCE_MAX];
        if (alert_rules[i].watcher != ALERT_BY_LEARNER || !state->began)
            continue;
        alert_sentence((enum alert_id)i, state, sentence);
        alarms_raise(&learner->alarms, "%s", sentence);
    }
    metric_set(&metrics->alarms, (double)learner->alarms.count);
}
