/* ops/eval/follow_metrics.c - figures of evaluations in metrics.jsonl, when the run is over.
 *
 * While it went on, the learner gave each of its lines the figures that had just arrived, of earlier versions; those of
 * the last versions came after its last line. Now every figure goes into the line of its version. The learner has ended:
 * nobody else writes the file, which is replaced as a whole. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/eval/follow.h"

enum { NUMBER_MAX = 32 };

struct completion {
    const json_t *rows;
    json_t *seen;  /* {"eval/SET/version": {"20": true}} of the lines that are there */
    json_t *steps; /* {"20": {"step":20,"digest":".."}} of the lines */
    json_t *added; /* rows that no line had, and one gets here; array */
};

static bool is_figure(const char *key)
{
    return strncmp(key, "eval/", 5) == 0;
}

static void step_text(const json_t *line, char number[NUMBER_MAX])
{
    snprintf(number, NUMBER_MAX, "%" JSON_INTEGER_FORMAT,
             json_integer_value(json_object_get(line, "step")));
}

static void note_step(json_t *steps, const json_t *line)
{
    char number[NUMBER_MAX];
    step_text(line, number);
    json_object_set_new(steps, number,
                        json_pack("{s:O,s:O*}", "step", json_object_get(line, "step"), "digest",
                                  json_object_get(line, "digest")));
}

static void note_line(json_t *seen, const json_t *line)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)line, key, value)
    {
        size_t size = strlen(key);
        char number[NUMBER_MAX];
        if (!is_figure(key) || size < 8 || strcmp(key + size - 8, "/version") != 0)
            continue;
        snprintf(number, sizeof number, "%.0f", json_number_value(value));
        if (json_object_get(seen, key) == NULL)
            json_object_set_new(seen, key, json_object());
        json_object_set_new(json_object_get(seen, key), number, json_true());
    }
}

/* Are they of the weights that the line was trained to? Versions of a branch that is gone have other ones. */
static bool is_of(const json_t *row, const json_t *line)
{
    const char *weights = json_string_value(json_object_get(row, "digest")),
               *trained = json_string_value(json_object_get(line, "digest"));
    return json_integer_value(json_object_get(row, "step")) ==
               json_integer_value(json_object_get(line, "step")) &&
           (weights == NULL || trained == NULL || strcmp(weights, trained) == 0);
}

/* Figures without a line that get one here; rows that were skipped have none. */
static bool is_wanted(const struct completion *completion, const json_t *row)
{
    char key[192], number[NUMBER_MAX];
    const char *set = json_string_value(json_object_get(row, "set"));
    snprintf(key, sizeof key, "eval/%s/version", set != NULL ? set : "");
    step_text(row, number);
    return json_object_get(row, key) != NULL &&
           json_object_get(json_object_get(completion->seen, key), number) == NULL &&
           is_of(row, json_object_get(completion->steps, number));
}

static void take_figures(json_t *figures, const json_t *row)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value)
    {
        if (is_figure(key))
            json_object_set(figures, key, value);
    }
}

/* Of the version of this line; the first line has the start model's too, unless its own version has some. */
static json_t *figures_for(const json_t *rows, const json_t *line, bool first)
{
    json_int_t step = json_integer_value(json_object_get(line, "step"));
    json_t *figures = json_object(), *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        json_int_t of = json_integer_value(json_object_get(row, "step"));
        if (first && of < step)
            take_figures(figures, row);
    }
    json_array_foreach(rows, i, row)
    {
        if (is_of(row, line))
            take_figures(figures, row);
    }
    return figures;
}

/* The line without the figures that it had. */
static bool strip(json_t *line)
{
    const char *key;
    json_t *value;
    void *next;
    bool had = false;
    json_object_foreach_safe(line, next, key, value)
    {
        if (is_figure(key)) {
            had = true;
            json_object_del(line, key);
        }
    }
    return had;
}

/* line: {...} without its end of line. Its own numbers keep their text when it had no figures. */
static enum status put_line(const json_t *rows, const char *line, size_t size, bool first,
                            struct buffer *out)
{
    enum { COMPACT = JSON_COMPACT }; /* 17 digits: no value changes */
    json_t *json = json_loadb(line, size, 0, NULL);
    json_t *figures = json_is_object(json) ? figures_for(rows, json, first) : NULL;
    bool had = figures != NULL && strip(json), gets = json_object_size(figures) > 0;
    char *text = NULL;
    if (had) {
        json_object_update(json, figures);
        text = json_dumps(json, COMPACT);
    } else if (gets) {
        text = json_dumps(figures, COMPACT);
    }
    enum status status = (had || gets) && text == NULL
                             ? FAIL(STATUS_NO_MEMORY, "a line of metrics.jsonl")
                         : had  ? buffer_printf(out, "%s\n", text)
                         : gets ? buffer_printf(out, "%.*s,%s\n", (int)size - 1, line, text + 1)
                                : buffer_printf(out, "%.*s\n", (int)size, line);
    free(text); /* lint: allow(free): jansson's buffer */
    json_decref(figures);
    json_decref(json);
    return status;
}

static enum status complete(struct completion *completion, const struct buffer *text,
                            struct buffer *out)
{
    const char *begin = (const char *)text->bytes, *end = begin + text->size, *newline;
    enum status status = STATUS_OK;
    for (const char *at = begin; status == STATUS_OK && at != end &&
                                 (newline = memchr(at, '\n', (size_t)(end - at))) != NULL;
         at = newline + 1) {
        json_t *line = json_loadb(at, (size_t)(newline - at), 0, NULL);
        note_line(completion->seen, line);
        note_step(completion->steps, line);
        json_decref(line);
        status = put_line(completion->rows, at, (size_t)(newline - at), at == begin, out);
    }
    json_t *row;
    size_t i;
    json_array_foreach(completion->rows, i, row)
    {
        if (is_wanted(completion, row))
            json_array_append(completion->added, row);
    }
    return status;
}

/* Whose line the figures belong to, and nothing else of the row: with its time and digest it would pass for the step made
 * anew. */
static void show(const json_t *rows, struct redis_view *redis)
{
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        json_t *figures = json_object();
        json_object_set(figures, "step", json_object_get(row, "step"));
        take_figures(figures, row);
        char *text = json_dumps(figures, JSON_COMPACT | JSON_REAL_PRECISION(12));
        if (text != NULL)
            redis_view_stream(redis, "metrics", text, REDIS_METRICS_KEPT);
        free(text); /* lint: allow(free): jansson's buffer */
        json_decref(figures);
    }
}

enum status follow_complete_metrics(const struct follow_folder *folder, struct redis_view *redis)
{
    char path[FILE_PATH_MAX];
    struct buffer text, out;
    struct completion completion = {
        .rows = folder->rows, .seen = json_object(), .steps = json_object(), .added = json_array()};
    buffer_init(&text, 0);
    buffer_init(&out, 0);
    enum status status;
    TRY_GOTO(out, file_path(path, "%s/metrics.jsonl", folder->run));
    TRY_GOTO(out, file_read(path, &text));
    TRY_GOTO(out, complete(&completion, &text, &out));
    TRY_GOTO(out, file_replace(path, out.bytes, out.size));
    show(completion.added, redis);
out:
    json_decref(completion.seen);
    json_decref(completion.steps);
    json_decref(completion.added);
    buffer_free(&text);
    buffer_free(&out);
    return status;
}
