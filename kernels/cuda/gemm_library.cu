/* kernels/cuda/gemm_library.cu - products by cublasLt, with algorithms that are known to give the chain's bits.
 *
 * For each kind of product (struct gemm_key) one algorithm is kept. Forward: of those that the library proposes
 * without split-K, reduction or workspace, the fastest whose results are, bit for bit, those of gemm_tile, on rows of
 * the call itself and on random numbers (the call's own may be zeros). Backward: the library's first proposal,
 * split-K allowed with a reduction through the workspace, whose order is fixed.
 *
 * With few rows gemm_small is one more candidate. The number of rows (m, or k of a weight gradient) enters the key
 * rounded up, so that packed batches of any length share an algorithm; that may cost speed, never bits. */
#include "kernels/cuda/gemm.h"

#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/gemm_plans.h"

enum { CANDIDATES = 32, ALIGNMENT = 16, TIMED_RUNS = 3 };
enum : size_t { WORKSPACE_BYTES = (size_t)32 << 20, FLUSH_BYTES = (size_t)64 << 20 };
/* Size of the product on random numbers: several tiles of any algorithm each way. */
enum { CHECK_ROWS = 512, CHECK_COLUMNS = 1024, PROBE_ROWS = 16, PROBES = 3 };
/* Time for trying algorithms of one product: few rows, and many. */
enum : int64_t { TRY_FEW_NS = 12 * CLOCK_NS_PER_MS, TRY_MANY_NS = 30 * CLOCK_NS_PER_MS };
enum { FEW_ROWS = 512, COLD_ROWS = 256 };
/* gemm_small begins before the kernel in front of it has ended (early.cuh), which a lone run does not show. */
static const float EARLY_MS = 0.0008f;

/* ---- descriptions for the library: its matrices are column-major, so d^T [n, m] = b a^T ---- */

struct product {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t first, second, out; /* b, a, d */
};

