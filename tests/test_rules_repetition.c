/* links: reward_rules */
/* Repetition: where the online rule stops, the n-gram penalty and the period of a sequence's end against plain counting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "reward/rules/repetition.h"
#include "tests/rules_case.h"

static json_int_t halt_of(const char *window, const char *runs)
{
    char row[400];
    snprintf(row, sizeof row,
             "{\"kind\": \"repetition_truncation\", \"window\": %s, \"threshold\": 0.99, "
             "\"prob_runs\": %s}",
             window, runs);
    struct rules_result result = rules_score(&repetition_area, row);
    assert_int_equal(result.status, WEIR_REWARD_OK);
    const json_t *halt = json_object_get(result.fields, "halt_after_tokens");
    assert_true(json_equal(halt, json_object_get(result.fields, "halt_position")));
    assert_int_equal(json_is_true(json_object_get(result.fields, "halted")), !json_is_null(halt));
    json_int_t place = json_is_null(halt) ? -1 : json_integer_value(halt);
    assert_true(result.value == (double)place);
    rules_free(&result);
    return place;
}

static void test_rules_repetition_halts_after_the_window_above_the_threshold(void **state)
{
    (void)state;
    assert_int_equal(halt_of("4", "[[4, 0.995]]"), 4);
    assert_int_equal(halt_of("4", "[[3, 0.995]]"), -1);
    assert_int_equal(halt_of("4", "[[100, 0.99]]"), -1); /* strictly above */
    assert_int_equal(halt_of("4", "[[3, 1.0], [1, 0.5], [4, 0.991]]"), 8);
    assert_int_equal(halt_of("4", "[[2, 1], [1, 0.995], [9, 0.9999]]"), 4);
    assert_int_equal(halt_of("4", "[[3, 1.0], [0, 0.1], [1, 1.0]]"), 4); /* no token between */
    assert_int_equal(halt_of("1", "[[5, 0.2], [1, 0.9901]]"), 6);
    assert_int_equal(halt_of("4", "[]"), -1);
    assert_int_equal(halt_of("3000", "[[1000000000, 0.5], [1000000000, 1.0]]"), 1000003000);
}

static void test_rules_repetition_bad_rows_are_unscorable(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"kind\": \"repetition_truncation\", \"window\": 4}",
        "{\"kind\": \"repetition_truncation\", \"window\": 0, \"prob_runs\": []}",
        "{\"kind\": \"repetition_truncation\", \"prob_runs\": [[1]]}",
        "{\"kind\": \"repetition_truncation\", \"prob_runs\": [[-1, 0.5]]}",
        "{\"kind\": \"repetition_truncation\", \"prob_runs\": [[1, \"x\"]]}",
        "{\"kind\": \"repetition\", \"completion_ids\": [1, 2.5]}"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rules_result result = rules_score(&repetition_area, rows[i]);
        assert_int_equal(result.status, WEIR_REWARD_UNSCORABLE);
        assert_non_null(json_object_get(result.fields, "why"));
        rules_free(&result);
    }
    rules_refused(&repetition_area, "{\"max_penalty\": 0.5}", "max_penalty");
    rules_refused(&repetition_area, "{\"ngram_size\": 0}", "ngram_size");
}

enum { COUNT = 60 };

static size_t plain_distinct(const int32_t *ids, size_t count, size_t n)
{
    size_t distinct = 0;
    for (size_t i = 0; i + n <= count; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = memcmp(ids + i, ids + j, n * sizeof *ids) == 0;
        distinct += !seen;
    }
    return distinct;
}

static struct repetition_suffix plain_suffix(const int32_t *ids, size_t count)
{
    struct repetition_suffix best = {0};
    for (size_t p = 1; p < count; p++) {
        size_t z = 0;
        while (p + z < count && ids[count - 1 - z] == ids[count - 1 - p - z])
            z++;
        if (z >= p && p + z > best.tokens)
            best = (struct repetition_suffix){p, p + z};
    }
    return best;
}

