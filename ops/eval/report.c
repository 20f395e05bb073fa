#include "ops/eval/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "ops/estimate.h"
#include "ops/jsonl.h"

enum { SAMPLES_MAX = 65536 /* of one prompt */, ALL = -1 };

struct prompt_tally {
    int32_t source;
    uint32_t n, c;                        /* scored; passed */
    double sum;                           /* of values */
    double majority;                      /* 1, 0, or NAN: no answers were extracted */
    double majority_at[REPORT_KS_MAX];    /* likewise, for each k of the options */
    double samples, tokens, cut, repeats; /* all, scored or not */
};

struct sample_tally {
    int32_t source;
    double tokens;
    bool cut, repeats, scored;
};

struct report {
    const struct report_options *options;
    char **names; /* [name_count] sources, owned */
    uint32_t name_count;
    struct prompt_tally *prompts;
    uint32_t prompt_count, prompt_limit;
    struct sample_tally *samples;
    uint32_t sample_count, sample_limit;
    bool has_values, has_answers;
    /* of the prompt in hand */
    json_int_t index;
    char **answers; /* [answer_count] owned; NULL: none */
    bool *passed;
    int32_t *kinds; /* index of the first equal answer; -1: none */
    uint32_t *room; /* of estimate_majority_at */
    uint32_t answer_count;
};

/* ---- reading ---- */

