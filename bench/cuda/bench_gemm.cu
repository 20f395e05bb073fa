/* links: kernels core */
/* bench/cuda/bench_gemm.cu - matrix products of the CUDA backend at the shapes of three models.
 *
 * One JSON line per product: our op (linear and its two gradients, grouped ones too), in us, TFLOP/s, GB/s, as a
 * share of the roofline of two ceilings measured in the same run (device copy, read and write counted; the fastest
 * bf16 product 8192^3), and beside it the fastest that cublasLt can do with a free choice: split-K, any reduction,
 * 32 MiB of workspace. "cost_percent" is what bit-equal rows cost against that. Weights rotate through copies of
 * 128 MB together, so they come from memory, not from L2, as in a model; launches are replayed as one graph. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <vector>

#include "kernels/cuda/cuda_context.h"
#include "kernels/ops.h"

#define MUST(call)                                                                       \
    do {                                                                                 \
        int code_ = (int)(call);                                                         \
        if (code_ != 0) {                                                                \
            fprintf(stderr, "%s:%d: %s gave %d: %s\n", __FILE__, __LINE__, #call, code_, \
                    status_last_error());                                                \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

enum : size_t {
    WORKSPACE = (size_t)32 << 20,
    ROTATED = (size_t)128 << 20,
    POOL = (size_t)12 << 30
};
enum { FREE_CANDIDATES = 8, REPEATS = 5 };

struct bench {
    struct op_table *ops;
    struct cuda_context *cuda;
    cudaEvent_t begin, end;
    char *pool;
    size_t used;
    void *workspace;
    double copy_gbps, gemm_tflops;
};

static __global__ void fill_kernel(uint16_t *to, int64_t count)
{
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * blockDim.x) {
        uint32_t x = (uint32_t)i * 0x9E3779B1u;
        x = (x ^ (x >> 15)) * 0x85EBCA6Bu;
        x ^= x >> 13;
        to[i] = (uint16_t)((x & 0x807fu) | ((118u + ((x >> 8) & 7u)) << 7));
    }
}

static void *take(struct bench *bench, int64_t elements, size_t element_bytes)
{
    char *memory = bench->pool + bench->used;
    bench->used += ((size_t)elements * element_bytes + 255) / 256 * 256;
    if (bench->used > POOL)
        fprintf(stderr, "the pool is too small\n"), exit(1);
    if (element_bytes == sizeof(bf16))
        fill_kernel<<<1024, 256, 0, bench->cuda->stream>>>((uint16_t *)memory, elements);
    else
        MUST(cudaMemsetAsync(memory, 0, (size_t)elements * element_bytes, bench->cuda->stream));
    return memory;
}

/* Least us of one of `count` launches in a graph. */
static double time_us(struct bench *bench, int count, const std::function<void(int)> &launch)
{
    struct op_table *ops = bench->ops;
    void *graph = NULL;
    float least = INFINITY;
    launch(0); /* algorithms and scratch exist before a graph is recorded */
    MUST(ops->graph_begin(ops->context));
    for (int i = 0; i < count; i++)
        launch(i);
    MUST(ops->graph_end(ops->context, &graph));
    for (int i = 0; i < REPEATS; i++) {
        float ms = 0;
        MUST(cudaEventRecord(bench->begin, bench->cuda->stream));
        MUST(ops->graph_run(ops->context, graph));
        MUST(cudaEventRecord(bench->end, bench->cuda->stream));
        MUST(cudaEventSynchronize(bench->end));
        MUST(cudaEventElapsedTime(&ms, bench->begin, bench->end));
        least = fminf(least, ms);
    }
    ops->graph_destroy(ops->context, &graph);
    return (double)least * 1e3 / count;
}

/* The fastest of cublasLt's own choice for column-major out [n, m] (+)= first second, in us; 0: none works.
 * Stored as row-major: first [n, k] or, turned, [k, n]; second [m, k] or, turned, [k, m]. */
struct free_product {
    int64_t m, n, k;
    bool first_turned, second_turned, out_float, accumulate;
};

