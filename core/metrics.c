#include "core/metrics.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

enum { METRIC_NUMBER_BYTES = 32 };

/* ---- values ---- */

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

static void *row_place(const struct metric_row *row, void *metrics)
{
    return (char *)metrics + row->offset;
}

static const void *row_at(const struct metric_row *row, const void *metrics)
{
    return (const char *)metrics + row->offset;
}

static double row_value(const struct metric_row *row, const void *metrics)
{
    return metric_read((const metric *)row_at(row, metrics));
}

void metrics_init(const struct metric_row *rows, size_t count, void *metrics)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind != METRIC_HISTOGRAM)
            continue;
        struct metric_histogram *histogram = row_place(&rows[i], metrics);
        size_t bounds = 0;
        for (; isfinite(rows[i].bounds[bounds]); bounds++)
            CHECK(bounds < METRIC_BUCKETS_MAX &&
                  rows[i].bounds[bounds] < rows[i].bounds[bounds + 1]);
        atomic_store_explicit(&histogram->bounds, rows[i].bounds, memory_order_release);
    }
}

void metric_observe(struct metric_histogram *histogram, double value)
{
    const double *bounds = atomic_load_explicit(&histogram->bounds, memory_order_acquire);
    size_t at = 0;
    if (isnan(value))
        return;
    while (bounds != NULL && value > bounds[at])
        at++;
    metric_add(&histogram->sum, value);
    atomic_fetch_add_explicit(&histogram->bucket[bounds != NULL ? at : METRIC_BUCKETS_MAX], 1,
                              memory_order_relaxed);
}

void metric_observe_ns(struct metric_histogram *histogram, int64_t span_ns)
{
    metric_observe(histogram, (double)span_ns / 1e9);
}

uint64_t metric_count(const struct metric_histogram *histogram)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= METRIC_BUCKETS_MAX; i++)
        count += atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
    return count;
}

double metric_quantile(const struct metric_histogram *histogram, double q)
{
    const double *bounds = atomic_load_explicit(&histogram->bounds, memory_order_acquire);
    double rank = q * (double)metric_count(histogram), below = 0;
    if (bounds == NULL || !(rank > 0))
        return (double)NAN;
    for (size_t i = 0; isfinite(bounds[i]); i++) {
        double here = (double)atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
        double from = i > 0 ? bounds[i - 1] : bounds[0] > 0 ? 0 : bounds[0];
        if (here > 0 && below + here >= rank)
            return from + (bounds[i] - from) * (rank - below) / here;
        below += here;
        if (!isfinite(bounds[i + 1]))
            return bounds[i];
    }
    return (double)NAN;
}

/* Whole numbers as such; else the shortest text that reads back as the same number. */
static void format_number(double value, char out[METRIC_NUMBER_BYTES])
{
    if (fabs(value) < 1e15 && value == trunc(value)) {
        snprintf(out, METRIC_NUMBER_BYTES, "%.0f", value + 0.0); /* -0 is 0 */
        return;
    }
    for (int digits = 15; digits <= 17; digits++) { /* 15 always survive the way there and back */
        snprintf(out, METRIC_NUMBER_BYTES, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            return;
    }
}

static void format_sample(double value, char out[METRIC_NUMBER_BYTES])
{
    if (isfinite(value))
        format_number(value, out);
    else
        snprintf(out, METRIC_NUMBER_BYTES, "%s",
                 isnan(value) ? "NaN"
                 : value > 0  ? "+Inf"
                              : "-Inf");
}

/* ---- names ---- */

/* Units whose word belongs into the name, what a path says for them instead, and their base unit. */
struct unit_rule {
    const char *unit, *word;
    double scale;
    const char *endings[4]; /* of a path: give way to the word */
};
static const struct unit_rule unit_rules[] = {
    {"s", "seconds", 1, {"_s", "/s"}},
    {"ms", "seconds", 1e-3, {"_ms", "/ms"}},
    {"us", "seconds", 1e-6, {"_us", "/us"}},
    {"bytes", "bytes", 1, {NULL}},
    {"kB", "bytes", 1024, {"_kb", "/kb"}},
    {"MB", "bytes", 1048576, {"_mb", "/mb"}},
    {"GB", "bytes", 1073741824, {"_gb", "/gb"}},
    {"GB/s", "bytes_per_second", 1e9, {"_gb_s", "_gbps"}},
    {"tokens", "tokens", 1, {NULL}},
    {"tokens/s", "tokens_per_second", 1, {"_tokens_per_s", "/tokens_per_s", "_tok_s", "/tok_s"}},
    {"rollouts/s", "rollouts_per_second", 1, {"_rollouts_per_s", "/rollouts_per_s"}},
    {"C", "celsius", 1, {"_c", "/c"}},
    {"W", "watts", 1, {"_w", "/w"}},
};

static const struct unit_rule *unit_rule_of(const char *unit)
{
    for (size_t i = 0; i < sizeof unit_rules / sizeof unit_rules[0]; i++)
        if (strcmp(unit_rules[i].unit, unit) == 0)
            return &unit_rules[i];
    return NULL;
}

static void cut_ending(char *path, const struct unit_rule *rule)
{
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof rule->endings / sizeof rule->endings[0]; i++) {
        const char *ending = rule->endings[i];
        size_t size = ending != NULL ? strlen(ending) : 0;
        if (size > 0 && length > size && strcmp(path + length - size, ending) == 0) {
            path[length - size] = 0;
            return;
        }
    }
}

