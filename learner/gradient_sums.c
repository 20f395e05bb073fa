#include "learner/gradient_sums.h"

#include <inttypes.h>
#include <math.h>

void gradient_sums_init(struct gradient_sums *sums)
{
    *sums = (struct gradient_sums){.least = INFINITY};
}

static int bin_of(double size)
{
    double place = floor((log10(size) - GRADIENT_DECADE_LEAST) * GRADIENT_BINS_A_DECADE);
    return place < 0 ? 0 : place >= GRADIENT_BINS ? GRADIENT_BINS - 1 : (int)place;
}

void gradient_sums_gradient(struct gradient_sums *sums, const float *gradient, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double size = fabs((double)gradient[i]);
        sums->sampled++;
        if (!isfinite(size)) {
            sums->non_finite++;
            continue;
        }
        if (size == 0) {
            sums->zeros++;
            continue;
        }
        sums->tiny += size < GRADIENT_TINY;
        sums->least = fmin(sums->least, size);
        sums->most = fmax(sums->most, size);
        sums->squares += size * size;
        sums->bins[bin_of(size)]++;
    }
}

void gradient_sums_pairs(struct gradient_sums *sums, const float *gradient, const float *before,
                         int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double x = gradient[i], y = before[i];
        if (!isfinite(x) || !isfinite(y))
            continue;
        sums->pairs++;
        sums->x += x;
        sums->y += y;
        sums->xx += x * x;
        sums->yy += y * y;
        sums->xy += x * y;
    }
}

void gradient_sums_update(struct gradient_sums *sums, const float *weight_before,
                          const float *weight_after, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double before = weight_before[i], moved = (double)weight_after[i] - before;
        sums->weight_squares += before * before;
        sums->update_squares += moved * moved;
    }
}

void gradient_sums_add(struct gradient_sums *sum, const struct gradient_sums *part)
{
    sum->sampled += part->sampled;
    sum->zeros += part->zeros;
    sum->tiny += part->tiny;
    sum->non_finite += part->non_finite;
    sum->least = fmin(sum->least, part->least);
    sum->most = fmax(sum->most, part->most);
    sum->squares += part->squares;
    sum->pairs += part->pairs;
    sum->x += part->x;
    sum->y += part->y;
    sum->xx += part->xx;
    sum->yy += part->yy;
    sum->xy += part->xy;
    sum->update_squares += part->update_squares;
    sum->weight_squares += part->weight_squares;
    for (int i = 0; i < GRADIENT_BINS; i++)
        sum->bins[i] += part->bins[i];
}

/* ---- what is said ---- */

static uint64_t counted(const struct gradient_sums *sums)
{
    return sums->sampled - sums->zeros - sums->non_finite;
}

/* How many elements one sampled element stands for. */
static double weight_of(const struct gradient_sums *sums, int64_t elements)
{
    return sums->sampled > 0 ? (double)elements / (double)sums->sampled : 0;
}

double gradient_sums_quantile(const struct gradient_sums *sums, const int64_t *elements,
                              uint32_t count, double share)
{
    double total = 0, before = 0;
    for (uint32_t g = 0; g < count; g++)
        total += weight_of(&sums[g], elements[g]) * (double)counted(&sums[g]);
    if (!(total > 0))
        return NAN;
    int last = 0;
    for (int bin = 0; bin < GRADIENT_BINS; bin++) {
        double here = 0;
        for (uint32_t g = 0; g < count; g++)
            here += weight_of(&sums[g], elements[g]) * sums[g].bins[bin];
        if (here > 0) {
            last = bin;
            before += here;
            if (before >= share * total)
                break;
        }
    }
    return GRADIENT_DECADE_LEAST + (last + 0.5) / GRADIENT_BINS_A_DECADE;
}

double gradient_sums_tiny(const struct gradient_sums *sums, const int64_t *elements, uint32_t count)
{
    double total = 0, tiny = 0;
    for (uint32_t g = 0; g < count; g++) {
        total += weight_of(&sums[g], elements[g]) * (double)counted(&sums[g]);
        tiny += weight_of(&sums[g], elements[g]) * (double)sums[g].tiny;
    }
    return total > 0 ? tiny / total : NAN;
}

double gradient_sums_pearson(const struct gradient_sums *sums)
{
    double n = (double)sums->pairs;
    if (sums->pairs == 0)
        return NAN;
    double xx = sums->xx - sums->x * sums->x / n, yy = sums->yy - sums->y * sums->y / n,
           xy = sums->xy - sums->x * sums->y / n;
    return xx > 0 && yy > 0 ? xy / (sqrt(xx) * sqrt(yy)) : NAN;
}

double gradient_sums_cosine(const struct gradient_sums *sums)
{
    return sums->xx > 0 && sums->yy > 0 ? sums->xy / (sqrt(sums->xx) * sqrt(sums->yy)) : NAN;
}

double gradient_sums_update_ratio(const struct gradient_sums *sums)
{
    return sums->weight_squares > 0 ? sqrt(sums->update_squares / sums->weight_squares) : NAN;
}

/* ,"key":value, null for what is no number. */
static enum status number(struct buffer *text, const char *key, double value)
{
    return isfinite(value) ? buffer_printf(text, ",\"%s\":%.6g", key, value)
                           : buffer_printf(text, ",\"%s\":null", key);
}

static enum status write_decades(const struct gradient_sums *sums, struct buffer *text)
{
    const char *comma = "";
    TRY(buffer_text(text, ",\"decades\":{"));
    for (int decade = 0; decade < GRADIENT_DECADES; decade++) {
        uint64_t count = 0;
        for (int i = 0; i < GRADIENT_BINS_A_DECADE; i++)
            count += sums->bins[decade * GRADIENT_BINS_A_DECADE + i];
        if (count == 0)
            continue;
        TRY(buffer_printf(text, "%s\"%d\":%" PRIu64, comma, decade + GRADIENT_DECADE_LEAST, count));
        comma = ",";
    }
    return buffer_text(text, "}");
}

enum status gradient_sums_json(const struct gradient_sums *sums, int64_t elements,
                               struct buffer *text)
{
    static const struct {
        const char *key;
        double share;
    } quantiles[] = {{"p01_log10", 0.01},
                     {"p10_log10", 0.1},
                     {"p50_log10", 0.5},
                     {"p90_log10", 0.9},
                     {"p99_log10", 0.99}};
    uint64_t finite = sums->sampled - sums->non_finite;
    TRY(buffer_printf(text, "\"elements\":%" PRId64 ",\"sampled\":%" PRIu64, elements,
                      sums->sampled));
    TRY(number(text, "zeros",
               sums->sampled > 0 ? (double)sums->zeros / (double)sums->sampled : NAN));
    TRY(number(text, "min", sums->least));
    TRY(number(text, "max", counted(sums) > 0 ? sums->most : NAN));
    TRY(number(text, "rms", finite > 0 ? sqrt(sums->squares / (double)finite) : NAN));
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        TRY(number(text, quantiles[i].key,
                   gradient_sums_quantile(sums, &elements, 1, quantiles[i].share)));
    TRY(number(text, "below_1e-14", gradient_sums_tiny(sums, &elements, 1)));
    TRY(number(text, "cosine", gradient_sums_cosine(sums)));
    TRY(number(text, "correlation", gradient_sums_pearson(sums)));
    TRY(number(text, "update_ratio", gradient_sums_update_ratio(sums)));
    return write_decades(sums, text);
}