static double time_free(struct bench *bench, const struct free_product *p, int count,
                        const std::function<const void *(int)> &first, const void *second,
                        void *out)
{
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t layout[3];
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t found[FREE_CANDIDATES];
    cublasOperation_t of_first = p->first_turned ? CUBLAS_OP_N : CUBLAS_OP_T;
    cublasOperation_t of_second = p->second_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint64_t m = (uint64_t)p->m, n = (uint64_t)p->n, k = (uint64_t)p->k;
    size_t workspace = WORKSPACE;
    int proposed = 0;
    double best = 0;
    MUST(cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    MUST(cublasLtMatmulDescSetAttribute(&product, CUBLASLT_MATMUL_DESC_TRANSA, &of_first,
                                        sizeof of_first));
    MUST(cublasLtMatmulDescSetAttribute(&product, CUBLASLT_MATMUL_DESC_TRANSB, &of_second,
                                        sizeof of_second));
    MUST(cublasLtMatrixLayoutInit(&layout[0], CUDA_R_16BF, p->first_turned ? n : k,
                                  p->first_turned ? k : n, p->first_turned ? p->n : p->k));
    MUST(cublasLtMatrixLayoutInit(&layout[1], CUDA_R_16BF, p->second_turned ? m : k,
                                  p->second_turned ? k : m, p->second_turned ? p->m : p->k));
    MUST(cublasLtMatrixLayoutInit(&layout[2], p->out_float ? CUDA_R_32F : CUDA_R_16BF, n, m, p->n));
    MUST(cublasLtMatmulPreferenceInit(&preference));
    MUST(cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &workspace, sizeof workspace));
    if (cublasLtMatmulAlgoGetHeuristic(bench->cuda->lt, &product, &layout[0], &layout[1],
                                       &layout[2], &layout[2], &preference, FREE_CANDIDATES, found,
                                       &proposed) != CUBLAS_STATUS_SUCCESS)
        return 0;
    const float one = 1, beta = p->accumulate ? 1.0f : 0.0f;
    for (int i = 0; i < proposed; i++) {
        bool works = true;
        double us = time_us(bench, count, [&](int at) {
            works = works && cublasLtMatmul(bench->cuda->lt, &product, &one, first(at), &layout[0],
                                            second, &layout[1], &beta, out, &layout[2], out,
                                            &layout[2], &found[i].algo, bench->workspace, WORKSPACE,
                                            bench->cuda->stream) == CUBLAS_STATUS_SUCCESS;
        });
        if (works && (best == 0 || us < best))
            best = us;
    }
    return best;
}

static void measure_ceilings(struct bench *bench)
{
    enum : size_t { COPIED = (size_t)1 << 30 };
    char *from = (char *)take(bench, COPIED / 2, 2), *to = (char *)take(bench, COPIED / 2, 2);
    double us = time_us(bench, 4, [&](int) {
        MUST(bench->ops->memory_copy(bench->ops->context, to, from, COPIED));
    });
    bench->copy_gbps = 2 * (double)COPIED / us * 1e-3;
    bench->used = 0;
    const int64_t side = 8192;
    const void *w = take(bench, side * side, 2), *x = take(bench, side * side, 2);
    void *y = take(bench, side * side, 2);
    struct free_product p = {side, side, side, false, false, false, false};
    us = time_free(
        bench, &p, 3, [&](int) { return w; }, x, y);
    bench->gemm_tflops = 2.0 * (double)side * (double)side * (double)side / us * 1e-6;
    bench->used = 0;
    printf("{\"bench\":\"ceiling\",\"gpu\":\"%s\",\"numerics\":\"%s\",\"copy_gbps\":%.0f,"
           "\"gemm_tflops\":%.0f}\n",
           bench->cuda->gpu_name, bench->ops->numerics, bench->copy_gbps, bench->gemm_tflops);
}

