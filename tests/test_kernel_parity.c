/* links: core kernels */
/* timeout: 120 */
/* The judge of the CPU backend: every op of KERNEL_OPS, on every instruction set of this processor, with
 * one and two threads, against the double-precision oracle. An op without a case does not compile.
 *
 * Bounds are shares of |value| + rms (kernel_judge.h), in units of 2^-24:
 *   copies and integers   0
 *   elementwise           a few: one rounding an operation, and expf within 2 ulp
 *   sums of K products    4 sqrt(K): roundings of random terms add up like a random walk whose steps
 *                         are at most the running sum, whose rms is below that of the result
 *   exp(score)            the score's absolute error, which is its size times the sum's relative one
 * Equal bits are demanded between AVX-512 and AVX2, and between one and two threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/kernel_judge.h"

#define COUNT(list) ((int)(sizeof(list) / sizeof(list)[0]))

static const int64_t rows_list[] = {1, 2, 31, 64, 65, 257};
static const int64_t channels_list[] = {1, 16, 63, 64, 96, 130};
static const int64_t vocabulary_list[] = {5, 331, 1000};

static double sum_bound(int64_t terms)
{
    return UNIT * (4.0 + 4.0 * sqrt((double)terms));
}

static void fill_below(struct judge *judge, struct array *array, int64_t count, int64_t bound)
{
    for (int64_t i = 0; i < count; i++)
        array->i[i] = (int32_t)rng_below(&judge->rng, (uint32_t)bound);
}

/* Cuts `rows` sorted rows among the experts at random; some experts stay empty. */
static struct array *offsets_of(struct judge *judge, int64_t experts, int64_t rows)
{
    struct array *offset = input_i32(judge, "expert_offset", experts + 1);
    for (int64_t e = 0; e < experts; e++)
        offset->i[e] = (int32_t)rng_below(&judge->rng, (uint32_t)rows + 1);
    offset->i[0] = 0;
    offset->i[experts] = (int32_t)rows;
    for (int64_t e = 1; e < experts; e++)
        for (int64_t f = e; f > 1 && offset->i[f] < offset->i[f - 1]; f--) {
            int32_t swap = offset->i[f];
            offset->i[f] = offset->i[f - 1];
            offset->i[f - 1] = swap;
        }
    return offset;
}

/* ---- embedding ---------------------------------------------------------------------------------- */

static void case_embedding(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], vocabulary = 331;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64, rows, channels);
            struct array *ids = input_i32(judge, "ids", rows);
            fill_below(judge, ids, rows, vocabulary);
            struct array *table = input(judge, "table", vocabulary * channels, 1);
            struct array *y = output(judge, "y", rows * channels, 0);
            RUN(judge, embedding, .rows = rows, .channels = channels, .vocabulary = vocabulary,
                .ids = AT(ids), .table = AT(table), .y = AT(y));
            judge_compare(judge);
        }
}

/* An id occurs up to `rows` times: a sum of that many terms. */
static void case_embedding_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < 2; v++) {
            int64_t rows = rows_list[r], channels = channels_list[r],
                    vocabulary = vocabulary_list[v];
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " vocabulary %" PRId64, rows,
                  channels, vocabulary);
            struct array *ids = input_i32(judge, "ids", rows);
            fill_below(judge, ids, rows, vocabulary);
            struct array *dy = input(judge, "dy", rows * channels, 1);
            struct array *dtable =
                in_out(judge, "dtable", vocabulary * channels, 1, sum_bound(rows));
            RUN(judge, embedding_backward, .rows = rows, .channels = channels,
                .vocabulary = vocabulary, .ids = AT(ids), .dy = AT(dy), .dtable = AT(dtable));
            judge_compare(judge);
        }
}

/* ---- rms_norm ----------------------------------------------------------------------------------- */

/* The sum of squares has no cancellation: its relative error, halved by the root, stays under the
 * bound of a plain sum. groups 3 stands for the heads of a q/k norm in a wider fused row. */
static void case_rms_norm(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++)
            for (int64_t groups = 1; groups <= 3; groups += 2) {
                int64_t rows = rows_list[r], channels = channels_list[c];
                int64_t x_stride = groups * channels + 5, y_stride = groups * channels + 3;
                SHAPE(judge, "rows %" PRId64 " groups %" PRId64 " channels %" PRId64, rows, groups,
                      channels);
                struct array *x = input(judge, "x", rows * x_stride, 2);
                struct array *gain = input(judge, "gain", channels, 1);
                struct array *y = output(judge, "y", rows * y_stride, sum_bound(channels));
                struct array *root = output(judge, "r", rows * groups, sum_bound(channels));
                RUN(judge, rms_norm, .rows = rows, .groups = groups, .channels = channels,
                    .x_stride = x_stride, .y_stride = y_stride, .eps = 1e-5f, .x = AT(x),
                    .gain = AT(gain), .y = AT(y), .r = c % 2 ? NULL : AT(root));
                judge_compare(judge);
            }
}

static void case_rms_norm_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], groups = 1 + c % 2 * 2;
            int64_t stride = groups * channels + 7, cells = rows * stride;
            SHAPE(judge, "rows %" PRId64 " groups %" PRId64 " channels %" PRId64, rows, groups,
                  channels);
            struct array *x = input(judge, "x", cells, 2);
            struct array *gain = input(judge, "gain", channels, 1);
            struct array *root = input(judge, "r", rows * groups, 1);
            for (int64_t i = 0; i < rows * groups; i++)
                root->f[i] = 0.5f;
            struct array *dy = input(judge, "dy", cells, 1);
            struct array *dx = output(judge, "dx", cells, 2 * sum_bound(channels));
            struct array *dgain = in_out(judge, "dgain", channels, 1, sum_bound(rows * groups));
            RUN(judge, rms_norm_backward, .rows = rows, .groups = groups, .channels = channels,
                .x_stride = stride, .dy_stride = stride, .dx_stride = stride, .x = AT(x),
                .gain = AT(gain), .r = AT(root), .dy = AT(dy), .dx = AT(dx), .dgain = AT(dgain));
            judge_compare(judge);
        }
}

/* ---- linear ------------------------------------------------------------------------------------- */

struct linear_shape {
    int64_t rows, experts, n, k;
    bool grouped;
};

/* All rows with all k; n and the grouping follow so that each occurs. */
static struct linear_shape linear_shape(struct judge *judge, int r, int k)
{
    struct linear_shape shape = {rows_list[r], 1, channels_list[(r + k) % COUNT(channels_list)],
                                 channels_list[k], (r + 2 * k) % 3 == 0};
    shape.experts = shape.grouped ? 4 + 4 * (r % 2) : 1;
    SHAPE(judge, "rows %" PRId64 " experts %" PRId64 " n %" PRId64 " k %" PRId64, shape.rows,
          shape.experts, shape.n, shape.k);
    return shape;
}

