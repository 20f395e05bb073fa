#include "ops/eval/eval_metrics.h"

#include <stdio.h>
#include <string.h>

enum { SETS_MAX = 256 };

static const struct metric_row tables[] = {
#define ROW(...) METRIC_ROW(struct eval_metrics, __VA_ARGS__)
    EVAL_METRICS(ROW)
#undef ROW
#define ROW(...) METRIC_ROW(struct eval_figures, __VA_ARGS__)
        EVAL_FIGURES(ROW)
#undef ROW
};
#define ROW(...) +1
enum { PROCESS_ROWS = 0 EVAL_METRICS(ROW), FIGURE_ROWS = 0 EVAL_FIGURES(ROW) };
#undef ROW

const struct metric_row *eval_metrics_table(size_t *count)
{
    *count = PROCESS_ROWS;
    return tables;
}

const struct metric_row *eval_docs_table(size_t *count)
{
    *count = PROCESS_ROWS + FIGURE_ROWS;
    return tables;
}

static double figure_of(const json_t *row, const char *set, const char *path)
{
    char key[192];
    snprintf(key, sizeof key, "eval/%s/%s", set, path + strlen("eval/SET/"));
    const json_t *value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* The last row of each set; how many. */
static size_t newest_rows(const json_t *rows, const json_t *newest[SETS_MAX])
{
    size_t count = 0, index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        const char *set = json_string_value(json_object_get(row, "set")), *known;
        size_t at = 0;
        if (set == NULL || isnan(figure_of(row, set, "eval/SET/version")))
            continue; /* skipped or failed */
        for (; at < count; at++) {
            known = json_string_value(json_object_get(newest[at], "set"));
            if (strcmp(known, set) == 0)
                break;
        }
        if (at < SETS_MAX)
            newest[at] = row;
        count += at == count && at < SETS_MAX;
    }
    return count;
}

enum status eval_figures_text(const json_t *rows, const char *labels, struct buffer *text)
{
    static const json_t *newest[SETS_MAX]; /* one thread */
    size_t count = newest_rows(rows, newest);
    enum status status = STATUS_OK;
    struct buffer more;
    buffer_init(&more, 0);
    for (size_t f = PROCESS_ROWS; f < PROCESS_ROWS + FIGURE_ROWS; f++) {
        char name[METRIC_NAME_BYTES];
        bool told = false;
        metric_prometheus_name(&tables[f], name);
        for (size_t i = 0; i < count; i++) {
            const char *set = json_string_value(json_object_get(newest[i], "set"));
            double value = figure_of(newest[i], set, tables[f].path);
            if (isnan(value))
                continue;
            if (!told)
                TRY_GOTO(out, metrics_family(text, name, "gauge", "", tables[f].help));
            told = true;
            buffer_clear(&more);
            TRY_GOTO(out, metrics_label(&more, "set", set));
            TRY_GOTO(out, metrics_sample(text, name, labels, buffer_string(&more), value));
        }
    }
out:
    buffer_free(&more);
    return status;
}
