/* kernels/cpu/op_attention.c - causal softmax attention with grouped queries over pages.
 *
 * Forward: one function computes the heads of one row, whoever asks - training, prefill in pieces or
 * decode - so the bits are the same. It walks the tiles of the sequence from position 0; the tile and
 * the merge formula are in kernels/ops.h. Keys past the row's position are replaced by selection,
 * never by arithmetic, so what a page holds there does not matter.
 *
 * Backward (M1-SPEC 1.8, GQA): probabilities are recomputed from lse tile by tile; dk and dv of a tile
 * gather queries in order, dq gathers tiles in order. A task is one key head of one sequence. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "kernels/cpu/block_product.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/kv_page.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu_pool.h"

enum { TILE_VECTORS = KV_TILE / V16, HEAD_SIZE_MAX = 512 };

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static float scale_of(float scale, int64_t size)
{
    return scale != 0 ? scale : (float)(1 / sqrt((double)size));
}

/* The first position that a row at `position` attends to. */
static int64_t first_seen(int64_t position, int32_t window)
{
    return window > 0 && position >= window ? position - window + 1 : 0;
}

static const int32_t *slot_pages(const int32_t *page_table, int32_t slot, int32_t pages_per_slot)
{
    return page_table + (int64_t)slot * pages_per_slot;
}

/* ---- writing pages ------------------------------------------------------------------------------ */
static void write_row(const struct op_kv_write *args, const struct op_segment *segment, int64_t i)
{
    int64_t position = segment->position + i;
    int64_t size = args->head_size;
    const int32_t *pages = slot_pages(args->page_table, segment->slot, args->pages_per_slot);
    CHECK(position / KV_TILE < args->pages_per_slot);
    float *page = (float *)args->pages +
                  (size_t)pages[position / KV_TILE] * kv_page_floats(args->kv_heads, size);
    int64_t column = position % KV_TILE;
    int64_t row = (segment->row + i) * args->row_stride;
    for (int64_t g = 0; g < args->kv_heads; g++) {
        const float *k = (const float *)args->k + row + g * size;
        const float *v = (const float *)args->v + row + g * size;
        float *keys = page + kv_page_keys(g, size);
        float *values = page + kv_page_values(args->kv_heads, g, size);
        for (int64_t d = 0; d < size; d++)
            keys[d * KV_TILE + column] = k[d];
        memcpy(values + column * size, v, (size_t)size * sizeof *v);
    }
}

enum status CPU_NAME(kv_write)(void *context, const struct op_kv_write *args)
{
    (void)context;
    for (int32_t s = 0; s < args->segment_count; s++)
        for (int64_t i = 0; i < args->segments[s].count; i++)
            write_row(args, &args->segments[s], i);
    return STATUS_OK;
}

/* ---- forward, heads of one row --------------------------------------------------------------------- */
/* Heads of a group that are computed side by side, sharing the loads of keys and values; each sees
 * the chains that it would see alone. AVX2 has no registers for more than one. */
#if defined(CPU_ISA_avx512)
enum { HEADS_TOGETHER = 4 };
#else
enum { HEADS_TOGETHER = 1 };
#endif

struct row_state {
    float m, s;             /* running maximum and sum */
    float old;              /* what the last merge scaled by */
    float weight[KV_TILE];  /* p of the tile */
    float o[HEAD_SIZE_MAX]; /* running output */
};

/* score[r][j] = scale * (q_r . k_j) of 64 keys; every key is a chain over d. */
static inline __attribute__((always_inline)) void tile_scores(const float *q, const float *keys,
                                                              int64_t size, float scale, int heads,
                                                              v16 score[][TILE_VECTORS])
{
    v16 sum[HEADS_TOGETHER][TILE_VECTORS];
    for (int r = 0; r < heads; r++)
        for (int i = 0; i < TILE_VECTORS; i++)
            sum[r][i] = v16_set(0);
    for (int64_t d = 0; d < size; d++)
        for (int r = 0; r < heads; r++)
            for (int i = 0; i < TILE_VECTORS; i++)
                sum[r][i] += v16_set(q[r * size + d]) * v16_load(keys + d * KV_TILE + i * V16);
    for (int r = 0; r < heads; r++)
        for (int i = 0; i < TILE_VECTORS; i++)
            score[r][i] = sum[r][i] * v16_set(scale);
}

/* Keys [from, count) of the tile stay. */
static inline void mask_scores(v16 score[TILE_VECTORS], int64_t from, int64_t count)
{
    const v16i lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int i = 0; i < TILE_VECTORS; i++)
        score[i] = v16_select(lane + i * V16 < (int32_t)count, score[i], v16_set(-INFINITY));
    for (int i = 0; from > 0 && i < TILE_VECTORS; i++)
        score[i] = v16_select(lane + i * V16 < (int32_t)from, v16_set(-INFINITY), score[i]);
}