static void report(const struct bench *bench, const char *op, const char *model, int64_t m,
                   int64_t n, int64_t k, double bytes, double us, double free_us)
{
    double flop = 2.0 * (double)m * (double)n * (double)k;
    double least_us = fmax(bytes / bench->copy_gbps * 1e-3, flop / bench->gemm_tflops * 1e-6);
    printf("{\"bench\":\"%s\",\"model\":\"%s\",\"m\":%lld,\"n\":%lld,\"k\":%lld,\"us\":%.2f,"
           "\"tflops\":%.1f,\"gbps\":%.0f,\"roofline_share\":%.3f",
           op, model, (long long)m, (long long)n, (long long)k, us, flop / us * 1e-6,
           bytes / us * 1e-3, least_us / us);
    if (free_us > 0)
        printf(",\"free_us\":%.2f,\"cost_percent\":%.1f", free_us, (us / free_us - 1) * 100);
    printf("}\n");
    fflush(stdout);
}

static int launches(double flop, int copies)
{
    int count = flop > 4e11 ? 3 : 12;
    return count > copies || flop > 4e11 ? count : copies;
}

static void bench_linear(struct bench *bench, const char *model, int64_t m, int64_t n, int64_t k)
{
    int copies = 1 + (int)(ROTATED / (size_t)(n * k * 2));
    bench->used = 0;
    const bf16 *w = (const bf16 *)take(bench, copies * n * k, 2),
               *x = (const bf16 *)take(bench, m * k, 2);
    void *y = take(bench, m * n, 2);
    int count = launches(2.0 * (double)m * (double)n * (double)k, copies);
    struct op_linear call = {};
    call.rows = m, call.experts = 1, call.n = n, call.k = k, call.x_stride = k, call.y_stride = n;
    call.virtual_tp = 1, call.x = x, call.y = y;
    double us = time_us(bench, count, [&](int i) {
        call.packed = w + i % copies * n * k;
        MUST(bench->ops->linear(bench->ops->context, &call));
    });
    struct free_product p = {m, n, k, false, false, false, false};
    double free_us = time_free(
        bench, &p, count, [&](int i) { return (const void *)(w + i % copies * n * k); }, x, y);
    report(bench, "linear", model, m, n, k, 2.0 * (double)(m * k + n * k + m * n), us, free_us);
}

static void bench_backward(struct bench *bench, const char *model, int64_t m, int64_t n, int64_t k)
{
    bench->used = 0;
    const void *w = take(bench, n * k, 2), *x = take(bench, m * k, 2), *dy = take(bench, m * n, 2);
    void *dx = take(bench, m * k, 2);
    float *dw = (float *)take(bench, n * k, 4);
    int count = launches(2.0 * (double)m * (double)n * (double)k, 1);
    struct op_linear_backward_input input = {};
    input.rows = m, input.experts = 1, input.n = n, input.k = k, input.dy_stride = n;
    input.dx_stride = k, input.dy = dy, input.weight = w, input.dx = dx;
    double us = time_us(bench, count, [&](int) {
        MUST(bench->ops->linear_backward_input(bench->ops->context, &input));
    });
    struct free_product p = {m, k, n, true, false, false, false};
    double free_us = time_free(
        bench, &p, count, [&](int) { return w; }, dy, dx);
    report(bench, "linear_backward_input", model, m, n, k, 2.0 * (double)(m * k + n * k + m * n),
           us, free_us);
    struct op_linear_backward_weight weight = {};
    weight.rows = m, weight.experts = 1, weight.n = n, weight.k = k, weight.dy_stride = n;
    weight.x_stride = k, weight.dy = dy, weight.x = x, weight.dweight = dw;
    us = time_us(bench, count, [&](int) {
        MUST(bench->ops->linear_backward_weight(bench->ops->context, &weight));
    });
    p = {n, k, m, true, true, true, true};
    free_us = time_free(
        bench, &p, count, [&](int) { return x; }, dy, dw);
    report(bench, "linear_backward_weight", model, m, n, k,
           2.0 * (double)(m * k + m * n) + 8.0 * (double)(n * k), us, free_us);
}

