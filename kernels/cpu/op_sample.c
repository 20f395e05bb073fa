/* Gumbel-max sampling (kernels/ops.h) with the numbers of core/rng.h.
 *
 * Without top-k or top-p every id has a key z + g. A first pass makes all keys in f32 vectors; ids
 * whose key comes within KEY_MARGIN of the largest are compared again in f64, so the token is that
 * of the f64 keys. With top-k or top-p a heap gives the ids in order of (logit, smaller id) until
 * the set is complete; few ids are kept as a rule, and only those get keys. */
#include <math.h>

#include "core/check.h"
#include "core/rng.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/logprob.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu_pool.h"

enum { BATCH = 16, BATCH_IDS = 4 * BATCH, TASK_IDS = 1 << 15, VOCABULARY_MAX = 1 << 18 };

/* The f32 key is within 1e-5 + a few ulp of key + 32 (|g| < 24) of the f64 one; ten times that. */
static const float KEY_MARGIN = 1e-3f;
static const float KEY_MARGIN_RELATIVE = 1e-5f;

typedef uint32_t v16u __attribute__((vector_size(64)));
typedef uint32_t v16u_memory __attribute__((vector_size(64), aligned(4), may_alias));

static void row_counter(const struct op_sample_row *row, uint32_t counter[4], uint32_t key[2])
{
    rng_counter(counter, row->group, row->sample, row->position, 0, RNG_SAMPLING);
    key[0] = (uint32_t)row->seed;
    key[1] = (uint32_t)(row->seed >> 32);
}

/* philox4x32 of core/rng.h for BATCH consecutive blocks: words of ids [4 block, 4 block + 64). */
static void philox_batch(const uint32_t counter[4], const uint32_t key[2], uint32_t block,
                         uint32_t words[BATCH_IDS])
{
    uint32_t c0[BATCH], c1[BATCH], c2[BATCH], c3[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        c0[i] = counter[0];
        c1[i] = counter[1];
        c2[i] = counter[2];
        c3[i] = counter[3] | ((block + i) & 0xffffu);
    }
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < BATCH; i++) {
            const uint64_t p0 = (uint64_t)0xd2511f53u * c0[i];
            const uint64_t p1 = (uint64_t)0xcd9e8d57u * c2[i];
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)p1;
            c3[i] = (uint32_t)p0;
        }
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    for (int i = 0; i < BATCH; i++) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

/* g = -log(-log u), u = (word + 0.5) / 2^32, to about 1e-5. Above one half -log u comes from
 * t = 1 - u = (~word + 0.5) / 2^32 as 2 atanh(t / (2 - t)), because u itself would round to 1. */
static v16 gumbel_fast(v16u word)
{
    const v16 half = v16_set(0.5f);
    const v16 unit = v16_set(0x1p-32f);
    const v16 u = (__builtin_convertvector(word, v16) + half) * unit;
    const v16 t = (__builtin_convertvector(~word, v16) + half) * unit;
    const v16 low = -v16_log(u);
    const v16 s = t / (v16_set(2.0f) - t);
    const v16 s2 = s * s;
    v16 p = v16_set(2.0f / 13.0f);
    p = p * s2 + v16_set(2.0f / 11.0f);
    p = p * s2 + v16_set(2.0f / 9.0f);
    p = p * s2 + v16_set(2.0f / 7.0f);
    p = p * s2 + v16_set(2.0f / 5.0f);
    p = p * s2 + v16_set(2.0f / 3.0f);
    p = p * s2 + v16_set(2.0f);
    return -v16_log(v16_select(t < half, p * s, low));
}

static double key_exact(const struct op_sample_row *row, float logit, uint32_t word)
{
    const double u = ((double)word + 0.5) / 4294967296.0;
    return (double)logit / (double)row->temperature - log(-log(u));
}

static uint32_t word_of(const struct op_sample_row *row, int32_t id)
{
    uint32_t counter[4];
    uint32_t key[2];
    uint32_t words[4];
    row_counter(row, counter, key);
    counter[3] |= (uint32_t)id / 4;
    philox4x32(counter, key, words);
    return words[id % 4];
}

static int32_t choose_any(const struct op_sample_row *row, const float *logits, int64_t vocabulary,
                          float *keys)
{
    uint32_t counter[4];
    uint32_t key[2];
    row_counter(row, counter, key);
    v16 maximum = v16_set(-INFINITY);
    for (int64_t first = 0; first < vocabulary; first += BATCH_IDS) {
        uint32_t words[BATCH_IDS];
        philox_batch(counter, key, (uint32_t)(first / 4), words);
        for (int64_t v = first; v < first + BATCH_IDS && v < vocabulary; v += V16) {
            const v16u word = *(const v16u_memory *)(words + (v - first));
            const v16 z = v16_load_tail(logits + v, vocabulary - v, -INFINITY);
            const v16 value = z / v16_set(row->temperature) + gumbel_fast(word);
            v16_store(keys + v, value);
            maximum = v16_max(value, maximum);
        }
    }
    const float top = v16_max_lane(maximum);
    const float bound = top - KEY_MARGIN - KEY_MARGIN_RELATIVE * fabsf(top);
    double best = -INFINITY;
    int32_t token = 0;
    for (int32_t v = 0; v < vocabulary; v++) {
        if (keys[v] < bound)
            continue;
        const double exact = key_exact(row, logits[v], word_of(row, v));
        if (exact > best) {
            best = exact;
            token = v;
        }
    }
    return token;
}