static cublasStatus_t describe(const struct gemm_call *call, struct product *made)
{
    uint64_t m = (uint64_t)call->m, n = (uint64_t)call->n, k = (uint64_t)call->k;
    cublasOperation_t of_first = call->b_transposed ? CUBLAS_OP_N : CUBLAS_OP_T;
    cublasOperation_t of_second = call->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    int failed = cublasLtMatmulDescInit(&made->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    failed |= cublasLtMatmulDescSetAttribute(&made->product, CUBLASLT_MATMUL_DESC_TRANSA, &of_first,
                                             sizeof of_first);
    failed |= cublasLtMatmulDescSetAttribute(&made->product, CUBLASLT_MATMUL_DESC_TRANSB,
                                             &of_second, sizeof of_second);
    if (call->bias != NULL) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        cudaDataType_t type = CUDA_R_16BF;
        failed |= cublasLtMatmulDescSetAttribute(&made->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                 &epilogue, sizeof epilogue);
        failed |= cublasLtMatmulDescSetAttribute(&made->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                 &call->bias, sizeof call->bias);
        failed |= cublasLtMatmulDescSetAttribute(
            &made->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
    }
    failed |= cublasLtMatrixLayoutInit(&made->first, CUDA_R_16BF, call->b_transposed ? n : k,
                                       call->b_transposed ? k : n, call->b_stride);
    failed |= cublasLtMatrixLayoutInit(&made->second, CUDA_R_16BF, call->a_transposed ? m : k,
                                       call->a_transposed ? k : m, call->a_stride);
    failed |= cublasLtMatrixLayoutInit(&made->out, call->d_float ? CUDA_R_32F : CUDA_R_16BF, n, m,
                                       call->d_stride);
    return failed == 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t run(struct cuda_context *cuda, const struct gemm_call *call,
                          const cublasLtMatmulAlgo_t *algorithm)
{
    struct product made;
    const float one = 1, beta = call->accumulate ? 1.0f : 0.0f;
    cublasStatus_t status = describe(call, &made);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    return cublasLtMatmul(cuda->lt, &made.product, &one, call->b, &made.first, call->a,
                          &made.second, &beta, call->d, &made.out, call->d, &made.out, algorithm,
                          call->exact_rows ? NULL : cuda->plans->workspace,
                          call->exact_rows ? 0 : WORKSPACE_BYTES, cuda->stream);
}

static bool is_small(const struct gemm_call *call)
{
    return call->exact_rows && !call->accumulate && call->m <= GEMM_SMALL_ROWS &&
           !call->a_transposed && !call->b_transposed && call->b_stride == call->k &&
           call->k % 8 == 0;
}

static enum status run_small(struct cuda_context *cuda, const struct gemm_call *call)
{
    struct gemm_small_call few = {};
    few.rows = call->m, few.n = call->n, few.k = call->k;
    few.x_stride = call->a_stride, few.y_stride = call->d_stride;
    few.x = call->a, few.w = call->b, few.bias = call->bias;
    few.y = call->d_float ? NULL : (bf16 *)call->d;
    few.y_float = call->d_float ? (float *)call->d : NULL;
    return gemm_small(cuda, &few);
}

/* One way to do a product: an algorithm of the library, or gemm_small (NULL). False: this one cannot. */
static bool attempt(struct cuda_context *cuda, const struct gemm_call *call,
                    const cublasLtMatmulAlgo_t *algorithm)
{
    if (algorithm == NULL)
        return is_small(call) && run_small(cuda, call) == STATUS_OK;
    return run(cuda, call, algorithm) == CUBLAS_STATUS_SUCCESS;
}

/* What the library proposes, best guess first. */
static int propose(struct cuda_context *cuda, const struct gemm_call *call,
                   cublasLtMatmulHeuristicResult_t found[CANDIDATES])
{
    struct product made;
    cublasLtMatmulPreferenceOpaque_t preference;
    uint32_t reduction =
        call->exact_rows ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    size_t workspace = call->exact_rows ? 0 : WORKSPACE_BYTES;
    uint32_t alignment = ALIGNMENT;
    int failed = describe(call, &made), count = 0;
    failed |= cublasLtMatmulPreferenceInit(&preference);
    auto set = [&](cublasLtMatmulPreferenceAttributes_t key, const void *value, size_t bytes) {
        failed |= cublasLtMatmulPreferenceSetAttribute(&preference, key, value, bytes);
    };
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction);
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignment, sizeof alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &alignment, sizeof alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignment, sizeof alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignment, sizeof alignment);
    if (failed != 0 || cublasLtMatmulAlgoGetHeuristic(
                           cuda->lt, &made.product, &made.first, &made.second, &made.out, &made.out,
                           &preference, CANDIDATES, found, &count) != CUBLAS_STATUS_SUCCESS)
        return 0;
    return count;
}

template <typename T>
static T attribute(const cublasLtMatmulAlgo_t *algorithm, cublasLtMatmulAlgoConfigAttributes_t key)
{
    T value = 0;
    size_t written = 0;
    if (cublasLtMatmulAlgoConfigGetAttribute(algorithm, key, &value, sizeof value, &written) !=
        CUBLAS_STATUS_SUCCESS)
        return (T) ~(T)0;
    return value;
}

static bool one_chain(const cublasLtMatmulHeuristicResult_t *found)
{
    return found->state == CUBLAS_STATUS_SUCCESS && found->workspaceSize == 0 &&
           attribute<int32_t>(&found->algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
           attribute<uint32_t>(&found->algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) ==
               CUBLASLT_REDUCTION_SCHEME_NONE;
}

/* ---- the check against the chain ---- */

/* Random bf16: sign and mantissa any, exponents of 2^-8 .. 2^7, so that another order of a sum shows. */
static __global__ void random_kernel(uint16_t *to, int64_t count, uint32_t seed)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count)
        return;
    uint32_t x = (uint32_t)i * 0x9E3779B1u + seed;
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    x ^= x >> 16;
    to[i] = (uint16_t)((x & 0x807fu) | ((119u + ((x >> 8) & 15u)) << 7));
}

/* Counts differing elements of two [rows, columns] matrices; two NaN are equal. An integer sum: its order is free. */
template <typename T>
static __global__ void differ_kernel(const T *a, int64_t a_stride, const T *b, int64_t b_stride,
                                     int64_t rows, int64_t columns, int *count)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * columns)
        return;
    float x = to_float(a[i / columns * a_stride + i % columns]);
    float y = to_float(b[i / columns * b_stride + i % columns]);
    if (__float_as_uint(x) != __float_as_uint(y) && !(isnan(x) && isnan(y)))
        atomicAdd(count, 1);
}

