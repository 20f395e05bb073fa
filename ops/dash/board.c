#include "ops/dash/board.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "ops/dash/number.h"
#include "ops/run_alarms.h"

enum {
    EVENTS_MAX = 2000,
    EVENT_BYTES = 1 << 20,
    HISTOGRAMS_MAX = 512,
    HISTOGRAM_BYTES = 8 << 20,
    SPANS_MAX = 40000,
    SPAN_BYTES = 8 << 20,
    MESSAGE_BYTES = 4 << 20
};
/* Between two sources of one alarm: the line of its step, and who told the store or Redis of it. */
static const double same_alarm_ms = 60000;
/* Between two sources of one line: less than any step takes twice. */
static const double same_wall_s = 0.01;

enum status board_open(struct board *board)
{
    *board = (struct board){0};
    CHECK(pthread_mutex_init(&board->lock, NULL) == 0);
    buffer_init(&board->run, 0);
    buffer_init(&board->snapshot, 0);
    TRY(broadcast_open(&board->broadcast, MESSAGE_BYTES,
                       (uint64_t)(clock_wall_ns() / CLOCK_NS_PER_MS)));
    TRY(rollout_list_open(&board->rollouts));
    TRY(text_ring_open(&board->events, EVENTS_MAX, EVENT_BYTES));
    TRY(text_ring_open(&board->histograms, HISTOGRAMS_MAX, HISTOGRAM_BYTES));
    return text_ring_open(&board->spans, SPANS_MAX, SPAN_BYTES);
}

void board_close(struct board *board)
{
    metric_table_free(&board->metrics);
    broadcast_close(&board->broadcast);
    rollout_list_close(&board->rollouts);
    text_ring_close(&board->events);
    text_ring_close(&board->histograms);
    text_ring_close(&board->spans);
    buffer_free(&board->run);
    buffer_free(&board->snapshot);
    json_decref(board->latest);
    pthread_mutex_destroy(&board->lock);
}

void board_lock(struct board *board)
{
    CHECK(pthread_mutex_lock(&board->lock) == 0);
}

void board_unlock(struct board *board)
{
    CHECK(pthread_mutex_unlock(&board->lock) == 0);
}

static void complain(enum status status)
{
    if (status != STATUS_OK)
        LOG_FAILURE("dash", "left out", status);
}

static void tell(struct board *board, const char *event, const char *data, size_t size)
{
    enum status status = broadcast_add(&board->broadcast, event, data, size);
    board->changed |= status == STATUS_OK;
    complain(status);
}

static enum status dump_into(const json_t *value, struct buffer *text)
{
    size_t size = json_dumpb(value, NULL, 0, BOARD_JSON);
    TRY(buffer_reserve(text, size + 1));
    text->size += json_dumpb(value, (char *)text->bytes + text->size, size, BOARD_JSON);
    return STATUS_OK;
}

/* ---- metrics ---- */

/* The beginning of a message about a row; its series and "}" follow. */
static enum status begin_step(const struct board *board, size_t row, struct buffer *text)
{
    char step[NUMBER_TEXT_MAX], wall[NUMBER_TEXT_MAX];
    size_t step_size = number_text(board->metrics.step[row], step);
    size_t wall_size = number_seconds(board->metrics.wall[row], wall);
    return buffer_printf(text, "{\"step\":%.*s,\"wall\":%.*s,\"series\":", (int)step_size, step,
                         (int)wall_size, wall);
}

static enum status tell_step(struct board *board, size_t row)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status;
    TRY_GOTO(out, begin_step(board, row, &text));
    TRY_GOTO(out, metric_table_row_json(&board->metrics, row, &text));
    TRY_GOTO(out, buffer_text(&text, "}"));
    tell(board, "metrics", (const char *)text.bytes, text.size);
out:
    buffer_free(&text);
    return status;
}

/* The same step comes from Redis and from the file; one that is made again comes later. */
static bool is_known(const struct board *board, const json_t *line)
{
    size_t row;
    const json_t *wall = json_object_get(line, "wall");
    if (!metric_table_find(&board->metrics, json_number_value(json_object_get(line, "step")), &row))
        return false;
    return !json_is_number(wall) ||
           !(fabs(board->metrics.wall[row] - json_number_value(wall)) > same_wall_s);
}