static int32_t choose_greedy(const float *logits, int64_t vocabulary)
{
    int32_t token = 0;
    for (int32_t v = 1; v < vocabulary; v++)
        if (logits[v] > logits[token] || logits[token] != logits[token])
            token = v;
    return token;
}

static bool before(const float *logits, int32_t a, int32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static void sift_down(const float *logits, int32_t *heap, int64_t count, int64_t at)
{
    const int32_t id = heap[at];
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && before(logits, heap[child + 1], heap[child]))
            child++;
        if (!before(logits, heap[child], id))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = id;
}

/* Kept ids end up at the end of `heap`, best last; returns how many. *mass: their probability. */
static int64_t keep(const struct op_sample_row *row, const float *logits, int64_t vocabulary,
                    float lse, int32_t *heap, double *mass)
{
    const int64_t limit = row->top_k > 0 && row->top_k < vocabulary ? row->top_k : vocabulary;
    for (int32_t v = 0; v < vocabulary; v++)
        heap[v] = v;
    for (int64_t at = vocabulary / 2; at-- > 0;)
        sift_down(logits, heap, vocabulary, at);
    int64_t kept = 0;
    *mass = 0;
    while (kept < limit && !(row->top_p < 1.0f && *mass >= (double)row->top_p)) {
        const int32_t id = heap[0];
        *mass += exp((double)logits[id] / (double)row->temperature - (double)lse);
        kept++;
        const int64_t left = vocabulary - kept;
        heap[0] = heap[left];
        heap[left] = id;
        if (left > 0)
            sift_down(logits, heap, left, 0);
    }
    return kept;
}

static int32_t choose_kept(const struct op_sample_row *row, const float *logits, const int32_t *ids,
                           int64_t count)
{
    double best = -INFINITY;
    int32_t token = ids[count - 1];
    for (int64_t i = 0; i < count; i++) {
        const int32_t id = ids[i];
        const double exact = key_exact(row, logits[id], word_of(row, id));
        if (exact > best || (exact == best && id < token)) {
            best = exact;
            token = id;
        }
    }
    return token;
}

static void sample_row(const struct op_sample *args, int64_t t, void *scratch)
{
    const struct op_sample_row *row = &args->row[t];
    const int64_t vocabulary = args->vocabulary;
    const float *logits = args->logits + t * vocabulary;
    const bool greedy = row->temperature == 0.0f;
    const bool cut = !greedy && ((row->top_k > 0 && row->top_k < vocabulary) || row->top_p < 1.0f);
    double mass = 1;
    int32_t token = 0;
    if (greedy) {
        token = choose_greedy(logits, vocabulary);
    } else if (cut) {
        int32_t *heap = scratch;
        const int64_t kept = keep(row, logits, vocabulary, args->lse[t], heap, &mass);
        token = choose_kept(row, logits, heap + vocabulary - kept, kept);
    } else {
        token = choose_any(row, logits, vocabulary, scratch);
    }
    const float temperature = greedy ? 1.0f : row->temperature;
    const double log_mass = cut ? log(mass) : 0.0;
    args->token[t] = token;
    args->logprob[t] = logprob_of(logits[token], temperature, args->lse[t], 0.0);
    args->logprob_truncated[t] = logprob_of(logits[token], temperature, args->lse[t], log_mass);
    args->confident[t] = exp((double)logits[token] - (double)args->lse_raw[t]) >
                         (double)args->repetition_probability;
}

struct sample_job {
    const struct op_sample *args;
    struct pool *pool;
    int64_t rows_each;
};

static void sample_task(void *argument, int64_t task, int32_t worker)
{
    const struct sample_job *job = argument;
    const int64_t begin = task * job->rows_each;
    for (int64_t t = begin; t < begin + job->rows_each && t < job->args->rows; t++)
        sample_row(job->args, t, pool_scratch(job->pool, worker));
}

enum status CPU_NAME(sample)(void *context, const struct op_sample *args)
{
    CHECK(args->vocabulary > 0 && args->vocabulary <= VOCABULARY_MAX);
    struct sample_job job = {.args = args, .pool = context};
    job.rows_each = TASK_IDS / args->vocabulary + 1;
    TRY(pool_reserve(context, sizeof(float) * (size_t)(args->vocabulary + V16)));
    pool_run(context, sample_task, &job, (args->rows + job.rows_each - 1) / job.rows_each);
    return STATUS_OK;
}
