/* tests/kernel_cases_dense.h - parity cases: embedding, norms, matrix products, elementwise, RoPE. */
#ifndef TESTS_KERNEL_CASES_DENSE_H
#define TESTS_KERNEL_CASES_DENSE_H

#include "tests/kernel_shapes.h"

/* ---- embedding ---------------------------------------------------------------------------------- */

static inline void case_embedding(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], vocabulary = 331;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64, rows, channels);
            struct array *ids = input_i32(judge, "ids", rows);
            fill_below(judge, ids, rows, vocabulary);
            struct array *table = input_act(judge, "table", vocabulary * channels, 1);
            bool scaled = (r + c) % 2 == 1;
            struct array *y = output_act(judge, "y", rows * channels, scaled ? 2 * UNIT : 0);
            RUN(judge, embedding, .rows = rows, .channels = channels, .vocabulary = vocabulary,
                .ids = AT(ids), .table = AT(table), .y = AT(y), .scale = scaled ? 33.75f : 0);
            judge_compare(judge);
        }
}

/* An id occurs up to `rows` times: a sum of that many terms. */
static inline void case_embedding_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < 2; v++) {
            int64_t rows = rows_list[r], channels = channels_list[r],
                    vocabulary = vocabulary_list[v];
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " vocabulary %" PRId64, rows,
                  channels, vocabulary);
            struct array *ids = input_i32(judge, "ids", rows);
            fill_below(judge, ids, rows, vocabulary);
            struct array *dy = input_act(judge, "dy", rows * channels, 1);
            struct array *dtable =
                in_out(judge, "dtable", vocabulary * channels, 1, sum_bound(rows));
            RUN(judge, embedding_backward, .rows = rows, .channels = channels,
                .vocabulary = vocabulary, .ids = AT(ids), .dy = AT(dy), .dtable = AT(dtable),
                .scale = (r + v) % 2 ? 33.75f : 0);
            judge_compare(judge);
        }
}

/* ---- rms_norm ----------------------------------------------------------------------------------- */

/* The sum of squares has no cancellation: its relative error, halved by the root, stays under the
 * bound of a plain sum. groups 3 stands for the heads of a q/k norm in a wider fused row. */
static inline void case_rms_norm(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++)
            for (int64_t groups = 1; groups <= 3; groups += 2) {
                int64_t rows = rows_list[r], channels = channels_list[c];
                int64_t x_stride = groups * channels + 5, y_stride = groups * channels + 3;
                SHAPE(judge, "rows %" PRId64 " groups %" PRId64 " channels %" PRId64, rows, groups,
                      channels);
                struct array *x = input_act(judge, "x", rows * x_stride, 2);
                struct array *gain = input_act(judge, "gain", channels, 1);
                struct array *y = output_act(judge, "y", rows * y_stride, sum_bound(channels));
                struct array *root = output(judge, "r", rows * groups, sum_bound(channels));
                RUN(judge, rms_norm, .rows = rows, .groups = groups, .channels = channels,
                    .x_stride = x_stride, .y_stride = y_stride, .eps = 1e-5f, .x = AT(x),
                    .gain = AT(gain), .y = AT(y), .r = c % 2 ? NULL : AT(root),
                    .one_plus = (r + c) % 2 == 1);
                judge_compare(judge);
            }
}

static inline void case_rms_norm_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], groups = 1 + c % 2 * 2;
            int64_t stride = groups * channels + 7, cells = rows * stride;
            SHAPE(judge, "rows %" PRId64 " groups %" PRId64 " channels %" PRId64, rows, groups,
                  channels);
            struct array *x = input_act(judge, "x", cells, 2);
            struct array *gain = input_act(judge, "gain", channels, 1);
            struct array *root = input(judge, "r", rows * groups, 1);
            for (int64_t i = 0; i < rows * groups; i++)
                root->f[i] = 0.5f;
            struct array *dy = input_act(judge, "dy", cells, 1);
            struct array *dx = output_act(judge, "dx", cells, 2 * sum_bound(channels));
            struct array *dgain = in_out(judge, "dgain", channels, 1, sum_bound(rows * groups));
            RUN(judge, rms_norm_backward, .rows = rows, .groups = groups, .channels = channels,
                .x_stride = stride, .dy_stride = stride, .dx_stride = stride, .x = AT(x),
                .gain = AT(gain), .r = AT(root), .dy = AT(dy), .dx = AT(dx), .dgain = AT(dgain),
                .one_plus = (r + c) % 2 == 1);
            judge_compare(judge);
        }
}

