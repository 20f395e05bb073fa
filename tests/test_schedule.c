/* links: core */
/* label: unit */
/* schedule.changes: what it reads, what it refuses and where, what holds when, and contradictions anywhere in the run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/loss_rules.h"
#include "core/rng.h"
#include "core/schedule.h"

static struct schedule schedule;
static struct settings settings;
static struct config *config;

static void said(const char *part)
{
    if (strstr(status_last_error(), part) == NULL)
        fail_msg("no \"%s\" in: %s", part, status_last_error());
}

static void refused(const char *text, const char *part)
{
    if (schedule_parse(&schedule, text) != STATUS_INVALID)
        fail_msg("\"%s\" is accepted", text);
    said(part);
}

/* Settings of a recipe whose overrides these are. */
static enum status load(const char *const *overrides, size_t count)
{
    const struct config_input input = {.overrides = overrides, .override_count = count};
    config_destroy(&config);
    return settings_load(&settings, &config, &input);
}

/* At most four overrides, NULL ends them. part NULL: accepted. */
static void recipe(const char *a, const char *b, const char *c, const char *d, const char *part)
{
    const char *list[4] = {a, b, c, d};
    size_t count = 0;
    while (count < 4 && list[count] != NULL)
        count++;
    enum status status = load(list, count);
    if (part == NULL && status != STATUS_OK)
        fail_msg("%s: %s", a, status_last_error());
    if (part == NULL)
        return;
    if (status == STATUS_OK)
        fail_msg("%s %s %s is accepted", a, b != NULL ? b : "", c != NULL ? c : "");
    said(part);
}

/* ---- reading ---- */

static void test_schedule_reads_steps_stages_and_all_types(void **state)
{
    (void)state;
    assert_int_equal(schedule_parse(&schedule,
                                    " step 200:loss.weight_max=2\toptim.grad_clip=0.5 ;\n"
                                    "stage 3: loss.kind=dapo;step 300: "
                                    "optim.warmup_updates=7;"),
                     STATUS_OK);
    assert_int_equal(schedule.change_count, 3);
    assert_int_equal(schedule.set_count, 4);
    assert_int_equal(schedule.changes[1].unit, SCHEDULE_STAGE);
    assert_int_equal(schedule.changes[1].from, 3);
    assert_true(schedule.sets[0].f64 == 2.0 && !schedule.sets[0].optim && schedule.sets[1].optim);
    assert_int_equal(schedule.sets[2].u32, LOSS_DAPO);
    assert_int_equal(schedule.sets[3].u32, 7);
}

static void test_schedule_empty_texts_change_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {NULL, "", "  ", "\n\t "};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(schedule_parse(&schedule, texts[i]), STATUS_OK);
        assert_int_equal(schedule.change_count, 0);
    }
}

static void test_schedule_refusals_name_column_and_word(void **state)
{
    (void)state;
    refused("at 5: loss.kind=dapo", "column 1: \"at\" where step or stage is due");
    refused("step", "column 1: \"step\" where step or stage");
    refused("step : loss.kind=dapo", "column 6: \":\" where a whole number");
    refused("step -5: loss.kind=dapo", "column 6: \"-5:\"");
    refused("step 1e3: loss.kind=dapo", "column 7: \"e3:\" where a colon is due");
    refused("step 9999999999999: loss.kind=dapo", "at most 12 digits");
    refused("step 5 loss.kind=dapo", "column 8: \"loss.kind=dapo\" where a colon");
    refused("step 5:", "column 8: \"the end\" where section.name=value");
    refused("step 5: ; step 6: loss.kind=dapo", "column 9: \";\" where section.name=value");
    refused("; step 6: loss.kind=dapo", "column 1: \";\" where step or stage");
    refused("step 5: loss.kind", "column 9: \"loss.kind\" where section.name=value");
    refused("step 5: loss.kind =dapo", "column 9: \"loss.kind\"");
    refused("step 5: =dapo", "column 9: \"=dapo\"");
    refused("step 5: loss.kind=", "column 19: loss.kind is \"\"");
    refused("step 5: loss.kind=depo", "column 19: loss.kind is \"depo\", wanted one of:");
    refused("step 5: loss.weight_max=2x", "column 25: loss.weight_max is \"2x\"");
    refused("step 5: loss.weight_max=-1", "wanted: a number from 0");
    refused("step 5: loss.weight_maxx=1",
            "\"loss.weight_maxx\" is no setting of loss or optim, which alone can change during a "
            "run; nearest is \"loss.weight_max\"");
    refused("step 5: run.steps=9", "\"run.steps\" is no setting of loss or optim");
    refused("step 5: kind=dapo", "\"kind\" is no setting");
    refused("step 5: loss.kind=dapo loss.kind=grpo", "column 24: loss.kind twice in one change");
    refused("step 5: loss.kind=dapo; step 5: loss.kind=grpo", "column 25: step 5 follows step 5");
    refused("stage 2: loss.kind=dapo; step 9: loss.kind=grpo; stage 1: loss.kind=cispo",
            "stage 1 follows stage 2");
}

