/* links: kernels_cuda */
/* bench/cuda/bench_lightning.cu - lightning attention on a GPU against the bytes it must move.
 *
 * Forward and forward + backward of one sequence of T tokens (fused, head-major q, k, v as in M1), and decode of B
 * sequences whose rows stand all over the chunk. JSON lines: median of runs in ms; the bytes that must move (q, k, v, y
 * once each way: 8 D a token and head forward, 28 D with backward; decode: bf16 state, half a chunk of k and v, 10
 * D^2 / C for the master) and their rate as a share of a copy measured in the same run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/cuda_context.h"

#define MUST(call)                                                                       \
    do {                                                                                 \
        int code_ = (int)(call);                                                         \
        if (code_ != 0) {                                                                \
            fprintf(stderr, "%s:%d: %s gave %d: %s\n", __FILE__, __LINE__, #call, code_, \
                    cudaGetErrorString(cudaGetLastError()));                             \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

static __global__ void fill(bf16 *x, int64_t count, uint32_t seed)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count)
        return;
    uint32_t bits = ((uint32_t)i ^ seed) * 2654435761u;
    bits = (bits ^ (bits >> 15)) * 2246822519u;
    x[i] = __float2bfloat16_rn((float)(bits >> 8) / 8388608.0f - 1.0f);
}

static bf16 *make(int64_t count, uint32_t seed)
{
    bf16 *x = NULL;
    MUST(cudaMalloc((void **)&x, (size_t)count * sizeof *x));
    fill<<<cuda_blocks(count, 256), 256>>>(x, count, seed);
    MUST(cudaDeviceSynchronize());
    return x;
}

template <typename Call> static double median_ms(cudaStream_t stream, int runs, Call call)
{
    cudaEvent_t start, stop;
    MUST(cudaEventCreate(&start));
    MUST(cudaEventCreate(&stop));
    std::vector<float> times;
    for (int n = 0; n < runs + 2; n++) {
        float ms = 0;
        MUST(cudaEventRecord(start, stream));
        call(n);
        MUST(cudaEventRecord(stop, stream));
        MUST(cudaEventSynchronize(stop));
        MUST(cudaEventElapsedTime(&ms, start, stop));
        if (n >= 2)
            times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

static double copy_rate(cudaStream_t stream) /* bytes a ms, read + written */
{
    const size_t bytes = (size_t)2 << 30;
    void *from = NULL, *to = NULL;
    MUST(cudaMalloc(&from, bytes));
    MUST(cudaMalloc(&to, bytes));
    double ms = median_ms(stream, 10, [&](int) {
        MUST(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
    });
    MUST(cudaFree(from));
    MUST(cudaFree(to));
    return 2.0 * (double)bytes / ms;
}

static void report(const char *what, int64_t heads, int64_t chunk, int64_t size, double ms,
                   double bytes, double ceiling)
{
    printf("{\"bench\":\"lightning %s\",\"heads\":%lld,\"head_size\":128,\"chunk\":%lld,\"n\":%lld,"
           "\"ms\":%.4f,\"tb_per_s\":%.3f,\"of_copy\":%.3f}\n",
           what, (long long)heads, (long long)chunk, (long long)size, ms, bytes / ms / 1e9,
           bytes / ms / ceiling);
    fflush(stdout);
}

enum { D = 128 };

struct bench {
    struct cuda_context *cuda;
    double ceiling;
    float *slopes;
    struct op_segment *segments;
    char *state;
    bf16 *k_buffer, *v_buffer;
};

static void make_cache(struct bench *b, int64_t slots, int64_t heads, int64_t chunk)
{
    size_t state = cuda_lightning_state_bytes(b->cuda, heads, D) * (size_t)slots;
    std::vector<float> slopes((size_t)heads);
    for (int64_t h = 0; h < heads; h++)
        slopes[(size_t)h] = exp2f(-8.0f * (float)(h + 1) / (float)heads);
    MUST(cudaMalloc((void **)&b->state, state));
    MUST(cudaMemset(b->state, 0, state));
    MUST(cudaMalloc((void **)&b->slopes, (size_t)heads * sizeof(float)));
    MUST(cudaMemcpy(b->slopes, slopes.data(), (size_t)heads * sizeof(float),
                    cudaMemcpyHostToDevice));
    b->k_buffer = make(slots * heads * chunk * D, 1);
    b->v_buffer = make(slots * heads * chunk * D, 2);
}

static void free_cache(struct bench *b)
{
    void *pieces[] = {b->state, b->slopes, b->k_buffer, b->v_buffer, b->segments};
    for (void *piece : pieces)
        MUST(cudaFree(piece));
}

static void bench_sequence(struct bench *b, int64_t heads, int64_t chunk, int64_t rows)
{
    make_cache(b, 1, heads, chunk);
    struct op_segment segment = {0, 0, 0, (int32_t)rows};
    MUST(cudaMalloc((void **)&b->segments, sizeof segment));
    MUST(cudaMemcpy(b->segments, &segment, sizeof segment, cudaMemcpyHostToDevice));
    int64_t stride = heads * 3 * D;
    bf16 *qkv = make(rows * stride, 3), *y = make(rows * heads * D, 4);
    bf16 *dy = make(rows * heads * D, 5), *dqkv = make(rows * stride, 6);
    struct op_lightning forward = {.rows = rows,
                                   .heads = heads,
                                   .head_size = D,
                                   .row_stride = stride,
                                   .head_stride = 3 * D,
                                   .chunk = chunk,
                                   .slopes = b->slopes,
                                   .segments = b->segments,
                                   .segment_count = 1,
                                   .q = qkv,
                                   .k = qkv + D,
                                   .v = qkv + 2 * D,
                                   .state = b->state,
                                   .k_buffer = b->k_buffer,
                                   .v_buffer = b->v_buffer,
                                   .y = y};
    struct op_lightning_backward backward = {.rows = rows,
                                             .heads = heads,
                                             .head_size = D,
                                             .row_stride = stride,
                                             .head_stride = 3 * D,
                                             .chunk = chunk,
                                             .slopes = b->slopes,
                                             .segments = b->segments,
                                             .segment_count = 1,
                                             .q = qkv,
                                             .k = qkv + D,
                                             .v = qkv + 2 * D,
                                             .dy = dy,
                                             .dq = dqkv,
                                             .dk = dqkv + D,
                                             .dv = dqkv + 2 * D};
    double bytes = (double)(rows * heads) * D;
    double ms =
        median_ms(b->cuda->stream, 7, [&](int) { MUST(cuda_lightning(b->cuda, &forward)); });
    report("forward", heads, chunk, rows, ms, 8 * bytes, b->ceiling);
    ms = median_ms(b->cuda->stream, 7, [&](int) {
        MUST(cuda_lightning(b->cuda, &forward));
        MUST(cuda_lightning_backward(b->cuda, &backward));
    });
    report("forward+backward", heads, chunk, rows, ms, 28 * bytes, b->ceiling);
    void *pieces[] = {qkv, y, dy, dqkv};
    for (void *piece : pieces)
        MUST(cudaFree(piece));
    free_cache(b);
}

static void bench_decode(struct bench *b, int64_t heads, int64_t chunk, int64_t sequences)
{
    enum { STEPS = 64 };
    make_cache(b, sequences, heads, chunk);
    std::vector<struct op_segment> segments;
    for (int32_t step = 0; step < STEPS; step++)
        for (int32_t s = 0; s < (int32_t)sequences; s++)
            segments.push_back({s, 4096 + s * 7 + step, s, 1});
    MUST(cudaMalloc((void **)&b->segments, segments.size() * sizeof segments[0]));
    MUST(cudaMemcpy(b->segments, segments.data(), segments.size() * sizeof segments[0],
                    cudaMemcpyHostToDevice));
    int64_t stride = heads * 3 * D;
    bf16 *qkv = make(sequences * stride, 3), *y = make(sequences * heads * D, 4);
    auto steps = [&](int) {
        for (int step = 0; step < STEPS; step++) {
            struct op_lightning call = {.rows = sequences,
                                        .heads = heads,
                                        .head_size = D,
                                        .row_stride = stride,
                                        .head_stride = 3 * D,
                                        .chunk = chunk,
                                        .slopes = b->slopes,
                                        .segments = b->segments + step * sequences,
                                        .segment_count = (int32_t)sequences,
                                        .q = qkv,
                                        .k = qkv + D,
                                        .v = qkv + 2 * D,
                                        .state = b->state,
                                        .k_buffer = b->k_buffer,
                                        .v_buffer = b->v_buffer,
                                        .y = y};
            MUST(cuda_lightning(b->cuda, &call));
        }
    };
    cudaGraph_t graph = NULL;
    cudaGraphExec_t recorded = NULL;
    steps(0);
    MUST(cudaStreamBeginCapture(b->cuda->stream, cudaStreamCaptureModeThreadLocal));
    steps(0);
    MUST(cudaStreamEndCapture(b->cuda->stream, &graph));
    MUST(cudaGraphInstantiate(&recorded, graph, 0));
    double ms = median_ms(b->cuda->stream, 5,
                          [&](int) { MUST(cudaGraphLaunch(recorded, b->cuda->stream)); });
    double state = 2.0 * D * D + 2.0 * (double)chunk * D + 4.0 * D + 10.0 * D * D / (double)chunk;
    report("decode", heads, chunk, sequences, ms / STEPS, state * (double)(heads * sequences),
           b->ceiling);
    MUST(cudaGraphExecDestroy(recorded));
    MUST(cudaGraphDestroy(graph));
    MUST(cudaFree(qkv));
    MUST(cudaFree(y));
    free_cache(b);
}

int main(int count, char **words)
{
    static struct cuda_context cuda;
    struct cudaDeviceProp property;
    MUST(cudaGetDeviceProperties(&property, 0));
    cuda.multiprocessors = property.multiProcessorCount;
    cuda.shared_max = property.sharedMemPerBlockOptin;
    MUST(cudaStreamCreateWithFlags(&cuda.stream, cudaStreamNonBlocking));
    struct bench bench = {&cuda, copy_rate(cuda.stream), NULL, NULL, NULL, NULL, NULL};
    printf("{\"bench\":\"copy\",\"device\":\"%s\",\"tb_per_s\":%.3f}\n", property.name,
           bench.ceiling / 1e9);
    const char *mode = count > 1 ? words[1] : "all"; /* "all", "short", or "once" for a profiler */
    bool all = strcmp(mode, "all") == 0;
    for (int64_t chunk = 32; chunk <= 128; chunk *= 2) {
        if (strcmp(mode, "once") == 0 && chunk == 128)
            continue;
        bench_sequence(&bench, 64, chunk, 8192);
        if (strcmp(mode, "once") == 0)
            continue;
        if (all || chunk == 64) {
            bench_sequence(&bench, 64, chunk, 32768);
            bench_sequence(&bench, 64, chunk, 131072);
            bench_sequence(&bench, 16, chunk, 1 << 20);
        }
        for (int64_t sequences : {1, 16, 64, 256})
            bench_decode(&bench, 64, chunk, sequences);
    }
    return 0;
}
