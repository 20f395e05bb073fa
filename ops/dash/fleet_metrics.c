/* ops/dash/fleet_metrics.c - /metrics: the whole fleet in Prometheus' text format, from the snapshot: one place to scrape where
 * the processes' own monitors cannot be reached. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "ops/dash/number.h"
#include "ops/dash/server_state.h"

enum { NAME_MAX_BYTES = 160, LABELS_MAX = 300, SAMPLES_FIRST = 2000, SAMPLES_MAX = 500000 };

struct sample {
    char name[NAME_MAX_BYTES], labels[LABELS_MAX];
    double value;
};

struct samples {
    struct sample *rows;
    size_t count, room;
    enum status status; /* of growing */
    const char *run;
};

/* "reward/mean" behind "weir_" -> "weir_reward_mean" */
static void write_name(const char *before, const char *name, char out[NAME_MAX_BYTES])
{
    size_t size = strlen(before);
    memcpy(out, before, size);
    for (; *name != 0 && size < NAME_MAX_BYTES - 1; name++)
        out[size++] = isalnum((unsigned char)*name) ? *name : '_';
    out[size] = 0;
}

/* A label's value, quoted as the format wants it; the cut one stays sound. */
static size_t write_label(const char *key, const char *value, char *out, size_t room)
{
    size_t size = strlen(key);
    if (size + 8 > room)
        return 0;
    memcpy(out, key, size);
    memcpy(out + size, "=\"", 2);
    size += 2;
    for (; *value != 0 && size + 4 < room; value++) {
        if (*value == '"' || *value == '\\' || *value == '\n')
            out[size++] = '\\';
        out[size++] = *value == '\n' ? 'n' : *value;
    }
    out[size++] = '"';
    return size;
}

static bool make_room(struct samples *samples)
{
    if (samples->count < samples->room || samples->status != STATUS_OK)
        return samples->status == STATUS_OK;
    size_t room = samples->room > 0 ? 2 * samples->room : SAMPLES_FIRST;
    struct sample *grown =
        samples->room < SAMPLES_MAX
            ? memory_grow(samples->rows, samples->room * sizeof *grown, room * sizeof *grown)
            : NULL;
    if (grown == NULL) {
        samples->status =
            FAIL(STATUS_LIMIT, "/metrics has the first %zu figures of the fleet", samples->count);
        return false;
    }
    samples->rows = grown;
    samples->room = room;
    return true;
}

static void add(struct samples *samples, const char *before, const char *name, const char *key,
                const char *value, double number)
{
    if (!isfinite(number) || !make_room(samples))
        return;
    struct sample *row = &samples->rows[samples->count++];
    write_name(before, name, row->name);
    size_t size = write_label("run", samples->run, row->labels, LABELS_MAX / 2);
    if (key != NULL) {
        row->labels[size++] = ',';
        size += write_label(key, value, row->labels + size, LABELS_MAX - size - 1);
    }
    row->labels[size] = 0;
    row->value = number;
}

static void add_all(struct samples *samples, const char *before, const json_t *object,
                    const char *key, const char *value)
{
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
    {
        if (json_is_number(member))
            add(samples, before, name, key, value, json_number_value(member));
    }
}

static void collect(struct samples *samples, const json_t *snapshot)
{
    size_t i;
    const json_t *row;
    add_all(samples, "weir_step_", json_object_get(snapshot, "latest"), NULL, NULL);
    add_all(samples, "weir_store_", json_object_get(snapshot, "state"), NULL, NULL);
    json_array_foreach(json_object_get(snapshot, "sources"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        add_all(samples, "weir_source_", row, "source", name != NULL ? name : "");
    }
    json_array_foreach(json_object_get(json_object_get(snapshot, "fleet"), "processes"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *state = json_string_value(json_object_get(row, "state"));
        bool up =
            state != NULL && (strcmp(state, "running") == 0 || strcmp(state, "elsewhere") == 0 ||
                              strcmp(state, "leaving") == 0);
        add(samples, "weir_process_", "up", "process", name != NULL ? name : "", up ? 1 : 0);
        add(samples, "weir_process_", "restarts", "process", name != NULL ? name : "",
            json_number_value(json_object_get(row, "restarts")));
        add_all(samples, "weir_process_stats_", json_object_get(row, "stats"), "process",
                name != NULL ? name : "");
    }
}

static int compare(const void *a, const void *b)
{
    const struct sample *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order != 0 ? order : strcmp(left->labels, right->labels);
}

static enum status write_samples(const struct samples *samples, struct buffer *text)
{
    for (size_t i = 0; i < samples->count; i++) {
        const struct sample *row = &samples->rows[i];
        char number[NUMBER_TEXT_MAX];
        if (i > 0 && compare(row, row - 1) == 0)
            continue; /* two names became one */
        if (i == 0 || strcmp(row->name, row[-1].name) != 0)
            TRY(buffer_printf(text,
                              "# HELP %s As the dashboard shows it; docs/metrics.md says what it "
                              "means.\n# TYPE %s gauge\n",
                              row->name, row->name));
        TRY(buffer_printf(text, "%s{%s} %.*s\n", row->name, row->labels,
                          (int)number_text(row->value, number), number));
    }
    return STATUS_OK;
}

enum MHD_Result answer_fleet_metrics(struct request *request)
{
    struct board *board = &request->dash->board;
    struct buffer text;
    buffer_init(&text, 0);
    struct samples samples = {.run = request->dash->run, .status = STATUS_OK};
    board_lock(board);
    json_t *snapshot =
        json_loadb((const char *)board->snapshot.bytes, board->snapshot.size, 0, NULL);
    board_unlock(board);
    collect(&samples, snapshot);
    if (samples.status != STATUS_OK)
        LOG_FAILURE("dash", "left out", samples.status);
    if (samples.count > 0)
        qsort(samples.rows, samples.count, sizeof samples.rows[0], compare);
    enum status status = write_samples(&samples, &text);
    enum MHD_Result result = status == STATUS_OK
                                 ? respond(request, 200, "text/plain; version=0.0.4; charset=utf-8",
                                           text.bytes, text.size, NULL)
                                 : refuse(request, 500, "out of memory");
    json_decref(snapshot);
    memory_free(samples.rows);
    buffer_free(&text);
    return result;
}
