/* links: learner core */
/* Group advantages and the normalisers of the loss: numbers by hand, and what must not happen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "learner/advantage.h"
#include "learner/normaliser.h"

static void check_near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-14 * (1.0 + fabs(wanted))))
        fail_msg("%.17g, wanted %.17g", value, wanted);
}

/* R = 1, -1, -1: mean -1/3, squares 8/3; sqrt(8/9) and sqrt(4/3). */
static void test_advantage_three_conventions_give_the_formula(void **state)
{
    (void)state;
    const double reward[3] = {1, -1, -1};
    double advantage[3];
    struct advantage_group group;
    assert_int_equal(advantage_of_group(reward, 3, ADVANTAGE_STD_POPULATION, advantage, &group),
                     STATUS_OK);
    check_near(group.mean, -1.0 / 3);
    check_near(group.std, sqrt(8.0 / 9));
    check_near(advantage[0], sqrt(2.0));
    check_near(advantage[1], -sqrt(0.5));
    assert_int_equal(advantage_of_group(reward, 3, ADVANTAGE_STD_SAMPLE, advantage, &group),
                     STATUS_OK);
    check_near(advantage[0], 2.0 / sqrt(3.0));
    assert_int_equal(advantage_of_group(reward, 3, ADVANTAGE_STD_NONE, advantage, &group),
                     STATUS_OK);
    check_near(group.std, 1.0);
    check_near(advantage[2], -2.0 / 3);
}

/* 0.1 has no exact mean: without the exact comparison these would become advantages of size 1. */
static void test_advantage_equal_rewards_give_zero_and_a_flag(void **state)
{
    (void)state;
    double reward[7], advantage[7];
    for (int convention = ADVANTAGE_STD_POPULATION; convention <= ADVANTAGE_STD_NONE; convention++)
        for (int count = 1; count <= 7; count++) {
            struct advantage_group group;
            for (int i = 0; i < count; i++)
                reward[i] = 0.1;
            assert_int_equal(advantage_of_group(reward, count,
                                                (enum setting_advantage_std)convention, advantage,
                                                &group),
                             STATUS_OK);
            assert_true(group.zero_variance);
            for (int i = 0; i < count; i++)
                assert_true(advantage[i] == 0.0);
        }
}

static void test_advantage_tiny_differences_stay_finite(void **state)
{
    (void)state;
    const double reward[2] = {0.0, 1e-300};
    double advantage[2];
    struct advantage_group group;
    assert_int_equal(advantage_of_group(reward, 2, ADVANTAGE_STD_POPULATION, advantage, &group),
                     STATUS_OK);
    assert_true(isfinite(advantage[0]) && isfinite(advantage[1]));
}

static void test_advantage_in_place_gives_the_same(void **state)
{
    (void)state;
    double reward[4] = {0.5, 1e6, 1e6 + 1, -3}, advantage[4];
    struct advantage_group group;
    assert_int_equal(advantage_of_group(reward, 4, ADVANTAGE_STD_SAMPLE, advantage, &group),
                     STATUS_OK);
    assert_int_equal(advantage_of_group(reward, 4, ADVANTAGE_STD_SAMPLE, reward, &group),
                     STATUS_OK);
    assert_memory_equal(reward, advantage, sizeof reward);
}

static void test_advantage_bad_reward_is_named(void **state)
{
    (void)state;
    const double reward[3] = {1, 0, NAN};
    double advantage[3] = {7, 7, 7};
    struct advantage_group group;
    assert_int_equal(advantage_of_group(reward, 3, ADVANTAGE_STD_POPULATION, advantage, &group),
                     STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "sample 2"));
    assert_true(advantage[0] == 7);
    assert_int_equal(advantage_of_group(reward, 0, ADVANTAGE_STD_POPULATION, advantage, &group),
                     STATUS_INVALID);
}

/* Two groups, 3 + 2 + 3 and 1 + 0 + 2 trained tokens. */
static const int64_t tokens[2][3] = {{3, 2, 3}, {1, 0, 2}};

static struct normaliser minibatch(enum setting_normaliser kind)
{
    struct normaliser made = {.kind = kind};
    assert_int_equal(normaliser_add_group(&made, tokens[0], 3), 8);
    assert_int_equal(normaliser_add_group(&made, tokens[1], 3), 3);
    return made;
}

static void test_advantage_normalisers_give_the_formula(void **state)
{
    (void)state;
    struct normaliser prompt = minibatch(NORMALISER_PROMPT);
    check_near(normaliser_scale(&prompt, 8, 2), 1.0 / 16);
    check_near(normaliser_scale(&prompt, 3, 2), 1.0 / 6);
    struct normaliser batch = minibatch(NORMALISER_BATCH);
    check_near(normaliser_scale(&batch, 8, 2), 1.0 / 11);
    struct normaliser sample = minibatch(NORMALISER_SAMPLE);
    check_near(normaliser_scale(&sample, 8, 2), 1.0 / 10);
    assert_true(normaliser_scale(&sample, 3, 0) == 0.0);
}

/* A mean: the scales of all trained tokens add up to 1, masked responses and groups or not. */
static void test_advantage_normaliser_scales_sum_to_one(void **state)
{
    (void)state;
    static const int64_t nothing[3] = {0, 0, 0};
    for (int kind = NORMALISER_PROMPT; kind <= NORMALISER_SAMPLE; kind++) {
        struct normaliser made = minibatch((enum setting_normaliser)kind);
        assert_int_equal(normaliser_add_group(&made, nothing, 3), 0);
        double sum = 0.0;
        for (int g = 0; g < 2; g++)
            for (int i = 0; i < 3; i++)
                sum += (double)tokens[g][i] * normaliser_scale(&made, g == 0 ? 8 : 3, tokens[g][i]);
        check_near(sum, 1.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advantage_three_conventions_give_the_formula),
        cmocka_unit_test(test_advantage_equal_rewards_give_zero_and_a_flag),
        cmocka_unit_test(test_advantage_tiny_differences_stay_finite),
        cmocka_unit_test(test_advantage_in_place_gives_the_same),
        cmocka_unit_test(test_advantage_bad_reward_is_named),
        cmocka_unit_test(test_advantage_normalisers_give_the_formula),
        cmocka_unit_test(test_advantage_normaliser_scales_sum_to_one),
    };
    return cmocka_run_group_tests_name("advantage", tests, NULL, NULL);
}
