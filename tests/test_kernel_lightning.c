/* links: core kernels PkgConfig::jansson */
/* timeout: 30 */
/* Lightning attention: goldens (and not the known wrong output), a naive recurrence in f64, finite
 * differences, and one set of bits however a sequence is cut, packed or threaded. */
#include "tests/kernel_case.h"

enum { SLOTS = 5 };

/* ---- naive recurrence ------------------------------------------------------------------------------- */
struct lightning_problem {
    int64_t rows, heads, size;
    const float *slopes;
    double *q, *k, *v, *dy; /* [T, H, D] */
    double *y;
};

static void naive_head(const struct lightning_problem *p, int64_t h, double *s)
{
    int64_t n = p->size;
    memset(s, 0, (size_t)(n * n) * sizeof *s);
    for (int64_t t = 0; t < p->rows; t++) {
        int64_t at = (t * p->heads + h) * n;
        for (int64_t c = 0; c < n; c++)
            for (int64_t d = 0; d < n; d++)
                s[c * n + d] =
                    exp(-(double)p->slopes[h]) * s[c * n + d] + p->k[at + c] * p->v[at + d];
        for (int64_t d = 0; d < n; d++) {
            p->y[at + d] = 0;
            for (int64_t c = 0; c < n; c++)
                p->y[at + d] += p->q[at + c] * s[c * n + d];
        }
    }
}

static double naive_loss(const void *argument)
{
    const struct lightning_problem *p = argument;
    double s[128 * 128];
    double loss = 0;
    for (int64_t h = 0; h < p->heads; h++)
        naive_head(p, h, s);
    for (int64_t i = 0; i < p->rows * p->heads * p->size; i++)
        loss += p->y[i] * p->dy[i];
    return loss;
}

/* ---- one model layer's buffers, and calls on them --------------------------------------------------- */
struct layer {
    const struct op_table *ops;
    int64_t heads, size, chunk;
    float *slopes, *state, *k_buffer, *v_buffer;
};

static struct layer make_layer(const struct op_table *ops, int64_t heads, int64_t size,
                               int64_t chunk)
{
    struct layer l = {ops, heads, size, chunk, floats(heads), NULL, NULL, NULL};
    l.state = floats(SLOTS * heads * size * size);
    l.k_buffer = floats(SLOTS * heads * chunk * size);
    l.v_buffer = floats(SLOTS * heads * chunk * size);
    for (int64_t h = 0; h < heads; h++)
        l.slopes[h] = (float)exp2(-8.0 * (double)(h + 1) / (double)heads);
    return l;
}

/* Old states and buffers of a slot must not leak into a new sequence. */
static void dirty(const struct layer *l)
{
    for (int64_t i = 0; i < SLOTS * l->heads * l->size * l->size; i++)
        l->state[i] = NAN;
    for (int64_t i = 0; i < SLOTS * l->heads * l->chunk * l->size; i++)
        l->k_buffer[i] = l->v_buffer[i] = NAN;
}

/* qkv is fused and head-major as in M1: [T, H, 3, D]. */
static void forward(const struct layer *l, const float *qkv, const struct op_segment *segments,
                    int32_t count, float *y)
{
    int64_t rows = 0;
    struct op_lightning call = {.heads = l->heads,
                                .head_size = l->size,
                                .row_stride = l->heads * 3 * l->size,
                                .head_stride = 3 * l->size,
                                .chunk = l->chunk,
                                .slopes = l->slopes,
                                .segments = segments,
                                .segment_count = count,
                                .q = qkv,
                                .k = qkv + l->size,
                                .v = qkv + 2 * l->size,
                                .state = l->state,
                                .k_buffer = l->k_buffer,
                                .v_buffer = l->v_buffer,
                                .y = y};
    for (int32_t s = 0; s < count; s++)
        rows += segments[s].count;
    call.rows = rows;
    assert_int_equal(l->ops->lightning(l->ops->context, &call), STATUS_OK);
}

static void backward(const struct layer *l, const float *qkv, const struct op_segment *segments,
                     int32_t count, int64_t rows, const float *dy, float *dqkv)
{
    struct op_lightning_backward call = {.rows = rows,
                                         .heads = l->heads,
                                         .head_size = l->size,
                                         .row_stride = l->heads * 3 * l->size,
                                         .head_stride = 3 * l->size,
                                         .chunk = l->chunk,
                                         .slopes = l->slopes,
                                         .segments = segments,
                                         .segment_count = count,
                                         .q = qkv,
                                         .k = qkv + l->size,
                                         .v = qkv + 2 * l->size,
                                         .dy = dy,
                                         .dq = dqkv,
                                         .dk = dqkv + l->size,
                                         .dv = dqkv + 2 * l->size};
    assert_int_equal(l->ops->lightning_backward(l->ops->context, &call), STATUS_OK);
}

/* part 0 q, 1 k, 2 v of [T, H, 3, D] as [T, H, D] */
static float *part(const float *qkv, int64_t vectors, int64_t size, int64_t which)
{
    float *values = floats(vectors * size);
    for (int64_t i = 0; i < vectors; i++)
        memcpy(values + i * size, qkv + (3 * i + which) * size, (size_t)size * sizeof *values);
    return values;
}

