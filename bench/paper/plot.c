#include "bench/paper/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"

enum {
    PANEL_WIDTH = 460,
    PANEL_HEIGHT = 340,
    LEFT = 66,
    RIGHT = 16,
    TOP = 38,
    BOTTOM = 52,
    LEGEND_LINE = 18,
    LETTER = 7 /* pixels of a letter of the legend, at most */
};

/* ---- ticks ---- */

static uint32_t linear_ticks(double low, double high, double ticks[PLOT_TICKS_MAX])
{
    double rough = (high - low) / 5, power = pow(10, floor(log10(rough))), part = rough / power;
    double step = power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
    uint32_t count = 0;
    for (double k = ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++)
        if (count < PLOT_TICKS_MAX)
            ticks[count++] = k * step;
    return count;
}

static uint32_t log_ticks(double low, double high, double ticks[PLOT_TICKS_MAX])
{
    int first = (int)ceil(log10(low) - 1e-9), last = (int)floor(log10(high) + 1e-9);
    int every = (last - first) / 7 + 1;
    static const double parts[] = {1, 2, 5};
    uint32_t count = 0;
    if (last - first >= 2) {
        for (int d = first; d <= last && count < PLOT_TICKS_MAX; d += every)
            ticks[count++] = pow(10, d);
        return count;
    }
    for (int d = first - 1; d <= last; d++)
        for (int p = 0; p < 3; p++) {
            double value = parts[p] * pow(10, d);
            if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9) && count < PLOT_TICKS_MAX)
                ticks[count++] = value;
        }
    return count;
}

uint32_t plot_ticks(double low, double high, bool logarithmic, double ticks[PLOT_TICKS_MAX])
{
    uint32_t count = logarithmic ? log_ticks(low, high, ticks) : linear_ticks(low, high, ticks);
    if (count >= 2)
        return count;
    ticks[0] = low;
    ticks[1] = high;
    return 2;
}

/* ---- scales ---- */

struct scale {
    double low, high;  /* of the data; logarithms on a log axis */
    double at, length; /* pixels; a negative length runs upwards */
    bool logarithmic;
};

static bool shown(const struct scale *scale, double value)
{
    return isfinite(value) && (!scale->logarithmic || value > 0);
}

static double pixel(const struct scale *scale, double value)
{
    double v = scale->logarithmic ? log10(value) : value;
    double part = (v - scale->low) / (scale->high - scale->low);
    return scale->at + scale->length * (part < 0 ? 0 : part > 1 ? 1 : part);
}

static void stretch(struct scale *scale, double value)
{
    if (!shown(scale, value))
        return;
    double v = scale->logarithmic ? log10(value) : value;
    scale->low = fmin(scale->low, v);
    scale->high = fmax(scale->high, v);
}

static void settle(struct scale *scale)
{
    if (!(scale->low <= scale->high)) { /* nothing to show */
        scale->low = 0;
        scale->high = 1;
    }
    if (scale->high - scale->low < 1e-12 * fmax(1, fabs(scale->high))) {
        scale->low -= 0.5;
        scale->high += 0.5;
    }
}

static struct scale x_scale(const struct plot *plot)
{
    struct scale scale = {INFINITY, -INFINITY, LEFT, PANEL_WIDTH - LEFT - RIGHT, plot->x_log};
    for (uint32_t s = 0; s < plot->series_count; s++)
        for (uint32_t i = 0; i < plot->series[s].count; i++)
            stretch(&scale, plot->series[s].x[i]);
    if (plot->x_name_count > 0) {
        scale.low = -0.5;
        scale.high = plot->x_name_count - 0.5;
    }
    settle(&scale);
    return scale;
}

static struct scale y_scale(const struct plot *plot, double top)
{
    struct scale scale = {INFINITY, -INFINITY, PANEL_HEIGHT - BOTTOM, 0, plot->y_log};
    scale.length = -(scale.at - top);
    if (plot->y_min != 0 || plot->y_max != 0) {
        scale.low = plot->y_log ? log10(plot->y_min) : plot->y_min;
        scale.high = plot->y_log ? log10(plot->y_max) : plot->y_max;
        return scale;
    }
    for (uint32_t s = 0; s < plot->series_count; s++) {
        const struct plot_series *series = &plot->series[s];
        for (uint32_t i = 0; i < series->count; i++) {
            stretch(&scale, series->y[i]);
            if (series->low != NULL)
                stretch(&scale, series->low[i]);
            if (series->high != NULL)
                stretch(&scale, series->high[i]);
        }
        if (series->kind == PLOT_BARS)
            stretch(&scale, 0);
    }
    if (plot->mark != 0)
        stretch(&scale, plot->mark);
    settle(&scale);
    double room = (scale.high - scale.low) * 0.04;
    scale.low -= scale.low == 0 ? 0 : room;
    scale.high += room;
    return scale;
}

