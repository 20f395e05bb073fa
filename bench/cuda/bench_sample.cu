/* bench/cuda/bench_sample.cu - microseconds of op sample, V = 151936, with and without top_p = 0.95.
 *
 * JSON lines: rows, top_p, median us of 15 calls in a CUDA graph with the logits out of L2 (calls walk through copies
 * that together exceed it) and, where they fit, in it; `read_us` is one read of the logits at 3.16 TB/s, the read rate
 * of an H100, and `copy_us` a measured device copy of the same bytes (read and written). The logits are
 * near to 2 * normal: a flat distribution, 0.95 of the mass is in a third of the ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/cuda_context.h"

#define MUST(call)                                                                    \
    do {                                                                              \
        int code_ = (int)(call);                                                      \
        if (code_ != 0) {                                                             \
            fprintf(stderr, "%s:%d: %s gave %d\n", __FILE__, __LINE__, #call, code_); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

extern "C" enum status op_table_create_cuda(struct op_table **table, int32_t device, bool f32);

/* log V + 4 log(sinh(w) / w), w = 3.46 / 2: of `fill`, within 0.01 for each row */
static const float LSE = 13.757f;

enum { VOCABULARY = 151936, TIMES = 15, COPY_BYTES = 200000000 };

static __global__ void fill(float *logits, int64_t count)
{
    for (int64_t i = blockIdx.x * 256 + threadIdx.x; i < count; i += (int64_t)gridDim.x * 256) {
        uint32_t x = (uint32_t)i * 0x9e3779b9u + (uint32_t)(i >> 32);
        float sum = 0;
        for (int k = 0; k < 4; k++) { /* four uniforms: near enough to a normal */
            x = (x ^ x >> 15) * 0x2c1b3c6du;
            x ^= x >> 12;
            sum += (float)x * 0x1p-32f;
        }
        logits[i] = 3.46f * (sum - 2.0f);
    }
}

struct problem {
    struct cuda_context *cuda;
    float *logits, *to;
    std::vector<struct op_sample> calls;
};

/* Median microseconds of one call over graphs of `calls`. */
template <typename RUN> static double median_us(struct cuda_context *cuda, size_t calls, RUN run)
{
    cudaGraph_t graph;
    cudaGraphExec_t made;
    for (size_t i = 0; i < calls; i++)
        run(i);
    MUST(cudaStreamSynchronize(cuda->stream));
    MUST(cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal));
    cuda->capturing = true;
    for (size_t i = 0; i < calls; i++)
        run(i);
    cuda->capturing = false;
    MUST(cudaStreamEndCapture(cuda->stream, &graph));
    MUST(cudaGraphInstantiate(&made, graph, 0));
    cudaEvent_t begin, end;
    MUST(cudaEventCreate(&begin));
    MUST(cudaEventCreate(&end));
    std::vector<double> us;
    for (int i = 0; i < TIMES; i++) {
        float ms = 0;
        MUST(cudaEventRecord(begin, cuda->stream));
        MUST(cudaGraphLaunch(made, cuda->stream));
        MUST(cudaEventRecord(end, cuda->stream));
        MUST(cudaEventSynchronize(end));
        MUST(cudaEventElapsedTime(&ms, begin, end));
        us.push_back((double)ms * 1000.0 / (double)calls);
    }
    std::sort(us.begin(), us.end());
    MUST(cudaGraphExecDestroy(made));
    MUST(cudaGraphDestroy(graph));
    return us[TIMES / 2];
}

template <typename T> static T *device_array(size_t count)
{
    T *made = NULL;
    MUST(cudaMalloc(&made, count * sizeof(T)));
    MUST(cudaMemset(made, 0, count * sizeof(T)));
    return made;
}

static void bench(struct cuda_context *cuda, float *logits, float *to, int64_t rows, float top_p)
{
    size_t bytes = (size_t)rows * VOCABULARY * sizeof(float);
    size_t copies = std::min<size_t>(64, std::max<size_t>(4, COPY_BYTES / bytes + 1));
    if (bytes * copies > 4 * (size_t)COPY_BYTES)
        copies = 4 * (size_t)COPY_BYTES / bytes;
    std::vector<struct op_sample_row> row((size_t)rows);
    for (int64_t t = 0; t < rows; t++)
        row[(size_t)t] = {7, (uint64_t)t / 16, (uint32_t)t % 16, 100, 1.0f, top_p, 0};
    struct op_sample_row *rows_device = device_array<struct op_sample_row>((size_t)rows);
    MUST(cudaMemcpy(rows_device, row.data(), row.size() * sizeof row[0], cudaMemcpyHostToDevice));
    std::vector<float> lse((size_t)rows, LSE);
    float *lse_device = device_array<float>((size_t)rows);
    MUST(cudaMemcpy(lse_device, lse.data(), lse.size() * sizeof(float), cudaMemcpyHostToDevice));
    struct op_sample args = {rows, VOCABULARY, logits, lse_device, lse_device, rows_device, 0.99f};
    args.token = device_array<int32_t>((size_t)rows);
    args.logprob = device_array<float>((size_t)rows);
    args.logprob_truncated = device_array<float>((size_t)rows);
    args.confident = device_array<uint8_t>((size_t)rows);
    auto sample = [&](size_t copy) {
        struct op_sample call = args;
        call.logits = logits + copy * (size_t)rows * VOCABULARY;
        MUST(cuda_sample(cuda, &call));
    };
    double cold = median_us(cuda, copies, sample);
    double warm = median_us(cuda, 8, [&](size_t) { sample(0); });
    double copy = median_us(cuda, copies, [&](size_t i) {
        MUST(cudaMemcpyAsync(to, logits + i * (size_t)rows * VOCABULARY, bytes,
                             cudaMemcpyDeviceToDevice, cuda->stream));
    });
    printf("{\"op\":\"sample\",\"rows\":%d,\"vocabulary\":%d,\"top_p\":%g,\"us\":%.1f,\"us_same_"
           "logits\":%.1f,"
           "\"read_us\":%.1f,\"copy_us\":%.1f}\n",
           (int)rows, VOCABULARY, (double)top_p, cold, warm, (double)bytes / 3.16e6, copy);
}

int main(void)
{
    struct op_table *table = NULL;
    MUST(op_table_create_cuda(&table, 0, false));
    struct cuda_context *cuda = (struct cuda_context *)table->context;
    float *logits = device_array<float>(COPY_BYTES), *to = device_array<float>(COPY_BYTES / 4);
    fill<<<1024, 256>>>(logits, COPY_BYTES);
    MUST(cudaDeviceSynchronize());
    for (int64_t rows : {1, 16, 64, 256})
        for (float top_p : {1.0f, 0.95f})
            bench(cuda, logits, to, rows, top_p);
    table->destroy(table);
    return 0;
}
