/* links: learner reward */
/* label: unit */
/* timeout: 20 */
/* The table of alerts: each rule raised once on a made series and silent on a healthy one, sentences, pages, and that every
 * metric it names exists. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alert_rules.h"
#include "core/metrics.h"
#include "core/rng.h"
#include "learner/learner_metrics.h"
#include "reward/reward_metrics.h"

enum { FIGURES_MAX = 24, STEPS = 120 };

static struct settings settings;
static struct config *config;
static uint64_t base_seed;

static int setup(void **state)
{
    struct config_input input = {0};
    (void)state;
    const char *text = getenv("TEST_SEED");
    base_seed = text != NULL ? strtoull(text, NULL, 10) : 1;
    print_message("TEST_SEED=%llu\n", (unsigned long long)base_seed);
    return config_load(&config, settings_sections, settings_section_count, &input, &settings) ==
                   STATUS_OK
               ? 0
               : 1;
}

static int teardown(void **state)
{
    (void)state;
    config_destroy(&config);
    return 0;
}

/* One step as a line of metrics.jsonl has it. */
struct step {
    struct {
        const char *path;
        double value;
    } figures[FIGURES_MAX];
    size_t count;
};

static void put(struct step *step, const char *path, double value)
{
    for (size_t i = 0; i < step->count; i++)
        if (strcmp(step->figures[i].path, path) == 0) {
            step->figures[i].value = value;
            return;
        }
    assert_true(step->count < FIGURES_MAX);
    step->figures[step->count].path = path;
    step->figures[step->count++].value = value;
}

static bool look(void *self, const char *path, double *value)
{
    const struct step *step = self;
    for (size_t i = 0; i < step->count; i++)
        if (strcmp(step->figures[i].path, path) == 0) {
            *value = step->figures[i].value;
            return true;
        }
    return false;
}

/* Training as it goes when nothing is wrong: noise, a reward that rises, an entropy that falls slowly. */
static void healthy(struct step *step, struct rng *rng, uint32_t t)
{
    *step = (struct step){0};
    put(step, "wall", 1e9 + 30.0 * t);
    put(step, "mismatch/max_abs_dlogprob", 0);
    put(step, "mismatch/pearson", t % 20 == 7 ? 0.985 : 0.997);
    put(step, "optim/non_finite", 0);
    put(step, "optim/grad_norm", exp(0.3 * rng_normal(rng)));
    put(step, "group/zero_std_frac", t % 9 == 0 ? 0.65 : 0.3 + 0.02 * rng_normal(rng));
    put(step, "len/truncated_frac", 0.03);
    put(step, "len/p99", 900 + 20 * rng_normal(rng));
    put(step, "len/cap", 1024);
    put(step, "entropy/mean", 0.5 - 0.001 * t + 0.01 * rng_normal(rng));
    put(step, "reward/mean", 0.3 + 0.002 * t + 0.02 * rng_normal(rng));
    put(step, "reward/min", 0);
    put(step, "reward/max", 1);
    put(step, "loss/policy", 0.01 * rng_normal(rng));
    put(step, "disk/free_frac", 0.6);
}

typedef void spoil_fn(struct step *step, uint32_t t);

/* The step at which `id` is raised first, STEPS when never; others must not be raised unless `also` says so. */
static uint32_t raised_at(enum alert_id id, spoil_fn *spoil, enum alert_id also)
{
    struct alert_watch watch;
    struct step step;
    struct rng rng;
    uint32_t first = STEPS;
    rng_init(&rng, base_seed, 0, RNG_TEST);
    alert_watch_init(&watch, &settings);
    for (uint32_t t = 0; t < STEPS; t++) {
        healthy(&step, &rng, t);
        if (spoil != NULL)
            spoil(&step, t);
        alert_watch_step(&watch, look, &step);
        for (int i = 0; i < ALERT_COUNT; i++) {
            if (!watch.states[i].began)
                continue;
            if (spoil == NULL || ((enum alert_id)i != id && (enum alert_id)i != also)) {
                char sentence[ALERT_SENTENCE_MAX];
                alert_sentence((enum alert_id)i, &watch.states[i], sentence);
                fail_msg("step %u: %s", t, sentence);
            }
            if ((enum alert_id)i == id && first == STEPS)
                first = t;
        }
    }
    return first;
}

static void test_alert_rules_healthy_series_raises_nothing(void **state)
{
    (void)state;
    assert_int_equal(raised_at(ALERT_COUNT, NULL, ALERT_COUNT), STEPS);
}

/* Everything bad begins at step 60. */
static void spoil_mismatch(struct step *step, uint32_t t)
{
    put(step, "mismatch/max_abs_dlogprob", t == 60 ? 1e-7 : 0);
}

