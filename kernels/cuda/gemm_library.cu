/* kernels/cuda/gemm_library.cu - products by cublasLt, with algorithms that are known to give the chain's bits.
 *
 * For each kind of product (struct gemm_key) one algorithm is kept. Forward: of those that the library proposes
 * without split-K, reduction or workspace, the fastest whose results are, bit for bit, those of gemm_tile, on rows of
 * the call itself and on random numbers (the call's own may be zeros). Backward: the library's first proposal,
 * split-K allowed with a reduction through the workspace, whose order is fixed.
 *
 * The number of rows (m, or k of a weight gradient) enters the key rounded up, so that packed batches of any length
 * share an algorithm; that may cost speed, never bits. Choices are kept in
 * $XDG_CACHE_HOME/weir/gemm-<GPU>-<cublasLt version>.txt (WEIR_GEMM_CACHE=off: neither read nor written). */
#include "kernels/cuda/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "kernels/cuda/device.cuh"

enum { PLANS_MAX = 1024, CANDIDATES = 32, ALIGNMENT = 16, TIMED_RUNS = 3 };
enum : size_t { WORKSPACE_BYTES = (size_t)32 << 20, CACHE_BYTES_MAX = (size_t)1 << 20 };
/* Size of the product on random numbers: several tiles of any algorithm each way. */
enum { CHECK_ROWS = 512, CHECK_COLUMNS = 1024, PROBE_ROWS = 16, PROBES = 3 };
enum : int64_t { TRY_NS = 12 * CLOCK_NS_PER_MS };

struct gemm_key {
    int64_t m, n, k; /* the number of rows rounded up */
    uint64_t flags;
};

struct gemm_plan {
    struct gemm_key key;
    cublasLtMatmulAlgo_t algorithm;
    uint64_t usable; /* 0: no algorithm passes, gemm_tile does this product */
};

struct gemm_plans {
    struct gemm_plan plan[PLANS_MAX];
    int count;
    void *workspace; /* WORKSPACE_BYTES, made by the first backward product */
    cudaEvent_t begin, end;
    char path[FILE_PATH_MAX]; /* "" when choices are not kept on disk */
    int64_t saved_ns;
    bool changed;
};

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

/* Counts differing 2-byte words of two [rows, words] matrices. An integer sum: its order is free. */
static __global__ void differ_kernel(const uint16_t *a, int64_t a_stride, const uint16_t *b,
                                     int64_t b_stride, int64_t rows, int64_t words, int *count)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * words)
        return;
    int64_t row = i / words, word = i % words;
    if (a[row * a_stride + word] != b[row * b_stride + word])
        atomicAdd(count, 1);
}

/* A product on random numbers of the call's kind, and the chain's result of it. */
struct trial {
    char *memory;
    struct gemm_call call;
    void *expected;
    size_t element, d_bytes; /* of one element of d, and of d */
    char *probe;             /* [PROBES, PROBE_ROWS, probe_stride] of d's type */
    int64_t probe_stride;
    int *count;
};

/* Adds to the trial's count. */
static enum status count_differing(struct cuda_context *cuda, const struct trial *trial,
                                   const void *a, int64_t a_stride, const void *b, int64_t b_stride,
                                   int64_t rows, int64_t columns)
{
    int64_t words = (int64_t)trial->element / 2;
    differ_kernel<<<cuda_blocks(rows * columns * words, 256), 256, 0, cuda->stream>>>(
        (const uint16_t *)a, a_stride * words, (const uint16_t *)b, b_stride * words, rows,
        columns * words, trial->count);
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
    call->a_stride = up(call->a_transposed ? call->m : call->k);
    call->b_stride = up(call->b_transposed ? call->n : call->k);
    call->d_stride = up(call->n);
    size_t element = trial->element = call->d_float ? sizeof(float) : sizeof(bf16);
    int64_t a = call->a_stride * (call->a_transposed ? call->k : call->m);
    int64_t b = call->b_stride * (call->b_transposed ? call->k : call->n);
    trial->d_bytes = (size_t)(call->m * call->d_stride) * element;
    size_t bias = given->bias != NULL ? (size_t)up(call->n) * 2 : 0;
    trial->probe_stride = up(given->n);
    size_t probe = (size_t)(PROBES * PROBE_ROWS * trial->probe_stride) * element;
    CUDA_TRY(cudaMalloc((void **)&trial->memory,
                        (size_t)(a + b) * 2 + bias + 2 * trial->d_bytes + probe + 256));
    char *at = trial->memory;
    call->a = (const bf16 *)at, at += a * 2;
    call->b = (const bf16 *)at, at += b * 2;
    call->bias = bias > 0 ? (const bf16 *)at : NULL, at += bias;
    call->d = at, at += trial->d_bytes;
    trial->expected = at, at += trial->d_bytes;
    trial->probe = at, at += probe;
    trial->count = (int *)at;
    TRY(trial_fill(cuda, (void *)call->a, a, 1));
    TRY(trial_fill(cuda, (void *)call->b, b, 2));
    if (bias > 0)
        TRY(trial_fill(cuda, (void *)call->bias, (int64_t)bias / 2, 3));
    struct gemm_call chain = *call;
    chain.d = trial->expected;
    return gemm_tile(cuda, &chain, 1, NULL, NULL);
}

