#include "core/alert_rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/metrics.h"
#include "core/trend.h"

const struct alert_rule alert_rules[ALERT_COUNT] = {
#define ROW(name, metric, test, threshold, setting, steps, seconds, watcher, severity, ...) \
    {#name,      metric,  ALERT_##test,       setting,                                      \
     steps,      seconds, ALERT_BY_##watcher, ALERT_##severity,                             \
     __VA_ARGS__},
    ALERT_RULES(ROW)
#undef ROW
};

double alert_threshold(enum alert_id id, const struct settings *s)
{
    const double thresholds[ALERT_COUNT] = {
#define ROW(name, metric, test, threshold, ...) [ALERT_##name] = threshold,
        ALERT_RULES(ROW)
#undef ROW
    };
    return thresholds[id];
}

bool alert_is_on(enum alert_id id, double threshold)
{
    if (id == ALERT_mismatch)
        return threshold >= 0;
    return alert_rules[id].setting[0] == 0 || threshold > 0 || id == ALERT_heartbeat;
}

void alert_watch_init(struct alert_watch *watch, const struct settings *settings)
{
    *watch = (struct alert_watch){.non_finite = NAN, .wall = NAN};
    for (int i = 0; i < ALERT_COUNT; i++)
        watch->states[i] = (struct alert_state){
            .threshold = alert_threshold((enum alert_id)i, settings), .figure = NAN, .limit = NAN};
}

/* ---- one step ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* NAN: too few before it. The value joins them, unless it is no number. */
static double median_before(struct alert_watch *watch, double value)
{
    double sorted[ALERT_NORMS], median = NAN;
    size_t known = watch->norm_count < ALERT_NORMS ? (size_t)watch->norm_count : ALERT_NORMS;
    if (known >= ALERT_NORMS_LEAST) {
        memcpy(sorted, watch->norms, known * sizeof *sorted);
        qsort(sorted, known, sizeof *sorted, by_value);
        median =
            known % 2 == 1 ? sorted[known / 2] : (sorted[known / 2 - 1] + sorted[known / 2]) / 2;
    }
    if (isfinite(value))
        watch->norms[watch->norm_count++ % ALERT_NORMS] = value;
    return median;
}

static void fit_ring(const double ring[ALERT_FALL_STEPS], uint64_t count, struct trend *trend)
{
    double x[ALERT_FALL_STEPS], y[ALERT_FALL_STEPS];
    for (uint32_t i = 0; i < ALERT_FALL_STEPS; i++) {
        x[i] = i;
        y[i] = ring[(count + i) % ALERT_FALL_STEPS];
    }
    trend_fit(x, y, ALERT_FALL_STEPS, trend);
}

/* Share of its start that the line through the last ALERT_FALL_STEPS values loses; 0 when it rises, when the fall is not
 * sure, and when the reward rises meanwhile. NAN: too few. */
static double share_lost(struct alert_watch *watch, double value, double reward)
{
    struct trend trend, gain;
    if (!isfinite(value))
        return NAN;
    watch->rewards[watch->fall_count % ALERT_FALL_STEPS] = isfinite(reward) ? reward : 0;
    watch->fall[watch->fall_count++ % ALERT_FALL_STEPS] = value;
    if (watch->fall_count < ALERT_FALL_STEPS)
        return NAN;
    fit_ring(watch->fall, watch->fall_count, &trend);
    fit_ring(watch->rewards, watch->fall_count, &gain);
    double start = trend.mean - trend.change / 2;
    bool falls = trend.change < 0 && trend.z < -ALERT_FALL_Z && start > 0;
    return falls && gain.change <= 0 ? -trend.change / start : 0;
}

/* The mean is near the top: groups are equal because they are solved. Rewards that are all the same are not. */
static bool is_solved(alert_look_fn *look, void *self)
{
    double mean = NAN, least = NAN, most = NAN;
    if (!look(self, "reward/mean", &mean) || !look(self, "reward/min", &least) ||
        !look(self, "reward/max", &most))
        return false;
    return most - mean < 0.1 * (most - least);
}

