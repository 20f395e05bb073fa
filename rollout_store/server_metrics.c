/* rollout_store/server_metrics.c - the store's figures for Prometheus, read from its book twice a second. */
#include <math.h>
#include <stdio.h>

#include "core/clock.h"
#include "rollout_store/server_state.h"

static const struct metric_row store_metric_rows[] = {
#define ROW(...) METRIC_ROW(struct store_metrics, __VA_ARGS__)
    STORE_METRICS(ROW)
#undef ROW
};

const struct metric_row *store_metrics_table(size_t *count)
{
    *count = sizeof store_metric_rows / sizeof store_metric_rows[0];
    return store_metric_rows;
}

void server_metrics_open(struct server *server)
{
    size_t count = 0;
    const struct metric_row *rows = store_metrics_table(&count);
    monitor_add(server->monitor, rows, count, &server->metrics);
    monitor_set_ready(server->monitor, false, "it reads the prompts and its ledger");
}

/* ---- tables ---- */

static void read_counters(struct store_metrics *metrics, const struct book *book)
{
    struct book_counters c;
    struct book_load load;
    struct book_stage stage;
    book_read_counters(book, &c);
    book_read_load(book, &load);
    book_read_stage(book, &stage);
    metric_set(&metrics->version, (double)c.version);
    metric_set(&metrics->planned_version, (double)c.planned_version);
    metric_set(&metrics->checkpoint_version, (double)c.checkpoint_version);
    metric_set(&metrics->branch, c.branch);
    metric_set(&metrics->groups_born, (double)c.groups_born);
    metric_set(&metrics->groups_open, (double)c.groups_open);
    metric_set(&metrics->groups_eligible, (double)c.groups_eligible);
    metric_set(&metrics->groups_planned, (double)c.groups_planned);
    metric_set(&metrics->groups_consumed, (double)c.groups_consumed);
    metric_set(&metrics->consecutive_dropped, c.consecutive_dropped);
    metric_set(&metrics->rollouts_finished, (double)c.rollouts_finished);
    metric_set(&metrics->rollouts_scored, (double)c.rollouts_scored);
    metric_set(&metrics->tokens, (double)c.tokens);
    metric_set(&metrics->tokens_regenerated, (double)c.tokens_regenerated);
    metric_set(&metrics->leases_issued, (double)c.leases_issued);
    metric_set(&metrics->leases_expired, (double)c.leases_expired);
    metric_set(&metrics->leases_continued, (double)c.leases_continued);
    metric_set(&metrics->segments_refused, (double)c.segments_refused);
    metric_set(&metrics->scores_refused, (double)c.scores_refused);
    metric_set(&metrics->scores_retried, (double)c.scores_retried);
    metric_set(&metrics->staleness_mean, c.staleness_mean);
    metric_set(&metrics->staleness_max, (double)c.staleness_max);
    metric_set(&metrics->samples_queued, (double)load.samples_queued);
    metric_set(&metrics->samples_unscored, (double)load.samples_unscored);
    metric_set(&metrics->leases_live, (double)load.leases_live);
    metric_set(&metrics->stage, stage.stage);
    metric_set(&metrics->stage_cap, stage.cap);
}

static void read_driver(struct server *server)
{
    struct store_metrics *metrics = &server->metrics;
    double roles[3] = {0};
    for (uint32_t i = 0; i < hub_peer_count(server->hub); i++) {
        enum role role = hub_peer_at(server->hub, i)->role;
        roles[0] += role == ROLE_ACTOR;
        roles[1] += role == ROLE_REWARD;
        roles[2] += role == ROLE_LEARNER;
    }
    metric_set(&metrics->peers_actors, roles[0]);
    metric_set(&metrics->peers_rewards, roles[1]);
    metric_set(&metrics->peers_learners, roles[2]);
    metric_set(&metrics->ledger_bytes, (double)ledger_offset(server->ledger));
    metric_set(&metrics->messages_kept, (double)server->kept_count);
    metric_set(&metrics->inbox, (double)server->inbox.count);
    metric_set(&metrics->quarantined, server->quarantine.lines);
    metric_set(&metrics->redis_dropped, (double)redis_view_dropped(server->view.redis));
}

/* ---- what has a label more ---- */

