/* links: core */
/* One look at the GPU through NVML: what it says and how long it takes. Exit 77 where there is no NVIDIA driver.
 *     bench_nvml [ordinal of the device] */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/nvml.h"

enum { LOOKS = 200 };

int main(int argc, char **argv)
{
    struct nvml *nvml = NULL;
    static struct gpu_metrics metrics;
    struct buffer json;
    size_t count, known = 0;
    const struct metric_row *rows = gpu_metrics_table(&count);
    if (nvml_open(&nvml, "", argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0) != STATUS_OK) {
        printf("skipped: %s\n", status_last_error());
        return 77;
    }
    nvml_read(nvml, &metrics);
    int64_t begin_ns = clock_now_ns();
    for (int i = 0; i < LOOKS; i++)
        nvml_read(nvml, &metrics);
    double ms = (double)(clock_now_ns() - begin_ns) / 1e6 / LOOKS;
    buffer_init(&json, 0);
    printf("{\"bench\":\"nvml\",\"gpu\":\"%s\",\"ms\":%.3f,\"limit_ms\":20,\"figures\":%s}\n",
           nvml_name(nvml), ms, metrics_object(rows, count, &metrics, &json));
    for (size_t i = 0; i < count; i++)
        known += (size_t) !!isfinite(
            metric_read((const metric *)(const void *)((const char *)&metrics + rows[i].offset)));
    bool sound = metric_read(&metrics.memory_total) >= metric_read(&metrics.memory_used) &&
                 metric_read(&metrics.memory_total) > 1e9;
    printf("{\"bench\":\"nvml\",\"figures_known\":%zu,\"of\":%zu,\"memory_is_sound\":%s}\n", known,
           count, sound ? "true" : "false");
    buffer_free(&json);
    nvml_close(&nvml);
    return sound ? 0 : 1;
}
