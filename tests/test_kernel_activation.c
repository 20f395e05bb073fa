/* links: core kernels PkgConfig::jansson */
/* Elementwise ops, RoPE and the embedding: naive formulas in f64, goldens, tails, in-place calls, and
 * the same bits for an element wherever it stands. */
#include "tests/kernel_case.h"

static const int64_t counts[] = {0, 1, 15, 16, 17, 33, 100, 40000};
enum { COUNTS = sizeof counts / sizeof *counts };

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static double silu_slope(double x)
{
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
}

static float *wide_floats(int64_t count)
{
    float *values = random_floats(count);
    for (int64_t i = 0; i < count; i++)
        values[i] *= i % 7 == 0 ? 60.0F : 4.0F;
    return values;
}

/* ---- elementwise ------------------------------------------------------------------------------------------ */
static void check_silu(const struct op_table *ops)
{
    for (int c = 0; c < COUNTS; c++) {
        int64_t n = counts[c];
        float *x = wide_floats(n);
        float *dy = random_floats(n);
        float *y = floats(n);
        float *dx = floats(n);
        double *expected = doubles(n);
        double *gradient = doubles(n);
        for (int64_t i = 0; i < n; i++) {
            expected[i] = silu((double)x[i]);
            gradient[i] = (double)dy[i] * silu_slope((double)x[i]);
        }
        assert_int_equal(ops->silu(ops->context, &(struct op_silu){n, x, y}), STATUS_OK);
        assert_int_equal(ops->silu_backward(ops->context, &(struct op_silu_backward){n, x, dy, dx}),
                         STATUS_OK);
        assert_close(y, expected, n, 5e-7);
        assert_close(dx, gradient, n, 2e-6);
        assert_int_equal(ops->silu_backward(ops->context, &(struct op_silu_backward){n, x, dy, dy}),
                         STATUS_OK);
        assert_int_equal(ops->silu(ops->context, &(struct op_silu){n, x, x}), STATUS_OK);
        assert_bits(x, y, n);
        assert_bits(dy, dx, n);
        remember(y, n);
        remember(dx, n);
    }
}

static void check_gate(const struct op_table *ops)
{
    for (int c = 0; c < COUNTS; c++) {
        int64_t n = counts[c];
        float *z = wide_floats(n);
        float *x = random_floats(n);
        float *dy = random_floats(n);
        float *y = floats(n);
        double *expected = doubles(3 * n);
        for (int64_t i = 0; i < n; i++) {
            double s = sigmoid((double)z[i]);
            expected[i] = s * (double)x[i];
            expected[n + i] = (double)dy[i] * s;
            expected[2 * n + i] = (double)dy[i] * (double)x[i] * s * (1 - s);
        }
        struct op_gate_backward backward = {n, z, x, dy, z, x};
        assert_int_equal(ops->gate(ops->context, &(struct op_gate){n, z, x, y}), STATUS_OK);
        assert_int_equal(ops->gate_backward(ops->context, &backward), STATUS_OK);
        assert_close(y, expected, n, 5e-7);
        assert_close(x, expected + n, n, 5e-7);
        assert_close(z, expected + 2 * n, n, 5e-7);
        remember(y, n);
        remember(z, n);
    }
}

static void check_axpby(const struct op_table *ops)
{
    for (int c = 0; c < COUNTS; c++) {
        int64_t n = counts[c];
        float *a = random_floats(n);
        float *b = random_floats(n);
        float *y = floats(n);
        double *expected = doubles(n);
        for (int64_t i = 0; i < n; i++)
            expected[i] = 3.5565588 * (double)a[i] - 0.7 * (double)b[i];
        struct op_axpby sum = {n, 3.5565588F, -0.7F, a, b, y};
        assert_int_equal(ops->axpby(ops->context, &sum), STATUS_OK);
        assert_close(y, expected, n, 5e-7);
        sum.y = b;
        assert_int_equal(ops->axpby(ops->context, &sum), STATUS_OK);
        assert_bits(b, y, n);
        struct op_axpby copy = {n, 1, 0, a, NULL, y};
        assert_int_equal(ops->axpby(ops->context, &copy), STATUS_OK);
        assert_bits(y, a, n);
        remember(b, n);
    }
}

/* GELU as it is defined, by tanh. */
static double gate_at(double x, enum glu_gate gate)
{
    double u = sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x);
    return gate == GLU_SILU ? silu(x) : x / 2 * (1 + tanh(u));
}

/* By a central difference of the definition. */
static double gate_slope(double x, enum glu_gate gate)
{
    double h = 1e-5;
    return gate == GLU_SILU ? silu_slope(x)
                            : (gate_at(x + h, gate) - gate_at(x - h, gate)) / (2 * h);
}

