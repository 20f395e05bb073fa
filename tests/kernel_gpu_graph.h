/* tests/kernel_gpu_graph.h - recorded decode steps with padding against calls one by one, at every position; and the
 * list of all checks of tests/kernel_gpu*.h. */
#ifndef TESTS_KERNEL_GPU_GRAPH_H
#define TESTS_KERNEL_GPU_GRAPH_H

#include "tests/kernel_gpu_attention.h"

/* ---- graphs and padding --------------------------------------------------------------------------- */

#define STEP_ROWS 5 /* of a recorded decode step: SLOTS of them used, in the odd places padding */

struct decoder {
    int64_t heads, kv_heads, size, stride;     /* fused q, k, v */
    struct array *fused, *row, *rotated, *out; /* all rows; one step's */
    struct array *positions, *segments, *cosine, *sine, *pages, *places;
};

static inline void decoder_calls(struct judge *judge, const struct decoder *d)
{
    CALL(judge, attention_prepare, .rows = STEP_ROWS, .heads = d->heads, .kv_heads = d->kv_heads,
         .head_size = d->size, .rotary = d->size, .row_stride = d->stride, .eps = 1e-6f,
         .positions = DEV(d->positions), .cosine = DEV(d->cosine), .sine = DEV(d->sine),
         .segments = DEV(d->segments), .segment_count = STEP_ROWS, .x = DEV(d->row),
         .y = DEV(d->rotated), .pages = DEV(d->pages), .page_table = DEV(d->places),
         .pages_per_slot = PAGES_PER_SLOT);
    CALL(judge, attention, .rows = STEP_ROWS, .heads = d->heads, .kv_heads = d->kv_heads,
         .head_size = d->size, .q_stride = d->stride, .y_stride = d->heads * d->size,
         .segments = DEV(d->segments), .segment_count = STEP_ROWS, .q = DEV(d->rotated),
         .pages = DEV(d->pages), .page_table = DEV(d->places), .pages_per_slot = PAGES_PER_SLOT,
         .y = DEV(d->out));
}

/* Row 2 slot of a step is the token of that slot; the rows between are padding. */
static inline void decoder_aim(struct judge *judge, const struct decoder *d, int32_t position)
{
    struct op_table *table = judge->table[0];
    struct op_segment segments[STEP_ROWS];
    int32_t positions[STEP_ROWS];
    for (int32_t t = 0; t < STEP_ROWS; t++) {
        bool used = t % 2 == 0;
        segments[t] = (struct op_segment){used ? t / 2 : -1, used ? position : 0, t, 1};
        positions[t] = segments[t].position;
        int64_t from = (t / 2 * SEQUENCE + position) * d->stride;
        CHECK(table->memory_copy(table->context, DEV_FROM(d->row, t * d->stride),
                                 DEV_FROM(d->fused, from),
                                 (size_t)(d->stride * table->act_bytes)) == STATUS_OK);
    }
    CHECK(table->memory_write(table->context, DEV(d->segments), segments, sizeof segments) ==
          STATUS_OK);
    CHECK(table->memory_write(table->context, DEV(d->positions), positions, sizeof positions) ==
          STATUS_OK);
}

/* All tokens, each step a run of the graph; y [slots, SEQUENCE, H D]. */
static inline void decoder_run(struct judge *judge, const struct decoder *d, struct array *y)
{
    struct op_table *table = judge->table[0];
    int64_t width = d->heads * d->size;
    void *graph = NULL;
    decoder_aim(judge, d, 0);
    decoder_calls(judge, d);
    judge_ran(judge, 0, table->graph_begin(table->context));
    decoder_calls(judge, d);
    judge_ran(judge, 0, table->graph_end(table->context, &graph));
    for (int32_t position = 0; graph && position < SEQUENCE; position++) {
        decoder_aim(judge, d, position);
        judge_ran(judge, 0, table->graph_run(table->context, graph));
        for (int32_t slot = 0; slot < SLOTS; slot++)
            CHECK(table->memory_copy(table->context,
                                     DEV_FROM(y, (slot * SEQUENCE + position) * width),
                                     DEV_FROM(d->out, 2 * slot * width),
                                     (size_t)(width * table->act_bytes)) == STATUS_OK);
    }
    if (graph)
        table->graph_destroy(table->context, &graph);
}

