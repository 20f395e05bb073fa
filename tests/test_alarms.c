/* links: learner */
/* label: unit */
/* timeout: 20 */
/* Spike and entropy alarms on made series: rates of false alarms on clean ones, and of planted events that are missed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "learner/alarms.h"

enum { STEPS = 1000, SEEDS = 20, PLANT_EVERY = 100 };

static uint64_t base_seed;

static int setup(void **state)
{
    (void)state;
    const char *text = getenv("TEST_SEED");
    base_seed = text != NULL ? strtoull(text, NULL, 10) : 1;
    print_message("TEST_SEED=%llu\n", (unsigned long long)base_seed);
    return 0;
}

/* Series as training has them: step t of a clean one. */
typedef double series_at(struct rng *rng, uint32_t t);

static double falling_loss(struct rng *rng, uint32_t t)
{
    return 0.3 + 4 * exp(-(double)t / 120.0) + 0.05 * rng_normal(rng);
}

static double still_loss(struct rng *rng, uint32_t t)
{
    (void)t;
    return 1.5 + 0.1 * rng_normal(rng);
}

static double lognormal_norm(struct rng *rng, uint32_t t)
{
    return exp(0.4 * rng_normal(rng) - (double)t / 500.0);
}

/* On-policy share: the KL of minibatch 1 of 16 is small and grows to the last. */
static double sawtooth_kl(struct rng *rng, uint32_t t)
{
    return 1e-4 * (1 + t % 16) * exp(0.3 * rng_normal(rng));
}

static double falling_entropy(struct rng *rng, uint32_t t)
{
    return 0.1 + 0.6 * exp(-(double)t / 300.0) * (1 + 0.03 * rng_normal(rng));
}

static double ratio(struct rng *rng, uint32_t t)
{
    (void)t;
    return 1 + 0.004 * rng_normal(rng);
}

static double constant(struct rng *rng, uint32_t t)
{
    (void)rng;
    (void)t;
    return 0.7;
}

static const struct {
    const char *name;
    enum alarm_series series;
    series_at *at;
    double factor, offset; /* of a planted value: x factor + offset */
} cases[] = {
    {"loss, falling", ALARM_LOSS, falling_loss, 1, 3},
    {"loss, still", ALARM_LOSS, still_loss, 1, 2},
    {"loss, constant", ALARM_LOSS, constant, 1, 1},
    {"gradient norm", ALARM_GRAD_NORM, lognormal_norm, 1000, 0},
    {"entropy", ALARM_ENTROPY, falling_entropy, 1, 4},
    {"ratio up", ALARM_RATIO, ratio, 1, 0.1},
    {"ratio down", ALARM_RATIO, ratio, 1, -0.1},
    {"k3 KL", ALARM_K3_KL, sawtooth_kl, 1e6, 0},
};

static void test_alarms_spike_rates_on_clean_and_planted_series(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        uint64_t false_alarms = 0, caught = 0, planted = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct rng rng;
            struct alarms clean, spiked;
            rng_init(&rng, base_seed + seed, c, RNG_TEST);
            alarms_init(&clean);
            alarms_init(&spiked);
            for (uint32_t t = 0; t < STEPS; t++) {
                double value = cases[c].at(&rng, t);
                bool plant = t % PLANT_EVERY == PLANT_EVERY - 1;
                uint64_t before = spiked.count;
                alarms_spike(&clean, cases[c].series, value, 10);
                alarms_spike(&spiked, cases[c].series,
                             plant ? value * cases[c].factor + cases[c].offset : value, 10);
                planted += plant;
                caught += plant && spiked.count > before;
                alarms_clear(&clean);
                alarms_clear(&spiked);
            }
            false_alarms += clean.count;
            assert_true(spiked.count <= clean.count + STEPS / PLANT_EVERY);
            alarms_free(&clean);
            alarms_free(&spiked);
        }
        print_message("%-16s false %llu of %d, caught %llu of %llu\n", cases[c].name,
                      (unsigned long long)false_alarms, STEPS * SEEDS, (unsigned long long)caught,
                      (unsigned long long)planted);
        assert_true(false_alarms <= STEPS * SEEDS / 10000);
        assert_true((double)caught >= 0.98 * (double)planted);
    }
}

