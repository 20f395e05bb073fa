/* links: kernels core */
/* bench/cuda/bench_attention.cu - softmax attention of the CUDA backend: whole sequences (training, prefill) in TFLOP/s
 * of the causal half, decode in GB/s of keys and values read, attention_prepare in GB/s of rows moved.
 *
 * One JSON line per shape, with the ceiling it is compared with: for decode and prepare the fastest plain read and copy
 * measured in the same run. Calls are replayed as one graph; decode calls read different pages one after another, so
 * they come from memory, not from L2. Usage: cuda_bench_attention [seconds per shape, default 0.2]. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "kernels/cuda/cuda_context.h"
#include "kernels/ops.h"

#define MUST(call)                                                                              \
    do {                                                                                        \
        if ((int)(call) != 0) {                                                                 \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, status_last_error()); \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

enum : size_t { PAGES_BYTES = (size_t)4 << 30, ROWS_BYTES = (size_t)1 << 30 };
enum { CALLS = 16, SEGMENTS_MAX = 4096, TABLE_MAX = 1 << 20 };

struct bench {
    struct op_table *ops;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    double seconds;
    void *pages, *x, *y, *lse, *segments, *tables, *positions, *angles;
    double read_gbps, copy_gbps;
};

static __global__ void fill_kernel(uint32_t *to, size_t count)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count;
         i += (size_t)gridDim.x * blockDim.x) {
        uint32_t bits = (uint32_t)i * 2654435761u;
        bits ^= bits >> 15;
        to[i] = (bits & 0x807f807fu) | 0x3f003f00u; /* two bf16 of size 0.5 to 1 */
    }
}
static __global__ void read_kernel(const uint4 *from, size_t count, uint32_t *out)
{
    uint32_t all = 0;
#pragma unroll 8
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count;
         i += (size_t)gridDim.x * blockDim.x)
        all ^= from[i].x ^ from[i].y ^ from[i].z ^ from[i].w;
    if (all == 0x9e3779b9u)
        *out = all;
}

/* Median us of `run`, which launches `calls` calls. */
static double time_us(const struct bench *bench, int calls, const std::function<void(void)> &run)
{
    std::vector<float> times;
    double sum = 0;
    for (run(); times.size() < 3 || (sum < bench->seconds * 1e3 && times.size() < 50);) {
        float ms = 0;
        MUST(cudaEventRecord(bench->begin, bench->stream));
        run();
        MUST(cudaEventRecord(bench->end, bench->stream));
        MUST(cudaEventSynchronize(bench->end));
        MUST(cudaEventElapsedTime(&ms, bench->begin, bench->end));
        times.push_back(ms);
        sum += ms;
    }
    std::sort(times.begin(), times.end());
    return (double)times[times.size() / 2] * 1e3 / calls;
}
/* The same for CALLS different calls in one graph. */
static double time_graph_us(const struct bench *bench, const std::function<void(int)> &call)
{
    struct op_table *ops = bench->ops;
    void *graph = NULL;
    call(0); /* scratch exists before a graph is recorded */
    MUST(ops->graph_begin(ops->context));
    for (int i = 0; i < CALLS; i++)
        call(i);
    MUST(ops->graph_end(ops->context, &graph));
    double us = time_us(bench, CALLS, [&] { MUST(ops->graph_run(ops->context, graph)); });
    ops->graph_destroy(ops->context, &graph);
    return us;
}

static void *make(const struct bench *bench, size_t bytes)
{
    void *memory = NULL;
    MUST(bench->ops->memory_create(bench->ops->context, bytes, &memory));
    fill_kernel<<<2048, 256, 0, bench->stream>>>((uint32_t *)memory, bytes / 4);
    return memory;
}

static void measure_ceilings(struct bench *bench)
{
    size_t half = PAGES_BYTES / 2;
    double us = time_us(bench, 1, [&] {
        read_kernel<<<132 * 16, 256, 0, bench->stream>>>((const uint4 *)bench->pages,
                                                         PAGES_BYTES / 16, (uint32_t *)bench->lse);
    });
    bench->read_gbps = (double)PAGES_BYTES / us * 1e-3;
    us = time_us(bench, 1, [&] {
        MUST(bench->ops->memory_copy(bench->ops->context, (char *)bench->pages + half, bench->pages,
                                     half));
    });
    bench->copy_gbps = 2 * (double)half / us * 1e-3;
    printf("{\"bench\":\"ceiling\",\"numerics\":\"%s\",\"read_gbps\":%.0f,\"copy_gbps\":%.0f}\n",
           bench->ops->numerics, bench->read_gbps, bench->copy_gbps);
}

