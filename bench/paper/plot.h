/* bench/paper/plot.h - line plots, points and bars as SVG files, readable on light and dark pages.
 *
 * Panels stand side by side in one picture, each with axes, ticks of 1, 2 and 5 (decades on a log axis), a legend above
 * the data and a confidence band for each line. Colours are those of Okabe and Ito (2008), which colour-blind readers
 * tell apart; lines differ by their dashes as well. Pure, any thread. */
#ifndef BENCH_PAPER_PLOT_H
#define BENCH_PAPER_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum { PLOT_SERIES_MAX = 8, PLOT_TICKS_MAX = 16 };
enum plot_kind { PLOT_LINE, PLOT_POINTS, PLOT_BARS };

struct plot_series {
    const char *name; /* NULL: not in the legend */
    enum plot_kind kind;
    uint32_t count;
    const double *x,
        *y; /* [count]; a value that is not finite, or <= 0 on a log axis, is left out */
    const double *low, *high; /* [count] of the band, or NULL */
};

struct plot {
    const char *title, *x_label, *y_label;
    bool x_log, y_log;
    double y_min, y_max; /* both 0: from the data */
    double mark;         /* a dashed line across at this y; 0: none */
    const char *mark_name;
    const char *const *x_names; /* [x_name_count] under x = 0, 1, ..., instead of numbers */
    uint32_t x_name_count;
    struct plot_series series[PLOT_SERIES_MAX];
    uint32_t series_count;
};

/* Values from low to high, both included, at steps of 1, 2 or 5 times a power of ten; on a log axis at powers of ten, with
 * 2 and 5 between when there are few, or every second, third, ... power when there are many. At least two. */
uint32_t plot_ticks(double low, double high, bool logarithmic, double ticks[PLOT_TICKS_MAX]);
/* Panels from left to right, `columns` in a row. */
MUST_CHECK enum status plot_svg(const struct plot *panels, uint32_t count, uint32_t columns,
                                struct buffer *svg);
MUST_CHECK enum status plot_write(const struct plot *panels, uint32_t count, uint32_t columns,
                                  const char *path);

#endif
