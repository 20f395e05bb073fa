/* kernels/cpu/op_lightning.c - lightning attention (M1-SPEC 1.4 and 1.8).
 *
 * Forward: one function computes one head of one row from the state at the start of its chunk and the
 * keys and values of the chunk so far, whoever asks - training, prefill in pieces or decode - so the
 * bits are the same; the state advances at chunk ends only. The k buffer of a slot and head is kept
 * transposed, [D, chunk], so that one load takes a channel of 16 keys; v is [chunk, D].
 *
 * Decay powers come from a table per head, exp in f64 rounded once: decay[n] = exp(-s n).
 * A task is one head of one segment; it owns its state, buffers and outputs. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "kernels/cpu/block_product.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu_pool.h"

enum { CHUNK_MAX = 1024, HEAD_SIZE_MAX = 512, KEY_VECTORS = 4 };

static void fill_decay(float *decay, const float *slopes, int64_t heads, int64_t chunk)
{
    for (int64_t h = 0; h < heads; h++)
        for (int64_t n = 0; n <= chunk; n++)
            decay[h * (chunk + 1) + n] = (float)exp(-(double)slopes[h] * (double)n);
}

static enum status make_decay(void *context, const float *slopes, int64_t heads, int64_t chunk,
                              const float **decay)
{
    void *block = NULL;
    TRY(pool_shared(context, (size_t)(heads * (chunk + 1)) * sizeof(float), &block));
    fill_decay(block, slopes, heads, chunk);
    *decay = block;
    return STATUS_OK;
}

/* ---- forward, one head of one row ------------------------------------------------------------------ */
struct head {
    int64_t size, chunk;
    const float *decay; /* [chunk + 1] */
    float *state;       /* [D, D] rows are key channels */
    float *keys;        /* [D, chunk] */
    float *values;      /* [chunk, D] */
};

/* weight[j] = decay[i - j] (q . k_j) for j <= i; every key is a chain over d. */
static void key_weights(const struct head *head, const float *q, int64_t i, float *weight)
{
    for (int64_t first = 0; first <= i; first += KEY_VECTORS * V16) {
        int64_t count = i + 1 - first;
        v16 sum[KEY_VECTORS] = {{0}};
        if (first + KEY_VECTORS * V16 <= head->chunk) {
            for (int64_t d = 0; d < head->size; d++)
                for (int v = 0; v < KEY_VECTORS; v++)
                    sum[v] +=
                        v16_set(q[d]) * v16_load(head->keys + d * head->chunk + first + v * V16);
        } else {
            for (int v = 0; v * V16 < count; v++) {
                const float *keys = head->keys + first + v * V16;
                /* Lanes past the row are not read below; whole vectors stay in the buffer's row. */
                const int64_t left = head->chunk - first - v * V16;
                for (int64_t d = 0; d < head->size; d++)
                    sum[v] += v16_set(q[d]) * v16_load_tail(keys + d * head->chunk, left, 0);
            }
        }
        for (int v = 0; v < KEY_VECTORS; v++)
            v16_store(weight + first + v * V16, sum[v]);
    }
    for (int64_t j = 0; j <= i; j++)
        weight[j] *= head->decay[i - j];
}

/* 16 * vectors channels of o from d on; `left` exist of the last 16. Inlined with constants: a full
 * vector is loaded without a test. */
static inline __attribute__((always_inline)) void
output_channels(const struct head *head, const float *q, const float *weight, int64_t i,
                bool with_state, int64_t d, int vectors, int64_t left, float *y)
{
    v16 sum[KEY_VECTORS] = {{0}};
    if (with_state) {
        for (int64_t c = 0; c < head->size; c++)
            for (int v = 0; v < vectors; v++)
                sum[v] += v16_set(q[c]) *
                          v16_load_tail(head->state + c * head->size + d + v * V16, left, 0);
        for (int v = 0; v < vectors; v++)
            sum[v] *= v16_set(head->decay[i + 1]);
    }
    for (int64_t j = 0; j <= i; j++)
        for (int v = 0; v < vectors; v++)
            sum[v] += v16_set(weight[j]) *
                      v16_load_tail(head->values + j * head->size + d + v * V16, left, 0);
    for (int v = 0; v < vectors; v++)
        v16_store_tail(y + d + v * V16, sum[v], left);
}