static void run_linear(struct judge *judge, struct linear_shape s, struct array *x,
                       struct array *weight, struct array *bias, struct array *offset,
                       struct array *y)
{
    size_t bytes = 0;
    for (int side = 0; side < 2; side++) {
        struct op_table *table = judge->table[side];
        size_t wanted = table->packed_bytes(table->context, s.experts, s.n, s.k);
        bytes = wanted > bytes ? wanted : bytes;
    }
    struct array *packed = opaque(judge, "packed", bytes);
    RUN(judge, linear_pack, .experts = s.experts, .n = s.n, .k = s.k, .weight = AT(weight),
        .packed = AT(packed));
    if (!judge->run_failed)
        RUN(judge, linear, .rows = s.rows, .experts = s.experts, .n = s.n, .k = s.k,
            .x_stride = s.k + 3, .y_stride = s.n + 1, .virtual_tp = 1, .x = AT(x),
            .packed = AT(packed), .bias = AT(bias), .expert_offset = AT(offset), .y = AT(y));
}

static void case_linear(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int k = 0; k < COUNT(channels_list); k++) {
            struct linear_shape s = linear_shape(judge, r, k);
            struct array *x = input(judge, "x", s.rows * (s.k + 3), 1);
            struct array *weight = input(judge, "weight", s.experts * s.n * s.k, 1);
            struct array *bias = !s.grouped && k % 2 ? input(judge, "bias", s.n, 1) : NULL;
            struct array *offset = s.grouped ? offsets_of(judge, s.experts, s.rows) : NULL;
            struct array *y = output(judge, "y", s.rows * (s.n + 1), sum_bound(s.k));
            run_linear(judge, s, x, weight, bias, offset, y);
            judge_compare(judge);
        }
}

/* The packed layout is the backend's own; what was packed shows in a product with the unit matrix,
 * which must give the weight back exactly. */
static void case_linear_pack(struct judge *judge)
{
    for (int n = 0; n < COUNT(channels_list); n++)
        for (int k = 0; k < COUNT(channels_list); k++) {
            struct linear_shape s = {channels_list[k], 1, channels_list[n], channels_list[k],
                                     false};
            SHAPE(judge, "n %" PRId64 " k %" PRId64, s.n, s.k);
            struct array *x = input(judge, "x", s.rows * (s.k + 3), 0);
            for (int64_t i = 0; i < s.k; i++)
                x->f[i * (s.k + 3) + i] = 1.0f;
            struct array *weight = input(judge, "weight", s.n * s.k, 1);
            struct array *y = output(judge, "y", s.rows * (s.n + 1), 0);
            run_linear(judge, s, x, weight, NULL, NULL, y);
            judge_compare(judge);
        }
}

static void case_linear_backward_input(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int k = 0; k < COUNT(channels_list); k++) {
            struct linear_shape s = linear_shape(judge, r, k);
            struct array *dy = input(judge, "dy", s.rows * (s.n + 2), 1);
            struct array *weight = input(judge, "weight", s.experts * s.n * s.k, 1);
            struct array *offset = s.grouped ? offsets_of(judge, s.experts, s.rows) : NULL;
            bool accumulate = k % 2 == 0;
            struct array *dx = accumulate
                                   ? in_out(judge, "dx", s.rows * (s.k + 1), 1, sum_bound(s.n))
                                   : output(judge, "dx", s.rows * (s.k + 1), sum_bound(s.n));
            RUN(judge, linear_backward_input, .rows = s.rows, .experts = s.experts, .n = s.n,
                .k = s.k, .dy_stride = s.n + 2, .dx_stride = s.k + 1, .accumulate = accumulate,
                .dy = AT(dy), .weight = AT(weight), .expert_offset = AT(offset), .dx = AT(dx));
            judge_compare(judge);
        }
}

static void case_linear_backward_weight(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int k = 0; k < COUNT(channels_list); k++) {
            struct linear_shape s = linear_shape(judge, r, k);
            struct array *dy = input(judge, "dy", s.rows * (s.n + 2), 1);
            struct array *x = input(judge, "x", s.rows * (s.k + 3), 1);
            struct array *offset = s.grouped ? offsets_of(judge, s.experts, s.rows) : NULL;
            struct array *dweight =
                in_out(judge, "dweight", s.experts * s.n * s.k, 1, sum_bound(s.rows));
            struct array *dbias =
                s.grouped || k % 2 ? NULL : in_out(judge, "dbias", s.n, 1, sum_bound(s.rows));
            RUN(judge, linear_backward_weight, .rows = s.rows, .experts = s.experts, .n = s.n,
                .k = s.k, .dy_stride = s.n + 2, .x_stride = s.k + 3, .dy = AT(dy), .x = AT(x),
                .expert_offset = AT(offset), .dweight = AT(dweight), .dbias = AT(dbias));
            judge_compare(judge);
        }
}

/* ---- elementwise: exp of an f32 within a few ulp, then at most six roundings ---------------------- */

#define ELEMENTWISE (16 * UNIT)

static const int64_t count_list[] = {1, 15, 16, 17, 255, 4097};

/* Adds the far ends, where exp overflows or vanishes. */
static void add_extremes(struct array *array, int64_t count)
{
    static const float extremes[] = {0.0f, -0.0f, 88.0f, -88.0f, 110.0f, -110.0f, 1e-30f, 700.0f};
    for (int64_t i = 0; count >= 255 && i < COUNT(extremes); i++)
        array->f[i * 7] = extremes[i];
}

static void case_silu(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *x = input(judge, "x", count, 3);
        add_extremes(x, count);
        struct array *y = output(judge, "y", count, ELEMENTWISE);
        RUN(judge, silu, .count = count, .x = AT(x), .y = AT(y));
        judge_compare(judge);
        struct array *both = in_out(judge, "y = x", count, 3, ELEMENTWISE);
        RUN(judge, silu, .count = count, .x = AT(both), .y = AT(both));
        judge_compare(judge);
    }
}

static void case_silu_backward(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *x = input(judge, "x", count, 3);
        add_extremes(x, count);
        struct array *dy = input(judge, "dy", count, 1);
        struct array *dx = output(judge, "dx", count, ELEMENTWISE);
        RUN(judge, silu_backward, .count = count, .x = AT(x), .dy = AT(dy), .dx = AT(dx));
        judge_compare(judge);
    }
}

static void case_swiglu(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c];
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64, rows, channels);
            struct array *gate_up = input(judge, "gate_up", rows * 2 * channels, 3);
            add_extremes(gate_up, rows * channels);
            struct array *y = output(judge, "y", rows * channels, ELEMENTWISE);
            RUN(judge, swiglu, .rows = rows, .channels = channels, .gate_up = AT(gate_up),
                .y = AT(y));
            judge_compare(judge);
        }
}

static void case_swiglu_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c];
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 "%s", rows, channels,
                  c % 2 ? " in place" : "");
            struct array *dy = input(judge, "dy", rows * channels, 1);
            struct array *gate_up = in_out(judge, "gate_up", rows * 2 * channels, 3, ELEMENTWISE);
            add_extremes(gate_up, rows * channels);
            struct array *dgate_up =
                c % 2 ? gate_up : output(judge, "dgate_up", rows * 2 * channels, ELEMENTWISE);
            RUN(judge, swiglu_backward, .rows = rows, .channels = channels, .gate_up = AT(gate_up),
                .dy = AT(dy), .dgate_up = AT(dgate_up));
            judge_compare(judge);
        }
}

static void case_gate(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *z = input(judge, "z", count, 3);
        add_extremes(z, count);
        struct array *x = input(judge, "x", count, 1);
        struct array *y = output(judge, "y", count, ELEMENTWISE);
        RUN(judge, gate, .count = count, .z = AT(z), .x = AT(x), .y = AT(y));
        judge_compare(judge);
    }
}

