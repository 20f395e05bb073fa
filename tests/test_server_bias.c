/* links: rollout_store */
/* label: unit */
/* timeout: 20 */
/* The store's view of length bias: rollouts in, one alarm for the source whose judge pays for length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "rollout_store/server_bias.h"

enum { STEPS = 80, GROUPS = 8, SAMPLES = 8 };

static size_t alarms;
static char last_alarm[2048];

static enum status keep(void *self, const char *text)
{
    (void)self;
    alarms++;
    snprintf(last_alarm, sizeof last_alarm, "%s", text);
    return STATUS_OK;
}

static double noise(struct rng *rng)
{
    return rng_below(rng, 2001) / 1000.0 - 1;
}

static void take(struct server_bias *bias, const char *source, uint64_t group, uint32_t tokens,
                 const char *detail)
{
    char record[128];
    snprintf(record, sizeof record, "{\"data_source\":\"%s\"}", source);
    struct prompt prompt = {.record_json = record};
    struct book_rollout rollout = {.group_id = group, .count = tokens, .detail_json = detail};
    assert_int_equal(server_bias_take(bias, &prompt, &rollout), STATUS_OK);
}

/* Mean length grows by growth a step, verified success by success; the judge pays `pay` for 1,000 tokens more. */
static void play(struct server_bias *bias, const char *source, double growth, double success,
                 double pay)
{
    struct rng rng;
    rng_init(&rng, 7, 1, RNG_TEST);
    for (uint64_t step = 1; step <= STEPS; step++) {
        for (uint64_t i = 0; i < GROUPS * SAMPLES; i++) {
            double length = 1000 + growth * (double)step + 50 * noise(&rng);
            double judge = 0.2 + pay * (length - 1000) / 1000 + 0.01 * noise(&rng);
            bool verified = rng_below(&rng, 1000) < (uint32_t)(500 + 1000 * success * (double)step);
            char detail[128];
            snprintf(detail, sizeof detail, "{\"judge\":%.6f,\"verified\":%d}", judge, verified);
            take(bias, source, step * GROUPS + i % GROUPS, (uint32_t)length, detail);
        }
        assert_int_equal(server_bias_step(bias, step, keep, NULL), STATUS_OK);
    }
}

static void begin(struct server_bias *bias, uint32_t window)
{
    alarms = 0;
    last_alarm[0] = '\0';
    assert_int_equal(server_bias_open(bias, window), STATUS_OK);
}

static void test_server_bias_judge_that_pays_for_length_raises_one_alarm(void **state)
{
    (void)state;
    struct server_bias bias;
    begin(&bias, 40);
    play(&bias, "essays", 12, 0, 0.4);
    assert_int_equal(alarms, 1);
    assert_non_null(strstr(last_alarm, "essays"));
    assert_non_null(strstr(last_alarm, "weir rescore"));
    server_bias_close(&bias);
}

static void test_server_bias_alarm_is_taken_once_and_a_clear_begins_anew(void **state)
{
    (void)state;
    struct server_bias bias;
    begin(&bias, 40);
    assert_null(server_bias_take_alarm(&bias));
    play(&bias, "essays", 12, 0, 0.4);
    assert_string_equal(server_bias_take_alarm(&bias), "essays");
    assert_null(server_bias_take_alarm(&bias));
    server_bias_clear(&bias, "other*");
    bias.version = 0;
    play(&bias, "essays", 12, 0, 0.4); /* it stands: nobody looked at the judge */
    assert_int_equal(alarms, 1);
    server_bias_clear(&bias, "ess*");
    bias.version = 0;
    play(&bias, "essays", 12, 0, 0.4);
    assert_int_equal(alarms, 2);
    assert_string_equal(server_bias_take_alarm(&bias), "essays");
    server_bias_close(&bias);
}

static void test_server_bias_steady_length_and_growing_success_stay_quiet(void **state)
{
    (void)state;
    struct server_bias bias;
    begin(&bias, 40);
    play(&bias, "steady", 0, 0, 0);
    play(&bias, "thinks", 12, 0.004, 0);
    assert_int_equal(alarms, 0);
    server_bias_close(&bias);
}

static void test_server_bias_scores_without_a_judge_are_passed_over(void **state)
{
    (void)state;
    struct server_bias bias;
    begin(&bias, 40);
    take(&bias, "rules", 1, 10, "{\"verified\":1}");
    take(&bias, "rules", 1, 10, "{\"judge\":\"good\"}");
    take(&bias, "rules", 1, 10, "not JSON, \"judge\"");
    assert_int_equal(bias.source_count, 0);
    for (int i = 0; i < BIAS_SOURCES_MAX + 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "source%d", i);
        take(&bias, name, 1, 10, "{\"judge\":0.5}");
    }
    assert_int_equal(bias.source_count, BIAS_SOURCES_MAX);
    server_bias_close(&bias);
    begin(&bias, 0);
    take(&bias, "off", 1, 10, "{\"judge\":0.5}");
    assert_int_equal(bias.source_count, 0);
    server_bias_close(&bias);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_bias_judge_that_pays_for_length_raises_one_alarm),
        cmocka_unit_test(test_server_bias_alarm_is_taken_once_and_a_clear_begins_anew),
        cmocka_unit_test(test_server_bias_steady_length_and_growing_success_stay_quiet),
        cmocka_unit_test(test_server_bias_scores_without_a_judge_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