static enum status write_reasons(struct server *server, struct buffer *text)
{
    const char *labels = monitor_labels(server->monitor);
    struct book_counters c;
    char more[96];
    book_read_counters(server->book, &c);
    TRY(metrics_family(text, "weir_store_groups_dropped_total", "counter", "",
                       "Groups that no plan gets, by reason."));
    for (int i = 1; i < DROP_REASON_COUNT; i++) {
        snprintf(more, sizeof more, "reason=\"%s\"", book_drop_reason((enum drop_reason)i));
        TRY(metrics_sample(text, "weir_store_groups_dropped_total", labels, more,
                           (double)c.dropped[i]));
    }
    TRY(metrics_family(text, "weir_store_refused_total", "counter", "",
                       "Messages, segments and scores refused, by kind."));
    for (int i = 1; i < REFUSAL_COUNT; i++) {
        snprintf(more, sizeof more, "kind=\"%s\"", refusal_name((enum refusal)i));
        TRY(metrics_sample(text, "weir_store_refused_total", labels, more,
                           (double)book_refused(server->book, (enum refusal)i)));
    }
    return STATUS_OK;
}

struct source_figure {
    const char *name, *kind, *help;
    double (*read)(const struct curriculum_source *source);
};
static double read_births(const struct curriculum_source *source)
{
    return (double)source->births;
}
static double read_share(const struct curriculum_source *source)
{
    return source->share_wanted;
}
static double read_pass(const struct curriculum_source *source)
{
    return source->pass_rate;
}
static double read_drawable(const struct curriculum_source *source)
{
    return (double)source->drawable;
}
static double read_paused(const struct curriculum_source *source)
{
    return source->paused;
}
static const struct source_figure source_figures[] = {
    {"weir_source_births_total", "counter", "Groups drawn from the source.", read_births},
    {"weir_source_share_wanted", "gauge", "Its share of the next draws.", read_share},
    {"weir_source_pass_ratio", "gauge", "Share of its latest rollouts that passed.", read_pass},
    {"weir_source_drawable_prompts", "gauge", "Prompts that may be drawn now.", read_drawable},
    {"weir_source_held", "gauge", "1: it is not drawn until it is released.", read_paused},
};

static enum status write_sources(struct server *server, struct buffer *text)
{
    const struct curriculum *curriculum = book_curriculum(server->book);
    uint64_t version = (uint64_t)metric_read(&server->metrics.version);
    uint32_t count = curriculum_source_count(curriculum);
    struct buffer more;
    buffer_init(&more, 0);
    enum status status = STATUS_OK;
    for (size_t f = 0; f < sizeof source_figures / sizeof source_figures[0]; f++) {
        const struct source_figure *figure = &source_figures[f];
        TRY_GOTO(out, metrics_family(text, figure->name, figure->kind, "", figure->help));
        for (uint32_t i = 0; i < count && i < VIEW_SOURCES; i++) {
            struct curriculum_source source;
            curriculum_source(curriculum, version, i, &source);
            buffer_clear(&more);
            TRY_GOTO(out, metrics_label(&more, "source", source.name));
            TRY_GOTO(out, metrics_sample(text, figure->name, monitor_labels(server->monitor),
                                         buffer_string(&more), figure->read(&source)));
        }
    }
out:
    buffer_free(&more);
    return status;
}

static void publish_process(struct server *server, int64_t now_ns)
{
    const struct redis_settings *settings = &server->settings->redis;
    struct buffer text;
    size_t count = 0;
    if (server->view.redis == NULL ||
        now_ns - server->published_ns < (int64_t)settings->publish_ms * CLOCK_NS_PER_MS)
        return;
    server->published_ns = now_ns;
    const struct metric_row *rows = store_metrics_table(&count);
    buffer_init(&text, 0);
    redis_view_hash(server->view.redis, "proc:store:0",
                    monitor_stats(server->monitor, rows, count, &server->metrics, &text),
                    redis_process_expire_s(settings));
    buffer_free(&text);
}

void server_metrics_round(struct server *server, int64_t now_ns)
{
    struct buffer text;
    monitor_beat(server->monitor);
    if (server->monitor == NULL ||
        now_ns - server->measured_ns < METRICS_EVERY_MS * (int64_t)CLOCK_NS_PER_MS)
        return;
    server->measured_ns = now_ns;
    read_counters(&server->metrics, server->book);
    read_driver(server);
    buffer_init(&text, 0);
    if (write_reasons(server, &text) == STATUS_OK && write_sources(server, &text) == STATUS_OK)
        monitor_put(server->monitor, 0, buffer_string(&text));
    buffer_free(&text);
    publish_process(server, now_ns);
}
