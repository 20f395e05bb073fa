/* tests/kernel_gpu.h - what a GPU must show beyond parity: a row has the same bits alone and among others, in
 * decode, in pieces of a prompt and in training; fused ops equal their parts; a recorded graph equals the calls.
 *
 * A check has no oracle: it runs the table under test twice and compares bits. */
#ifndef TESTS_KERNEL_GPU_H
#define TESTS_KERNEL_GPU_H

#include "tests/kernel_cases.h"

#define DEV(array)              at(judge, array, 0)
#define DEV_FROM(array, offset) at_offset(judge, array, offset, 0)

/* CALL(judge, silu, .count = n, ...): one call on the table under test. */
#define CALL(judge, op, ...)                                                    \
    do {                                                                        \
        const struct op_##op call_args = {__VA_ARGS__};                         \
        struct op_table *call_table = (judge)->table[0];                        \
        judge_ran((judge), 0, call_table->op(call_table->context, &call_args)); \
    } while (0)

static const int64_t piece_list[] = {1, 2, 16, 5, 1, 33, 64, 65, 1, 8, 127, 3};

/* Rows of the next piece, of `left` that remain. */
static inline int64_t piece_of(int n, int64_t left)
{
    int64_t piece = piece_list[n % COUNT(piece_list)];
    return piece < left ? piece : left;
}

static inline void same_bits(struct judge *judge, struct array *a, struct array *b)
{
    uint8_t *first = array_take(judge, a, 0), *second = array_take(judge, b, 0);
    int64_t differ = 0, at = -1;
    for (size_t i = 0; i < a->bytes / sizeof(float); i++)
        if (memcmp(first + 4 * i, second + 4 * i, sizeof(float)) != 0) {
            at = at < 0 ? (int64_t)i : at;
            differ++;
        }
    if (differ > 0 && !judge->run_failed) {
        float pair[2];
        memcpy(&pair[0], first + 4 * at, sizeof(float));
        memcpy(&pair[1], second + 4 * at, sizeof(float));
        judge_fail(judge, "%s: %" PRId64 " of %zu differ, first [%" PRId64 "]: %.9g and %.9g",
                   a->name, differ, a->bytes / sizeof(float), at, (double)pair[0], (double)pair[1]);
    }
    memory_free(first);
    memory_free(second);
}

/* Forgets all arrays. */
static inline void gpu_done(struct judge *judge)
{
    struct op_table *table = judge->table[0];
    for (int n = 0; n < judge->count; n++) {
        if (judge->arrays[n].memory[0])
            table->memory_destroy(table->context, &judge->arrays[n].memory[0]);
        memory_free(judge->arrays[n].host);
    }
    judge->count = 0;
    judge->run_failed = false;
}

/* ---- split ---------------------------------------------------------------------------------------- */

/* The other plane of split: hi + mid is x with 16 bits, 2^-17 of its value off at most. */
static inline void gpu_split_planes(struct judge *judge)
{
    enum { ELEMENTS = 4097 };
    if (judge->table[0]->weight_bytes != 2)
        return;
    SHAPE(judge, "count %d", ELEMENTS);
    struct array *x = input(judge, "x", ELEMENTS, 1);
    struct array *hi = output_act(judge, "hi", ELEMENTS, 0);
    struct array *mid = output_act(judge, "mid", ELEMENTS, 0);
    CALL(judge, split, .count = ELEMENTS, .x = DEV(x), .hi = DEV(hi), .mid = DEV(mid));
    float *high = (float *)(void *)array_take(judge, hi, 0);
    float *middle = (float *)(void *)array_take(judge, mid, 0);
    for (int i = 0; i < ELEMENTS; i++) {
        double error = fabs((double)high[i] + (double)middle[i] - (double)x->f[i]);
        if (!(error <= 0x1p-17 * fabs((double)x->f[i])))
            judge_fail(judge, "hi + mid of [%d] is %.9g + %.9g, x %.9g", i, (double)high[i],
                       (double)middle[i], (double)x->f[i]);
    }
    memory_free(high);
    memory_free(middle);
    gpu_done(judge);
}