static void check_glu(const struct op_table *ops, enum glu_gate gate)
{
    enum { ROWS = 7 };
    for (int c = 1; c < COUNTS - 1; c++) {
        int64_t n = counts[c];
        float *x = wide_floats(ROWS * 2 * n);
        float *dy = random_floats(ROWS * n);
        float *y = floats(ROWS * n);
        double *expected = doubles(ROWS * n);
        double *gradient = doubles(ROWS * 2 * n);
        for (int64_t t = 0; t < ROWS; t++) {
            for (int64_t i = 0; i < n; i++) {
                double g = (double)x[2 * t * n + i];
                double u = (double)x[(2 * t + 1) * n + i];
                expected[t * n + i] = gate_at(g, gate) * u;
                gradient[2 * t * n + i] = (double)dy[t * n + i] * u * gate_slope(g, gate);
                gradient[(2 * t + 1) * n + i] = (double)dy[t * n + i] * gate_at(g, gate);
            }
        }
        struct op_swiglu_backward backward = {ROWS, n, x, dy, x, gate};
        struct op_swiglu all = {ROWS, n, x, y, gate};
        assert_int_equal(ops->swiglu(ops->context, &all), STATUS_OK);
        float *last = floats(n);
        struct op_swiglu alone = {1, n, x + 2 * (ROWS - 1) * n, last, gate};
        assert_int_equal(ops->swiglu(ops->context, &alone), STATUS_OK);
        assert_bits(last, y + (ROWS - 1) * n, n);
        assert_int_equal(ops->swiglu_backward(ops->context, &backward), STATUS_OK);
        assert_close(y, expected, ROWS * n, 1e-6);
        assert_close(x, gradient, ROWS * 2 * n, 2e-6);
        remember(y, ROWS * n);
        remember(x, ROWS * 2 * n);
    }
}

static void check_swiglu(const struct op_table *ops)
{
    check_glu(ops, GLU_SILU);
}

static void check_geglu(const struct op_table *ops)
{
    check_glu(ops, GLU_GELU_TANH);
}

/* An element has the same bits alone, in the middle of a vector and in a tail. */
static void check_places(const struct op_table *ops)
{
    enum { N = 53 };
    float *x = wide_floats(N);
    float *y = floats(N);
    float one = 0;
    assert_int_equal(ops->silu(ops->context, &(struct op_silu){N, x, y}), STATUS_OK);
    for (int i = 0; i < N; i++) {
        assert_int_equal(ops->silu(ops->context, &(struct op_silu){1, x + i, &one}), STATUS_OK);
        assert_bits(&one, y + i, 1);
    }
}

/* ---- RoPE ----------------------------------------------------------------------------------------------------- */
static void check_rope_golden(const struct op_table *ops, const json_t *entry, int64_t rotary)
{
    enum { T = 3, D = 8 };
    int64_t half = rotary / 2;
    const double *position = golden(entry, "pos", T);
    const double *frequency = golden(entry, "inv_freq", half);
    float *cosine = floats(T * half);
    float *sine = floats(T * half);
    int32_t *rows = integers(T); /* row of the table, made for these three positions */
    for (int64_t t = 0; t < T; t++) {
        rows[t] = (int32_t)t;
        for (int64_t j = 0; j < half; j++) {
            cosine[t * half + j] = (float)cos(position[t] * frequency[j]);
            sine[t * half + j] = (float)sin(position[t] * frequency[j]);
        }
    }
    float *x = golden_floats(entry, "x", T * D);
    float *dy = golden_floats(entry, "dy", T * D);
    struct op_rope call = {T, 1, D, rotary, D, false, rows, cosine, sine, x};
    assert_int_equal(ops->rope(ops->context, &call), STATUS_OK);
    assert_close(x, golden(entry, "y", T * D), T * D, 5e-7);
    call.inverse = true;
    call.x = dy;
    assert_int_equal(ops->rope(ops->context, &call), STATUS_OK);
    assert_close(dy, golden(entry, "dx", T * D), T * D, 5e-7);
}

static void check_rope(const struct op_table *ops)
{
    json_t *root = golden_open("primitives.json");
    check_rope_golden(ops, json_object_get(root, "rope_R4_theta1e+07"), 4);
    check_rope_golden(ops, json_object_get(root, "rope_R8_theta1e+07"), 8);
    check_rope_golden(ops, json_object_get(root, "rope_R8_theta1e+06"), 8);
    json_decref(root);
}

