/* links: core */
/* length_bias: the golden series, clean and planted worlds in numbers, the group slope, the padded probe, rewinding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/length_bias_world.h"
#include "tests/slow.h"

static uint64_t seed = 20250615;

static void assert_near(double value, double wanted, double bound)
{
    if (!(fabs(value - wanted) <= bound))
        fail_msg("%.12g, wanted %.12g", value, wanted);
}

static void test_trend_of_a_line_is_its_slope(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 5, 8}, y[] = {5, 7, 9, 13, 19};
    struct trend trend;
    trend_fit(x, y, 5, &trend);
    assert_near(trend.slope, 2, 1e-12);
    assert_near(trend.change, 14, 1e-12);
    assert_true(trend.z > 100);
    const double flat[] = {0.3, 0.3, 0.3, 0.3, 0.3};
    trend_fit(x, flat, 5, &trend);
    assert_true(trend.z == 0 && fabs(trend.slope) < 1e-12);
    const double down[] = {9, 7.5, 5.2, 3, 1};
    trend_fit(x, down, 5, &trend);
    assert_true(trend.z < -4 && trend.z_plain < -4);
    trend_fit(x, y, 3, &trend); /* too few to say how sure */
    assert_true(trend.z == 0 && trend.slope > 1.9);
    trend_fit(x, y, 0, &trend);
    assert_true(trend.points == 0);
}

/* Independent residuals: the z of the textbook, here by hand for y = x + {1, -1, 1, -1, 0, 0}. */
static void test_trend_z_plain_is_the_textbooks(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, 3, 4, 5}, y[] = {1, 0, 3, 2, 4, 5};
    struct trend trend;
    trend_fit(x, y, 6, &trend);
    assert_near(trend.slope, 31.0 / 35, 1e-12);  /* 15.5 / 17.5 */
    double residual = 17.5 - 15.5 * 15.5 / 17.5; /* syy - sxy^2 / sxx */
    assert_near(trend.z_plain, (31.0 / 35) / sqrt(residual / 4 / 17.5), 1e-9);
}

static void test_trend_of_walks_is_seldom_sure(void **state)
{
    (void)state;
    enum { POINTS = 40 };
    uint32_t sure = 0, plain = 0, walks = (uint32_t)test_times(4000, 1000);
    struct rng rng;
    rng_init(&rng, seed, 99, RNG_TEST);
    for (uint32_t i = 0; i < walks; i++) {
        double x[POINTS], y[POINTS], at = 0;
        for (uint32_t t = 0; t < POINTS; t++) {
            x[t] = t;
            y[t] = at += rng_normal(&rng);
        }
        struct trend trend;
        trend_fit(x, y, POINTS, &trend);
        sure += trend.z > 4;
        plain += trend.z_plain > 4;
    }
    assert_true(plain > walks / 4); /* what the correction is for */
    assert_true(sure < walks / 8);  /* 0.08 measured */
}

static uint32_t alarms(enum world world, uint32_t steps, uint32_t worlds, double *mean_step)
{
    uint32_t found = 0;
    double sum = 0;
    for (uint32_t i = 0; i < worlds; i++) {
        uint32_t step = world_run(world, steps, seed + i);
        found += step > 0;
        sum += step;
    }
    *mean_step = found > 0 ? sum / found : 0;
    return found;
}

static void test_length_bias_clean_worlds_stay_quiet(void **state)
{
    (void)state;
    uint32_t worlds = (uint32_t)test_times(1000, 100);
    const struct {
        enum world world;
        uint32_t steps;
        double share; /* allowed; docs/length-bias.md has the measured ones */
    } clean[] = {{WORLD_CONSTANT, 80, 0},           {WORLD_NOISE, 80, 0.001},
                 {WORLD_REVERTING, 80, 0.005},      {WORLD_WALK, 40, 0.01},
                 {WORLD_WALK, 200, 0.04},           {WORLD_REASONING, 80, 0.001},
                 {WORLD_NOISY_REASONING, 40, 0.01}, {WORLD_LENGTH_ONLY, 80, 0.001},
                 {WORLD_REWARD_ONLY, 80, 0.001},    {WORLD_JUMP, 80, 0.005}};
    for (size_t i = 0; i < sizeof clean / sizeof clean[0]; i++) {
        double at;
        uint32_t found = alarms(clean[i].world, clean[i].steps, worlds, &at);
        if ((double)found > clean[i].share * worlds + 2)
            fail_msg("%s, %" PRIu32 " steps: %" PRIu32 " of %" PRIu32
                     " raised the alarm (seed %" PRIu64 ")",
                     world_names[clean[i].world], clean[i].steps, found, worlds, seed);
    }
}