/* Row at offset i of its chunk, whose k and v are in the buffers; with_state: a chunk came before. */
static void lightning_row(const struct head *head, const float *q, int64_t i, bool with_state,
                          float *y)
{
    float weight[CHUNK_MAX + KEY_VECTORS * V16];
    int64_t d = 0;
    key_weights(head, q, i, weight);
    for (; d + KEY_VECTORS * V16 <= head->size; d += KEY_VECTORS * V16)
        output_channels(head, q, weight, i, with_state, d, KEY_VECTORS, V16, y);
    for (; d + V16 <= head->size; d += V16)
        output_channels(head, q, weight, i, with_state, d, 1, V16, y);
    if (d < head->size)
        output_channels(head, q, weight, i, with_state, d, 1, head->size - d, y);
}

/* 16 * vectors value channels from d on of row c of the state; `left` as above. */
static inline __attribute__((always_inline)) void
advance_channels(const struct head *head, const float *weight, bool with_state, int64_t c,
                 int64_t d, int vectors, int64_t left)
{
    float *state = head->state + c * head->size + d;
    v16 sum[KEY_VECTORS] = {{0}};
    if (with_state)
        for (int v = 0; v < vectors; v++)
            sum[v] = v16_load_tail(state + v * V16, left, 0) * v16_set(head->decay[head->chunk]);
    for (int64_t j = 0; j < head->chunk; j++)
        for (int v = 0; v < vectors; v++)
            sum[v] += v16_set(weight[j]) *
                      v16_load_tail(head->values + j * head->size + d + v * V16, left, 0);
    for (int v = 0; v < vectors; v++)
        v16_store_tail(state + v * V16, sum[v], left);
}

/* S = decay[chunk] S + sum over j of decay[chunk - 1 - j] k_j^T v_j */
static void advance_state(const struct head *head, bool with_state)
{
    float weight[CHUNK_MAX];
    for (int64_t c = 0; c < head->size; c++) {
        int64_t d = 0;
        for (int64_t j = 0; j < head->chunk; j++)
            weight[j] = head->keys[c * head->chunk + j] * head->decay[head->chunk - 1 - j];
        for (; d + KEY_VECTORS * V16 <= head->size; d += KEY_VECTORS * V16)
            advance_channels(head, weight, with_state, c, d, KEY_VECTORS, V16);
        for (; d + V16 <= head->size; d += V16)
            advance_channels(head, weight, with_state, c, d, 1, V16);
        if (d < head->size)
            advance_channels(head, weight, with_state, c, d, 1, head->size - d);
    }
}

/* ---- forward over segments ------------------------------------------------------------------------- */
struct forward_job {
    const struct op_lightning *args;
    const float *decay;
};

static void store_key(const struct head *head, int64_t i, const float *k, const float *v)
{
    for (int64_t d = 0; d < head->size; d++)
        head->keys[d * head->chunk + i] = k[d];
    memcpy(head->values + i * head->size, v, (size_t)head->size * sizeof *v);
}

