/* bench/cuda/bench_small.cu - gemm_small at the decode shapes of Qwen2.5-0.5B, 1.5B and 7B.
 *
 * One JSON line per (rows, n, k): microseconds of a launch inside a graph, GB/s of everything that must move (weights,
 * x, y once), its share of the copy ceiling measured in the same run, and the fastest cublasLt algorithm of two kinds:
 * those that keep the chain (no split over k, no workspace) and any. L2 is cold: launches go through copies of the
 * weight that do not fit into it together. "own" leaves the library out.
 * Run: build/cuda/bin/bench_small [own] [rows...] */
#include <algorithm>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#include "kernels/cuda/gemm.h"

#define MUST(call)                                                                    \
    do {                                                                              \
        int code_ = (int)(call);                                                      \
        if (code_ != 0) {                                                             \
            fprintf(stderr, "%s:%d: %s gave %d\n", __FILE__, __LINE__, #call, code_); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

enum : size_t {
    COLD_BYTES = (size_t)256 << 20,
    POOL_BYTES = (size_t)1200 << 20,
    SPACE = (size_t)32 << 20
};
enum { LAUNCHES = 24, REPEATS = 5, ALGORITHMS = 8 };

static struct cuda_context context;

static __global__ void fill(bf16 *p, size_t count)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count;
         i += (size_t)gridDim.x * blockDim.x) {
        uint32_t h = (uint32_t)i * 2654435761u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        p[i] = __float2bfloat16_rn((float)(h >> 8) / 8388608.0f - 1.0f);
    }
}

/* Median over repeats of a graph of `LAUNCHES` launches; `launch(i)` may fail: then -1. */
template <typename LAUNCH> static double graph_us(LAUNCH launch)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t start, stop;
    if (!launch(0)) {
        (void)cudaGetLastError();
        return -1;
    }
    MUST(cudaStreamSynchronize(context.stream));
    MUST(cudaEventCreate(&start));
    MUST(cudaEventCreate(&stop));
    MUST(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
    bool fine = true;
    for (int i = 0; i < LAUNCHES; i++)
        fine = launch(i) && fine;
    MUST(cudaStreamEndCapture(context.stream, &graph));
    if (!fine)
        return -1;
    MUST(cudaGraphInstantiate(&exec, graph, 0));
    std::vector<float> ms;
    for (int i = 0; i < REPEATS + 1; i++) {
        float took;
        MUST(cudaEventRecord(start, context.stream));
        MUST(cudaGraphLaunch(exec, context.stream));
        MUST(cudaEventRecord(stop, context.stream));
        MUST(cudaEventSynchronize(stop));
        MUST(cudaEventElapsedTime(&took, start, stop));
        if (i > 0)
            ms.push_back(took);
    }
    std::sort(ms.begin(), ms.end());
    MUST(cudaGraphExecDestroy(exec));
    MUST(cudaGraphDestroy(graph));
    MUST(cudaEventDestroy(start));
    MUST(cudaEventDestroy(stop));
    return ms[ms.size() / 2] * 1000.0 / LAUNCHES;
}

struct shape {
    int64_t n, k;
    const char *name;
};

/* Fastest of what cublasLt offers; chain: only algorithms that do not split k. */
static double library_us(const struct shape &s, int rows, const bf16 *pool, int copies,
                         const bf16 *x, bf16 *y, void *space, bool chain)
{
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t found[ALGORITHMS];
    cublasOperation_t transposed = CUBLAS_OP_T;
    size_t room = chain ? 0 : SPACE;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
    int count = 0;
    float one = 1, zero = 0;
    MUST(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    MUST(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof transposed));
    MUST(cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, (uint64_t)s.k, (uint64_t)s.n, s.k));
    MUST(cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, (uint64_t)s.k, (uint64_t)rows, s.k));
    MUST(cublasLtMatrixLayoutCreate(&d, CUDA_R_16BF, (uint64_t)s.n, (uint64_t)rows, s.n));
    MUST(cublasLtMatmulPreferenceCreate(&wish));
    MUST(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                                              sizeof room));
    if (chain)
        MUST(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                  &schemes, sizeof schemes));
    (void)cublasLtMatmulAlgoGetHeuristic(context.lt, product, a, b, d, d, wish, ALGORITHMS, found,
                                         &count);
    double best = -1;
    for (int i = 0; i < count; i++) {
        double us = graph_us([&](int at) {
            return cublasLtMatmul(context.lt, product, &one, pool + at % copies * s.n * s.k, a, x,
                                  b, &zero, y, d, y, d, &found[i].algo, space, room,
                                  context.stream) == CUBLAS_STATUS_SUCCESS;
        });
        if (us > 0 && (best < 0 || us < best))
            best = us;
    }
    MUST(cublasLtMatmulPreferenceDestroy(wish));
    MUST(cublasLtMatrixLayoutDestroy(a));
    MUST(cublasLtMatrixLayoutDestroy(b));
    MUST(cublasLtMatrixLayoutDestroy(d));
    MUST(cublasLtMatmulDescDestroy(product));
    return best;
}