static void test_length_bias_planted_worlds_are_found(void **state)
{
    (void)state;
    uint32_t worlds = (uint32_t)test_times(1000, 100);
    const struct {
        enum world world;
        uint32_t steps;
        double share, mean_step;
    } planted[] = {{WORLD_PLANTED, 40, 0.999, 40}, {WORLD_FALLING, 40, 0.999, 40},
                   {WORLD_NOISY, 40, 0.97, 40},    {WORLD_CURVED, 80, 0.99, 50},
                   {WORLD_LATE, 80, 0.96, 80},     {WORLD_PLANTED, 400, 0.999, 41}};
    for (size_t i = 0; i < sizeof planted / sizeof planted[0]; i++) {
        double at;
        uint32_t found = alarms(planted[i].world, planted[i].steps, worlds, &at);
        if ((double)found < planted[i].share * worlds - 2 || at > planted[i].mean_step)
            fail_msg("%s, %" PRIu32 " steps: %" PRIu32 " of %" PRIu32
                     " found, mean step %.1f (seed %" PRIu64 ")",
                     world_names[planted[i].world], planted[i].steps, found, worlds, at, seed);
    }
}

static struct length_bias *make(void)
{
    struct length_bias_config config = length_bias_defaults();
    struct length_bias *monitor = NULL;
    assert_int_equal(length_bias_create(&monitor, &config), STATUS_OK);
    return monitor;
}

static void push_line(struct length_bias *monitor, uint64_t from, uint64_t to,
                      struct length_bias_report *report)
{
    for (uint64_t t = from; t <= to; t++)
        assert_int_equal(length_bias_push(monitor, t, 1000 + 30 * (double)t + (double)(t % 3),
                                          0.2 + 0.01 * (double)t + 0.001 * (double)(t % 2),
                                          0.5 + 0.001 * (double)(t % 5), report),
                         STATUS_OK);
}

static void test_length_bias_short_series_stays_quiet_then_alarms(void **state)
{
    (void)state;
    struct length_bias *monitor = make();
    struct length_bias_report report;
    push_line(monitor, 1, 39, &report);
    assert_int_equal(report.state, LENGTH_BIAS_QUIET);
    push_line(monitor, 40, 40, &report);
    assert_int_equal(report.state, LENGTH_BIAS_ALARM);
    assert_int_equal(report.alarm_step, 40);
    assert_int_equal(report.signals, LENGTH_BIAS_SERIES);
    for (uint64_t t = 41; t < 200; t++) /* it stays until it is cleared */
        assert_int_equal(length_bias_push(monitor, t, 500, 0.1, 0.5, &report), STATUS_OK);
    assert_int_equal(report.state, LENGTH_BIAS_ALARM);
    assert_int_equal(report.alarm_step, 40);
    length_bias_clear(monitor);
    length_bias_report(monitor, &report);
    assert_int_equal(report.state, LENGTH_BIAS_QUIET);
    length_bias_destroy(&monitor);
    assert_null(monitor);
}

static void test_length_bias_without_success_is_blind(void **state)
{
    (void)state;
    struct length_bias *monitor = make();
    struct length_bias_report report = {0};
    for (uint32_t t = 1; t <= 60; t++)
        assert_int_equal(length_bias_push(monitor, t, 1000 + 30 * t, 0.2 + 0.01 * t,
                                          t % 4 == 0 ? 0.5 : (double)NAN, &report),
                         STATUS_OK);
    assert_int_equal(report.state, LENGTH_BIAS_QUIET);
    assert_true(report.blind);
    length_bias_destroy(&monitor);
}

static void test_length_bias_refuses_what_is_no_number(void **state)
{
    (void)state;
    struct length_bias *monitor = make();
    struct length_bias_report report, before;
    push_line(monitor, 1, 10, &before);
    assert_int_equal(length_bias_push(monitor, 11, (double)NAN, 0, 0, &report), STATUS_INVALID);
    assert_int_equal(length_bias_push(monitor, 11, 0, 0, 0, &report), STATUS_INVALID);
    assert_int_equal(length_bias_push(monitor, 11, 10, (double)INFINITY, 0, &report),
                     STATUS_INVALID);
    assert_int_equal(length_bias_push(monitor, 11, 10, 0, (double)INFINITY, &report),
                     STATUS_INVALID);
    length_bias_report(monitor, &report);
    assert_int_equal(report.step, 10);
    assert_int_equal(report.points, 10);
    length_bias_destroy(&monitor);
    struct length_bias_config config = length_bias_defaults();
    config.window = 4;
    assert_int_equal(length_bias_create(&monitor, &config), STATUS_INVALID);
    config = length_bias_defaults();
    config.z_reward = (double)NAN;
    assert_int_equal(length_bias_create(&monitor, &config), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "z_reward"));
}

static void test_length_bias_resumed_run_forgets_what_it_repeats(void **state)
{
    (void)state;
    struct length_bias *monitor = make();
    struct length_bias_report report;
    push_line(monitor, 1, 30, &report);
    push_line(monitor, 20, 30, &report);
    assert_int_equal(report.points, 30);
    push_line(monitor, 31, 39, &report);
    assert_int_equal(report.state, LENGTH_BIAS_QUIET);
    push_line(monitor, 40, 40, &report);
    assert_int_equal(report.state, LENGTH_BIAS_ALARM);
    length_bias_destroy(&monitor);
}

