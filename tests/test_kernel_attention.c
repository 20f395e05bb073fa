/* links: core kernels PkgConfig::jansson */
/* timeout: 30 */
/* Softmax attention over pages: golden, naive loops in f64, finite differences, and one set of bits
 * however a sequence is cut, packed, paged or threaded. */
#include "tests/kernel_case.h"

enum { SLOTS = 4, PAGES_PER_SLOT = 5 };

/* ---- naive attention ------------------------------------------------------------------------------------ */
struct attention_problem {
    int64_t rows, heads, kv_heads, size, window;
    double scale;
    double *q, *k, *v, *dy; /* [T, H, D], [T, G, D] twice, [T, H, D] */
    double *y, *lse;
};

static void naive_row(const struct attention_problem *p, int64_t t, int64_t h)
{
    int64_t n = p->size;
    int64_t g = h / (p->heads / p->kv_heads);
    const double *q = p->q + (t * p->heads + h) * n;
    double *y = p->y + (t * p->heads + h) * n;
    double sum = 0;
    memset(y, 0, (size_t)n * sizeof *y);
    int64_t first = p->window > 0 && t >= p->window ? t - p->window + 1 : 0;
    for (int64_t j = first; j <= t; j++) {
        double score = 0;
        for (int64_t d = 0; d < n; d++)
            score += q[d] * p->k[(j * p->kv_heads + g) * n + d];
        double weight = exp(score * p->scale);
        sum += weight;
        for (int64_t d = 0; d < n; d++)
            y[d] += weight * p->v[(j * p->kv_heads + g) * n + d];
    }
    for (int64_t d = 0; d < n; d++)
        y[d] /= sum;
    p->lse[t * p->heads + h] = log(sum);
}

static double naive_loss(const void *argument)
{
    const struct attention_problem *p = argument;
    double loss = 0;
    for (int64_t t = 0; t < p->rows; t++)
        for (int64_t h = 0; h < p->heads; h++)
            naive_row(p, t, h);
    for (int64_t i = 0; i < p->rows * p->heads * p->size; i++)
        loss += p->y[i] * p->dy[i];
    return loss;
}

/* ---- one layer's pages, and calls on fused rows [q (H) | k (G) | v (G)] ---------------------------------- */
struct layer {
    const struct op_table *ops;
    int64_t heads, kv_heads, size, width;
    float *pages;
    int32_t *page_table;
    int32_t window;
    float scale;
};

static struct layer make_layer(const struct op_table *ops, int64_t heads, int64_t kv_heads,
                               int64_t size)
{
    struct layer l = {.ops = ops,
                      .heads = heads,
                      .kv_heads = kv_heads,
                      .size = size,
                      .width = (heads + 2 * kv_heads) * size};
    size_t bytes = ops->kv_page_bytes(ops->context, kv_heads, size);
    l.pages = floats((int64_t)(bytes / sizeof(float)) * SLOTS * PAGES_PER_SLOT);
    l.page_table = integers(SLOTS * PAGES_PER_SLOT);
    for (int32_t i = 0; i < SLOTS * PAGES_PER_SLOT; i++) /* scattered; 7 and 20 have no divisor */
        l.page_table[i] = i * 7 % (SLOTS * PAGES_PER_SLOT);
    for (size_t i = 0; i < bytes / sizeof(float) * SLOTS * PAGES_PER_SLOT; i++)
        l.pages[i] = NAN; /* what was never written must not matter */
    return l;
}

static void forward(const struct layer *l, const float *qkv, const struct op_segment *segments,
                    int32_t count, float *y, float *lse)
{
    const float *k = qkv + l->heads * l->size;
    int64_t rows = 0;
    struct op_kv_write write = {.kv_heads = l->kv_heads,
                                .head_size = l->size,
                                .row_stride = l->width,
                                .segments = segments,
                                .segment_count = count,
                                .k = k,
                                .v = k + l->kv_heads * l->size,
                                .pages = l->pages,
                                .page_table = l->page_table,
                                .pages_per_slot = PAGES_PER_SLOT};
    struct op_attention call = {.heads = l->heads,
                                .kv_heads = l->kv_heads,
                                .head_size = l->size,
                                .q_stride = l->width,
                                .y_stride = l->heads * l->size,
                                .segments = segments,
                                .segment_count = count,
                                .q = qkv,
                                .pages = l->pages,
                                .page_table = l->page_table,
                                .pages_per_slot = PAGES_PER_SLOT,
                                .y = y,
                                .lse = lse,
                                .window = l->window,
                                .scale = l->scale};
    for (int32_t s = 0; s < count; s++)
        rows += segments[s].count;
    write.rows = call.rows = rows;
    assert_int_equal(l->ops->kv_write(l->ops->context, &write), STATUS_OK);
    assert_int_equal(l->ops->attention(l->ops->context, &call), STATUS_OK);
}

