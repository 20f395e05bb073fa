/* transport/monitor.h - a process shows itself over HTTP: /metrics for Prometheus, /live and /ready for probes.
 *
 *     GET /metrics   Prometheus text 0.0.4: the tables added, texts put, build and process figures, GPU figures; each sample
 *                    has the labels run, process ("actor.0") and role
 *     GET /live      200 while the main loop beats, 503 and a sentence when it has not for run.silent_s. Before the first
 *                    beat, while the process starts, 200.
 *     GET /ready     200, or 503 and the sentence of monitor_set_ready
 *
 * One thread of libmicrohttpd answers; it reads atomics and never waits for the main loop. metrics.http says where it
 * listens; the address is published in RUN_FOLDER/http/PROCESS (one line host:port) and in the process's stats. An address
 * that cannot be had costs the monitor, not the run. No text of prompts or rollouts is shown. docs/monitoring.md.
 *
 *     TRY(monitor_open(&monitor, &options));                  early: a slow start shall be seen
 *     monitor_add(monitor, rows, count, &metrics);
 *     monitor_set_ready(monitor, true, "");  ...  monitor_beat(monitor);   each turn of the main loop
 *
 * NULL is fine everywhere below. Any thread may call add, beat, set_ready, put and stats; open and close are for one. */
#ifndef TRANSPORT_MONITOR_H
#define TRANSPORT_MONITOR_H

#include <stdbool.h>

#include "core/metrics.h"
#include "core/program.h"

struct monitor;
enum { MONITOR_TABLES_MAX = 8, MONITOR_TEXTS_MAX = 4, MONITOR_ADDRESS_MAX = 320 };

struct monitor_options {
    const char *http; /* metrics.http */
    const char *run, *role;
    unsigned index;
    const char *name;       /* in place of the index, as in "node.gpu-3"; NULL: the index */
    const char *run_folder; /* "": the address is not published there */
    int64_t silent_ms;      /* of /live; 0: it never fails */
    const char *nvml;       /* library; NULL: the driver's */
};

/* INVALID: metrics.http is no address. An address that is taken gives way to the next 63 ports; then, and when it cannot be
 * had at all, the monitor is without HTTP and a warning says so. */
MUST_CHECK enum status monitor_open(struct monitor **monitor,
                                    const struct monitor_options *options);
/* With what a program was started with. */
MUST_CHECK enum status monitor_open_program(struct monitor **monitor,
                                            const struct program *program);
void monitor_close(struct monitor **monitor); /* the published address goes, too */

/* The table must live until monitor_forget or monitor_close; metrics_init is called for it. */
void monitor_add(struct monitor *monitor, const struct metric_row *rows, size_t count,
                 void *metrics);
/* Before the tables are freed: no scrape reads them from now on. */
void monitor_forget(struct monitor *monitor);
/* Replaces text `at` (0 .. MONITOR_TEXTS_MAX - 1): whole families in Prometheus' format, made by metrics_family and
 * metrics_sample with monitor_labels; the caller's way to show what no table can, such as figures by plugin or source. */
void monitor_put(struct monitor *monitor, size_t at, const char *text);
const char *monitor_labels(const struct monitor *monitor); /* run="..",process="..",role=".." */
/* "cpu" or "cuda:0": shown in stats; of a GPU the figures of NVML are read once a second from now on. */
void monitor_set_device(struct monitor *monitor, const char *device);

void monitor_beat(struct monitor *monitor); /* a few nanoseconds */
/* why: a sentence for /ready and people; ignored when ready. Not ready, "starting", at first. */
void monitor_set_ready(struct monitor *monitor, bool ready, const char *why);

const char *monitor_address(const struct monitor *monitor); /* "127.0.0.1:41234"; "": no HTTP */
/* {"pid","host","http","device", the rows, gpu_*} in `json`, which is cleared first: what a process says of itself in its
 * heartbeat and in Redis. Without a monitor the rows alone. Valid until json changes. */
const char *monitor_stats(struct monitor *monitor, const struct metric_row *rows, size_t count,
                          const void *metrics, struct buffer *json);
/* What GET /metrics answers. */
MUST_CHECK enum status monitor_text(struct monitor *monitor, struct buffer *text);

#endif