/* 1 - s of an s near 1 keeps only the absolute error of s, one UNIT: dz carries |dy x| UNIT, and |dy x|
 * reaches 12 where the rms of dz is 0.14. */
static void case_gate_backward(struct judge *judge)
{
    const double bound = 128 * UNIT;
    for (int c = 0; c < COUNT(count_list); c++)
        for (int in_place = 0; in_place < 2; in_place++) {
            int64_t count = count_list[c];
            SHAPE(judge, "count %" PRId64 "%s", count, in_place ? " in place" : "");
            struct array *z = in_out(judge, "z", count, 3, bound);
            add_extremes(z, count);
            struct array *x = input(judge, "x", count, 1);
            struct array *dy = in_out(judge, "dy", count, 1, ELEMENTWISE);
            struct array *dz = in_place ? z : output(judge, "dz", count, bound);
            struct array *dx = in_place ? dy : output(judge, "dx", count, ELEMENTWISE);
            RUN(judge, gate_backward, .count = count, .z = AT(z), .x = AT(x), .dy = AT(dy),
                .dz = AT(dz), .dx = AT(dx));
            judge_compare(judge);
        }
}

/* Two products and a sum that may cancel: three roundings of terms of size rms. */
static void case_axpby(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++)
        for (int with_b = 0; with_b < 2; with_b++) {
            int64_t count = count_list[c];
            SHAPE(judge, "count %" PRId64 " beta %d", count, with_b);
            struct array *a = input(judge, "a", count, 1);
            struct array *b = input(judge, "b", count, 1);
            for (int64_t i = 0; !with_b && i < count; i++)
                b->f[i] = NAN; /* beta 0 ignores b */
            struct array *y = output(judge, "y", count, 8 * UNIT);
            RUN(judge, axpby, .count = count, .alpha = 3.5565588f, .beta = with_b ? 0.7f : 0.0f,
                .a = AT(a), .b = AT(b), .y = AT(y));
            judge_compare(judge);
        }
}

/* ---- rope: two products and a sum ----------------------------------------------------------------- */

static void case_rope(struct judge *judge)
{
    static const int64_t sizes[][2] = {{8, 8}, {16, 8}, {64, 64}, {64, 32}, {128, 64}};
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(sizes); c++) {
            int64_t rows = rows_list[r], size = sizes[c][0], rotary = sizes[c][1], heads = 3;
            int64_t half = rotary / 2, positions = 300, stride = heads * size + 5;
            SHAPE(judge, "rows %" PRId64 " head %" PRId64 " rotary %" PRId64, rows, size, rotary);
            struct array *at_position = input_i32(judge, "positions", rows);
            fill_below(judge, at_position, rows, positions);
            struct array *cosine = input(judge, "cosine", positions * half, 0);
            struct array *sine = input(judge, "sine", positions * half, 0);
            for (int64_t i = 0; i < positions * half; i++) {
                double angle =
                    (double)(i / half) * pow(10000.0, -2.0 * (double)(i % half) / (double)rotary);
                cosine->f[i] = (float)cos(angle);
                sine->f[i] = (float)sin(angle);
            }
            struct array *x = in_out(judge, "x", rows * stride, 1, 8 * UNIT);
            RUN(judge, rope, .rows = rows, .heads = heads, .head_size = size, .rotary = rotary,
                .row_stride = stride, .inverse = r % 2 == 1, .positions = AT(at_position),
                .cosine = AT(cosine), .sine = AT(sine), .x = AT(x));
            judge_compare(judge);
        }
}

/* ---- softmax attention ---------------------------------------------------------------------------- */

#define SLOTS          3
#define PAGES_PER_SLOT 5

static const int64_t head_list[][3] = {{4, 2, 8}, {3, 1, 16}, {4, 2, 64}, {2, 2, 128}, {4, 2, 24}};

/* Pages of the slots are interleaved and not in order. */
static struct array *page_table_of(struct judge *judge)
{
    struct array *table = input_i32(judge, "page_table", SLOTS * PAGES_PER_SLOT);
    for (int32_t i = 0; i < SLOTS * PAGES_PER_SLOT; i++)
        table->i[i] = i * 7 % (SLOTS * PAGES_PER_SLOT);
    return table;
}

static size_t pages_bytes(struct judge *judge, int64_t kv_heads, int64_t size)
{
    struct op_table *a = judge->table[0], *b = judge->table[1];
    size_t first = a->kv_page_bytes(a->context, kv_heads, size);
    size_t second = b->kv_page_bytes(b->context, kv_heads, size);
    return SLOTS * PAGES_PER_SLOT * (first > second ? first : second);
}

/* Segments on both sides of tile ends and at odd positions. */
static const struct op_segment kv_segments[] = {
    {.slot = 1, .position = 0, .row = 0, .count = 1},
    {.slot = 0, .position = 61, .row = 1, .count = 70},
    {.slot = 2, .position = 127, .row = 71, .count = 2},
};

/* Both tables keep K as [G][D][tile] and V as [G][tile][D]: pages are compared as they are, and cells
 * outside the segments must stay untouched. */
static void case_kv_write(struct judge *judge)
{
    for (int h = 0; h < COUNT(head_list); h++) {
        int64_t kv_heads = head_list[h][1], size = head_list[h][2], rows = 73;
        int64_t stride = 2 * kv_heads * size + 3;
        SHAPE(judge, "kv heads %" PRId64 " size %" PRId64, kv_heads, size);
        struct array *k = input(judge, "k", rows * stride, 1);
        struct array *v = input(judge, "v", rows * stride, 1);
        struct array *table = page_table_of(judge);
        int64_t floats = (int64_t)(pages_bytes(judge, kv_heads, size) / sizeof(float));
        struct array *pages = output(judge, "pages", floats, 0);
        RUN(judge, kv_write, .rows = rows, .kv_heads = kv_heads, .head_size = size,
            .row_stride = stride, .segments = kv_segments, .segment_count = COUNT(kv_segments),
            .k = AT(k), .v = AT(v), .pages = AT(pages), .page_table = AT(table),
            .pages_per_slot = PAGES_PER_SLOT);
        judge_compare(judge);
    }
}

/* Scores of size about 2 carry an error of sum_bound(D) each, which exp turns into a relative one; the
 * weighted mean over up to 300 values adds its own. 4 covers the size of the scores and the merges. */
static double attention_bound(int64_t size)
{
    return 4.0 * (sum_bound(size) + sum_bound(300));
}

/* Writes whole sequences into pages on both sides; query rows then stand anywhere in them. */
static struct array *filled_pages(struct judge *judge, struct array *table, int64_t kv_heads,
                                  int64_t size, int64_t tokens)
{
    struct op_segment whole[SLOTS];
    for (int32_t i = 0; i < SLOTS; i++)
        whole[i] = (struct op_segment){i, 0, (int32_t)(i * tokens), (int32_t)tokens};
    int64_t stride = kv_heads * size;
    struct array *k = input(judge, "k", SLOTS * tokens * stride, 2.0 / sqrt(sqrt((double)size)));
    struct array *v = input(judge, "v", SLOTS * tokens * stride, 1);
    struct array *pages = opaque(judge, "pages", pages_bytes(judge, kv_heads, size));
    RUN(judge, kv_write, .rows = SLOTS * tokens, .kv_heads = kv_heads, .head_size = size,
        .row_stride = stride, .segments = whole, .segment_count = SLOTS, .k = AT(k), .v = AT(v),
        .pages = AT(pages), .page_table = AT(table), .pages_per_slot = PAGES_PER_SLOT);
    return pages;
}