/* A figure that must be a number and is none; NULL: all are. */
static bool some_is_not_finite(alert_look_fn *look, void *self)
{
    static const char *const figures[] = {"reward/mean", "loss/policy", "optim/grad_norm",
                                          "entropy/mean"};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        double value = 0;
        if (look(self, figures[i], &value) && !isfinite(value))
            return true;
    }
    return false;
}

/* Updates that were not finite since the step before; a process that was started again counts from 0. */
static double grown(struct alert_watch *watch, double counter)
{
    double before = isnan(watch->non_finite) || counter < watch->non_finite ? 0 : watch->non_finite;
    watch->non_finite = counter;
    return counter - before;
}

/* Seconds since the step before, as the lines say; the clock of a machine may be set back. */
static double gap(struct alert_watch *watch, double wall)
{
    double seconds = isnan(watch->wall) ? NAN : fmax(0, wall - watch->wall);
    watch->wall = wall;
    return seconds;
}

/* Sets figure and limit; true: the step crosses it. */
static bool step_crosses(struct alert_watch *watch, const struct alert_rule *rule,
                         struct alert_state *state, double value, alert_look_fn *look, void *self)
{
    double cap = NAN, reward = NAN;
    state->figure = value;
    state->limit = state->threshold;
    switch (rule->test) {
    case ALERT_ABOVE:
        return value > state->limit;
    case ALERT_UNSOLVED:
        return value > state->limit && !is_solved(look, self);
    case ALERT_BELOW:
        return value < state->limit;
    case ALERT_AT_CAP:
        state->limit = look(self, "len/cap", &cap) && cap > 0 ? state->threshold * cap : NAN;
        return value >= state->limit;
    case ALERT_FALL:
        (void)look(self, "reward/mean", &reward);
        state->figure = share_lost(watch, value, reward);
        return state->figure > state->limit;
    case ALERT_TIMES_MEDIAN:
        state->limit = state->threshold * median_before(watch, value);
        return value > state->limit;
    case ALERT_NOT_FINITE:
        state->figure = grown(watch, value);
        return state->figure > 0 || some_is_not_finite(look, self);
    case ALERT_GAP:
        state->figure = gap(watch, value);
        return state->figure > state->limit;
    case ALERT_PROCESS:
        break;
    }
    return false;
}

void alert_watch_step(struct alert_watch *watch, alert_look_fn *look, void *self)
{
    for (int i = 0; i < ALERT_COUNT; i++) {
        const struct alert_rule *rule = &alert_rules[i];
        struct alert_state *state = &watch->states[i];
        double value = NAN;
        state->began = false;
        if (rule->test == ALERT_PROCESS || !alert_is_on((enum alert_id)i, state->threshold))
            continue;
        if (!look(self, rule->metric, &value)) {
            if (rule->test != ALERT_NOT_FINITE)
                continue; /* a line without the figure says nothing */
            value = isnan(watch->non_finite) ? 0 : watch->non_finite;
        }
        bool crosses = step_crosses(watch, rule, state, value, look, self);
        state->row = crosses ? state->row + 1 : 0;
        uint32_t needed = rule->test == ALERT_FALL ? 1 : rule->steps;
        state->began = state->row == needed;
        state->crossed = state->row >= needed;
    }
}

/* ---- sentences ---- */

