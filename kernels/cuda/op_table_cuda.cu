/* kernels/cuda/op_table_cuda.cu - the CUDA backend's table: one GPU, its memory, its streams and graphs.
 *
 * Memory is plain cudaMalloc, so that a piece of it can be shared with another process. A small write goes
 * through a ring of pinned memory and is ordered on the stream; a large one waits. Reads wait. */
#include "kernels/cuda/cuda_context.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

enum : size_t {
    RING_BYTES = (size_t)8 << 20,
    RING_WRITE_MAX = (size_t)1 << 20,
    SCRATCH_LEAST = (size_t)64 << 20
};

enum status cuda_failed(cudaError_t error, const char *file, int line, const char *call)
{
    size_t left = 0, total = 0;
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&left, &total);
        return status_fail(STATUS_NO_MEMORY, file, line, call,
                           "no GPU memory: %.0f MB of %.0f MB left", (double)left / 1e6,
                           (double)total / 1e6);
    }
    return status_fail(STATUS_CUDA, file, line, call, "%s", cudaGetErrorString(error));
}

enum status cuda_scratch(struct cuda_context *cuda, size_t bytes, void **memory)
{
    size_t size = (bytes + 255) / 256 * 256;
    for (int i = 0; i < cuda->scratch_blocks; i++)
        if (cuda->scratch_used[i] + size <= cuda->scratch_size[i]) {
            *memory = (char *)cuda->scratch_block[i] + cuda->scratch_used[i];
            cuda->scratch_used[i] += size;
            return STATUS_OK;
        }
    if (cuda->capturing)
        return FAIL(STATUS_INVALID,
                    "a graph needs %zu bytes of scratch that no call before it made: run the same "
                    "step once without a graph",
                    bytes);
    if (cuda->scratch_blocks == CUDA_SCRATCH_BLOCKS)
        return FAIL(STATUS_LIMIT, "%d blocks of scratch", CUDA_SCRATCH_BLOCKS);
    size_t block = size > SCRATCH_LEAST ? size : SCRATCH_LEAST;
    void *made = NULL;
    CUDA_TRY(cudaMalloc(&made, block));
    int at = cuda->scratch_blocks++;
    cuda->scratch_block[at] = made;
    cuda->scratch_size[at] = block;
    cuda->scratch_used[at] = size;
    cuda->bytes += block;
    *memory = made;
    return STATUS_OK;
}

/* ---- memory ---- */

static enum status cuda_create(void *context, size_t bytes, void **memory)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    void *made = NULL;
    size_t size = bytes > 0 ? bytes : 16;
    cudaError_t error = cudaMalloc(&made, size);
    if (error != cudaSuccess) {
        size_t left = 0, total = 0;
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&left, &total);
        return FAIL(
            STATUS_NO_MEMORY,
            "%.1f MB of memory on %s: %s; %.1f of %.1f MB are left, this process holds %.1f",
            (double)bytes / 1e6, cuda->gpu_name, cudaGetErrorString(error), (double)left / 1e6,
            (double)total / 1e6, (double)cuda->bytes / 1e6);
    }
    cuda->bytes += size;
    CUDA_TRY(cudaMemsetAsync(made, 0, size, cuda->stream));
    *memory = made;
    return STATUS_OK;
}

static void cuda_destroy_memory(void *context, void **memory)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    (void)cudaStreamSynchronize(cuda->stream);
    (void)cudaFree(*memory);
    *memory = NULL;
}

static enum status cuda_write(void *context, void *memory, const void *host, size_t bytes)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    if (bytes == 0)
        return STATUS_OK;
    CHECK(!cuda->capturing);
    if (bytes > RING_WRITE_MAX) {
        CUDA_TRY(cudaMemcpyAsync(memory, host, bytes, cudaMemcpyHostToDevice, cuda->stream));
        CUDA_TRY(cudaStreamSynchronize(cuda->stream));
        return STATUS_OK;
    }
    if (cuda->ring_at + bytes > RING_BYTES) { /* once around: all earlier writes must have left */
        CUDA_TRY(cudaStreamSynchronize(cuda->stream));
        cuda->ring_at = 0;
    }
    char *staged = cuda->ring + cuda->ring_at;
    cuda->ring_at += (bytes + 63) / 64 * 64;
    memcpy(staged, host, bytes);
    CUDA_TRY(cudaMemcpyAsync(memory, staged, bytes, cudaMemcpyHostToDevice, cuda->stream));
    return STATUS_OK;
}