/* Keys [from, count) of a tile's values. */
struct tile_values {
    const float *values;
    int64_t from, count;
};

/* 16 * vectors channels of every o from d on; `left` exist of the last 16. Inlined with constants: a
 * full vector is loaded without a test. */
static inline __attribute__((always_inline)) void add_channels(struct row_state *row, int heads,
                                                               const struct tile_values *tile,
                                                               int64_t size, int64_t d, int vectors,
                                                               int64_t left)
{
    v16 sum[HEADS_TOGETHER][TILE_VECTORS];
    for (int r = 0; r < heads; r++)
        for (int i = 0; i < vectors; i++)
            sum[r][i] = v16_load(row[r].o + d + i * V16) * v16_set(row[r].old);
    const float *values = tile->values;
    for (int64_t j = tile->from; j < tile->count; j++)
        for (int i = 0; i < vectors; i++) {
            const v16 value = v16_load_tail(values + j * size + d + i * V16, left, 0);
            for (int r = 0; r < heads; r++)
                sum[r][i] += v16_set(row[r].weight[j]) * value;
        }
    for (int r = 0; r < heads; r++)
        for (int i = 0; i < vectors; i++)
            v16_store(row[r].o + d + i * V16, sum[r][i]);
}

/* o = o * old + sum over j in order of weight_j v_j */
static inline __attribute__((always_inline)) void
add_values(struct row_state *row, int heads, const struct tile_values *tile, int64_t size)
{
    int64_t d = 0;
    for (; d + 4 * V16 <= size; d += 4 * V16)
        add_channels(row, heads, tile, size, d, 4, V16);
    for (; d + 2 * V16 <= size; d += 2 * V16)
        add_channels(row, heads, tile, size, d, 2, V16);
    for (; d + V16 <= size; d += V16)
        add_channels(row, heads, tile, size, d, 1, V16);
    if (d < size)
        add_channels(row, heads, tile, size, d, 1, size - d);
}

/* m, s and the weights of one more tile. */
static inline void merge_tile(struct row_state *row, const v16 score[TILE_VECTORS])
{
    float largest = v16_max_lane(v16_max(v16_max(score[0], score[1]), v16_max(score[2], score[3])));
    float m = largest > row->m ? largest : row->m;
    row->old = row->s > 0 ? v16_exp(v16_set(row->m - m))[0] : 0.0F;
    v16 p[TILE_VECTORS];
    for (int i = 0; i < TILE_VECTORS; i++) {
        p[i] = v16_exp(score[i] - v16_set(m));
        v16_store(row->weight + i * V16, p[i]);
    }
    float sum = v16_sum((p[0] + p[1]) + (p[2] + p[3]));
    row->s = row->s * row->old + sum;
    row->m = m;
}

struct head_call {
    const float *q; /* of the first head */
    const float *pages;
    const int32_t *page; /* of the slot */
    int64_t position, size, kv_heads, kv_head;
    int64_t seen; /* the first position that the row attends to */
    float scale;
    bool cold; /* the first to read these pages */
};

/* Pages of other sequences have pushed this one out of the near caches: asked for early, its values
 * come while the scores are made. */
static inline void prefetch(const float *memory, int64_t floats)
{
    for (int64_t i = 0; i < floats; i += V16)
        __builtin_prefetch(memory + i);
}

static inline __attribute__((always_inline)) void attend(const struct head_call *call, int heads,
                                                         float *y, float *lse)
{
    struct row_state row[HEADS_TOGETHER];
    int64_t size = call->size;
    for (int r = 0; r < heads; r++) {
        row[r].m = -INFINITY;
        row[r].s = 0;
        memset(row[r].o, 0, (size_t)padded(size) * sizeof row[r].o[0]);
    }
    for (int64_t first = call->seen / KV_TILE * KV_TILE; first <= call->position;
         first += KV_TILE) {
        const float *page = call->pages + (size_t)call->page[first / KV_TILE] *
                                              kv_page_floats(call->kv_heads, size);
        int64_t count = at_most(KV_TILE, call->position + 1 - first);
        int64_t from = call->seen > first ? call->seen - first : 0;
        const float *values = page + kv_page_values(call->kv_heads, call->kv_head, size);
        const struct tile_values tile = {values, from, count};
        v16 score[HEADS_TOGETHER][TILE_VECTORS];
        if (call->cold)
            prefetch(values, count * size);
        tile_scores(call->q, page + kv_page_keys(call->kv_head, size), size, call->scale, heads,
                    score);
        for (int r = 0; r < heads; r++) {
            mask_scores(score[r], from, count);
            merge_tile(&row[r], score[r]);
        }
        if (call->cold && first + KV_TILE <= call->position)
            prefetch(call->pages +
                         (size_t)call->page[first / KV_TILE + 1] *
                             kv_page_floats(call->kv_heads, size) +
                         kv_page_keys(call->kv_head, size),
                     KV_TILE * size);
        add_values(row, heads, &tile, size);
    }
    for (int r = 0; r < heads; r++) {
        float inverse = 1 / row[r].s;
        for (int64_t d = 0; d < size; d++)
            y[r * size + d] = row[r].o[d] * inverse;
        if (lse != NULL)
            lse[r] = row[r].m + logf(row[r].s);
    }
}