/* A product on random numbers of the call's kind, and the chain's result of it. */
struct trial {
    char *memory;
    struct gemm_call call;
    void *expected;
    size_t element, d_bytes; /* of one element of d, and of d */
    char *flush;             /* FLUSH_BYTES, more than L2; NULL: many rows, no matter */
    char *probe;             /* [PROBES, PROBE_ROWS, probe_stride] of d's type */
    int64_t probe_stride;
    int *count;
};

/* Adds to the trial's count. */
static enum status count_differing(struct cuda_context *cuda, const struct trial *trial,
                                   const void *a, int64_t a_stride, const void *b, int64_t b_stride,
                                   int64_t rows, int64_t columns)
{
    unsigned blocks = cuda_blocks(rows * columns, 256);
    if (trial->call.d_float)
        differ_kernel<<<blocks, 256, 0, cuda->stream>>>(
            (const float *)a, a_stride, (const float *)b, b_stride, rows, columns, trial->count);
    else
        differ_kernel<<<blocks, 256, 0, cuda->stream>>>((const bf16 *)a, a_stride, (const bf16 *)b,
                                                        b_stride, rows, columns, trial->count);
    return cuda_launched("gemm check");
}

static enum status read_count(struct cuda_context *cuda, const struct trial *trial, int *differing)
{
    CUDA_TRY(cudaMemcpyAsync(differing, trial->count, sizeof(int), cudaMemcpyDeviceToHost,
                             cuda->stream));
    CUDA_TRY(cudaStreamSynchronize(cuda->stream));
    return STATUS_OK;
}

static enum status trial_fill(struct cuda_context *cuda, void *memory, int64_t count, uint32_t seed)
{
    random_kernel<<<cuda_blocks(count, 256), 256, 0, cuda->stream>>>((uint16_t *)memory, count,
                                                                     seed);
    return cuda_launched("gemm check");
}

static enum status trial_begin(struct cuda_context *cuda, const struct gemm_call *given,
                               struct trial *trial)
{
    struct gemm_call *call = &trial->call;
    *call = *given;
    call->m = given->m < CHECK_ROWS ? given->m : CHECK_ROWS;
    call->n = given->n < CHECK_COLUMNS ? given->n : CHECK_COLUMNS;
    auto up = [](int64_t count) { return (count + 127) / 128 * 128; }; /* 256-byte pieces */
    call->a_stride = call->a_transposed ? up(call->m) : (call->k + 7) / 8 * 8;
    call->b_stride = call->b_transposed ? up(call->n) : (call->k + 7) / 8 * 8;
    call->d_stride = up(call->n);
    size_t element = trial->element = call->d_float ? sizeof(float) : sizeof(bf16);
    int64_t a = call->a_stride * (call->a_transposed ? call->k : call->m);
    int64_t b = up(call->b_stride * (call->b_transposed ? call->k : call->n));
    a = up(a);
    trial->d_bytes = (size_t)(call->m * call->d_stride) * element;
    size_t bias = given->bias != NULL ? (size_t)up(call->n) * 2 : 0;
    trial->probe_stride = up(given->n);
    size_t probe = (size_t)(PROBES * PROBE_ROWS * trial->probe_stride) * element;
    size_t flush = given->m <= COLD_ROWS ? FLUSH_BYTES : 0;
    CUDA_TRY(cudaMalloc((void **)&trial->memory,
                        (size_t)(a + b) * 2 + bias + 2 * trial->d_bytes + probe + flush + 256));
    char *at = trial->memory;
    call->a = (const bf16 *)at, at += a * 2;
    call->b = (const bf16 *)at, at += b * 2;
    call->bias = bias > 0 ? (const bf16 *)at : NULL, at += bias;
    call->d = at, at += trial->d_bytes;
    trial->expected = at, at += trial->d_bytes;
    trial->probe = at, at += probe;
    trial->flush = flush > 0 ? at : NULL, at += flush;
    trial->count = (int *)at;
    TRY(trial_fill(cuda, (void *)call->a, a, 1));
    TRY(trial_fill(cuda, (void *)call->b, b, 2));
    if (bias > 0)
        TRY(trial_fill(cuda, (void *)call->bias, (int64_t)bias / 2, 3));
    struct gemm_call chain = *call;
    chain.d = trial->expected, chain.accumulate = false;
    return gemm_tile(cuda, &chain, 1, NULL, NULL);
}

