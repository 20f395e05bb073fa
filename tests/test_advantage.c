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
    for (int convention = ADVANTAGE_STD_POPULATION; convention <= ADVANTAGE_STD_BATCH; convention++)
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

/* RLOO (arXiv:2402.14740): R_i minus the mean of the others, with and without a divisor. */
static void test_advantage_leave_one_out_is_the_mean_of_the_others(void **state)
{
    (void)state;
    const double reward[4] = {1, 0, 0.25, -2};
    double advantage[4];
    struct advantage_group group;
    for (int std = ADVANTAGE_STD_POPULATION; std <= ADVANTAGE_STD_BATCH; std++) {
        const struct advantage_rule rule = {.std = (enum setting_advantage_std)std,
                                            .mean = ADVANTAGE_MEAN_LEAVE_ONE_OUT,
                                            .epsilon = 0.125};
        double divisor = std >= ADVANTAGE_STD_NONE ? 1 : 0.125;
        assert_int_equal(advantage_by_rule(reward, 4, &rule, advantage, &group), STATUS_OK);
        for (int i = 0; i < 4; i++) {
            double others = 0;
            for (int j = 0; j < 4; j++)
                others += j == i ? 0 : reward[j] / 3;
            check_near(advantage[i],
                       (reward[i] - others) / (divisor == 1 ? 1 : group.std + divisor));
        }
    }
    const struct advantage_rule alone = {.std = ADVANTAGE_STD_NONE,
                                         .mean = ADVANTAGE_MEAN_LEAVE_ONE_OUT};
    assert_int_equal(advantage_by_rule(reward, 1, &alone, advantage, &group), STATUS_OK);
    assert_true(advantage[0] == 0 && group.zero_variance);
}

/* An epsilon divides too, and equal rewards stay exactly 0. */
static void test_advantage_epsilon_is_added_to_the_std(void **state)
{
    (void)state;
    const double reward[2] = {0, 1}, equal[2] = {0.1, 0.1};
    const struct advantage_rule rule = {.std = ADVANTAGE_STD_POPULATION, .epsilon = 0.5};
    double advantage[2];
    struct advantage_group group;
    assert_int_equal(advantage_by_rule(reward, 2, &rule, advantage, &group), STATUS_OK);
    check_near(advantage[1], 0.5);
    check_near(group.std, 0.5);
    assert_int_equal(advantage_by_rule(equal, 2, &rule, advantage, &group), STATUS_OK);
    assert_true(advantage[0] == 0 && advantage[1] == 0 && group.zero_variance);
}

static void test_advantage_batch_std_is_over_all_advantages(void **state)
{
    (void)state;
    const double advantage[4] = {1, -1, 0.5, -0.5}, equal[3] = {0.1, 0.1, 0.1};
    check_near(advantage_batch_std(advantage, 4), sqrt(2.5 / 4));
    const double one_side[2] = {1, 3}; /* others of their groups are not trained */
    check_near(advantage_batch_std(one_side, 2), 1);
    assert_true(advantage_batch_std(equal, 3) == 0);
    assert_true(advantage_batch_std(equal, 0) == 0);
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
    struct normaliser constant = minibatch(NORMALISER_CONSTANT);
    constant.constant = 64;
    check_near(normaliser_scale(&constant, 8, 2), 1.0 / (5 * 64));
    check_near(normaliser_scale(&constant, 3, 1), 1.0 / (5 * 64));
    struct normaliser combined = minibatch(NORMALISER_COMBINED);
    combined.lambda = 0.25;
    check_near(normaliser_scale(&combined, 8, 2), 0.25 / 10 + 0.75 / 11);
}

/* A mean: the scales of all trained tokens add up to 1, masked responses and groups or not. */
static void test_advantage_normaliser_scales_sum_to_one(void **state)
{
    (void)state;
    static const int64_t nothing[3] = {0, 0, 0};
    for (int kind = NORMALISER_PROMPT; kind <= NORMALISER_COMBINED; kind++) {
        struct normaliser made = minibatch((enum setting_normaliser)kind);
        made.constant = 11.0 / 5; /* the mean length: then it is a mean too */
        made.lambda = 0.7;
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
        cmocka_unit_test(test_advantage_leave_one_out_is_the_mean_of_the_others),
        cmocka_unit_test(test_advantage_epsilon_is_added_to_the_std),
        cmocka_unit_test(test_advantage_batch_std_is_over_all_advantages),
        cmocka_unit_test(test_advantage_tiny_differences_stay_finite),
        cmocka_unit_test(test_advantage_in_place_gives_the_same),
        cmocka_unit_test(test_advantage_bad_reward_is_named),
        cmocka_unit_test(test_advantage_normalisers_give_the_formula),
        cmocka_unit_test(test_advantage_normaliser_scales_sum_to_one),
    };
    return cmocka_run_group_tests_name("advantage", tests, NULL, NULL);
}
