/* kernels/cuda/op_sample.cu - Gumbel-max sampling with exact top-k and top-p, no sort of the vocabulary.
 *
 * The key of an id is z + g in f64, as the oracle has it. Almost every id is far from the largest key, so a pass
 * makes all keys in f32 (error under KEY_MARGIN) and only those within the margin of the warp's largest so far are
 * made again in f64: the token is that of the f64 keys, whatever the order in which ids are met. The largest key is
 * distributed as lse + a Gumbel number, so keys under lse - 3 are not looked at (most ids need no random word at
 * all); should no key reach that, the row is gone through again without this floor.
 *
 * Rows that cut nothing need one pass over the logits. Rows with top-k or top-p need two: the first adds the
 * probability of each id to a histogram over lse - z (BINS bins of 1/64 nat; the rest, below exp(-16), is not
 * counted), the second draws among the ids of the bins above the one where the cut falls and lists that bin's ids,
 * which are then sorted: largest logit first, ties to the smaller id. Should the bin hold more than LIST ids (a flat
 * distribution, or a cut in the rest), the cut is found digit by digit of (logit, id), with more passes.
 *
 * A row is split over several blocks when there are few rows; the block that finishes last closes the row. Masses
 * are fixed-point integers and a choice has a total order, so no result depends on the split or on other rows. */
#include "kernels/cuda/sample.cuh"

#include <math.h>

enum { THREADS = 512, WARPS = THREADS / 32, LIST = 2048, DIGITS = 2048, NO_ID = 0x7fffffff };

/* What the blocks of one row tell each other; zeroed before each call. */
struct row_shared {
    unsigned long long mass[BINS]; /* probability of a bin's ids in units of 2^-48 */
    unsigned int count[BINS];      /* ids of a bin; kept only where top_k asks for it */
    unsigned int scanned, selected, listed, unused;
};
/* ---- passes ---- */

static __device__ void draw_begin(struct draw *draw, const struct op_sample *args, int64_t t)
{
    const struct op_sample_row *row = &args->row[t];
    draw->logits = args->logits + t * args->vocabulary;
    draw->vocabulary = (int32_t)args->vocabulary;
    draw->key[0] = (uint32_t)row->seed;
    draw->key[1] = (uint32_t)(row->seed >> 32);
    draw->counter[0] = (uint32_t)row->group;
    draw->counter[1] = (uint32_t)(row->group >> 32);
    draw->counter[2] = row->position; /* domain RNG_SAMPLING is 0 */
    draw->counter[3] = row->sample << 16;
    draw->greedy = row->temperature == 0.0f;
    draw->cut =
        !draw->greedy && ((row->top_k > 0 && row->top_k < draw->vocabulary) || row->top_p < 1.0f);
    draw->temperature = draw->greedy ? 1.0 : (double)row->temperature;
    draw->inverse = (float)(1.0 / draw->temperature);
    draw->inverse_low = (float)(1.0 / draw->temperature - (double)draw->inverse);
    draw->lse = args->lse[t];
    draw->mass_limit =
        row->top_p < 1.0f
            ? (unsigned long long)fmax(1.0, ceil((double)row->top_p * (double)(1ull << MASS_BITS)))
            : ~0ull;
    draw->floor = draw->lse - 3.0f + (row->top_p < 1.0f ? logf(row->top_p) : 0.0f);
    if (row->top_k > 0)
        draw->floor = -INFINITY;
    draw->count_limit = row->top_k > 0 ? (unsigned int)row->top_k : ~0u;
}

/* Ids 4 block .. 4 block + 3; minus infinity past the end. VECTOR: rows are 16-byte aligned. */
template <bool VECTOR>
static __device__ __forceinline__ float4 load_ids(const struct draw *draw, int32_t block)
{
    int32_t v = 4 * block;
    if constexpr (VECTOR)
        return v < draw->vocabulary ? __ldg((const float4 *)(draw->logits + v))
                                    : make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    else {
        float x[4];
        for (int j = 0; j < 4; j++)
            x[j] = v + j < draw->vocabulary ? __ldg(draw->logits + v + j) : -INFINITY;
        return make_float4(x[0], x[1], x[2], x[3]);
    }
}

