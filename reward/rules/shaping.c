#include "reward/rules/shaping.h"

#include <math.h>

double overlong_dapo(int64_t max_len, int64_t cache, int64_t length)
{
    int64_t free_len = max_len - cache;
    if (length <= free_len)
        return 0.0;
    if (length <= max_len)
        return (double)(free_len - length) / (double)cache;
    return -1.0;
}

double overlong_verl(int64_t max_len, int64_t buffer, double factor, int64_t length)
{
    int64_t over = length - (max_len - buffer);
    double penalty = (double)-over / (double)buffer * factor;
    return penalty < 0.0 ? penalty : 0.0;
}

double score_clip(double score, double low, double high)
{
    if (!isfinite(score))
        return NAN;
    return score < low ? low : score > high ? high : score;
}

double score_scaled(double score, enum score_scale scale)
{
    return scale == SCORE_SCALE_PM1 ? 2.0 * score - 1.0 : score;
}

void score_norm_add(struct score_norm *norm, double score)
{
    if (!isfinite(score))
        return;
    norm->count += 1.0;
    double delta = score - norm->mean;
    norm->mean += delta / norm->count;
    norm->squares += delta * (score - norm->mean);
    if (norm->window > 1.0 && norm->count > norm->window) {
        norm->squares *= norm->window / norm->count;
        norm->count = norm->window;
    }
}

double score_norm_deviation(const struct score_norm *norm)
{
    return norm->count < 2.0 ? 0.0 : sqrt(norm->squares / (norm->count - 1.0));
}

double score_normalised(const struct score_norm *norm, double score, double warmup, double bound)
{
    if (norm->count < warmup || norm->count < 2.0)
        return score_clip(score, -bound, bound);
    double deviation = score_norm_deviation(norm);
    if (deviation < 1e-12 * (1.0 + fabs(norm->mean)))
        return 0.0;
    return score_clip((score - norm->mean) / deviation, -bound, bound);
}

static double log_length(int64_t length)
{
    return log(length < 1 ? 1.0 : (double)length);
}

void score_length_correct(double *scores, const int64_t *lengths, size_t count, double slope)
{
    double mean = 0.0;
    for (size_t i = 0; i < count; i++)
        mean += (log_length(lengths[i]) - mean) / (double)(i + 1);
    for (size_t i = 0; i < count; i++)
        scores[i] -= slope * (log_length(lengths[i]) - mean);
}
