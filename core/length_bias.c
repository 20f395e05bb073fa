#include "core/length_bias.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/memory.h"

struct point {
    uint64_t step;
    double length, reward, success;
};

struct length_bias {
    struct length_bias_config config;
    struct length_bias_report report;
    struct point *points; /* [capacity], the oldest first; owned */
    uint32_t capacity;    /* window * success_windows */
    uint32_t count;
    double *x, *y; /* [capacity] scratch of the fits, owned */
};

struct length_bias_config length_bias_defaults(void)
{
    return (struct length_bias_config){.window = 40,
                                       .confirm = 10,
                                       .length_growth = 0.10,
                                       .z_length = 4,
                                       .z_reward = 4,
                                       .z_sure = 10,
                                       .success_gain = 0.02,
                                       .z_success = 3,
                                       .success_windows = 3,
                                       .slope_max = 0.05,
                                       .padded_max = 0.55,
                                       .padded_least = 20};
}

static enum status config_check(const struct length_bias_config *config)
{
    if (config->window < 8 || config->window > LENGTH_BIAS_WINDOW_MAX)
        return FAIL(STATUS_INVALID, "window is %" PRIu32 ", it must be 8 to %d steps",
                    config->window, LENGTH_BIAS_WINDOW_MAX);
    if (config->confirm < 1 || config->confirm > LENGTH_BIAS_WINDOW_MAX)
        return FAIL(STATUS_INVALID, "confirm is %" PRIu32 ", it must be 1 to %d steps",
                    config->confirm, LENGTH_BIAS_WINDOW_MAX);
    if (config->success_windows < 1 || config->success_windows > LENGTH_BIAS_SPANS_MAX)
        return FAIL(STATUS_INVALID, "success_windows is %" PRIu32 ", it must be 1 to %d",
                    config->success_windows, LENGTH_BIAS_SPANS_MAX);
    const struct {
        const char *name;
        double value;
    } least_zero[] = {{"length_growth", config->length_growth}, {"z_length", config->z_length},
                      {"z_reward", config->z_reward},           {"z_sure", config->z_sure},
                      {"success_gain", config->success_gain},   {"z_success", config->z_success},
                      {"slope_max", config->slope_max},         {"padded_max", config->padded_max}};
    for (size_t i = 0; i < sizeof least_zero / sizeof least_zero[0]; i++)
        if (!isfinite(least_zero[i].value) || least_zero[i].value < 0)
            return FAIL(STATUS_INVALID, "%s is %g, it must be a number from 0 up",
                        least_zero[i].name, least_zero[i].value);
    return STATUS_OK;
}

enum status length_bias_create(struct length_bias **monitor,
                               const struct length_bias_config *config)
{
    TRY(config_check(config));
    struct length_bias *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "a length-bias monitor");
    made->config = *config;
    made->capacity = config->window * config->success_windows;
    made->points = memory_array(made->capacity, sizeof *made->points);
    made->x = memory_array(made->capacity, sizeof *made->x);
    made->y = memory_array(made->capacity, sizeof *made->y);
    if (made->points == NULL || made->x == NULL || made->y == NULL) {
        length_bias_destroy(&made);
        return FAIL(STATUS_NO_MEMORY, "a length-bias monitor of %" PRIu32 " steps", config->window);
    }
    length_bias_clear(made);
    *monitor = made;
    return STATUS_OK;
}

void length_bias_destroy(struct length_bias **monitor)
{
    if (*monitor != NULL) {
        memory_free((*monitor)->points);
        memory_free((*monitor)->x);
        memory_free((*monitor)->y);
        memory_free(*monitor);
    }
    *monitor = NULL;
}

void length_bias_clear(struct length_bias *monitor)
{
    monitor->count = 0;
    monitor->report = (struct length_bias_report){.slope = (double)NAN, .padded = (double)NAN};
}

void length_bias_report(const struct length_bias *monitor, struct length_bias_report *report)
{
    *report = monitor->report;
}

static void raise_alarm(struct length_bias *monitor, unsigned signal)
{
    struct length_bias_report *report = &monitor->report;
    if (report->state != LENGTH_BIAS_ALARM)
        report->alarm_step = report->step;
    report->state = LENGTH_BIAS_ALARM;
    report->signals |= signal;
}

static void keep_point(struct length_bias *monitor, struct point point)
{
    while (monitor->count > 0 && monitor->points[monitor->count - 1].step >= point.step)
        monitor->count--; /* a resumed run comes by here again */
    if (monitor->count == monitor->capacity) {
        memmove(monitor->points, monitor->points + 1,
                (monitor->count - 1) * sizeof *monitor->points);
        monitor->count--;
    }
    monitor->points[monitor->count++] = point;
}

