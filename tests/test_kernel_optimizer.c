/* links: core kernels PkgConfig::jansson */
/* AdamW against golden updates and a naive loop, and the gradient norm. */
#include "tests/kernel_case.h"

#include <stdbool.h>

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* One parameter in lane 5 of 23. m and v: one rounding for each of the 3 updates, 4e-7. p moves by at
 * most 1e-6 and is rounded at 0.5 (6e-8 / 2 each): 1e-7. v below 1e-38 is denormal: absolute 3e-45. */
static void check_golden_case(const struct op_table *ops, const json_t *root, const json_t *entry,
                              bool decay)
{
    enum { COUNT = 23, AT = 5 };
    float *p = floats(COUNT);
    float *m = floats(COUNT);
    float *v = floats(COUNT);
    float *g = floats(COUNT);
    float *copy = floats(COUNT);
    p[AT] = (float)number(entry, "p0");
    const json_t *steps = json_object_get(entry, "f64");
    const size_t count = json_array_size(steps);
    assert_true(count == 3);
    double largest = 0; /* of the terms of m, which may cancel */
    for (size_t i = 0; i < count; i++) {
        /* Twice the gradient with a scale of one half. */
        g[AT] = (float)(2 * json_number_value(json_array_get(json_object_get(entry, "g"), i)));
        struct op_adamw args = {COUNT,
                                (int64_t)i + 1,
                                number(root, "lr"),
                                number(entry, "b1"),
                                number(entry, "b2"),
                                number(entry, "eps"),
                                decay ? number(root, "wd") : 0,
                                0.5,
                                p,
                                m,
                                v,
                                g,
                                copy};
        assert_int_equal(ops->adamw(ops->context, &args), STATUS_OK);
        assert_bits(p, copy, COUNT);
        const json_t *step = json_array_get(steps, i);
        largest = fmax(largest, fmax(fabs(number(step, "m")), 0.05 * fabs((double)g[AT])));
        assert_true(fabs((double)m[AT] - number(step, "m")) <= 4e-7 * largest);
        assert_true(fabs((double)v[AT] - number(step, "v")) <= 4e-7 * number(step, "v") + 3e-45);
        if (!decay)
            assert_true(fabs((double)p[AT] - number(step, "p")) <= 1e-7);
    }
    if (decay)
        assert_true(fabs((double)p[AT] - number(entry, "f64_wd0.1_final_p")) <= 1e-7);
    for (int i = 0; i < COUNT; i++)
        assert_true(i == AT || p[i] == 0.0f); /* g = p = 0 stays 0, no 0 / 0 */
}

/* The update itself: from p = 0 it is not hidden by the rounding at 0.5. */
static void check_first_step(const struct op_table *ops, const json_t *entry, double lr)
{
    float p = 0.0f;
    float m = 0.0f;
    float v = 0.0f;
    const float g = (float)json_number_value(json_array_get(json_object_get(entry, "g"), 0));
    struct op_adamw args = {
        1,  1,  lr,  number(entry, "b1"), number(entry, "b2"), number(entry, "eps"), 0, 1, &p, &m,
        &v, &g, NULL};
    assert_int_equal(ops->adamw(ops->context, &args), STATUS_OK);
    const double exact = number(entry, "first_step_update_over_lr_exact");
    /* 1e-20 squared is a denormal with 10 bits or fewer. */
    const double bound = (double)g < 1e-19 ? 2e-2 : 1e-6;
    assert_true(fabs(fabs((double)p) / lr / exact - 1) <= bound);
}

static void check_golden(const struct op_table *ops)
{
    json_t *root = golden_open("adamw.json");
    const json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) == 12);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_golden_case(ops, root, json_array_get(cases, i), false);
        check_golden_case(ops, root, json_array_get(cases, i), true);
        check_first_step(ops, json_array_get(cases, i), number(root, "lr"));
        check_guards_and_free();
    }
    json_decref(root);
}

static void test_kernel_optimizer_adamw_goldens_are_met(void **state)
{
    (void)state;
    run_everywhere(check_golden);
}

/* Every count around a vector and around a task, every element the same as alone. */
static void check_lanes(const struct op_table *ops)
{
    static const int64_t counts[] = {0, 1, 15, 16, 17, 31, 33, (1 << 15) - 1, (1 << 15) + 1, 70001};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        const int64_t count = counts[c];
        float *p = random_floats(count);
        float *m = random_floats(count);
        float *v = random_floats(count);
        float *g = random_floats(count);
        for (int64_t i = 0; i < count; i++)
            v[i] = fabsf(v[i]);
        float *start[3] = {copy_floats(p, count), copy_floats(m, count), copy_floats(v, count)};
        struct op_adamw args = {count, 7, 1e-3, 0.9, 0.95, 1e-15, 0.1, 0.7, p, m, v, g, NULL};
        assert_int_equal(ops->adamw(ops->context, &args), STATUS_OK);
        remember(p, count);
        remember(v, count);
        for (int64_t i = 0; i<count; i += count> 100 ? 997 : 1) {
            float one[3] = {start[0][i], start[1][i], start[2][i]};
            struct op_adamw alone = args;
            alone.count = 1;
            alone.parameter = &one[0];
            alone.m = &one[1];
            alone.v = &one[2];
            alone.grad = &g[i];
            assert_int_equal(ops->adamw(ops->context, &alone), STATUS_OK);
            assert_bits(&p[i], &one[0], 1);
            assert_bits(&m[i], &one[1], 1);
            assert_bits(&v[i], &one[2], 1);
        }
        check_guards_and_free();
    }
}

static void test_kernel_optimizer_adamw_element_does_not_depend_on_its_place(void **state)
{
    (void)state;
    run_everywhere(check_lanes);
}

static void check_norm(const struct op_table *ops)
{
    static const int64_t counts[] = {0, 1, 7, 8, 9, 4095, 4096, 4097, 100000};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        const int64_t count = counts[c];
        float *g = random_floats(count);
        double sum = -1;
        int64_t bad = -1;
        struct op_grad_norm args = {count, g, &sum, &bad};
        assert_int_equal(ops->grad_norm(ops->context, &args), STATUS_OK);
        double expected = 0;
        for (int64_t i = 0; i < count; i++)
            expected += (double)g[i] * (double)g[i];
        assert_true(fabs(sum - expected) <= 1e-12 * expected);
        assert_int_equal(bad, 0);
        remember(&sum, 2);
        if (count > 8) {
            g[0] = NAN;
            g[count - 1] = INFINITY;
            g[count / 2] = -INFINITY;
            assert_int_equal(ops->grad_norm(ops->context, &args), STATUS_OK);
            assert_int_equal(bad, 3);
        }
        check_guards_and_free();
    }
}

static void test_kernel_optimizer_grad_norm_sums_in_f64_and_counts_non_finite(void **state)
{
    (void)state;
    run_everywhere(check_norm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_optimizer_adamw_goldens_are_met),
        cmocka_unit_test(test_kernel_optimizer_adamw_element_does_not_depend_on_its_place),
        cmocka_unit_test(test_kernel_optimizer_grad_norm_sums_in_f64_and_counts_non_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