static void backward(const struct layer *l, const float *qkv, const struct op_segment *segments,
                     int32_t count, const float *y, const float *lse, const float *dy, float *dqkv)
{
    int64_t k = l->heads * l->size;
    int64_t v = k + l->kv_heads * l->size;
    struct op_attention_backward call = {.heads = l->heads,
                                         .kv_heads = l->kv_heads,
                                         .head_size = l->size,
                                         .row_stride = l->width,
                                         .y_stride = l->heads * l->size,
                                         .segments = segments,
                                         .segment_count = count,
                                         .q = qkv,
                                         .k = qkv + k,
                                         .v = qkv + v,
                                         .y = y,
                                         .dy = dy,
                                         .lse = lse,
                                         .dq = dqkv,
                                         .dk = dqkv + k,
                                         .dv = dqkv + v,
                                         .window = l->window,
                                         .scale = l->scale};
    for (int32_t s = 0; s < count; s++)
        call.rows += segments[s].count;
    assert_int_equal(l->ops->attention_backward(l->ops->context, &call), STATUS_OK);
}

/* Channels [first, first + channels) of every fused row. */
static float *columns(const struct layer *l, const float *rows, int64_t count, int64_t first,
                      int64_t channels)
{
    float *values = floats(count * channels);
    for (int64_t t = 0; t < count; t++)
        memcpy(values + t * channels, rows + t * l->width + first, (size_t)channels * sizeof *rows);
    return values;
}

static struct attention_problem naive_problem(const struct layer *l, const float *qkv, int64_t rows,
                                              const float *dy)
{
    int64_t q = l->heads * l->size;
    int64_t kv = l->kv_heads * l->size;
    struct attention_problem p = {
        .rows = rows, .heads = l->heads, .kv_heads = l->kv_heads, .size = l->size};
    p.window = l->window;
    p.scale = l->scale != 0 ? (double)l->scale : 1 / sqrt((double)l->size);
    p.q = widen(columns(l, qkv, rows, 0, q), rows * q);
    p.k = widen(columns(l, qkv, rows, q, kv), rows * kv);
    p.v = widen(columns(l, qkv, rows, q + kv, kv), rows * kv);
    p.dy = widen(dy, rows * q);
    p.y = doubles(rows * q);
    p.lse = doubles(rows * l->heads);
    return p;
}

/* ---- golden: T 5, H 4, G 2, D 4 ----------------------------------------------------------------------------- */
static void check_golden(const struct op_table *ops)
{
    enum { T = 5, H = 4, G = 2, D = 4 };
    json_t *root = golden_open("primitives.json");
    json_t *gqa = json_object_get(root, "gqa");
    const float *q = golden_floats(gqa, "q", T * H * D);
    const float *k = golden_floats(gqa, "k", T * G * D);
    const float *v = golden_floats(gqa, "v", T * G * D);
    const float *dy = golden_floats(gqa, "do", T * H * D);
    struct layer l = make_layer(ops, H, G, D);
    float *qkv = floats(T * l.width);
    float *dqkv = floats(T * l.width);
    float *y = floats(T * H * D);
    float *lse = floats(T * H);
    for (int t = 0; t < T; t++) {
        memcpy(qkv + t * l.width, q + t * H * D, H * D * sizeof *q);
        memcpy(qkv + t * l.width + H * D, k + t * G * D, G * D * sizeof *k);
        memcpy(qkv + t * l.width + (H + G) * D, v + t * G * D, G * D * sizeof *v);
    }
    struct op_segment segment = {2, 0, 0, T};
    forward(&l, qkv, &segment, 1, y, lse);
    assert_close(y, golden(gqa, "o", T * H * D), T * H * D, 1e-6);
    backward(&l, qkv, &segment, 1, y, lse, dy, dqkv);
    assert_close(columns(&l, dqkv, T, 0, H * D), golden(gqa, "dq", T * H * D), T * H * D, 2e-6);
    assert_close(columns(&l, dqkv, T, H * D, G * D), golden(gqa, "dk", T * G * D), T * G * D, 2e-6);
    assert_close(columns(&l, dqkv, T, (H + G) * D, G * D), golden(gqa, "dv", T * G * D), T * G * D,
                 2e-6);
    json_decref(root);
}

