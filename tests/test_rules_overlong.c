/* links: reward_rules */
/* Length shaping at its edges, and clipping, scales, normalisation and the length correction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "reward/rules/shaping.h"
#include "tests/rules_case.h"

static double value_of(const char *row)
{
    struct rules_result result = rules_score(&overlong_area, row);
    if (result.status != WEIR_REWARD_OK)
        fail_msg("%s: status %d", row, result.status);
    rules_free(&result);
    return result.value;
}

static double dapo(int max_len, int cache, int length)
{
    char row[200];
    snprintf(row, sizeof row,
             "{\"kind\": \"overlong_dapo\", \"max_len\": %d, \"cache\": %d, \"length\": %d}",
             max_len, cache, length);
    return value_of(row);
}

static double verl(int length, double factor, double base)
{
    char row[240];
    snprintf(row, sizeof row,
             "{\"kind\": \"overlong_verl_manager\", \"max_resp_len\": 1000, "
             "\"overlong_buffer_len\": 200, \"penalty_factor\": %g, \"length\": %d, "
             "\"base_score\": %g}",
             factor, length, base);
    return value_of(row);
}

static void test_rules_overlong_dapo_falls_over_the_cache_and_stays_at_minus_one(void **state)
{
    (void)state;
    assert_true(dapo(100, 20, 80) == 0.0);
    assert_true(dapo(100, 20, 81) == -0.05);
    assert_true(dapo(100, 20, 90) == -0.5);
    assert_true(dapo(100, 20, 100) == -1.0);
    assert_true(dapo(100, 20, 101) == -1.0);
    assert_true(dapo(100, 20, 100000) == -1.0);
    assert_true(dapo(100, 100, 1) == -0.01);
    assert_true(dapo(100, 0, 100) == 0.0);
    assert_true(dapo(100, 0, 101) == -1.0);
}

static void test_rules_overlong_verl_has_no_floor_and_adds_the_base(void **state)
{
    (void)state;
    assert_true(verl(800, 1.0, 1.0) == 1.0);
    assert_true(verl(900, 1.0, 1.0) == 0.5);
    assert_true(verl(900, 0.5, -1.0) == -1.25);
    assert_true(verl(1400, 1.0, 0.0) == -3.0);
}

static void test_rules_overlong_bad_rows_are_unscorable(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"kind\": \"overlong_dapo\", \"max_len\": 5, \"cache\": 1}",
        "{\"kind\": \"overlong_dapo\", \"max_len\": 5, \"cache\": 1, \"length\": -1}",
        "{\"kind\": \"overlong_dapo\", \"max_len\": \"5\", \"cache\": 1, \"length\": 1}",
        "{\"kind\": \"overlong_verl_manager\", \"max_resp_len\": 5, \"overlong_buffer_len\": 0,"
        "\"length\": 1}",
        "{}"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rules_result result = rules_score(&overlong_area, rows[i]);
        assert_int_equal(result.status, WEIR_REWARD_UNSCORABLE);
        assert_non_null(json_object_get(result.fields, "why"));
        rules_free(&result);
    }
    rules_refused(&overlong_area, "{\"max_len\": 0}", "max_len");
    rules_refused(&overlong_area, "{\"max_len\": 5, \"rule\": \"verl\"}", "cache");
    rules_refused(&overlong_area, "{\"max\": 5}", "max");
}

static void test_rules_overlong_a_rollouts_length_is_its_tokens(void **state)
{
    (void)state;
    json_t *row = json_object();
    struct reward_case one = {
        .row = row, .response = "", .prompt = "", .data_source = "", .response_tokens = 90};
    void *instance = rules_open(&overlong_area, "{\"max_len\": 100, \"cache\": 20}");
    struct rules_result result = rules_score_case(&overlong_area, instance, &one);
    assert_true(result.status == WEIR_REWARD_OK && result.value == -0.5);
    assert_true(json_is_true(json_object_get(result.fields, "overlong")));
    rules_free(&result);
    overlong_area.destroy(instance);
    json_decref(row);
}

static void test_rules_overlong_clip_and_scale(void **state)
{
    (void)state;
    assert_true(score_clip(2.0, -1.0, 1.0) == 1.0);
    assert_true(score_clip(-2.0, -1.0, 1.0) == -1.0);
    assert_true(score_clip(0.25, -1.0, 1.0) == 0.25);
    assert_true(isnan(score_clip(INFINITY, -1.0, 1.0)));
    assert_true(score_scaled(0.25, SCORE_SCALE_01) == 0.25);
    assert_true(score_scaled(0.25, SCORE_SCALE_PM1) == -0.5);
}

static void test_rules_overlong_running_norm_is_the_sample_mean_and_deviation(void **state)
{
    (void)state;
    struct score_norm norm = {0};
    static const double scores[] = {2, 4, 4, 4, 5, 5, 7, 9};
    for (size_t i = 0; i < 8; i++)
        score_norm_add(&norm, scores[i]);
    score_norm_add(&norm, NAN); /* is not counted */
    assert_true(norm.mean == 5.0);
    assert_true(fabs(score_norm_deviation(&norm) - sqrt(32.0 / 7.0)) < 1e-12);
    assert_true(fabs(score_normalised(&norm, 7.0, 4, 10) - 2.0 / sqrt(32.0 / 7.0)) < 1e-12);
    assert_true(score_normalised(&norm, 1000.0, 4, 3) == 3.0);
    assert_true(score_normalised(&norm, 0.5, 100, 3) == 0.5); /* not enough scores yet */
    struct score_norm same = {0};
    for (size_t i = 0; i < 10; i++)
        score_norm_add(&same, 0.1);
    assert_true(score_normalised(&same, 0.1, 2, 3) == 0.0);
}

static void test_rules_overlong_a_window_forgets(void **state)
{
    (void)state;
    struct score_norm norm = {.window = 50};
    for (size_t i = 0; i < 1000; i++)
        score_norm_add(&norm, 0.0);
    for (size_t i = 0; i < 1000; i++)
        score_norm_add(&norm, i % 2 == 0 ? 9.0 : 11.0);
    assert_true(fabs(norm.mean - 10.0) < 0.1);
    assert_true(fabs(score_norm_deviation(&norm) - 1.0) < 0.1);
    assert_true(norm.count == 50.0);
}

static void test_rules_overlong_length_correction_keeps_the_mean(void **state)
{
    (void)state;
    double scores[] = {1.0, 1.0, 1.0};
    static const int64_t lengths[] = {100, 200, 400};
    score_length_correct(scores, lengths, 3, 0.1);
    assert_true(fabs(scores[0] - (1.0 + 0.1 * log(2.0))) < 1e-12);
    assert_true(fabs(scores[1] - 1.0) < 1e-12);
    assert_true(fabs(scores[2] - (1.0 - 0.1 * log(2.0))) < 1e-12);
    double empty[] = {0.5};
    score_length_correct(empty, (const int64_t[]){0}, 1, 5.0);
    assert_true(empty[0] == 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_overlong_dapo_falls_over_the_cache_and_stays_at_minus_one),
        cmocka_unit_test(test_rules_overlong_verl_has_no_floor_and_adds_the_base),
        cmocka_unit_test(test_rules_overlong_bad_rows_are_unscorable),
        cmocka_unit_test(test_rules_overlong_a_rollouts_length_is_its_tokens),
        cmocka_unit_test(test_rules_overlong_clip_and_scale),
        cmocka_unit_test(test_rules_overlong_running_norm_is_the_sample_mean_and_deviation),
        cmocka_unit_test(test_rules_overlong_a_window_forgets),
        cmocka_unit_test(test_rules_overlong_length_correction_keeps_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
