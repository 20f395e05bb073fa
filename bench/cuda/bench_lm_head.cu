/* bench/cuda/bench_lm_head.cu - times of the LM head on the GPU, one JSON line a shape.
 *
 *   bin/cuda_bench_lm_head [channels vocabulary]
 *
 * Without arguments: heads of 0.5B and 1.5B models (V = 151,936) and of a 7B-sized one (4096, 131,072). Each line has
 * training (8,192 rows, forward and backward, with and without the second weight plane) in ms and TFLOP/s, and
 * decode (1 .. 64 rows, in a graph) in us and GB/s of weights read. The first line has what the machine gives at most: a copy,
 * and a product of 8192^3. Medians; data are random, weights do not fit in L2. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/cuda_context.h"

static struct op_table *ops;

static void must(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fprintf(stderr, "%s: %s\n", what, status_last_error());
        exit(1);
    }
}
static void must_cuda(cudaError_t error, const char *what)
{
    if (error != cudaSuccess) {
        fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
        exit(1);
    }
}

template <typename T> static T *device(int64_t count)
{
    void *memory = NULL;
    must(ops->memory_create(ops->context, (size_t)count * sizeof(T), &memory), "memory");
    return (T *)memory;
}

/* Random bf16 in (-size, size), a pattern of 2^20 values again and again. */
static bf16 *random_bf16(int64_t count, float size)
{
    const int64_t period = 1 << 20;
    std::vector<bf16> host((size_t)period);
    uint32_t state = 1;
    for (auto &value : host) {
        state = state * 1664525u + 1013904223u;
        value = __float2bfloat16_rn(size * ((float)(state >> 8) / 8388608.0f - 1.0f));
    }
    bf16 *memory = device<bf16>(count);
    for (int64_t at = 0; at < count; at += period)
        must(ops->memory_write(ops->context, memory + at, host.data(),
                               (size_t)std::min(period, count - at) * sizeof host[0]),
             "write");
    return memory;
}

