#include "core/nvml.h"

#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

/* Numbers of nvml.h and cuda.h; both keep them for good. */
enum {
    NVML_TEMPERATURE_GPU = 0,
    NVML_CLOCK_SM = 1,
    NVML_MEMORY_ERROR_CORRECTED = 0,
    NVML_MEMORY_ERROR_UNCORRECTED = 1,
    NVML_VOLATILE_ECC = 0,
    NVML_NAME_BYTES = 96,
    BUS_ID_BYTES = 32
};
#define THROTTLE_POWER 0x0000000000000004ULL /* software power cap */
#define THROTTLE_HEAT  0x0000000000000060ULL /* software and hardware thermal slowdown */
#define THROTTLE_BOARD 0x0000000000000088ULL /* hardware slowdown, power brake */

struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml_rates {
    unsigned gpu, memory; /* percent */
};

struct nvml {
    void *library;
    void *device;
    char name[NVML_NAME_BYTES];
    int (*shutdown)(void);
    int (*memory)(void *device, struct nvml_memory *memory);
    int (*rates)(void *device, struct nvml_rates *rates);
    int (*temperature)(void *device, unsigned sensor, unsigned *degrees);
    int (*power)(void *device, unsigned *milliwatts);
    int (*power_limit)(void *device, unsigned *milliwatts);
    int (*clock)(void *device, unsigned kind, unsigned *mhz);
    int (*throttle)(void *device, unsigned long long *reasons);
    int (*ecc)(void *device, unsigned kind, unsigned counter, unsigned long long *errors);
};

static const struct metric_row gpu_rows[] = {
#define ROW(...) METRIC_ROW(struct gpu_metrics, __VA_ARGS__)
    GPU_METRICS(ROW)
#undef ROW
};

const struct metric_row *gpu_metrics_table(size_t *count)
{
    *count = sizeof gpu_rows / sizeof gpu_rows[0];
    return gpu_rows;
}

/* A function pointer through a data pointer, the way dlsym(3) says. */
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* Of CUDA's device, where this process uses CUDA. */
static bool read_bus_id(int device, char bus_id[BUS_ID_BYTES])
{
    int (*get)(int *device, int ordinal), (*read)(char *bus_id, int size, int device);
    int handle = 0;
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    bool known = cuda != NULL && find(cuda, "cuDeviceGet", &get) &&
                 find(cuda, "cuDeviceGetPCIBusId", &read) && get(&handle, device) == 0 &&
                 read(bus_id, BUS_ID_BYTES, handle) == 0;
    if (cuda != NULL)
        dlclose(cuda);
    return known;
}

static enum status find_device(struct nvml *nvml, int device)
{
    int (*by_bus)(const char *bus_id, void **handle), (*by_index)(unsigned index, void **handle);
    int (*name)(void *handle, char *name, unsigned size);
    char bus_id[BUS_ID_BYTES];
    if (read_bus_id(device, bus_id) &&
        find(nvml->library, "nvmlDeviceGetHandleByPciBusId_v2", &by_bus) &&
        by_bus(bus_id, &nvml->device) == 0)
        device = -1;
    if (device >= 0 && (!find(nvml->library, "nvmlDeviceGetHandleByIndex_v2", &by_index) ||
                        by_index((unsigned)device, &nvml->device) != 0))
        return FAIL(STATUS_NOT_FOUND, "NVML knows no GPU %d", device);
    if (!find(nvml->library, "nvmlDeviceGetName", &name) ||
        name(nvml->device, nvml->name, sizeof nvml->name) != 0)
        snprintf(nvml->name, sizeof nvml->name, "GPU");
    return STATUS_OK;
}

/* A function that an older library lacks stays NULL. */
static void find_reads(struct nvml *nvml)
{
    (void)find(nvml->library, "nvmlDeviceGetMemoryInfo", &nvml->memory);
    (void)find(nvml->library, "nvmlDeviceGetUtilizationRates", &nvml->rates);
    (void)find(nvml->library, "nvmlDeviceGetTemperature", &nvml->temperature);
    (void)find(nvml->library, "nvmlDeviceGetPowerUsage", &nvml->power);
    (void)find(nvml->library, "nvmlDeviceGetEnforcedPowerLimit", &nvml->power_limit);
    (void)find(nvml->library, "nvmlDeviceGetClockInfo", &nvml->clock);
    if (!find(nvml->library, "nvmlDeviceGetCurrentClocksThrottleReasons", &nvml->throttle))
        (void)find(nvml->library, "nvmlDeviceGetCurrentClocksEventReasons", &nvml->throttle);
    (void)find(nvml->library, "nvmlDeviceGetTotalEccErrors", &nvml->ecc);
}

