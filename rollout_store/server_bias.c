#include "rollout_store/server_bias.h"

#include <fnmatch.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum status server_bias_open(struct server_bias *bias, uint32_t window)
{
    *bias = (struct server_bias){.window = window};
    if (window == 0)
        return STATUS_OK;
    bias->sources = memory_array(BIAS_SOURCES_MAX, sizeof *bias->sources);
    return bias->sources != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "monitors of length bias");
}

void server_bias_close(struct server_bias *bias)
{
    for (size_t i = 0; i < bias->source_count; i++) {
        length_bias_destroy(&bias->sources[i].monitor);
        memory_free(bias->sources[i].samples);
    }
    memory_free(bias->sources);
    *bias = (struct server_bias){0};
}

/* The source of this name, made when it is new; NULL in *found when there are too many. */
static enum status find_source(struct server_bias *bias, const char *name,
                               struct bias_source **found)
{
    *found = NULL;
    for (size_t i = 0; i < bias->source_count; i++)
        if (strncmp(bias->sources[i].name, name, BIAS_SOURCE_NAME_MAX - 1) == 0) {
            *found = &bias->sources[i];
            return STATUS_OK;
        }
    if (bias->source_count == BIAS_SOURCES_MAX)
        return STATUS_OK;
    struct bias_source *source = &bias->sources[bias->source_count];
    struct length_bias_config config = length_bias_defaults();
    config.window = bias->window;
    *source = (struct bias_source){0};
    snprintf(source->name, sizeof source->name, "%s", name);
    source->samples = memory_array(BIAS_SAMPLES_MAX, sizeof *source->samples);
    if (source->samples == NULL)
        return FAIL(STATUS_NO_MEMORY, "monitor of length bias");
    enum status status = length_bias_create(&source->monitor, &config);
    if (status != STATUS_OK) {
        memory_free(source->samples);
        return status;
    }
    bias->source_count++;
    *found = source;
    return STATUS_OK;
}

static void add(struct bias_source *source, const struct book_rollout *rollout, double judge,
                double verified)
{
    double length = rollout->count > 0 ? rollout->count : 1;
    if (source->count < BIAS_SAMPLES_MAX)
        source->samples[source->count] =
            (struct length_bias_sample){rollout->group_id, length, judge, verified};
    source->count++;
    source->length += length;
    source->reward += judge;
    if (!isnan(verified)) {
        source->verified += verified;
        source->verified_count++;
    }
}

enum status server_bias_take(struct server_bias *bias, const struct prompt *prompt,
                             const struct book_rollout *rollout)
{
    if (bias->window == 0 || strstr(rollout->detail_json, "\"judge\"") == NULL)
        return STATUS_OK;
    json_t *detail = json_loads(rollout->detail_json, 0, NULL);
    const json_t *judge = json_object_get(detail, "judge"),
                 *verified = json_object_get(detail, "verified");
    enum status status = STATUS_OK;
    if (json_is_number(judge)) {
        json_t *record = json_loads(prompt->record_json, 0, NULL);
        const char *name = json_string_value(json_object_get(record, "data_source"));
        struct bias_source *source;
        status = find_source(bias, name != NULL ? name : "", &source);
        if (status == STATUS_OK && source != NULL)
            add(source, rollout, json_number_value(judge),
                json_is_number(verified) ? json_number_value(verified) : NAN);
        json_decref(record);
    }
    json_decref(detail);
    return status;
}

static enum status say_alarm(const struct bias_source *source,
                             const struct length_bias_report *report,
                             enum status (*say)(void *self, const char *text), void *self)
{
    struct buffer text, numbers;
    buffer_init(&text, 0);
    buffer_init(&numbers, 0);
    enum status status = length_bias_json(report, &numbers);
    if (status == STATUS_OK)
        status =
            buffer_printf(&text,
                          "length bias of source \"%s\": its judge pays for length, and verified "
                          "success does not follow; recalibrate the judge, then `weir rescore "
                          "--source %s` %s",
                          source->name, source->name, buffer_string(&numbers));
    if (status == STATUS_OK)
        status = say(self, buffer_string(&text));
    buffer_free(&text);
    buffer_free(&numbers);
    return status;
}

static int by_group(const void *a, const void *b)
{
    uint64_t x = ((const struct length_bias_sample *)a)->group,
             y = ((const struct length_bias_sample *)b)->group;
    return (x > y) - (x < y);
}

/* Ends the step of one source. */
static enum status judge_step(struct bias_source *source, uint64_t version,
                              struct length_bias_report *report)
{
    double count = (double)source->count, slope;
    size_t kept = source->count < BIAS_SAMPLES_MAX ? source->count : BIAS_SAMPLES_MAX;
    TRY(length_bias_push(
        source->monitor, version, source->length / count, source->reward / count,
        source->verified_count > 0 ? source->verified / (double)source->verified_count : NAN,
        report));
    qsort(source->samples, kept, sizeof *source->samples, by_group);
    if (length_bias_group_slope(source->samples, kept, &slope) == STATUS_OK)
        TRY(length_bias_push_slope(source->monitor, version, slope, report));
    source->count = source->verified_count = 0;
    source->length = source->reward = source->verified = 0;
    return STATUS_OK;
}

enum status server_bias_step(struct server_bias *bias, uint64_t version,
                             enum status (*say)(void *self, const char *text), void *self)
{
    if (bias->window == 0 || version == bias->version)
        return STATUS_OK;
    bias->version = version;
    for (size_t i = 0; i < bias->source_count; i++) {
        struct bias_source *source = &bias->sources[i];
        struct length_bias_report report;
        if (source->count == 0)
            continue;
        TRY(judge_step(source, version, &report));
        if (report.state == LENGTH_BIAS_ALARM && !source->alarmed) {
            source->fresh = true;
            TRY(say_alarm(source, &report, say, self));
        }
        source->alarmed = report.state == LENGTH_BIAS_ALARM;
    }
    return STATUS_OK;
}

const char *server_bias_take_alarm(struct server_bias *bias)
{
    for (size_t i = 0; i < bias->source_count; i++)
        if (bias->sources[i].fresh) {
            bias->sources[i].fresh = false;
            return bias->sources[i].name;
        }
    return NULL;
}

void server_bias_clear(struct server_bias *bias, const char *glob)
{
    for (size_t i = 0; i < bias->source_count; i++) {
        struct bias_source *source = &bias->sources[i];
        if (fnmatch(glob, source->name, 0) != 0)
            continue;
        length_bias_clear(source->monitor);
        source->alarmed = source->fresh = false;
        source->count = source->verified_count = 0;
        source->length = source->reward = source->verified = 0;
    }
}
