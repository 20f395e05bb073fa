#include "learner/views.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/metric_alias.h"
#include "learner/histograms.h"
#include "learner/learner_state.h"
#include "learner/lines.h"
#include "learner/token_results.h"
#include "transport/span_view.h"

enum { HISTOGRAMS_KEPT = 2000 };

/* ---- open, close ---- */

/* Once, until it went well again. */
static void note(struct learner_views *views, enum view_part part, const char *what,
                 enum status status)
{
    if (status != STATUS_OK && !views->failed[part])
        LOG_FAILURE("views", what, status);
    views->failed[part] = status != STATUS_OK;
}

static bool has_room(struct learner *learner)
{
    bool room = file_has_room(learner->folder);
    note(&learner->views, VIEW_ROOM, "rollouts, histograms and events of TensorBoard are left out",
         room ? STATUS_OK : FAIL(STATUS_LIMIT, "the disk of %s is nearly full", learner->folder));
    return room;
}

static enum status open_histograms(struct learner *learner, uint64_t version)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/histograms.jsonl", learner->folder));
    TRY(lines_keep_last(path, learner->settings->metrics.rollout_steps));
    return lines_open(&learner->views.histograms, path, "step", version);
}

static enum status open_events(struct learner *learner, uint64_t version)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/tb", learner->folder));
    return event_file_open(&learner->views.events, path, version + 1);
}

/* What is wanted and not open; version: of the last step that is in the files. */
static void open_missing(struct learner *learner, uint64_t version)
{
    struct learner_views *views = &learner->views;
    const struct metrics_settings *wanted = &learner->settings->metrics;
    bool histograms = views->histograms == NULL,
         events = views->events == NULL && wanted->tensorboard,
         rollouts = views->rollouts == NULL && wanted->rollout_tokens > 0;
    if ((!histograms && !events && !rollouts) || !has_room(learner))
        return;
    if (histograms)
        note(views, VIEW_HISTOGRAMS, "no histograms.jsonl", open_histograms(learner, version));
    if (events)
        note(views, VIEW_EVENTS, "nothing for TensorBoard", open_events(learner, version));
    if (rollouts)
        note(views, VIEW_ROLLOUTS, "no files of rollouts",
             rollout_log_open(&views->rollouts, learner->folder, learner->settings, version));
}

void views_open(struct learner *learner)
{
    span_view_begin(learner->redis);
    open_missing(learner, learner->version);
}

static void close_histograms(struct learner_views *views)
{
    if (views->histograms != NULL)
        fclose(views->histograms);
    views->histograms = NULL;
}

void views_close(struct learner *learner)
{
    struct learner_views *views = &learner->views;
    rollout_log_close(&views->rollouts);
    event_file_close(&views->events);
    close_histograms(views);
}

/* ---- during a step ---- */

enum status views_prepare(struct learner *learner, const struct plan *plan,
                          const struct group_data *groups,
                          const struct learner_minibatch *minibatches)
{
    struct learner_views *views = &learner->views;
    views->counts = (struct token_counts){0};
    views->sequences = plan->cut_count > 0 ? minibatches[0].sequences : NULL;
    views->sequence_count = 0;
    for (uint32_t cut = 0; cut < plan->cut_count; cut++)
        views->sequence_count += minibatches[cut].count; /* one after another in one array */
    views->chosen = arena_array(learner->arena, plan->group_count + (size_t)1, sizeof(bool));
    if (views->chosen == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    rollout_log_choose(views->rollouts, plan, groups, views->chosen);
    for (uint32_t i = 0; i < views->sequence_count; i++)
        views->sequences[i].wanted = views->chosen[views->sequences[i].group];
    return token_results_make(learner->arena, views->sequences, views->sequence_count);
}

void views_add_update(struct learner *learner)
{
    token_counts_merge(&learner->views.counts, learner->trainer.counts);
}

/* ---- after a step ---- */

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static void measure_counts(struct learner_metrics *metrics, const struct token_counts *counts,
                           const struct train_stats *stats)
{
    double n = stats->tokens > 0 ? (double)stats->tokens : 1, mean = stats->ratio_sum / n,
           difference = stats->abs_diff_sum / n;
    metric_set(&metrics->is_std, sqrt(fmax(0, stats->ratio_sq_sum / n - mean * mean)));
    metric_set(&metrics->is_p99, token_counts_weight_quantile(counts, 0.99));
    metric_set(&metrics->clip_positive, share(counts->positive_clipped, counts->positive));
    metric_set(&metrics->clip_negative, share(counts->negative_clipped, counts->negative));
    metric_set(&metrics->fork_frac, share(counts->fork[1], stats->tokens));
    metric_set(&metrics->abs_max, counts->difference_max);
    metric_set(&metrics->abs_std,
               sqrt(fmax(0, counts->difference_sq_sum / n - difference * difference)));
}

void views_measure(struct learner *learner, const struct plan *plan,
                   const struct group_data *groups, const struct train_stats *stats)
{
    struct learner_metrics *metrics = &learner->metrics;
    const struct learner_views *views = &learner->views;
    struct advantage_figures advantages =
        histograms_advantages(views->sequences, views->sequence_count);
    uint64_t prompts = 0, prompt_tokens = 0, least = UINT64_MAX;
    for (uint32_t g = 0; g < plan->group_count; g++, prompts++) {
        prompt_tokens += groups[g].prompt_count;
        for (uint32_t s = 0; s < groups[g].sample_count; s++)
            least = groups[g].samples[s].count < least ? groups[g].samples[s].count : least;
    }
    metric_set(&metrics->adv_mean, advantages.mean);
    metric_set(&metrics->adv_std, advantages.std);
    metric_set(&metrics->adv_min, advantages.min);
    metric_set(&metrics->adv_max, advantages.max);
    metric_set(&metrics->len_min, least == UINT64_MAX ? 0 : (double)least);
    metric_set(&metrics->prompt_mean, share(prompt_tokens, prompts));
    metric_set(&metrics->stale_p99, histograms_lag_percentile(plan, groups, 0.99));
    measure_counts(metrics, &views->counts, stats);
}

static enum status put_histograms(struct learner *learner, const struct plan *plan,
                                  const struct group_data *groups, bool room)
{
    struct learner_views *views = &learner->views;
    struct step_distributions step = {.step = plan->version,
                                      .plan = plan,
                                      .groups = groups,
                                      .sequences = views->sequences,
                                      .sequence_count = views->sequence_count,
                                      .counts = &views->counts,
                                      .loss = &learner->now.loss,
                                      .response_cap = learner->response_cap,
                                      .pearson = metric_read(&learner->metrics.pearson)};
    struct buffer json;
    buffer_init(&json, 0);
    enum status status = histograms_json(&step, &json);
    if (status == STATUS_OK) {
        redis_view_stream(learner->redis, "histograms", buffer_string(&json), HISTOGRAMS_KEPT);
        status = buffer_text(&json, "\n");
    }
    if (status == STATUS_OK && room && views->histograms != NULL)
        status = lines_append(views->histograms, "histograms.jsonl", &json, NULL);
    buffer_free(&json);
    return status;
}

/* Every number of the line but those that say which step it is. */
static enum status add_scalars(const struct learner *learner, const json_t *line,
                               struct buffer *summary)
{
    static const char *const keys[] = {"step", "version", "branch", "wall"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)line, name, value)
    {
        bool scalar = json_is_number(value);
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            scalar = scalar && strcmp(name, keys[i]) != 0;
        enum setting_alias alias = (enum setting_alias)learner->settings->metrics.alias;
        if (scalar)
            TRY(event_scalar(summary, metric_alias_of(alias, name), json_number_value(value)));
    }
    const char *alarm = json_string_value(json_object_get(line, "alarm"));
    return alarm != NULL ? event_text(summary, "alarm", alarm) : STATUS_OK;
}