/* A learner that begins again at a checkpoint makes a step anew: later ones are of a branch that is gone. */
static bool forget_branch(struct board *board, const json_t *line, size_t row)
{
    struct metric_table *metrics = &board->metrics;
    if (row + 1 >= metrics->rows || json_object_get(line, "digest") == NULL ||
        !(metrics->wall[row] > metrics->wall[metrics->rows - 1]))
        return false;
    metrics->rows = row + 1;
    return true;
}

void board_tell_reset(struct board *board)
{
    tell(board, "reset", "{}", 2);
}

/* ---- figures that come after their step ---- */

/* A row of an evaluation, also one as written to table.jsonl: what it has of a time is when it was evaluated. The file has
 * only steps. */
static bool is_figures(const json_t *line, bool from_file)
{
    return !from_file &&
           (json_object_get(line, "set") != NULL || !json_is_number(json_object_get(line, "wall")));
}

static enum status tell_figures(struct board *board, size_t row, const json_t *figures)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status;
    TRY_GOTO(out, begin_step(board, row, &text));
    TRY_GOTO(out, dump_into(figures, &text));
    TRY_GOTO(out, buffer_text(&text, "}"));
    tell(board, "metrics", (const char *)text.bytes, text.size);
out:
    buffer_free(&text);
    return status;
}

/* The newest line with its late figures, when they are of its step. */
static void complete_latest(struct board *board, double step, const json_t *figures)
{
    if (board->latest == NULL || json_number_value(json_object_get(board->latest, "step")) != step)
        return;
    json_t *whole = json_copy(board->latest); /* whoever gave the line may hold it still */
    json_object_update(whole, (json_t *)(uintptr_t)figures);
    json_decref(board->latest);
    board->latest = whole;
}

/* Those of a step that is not kept are left out: the line that has them comes with the file, or they are of a branch that is
 * gone. */
static void take_figures(struct board *board, const json_t *line)
{
    double step = json_number_value(json_object_get(line, "step"));
    json_t *figures = json_object(), *value;
    const char *name;
    size_t row;
    if (metric_table_find(&board->metrics, step, &row)) {
        json_object_foreach((json_t *)(uintptr_t)line, name, value)
        {
            if (strncmp(name, "eval/", 5) != 0 || !json_is_number(value))
                continue;
            json_object_set(figures, name, value);
            complain(metric_table_set(&board->metrics, row, name, json_number_value(value)));
        }
        complete_latest(board, step, figures);
        if (json_object_size(figures) > 0 && !board->quiet)
            complain(tell_figures(board, row, figures));
    }
    json_decref(figures);
}

static void take_step(struct board *board, const json_t *line, bool from_file)
{
    size_t row = 0;
    bool fresh = false, known = is_known(board, line);
    if (known && !from_file)
        return;
    enum status status = metric_table_take(&board->metrics, line, &row, &fresh);
    if (status != STATUS_OK) {
        complain(status);
        return;
    }
    bool again = !known && forget_branch(board, line, row);
    double step = board->metrics.step[row];
    if (row + 1 == board->metrics.rows || !known) {
        json_decref(board->latest);
        board->latest = json_incref((json_t *)(uintptr_t)line); /* nobody changes it */
        board->broadcast.step = (uint64_t)step;
    }
    if (!known && !board->quiet)
        complain(tell_step(board, row));
    if (again && !board->quiet)
        board_tell_reset(board);
}

void board_take_metrics(struct board *board, const json_t *line, bool from_file)
{
    if (is_figures(line, from_file))
        take_figures(board, line);
    else
        take_step(board, line, from_file);
}

/* ---- the other streams ---- */

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : 0;
}

/* Keeps an object in its ring and, when it is new, tells viewers; event NULL: nobody. */
static void keep(struct board *board, struct text_ring *ring, double key, const json_t *object,
                 const char *event)
{
    size_t size = json_dumpb(object, NULL, 0, BOARD_JSON);
    char *text = size > 0 ? memory_alloc(size + 1) : NULL;
    if (text == NULL)
        return;
    (void)json_dumpb(object, text, size, BOARD_JSON);
    if (!text_ring_has(ring, text, size)) {
        /* events come from several places, each in its own time */
        complain(ring == &board->events ? text_ring_insert(ring, key, text, size)
                                        : text_ring_add(ring, key, text, size));
        if (event != NULL && !board->quiet)
            tell(board, event, text, size);
    }
    memory_free(text);
}

