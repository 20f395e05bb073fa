/* tests/kernel_gpu_attention.h - rows of both attentions that do not depend on the call they are in: prompts against
 * pieces and decode; fused preparation against its parts. */
#ifndef TESTS_KERNEL_GPU_ATTENTION_H
#define TESTS_KERNEL_GPU_ATTENTION_H

#include "tests/kernel_gpu.h"

/* ---- softmax attention ---------------------------------------------------------------------------- */

#define SEQUENCE 300 /* tokens in each of SLOTS slots; row slot * SEQUENCE + position */

static const int64_t gpu_heads[][3] = {{4, 2, 64},  {2, 2, 128}, {12, 2, 128}, {16, 2, 64},
                                       {4, 2, 24},  {3, 1, 16},  {14, 2, 64},  {8, 8, 32},
                                       {4, 1, 256}, {8, 4, 256}};
/* Windows that each head shape goes through: none, and one of these. */
static const int32_t gpu_windows[] = {100, 1, 129, 200, 64, 300};

static inline struct array *one_segment(struct judge *judge, int32_t slot, int32_t position,
                                        int64_t count)
{
    const struct op_segment segment = {slot, position, 0, (int32_t)count};
    return segments_of(judge, &segment, 1);
}

static inline struct array *all_segments(struct judge *judge)
{
    struct op_segment whole[SLOTS];
    for (int32_t i = 0; i < SLOTS; i++)
        whole[i] = (struct op_segment){i, 0, i * SEQUENCE, SEQUENCE};
    return segments_of(judge, whole, SLOTS);
}

/* The last array made is dropped: lists of segments would fill the table of arrays. */
static inline void drop_last(struct judge *judge)
{
    struct op_table *table = judge->table[0];
    struct array *array = &judge->arrays[--judge->count];
    if (array->memory[0])
        table->memory_destroy(table->context, &array->memory[0]);
    memory_free(array->host);
}

/* One slot after another, each in pieces. */
static inline void attention_in_pieces(struct judge *judge, const struct op_attention *all,
                                       struct array *q, struct array *y, struct array *lse)
{
    int64_t width = all->heads * all->head_size;
    for (int32_t slot = 0, p = 0; slot < SLOTS; slot++)
        for (int64_t position = 0, piece = 0; position < SEQUENCE; position += piece, p++) {
            int64_t row = slot * SEQUENCE + position;
            piece = piece_of(p, SEQUENCE - position);
            struct array *segment = one_segment(judge, slot, (int32_t)position, piece);
            struct op_attention args = *all;
            args.rows = piece;
            args.segments = DEV(segment);
            args.segment_count = 1;
            args.q = DEV_FROM(q, row * width);
            args.y = DEV_FROM(y, row * width);
            args.lse = DEV_FROM(lse, row * all->heads);
            judge_ran(judge, 0, judge->table[0]->attention(judge->table[0]->context, &args));
            drop_last(judge);
        }
}

/* Token by token, all slots in one call: rows of slots lie SEQUENCE rows apart. */
static inline void attention_decoded(struct judge *judge, const struct op_attention *all,
                                     struct array *q, struct array *y)
{
    int64_t width = all->heads * all->head_size;
    for (int32_t position = 0; position < SEQUENCE; position++) {
        struct op_segment tokens[SLOTS];
        for (int32_t slot = 0; slot < SLOTS; slot++)
            tokens[slot] = (struct op_segment){slot, position, slot, 1};
        struct array *segments = segments_of(judge, tokens, SLOTS);
        struct op_attention args = *all;
        args.rows = SLOTS;
        args.q_stride = args.y_stride = SEQUENCE * width;
        args.segments = DEV(segments);
        args.q = DEV_FROM(q, position * width);
        args.y = DEV_FROM(y, position * width);
        args.lse = NULL;
        judge_ran(judge, 0, judge->table[0]->attention(judge->table[0]->context, &args));
        drop_last(judge);
    }
}

