#include "reward/rows.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory.h"
#include "reward/areas.h"

/* WAITING: lines read ahead of the slowest one. */
enum { ROW_WAITING_MAX = 1024, ROW_BYTES_MAX = 256 << 20, AREAS_MAX = 64, PROGRESS_MS = 500 };

/* An area in use: opened when the first row asks for it. */
struct open_area {
    const struct reward_area *area;
    void *instance;
    bool opened;
};

struct pending {
    uint64_t line;
    json_t *row;              /* owned */
    struct open_area *opened; /* of its kind */
    char *result;             /* jansson's; set when done */
    struct reward_outcome outcome;
    bool done;
};

struct rows {
    const struct rows_options *options;
    FILE *out;
    struct reward_tools tools;
    unsigned tools_open; /* needs that were met */
    struct open_area areas[AREAS_MAX];
    size_t area_count;
    struct rows_summary *summary;

    /* Guards what follows. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct pending ring[ROW_WAITING_MAX];
    uint64_t next_in, next_taken, next_out; /* rows read, given to a thread, written */
    bool ended;                             /* no more rows come */
};

/* ---- areas ---- */

static enum status open_area(struct rows *rows, const struct reward_area *area,
                             struct open_area **found)
{
    for (size_t i = 0; i < rows->area_count; i++)
        if (rows->areas[i].area == area) {
            *found = &rows->areas[i];
            return STATUS_OK;
        }
    CHECK(rows->area_count < AREAS_MAX);
    unsigned tools = area->needs & (REWARD_NEEDS_SANDBOX | REWARD_NEEDS_JUDGE) & ~rows->tools_open;
    if (tools != 0) {
        struct reward_tools more;
        TRY(reward_tools_open(&more, tools, rows->options->config));
        rows->tools.sandbox = more.sandbox != NULL ? more.sandbox : rows->tools.sandbox;
        rows->tools.judge = more.judge != NULL ? more.judge : rows->tools.judge;
        rows->tools_open |= tools;
    }
    struct open_area *opened = &rows->areas[rows->area_count];
    *opened = (struct open_area){.area = area};
    json_t *none = json_object();
    const json_t *config = json_object_get(rows->options->config, area->name);
    enum status status =
        reward_area_create(area, config != NULL ? config : none, &rows->tools, &opened->instance);
    json_decref(none);
    TRY(status);
    opened->opened = true;
    rows->area_count++;
    *found = opened;
    return STATUS_OK;
}

static void close_areas(struct rows *rows)
{
    for (size_t i = 0; i < rows->area_count; i++)
        if (rows->areas[i].area->destroy != NULL)
            rows->areas[i].area->destroy(rows->areas[i].instance);
    reward_tools_close(&rows->tools);
}

/* ---- one row ---- */

static const char *text_member(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text != NULL ? text : "";
}

static const json_t *find_truth(const json_t *row, const char *keys)
{
    char key[64];
    for (const char *at = keys != NULL ? keys : "ground_truth"; *at != '\0';) {
        size_t length = strcspn(at, " ");
        snprintf(key, sizeof key, "%.*s", (int)length, at);
        const json_t *truth = json_object_get(row, key);
        if (truth != NULL && !json_is_null(truth))
            return truth;
        at += length;
        at += strspn(at, " ");
    }
    return NULL;
}

static const char *outcome_name(int32_t status)
{
    static const char *const names[] = {"ok",      "skip",       "error",
                                        "timeout", "unscorable", "cancelled"};
    return status >= 0 && status < 6 ? names[status] : "error";
}