static void case_attention(struct judge *judge)
{
    static const struct op_segment segments[][SLOTS] = {
        {{2, 0, 0, 65}, {0, 63, 65, 1}, {1, 64, 66, 3}},
        {{0, 257, 0, 1}, {1, 127, 1, 2}, {2, 0, 3, 1}},
        {{1, 31, 0, 200}, {0, 128, 200, 64}, {2, 5, 264, 7}},
    };
    for (int h = 0; h < COUNT(head_list); h++)
        for (int s = 0; s < COUNT(segments); s++) {
            int64_t heads = head_list[h][0], kv_heads = head_list[h][1], size = head_list[h][2];
            const struct op_segment *last = &segments[s][SLOTS - 1];
            int64_t rows = last->row + last->count, stride = heads * size;
            SHAPE(judge, "heads %" PRId64 "/%" PRId64 " size %" PRId64 " segments %d", heads,
                  kv_heads, size, s);
            struct array *table = page_table_of(judge);
            struct array *pages = filled_pages(judge, table, kv_heads, size, 270);
            struct array *q =
                input(judge, "q", rows * (stride + 4), 1.0 / sqrt(sqrt((double)size)) * 2.0);
            struct array *y = output(judge, "y", rows * (stride + 2), attention_bound(size));
            struct array *lse = output(judge, "lse", rows * heads, attention_bound(size));
            if (!judge->run_failed)
                RUN(judge, attention, .rows = rows, .heads = heads, .kv_heads = kv_heads,
                    .head_size = size, .q_stride = stride + 4, .y_stride = stride + 2,
                    .segments = segments[s], .segment_count = SLOTS, .q = AT(q), .pages = AT(pages),
                    .page_table = AT(table), .pages_per_slot = PAGES_PER_SLOT, .y = AT(y),
                    .lse = s == 1 ? NULL : AT(lse));
            judge_compare(judge);
        }
}

/* y and lse of both sides come from the oracle's forward pass: gradients only are judged. */
static void oracle_forward(struct judge *judge, const struct op_attention *args, struct array *k,
                           struct array *v, int64_t stride)
{
    struct op_table *oracle = judge->table[1];
    static const int32_t table[SLOTS * PAGES_PER_SLOT] = {0, 1, 2,  3,  4,  5,  6, 7,
                                                          8, 9, 10, 11, 12, 13, 14};
    void *pages = memory_alloc(pages_bytes(judge, args->kv_heads, args->head_size));
    CHECK(pages);
    struct op_kv_write write = {.rows = args->rows,
                                .kv_heads = args->kv_heads,
                                .head_size = args->head_size,
                                .row_stride = stride,
                                .segments = args->segments,
                                .segment_count = args->segment_count,
                                .k = k->f,
                                .v = v->f,
                                .pages = pages,
                                .page_table = table,
                                .pages_per_slot = PAGES_PER_SLOT};
    struct op_attention attention = *args;
    attention.pages = pages;
    attention.page_table = table;
    attention.pages_per_slot = PAGES_PER_SLOT;
    CHECK(oracle->kv_write(oracle->context, &write) == STATUS_OK);
    CHECK(oracle->attention(oracle->context, &attention) == STATUS_OK);
    memory_free(pages);
}

/* dS = P (dP - sum P dP) loses what dP and the mean have in common: twice the forward bound. */
static void case_attention_backward(struct judge *judge)
{
    static const struct op_segment segments[] = {{1, 0, 0, 1}, {0, 0, 1, 130}, {2, 0, 131, 67}};
    for (int h = 0; h < COUNT(head_list); h++) {
        int64_t heads = head_list[h][0], kv_heads = head_list[h][1], size = head_list[h][2];
        int64_t rows = 198, stride = heads * size + 6, y_stride = heads * size + 2;
        double scale = 2.0 / sqrt(sqrt((double)size)), bound = 2 * attention_bound(size);
        SHAPE(judge, "heads %" PRId64 "/%" PRId64 " size %" PRId64, heads, kv_heads, size);
        struct array *q = input(judge, "q", rows * stride, scale);
        struct array *k = input(judge, "k", rows * stride, scale);
        struct array *v = input(judge, "v", rows * stride, 1);
        struct array *y = input(judge, "y", rows * y_stride, 0);
        struct array *lse = input(judge, "lse", rows * heads, 0);
        struct array *dy = input(judge, "dy", rows * y_stride, 1);
        struct array *dq = output(judge, "dq", rows * stride, bound);
        struct array *dk = output(judge, "dk", rows * stride, bound);
        struct array *dv = output(judge, "dv", rows * stride, bound);
        const struct op_attention forward = {.rows = rows,
                                             .heads = heads,
                                             .kv_heads = kv_heads,
                                             .head_size = size,
                                             .q_stride = stride,
                                             .y_stride = y_stride,
                                             .segments = segments,
                                             .segment_count = SLOTS,
                                             .q = q->f,
                                             .y = y->f,
                                             .lse = lse->f};
        oracle_forward(judge, &forward, k, v, stride);
        RUN(judge, attention_backward, .rows = rows, .heads = heads, .kv_heads = kv_heads,
            .head_size = size, .row_stride = stride, .y_stride = y_stride, .segments = segments,
            .segment_count = SLOTS, .q = AT(q), .k = AT(k), .v = AT(v), .y = AT(y), .dy = AT(dy),
            .lse = AT(lse), .dq = AT(dq), .dk = AT(dk), .dv = AT(dv));
        judge_compare(judge);
    }
}

/* ---- lightning attention -------------------------------------------------------------------------- */

struct lightning_shape {
    int64_t heads, size, chunk;
};

static const struct lightning_shape lightning_list[] = {
    {4, 8, 8}, {3, 16, 32}, {2, 64, 32}, {3, 64, 8}, {2, 24, 16}};

static struct array *slopes_of(struct judge *judge, int64_t heads)
{
    struct array *slopes = input(judge, "slopes", heads, 0);
    for (int64_t h = 0; h < heads; h++)
        slopes->f[h] = (float)pow(2.0, -(double)(2 * h) - 1.0); /* decay over 2 to 500 tokens */
    return slopes;
}

/* A row is a sum over D products, times at most 200 decayed terms; the state path adds one rounding of
 * the state for each chunk. Products of two sums: the terms of both count. */
static double lightning_bound(int64_t size)
{
    return 2.0 * (sum_bound(size) + sum_bound(200));
}

/* The same sequences in calls of three: what one call leaves in state and buffers, the next reads. The
 * first call holds whole starts, judged against the direct sum; the later ones continue. */
