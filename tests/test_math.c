/* links: reward_math Threads::Threads */
/* label: unit */
/* timeout: 30 */
/* Maths answers: rows in every notation with the verdict they must get, settings, hostile inputs (each returns within the
 * deadline of a case, none hangs), threads, and nothing left in memory. */
#include <pthread.h>

#include "core/memory.h"
#include "tests/math_case.h"
#include "tests/slow.h"

static void check_rows(const char *name, size_t at_least)
{
    char path[512], *line = NULL;
    size_t room = 0, rows = 0, wrong = 0;
    ssize_t size;
    snprintf(path, sizeof path, "%s/tests/golden/reward/%s", SOURCE_DIR, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    void *instance = math_instance("{\"time_ms\": 5000}");
    while ((size = getline(&line, &room, file)) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        struct math_score score = math_score_row(instance, row);
        double expected = json_number_value(json_object_get(row, "expected"));
        rows++;
        if (score.status != WEIR_REWARD_OK || score.value != expected) {
            wrong++;
            print_message("%s: expected %g, got status %d value %g: %s", name, expected,
                          score.status, score.value, line);
        }
        json_decref(row);
    }
    free(line);
    fclose(file);
    math_area.destroy(instance);
    assert_int_equal(wrong, 0);
    assert_true(rows >= at_least);
}

static void test_math_golden_rows_get_their_verdicts(void **state)
{
    (void)state;
    check_rows("math.jsonl", 800);
}

static void test_math_policy_rows_follow_math_verify(void **state)
{
    (void)state;
    check_rows("math_verify.jsonl", 20);
}

/* ---- settings ---- */

static void refused(const char *config, const char *key)
{
    char why[200] = "";
    void *made = NULL;
    json_t *settings = json_loads(config, 0, NULL);
    assert_non_null(settings);
    assert_int_not_equal(math_area.create(settings, NULL, &made, why, sizeof why), 0);
    assert_non_null(strstr(why, key));
    json_decref(settings);
}

static void test_math_settings_of_a_wrong_type_are_refused_by_name(void **state)
{
    (void)state;
    refused("{\"strict\": 1}", "strict");
    refused("{\"float_rounding\": \"6\"}", "float_rounding");
    refused("{\"float_rounding\": 31}", "float_rounding");
    refused("{\"time_ms\": 0}", "time_ms");
    refused("{\"window\": 1}", "window");
    refused("{\"sources\": []}", "sources");
    refused("{\"sources\": {\"gsm8k\": {\"last_number\": 2}}}", "last_number");
    refused("{\"sources\": {\"gsm8k\": 3}}", "gsm8k");
}

static struct math_score score_json(void *instance, const char *text)
{
    json_t *row = json_loads(text, 0, NULL);
    assert_non_null(row);
    struct math_score score = math_score_row(instance, row);
    json_decref(row);
    return score;
}

static void test_math_rows_that_cannot_be_scored_say_why(void **state)
{
    (void)state;
    void *instance = math_instance("{}");
    struct math_score score = score_json(instance, "{\"response\": \"\\\\boxed{1}\"}");
    assert_int_equal(score.status, WEIR_REWARD_UNSCORABLE);
    assert_non_null(strstr(score.why, "ground truth"));
    score = score_json(instance, "{\"gold\": \"\", \"response\": \"\\\\boxed{1}\"}");
    assert_int_equal(score.status, WEIR_REWARD_UNSCORABLE);
    score = score_json(instance, "{\"gold\": {}, \"response\": \"\\\\boxed{1}\"}");
    assert_int_equal(score.status, WEIR_REWARD_UNSCORABLE);
    score = score_json(instance,
                       "{\"gold\": \"1\", \"strict\": \"yes\", \"response\": \"\\\\boxed{1}\"}");
    assert_int_equal(score.status, WEIR_REWARD_UNSCORABLE);
    assert_non_null(strstr(score.why, "strict"));
    math_area.destroy(instance);
}

static void test_math_a_list_of_golds_accepts_any_and_numbers_are_golds(void **state)
{
    (void)state;
    void *instance = math_instance("{}");
    assert_true(
        score_json(instance, "{\"gold\": [\"2\", \"3\"], \"response\": \"\\\\boxed{3}\"}").value ==
        1);
    assert_true(
        score_json(instance, "{\"gold\": [\"2\", \"3\"], \"response\": \"\\\\boxed{4}\"}").value ==
        0);
    assert_true(score_json(instance, "{\"gold\": 3, \"response\": \"\\\\boxed{3}\"}").value == 1);
    assert_true(score_json(instance, "{\"gold\": 2.5, \"response\": \"\\\\boxed{5/2}\"}").value ==
                1);
    math_area.destroy(instance);
}

static void test_math_sources_have_settings_of_their_own(void **state)
{
    (void)state;
    const char *row = "{\"gold\": \"7\", \"data_source\": \"mine/a\", \"response\": \"so 7\"}";
    void *instance = math_instance("{}");
    assert_true(score_json(instance, row).value == 0);
    math_area.destroy(instance);
    instance = math_instance("{\"sources\": {\"mine\": {\"last_number\": true}}}");
    assert_true(score_json(instance, row).value == 1);
    math_area.destroy(instance);
}

/* ---- hostile ---- */

static void at_once(void *instance, const char *gold, const char *response, size_t size,
                    double not_value)
{
    int64_t begin_ns = clock_now_ns();
    struct math_score score = math_score_text(instance, gold, response, size);
    double ms = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    if (ms >= (double)test_times(1000, 20000) || score.value == not_value)
        print_message("%.60s / %.60s: status %d, value %g, %.1f ms\n", gold, response, score.status,
                      score.value, ms);
    assert_true(ms < (double)test_times(1000, 20000));
    assert_true(score.value != not_value);
}

static const char *const huge[] = {
    "10^{10^{10}}",
    "9999999999!",
    "\\binom{10^9}{5\\cdot10^8}",
    "2^{2^{40}}",
    "\\sum_{k=1}^{10^9}\\frac1k",
    "10^{10^{10^{10^{10}}}}",
    "((((9!)!)!)!)!",
    "e^{e^{e^{e^{e^{e}}}}}",
    "1.000000000000000000001^{10^{20}}",
    "\\Gamma(10^{18})",
    "\\sin(10^{10^{10}})",
    "\\sqrt[10^9]{2}",
    "\\lfloor e^{e^{10}}\\rfloor",
    "1e999999-1e999998",
    "\\sum_{a=1}^{999}\\sum_{b=1}^{999}\\sum_{c=1}^{999} abc",
    "\\prod_{k=1}^{999}\\prod_{j=1}^{999}(k^{99}+j^{99})",
    "\\sum_{k=1}^{1000}\\sum_{j=1}^{1000} x^{k y+j}",
    "(1+x)^{9999999}",
    "\\Gamma(x)^{\\Gamma(x)^{\\Gamma(x)}}",
    "0^{-1}",
    "\\frac00",
    "\\infty-\\infty",
    "\\tan(\\frac{\\pi}{2})",
    "\\ln 0",
};

static void test_math_huge_expressions_return_at_once(void **state)
{
    (void)state;
    void *instance = math_instance("{}");
    char text[256];
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        int size = snprintf(text, sizeof text, "\\boxed{%s}", huge[i]);
        at_once(instance, "5", text, (size_t)size, 1);
        at_once(instance, "x^2+1", text, (size_t)size, 1);
        at_once(instance, huge[i], "\\boxed{5}", 9, 1);
        at_once(instance, huge[i], text, (size_t)size, 0); /* the same text is the same answer */
    }
    math_area.destroy(instance);
}