static enum status add_distributions(const struct learner_views *views, struct buffer *summary)
{
    double edges[COUNTS_WEIGHT_BINS + 1], counts[COUNTS_WEIGHT_BINS];
    for (int i = 0; i <= COUNTS_WEIGHT_BINS; i++)
        edges[i] = token_counts_edge(i);
    for (int i = 0; i < COUNTS_WEIGHT_BINS; i++)
        counts[i] = (double)views->counts.weight[i];
    TRY(event_histogram(summary, "is/weight", edges, counts, COUNTS_WEIGHT_BINS));
    for (int i = 0; i <= COUNTS_DENSITY; i++)
        edges[i] = (double)i / COUNTS_DENSITY;
    for (int i = 0; i < COUNTS_DENSITY; i++) {
        counts[i] = 0;
        for (int k = 0; k < COUNTS_DENSITY; k++)
            counts[i] += (double)views->counts.density[i][k];
    }
    return event_histogram(summary, "actor/probability", edges, counts, COUNTS_DENSITY);
}

static enum status put_events(const struct learner *learner, uint64_t step, const char *text)
{
    struct buffer summary;
    json_t *line = json_loads(text, 0, NULL);
    buffer_init(&summary, 0);
    enum status status = line != NULL ? add_scalars(learner, line, &summary)
                                      : FAIL(STATUS_INVALID, "the line of step %llu is no JSON",
                                             (unsigned long long)step);
    if (status == STATUS_OK)
        status = add_distributions(&learner->views, &summary);
    if (status == STATUS_OK)
        status = event_file_write(learner->views.events,
                                  json_number_value(json_object_get(line, "wall")), step, &summary);
    buffer_free(&summary);
    json_decref(line);
    return status;
}

/* The file never has more than twice the lines that are kept. */
static void trim_histograms(struct learner *learner, uint64_t step)
{
    if (step % learner->settings->metrics.rollout_steps == 0)
        close_histograms(&learner->views); /* opened again, and trimmed, with what is missing */
}

static void put_rollouts(struct learner *learner, const struct plan *plan,
                         const struct group_data *groups)
{
    struct learner_views *views = &learner->views;
    struct rollout_step step = {.step = plan->version,
                                .groups = groups,
                                .chosen = views->chosen,
                                .group_count = plan->group_count,
                                .sequences = views->sequences,
                                .sequence_count = views->sequence_count,
                                .loss = &learner->now.loss,
                                .response_cap = learner->response_cap};
    if (views->rollouts != NULL)
        note(views, VIEW_ROLLOUTS, "no file of rollouts", rollout_log_put(views->rollouts, &step));
}

void views_step(struct learner *learner, const struct plan *plan, const struct group_data *groups,
                const char *line)
{
    struct learner_views *views = &learner->views;
    bool room = has_room(learner);
    enum status status = put_histograms(learner, plan, groups, room);
    if (room && views->histograms != NULL)
        note(views, VIEW_HISTOGRAMS, "no line of histograms.jsonl", status);
    if (room && views->events != NULL)
        note(views, VIEW_EVENTS, "nothing for TensorBoard",
             put_events(learner, plan->version, line));
    if (room)
        put_rollouts(learner, plan, groups);
    trim_histograms(learner, plan->version);
    open_missing(learner, plan->version);
}

void views_flush(struct learner *learner)
{
    enum status status = rollout_log_flush(learner->views.rollouts);
    if (status != STATUS_OK)
        LOG_FAILURE("views", "a file of rollouts is still being written", status);
}