/* Of the last `steps` points. */
static void fit(struct length_bias *monitor, size_t member, uint32_t steps, struct trend *trend)
{
    uint32_t points = 0, first = monitor->count - steps;
    for (uint32_t i = first; i < monitor->count; i++) {
        double y;
        memcpy(&y, (const char *)&monitor->points[i] + member, sizeof y);
        if (isnan(y))
            continue;
        monitor->x[points] = (double)(monitor->points[i].step - monitor->points[first].step);
        monitor->y[points++] = y;
    }
    trend_fit(monitor->x, monitor->y, points, trend);
}

/* A gain of success_gain would not stand out of the noise. */
static bool hides_gain(const struct length_bias_config *config, const struct trend *success)
{
    double error = success->z_plain != 0 ? fabs(success->change / success->z_plain) : 0;
    return config->z_success * error > config->success_gain;
}

/* The rule of docs/length-bias.md. */
static bool series_holds(struct length_bias *monitor)
{
    const struct length_bias_config *config = &monitor->config;
    struct length_bias_report *report = &monitor->report;
    fit(monitor, offsetof(struct point, length), config->window, &report->length);
    fit(monitor, offsetof(struct point, reward), config->window, &report->reward);
    fit(monitor, offsetof(struct point, success), config->window, &report->success);
    bool climbs = report->length.change > config->length_growth * report->length.mean &&
                  report->length.z > config->z_length && report->reward.z > config->z_reward;
    report->blind = climbs && 2 * report->success.points < config->window;
    report->noisy = hides_gain(config, &report->success);
    if (report->noisy)
        fit(monitor, offsetof(struct point, success), monitor->count, &report->success);
    bool earned = report->success.change > config->success_gain &&
                  report->success.z_plain > config->z_success;
    return climbs && !earned && !report->blind;
}

enum status length_bias_push(struct length_bias *monitor, uint64_t step, double length,
                             double reward, double success, struct length_bias_report *report)
{
    if (!isfinite(length) || length <= 0 || !isfinite(reward) || isinf(success))
        return FAIL(STATUS_INVALID,
                    "step %" PRIu64
                    ": mean length %g, judge reward %g and success %g must be finite, "
                    "the length above 0",
                    step, length, reward, success);
    struct length_bias_report *now = &monitor->report;
    if (step <= now->step && now->state == LENGTH_BIAS_SUSPECT)
        now->held = 0;
    keep_point(monitor, (struct point){step, length, reward, success});
    now->step = step;
    now->points = monitor->count;
    bool holds = monitor->count >= monitor->config.window && series_holds(monitor);
    now->held = holds ? now->held + 1 : 0;
    bool told = !now->noisy || monitor->count == monitor->capacity ||
                !hides_gain(&monitor->config, &now->success);
    bool sure =
        holds && now->length.z > monitor->config.z_sure && now->reward.z > monitor->config.z_sure;
    if (told && (sure || (holds && now->held >= monitor->config.confirm)))
        raise_alarm(monitor, LENGTH_BIAS_SERIES);
    else if (now->state != LENGTH_BIAS_ALARM)
        now->state = holds ? LENGTH_BIAS_SUSPECT : LENGTH_BIAS_QUIET;
    if (report != NULL)
        *report = *now;
    return STATUS_OK;
}

enum status length_bias_push_slope(struct length_bias *monitor, uint64_t step, double slope,
                                   struct length_bias_report *report)
{
    if (!isfinite(slope))
        return FAIL(STATUS_INVALID, "step %" PRIu64 ": the slope %g is not finite", step, slope);
    struct length_bias_report *now = &monitor->report;
    now->step = step;
    now->slope = slope;
    now->slope_held = slope > monitor->config.slope_max ? now->slope_held + 1 : 0;
    if (now->slope_held >= monitor->config.window)
        raise_alarm(monitor, LENGTH_BIAS_SLOPE);
    if (report != NULL)
        *report = *now;
    return STATUS_OK;
}

/* False when the probe is too small to tell. */
static bool padded_share(const struct length_bias *monitor, double preferred, uint32_t pairs,
                         double *share)
{
    if (pairs < monitor->config.padded_least || !(preferred >= 0) || preferred > (double)pairs)
        return false;
    *share = preferred / pairs;
    return true;
}