/* One block of four ids for each lane of a whole warp; `keep` says which of the four may be drawn. */
static __device__ __forceinline__ void consider(const struct draw *draw, float4 four, int32_t block,
                                                int keep, float *threshold, struct choice *best)
{
    const float x[4] = {four.x, four.y, four.z, four.w};
    uint4 words = philox(draw, (uint32_t)block);
    float key[4], top = -INFINITY;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        key[j] = __fmaf_rn(x[j], draw->inverse, gumbel_fast(word_of(words, j)));
        if (!(keep >> j & 1))
            key[j] = -INFINITY;
        top = fmaxf(top, key[j]);
    }
    if (!__any_sync(0xffffffffu, top >= *threshold && top > -INFINITY))
        return;
    top = warp_max(top);
    *threshold = fmaxf(*threshold, top - key_margin(top));
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (key[j] >= *threshold && key[j] > -INFINITY)
            choose(best, key_exact((double)x[j], draw->temperature, word_of(words, j)),
                   4 * block + j);
}

/* Blocks [begin, end) of ids, drawn where keep(logit, id) says so; keys under `floor` need not be seen. */
template <bool VECTOR, typename KEEP>
static __device__ __forceinline__ struct choice scan(const struct draw *draw, int32_t begin,
                                                     int32_t end, float floor, KEEP keep)
{
    const float gumbel_most = 23.0f; /* -log(-log(1 - 2^-33)) = 22.9 */
    struct choice best = {-INFINITY, NO_ID};
    float threshold = floor - key_margin(floor);
    int32_t lane = (int32_t)(threadIdx.x % 32), at = begin + (int32_t)threadIdx.x;
    float4 next = load_ids<VECTOR>(draw, at < end ? at : draw->vocabulary);
    for (; at - lane < end; at += THREADS) {
        float4 four = next;
        int32_t ahead = at + THREADS;
        next = load_ids<VECTOR>(draw, ahead < end ? ahead : draw->vocabulary);
        int kept = (int)keep(four.x, 4 * at) | (int)keep(four.y, 4 * at + 1) << 1 |
                   (int)keep(four.z, 4 * at + 2) << 2 | (int)keep(four.w, 4 * at + 3) << 3;
        float top = fmaxf(fmaxf(four.x, four.y), fmaxf(four.z, four.w));
        bool reaches = !(__fmaf_rn(top, draw->inverse, gumbel_most) < threshold);
        if (__any_sync(0xffffffffu, kept != 0 && reaches))
            consider(draw, four, at, kept, &threshold, &best);
    }
    return best;
}

template <bool VECTOR>
static __device__ __forceinline__ struct choice scan_greedy(const struct draw *draw, int32_t begin,
                                                            int32_t end)
{
    struct choice best = {-INFINITY, NO_ID};
    for (int32_t at = begin + (int32_t)threadIdx.x; at < end; at += THREADS) {
        float4 four = load_ids<VECTOR>(draw, at);
        const float x[4] = {four.x, four.y, four.z, four.w};
        for (int j = 0; j < 4; j++)
            if (x[j] > -INFINITY)
                choose(&best, (double)x[j], 4 * at + j);
    }
    return best;
}

/* The best of the block, in thread 0. */
static __device__ struct choice block_best(struct choice best)
{
    __shared__ struct choice of_warp[WARPS];
    for (int offset = 16; offset > 0; offset /= 2) {
        double score = __shfl_xor_sync(0xffffffffu, best.score, offset);
        int32_t id = __shfl_xor_sync(0xffffffffu, best.id, offset);
        choose(&best, score, id);
    }
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < WARPS; i++)
            choose(&best, of_warp[i].score, of_warp[i].id);
    __syncthreads();
    return best;
}

/* True in every thread of the last block that comes here; what the others wrote before is then visible. */
static __device__ bool last_of_row(unsigned int *arrived)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(arrived, 1) == gridDim.x - 1;
    __syncthreads();
    __threadfence();
    return last;
}

