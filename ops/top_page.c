#include "ops/top_page.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ops/run_list.h"
#include "ops/screen.h"

enum {
    CURVE_LABEL = 9,
    CURVE_VALUE = 10,
    CURVE_RANGE = 24, /* " min 0.123 max 0.456" behind a curve, on wide screens */
    CURVE_HEIGHT_MAX = 8,
    LINES_FIXED = 14, /* besides curves and processes */
    PROCESSES_WANTED = 8
};

/* ---- a line ---- */

struct line {
    const struct top_style *style;
    struct buffer *text;
    unsigned used; /* columns */
    enum status status;
};

static struct line begin(const struct top_style *style, struct buffer *text)
{
    return (struct line){.style = style, .text = text};
}

/* ASCII, cut at the edge of the screen. */
static void put(struct line *line, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put(struct line *line, const char *fmt, ...)
{
    char words[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    size_t size = strlen(words), room = line->style->columns - line->used;
    size = size < room ? size : room;
    if (line->status == STATUS_OK)
        line->status = buffer_append(line->text, words, size);
    line->used += (unsigned)size;
}

static void paint(struct line *line, const char *code)
{
    if (line->style->colour && line->status == STATUS_OK)
        line->status = buffer_printf(line->text, "\033[%sm", code);
}

static enum status end(struct line *line)
{
    TRY(line->status);
    return buffer_text(line->text, "\n");
}

/* Right-aligned in `width` columns, "-" for what is not known. */
static void put_number(struct line *line, int width, int digits, double value)
{
    char cell[40];
    if (isnan(value))
        snprintf(cell, sizeof cell, "-");
    else if (fabs(value) >= 1e6)
        snprintf(cell, sizeof cell, "%.3g", value);
    else
        snprintf(cell, sizeof cell, "%.*f", digits, value);
    put(line, " %*s", width, cell);
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ---- head ---- */

static enum status head(const struct top_view *view, const struct top_style *style,
                        struct buffer *text)
{
    struct line line = begin(style, text);
    char age[40];
    paint(&line, "1");
    put(&line, "%s", view->run);
    paint(&line, "0");
    paint(&line, strcmp(view->state, "running") == 0 ? "32" : "33");
    put(&line, "  %s", view->state);
    paint(&line, "0");
    put(&line, "  step %.0f", view->step);
    if (view->steps > 0)
        put(&line, "/%.0f (%.0f%%)", view->steps, floor(100 * view->step / view->steps));
    if (isfinite(view->eta_s)) {
        run_list_age((int64_t)view->eta_s, age, sizeof age);
        put(&line, "  %s left", age);
    }
    if (isfinite(view->up_s)) {
        run_list_age((int64_t)view->up_s, age, sizeof age);
        put(&line, "  up %s", age);
    }
    if (view->attempt > 1)
        put(&line, "  attempt %.0f", view->attempt);
    return end(&line);
}

/* `label` and a sentence that may take two lines where it does not fit one. */
static enum status sentence(const struct top_style *style, const char *label, const char *code,
                            const char *words, struct buffer *text)
{
    struct line line = begin(style, text);
    size_t indent = strlen(label);
    size_t room = style->columns > indent ? style->columns - indent : 0;
    size_t first = strlen(words);
    if (first > room) {
        first = room;
        while (first > room / 2 && words[first] != ' ')
            first--;
    }
    paint(&line, code);
    put(&line, "%s%.*s", label, (int)first, words);
    paint(&line, "0");
    TRY(end(&line));
    line = begin(style, text);
    words += first;
    words += strspn(words, " ");
    paint(&line, code);
    put(&line, "%*s%s", (int)indent, "", words);
    paint(&line, "0");
    return end(&line);
}

static enum status alarm_lines(const struct top_view *view, const struct top_style *style,
                               struct buffer *text)
{
    char words[TOP_TEXT_MAX + 64], when[16] = "";
    if (view->alarm_count == 0)
        return sentence(style, "alarms  ", "2", "none", text);
    const struct top_alarm *alarm = &view->alarms[0];
    time_t seconds = (time_t)(alarm->wall_ms / 1000);
    struct tm local;
    if (alarm->wall_ms > 0 && localtime_r(&seconds, &local) != NULL)
        strftime(when, sizeof when, "%H:%M:%S ", &local);
    snprintf(words, sizeof words, "%s%s", when, alarm->text);
    TRY(sentence(style, "alarm   ", "1;31", words, text));
    return STATUS_OK;
}

/* ---- curves ---- */

struct span {
    double low, high;
};

static struct span span_of(const struct curve *curve)
{
    struct span span = {INFINITY, -INFINITY};
    for (size_t i = 0; i < curve->count; i++) {
        span.low = fmin(span.low, curve->points[i].value);
        span.high = fmax(span.high, curve->points[i].value);
    }
    return span;
}

static double column_mean(const struct curve *curve, size_t column, size_t width)
{
    size_t from = column * curve->count / width, to = (column + 1) * curve->count / width;
    double sum = 0;
    for (size_t i = from; i < to; i++)
        sum += curve->points[i].value;
    return sum / (double)(to - from);
}

/* Row `row` (0: the lowest) of a curve that is `height` rows high, in eighths of a row. */
static void put_bars(struct line *line, const struct curve *curve, size_t width, unsigned row,
                     unsigned height)
{
    static const char *const blocks[9] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char letters[] = " ..::==##";
    width = width < curve->count ? width : curve->count;
    struct span span = span_of(curve);
    for (size_t x = 0; x < width && line->status == STATUS_OK; x++) {
        double share = span.high > span.low
                           ? (column_mean(curve, x, width) - span.low) / (span.high - span.low)
                           : 0.5;
        double eighths = 1 + share * (height * 8 - 1) - row * 8;
        size_t level = eighths <= 0 ? 0 : eighths >= 8 ? 8 : (size_t)eighths;
        line->status = line->style->unicode ? buffer_text(line->text, blocks[level])
                                            : buffer_append(line->text, &letters[level], 1);
        line->used++;
    }
}

static enum status curve_lines(const struct curve *curve, const char *label, unsigned height,
                               const struct top_style *style, struct buffer *text)
{
    bool wide = style->columns >= CURVE_LABEL + CURVE_VALUE + CURVE_RANGE + 30;
    unsigned taken = CURVE_LABEL + CURVE_VALUE + 1 + (wide ? CURVE_RANGE : 0);
    size_t width = style->columns > taken ? style->columns - taken : 0;
    struct span span = span_of(curve);
    for (unsigned row = height; row-- > 0;) {
        struct line line = begin(style, text);
        if (row > 0) {
            put(&line, "%*s", CURVE_LABEL + CURVE_VALUE + 1, "");
        } else {
            put(&line, "%-*s", CURVE_LABEL, label);
            if (curve->count > 0)
                put(&line, "%*.4g ", CURVE_VALUE, curve->last);
            else
                put(&line, "%*s ", CURVE_VALUE, "-");
        }
        paint(&line, "36");
        put_bars(&line, curve, width, row, height);
        paint(&line, "0");
        if (row == 0 && wide && curve->count > 0)
            put(&line, " %.4g to %.4g", span.low, span.high);
        TRY(end(&line));
    }
    return STATUS_OK;
}

/* ---- figures ---- */

static enum status figures(const struct top_view *view, const struct top_style *style,
                           struct buffer *text)
{
    struct line line = begin(style, text);
    double step = number(view->last, "time/step"), wait = number(view->last, "learner/wait_s");
    double train = number(view->last, "time/train");
    put(&line, "step   ");
    put_number(&line, 0, 2, step);
    put(&line, " s: wait");
    put_number(&line, 0, 0, step > 0 ? 100 * fmin(1, wait / step) : NAN);
    put(&line, "%% train");
    put_number(&line, 0, 0, step > 0 ? 100 * fmin(1, train / step) : NAN);
    put(&line, "%% | tok/s");
    put_number(&line, 0, 0, number(view->last, "perf/tok_s"));
    put(&line, " | stale");
    put_number(&line, 0, 2, number(view->last, "stale/mean"));
    put(&line, " max");
    put_number(&line, 0, 0, number(view->last, "stale/max"));
    put(&line, " | mismatch %.3g", number(view->last, "mismatch/max_abs_dlogprob"));
    TRY(end(&line));
    line = begin(style, text);
    put(&line, "queues  groups");
    put_number(&line, 0, 0, number(view->counters, "groups_open"));
    put(&line, " open");
    put_number(&line, 0, 0, number(view->counters, "groups_eligible"));
    put(&line, " ready | rollouts");
    put_number(&line, 0, 0, number(view->counters, "samples_queued"));
    put(&line, " queued");
    put_number(&line, 0, 0, number(view->counters, "samples_unscored"));
    put(&line, " unscored | zero variance");
    put_number(&line, 0, 0, number(view->counters, "dropped_zero_variance"));
    return end(&line);
}

/* ---- processes ---- */

/* At most six columns up to 999 days. */
static void short_age(double seconds, char *out, size_t size)
{
    long whole = seconds > 0 ? (long)seconds : 0;
    if (whole < 60)
        snprintf(out, size, "%lds", whole);
    else if (whole < 3600)
        snprintf(out, size, "%ldm%02ld", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(out, size, "%ldh%02ld", whole / 3600, whole / 60 % 60);
    else
        snprintf(out, size, "%ldd%02ldh", whole / 86400, whole / 3600 % 24);
}

struct extent {
    double low, high;
};

static void widen(struct extent *extent, double value)
{
    if (isnan(value))
        return;
    extent->low = fmin(extent->low, value);
    extent->high = fmax(extent->high, value);
}

static bool is_wide(const struct top_style *style)
{
    return style->columns >= 110;
}

static enum status process_head(const struct top_style *style, struct buffer *text)
{
    struct line line = begin(style, text);
    paint(&line, "7");
    put(&line, "%-12s %8s %-8s %6s %8s %8s %4s %9s %8s", "PROCESS", "PID", "STATE", "UP",
        "RESTARTS", "VERSION", "LAG", "WORK", "TOK/S");
    put(&line, " %5s", is_wide(style) ? "IDLE" : "");
    if (is_wide(style))
        put(&line, "  %-12s %-8s %-22s %s", "HOST", "DEVICE", "METRICS", "LAST END");
    put(&line, "%*s", (int)(style->columns - line.used), "");
    paint(&line, "0");
    return end(&line);
}

/* Least and most over all processes: one slow among hundreds is seen without scrolling. */
static enum status process_extent(const struct top_view *view, bool most,
                                  const struct top_style *style, struct buffer *text)
{
    enum { VALUES = 6 };
    struct extent extents[VALUES];
    for (size_t v = 0; v < VALUES; v++)
        extents[v] = (struct extent){INFINITY, -INFINITY};
    for (size_t i = 0; i < view->process_count; i++) {
        const struct top_process *process = &view->processes[i];
        if (strncmp(process->name, "actor.", 6) != 0)
            continue;
        const double values[VALUES] = {process->up_s, process->restarts, process->version,
                                       process->lag,  process->work,     process->tokens_s};
        for (size_t v = 0; v < VALUES; v++)
            widen(&extents[v], values[v]);
    }
    double shown[VALUES];
    for (size_t v = 0; v < VALUES; v++)
        shown[v] = !(extents[v].high >= extents[v].low) ? NAN
                   : most                               ? extents[v].high
                                                        : extents[v].low;
    struct line line = begin(style, text);
    char age[40] = "-";
    if (!isnan(shown[0]))
        short_age(shown[0], age, sizeof age);
    paint(&line, "2");
    put(&line, "%-12s %8s %-8s %6s", most ? "actors max" : "actors min", "", "", age);
    put_number(&line, 8, 0, shown[1]);
    put_number(&line, 8, 0, shown[2]);
    put_number(&line, 4, 0, shown[3]);
    put_number(&line, 9, 0, shown[4]);
    put_number(&line, 8, 0, shown[5]);
    paint(&line, "0");
    return end(&line);
}

static enum status process_line(const struct top_process *process, const struct top_style *style,
                                struct buffer *text)
{
    struct line line = begin(style, text);
    char age[40] = "-", work[24] = "-", pid[24] = "-";
    if (!isnan(process->up_s))
        short_age(process->up_s, age, sizeof age);
    if (!isnan(process->work))
        snprintf(work, sizeof work, "%.0f/%.0f", process->work, process->room);
    if (process->pid > 0)
        snprintf(pid, sizeof pid, "%ld", process->pid);
    paint(&line, process->sick ? "1;31" : strcmp(process->state, "running") != 0 ? "33" : "0");
    put(&line, "%-12.12s %8.8s %-8.9s %6.7s", process->name, pid, process->state, age);
    put_number(&line, 8, 0, process->restarts);
    put_number(&line, 8, 0, process->version);
    put_number(&line, 4, 0, process->lag);
    put(&line, " %9.9s", work);
    put_number(&line, 8, 0, process->tokens_s);
    if (is_wide(style)) {
        if (isnan(process->idle))
            put(&line, " %5s", "-");
        else
            put(&line, " %4.0f%%", 100 * process->idle);
        put(&line, "  %-12.12s %-8.8s %-22.22s %s", process->host, process->device, process->http,
            process->end);
    }
    paint(&line, "0");
    return end(&line);
}

static enum status processes(const struct top_view *view, const struct top_style *style,
                             size_t room, size_t *scroll_max, struct buffer *text)
{
    size_t actors = 0, shown = view->process_count < room ? view->process_count : room;
    for (size_t i = 0; i < view->process_count; i++)
        actors += strncmp(view->processes[i].name, "actor.", 6) == 0;
    TRY(process_head(style, text));
    if (actors > 1) {
        TRY(process_extent(view, false, style, text));
        TRY(process_extent(view, true, style, text));
        shown = view->process_count + 2 < room ? view->process_count : room > 2 ? room - 2 : 0;
    }
    *scroll_max = view->process_count - shown;
    size_t from = style->scroll < *scroll_max ? style->scroll : *scroll_max;
    for (size_t i = from; i < from + shown; i++)
        TRY(process_line(&view->processes[i], style, text));
    return STATUS_OK;
}

static enum status key_line(const struct top_view *view, const struct top_style *style,
                            size_t scroll_max, size_t used, struct buffer *text)
{
    for (size_t i = used + 1; i < style->rows; i++)
        TRY(buffer_text(text, "\n"));
    struct line line = begin(style, text);
    paint(&line, "2");
    put(&line, "q quit  left/right other curves");
    if (scroll_max > 0)
        put(&line, "  up/down %zu more of %zu processes", scroll_max, view->process_count);
    paint(&line, "0");
    return line.status;
}

/* ---- the page ---- */

static unsigned curve_height(const struct top_view *view, const struct top_style *style)
{
    size_t wanted = view->process_count > PROCESSES_WANTED ? view->process_count : PROCESSES_WANTED;
    size_t most = LINES_FIXED + wanted;
    if (style->rows <= most)
        wanted =
            PROCESSES_WANTED; /* a table that needs scrolling anyway leaves some to the curves */
    if (style->rows == 0 || style->rows <= LINES_FIXED + wanted)
        return 1;
    size_t height = (style->rows - LINES_FIXED - wanted) / TOP_CURVES_SHOWN + 1;
    return height < CURVE_HEIGHT_MAX ? (unsigned)height : CURVE_HEIGHT_MAX;
}

static size_t count_lines(const struct buffer *text, size_t from)
{
    size_t count = 0;
    for (size_t i = from; i < text->size; i++)
        count += text->bytes[i] == '\n';
    return count;
}

enum status top_page(const struct top_view *view, const struct top_style *given, size_t *scroll_max,
                     struct buffer *text)
{
    struct top_style fit = *given;
    const struct top_style *style = &fit;
    size_t from = text->size;
    fit.columns = fit.columns < TOP_COLUMNS_MIN   ? TOP_COLUMNS_MIN
                  : fit.columns > TOP_COLUMNS_MAX ? TOP_COLUMNS_MAX
                                                  : fit.columns;
    TRY(head(view, style, text));
    TRY(sentence(style, "waits   ", "0", view->because, text));
    TRY(alarm_lines(view, style, text));
    unsigned height = curve_height(view, style);
    size_t first = style->curves % (TOP_CURVES / TOP_CURVES_SHOWN) * TOP_CURVES_SHOWN;
    for (size_t i = first; i < first + TOP_CURVES_SHOWN; i++)
        TRY(curve_lines(&view->curves[i], top_curve_rows[i].label, height, style, text));
    TRY(figures(view, style, text));
    TRY(buffer_text(text, "\n"));
    size_t used = count_lines(text, from) + 1 + (style->keys ? 1 : 0);
    size_t room = style->rows == 0     ? TOP_PROCESSES_MAX + 2
                  : style->rows > used ? style->rows - used
                                       : 0;
    TRY(processes(view, style, room, scroll_max, text));
    if (style->keys)
        TRY(key_line(view, style, *scroll_max, count_lines(text, from), text));
    return STATUS_OK;
}

enum status top_line(const struct top_view *view, struct buffer *text)
{
    size_t actors = 0, running = 0, sick = 0;
    for (size_t i = 0; i < view->process_count; i++) {
        const struct top_process *process = &view->processes[i];
        bool actor = strncmp(process->name, "actor.", 6) == 0;
        actors += actor;
        running += actor && strcmp(process->state, "running") == 0;
        sick += process->sick;
    }
    if (view->last != NULL)
        TRY(step_line(view->last, (uint64_t)view->steps, text));
    else
        TRY(buffer_text(text, "no step yet"));
    return buffer_printf(text, " | actors %zu/%zu, sick %zu, alarms %zu | %s\n", running, actors,
                         sick, view->alarm_count, view->because);
}