static float *fuse(const float *q, const float *k, const float *v, int64_t vectors, int64_t size)
{
    float *qkv = floats(3 * vectors * size);
    for (int64_t i = 0; i < vectors; i++) {
        memcpy(qkv + 3 * i * size, q + i * size, (size_t)size * sizeof *q);
        memcpy(qkv + (3 * i + 1) * size, k + i * size, (size_t)size * sizeof *k);
        memcpy(qkv + (3 * i + 2) * size, v + i * size, (size_t)size * sizeof *v);
    }
    return qkv;
}

/* ---- goldens: T 7, H 2, D 3 --------------------------------------------------------------------------- */
static void check_golden(const struct op_table *ops)
{
    enum { T = 7, H = 2, D = 3, ALL = T * H * D };
    json_t *root = golden_open("lightning_attn.json");
    const float *q = golden_floats(root, "q", ALL);
    const float *k = golden_floats(root, "k", ALL);
    const float *v = golden_floats(root, "v", ALL);
    const double *expected = golden(root, "o_zero_state", ALL);
    const int64_t chunks[] = {1, 2, 3, 4, 7, 256};
    float *qkv = fuse(q, k, v, T * H, D);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        struct layer l = make_layer(ops, H, D, chunks[c]);
        struct op_segment segment = {1, 0, 0, T};
        float *y = floats(ALL);
        memcpy(l.slopes, golden_floats(root, "slopes", H), H * sizeof(float));
        dirty(&l);
        forward(&l, qkv, &segment, 1, y);
        assert_close(y, expected, ALL, 1e-6);
        if (T % chunks[c] == 0)
            assert_close(l.state + H * D * D, golden(root, "S_T_zero_state", H * D * D), H * D * D,
                         1e-6);
    }
    json_decref(root);
}

/* With a state before the sequence: its first row is at a chunk's start, chunk 3 tokens. The known
 * off-by-one (factor exp(-s i) instead of exp(-s (i + 1)) on the state) must be far away. */
static void check_golden_state(const struct op_table *ops)
{
    enum { T = 7, H = 2, D = 3, ALL = T * H * D };
    json_t *root = golden_open("lightning_attn.json");
    const float *q = golden_floats(root, "q", ALL);
    const float *k = golden_floats(root, "k", ALL);
    const float *v = golden_floats(root, "v", ALL);
    const double *wrong = golden(root, "WRONG_vllm_off_by_one_block3_o", ALL);
    struct layer l = make_layer(ops, H, D, 3);
    float *y = floats(ALL);
    double apart = 0;
    memcpy(l.slopes, golden_floats(root, "slopes", H), H * sizeof(float));
    memcpy(l.state, golden_floats(root, "S0", H * D * D), H * D * D * sizeof(float));
    forward(&l, fuse(q, k, v, T * H, D), &(struct op_segment){0, 3, 0, T}, 1, y);
    assert_close(y, golden(root, "o", ALL), ALL, 3e-6);
    for (int i = 0; i < ALL; i++)
        apart = fmax(apart, fabs((double)y[i] - wrong[i]));
    assert_true(apart > 0.1);
    assert_close(l.state,
                 golden(root, "chunk_boundary_states_block3", 3 * H * D * D) + 2 * H * D * D,
                 H * D * D, 1e-6);
    json_decref(root);
}

/* ---- against the naive recurrence ------------------------------------------------------------------- */
static void check_naive(const struct op_table *ops)
{
    const struct {
        int64_t heads, size, chunk, rows;
    } shapes[] = {
        {1, 1, 1, 3}, {2, 16, 64, 150}, {3, 20, 16, 33}, {1, 80, 48, 100}, {2, 64, 64, 128}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct layer l = make_layer(ops, shapes[s].heads, shapes[s].size, shapes[s].chunk);
        int64_t vectors = shapes[s].rows * l.heads;
        int64_t all = vectors * l.size;
        float *qkv = random_floats(3 * all);
        float *y = floats(all);
        struct lightning_problem p = {
            .rows = shapes[s].rows, .heads = l.heads, .size = l.size, .slopes = l.slopes};
        p.q = widen(part(qkv, vectors, l.size, 0), all);
        p.k = widen(part(qkv, vectors, l.size, 1), all);
        p.v = widen(part(qkv, vectors, l.size, 2), all);
        p.dy = doubles(all);
        p.y = doubles(all);
        naive_loss(&p);
        dirty(&l);
        forward(&l, qkv, &(struct op_segment){2, 0, 0, (int32_t)shapes[s].rows}, 1, y);
        assert_close(y, p.y, all, 2e-5);
        remember(y, all);
    }
}