static void test_length_bias_group_slope_controls_for_success(void **state)
{
    (void)state;
    /* Right answers are longer and paid for being right; b is what is left for length: 0.1 a doubling. */
    struct length_bias_sample samples[64];
    for (uint32_t i = 0; i < 64; i++) {
        double right = i % 2, length = 100 * exp2((i % 8) / 4.0 + right);
        samples[i] = (struct length_bias_sample){
            i / 8, length, 0.3 * (i / 8) + 0.5 * right + 0.1 * log2(length), right};
    }
    double slope = 0;
    assert_int_equal(length_bias_group_slope(samples, 64, &slope), STATUS_OK);
    assert_near(slope, 0.1, 1e-9);
    for (uint32_t i = 0; i < 64; i++)
        samples[i].length = 100;
    assert_int_equal(length_bias_group_slope(samples, 64, &slope), STATUS_NOT_FOUND);
    assert_int_equal(length_bias_group_slope(samples, 0, &slope), STATUS_NOT_FOUND);
    samples[3].length = -1;
    assert_int_equal(length_bias_group_slope(samples, 64, &slope), STATUS_INVALID);
}

static void test_length_bias_slope_must_stay_for_a_window(void **state)
{
    (void)state;
    struct length_bias *monitor = make();
    struct length_bias_report report;
    for (uint64_t t = 1; t <= 85; t++) { /* one step below the bound starts the count anew */
        assert_int_equal(length_bias_push_slope(monitor, t, t == 39 ? 0.01 : 0.08, &report),
                         STATUS_OK);
        assert_int_equal(report.state == LENGTH_BIAS_ALARM, t >= 79);
    }
    assert_int_equal(report.signals, LENGTH_BIAS_SLOPE);
    length_bias_destroy(&monitor);
}

static void test_length_bias_padded_probe_alarms_and_readmits(void **state)
{
    (void)state;
    struct length_bias *monitor = make();
    struct length_bias_report report;
    assert_int_equal(length_bias_push_padded(monitor, 5, 10, 19, &report), STATUS_INVALID);
    assert_int_equal(length_bias_push_padded(monitor, 5, 54, 100, &report), STATUS_OK);
    assert_int_equal(report.state, LENGTH_BIAS_QUIET);
    assert_int_equal(length_bias_push_padded(monitor, 6, 55, 100, &report), STATUS_OK);
    assert_int_equal(report.state, LENGTH_BIAS_ALARM);
    assert_int_equal(report.signals, LENGTH_BIAS_PADDED);
    assert_false(length_bias_readmit(monitor, 55, 100));
    assert_false(length_bias_readmit(monitor, 5, 10));
    assert_false(length_bias_readmit(monitor, (double)NAN, 100));
    length_bias_report(monitor, &report);
    assert_int_equal(report.state, LENGTH_BIAS_ALARM);
    assert_true(length_bias_readmit(monitor, 52, 100));
    length_bias_report(monitor, &report);
    assert_int_equal(report.state, LENGTH_BIAS_QUIET);
    length_bias_destroy(&monitor);
}

static void test_length_bias_report_is_json(void **state)
{
    (void)state;
    struct length_bias *monitor = make();
    struct length_bias_report report;
    struct buffer text;
    buffer_init(&text, 0);
    push_line(monitor, 1, 40, &report);
    assert_int_equal(length_bias_push_slope(monitor, 40, 0.07, &report), STATUS_OK);
    assert_int_equal(length_bias_json(&report, &text), STATUS_OK);
    json_t *json = json_loads(buffer_string(&text), 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "state")), "alarm");
    assert_true(json_is_true(json_object_get(json, "series")));
    assert_near(json_number_value(json_object_get(json, "reward_per_doubling")), 0.07, 1e-9);
    json_decref(json);
    buffer_free(&text);
    length_bias_destroy(&monitor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trend_of_a_line_is_its_slope),
        cmocka_unit_test(test_trend_z_plain_is_the_textbooks),
        cmocka_unit_test(test_trend_of_walks_is_seldom_sure),
        cmocka_unit_test(test_length_bias_clean_worlds_stay_quiet),
        cmocka_unit_test(test_length_bias_planted_worlds_are_found),
        cmocka_unit_test(test_length_bias_short_series_stays_quiet_then_alarms),
        cmocka_unit_test(test_length_bias_without_success_is_blind),
        cmocka_unit_test(test_length_bias_refuses_what_is_no_number),
        cmocka_unit_test(test_length_bias_resumed_run_forgets_what_it_repeats),
        cmocka_unit_test(test_length_bias_group_slope_controls_for_success),
        cmocka_unit_test(test_length_bias_slope_must_stay_for_a_window),
        cmocka_unit_test(test_length_bias_padded_probe_alarms_and_readmits),
        cmocka_unit_test(test_length_bias_report_is_json),
    };
    const char *text = getenv("TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : seed;
    print_message("TEST_SEED=%" PRIu64 "\n", seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
