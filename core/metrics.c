#include "core/metrics.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { METRIC_NAME_BYTES = 128, METRIC_NUMBER_BYTES = 32 };

/* No atomic += for double: that would order floating point exceptions through libatomic. */
void metric_add(metric *m, double n)
{
    double seen = atomic_load_explicit(m, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(m, &seen, seen + n, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

void metric_set(metric *m, double n)
{
    atomic_store_explicit(m, n, memory_order_relaxed);
}

double metric_read(const metric *m)
{
    return atomic_load_explicit(m, memory_order_relaxed);
}

static double row_value(const struct metric_row *row, const void *metrics)
{
    return metric_read((const metric *)(const void *)((const char *)metrics + row->offset));
}

/* The shortest text that reads back as the same number. */
static void format_number(double value, char out[METRIC_NUMBER_BYTES])
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, METRIC_NUMBER_BYTES, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            return;
    }
}

static void prometheus_name(const char *path, char out[METRIC_NAME_BYTES])
{
    int used = snprintf(out, METRIC_NAME_BYTES, "weir_%s", path);
    (void)used;
    for (char *c = out; *c != 0; c++)
        if (!isalnum((unsigned char)*c))
            *c = '_';
}

/* HELP text has two escapes in the exposition format: backslash and newline. */
static enum status append_help(struct buffer *text, const char *help)
{
    for (const char *c = help; *c != 0; c++) {
        if (*c == '\\' || *c == '\n')
            TRY(buffer_text(text, *c == '\n' ? "\\n" : "\\\\"));
        else
            TRY(buffer_append(text, c, 1));
    }
    return STATUS_OK;
}

enum status metrics_prometheus(const struct metric_row *rows, size_t count, const void *metrics,
                               const char *labels, struct buffer *text)
{
    bool labelled = labels != NULL && labels[0] != 0;
    for (size_t i = 0; i < count; i++) {
        char name[METRIC_NAME_BYTES];
        char number[METRIC_NUMBER_BYTES];
        double value = row_value(&rows[i], metrics);
        prometheus_name(rows[i].path, name);
        if (isfinite(value))
            format_number(value, number);
        else
            snprintf(number, sizeof number, "%s",
                     isnan(value) ? "NaN"
                     : value > 0  ? "+Inf"
                                  : "-Inf");
        TRY(buffer_printf(text, "# HELP %s ", name));
        TRY(append_help(text, rows[i].help));
        if (rows[i].unit[0] != 0)
            TRY(buffer_printf(text, " Unit: %s.", rows[i].unit));
        TRY(buffer_printf(text, "\n# TYPE %s %s\n%s%s%s%s %s\n", name,
                          rows[i].kind == METRIC_COUNTER ? "counter" : "gauge", name,
                          labelled ? "{" : "", labelled ? labels : "", labelled ? "}" : "",
                          number));
    }
    return STATUS_OK;
}

enum status metrics_json(const struct metric_row *rows, size_t count, const void *metrics,
                         struct buffer *json)
{
    for (size_t i = 0; i < count; i++) {
        char number[METRIC_NUMBER_BYTES] = "null";
        double value = row_value(&rows[i], metrics);
        if (isfinite(value))
            format_number(value, number);
        if (i > 0)
            TRY(buffer_text(json, ","));
        TRY(buffer_json_text(json, rows[i].path));
        TRY(buffer_printf(json, ":%s", number));
    }
    return STATUS_OK;
}

const char *metrics_object(const struct metric_row *rows, size_t count, const void *metrics,
                           struct buffer *json)
{
    buffer_clear(json);
    enum status status = buffer_text(json, "{");
    if (status == STATUS_OK)
        status = metrics_json(rows, count, metrics, json);
    if (status == STATUS_OK)
        status = buffer_text(json, "}");
    return status == STATUS_OK ? buffer_string(json) : "{}";
}

enum status metrics_markdown(const char *title, const struct metric_row *rows, size_t count,
                             struct buffer *markdown)
{
    TRY(buffer_printf(markdown, "## %s\n\n| metric | kind | unit | meaning |\n|---|---|---|---|\n",
                      title));
    for (size_t i = 0; i < count; i++)
        TRY(buffer_printf(markdown, "| `%s` | %s | %s | %s |\n", rows[i].path,
                          rows[i].kind == METRIC_COUNTER ? "counter" : "gauge", rows[i].unit,
                          rows[i].help));
    return buffer_text(markdown, "\n");
}
