/* tests/kernel_cases_attention.h - parity cases: softmax attention over pages, lightning attention. */
#ifndef TESTS_KERNEL_CASES_ATTENTION_H
#define TESTS_KERNEL_CASES_ATTENTION_H

#include "tests/kernel_cases_dense.h"

/* ---- softmax attention ---------------------------------------------------------------------------- */

#define SLOTS          3
#define PAGES_PER_SLOT 5

static const int64_t head_list[][3] = {{4, 2, 8},  {3, 1, 16}, {4, 2, 64}, {2, 2, 128},
                                       {4, 2, 24}, {4, 2, 32}, {4, 1, 256}};

static inline int head_shapes(const struct judge *judge)
{
    return COUNT(head_list) - (judge_small(judge) ? 2 : 0);
}

/* Pages of the slots are interleaved and not in order. */
static inline struct array *page_table_of(struct judge *judge)
{
    struct array *table = input_i32(judge, "page_table", SLOTS * PAGES_PER_SLOT);
    for (int32_t i = 0; i < SLOTS * PAGES_PER_SLOT; i++)
        table->i[i] = i * 7 % (SLOTS * PAGES_PER_SLOT);
    return table;
}

static inline size_t pages_bytes(struct judge *judge, int64_t kv_heads, int64_t size)
{
    struct op_table *a = judge->table[0], *b = judge->table[1];
    size_t first = a->kv_page_bytes(a->context, kv_heads, size);
    size_t second = b->kv_page_bytes(b->context, kv_heads, size);
    return SLOTS * PAGES_PER_SLOT * (first > second ? first : second);
}

/* Pages whose cells are compared, all unwritten at first. */
static inline struct array *output_pages(struct judge *judge, const struct array *page_table,
                                         int64_t kv_heads, int64_t size, double bound)
{
    int64_t tile = judge->table[0]->kv_tile, other = judge->table[1]->kv_tile;
    tile = tile < other ? tile : other;
    struct array *pages =
        output(judge, "pages", 2 * SLOTS * PAGES_PER_SLOT * tile * kv_heads * size, bound);
    pages->kind = ARRAY_PAGES;
    pages->kv_heads = kv_heads;
    pages->head_size = size;
    pages->slots = SLOTS;
    pages->pages_per_slot = PAGES_PER_SLOT;
    pages->page_table = page_table->i;
    return pages;
}

static inline struct array *segments_of(struct judge *judge, const struct op_segment *segments,
                                        int count)
{
    struct array *array = input_i32(judge, "segments", count * 4);
    memcpy(array->i, segments, (size_t)count * sizeof *segments);
    return array;
}

/* Segments on both sides of tile ends and at odd positions. */
static const struct op_segment kv_segments[] = {
    {.slot = 1, .position = 0, .row = 0, .count = 1},
    {.slot = 0, .position = 61, .row = 1, .count = 70},
    {.slot = 2, .position = 127, .row = 71, .count = 2},
};

/* Cells outside the segments must stay untouched. */
static inline void case_kv_write(struct judge *judge)
{
    for (int h = 0; h < head_shapes(judge); h++) {
        int64_t kv_heads = head_list[h][1], size = head_list[h][2], rows = 73;
        int64_t stride = 2 * kv_heads * size + 3;
        SHAPE(judge, "kv heads %" PRId64 " size %" PRId64, kv_heads, size);
        struct array *k = input_act(judge, "k", rows * stride, 1);
        struct array *v = input_act(judge, "v", rows * stride, 1);
        struct array *table = page_table_of(judge);
        struct array *pages = output_pages(judge, table, kv_heads, size, 0);
        struct array *segments = segments_of(judge, kv_segments, COUNT(kv_segments));
        RUN(judge, kv_write, .rows = rows, .kv_heads = kv_heads, .head_size = size,
            .row_stride = stride, .segments = AT(segments), .segment_count = COUNT(kv_segments),
            .k = AT(k), .v = AT(v), .pages = AT(pages), .page_table = AT(table),
            .pages_per_slot = PAGES_PER_SLOT);
        judge_compare(judge);
    }
}