static void forward_task(void *argument, int64_t task, int32_t worker)
{
    const struct forward_job *job = argument;
    const struct op_lightning *args = job->args;
    const struct op_segment *segment = &args->segments[task / args->heads];
    int64_t h = task % args->heads;
    int64_t at = segment->slot * args->heads + h;
    int64_t size = args->head_size;
    int64_t chunk = args->chunk;
    (void)worker;
    struct head head = {.size = size,
                        .chunk = chunk,
                        .decay = job->decay + h * (chunk + 1),
                        .state = (float *)args->state + at * size * size,
                        .keys = (float *)args->k_buffer + at * chunk * size,
                        .values = (float *)args->v_buffer + at * chunk * size};
    if (segment->position == 0) /* rows of the first chunk never read it */
        memset(head.state, 0, (size_t)(size * size) * sizeof *head.state);
    for (int64_t r = 0; r < segment->count; r++) {
        int64_t position = segment->position + r;
        int64_t i = position % chunk;
        int64_t row = (segment->row + r) * args->row_stride + h * args->head_stride;
        float *y = (float *)args->y + ((segment->row + r) * args->heads + h) * size;
        store_key(&head, i, (const float *)args->k + row, (const float *)args->v + row);
        lightning_row(&head, (const float *)args->q + row, i, position >= chunk, y);
        if (i == chunk - 1)
            advance_state(&head, position >= chunk);
    }
}

enum status CPU_NAME(lightning)(void *context, const struct op_lightning *args)
{
    struct forward_job job = {.args = args};
    CHECK(args->chunk > 0 && args->chunk <= CHUNK_MAX && args->head_size <= HEAD_SIZE_MAX);
    TRY(make_decay(context, args->slopes, args->heads, args->chunk, &job.decay));
    pool_run(context, forward_task, &job, (int64_t)args->segment_count * args->heads);
    return STATUS_OK;
}

/* ---- backward --------------------------------------------------------------------------------------- */
/* Buffers of one task, rows padded to Dp channels and Bp tokens. */
struct backward {
    const struct op_lightning_backward *args;
    const float *decay;
    int64_t size, wide, tokens;                    /* D, Dp, Bp */
    int64_t row, head;                             /* first row of the segment */
    float *q, *k, *v, *dy, *dq, *dk, *dv, *scaled; /* [Bp, Dp] */
    float *kt, *vt;                                /* [D, Bp] */
    float *p, *dp;                                 /* [Bp, Bp] */
    float *ds, *state_t, *ds_t;                    /* [Dp, Dp] */
    float *states;                                 /* [chunks, Dp, Dp] before each chunk */
};

/* Short rows: a call of memcpy for each takes longer than the copy. */
static inline void copy_row(float *target, const float *source, int64_t size)
{
    for (int64_t d = 0; d < size; d += V16)
        v16_store_tail(target + d, v16_load_tail(source + d, size - d, 0), size - d);
}

/* Padding of channels and of tokens past the end is zero. */
static void clear_padding(const struct backward *b, int64_t m, float *target)
{
    const int64_t filled = b->size < b->wide ? 0 : m;
    memset(target + filled * b->wide, 0, (size_t)((b->tokens - filled) * b->wide) * sizeof *target);
}

static void load_rows(const struct backward *b, const void *source, int64_t first, int64_t m,
                      float *target)
{
    const int64_t stride = b->args->row_stride;
    const float *from =
        (const float *)source + (b->row + first) * stride + b->head * b->args->head_stride;
    clear_padding(b, m, target);
    for (int64_t i = 0; i < m; i++)
        copy_row(target + i * b->wide, from + i * stride, b->size);
}

static void store_rows(const struct backward *b, void *target, int64_t first, int64_t m,
                       const float *source)
{
    const int64_t stride = b->args->row_stride;
    float *to = (float *)target + (b->row + first) * stride + b->head * b->args->head_stride;
    for (int64_t i = 0; i < m; i++)
        copy_row(to + i * stride, source + i * b->wide, b->size);
}

static void load_dy(const struct backward *b, int64_t first, int64_t m)
{
    const int64_t stride = b->args->heads * b->size;
    const float *from = (const float *)b->args->dy + (b->row + first) * stride + b->head * b->size;
    clear_padding(b, m, b->dy);
    for (int64_t i = 0; i < m; i++)
        copy_row(b->dy + i * b->wide, from + i * stride, b->size);
}

