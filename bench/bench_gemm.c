/* links: kernels core */
/* Matrix products of the CPU backend, one JSON line per shape: GFLOP/s of linear and of its two
 * backward ops, and the share of the multiply-add peak measured in the same run (independent
 * register chains, 2 flop each). Median of the repeats; weights stay in the cache when they fit. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"
#include "kernels/ops.h"

enum { REPEATS = 7, PEAK_CHAINS = 12 };
static const double target_s = 0.01; /* of one repeat */

static double now_s(void)
{
    return (double)clock_now_ns() * 1e-9;
}

typedef float v16 __attribute__((vector_size(64)));

#if defined(__clang__)
#pragma STDC FP_CONTRACT ON
#define FUSED_AVX512 __attribute__((target("avx512f,fma")))
#else
#define FUSED_AVX512 __attribute__((target("avx512f,fma"), optimize("fp-contract=fast")))
#endif

FUSED_AVX512 static double peak_run(void)
{
    v16 sum[PEAK_CHAINS];
    for (int i = 0; i < PEAK_CHAINS; i++)
        sum[i] = (v16){0} + (float)i;
    const v16 a = (v16){0} + 0.999f;
    const v16 b = (v16){0} + 0.001f;
    const int64_t rounds = 4000000;
    const double begin = now_s();
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < PEAK_CHAINS; i++)
            sum[i] = sum[i] * a + b;
    const double seconds = now_s() - begin;
    volatile float keep = 0;
    for (int i = 0; i < PEAK_CHAINS; i++)
        keep = keep + sum[i][0];
    return 2.0 * 16 * PEAK_CHAINS * (double)rounds / seconds * 1e-9;
}

static void *peak_thread(void *result)
{
    *(double *)result = peak_run();
    return NULL;
}

static double peak_gflops(int32_t threads)
{
    if (!__builtin_cpu_supports("avx512f"))
        return 0;
    double gflops[2] = {0, 0};
    pthread_t thread;
    const bool second = threads == 2 && pthread_create(&thread, NULL, peak_thread, &gflops[1]) == 0;
    gflops[0] = peak_run();
    if (second)
        pthread_join(thread, NULL);
    return gflops[0] + gflops[1];
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

struct shape {
    int64_t rows, n, k;
    float *x, *w, *packed, *y, *dw;
};

static enum status run_op(const struct op_table *table, const struct shape *s, int kind)
{
    if (kind == 0)
        return table->linear(table->context, &(struct op_linear){.rows = s->rows,
                                                                 .experts = 1,
                                                                 .n = s->n,
                                                                 .k = s->k,
                                                                 .x_stride = s->k,
                                                                 .y_stride = s->n,
                                                                 .virtual_tp = 1,
                                                                 .x = s->x,
                                                                 .packed = s->packed,
                                                                 .y = s->y});
    if (kind == 1)
        return table->linear_backward_input(table->context,
                                            &(struct op_linear_backward_input){.rows = s->rows,
                                                                               .experts = 1,
                                                                               .n = s->n,
                                                                               .k = s->k,
                                                                               .dy_stride = s->n,
                                                                               .dx_stride = s->k,
                                                                               .dy = s->y,
                                                                               .weight = s->w,
                                                                               .dx = s->x});
    return table->linear_backward_weight(table->context,
                                         &(struct op_linear_backward_weight){.rows = s->rows,
                                                                             .experts = 1,
                                                                             .n = s->n,
                                                                             .k = s->k,
                                                                             .dy_stride = s->n,
                                                                             .x_stride = s->k,
                                                                             .dy = s->y,
                                                                             .x = s->x,
                                                                             .dweight = s->dw});
}

static enum status measure(const struct op_table *table, const struct shape *s, int kind,
                           double *gflops)
{
    const double flop = 2.0 * (double)s->rows * (double)s->n * (double)s->k;
    const double guess = flop / 50e9 + 1e-6;
    const int64_t calls = (int64_t)(target_s / guess) + 1;
    double seconds[REPEATS];
    for (int r = 0; r < REPEATS; r++) {
        const double begin = now_s();
        for (int64_t i = 0; i < calls; i++)
            TRY(run_op(table, s, kind));
        seconds[r] = (now_s() - begin) / (double)calls;
    }
    qsort(seconds, REPEATS, sizeof seconds[0], compare);
    *gflops = flop / seconds[REPEATS / 2] * 1e-9;
    return STATUS_OK;
}

static void fill(float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)((i * 37) % 101) * 1e-4f;
}

static enum status bench_shape(const struct op_table *table, int32_t threads, double peak,
                               struct shape s)
{
    static const char *const names[] = {"linear", "linear_backward_input",
                                        "linear_backward_weight"};
    s.x = memory_array((size_t)(s.rows * s.k), sizeof(float));
    s.w = memory_array((size_t)(s.n * s.k), sizeof(float));
    s.dw = memory_array((size_t)(s.n * s.k), sizeof(float));
    s.y = memory_array((size_t)(s.rows * s.n), sizeof(float));
    s.packed = memory_alloc(table->packed_bytes(table->context, 1, s.n, s.k));
    if (!s.x || !s.w || !s.dw || !s.y || !s.packed)
        return FAIL(STATUS_NO_MEMORY, "bench tensors");
    fill(s.x, s.rows * s.k);
    fill(s.w, s.n * s.k);
    TRY(table->linear_pack(
        table->context, &(struct op_linear_pack){
                            .experts = 1, .n = s.n, .k = s.k, .weight = s.w, .packed = s.packed}));
    for (int kind = 0; kind < 3; kind++) {
        double gflops = 0;
        TRY(measure(table, &s, kind, &gflops));
        printf("{\"bench\": \"%s\", \"numerics\": \"%s\", \"threads\": %d, \"rows\": %" PRId64
               ", \"n\": %" PRId64 ", \"k\": %" PRId64
               ", \"gflops\": %.1f, \"peak_gflops\": %.1f, \"share\": %.3f}\n",
               names[kind], table->numerics, threads, s.rows, s.n, s.k, gflops, peak,
               peak > 0 ? gflops / peak : 0);
    }
    memory_free(s.x);
    memory_free(s.w);
    memory_free(s.dw);
    memory_free(s.y);
    memory_free(s.packed);
    return STATUS_OK;
}

static enum status bench_all(int32_t threads)
{
    static const int64_t rows[] = {1, 8, 32, 256, 2048};
    static const int64_t shapes[][2] = {{64, 64}, {192, 64}, {64, 96}, {1024, 1024}};
    struct op_table *table = NULL;
    TRY(op_table_create_cpu(&table, threads));
    const double peak = peak_gflops(threads);
    enum status status = STATUS_OK;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t r = 0; r < sizeof rows / sizeof rows[0] && status == STATUS_OK; r++)
            status =
                bench_shape(table, threads, peak,
                            (struct shape){.rows = rows[r], .n = shapes[s][0], .k = shapes[s][1]});
    op_table_destroy(&table);
    return status;
}

int main(void)
{
    for (int32_t threads = 1; threads <= 2; threads++)
        if (bench_all(threads) != STATUS_OK) {
            fprintf(stderr, "bench_gemm: %s\n", status_last_error());
            return 1;
        }
    return 0;
}