/* Does this algorithm give the chain's bits on the random numbers? */
static enum status trial_passes(struct cuda_context *cuda, const struct trial *trial,
                                const cublasLtMatmulAlgo_t *algorithm, bool *passes)
{
    const struct gemm_call *call = &trial->call;
    int differing = 0;
    *passes = false;
    CUDA_TRY(cudaMemsetAsync(call->d, 0xff, trial->d_bytes, cuda->stream));
    CUDA_TRY(cudaMemsetAsync(trial->count, 0, sizeof(int), cuda->stream));
    if (run(cuda, call, algorithm) != CUBLAS_STATUS_SUCCESS)
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
        chain.d_stride = trial->probe_stride;
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
    if (run(cuda, call, algorithm) != CUBLAS_STATUS_SUCCESS)
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
        CUDA_TRY(cudaEventRecord(plans->begin, cuda->stream));
        if (run(cuda, call, algorithm) != CUBLAS_STATUS_SUCCESS)
            return STATUS_OK;
        CUDA_TRY(cudaEventRecord(plans->end, cuda->stream));
        CUDA_TRY(cudaEventSynchronize(plans->end));
        CUDA_TRY(cudaEventElapsedTime(&once, plans->begin, plans->end));
        least = once < least ? once : least;
    }
    *ms = least;
    return STATUS_OK;
}

/* Every proposal costs some ms when its kernel is not loaded yet: after TRY_NS the best so far has to do. */
static enum status measure_all(struct cuda_context *cuda, const struct gemm_call *call,
                               const struct trial *trial, int count,
                               const cublasLtMatmulHeuristicResult_t *found, float *ms)
{
    int64_t begin_ns = clock_now_ns();
    bool any = false;
    TRY(probe_chain(cuda, call, trial));
    for (int i = 0; i < count; i++) {
        ms[i] = INFINITY;
        if (one_chain(&found[i]) && !(any && clock_now_ns() - begin_ns > TRY_NS))
            TRY(measure(cuda, call, trial, &found[i].algo, &ms[i]));
        any = any || ms[i] < INFINITY;
    }
    return STATUS_OK;
}

static enum status choose_exact(struct cuda_context *cuda, const struct gemm_call *call,
                                const struct gemm_call *rounded, struct gemm_plan *plan)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    float ms[CANDIDATES];
    int count = propose(cuda, rounded, found);
    struct trial trial = {};
    enum status status = trial_begin(cuda, call, &trial);
    if (status == STATUS_OK)
        status = measure_all(cuda, call, &trial, count, found, ms);
    while (status == STATUS_OK && plan->usable == 0) {
        int best = 0;
        bool passes = false;
        for (int i = 1; i < count; i++)
            best = ms[i] < ms[best] ? i : best;
        if (count == 0 || ms[best] == INFINITY)
            break;
        status = trial_passes(cuda, &trial, &found[best].algo, &passes);
        plan->algorithm = found[best].algo;
        plan->usable = passes;
        ms[best] = INFINITY;
    }
    if (trial.memory != NULL)
        (void)cudaFree(trial.memory);
    return status;
}

static void choose_any(struct cuda_context *cuda, const struct gemm_call *rounded,
                       struct gemm_plan *plan)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int count = propose(cuda, rounded, found);
    for (int i = 0; i < count && plan->usable == 0; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS) {
            plan->algorithm = found[i].algo;
            plan->usable = 1;
        }
}

/* ---- choices on disk: one line each, "m n k flags usable algorithm crc", all hexadecimal ---- */

enum { LINE_WORDS = sizeof(struct gemm_plan) / sizeof(uint64_t) };
static_assert(sizeof(struct gemm_plan) % sizeof(uint64_t) == 0, "a plan is written as words");