static void case_lightning(struct judge *judge)
{
    static const struct op_segment calls[][SLOTS] = {
        {{1, 0, 0, 65}, {0, 0, 65, 7}, {2, 0, 72, 32}},
        {{0, 7, 0, 1}, {1, 65, 1, 31}, {2, 32, 32, 100}},
        {{2, 132, 0, 5}, {1, 96, 5, 1}, {0, 8, 6, 9}},
    };
    for (int n = 0; n < COUNT(lightning_list); n++) {
        struct lightning_shape s = lightning_list[n];
        int64_t head_stride = 3 * s.size, stride = s.heads * head_stride + 4;
        SHAPE(judge, "heads %" PRId64 " size %" PRId64 " chunk %" PRId64, s.heads, s.size, s.chunk);
        struct array *slopes = slopes_of(judge, s.heads);
        int64_t cells = SLOTS * s.heads * s.size;
        double bound = lightning_bound(s.size);
        struct array *state = in_out(judge, "state", cells * s.size, 5, bound);
        struct array *k_buffer =
            opaque(judge, "k_buffer", (size_t)(cells * s.chunk) * sizeof(float));
        struct array *v_buffer =
            opaque(judge, "v_buffer", (size_t)(cells * s.chunk) * sizeof(float));
        for (int c = 0; c < COUNT(calls); c++) {
            int64_t rows = calls[c][SLOTS - 1].row + calls[c][SLOTS - 1].count;
            struct array *qkv = input(judge, "qkv", rows * stride, 1);
            struct array *y = output(judge, "y", rows * s.heads * s.size, bound);
            RUN(judge, lightning, .rows = rows, .heads = s.heads, .head_size = s.size,
                .row_stride = stride, .head_stride = head_stride, .chunk = s.chunk,
                .slopes = AT(slopes), .segments = calls[c], .segment_count = SLOTS, .q = AT(qkv),
                .k = (float *)AT(qkv) + s.size, .v = (float *)AT(qkv) + 2 * s.size,
                .state = AT(state), .k_buffer = AT(k_buffer), .v_buffer = AT(v_buffer), .y = AT(y));
        }
        judge_compare(judge);
    }
}

static void case_lightning_backward(struct judge *judge)
{
    static const struct op_segment segments[] = {{1, 0, 0, 1}, {0, 0, 1, 97}, {2, 0, 98, 64}};
    for (int n = 0; n < COUNT(lightning_list); n++) {
        struct lightning_shape s = lightning_list[n];
        int64_t head_stride = 3 * s.size, stride = s.heads * head_stride + 4, rows = 162;
        SHAPE(judge, "heads %" PRId64 " size %" PRId64 " chunk %" PRId64, s.heads, s.size, s.chunk);
        struct array *slopes = slopes_of(judge, s.heads);
        struct array *qkv = input(judge, "qkv", rows * stride, 1);
        struct array *dy = input(judge, "dy", rows * s.heads * s.size, 1);
        struct array *dqkv = output(judge, "dqkv", rows * stride, lightning_bound(s.size));
        RUN(judge, lightning_backward, .rows = rows, .heads = s.heads, .head_size = s.size,
            .row_stride = stride, .head_stride = head_stride, .chunk = s.chunk,
            .slopes = AT(slopes), .segments = segments, .segment_count = SLOTS, .q = AT(qkv),
            .k = (float *)AT(qkv) + s.size, .v = (float *)AT(qkv) + 2 * s.size, .dy = AT(dy),
            .dq = AT(dqkv), .dk = (float *)AT(dqkv) + s.size, .dv = (float *)AT(dqkv) + 2 * s.size);
        judge_compare(judge);
    }
}

/* ---- mixture of experts --------------------------------------------------------------------------- */

/* A random one-to-one map of entries and sorted rows, consistent in both directions. */
static void sort_of(struct judge *judge, int64_t entries, struct array **entry,
                    struct array **sorted)
{
    *entry = input_i32(judge, "entry", entries);
    *sorted = input_i32(judge, "sorted", entries);
    uint64_t seed = rng_u64(&judge->rng);
    for (int64_t i = 0; i < entries; i++) {
        (*entry)->i[i] = (int32_t)rng_permute(seed, (uint64_t)entries, (uint64_t)i);
        (*sorted)->i[(*entry)->i[i]] = (int32_t)i;
    }
}

/* Logits on a grid of 1/4: ties are frequent and exact, gaps far above f32 rounding. */
static void case_moe_route(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int64_t experts = 4; experts <= 32; experts *= 2) {
            int64_t rows = rows_list[r], top = experts == 32 ? 4 : 2;
            SHAPE(judge, "rows %" PRId64 " experts %" PRId64 " top %" PRId64, rows, experts, top);
            struct array *logits = input(judge, "logits", rows * experts, 0);
            for (int64_t i = 0; i < rows * experts; i++)
                logits->f[i] = 0.25f * ((float)rng_below(&judge->rng, 33) - 16.0f);
            struct array *p = output(judge, "probability", rows * experts, ELEMENTWISE);
            struct array *expert = output_i32(judge, "expert", rows * top);
            struct array *weight = output(judge, "weight", rows * top, ELEMENTWISE);
            struct array *entry = output_i32(judge, "entry", rows * top);
            struct array *sorted = output_i32(judge, "sorted", rows * top);
            struct array *offset = output_i32(judge, "expert_offset", experts + 1);
            RUN(judge, moe_route, .rows = rows, .experts = experts, .top = top,
                .logits = AT(logits), .probability = experts == 8 ? NULL : AT(p),
                .expert = AT(expert), .weight = AT(weight), .entry = AT(entry),
                .sorted = AT(sorted), .expert_offset = AT(offset));
            judge_compare(judge);
        }
}

/* Differences of numbers of size 1: a sum's bound with E terms. */
static void case_moe_route_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int64_t experts = 4; experts <= 8; experts += 4) {
            int64_t rows = rows_list[r], top = 2;
            SHAPE(judge, "rows %" PRId64 " experts %" PRId64, rows, experts);
            struct array *p = input(judge, "probability", rows * experts, 0);
            struct array *expert = input_i32(judge, "expert", rows * top);
            struct array *weight = input(judge, "weight", rows * top, 0);
            struct array *dweight = input(judge, "dweight", rows * top, 1);
            struct array *aux = r % 2 ? NULL : input(judge, "aux_gradient", experts, 0.01);
            struct array *dlogits =
                output(judge, "dlogits", rows * experts, 2 * sum_bound(experts));
            for (int64_t i = 0; i < rows * experts; i++)
                p->f[i] = (float)((0.5 + rng_uniform(&judge->rng)) / (double)experts);
            for (int64_t t = 0; t < rows; t++) {
                expert->i[t * top] = (int32_t)rng_below(&judge->rng, (uint32_t)experts);
                expert->i[t * top + 1] = (expert->i[t * top] + 1) % (int32_t)experts;
                weight->f[t * top] = (float)rng_uniform(&judge->rng);
                weight->f[t * top + 1] = 1.0f - weight->f[t * top];
            }
            RUN(judge, moe_route_backward, .rows = rows, .experts = experts, .top = top,
                .probability = AT(p), .expert = AT(expert), .weight = AT(weight),
                .dweight = AT(dweight), .aux_gradient = AT(aux), .dlogits = AT(dlogits));
            judge_compare(judge);
        }
}

static void case_moe_gather(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64, rows, channels);
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *x = input(judge, "x", rows * channels, 1);
            struct array *y = output(judge, "y", rows * top * channels, 0);
            RUN(judge, moe_gather, .rows = rows, .channels = channels, .top = top, .x = AT(x),
                .entry = AT(entry), .y = AT(y));
            judge_compare(judge);
        }
}