struct shape {
    int64_t heads, kv_heads, head_size, sequences, tokens, pages_per_slot;
};

/* `sequences` segments of `count` rows from `position` on, and a page table for each of CALLS calls. */
static void set_up(const struct bench *bench, const struct shape *shape, int32_t position,
                   int32_t count)
{
    std::vector<struct op_segment> segments;
    for (int32_t i = 0; i < shape->sequences; i++)
        segments.push_back({i, position, i * count, count});
    int64_t page =
        (int64_t)bench->ops->kv_page_bytes(bench->ops->context, shape->kv_heads, shape->head_size);
    std::vector<int32_t> table(TABLE_MAX);
    for (int64_t i = 0; i < TABLE_MAX; i++)
        table[(size_t)i] = (int32_t)(i * 7919 % ((int64_t)PAGES_BYTES / page));
    void *context = bench->ops->context;
    MUST(bench->ops->memory_write(context, bench->segments, segments.data(),
                                  segments.size() * sizeof segments[0]));
    MUST(bench->ops->memory_write(context, bench->tables, table.data(), TABLE_MAX * 4));
}

static struct op_attention attention_call(const struct bench *bench, const struct shape *shape,
                                          int64_t rows)
{
    struct op_attention call = {};
    call.rows = rows;
    call.heads = shape->heads;
    call.kv_heads = shape->kv_heads;
    call.head_size = shape->head_size;
    call.q_stride = (shape->heads + 2 * shape->kv_heads) * shape->head_size;
    call.y_stride = shape->heads * shape->head_size;
    call.segments = (const struct op_segment *)bench->segments;
    call.segment_count = (int32_t)shape->sequences;
    call.q = bench->x;
    call.pages = bench->pages;
    call.page_table = (const int32_t *)bench->tables;
    call.pages_per_slot = (int32_t)shape->pages_per_slot;
    call.y = bench->y;
    return call;
}

static void begin_line(const char *name, const struct shape *shape)
{
    printf("{\"bench\":\"%s\",\"heads\":%lld,\"kv_heads\":%lld,\"head_size\":%lld,"
           "\"sequences\":%lld,\"tokens\":%lld,",
           name, (long long)shape->heads, (long long)shape->kv_heads, (long long)shape->head_size,
           (long long)shape->sequences, (long long)shape->tokens);
}

static void bench_forward(const struct bench *bench, const struct shape *shape)
{
    int64_t rows = shape->sequences * shape->tokens;
    set_up(bench, shape, 0, (int32_t)shape->tokens);
    struct op_attention call = attention_call(bench, shape, rows);
    call.lse = (float *)bench->lse;
    double us = time_us(bench, 1, [&] { MUST(bench->ops->attention(bench->ops->context, &call)); });
    double flop = 2.0 * (double)(shape->heads * shape->head_size) * (double)rows *
                  (double)(shape->tokens + 1);
    begin_line("attention", shape);
    printf("\"us\":%.1f,\"tflops\":%.1f}\n", us, flop / us * 1e-6);
}

static void bench_decode(const struct bench *bench, const struct shape *shape)
{
    set_up(bench, shape, (int32_t)shape->tokens - 1, 1);
    double us = time_graph_us(bench, [&](int i) {
        struct op_attention call = attention_call(bench, shape, shape->sequences);
        call.page_table += (int64_t)i * 4001;
        MUST(bench->ops->attention(bench->ops->context, &call));
    });
    double bytes = 4.0 * (double)(shape->sequences * shape->tokens) *
                   (double)(shape->kv_heads * shape->head_size);
    begin_line("decode", shape);
    printf("\"pages_per_slot\":%lld,\"us\":%.2f,\"gbps\":%.0f,\"share\":%.3f}\n",
           (long long)shape->pages_per_slot, us, bytes / us * 1e-3,
           bytes / us * 1e-3 / bench->read_gbps);
}