/* "_tokens_" stands somewhere in "_sampled_tokens_": whole words only. */
static bool has_word(const char *name, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = strstr(name, word); at != NULL; at = strstr(at + 1, word))
        if ((at == name || at[-1] == '_') && (at[size] == 0 || at[size] == '_'))
            return true;
    return false;
}

double metric_prometheus_name(const struct metric_row *row, char name[METRIC_NAME_BYTES])
{
    const struct unit_rule *rule = unit_rule_of(row->unit);
    char path[METRIC_NAME_BYTES / 2];
    snprintf(path, sizeof path, "%s", row->path);
    if (rule != NULL)
        cut_ending(path, rule);
    for (char *c = path; *c != 0; c++)
        *c = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '_';
    bool named = rule == NULL || has_word(path, rule->word);
    snprintf(name, METRIC_NAME_BYTES, "weir_%s%s%s%s", path, named ? "" : "_",
             named ? "" : rule->word,
             row->kind == METRIC_COUNTER && !has_word(path, "total") ? "_total" : "");
    return rule != NULL ? rule->scale : 1;
}

/* ---- Prometheus: the text format 0.0.4 ---- */

/* HELP text has two escapes in the exposition format: backslash and newline. A label's value has a third, the quote. */
static enum status append_escaped(struct buffer *text, const char *from, bool quote)
{
    const char *const special = quote ? "\\\n\"" : "\\\n";
    for (;;) {
        size_t plain = strcspn(from, special);
        TRY(buffer_append(text, from, plain));
        from += plain;
        if (*from == 0)
            return STATUS_OK;
        TRY(buffer_text(text, *from == '\n' ? "\\n" : *from == '"' ? "\\\"" : "\\\\"));
        from++;
    }
}

enum status metrics_label(struct buffer *labels, const char *name, const char *value)
{
    TRY(buffer_printf(labels, "%s%s=\"", labels->size > 0 ? "," : "", name));
    TRY(append_escaped(labels, value, true));
    return buffer_text(labels, "\"");
}

enum status metrics_family(struct buffer *text, const char *name, const char *kind,
                           const char *unit, const char *help)
{
    TRY(buffer_printf(text, "# HELP %s ", name));
    TRY(append_escaped(text, help, false));
    TRY(buffer_printf(text, "\n# TYPE %s %s\n", name, kind));
    return unit[0] != 0 ? buffer_printf(text, "# UNIT %s %s\n", name, unit) : STATUS_OK;
}

enum status metrics_sample(struct buffer *text, const char *name, const char *labels,
                           const char *more, double value)
{
    char number[METRIC_NUMBER_BYTES];
    bool first = labels != NULL && labels[0] != 0, second = more != NULL && more[0] != 0;
    format_sample(value, number);
    return buffer_printf(text, "%s%s%s%s%s%s %s\n", name, first || second ? "{" : "",
                         first ? labels : "", first && second ? "," : "", second ? more : "",
                         first || second ? "}" : "", number);
}