/* Does this algorithm give the chain's bits on the random numbers? */
static enum status trial_passes(struct cuda_context *cuda, const struct trial *trial,
                                const cublasLtMatmulAlgo_t *algorithm, bool *passes)
{
    const struct gemm_call *call = &trial->call;
    int differing = 0;
    *passes = false;
    CUDA_TRY(cudaMemsetAsync(call->d, call->accumulate ? 0 : 0xff, trial->d_bytes, cuda->stream));
    CUDA_TRY(cudaMemsetAsync(trial->count, 0, sizeof(int), cuda->stream));
    if (!attempt(cuda, call, algorithm))
        return STATUS_OK;
    TRY(count_differing(cuda, trial, call->d, call->d_stride, trial->expected, call->d_stride,
                        call->m, call->n));
    TRY(read_count(cuda, trial, &differing));
    *passes = differing == 0;
    return STATUS_OK;
}

/* A few rows at the begin, middle and end of the call's own result, and the chain's result of them. */
static int64_t probe_place(const struct gemm_call *call, int i)
{
    int64_t rows = call->m < PROBE_ROWS ? call->m : PROBE_ROWS;
    return (call->m - rows) * i / 2;
}

static enum status probe_chain(struct cuda_context *cuda, const struct gemm_call *call,
                               const struct trial *trial)
{
    for (int i = 0; i < PROBES; i++) {
        struct gemm_call chain = *call;
        chain.m = call->m < PROBE_ROWS ? call->m : PROBE_ROWS;
        chain.a += probe_place(call, i) * (call->a_transposed ? 1 : call->a_stride);
        chain.d = trial->probe + (size_t)(i * PROBE_ROWS * trial->probe_stride) * trial->element;
        chain.d_stride = trial->probe_stride, chain.accumulate = false;
        TRY(gemm_tile(cuda, &chain, 1, NULL, NULL));
    }
    return STATUS_OK;
}

/* Runs the call itself with this algorithm. ms: least time of a few runs, +infinity when it cannot run or those rows
 * differ from the chain's. */
static enum status measure(struct cuda_context *cuda, const struct gemm_call *call,
                           const struct trial *trial, const cublasLtMatmulAlgo_t *algorithm,
                           float *ms)
{
    struct gemm_plans *plans = cuda->plans;
    int64_t rows = call->m < PROBE_ROWS ? call->m : PROBE_ROWS;
    float least = INFINITY, once = 0;
    *ms = INFINITY;
    if (call->accumulate) /* so that the first run gives the product itself */
        CUDA_TRY(cudaMemsetAsync(call->d, 0, (size_t)(call->m * call->d_stride) * trial->element,
                                 cuda->stream));
    if (!attempt(cuda, call, algorithm))
        return STATUS_OK;
    CUDA_TRY(cudaMemsetAsync(trial->count, 0, sizeof(int), cuda->stream));
    for (int i = 0; i < PROBES; i++) {
        size_t at = (size_t)(probe_place(call, i) * call->d_stride) * trial->element;
        size_t probe = (size_t)(i * PROBE_ROWS * trial->probe_stride) * trial->element;
        TRY(count_differing(cuda, trial, (const char *)call->d + at, call->d_stride,
                            trial->probe + probe, trial->probe_stride, rows, call->n));
    }
    int differing = 0;
    TRY(read_count(cuda, trial, &differing));
    if (differing > 0)
        return STATUS_OK;
    for (int i = 0; i < TIMED_RUNS && (i == 0 || least < 1.0f); i++) {
        if (trial->flush != NULL)
            CUDA_TRY(cudaMemsetAsync(trial->flush, i, FLUSH_BYTES, cuda->stream));
        CUDA_TRY(cudaEventRecord(plans->begin, cuda->stream));
        if (!attempt(cuda, call, algorithm))
            return STATUS_OK;
        CUDA_TRY(cudaEventRecord(plans->end, cuda->stream));
        CUDA_TRY(cudaEventSynchronize(plans->end));
        CUDA_TRY(cudaEventElapsedTime(&once, plans->begin, plans->end));
        least = once < least ? once : least;
    }
    *ms = least;
    return STATUS_OK;
}

