/* weir judge check: is this judge good enough? Labelled answers in; accuracy, Best-of-N against pass@N, consistency and
 * the padded probe out. */
#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "reward/judge/calibrate.h"
#include "reward/judge/judge_command.h"
#include "reward/judge/prompts.h"

enum { ANSWERS_MAX = 256 };

static const char *answer_text(const json_t *answer)
{
    const char *text = json_string_value(json_object_get(answer, "text"));
    return text != NULL ? text : json_string_value(json_object_get(answer, "response"));
}

/* NULL: fine. */
static const char *check_shape(const json_t *row)
{
    const json_t *answers = json_object_get(row, "responses"), *answer;
    size_t i;
    if (!json_is_string(json_object_get(row, "ground_truth")))
        return "ground_truth is not a text";
    if (json_array_size(answers) < 1 || json_array_size(answers) > ANSWERS_MAX)
        return "responses is not a list of 1 to 256 answers";
    json_array_foreach(
        (json_t *)(uintptr_t)answers, i,
        answer) if (answer_text(answer) == NULL ||
                    !json_is_boolean(json_object_get(
                        answer, "correct"))) return "a response needs \"text\" and \"correct\"";
    return NULL;
}

/* NaN: no verdict. false: no answer from the judge. */
static bool grade_answer(struct judge *judge, const struct judge_command_options *options,
                         const json_t *row, const char *answer, double *grade, double *cost,
                         char *why, size_t size)
{
    const char *question = judge_command_question(row);
    const char *truth = json_string_value(json_object_get(row, "ground_truth"));
    struct ballot_rules rules = options->rules;
    struct ballot ballot = {.passes = 1};
    json_t *messages = NULL;
    rules.mode = VERDICT_GRADE5;
    if (prompts_grade((struct prompt_text){question, strlen(question)},
                      (struct prompt_text){truth, strlen(truth)},
                      (struct prompt_text){answer, strlen(answer)}, (size_t)options->text_bytes_max,
                      &messages) != STATUS_OK)
        return false;
    ballot.pass[0].messages = messages;
    ballot_hold(judge, &rules, &ballot, clock_now_ns() + options->deadline_ms * CLOCK_NS_PER_MS);
    json_decref(messages);
    *cost += ballot.cost;
    *grade = ballot.pass[0].agreed ? ballot.pass[0].verdict : (double)NAN;
    if (ballot.status != STATUS_OK)
        snprintf(why, size, "%s", ballot.why);
    return ballot.status == STATUS_OK;
}

static bool grade_all(struct judge *judge, const struct judge_command_options *options,
                      const json_t *row, json_t *grades, double *cost, char *why, size_t size)
{
    size_t i;
    const json_t *answer;
    json_array_foreach(json_object_get(row, "responses"), i, answer)
    {
        double grade;
        if (!grade_answer(judge, options, row, answer_text(answer), &grade, cost, why, size))
            return false;
        json_array_append_new(grades, isnan(grade) ? json_null() : json_real(grade));
    }
    return true;
}

static json_t *pair_json(const struct judge_command_pair *pair)
{
    return json_pack("{s:o,s:o}", "first_pass",
                     pair->has_a ? json_integer(pair->as_a) : json_null(), "second_pass",
                     pair->has_b ? json_integer(pair->as_b) : json_null());
}

/* Neighbours, each pair in both places. */
static bool judge_pairs(struct judge *judge, const struct judge_command_options *options,
                        const json_t *row, json_t *pairs, double *cost, char *why, size_t size)
{
    const json_t *answers = json_object_get(row, "responses");
    for (size_t i = 0; i + 1 < json_array_size(answers); i++) {
        struct judge_command_pair pair;
        bool asked = judge_command_pair(judge, options, judge_command_question(row),
                                        answer_text(json_array_get(answers, i)),
                                        answer_text(json_array_get(answers, i + 1)), &pair);
        *cost += pair.cost;
        if (!asked) {
            snprintf(why, size, "%s", pair.why);
            return false;
        }
        json_array_append_new(pairs, pair_json(&pair));
    }
    return true;
}

/* The first response against itself with neutral text added: the score of the padded one in both places. */
static bool judge_padded(struct judge *judge, const struct judge_command_options *options,
                         const json_t *row, json_t **padded, double *cost, char *why, size_t size)
{
    const char *answer = answer_text(json_array_get(json_object_get(row, "responses"), 0));
    struct judge_command_pair pair = {0};
    struct buffer longer;
    buffer_init(&longer, 0);
    bool asked = calibrate_pad(&longer, answer, strlen(answer), options->pad_share) == STATUS_OK &&
                 judge_command_pair(judge, options, judge_command_question(row),
                                    buffer_string(&longer), answer, &pair);
    buffer_free(&longer);
    *cost += pair.cost;
    if (asked)
        *padded = pair_json(&pair);
    else
        snprintf(why, size, "%s", pair.why);
    return asked;
}