/* ---- against naive loops ------------------------------------------------------------------------------------ */
static void check_naive(const struct op_table *ops)
{
    const struct {
        int64_t heads, kv_heads, size, rows;
        int32_t window;
        float scale;
    } shapes[] = {{1, 1, 1, 1, 0, 0},     {2, 1, 16, 64, 0, 0},   {3, 3, 20, 65, 0, 0},
                  {8, 2, 64, 63, 0, 0},   {2, 1, 80, 130, 0, 0},  {5, 1, 128, 70, 0, 0},
                  {2, 1, 16, 70, 1, 0},   {4, 2, 20, 200, 65, 0}, {3, 1, 16, 200, 64, 0.1F},
                  {2, 2, 16, 150, 5, 0},  {4, 1, 256, 70, 66, 0}, {2, 1, 16, 100, 100, 0},
                  {2, 1, 16, 99, 100, 0}, {2, 1, 16, 101, 100, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct layer l = make_layer(ops, shapes[s].heads, shapes[s].kv_heads, shapes[s].size);
        l.window = shapes[s].window;
        l.scale = shapes[s].scale;
        int64_t rows = shapes[s].rows;
        int64_t all = rows * l.heads * l.size;
        float *qkv = random_floats(rows * l.width);
        float *y = floats(all);
        float *lse = floats(rows * l.heads);
        for (int64_t i = 0; i < rows * l.width; i++)
            qkv[i] *= 3;
        struct attention_problem p = naive_problem(&l, qkv, rows, floats(all));
        naive_loss(&p);
        forward(&l, qkv, &(struct op_segment){1, 0, 0, (int32_t)rows}, 1, y, lse);
        assert_close(y, p.y, all, 1e-5); /* f32 scores of size 10 */
        assert_close(lse, p.lse, rows * l.heads, 2e-6);
        remember(y, all);
        remember(lse, rows * l.heads);
    }
}

static void check_gradient_of(const struct op_table *ops, const int64_t shape[3], int64_t rows,
                              int32_t window, float scale)
{
    const int64_t heads = shape[0], kv_heads = shape[1], size = shape[2];
    struct layer l = make_layer(ops, heads, kv_heads, size);
    l.window = window;
    l.scale = scale;
    int64_t q = heads * size;
    int64_t kv = kv_heads * size;
    float *qkv = random_floats(rows * l.width);
    float *dy = random_floats(rows * q);
    float *y = floats(rows * q);
    float *lse = floats(rows * heads);
    float *dqkv = floats(rows * l.width);
    struct attention_problem p = naive_problem(&l, qkv, rows, dy);
    struct op_segment segment = {0, 0, 0, (int32_t)rows};
    forward(&l, qkv, &segment, 1, y, lse);
    backward(&l, qkv, &segment, 1, y, lse, dy, dqkv);
    assert_close(columns(&l, dqkv, rows, 0, q), numeric_gradient(naive_loss, &p, p.q, rows * q),
                 rows * q, 1e-5);
    assert_close(columns(&l, dqkv, rows, q, kv), numeric_gradient(naive_loss, &p, p.k, rows * kv),
                 rows * kv, 1e-5);
    assert_close(columns(&l, dqkv, rows, q + kv, kv),
                 numeric_gradient(naive_loss, &p, p.v, rows * kv), rows * kv, 1e-5);
    remember(dqkv, rows * l.width);
}

static void check_gradient(const struct op_table *ops)
{
    check_gradient_of(ops, (const int64_t[]){4, 2, 3}, 12, 0, 0);
    check_gradient_of(ops, (const int64_t[]){1, 1, 1}, 70, 0, 0);
    check_gradient_of(ops, (const int64_t[]){3, 1, 17}, 5, 0, 0);
}

/* Windows of one key, shorter than a tile, of a tile and one more, and longer than the sequence; three heads make blocks
 * of ten queries, which do not divide a tile. */
static void check_gradient_window(const struct op_table *ops)
{
    check_gradient_of(ops, (const int64_t[]){4, 2, 3}, 12, 1, 0);
    check_gradient_of(ops, (const int64_t[]){3, 1, 1}, 70, 5, 0.7F);
    check_gradient_of(ops, (const int64_t[]){1, 1, 1}, 90, 64, 0);
    check_gradient_of(ops, (const int64_t[]){3, 1, 1}, 70, 65, 0);
    check_gradient_of(ops, (const int64_t[]){2, 1, 2}, 20, 1000, 0.3F);
}

/* A window that covers everything is none. */
static void check_window_wide(const struct op_table *ops)
{
    enum { ROWS = 130, H = 4, G = 2, D = 16 };
    struct layer l = make_layer(ops, H, G, D);
    float *qkv = random_floats(ROWS * l.width), *dy = random_floats(ROWS * H * D);
    float *y[2], *lse[2], *dqkv[2];
    struct op_segment segment = {0, 0, 0, ROWS};
    for (int i = 0; i < 2; i++) {
        y[i] = floats(ROWS * H * D);
        lse[i] = floats(ROWS * H);
        dqkv[i] = floats(ROWS * l.width);
        l.window = i == 0 ? 0 : ROWS;
        forward(&l, qkv, &segment, 1, y[i], lse[i]);
        backward(&l, qkv, &segment, 1, y[i], lse[i], dy, dqkv[i]);
    }
    assert_bits(y[0], y[1], ROWS * H * D);
    assert_bits(lse[0], lse[1], ROWS * H);
    assert_bits(dqkv[0], dqkv[1], ROWS * l.width);
}

/* Keys before the window are not read: their cells were never written and hold NaN. */
static void check_window_reads(const struct op_table *ops)
{
    enum { ROWS = 200, LATE = 150, WINDOW = 70, H = 4, G = 2, D = 16 };
    struct layer l = make_layer(ops, H, G, D), late = make_layer(ops, H, G, D);
    l.window = late.window = WINDOW;
    float *qkv = random_floats(ROWS * l.width);
    float *y = floats(ROWS * H * D), *lse = floats(ROWS * H);
    float *late_y = floats(ROWS * H * D), *late_lse = floats(ROWS * H);
    int32_t first = LATE - WINDOW + 1;
    forward(&l, qkv, &(struct op_segment){0, 0, 0, ROWS}, 1, y, lse);
    struct op_segment part = {0, first, 0, ROWS - first};
    forward(&late, qkv + first * l.width, &part, 1, late_y, late_lse);
    int64_t skip = LATE - first;
    assert_bits(late_y + skip * H * D, y + LATE * H * D, (ROWS - LATE) * H * D);
    assert_bits(late_lse + skip * H, lse + LATE * H, (ROWS - LATE) * H);
}

/* ---- the same bits however the sequence is cut ----------------------------------------------------------------- */
static void check_cuts_of(const struct op_table *ops, int64_t heads, int64_t kv_heads, int64_t size,
                          int32_t window)
{
    enum { ROWS = 200, OTHER = 37 };
    const int32_t pieces[] = {1, 7, 64, 129};
    struct layer l = make_layer(ops, heads, kv_heads, size);
    l.window = window;
    int64_t width = heads * size;
    float *qkv = random_floats((ROWS + OTHER) * l.width);
    const float *own = qkv + OTHER * l.width;
    float *whole = floats(ROWS * width);
    float *lse = floats(ROWS * heads);
    float *y = floats((ROWS + OTHER) * width);
    float *lse_cut = floats((ROWS + OTHER) * heads);
    forward(&l, own, &(struct op_segment){0, 0, 0, ROWS}, 1, whole, lse);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (int32_t first = 0; first < ROWS; first += pieces[i]) {
            int32_t count = first + pieces[i] < ROWS ? pieces[i] : ROWS - first;
            forward(&l, own + first * l.width, &(struct op_segment){3, first, 0, count}, 1,
                    y + first * width, lse_cut + first * heads);
        }
        assert_bits(y, whole, ROWS * width);
        assert_bits(lse_cut, lse, ROWS * heads);
    }
    struct op_segment packed[] = {{2, 0, OTHER, ROWS}, {1, 0, 0, OTHER}};
    forward(&l, qkv, packed, 2, y, lse_cut);
    assert_bits(y + OTHER * width, whole, ROWS * width);
    assert_bits(lse_cut + OTHER * heads, lse, ROWS * heads);
    remember(whole, ROWS * width);
}