static void bench_prepare(const struct bench *bench, const struct shape *shape, int32_t count)
{
    int64_t rows = shape->sequences * count, width = shape->heads + 2 * shape->kv_heads;
    set_up(bench, shape, 0, count);
    struct op_attention_prepare call = {};
    call.rows = rows;
    call.heads = shape->heads;
    call.kv_heads = shape->kv_heads;
    call.head_size = call.rotary = shape->head_size;
    call.row_stride = width * shape->head_size;
    call.positions = (const int32_t *)bench->positions;
    call.cosine = call.sine = (const float *)bench->angles;
    call.segments = (const struct op_segment *)bench->segments;
    call.segment_count = (int32_t)shape->sequences;
    call.x = bench->x;
    call.y = bench->y;
    call.pages = bench->pages;
    call.page_table = (const int32_t *)bench->tables;
    call.pages_per_slot = (int32_t)shape->pages_per_slot;
    double us = time_graph_us(
        bench, [&](int) { MUST(bench->ops->attention_prepare(bench->ops->context, &call)); });
    double bytes =
        2.0 * (double)(rows * shape->head_size) * (double)(2 * width + 2 * shape->kv_heads);
    begin_line("attention_prepare", shape);
    printf("\"rows\":%lld,\"us\":%.2f,\"gbps\":%.0f,\"share\":%.3f}\n", (long long)rows, us,
           bytes / us * 1e-3, bytes / us * 1e-3 / bench->copy_gbps);
}

static void create(struct bench *bench)
{
    MUST(op_table_create(&bench->ops, "cuda", 1));
    bench->stream = ((struct cuda_context *)bench->ops->context)->stream;
    MUST(cudaEventCreate(&bench->begin));
    MUST(cudaEventCreate(&bench->end));
    bench->pages = make(bench, PAGES_BYTES);
    bench->x = make(bench, ROWS_BYTES);
    bench->y = make(bench, ROWS_BYTES);
    bench->lse = make(bench, ROWS_BYTES / 16);
    bench->angles = make(bench, ROWS_BYTES / 64);
    bench->segments = make(bench, SEGMENTS_MAX * sizeof(struct op_segment));
    bench->tables = make(bench, TABLE_MAX * sizeof(int32_t));
    MUST(bench->ops->memory_create(bench->ops->context, TABLE_MAX * sizeof(int32_t),
                                   &bench->positions)); /* all 0 */
}

int main(int argc, char **argv)
{
    static const struct shape forward[] = {
        {64, 64, 128, 1, 8192, 65},  {64, 8, 128, 1, 8192, 65}, {28, 4, 128, 1, 8192, 65},
        {12, 2, 128, 1, 8192, 65},   {12, 2, 128, 8, 2048, 17}, {12, 2, 128, 16, 512, 5},
        {12, 2, 128, 1, 32768, 257}, {14, 2, 64, 1, 8192, 65},  {14, 2, 64, 8, 2048, 17}};
    static const struct shape decode[] = {
        {12, 2, 128, 64, 1024, 8},   {12, 2, 128, 64, 1024, 256}, {12, 2, 128, 64, 4096, 64},
        {12, 2, 128, 64, 8192, 64},  {12, 2, 128, 256, 1024, 32}, {12, 2, 128, 1, 8192, 256},
        {12, 2, 128, 1, 32000, 256}, {12, 2, 128, 8, 4096, 256},  {12, 2, 128, 1, 100, 256},
        {28, 4, 128, 64, 4096, 64},  {64, 8, 128, 64, 4096, 64},  {14, 2, 64, 64, 4096, 64}};
    static const struct shape prepare[] = {{12, 2, 128, 64, 8192, 64}, {28, 4, 128, 64, 8192, 64}};
    struct bench bench = {};
    bench.seconds = argc > 1 ? strtod(argv[1], NULL) : 0.2;
    create(&bench);
    measure_ceilings(&bench);
    for (const auto &shape : forward)
        bench_forward(&bench, &shape);
    for (const auto &shape : decode)
        bench_decode(&bench, &shape);
    for (const auto &shape : prepare) {
        bench_prepare(&bench, &shape, 1);
        bench_prepare(&bench, &shape, 256);
    }
    for (void **memory : {&bench.pages, &bench.x, &bench.y, &bench.lse, &bench.angles,
                          &bench.segments, &bench.tables, &bench.positions})
        bench.ops->memory_destroy(bench.ops->context, memory);
    op_table_destroy(&bench.ops);
    return 0;
}