json_t *judge_check_row(struct judge *judge, const struct judge_command_options *options,
                        const json_t *row)
{
    json_t *result = json_object(), *id = json_object_get(row, "id");
    json_t *grades = json_array(), *pairs = json_array(), *padded = NULL, *correct = json_array();
    const char *shape = check_shape(row);
    char why[512] = "";
    double cost = 0;
    size_t i;
    const json_t *answer;
    bool done =
        shape == NULL && grade_all(judge, options, row, grades, &cost, why, sizeof why) &&
        (!options->pairs || judge_pairs(judge, options, row, pairs, &cost, why, sizeof why)) &&
        (!options->padded || judge_padded(judge, options, row, &padded, &cost, why, sizeof why));
    if (id != NULL)
        json_object_set(result, "id", id);
    json_object_set_new(result, "status",
                        json_string(shape != NULL ? "unscorable"
                                    : done        ? "ok"
                                                  : "error"));
    if (!done)
        json_object_set_new(result, "why", json_string(shape != NULL ? shape : why));
    json_array_foreach(json_object_get(row, "responses"), i, answer) json_array_append_new(
        correct, json_boolean(json_is_true(json_object_get(answer, "correct"))));
    json_object_set_new(result, "correct", correct);
    json_object_set_new(result, "grades", grades);
    json_object_set_new(result, "pairs", pairs);
    if (padded != NULL)
        json_object_set_new(result, "padded", padded);
    json_object_set_new(result, "cost", json_real(cost));
    return result;
}

static bool is_ok(const json_t *result)
{
    const char *status = json_string_value(json_object_get(result, "status"));
    return status != NULL && strcmp(status, "ok") == 0;
}

static void add_grades(const json_t *result, double right, struct best_of *sums)
{
    const json_t *grades = json_object_get(result, "grades"),
                 *correct = json_object_get(result, "correct");
    bool is_right[ANSWERS_MAX];
    double grade[ANSWERS_MAX];
    size_t count = json_array_size(grades);
    for (size_t i = 0; i < count && i < ANSWERS_MAX; i++) {
        const json_t *number = json_array_get(grades, i);
        is_right[i] = json_is_true(json_array_get(correct, i));
        grade[i] = json_is_number(number) ? json_number_value(number) : (double)NAN;
    }
    best_of_add(sums, is_right, grade, count < ANSWERS_MAX ? count : ANSWERS_MAX, right);
}

struct pair_sums {
    double pairs, consistent, invalid, first, score, passes;
};

static void add_pair(const json_t *pair, struct pair_sums *sums)
{
    const json_t *a = json_object_get(pair, "first_pass"),
                 *b = json_object_get(pair, "second_pass");
    sums->pairs++;
    sums->invalid += !json_is_integer(a) || !json_is_integer(b);
    if (!json_is_integer(a) || !json_is_integer(b))
        return;
    double as_a = (double)json_integer_value(a), as_b = (double)json_integer_value(b);
    sums->consistent += as_a == as_b;
    sums->first += (as_a + 1) / 2 + (1 - as_b) / 2;
    sums->score += (as_a + 1) / 2 + (as_b + 1) / 2;
    sums->passes += 2;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

json_t *judge_check_summary(json_t *const *results, size_t count,
                            const struct judge_command_options *options)
{
    struct best_of sums = {0};
    struct pair_sums pairs = {0}, padded = {0};
    json_int_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        size_t p;
        const json_t *pair;
        failed += !is_ok(results[i]);
        if (!is_ok(results[i]))
            continue;
        add_grades(results[i], options->right, &sums);
        json_array_foreach(json_object_get(results[i], "pairs"), p, pair) add_pair(pair, &pairs);
        if (json_object_get(results[i], "padded") != NULL)
            add_pair(json_object_get(results[i], "padded"), &padded);
    }
    json_t *summary =
        json_pack("{s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f}", "rows", (json_int_t)count, "failed", failed,
                  "answers", (json_int_t)sums.answers, "unreadable", (json_int_t)sums.unreadable,
                  "accuracy", best_of_accuracy(&sums), "pass_at_n", best_of_pass(&sums),
                  "best_of_n", best_of_best(&sums), "gap", best_of_gap(&sums));
    if (options->pairs)
        json_object_set_new(summary, "pairs",
                            json_pack("{s:f,s:f,s:f,s:f}", "count", pairs.pairs, "consistency",
                                      ratio(pairs.consistent, pairs.passes / 2), "first_place",
                                      ratio(pairs.first, pairs.passes), "invalid", pairs.invalid));
    if (options->padded) {
        double preference = ratio(padded.score, padded.passes);
        json_object_set_new(summary, "padded",
                            json_pack("{s:f,s:f,s:b}", "count", padded.passes / 2, "preference",
                                      preference, "passes",
                                      padded.passes > 0 && preference < 0.55));
    }
    return summary;
}