/* Every proposal costs some ms when its kernel is not loaded yet: after a while the best so far has to do. */
static enum status measure_all(struct cuda_context *cuda, const struct gemm_call *call,
                               const struct trial *trial, int count,
                               const cublasLtMatmulHeuristicResult_t *found, float *ms)
{
    int64_t end_ns = clock_now_ns() + (call->m <= FEW_ROWS ? TRY_FEW_NS : TRY_MANY_NS);
    bool any = false;
    TRY(probe_chain(cuda, call, trial));
    TRY(measure(cuda, call, trial, NULL, &ms[count]));
    ms[count] -= EARLY_MS;
    for (int i = 0; i < count; i++) {
        ms[i] = INFINITY;
        if (one_chain(&found[i]) && !(any && clock_now_ns() > end_ns))
            TRY(measure(cuda, call, trial, &found[i].algo, &ms[i]));
        any = any || ms[i] < INFINITY;
    }
    return STATUS_OK;
}

/* The fastest that passes; candidate `count` is gemm_small. What the call adds to must stay as it is: the runs add to
 * memory made for them, and where there is none the first proposal that passes is taken. */
static enum status choose_exact(struct cuda_context *cuda, const struct gemm_call *call,
                                const struct gemm_call *rounded, struct gemm_plan *plan)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    float ms[CANDIDATES + 1];
    int count = propose(cuda, rounded, found), best = 0;
    struct trial trial = {};
    struct gemm_call timed = *call;
    void *sums = NULL;
    enum status status = trial_begin(cuda, call, &trial);
    if (call->accumulate &&
        cudaMalloc(&sums, (size_t)(call->m * call->d_stride) * trial.element) != cudaSuccess)
        (void)cudaGetLastError();
    for (int i = 0; i <= count; i++)
        ms[i] = i < count && one_chain(&found[i]) ? (float)i : INFINITY;
    if (call->accumulate)
        timed.d = sums;
    if (status == STATUS_OK && timed.d != NULL)
        status = measure_all(cuda, &timed, &trial, count, found, ms);
    while (status == STATUS_OK && plan->choice == GEMM_BY_TILE) {
        bool passes = false;
        for (int i = 0; i <= count; i++)
            best = ms[i] < ms[best] ? i : best;
        if (ms[best] == INFINITY)
            break;
        const cublasLtMatmulAlgo_t *algorithm = best < count ? &found[best].algo : NULL;
        status = trial_passes(cuda, &trial, algorithm, &passes);
        if (passes && algorithm != NULL)
            plan->algorithm = *algorithm;
        if (passes)
            plan->choice = algorithm != NULL ? GEMM_BY_LIBRARY : GEMM_BY_SMALL;
        ms[best] = INFINITY;
    }
    (void)cudaFree(sums);
    (void)cudaFree(trial.memory);
    return status;
}

static void choose_any(struct cuda_context *cuda, const struct gemm_call *rounded,
                       struct gemm_plan *plan)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int count = propose(cuda, rounded, found);
    for (int i = 0; i < count && plan->choice == GEMM_BY_TILE; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS) {
            plan->algorithm = found[i].algo;
            plan->choice = GEMM_BY_LIBRARY;
        }
}

/* ---- plans ---- */

static enum status make_plans(struct cuda_context *cuda)
{
    struct gemm_plans *plans = (struct gemm_plans *)memory_alloc(sizeof *plans);
    if (plans == NULL)
        return FAIL(STATUS_NO_MEMORY, "plans of matrix products");
    cuda->plans = plans;
    CUDA_TRY(cudaEventCreate(&plans->begin));
    CUDA_TRY(cudaEventCreate(&plans->end));
    gemm_plans_find(cuda, plans);
    gemm_plans_load(plans);
    return STATUS_OK;
}

void cuda_gemm_plans_destroy(struct gemm_plans **plans)
{
    struct gemm_plans *old = *plans;
    if (old == NULL)
        return;
    if (old->changed)
        gemm_plans_save(old);
    (void)cudaFree(old->workspace);
    if (old->begin != NULL)
        (void)cudaEventDestroy(old->begin);
    if (old->end != NULL)
        (void)cudaEventDestroy(old->end);
    memory_free(old);
    *plans = NULL;
}

static int64_t round_rows(int64_t rows)
{
    int64_t rounded = 8;
    if (rows == 1)
        return 1;
    while (rounded < rows && rounded < 16384)
        rounded *= 2;
    return rounded;
}

