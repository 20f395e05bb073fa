/* tests/rules_case.h - rows and rollouts through one area, for the tests of reward/rules. */
#ifndef TESTS_RULES_CASE_H
#define TESTS_RULES_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reward/rules/rules.h"

struct rules_result {
    int32_t status;
    double value;
    json_t *fields; /* owned */
};

static inline json_t *rules_json(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (value == NULL)
        fail_msg("bad JSON in a test: %s: %s", error.text, text);
    return value;
}

static inline void *rules_open(const struct reward_area *area, const char *config)
{
    char why[512] = "";
    void *instance = NULL;
    struct reward_tools tools = {0};
    json_t *settings = rules_json(config);
    if (area->create(settings, &tools, &instance, why, sizeof why) != 0)
        fail_msg("%s refused %s: %s", area->name, config, why);
    json_decref(settings);
    return instance;
}

/* The sentence with which settings are refused; fails when they are taken. */
static inline void rules_refused(const struct reward_area *area, const char *config,
                                 const char *part)
{
    char why[640] = "";
    void *instance = NULL;
    struct reward_tools tools = {0};
    json_t *settings = rules_json(config);
    assert_int_not_equal(area->create(settings, &tools, &instance, why, sizeof why), 0);
    if (strstr(why, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, part);
    json_decref(settings);
}

static inline struct rules_result rules_score_case(const struct reward_area *area, void *instance,
                                                   const struct reward_case *one)
{
    struct reward_outcome outcome = {WEIR_REWARD_UNSCORABLE, NAN, json_object()};
    area->score(instance, one, 1, &outcome);
    if (outcome.status == WEIR_REWARD_OK)
        assert_true(isfinite(outcome.value));
    return (struct rules_result){outcome.status, outcome.value, outcome.fields};
}

static inline struct rules_result rules_score_row(const struct reward_area *area, void *instance,
                                                  const json_t *row)
{
    const json_t *response = json_object_get(row, "response");
    struct reward_case one = {.row = row,
                              .truth = json_object_get(row, "ground_truth"),
                              .response = response != NULL ? json_string_value(response) : "",
                              .response_size = json_string_length(response),
                              .prompt = "",
                              .data_source = "",
                              .deadline_ns = INT64_MAX};
    return rules_score_case(area, instance, &one);
}

/* One row, given as text, with default settings. */
static inline struct rules_result rules_score(const struct reward_area *area, const char *text)
{
    json_t *row = rules_json(text);
    void *instance = rules_open(area, "{}");
    struct rules_result result = rules_score_row(area, instance, row);
    area->destroy(instance);
    json_decref(row);
    return result;
}

/* Equal to the JSON of the text. */
static inline void rules_assert_json(const json_t *value, const char *text)
{
    json_t *expected = rules_json(text);
    if (!json_equal(value, expected))
        fail_msg("%s is not %s", value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : "NULL", text);
    json_decref(expected);
}

static inline void rules_free(struct rules_result *result)
{
    json_decref(result->fields);
}

/* Calls `check` with each row of tests/golden/reward/NAME; the number of rows. */
static inline size_t rules_each_row(const char *name,
                                    void (*check)(void *context, const json_t *row), void *context)
{
    char path[512], *line = NULL;
    size_t size = 0, count = 0;
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/reward/%s", name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    while (getline(&line, &size, file) > 0) {
        json_t *row = rules_json(line);
        check(context, row);
        json_decref(row);
        count++;
    }
    free(line);
    fclose(file);
    return count;
}

#endif