/* `count` neighbouring heads of one group, spread evenly over the calls. */
static void attention_heads(struct head_call *call, int64_t count, float *y, float *lse)
{
    while (count > 0) {
        const int64_t calls = (count + HEADS_TOGETHER - 1) / HEADS_TOGETHER;
        const int64_t heads = (count + calls - 1) / calls;
#if defined(CPU_ISA_avx512)
        if (heads == 4)
            attend(call, 4, y, lse);
        else if (heads == 3)
            attend(call, 3, y, lse);
        else if (heads == 2)
            attend(call, 2, y, lse);
        else
#endif
            attend(call, 1, y, lse);
        call->cold = false;
        call->q += heads * call->size;
        y += heads * call->size;
        lse = lse != NULL ? lse + heads : NULL;
        count -= heads;
    }
}

/* A task is a run of up to ATTENTION_ROWS rows of one segment, for one key head. */
enum { ATTENTION_ROWS = 16 };

static int64_t segment_blocks(const struct op_segment *segment)
{
    return ((int64_t)segment->count + ATTENTION_ROWS - 1) / ATTENTION_ROWS;
}

static void attention_task(void *argument, int64_t task, int32_t worker)
{
    const struct op_attention *args = argument;
    const struct op_segment *segment = args->segments;
    int64_t per_group = args->heads / args->kv_heads;
    int64_t g = task % args->kv_heads;
    int64_t block = task / args->kv_heads;
    (void)worker;
    for (; block >= segment_blocks(segment); segment++)
        block -= segment_blocks(segment);
    struct head_call call = {.pages = args->pages,
                             .page =
                                 slot_pages(args->page_table, segment->slot, args->pages_per_slot),
                             .size = args->head_size,
                             .kv_heads = args->kv_heads,
                             .kv_head = g,
                             .scale = scale_of(args->scale, args->head_size)};
    int64_t end = at_most(segment->count, (block + 1) * ATTENTION_ROWS);
    for (int64_t i = block * ATTENTION_ROWS; i < end; i++) {
        int64_t t = segment->row + i;
        call.position = segment->position + i;
        call.seen = first_seen(call.position, args->window);
        int64_t h = g * per_group;
        call.cold = i == block * ATTENTION_ROWS;
        call.q = (const float *)args->q + t * args->q_stride + h * args->head_size;
        attention_heads(&call, per_group,
                        (float *)args->y + t * args->y_stride + h * args->head_size,
                        args->lse != NULL ? args->lse + t * args->heads + h : NULL);
    }
}

enum status CPU_NAME(attention)(void *context, const struct op_attention *args)
{
    CHECK(args->head_size <= HEAD_SIZE_MAX && args->heads % args->kv_heads == 0);
    int64_t blocks = 0;
    for (int32_t s = 0; s < args->segment_count; s++) {
        const struct op_segment *segment = &args->segments[s];
        CHECK(segment->position + segment->count <= (int64_t)args->pages_per_slot * KV_TILE);
        blocks += segment_blocks(segment);
    }
    pool_run(context, attention_task, (void *)(uintptr_t)args, blocks * args->kv_heads);
    return STATUS_OK;
}

/* ---- backward ------------------------------------------------------------------------------------- */
/* Scratch of one worker. Q rows are (row, head of the group) pairs of a block of query rows. */
enum { QUERY_PAIRS = 32 };

struct backward_scratch {
    float *k, *v, *kt, *vt, *dk, *dv; /* tile: [64, Dp] and transposed [D, 64] */
    float *q, *dy, *dq;               /* [pairs, Dp] */
    float *p, *ds;                    /* [pairs, 64] */
};

static int64_t pairs_max(int64_t per_group)
{
    return per_group > QUERY_PAIRS ? per_group : QUERY_PAIRS;
}