/* Rows spread over the experts by a fixed uneven rule: expert e gets rows in proportion to 1 + e % 4. */
static void bench_grouped(struct bench *bench, int64_t experts, int64_t m, int64_t n, int64_t k)
{
    std::vector<int32_t> offset(1, 0);
    int64_t parts = 0, before = 0;
    for (int64_t e = 0; e < experts; e++)
        parts += 1 + e % 4;
    for (int64_t e = 0; e < experts; e++) {
        before += 1 + e % 4;
        offset.push_back((int32_t)(m * before / parts));
    }
    bench->used = 0;
    const void *w = take(bench, experts * n * k, 2), *x = take(bench, m * k, 2),
               *dy = take(bench, m * n, 2);
    void *y = take(bench, m * n, 2), *dx = take(bench, m * k, 2);
    float *dw = (float *)take(bench, experts * n * k, 4);
    int32_t *device_offset = (int32_t *)take(bench, experts + 1, 4);
    MUST(bench->ops->memory_write(bench->ops->context, device_offset, offset.data(),
                                  offset.size() * sizeof(int32_t)));
    struct op_linear call = {};
    call.rows = m, call.experts = experts, call.n = n, call.k = k, call.x_stride = k,
    call.y_stride = n;
    call.virtual_tp = 1, call.x = x, call.packed = w, call.y = y,
    call.expert_offset = device_offset;
    double weights = 2.0 * (double)(experts * n * k), rows = 2.0 * (double)(m * k + m * n);
    char model[32];
    snprintf(model, sizeof model, "%lld experts", (long long)experts);
    double us =
        time_us(bench, 5, [&](int) { MUST(bench->ops->linear(bench->ops->context, &call)); });
    report(bench, "grouped linear", model, m, n, k, weights + rows, us, 0);
    if (m < 1024)
        return;
    struct op_linear_backward_input input = {};
    input.rows = m, input.experts = experts, input.n = n, input.k = k, input.dy_stride = n;
    input.dx_stride = k, input.dy = dy, input.weight = w, input.dx = dx;
    input.expert_offset = device_offset;
    us = time_us(bench, 5, [&](int) {
        MUST(bench->ops->linear_backward_input(bench->ops->context, &input));
    });
    report(bench, "grouped linear_backward_input", model, m, n, k, weights + rows, us, 0);
    struct op_linear_backward_weight weight = {};
    weight.rows = m, weight.experts = experts, weight.n = n, weight.k = k, weight.dy_stride = n;
    weight.x_stride = k, weight.dy = dy, weight.x = x, weight.dweight = dw;
    weight.expert_offset = device_offset;
    us = time_us(bench, 5, [&](int) {
        MUST(bench->ops->linear_backward_weight(bench->ops->context, &weight));
    });
    report(bench, "grouped linear_backward_weight", model, m, n, k, 4 * weights + rows, us, 0);
}

int main(void)
{
    static const struct {
        const char *model;
        int64_t n, k;
    } weights[] = {{"0.5B", 1152, 896},   {"0.5B", 896, 896},   {"0.5B", 9728, 896},
                   {"0.5B", 896, 4864},   {"1.5B", 2048, 1536}, {"1.5B", 1536, 1536},
                   {"1.5B", 17920, 1536}, {"1.5B", 1536, 8960}, {"7B", 4608, 3584},
                   {"7B", 3584, 3584},    {"7B", 37888, 3584},  {"7B", 3584, 18944}};
    static const int64_t rows[] = {1, 16, 64, 256, 2048, 16384};
    struct bench bench = {};
    MUST(op_table_create(&bench.ops, "cuda", 1));
    bench.cuda = (struct cuda_context *)bench.ops->context;
    MUST(cudaEventCreate(&bench.begin));
    MUST(cudaEventCreate(&bench.end));
    MUST(cudaMalloc((void **)&bench.pool, POOL));
    MUST(cudaMalloc(&bench.workspace, WORKSPACE));
    measure_ceilings(&bench);
    for (const auto &w : weights)
        for (int64_t m : rows)
            bench_linear(&bench, w.model, m, w.n, w.k);
    for (const auto &w : weights)
        bench_backward(&bench, w.model, 16384, w.n, w.k);
    bench_grouped(&bench, 64, 512, 3072, 2048);
    bench_grouped(&bench, 64, 16384, 3072, 2048);
    bench_grouped(&bench, 32, 65536, 2048, 1536);
    MUST(cudaFree(bench.workspace));
    MUST(cudaFree(bench.pool));
    op_table_destroy(&bench.ops);
    return 0;
}
