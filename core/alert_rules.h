/* core/alert_rules.h - what is worth waking somebody for: one table, from which come the live alarms of learner and
 * supervisor, `weir doctor RUN`, docs/alerts.md and the rules file of Prometheus.
 *
 *     struct alert_watch watch;
 *     alert_watch_init(&watch, &settings);
 *     for each step: alert_watch_step(&watch, look, self);
 *     watch.states[ALERT_zero_variance].began     crossed at this step and not at the one before
 *
 * A rule of steps looks at one line of metrics.jsonl after the other; a rule of processes (no step for long, silent
 * processes, failing rewards) is watched by the supervisor (ops/run_alarms.h). Pure; one thread for each watch. */
#ifndef CORE_ALERT_RULES_H
#define CORE_ALERT_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/settings.h"

C_BEGIN

enum alert_test {
    ALERT_ABOVE, /* metric > threshold */
    ALERT_UNSOLVED, /* the same, while reward/mean is not within a tenth of the rewards' range of reward/max */
    ALERT_BELOW,  /* metric < threshold */
    ALERT_AT_CAP, /* metric >= threshold * metric "len/cap" */
    ALERT_FALL, /* (a - b) / a > threshold: a, b ends of the least-squares line through the last ALERT_FALL_STEPS values,
                 * while reward/mean does not rise over the same steps */
    ALERT_TIMES_MEDIAN, /* metric > threshold * median of the ALERT_NORMS values before it */
    ALERT_NOT_FINITE,   /* the counter grew, or a figure of the step is NaN or infinite */
    ALERT_GAP,          /* time since the step before, s */
    ALERT_PROCESS       /* nothing of a step: the supervisor's and Prometheus's */
};
enum alert_watcher { ALERT_BY_LEARNER, ALERT_BY_UPDATE, ALERT_BY_SUPERVISOR };
enum alert_severity { ALERT_CRITICAL, ALERT_WARNING };

enum {
    ALERT_NORMS = 64,      /* of the median */
    ALERT_NORMS_LEAST = 8, /* fewer say nothing */
    ALERT_FALL_STEPS = 50,
    ALERT_FALL_Z = 4, /* a fall that is less sure (core/trend.h) is noise */
    ALERT_SENTENCE_MAX = 640
};

// clang-format off
/*  name, metric, test, threshold in settings *s, its row, steps in a row, seconds in Prometheus, who watches, severity,
 *  Prometheus expression ({}: the threshold; <path unit>: the name of a metric, <+path unit>: of a counter), what it means,
 *  what to do */
#define ALERT_RULES(ROW)                                                                                               \
    ROW(mismatch, "mismatch/max_abs_dlogprob", ABOVE, s->alerts.mismatch, "alerts.mismatch", 1, 0, LEARNER, CRITICAL,  \
        "<mismatch/max_abs_dlogprob nats> > {}",                                                                            \
        "actor and learner do not compute the same probabilities with the same weights: every importance weight is wrong by it", \
        "compare build, device, threads and model.lm_head of actors and learner (`weir status`, docs/numerics.md); `weir replay RUN STEP` says whether the learner repeats itself") \
    ROW(pearson, "mismatch/pearson", BELOW, s->alerts.pearson, "alerts.pearson", 5, 60, LEARNER, WARNING,              \
        "<mismatch/pearson> < {}",                                                                                     \
        "trained and streamed probabilities drift apart: stale samples, an update that is too large, or numerics",     \
        "with mismatch 0 it is staleness or step size: lower store.max_staleness, learner.updates_per_publish or optim.lr; else see mismatch") \
    ROW(not_finite, "optim/non_finite", NOT_FINITE, 0.0, "", 1, 0, UPDATE, CRITICAL,                                   \
        "increase(<+optim/non_finite updates>[10m]) > {}",                                                                      \
        "a loss, a gradient or a figure is NaN or infinite: that update was skipped",                                  \
        "read the key alarm of the step and the learner's log for the first such group; lower optim.lr or optim.grad_clip; learner.non_finite_max ends the run") \
    ROW(grad_norm, "optim/grad_norm", TIMES_MEDIAN, s->learner.grad_norm_alarm, "learner.grad_norm_alarm", 1, 0, UPDATE, WARNING, \
        "<optim/grad_norm> > {} * quantile_over_time(0.5, <optim/grad_norm>[1h])",                                     \
        "one batch pulls far harder than those before it",                                                             \
        "look at the rollouts of the step (rollouts/step_N.jsonl.zst) for one odd group; optim.grad_clip bounds what it does; several in a row: lower optim.lr") \
    ROW(zero_variance, "group/zero_std_frac", UNSOLVED, s->alerts.zero_variance, "alerts.zero_variance", 10, 600, LEARNER, WARNING, \
        "<group/zero_std_frac> > {} and <reward/max> - <reward/mean> >= 0.1 * (<reward/max> - <reward/min>)",                                                                                  \
        "most groups have equal rewards and teach nothing, and the reward is not at its top: prompts are too easy or too hard, or the reward is broken", \
        "look at reward/mean: near its bottom the data is too hard (curriculum.pass_low, `weir filter`) or the checker refuses all (`weir tail`); else many prompts are solved (curriculum.retire_at, curriculum.pass_high)") \
    ROW(truncated, "len/truncated_frac", ABOVE, s->alerts.truncated, "alerts.truncated", 10, 600, LEARNER, WARNING,    \
        "<len/truncated_frac> > {}",                                                                                   \
        "many responses end at the token budget and are scored without their end",                                     \
        "raise sampling.response_tokens_max or go to the next of stages.lengths; if `weir tail` shows loops, sampling.repetition_tokens") \
    ROW(length_cap, "len/p99", AT_CAP, s->alerts.length_cap, "alerts.length_cap", 20, 1800, LEARNER, WARNING,          \
        "<len/p99 tokens> >= {} * <len/cap tokens>",                                                                                 \
        "the longest hundredth of the responses is cut at the cap",                                                    \
        "a longer stage helps when perplexity has settled (docs/stages.md), else more of sampling.response_tokens_max; harmless while len/truncated_frac stays small") \
    ROW(entropy_slope, "entropy/mean", FALL, s->alerts.entropy_fall, "alerts.entropy_fall", ALERT_FALL_STEPS, 600, LEARNER, WARNING, \
        "-deriv(<entropy/mean nats>[1h]) * 3600 > {} * max_over_time(<entropy/mean nats>[1h]) and deriv(<reward/mean>[1h]) <= 0",                                  \
        "the policy loses its choices and its reward does not rise for it",                                             \
        "raise loss.weight_max or loss.clip_high, lower optim.lr, or add loss.entropy_coefficient; learner.entropy_alarm is raised when hardly anything is left") \
    ROW(disk, "disk/free_frac", BELOW, s->alerts.disk_free, "alerts.disk_free", 1, 60, SUPERVISOR, CRITICAL,           \
        "<disk/free_frac> < {}",                                                                                       \
        "the disk of the run folder is nearly full: when it is, the store waits and the run stands still",             \
        "lower learner.checkpoint_keep or metrics.rollout_steps, remove old runs (`weir rm`), or make room") \
    ROW(no_step, "wall", GAP, s->alerts.no_step_s, "alerts.no_step_s", 1, 0, SUPERVISOR, CRITICAL,                     \
        "time() - <learner/last_step s> > {}",                                                                           \
        "no step was made for so long",                                                                                \
        "`weir why RUN` says who waits for whom; larger than the longest step if steps take so long")                  \
    ROW(errored, "reward/errors", PROCESS, s->alerts.errored, "alerts.errored", 1, 300, SUPERVISOR, WARNING,           \
        "sum by (run) (rate(<+reward/errors items>[10m]) + rate(<+reward/timeouts items>[10m])) / sum by (run) (rate(<+reward/errors items>[10m]) + rate(<+reward/timeouts items>[10m]) + rate(<+reward/scored items>[10m])) > {}", \
        "reward workers fail or run into their deadline: those rollouts are scored again or dropped",                  \
        "`weir logs RUN reward.0` has the errors; for time-outs raise reward.timeout_ms or run.reward_workers") \
    ROW(heartbeat, "", PROCESS, 0.0, "run.stopped_s", 1, 30, SUPERVISOR, CRITICAL,                                     \
        "up{job=\"weir\"} == {}",                                                                                      \
        "a process of the run is stopped, cut off, silent or gone",                                                    \
        "`weir why RUN` names it and what it waits for; the supervisor starts it again after run.stopped_s or run.silent_s, so one that stays away fails at its start: `weir logs RUN PROCESS`")