/* ---- digest --------------------------------------------------------------------------------------- */

static inline void gpu_digest(struct judge *judge)
{
    static const int64_t bytes_list[] = {1, 7, 8, 9, 4096, 70001, 3000008};
    struct op_table *table = judge->table[0], *oracle = judge->table[1];
    for (int n = 0; n < COUNT(bytes_list); n++)
        for (int64_t from = 0; from < 3; from++) {
            int64_t bytes = bytes_list[n];
            uint64_t got = 0, want = 1, first = 12345678901234u;
            SHAPE(judge, "bytes %" PRId64 " from %" PRId64, bytes, 2 * from);
            struct array *x = input(judge, "x", bytes / 4 + 4, 1);
            judge_ran(judge, 0,
                      table->memory_digest(table->context, (char *)DEV(x) + 2 * from, (size_t)bytes,
                                           first, &got));
            judge_ran(judge, 1,
                      oracle->memory_digest(oracle->context, (char *)x->f + 2 * from, (size_t)bytes,
                                            first, &want));
            if (got != want)
                judge_fail(judge, "%016" PRIx64 ", host %016" PRIx64, got, want);
            gpu_done(judge);
        }
}

/* ---- linear --------------------------------------------------------------------------------------- */

static inline void linear_pieces(struct judge *judge, int64_t n, int64_t k, bool mid, bool whole)
{
    int64_t rows = 300;
    SHAPE(judge, "n %" PRId64 " k %" PRId64 "%s%s", n, k, mid ? " mid" : "", whole ? " f32" : "");
    struct array *x = input_act(judge, "x", rows * k, 1);
    struct array *weight = input_act(judge, "weight", n * k, 1);
    struct array *plane = mid ? input_act(judge, "mid", n * k, 0x1p-9) : NULL;
    struct array *bias = whole ? NULL : input_act(judge, "bias", n, 1);
    struct array *y[2];
    for (int i = 0; i < 2; i++) {
        y[i] = output_act(judge, i == 0 ? "y" : "y in pieces", rows * n, 0);
        y[i]->kind = whole ? ARRAY_F32 : ARRAY_ACT;
        for (int64_t row = 0, piece = rows, p = 0; row < rows; row += piece, p++) {
            piece = i == 0 ? rows : piece_of((int)p, rows - row);
            void *out = DEV_FROM(y[i], row * n);
            CALL(judge, linear, .rows = piece, .experts = 1, .n = n, .k = k, .x_stride = k,
                 .y_stride = n, .virtual_tp = 1, .x = DEV_FROM(x, row * k), .packed = DEV(weight),
                 .bias = DEV(bias), .mid = DEV(plane), .y = whole ? NULL : out,
                 .y_float = whole ? out : NULL);
        }
    }
    same_bits(judge, y[0], y[1]);
    gpu_done(judge);
}

static const int64_t product_list[][2] = {{512, 256}, {1536, 896}, {96, 130}, {40, 64}, {2048, 16}};

static inline void gpu_rows_linear(struct judge *judge)
{
    bool planes = judge->table[0]->weight_bytes == 2;
    for (int s = 0; s < COUNT(product_list); s++)
        for (int mode = 0; mode < 4; mode++)
            if (planes || mode % 2 == 0)
                linear_pieces(judge, product_list[s][0], product_list[s][1], mode % 2 == 1,
                              mode >= 2);
}

