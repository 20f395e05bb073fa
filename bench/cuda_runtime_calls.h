/* bench/cuda_runtime_calls.h - the CUDA runtime for benches in C: opened when the program runs, so that no GPU is needed
 * to build them, and lent as a weight_device. Each process has its own device. */
#ifndef BENCH_CUDA_RUNTIME_CALLS_H
#define BENCH_CUDA_RUNTIME_CALLS_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/weight_device.h"

enum { CUDA_SAMPLE_BYTES = 1 << 16 };

enum {
    COPY_DEFAULT = 4,
    EVENT_PLAIN = 0,
    NOT_READY = 600,
    IPC_LAZY_PEER = 1,
    STREAM_NON_BLOCKING = 1
};

struct ipc_handle {
    uint8_t bytes[WEIGHT_HANDLE_BYTES];
};

// clang-format off
#define CUDA_CALLS(CALL) \
    CALL(SetDevice, (int)) CALL(GetDeviceCount, (int *)) CALL(Malloc, (void **, size_t)) CALL(Free, (void *)) \
    CALL(MemsetAsync, (void *, int, size_t, void *)) CALL(MemcpyAsync, (void *, const void *, size_t, int, void *)) \
    CALL(MemcpyPeerAsync, (void *, int, const void *, int, size_t, void *)) \
    CALL(DeviceEnablePeerAccess, (int, unsigned)) CALL(DeviceCanAccessPeer, (int *, int, int)) \
    CALL(StreamCreateWithPriority, (void **, unsigned, int)) CALL(StreamQuery, (void *)) \
    CALL(StreamSynchronize, (void *)) CALL(IpcGetMemHandle, (struct ipc_handle *, void *)) \
    CALL(IpcOpenMemHandle, (void **, struct ipc_handle, unsigned)) CALL(IpcCloseMemHandle, (void *))
// clang-format on

#define CALL(name, arguments) static int(*cuda##name) arguments;
CUDA_CALLS(CALL)
#undef CALL
static void *main_stream, *side_stream;

static void cuda_must(int code, const char *what)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: CUDA error %d\n", what, code);
    exit(1);
}
#define CUDA(call) cuda_must(call, #call)

static void cuda_start(int device)
{
    void *library = dlopen("libcudart.so.13", RTLD_NOW);
    library = library != NULL ? library : dlopen("libcudart.so", RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    void *found;
#define CALL(name, arguments)                  \
    found = dlsym(library, "cuda" #name);      \
    memcpy(&cuda##name, &found, sizeof found); \
    cuda_must(found == NULL, "cuda" #name);
    CUDA_CALLS(CALL)
#undef CALL
    CUDA(cudaSetDevice(device));
    CUDA(cudaStreamCreateWithPriority(&main_stream, STREAM_NON_BLOCKING, -1));
    CUDA(cudaStreamCreateWithPriority(&side_stream, STREAM_NON_BLOCKING, 0));
}

static enum status checked(int code, const char *what)
{
    return code == 0 ? STATUS_OK : FAIL(STATUS_CUDA, "%s: CUDA error %d", what, code);
}

static enum status device_copy(void *context, void *to, const void *from, size_t bytes)
{
    (void)context;
    return checked(cudaMemcpyAsync(to, from, bytes, COPY_DEFAULT, main_stream), "copy");
}

static enum status device_finish(void *context)
{
    (void)context;
    return checked(cudaStreamSynchronize(main_stream), "finish");
}

/* Each version is one byte all over: looked at in three places. The real digest is an op, not measured here. */
static enum status device_digest(void *context, const void *memory, size_t bytes,
                                 uint64_t first_word, uint64_t *digest)
{
    static uint8_t sample[CUDA_SAMPLE_BYTES];
    const size_t places[] = {0, bytes / 2, bytes - CUDA_SAMPLE_BYTES};
    (void)first_word;
    *digest = 0;
    for (size_t p = 0; p < 3; p++) {
        TRY(device_copy(context, sample, (const uint8_t *)memory + places[p], CUDA_SAMPLE_BYTES));
        TRY(device_finish(context));
        for (size_t i = 1; i < CUDA_SAMPLE_BYTES; i++)
            if (sample[i] != sample[0])
                return FAIL(STATUS_CORRUPT, "place %zu byte %zu: %u and %u", p, i, sample[i],
                            sample[0]);
        *digest = p == 0 || *digest == sample[0] ? sample[0] : 1000;
    }
    return STATUS_OK;
}

static enum status device_share(void *context, const void *memory, struct memory_handle *handle)
{
    (void)context;
    return checked(
        cudaIpcGetMemHandle((struct ipc_handle *)(void *)handle, (void *)(uintptr_t)memory),
        "share");
}

static enum status device_open(void *context, const struct memory_handle *handle, void **memory)
{
    struct ipc_handle copy;
    (void)context;
    memcpy(&copy, handle, sizeof copy);
    return checked(cudaIpcOpenMemHandle(memory, copy, IPC_LAZY_PEER), "open");
}

static void device_unopen(void *context, void **memory)
{
    (void)context;
    (void)cudaIpcCloseMemHandle(*memory);
    *memory = NULL;
}

static void *device_side_stream(void *context)
{
    (void)context;
    return side_stream;
}

static enum status device_side_wait(void *context, int64_t timeout_ms)
{
    (void)context, (void)timeout_ms;
    int code = cudaStreamQuery(side_stream);
    return code == NOT_READY ? STATUS_AGAIN : checked(code, "side stream");
}

static struct weight_device device = {.copy = device_copy,
                                      .finish = device_finish,
                                      .digest = device_digest,
                                      .share = device_share,
                                      .open = device_open,
                                      .unopen = device_unopen,
                                      .side_stream = device_side_stream,
                                      .side_wait = device_side_wait};

static void *buffer(size_t bytes, int value)
{
    void *memory = NULL;
    CUDA(cudaMalloc(&memory, bytes));
    CUDA(cudaMemsetAsync(memory, value, bytes, main_stream));
    CUDA(cudaStreamSynchronize(main_stream));
    return memory;
}

#endif