static size_t backward_bytes(int64_t size, int64_t per_group)
{
    int64_t wide = padded(size);
    int64_t pairs = pairs_max(per_group);
    return (size_t)(6 * KV_TILE * wide + 3 * pairs * wide + 2 * pairs * KV_TILE) * sizeof(float);
}

static struct backward_scratch backward_scratch(float *memory, int64_t size, int64_t per_group)
{
    struct backward_scratch s;
    int64_t tile = KV_TILE * padded(size);
    int64_t rows = pairs_max(per_group) * padded(size);
    s.k = memory;
    s.v = s.k + tile;
    s.kt = s.v + tile;
    s.vt = s.kt + tile;
    s.dk = s.vt + tile;
    s.dv = s.dk + tile;
    s.q = s.dv + tile;
    s.dy = s.q + rows;
    s.dq = s.dy + rows;
    s.p = s.dq + rows;
    s.ds = s.p + pairs_max(per_group) * KV_TILE;
    return s;
}

/* Copies `count` rows to [rows, Dp]; missing rows and channels are zero. */
static void load_block(const float *source, int64_t stride, int64_t count, int64_t size,
                       float *target, int64_t rows)
{
    int64_t wide = padded(size);
    memset(target, 0, (size_t)(rows * wide) * sizeof *target);
    for (int64_t i = 0; i < count; i++)
        memcpy(target + i * wide, source + i * stride, (size_t)size * sizeof *target);
}

static void store_block(float *target, int64_t stride, int64_t count, int64_t size,
                        const float *source)
{
    for (int64_t i = 0; i < count; i++)
        memcpy(target + i * stride, source + i * padded(size), (size_t)size * sizeof *target);
}

struct backward_block {
    const struct op_attention_backward *args;
    struct backward_scratch scratch;
    int64_t row;          /* of the sequence's first token in the call */
    int64_t g;            /* key head */
    int64_t tile_first;   /* position of the tile's first key */
    int64_t first, count; /* query rows, positions */
    bool add;             /* dq holds a part already */
};

/* p = exp(score - lse) for keys that the query sees, and ds = scale p (dy . v_j - dy . y). */
static void score_gradient(const struct backward_block *b, float scale)
{
    const struct op_attention_backward *args = b->args;
    int64_t per_group = args->heads / args->kv_heads;
    for (int64_t pair = 0; pair < b->count * per_group; pair++) {
        int64_t position = b->first + pair / per_group;
        int64_t h = b->g * per_group + pair % per_group;
        int64_t t = b->row + position;
        const float *y = (const float *)args->y + t * args->y_stride + h * args->head_size;
        const float *dy = b->scratch.dy + pair * padded(args->head_size);
        float *p = b->scratch.p + pair * KV_TILE;
        float *ds = b->scratch.ds + pair * KV_TILE;
        double delta = 0;
        for (int64_t d = 0; d < args->head_size; d++)
            delta += (double)dy[d] * (double)y[d];
        v16 score[TILE_VECTORS];
        for (int i = 0; i < TILE_VECTORS; i++)
            score[i] = v16_load(p + i * V16) * v16_set(scale);
        mask_scores(score, first_seen(position, args->window) - b->tile_first,
                    at_most(KV_TILE, position + 1 - b->tile_first));
        for (int i = 0; i < TILE_VECTORS; i++) {
            v16 p_i = v16_exp(score[i] - v16_set(args->lse[t * args->heads + h]));
            v16 dp_i = v16_load(ds + i * V16) - v16_set((float)delta);
            v16_store(p + i * V16, p_i);
            v16_store(ds + i * V16, p_i * dp_i * v16_set(scale));
        }
    }
}

static void load_queries(const struct backward_block *b)
{
    const struct op_attention_backward *args = b->args;
    int64_t size = args->head_size;
    int64_t per_group = args->heads / args->kv_heads;
    for (int64_t i = 0; i < b->count; i++) {
        int64_t t = b->row + b->first + i;
        int64_t at = i * per_group * padded(size);
        int64_t head = b->g * per_group * size;
        load_block((const float *)args->q + t * args->row_stride + head, size, per_group, size,
                   b->scratch.q + at, per_group);
        load_block((const float *)args->dy + t * args->y_stride + head, size, per_group, size,
                   b->scratch.dy + at, per_group);
        if (b->add)
            load_block((const float *)args->dq + t * args->row_stride + head, size, per_group, size,
                       b->scratch.dq + at, per_group);
    }
}

