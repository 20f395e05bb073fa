/* core/trend.h - does a noisy series climb? The least-squares line through a window and how sure its slope is.
 *
 * Training curves are autocorrelated: for a random walk the textbook z of a slope passes 4 in three windows of ten.
 * z is therefore the larger one in size of two:
 *   - slope / standard error, the error widened by sqrt((1 + r) / (1 - r)), r the lag-1 autocorrelation of the
 *     residuals corrected for its small-sample bias by + (1 + 4 r) / n (Kendall 1954) and kept in [0, 0.97];
 *   - mean / standard error of the differences, which is exact for a random walk with drift and strong for a smooth
 *     curve, whose residuals look autocorrelated only because a line does not fit it.
 * docs/length-bias.md has the measured error rates. Pure, any thread. */
#ifndef CORE_TREND_H
#define CORE_TREND_H

#include <stdint.h>

#include "core/status.h"

C_BEGIN

struct trend {
    uint32_t points;
    double mean;
    double slope;   /* of y for each unit of x */
    double change;  /* slope * (last x - first x) */
    double z;       /* as above; same sign as the slope, 0 for a constant, at most 1e6 in size */
    double z_plain; /* slope / standard error as if the residuals were independent */
    double
        error; /* standard error of `change`, widened by the memory of the residuals as in z; 0 for < 4 points */
};

/* x [points] strictly increasing, y [points], all finite (CHECKed). Fewer than 4 points: z is 0. */
void trend_fit(const double *x, const double *y, uint32_t points, struct trend *trend);

C_END
#endif