enum status length_bias_push_padded(struct length_bias *monitor, uint64_t step, double preferred,
                                    uint32_t pairs, struct length_bias_report *report)
{
    double share = 0;
    if (!padded_share(monitor, preferred, pairs, &share))
        return FAIL(STATUS_INVALID,
                    "step %" PRIu64 ": %g of %" PRIu32
                    " padded answers preferred; a probe needs at least "
                    "%" PRIu32 " pairs",
                    step, preferred, pairs, monitor->config.padded_least);
    struct length_bias_report *now = &monitor->report;
    now->step = step;
    now->padded = share;
    if (share >= monitor->config.padded_max)
        raise_alarm(monitor, LENGTH_BIAS_PADDED);
    if (report != NULL)
        *report = *now;
    return STATUS_OK;
}

bool length_bias_readmit(struct length_bias *monitor, double preferred, uint32_t pairs)
{
    double share = 0;
    if (!padded_share(monitor, preferred, pairs, &share) || share >= monitor->config.padded_max)
        return false;
    length_bias_clear(monitor);
    monitor->report.padded = share;
    return true;
}

static enum status trend_json(const char *name, const struct trend *trend, struct buffer *text)
{
    return buffer_printf(text,
                         ",\"%s\":{\"mean\":%.6g,\"change\":%.6g,\"z\":%.4g,\"z_plain\":%.4g}",
                         name, trend->mean, trend->change, trend->z, trend->z_plain);
}

enum status length_bias_json(const struct length_bias_report *report, struct buffer *text)
{
    static const char *const state[] = {"quiet", "suspect", "alarm"};
    TRY(buffer_printf(text,
                      "{\"state\":\"%s\",\"step\":%" PRIu64 ",\"alarm_step\":%" PRIu64
                      ",\"series\":%s,\"slope\":%s,\"padded\":%s,\"blind\":%s,\"held\":%" PRIu32,
                      state[report->state], report->step, report->alarm_step,
                      report->signals & LENGTH_BIAS_SERIES ? "true" : "false",
                      report->signals & LENGTH_BIAS_SLOPE ? "true" : "false",
                      report->signals & LENGTH_BIAS_PADDED ? "true" : "false",
                      report->blind ? "true" : "false", report->held));
    TRY(trend_json("length", &report->length, text));
    TRY(trend_json("reward", &report->reward, text));
    TRY(trend_json("success", &report->success, text));
    if (!isnan(report->slope))
        TRY(buffer_printf(text, ",\"reward_per_doubling\":%.6g", report->slope));
    if (!isnan(report->padded))
        TRY(buffer_printf(text, ",\"padded_preference\":%.6g", report->padded));
    return buffer_text(text, "}");
}

struct moments {
    double ll, lv, vv, lr, vr; /* sums of products of deviations from the group's mean */
};

static void add_group(const struct length_bias_sample *samples, size_t count, struct moments *sums)
{
    double l = 0, v = 0, r = 0, n = (double)count;
    for (size_t i = 0; i < count; i++) {
        l += log2(samples[i].length) / n;
        v += samples[i].verified /
             n; /* NaN where one of them cannot be verified: the group has no control */
        r += samples[i].reward / n;
    }
    for (size_t i = 0; i < count; i++) {
        double dl = log2(samples[i].length) - l, dr = samples[i].reward - r;
        double dv = isnan(v) ? 0 : samples[i].verified - v;
        sums->ll += dl * dl;
        sums->lv += dl * dv;
        sums->vv += dv * dv;
        sums->lr += dl * dr;
        sums->vr += dv * dr;
    }
}

enum status length_bias_group_slope(const struct length_bias_sample *samples, size_t count,
                                    double *slope)
{
    struct moments sums = {0};
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from; to < count && samples[to].group == samples[from].group; to++)
            if (!(samples[to].length > 0) || !isfinite(samples[to].length) ||
                !isfinite(samples[to].reward) || isinf(samples[to].verified))
                return FAIL(STATUS_INVALID, "sample %zu: length %g, reward %g", to,
                            samples[to].length, samples[to].reward);
        add_group(samples + from, to - from, &sums);
    }
    const double none = 1e-12;
    double determinant = sums.ll * sums.vv - sums.lv * sums.lv;
    if (sums.ll <= none)
        return FAIL(STATUS_NOT_FOUND, "the lengths inside each group are all equal");
    if (sums.vv <= none)
        *slope = sums.lr / sums.ll;
    else if (determinant <= none * sums.ll * sums.vv)
        return FAIL(STATUS_NOT_FOUND, "length and verified success cannot be told apart");
    else
        *slope = (sums.vv * sums.lr - sums.lv * sums.vr) / determinant;
    return STATUS_OK;
}