static void spoil_pearson(struct step *step, uint32_t t)
{
    put(step, "mismatch/pearson", t >= 60 ? 0.98 : 0.999);
}

static void spoil_counter(struct step *step, uint32_t t)
{
    put(step, "optim/non_finite", t >= 60 ? 2 : 0);
}

static void spoil_figure(struct step *step, uint32_t t)
{
    if (t == 60)
        put(step, "loss/policy", NAN);
}

static void spoil_norm(struct step *step, uint32_t t)
{
    if (t == 60)
        put(step, "optim/grad_norm", 12);
}

static void spoil_groups(struct step *step, uint32_t t)
{
    put(step, "group/zero_std_frac", t >= 60 ? 0.7 : 0.3);
}

static void spoil_solved(struct step *step, uint32_t t)
{
    spoil_groups(step, t);
    put(step, "reward/mean", 0.95);
}

static void spoil_constant(struct step *step, uint32_t t)
{
    spoil_groups(step, t);
    put(step, "reward/mean", 0);
    put(step, "reward/max", 0);
}

static void spoil_truncated(struct step *step, uint32_t t)
{
    put(step, "len/truncated_frac", t >= 60 ? 0.25 : 0.03);
}

static void spoil_cap(struct step *step, uint32_t t)
{
    if (t >= 60)
        put(step, "len/p99", 1024);
}

static void spoil_entropy(struct step *step, uint32_t t)
{
    if (t >= 60)
        put(step, "entropy/mean", 0.4 * exp((60.0 - t) / 20.0));
    put(step, "reward/mean", 0.4 - 0.0005 * t);
}

static void spoil_paid(struct step *step, uint32_t t)
{
    spoil_entropy(step, t);
    put(step, "reward/mean", 0.3 + 0.005 * t);
}

static void spoil_disk(struct step *step, uint32_t t)
{
    put(step, "disk/free_frac", t >= 60 ? 0.09 : 0.2);
}

static void spoil_gap(struct step *step, uint32_t t)
{
    put(step, "wall", 1e9 + 30.0 * t + (t >= 60 ? 700 : 0));
}

static void test_alert_rules_each_bad_series_raises_its_rule_alone(void **state)
{
    (void)state;
    assert_int_equal(raised_at(ALERT_mismatch, spoil_mismatch, ALERT_COUNT), 60);
    assert_int_equal(raised_at(ALERT_pearson, spoil_pearson, ALERT_COUNT), 64);
    assert_int_equal(raised_at(ALERT_not_finite, spoil_counter, ALERT_COUNT), 60);
    assert_int_equal(raised_at(ALERT_not_finite, spoil_figure, ALERT_COUNT), 60);
    assert_int_equal(raised_at(ALERT_grad_norm, spoil_norm, ALERT_COUNT), 60);
    assert_int_equal(raised_at(ALERT_zero_variance, spoil_groups, ALERT_COUNT), 69);
    assert_int_equal(raised_at(ALERT_zero_variance, spoil_constant, ALERT_COUNT), 69);
    assert_int_equal(raised_at(ALERT_truncated, spoil_truncated, ALERT_COUNT), 69);
    assert_int_equal(raised_at(ALERT_length_cap, spoil_cap, ALERT_COUNT), 79);
    assert_int_equal(raised_at(ALERT_disk, spoil_disk, ALERT_COUNT), 60);
    assert_int_equal(raised_at(ALERT_no_step, spoil_gap, ALERT_COUNT), 60);
    assert_in_range(raised_at(ALERT_entropy_slope, spoil_entropy, ALERT_COUNT), 61, 100);
}

/* Groups are equal because they are solved; entropy that buys reward is the price of learning. */
static void test_alert_rules_solved_data_and_paid_entropy_raise_nothing(void **state)
{
    (void)state;
    assert_int_equal(raised_at(ALERT_zero_variance, spoil_solved, ALERT_COUNT), STEPS);
    assert_int_equal(raised_at(ALERT_entropy_slope, spoil_paid, ALERT_COUNT), STEPS);
}

static void test_alert_rules_switched_off_stay_silent(void **state)
{
    struct settings kept = settings;
    (void)state;
    settings.alerts.mismatch = -1;
    settings.alerts.zero_variance = settings.alerts.truncated = settings.alerts.disk_free = 0;
    assert_int_equal(raised_at(ALERT_mismatch, spoil_mismatch, ALERT_COUNT), STEPS);
    assert_int_equal(raised_at(ALERT_zero_variance, spoil_groups, ALERT_COUNT), STEPS);
    assert_int_equal(raised_at(ALERT_truncated, spoil_truncated, ALERT_COUNT), STEPS);
    assert_int_equal(raised_at(ALERT_disk, spoil_disk, ALERT_COUNT), STEPS);
    settings = kept;
}