/* The rows of an expert are what a plain product with its weight gives. */
static inline void gpu_experts_linear(struct judge *judge)
{
    enum { EXPERTS = 4, ROWS = 290 };
    static const int32_t offsets[EXPERTS + 1] = {0, 1, 1, 100, ROWS};
    for (int s = 0; s < COUNT(product_list); s++) {
        int64_t n = product_list[s][0], k = product_list[s][1];
        SHAPE(judge, "n %" PRId64 " k %" PRId64, n, k);
        struct array *x = input_act(judge, "x", ROWS * k, 1);
        struct array *weight = input_act(judge, "weight", EXPERTS * n * k, 1);
        struct array *offset = input_i32(judge, "expert_offset", EXPERTS + 1);
        struct array *y = output_act(judge, "y", ROWS * n, 0);
        struct array *plain = output_act(judge, "y of plain products", ROWS * n, 0);
        memcpy(offset->i, offsets, sizeof offsets);
        CALL(judge, linear, .rows = ROWS, .experts = EXPERTS, .n = n, .k = k, .x_stride = k,
             .y_stride = n, .virtual_tp = 1, .x = DEV(x), .packed = DEV(weight),
             .expert_offset = DEV(offset), .y = DEV(y));
        for (int e = 0; e < EXPERTS; e++)
            CALL(judge, linear, .rows = offsets[e + 1] - offsets[e], .experts = 1, .n = n, .k = k,
                 .x_stride = k, .y_stride = n, .virtual_tp = 1, .x = DEV_FROM(x, offsets[e] * k),
                 .packed = DEV_FROM(weight, e * n * k), .y = DEV_FROM(plain, offsets[e] * n));
        same_bits(judge, y, plain);
        gpu_done(judge);
    }
}

/* ---- norms ---------------------------------------------------------------------------------------- */

static inline void gpu_residual_parts(struct judge *judge)
{
    static const int64_t channels_of[] = {16, 63, 64, 896, 1536, 2048, 4096};
    for (int c = 0; c < COUNT(channels_of); c++) {
        int64_t rows = 150, channels = channels_of[c], count = rows * channels;
        SHAPE(judge, "rows %" PRId64 " channels %" PRId64, rows, channels);
        struct array *a = input_act(judge, "a", count, 1);
        struct array *b = input_act(judge, "b", count, 1);
        struct array *gain = input_act(judge, "gain", channels, 1);
        struct array *h[2] = {output_act(judge, "h", count, 0), output_act(judge, "h", count, 0)};
        struct array *y[2] = {output_act(judge, "y", count, 0), output_act(judge, "y", count, 0)};
        struct array *r[2] = {output(judge, "r", rows, 0), output(judge, "r", rows, 0)};
        CALL(judge, residual_norm, .rows = rows, .channels = channels, .alpha = 3.5565588f,
             .beta = 0.7f, .eps = 1e-5f, .a = DEV(a), .b = DEV(b), .gain = DEV(gain),
             .h = DEV(h[0]), .y = DEV(y[0]), .r = DEV(r[0]));
        CALL(judge, axpby, .count = count, .alpha = 3.5565588f, .beta = 0.7f, .a = DEV(a),
             .b = DEV(b), .y = DEV(h[1]));
        for (int64_t row = 0, piece = 0, p = 0; row < rows; row += piece, p++) {
            piece = piece_of((int)p, rows - row);
            CALL(judge, rms_norm, .rows = piece, .groups = 1, .channels = channels,
                 .x_stride = channels, .y_stride = channels, .eps = 1e-5f,
                 .x = DEV_FROM(h[1], row * channels), .gain = DEV(gain),
                 .y = DEV_FROM(y[1], row * channels), .r = DEV_FROM(r[1], row));
        }
        same_bits(judge, h[0], h[1]);
        same_bits(judge, y[0], y[1]);
        same_bits(judge, r[0], r[1]);
        gpu_done(judge);
    }
}

/* ---- second planes: parity of products whose weight is hi + mid ----------------------------------------- */

struct planes {
    struct array *hi, *mid, *sum; /* the oracle reads the sum, which f32 holds exactly */
};

static inline struct planes planes_of(struct judge *judge, int64_t count, double scale)
{
    struct planes p = {input_act(judge, "hi", count, scale), input_act(judge, "mid", count, 0),
                       input(judge, "hi + mid", count, 0)};
    for (int64_t i = 0; i < count; i++) {
        float hi = bf16_value(bf16_bits(p.hi->f[i]));
        float mid = bf16_value(bf16_bits(p.hi->f[i] - hi));
        p.hi->f[i] = hi;
        p.mid->f[i] = mid;
        p.sum->f[i] = hi + mid;
    }
    return p;
}