static void check_cuts(const struct op_table *ops)
{
    check_cuts_of(ops, 4, 2, 16, 0);
    check_cuts_of(ops, 2, 1, 128, 0);
    check_cuts_of(ops, 3, 3, 24, 0);
}

static void check_cuts_window(const struct op_table *ops)
{
    check_cuts_of(ops, 4, 2, 16, 1);
    check_cuts_of(ops, 4, 2, 16, 63);
    check_cuts_of(ops, 3, 3, 24, 100);
    check_cuts_of(ops, 4, 1, 64, 64);
}

static void check_backward_packed_window(const struct op_table *ops, int32_t window)
{
    enum { A = 90, B = 20, H = 4, G = 2, D = 16 };
    struct layer l = make_layer(ops, H, G, D);
    l.window = window;
    float *qkv = random_floats((A + B) * l.width);
    float *dy = random_floats((A + B) * H * D);
    float *y = floats((A + B) * H * D);
    float *lse = floats((A + B) * H);
    float *packed = floats((A + B) * l.width);
    float *alone = floats(A * l.width);
    struct op_segment both[] = {{0, 0, B, A}, {1, 0, 0, B}};
    forward(&l, qkv, both, 2, y, lse);
    backward(&l, qkv, both, 2, y, lse, dy, packed);
    backward(&l, qkv + B * l.width, &(struct op_segment){0, 0, 0, A}, 1, y + B * H * D, lse + B * H,
             dy + B * H * D, alone);
    assert_bits(packed + B * l.width, alone, A * l.width);
}