/* One block of queries against one tile of keys. */
static void backward_queries(const struct backward_block *b)
{
    const struct op_attention_backward *args = b->args;
    const struct backward_scratch *s = &b->scratch;
    int64_t size = args->head_size;
    int64_t wide = padded(size);
    int64_t per_group = args->heads / args->kv_heads;
    int64_t pairs = b->count * per_group;
    load_queries(b);
    block_product(&(struct block_product){pairs, KV_TILE, size, s->q, wide, 1, s->kt, KV_TILE, s->p,
                                          KV_TILE, false});
    block_product(&(struct block_product){pairs, KV_TILE, size, s->dy, wide, 1, s->vt, KV_TILE,
                                          s->ds, KV_TILE, false});
    score_gradient(b, scale_of(args->scale, size));
    block_product(&(struct block_product){KV_TILE, wide, pairs, s->p, 1, KV_TILE, s->dy, wide,
                                          s->dv, wide, true});
    block_product(&(struct block_product){KV_TILE, wide, pairs, s->ds, 1, KV_TILE, s->q, wide,
                                          s->dk, wide, true});
    block_product(&(struct block_product){pairs, wide, KV_TILE, s->ds, KV_TILE, 1, s->k, wide,
                                          s->dq, wide, b->add});
    for (int64_t i = 0; i < b->count; i++) {
        float *dq = (float *)args->dq + (b->row + b->first + i) * args->row_stride +
                    b->g * per_group * size;
        store_block(dq, size, per_group, size, s->dq + i * per_group * wide);
    }
}

/* With a window no tile is the first of all queries: dq starts from zeros. */
static void zero_queries(const struct backward_block *b, int64_t rows)
{
    const struct op_attention_backward *args = b->args;
    int64_t width = args->heads / args->kv_heads * args->head_size;
    for (int64_t t = b->row; t < b->row + rows; t++)
        memset((float *)args->dq + t * args->row_stride + b->g * width, 0,
               (size_t)width * sizeof(float));
}

struct backward_job {
    const struct op_attention_backward *args;
    struct pool *pool;
};

static void backward_task(void *argument, int64_t task, int32_t worker)
{
    const struct backward_job *job = argument;
    const struct op_attention_backward *args = job->args;
    const struct op_segment *segment = &args->segments[task / args->kv_heads];
    int64_t size = args->head_size;
    int64_t per_group = args->heads / args->kv_heads;
    int64_t rows = pairs_max(per_group) / per_group;
    struct backward_block b = {.args = args, .row = segment->row};
    struct backward_scratch *s = &b.scratch;
    b.g = task % args->kv_heads;
    b.scratch = backward_scratch(pool_scratch(job->pool, worker), size, per_group);
    if (args->window > 0)
        zero_queries(&b, segment->count);
    for (b.tile_first = 0; b.tile_first < segment->count; b.tile_first += KV_TILE) {
        int64_t at = (segment->row + b.tile_first) * args->row_stride + b.g * size;
        int64_t keys = at_most(KV_TILE, segment->count - b.tile_first);
        int64_t tile = KV_TILE * padded(size);
        load_block((const float *)args->k + at, args->row_stride, keys, size, s->k, KV_TILE);
        load_block((const float *)args->v + at, args->row_stride, keys, size, s->v, KV_TILE);
        block_transpose(s->k, padded(size), KV_TILE, size, s->kt, KV_TILE);
        block_transpose(s->v, padded(size), KV_TILE, size, s->vt, KV_TILE);
        memset(s->dk, 0, (size_t)tile * sizeof *s->dk);
        memset(s->dv, 0, (size_t)tile * sizeof *s->dv);
        int64_t end = segment->count; /* of the queries that see a key of the tile */
        if (args->window > 0)
            end = at_most(end, b.tile_first + KV_TILE - 1 + args->window);
        b.add = args->window > 0 || b.tile_first > 0;
        for (b.first = b.tile_first; b.first < end; b.first += rows) {
            b.count = at_most(rows, end - b.first);
            backward_queries(&b);
        }
        store_block((float *)args->dk + at, args->row_stride, keys, size, s->dk);
        store_block((float *)args->dv + at, args->row_stride, keys, size, s->dv);
    }
}

enum status CPU_NAME(attention_backward)(void *context, const struct op_attention_backward *args)
{
    struct backward_job job = {args, context};
    CHECK(args->head_size <= HEAD_SIZE_MAX && args->heads % args->kv_heads == 0);
    for (int32_t s = 0; s < args->segment_count; s++)
        CHECK(args->segments[s].position == 0);
    TRY(pool_reserve(context, backward_bytes(args->head_size, args->heads / args->kv_heads)));
    pool_run(context, backward_task, &job, (int64_t)args->segment_count * args->kv_heads);
    return STATUS_OK;
}
