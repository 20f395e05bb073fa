/* links: core kernels PkgConfig::jansson */
/* timeout: 60 */
/* Matrix products: naive f64 sums, rows alone and in a batch, strides, groups, block edges. Runs over
 * every instruction set and 1 and 2 threads; equal bits are checked by run_everywhere. */
#include "tests/kernel_case.h"

enum { PAD = 3 }; /* extra cells of a row stride */

/* |error| of a chain of n fused multiply-adds: n 2^-24 of the sum of |products| (Higham, Accuracy and
 * Stability, section 3.1); blocks of 256 and their sum only lower it. */
static void assert_sum(float value, double expected, double absolute, int64_t terms)
{
    const double bound = (double)(terms + 4) * 0x1p-24 * absolute;
    if (!(fabs((double)value - expected) <= bound))
        fail_msg("%.9g, expected %.9g, bound %.3g", (double)value, expected, bound);
}

struct problem {
    int64_t rows, experts, n, k;
    const int32_t *offset;
    float *x, *weight, *packed, *bias, *y;
};

static int64_t expert_of(const struct problem *p, int64_t row)
{
    int64_t e = 0;
    while (p->offset && p->offset[e + 1] <= row)
        e++;
    return e;
}

static struct problem problem_make(const struct op_table *ops, int64_t rows, int64_t n, int64_t k,
                                   int64_t experts, const int32_t *offset)
{
    struct problem p = {.rows = rows, .experts = experts, .n = n, .k = k, .offset = offset};
    p.x = random_floats(rows * (k + PAD));
    p.weight = random_floats(experts * n * k);
    p.bias = offset ? NULL : random_floats(n);
    p.y = floats(rows * (n + PAD));
    const size_t bytes = ops->packed_bytes(ops->context, experts, n, k);
    p.packed = floats((int64_t)(bytes / sizeof(float)));
    struct op_linear_pack pack = {experts, n, k, p.weight, p.packed};
    assert_int_equal(ops->linear_pack(ops->context, &pack), STATUS_OK);
    return p;
}

static void forward(const struct op_table *ops, const struct problem *p, int64_t row, int64_t rows,
                    float *y)
{
    struct op_linear args = {.rows = rows,
                             .experts = p->experts,
                             .n = p->n,
                             .k = p->k,
                             .x_stride = p->k + PAD,
                             .y_stride = p->n + PAD,
                             .virtual_tp = 1,
                             .x = p->x + row * (p->k + PAD),
                             .packed = p->packed,
                             .bias = p->bias,
                             .expert_offset = p->offset,
                             .y = y};
    assert_int_equal(ops->linear(ops->context, &args), STATUS_OK);
}

static void check_forward(const struct op_table *ops, const struct problem *p)
{
    forward(ops, p, 0, p->rows, p->y);
    for (int64_t r = 0; r < p->rows; r++) {
        const float *weight = p->weight + expert_of(p, r) * p->n * p->k;
        for (int64_t j = 0; j < p->n; j++) {
            double sum = p->bias ? (double)p->bias[j] : 0;
            double absolute = fabs(sum);
            for (int64_t i = 0; i < p->k; i++) {
                const double product =
                    (double)p->x[r * (p->k + PAD) + i] * (double)weight[j * p->k + i];
                sum += product;
                absolute += fabs(product);
            }
            assert_sum(p->y[r * (p->n + PAD) + j], sum, absolute, p->k);
        }
        for (int64_t j = p->n; j < p->n + PAD; j++) /* between rows: untouched */
            assert_true(p->y[r * (p->n + PAD) + j] == 0.0f);
    }
    remember(p->y, p->rows * (p->n + PAD));
}

static void check_input(const struct op_table *ops, const struct problem *p, bool accumulate)
{
    const int64_t stride = p->k + PAD;
    float *dx = random_floats(p->rows * stride);
    const float *before = copy_floats(dx, p->rows * stride);
    struct op_linear_backward_input args = {p->rows,    p->experts, p->n,       p->k,
                                            p->n + PAD, stride,     accumulate, p->y,
                                            p->weight,  p->offset,  dx};
    assert_int_equal(ops->linear_backward_input(ops->context, &args), STATUS_OK);
    for (int64_t r = 0; r < p->rows; r++) {
        const float *weight = p->weight + expert_of(p, r) * p->n * p->k;
        for (int64_t i = 0; i < p->k; i++) {
            double sum = accumulate ? (double)before[r * stride + i] : 0;
            double absolute = fabs(sum);
            for (int64_t j = 0; j < p->n; j++) {
                const double product =
                    (double)p->y[r * (p->n + PAD) + j] * (double)weight[j * p->k + i];
                sum += product;
                absolute += fabs(product);
            }
            assert_sum(dx[r * stride + i], sum, absolute, p->n);
        }
        assert_bits(dx + r * stride + p->k, before + r * stride + p->k, PAD);
    }
    remember(dx, p->rows * stride);
}