static struct gemm_key key_of(const struct gemm_call *call)
{
    struct gemm_key key = {call->m, call->n, call->k, 0};
    if (call->a_transposed)
        key.k = round_rows(call->k);
    else
        key.m = round_rows(call->m);
    bool dense = call->a_stride == (call->a_transposed ? call->m : call->k) &&
                 call->b_stride == (call->b_transposed ? call->n : call->k) &&
                 call->d_stride == call->n;
    const bool flag[] = {call->a_transposed,
                         call->b_transposed,
                         call->accumulate,
                         call->d_float,
                         call->exact_rows,
                         call->bias != NULL,
                         dense};
    for (size_t i = 0; i < sizeof flag; i++)
        key.flags |= (uint64_t)flag[i] << i;
    return key;
}

static enum status make_plan(struct cuda_context *cuda, const struct gemm_call *call,
                             const struct gemm_key *key, struct gemm_plan **made)
{
    struct gemm_plans *plans = cuda->plans;
    if (cuda->capturing)
        return FAIL(
            STATUS_INVALID,
            "a graph needs a product of %lld x %lld x %lld that no call before it made: run the "
            "same step once without a graph",
            (long long)call->m, (long long)call->n, (long long)call->k);
    if (plans->count == PLANS_MAX)
        return FAIL(STATUS_UNSUPPORTED, "more than %d kinds of matrix products", PLANS_MAX);
    struct gemm_plan plan = {};
    struct gemm_call rounded = *call;
    plan.key = *key;
    rounded.m = key->m, rounded.k = key->k;
    if (call->exact_rows)
        TRY(choose_exact(cuda, call, &rounded, &plan));
    else
        choose_any(cuda, &rounded, &plan);
    *made = &plans->plan[plans->count++];
    **made = plan;
    plans->changed = true;
    if (clock_now_ns() - plans->saved_ns > CLOCK_NS_PER_S)
        gemm_plans_save(plans);
    return STATUS_OK;
}

/* What cublasLt's fast kernels need. To bf16 they would add with two roundings. */
static bool suits(const struct gemm_call *call)
{
    auto aligned = [](const void *memory) { return (uintptr_t)memory % ALIGNMENT == 0; };
    return aligned(call->a) && aligned(call->b) && aligned(call->d) && aligned(call->bias) &&
           call->a_stride % 8 == 0 && call->b_stride % 8 == 0 &&
           call->d_stride % (call->d_float ? 4 : 8) == 0 && call->k > 0 &&
           !(call->accumulate && !call->d_float);
}

enum status gemm_library(struct cuda_context *cuda, const struct gemm_call *call)
{
    if (call->m == 0 || call->n == 0)
        return STATUS_OK;
    if (!suits(call))
        return FAIL(
            STATUS_UNSUPPORTED,
            "cublasLt: product of %lld x %lld x %lld not aligned to %d bytes, or added to bf16",
            (long long)call->m, (long long)call->n, (long long)call->k, ALIGNMENT);
    if (cuda->plans == NULL)
        TRY(make_plans(cuda));
    struct gemm_key key = key_of(call);
    struct gemm_plan *plan = NULL;
    bool ready = call->exact_rows || cuda->plans->workspace != NULL;
    if (!ready && !cuda->capturing) {
        CUDA_TRY(cudaMalloc(&cuda->plans->workspace, WORKSPACE_BYTES));
        ready = true;
    }
    for (int i = 0; i < cuda->plans->count && plan == NULL && ready; i++)
        if (memcmp(&cuda->plans->plan[i].key, &key, sizeof key) == 0)
            plan = &cuda->plans->plan[i];
    if (plan == NULL)
        TRY(make_plan(cuda, call, &key, &plan));
    if (plan->choice == GEMM_BY_SMALL && is_small(call))
        return run_small(cuda, call);
    if (plan->choice == GEMM_BY_LIBRARY &&
        run(cuda, call, &plan->algorithm) == CUBLAS_STATUS_SUCCESS)
        return STATUS_OK;
    return FAIL(STATUS_UNSUPPORTED, "cublasLt: no algorithm for a product of %lld x %lld x %lld",
                (long long)call->m, (long long)call->n, (long long)call->k);
}