static inline void gpu_rows_attention(struct judge *judge)
{
    for (int n = 0; n < 2 * COUNT(gpu_heads); n++) {
        int h = n / 2;
        int32_t window = n % 2 ? gpu_windows[h % COUNT(gpu_windows)] : 0;
        int64_t heads = gpu_heads[h][0], kv_heads = gpu_heads[h][1], size = gpu_heads[h][2];
        int64_t rows = SLOTS * SEQUENCE, cells = rows * heads * size;
        struct op_table *table = judge->table[0];
        SHAPE(judge, "heads %" PRId64 "/%" PRId64 " size %" PRId64 " window %d", heads, kv_heads,
              size, window);
        double scale = 2.0 / sqrt(sqrt((double)size));
        struct array *q = input_act(judge, "q", cells, scale);
        struct array *k = input_act(judge, "k", rows * kv_heads * size, scale);
        struct array *v = input_act(judge, "v", rows * kv_heads * size, 1);
        struct array *pages = opaque(judge, "pages", pages_bytes(judge, kv_heads, size));
        struct array *places = page_table_of(judge), *segments = all_segments(judge);
        struct array *y[3], *lse[2];
        for (int i = 0; i < 3; i++)
            y[i] = output_act(judge, i == 1 ? "y in pieces" : "y of decode", cells, 0);
        for (int i = 0; i < 2; i++)
            lse[i] = output(judge, "lse in pieces", rows * heads, 0);
        CALL(judge, kv_write, .rows = rows, .kv_heads = kv_heads, .head_size = size,
             .row_stride = kv_heads * size, .segments = DEV(segments), .segment_count = SLOTS,
             .k = DEV(k), .v = DEV(v), .pages = DEV(pages), .page_table = DEV(places),
             .pages_per_slot = PAGES_PER_SLOT);
        struct op_attention all = {.rows = rows,
                                   .heads = heads,
                                   .kv_heads = kv_heads,
                                   .head_size = size,
                                   .q_stride = heads * size,
                                   .y_stride = heads * size,
                                   .segments = DEV(segments),
                                   .segment_count = SLOTS,
                                   .q = DEV(q),
                                   .pages = DEV(pages),
                                   .page_table = DEV(places),
                                   .pages_per_slot = PAGES_PER_SLOT,
                                   .y = DEV(y[0]),
                                   .lse = DEV(lse[0]),
                                   .window = window};
        judge_ran(judge, 0, table->attention(table->context, &all));
        attention_in_pieces(judge, &all, q, y[1], lse[1]);
        attention_decoded(judge, &all, q, y[2]);
        uint8_t *kept = memory_alloc(array_bytes(judge, y[0], 0));
        CHECK(kept);
        judge_ran(judge, 0,
                  table->memory_read(table->context, DEV(y[0]), kept, array_bytes(judge, y[0], 0)));
        same_bits(judge, y[1], y[0]);
        CHECK(table->memory_write(table->context, DEV(y[0]), kept, array_bytes(judge, y[0], 0)) ==
              STATUS_OK);
        same_bits(judge, y[2], y[0]);
        same_bits(judge, lse[1], lse[0]);
        memory_free(kept);
        gpu_done(judge);
    }
}

/* attention_prepare against a copy, rms_norm of q and of k, rope and kv_write. */
static inline void prepare_by_parts(struct judge *judge, const struct op_attention_prepare *all,
                                    struct array *y)
{
    struct op_table *table = judge->table[0];
    int64_t width = all->heads * all->head_size, item = table->act_bytes;
    CHECK(table->memory_copy(table->context, DEV(y), all->x,
                             (size_t)(all->rows * all->row_stride * item)) == STATUS_OK);
    CALL(judge, rms_norm, .rows = all->rows, .groups = all->heads, .channels = all->head_size,
         .x_stride = all->row_stride, .y_stride = all->row_stride, .eps = all->eps, .x = DEV(y),
         .gain = all->q_gain, .y = DEV(y));
    CALL(judge, rms_norm, .rows = all->rows, .groups = all->kv_heads, .channels = all->head_size,
         .x_stride = all->row_stride, .y_stride = all->row_stride, .eps = all->eps,
         .x = DEV_FROM(y, width), .gain = all->k_gain, .y = DEV_FROM(y, width));
    CALL(judge, rope, .rows = all->rows, .heads = all->heads + all->kv_heads,
         .head_size = all->head_size, .rotary = all->rotary, .row_stride = all->row_stride,
         .positions = all->positions, .cosine = all->cosine, .sine = all->sine, .x = DEV(y));
}