static bool is_same(const struct text_row *row, const json_t *event)
{
    json_t *other = json_loadb(row->text, row->size, 0, NULL);
    bool same = json_equal(json_object_get(other, "kind"), json_object_get(event, "kind")) == 1 &&
                json_equal(json_object_get(other, "text"), json_object_get(event, "text")) == 1;
    json_decref(other);
    return same;
}

/* Alarms stand in files, and are told by learner, supervisor and store: once is enough. */
static bool is_told(const struct board *board, const json_t *event)
{
    double time_ms = number_of(event, "time_ms");
    for (size_t i = board->events.count; i-- > 0;) {
        const struct text_row *row = text_ring_at(&board->events, i);
        if (row->key < time_ms - same_alarm_ms)
            return false;
        if (row->key <= time_ms + same_alarm_ms && strstr(row->text, "alarm") != NULL &&
            is_same(row, event))
            return true;
    }
    return false;
}

void board_take_event(struct board *board, const json_t *event)
{
    const char *kind = json_string_value(json_object_get(event, "kind"));
    if (kind == NULL || strcmp(kind, "step") == 0 || strcmp(kind, "version") == 0)
        return; /* one of each a step would push out what matters: the metrics have them */
    if (strncmp(kind, "alarm", 5) == 0 && is_told(board, event))
        return;
    keep(board, &board->events, number_of(event, "time_ms"), event, "event");
}

static void take_alarm(struct board *board, json_t *event)
{
    if (event != NULL)
        board_take_event(board, event);
    json_decref(event);
}

void board_take_step_alarm(struct board *board, const json_t *line)
{
    take_alarm(board, run_alarms_of_step(line));
}

void board_take_run_alarm(struct board *board, const json_t *line)
{
    take_alarm(board, run_alarms_event(line));
}

void board_take_histograms(struct board *board, const json_t *histograms)
{
    if (json_is_number(json_object_get(histograms, "step")))
        keep(board, &board->histograms, number_of(histograms, "step"), histograms, "histograms");
}

void board_take_span(struct board *board, const json_t *span)
{
    size_t size = json_dumpb(span, NULL, 0, BOARD_JSON);
    char text[1024];
    if (size == 0 || size > sizeof text || !json_is_number(json_object_get(span, "begin_us")))
        return;
    (void)json_dumpb(span, text, sizeof text, BOARD_JSON);
    complain(text_ring_add(&board->spans, number_of(span, "step"), text, size));
}

void board_clear_spans(struct board *board)
{
    text_ring_clear(&board->spans);
}

void board_take_rollout(struct board *board, const json_t *rollout)
{
    const struct rollout_row *added = NULL;
    complain(rollout_list_add(&board->rollouts, rollout, &added));
    if (added == NULL)
        return;
    int64_t second = clock_now_ns() / CLOCK_NS_PER_S;
    if (second != board->rollout_second)
        board->rollout_count = 0;
    board->rollout_second = second;
    if (board->rollout_count++ <
        BOARD_ROLLOUTS_PER_S) /* a fleet makes thousands: viewers see some of them live */
        tell(board, "rollout", added->summary, strlen(added->summary));
}

/* ---- texts for all ---- */

void board_set_snapshot(struct board *board, const json_t *without_time, int64_t time_ms)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status;
    TRY_GOTO(out, dump_into(without_time, &text));
    uint64_t hash = hash64(text.bytes, text.size, 0);
    bool fresh = hash != board->snapshot_hash || board->snapshot.size == 0;
    buffer_clear(&board->snapshot);
    TRY_GOTO(out, buffer_printf(&board->snapshot, "{\"time_ms\":%" PRId64 ",", time_ms));
    TRY_GOTO(out, buffer_append(&board->snapshot, text.bytes + 1, text.size - 1));
    board->snapshots++;
    board->snapshot_hash = hash;
    if (fresh)
        tell(board, "snapshot", (const char *)board->snapshot.bytes, board->snapshot.size);
out:
    buffer_free(&text);
    complain(status);
}

void board_set_run(struct board *board, const json_t *run)
{
    buffer_clear(&board->run);
    complain(dump_into(run, &board->run));
}