static void test_alert_rules_missing_figures_say_nothing(void **state)
{
    struct alert_watch watch;
    struct step step = {0};
    (void)state;
    put(&step, "wall", 1);
    put(&step, "len/p99", 5000); /* a run of an older weir has no len/cap */
    alert_watch_init(&watch, &settings);
    for (uint32_t t = 0; t < 100; t++)
        alert_watch_step(&watch, look, &step);
    for (int i = 0; i < ALERT_COUNT; i++)
        assert_false(watch.states[i].crossed);
}

static void test_alert_rules_sentence_names_figure_threshold_and_setting(void **state)
{
    struct alert_state alert = {.figure = 0.71, .limit = 0.6, .threshold = 0.6, .row = 10};
    char sentence[ALERT_SENTENCE_MAX];
    (void)state;
    alert_sentence(ALERT_zero_variance, &alert, sentence);
    assert_non_null(strstr(sentence, "zero_variance: group/zero_std_frac is 0.71, above 0.6 "
                                     "(alerts.zero_variance), for 10 steps: most groups"));
    for (int i = 0; i < ALERT_COUNT; i++) {
        alert_sentence((enum alert_id)i, &alert, sentence);
        assert_true(strlen(sentence) < ALERT_SENTENCE_MAX - 1);
        assert_true(strlen(alert_rules[i].advice) > 20);
    }
}

/* Every <path unit> of an expression is a row of some table, with that kind and unit. */
static bool is_row(const struct metric_row *rows, size_t count, const char *path, bool counter,
                   const char *unit)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].path, path) == 0 && (rows[i].kind == METRIC_COUNTER) == counter &&
            rows[i].kind != METRIC_HISTOGRAM && strcmp(rows[i].unit, unit) == 0)
            return true;
    return false;
}

static void check_metric(const char *text, size_t size)
{
    char word[160];
    size_t learner_count = 0, reward_count = 0;
    const struct metric_row *learner_rows = learner_metrics_table(&learner_count),
                            *reward_rows = reward_metrics_table(&reward_count);
    assert_true(size < sizeof word);
    memcpy(word, text, size);
    word[size] = 0;
    bool counter = word[0] == '+';
    char *path = word + counter, *space = strchr(path, ' ');
    const char *unit = space != NULL ? space + 1 : "";
    if (space != NULL)
        *space = 0;
    if (!is_row(learner_rows, learner_count, path, counter, unit) &&
        !is_row(reward_rows, reward_count, path, counter, unit))
        fail_msg("<%s%s %s> of an expression is no metric", counter ? "+" : "", path, unit);
}

static void test_alert_rules_expressions_name_metrics_that_exist(void **state)
{
    unsigned named = 0;
    (void)state;
    for (int i = 0; i < ALERT_COUNT; i++)
        for (const char *at = alert_rules[i].expression; (at = strchr(at, '<')) != NULL; at++) {
            if (at[1] == ' ' || at[1] == '=')
                continue;
            const char *end = strchr(at, '>');
            assert_non_null(end);
            check_metric(at + 1, (size_t)(end - at - 1));
            named++;
        }
    assert_true(named >= ALERT_COUNT);
}

static void test_alert_rules_pages_have_every_rule(void **state)
{
    struct buffer page, rules;
    (void)state;
    buffer_init(&page, 0);
    buffer_init(&rules, 0);
    assert_int_equal(alert_markdown(&settings, &page), STATUS_OK);
    assert_int_equal(alert_prometheus(&settings, &rules), STATUS_OK);
    for (int i = 0; i < ALERT_COUNT; i++) {
        char heading[80];
        snprintf(heading, sizeof heading, "\n## %s\n", alert_rules[i].name);
        assert_non_null(strstr(buffer_string(&page), heading));
    }
    assert_non_null(
        strstr(buffer_string(&rules), "increase(weir_optim_non_finite_total[10m]) > 0"));
    assert_null(strstr(buffer_string(&rules), "<+"));
    buffer_free(&page);
    buffer_free(&rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alert_rules_healthy_series_raises_nothing),
        cmocka_unit_test(test_alert_rules_each_bad_series_raises_its_rule_alone),
        cmocka_unit_test(test_alert_rules_solved_data_and_paid_entropy_raise_nothing),
        cmocka_unit_test(test_alert_rules_switched_off_stay_silent),
        cmocka_unit_test(test_alert_rules_missing_figures_say_nothing),
        cmocka_unit_test(test_alert_rules_sentence_names_figure_threshold_and_setting),
        cmocka_unit_test(test_alert_rules_expressions_name_metrics_that_exist),
        cmocka_unit_test(test_alert_rules_pages_have_every_rule),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
