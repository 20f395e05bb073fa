/* learner/alarms.h - what a learner raises its voice about; a pure collector.
 *
 * An alarm is a sentence: it is logged at once and kept until the step's line of metrics.jsonl, whose "alarm" key
 * carries all of a step; the store makes an event of kind alarm of it (`weir events`, the dashboard). One thread.
 *
 *     alarms_raise(&alarms, "group 7 is left out: ...");
 *     alarms_grad_norm(&alarms, stats.grad_norm, settings->learner.grad_norm_alarm);  */
#ifndef LEARNER_ALARMS_H
#define LEARNER_ALARMS_H

#include "core/buffer.h"

C_BEGIN

enum {
    ALARM_NORMS = 64,      /* whose median a gradient norm is compared with */
    ALARM_NORMS_LEAST = 8, /* fewer say nothing */
    ALARM_TEXT_MAX = 4096  /* of one step; later ones are counted and logged only */
};

struct alarms {
    struct buffer text; /* of this step, "; " between sentences */
    uint64_t count;     /* since the process began */
    double norms[ALARM_NORMS];
    uint64_t norm_count;     /* since the process began: a ring */
    uint32_t non_finite_row; /* updates skipped in a row because something was not finite */
};

void alarms_init(struct alarms *alarms);
void alarms_free(struct alarms *alarms);
void alarms_raise(struct alarms *alarms, const char *format, ...) PRINTF_LIKE(2, 3);
/* Raises when norm > factor times the median of the last ALARM_NORMS norms; then norm joins them. factor 0: never.
 * The median does not follow an outlier, as a mean would. */
void alarms_grad_norm(struct alarms *alarms, double norm, double factor);
/* NULL: none since the last alarms_clear. */
const char *alarms_text(struct alarms *alarms);
void alarms_clear(struct alarms *alarms);

C_END
#endif
