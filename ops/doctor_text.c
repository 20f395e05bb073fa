/* ops/doctor_text.c - what ops/doctor.h found, for people and for programs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "ops/doctor.h"

static void put_since(const struct doctor_finding *finding, char text[96])
{
    if (finding->since_ms > 0) {
        time_t seconds = (time_t)(finding->since_ms / 1000);
        struct tm utc;
        char when[40] = "?";
        if (gmtime_r(&seconds, &utc) != NULL)
            strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &utc);
        snprintf(text, 96, "since %s UTC, %" PRIu64 " times", when, finding->steps);
    } else if (finding->text[0] != 0) {
        snprintf(text, 96, "now");
    } else if (finding->steps == 1) {
        snprintf(text, 96, "at step %" PRIu64, finding->since_step);
    } else {
        snprintf(text, 96, "since step %" PRIu64 " (%" PRIu64 " steps, worst at %" PRIu64 ")",
                 finding->since_step, finding->steps, finding->worst_step);
    }
}

static enum status put_crossed(enum alert_id id, const struct doctor_finding *finding,
                               struct buffer *text)
{
    const struct alert_rule *rule = &alert_rules[id];
    char figure[ALERT_SENTENCE_MAX], since[96];
    if (finding->text[0] != 0)
        snprintf(figure, sizeof figure, "%s", finding->text);
    else
        alert_figure(id, &finding->worst, figure, sizeof figure);
    put_since(finding, since);
    TRY(buffer_printf(text, "%-9s%-15s%s, %s: %s\n",
                      rule->severity == ALERT_CRITICAL ? "CRITICAL" : "WARNING", rule->name, since,
                      finding->now ? "still so" : "over again", figure));
    return buffer_printf(text, "         %-15s%s\n         %-15sdo: %s\n", "", rule->means, "",
                         rule->advice);
}

static enum status put_fine(enum alert_id id, const struct doctor_finding *finding,
                            const struct doctor *doctor, struct buffer *text)
{
    const struct alert_rule *rule = &alert_rules[id];
    double threshold = doctor->watch.states[id].threshold;
    if (!alert_is_on(id, threshold))
        return buffer_printf(text, "%-9s%-15s%s\n", "off", rule->name, rule->setting);
    if (rule->test == ALERT_PROCESS || isnan(finding->worst.figure) || isnan(finding->worst.limit))
        return buffer_printf(text, "%-9s%s\n", "ok", rule->name);
    return buffer_printf(text, "%-9s%-15s%s: at worst %.4g, limit %.4g\n", "ok", rule->name,
                         rule->metric, finding->worst.figure, finding->worst.limit);
}

enum status doctor_text(const struct doctor *doctor, const char *run, struct buffer *text)
{
    unsigned crossed = doctor_crossed(doctor);
    TRY(buffer_printf(text, "run %s: %" PRIu64 " steps", run, doctor->steps));
    if (doctor->steps > 0)
        TRY(buffer_printf(text, " (%" PRIu64 " to %" PRIu64 "), %" PRIu64 " with alarms",
                          doctor->first_step, doctor->last_step, doctor->alarms));
    if (doctor->bad_lines > 0)
        TRY(buffer_printf(text, ", %" PRIu64 " lines of metrics.jsonl cannot be read",
                          doctor->bad_lines));
    TRY(buffer_printf(text, "\n"));
    for (int i = 0; i < ALERT_COUNT; i++)
        if (doctor->findings[i].crossed)
            TRY(put_crossed((enum alert_id)i, &doctor->findings[i], text));
    for (int i = 0; i < ALERT_COUNT; i++)
        if (!doctor->findings[i].crossed)
            TRY(put_fine((enum alert_id)i, &doctor->findings[i], doctor, text));
    if (crossed == 0)
        return buffer_printf(text, "no threshold was crossed\n");
    return buffer_printf(text, "%u of %d thresholds crossed; docs/alerts.md\n", crossed,
                         ALERT_COUNT);
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *finding_json(enum alert_id id, const struct doctor *doctor)
{
    const struct alert_rule *rule = &alert_rules[id];
    const struct doctor_finding *finding = &doctor->findings[id];
    bool of_steps = finding->crossed && finding->since_ms == 0 && finding->text[0] == 0;
    char figure[ALERT_SENTENCE_MAX] = "";
    if (finding->text[0] != 0)
        snprintf(figure, sizeof figure, "%s", finding->text);
    else if (finding->crossed)
        alert_figure(id, &finding->worst, figure, sizeof figure);
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:o, s:o, s:s, s:s, s:s, s:s}", "name",
                  rule->name, "metric", rule->metric, "severity",
                  rule->severity == ALERT_CRITICAL ? "critical" : "warning", "on",
                  alert_is_on(id, doctor->watch.states[id].threshold), "crossed", finding->crossed,
                  "now", finding->now, "count", (json_int_t)finding->steps, "since_ms",
                  (json_int_t)finding->since_ms, "worst", number(finding->worst.figure), "limit",
                  number(finding->worst.limit), "setting", rule->setting, "text", figure, "means",
                  rule->means, "do", rule->advice);
    if (json == NULL)
        return NULL;
    json_object_set_new(json, "since_step",
                        of_steps ? json_integer((json_int_t)finding->since_step) : json_null());
    json_object_set_new(json, "last_step",
                        of_steps ? json_integer((json_int_t)finding->last_step) : json_null());
    json_object_set_new(json, "worst_step",
                        of_steps ? json_integer((json_int_t)finding->worst_step) : json_null());
    return json;
}

json_t *doctor_json(const struct doctor *doctor, const char *run, bool running)
{
    json_t *rules = json_array();
    for (int i = 0; i < ALERT_COUNT && rules != NULL; i++)
        json_array_append_new(rules, finding_json((enum alert_id)i, doctor));
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "run", run, "state",
                     running ? "running" : "over", "steps", (json_int_t)doctor->steps, "first_step",
                     (json_int_t)doctor->first_step, "last_step", (json_int_t)doctor->last_step,
                     "alarms", (json_int_t)doctor->alarms, "crossed",
                     (json_int_t)doctor_crossed(doctor), "rules", rules);
}
