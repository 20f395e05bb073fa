/* LM head, log-softmax and entropy (kernels/ops.h) without the logits of a whole batch.
 *
 * The vocabulary is cut into chunks of CHUNK logits. Each chunk of a row gives its maximum m,
 * s = sum exp(z - m) and u = sum (z - m) exp(z - m); the chunks of a row are merged in order:
 *   m' = max(m, m_c), s' = s a + s_c a_c, u' = (u + (m - m') s) a + (u_c + (m_c - m') s_c) a_c,
 * with a = exp(m - m'), a_c = exp(m_c - m'). Then lse = m + log s and entropy = log s - u / s.
 * logprob comes from the f32 logit and the f32 lse by kernels/cpu/logprob.h, as in op sample. Chunks and order depend on V only. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "kernels/cpu/fused.h"
#include "kernels/cpu/logprob.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu_pool.h"

enum {
    CHUNK = 256,           /* logits; a whole number of panels */
    TASK_ROWS = 64,        /* rows of a forward task: a chunk of their logits is 64 KiB */
    STATS_MAX = 1 << 17,   /* chunk statistics kept at once: 4 MiB */
    BACK_ROWS = 256,       /* rows of a backward block */
    BACK_VOCABULARY = 1024 /* logits of a backward block: dz takes 1 MiB */
};

struct chunk_stats {
    float m, m_raw;
    double s, u, s_raw;
};

/* Nearest bf16, ties to even; finite values (a NaN may become an infinity). */
static float round_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void copy_bf16(float *target, const float *source, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        target[i] = round_bf16(source[i]);
}

/* max, sum and weighted sum of z[i] / temperature, i < count <= CHUNK. */
static void stats_of(const float *logits, int64_t count, float temperature, float *m, double *s,
                     double *u)
{
    const v16 divisor = v16_set(temperature);
    v16 maximum = v16_set(-INFINITY);
    for (int64_t i = 0; i < count; i += V16)
        maximum = v16_max(v16_load_tail(logits + i, count - i, -INFINITY) / divisor, maximum);
    *m = v16_max_lane(maximum);
    v16 sum = v16_set(0.0f);
    v16 weighted = v16_set(0.0f);
    for (int64_t i = 0; i < count; i += V16) {
        const v16 d = v16_load_tail(logits + i, count - i, -INFINITY) / divisor - v16_set(*m);
        const v16 e = v16_exp(d);
        sum += e;
        /* A logit of -infinity has p z = 0, not NaN. */
        weighted += v16_select(e > v16_set(0.0f), d, v16_set(0.0f)) * e;
    }
    *s = (double)v16_sum(sum);
    *u = (double)v16_sum(weighted);
}

static void merge(float *m, double *s, double *u, float m_chunk, double s_chunk, double u_chunk)
{
    const float top = *m > m_chunk ? *m : m_chunk;
    const double d = (double)(*m - top);
    const double d_chunk = (double)(m_chunk - top);
    const double a = exp(d);
    const double a_chunk = exp(d_chunk);
    *u = (*u + d * *s) * a + (u_chunk + d_chunk * s_chunk) * a_chunk;
    *s = *s * a + s_chunk * a_chunk;
    *m = top;
}

struct forward_job {
    const struct op_lm_head *args;
    struct pool *pool;
    int64_t row, rows;         /* of this pass */
    int64_t rows_each, groups; /* a task: rows_each rows, a range of chunks */
    int64_t chunks, chunks_each;
    struct chunk_stats *stats; /* [rows, chunks] */
    float *target_logit;       /* [rows] */
};

/* z[r, 0 .. count) of `rows` rows for the chunk that starts at `first`. In the bf16 ablation
 * `rounded` holds room for the rounded panels, and x is rounded already. */
static void chunk_logits(const struct op_lm_head *args, int64_t rows, const float *x, int64_t first,
                         int64_t count, float *rounded, float *z, int64_t z_stride)
{
    const float *panels = (const float *)args->packed + first * args->channels;
    if (args->bf16) {
        copy_bf16(rounded, panels, panel_floats(count, args->channels));
        panels = rounded;
    }
    CPU_NAME(panel_rows)(rows, count, args->channels, x, args->channels, panels, NULL, z, z_stride);
    for (int64_t r = 0; args->bf16 && r < rows; r++)
        copy_bf16(z + r * z_stride, z + r * z_stride, count);
}