static inline void gpu_prepare_parts(struct judge *judge)
{
    for (int h = 0; h < COUNT(gpu_heads); h++) {
        int64_t heads = gpu_heads[h][0], kv_heads = gpu_heads[h][1], size = gpu_heads[h][2];
        int64_t rows = SLOTS * SEQUENCE, stride = (heads + 2 * kv_heads) * size, half = size / 2;
        SHAPE(judge, "heads %" PRId64 "/%" PRId64 " size %" PRId64, heads, kv_heads, size);
        struct array *x = input_act(judge, "x", rows * stride, 1);
        struct array *q_gain = input_act(judge, "q_gain", size, 1);
        struct array *k_gain = input_act(judge, "k_gain", size, 1);
        struct array *positions = input_i32(judge, "positions", rows);
        for (int32_t i = 0; i < rows; i++)
            positions->i[i] = i % SEQUENCE;
        struct array *cosine = angles_of(judge, "cosine", SEQUENCE, half, cos);
        struct array *sine = angles_of(judge, "sine", SEQUENCE, half, sin);
        struct array *y = output_act(judge, "y", rows * stride, 0);
        struct array *parts = output_act(judge, "y by parts", rows * stride, 0);
        struct array *places = page_table_of(judge), *segments = all_segments(judge);
        struct array *pages[2];
        for (int i = 0; i < 2; i++)
            pages[i] = output_pages(judge, places, kv_heads, size, 0);
        const struct op_attention_prepare all = {.rows = rows,
                                                 .heads = heads,
                                                 .kv_heads = kv_heads,
                                                 .head_size = size,
                                                 .rotary = size,
                                                 .row_stride = stride,
                                                 .eps = 1e-6f,
                                                 .q_gain = DEV(q_gain),
                                                 .k_gain = DEV(k_gain),
                                                 .positions = DEV(positions),
                                                 .cosine = DEV(cosine),
                                                 .sine = DEV(sine),
                                                 .segments = DEV(segments),
                                                 .segment_count = SLOTS,
                                                 .x = DEV(x),
                                                 .y = DEV(y),
                                                 .pages = DEV(pages[0]),
                                                 .page_table = DEV(places),
                                                 .pages_per_slot = PAGES_PER_SLOT};
        struct op_table *table = judge->table[0];
        judge_ran(judge, 0, table->attention_prepare(table->context, &all));
        prepare_by_parts(judge, &all, parts);
        CALL(judge, kv_write, .rows = rows, .kv_heads = kv_heads, .head_size = size,
             .row_stride = stride, .segments = DEV(segments), .segment_count = SLOTS,
             .k = DEV_FROM(parts, heads * size), .v = DEV_FROM(parts, (heads + kv_heads) * size),
             .pages = DEV(pages[1]), .page_table = DEV(places), .pages_per_slot = PAGES_PER_SLOT);
        same_bits(judge, y, parts);
        same_bits(judge, pages[0], pages[1]);
        gpu_done(judge);
    }
}

/* ---- lightning attention -------------------------------------------------------------------------- */

struct lightning_run {
    struct op_lightning args; /* of all rows */
    struct array *qkv, *y, *step;
    int64_t head, stride;
};

/* Rows [row, row + count) of the packed sequences, as `slots` segments that start at `position`. */
static inline void lightning_rows(struct judge *judge, const struct lightning_run *run, int64_t row,
                                  struct array *segments, int64_t count, int32_t slots)
{
    struct op_table *table = judge->table[0];
    struct op_lightning args = run->args;
    int64_t width = args.heads * args.head_size;
    args.rows = slots == 1 ? count : slots;
    args.row_stride = slots == 1 ? run->stride : SEQUENCE * run->stride;
    args.q = DEV_FROM(run->qkv, row * run->stride);
    args.k = DEV_FROM(run->qkv, row * run->stride + args.head_size);
    args.v = DEV_FROM(run->qkv, row * run->stride + 2 * args.head_size);
    args.segments = DEV(segments);
    args.segment_count = slots;
    args.y = slots == 1 ? DEV_FROM(run->y, row * width) : DEV(run->step);
    judge_ran(judge, 0, table->lightning(table->context, &args));
    for (int32_t slot = 0; slots > 1 && slot < slots; slot++)
        CHECK(table->memory_copy(table->context, DEV_FROM(run->y, (slot * SEQUENCE + row) * width),
                                 DEV_FROM(run->step, slot * width),
                                 (size_t)(width * table->act_bytes)) == STATUS_OK);
    drop_last(judge);
}

