#include "ops/curve.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHART_WIDTH_MAX = 200, LEVELS = 8 };

static void halve(struct curve *curve)
{
    for (size_t i = 0; i < curve->count / 2; i++) {
        curve->points[i].step = curve->points[2 * i].step;
        curve->points[i].value = (curve->points[2 * i].value + curve->points[2 * i + 1].value) / 2;
    }
    curve->count /= 2;
    curve->stride *= 2;
    curve->in_last = curve->stride;
}

void curve_add(struct curve *curve, uint64_t step, double value)
{
    if (!isfinite(value))
        return;
    if (curve->stride == 0)
        curve->stride = 1;
    while (curve->count > 0 && curve->points[curve->count - 1].step >= step) {
        curve->count--; /* a step that is made again, and what came after it the first time */
        curve->in_last = curve->stride;
    }
    if (curve->count == 0)
        curve->first = value;
    curve->last = value;
    if (curve->count > 0 && curve->in_last < curve->stride) {
        struct curve_point *point = &curve->points[curve->count - 1];
        point->value += (value - point->value) / ++curve->in_last;
        return;
    }
    if (curve->count == CURVE_POINTS_MAX)
        halve(curve);
    curve->points[curve->count++] = (struct curve_point){.step = step, .value = value};
    curve->in_last = 1;
}

/* Mean of the points that fall into column `column` of `width`. */
static double column_value(const struct curve *curve, size_t column, size_t width)
{
    size_t from = column * curve->count / width, to = (column + 1) * curve->count / width;
    double sum = 0;
    for (size_t i = from; i < to; i++)
        sum += curve->points[i].value;
    return sum / (double)(to - from);
}

struct range {
    double low, high;
};

static struct range curve_range(const struct curve *curve, size_t width)
{
    struct range range = {INFINITY, -INFINITY};
    for (size_t x = 0; x < width; x++) {
        double value = column_value(curve, x, width);
        range.low = fmin(range.low, value);
        range.high = fmax(range.high, value);
    }
    return range;
}

/* 0 .. count - 1; a flat curve lies in the middle. */
static size_t level_of(double value, struct range range, size_t count)
{
    if (!(range.high > range.low))
        return count / 2;
    double level = (value - range.low) / (range.high - range.low) * (double)(count - 1) + 0.5;
    return level <= 0 ? 0 : level >= (double)count ? count - 1 : (size_t)level;
}

enum status curve_line(const struct curve *curve, size_t width, bool unicode, struct buffer *text)
{
    static const char *const blocks[LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const letters[LEVELS] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    if (width > curve->count)
        width = curve->count;
    struct range range = curve_range(curve, width);
    for (size_t x = 0; x < width; x++) {
        size_t level = level_of(column_value(curve, x, width), range, LEVELS);
        TRY(buffer_text(text, unicode ? blocks[level] : letters[level]));
    }
    return STATUS_OK;
}

enum status curve_chart(const struct curve *curve, size_t width, size_t height, struct buffer *text)
{
    if (curve->count == 0 || width == 0 || height == 0)
        return STATUS_OK;
    if (width > CHART_WIDTH_MAX)
        width = CHART_WIDTH_MAX;
    size_t points = width < curve->count ? width : curve->count;
    struct range range = curve_range(curve, points);
    size_t levels[CHART_WIDTH_MAX]; /* of each column; few points are stretched over the width */
    for (size_t x = 0; x < width; x++)
        levels[x] = level_of(column_value(curve, x * points / width, points), range, height);
    for (size_t row = height; row-- > 0;) {
        char line[CHART_WIDTH_MAX + 1];
        size_t used = 0;
        for (size_t x = 0; x < width; x++) {
            line[x] = levels[x] == row ? '*' : ' ';
            used = line[x] == '*' ? x + 1 : used;
        }
        line[used] = 0;
        double value =
            range.high > range.low && height > 1
                ? range.low + (range.high - range.low) * (double)row / (double)(height - 1)
                : range.low;
        bool labelled = range.high > range.low || row == height / 2;
        if (labelled)
            TRY(buffer_printf(text, "%9.3f |%s\n", value, line));
        else
            TRY(buffer_printf(text, "%9s |%s\n", "", line));
    }
    TRY(buffer_printf(text, "%9s +", ""));
    for (size_t x = 0; x < width; x++)
        TRY(buffer_text(text, "-"));
    char last[32];
    snprintf(last, sizeof last, "%" PRIu64,
             curve->points[curve->count - 1].step + curve->in_last - 1);
    TRY(buffer_printf(text, "\n%9s  %-*" PRIu64, "step",
                      (int)(width > strlen(last) ? width - strlen(last) : 1),
                      curve->points[0].step));
    return buffer_printf(text, "%s\n", last);
}