/* Prompts in one call, as training does: y of all rows. */
static inline void decoder_whole(struct judge *judge, const struct decoder *d, struct array *y)
{
    int64_t rows = SLOTS * SEQUENCE;
    struct array *positions = input_i32(judge, "positions", rows);
    struct array *segments = all_segments(judge);
    struct array *rotated = output_act(judge, "rotated", rows * d->stride, 0);
    struct array *pages = opaque(judge, "pages", pages_bytes(judge, d->kv_heads, d->size));
    for (int32_t i = 0; i < rows; i++)
        positions->i[i] = i % SEQUENCE;
    CALL(judge, attention_prepare, .rows = rows, .heads = d->heads, .kv_heads = d->kv_heads,
         .head_size = d->size, .rotary = d->size, .row_stride = d->stride, .eps = 1e-6f,
         .positions = DEV(positions), .cosine = DEV(d->cosine), .sine = DEV(d->sine),
         .segments = DEV(segments), .segment_count = SLOTS, .x = DEV(d->fused), .y = DEV(rotated),
         .pages = DEV(pages), .page_table = DEV(d->places), .pages_per_slot = PAGES_PER_SLOT);
    CALL(judge, attention, .rows = rows, .heads = d->heads, .kv_heads = d->kv_heads,
         .head_size = d->size, .q_stride = d->stride, .y_stride = d->heads * d->size,
         .segments = DEV(segments), .segment_count = SLOTS, .q = DEV(rotated), .pages = DEV(pages),
         .page_table = DEV(d->places), .pages_per_slot = PAGES_PER_SLOT, .y = DEV(y));
}

static inline void gpu_graph_decode(struct judge *judge)
{
    for (int h = 0; h < 4; h++) {
        struct decoder d = {
            .heads = gpu_heads[h][0], .kv_heads = gpu_heads[h][1], .size = gpu_heads[h][2]};
        int64_t rows = SLOTS * SEQUENCE, width = d.heads * d.size;
        d.stride = width + 2 * d.kv_heads * d.size;
        SHAPE(judge, "heads %" PRId64 "/%" PRId64 " size %" PRId64, d.heads, d.kv_heads, d.size);
        d.fused = input_act(judge, "fused", rows * d.stride, 1);
        d.row = output_act(judge, "row", STEP_ROWS * d.stride, 0);
        d.rotated = output_act(judge, "rotated row", STEP_ROWS * d.stride, 0);
        d.out = output_act(judge, "out", STEP_ROWS * width, 0);
        d.positions = input_i32(judge, "positions of a step", STEP_ROWS);
        d.segments = input_i32(judge, "segments of a step", STEP_ROWS * 4);
        d.cosine = angles_of(judge, "cosine", SEQUENCE, d.size / 2, cos);
        d.sine = angles_of(judge, "sine", SEQUENCE, d.size / 2, sin);
        d.pages = opaque(judge, "pages", pages_bytes(judge, d.kv_heads, d.size));
        d.places = page_table_of(judge);
        struct array *y = output_act(judge, "y of a recorded decode", rows * width, 0);
        struct array *whole = output_act(judge, "y of prompts", rows * width, 0);
        decoder_run(judge, &d, y);
        decoder_whole(judge, &d, whole);
        same_bits(judge, y, whole);
        gpu_done(judge);
    }
}

/* ---- lightning, products and experts in a graph ----------------------------------------------------- */

/* The same tokens twice: calls one by one, and runs of one recorded call with new segments and rows; every
 * second segment is padding. y [SEQUENCE steps, STEP_ROWS, H D]. */