#define PLANE_HI(planes)  (side == 0 ? AT((planes).hi) : AT((planes).sum))
#define PLANE_MID(planes) (side == 0 ? AT((planes).mid) : NULL)

static inline void gpu_mid_linear(struct judge *judge)
{
    for (int i = 0; judge_bf16(judge) && i < linear_shapes(judge); i++) {
        struct linear_shape s = linear_shape(judge, i);
        struct array *x = input_act(judge, "x", s.rows * s.k, 1);
        struct planes weight = planes_of(judge, s.experts * s.n * s.k, 1);
        struct array *offset = s.grouped ? offsets_of(judge, s.experts, s.rows) : NULL;
        struct array *y = output(judge, "y", s.rows * s.n, sum_bound(2 * s.k));
        RUN(judge, linear, .rows = s.rows, .experts = s.experts, .n = s.n, .k = s.k,
            .x_stride = s.k, .y_stride = s.n, .virtual_tp = 1, .x = AT(x),
            .packed = PLANE_HI(weight), .mid = PLANE_MID(weight), .expert_offset = AT(offset),
            .y_float = AT(y));
        judge_compare(judge);
    }
}

/* Bounds as in case_lm_head and case_lm_head_backward; twice the latter's, because the gradient makes the logits
 * again from hi alone: up to 2^-7 in a logit of size 3, and so in its probability. */
static inline void gpu_mid_lm_head(struct judge *judge)
{
    static const int64_t list[][3] = {{1, 64, 1000}, {66, 128, 331}, {31, 256, 4104}, {3, 63, 65}};
    for (int i = 0; judge_bf16(judge) && i < COUNT(list); i++) {
        int64_t rows = list[i][0], channels = list[i][1], vocabulary = list[i][2];
        struct head_shape shape = {.channels = channels, .vocabulary = vocabulary};
        double bound = head_bound(&shape);
        SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " vocabulary %" PRId64, rows, channels,
              vocabulary);
        struct array *x = input_act(judge, "x", rows * channels, 1);
        struct planes weight =
            planes_of(judge, vocabulary * channels, 2.0 / sqrt((double)channels));
        struct array *target = input_i32(judge, "target", rows);
        fill_below(judge, target, rows, vocabulary);
        struct array *lse = output(judge, "lse", rows, bound);
        struct array *logprob = output(judge, "logprob", rows, bound);
        struct array *entropy = output(judge, "entropy", rows, bound);
        struct array *dlogprob = input(judge, "dlogprob", rows, 1);
        struct array *dx = output_act(judge, "dx", rows * channels, 4 * bound);
        struct array *dweight = in_out(judge, "dweight", vocabulary * channels, 1, 4 * bound);
        lse->size = logprob->size = entropy->size = 4.0;
        dx->inner = dweight->inner = 8 * BF16_UNIT;
        RUN(judge, lm_head, .rows = rows, .channels = channels, .vocabulary = vocabulary,
            .temperature = 0.7f, .x = AT(x), .packed = PLANE_HI(weight), .mid = PLANE_MID(weight),
            .target = AT(target), .lse = AT(lse), .logprob = AT(logprob), .entropy = AT(entropy));
        if (!judge->run_failed)
            RUN(judge, lm_head_backward, .rows = rows, .channels = channels,
                .vocabulary = vocabulary, .temperature = 0.7f, .x = AT(x),
                .packed = PLANE_HI(weight), .weight = PLANE_HI(weight), .mid = PLANE_MID(weight),
                .target = AT(target), .lse = AT(lse), .dlogprob = AT(dlogprob), .dx = AT(dx),
                .dweight = AT(dweight));
        judge_compare(judge);
    }
}

/* ---- LM head and sampling ------------------------------------------------------------------------- */

/* Without logits and targets in one call; with them, row by row or in pieces; then what sampling says of its
 * token against what the head says of the same target: the actor's logprob and the learner's. */