static void check_weight(const struct op_table *ops, const struct problem *p)
{
    const int64_t count = p->experts * p->n * p->k;
    float *dweight = random_floats(count);
    const float *before = copy_floats(dweight, count);
    float *dbias = p->offset ? NULL : floats(p->n);
    struct op_linear_backward_weight args = {p->rows,    p->experts, p->n, p->k,
                                             p->n + PAD, p->k + PAD, p->y, p->x,
                                             p->offset,  dweight,    dbias};
    assert_int_equal(ops->linear_backward_weight(ops->context, &args), STATUS_OK);
    double *sum = widen(before, count);
    double *absolute = widen(before, count);
    double *bias_sum = doubles(2 * p->n);
    for (int64_t i = 0; i < count; i++)
        absolute[i] = fabs(absolute[i]);
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t j = 0; j < p->n; j++) {
            const double dy = (double)p->y[r * (p->n + PAD) + j];
            bias_sum[2 * j] += dy;
            bias_sum[2 * j + 1] += fabs(dy);
            for (int64_t i = 0; i < p->k; i++) {
                const int64_t at = (expert_of(p, r) * p->n + j) * p->k + i;
                sum[at] += dy * (double)p->x[r * (p->k + PAD) + i];
                absolute[at] += fabs(dy * (double)p->x[r * (p->k + PAD) + i]);
            }
        }
    for (int64_t i = 0; i < count; i++)
        assert_sum(dweight[i], sum[i], absolute[i], p->rows);
    for (int64_t j = 0; dbias && j < p->n; j++)
        assert_sum(dbias[j], bias_sum[2 * j], bias_sum[2 * j + 1], p->rows);
    remember(dweight, count);
}

static void check_edges(const struct op_table *ops)
{
    static const int64_t shapes[][3] = {{1, 1, 1},     {1, 130, 257},  {2, 65, 256},  {3, 31, 255},
                                        {12, 33, 64},  {13, 32, 513},  {64, 192, 64}, {25, 96, 17},
                                        {300, 64, 96}, {257, 40, 600}, {0, 8, 8}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const struct problem p =
            problem_make(ops, shapes[s][0], shapes[s][1], shapes[s][2], 1, NULL);
        check_forward(ops, &p);
        check_input(ops, &p, false);
        check_input(ops, &p, true);
        check_weight(ops, &p);
        check_guards_and_free();
    }
}

static void test_kernel_linear_block_edges_match_naive_sums(void **state)
{
    (void)state;
    run_everywhere(check_edges);
}

/* Expert 1 and the last one have no rows. */
static void check_groups(const struct op_table *ops)
{
    static const int32_t small[] = {0, 3, 3, 16, 29, 29};
    static const int32_t large[] = {0, 300, 300, 301, 561};
    const struct problem a = problem_make(ops, 29, 70, 50, 5, small);
    check_forward(ops, &a);
    check_input(ops, &a, false);
    check_weight(ops, &a);
    const struct problem b = problem_make(ops, 561, 64, 96, 4, large);
    check_forward(ops, &b);
    check_input(ops, &b, true);
    check_weight(ops, &b);
}

static void test_kernel_linear_groups_use_their_own_expert(void **state)
{
    (void)state;
    run_everywhere(check_groups);
}

/* Row i alone, and at another place of a call of m rows, has the bits of the full call. */
static void check_batch(const struct op_table *ops)
{
    static const int64_t sizes[] = {1, 2, 5, 12, 13, 31, 64, 257};
    static const int64_t shapes[][2] = {{64, 64}, {192, 64}, {130, 600}, {33, 1025}};
    enum { ROWS = 257 };
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const struct problem p = problem_make(ops, ROWS, shapes[s][0], shapes[s][1], 1, NULL);
        const int64_t stride = p.n + PAD;
        forward(ops, &p, 0, ROWS, p.y);
        float *y = floats(ROWS * stride);
        for (size_t m = 0; m < sizeof sizes / sizeof sizes[0]; m++)
            for (int64_t row = 0; row + sizes[m] <= ROWS; row += sizes[m]) {
                forward(ops, &p, row, sizes[m], y);
                assert_bits(y, p.y + row * stride, sizes[m] * stride);
            }
        check_guards_and_free();
    }
}

static void test_kernel_linear_row_alone_has_the_bits_of_the_batch(void **state)
{
    (void)state;
    run_everywhere(check_batch);
}

/* Large enough for several tasks; run_everywhere compares 1 and 2 threads. */
static void check_threads(const struct op_table *ops)
{
    const struct problem p = problem_make(ops, 700, 200, 300, 1, NULL);
    forward(ops, &p, 0, p.rows, p.y);
    remember(p.y, p.rows * (p.n + PAD));
    check_input(ops, &p, false);
    check_weight(ops, &p);
}

static void test_kernel_linear_two_threads_give_the_bits_of_one(void **state)
{
    (void)state;
    run_everywhere(check_threads);
}

static void check_virtual_tp(const struct op_table *ops)
{
    const struct problem p = problem_make(ops, 1, 8, 8, 1, NULL);
    struct op_linear args = {.rows = 1,
                             .experts = 1,
                             .n = 8,
                             .k = 8,
                             .x_stride = 8,
                             .y_stride = 8,
                             .virtual_tp = 2,
                             .x = p.x,
                             .packed = p.packed,
                             .y = p.y};
    assert_int_equal(ops->linear(ops->context, &args), STATUS_UNSUPPORTED);
}

static void test_kernel_linear_virtual_tp_above_one_is_refused(void **state)
{
    (void)state;
    run_everywhere(check_virtual_tp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_linear_block_edges_match_naive_sums),
        cmocka_unit_test(test_kernel_linear_groups_use_their_own_expert),
        cmocka_unit_test(test_kernel_linear_row_alone_has_the_bits_of_the_batch),
        cmocka_unit_test(test_kernel_linear_two_threads_give_the_bits_of_one),
        cmocka_unit_test(test_kernel_linear_virtual_tp_above_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