static void test_schedule_too_many_is_a_limit(void **state)
{
    (void)state;
    static char text[64 * 1024];
    size_t at = 0;
    for (int i = 0; i <= SCHEDULE_CHANGES_MAX; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "step %d: optim.lr=1;", i);
    assert_int_equal(schedule_parse(&schedule, text), STATUS_LIMIT);
    said("more than 64 changes");
    memset(text, 'a', sizeof text - 1);
    memcpy(text, "step 5: loss.kind=", 18);
    refused(text, "column 19");
    memset(text + 8, 'a', sizeof text - 9);
    refused(text, "column 9");
}

/* Whatever comes in, it is refused or read, and what is read has settings. */
static void test_schedule_hostile_bytes_are_refused_or_read(void **state)
{
    (void)state;
    static const char letters[] = "step stage:;=.loss optimkindlr0129 \t\n\xff\xc3\x80-e";
    const char *seed = getenv("TEST_SEED");
    struct rng rng;
    uint64_t key = seed != NULL ? strtoull(seed, NULL, 10) : 11;
    print_message("seed %llu\n", (unsigned long long)key);
    rng_init(&rng, key, 0, RNG_TEST);
    for (int round = 0; round < 20000; round++) {
        char text[80];
        int size = snprintf(text, sizeof text, "step %u: loss.kind=dapo; stage 2: optim.lr=1e-%u",
                            rng_below(&rng, 500), rng_below(&rng, 9));
        for (uint32_t i = rng_below(&rng, 6); i > 0; i--)
            text[rng_below(&rng, (uint32_t)size)] = letters[rng_below(&rng, sizeof letters)];
        enum status status = schedule_parse(&schedule, text);
        assert_true(status == STATUS_OK || status == STATUS_INVALID);
        for (uint32_t c = 0; status == STATUS_OK && c < schedule.change_count; c++)
            assert_true(schedule.changes[c].first < schedule.changes[c].last);
    }
}

/* ---- applying ---- */

static struct schedule_settings_now at(uint64_t version, uint64_t stage)
{
    struct schedule_settings_now now = schedule_begin(&settings);
    schedule_apply(&schedule, version, stage, &now);
    return now;
}

static void test_schedule_changes_hold_from_their_version_or_stage_on(void **state)
{
    (void)state;
    recipe("loss.weight_max=5", NULL, NULL, NULL, NULL);
    assert_int_equal(schedule_parse(&schedule,
                                    "step 10: loss.weight_max=3 optim.grad_clip=0.5; stage 2: "
                                    "loss.weight_max=2; step 20: loss.weight_max=4"),
                     STATUS_OK);
    assert_true(at(9, 0).loss.weight_max == 5.0 && at(9, 0).optim.grad_clip == 1.0);
    assert_true(at(10, 0).loss.weight_max == 3.0 && at(10, 0).optim.grad_clip == 0.5);
    assert_true(at(9, 1).loss.weight_max == 5.0);
    assert_true(at(9, 2).loss.weight_max == 2.0 && at(15, 7).loss.weight_max == 2.0);
    assert_true(at(20, 7).loss.weight_max == 4.0); /* written later */
    assert_true(settings.loss.weight_max == 5.0);
    /* the same from any starting point: nothing is kept */
    assert_true(at(10, 0).loss.weight_max == 3.0);
}

/* ---- contradictions ---- */

