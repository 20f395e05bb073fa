/* tests/fake_nvml/fake_nvml.c - NVML for machines without GPUs: one GPU with figures that a test knows. Built as
 * <build>/tests/fake_nvml.so. FAKE_NVML_POOR in the environment: most functions refuse, as on a MIG slice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

static int users, gpu;

static int is_poor(void)
{
    return getenv("FAKE_NVML_POOR") != NULL;
}

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlInit_v2(void)
{
    users++;
    return SUCCESS;
}
EXPORT int nvmlShutdown(void);
EXPORT int nvmlShutdown(void)
{
    users--;
    return SUCCESS;
}
EXPORT int fake_nvml_users(void);
EXPORT int fake_nvml_users(void)
{
    return users;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle);
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    *handle = &gpu;
    return index == 0 ? SUCCESS : INVALID_ARGUMENT;
}
EXPORT int nvmlDeviceGetName(void *device, char *name, unsigned size);
EXPORT int nvmlDeviceGetName(void *device, char *name, unsigned size)
{
    (void)device;
    snprintf(name, size, "Fake \"G\" 80GB");
    return SUCCESS;
}
EXPORT int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *total_free_used);
EXPORT int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *total_free_used)
{
    (void)device;
    total_free_used[0] = 85899345920ULL;
    total_free_used[1] = 64424509440ULL;
    total_free_used[2] = 21474836480ULL;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetUtilizationRates(void *device, unsigned *gpu_memory);
EXPORT int nvmlDeviceGetUtilizationRates(void *device, unsigned *gpu_memory)
{
    (void)device;
    gpu_memory[0] = 87;
    gpu_memory[1] = 41;
    return is_poor() ? NOT_SUPPORTED : SUCCESS;
}
EXPORT int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *degrees);
EXPORT int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *degrees)
{
    (void)device;
    *degrees = 61;
    return sensor == 0 && !is_poor() ? SUCCESS : NOT_SUPPORTED;
}
EXPORT int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);
EXPORT int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
    (void)device;
    *milliwatts = 412500;
    return is_poor() ? NOT_SUPPORTED : SUCCESS;
}
EXPORT int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts);
EXPORT int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts)
{
    (void)device;
    *milliwatts = 700000;
    return is_poor() ? NOT_SUPPORTED : SUCCESS;
}
EXPORT int nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz);
EXPORT int nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz)
{
    (void)device;
    *mhz = kind == 1 ? 1755 : 2619;
    return is_poor() ? NOT_SUPPORTED : SUCCESS;
}
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons);
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    (void)device;
    *reasons = 0x4 | 0x20; /* power cap, software thermal */
    return is_poor() ? NOT_SUPPORTED : SUCCESS;
}
EXPORT int nvmlDeviceGetTotalEccErrors(void *device, unsigned kind, unsigned counter,
                                       unsigned long long *errors);
EXPORT int nvmlDeviceGetTotalEccErrors(void *device, unsigned kind, unsigned counter,
                                       unsigned long long *errors)
{
    (void)device;
    *errors = kind == 0 ? 3 : 0;
    return counter == 0 && !is_poor() ? SUCCESS : NOT_SUPPORTED;
}