static double copy_ceiling(void *pool)
{
    size_t half = POOL_BYTES / 2;
    double us = graph_us([&](int) {
        return cudaMemcpyAsync((char *)pool + half, pool, half, cudaMemcpyDeviceToDevice,
                               context.stream) == cudaSuccess;
    });
    return 2.0 * (double)half / us / 1e3;
}

int main(int count, char **arguments)
{
    static const struct shape shapes[] = {
        {1152, 896, "0.5B qkv"},     {896, 896, "0.5B o"},          {9728, 896, "0.5B gate_up"},
        {896, 4864, "0.5B down"},    {151936, 896, "0.5B head"},    {2048, 1536, "1.5B qkv"},
        {1536, 1536, "1.5B o"},      {17920, 1536, "1.5B gate_up"}, {1536, 8960, "1.5B down"},
        {151936, 1536, "1.5B head"}, {4608, 3584, "7B qkv"},        {3584, 3584, "7B o"},
        {37888, 3584, "7B gate_up"}, {3584, 18944, "7B down"}};
    bool library = !(count > 1 && strcmp(arguments[1], "own") == 0);
    std::vector<int> rows;
    for (int i = library ? 1 : 2; i < count; i++)
        rows.push_back((int)std::clamp(strtol(arguments[i], NULL, 10), 1l, 64l));
    if (rows.empty())
        rows = {1, 8, 16, 32, 64};
    cudaDeviceProp property;
    MUST(cudaGetDeviceProperties(&property, 0));
    context.multiprocessors = property.multiProcessorCount;
    context.shared_max = property.sharedMemPerBlockOptin;
    MUST(cudaStreamCreate(&context.stream));
    MUST(cublasLtCreate(&context.lt));
    void *pool, *x, *y, *space;
    MUST(cudaMalloc(&pool, POOL_BYTES));
    MUST(cudaMalloc(&x, (size_t)64 * 18944 * 2));
    MUST(cudaMalloc(&y, (size_t)64 * 151936 * 4));
    MUST(cudaMalloc(&space, SPACE));
    fill<<<1024, 256, 0, context.stream>>>((bf16 *)pool, POOL_BYTES / 2);
    fill<<<1024, 256, 0, context.stream>>>((bf16 *)x, (size_t)64 * 18944);
    double ceiling = copy_ceiling(pool);
    printf("{\"device\": \"%s\", \"copy_gb_s\": %.0f}\n", property.name, ceiling);
    for (const struct shape &s : shapes)
        for (int r : rows) {
            size_t weight = (size_t)(s.n * s.k) * 2;
            int copies = (int)std::max<size_t>(
                2, std::min<size_t>(LAUNCHES, (COLD_BYTES + weight - 1) / weight));
            copies = (int)std::min<size_t>((size_t)copies, POOL_BYTES / weight);
            double us = graph_us([&](int at) {
                struct gemm_small_call call = {r,
                                               s.n,
                                               s.k,
                                               s.k,
                                               s.n,
                                               (bf16 *)x,
                                               (bf16 *)pool + at % copies * s.n * s.k,
                                               NULL,
                                               NULL,
                                               (bf16 *)y,
                                               NULL};
                return gemm_small(&context, &call) == STATUS_OK;
            });
            double chain = -1, any = -1;
            if (library) {
                chain = library_us(s, r, (bf16 *)pool, copies, (bf16 *)x, (bf16 *)y, space, true);
                any = library_us(s, r, (bf16 *)pool, copies, (bf16 *)x, (bf16 *)y, space, false);
            }
            double bytes = (double)weight + 2.0 * r * (double)(s.n + s.k);
            printf("{\"shape\": \"%s\", \"rows\": %d, \"n\": %lld, \"k\": %lld, \"us\": %.2f, "
                   "\"gb_s\": %.0f, \"of_copy\": %.2f, \"cublaslt_chain_us\": %.2f, "
                   "\"cublaslt_any_us\": %.2f}\n",
                   s.name, r, (long long)s.n, (long long)s.k, us, bytes / us / 1e3,
                   bytes / us / 1e3 / ceiling, chain, any);
            fflush(stdout);
        }
    return 0;
}