/* Norm, rotation and a write to pages: the bound of the norm, and three roundings of the rotation. */
static inline void case_attention_prepare(struct judge *judge)
{
    for (int h = 0; h < head_shapes(judge); h++)
        for (int n = 0; n < 4; n++) {
            bool norm = n % 2 == 1, in_place = n >= 2, pages_too = n != 3;
            int64_t heads = head_list[h][0], kv_heads = head_list[h][1], size = head_list[h][2];
            int64_t rows = 73, stride = (heads + 2 * kv_heads) * size;
            int64_t rotary = n == 2 ? 0 : n == 1 ? size / 2 : size, half = rotary / 2;
            SHAPE(judge, "heads %" PRId64 "/%" PRId64 " size %" PRId64 " rotary %" PRId64 " %d",
                  heads, kv_heads, size, rotary, n);
            double bound = sum_bound(size) + 8 * UNIT;
            struct array *q_gain = norm ? input_act(judge, "q_gain", size, 1) : NULL;
            struct array *k_gain = norm ? input_act(judge, "k_gain", size, 1) : NULL;
            struct array *r_q = norm ? output(judge, "r_q", rows * heads, bound) : NULL;
            struct array *r_k = norm ? output(judge, "r_k", rows * kv_heads, bound) : NULL;
            struct array *positions = input_i32(judge, "positions", rows);
            for (int s = 0; s < COUNT(kv_segments); s++)
                for (int32_t i = 0; i < kv_segments[s].count; i++)
                    positions->i[kv_segments[s].row + i] = kv_segments[s].position + i;
            struct array *cosine = angles_of(judge, "cosine", 300, half, cos);
            struct array *sine = angles_of(judge, "sine", 300, half, sin);
            struct array *x = in_out_act(judge, "x", rows * stride, 1, bound);
            struct array *y = in_place ? x : output_act(judge, "y", rows * stride, bound);
            struct array *table = page_table_of(judge);
            struct array *pages =
                pages_too ? output_pages(judge, table, kv_heads, size, bound) : NULL;
            struct array *segments = segments_of(judge, kv_segments, COUNT(kv_segments));
            if (norm) { /* the rotation mixes two numbers of up to 4 times the rms that are rounded already */
                y->inner = 4 * BF16_UNIT;
                if (pages)
                    pages->inner = 4 * BF16_UNIT;
            }
            RUN(judge, attention_prepare, .rows = rows, .heads = heads, .kv_heads = kv_heads,
                .head_size = size, .rotary = rotary, .row_stride = stride, .eps = 1e-6f,
                .q_gain = AT(q_gain), .k_gain = AT(k_gain), .r_q = AT(r_q), .r_k = AT(r_k),
                .positions = AT(positions), .cosine = AT(cosine), .sine = AT(sine),
                .segments = AT(segments), .segment_count = COUNT(kv_segments), .x = AT(x),
                .y = AT(y), .pages = AT(pages), .page_table = AT(table),
                .pages_per_slot = PAGES_PER_SLOT, .one_plus = h % 2 == 1);
            judge_compare(judge);
        }
}

/* Scores of size about 2 carry an error of sum_bound(D) each, which exp turns into a relative one; the
 * weighted mean over up to 300 values adds its own. 4 covers the size of the scores and the merges. */
static inline double attention_bound(int64_t size)
{
    return 4.0 * (sum_bound(size) + sum_bound(300));
}

/* Writes whole sequences into pages on both sides; query rows then stand anywhere in them. */
static inline struct array *filled_pages(struct judge *judge, struct array *table, int64_t kv_heads,
                                         int64_t size, int64_t tokens)
{
    struct op_segment whole[SLOTS];
    for (int32_t i = 0; i < SLOTS; i++)
        whole[i] = (struct op_segment){i, 0, (int32_t)(i * tokens), (int32_t)tokens};
    int64_t stride = kv_heads * size;
    struct array *k =
        input_act(judge, "k", SLOTS * tokens * stride, 2.0 / sqrt(sqrt((double)size)));
    struct array *v = input_act(judge, "v", SLOTS * tokens * stride, 1);
    struct array *pages = opaque(judge, "pages", pages_bytes(judge, kv_heads, size));
    struct array *segments = segments_of(judge, whole, SLOTS);
    RUN(judge, kv_write, .rows = SLOTS * tokens, .kv_heads = kv_heads, .head_size = size,
        .row_stride = stride, .segments = AT(segments), .segment_count = SLOTS, .k = AT(k),
        .v = AT(v), .pages = AT(pages), .page_table = AT(table), .pages_per_slot = PAGES_PER_SLOT);
    return pages;
}