static const char *const pieces[] = {"(",
                                     "{",
                                     "}",
                                     "-",
                                     "1+",
                                     "1/",
                                     "!",
                                     "^2",
                                     "^{2",
                                     "\\sqrt{",
                                     "\\frac{1}{",
                                     "9",
                                     "x^{",
                                     "|",
                                     "\\left|",
                                     "1,",
                                     "\\pm1",
                                     "\\{",
                                     "(1,2)\\cup",
                                     "\\text{",
                                     "\\",
                                     "$",
                                     "^",
                                     "_",
                                     "&",
                                     "\\\\",
                                     "f(",
                                     "'",
                                     "1:",
                                     "x=1=",
                                     "1<",
                                     "\\int_{0}^{1}",
                                     "\\overline{",
                                     "\\begin{pmatrix}",
                                     "1&",
                                     "\xc2\xb2",
                                     "\xe2\x88\x9a",
                                     "\xff",
                                     "\\boxed{",
                                     "\\boxed{1} and ",
                                     "\\(",
                                     "\\[",
                                     "answer is ",
                                     "#### ",
                                     "<think>",
                                     "</think>",
                                     "\n",
                                     "\\$",
                                     "1 ",
                                     "a "};

static void test_math_repeated_pieces_return_at_once(void **state)
{
    (void)state;
    enum { LONG = 1 << 20, SHORT = 900 };
    void *instance = math_instance(
        "{\"last_number\": true, \"last_formula\": true, \"join_boxes\": true, \"window\": 65536}");
    char *text = memory_alloc(LONG + 64);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t n = strlen(pieces[i]), size = 0;
        while (size + n <= (size_t)test_times(LONG, LONG / 8)) {
            memcpy(text + size, pieces[i], n);
            size += n;
        }
        at_once(instance, "77", text, size, 1);
        memcpy(text, "\\boxed{", 7);
        for (size = 7; size + n <= SHORT; size += n)
            memcpy(text + size, pieces[i], n);
        memcpy(text + size, "5}", 2);
        at_once(instance, "77", text, size + 2, 1);
    }
    memory_free(text);
    math_area.destroy(instance);
}