static void test_schedule_contradictions_are_refused_with_the_reason(void **state)
{
    (void)state;
    recipe("loss.kl_coefficient=0.1", NULL, NULL, NULL, "part of GRPO alone; M1 and ScaleRL");
    recipe("loss.kl_coefficient=0.1", "loss.kind=dapo", NULL, NULL, "DAPO, Dr. GRPO and GSPO");
    recipe("loss.kl_coefficient=0.1", "loss.kind=grpo", NULL, NULL, NULL);
    recipe("loss.kl_coefficient=0.1", "loss.kind=sft", NULL, NULL, "no policy to hold back");
    recipe("loss.entropy_coefficient=0.1", NULL, NULL, NULL, NULL);
    recipe("loss.entropy_coefficient=0.1", "loss.kind=sft", NULL, NULL, "maximum likelihood");
    recipe("loss.dual_clip=3", NULL, NULL, NULL, "loss.dual_clip 3 with loss.kind cispo");
    recipe("loss.dual_clip=3", "loss.kind=gspo", NULL, NULL, "this loss has none");
    recipe("loss.dual_clip=0.5", "loss.kind=dapo", NULL, NULL, "must be above 1");
    recipe("loss.dual_clip=3", "loss.kind=dapo", NULL, NULL, NULL);
    recipe("loss.rollout_weight_max=2", "loss.anchor=recomputed", NULL, NULL,
           "its ratio is an importance weight itself");
    recipe("loss.rollout_weight_max=2", "loss.kind=grpo", NULL, NULL, "would count twice");
    recipe("loss.rollout_weight_max=2", "loss.kind=grpo", "loss.anchor=recomputed", NULL, NULL);
    recipe("loss.anchor=recomputed", NULL, NULL, NULL, NULL);
    recipe("loss.kind=dr_grpo", NULL, NULL, NULL,
           "loss.kind dr_grpo is grpo with loss.normaliser constant and loss.advantage_std none");
    recipe("loss.kind=dr_grpo", "loss.normaliser=constant", "loss.advantage_std=none", NULL, NULL);
    recipe("loss.kind=scalerl", NULL, NULL, NULL, "cispo with loss.normaliser prompt and loss.adv");
    recipe("loss.kind=scalerl", "loss.advantage_std=batch", NULL, NULL, NULL);
    recipe("loss.overlong_buffer=300", NULL, NULL, NULL, "above sampling.response_tokens_max 256");
    recipe("loss.repetition=mask", "sampling.repetition_tokens=0", NULL, NULL, "ever cut");
}

static void test_schedule_numbers_that_nothing_reads_are_refused(void **state)
{
    (void)state;
    recipe("loss.clip_high=0.3", NULL, NULL, NULL, "loss.clip_high is set, but loss.kind cispo");
    recipe("loss.clip_high=0.28", NULL, NULL, NULL, NULL); /* the default */
    recipe("loss.weight_max=2", "loss.kind=grpo", NULL, NULL, "loss.weight_max is set");
    recipe("loss.weight_min=0.1", "loss.kind=scalerl", "loss.advantage_std=batch", NULL,
           "loss.weight_min is set");
    recipe("loss.normaliser_tokens=9", NULL, NULL, NULL, "only loss.normaliser constant");
    recipe("loss.normaliser_lambda=0.9", NULL, NULL, NULL, "only loss.normaliser combined");
    recipe("loss.advantage_epsilon=1e-6", "loss.advantage_std=none", NULL, NULL, "by nothing");
    recipe("loss.overlong_factor=2", NULL, NULL, NULL, "needs loss.overlong_buffer");
    recipe("loss.repetition_penalty=2", NULL, NULL, NULL, "needs loss.repetition penalise");
    recipe("loss.advantage_std=none", "loss.kind=sft", NULL, NULL, "loss.advantage_std is set");
}

static void test_schedule_contradiction_of_a_change_is_refused_at_start(void **state)
{
    (void)state;
    recipe(
        "schedule.changes=step 200: loss.kl_coefficient=0.1", NULL, NULL, NULL,
        "schedule.changes, at step 200 in stage 0: loss.kl_coefficient 0.1 with loss.kind cispo");
    recipe("schedule.changes=step 200: loss.kind=cispo", "loss.kind=grpo", "loss.kl_coefficient=1",
           NULL, "at step 200 in stage 0");
    /* only together do they contradict each other */
    recipe("schedule.changes=step 50: loss.kind=dapo; stage 2: loss.kl_coefficient=0.1",
           "loss.kind=grpo", "stages.lengths=64, 128, 256", NULL, "at step 50 in stage 2");
    recipe("schedule.changes=step 9: loss.weight_min=6", NULL, NULL, NULL, "weight_min 6 is above");
    recipe("schedule.changes=step x: loss.kind=dapo", NULL, NULL, NULL, "column 6");
    /* a stage that the run has not */
    recipe("schedule.changes=stage 1: optim.lr=1e-7", NULL, NULL, NULL,
           "stage 1 never comes: the run has 1 stage, counted from 0");
    recipe("schedule.changes=stage 2: optim.lr=1e-7", "stages.lengths=64, 256", NULL, NULL,
           "stage 2 never comes: the run has 2 stages");
    recipe("schedule.changes=stage 1: optim.lr=1e-7", "stages.lengths=64, 256", NULL, NULL, NULL);
    /* read later, so it may stand in the recipe; never read: refused */
    recipe("schedule.changes=step 50: loss.kind=dapo", "loss.clip_high=0.3", NULL, NULL, NULL);
    recipe("schedule.changes=step 50: loss.clip_high=0.3", NULL, NULL, NULL,
           "loss.clip_high is set");
    recipe("schedule.changes=step 50: loss.kind=dapo", "loss.weight_max=2", NULL, NULL, NULL);
}

