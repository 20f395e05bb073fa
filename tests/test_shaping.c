/* links: learner core PkgConfig::jansson */
/* label: unit */
/* Rewards before advantages: the soft overlong penalty at its edges and against golden cases, masks, repetition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "learner/shaping.h"

static const uint32_t cap = 100;

static struct shaped_reward shape(const struct loss_settings *loss, enum segment_status finish,
                                  uint32_t length, double reward)
{
    return shaping_of(loss, cap, finish, length, reward);
}

static void test_shaping_overlong_falls_over_the_buffer(void **state)
{
    (void)state;
    assert_true(shaping_overlong(0, 100, 20) == 0.0);
    assert_true(shaping_overlong(80, 100, 20) == 0.0);
    assert_true(shaping_overlong(81, 100, 20) == -0.05);
    assert_true(shaping_overlong(90, 100, 20) == -0.5);
    assert_true(shaping_overlong(100, 100, 20) == -1.0);
    assert_true(shaping_overlong(101, 100, 20) == -1.0);
    assert_true(shaping_overlong(UINT32_MAX, 100, 20) == -1.0);
    assert_true(shaping_overlong(1, 100, 100) == -0.01);
    /* a stage whose cap is below the buffer */
    assert_true(shaping_overlong(10, 10, 20) == -1.0);
    assert_true(shaping_overlong(0, 10, 20) == -0.5);
}

/* M1-SPEC's table: {"20480": -1.0, ...} of a cap and a buffer. */
static void test_shaping_overlong_gives_the_golden_values(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t cap, buffer;
    } tables[] = {{"soft_overlong_Lmax20480_cache4096", 20480, 4096},
                  {"soft_overlong_Lmax40960_cache4096", 40960, 4096}};
    json_t *root = json_load_file(SOURCE_DIR "/tests/golden/spec/rl_losses.json", 0, NULL);
    assert_non_null(root);
    int compared = 0;
    for (int i = 0; i < 2; i++) {
        const char *length;
        json_t *value;
        json_object_foreach(json_object_get(root, tables[i].key), length, value)
        {
            double got = shaping_overlong((uint32_t)strtoul(length, NULL, 10), tables[i].cap,
                                          tables[i].buffer);
            if (!(fabs(got - json_number_value(value)) <= 1e-15))
                fail_msg("%s at %s: %.17g", tables[i].key, length, got);
            compared++;
        }
    }
    assert_int_equal(compared, 9);
    json_decref(root);
}

/* verl's manager: base - factor (length - (cap - buffer)) / buffer; its published example. */
static void test_shaping_overlong_factor_multiplies(void **state)
{
    (void)state;
    const struct loss_settings loss = {.overlong_buffer = 4096, .overlong_factor = 0.5};
    assert_true(shaping_of(&loss, 16384, SEGMENT_EOS, 12288, 1.0).reward == 1.0);
    assert_true(shaping_of(&loss, 16384, SEGMENT_EOS, 12289, 1.0).reward == 0.9998779296875);
    assert_true(shaping_of(&loss, 16384, SEGMENT_LENGTH, 16384, -1.0).reward == -1.5);
    /* the plan's cap, not another one */
    assert_true(shaping_of(&loss, 40960, SEGMENT_EOS, 16384, 1.0).reward == 1.0);
}

static void test_shaping_off_changes_nothing(void **state)
{
    (void)state;
    const struct loss_settings loss = {.overlong_factor = 1, .repetition_penalty = 1};
    for (int finish = 0; finish < SEGMENT_STATUS_COUNT; finish++)
        for (uint32_t length = 0; length <= cap; length += 10) {
            struct shaped_reward shaped = shape(&loss, (enum segment_status)finish, length, 0.3);
            assert_true(shaped.reward == 0.3 && shaped.trained);
        }
}

static void test_shaping_mask_takes_the_ones_at_the_cap_and_keeps_their_reward(void **state)
{
    (void)state;
    const struct loss_settings loss = {.overlong = OVERLONG_MASK};
    assert_false(shape(&loss, SEGMENT_LENGTH, cap, 0.25).trained);
    assert_true(shape(&loss, SEGMENT_LENGTH, cap, 0.25).reward == 0.25);
    assert_true(
        shape(&loss, SEGMENT_EOS, cap, 0.25).trained); /* ended by itself, on the last token */
    assert_true(shape(&loss, SEGMENT_REPETITION, 50, 0.25).trained);
}

static void test_shaping_repetition_masks_or_penalises_its_own_only(void **state)
{
    (void)state;
    struct loss_settings loss = {.repetition = REPETITION_MASK, .repetition_penalty = 0.5};
    assert_false(shape(&loss, SEGMENT_REPETITION, 50, 1).trained);
    assert_true(shape(&loss, SEGMENT_REPETITION, 50, 1).reward == 1);
    assert_true(shape(&loss, SEGMENT_LENGTH, cap, 1).trained);
    loss.repetition = REPETITION_PENALISE;
    assert_true(shape(&loss, SEGMENT_REPETITION, 50, 1).trained);
    assert_true(shape(&loss, SEGMENT_REPETITION, 50, 1).reward == 0.5);
    assert_true(shape(&loss, SEGMENT_EOS, 50, 1).reward == 1);
    /* both penalties add up */
    loss.overlong_buffer = 20;
    loss.overlong_factor = 2;
    assert_true(shape(&loss, SEGMENT_REPETITION, 90, 1).reward == 1 - 2 * 0.5 - 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shaping_overlong_falls_over_the_buffer),
        cmocka_unit_test(test_shaping_overlong_gives_the_golden_values),
        cmocka_unit_test(test_shaping_overlong_factor_multiplies),
        cmocka_unit_test(test_shaping_off_changes_nothing),
        cmocka_unit_test(test_shaping_mask_takes_the_ones_at_the_cap_and_keeps_their_reward),
        cmocka_unit_test(test_shaping_repetition_masks_or_penalises_its_own_only),
    };
    return cmocka_run_group_tests_name("shaping", tests, NULL, NULL);
}