/* Outputs of row t, by one thread. log_mass: log of the kept ids' probability. The logprob is the one line that the
 * LM head has too: logit / temperature - lse in f64, rounded once, never above 0. */
static __device__ void finish(const struct op_sample *args, int64_t t, const struct draw *draw,
                              struct choice best, double log_mass)
{
    int32_t token = best.id == NO_ID ? 0 : best.id;
    double logit = (double)draw->logits[token];
    double logprob = logit / draw->temperature - (double)draw->lse;
    double truncated = logprob - log_mass;
    args->token[t] = token;
    args->logprob[t] = logprob > 0 ? 0.0f : (float)logprob;
    args->logprob_truncated[t] = truncated > 0 ? 0.0f : (float)truncated;
    args->confident[t] =
        exp(logit - (double)args->lse_raw[t]) > (double)args->repetition_probability;
}

/* All of the row's partial choices and `best` of this block; in thread 0. */
static __device__ struct choice merge(const struct choice *partial, struct choice best)
{
    for (unsigned i = threadIdx.x; i < gridDim.x; i += THREADS)
        choose(&best, __ldcg(&partial[i].score), __ldcg(&partial[i].id));
    return block_best(best);
}

/* Adds in 64 bits with 32-bit shared atomics: the sum of any order. */
static __device__ __forceinline__ void add_mass(unsigned int *low, unsigned int *high,
                                                unsigned long long mass)
{
    unsigned int add = (unsigned int)mass, more = (unsigned int)(mass >> 32);
    if (add > 0 && atomicAdd(low, add) + add < add)
        more++;
    if (more > 0)
        atomicAdd(high, more);
}

