/* ops/dash/snapshot.c - where the run stands now, as one object: /api/snapshot, and /api/run beside it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "ops/dash/feed_state.h"
#include "ops/process_table.h"
#include "ops/run_folder.h"

enum { ETA_STEPS = 20, ALARMS_SHOWN = 20, META_BYTES_MAX = 1 << 20, PEERS_FRESH_MS = 15000 };

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* ---- processes ---- */

/* "actor.3" -> its role and index. */
static void set_role(json_t *row, const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t size = dot != NULL ? (size_t)(dot - name) : strlen(name);
    json_object_set_new(row, "role", json_stringn(name, size));
    json_object_set_new(row, "index", json_integer(dot != NULL ? strtol(dot + 1, NULL, 10) : 0));
}

static void set_from(json_t *row, const json_t *stats, const char *key)
{
    json_t *value = json_object_get(stats, key);
    if (value != NULL)
        json_object_set(row, key, value);
}

/* The store counts versions of its own, and is behind nobody; the learner makes them. */
static void set_stats(json_t *row, json_t *stats, double learner_version)
{
    const char *role = json_string_value(json_object_get(row, "role"));
    bool is_learner = role != NULL && strcmp(role, "learner") == 0;
    bool is_actor = role != NULL && strcmp(role, "actor") == 0;
    double version = number_of(stats, "version");
    set_from(row, stats, "host");
    set_from(row, stats, "device");
    if (isnan(version)) {
        version = number_of(stats, "actor/policy_version");
        if (!isnan(version))
            json_object_set_new(row, "version", json_integer((json_int_t)version));
    }
    set_from(row, stats, "version");
    if (is_learner && isnan(version) && !isnan(learner_version))
        json_object_set_new(row, "version", json_integer((json_int_t)learner_version));
    if (is_actor && !isnan(version) && !isnan(learner_version))
        json_object_set_new(row, "lag", json_real(fmax(0, learner_version - version)));
    json_object_set(row, "stats", stats);
}

/* What Redis says of a process; without that, what the store knows of it. NULL: neither does. */
static json_t *stats_of(const struct feed *feed, const char *name)
{
    json_t *stats = json_object_get(feed->procs, name);
    return stats != NULL ? stats : json_object_get(feed->peers, name);
}

/* Processes of `from` that no supervisor of the folder has, and `without` has not. */
static void add_elsewhere(const json_t *table, json_t *from, const json_t *without, double version,
                          json_t *list)
{
    const char *name;
    json_t *stats;
    json_object_foreach(from, name, stats)
    {
        if (process_table_find(table, name) != NULL || json_object_get(without, name) != NULL)
            continue;
        bool silent = json_is_false(json_object_get(stats, "connected"));
        json_t *made = json_pack("{s:s,s:s,s:b,s:i,s:s,s:s}", "name", name, "state",
                                 silent ? "silent" : "elsewhere", "joined", 1, "restarts", 0,
                                 "started", "", "end", "");
        set_role(made, name);
        set_from(made, stats, "pid");
        set_stats(made, stats, version);
        json_array_append_new(list, made);
    }
}

/* Those of the supervisors' tables, then those that only Redis or the store knows: of machines that do not share the
 * folder, and of those that do not reach Redis. */
static json_t *make_processes(const struct feed *feed, const json_t *table, double version)
{
    json_t *list = json_array(), *row;
    size_t i;
    const char *name;
    json_t *stats;
    json_array_foreach(json_object_get(table, "processes"), i, row)
    {
        json_t *made = json_copy(row);
        name = json_string_value(json_object_get(row, "name"));
        if (name == NULL)
            name = "";
        set_role(made, name);
        stats = stats_of(feed, name);
        if (stats != NULL)
            set_stats(made, stats, version);
        else
            json_object_set_new(made, "stats", json_object());
        if (feed->over)
            json_object_set_new(made, "state", json_string("over"));
        json_array_append_new(list, made);
    }
    add_elsewhere(table, feed->procs, NULL, version, list);
    add_elsewhere(table, feed->peers, feed->procs, version, list);
    return list;
}

static json_t *make_fleet(const struct feed *feed, double version)
{
    json_t *table = NULL, *fleet = json_object();
    if (process_table_read_all(feed->dash->folder, &table) != STATUS_OK)
        table = NULL;
    json_t *wanted = json_object_get(table, "wanted");
    json_object_set_new(fleet, "wanted",
                        wanted != NULL ? json_incref(wanted)
                                       : json_pack("{s:i,s:i}", "actors", 0, "reward_workers", 0));
    json_object_set_new(fleet, "processes", make_processes(feed, table, version));
    json_decref(table);
    return fleet;
}

/* ---- the rest ---- */

static json_t *make_sources(const struct feed *feed)
{
    json_t *list = json_array(), *source;
    const char *name;
    json_object_foreach(feed->sources, name, source)
    {
        json_t *made = json_copy(source);
        json_object_set_new(made, "name", json_string(name));
        json_array_append_new(list, made);
    }
    return list;
}

/* Numbers of the newest step. */
static json_t *make_latest(const struct board *board)
{
    json_t *made = json_object(), *value;
    const char *name;
    json_object_foreach(board->latest, name, value)
    {
        if (json_is_number(value) || json_is_null(value))
            json_object_set(made, name, value);
    }
    return made;
}