static void check_gradient_of(const struct op_table *ops, int64_t heads, int64_t size,
                              int64_t chunk, int64_t rows)
{
    struct layer l = make_layer(ops, heads, size, chunk);
    int64_t vectors = rows * heads;
    int64_t all = vectors * size;
    float *qkv = random_floats(3 * all);
    float *dy = random_floats(all);
    float *dqkv = floats(3 * all);
    struct lightning_problem p = {.rows = rows, .heads = heads, .size = size, .slopes = l.slopes};
    double *parts[3];
    for (int64_t i = 0; i < 3; i++)
        parts[i] = widen(part(qkv, vectors, size, i), all);
    p.q = parts[0];
    p.k = parts[1];
    p.v = parts[2];
    p.dy = widen(dy, all);
    p.y = doubles(all);
    backward(&l, qkv, &(struct op_segment){0, 0, 0, (int32_t)rows}, 1, rows, dy, dqkv);
    for (int64_t i = 0; i < 3; i++)
        assert_close(part(dqkv, vectors, size, i), numeric_gradient(naive_loss, &p, parts[i], all),
                     all, 2e-5);
    remember(dqkv, 3 * all);
}

static void check_gradient(const struct op_table *ops)
{
    check_gradient_of(ops, 2, 3, 4, 11);
    check_gradient_of(ops, 1, 17, 5, 15);
    check_gradient_of(ops, 1, 4, 32, 9);
    check_gradient_of(ops, 2, 2, 1, 4);
}

/* ---- the same bits however the sequence is cut ------------------------------------------------------- */
static void run_pieces(const struct layer *l, const float *qkv, int32_t rows, int32_t piece,
                       float *y)
{
    dirty(l);
    for (int32_t first = 0; first < rows; first += piece) {
        int32_t count = first + piece < rows ? piece : rows - first;
        forward(l, qkv + first * l->heads * 3 * l->size, &(struct op_segment){3, first, 0, count},
                1, y + first * l->heads * l->size);
    }
}

static void check_cuts_of(const struct op_table *ops, int64_t heads, int64_t size, int64_t chunk)
{
    enum { ROWS = 200, OTHER = 37 };
    struct layer l = make_layer(ops, heads, size, chunk);
    int64_t width = heads * size;
    const int32_t pieces[] = {1, 7, 64, 129};
    float *qkv = random_floats((ROWS + OTHER) * 3 * width);
    float *whole = floats(ROWS * width);
    float *y = floats((ROWS + OTHER) * width);
    run_pieces(&l, qkv + OTHER * 3 * width, ROWS, ROWS, whole);
    float *state = copy_floats(l.state + 3 * heads * size * size, heads * size * size);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        run_pieces(&l, qkv + OTHER * 3 * width, ROWS, pieces[i], y);
        assert_bits(y, whole, ROWS * width);
        assert_bits(l.state + 3 * heads * size * size, state, heads * size * size);
    }
    dirty(&l);
    struct op_segment packed[] = {{4, 0, OTHER, ROWS}, {0, 0, 0, OTHER}};
    forward(&l, qkv, packed, 2, y);
    assert_bits(y + OTHER * width, whole, ROWS * width);
    remember(whole, ROWS * width);
}

static void check_cuts(const struct op_table *ops)
{
    check_cuts_of(ops, 4, 16, 64);
    check_cuts_of(ops, 2, 24, 48);
    check_cuts_of(ops, 1, 128, 64);
    check_cuts_of(ops, 2, 5, 256);
}

/* Gradients of a sequence do not depend on its neighbours either. */
static void check_backward_packed(const struct op_table *ops)
{
    enum { A = 70, B = 20, H = 2, D = 16 };
    struct layer l = make_layer(ops, H, D, 16);
    float *qkv = random_floats((A + B) * 3 * H * D);
    float *dy = random_floats((A + B) * H * D);
    float *packed = floats((A + B) * 3 * H * D);
    float *alone = floats(A * 3 * H * D);
    backward(&l, qkv, (struct op_segment[]){{0, 0, B, A}, {1, 0, 0, B}}, 2, A + B, dy, packed);
    backward(&l, qkv + B * 3 * H * D, &(struct op_segment){0, 0, 0, A}, 1, A, dy + B * H * D,
             alone);
    assert_bits(packed + B * 3 * H * D, alone, A * 3 * H * D);
}

static void test_kernel_lightning_golden_matches(void **state)
{
    (void)state;
    run_everywhere(check_golden);
}

static void test_kernel_lightning_state_before_matches_and_off_by_one_is_told_apart(void **state)
{
    (void)state;
    run_everywhere(check_golden_state);
}

static void test_kernel_lightning_forward_matches_recurrence(void **state)
{
    (void)state;
    run_everywhere(check_naive);
}

static void test_kernel_lightning_backward_matches_finite_differences(void **state)
{
    (void)state;
    run_everywhere(check_gradient);
}

static void test_kernel_lightning_cut_sequence_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_cuts);
}

static void test_kernel_lightning_packed_gradient_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_backward_packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_lightning_golden_matches),
        cmocka_unit_test(test_kernel_lightning_state_before_matches_and_off_by_one_is_told_apart),
        cmocka_unit_test(test_kernel_lightning_forward_matches_recurrence),
        cmocka_unit_test(test_kernel_lightning_backward_matches_finite_differences),
        cmocka_unit_test(test_kernel_lightning_cut_sequence_has_the_same_bits),
        cmocka_unit_test(test_kernel_lightning_packed_gradient_has_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