template <bool VECTOR>
static __device__ __forceinline__ void histogram(const struct draw *draw, int32_t begin,
                                                 int32_t end, struct row_shared *row)
{
    __shared__ unsigned int low[BINS], high[BINS], count[BINS];
    for (int i = (int)threadIdx.x; i < BINS; i += THREADS)
        low[i] = high[i] = count[i] = 0;
    __syncthreads();
    int32_t at = begin + (int32_t)threadIdx.x;
    float4 next = load_ids<VECTOR>(draw, at < end ? at : draw->vocabulary);
    for (; at < end; at += THREADS) {
        const float x[4] = {next.x, next.y, next.z, next.w};
        int32_t ahead = at + THREADS;
        next = load_ids<VECTOR>(draw, ahead < end ? ahead : draw->vocabulary);
        for (int j = 0; j < 4; j++) {
            int bin = bin_of(draw, x[j]);
            if (bin == BINS - 1)
                continue;
            add_mass(&low[bin], &high[bin], mass_of(draw, x[j]));
            if (draw->count_limit != ~0u)
                atomicAdd(&count[bin], 1);
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < BINS; i += THREADS) {
        unsigned long long mass = (unsigned long long)high[i] << 32 | low[i];
        if (mass > 0)
            atomicAdd(&row->mass[i], mass);
        if (count[i] > 0)
            atomicAdd(&row->count[i], count[i]);
    }
}

template <bool VECTOR>
static __global__ void __launch_bounds__(THREADS)
    scan_kernel(struct op_sample args, struct row_shared *rows, struct choice *partial,
                int32_t chunk)
{
    int64_t t = blockIdx.y;
    struct draw draw;
    draw_begin(&draw, &args, t);
    int32_t blocks = (draw.vocabulary + 3) / 4, begin = (int32_t)blockIdx.x * chunk;
    int32_t end = begin + chunk < blocks ? begin + chunk : blocks;
    if (draw.cut) {
        histogram<VECTOR>(&draw, begin, end, &rows[t]);
        return;
    }
    float floor = draw.greedy ? -INFINITY : draw.floor;
    partial += t * gridDim.x;
    for (bool last = false;;) {
        auto all = [](float, int32_t) { return true; };
        struct choice best = draw.greedy ? scan_greedy<VECTOR>(&draw, begin, end)
                                         : scan<VECTOR>(&draw, begin, end, floor, all);
        best = block_best(best);
        if (!last) {
            if (threadIdx.x == 0)
                partial[blockIdx.x] = best;
            if (!last_of_row(&rows[t].scanned))
                return;
            last = true;
            best = merge(partial, (struct choice){-INFINITY, NO_ID});
        }
        if (threadIdx.x == 0 && best.score >= (double)floor)
            finish(&args, t, &draw, best, 0.0);
        if (__syncthreads_or(threadIdx.x == 0 && best.score >= (double)floor))
            return;
        begin = 0;
        end = blocks;
        floor = -INFINITY;
    }
}

/* ---- where the cut falls ---- */

struct cut {
    int bin;
    unsigned long long mass; /* of all that comes before the bin */
    unsigned int count;
};

/* First bin at which the mass or the count reaches its limit, starting from `before`; the last bin when none does.
 * mass_at(i), count_at(i): a bin's own. The same in every thread. */
template <int N, typename MASS, typename COUNT>
static __device__ struct cut find_cut(const struct draw *draw, struct cut before, MASS mass_at,
                                      COUNT count_at)
{
    enum { EACH = N / THREADS };
    __shared__ unsigned long long warp_mass[WARPS];
    __shared__ unsigned int warp_count[WARPS];
    __shared__ struct cut found;
    int lane = (int)(threadIdx.x % 32), warp = (int)(threadIdx.x / 32),
        first = (int)threadIdx.x * EACH;
    unsigned long long mass = 0;
    unsigned int count = 0;
    for (int i = 0; i < EACH; i++) {
        mass += mass_at(first + i);
        count += count_at(first + i);
    }
    unsigned long long own_mass = mass;
    unsigned int own_count = count;
    for (int offset = 1; offset < 32; offset *= 2) {
        unsigned long long m = __shfl_up_sync(0xffffffffu, mass, offset);
        unsigned int c = __shfl_up_sync(0xffffffffu, count, offset);
        mass += lane >= offset ? m : 0;
        count += lane >= offset ? c : 0;
    }
    if (lane == 31) {
        warp_mass[warp] = mass;
        warp_count[warp] = count;
    }
    __syncthreads();
    mass += before.mass - own_mass;
    count += before.count - own_count;
    for (int i = 0; i < warp; i++) {
        mass += warp_mass[i];
        count += warp_count[i];
    }
    bool reached = threadIdx.x > 0 && (mass >= draw->mass_limit || count >= draw->count_limit);
    for (int i = first; i < first + EACH && !reached; i++) {
        reached = mass + mass_at(i) >= draw->mass_limit || count + count_at(i) >= draw->count_limit;
        if (reached || i == N - 1)
            found = (struct cut){i, mass, count};
        mass += mass_at(i);
        count += count_at(i);
    }
    __syncthreads();
    struct cut result = found;
    __syncthreads();
    return result;
}

/* The cut bin's ids in order, in shared memory: how many of the n are kept, and the mass of all kept ids. */
static __device__ int cut_list(const struct draw *draw, struct cut before, uint64_t *list, int n,
                               unsigned long long *kept_mass)
{
    int size = 1;
    while (size < n)
        size *= 2;
    for (int i = n + (int)threadIdx.x; i < size; i += THREADS)
        list[i] = 0;
    for (int width = 2; width <= size; width *= 2)
        for (int step = width / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int i = (int)threadIdx.x; i < size / 2; i += THREADS) {
                int a = 2 * i - (i & (step - 1)), b = a + step;
                bool descending = (a & width) == 0;
                uint64_t x = list[a], y = list[b];
                if ((x < y) == descending) {
                    list[a] = y;
                    list[b] = x;
                }
            }
        }
    __syncthreads();
    auto mass_at = [&](int i) {
        if (i >= n)
            return 0ull;
        int32_t id = (1 << ID_BITS) - 1 - (int32_t)(list[i] & ((1 << ID_BITS) - 1));
        return mass_of(draw, draw->logits[id]);
    };
    struct cut cut = find_cut<LIST>(draw, before, mass_at, [&](int i) { return i < n ? 1u : 0u; });
    int kept = cut.bin < n ? cut.bin + 1 : n;
    *kept_mass = cut.mass + mass_at(cut.bin);
    return kept;
}