static json_t *make_alarms(const struct board *board)
{
    json_t *list = json_array();
    for (size_t i = board->events.count; i-- > 0 && json_array_size(list) < ALARMS_SHOWN;) {
        const struct text_row *row = text_ring_at(&board->events, i);
        if (strstr(row->text, "\"alarm\"") == NULL)
            continue;
        json_t *event = json_loadb(row->text, row->size, 0, NULL);
        const char *kind = json_string_value(json_object_get(event, "kind"));
        if (kind != NULL && strcmp(kind, "alarm") == 0)
            json_array_insert_new(list, 0, json_incref(event));
        json_decref(event);
    }
    return list;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The median of the last steps' times, times the steps that are left. */
static json_t *make_eta(const struct feed *feed)
{
    const struct metric_table *metrics = &feed->dash->board.metrics;
    double took[ETA_STEPS];
    size_t count = 0;
    for (size_t i = metrics->rows; i-- > 1 && count < ETA_STEPS;) {
        double one = metrics->wall[i] - metrics->wall[i - 1];
        if (one > 0)
            took[count++] = one;
    }
    double left = count > 0 ? (double)feed->dash->program->settings.run.steps -
                                  metrics->step[metrics->rows - 1]
                            : 0;
    if (count == 0 || feed->over || left < 0)
        return json_null();
    qsort(took, count, sizeof took[0], compare);
    return json_real(round(left * took[count / 2] * 10) / 10);
}

static void publish_snapshot(struct feed *feed, json_t *fleet)
{
    struct board *board = &feed->dash->board;
    board_lock(board);
    size_t rows = board->metrics.rows;
    json_t *made =
        json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "step",
                  rows > 0 ? json_integer((json_int_t)board->metrics.step[rows - 1]) : json_null(),
                  "state", feed->state != NULL ? json_incref(feed->state) : json_object(), "fleet",
                  fleet, "sources", make_sources(feed), "latest", make_latest(board), "alarms",
                  make_alarms(board), "eta_s", make_eta(feed));
    if (made != NULL)
        board_set_snapshot(board, made, clock_wall_ns() / CLOCK_NS_PER_MS);
    board_unlock(board);
    json_decref(made);
}

/* ---- /api/run ---- */

static const char *text_or(const json_t *first, const json_t *second, const char *key,
                           const char *fallback)
{
    const char *text = json_string_value(json_object_get(first, key));
    if (text == NULL)
        text = json_string_value(json_object_get(second, key));
    return text != NULL ? text : fallback;
}

/* Recipes between blanks: the supervisor's text, or meta.json's list. */
static void write_recipe(const struct feed *feed, struct buffer *text)
{
    const json_t *recipe = json_object_get(feed->meta_file, "recipe"), *one;
    size_t i;
    enum status status = STATUS_OK;
    if (!json_is_array(recipe))
        status = buffer_text(text, text_or(feed->meta_file, feed->meta, "recipe", ""));
    json_array_foreach(recipe, i, one)
    {
        if (status == STATUS_OK && json_is_string(one))
            status = buffer_printf(text, "%s%s", i > 0 ? " " : "", json_string_value(one));
    }
    if (status != STATUS_OK)
        buffer_clear(text);
}

static void publish_run(struct feed *feed)
{
    struct dash *dash = feed->dash;
    const char *state = feed->over ? "over" : feed->draining ? "draining" : "running";
    const char *parent = text_or(feed->meta_file, NULL, "parent", NULL);
    json_t *attempt = json_object_get(feed->meta, "attempt");
    json_t *started = json_object_get(feed->meta, "started_ms");
    if (attempt == NULL)
        attempt = json_object_get(feed->meta_file, "attempt");
    if (started == NULL)
        started = json_object_get(feed->meta_file, "started_ms");
    struct buffer recipe;
    buffer_init(&recipe, 0);
    write_recipe(feed, &recipe);
    json_t *run = json_pack(
        "{s:s,s:s,s:s,s:s,s:I,s:O?,s:O?,s:s,s:s,s:b,s:b,s:s?,s:{s:[f,f]}}", "name", dash->run,
        "folder", dash->folder, "recipe", buffer_string(&recipe), "state", state, "steps",
        (json_int_t)dash->program->settings.run.steps, "started_ms", started, "attempt", attempt,
        "host", text_or(feed->meta, feed->meta_file, "host", ""), "version", WEIR_VERSION, "redis",
        (int)atomic_load(&dash->board.redis), "writable",
        (int)(!feed->over && dash->access.token[0] != 0), "parent", parent, "lines", "pearson",
        0.987, 0.997);
    board_lock(&dash->board);
    if (run != NULL)
        board_set_run(&dash->board, run);
    board_unlock(&dash->board);
    json_decref(run);
    buffer_free(&recipe);
}

void feed_make_snapshot(struct feed *feed)
{
    char state[16] = "";
    feed->over = run_folder_holder(feed->dash->folder, state) == 0;
    feed->draining = strcmp(state, "draining") == 0;
    if (feed->over ||
        clock_now_ns() - feed->peers_at_ns > (int64_t)PEERS_FRESH_MS * CLOCK_NS_PER_MS)
        json_object_clear(feed->peers); /* of then */
    json_decref(feed->meta_file);       /* a run that goes on has another attempt */
    feed->meta_file = NULL;
    if (run_folder_json(feed->dash->folder, "meta.json", META_BYTES_MAX, &feed->meta_file) !=
        STATUS_OK)
        feed->meta_file = NULL; /* of a run that was made by hand */
    double version = number_of(feed->state, "version");
    publish_snapshot(feed, make_fleet(feed, version));
    publish_run(feed);
}