/* Windows: none, one key, inside a tile, over the edges of tiles, longer than any sequence. */
static const int32_t window_list[] = {0, 1, 5, 64, 100, 129, 1000};

struct attention_shape {
    int64_t heads, kv_heads, size;
    const struct op_segment *segments;
    int64_t pad;
    int32_t window;
    float scale;
    bool lse;
};

static inline void run_attention(struct judge *judge, const struct attention_shape *s)
{
    const struct op_segment *last = &s->segments[SLOTS - 1];
    int64_t rows = last->row + last->count, stride = s->heads * s->size, size = s->size;
    SHAPE(judge,
          "heads %" PRId64 "/%" PRId64 " size %" PRId64 " rows %" PRId64 " window %d scale %g",
          s->heads, s->kv_heads, size, rows, s->window, (double)s->scale);
    struct array *table = page_table_of(judge);
    struct array *pages = filled_pages(judge, table, s->kv_heads, size, 270);
    struct array *q =
        input_act(judge, "q", rows * (stride + 4 * s->pad), 1.0 / sqrt(sqrt((double)size)) * 2.0);
    struct array *y = output_act(judge, "y", rows * (stride + 2 * s->pad), attention_bound(size));
    struct array *lse = output(judge, "lse", rows * s->heads, attention_bound(size));
    struct array *cut = segments_of(judge, s->segments, SLOTS);
    /* P is rounded before it meets V: a mean with weights off by 2^-8 of values of size 1. */
    y->inner = BF16_UNIT;
    y->size = judge_bf16(judge) ? 1 : 0;
    if (!judge->run_failed)
        RUN(judge, attention, .rows = rows, .heads = s->heads, .kv_heads = s->kv_heads,
            .head_size = size, .q_stride = stride + 4 * s->pad, .y_stride = stride + 2 * s->pad,
            .segments = AT(cut), .segment_count = SLOTS, .q = AT(q), .pages = AT(pages),
            .page_table = AT(table), .pages_per_slot = PAGES_PER_SLOT, .y = AT(y),
            .lse = s->lse ? AT(lse) : NULL, .window = s->window, .scale = s->scale);
    judge_compare(judge);
}

/* Without a window, and each with one of the windows, one after another. */
static inline void case_attention(struct judge *judge)
{
    static const struct op_segment segments[][SLOTS] = {
        {{2, 0, 0, 65}, {0, 63, 65, 1}, {1, 64, 66, 3}},
        {{0, 257, 0, 1}, {1, 127, 1, 2}, {2, 0, 3, 1}},
        {{1, 31, 0, 200}, {0, 128, 200, 64}, {2, 5, 264, 7}},
    };
    int turn = 0;
    for (int h = 0; h < head_shapes(judge); h++)
        for (int s = 0; s < COUNT(segments); s++) {
            if (judge_small(judge) && s != h % COUNT(segments) && head_list[h][2] >= 64)
                continue;
            struct attention_shape shape = {.heads = head_list[h][0],
                                            .kv_heads = head_list[h][1],
                                            .size = head_list[h][2],
                                            .segments = segments[s],
                                            .pad = (h + s) % 2, /* without it rows are aligned */
                                            .lse = s != 1};
            run_attention(judge, &shape);
            shape.window = window_list[1 + turn++ % (COUNT(window_list) - 1)];
            shape.scale = s == 0 ? 0.11f : 0;
            shape.lse = true;
            run_attention(judge, &shape);
        }
}