static inline void gpu_graph_lightning(struct judge *judge)
{
    static const struct lightning_shape list[] = {{4, 64, 64}, {2, 128, 64}, {3, 16, 32}};
    enum { STEPS = 150 };
    for (int n = 0; n < COUNT(list); n++) {
        struct lightning_shape s = list[n];
        struct op_table *table = judge->table[0];
        int64_t stride = s.heads * 3 * s.size, width = s.heads * s.size;
        int64_t cells = SLOTS * s.heads * s.chunk * s.size;
        size_t row_bytes = (size_t)(STEP_ROWS * stride * table->act_bytes);
        size_t out_bytes = (size_t)(STEP_ROWS * width * table->act_bytes);
        SHAPE(judge, "heads %" PRId64 " size %" PRId64 " chunk %" PRId64, s.heads, s.size, s.chunk);
        struct array *slopes = slopes_of(judge, s.heads);
        struct array *qkv = input_act(judge, "qkv", STEPS * STEP_ROWS * stride, 1);
        struct array *row = output_act(judge, "row", STEP_ROWS * stride, 0);
        struct array *out = output_act(judge, "out", STEP_ROWS * width, 0), *y[2];
        struct array *segments = input_i32(judge, "segments", STEP_ROWS * 4);
        for (int i = 0; i < 2; i++) {
            struct array *state = lightning_state(judge, s.heads, s.size, 0);
            struct array *k = opaque(judge, "k_buffer", (size_t)cells * sizeof(float));
            struct array *v = opaque(judge, "v_buffer", (size_t)cells * sizeof(float));
            y[i] = output_act(judge, i ? "y recorded" : "y", STEPS * STEP_ROWS * width, 0);
            const struct op_lightning args = {.rows = STEP_ROWS,
                                              .heads = s.heads,
                                              .head_size = s.size,
                                              .row_stride = stride,
                                              .head_stride = 3 * s.size,
                                              .chunk = s.chunk,
                                              .slopes = DEV(slopes),
                                              .segments = DEV(segments),
                                              .segment_count = STEP_ROWS,
                                              .q = DEV(row),
                                              .k = DEV_FROM(row, s.size),
                                              .v = DEV_FROM(row, 2 * s.size),
                                              .state = DEV(state),
                                              .k_buffer = DEV(k),
                                              .v_buffer = DEV(v),
                                              .y = DEV(out)};
            void *graph = NULL;
            if (i == 1) {
                judge_ran(judge, 0, table->graph_begin(table->context));
                judge_ran(judge, 0, table->lightning(table->context, &args));
                judge_ran(judge, 0, table->graph_end(table->context, &graph));
            }
            for (int32_t step = 0; step < STEPS; step++) {
                struct op_segment tokens[STEP_ROWS];
                for (int32_t t = 0; t < STEP_ROWS; t++)
                    tokens[t] = (struct op_segment){t % 2 ? -1 : t / 2, t % 2 ? 0 : step, t, 1};
                CHECK(table->memory_write(table->context, DEV(segments), tokens, sizeof tokens) ==
                      STATUS_OK);
                CHECK(table->memory_copy(table->context, DEV(row),
                                         DEV_FROM(qkv, step * STEP_ROWS * stride),
                                         row_bytes) == STATUS_OK);
                CHECK(table->memory_zero(table->context, DEV(out), out_bytes) == STATUS_OK);
                judge_ran(judge, 0,
                          graph ? table->graph_run(table->context, graph)
                                : table->lightning(table->context, &args));
                for (int32_t t = 0; t < STEP_ROWS; t += 2)
                    CHECK(table->memory_copy(
                              table->context, DEV_FROM(y[i], (step * STEP_ROWS + t) * width),
                              DEV_FROM(out, t * width), out_bytes / STEP_ROWS) == STATUS_OK);
            }
            if (graph)
                table->graph_destroy(table->context, &graph);
        }
        same_bits(judge, y[0], y[1]);
        gpu_done(judge);
    }
}

struct step_arrays {
    struct array *row, *weight, *table, *logits, *probability, *expert, *share, *entry, *sorted;
    struct array *offset, *sent, *made, *mixed, *vocabulary, *lse;
    int64_t channels, words;
};

enum { STEP_EXPERTS = 8, STEP_TOP = 2 };

/* A layer of experts and a head, as a decode step has them. */
static inline void step_calls(struct judge *judge, const struct step_arrays *a)
{
    int64_t c = a->channels;
    CALL(judge, linear, .rows = STEP_ROWS, .experts = 1, .n = STEP_EXPERTS, .k = c, .x_stride = c,
         .y_stride = STEP_EXPERTS, .virtual_tp = 1, .x = DEV(a->row), .packed = DEV(a->table),
         .y_float = DEV(a->logits));
    CALL(judge, moe_route, .rows = STEP_ROWS, .experts = STEP_EXPERTS, .top = STEP_TOP,
         .logits = DEV(a->logits), .expert = DEV(a->expert), .weight = DEV(a->share),
         .entry = DEV(a->entry), .sorted = DEV(a->sorted), .expert_offset = DEV(a->offset));
    CALL(judge, moe_gather, .rows = STEP_ROWS, .channels = c, .top = STEP_TOP, .x = DEV(a->row),
         .entry = DEV(a->entry), .y = DEV(a->sent));
    CALL(judge, linear, .rows = STEP_ROWS * STEP_TOP, .experts = STEP_EXPERTS, .n = c, .k = c,
         .x_stride = c, .y_stride = c, .virtual_tp = 1, .x = DEV(a->sent), .packed = DEV(a->weight),
         .expert_offset = DEV(a->offset), .y = DEV(a->made));
    CALL(judge, moe_combine, .rows = STEP_ROWS, .channels = c, .top = STEP_TOP, .x = DEV(a->made),
         .sorted = DEV(a->sorted), .weight = DEV(a->share), .y = DEV(a->mixed));
    CALL(judge, lm_head, .rows = STEP_ROWS, .channels = c, .vocabulary = a->words,
         .temperature = 1.0f, .x = DEV(a->mixed), .packed = DEV(a->table),
         .logits = DEV(a->vocabulary), .lse = DEV(a->lse));
}

