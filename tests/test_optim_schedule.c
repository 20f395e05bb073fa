/* links: learner */
/* label: unit */
/* timeout: 10 */
/* The learning rate of every update: shapes at their corners, the sums they must give, and both sections of settings. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "learner/optim_schedule.h"

static const double pi = 3.14159265358979323846;

static void expect(const struct optim_schedule *schedule, uint64_t update, double rate)
{
    double got = optim_schedule_lr(schedule, update);
    if (!(fabs(got - rate) <= 1e-15 * fabs(rate)))
        fail_msg("update %llu: %.17g, expected %.17g", (unsigned long long)update, got, rate);
}

static void test_optim_schedule_constant_warms_up_and_stays(void **state)
{
    (void)state;
    struct optim_schedule schedule = {
        .kind = LR_CONSTANT, .lr = 1e-6, .lr_end = 0.1, .warmup = 4, .total = 10};
    expect(&schedule, 0, 0.25e-6);
    expect(&schedule, 2, 0.75e-6);
    for (uint64_t n = 3; n < 30; n++)
        expect(&schedule, n, 1e-6);
    schedule.warmup = 0;
    expect(&schedule, 0, 1e-6);
}

static void test_optim_schedule_cosine_has_half_way_and_end(void **state)
{
    (void)state;
    struct optim_schedule schedule = {
        .kind = LR_COSINE, .lr = 2, .lr_end = 0.1, .warmup = 10, .total = 110};
    expect(&schedule, 9, 2);
    expect(&schedule, 10, 2);
    expect(&schedule, 60, 2 * 0.55);
    expect(&schedule, 85, 2 * (0.1 + 0.9 * 0.5 * (1 + cos(0.75 * pi))));
    expect(&schedule, 110, 0.2);
    expect(&schedule, UINT64_MAX, 0.2);
    for (uint64_t n = 10; n < 200; n++)
        assert_true(optim_schedule_lr(&schedule, n + 1) <= optim_schedule_lr(&schedule, n));
    schedule.warmup = schedule.total = 5; /* nothing left to decay */
    expect(&schedule, 4, 2);
    expect(&schedule, 5, 0.2);
}

static void test_optim_schedule_wsd_is_that_of_the_paper(void **state)
{
    (void)state;
    /* 8e-5 for a third, then down to 8e-6. */
    struct optim_schedule schedule = {.kind = LR_WSD,
                                      .lr = 8e-5,
                                      .lr_end = 0.1,
                                      .warmup = 10,
                                      .decay_updates = 500,
                                      .total = 750};
    expect(&schedule, 4, 4e-5);
    expect(&schedule, 10, 8e-5);
    expect(&schedule, 249, 8e-5);
    expect(&schedule, 250, 8e-5);
    expect(&schedule, 500, 8e-5 * 0.55);
    expect(&schedule, 749, 8e-5 * (0.1 + 0.9 * 0.002));
    expect(&schedule, 750, 8e-6);
    expect(&schedule, 100000, 8e-6);
    schedule.decay = LR_DECAY_SQRT;
    expect(&schedule, 250, 8e-5);
    expect(&schedule, 375, 8e-5 * 0.55); /* sqrt(1/4) */
    expect(&schedule, 750, 8e-6);
    schedule.lr_end = 1;
    for (uint64_t n = 10; n < 800; n += 7)
        expect(&schedule, n, 8e-5);
}

static void test_optim_schedule_decay_longer_than_everything_begins_at_once(void **state)
{
    (void)state;
    struct optim_schedule schedule = {
        .kind = LR_WSD, .lr = 1, .lr_end = 0, .decay_updates = 1000, .total = 4};
    expect(&schedule, 0, 1);
    expect(&schedule, 1, 0.75);
    expect(&schedule, 4, 0);
}

static enum status load(struct settings *settings, const char *text)
{
    struct config *config = NULL;
    char path[] = BUILD_DIR "/test_optim_schedule.yaml";
    const char *files[] = {path};
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
    struct config_input input = {.files = files, .file_count = 1};
    enum status status = settings_load(settings, &config, &input);
    config_destroy(&config);
    return status;
}

static void test_optim_schedule_settings_of_runs_and_sft_mean_the_same(void **state)
{
    (void)state;
    struct settings settings;
    assert_int_equal(load(&settings, "run: {steps: 30}\nlearner: {updates_per_publish: 4}\n"
                                     "store: {groups_per_publish: 8}\n"
                                     "optim: {lr: 0.5, schedule: wsd, decay_updates: 60, "
                                     "warmup_updates: 3, lr_end: 0.2, decay: sqrt}\n"
                                     "sft: {steps: 120, lr: 0.5, schedule: wsd, decay_updates: 60, "
                                     "warmup_updates: 3, lr_end: 0.2, decay: sqrt}\n"),
                     STATUS_OK);
    struct optim_schedule run = optim_schedule_of_run(&settings),
                          sft = optim_schedule_of_sft(&settings);
    assert_int_equal(run.total, 120);
    for (uint64_t n = 0; n < 150; n++)
        assert_true(optim_schedule_lr(&run, n) == optim_schedule_lr(&sft, n));
    assert_true(optim_schedule_lr(&run, 119) < 0.2 && optim_schedule_lr(&run, 119) > 0.1);
    assert_int_equal(load(&settings, "optim: {total_updates: 7}"), STATUS_OK);
    assert_int_equal(optim_schedule_of_run(&settings).total, 7);
    assert_int_equal(load(&settings, ""), STATUS_OK); /* what recipes without a word get */
    run = optim_schedule_of_run(&settings);
    sft = optim_schedule_of_sft(&settings);
    assert_true(optim_schedule_lr(&run, 0) == 1e-6 && optim_schedule_lr(&run, 1000000) == 1e-6);
    expect(&sft, 19, 1e-3);
    expect(&sft, 510, 1e-3 * 0.55);
}

static void test_optim_schedule_impossible_wsd_is_refused(void **state)
{
    (void)state;
    struct settings settings;
    assert_int_equal(load(&settings, "sft: {schedule: wsd}"), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "sft.decay_updates is 0"));
    assert_int_equal(load(&settings, "optim: {schedule: wsd, total_updates: 10, warmup_updates: 5, "
                                     "decay_updates: 6}"),
                     STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "10 updates of optim.total_updates"));
    assert_int_equal(load(&settings, "sft: {schedule: linear}"), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optim_schedule_constant_warms_up_and_stays),
        cmocka_unit_test(test_optim_schedule_cosine_has_half_way_and_end),
        cmocka_unit_test(test_optim_schedule_wsd_is_that_of_the_paper),
        cmocka_unit_test(test_optim_schedule_decay_longer_than_everything_begins_at_once),
        cmocka_unit_test(test_optim_schedule_settings_of_runs_and_sft_mean_the_same),
        cmocka_unit_test(test_optim_schedule_impossible_wsd_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