/* h is a sum that may cancel (as in axpby); its error, a few units of the terms' size, goes through the norm.
 * Not with one channel: the norm of a single number near zero blows its error up without a bound. */
static inline void case_residual_norm(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 1; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], count = rows * channels;
            bool in_place = (r + c) % 2 == 1;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 "%s", rows, channels,
                  in_place ? " in place" : "");
            double bound = 2 * sum_bound(channels);
            struct array *a = in_out_act(judge, "a", count, 1, 8 * UNIT);
            struct array *b = in_out_act(judge, "b", count, 1, bound);
            struct array *gain = input_act(judge, "gain", channels, 1);
            struct array *h = in_place ? a : output_act(judge, "h", count, 8 * UNIT);
            struct array *y = in_place ? b : output_act(judge, "y", count, bound);
            struct array *root = output(judge, "r", rows, bound);
            y->inner = root->inner = BF16_UNIT; /* of h, which is rounded before the norm */
            RUN(judge, residual_norm, .rows = rows, .channels = channels, .alpha = 1.5f,
                .beta = c % 3 == 0 ? 1.0f : 0.7f, .eps = 1e-5f, .a = AT(a), .b = AT(b),
                .gain = AT(gain), .h = AT(h), .y = AT(y), .r = c % 2 ? NULL : AT(root),
                .one_plus = r % 2 == 1);
            judge_compare(judge);
        }
}

/* ---- linear ------------------------------------------------------------------------------------- */

struct linear_shape {
    int64_t rows, experts, n, k;
    bool grouped;
    int64_t pad; /* strides are wider by it, once, twice or three times */
};

/* Rows that tensor cores and 16-byte loads like, at both sides of the row counts where kernels change. */
static const int64_t aligned_list[][3] = {{1, 512, 256},   {3, 256, 512},  {16, 64, 64},
                                          {17, 96, 1024},  {64, 384, 256}, {65, 256, 128},
                                          {129, 512, 320}, {300, 384, 512}};

/* The last four only where a GPU multiplies them. */
static inline int linear_shapes(const struct judge *judge)
{
    int aligned = COUNT(aligned_list) - (judge_small(judge) ? 4 : 0);
    return COUNT(rows_list) * COUNT(channels_list) + aligned;
}

/* All rows with all k; n and the grouping follow so that each occurs. Then the aligned ones. */
static inline struct linear_shape linear_shape(struct judge *judge, int i)
{
    int r = i / COUNT(channels_list), k = i % COUNT(channels_list);
    struct linear_shape shape = {.experts = 1, .grouped = (r + 2 * k) % 3 == 0, .pad = 1};
    if (r < COUNT(rows_list)) {
        shape.rows = rows_list[r];
        shape.n = channels_list[(r + k) % COUNT(channels_list)];
        shape.k = channels_list[k];
    } else {
        const int64_t *aligned = aligned_list[i - COUNT(rows_list) * COUNT(channels_list)];
        shape.rows = aligned[0];
        shape.n = aligned[1];
        shape.k = aligned[2];
        shape.pad = 0;
    }
    shape.experts = shape.grouped ? 4 + 4 * (r % 2) : 1;
    SHAPE(judge, "rows %" PRId64 " experts %" PRId64 " n %" PRId64 " k %" PRId64 " pad %" PRId64,
          shape.rows, shape.experts, shape.n, shape.k, shape.pad);
    return shape;
}