/* scaled[i] = decay[from + step i] source[i] */
static void scale_rows(const struct backward *b, const float *source, int64_t m, int64_t from,
                       int64_t step)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t d = 0; d < b->wide; d++)
            b->scaled[i * b->wide + d] = b->decay[from + step * i] * source[i * b->wide + d];
}

static void scale_state(const struct backward *b, float *state, int64_t m)
{
    for (int64_t i = 0; i < b->wide * b->wide; i++)
        state[i] *= b->decay[m];
}

/* states[c] for every chunk of the segment */
static void scan_states(const struct backward *b, int64_t count)
{
    int64_t chunk = b->args->chunk;
    int64_t wide = b->wide;
    for (int64_t first = 0; first + chunk < count; first += chunk) {
        float *state = b->states + first / chunk * wide * wide;
        float *next = state + wide * wide;
        memcpy(next, state, (size_t)(wide * wide) * sizeof *next);
        scale_state(b, next, chunk);
        load_rows(b, b->args->k, first, chunk, b->k);
        load_rows(b, b->args->v, first, chunk, b->v);
        scale_rows(b, b->k, chunk, chunk - 1, -1);
        block_product(&(struct block_product){b->size, wide, chunk, b->scaled, 1, wide, b->v, wide,
                                              next, wide, true});
    }
}

/* x[i, j] *= decay[i - j] for j <= i, else 0 */
static void apply_decay(const struct backward *b, float *x, int64_t m)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < b->tokens; j++)
            x[i * b->tokens + j] = j <= i ? x[i * b->tokens + j] * b->decay[i - j] : 0.0F;
}

/* The terms inside the chunk: p, dp, and their parts of dq, dk, dv. */
static void backward_inside(const struct backward *b, int64_t m)
{
    int64_t wide = b->wide;
    int64_t tokens = b->tokens;
    block_transpose(b->k, wide, tokens, b->size, b->kt, tokens);
    block_transpose(b->v, wide, tokens, b->size, b->vt, tokens);
    block_product(&(struct block_product){m, tokens, b->size, b->q, wide, 1, b->kt, tokens, b->p,
                                          tokens, false});
    block_product(&(struct block_product){m, tokens, b->size, b->dy, wide, 1, b->vt, tokens, b->dp,
                                          tokens, false});
    apply_decay(b, b->p, m);
    apply_decay(b, b->dp, m);
    block_product(
        &(struct block_product){m, wide, m, b->dp, tokens, 1, b->k, wide, b->dq, wide, false});
    block_product(
        &(struct block_product){m, wide, m, b->dp, 1, tokens, b->q, wide, b->dk, wide, false});
    block_product(
        &(struct block_product){m, wide, m, b->p, 1, tokens, b->dy, wide, b->dv, wide, false});
}

/* The terms through the state before (S) and after (dS') the chunk; then dS' becomes dS. */
static void backward_state(const struct backward *b, const float *state, int64_t m)
{
    int64_t wide = b->wide;
    block_transpose(state, wide, wide, wide, b->state_t, wide);
    block_transpose(b->ds, wide, wide, wide, b->ds_t, wide);
    scale_rows(b, b->dy, m, 1, 1);
    block_product(&(struct block_product){m, wide, b->size, b->scaled, wide, 1, b->state_t, wide,
                                          b->dq, wide, true});
    scale_rows(b, b->v, m, m - 1, -1);
    block_product(&(struct block_product){m, wide, b->size, b->scaled, wide, 1, b->ds_t, wide,
                                          b->dk, wide, true});
    scale_rows(b, b->k, m, m - 1, -1);
    block_product(&(struct block_product){m, wide, b->size, b->scaled, wide, 1, b->ds, wide, b->dv,
                                          wide, true});
    scale_rows(b, b->q, m, 1, 1);
    scale_state(b, b->ds, m);
    block_product(&(struct block_product){b->size, wide, m, b->scaled, 1, wide, b->dy, wide, b->ds,
                                          wide, true});
}