/* ---- threads and memory ---- */

static void *score_many(void *instance)
{
    for (int i = 0; i < 200; i++) {
        CHECK(math_score_boxed(instance, "\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt3}").value == 1);
        CHECK(math_score_boxed(instance, "\\tan^2 y+1", "\\sec^2 y").value == 1);
        CHECK(math_score_boxed(instance, "3\\sqrt{13}", "13\\sqrt{3}").value == 0);
    }
    return NULL;
}

static void test_math_one_instance_serves_several_threads(void **state)
{
    (void)state;
    void *instance = math_instance("{\"time_ms\": 5000}");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, score_many, instance), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    math_area.destroy(instance);
}

static void test_math_nothing_stays_in_memory(void **state)
{
    (void)state;
    int64_t blocks = memory_blocks_live();
    void *instance = math_instance("{\"sources\": {\"a\": {}}}");
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++)
        math_score_boxed(instance, huge[i], "x+1");
    math_area.destroy(instance);
    assert_int_equal(memory_blocks_live(), blocks);
}

static void test_math_without_memory_nothing_becomes_a_zero(void **state)
{
    (void)state;
    void *instance = math_instance("{}");
    memory_fail_after(1);
    struct math_score score = math_score_boxed(instance, "5", "5");
    memory_fail_after(-1);
    assert_int_equal(score.status, WEIR_REWARD_ERROR);
    math_area.destroy(instance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_math_golden_rows_get_their_verdicts),
        cmocka_unit_test(test_math_policy_rows_follow_math_verify),
        cmocka_unit_test(test_math_settings_of_a_wrong_type_are_refused_by_name),
        cmocka_unit_test(test_math_rows_that_cannot_be_scored_say_why),
        cmocka_unit_test(test_math_a_list_of_golds_accepts_any_and_numbers_are_golds),
        cmocka_unit_test(test_math_sources_have_settings_of_their_own),
        cmocka_unit_test(test_math_huge_expressions_return_at_once),
        cmocka_unit_test(test_math_repeated_pieces_return_at_once),
        cmocka_unit_test(test_math_one_instance_serves_several_threads),
        cmocka_unit_test(test_math_nothing_stays_in_memory),
        cmocka_unit_test(test_math_without_memory_nothing_becomes_a_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
