#include "learner/alarms.h"

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

const char *alarms_text(struct alarms *alarms)
{
    return alarms->text.size > 0 ? buffer_string(&alarms->text) : NULL;
}

void alarms_clear(struct alarms *alarms)
{
    buffer_clear(&alarms->text);
}