static bool parse_line(const char *line, struct gemm_plan *plan)
{
    uint64_t word[LINE_WORDS];
    char *end = NULL;
    for (int i = 0; i < LINE_WORDS; i++, line = end) {
        word[i] = strtoull(line, &end, 16);
        if (end == line)
            return false;
    }
    uint64_t crc = strtoull(line, &end, 16);
    memcpy(plan, word, sizeof *plan);
    return end != line && *end == '\n' && crc == crc32c(0, word, sizeof word);
}

static void load_plans(struct gemm_plans *plans)
{
    struct buffer text;
    int damaged = 0;
    buffer_init(&text, CACHE_BYTES_MAX);
    if (file_read(plans->path, &text) == STATUS_OK) {
        const char *line = buffer_string(&text);
        for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            struct gemm_plan plan;
            if (!parse_line(line, &plan))
                damaged++;
            else if (plans->count < PLANS_MAX)
                plans->plan[plans->count++] = plan;
        }
        damaged += *line != '\0';
    }
    if (damaged > 0)
        fprintf(stderr, "%s: %d damaged lines ignored; their products are tried again\n",
                plans->path, damaged);
    buffer_free(&text);
}

/* Whole or not at all: another process may write at the same time, the last one wins. */
static enum status write_plans(struct gemm_plans *plans, struct buffer *text)
{
    for (int i = 0; i < plans->count; i++) {
        uint64_t word[LINE_WORDS];
        memcpy(word, &plans->plan[i], sizeof word);
        for (int j = 0; j < LINE_WORDS; j++)
            TRY(buffer_printf(text, "%llx ", (unsigned long long)word[j]));
        TRY(buffer_printf(text, "%x\n", crc32c(0, word, sizeof word)));
    }
    return file_replace(plans->path, text->bytes, text->size);
}

static void save_plans(struct gemm_plans *plans)
{
    struct buffer text;
    plans->changed = false;
    plans->saved_ns = clock_now_ns();
    if (plans->path[0] == '\0')
        return;
    buffer_init(&text, CACHE_BYTES_MAX);
    if (write_plans(plans, &text) != STATUS_OK)
        plans->path[0] = '\0'; /* a full or read-only disk: choices live as long as this process */
    buffer_free(&text);
}

static enum status find_path(const struct cuda_context *cuda, char path[FILE_PATH_MAX])
{
    const char *off = getenv("WEIR_GEMM_CACHE"), *base = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    char folder[FILE_PATH_MAX], name[sizeof cuda->gpu_name];
    if (off != NULL && strcmp(off, "off") == 0)
        return STATUS_OK;
    if (base != NULL && base[0] == '/')
        TRY(file_path(folder, "%s/weir", base));
    else if (home != NULL && home[0] == '/')
        TRY(file_path(folder, "%s/.cache/weir", home));
    else
        return STATUS_OK;
    memcpy(name, cuda->gpu_name, sizeof name);
    for (char *c = name; *c != '\0'; c++)
        *c = *c == ' ' || *c == '/' ? '-' : *c;
    TRY(file_make_dirs(folder));
    return file_path(path, "%s/gemm-%s-%zu.txt", folder, name, cublasLtGetVersion());
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
    if (find_path(cuda, plans->path) != STATUS_OK)
        plans->path[0] = '\0';
    if (plans->path[0] != '\0')
        load_plans(plans);
    return STATUS_OK;
}

void cuda_gemm_plans_destroy(struct gemm_plans **plans)
{
    struct gemm_plans *old = *plans;
    if (old == NULL)
        return;
    if (old->changed)
        save_plans(old);
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
    int64_t rounded = 16;
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
        save_plans(plans);
    return STATUS_OK;
}

/* What cublasLt's fast kernels need. To bf16 they would add with two roundings. */
static bool suits(const struct gemm_call *call)
{
    auto aligned = [](const void *memory) { return (uintptr_t)memory % ALIGNMENT == 0; };
    return aligned(call->a) && aligned(call->b) && aligned(call->d) && aligned(call->bias) &&
           call->a_stride % 8 == 0 && call->b_stride % 8 == 0 &&
           call->d_stride % (call->d_float ? 4 : 8) == 0 && call->k > 0 &&
           !(call->accumulate && (call->exact_rows || !call->d_float));
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
    if (plan->usable != 0 && run(cuda, call, &plan->algorithm) == CUBLAS_STATUS_SUCCESS)
        return STATUS_OK;
    return FAIL(STATUS_UNSUPPORTED, "cublasLt: no algorithm for a product of %lld x %lld x %lld",
                (long long)call->m, (long long)call->n, (long long)call->k);
}