static char *result_text(const struct pending *pending)
{
    json_t *result = json_object(), *id = json_object_get(pending->row, "id");
    const struct reward_outcome *outcome = &pending->outcome;
    bool ok = outcome->status == WEIR_REWARD_OK && isfinite(outcome->value);
    if (id != NULL)
        json_object_set(result, "id", id);
    else
        json_object_set_new(result, "line", json_integer((json_int_t)pending->line));
    json_object_set_new(result, "status",
                        json_string(ok ? "ok"
                                    : outcome->status == WEIR_REWARD_OK
                                        ? "error"
                                        : outcome_name(outcome->status)));
    json_object_set_new(result, "value", ok ? json_real(outcome->value) : json_null());
    json_object_update(result, outcome->fields);
    char *text = json_dumps(result, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(result);
    return text;
}

static void score_row(const struct rows *rows, struct pending *pending)
{
    const json_t *row = pending->row;
    const struct reward_area *area = pending->opened->area;
    const json_t *response = json_object_get(row, "response");
    struct reward_case input = {
        .row = row,
        .truth = find_truth(row, area->truth_keys),
        .response = json_is_string(response) ? json_string_value(response) : "",
        .response_size = json_is_string(response) ? json_string_length(response) : 0,
        .prompt = text_member(row, "prompt"),
        .data_source = text_member(row, "data_source"),
        .finish_reason = WEIR_REWARD_FIN_EOS,
        .deadline_ns = clock_now_ns() + rows->options->timeout_ms * CLOCK_NS_PER_MS,
    };
    pending->outcome = (struct reward_outcome){
        .status = WEIR_REWARD_UNSCORABLE, .value = NAN, .fields = json_object()};
    area->score(pending->opened->instance, &input, 1, &pending->outcome);
    pending->result = result_text(pending);
}

static void *score_rows(void *self)
{
    struct rows *rows = self;
    pthread_mutex_lock(&rows->mutex);
    for (;;) {
        while (rows->next_taken == rows->next_in && !rows->ended)
            pthread_cond_wait(&rows->changed,
                              &rows->mutex); /* lint: allow: our own reader, which ends */
        if (rows->next_taken == rows->next_in)
            break;
        struct pending *pending = &rows->ring[rows->next_taken++ % ROW_WAITING_MAX];
        pthread_mutex_unlock(&rows->mutex);
        score_row(rows, pending);
        pthread_mutex_lock(&rows->mutex);
        pending->done = true;
        pthread_cond_broadcast(&rows->changed);
    }
    pthread_mutex_unlock(&rows->mutex);
    return NULL;
}

/* ---- reading and writing: the caller's thread ---- */

static enum status write_row(struct rows *rows, struct pending *pending)
{
    struct rows_summary *summary = rows->summary;
    bool ok = pending->outcome.status == WEIR_REWARD_OK && isfinite(pending->outcome.value);
    summary->rows++;
    summary->ok += ok;
    summary->not_ok += !ok;
    summary->sum += ok ? pending->outcome.value : 0;
    bool written = pending->result != NULL && fputs(pending->result, rows->out) >= 0 &&
                   fputc('\n', rows->out) != EOF;
    free(pending->result); /* lint: allow(free): jansson's buffer */
    json_decref(pending->row);
    json_decref(pending->outcome.fields);
    *pending = (struct pending){0};
    return written ? STATUS_OK : FAIL(STATUS_IO, "a result cannot be written");
}

/* Writes finished rows until fewer than `left` wait. */
static enum status drain(struct rows *rows, uint64_t left)
{
    enum status status = STATUS_OK;
    pthread_mutex_lock(&rows->mutex);
    while (status == STATUS_OK && rows->next_in - rows->next_out > left) {
        struct pending *pending = &rows->ring[rows->next_out % ROW_WAITING_MAX];
        while (!pending->done)
            pthread_cond_wait(&rows->changed, &rows->mutex); /* lint: allow: areas keep deadlines */
        status = write_row(rows, pending);
        rows->next_out++;
    }
    pthread_mutex_unlock(&rows->mutex);
    return status;
}

static enum status add_row(struct rows *rows, uint64_t line, const char *text, size_t size)
{
    const struct rows_options *options = rows->options;
    json_error_t error;
    json_t *row = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(row)) {
        json_decref(row);
        return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": %s", options->name, line,
                    row == NULL ? error.text : "a row is an object");
    }
    const char *kind = json_string_value(json_object_get(row, "kind"));
    if (kind == NULL && options->kind != NULL) { /* areas of several kinds look there */
        kind = options->kind;
        json_object_set_new(row, "kind", json_string(kind));
    }
    const struct reward_area *area = kind != NULL ? reward_area_of_kind(kind) : NULL;
    struct open_area *opened = NULL;
    enum status status =
        kind == NULL
            ? FAIL(STATUS_INVALID, "%s:%" PRIu64 ": no \"kind\"; give --kind or one of: %s",
                   options->name, line, reward_area_names())
        : area == NULL ? FAIL(STATUS_INVALID, "%s:%" PRIu64 ": kind \"%s\" is not known; areas: %s",
                              options->name, line, kind, reward_area_names())
                       : open_area(rows, area, &opened);
    if (status == STATUS_OK)
        status = drain(rows, ROW_WAITING_MAX - 1);
    if (status != STATUS_OK) {
        json_decref(row);
        return status;
    }
    pthread_mutex_lock(&rows->mutex);
    rows->ring[rows->next_in++ % ROW_WAITING_MAX] =
        (struct pending){.line = line, .row = row, .opened = opened};
    pthread_cond_broadcast(&rows->changed);
    pthread_mutex_unlock(&rows->mutex);
    return STATUS_OK;
}

