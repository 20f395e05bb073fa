/* ops/plan/hardware.c - what GPUs can do, and what weir has reached on them: the only two tables of the planner. */
#include "ops/plan/plan.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define GIB  (1024.0 * 1024 * 1024)
#define TERA 1e12
#define GIGA 1e9

/* Memory as the driver reports it; bf16 dense; NVLink in one direction; network: one 400 Gbit/s port a GPU (200 with
 * A100). copy_share: measured on an H100 (3.03 of 3.35 TB/s) and an H200 (4.3 of 4.8), taken for all. */
// clang-format off
static const struct plan_hardware gpus[] = {
    [GPU_NONE] = {0},
    [GPU_A100] = {"a100", 79.3 * GIB,  312 * TERA, 2039 * GIGA, 0.90, 300 * GIGA, 25 * GIGA,  "NVIDIA A100 80GB SXM data sheet", false},
    [GPU_H20]  = {"h20",  95.6 * GIB,  148 * TERA, 4000 * GIGA, 0.90, 450 * GIGA, 50 * GIGA,  "NVIDIA H20 figures as published by server makers", false},
    [GPU_H800] = {"h800", 79.6 * GIB,  989 * TERA, 3350 * GIGA, 0.90, 160 * GIGA, 50 * GIGA,  "H100 data sheet; links as DeepSeek-V3 reports them (arXiv:2412.19437 section 3.2.2)", false},
    [GPU_H100] = {"h100", 79.6 * GIB,  989 * TERA, 3350 * GIGA, 0.90, 450 * GIGA, 50 * GIGA,  "NVIDIA H100 SXM data sheet", false},
    [GPU_H200] = {"h200", 140.4 * GIB, 989 * TERA, 4800 * GIGA, 0.90, 450 * GIGA, 50 * GIGA,  "NVIDIA H200 SXM data sheet", false},
    [GPU_B200] = {"b200", 179.1 * GIB, 2250 * TERA, 8000 * GIGA, 0.90, 900 * GIGA, 50 * GIGA, "NVIDIA HGX B200 data sheet", false},
};

/* bench_gpu on an H100: decode as part of (bytes of a step / copy bandwidth), contexts of 512 and 1,024 tokens, head
 * of f32 grade; training as part of 989 TFLOP/s, 16k tokens a step. bench_model on 2 cores; the quickstart. */
static const struct plan_share decode_shares[] = {
    {"bench_gpu decode, Qwen2.5 0.5B shape, B = 1, one H100",          0.36e9, 1,   0.35, false, false},
    {"bench_gpu decode, Qwen2.5 0.5B shape, B = 64, one H100",         0.36e9, 64,  0.40, false, false},
    {"bench_gpu decode, Qwen2.5 0.5B shape, B = 256, one H100",        0.36e9, 256, 0.48, false, false},
    {"bench_gpu decode, Qwen2.5 1.5B shape, B = 1, one H100",          1.31e9, 1,   0.57, false, false},
    {"bench_gpu decode, Qwen2.5 1.5B shape, B = 64, one H100",         1.31e9, 64,  0.59, false, false},
    {"bench_gpu decode, Qwen2.5 1.5B shape, B = 256, one H100",        1.31e9, 256, 0.63, false, false},
    {"bench_gpu decode, Qwen2.5 7B shape, B = 1, one H100",            6.53e9, 1,   0.86, false, false},
    {"bench_gpu decode, Qwen2.5 7B shape, B = 64, one H100",           6.53e9, 64,  0.79, false, false},
    {"bench_gpu decode, Qwen2.5 7B shape, B = 256, one H100",          6.53e9, 256, 0.73, false, false},
    {"bench_model decode, 10 M parameters, B = 1, 2 cores",            9.4e6,  1,   0.82, true,  false},
    {"bench_model decode, 10 M parameters, B = 32, 2 cores",           9.4e6,  32,  0.55, true,  false},
    {"quickstart, 0.35 M active parameters, its training share taken for decode too", 0.35e6, 128, 0.17, true, true},
};
static const struct plan_share train_shares[] = {
    {"bench_gpu train, Qwen2.5 0.5B shape, T = 2k, one H100",          0.36e9, 2048,  0.417, false, false},
    {"bench_gpu train, Qwen2.5 0.5B shape, T = 8k, one H100",          0.36e9, 8192,  0.398, false, false},
    {"bench_gpu train, Qwen2.5 1.5B shape, T = 2k, one H100",          1.31e9, 2048,  0.518, false, false},
    {"bench_gpu train, Qwen2.5 1.5B shape, T = 8k, one H100",          1.31e9, 8192,  0.507, false, false},
    {"bench_gpu long, 1.5B hybrid MoE, T = 80k, recompute, one H100",  0.5e9,  81920, 0.30,  false, true},
    {"bench_model train, 10 M parameters, T = 256, 2 cores",           9.4e6,  256,   0.67,  true,  false},
    {"quickstart, 0.35 M active parameters, time/train of its metrics on 1 thread", 0.35e6, 42, 0.17, true, true},
};
// clang-format on

const struct plan_hardware *plan_gpu(enum setting_gpu gpu)
{
    return gpu == GPU_NONE ? NULL : &gpus[gpu];
}

const struct plan_hardware *plan_gpu_named(const char *driver_name)
{
    static const char *const names[] = {"", "A100", "H20", "H800", "H100", "H200", "B200"};
    const struct plan_hardware *found = NULL;
    for (size_t i = 1; i < sizeof gpus / sizeof gpus[0]; i++)
        if (strstr(driver_name, names[i]) != NULL) /* H200 has H20 in it: the later wins */
            found = &gpus[i];
    return found;
}

struct plan_hardware plan_cpu(uint32_t threads)
{
    double pages = (double)sysconf(_SC_PHYS_PAGES), page = (double)sysconf(_SC_PAGE_SIZE);
    return (struct plan_hardware){.name = "cpu",
                                  .memory_bytes = pages * page,
                                  .flops = 160 * GIGA * threads,
                                  .bandwidth = 30 * GIGA * threads,
                                  .copy_share = 1,
                                  .source = "f32 products and cached reads of an AVX-512 core",
                                  .cpu = true};
}

double plan_cores(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (double)cores : 1;
}

/* Distance in factors of two, the size of the model counting twice. */
static const struct plan_share *nearest(const struct plan_share *rows, size_t count, bool cpu,
                                        int hybrid, double body, double batch)
{
    const struct plan_share *found = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].cpu != cpu)
            continue;
        double away = 2 * fabs(log2(body / rows[i].body)) + fabs(log2(batch / rows[i].batch));
        if (hybrid >= 0 && rows[i].hybrid != (hybrid > 0))
            away += 8;
        if (away < least) {
            least = away;
            found = &rows[i];
        }
    }
    return found;
}

const struct plan_share *plan_decode_share(bool cpu, double body, double batch)
{
    return nearest(decode_shares, sizeof decode_shares / sizeof decode_shares[0], cpu, -1,
                   fmax(body, 1), fmax(batch, 1));
}

const struct plan_share *plan_train_share(bool cpu, bool hybrid, double body, double length)
{
    return nearest(train_shares, sizeof train_shares / sizeof train_shares[0], cpu, hybrid,
                   fmax(body, 1), fmax(length, 1));
}
