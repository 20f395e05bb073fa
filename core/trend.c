#include "core/trend.h"

#include <math.h>

#include "core/check.h"

/* Changes below this share of the values are rounding, and no standard error is smaller. */
#define ROUNDING    1e-9
#define Z_MOST      1e6
#define MEMORY_MOST 0.97   /* of the lag-1 autocorrelation: a longer one cannot be told from 1 */
enum { POINTS_LEAST = 4 }; /* two residual degrees of freedom, three differences */

static double mean_of(const double *y, uint32_t points)
{
    double sum = 0;
    for (uint32_t i = 0; i < points; i++)
        sum += y[i];
    return sum / points;
}

static double clamped_ratio(double value, double error, double scale)
{
    double least = ROUNDING * ROUNDING + ROUNDING * 1e-3 * scale;
    double ratio = value / fmax(error, least);
    return fmax(-Z_MOST, fmin(Z_MOST, ratio));
}

/* Mean over standard error of the differences. */
static double difference_z(const double *y, uint32_t points, double scale)
{
    double mean = (y[points - 1] - y[0]) / (points - 1), squares = 0;
    for (uint32_t i = 1; i < points; i++) {
        double d = y[i] - y[i - 1] - mean;
        squares += d * d;
    }
    return clamped_ratio(mean, sqrt(squares / (points - 2) / (points - 1)), scale);
}

struct residuals {
    double squares;  /* sum of r[i]^2 */
    double products; /* sum of r[i] * r[i - 1] */
};

static struct residuals residuals_of(const double *x, const double *y, const struct trend *trend,
                                     double mean_x)
{
    struct residuals sums = {0, 0};
    double before = 0;
    for (uint32_t i = 0; i < trend->points; i++) {
        double r = y[i] - trend->mean - trend->slope * (x[i] - mean_x);
        sums.squares += r * r;
        sums.products += i > 0 ? r * before : 0;
        before = r;
    }
    return sums;
}

void trend_fit(const double *x, const double *y, uint32_t points, struct trend *trend)
{
    *trend = (struct trend){.points = points};
    if (points == 0)
        return;
    double mean_x = mean_of(x, points), squares_x = 0, products = 0, scale = 0;
    trend->mean = mean_of(y, points);
    for (uint32_t i = 0; i < points; i++) {
        CHECK(isfinite(x[i]) && isfinite(y[i]) && (i == 0 || x[i] > x[i - 1]));
        squares_x += (x[i] - mean_x) * (x[i] - mean_x);
        products += (x[i] - mean_x) * (y[i] - trend->mean);
        scale = fmax(scale, fabs(y[i]));
    }
    if (points < 2)
        return;
    trend->slope = products / squares_x;
    trend->change = trend->slope * (x[points - 1] - x[0]);
    if (points < POINTS_LEAST)
        return;
    struct residuals sums = residuals_of(x, y, trend, mean_x);
    double memory = sums.squares > 0 ? sums.products / sums.squares : 0;
    memory = fmax(0, fmin(MEMORY_MOST, memory + (1 + 4 * memory) / points));
    double error = sqrt(sums.squares / (points - 2) / squares_x);
    trend->error = error * sqrt((1 + memory) / (1 - memory)) * (x[points - 1] - x[0]);
    if (fabs(trend->change) <= ROUNDING * scale)
        return;
    double per_x = 1 / (x[points - 1] - x[0]); /* the scale of a slope is that of y for each x */
    trend->z_plain = clamped_ratio(trend->slope, error, scale * per_x);
    trend->z = trend->z_plain * sqrt((1 - memory) / (1 + memory));
    double z_differences = difference_z(y, points, scale);
    if (z_differences * trend->slope > 0 && fabs(z_differences) > fabs(trend->z))
        trend->z = z_differences;
}