// clang-format on

enum alert_id {
#define ROW(name, ...) ALERT_##name,
    ALERT_RULES(ROW)
#undef ROW
        ALERT_COUNT
};

struct alert_rule {
    const char *name;   /* "zero_variance" */
    const char *metric; /* path in a line of metrics.jsonl */
    enum alert_test test;
    const char *setting; /* row with the threshold; "" when there is none */
    uint32_t steps;      /* that cross it in a row, before it is one; of ALERT_FALL the window */
    uint32_t seconds;    /* for which it holds, of the Prometheus rule */
    enum alert_watcher watcher;
    enum alert_severity severity;
    const char *expression, *means, *advice;
};
extern const struct alert_rule alert_rules[ALERT_COUNT];

double alert_threshold(enum alert_id id, const struct settings *settings);
/* Of thresholds: 0 switches a rule off that has a setting, but mismatch, which -1 does. */
bool alert_is_on(enum alert_id id, double threshold);

struct alert_state {
    double threshold;
    double
        figure; /* that was compared at the last step: the metric, of ALERT_FALL the share lost, ... ; NAN: none */
    double limit; /* what it was compared with */
    uint32_t row; /* steps in a row that crossed it */
    bool crossed; /* now: long enough */
    bool began;   /* and not at the step before */
};

struct alert_watch {
    struct alert_state states[ALERT_COUNT];
    double norms[ALERT_NORMS], fall[ALERT_FALL_STEPS], rewards[ALERT_FALL_STEPS]; /* rings */
    uint64_t norm_count, fall_count;
    double non_finite, wall; /* of the step before; NAN: none */
};

/* *value of a path of the step; false: the step has none. A figure that is no number (null) is NAN. */
typedef bool alert_look_fn(void *self, const char *path, double *value);

void alert_watch_init(struct alert_watch *watch, const struct settings *settings);
void alert_watch_step(struct alert_watch *watch, alert_look_fn *look, void *self);
/* "group/zero_std_frac is 0.71, above 0.6 (alerts.zero_variance), for 10 steps: most groups ..." */
void alert_sentence(enum alert_id id, const struct alert_state *state,
                    char sentence[ALERT_SENTENCE_MAX]);
/* The comparison alone: "group/zero_std_frac is 0.71, above 0.6 (alerts.zero_variance)". */
void alert_figure(enum alert_id id, const struct alert_state *state, char *text, size_t size);

/* The page docs/alerts.md and the rules file of Prometheus, with the thresholds of `settings`. */
MUST_CHECK enum status alert_markdown(const struct settings *settings, struct buffer *markdown);
MUST_CHECK enum status alert_prometheus(const struct settings *settings, struct buffer *yaml);

C_END
#endif