static void check_backward_packed(const struct op_table *ops)
{
    check_backward_packed_window(ops, 0);
    check_backward_packed_window(ops, 17);
}

static void test_kernel_attention_golden_matches(void **state)
{
    (void)state;
    run_everywhere(check_golden);
}

static void test_kernel_attention_forward_matches_naive_loops(void **state)
{
    (void)state;
    run_everywhere(check_naive);
}

static void test_kernel_attention_backward_matches_finite_differences(void **state)
{
    (void)state;
    run_everywhere(check_gradient);
}

static void test_kernel_attention_window_backward_matches_finite_differences(void **state)
{
    (void)state;
    run_everywhere(check_gradient_window);
}

static void test_kernel_attention_window_cut_sequence_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_cuts_window);
}

static void test_kernel_attention_window_of_everything_has_the_bits_of_none(void **state)
{
    (void)state;
    run_everywhere(check_window_wide);
}

static void test_kernel_attention_keys_before_the_window_are_not_read(void **state)
{
    (void)state;
    run_everywhere(check_window_reads);
}

static void test_kernel_attention_cut_sequence_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_cuts);
}

static void test_kernel_attention_packed_gradient_has_the_same_bits(void **state)
{
    (void)state;
    run_everywhere(check_backward_packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_attention_golden_matches),
        cmocka_unit_test(test_kernel_attention_forward_matches_naive_loops),
        cmocka_unit_test(test_kernel_attention_backward_matches_finite_differences),
        cmocka_unit_test(test_kernel_attention_window_backward_matches_finite_differences),
        cmocka_unit_test(test_kernel_attention_window_cut_sequence_has_the_same_bits),
        cmocka_unit_test(test_kernel_attention_window_of_everything_has_the_bits_of_none),
        cmocka_unit_test(test_kernel_attention_keys_before_the_window_are_not_read),
        cmocka_unit_test(test_kernel_attention_cut_sequence_has_the_same_bits),
        cmocka_unit_test(test_kernel_attention_packed_gradient_has_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