static void case_moe_gather_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2 + r % 2;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " top %" PRId64, rows, channels, top);
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *dy = input(judge, "dy", rows * top * channels, 1);
            bool accumulate = c % 2 == 0;
            struct array *dx = accumulate
                                   ? in_out(judge, "dx", rows * channels, 1, sum_bound(top + 1))
                                   : output(judge, "dx", rows * channels, sum_bound(top));
            RUN(judge, moe_gather_backward, .rows = rows, .channels = channels, .top = top,
                .accumulate = accumulate, .dy = AT(dy), .sorted = AT(sorted), .dx = AT(dx));
            judge_compare(judge);
        }
}

static void case_moe_combine(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2 + r % 2;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " top %" PRId64, rows, channels, top);
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *x = input(judge, "x", rows * top * channels, 1);
            struct array *weight = input(judge, "weight", rows * top, 0.5);
            struct array *y = output(judge, "y", rows * channels, sum_bound(top));
            RUN(judge, moe_combine, .rows = rows, .channels = channels, .top = top, .x = AT(x),
                .sorted = AT(sorted), .weight = AT(weight), .y = AT(y));
            judge_compare(judge);
        }
}

static void case_moe_combine_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2;
            bool in_place = c % 2 == 1;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 "%s", rows, channels,
                  in_place ? " in place" : "");
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *x = in_out(judge, "x", rows * top * channels, 1, UNIT);
            struct array *dy = input(judge, "dy", rows * channels, 1);
            struct array *weight = input(judge, "weight", rows * top, 0.5);
            struct array *dx = in_place ? x : output(judge, "dx", rows * top * channels, 2 * UNIT);
            struct array *dweight = output(judge, "dweight", rows * top, sum_bound(channels));
            RUN(judge, moe_combine_backward, .rows = rows, .channels = channels, .top = top,
                .x = AT(x), .dy = AT(dy), .sorted = AT(sorted), .weight = AT(weight), .dx = AT(dx),
                .dweight = AT(dweight));
            judge_compare(judge);
        }
}

/* ---- LM head -------------------------------------------------------------------------------------- */

struct head_shape {
    int64_t rows, channels, vocabulary;
    float temperature;
    bool bf16;
    double scale; /* of the weight: logits of size 2 */
    struct array *x, *weight, *packed, *target;
};

static struct head_shape head_shape(struct judge *judge, int r, int v, bool bf16)
{
    static const float temperatures[] = {1.0f, 0.7f, 1.6f};
    struct head_shape s = {.rows = rows_list[r],
                           .channels = channels_list[(r + v) % 6],
                           .vocabulary = vocabulary_list[v],
                           .temperature = temperatures[r % 3],
                           .bf16 = bf16};
    s.rows = s.rows > 65 ? 66 : s.rows;
    SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " vocabulary %" PRId64 " bf16 %d", s.rows,
          s.channels, s.vocabulary, bf16);
    s.x = input(judge, "x", s.rows * s.channels, 1);
    s.weight = input(judge, "weight", s.vocabulary * s.channels, 2.0 / sqrt((double)s.channels));
    s.target = input_i32(judge, "target", s.rows);
    for (int64_t t = 0; t < s.rows; t++)
        s.target->i[t] = t % 5 == 3 ? -1 : (int32_t)rng_below(&judge->rng, (uint32_t)s.vocabulary);
    struct op_table *a = judge->table[0], *b = judge->table[1];
    size_t first = a->packed_bytes(a->context, 1, s.vocabulary, s.channels);
    size_t second = b->packed_bytes(b->context, 1, s.vocabulary, s.channels);
    s.packed = opaque(judge, "packed", first > second ? first : second);
    RUN(judge, linear_pack, .experts = 1, .n = s.vocabulary, .k = s.channels,
        .weight = AT(s.weight), .packed = AT(s.packed));
    return s;
}

/* Logits carry sum_bound(C); log-sum-exp averages such errors and adds its own sum. With bf16 a logit
 * on a rounding border may fall to the other side: half a bf16 ulp is 2^-9, a whole one 2^-8. */
static double head_bound(const struct head_shape *s)
{
    return s->bf16 ? 0x1p-7 : 4.0 * sum_bound(s->channels) + sum_bound(s->vocabulary);
}

static void case_lm_head(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < COUNT(vocabulary_list); v++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                struct head_shape s = head_shape(judge, r, v, bf16 == 1);
                double bound = head_bound(&s);
                struct array *logits = output(judge, "logits", s.rows * s.vocabulary, bound);
                struct array *lse = output(judge, "lse", s.rows, bound);
                struct array *lse_raw = output(judge, "lse_raw", s.rows, bound);
                struct array *logprob = output(judge, "logprob", s.rows, bound);
                struct array *entropy = output(judge, "entropy", s.rows, bound);
                bool all = r % 2 == 0;
                if (!judge->run_failed)
                    RUN(judge, lm_head, .rows = s.rows, .channels = s.channels,
                        .vocabulary = s.vocabulary, .temperature = s.temperature, .bf16 = s.bf16,
                        .x = AT(s.x), .packed = AT(s.packed),
                        .target = r == 1 ? NULL : AT(s.target), .logits = all ? AT(logits) : NULL,
                        .lse = AT(lse), .lse_raw = all ? AT(lse_raw) : NULL,
                        .logprob = r == 1 ? NULL : AT(logprob),
                        .entropy = r == 3 ? NULL : AT(entropy));
                judge_compare(judge);
            }
}

/* lse for the backward call, from the oracle. */
static void oracle_lse(struct judge *judge, const struct head_shape *s, struct array *lse)
{
    struct op_table *oracle = judge->table[1];
    const struct op_lm_head args = {.rows = s->rows,
                                    .channels = s->channels,
                                    .vocabulary = s->vocabulary,
                                    .temperature = s->temperature,
                                    .bf16 = s->bf16,
                                    .x = s->x->f,
                                    .packed = s->weight->f,
                                    .lse = lse->f};
    CHECK(oracle->lm_head(oracle->context, &args) == STATUS_OK);
}

/* p = exp(z - lse) turns the error of z into a relative one; dx sums V products, dW at most `rows`. */
static void case_lm_head_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < COUNT(vocabulary_list); v++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                struct head_shape s = head_shape(judge, r, v, bf16 == 1);
                double bound = 4.0 * head_bound(&s);
                struct array *lse = input(judge, "lse", s.rows, 0);
                struct array *dlogprob = input(judge, "dlogprob", s.rows, 1);
                for (int64_t t = 0; t < s.rows; t++)
                    dlogprob->f[t] = t % 5 == 3 || t % 7 == 4 ? 0.0f : dlogprob->f[t];
                struct array *dx = output(judge, "dx", s.rows * s.channels, bound);
                struct array *dweight =
                    in_out(judge, "dweight", s.vocabulary * s.channels, 1, bound);
                oracle_lse(judge, &s, lse);
                if (!judge->run_failed)
                    RUN(judge, lm_head_backward, .rows = s.rows, .channels = s.channels,
                        .vocabulary = s.vocabulary, .temperature = s.temperature, .bf16 = s.bf16,
                        .x = AT(s.x), .packed = AT(s.packed), .weight = AT(s.weight),
                        .target = AT(s.target), .lse = AT(lse), .dlogprob = AT(dlogprob),
                        .dx = AT(dx), .dweight = AT(dweight));
                judge_compare(judge);
            }
}