/* ---- text ---- */

static enum status text(struct buffer *svg, const char *words)
{
    for (const char *c = words; *c != '\0'; c++) {
        const char *entity = *c == '<' ? "&lt;" : *c == '>' ? "&gt;" : *c == '&' ? "&amp;" : NULL;
        TRY(entity ? buffer_text(svg, entity) : buffer_append(svg, c, 1));
    }
    return STATUS_OK;
}

static enum status label(struct buffer *svg, double x, double y, const char *class,
                         const char *words)
{
    TRY(buffer_printf(svg, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class));
    TRY(text(svg, words));
    return buffer_text(svg, "</text>\n");
}

static enum status line(struct buffer *svg, const char *class, double x1, double y1, double x2,
                        double y2)
{
    return buffer_printf(svg,
                         "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                         class, x1, y1, x2, y2);
}

static void number(char *out, size_t size, double value)
{
    bool small = value != 0 && fabs(value) < 1e-3;
    snprintf(out, size, small ? "%.0e" : "%.6g", value == 0 ? 0 : value);
    char *exponent = strstr(out, "e-0");
    if (exponent != NULL)
        memmove(exponent + 2, exponent + 3, strlen(exponent + 3) + 1);
    exponent = strstr(out, "e+0");
    if (exponent != NULL)
        memmove(exponent + 1, exponent + 3, strlen(exponent + 3) + 1);
}

/* ---- legend ---- */

static double entry_width(const char *name)
{
    return 34 + (double)strlen(name) * LETTER;
}

/* Draws when svg is not NULL; the lines it takes. */
static enum status legend(struct buffer *svg, const struct plot *plot, uint32_t *lines)
{
    double x = LEFT;
    *lines = 0;
    for (uint32_t s = 0; s < plot->series_count; s++) {
        const char *name = plot->series[s].name;
        if (name == NULL)
            continue;
        if (*lines == 0 || x + entry_width(name) > PANEL_WIDTH - RIGHT) {
            *lines += 1;
            x = LEFT;
        }
        double y = TOP + *lines * LEGEND_LINE - 8;
        char class[16];
        snprintf(class, sizeof class, "%s%u", plot->series[s].kind == PLOT_LINE ? "s" : "f", s);
        if (svg != NULL && plot->series[s].kind == PLOT_LINE)
            TRY(line(svg, class, x, y - 4, x + 24, y - 4));
        else if (svg != NULL)
            TRY(buffer_printf(svg,
                              "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"10\" "
                              "height=\"10\"/>\n",
                              class, x + 8, y - 9));
        if (svg != NULL)
            TRY(label(svg, x + 28, y, "legend", name));
        x += entry_width(name) + 8;
    }
    return STATUS_OK;
}

/* ---- panel ---- */

static enum status axes(struct buffer *svg, const struct plot *plot, const struct scale *x,
                        const struct scale *y)
{
    double ticks[PLOT_TICKS_MAX], right = x->at + x->length, top = y->at + y->length;
    char words[32];
    uint32_t count = plot_ticks(y->logarithmic ? pow(10, y->low) : y->low,
                                y->logarithmic ? pow(10, y->high) : y->high, y->logarithmic, ticks);
    for (uint32_t i = 0; i < count; i++) {
        double at = pixel(y, ticks[i]);
        number(words, sizeof words, ticks[i]);
        TRY(line(svg, "grid", x->at, at, right, at));
        TRY(label(svg, x->at - 7, at + 4, "y", words));
    }
    count = plot->x_name_count > 0
                ? 0
                : plot_ticks(x->logarithmic ? pow(10, x->low) : x->low,
                             x->logarithmic ? pow(10, x->high) : x->high, x->logarithmic, ticks);
    for (uint32_t i = 0; i < count; i++) {
        double at = pixel(x, ticks[i]);
        number(words, sizeof words, ticks[i]);
        TRY(line(svg, "axis", at, y->at, at, y->at + 5));
        TRY(label(svg, at, y->at + 18, "x", words));
    }
    for (uint32_t i = 0; i < plot->x_name_count; i++)
        TRY(label(svg, pixel(x, i), y->at + 18, "x", plot->x_names[i]));
    TRY(line(svg, "axis", x->at, y->at, right, y->at));
    TRY(line(svg, "axis", x->at, y->at, x->at, top));
    TRY(label(svg, x->at + x->length / 2, PANEL_HEIGHT - 14, "x name", plot->x_label));
    TRY(buffer_printf(svg, "<text class=\"x name\" transform=\"translate(14 %.1f) rotate(-90)\">",
                      (y->at + top) / 2));
    TRY(text(svg, plot->y_label));
    return buffer_text(svg, "</text>\n");
}

static enum status band(struct buffer *svg, const struct plot_series *series, uint32_t index,
                        const struct scale *x, const struct scale *y)
{
    if (series->low == NULL || series->high == NULL)
        return STATUS_OK;
    TRY(buffer_printf(svg, "<polygon class=\"b%u\" points=\"", index));
    for (uint32_t k = 0; k < 2 * series->count; k++) {
        uint32_t i = k < series->count ? k : 2 * series->count - 1 - k;
        double value = k < series->count ? series->low[i] : series->high[i];
        if (shown(x, series->x[i]) && shown(y, value))
            TRY(buffer_printf(svg, "%.1f,%.1f ", pixel(x, series->x[i]), pixel(y, value)));
    }
    return buffer_text(svg, "\"/>\n");
}

static enum status curve(struct buffer *svg, const struct plot_series *series, uint32_t index,
                         const struct scale *x, const struct scale *y)
{
    TRY(buffer_printf(svg, "<polyline class=\"s%u\" points=\"", index));
    for (uint32_t i = 0; i < series->count; i++)
        if (shown(x, series->x[i]) && shown(y, series->y[i]))
            TRY(buffer_printf(svg, "%.1f,%.1f ", pixel(x, series->x[i]), pixel(y, series->y[i])));
    return buffer_text(svg, "\"/>\n");
}

static enum status dots(struct buffer *svg, const struct plot_series *series, uint32_t index,
                        const struct scale *x, const struct scale *y)
{
    for (uint32_t i = 0; i < series->count; i++)
        if (shown(x, series->x[i]) && shown(y, series->y[i]))
            TRY(buffer_printf(svg, "<circle class=\"f%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"2\"/>\n",
                              index, pixel(x, series->x[i]), pixel(y, series->y[i])));
    return STATUS_OK;
}

/* Bars of several series share the place of an x: a fifth of it stays empty. */
static enum status bars(struct buffer *svg, const struct plot *plot, uint32_t index,
                        const struct scale *x, const struct scale *y)
{
    const struct plot_series *series = &plot->series[index];
    double place = x->length / (x->high - x->low) * 0.8, width = place / plot->series_count;
    for (uint32_t i = 0; i < series->count; i++) {
        if (!isfinite(series->y[i]))
            continue;
        double left = pixel(x, series->x[i]) - place / 2 + width * index;
        double top = pixel(y, series->y[i]), zero = y->logarithmic ? y->at : pixel(y, 0);
        TRY(buffer_printf(svg,
                          "<rect class=\"f%u\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                          "height=\"%.1f\"/>\n",
                          index, left, fmin(top, zero), width - 1, fabs(zero - top)));
        double error = series->high != NULL ? series->high[i] : NAN;
        if (series->low != NULL && isfinite(error))
            TRY(line(svg, "axis", left + width / 2, pixel(y, series->low[i]), left + width / 2,
                     pixel(y, error)));
    }
    return STATUS_OK;
}

static enum status panel(struct buffer *svg, const struct plot *plot)
{
    uint32_t lines = 0;
    TRY(legend(NULL, plot, &lines));
    struct scale x = x_scale(plot), y = y_scale(plot, TOP + (double)lines * LEGEND_LINE);
    TRY(label(svg, LEFT, 22, "title", plot->title));
    TRY(legend(svg, plot, &lines));
    TRY(axes(svg, plot, &x, &y));
    for (uint32_t s = 0; s < plot->series_count; s++)
        TRY(plot->series[s].kind == PLOT_LINE ? band(svg, &plot->series[s], s, &x, &y) : STATUS_OK);
    for (uint32_t s = 0; s < plot->series_count; s++) {
        const struct plot_series *series = &plot->series[s];
        TRY(series->kind == PLOT_LINE     ? curve(svg, series, s, &x, &y)
            : series->kind == PLOT_POINTS ? dots(svg, series, s, &x, &y)
                                          : bars(svg, plot, s, &x, &y));
    }
    if (plot->mark == 0)
        return STATUS_OK;
    double at = pixel(&y, plot->mark);
    TRY(line(svg, "mark", x.at, at, x.at + x.length, at));
    return plot->mark_name ? label(svg, x.at + x.length, at - 5, "y", plot->mark_name) : STATUS_OK;
}

/* ---- picture ---- */

static const char *const light[PLOT_SERIES_MAX] = {"#0072b2", "#d55e00", "#009e73", "#b07aa1",
                                                   "#c28a00", "#4a4a4a", "#56b4e9", "#7f3c8d"};
static const char *const dark[PLOT_SERIES_MAX] = {"#56b4e9", "#ff8c42", "#2fd3a3", "#e2a7cf",
                                                  "#f0c040", "#d0d0d0", "#9ad0f5", "#c08be0"};
static const char *const dashes[PLOT_SERIES_MAX] = {"none", "7 3",     "2 3", "10 3 2 3",
                                                    "none", "5 2 1 2", "1 2", "12 4"};

static enum status colours(struct buffer *svg, const char *const palette[PLOT_SERIES_MAX])
{
    for (int i = 0; i < PLOT_SERIES_MAX; i++)
        TRY(buffer_printf(svg, ".s%d{stroke:%s}.b%d,.f%d{fill:%s}\n", i, palette[i], i, i,
                          palette[i]));
    return STATUS_OK;
}

static enum status style(struct buffer *svg)
{
    TRY(buffer_text(svg, "<style>\n"
                         ".page{fill:#ffffff}text{font:12px 'DejaVu Sans',Verdana,sans-serif;"
                         "fill:#222222}\n"
                         ".title{font-size:14px;font-weight:bold}.x{text-anchor:middle}"
                         ".y{text-anchor:end}\n"
                         ".grid{stroke:#dddddd}.axis{stroke:#444444}"
                         ".mark{stroke:#444444;stroke-dasharray:3 3}\n"));
    for (int i = 0; i < PLOT_SERIES_MAX; i++)
        TRY(buffer_printf(svg,
                          ".s%d{fill:none;stroke-width:2;stroke-dasharray:%s}"
                          ".b%d{opacity:.18}.f%d{opacity:.85}\n",
                          i, dashes[i], i, i));
    TRY(colours(svg, light));
    TRY(buffer_text(svg, "@media (prefers-color-scheme:dark){\n"
                         ".page{fill:#14171c}text{fill:#e8e8e8}.grid{stroke:#33383f}"
                         ".axis,.mark{stroke:#b5b5b5}\n"));
    TRY(colours(svg, dark));
    return buffer_text(svg, "}\n</style>\n");
}

enum status plot_svg(const struct plot *panels, uint32_t count, uint32_t columns,
                     struct buffer *svg)
{
    if (count == 0 || columns == 0)
        return FAIL(STATUS_INVALID, "%u panels in %u columns", count, columns);
    uint32_t across = count < columns ? count : columns, down = (count + columns - 1) / columns;
    uint32_t width = across * PANEL_WIDTH, height = down * PANEL_HEIGHT;
    TRY(buffer_printf(svg,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" "
                      "width=\"%u\" height=\"%u\">\n",
                      width, height, width, height));
    TRY(style(svg));
    TRY(buffer_printf(svg, "<rect class=\"page\" width=\"%u\" height=\"%u\"/>\n", width, height));
    for (uint32_t p = 0; p < count; p++) {
        TRY(buffer_printf(svg, "<g transform=\"translate(%u %u)\">\n", p % columns * PANEL_WIDTH,
                          p / columns * PANEL_HEIGHT));
        TRY(panel(svg, &panels[p]));
        TRY(buffer_text(svg, "</g>\n"));
    }
    return buffer_text(svg, "</svg>\n");
}

enum status plot_write(const struct plot *panels, uint32_t count, uint32_t columns,
                       const char *path)
{
    struct buffer svg;
    buffer_init(&svg, 0);
    enum status status = plot_svg(panels, count, columns, &svg);
    if (status == STATUS_OK)
        status = file_replace(path, svg.bytes, svg.size);
    buffer_free(&svg);
    return status;
}