static void backward_chunk(const struct backward *b, int64_t first, int64_t m)
{
    const struct op_lightning_backward *args = b->args;
    load_rows(b, args->q, first, m, b->q);
    load_rows(b, args->k, first, m, b->k);
    load_rows(b, args->v, first, m, b->v);
    load_dy(b, first, m);
    backward_inside(b, m);
    backward_state(b, b->states + first / args->chunk * b->wide * b->wide, m);
    store_rows(b, args->dq, first, m, b->dq);
    store_rows(b, args->dk, first, m, b->dk);
    store_rows(b, args->dv, first, m, b->dv);
}

static float *take(float **memory, int64_t count)
{
    float *block = *memory;
    *memory += count;
    return block;
}

static size_t backward_bytes(int64_t size, int64_t chunk, int64_t count)
{
    int64_t wide = padded(size);
    int64_t tokens = padded(chunk);
    int64_t chunks = (count + chunk - 1) / chunk;
    return (size_t)(8 * tokens * wide + 2 * size * tokens + 2 * tokens * tokens +
                    (3 + chunks) * wide * wide) *
           sizeof(float);
}

static void backward_layout(struct backward *b, float *memory)
{
    int64_t rows = b->tokens * b->wide;
    float **blocks[] = {&b->q, &b->k, &b->v, &b->dy, &b->dq, &b->dk, &b->dv, &b->scaled};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        *blocks[i] = take(&memory, rows);
    b->kt = take(&memory, b->size * b->tokens);
    b->vt = take(&memory, b->size * b->tokens);
    b->p = take(&memory, b->tokens * b->tokens);
    b->dp = take(&memory, b->tokens * b->tokens);
    b->ds = take(&memory, b->wide * b->wide);
    b->state_t = take(&memory, b->wide * b->wide);
    b->ds_t = take(&memory, b->wide * b->wide);
    b->states = memory;
}

struct backward_job {
    const struct op_lightning_backward *args;
    const float *decay;
    struct pool *pool;
};

static void backward_task(void *argument, int64_t task, int32_t worker)
{
    const struct backward_job *job = argument;
    const struct op_lightning_backward *args = job->args;
    const struct op_segment *segment = &args->segments[task / args->heads];
    int64_t chunk = args->chunk;
    struct backward b = {.args = args, .row = segment->row};
    b.head = task % args->heads;
    b.decay = job->decay + b.head * (chunk + 1);
    b.size = args->head_size;
    b.wide = padded(b.size);
    b.tokens = padded(chunk);
    backward_layout(&b, pool_scratch(job->pool, worker));
    memset(b.ds, 0, (size_t)(b.wide * b.wide) * sizeof *b.ds);
    memset(b.states, 0, (size_t)(b.wide * b.wide) * sizeof *b.states);
    scan_states(&b, segment->count);
    for (int64_t first = (segment->count - 1) / chunk * chunk; first >= 0; first -= chunk) {
        int64_t left = segment->count - first;
        backward_chunk(&b, first, left < chunk ? left : chunk);
    }
}

enum status CPU_NAME(lightning_backward)(void *context, const struct op_lightning_backward *args)
{
    struct backward_job job = {.args = args, .pool = context};
    int64_t longest = 1;
    CHECK(args->chunk > 0 && args->chunk <= CHUNK_MAX && args->head_size <= HEAD_SIZE_MAX);
    for (int32_t s = 0; s < args->segment_count; s++) {
        CHECK(args->segments[s].position == 0);
        longest = args->segments[s].count > longest ? args->segments[s].count : longest;
    }
    TRY(make_decay(context, args->slopes, args->heads, args->chunk, &job.decay));
    TRY(pool_reserve(context, backward_bytes(args->head_size, args->chunk, longest)));
    pool_run(context, backward_task, &job, (int64_t)args->segment_count * args->heads);
    return STATUS_OK;
}
