/* links: transport core */
/* What looking costs: one observation of a histogram, one counter, one beat of the main loop, and a scrape of 200 metrics,
 * of which a tenth are histograms. A decode step of a small model takes 1 ms, a scrape comes once a second. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/must.h"
#include "core/clock.h"
#include "transport/monitor.h"

enum { ROWS = 200, HISTOGRAMS = 20, CALLS = 20000000, SCRAPES = 500 };

static struct metric_row rows[ROWS];
static char paths[ROWS][32];
static struct {
    metric values[ROWS];
    struct metric_histogram histograms[HISTOGRAMS];
} table;

static void make_rows(void)
{
    static const double bounds[] = {METRIC_SECONDS, (double)INFINITY};
    for (size_t i = 0; i < ROWS; i++) {
        bool many = i < HISTOGRAMS;
        snprintf(paths[i], sizeof paths[i], "bench/figure_%zu", i);
        rows[i] = (struct metric_row){
            .name = paths[i],
            .path = paths[i],
            .kind = many ? METRIC_HISTOGRAM : METRIC_GAUGE,
            .offset = many ? (size_t)((char *)&table.histograms[i] - (char *)&table)
                           : (size_t)((char *)&table.values[i] - (char *)&table),
            .unit = many ? "s" : "",
            .help = "One of many figures that a process shows.",
            .bounds = many ? bounds : NULL};
        metric_set(&table.values[i], 1.0 / (double)(i + 3));
    }
}

static void report(const char *what, int64_t ns, double calls, double limit_ns)
{
    printf("{\"bench\":\"monitor\",\"what\":\"%s\",\"ns\":%.1f,\"limit_ns\":%.0f}\n", what,
           (double)ns / calls, limit_ns);
}

int main(void)
{
    struct monitor *monitor = NULL;
    struct monitor_options options = {.http = "", .run = "bench", .role = "actor"};
    struct buffer text;
    buffer_init(&text, 0);
    make_rows();
    must(monitor_open(&monitor, &options), "monitor");
    monitor_add(monitor, rows, ROWS, &table);
    int64_t begin_ns = clock_now_ns();
    for (int i = 0; i < CALLS; i++)
        metric_observe(&table.histograms[0], (i & 1023) * 1e-5);
    report("one observation", clock_now_ns() - begin_ns, CALLS, 100);
    begin_ns = clock_now_ns();
    for (int i = 0; i < CALLS; i++)
        metric_add(&table.values[ROWS - 1], 1);
    report("one addition", clock_now_ns() - begin_ns, CALLS, 50);
    begin_ns = clock_now_ns();
    for (int i = 0; i < CALLS; i++)
        monitor_beat(monitor);
    report("one beat", clock_now_ns() - begin_ns, CALLS, 100);
    begin_ns = clock_now_ns();
    for (int i = 0; i < SCRAPES; i++) {
        buffer_clear(&text);
        must(monitor_text(monitor, &text), "scrape");
    }
    report("a scrape of 200 metrics", clock_now_ns() - begin_ns, SCRAPES, 1e7);
    printf("{\"bench\":\"monitor\",\"what\":\"its text\",\"bytes\":%zu}\n", text.size);
    buffer_free(&text);
    monitor_close(&monitor);
    return 0;
}