static void chunk_row(const struct forward_job *job, int64_t r, int64_t chunk, int64_t count,
                      const float *z)
{
    const struct op_lm_head *args = job->args;
    struct chunk_stats *stats = &job->stats[r * job->chunks + chunk];
    stats_of(z, count, args->temperature, &stats->m, &stats->s, &stats->u);
    double unused = 0;
    if (args->lse_raw && args->temperature != 1.0f)
        stats_of(z, count, 1.0f, &stats->m_raw, &stats->s_raw, &unused);
    const int64_t row = job->row + r;
    const int64_t first = chunk * CHUNK;
    if (args->target && args->target[row] >= first && args->target[row] < first + count)
        job->target_logit[r] = z[args->target[row] - first];
    if (args->logits)
        memcpy(args->logits + row * args->vocabulary + first, z, (size_t)count * sizeof(float));
}

static void forward_task(void *argument, int64_t task, int32_t worker)
{
    const struct forward_job *job = argument;
    const struct op_lm_head *args = job->args;
    const int64_t begin = task / job->groups * job->rows_each;
    const int64_t rows = job->rows - begin < job->rows_each ? job->rows - begin : job->rows_each;
    const int64_t chunk_begin = task % job->groups * job->chunks_each;
    float *z = pool_scratch(job->pool, worker);
    float *x_rounded = z + TASK_ROWS * CHUNK;
    float *panels_rounded = x_rounded + TASK_ROWS * args->channels;
    const float *x = (const float *)args->x + (job->row + begin) * args->channels;
    if (args->bf16) {
        copy_bf16(x_rounded, x, rows * args->channels);
        x = x_rounded;
    }
    for (int64_t c = chunk_begin; c < job->chunks && c < chunk_begin + job->chunks_each; c++) {
        const int64_t left = args->vocabulary - c * CHUNK;
        const int64_t count = left < CHUNK ? left : CHUNK;
        chunk_logits(args, rows, x, c * CHUNK, count, panels_rounded, z, CHUNK);
        for (int64_t r = 0; r < rows; r++)
            chunk_row(job, begin + r, c, count, z + r * CHUNK);
    }
}

static void finish_row(const struct forward_job *job, int64_t r)
{
    const struct op_lm_head *args = job->args;
    const struct chunk_stats *stats = job->stats + r * job->chunks;
    const bool raw = args->lse_raw && args->temperature != 1.0f;
    struct chunk_stats total = stats[0];
    double unused = 0;
    for (int64_t c = 1; c < job->chunks; c++) {
        merge(&total.m, &total.s, &total.u, stats[c].m, stats[c].s, stats[c].u);
        if (raw)
            merge(&total.m_raw, &total.s_raw, &unused, stats[c].m_raw, stats[c].s_raw, 0);
    }
    const int64_t row = job->row + r;
    const double log_s = log(total.s);
    const float lse = (float)((double)total.m + log_s);
    args->lse[row] = lse;
    if (args->lse_raw)
        args->lse_raw[row] = raw ? (float)((double)total.m_raw + log(total.s_raw)) : lse;
    if (args->entropy)
        args->entropy[row] = (float)(log_s - total.u / total.s);
    if (args->logprob && args->target && args->target[row] >= 0)
        args->logprob[row] = logprob_of(job->target_logit[r], args->temperature, lse, 0.0);
    else if (args->logprob)
        args->logprob[row] = 0.0f;
}

/* Rows first; few rows share the vocabulary between the threads as well. */
static void cut_forward(struct forward_job *job, int32_t threads)
{
    job->rows_each = job->rows < TASK_ROWS ? job->rows : TASK_ROWS;
    const int64_t blocks = (job->rows + job->rows_each - 1) / job->rows_each;
    int64_t groups = threads > 1 && blocks < 4 * threads ? 4 * threads / blocks : 1;
    if (groups > job->chunks)
        groups = job->chunks;
    job->chunks_each = (job->chunks + groups - 1) / groups;
    job->groups = (job->chunks + job->chunks_each - 1) / job->chunks_each;
}

