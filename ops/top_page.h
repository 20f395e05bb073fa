/* ops/top_page.h - the page of `weir top` as lines of text, none wider than the screen. Pure. */
#ifndef OPS_TOP_PAGE_H
#define OPS_TOP_PAGE_H

#include "ops/top_view.h"

enum { TOP_COLUMNS_MIN = 20, TOP_COLUMNS_MAX = 500 };

struct top_style {
    unsigned columns, rows;     /* rows 0: as many as there is to say */
    bool colour, unicode, keys; /* keys: a last line that names them */
    size_t scroll;              /* processes above the first one shown; the page clamps it */
    size_t curves;              /* which TOP_CURVES_SHOWN curves, from 0 */
};

/* Appends. *scroll_max: the largest scroll that shows something new. */
MUST_CHECK enum status top_page(const struct top_view *view, const struct top_style *style,
                                size_t *scroll_max, struct buffer *text);
/* One line without colours: step, wait, workers; for output that is no terminal. */
MUST_CHECK enum status top_line(const struct top_view *view, struct buffer *text);

#endif