static void test_alarms_spike_that_stays_is_raised_once(void **state)
{
    (void)state;
    struct alarms alarms;
    alarms_init(&alarms);
    for (int i = 0; i < 40; i++)
        alarms_spike(&alarms, ALARM_LOSS, 1 + 0.01 * (i % 5), 10);
    assert_int_equal(alarms.count, 0);
    for (int i = 0; i < 100; i++) /* the window gets used to it */
        alarms_spike(&alarms, ALARM_LOSS, 9 + 0.01 * (i % 5), 10);
    assert_int_equal(alarms.count, 1);
    assert_non_null(strstr(alarms_text(&alarms), "loss 9 is "));
    for (int i = 0; i < 3; i++)
        alarms_spike(&alarms, ALARM_LOSS, i == 1 ? 9 : 50, 10);
    assert_int_equal(alarms.count, 3);
    alarms_free(&alarms);
}

static void test_alarms_spike_switched_off_or_without_history_says_nothing(void **state)
{
    (void)state;
    struct alarms alarms;
    alarms_init(&alarms);
    for (int i = 0; i < ALARM_SPIKE_LEAST; i++)
        alarms_spike(&alarms, ALARM_LOSS, i == 9 ? 1e9 : 1, 10);
    alarms_spike(&alarms, ALARM_LOSS, 1e9, 0);
    alarms_spike(&alarms, ALARM_LOSS, (double)NAN, 10);
    alarms_spike(&alarms, ALARM_GRAD_NORM, 0, 10);
    assert_int_equal(alarms.count, 0);
    alarms_spike(&alarms, ALARM_LOSS, 2, 10);
    assert_int_equal(alarms.count, 1);
    alarms_free(&alarms);
}

/* Entropy of a run that learns (down to a tenth) and of one that collapses, over seeds. */
static void test_alarms_entropy_collapse_rates(void **state)
{
    (void)state;
    uint64_t false_alarms = 0, caught = 0, late = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rng rng;
        struct alarms clean, bad;
        rng_init(&rng, base_seed + seed, 99, RNG_TEST);
        alarms_init(&clean);
        alarms_init(&bad);
        for (uint32_t t = 0; t < STEPS; t++) {
            double noise = exp(0.2 * rng_normal(&rng));
            alarms_entropy(&clean, (0.05 + 0.45 * exp(-(double)t / 200.0)) * noise, 0.02);
            alarms_entropy(&bad, (t < 400 ? 0.5 : 1e-3) * noise, 0.02);
            late += t == 400 + ALARM_ENTROPY_LAST && bad.count == 0;
        }
        false_alarms += clean.count;
        caught += bad.count == 1;
        alarms_free(&clean);
        alarms_free(&bad);
    }
    print_message("entropy: false %llu, caught %llu of %d, late %llu\n",
                  (unsigned long long)false_alarms, (unsigned long long)caught, SEEDS,
                  (unsigned long long)late);
    assert_int_equal(false_alarms, 0);
    assert_int_equal(caught, SEEDS);
    assert_int_equal(late, 0);
}

static void test_alarms_entropy_comes_back_and_falls_again(void **state)
{
    (void)state;
    struct alarms alarms;
    alarms_init(&alarms);
    static const double levels[] = {1, 0.01, 0.03, 0.01, 0.5, 0.01};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        for (int t = 0; t < 30; t++)
            alarms_entropy(&alarms, levels[i], 0.02);
    assert_int_equal(alarms.count, 2); /* 0.03 is not yet back */
    alarms_entropy(&alarms, 0, 0);
    assert_int_equal(alarms.count, 2);
    alarms_free(&alarms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alarms_spike_rates_on_clean_and_planted_series),
        cmocka_unit_test(test_alarms_spike_that_stays_is_raised_once),
        cmocka_unit_test(test_alarms_spike_switched_off_or_without_history_says_nothing),
        cmocka_unit_test(test_alarms_entropy_collapse_rates),
        cmocka_unit_test(test_alarms_entropy_comes_back_and_falls_again),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