enum status metrics_buckets(struct buffer *text, const char *name, const char *labels,
                            const double *bounds, const struct metric_histogram *histogram,
                            double scale)
{
    char full[METRIC_NAME_BYTES + 16], number[METRIC_NUMBER_BYTES], bound[METRIC_NUMBER_BYTES + 8];
    /* The sum first: what is observed meanwhile is in the count, and an average is never too large by a whole one. */
    double sum = metric_read(&histogram->sum) * scale;
    uint64_t count = 0, all = metric_count(histogram);
    snprintf(full, sizeof full, "%s_bucket", name);
    for (size_t i = 0; isfinite(bounds[i]); i++) {
        uint64_t here = atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
        count = count + here > all ? all : count + here; /* others go on observing */
        format_number(bounds[i] * scale, number);
        snprintf(bound, sizeof bound, "le=\"%s\"", number);
        TRY(metrics_sample(text, full, labels, bound, (double)count));
    }
    TRY(metrics_sample(text, full, labels, "le=\"+Inf\"", (double)all));
    snprintf(full, sizeof full, "%s_sum", name);
    TRY(metrics_sample(text, full, labels, NULL, sum));
    snprintf(full, sizeof full, "%s_count", name);
    return metrics_sample(text, full, labels, NULL, (double)all);
}

static const char *unit_word(const struct metric_row *row)
{
    const struct unit_rule *rule = unit_rule_of(row->unit);
    return rule != NULL ? rule->word : "";
}

enum status metrics_prometheus(const struct metric_row *rows, size_t count, const void *metrics,
                               const char *labels, struct buffer *text)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (size_t i = 0; i < count; i++) {
        char name[METRIC_NAME_BYTES];
        double scale = metric_prometheus_name(&rows[i], name);
        TRY(metrics_family(text, name, kinds[rows[i].kind], unit_word(&rows[i]), rows[i].help));
        if (rows[i].kind == METRIC_HISTOGRAM)
            TRY(metrics_buckets(text, name, labels, rows[i].bounds, row_at(&rows[i], metrics),
                                scale));
        else
            TRY(metrics_sample(text, name, labels, NULL, row_value(&rows[i], metrics) * scale));
    }
    return STATUS_OK;
}

/* ---- JSON and docs ---- */

static enum status write_pair(struct buffer *json, const char *path, const char *part, double value)
{
    char key[METRIC_NAME_BYTES], number[METRIC_NUMBER_BYTES] = "null";
    snprintf(key, sizeof key, "%s%s", path, part);
    if (isfinite(value))
        format_number(value, number);
    TRY(buffer_json_text(json, key));
    return buffer_printf(json, ":%s", number);
}

static enum status write_histogram(struct buffer *json, const struct metric_row *row,
                                   const struct metric_histogram *histogram)
{
    TRY(write_pair(json, row->path, "/p50", metric_quantile(histogram, 0.5)));
    TRY(buffer_text(json, ","));
    TRY(write_pair(json, row->path, "/p90", metric_quantile(histogram, 0.9)));
    TRY(buffer_text(json, ","));
    TRY(write_pair(json, row->path, "/p99", metric_quantile(histogram, 0.99)));
    TRY(buffer_text(json, ","));
    return write_pair(json, row->path, "/count", (double)metric_count(histogram));
}

enum status metrics_json(const struct metric_row *rows, size_t count, const void *metrics,
                         struct buffer *json)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            TRY(buffer_text(json, ","));
        if (rows[i].kind == METRIC_HISTOGRAM)
            TRY(write_histogram(json, &rows[i], row_at(&rows[i], metrics)));
        else
            TRY(write_pair(json, rows[i].path, "", row_value(&rows[i], metrics)));
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
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    TRY(buffer_printf(
        markdown,
        "## %s\n\n| metric | kind | unit | Prometheus | meaning |\n|---|---|---|---|---|\n",
        title));
    for (size_t i = 0; i < count; i++) {
        char name[METRIC_NAME_BYTES];
        metric_prometheus_name(&rows[i], name);
        TRY(buffer_printf(markdown, "| `%s` | %s | %s | `%s` | %s |\n", rows[i].path,
                          kinds[rows[i].kind], rows[i].unit, name, rows[i].help));
    }
    return buffer_text(markdown, "\n");
}