static inline void head_pieces(struct judge *judge, int64_t channels, int64_t vocabulary, bool mid,
                               float temperature, bool bf16)
{
    enum { ROWS = 140 };
    SHAPE(judge, "channels %" PRId64 " vocabulary %" PRId64 "%s temperature %g bf16 %d", channels,
          vocabulary, mid ? " mid" : "", (double)temperature, bf16);
    struct array *x = input_act(judge, "x", ROWS * channels, 1);
    double scale = 2.0 / sqrt((double)channels);
    struct array *weight = input_act(judge, "weight", vocabulary * channels, scale);
    struct array *plane =
        mid ? input_act(judge, "mid", vocabulary * channels, scale * 0x1p-9) : NULL;
    struct array *logits = output(judge, "logits", ROWS * vocabulary, 0);
    struct array *lse[2], *raw = output(judge, "lse_raw", ROWS, 0), *logprob[2];
    struct array *entropy = output(judge, "entropy", ROWS, 0);
    struct array *token = output_i32(judge, "token", ROWS);
    struct array *cut = output(judge, "logprob_truncated", ROWS, 0);
    struct array *confident = output_u8(judge, "confident", ROWS);
    struct array *drawn =
        input_i32(judge, "row", ROWS * (int64_t)(sizeof(struct op_sample_row) / 4));
    for (uint32_t t = 0; t < ROWS; t++) {
        const struct op_sample_row row = {7, t, 3, t, temperature, 1.0f, 0};
        memcpy(drawn->i + t * (sizeof row / 4), &row, sizeof row);
    }
    for (int i = 0; i < 2; i++) {
        lse[i] = output(judge, i ? "lse" : "lse in pieces", ROWS, 0);
        logprob[i] = output(judge, i ? "logprob trained" : "logprob sampled", ROWS, 0);
    }
    for (int64_t row = 0, piece = 0, p = 0; row < ROWS; row += piece, p++) {
        piece = piece_of((int)p, ROWS - row);
        CALL(judge, lm_head, .rows = piece, .channels = channels, .vocabulary = vocabulary,
             .temperature = temperature, .bf16 = bf16, .x = DEV_FROM(x, row * channels),
             .packed = DEV(weight), .mid = DEV(plane), .logits = DEV_FROM(logits, row * vocabulary),
             .lse = DEV_FROM(lse[0], row), .lse_raw = DEV_FROM(raw, row));
    }
    CALL(judge, sample, .rows = ROWS, .vocabulary = vocabulary, .logits = DEV(logits),
         .lse = DEV(lse[0]), .lse_raw = DEV(raw), .row = DEV(drawn),
         .repetition_probability = 0.99f, .token = DEV(token), .logprob = DEV(logprob[0]),
         .logprob_truncated = DEV(cut), .confident = DEV(confident));
    CALL(judge, lm_head, .rows = ROWS, .channels = channels, .vocabulary = vocabulary,
         .temperature = temperature, .bf16 = bf16, .x = DEV(x), .packed = DEV(weight),
         .mid = DEV(plane), .target = DEV(token), .lse = DEV(lse[1]), .logprob = DEV(logprob[1]),
         .entropy = DEV(entropy));
    same_bits(judge, lse[0], lse[1]);
    same_bits(judge, logprob[0], logprob[1]);
    gpu_done(judge);
}

static inline void gpu_rows_lm_head(struct judge *judge)
{
    bool planes = judge->table[0]->weight_bytes == 2;
    for (int mode = 0; mode < 6; mode++) {
        bool mid = mode % 3 == 1, bf16 = mode % 3 == 2;
        float temperature = mode < 3 ? 1.0f : 0.7f;
        if (mid && !planes)
            continue;
        head_pieces(judge, 128, 1000, mid, temperature, bf16);
        head_pieces(judge, 96, 331, mid, temperature, bf16);
        head_pieces(judge, 256, 20000, mid, temperature, bf16);
    }
}

#endif