/* The same for any number of ids: the rank of the last kept id of bin `bin`, found from the top digit down. Passes
 * over the row: 11, 11 and 10 bits of the logit, 9 and 9 of the id. */
static __device__ uint64_t cut_digits(const struct draw *draw, struct cut before,
                                      unsigned int *space, unsigned long long *kept_mass)
{
    const int shifts[] = {39, 28, 18, 9, 0}, bits[] = {11, 11, 10, 9, 9};
    unsigned int *low = space, *high = space + DIGITS, *count = space + 2 * DIGITS;
    uint64_t prefix = 0;
    struct cut at = before;
    for (int level = 0; level < 5; level++) {
        int shift = shifts[level], top = (1 << bits[level]) - 1;
        __syncthreads();
        for (int i = (int)threadIdx.x; i < DIGITS; i += THREADS)
            low[i] = high[i] = count[i] = 0;
        __syncthreads();
        for (int32_t v = (int32_t)threadIdx.x; v < draw->vocabulary; v += THREADS) {
            float x = __ldg(draw->logits + v);
            uint64_t rank = rank_of(x, v);
            if (rank >> (shift + bits[level]) != prefix || bin_of(draw, x) != before.bin)
                continue;
            int digit = top - (int)(rank >> shift & (uint64_t)top);
            add_mass(&low[digit], &high[digit], mass_of(draw, x));
            atomicAdd(&count[digit], 1);
        }
        __syncthreads();
        auto mass_at = [&](int i) { return (unsigned long long)high[i] << 32 | low[i]; };
        at = find_cut<DIGITS>(draw, at, mass_at, [&](int i) { return count[i]; });
        if (at.bin > top || (at.bin == DIGITS - 1 &&
                             count[at.bin] == 0)) { /* nothing reaches the limit: all are kept */
            *kept_mass = at.mass;
            return prefix << (shift + bits[level]);
        }
        prefix = prefix << bits[level] | (uint64_t)(top - at.bin);
        *kept_mass = at.mass + mass_at(at.bin);
    }
    return prefix;
}

union select_space {
    uint64_t list[LIST];
    unsigned int digits[3 * DIGITS];
};

/* The best of the cut bin's kept ids; each thread has its own. *mass: that of all kept ids of the row. */
template <bool VECTOR>
static __device__ struct choice best_of_bin(const struct draw *draw, struct cut cut,
                                            const int32_t *listed, unsigned int n,
                                            union select_space *space, unsigned long long *mass)
{
    struct choice best = {-INFINITY, NO_ID};
    *mass = cut.mass;
    if (n > LIST) {
        uint64_t last = cut_digits(draw, cut, space->digits, mass);
        auto beyond = [&](float x, int32_t id) {
            return id < draw->vocabulary && bin_of(draw, x) == cut.bin && rank_of(x, id) >= last;
        };
        return scan<VECTOR>(draw, 0, (draw->vocabulary + 3) / 4, -INFINITY, beyond);
    }
    if (n == 0)
        return best;
    for (unsigned i = threadIdx.x; i < n; i += THREADS) {
        int32_t id = __ldcg(&listed[i]);
        space->list[i] = rank_of(draw->logits[id], id);
    }
    int kept = cut_list(draw, cut, space->list, (int)n, mass);
    for (int i = (int)threadIdx.x; i < kept; i += THREADS) {
        int32_t id = (1 << ID_BITS) - 1 - (int32_t)(space->list[i] & ((1 << ID_BITS) - 1));
        uint32_t word = word_of(philox(draw, (uint32_t)id / 4), id % 4);
        choose(&best, key_exact((double)draw->logits[id], draw->temperature, word), id);
    }
    return best;
}