static inline void gpu_graph_products(struct judge *judge)
{
    enum { STEPS = 20 };
    struct op_table *table = judge->table[0];
    struct step_arrays a = {.channels = 256, .words = 4104};
    int64_t cells = STEP_ROWS * a.channels, entries = STEP_ROWS * STEP_TOP;
    SHAPE(judge, "rows %d channels %" PRId64, STEP_ROWS, a.channels);
    struct array *x = input_act(judge, "x", STEPS * cells, 1), *logits[2];
    a.row = output_act(judge, "row", cells, 0);
    a.weight = input_act(judge, "weight", STEP_EXPERTS * a.channels * a.channels, 0.06);
    a.table = input_act(judge, "table", a.words * a.channels, 0.1);
    a.logits = output(judge, "router", STEP_ROWS * STEP_EXPERTS, 0);
    a.expert = output_i32(judge, "expert", entries);
    a.share = output(judge, "weight", entries, 0);
    a.entry = output_i32(judge, "entry", entries);
    a.sorted = output_i32(judge, "sorted", entries);
    a.offset = output_i32(judge, "expert_offset", STEP_EXPERTS + 1);
    a.sent = output_act(judge, "sent", entries * a.channels, 0);
    a.made = output_act(judge, "made", entries * a.channels, 0);
    a.mixed = output_act(judge, "mixed", cells, 0);
    a.vocabulary = output(judge, "logits of a step", STEP_ROWS * a.words, 0);
    a.lse = output(judge, "lse", STEP_ROWS, 0);
    for (int i = 0; i < 2; i++) {
        void *graph = NULL;
        logits[i] = output(judge, i ? "logits recorded" : "logits", STEPS * STEP_ROWS * a.words, 0);
        if (i == 1) {
            judge_ran(judge, 0, table->graph_begin(table->context));
            step_calls(judge, &a);
            judge_ran(judge, 0, table->graph_end(table->context, &graph));
        }
        for (int step = 0; step < STEPS; step++) {
            CHECK(table->memory_copy(table->context, DEV(a.row), DEV_FROM(x, step * cells),
                                     (size_t)(cells * table->act_bytes)) == STATUS_OK);
            if (graph)
                judge_ran(judge, 0, table->graph_run(table->context, graph));
            else
                step_calls(judge, &a);
            CHECK(table->memory_copy(table->context,
                                     DEV_FROM(logits[i], step * STEP_ROWS * a.words),
                                     DEV(a.vocabulary),
                                     (size_t)(STEP_ROWS * a.words) * sizeof(float)) == STATUS_OK);
        }
        if (graph)
            table->graph_destroy(table->context, &graph);
    }
    same_bits(judge, logits[0], logits[1]);
    gpu_done(judge);
}

/* ---- the list ------------------------------------------------------------------------------------- */

static const struct op_case gpu_checks[] = {
    {"split_planes", gpu_split_planes},       {"digest", gpu_digest},
    {"rows_linear", gpu_rows_linear},         {"experts_linear", gpu_experts_linear},
    {"residual_parts", gpu_residual_parts},   {"prepare_parts", gpu_prepare_parts},
    {"rows_attention", gpu_rows_attention},   {"mid_linear", gpu_mid_linear},
    {"mid_lm_head", gpu_mid_lm_head},         {"rows_lightning", gpu_rows_lightning},
    {"rows_lm_head", gpu_rows_lm_head},       {"graph_decode", gpu_graph_decode},
    {"graph_lightning", gpu_graph_lightning}, {"graph_products", gpu_graph_products},
};

static inline void gpu_check_run(struct judge *judge, int check, struct op_table *table,
                                 struct op_table *oracle, const char *variant)
{
    *judge = (struct judge){.table = {table, oracle},
                            .op = gpu_checks[check].name,
                            .variant = variant,
                            .seed = test_seed()};
    rng_init(&judge->rng, judge->seed, (uint64_t)check, RNG_TEST);
    gpu_checks[check].run(judge);
}

#endif