/* Median of `runs` calls in ms; the host waits for each, so that the queue does not hide a gap. */
template <typename F> static double median_ms(int runs, F call)
{
    std::vector<float> times;
    cudaEvent_t start, stop;
    must_cuda(cudaEventCreate(&start), "event");
    must_cuda(cudaEventCreate(&stop), "event");
    call();
    must(ops->finish(ops->context), "finish");
    cudaStream_t stream = ((const struct cuda_context *)ops->context)->stream;
    for (int i = 0; i < runs; i++) {
        must_cuda(cudaEventRecord(start, stream), "record");
        call();
        must_cuda(cudaEventRecord(stop, stream), "record");
        must_cuda(cudaEventSynchronize(stop), "wait");
        float ms = 0;
        must_cuda(cudaEventElapsedTime(&ms, start, stop), "time");
        times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    return (double)times[times.size() / 2];
}

static void ceilings(void)
{
    const int64_t side = 8192, bytes = (int64_t)1 << 30;
    bf16 *a = random_bf16(side * side, 1), *b = random_bf16(side * side, 1);
    bf16 *y = device<bf16>(side * side);
    char *from = device<char>(bytes), *to = device<char>(bytes);
    struct op_linear product = {};
    product.rows = product.n = product.k = product.x_stride = product.y_stride = side;
    product.experts = 1;
    product.virtual_tp = 1;
    product.x = a;
    product.packed = b;
    product.y = y;
    double product_ms = median_ms(9, [&] { must(ops->linear(ops->context, &product), "linear"); });
    double copy_ms = median_ms(
        9, [&] { must(ops->memory_copy(ops->context, to, from, (size_t)bytes), "copy"); });
    printf("{\"device\": \"%s\", \"copy_gb_s\": %.0f, \"product_tflops\": %.0f}\n",
           ((const struct cuda_context *)ops->context)->gpu_name, 2e-6 * (double)bytes / copy_ms,
           2e-9 * (double)side * (double)side * (double)side / product_ms);
    for (void *memory : {(void *)a, (void *)b, (void *)y, (void *)from, (void *)to})
        ops->memory_destroy(ops->context, &memory);
}

struct head {
    int64_t rows, channels, vocabulary;
    bf16 *x, *weight, *mid, *dx;
    int32_t *target;
    float *logits, *lse, *lse_raw, *logprob, *entropy, *dlogprob, *dweight;
};
enum { ROWS = 8192, DECODE_ROWS = 64, GRAPH_CALLS = 8 };

static struct head head_create(int64_t channels, int64_t vocabulary)
{
    struct head head = {ROWS, channels, vocabulary};
    std::vector<int32_t> target(ROWS);
    std::vector<float> dlogprob(ROWS, 0.5f);
    for (int64_t t = 0; t < ROWS; t++)
        target[(size_t)t] = (int32_t)(t * 7919 % vocabulary);
    head.x = random_bf16(ROWS * channels, 1);
    head.weight = random_bf16(vocabulary * channels, 0.05f);
    head.mid = random_bf16(vocabulary * channels, 0.0001f);
    head.dx = device<bf16>(ROWS * channels);
    head.target = device<int32_t>(ROWS);
    head.logits = device<float>(DECODE_ROWS * vocabulary);
    for (float **row : {&head.lse, &head.lse_raw, &head.logprob, &head.entropy, &head.dlogprob})
        *row = device<float>(ROWS);
    head.dweight = device<float>(vocabulary * channels);
    must(ops->memory_write(ops->context, head.target, target.data(), ROWS * sizeof(int32_t)),
         "write");
    must(ops->memory_write(ops->context, head.dlogprob, dlogprob.data(), ROWS * sizeof(float)),
         "write");
    return head;
}

static void head_destroy(struct head *head)
{
    void *all[] = {head->x,       head->weight,  head->mid,      head->dx,
                   head->target,  head->logits,  head->lse,      head->lse_raw,
                   head->logprob, head->entropy, head->dlogprob, head->dweight};
    for (void *memory : all)
        ops->memory_destroy(ops->context, &memory);
}

/* decode: logits and both sums; else what training asks for. */
static double forward_ms(const struct head *head, int64_t rows, bool mid, bool decode)
{
    struct op_lm_head args = {};
    args.rows = rows;
    args.channels = head->channels;
    args.vocabulary = head->vocabulary;
    args.temperature = 1;
    args.x = head->x;
    args.packed = head->weight;
    args.mid = mid ? head->mid : NULL;
    args.lse = head->lse;
    if (decode) {
        args.logits = head->logits;
        args.lse_raw = head->lse_raw;
    } else {
        args.target = head->target;
        args.logprob = head->logprob;
        args.entropy = head->entropy;
    }
    auto call = [&] { must(ops->lm_head(ops->context, &args), "lm_head"); };
    if (!decode)
        return median_ms(7, call);
    void *graph = NULL; /* as an actor runs it */
    call();
    must(ops->graph_begin(ops->context), "graph");
    for (int i = 0; i < GRAPH_CALLS; i++)
        call();
    must(ops->graph_end(ops->context, &graph), "graph");
    double ms = median_ms(9, [&] { must(ops->graph_run(ops->context, graph), "graph"); });
    ops->graph_destroy(ops->context, &graph);
    return ms / GRAPH_CALLS;
}

static double backward_ms(const struct head *head, bool mid)
{
    struct op_lm_head_backward args = {};
    args.rows = head->rows;
    args.channels = head->channels;
    args.vocabulary = head->vocabulary;
    args.temperature = 1;
    args.x = head->x;
    args.packed = args.weight = head->weight;
    args.mid = mid ? head->mid : NULL;
    args.target = head->target;
    args.lse = head->lse;
    args.dlogprob = head->dlogprob;
    args.dx = head->dx;
    args.dweight = head->dweight;
    return median_ms(5,
                     [&] { must(ops->lm_head_backward(ops->context, &args), "lm_head_backward"); });
}

static void report(int64_t channels, int64_t vocabulary)
{
    struct head head = head_create(channels, vocabulary);
    double weights = (double)channels * (double)vocabulary, work = 2e-9 * ROWS * weights;
    for (int plane = 0; plane < 2; plane++) {
        double forward = forward_ms(&head, ROWS, plane != 0, false);
        double backward = backward_ms(&head, plane != 0);
        printf("{\"channels\": %lld, \"vocabulary\": %lld, \"mid\": %d, \"rows\": %d, "
               "\"forward_ms\": %.2f, \"forward_tflops\": %.0f, \"backward_ms\": %.2f, "
               "\"both_ms\": %.2f, \"decode\": [",
               (long long)channels, (long long)vocabulary, plane, ROWS, forward,
               work * (plane + 1) / forward, backward, forward + backward);
        for (int64_t rows : {1, 8, 16, 64}) {
            double ms = forward_ms(&head, rows, plane != 0, true);
            printf("%s{\"rows\": %lld, \"us\": %.1f, \"gb_s\": %.0f}", rows > 1 ? ", " : "",
                   (long long)rows, 1e3 * ms, 2e-6 * weights * (plane + 1) / ms);
        }
        printf("]}\n");
        fflush(stdout);
    }
    head_destroy(&head);
}

int main(int argc, char **argv)
{
    must(op_table_create(&ops, "cuda", 1), "cuda");
    ceilings();
    if (argc == 3) {
        report(strtoll(argv[1], NULL, 10), strtoll(argv[2], NULL, 10));
    } else {
        report(896, 151936);
        report(1536, 151936);
        report(4096, 131072);
    }
    op_table_destroy(&ops);
    return 0;
}
