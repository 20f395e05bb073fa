/* kernels/cuda/op_digest.cu - weight_digest (core/checksum.h) of device memory.
 *
 * A sum mod 2^64: integer addition has no order, so atomics give the same value every time. */
#include "kernels/cuda/cuda_context.h"

enum { THREADS = 256, BLOCKS_OF_PROCESSOR = 8 };

static __device__ uint64_t digest_mix(uint64_t word, uint64_t index)
{
    uint64_t x = word + (index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 33)) * UINT64_C(0xff51afd7ed558ccd); /* fmix64 of MurmurHash3 */
    x = (x ^ (x >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 33);
}

/* Up to 8 bytes, the missing ones zero. */
static __device__ uint64_t bytes_word(const uint8_t *from, size_t bytes)
{
    uint64_t word = 0;
    for (size_t b = 0; b < bytes && b < 8; b++)
        word |= (uint64_t)from[b] << (8 * b);
    return word;
}

static __global__ void __launch_bounds__(THREADS)
    digest_words(const uint8_t *memory, size_t bytes, bool aligned, uint64_t first_word,
                 unsigned long long *digest)
{
    __shared__ uint64_t shared[THREADS / 32];
    const size_t words = bytes / 8, all = (bytes + 7) / 8, step = (size_t)gridDim.x * THREADS;
    uint64_t sum = 0;
#pragma unroll 4
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < all; i += step) {
        const uint64_t word = aligned && i < words ? ((const uint64_t *)memory)[i]
                                                   : bytes_word(memory + 8 * i, bytes - 8 * i);
        sum += digest_mix(word, first_word + i);
    }
    for (int offset = 16; offset > 0; offset /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int i = 1; i < THREADS / 32; i++)
        sum += shared[i];
    atomicAdd(digest, (unsigned long long)sum);
}

static enum status add_words(struct cuda_context *cuda, cudaStream_t stream, const void *memory,
                             size_t bytes, uint64_t first_word, unsigned long long *sum)
{
    const unsigned needed = cuda_blocks((int64_t)(bytes + 7) / 8, THREADS);
    const unsigned most = (unsigned)(cuda->multiprocessors * BLOCKS_OF_PROCESSOR);
    const unsigned blocks = needed < most ? needed : most;
    digest_words<<<blocks, THREADS, 0, stream>>>((const uint8_t *)memory, bytes,
                                                 (uintptr_t)memory % 8 == 0, first_word, sum);
    return cuda_launched("memory_digest");
}

extern "C" enum status cuda_memory_digest(void *context, const void *memory, size_t bytes,
                                          uint64_t first_word, uint64_t *digest)
{
    struct cuda_context *cuda = cuda_begin(context);
    unsigned long long *sum = NULL, result = 0;
    if (bytes > 0) {
        TRY(cuda_scratch(cuda, sizeof *sum, (void **)&sum));
        CUDA_TRY(cudaMemsetAsync(sum, 0, sizeof *sum, cuda->stream));
        TRY(add_words(cuda, cuda->stream, memory, bytes, first_word, sum));
        CUDA_TRY(
            cudaMemcpyAsync(&result, sum, sizeof result, cudaMemcpyDeviceToHost, cuda->stream));
    }
    CUDA_TRY(cudaStreamSynchronize(cuda->stream));
    *digest = result;
    return STATUS_OK;
}

/* ---- beside a transfer ---- */

static enum status make_digest_queue(struct cuda_context *cuda)
{
    if (cuda->digest != NULL)
        return STATUS_OK;
    CUDA_TRY(cudaMalloc((void **)&cuda->digest_sum, sizeof *cuda->digest_sum));
    CUDA_TRY(
        cudaHostAlloc((void **)&cuda->digest_out, sizeof *cuda->digest_out, cudaHostAllocDefault));
    CUDA_TRY(cudaEventCreateWithFlags(&cuda->side_event, cudaEventDisableTiming));
    CUDA_TRY(cudaEventCreateWithFlags(&cuda->digest_event, cudaEventDisableTiming));
    CUDA_TRY(cudaStreamCreateWithFlags(&cuda->digest, cudaStreamNonBlocking));
    return STATUS_OK;
}

extern "C" enum status cuda_side_digest_begin(void *context)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    TRY(make_digest_queue(cuda));
    CUDA_TRY(cudaMemsetAsync(cuda->digest_sum, 0, sizeof *cuda->digest_sum, cuda->digest));
    CUDA_TRY(cudaEventRecord(cuda->digest_event, cuda->digest));
    return STATUS_OK;
}

/* The copy of the sum follows each piece, so that the last one's is on its way without another call. */
extern "C" enum status cuda_side_digest_add(void *context, const void *memory, size_t bytes,
                                            uint64_t first_word)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    if (bytes == 0)
        return STATUS_OK;
    CUDA_TRY(cudaEventRecord(cuda->side_event, cuda->side));
    CUDA_TRY(cudaStreamWaitEvent(cuda->digest, cuda->side_event, 0));
    TRY(add_words(cuda, cuda->digest, memory, bytes, first_word, cuda->digest_sum));
    CUDA_TRY(cudaMemcpyAsync(cuda->digest_out, cuda->digest_sum, sizeof *cuda->digest_sum,
                             cudaMemcpyDeviceToHost, cuda->digest));
    CUDA_TRY(cudaEventRecord(cuda->digest_event, cuda->digest));
    return STATUS_OK;
}

extern "C" enum status cuda_side_digest_end(void *context, uint64_t *digest)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    const cudaError_t state = cudaEventQuery(cuda->digest_event);
    if (state == cudaErrorNotReady)
        return STATUS_AGAIN;
    CUDA_TRY(state);
    *digest = *cuda->digest_out;
    return STATUS_OK;
}