static enum status grow(void **items, uint32_t count, uint32_t *limit, size_t bytes)
{
    if (count < *limit)
        return STATUS_OK;
    uint32_t wider = *limit > 0 ? *limit * 2 : 256;
    void *grown = memory_grow(*items, *limit * bytes, wider * bytes);
    if (grown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u rows", wider);
    *items = grown;
    *limit = wider;
    return STATUS_OK;
}

static enum status source_of(struct report *report, const char *name, int32_t *source)
{
    for (uint32_t i = 0; i < report->name_count; i++)
        if (strcmp(report->names[i], name) == 0) {
            *source = (int32_t)i;
            return STATUS_OK;
        }
    char **names = memory_grow(report->names, report->name_count * sizeof *names,
                               (report->name_count + 1) * sizeof *names);
    if (names == NULL)
        return FAIL(STATUS_NO_MEMORY, "a source");
    report->names = names;
    names[report->name_count] = memory_text(name);
    if (names[report->name_count] == NULL)
        return FAIL(STATUS_NO_MEMORY, "a source");
    *source = (int32_t)report->name_count++;
    return STATUS_OK;
}

static void count_majorities(struct report *report, struct prompt_tally *prompt)
{
    for (uint32_t i = 0; i < report->answer_count; i++) {
        uint32_t j = 0;
        while (report->answers[i] != NULL && j < i &&
               (report->answers[j] == NULL || strcmp(report->answers[i], report->answers[j]) != 0))
            j++;
        report->kinds[i] = report->answers[i] != NULL ? (int32_t)j : -1;
    }
    for (uint32_t i = 0; i < report->options->k_count; i++) {
        struct rng rng;
        rng_init(&rng, report->options->seed, (uint64_t)report->prompt_count * REPORT_KS_MAX + i,
                 RNG_TASK);
        prompt->majority_at[i] =
            estimate_majority_at(report->kinds, report->passed, report->answer_count,
                                 report->options->ks[i], &rng, report->room);
    }
}

static void end_prompt(struct report *report)
{
    if (report->prompt_count == 0)
        return;
    struct prompt_tally *prompt = &report->prompts[report->prompt_count - 1];
    int64_t best = estimate_majority((const char *const *)report->answers, report->answer_count);
    if (best >= 0) {
        report->has_answers = true;
        prompt->majority = report->passed[best];
        count_majorities(report, prompt);
    }
    for (uint32_t i = 0; i < report->answer_count; i++)
        memory_free(report->answers[i]);
    report->answer_count = 0;
}

static enum status begin_prompt(struct report *report, const json_t *row, json_int_t index)
{
    end_prompt(report);
    TRY(grow((void **)&report->prompts, report->prompt_count, &report->prompt_limit,
             sizeof *report->prompts));
    const char *name = json_string_value(json_object_get(row, "data_source"));
    struct prompt_tally prompt = {.majority = NAN};
    for (int i = 0; i < REPORT_KS_MAX; i++)
        prompt.majority_at[i] = NAN;
    TRY(source_of(report, name != NULL ? name : "", &prompt.source));
    report->prompts[report->prompt_count++] = prompt;
    report->index = index;
    return STATUS_OK;
}

/* What the scorer read out of the response: "answer" of its detail, without blanks. */
static enum status take_answer(struct report *report, const json_t *row, bool passed)
{
    const json_t *detail = json_object_get(row, "detail");
    const json_t *inner = json_object_get(detail, "detail");
    const char *text =
        json_string_value(json_object_get(json_is_object(inner) ? inner : detail, "answer"));
    if (report->answer_count == SAMPLES_MAX)
        return FAIL(STATUS_LIMIT, "more than %d samples of one prompt", SAMPLES_MAX);
    char *answer = text != NULL ? memory_text(text) : NULL;
    size_t size = 0;
    for (const char *at = text; answer != NULL && *at != '\0'; at++)
        if (strchr(" \t\r\n", *at) == NULL)
            answer[size++] = *at;
    if (answer != NULL)
        answer[size] = '\0';
    report->passed[report->answer_count] = passed;
    report->answers[report->answer_count++] = answer;
    return STATUS_OK;
}

static enum status take_row(struct report *report, const json_t *row)
{
    const json_t *index = json_object_get(row, "index"), *value = json_object_get(row, "value");
    if (!json_is_integer(index))
        return FAIL(STATUS_INVALID, "a row without \"index\"");
    if (report->prompt_count == 0 || json_integer_value(index) != report->index)
        TRY(begin_prompt(report, row, json_integer_value(index)));
    TRY(grow((void **)&report->samples, report->sample_count, &report->sample_limit,
             sizeof *report->samples));
    struct prompt_tally *prompt = &report->prompts[report->prompt_count - 1];
    const char *finish = json_string_value(json_object_get(row, "finish"));
    bool scored = json_is_number(value);
    report->has_values |= value != NULL;
    report->samples[report->sample_count++] =
        (struct sample_tally){.source = prompt->source,
                              .tokens = json_number_value(json_object_get(row, "tokens")),
                              .cut = finish != NULL && strcmp(finish, "length") == 0,
                              .repeats = finish != NULL && strcmp(finish, "repetition") == 0,
                              .scored = scored};
    const struct sample_tally *sample = &report->samples[report->sample_count - 1];
    prompt->samples++;
    prompt->tokens += sample->tokens;
    prompt->cut += sample->cut;
    prompt->repeats += sample->repeats;
    if (!scored)
        return STATUS_OK;
    bool passed = json_number_value(value) >= report->options->success;
    prompt->n++;
    prompt->c += passed;
    prompt->sum += json_number_value(value);
    return take_answer(report, row, passed);
}

static enum status read_rows(struct report *report, const char *path)
{
    struct jsonl file;
    json_t *row = NULL;
    TRY(jsonl_open(&file, path));
    enum status status;
    while ((status = jsonl_next(&file, &row)) == STATUS_OK && row != NULL) {
        status = take_row(report, row);
        json_decref(row);
        if (status != STATUS_OK)
            break;
    }
    jsonl_close(&file);
    end_prompt(report);
    return status;
}

/* ---- figures ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

enum figure { AVERAGE, RATE, PASS, MAJORITY, MAJORITY_AT, LENGTH, CUT, REPEATS };

/* k: of PASS; index of k: of MAJORITY_AT. */
static double figure_of(const struct prompt_tally *prompt, enum figure figure, uint32_t k)
{
    switch (figure) {
    case MAJORITY_AT:
        return prompt->majority_at[k];
    case LENGTH:
        return prompt->tokens / prompt->samples;
    case CUT:
        return prompt->cut / prompt->samples;
    case REPEATS:
        return prompt->repeats / prompt->samples;
    case AVERAGE:
        return prompt->n > 0 ? prompt->sum / prompt->n : NAN;
    case RATE:
        return prompt->n > 0 ? (double)prompt->c / prompt->n : NAN;
    case PASS:
        return estimate_pass(prompt->n, prompt->c, k);
    default:
        return prompt->majority;
    }
}

static enum status add_figure(const struct report *report, int32_t source, enum figure figure,
                              uint32_t k, json_t *out, const char *name)
{
    double *values = memory_array((size_t)report->prompt_count + 1, sizeof *values);
    if (values == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u prompts", report->prompt_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < report->prompt_count; i++)
        if (source == ALL || report->prompts[i].source == source)
            values[count++] = figure_of(&report->prompts[i], figure, k);
    struct estimate estimate;
    enum status status = estimate_mean(values, count, report->options->seed, &estimate);
    memory_free(values);
    TRY(status);
    json_t *json = json_object();
    json_object_set_new(json, "value", number(estimate.value));
    json_object_set_new(json, "low", number(estimate.low));
    json_object_set_new(json, "high", number(estimate.high));
    json_object_set_new(json, "prompts", json_integer(estimate.prompts));
    json_object_set_new(out, name, json);
    return STATUS_OK;
}

static enum status add_rates(const struct report *report, int32_t source, json_t *out)
{
    char name[32];
    TRY(add_figure(report, source, AVERAGE, 0, out, "avg_reward"));
    TRY(add_figure(report, source, RATE, 0, out, "avg"));
    json_t *pass = json_object();
    json_object_set_new(out, "pass", pass);
    for (uint32_t i = 0; i < report->options->k_count; i++) {
        snprintf(name, sizeof name, "%u", report->options->ks[i]);
        TRY(add_figure(report, source, PASS, report->options->ks[i], pass, name));
    }
    if (!report->has_answers)
        return STATUS_OK;
    json_t *majority = json_object();
    json_object_set_new(out, "majority_at", majority);
    for (uint32_t i = 0; i < report->options->k_count; i++) {
        snprintf(name, sizeof name, "%u", report->options->ks[i]);
        TRY(add_figure(report, source, MAJORITY_AT, i, majority, name));
    }
    return add_figure(report, source, MAJORITY, 0, out, "majority");
}

/* Means over prompts of their samples' means; the same as over samples when all prompts have as many. */
static enum status add_intervals(const struct report *report, int32_t source, json_t *out)
{
    json_t *intervals = json_object();
    json_object_set_new(out, "intervals", intervals);
    TRY(add_figure(report, source, LENGTH, 0, intervals, "tokens"));
    TRY(add_figure(report, source, CUT, 0, intervals, "truncated"));
    return add_figure(report, source, REPEATS, 0, intervals, "repetition");
}

static enum status add_lengths(const struct report *report, int32_t source, json_t *out)
{
    double *tokens = memory_array((size_t)report->sample_count + 1, sizeof *tokens), sum = 0;
    if (tokens == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u samples", report->sample_count);
    uint32_t count = 0, cut = 0, repeats = 0, scored = 0;
    for (uint32_t i = 0; i < report->sample_count; i++) {
        const struct sample_tally *sample = &report->samples[i];
        if (source != ALL && sample->source != source)
            continue;
        tokens[count++] = sample->tokens;
        sum += sample->tokens;
        cut += sample->cut;
        repeats += sample->repeats;
        scored += sample->scored;
    }
    json_object_set_new(out, "samples", json_integer(count));
    if (report->has_values)
        json_object_set_new(out, "not_scored", json_integer(count - scored));
    json_t *lengths = json_object();
    json_object_set_new(lengths, "mean", number(sum / count));
    json_object_set_new(lengths, "p50", number(estimate_quantile(tokens, count, 0.5)));
    json_object_set_new(lengths, "p99", number(estimate_quantile(tokens, count, 0.99)));
    json_object_set_new(lengths, "max", number(estimate_quantile(tokens, count, 1)));
    json_object_set_new(out, "tokens", lengths);
    json_object_set_new(out, "truncated", number((double)cut / count));
    json_object_set_new(out, "repetition", number((double)repeats / count));
    memory_free(tokens);
    return STATUS_OK;
}

static enum status add_source(const struct report *report, int32_t source, json_t *sources)
{
    uint32_t prompts = 0;
    for (uint32_t i = 0; i < report->prompt_count; i++)
        prompts += source == ALL || report->prompts[i].source == source;
    json_t *out = json_object();
    json_array_append_new(sources, out);
    json_object_set_new(out, "source", json_string(source == ALL ? "all" : report->names[source]));
    json_object_set_new(out, "prompts", json_integer(prompts));
    TRY(add_lengths(report, source, out));
    TRY(add_intervals(report, source, out));
    return report->has_values ? add_rates(report, source, out) : STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status make(const struct report *report, json_t *json)
{
    json_t *sources = json_array();
    json_object_set_new(json, "sources", sources);
    json_object_set_new(json, "success", json_real(report->options->success));
    json_object_set_new(json, "interval", json_string("95 %, bootstrap over prompts"));
    TRY(add_source(report, ALL, sources));
    if (report->name_count < 2)
        return STATUS_OK;
    char **sorted = memory_array(report->name_count, sizeof *sorted);
    if (sorted == NULL)
        return FAIL(STATUS_NO_MEMORY, "sources");
    memcpy(sorted, report->names, report->name_count * sizeof *sorted);
    qsort(sorted, report->name_count, sizeof *sorted, compare_names);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < report->name_count && status == STATUS_OK; i++)
        for (uint32_t j = 0; j < report->name_count; j++)
            if (report->names[j] == sorted[i])
                status = add_source(report, (int32_t)j, sources);
    memory_free(sorted);
    return status;
}

enum status report_make(const char *path, const struct report_options *options, json_t **json)
{
    struct report report = {.options = options};
    *json = NULL;
    report.answers = memory_array(SAMPLES_MAX, sizeof *report.answers);
    report.passed = memory_array(SAMPLES_MAX, sizeof *report.passed);
    report.kinds = memory_array(SAMPLES_MAX, sizeof *report.kinds);
    report.room = memory_array((size_t)3 * SAMPLES_MAX, sizeof *report.room);
    bool room = report.kinds != NULL && report.room != NULL;
    enum status status = report.answers != NULL && report.passed != NULL && room
                             ? read_rows(&report, path)
                             : FAIL(STATUS_NO_MEMORY, "a report");
    if (status == STATUS_OK && report.prompt_count == 0)
        status = FAIL(STATUS_INVALID, "%s has no rows", path);
    if (status == STATUS_OK) {
        *json = json_object();
        status = make(&report, *json);
    }
    if (status != STATUS_OK) {
        json_decref(*json);
        *json = NULL;
    }
    for (uint32_t i = 0; i < report.name_count; i++)
        memory_free(report.names[i]);
    memory_free(report.names);
    memory_free(report.prompts);
    memory_free(report.samples);
    memory_free(report.answers);
    memory_free(report.passed);
    memory_free(report.kinds);
    memory_free(report.room);
    return status;
}

/* ---- the table ---- */

static double member(const json_t *json, const char *name)
{
    const json_t *value = json_object_get(json, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static enum status put_figure(struct buffer *text, const char *name, const json_t *figure)
{
    return figure == NULL
               ? STATUS_OK
               : buffer_printf(text, "  %-10s %7.4f  [%.4f, %.4f]  %u prompts\n", name,
                               member(figure, "value"), member(figure, "low"),
                               member(figure, "high"), (unsigned)member(figure, "prompts"));
}

static enum status put_lengths(const json_t *source, struct buffer *text)
{
    const json_t *tokens = json_object_get(source, "tokens");
    return buffer_printf(text,
                         "  tokens     mean %.1f, p50 %.0f, p99 %.0f, max %.0f; cut at the limit "
                         "%.2f %%, repeating %.2f %%\n",
                         member(tokens, "mean"), member(tokens, "p50"), member(tokens, "p99"),
                         member(tokens, "max"), 100 * member(source, "truncated"),
                         100 * member(source, "repetition"));
}

static enum status put_source(const json_t *source, struct buffer *text)
{
    TRY(buffer_printf(text, "%s: %u prompts, %u samples",
                      json_string_value(json_object_get(source, "source")),
                      (unsigned)member(source, "prompts"), (unsigned)member(source, "samples")));
    if (member(source, "not_scored") > 0)
        TRY(buffer_printf(text, ", %u not scored", (unsigned)member(source, "not_scored")));
    TRY(buffer_text(text, "\n"));
    TRY(put_figure(text, "reward", json_object_get(source, "avg_reward")));
    TRY(put_figure(text, "avg@n", json_object_get(source, "avg")));
    const char *k;
    json_t *figure;
    json_t *pass = json_object_get(source, "pass");
    json_object_foreach(pass, k, figure)
    {
        char name[48];
        snprintf(name, sizeof name, "pass@%s", k);
        TRY(put_figure(text, name, figure));
    }
    json_t *majority = json_object_get(source, "majority_at");
    double n = member(source, "samples") / member(source, "prompts");
    json_object_foreach(majority, k, figure)
    {
        char name[48];
        double of = strtod(k, NULL);
        snprintf(name, sizeof name, "maj@%s", k);
        if (of > 1 && of < n) /* maj@1 is avg@n */
            TRY(put_figure(text, name, figure));
    }
    TRY(put_figure(text, "maj@n", json_object_get(source, "majority")));
    return put_lengths(source, text);
}

enum status report_table(const json_t *json, struct buffer *text)
{
    const json_t *sources = json_object_get(json, "sources");
    for (size_t i = 0; i < json_array_size(sources); i++)
        TRY(put_source(json_array_get(sources, i), text));
    return STATUS_OK;
}
