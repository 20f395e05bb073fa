/* tests/math_case.h - rows of `weir reward` (kind math) against the area, for its tests. */
#ifndef TESTS_MATH_CASE_H
#define TESTS_MATH_CASE_H

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/check.h"
#include "core/clock.h"
#include "reward/area.h"

extern const struct reward_area math_area;

struct math_score {
    int32_t status;
    double value;
    char why[160];
};

/* An instance with the settings of `config` (JSON text). */
static inline void *math_instance(const char *config)
{
    char why[200];
    void *made = NULL;
    json_t *settings = json_loads(config, 0, NULL);
    CHECK(settings != NULL && math_area.create(settings, NULL, &made, why, sizeof why) == 0);
    json_decref(settings);
    return made;
}

static inline struct math_score math_score_row(void *instance, const json_t *row)
{
    const json_t *response = json_object_get(row, "response"),
                 *truth = json_object_get(row, "gold"),
                 *source = json_object_get(row, "data_source");
    struct reward_case one = {.row = row,
                              .truth = truth,
                              .response = json_string_value(response),
                              .response_size = json_string_length(response),
                              .prompt = "",
                              .data_source = source != NULL ? json_string_value(source) : "",
                              .deadline_ns = INT64_MAX};
    struct reward_outcome outcome = {.status = WEIR_REWARD_UNSCORABLE, .fields = json_object()};
    struct math_score score = {.value = -1};
    math_area.score(instance, &one, 1, &outcome);
    score.status = outcome.status;
    if (outcome.status == WEIR_REWARD_OK)
        score.value = outcome.value;
    const char *why = json_string_value(json_object_get(outcome.fields, "why"));
    snprintf(score.why, sizeof score.why, "%s", why != NULL ? why : "");
    json_decref(outcome.fields);
    return score;
}

/* A row of a gold and an answer as they stand. */
static inline struct math_score math_score_text(void *instance, const char *gold,
                                                const char *response, size_t size)
{
    json_t *row = json_object();
    json_object_set_new(row, "gold", json_string(gold));
    json_object_set_new(row, "response", json_stringn_nocheck(response, size));
    struct math_score score = math_score_row(instance, row);
    json_decref(row);
    return score;
}

static inline struct math_score math_score_boxed(void *instance, const char *gold,
                                                 const char *answer)
{
    char text[4200];
    int size = snprintf(text, sizeof text, "\\boxed{%s}", answer);
    CHECK(size > 0 && (size_t)size < sizeof text);
    return math_score_text(instance, gold, text, (size_t)size);
}

#endif