/* ---- sampling ------------------------------------------------------------------------------------- */

static void sample_rows(struct judge *judge, struct op_sample_row *row, int64_t rows)
{
    static const float temperatures[] = {1.0f, 0.7f, 0.0f, 1.5f};
    static const float top_p[] = {1.0f, 0.9f, 0.5f};
    static const int32_t top_k[] = {0, 1, 40, 3};
    for (int64_t t = 0; t < rows; t++)
        row[t] = (struct op_sample_row){
            .seed = rng_u64(&judge->rng),
            .group = rng_u64(&judge->rng),
            .sample = rng_below(&judge->rng, 65536),
            .position = rng_below(&judge->rng, 1 << 24),
            .temperature = temperatures[t % COUNT(temperatures)],
            .top_p = top_p[t % COUNT(top_p)],
            .top_k = top_p[t % COUNT(top_p)] < 1.0f ? 0 : top_k[t / 3 % COUNT(top_k)],
        };
}

/* log-sum-exp of a row of logits at a temperature, 0 standing for 1. */
static float lse_of(const float *logits, int64_t vocabulary, double temperature)
{
    double sum = 0.0;
    for (int64_t v = 0; v < vocabulary; v++)
        sum += exp((double)logits[v] / (temperature == 0.0 ? 1.0 : temperature));
    return (float)log(sum);
}

/* Tokens must be equal: the two largest z + g of a row lie closer than f32 rounding about once in a
 * million rows. top_p and top_k are not combined here: tests/test_sample.c has their order. */
static void case_sample(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < COUNT(vocabulary_list); v++) {
            int64_t rows = rows_list[r], vocabulary = vocabulary_list[v];
            SHAPE(judge, "rows %" PRId64 " vocabulary %" PRId64, rows, vocabulary);
            struct op_sample_row row[257];
            sample_rows(judge, row, rows);
            struct array *logits = input(judge, "logits", rows * vocabulary, 2.5);
            struct array *lse = input(judge, "lse", rows, 0);
            struct array *lse_raw = input(judge, "lse_raw", rows, 0);
            for (int64_t t = 0; t < rows; t++) {
                if (t % 6 == 5)
                    logits->f[t * vocabulary + 2] = 25.0f;
                const float *one = logits->f + t * vocabulary;
                lse->f[t] = lse_of(one, vocabulary, (double)row[t].temperature);
                lse_raw->f[t] = lse_of(one, vocabulary, 1.0);
            }
            struct array *token = output_i32(judge, "token", rows);
            struct array *logprob = output(judge, "logprob", rows, ELEMENTWISE);
            struct array *truncated =
                output(judge, "logprob_truncated", rows, sum_bound(vocabulary));
            struct array *confident = output_u8(judge, "confident", rows);
            RUN(judge, sample, .rows = rows, .vocabulary = vocabulary, .logits = AT(logits),
                .lse = AT(lse), .lse_raw = AT(lse_raw), .row = row, .repetition_probability = 0.99f,
                .token = AT(token), .logprob = AT(logprob), .logprob_truncated = AT(truncated),
                .confident = AT(confident));
            judge_compare(judge);
        }
}

/* ---- policy loss ---------------------------------------------------------------------------------- */

struct loss_arrays {
    struct array *start, *logprob, *logprob_old, *advantage, *mask, *scale;
};

static struct loss_arrays loss_arrays(struct judge *judge, int64_t rows, int64_t sequences)
{
    struct loss_arrays a = {input_i32(judge, "sequence_start", sequences + 1),
                            input(judge, "logprob", rows, 1),
                            input(judge, "logprob_old", rows, 1),
                            input(judge, "advantage", rows, 1),
                            input(judge, "mask", rows, 0),
                            input(judge, "scale", rows, 0)};
    for (int64_t s = 0; s <= sequences; s++)
        a.start->i[s] = (int32_t)(rows * s / sequences);
    for (int64_t s = 0; s < sequences; s++)
        for (int64_t t = a.start->i[s]; t < a.start->i[s + 1]; t++) {
            a.advantage->f[t] = a.advantage->f[a.start->i[s]];
            a.scale->f[t] = (float)(0.1 + 0.05 * (double)s);
            a.mask->f[t] = rng_below(&judge->rng, 4) > 0 ? 1.0f : 0.0f;
            a.logprob->f[t] = -fabsf(a.logprob->f[t]);
            a.logprob_old->f[t] = a.logprob->f[t] + 0.8f * a.logprob_old->f[t];
            if (a.mask->f[t] == 0.0f)
                a.logprob->f[t] = NAN;
            else if (t % 11 == 3)
                a.logprob->f[t] = a.logprob_old->f[t] + (t % 2 ? 30.0f : -30.0f);
        }
    return a;
}

/* One exp (its argument's rounding included) and a few products for each token; the loss sums in f64
 * terms that carry f32 errors. The mean log ratio of gspo sums up to 128 numbers. */
static void run_policy_loss(struct judge *judge, enum policy_loss kind, int64_t rows,
                            float dual_clip)
{
    int64_t sequences = rows > 3 ? 3 : 1;
    SHAPE(judge, "kind %d rows %" PRId64 " dual_clip %g", (int)kind, rows, (double)dual_clip);
    struct loss_arrays a = loss_arrays(judge, rows, sequences);
    struct array *ratio = output(judge, "ratio", rows, 64 * UNIT);
    struct array *dlogprob = output(judge, "dlogprob", rows, 64 * UNIT);
    struct array *clipped = output_u8(judge, "clipped", rows);
    double loss[2] = {0.0, 0.0};
    RUN(judge, policy_loss, .kind = kind, .rows = rows, .sequences = sequences,
        .sequence_start = AT(a.start), .logprob = AT(a.logprob), .logprob_old = AT(a.logprob_old),
        .advantage = AT(a.advantage), .mask = AT(a.mask), .scale = AT(a.scale), .weight_min = 0.4f,
        .weight_max = 2.0f, .clip_low = 0.2f, .clip_high = 0.28f, .dual_clip = dual_clip,
        .ratio = AT(ratio), .dlogprob = AT(dlogprob), .clipped = AT(clipped), .loss = &loss[side]);
    judge_number(judge, "loss", loss, 64 * UNIT, 1.0);
    judge_compare(judge);
}

static void case_policy_loss(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++) {
        for (int kind = POLICY_LOSS_CISPO; kind <= POLICY_LOSS_SFT; kind++)
            run_policy_loss(judge, (enum policy_loss)kind, rows_list[r], 0.0f);
        run_policy_loss(judge, POLICY_LOSS_PPO_CLIP, rows_list[r], 3.0f);
    }
}

/* ---- optimizer ------------------------------------------------------------------------------------ */

/* Gradients from 1e-18 up (M1 section 3.2): their squares are denormal in f32 and v must not lose them
 * by more than the f32 format does. */