static void show_progress(const struct rows *rows, int64_t *last_ns, bool end)
{
    int64_t now_ns = clock_now_ns();
    if (!rows->options->progress || (!end && now_ns - *last_ns < PROGRESS_MS * CLOCK_NS_PER_MS))
        return;
    *last_ns = now_ns;
    const struct rows_summary *summary = rows->summary;
    fprintf(stderr, "\r%" PRIu64 " rows, %" PRIu64 " scored, mean %.3f, %" PRIu64 " not scored%s",
            summary->rows, summary->ok, summary->ok > 0 ? summary->sum / (double)summary->ok : 0.0,
            summary->not_ok, end ? "\n" : "");
}

static enum status read_rows(struct rows *rows, FILE *in)
{
    char *line = NULL;
    size_t capacity = 0;
    uint64_t number = 0;
    int64_t shown_ns = 0;
    enum status status = STATUS_OK;
    for (ssize_t size; status == STATUS_OK && (size = getline(&line, &capacity, in)) >= 0;) {
        number++;
        if (strspn(line, " \t\r\n") == (size_t)size)
            continue;
        status = size > ROW_BYTES_MAX ? FAIL(STATUS_LIMIT, "%s:%" PRIu64 ": longer than 256 MiB",
                                             rows->options->name, number)
                                      : add_row(rows, number, line, (size_t)size);
        show_progress(rows, &shown_ns, false);
    }
    if (status == STATUS_OK && ferror(in))
        status = FAIL(STATUS_IO, "%s cannot be read", rows->options->name);
    free(line); /* lint: allow(free): getline's buffer */
    enum status drained = drain(rows, 0);
    show_progress(rows, &shown_ns, true);
    return status != STATUS_OK ? status : drained;
}

static void end_threads(struct rows *rows, pthread_t *threads, uint32_t count)
{
    pthread_mutex_lock(&rows->mutex);
    rows->ended = true;
    pthread_cond_broadcast(&rows->changed);
    pthread_mutex_unlock(&rows->mutex);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static enum status check_config(const json_t *config)
{
    char names[1024], why[512];
    snprintf(names, sizeof names, "%ssandbox judge", reward_area_names());
    return reward_settings_known(config, names, why, sizeof why)
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "--config: %s", why);
}

enum status rows_score(FILE *in, FILE *out, const struct rows_options *options,
                       struct rows_summary *summary)
{
    pthread_t threads[64];
    uint32_t started = 0, wanted = options->jobs < 64 ? options->jobs : 64;
    TRY(check_config(options->config));
    struct rows *rows = memory_alloc(sizeof *rows);
    if (rows == NULL)
        return FAIL(STATUS_NO_MEMORY, "rows");
    *summary = (struct rows_summary){0};
    rows->options = options;
    rows->out = out;
    rows->summary = summary;
    pthread_mutex_init(&rows->mutex, NULL);
    pthread_cond_init(&rows->changed, NULL);
    while (started < wanted && pthread_create(&threads[started], NULL, score_rows, rows) == 0)
        started++;
    enum status status = started > 0 ? read_rows(rows, in) : FAIL(STATUS_NO_MEMORY, "threads");
    end_threads(rows, threads, started);
    for (uint64_t i = rows->next_out; i < rows->next_in; i++) { /* after an error */
        json_decref(rows->ring[i % ROW_WAITING_MAX].row);
        json_decref(rows->ring[i % ROW_WAITING_MAX].outcome.fields);
        free(rows->ring[i % ROW_WAITING_MAX].result); /* lint: allow(free): jansson's buffer */
    }
    close_areas(rows);
    pthread_cond_destroy(&rows->changed);
    pthread_mutex_destroy(&rows->mutex);
    memory_free(rows);
    if (status == STATUS_OK && fflush(out) != 0)
        status = FAIL(STATUS_IO, "the results cannot be written");
    return status;
}