static enum status cuda_read(void *context, const void *memory, void *host, size_t bytes)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    CHECK(!cuda->capturing);
    if (bytes > 0)
        CUDA_TRY(cudaMemcpyAsync(host, memory, bytes, cudaMemcpyDeviceToHost, cuda->stream));
    CUDA_TRY(cudaStreamSynchronize(cuda->stream));
    cuda->ring_at = 0;
    return STATUS_OK;
}

static enum status cuda_copy(void *context, void *to, const void *from, size_t bytes)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    if (bytes > 0)
        CUDA_TRY(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda->stream));
    return STATUS_OK;
}

static enum status cuda_zero(void *context, void *memory, size_t bytes)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    if (bytes > 0)
        CUDA_TRY(cudaMemsetAsync(memory, 0, bytes, cuda->stream));
    return STATUS_OK;
}

static enum status cuda_left(void *context, int64_t *left, int64_t *total)
{
    (void)context;
    size_t have = 0, all = 0;
    CUDA_TRY(cudaMemGetInfo(&have, &all));
    *left = (int64_t)have;
    *total = (int64_t)all;
    return STATUS_OK;
}

static enum status cuda_share(void *context, const void *memory, struct memory_handle *handle)
{
    (void)context;
    static_assert(sizeof(cudaIpcMemHandle_t) == sizeof handle->bytes, "IPC handle");
    cudaIpcMemHandle_t made;
    CUDA_TRY(cudaIpcGetMemHandle(&made, (void *)memory));
    memcpy(handle->bytes, &made, sizeof made);
    return STATUS_OK;
}

static enum status cuda_open(void *context, const struct memory_handle *handle, void **memory)
{
    (void)context;
    cudaIpcMemHandle_t given;
    memcpy(&given, handle->bytes, sizeof given);
    CUDA_TRY(cudaIpcOpenMemHandle(memory, given, cudaIpcMemLazyEnablePeerAccess));
    return STATUS_OK;
}

static void cuda_unopen(void *context, void **memory)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    (void)cudaStreamSynchronize(cuda->stream);
    (void)cudaIpcCloseMemHandle(*memory);
    *memory = NULL;
}

/* ---- streams and graphs ---- */

static void *cuda_side_stream(void *context)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    int least = 0, greatest = 0;
    if (cuda->side == NULL &&
        (cudaDeviceGetStreamPriorityRange(&least, &greatest) != cudaSuccess ||
         cudaStreamCreateWithPriority(&cuda->side, cudaStreamNonBlocking, least) != cudaSuccess))
        cuda->side = NULL;
    return cuda->side;
}

static enum status cuda_side_wait(void *context, int64_t timeout_ms)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    struct timespec pause = {0, 50000};
    for (int64_t waited_us = 0;; waited_us += 50) {
        cudaError_t state = cudaStreamQuery(cuda->side);
        if (state == cudaSuccess)
            return STATUS_OK;
        if (state != cudaErrorNotReady)
            return cuda_failed(state, __FILE__, __LINE__, "side stream");
        if (waited_us >= timeout_ms * 1000)
            return STATUS_AGAIN;
        (void)nanosleep(&pause, NULL);
    }
}

static enum status cuda_finish(void *context)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    CUDA_TRY(cudaStreamSynchronize(cuda->stream));
    return STATUS_OK;
}

static enum status cuda_graph_begin(void *context)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    CUDA_TRY(cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal));
    cuda->capturing = true;
    return STATUS_OK;
}

static enum status cuda_graph_end(void *context, void **graph)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    cudaGraph_t recorded = NULL;
    cudaGraphExec_t made = NULL;
    cuda->capturing = false;
    CUDA_TRY(cudaStreamEndCapture(cuda->stream, &recorded));
    cudaError_t error = cudaGraphInstantiate(&made, recorded, 0);
    (void)cudaGraphDestroy(recorded);
    CUDA_TRY(error);
    *graph = made;
    return STATUS_OK;
}