static void case_adamw(struct judge *judge)
{
    static const double sizes[] = {1.0, 1e-9, 1e-18};
    for (int c = 0; c < COUNT(count_list); c++)
        for (int g = 0; g < COUNT(sizes); g++) {
            int64_t count = count_list[c];
            SHAPE(judge, "count %" PRId64 " gradients of size %g", count, sizes[g]);
            struct array *grad = input(judge, "grad", count, sizes[g]);
            struct array *parameter = in_out(judge, "parameter", count, 1, 8 * UNIT);
            struct array *m = in_out(judge, "m", count, sizes[g], 8 * UNIT);
            struct array *v = in_out(judge, "v", count, 0, 16 * UNIT);
            for (int64_t i = 0; i < count; i++)
                v->f[i] = (float)(sizes[g] * sizes[g] * rng_uniform(&judge->rng));
            struct array *copy = output(judge, "copy", count, 8 * UNIT);
            RUN(judge, adamw, .count = count, .update = 1 + 7 * g, .lr = 1e-2, .beta1 = 0.9,
                .beta2 = 0.95, .eps = 1e-15, .weight_decay = 0.1, .grad_scale = 0.37,
                .parameter = AT(parameter), .m = AT(m), .v = AT(v), .grad = AT(grad),
                .copy = c % 2 ? NULL : AT(copy));
            judge_compare(judge);
        }
}

/* f64 sums of f32 squares, which are exact in f64: only the order differs. */
static void case_grad_norm(struct judge *judge)
{
    static const int64_t counts[] = {1, 17, 4097, 65537};
    for (int c = 0; c < COUNT(counts); c++)
        for (int bad = 0; bad < 2; bad++) {
            int64_t count = counts[c];
            SHAPE(judge, "count %" PRId64 "%s", count, bad ? " with NaN and infinity" : "");
            struct array *grad = input(judge, "grad", count, 1e-12);
            if (bad) {
                grad->f[0] = NAN;
                grad->f[count - 1] = -INFINITY;
            }
            double squares[2] = {0.0, 0.0};
            int64_t non_finite[2] = {0, 0};
            RUN(judge, grad_norm, .count = count, .grad = AT(grad), .sum_squares = &squares[side],
                .non_finite = &non_finite[side]);
            if (!bad)
                judge_number(judge, "sum_squares", squares, 1e-13, 0.0);
            if (non_finite[0] != non_finite[1])
                judge_fail(judge, "non_finite is %" PRId64 ", oracle %" PRId64, non_finite[0],
                           non_finite[1]);
            judge_compare(judge);
        }
}

/* ---- the run -------------------------------------------------------------------------------------- */

struct op_case {
    const char *name;
    void (*run)(struct judge *judge);
};

enum {
#define OP(op) OP_##op,
    KERNEL_OPS(OP)
#undef OP
};

static const struct op_case op_cases[] = {
#define OP(op) {#op, case_##op},
    KERNEL_OPS(OP)
#undef OP
};

static uint64_t test_seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text ? strtoull(text, NULL, 10) : 20250616;
}

static bool isa_here(const char *isa)
{
    if (strcmp(isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    return strcmp(isa, "plain") == 0 ||
           (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
}

/* One op on one table: failures, and the hash of all that it wrote. */
static void judge_run(struct judge *judge, int op, struct op_table *table, struct op_table *oracle,
                      const char *variant)
{
    *judge = (struct judge){.table = {table, oracle},
                            .op = op_cases[op].name,
                            .variant = variant,
                            .seed = test_seed(),
                            .hash = 0xcbf29ce484222325u};
    rng_init(&judge->rng, judge->seed, (uint64_t)op, RNG_TEST);
    op_cases[op].run(judge);
}

static void judge_op(int op)
{
    static const char *const isas[] = {"avx512", "avx2", "plain"};
    struct op_table *oracle = NULL;
    uint64_t fused_hash = 0;
    int failures = 0;
    double worst = 0.0;
    assert_int_equal(op_table_create_ref(&oracle), STATUS_OK);
    for (int i = 0; i < COUNT(isas); i++) {
        uint64_t thread_hash = 0;
        for (int32_t threads = 1; threads <= 2 && isa_here(isas[i]); threads++) {
            char variant[32];
            struct op_table *table = NULL;
            struct judge judge;
            snprintf(variant, sizeof variant, "%s threads %d", isas[i], threads);
            setenv("WEIR_CPU_ISA", isas[i], 1);
            assert_int_equal(op_table_create_cpu(&table, threads), STATUS_OK);
            judge_run(&judge, op, table, oracle, variant);
            if (threads == 2 && judge.hash != thread_hash)
                judge_fail(&judge, "bits differ from those of one thread");
            thread_hash = judge.hash;
            if (i < 2 && fused_hash != 0 && judge.hash != fused_hash)
                judge_fail(&judge, "AVX2 and AVX-512 differ in bits");
            fused_hash = judge.hash;
            failures += judge.failures;
            worst = fmax(worst, judge.worst);
            op_table_destroy(&table);
        }
    }
    op_table_destroy(&oracle);
    printf("%-24s failures %d, largest error %.2f of its bound\n", op_cases[op].name, failures,
           worst);
    assert_int_equal(failures, 0);
}

#define OP(op)                                        \
    static void test_kernel_parity_##op(void **state) \
    {                                                 \
        (void)state;                                  \
        judge_op(OP_##op);                            \
    }
KERNEL_OPS(OP)
#undef OP

/* ---- the judge judged: spoiled copies of the oracle must be refused -------------------------------- */

static struct op_table *honest;

static enum status silu_short(void *context, const struct op_silu *args)
{
    struct op_silu less = *args;
    less.count--;
    return honest->silu(context, &less);
}

static enum status silu_long(void *context, const struct op_silu *args)
{
    ((float *)args->y)[args->count] = 0.0f;
    return honest->silu(context, args);
}

static enum status silu_off(void *context, const struct op_silu *args)
{
    enum status status = honest->silu(context, args);
    ((float *)args->y)[args->count / 2] *= 1.0f + 0x1p-17f;
    return status;
}

static enum status silu_meddling(void *context, const struct op_silu *args)
{
    enum status status = honest->silu(context, args);
    ((float *)(uintptr_t)args->x)[0] = 1.0f;
    return status;
}

static enum status silu_missing(void *context, const struct op_silu *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "silu");
}

static void test_kernel_parity_spoiled_op_is_refused(void **state)
{
    (void)state;
    enum status (*const spoiled[])(void *, const struct op_silu *) = {
        silu_short, silu_long, silu_off, silu_meddling, silu_missing};
    assert_int_equal(op_table_create_ref(&honest), STATUS_OK);
    struct op_table copy = *honest;
    struct judge judge;
    judge_run(&judge, OP_silu, &copy, honest, "ref against itself");
    assert_int_equal(judge.failures, 0);
    for (int i = 0; i < COUNT(spoiled); i++) {
        copy.silu = spoiled[i];
        judge = (struct judge){
            .table = {&copy, honest}, .op = "silu", .quiet = true, .variant = "spoiled"};
        rng_init(&judge.rng, 1, 0, RNG_TEST);
        case_silu(&judge);
        assert_true(judge.failures > 0);
    }
    op_table_destroy(&honest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernel_parity_spoiled_op_is_refused),
#define OP(op) cmocka_unit_test(test_kernel_parity_##op),
                                       KERNEL_OPS(OP)
#undef OP
    };
    printf("TEST_SEED=%" PRIu64 "\n", test_seed());
    return cmocka_run_group_tests_name("kernel_parity", tests, NULL, NULL);
}