enum status nvml_open(struct nvml **out, const char *library, int device)
{
    int (*init)(void);
    enum status status;
    struct nvml *nvml = memory_alloc(sizeof *nvml);
    if (nvml == NULL)
        return FAIL(STATUS_NO_MEMORY, "NVML");
    const char *path = library[0] != 0 ? library : "libnvidia-ml.so.1";
    nvml->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (nvml->library == NULL || !find(nvml->library, "nvmlInit_v2", &init) || init() != 0) {
        status = FAIL(STATUS_NOT_FOUND, "%s: no NVML here", path);
        nvml_close(&nvml);
        return status;
    }
    (void)find(nvml->library, "nvmlShutdown", &nvml->shutdown);
    find_reads(nvml);
    status = find_device(nvml, device);
    if (status != STATUS_OK)
        nvml_close(&nvml);
    else
        *out = nvml;
    return status;
}

void nvml_close(struct nvml **pointer)
{
    struct nvml *nvml = *pointer;
    if (nvml == NULL)
        return;
    if (nvml->shutdown != NULL)
        (void)nvml->shutdown();
    if (nvml->library != NULL)
        dlclose(nvml->library);
    memory_free(nvml);
    *pointer = NULL;
}

const char *nvml_name(const struct nvml *nvml)
{
    return nvml->name;
}

static void read_throttle(const struct nvml *nvml, struct gpu_metrics *metrics)
{
    unsigned long long reasons = 0;
    bool known = nvml->throttle != NULL && nvml->throttle(nvml->device, &reasons) == 0;
    double none = (double)NAN;
    metric_set(&metrics->throttle, known ? (double)reasons : none);
    metric_set(&metrics->throttle_power, known ? (reasons & THROTTLE_POWER) != 0 : none);
    metric_set(&metrics->throttle_heat, known ? (reasons & THROTTLE_HEAT) != 0 : none);
    metric_set(&metrics->throttle_board, known ? (reasons & THROTTLE_BOARD) != 0 : none);
}

static void read_ecc(const struct nvml *nvml, unsigned kind, metric *m)
{
    unsigned long long errors = 0;
    bool known =
        nvml->ecc != NULL && nvml->ecc(nvml->device, kind, NVML_VOLATILE_ECC, &errors) == 0;
    metric_set(m, known ? (double)errors : (double)NAN);
}

void nvml_read(const struct nvml *nvml, struct gpu_metrics *metrics)
{
    void *device = nvml->device;
    double none = (double)NAN;
    struct nvml_memory memory;
    struct nvml_rates rates;
    unsigned value = 0;
    bool known = nvml->memory != NULL && nvml->memory(device, &memory) == 0;
    metric_set(&metrics->memory_used, known ? (double)memory.used : none);
    metric_set(&metrics->memory_total, known ? (double)memory.total : none);
    known = nvml->rates != NULL && nvml->rates(device, &rates) == 0;
    metric_set(&metrics->busy, known ? rates.gpu / 100.0 : none);
    metric_set(&metrics->memory_busy, known ? rates.memory / 100.0 : none);
    known =
        nvml->temperature != NULL && nvml->temperature(device, NVML_TEMPERATURE_GPU, &value) == 0;
    metric_set(&metrics->temperature, known ? value : none);
    known = nvml->power != NULL && nvml->power(device, &value) == 0;
    metric_set(&metrics->power, known ? value / 1000.0 : none);
    known = nvml->power_limit != NULL && nvml->power_limit(device, &value) == 0;
    metric_set(&metrics->power_limit, known ? value / 1000.0 : none);
    known = nvml->clock != NULL && nvml->clock(device, NVML_CLOCK_SM, &value) == 0;
    metric_set(&metrics->clock, known ? value * 1e6 : none);
    read_throttle(nvml, metrics);
    read_ecc(nvml, NVML_MEMORY_ERROR_CORRECTED, &metrics->ecc_corrected);
    read_ecc(nvml, NVML_MEMORY_ERROR_UNCORRECTED, &metrics->ecc_uncorrected);
}
