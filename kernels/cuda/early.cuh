/* kernels/cuda/early.cuh - a kernel that starts before the one in front of it has ended.
 *
 * A decode step is some hundred kernels of a few microseconds; a launch between two of them costs one, and the first
 * read of weights another. A kernel launched by launch_early may begin while the kernel before it on the stream still
 * runs, provided all blocks of that one have called early_release (else when it has ended, as always). So:
 *   - every kernel launched this way calls early_wait before it reads or writes anything but weights and arguments.
 *     It returns when the kernel before has ended and its writes are visible; what that one waited for has ended too.
 *   - a kernel that writes weights (optimizer, split, copies) never calls early_release.
 * Works the same under graph capture. Where there is no such start (cuda->hopper is false) it is an ordinary launch. */
#ifndef KERNELS_CUDA_EARLY_CUH
#define KERNELS_CUDA_EARLY_CUH

#include "kernels/cuda/cuda_context.h"

static __device__ __forceinline__ void early_wait(void)
{
#ifdef CUDA_HOPPER_CODE
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
static __device__ __forceinline__ void early_release(void)
{
#ifdef CUDA_HOPPER_CODE
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* kernel<<<grid, threads, shared, stream>>>(arguments...); cuda_launched tells how it went. */
template <typename... PARAMETERS, typename... ARGUMENTS>
static inline void launch_early(void (*kernel)(PARAMETERS...), unsigned grid, unsigned threads,
                                size_t shared, const struct cuda_context *cuda,
                                ARGUMENTS... arguments)
{
    if (!cuda->hopper) {
        kernel<<<grid, threads, shared, cuda->stream>>>(arguments...);
        return;
    }
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(grid);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared;
    config.stream = cuda->stream;
    config.attrs = &early;
    config.numAttrs = 1;
    (void)cudaLaunchKernelEx(&config, kernel, arguments...);
}

#endif
