/* ops/gpu_info.h - what the NVIDIA driver says about this machine, asked through libcuda and NVML opened by name, so
 * that a machine without them only has nothing to say. */
#ifndef OPS_GPU_INFO_H
#define OPS_GPU_INFO_H

#include <stdbool.h>
#include <stdint.h>

enum { GPU_MAX = 64, GPU_NAME_MAX = 96 };

struct gpu {
    char name[GPU_NAME_MAX];
    int major, minor;           /* compute capability */
    uint64_t total_mb, free_mb; /* free_mb 0: NVML is missing */
    uint64_t peers;             /* bit j: reaches GPU j's memory directly */
};
struct gpu_info {
    char problem[160]; /* why there are none; "" otherwise */
    int cuda_version;  /* of the driver: 13000 is 13.0 */
    int nccl_version;  /* 22809 is 2.28.9; 0: libnccl.so.2 is missing */
    int count;
    struct gpu gpus[GPU_MAX];
};

void gpu_info_read(struct gpu_info *info);

#endif
