#include "learner/alarms.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

void alarms_init(struct alarms *alarms)
{
    *alarms = (struct alarms){0};
    buffer_init(&alarms->text, ALARM_TEXT_MAX + 1024);
}

void alarms_free(struct alarms *alarms)
{
    buffer_free(&alarms->text);
}

void alarms_raise(struct alarms *alarms, const char *format, ...)
{
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    alarms->count++;
    LOG_ERROR("alarm", "raised", "why=\"%s\"", sentence);
    if (alarms->text.size + strlen(sentence) + 2 > ALARM_TEXT_MAX)
        return;
    enum status status = alarms->text.size > 0 ? buffer_text(&alarms->text, "; ") : STATUS_OK;
    if (status == STATUS_OK)
        status = buffer_text(&alarms->text, sentence);
    if (status != STATUS_OK)
        LOG_FAILURE("alarm", "is in the log only", status);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, size_t count)
{
    double sorted[ALARM_NORMS];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, by_value);
    return count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

void alarms_grad_norm(struct alarms *alarms, double norm, double factor)
{
    size_t known = alarms->norm_count < ALARM_NORMS ? (size_t)alarms->norm_count : ALARM_NORMS;
    if (factor > 0 && known >= ALARM_NORMS_LEAST) {
        double middle = median(alarms->norms, known);
        if (norm > factor * middle)
            alarms_raise(alarms,
                         "gradient norm %g is more than %g times %g, the median of the last %zu "
                         "(learner.grad_norm_alarm)",
                         norm, factor, middle, known);
    }
    alarms->norms[alarms->norm_count++ % ALARM_NORMS] = norm;
}

static const struct {
    const char *name;
    bool logarithm, both_sides;
    double floor, floor_share; /* of the deviation: absolute, and of |median| */
} watched[ALARM_SERIES] = {
    [ALARM_LOSS] = {"loss", false, false, 1e-6, 0.02},
    [ALARM_GRAD_NORM] = {"gradient norm", true, false, 0.1, 0},
    [ALARM_ENTROPY] = {"entropy", false, false, 1e-3, 0.02},
    [ALARM_RATIO] = {"mean importance ratio", false, true, 1e-3, 0},
    [ALARM_K3_KL] = {"k3 KL of streamed and trained policy", true, false, 0.2, 0},
};

/* What of a window a value is compared with. */
struct expected {
    double middle; /* of the next value */
    double scale;  /* 1.4826 times the median of |value - its own middle| */
};

/* A series that falls (a loss at the beginning of training) is expected to go on falling along the line through the
 * medians of its two halves; one that rises is not excused. */
static struct expected expect(const struct alarm_window *window, size_t count)
{
    double values[ALARM_NORMS] = {0}; /* oldest first */
    size_t half = count / 2;
    for (size_t i = 0; i < count; i++)
        values[i] = window->values[(window->count - count + i) % ALARM_NORMS];
    double slope =
        (median(values + count - half, half) - median(values, half)) / (double)(count - half);
    slope = fmin(slope, 0);
    for (size_t i = 0; i < count; i++)
        values[i] += slope * (double)(count - i);
    struct expected expected = {.middle = median(values, count)};
    for (size_t i = 0; i < count; i++)
        values[i] = fabs(values[i] - expected.middle);
    expected.scale = 1.4826 * median(values, count);
    return expected;
}

void alarms_spike(struct alarms *alarms, enum alarm_series series, double value, double threshold)
{
    struct alarm_window *window = &alarms->series[series];
    size_t known = window->count < ALARM_NORMS ? (size_t)window->count : ALARM_NORMS;
    bool logarithm = watched[series].logarithm;
    if (threshold <= 0 || !isfinite(value) || (logarithm && value <= 0))
        return;
    double x = logarithm ? log(value) : value;
    if (known >= ALARM_SPIKE_LEAST) {
        struct expected expected = expect(window, known);
        double middle = expected.middle, floor = watched[series].floor_share * fabs(middle);
        double scale = fmax(expected.scale, fmax(watched[series].floor, floor));
        double z = (watched[series].both_sides ? fabs(x - middle) : x - middle) / scale;
        if (z > threshold && !window->raised)
            alarms_raise(alarms,
                         "%s %g is %.1f robust deviations from %g, which the last %zu let expect "
                         "(learner.loss_spike_alarm is %g)",
                         watched[series].name, value, z, logarithm ? exp(middle) : middle, known,
                         threshold);
        window->raised = z > threshold || (window->raised && z > threshold / 2);
    }
    window->values[window->count++ % ALARM_NORMS] = x;
}

void alarms_entropy(struct alarms *alarms, double entropy, double share)
{
    if (share <= 0 || !isfinite(entropy))
        return;
    uint64_t seen = alarms->entropy_count++;
    alarms->entropy_last[seen % ALARM_ENTROPY_LAST] = entropy;
    if (seen < ALARM_ENTROPY_REFERENCE) {
        alarms->entropy_reference[seen] = entropy;
        return;
    }
    double first = median(alarms->entropy_reference, ALARM_ENTROPY_REFERENCE),
           now = median(alarms->entropy_last, ALARM_ENTROPY_LAST);
    if (now < share * first && !alarms->entropy_raised)
        alarms_raise(alarms,
                     "entropy %g of the last %d updates is below %g times %g, what it was at first "
                     "(learner.entropy_alarm): the policy has hardly a choice left to learn from",
                     now, ALARM_ENTROPY_LAST, share, first);
    alarms->entropy_raised =
        now < share * first || (alarms->entropy_raised && now < 2 * share * first);
}

const char *alarms_text(struct alarms *alarms)
{
    return alarms->text.size > 0 ? buffer_string(&alarms->text) : NULL;
}

void alarms_clear(struct alarms *alarms)
{
    buffer_clear(&alarms->text);
}
