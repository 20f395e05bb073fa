/* links: core kernels PkgConfig::jansson */
/* RMSNorm: goldens, finite differences, strides and tails, rows alone and in a batch. */
#include "tests/kernel_case.h"

struct norm_problem {
    int64_t rows, channels;
    double eps;
    double *x, *gain, *dy;
    double one; /* added to the gain */
};

static double norm_loss(const void *argument)
{
    const struct norm_problem *p = argument;
    double loss = 0;
    for (int64_t t = 0; t < p->rows; t++) {
        const double *x = p->x + t * p->channels;
        double sum = 0;
        for (int64_t c = 0; c < p->channels; c++)
            sum += x[c] * x[c];
        double r = 1 / sqrt(sum / (double)p->channels + p->eps);
        for (int64_t c = 0; c < p->channels; c++)
            loss += p->dy[t * p->channels + c] * (p->one + p->gain[c]) * x[c] * r;
    }
    return loss;
}

static void check_golden_eps(const struct op_table *ops, const json_t *entry, float eps)
{
    float *x = golden_floats(entry, "x", 12);
    float *gain = golden_floats(entry, "w", 6);
    float *dy = golden_floats(entry, "dy", 12);
    float *y = floats(12);
    float *r = floats(2);
    float *dgain = floats(6);
    assert_int_equal(ops->rms_norm(ops->context,
                                   &(struct op_rms_norm){2, 1, 6, 6, 6, eps, x, gain, y, r, false}),
                     STATUS_OK);
    assert_close(y, golden(entry, "y", 12), 12, 3e-7);
    struct op_rms_norm_backward backward = {2, 1, 6, 6, 6, 6, x, gain, r, dy, dy, dgain, false};
    assert_int_equal(ops->rms_norm_backward(ops->context, &backward), STATUS_OK);
    assert_close(dy, golden(entry, "dx", 12), 12, 2e-6);
    assert_close(dgain, golden(entry, "dw", 6), 6, 1e-6);
}

static void check_golden(const struct op_table *ops)
{
    json_t *root = golden_open("primitives.json");
    check_golden_eps(ops, json_object_get(root, "rmsnorm_eps_1e-05"), 1e-5F);
    check_golden_eps(ops, json_object_get(root, "rmsnorm_eps_1e-06"), 1e-6F);
    json_decref(root);
}

static void check_gradient_of(const struct op_table *ops, bool one_plus)
{
    const int64_t sizes[] = {1, 15, 16, 17, 33, 64};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t n = sizes[s];
        int64_t rows = 3;
        float *x = random_floats(rows * n);
        float *gain = random_floats(n);
        float *dy = random_floats(rows * n);
        float *y = floats(rows * n);
        float *r = floats(rows);
        float *dx = floats(rows * n);
        float *dgain = floats(n);
        struct norm_problem p = {rows,
                                 n,
                                 1e-3,
                                 widen(x, rows * n),
                                 widen(gain, n),
                                 widen(dy, rows * n),
                                 one_plus ? 1 : 0};
        struct op_rms_norm forward = {rows, 1, n, n, n, 1e-3F, x, gain, y, r, one_plus};
        struct op_rms_norm_backward backward = {rows, 1, n,  n,  n,     n,       x,
                                                gain, r, dy, dx, dgain, one_plus};
        assert_int_equal(ops->rms_norm(ops->context, &forward), STATUS_OK);
        assert_int_equal(ops->rms_norm_backward(ops->context, &backward), STATUS_OK);
        assert_close(dx, numeric_gradient(norm_loss, &p, p.x, rows * n), rows * n, 3e-5);
        assert_close(dgain, numeric_gradient(norm_loss, &p, p.gain, n), n, 3e-5);
        remember(y, rows * n);
        remember(dx, rows * n);
        remember(dgain, n);
    }
}

/* Heads of a fused row are normed in place; a row alone has the bits it has among others. */
static void check_batch_of(const struct op_table *ops, bool one_plus)
{
    enum { ROWS = 37, GROUPS = 3, SIZE = 40, STRIDE = 150 };
    float *x = random_floats(ROWS * STRIDE);
    float *before = copy_floats(x, ROWS * STRIDE);
    float *gain = random_floats(SIZE);
    float *alone = floats(STRIDE);
    struct op_rms_norm call = {ROWS, GROUPS, SIZE, STRIDE, STRIDE,  1e-6F,
                               x,    gain,   x,    NULL,   one_plus};
    assert_int_equal(ops->rms_norm(ops->context, &call), STATUS_OK);
    for (int t = 0; t < ROWS; t++) {
        struct op_rms_norm one = {1,    GROUPS, SIZE, STRIDE,  STRIDE, 1e-6F, before + t * STRIDE,
                                  gain, alone,  NULL, one_plus};
        assert_int_equal(ops->rms_norm(ops->context, &one), STATUS_OK);
        assert_bits(alone, x + t * STRIDE, GROUPS * SIZE);
        assert_bits(x + t * STRIDE + GROUPS * SIZE, before + t * STRIDE + GROUPS * SIZE,
                    STRIDE - GROUPS * SIZE);
    }
    remember(x, ROWS * STRIDE);
}

static void check_gradient(const struct op_table *ops)
{
    check_gradient_of(ops, false);
    check_gradient_of(ops, true);
}

static void check_batch(const struct op_table *ops)
{
    check_batch_of(ops, false);
    check_batch_of(ops, true);
}

static void test_kernel_norm_golden_matches(void **state)
{
    (void)state;
    run_everywhere(check_golden);
}

static void test_kernel_norm_backward_matches_finite_differences(void **state)
{
    (void)state;
    run_everywhere(check_gradient);
}

static void test_kernel_norm_row_alone_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_norm_golden_matches),
        cmocka_unit_test(test_kernel_norm_backward_matches_finite_differences),
        cmocka_unit_test(test_kernel_norm_row_alone_has_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