/* Second pass of rows with a cut. */
template <bool VECTOR>
static __global__ void __launch_bounds__(THREADS, 2)
    select_kernel(struct op_sample args, struct row_shared *rows, int32_t *lists,
                  struct choice *partial, int32_t chunk)
{
    __shared__ union select_space space;
    int64_t t = blockIdx.y;
    struct draw draw;
    draw_begin(&draw, &args, t);
    if (!draw.cut)
        return;
    struct row_shared *row = &rows[t];
    int32_t *listed = lists + t * LIST;
    struct cut cut = find_cut<BINS>(
        &draw, (struct cut){0, 0, 0}, [&](int i) { return row->mass[i]; },
        [&](int i) { return row->count[i]; });
    int32_t blocks = (draw.vocabulary + 3) / 4, begin = (int32_t)blockIdx.x * chunk;
    int32_t end = begin + chunk < blocks ? begin + chunk : blocks;
    struct choice of_row = {-INFINITY, NO_ID};
    unsigned long long mass = 0;
    float floor = draw.floor;
    partial += t * gridDim.x;
    for (bool last = false;;) {
        auto keep = [&](float x, int32_t id) {
            int bin = bin_of(&draw, x);
            if (bin == cut.bin && id < draw.vocabulary && !last) {
                unsigned int place = atomicAdd(&row->listed, 1);
                if (place < LIST)
                    listed[place] = id;
            }
            return bin < cut.bin;
        };
        struct choice best = block_best(scan<VECTOR>(&draw, begin, end, floor, keep));
        if (!last) {
            if (threadIdx.x == 0)
                partial[blockIdx.x] = best;
            if (!last_of_row(&row->selected))
                return;
            last = true;
            best = merge(partial, best_of_bin<VECTOR>(&draw, cut, listed, __ldcg(&row->listed),
                                                      &space, &mass));
        }
        choose(&of_row, best.score, best.id);
        if (threadIdx.x == 0 && of_row.score >= (double)floor)
            finish(&args, t, &draw, of_row, log((double)mass / (double)(1ull << MASS_BITS)));
        if (__syncthreads_or(threadIdx.x == 0 && of_row.score >= (double)floor))
            return;
        begin = 0;
        end = blocks;
        floor = -INFINITY;
    }
}

template <bool VECTOR>
static enum status run(struct cuda_context *cuda, const struct op_sample *args)
{
    /* Blocks of a row: enough for four a multiprocessor, none with less than two ids a thread. */
    int64_t blocks = (args->vocabulary + 3) / 4, wanted = 4 * cuda->multiprocessors;
    int64_t split = (wanted + args->rows - 1) / args->rows, most = (blocks + THREADS - 1) / THREADS;
    split = split < most ? split : most;
    int32_t chunk = (int32_t)((blocks + split - 1) / split);
    chunk = (chunk + 31) / 32 * 32;
    split = (blocks + chunk - 1) / chunk;
    void *rows = NULL, *partial = NULL, *lists = NULL;
    size_t bytes = (size_t)args->rows * sizeof(struct row_shared);
    TRY(cuda_scratch(cuda, bytes, &rows));
    TRY(cuda_scratch(cuda, (size_t)(args->rows * split) * sizeof(struct choice), &partial));
    TRY(cuda_scratch(cuda, (size_t)args->rows * LIST * sizeof(int32_t), &lists));
    CUDA_TRY(cudaMemsetAsync(rows, 0, bytes, cuda->stream));
    dim3 grid((unsigned)split, (unsigned)args->rows);
    scan_kernel<VECTOR><<<grid, THREADS, 0, cuda->stream>>>(*args, (struct row_shared *)rows,
                                                            (struct choice *)partial, chunk);
    TRY(cuda_launched("sample: scan"));
    select_kernel<VECTOR><<<grid, THREADS, 0, cuda->stream>>>(
        *args, (struct row_shared *)rows, (int32_t *)lists, (struct choice *)partial, chunk);
    return cuda_launched("sample: select");
}

extern "C" enum status cuda_sample(void *context, const struct op_sample *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    CHECK(args->vocabulary > 0 && args->vocabulary <= 1 << ID_BITS && args->rows < 1 << 16);
    if (args->rows == 0)
        return STATUS_OK;
    bool vector = args->vocabulary % 4 == 0 && (uintptr_t)args->logits % 16 == 0;
    return vector ? run<true>(cuda, args) : run<false>(cuda, args);
}