static enum status cuda_graph_run(void *context, void *graph)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    CUDA_TRY(cudaGraphLaunch((cudaGraphExec_t)graph, cuda->stream));
    return STATUS_OK;
}

static void cuda_graph_destroy(void *context, void **graph)
{
    struct cuda_context *cuda = (struct cuda_context *)context;
    (void)cudaStreamSynchronize(cuda->stream);
    (void)cudaGraphExecDestroy((cudaGraphExec_t)*graph);
    *graph = NULL;
}

/* ---- the table ---- */

static size_t cuda_packed_bytes(void *context, int64_t experts, int64_t n, int64_t k)
{
    (void)context, (void)experts, (void)n, (void)k;
    return 0;
}

extern "C" enum status cuda_linear_pack(void *context, const struct op_linear_pack *args)
{
    (void)context, (void)args;
    return STATUS_OK; /* weights are read where they are */
}

/* Keys [G][tile][D], then values [G][tile][D]. */
static size_t cuda_kv_page_bytes(void *context, int64_t kv_heads, int64_t head_size)
{
    const struct cuda_context *cuda = (const struct cuda_context *)context;
    return op_cuda_page_bytes(cuda->f32, kv_heads, head_size);
}

static void cuda_destroy(struct op_table *table)
{
    struct cuda_context *cuda = (struct cuda_context *)table->context;
    (void)cudaStreamSynchronize(cuda->stream);
    cuda_gemm_plans_destroy(&cuda->plans);
    for (int i = 0; i < cuda->scratch_blocks; i++)
        (void)cudaFree(cuda->scratch_block[i]);
    (void)cudaFreeHost(cuda->ring);
    if (cuda->side != NULL)
        (void)cudaStreamDestroy(cuda->side);
    if (cuda->digest != NULL) {
        (void)cudaStreamDestroy(cuda->digest);
        (void)cudaEventDestroy(cuda->side_event);
        (void)cudaEventDestroy(cuda->digest_event);
        (void)cudaFreeHost(cuda->digest_out);
        (void)cudaFree(cuda->digest_sum);
    }
    if (cuda->lt != NULL)
        (void)cublasLtDestroy(cuda->lt);
    (void)cudaStreamDestroy(cuda->stream);
    memory_free(cuda);
    memory_free(table);
}

/* What CMAKE_CUDA_ARCHITECTURES was, commas between: "90a", "80", "80,90a". */
#ifndef CUDA_ARCHITECTURES
#define CUDA_ARCHITECTURES "90a"
#endif

/* Whether code built for one architecture of that list runs on a GPU of `capability` (major 10 + minor): 90a on 9.0
 * alone, 80-real on 8.x from 8.0, 80 also on all later ones, where the driver compiles it again. */
static bool runs_on(const char *built, int capability, bool *hopper)
{
    int number = 0;
    while (*built >= '0' && *built <= '9')
        number = number * 10 + *built++ - '0';
    if (*built == 'a') {
        *hopper = *hopper || (number == 90 && capability == 90);
        return number == capability;
    }
    bool later = strncmp(built, "-real", 5) != 0 || number / 10 == capability / 10;
    return capability >= number && later;
}

static enum status check_capability(struct cuda_context *cuda, const cudaDeviceProp *property)
{
    int capability = property->major * 10 + property->minor;
    bool runs = false;
    for (const char *built = CUDA_ARCHITECTURES; built != NULL;) {
        runs = runs_on(built, capability, &cuda->hopper) || runs;
        built = strchr(built, ',');
        built = built != NULL ? built + 1 : NULL;
    }
    if (!runs || capability < 80)
        return FAIL(STATUS_UNSUPPORTED,
                    "cuda:%d is a %s (sm_%d): this build is for sm_" CUDA_ARCHITECTURES
                    "; another is made with -DCMAKE_CUDA_ARCHITECTURES=80 for sm_80 and later, "
                    "or 90a for H100 and H200",
                    cuda->device, property->name, capability);
    return STATUS_OK;
}