/* y and lse of both sides come from the oracle's forward pass: gradients only are judged. */
static inline void oracle_forward(struct judge *judge, const struct op_attention *args,
                                  struct array *k, struct array *v, int64_t stride)
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
static inline void case_attention_backward(struct judge *judge)
{
    static const struct op_segment sets[][SLOTS] = {{{1, 0, 0, 1}, {0, 0, 1, 130}, {2, 0, 131, 67}},
                                                    {{0, 0, 0, 9}, {1, 0, 9, 17}, {2, 0, 26, 2}}};
    int each =
        judge_small(judge) ? 4 : 8; /* of a head shape: both sets, pad or not, window or not */
    for (int h = 0; h < each * head_shapes(judge); h++) {
        const int64_t *list = head_list[h / each], pad = h % 2;
        if (judge_small(judge) && list[2] >= 64 && h / 2 % 2 != pad)
            continue;
        const struct op_segment *segments = sets[h / 2 % 2], *last = &segments[SLOTS - 1];
        int64_t heads = list[0], kv_heads = list[1], size = list[2];
        int64_t rows = last->row + last->count, stride = heads * size + 6 * pad,
                y_stride = heads * size + 2 * pad;
        bool windowed = each == 8 ? h / 4 % 2 == 1 : (h + h / 2) % 2 == 1;
        int32_t window = windowed ? window_list[h % COUNT(window_list)] : 0;
        float fixed = window > 0 && h % 3 == 0 ? 0.11f : 0;
        double scale = 2.0 / sqrt(sqrt((double)size)), bound = 2 * attention_bound(size);
        SHAPE(judge, "heads %" PRId64 "/%" PRId64 " size %" PRId64 " rows %" PRId64 " window %d",
              heads, kv_heads, size, rows, window);
        struct array *q = input_act(judge, "q", rows * stride, scale);
        struct array *k = input_act(judge, "k", rows * stride, scale);
        struct array *v = input_act(judge, "v", rows * stride, 1);
        struct array *y = input_act(judge, "y", rows * y_stride, 0);
        struct array *lse = input(judge, "lse", rows * heads, 0);
        struct array *dy = input_act(judge, "dy", rows * y_stride, 1);
        struct array *dq = output_act(judge, "dq", rows * stride, bound);
        struct array *dk = output_act(judge, "dk", rows * stride, bound);
        struct array *dv = output_act(judge, "dv", rows * stride, bound);
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
                                             .lse = lse->f,
                                             .window = window,
                                             .scale = fixed};
        struct array *cut = segments_of(judge, segments, SLOTS);
        /* P and dS are rounded, and y in the sum of y dy; rows that see few keys are several times the rms. */
        dq->inner = dk->inner = 3 * BF16_UNIT;
        dv->inner = 2 * BF16_UNIT;
        /* With a window of one key dq and dk are nothing but rounding. */
        dq->size = dk->size = dv->size = judge_bf16(judge) || window == 1 ? 1 : 0;
        settle(judge, q);
        settle(judge, k);
        settle(judge, v);
        oracle_forward(judge, &forward, k, v, stride);
        RUN(judge, attention_backward, .rows = rows, .heads = heads, .kv_heads = kv_heads,
            .head_size = size, .row_stride = stride, .y_stride = y_stride, .segments = AT(cut),
            .segment_count = SLOTS, .q = AT(q), .k = AT(k), .v = AT(v), .y = AT(y), .dy = AT(dy),
            .lse = AT(lse), .dq = AT(dq), .dk = AT(dk), .dv = AT(dv), .window = window,
            .scale = fixed);
        judge_compare(judge);
    }
}

/* ---- lightning attention -------------------------------------------------------------------------- */

struct lightning_shape {
    int64_t heads, size, chunk;
};

static const struct lightning_shape lightning_list[] = {{4, 8, 8},    {3, 16, 32},  {2, 64, 32},
                                                        {3, 64, 8},   {2, 24, 16},  {4, 64, 64},
                                                        {2, 128, 64}, {2, 128, 128}};

static inline int lightning_shapes(const struct judge *judge)
{
    return COUNT(lightning_list) - (judge_small(judge) ? 2 : 0);
}

static inline struct array *slopes_of(struct judge *judge, int64_t heads)
{
    struct array *slopes = input(judge, "slopes", heads, 0);
    for (int64_t h = 0; h < heads; h++)
        slopes->f[h] = (float)pow(2.0, -(double)(2 * h) - 1.0); /* decay over 2 to 500 tokens */
    return slopes;
}

/* A row is a sum over D products, times at most 200 decayed terms; the state path adds one rounding of
 * the state for each chunk. Products of two sums: the terms of both count. */
static inline double lightning_bound(int64_t size)
{
    return 2.0 * (sum_bound(size) + sum_bound(200));
}

/* Compared where both sides keep it as [slots, H, D, D]. */
static inline struct array *lightning_state(struct judge *judge, int64_t heads, int64_t size,
                                            double bound)
{
    size_t bytes = 0;
    bool same = true;
    for (int side = 0; side < 2; side++) {
        struct op_table *table = judge->table[side];
        size_t slot = table->lightning_state_bytes(table->context, heads, size);
        same = same && strncmp(table->name, "cuda", 4) != 0;
        bytes = SLOTS * slot > bytes ? SLOTS * slot : bytes;
    }
    if (!same)
        return opaque(judge, "state", bytes);
    return in_out(judge, "state", SLOTS * heads * size * size, 5, bound);
}

