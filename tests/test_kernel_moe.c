/* links: core kernels PkgConfig::jansson */
/* Mixture of experts: router golden with the auxiliary gradient, ties, sorting, and the moves of rows
 * to and from experts with their gradients. */
#include "tests/kernel_case.h"

enum { T = 3, E = 4, J = 2 };

/* ---- golden ------------------------------------------------------------------------------------------------ */
static void check_golden(const struct op_table *ops)
{
    json_t *root = golden_open("primitives.json");
    const json_t *router = json_object_get(root, "router");
    const double *chosen = golden(router, "topk_idx", T * J);
    const double *f = golden(router, "aux_f", J * E);
    const double *dlogits = golden(router, "d_logits", T * E);
    const double *daux = golden(router, "d_aux_d_logits", T * E);
    float *g = floats(E);
    float *dz = floats(T * E);
    double *both = doubles(T * E);
    struct op_moe_route route = {T,
                                 E,
                                 J,
                                 golden_floats(router, "logits", T * E),
                                 floats(T * E),
                                 integers(T * J),
                                 floats(T * J),
                                 integers(T * J),
                                 integers(T * J),
                                 integers(E + 1),
                                 false};
    assert_int_equal(ops->moe_route(ops->context, &route), STATUS_OK);
    assert_close(route.probability, golden(router, "probs", T * E), T * E, 2e-7);
    assert_close(route.weight, golden(router, "topk_weight", T * J), T * J, 2e-7);
    for (int i = 0; i < T * J; i++)
        assert_int_equal(route.expert[i], (int32_t)chosen[i]);
    for (int e = 0; e < E; e++) /* coefficient 1: g_e = E f_e / N */
        g[e] = (float)(E * (f[e] + f[E + e]) / T);
    struct op_moe_route_backward backward = {T,
                                             E,
                                             J,
                                             route.probability,
                                             route.expert,
                                             route.weight,
                                             golden_floats(router, "d_weight", T * J),
                                             NULL,
                                             dz,
                                             false};
    assert_int_equal(ops->moe_route_backward(ops->context, &backward), STATUS_OK);
    assert_close(dz, dlogits, T * E, 5e-7);
    backward.aux_gradient = g;
    assert_int_equal(ops->moe_route_backward(ops->context, &backward), STATUS_OK);
    for (int i = 0; i < T * E; i++)
        both[i] = dlogits[i] + daux[i];
    assert_close(dz, both, T * E, 5e-7);
    json_decref(root);
}

/* ---- ties and order -------------------------------------------------------------------------------------------- */
static void check_ties(const struct op_table *ops)
{
    const float logits[T * E] = {1, 1, 1, 1, 0, 2, 2, 2, 5, 0, 0, 5};
    const int32_t expert[T * J] = {0, 1, 1, 2, 0, 3};
    const int32_t entry[T * J] = {0, 4, 1, 2, 3, 5}; /* by expert, then by entry */
    const int32_t offset[E + 1] = {0, 2, 4, 5, 6};
    struct op_moe_route route = {T,
                                 E,
                                 J,
                                 logits,
                                 NULL,
                                 integers(T * J),
                                 floats(T * J),
                                 integers(T * J),
                                 integers(T * J),
                                 integers(E + 1),
                                 false};
    assert_int_equal(ops->moe_route(ops->context, &route), STATUS_OK);
    assert_memory_equal(route.expert, expert, sizeof expert);
    assert_memory_equal(route.entry, entry, sizeof entry);
    assert_memory_equal(route.expert_offset, offset, sizeof offset);
    for (int i = 0; i < T * J; i++) {
        assert_int_equal(route.entry[route.sorted[i]], i);
        assert_true(route.weight[i] == 0.5F);
    }
}

/* Not a number in, valid indices out. */
static void check_nan(const struct op_table *ops)
{
    const float logits[E] = {NAN, NAN, NAN, NAN};
    struct op_moe_route route = {1,           E,         J,           logits,      NULL,
                                 integers(J), floats(J), integers(J), integers(J), integers(E + 1),
                                 false};
    assert_int_equal(ops->moe_route(ops->context, &route), STATUS_OK);
    assert_int_equal(route.expert[0], 0);
    assert_int_equal(route.expert[1], 1);
    assert_int_equal(route.expert_offset[E], J);
}

