/* core/length_bias.h - is the policy paid for length? The online monitor of a generative reward model.
 *
 * One monitor for each data source whose reward a judge gives. Three signals (docs/length-bias.md has the rule with its
 * numbers, error rates and blind spots):
 *   series   over the last `window` steps mean length and mean judge reward climb while verified success does not
 *   slope    within groups the judge pays more than slope_max for each doubling of length, `window` steps long
 *   padded   of two equal answers the judge prefers the one padded with neutral text
 * On an alarm the caller takes the source out (weight 0), has the judge recalibrated, and asks
 * length_bias_readmit before it lets the source in again.
 *
 * Bounded memory, O(window) a push. No clock, no randomness: the same pushes give the same answers. One thread. */
#ifndef CORE_LENGTH_BIAS_H
#define CORE_LENGTH_BIAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"
#include "core/trend.h"

C_BEGIN

enum { LENGTH_BIAS_WINDOW_MAX = 1024, LENGTH_BIAS_SPANS_MAX = 16 };

struct length_bias_config {
    uint32_t window;      /* 40 steps, 8 .. LENGTH_BIAS_WINDOW_MAX */
    uint32_t confirm;     /* 10: steps in a row that a suspicion must hold; 1: at once */
    double length_growth; /* 0.10: change of the mean length over the window, of its mean */
    double z_length;      /* 4 */
    double z_reward;      /* 4 */
    double z_sure;        /* 10: both above it need no confirmation */
    double success_gain;  /* 0.02: absolute change of verified success that excuses growth ... */
    double z_success;     /* 3: ... when it is this sure */
    double slope_max;     /* 0.05 of reward for each doubling of length */
    uint32_t success_windows; /* 3: windows of success looked at where noise hides a gain in one */
    double padded_max;        /* 0.55: mean preference for the padded answer that is too much */
    uint32_t padded_least;    /* 20: pairs below which the probe says nothing */
};

struct length_bias_config length_bias_defaults(void);

enum length_bias_state {
    LENGTH_BIAS_QUIET,
    LENGTH_BIAS_SUSPECT, /* the rule of the series holds; not confirmed, or success too noisy to tell yet */
    LENGTH_BIAS_ALARM /* stays until length_bias_clear */
};
enum { LENGTH_BIAS_SERIES = 1, LENGTH_BIAS_SLOPE = 2, LENGTH_BIAS_PADDED = 4 };

struct length_bias_report {
    enum length_bias_state state;
    unsigned signals;    /* LENGTH_BIAS_ bits that raised the alarm */
    uint64_t step;       /* of the latest push */
    uint64_t alarm_step; /* of the push that raised the alarm, 0 without one */
    uint32_t points;     /* steps in the window */
    bool noisy;    /* one window of success cannot show success_gain: the probe is too small */
    bool blind;    /* length and reward climb, and too few steps have a verified success */
    uint32_t held; /* steps in a row that the rule of the series has held */
    struct trend length, reward, success; /* over the window; all 0 until it is full */
    double slope;                         /* of the latest length_bias_push_slope, NaN before it */
    uint32_t slope_held;
    double padded; /* of the latest probe, NaN before it */
};

struct length_bias;

/* INVALID names the setting. */
MUST_CHECK enum status length_bias_create(struct length_bias **monitor,
                                          const struct length_bias_config *config);
void length_bias_destroy(struct length_bias **monitor);
/* Of one step and source: mean response length (tokens, > 0), mean raw judge reward, verified success in [0, 1] of a
 * probe or NaN where none ran. A step at or before the latest one rewinds: what was pushed since is forgotten (a
 * learner that resumed from a checkpoint). INVALID: a number that is not finite; nothing changes. */
MUST_CHECK enum status length_bias_push(struct length_bias *monitor, uint64_t step, double length,
                                        double reward, double success,
                                        struct length_bias_report *report);
/* The slope of length_bias_group_slope at this step. */
MUST_CHECK enum status length_bias_push_slope(struct length_bias *monitor, uint64_t step,
                                              double slope, struct length_bias_report *report);
/* A probe of `pairs` pairs in which the padded answer was preferred `preferred` times (a tie counts half). */
MUST_CHECK enum status length_bias_push_padded(struct length_bias *monitor, uint64_t step,
                                               double preferred, uint32_t pairs,
                                               struct length_bias_report *report);
void length_bias_report(const struct length_bias *monitor, struct length_bias_report *report);
/* After a recalibration: true when the new probe passes (preference below padded_max in at least padded_least pairs);
 * the monitor then starts anew. */
bool length_bias_readmit(struct length_bias *monitor, double preferred, uint32_t pairs);
void length_bias_clear(struct length_bias *monitor); /* forgets series and alarm */
/* The report as one JSON object: an event, a log line. */
MUST_CHECK enum status length_bias_json(const struct length_bias_report *report,
                                        struct buffer *text);

/* Samples of one step; those of a group stand together. */
struct length_bias_sample {
    uint64_t group;
    double length;   /* tokens, > 0 */
    double reward;   /* raw, of the judge */
    double verified; /* 0 or 1 where a rule can tell, NaN otherwise */
};
/* b of reward = b * log2(length) + c * verified + a(group), by least squares on deviations from the group's mean: what
 * the judge pays for a doubling of length between answers that are equally right. NOT_FOUND: no group tells. */
MUST_CHECK enum status length_bias_group_slope(const struct length_bias_sample *samples,
                                               size_t count, double *slope);

C_END
#endif