enum status CPU_NAME(lm_head)(void *context, const struct op_lm_head *args)
{
    CHECK(args->temperature > 0 && args->vocabulary > 0);
    struct forward_job job = {.args = args, .pool = context};
    job.chunks = (args->vocabulary + CHUNK - 1) / CHUNK;
    int64_t pass = STATS_MAX / job.chunks;
    if (pass < TASK_ROWS)
        pass = TASK_ROWS;
    if (pass > args->rows)
        pass = args->rows;
    const int64_t rounded = args->bf16 ? (TASK_ROWS + CHUNK) * args->channels : 0;
    TRY(pool_reserve(context, sizeof(float) * (size_t)(TASK_ROWS * CHUNK + rounded)));
    const size_t stats_bytes = sizeof(struct chunk_stats) * (size_t)(pass * job.chunks);
    void *shared = NULL;
    TRY(pool_shared(context, stats_bytes + sizeof(float) * (size_t)pass, &shared));
    job.stats = shared;
    job.target_logit = (float *)((char *)shared + stats_bytes);
    for (job.row = 0; job.row < args->rows; job.row += pass) {
        job.rows = args->rows - job.row < pass ? args->rows - job.row : pass;
        cut_forward(&job, pool_threads(context));
        const int64_t blocks = (job.rows + job.rows_each - 1) / job.rows_each;
        pool_run(context, forward_task, &job, blocks * job.groups);
        for (int64_t r = 0; r < job.rows; r++)
            finish_row(&job, r);
    }
    return STATUS_OK;
}

/* The rows that carry gradient, packed together, and their blocks of dz. */
struct backward_job {
    const struct op_lm_head_backward *args;
    struct pool *pool;
    int64_t rows;
    int64_t index[BACK_ROWS];
    int64_t first, count; /* logits of the block */
    float *x, *dx;        /* [rows, C] */
    float *dz;            /* [rows, BACK_VOCABULARY] */
    float *weight;        /* [BACK_VOCABULARY, C] rounded, bf16 only */
};

/* dz -= slope p (log p + entropy): the entropy's gradient. A logit of -infinity has p = 0 and p log p = 0. */
static void add_entropy(float *dz, const float *logits, int64_t count, float temperature, float lse,
                        float slope, float entropy)
{
    const v16 divisor = v16_set(temperature), zero = v16_set(0.0f);
    for (int64_t i = 0; i < count; i += V16) {
        const v16 log_p = v16_load_tail(logits + i, count - i, 0.0f) / divisor - v16_set(lse);
        const v16 p = v16_exp(log_p);
        const v16 inner = v16_select(p > zero, log_p, zero) + v16_set(entropy);
        const v16 old = v16_load_tail(dz + i, count - i, 0.0f);
        v16_store_tail(dz + i, v16_fused(v16_set(-slope) * p, inner, old), count - i);
    }
}

/* dz of one chunk of the block: dlogprob (onehot - exp(z - lse)) / temperature, and the entropy's. */
static void dz_task(void *argument, int64_t task, int32_t worker)
{
    const struct backward_job *job = argument;
    const struct op_lm_head_backward *args = job->args;
    const int64_t offset = task * CHUNK;
    const int64_t count = job->count - offset < CHUNK ? job->count - offset : CHUNK;
    const struct op_lm_head forward = {
        .channels = args->channels, .bf16 = args->bf16, .packed = args->packed};
    float *rounded = pool_scratch(job->pool, worker);
    chunk_logits(&forward, job->rows, job->x, job->first + offset, count, rounded, job->dz + offset,
                 BACK_VOCABULARY);
    const v16 divisor = v16_set(args->temperature);
    for (int64_t r = 0; r < job->rows; r++) {
        const int64_t row = job->index[r];
        const float scale = args->dlogprob[row] / args->temperature;
        float *dz = job->dz + r * BACK_VOCABULARY + offset;
        const float slope = args->dentropy ? args->dentropy[row] / args->temperature : 0.0f;
        float logits[CHUNK];
        if (slope != 0.0f)
            memcpy(logits, dz, (size_t)count * sizeof *dz);
        for (int64_t i = 0; i < count; i += V16) {
            const v16 z = v16_load_tail(dz + i, count - i, 0.0f) / divisor;
            const v16 p = v16_exp(z - v16_set(args->lse[row]));
            v16_store_tail(dz + i, p * v16_set(-scale), count - i);
        }
        const int64_t target = args->target[row] - job->first - offset;
        if (target >= 0 && target < count)
            dz[target] += scale;
        if (slope != 0.0f)
            add_entropy(dz, logits, count, args->temperature, args->lse[row], slope,
                        args->entropy[row]);
    }
}