/* A backend that packs nothing reads the weight itself. */
#define PACKED(experts, n, k, packed, weight)                                         \
    (judge->table[side]->packed_bytes(judge->table[side]->context, experts, n, k) > 0 \
         ? AT(packed)                                                                 \
         : AT(weight))

static inline void run_linear(struct judge *judge, struct linear_shape s, struct array *x,
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
            .x_stride = s.k + 3 * s.pad, .y_stride = s.n + s.pad, .virtual_tp = 1, .x = AT(x),
            .packed = PACKED(s.experts, s.n, s.k, packed, weight), .bias = AT(bias),
            .expert_offset = AT(offset), .y = y->kind == ARRAY_ACT ? AT(y) : NULL,
            .y_float = y->kind == ARRAY_ACT ? NULL : AT(y));
}

static inline void case_linear(struct judge *judge)
{
    for (int i = 0; i < linear_shapes(judge); i++) {
        struct linear_shape s = linear_shape(judge, i);
        struct array *x = input_act(judge, "x", s.rows * (s.k + 3 * s.pad), 1);
        struct array *weight = input_act(judge, "weight", s.experts * s.n * s.k, 1);
        struct array *bias = !s.grouped && i % 2 ? input_act(judge, "bias", s.n, 1) : NULL;
        struct array *offset = s.grouped ? offsets_of(judge, s.experts, s.rows) : NULL;
        struct array *y = output_act(judge, "y", s.rows * (s.n + s.pad), sum_bound(s.k));
        if (i % 4 == 1)
            y->kind = ARRAY_F32; /* y_float */
        run_linear(judge, s, x, weight, bias, offset, y);
        judge_compare(judge);
    }
}

/* The packed layout is the backend's own; what was packed shows in a product with the unit matrix,
 * which must give the weight back exactly. */
static inline void case_linear_pack(struct judge *judge)
{
    for (int n = 0; n < COUNT(channels_list); n++)
        for (int k = 0; k < COUNT(channels_list); k++) {
            struct linear_shape s = {channels_list[k], 1,     channels_list[n],
                                     channels_list[k], false, 1};
            SHAPE(judge, "n %" PRId64 " k %" PRId64, s.n, s.k);
            struct array *x = input_act(judge, "x", s.rows * (s.k + 3 * s.pad), 0);
            for (int64_t i = 0; i < s.k; i++)
                x->f[i * (s.k + 3 * s.pad) + i] = 1.0f;
            struct array *weight = input_act(judge, "weight", s.n * s.k, 1);
            struct array *y = output_act(judge, "y", s.rows * (s.n + s.pad), 0);
            run_linear(judge, s, x, weight, NULL, NULL, y);
            judge_compare(judge);
        }
}

static inline void case_linear_backward_input(struct judge *judge)
{
    for (int i = 0; i < linear_shapes(judge); i++) {
        struct linear_shape s = linear_shape(judge, i);
        struct array *dy = input_act(judge, "dy", s.rows * (s.n + 2 * s.pad), 1);
        struct array *weight = input_act(judge, "weight", s.experts * s.n * s.k, 1);
        struct array *offset = s.grouped ? offsets_of(judge, s.experts, s.rows) : NULL;
        bool accumulate = i % 2 == 0;
        struct array *dx = accumulate
                               ? in_out_act(judge, "dx", s.rows * (s.k + s.pad), 1, sum_bound(s.n))
                               : output_act(judge, "dx", s.rows * (s.k + s.pad), sum_bound(s.n));
        dx->inner = accumulate ? BF16_UNIT : 0; /* cublasLt rounds the product before it adds it */
        RUN(judge, linear_backward_input, .rows = s.rows, .experts = s.experts, .n = s.n, .k = s.k,
            .dy_stride = s.n + 2 * s.pad, .dx_stride = s.k + s.pad, .accumulate = accumulate,
            .dy = AT(dy), .weight = AT(weight), .expert_offset = AT(offset), .dx = AT(dx));
        judge_compare(judge);
    }
}