/* Heads of a fused row, 17 pairs each; forward and inverse cancel; a row alone has the same bits. */
static void check_rope_rows(const struct op_table *ops)
{
    enum { T = 9, H = 2, D = 40, R = 34, STRIDE = 90 };
    float *x = random_floats(T * STRIDE);
    float *before = copy_floats(x, T * STRIDE);
    float *alone = copy_floats(x, T * STRIDE);
    float *cosine = floats(T * R / 2);
    float *sine = floats(T * R / 2);
    int32_t *positions = integers(T);
    for (int i = 0; i < T * R / 2; i++) {
        cosine[i] = cosf((float)i);
        sine[i] = sinf((float)i);
    }
    for (int32_t t = 0; t < T; t++)
        positions[t] = T - 1 - t;
    struct op_rope call = {T, H, D, R, STRIDE, false, positions, cosine, sine, x};
    assert_int_equal(ops->rope(ops->context, &call), STATUS_OK);
    for (int t = 0; t < T; t++) {
        struct op_rope one = {
            1, H, D, R, STRIDE, false, positions + t, cosine, sine, alone + t * STRIDE};
        assert_int_equal(ops->rope(ops->context, &one), STATUS_OK);
    }
    assert_bits(alone, x, T * STRIDE);
    remember(x, T * STRIDE);
    call.inverse = true;
    assert_int_equal(ops->rope(ops->context, &call), STATUS_OK);
    assert_close(x, widen(before, T * STRIDE), T * STRIDE, 5e-7);
    assert_bits(x + R, before + R, D - R);
}

/* ---- embedding -------------------------------------------------------------------------------------------------- */
static void check_embedding_scale(const struct op_table *ops, float scale)
{
    enum { T = 6, C = 37, V = 5 };
    const int32_t ids[T] = {4, 0, 4, 2, 4, 0};
    float *table = random_floats(V * C);
    float *dy = random_floats(T * C);
    float *y = floats(T * C);
    float *dtable = random_floats(V * C);
    float *expected = copy_floats(dtable, V * C);
    for (int t = 0; t < T; t++)
        for (int c = 0; c < C; c++)
            expected[ids[t] * C + c] += (scale != 0 ? scale : 1) * dy[t * C + c];
    struct op_embedding forward = {T, C, V, ids, table, y, scale};
    struct op_embedding_backward backward = {T, C, V, ids, dy, dtable, scale};
    assert_int_equal(ops->embedding(ops->context, &forward), STATUS_OK);
    assert_int_equal(ops->embedding_backward(ops->context, &backward), STATUS_OK);
    for (int i = 0; scale != 0 && i < V * C; i++)
        table[i] *= scale;
    for (int t = 0; t < T; t++)
        assert_bits(y + t * C, table + ids[t] * C, C);
    assert_bits(dtable, expected, V * C);
    remember(dtable, V * C);
}

/* A power of two, so that a fused product and sum has the bits of two steps. */
static void check_embedding(const struct op_table *ops)
{
    check_embedding_scale(ops, 0);
    check_embedding_scale(ops, 32);
}

static void test_kernel_activation_silu_matches(void **state)
{
    (void)state;
    run_everywhere(check_silu);
}

static void test_kernel_activation_gate_in_place_matches(void **state)
{
    (void)state;
    run_everywhere(check_gate);
}

static void test_kernel_activation_axpby_matches_and_beta_zero_ignores_b(void **state)
{
    (void)state;
    run_everywhere(check_axpby);
}

static void test_kernel_activation_swiglu_in_place_matches(void **state)
{
    (void)state;
    run_everywhere(check_swiglu);
}

static void test_kernel_activation_gelu_unit_in_place_matches(void **state)
{
    (void)state;
    run_everywhere(check_geglu);
}

static void test_kernel_activation_element_anywhere_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_places);
}

static void test_kernel_rope_golden_matches(void **state)
{
    (void)state;
    run_everywhere(check_rope);
}

static void test_kernel_rope_row_alone_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_rope_rows);
}

static void test_kernel_embedding_repeated_ids_add_in_row_order(void **state)
{
    (void)state;
    run_everywhere(check_embedding);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_activation_silu_matches),
        cmocka_unit_test(test_kernel_activation_gate_in_place_matches),
        cmocka_unit_test(test_kernel_activation_axpby_matches_and_beta_zero_ignores_b),
        cmocka_unit_test(test_kernel_activation_swiglu_in_place_matches),
        cmocka_unit_test(test_kernel_activation_gelu_unit_in_place_matches),
        cmocka_unit_test(test_kernel_activation_element_anywhere_has_the_same_bits),
        cmocka_unit_test(test_kernel_rope_golden_matches),
        cmocka_unit_test(test_kernel_rope_row_alone_has_the_same_bits),
        cmocka_unit_test(test_kernel_embedding_repeated_ids_add_in_row_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