static enum status open_device(struct cuda_context *cuda)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0)
        return FAIL(STATUS_UNSUPPORTED,
                    "no GPU here (%s): run on a machine with one, or set run.device=cpu",
                    error != cudaSuccess ? cudaGetErrorString(error) : "the driver sees none");
    if (cuda->device >= count)
        return FAIL(STATUS_UNSUPPORTED, "cuda:%d: this machine has %d GPU%s, numbered from 0",
                    cuda->device, count, count == 1 ? "" : "s");
    cudaDeviceProp property;
    CUDA_TRY(cudaSetDevice(cuda->device));
    CUDA_TRY(cudaGetDeviceProperties(&property, cuda->device));
    TRY(check_capability(cuda, &property));
    cuda->multiprocessors = property.multiProcessorCount;
    cuda->shared_max = property.sharedMemPerBlockOptin;
    snprintf(cuda->gpu_name, sizeof cuda->gpu_name, "%s", property.name);
    /* What decides the bits: the architecture (H100 and H200 are one), the library, our kernels and tiles. */
    snprintf(cuda->numerics, sizeof cuda->numerics, "cuda sm_%d%d%s cublaslt %zu %s tile%d %s",
             property.major, property.minor, cuda->hopper ? "" : " mma", cublasLtGetVersion(),
             cuda->f32 ? "f32" : "bf16", CUDA_KV_TILE, cuda->free_choice ? "free" : "chain1");
    CUDA_TRY(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking));
    CUDA_TRY(cudaMallocHost((void **)&cuda->ring, RING_BYTES));
    if (cublasLtCreate(&cuda->lt) != CUBLAS_STATUS_SUCCESS)
        return FAIL(STATUS_CUDA, "cublasLtCreate failed: is libcublasLt of CUDA 13 installed?");
    return STATUS_OK;
}

static void fill_table(struct op_table *table, struct cuda_context *cuda)
{
    *table = {};
    table->name = "cuda";
    table->numerics = cuda->numerics;
    table->context = cuda;
    table->act_bytes = table->weight_bytes = cuda->f32 ? sizeof(float) : sizeof(bf16);
    table->kv_tile = CUDA_KV_TILE;
    table->memory_create = cuda_create;
    table->memory_destroy = cuda_destroy_memory;
    table->memory_write = cuda_write;
    table->memory_read = cuda_read;
    table->memory_copy = cuda_copy;
    table->memory_zero = cuda_zero;
    table->memory_left = cuda_left;
    table->memory_digest = cuda_memory_digest;
    table->memory_share = cuda_share;
    table->memory_open = cuda_open;
    table->memory_unopen = cuda_unopen;
    table->side_stream = cuda_side_stream;
    table->side_wait = cuda_side_wait;
    table->side_digest_begin = cuda_side_digest_begin;
    table->side_digest_add = cuda_side_digest_add;
    table->side_digest_end = cuda_side_digest_end;
    table->finish = cuda_finish;
    table->graph_begin = cuda_graph_begin;
    table->graph_end = cuda_graph_end;
    table->graph_run = cuda_graph_run;
    table->graph_destroy = cuda_graph_destroy;
    table->packed_bytes = cuda_packed_bytes;
    table->kv_page_bytes = cuda_kv_page_bytes;
    table->lightning_state_bytes = cuda_lightning_state_bytes;
    table->destroy = cuda_destroy;
#define OP(op) table->op = cuda_##op;
    KERNEL_OPS(OP)
#undef OP
}

extern "C" enum status op_table_create_cuda(struct op_table **table, int32_t device, bool f32,
                                            bool free_choice)
{
    struct cuda_context *cuda = (struct cuda_context *)memory_alloc(sizeof *cuda);
    struct op_table *made = (struct op_table *)memory_alloc(sizeof *made);
    if (cuda == NULL || made == NULL) {
        memory_free(cuda);
        memory_free(made);
        return FAIL(STATUS_NO_MEMORY, "op table cuda");
    }
    cuda->device = device;
    cuda->f32 = f32;
    cuda->free_choice = free_choice;
    enum status status = open_device(cuda);
    fill_table(made, cuda);
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        if (cuda->stream != NULL)
            op_table_destroy(&made);
        else {
            memory_free(cuda);
            memory_free(made);
        }
        status_restore(kept);
        return status;
    }
    *table = made;
    return STATUS_OK;
}
