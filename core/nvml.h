/* core/nvml.h - what NVIDIA's management library says about one GPU, opened by name: a machine without it, or a GPU that
 * cannot say something (a vGPU, a MIG slice), only has nothing to say. Reads only; sets nothing. One thread at a time. */
#ifndef CORE_NVML_H
#define CORE_NVML_H

#include "core/metrics.h"
#include "core/status.h"

// clang-format off
/*      kind     name             path                             unit     meaning */
#define GPU_METRICS(ROW)                                                                                                              \
    ROW(GAUGE,   memory_used,     "gpu_memory_used_bytes",         "bytes", "Memory of this process's GPU in use, by anybody.")       \
    ROW(GAUGE,   memory_total,    "gpu_memory_size_bytes",         "bytes", "Memory of the GPU.")                                     \
    ROW(GAUGE,   busy,            "gpu_busy_ratio",                "",      "Share of the last sample period in which a kernel ran.") \
    ROW(GAUGE,   memory_busy,     "gpu_memory_busy_ratio",         "",      "Share in which memory was read or written.")             \
    ROW(GAUGE,   temperature,     "gpu_temperature_c",             "C",     "Of the chip.")                                           \
    ROW(GAUGE,   power,           "gpu_power_w",                   "W",     "Drawn now.")                                             \
    ROW(GAUGE,   power_limit,     "gpu_power_limit_w",             "W",     "Enforced limit.")                                        \
    ROW(GAUGE,   clock,           "gpu_sm_clock_hertz",            "Hz",    "Of the multiprocessors.")                                \
    ROW(GAUGE,   throttle,        "gpu_throttle_reasons",          "",      "Bits of nvmlClocksThrottleReasons; 1 is idle.")          \
    ROW(GAUGE,   throttle_power,  "gpu_throttled_by_power",        "",      "1: clocks are held down by a power cap.")                \
    ROW(GAUGE,   throttle_heat,   "gpu_throttled_by_heat",         "",      "1: clocks are held down by temperature.")                \
    ROW(GAUGE,   throttle_board,  "gpu_throttled_by_hardware",     "",      "1: clocks are held down by a hardware slowdown or brake.") \
    ROW(COUNTER, ecc_corrected,   "gpu_ecc_corrected",             "errors", "Memory errors corrected since the driver was loaded.")   \
    ROW(COUNTER, ecc_uncorrected, "gpu_ecc_uncorrected",           "errors", "Memory errors that could not be corrected.")
// clang-format on

struct gpu_metrics {
    GPU_METRICS(METRIC_MEMBER)
};
const struct metric_row *gpu_metrics_table(size_t *count);

struct nvml;
/* device: CUDA's ordinal in this process; found by its bus address where libcuda is loaded and initialised, so that
 * CUDA_VISIBLE_DEVICES and CUDA's order are heeded, else by number. library: "" for libnvidia-ml.so.1. NOT_FOUND: no
 * library, or no such GPU. */
MUST_CHECK enum status nvml_open(struct nvml **nvml, const char *library, int device);
void nvml_close(struct nvml **nvml);
/* What it cannot say becomes NaN. */
void nvml_read(const struct nvml *nvml, struct gpu_metrics *metrics);
const char *nvml_name(const struct nvml *nvml); /* "NVIDIA H100 80GB HBM3" */

#endif