void alert_figure(enum alert_id id, const struct alert_state *state, char *text, size_t size)
{
    const struct alert_rule *rule = &alert_rules[id];
    char why[96] = "", part[32] = "";
    if (rule->setting[0] != 0)
        snprintf(why, sizeof why, " (%s)", rule->setting);
    switch (rule->test) {
    case ALERT_ABOVE:
    case ALERT_UNSOLVED:
    case ALERT_BELOW:
        snprintf(text, size, "%s is %.4g, %s %.4g%s", rule->metric, state->figure,
                 rule->test == ALERT_BELOW ? "below" : "above", state->limit, why);
        return;
    case ALERT_AT_CAP:
        if (state->threshold < 1)
            snprintf(part, sizeof part, "%.4g of ", state->threshold);
        snprintf(text, size, "%s is %.4g, at %sthe cap of %.4g tokens%s", rule->metric,
                 state->figure, part, state->limit / state->threshold, why);
        return;
    case ALERT_FALL:
        snprintf(text, size, "%s lost %.0f %% in %d steps, more than %.0f %%%s", rule->metric,
                 100 * state->figure, ALERT_FALL_STEPS, 100 * state->limit, why);
        return;
    case ALERT_TIMES_MEDIAN:
        snprintf(text, size, "%s is %.4g, more than %.4g times its median %.4g%s", rule->metric,
                 state->figure, state->threshold, state->limit / state->threshold, why);
        return;
    case ALERT_NOT_FINITE:
        if (state->figure > 0)
            snprintf(text, size, "%.0f updates of a step were not finite", state->figure);
        else
            snprintf(text, size, "a figure of a step is not finite");
        return;
    case ALERT_GAP:
        snprintf(text, size, "%.0f s without a step, more than %.0f%s", state->figure, state->limit,
                 why);
        return;
    case ALERT_PROCESS:
        snprintf(text, size, "%s is %.4g, above %.4g%s", rule->metric, state->figure, state->limit,
                 why);
    }
}

void alert_sentence(enum alert_id id, const struct alert_state *state,
                    char sentence[ALERT_SENTENCE_MAX])
{
    const struct alert_rule *rule = &alert_rules[id];
    char figure[256], steps[32] = "";
    alert_figure(id, state, figure, sizeof figure);
    if (rule->steps > 1 && rule->test != ALERT_FALL)
        snprintf(steps, sizeof steps, ", for %u steps", state->row);
    snprintf(sentence, ALERT_SENTENCE_MAX, "%s: %s%s: %s", rule->name, figure, steps, rule->means);
}

/* ---- pages ---- */

static const char *const severities[] = {
    [ALERT_CRITICAL] = "critical", [ALERT_WARNING] = "warning"};
static const char *const watchers[] = {[ALERT_BY_LEARNER] = "learner, each step",
                                       [ALERT_BY_UPDATE] = "learner, each update",
                                       [ALERT_BY_SUPERVISOR] = "supervisor"};

enum status alert_markdown(const struct settings *settings, struct buffer *markdown)
{
    TRY(buffer_text(markdown,
                    "# Alerts\n\nMade by `weir docs alerts` from core/alert_rules.h.\n\n"
                    "The same table gives the live alarms of a run (the key `alarm` of a step's "
                    "line, `weir events`, the page, and\n"
                    "`alarms.jsonl` for those of the supervisor), what `weir doctor RUN` looks "
                    "for, and the rules of Prometheus\n"
                    "(`weir docs prometheus-rules`). No alarm ends a run. Thresholds below and in "
                    "ops/prometheus/alerts.yml\nare the defaults: `weir docs "
                    "prometheus-rules RECIPE section.name=value >rules.yml` makes rules with those "
                    "of a run,\nwithout what it switches off.\n\n"
                    "| alert | threshold | setting | steps | seconds | severity | live in |\n"
                    "|---|---|---|---|---|---|---|\n"));
    for (int i = 0; i < ALERT_COUNT; i++) {
        const struct alert_rule *rule = &alert_rules[i];
        bool setting = rule->setting[0] != 0;
        TRY(buffer_printf(markdown, "| [%s](#%s) | %.4g | %s%s%s | %u | %u | %s | %s |\n",
                          rule->name, rule->name, alert_threshold((enum alert_id)i, settings),
                          setting ? "`" : "", rule->setting, setting ? "`" : "", rule->steps,
                          rule->seconds, severities[rule->severity], watchers[rule->watcher]));
    }
    TRY(buffer_text(markdown, "\nsteps: so many in a row cross the threshold, or the window that "
                              "is looked at. seconds: how long it\n"
                              "holds before Prometheus fires.\n"));
    for (int i = 0; i < ALERT_COUNT; i++) {
        const struct alert_rule *rule = &alert_rules[i];
        const char *seen = rule->metric[0] != 0 ? rule->metric : "the fleet";
        TRY(buffer_printf(markdown, "\n## %s\n\nLooks at `%s`. Means: %s.\n\nWhat to do: %s.\n",
                          rule->name, seen, rule->means, rule->advice));
    }
    return STATUS_OK;
}