static inline void case_linear_backward_weight(struct judge *judge)
{
    for (int i = 0; i < linear_shapes(judge); i++) {
        struct linear_shape s = linear_shape(judge, i);
        struct array *dy = input_act(judge, "dy", s.rows * (s.n + 2 * s.pad), 1);
        struct array *x = input_act(judge, "x", s.rows * (s.k + 3 * s.pad), 1);
        struct array *offset = s.grouped ? offsets_of(judge, s.experts, s.rows) : NULL;
        struct array *dweight =
            in_out(judge, "dweight", s.experts * s.n * s.k, 1, sum_bound(s.rows));
        struct array *dbias =
            s.grouped || i % 2 ? NULL : in_out(judge, "dbias", s.n, 1, sum_bound(s.rows));
        RUN(judge, linear_backward_weight, .rows = s.rows, .experts = s.experts, .n = s.n, .k = s.k,
            .dy_stride = s.n + 2 * s.pad, .x_stride = s.k + 3 * s.pad, .dy = AT(dy), .x = AT(x),
            .expert_offset = AT(offset), .dweight = AT(dweight), .dbias = AT(dbias));
        judge_compare(judge);
    }
}

/* ---- elementwise: exp of an f32 within a few ulp, then at most six roundings ---------------------- */

/* Adds the far ends, where exp overflows or vanishes. */
static inline void add_extremes(struct array *array, int64_t count)
{
    static const float extremes[] = {0.0f, -0.0f, 88.0f, -88.0f, 110.0f, -110.0f, 1e-30f, 700.0f};
    for (int64_t i = 0; count >= 255 && i < COUNT(extremes); i++)
        array->f[i * 7] = extremes[i];
}

static inline void case_silu(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *x = input_act(judge, "x", count, 3);
        add_extremes(x, count);
        struct array *y = output_act(judge, "y", count, ELEMENTWISE);
        RUN(judge, silu, .count = count, .x = AT(x), .y = AT(y));
        judge_compare(judge);
        struct array *both = in_out_act(judge, "y = x", count, 3, ELEMENTWISE);
        RUN(judge, silu, .count = count, .x = AT(both), .y = AT(both));
        judge_compare(judge);
    }
}

static inline void case_silu_backward(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *x = input_act(judge, "x", count, 3);
        add_extremes(x, count);
        struct array *dy = input_act(judge, "dy", count, 1);
        struct array *dx = output_act(judge, "dx", count, ELEMENTWISE);
        RUN(judge, silu_backward, .count = count, .x = AT(x), .dy = AT(dy), .dx = AT(dx));
        judge_compare(judge);
    }
}

static inline enum glu_gate gate_of_case(int r, int c)
{
    return (r + c / 2) % 2 ? GLU_GELU_TANH : GLU_SILU;
}

static inline void case_swiglu(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c];
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64, rows, channels);
            struct array *gate_up = input_act(judge, "gate_up", rows * 2 * channels, 3);
            add_extremes(gate_up, rows * channels);
            struct array *y = output_act(judge, "y", rows * channels, ELEMENTWISE);
            RUN(judge, swiglu, .rows = rows, .channels = channels, .gate_up = AT(gate_up),
                .y = AT(y), .gate = gate_of_case(r, c));
            judge_compare(judge);
        }
}

static inline void case_swiglu_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c];
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 "%s", rows, channels,
                  c % 2 ? " in place" : "");
            struct array *dy = input_act(judge, "dy", rows * channels, 1);
            struct array *gate_up =
                in_out_act(judge, "gate_up", rows * 2 * channels, 3, ELEMENTWISE);
            add_extremes(gate_up, rows * channels);
            struct array *dgate_up =
                c % 2 ? gate_up : output_act(judge, "dgate_up", rows * 2 * channels, ELEMENTWISE);
            RUN(judge, swiglu_backward, .rows = rows, .channels = channels, .gate_up = AT(gate_up),
                .dy = AT(dy), .dgate_up = AT(dgate_up), .gate = gate_of_case(r, c));
            judge_compare(judge);
        }
}

