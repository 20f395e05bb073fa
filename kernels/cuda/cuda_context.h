/* kernels/cuda/cuda_context.h - what every op of the CUDA backend gets, and how it calls CUDA.
 *
 * One context belongs to one op_table, one GPU and one thread. All ops launch on `stream`, in order; none waits
 * for the GPU unless it returns something to host memory. An op's entry is
 *
 *     extern "C" enum status cuda_silu(void *context, const struct op_silu *args)
 *     {
 *         struct cuda_context *cuda = cuda_begin(context);      // frees the scratch of the op before
 *         if (args->count == 0) return STATUS_OK;
 *         return cuda->f32 ? silu<float>(cuda, args) : silu<bf16>(cuda, args);
 *     }
 *
 * and each launch is followed by TRY(cuda_launched("silu")). f32: storage is f32 and every op runs one slow,
 * plain kernel; it exists for `weir verify` alone. Kernels are static; the rules of bit-equal rows are in
 * docs/numerics.md: no float atomics, no order that depends on the number of rows. */
#ifndef KERNELS_CUDA_CUDA_CONTEXT_H
#define KERNELS_CUDA_CUDA_CONTEXT_H

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "core/check.h"
#include "kernels/ops.h"

typedef __nv_bfloat16 bf16;

/* Keys and values live in pages of this many tokens; also the tile of softmax attention. */
enum { CUDA_KV_TILE = OP_CUDA_KV_TILE };

struct gemm_plans; /* op_linear.cu: cublasLt algorithm for each shape, found once */

enum { CUDA_SCRATCH_BLOCKS = 64 };

/* Defined where the body of a kernel for sm_90a alone (wgmma, bulk copies) is compiled: for sm_90a, and by the host's
 * compiler. Elsewhere such a kernel is empty, and as cuda->hopper is false there, it is not launched. */
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CUDA_HOPPER_CODE
#endif

struct cuda_context {
    int device;
    bool f32;
    bool free_choice; /* forward products by any algorithm of cublasLt: what bit-equality costs */
    bool hopper;    /* compute capability 9.0 and code for sm_90a; else kernels of mma.sync alone */
    bool capturing; /* between graph_begin and graph_end */
    int multiprocessors;
    size_t shared_max; /* dynamic shared memory a block may ask for, bytes */
    char gpu_name[256];
    char numerics[192];
    cudaStream_t stream, side; /* side: made on first use */
    cudaStream_t digest;       /* of side_digest_*, made on first use, with what follows */
    cudaEvent_t side_event, digest_event; /* a piece has come; all that was added is summed up */
    unsigned long long *digest_sum;       /* on the device */
    unsigned long long *digest_out;       /* pinned memory of the host */
    cublasLtHandle_t lt;
    struct gemm_plans *plans;
    /* Scratch: blocks are never given back before destroy, because graphs keep their addresses. */
    void *scratch_block[CUDA_SCRATCH_BLOCKS];
    size_t scratch_size[CUDA_SCRATCH_BLOCKS];
    size_t scratch_used[CUDA_SCRATCH_BLOCKS];
    int scratch_blocks;
    /* Host side of small writes: a ring of pinned memory, so that a write need not wait. */
    char *ring;
    size_t ring_at;
    size_t bytes; /* device memory held, scratch included */
};

/* First line of every op: the scratch of the op before may be used again. */
static inline struct cuda_context *cuda_begin(void *context)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    for (int i = 0; i < cuda->scratch_blocks; i++)
        cuda->scratch_used[i] = 0;
    return cuda;
}

/* Device memory until the next op begins, 256-byte aligned, not zeroed. While a graph is recorded nothing can be
 * added: INVALID says which op was not called before. */
MUST_CHECK enum status cuda_scratch(struct cuda_context *cuda, size_t bytes, void **memory);

/* STATUS_CUDA, or STATUS_NO_MEMORY, with the call and CUDA's sentence. */
MUST_CHECK enum status cuda_failed(cudaError_t error, const char *file, int line, const char *call);
#define CUDA_TRY(call)                                                \
    do {                                                              \
        cudaError_t cuda_try_ = (call);                               \
        if (cuda_try_ != cudaSuccess)                                 \
            return cuda_failed(cuda_try_, __FILE__, __LINE__, #call); \
    } while (0)
/* After a launch: what the launch itself failed with. */
static inline enum status cuda_launched(const char *op)
{
    cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? STATUS_OK : cuda_failed(error, __FILE__, __LINE__, op);
}

/* Blocks of `size` that cover `count`; grids stop at 2^31 - 1. */
static inline unsigned cuda_blocks(int64_t count, int64_t size)
{
    return (unsigned)((count + size - 1) / size);
}

C_BEGIN
#define OP(op) enum status cuda_##op(void *context, const struct op_##op *args);
KERNEL_OPS(OP)
#undef OP
/* Made lazily by op_linear.cu; freed by destroy. */
void cuda_gemm_plans_destroy(struct gemm_plans **plans);
/* op_lightning.cu: bytes of one slot's state in the layout that file chooses. */
size_t cuda_lightning_state_bytes(void *context, int64_t heads, int64_t head_size);
/* op_digest.cu */
enum status cuda_side_digest_begin(void *context);
enum status cuda_side_digest_add(void *context, const void *memory, size_t bytes,
                                 uint64_t first_word);
enum status cuda_side_digest_end(void *context, uint64_t *digest);
enum status cuda_memory_digest(void *context, const void *memory, size_t bytes, uint64_t first_word,
                               uint64_t *digest);
C_END

#endif
