#include "ops/eval_table.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/file.h"

static enum status add_line(const char *path, const char *line, size_t size, json_t *rows)
{
    json_error_t error;
    json_t *row = json_loadb(line, size, 0, &error);
    if (!json_is_object(row)) {
        json_decref(row);
        return FAIL(STATUS_CORRUPT, "%s: line %zu is no row: %s", path, json_array_size(rows) + 1,
                    error.text);
    }
    json_array_append_new(rows, row);
    return STATUS_OK;
}

enum status eval_table_read(const char *run_folder, json_t **rows)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    TRY(file_path(path, "%s/eval/table.jsonl", run_folder));
    buffer_init(&text, 0);
    json_t *made = json_array();
    enum status status = made == NULL        ? FAIL(STATUS_NO_MEMORY, "%s", path)
                         : file_exists(path) ? file_read(path, &text)
                                             : STATUS_OK;
    const char *at = (const char *)text.bytes, *end = at + text.size, *newline;
    while (status == STATUS_OK && at != end &&
           (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        status = add_line(path, at, (size_t)(newline - at), made);
        at = newline + 1;
    }
    buffer_free(&text);
    if (status != STATUS_OK) {
        json_decref(made);
        made = NULL;
    }
    *rows = made;
    return status;
}

double eval_table_figure(const json_t *row, const char *name)
{
    char key[192];
    const char *set = json_string_value(json_object_get(row, "set"));
    snprintf(key, sizeof key, "eval/%s/%s", set != NULL ? set : "", name);
    const json_t *value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static enum status put(struct buffer *text, const char *format, double value)
{
    char cell[32];
    if (isnan(value))
        snprintf(cell, sizeof cell, "-");
    else if (strcmp(format, "rate") == 0)
        snprintf(cell, sizeof cell, "%.2f %%", 100 * value);
    else if (strcmp(format, "long") == 0)
        snprintf(cell, sizeof cell, "%.1f", value);
    else
        snprintf(cell, sizeof cell, "%.4f", value);
    return buffer_printf(text, " %8s", cell);
}

static enum status put_done(const json_t *row, struct buffer *text)
{
    static const struct {
        const char *name, *format;
    } cells[] = {{"avg_at_n", ""},           {"avg_at_n_low", ""},       {"avg_at_n_high", ""},
                 {"pass_at_n", ""},          {"maj_at_n", ""},           {"len_mean", "long"},
                 {"truncated_frac", "rate"}, {"repetition_frac", "rate"}};
    json_int_t samples = json_integer_value(json_object_get(row, "samples"));
    char n[24];
    snprintf(n, sizeof n, "%" JSON_INTEGER_FORMAT, samples);
    TRY(buffer_printf(text, " %5s", n));
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++)
        TRY(put(text, cells[i].format, eval_table_figure(row, cells[i].name)));
    return buffer_text(text, "\n");
}

static enum status put_row(const json_t *row, struct buffer *text)
{
    const char *set = json_string_value(json_object_get(row, "set")),
               *how = json_string_value(json_object_get(row, "status")),
               *why = json_string_value(json_object_get(row, "why"));
    const json_t *step = json_object_get(row, "step");
    if (json_is_integer(step))
        TRY(buffer_printf(text, "%8" JSON_INTEGER_FORMAT, json_integer_value(step)));
    else
        TRY(buffer_printf(text, "%8s", ""));
    TRY(buffer_printf(text, "  %-16s", set != NULL ? set : ""));
    if (how != NULL && strcmp(how, "done") == 0)
        return put_done(row, text);
    return buffer_printf(text, "  %s: %s\n", how != NULL ? how : "?", why != NULL ? why : "");
}

enum status eval_table_text(const json_t *rows, size_t most, struct buffer *text)
{
    size_t count = json_array_size(rows), from = most > 0 && count > most ? count - most : 0;
    if (count == 0)
        return STATUS_OK;
    TRY(buffer_printf(text, "%8s  %-16s %5s %8s %8s %8s %8s %8s %8s %8s %8s\n", "version", "set",
                      "n", "avg@n", "low", "high", "pass@n", "maj@n", "tokens", "cut", "repeat"));
    for (size_t i = from; i < count; i++)
        TRY(put_row(json_array_get(rows, i), text));
    return STATUS_OK;
}
