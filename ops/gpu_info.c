#include "ops/gpu_info.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* Of the CUDA driver API: cuda.h, CUdevice_attribute. */
enum { ATTRIBUTE_MAJOR = 75, ATTRIBUTE_MINOR = 76 };

/* A function pointer through a data pointer, the way dlsym(3) says. */
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

struct driver {
    int (*init)(unsigned flags);
    int (*version)(int *version);
    int (*count)(int *count);
    int (*get)(int *device, int ordinal);
    int (*name)(char *name, int size, int device);
    int (*attribute)(int *value, int attribute, int device);
    int (*total)(size_t *bytes, int device);
    int (*reach)(int *can, int device, int peer);
};

static bool find_driver(void *library, struct driver *driver)
{
    return find(library, "cuInit", &driver->init) &&
           find(library, "cuDriverGetVersion", &driver->version) &&
           find(library, "cuDeviceGetCount", &driver->count) &&
           find(library, "cuDeviceGet", &driver->get) &&
           find(library, "cuDeviceGetName", &driver->name) &&
           find(library, "cuDeviceGetAttribute", &driver->attribute) &&
           find(library, "cuDeviceTotalMem_v2", &driver->total) &&
           find(library, "cuDeviceCanAccessPeer", &driver->reach);
}

static void read_gpu(const struct driver *driver, int index, int count, struct gpu *gpu)
{
    int device = 0;
    size_t bytes = 0;
    if (driver->get(&device, index) != 0)
        return;
    (void)driver->name(gpu->name, sizeof gpu->name, device);
    (void)driver->attribute(&gpu->major, ATTRIBUTE_MAJOR, device);
    (void)driver->attribute(&gpu->minor, ATTRIBUTE_MINOR, device);
    if (driver->total(&bytes, device) == 0)
        gpu->total_mb = bytes >> 20;
    for (int peer = 0; peer < count; peer++) {
        int other = 0, can = 0;
        if (peer != index && driver->get(&other, peer) == 0 &&
            driver->reach(&can, device, other) == 0 && can)
            gpu->peers |= UINT64_C(1) << peer;
    }
}

/* NVML numbers GPUs by bus, CUDA by CUDA_VISIBLE_DEVICES: free memory is told only where all are visible. */
static void read_free(struct gpu_info *info)
{
    struct memory_info {
        unsigned long long total, free, used;
    } memory;
    int (*init)(void), (*shutdown)(void), (*count)(unsigned *count);
    int (*handle)(unsigned index, void **device);
    int (*read)(void *device, struct memory_info *memory);
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    unsigned visible = 0;
    if (library == NULL)
        return;
    if (find(library, "nvmlInit_v2", &init) && find(library, "nvmlShutdown", &shutdown) &&
        find(library, "nvmlDeviceGetCount_v2", &count) &&
        find(library, "nvmlDeviceGetHandleByIndex_v2", &handle) &&
        find(library, "nvmlDeviceGetMemoryInfo", &read) && init() == 0) {
        if (count(&visible) == 0 && (int)visible == info->count)
            for (int i = 0; i < info->count; i++) {
                void *device = NULL;
                if (handle((unsigned)i, &device) == 0 && read(device, &memory) == 0)
                    info->gpus[i].free_mb = memory.free >> 20;
            }
        (void)shutdown();
    }
    dlclose(library);
}

static void read_nccl(struct gpu_info *info)
{
    int (*version)(int *version);
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    if (find(library, "ncclGetVersion", &version))
        (void)version(&info->nccl_version);
    dlclose(library);
}

void gpu_info_read(struct gpu_info *info)
{
    struct driver driver;
    *info = (struct gpu_info){0};
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL || !find_driver(library, &driver)) {
        snprintf(info->problem, sizeof info->problem, "no NVIDIA driver (libcuda.so.1)");
        return;
    }
    int error = driver.init(0);
    if (error != 0 || driver.count(&info->count) != 0 || info->count == 0) {
        info->count = 0;
        snprintf(info->problem, sizeof info->problem, "the driver finds no GPU (cuInit: %d)",
                 error);
        return;
    }
    info->count = info->count > GPU_MAX ? GPU_MAX : info->count;
    (void)driver.version(&info->cuda_version);
    for (int i = 0; i < info->count; i++)
        read_gpu(&driver, i, info->count, &info->gpus[i]);
    read_free(info);
    read_nccl(info);
}