static enum status backward_chunk(struct backward_job *job)
{
    const struct op_lm_head_backward *args = job->args;
    const int64_t channels = args->channels;
    const float *weight = (const float *)args->weight + job->first * channels;
    if (args->bf16) {
        copy_bf16(job->weight, weight, job->count * channels);
        weight = job->weight;
        TRY(pool_reserve(job->pool, sizeof(float) * (size_t)(CHUNK * channels)));
    }
    pool_run(job->pool, dz_task, job, (job->count + CHUNK - 1) / CHUNK);
    const struct op_linear_backward_input input = {.rows = job->rows,
                                                   .experts = 1,
                                                   .n = job->count,
                                                   .k = channels,
                                                   .dy_stride = BACK_VOCABULARY,
                                                   .dx_stride = channels,
                                                   .accumulate = job->first > 0,
                                                   .dy = job->dz,
                                                   .weight = weight,
                                                   .dx = job->dx};
    TRY(CPU_NAME(linear_backward_input)(job->pool, &input));
    const struct op_linear_backward_weight output = {.rows = job->rows,
                                                     .experts = 1,
                                                     .n = job->count,
                                                     .k = channels,
                                                     .dy_stride = BACK_VOCABULARY,
                                                     .x_stride = channels,
                                                     .dy = job->dz,
                                                     .x = job->x,
                                                     .dweight =
                                                         args->dweight + job->first * channels};
    return CPU_NAME(linear_backward_weight)(job->pool, &output);
}

static enum status backward_block(struct backward_job *job)
{
    const struct op_lm_head_backward *args = job->args;
    const int64_t channels = args->channels;
    const size_t row_bytes = sizeof(float) * (size_t)channels;
    for (int64_t r = 0; r < job->rows; r++) {
        const float *x = (const float *)args->x + job->index[r] * channels;
        if (args->bf16)
            copy_bf16(job->x + r * channels, x, channels);
        else
            memcpy(job->x + r * channels, x, row_bytes);
    }
    for (job->first = 0; job->first < args->vocabulary; job->first += BACK_VOCABULARY) {
        const int64_t left = args->vocabulary - job->first;
        job->count = left < BACK_VOCABULARY ? left : BACK_VOCABULARY;
        TRY(backward_chunk(job));
    }
    for (int64_t r = 0; r < job->rows; r++)
        memcpy((float *)args->dx + job->index[r] * channels, job->dx + r * channels, row_bytes);
    job->rows = 0;
    return STATUS_OK;
}

enum status CPU_NAME(lm_head_backward)(void *context, const struct op_lm_head_backward *args)
{
    CHECK(args->temperature > 0 && args->vocabulary > 0);
    CHECK(args->dentropy == NULL || args->entropy != NULL);
    const int64_t channels = args->channels;
    struct backward_job job = {.args = args, .pool = context};
    const int64_t weights = args->bf16 ? BACK_VOCABULARY * channels : 0;
    const int64_t floats = BACK_ROWS * (2 * channels + BACK_VOCABULARY) + weights;
    void *shared = NULL;
    TRY(pool_shared(context, sizeof(float) * (size_t)floats, &shared));
    job.x = shared;
    job.dx = job.x + BACK_ROWS * channels;
    job.dz = job.dx + BACK_ROWS * channels;
    job.weight = job.dz + BACK_ROWS * BACK_VOCABULARY;
    for (int64_t row = 0; row < args->rows; row++) {
        const bool pulls =
            args->dlogprob[row] != 0.0f || (args->dentropy && args->dentropy[row] != 0.0f);
        if (args->target[row] < 0 || !pulls) {
            memset((float *)args->dx + row * channels, 0, sizeof(float) * (size_t)channels);
            continue;
        }
        job.index[job.rows++] = row;
        if (job.rows == BACK_ROWS)
            TRY(backward_block(&job));
    }
    return job.rows > 0 ? backward_block(&job) : STATUS_OK;
}
