/* learner/alarms.h - what a learner raises its voice about; a pure collector.
 *
 * An alarm is a sentence: it is logged at once and kept until the step's line of metrics.jsonl, whose "alarm" key
 * carries all of a step; the store makes an event of kind alarm of it (`weir events`, the dashboard). One thread.
 *
 *     alarms_raise(&alarms, "group 7 is left out: ...");
 *     alarms_grad_norm(&alarms, stats.grad_norm, settings->learner.grad_norm_alarm);
 *     alarms_spike(&alarms, ALARM_LOSS, stats.loss, settings->learner.loss_spike_alarm);
 *
 * What was seen before is forgotten when the process ends. docs/stability.md has the rates of false and missed alarms. */
#ifndef LEARNER_ALARMS_H
#define LEARNER_ALARMS_H

#include <stdbool.h>

#include "core/buffer.h"

C_BEGIN

enum {
    ALARM_NORMS = 64,      /* whose median a gradient norm is compared with */
    ALARM_NORMS_LEAST = 8, /* fewer say nothing */
    ALARM_TEXT_MAX = 4096  /* of one step; later ones are counted and logged only */
};

/* Watched series. A policy loss hovers around 0 and says nothing, so a run watches the others; `weir sft` its loss. */
enum alarm_series {
    ALARM_LOSS,
    ALARM_GRAD_NORM,
    ALARM_ENTROPY,
    ALARM_RATIO,
    ALARM_K3_KL,
    ALARM_SERIES
};
enum {
    ALARM_SPIKE_LEAST = 16,       /* values before it that a spike is judged by, at least */
    ALARM_ENTROPY_REFERENCE = 16, /* first entropies, whose median is what it was at first */
    ALARM_ENTROPY_LAST = 8        /* whose median is what it is now */
};

struct alarm_window {
    double values[ALARM_NORMS]; /* a ring */
    uint64_t count;
    bool raised; /* and not yet back */
};

struct alarms {
    struct buffer text; /* of this step, "; " between sentences */
    uint64_t count;     /* since the process began */
    double norms[ALARM_NORMS];
    uint64_t norm_count; /* since the process began: a ring */
    struct alarm_window series[ALARM_SERIES];
    double entropy_reference[ALARM_ENTROPY_REFERENCE], entropy_last[ALARM_ENTROPY_LAST];
    uint64_t entropy_count;
    bool entropy_raised;
    uint32_t non_finite_row; /* updates skipped in a row because something was not finite */
};

void alarms_init(struct alarms *alarms);
void alarms_free(struct alarms *alarms);
void alarms_raise(struct alarms *alarms, const char *format, ...) PRINTF_LIKE(2, 3);
/* Raises when norm > factor times the median of the last ALARM_NORMS norms; then norm joins them. factor 0: never.
 * The median does not follow an outlier, as a mean would. */
void alarms_grad_norm(struct alarms *alarms, double norm, double factor);
/* z = (x - expected) / max(1.4826 MAD, floor); expected: the median, or where the series falls the line through the
 * medians of its halves, over the last ALARM_NORMS values (MAD: median absolute deviation; 1.4826
 * makes it the standard deviation of a normal series), of the logarithm for what spans decades (gradient norm, KL);
 * of the ratio |x - expected|. Raises when z > threshold; then not again until z is below half of it. The floor, of each
 * series its own, keeps a series that hardly moves from raising at nothing. threshold 0: never. */
void alarms_spike(struct alarms *alarms, enum alarm_series series, double value, double threshold);
/* Raises when the median of the last ALARM_ENTROPY_LAST entropies is below share times the median of the first
 * ALARM_ENTROPY_REFERENCE; again only after it was above twice that. share 0: never. */
void alarms_entropy(struct alarms *alarms, double entropy, double share);
/* NULL: none since the last alarms_clear. */
const char *alarms_text(struct alarms *alarms);
void alarms_clear(struct alarms *alarms);

C_END
#endif