/* ---- rows to and from experts ------------------------------------------------------------------------------------- */
static void check_moves(const struct op_table *ops)
{
    enum { ROWS = 40, EXPERTS = 7, TOP = 3, C = 37, ENTRIES = ROWS * TOP };
    struct op_moe_route route = {ROWS,
                                 EXPERTS,
                                 TOP,
                                 random_floats(ROWS * EXPERTS),
                                 floats(ROWS * EXPERTS),
                                 integers(ENTRIES),
                                 floats(ENTRIES),
                                 integers(ENTRIES),
                                 integers(ENTRIES),
                                 integers(EXPERTS + 1),
                                 false};
    float *x = random_floats(ROWS * C);
    float *dy = random_floats(ROWS * C);
    float *sent = floats(ENTRIES * C);
    float *y = floats(ROWS * C);
    float *dx = copy_floats(x, ROWS * C);
    float *dweight = floats(ENTRIES);
    double *combined = doubles(ROWS * C);
    double *returned = doubles(ROWS * C);
    double *dots = doubles(ENTRIES);
    assert_int_equal(ops->moe_route(ops->context, &route), STATUS_OK);
    struct op_moe_gather gather = {ROWS, C, TOP, x, route.entry, sent};
    assert_int_equal(ops->moe_gather(ops->context, &gather), STATUS_OK);
    for (int i = 0; i < ENTRIES; i++) {
        assert_bits(sent + route.sorted[i] * C, x + i / TOP * C, C);
        for (int c = 0; c < C; c++) /* make the experts differ */
            sent[route.sorted[i] * C + c] *= (float)(1 + route.expert[i]);
    }
    for (int i = 0; i < ENTRIES; i++) {
        for (int c = 0; c < C; c++) {
            double value = (double)sent[route.sorted[i] * C + c];
            int at = i / TOP * C + c;
            combined[at] += (double)route.weight[i] * value;
            dots[i] += (double)dy[at] * value;
            returned[at] += (double)route.weight[i] * (double)dy[at];
        }
    }
    struct op_moe_combine combine = {ROWS, C, TOP, sent, route.sorted, route.weight, y};
    assert_int_equal(ops->moe_combine(ops->context, &combine), STATUS_OK);
    assert_close(y, combined, ROWS * C, 1e-6);
    struct op_moe_combine_backward back = {ROWS,         C,    TOP,    sent, dy, route.sorted,
                                           route.weight, sent, dweight};
    assert_int_equal(ops->moe_combine_backward(ops->context, &back), STATUS_OK);
    assert_close(dweight, dots, ENTRIES, 2e-6);
    struct op_moe_gather_backward gathered = {ROWS, C, TOP, false, sent, route.sorted, y};
    assert_int_equal(ops->moe_gather_backward(ops->context, &gathered), STATUS_OK);
    assert_close(y, returned, ROWS * C, 1e-6);
    gathered.accumulate = true;
    gathered.dx = dx;
    assert_int_equal(ops->moe_gather_backward(ops->context, &gathered), STATUS_OK);
    for (int i = 0; i < ROWS * C; i++)
        returned[i] += (double)x[i];
    assert_close(dx, returned, ROWS * C, 1e-6);
    remember(y, ROWS * C);
    remember(dweight, ENTRIES);
    remember(route.weight, ENTRIES);
}

static void test_kernel_moe_router_golden_matches(void **state)
{
    (void)state;
    run_everywhere(check_golden);
}

static void test_kernel_moe_ties_go_to_the_smaller_expert(void **state)
{
    (void)state;
    run_everywhere(check_ties);
}

static void test_kernel_moe_nan_logits_give_valid_indices(void **state)
{
    (void)state;
    run_everywhere(check_nan);
}

static void test_kernel_moe_moved_rows_match_naive_loops(void **state)
{
    (void)state;
    run_everywhere(check_moves);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_moe_router_golden_matches),
        cmocka_unit_test(test_kernel_moe_ties_go_to_the_smaller_expert),
        cmocka_unit_test(test_kernel_moe_nan_logits_give_valid_indices),
        cmocka_unit_test(test_kernel_moe_moved_rows_match_naive_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