static void test_rules_repetition_statistics_are_what_plain_counting_gives(void **state)
{
    (void)state;
    const char *text = getenv("TEST_SEED");
    unsigned seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 5;
    struct arena *arena = NULL;
    assert_int_equal(arena_create(&arena, 1 << 20), STATUS_OK);
    print_message("seed %u\n", seed);
    for (unsigned round = 0; round < 2000; round++) {
        int32_t ids[COUNT];
        size_t count = (size_t)rand_r(&seed) % (COUNT + 1), n = 1 + (size_t)rand_r(&seed) % 4;
        int kinds = 1 + rand_r(&seed) % 4;
        for (size_t i = 0; i < count; i++)
            ids[i] = rand_r(&seed) % kinds - 1;
        size_t period = 1 + (size_t)rand_r(&seed) % 5;
        for (size_t i = count / 2 + period; round % 2 == 0 && i < count; i++)
            ids[i] = ids[i - period];
        size_t distinct = 0;
        struct repetition_suffix suffix, plain = plain_suffix(ids, count);
        arena_reset(arena);
        assert_true(repetition_distinct(arena, ids, count, n, &distinct));
        assert_int_equal(distinct, plain_distinct(ids, count, n));
        assert_true(repetition_suffix(arena, ids, count, &suffix));
        assert_int_equal(suffix.tokens, plain.tokens);
        assert_int_equal(suffix.period, plain.period);
    }
    arena_destroy(&arena);
}

static void test_rules_repetition_a_rollout_is_penalised_by_its_ids(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 2, 7, 8, 9, 7, 8, 9, 7, 8, 9};
    json_t *row = json_object();
    struct reward_case one = {.row = row,
                              .response = "x",
                              .response_size = 1,
                              .prompt = "",
                              .data_source = "",
                              .response_ids = ids,
                              .response_tokens = 11};
    void *instance = rules_open(&repetition_area, "{}");
    struct rules_result result = rules_score_case(&repetition_area, instance, &one);
    /* 9 trigrams: 127 278 789 897 978 and the last three again and 789 */
    assert_true(result.status == WEIR_REWARD_OK && result.value == -(1.0 - 5.0 / 9.0));
    assert_int_equal(json_integer_value(json_object_get(result.fields, "repetition_period")), 3);
    assert_true(json_real_value(json_object_get(result.fields, "repetition_repeats")) == 3.0);
    rules_free(&result);
    one.response_ids = NULL;
    result = rules_score_case(&repetition_area, instance, &one);
    assert_int_equal(result.status, WEIR_REWARD_UNSCORABLE);
    rules_free(&result);
    one.response_tokens = 0;
    result = rules_score_case(&repetition_area, instance, &one);
    assert_true(result.status == WEIR_REWARD_OK && result.value == 0.0);
    rules_free(&result);
    repetition_area.destroy(instance);
    json_decref(row);
}

static void test_rules_repetition_a_halted_rollout_may_be_masked(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 1, 1, 1};
    json_t *row = json_object();
    struct reward_case one = {.row = row,
                              .response = "x",
                              .response_size = 1,
                              .prompt = "",
                              .data_source = "",
                              .response_ids = ids,
                              .response_tokens = 4,
                              .finish_reason = WEIR_REWARD_FIN_REPETITION};
    void *instance = rules_open(&repetition_area, "{\"halted\": \"mask\"}");
    struct rules_result result = rules_score_case(&repetition_area, instance, &one);
    assert_int_equal(result.status, WEIR_REWARD_SKIP);
    rules_free(&result);
    one.finish_reason = WEIR_REWARD_FIN_EOS;
    result = rules_score_case(&repetition_area, instance, &one);
    assert_true(result.status == WEIR_REWARD_OK && result.value == -0.5);
    rules_free(&result);
    repetition_area.destroy(instance);
    json_decref(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_repetition_halts_after_the_window_above_the_threshold),
        cmocka_unit_test(test_rules_repetition_bad_rows_are_unscorable),
        cmocka_unit_test(test_rules_repetition_statistics_are_what_plain_counting_gives),
        cmocka_unit_test(test_rules_repetition_a_rollout_is_penalised_by_its_ids),
        cmocka_unit_test(test_rules_repetition_a_halted_rollout_may_be_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