/* The same sequences in calls of three: what one call leaves in state and buffers, the next reads. The
 * first call holds whole starts, judged against the direct sum; the later ones continue. */
static inline void case_lightning(struct judge *judge)
{
    static const struct op_segment calls[][SLOTS] = {
        {{1, 0, 0, 65}, {0, 0, 65, 7}, {2, 0, 72, 32}},
        {{0, 7, 0, 1}, {1, 65, 1, 31}, {2, 32, 32, 100}},
        {{2, 132, 0, 5}, {1, 96, 5, 1}, {0, 8, 6, 9}},
    };
    for (int n = 0; n < lightning_shapes(judge); n++) {
        struct lightning_shape s = lightning_list[n];
        int64_t head_stride = 3 * s.size, stride = s.heads * head_stride + 4 * (n % 2);
        SHAPE(judge, "heads %" PRId64 " size %" PRId64 " chunk %" PRId64, s.heads, s.size, s.chunk);
        struct array *slopes = slopes_of(judge, s.heads);
        int64_t cells = SLOTS * s.heads * s.size;
        double bound = lightning_bound(s.size);
        struct array *state = lightning_state(judge, s.heads, s.size, bound);
        struct array *k_buffer =
            opaque(judge, "k_buffer", (size_t)(cells * s.chunk) * sizeof(float));
        struct array *v_buffer =
            opaque(judge, "v_buffer", (size_t)(cells * s.chunk) * sizeof(float));
        for (int c = 0; c < COUNT(calls); c++) {
            int64_t rows = calls[c][SLOTS - 1].row + calls[c][SLOTS - 1].count;
            struct array *qkv = input_act(judge, "qkv", rows * stride, 1);
            struct array *y = output_act(judge, "y", rows * s.heads * s.size, bound);
            struct array *segments = segments_of(judge, calls[c], SLOTS);
            /* Scores, k and the state are rounded before their second product: random errors, of which the
             * largest of 10^4 is 4 times the usual one; slow heads are twice the rms of all. */
            y->inner = 4 * BF16_UNIT;
            RUN(judge, lightning, .rows = rows, .heads = s.heads, .head_size = s.size,
                .row_stride = stride, .head_stride = head_stride, .chunk = s.chunk,
                .slopes = AT(slopes), .segments = AT(segments), .segment_count = SLOTS,
                .q = AT(qkv), .k = AT_OFFSET(qkv, s.size), .v = AT_OFFSET(qkv, 2 * s.size),
                .state = AT(state), .k_buffer = AT(k_buffer), .v_buffer = AT(v_buffer), .y = AT(y));
        }
        judge_compare(judge);
    }
}

static inline void case_lightning_backward(struct judge *judge)
{
    static const struct op_segment segments[] = {{1, 0, 0, 1}, {0, 0, 1, 97}, {2, 0, 98, 64}};
    for (int n = 0; n < lightning_shapes(judge); n++) {
        struct lightning_shape s = lightning_list[n];
        int64_t head_stride = 3 * s.size, stride = s.heads * head_stride + 4 * (n % 2), rows = 162;
        SHAPE(judge, "heads %" PRId64 " size %" PRId64 " chunk %" PRId64, s.heads, s.size, s.chunk);
        struct array *slopes = slopes_of(judge, s.heads);
        struct array *qkv = input_act(judge, "qkv", rows * stride, 1);
        struct array *dy = input_act(judge, "dy", rows * s.heads * s.size, 1);
        struct array *dqkv = output_act(judge, "dqkv", rows * stride, lightning_bound(s.size));
        struct array *cut = segments_of(judge, segments, SLOTS);
        dqkv->inner = 4 * BF16_UNIT; /* three products one after another, rounded between */
        RUN(judge, lightning_backward, .rows = rows, .heads = s.heads, .head_size = s.size,
            .row_stride = stride, .head_stride = head_stride, .chunk = s.chunk,
            .slopes = AT(slopes), .segments = AT(cut), .segment_count = SLOTS, .q = AT(qkv),
            .k = AT_OFFSET(qkv, s.size), .v = AT_OFFSET(qkv, 2 * s.size), .dy = AT(dy),
            .dq = AT(dqkv), .dk = AT_OFFSET(dqkv, s.size), .dv = AT_OFFSET(dqkv, 2 * s.size));
        judge_compare(judge);
    }
}

#endif