/* "zero_variance" -> "WeirZeroVariance" */
static void camel(const char *name, char out[64])
{
    size_t at = (size_t)snprintf(out, 64, "Weir");
    bool upper = true;
    for (; *name != 0 && at + 1 < 64; name++) {
        if (*name == '_') {
            upper = true;
            continue;
        }
        out[at++] = upper && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
        upper = false;
    }
    out[at] = 0;
}

/* <path unit>, <+path unit>: the name that the metric has for Prometheus. *end: behind the bracket. */
static enum status put_metric(const char *text, const char **end, struct buffer *out)
{
    char path[128], name[METRIC_NAME_BYTES];
    const char *close = strchr(text, '>');
    bool counter = text[1] == '+';
    size_t from = counter ? 2 : 1;
    CHECK(close != NULL && (size_t)(close - text) - from < sizeof path);
    snprintf(path, sizeof path, "%.*s", (int)((size_t)(close - text) - from), text + from);
    char *space = strchr(path, ' ');
    if (space != NULL)
        *space = 0;
    struct metric_row row = {.name = "",
                             .path = path,
                             .kind = counter ? METRIC_COUNTER : METRIC_GAUGE,
                             .unit = space != NULL ? space + 1 : "",
                             .help = ""};
    (void)metric_prometheus_name(&row, name);
    *end = close + 1;
    return buffer_text(out, name);
}

/* '<' before a letter or '+' begins a metric; alone it compares. */
static enum status put_expression(const char *expression, double threshold, struct buffer *out)
{
    while (*expression != 0) {
        bool named = expression[0] == '<' && expression[1] != ' ' && expression[1] != '=';
        if (named) {
            TRY(put_metric(expression, &expression, out));
        } else if (expression[0] == '{' && expression[1] == '}') {
            TRY(buffer_printf(out, "%.6g", threshold));
            expression += 2;
        } else {
            TRY(buffer_append(out, expression++, 1));
        }
    }
    return STATUS_OK;
}

enum status alert_prometheus(const struct settings *settings, struct buffer *yaml)
{
    TRY(buffer_text(
        yaml, "# Made by `weir docs prometheus-rules` from core/alert_rules.h; docs/alerts.md.\n"
              "groups:\n  - name: weir\n    rules:\n"));
    for (int i = 0; i < ALERT_COUNT; i++) {
        const struct alert_rule *rule = &alert_rules[i];
        double threshold = alert_threshold((enum alert_id)i, settings);
        char name[64];
        if (!alert_is_on((enum alert_id)i, threshold))
            continue;
        camel(rule->name, name);
        TRY(buffer_printf(yaml, "      - alert: %s\n        expr: >-\n          ", name));
        TRY(put_expression(rule->expression, threshold, yaml));
        if (rule->seconds > 0)
            TRY(buffer_printf(yaml, "\n        for: %us", rule->seconds));
        TRY(buffer_printf(
            yaml,
            "\n        labels:\n          severity: %s\n        annotations:\n"
            "          summary: >-\n            {{ $labels.run }} {{ $labels.process }}: %s\n"
            "          description: >-\n            %s\n"
            "          value: \"{{ $value }}\"\n",
            severities[rule->severity], rule->means, rule->advice));
    }
    return STATUS_OK;
}