static inline void case_gate(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *z = input_act(judge, "z", count, 3);
        add_extremes(z, count);
        struct array *x = input_act(judge, "x", count, 1);
        struct array *y = output_act(judge, "y", count, ELEMENTWISE);
        RUN(judge, gate, .count = count, .z = AT(z), .x = AT(x), .y = AT(y));
        judge_compare(judge);
    }
}

/* 1 - s of an s near 1 keeps only the absolute error of s, one UNIT: dz carries |dy x| UNIT, and |dy x|
 * reaches 12 where the rms of dz is 0.14. */
static inline void case_gate_backward(struct judge *judge)
{
    const double bound = 128 * UNIT;
    for (int c = 0; c < COUNT(count_list); c++)
        for (int in_place = 0; in_place < 2; in_place++) {
            int64_t count = count_list[c];
            SHAPE(judge, "count %" PRId64 "%s", count, in_place ? " in place" : "");
            struct array *z = in_out_act(judge, "z", count, 3, bound);
            add_extremes(z, count);
            struct array *x = input_act(judge, "x", count, 1);
            struct array *dy = in_out_act(judge, "dy", count, 1, ELEMENTWISE);
            struct array *dz = in_place ? z : output_act(judge, "dz", count, bound);
            struct array *dx = in_place ? dy : output_act(judge, "dx", count, ELEMENTWISE);
            RUN(judge, gate_backward, .count = count, .z = AT(z), .x = AT(x), .dy = AT(dy),
                .dz = AT(dz), .dx = AT(dx));
            judge_compare(judge);
        }
}

/* Two products and a sum that may cancel: three roundings of terms of size rms. */
static inline void case_axpby(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++)
        for (int with_b = 0; with_b < 2; with_b++) {
            int64_t count = count_list[c];
            SHAPE(judge, "count %" PRId64 " beta %d", count, with_b);
            struct array *a = input_act(judge, "a", count, 1);
            struct array *b = input_act(judge, "b", count, 1);
            for (int64_t i = 0; !with_b && i < count; i++)
                b->f[i] = NAN; /* beta 0 ignores b */
            struct array *y = output_act(judge, "y", count, 8 * UNIT);
            RUN(judge, axpby, .count = count, .alpha = 3.5565588f, .beta = with_b ? 0.7f : 0.0f,
                .a = AT(a), .b = AT(b), .y = AT(y));
            judge_compare(judge);
        }
}

/* ---- rope: two products and a sum ----------------------------------------------------------------- */

static inline struct array *angles_of(struct judge *judge, const char *name, int64_t positions,
                                      int64_t half, double (*wave)(double))
{
    struct array *array = input(judge, name, positions * half, 0);
    for (int64_t i = 0; i < positions * half; i++)
        array->f[i] =
            (float)wave((double)(i / half) * pow(10000.0, -(double)(i % half) / (double)half));
    return array;
}

static inline void case_rope(struct judge *judge)
{
    static const int64_t sizes[][2] = {{8, 8}, {16, 8}, {64, 64}, {64, 32}, {128, 64}};
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(sizes); c++) {
            int64_t rows = rows_list[r], size = sizes[c][0], rotary = sizes[c][1], heads = 3;
            int64_t half = rotary / 2, positions = 300, stride = heads * size + 5;
            SHAPE(judge, "rows %" PRId64 " head %" PRId64 " rotary %" PRId64, rows, size, rotary);
            struct array *at_position = input_i32(judge, "positions", rows);
            fill_below(judge, at_position, rows, positions);
            struct array *cosine = angles_of(judge, "cosine", positions, half, cos);
            struct array *sine = angles_of(judge, "sine", positions, half, sin);
            struct array *x = in_out_act(judge, "x", rows * stride, 1, 8 * UNIT);
            RUN(judge, rope, .rows = rows, .heads = heads, .head_size = size, .rotary = rotary,
                .row_stride = stride, .inverse = r % 2 == 1, .positions = AT(at_position),
                .cosine = AT(cosine), .sine = AT(sine), .x = AT(x));
            judge_compare(judge);
        }
}

#endif