/* Pieces of each slot up to token 150, then tokens of all slots together. */
static inline void lightning_in_pieces(struct judge *judge, const struct lightning_run *run)
{
    enum { DECODED_FROM = 150 };
    for (int32_t slot = 0, p = 0; slot < SLOTS; slot++)
        for (int64_t position = 0, piece = 0; position < DECODED_FROM; position += piece, p++) {
            piece = piece_of(p, DECODED_FROM - position);
            lightning_rows(judge, run, slot * SEQUENCE + position,
                           one_segment(judge, slot, (int32_t)position, piece), piece, 1);
        }
    for (int32_t position = DECODED_FROM; position < SEQUENCE; position++) {
        struct op_segment tokens[SLOTS];
        for (int32_t slot = 0; slot < SLOTS; slot++)
            tokens[slot] = (struct op_segment){slot, position, slot, 1};
        lightning_rows(judge, run, position, segments_of(judge, tokens, SLOTS), 1, SLOTS);
    }
}

static inline void gpu_rows_lightning(struct judge *judge)
{
    static const struct lightning_shape list[] = {{4, 64, 64}, {2, 128, 64}, {2, 128, 128},
                                                  {3, 16, 32}, {2, 96, 64},  {2, 24, 16}};
    for (int n = 0; n < COUNT(list); n++) {
        struct lightning_shape s = list[n];
        struct op_table *table = judge->table[0];
        int64_t rows = SLOTS * SEQUENCE, stride = s.heads * 3 * s.size;
        int64_t cells = SLOTS * s.heads * s.chunk * s.size;
        SHAPE(judge, "heads %" PRId64 " size %" PRId64 " chunk %" PRId64, s.heads, s.size, s.chunk);
        struct array *qkv = input_act(judge, "qkv", rows * stride, 1);
        struct array *slopes = slopes_of(judge, s.heads), *segments = all_segments(judge);
        struct array *step = output_act(judge, "y of a step", SLOTS * s.heads * s.size, 0), *y[2];
        for (int i = 0; i < 2; i++) {
            struct array *state = lightning_state(judge, s.heads, s.size, 0);
            struct array *k = opaque(judge, "k_buffer", (size_t)cells * sizeof(float));
            struct array *v = opaque(judge, "v_buffer", (size_t)cells * sizeof(float));
            y[i] = output_act(judge, i ? "y in pieces" : "y", rows * s.heads * s.size, 0);
            const struct lightning_run run = {.args = {.rows = rows,
                                                       .heads = s.heads,
                                                       .head_size = s.size,
                                                       .row_stride = stride,
                                                       .head_stride = 3 * s.size,
                                                       .chunk = s.chunk,
                                                       .slopes = DEV(slopes),
                                                       .segments = DEV(segments),
                                                       .segment_count = SLOTS,
                                                       .q = DEV(qkv),
                                                       .k = DEV_FROM(qkv, s.size),
                                                       .v = DEV_FROM(qkv, 2 * s.size),
                                                       .state = DEV(state),
                                                       .k_buffer = DEV(k),
                                                       .v_buffer = DEV(v),
                                                       .y = DEV(y[i])},
                                              .qkv = qkv,
                                              .y = y[i],
                                              .step = step,
                                              .stride = stride};
            if (i == 0)
                judge_ran(judge, 0, table->lightning(table->context, &run.args));
            else
                lightning_in_pieces(judge, &run);
        }
        same_bits(judge, y[0], y[1]);
        gpu_done(judge);
    }
}

#endif
