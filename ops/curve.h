/* ops/curve.h - the reward curve as text: one line of blocks, or a chart for the end of a run.
 *
 * Holds at most CURVE_POINTS_MAX points; a longer run is halved by averaging neighbours, so the
 * picture stays whole and memory bounded. A step that comes again (a resumed learner) replaces what
 * it and later steps had. One thread. */
#ifndef OPS_CURVE_H
#define OPS_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum { CURVE_POINTS_MAX = 4096 };

struct curve {
    size_t count;
    uint32_t stride;  /* steps averaged in one point, a power of two; 0 counts as 1 */
    uint32_t in_last; /* steps in the last point */
    struct curve_point {
        uint64_t step; /* first of the point */
        double value;  /* mean */
    } points[CURVE_POINTS_MAX];
    double first, last; /* values of the first and the last step */
};

void curve_add(struct curve *curve, uint64_t step, double value);
/* `width` columns at most (fewer points give fewer), least to largest value; with `unicode` eight
 * block heights, otherwise "_.:-=+*#". Empty curve: nothing. */
MUST_CHECK enum status curve_line(const struct curve *curve, size_t width, bool unicode,
                                  struct buffer *text);
/* height rows with the value at the left and the steps below; ends with a newline. Plain ASCII. */
MUST_CHECK enum status curve_chart(const struct curve *curve, size_t width, size_t height,
                                   struct buffer *text);

#endif