/* A plan's cap is that of its stage. */
static void test_schedule_overlong_buffer_fits_each_stage_that_comes(void **state)
{
    (void)state;
    static const char lengths[] = "stages.lengths=64, 128, 256";
    recipe("loss.overlong_buffer=64", lengths, NULL, NULL, NULL);
    recipe("loss.overlong_buffer=65", lengths, NULL, NULL,
           "loss.overlong_buffer 65 is above 64, the cap of length stage 0 (stages.lengths)");
    recipe("loss.overlong_buffer=65", lengths, "stages.start=1", NULL, NULL);
    recipe("loss.overlong_buffer=200", lengths, "stages.start=1", NULL,
           "above 128, the cap of length stage 1");
    recipe("loss.overlong_buffer=257", lengths, "stages.start=2", NULL,
           "above sampling.response_tokens_max 256");
    recipe("loss.overlong_buffer=32", lengths,
           "schedule.changes=stage 1: loss.overlong_buffer=100; stage 2: loss.overlong_buffer=256",
           NULL, NULL);
    recipe("loss.overlong_buffer=32", lengths, "schedule.changes=stage 1: loss.overlong_buffer=129",
           NULL, "schedule.changes, at step 0 in stage 1: loss.overlong_buffer 129 is above 128");
    /* the run may still be in its first stage then */
    recipe("loss.overlong_buffer=32", lengths, "schedule.changes=step 9: loss.overlong_buffer=100",
           NULL, "schedule.changes, at step 9 in stage 0: loss.overlong_buffer 100 is above 64");
    recipe("loss.overlong_buffer=100", lengths, "schedule.changes=stage 2: loss.overlong_buffer=9",
           NULL, "the cap of length stage 0");
}

static void test_schedule_knows_whether_a_reference_is_needed(void **state)
{
    (void)state;
    recipe("loss.kind=grpo", NULL, NULL, NULL, NULL);
    assert_false(schedule_needs_reference(&settings));
    recipe("loss.kind=grpo", "loss.kl_coefficient=1", NULL, NULL, NULL);
    assert_true(schedule_needs_reference(&settings));
    recipe("loss.kind=grpo", "schedule.changes=stage 1: loss.kl_coefficient=0.5",
           "stages.lengths=64, 256", NULL, NULL);
    assert_true(schedule_needs_reference(&settings));
    recipe("loss.kind=grpo", "schedule.changes=stage 1: loss.kl_coefficient=0",
           "stages.lengths=64, 256", NULL, NULL);
    assert_false(schedule_needs_reference(&settings));
}

static int teardown(void **state)
{
    (void)state;
    config_destroy(&config);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule_reads_steps_stages_and_all_types),
        cmocka_unit_test(test_schedule_empty_texts_change_nothing),
        cmocka_unit_test(test_schedule_refusals_name_column_and_word),
        cmocka_unit_test(test_schedule_too_many_is_a_limit),
        cmocka_unit_test(test_schedule_hostile_bytes_are_refused_or_read),
        cmocka_unit_test(test_schedule_changes_hold_from_their_version_or_stage_on),
        cmocka_unit_test(test_schedule_contradictions_are_refused_with_the_reason),
        cmocka_unit_test(test_schedule_numbers_that_nothing_reads_are_refused),
        cmocka_unit_test(test_schedule_contradiction_of_a_change_is_refused_at_start),
        cmocka_unit_test(test_schedule_overlong_buffer_fits_each_stage_that_comes),
        cmocka_unit_test(test_schedule_knows_whether_a_reference_is_needed),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, teardown);
}
